"""The student's process: it loads a submission, and runs small programs of calls that the grader sends.

A program names its inputs (arrays), and lists steps: ``call`` a function or method, ``set`` an attribute or item,
``get`` one, ``shapes`` of an object's arrays. A step refers to inputs, to names of the submission and to the results of
steps before it, so that a cache of the student's never leaves this process.
"""

from __future__ import annotations

import copy
import inspect
import linecache
import os
import re
import sys
import time
import traceback
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

import numpy as np

from .guard import Blocker, set_limits, watch
from .loading import load, unpacked_names
from .wire import read_message, write_message

__all__ = ["Session", "describe_error", "main"]

LONGEST = 300  # characters of an error
CONTRACT = ("loss_and_gradient", "forward", "backward")
LIBRARIES = (np, np.linalg, np.random)
asarray, array_equal, ndarray, isfinite, abs_ = np.asarray, np.array_equal, np.ndarray, np.isfinite, np.abs


# ---- errors --------------------------------------------------------------------------------------------------------


def describe_error(error: BaseException) -> str:
    """Return the error in one line, and the last line of the submission that led to it."""
    try:
        text = traceback.format_exception_only(error)[-1].strip()
    except BaseException:  # whatever its own __str__ raises
        text = type(error).__name__
    text = re.sub(r"numpy\._core\._exceptions\._(Array)?|, with gufunc signature \S+", "", text)
    text = text if len(text) <= LONGEST else text[:LONGEST] + "..."
    if isinstance(error, SyntaxError) and error.lineno:
        return f"{text} ({_place(str(error.filename), error.lineno)})"
    places = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if _is_of_submission(frame.f_code.co_filename)
    ]
    return f"{text} ({_place(*places[-1])}: {linecache.getline(*places[-1]).strip()})" if places else text


def _place(filename: str, line: int | None) -> str:
    """Return where a line is: its number in a file, its cell in a notebook."""
    if cell := re.search(r"cell \d+$", filename):
        return f"{cell[0]}, line {line}"
    return f"line {line}" if filename.endswith(Session.main_file) else f"{os.path.basename(filename)}, line {line}"


# ---- what a submission offers --------------------------------------------------------------------------------------


def describe_module(module: Any) -> dict[str, Any]:
    """Return the names and parameters of the functions and classes that a submission defines."""
    functions, classes = {}, {}
    for name in dict.fromkeys([*CONTRACT, *getattr(module, "__dict__", ())]):
        value = getattr(module, name, None)
        if inspect.isclass(value):
            if _is_own(value):
                operators = [operator for operator in ("__add__", "__mul__") if operator in vars(value)]
                classes[name] = {"init": _parameters(value), "methods": _methods(value), "operators": operators}
        elif callable(value) and (name in CONTRACT or _is_own(value)):
            functions[name] = _parameters(value)
    return {"functions": functions, "classes": classes}


def _is_own(value: Any) -> bool:
    """Return whether a function or class comes from the submission's files."""
    if inspect.isclass(value):
        return any(_is_own(f) for f in vars(value).values() if isinstance(f, types.FunctionType))
    code = getattr(value, "__code__", None)
    return code is not None and _is_of_submission(code.co_filename)


def _is_of_submission(file: str) -> bool:
    """Return whether a file or a notebook's cell is the student's; packages may be installed below the folder."""
    return ", cell " in file or (file.startswith(os.getcwd() + os.sep) and "site-packages" not in file)


def _methods(kind: type) -> dict[str, Any]:
    found = {}
    for name, method in inspect.getmembers(kind, callable):
        if not name.startswith("__") or name == "__call__":
            parameters = _parameters(method)
            is_static = isinstance(inspect.getattr_static(kind, name), staticmethod | classmethod)
            found[name] = parameters if is_static or parameters is None else parameters[1:]
    return found


