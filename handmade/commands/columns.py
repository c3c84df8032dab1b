"""Columns of a table as inputs of a network, and back from what a model file holds of them.

Cells are text, as `read_table` gives them. Training decides what each column holds; prediction converts by that alone.
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

from .._csv import number_in
from .._types import Array

__all__ = [
    "Categories",
    "Column",
    "Date",
    "Number",
    "columns_from_json",
    "columns_to_json",
    "decimal_mark",
    "inputs",
    "learn_columns",
    "mean_and_deviation",
]

Series: TypeAlias = Any  # of pandas, which has no types of its own
DataFrame: TypeAlias = Any
MANY = 50  # categories; text with more of them, and more than half as many as rows, or one for each row, is left out
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

    def inputs(self, values: Series, mark: str = ".") -> tuple[Array, list[str]]:
        """Return the inputs, shape (N, 1), and warnings; raise if a value is not a number."""
        x = self.checked(self.name, values, mark)
        x = np.where(np.isnan(x), self.fill, x)
        return ((x - self.mean) / self.scale)[:, np.newaxis], []

    @classmethod
    def checked(cls, name: str, values: Series, mark: str) -> Array:
        """Return values as numbers, NaN where one is missing; raise if one is none, or infinite."""
        x = cls.numbers(values, mark)
        for is_wrong, word in ((np.isnan(x) & values.notna(), f"{cls.kind}s"), (np.isinf(x), f"finite {cls.kind}s")):
            if (wrong := values[is_wrong]).size:
                cell = wrong.iloc[0]
                has_other_mark = not all(math.isnan(_number(cell, other)) for other in ".,")
                cure = f"; mark decimals by {mark!r}" if has_other_mark and "finite" not in word else ""
                raise ValueError(f"column {name!r}: expected {word}, got {cell!r} in line {wrong.index[0]}{cure}")
        return x

    @staticmethod
    def numbers(values: Series, mark: str = ".") -> Array:
        """Return values as numbers, decimals after this mark; NaN where one is missing or is none."""
        return np.array([_number(cell, mark) for cell in values], np.float64)

    @property
    def labels(self) -> list[str]:
        """Return the names of the inputs."""
        return [self.name]

    def describe(self) -> str:
        """Return what becomes of the column."""
        return f"mean {self.mean:.4g}, deviation {self.scale:.4g}"

    def check(self) -> None:
        """Raise if the values, from a file, are impossible."""
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
    def numbers(values: Series, mark: str = ".") -> Array:
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

    def inputs(self, values: Series, mark: str = ".") -> tuple[Array, list[str]]:
        """Return the inputs, shape (N, K), and warnings: a category that is new has zeros everywhere."""
        text = values.where(values.notna(), self.fill).to_numpy(object)
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
        """Raise if the values, from a file, are impossible."""
        names = [self.fill, *self.categories] if isinstance(self.categories, list) else [None]
        if not all(isinstance(name, str) for name in names):
            raise ValueError(f"column {self.name!r}: expected categories that are text, got {self.categories!r}")


Column = Number | Categories
KINDS: dict[str, Callable[..., Column]] = {"number": Number, "date": Date, "categories": Categories}


def _number(cell: Any, mark: str) -> float:
    """Return the number in a cell, NaN where there is none, as `load_csv` reads it."""
    if not isinstance(cell, str) or (mark != "." and "." in cell):
        return math.nan
    number = number_in(cell.replace(mark, "."))
    return math.nan if number is None else number


def decimal_mark(frame: DataFrame, marks: str) -> str:
    """Return the mark of these with which the most columns, and then the most cells, hold numbers.

    Raise where a column has a mark between thousands: it would become categories, or numbers 1,000 times too small.
    """

    def counts(mark: str) -> tuple[int, int]:
        are_numbers = [~np.isnan(Number.numbers(frame[name].dropna(), mark)) for name in frame.columns]
        return sum(bool(column.all()) for column in are_numbers), sum(int(column.sum()) for column in are_numbers)

    mark = max(marks, key=counts) if len(marks) > 1 else marks
    for name in frame.columns:
        _check_thousands(name, frame[name].dropna(), mark)
    return mark


def _check_thousands(name: str, cells: Series, mark: str) -> None:
    """Raise if all cells are numbers, some with marks between thousands, and the others too short for one."""
    for between, decimal in (",", r"\."), (".", ","):
        grouped = cells.str.fullmatch(rf"[+-]?[1-9]\d{{0,2}}([{between}]\d{{3}})+({decimal}\d*)?")
        short = cells.str.fullmatch(rf"[+-]?\d{{1,3}}({decimal}\d*)?")
        # Decimals may have three digits everywhere, and with a point in other numbers, too.
        is_certain = between != mark or (mark == "," and short.any())
        if is_certain and grouped.any() and short[~grouped].all():
            line, cell = next(cells[grouped].items())
            raise ValueError(
                f"column {name!r}: expected numbers without a mark between thousands, got {cell!r} in line {line}; "
                f"mark decimals by {mark!r}, and thousands not at all"
            )


def learn_columns(frame: DataFrame, mark: str = ".", rows: Any = None) -> tuple[list[Column], dict[str, str]]:
    """Return the columns to use, and for each of the others why it is left out.

    Parameters
    ----------
    frame : DataFrame
        The whole table, without the target: all of its rows decide what a column holds.
    mark : str
        The decimal mark.
    rows : ndarray of int, optional
        The places of the rows to train on, of which means, deviations and categories are taken; all unless given.
    """
    columns: list[Column] = []
    left_out: dict[str, str] = {}
    for name in frame.columns:
        kind = _kind_of(frame[name], mark)
        values = frame[name] if rows is None else frame[name].iloc[rows]
        present = int(values.notna().sum())
        distinct = values.nunique() if kind is None else len(np.unique(kind.numbers(values.dropna(), mark)))
        if distinct < 2:
            left_out[name] = "always the same" if present else "no values"
        elif name.startswith(UNNAMED) and _counts_rows(frame[name]):
            left_out[name] = "no name; it counts the rows"
        elif kind is None and (distinct > max(MANY, present / 2) or distinct == present):
            left_out[name] = f"text with {distinct} different values"
        else:
            columns.append(_learn_categories(name, values) if kind is None else _learn_number(kind, name, values, mark))
    if not columns:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise ValueError(f"data: expected at least one column to learn from, got {reasons or 'none'}")
    return columns, left_out


def _kind_of(values: Series, mark: str) -> type[Number] | None:
    """Return the class of numbers that a column holds, or None where it holds categories."""
    present = values.dropna()
    if not np.isnan(Number.numbers(present, mark)).any():
        return Number
    return Date if present.str.match(DATE).all() and not np.isnan(Date.numbers(present)).any() else None


def _counts_rows(values: Series) -> bool:
    """Return whether the numbers are those of the rows in the file, as `to_csv` of pandas writes them."""
    x = Number.numbers(values)
    return bool(np.ptp(x - np.arange(len(x))) == 0)


def _exponent(x: Array) -> int:
    """Return the power of 2 that brings numbers, some NaN, below 1: then no square overflows, and no bit changes."""
    return int(np.frexp(np.nanmax(np.abs(x)))[1])


def mean_and_deviation(x: Array) -> tuple[float, float]:
    """Return the mean and the standard deviation of numbers of any size."""
    exponent = _exponent(x)
    x = np.ldexp(x, -exponent)
    return math.ldexp(float(x.mean()), exponent), math.ldexp(float(x.std()), exponent)


def _learn_number(kind: type[Number], name: str, values: Series, mark: str) -> Number:
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import StandardScaler

    x = kind.checked(name, values, mark)
    exponent = _exponent(x)
    imputer: Any = SimpleImputer(strategy="median")
    scaler: Any = StandardScaler()
    scaler.fit(imputer.fit_transform(np.ldexp(x, -exponent)[:, np.newaxis]))
    found = (float(part[0]) for part in (imputer.statistics_, scaler.mean_, scaler.scale_))
    fill, mean, scale = (math.ldexp(number, exponent) for number in found)
    return kind(name, fill, mean, scale, int(values.isna().sum()))


def _learn_categories(name: str, values: Series) -> Categories:
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import OneHotEncoder

    text = values.to_numpy(object)[:, np.newaxis]
    options: dict[str, Any] = {"strategy": "most_frequent", "missing_values": None}
    imputer: Any = SimpleImputer(**options)
    encoder: Any = OneHotEncoder()
    encoder.fit(imputer.fit_transform(text))
    categories = [str(category) for category in encoder.categories_[0]]
    return Categories(name, str(imputer.statistics_[0]), categories, missing=int(values.isna().sum()))


def inputs(columns: Sequence[Column], frame: DataFrame, marks: str = ".") -> tuple[Array, list[str]]:
    """Return the inputs of a network, shape (N, I), and warnings.

    Columns are found by name, in any order; others are not looked at. Of the decimal marks, the one is taken with which
    the most columns of numbers are numbers.

    Raises
    ------
    ValueError
        If a column is missing, or holds something else than in training.
    """
    found = list(frame.columns)
    missing = [column.name for column in columns if column.name not in found]
    if missing:
        near = difflib.get_close_matches(missing[0], found, 1, 0.5)
        hint = f"; rename {near[0]!r}" if near else ""
        raise ValueError(f"data: expected a column {missing[0]!r}, got {', '.join(found)}{hint}")
    mark = decimal_mark(frame[[column.name for column in columns if isinstance(column, Number)]], marks)
    parts = [column.inputs(frame[column.name], mark) for column in columns]
    return np.hstack([X for X, _ in parts]), [warning for _, warnings in parts for warning in warnings]


def columns_to_json(columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Return the columns as JSON holds them."""
    return [asdict(column) for column in columns]


def columns_from_json(values: Any) -> list[Column]:
    """Return columns of a file; raise if they are impossible."""
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
