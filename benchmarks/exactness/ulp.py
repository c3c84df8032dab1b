"""Errors in units in the last place (ULP).

The ULP of an exact value v is the distance from v, rounded to the dtype, to the next larger number in magnitude
(``np.spacing``). For subnormal numbers and 0, it is the smallest subnormal number. A correctly rounded result has an
error of at most half an ULP.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import mpmath
import numpy as np
import numpy.typing as npt
from mpmath import mpf

__all__ = ["DIGITS", "Exact", "ulp_errors"]

Array = npt.NDArray[Any]

DIGITS = 50


@dataclasses.dataclass(frozen=True)
class Exact:
    """An array of exact values, as three arrays of float64: value = rounded + remainder * ulp.

    Attributes
    ----------
    rounded : ndarray
        The value, rounded to the dtype.
    ulp : ndarray
        The ULP of the value.
    remainder : ndarray
        The rounding error, in ULP.
    """

    rounded: Array
    ulp: Array
    remainder: Array

    @classmethod
    def of(cls, values: Iterable[mpmath.mpf], dtype: npt.DTypeLike) -> Exact:
        """Return the exact values for mpmath numbers: rounded to a dtype, with remainders."""
        values = list(values)
        nearest = np.array([float(v) for v in values]).astype(dtype)
        rounded, ulp = nearest.astype(float), np.abs(np.spacing(np.abs(nearest)).astype(float))
        with mpmath.workdps(DIGITS):
            left = [(v - mpf(r)) / mpf(u) for v, r, u in zip(values, rounded.tolist(), ulp.tolist(), strict=True)]
        return cls(rounded, ulp, np.array([float(x) for x in left]))


def ulp_errors(results: Array, exact: Exact) -> Array:
    """Return |result - value| in ULP of the value, entry by entry; infinite where the result is not a number.

    Examples
    --------
    >>> with mpmath.workdps(50):
    ...     third = Exact.of([mpf(1) / 3], np.float64)
    >>> ulp_errors(np.array([1 / 3]), third)  # the nearest number to 1/3 is a third of an ULP away
    array([0.33333333])
    >>> ulp_errors(np.nextafter([1 / 3], 1), third)
    array([0.66666667])
    """
    with np.errstate(over="ignore", invalid="ignore"):
        errors = np.abs((results.ravel().astype(float) - exact.rounded) / exact.ulp - exact.remainder)
    return np.where(np.isnan(errors), np.inf, errors)
