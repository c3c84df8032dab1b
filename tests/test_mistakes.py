"""The catalogue of mistakes: each is the backward pass of a learner with that one line wrong."""

from __future__ import annotations

import functools
import re

import numpy as np
import pytest
import torch

import handmade as hm
from handmade import losses
from handmade.activations import ACTIVATIONS, sigmoid, softmax
from handmade.checking.backward_pass import BackwardPass, slope
from handmade.checking.mistakes import mistakes

RNG = np.random.default_rng(11)
X, LABELS = RNG.normal(size=(7, 4)), np.array([0, 2, 1, 1, 0, 2, 2])
REALS, BITS = RNG.normal(size=(7, 3)), RNG.integers(0, 2, size=(7, 3)).astype(float)
SCALE = 0.05  # the learning rate of those mistakes that have one

LEARNER = """
A0 = X @ W0.T + b0
H0 = np.tanh(A0)
A1 = H0 @ W1.T + b1
H1 = np.tanh(A1)
H2 = H1 @ W2.T + b2
{dH2}
dW2 = dH2.T @ H1
db2 = dH2.sum(axis=0)
dH1 = dH2 @ W2
dA1 = dH1 * (1 - H1**2)
dW1 = dA1.T @ H0
db1 = dA1.sum(axis=0)
dH0 = dA1 @ W1
dA0 = dH0 * (1 - H0**2)
dW0 = dA0.T @ X
db0 = dA0.sum(axis=0)
"""
LOSSES = {
    "cross_entropy": "T = np.eye(3)[y]; P = softmax(H2); dH2 = (P - T) / N",
    "mse_loss": "dH2 = 2 * (H2 - y) / y.size",
    "binary_cross_entropy_with_logits": "P = sigmoid(H2); dH2 = (P - y) / y.size",
    "hinge_loss": "dH2 = -y * (1 - y * H2 > 0) / y.size",
}


def network_of(I=4, O=3, units=5, **options):
    network = hm.MLP([I, units, units, O], **{"activation": "tanh", "rng": 0} | options)
    network.theta += 0.3 * np.random.default_rng(1).normal(size=network.theta.shape)  # no bias at 0
    return network


def written(network, X, y, loss, *replaced):
    """Return the gradient that the learner's lines lead to, some of them replaced."""
    lines = LEARNER.format(dH2=LOSSES[loss])
    for old, new in replaced:
        assert lines.count(old) == 1
        lines = lines.replace(old, new)
    parameters = dict(zip(("W0", "b0", "W1", "b1", "W2", "b2"), network.state_dict().values(), strict=True))
    known = dict(np=np, softmax=softmax, sigmoid=sigmoid, X=X, y=y, N=len(X), rate=SCALE, slope=slope) | parameters
    with np.errstate(all="ignore"):
        exec(lines, known)
    return np.concatenate([np.broadcast_to(known["d" + name], p.shape).ravel() for name, p in parameters.items()])


def made(passes, name, where):
    (mistake,) = {m.name: m for m in mistakes(passes) if m.name == name and m.where.startswith(where)}.values()
    return passes.gradient(mistake.steps, SCALE)


def assert_equal(gradient, other):
    assert np.abs(gradient - other).max() <= 64 * np.finfo(float).eps * np.abs(other).max()


def assert_made(network, X, y, loss, name, where, *replaced):
    assert_equal(made(BackwardPass(network, X, y, loss), name, where), written(network, X, y, loss, *replaced))


# ---- the loss ------------------------------------------------------------------------------------------------------

