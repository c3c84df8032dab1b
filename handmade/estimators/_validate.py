"""Checks of samples that the estimators share."""

from __future__ import annotations

from contextlib import suppress
from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from .._validation import as_array, check_unmasked
from ._sklearn import BaseEstimator

__all__ = ["as_random_state", "check_classes", "check_labels", "check_missing", "check_numbers", "check_samples"]

FLOATS = ("float64", "float32")
NO_TARGETS = "no_validation"  # scikit-learn's word for a call without y; None is a y that is missing


def as_random_state(seed: Any) -> np.random.RandomState:
    """Return a generator of the kind that scikit-learn draws from."""
    try:
        return check_random_state(seed)
    except (ValueError, TypeError) as error:
        raise type(error)(f"random_state: expected None, an integer or a RandomState, got {seed!r}") from error


def _first(value: Any) -> Any:
    """Return the first item of a list or tuple; None where there is none."""
    return value[0] if isinstance(value, list | tuple) and value else None


def _readable(value: Any, name: str) -> Any:
    """Return data as scikit-learn reads them: tensors without their gradient; refuse masks and dates.

    It reads pandas' nullable integers as float64, in which large labels are no longer different.
    """
    check_unmasked(value, name)
    if isinstance(_first(value), list | tuple | np.ndarray):
        return as_array(value, name)  # whose error about rows of different lengths names them
    if hasattr(value, "detach"):
        return value.detach()
    own = getattr(getattr(value, "dtype", None), "numpy_dtype", None)  # of a pandas Series
    if getattr(own, "kind", "") in ("i", "u", "b") and not value.isna().any():
        return value.to_numpy(own)
    is_frame = hasattr(value, "columns") and hasattr(value, "dtypes")
    dtypes = zip(value.columns, value.dtypes, strict=True) if is_frame else [("", getattr(value, "dtype", None))]
    for column, dtype in dtypes:
        if getattr(dtype, "kind", "") in ("m", "M"):
            place = f" in column {column!r}" if is_frame else ""
            raise TypeError(
                f"{name}: expected numbers, got dates of dtype {dtype}{place}; subtract one of them and divide"
            )
    return value


def _check_columns(value: Any, name: str) -> None:
    """Raise if a column of a frame holds something else than numbers; scikit-learn's error does not name it."""
    for i, column in enumerate(value.columns if hasattr(value, "iloc") and hasattr(value, "columns") else ()):
        for item in _items(value.iloc[:, i]):
            try:
                float(0 if item is None else item)  # a missing value has an error of its own
            except (TypeError, ValueError) as error:
                cure = "encode it, as OneHotEncoder does, or leave it out"
                raise type(error)(f"{name}: expected numbers, got {item!r} in column {column!r}; {cure}") from None


def _items(value: Any) -> list[Any]:
    """Return the items of a list, or of an array of Python's or pandas' types; none of an array of numbers."""
    if value is None or (isinstance(getattr(value, "dtype", None), np.dtype) and value.dtype.kind != "O"):
        return []
    with suppress(ValueError, TypeError, RuntimeError):  # of data that NumPy cannot read
        return list(np.asarray(value, object).ravel())
    return []


def check_missing(value: Any, name: str) -> None:
    """Raise ValueError if data lack a value: None, NaN, or pandas' NA and NaT, whose comparisons are neither."""
    for item in _items(value):
        word = {"NAType": "pandas.NA", "NaTType": "pandas.NaT"}.get(type(item).__name__, repr(item))
        if item is None or word.startswith("pandas.") or (isinstance(item, Real | np.generic) and item != item):
            raise ValueError(f"{name}: expected no missing values, got {word}; drop those samples, or fill them in")


def check_labels(value: Any, name: str) -> None:
    """Raise ValueError if labels are missing, TypeError if some are text and others numbers, which have no order."""
    check_missing(value, name)
    found = {isinstance(item, str): item for item in _items(value) if isinstance(item, str | Real)}
    if len(found) == 2:
        raise TypeError(
            f"{name}: expected labels of one type, got {found[True]!r} and {found[False]!r}; write all as text"
        )


def check_samples(estimator: BaseEstimator, X: Any, y: Any = NO_TARGETS, *, reset: bool, **options: Any) -> Any:
    """Return X, or X and y, as arrays; X may stay sparse. Raise if columns of a frame changed their order.

    scikit-learn finds out that columns stand in another order; this function also says in which.
    """
    X, y = _readable(X, "X"), y if y is NO_TARGETS or y is None else _readable(y, "y")
    names, known = getattr(X, "columns", None), getattr(estimator, "feature_names_in_", None)
    if not reset and names is not None and known is not None:
        found, expected = list(names), list(known)
        if found != expected and sorted(map(str, found)) == sorted(map(str, expected)):
            raise ValueError(
                "The feature names should match those that were passed during fit.\nFeature names must be in the "
                f"same order as they were in fit.\nX: expected the columns {expected}, got {found}; "
                "select them in that order, X[list(model.feature_names_in_)]"
            )
    try:
        return validate_data(estimator, X, y, accept_sparse="csr", dtype=FLOATS, reset=reset, **options)
    except (TypeError, ValueError) as error:
        if isinstance(error, TypeError):
            check_missing(X, "X")
            check_missing(y, "y")
        _check_columns(X, "X")
        raise
    except OverflowError as error:
        raise ValueError(f"X, y: expected numbers that float64 can hold, got {error}") from error


def check_classes(y: Any) -> None:
    """Raise unless y holds labels."""
    check_classification_targets(y)


def check_numbers(y: Any) -> None:
    """Raise if y holds text that is not a number; scikit-learn's error does not name y."""
    try:
        values = np.asarray(y)
    except (ValueError, TypeError, RuntimeError):  # of what NumPy cannot read, which scikit-learn refuses
        return
    for value in values.ravel().tolist() if values.dtype.kind in "OSU" else ():
        if isinstance(value, str | bytes):
            try:
                float(value)
            except ValueError:
                text = f"y: expected numbers, got {value!r}; for labels, use MLPClassifier"
                raise ValueError(text) from None
