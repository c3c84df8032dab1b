"""A model of the command: a network, the columns that it reads, and what it predicts."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._types import Array
from ..activations import softmax
from ..files import load, read_metadata, save
from ..metrics import confusion_matrix, r2_score
from ..network import Network
from .columns import (
    Categories,
    Column,
    DataFrame,
    Number,
    Series,
    columns_from_json,
    columns_to_json,
    inputs,
    learn_columns,
    mean_and_deviation,
)

__all__ = ["Model", "Report", "guess_task", "train"]

KEY = "table"  # in the metadata of a model file
VERSION = 2  # of the metadata; in version 1, pandas guessed the types of each file
FEW = 20  # different whole numbers that are still classes


@dataclass
class Report:
    """The scores of a model on rows that it was not trained on."""

    rows: int
    scores: dict[str, float]
    confusion: list[list[int]] | None = None


@dataclass
class Model:
    """A network with the columns that it reads and what it predicts.

    Attributes
    ----------
    network : Network
        Its outputs are logits of the classes, or one standardized number.
    columns : list of Column
        The inputs, in order.
    target : str
        The column that is predicted.
    classes : list of str or None
        The labels; None where numbers are predicted, as ``mean + scale * output``.
    """

    network: Network
    columns: list[Column]
    target: str
    classes: list[str] | None = None
    mean: float = 0.0
    scale: float = 1.0
    scores: dict[str, float] = field(default_factory=dict)

    def outputs(self, frame: DataFrame, marks: str = ".") -> tuple[Array, list[str]]:
        """Return probabilities of the classes, shape (N, K), or numbers, shape (N,), and warnings."""
        X, warnings = inputs(self.columns, frame, marks)
        H = self.network.predict(X)
        return (H[:, 0] * self.scale + self.mean if self.classes is None else softmax(H)), warnings

    def report(self, frame: DataFrame, mark: str = ".") -> Report:
        """Return the scores on rows whose target is known."""
        outputs, _ = self.outputs(frame, mark)
        y = encode_target(frame[self.target], self.classes, mark)
        if self.classes is None:
            error = float(np.sqrt(np.mean((outputs / self.scale - y / self.scale) ** 2))) * self.scale
            r2 = float(r2_score(outputs, y)) if len(set(y)) > 1 else float("nan")
            return Report(
                len(y), {"r2": r2, "root mean squared error": error, "without a model": mean_and_deviation(y)[1]}
            )
        confusion = confusion_matrix(outputs, y, len(self.classes))
        accuracy, most = np.trace(confusion) / len(y), np.bincount(y).max() / len(y)
        return Report(len(y), {"accuracy": float(accuracy), "most frequent class": float(most)}, confusion.tolist())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to one file."""
        table = {
            "version": VERSION,
            "columns": columns_to_json(self.columns),
            "target": self.target,
            "classes": self.classes,
            "mean": self.mean,
            "scale": self.scale,
            "scores": self.scores,
        }
        save(self.network, path, metadata={KEY: table})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Model:
        """Read a model that `save` wrote; raise ValueError where it is another file, or its parts do not fit."""
        table = read_metadata(path).get(KEY)
        names = {"columns", "target", "classes", "mean", "scale", "scores"}
        version = table.pop("version", 1) if isinstance(table, dict) else 1
        if not isinstance(table, dict) or table.keys() != names:
            raise ValueError(f"{os.fspath(path)}: expected a model that handmade train wrote, got a network alone")
        if type(version) is not int or not 1 <= version <= VERSION:
            raise ValueError(
                f"{os.fspath(path)}: expected version {VERSION} at most, got {version!r}; install a newer handmade"
            )
        table["columns"] = columns_from_json(table["columns"])
        if version == 1:
            _check_version_1(table["columns"], os.fspath(path))
        model = cls(load(path), **table)
        classes, width = model.classes, sum(column.width for column in model.columns)
        is_text = isinstance(model.target, str) and isinstance(classes, list | None) and isinstance(model.scores, dict)
        is_text = is_text and all(isinstance(label, str) for label in classes or [])
        outputs = 1 if classes is None else len(classes) if is_text else 0
        if not is_text or model.network.in_features != width or model.network.width_after(width) != outputs:
            raise ValueError(f"{os.fspath(path)}: expected columns and classes that fit the network {model.network!r}")
        if not all(isinstance(number, float | int) for number in (model.mean, model.scale, *model.scores.values())):
            raise ValueError(f"{os.fspath(path)}: expected numbers for mean, scale and scores, got other types")
        return model


def _check_version_1(columns: Sequence[Column], path: str) -> None:
    """Raise if version 1 does not say how the cells of a column are written; else bring its text into today's form.

    In a column of truth values, "True" stood for true and TRUE as well.
    """
    for column in columns:
        if isinstance(column, Categories):
            if set(column.categories) <= {"False", "True"}:
                raise ValueError(
                    f"{path}: expected the text of column {column.name!r} as it stands in the file, got truth values, "
                    "as an earlier handmade kept them; train the model again"
                )
            column.categories, column.fill = [text.strip() for text in column.categories], column.fill.strip()


