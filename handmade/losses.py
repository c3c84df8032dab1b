"""3. Losses: ``loss(input, target)`` and, directly under it, ``loss_backward``, its gradient.

The contract of every pair, without exception: both take the same arguments, ``input`` first (what the network gives:
predictions, or logits where the name says so), then ``target``. ``loss_backward`` returns the gradient with respect
to ``input``, in its shape.

``reduction`` says what becomes of the single terms: ``"mean"`` (the default, as in PyTorch), ``"sum"``, or
``"none"``, where the loss is an array and the gradient holds the derivative of each term by its own input, which is
also the gradient of the sum. Each docstring says which 1/N and which one-half it means.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np

from ._validation import all_within, as_floating, check_finite, positive, up_to_one
from .activations import (
    SINGLE,
    exp_below_the_largest,
    log_sum_parts,
    pull_back_log_softmax,
    sigmoid,
    softmax_and_complement,
    softplus,
)

__all__ = [
    "l1_loss",
    "l1_loss_backward",
    "mse_loss",
    "mse_loss_backward",
    "half_squared_error",
    "half_squared_error_backward",
    "huber_loss",
    "huber_loss_backward",
    "smooth_l1_loss",
    "smooth_l1_loss_backward",
    "hinge_loss",
    "hinge_loss_backward",
    "multi_margin_loss",
    "multi_margin_loss_backward",
    "zero_one_loss",
    "zero_one_loss_backward",
    "binary_cross_entropy",
    "binary_cross_entropy_backward",
    "binary_cross_entropy_with_logits",
    "binary_cross_entropy_with_logits_backward",
    "cross_entropy",
    "cross_entropy_backward",
]

Array = np.ndarray


# ---- what all of them share: the check at the door, and the reduction ---------------------------------------------


def _check_reduction(reduction: str) -> None:
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"reduction: expected 'none', 'mean' or 'sum', got {reduction!r}")


def _numbers(value, name: str, like: Array) -> Array:
    """``value`` as an array of the dtype of ``like``; booleans, text, objects are refused."""
    if type(value) is np.ndarray and value.dtype == like.dtype:
        return value
    value = np.asarray(value)
    if value.dtype.kind not in "iuf":
        raise TypeError(f"{name}: expected numbers, got dtype {value.dtype}; convert it with {name}.astype(float)")
    return value.astype(like.dtype)


def _elementwise(input, target) -> tuple[Array, Array]:
    """Both as arrays of one dtype and one shape: no broadcasting, which hides the (N,) against (N, 1) mistake."""
    input = as_floating(input, "input")
    target = _numbers(target, "target", input)
    if target.shape != input.shape:
        hint = ""
        if target.size == input.size:
            hint = f"; reshape it with target.reshape({', '.join(map(str, input.shape))})"
        raise ValueError(f"target: expected the shape of the input {input.shape}, got {target.shape}{hint}")
    if input.size == 0:
        raise ValueError(f"input: expected at least one value, got an empty array of shape {input.shape}")
    return input, target


def _weighted(terms: Array, weight) -> tuple[Array, float]:
    """Terms times weights, and the sum of the weights (the number of terms, where there are none)."""
    if weight is None:
        return terms, terms.size
    weight = _numbers(weight, "weight", terms)
    if weight.shape != terms.shape:
        raise ValueError(f"weight: expected the shape of the input {terms.shape}, got {weight.shape}")
    return terms * weight, weight.sum()


def _reduce(terms: Array, reduction: str, count: float):
    """The terms as they are, their sum, or their sum over ``count``."""
    if reduction == "mean":
        return np.add.reduce(terms, axis=None) / count
    _check_reduction(reduction)
    return np.add.reduce(terms, axis=None) if reduction == "sum" else terms


def _divisor(reduction: str, count: float) -> float:
    """What the derivatives of that are divided by."""
    if reduction == "mean":
        return count
    _check_reduction(reduction)
    return 1


def _reduce_backward(derivatives: Array, reduction: str, count: float) -> Array:
    """The derivatives of that, in place."""
    derivatives /= _divisor(reduction, count)
    return derivatives


# ---- regression ----------------------------------------------------------------------------------------------------


def l1_loss(input, target, reduction: str = "mean", weight=None):
    """|yhat - y| (System 5). The mean is over all elements.

    Parameters
    ----------
    input, target : array_like
        Predictions and targets of one shape.
    reduction : {"mean", "sum", "none"}
        See the module.
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
    >>> float(l1_loss([1.0, -2.0], [0.0, 0.0]))
    1.5
    """
    input, target = _elementwise(input, target)
    E = input - target
    terms, count = _weighted(np.maximum(E, -E), weight)
    return _reduce(terms, reduction, count)


def l1_loss_backward(input, target, reduction: str = "mean", weight=None) -> Array:
    """sign(yhat - y), and 0 at the kink yhat = y, as PyTorch does."""
    input, target = _elementwise(input, target)
    derivatives, count = _weighted(np.sign(input - target), weight)
    return _reduce_backward(derivatives, reduction, count)


def mse_loss(input, target, reduction: str = "mean", weight=None):
    """(yhat - y)^2, the L2 loss of System 5: no one-half. The mean is over all elements, N times O.

    Parameters, returns and errors as for `l1_loss`.

    Examples
    --------
    >>> float(mse_loss([1.0, -2.0], [0.0, 0.0]))
    2.5
    """
    input, target = _elementwise(input, target)
    E = input - target
    terms, count = _weighted(E * E, weight)
    return _reduce(terms, reduction, count)


def mse_loss_backward(input, target, reduction: str = "mean", weight=None) -> Array:
    """2 (yhat - y)."""
    input, target = _elementwise(input, target)
    derivatives, count = _weighted(2 * (input - target), weight)
    return _reduce_backward(derivatives, reduction, count)


def half_squared_error(input, target, reduction: str = "mean"):
    """1/2 sum_j (yhat_j - y_j)^2 for each sample: the loss of the lecture's derivations (Systems 7 to 11).

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
    >>> float(half_squared_error([[1.0, -2.0]], [[0.0, 0.0]]))
    2.5
    """
    input, target = _elementwise(np.atleast_1d(input), np.atleast_1d(target))
    E = input - target
    E *= E
    return _reduce(E.reshape(len(E), -1).sum(axis=1) / 2, reduction, len(E))


def half_squared_error_backward(input, target, reduction: str = "mean") -> Array:
    """yhat - y: the one-half is there to take the 2."""
    input, target = _elementwise(input, target)
    return _reduce_backward(input - target, reduction, len(np.atleast_1d(input)))


def huber_loss(input, target, reduction: str = "mean", delta: float = 1.0, weight=None):
    """e^2 / 2 up to |e| = delta, from there on the tangent delta (|e| - delta / 2) (Huber 1964).

    With c = min(|e|, delta) both are c (|e| - c / 2). The mean is over all elements, also with weights (PyTorch
    divides the weighted `mse_loss` by the sum of the weights, but not this one).

    Parameters, returns and errors as for `l1_loss`.

    Examples
    --------
    >>> huber_loss([0.5, 3.0], [0.0, 0.0], reduction="none")
    array([0.125, 2.5  ])
    """
    delta = positive(delta, "delta")
    input, target = _elementwise(input, target)
    E = input - target
    E = np.maximum(E, -E)
    C = np.minimum(E, delta)
    terms, _ = _weighted(C * (E - C / 2), weight)
    return _reduce(terms, reduction, terms.size)


def huber_loss_backward(input, target, reduction: str = "mean", delta: float = 1.0, weight=None) -> Array:
    """yhat - y, kept within [-delta, delta]."""
    delta = positive(delta, "delta")
    input, target = _elementwise(input, target)
    derivatives, _ = _weighted(np.clip(input - target, -delta, delta), weight)
    return _reduce_backward(derivatives, reduction, derivatives.size)


def smooth_l1_loss(input, target, reduction: str = "mean", beta: float = 1.0):
    """huber_loss(delta=beta) / beta: e^2 / (2 beta) up to |e| = beta, then |e| - beta / 2; `l1_loss` for beta = 0.

    Parameters, returns and errors as for `l1_loss`.

    Examples
    --------
    >>> smooth_l1_loss([0.5, 3.0], [0.0, 0.0], reduction="none", beta=2.0)
    array([0.0625, 2.    ])
    """
    if beta == 0:
        return l1_loss(input, target, reduction)
    beta = positive(beta, "beta")
    return huber_loss(input, target, reduction, beta) / beta


def smooth_l1_loss_backward(input, target, reduction: str = "mean", beta: float = 1.0) -> Array:
    """(yhat - y) / beta, kept within [-1, 1]."""
    if beta == 0:
        return l1_loss_backward(input, target, reduction)
    beta = positive(beta, "beta")
    return huber_loss_backward(input, target, reduction, beta) / beta


# ---- margins -------------------------------------------------------------------------------------------------------


def _signs(input, target) -> tuple[Array, Array]:
    input, target = _elementwise(input, target)
    wrong = target[np.abs(target) != 1]
    if wrong.size:
        hint = "; labels in {0, 1} become -1 and +1 with 2 * target - 1" if 0 in wrong else ""
        raise ValueError(f"target: expected labels -1 and +1, got {wrong[0]:g}{hint}")
    return input, target


def hinge_loss(input, target, reduction: str = "mean"):
    """max(0, 1 - y yhat) (System 5). The mean is over all elements.

    Parameters
    ----------
    input : array_like
        Scores.
    target : array_like
        Labels -1 and +1, the shape of ``input``.
    reduction : {"mean", "sum", "none"}
        See the module.

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
    >>> hinge_loss([2.0, 0.5, -1.0], [1, 1, 1], reduction="none")
    array([0. , 0.5, 2. ])
    """
    input, target = _signs(input, target)
    return _reduce(np.maximum(1 - target * input, 0), reduction, input.size)


def hinge_loss_backward(input, target, reduction: str = "mean") -> Array:
    """-y where y yhat < 1, else 0; at the kink y yhat = 1 the flat side is taken."""
    input, target = _signs(input, target)
    return _reduce_backward(np.where(target * input < 1, -target, 0).astype(input.dtype), reduction, input.size)


def _margins(input, target, p: int, margin: float, weight):
    """z_j = max(0, margin - x_y + x_j) with z_y = 0, the labels, and each sample's weight over K."""
    if p not in (1, 2):
        raise ValueError(f"p: expected 1 or 2, got {p!r}")
    Z, lead = _class_rows(input)
    if len(lead) > 1:
        raise ValueError(f"input: expected scores of shape (K,) or (N, K), got {np.shape(input)}")
    labels, _ = _labels(np.asarray(target), lead, Z.shape[1])
    rows = np.arange(len(Z))
    M = np.maximum(float(margin) - Z[rows, labels][:, np.newaxis] + Z, 0)
    M[rows, labels] = 0
    scale = np.full(len(Z), 1 / Z.shape[1], Z.real.dtype)
    if weight is not None:
        scale *= _class_weights(weight, Z)[labels]
    return M, rows, labels, scale, lead


