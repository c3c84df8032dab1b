"""The backward pass of the checks: a replaced step changes what lies below it, and nothing above."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from handmade import MLP, Activation, Concatenate, Dense, Network, Parallel, Residual
from handmade.activations import ACTIVATIONS
from handmade.checking.backward_pass import BackwardPass, is_elementwise, one_sided_slopes, own_slope, slope

RNG = np.random.default_rng(3)
X, y = RNG.normal(size=(6, 4)), np.array([0, 2, 1, 1, 0, 2])
NETWORKS = {
    "plain": MLP([4, 5, 3], activation="sigmoid", rng=0),
    "softmax inside": MLP([4, 5, 3], activation="softmax", rng=1),
    "normalized": MLP([4, 5, 3], activation="gelu", normalization="layer", rng=2),
    "dropout, batch": MLP([4, 5, 3], activation="tanh", normalization="batch", dropout=0.4, rng=6),
    "composites": Network(
        [
            Parallel([Dense(2, 3, rng=1)], [Dense(2, 2, rng=2), Activation("tanh")]),
            Residual([Dense(5, 5, rng=3), Activation("elu")]),
            Concatenate([Dense(5, 2, rng=4)]),
            Dense(7, 3, rng=5),
        ]
    ),
}


@pytest.mark.parametrize("options", [{}, {"training": False}, {"sample_weight": np.arange(6.0)}])
@pytest.mark.parametrize("name", NETWORKS)
def test_without_a_replaced_step_it_is_the_networks_own_gradient(name, options):
    network = copy.deepcopy(NETWORKS[name])
    passes, own = BackwardPass(network, X, y, **options), network.loss_and_gradient(X, y, **options)
    assert passes.value == own[0] and passes.training == options.get("training", True)
    # dH f'(A) by way of f'(A) rounds once more in each of at most four layers, and the sums over six samples carry it.
    assert np.abs(passes.gradient() - own[1]).max() <= 4 * 6 * np.finfo(float).eps * np.abs(own[1]).max()


def test_a_replaced_step_changes_the_layers_below_once():
    passes = BackwardPass(NETWORKS["plain"], X, y)
    right = passes.network.blocks(passes.gradient())
    without = passes.network.blocks(passes.gradient({1: lambda w, i, dH: w.scale * dH}))  # scale is 0 by default
    assert not without["0.weight"].any() and (without["2.weight"] == right["2.weight"]).all()
    doubled = passes.network.blocks(passes.gradient({1: lambda w, i, dH: w.scale * dH * w.slopes[i]}, scale=2.0))
    assert (doubled["2.weight"] == right["2.weight"]).all() and (doubled["2.bias"] == right["2.bias"]).all()
    for name in "0.weight", "0.bias":  # dH f'(A) by way of f'(A) rounds once more
        assert np.allclose(doubled[name], 2 * right[name], rtol=1e-14, atol=1e-17)
    again = passes.network.blocks(passes.gradient())
    assert all((again[name] == right[name]).all() for name in right)


def test_upstream_holds_what_came_down_to_each_layer():
    passes = BackwardPass(NETWORKS["plain"], X, y)
    passes.gradient()
    assert (passes.upstream[3] == passes.loss_gradient).all()
    assert (passes.upstream[2] == passes.loss_gradient @ passes.layers[2].W).all()
    assert np.allclose(passes.upstream[1], passes.upstream[2] * passes.slopes[1], rtol=1e-14, atol=1e-17)
    assert (passes.upstream[0] == passes.upstream[1] @ passes.layers[0].W).all()


def test_the_step_of_the_loss_has_a_place_and_takes_the_output():
    passes, seen = BackwardPass(NETWORKS["plain"], X, y), []

    def twice(passes, i, H):
        seen.append((i, H is passes.values[-1]))
        return 2 * passes.loss_gradient

    assert (passes.gradient({3: twice}) == 2 * passes.gradient()).all()
    assert seen == [(3, True)]


def test_a_step_without_gradients_leaves_zeros():
    passes = BackwardPass(NETWORKS["plain"], X, y)
    passes.gradient()
    blocks = passes.network.blocks(passes.gradient({2: lambda w, i, dH: dH @ w.layers[2].W}))
    assert not blocks["2.weight"].any() and not blocks["2.bias"].any() and blocks["0.weight"].any()


def test_what_a_mistake_makes_infinite_is_no_concern():
    passes = BackwardPass(NETWORKS["plain"], X, y)
    blocks = passes.network.blocks(passes.gradient({1: lambda w, i, dH: dH / (0 * dH)}))
    assert not np.isfinite(blocks["0.bias"]).any() and np.isfinite(blocks["2.bias"]).all()


def test_a_float32_network_is_walked_in_float64():
    network = NETWORKS["plain"].astype(np.float32)
    assert (BackwardPass(network, X, y).gradient() == BackwardPass(network.astype(np.float64), X, y).gradient()).all()


@pytest.mark.parametrize(
    "activation", [Activation(name) for name in ACTIVATIONS] + [Activation("leaky_relu", negative_slope=0.3)], ids=repr
)
def test_the_slope_of_an_activation_is_its_own_derivative(activation):
    A = RNG.normal(size=(3, 4))
    assert is_elementwise(activation) == ("softmax" not in activation.function)
    if is_elementwise(activation):
        layer = copy.deepcopy(activation)
        _, cache = layer.forward(A, True)
        assert (slope(activation, A) == layer.backward(np.ones_like(A), cache)).all()


def test_the_slope_of_an_activation_of_ones_own_is_measured():
    def power(A):
        return A**3

    layer = Activation((power, lambda dH, A: 0 * dH))  # whose own backward is not asked
    A = np.array([[-2.0, 0.5, 3.0, 1e6]])
    assert np.abs(slope(layer, A) / (3 * A**2) - 1).max() <= 1e-10  # of a cubic, eps / h is left
    A[:] = 0.5  # where f is 1/8, and the differences are off by eps^(4/5) / 8 and less
    network = Network([Dense(4, 4, rng=0), layer])
    upstream = RNG.normal(size=(1, 4))
    passes = BackwardPass(network, A, upstream, (lambda H, T: (H * T).sum(), lambda H, T: T))
    passes.gradient()
    assert np.abs(passes.upstream[1] - upstream * 3 * passes.values[1] ** 2).max() <= 1e-11


def test_slopes_are_measured_beside_a_kink_never_across_it():
    def my_relu(A):
        return np.maximum(A, 0)

    A = np.array([[-1e-9, 0.0, 1e-9, 2.0]])
    layer = Activation((my_relu, lambda dH, A: dH * (A > 0)))
    assert (slope(layer, A) == [[0, 0, 1, 1]]).all()
    below, above = one_sided_slopes(layer, np.zeros((1, 1)))
    assert (below[0, 0], above[0, 0]) == (0, pytest.approx(1))


def test_the_network_is_left_as_it_was():
    network = NETWORKS["plain"]
    theta = network.theta.copy()
    network.gradient[:] = 7
    BackwardPass(network, X, y).gradient({0: lambda passes, i, dH: dH})
    assert (network.theta == theta).all() and (network.gradient == 7).all()


@pytest.mark.parametrize("name", NETWORKS)
def test_the_place_of_a_leaf_is_python_that_finds_it(name):
    passes = BackwardPass(NETWORKS[name], X, y)
    for prefix, leaf in passes.leaves.items():
        assert eval(f"network.{passes.place_of(prefix)}", {"network": passes.network}) is leaf
    assert passes.is_chain == (name != "composites")


def test_each_value_of_the_forward_pass_has_a_name():
    names = ["layers[0]", "layers[1]", "layers[2]", "layers[1] without gamma and beta"]
    network = copy.deepcopy(NETWORKS["normalized"])
    equal = dict(BackwardPass(network, X, y).arrays_like(np.empty((6, 5))))
    assert list(equal) == [f"the output of {name}" for name in names[:3]]  # gamma is 1, and beta 0
    network.layers[1].gamma = np.full(5, 1.5)
    passes = BackwardPass(network, X, y)
    listed = list(passes.arrays_like(np.empty((6, 5))))
    assert [name for name, _ in listed] == [f"the output of {name}" for name in names]  # each once
    found = dict(listed)
    for one, other in zip(found.values(), passes.values[1:4], strict=False):
        assert one is other
    centred = passes.values[1] - passes.values[1].mean(axis=1, keepdims=True)
    of_one = centred / np.sqrt(passes.values[1].var(axis=1, keepdims=True) + passes.layers[1].eps)
    assert np.allclose(found[f"the output of {names[3]}"], of_one, rtol=1e-12)
    assert list(passes.arrays_like(X)) == [("X", passes.values[0])]
    assert list(passes.arrays_like(np.empty((2, 2)))) == []
    inside = dict(BackwardPass(NETWORKS["composites"], X, y).arrays_like(np.empty((6, 2))))
    outputs = ("0].groups[1].layers[0]", "0].groups[1].layers[1]", "2].layers[0]")
    parts = ("0].groups[0].layers[0]", "0].groups[1].layers[0]")  # of X, each for a tower
    assert list(inside) == [
        *(f"the output of layers[{place}" for place in outputs),
        *(f"the input of layers[{place}" for place in parts),
    ]


@pytest.mark.parametrize("name", ["plain", "softmax inside", "normalized", "dropout, batch"])
def test_a_gradient_is_passed_down_through_what_lies_between(name):
    passes = BackwardPass(NETWORKS[name], X, y)
    passes.gradient()
    incoming, upstream = dict(passes.incoming), dict(passes.upstream)
    prefixes = list(passes.leaves)
    for i, prefix in enumerate(prefixes):
        for k, above in enumerate([*prefixes, "loss"]):
            if k > i:
                np.testing.assert_array_equal(passes.passed_down(upstream[k], above, prefix), incoming[prefix])
            if above != "loss":
                assert passes.is_above(above, prefix) == (k > i)


def test_a_pass_may_take_other_gradients_once():
    passes = BackwardPass(NETWORKS["plain"], X, y)
    right = passes.gradient()
    assert (passes.rerun() == right).all()
    assert (passes.rerun(2 * passes.loss_gradient) == 2 * right).all()
    B = RNG.normal(size=(6, 5))
    for blocks in (
        passes.network.blocks(passes.rerun(incoming={"0.": B})),
        passes.network.blocks(passes.rerun(outgoing={"1.": B})),
    ):
        np.testing.assert_allclose(blocks["0.weight"], B.T @ X, rtol=1e-13, atol=1e-15)  # sums over six samples
        np.testing.assert_array_equal(blocks["2.weight"], passes.network.blocks(right)["2.weight"])
    assert not passes.rerun(signals_only=True).any()
    np.testing.assert_allclose(passes.incoming["0."], passes.upstream[1], rtol=0, atol=0)
    assert (passes.gradient() == right).all()


def test_a_measured_backward_takes_the_place_of_a_leafs_own():
    passes = BackwardPass(NETWORKS["softmax inside"], X, y)
    passes.measured["1."] = lambda dH: 3 * dH
    passes.gradient()
    np.testing.assert_array_equal(passes.upstream[1], 3 * passes.upstream[2])


def test_the_own_slope_of_a_steep_activation_is_confirmed():
    layer = Activation((lambda A: 1e6 * A**3, lambda dH, A: dH * 3e6 * A**2))
    A = RNG.normal(size=(3, 4))
    np.testing.assert_array_equal(slope(layer, A), 3e6 * A**2)


def test_an_activation_may_overflow_where_its_slope_is_measured():
    layer = Activation((np.exp, lambda dH, A: dH * np.exp(A)))
    for slopes in one_sided_slopes(layer, np.array([[700.0, 800.0]])):
        assert np.isfinite(slopes).tolist() == [[True, False]]
    assert np.isinf(own_slope(layer, np.array([[800.0]]))).all()
