"""A student's file graded: credit where it is due."""

from __future__ import annotations

import copy
import functools
import types

import numpy as np
import pytest
from students import BOTH, NETWORK, RIGHT, X, Y, credits, grade_text

import handmade as hm
from handmade.checking.backward_pass import BackwardPass
from handmade.checking.causes import tolerance
from handmade.checking.mistakes import mistakes
from handmade.grading import Exercise, grade


@pytest.fixture
def graded(tmp_path, monkeypatch):
    """Return the grade of a file with the given text, the right one with some of it replaced; in this process."""
    monkeypatch.chdir(tmp_path)
    return functools.partial(grade_text, tmp_path / "alice.py")


@pytest.mark.parametrize("text", [RIGHT, RIGHT + BOTH], ids=["forward and backward", "loss_and_gradient"])
def test_a_right_file_earns_every_point(graded, text):
    result = graded(text=text)
    assert (result.credit, result.passed, result.hint, credits(result)) == (1, True, "", [1, 1, 1, 1])
    assert result.forward.name == ("loss" if text != RIGHT else "forward")
    assert str(result).splitlines()[0] == "alice.py: 4 of 4 points"


@pytest.mark.parametrize(
    ("old", "new", "expected", "hint"),
    [
        (" * (1 - H0**2)", "", [1, 0, 1, 1], "activation derivative missing, in the tanh after W0"),
        (" * (1 - H1**2)", "", [1, 1, 0, 1], "activation derivative missing, in the tanh after W1"),
        ("/ y.size", "", [1, 1, 1, 0], "times N outputs"),
        ("2 * (H1", "(H1", [1, 1, 1, 0], "factor 1/2"),
        ("H1 @ W2.T + b2 - y", "H1 @ W2.T + b2 + y", [1, 1, 1, 0], "sum of prediction and target"),
        ("dA1.sum(axis=0)", "dA1[0]", [1, 1, 0, 1], "bias gradient of the first sample only"),
        ("    dA1 =", "    dA2[1:] = 0; dA1 =", [1, 1, 1, 0], "first sample only"),  # or in all layers
    ],
)
def test_one_mistake_costs_one_point(graded, old, new, expected, hint):
    result = graded(old, new)
    assert credits(result) == expected, result
    assert result.credit == 0.75
    assert hint in result.hint


def test_a_mistake_made_twice_costs_two_points(graded):
    result = graded(text=RIGHT.replace(" * (1 - H0**2)", "").replace(" * (1 - H1**2)", ""))
    assert credits(result) == [1, 0, 0, 1]
    assert "activation derivative missing, in all 2 layers" in result.hint


def test_a_catalogued_mistake_made_once_costs_one_point():
    network, labels = hm.MLP([3, 4, 4, 2], activation="sigmoid", rng=1), np.array([0, 1, 1, 0, 1, 0])
    given = []

    def wrong_at(place, parameters, X, y):
        own = copy.deepcopy(network)
        own.theta[:] = np.concatenate([parameter.reshape(-1) for parameter in parameters])
        passes = BackwardPass(own, X, y)
        steps = [mistake.steps for mistake in mistakes(passes) if len(mistake.steps) == 1]
        wrong, truth = passes.gradient(steps[place], 0.1), passes.gradient()
        given.append(np.abs(wrong - truth).max() > 1e-5)
        return passes.value, list(own.blocks(wrong).values())

    lost = []
    for place in range(0, 150, 11):
        student = types.SimpleNamespace(loss_and_gradient=functools.partial(wrong_at, place))
        result = grade(student, network, X, labels)
        lost.append(4 - sum(credits(result)))
        assert lost[-1] == given[-1], result
    assert sum(lost) > 10


@pytest.mark.parametrize(("shift", "right"), [(0, 1), (63.5, 1), (64, 1), (64.5, 0), (1e6, 0)])
def test_a_loss_of_zero_may_differ_by_the_rounding_of_one(shift, right):
    network, x = hm.MLP([1, 1], rng=0), np.array([[1.0]])
    student = types.SimpleNamespace(loss_and_gradient=lambda W, X, y: (shift * np.finfo(float).eps, [[[0.0]], [0.0]]))
    assert credits(
        grade(student, network, x, Exercise(network, x, [[0.0]], "mse_loss").network.predict(x), loss="mse_loss")
    ) == [right, 1]


@pytest.mark.parametrize("claimed", [0.0, 2.0, 3e300])
def test_no_factor_explains_a_claim_where_the_gradient_is_zero(claimed):
    network, x = hm.MLP([1, 1], rng=0), np.array([[1.0]])
    student = types.SimpleNamespace(loss_and_gradient=lambda W, X, y: (0.0, [[[claimed]], [claimed]]))
    assert credits(
        grade(student, network, x, Exercise(network, x, [[0.0]], "mse_loss").network.predict(x), loss="mse_loss")
    ) == [1, claimed == 0]


def test_gradients_of_nothing_but_zeros_earn_nothing(graded):
    assert credits(graded("return [dA0", "dA0 *= 0; dA1 *= 0; dA2 *= 0; return [dA0")) == [1, 0, 0, 0]


