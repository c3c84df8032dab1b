"""A wrong step through layers of the library is explained by one operation of theirs."""

from __future__ import annotations

import numpy as np
import pytest

import handmade as hm
from handmade.checking.backward_pass import BackwardPass
from handmade.checking.localisation import WrongStep
from handmade.checking.operations.layers import operations_of_step

A = np.random.default_rng(3).normal(size=(6, 4)) * 2
y = np.array([0, 1, 2, 1, 0, 2])
T, S, E = np.tanh(A), hm.activations.sigmoid(A), np.exp(A)
WRONG = {
    "softsign": (1 / (1 + np.abs(A)), "1 + absolute(A) taken for a constant in `A / (1 + absolute(A))`"),
    "silu": (A * S * (1 - S), "A taken for a constant in `A * sigmoid(A)`"),
    "mish": (
        np.tanh(np.log(1 + E)) + A * (1 - np.tanh(np.log(1 + E)) ** 2) * E,
        "derivative of `log(1 + exp(A))` by 1 + exp(A) missing",
    ),
    "tanhshrink": (1 + (1 - T**2), "sign of the gradient by tanh(A) of `A - tanh(A)`"),
    "hardswish": (
        np.clip(A + 3, 0, 6) / 6 + A / 6,
        "condition of `clip(A + 3, 0, 6)` missing in the gradient by A + 3",
    ),
}


def explained(layer, dX, width=4):
    """Return what explains that a layer between two dense ones passes down dX(dH)."""
    network = hm.Network([hm.Dense(4, 4, rng=0), layer, hm.Dense(width, 3, rng=1)])
    state = network.state_dict()
    network.load_state_dict(state | {"0.weight": np.eye(4), "0.bias": np.zeros(4)})  # the layer's input is A
    of = BackwardPass(network, A, y)
    of.gradient()
    incoming = {prefix: dH.copy() for prefix, dH in of.incoming.items()}
    actual = dX(incoming["1."])
    claimed = {"0.weight": actual.T @ A, "0.bias": actual.sum(axis=0)}
    step = WrongStep("dA[0]", "dA[2]", "0.", "dA", ("2.", "1."), actual, incoming["0."], True, claimed)
    return operations_of_step(of, step, incoming, 1e-9)


@pytest.mark.parametrize("name", WRONG)
def test_wrong_derivatives_of_activations_are_explained(name):
    slope, words = WRONG[name]
    text, dA = explained(hm.Activation(name), lambda dH: dH * slope)
    assert text == words
    assert dA.shape == A.shape


def test_a_derivative_of_something_else_is_not_explained():
    assert explained(hm.Activation("mish"), lambda dH: dH * np.cos(3 * A)) == ("", None)


def gate_without_value(dH):
    s = hm.activations.sigmoid(A[:, 2:])
    return np.concatenate((dH * s, dH * s * (1 - s)), axis=1)


def silu_without_its_first_term(dH):
    s = hm.activations.sigmoid(A[:, 2:])
    return np.concatenate((dH * A[:, 2:] * s, dH * A[:, :2] * A[:, 2:] * s * (1 - s)), axis=1)


def sum_for_mean(dH):
    inverse = 1 / np.sqrt((A * A).mean(axis=1, keepdims=True) + np.finfo(np.float64).eps)
    return inverse * (dH - A * inverse * (dH * A * inverse).sum(axis=1, keepdims=True))


@pytest.mark.parametrize(
    ("layer", "dX", "width", "words"),
    [
        (hm.GLU(), gate_without_value, 2, "derivative of `A * G` by G missing"),
        (hm.SwiGLU(), silu_without_its_first_term, 2, "A taken for a constant in `A * sigmoid(A)`"),
        (hm.RMSNorm(4), sum_for_mean, 4, "gradient by inverse of `(rows - 0) * inverse` times 4"),
    ],
)
def test_wrong_gradients_of_other_layers_are_explained(layer, dX, width, words):
    text, dA = explained(layer, dX, width)
    assert text == words
    assert dA.shape == A.shape


def test_wrong_gradients_of_a_layers_parameter_are_explained():
    network = hm.Network([hm.Dense(4, 4, rng=0), hm.PReLU(4), hm.Dense(4, 3, rng=1)])
    of = BackwardPass(network, A, y)
    of.gradient()
    incoming = {prefix: dH.copy() for prefix, dH in of.incoming.items()}
    actual, right = ((incoming["1."] * of.inputs["1."] * mask).sum(axis=0) for mask in (1, of.inputs["1."] <= 0))
    step = WrongStep("dslope[1]", "dA[1]", "1.", "weight", ("1.",), actual, right)
    text, _ = operations_of_step(of, step, incoming, 1e-9)
    assert text == "condition of `where(X > 0, X, slope * X)` missing in the gradient by slope * X"


