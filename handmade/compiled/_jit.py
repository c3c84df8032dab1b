"""Numba's decorators, and calls by address. With NUMBA_DISABLE_JIT=1 everything is plain Python.

A kernel that contains all activations, losses and optimizers takes half a minute to compile. Numba has no table of
functions whose entries are compiled one by one. So a kernel calls an operation by its address, and each operation is
compiled when a network first needs it, and cached on disk.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

try:
    numba: Any = importlib.import_module("numba")  # Any, because few of its functions are annotated
    cgutils: Any = importlib.import_module("numba.core.cgutils")
    ir: Any = importlib.import_module("llvmlite.ir")
except ImportError as error:
    raise ImportError(f"compile: expected numba, got {error}; install it with handmade[fast]") from error

types = numba.types
F = TypeVar("F", bound=Callable[..., Any])


class Decorator(Protocol):
    """A decorator that returns the type of function that it was given; Numba's own are not annotated."""

    def __call__(self, function: F, /) -> F: ...


PLAIN = bool(numba.config.DISABLE_JIT)
# Only compiled functions call these: they need no wrapper for Python, which takes as long to compile as the function.
OPTIONS: dict[str, Any] = dict(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
SUMS = {"contract", "reassoc"}  # a b + c may be rounded once, and sums may be taken in any order
intrinsic: Callable[[Callable[..., Any]], Callable[..., Any]] = numba.extending.intrinsic
compiled: Decorator = numba.njit(fastmath={"contract"}, forceinline=True, **OPTIONS)
summed: Decorator = numba.njit(fastmath=SUMS, **OPTIONS)
# Numba's cache notices changes only in a function's own file. So each name in the cache contains a hash of all files.
HOME = Path(__file__).parents[1]
FILES = [*sorted(HOME.glob("compiled/*.py")), HOME / "_numerics.py", HOME / "activations/rectifiers.py"]  # constants
SOURCES = hashlib.sha256(b"".join(path.read_bytes() for path in FILES))
# Keys are the name and the id of the signature, one object per dtype: its hash takes longer than a small step.
# The dictionary also keeps the functions alive, without which an address would be that of freed machine code.
_compiled: dict[tuple[str, int], Any] = {}


def copy_of(function: Callable[..., Any], name: str, names: dict[str, Any]) -> FunctionType:
    """Return a copy of the function with another name, for the cache, and with ``names`` in place of some globals."""
    copy = FunctionType(function.__code__, {**function.__globals__, **names}, name)
    copy.__qualname__ = f"{name}_{SOURCES.hexdigest()[:16]}"
    return copy


def _compile(function: Callable[..., Any], signature: Any, **options: Any) -> Any:
    """Return the function compiled, or loaded from the cache on disk; if the cache fails, compile without it."""
    try:
        return numba.njit(signature, cache=True, **options)(function)
    except Exception as error:  # no writable folder, a damaged file, a full disk
        if "cannot cache" not in str(error).lower():
            warnings.warn(
                f"compile: expected Numba's cache on disk to be readable, got {error!r}; delete its files "
                f"*{function.__qualname__}*",
                stacklevel=2,
            )
        return numba.njit(signature, **options)(function)


def entry(function: Callable[..., Any], signature: Any) -> Callable[..., Any]:
    """Return the function, compiled or loaded, for calls from Python; it raises TypeError for arrays of other types."""
    if PLAIN:
        return _checked(function, signature)
    key = function.__name__, id(signature)
    if key not in _compiled:
        copy = copy_of(function, function.__name__, {})
        _compiled[key] = _compile(copy, signature, nogil=True, error_model="numpy")
    compiled: Callable[..., Any] = _compiled[key]
    return compiled


def inlined(function: F) -> F:
    """Return the function such that Numba inlines it into compiled functions that call it."""
    return function if PLAIN else numba.njit(inline="always")(function)


def location(function: Callable[..., Any], signature: Any) -> int:
    """Return the address of the function, compiled or loaded, for `call`."""
    if PLAIN:
        _plain[id(function)] = function
        return id(function)
    _compiled[function.__qualname__, id(signature)] = whole = _compile(function, signature, fastmath=SUMS, **OPTIONS)
    (result,) = whole.overloads.values()
    return int(result.library.get_pointer_to_function(result.fndesc.llvm_func_name))


def by_type(single: F, double: F) -> F:
    """Return a function of one number that calls ``single`` for a float32, and ``double`` for any other type."""

    def choose(x):  # type: ignore[no-untyped-def]  # Numba requires equal signatures of all three
        return single(x) if type(x) is np.float32 else double(x)

    def implementation(x):  # type: ignore[no-untyped-def]
        return (lambda x: single(x)) if x == types.float32 else (lambda x: double(x))

    if not PLAIN:
        numba.extending.overload(choose, jit_options={"forceinline": True})(implementation)
    return choose  # type: ignore[return-value]


@intrinsic
def call(typing: Any, address: Any, arguments: Any) -> Any:
    """Call the compiled operation at an address with a tuple of arguments."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kinds, convention = arguments.types, context.call_conv
        pointer = convention.get_function_type(types.void, kinds).as_pointer()
        given = cgutils.unpack_tuple(builder, values[1], len(kinds))
        function = builder.inttoptr(values[0], pointer)
        status, _ = convention.call_function(builder, function, types.void, kinds, given)
        with cgutils.if_unlikely(builder, status.is_error):
            convention.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.void(address, arguments), generate


@intrinsic
def call_c(typing: Any, address: Any, arguments: Any) -> Any:
    """Call the C function at an address with a tuple of numbers and addresses."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kinds = [context.get_value_type(kind) for kind in arguments.types]
        pointer = ir.FunctionType(ir.VoidType(), kinds).as_pointer()
        builder.call(builder.inttoptr(values[0], pointer), cgutils.unpack_tuple(builder, values[1], len(kinds)))
        return context.get_dummy_value()

    return types.void(address, arguments), generate


@intrinsic
def _pointer(typing: Any, address: Any) -> Any:
    """Turn an integer into a pointer."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.inttoptr(values[0], cgutils.voidptr_t)

    return types.voidptr(address), generate


@compiled
def array_at(address: Any, shape: Any, dtype: Any) -> Any:
    """Return the array of this shape and dtype that starts at an address; nothing is copied."""
    return numba.carray(_pointer(address), shape, dtype)


@compiled
def flat(x: Any) -> Any:
    """Return the numbers of a contiguous array as a vector, which is compiled faster than ``reshape``."""
    return array_at(x.ctypes.data, (x.size,), x.dtype)


# ---- the same in plain Python ----------------------------------------------------------------------------------------

_plain: dict[int, Callable[..., Any]] = {}


def _checked(function: Callable[..., Any], signature: Any) -> Callable[..., Any]:
    """Return the function as it is, except that it raises TypeError for the same arrays as the compiled one."""

    def plain(*arguments: Any) -> Any:
        for argument, expected in zip(arguments, signature.args, strict=True):
            if isinstance(expected, types.Array) and numba.typeof(argument) != expected:
                raise TypeError(f"expected {expected}, got {argument!r}")
        with np.errstate(all="ignore"):
            return function(*arguments)

    return plain


def _call_plain(address: int, arguments: tuple[Any, ...]) -> None:
    _plain[address](*arguments)


def _call_c_plain(address: int, arguments: tuple[Any, ...]) -> None:
    numbers = [np.asarray(argument) for argument in arguments]
    kinds = [np.ctypeslib.as_ctypes_type(number.dtype) for number in numbers]
    ctypes.CFUNCTYPE(None, *kinds)(int(address))(*(number.item() for number in numbers))


def _array_at_plain(address: int, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    size = math.prod(map(int, shape)) * np.dtype(dtype).itemsize
    if size == 0:
        return np.empty(shape, dtype)
    memory: Any = (ctypes.c_byte * size).from_address(int(address))
    return np.ndarray(shape, dtype, memory)


if PLAIN:
    call, call_c, array_at = _call_plain, _call_c_plain, _array_at_plain