OF_BATCH = {
    "first sample only": "dH2[1:] = 0",
    "last sample only": "dH2[:-1] = 0",
    "first sample left out": "dH2[0] = 0",
    "last sample left out": "dH2[-1] = 0",
    "first half of the batch only": "dH2[3:] = 0",
    "second half of the batch only": "dH2[:3] = 0",
    "averaged over the batch before going back": "dH2[:] = dH2.mean(axis=0)",
    "sign of the loss's gradient": "dH2 = np.sign(dH2)",
    "loss's gradient without sign": "dH2 = abs(dH2)",
}
OF_CROSS_ENTROPY = {
    "target of the previous sample": "T = T[[6, 0, 1, 2, 3, 4, 5]]; dH2 = (P - T) / N",
    "target of the next sample": "T = T[[1, 2, 3, 4, 5, 6, 0]]; dH2 = (P - T) / N",
    "target not subtracted": "dH2 = P / N",
    "softmax with a diagonal Jacobian": "dH2 = -T / P * P * (1 - P) / N",
    "by the probabilities, not the logits": "dH2 = -T / P / N",
    "p - y times p (1 - p)": "dH2 *= P * (1 - P)",
    "softmax applied twice": "dH2 = (softmax(P) - T) / N",
    "softmax applied twice, differentiated twice":
        "dH2 = [(np.diag(p) - np.outer(p, p)) @ g for p, g in zip(P, (softmax(P) - T) / N)]; dH2 = np.array(dH2)",
    "softmax missing": "dH2 = (H2 - T) / N",
    "softmax over the wrong axis": "dH2 = (softmax(H2.T).T - T) / N",
    "sigmoid for softmax": "dH2 = (sigmoid(H2) - T) / N",
    "squared error of the probabilities":
        "dH2 = np.array([(np.diag(p) - np.outer(p, p)) @ (p - t) for p, t in zip(P, T)]) / N",
    "only the target's class": "dH2[T == 0] = 0",
    "only the other classes": "dH2[T == 1] = 0",
    "predicted class for probabilities": "dH2 = (np.eye(3)[P.argmax(axis=1)] - T) / N",
    "class index one too large": "dH2 = (P - np.eye(3)[(y + 1) % 3]) / N",
    "class index one too small": "dH2 = (P - np.eye(3)[y - 1]) / N",
    "classes in reverse": "dH2 = (P - np.eye(3)[2 - y]) / N",
    "sum of p and y": "dH2 = (P + T) / N",
    "gradient of mse_loss": "dH2 = 2 * (H2 - T) / H2.size",
    "gradient of l1_loss": "dH2 = np.sign(H2 - T) / H2.size",
    "gradient of half_squared_error": "dH2 = (H2 - T) / N",
    "gradient of huber_loss": "dH2 = np.clip(H2 - T, -1, 1) / H2.size",
    "gradient of smooth_l1_loss": "dH2 = np.clip(H2 - T, -1, 1) / H2.size",
    "gradient of binary_cross_entropy_with_logits": "dH2 = (sigmoid(H2) - T) / H2.size",
    "gradient of multi_margin_loss":
        "dH2 = (1 - (H2 * T).sum(1, keepdims=True) + H2 > 0) * (1 - T); "
        "dH2 = (dH2 - T * dH2.sum(1, keepdims=True)) / H2.size",
    "gradient of quantile_loss": "dH2 = np.sign(H2 - T) / 2 / H2.size",
    "gradient of nll_loss": "dH2 = -T / N",
    "gradient of kl_div": "dH2 = -T / H2.size",
    "gradient of poisson_nll_loss": "dH2 = (np.exp(H2) - T) / H2.size",
    "gradient of multilabel_soft_margin_loss": "dH2 = (sigmoid(H2) - T) / H2.size",
    "gradient of sigmoid_focal_loss":
        "Q = np.where(T == 1, sigmoid(-H2), sigmoid(H2)); dH2 = Q**2 * (Q - 2 * (1 - Q) * np.log(1 - Q)) / H2.size; "
        "dH2 *= np.where(T == 1, -0.25, 0.75)",
}  # fmt: skip
OF_TARGETS = {
    "target of the previous sample": "dH2 = 2 * (H2 - y[[6, 0, 1, 2, 3, 4, 5]]) / y.size",
    "target of the next sample": "dH2 = 2 * (H2 - y[[1, 2, 3, 4, 5, 6, 0]]) / y.size",
    "target not subtracted": "dH2 = 2 * H2 / y.size",
    "prediction not in the gradient": "dH2 = -2 * y / y.size",
    "loss in place of its derivative": "dH2 = (H2 - y) ** 2 / y.size",
    "sum of prediction and target": "dH2 = 2 * (H2 + y) / y.size",
    "error without its bounds": "dH2 = (H2 - y) / y.size",
    "sign of the error": "dH2 = np.sign(H2 - y) / y.size",
    "gradient of l1_loss": "dH2 = np.sign(H2 - y) / y.size",
    "gradient of half_squared_error": "dH2 = (H2 - y) / N",
    "gradient of huber_loss": "dH2 = np.clip(H2 - y, -1, 1) / y.size",
    "gradient of smooth_l1_loss": "dH2 = np.clip(H2 - y, -1, 1) / y.size",
    "gradient of quantile_loss": "dH2 = np.sign(H2 - y) / 2 / y.size",
    "gradient of poisson_nll_loss": "dH2 = (np.exp(H2) - y) / y.size",
}
OF_BITS = {
    "p - y times p (1 - p)": "dH2 *= P * (1 - P)",
    "sigmoid applied twice": "dH2 = (sigmoid(P) - y) / y.size",
    "by the probability, not the logit": "dH2 = (P - y) / (P * (1 - P)) / y.size",
    "second term of the cross-entropy missing": "dH2 = -y / P / y.size",
    "second term of the cross-entropy missing, by the logit": "dH2 = -y / P * P * (1 - P) / y.size",
    "first term of the cross-entropy missing": "dH2 = (1 - y) / (1 - P) / y.size",
    "first term of the cross-entropy missing, by the logit": "dH2 = (1 - y) / (1 - P) * P * (1 - P) / y.size",
    "target not subtracted": "dH2 = P / y.size",
    "prediction not in the gradient": "dH2 = -y / y.size",
    "p - y": "dH2 = (P - y) / y.size",
}
OF_SIGNS = {
    "margin condition missing": "dH2 = -y / y.size",
    "label missing in the hinge": "dH2 = -1.0 * (1 - y * H2 > 0) / y.size",
    "margin 0 in the hinge": "dH2 = -y * (0 - y * H2 > 0) / y.size",
    "margin condition reversed": "dH2 = -y * (1 - y * H2 <= 0) / y.size",
    "target not subtracted": "dH2 = H2 / y.size",
    "gradient of soft_margin_loss": "dH2 = -y * sigmoid(-y * H2) / y.size",
    "gradient of hinge_embedding_loss": "dH2 = np.where(y > 0, 1, -1.0 * (H2 <= 1)) / y.size",
}


