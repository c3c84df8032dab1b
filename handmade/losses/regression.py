"""Losses of numbers: how far a prediction is from its target.

Each ``loss_backward`` states the derivative of one term; ``reduction="mean"`` divides it as it divides the loss.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .._types import Array, Reduction
from .._validation import as_array, nonnegative, positive
from ._terms import broadcast, check_probabilities, element_weights, pair, reduce, reduce_backward


def l1_loss(
    input: npt.ArrayLike, target: npt.ArrayLike, reduction: Reduction = "mean", weight: npt.ArrayLike | None = None
) -> Any:
    """Return |yhat - y| (System 5). The mean is over all elements.

    Parameters
    ----------
    input, target : array_like
        Predictions and targets of one shape.
    reduction : {"mean", "sum", "none"}
        See `handmade.losses`.
    weight : array_like, optional
        One weight per element, the shape of ``input``; the mean then divides by their sum.

    Returns
    -------
    float or ndarray
        The loss; an array of the input's shape where ``reduction="none"``.

    Raises
    ------
    ValueError
        If the shapes differ or are empty, or ``reduction`` is unknown.
    TypeError
        If either holds something other than numbers.

    Examples
    --------
    >>> float(hm.losses.l1_loss([1.0, -2.0], [0.0, 0.0]))
    1.5
    """
    input, target = pair(input, target)
    E = input - target
    return _mean_of_weights(np.maximum(E, -E), reduction, weight)


def l1_loss_backward(
    input: npt.ArrayLike, target: npt.ArrayLike, reduction: Reduction = "mean", weight: npt.ArrayLike | None = None
) -> Array:
    """Return sign(yhat - y), which is 0 at the kink, yhat = y, as in PyTorch."""
    input, target = pair(input, target)
    return _mean_of_weights_backward(np.sign(input - target), reduction, weight)


def mse_loss(
    input: npt.ArrayLike, target: npt.ArrayLike, reduction: Reduction = "mean", weight: npt.ArrayLike | None = None
) -> Any:
    """Return (yhat - y)^2, the L2 loss of System 5, without a one-half. The mean is over all N O elements.

    Parameters, returns and errors as for `l1_loss`.

    Examples
    --------
    >>> float(hm.losses.mse_loss([1.0, -2.0], [0.0, 0.0]))
    2.5
    """
    input, target = pair(input, target)
    E = input - target
    return _mean_of_weights(E * E, reduction, weight)


def mse_loss_backward(
    input: npt.ArrayLike, target: npt.ArrayLike, reduction: Reduction = "mean", weight: npt.ArrayLike | None = None
) -> Array:
    """Return 2 (yhat - y)."""
    input, target = pair(input, target)
    return _mean_of_weights_backward(2 * (input - target), reduction, weight)


def _mean_of_weights(terms: Array, reduction: str, weight: npt.ArrayLike | None) -> Any:
    """Reduce weighted terms; the mean divides by the sum of the weights."""
    W = element_weights(weight, terms)
    return reduce(terms, reduction) if W is None else reduce(W * terms, reduction, W.sum())


def _mean_of_weights_backward(derivatives: Array, reduction: str, weight: npt.ArrayLike | None) -> Array:
    """Reduce the derivatives of the weighted terms."""
    W = element_weights(weight, derivatives)
    return (
        reduce_backward(derivatives, reduction) if W is None else reduce_backward(W * derivatives, reduction, W.sum())
    )


def half_squared_error(input: npt.ArrayLike, target: npt.ArrayLike, reduction: Reduction = "mean") -> Any:
    """Return 1/2 sum_j (yhat_j - y_j)^2 for each sample: the loss of the lecture's derivations (Systems 7 to 11).

    The sum runs over the outputs of a sample, the mean over the N samples; ``reduction="sum"`` is the error E of
    Rumelhart, Hinton and Williams (Nature 323, 1986), equation 3. A one-dimensional input is N samples of one output.

    Parameters
    ----------
    input, target : array_like, shape (N,) or (N, O)
        Predictions and targets of one shape.
    reduction : {"mean", "sum", "none"}
        "none" gives one value per sample, shape (N,).

    Returns
    -------
    float or ndarray
        The loss.

    Raises
    ------
    ValueError, TypeError
        As for `l1_loss`.

    Examples
    --------
    >>> float(hm.losses.half_squared_error([[1.0, -2.0]], [[0.0, 0.0]]))
    2.5
    """
    input, target = pair(np.atleast_1d(as_array(input, "input")), np.atleast_1d(as_array(target, "target")))
    E = (input - target).reshape(len(input), -1)
    return reduce((E * E).sum(axis=1) / 2, reduction)


def half_squared_error_backward(input: npt.ArrayLike, target: npt.ArrayLike, reduction: Reduction = "mean") -> Array:
    """Return yhat - y: the one-half cancels the 2."""
    input, target = pair(input, target)
    return reduce_backward(input - target, reduction, len(np.atleast_1d(input)))


def huber_loss(
    input: npt.ArrayLike,
    target: npt.ArrayLike,
    reduction: Reduction = "mean",
    delta: float = 1.0,
    weight: npt.ArrayLike | None = None,
) -> Any:
    """Return e^2 / 2 where |e| <= delta, else delta (|e| - delta / 2), with e = yhat - y (Huber 1964).

    With c = min(|e|, delta) both are c (|e| - c / 2). The mean is over all elements, also with weights: PyTorch
    divides the weighted `mse_loss` by the sum of the weights, but not the weighted huber_loss.

    Parameters, returns and errors as for `l1_loss`, but for the weighted mean; ``delta`` is above 0.

    Examples
    --------
    >>> hm.losses.huber_loss([0.5, 3.0], [0.0, 0.0], reduction="none")
    array([0.125, 2.5  ])
    """
    delta = positive(delta, "delta")
    input, target = pair(input, target)
    E = np.maximum(input - target, target - input)
    C = np.minimum(E, delta)
    W = element_weights(weight, E)
    terms = C * (E - C / 2)
    return reduce(terms if W is None else W * terms, reduction)


def huber_loss_backward(
    input: npt.ArrayLike,
    target: npt.ArrayLike,
    reduction: Reduction = "mean",
    delta: float = 1.0,
    weight: npt.ArrayLike | None = None,
) -> Array:
    """Return yhat - y, clipped to [-delta, delta]."""
    delta = positive(delta, "delta")
    input, target = pair(input, target)
    D = np.clip(input - target, -delta, delta)
    W = element_weights(weight, D)
    return reduce_backward(D if W is None else W * D, reduction)


def smooth_l1_loss(
    input: npt.ArrayLike, target: npt.ArrayLike, reduction: Reduction = "mean", beta: float = 1.0
) -> Any:
    """Return huber_loss(delta=beta) / beta; `l1_loss` for beta = 0.

    Parameters, returns and errors as for `l1_loss`, without weights; ``beta`` is at least 0.

    Examples
    --------
    >>> hm.losses.smooth_l1_loss([0.5, 3.0], [0.0, 0.0], reduction="none", beta=2.0)
    array([0.0625, 2.    ])
    """
    if nonnegative(beta, "beta") == 0:
        return l1_loss(input, target, reduction)
    beta = float(beta)
    return huber_loss(input, target, reduction, beta) / beta


def smooth_l1_loss_backward(
    input: npt.ArrayLike, target: npt.ArrayLike, reduction: Reduction = "mean", beta: float = 1.0
) -> Array:
    """Return (yhat - y) / beta, clipped to [-1, 1]."""
    if nonnegative(beta, "beta") == 0:
        return l1_loss_backward(input, target, reduction)
    beta = float(beta)
    return huber_loss_backward(input, target, reduction, beta) / beta


def quantile_loss(
    input: npt.ArrayLike, target: npt.ArrayLike, quantile: npt.ArrayLike = 0.5, reduction: Reduction = "mean"
) -> Any:
    """Return q (y - yhat) where y > yhat, else (1 - q) (yhat - y): the pinball loss, smallest at the q-quantile.

    Koenker and Bassett 1978. The mean is over all elements.

    Parameters
    ----------
    input, target : array_like
        Predictions and targets of one shape.
    quantile : array_like
        q from 0 to 1: a number, or one per output. At 0.5 the loss is half of `l1_loss`.
    reduction : {"mean", "sum", "none"}
        See `handmade.losses`.

    Returns
    -------
    float or ndarray
        The loss.

    Raises
    ------
    ValueError
        If a quantile is outside [0, 1], or a shape is wrong.
    TypeError
        If one of them holds something other than numbers.

    Examples
    --------
    >>> hm.losses.quantile_loss([0.0, 2.0], [1.0, 1.0], quantile=0.9, reduction="none")
    array([0.9, 0.1])
    """
    E, Q = _below(input, target, quantile)
    return reduce(np.maximum(Q * E, (Q - 1) * E), reduction)


def quantile_loss_backward(
    input: npt.ArrayLike, target: npt.ArrayLike, quantile: npt.ArrayLike = 0.5, reduction: Reduction = "mean"
) -> Array:
    """Return -q where y > yhat, 1 - q where y < yhat, and 0 at the kink, as in `l1_loss`."""
    E, Q = _below(input, target, quantile)
    return reduce_backward(np.where(E > 0, -Q, np.where(E < 0, 1 - Q, E)), reduction)


def _below(input: npt.ArrayLike, target: npt.ArrayLike, quantile: npt.ArrayLike) -> tuple[Array, Array]:
    """Return y - yhat, and q in its shape."""
    input, target = pair(input, target)
    Q = np.asarray(broadcast(as_array(quantile, "quantile"), "quantile", target))
    check_probabilities(Q, "quantile")
    return target - input, Q