def multi_margin_loss(input, target, p: int = 1, margin: float = 1.0, weight=None, reduction: str = "mean"):
    """sum_{j != y} max(0, margin - x_y + x_j)^p / K, the hinge loss of many classes. The mean is over the N samples.

    Parameters
    ----------
    input : array_like, shape (K,) or (N, K)
        Scores.
    target : array_like, shape () or (N,)
        Class indices.
    p : {1, 2}
        The power of each violation.
    margin : float
        By how much the right class is to lead.
    weight : array_like, shape (K,), optional
        A weight for each class: the sample's own class counts.
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
    >>> round(float(multi_margin_loss([[0.1, 0.2, 0.4, 0.8]], [3])), 12)
    0.325
    """
    M, _, _, scale, lead = _margins(input, target, p, margin, weight)
    return _reduce(((M**p).sum(axis=1) * scale).reshape(lead), reduction, len(M))


def multi_margin_loss_backward(
    input, target, p: int = 1, margin: float = 1.0, weight=None, reduction: str = "mean"
) -> Array:
    """p z_j^(p-1) / K for every violation; the right class gets minus their sum."""
    M, rows, labels, scale, _ = _margins(input, target, p, margin, weight)
    D = (M > 0) * scale[:, np.newaxis] if p == 1 else 2 * M * scale[:, np.newaxis]
    D[rows, labels] = -D.sum(axis=1)
    return _reduce_backward(D.reshape(np.shape(input)), reduction, len(M))


