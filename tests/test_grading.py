"""A student's file graded: credit where it is due, a name for each way to fail, and what pytest shows of it."""

from __future__ import annotations

import copy
import functools
import re
import subprocess
import sys
import types

import numpy as np
import pytest

import handmade as hm
from handmade.checking.backward_pass import BackwardPass
from handmade.checking.mistakes import mistakes
from handmade.checking.transforms import tolerance
from handmade.grading import Exercise, Grade, Item, grade
from handmade.grading.child.loading import load

pytest_plugins = ["pytester"]

RNG = np.random.default_rng(3)
X, Y = RNG.normal(size=(6, 3)), RNG.normal(size=(6, 2))
NETWORK = hm.MLP([3, 5, 4, 2], activation="tanh", rng=0)

RIGHT = """\
import numpy as np

def forward(parameters, X):
    W0, b0, W1, b1, W2, b2 = parameters
    return np.tanh(np.tanh(X @ W0.T + b0) @ W1.T + b1) @ W2.T + b2

def backward(parameters, X, y):
    W0, b0, W1, b1, W2, b2 = parameters
    H0 = np.tanh(X @ W0.T + b0)
    H1 = np.tanh(H0 @ W1.T + b1)
    dA2 = 2 * (H1 @ W2.T + b2 - y) / y.size
    dA1 = dA2 @ W2 * (1 - H1**2)
    dA0 = dA1 @ W1 * (1 - H0**2)
    return [dA0.T @ X, dA0.sum(axis=0), dA1.T @ H0, dA1.sum(axis=0), dA2.T @ H1, dA2.sum(axis=0)]
"""
BOTH = """
def loss_and_gradient(parameters, X, y):
    return np.mean((forward(parameters, X) - y) ** 2), backward(parameters, X, y)
"""


@pytest.fixture
def graded(tmp_path, monkeypatch):
    """Return the grade of a file with the given text, the right one with some of it replaced; in this process."""
    monkeypatch.chdir(tmp_path)

    def of(old: str = "", new: str = "", text: str = RIGHT):
        assert old in text
        file = tmp_path / "alice.py"
        file.write_text(text.replace(old, new, 1))
        with np.errstate():
            student, _ = load(str(file))
        student.__name__ = "alice.py"
        return grade(student, NETWORK, X, Y, loss="mse_loss")

    return of


def credits(result) -> list[int]:
    return [item.credit for item in result.items]


# ---- credit --------------------------------------------------------------------------------------------------------


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


# ---- every way to fail ---------------------------------------------------------------------------------------------

RETURNED = "[dA0.T @ X, dA0.sum(axis=0)"


