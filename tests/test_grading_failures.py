"""Every way in which a student's file fails, each with its name."""

from __future__ import annotations

import functools
import re
import sys
import types

import numpy as np
import pytest
from students import BOTH, NETWORK, RIGHT, X, Y, credits, grade_text

import handmade as hm
from handmade.grading import Grade, Item, grade


@pytest.fixture
def graded(tmp_path, monkeypatch):
    """Return the grade of a file with the given text, the right one with some of it replaced; in this process."""
    monkeypatch.chdir(tmp_path)
    return functools.partial(grade_text, tmp_path / "alice.py")


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


@pytest.mark.parametrize("comment", ["", "# größe \u2019\n"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_a_file_in_a_wide_encoding_is_told_so(tmp_path, encoding, comment):
    (tmp_path / "ada.py").write_bytes((comment + RIGHT).encode(encoding))
    result = grade(tmp_path / "ada.py", NETWORK, X, Y)
    assert result.verdict == "error"
    has_mark = not encoding.endswith("e")
    found = encoding[:6].upper() if has_mark or not comment else "NUL bytes"
    assert result.hint == f"ada.py: SyntaxError: expected text in UTF-8, got {found}; save the file as text in UTF-8"


@pytest.mark.parametrize("content", [b"PK\x03\x04\x14\0", b"x = 1\n\0", b"\0"])
def test_a_file_that_is_no_text_is_told_so(tmp_path, content):
    (tmp_path / "ada.py").write_bytes(content)
    assert "expected text in UTF-8, got NUL bytes" in grade(tmp_path / "ada.py", NETWORK, X, Y).hint


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
