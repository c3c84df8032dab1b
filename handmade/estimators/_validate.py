"""Checks of samples that the estimators share."""

from __future__ import annotations

from typing import Any

from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from ._sklearn import BaseEstimator

__all__ = ["check_classes", "check_samples"]

FLOATS = ("float64", "float32")
NO_TARGETS = "no_validation"  # scikit-learn's word for a call without y; None is a y that is missing


def check_samples(estimator: BaseEstimator, X: Any, y: Any = NO_TARGETS, *, reset: bool, **options: Any) -> Any:
    """Return X, or X and y, as arrays; X may stay sparse. Raise where columns of a frame changed their order.

    scikit-learn finds out that columns stand in another order; this function also says in which.
    """
    names, known = getattr(X, "columns", None), getattr(estimator, "feature_names_in_", None)
    if not reset and names is not None and known is not None:
        found, expected = list(names), list(known)
        if found != expected and sorted(map(str, found)) == sorted(map(str, expected)):
            raise ValueError(
                "The feature names should match those that were passed during fit.\nFeature names must be in the "
                f"same order as they were in fit.\nX: expected the columns {expected}, got {found}; "
                "select them in that order, X[list(model.feature_names_in_)]"
            )
    return validate_data(estimator, X, y, accept_sparse="csr", dtype=FLOATS, reset=reset, **options)


def check_classes(y: Any) -> None:
    """Raise unless y holds labels."""
    check_classification_targets(y)
