"""Checks of arguments that several modules share."""

from __future__ import annotations

import inspect
import math
import numbers
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ._types import Array

Name = TypeVar("Name", bound=str)


def as_array(value: Any, name: str = "A") -> Array:
    """Return ``value`` as a plain array in the byte order of this machine, without a copy where possible.

    A tensor of torch that requires grad is detached first. The dtype is left to the caller to check.

    Raises
    ------
    TypeError
        If ``value`` is a masked array or a sparse matrix, from which NumPy would use hidden numbers or lose them, or
        anything else that NumPy cannot read.
    ValueError
        If it holds rows of different lengths.

    Examples
    --------
    >>> from handmade._validation import as_array
    >>> as_array([1, 2])
    array([1, 2])
    >>> as_array(np.ma.array([1.0, 2.0], mask=[False, True]), "X")
    Traceback (most recent call last):
        ...
    TypeError: X: expected an array without a mask, got MaskedArray; fill it with X.filled(value)
    """
    if type(value) is np.ndarray and value.dtype.isnative:
        return value
    if isinstance(value, (list, tuple)):
        if any(_needs_unwrapping(kind) for kind in set(map(type, value))):
            value = [as_array(item, name) for item in value]
    elif _needs_unwrapping(type(value)):
        value = _unwrap(value, name)
    try:
        A = np.asarray(value)
    except Exception as error:  # of NumPy, or of the __array__ of any class
        kind = ValueError if isinstance(error, ValueError) else TypeError
        raise kind(f"{name}: expected an array, got {type(value).__name__} that NumPy cannot read: {error}") from error
    if A.ndim == 0 and A.dtype.kind in "OSUV":  # NumPy makes a dict, a generator or a string one entry
        raise TypeError(f"{name}: expected an array, got {type(value).__name__}")
    return A if A.dtype.isnative else A.astype(A.dtype.newbyteorder("="))


def _needs_unwrapping(kind: type) -> bool:
    """Return whether objects of this type are masked, sparse or tensors of torch."""
    return hasattr(kind, "filled") or hasattr(kind, "toarray") or hasattr(kind, "detach")


def _unwrap(value: Any, name: str) -> Any:
    """Return a tensor without its gradient; raise TypeError for masked and sparse arrays."""
    kind = type(value).__name__
    check_unmasked(value, name)
    if hasattr(value, "toarray"):
        raise TypeError(f"{name}: expected a dense array, got {kind}; convert it with {name}.toarray()")
    return value.detach()


def check_unmasked(value: Any, name: str) -> None:
    """Raise TypeError where ``value``, or an item of a list, is a masked array: NumPy would lose its mask."""
    for item in [value, *value] if isinstance(value, list | tuple) else [value]:
        if hasattr(item, "filled"):
            cure = f"fill it with {name if name.isidentifier() else 'array'}.filled(value)"
            raise TypeError(f"{name}: expected an array without a mask, got {type(item).__name__}; {cure}")


def as_generator(rng: Any) -> np.random.Generator:
    """Return numpy.random.default_rng(rng).

    Raises
    ------
    TypeError, ValueError
        If ``rng`` is neither None, an integer of at least 0, a sequence of them nor a generator.

    Examples
    --------
    >>> from handmade._validation import as_generator
    >>> as_generator(0).integers(10)
    np.int64(8)
    """
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise type(error)(f"rng: expected None, an integer >= 0 or a numpy.random.Generator, got {rng!r}") from error


def as_floating(A: npt.ArrayLike, name: str = "A") -> Array:
    """Return ``A`` as a floating-point array, or raise.

    Integers become float64; float32, float64 and complex128 stay as they are.

    Raises
    ------
    TypeError
        If ``A`` holds booleans, text or Python objects, or `as_array` raises.

    Examples
    --------
    >>> from handmade._validation import as_floating
    >>> as_floating([1, 2])
    array([1., 2.])
    """
    if type(A) is np.ndarray and A.dtype.kind in "fc" and A.dtype.isnative:  # as_array does the same, less quickly
        return A
    A = as_array(A, name)
    if A.dtype.kind in "fc":
        return A
    if A.dtype.kind in "iu":
        return A.astype(np.float64)
    raise not_numbers(A, name, "an array of numbers")


def not_numbers(A: Array, name: str, expected: str = "numbers") -> TypeError:
    """Return the error for an array of another dtype; text is converted only if all of it can be read as numbers.

    Examples
    --------
    >>> from handmade._validation import not_numbers
    >>> not_numbers(np.array(["1", "cat"]), "X")
    TypeError("X: expected numbers, got dtype <U3 with 'cat' at index (1,); replace it by a number")
    """
    text = f"{name}: expected {expected}, got dtype {A.dtype}"
    for index, item in np.ndenumerate(A.astype(object)) if A.dtype.kind in "OSU" else ():
        try:
            float(item)
        except Exception:  # of any object
            return TypeError(f"{text} with {item!r:.40} at index {index}; replace it by a number")
    return TypeError(f"{text}; convert it with {name}.astype(float)")