@pytest.mark.parametrize(
    ("old", "new", "expected", "hint"),
    [
        ("def backward", "def derive", [1, 0, 0, 0], "^backward missing: expected loss_and_gradient"),
        ("def forward", "def apply", [0, 1, 1, 1], "^forward missing: expected loss_and_gradient"),
        ("dA2 @ W2 *", "dA2 @ W1 *", [1, 0, 0, 0], r"backward: ValueError: matmul.*\(line 12: dA1 = dA2 @ W1 "),
        ("(parameters, X, y)", "(parameters)", [1, 0, 0, 0], r"backward: TypeError: .*1 positional argument but 3"),
        ("return [", "[", [1, 0, 0, 0], "backward returns None: is there a return"),
        ("return np", "np", [0, 1, 1, 1], "forward returns None: is there a return"),
        (RETURNED, "[dA0.T @ X", [1, 0, 0, 0], "expected a list of 6 arrays .*, got a sequence of 5"),
        ("return [", "yield [", [1, 0, 0, 0], "expected a list of 6 arrays .*, got generator"),
        ("import numpy as np", "import numpy as np; np.seterr(all='raise')", [1] * 4, "^$"),
        ("dA0.T @ X", "X.T @ dA0", [1, 0, 1, 1], r"W0: expected shape \(5, 3\), got \(3, 5\): rows and columns"),
        ("dA1.sum(axis=0)", "dA1.sum(0, keepdims=True)", [1, 1, 1, 1], "^$"),
        ("dA1.sum(axis=0)", "dA1", [1, 1, 0, 1], r"b1: expected shape \(4,\), got \(6, 4\): it has one row for each"),
        ("dA1.sum(axis=0)", "dA1.sum()", [1, 1, 0, 1], r"b1: expected shape \(4,\), got one number for all units"),
        ("dA2.sum(axis=0)", "dA2.sum(axis=0) / 0", [1, 1, 1, 0], "2 of 2 numbers are not finite, the first is (-?inf)"),
        ("dA2.sum(axis=0)", "'b2'", [1, 1, 1, 0], "gradient of b2: expected numbers, got str"),
        ("dA2.sum(axis=0)", "None", [1, 1, 1, 0], "gradient of b2: expected numbers, got NoneType"),
        ("dA2.sum(axis=0)", "[[1], [2, 3]]", [1, 1, 1, 0], "gradient of b2: expected numbers, got a sequence of 2"),
        ("return np.tanh", "X -= 0; X += 1; return np.tanh", [0, 1, 1, 1], "forward changes its arguments in place: X"),
        ("    return [dA0", "    b2 *= 2; y -= y; return [dA0", [1] * 4, "backward changes .* in place: parameters, y"),
        ("dA2.sum(axis=0)", "dA2.sum(0) * np.random.rand()", [1, 1, 1, 0], "backward: two calls differ"),
        ("return np.tanh(", "return np.tanh(X).T, (", [0, 1, 1, 1], "forward: expected numbers, got a sequence of 2"),
        ("W2.T + b2\n", "W2.T + np.nan\n", [0, 1, 1, 1], "forward: 12 of 12 numbers are not finite"),
    ],
)
def test_a_broken_file_is_told_why_and_graded_as_far_as_it_goes(graded, old, new, expected, hint):
    result = graded(old, new)
    assert credits(result) == expected, result
    assert result.passed == (hint == "^$")
    assert re.search(hint, result.hint, re.MULTILINE), result


@pytest.mark.parametrize(
    ("old", "new", "expected", "hint"),
    [
        ("return np.mean", "return str(np.mean", [0, 1, 1, 1], "loss: expected numbers, got str"),
        ("return np.mean", "return (lambda v: [v])(np.mean", [0, 1, 1, 1], r"loss: expected shape \(\), got \(1,\)"),
        (", backward(parameters, X, y)", ", None", [1, 0, 0, 0], "loss_and_gradient returns None for the gradients"),
        ("np.mean((forward(parameters, X) - y) ** 2)", "None", [0, 1, 1, 1], "returns None for the loss"),
        (", backward(parameters, X, y)", "", [0, 0, 0, 0], "expected a pair .loss, gradients., got a number"),
    ],
)
def test_a_broken_loss_and_gradient_is_told_why(graded, old, new, expected, hint):
    text = RIGHT + BOTH
    text = text.replace("y) ** 2), back", "y) ** 2)), back") if "(np.mean" in new else text
    result = graded(old, new, text)
    assert credits(result) == expected, result
    assert re.search(hint, result.hint), result


@pytest.mark.parametrize("error", [KeyboardInterrupt, pytest.fail.Exception])  # the latter is pytest-timeout's
def test_what_ends_the_run_is_not_the_student_s_failure(error):
    def loss_and_gradient(parameters, X, y):
        raise error

    with pytest.raises(error):
        grade(types.SimpleNamespace(loss_and_gradient=loss_and_gradient), NETWORK, X, Y, loss="mse_loss")


