"""Negative log-likelihoods of classes, counts and numbers, and the Kullback-Leibler divergence."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _numerics as exact
from .._types import Array, Reduction
from .._validation import as_array, as_floating, check_bool, is_integer, positive
from ._terms import (
    as_numbers,
    class_labels,
    class_rows,
    class_weights,
    label_weights,
    pair,
    reduce,
    reduce_backward,
)


def nll_loss(
    input: npt.ArrayLike,
    target: npt.ArrayLike,
    weight: npt.ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
) -> Any:
    """Return -x_t of log-probabilities x: after `log_softmax`, the `cross_entropy` of its logits.

    The mean divides by the sum of the weights of the samples' classes, or by N if there are no weights.

    Parameters
    ----------
    input : array_like, shape (K,), (N, K) or (N, K, d1, ...)
        Log-probabilities.
    target : array_like
        Class indices, the shape of ``input`` without K.
    weight : array_like, shape (K,), optional
        A weight for each class.
    ignore_index : int
        Samples with this label do not count. If all are ignored, the mean is 0 (PyTorch: nan).
    reduction : {"mean", "sum", "none"}
        "none" gives one value per sample.

    Returns
    -------
    float or ndarray
        The loss, in nats.

    Raises
    ------
    ValueError
        If a label is out of range, or a shape or option is wrong.
    TypeError
        If labels are not integers, or the input does not hold numbers.

    Examples
    --------
    >>> float(hm.losses.nll_loss(np.log([[0.25, 0.75]]), [0]))
    1.3862943611198906
    """
    Z, lead, labels, W = _labelled(input, target, weight, ignore_index)
    terms = exact.weighted(W, -Z[exact.row_numbers(len(Z)), labels])
    return reduce(terms.reshape(lead), reduction, float(W.sum()) or 1.0)


def nll_loss_backward(
    input: npt.ArrayLike,
    target: npt.ArrayLike,
    weight: npt.ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
) -> Array:
    """Return -1 at each target and 0 elsewhere, weighted and divided as the loss is."""
    Z, lead, labels, W = _labelled(input, target, weight, ignore_index)
    D = np.zeros_like(Z)
    D[exact.row_numbers(len(Z)), labels] = -W
    D = reduce_backward(D, reduction, float(W.sum()) or 1.0)
    return np.moveaxis(D.reshape(*lead, -1), -1, min(1, len(lead)))


def _labelled(
    input: npt.ArrayLike, target: npt.ArrayLike, weight: npt.ArrayLike | None, ignore_index: int
) -> tuple[Array, tuple[int, ...], Array, Array]:
    """Return log-probabilities as rows, the shape of the rows, and each row's label and weight, 0 if ignored."""
    Z, lead = class_rows(input)
    if not is_integer(ignore_index):
        raise TypeError(f"ignore_index: expected an integer, got {ignore_index!r}")
    labels, kept = class_labels(as_array(target, "target"), lead, Z.shape[1], ignore_index)
    W = label_weights(labels, kept, class_weights(weight, Z))
    return Z, lead, labels, np.ones(len(Z), np.real(Z).dtype) if W is None else W.astype(np.real(Z).dtype)


def kl_div(input: npt.ArrayLike, target: npt.ArrayLike, reduction: str = "mean", log_target: bool = False) -> Any:
    """Return t (log t - x), the terms of the Kullback-Leibler divergence of t from the probabilities e^x.

    Parameters
    ----------
    input : array_like
        Log-probabilities x.
    target : array_like
        Probabilities t, or their logarithms; the shape of ``input``.
    reduction : {"mean", "batchmean", "sum", "none"}
        "batchmean" divides the sum by the number of samples, as in the definition of the divergence. "mean" divides by
        the number of elements.
    log_target : bool
        Whether ``target`` holds logarithms.

    Returns
    -------
    float or ndarray
        The loss, in nats.

    Raises
    ------
    ValueError
        If a probability is negative, or the shapes differ.
    TypeError
        If either holds something other than numbers.

    Examples
    --------
    >>> p, t = np.array([[0.25, 0.75]]), np.array([[0.5, 0.5]])
    >>> round(float(hm.losses.kl_div(np.log(p), t, reduction="batchmean")), 6)
    0.143841
    """
    X, T, log_T = _distributions(input, target, log_target)
    return reduce(exact.weighted(T, log_T - X), *_batch_mean(reduction, X))