def _parameters(function: Callable[..., Any]) -> list[list[Any]] | None:
    """Return the name of each parameter and whether it is needed; None where nobody knows."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except BaseException:
        return None
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [[p.name, p.default is p.empty] for p in parameters if p.kind not in variadic]


def shapes(value: Any, depth: int = 0) -> Iterator[tuple[list[Any], tuple[int, ...]]]:
    """Yield the path and shape of each array that an object holds, in attributes, dicts and lists."""
    if isinstance(value, ndarray):
        yield [], value.shape
        return
    if depth > 3:
        return
    parts: list[tuple[Any, Any]] = []
    if isinstance(value, Mapping):
        parts = list(value.items())
    elif isinstance(value, list | tuple):
        parts = list(enumerate(value))
    elif hasattr(value, "__dict__") and not isinstance(value, type | types.FunctionType | types.ModuleType):
        parts = list(vars(value).items())
    for key, part in parts[:1000]:
        if isinstance(key, str | int):
            for path, shape in shapes(part, depth + 1):
                yield [key, *path], shape


# ---- programs ------------------------------------------------------------------------------------------------------


class Session:
    """A loaded submission, and the programs that run on it.

    Parameters
    ----------
    module : module or object
        Whatever has the functions and classes.
    caught : tuple of type
        The exceptions that are the submission's.
    """

    main_file = ""  # of the submission

    def __init__(self, module: Any, caught: tuple[type[BaseException], ...] = (BaseException,)) -> None:
        self.module, self.caught = module, caught
        self._library = [(library, name, value) for library in LIBRARIES for name, value in vars(library).items()]

    def run(self, program: Mapping[str, Any]) -> dict[str, Any]:
        """Run a program; what it raises is part of the answer.

        Returns
        -------
        dict
            ``values``, ``error``, ``changed`` (the inputs that a call changed), ``patched`` (of NumPy) and, if asked
            for, ``evaluations``.
        """
        inputs = dict(program["inputs"])
        given = copy.deepcopy(inputs)
        counter = _Evaluations() if program.get("count") else None
        answer: dict[str, Any] = {"values": [], "error": None, "at": ""}
        results: list[Any] = []
        try:
            with warnings.catch_warnings(), np.errstate():  # what the student sets is not to outlast the call
                warnings.simplefilter("ignore")  # an overflow is judged by the numbers that it leaves
                sys.setprofile(counter)
                for step in program["steps"]:
                    answer["at"] = step[-1]
                    results.append(self._step(step, inputs, results))
                sys.setprofile(None)
                answer["values"] = [copy_of(self._get(ref, inputs, results)) for ref in program["results"]]
        except self.caught as error:
            sys.setprofile(None)
            answer["error"] = describe_error(error)
        finally:
            sys.setprofile(None)
        answer["changed"] = [name for name in inputs if not same(inputs[name], given[name])]
        answer["patched"] = self.patched()
        answer["evaluations"] = counter.most if counter is not None else 0
        return answer

    def patched(self) -> list[str]:
        """Return the names of NumPy that no longer are what they were."""
        return [
            f"{library.__name__}.{name}"
            for library, name, value in self._library
            if vars(library).get(name) is not value and not name.startswith("__")
        ]

    def _step(self, step: list[Any], inputs: dict[str, Any], results: list[Any]) -> Any:
        kind, target, *rest = step
        value = self._get(target, inputs, results)
        if kind == "call":
            arguments, options, _ = rest
            named = {name: self._get(ref, inputs, results) for name, ref in options.items()}
            return value(*[self._get(ref, inputs, results) for ref in arguments], **named)
        if kind == "set":
            path, ref, _ = rest
            _assign(value, path, self._get(ref, inputs, results))
            return None
        return [[list(path), list(shape)] for path, shape in shapes(value)]

    def _get(self, ref: list[Any], inputs: dict[str, Any], results: list[Any]) -> Any:
        """Return what a reference names: ``[kind, name or number, *path]``."""
        kind, first, *path = ref
        value = inputs[first] if kind == "input" else results[first] if kind == "step" else getattr(self.module, first)
        for key in path:
            value = _part(value, key)
        return value


def _part(value: Any, key: str | int) -> Any:
    if isinstance(key, int) or isinstance(value, Mapping):
        return value[key]
    return getattr(value, key)


def _assign(value: Any, path: list[str | int], new: Any) -> None:
    *before, last = path
    for key in before:
        value = _part(value, key)
    if isinstance(last, int) or isinstance(value, Mapping):
        value[last] = new  # pyright: ignore[reportIndexIssue]
    else:
        setattr(value, last, new)


def copy_of(value: Any, depth: int = 0) -> Any:
    """Return a copy, as the next call may write into the same arrays."""
    if isinstance(value, list | tuple) and depth < 25:
        parts = [copy_of(part, depth + 1) for part in value]
        return parts if isinstance(value, list) else tuple(parts)
    if isinstance(value, Mapping) and depth < 25:
        return {key: copy_of(part, depth + 1) for key, part in value.items()}
    return value.copy() if isinstance(value, ndarray) and value.size < 10**7 else value


def same(a: Any, b: Any) -> bool:
    """Return whether two structures hold the same numbers."""
    try:
        if isinstance(b, Mapping):
            return a.keys() == b.keys() and all(same(a[key], b[key]) for key in b)
        if isinstance(b, list | tuple):
            return isinstance(a, list | tuple) and len(a) == len(b) and all(map(same, a, b))
        return bool(a is b or array_equal(a, b, equal_nan=asarray(b).dtype.kind in "fc"))
    except Exception:  # whatever the student put there
        return False


class _Evaluations:
    """A profile function that counts how often one function returns almost the same numbers in one program.

    A gradient by differences evaluates the loss, or the output, once or twice for each parameter.
    """

    def __init__(self) -> None:
        self.first: dict[Any, Any] = {}
        self.counts: dict[Any, int] = {}
        self.differs: set[Any] = set()

    @property
    def most(self) -> int:
        """The largest count of a function whose results were not all equal."""
        return max((self.counts[code] for code in self.differs), default=0)

    def __call__(self, frame: types.FrameType, event: str, value: Any) -> None:
        if event != "return" or value is None or not _is_own(types.SimpleNamespace(__code__=frame.f_code)):
            return
        value = value[0] if isinstance(value, tuple) and value else value
        if not isinstance(value, float | complex | np.number | ndarray):
            return
        array = np.real(asarray(value))
        if array.dtype.kind != "f" or array.size > 10_000 or not isfinite(array).all():
            return
        code = frame.f_code
        first = self.first.setdefault(code, array.copy())
        if first.shape == array.shape and abs_(array - first).max(initial=0) <= 0.01 * abs_(first).max(initial=0):
            self.counts[code] = self.counts.get(code, 0) + 1
            if not array_equal(first, array) or isinstance(value, complex) or asarray(value).dtype.kind == "c":
                self.differs.add(code)


# ---- the process ---------------------------------------------------------------------------------------------------


def main() -> None:
    """Serve the grader: messages come on standard input and leave on standard output, which the student cannot use."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.dup2(2, 1)
    setup = read_message(requests)
    sys.dont_write_bytecode = True
    sys.path[:] = [*([setup["folder"]] if setup["is_folder"] else []), *setup["sys_path"]]
    sys.argv[:] = [setup["file"]]
    blocker = Blocker(setup["forbidden"])
    cpu_seconds = time.process_time() + setup["cpu_seconds"]  # the start is not the student's
    set_limits(setup["seconds"], cpu_seconds, _used_memory() + setup["memory"], setup["file_bytes"])
    watch(blocker, setup["folder"], setup["hidden"], [*filter(None, [*sys.path, setup["adapter"]])])
    Session.main_file = os.path.basename(setup["file"])
    _serve(requests, answers, setup, blocker)