@pytest.mark.parametrize(
    ("line", "verdict", "hint"),
    [
        ("import numpy as np)", "error", r"^alice.py: SyntaxError: unmatched '\)' \(line 1\)$"),
        ("import nunpy", "error", r"^alice.py: ModuleNotFoundError: .*nunpy.* \(line 1: import nunpy\)$"),
        ("exit(3)", "ended", r"^alice.py: SystemExit: 3 \(line 1: exit\(3\)\)$"),
    ],
)
def test_a_file_that_does_not_load_is_told_why(tmp_path, line, verdict, hint):
    file = tmp_path / "alice.py"
    file.write_text(RIGHT.replace("import numpy as np", line))
    result = grade(file, NETWORK, X, Y, loss="mse_loss")
    assert (credits(result), result.verdict) == ([0] * 4, verdict)
    assert re.search(hint, result.hint)


def test_a_file_named_as_a_module_does_not_replace_it(tmp_path):
    file = tmp_path / "types.py"
    file.write_text(RIGHT)
    assert grade(file, NETWORK, X, Y, loss="mse_loss").passed
    assert sys.modules["types"] is types


@pytest.mark.parametrize(("name", "error"), [("bob.py", FileNotFoundError), ("notes.txt", ValueError)])
def test_a_mistyped_file_is_an_error_and_no_grade(tmp_path, name, error):
    (tmp_path / "notes.txt").write_text(RIGHT)
    with pytest.raises(error, match=f"{name}: expected"):
        grade(tmp_path / name, NETWORK, X, Y, loss="mse_loss")


def test_of_gradients_that_accumulate_the_first_call_is_graded(graded):
    text = RIGHT.replace("np\n", "np\nkept = 0\n", 1).replace("dA2.sum(axis=0)]", "dA2.sum(axis=0)]]")
    result = graded("return [", "global kept; kept += 1; return [kept * g for g in [", text)
    assert credits(result) == [1, 1, 1, 1]
    assert not result.passed
    assert result.hint.startswith("backward: two calls differ")


def test_an_answer_is_graded_before_the_next_call_overwrites_it(graded):
    text = RIGHT.replace("np\n", "np\nkept = np.zeros((6, 2))\n", 1)
    text = text.replace("W2.T + b2\n", "W2.T + b2\n    return kept\n")
    result = graded("return np.tanh(np", "kept[:] += np.tanh(np", text)
    assert credits(result) == [1, 1, 1, 1]
    assert result.hint == "forward: two calls differ; something is random, or the first call left something behind"


def test_a_second_answer_of_another_kind_differs(graded):
    text = RIGHT.replace("np\n", "np\ncalls = []\n", 1)
    result = graded("return np.tanh(np", "calls.append(1)\n    return 'x' if len(calls) > 1 else np.tanh(np", text)
    assert credits(result) == [1, 1, 1, 1] and result.hint.startswith("forward: two calls differ")


@pytest.mark.parametrize(
    ("old", "new", "hint"),
    [
        ("return np.tanh(np", "return str(1) or (np", "forward: expected numbers, got str"),
        ("W2.T + b2\n", "W2.T + np.nan\n", "forward: 12 of 12 numbers are not finite, the first is nan"),
        ("W2.T + b2\n", "W2.T + [[np.inf, 0]]\n", "forward: 6 of 12 numbers are not finite, the first is inf"),
        ("W2.T + b2\n", "W2.T\n", "forward: expected that of the network, got other numbers"),
        ("W2.T + b2\n", "W2.T * [[np.inf, np.nan]]\n", None),  # which is the first depends on a sign
        ("W2.T + b2\n", "W2.T * 1e308 * 3\n", None),
    ],
)
def test_the_hint_of_a_wrong_forward_names_the_flaw_alone(graded, old, new, hint):
    result = graded(old, new)
    assert not result.passed and result.forward == Item("forward", 0, "wrong")
    assert hint is None or result.hint == hint


NAMES = ["layer 0, Dense(3, 5)", "layer 2, Dense(5, 4)", "layer 4, Dense(4, 2)"]


