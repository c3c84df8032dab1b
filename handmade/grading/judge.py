"""The judgement of one submission: points for the forward pass and for each layer, and hints that name the mistake.

One mistake makes all below it wrong, so a consistent error is forgiven: a layer is right if it is right given the
mistakes above it. Where the wrong steps of the backward pass are known exactly, their layers alone lose their points.
So it is where one mistake in one place turns the true gradient into the student's, or one factor in the whole gradient,
which is one factor at the loss. If the numbers fit both one mistake and the same mistake in several layers, the student
gets the benefit of the doubt. In every other case each wrong layer loses its point.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .._types import Array
from ..checking.backward_pass import BackwardPass
from ..checking.causes import tolerance
from ..checking.diagnosis import diagnose_gradient
from ..checking.localisation import WrongStep, localise
from ..checking.mistakes import mistakes
from ..checking.reports import Diagnosis
from ..layers import Activation, Dense
from ..normalization import Normalization
from .calls import Answer, Call, Truth, find_call, pair_problem, problem_of
from .child.wire import Opaque
from .evidence import by_differences, looks_like_differences, suspicious
from .exercise import Exercise
from .grades import Grade, Item
from .layouts import Reading, flaw_of, is_numeric
from .sandbox import Ended, Student, clean

__all__ = ["judge"]

MOST_ROWS = 6  # of a batch on which every step is judged
SUBSETS = 3  # of the rows: a mistake need not show in each
SMALL_CONSTANT = 1e-5  # relative to the loss: what log(p + 1e-7) changes
MOST_HINTS = 3  # explanations that are the same on this batch


def judge(student: Student, exercise: Exercise) -> Grade:
    """Grade a submission.

    Parameters
    ----------
    student : Student
        The process, or the object, that runs it.
    exercise : Exercise
        The task.

    Returns
    -------
    Grade
        Also where the student's process ends before its time: then with what is known until then.
    """
    judgement = _Judgement(student, exercise)
    ended: Ended | None = None
    try:
        judgement.run()
    except Ended as end:
        ended = end
    student.end()  # then all that it printed has been read
    if ended is not None:
        judgement.ended(ended)
    return judgement.grade()


class _Judgement:
    """The judgement in the making: hints, and the credit of each item."""

    def __init__(self, student: Student, exercise: Exercise) -> None:
        self.student, self.exercise = student, exercise
        self.hints: list[str] = []
        self.notes: list[str] = []
        self.suspicions: list[str] = []
        self.verdict = ""
        self.what = "loss"
        self.forward = (0, "not graded")
        self.layers: dict[str, tuple[int, str]] = {name: (0, "not graded") for name, _ in exercise.layers}
        self.names: dict[str, str] = {}
        self.patched: list[str] = []

    def run(self) -> None:
        """Load, call and judge."""
        described = self.student.describe()
        self.patched += [clean(name, 100) for name in described["patched"]]
        if described["error"]:
            text = clean(described["error"], 500)
            self.verdict = _verdict_of(text)
            self.hints.append(f"{self.student.name}: {text}")
            return
        self.notes += [f"a cell fails: {clean(text, 300)}" for text in described["failures"][:3]]
        truth = Truth(self.exercise)
        call = find_call(self.student, described, truth, self.exercise.limits.seconds)
        if call is None:
            self._nothing_to_call(described)
            return
        self.names = call.plan.names
        with np.errstate(all="ignore"):  # numbers next to the largest there is
            self._judge(call, truth)
        self.suspicions += suspicious(described)

    def _nothing_to_call(self, described: Mapping[str, Any]) -> None:
        self.what, self.verdict = "forward", "missing"
        offered = [*described["functions"], *described["classes"]]
        self._missing([name for name in ("forward", "backward") if name not in offered])
        if offered:
            self.hints.append(f"found: {clean(', '.join(map(str, offered[:12])), 300)}")
        self.hints += [f"a cell fails: {clean(text, 300)}" for text in described["failures"][:3]]

    def _missing(self, names: Sequence[str]) -> None:
        if names:
            self.hints.append(
                f"{' and '.join(names)} missing: expected loss_and_gradient(parameters, X, y), or both of "
                f"forward(parameters, X) and backward(parameters, X, y)"
            )

    def ended(self, end: Ended) -> None:
        """Keep nothing of a submission whose process ended: its other numbers may come from the same place."""
        self.verdict, self.hints = end.verdict, [f"{self.student.name}: {end.reason}"]
        self.forward = (0, "not graded")
        self.layers = dict.fromkeys(self.layers, (0, "not graded"))
        if text := self.student.last_output:
            self.notes.append(f"the last line that it printed: {text}")

    def grade(self) -> Grade:
        """Return the grade."""
        if self.patched:
            self.hints.insert(0, f"changes NumPy itself: {', '.join(dict.fromkeys(self.patched))}")
        if self.student.printed > self.exercise.limits.output:
            self.hints.append(f"prints {self.student.printed:,} characters; take the calls of print out")
        self.notes += [f"it tried to {text}" for text in self.student.attempts]
        weights = self.exercise.weights
        forward = Item(self.what, *self.forward, weights[0])
        layers = [Item(name, *result, w) for (name, result), w in zip(self.layers.items(), weights[1:], strict=True)]
        result = Grade(self.student.name, forward, layers, "\n".join(self.hints), "", self.notes, self.suspicions)
        verdict = self.verdict or ("mistakes" if result.credit < 1 else "remarks" if self.hints else "passed")
        return dataclasses.replace(result, verdict=verdict)

    # ---- the parts of a plan -----------------------------------------------------------------------------------------

    def _judge(self, call: Call, truth: Truth) -> None:
        parts, plan = call.plan.parts, call.plan
        self._missing(plan.missing)
        if plan.missing:
            self.verdict = "missing"
        arrays = list(truth.blocks.values())
        answers = {name: self._twice(call, name, arrays, truth) for name in parts}
        loss: Any = None
        gradient: Reading | None = None
        if (both := answers.get("both")) is not None:
            pair = call.pair_of(both.values)
            if pair is None:
                self.hints.append(pair_problem(parts["both"].label, both.values[0]))
                self.verdict = "missing"
            else:
                loss = call.loss_of(pair[0])
                missing = [part for part, of in zip(("loss", "gradients"), pair, strict=True) if of[0] is None]
                self.hints += [f"{parts['both'].label} returns None for the {part}" for part in missing]
                gradient = None if pair[1][0] is None else call.gradient_of(pair[1], len(truth.X))
        elif (answer := answers.get("loss")) is not None:
            loss = call.loss_of(answer.values)
        self._judge_forward(call, truth, loss, answers)
        if (answer := answers.get("gradients")) is not None:
            gradient = call.gradient_of(answer.values, len(truth.X))
        if gradient is not None:
            self._judge_gradient(call, truth, gradient)
        if not plan.is_contract:
            layout = call.layout
            message = f"W as {'(I, O)' if layout.turned else '(O, I)'}, samples as {layout.samples}"
            self.notes.append(f"called by {', '.join(dict.fromkeys(p.label for p in parts.values()))}; {message}")

    def _twice(self, call: Call, name: str, arrays: Sequence[Array], truth: Truth) -> Answer | None:
        """Return the first of two answers; None, with a hint, where there is none."""
        label, answers = call.plan.parts[name].label, []
        for first in (call.first.get(name), None):
            answers.append(first or call.ask(name, arrays, truth.X, truth.y))
            self.patched += answers[-1].patched
            if problem := problem_of(answers[-1], label):
                self.hints.append(problem)
                self.verdict = self.verdict or _verdict_of(answers[-1].error)
                return None
        if changed := answers[-1].changed:
            self.hints.append(f"{label} changes its arguments in place: {', '.join(changed)}")
        if not _same(answers[0].values, answers[1].values):
            message = "two calls differ; something is random, or the first call left something behind"
            self.hints.append(f"{label}: {message}")
        return answers[0]

    def _judge_forward(self, call: Call, truth: Truth, loss: Any, answers: Mapping[str, Answer | None]) -> None:
        parts = call.plan.parts
        if "both" in parts or "loss" in parts:
            self.what = "loss"
            if loss is not None:
                self._judge_numbers(truth, loss, truth.loss, _losses(truth), is_lenient=False)
        else:
            self.what = "output" if "output" in parts and parts["output"].label != "forward" else "forward"
            if "output" not in parts and not call.plan.missing:
                self.hints.append("no function of the loss or the output was found beside that of the gradient")
            answer = answers.get("output")
            if answer is not None:
                output, known = call.output_of(answer.values), truth.outputs()
                self._judge_numbers(truth, output, truth.output, known, is_lenient=not call.plan.is_contract)

    def _judge_numbers(
        self, truth: Truth, answer: Any, true: Array, near: Mapping[str, Array], is_lenient: bool
    ) -> None:
        """Judge a loss or an output, and name what it is instead."""
        if flaw := flaw_of(answer, true.shape):
            self.hints.append(f"{self.what}: {flaw}")
        elif truth.equals(answer, true):
            self.forward = (1, "")
            return
        elif self.what == "loss" and np.abs(answer - true) <= SMALL_CONSTANT * np.abs(true):
            self.forward = (1, "right to 5 digits; a small constant in the logarithm?")
            return
        else:
            named = next((name for name, other in near.items() if name and truth.equals(answer, other)), "")
            if named and is_lenient:
                self.forward = (1, f"as {named.removeprefix('its ')}")
                return
            self.hints.append(f"{self.what}: expected that of the network, got {named or 'other numbers'}")
        self.forward = (0, "wrong")

    # ---- the gradient ------------------------------------------------------------------------------------------------

    def _judge_gradient(self, call: Call, truth: Truth, reading: Reading) -> None:
        if reading.problem:
            self.hints.append(reading.problem)
            self.verdict = self.verdict or "missing"
            return
        self.hints += [f"gradient of {self._name(name)}: {flaw}" for name, flaw in reading.flaws.items()]
        count = by_differences(call, truth)
        if count:
            self.verdict = "differences"
            size = truth.network.theta.size
            message = f"{count} evaluations of the loss or output for one gradient of {size} parameters"
            self.hints.append(f"the gradient is computed by differences: {message}")
            self.layers = dict.fromkeys(self.layers, (0, "by differences"))
            return
        claimed = reading.completed(truth.gradient)
        if not reading.flaws and all(truth.equals(claimed[name], g) for name, g in truth.gradient.items()):
            self.layers = dict.fromkeys(self.layers, (1, ""))
            self.suspicions += looks_like_differences(call, truth, reading)
            return
        diagnosis = diagnose_gradient(self.exercise.network, truth.X, truth.y, claimed, loss=self.exercise.loss)
        steps = None if diagnosis else self._localised(call, truth, reading)
        if not diagnosis:
            self.hints += [self._in_own_names(line) for line in _hints(diagnosis, steps)]
        wrong = {*diagnosis.wrong, *reading.flaws}
        if not wrong:
            self.suspicions += looks_like_differences(call, truth, reading)
        self._judge_layers(wrong, None if diagnosis else self._guilty(truth, diagnosis, reading, steps), reading)

    def _judge_layers(self, wrong: set[str], guilty: set[str] | None, reading: Reading) -> None:
        """Give each layer its point, also where its wrong gradients follow from a mistake above it."""
        for name, parameters in self.exercise.layers:
            bad = [parameter for parameter in parameters if parameter in wrong]
            if not bad:
                self.layers[name] = (1, "")
            elif self._is_forgiven(parameters, bad, guilty, reading):
                self.layers[name] = (1, "right, given the mistake above it")
            else:
                self.layers[name] = (0, f"wrong: {', '.join(map(self._name, bad))}")

    def _is_forgiven(self, of: Sequence[str], bad: Sequence[str], guilty: set[str] | None, reading: Reading) -> bool:
        """Return whether a layer's wrong gradients follow from mistakes in others; those of zeros alone never do."""
        if guilty is None or set(of) & (guilty | set(reading.flaws)):
            return False
        return any(reading.arrays[name].any() for name in bad)

    def _localised(self, call: Call, truth: Truth, reading: Reading) -> list[WrongStep] | None:
        """Return the wrong steps, found on so few rows that no other explanation is left; None where that fails.

        With at most as many rows as a layer has inputs, its dW determines its dA: see `handmade.checking.localisation`.
        """
        if reading.flaws:
            return None
        network = self.exercise.network
        normalizes = any(isinstance(leaf, Normalization) for _, leaf in network.leaves())
        widths = [block.shape[1] for block in truth.blocks.values() if block.ndim == 2]
        count = min([*widths, len(truth.X), MOST_ROWS])
        if normalizes or not widths:
            return None
        function = _gradient_function(call)
        found: dict[str, WrongStep] = {}
        for seed in range(SUBSETS):
            rows = np.sort(np.random.default_rng(seed).choice(len(truth.X), count, replace=False))
            of = BackwardPass(network, truth.X[rows], truth.y[rows], self.exercise.loss)
            try:
                claimed = np.concatenate(
                    [g.ravel() for g in function(list(truth.blocks.values()), truth.X[rows], truth.y[rows])]
                ).astype(float)
            except (ValueError, Ended):
                return None
            relative = tolerance(truth.is_single)
            localised = localise(of, claimed, np.zeros(claimed.shape), relative)
            if not localised.complete:
                return None
            found |= {step.name: step for step in localised.steps}
        return sorted(found.values(), key=lambda step: -list(truth.backward_pass.leaves).index(step.prefix))

    def _guilty(
        self, truth: Truth, diagnosis: Diagnosis, reading: Reading, steps: Sequence[WrongStep] | None
    ) -> set[str] | None:
        """Return the parameters of the layers in which mistakes were made; None if these are not known."""
        backward_pass = truth.backward_pass
        single = {(mistake.name, mistake.where) for mistake in mistakes(backward_pass) if len(mistake.steps) == 1}
        if any((one.name, one.where) in single for one in diagnosis.explanations):
            return {str(diagnosis.first_wrong)} | _siblings(diagnosis.first_wrong, self.exercise)
        claimed = np.concatenate([array.reshape(-1) for array in reading.completed(truth.gradient).values()])
        true = np.concatenate([array.reshape(-1) for array in truth.gradient.values()])
        factor = claimed @ true / (true @ true)  # where that is not a number or 0, nothing is right after a division
        if factor and np.isfinite(factor):
            scaled = diagnose_gradient(
                self.exercise.network, truth.X, truth.y, claimed / factor, loss=self.exercise.loss
            )
            if scaled:
                return {str(diagnosis.first_wrong)} | _siblings(diagnosis.first_wrong, self.exercise)
        if not steps:
            return None
        prefixes = {step.prefix for step in steps}
        return {
            name for _, names in self.exercise.layers for name in names if name.rpartition(".")[0] + "." in prefixes
        }

    # ---- names -------------------------------------------------------------------------------------------------------

    def _name(self, parameter: str) -> str:
        """Return the student's name of a parameter."""
        return clean(self.names.get(parameter, parameter), 60)

    def _in_own_names(self, text: str) -> str:
        """Return a hint in which layers and parameters have the student's names."""
        own_names = {re.escape(name): self._name(name) for name in self.names}
        below = ""
        for prefix, leaf in self.exercise.network.leaves():
            weight = f"{prefix}weight"
            place = ".".join(f"layers[{number}]" for number in prefix.rstrip(".").split("."))
            label = re.escape(f"{place}, {leaf!r}")
            if isinstance(leaf, Dense):
                below = self._name(weight)
                own_names[label] = f"the layer of {below}"
            elif isinstance(leaf, Activation) and below:
                own_names[label] = (
                    f"the {leaf.function if isinstance(leaf.function, str) else 'activation'} after {below}"
                )
        if not own_names:
            return text
        pattern = re.compile("|".join(sorted(own_names, key=len, reverse=True)))
        return pattern.sub(lambda match: own_names[re.escape(match[0])], text)


