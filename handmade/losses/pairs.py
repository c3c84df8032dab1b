"""Losses of several inputs: scores or vectors that are compared with each other.

Each backward returns one gradient per input. A network computes the inputs in one pass over all rows:

>>> import numpy as np, handmade as hm
>>> network, rng = hm.MLP([3, 8, 1], rng=0), np.random.default_rng(0)
>>> better, worse, y = rng.normal(size=(5, 3)) + 1, rng.normal(size=(5, 3)), np.ones((5, 1))
>>> H, cache = network.forward(np.concatenate([better, worse]), training=True)
>>> gradients = hm.losses.margin_ranking_loss_backward(H[:5], H[5:], y, margin=0.5)
>>> dX = network.backward(np.concatenate(gradients), cache)
>>> network.theta -= 0.1 * network.gradient
>>> H2 = network.predict(np.concatenate([better, worse]))
>>> losses = [hm.losses.margin_ranking_loss(S[:5], S[5:], y, margin=0.5) for S in (H, H2)]
>>> bool(losses[1] < losses[0])
True
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .._types import Array, Reduction
from .._validation import check_bool, finite, number, positive
from ._terms import as_numbers, check_signs, pair, reduce, reduce_backward

at_least_one = number("a finite number >= 1", lambda x: 1 <= x < np.inf)


def margin_ranking_loss(
    input1: npt.ArrayLike,
    input2: npt.ArrayLike,
    target: npt.ArrayLike,
    margin: float = 0.0,
    reduction: Reduction = "mean",
) -> Any:
    """Return max(0, margin - y (x1 - x2)). The mean is over all elements.

    Parameters
    ----------
    input1, input2 : array_like
        Scores of one shape.
    target : array_like
        +1 where the first is to be the larger, -1 where the second is; the same shape.
    margin : float
        By how much it is to be larger.
    reduction : {"mean", "sum", "none"}
        See `handmade.losses`.

    Returns
    -------
    float or ndarray
        The loss.

    Raises
    ------
    ValueError
        If the shapes differ, or a target is neither -1 nor +1.
    TypeError
        If one of them holds something other than numbers.

    Examples
    --------
    >>> hm.losses.margin_ranking_loss([2.0, 0.0], [0.0, 1.0], [1, 1], margin=0.5, reduction="none")
    array([0. , 1.5])
    """
    violations, _ = _ranks(input1, input2, target, margin)
    return reduce(np.maximum(violations, 0), reduction)


def margin_ranking_loss_backward(
    input1: npt.ArrayLike,
    input2: npt.ArrayLike,
    target: npt.ArrayLike,
    margin: float = 0.0,
    reduction: Reduction = "mean",
) -> tuple[Array, Array]:
    """Return -y by x1 and y by x2 where the margin is violated or just met, as in PyTorch, else 0."""
    violations, Y = _ranks(input1, input2, target, margin)
    D = reduce_backward(np.where(violations >= 0, Y, 0), reduction)
    return -D, D


def _ranks(input1: npt.ArrayLike, input2: npt.ArrayLike, target: npt.ArrayLike, margin: float) -> tuple[Array, Array]:
    """Return margin - y (x1 - x2), and y."""
    A, B = pair(input1, input2, ("input1", "input2"))
    _, Y = pair(A, target, ("input1", "target"))
    check_signs(Y)
    return finite(margin, "margin") - Y * (A - B), Y


# ---- vectors: one per sample, along the last axis -------------------------------------------------------------------

EPSILON = 1e-12  # PyTorch adds it to the square of a length, so that the cosine of no vector is 0


def cosine_embedding_loss(
    input1: npt.ArrayLike,
    input2: npt.ArrayLike,
    target: npt.ArrayLike,
    margin: float = 0.0,
    reduction: Reduction = "mean",
) -> Any:
    """Return 1 - cos where y = 1 and max(0, cos - margin) where y = -1, for the cosine of the angle of two vectors.

    1 - cos is computed as half the squared distance of the unit vectors: a small angle keeps its digits.

    Parameters
    ----------
    input1, input2 : array_like, shape (D,) or (N, D)
        Vectors.
    target : array_like, shape () or (N,)
        +1 for vectors that are to be alike, -1 for others.
    margin : float
        How alike the others may be, from -1 to 1.
    reduction : {"mean", "sum", "none"}
        "none" gives one value per sample.

    Returns
    -------
    float or ndarray
        The loss.

    Raises
    ------
    ValueError
        If a shape is wrong, or a target is neither -1 nor +1.
    TypeError
        If one of them holds something other than numbers.

    Examples
    --------
    >>> hm.losses.cosine_embedding_loss([[0.0, 2.0], [1.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]], [1, -1], reduction="none")
    array([1.        , 0.70710678])
    """
    _, _, _, distance, Y = _angles(input1, input2, target)
    return reduce(np.where(Y > 0, distance, np.maximum(1 - distance - finite(margin, "margin"), 0)), reduction)


def cosine_embedding_loss_backward(
    input1: npt.ArrayLike,
    input2: npt.ArrayLike,
    target: npt.ArrayLike,
    margin: float = 0.0,
    reduction: Reduction = "mean",
) -> tuple[Array, Array]:
    """Return -y (v - cos u) / |x1| and -y (u - cos v) / |x2| for the unit vectors u, v; 0 where cos < margin."""
    U, V, lengths, distance, Y = _angles(input1, input2, target)
    D = np.where(Y > 0, -1, 1 - distance >= finite(margin, "margin")).astype(U.dtype)
    D, c = reduce_backward(D, reduction)[..., np.newaxis], distance[..., np.newaxis]
    return D * ((V - U) + c * U) / lengths[0], D * ((U - V) + c * V) / lengths[1]  # v - cos u, without its cancellation


def _angles(
    input1: npt.ArrayLike, input2: npt.ArrayLike, target: npt.ArrayLike
) -> tuple[Array, Array, tuple[Array, Array], Array, Array]:
    """Return the unit vectors, the lengths, 1 - cos, and y."""
    A, B = pair(input1, input2, ("input1", "input2"))
    _check_vectors(A, "input1")
    Y = _one_per_vector(target, A)
    (U, m, short_u), (V, n, short_v) = _unit(A), _unit(B)
    distance = (((U - V) ** 2).sum(axis=-1) + short_u + short_v) / 2
    return U, V, (m, n), distance, Y


def _unit(A: Array) -> tuple[Array, Array, Array]:
    """Return u = a / |a|, |a|, and 1 - |u|^2, where |a|^2 is the sum of squares plus `EPSILON`."""
    scale = np.maximum(np.abs(A).max(axis=-1, keepdims=True), EPSILON**0.5)  # scaled, so that no square overflows
    rest = EPSILON / scale / scale
    squares = ((A / scale) ** 2).sum(axis=-1, keepdims=True) + rest
    root = np.sqrt(squares)
    return A / scale / root, scale * root, (rest / squares)[..., 0]


def _check_vectors(A: Array, name: str) -> None:
    """Raise unless A is a vector, shape (D,), or one vector per row, shape (N, D)."""
    if A.ndim not in (1, 2):
        raise ValueError(f"{name}: expected vectors of shape (D,) or (N, D), got {A.shape}")


def _one_per_vector(target: npt.ArrayLike, A: Array) -> Array:
    """Return one label per vector."""
    Y = as_numbers(target, "target", A)
    if Y.shape != A.shape[:-1]:
        raise ValueError(f"target: expected one label per vector, shape {A.shape[:-1]}, got {Y.shape}")
    check_signs(Y)
    return Y


def triplet_margin_loss(
    anchor: npt.ArrayLike,
    positive: npt.ArrayLike,
    negative: npt.ArrayLike,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    reduction: Reduction = "mean",
) -> Any:
    """Return max(0, d(a, p) - d(a, n) + margin), where d is the distance in the p-norm.

    Parameters
    ----------
    anchor, positive, negative : array_like, shape (D,) or (N, D)
        Vectors: the positive is to be closer to the anchor than the negative.
    margin : float
        By how much, above 0.
    p : float
        Of the norm, from 1 on.
    eps : float
        Added to each difference, as PyTorch does.
    swap : bool
        Whether to take d(p, n) in place of d(a, n) where it is smaller (Balntas et al. 2016).
    reduction : {"mean", "sum", "none"}
        "none" gives one value per sample.

    Returns
    -------
    float or ndarray
        The loss.

    Raises
    ------
    ValueError
        If the shapes differ, or an option is out of range.
    TypeError
        If one of them holds something other than numbers.

    Examples
    --------
    >>> round(float(hm.losses.triplet_margin_loss([[0.0, 0.0]], [[3.0, 4.0]], [[0.0, 2.0]])), 5)
    4.0
    """
    violations = _triplets(anchor, positive, negative, margin, p, eps, swap)[0]
    return reduce(np.maximum(violations, 0), reduction)


def triplet_margin_loss_backward(
    anchor: npt.ArrayLike,
    positive: npt.ArrayLike,
    negative: npt.ArrayLike,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    reduction: Reduction = "mean",
) -> tuple[Array, Array, Array]:
    """Return the derivatives of d(a, p) - d(a, n) by a, p and n, where the margin is violated or just met, else 0."""
    violations, near, far, swapped = _triplets(anchor, positive, negative, margin, p, eps, swap)
    D = reduce_backward((violations >= 0).astype(near.dtype), reduction)[..., np.newaxis]
    near, far, swapped = D * near, D * far, swapped[..., np.newaxis]
    return near - np.where(swapped, 0, far), -near - np.where(swapped, far, 0), far


def _triplets(
    anchor: npt.ArrayLike,
    positive_: npt.ArrayLike,
    negative: npt.ArrayLike,
    margin: float,
    p: float,
    eps: float,
    swap: bool,
) -> tuple[Array, Array, Array, Array]:
    """Return the violations, the slopes of both distances by their first vector, and whether the second is swapped."""
    A, P = pair(anchor, positive_, ("anchor", "positive"))
    A, N = pair(A, negative, ("anchor", "negative"))
    _check_vectors(A, "anchor")
    margin, p, eps = positive(margin, "margin"), at_least_one(p, "p"), finite(eps, "eps")
    d_near, near = _distance(A - P + eps, p)
    d_far, far = _distance(A - N + eps, p)
    swapped = np.zeros(d_far.shape, bool)
    if check_bool(swap, "swap"):
        d_swap, other = _distance(P - N + eps, p)
        swapped = d_swap < d_far
        d_far, far = np.minimum(d_far, d_swap), np.where(swapped[..., np.newaxis], other, far)
    return d_near - d_far + margin, near, far, swapped


def _distance(D: Array, p: float) -> tuple[Array, Array]:
    """Return the p-norm along the last axis, and its derivative, which is taken as 0 at 0."""
    largest = np.abs(D).max(axis=-1, keepdims=True)
    Q = np.abs(D) / np.where(largest == 0, 1, largest)  # scaled, so that no power overflows
    norm = (Q**p).sum(axis=-1, keepdims=True) ** (1 / p)
    slope = np.sign(D) * (Q / np.where(norm == 0, 1, norm)) ** (p - 1)
    return (largest * norm)[..., 0], slope