def zero_one_loss(input, target, reduction: str = "mean"):
    """1 where the predicted label differs from the label, else 0 (System 5, whose slide prints the complement).

    The slide's 1[yhat = y] is the accuracy: a perfect predictor would score 1.

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
        As for `l1_loss`.

    Examples
    --------
    >>> float(zero_one_loss([1, 0, 2, 2], [1, 0, 2, 1]))
    0.25
    """
    input, target = _elementwise(input, target)
    return _reduce((input != target).astype(input.dtype), reduction, input.size)


def zero_one_loss_backward(input, target, reduction: str = "mean"):
    """Always an error: the zero-one loss has no gradient to descend.

    Raises
    ------
    TypeError
        Always, naming losses that can be trained on.

    Examples
    --------
    >>> zero_one_loss_backward([1], [0])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    TypeError: zero_one_loss has no gradient: ...
    """
    raise TypeError(
        "zero_one_loss has no gradient: it is constant except where it jumps. Train with 'cross_entropy', "
        "'hinge_loss' or 'multi_margin_loss', and report the zero-one loss as a metric"
    )


# ---- probabilities -------------------------------------------------------------------------------------------------


def between_zero_and_one(values: Array, name: str, hint: str = "") -> None:
    if not (values.min() >= 0 and values.max() <= 1):
        wrong = values[~((values >= 0) & (values <= 1))]
        raise ValueError(f"{name}: expected values from 0 to 1, got {wrong[0]:g}{hint}")


