"""Hostile arguments: arrays of any dtype, order, class and content, and things that are no arrays at all."""

from __future__ import annotations

import datetime
import decimal
import fractions
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse
import torch

from .mutate import pick

__all__ = ["ARRAYS", "Hostile", "dress", "draw_array", "draw_junk", "draw_numbers", "draw_shape"]

REFUSED = object()


class Hostile(NamedTuple):
    """An argument as a caller may pass it, and the same numbers as a plain array, or REFUSED if no call may take it."""

    value: Any
    clean: Any
    kind: str

    @property
    def is_refused(self) -> bool:
        """Return whether every function has to refuse the argument."""
        return self.clean is REFUSED


class Special(np.ndarray):
    """A subclass of ndarray."""


class ArrayLike:
    """An object that only NumPy's protocol turns into an array."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.array if dtype is None else self.array.astype(dtype)


# ---- numbers -----------------------------------------------------------------------------------------------------


def draw_shape(rng: np.random.Generator) -> tuple[int, ...]:
    """Return a small shape of up to three axes, an empty one now and then."""
    ndim = pick(rng, [0, 1, 1, 2, 2, 2, 3])
    return tuple(int(rng.integers(0 if rng.random() < 0.1 else 1, 7)) for _ in range(ndim))


def draw_numbers(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return real numbers of ordinary and of extreme size, float64 or float32."""
    dtype = pick(rng, [np.float64, np.float64, np.float32])
    info, normal = np.finfo(dtype), rng.normal(size=shape)
    with np.errstate(all="ignore"):
        numbers = pick(
            rng,
            [
                lambda: normal,
                lambda: normal,
                lambda: 100 * normal,
                lambda: rng.integers(-2, 3, shape).astype(float),
                lambda: np.zeros(shape) * np.where(normal < 0, -1, 1),
                lambda: np.full(shape, 0.1),
                lambda: normal * info.smallest_subnormal * 3,
                lambda: np.sign(normal) * info.max,
                lambda: normal * float(info.max) ** 0.5,
                lambda: normal * 10.0 ** rng.integers(-30, 30, shape),
            ],
        )().astype(dtype)
    if rng.random() < 0.15 and numbers.size:
        numbers = np.array(numbers)
        numbers.flat[int(rng.integers(numbers.size))] = pick(rng, [np.nan, np.inf, -np.inf])
    return np.asarray(numbers, dtype)


def draw_array(
    rng: np.random.Generator, shape: tuple[int, ...], make: Callable[..., np.ndarray] = draw_numbers
) -> Hostile:
    """Return an array of this shape, or something that looks like one, as a hostile argument."""
    if rng.random() < 0.05:
        return draw_junk(rng)
    return dress(rng, make(rng, shape))


# ---- dresses: the same numbers in other clothes ------------------------------------------------------------------


def dress(rng: np.random.Generator, array: np.ndarray) -> Hostile:
    """Return the array in a class, an order or a container drawn at random."""
    array, name = np.asarray(array), pick(rng, list(DRESSES))
    if array.ndim == 0 and name in NEED_AXES:
        name = "plain"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # np.matrix is deprecated
            value = DRESSES[name](array)
    except (ValueError, TypeError, RuntimeError):  # e.g. a matrix of three axes
        name, value = "plain", array
    if name in REFUSED_DRESSES:
        return Hostile(value, REFUSED, name)
    return Hostile(value, np.array(value if name in ("list", "tuples") else array, order="C"), name)


