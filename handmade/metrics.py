"""Metrics: numbers for people, from the output of a network and the true targets.

A loss is what training lowers, and has a gradient; a metric is what a reader judges by, and needs none. All
take (output, y) in this order, as the losses do.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["accuracy", "top_k_accuracy", "confusion_matrix", "r2_score"]


def accuracy(output: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Return the fraction of samples whose predicted class is the true one.

    Accuracy is one minus the mean zero-one loss. The lecture prints the zero-one loss as 1[yhat = y]
    (System 5): that is the accuracy, since a perfect prediction would score 1; the loss is 1[yhat != y].

    Parameters
    ----------
    output : array_like
        What it means is read from its shape and type:

        - (N, K) with K >= 2: one score per class, logits or probabilities. The largest score predicts the
          class; the first of equal ones.
        - (N,) or (N, 1), floating: the logit of class 1. A positive logit predicts class 1; zero or less,
          the other class, as two equal scores would. Probabilities are no logits: pass
          ``probability > 0.5``.
        - (N,) or (N, 1), integer or bool: the predicted labels themselves.
    y : array_like
        True labels, whole numbers of shape (N,) or (N, 1), or one-hot rows of shape (N, K). For scores 0 to
        K - 1; for a logit 0 and 1, or -1 and 1 as the hinge loss has them; for labels any.

    Returns
    -------
    float
        From 0.0 to 1.0.

    Raises
    ------
    ValueError
        No samples, shapes that do not fit, NaN, or labels out of range.
    TypeError
        `output` or `y` is not numeric.

    Examples
    --------
    >>> accuracy([[2.0, -1.0, 0.5], [0.1, 0.2, 0.3]], [0, 1])
    0.5
    >>> accuracy([-0.3, 0.4, 2.0, -5.0], [0, 1, 0, 0])
    0.75
    >>> accuracy([3, 1, 2], [3, 1, 0]) == 2 / 3
    True
    """
    predicted, true, _ = _predicted_and_true(output, y)
    return float(np.mean(predicted == true))


def top_k_accuracy(output: npt.ArrayLike, y: npt.ArrayLike, k: int = 5) -> float:
    """Return the fraction of samples whose true class is among the k largest scores.

    Parameters
    ----------
    output : array_like, shape (N, K)
        One score per class. Of equal scores the first counts as the largest, so that k = 1 gives
        `accuracy`.
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
        As for `accuracy`; `output` is no matrix of scores, or `k` is out of range.

    Examples
    --------
    >>> top_k_accuracy([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]], [1, 2], k=2)
    0.5
    """
    output = np.asarray(output)
    if output.ndim != 2 or output.shape[1] < 2 or not 1 <= k <= output.shape[1]:
        raise ValueError(f"expected output of shape (N, K) and 1 <= k <= K, K >= 2; got {output.shape} and k={k}")
    _, true, _ = _predicted_and_true(output, y)
    score = np.take_along_axis(output, true[:, None], axis=1)
    before = np.arange(output.shape[1]) < true[:, None]
    rank = np.sum((output > score) | ((output == score) & before), axis=1)
    return float(np.mean(rank < k))


def confusion_matrix(output: npt.ArrayLike, y: npt.ArrayLike, n_classes: int | None = None) -> np.ndarray:
    """Count the samples for each pair of true and predicted class.

    Parameters
    ----------
    output, y : array_like
        As for `accuracy`, with labels from 0.
    n_classes : int or None
        The size K of the matrix. None: the number of scores, 2 for a logit, and one more than the largest
        label where `output` holds labels.

    Returns
    -------
    ndarray of int64, shape (K, K)
        Entry [i, j] counts the samples of class i that were predicted as class j: rows are true, columns
        predicted. The diagonal holds the correct ones.

    Raises
    ------
    ValueError
        As for `accuracy`; or a label is not in 0 to K - 1.

    Examples
    --------
    >>> confusion_matrix([0, 1, 1, 2], [0, 0, 1, 2])
    array([[1, 1, 0],
           [0, 1, 0],
           [0, 0, 1]])
    """
    predicted, true, classes = _predicted_and_true(output, y)
    if n_classes is None:
        n_classes = classes
    _check_labels("y", true, range(n_classes))
    _check_labels("output", predicted, range(n_classes))
    pairs = np.bincount(true * n_classes + predicted, minlength=n_classes**2)
    return pairs.reshape(n_classes, n_classes)