def encode_target(y: Series, classes: list[str] | None, mark: str = ".") -> Array:
    """Return class indices, or numbers where there are no classes."""
    if classes is None:
        return Number.checked(str(y.name), y, mark)
    places = {label: index for index, label in enumerate(classes)}
    return np.array([places[label] for label in y])


def guess_task(y: Series, mark: str = ".") -> str:
    """Return "classify" for text and few whole numbers, else "regress"."""
    numbers = Number.numbers(y.dropna(), mark)
    if np.isnan(numbers).any():
        return "classify"
    return "classify" if len(np.unique(numbers)) <= FEW and (numbers == np.rint(numbers)).all() else "regress"


def train(
    frame: DataFrame,
    target: str,
    task: str,
    *,
    hidden: Sequence[int],
    test_size: float,
    seed: int,
    announce: Callable[[list[Column], dict[str, str], int, int], None],
    mark: str = ".",
    **options: Any,
) -> tuple[Model, Report, int]:
    """Train a model on a table; return it, its report on rows that were set aside, and the number of epochs.

    Parameters
    ----------
    frame : DataFrame
        All rows, as text; those without a target are dropped.
    target, task : str
        The column to predict; "classify" or "regress".
    hidden : sequence of int
        Widths of the hidden layers.
    test_size : float
        How many of the rows to set aside.
    seed : int
        Of the split, the weights and the orders.
    announce : callable
        Called with the columns, those left out, and the number of rows to train and to test on, before training.
    mark : str
        The decimal mark.
    **options
        Go to the estimator.
    """
    from ..estimators import MLPClassifier, MLPRegressor

    known = np.flatnonzero(frame[target].notna())
    y = frame[target].iloc[known]
    classes = sorted(set(y)) if task == "classify" else None
    _check_target(y, target, classes, mark)
    rows = _split(known, y, classes, test_size, seed)
    training, test = frame.iloc[rows[0]], frame.iloc[rows[1]]
    columns, left_out = learn_columns(frame.drop(columns=target), mark, rows[0])
    announce(columns, left_out, len(training), len(test))
    X, numbers = inputs(columns, training, mark)[0], encode_target(training[target], classes, mark)
    mean, scale = mean_and_deviation(numbers) if classes is None else (0.0, 1.0)
    scale = scale or 1.0
    options |= dict(hidden_layer_sizes=tuple(hidden), random_state=seed)
    options["validation_fraction"] = max(0.1, 2 / len(training))
    if classes is None:
        estimator = MLPRegressor(**options).fit(X, (numbers - mean) / scale)
    else:
        estimator = MLPClassifier(**options, loss="cross_entropy").fit(X, numbers)
    model = Model(estimator.network_, columns, target, classes, mean, scale)
    report = model.report(test, mark)
    model.scores = report.scores
    return model, report, estimator.n_iter_


def _split(known: Array, y: Series, classes: list[str] | None, test_size: float, seed: int) -> tuple[Array, Array]:
    """Return the rows to train on, in which every class has one, and those to test on."""
    from sklearn.model_selection import train_test_split

    count = math.ceil(test_size * len(known))
    if classes is None or (y.value_counts().min() > 1 and len(classes) <= min(count, len(known) - count)):
        return train_test_split(known, test_size=test_size, random_state=seed, stratify=y if classes else None)
    again = y.duplicated().to_numpy()
    if count >= again.sum():
        raise ValueError(
            f"column {y.name!r}: expected classes with several rows each, got {len(classes)} in {len(y)} rows, "
            f"{count} of them to test on"
        )
    others, test = train_test_split(known[again], test_size=count, random_state=seed)
    return np.concatenate([known[~again], others]), test


def _check_target(y: Series, target: str, classes: list[str] | None, mark: str) -> None:
    """Raise unless the target can be learnt."""
    if len(y) < 10:
        raise ValueError(f"column {target!r}: expected at least 10 rows with a value, got {len(y)}")
    numbers = Number.numbers(y, mark)
    wrong = y[np.isnan(numbers)]
    if classes is None and len(wrong):
        raise ValueError(
            f"column {target!r}: expected numbers to regress on, got {wrong.iloc[0]!r} in line "
            f"{wrong.index[0]}; try --task classify"
        )
    if len(np.unique(numbers) if classes is None else classes) < 2:
        raise ValueError(f"column {target!r}: expected at least two different values, got only {y.iloc[0]!r}")
    if classes is not None and len(classes) > max(FEW, len(y) / 5):
        cure = "; for numbers try --task regress" if not len(wrong) else ""
        raise ValueError(
            f"column {target!r}: expected classes with several rows each, got {len(classes)} in {len(y)} rows{cure}"
        )
