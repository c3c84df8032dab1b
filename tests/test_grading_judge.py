"""The judgement of a submission, word for word: the points, the remarks, the hints, and the notes for the teacher."""

from __future__ import annotations

import dataclasses
import re
import types

import course
import numpy as np
import pytest

import handmade as hm
from handmade.checking.backward_pass import BackwardPass
from handmade.grading import Exercise, grade
from handmade.grading.calls import Call, Truth
from handmade.grading.child.loading import load
from handmade.grading.conventions import plans
from handmade.grading.exercise import Limits
from handmade.grading.grades import VERDICTS
from handmade.grading.judge import _hints, _Judgement, _losses, judge
from handmade.grading.layouts import Layout, Reading
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
    assert result.verdict == verdict and verdict in VERDICTS
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


@pytest.mark.parametrize("container", ["np.array({}, dtype=object)", "iter({})", "dict(enumerate({})).values()"])
def test_gradients_in_any_container_are_read(graded, container):
    text = PLAIN + LOSS + "\ndef loss_and_gradient(parameters, X, y):\n    gradients = backward(parameters, X, y)\n"
    text += f"    return loss(parameters, X, y), {container.format('gradients')}\n"
    assert_judged(graded(text), "passed", [RIGHT] * 4)


def test_gradients_in_float32_that_float64_hides_are_told(graded):
    names = "W0, b0, W1, b1, W2, b2 = "
    # 22 binary places, two fewer than float32 has: what float32 itself loses may be less than the check sees
    single = "lambda p: np.round(p * 2**22) / 2**22"
    text = PLAIN.replace(f"{names}parameters", f"X, *rest = map({single}, [X, *parameters]); {names}rest")
    result = graded(text + LOSS + BOTH)
    assert result.verdict == "mistakes"
    assert any(item.remark.startswith("wrong: ") for item in result.items)
    told = r"the gradient differs by \de-0[5-8] of the largest number, as much as float32 may lose: compute in float64"
    assert re.match(told, result.hint)


def test_a_factor_of_all_gradients_costs_the_last_layer_a_point(graded):
    result = graded(changed("/ len(X)", "/ len(X) * 3.7"))
    assert [item.credit for item in result.items] == [1, 1, 1, 0]


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

    def end(self):
        """Nothing is left of it."""

    def run(self, program):
        raise self.answer


EXERCISE = Exercise(NETWORK, X, Y, limits=Limits(output=10))


def test_what_is_still_on_its_way_when_the_process_ends_is_told():
    class Late(Told):
        def end(self):
            self.printed, self.last_output = 99, "the last line"

    result = judge(Late(Ended("crashed", "crashed with SIGSEGV"), functions={"loss_and_gradient": []}), EXERCISE)
    assert "prints 99 characters" in result.hint
    assert "the last line that it printed: the last line" in result.notes


def test_a_process_that_ends_keeps_no_point():
    student = Told(Ended("time", "took too long"), functions={"forward": None, "backward": None})
    student.last_output = "epoch 3"
    result = judge(student, EXERCISE)
    notes = ["the last line that it printed: epoch 3"]
    assert_judged(result, "time", [NOT] * 4, ["eve: took too long"], notes)
    assert_judged(judge(Told(error=Ended("ended", "ends itself")), EXERCISE), "ended", [NOT] * 4, ["eve: ends itself"])


def test_cells_that_fail_are_told_to_the_teacher():
    failures = ["one", "two", "x" * 400, "four"]
    expected = ["a cell fails: one", "a cell fails: two", f"a cell fails: {'x' * 300}..."]
    student = Told(Ended("time", "took too long"), functions={"forward": None, "backward": None}, failures=failures)
    assert judge(student, EXERCISE).notes == expected
    nothing = judge(Told(failures=failures, functions={"f" * 400: None}), EXERCISE)
    assert nothing.hint.splitlines() == [
        f"forward and backward missing: {CONTRACT}",
        f"found: {'f' * 300}...",
        *expected,
    ]


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


# ---- the parts of a judgement ----------------------------------------------------------------------------------------

TRUTH = Truth(EXERCISE)


@pytest.mark.parametrize(
    ("what", "answer", "is_lenient", "forward", "hints"),
    [
        ("output", TRUTH.output, False, RIGHT, []),
        ("output", hm.activations.softmax(TRUTH.output), True, (1, "as softmax"), []),
        ("output", hm.activations.sigmoid(TRUTH.output), True, (1, "as sigmoid"), []),
        ("output", hm.activations.sigmoid(TRUTH.output), False, (0, "wrong"), ["got its sigmoid"]),
        ("output", TRUTH.output * (1 + 1e-6), False, (0, "wrong"), ["got other numbers"]),
        ("output", TRUTH.output[:3], True, (0, "wrong"), ["expected shape (20, 2), got (3, 2)"]),
        ("loss", TRUTH.loss * (1 + 9e-6), False, (1, "right to 5 digits; a small constant in the logarithm?"), []),
        ("loss", TRUTH.loss * (1 - 1.1e-5), False, (0, "wrong"), ["got other numbers"]),
        ("loss", -TRUTH.loss, False, (0, "wrong"), ["got its negative"]),
    ],
)
def test_numbers_are_right_or_named(what, answer, is_lenient, forward, hints):
    judgement = _Judgement(Told(), EXERCISE)
    judgement.what = what
    true, near = (TRUTH.loss, _losses(TRUTH)) if what == "loss" else (TRUTH.output, TRUTH.outputs())
    judgement._judge_numbers(TRUTH, answer, true, near, is_lenient)
    assert judgement.forward == forward
    assert len(judgement.hints) == len(hints) and all(
        hint in text for hint, text in zip(hints, judgement.hints, strict=True)
    )


