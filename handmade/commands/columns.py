"""Columns of a table as inputs of a network, and back from what a model file holds of them.

Numbers are filled with the median and standardized; so are dates, as days. Categories are filled with the most frequent
one and become one input each. scikit-learn's transformers measure this on the training data; what they have learnt is
saved as JSON.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Categories", "Column", "Number", "Date", "columns_from_json", "columns_to_json", "inputs", "learn_columns"]

Array = npt.NDArray[Any]
Series: TypeAlias = Any  # of pandas, which has no types of its own
DataFrame: TypeAlias = Any
MANY = 50  # categories; text with more of them, and more than half as many as rows, is left out
DATE = r"\d{4}-\d\d-\d\d"  # how a date of ISO 8601 begins; other orders of day and month are ambiguous
UNNAMED = "Unnamed: "  # pandas' name of a column without one


@dataclass
class Number:
    """A column of numbers: missing ones become ``fill``, then (x - mean) / scale."""

    name: str
    fill: float
    mean: float
    scale: float
    missing: int = 0
    kind: str = field(default="number", init=False)

    @property
    def width(self) -> int:
        """Return the number of inputs."""
        return 1

    def inputs(self, values: Series) -> tuple[Array, list[str]]:
        """Return the inputs, shape (N, 1), and warnings; raise where a value is no number."""
        x = self.numbers(values)
        wrong = values[np.isnan(x) & values.notna()]
        if len(wrong):
            raise ValueError(
                f"column {self.name!r}: expected {self.kind}s, got {wrong.iloc[0]!r} in line {wrong.index[0] + 2}"
            )
        if np.isinf(x).any():
            raise ValueError(f"column {self.name!r}: expected finite numbers, got inf")
        x = np.where(np.isnan(x), self.fill, x)
        return ((x - self.mean) / self.scale)[:, np.newaxis], []

    @staticmethod
    def numbers(values: Series) -> Array:
        """Return values as numbers; NaN where one is missing or is none."""
        import pandas as pd

        numbers: Any = pd.to_numeric(values, errors="coerce")
        x: Array = numbers.to_numpy(np.float64, na_value=np.nan)
        return x

    @property
    def labels(self) -> list[str]:
        """Return the names of the inputs."""
        return [self.name]

    def describe(self) -> str:
        """Return what becomes of the column."""
        return f"mean {self.mean:.4g}, deviation {self.scale:.4g}"

    def check(self) -> None:
        """Raise where the values, from a file, are impossible."""
        for value in (self.fill, self.mean, self.scale):
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f"column {self.name!r}: expected finite numbers, got {value!r}")
        if self.scale <= 0:
            raise ValueError(f"column {self.name!r}: expected a scale above 0, got {self.scale}")


@dataclass
class Date(Number):
    """A column of dates: days since 1970, as numbers."""

    kind: str = field(default="date", init=False)

    @staticmethod
    def numbers(values: Series) -> Array:
        import pandas as pd

        dates: Any = pd.to_datetime(values, format="ISO8601", errors="coerce", utc=True)
        x: Array = ((dates - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1)).to_numpy(np.float64)
        return x

    def describe(self) -> str:
        return f"days, mean {np.datetime64(round(self.mean), 'D')}, deviation {self.scale:.4g}"


@dataclass
class Categories:
    """A column of text: one input for each category, which is 1 where the row has it."""

    name: str
    fill: str
    categories: list[str]
    missing: int = 0
    kind: str = field(default="categories", init=False)

    @property
    def width(self) -> int:
        """Return the number of inputs."""
        return len(self.categories)

    def inputs(self, values: Series) -> tuple[Array, list[str]]:
        """Return the inputs, shape (N, K), and warnings: a category that is new has zeros everywhere."""
        text = as_text(values).fillna(self.fill).to_numpy(object)
        X = (text[:, np.newaxis] == np.array(self.categories, object)).astype(np.float64)
        new = sorted(set(text[X.sum(axis=1) == 0]))
        known = ", ".join(self.categories[:10])
        return X, [f"column {self.name!r}: {c!r} is not among the categories seen in training ({known})" for c in new]

    @property
    def labels(self) -> list[str]:
        """Return the names of the inputs."""
        return [f"{self.name}={category}" for category in self.categories]

    def describe(self) -> str:
        """Return what becomes of the column."""
        shown = ", ".join(self.categories[:6]) + (", ..." if len(self.categories) > 6 else "")
        return f"{len(self.categories)} categories: {shown}"

    def check(self) -> None:
        """Raise where the values, from a file, are impossible."""
        names = [self.fill, *self.categories] if isinstance(self.categories, list) else [None]
        if not all(isinstance(name, str) for name in names):
            raise ValueError(f"column {self.name!r}: expected categories that are text, got {self.categories!r}")


Column = Number | Categories
KINDS: dict[str, Callable[..., Column]] = {"number": Number, "date": Date, "categories": Categories}


def as_text(values: Series) -> Series:
    """Return values as text, missing ones as None; whole numbers without a point, as where none is missing."""
    return values.map(_text, na_action="ignore").astype(object).where(values.notna(), None)


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def learn_columns(frame: DataFrame) -> tuple[list[Column], dict[str, str]]:
    """Return the columns to use, and for each of the others why it is left out.

    Parameters
    ----------
    frame : DataFrame
        The training data, without the target.
    """
    columns: list[Column] = []
    left_out: dict[str, str] = {}
    for name in map(str, frame.columns):
        values = frame[name]
        present, distinct = int(values.notna().sum()), values.nunique()
        kind = _kind_of(values)
        if distinct < 2:
            left_out[name] = "always the same" if present else "no values"
        elif name.startswith(UNNAMED) and _counts_rows(values):
            left_out[name] = "no name; it counts the rows"
        elif kind is None and distinct > max(MANY, present / 2):
            left_out[name] = f"text with {distinct} different values"
        else:
            columns.append(_learn_categories(name, values) if kind is None else _learn_number(kind, name, values))
    if not columns:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise ValueError(f"data: expected at least one column to learn from, got {reasons or 'none'}")
    return columns, left_out


def _kind_of(values: Series) -> type[Number] | None:
    """Return the class of numbers that a column holds, or None where it holds categories."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        return Number
    text = values.dropna().astype(str)
    return Date if text.str.match(DATE).all() and not np.isnan(Date.numbers(text)).any() else None


