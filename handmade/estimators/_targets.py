"""Targets: what a network is to output for the targets of an estimator, and the way back."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from sklearn.utils.multiclass import type_of_target, unique_labels

from .._types import Array
from .._validation import as_array
from ..activations import logsigmoid, sigmoid, softmax
from ..losses import binary_cross_entropy_with_logits, binary_cross_entropy_with_logits_backward, loss_and_backward
from ..losses._terms import reduce, reduce_backward

__all__ = ["Targets", "class_targets", "number_targets"]


def log_loss(input: Array, target: Array, reduction: str = "mean") -> Any:
    """Return the binary cross-entropy from logits, summed over the outputs of a sample."""
    return reduce(binary_cross_entropy_with_logits(input, target, reduction="none").sum(axis=1), reduction)


def log_loss_backward(input: Array, target: Array, reduction: str = "mean") -> Array:
    """Return sigmoid(input) - target, divided by the number of samples for the mean."""
    dH = binary_cross_entropy_with_logits_backward(input, target, reduction="none")
    return reduce_backward(dH, reduction, len(input))


def poisson(input: Array, target: Array, reduction: str = "mean") -> Any:
    """Return half of scikit-learn's Poisson deviance, of the logarithm of the prediction, summed over the outputs."""
    log_target = np.log(np.where(target > 0, target, 1))
    return reduce((target * (log_target - input) - target + np.exp(input)).sum(axis=1), reduction)


def poisson_backward(input: Array, target: Array, reduction: str = "mean") -> Array:
    """Return prediction - target, divided by the number of samples for the mean."""
    return reduce_backward(np.exp(input) - target, reduction, len(input))


class Targets(Protocol):
    """The targets of an estimator.

    Attributes
    ----------
    n_outputs : int
        Of the network.
    loss : pair of functions
        The default, which scikit-learn's estimators minimize.
    mean_loss : str or None
        The name of the loss which times n_outputs is the default, where `handmade.compile` knows that one alone.
    out_activation : str
        scikit-learn's name of the function from outputs to predictions.
    """

    n_outputs: int
    loss: Any
    mean_loss: str | None
    out_activation: str

    def encode(self, y: Array) -> Array:
        """Return what the loss takes."""
        ...

    def values(self, outputs: Array) -> Array:
        """Return probabilities, or predicted numbers."""
        ...

    def decode(self, values: Array) -> Array:
        """Return predictions in the form of the targets."""
        ...


class Classes:
    """The labels of several classes: one output for each, and the cross-entropy."""

    loss: Any = "cross_entropy"
    mean_loss: str | None = None
    out_activation = "softmax"

    def __init__(self, classes: Array) -> None:
        self.classes = classes
        self.n_outputs = len(classes)

    def encode(self, y: Array) -> Array:
        """Return class indices; raise if a label is unknown."""
        places = np.searchsorted(self.classes, y)
        places[places == len(self.classes)] = 0
        if not (known := self.classes[places] == y).all():
            raise ValueError(f"y: expected labels among {self.classes.tolist()}, got {y[~known].tolist()[0]!r}")
        return places

    def values(self, outputs: Array) -> Array:
        """Return the probability of each class, shape (N, K)."""
        return softmax(outputs)

    def decode(self, values: Array) -> Array:
        """Return the label of the most probable class."""
        labels: Array = self.classes[values.argmax(axis=1)]
        return labels


class EachClass(Classes):
    """The labels of classes as a number for each, ``low`` or 1; two classes share one output, of the second class."""

    loss = (log_loss, log_loss_backward)
    mean_loss = "binary_cross_entropy_with_logits"
    out_activation = "logistic"

    def __init__(self, classes: Array, low: float = 0.0) -> None:
        super().__init__(classes)
        self.low = low
        self.n_outputs = 1 if len(classes) == 2 else len(classes)

    def encode(self, y: Array) -> Array:
        """Return ``low`` or 1 for each sample and output."""
        own = np.arange(len(self.classes))[-self.n_outputs :]
        return np.where(super().encode(y)[:, np.newaxis] == own, 1.0, self.low)

    def values(self, outputs: Array) -> Array:
        """Return the probability of each class, shape (N, K): the sigmoids, divided by their sum."""
        if self.n_outputs == 1:
            return np.hstack([sigmoid(-outputs), sigmoid(outputs)])
        return softmax(logsigmoid(outputs))