def _verdict_of(error: str) -> str:
    """Return the verdict on a function that raises an error, or whose result cannot be read."""
    if not error:
        return "missing"
    return "memory" if "MemoryError" in error else "ended" if error.startswith("SystemExit") else "error"


def _siblings(parameter: str | None, exercise: Exercise) -> set[str]:
    return {name for _, names in exercise.layers if parameter in names for name in names}


def _gradient_function(call: Call) -> Callable[[list[Array], Array, Array], list[Array]]:
    """Return a submission's gradient as a function of (parameters, X, y)."""
    part = "both" if "both" in call.plan.parts else "gradients"

    def gradient(parameters: list[Array], X: Array, y: Array) -> list[Array]:
        answer = call.ask(part, parameters, X, y)
        if answer.error or answer.unsent:
            raise ValueError(answer.error or answer.unsent)
        pair = call.pair_of(answer.values) if part == "both" else ([], answer.values)
        reading = call.gradient_of(pair[1] if pair else [None], len(X))
        if reading.problem or reading.flaws:
            raise ValueError(reading.problem or next(iter(reading.flaws.values())))
        return list(reading.arrays.values())

    return gradient


def _losses(truth: Truth) -> dict[str, Array]:
    """Return what students return in place of a loss."""
    true, N = truth.loss, len(truth.X)
    return {"N times that": N * true, "that divided by N": true / N, "twice that": 2 * true, "half of it": true / 2,
            "its negative": -true}  # fmt: skip


