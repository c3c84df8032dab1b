"""9. A stand-in for an array that records what is computed with it: each operation, its operands and its place."""

from __future__ import annotations

import ast
import dis
import functools
import itertools
import linecache
import operator
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..._types import Array
from .operation import Operation, Slot, filled_with

__all__ = ["Recorded", "apply"]

OWN_FRAMES = "numpy", Operation.__module__, f"{__package__}.record"  # between a line and its operation
SIGNS = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/", "power": "**", "matmul": "@"}
MOST_PARTS = 20  # of a list whose arrays have names
LONGEST, LONG = 60, 24  # letters of an expression, and of a part of one that is longer


class Recorded(np.lib.mixins.NDArrayOperatorsMixin):
    """A stand-in for an array that records what is computed with it.

    Examples
    --------
    >>> from handmade.checking.operations.operation import Operation
    >>> from handmade.checking.operations.recorded_arrays import Recorded
    >>> x = Recorded(Operation(np.array([1.0, 2.0]), text="x"))
    >>> y = np.tanh(x) * 3
    >>> y.operation.name, y.operation.text, [one.name for one in y.operation.operands]
    ('multiply', 'tanh(x) * 3', ['tanh'])
    """

    __array_priority__ = 1000

    def __init__(self, operation: Operation) -> None:
        self.operation = operation

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        function = ufunc if method == "__call__" else getattr(ufunc, method)
        name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        result = apply(function, inputs, options, name, method == "__call__" and ufunc.signature is None)
        if out is None:
            return result
        if not isinstance(out[0], Recorded):
            raise TypeError("an array that is not recorded cannot take a recorded result")
        out[0].operation = result.operation
        return out[0]

    def __array_function__(self, function: Any, types: Any, inputs: Any, options: Any) -> Any:
        return apply(function, inputs, options, function.__name__)

    def __array__(self, *arguments: Any, **options: Any) -> Array:
        raise TypeError("a recorded array cannot become a plain one")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "T":
            return apply(np.transpose, (self,), {}, "transpose")
        attribute = getattr(self.operation.value, name)
        if not callable(attribute):
            return attribute
        method = getattr(np.ndarray, name)
        return lambda *inputs, **options: apply(method, (self, *inputs), options, name)

    def __getitem__(self, index: Any) -> Any:
        return apply(operator.getitem, (self, index), {}, "getitem")

    def __setitem__(self, index: Any, value: Any) -> None:
        self.operation = apply(_with_item, (self, index, value), {}, "setitem").operation

    def __len__(self) -> int:
        return len(self.operation.value)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self.operation.value)

    def __float__(self) -> float:
        raise TypeError("a recorded array cannot become a number")


def _with_item(array: Array, index: Any, value: Any) -> Array:
    changed = array.copy() if array.dtype == np.result_type(array, value) else array.astype(np.result_type(value))
    changed[index] = value
    return changed


def apply(function: Any, inputs: Any, options: Any, name: str, is_elementwise: bool = False) -> Any:
    """Return the result of a function of recorded arrays, recorded if it is one of real numbers."""
    operands: list[Operation] = []
    filled = _slots(inputs, operands), _slots(options, operands)

    def compute(values: Sequence[Array]) -> Any:
        arguments, keywords = filled_with(filled[0], values), filled_with(filled[1], values)
        return function(*arguments, **keywords)

    result = compute([one.value for one in operands])
    if isinstance(result, list | tuple):
        parts = [(lambda values, i=i: compute(values)[i], part) for i, part in enumerate(result)]
    else:
        parts = [(compute, result)]
    made = []
    for one, part in parts:
        operation = Operation(np.asarray(part), name, operands, one)
        operation.is_elementwise, operation.inputs, operation.function = is_elementwise, filled[0], function
        _write(operation, inputs, options)
        made.append(Recorded(operation) if operation.value.dtype.kind == "f" else part)
    return type(result)(made) if isinstance(result, list | tuple) else made[0]


def _write(made: Operation, inputs: Any, options: Any) -> None:
    """Note where the code has an operation, and how it is written there."""
    frame = sys._getframe(1)
    while frame.f_globals.get("__name__", "").startswith(OWN_FRAMES):
        assert frame.f_back is not None
        frame = frame.f_back
    code, seen = frame.f_code, frame.f_locals
    position, *calls = _calls(frame)
    made.place, made.calls, made.line = (code, made.name, position), tuple(calls), frame.f_lineno
    arrays = {n: v for n in code.co_names if isinstance(v := frame.f_globals.get(n), np.ndarray)} | _parts(seen) | seen
    made.beside = {n: v for n, v in arrays.items() if isinstance(v, np.ndarray) and v.ndim and v.dtype.kind == "f"}
    named: dict[Any, str] = {_memory(v): n for n, v in arrays.items() if isinstance(v, np.ndarray)}
    named |= {
        id(v.operation): n for n, v in _parts(seen).items() if isinstance(v, Recorded) and not v.operation.aliases
    }
    loaded, made.stored = _names_around(code, frame.f_lasti)
    for name in (*arrays, *reversed(loaded)):  # of several names, the one that the line uses
        if isinstance(value := arrays.get(name), Recorded) and name in seen:
            value.operation.aliases.append(name)
            named[id(value.operation)] = name
    made.names = [named.get(id(one), one.label) for one in made.operands]
    made.words = _words(made.name, inputs, named, _sources(code, frame.f_lasti))
    made.text = _text(made.name, made.words + [f"{key}={_word(value, named)}" for key, value in options.items()])