def test_at_most_three_equivalent_mistakes_are_listed():
    network, x, y = hm.MLP([1, 1], bias=False, rng=0), np.array([[1.0]]), np.array([[0.25]])
    w = Exercise(network, x, [[0.0]], "mse_loss").network.theta[0]
    student = types.SimpleNamespace(loss_and_gradient=lambda W, X, y: ((w - 0.25) ** 2, [[[w - 0.25]]]))
    found = hm.diagnose_gradient(
        Exercise(network, x, [[0.0]], "mse_loss").network, x, y, [w - 0.25], loss="mse_loss"
    ).explanations
    assert len(found) == 5
    found = [f"{one.name}, in {one.where}: {one.hint}".replace("0.weight", "parameters[0]") for one in found]
    first, second, third = found[:3]
    same = "or, the same on this batch: "
    assert grade(student, network, x, y, loss="mse_loss").hint == f"{first}\n{same}{second}\n{same}{third}"


def test_an_unknown_mistake_in_one_step_costs_one_point(graded):
    result = graded("dA1 = dA2 @ W2 *", "dA1 = dA2 @ (W2 + np.arange(8).reshape(2, 4)) *")
    assert credits(result) == [1, 1, 0, 1]
    assert result.hint == "everything is right except the step that makes dA[2] from dA[4]"


@pytest.mark.parametrize("gradients", ["parameters", "[np.cos(5 * p) for p in parameters]"])
def test_arrays_of_the_right_shapes_earn_nothing(graded, gradients):
    # A batch of many rows has some dA for any gradients, from which the layers below seem to follow.
    assert credits(graded("return [dA0", f"return {gradients}; [dA0")) == [1, 0, 0, 0]


def test_a_layer_s_scale_is_a_parameter_like_any_other():
    network = hm.Network([hm.Dense(3, 4, rng=0), hm.BatchNorm(4), hm.Activation("tanh"), hm.Dense(4, 2, rng=1)])

    def student(changed: int):
        def loss_and_gradient(parameters, X, y):
            own = copy.deepcopy(network)
            own.theta[:] = np.concatenate([parameter.reshape(-1) for parameter in parameters])
            loss, gradient = own.loss_and_gradient(X, y, loss="mse_loss")
            return loss, [g * (i != changed) for i, g in enumerate(own.blocks(gradient).values())]

        return types.SimpleNamespace(loss_and_gradient=loss_and_gradient)

    assert grade(student(-1), network, X, Y, loss="mse_loss").passed
    result = grade(student(2), network, X, Y, loss="mse_loss")
    assert credits(result) == [1, 1, 0, 1]
    assert result.hint.startswith("not computed, in parameters[2]")


def test_a_forgotten_bias_is_missed_though_it_is_zero(tmp_path):
    network = hm.MLP([3, 5, 4, 2], activation="tanh", rng=0)
    for name, block in network.blocks(network.theta).items():
        block *= name.endswith("weight")
    file = tmp_path / "alice.py"
    file.write_text(RIGHT.replace("X @ W0.T + b0", "X @ W0.T", 1))
    result = grade(file, network, X, Y, loss="mse_loss")
    assert credits(result) == [0, 1, 1, 1]
    assert result.hint == "forward: expected that of the network, got other numbers"


@pytest.mark.parametrize(
    ("factor", "got"),
    [
        ("6 *", "N times that"),
        ("1 / 6 *", "that divided by N"),
        ("2 *", "twice that"),
        ("0.5 *", "half of it"),
        ("-1 *", "its negative"),
        ("3 *", "other numbers"),
    ],
)
def test_a_wrong_loss_beside_a_right_gradient_costs_one_point(graded, factor, got):
    result = graded("return np.mean", f"return {factor} np.mean", RIGHT + BOTH)
    assert credits(result) == [0, 1, 1, 1]
    assert result.hint.startswith(f"loss: expected that of the network, got {got}")


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_probabilities_in_place_of_logits_are_named(activation):
    network, labels = hm.MLP([3, 2], rng=0), np.array([0, 1, 1, 0, 1, 0])

    def probabilities(parameters, X):
        return getattr(hm.activations, activation)(X @ parameters[0].T + parameters[1])

    def backward(parameters, X, y):
        dA = (hm.activations.softmax(X @ parameters[0].T + parameters[1]) - np.eye(2)[y]) / len(X)
        return dA.T @ X, dA.sum(axis=0)

    student = types.SimpleNamespace(forward=probabilities, backward=backward)
    result = grade(student, network, X, labels)
    assert credits(result) == [0, 1]
    assert result.hint == f"forward: expected that of the network, got its {activation}"


def test_float32_is_judged_by_its_own_precision(graded):
    single = "parameters, X, y = [p.astype('f') for p in parameters], X.astype('f'), y.astype('f')\n    W0"
    text = RIGHT.replace("return np.tanh", "return np.float32(1) * np.tanh")
    head, tail = text.split("def backward")
    assert graded(text=head + "def backward" + tail.replace("W0", single, 1)).passed


def answering(change: str) -> str:
    """Return the right file, whose forward gives something else in place of its output Z."""
    text = RIGHT.replace("return np.tanh(np", "Z = np.tanh(np")
    return text.replace("W2.T + b2\n", f"W2.T + b2\n    return {change}\n")


@pytest.mark.parametrize("network", [np.float32, np.float64])
@pytest.mark.parametrize("answer", [np.float32, np.float64])
def test_larger_errors_are_allowed_for_float32_alone(tmp_path, network, answer):
    assert 10 * tolerance(False) < tolerance(True)
    file = tmp_path / "alice.py"
    file.write_text(answering(f"(Z * {1 + 3 * tolerance(False)}).astype('{np.dtype(answer)}')"))
    result = grade(file, NETWORK.astype(network), X, Y, loss="mse_loss")
    assert result.forward.credit == (np.float32 in (network, answer))