def _binary(input, target) -> tuple[Array, Array]:
    input, target = _elementwise(input, target)
    between_zero_and_one(target, "target", "; labels -1 and +1 become 0 and 1 with (target + 1) / 2")
    return input, target


def _probabilities(input, target) -> tuple[Array, Array]:
    input, target = _binary(input, target)
    between_zero_and_one(input.real, "input", "; logits belong to binary_cross_entropy_with_logits")
    return input, target


def binary_cross_entropy(input, target, weight=None, reduction: str = "mean"):
    """-(y log p + (1 - y) log(1 - p)) of probabilities (System 12). The mean is over all elements.

    As PyTorch defines it, each logarithm is at least -100, so that p = 0 or 1 against its target costs 100 and not
    infinity. A network's sigmoid reaches 1 exactly (in float32 from about a = 17 on); training belongs on the
    logits, in `binary_cross_entropy_with_logits`, where nothing needs a floor.

    Parameters
    ----------
    input : array_like
        Probabilities.
    target : array_like
        Targets from 0 to 1, the shape of ``input``.
    weight : array_like, optional
        One weight per element; the mean still divides by the number of elements.
    reduction : {"mean", "sum", "none"}
        See the module.

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
    >>> binary_cross_entropy([0.5, 0.0], [1.0, 1.0], reduction="none")
    array([  0.69314718, 100.        ])
    """
    input, target = _probabilities(input, target)
    with np.errstate(divide="ignore"):  # log(0) = -inf is what the floor is for
        yes, no = np.maximum(np.log(input), -100), np.maximum(np.log1p(-input), -100)
    terms, _ = _weighted(-(target * yes + (1 - target) * no), weight)
    return _reduce(terms, reduction, terms.size)


def binary_cross_entropy_backward(input, target, weight=None, reduction: str = "mean") -> Array:
    """(p - y) / (p (1 - p)), the denominator at least 1e-12, as in PyTorch.

    The slide's p - y is the derivative by the logit, not by p.

    Examples
    --------
    >>> binary_cross_entropy_backward([0.5, 0.25], [1.0, 0.0], reduction="sum")
    array([-2.        ,  1.33333333])
    """
    input, target = _probabilities(input, target)
    derivatives, _ = _weighted((input - target) / np.maximum(input * (1 - input), 1e-12), weight)
    return _reduce_backward(derivatives, reduction, derivatives.size)


def _positive_weight(pos_weight, like: Array):
    """The weights of the outputs, which broadcast over the samples."""
    if pos_weight is None:
        return 1
    weight = _numbers(pos_weight, "pos_weight", like)
    if weight.shape not in ((), like.shape[like.ndim - weight.ndim :]):
        raise ValueError(f"pos_weight: expected a number or one per output, {like.shape[-1:]}, got {weight.shape}")
    return weight