def _parts(seen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arrays in the lists and the attributes that variables hold, by how they are written."""
    found: dict[str, Any] = {}
    for name, value in seen.items():
        if type(value) in (list, tuple) and len(value) <= MOST_PARTS:
            found |= {f"{name}[{i}]": part for i, part in enumerate(value)}
        elif (of := getattr(value, "_of", None)) is not None:  # a stand-in for an object
            found |= {f"{name}.{attribute}": part for attribute, part in vars(of).items()}
    return {name: part for name, part in found.items() if isinstance(part, np.ndarray | Recorded)}


def _calls(frame: types.FrameType | None) -> list[Any]:
    """Return where a frame stands, and the calls that have led to it."""
    found = []
    while frame is not None and not frame.f_globals.get("__name__", "").startswith(OWN_FRAMES):
        found.append(_position(frame.f_code, frame.f_lasti))
        frame = frame.f_back
    return found


@functools.lru_cache(maxsize=4096)
def _position(code: types.CodeType, place: int) -> Any:
    """Return where an instruction stands in the text; Python may count it differently in later turns of a loop."""
    position = next(itertools.islice(code.co_positions(), place // 2, None))
    return position if None not in position else place


@functools.lru_cache(maxsize=4096)
def _sources(code: types.CodeType, place: int) -> list[str]:
    """Return how the operands of an operation are written, if its text is at hand; else nothing."""
    position: Any = _position(code, place)
    if isinstance(position, int):
        return []
    first, last, start, end = position
    lines = [linecache.getline(code.co_filename, number).encode() for number in range(first, last + 1)]
    lines[-1] = lines[-1][:end]
    lines[0] = lines[0][start:]
    text = b"".join(lines).decode(errors="replace")
    try:
        tree = ast.parse(f"({text})", mode="eval").body
    except SyntaxError:
        return []
    if isinstance(tree, ast.BinOp):
        sides = [(isinstance(side, ast.BinOp), ast.unparse(side)) for side in (tree.left, tree.right)]
        return [f"({side})" if is_sum else side for is_sum, side in sides]
    if isinstance(tree, ast.Subscript):
        return [ast.unparse(tree.value), ast.unparse(tree.slice)]
    return [*map(ast.unparse, tree.args)] if isinstance(tree, ast.Call) else []


@functools.lru_cache(maxsize=4096)
def _names_around(code: types.CodeType, place: int) -> tuple[list[str], str]:
    """Return the variables that a statement has loaded up to an instruction, the latest first, and what it assigns."""
    steps = list(dis.get_instructions(code))
    i = max(k for k, step in enumerate(steps) if step.offset <= place)
    loaded: list[str] = []
    for step in itertools.takewhile(lambda step: not step.opname.startswith(("STORE", "POP_TOP")), reversed(steps[:i])):
        if step.opname.startswith("LOAD"):
            loaded += reversed(step.argval if isinstance(step.argval, tuple) else [str(step.argval)])
    after = next((step for step in steps[i:] if step.opname.startswith(("STORE", "POP_TOP", "RETURN"))), None)
    return loaded, str(after.argval) if after is not None and after.opname.startswith("STORE") else ""


def _memory(array: Array) -> tuple[Any, ...]:
    """Return where an array lies, and how: the same for a view of all of it."""
    return array.__array_interface__["data"], array.shape, array.strides


def _slots(value: Any, operands: list[Operation]) -> Any:
    """Return arguments with the number of an operand in place of each recorded array."""
    if isinstance(value, Recorded):
        operands.append(value.operation)
        return Slot(len(operands) - 1)
    if isinstance(value, dict):
        return {key: _slots(part, operands) for key, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_slots(part, operands) for part in value)
    return value


# ---- how an operation is written -----------------------------------------------------------------------------------


def _words(name: str, inputs: Any, named: Mapping[Any, str], sources: Sequence[str]) -> list[str]:
    """Return the arguments as they would be written, with the names of variables.

    An array without a name is written as in ``sources``, which has the operands of the operation, the last one last.
    """
    words = [_word(one, named, name in (*SIGNS, "negative", "transpose", "getitem")) for one in inputs]
    for i, source in enumerate(sources[::-1], 1):
        if i <= len(words) and words[-i] == "...":
            words[-i] = source
    return words


def _text(name: str, parts: Sequence[str]) -> str:
    """Return an operation as it would be written; of a long one, the longest parts are left out."""
    for length in range(max(map(len, parts), default=0), LONG, -1):
        if len(_joined(name, parts)) > LONGEST:
            parts = [part if len(part) < length else "..." for part in parts]
    return _joined(name, parts)


def _joined(name: str, parts: Sequence[str]) -> str:
    if name in SIGNS and len(parts) == 2:
        return f"{parts[0]} {SIGNS[name]} {parts[1]}"
    if name == "negative":
        return f"-{parts[0]}"
    if name == "transpose" and len(parts) == 1:
        return f"{parts[0]}.T"
    return f"{parts[0]}[{parts[1].strip('()')}]" if name == "getitem" else f"{name}({', '.join(parts)})"


def _word(value: Any, named: Mapping[Any, str], is_part: bool = False) -> str:
    """Return an argument as it would be written, in parentheses if it is a sum or product inside another."""
    if isinstance(value, Recorded):
        one = value.operation
        if (name := named.get(id(one))) or not (is_part and one.name in SIGNS and one.label == one.text):
            return name or one.label
        return f"({one.text})"
    if isinstance(value, np.ndarray) and value.ndim:
        return named.get(_memory(value)) or (f"{name}.T" if (name := named.get(_memory(value.T))) else "...")
    if type(value) in (list, tuple):
        return f"({', '.join(_word(part, named) for part in value)})"
    if isinstance(value, slice):
        return ":".join("" if end is None else str(end) for end in (value.start, value.stop))
    return f"{float(value):g}" if isinstance(value, float | np.floating) else str(value)