def _used_memory() -> int:
    """Return the address space of this process in bytes, or 0 where the system does not tell."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _serve(requests: IO[bytes], answers: IO[bytes], setup: dict[str, Any], blocker: Blocker) -> None:
    session = Session(None)
    described: dict[str, Any] = {"error": None, "failures": []}
    try:
        if setup["adapter"]:
            session.module, _ = load(setup["adapter"])
        with warnings.catch_warnings(), np.errstate():
            warnings.simplefilter("ignore")
            module, failures = load(setup["file"])
            described["failures"] = list(map(describe_error, failures))
        session.module = _adapted(session.module, module) if setup["adapter"] else module
        described |= describe_module(session.module) | {"unpacked": unpacked_names(setup["file"])}
    except BaseException as error:
        described["error"] = describe_error(error)
    _answer(answers, described | {"patched": session.patched()}, blocker)
    while True:
        try:
            program = read_message(requests)
        except EOFError:
            os._exit(0)  # without the student's atexit functions and threads
        _answer(answers, session.run(program), blocker)


def _adapted(adapter: Any, submission: Any) -> types.ModuleType:
    """Return the teacher's functions, the submission being their first argument."""
    module = types.ModuleType("adapter")
    for name in CONTRACT:
        if callable(function := getattr(adapter, name, None)):
            setattr(module, name, _with_submission(function, submission))
    return module


def _with_submission(function: Callable[..., Any], submission: Any) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        return function(submission, *arguments)

    return call


def _answer(answers: IO[bytes], answer: dict[str, Any], blocker: Blocker) -> None:
    """Send an answer, or say why it cannot be sent."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:  # the student closed or replaced it
            continue
    blocked = {"refused": list(blocker.refused), "attempts": list(blocker.attempts)}
    try:
        write_message(answers, answer | blocked)
    except BaseException as error:
        problem: dict[str, Any] = {"values": [], "error": None, "unsent": describe_error(error)}
        write_message(answers, answer | problem | blocked)
