"""2. Activations: ``f(A)`` and, directly under it, ``f_backward(dH, ...)``.

The contract of every pair, without exception:

* ``H = f(A)`` maps pre-activations to activations of the same shape, in a new array.
* ``dA = f_backward(dH, A)`` or ``dA = f_backward(dH, H)`` takes the upstream gradient first and asks by name for the
  one array that it needs: the pre-activation ``A`` or the activation ``H``. Options follow, as keywords.

Every formula keeps its digits for large |a| too. 1 - s(a), say, subtracts nearly equal numbers where a is large; at
-|a| it does not, so slopes are computed there. Where that takes more than a line, it stands in `handmade._numerics`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from . import _numerics as exact
from ._validation import as_floating, check_axis, finite, positive
from .protocols import ActivationName, ActivationPair

__all__ = [
    "identity",
    "identity_backward",
    "sigmoid",
    "sigmoid_backward",
    "tanh",
    "tanh_backward",
    "relu",
    "relu_backward",
    "leaky_relu",
    "leaky_relu_backward",
    "elu",
    "elu_backward",
    "gelu",
    "gelu_backward",
    "silu",
    "silu_backward",
    "softplus",
    "softplus_backward",
    "softmax",
    "softmax_backward",
    "log_softmax",
    "log_softmax_backward",
]

Array = npt.NDArray[Any]


def identity(A: npt.ArrayLike) -> Array:
    """Return A unchanged: the linear unit, f(a) = a.

    Examples
    --------
    >>> hm.activations.identity([-1.0, 2.0])
    array([-1.,  2.])
    """
    return np.positive(as_floating(A))


def identity_backward(dH: Array, H: Array) -> Array:
    """Return dH: f'(a) = 1."""
    return np.positive(dH)


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
        If ``A`` does not hold numbers. So do all functions of this module.

    Examples
    --------
    >>> hm.activations.sigmoid([0.0, -710.0, 1e4])
    array([5.00000000e-001, 4.47628623e-309, 1.00000000e+000])
    """
    A = as_floating(A)
    E = exact.exp_minus_abs(A)
    return np.where(A >= 0, 1, E) / (1 + E)


def sigmoid_backward(dH: Array, A: npt.ArrayLike) -> Array:
    """Return dH s(a) (1 - s(a)) (System 10), computed at -|a|: s' is even, and there 1 - s loses no digit.

    Examples
    --------
    >>> hm.activations.sigmoid_backward(np.ones(2), np.array([0.0, 50.0]))
    array([2.50000000e-01, 1.92874985e-22])
    """
    E = exact.exp_minus_abs(as_floating(A))
    S = E / (1 + E)
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
    """Return dH (1 - tanh(a)^2) = dH 4 s'(2a), which does not cancel where tanh is near 1.

    Examples
    --------
    >>> hm.activations.tanh_backward(np.ones(2), np.array([0.0, 30.0]))
    array([1.00000000e+00, 3.50260431e-26])
    """
    E = exact.exp_minus_abs(as_floating(A), 2)
    S = E / (1 + E)
    return dH * (4 * S * (1 - S))


def relu(A: npt.ArrayLike) -> Array:
    """Return max(a, 0).

    Examples
    --------
    >>> hm.activations.relu([-1.0, 0.0, 2.0])
    array([0., 0., 2.])
    """
    return np.maximum(as_floating(A), exact.ZERO)


def relu_backward(dH: Array, H: Array) -> Array:
    """Return dH where a > 0, else 0; at the kink a = 0 the derivative is taken as 0, as in PyTorch.

    The derivative is the sign of H: 1 where h > 0, else 0.

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
    """Return dH where a > 0, else negative_slope dH; also at the kink, as in PyTorch.

    Examples
    --------
    >>> hm.activations.leaky_relu_backward(np.array([5.0, 5.0]), np.array([-1.0, 2.0]), negative_slope=0.1)
    array([0.5, 5. ])
    """
    return np.where(as_floating(A) > 0, dH, finite(negative_slope, "negative_slope") * dH)


