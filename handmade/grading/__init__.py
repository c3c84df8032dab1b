"""A grader for exercises in backpropagation: credit per layer, and a hint that names the bug but not its cure.

A student hands in a Python file, which stands alone and works on plain arrays. ``parameters`` is a list
[W0, b0, W1, b1, ...], laid out as torch's: W is (O, I), b is (O,). The file defines either::

    loss_and_gradient(parameters, X, y) -> (loss, gradients)

or both of::

    forward(parameters, X) -> output                # of the last layer: logits, where the network ends with Dense
    backward(parameters, X, y) -> gradients         # a list of arrays, in the shapes of the parameters

`grade` judges it. As a pytest plugin (``pytest_plugins = ["handmade.grading"]`` in the conftest.py beside the tests,
or ``pytest -p handmade.grading``), the module brings two fixtures, ``grade`` and ``student``, and a summary of the
grades. The latter is each file that ``--student=FILE`` names; the option may be repeated, and of a folder means all
its .py files. A student's code runs in the teacher's process: what it does there is not confined, and an endless loop
is for pytest-timeout to end (``pytest --timeout=60``; that test fails ungraded).

What earns credit
-----------------
One point for the loss (or the output of ``forward``), and one for each layer that has parameters: if their gradients
are right. Numbers are right as in `handmade.diagnose_gradient`: within 9e-8 of the largest of the array, 8e-4 where
they are float32.

One mistake makes all below it wrong, so a consistent error is forgiven: where one mistake in one place of the backward
pass turns the true gradient into the student's, every other step is right by that match, and only the first wrong
layer, in backward order, loses its point. So it is with one factor in the whole gradient, which is one factor at the
loss. Where the same numbers also follow from a mistake made in several layers, the doubt is the student's. In every
other case each wrong layer loses its point: two mistakes, one that shows in several layers, or none that is known.

A grade is as good as its batch: a mistake in what no row reaches, such as the other side of a ReLU, does not show.

To pytest: PYTEST_DONT_REWRITE, nothing here asserts.
"""

from __future__ import annotations

import copy
import dataclasses
import sys
import traceback
import types
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..activations import sigmoid, softmax
from ..checking.backward_pass import BackwardPass
from ..checking.diagnosis import diagnose_gradient
from ..checking.mistakes import mistakes
from ..checking.reports import Diagnosis
from ..checking.transforms import tolerance
from ..layers import Dropout
from ..losses import Loss
from ..network import Network, check_finite_targets

__all__ = ["Grade", "Item", "grade"]

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Item:
    """One thing that earns credit: its name, 0 or 1, and what there is to say."""

    name: str
    credit: int
    remark: str = ""


@dataclasses.dataclass(frozen=True)
class Grade:
    """What `grade` found; prints as a table.

    Attributes
    ----------
    student : str
        The file's name, or the object's.
    forward : Item
        The loss, or the output of ``forward``.
    layers : list of Item
        The layers that have parameters, from the input to the output.
    hint : str
        What is wrong, a line each; empty where nothing is.
    """

    student: str
    forward: Item
    layers: list[Item]
    hint: str

    @property
    def items(self) -> list[Item]:
        """All that earns credit."""
        return [self.forward, *self.layers]

    @property
    def credit(self) -> float:
        """The points that were earned, as a fraction of all."""
        return sum(item.credit for item in self.items) / len(self.items)

    @property
    def passed(self) -> bool:
        """Whether every point was earned, and there is nothing to mend."""
        return self.credit == 1 and not self.hint

    @property
    def _title(self) -> str:
        return f"{self.student}: {sum(item.credit for item in self.items)} of {len(self.items)} points"

    def __str__(self) -> str:
        width = max(len(item.name) for item in self.items)
        rows = [f"  {item.name:<{width}}  {item.credit}  {item.remark}".rstrip() for item in self.items]
        return "\n".join([self._title, *rows, *(f"  hint: {line}" for line in self.hint.splitlines())])

    def __repr__(self) -> str:  # one line, as pytest shows it where an assertion fails
        return f"<{self._title}>"


