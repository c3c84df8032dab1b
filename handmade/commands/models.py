"""A model of the command: a network, the columns that it reads, and what it predicts."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..activations import softmax
from ..files import load, read_metadata, save
from ..metrics import confusion_matrix, r2_score
from ..network import Network
from .columns import Column, DataFrame, Series, as_text, columns_from_json, columns_to_json, inputs, learn_columns

__all__ = ["Model", "Report", "guess_task", "train"]

Array = npt.NDArray[Any]
KEY = "table"  # in the metadata of a model file
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

    def outputs(self, frame: DataFrame) -> tuple[Array, list[str]]:
        """Return probabilities of the classes, shape (N, K), or numbers, shape (N,), and warnings."""
        X, warnings = inputs(self.columns, frame)
        H = self.network.predict(X)
        return (H[:, 0] * self.scale + self.mean if self.classes is None else softmax(H)), warnings

    def report(self, frame: DataFrame) -> Report:
        """Return the scores on rows whose target is known."""
        outputs, _ = self.outputs(frame)
        y = encode_target(frame[self.target], self.classes)
        if self.classes is None:
            error = float(np.sqrt(np.mean((outputs - y) ** 2)))
            r2 = float(r2_score(outputs, y)) if len(set(y)) > 1 else float("nan")
            return Report(len(y), {"r2": r2, "root mean squared error": error, "without a model": float(y.std())})
        confusion = confusion_matrix(outputs, y, len(self.classes))
        accuracy, most = np.trace(confusion) / len(y), np.bincount(y).max() / len(y)
        return Report(len(y), {"accuracy": float(accuracy), "most frequent class": float(most)}, confusion.tolist())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to one file."""
        table = {
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
        if not isinstance(table, dict) or table.keys() != names:
            raise ValueError(f"{os.fspath(path)}: expected a model that handmade train wrote, got a network alone")
        table["columns"] = columns_from_json(table["columns"])
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


def encode_target(y: Series, classes: list[str] | None) -> Array:
    """Return class indices, or numbers where there are no classes."""
    if classes is None:
        return np.asarray(y, np.float64)
    places = {label: index for index, label in enumerate(classes)}
    return np.array([places[label] for label in as_text(y)])


def guess_task(y: Series) -> str:
    """Return "classify" for text, truth values and few whole numbers, else "regress"."""
    import pandas as pd

    if not pd.api.types.is_numeric_dtype(y) or pd.api.types.is_bool_dtype(y):
        return "classify"
    numbers = y.dropna()
    return "classify" if numbers.nunique() <= FEW and (numbers == numbers.round()).all() else "regress"


def train(
    frame: DataFrame,
    target: str,
    task: str,
    *,
    hidden: Sequence[int],
    test_size: float,
    seed: int,
    announce: Callable[[list[Column], dict[str, str], int, int], None],
    **options: Any,
) -> tuple[Model, Report, int]:
    """Train a model on a table; return it, its report on rows that were set aside, and the number of epochs.

    Parameters
    ----------
    frame : DataFrame
        All rows; those without a target are dropped.
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
    **options
        Go to the estimator.
    """
    from sklearn.model_selection import train_test_split

    from ..estimators import MLPClassifier, MLPRegressor

    frame = frame[frame[target].notna()]
    y = frame[target]
    classes = sorted(set(as_text(y))) if task == "classify" else None
    _check_target(y, target, classes)
    counts = as_text(y).value_counts()
    stratify = as_text(y) if classes is not None and counts.min() > 1 else None
    rows = train_test_split(np.arange(len(y)), test_size=test_size, random_state=seed, stratify=stratify)
    training, test = frame.iloc[rows[0]], frame.iloc[rows[1]]
    columns, left_out = learn_columns(training.drop(columns=target))
    announce(columns, left_out, len(training), len(test))
    X, numbers = inputs(columns, training)[0], encode_target(training[target], classes)
    mean, scale = (float(numbers.mean()), float(numbers.std()) or 1.0) if classes is None else (0.0, 1.0)
    options |= dict(hidden_layer_sizes=tuple(hidden), random_state=seed)
    options["validation_fraction"] = max(0.1, 2 / len(training))
    if classes is None:
        estimator = MLPRegressor(**options).fit(X, (numbers - mean) / scale)
    else:
        estimator = MLPClassifier(**options, loss="cross_entropy").fit(X, numbers)
    model = Model(estimator.network_, columns, target, classes, mean, scale)
    report = model.report(test)
    model.scores = report.scores
    return model, report, estimator.n_iter_


def _check_target(y: Series, target: str, classes: list[str] | None) -> None:
    """Raise unless the target can be learnt."""
    import pandas as pd

    if len(y) < 10:
        raise ValueError(f"column {target!r}: expected at least 10 rows with a value, got {len(y)}")
    first = y.tolist()[0]  # a plain number or text
    if classes is None and not pd.api.types.is_numeric_dtype(y):
        raise ValueError(f"column {target!r}: expected numbers to regress on, got {first!r}; try --task classify")
    if y.nunique() < 2:
        raise ValueError(f"column {target!r}: expected at least two different values, got only {first!r}")
    if classes is not None and len(classes) > max(FEW, len(y) / 5):
        raise ValueError(
            f"column {target!r}: expected classes with several rows each, got {len(classes)} in {len(y)} rows; "
            "for numbers try --task regress"
        )
