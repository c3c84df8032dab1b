"""What students handed in: one file each, or one folder each."""

from __future__ import annotations

import ast
import dataclasses
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .child.loading import sources
from .conventions import BACKWARD, BOTH, FORWARD
from .exercise import Exercise
from .grades import Grade, Item
from .judge import judge
from .sandbox import InProcess, StudentProcess, clean

__all__ = ["Submission", "find_submissions", "grade", "grade_submission"]

ENDINGS = (".py", ".ipynb")
SKIPPED = ("__pycache__", "__MACOSX")


@dataclasses.dataclass(frozen=True)
class Submission:
    """A submission.

    Attributes
    ----------
    student : str
        The name of the file or the folder.
    path : Path
        The file or the folder.
    """

    student: str
    path: Path

    def file(self, exercise: Exercise) -> Path:
        """Return the file with the functions.

        Raises
        ------
        ValueError
            If the folder holds none, or several.
        """
        if not self.path.is_dir():
            return self.path
        files = [path for path in sorted(self.path.rglob("*")) if _is_code(path, self.path)]
        if exercise.file is not None:
            named = [path for path in files if path.name == exercise.file]
            if len(named) != 1:
                raise ValueError(f"expected one file {exercise.file} in the folder, found {len(named)}")
            return named[0]
        if len(files) > 1:
            files = [path for path in files if _defines_functions(path)] or files
        contract = [path for path in files if _defines_functions(path, contract=True)]
        files = contract if len(files) > 1 and len(contract) == 1 else files
        if len(files) != 1:
            found = ", ".join(str(path.relative_to(self.path)) for path in files[:5])
            raise ValueError(f"expected one file of code in the folder, found {found or 'none'}")
        return files[0]


def _is_code(path: Path, root: Path) -> bool:
    parts = path.relative_to(root).parts
    hidden = any(part.startswith(".") or part in SKIPPED for part in parts)
    return not hidden and path.suffix.lower() in ENDINGS and path.is_file()


def _defines_functions(path: Path, contract: bool = False) -> bool:
    """Return whether a file defines a function or method of the names that are looked for."""
    try:
        text = "\n".join(
            part.decode(errors="replace") if isinstance(part, bytes) else part for _, part in sources(str(path))
        )
        nodes = list(ast.walk(ast.parse(text[:1_000_000])))
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return False
    names = [node.name for node in nodes if isinstance(node, ast.FunctionDef)]
    if contract:
        return "loss_and_gradient" in names or {"forward", "backward"} <= set(names)
    return any(pattern.match(name) for name in names for pattern in (BOTH, FORWARD, BACKWARD))


def find_submissions(paths: Iterable[str | Path], file: str | None = None) -> tuple[list[Submission], list[Path]]:
    """Return the submissions at these paths, and the files in their folders that are none.

    Parameters
    ----------
    paths : iterable of path
        A file is a submission. Of a folder each .py file, each notebook and each folder is one; a folder that holds
        ``file`` itself is one submission.
    file : str, optional
        See `Exercise`.

    Raises
    ------
    FileNotFoundError
        If a path does not exist.
    ValueError
        If a file is not Python code or a notebook, or a folder holds no submission.
    """
    found: list[Path] = []
    ignored: list[Path] = []
    for path in map(Path, paths):
        if not path.exists():
            raise FileNotFoundError(f"{path}: expected a submission or a folder of them, which does not exist")
        if not path.is_dir():
            if path.suffix.lower() not in ENDINGS or not path.is_file():
                raise ValueError(f"{path}: expected a .py file, a notebook (.ipynb) or a folder")
            found.append(path)
        elif file is not None and (path / file).is_file():
            found.append(path)
        else:
            inside = [p for p in sorted(path.iterdir()) if not p.name.startswith(".") and p.name not in SKIPPED]
            submitted = [p for p in inside if p.is_dir() or (p.suffix.lower() in ENDINGS and p.is_file())]
            if not submitted:
                raise ValueError(f"{path}: expected .py files, notebooks or a folder for each student, found none")
            found += submitted
            ignored += [p for p in inside if p not in submitted]
    found = list({_place(path): path for path in found}.values())
    names = [path.name for path in found]
    students = [path.name if names.count(path.name) == 1 else str(path) for path in found]
    return [Submission(clean(name, 100), path) for name, path in zip(students, found, strict=True)], ignored


def _place(path: Path) -> str:
    """Return one text for all ways to write a path; a link in a student's name stays, as its file is another's."""
    return os.path.normpath(os.path.join(os.path.realpath(path.parent), path.name))


def grade_submission(submission: Submission, exercise: Exercise, hidden: Sequence[Path] = ()) -> Grade:
    """Grade one submission, in a process of its own.

    Parameters
    ----------
    submission : Submission
        The student's files.
    exercise : Exercise
        The task.
    hidden : sequence of Path
        Files and folders that the process may not read.
    """
    started = time.monotonic()
    try:
        file = submission.file(exercise)
        folder = submission.path if submission.path.is_dir() else None
        adapter = Path(exercise.adapter) if exercise.adapter is not None else None
        process = StudentProcess(file, folder, exercise.limits, exercise.forbidden, hidden, adapter)
    except (OSError, ValueError) as error:
        message = clean(error, 300)
        result = not_graded(submission.student, exercise, "unreadable", f"{submission.student}: {message}")
    else:
        with process:
            result = judge(process, exercise)
    seconds = round(time.monotonic() - started, 2)
    return dataclasses.replace(result, student=submission.student, seconds=seconds)


def not_graded(student: str, exercise: Exercise, verdict: str, hint: str) -> Grade:
    """Return a grade without a point."""
    weights = exercise.weights
    layers = [Item(name, 0, "not graded", w) for (name, _), w in zip(exercise.layers, weights[1:], strict=True)]
    return Grade(student, Item("loss", 0, "not graded", weights[0]), layers, hint, verdict)


def grade(student: Any, network: Any, X: Any, y: Any, loss: Any = "cross_entropy", **options: Any) -> Grade:
    """Grade one submission: the points for its forward pass and for each layer's gradient, and hints.

    Parameters
    ----------
    student : path or object
        A .py file, a notebook or the folder of one student, which runs in a process of its own; or an object with the
        functions, which runs in this one.
    network, X, y, loss, **options
        As in `Exercise`.

    Returns
    -------
    Grade
        Its ``points``, ``layers``, ``hint``, ``verdict`` and ``passed``. The hint reports every failure of the
        student's.

    Raises
    ------
    FileNotFoundError
        If the path does not exist.
    ValueError, TypeError
        As in `Exercise`.

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
      layer 0, Dense(2, 3)  0  wrong: parameters[0], parameters[1]
      layer 2, Dense(3, 1)  1
      hint: activation derivative missing...
    >>> result.passed
    False
    """
    exercise = Exercise(network, X, y, loss, **options)
    if isinstance(student, str | Path):
        path = Path(student)
        if not path.exists():
            raise FileNotFoundError(f"{path}: expected a submission, which does not exist")
        if path.is_file() and path.suffix.lower() not in ENDINGS:
            raise ValueError(f"{path}: expected a .py file, a notebook (.ipynb) or a folder")
        return grade_submission(Submission(clean(path.name, 100), path), exercise)
    return judge(InProcess(student), exercise)
