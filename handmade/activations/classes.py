"""Softmax and its logarithm: functions of all classes of a sample at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .. import _numerics as exact
from .._types import Array
from .._validation import as_floating, check_axis

__all__ = [
    "softmax",
    "softmax_backward",
    "log_softmax",
    "log_softmax_backward",
]


def softmax(A: npt.ArrayLike, dim: int = -1) -> Array:
    """Return p_i = e^(a_i) / sum_j e^(a_j) along ``dim`` (System 12).

    The maximum is subtracted from all a first, so that nothing overflows; p stays the same.

    Parameters
    ----------
    A : array_like
        Logits.
    dim : int
        The axis of the classes.

    Returns
    -------
    ndarray
        Probabilities, in the shape of ``A``; they sum to one along ``dim``.

    Examples
    --------
    >>> hm.activations.softmax([[0.0, 0.0], [1e4, 0.0]])
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    A = as_floating(A)
    _, E = exact.exp_below_max(A, check_axis(dim, A, "A"))
    return (E / E.sum(axis=dim, keepdims=True)).astype(A.dtype, copy=False)


def softmax_backward(dH: Array, H: Array, dim: int = -1) -> Array:
    """Return p (dH - sum_j dH_j p_j): the Jacobian is diag(p) - p p^T, not its diagonal alone.

    A constant added to all dH changes nothing, because the p sum to one. So the dH of the largest p is subtracted from
    all dH. Its own becomes 0, and 1 - p, which is inexact for this class, is never computed.

    Examples
    --------
    >>> hm.activations.softmax_backward(np.array([1.0, 0.0]), np.array([0.25, 0.75]))
    array([ 0.1875, -0.1875])
    """
    dim = check_axis(dim, H, "H")
    D = dH - np.take_along_axis(dH, H.argmax(axis=dim, keepdims=True), axis=dim)
    return H * (D - (D * H).sum(axis=dim, keepdims=True))


def log_softmax(A: npt.ArrayLike, dim: int = -1) -> Array:
    """Return log p_i = a_i - max - log(1 + the other terms), which is exact even if p_i is nearly one.

    Examples
    --------
    >>> hm.activations.log_softmax([0.0, -50.0])
    array([-1.92874985e-22, -5.00000000e+01])
    """
    A = as_floating(A)
    H = exact.log_softmax(np.moveaxis(A, check_axis(dim, A, "A"), -1))
    return np.moveaxis(_as_dtype(H, A), -1, dim)


def log_softmax_backward(dH: Array, A: npt.ArrayLike, dim: int = -1) -> Array:
    """Return dH - p sum_j dH_j, summed as dH (1 - p) - p sum_{j != i} dH_j with an exact 1 - p.

    It takes ``A``, not ``H``: in p = e^h, an absolute rounding error of h becomes an equally large relative error of p.

    Examples
    --------
    >>> hm.activations.log_softmax_backward(np.array([1.0, 0.0]), np.log([0.25, 0.75]))
    array([ 0.75, -0.75])
    """
    A = as_floating(A)
    dim = check_axis(dim, A, "A")
    dA = exact.log_softmax_backward(np.moveaxis(dH, dim, -1), np.moveaxis(A, dim, -1))
    return np.moveaxis(_as_dtype(dA, A), -1, dim)


def _as_dtype(values: Array, A: Array) -> Array:
    """Return values in the dtype of ``A``; those that are too large for it become infinite."""
    with np.errstate(over="ignore"):
        return values.astype(A.dtype, copy=False)
