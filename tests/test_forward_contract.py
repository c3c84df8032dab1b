"""The first forward pass of a layer or an activation of a user's own: the shape of H, and an input left as it was."""

from __future__ import annotations

import numpy as np
import pytest

import handmade as hm

X, y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2


class Narrow(hm.Layer):
    def __init__(self, spoil):
        self.spoil = spoil

    def forward(self, X, training=False):
        return self.spoil(X), None

    def backward(self, dH, cache, need_dX=True):
        return dH


def cut_in_place(X):
    return np.maximum(X, 0, out=X)


def scaled_in_place(X):
    X *= 2
    return X + 0


@pytest.mark.parametrize("spoil", [lambda X: X[:, :-1], lambda X: X.sum(axis=0), lambda X: X[:-1], lambda X: X.ravel()])
@pytest.mark.parametrize("training", [False, True])
def test_an_output_of_another_shape_is_refused(spoil, training):
    layer = type("Fresh", (Narrow,), {"forward": Narrow.forward})(spoil)
    with pytest.raises(ValueError, match=r"Fresh\.forward: expected H of shape \(20, 3\), as width_after says"):
        layer.forward(X, training)


def test_an_output_of_one_number_per_sample_needs_no_second_axis():
    def of_width(width):
        return {"forward": Narrow.forward, "width_after": lambda self, width_before: width}

    for width, spoil in (1, lambda X: X.sum(axis=1)), (1, lambda X: X[:, :1]), (2, lambda X: X[:, :2]):
        type("Fresh", (Narrow,), of_width(width))(spoil).forward(X)
    for width, spoil in (2, lambda X: X.sum(axis=1)), (1, lambda X: X[:, 0][:-1]):
        with pytest.raises(ValueError, match=r"expected H of shape \(20, [12]\)"):
            type("Fresh", (Narrow,), of_width(width))(spoil).forward(X)


def test_an_input_with_nan_counts_as_unchanged():
    layer = type("Fresh", (Narrow,), {"forward": Narrow.forward})(np.copy)
    np.testing.assert_array_equal(layer.forward(np.full((2, 3), np.nan))[0], np.full((2, 3), np.nan))


@pytest.mark.parametrize("spoil", [cut_in_place, scaled_in_place])
@pytest.mark.parametrize("place", [0, 1])
def test_an_input_changed_in_place_is_refused_and_restored(spoil, place):
    layer = type("Fresh", (Narrow,), {"forward": Narrow.forward})(spoil)
    data, below = X.copy(), [hm.Dense(3, 3, rng=0)]
    network = hm.Network([*below[:place], layer, hm.Dense(3, 2, rng=1)])
    with pytest.raises(ValueError, match=r"Fresh\.forward: expected it to leave its input unchanged"):
        network.loss_and_gradient(data, y)
    assert (data == X).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_layer_that_promotes_is_named_in_training(dtype):
    layer = type("Fresh", (Narrow,), {"forward": Narrow.forward})(lambda X: X * np.sqrt(2.0))  # NumPy's float64
    layer.forward(X.astype(dtype), True)  # outside a network, its own affair
    network = hm.Network([hm.Dense(3, 3, rng=0), layer, hm.Dense(3, 2, rng=1)], dtype=dtype)
    if dtype == "float64":
        network.loss_and_gradient(X, y)
    else:
        network.predict(X)
        with pytest.raises(TypeError, match=r"^Fresh\.forward: expected H of dtype float32, as its input, got float64"):
            network.loss_and_gradient(X, y)


@pytest.mark.parametrize(
    ("f", "f_backward", "name"),
    [
        (lambda A: np.maximum(A, 1.5, out=A), lambda dH, A: dH * (A > 1.5), "f"),
        (lambda A: A * 2, lambda dH, A: np.multiply(dH, 2, out=dH), "f_backward"),
    ],
)
def test_an_activation_that_changes_its_argument_is_refused(f, f_backward, name):
    with pytest.raises(ValueError, match=f"activation: expected {name} to leave its arguments unchanged"):
        hm.Activation((f, f_backward))
