"""A layer of a user's own that breaks the contract of `Layer` in its backward pass is refused by name."""

from __future__ import annotations

import functools
from typing import ClassVar

import numpy as np
import pytest

import handmade as hm

X, y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2


def right_gradient(layer, dH, X):
    layer.dw[...] = (dH * X).sum(axis=0)
    return dH * layer.w


class Scale(hm.Layer):
    parameters: ClassVar = {"weight": "w"}

    def __init__(self, features, own_backward):
        self.in_features, self.own_backward = features, own_backward
        self.w = np.ones(features)

    def forward(self, X, training=False):
        return X * self.w, X

    def backward(self, dH, X, need_dX=True):
        return self.own_backward(self, dH, X)


def network_of(own_backward):
    inner = hm.Residual([hm.Dense(4, 4, rng=1), Scale(4, right_gradient)])
    return hm.Network([hm.Dense(3, 4, rng=0), inner, hm.Activation("tanh"), Scale(4, own_backward), hm.Dense(4, 2)])


def returns(change):
    return lambda layer, dH, X: change(right_gradient(layer, dH, X))


def writes_a_part(layer, dH, X):
    layer.dw[1:] = (dH * X)[:, 1:].sum(axis=0)
    return dH * layer.w


@pytest.mark.parametrize(
    ("own_backward", "kind", "message"),
    [
        (returns(lambda dX: None), TypeError, r"Scale\.backward: expected an array.*\(20, 4\).*layer 3.*NoneType"),
        (returns(np.ndarray.tolist), TypeError, r"Scale\.backward: expected an array.*got list; return dX"),
        (returns(lambda dX: dX[:, :1]), ValueError, r"Scale\.backward: .*\(20, 4\) .* layer 3, got \(20, 1\)"),
        (returns(lambda dX: dX.sum(axis=0)), ValueError, r"Scale\.backward: .*\(20, 4\).*got \(4,\); return dX"),
        (lambda layer, dH, X: dH * layer.w, ValueError, r"Scale\.backward: expected it to overwrite dw of layer 3"),
        (writes_a_part, ValueError, r"Scale\.backward: expected it to overwrite dw of layer 3"),
    ],
)  # fmt: skip
def test_a_wrong_backward_is_refused_by_name(own_backward, kind, message):
    # tanh, below, would broadcast the wrong shapes without an error.
    network = network_of(own_backward)
    with pytest.raises(kind, match=message):
        network.loss_and_gradient(X, y)
    assert not network.gradient.any()


@pytest.mark.parametrize("before", [0.0, [0.0, 1.0]], ids=["zero", "zero in part"])
def test_a_refused_backward_leaves_the_gradient_as_it_was(before):
    def refuse(dH, X, need_dX=True):
        raise RuntimeError("no")

    network = hm.Network([hm.Dense(3, 2, rng=0)])
    network.gradient = expected = np.resize(before, network.gradient.size)
    network.layers[-1].backward = refuse
    with pytest.raises(RuntimeError, match="no"):
        network.loss_and_gradient(X, y)
    np.testing.assert_array_equal(network.gradient, expected)


def test_no_pass_asks_the_lowest_layer_for_dX():
    asked = []

    class Recording(Scale):
        def backward(self, dH, X, need_dX=True):
            asked.append(need_dX)
            return super().backward(dH, X)

    network = hm.Network([Recording(3, right_gradient), Recording(3, right_gradient)])
    for _ in range(2):
        network.loss_and_gradient(X, X, "mse_loss")
    assert asked == [True, False] * 2


def test_a_wrong_backward_stops_fit_before_its_first_step():
    network = network_of(lambda layer, dH, X: dH)
    before = network.theta.copy()
    with pytest.raises(ValueError, match=r"Scale\.backward: expected it to overwrite dw"):
        hm.fit(network, X, y, progress=False)
    np.testing.assert_array_equal(network.theta, before)


def test_an_error_within_a_backward_names_the_layer_in_a_note():
    def misshapen(layer, dH, X):
        layer.dw[...] = dH * X
        return dH

    with pytest.raises(ValueError, match="broadcast") as error:
        network_of(misshapen).loss_and_gradient(X, y)
    assert error.value.__notes__ == ["in the backward pass of layer 3, Scale"]


