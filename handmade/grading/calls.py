"""A submission called as an exercise asks: the plan and the layout that fit are found by calling it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .._types import Array
from ..activations import sigmoid, softmax
from ..checking.backward_pass import BackwardPass
from ..checking.causes import tolerance
from .conventions import Plan, gradient_paths, plans
from .exercise import Exercise
from .layouts import Layout, Reading, flaw_of, is_numeric, kind_of, layouts, read
from .sandbox import Student, clean

__all__ = ["Answer", "Call", "Truth", "find_call"]

SEARCH = 0.3  # of the time that a submission has, to find out how it is called
MOST_ATTEMPTS = 300


@dataclasses.dataclass
class Answer:
    """The answer of one part of a plan: its values, one for each batch, and what there is to say."""

    values: list[Any]
    error: str = ""
    changed: list[str] = dataclasses.field(default_factory=list)
    patched: list[str] = dataclasses.field(default_factory=list)
    evaluations: int = 0
    unsent: str = ""


class Truth:
    """The true numbers of an exercise.

    Parameters
    ----------
    exercise : Exercise
        Its network, data and loss.
    """

    exercise: Exercise
    network: Any
    X: Array
    y: Array
    loss: Array
    output: Array

    def __init__(self, exercise: Exercise) -> None:
        self.exercise, self.network = exercise, exercise.network
        network = exercise.network
        self.X, self.y = np.asarray(exercise.X), np.asarray(exercise.y)
        self.backward_pass: BackwardPass = BackwardPass(network, self.X, self.y, exercise.loss)
        self.loss, self.output = np.asarray(self.backward_pass.value), self.backward_pass.values[-1]
        self.gradient: dict[str, Array] = network.blocks(self.backward_pass.gradient())
        self.blocks: dict[str, Array] = network.blocks(network.theta)
        self.is_single: bool = network.dtype == np.float32

    def equals(self, answer: Any, true: Array) -> bool:
        """Return whether numbers are right, up to the rounding of float64, or of float32 where that is used."""
        if flaw_of(answer, true.shape):
            return False
        answer = np.asarray(answer)
        relative = tolerance(self.is_single or answer.dtype == np.float32)
        rounding = 64 * np.finfo(float).eps  # a loss next to 0 is a difference of numbers next to 1
        with np.errstate(all="ignore"):
            return bool(np.abs(answer - true).max() <= relative * np.abs(true).max() + rounding)

    def outputs(self) -> dict[str, Array]:
        """Return what a network's output may be taken for: itself, or probabilities."""
        return {"": self.output, "its softmax": softmax(self.output), "its sigmoid": sigmoid(self.output)}


@dataclasses.dataclass
class Call:
    """A submission, and the way in which it is called.

    Parameters
    ----------
    student : Student
        Runs the programs.
    plan : Plan
        Which functions.
    layout : Layout
        Which shapes.
    blocks : dict of str to ndarray
        The parameters of the network.
    outputs : int
        Of the network.
    first : dict of str to Answer
        The first answer of each part: a later one may depend on what the first left behind.
    """

    student: Student
    plan: Plan
    layout: Layout
    blocks: Mapping[str, Array]
    outputs: int
    first: dict[str, Answer] = dataclasses.field(default_factory=dict)

    def ask(self, part: str, arrays: Sequence[Array], X: Array, y: Array, count: bool = False) -> Answer:
        """Run one part of the plan, sample by sample where the layout says so."""
        program = self.plan.parts[part]
        found = Answer([])
        for x, t in self.layout.batches(X, y, self.outputs):
            message = {"steps": program.steps, "results": program.results, "count": count,
                       "inputs": self.plan.inputs(arrays, x, t, self.layout)}  # fmt: skip
            answer = self.student.run(message)
            found.evaluations = max(found.evaluations, int(answer["evaluations"]))
            found.patched = found.patched or [clean(name, 100) for name in answer["patched"]]
            found.changed = found.changed or [clean(name, 100) for name in answer["changed"]]
            if answer["error"] or answer.get("unsent"):
                found.error = clean(answer["error"] or "", 400)
                found.unsent = clean(answer.get("unsent") or "", 400)
                break
            values = answer["values"]
            found.values.append(values[0] if len(values) == 1 else values)
        return found

    def loss_of(self, values: Sequence[Any]) -> Any:
        """Return the loss of the batch: the mean over samples where they are given one at a time."""
        if not self.layout.is_single:
            value = values[0]
            is_column = self.layout.samples == "columns" or not self.plan.is_contract
            return np.asarray(value).reshape(()) if is_column and is_numeric(value) and np.size(value) == 1 else value
        return np.mean([np.mean(value) for value in values]) if all(map(is_numeric, values)) else values[0]

    def output_of(self, values: Sequence[Any]) -> Any:
        """Return the output of the batch, samples as rows."""
        shaped = [self.layout.output(value) for value in values]
        try:
            return np.concatenate(shaped) if self.layout.is_single else shaped[0]
        except ValueError:
            return shaped[0]

    def gradient_of(self, values: Sequence[Any], samples: int) -> Reading:
        """Return the gradient of the batch, by parameter."""
        per_call = 1 if self.layout.is_single else samples
        readings = [read(value, self.blocks, self.layout, per_call) for value in values]
        if len(readings) == 1 or any(reading.problem for reading in readings):
            return next((reading for reading in readings if reading.problem), readings[0])
        flaws = {name: flaw for reading in readings for name, flaw in reading.flaws.items()}
        names = [name for name in self.blocks if all(name in reading.arrays for reading in readings)]
        mean = {name: np.mean([reading.arrays[name] for reading in readings], axis=0) for name in names}
        return Reading(mean, flaws)

    def pair_of(self, values: Sequence[Any]) -> tuple[list[Any], list[Any]] | None:
        """Return losses and gradients of what a function returns that computes both; None if it returns no pair."""
        pairs = [self._pair(value) for value in values]
        if not pairs or any(pair is None for pair in pairs):
            return None
        return [pair[0] for pair in pairs if pair], [pair[1] for pair in pairs if pair]

    def _pair(self, value: Any) -> tuple[Any, Any] | None:
        if not isinstance(value, list | tuple) or len(value) < 2:
            return None
        if len(value) == 2:
            is_turned = not self.plan.is_contract and is_numeric(value[1]) and np.size(value[1]) == 1
            return (value[1], value[0]) if is_turned else (value[0], value[1])
        is_loss_first = is_numeric(value[0]) and np.size(value[0]) == 1
        return (value[0], list(value[1:])) if is_loss_first and len(value) == 1 + len(self.blocks) else None

    def with_attributes(self, part: str, arrays: Sequence[Array], X: Array, y: Array) -> Call | None:
        """Return a call that reads the gradients from the attributes of the object; None if it has none."""
        program = self.plan.parts[part]
        x, t = self.layout.batches(X, y, self.outputs)[0]
        steps = [*program.steps, ["shapes", ["step", 0], program.label]]
        message = {"steps": steps, "results": [["step", len(steps) - 1]],
                   "inputs": self.plan.inputs(arrays, x, t, self.layout)}  # fmt: skip
        answer = self.student.run(message)
        if answer["error"] or not answer["values"]:
            return None
        paths = gradient_paths(answer["values"][0], self.blocks)
        if paths is None:
            return None
        results = [["step", 0, *path] for path in paths]
        parts = {name: of for name, of in self.plan.parts.items() if name != "both"}
        parts["gradients"] = dataclasses.replace(program, results=results)
        if part == "both":
            parts["loss"] = program
        return dataclasses.replace(self, plan=dataclasses.replace(self.plan, parts=parts), first={})