def kl_div_backward(
    input: npt.ArrayLike, target: npt.ArrayLike, reduction: str = "mean", log_target: bool = False
) -> Array:
    """Return -t, divided as the loss is."""
    X, T, _ = _distributions(input, target, log_target)
    return reduce_backward(-T, *_batch_mean(reduction, X))


def _distributions(input: npt.ArrayLike, target: npt.ArrayLike, log_target: bool) -> tuple[Array, Array, Array]:
    """Return x, t and log t, which is 0 in place of minus infinity, as its factor t is 0."""
    X, T = pair(input, target)
    if check_bool(log_target, "log_target"):
        return X, exact.exp(T), T
    if (T < 0).any():
        raise ValueError(f"target: expected probabilities, got {T[T < 0][0]:g}; logarithms need log_target=True")
    return X, T, np.log(np.where(T == 0, 1, T))


def _batch_mean(reduction: str, X: Array) -> tuple[str, float | None]:
    """Return the reduction, and what its mean divides by."""
    if isinstance(reduction, str) and reduction == "batchmean":
        return "mean", float(len(np.atleast_1d(X)))
    return reduction, None


def poisson_nll_loss(
    input: npt.ArrayLike,
    target: npt.ArrayLike,
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
    reduction: Reduction = "mean",
) -> Any:
    """Return e^x - y x, the negative log-likelihood of counts y at the rate e^x, without log y!.

    The mean is over all elements.

    Parameters
    ----------
    input : array_like
        Logarithms of rates x, or rates.
    target : array_like
        Counts y, the shape of ``input``.
    log_input : bool
        If False, the input holds rates r, and the loss is r - y log(r + eps).
    full : bool
        Whether to add Stirling's approximation of log y!, y log y - y + log(2 pi y) / 2, for y above 1.
    eps : float
        Added to a rate in its logarithm.
    reduction : {"mean", "sum", "none"}
        See `handmade.losses`.

    Returns
    -------
    float or ndarray
        The loss, in nats.

    Raises
    ------
    ValueError
        If a rate is negative, ``eps`` is not above 0, or the shapes differ.
    TypeError
        If either holds something other than numbers.

    Examples
    --------
    >>> round(float(hm.losses.poisson_nll_loss([0.0, 1.0], [1.0, 3.0])), 6)
    0.359141
    """
    X, Y, rate = _rates(input, target, log_input)
    terms = rate - Y * (X if log_input else np.log(X + positive(eps, "eps")))
    if check_bool(full, "full"):
        y = np.where(Y > 1, Y, 1)
        terms = terms + np.where(Y > 1, y * np.log(y) - y + np.log(2 * np.pi * y) / 2, 0)
    return reduce(terms, reduction)


def poisson_nll_loss_backward(
    input: npt.ArrayLike,
    target: npt.ArrayLike,
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
    reduction: Reduction = "mean",
) -> Array:
    """Return e^x - y, or 1 - y / (r + eps) of rates."""
    X, Y, rate = _rates(input, target, log_input)
    return reduce_backward(rate - Y if log_input else 1 - Y / (X + positive(eps, "eps")), reduction)


@np.errstate(over="ignore")  # an enormous rate becomes infinite, and so does the loss
def _rates(input: npt.ArrayLike, target: npt.ArrayLike, log_input: bool) -> tuple[Array, Array, Array]:
    """Return the input, the counts and the rates."""
    X, Y = pair(input, target)
    if check_bool(log_input, "log_input"):
        return X, Y, exact.exp(X)
    if (np.real(X) < 0).any():
        raise ValueError(
            f"input: expected rates of at least 0, got {np.real(X).min():g}; logarithms of rates need log_input=True"
        )
    return X, Y, X


