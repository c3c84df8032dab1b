"""Smooth rectifiers: nearly constant for a far below 0, and nearly a for a far above 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt

from .. import _numerics as exact
from .._types import Array
from .._validation import as_floating, finite, nonzero, not_nan, positive

__all__ = [
    "elu",
    "elu_backward",
    "selu",
    "selu_backward",
    "celu",
    "celu_backward",
    "softplus",
    "softplus_backward",
    "gelu",
    "gelu_backward",
    "silu",
    "silu_backward",
    "mish",
    "mish_backward",
]


def elu(A: npt.ArrayLike, alpha: float = 1.0) -> Array:
    """Return a where a > 0, else alpha (e^a - 1) (Clevert, Unterthiner and Hochreiter 2016).

    Examples
    --------
    >>> hm.activations.elu([-1.0, 2.0])
    array([-0.63212056,  2.        ])
    """
    A = as_floating(A)
    return np.where(A > 0, A, finite(alpha, "alpha") * exact.expm1(np.minimum(A, 0)))


def elu_backward(dH: Array, A: npt.ArrayLike, alpha: float = 1.0) -> Array:
    """Return dH where a > 0, else dH alpha e^a.

    It takes ``A``, not ``H``: far below 0, h + alpha loses the digits of alpha e^a.

    Examples
    --------
    >>> hm.activations.elu_backward(np.ones(2), np.array([-100.0, 2.0]))
    array([3.72007598e-44, 1.00000000e+00])
    """
    A = as_floating(A)
    return dH * np.where(A > 0, 1, finite(alpha, "alpha") * exact.exp(np.minimum(A, 0)))


# Constants that keep mean 0 and variance 1 (Klambauer et al. 2017); PyTorch has the same.
SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


@np.errstate(over="ignore")  # the largest numbers times 1.05 overflow, to infinity
def selu(A: npt.ArrayLike) -> Array:
    """Return 1.0507 a where a > 0, else 1.7581 (e^a - 1) (Klambauer et al. 2017): `elu`, scaled.

    Examples
    --------
    >>> hm.activations.selu([-1.0, 2.0])
    array([-1.11133074,  2.10140197])
    """
    A = as_floating(A)
    return np.where(A > 0, SELU_SCALE * A, SELU_SCALE * SELU_ALPHA * exact.expm1(np.minimum(A, 0)))


def selu_backward(dH: Array, A: npt.ArrayLike) -> Array:
    """Return 1.0507 dH where a > 0, else 1.7581 dH e^a.

    Examples
    --------
    >>> hm.activations.selu_backward(np.ones(2), np.array([-1.0, 2.0]))
    array([0.6467686 , 1.05070099])
    """
    A = as_floating(A)
    return dH * np.where(A > 0, SELU_SCALE, SELU_SCALE * SELU_ALPHA * exact.exp(np.minimum(A, 0)))


@np.errstate(over="ignore")  # a / alpha may overflow to minus infinity, whose exponential is 0
def celu(A: npt.ArrayLike, alpha: float = 1.0) -> Array:
    """Return a where a > 0, else alpha (e^(a / alpha) - 1) (Barron 2017): the slope at 0 is 1 for every alpha.

    Raises
    ------
    ValueError
        If ``alpha`` is 0.

    Examples
    --------
    >>> hm.activations.celu([-1.0, 2.0], alpha=2.0)
    array([-0.78693868,  2.        ])
    """
    A = as_floating(A)
    alpha = _divisor(nonzero(alpha, "alpha"), "alpha", A)
    return np.where(A > 0, A, alpha * exact.expm1(np.minimum(A, 0) / alpha))


@np.errstate(over="ignore")
def celu_backward(dH: Array, A: npt.ArrayLike, alpha: float = 1.0) -> Array:
    """Return dH where a > 0, else dH e^(a / alpha), in one formula: dH e^(min(a, 0) / alpha).

    Examples
    --------
    >>> hm.activations.celu_backward(np.ones(2), np.array([-1.0, 2.0]), alpha=2.0)
    array([0.60653066, 1.        ])
    """
    A = as_floating(A)
    alpha = _divisor(nonzero(alpha, "alpha"), "alpha", A)
    return dH * exact.exp(np.minimum(A, 0) / alpha)


def _divisor(option: float, name: str, A: Array) -> float:
    """Return an option that A is divided by; raise ValueError if it is so small that it is 0 in A's dtype."""
    if A.dtype.type(option) == 0:
        raise ValueError(f"{name}: expected a number other than 0 in {A.dtype}, got {option}; use float64")
    return option


