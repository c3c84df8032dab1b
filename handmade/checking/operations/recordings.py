"""9. A function or a layer, run once with recorded arrays.

The function runs as a copy in which NumPy, ``math`` and this library are replaced by stand-ins, so that arrays which it
creates are recorded, too, and a function of the library is one operation.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..._types import Array
from ...activations import ACTIVATIONS
from ...base_layer import Layer
from ...layers import Activation, name_of
from .activations import erf, plain_formula
from .operation import Change, Operation, Slot, backward, sorted_operations
from .recorded_arrays import Recorded, apply

__all__ = ["Recording", "record", "record_layers"]

CREATING = ("zeros", "ones", "empty", "full", "zeros_like", "ones_like", "empty_like", "full_like", "eye")
OTHERS = ("builtins", "numpy", "handmade", "types", "functools", "random")  # whose objects stay what they are
AS_ARRAY = ("asarray", "asanyarray", "ascontiguousarray", "atleast_1d", "float64")


@dataclasses.dataclass(frozen=True)
class Recording:
    """The operations that a function did on some arrays.

    Attributes
    ----------
    inputs : list of Operation
        The arrays, in order.
    output : Operation
        The result.
    operations : list of Operation
        All of which the result is made, each after its operands.
    """

    inputs: list[Operation]
    output: Operation
    operations: list[Operation]

    def gradient(self, seed: Array, change: Change | None = None) -> list[Array]:
        """Return the gradients by the inputs, with a change of single operations as in `backward`."""
        with np.errstate(all="ignore"):
            return backward(self.output, seed, self.inputs, self.operations, change)

    def without(self, edges: Sequence[tuple[Operation, int]]) -> Recording:
        """Return what the function would have done without some operations, each replaced by one of its operands."""
        return self._changed({id(one): lambda operands, k=k: operands[k] for one, k in edges})

    def with_value(self, one: Operation, k: int, value: Array) -> Recording:
        """Return what the function would have done if one operation had taken another value for an operand.

        The gradient still goes to that operand.
        """

        def changed(operands: list[Operation]) -> Operation:
            other = Operation(value, "other value", [operands[k]])
            other.number, other.names = one.number - 0.5, [""]  # just before
            other.is_elementwise, other.inputs, other.function = True, (Slot(0),), np.positive
            return one.on([other if i == k else operand for i, operand in enumerate(operands)])

        return self._changed({id(one): changed})

    def _changed(self, replaced: Mapping[int, Callable[..., Operation]]) -> Recording:
        now: dict[int, Operation] = {}
        for one in self.operations:
            operands = [now[id(operand)] for operand in one.operands]
            if id(one) in replaced:
                now[id(one)] = replaced[id(one)](operands)
            elif all(new is old for new, old in zip(operands, one.operands, strict=True)):
                now[id(one)] = one
            else:
                now[id(one)] = one.on(operands)
        output = now[id(self.output)]
        return Recording(self.inputs, output, sorted_operations(output))


def record(
    function: Callable[..., Any],
    arrays: Sequence[Array],
    names: Sequence[str],
    arguments: Callable[[list[Any]], tuple[Any, ...]],
    options: Mapping[str, Any] | None = None,
) -> Recording:
    """Return the recording of ``function(*arguments(arrays), **options)``.

    Raises
    ------
    Exception
        Whatever the function raises if it needs plain arrays somewhere.

    Examples
    --------
    >>> from handmade.checking.operations.recordings import record
    >>> recording = record(lambda t: float((t * np.tanh(t)).sum()), [np.array([1.0, 2.0])], ["t"], tuple)
    >>> [operation.text for operation in recording.operations]
    ['t', 'tanh(t)', 't * tanh(t)', 'sum(t * tanh(t))']
    """
    inputs = [Operation(np.asarray(array, float), text=name) for array, name in zip(arrays, names, strict=True)]
    result = _Copies().of(function)(*arguments([Recorded(one) for one in inputs]), **(options or {}))
    return _finished(inputs, result)


def record_layers(
    layers: Sequence[Layer], X: Array, training: bool, loss: Callable[[Any, Any], Any] | None = None, y: Any = None
) -> Recording:
    """Return the recording of layers, each after the other; its inputs are X and the parameters of the first layer.

    If something follows the first layer, its output, which is an operation, is also the last input. If a loss is given,
    it follows the last layer.
    """
    names = list(layers[0].parameters.values())
    arrays = [X, *(getattr(layers[0], name) for name in names)]
    inputs = [Operation(a.astype(float), text=n) for a, n in zip(arrays, ["X", *names], strict=True)]
    H, *parameters = map(Recorded, inputs)
    copies = _Copies()
    for layer in layers:
        own = dict(zip(names, parameters, strict=True)) if layer is layers[0] else {}
        H = copies.forward(layer, H, training, own)
        if layer is layers[0] and (len(layers) > 1 or loss is not None):
            inputs.append(H.operation)
    if loss is not None:
        options = getattr(loss, "keywords", {})
        H = copies.of(inspect.unwrap(getattr(loss, "func", loss)))(H, y, **options)
    return _finished(inputs, H)


def _finished(inputs: list[Operation], result: Any) -> Recording:
    if not isinstance(result, Recorded):
        raise TypeError("the result does not depend on a recorded array")
    return Recording(inputs, result.operation, sorted_operations(result.operation))


# ---- copies of functions -------------------------------------------------------------------------------------------


class _Object:
    """A stand-in for an object, whose methods are copies; what they assign stays in the stand-in."""

    def __init__(self, of: Any, copies: _Copies, arrays: Mapping[str, Recorded] | None = None) -> None:
        self.__dict__.update(arrays or {})
        self._of, self._copies = of, copies

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._of, name)
        if isinstance(value, types.MethodType) and value.__self__ is self._of:
            return types.MethodType(self._copies.of(value.__func__), self)
        return self._copies.stand_in(value)

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        return self._copies.of(type(self._of).__call__)(self, *inputs, **options)


class _Formula:
    """A stand-in for an activation, whose formula is recorded."""

    def __init__(self, formula: Callable[..., Any]) -> None:
        self.predict = formula

    def forward(self, X: Any, training: bool = False) -> tuple[Any, None]:
        return self.predict(X), None


class _Copies:
    """A collection of copies of functions, each made once."""

    def __init__(self) -> None:
        self._made: dict[int, Any] = {}
        self._kept: list[Any] = []  # so that no id is used again

    def of(self, function: Any) -> Any:
        """Return a copy of a function in Python whose names mean the stand-ins."""
        if isinstance(function, types.MethodType):
            return types.MethodType(self.of(function.__func__), self.stand_in(function.__self__))
        if not isinstance(function, types.FunctionType):
            return function
        if id(function) not in self._made:
            self._kept.append(function)
            space = dict(function.__globals__)
            cells = tuple(types.CellType() for _ in function.__closure__ or ())
            made = types.FunctionType(function.__code__, space, function.__name__, function.__defaults__, cells)
            made.__kwdefaults__ = function.__kwdefaults__
            self._made[id(function)] = made
            for name in _names_of(function.__code__):
                if name in space:
                    space[name] = self.stand_in(space[name])
            space["float"] = _number
            for cell, own in zip(cells, function.__closure__ or (), strict=True):
                with contextlib.suppress(ValueError):  # an empty cell
                    cell.cell_contents = self.stand_in(own.cell_contents)
        return self._made[id(function)]

    def forward(self, layer: Layer, X: Recorded, training: bool, parameters: Mapping[str, Recorded]) -> Any:
        """Return the output of a layer with recorded parameters."""
        if isinstance(layer, Activation) and plain_formula(layer):
            return self.stand_in(layer).forward(X)[0]
        function: Any = type(layer).forward
        function = getattr(function, "__wrapped__", function)  # without the checks of its result
        return self.of(function)(_Object(copy.deepcopy(layer), self, parameters), X, training)[0]

    def stand_in(self, value: Any) -> Any:
        """Return what a name means in a copy: nothing that the caller holds is changed through it."""
        if isinstance(value, types.ModuleType):
            if value.__name__ in ("numpy", "math"):
                return _NumPy()
            return _Library(value, self) if value.__name__.split(".")[0] == "handmade" else value
        if isinstance(value, Activation) and (formula := plain_formula(value)):
            return _Formula(functools.partial(self.of(formula), **value.options))
        module = getattr(value, "__module__", None) or ""
        if isinstance(value, types.FunctionType) and module.startswith("handmade."):
            return _as_one(value)
        if isinstance(value, np.vectorize) and value.signature is None:
            return lambda *inputs: apply(value, inputs, {}, name_of(value.pyfunc), is_elementwise=True)
        if isinstance(value, types.FunctionType | types.MethodType):
            return self.of(value)
        if isinstance(value, functools.partial):
            return functools.partial(self.stand_in(value.func), *value.args, **value.keywords)
        if type(value) in (list, tuple, dict) or _is_of_own_class(value):
            if id(value) not in self._made:
                self._kept.append(value)
                self._made[id(value)] = value  # where it holds itself
                self._made[id(value)] = self._of_parts(value)
            return self._made[id(value)]
        return value

    def _of_parts(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self.stand_in(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(map(self.stand_in, value))
        return _Object(value, self)


def _is_of_own_class(value: Any) -> bool:
    """Return whether a value is a layer, or of a class that was written in Python outside of NumPy and this library."""
    module = type(value).__module__.split(".")[0]
    is_own = module not in OTHERS or isinstance(value, Layer)
    return hasattr(value, "__dict__") and not isinstance(value, type) and is_own


def _names_of(code: types.CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names_of(constant)
    return names


def _number(value: Any = 0.0) -> Any:
    """Do what float() does, but leave a recorded array as it is."""
    return value if isinstance(value, Recorded) else float(value)


def _as_one(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that is recorded as one operation, if it is given a recorded array."""
    name = function.__name__
    is_activation = name in ACTIVATIONS and ACTIVATIONS[name][0] is function
    is_elementwise = function is erf or (is_activation and Activation(name).is_elementwise)  # type: ignore[arg-type]

    def recorded(*inputs: Any, **options: Any) -> Any:
        if any(isinstance(one, Recorded) for one in (*inputs, *options.values())):
            return apply(function, inputs, options, name, is_elementwise and not options)
        return function(*inputs, **options)

    return recorded