def gaussian_nll_loss(
    input: npt.ArrayLike,
    target: npt.ArrayLike,
    var: npt.ArrayLike,
    full: bool = False,
    eps: float = 1e-6,
    reduction: Reduction = "mean",
) -> Any:
    """Return (log v + (yhat - y)^2 / v) / 2, for two inputs: the mean yhat and the variance v.

    The mean is over all elements.

    Parameters
    ----------
    input : array_like
        Means yhat.
    target : array_like
        Targets, the shape of ``input``.
    var : array_like
        Variances: a number, or an array of the shape of ``input``, which may have 1 for some axes or lack the last one.
    full : bool
        Whether to add log(2 pi) / 2.
    eps : float
        The smallest variance: smaller ones are replaced by it.
    reduction : {"mean", "sum", "none"}
        See `handmade.losses`.

    Returns
    -------
    float or ndarray
        The loss, in nats.

    Raises
    ------
    ValueError
        If a variance is negative, or a shape or option is wrong.
    TypeError
        If one of them holds something other than numbers.

    Examples
    --------
    >>> round(float(hm.losses.gaussian_nll_loss([1.0, 2.0], [0.0, 0.0], [1.0, 4.0])), 6)
    0.846574
    """
    E, _, v, _ = _deviations(input, target, var, eps)
    terms = (np.log(v) + E * (E / v)) / 2
    return reduce(terms + math.log(2 * math.pi) / 2 if check_bool(full, "full") else terms, reduction)


def gaussian_nll_loss_backward(
    input: npt.ArrayLike,
    target: npt.ArrayLike,
    var: npt.ArrayLike,
    full: bool = False,
    eps: float = 1e-6,
    reduction: Reduction = "mean",
) -> tuple[Array, Array]:
    """Return (yhat - y) / v by the mean, and (1 - (yhat - y)^2 / v) / (2 v) by the variance, 0 below ``eps``.

    Each has the shape of its input. Below ``eps`` PyTorch returns the derivative at ``eps``, though the loss is
    constant.

    Examples
    --------
    >>> hm.losses.gaussian_nll_loss_backward([1.0, 2.0], [0.0, 0.0], [1.0, 4.0], reduction="sum")
    (array([1. , 0.5]), array([0., 0.]))
    """
    E, V, v, floor = _deviations(input, target, var, eps)
    S = E / v
    dV = np.where(floor > V, 0, (1 / v - S * S) / 2)
    dV = reduce_backward(dV, reduction)
    shape = np.shape(var)
    axes = tuple(i for i, n in enumerate(_aligned(shape, dV.shape)) if n == 1)
    return reduce_backward(S, reduction), dV.sum(axis=axes).reshape(shape)


def _aligned(shape: tuple[int, ...], like: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of variances with as many axes as the input."""
    if shape == like[:-1]:
        return (*shape, 1)
    return (1,) * len(like) if shape == () else shape


def _deviations(
    input: npt.ArrayLike, target: npt.ArrayLike, var: npt.ArrayLike, eps: float
) -> tuple[Array, Array, Array, float]:
    """Return yhat - y, the variances in its shape, the same from eps on, and eps."""
    input, target = pair(input, target)
    V, floor = as_numbers(as_floating(var, "var"), "var", input), positive(eps, "eps")
    aligned = _aligned(V.shape, input.shape)
    if len(aligned) != input.ndim or any(m not in (1, n) for m, n in zip(aligned, input.shape, strict=True)):
        raise ValueError(
            f"var: expected a number, or the shape of the input {input.shape} with 1 for some axes, got {V.shape}"
        )
    if (V < 0).any():
        raise ValueError(
            f"var: expected variances of at least 0, got {V.min():g}; a network gives them with 'softplus'"
        )
    V = np.broadcast_to(V.reshape(aligned), input.shape)
    return input - target, V, np.maximum(V, floor), floor