def grade(student, network: Network, X, y, loss: Loss = "cross_entropy") -> Grade:
    """Judge a student's forward and backward pass; see the module for what the student hands in, and what earns credit.

    Parameters
    ----------
    student : path, module or object
        A .py file, or anything that has the functions. They get copies, and are called twice.
    network : Network
        What the student was to write by hand. The parameters that the student gets are the network's, each moved by a
        random number of at most 0.1 (the same in every call): a bias of 0 would not be missed.
    X, y, loss
        As in `Network.loss_and_gradient`.

    Returns
    -------
    Grade
        Its ``credit``, ``layers``, ``hint`` and ``passed``. Every exception of the student's is told in the hint.

    Raises
    ------
    ValueError, TypeError
        If network, X, y and loss do not fit each other, or the network has Dropout, whose masks nobody can repeat.

    Examples
    --------
    A student who forgot the derivative of tanh:

    >>> import types
    >>> import handmade.grading
    >>> def loss_and_gradient(parameters, X, y):
    ...     W0, b0, W1, b1 = parameters
    ...     H = np.tanh(X @ W0.T + b0)
    ...     E = H @ W1.T + b1 - y
    ...     dA1 = 2 * E / E.size
    ...     dA0 = dA1 @ W1
    ...     return (E**2).mean(), [dA0.T @ X, dA0.sum(axis=0), dA1.T @ H, dA1.sum(axis=0)]
    >>> student = types.SimpleNamespace(__name__="a student", loss_and_gradient=loss_and_gradient)
    >>> X, y = np.array([[0.0, 1.0], [1.0, 1.0]]), np.array([[1.0], [0.0]])
    >>> result = handmade.grading.grade(student, hm.MLP([2, 3, 1], activation="tanh", rng=0), X, y, loss="mse_loss")
    >>> print(result)  # doctest: +ELLIPSIS
    a student: 2 of 3 points
      loss                  1
      layer 0, Dense(2, 3)  0  wrong: 0.weight, 0.bias
      layer 2, Dense(3, 1)  1
      hint: activation derivative missing...
    >>> result.passed
    False
    """
    network = _moved(network)
    X, y = network.check_input(X).copy(), check_finite_targets(y)
    walk = BackwardPass(network, X, y, loss)
    hints: list[str] = []
    name, functions = _functions(student, hints)
    what, forward, gradients = _answers(functions, [list(network.blocks(network.theta).values()), X, y], hints)
    with np.errstate(all="ignore"):  # numbers next to the largest there is
        item = _judge_forward(what, forward, walk, network.dtype, hints)
        layers = _judge_gradients(gradients, network, X, y, loss, hints)
    return Grade(name, item, layers, "\n".join(hints))


def _moved(network: Network) -> Network:
    """A copy with no parameter left at a value, such as 0, at which a mistake does not show."""
    if any(isinstance(leaf, Dropout) and leaf.p for _, leaf in network.leaves()):
        raise ValueError("network: expected one without Dropout, whose masks no student can repeat")
    network = copy.deepcopy(network)
    network.theta += np.random.default_rng(0).uniform(-0.1, 0.1, network.theta.shape).astype(network.dtype)
    return network


# ---- the student's code --------------------------------------------------------------------------------------------


def _functions(student, hints: list[str]) -> tuple[str, dict[str, Callable]]:
    """The name of the student, and the functions that there are."""
    name = getattr(student, "__name__", type(student).__name__)
    if isinstance(student, str | Path):
        name = Path(student).name
        student = _guarded(name, hints, _load, str(student))
        if student is None:
            return name, {}
    expected = "loss_and_gradient", "forward", "backward"
    functions = {f: getattr(student, f) for f in expected if callable(getattr(student, f, None))}
    missing = [f for f in expected[1:] if f not in functions]
    if "loss_and_gradient" not in functions and missing:
        hints.append(
            f"{' and '.join(missing)} missing: expected loss_and_gradient(parameters, X, y), or both of "
            f"forward(parameters, X) and backward(parameters, X, y)"
        )
    return name, functions


def _load(path: str) -> types.ModuleType:
    """The file as a module; without importlib, whose cache may be that of the version before."""
    module = types.ModuleType(Path(path).stem)
    module.__file__ = path
    with open(path, "rb") as file:
        code = compile(file.read(), path, "exec", dont_inherit=True)
    known = dict(sys.modules)
    sys.modules[module.__name__] = module  # where dataclasses look for it
    try:
        exec(code, module.__dict__)
    finally:
        sys.modules.pop(module.__name__)
        sys.modules.update(known)
    return module


def _guarded(what: str, hints: list[str], function: Callable, *arguments):
    """What the function returns, or None and a hint."""
    try:
        with warnings.catch_warnings(), np.errstate():  # what the student sets is not to outlast the call
            warnings.simplefilter("ignore")  # an overflow is judged by the numbers that it leaves
            return function(*arguments)
    except (Exception, SystemExit) as error:
        hints.append(f"{what}: {_told(error)}")
        return None


def _told(error: BaseException) -> str:
    """The error, and the last line of the student's file that led to it."""
    told = traceback.format_exception_only(error)[-1].strip()
    frames = traceback.extract_tb(error.__traceback__)
    frames = frames[1 + max(i for i, frame in enumerate(frames) if frame.filename == __file__) :]
    lines = [f"{frame.lineno}: {frame.line}" for frame in frames if frame.filename == frames[0].filename]
    if isinstance(error, SyntaxError):
        lines = [str(error.lineno)]
    return f"{told} (line {lines[-1]})" if lines else told


