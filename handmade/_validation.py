"""The checks that several doors share."""

from __future__ import annotations

import sys

import numpy as np

Array = np.ndarray
INTEGER = int, np.integer


def floating(A, name: str = "A") -> Array:
    """Give ``A`` as a floating-point array, or say why that is impossible.

    Integers become float64; float32, float64 and complex128 stay as they are.

    Raises
    ------
    TypeError
        If ``A`` holds booleans, text or Python objects.

    Examples
    --------
    >>> floating([1, 2])
    array([1., 2.])
    """
    if type(A) is np.ndarray and A.dtype.kind in "fc":
        return A
    A = np.asarray(A)
    if A.dtype.kind in "fc":
        return A
    if A.dtype.kind in "iu":
        return A.astype(np.float64)
    raise TypeError(f"{name}: expected an array of numbers, got dtype {A.dtype}; convert it with {name}.astype(float)")


def within(A: Array, limit: float) -> bool:
    """Whether all entries are from -limit to limit, which no NaN is; of complex ones, the real parts.

    Where the sum of squares, one quick pass, does not tell, the largest and the smallest entry do.

    Examples
    --------
    >>> within(np.array([3.0, -4.0]), 4.0), within(np.array([3.0, -4.0]), 3.9)
    (True, False)
    """
    if A.flags.forc:
        flat = A.ravel("K")  # a view, whichever way round A lies
        if abs(np.vdot(flat, flat)) < limit * limit:  # which, unlike flat.dot, warns of no overflow
            return True
    return A.size == 0 or (float(A.max().real) <= limit and float(A.min().real) >= -limit)


def check_finite(A: Array, name: str, first_row: int = 0) -> None:
    """Refuse NaN and infinity, quoting the first; ``first_row`` is where A starts in what the user knows.

    Raises
    ------
    ValueError
        If an entry is not finite.

    Examples
    --------
    >>> check_finite(np.array([[1.0, np.nan]]), "X", first_row=100)
    Traceback (most recent call last):
        ...
    ValueError: X: expected finite numbers, got nan at index (100, 1)
    """
    if within(A, sys.float_info.max):
        return
    index = tuple(np.argwhere(~np.isfinite(A))[0].tolist())
    where = (index[0] + first_row, *index[1:]) if index else index
    raise ValueError(f"{name}: expected finite numbers, got {A[index]} at index {where}")


def check_count(value, name: str, least: int = 1) -> int:
    """Give ``value`` as an int of at least ``least``.

    Raises
    ------
    TypeError
        If it is not an integer.
    ValueError
        If it is smaller.

    Examples
    --------
    >>> check_count(0, "out_features")
    Traceback (most recent call last):
        ...
    ValueError: out_features: expected an integer of at least 1, got 0
    """
    if isinstance(value, bool) or not isinstance(value, INTEGER):
        raise TypeError(f"{name}: expected an integer of at least {least}, got {value!r}")
    if value < least:
        raise ValueError(f"{name}: expected an integer of at least {least}, got {value}")
    return int(value)


def check_dtype(dtype) -> np.dtype:
    """Give ``dtype`` as float64 or float32, the two that a network computes in.

    Raises
    ------
    TypeError
        If it is something else.

    Examples
    --------
    >>> check_dtype("float32")
    dtype('float32')
    """
    try:
        known = np.dtype(dtype)
    except TypeError:
        known = None
    # NumPy takes None for float64, also in a comparison.
    if dtype is None or known is None or known not in (np.dtype(np.float64), np.dtype(np.float32)):
        raise TypeError(f"dtype: expected float64 or float32, got {known or repr(dtype)}")
    return known
