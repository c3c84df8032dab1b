"""Sigmoids and their relatives: smooth, monotonic, with two tails."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .. import _numerics as exact
from .._types import Array
from .._validation import as_floating
from .rectifiers import softplus

__all__ = [
    "sigmoid",
    "sigmoid_backward",
    "tanh",
    "tanh_backward",
    "logsigmoid",
    "logsigmoid_backward",
    "softsign",
    "softsign_backward",
    "tanhshrink",
    "tanhshrink_backward",
]


def sigmoid(A: npt.ArrayLike) -> Array:
    """Return s(a) = 1 / (1 + e^-a) (System 10), exact in both tails.

    Parameters
    ----------
    A : array_like
        Pre-activations, any shape.

    Returns
    -------
    ndarray
        The shape of ``A``, values in [0, 1].

    Raises
    ------
    TypeError
        If ``A`` does not hold numbers; all functions of this module raise it then.

    Examples
    --------
    >>> hm.activations.sigmoid([0.0, -710.0, 1e4])
    array([5.00000000e-001, 4.47628623e-309, 1.00000000e+000])
    """
    A = as_floating(A)
    E = exact.exp_minus_abs(A)
    return np.where(A >= 0, 1, E) / (1 + E)


def sigmoid_backward(dH: Array, A: npt.ArrayLike) -> Array:
    """Return dH s(a) (1 - s(a)) (System 10).

    It is computed at -|a|, where 1 - s loses no digits: s'(-a) = s'(a).

    Examples
    --------
    >>> hm.activations.sigmoid_backward(np.ones(2), np.array([0.0, 50.0]))
    array([2.50000000e-01, 1.92874985e-22])
    """
    E = exact.exp_minus_abs(as_floating(A))
    S = E / (1 + E)  # s(-|a|)
    return dH * (S * (1 - S))


def tanh(A: npt.ArrayLike) -> Array:
    """Return tanh(a).

    Examples
    --------
    >>> hm.activations.tanh([0.0, 0.5])
    array([0.        , 0.46211716])
    """
    return np.tanh(as_floating(A))


def tanh_backward(dH: Array, A: npt.ArrayLike) -> Array:
    """Return dH (1 - tanh(a)^2), computed as dH 4 s'(2a), which loses no digits where tanh(a) is nearly 1.

    Examples
    --------
    >>> hm.activations.tanh_backward(np.ones(2), np.array([0.0, 30.0]))
    array([1.00000000e+00, 3.50260431e-26])
    """
    S = exact.exp_minus_abs(as_floating(A), 2)  # e^-|2a|
    S /= 1 + S  # s(-|2a|)
    return dH * (4 * S * (1 - S))


def logsigmoid(A: npt.ArrayLike) -> Array:
    """Return log s(a) = -log(1 + e^-a).

    Examples
    --------
    >>> hm.activations.logsigmoid([0.0, -1000.0])
    array([-6.93147181e-01, -1.00000000e+03])
    """
    return -softplus(-as_floating(A))


def logsigmoid_backward(dH: Array, A: npt.ArrayLike) -> Array:
    """Return dH s(-a)."""
    return dH * sigmoid(-as_floating(A))


def softsign(A: npt.ArrayLike) -> Array:
    """Return a / (1 + |a|) (Bergstra et al. 2009). At infinity it is 1; PyTorch's is NaN.

    Examples
    --------
    >>> hm.activations.softsign([-1.0, 0.0, 3.0])
    array([-0.5 ,  0.  ,  0.75])
    """
    A = as_floating(A)
    limit = min(1e30, float(np.finfo(A.dtype).max))  # the result is 1 from 1e17 on
    A = np.minimum(np.maximum(A, -limit), limit)
    return A / (1 - exact.minus_abs(A))


def softsign_backward(dH: Array, A: npt.ArrayLike) -> Array:
    """Return dH / (1 + |a|)^2.

    Examples
    --------
    >>> hm.activations.softsign_backward(np.ones(3), np.array([-1.0, 0.0, 3.0]))
    array([0.25  , 1.    , 0.0625])
    """
    R = 1 / (1 - exact.minus_abs(as_floating(A)))
    return dH * (R * R)


def tanhshrink(A: npt.ArrayLike) -> Array:
    """Return a - tanh(a). Near 0, where the two are nearly equal, it is the sum of a series.

    Examples
    --------
    >>> hm.activations.tanhshrink([1e-8, 2.0])
    array([3.33333333e-25, 1.03597242e+00])
    """
    A = as_floating(A)
    return np.where(exact.minus_abs(A) > -1.5, exact.tanhshrink_near_0(A), A - np.tanh(A))


def tanhshrink_backward(dH: Array, A: npt.ArrayLike) -> Array:
    """Return dH tanh(a)^2.

    Examples
    --------
    >>> hm.activations.tanhshrink_backward(np.ones(2), np.array([1e-8, 20.0]))
    array([1.e-16, 1.e+00])
    """
    T = np.tanh(as_floating(A))
    return dH * (T * T)
