"""9. The operations of a function of arrays, and the backward pass through them.

Elementwise derivatives are complex steps, rearrangements are followed by numbering the entries, and everything else is
differentiated by differences, so that any function of NumPy may be used. No gradient is trusted because of this: who
uses it compares it with the measured one first.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..._types import Array

__all__ = [
    "UNFIT",
    "Change",
    "Operation",
    "Slot",
    "backward",
    "filled_with",
    "sorted_operations",
    "sources",
    "summed_to",
]

MOST_OPERATIONS = 3000  # of a recording
MOST_NUMBERS = 20_000  # in an operand that is differentiated by differences
TINY = 1e-25  # of a complex step
REAL_ONLY = ("absolute", "sign")  # of a complex number they are something else
SUMS, MEANS = ("sum", "add.reduce"), ("mean",)
REARRANGEMENTS = {
    "append", "array_split", "astype", "atleast_1d", "atleast_2d", "broadcast_to", "column_stack", "concatenate",
    "copy", "diag", "diagonal", "dstack", "expand_dims", "flatten", "flip", "fliplr", "flipud", "getitem", "hsplit",
    "hstack", "insert", "moveaxis", "pad", "ravel", "repeat", "reshape", "roll", "rollaxis", "rot90", "setitem",
    "split", "squeeze", "stack", "swapaxes", "take", "take_along_axis", "tile", "transpose", "tril", "triu", "vsplit",
    "vstack", "where",
}  # fmt: skip
LINEAR = {
    "cumsum", "dot", "einsum", "inner", "kron", "outer", "tensordot", "trace", "vdot",
}  # fmt: skip
UNFIT = (ValueError, TypeError, LookupError)  # where arrays do not fit
Place = tuple[Any, ...]  # code, operation, positions in the text: the same for each turn of a loop
Backward = Callable[[Array], Array]


NUMBERS = itertools.count()


class Slot(int):
    """The number of an operand in a structure of arguments."""


def filled_with(value: Any, values: Sequence[Array]) -> Any:
    """Return a structure of arguments with the values of the operands in their places."""
    if isinstance(value, Slot):
        return values[value]
    if isinstance(value, dict):
        return {key: filled_with(part, values) for key, part in value.items()}
    return type(value)(filled_with(part, values) for part in value) if type(value) in (list, tuple) else value


def _leaves(value: Any) -> Iterator[Any]:
    for part in value:
        yield from _leaves(part) if type(part) in (list, tuple) else [part]


def _exchanged(value: Any, others: Mapping[int, Array]) -> Any:
    """Return a structure of arguments with other arrays; ``others`` holds them by the id of the old ones."""
    if type(value) in (list, tuple):
        return type(value)(_exchanged(part, others) for part in value)
    return others.get(id(value), value)


class Operation:
    """A value of a recording: an input, or the result of an operation on others.

    Attributes
    ----------
    value : ndarray
        The result.
    name : str
        The operation, such as ``"multiply"``; empty for an input.
    operands : list of Operation
        What it was computed from.
    compute : callable
        Returns the result from a list of arrays, one for each operand.
    place, calls : tuple
        Where in the code the operation stands, and the calls that have led to it.
    line : int
        The number of that line.
    text : str
        The expression, written with the names that variables have there.
    aliases : list of str
        The names of variables that have held the result.
    stored : str
        The name that the statement assigns to.
    names, words : list of str
        The operands, and the arguments, each as a variable or an expression.
    inputs : tuple
        The arguments, with the number of an operand in place of each.
    beside : dict of str to ndarray
        The arrays of real numbers that have a name there, and are not recorded.
    number : float
        Counts operations in the order in which they were done.
    is_elementwise : bool
        Whether each entry of the result depends on the same entries of the operands alone.
    """

    def __init__(
        self, value: Array, name: str = "", operands: Sequence[Operation] = (), compute: Any = None, text: str = ""
    ) -> None:
        self.value, self.name, self.operands, self.compute, self.text = value, name, list(operands), compute, text
        self.aliases: list[str] = []
        self.stored = ""
        self.place: Place = (None, "")
        self.calls: Place = ()
        self.line = 0
        self.names: list[str] = []
        self.words: list[str] = []
        self.inputs: Any = ()
        self.function: Any = None
        self.is_elementwise = False
        self.beside: dict[str, Array] = {}
        self.number: float = next(NUMBERS)
        self._backward: dict[int, Backward] = {}

    def backward_to(self, k: int) -> Backward:
        """Return the function from the gradient by the result to that by an operand."""
        if k not in self._backward:
            self._backward[k] = _backward_to(self, k)
        return self._backward[k]

    @property
    def label(self) -> str:
        """The name of a variable that holds the result, else the expression."""
        if self.stored in self.aliases:
            return self.stored
        return self.aliases[0] if self.aliases else self.text or "..."

    def on(self, operands: Sequence[Operation]) -> Operation:
        """Return the same operation on other operands."""
        made = copy.copy(self)
        made.operands, made._backward = list(operands), {}
        made.value = np.asarray(self.compute([one.value for one in operands]))
        return made

    def parts(self) -> list[Any]:
        """Return all arguments, those in lists one by one, with an operation in place of what is recorded."""
        return [self.operands[part] if isinstance(part, Slot) else part for part in _leaves(self.inputs)]

    def position(self, k: int) -> int:
        """Return which of `parts` an operand is: in the first turn of a loop, some may not be recorded yet."""
        return next((j for j, part in enumerate(_leaves(self.inputs)) if isinstance(part, Slot) and part == k), -1 - k)

    def with_parts(self, changed: Mapping[int, Array]) -> Operation:
        """Return the same operation with other values of `parts`, recorded or not.

        Raises ValueError if one that is not recorded is changed, and the operation has options.
        """
        operands, leaves = list(self.operands), list(_leaves(self.inputs))
        constants: dict[int, Array] = {}
        for j, value in changed.items():
            if isinstance(part := leaves[j], Slot):
                operands[part] = Operation(value)
            else:
                constants[id(part)] = value
        if not constants:
            return self.on(operands)
        if not np.array_equal(self._called(self.inputs, [one.value for one in self.operands]), self.value):
            raise ValueError(f"{self.name} has options")
        made = copy.copy(self)
        made.inputs = _exchanged(self.inputs, constants)
        made.compute = functools.partial(self._called, made.inputs)
        return made.on(operands)

    def _called(self, inputs: Sequence[Any], values: Sequence[Array]) -> Any:
        return self.function(*filled_with(inputs, values))

    def of_operand(self, k: int, x: Array) -> Any:
        """Return the result with another value of an operand."""
        return self.compute([x if i == k else one.value for i, one in enumerate(self.operands)])

    def is_first(self, k: int) -> bool:
        """Return whether an operand is the first argument."""
        return isinstance(self.inputs[0], Slot) and self.inputs[0] == k

    def factor_beside(self, k: int) -> Array:
        """Return the other factor of a product."""
        return self.argument(1 if self.is_first(k) else 0)[0]

    def argument(self, j: int) -> tuple[Array, str]:
        """Return an argument, recorded or not, and how it is written."""
        part = self.inputs[j]
        part = self.operands[part] if isinstance(part, Slot) else part
        return part.value if isinstance(part, Operation) else np.asarray(part), self.word(part)

    def word(self, part: Any) -> str:
        """Return how an argument is written."""
        if isinstance(part, Operation):
            return self.names[self.operands.index(part)]
        written = zip(self.inputs, self.words, strict=False)
        return next((word for value, word in written if value is part and word != "..."), "the other factor")

    def slope(self, k: int, changed: Mapping[int, Array] | None = None) -> Array:
        """Return the derivative of an elementwise operation by an operand, also with other values of arguments."""
        inputs = [(changed or {}).get(j, self.argument(j)[0]) for j in range(len(self.inputs))]
        place = next(j for j, part in enumerate(self.inputs) if isinstance(part, Slot) and part == k)

        if self.name in ("maximum", "minimum") and len(self.operands) == 2:  # of equal ones, the first counts
            first = inputs[0] >= inputs[1] if self.name == "maximum" else inputs[0] <= inputs[1]
            return np.where(first, 1.0 - place, float(place))

        def moved(step: Any) -> Any:
            return self.function(*(x + step if j == place else x for j, x in enumerate(inputs)))

        if self.name not in REAL_ONLY:
            with contextlib.suppress(TypeError, np.exceptions.ComplexWarning), warnings.catch_warnings():
                warnings.simplefilter("error", np.exceptions.ComplexWarning)  # the function drops the imaginary part
                return np.asarray(np.imag(moved(1j * TINY))) / TINY
        h = 1e-4 * np.maximum(1.0, np.abs(inputs[place]))
        wide, narrow = ((moved(s) - moved(-s)) / (2 * s) for s in (h, h / 2))
        return np.asarray((4 * narrow - wide) / 3)


# ---- backward ------------------------------------------------------------------------------------------------------

Change = Callable[[Operation, int, Array], Array | None]


def backward(
    output: Operation,
    seed: Array,
    inputs: Sequence[Operation],
    order: Sequence[Operation],
    change: Change | None = None,
) -> list[Array]:
    """Return the gradients by the inputs: the chain rule, operation by operation.

    Parameters
    ----------
    output : Operation
        The last one.
    seed : ndarray
        The gradient by its result.
    inputs : sequence of Operation
        By which the gradients are wanted.
    order : sequence of Operation
        All that the output depends on, the output last, each after its operands.
    change : callable, optional
        ``change(operation, k, G)`` returns what is added to the gradient by operand k in place of the right thing;
        None for the right one.
    """
    gradients: dict[int, Array] = {id(output): seed}
    for one in reversed(order):
        G = gradients.get(id(one))
        if G is None:
            continue
        for k, operand in enumerate(one.operands):
            added = None if change is None else change(one, k, G)
            added = one.backward_to(k)(G) if added is None else added
            gradients[id(operand)] = gradients[id(operand)] + added if id(operand) in gradients else added
    return [gradients.get(id(one), np.zeros(one.value.shape)) for one in inputs]


def sorted_operations(output: Operation) -> list[Operation]:
    """Return all operations that one depends on and itself, in the order in which they were done."""
    found = {id(output): output}
    waiting = [output]
    while waiting:
        new = [one for one in waiting.pop().operands if id(one) not in found]
        found |= {id(one): one for one in new}
        waiting += new
        if len(found) > MOST_OPERATIONS:
            raise ValueError(f"expected at most {MOST_OPERATIONS} operations")
    return sorted(found.values(), key=lambda one: one.number)


def summed_to(G: Array, shape: tuple[int, ...]) -> Array:
    """Return a gradient summed over the axes along which an operand of a shape was repeated."""
    if G.shape == shape:
        return G
    G = G.sum(axis=tuple(range(G.ndim - len(shape))))
    axes = tuple(i for i, n in enumerate(shape) if n == 1 and G.shape[i] != 1)
    return G.sum(axis=axes, keepdims=True) if axes else G


def _backward_to(one: Operation, k: int) -> Backward:
    shape = one.operands[k].value.shape
    if one.is_elementwise:
        slope = one.slope(k)
        return lambda G: summed_to(G * slope, shape)
    if one.name == "matmul":
        return _of_product(one, k)
    if one.name in SUMS or one.name in MEANS:
        return _of_sum(one, k)
    if one.name in REARRANGEMENTS:
        source = sources(one, k)
        return lambda G: np.bincount(source[source >= 0], G.ravel()[source >= 0], math.prod(shape)).reshape(shape)
    J = _jacobian(one, k)
    return lambda G: (J @ G.ravel()).reshape(shape)


def _of_product(one: Operation, k: int) -> Backward:
    shape, other, is_first = one.operands[k].value.shape, one.factor_beside(k), one.is_first(k)
    if min(other.ndim, len(shape)) < 2:
        J = _jacobian(one, k)
        return lambda G: (J @ G.ravel()).reshape(shape)
    turned = np.swapaxes(other, -1, -2)
    return lambda G: summed_to(G @ turned if is_first else turned @ G, shape)


def _of_sum(one: Operation, k: int) -> Backward:
    x = one.operands[k].value
    scale = one.value.size / x.size if one.name in MEANS else 1.0
    kept = _kept_axes(one, k)
    return lambda G: np.broadcast_to(G.reshape(kept) * scale, x.shape)


def _kept_axes(one: Operation, k: int) -> tuple[int, ...]:
    """Return the shape of a sum with an axis of length 1 for each that was summed over."""
    x, kept = one.operands[k].value, []
    for axis, n in enumerate(x.shape):
        ramp = np.zeros(x.shape)
        ramp[(slice(None),) * axis + (slice(0, 1),)] = 1.0  # seen apart only if the axis is still there
        seen = np.asarray(one.of_operand(k, ramp))
        kept.append(n if n > 1 and np.ptp(seen) > 0 else 1)
    return tuple(kept)


def sources(one: Operation, k: int) -> Array:
    """Return for each entry of a rearrangement which entry of the operand it is; -1 for one that is not of it."""
    x = one.operands[k].value
    numbers = np.arange(x.size, dtype=float).reshape(x.shape)
    first, second = (np.ravel(one.of_operand(k, numbers + shift)) for shift in (0.25, 0.25 + x.size))
    return np.where(second - first == x.size, first, -1.0).astype(np.intp)


def _jacobian(one: Operation, k: int) -> Array:
    """Return the derivatives by each entry of an operand, (entries, results), from complex steps or differences."""
    x = one.operands[k].value
    if x.size * one.value.size > MOST_NUMBERS**2 // 100 or x.size > MOST_NUMBERS:
        raise ValueError("too many numbers to differentiate")
    return np.array([_along(one, k, x, index) for index in np.ndindex(x.shape)]).reshape(x.size, -1)


def _along(one: Operation, k: int, x: Array, index: tuple[int, ...]) -> Array:
    def moved(step: complex) -> Array:
        changed = x.astype(np.result_type(x, step))
        changed[index] += step
        return np.ravel(one.of_operand(k, changed))

    if one.name in LINEAR or one.name == "matmul":
        return np.asarray(np.imag(moved(1j * TINY))) / TINY
    h = 1e-4 * max(1.0, abs(float(x[index])))
    wide, narrow = ((moved(s) - moved(-s)) / (2 * s) for s in (h, h / 2))
    return (4 * narrow - wide) / 3