def _answers(functions: dict[str, Callable], arguments: list, hints: list[str]):
    """What was asked for first, "loss" or "forward", the answer to that, and the gradients; None for what is not."""
    if "loss_and_gradient" in functions:
        answer = _answer("loss_and_gradient", functions, arguments, hints)
        if answer is not None and not (isinstance(answer, list) and len(answer) == 2):
            hints.append(f"loss_and_gradient: expected a pair (loss, gradients), got {_kind(answer)}")
            answer = None
        missing = [part for part, value in zip(("loss", "gradients"), answer or (), strict=False) if value is None]
        hints += [f"loss_and_gradient returns None for the {part}" for part in missing]
        return "loss", *(answer or (None, None))
    forward = _answer("forward", functions, arguments[:2], hints)
    return "forward", forward, _answer("backward", functions, arguments, hints)


def _answer(name: str, functions: dict[str, Callable], arguments: list, hints: list[str]):
    """The first of two answers; copied, as the second call may write into the same arrays."""
    if name not in functions:
        return None
    answers, failures = [], len(hints)
    for _ in range(2):
        given = copy.deepcopy(arguments)
        answers.append(_copied(_guarded(name, hints, functions[name], *given)))
        if len(hints) > failures:
            return None
    changed = [of for of, a, b in zip(("parameters", "X", "y"), given, arguments, strict=False) if not _same(a, b)]
    if changed:
        hints.append(f"{name} changes its arguments in place: {', '.join(changed)}")
    if answers[0] is None:
        hints.append(f"{name} returns None: is there a return?")
    elif not _same(*answers):
        hints.append(f"{name}: two calls differ; something is random, or the first call left something behind")
    return answers[0]


def _copied(value):
    if isinstance(value, list | tuple):
        return [_copied(part) for part in value]
    return value.copy() if isinstance(value, np.ndarray) else value


def _same(a, b) -> bool:
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(_same, a, b))
    numeric = _is_numeric(a), _is_numeric(b)
    if not all(numeric):
        return not any(numeric)  # two that are refused later, for what they are
    return np.array_equal(a, b, equal_nan=True)


def _is_numeric(value) -> bool:
    try:
        return np.asarray(value).dtype.kind in "iuf"
    except Exception:  # whatever the student's object raises
        return False