def r2_score(output: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Return the coefficient of determination R2, the share of the targets' variance that is explained.

    For each output column R2 = 1 - sum (y - output)^2 / sum (y - mean(y))^2; the columns are averaged with
    equal weights. 1 is perfect, 0 is no better than the mean of y, below 0 is worse. A constant target has
    no variance to explain: it scores 1 if it is met exactly and else 0, as scikit-learn documents for its
    ``r2_score``.

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
        The shapes differ, there are fewer than two samples, or a value is not finite.

    Examples
    --------
    >>> r2_score([1.0, 2.0, 2.0], [1.0, 2.0, 3.0])
    0.5
    >>> r2_score([2.0, 2.0, 2.0], [1.0, 2.0, 3.0])
    0.0
    >>> r2_score([[1.0, 7.0], [2.0, 7.0], [2.0, 7.0]], [[1.0, 7.0], [2.0, 7.0], [3.0, 7.0]])
    0.75
    """
    output, y = (_numeric(name, array).astype(np.float64) for name, array in (("output", output), ("y", y)))
    output, y = (array[:, None] if array.ndim == 1 else array for array in (output, y))
    if output.shape != y.shape or y.ndim != 2 or len(y) < 2 or y.size == 0:
        raise ValueError(f"expected output and y of one shape (N,) or (N, O), N >= 2, got {output.shape} and {y.shape}")
    if not (np.isfinite(output).all() and np.isfinite(y).all()):
        raise ValueError("expected finite numbers, got NaN or infinity in output or y")
    # Compared exactly: the mean of equal numbers may be rounded, and leave a variance that is not there.
    constant = np.all(y == y[0], axis=0)
    # Dividing by the spread keeps the squares of very large and very small targets in range.
    spread = np.where(constant, 1.0, np.ptp(y, axis=0))
    residual = np.sum(((y - output) / spread) ** 2, axis=0)
    total = np.where(constant, 1.0, np.sum(((y - y.mean(axis=0)) / spread) ** 2, axis=0))
    score = np.where(constant, np.all(output == y, axis=0), 1.0 - residual / total)
    return float(score.mean())


def _predicted_and_true(output: npt.ArrayLike, y: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray, int]:
    """Return predicted labels, true labels, and the number of classes that `output` speaks of."""
    output, y = _numeric("output", output), _numeric("y", y)
    fitting = y.shape[:1] == output.shape[:1] and y.shape[1:] in ((), (1,), output.shape[1:])
    if output.ndim not in (1, 2) or output.size == 0 or not fitting:
        raise ValueError(
            f"expected at least one sample, output of shape (N,), (N, 1) or (N, K), and y of shape (N,), "
            f"(N, 1) or that of output; got output of shape {output.shape} and y of shape {y.shape}"
        )
    true = _labels("y", y)
    if np.isnan(output).any():
        first = np.argwhere(np.isnan(output))[0].tolist()
        raise ValueError(f"output: expected numbers, got NaN, first at index {first}")
    if output.ndim == 2 and output.shape[1] > 1:
        classes = output.shape[1]
        _check_labels("y", true, range(classes))
        return output.argmax(axis=1), true, classes
    if output.dtype.kind in "iub":
        predicted = _labels("output", output)
        return predicted, true, int(max(predicted.max(), true.max())) + 1
    negative = -1 if -1 in true else 0
    _check_labels("y", true, range(negative, 2, 1 - negative))
    return np.where(output.reshape(-1) > 0, 1, negative), true, 2


def _numeric(name: str, array: npt.ArrayLike) -> np.ndarray:
    array = np.asarray(array)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected real numbers, got an array of {array.dtype}")
    return array


def _labels(name: str, array: np.ndarray) -> np.ndarray:
    """Return labels as an int64 vector, from whole numbers of shape (N,) or (N, 1) or from one-hot rows."""
    labels = array.astype(np.float64)
    if labels.ndim == 2 and labels.shape[1] > 1:
        if np.any((labels != 0) & (labels != 1)) or np.any(labels.sum(axis=1) != 1):
            raise ValueError(f"{name}: expected one-hot rows, a single 1 and else 0, in shape {labels.shape}")
        labels = labels.argmax(axis=1)
    labels = labels.reshape(-1)
    # Up to 2**53 float64 holds every whole number.
    wrong = labels[~((np.abs(labels) <= 2**53) & (labels == np.rint(labels)))]
    if wrong.size:
        raise ValueError(f"{name}: expected whole numbers as labels, got {wrong[0]}")
    return labels.astype(np.int64)


def _check_labels(name: str, labels: np.ndarray, allowed: range) -> None:
    wrong = labels[~np.isin(labels, allowed)]
    if wrong.size:
        joint = "to" if allowed.step == 1 else "or"
        low, high = allowed.start, allowed.stop - 1
        raise ValueError(f"{name}: expected labels {low} {joint} {high}, got {wrong[0]}")
