"""3b. Information, entropy and divergence: where the cross-entropy loss has its name from (System 12).

Plain functions of probabilities, in nats (natural logarithm). The cross-entropy of q against p is
``entropy(p) + kl_divergence(p, q)``; as a loss of logits it is `handmade.losses.cross_entropy`.
"""

from __future__ import annotations

import numpy as np

from ._validation import as_floating
from .losses import between_zero_and_one

__all__ = ["information", "entropy", "kl_divergence"]

Array = np.ndarray


def _probabilities(p, name: str) -> Array:
    p = as_floating(p, name)
    if p.size == 0:
        raise ValueError(f"{name}: expected probabilities, got an empty array of shape {p.shape}")
    between_zero_and_one(p, name)
    return p


def _distribution(p, name: str, dim: int) -> Array:
    p = _probabilities(p, name)
    total = p.sum(axis=dim)
    # A sum of K rounded probabilities is off by about K eps; the square root leaves room for every honest one.
    if not np.allclose(total, 1, rtol=0, atol=np.sqrt(np.finfo(p.dtype).eps)):
        wrong = np.ravel(total)[np.argmax(np.abs(np.ravel(total) - 1))]
        raise ValueError(f"{name}: expected probabilities that sum to 1 along axis {dim}, got a sum of {wrong:g}")
    return p


def _x_log(x: Array, y: Array) -> Array:
    """x log y, and 0 where x is 0."""
    with np.errstate(divide="ignore"):  # log(0) = -inf is the value wanted where x > 0
        return x * np.log(np.where(x == 0, 1, y))


def information(p) -> Array:
    """I = -log p (System 12), in nats: an event's surprise.

    Raises
    ------
    ValueError
        If a probability is outside [0, 1].

    Examples
    --------
    >>> information(np.array([1.0, 0.5, 0.0]))
    array([0.        , 0.69314718,        inf])
    """
    p = _probabilities(p, "p")
    return 0 - _x_log(np.ones_like(p), p)


def entropy(p, dim: int = -1) -> Array:
    """-sum_i p_i log p_i (System 12), in nats: the expected information, with 0 log 0 = 0.

    Parameters
    ----------
    p : array_like
        Probabilities that sum to one along ``dim``.
    dim : int
        The axis of the outcomes.

    Returns
    -------
    float or ndarray
        From 0 to log K.

    Raises
    ------
    ValueError
        If the probabilities are outside [0, 1] or do not sum to one.

    Examples
    --------
    >>> round(float(entropy([0.5, 0.25, 0.25]) / np.log(2)), 12)
    1.5
    """
    p = _distribution(p, "p", dim)
    return 0 - _x_log(p, p).sum(axis=dim)


def kl_divergence(p, q, dim: int = -1) -> Array:
    """sum_i p_i log(p_i / q_i), in nats: the cross-entropy of q against p, less the entropy of p.

    Parameters
    ----------
    p, q : array_like
        Distributions of one shape. Infinite where q_i = 0 and p_i > 0.
    dim : int
        The axis of the outcomes.

    Returns
    -------
    float or ndarray
        At least 0, and 0 only for p = q.

    Raises
    ------
    ValueError
        If the shapes differ, or either is no distribution.

    Examples
    --------
    >>> round(float(kl_divergence([0.5, 0.5], [0.25, 0.75])), 6)
    0.143841
    """
    p, q = _distribution(p, "p", dim), _distribution(q, "q", dim)
    if p.shape != q.shape:
        raise ValueError(f"q: expected the shape of p {p.shape}, got {q.shape}")
    return (_x_log(p, p) - _x_log(p, q)).sum(axis=dim)