def all_within(A: Array, limit: float) -> bool:
    """Return whether all entries are from -limit to limit; NaN is not. Of complex ones, the real parts count.

    The sum of squares takes one quick pass. Where it does not decide, the largest and the smallest entry do.

    Examples
    --------
    >>> from handmade._validation import all_within
    >>> all_within(np.array([3.0, -4.0]), 4.0), all_within(np.array([3.0, -4.0]), 3.9)
    (True, False)
    """
    flat = A.ravel("K")  # a view, whichever way round A lies
    if abs(np.vdot(flat, flat)) < limit * limit:  # which, unlike flat.dot, warns of no overflow
        return True
    return A.size == 0 or (float(A.max().real) <= limit and float(A.min().real) >= -limit)


def check_finite(A: Array, name: str, first_row: int = 0) -> None:
    """Raise if A holds NaN or infinity, naming the first; the message counts rows from ``first_row``.

    Raises
    ------
    ValueError
        If an entry is not finite.

    Examples
    --------
    >>> from handmade._validation import check_finite
    >>> check_finite(np.array([[1.0, np.nan]]), "X", first_row=100)
    Traceback (most recent call last):
        ...
    ValueError: X: expected finite numbers, got nan at index (100, 1)
    """
    if all_within(A, sys.float_info.max):
        return
    index = tuple(np.argwhere(~np.isfinite(A))[0].tolist())
    where = (index[0] + first_row, *index[1:]) if index else index
    raise ValueError(f"{name}: expected finite numbers, got {A[index]} at index {where}")


def is_beyond_float(value: Any) -> bool:
    """Return whether a value is an integer or a fraction too large for a float."""
    if isinstance(value, numbers.Real) and not isinstance(value, np.timedelta64):
        try:
            float(value)
        except OverflowError:
            return True
    return False


def shown(value: Any) -> str:
    """Return the text of a value for a message; Python refuses to print integers of more than 4300 digits.

    Examples
    --------
    >>> from handmade._validation import shown
    >>> shown(0.5), shown(-(10**5000))
    ('0.5', 'an integer beyond 1e308')
    """
    if is_beyond_float(value):
        return f"{'an integer' if isinstance(value, int) else 'a number'} beyond 1e308"
    return repr(value)