def elu(A: npt.ArrayLike, alpha: float = 1.0) -> Array:
    """Return a where a > 0, else alpha (e^a - 1) (Clevert, Unterthiner and Hochreiter 2016).

    Examples
    --------
    >>> hm.activations.elu([-1.0, 2.0])
    array([-0.63212056,  2.        ])
    """
    A = as_floating(A)
    return np.where(A > 0, A, finite(alpha, "alpha") * np.expm1(np.minimum(A, 0)))


def elu_backward(dH: Array, A: npt.ArrayLike, alpha: float = 1.0) -> Array:
    """Return dH where a > 0, else dH alpha e^a. (From ``H`` it would be h + alpha, which cancels far below 0.)

    Examples
    --------
    >>> hm.activations.elu_backward(np.ones(2), np.array([-100.0, 2.0]))
    array([3.72007598e-44, 1.00000000e+00])
    """
    A = as_floating(A)
    return dH * np.where(A > 0, 1, finite(alpha, "alpha") * np.exp(np.minimum(A, 0)))


Approximate = Literal["none", "tanh"]
_GELU = {
    "none": (exact.gelu_tail, exact.gelu_slope_below),
    "tanh": (exact.gelu_tanh_tail, exact.gelu_tanh_slope_below),
}


def _gelu_parts(approximate: str) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    """Return |a| Phi(-|a|) and the slope at -|a| as functions of a."""
    if not isinstance(approximate, str) or approximate not in _GELU:
        raise ValueError(f"approximate: expected 'none' or 'tanh', got {approximate!r}")
    return _GELU[approximate]


def gelu(A: npt.ArrayLike, approximate: Approximate = "none") -> Array:
    """Return a Phi(a) (Hendrycks and Gimpel 2016), or its tanh approximation.

    Phi is the cumulative distribution function of the standard normal distribution, and phi its density.

    Parameters
    ----------
    A : array_like
        Pre-activations, any shape.
    approximate : {"none", "tanh"}
        "tanh": a (1 + tanh(sqrt(2/pi) (a + 0.044715 a^3))) / 2.

    Returns
    -------
    ndarray
        The shape of ``A``.

    Raises
    ------
    ValueError
        If ``approximate`` is neither of the two.

    Examples
    --------
    >>> hm.activations.gelu([1.0, -10.0])
    array([ 8.41344746e-01, -7.61985302e-23])
    >>> hm.activations.gelu([1.0, -10.0], approximate="tanh")
    array([ 8.41191991e-01, -1.20409235e-37])
    """
    tail, _ = _gelu_parts(approximate)
    A = as_floating(A)
    return np.maximum(A, 0) - tail(A)


def gelu_backward(dH: Array, A: npt.ArrayLike, approximate: Approximate = "none") -> Array:
    """Return dH (Phi(a) + a phi(a)); the slope is computed at -|a|, as f'(a) = 1 - f'(-a).

    Examples
    --------
    >>> hm.activations.gelu_backward(np.ones(2), np.array([0.0, 1.0]))
    array([0.5       , 1.08331547])
    """
    _, slope_below = _gelu_parts(approximate)
    A = as_floating(A)
    S = slope_below(A)
    return dH * np.where(A >= 0, 1 - S, S)


def silu(A: npt.ArrayLike) -> Array:
    """Return a s(a), also called swish (Hendrycks and Gimpel 2016; Ramachandran, Zoph and Le 2017).

    Examples
    --------
    >>> hm.activations.silu([0.0, 1.0])
    array([0.        , 0.73105858])
    """
    A = as_floating(A)
    return np.maximum(A, 0) - exact.silu_tail(A)


def silu_backward(dH: Array, A: npt.ArrayLike) -> Array:
    """Return dH s(a) (1 + a s(-a)); the slope is computed at -|a|, as f'(a) = 1 - f'(-a).

    Examples
    --------
    >>> hm.activations.silu_backward(np.ones(2), np.array([0.0, 1.0]))
    array([0.5       , 0.92767051])
    """
    A = as_floating(A)
    S = exact.silu_slope_below(A)
    return dH * np.where(A >= 0, 1 - S, S)