@pytest.mark.parametrize(
    ("loss", "y", "name", "line"),
    [("cross_entropy", LABELS, *item) for item in (OF_BATCH | OF_CROSS_ENTROPY).items()]
    + [("mse_loss", REALS, *item) for item in OF_TARGETS.items()]
    + [("binary_cross_entropy_with_logits", BITS, *item) for item in OF_BITS.items()]
    + [("hinge_loss", 2 * BITS - 1, *item) for item in OF_SIGNS.items()],
)
def test_mistakes_at_the_loss_equal_wrong_lines(loss, y, name, line):
    right = LOSSES[loss]
    assert_made(network_of(), X, y, loss, name, f"the loss, {loss}", (right, f"{right}; {line}"))


COMMON = {*OF_BATCH, "target of the previous sample", "target of the next sample", "gradient of cross_entropy"}


@pytest.mark.parametrize(
    ("loss", "y", "expected"),
    [
        ("cross_entropy", LABELS, {*COMMON, *OF_CROSS_ENTROPY} - {"gradient of cross_entropy"}),
        ("mse_loss", REALS, {*COMMON, *OF_TARGETS}),
        ("hinge_loss", 2 * BITS - 1, {*COMMON, *OF_TARGETS, *OF_SIGNS, "gradient of mse_loss"}),
    ],
)
def test_each_loss_has_its_own_mistakes(loss, y, expected):
    found = [m.name for m in mistakes(BackwardPass(network_of(), X, y, loss)) if m.where == f"the loss, {loss}"]
    assert len(found) == len(set(found))
    assert set(found) == expected