@pytest.mark.parametrize(
    ("old", "new", "hint"),
    [
        (
            "dA0.T @ X, ", "",
            "gradients: expected a list of 6 arrays of shapes (5, 3), (5,), (4, 5), (4,), (2, 4), (2,), "
            "got a sequence of 5",
        ),
        ("[dA0.T @ X, ", "['a', ", "gradient of W0: expected numbers, got str"),
        ("[dA0.T @ X, dA0.sum(axis=0), ", "['a', 'b', ",
         "gradient of W0: expected numbers, got str\ngradient of b0: expected numbers, got str"),
    ],
)  # fmt: skip
def test_the_hint_of_wrong_gradients_names_the_flaw_alone(graded, old, new, hint):
    result = graded(old, new)
    assert not result.passed and result.hint == hint and result.forward == Item("forward", 1)
    if hint.startswith("gradients:"):
        assert result.layers == [Item(name, 0, "not graded") for name in NAMES]


def test_the_first_number_that_is_not_finite_is_told(graded):
    result = graded("dA2.sum(axis=0)", "np.array([np.nan, np.inf])")
    assert result.hint == "gradient of b2: 2 of 2 numbers are not finite, the first is nan"
    result = graded("dA2.sum(axis=0)", "np.array([0, np.inf])")
    assert result.hint == "gradient of b2: 1 of 2 numbers are not finite, the first is inf"


def test_numbers_near_the_largest_are_judged_without_warnings(graded):
    assert credits(graded("dA2.sum(axis=0)", "dA2.sum(axis=0) * 0 + 1.7e308")) == [1, 1, 1, 0]
    assert credits(graded("W2.T + b2\n", "W2.T * 0 + 1.7e308\n")) == [0, 1, 1, 1]


def test_a_file_says_itself_how_it_is_encoded(tmp_path):
    file = tmp_path / "alice.py"
    text = "# -*- coding: latin-1 -*-\nname = 'Ren\N{LATIN SMALL LETTER E WITH ACUTE}'\n" + RIGHT
    file.write_bytes(text.encode("latin-1"))
    assert grade(file, NETWORK, X, Y, loss="mse_loss").passed
    file.write_bytes(RIGHT.encode("utf-8-sig"))
    assert grade(file, NETWORK, X, Y, loss="mse_loss").passed


def test_a_layer_far_up_has_its_whole_number():
    network = hm.MLP([1] * 7, activation="tanh", rng=0)
    result = grade(types.SimpleNamespace(), network, X[:, :1], X[:, :1], loss="mse_loss")
    assert [item.name for item in result.layers] == [f"layer {i}, Dense(1, 1)" for i in range(0, 12, 2)]


