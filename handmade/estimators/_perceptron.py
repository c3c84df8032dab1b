"""PerceptronClassifier: Rosenblatt's rule with scikit-learn's interface."""

from __future__ import annotations

import copy
import warnings
from typing import Any, Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import column_or_1d
from sklearn.utils.validation import check_is_fitted

from .._types import Array
from .._validation import check_bool, check_count
from ..perceptron import Perceptron, is_positive
from ._sklearn import BaseEstimator, ClassifierMixin, Tags
from ._validate import as_random_state, check_classes, check_labels, check_samples

__all__ = ["PerceptronClassifier"]


class PerceptronClassifier(ClassifierMixin, BaseEstimator):
    """A classifier of one `Perceptron` for two classes, or one per class against all others.

    Parameters
    ----------
    fit_intercept : bool
        Whether the units have a bias.
    max_iter : int
        The largest number of epochs. Training stops earlier if an epoch has no mistake.
    shuffle : bool
        Whether to take the samples in a random order, the same in all epochs, or in the given order.
    random_state : int, RandomState or None
        Draws the order.

    Attributes
    ----------
    units_ : list of Perceptron
        The units, one per class; a single one for two classes.
    coef_, intercept_ : ndarray, shape (K, I) and (K,)
        The weights and biases of the units; K is 1 for two classes.
    classes_ : ndarray
        The labels.
    n_iter_ : int
        The largest number of epochs of a unit.

    Examples
    --------
    >>> from handmade.estimators import PerceptronClassifier
    >>> X = [[0, 0], [0, 1], [1, 0], [1, 1]]
    >>> model = PerceptronClassifier(shuffle=False).fit(X, ["no", "yes", "yes", "yes"])
    >>> model.predict(X).tolist(), model.n_iter_
    (['no', 'yes', 'yes', 'yes'], 4)
    """

    classes_: Array
    units_: list[Perceptron]
    coef_: Array
    intercept_: Array
    n_iter_: int

    def __init__(
        self, *, fit_intercept: bool = True, max_iter: int = 1000, shuffle: bool = True, random_state: Any = None
    ) -> None:
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> Self:
        """Train on samples and their labels.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (N, I)
            Samples.
        y : array_like, shape (N,)
            Labels.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the data are not valid, or there is only one class.

        Warns
        -----
        ConvergenceWarning
            If the last epoch had mistakes: no hyperplane was found that separates the classes.
        """
        check_bool(self.shuffle, "shuffle")
        check_bool(self.fit_intercept, "fit_intercept")
        max_iter = check_count(self.max_iter, "max_iter")
        new = copy.copy(self)  # becomes self at the end: a call that fails, or is interrupted, changes nothing
        check_labels(y, "y")
        X, y = check_samples(new, X, y, reset=True)
        y = column_or_1d(y, warn=True)
        check_classes(y)
        classes = np.unique(y)
        if len(classes) < 2:
            raise ValueError(f"y: expected at least 2 classes, got 1 class, {classes.tolist()[0]!r}")
        order = np.arange(len(y))
        if self.shuffle:
            as_random_state(self.random_state).shuffle(order)
        X, y = _dense(X)[order], y[order]
        new.classes_ = classes
        new.units_ = [
            Perceptron(bias=self.fit_intercept).fit(X, np.where(y == label, 1, -1), max_epochs=max_iter)
            for label in (classes[1:] if len(classes) == 2 else classes)
        ]
        new.coef_ = np.array([unit.w for unit in new.units_])
        new.intercept_ = np.array([unit.b for unit in new.units_])
        new.n_iter_ = max(unit.epochs for unit in new.units_)
        self.__dict__ = new.__dict__
        if not all(unit.converged for unit in self.units_):
            text = f"max_iter: {max_iter} epochs did not end the mistakes; a line may not separate the classes"
            warnings.warn(text, ConvergenceWarning, stacklevel=2)
        return self

    def decision_function(self, X: Any) -> Array:
        """Return the scores, shape (N,) for two classes, else (N, K).

        Raises
        ------
        NotFittedError, ValueError
            If `fit` was not called, or X has other columns than in `fit`.
        """
        check_is_fitted(self)
        scores: Array = _dense(check_samples(self, X, reset=False)) @ self.coef_.T + self.intercept_
        return scores[:, 0] if len(self.units_) == 1 else scores

    def predict(self, X: Any) -> Array:
        """Return the label of each sample: that of the highest score.

        Raises
        ------
        NotFittedError, ValueError
            As for `decision_function`.
        """
        scores = self.decision_function(X)
        places = is_positive(scores).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)
        labels: Array = self.classes_[places]
        return labels

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _dense(X: Any) -> Array:
    """Return X as a dense float64 array."""
    return np.asarray(X.toarray() if hasattr(X, "toarray") else X, np.float64)