def _counts_rows(values: Series) -> bool:
    """Return whether the numbers are those of the rows in the file, as `to_csv` of pandas writes them."""
    x = Number.numbers(values)
    return bool(np.ptp(x - values.index.to_numpy()) == 0)


def _learn_number(kind: type[Number], name: str, values: Series) -> Number:
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import StandardScaler

    X = kind.numbers(values)[:, np.newaxis]
    if np.isinf(X).any():
        raise ValueError(f"column {name!r}: expected finite numbers, got inf")
    imputer: Any = SimpleImputer(strategy="median")
    scaler: Any = StandardScaler()
    scaler.fit(imputer.fit_transform(X))
    fill, mean, scale = (float(part[0]) for part in (imputer.statistics_, scaler.mean_, scaler.scale_))
    return kind(name, fill, mean, scale, int(values.isna().sum()))


def _learn_categories(name: str, values: Series) -> Categories:
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import OneHotEncoder

    text = as_text(values).to_numpy(object)[:, np.newaxis]
    options: dict[str, Any] = {"strategy": "most_frequent", "missing_values": None}
    imputer: Any = SimpleImputer(**options)
    encoder: Any = OneHotEncoder()
    encoder.fit(imputer.fit_transform(text))
    categories = [str(category) for category in encoder.categories_[0]]
    return Categories(name, str(imputer.statistics_[0]), categories, missing=int(values.isna().sum()))


def inputs(columns: Sequence[Column], frame: DataFrame) -> tuple[Array, list[str]]:
    """Return the inputs of a network, shape (N, I), and warnings.

    Columns are found by name, in any order; others are not looked at.

    Raises
    ------
    ValueError
        If a column is missing, or holds something else than in training.
    """
    found = list(map(str, frame.columns))
    frame = frame.set_axis(found, axis="columns")
    missing = [column.name for column in columns if column.name not in found]
    if missing:
        near = difflib.get_close_matches(missing[0], found, 1, 0.5)
        hint = f"; rename {near[0]!r}" if near else ""
        raise ValueError(f"data: expected a column {missing[0]!r}, got {', '.join(found)}{hint}")
    parts = [column.inputs(frame[column.name]) for column in columns]
    return np.hstack([X for X, _ in parts]), [warning for _, warnings in parts for warning in warnings]


def columns_to_json(columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Return the columns as JSON holds them."""
    return [asdict(column) for column in columns]


def columns_from_json(values: Any) -> list[Column]:
    """Return columns of a file; raise where they are impossible."""
    if not isinstance(values, list) or not values:
        raise ValueError("model: expected a list of columns; train it with handmade train")
    columns = []
    for value in values:
        kind = value.get("kind") if isinstance(value, Mapping) else None
        if not isinstance(kind, str) or kind not in KINDS:
            raise ValueError(f"model: expected columns of the kinds {', '.join(KINDS)}, got {str(value)[:80]}")
        try:
            column = KINDS[kind](**{key: item for key, item in value.items() if key != "kind"})
        except TypeError as error:
            raise ValueError(f"model: expected a column of {kind}, got {error}") from error
        if not isinstance(column.name, str):
            raise ValueError(f"model: expected columns with names, got {column.name!r}")
        column.check()
        columns.append(column)
    return columns