def _hints(diagnosis: Diagnosis, steps: Sequence[WrongStep] | None) -> list[str]:
    """Return the mistake's name and place, and no more; of an unknown one, the wrong step or where to look first."""
    named = [f"{one.name}, in {one.where}: {one.hint}" for one in diagnosis.explanations[:MOST_HINTS]]
    if named:
        return [named[0], *(f"or, the same on this batch: {other}" for other in named[1:])]
    if diagnosis.difference <= tolerance(single=True):
        size = f"{diagnosis.difference:.0e} of the largest number"
        return [f"the gradient differs by {size}, as much as float32 may lose: compute in float64, or return float32"]
    if steps and len(steps) <= MOST_HINTS:
        return [f"everything is right except {' and '.join(str(step) for step in steps)}"]
    return [f"no known mistake explains the gradient; look first at {diagnosis.first_wrong}"]


def _same(a: Any, b: Any) -> bool:
    """Return whether two answers are the same; values that are not numbers are judged elsewhere."""
    if isinstance(a, list | tuple | dict) and type(a) is type(b) and len(a) == len(b):
        pairs: Iterator[tuple[Any, Any]] = zip(
            a.values() if isinstance(a, dict) else a, b.values() if isinstance(b, dict) else b, strict=True
        )
        return all(_same(x, y) for x, y in pairs)
    if isinstance(a, Opaque) or isinstance(b, Opaque) or not (is_numeric(a) and is_numeric(b)):
        return not (is_numeric(a) or is_numeric(b))
    return np.array_equal(np.asarray(a), np.asarray(b), equal_nan=True)