# ---- which plan, which layout --------------------------------------------------------------------------------------


def find_call(student: Student, described: Mapping[str, Any], truth: Truth, seconds: float) -> Call | None:
    """Return the way to call a submission that gives the most of the true numbers; the first of equals.

    Parameters
    ----------
    student : Student
        Runs the programs.
    described : dict
        The description of the submission by its process.
    truth : Truth
        The true numbers.
    seconds : float
        The time that the submission has in all.
    """
    best: tuple[float, Call] | None = None
    started, attempts = time.monotonic(), 0
    for plan in plans(described, truth.blocks, student.run):
        is_known = False  # the layout of the forward pass: the gradient may still be that of each sample by itself
        for layout in layouts(truth.y, plan.of_object):
            if (layout.target and not plan.takes_target) or (is_known and not layout.is_single):
                continue
            call = Call(student, plan, layout, truth.blocks, truth.output.shape[-1])
            call, score = _score(call, truth)
            if best is None or score > best[0]:
                best = score, call
            attempts += 1
            if score >= 2 or attempts > MOST_ATTEMPTS or time.monotonic() - started > SEARCH * seconds:
                return best[1]
            is_known = is_known or score >= 1.5
        if is_known and best is not None:
            return best[1]
    return best[1] if best else None


def _score(call: Call, truth: Truth) -> tuple[Call, float]:
    """Return the call, and how much of its numbers is right in a layout: 1 for the forward pass, 1/2 for the gradient.

    If the forward pass is right, a gradient that can be read scores 1/2 more: then the layout is known.
    """
    arrays, X, y = list(truth.blocks.values()), truth.X, truth.y
    right, reading = False, None
    for name in call.plan.parts:
        answer = call.first[name] = call.ask(name, arrays, X, y)
        if answer.error or answer.unsent:
            continue
        if name == "both":
            pair = call.pair_of(answer.values)
            if pair is None:
                other = call.with_attributes(name, arrays, X, y) if call.plan.form == "object" else None
                if other is not None:
                    return _score(other, truth)
                continue
            right = right or truth.equals(call.loss_of(pair[0]), truth.loss)
            reading = call.gradient_of(pair[1], len(X))
        elif name == "loss":
            right = right or truth.equals(call.loss_of(answer.values), truth.loss)
        elif name == "output":
            output = call.output_of(answer.values)
            right = right or any(truth.equals(output, other) for other in truth.outputs().values())
        else:
            reading = call.gradient_of(answer.values, len(X))
            if reading.problem and call.plan.form == "object":
                other = call.with_attributes(name, arrays, X, y)
                if other is not None:
                    return _score(other, truth)
    return call, 0.5 * right if reading is None or reading.problem else _score_of(reading, right, truth)


def _score_of(reading: Reading, right: bool, truth: Truth) -> float:
    """Return the score of a gradient that has been read, in a layout in which the forward pass is right or wrong."""
    share = float(np.mean([truth.equals(reading.arrays.get(name), g) for name, g in truth.gradient.items()]))
    is_readable = right and not reading.flaws
    return 1.5 + share / 2 if is_readable else 1.0 * right + share / 2


def problem_of(answer: Answer, label: str) -> str:
    """Return what is wrong with an answer as a whole, after the function's name; empty if nothing is."""
    if answer.error:
        return f"{label}: {answer.error}"
    if answer.unsent:
        return f"{label}: its result cannot be read: {answer.unsent}"
    if answer.values and answer.values[0] is None:
        return f"{label} returns None: is there a return?"
    return ""


def pair_problem(label: str, value: Any) -> str:
    """Return what is wrong with what should be a pair of loss and gradients."""
    return f"{label}: expected a pair (loss, gradients), got {kind_of(value)}"