def test_the_network_and_the_data_are_left_as_they_are(graded):
    before = NETWORK.theta.copy(), NETWORK.gradient.copy(), X.copy(), Y.copy()
    graded("    H0 =", "    X[:] = 7; y[:] = 7; W0[:] = 7; 1 / 0\n    H0 =")
    for now, then in zip((NETWORK.theta, NETWORK.gradient, X, Y), before, strict=True):
        assert np.array_equal(now, then)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parameters_are_moved_a_little_and_equal_each_time(dtype):
    network, given = NETWORK.astype(dtype), []

    def forward(parameters, X):
        given.append(np.concatenate([parameter.ravel() for parameter in parameters]))
        return np.array(NETWORK.predict(X)) + 1

    for _ in range(2):
        grade(types.SimpleNamespace(forward=forward), network, X, Y, loss="mse_loss")
    assert len(given) % 2 == 0 and np.array_equal(given[0], given[len(given) // 2])
    drawn = np.random.default_rng(0).uniform(-0.1, 0.1, network.theta.shape).astype(dtype)
    assert np.array_equal(given[0], network.theta + drawn)
    moved = given[0] - network.theta
    assert given[0].dtype == dtype and np.abs(moved).max() < 0.1001
    assert moved.min() < -0.09 and moved.max() > 0.09 and np.count_nonzero(moved) == moved.size


def test_a_dropout_that_drops_nothing_can_be_graded(graded, tmp_path):
    file = tmp_path / "alice.py"
    file.write_text(RIGHT)
    layers = [hm.Dense(3, 5, rng=0), hm.Activation("tanh"), hm.Dense(5, 4, rng=1), hm.Activation("tanh")]
    assert grade(file, hm.Network([*layers, hm.Dropout(0.0), hm.Dense(4, 2, rng=2)]), X, Y, loss="mse_loss").passed


@pytest.mark.parametrize(
    ("student", "name"),
    [
        (types.SimpleNamespace(), "SimpleNamespace"),
        (types.SimpleNamespace(__name__="bob"), "bob"),
        (types.ModuleType("carol"), "carol"),
    ],
)
def test_who_has_neither_function_is_told_what_is_expected(student, name):
    result = grade(student, NETWORK, X, Y, loss="mse_loss")
    assert (result.student, credits(result)) == (name, [0, 0, 0, 0])
    assert repr(result) == f"<{name}: 0 of 4 points>"
    assert result.hint == (
        "forward and backward missing: expected loss_and_gradient(parameters, X, y), or both of "
        "forward(parameters, X) and backward(parameters, X, y)"
    )
    assert [(item.name, item.remark) for item in result.items] == [
        ("forward", "not graded"),
        ("layer 0, Dense(3, 5)", "not graded"),
        ("layer 2, Dense(5, 4)", "not graded"),
        ("layer 4, Dense(4, 2)", "not graded"),
    ]


def test_what_is_no_function_is_missing():
    result = grade(types.SimpleNamespace(forward=3, backward=None), NETWORK, X, Y, loss="mse_loss")
    assert result.hint.startswith("forward and backward missing")


def test_a_file_is_a_module_of_its_own(tmp_path):
    # It knows its name and place, and its annotations are evaluated.
    checks = "assert (__name__, __file__[-8:]) == ('alice', 'alice.py')\nimport sys\n"
    checks += "from dataclasses import dataclass\n@dataclass\nclass Kept:\n    H: np.ndarray\n"
    checks += "assert Kept.__annotations__['H'] is np.ndarray\nimport colorsys\n"
    file = tmp_path / "alice.py"
    file.write_text(RIGHT.replace("import numpy as np\n", "import numpy as np\n" + checks))
    assert grade(file, NETWORK, X, Y, loss="mse_loss").passed


def test_warnings_and_settings_do_not_outlast_the_call(graded):
    before = np.geterr()
    text = "import warnings; warnings.warn('slow'); np.seterr(all='warn'); np.log(0 * X); warnings.resetwarnings()"
    assert graded("    H0 =", f"    {text}\n    H0 =").passed
    assert np.geterr() == before


def test_the_table_has_a_line_for_each_that_earns_credit():
    items = [Item("layer 0", 1), Item("1", 0, "wrong: b")]
    message = str(Grade("alice.py", Item("loss", 1), items, "first\nsecond"))
    assert message.splitlines() == [
        "alice.py: 2 of 3 points",
        "  loss     1",
        "  layer 0  1",
        "  1        0  wrong: b",
        "  hint: first",
        "  hint: second",
    ]


def test_dropout_cannot_be_graded():
    with pytest.raises(ValueError, match="without Dropout"):
        grade("alice.py", hm.MLP([3, 4, 2], dropout=0.5, rng=0), X, Y, loss="mse_loss")


def test_a_teacher_s_mistake_is_the_teacher_s_error():
    with pytest.raises(ValueError, match=r"X: expected shape \(N, 3\)"):
        grade("alice.py", NETWORK, X[:, :2], Y, loss="mse_loss")


# ---- the plugin ----------------------------------------------------------------------------------------------------

TEACHER = """\
import numpy as np, handmade as hm

def test_backward(grade, student):
    rng = np.random.default_rng(3)
    X, Y = rng.normal(size=(6, 3)), rng.normal(size=(6, 2))
    result = grade(student, hm.MLP([3, 5, 4, 2], activation="tanh", rng=0), X, Y, loss="mse_loss")
    assert result.passed
"""


@pytest.fixture
def course(pytester, monkeypatch):
    """Return a pytester with a teacher's test beside two students' files, one of them wrong."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # what is installed here is not at stake
    pytester.makeconftest('pytest_plugins = ["handmade.grading"]')
    pytester.makepyfile(test_course=TEACHER)
    folder = pytester.mkdir("students")
    (folder / "alice.py").write_text(RIGHT)
    (folder / "bob.py").write_text(RIGHT.replace(" * (1 - H1**2)", ""))
    return pytester


def test_each_file_is_graded_and_the_summary_lists_them(course):
    result = course.runpytest_inprocess("-v", "--student=students/bob.py", "--student=students/alice.py")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*test_backward[[]bob.py] FAILED*",
            "*test_backward[[]alice.py] PASSED*",
            "E *assert False*",
            "E *where False = <bob.py: 3 of 4 points>.passed",
            "* Captured grade call *",
            "bob.py: 3 of 4 points",
            "  layer 2, Dense(5, 4)  0  wrong: W1, b1",
            "  hint: *",
            "* grades *",
            "bob.py: 3 of 4 points",
            "  forward               1",
            "  layer 0, Dense(3, 5)  1  right, given the mistake above it",
            "  layer 2, Dense(5, 4)  0  wrong: W1, b1",
            "  layer 4, Dense(4, 2)  1",
            "  hint: *activation derivative missing*",
            "alice.py: 4 of 4 points",
            "* 1 failed, 1 passed in *",
        ]
    )


def test_the_option_is_explained_in_a_group_of_its_own(course):
    course.runpytest_inprocess("--help").stdout.fnmatch_lines(
        ["handmade:", "  --student=FILE*a submission, or a folder of them; may be repeated"]
    )


def test_a_folder_means_its_files(course):
    course.runpytest_inprocess("--student=students").assert_outcomes(passed=1, failed=1)


def test_a_grade_made_in_a_fixture_is_listed_once(course):
    teacher = TEACHER.replace("def test_backward(grade, student):", "@pytest.fixture\ndef result(grade, student):")
    teacher = teacher.replace("    result = ", "    return ").replace("    assert result.passed\n", "")
    teacher = f"import pytest, warnings\n{teacher}\ndef test_it(result):\n    warnings.warn('a warning is no test')\n"
    course.makepyfile(test_course=teacher + "\ndef test_other():\n    pass\n")
    result = course.runpytest_inprocess("--student=students/alice.py", "-k", "it", "-W", "default")
    result.assert_outcomes(passed=1, deselected=1, warnings=1)
    assert [line for line in result.outlines if "points" in line] == ["alice.py: 4 of 4 points"]


def test_an_empty_folder_is_no_success(course):
    course.mkdir("nobody")
    result = course.runpytest_inprocess("--student=nobody")
    assert result.ret != 0
    result.stdout.fnmatch_lines(["*--student=nobody: expected .py files, notebooks or a folder for each student*"])


def test_without_a_file_the_option_is_named(course):
    result = course.runpytest_inprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*student: expected pytest --student=FILE, the file to grade*"])
    result.stdout.no_fnmatch_line("* grades *")


def test_a_test_may_name_its_file_itself(course):
    teacher = TEACHER.replace("grade, student", "grade").replace("student,", "'students/alice.py',")
    course.makepyfile(test_course=teacher)
    result = course.runpytest_inprocess("-p", "handmade.grading")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["* grades *", "alice.py: 4 of 4 points"])


def test_grading_without_pytest_loads_none():
    code = "import sys, handmade.grading; print('pytest' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout == "False\n"