def test_two_mistakes_of_which_one_leaves_a_gradient_open():
    network = hm.Network([hm.Dense(4, 6, rng=1), hm.PReLU(6), hm.Dense(6, 2, rng=2)])
    X = np.random.default_rng(0).normal(size=(11, 4)) + 0.5
    labels = np.arange(11) % 2
    W1, b1, slope, W2, b2 = network.state_dict().values()
    Z = X @ W1.T + b1
    H = np.where(Z > 0, Z, slope * Z)
    dA2 = (hm.activations.softmax(H @ W2.T + b2) - np.eye(2)[labels]) / 11
    dH = dA2 @ W2
    dA1 = dH * np.where(Z > 0, 1, slope)
    claimed = [dA1.T @ (X - X.mean(axis=0)), dA1.sum(axis=0), (dH * Z).sum(axis=0), dA2.T @ H, dA2.sum(axis=0)]
    diagnosis = hm.diagnose_gradient(network, X, labels, claimed)
    (explanation,) = diagnosis.explanations
    assert "dslope[1] = right, but for condition of" in explanation.name
    assert "dW[0] = dA^T @ (X - mean)" in explanation.name


def test_wrong_gradients_of_the_librarys_loss_are_explained():
    network = hm.Network([hm.Dense(4, 3, rng=0)])
    Y = np.random.default_rng(5).integers(0, 2, size=(6, 3)) * 1.0
    P = hm.activations.sigmoid(network.predict(A))
    missing = (1 - Y) * P + Y * (1 - P)
    dA = np.where(Y == 1, 0.25, 0.75) * missing**2 * (P - Y) / Y.size  # the factor is taken for a constant
    claimed = [dA.T @ A, dA.sum(axis=0)]
    (explanation,) = hm.diagnose_gradient(network, A, Y, claimed, loss="sigmoid_focal_loss").explanations
    assert "* (missing ** 2) taken for a constant in `" in explanation.name


def test_means_over_other_features_than_a_group_are_seen():
    network = hm.Network([hm.Dense(4, 6, rng=0), hm.GroupNorm(2, 6), hm.Activation("tanh"), hm.Dense(6, 3, rng=1)])
    of = BackwardPass(network, A, y)
    of.gradient()
    dXhat, (Xhat, inverse, _) = of.incoming["1."], of.leaf_caches["1."]
    Xhat, inverse = Xhat.reshape(6, 6), np.repeat(inverse, 3, axis=1).reshape(6, 6)
    along = (dXhat * Xhat).mean(axis=1, keepdims=True)
    dA = inverse * (dXhat - dXhat.mean(axis=1, keepdims=True) - Xhat * along)
    claimed = network.blocks(of.gradient()) | {"0.weight": dA.T @ A, "0.bias": dA.sum(axis=0)}
    (explanation,) = hm.diagnose_gradient(network, A, y, claimed).explanations
    assert "inv mean(dXhat) over all features - inv xhat mean(dXhat xhat) over all features" in explanation.name


def test_a_loss_that_has_no_targets_is_not_told_to_have_others():
    def spread(H, y):
        return float(np.log(np.exp(H @ H.T).sum(axis=1)).sum())

    def spread_backward(H, y):
        E = np.exp(H @ H.T)
        return E / E.sum(axis=1, keepdims=True) @ H  # lacks what H does as the other factor

    network = hm.Network([hm.Dense(4, 3, rng=0)])
    diagnosis = hm.diagnose_gradient(network, 0.1 * A, y, loss=(spread, spread_backward))
    assert not any("target" in explanation.name for explanation in diagnosis.explanations)


@pytest.mark.parametrize(("layer", "axis"), [(hm.BatchNorm(4, eps=0.5), 0), (hm.LayerNorm(4), 1)])
def test_a_deviation_of_n_minus_1_in_backward_is_seen(layer, axis):
    network = hm.Network([hm.Dense(4, 4, rng=0), layer, hm.Dense(4, 3, rng=1)])
    of = BackwardPass(network, A, y)
    of.gradient()
    (_, inverse, _), n = of.leaf_caches["1."], A.shape[axis]
    biased = 1 / inverse**2 - layer.eps
    dA = of.incoming["0."] / (inverse * np.sqrt(biased * n / (n - 1) + layer.eps))
    claimed = network.blocks(of.gradient()) | {"0.weight": dA.T @ A, "0.bias": dA.sum(axis=0)}
    explanations = hm.diagnose_gradient(network, A, y, claimed).explanations
    assert any("(right with the deviation of n - 1)" in explanation.name for explanation in explanations)


def test_the_derivative_of_the_other_gelu_is_named():
    network = hm.MLP([4, 6, 3], activation="gelu", rng=0)
    W1, b1, W2, b2 = network.state_dict().values()
    Z = A @ W1.T + b1
    dA2 = (hm.activations.softmax(hm.activations.gelu(Z) @ W2.T + b2) - np.eye(3)[y]) / len(y)
    dA1 = dA2 @ W2 * hm.activations.gelu_backward(np.ones_like(Z), Z, approximate="tanh")
    claimed = [dA1.T @ A, dA1.sum(axis=0), dA2.T @ hm.activations.gelu(Z), dA2.sum(axis=0)]
    (explanation,) = hm.diagnose_gradient(network, A, y, claimed).explanations
    assert explanation.name == "derivative of gelu with approximate='tanh'"