def _unaligned(array: np.ndarray) -> np.ndarray:
    buffer = np.zeros(array.nbytes + 1, np.uint8)
    view = buffer[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def _read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.setflags(write=False)
    return array


def _frame(array: np.ndarray) -> Any:
    if array.ndim == 2 and array.shape[1] == 0:
        raise ValueError  # a DataFrame keeps the dtype in its columns
    return pd.Series(array) if array.ndim == 1 else pd.DataFrame(array)


def _records(array: np.ndarray) -> np.ndarray:
    return np.zeros(array.shape, [("a", "f8"), ("b", "i4")])


DRESSES: dict[str, Callable[[np.ndarray], Any]] = {
    "plain": lambda a: a,
    "Fortran's order": np.asfortranarray,
    "reversed": lambda a: a[::-1].copy()[::-1],
    "every other": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "swapped axes": lambda a: np.ascontiguousarray(a.T).T,
    "unaligned": _unaligned,
    "other byte order": lambda a: a.astype(a.dtype.newbyteorder()),
    "read-only": _read_only,
    "subclass": lambda a: a.view(Special),
    "matrix": lambda a: np.matrix(a) if a.ndim == 2 else _fail(),
    "list": lambda a: _exactly_float64(a).tolist(),
    "tuples": lambda a: tuple(map(tuple, _exactly_float64(a).tolist())) if a.ndim == 2 else _fail(),
    "tensor": lambda a: torch.from_numpy(a.copy()),
    "tensor with gradient": lambda a: torch.from_numpy(a.copy()).requires_grad_(),
    "pandas": _frame,
    "memoryview": lambda a: memoryview(np.ascontiguousarray(a)),
    "array-like": ArrayLike,
    "masked": lambda a: np.ma.array(a, mask=np.zeros(a.shape, bool)),
    "list of masked": lambda a: [np.ma.array(row) for row in a] if a.ndim == 2 and len(a) else _fail(),
    "sparse": lambda a: scipy.sparse.csr_array(a) if a.ndim == 2 else _fail(),
    "sparse matrix": lambda a: scipy.sparse.csr_matrix(a) if a.ndim == 2 else _fail(),
    "objects": lambda a: a.astype(object),
    "text": lambda a: a.astype(str),
    "bytes": lambda a: a.astype("S"),
    "dates": lambda a: np.zeros(a.shape, "datetime64[s]"),
    "records": _records,
}
ARRAYS = {"plain", "Fortran's order", "reversed", "every other", "swapped axes", "unaligned", "read-only"}  # of NumPy
NEED_AXES = {"Fortran's order", "reversed", "every other", "swapped axes", "memoryview", "pandas"}
REFUSED_DRESSES = {
    *("masked", "list of masked", "sparse", "sparse matrix", "objects", "text", "bytes", "dates", "records"),
}


def _fail() -> Any:
    raise ValueError


def _exactly_float64(array: np.ndarray) -> np.ndarray:
    """Refuse other floats than float64, as a list forgets the dtype, and empty arrays, whose shape it forgets."""
    if (array.dtype.kind == "f" and array.dtype != np.float64) or array.size == 0:
        raise ValueError
    return array


# ---- junk --------------------------------------------------------------------------------------------------------


def draw_junk(rng: np.random.Generator) -> Hostile:
    """Return something that is no array of numbers."""
    make = pick(rng, JUNK)
    return Hostile(make(), REFUSED, "junk")


JUNK: list[Callable[[], Any]] = [
    lambda: None,
    lambda: "text",
    lambda: b"bytes",
    lambda: {},
    lambda: {1: 2},
    lambda: {1.0, 2.0},
    lambda: object(),
    lambda: len,
    lambda: (n for n in range(3)),
    lambda: range,
    lambda: [[1.0, 2.0], [3.0]],
    lambda: [1.0, "a"],
    lambda: [None, 1.0],
    lambda: [10**400],
    lambda: 10**400,
    lambda: decimal.Decimal("0.1"),
    lambda: fractions.Fraction(1, 3),
    lambda: datetime.date(2020, 1, 1),
    lambda: np.datetime64("NaT"),
    lambda: Ellipsis,
    lambda: NotImplemented,
    lambda: np.array("text"),
    lambda: np.array(["a", "b"], object),
    lambda: pd.NA,
    lambda: pd.Series(["a", None]),
    lambda: slice(3),
]
