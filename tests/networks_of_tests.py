"""Networks that several test files share."""

from __future__ import annotations

import numpy as np
import pytest

from handmade.composites import Concatenate, Parallel, Residual
from handmade.layers import Activation, Dense
from handmade.mlp import MLP
from handmade.network import Network
from handmade.normalization import BatchNorm, LayerNorm

I, O, N = 6, 3, 8


def family():
    encoders = Parallel([Dense(4, 3, rng=0), Activation("sigmoid")], [Dense(2, 2, rng=1), Activation("sigmoid")])
    return Network([encoders, Dense(5, 4, rng=2), Activation("tanh"), Dense(4, O, rng=3)])


def nested():
    block = [LayerNorm(5), Dense(5, 7, rng=1), Activation("gelu"), Dense(7, 5, rng=2)]
    skipping = Concatenate([Residual(block), BatchNorm(5)])
    return Network([Activation("tanh"), Dense(I, 5, rng=0), skipping, Dense(10, O, rng=3)])


# Networks with inputs of width I and outputs of width O.
NETWORKS = {
    "one layer": lambda: MLP([I, O], rng=0),
    "sigmoid": lambda: MLP([I, 4, O], activation="sigmoid", rng=0),
    "relu, deep": lambda: MLP([I, 7, 5, 4, O], rng=0),
    "no bias": lambda: MLP([I, 7, 5, O], activation="tanh", bias=False, rng=0),
    "batch": lambda: MLP([I, 7, 5, O], activation="tanh", normalization="batch", rng=0),
    "layer": lambda: MLP([I, 7, 5, O], activation="silu", normalization="layer", rng=0),
    "dropout": lambda: MLP([I, 7, 5, O], activation="elu", normalization="batch", dropout=0.5, rng=0),
    "groups": family,
    "nested": nested,
}


each_network = pytest.mark.parametrize("name", NETWORKS)


in_both_dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32])


def build(name, dtype=np.float64):
    """Return a network whose statistics, where it has some, are not those of the start."""
    network = NETWORKS[name]().astype(dtype)
    network.forward(inputs(seed=9), training=True)
    return network


def inputs(samples=N, seed=0, width=I):
    return np.random.default_rng(seed).uniform(-1, 1, (samples, width))


def labels(samples=N):
    return np.arange(samples) % O


def assert_same(actual, expected):
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


def everything(network):
    return [network.theta.copy(), network.gradient.copy(), *network.state_dict().values()]


def assert_views(network):
    """Every parameter is the block of theta that it is named for, and its gradient that of the gradient."""
    values, gradients = network.blocks(network.theta), network.blocks(network.gradient)
    parameters = [
        (prefix + name, getattr(layer, attribute), getattr(layer, "d" + attribute))
        for prefix, layer in network.leaves()
        for name, attribute in layer.parameters.items()
    ]
    assert [name for name, _, _ in parameters] == list(values)
    before = network.theta.copy()
    network.theta[:] = np.arange(network.theta.size)
    network.gradient[:] = -network.theta
    for name, value, gradient in parameters:
        assert value.shape == gradient.shape == values[name].shape
        assert_same([value, gradient], [values[name], gradients[name]])
    assert_same([np.concatenate([value.ravel() for _, value, _ in parameters])], [network.theta])
    assert_same([np.concatenate([gradient.ravel() for _, _, gradient in parameters])], [network.gradient])
    network.theta[:] = before


def roundings(network):
    """On two sides, forward and backward, each layer adds up 10 terms or the batch, then 8 steps."""
    return 2 * 2 * len(list(network.leaves())) * (10 + N + 8)
