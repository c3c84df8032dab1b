"""Calls of a submission: the answers of its functions are collected, and the layout that fits is found."""

from __future__ import annotations

import dataclasses
import itertools
import types

import numpy as np
import pytest

import handmade as hm
from handmade.grading import Exercise
from handmade.grading.calls import Call, Truth, _score, find_call
from handmade.grading.conventions import plans
from handmade.grading.layouts import Layout
from handmade.grading.sandbox import InProcess

NETWORK = hm.MLP([2, 3, 2], "tanh", rng=0)
X, Y = hm.data.moons(4, rng=0)
TRUTH = Truth(Exercise(NETWORK, X, Y))
W0, B0, W2, B2 = TRUTH.blocks.values()
GRADIENT = list(TRUTH.gradient.values())
LAYOUTS = {"rows": Layout(), "columns": Layout(False, "column", "columns"), "single": Layout(samples="single vectors")}


# ---- answers ---------------------------------------------------------------------------------------------------------


class Told:
    """A student whose answers a test gives, one after another; keeps the programs."""

    def __init__(self, *answers):
        self.answers, self.programs = list(answers), []

    def run(self, program):
        self.programs.append(program)
        given = self.answers.pop(0)
        return {"values": [], "error": None, "changed": [], "patched": [], "evaluations": 0} | given


def call_of(student, layout="single", functions="forward backward"):
    described = {"functions": dict.fromkeys(functions.split()), "classes": {}, "unpacked": []}
    plan = next(iter(plans(described, TRUTH.blocks, student.run)))
    return Call(student, plan, LAYOUTS[layout], TRUTH.blocks, 2)


def asked(*answers, **options):
    call = call_of(Told(*answers))
    return call.ask("gradients", list(TRUTH.blocks.values()), X, Y, **options), call.student


def test_answers_of_all_samples_are_kept():
    notes = {"evaluations": 3, "patched": ["numpy.\x1b[31mtanh"], "changed": ["X" * 200]}
    answer, student = asked({"values": [1.0]}, {"values": [2.0, 3.0]} | notes, {"values": [4.0]}, {"values": [5.0]})
    assert answer.values == [1.0, [2.0, 3.0], 4.0, 5.0]
    assert (answer.evaluations, answer.patched, answer.changed) == (3, ["numpy.tanh"], ["X" * 100 + "..."])
    assert (answer.error, answer.unsent) == ("", "")
    assert [program["count"] for program in student.programs] == [False] * 4
    assert [program["inputs"]["X"].tolist() for program in student.programs] == X.tolist()
    _, student = asked(*[{"values": [1.0]}] * 4, count=True)
    assert [program["count"] for program in student.programs] == [True] * 4


@pytest.mark.parametrize("kind", ["error", "unsent"])
def test_the_first_error_ends_the_samples(kind):
    answer, student = asked({"values": [1.0]}, {"values": [2.0], kind: "no\x07 " + "x" * 500})
    assert answer.values == [1.0] and len(student.programs) == 2
    texts = {"error": "", "unsent": ""} | {kind: "no " + "x" * 397 + "..."}
    assert (answer.error, answer.unsent) == (texts["error"], texts["unsent"])


def test_the_gradient_of_one_sample_has_no_rows_of_others():
    reading = call_of(Told()).gradient_of([[W0, np.ones((2, 3)), W2, B2]], 4)
    assert reading.flaws == {"0.bias": "expected shape (3,), got (2, 3)"}


# ---- scores ----------------------------------------------------------------------------------------------------------


BACKWARD = [["params", True], ["X", True], ["y", True]]


def failing(*_):
    raise ZeroDivisionError


def forward(parameters, X):
    W0, b0, W2, b2 = parameters
    return np.tanh(X @ W0.T + b0) @ W2.T + b2


def backward(parameters, X, y):
    return GRADIENT


def half_right(parameters, X, y):
    return [GRADIENT[0], GRADIENT[1], 2 * GRADIENT[2], 2 * GRADIENT[3]]


def both(parameters, X, y):
    return TRUTH.loss, GRADIENT


@pytest.mark.parametrize(
    ("functions", "score"),
    [
        ({"forward": forward, "backward": backward}, 2.0),
        ({"forward": forward, "backward": half_right}, 1.75),
        ({"forward": forward, "backward": failing}, 0.5),
        ({"forward": forward, "backward": lambda *_: 3.0}, 0.5),
        ({"forward": forward, "backward": lambda *_: [GRADIENT[0].T, *GRADIENT[1:]]}, 1.5),  # cannot be read as it is
        ({"forward": failing, "backward": half_right}, 0.25),
        ({"forward": failing, "backward": failing}, 0.0),
        ({"loss_and_gradient": both}, 2.0),
        ({"loss_and_gradient": lambda *_: (2 * TRUTH.loss, GRADIENT)}, 0.5),
        ({"loss_and_gradient": lambda *_: GRADIENT[0]}, 0.0),
    ],
)
def test_a_score_counts_what_is_right(functions, score):
    call = call_of(InProcess(types.SimpleNamespace(**functions)), "rows", " ".join(functions))
    found, value = _score(call, TRUTH)
    assert found is call and value == score
    assert list(call.first) == list(call.plan.parts)


