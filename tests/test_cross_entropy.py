"""Cross-entropy: labels, probabilities, weights and smoothing, exact in both tails."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from loss_cases import EPS, FLOATS, REDUCTIONS, RNG, both, by_torch
from oracles import assert_close

from handmade import losses
from handmade.activations import softmax
from handmade.information import entropy, kl_divergence
from handmade.losses import cross_entropy, cross_entropy_backward
from handmade.losses.probabilities import cross_entropy_value_and_backward

# ---- cross-entropy ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weight", [None, [1.0, 2.0, 3.0]])
def test_one_hot_is_the_index(label_smoothing, weight):
    """Term for term; the means differ as in torch: over the weights for indices, over N for probabilities."""
    Z, y = RNG.normal(size=(6, 3)), RNG.integers(3, size=6)
    options = {"label_smoothing": label_smoothing, "weight": weight, "reduction": "none"}
    for f in (cross_entropy, cross_entropy_backward):
        assert_close(f(Z, np.eye(3)[y], **options), f(Z, y, **options), operations=8)
        with pytest.raises(TypeError, match=r"or probabilities in floating point, got dtype int64 of shape \(6, 3\)"):
            f(Z, np.ones((6, 3), int), **options)  # a multi-hot row is no distribution; torch refuses integers too


def test_infinite_logits_of_the_right_answer_cost_nothing():
    assert losses.binary_cross_entropy_with_logits([np.inf, -np.inf], [1.0, 0.0], reduction="sum") == 0
    assert losses.binary_cross_entropy_with_logits([np.inf], [0.0]) == np.inf
    assert cross_entropy([[0.0, np.inf]], [1]) == 0 and cross_entropy([[0.0, np.inf]], [[0.0, 1.0]]) == 0
    assert softmax([[0.0, np.inf]]).tolist() == [[0, 1]]


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8, list])
def test_labels_of_every_integer_type(kind):
    Z, y = RNG.normal(size=(4, 3)), np.array([0, 2, 1, 2])
    given_y = y.tolist() if kind is list else y.astype(kind)
    np.testing.assert_array_equal(cross_entropy_backward(Z, given_y), cross_entropy_backward(Z, y))


@pytest.mark.parametrize("weight", [None, [1.0, 2.0]])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_where_all_is_ignored_nothing_is_lost(weight, reduction):
    """The mean over no sample is 0 here and nan in torch: one such batch must not end a training."""
    Z, y = np.array([[1.0, 2.0], [3.0, -4.0]]), np.array([-100, -100])
    value, gradient = both("cross_entropy", Z, y, weight=weight, reduction=reduction)
    np.testing.assert_array_equal(value, np.zeros(2) if reduction == "none" else 0.0)
    np.testing.assert_array_equal(gradient, np.zeros((2, 2)))
    expected, _ = by_torch("cross_entropy", Z, y, "mean")
    assert np.isnan(expected)


def test_where_the_weights_sum_to_zero_the_mean_is_the_sum():
    """With label smoothing the other classes cost something, and there is no weight to divide by (torch: nan)."""
    Z, y, options = np.zeros((2, 2)), np.array([0, 0]), {"weight": np.array([0.0, 1.0]), "label_smoothing": 0.5}
    value, gradient = both("cross_entropy", Z, y, **options)
    assert value == pytest.approx(2 * 0.25 * np.log(2), rel=4 * EPS)
    np.testing.assert_array_equal(gradient, [[0.125, -0.125]] * 2)
    assert np.isnan(by_torch("cross_entropy", Z, y, "mean", **options)[0])


def test_the_gradient_is_p_minus_y():
    """System 12, for one-hot targets; and with it the rows of the gradient sum to zero."""
    Z, y = RNG.normal(size=(5, 4)), RNG.integers(4, size=5)
    gradient = cross_entropy_backward(Z, y, reduction="sum")
    np.testing.assert_allclose(gradient, softmax(Z) - np.eye(4)[y], rtol=0, atol=4 * EPS)
    np.testing.assert_allclose(gradient.sum(axis=1), 0, rtol=0, atol=4 * EPS)


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_ends_of_the_range_are_quiet(dtype):
    """The largest finite logits: right answers cost nothing, without a warning (every warning is an error here)."""
    largest = np.finfo(dtype).max
    Z = np.array([[largest, -largest], [-largest, largest], [largest, 0]], dtype)
    y = np.array([0, 1, 0])
    for target in (y, np.eye(2, dtype=dtype)[y]):
        value, gradient = both("cross_entropy", Z, target)
        assert value == 0
        np.testing.assert_array_equal(gradient, np.zeros((3, 2), dtype), strict=True)
    value, gradient = both("binary_cross_entropy_with_logits", Z[:2], np.eye(2, dtype=dtype))
    assert value == 0
    np.testing.assert_array_equal(gradient, np.zeros((2, 2), dtype), strict=True)


COUNTS = arrays(np.float64, (4,), elements=st.floats(0, 1)).filter(lambda p: p.sum() > 0.1)


DISTRIBUTIONS = COUNTS.map(lambda p: p / p.sum())


@settings(max_examples=100, deadline=None)
@given(DISTRIBUTIONS, arrays(np.float64, (4,), elements=st.floats(-30, 30)))
def test_cross_entropy_is_entropy_and_divergence(p, z):
    """H(p, q) = H(p) + KL(p, q) >= H(p), up to 16 roundings of what is summed: sum_i p_i |log q_i|, and 1."""
    cost = cross_entropy(z, p)
    allowed = 8 * EPS * (1 + cost)
    assert cost >= entropy(p) - allowed
    # Each q is off by a few ULP, too, as test_exactness measures; they are a distribution only after a division.
    q = softmax(z)
    assert abs(cost - entropy(p) - kl_divergence(p, q / q.sum())) <= allowed + 8 * EPS


def test_cross_entropy_is_least_where_the_softmax_is_the_target():
    p = softmax(RNG.normal(size=(5, 4)))
    assert_close(cross_entropy(np.log(p), p, reduction="none"), entropy(p), operations=16)
    assert_close(cross_entropy_backward(np.log(p), p), np.zeros((5, 4)), operations=4, scale=1)


# ---- logits in and out of the exponential's reach --------------------------------------------------------------------


@pytest.mark.parametrize("shift", [339, 341, -339, -341, 2**30])
def test_a_shift_of_all_logits_changes_nothing(shift):
    """Whole numbers, which a shift leaves exact, so that only the exponentials and their sums round: under 8 times."""
    Z, labels = np.array([[0.0, 1.0, -1.0], [3.0, -40.0, 0.0], [-1.0, -1.0, -1.0]]), np.array([0, 1, 2])
    value, gradient = cross_entropy_value_and_backward(Z, labels, reduction="none")
    shifted, its_gradient = cross_entropy_value_and_backward(Z + shift, labels, reduction="none")
    np.testing.assert_allclose(shifted, value, rtol=8 * EPS, atol=0)
    np.testing.assert_allclose(its_gradient, gradient, rtol=8 * EPS, atol=0)


@pytest.mark.parametrize("away", [339.0, 340.5, 341.0, 679.0, 681.0, 1e4, 1e300])
def test_distant_target_costs_the_distance(away):
    Z = np.array([[0.0, -away], [away, 0.0], [away / 2, -away / 2]])
    value, gradient = cross_entropy_value_and_backward(Z, np.array([1, 1, 1]), reduction="none")
    np.testing.assert_allclose(value, [away] * 3, rtol=2 * EPS, atol=0)
    np.testing.assert_array_equal(gradient, [[1.0, -1.0]] * 3)


def test_one_enormous_logit_leaves_the_other_rows_their_digits():
    Z, labels = np.array([[50.0, 0.0], [1e5, 0.0]]), np.array([0, 0])
    alone, gradient_alone = cross_entropy_value_and_backward(Z[:1], labels[:1], reduction="none")
    value, gradient = cross_entropy_value_and_backward(Z, labels, reduction="none")
    np.testing.assert_allclose(value, [alone[0], 0], rtol=4 * EPS, atol=0)
    np.testing.assert_allclose(gradient, [gradient_alone[0], [0, 0]], rtol=4 * EPS, atol=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-300, 1e-42, 1e35, 1e39, 1e300])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_the_mean_does_not_depend_on_the_scale_of_weights(dtype, scale, label_smoothing):
    """Weights beyond float32 are numbers, too: the mean divides by their sum."""
    Z, y, weight = RNG.normal(size=(6, 3)).astype(dtype), np.array([0, 1, 2, 0, 1, 1]), np.array([1.0, 2.0, 0.25])
    for f in (cross_entropy, cross_entropy_backward):
        right = f(Z, y, weight=weight, label_smoothing=label_smoothing)
        scaled = f(Z, y, weight=scale * weight, label_smoothing=label_smoothing)
        assert scaled.dtype == dtype
        bound = 16 * np.finfo(dtype).eps * np.abs(right).max()  # of sums of 3 terms, which may cancel
        np.testing.assert_allclose(scaled, right, rtol=0, atol=bound)


@pytest.mark.parametrize("weight", [[1e308] * 3, [np.inf, 1, 1], [np.nan, 1, 1]])
def test_weights_without_a_finite_sum_are_refused(weight):
    with pytest.raises(ValueError, match=r"^weight: expected "), np.errstate(over="ignore"):
        cross_entropy(np.zeros((6, 3)), np.arange(6) % 3, weight=weight)
