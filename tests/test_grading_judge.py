"""The judgement of a submission, word for word: the points, the remarks, the hints, and the notes for the teacher."""

from __future__ import annotations

import course
import numpy as np
import pytest

import handmade as hm
from handmade.grading import Exercise, grade
from handmade.grading.child.loading import load
from handmade.grading.exercise import Limits
from handmade.grading.judge import judge
from handmade.grading.sandbox import Ended

NETWORK = hm.MLP([2, 4, 3, 2], activation="tanh", rng=0)
X, Y = hm.data.moons(20, noise=0.1, rng=0)
LAYERS = ["layer 0, Dense(2, 4)", "layer 2, Dense(4, 3)", "layer 4, Dense(3, 2)"]
PLAIN, LOSS, BOTH, changed = course.PLAIN, course.LOSS, course.BOTH, course.changed


@pytest.fixture
def graded(tmp_path, monkeypatch):
    """Return the grade of a submission with this text."""
    monkeypatch.chdir(tmp_path)  # below which a submission's own functions are

    def graded(text, **options):
        (tmp_path / "eve.py").write_text(text)
        with np.errstate():
            student, _ = load(str(tmp_path / "eve.py"))
        return grade(student, NETWORK, X, Y, **options)

    return graded


def assert_judged(result, verdict, items, hints=(), notes=()):
    """Compare a whole grade; ``items`` holds a credit and a remark for the forward pass and each layer."""
    assert result.verdict == verdict
    assert [(item.credit, item.remark) for item in result.items] == items
    assert [item.name for item in result.layers] == LAYERS
    assert (result.hint.splitlines(), result.notes, result.suspicions) == (list(hints), list(notes), [])


RIGHT, NOT = (1, ""), (0, "not graded")
DARWIN = "L_model_forward, L_model_backward, compute_cost"


@pytest.mark.parametrize(
    ("name", "forward", "note"),
    [
        ("cauchy.py", RIGHT, "called by loss; W as (I, O), samples as rows"),
        ("darwin.py", RIGHT, f"called by {DARWIN}; W as (O, I), samples as columns"),
        ("euler.py", (1, "as softmax"), "called by backprop, feedforward; W as (O, I), samples as single columns"),
        ("fermat.py", RIGHT, "called by backward, forward; W as (I, O), samples as rows"),
    ],
)
def test_the_teacher_sees_how_a_submission_was_called(graded, name, forward, note):
    result = graded(course.SUBMISSIONS[name])
    what = {"cauchy.py": "loss", "darwin.py": "loss", "euler.py": "output", "fermat.py": "forward"}[name]
    assert_judged(result, "passed", [forward, RIGHT, RIGHT, RIGHT], notes=[note])
    assert result.forward.name == what


ONE = "the gradient passes an activation as if it were not there"
CONTRACT = (
    "expected loss_and_gradient(parameters, X, y), or both of forward(parameters, X) and backward(parameters, X, y)"
)
ALONE = "def compute_gradients" + PLAIN.split("def backward")[1]


@pytest.mark.parametrize(
    ("text", "verdict", "items", "hints"),
    [
        (
            changed("dA0.T @ X", "X.T @ dA0").replace(" * (1 - H1**2)", ""),
            "mistakes",
            [RIGHT, (0, "wrong: W0, b0"), (0, "wrong: W1, b1"), RIGHT],
            [
                "gradient of W0: expected shape (4, 2), got (2, 4): rows and columns are exchanged",
                f"activation derivative missing, in the tanh after W1: {ONE}",
            ],
        ),
        (
            changed(" * (1 - H1**2)", ""),
            "mistakes",
            [RIGHT, (1, "right, given the mistake above it"), (0, "wrong: W1, b1"), RIGHT],
            [f"activation derivative missing, in the tanh after W1: {ONE}"],
        ),
        (
            course.DIFFERENCES,
            "differences",
            [RIGHT, *[(0, "by differences")] * 3],
            [
                "the gradient is computed by differences: 70 evaluations of the loss or output for one gradient of 35 "
                "parameters"
            ],
        ),
        (
            PLAIN
            + LOSS.replace(
                "np.log(np.exp(Z).sum(axis=1)) - Z[np.arange(len(y)), y]",
                "-np.log(np.exp(Z)[np.arange(len(y)), y] / np.exp(Z).sum(axis=1) + 1e-7)",
            )
            + BOTH,
            "passed",
            [(1, "right to 5 digits; a small constant in the logarithm?"), RIGHT, RIGHT, RIGHT],
            [],
        ),
        (
            PLAIN + "\ndef loss_and_gradient(parameters, X, y):\n    return None, backward(parameters, X, y)\n",
            "mistakes",
            [NOT, RIGHT, RIGHT, RIGHT],
            ["loss_and_gradient returns None for the loss"],
        ),
        (
            PLAIN + LOSS + "\ndef loss_and_gradient(parameters, X, y):\n    return loss(parameters, X, y), None\n",
            "mistakes",
            [RIGHT, NOT, NOT, NOT],
            ["loss_and_gradient returns None for the gradients"],
        ),
        (
            PLAIN + LOSS + "\ndef loss_and_gradient(parameters, X, y):\n    return loss(parameters, X, y)\n",
            "missing",
            [NOT, NOT, NOT, NOT],
            ["loss_and_gradient: expected a pair (loss, gradients), got a number"],
        ),
        (
            "def foo(): ...\ndef bar(): ...\nclass Baz:\n    def f(self): ...\n",
            "missing",
            [NOT, NOT, NOT, NOT],
            [f"forward and backward missing: {CONTRACT}", "found: foo, bar, Baz"],
        ),
    ],
    ids=["flaw and mistake", "mistake", "differences", "constant", "no loss", "no gradient", "no pair", "nothing"],
)
def test_a_submission_is_judged_word_for_word(graded, text, verdict, items, hints):
    assert_judged(graded(text), verdict, items, hints)