def test_a_hint_has_the_names_of_the_student():
    judgement = _Judgement(Told(), EXERCISE)
    judgement.names = {"0.weight": "W1", "0.bias": "b1", "2.weight": "W2"}
    text = "0.bias in layers[0], Dense(2, 4); layers[1], Activation('tanh'); 2.weight; layers[2], Dense(4, 3); 4.weight"
    assert judgement._in_own_names(text) == "b1 in the layer of W1; the tanh after W1; W2; the layer of W2; 4.weight"
    own = hm.MLP([2, 3, 2], (hm.activations.silu, hm.activations.silu_backward), rng=0)
    judgement = _Judgement(Told(), Exercise(own, X, Y))
    assert judgement._in_own_names(f"layers[1], {own.layers[1]!r}") == "the activation after 0.weight"
    assert judgement._name("0.weight") == "0.weight"
    first = hm.Network([hm.Activation("tanh"), hm.Dense(2, 2, rng=0)])
    text = "layers[0], Activation('tanh')"  # which comes after no parameter
    assert _Judgement(Told(), Exercise(first, X, Y))._in_own_names(text) == text


def found(*explanations, first="0.weight"):
    named = [types.SimpleNamespace(name=name, where=f"layers[{i}]", hint="why") for i, name in enumerate(explanations)]
    return types.SimpleNamespace(explanations=named, first_wrong=first, difference=1.0)


def test_a_hint_names_mistakes_then_steps_then_a_place():
    assert _hints(found("a", "b", "c", "d"), ["x"]) == [
        "a, in layers[0]: why",
        "or, the same on this batch: b, in layers[1]: why",
        "or, the same on this batch: c, in layers[2]: why",
    ]
    assert _hints(found(), ["x", "y", "z"]) == ["everything is right except x and y and z"]
    for steps in None, [], list("wxyz"):
        assert _hints(found(), steps) == ["no known mistake explains the gradient; look first at 0.weight"]


def answering(answers, functions=("forward", "backward")):
    """Return a judgement and a call of a contract whose functions have these answers."""
    student = Told()
    student.run = lambda program: {"error": None, "changed": [], "patched": [], "evaluations": 0} | answers.pop(0)
    described = {"functions": dict.fromkeys(functions), "classes": {}, "unpacked": []}
    plan = next(iter(plans(described, TRUTH.blocks, student.run)))
    return _Judgement(student, EXERCISE), Call(student, plan, Layout(), TRUTH.blocks, 2)


def test_a_function_is_called_twice_and_its_first_answer_kept():
    one, other = {"values": [np.ones(2)]}, {"values": [np.zeros(2)], "changed": ["X"], "patched": ["numpy.exp"]}
    for answers, kept, verdict, hints, patched in (
        ([one, one], True, "", [], []),
        ([one, other], True, "", ["forward changes its arguments in place: X",
                                  "forward: two calls differ; something is random, or the first call left something "
                                  "behind"], ["numpy.exp"]),
        ([one, {"values": [], "error": "ValueError: no"}], False, "error", ["forward: ValueError: no"], []),
        ([{"values": [], "error": "MemoryError: no"}], False, "memory", ["forward: MemoryError: no"], []),
        ([{"values": [None]}], False, "missing", ["forward returns None: is there a return?"], []),
    ):  # fmt: skip
        judgement, call = answering(list(answers))
        answer = judgement._twice(call, "output", list(TRUTH.blocks.values()), TRUTH)
        assert (answer is not None) is kept and (judgement.verdict, judgement.hints) == (verdict, hints)
        assert judgement.patched == patched
        if kept:
            assert answer.values[0].tolist() == [1, 1]
    judgement, call = answering([{"values": [], "error": "ValueError: no"}])
    judgement.verdict = "memory"  # of a function before it
    judgement._twice(call, "output", list(TRUTH.blocks.values()), TRUTH)
    assert judgement.verdict == "memory"


@pytest.mark.parametrize("functions", [("forward", "backward"), ("loss_and_gradient",)])
@pytest.mark.parametrize("rows", [2, 20])
def test_a_step_that_no_mistake_explains_is_found_on_few_rows(rows, functions):
    def odd(of, i, dH):
        return of.layers[i].backward(dH, of.caches[i]) * (1 + 0.3 * np.sin(7 * of.values[i]))

    class Student(Told):
        def run(self, program):
            given = program["inputs"]
            network = NETWORK.astype(float)
            network.theta[:] = np.concatenate([array.ravel() for array in given["parameters"]])
            of = BackwardPass(network, given["X"], given["y"])
            gradient = [g.copy() for g in network.blocks(of.gradient({1: odd})).values()]
            value = gradient if functions[0] == "forward" else (of.value, gradient)
            return {"values": [value], "error": None, "changed": [], "patched": [], "evaluations": 0}

    exercise = Exercise(NETWORK, X[:rows], Y[:rows])
    truth, student = Truth(exercise), Student()
    of_odd = BackwardPass(exercise.network, truth.X, truth.y)
    _, call = answering([], functions)
    call = dataclasses.replace(call, student=student)
    claimed = truth.network.blocks(of_odd.gradient({1: odd}))
    reading = Reading({name: array.copy() for name, array in claimed.items()}, {})
    steps = _Judgement(student, exercise)._localised(call, truth, reading)
    assert [(step.name, step.source) for step in steps] == [("dA[0]", "dA[2]")]
    flawed = dataclasses.replace(reading, flaws={"0.bias": "a flaw"})
    assert _Judgement(student, exercise)._localised(call, truth, flawed) is None