def softplus(A: npt.ArrayLike, beta: float = 1.0, threshold: float = np.inf) -> Array:
    """Return log(1 + e^(beta a)) / beta = max(a, 0) + log(1 + e^-|beta a|) / beta.

    Parameters
    ----------
    A : array_like
        Pre-activations, any shape.
    beta : float
        How sharp the bend is, above 0.
    threshold : float
        Where beta a is above the threshold, the function returns a. PyTorch has 20 as its default, to avoid an
        overflow. The second form above cannot overflow, and is exact without a threshold.

    Returns
    -------
    ndarray
        The shape of ``A``.

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
    E = exact.exp_minus_abs(A, _divisor(positive(beta, "beta"), "beta", A))
    H = np.maximum(A, 0) + np.log1p(E) / float(beta)
    return H if not_nan(threshold, "threshold") == np.inf else np.where(_is_linear(A, beta, threshold), A, H)


def softplus_backward(dH: Array, A: npt.ArrayLike, beta: float = 1.0, threshold: float = np.inf) -> Array:
    """Return dH s(beta a), or dH where beta a is above the threshold.

    Examples
    --------
    >>> hm.activations.softplus_backward(np.ones(2), np.array([0.0, 1.0]))
    array([0.5       , 0.73105858])
    """
    A = as_floating(A)
    E = exact.exp_minus_abs(A, positive(beta, "beta"))
    S = np.where(A >= 0, 1, E) / (1 + E)
    return dH * (S if not_nan(threshold, "threshold") == np.inf else np.where(_is_linear(A, beta, threshold), 1, S))


def _is_linear(A: Array, beta: float, threshold: float) -> Array:
    """Return a mask: True where beta a is above the threshold."""
    with np.errstate(over="ignore"):
        return float(beta) * A > threshold


Approximate = Literal["none", "tanh"]
_GELU = {
    "none": (exact.gelu_tail, exact.gelu_slope_below),
    "tanh": (exact.gelu_tanh_tail, exact.gelu_tanh_slope_below),
}


def _gelu_parts(approximate: str) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    """Return two functions of a: |a| Phi(-|a|), and the slope of gelu at -|a|."""
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


def mish(A: npt.ArrayLike) -> Array:
    """Return a tanh(log(1 + e^a)) (Misra 2020).

    tanh(log x) = (x^2 - 1) / (x^2 + 1), written with e^-|a| instead of e^a, which could overflow.

    Examples
    --------
    >>> hm.activations.mish([0.0, 1.0, -100.0])
    array([ 0.00000000e+00,  8.65098388e-01, -3.72007598e-42])
    """
    A = as_floating(A)
    D, E, beyond = exact.split_exp(exact.minus_abs(A))  # -|a|, and e^-|a| in two factors
    below = D * (E * (2 + E) / (2 + E * (2 + E))) * beyond
    return np.where(A >= 0, A * ((1 + 2 * E) / (1 + 2 * E * (1 + E))), below)


def mish_backward(dH: Array, A: npt.ArrayLike) -> Array:
    """Return dH (t + a (1 - t^2) s(a)) with t = tanh(log(1 + e^a)).

    The slope has a root at a = -1.19, where these terms cancel: below 0 it is computed in another form.

    Examples
    --------
    >>> hm.activations.mish_backward(np.ones(2), np.array([0.0, 1.0]))
    array([0.6       , 1.04903622])
    """
    A = as_floating(A)
    D, E, _ = exact.split_exp(exact.minus_abs(A))
    M = 1 + 2 * E * (1 + E)
    above = (1 + 2 * E - 4 * D * E * E * (1 + E) / M) / M
    return dH * np.where(A >= 0, above, exact.mish_slope_below(A))
