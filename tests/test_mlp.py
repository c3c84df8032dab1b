"""MLP: the layers it is made of, counted as torch counts them."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from networks_of_tests import N, assert_same, inputs

from handmade.activation_layers import PReLU
from handmade.checking.gradients import check_gradient
from handmade.dropout import Dropout
from handmade.initializers import constant
from handmade.mlp import MLP


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("sizes", [[1, 1], [2, 1], [3, 4, 2], [6, 2, 1], [1, 1, 1, 1, 1], [64, 32, 16, 10], (5, 9, 5)])
def test_counts_are_those_of_torch(sizes, bias):
    network = MLP(sizes, bias=bias)
    linear = [torch.nn.Linear(i, o, bias=bias) for i, o in itertools.pairwise(sizes)]
    parameters = [parameter for module in linear for parameter in module.parameters()]
    assert network.parameter_count == network.theta.size == sum(p.numel() for p in parameters)
    assert network.weight_count == sum(module.weight.numel() for module in linear)
    assert network.neuron_count == sum(sizes[1:])
    assert [block.shape for block in network.blocks(network.theta).values()] == [tuple(p.shape) for p in parameters]


# --- MLP


@pytest.mark.parametrize(
    ("options", "layers"),
    [
        (dict(activation="tanh"), ["Dense(4, 3)", "'tanh'", "Dense(3, 2)", "'tanh'", "Dense(2, 1)"]),
        (
            dict(activation=["tanh", "relu"]),
            ["Dense(4, 3)", "'tanh'", "Dense(3, 2)", "'relu'", "Dense(2, 1)"],
        ),
        (
            dict(activation=["relu"] * 3),
            ["Dense(4, 3)", "'relu'", "Dense(3, 2)", "'relu'", "Dense(2, 1)", "'relu'"],
        ),
        (dict(activation=[None, "relu"]), ["Dense(4, 3)", "Dense(3, 2)", "'relu'", "Dense(2, 1)"]),
        (dict(activation=None), ["Dense(4, 3)", "Dense(3, 2)", "Dense(2, 1)"]),
        (
            dict(activation=None, normalization="batch", dropout=0.25, bias=False),
            [
                "Dense(4, 3, bias=False)",
                "BatchNorm(3)",
                "Dropout(0.25)",
                "Dense(3, 2, bias=False)",
                "BatchNorm(2)",
                "Dropout(0.25)",
                "Dense(2, 1, bias=False)",
            ],
        ),
        (
            dict(activation=["elu"] * 3, normalization="layer", dropout=0.5),
            [
                "Dense(4, 3)",
                "LayerNorm(3)",
                "'elu'",
                "Dropout(0.5)",
                "Dense(3, 2)",
                "LayerNorm(2)",
                "'elu'",
                "Dropout(0.5)",
                "Dense(2, 1)",
                "'elu'",
            ],
        ),
    ],
)
def test_an_mlp_is_made_of(options, layers):
    expected = [f"Activation({layer})" if layer.startswith("'") else layer for layer in layers]
    assert [repr(layer) for layer in MLP([4, 3, 2, 1], **options).layers] == expected


def test_an_mlp_with_functions_of_your_own():
    pair = (np.square, lambda dH, A: np.multiply(dH, 2 * A))
    network = MLP([3, 4, 4, 2], activation=pair, rng=0)
    assert [repr(layer) for layer in network.layers[1::2]] == ["Activation('square')"] * 2
    assert check_gradient(network, inputs(width=3), np.arange(N) % 2)


def test_a_layer_as_activation_is_copied_for_each_hidden_layer():
    first = PReLU(4)
    network = MLP([3, 4, 4, 4, 2], activation=first, rng=0)
    places = [layer for layer in network.layers if isinstance(layer, PReLU)]
    assert len(set(map(id, places))) == 3 and places[0] is first
    assert network.parameter_count == MLP([3, 4, 4, 4, 2]).parameter_count + 3 * 4


def test_one_seed_gives_one_mlp():
    one, same, other = (MLP([3, 4, 2], rng=rng) for rng in (0, np.random.default_rng(0), 1))
    assert_same([same.theta], [one.theta])
    assert not np.any(other.theta == one.theta)
    # Dropout draws after all weights: it changes none of them.
    assert_same([MLP([3, 4, 2], rng=0, dropout=0.5).theta], [one.theta])


def test_every_dropout_layer_of_an_mlp_draws_other_masks():
    def kept(network):
        """Return the values that each dropout layer keeps of a batch of ones."""
        dropouts = [layer for layer in network.layers if isinstance(layer, Dropout)]
        return [layer.forward(np.ones((5, 20)), training=True)[0] for layer in dropouts]

    first, second = kept(MLP([3, 4, 4, 2], dropout=0.5, rng=0))
    assert np.any(first != second)
    assert_same(kept(MLP([3, 4, 4, 2], dropout=0.5, rng=0)), [first, second])
    assert np.any(kept(MLP([3, 4, 4, 2], dropout=0.5, rng=1))[0] != first)


def test_an_mlp_starts_as_the_initializers_say():
    network = MLP([3, 4, 2], weight_init="zeros", bias_init=partial(constant, value=0.5))
    for name, block in network.blocks(network.theta).items():
        assert np.all(block == (0.5 if name.endswith("bias") else 0))


@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        (([3, 0, 2],), {}, ValueError, "at least 1, got 0"),
        (([3, 4, -2],), {}, ValueError, "at least 1, got -2"),
        (([0, 4],), {}, ValueError, "at least 1, got 0"),
        (([3, 4.0, 2],), {}, TypeError, "integer.*got 4.0"),
        (([3, True, 2],), {}, TypeError, "integer.*got True"),
        ((["3", 2],), {}, TypeError, "integer.*got '3'"),
        (([3],), {}, ValueError, r"sizes.*inputs and outputs.*got \[3\]"),
        (([],), {}, ValueError, r"sizes.*inputs and outputs.*got \[\]"),
        (([3, 4, 5, 2], ["relu"]), {}, ValueError, "list of 2 for the hidden layers.*list of 3.*got a list of 1"),
        (([3, 4, 2], ["relu"] * 3), {}, ValueError, "list of 1 for the hidden layers.*list of 2.*got a list of 3"),
        (([3, 4, 2], "relu7"), {}, ValueError, "activation: expected one of .*relu.*got 'relu7'"),
        (([3, 4, 2], ["tanh", "relu7"]), {}, ValueError, "activation: expected one of .*relu.*got 'relu7'"),
        (([3, 4, 4, 2], ("tanh", "relu")), {}, TypeError, "activation: expected a list of one per layer, .*'tanh'"),
        (([3, 4, 4, 2], ("tanh", np.tanh)), {}, TypeError, "activation: expected a list of one per layer, .*'tanh'"),
        (([3, 4, 2], 3), {}, TypeError, "activation: expected a name or a pair.*got 3"),
        (
            ([3, 4, 2],),
            {"normalization": "group"},
            ValueError,
            "normalization: .*batch, layer, rms; got 'group'",
        ),
        (([3, 4, 2],), {"dropout": 1.5}, ValueError, "dropout: expected a number.*1.5"),
        (([3, 4, 2],), {"dropout": -0.5}, ValueError, "dropout: expected a number.*-0.5"),
        (([3, 4, 2],), {"weight_init": "he"}, ValueError, "^weight_init: .*'he'"),
        (([3, 4, 2],), {"bias_init": "one"}, ValueError, "^bias_init: .*'one'"),
        (([3, 4, 2],), {"dtype": np.float16}, TypeError, "float64 or float32, got float16"),
    ],
)
def test_an_mlp_refuses(arguments, options, error, words):
    with pytest.raises(error, match=words):
        MLP(*arguments, **options)