class Labels:
    """An indicator matrix: any number of labels for each sample, one output for each label."""

    loss: Any = (log_loss, log_loss_backward)
    mean_loss: str | None = "binary_cross_entropy_with_logits"
    out_activation = "logistic"

    def __init__(self, n_labels: int) -> None:
        self.classes = np.arange(n_labels)
        self.n_outputs = n_labels

    def encode(self, y: Any) -> Array:
        """Return y as floats; raise if its width is another, or it holds anything but 0 and 1."""
        Y: Array = np.asarray(y.toarray() if hasattr(y, "toarray") else y)
        if Y.ndim != 2 or Y.shape[1] != self.n_outputs:
            raise ValueError(f"y: expected an indicator matrix of {self.n_outputs} labels, got shape {Y.shape}")
        if not (known := np.isin(Y, (0, 1))).all():
            raise ValueError(f"y: expected an indicator matrix of 0 and 1, got {Y[~known].tolist()[0]!r}")
        return Y.astype(np.float64)

    def values(self, outputs: Array) -> Array:
        """Return the probability of each label, shape (N, L)."""
        return sigmoid(outputs)

    def decode(self, values: Array) -> Array:
        """Return the indicator matrix."""
        return (values > 0.5).astype(np.int64)


class Numbers:
    """A target of numbers to predict: one output for each column."""

    loss: Any = "half_squared_error"
    mean_loss: str | None = None
    out_activation = "identity"

    def __init__(self, n_outputs: int, is_vector: bool) -> None:
        self.n_outputs, self.is_vector = n_outputs, is_vector

    def encode(self, y: Array) -> Array:
        """Return y of shape (N, O)."""
        Y = y.reshape(len(y), -1)
        if Y.shape[1] != self.n_outputs:
            raise ValueError(f"y: expected {self.n_outputs} columns, got shape {y.shape}")
        return Y

    def values(self, outputs: Array) -> Array:
        """Return the outputs."""
        return outputs

    def decode(self, values: Array) -> Array:
        """Return a vector for a vector, else a matrix."""
        return values.ravel() if self.is_vector else values


class Counts(Numbers):
    """A target of counts to predict: the outputs are logarithms of their means."""

    loss = (poisson, poisson_backward)
    out_activation = "exp"

    def encode(self, y: Array) -> Array:
        """Return y of shape (N, O); raise if it is negative."""
        if y.min() < 0:
            raise ValueError(f"y: expected numbers of at least 0 for the Poisson loss, got {y.min()}")
        return super().encode(y)

    def values(self, outputs: Array) -> Array:
        """Return the predicted means."""
        return np.exp(outputs)


def class_targets(y: Any, classes: Any, loss: Any) -> Targets:
    """Return the targets of a classifier, in the first form that a loss takes, or for the default loss, None.

    The forms are class indices with an output for each class; signs; and 0 or 1. Signs come before 0 and 1 so that for
    every loss of signs or distances, 0 is between the classes.
    """
    if type_of_target(y, input_name="y") == "multilabel-indicator":
        return Labels(y.shape[1])
    if y.ndim != 1:
        raise ValueError(
            f"y: expected a vector of labels or an indicator matrix of 0 and 1, got {y.dtype} of shape {y.shape}; for "
            "several columns of labels, use sklearn.multioutput.MultiOutputClassifier"
        )
    labels = y if classes is None else as_array(classes, "classes")
    if labels.ndim != 1:
        raise ValueError(f"classes: expected a vector of labels, got {labels!r}")
    unique_labels(labels)  # raises if their types are mixed
    found = np.unique(labels)
    if len(found) < 2:
        got = f"1 class, {found.tolist()[0]!r}" if len(found) else "none"
        raise ValueError(f"{'y' if classes is None else 'classes'}: expected at least 2 classes, got {got}")
    if loss is None:
        return EachClass(found) if len(found) == 2 else Classes(found)
    forms = Classes(found), EachClass(found, -1.0), EachClass(found, 0.0)
    return next((form for form in forms if _takes(loss, form)), forms[0])


def _takes(loss: Any, form: Classes) -> bool:
    """Return whether a loss takes targets of this form."""
    try:
        loss_and_backward(loss, np.zeros((len(form.classes), form.n_outputs)), form.encode(form.classes))
    except (ValueError, TypeError):
        return False
    return True


def number_targets(y: Array, loss: Any) -> Targets:
    """Return the targets of a regressor."""
    kind = Counts if isinstance(loss, str) and loss == "poisson" else Numbers
    return kind(1 if y.ndim == 1 else y.shape[1], y.ndim == 1)
