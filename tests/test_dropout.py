"""Dropout and AlphaDropout: their masks, their moments, their gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from layers_of_tests import assert_same, numbers
from oracles import assert_close

import handmade as hm
from handmade.dropout import AlphaDropout, Dropout
from handmade.layers import Activation, Dense
from handmade.network import Network


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_mean(p):
    count = 100_000
    H = Dropout(p, rng=0).forward(np.ones((count // 100, 100)), training=True)[0]
    kept = 1 / (1 - p)
    assert_close(np.unique(H), [0, kept], operations=2)
    # The mean of so many values of variance p / (1 - p) is five standard deviations off once in two million.
    assert abs(H.mean() - 1) <= 5 * math.sqrt(p / (1 - p) / count)


@pytest.mark.parametrize(("p", "factor"), [(0, 1), (0.0, 1), (1, 0), (1.0, 0)])
def test_dropout_of_nothing_and_of_everything(p, factor):
    layer, X = Dropout(p, rng=0), numbers((50, 20))
    H, cache = layer.forward(X, training=True)
    assert_same([H, layer.backward(2 * X, cache)], [factor * X, factor * 2 * X])


def test_one_seed_drops_the_same_values_in_both_dtypes():
    X = np.ones((20, 30))
    H = Dropout(0.5, rng=3).forward(X, training=True)[0]
    single = Dropout(0.5, rng=np.random.default_rng(3)).forward(X.astype(np.float32), training=True)[0]
    assert single.dtype == np.float32
    assert_same([single], [H.astype(np.float32)])
    assert np.any(Dropout(0.5, rng=4).forward(X, training=True)[0] != H)


def test_the_mask_is_drawn_in_float32():
    layer, X = Dropout(0.3, rng=5), np.ones((4, 3))
    drawn = np.random.default_rng(5).random((2, 4, 3), dtype=np.float32)
    for batch in range(2):
        assert_same([layer.forward(X, training=True)[0]], [(drawn[batch] >= 0.3) / 0.7])


def test_dropout_backward_uses_the_mask_of_its_cache():
    layer, X = Dropout(0.5, rng=0), numbers((20, 30))
    first, cache = layer.forward(X, training=True)
    second, later = layer.forward(X, training=True)
    assert np.any(first != second)
    assert_same([layer.backward(X, cache), layer.backward(X, later)], [first, second])


def test_dropout_is_the_identity_while_evaluating():
    layer, X = Dropout(0.5, rng=0), numbers((20, 30))
    state = layer.rng.bit_generator.state
    H, cache = layer.forward(X)
    assert_same([H, layer.backward(2 * X, cache), layer.predict(X)], [X, 2 * X, X])
    assert layer.rng.bit_generator.state == state


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan, 50])
def test_dropout_refuses_what_is_no_probability(p):
    with pytest.raises(ValueError, match=rf"p: expected a number in \[0, 1\], got {p}"):
        Dropout(p)


def test_the_mask_of_dropout_takes_a_byte_per_number():
    _, kept = Dropout(0.5, rng=0).forward(np.ones((3, 4)), training=True)
    assert kept.dtype == bool


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_alpha_dropout_has_the_values_of_torch(p, dtype):
    X = np.random.default_rng(0).normal(size=(20, 30)).astype(dtype)
    H, kept = AlphaDropout(p, rng=0).forward(X, training=True)
    torch.manual_seed(0)
    module = torch.nn.AlphaDropout(p)
    theirs = module(torch.tensor(X)).numpy()
    a = ((1 - p) * (1 + p * 1.7580993408473766**2)) ** -0.5
    dropped = a * 1.7580993408473766 * (p - 1)
    eps = float(8 * np.finfo(dtype).eps)
    np.testing.assert_allclose(H, np.where(kept, a * X + a * 1.7580993408473766 * p, dropped), rtol=0, atol=4 * eps)
    mask = abs(theirs - dropped) > 1e-3  # where torch, whose mask is another, has kept the value
    np.testing.assert_allclose(theirs[mask], (a * X + a * 1.7580993408473766 * p)[mask], rtol=0, atol=4 * eps)
    assert H.dtype == dtype


def test_alpha_dropout_keeps_mean_and_variance():
    X = np.random.default_rng(0).normal(size=(1000, 300))
    for p in (0.05, 0.2, 0.6):
        H, kept = AlphaDropout(p, rng=1).forward(X, training=True)
        # Five standard errors of means of 300,000 numbers, whose squares have a standard deviation below 4.
        assert abs(H.mean()) < 5 / 300_000**0.5 and abs(H.var() - 1) < 20 / 300_000**0.5
        assert abs(kept.mean() - (1 - p)) < 5 * (p * (1 - p) / 300_000) ** 0.5


@pytest.mark.parametrize("kind", [Dropout, AlphaDropout])
@pytest.mark.parametrize("p", [0, 0.25, 0.5, 1])
def test_scale_is_the_factor_of_what_is_kept(kind, p):
    """Two samples that differ by 1 differ by the scale where the mask keeps them; of what is dropped whole, by 0."""
    layer, other = kind(p, rng=0), kind(p, rng=0)
    H, kept = layer.forward(np.zeros((20, 30)), training=True)
    difference = other.forward(np.ones((20, 30)), training=True)[0] - H
    assert_close(difference, layer.scale * kept, operations=8)
    assert layer.scale == 1 or p not in (0, 1)


def test_alpha_dropout_is_the_identity_in_evaluation():
    X = np.random.default_rng(0).normal(size=(4, 5))
    assert AlphaDropout(0.5).predict(X) is X
    np.testing.assert_array_equal(AlphaDropout(0.0).forward(X, training=True)[0], X)
    H, kept = AlphaDropout(1.0).forward(X, training=True)  # zeros, as in torch
    np.testing.assert_array_equal(H, torch.nn.AlphaDropout(1.0)(torch.tensor(X)).numpy() + 0.0)
    assert (AlphaDropout(1.0).backward(X, kept) == 0).all()


def test_alpha_dropout_passes_the_gradient_check():
    layers = [Dense(3, 6, rng=0), Activation("elu"), AlphaDropout(0.3, rng=1), Dense(6, 2, rng=2)]
    network, X, y = Network(layers), np.random.default_rng(2).normal(size=(9, 3)), np.arange(9) % 2
    assert not hm.check_gradient(network, X, y, rng=0).wrong
    one, other = AlphaDropout(0.3, rng=5), Dropout(0.3, rng=5)
    np.testing.assert_array_equal(one.forward(X, True)[1], other.forward(X, True)[1])
    assert repr(one) == "AlphaDropout(0.3)"
    with pytest.raises(ValueError, match="p: expected a number in"):
        AlphaDropout(1.5)
