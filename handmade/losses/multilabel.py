"""Losses for samples with several labels, each of which is present or not."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _numerics as exact
from .._types import Array, Reduction
from .._validation import as_array, finite, nonnegative
from ..activations import sigmoid, softplus
from ._terms import bits, class_rows, class_weights, reduce, reduce_backward


def multilabel_soft_margin_loss(
    input: npt.ArrayLike, target: npt.ArrayLike, weight: npt.ArrayLike | None = None, reduction: Reduction = "mean"
) -> Any:
    """Return the mean of `binary_cross_entropy_with_logits` over the classes. The mean is over the samples.

    Parameters
    ----------
    input : array_like, shape (..., K)
        Logits.
    target : array_like
        Targets from 0 to 1, the shape of ``input``.
    weight : array_like, shape (K,), optional
        A weight for each class.
    reduction : {"mean", "sum", "none"}
        "none" gives one value per sample.

    Returns
    -------
    float or ndarray
        The loss, in nats.

    Raises
    ------
    ValueError
        If a target is outside [0, 1], or a shape is wrong.
    TypeError
        If either holds something other than numbers.

    Examples
    --------
    >>> round(float(hm.losses.multilabel_soft_margin_loss([[0.0, 40.0]], [[1.0, 1.0]])), 6)
    0.346574
    """
    A, Y, W = _weighted_bits(input, target, weight)
    terms = exact.weighted(Y, softplus(-A)) + exact.weighted(1 - Y, softplus(A))
    return reduce((W * terms).sum(axis=-1) / A.shape[-1], reduction)


def multilabel_soft_margin_loss_backward(
    input: npt.ArrayLike, target: npt.ArrayLike, weight: npt.ArrayLike | None = None, reduction: Reduction = "mean"
) -> Array:
    """Return ((1 - y) s(a) - y s(-a)) / K."""
    A, Y, W = _weighted_bits(input, target, weight)
    D = W * ((1 - Y) * sigmoid(A) - Y * sigmoid(-A)) / A.shape[-1]
    return reduce_backward(D, reduction, A.size / A.shape[-1])


def _weighted_bits(
    input: npt.ArrayLike, target: npt.ArrayLike, weight: npt.ArrayLike | None
) -> tuple[Array, Array, Array | float]:
    """Return logits, targets and the weights of the classes."""
    A, Y = bits(input, target)
    if A.ndim == 0:
        raise ValueError("input: expected logits of shape (..., K), got a number")
    W = class_weights(weight, A.reshape(-1, A.shape[-1]))
    return A, Y, 1.0 if W is None else W


def multilabel_margin_loss(input: npt.ArrayLike, target: npt.ArrayLike, reduction: Reduction = "mean") -> Any:
    """Return the sum of max(0, 1 - x_t + x_j) / K over the labels t and the other classes j. The mean is over N.

    Parameters
    ----------
    input : array_like, shape (K,) or (N, K)
        Scores.
    target : array_like, shape (K,) or (N, K)
        The labels of each sample. Entries from the first -1 on do not count.
    reduction : {"mean", "sum", "none"}
        "none" gives one value per sample.

    Returns
    -------
    float or ndarray
        The loss.

    Raises
    ------
    ValueError
        If a label is out of range, or the shapes differ.
    TypeError
        If the labels are not integers or the scores not numbers.

    Examples
    --------
    >>> round(float(hm.losses.multilabel_margin_loss([[0.1, 0.2, 0.4, 0.8]], [[3, 0, -1, 1]])), 12)
    0.85
    """
    M, _, lead = _violations(input, target)
    return reduce((M.sum(axis=(1, 2)) / M.shape[1]).reshape(lead), reduction)


def multilabel_margin_loss_backward(
    input: npt.ArrayLike, target: npt.ArrayLike, reduction: Reduction = "mean"
) -> Array:
    """Return 1 / K for each violation by the class that is too large, and -1 / K by the label."""
    M, labels, _ = _violations(input, target)
    violated = (M > 0).astype(M.dtype)
    D = violated.sum(axis=1)
    np.subtract.at(D, (np.arange(len(D))[:, np.newaxis], labels), violated.sum(axis=2))
    return reduce_backward((D / M.shape[1]).reshape(np.shape(input)), reduction, len(M))


def _violations(input: npt.ArrayLike, target: npt.ArrayLike) -> tuple[Array, Array, tuple[int, ...]]:
    """Return max(0, 1 - x_t + x_j) for each label t and each class j of a sample, and the labels, 0 where none is."""
    Z, lead = class_rows(input)
    T = as_array(target, "target")
    if T.dtype.kind not in "iu":
        raise TypeError(f"target: expected integer class indices, got dtype {T.dtype}; convert with target.astype(int)")
    if len(lead) > 1 or T.shape != np.shape(input):
        raise ValueError(
            f"target: expected the labels of each sample, followed by -1, in the shape (K,) or (N, K) of the input, "
            f"{np.shape(input)}, got {T.shape}"
        )
    N, K = Z.shape
    T = T.reshape(N, K).astype(np.intp)
    counts = np.logical_and.accumulate(T != -1, axis=1)
    wrong = T[counts & ((T < 0) | (T >= K))]
    if wrong.size:
        raise ValueError(f"target: expected class indices from 0 to {K - 1}, or -1 after the last, got {wrong[0]}")
    labels = np.where(counts, T, 0)
    others = np.ones((N, K), bool)
    rows, places = np.nonzero(counts)
    others[rows, labels[rows, places]] = False
    M = 1 - np.take_along_axis(Z, labels, axis=1)[:, :, np.newaxis] + Z[:, np.newaxis, :]
    return np.where(counts[:, :, np.newaxis] & others[:, np.newaxis, :], np.maximum(M, 0), 0), labels, lead


def sigmoid_focal_loss(
    input: npt.ArrayLike,
    target: npt.ArrayLike,
    alpha: float = 0.25,
    gamma: float = 2.0,
    reduction: Reduction = "mean",
) -> Any:
    """Return alpha_t (1 - p_t)^gamma times the cross-entropy, which gives hard samples more weight (Lin et al. 2017).

    p_t is the probability of the target, s(a) for a target of 1. The mean is over all elements. torchvision has
    the same function, whose default is ``reduction="none"``.

    Parameters
    ----------
    input : array_like
        Logits.
    target : array_like
        Targets from 0 to 1, the shape of ``input``.
    alpha : float
        The weight of targets of 1, up to 1; those of 0 have 1 - alpha. If it is negative, both have 1.
    gamma : float
        How much less the easy ones count; at 0, it is the cross-entropy.
    reduction : {"mean", "sum", "none"}
        See `handmade.losses`.

    Returns
    -------
    float or ndarray
        The loss, in nats.

    Raises
    ------
    ValueError
        If a target is outside [0, 1], an option is out of range, or the shapes differ.
    TypeError
        If either holds something other than numbers.

    Examples
    --------
    >>> hm.losses.sigmoid_focal_loss([0.0, 3.0], [1.0, 1.0], reduction="none")
    array([4.33216988e-02, 2.73208311e-05])
    """
    A, Y = bits(input, target)
    entropy = exact.weighted(Y, softplus(-A)) + exact.weighted(1 - Y, softplus(A))
    missing = (1 - Y) * sigmoid(A) + Y * sigmoid(-A)
    return reduce(_balance(Y, alpha) * missing ** nonnegative(gamma, "gamma") * entropy, reduction)


def sigmoid_focal_loss_backward(
    input: npt.ArrayLike,
    target: npt.ArrayLike,
    alpha: float = 0.25,
    gamma: float = 2.0,
    reduction: Reduction = "mean",
) -> Array:
    """Return alpha_t q^gamma (l' + gamma l q' / q), with q = 1 - p_t and the cross-entropy l."""
    A, Y = bits(input, target)
    S, C = sigmoid(A), sigmoid(-A)
    entropy = exact.weighted(Y, softplus(-A)) + exact.weighted(1 - Y, softplus(A))
    missing = (1 - Y) * S + Y * C
    # The smaller one over q is at most 1. Where q is 0, so is its power.
    ratio = (1 - 2 * Y) * (np.minimum(S, C) / np.where(missing == 0, 1, missing) * np.maximum(S, C))
    power = missing ** nonnegative(gamma, "gamma")
    D = _balance(Y, alpha) * power * ((1 - Y) * S - Y * C + float(gamma) * exact.weighted(ratio, entropy))
    return reduce_backward(D, reduction)


def _balance(Y: Array, alpha: float) -> Array | float:
    """Return alpha_t; raise if alpha is above 1."""
    if finite(alpha, "alpha") > 1:
        raise ValueError(f"alpha: expected a number up to 1, or a negative one for no weights, got {alpha!r}")
    return 1.0 if alpha < 0 else float(alpha) * Y + (1 - float(alpha)) * (1 - Y)
