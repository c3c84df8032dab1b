"""Piecewise functions: lines that meet in kinks. The derivative at a kink is that of one side, as in PyTorch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .. import _numerics as exact
from .._types import Array
from .._validation import as_floating, finite, nonnegative

__all__ = [
    "identity",
    "identity_backward",
    "relu",
    "relu_backward",
    "leaky_relu",
    "leaky_relu_backward",
    "relu6",
    "relu6_backward",
    "threshold",
    "threshold_backward",
    "hardtanh",
    "hardtanh_backward",
    "hardsigmoid",
    "hardsigmoid_backward",
    "hardswish",
    "hardswish_backward",
    "softshrink",
    "softshrink_backward",
    "hardshrink",
    "hardshrink_backward",
]

# A bound too large for the dtype becomes infinite, and comparisons with it are still right.
bounds_may_overflow = np.errstate(over="ignore")


def identity(A: npt.ArrayLike) -> Array:
    """Return a copy of A: the linear unit, f(a) = a.

    Examples
    --------
    >>> hm.activations.identity([-1.0, 2.0])
    array([-1.,  2.])
    """
    return np.positive(as_floating(A))


def identity_backward(dH: Array, H: Array) -> Array:
    """Return dH: f'(a) = 1."""
    return np.positive(dH)


def relu(A: npt.ArrayLike) -> Array:
    """Return max(a, 0).

    Examples
    --------
    >>> hm.activations.relu([-1.0, 0.0, 2.0])
    array([0., 0., 2.])
    """
    return np.maximum(as_floating(A), exact.ZERO)


def relu_backward(dH: Array, H: Array) -> Array:
    """Return dH where a > 0, else 0. At the kink, a = 0, the derivative is 0, as in PyTorch.

    The derivative is the sign of H: 1 where h > 0, and 0 where h = 0, because h is never negative.

    Examples
    --------
    >>> hm.activations.relu_backward(np.array([5.0, 5.0, 5.0]), np.array([0.0, 0.0, 2.0]))
    array([0., 0., 5.])
    """
    return dH * np.sign(H)


def leaky_relu(A: npt.ArrayLike, negative_slope: float = 0.01) -> Array:
    """Return a where a > 0, else negative_slope a (Maas, Hannun and Ng 2013).

    Examples
    --------
    >>> hm.activations.leaky_relu([-1.0, 2.0], negative_slope=0.1)
    array([-0.1,  2. ])
    """
    A = as_floating(A)
    return np.where(A > 0, A, finite(negative_slope, "negative_slope") * A)


def leaky_relu_backward(dH: Array, A: npt.ArrayLike, negative_slope: float = 0.01) -> Array:
    """Return dH where a > 0, else negative_slope dH; at the kink, too, as in PyTorch.

    Examples
    --------
    >>> hm.activations.leaky_relu_backward(np.array([5.0, 5.0]), np.array([-1.0, 2.0]), negative_slope=0.1)
    array([0.5, 5. ])
    """
    return np.where(as_floating(A) > 0, dH, finite(negative_slope, "negative_slope") * dH)


def relu6(A: npt.ArrayLike) -> Array:
    """Return min(max(a, 0), 6) (Krizhevsky 2010): `hardtanh` from 0 to 6.

    Examples
    --------
    >>> hm.activations.relu6([-1.0, 2.0, 7.0])
    array([0., 2., 6.])
    """
    return hardtanh(A, 0.0, 6.0)


def relu6_backward(dH: Array, A: npt.ArrayLike) -> Array:
    """Return dH where 0 < a < 6, else 0; at both kinks 0, as in PyTorch.

    Examples
    --------
    >>> hm.activations.relu6_backward(np.ones(3), np.array([0.0, 2.0, 6.0]))
    array([0., 1., 0.])
    """
    return hardtanh_backward(dH, A, 0.0, 6.0)


@bounds_may_overflow
def threshold(A: npt.ArrayLike, threshold: float = 0.0, value: float = 0.0) -> Array:
    """Return a where a > threshold, else value. PyTorch gives the options no defaults; with these, it is `relu`.

    Examples
    --------
    >>> hm.activations.threshold([0.5, 1.0, 2.0], threshold=1.0, value=-3.0)
    array([-3., -3.,  2.])
    """
    A = as_floating(A)
    return np.where(finite(threshold, "threshold") >= A, A.dtype.type(finite(value, "value")), A)


@bounds_may_overflow
def threshold_backward(dH: Array, A: npt.ArrayLike, threshold: float = 0.0, value: float = 0.0) -> Array:
    """Return dH where a > threshold, else 0; at the kink, too, as in PyTorch.

    Examples
    --------
    >>> hm.activations.threshold_backward(np.ones(2), np.array([1.0, 2.0]), threshold=1.0)
    array([0., 1.])
    """
    finite(value, "value")
    return np.where(as_floating(A) <= finite(threshold, "threshold"), 0, dH)


@bounds_may_overflow
def hardtanh(A: npt.ArrayLike, min_val: float = -1.0, max_val: float = 1.0) -> Array:
    """Return a, clipped to [min_val, max_val] (Collobert 2004).

    Raises
    ------
    ValueError
        If ``min_val`` is above ``max_val``.

    Examples
    --------
    >>> hm.activations.hardtanh([-2.0, 0.5, 2.0])
    array([-1. ,  0.5,  1. ])
    """
    A = as_floating(A)
    low, high = _interval(min_val, max_val)
    return np.minimum(np.maximum(A, low), high)