# ---- a Dense layer and its activation ------------------------------------------------------------------------------

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


# ---- losses with options -------------------------------------------------------------------------------------------

SMOOTHED = functools.partial(losses.cross_entropy, label_smoothing=0.2, weight=[1.0, 2.0, 3.0])
WEIGHT = np.array([0.5, 0, 1, 2, 3, 0.25, 1])


def at_the_loss(passes):
    """Return the gradient that each mistake at the loss starts with."""
    place, listed = len(passes.layers), [m for m in mistakes(passes) if m.where.startswith("the loss")]
    return {m.name: m.steps[place](passes, place, passes.values[-1]) for m in listed}


@pytest.mark.parametrize(
    ("loss", "sample_weight", "name", "instead"),
    [
        (SMOOTHED, None, "label_smoothing ignored", functools.partial(losses.cross_entropy, weight=[1.0, 2.0, 3.0])),
        (SMOOTHED, None, "weight ignored", functools.partial(losses.cross_entropy, label_smoothing=0.2)),
        ("cross_entropy", WEIGHT, "sample_weight ignored", "cross_entropy"),
    ],
)
def test_an_option_of_the_loss_that_is_ignored(loss, sample_weight, name, instead):
    found = at_the_loss(BackwardPass(network_of(), X, LABELS, loss, sample_weight))
    assert_equal(found[name], BackwardPass(network_of(), X, LABELS, instead).loss_gradient)
    expected = {"label_smoothing ignored", "weight ignored"} if loss is SMOOTHED else {"sample_weight ignored"}
    assert {name for name in found if name.endswith("ignored")} == expected


def test_shifted_targets_leave_the_sample_weights():
    passes = BackwardPass(network_of(), X, LABELS, sample_weight=WEIGHT)
    found = at_the_loss(passes)["target of the next sample"]
    T = np.eye(3)[[*LABELS[1:], LABELS[0]]]
    assert_equal(found, WEIGHT[:, np.newaxis] * (softmax(passes.values[-1]) - T) / 7)


def test_a_necessary_option_does_not_hide_others():
    y = np.where(LABELS == 1, 255, LABELS)
    loss = functools.partial(losses.cross_entropy, ignore_index=255, label_smoothing=0.2)
    ignored = [name for name in at_the_loss(BackwardPass(network_of(), X, y, loss)) if name.endswith("ignored")]
    assert ignored == ["label_smoothing ignored"]


@pytest.mark.parametrize(
    ("loss", "count"),
    [
        ("cross_entropy", 7),
        (functools.partial(losses.cross_entropy, reduction="sum"), 1),
        (functools.partial(losses.cross_entropy, weight=[1.0, 2.0, 3.0]), 1 + 3 + 2 + 2 + 1 + 3 + 3),
        (functools.partial(losses.cross_entropy, ignore_index=1), 5),
    ],
    ids=["mean", "sum", "weights", "ignored"],
)
def test_terms_of_a_loss_share_its_divisor(loss, count):
    passes = BackwardPass(network_of(), X, LABELS, loss)
    found = at_the_loss(passes)["target not subtracted"]
    assert np.abs(found * count - softmax(passes.values[-1])).max() <= 1e-14


def test_a_loss_of_ones_own_is_a_mean_over_the_samples():
    def cubic(H, y):
        return ((H - y) ** 3).sum() / len(H)

    passes = BackwardPass(network_of(), X, REALS, (cubic, lambda H, y: 3 * (H - y) ** 2 / len(H)))
    assert_equal(at_the_loss(passes)["error without its bounds"], (passes.values[-1] - REALS) / 7)
    assert {m.where for m in mistakes(passes) if len(passes.layers) in m.steps} == {"the loss, cubic"}


def test_a_loss_of_ones_own_may_take_one_real_number_per_sample():
    def first(H, y):
        return ((H[:, 0] - y) ** 2).sum()

    passes = BackwardPass(network_of(), X, REALS[:, 0], (first, lambda H, y: 2 * (H - y[:, np.newaxis]) * [1, 0, 0]))
    assert at_the_loss(passes).keys() == COMMON - {"gradient of cross_entropy"}


