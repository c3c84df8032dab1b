"""The walk is the backward pass; a step that is replaced changes what lies below it, and nothing above."""

from __future__ import annotations

import numpy as np
import pytest

from handmade import MLP, Activation, Concatenate, Dense, Network, Parallel, Residual
from handmade.walk import Walk, slope

RNG = np.random.default_rng(3)
X, y = RNG.normal(size=(6, 4)), np.array([0, 2, 1, 1, 0, 2])
NETWORKS = {
    "plain": MLP([4, 5, 3], activation="sigmoid", rng=0),
    "softmax inside": MLP([4, 5, 3], activation="softmax", rng=1),
    "normalized": MLP([4, 5, 3], activation="gelu", normalization="layer", rng=2),
    "composites": Network(
        [
            Parallel([Dense(2, 3, rng=1)], [Dense(2, 2, rng=2), Activation("tanh")]),
            Residual([Dense(5, 5, rng=3), Activation("elu")]),
            Concatenate([Dense(5, 2, rng=4)]),
            Dense(7, 3, rng=5),
        ]
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_without_a_replaced_step_it_is_the_networks_own_gradient(name):
    network = NETWORKS[name]
    walk, own = Walk(network, X, y), network.loss_and_gradient(X, y)
    assert walk.value == own[0]
    # dH f'(A) by way of f'(A) rounds once more in each of at most four layers, and the sums over six samples carry it.
    assert np.abs(walk.gradient() - own[1]).max() <= 4 * 6 * np.finfo(float).eps * np.abs(own[1]).max()


def test_a_replaced_step_changes_what_lies_below_it_and_is_forgotten_afterwards():
    walk = Walk(NETWORKS["plain"], X, y)
    right = walk.network.blocks(walk.gradient())
    doubled = walk.network.blocks(walk.gradient({1: lambda w, i, dH: w.scale * dH * w.slopes[i]}, scale=2.0))
    assert (doubled["2.weight"] == right["2.weight"]).all() and (doubled["2.bias"] == right["2.bias"]).all()
    assert (doubled["0.weight"] == 2 * right["0.weight"]).all() and (doubled["0.bias"] == 2 * right["0.bias"]).all()
    again = walk.network.blocks(walk.gradient())
    assert all((again[name] == right[name]).all() for name in right)


def test_upstream_holds_what_came_down_to_each_layer():
    walk = Walk(NETWORKS["plain"], X, y)
    walk.gradient()
    assert (walk.upstream[3] == walk.loss_gradient).all()
    assert (walk.upstream[2] == walk.loss_gradient @ walk.layers[2].W).all()
    assert (walk.upstream[1] == walk.upstream[2] * walk.slopes[1]).all()


def test_the_slope_of_an_activation_of_ones_own_is_measured():
    def power(A, out=None):
        return A**3

    layer = Activation((power, lambda dH, A, out=None: 0 * dH))  # whose own backward is not asked
    A = np.array([[-2.0, 0.5, 3.0]])
    assert np.abs(slope(layer, A) / (3 * A**2) - 1).max() <= 1e-10  # of a cubic, eps / h is left


def test_the_network_is_left_as_it_was():
    network = NETWORKS["plain"]
    theta = network.theta.copy()
    network.gradient[:] = 7
    Walk(network, X, y).gradient({0: lambda walk, i, dH: dH})
    assert (network.theta == theta).all() and (network.gradient == 7).all()
