"""Information, entropy and divergence against 50 digits, torch, and the inequalities that bound them."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from oracles import exact_errors, read_only

from handmade.activations import softmax
from handmade.information import entropy, information, kl_divergence
from handmade.losses import cross_entropy

EPS = np.finfo(np.float64).eps
FLOATS = (np.float64, np.float32)


def distributions(seed, *shape, scale=3.0):
    return softmax(np.random.default_rng(seed).normal(scale=scale, size=shape))


@pytest.mark.parametrize(
    ("p", "nats"),
    [
        ([1.0], 0),
        ([0.0, 1.0, 0.0], 0),
        ([0.5, 0.5], np.log(2)),
        ([0.5, 0.25, 0.25], 1.5 * np.log(2)),
        (np.full(8, 0.125), 3 * np.log(2)),
        ([1, 0], 0),
    ],
)
def test_entropy_worked_by_hand(p, nats):
    assert abs(entropy(p) - nats) <= 4 * EPS * nats


@pytest.mark.parametrize(
    ("p", "q", "nats"),
    [
        ([0.5, 0.5], [0.25, 0.75], np.log(4 / 3) / 2),
        ([1.0, 0.0], [0.25, 0.75], np.log(4)),
        ([1.0, 0.0], [1.0, 0.0], 0),
        ([0.5, 0.5], [1.0, 0.0], np.inf),
        ([0.0, 1.0], [1.0, 0.0], np.inf),
    ],
)
def test_divergence_worked_by_hand(p, q, nats):
    assert kl_divergence(p, q) == nats or abs(kl_divergence(p, q) - nats) <= 4 * EPS


@pytest.mark.parametrize("dtype", FLOATS)
def test_information_is_exact(dtype):
    """Within 2 roundings of the logarithm, from the smallest probability to the largest below 1."""
    p = (10 ** np.random.default_rng(0).uniform(-30, 0, 200)).astype(dtype)
    p = np.append(p, [dtype(0.5), np.nextafter(dtype(1), dtype(0)), np.finfo(dtype).smallest_subnormal])
    nats = information(read_only(p))
    assert nats.dtype == dtype
    with mpmath.workdps(50):
        exact = [-mpmath.log(mpmath.mpf(float(x))) for x in p]
        errors = exact_errors(nats, exact)
    assert np.all(errors <= 2 * np.finfo(dtype).eps * np.array([float(e) for e in exact]))


def test_certain_events_carry_nothing_impossible_ones_inf():
    np.testing.assert_array_equal(information([1.0, 0.0]), [0.0, np.inf])
    assert not np.signbit(information(1.0))
    assert not np.signbit(entropy([1.0, 0.0]))
    assert np.shape(information(0.5)) == ()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_entropy_and_divergence_agree_with_torch(dtype, dim):
    """Sums of 5 products with logarithms of up to 20: 16 roundings of them."""
    p, q = (read_only(np.moveaxis(distributions(seed, 4, 3, 5), -1, dim).astype(dtype)) for seed in (1, 2))
    last = [torch.tensor(np.moveaxis(a, dim, -1).astype(float)) for a in (p, q)]
    ours, theirs = [torch.distributions.Categorical(probs=a) for a in last]
    atol = 8 * np.finfo(dtype).eps * 20
    for got, expected in [
        (entropy(p, dim=dim), ours.entropy()),
        (kl_divergence(p, q, dim=dim), torch.distributions.kl_divergence(ours, theirs)),
    ]:
        assert got.dtype == dtype
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=0, atol=atol)


COUNTS = arrays(np.float64, (5,), elements=st.floats(0, 1)).filter(lambda p: p.sum() > 0.1)
DISTRIBUTIONS = COUNTS.map(lambda p: p / p.sum())


@settings(max_examples=100, deadline=None)
@given(DISTRIBUTIONS, DISTRIBUTIONS)
def test_bounds_of_entropy_and_divergence_hold(p, q):
    """0 <= H <= log K; KL >= 0. Both are sums of 5 terms no larger than |log p| p, so 16 roundings of 1 are room."""
    room = 8 * EPS
    assert 0 <= entropy(p) <= np.log(5) + room
    divergence = kl_divergence(p, q)
    assert divergence >= -room * (1 + entropy(p))
    assert kl_divergence(p, p) == 0
    # Pinsker's inequality: a divergence of nearly zero needs distributions that nearly agree.
    assert divergence >= np.abs(p - q).sum() ** 2 / 2 - room * (1 + entropy(p))


@pytest.mark.parametrize("K", [2, 3, 10, 1000])
def test_the_uniform_has_the_most_entropy(K):
    assert abs(entropy(np.full(K, 1 / K)) - np.log(K)) <= 4 * EPS * np.log(K)


def test_cross_entropy_is_entropy_plus_divergence():
    """System 12: cross-entropy = entropy + divergence; within 16 roundings of sums of up to 4 |log q|, 20 at most."""
    logits, p = np.random.default_rng(3).normal(scale=2, size=(6, 4)), distributions(4, 6, 4)
    made = entropy(p) + kl_divergence(p, softmax(logits))
    np.testing.assert_allclose(cross_entropy(logits, p, reduction="none"), made, rtol=0, atol=8 * EPS * 20)


HALF = [0.5, 0.5]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: information([0.5, 1.5]), ValueError, "p: expected values from 0 to 1, got 1.5"),
        (lambda: information(-0.25), ValueError, "p: expected values from 0 to 1, got -0.25"),
        (lambda: information([np.nan]), ValueError, "p: expected values from 0 to 1, got nan"),
        (lambda: information([]), ValueError, r"p: expected probabilities, got an empty array of shape \(0,\)"),
        (lambda: information([0.5 + 0j]), TypeError, "p: expected real numbers, got dtype complex128"),
        (lambda: information(np.ma.array(HALF)), TypeError, "p: expected an array without a mask"),
        (lambda: entropy(HALF, dim=1), ValueError, r"dim: expected an axis of p, whose shape is \(2,\), got 1"),
        (lambda: entropy(1.0), ValueError, r"dim: expected an axis of p, whose shape is \(\), got -1"),
        (lambda: entropy(HALF, dim=0.0), TypeError, r"dim: expected an integer, got 0\.0"),
        (lambda: information([True]), TypeError, "p: expected an array of numbers, got dtype bool"),
        (lambda: entropy([]), ValueError, r"p: expected probabilities, got an empty array of shape \(0,\)"),
        (lambda: entropy(["a"]), TypeError, "p: expected an array of numbers, got dtype <U1"),
        (lambda: entropy([0.5, 0.6]), ValueError, "p: .* that sum to 1 along axis -1, got a sum of 1.1"),
        (lambda: entropy([HALF, [0.5, 0.6], HALF]), ValueError, "sum to 1 along axis -1, got a sum of 1.1"),
        (lambda: entropy([HALF] * 3, dim=0), ValueError, "sum to 1 along axis 0, got a sum of 1.5"),
        (lambda: entropy([1.5, -0.5]), ValueError, "p: expected values from 0 to 1, got 1.5"),
        (lambda: kl_divergence([0.5, 0.4], HALF), ValueError, "p: expected probabilities that sum to 1"),
        (lambda: kl_divergence(HALF, [0.5, 0.4]), ValueError, "q: expected probabilities that sum to 1"),
        (lambda: kl_divergence(HALF, [HALF]), ValueError, r"q: expected the shape of p \(2,\), got \(1, 2\)"),
        (lambda: kl_divergence(HALF, [None, 1]), TypeError, "q: expected an array of numbers, got dtype object"),
    ],
)
def test_information_names_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("K", [2, 10, 10_000])
def test_rounded_distributions_are_taken(dtype, K):
    p = distributions(5, 3, K, scale=10.0).astype(dtype)
    assert np.all(entropy(p) >= 0)


@pytest.mark.parametrize(("total", "legal"), [(1 + 1e-9, True), (1 - 1e-9, True), (1 + 1e-7, False), (1 - 1e-7, False)])
def test_sums_may_be_off_by_the_root_of_eps(total, legal):
    """1.5e-8 in float64: a mistake in the eighth digit is one."""
    p = np.array([0.25, 0.75]) * total
    if legal:
        assert entropy(p) > 0
    else:
        with pytest.raises(ValueError, match="p: expected probabilities that sum to 1 along axis -1, got a sum of"):
            entropy(p)


def test_the_quoted_sum_is_the_furthest_from_one():
    with pytest.raises(ValueError, match=r"got a sum of 0\.25$"):
        entropy([[0.5, 0.5], [0.125, 0.125], [0.75, 0.75]])