def test_a_loss_that_fails_leaves_the_gradient_to_be_scored():
    described = {"functions": {"compute_gradients": BACKWARD, "cost": BACKWARD}, "classes": {}, "unpacked": []}
    for cost, score in (failing, 0.5), (lambda *_: TRUTH.loss, 2.0), (lambda *_: -TRUTH.loss, 0.5):
        student = InProcess(types.SimpleNamespace(compute_gradients=backward, cost=cost))
        plan = next(iter(plans(described, TRUTH.blocks, student.run)))
        assert list(plan.parts) == ["gradients", "loss"]
        for parts in plan.parts, dict(reversed(plan.parts.items())):
            call = Call(student, dataclasses.replace(plan, parts=parts), Layout(), TRUTH.blocks, 2)
            assert _score(call, TRUTH)[1] == score


# ---- the layout that fits --------------------------------------------------------------------------------------------


class Columns:
    """A network of samples as columns, with labels that are one-hot."""

    def __init__(self, sizes):
        self.W = [np.zeros((o, i)) for i, o in itertools.pairwise(sizes)]
        self.b = [np.zeros((o, 1)) for o in sizes[1:]]

    def forward(self, X):
        return self.W[1] @ np.tanh(self.W[0] @ X + self.b[0]) + self.b[1]

    def loss_and_grads(self, X, y):
        H = np.tanh(self.W[0] @ X + self.b[0])
        P = np.exp(self.W[1] @ H + self.b[1])
        P /= P.sum(axis=0)
        assert y.shape == P.shape
        d1 = (P - y) / X.shape[1]
        d0 = self.W[1].T @ d1 * (1 - H**2)
        grads = {"W1": d0 @ X.T, "b1": d0.sum(axis=1), "W2": d1 @ H.T, "b2": d1.sum(axis=1)}
        return -np.log((P * y).sum(axis=0)).mean(), grads


class Turned(Columns):
    """The same with samples as rows and weights turned, but biases that stay columns: a layout of its own."""

    def __init__(self, sizes):
        super().__init__(sizes)
        self.W = [W.T.copy() for W in self.W]

    def _transposed(self):
        other = Columns([1])
        other.W, other.b = [W.T for W in self.W], self.b
        return other

    def forward(self, X):
        return self._transposed().forward(X.T).T

    def loss_and_grads(self, X, y):
        value, grads = self._transposed().loss_and_grads(X.T, np.eye(2)[y].T)
        return value, {name: g.T if name[0] == "W" else g for name, g in grads.items()}


def described_class(kind):
    methods = {"forward": [["X", True]], "loss_and_grads": [["X", True], ["y", True]]}
    classes = {kind.__name__: {"init": [["sizes", True]], "methods": methods, "operators": []}}
    return {"functions": {}, "classes": classes, "unpacked": []}


@pytest.mark.parametrize(
    ("kind", "layout"),
    [(Columns, Layout(False, "column", "columns")), (Turned, Layout(True, "column", "rows"))],
)
def test_the_layout_of_an_object_is_found(kind, layout):
    student = InProcess(types.SimpleNamespace(**{kind.__name__: kind}))
    call = find_call(student, described_class(kind), TRUTH, 60.0)
    assert (call.layout, call.plan.form, list(call.plan.parts)) == (layout, "object", ["both", "output"])
    assert _score(call, TRUTH)[1] == 2


def test_an_object_without_a_pair_is_scored_by_its_output():
    class Alone(Columns):
        def loss_and_grads(self, X, y):
            return 3.0

    student = InProcess(types.SimpleNamespace(Alone=Alone))
    call = find_call(student, described_class(Alone), TRUTH, 60.0)
    assert call.layout.samples == "columns" and _score(call, TRUTH)[1] == 0.5


def searched(seconds, **functions):
    """Return the call that is found for functions of (params, X, y), and the shapes of X that were tried."""
    student = InProcess(types.SimpleNamespace(**functions))
    run, shapes = student.run, []
    student.run = lambda program: shapes.append(program["inputs"]["X"].shape) or run(program)
    described = {"functions": dict.fromkeys(functions, BACKWARD), "classes": {}, "unpacked": []}
    return find_call(student, described, TRUTH, seconds), shapes


def test_once_the_loss_fits_no_other_shape_of_the_batch_is_tried():
    call, shapes = searched(60.0, compute_gradients=half_right, cost=lambda *_: TRUTH.loss)
    assert call.layout == Layout() and set(shapes) == {(4, 2), (2,), (2, 1)} and shapes.count((4, 2)) == 2


def test_what_cannot_be_called_is_no_call():
    student = InProcess(types.SimpleNamespace())
    described = {"functions": {}, "classes": {}, "unpacked": []}
    assert find_call(student, described, TRUTH, 60.0) is None


def test_the_search_for_a_layout_ends_with_its_time():
    _, shapes = searched(0.0, compute_gradients=failing, cost=failing)
    assert shapes == [(4, 2)] * 2  # one layout, both functions


def test_the_search_takes_three_tenths_of_the_time(monkeypatch):
    clock = itertools.count()  # a second for each layout
    monkeypatch.setattr("handmade.grading.calls.time", types.SimpleNamespace(monotonic=lambda: next(clock)))
    _, shapes = searched(10.0, compute_gradients=failing)
    assert len(shapes) == 4


def test_the_search_for_a_layout_ends_after_so_many(monkeypatch):
    monkeypatch.setattr("handmade.grading.calls.MOST_ATTEMPTS", 4)
    _, shapes = searched(60.0, compute_gradients=failing)
    assert len(shapes) == 5