def is_integer(value: Any) -> bool:
    """Return whether a value is an integer of Python or NumPy, and neither a bool nor a timedelta64."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.timedelta64))


def check_count(value: Any, name: str, least: int = 1) -> int:
    """Return ``value`` as an int of at least ``least``.

    Raises
    ------
    TypeError
        If it is not an integer.
    ValueError
        If it is smaller, or larger than sys.maxsize.

    Examples
    --------
    >>> from handmade._validation import check_count
    >>> check_count(0, "out_features")
    Traceback (most recent call last):
        ...
    ValueError: out_features: expected an integer of at least 1, got 0
    """
    if not is_integer(value):
        raise TypeError(f"{name}: expected an integer of at least {least}, got {value!r}")
    if value < least:
        raise ValueError(f"{name}: expected an integer of at least {least}, got {shown(int(value))}")
    if value > sys.maxsize:
        raise ValueError(f"{name}: expected an integer of at most {sys.maxsize}, got a larger one")
    return int(value)


def check_axis(dim: Any, array: Array, name: str) -> int:
    """Return ``dim`` as an int that is an axis of the array.

    Raises
    ------
    TypeError
        If it is not an integer.
    ValueError
        If the array has no such axis.

    Examples
    --------
    >>> from handmade._validation import check_axis
    >>> check_axis(2, np.zeros((3, 4)), "A")
    Traceback (most recent call last):
        ...
    ValueError: dim: expected an axis of A, whose shape is (3, 4), got 2
    """
    if not is_integer(dim):
        raise TypeError(f"dim: expected an integer, got {dim!r}")
    if not -array.ndim <= dim < array.ndim:
        raise ValueError(f"dim: expected an axis of {name}, whose shape is {array.shape}, got {dim}")
    return int(dim)


def check_dtype(dtype: Any) -> np.dtype[Any]:
    """Return ``dtype`` as float64 or float32, the two dtypes of networks.

    Raises
    ------
    TypeError
        If it is something else.

    Examples
    --------
    >>> from handmade._validation import check_dtype
    >>> check_dtype("float32")
    dtype('float32')
    """
    try:
        known = None if isinstance(dtype, np.generic) else np.dtype(dtype)  # which takes that of a NumPy number
    except (TypeError, ValueError):
        known = None
    # NumPy takes None for float64, also in a comparison.
    if dtype is None or known is None or known not in (np.dtype(np.float64), np.dtype(np.float32)):
        raise TypeError(f"dtype: expected float64 or float32, got {known or repr(dtype)}")
    return known


def number(expected: str, accepts: Callable[[Any], bool]) -> Callable[[Any, str], float]:
    """Return a function check(value, name), which returns value as a float or raises, naming what was expected."""

    def check(value: Any, name: str) -> float:
        # bool and timedelta64 are numbers, too; here, they are arguments in the wrong place.
        if isinstance(value, (bool, np.timedelta64)) or not isinstance(value, numbers.Real):
            raise TypeError(f"{name}: expected {expected}, got {value!r} of type {type(value).__name__}")
        if is_beyond_float(value) or not accepts(float(value)):  # a float16 may be too small for the bounds
            raise ValueError(f"{name}: expected {expected}, got {shown(value)}")
        return float(value)

    return check


finite = number("a finite number", math.isfinite)
nonzero = number("a finite number other than 0", lambda x: math.isfinite(x) and x != 0)
not_nan = number("a number", lambda x: not math.isnan(x))
nonnegative = number("a finite number >= 0", lambda x: 0 <= x < math.inf)
positive = number("a finite number > 0", lambda x: 0 < x < math.inf)
nonnegative_or_infinite = number("a number >= 0", lambda x: x >= 0)
positive_or_infinite = number("a number > 0", lambda x: x > 0)
up_to_one = number("a number in [0, 1]", lambda x: 0 <= x <= 1)
below_one = number("a number in [0, 1)", lambda x: 0 <= x < 1)


def check_choice(value: Any, name: str, choices: Iterable[Name]) -> Name:
    """Return ``value`` if it is one of the choices; otherwise raise, naming the nearest choice.

    Raises
    ------
    ValueError
        If it is not one of the choices.

    Examples
    --------
    >>> from handmade._validation import check_choice
    >>> check_choice("ReLU", "activation", ["tanh", "relu"])
    Traceback (most recent call last):
        ...
    ValueError: activation: expected one of tanh, relu; got 'ReLU'; did you mean 'relu'?
    """
    choices = list(choices)
    for choice in choices:
        if isinstance(value, str) and value == choice:
            return choice
    import difflib  # only for the message

    near = difflib.get_close_matches(str(value).lower(), choices, 1, 0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{name}: expected one of {', '.join(choices)}; got {value!r}{hint}")


def check_bool(value: Any, name: str) -> bool:
    """Return value, or raise if it is not a bool."""
    if not isinstance(value, bool):
        raise TypeError(f"{name}: expected True or False, got {value!r}")
    return value


def patched_method(thing: Any) -> str:
    """Return the name of the first method that an instance overrides in its own ``__dict__``, or an empty string."""
    return next(
        (name for name in getattr(thing, "__dict__", {}) if inspect.isroutine(getattr(type(thing), name, 0))), ""
    )


def check_methods(thing: Any, caller: str, error: type[Exception] = ValueError) -> None:
    """Raise if an instance has a method of its own, which code that knows only its class would not call."""
    if name := patched_method(thing):
        raise error(
            f"{caller}: expected {type(thing).__name__} with the {name} of its class, got one of the instance's own; "
            f"delete that, or use the NumPy code"
        )


def is_true(answer: Any) -> bool:
    """Return whether the result of a user's function is Python's or NumPy's True."""
    return isinstance(answer, bool | np.bool_) and bool(answer)


STATE: Mapping[str, list[tuple[str, ...]]] = {  # methods that training and checkpoints call, and with what
    "state_dict": [()],
    "load_state_dict": [("state_dict",), ("state_dict", "network")],
}


def check_hooks(part: Any, name: str, hooks: Mapping[str, list[tuple[str, ...]]] = STATE) -> None:
    """Raise where a part has a method that cannot be called with one of these lists of arguments."""
    for hook, arguments in hooks.items():
        method = getattr(part, hook, None)
        if method is not None and not (callable(method) and any(takes(method, len(one)) for one in arguments)):
            expected = f"{hook}({', '.join(arguments[0])})"
            raise TypeError(f"{name}: expected a method {expected}, got {method!r} of {part!r}")


def takes(function: Callable[..., Any], count: int) -> bool:
    """Return whether a function can be called with so many arguments; True where Python does not know."""
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # some functions written in C; a method without self
        return not inspect.ismethod(function)
    return True


def call(function: Callable[..., Any], name: str, expected: str, *arguments: Any, **options: Any) -> Any:
    """Return what a user's function returns; raise TypeError, beginning with a name, where it takes something else.

    An error from within the function, which has a traceback of its own, stays as it is.

    Examples
    --------
    >>> from handmade._validation import call
    >>> call(len, "scale_fn", "of a count", 3)
    Traceback (most recent call last):
        ...
    TypeError: scale_fn: expected a function of a count, got <built-in function len>: object of type 'int' has no len()
    """
    try:
        return function(*arguments, **options)
    except (TypeError, ValueError) as error:
        if error.__traceback__ is None or error.__traceback__.tb_next is not None:
            raise
        raise TypeError(f"{name}: expected a function {expected}, got {function!r}: {error}") from error


def parameters_of(function: Callable[..., Any]) -> list[str]:
    """Return the names of a function's parameters; none where Python does not know them."""
    try:
        return list(inspect.signature(function).parameters)
    except ValueError:
        return []