def test_a_gradient_alone_is_graded_without_a_forward_pass(graded):
    note = "called by compute_gradients; W as (O, I), samples as rows"
    hint = "no function of the loss or the output was found beside that of the gradient"
    assert_judged(graded(f"import numpy as np\n{ALONE}"), "mistakes", [NOT, RIGHT, RIGHT, RIGHT], [hint], [note])


def test_a_loss_beside_gradients_by_name_is_judged(graded):
    text = PLAIN.replace("backward(", "compute_gradients(").replace("forward(", "predict(")
    loss = LOSS.replace("forward(", "predict(")
    result = graded(text + loss)
    assert (result.forward.name, result.forward.credit, result.verdict) == ("loss", 1, "passed")
    result = graded(text + loss.replace("np.mean(", "2 * np.mean("))
    assert (result.forward.credit, result.hint) == (0, "loss: expected that of the network, got twice that")


def test_gradients_in_attributes_are_found_beside_a_loss(graded):
    text = course.LAYERS.replace(
        "    def backward(self, y):", "    def loss(self, X, y):\n        self.forward(X)"
    ).replace(
        "        for layer in reversed(self.layers):\n            grad = layer.backward(grad)\n",
        "        for layer in reversed(self.layers):\n            grad = layer.backward(grad)\n"
        "        return -np.log(self.probs[np.arange(len(y)), y]).mean()\n",
    )
    note = "called by forward, loss; W as (I, O), samples as rows"
    result = graded(text)
    assert_judged(result, "passed", [RIGHT, RIGHT, RIGHT, RIGHT], notes=[note])
    assert result.forward.name == "loss"


# ---- what ends, prints or fails --------------------------------------------------------------------------------------


class Told:
    """A student whose answers a test gives."""

    name, printed, last_output = "eve", 0, ""

    def __init__(self, answer=None, **described):
        self.attempts, self.answer = [], answer
        empty = {"functions": {}, "classes": {}, "unpacked": [], "patched": [], "failures": [], "error": None}
        self.described = empty | described

    def describe(self):
        if isinstance(self.described["error"], Exception):
            raise self.described["error"]
        return self.described

    def run(self, program):
        raise self.answer


EXERCISE = Exercise(NETWORK, X, Y, limits=Limits(output=10))


def test_a_process_that_ends_keeps_no_point():
    student = Told(Ended("time", "took too long"), functions={"forward": None, "backward": None})
    student.last_output = "epoch 3"
    result = judge(student, EXERCISE)
    notes = ["the last line that it printed: epoch 3"]
    assert_judged(result, "time", [NOT] * 4, ["eve: took too long"], notes)
    assert_judged(judge(Told(error=Ended("ended", "ends itself")), EXERCISE), "ended", [NOT] * 4, ["eve: ends itself"])


def test_cells_that_fail_are_told_to_the_teacher_or_where_nothing_is_found():
    failures = ["one", "two", "x" * 400, "four"]
    told = ["a cell fails: one", "a cell fails: two", f"a cell fails: {'x' * 300}..."]
    student = Told(Ended("time", "took too long"), functions={"forward": None, "backward": None}, failures=failures)
    assert judge(student, EXERCISE).notes == told
    nothing = judge(Told(failures=failures, functions={"f" * 400: None}), EXERCISE)
    assert nothing.hint.splitlines() == [f"forward and backward missing: {CONTRACT}", f"found: {'f' * 300}...", *told]


def test_what_is_printed_patched_and_tried_is_told():
    student = Told(error="NameError: x", patched=["numpy.tanh", "numpy.exp", "numpy.tanh"])
    student.printed, student.attempts = 1_234_567, ["use the network"]
    result = judge(student, EXERCISE)
    hints = [
        "changes NumPy itself: numpy.tanh, numpy.exp",
        "eve: NameError: x",
        "prints 1,234,567 characters; take the calls of print out",
    ]
    assert_judged(result, "error", [NOT] * 4, hints, ["it tried to use the network"])
    student = Told(error="NameError: x")
    student.printed = 10
    assert judge(student, EXERCISE).hint == "eve: NameError: x"  # as much as the exercise allows
