"""Losses of scores: they grow as the right answer's lead over the others shrinks."""

from __future__ import annotations

from numbers import Real
from typing import Any, Literal, NoReturn

import numpy as np
import numpy.typing as npt

from .._types import Array, Reduction
from .._validation import as_array, finite
from ..activations import sigmoid, softplus
from ._terms import class_labels, class_rows, class_weights, pair, reduce, reduce_backward, signs


def hinge_loss(input: npt.ArrayLike, target: npt.ArrayLike, reduction: Reduction = "mean") -> Any:
    """Return max(0, 1 - y yhat) (System 5). The mean is over all elements.

    Parameters
    ----------
    input : array_like
        Scores.
    target : array_like
        Labels -1 and +1, the shape of ``input``.
    reduction : {"mean", "sum", "none"}
        See `handmade.losses`.

    Returns
    -------
    float or ndarray
        The loss.

    Raises
    ------
    ValueError
        If a label is neither -1 nor +1, or the shapes differ.
    TypeError
        If either holds something other than numbers.

    Examples
    --------
    >>> hm.losses.hinge_loss([2.0, 0.5, -1.0], [1, 1, 1], reduction="none")
    array([0. , 0.5, 2. ])
    """
    input, target = signs(input, target)
    return reduce(np.maximum(1 - target * input, 0), reduction)


def hinge_loss_backward(input: npt.ArrayLike, target: npt.ArrayLike, reduction: Reduction = "mean") -> Array:
    """Return -y where y yhat < 1, else 0; at the kink, y yhat = 1, it is 0, too."""
    input, target = signs(input, target)
    D = np.where(target * input < 1, -target, 0).astype(input.dtype)
    return reduce_backward(D, reduction)


def soft_margin_loss(input: npt.ArrayLike, target: npt.ArrayLike, reduction: Reduction = "mean") -> Any:
    """Return log(1 + e^(-y yhat)), which does not overflow. The mean is over all elements.

    Parameters, returns and errors as for `hinge_loss`.

    Examples
    --------
    >>> hm.losses.soft_margin_loss([0.0, 50.0, -1000.0], [1, 1, 1], reduction="none")
    array([6.93147181e-01, 1.92874985e-22, 1.00000000e+03])
    """
    input, target = signs(input, target)
    return reduce(softplus(-target * input), reduction)


def soft_margin_loss_backward(input: npt.ArrayLike, target: npt.ArrayLike, reduction: Reduction = "mean") -> Array:
    """Return -y s(-y yhat)."""
    input, target = signs(input, target)
    return reduce_backward(-target * sigmoid(-target * input), reduction)


def hinge_embedding_loss(
    input: npt.ArrayLike, target: npt.ArrayLike, margin: float = 1.0, reduction: Reduction = "mean"
) -> Any:
    """Return x where y = 1 and max(0, margin - x) where y = -1, for distances x. The mean is over all elements.

    Parameters, returns and errors as for `hinge_loss`; pairs with y = -1 cost nothing from the distance ``margin`` on.

    Examples
    --------
    >>> hm.losses.hinge_embedding_loss([0.25, 0.25, 3.0], [1, -1, -1], reduction="none")
    array([0.25, 0.75, 0.  ])
    """
    input, target = signs(input, target)
    return reduce(np.where(target > 0, input, np.maximum(finite(margin, "margin") - input, 0)), reduction)


def hinge_embedding_loss_backward(
    input: npt.ArrayLike, target: npt.ArrayLike, margin: float = 1.0, reduction: Reduction = "mean"
) -> Array:
    """Return 1 where y = 1, -1 where y = -1 and x <= margin, as in PyTorch, else 0."""
    input, target = signs(input, target)
    D = np.where(target > 0, 1, np.where(input <= finite(margin, "margin"), -1, 0))
    return reduce_backward(D.astype(input.dtype), reduction)


