"""Metrics: accuracy, the confusion matrix and R2, from the output of a network and the true targets.

Training lowers a loss, which has a gradient; people judge by a metric, which needs none. All take (output, y) in this
order, as the losses do.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ._types import Array, MetricFunction, MetricName
from ._validation import as_array, check_count, check_finite
from .perceptron import is_positive

__all__ = ["accuracy", "top_k_accuracy", "confusion_matrix", "r2_score"]

MOST_CLASSES = 2**14  # of a confusion matrix, which then takes 2 GiB
LARGEST_LABEL = 2**53  # below it float64 holds every whole number


def accuracy(output: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Return the fraction of samples whose predicted class is the true one.

    Accuracy is one minus the mean zero-one loss, 1[yhat != y]. The lecture's slide has 1[yhat = y] for that loss
    (System 5), which is the accuracy: a perfect prediction scores 1.

    Parameters
    ----------
    output : array_like
        Predictions. Shape and dtype tell what they mean:

        - (N, K) with K >= 2: one score per class, logits or probabilities. The class with the largest score is
        predicted;
          of equal scores, the first.
        - (N,) or (N, 1), floating: the logit of class 1. A logit of 0 or more predicts class 1, as the perceptron's
          sign does; a negative logit predicts the other class. Probabilities are not logits: pass ``probability >=
          0.5``.
        - (N,) or (N, 1), integer or bool: the predicted labels themselves.
    y : array_like
        True labels, whole numbers of shape (N,) or (N, 1), or one-hot rows of shape (N, K). They are 0 to K - 1 for
        scores; 0 and 1, or -1 and 1 as in the hinge loss, for a logit; any whole numbers for predicted labels.

    Returns
    -------
    float
        From 0.0 to 1.0.

    Raises
    ------
    ValueError
        If there are no samples, shapes do not fit, a value is NaN, or labels are out of range.
    TypeError
        If ``output`` or ``y`` is not numeric, or is masked or sparse.

    Examples
    --------
    >>> hm.metrics.accuracy([[2.0, -1.0, 0.5], [0.1, 0.2, 0.3]], [0, 1])
    0.5
    >>> hm.metrics.accuracy([-0.3, 0.4, 2.0, -5.0], [0, 1, 0, 0])
    0.75
    >>> hm.metrics.accuracy([3, 1, 2], [3, 1, 0]) == 2 / 3
    True
    """
    predicted, true, _ = _predicted_and_true(output, y)
    return float(np.mean(predicted == true))


def top_k_accuracy(output: npt.ArrayLike, y: npt.ArrayLike, k: int = 5) -> float:
    """Return the fraction of samples whose true class is among the k largest scores.

    Parameters
    ----------
    output : array_like, shape (N, K)
        One score per class. Of equal scores the first counts as the largest, so that k = 1 gives `accuracy`.
    y : array_like, shape (N,), (N, 1) or one-hot (N, K)
        True labels, 0 to K - 1.
    k : int, default 5
        From 1 to K.

    Returns
    -------
    float
        From 0.0 to 1.0.

    Raises
    ------
    ValueError
        As for `accuracy`, or if ``output`` is not a matrix of scores or ``k`` is out of range.
    TypeError
        As for `accuracy`, or if ``k`` is not an integer.

    Examples
    --------
    >>> hm.metrics.top_k_accuracy([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]], [1, 2], k=2)
    0.5
    """
    output, k = _numeric("output", output), check_count(k, "k")
    if output.ndim != 2 or output.shape[1] < 2:
        raise ValueError(f"output: expected scores of shape (N, K), K >= 2, got shape {output.shape}")
    if k > output.shape[1]:
        raise ValueError(f"k: expected an integer from 1 to {output.shape[1]}, the number of classes, got {k}")
    _, true, _ = _predicted_and_true(output, y)
    score = np.take_along_axis(output, true[:, None], axis=1)
    before = np.arange(output.shape[1]) < true[:, None]
    rank = np.sum((output > score) | ((output == score) & before), axis=1)
    return float(np.mean(rank < k))