@bounds_may_overflow
def hardtanh_backward(dH: Array, A: npt.ArrayLike, min_val: float = -1.0, max_val: float = 1.0) -> Array:
    """Return dH where min_val < a < max_val, else 0; at both kinks 0, as in PyTorch.

    Examples
    --------
    >>> hm.activations.hardtanh_backward(np.ones(3), np.array([-1.0, 0.5, 1.0]))
    array([0., 1., 0.])
    """
    A = as_floating(A)
    low, high = _interval(min_val, max_val)
    return np.where((low < A) & (high > A), dH, 0)


def _interval(min_val: float, max_val: float) -> tuple[float, float]:
    """Return both bounds; raise if they are in the wrong order."""
    low, high = finite(min_val, "min_val"), finite(max_val, "max_val")
    if low > high:
        raise ValueError(f"min_val: expected at most max_val, {high}, got {low}")
    return low, high


def hardsigmoid(A: npt.ArrayLike) -> Array:
    """Return relu6(a + 3) / 6 (Courbariaux, Bengio and David 2015, with the slope of PyTorch).

    Examples
    --------
    >>> hm.activations.hardsigmoid([-4.0, 0.0, 1.5])
    array([0.  , 0.5 , 0.75])
    """
    return hardtanh(as_floating(A) + 3, 0.0, 6.0) / 6


def hardsigmoid_backward(dH: Array, A: npt.ArrayLike) -> Array:
    """Return dH / 6 where -3 < a < 3, else 0. PyTorch rounds the 1/6 to float32, in float64 too.

    Examples
    --------
    >>> hm.activations.hardsigmoid_backward(np.ones(3), np.array([-3.0, 0.0, 3.0]))
    array([0.        , 0.16666667, 0.        ])
    """
    return hardtanh_backward(dH, A, -3.0, 3.0) / 6


def hardswish(A: npt.ArrayLike) -> Array:
    """Return a hardsigmoid(a) (Howard et al. 2019). At minus infinity it is 0; PyTorch's is NaN.

    Examples
    --------
    >>> hm.activations.hardswish([-4.0, 1.0, 4.0])
    array([-0.        ,  0.66666667,  4.        ])
    """
    A = as_floating(A)
    return np.maximum(A, -3) * hardsigmoid(A)


def hardswish_backward(dH: Array, A: npt.ArrayLike) -> Array:
    """Return dH times 0 for a <= -3, 1 for a >= 3, and (a + 1.5) / 3 between.

    Examples
    --------
    >>> hm.activations.hardswish_backward(np.ones(4), np.array([-3.0, -1.5, 0.0, 3.0]))
    array([0. , 0. , 0.5, 1. ])
    """
    A = as_floating(A)
    return dH * np.where(A <= -3, 0, np.where(A >= 3, 1, (A + 1.5) / 3))


@bounds_may_overflow
def softshrink(A: npt.ArrayLike, lambd: float = 0.5) -> Array:
    """Return a - lambd where a > lambd, a + lambd where a < -lambd, else 0 (Donoho and Johnstone 1994).

    Raises
    ------
    ValueError
        If ``lambd`` is negative.

    Examples
    --------
    >>> hm.activations.softshrink([-2.0, 0.5, 2.0])
    array([-1.5,  0. ,  1.5])
    """
    A = as_floating(A)
    return A - hardtanh(A, -nonnegative(lambd, "lambd"), float(lambd))


@bounds_may_overflow
def softshrink_backward(dH: Array, A: npt.ArrayLike, lambd: float = 0.5) -> Array:
    """Return dH where |a| > lambd, else 0; at both kinks 0, as in PyTorch.

    Examples
    --------
    >>> hm.activations.softshrink_backward(np.ones(3), np.array([-2.0, 0.5, 2.0]))
    array([1., 0., 1.])
    """
    return hardshrink_backward(dH, A, nonnegative(lambd, "lambd"))


@bounds_may_overflow
def hardshrink(A: npt.ArrayLike, lambd: float = 0.5) -> Array:
    """Return a where |a| > lambd, else 0 (Donoho and Johnstone 1994).

    Examples
    --------
    >>> hm.activations.hardshrink([-2.0, 0.5, 2.0])
    array([-2.,  0.,  2.])
    """
    A = as_floating(A)
    return np.where(exact.minus_abs(A) >= -finite(lambd, "lambd"), 0, A)  # 0 where |a| <= lambd


@bounds_may_overflow
def hardshrink_backward(dH: Array, A: npt.ArrayLike, lambd: float = 0.5) -> Array:
    """Return dH where |a| > lambd, else 0; 0 at both jumps, too, as in PyTorch.

    Examples
    --------
    >>> hm.activations.hardshrink_backward(np.ones(3), np.array([-2.0, 0.5, 2.0]))
    array([1., 0., 1.])
    """
    return np.where(exact.minus_abs(as_floating(A)) < -finite(lambd, "lambd"), dH, 0)
