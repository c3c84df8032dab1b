"""What a diagnosis says of right gradients of other networks, weighted classes, and parts of a function's gradient."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import handmade as hm

# ---- gradients that are right for something else ---------------------------------------------------------------------


def of_other(network, change):
    """Return the gradient function of a network that differs in one thing."""

    def gradients(parameters, X, y):
        other = copy.deepcopy(network)
        other.theta = np.concatenate([np.ravel(p) for p in parameters])
        change(other)
        other.loss_and_gradient(X, y)
        return [block.copy() for block in other.blocks(other.gradient).values()]

    return gradients


def without_bias(place):
    def change(network):
        network.layers[place].b[...] = 0

    return change


def with_activation(place, name):
    def change(network):
        vars(network.layers[place]).update(vars(hm.Activation(name)))

    return change


@pytest.mark.parametrize("as_arrays", [False, True])
@pytest.mark.parametrize(
    ("change", "name", "layer"),
    [
        (without_bias(0), "bias left out of the forward pass", "0"),
        (without_bias(2), "bias left out of the forward pass", "2"),
        (with_activation(1, "relu"), "relu in the forward pass, too", "1"),
        (with_activation(3, "sigmoid"), "sigmoid in the forward pass, too", "3"),
    ],
)
def test_a_right_gradient_of_another_network_is_named(change, name, layer, as_arrays):
    rng = np.random.default_rng(4)
    X, y = rng.normal(size=(9, 3)), rng.integers(0, 3, 9)
    network = hm.MLP([3, 5, 4, 3], "tanh", rng=0)
    claim = of_other(network, change)
    if as_arrays:
        claim = claim(list(network.blocks(network.theta).values()), X, y)
    found = hm.diagnose_gradient(network, X, y, claim)
    assert (found.verdict, [e.name for e in found.explanations]) == ("named", [name])
    assert found.explanations[0].at == (layer,) and not found.steps and "or a function" not in found.advice


ELEMENTWISE = [name for name in hm.activations.ACTIVATIONS if hm.Activation(name).is_elementwise and name != "tanh"]


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_every_other_activation_of_the_library_is_named(name):
    rng = np.random.default_rng(6)
    X, y = 3 * rng.normal(size=(40, 3)), rng.integers(0, 3, 40)
    network = hm.MLP([3, 5, 3], "tanh", rng=0)
    network.theta *= 2  # beyond the bends of relu6 and the hard ones
    parameters = list(network.blocks(network.theta).values())
    claims = {other: of_other(network, with_activation(1, other))(parameters, X, y) for other in ELEMENTWISE}
    alike = [other for other in ELEMENTWISE if all(map(np.array_equal, claims[other], claims[name]))]
    assert len(alike) <= 2  # relu and threshold, elu and celu
    found = hm.diagnose_gradient(network, X, y, claims[name])
    assert found.verdict == "named"
    assert [explanation.name for explanation in found.explanations] == [f"{alike[0]} in the forward pass, too"]


@pytest.mark.parametrize("k", [0, 1, 2])
@pytest.mark.parametrize("weight", [2.0, 0.5, 3.0])
def test_a_weight_of_one_class_is_named(k, weight):
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(15, 6)), np.arange(15) % 3
    network = hm.MLP([6, 7, 3], "tanh", rng=0)

    def gradients(parameters, X, y):
        W0, b0, W1, b1 = parameters
        H = np.tanh(X @ W0.T + b0)
        dA1 = (hm.activations.softmax(H @ W1.T + b1) - np.eye(3)[y]) / len(X)
        dA1[y == k] *= weight
        dA0 = dA1 @ W1 * (1 - H**2)
        return [dA0.T @ X, dA0.sum(0), dA1.T @ H, dA1.sum(0)]

    found = hm.diagnose_gradient(network, X, y, gradients)
    assert f"the right one of class {k}" in str(found)
    assert found.step == "dA[2] from the loss"


@pytest.mark.parametrize("rows", [5, 9, 12])
def test_a_sample_counted_twice_is_no_multiple_of_n(rows):
    rng = np.random.default_rng(6)
    X, y = rng.normal(size=(rows, 3)), rng.integers(0, 3, rows)
    network = hm.MLP([3, 5, 4, 3], "tanh", rng=0)

    def gradients(parameters, X, y):
        clone = copy.deepcopy(network)
        first = clone.loss_and_gradient(X[:1], y[:1])[1] / len(X)
        return clone.loss_and_gradient(X, y)[1] + first

    found = hm.diagnose_gradient(network, X, y, gradients)
    assert [e.name for e in found.explanations] == ["dA[4] = right + the right one of the first sample"]


# ---- functions: which parts are wrong --------------------------------------------------------------------------------

THETA = np.random.default_rng(7).normal(size=(6, 4))
PARTS = {
    "two entries": ([(0, 1), (5, 3)], "theta[0, 1], theta[5, 3]"),
    "rows": ([(r, c) for r in (0, 2) for c in range(4)], "rows 0, 2 of theta"),
    "a column": ([(r, 3) for r in range(6)], "column 3 of theta"),
    "many": ([(r, c) for r in range(6) for c in range(4) if (r + c) % 3 == 0], "8 of 24 entries of theta"),
}


@pytest.mark.parametrize("part", PARTS)
def test_the_wrong_part_of_a_functions_gradient_is_located(part):
    wrong, text = PARTS[part]
    gradient = 3 * THETA**2
    for place in wrong:
        gradient[place] += np.random.default_rng(place).uniform(0.5, 1)
    found = hm.diagnose_gradient(lambda t: float((t**3).sum()), THETA, gradient)
    assert (found.verdict, found.steps) == ("located", [text])
    assert f"everything is right except {text}" in str(found)


def test_one_of_a_few_entries_is_located():
    gradient = 3 * THETA[0] ** 2 * [1, 1, -1, 1]
    found = hm.diagnose_gradient(lambda t: float((t**3).sum()), THETA[0], gradient)
    assert (found.verdict, found.steps) == ("located", ["theta[2]"])


def test_the_wrong_parameter_of_a_function_is_located():
    theta = {"a": THETA[0], "b": THETA[1], "c": THETA[2]}
    gradient = {"a": 2 * THETA[0], "b": np.sin(THETA[1]) + 1, "c": 2 * THETA[2]}
    found = hm.diagnose_gradient(lambda t: float(sum((v**2).sum() for v in t.values())), theta, gradient)
    assert (found.verdict, found.steps) == ("located", ["b"])
    everywhere = {name: np.sin(5 * value) + 1 for name, value in theta.items()}
    found = hm.diagnose_gradient(lambda t: float(sum((v**2).sum() for v in t.values())), theta, everywhere)
    assert (found.verdict, found.steps) == ("unknown", [])