def confusion_matrix(output: npt.ArrayLike, y: npt.ArrayLike, n_classes: int | None = None) -> npt.NDArray[np.int64]:
    """Count the samples for each pair of true and predicted class.

    Parameters
    ----------
    output, y : array_like
        As for `accuracy`, with labels from 0.
    n_classes : int or None
        The size K of the matrix, at most 16,384. None: the number of scores, 2 for a logit, and one more than the
        largest label where ``output`` holds labels.

    Returns
    -------
    ndarray of int64, shape (K, K)
        Entry [i, j] counts the samples of class i that were predicted as class j: rows are true, columns predicted.
        The diagonal holds the correct ones.

    Raises
    ------
    ValueError
        As for `accuracy`, or if a label is not in 0 to K - 1.
    TypeError
        As for `accuracy`, or if ``n_classes`` is not an integer.

    Examples
    --------
    >>> hm.metrics.confusion_matrix([0, 1, 1, 2], [0, 0, 1, 2])
    array([[1, 1, 0],
           [0, 1, 0],
           [0, 0, 1]])
    """
    predicted, true, classes = _predicted_and_true(output, y)
    n_classes = classes if n_classes is None else check_count(n_classes, "n_classes")
    if n_classes > MOST_CLASSES:
        raise ValueError(
            f"n_classes: expected at most {MOST_CLASSES} classes, got {n_classes}; "
            "number the classes from 0 with hm.data.encode_labels"
        )
    _check_labels("y", true, range(n_classes))
    _check_labels("output", predicted, range(n_classes))
    pairs = np.bincount(true * n_classes + predicted, minlength=n_classes**2)
    return pairs.astype(np.int64, copy=False).reshape(n_classes, n_classes)