class _Library:
    """A module of this library, each function of which is one operation."""

    def __init__(self, module: types.ModuleType, copies: _Copies) -> None:
        self._module, self._copies = module, copies

    def __getattr__(self, name: str) -> Any:
        return self._copies.stand_in(getattr(self._module, name))


class _NumPy:
    """A stand-in for NumPy whose new arrays are recorded, so that a loop may fill them."""

    def __getattr__(self, name: str) -> Any:
        function = getattr(np, name)
        if name in CREATING:
            return lambda *inputs, **options: _created(function, inputs, options)
        if name in AS_ARRAY:
            return lambda value, *rest, **o: value if isinstance(value, Recorded) else function(value, *rest, **o)
        if name == "array":
            return lambda value, *rest, **options: _array(value, *rest, **options)
        return function


def _created(function: Callable[..., Any], inputs: Sequence[Any], options: dict[str, Any]) -> Any:
    plain = [one.operation.value if isinstance(one, Recorded) else one for one in inputs]
    made = function(*plain, **options)
    return Recorded(Operation(made, text="...")) if made.dtype.kind == "f" else made


def _array(value: Any, *rest: Any, **options: Any) -> Any:
    if isinstance(value, Recorded):
        return value * 1.0
    if isinstance(value, list | tuple) and any(isinstance(one, Recorded) for one in value):
        return np.stack([one if isinstance(one, Recorded) else Recorded(Operation(np.asarray(one))) for one in value])
    return np.array(value, *rest, **options)
