"""Cross-entropies: the surprise, in nats, of what happened under what was predicted (System 12)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _numerics as exact
from .._types import Array, Reduction
from .._validation import all_within, as_array, is_integer, up_to_one
from ..activations import sigmoid, softplus
from ._terms import (
    bits,
    broadcast,
    check_probabilities,
    class_labels,
    class_probabilities,
    class_rows,
    class_weights,
    divisor,
    label_weights,
    reduce,
    reduce_backward,
)

FLOOR = -100.0  # the least logarithm of a probability, as in PyTorch
DOUBLE, ZERO = np.dtype(np.float64), np.zeros(())  # made once, not at each call
REACH = 340.0  # quotients from e^-680 to e^680, and sums of any number of them, have all digits of double precision


def binary_cross_entropy(
    input: npt.ArrayLike, target: npt.ArrayLike, weight: npt.ArrayLike | None = None, reduction: Reduction = "mean"
) -> Any:
    """Return -(y log p + (1 - y) log(1 - p)) for probabilities p. The mean is over all elements.

    As PyTorch defines it, each logarithm is at least -100, so that p = 0 or 1 against its target costs 100 and not
    infinity. A sigmoid reaches 1 exactly (in float32 from about a = 17 on): a network that ends with one is trained
    through its logits, as by `binary_cross_entropy_with_logits`, where nothing needs a floor.

    Parameters
    ----------
    input : array_like
        Probabilities.
    target : array_like
        Targets from 0 to 1, the shape of ``input``.
    weight : array_like, optional
        Weights that broadcast to the input; the mean still divides by the number of elements.
    reduction : {"mean", "sum", "none"}
        See `handmade.losses`.

    Returns
    -------
    float or ndarray
        The loss, in nats.

    Raises
    ------
    ValueError
        If a probability or target is outside [0, 1], or the shapes differ.
    TypeError
        If either holds something other than numbers.

    Examples
    --------
    >>> hm.losses.binary_cross_entropy([0.5, 0.0], [1.0, 1.0], reduction="none")
    array([  0.69314718, 100.        ])
    """
    P, Y = _probabilities(input, target)
    with np.errstate(divide="ignore"):  # log(0) = -inf, which the floor replaces
        yes, no = np.maximum(np.log(P), FLOOR), np.maximum(np.log1p(-P), FLOOR)
    return reduce(broadcast(weight, "weight", Y) * -(Y * yes + (1 - Y) * no), reduction)


def binary_cross_entropy_backward(
    input: npt.ArrayLike, target: npt.ArrayLike, weight: npt.ArrayLike | None = None, reduction: Reduction = "mean"
) -> Array:
    """Return (p - y) / (p (1 - p)); the derivative of a logarithm that is at its floor of -100 is 0.

    The slide's p - y is the derivative by the logit, not by p. PyTorch holds p (1 - p) above 1e-12 instead: its
    gradient then belongs to another function than its loss.

    Examples
    --------
    >>> hm.losses.binary_cross_entropy_backward([0.5, 0.25], [1.0, 0.0], reduction="sum")
    array([-2.        ,  1.33333333])
    """
    P, Y = _probabilities(input, target)
    variance = P * (1 - P)
    floored = variance < math.exp(FLOOR)
    D = np.where(floored, np.where(P < 0.5, 1 - Y, -Y), (P - Y) / np.where(floored, 1, variance))
    return reduce_backward(broadcast(weight, "weight", Y) * D, reduction)


def _probabilities(input: npt.ArrayLike, target: npt.ArrayLike) -> tuple[Array, Array]:
    """Return the pair; raise if either is outside [0, 1]."""
    P, Y = bits(input, target)
    check_probabilities(np.real(P), "input", "; logits belong to binary_cross_entropy_with_logits")
    return P, Y


def binary_cross_entropy_with_logits(
    input: npt.ArrayLike,
    target: npt.ArrayLike,
    weight: npt.ArrayLike | None = None,
    reduction: Reduction = "mean",
    pos_weight: npt.ArrayLike | None = None,
) -> Any:
    """Return y log(1 + e^-a) + (1 - y) log(1 + e^a): `binary_cross_entropy` of p = s(a), exact for every logit.

    Parameters
    ----------
    input : array_like
        Logits.
    target : array_like
        Targets from 0 to 1, the shape of ``input``.
    weight : array_like, optional
        Weights that broadcast to the input; the mean still divides by the number of elements.
    reduction : {"mean", "sum", "none"}
        See `handmade.losses`.
    pos_weight : array_like, optional
        Multiplies the first of the two terms; broadcasts to the input: a number, or one per output.

    Returns
    -------
    float or ndarray
        The loss, in nats.

    Raises
    ------
    ValueError
        If a target is outside [0, 1], or the shapes differ.
    TypeError
        If either holds something other than numbers.

    Examples
    --------
    >>> hm.losses.binary_cross_entropy_with_logits([0.0, 1e4, 40.0], [1.0, 0.0, 1.0], reduction="none")
    array([6.93147181e-01, 1.00000000e+04, 4.24835426e-18])
    """
    A, Y = bits(input, target)
    positive = Y * broadcast(pos_weight, "pos_weight", Y)
    terms = exact.weighted(positive, softplus(-A)) + exact.weighted(1 - Y, softplus(A))
    return reduce(broadcast(weight, "weight", Y) * terms, reduction)


def binary_cross_entropy_with_logits_backward(
    input: npt.ArrayLike,
    target: npt.ArrayLike,
    weight: npt.ArrayLike | None = None,
    reduction: Reduction = "mean",
    pos_weight: npt.ArrayLike | None = None,
) -> Array:
    """Return (1 - y) s(a) - y s(-a), which is p - y without the cancellation.

    Examples
    --------
    >>> hm.losses.binary_cross_entropy_with_logits_backward([0.0, 40.0], [1.0, 1.0], reduction="sum")
    array([-5.00000000e-01, -4.24835426e-18])
    """
    A, Y = bits(input, target)
    positive = Y * broadcast(pos_weight, "pos_weight", Y)
    D = (1 - Y) * sigmoid(A) - positive * sigmoid(-A)
    return reduce_backward(broadcast(weight, "weight", Y) * D, reduction)


@np.errstate(over="ignore")  # a loss too large for float32 becomes infinite
def cross_entropy(
    input: npt.ArrayLike,
    target: npt.ArrayLike,
    weight: npt.ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """Return -sum_c t_c log p_c with p = softmax(input) (System 12).

    With class indices, the mean divides by the sum of the weights of the samples' classes, or by N if there are no
    weights. With probabilities it divides by N. These are PyTorch's conventions.

    Parameters
    ----------
    input : array_like, shape (K,), (N, K) or (N, K, d1, ...)
        Logits.
    target : array_like
        Class indices, the shape of ``input`` without K; or probabilities (one-hot or not), the shape of ``input``.
    weight : array_like, shape (K,), optional
        A weight for each class.
    ignore_index : int
        Samples with this label do not count. If all are ignored, the mean is 0 (PyTorch: nan). With probabilities, no
        sample can be ignored.
    reduction : {"mean", "sum", "none"}
        "none" gives one value per sample.
    label_smoothing : float
        e from 0 to 1: the target becomes (1 - e) t + e / K (Szegedy et al. 2016).

    Returns
    -------
    float or ndarray
        The loss, in nats.

    Raises
    ------
    ValueError
        If a label is out of range, or a shape or option is wrong.
    TypeError
        If labels are not integers, or the logits not numbers.

    Examples
    --------
    With two equal logits, the loss is log 2 for each target:

    >>> round(float(hm.losses.cross_entropy([[3.0, 3.0]], [0])), 6)
    0.693147
    >>> round(float(hm.losses.cross_entropy([[3.0, 3.0]], [[0.5, 0.5]])), 6)
    0.693147

    The loss of a confident right answer keeps its digits:

    >>> float(hm.losses.cross_entropy([[50.0, 0.0]], [0]))
    1.928749847963918e-22
    """
    value, dZ = cross_entropy_value_and_backward(input, target, weight, ignore_index, reduction, label_smoothing)
    return dZ.dtype.type(value)


def cross_entropy_backward(
    input: npt.ArrayLike,
    target: npt.ArrayLike,
    weight: npt.ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Array:
    """Return p - t by the logits, for one-hot t; p_c sum(t) - t_c in general.

    The gradient of a confident, right answer is small and exact, where p - 1 would be rounding noise.

    Examples
    --------
    >>> hm.losses.cross_entropy_backward([[50.0, 0.0]], [0])
    array([[-1.92874985e-22,  1.92874985e-22]])
    """
    return cross_entropy_value_and_backward(input, target, weight, ignore_index, reduction, label_smoothing)[1]


def cross_entropy_value_and_backward(
    input: npt.ArrayLike,
    target: npt.ArrayLike,
    weight: npt.ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> tuple[Any, Array]:
    """Return the loss and its gradient, from one softmax: `cross_entropy` (in double precision) and its backward."""
    smoothing = label_smoothing
    if type(smoothing) is not float or smoothing:
        smoothing = up_to_one(smoothing, "label_smoothing")
    Z, lead = class_rows(input)
    class_weight = class_weights(weight, Z, double=True)  # as the sums
    target = as_array(target, "target")
    if type(ignore_index) is not int and not is_integer(ignore_index):
        raise TypeError(f"ignore_index: expected an integer, got {ignore_index!r}")
    if target.ndim > len(lead):
        if ignore_index >= 0:
            raise ValueError(
                f"ignore_index: expected none with probabilities, got {ignore_index}; use rows of zeros, or indices"
            )
        scale = divisor(reduction, float(len(Z)))
        T = (1 - smoothing) * class_probabilities(target, Z, np.shape(input)) + smoothing / Z.shape[1]
        terms, dZ = _against_distribution(Z, T if class_weight is None else T * class_weight, scale)
    else:
        labels, kept = class_labels(target, lead, Z.shape[1], ignore_index)
        sample_weight = label_weights(labels, kept, class_weight)
        count = float(len(Z)) if sample_weight is None else float(sample_weight.sum()) or 1.0  # of nothing, it is 0
        if not math.isfinite(count):
            raise ValueError("weight: expected a finite sum over the samples, got inf; divide by the largest weight")
        scale = divisor(reduction, count)
        if smoothing:
            terms, dZ = _against_distribution(Z, _smoothed(labels, kept, class_weight, smoothing, Z.shape[1]), scale)
        else:
            terms, dZ = _against_index(Z, labels, sample_weight, scale)
    dZ = dZ.astype(Z.dtype, copy=False)
    if len(lead) != 1:
        terms, dZ = terms.reshape(lead), np.moveaxis(dZ.reshape(*lead, -1), -1, min(1, len(lead)))
    return terms if reduction == "none" else np.add.reduce(terms, None) / scale, dZ


def _against_index(Z: Array, labels: Array, sample_weight: Array | None, divisor: float) -> tuple[Array, Array]:
    """Return -log p_t of each row, and (p_c - 1[c = t]) / divisor.

    The exponentials are summed without the target's (``rest``). Then -log p_t = log(1 + rest / own) and
    p_t - 1 = -rest / total, without cancellation even where p_t rounds to 1.
    """
    N = len(Z)
    place = labels * N + exact.row_numbers(N)
    E, own, beyond = _exponentials(Z.T, place)  # (K, N): a class to a row
    flat = E.ravel()  # a view
    flat[place] = ZERO
    rest = exact.column_sums(E)
    terms = np.log1p(rest / own)
    if beyond is not None:
        terms -= beyond
    flat[place] = -rest
    E /= (own + rest) * divisor
    return (terms, E.T) if sample_weight is None else (terms * sample_weight, (E * sample_weight).T)


def _against_distribution(Z: Array, T: Array, divisor: float) -> tuple[Array, Array]:
    """Return -sum_c t_c log p_c of each row, and (p_c sum(t) - t_c) / divisor, for any weights T.

    The derivative is that of log_softmax: small and exact where p_c - t_c would be rounding noise.
    """
    terms = -exact.weighted(T, exact.log_softmax(Z)).sum(axis=1)
    return terms, exact.log_softmax_backward(-T, Z) / divisor


def _exponentials(Z: Array, place: Array) -> tuple[Array, Array, Array | None]:
    """Return e^(z - s) of logits (K, N) in double precision, that of each target, and the rest of its logarithm.

    s is 0, as a shift would only round the logits. Where one of them is out of REACH, s is the largest of its column;
    a target's own exponential that is then too small to divide by is taken as e^-REACH, and has a rest.
    """
    if all_within(Z, REACH):
        E = Z.astype(DOUBLE if Z.dtype == exact.SINGLE else Z.dtype, "C")
        np.exp(E, E)
        return E, E.ravel()[place], None
    D, E = exact.exp_below_max(np.ascontiguousarray(Z), 0)
    return E, np.maximum(E.take(place), math.exp(-REACH)), np.minimum(D.take(place) + REACH, 0)


def _smoothed(labels: Array, kept: Array | None, class_weight: Array | None, smoothing: float, K: int) -> Array:
    """Return the weighted distribution of each sample: 1 - e for its class, and e / K for all."""
    T = np.full((len(labels), K), smoothing / K)
    T[np.arange(len(labels)), labels] += 1 - smoothing
    if class_weight is not None:
        T *= class_weight
    return T if kept is None else T * kept[:, np.newaxis]