def softplus(A: npt.ArrayLike, beta: float = 1.0) -> Array:
    """Return log(1 + e^(beta a)) / beta = max(a, 0) + log(1 + e^-|beta a|) / beta.

    PyTorch's ``threshold`` has no counterpart: the second form is exact and cannot overflow.

    Raises
    ------
    ValueError
        If ``beta`` is not above 0.

    Examples
    --------
    >>> hm.activations.softplus([0.0, -50.0, 1000.0])
    array([6.93147181e-01, 1.92874985e-22, 1.00000000e+03])
    """
    A = as_floating(A)
    E = exact.exp_minus_abs(A, positive(beta, "beta"))
    return np.maximum(A, 0) + np.log1p(E) / float(beta)


def softplus_backward(dH: Array, A: npt.ArrayLike, beta: float = 1.0) -> Array:
    """Return dH s(beta a).

    Examples
    --------
    >>> hm.activations.softplus_backward(np.ones(2), np.array([0.0, 1.0]))
    array([0.5       , 0.73105858])
    """
    A = as_floating(A)
    E = exact.exp_minus_abs(A, positive(beta, "beta"))
    return dH * (np.where(A >= 0, 1, E) / (1 + E))


def softmax(A: npt.ArrayLike, dim: int = -1) -> Array:
    """Return p_i = e^(a_i) / sum_j e^(a_j) along ``dim`` (System 12), shifted by the maximum: nothing overflows.

    Parameters
    ----------
    A : array_like
        Logits.
    dim : int
        The axis of the classes.

    Returns
    -------
    ndarray
        The shape of ``A``; sums to one along ``dim``.

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

    A constant added to dH changes nothing, as the p sum to one. So its entry at the largest p is subtracted from dH:
    that entry becomes 0, and the inexact 1 - p of this class is never computed.

    Examples
    --------
    >>> hm.activations.softmax_backward(np.array([1.0, 0.0]), np.array([0.25, 0.75]))
    array([ 0.1875, -0.1875])
    """
    D = dH - np.take_along_axis(dH, H.argmax(axis=dim, keepdims=True), axis=dim)
    return H * (D - (D * H).sum(axis=dim, keepdims=True))


def log_softmax(A: npt.ArrayLike, dim: int = -1) -> Array:
    """Return log p_i = a_i - max - log(1 + the other terms), exact also where p_i is nearly one.

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

    From ``H`` it would be p = e^h: an absolute rounding error of h becomes a relative error of p just as large.

    Examples
    --------
    >>> hm.activations.log_softmax_backward(np.array([1.0, 0.0]), np.log([0.25, 0.75]))
    array([ 0.75, -0.75])
    """
    A = as_floating(A)
    dA = exact.log_softmax_backward(np.moveaxis(dH, dim, -1), np.moveaxis(A, dim, -1))
    return np.moveaxis(_as_dtype(dA, A), -1, dim)


def _as_dtype(values: Array, A: Array) -> Array:
    """Return values in the dtype of ``A``, infinite where they are too large for it."""
    with np.errstate(over="ignore"):
        return values.astype(A.dtype, copy=False)


ACTIVATIONS: dict[ActivationName, ActivationPair] = {
    "identity": (identity, identity_backward),
    "sigmoid": (sigmoid, sigmoid_backward),
    "tanh": (tanh, tanh_backward),
    "relu": (relu, relu_backward),
    "leaky_relu": (leaky_relu, leaky_relu_backward),
    "elu": (elu, elu_backward),
    "gelu": (gelu, gelu_backward),
    "silu": (silu, silu_backward),
    "softplus": (softplus, softplus_backward),
    "softmax": (softmax, softmax_backward),
    "log_softmax": (log_softmax, log_softmax_backward),
}