def binary_cross_entropy_with_logits(input, target, weight=None, reduction: str = "mean", pos_weight=None):
    """y log(1 + e^-a) + (1 - y) log(1 + e^a): `binary_cross_entropy` of p = s(a), exact for every logit.

    Parameters
    ----------
    input : array_like
        Logits.
    target : array_like
        Targets from 0 to 1, the shape of ``input``.
    weight : array_like, optional
        One weight per element; the mean still divides by the number of elements.
    reduction : {"mean", "sum", "none"}
        See the module.
    pos_weight : array_like, optional
        Multiplies the first of the two terms; a number, or one per output.

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
    >>> binary_cross_entropy_with_logits([0.0, 1e4, 40.0], [1.0, 0.0, 1.0], reduction="none")
    array([6.93147181e-01, 1.00000000e+04, 4.24835426e-18])
    """
    input, target = _binary(input, target)
    positive = _positive_weight(pos_weight, target)
    terms = positive * target * softplus(-input) + (1 - target) * softplus(input)
    terms, _ = _weighted(terms, weight)
    return _reduce(terms, reduction, terms.size)


def binary_cross_entropy_with_logits_backward(
    input, target, weight=None, reduction: str = "mean", pos_weight=None
) -> Array:
    """(1 - y) s(a) - y s(-a): p - y, without the cancellation.

    Examples
    --------
    >>> binary_cross_entropy_with_logits_backward([0.0, 40.0], [1.0, 1.0], reduction="sum")
    array([-5.00000000e-01, -4.24835426e-18])
    """
    input, target = _binary(input, target)
    positive = _positive_weight(pos_weight, target)
    derivatives = (1 - target) * sigmoid(input) - positive * target * sigmoid(-input)
    derivatives, _ = _weighted(derivatives, weight)
    return _reduce_backward(derivatives, reduction, derivatives.size)


def _class_rows(input) -> tuple[Array, tuple[int, ...]]:
    """Logits as (rows, K), and the shape that the rows stand for: (), (N,), or (N, d1, ...) of (N, K, d1, ...)."""
    Z = as_floating(input, "input")
    if Z.size == 0 or Z.ndim == 0:
        raise ValueError(f"input: expected logits of shape (N, K) with at least one sample and class, got {Z.shape}")
    if Z.ndim == 2:
        return Z, Z.shape[:1]
    if Z.ndim > 2:
        Z = np.moveaxis(Z, 1, -1)
    return Z.reshape(-1, Z.shape[-1]), Z.shape[:-1]


def _labels(target: Array, lead: tuple[int, ...], K: int, ignore_index: int | None = None):
    """Class indices, one per row; and which of them to keep, where some may be ignored."""
    if target.dtype.kind not in "iu":
        raise TypeError(
            f"target: expected integer class indices of shape {lead}, got dtype {target.dtype} of shape "
            f"{target.shape}; convert labels with target.astype(int)"
        )
    if target.shape != lead:
        told = f"expected class indices of shape {lead}, got shape {target.shape}{_column_hint(target, lead)}"
        raise ValueError(f"target: {told}")
    labels = target.astype(np.intp, copy=False).ravel()
    # One pass for both ends of the range: as an unsigned number, a negative one is enormous.
    in_range = 0 <= labels[labels.view(np.uintp).argmax()] < K
    if in_range and (ignore_index is None or not 0 <= ignore_index < K):
        return labels, None
    given = target.reshape(-1)  # an unsigned one that is too large has become negative in labels
    kept = given != ignore_index
    wrong = given[kept & ((labels < 0) | (labels >= K))]
    if wrong.size:
        hint = "; for two classes and one logit use binary_cross_entropy_with_logits" if K == 1 else ""
        raise ValueError(f"target: expected class indices from 0 to {K - 1}, got {wrong[0]}{hint}")
    return np.where(kept, labels, 0), kept


def _column_hint(target: Array, lead: tuple[int, ...]) -> str:
    """How a column of labels becomes the row that is wanted."""
    if not lead or target.shape != (*lead, 1):
        return ""
    return f"; reshape indices with target.reshape({', '.join(map(str, lead))})"