def test_the_lowest_layer_may_return_none():
    layer = Scale(3, returns(lambda dX: None))
    network = hm.Network([layer, hm.Dense(3, 2, rng=0)])
    network.loss_and_gradient(X, y)
    assert layer.dw.all()
    network = hm.Network([Scale(3, returns(lambda dX: None))])
    with pytest.raises(TypeError, match=r"Scale\.backward: expected an array"):
        network.backward(X, network.forward(X)[1])


def test_the_first_pass_returns_what_the_later_ones_do():
    network = network_of(right_gradient)
    H, cache = network.forward(X)
    first = network.backward(H, cache), network.gradient.copy()
    second = network.backward(H, cache), network.gradient
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


@pytest.mark.parametrize("inside", [lambda layer: layer, lambda layer: hm.Residual([layer])], ids=["chain", "residual"])
@pytest.mark.parametrize("result", [lambda X: 2 * X, lambda X: [X, X], lambda X: (X, X, X)], ids=["H", "list", "three"])
def test_a_forward_without_a_cache_is_named(inside, result):
    """Two rows would pass for an output and a cache."""

    class Mine(hm.Layer):
        def forward(self, X, training=False):
            return result(X)

        def backward(self, dH, cache, need_dX=True):
            return 2 * dH

    network = hm.Network([hm.Dense(3, 4, rng=0), inside(Mine()), hm.Dense(4, 2, rng=0)])
    X, y = np.ones((2, 3)), np.array([0, 1])
    for use in (
        network.loss_and_gradient,
        lambda X, y: network.predict(X),
        functools.partial(hm.check_gradient, network),
    ):
        with pytest.raises(TypeError, match=r"^Mine.forward: expected \(H, cache\), got"):
            use(X, y)


def test_a_forward_of_a_class_beside_layer_is_checked():
    class Doubles:
        def forward(self, X, training=False):
            return 2 * X

    class Mine(Doubles, hm.Layer):
        def backward(self, dH, cache, need_dX=True):
            return 2 * dH

    with pytest.raises(TypeError, match=r"^Mine.forward: expected \(H, cache\), got"):
        hm.Network([Mine(), hm.Dense(3, 2, rng=0)]).loss_and_gradient(np.ones((2, 3)), np.array([0, 1]))


class Passes(hm.Layer):
    """A layer that returns its input, and no cache in the mode ``bad``."""

    def __init__(self, bad=None):
        self.bad = bad

    def forward(self, X, training=False):
        return X if training is self.bad else (X, None)

    def backward(self, dH, cache, need_dX=True):
        return dH


@pytest.mark.parametrize("bad", [True, False])
def test_a_forward_is_checked_in_each_mode(bad):
    class Mine(Passes):
        forward = Passes.forward.__wrapped__

    network = hm.Network([Mine(bad), hm.Dense(3, 2, rng=0)])
    X, y = np.ones((2, 3)), np.array([0, 1])
    for _ in range(2):
        network.loss_and_gradient(X, y, training=not bad)
    for _ in range(2):
        with pytest.raises(TypeError, match=r"^Mine.forward: expected \(H, cache\), got ndarray alone"):
            network.loss_and_gradient(X, y, training=bad)


def test_a_forward_costs_nothing_after_both_modes():
    class Mine(Passes):
        forward = Passes.forward.__wrapped__

    written, X = Mine.forward.__wrapped__, np.ones((1, 2))
    Mine().forward(X, training=True)
    Mine().forward(X, True)
    assert Mine.forward is not written
    Mine().predict(X)
    assert Mine.forward is written


def test_a_layer_of_the_library_costs_nothing_from_the_start():
    written = Passes.forward.__wrapped__
    assert type("Own", (Passes,), {"forward": written, "__module__": "handmade.own"}).forward is written
    assert type("Alien", (Passes,), {"forward": written, "__module__": "handmade_by_others"}).forward is not written


@pytest.mark.parametrize("result", [lambda X: (2 * X).tolist(), lambda X: memoryview(X), lambda X: tuple(X)])
def test_an_output_that_is_no_array_is_named(result):
    class Mine(hm.Layer):
        def forward(self, X, training=False):
            return result(X), None

        def backward(self, dH, cache, need_dX=True):
            return 2 * dH

    network = hm.Network([hm.Dense(2, 2), Mine(), hm.Dense(2, 2)])
    with pytest.raises(TypeError, match=r"^Mine.forward: expected H to be an array, got (list|memoryview|tuple)"):
        network.loss_and_gradient(np.ones((3, 2)), [0, 1, 0])