def r2_score(output: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Return the coefficient of determination R2: the share of the targets' variance that is explained.

    For each output column R2 = 1 - sum (y - output)^2 / sum (y - mean(y))^2; the columns are averaged with equal
    weights. 1 is perfect, 0 is no better than the mean of y, below 0 is worse. A constant target has no variance to
    explain: it scores 1 if it is met exactly and else 0, as scikit-learn documents for its ``r2_score``.

    Parameters
    ----------
    output, y : array_like, shape (N,) or (N, O)
        Predictions and targets of the same shape; (N,) and (N, 1) are the same. At least two samples.

    Returns
    -------
    float
        At most 1.0.

    Raises
    ------
    ValueError
        If the shapes differ, there are fewer than two samples, or a value is not finite.
    TypeError
        If ``output`` or ``y`` is not numeric, or is masked or sparse.

    Examples
    --------
    >>> hm.metrics.r2_score([1.0, 2.0, 2.0], [1.0, 2.0, 3.0])
    0.5
    >>> hm.metrics.r2_score([2.0, 2.0, 2.0], [1.0, 2.0, 3.0])
    0.0
    >>> hm.metrics.r2_score([[1.0, 7.0], [2.0, 7.0], [2.0, 7.0]], [[1.0, 7.0], [2.0, 7.0], [3.0, 7.0]])
    0.75
    """
    output, y = (_numeric(name, array).astype(np.float64) for name, array in (("output", output), ("y", y)))
    shapes = output.shape, y.shape
    output, y = (array[:, None] if array.ndim == 1 else array for array in (output, y))
    if output.shape != y.shape or y.ndim != 2 or len(y) < 2 or y.size == 0:
        raise ValueError(
            f"output: expected the shape of y, (N,) or (N, O) with N >= 2, got {shapes[0]} and y of {shapes[1]}"
        )
    check_finite(output, "output")
    check_finite(y, "y")
    # A power of two cancels in the quotient; with it, sums and differences of numbers up to 1.8e308 do not overflow.
    scale = np.where(np.abs(y).max(axis=0) > 1e280, 2.0**-64, 1.0)
    output, y = output * scale, y * scale
    # Compared exactly: the mean of equal numbers may be rounded, and leave a variance that is not there.
    constant = np.all(y == y[0], axis=0)
    # Dividing by the spread keeps the squares of very large and very small targets in range.
    spread = np.where(constant, 1.0, np.ptp(y, axis=0))
    with np.errstate(over="ignore"):  # an output that is off by 1e154 spreads scores -inf
        residual = np.sum(((y - output) / spread) ** 2, axis=0)
        total = np.where(constant, 1.0, np.sum(((y - y.mean(axis=0)) / spread) ** 2, axis=0))
        score = np.where(constant, np.all(output == y, axis=0), 1.0 - residual / total)
    return float(score.mean())


def _predicted_and_true(output: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Array, Array, int]:
    """Return predicted labels, true labels, and the number of classes of ``output``."""
    output, y = _numeric("output", output), _numeric("y", y)
    fitting = y.shape[:1] == output.shape[:1] and y.shape[1:] in ((), (1,), output.shape[1:])
    if output.ndim not in (1, 2) or output.size == 0 or not fitting:
        raise ValueError(
            f"output: expected at least one sample and shape (N,), (N, 1) or (N, K), with y of shape (N,), (N, 1) "
            f"or that of output, got output of shape {output.shape} and y of shape {y.shape}"
        )
    true = _labels("y", y)
    if np.isnan(output).any():
        index = tuple(np.argwhere(np.isnan(output))[0].tolist())
        raise ValueError(f"output: expected numbers, got nan at index {index}")
    if output.ndim == 2 and output.shape[1] > 1:
        classes = output.shape[1]
        _check_labels("y", true, range(classes))
        return output.argmax(axis=1), true, classes
    if output.dtype.kind in "iub":
        predicted = _labels("output", output)
        return predicted, true, int(max(predicted.max(), true.max())) + 1
    negative = -1 if -1 in true else 0
    _check_labels("y", true, range(negative, 2, 1 - negative))
    return np.where(is_positive(output.reshape(-1)), 1, negative), true, 2


def _numeric(name: str, array: npt.ArrayLike) -> Array:
    """Return an array of real numbers or booleans."""
    array = as_array(array, name)
    if array.dtype.kind not in "biuf":
        cure = "number the classes with hm.data.encode_labels" if array.dtype.kind in "SUO" else "take its real part"
        raise TypeError(f"{name}: expected real numbers, got dtype {array.dtype}; {cure}")
    return array


def _labels(name: str, array: Array) -> Array:
    """Return labels as an int64 vector, from whole numbers of shape (N,) or (N, 1) or from one-hot rows."""
    labels = array.astype(np.float64)
    if labels.ndim == 2 and labels.shape[1] > 1:
        if np.any((labels != 0) & (labels != 1)) or np.any(labels.sum(axis=1) != 1):
            raise ValueError(f"{name}: expected one-hot rows, a single 1 and else 0, in shape {labels.shape}")
        labels = labels.argmax(axis=1)
    labels = labels.reshape(-1)
    wrong = labels[~((np.abs(labels) < LARGEST_LABEL) & (labels == np.rint(labels)))]
    if wrong.size:
        raise ValueError(f"{name}: expected whole numbers as labels, got {wrong[0]}")
    return labels.astype(np.int64)


def _check_labels(name: str, labels: Array, allowed: range) -> None:
    """Raise ValueError for a label that is not allowed."""
    wrong = labels[~np.isin(labels, allowed)]
    if wrong.size:
        joint = "to" if allowed.step == 1 else "or"
        low, high = allowed.start, allowed.stop - 1
        raise ValueError(f"{name}: expected labels {low} {joint} {high}, got {wrong[0]}")


METRICS: dict[MetricName, MetricFunction] = {
    "accuracy": accuracy,
    "top_k_accuracy": top_k_accuracy,
    "r2_score": r2_score,
}