def multi_margin_loss(
    input: npt.ArrayLike,
    target: npt.ArrayLike,
    p: Literal[1, 2] = 1,
    margin: float = 1.0,
    weight: npt.ArrayLike | None = None,
    reduction: Reduction = "mean",
) -> Any:
    """Return sum_{j != y} max(0, margin - x_y + x_j)^p / K, the hinge loss of many classes; the mean is over N.

    Parameters
    ----------
    input : array_like, shape (K,) or (N, K)
        Scores.
    target : array_like, shape () or (N,)
        Class indices.
    p : {1, 2}
        The power of each violation.
    margin : float
        The lead from which on another class costs nothing.
    weight : array_like, shape (K,), optional
        A weight for each class; a sample has the weight of its own class.
    reduction : {"mean", "sum", "none"}
        "none" gives one value per sample.

    Returns
    -------
    float or ndarray
        The loss.

    Raises
    ------
    ValueError
        If a label is out of range, or a shape or option is wrong.
    TypeError
        If the labels are not integers or the scores not numbers.

    Examples
    --------
    >>> round(float(hm.losses.multi_margin_loss([[0.1, 0.2, 0.4, 0.8]], [3])), 12)
    0.325
    """
    M, _, scale, lead = _violations(input, target, p, margin, weight)
    terms = (M**p).sum(axis=1) * scale
    return reduce(terms.reshape(lead), reduction)


def multi_margin_loss_backward(
    input: npt.ArrayLike,
    target: npt.ArrayLike,
    p: Literal[1, 2] = 1,
    margin: float = 1.0,
    weight: npt.ArrayLike | None = None,
    reduction: Reduction = "mean",
) -> Array:
    """Return p z_j^(p-1) / K for every violation z_j; the right class gets minus their sum."""
    M, own, scale, _ = _violations(input, target, p, margin, weight)
    D = scale[:, np.newaxis] * ((M > 0) if p == 1 else 2 * M)
    D[own] = -D.sum(axis=1)
    return reduce_backward(D.reshape(np.shape(input)), reduction, len(M))


def _violations(
    input: npt.ArrayLike, target: npt.ArrayLike, p: int, margin: float, weight: npt.ArrayLike | None
) -> tuple[Array, tuple[Array, Array], Array, tuple[int, ...]]:
    """Return z_j = max(0, margin - x_y + x_j) with z_y = 0, the places of z_y, and each sample's weight over K."""
    if isinstance(p, np.timedelta64) or not isinstance(p, Real) or p not in (1, 2):
        raise ValueError(f"p: expected 1 or 2, got {p!r}")
    Z, lead = class_rows(input)
    if len(lead) > 1:
        raise ValueError(f"input: expected scores of shape (K,) or (N, K), got {np.shape(input)}")
    labels, _ = class_labels(as_array(target, "target"), lead, Z.shape[1])
    own = np.arange(len(Z)), labels
    M = np.maximum(finite(margin, "margin") - Z[own][:, np.newaxis] + Z, 0)
    M[own] = 0
    weights = class_weights(weight, Z)
    scale = np.full(len(Z), 1 / Z.shape[1], np.real(Z).dtype)
    return M, own, scale if weights is None else scale * weights[labels], lead


def zero_one_loss(input: npt.ArrayLike, target: npt.ArrayLike, reduction: Reduction = "mean") -> Any:
    """Return 1 where the predicted label differs from the true one, else 0 (System 5; the slide has the complement).

    The slide's 1[yhat = y] is the accuracy: a perfect predictor would have the loss 1.

    Parameters
    ----------
    input, target : array_like
        Predicted labels (not scores) and labels, of one shape.
    reduction : {"mean", "sum", "none"}
        "mean" is the error rate.

    Returns
    -------
    float or ndarray
        The loss.

    Raises
    ------
    ValueError, TypeError
        As for `hinge_loss`.

    Examples
    --------
    >>> float(hm.losses.zero_one_loss([1, 0, 2, 2], [1, 0, 2, 1]))
    0.25
    """
    input, target = pair(input, target)
    return reduce((input != target).astype(input.dtype), reduction)


def zero_one_loss_backward(input: npt.ArrayLike, target: npt.ArrayLike, reduction: Reduction = "mean") -> NoReturn:
    """Raise TypeError: the zero-one loss has no gradient to descend.

    Raises
    ------
    TypeError
        Always, naming losses that can be trained on.

    Examples
    --------
    >>> hm.losses.zero_one_loss_backward([1], [0])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    TypeError: zero_one_loss has no gradient: ...
    """
    raise TypeError(
        "zero_one_loss has no gradient: it is constant except where it jumps. Train with 'cross_entropy', "
        "'hinge_loss' or 'multi_margin_loss', and report the zero-one loss as a metric"
    )
