"""3b. Information, entropy and divergence, which give the cross-entropy loss its name (System 12).

Plain functions of probabilities, in nats (natural logarithm). The cross-entropy of q against p is
``entropy(p) + kl_divergence(p, q)``; as a loss of logits it is `handmade.losses.cross_entropy`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ._types import Array
from ._validation import as_floating, check_axis
from .losses._terms import check_probabilities

__all__ = ["information", "entropy", "kl_divergence"]


def information(p: npt.ArrayLike) -> Array:
    """Return the information of events, their surprise: I = -log p (System 12), in nats.

    Parameters
    ----------
    p : array_like
        Probabilities, of any shape.

    Returns
    -------
    float or ndarray
        From 0 for a certain event to infinity for an impossible one; the shape of ``p``.

    Raises
    ------
    ValueError
        If a probability is outside [0, 1], or there are no probabilities.
    TypeError
        If ``p`` does not hold real numbers.

    Examples
    --------
    >>> hm.information.information([1.0, 0.5, 0.0])
    array([0.        , 0.69314718,        inf])
    """
    p = _probabilities(p, "p")
    return 0 - _x_log(np.ones_like(p), p)


def entropy(p: npt.ArrayLike, dim: int = -1) -> Array:
    """Return the expected information: -sum_i p_i log p_i (System 12), in nats, with 0 log 0 = 0.

    Parameters
    ----------
    p : array_like
        Probabilities that sum to 1 along ``dim``.
    dim : int, default -1
        The axis of the outcomes.

    Returns
    -------
    float or ndarray
        From 0 to log K for K outcomes; the shape of ``p`` without ``dim``.

    Raises
    ------
    ValueError
        If a probability is outside [0, 1], they do not sum to 1, or ``p`` has no such axis.
    TypeError
        If ``p`` does not hold real numbers, or ``dim`` is not an integer.

    Examples
    --------
    >>> round(float(hm.information.entropy([0.5, 0.25, 0.25]) / np.log(2)), 12)
    1.5
    """
    p = _distribution(p, "p", dim)
    return 0 - _x_log(p, p).sum(axis=dim)


def kl_divergence(p: npt.ArrayLike, q: npt.ArrayLike, dim: int = -1) -> Array:
    """Return sum_i p_i log(p_i / q_i), in nats: the cross-entropy of q against p, less the entropy of p.

    Parameters
    ----------
    p, q : array_like
        Distributions of one shape. The divergence is infinite where q_i = 0 and p_i > 0.
    dim : int, default -1
        The axis of the outcomes.

    Returns
    -------
    float or ndarray
        At least 0, and 0 only for p = q; the shape of ``p`` without ``dim``.

    Raises
    ------
    ValueError
        If the shapes differ, or as for `entropy`.
    TypeError
        As for `entropy`.

    Examples
    --------
    >>> round(float(hm.information.kl_divergence([0.5, 0.5], [0.25, 0.75])), 6)
    0.143841
    """
    p, q = _distribution(p, "p", dim), _distribution(q, "q", dim)
    if p.shape != q.shape:
        raise ValueError(f"q: expected the shape of p {p.shape}, got {q.shape}")
    return (_x_log(p, p) - _x_log(p, q)).sum(axis=dim)


def _x_log(x: Array, y: Array) -> Array:
    """Return x log y, and 0 where x is 0."""
    with np.errstate(divide="ignore"):  # log(0) = -inf is right where x > 0
        return x * np.log(np.where(x == 0, 1, y))


def _probabilities(p: npt.ArrayLike, name: str) -> Array:
    """Return an array of real numbers from 0 to 1."""
    p = as_floating(p, name)
    if p.dtype.kind == "c":
        raise TypeError(f"{name}: expected real numbers, got dtype {p.dtype}; take its real part")
    if p.size == 0:
        raise ValueError(f"{name}: expected probabilities, got an empty array of shape {p.shape}")
    check_probabilities(p, name)
    return p


def _distribution(p: npt.ArrayLike, name: str, dim: int) -> Array:
    """Return probabilities that sum to 1 along an axis."""
    p = _probabilities(p, name)
    check_axis(dim, p, name)
    total = p.sum(axis=dim)
    # A sum of K rounded probabilities is off by about K eps; the square root of eps leaves enough for all K.
    if not np.allclose(total, 1, rtol=0, atol=np.sqrt(np.finfo(p.dtype).eps)):
        wrong = np.ravel(total)[np.argmax(np.abs(np.ravel(total) - 1))]
        raise ValueError(f"{name}: expected probabilities that sum to 1 along axis {dim}, got a sum of {wrong:g}")
    return p