def test_a_loss_without_a_gradient_here_divides_by_the_samples():
    """Every margin is kept: nothing says over how many terms the mean is."""
    network = hm.Network([hm.Dense(4, 3)])
    network.theta[:] = [*np.zeros(12), 5, 5, 5]
    found = at_the_loss(BackwardPass(network, X, np.ones((7, 3)), "hinge_loss"))
    assert_equal(found["margin condition missing"], -np.ones((7, 3)) / 7)
    assert not [name for name in found if name == "gradient of hinge_loss"]


def test_probabilities_as_targets_of_the_cross_entropy():
    T = softmax(REALS)
    passes = BackwardPass(network_of(), X, T)
    found = at_the_loss(passes)
    assert_equal(found["sum of p and y"], (softmax(passes.values[-1]) + T) / 7)
    assert_equal(found["gradient of mse_loss"], 2 * (passes.values[-1] - T) / 21)


def test_probabilities_out_of_a_sigmoid_are_not_squashed_again():
    network = network_of(activation=["tanh", "tanh", "sigmoid"])
    passes = BackwardPass(network, X, BITS, "binary_cross_entropy")
    P, found = passes.values[-1], at_the_loss(passes)
    for name, right in {
        "p - y": P - BITS,
        "second term of the cross-entropy missing": -BITS / P,
        "target not subtracted": P,
        "sigmoid applied twice": sigmoid(P) - BITS,
    }.items():
        assert_equal(found[name], right / 21)


@pytest.mark.parametrize("ignored", [-100, 3, 255])
def test_labels_that_are_no_class_are_ignored(ignored):
    y = np.array([0, 2, ignored, 1, 0, 2, 2])
    passes = BackwardPass(network_of(), X, y, functools.partial(losses.cross_entropy, ignore_index=ignored))
    found, counted = at_the_loss(passes), y != ignored
    assert np.isfinite(found["softmax missing"]).all()
    right = (softmax(passes.values[-1]) + np.eye(3)[np.where(counted, y, 0)]) / 6
    assert_equal(found["sum of p and y"][counted], right[counted])


def test_other_losses_of_labels_have_no_own_terms():
    listed = [
        m.name for m in mistakes(BackwardPass(network_of(), X, LABELS, "multi_margin_loss")) if "the loss," in m.where
    ]
    others = {name for name in OF_CROSS_ENTROPY if name.startswith("gradient of")} - {"gradient of multi_margin_loss"}
    assert set(listed) == COMMON | others


def test_a_loss_without_a_name_is_the_loss():
    class Half:
        def __call__(self, H, y):
            return ((H - y) ** 2).sum() / 2

    passes = BackwardPass(network_of(), X, REALS, (Half(), lambda H, y: H - y))
    assert {m.where for m in mistakes(passes) if len(passes.layers) in m.steps} == {"the loss, the loss"}


@pytest.mark.parametrize(("loss", "y"), [("cross_entropy", LABELS), ("binary_cross_entropy_with_logits", BITS)])
def test_probabilities_of_0_and_1_are_no_concern(loss, y):
    network = network_of()
    network.theta[-15:] *= 1e5
    found = at_the_loss(BackwardPass(network, X, y, loss))
    assert not all(np.isfinite(dH).all() for dH in found.values())


@pytest.mark.parametrize("label", [1.0, -1.0])
def test_hinge_comparisons_hold_around_their_margins(label):
    network = hm.Network([hm.Dense(1, 1)])
    network.theta[:] = [1, 0]
    outputs = [-2.5, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.5]
    found = at_the_loss(BackwardPass(network, np.array(outputs)[:, np.newaxis], np.full((9, 1), label), "hinge_loss"))
    for name, gradient in {
        "label missing in the hinge": [-1 if label * h < 1 else 0 for h in outputs],
        "margin 0 in the hinge": [-label if label * h < 0 else 0 for h in outputs],
        "margin condition reversed": [-label if label * h >= 1 else 0 for h in outputs],
    }.items():
        assert_equal(found[name].ravel(), np.array(gradient) / 9)