def _probability_rows(target: Array, Z: Array, shape: tuple[int, ...]) -> Array:
    """Probabilities of the input's shape, as (rows, K)."""
    if target.shape != shape:
        lead = shape[:1] * (len(shape) > 1) + shape[2:]
        told = f"expected class indices of shape {lead}, or probabilities of shape {shape}, got {target.shape}"
        raise ValueError(f"target: {told}{_column_hint(target, lead)}")
    T = _numbers(target, "target", Z.real)
    return (np.moveaxis(T, 1, -1) if T.ndim > 2 else T).reshape(Z.shape)


def _class_weights(weight, Z: Array) -> Array:
    weight = _numbers(weight, "weight", Z.real)
    if weight.shape != Z.shape[1:]:
        raise ValueError(f"weight: expected one weight per class, shape {Z.shape[1:]}, got {weight.shape}")
    return weight


def _cross_entropy(
    input, target, weight=None, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0
):
    """Both halves of the loss, from one softmax: what `cross_entropy`, but for its dtype, and its backward return."""
    if type(label_smoothing) is not float or label_smoothing:
        label_smoothing = up_to_one(label_smoothing, "label_smoothing")
    Z, lead = _class_rows(input)
    N, K = Z.shape
    weight = None if weight is None else _class_weights(weight, Z)
    target = np.asarray(target)
    count = N
    if target.ndim > len(lead):  # probabilities
        T = (1 - label_smoothing) * _probability_rows(target, Z, np.shape(input)) + label_smoothing / K
        terms, dZ = _against_distribution(Z, T if weight is None else T * weight, _divisor(reduction, count))
    else:
        labels, kept = _labels(target, lead, K, ignore_index)
        own = kept if weight is None else weight[labels] if kept is None else weight[labels] * kept
        if own is not None:
            count = float(own.sum()) or 1.0  # of nothing, the mean is 0
        divisor = _divisor(reduction, count)
        if label_smoothing:
            T = np.full((N, K), label_smoothing / K)
            T[np.arange(N), labels] += 1 - label_smoothing
            T = T if weight is None else T * weight
            terms, dZ = _against_distribution(Z, T if kept is None else T * kept[:, np.newaxis], divisor)
        else:
            terms, dZ = _against_index(Z, labels, divisor)
            if own is not None:
                terms, dZ = terms * own, dZ * own[:, np.newaxis]
    if len(lead) != 1:
        terms, dZ = terms.reshape(lead), np.moveaxis(dZ.reshape(*lead, K), -1, min(1, len(lead)))
    return _reduce(terms, reduction, count), dZ.astype(Z.dtype, copy=False)


def _against_index(Z: Array, labels: Array, divisor: float) -> tuple[Array, Array]:
    """-log p_t of each row, and its derivatives p_c, and p_t - 1 for the target's own, over the divisor.

    The terms of the softmax are summed without the target's. That sum is what a confident, right answer has left to
    lose: log(1 + rest / own), and p_t - 1 = -rest / total, both exact where p_t itself rounds to 1.
    """
    N, K = Z.shape
    place = labels * N
    place += np.arange(N)
    E, own, beyond = _exponentials(Z.T, place)  # (K, N): a class to a row, as a network's logits lie in memory
    E.put(place, _ZERO)
    rest = _ones(K).dot(E)
    terms = np.log1p(rest / own)
    if beyond is not None:
        terms -= beyond
    E.put(place, -rest)
    own += rest
    own *= divisor
    E /= own
    return terms, E.T


_ZERO = np.zeros(())  # of double precision, as the exponentials are: a number, and ZERO, would have to be converted
REACH = 340.0  # quotients from e^-680 to e^680, and sums of any number of them, have all digits of double precision


def _exponentials(Z: Array, place: Array) -> tuple[Array, Array, Array | None]:
    """e^(z - s) of all logits, that of each target, and what its logarithm lacks, if anything.

    s is 0, as a shift would only round the logits. Where one of them is out of REACH, s is the largest of its column;
    a target's own that is then too small to divide by is taken as e^-REACH.
    """
    if all_within(Z, REACH):
        E = _exp_in_double(Z)
        return E, E.take(place), None
    D, E = exp_below_the_largest(Z, 0)
    return E, np.maximum(E.take(place), math.exp(-REACH)), np.minimum(D.take(place) + REACH, 0)


