"""The catalogue of mistakes: each is the backward pass of a learner with that one line wrong."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from learners import BITS, LABELS, LOSSES, REALS, RNG, SCALE, X, assert_equal, assert_made, network_of, written

import handmade as hm
from handmade.activations import ACTIVATIONS, softmax
from handmade.checking.backward_pass import BackwardPass, slope
from handmade.checking.mistakes import mistakes

OF_DENSE = {
    "weights transposed in propagation": ("dA1 @ W1", "dA1 @ W1.T"),
    "weights missing in propagation": ("dA1 @ W1", "dA1"),
    "weight gradient in propagation": ("dA1 @ W1", "dA1 @ dW1"),
    "weights without sign in propagation": ("dA1 @ W1", "dA1 @ abs(W1)"),
    "updated weights in propagation": ("dA1 @ W1", "dA1 @ (W1 - rate * dW1)"),
    "bias gradient averaged over the samples": ("dA1.sum(axis=0)", "dA1.mean(axis=0)"),
    "bias gradient of the first sample only": ("dA1.sum(axis=0)", "dA1[0]"),
    "bias gradient of the last sample only": ("dA1.sum(axis=0)", "dA1[-1]"),
    "bias gradient summed over everything": ("dA1.sum(axis=0)", "dA1.sum()"),
    "bias gradient averaged over everything": ("dA1.sum(axis=0)", "dA1.mean()"),
    "bias gradient times the bias": ("dA1.sum(axis=0)", "dA1.sum(axis=0) * b1"),
    "bias gradient without sign": ("dA1.sum(axis=0)", "abs(dA1).sum(axis=0)"),
    "activation derivative missing in the bias gradient": ("dA1.sum(axis=0)", "dH1.sum(axis=0)"),
    "weight gradient with pre-activation for activation": ("dA1.T @ H0", "dA1.T @ A0"),
    "weight gradient of the first sample only": ("dA1.T @ H0", "np.outer(dA1[0], H0[0])"),
    "weight gradient of the last sample only": ("dA1.T @ H0", "np.outer(dA1[-1], H0[-1])"),
    "sums multiplied for products summed": ("dA1.T @ H0", "np.outer(dA1.sum(axis=0), H0.sum(axis=0))"),
    "weight gradient without the input": ("dA1.T @ H0", "dA1.T @ np.ones_like(H0)"),
    "weight gradient times the weights": ("dA1.T @ H0", "dA1.T @ H0 * W1"),
    "activation derivative missing in the weight gradient": ("dA1.T @ H0", "dH1.T @ H0"),
    "layer's gradient of the first sample only":
        ("dW1 = dA1.T @ H0\ndb1 = dA1.sum(axis=0)", "dW1 = np.outer(dA1[0], H0[0]); db1 = dA1[0]"),
    "layer's gradient of the last sample only":
        ("dW1 = dA1.T @ H0\ndb1 = dA1.sum(axis=0)", "dW1 = np.outer(dA1[-1], H0[-1]); db1 = dA1[-1]"),
    "activation derivative missing in the layer's own gradient":
        ("dW1 = dA1.T @ H0\ndb1 = dA1.sum(axis=0)", "dW1 = dH1.T @ H0; db1 = dH1.sum(axis=0)"),
}  # fmt: skip
OF_SQUARE = {  # where there are as many samples as units
    "* for @ in propagation": ("dA1 @ W1", "dA1 * W1"),
    "bias gradient summed over the wrong axis": ("dA1.sum(axis=0)", "dA1.sum(axis=1)"),
    "bias gradient averaged over the wrong axis": ("dA1.sum(axis=0)", "dA1.mean(axis=1)"),
    "dA not transposed in the weight gradient": ("dA1.T @ H0", "dA1 @ H0"),
    "* for @ in the weight gradient": ("dA1.T @ H0", "dA1.T * H0"),
}
OF_ACTIVATION = {
    "activation derivative missing": "1",
    "activation derivative taken at its output": "(1 - np.tanh(H1)**2)",
    "activation in place of its derivative": "H1",
    "pre-activation in place of the derivative": "A1",
    "activation derivative applied twice": "(1 - H1**2)**2",
    "divided by the activation derivative": "1 / (1 - H1**2)",
    "activation derivative negated": "(H1**2 - 1)",
    "complement of the activation derivative": "H1**2",
    "mask from the gradient": "(dH1 > 0)",
    "derivative formula h (1 - h)": "H1 * (1 - H1)",
    "derivative formula a (1 - a)": "A1 * (1 - A1)",
    "derivative formula 1 - h^2": "(1 - H1**2)",
    "derivative formula 1 - a^2": "(1 - A1**2)",
    "derivative formula 1 - h": "(1 - H1)",
    "derivative formula (1 - h)^2": "(1 - H1)**2",
    "derivative formula h^2": "H1**2",
    "derivative formula 1 + h^2": "(1 + H1**2)",
    "derivative formula h (1 + h)": "H1 * (1 + H1)",
    "derivative formula h + 1": "(H1 + 1)",
    "step function of the output, >= for >": "(H1 >= 0)",
    "step function of the input": "(A1 > 0)",
    "derivative of sigmoid": "sigmoid(A1) * sigmoid(-A1)",
    "derivative of relu": "(A1 > 0)",
    "derivative of leaky_relu": "np.where(A1 > 0, 1, 0.01)",
    "derivative of elu": "np.where(A1 > 0, 1, np.exp(A1))",
    "derivative of silu": "sigmoid(A1) * (1 + A1 * sigmoid(-A1))",
    "derivative of softplus": "sigmoid(A1)",
    "activation derivative of another layer": "(1 - H0**2)",
    "step function of another layer": "(A0 > 0)",
}


@pytest.mark.parametrize(("name", "old", "new"), [(name, *lines) for name, lines in OF_DENSE.items()])
def test_a_mistake_in_a_dense_layer_is_a_wrong_line(name, old, new):
    assert_made(network_of(), X, LABELS, "cross_entropy", name, "layers[2], Dense(5, 5)", (old, new))


@pytest.mark.parametrize(("name", "old", "new"), [(name, *lines) for name, lines in OF_SQUARE.items()])
def test_square_arrays_allow_more_mistakes(name, old, new):
    assert_made(network_of(), X[:5], LABELS[:5], "cross_entropy", name, "layers[2], Dense(5, 5)", (old, new))


@pytest.mark.parametrize(("name", "factor"), OF_ACTIVATION.items())
def test_a_mistake_in_an_activation_is_a_wrong_factor(name, factor):
    network, lines = network_of(), ("dH1 * (1 - H1**2)", f"dH1 * {factor}")
    for block in network.blocks(network.theta).values():
        block[:1] = 0  # a unit at the threshold of every step
    assert_made(network, X, LABELS, "cross_entropy", name, "layers[3], Activation('tanh')", lines)


@pytest.mark.parametrize(
    ("name", "where", "old", "news"),
    [
        ("weight gradient with input of another layer", "layers[2]", "dA1.T @ H0", ["dA1.T @ A1", "dA1.T @ H1"]),
        ("weight gradient with input of another layer", "layers[4]", "dH2.T @ H1", ["dH2.T @ A0"]),
        ("weight gradient with input of the layer below", "layers[4]", "dH2.T @ H1", ["dH2.T @ H0"]),
        ("weight gradient with pre-activation for activation", "layers[4]", "dH2.T @ H1", ["dH2.T @ A1"]),
    ],
)
def test_a_weight_gradient_may_use_any_array_of_its_shape(name, where, old, news):
    network = network_of()
    passes = BackwardPass(network, X, LABELS)
    found = [passes.gradient(m.steps) for m in mistakes(passes) if m.name == name and m.where.startswith(where)]
    for gradient, new in zip(found, news, strict=True):
        assert_equal(gradient, written(network, X, LABELS, "cross_entropy", (old, new)))


def test_the_weights_of_another_layer_have_its_shape():
    name, wide = "weights of another layer in propagation", RNG.normal(size=(7, 5))
    assert_made(network_of(I=5), wide, LABELS, "cross_entropy", name, "layers[2]", ("dA1 @ W1", "dA1 @ W0"))
    assert not [m for m in mistakes(BackwardPass(network_of(), X, LABELS)) if m.name == name]


def names_at(passes, i):
    return sorted(m.name for m in mistakes(passes) if m.where.startswith(f"layers[{i}],"))


SQUARE_ALONE = {name for name in OF_DENSE if name.endswith("in propagation")} - {
    "weights without sign in propagation", "updated weights in propagation",
}  # fmt: skip
BELOW_ACTIVATION = {name for name in OF_DENSE if name.startswith("activation derivative missing")}
EARLY, OTHER = "weight gradient with pre-activation for activation", "weight gradient with input of another layer"
BELOW = "weight gradient with input of the layer below"
AXES = {name for name in OF_SQUARE if "axis" in name or name.startswith("dA")}


@pytest.mark.parametrize(
    ("samples", "i", "expected"),
    [
        (7, 0, OF_DENSE.keys() - SQUARE_ALONE - {EARLY}),
        (7, 4, (OF_DENSE.keys() - SQUARE_ALONE - BELOW_ACTIVATION) | {OTHER, BELOW}),
        (5, 0, (OF_DENSE.keys() - SQUARE_ALONE - {EARLY}) | AXES),
        (3, 4, (OF_DENSE.keys() - SQUARE_ALONE - BELOW_ACTIVATION) | AXES | {OTHER, BELOW}),
    ],
)
def test_a_dense_layer_has_the_mistakes_that_its_shape_lets_run(samples, i, expected):
    assert names_at(BackwardPass(network_of(), X[:samples], LABELS[:samples]), i) == sorted(expected)


@pytest.mark.parametrize(("samples", "more"), [(7, set()), (5, OF_SQUARE.keys())])
def test_a_square_layer_has_more(samples, more):
    found = names_at(BackwardPass(network_of(), X[:samples], LABELS[:samples]), 2)
    assert found == sorted([*OF_DENSE, *more, OTHER, OTHER])


def test_a_layer_without_bias_has_no_mistakes_of_one():
    passes = BackwardPass(network_of(bias=False), X, LABELS)
    assert names_at(passes, 2) == sorted([*(name for name in OF_DENSE if "bias" not in name), OTHER, OTHER])
    for mistake in mistakes(passes):
        assert passes.gradient(mistake.steps, SCALE).shape == passes.network.theta.shape


def test_a_dense_layer_below_the_last_activation_has_them():
    passes = BackwardPass(network_of(activation=["tanh", "tanh", "sigmoid"]), X, REALS, "mse_loss")
    assert set(names_at(passes, 4)) >= BELOW_ACTIVATION


def test_an_array_that_is_the_same_is_no_wrong_input():
    network = hm.Network([hm.Dense(4, 5, rng=0), hm.Activation("identity"), hm.Dense(5, 3, rng=1)])
    assert not [
        name for name in names_at(BackwardPass(network, X, LABELS), 2) if name.startswith("weight gradient with ")
    ]


@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu"])
def test_an_activation_has_the_derivatives_of_all_others(activation):
    elementwise = [name for name in ACTIVATIONS if hm.Activation(name).is_elementwise and name != "identity"]
    expected = {*OF_ACTIVATION, *(f"derivative of {name}" for name in elementwise)} - {f"derivative of {activation}"}
    expected |= {"derivative of gelu with approximate='tanh'"} if activation == "gelu" else set()
    passes = BackwardPass(network_of(activation=activation), X, LABELS)
    assert names_at(passes, 3) == sorted(expected)
    for other in {f"derivative of {other}": other for other in ACTIVATIONS}.keys() & expected:
        (step,) = (m.steps[3] for m in mistakes(passes) if m.name == other and m.where.startswith("layers[3]"))
        right = slope(hm.Activation(other.removeprefix("derivative of ")), passes.values[3])
        assert np.array_equal(step(passes, 3, np.ones((7, 5))), right)


def test_only_activations_of_one_shape_are_exchanged():
    network = hm.Network([hm.Dense(4, 5, rng=0), hm.Activation("tanh"), hm.Dense(5, 3, rng=1), hm.Activation("tanh")])
    passes = BackwardPass(network, X, REALS, "mse_loss")
    assert not [name for i in (1, 3) for name in names_at(passes, i) if "another layer" in name]


# ---- everywhere, and what is left open -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "count", "lines"),
    [
        ("activation derivative missing", 2, [(" * (1 - H1**2)", ""), (" * (1 - H0**2)", "")]),
        ("updated weights in propagation", 3, [(f" @ W{i}\n", f" @ (W{i} - rate * dW{i})\n") for i in (1, 2)]),
        ("bias gradient of the first sample only", 3, [(f"d{d}.sum(axis=0)", f"d{d}[0]") for d in ("H2", "A1", "A0")]),
    ],
)
def test_a_mistake_of_several_layers_is_also_made_in_all_of_them(name, count, lines):
    where = f"all {count} layers that have it"
    assert_made(network_of(), X, LABELS, "cross_entropy", name, where, *lines)


def test_a_mistake_made_everywhere_is_at_each_of_its_layers():
    listed = [m for m in mistakes(BackwardPass(network_of(), X, LABELS)) if m.name == "activation derivative missing"]
    *single, everywhere = listed
    assert everywhere.at == tuple(place for m in single for place in m.at) and len(everywhere.at) == 2


def test_what_only_one_layer_has_is_not_listed_twice():
    listed = [m.name for m in mistakes(BackwardPass(network_of(), X, LABELS))]
    for name in "weights transposed in propagation", "first sample only":
        assert listed.count(name) == 1


def test_only_weights_that_were_updated_leave_a_number_open():
    passes = BackwardPass(network_of(), X, LABELS)
    assert {m.name for m in mistakes(passes) if m.has_learning_rate} == {"updated weights in propagation"}
    assert all(m.has_learning_rate for m in mistakes(passes) if m.name == "updated weights in propagation")


@pytest.mark.parametrize("loss", LOSSES)
def test_hints_are_words_of_a_sentence_and_give_no_line_away(loss):
    y = {"cross_entropy": LABELS, "hinge_loss": 2 * BITS - 1}.get(loss, BITS)
    layers = [hm.Residual([hm.Dense(4, 4, rng=0)]), hm.Activation("softmax"), hm.BatchNorm(4)]
    for seed in 1, 2:
        layers += [hm.Dense(4, 4, rng=seed), hm.Activation("tanh"), hm.Dropout(0.5, rng=seed)]
    network = hm.Network([*layers, hm.Dense(4, 3, rng=3)])
    for samples in 4, 7:
        for mistake in mistakes(BackwardPass(network, X[:samples], y[:samples], loss, np.ones(samples))):
            assert re.fullmatch("[a-z', ]+", mistake.hint), mistake.hint


# ---- the other layers ----------------------------------------------------------------------------------------------


def steps_at(passes, i):
    return {m.name: m.steps[i] for m in mistakes(passes) if m.where.startswith(f"layers[{i}],")}


def test_mistakes_of_dropout():
    network = hm.Network([hm.Dense(4, 5, rng=0), hm.Dropout(0.4, rng=1), hm.Dense(5, 5, rng=2), hm.Dropout(0.2, rng=3)])
    passes = BackwardPass(network, X, RNG.normal(size=(7, 5)), "mse_loss")
    one, other, dH = passes.caches[1], passes.caches[3], RNG.normal(size=(7, 5))
    found = {name: step(passes, 1, dH) for name, step in steps_at(passes, 1).items()}
    expected = {
        "dropout mask of another layer": dH * other / 0.6,
        "dropout mask missing": dH,
        "dropout scale missing": dH * one,
        "dropout mask missing, its scale kept": dH / 0.6,
        "dropout scale applied twice": dH * one / 0.36,
    }
    assert found.keys() == expected.keys()
    for name in found:
        assert_equal(found[name], expected[name])
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(("width", "training"), [(4, True), (5, False)])
def test_dropout_masks_need_their_shape_and_training(width, training):
    layers = hm.Dense(4, 5, rng=0), hm.Dropout(0.4, rng=1), hm.Dense(5, width, rng=2), hm.Dropout(0.2, rng=3)
    passes = BackwardPass(hm.Network([*layers]), X, RNG.normal(size=(7, width)), "mse_loss", training=training)
    assert len(steps_at(passes, 1)) == (4 if training else 0)


@pytest.mark.parametrize("normalization", [hm.BatchNorm, hm.LayerNorm])
def test_normalization_mistakes_equal_autograd_with_constants(normalization):
    layer = normalization(5)
    network = hm.Network([hm.Dense(4, 5, rng=0), layer])
    network.theta += RNG.normal(size=network.theta.shape)
    passes = BackwardPass(network, X, RNG.normal(size=(7, 5)), "mse_loss")
    gamma, dH = passes.layers[1].gamma, RNG.normal(size=(7, 5))

    def by_autograd(mean_moves, variance_moves):
        A = torch.tensor(passes.values[1], requires_grad=True)
        mean, variance = A.mean(layer.axis, keepdim=True), A.var(layer.axis, correction=0, keepdim=True)
        mean, variance = mean if mean_moves else mean.detach(), variance if variance_moves else variance.detach()
        ((A - mean) / (variance + layer.eps).sqrt() * torch.tensor(gamma * dH)).sum().backward()
        return A.grad.numpy()

    expected = {
        "mean and variance taken for constants": by_autograd(False, False),
        "variance taken for a constant": by_autograd(True, False),
        "mean taken for a constant": by_autograd(False, True),
        "normalization ignored": dH,
        "normalization ignored but for gamma": dH * gamma,
    }
    steps, right = steps_at(passes, 1), passes.gradient()
    assert steps.keys() == expected.keys()
    for name, step in steps.items():
        assert_equal(step(passes, 1, dH), expected[name])
        assert np.array_equal(passes.gradient({1: step})[-10:], right[-10:])  # its own parameters' are right


def test_constant_moments_have_no_mistakes():
    network = hm.Network([hm.Dense(4, 3, rng=0), hm.BatchNorm(3)])
    passes = BackwardPass(network, X, REALS, "mse_loss", training=False)
    assert steps_at(passes, 1).keys() == {"normalization ignored", "normalization ignored but for gamma"}


def test_residual_mistakes_leave_out_one_path():
    network = hm.Network([hm.Dense(4, 5, rng=0), hm.Residual([hm.Dense(5, 5, rng=1), hm.Activation("tanh")])])
    passes = BackwardPass(network, X, RNG.normal(size=(7, 5)), "mse_loss")
    steps, right, dH = steps_at(passes, 1), passes.gradient(), RNG.normal(size=(7, 5))
    assert steps.keys() == {"skip connection missing", "block missing beside its skip connection"}
    whole = passes.layers[1].backward(dH, passes.caches[1]).copy()
    assert_equal(steps["skip connection missing"](passes, 1, dH) + dH, whole)
    assert np.array_equal(steps["block missing beside its skip connection"](passes, 1, dH), dH)
    for step in steps.values():
        assert np.array_equal(passes.gradient({1: step})[-30:], right[-30:])


@pytest.mark.parametrize("activation", ["softmax", "log_softmax"])
def test_mistakes_of_a_softmax_inside(activation):
    network = network_of(activation=activation)
    passes = BackwardPass(network, X, LABELS)
    P, dH = softmax(passes.values[3]), RNG.normal(size=(7, 5))
    found = {name: step(passes, 3, dH) for name, step in steps_at(passes, 3).items()}
    expected = {
        "activation derivative missing": dH,
        "softmax with a diagonal Jacobian": dH * P * (1 - P),
        "softmax in place of its derivative": dH * P,
    }
    assert found.keys() == expected.keys()
    for name in found:
        assert_equal(found[name], expected[name])