def _kind(value) -> str:
    """What a value is, in words."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    return f"a sequence of {len(value)}" if isinstance(value, list) else type(value).__name__


def _flaw(value, shape: tuple[int, ...]) -> str:
    """What keeps a value from being an array of finite numbers of this shape; empty if nothing does."""
    if not _is_numeric(value):
        return f"expected numbers, got {_kind(value)}"
    array = np.asarray(value)
    if array.shape != shape:
        hint = ": rows and columns are exchanged" if array.T.shape == shape else ""
        return f"expected shape {shape}, got {array.shape}{hint}"
    bad = array[~np.isfinite(array)]
    return f"{bad.size} of {array.size} numbers are not finite, the first is {bad[0]}" if bad.size else ""


# ---- credit --------------------------------------------------------------------------------------------------------


def _judge_forward(what: str, answer, walk: BackwardPass, dtype, hints: list[str]) -> Item:
    true = np.asarray(walk.value if what == "loss" else walk.values[-1])
    if answer is None:  # and it was said why
        return Item(what, 0, "not graded")
    if flaw := _flaw(answer, true.shape):
        hints.append(f"{what}: {flaw}")
        return Item(what, 0, "wrong")
    answer = np.asarray(answer)
    relative = tolerance(np.float32 in (dtype, answer.dtype))

    def equals(other) -> bool:
        rounding = 64 * np.finfo(float).eps  # a loss next to 0 is a difference of numbers next to 1
        return np.abs(answer - other).max() <= relative * np.abs(other).max() + rounding

    if equals(true):
        return Item(what, 1)
    others = _near_misses(what, true, len(walk.values[0]))
    named = next((name for name, other in others.items() if equals(other)), "other numbers")
    hints.append(f"{what}: expected that of the network, got {named}")
    return Item(what, 0, "wrong")


def _near_misses(what: str, true: Array, N: int) -> dict[str, Array]:
    """What students return in its place."""
    if what == "forward":
        return {"its softmax": softmax(true), "its sigmoid": sigmoid(true)}
    return {"N times that": N * true, "that divided by N": true / N, "twice that": 2 * true, "half of it": true / 2,
            "its negative": -true}  # fmt: skip


def _judge_gradients(gradients, network: Network, X: Array, y: Array, loss: Loss, hints: list[str]) -> list[Item]:
    owners = {f"layer {prefix[:-1]}, {layer!r}": [prefix + name for name in layer.parameters]
              for prefix, layer in network.leaves() if layer.parameters}  # fmt: skip
    blocks = network.blocks(network.theta)
    if gradients is None:  # and it was said why
        return [Item(name, 0, "not graded") for name in owners]
    if not isinstance(gradients, list) or len(gradients) != len(blocks):
        shapes = ", ".join(str(block.shape) for block in blocks.values())
        hints.append(f"gradients: expected a list of {len(blocks)} arrays of shapes {shapes}, got {_kind(gradients)}")
        return [Item(name, 0, "not graded") for name in owners]
    claimed = dict(zip(blocks, gradients, strict=True))
    flaws = {name: flaw for name, value in claimed.items() if (flaw := _flaw(value, blocks[name].shape))}
    hints += [f"gradient of {name}: {flaw}" for name, flaw in flaws.items()]
    # Zeros for what cannot be judged, so that the others can.
    claimed = {name: np.zeros(blocks[name].shape) if name in flaws else np.asarray(claimed[name]) for name in blocks}
    diagnosis = diagnose_gradient(network, X, y, claimed, loss=loss)
    if not (diagnosis or flaws):
        hints += _hints(diagnosis)
    wrong = {*diagnosis.wrong, *flaws}
    forgiven = not flaws and not diagnosis and _is_one_mistake(diagnosis, claimed, network, X, y, loss)
    return [_judge_layer(name, [p for p in of if p in wrong], diagnosis.first_wrong, forgiven)
            for name, of in owners.items()]  # fmt: skip


def _judge_layer(name: str, wrong: list[str], first: str | None, forgiven: bool) -> Item:
    if not wrong:
        return Item(name, 1)
    if forgiven and first not in wrong:
        return Item(name, 1, "right, given the mistake above it")
    return Item(name, 0, f"wrong: {', '.join(wrong)}")


def _is_one_mistake(diagnosis: Diagnosis, claimed: dict[str, Array], network: Network, X, y, loss: Loss) -> bool:
    """Whether one mistake in one place, or one factor in everything, is enough for all that is wrong."""
    walk = BackwardPass(network, X, y, loss)
    truth, given = walk.gradient(), np.concatenate([array.reshape(-1) for array in claimed.values()])
    single = {(mistake.name, mistake.where) for mistake in mistakes(walk) if len(mistake.steps) == 1}
    if any((told.name, told.where) in single for told in diagnosis.explanations):
        return True
    factor = given @ truth / (truth @ truth)  # where that is not a number or 0, nothing is right after a division by it
    return bool(diagnose_gradient(network, X, y, given / factor, loss=loss))


def _hints(diagnosis: Diagnosis) -> list[str]:
    """The bug's name and place, and no more; of a bug that is unknown, where to look first."""
    named = [f"{told.name}, in {told.where}: {told.hint}" for told in diagnosis.explanations[:3]]
    unknown = f"no known mistake explains the gradient; look first at {diagnosis.first_wrong}"
    return [named[0], *(f"or, the same on this batch: {other}" for other in named[1:])] if named else [unknown]


# ---- the pytest plugin ---------------------------------------------------------------------------------------------


def pytest_addoption(parser) -> None:
    text = "a file to grade, or a folder of them; may be repeated"
    parser.getgroup("handmade").addoption("--student", action="append", metavar="FILE", default=[], help=text)


def pytest_configure(config) -> None:
    config.pluginmanager.register(_fixtures())


def _fixtures():
    import pytest

    class Fixtures:
        @pytest.fixture(name="grade")
        def recorded(self, request) -> Callable[..., Grade]:
            """`handmade.grading.grade`, whose outcome is shown where a test fails, and in the summary."""

            def grade_and_record(*arguments, **options) -> Grade:
                result = grade(*arguments, **options)
                request.node.add_report_section("call", "grade", str(result))
                request.node.user_properties.append(("grade", str(result)))
                return result

            return grade_and_record

        @pytest.fixture
        def student(self) -> Path:
            """Each file that ``--student`` names."""
            raise pytest.UsageError("student: expected pytest --student=FILE, the file to grade")

    return Fixtures()


def pytest_generate_tests(metafunc) -> None:
    paths = [Path(given) for given in metafunc.config.getoption("student")]
    if paths and "student" in metafunc.fixturenames:
        files = [file for path in paths for file in sorted(path.glob("*.py")) or [path]]
        metafunc.parametrize("student", files, ids=[file.name for file in files])


def pytest_terminal_summary(terminalreporter) -> None:
    reports = [report for several in terminalreporter.stats.values() for report in several]
    ended = [report for report in reports if getattr(report, "when", None) == "teardown"]  # once per test
    grades = [text for report in ended for key, text in report.user_properties if key == "grade"]
    if grades:
        terminalreporter.section("grades")
        terminalreporter.line("\n".join(grades))