def _exp_in_double(A: Array) -> Array:
    """e^a in an array of its own, of float32 in double precision."""
    if A.dtype != SINGLE:
        return np.exp(A)
    E = A.astype(np.float64)
    return np.exp(E, out=E)


@functools.lru_cache
def _ones(count: int) -> Array:
    """What sums over so many classes in a product, which takes a third of the time of a sum."""
    return np.ones(count)


def _against_distribution(Z: Array, T: Array, divisor: float) -> tuple[Array, Array]:
    """-sum_c t_c log p_c of each row, and its derivatives p_c sum(t) - t_c over the divisor, for any weights T.

    The derivative is that of the logarithm of the softmax: small and exact where p_c - t_c would be rounding noise.
    """
    D, E, others, largest = log_sum_parts(Z)
    # A class of weight 0 costs nothing, also where -log p is infinite.
    terms = (T * np.where(T == 0, 0, np.log1p(others) - D)).sum(axis=1)
    return terms, pull_back_log_softmax(-T, *softmax_and_complement(E, others, largest)) / divisor


@np.errstate(over="ignore")  # an enormous loss in double precision is infinite in single
def cross_entropy(
    input, target, weight=None, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0
):
    """-sum_c t_c log p_c with p = softmax(input) (System 12).

    The mean over class indices divides by the sum of the weights of the samples' classes (by N without weights),
    over probabilities by N: PyTorch's conventions.

    Parameters
    ----------
    input : array_like, shape (K,), (N, K) or (N, K, d1, ...)
        Logits.
    target : array_like
        Class indices, the shape of ``input`` without K; or probabilities (one-hot or not), the shape of ``input``.
    weight : array_like, shape (K,), optional
        A weight for each class.
    ignore_index : int
        Samples with this label contribute nothing. Where all are ignored the mean is 0 (PyTorch: nan).
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
    Two equal logits cost log 2, whichever is meant:

    >>> round(float(cross_entropy([[3.0, 3.0]], [0])), 6)
    0.693147
    >>> round(float(cross_entropy([[3.0, 3.0]], [[0.5, 0.5]])), 6)
    0.693147

    A confident answer keeps its digits:

    >>> float(cross_entropy([[50.0, 0.0]], [0]))
    1.928749847963918e-22
    """
    value, dZ = _cross_entropy(input, target, weight, ignore_index, reduction, label_smoothing)
    return dZ.dtype.type(value)


def cross_entropy_backward(
    input, target, weight=None, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0
) -> Array:
    """p - t by the logits, for one-hot t; p_c sum(t) - t_c in general.

    The gradient of a confident, right answer is small and exact, where p - 1 would be rounding noise.

    Examples
    --------
    >>> cross_entropy_backward([[50.0, 0.0]], [0])
    array([[-1.92874985e-22,  1.92874985e-22]])
    """
    return _cross_entropy(input, target, weight, ignore_index, reduction, label_smoothing)[1]


# ---- a loss by name, and both of its numbers at once ---------------------------------------------------------------

Loss = str | Callable | tuple[Callable, Callable]

LOSSES: dict[str, tuple[Callable, Callable]] = {
    loss.__name__: (loss, loss_backward)
    for loss, loss_backward in (
        (l1_loss, l1_loss_backward),
        (mse_loss, mse_loss_backward),
        (half_squared_error, half_squared_error_backward),
        (huber_loss, huber_loss_backward),
        (smooth_l1_loss, smooth_l1_loss_backward),
        (hinge_loss, hinge_loss_backward),
        (multi_margin_loss, multi_margin_loss_backward),
        (zero_one_loss, zero_one_loss_backward),
        (binary_cross_entropy, binary_cross_entropy_backward),
        (binary_cross_entropy_with_logits, binary_cross_entropy_with_logits_backward),
        (cross_entropy, cross_entropy_backward),
    )
}


def find_loss(loss: Loss) -> tuple[Callable, Callable]:
    """The pair (loss, loss_backward) that is meant by a name, a function, a partial or a pair.

    Parameters
    ----------
    loss : str, callable, functools.partial or (callable, callable)
        ``"mse_loss"``; ``losses.mse_loss``; ``functools.partial(losses.huber_loss, delta=2.0)``, whose options then
        hold for the gradient too; or a pair of functions of your own, ``f(input, target)`` and
        ``f_backward(input, target)``. With sample weights they are called with ``reduction="none"``.

    Returns
    -------
    (callable, callable)
        Both take (input, target).

    Raises
    ------
    ValueError
        If no loss has this name.
    TypeError
        If it is none of the above.

    Examples
    --------
    >>> f, f_backward = find_loss(functools.partial(huber_loss, delta=2.0))
    >>> f_backward([3.0], [0.0])
    array([2.])
    """
    if isinstance(loss, str):
        if loss not in LOSSES:
            raise ValueError(f"loss: expected one of {', '.join(LOSSES)}; got {loss!r}")
        return LOSSES[loss]
    if isinstance(loss, functools.partial):
        if loss.args:
            raise TypeError("loss: give the options of a partial by name, e.g. partial(huber_loss, delta=2.0)")
        f, f_backward = find_loss(loss.func)
        return functools.partial(f, **loss.keywords), functools.partial(f_backward, **loss.keywords)
    if isinstance(loss, tuple) and len(loss) == 2 and all(map(callable, loss)):
        return loss
    if callable(loss) and LOSSES.get(getattr(loss, "__name__", ""), (None,))[0] is loss:
        return LOSSES[loss.__name__]
    raise TypeError(
        f"loss: expected a name, a function of handmade.losses, a functools.partial of one, or a pair "
        f"(f, f_backward) of functions, got {loss!r}"
    )


def loss_and_backward(loss: Loss, input: Array, target, sample_weight: Array | None = None):
    """The number and its gradient with respect to ``input``.

    Parameters
    ----------
    loss : see `find_loss`
        Which loss.
    input, target
        As the loss takes them.
    sample_weight : ndarray, shape (N,), optional
        w_i for each sample: the loss becomes sum_i w_i l_i / N, where l_i is the sample's own loss (the mean over its
        outputs; 0, but counted in N, where it is ignored). With ``reduction="sum"`` nothing is divided.

    Returns
    -------
    value : float
    dH : ndarray
        The shape of ``input``.

    Raises
    ------
    ValueError
        If the weights are not one per sample, or ``reduction`` is "none"; or as the loss raises.

    Examples
    --------
    >>> loss_and_backward("mse_loss", np.array([[1.0], [3.0]]), [[0.0], [0.0]], sample_weight=np.array([1.0, 0.0]))
    (np.float64(0.5), array([[1.],
           [0.]]))
    """
    f, f_backward = find_loss(loss)
    function, options = (f.func, f.keywords) if isinstance(f, functools.partial) else (f, {})
    if options.get("reduction") == "none":
        raise ValueError("loss: expected one number to differentiate; reduction='none' gives many")
    if sample_weight is not None:
        return _weighted_by_sample(f, f_backward, input, target, sample_weight, options)
    if function is cross_entropy:  # one softmax serves both
        return _cross_entropy(input, target, **options)
    return f(input, target), _as_gradient(f_backward(input, target), input)


def _as_gradient(dH, input: Array) -> Array:
    """What a loss's backward gave, in the shape and dtype of the input; a user's own may have given anything."""
    dH = np.asarray(dH, input.dtype)
    if dH.shape != input.shape:
        raise ValueError(f"loss: expected its backward to give the shape of the input {input.shape}, got {dH.shape}")
    return dH


def _weighted_by_sample(f, f_backward, input, target, sample_weight, options):
    reduction = options.get("reduction", "mean")
    _check_reduction(reduction)
    weight = _numbers(sample_weight, "sample_weight", input.real)
    if weight.shape != (len(input),):
        raise ValueError(f"sample_weight: expected one weight per sample, shape {(len(input),)}, got {weight.shape}")
    check_finite(weight, "sample_weight")
    if weight.min() < 0:
        raise ValueError(f"sample_weight: expected weights of at least 0, got {weight.min()}")
    if "weight" in options:
        raise ValueError("sample_weight: expected a loss without weight; fold that in, or use the class_weight of fit")
    terms = f(input, target, reduction="none").reshape(len(input), -1)
    scale = weight / terms.size if reduction == "mean" else weight
    dH = f_backward(input, target, reduction="none").reshape(len(input), -1) * scale[:, np.newaxis]
    return scale @ terms.sum(axis=1), dH.reshape(input.shape)
