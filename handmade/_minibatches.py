"""The data of a training run: checked once, weighted, split, and divided into minibatches."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from ._sparse import SparseRows
from ._types import Array
from ._validation import as_array, check_finite, is_beyond_float, shown
from .losses import Loss, LossFunctions, find_loss, speak_of_y
from .network import Network, check_finite_targets

BLOCK = 1024  # rows to check at a time


@dataclasses.dataclass(frozen=True)
class Samples:
    """A selection of the rows of X and y, with their weights.

    Attributes
    ----------
    X : ndarray or SparseRows
        All rows.
    y : ndarray
        Their targets.
    rows : ndarray of int
        The indices of the rows that belong to the samples.
    weight : ndarray, optional
        One weight per row of X.
    """

    X: Array | SparseRows
    y: Array
    rows: Array
    weight: Array | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def minibatches(
        self,
        order: Array,
        size: int,
        dtype: np.dtype[Any],
        drop_last: bool = False,
        start: int = 0,
        part: Callable[[int], slice] | None = None,
    ) -> Iterator[tuple[Array, Array, Array | None]]:
        """Yield minibatches (X, y, weight) in this order, from the one that begins at ``start``.

        All X are views into one array: each batch overwrites the one before. ``part(size)`` returns the rows of a batch
        that X holds; y and weight always hold all rows.
        """
        X: Any = self.X if isinstance(self.X, SparseRows) else np.asarray(self.X)
        batch = np.empty((size, X.shape[1]), dtype)
        buffer = batch
        for first in range(start, len(order) - (size - 1 if drop_last else 0), size):
            rows = order[first : first + size]
            own = rows if part is None else rows[part(len(rows))]
            if len(own) != len(batch):
                batch = buffer[: len(own)]
            if X.dtype == dtype and isinstance(X, np.ndarray):
                X.take(own, 0, batch, "clip")  # mode "clip", because all rows exist: the mode "raise" makes NumPy copy
            else:
                batch[...] = X.take(own, 0)
            yield batch, self.y.take(rows, 0), None if self.weight is None else self.weight.take(rows)


@np.errstate(over="ignore", invalid="ignore")  # a loss that is not finite raises in the first step
def check_data(network: Network, X: Any, y: npt.ArrayLike, loss: Loss) -> Samples:
    """Return X and y as samples; every row is checked by the network, and every target by the loss."""
    X, y = SparseRows.of(X) if hasattr(X, "tocsr") else as_array(X, "X"), as_array(y, "y")
    network.check_shape(X)
    if y.ndim == 0 or len(X) != len(y):
        raise ValueError(f"y: expected one target per row of X {X.shape}, got shape {y.shape}")
    functions, depth = network.head(loss)
    width = network.predict_until(X[:1], depth).shape[1]
    for start in range(0, len(X), BLOCK):
        rows = slice(start, start + BLOCK)
        network.check_input(X[rows], start)
        trial, target = np.zeros((len(X[rows]), width), network.dtype), y[rows]
        check_finite_targets(target, start)
        try:
            _check_targets(functions, trial, target)
        except (ValueError, TypeError):
            _check_targets(functions, np.broadcast_to(trial[:1], (len(X), width)), y)  # to tell the caller's shape
            raise
        if start + BLOCK >= len(X):
            functions.backward(trial, target)
    return Samples(X, y, np.arange(len(X)))


def _check_targets(functions: LossFunctions, output: Array, y: Array) -> None:
    """Raise an error of the loss, in which the target is called y."""
    try:
        functions.value(output, y)
    except (ValueError, TypeError) as error:
        speak_of_y(error)
        raise


def weigh(
    samples: Samples,
    sample_weight: npt.ArrayLike | None,
    class_weight: Mapping[int, float] | Sequence[float] | None,
    loss: Loss,
) -> Samples:
    """Return the samples with one weight each, or unchanged if there are no weights."""
    if sample_weight is None and class_weight is None:
        return samples
    y = samples.y
    weight = np.ones(len(y)) if sample_weight is None else as_array(sample_weight, "sample_weight")
    if weight.dtype.kind not in "iuf":
        raise TypeError(f"sample_weight: expected numbers, got dtype {weight.dtype}")
    if weight.shape != (len(y),):
        raise ValueError(f"sample_weight: expected one weight per sample, shape {(len(y),)}, got {weight.shape}")
    weight = weight.astype(np.float64)
    check_finite(weight, "sample_weight")
    if weight.min() < 0:
        raise ValueError(f"sample_weight: expected weights of at least 0, got {weight.min()}")
    if class_weight is not None:
        weight = weight * _of_classes(y, class_weight, ignored_label(loss))
    return dataclasses.replace(samples, weight=weight)


def ignored_label(loss: Loss) -> int | None:
    """Return the label that a loss ignores, None if there is no such label."""
    try:
        parameters = inspect.signature(find_loss(loss).value).parameters
    except ValueError:  # a function without a signature, such as one written in C
        return None
    return parameters["ignore_index"].default if "ignore_index" in parameters else None


def counted(y: Array, loss: Loss) -> Array:
    """Return a mask of the targets that the loss counts: all but the ignored label."""
    ignored = ignored_label(loss)
    if ignored is None or y.ndim != 1 or y.dtype.kind not in "iu":
        return np.ones(len(y), bool)
    return np.asarray(y != ignored)


def _of_classes(y: Array, class_weight: Mapping[int, float] | Sequence[float], ignored: int | None) -> Array:
    """Return the weight of each sample's class; 0 for the ignored label, as `torch.nn.functional.cross_entropy`."""
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise TypeError(f"class_weight: expected targets that are class indices, got {y.dtype} of shape {y.shape}")
    given: Any = class_weight
    if not isinstance(given, Mapping | str):
        given = as_array(given, "class_weight").tolist()
    if not isinstance(given, Mapping | list):
        raise TypeError(
            f"class_weight: expected a mapping or a sequence of numbers, got {class_weight!r}; for balanced classes "
            "pass len(y) / np.bincount(y)"
        )
    weights = dict(given if isinstance(given, Mapping) else enumerate(given))
    if not all(isinstance(w, Real) and not is_beyond_float(w) and 0 <= float(w) < math.inf for w in weights.values()):
        raise ValueError(f"class_weight: expected finite numbers of at least 0, got {class_weight!r}")
    if ignored is not None:
        weights[ignored] = 0.0
    classes, index = np.unique(y, return_inverse=True)
    missing = [c for c in classes.tolist() if c not in weights]
    if missing:
        raise ValueError(f"class_weight: expected a weight for each class {classes.tolist()}, missing {missing}")
    return np.array([float(weights[c]) for c in classes.tolist()])[index]


def split(
    samples: Samples, network: Network, loss: Loss, validation: Any, stratify: bool, rng: np.random.Generator
) -> tuple[Samples, Samples | None]:
    """Return the samples to train on and, where there are any, those to validate on.

    Training weights are divided by their mean, which leaves the scale of the loss as it is.
    """
    held: Samples | None = None
    if stratify and (validation is None or isinstance(validation, tuple | list)):
        got = "none" if validation is None else "data"
        raise ValueError(f"stratify: expected a fraction for validation, such as 0.1, got {got}; leave stratify=False")
    if isinstance(validation, tuple | list) and len(validation) == 2:
        X, y = validation
        try:
            held = check_data(network, X, y, loss)
        except (ValueError, TypeError) as error:
            kind = ValueError if isinstance(error, ValueError) else TypeError
            raise kind(f"validation: {error}") from error
    elif validation is not None:
        rows = _held_out(samples.y, validation, stratify, rng)
        held = dataclasses.replace(samples, rows=rows, weight=None)
        samples = dataclasses.replace(samples, rows=np.setdiff1d(samples.rows, rows))
    if samples.weight is not None:
        weight = samples.weight[samples.rows]
        if weight.max() == 0:
            raise ValueError("sample_weight, class_weight: expected, among the samples to train on, one above 0")
        mean = (
            weight.max() * (weight / weight.max()).mean()
        )  # divided by the largest, because a plain sum could overflow
        samples = dataclasses.replace(samples, weight=samples.weight / mean)
    return samples, held


def _held_out(y: Array, fraction: Any, stratify: bool, rng: np.random.Generator) -> Array:
    """Return the rows of a fraction drawn at random; of each class alike, where asked."""
    is_number = (
        isinstance(fraction, Real)
        and not isinstance(fraction, (bool, np.timedelta64))
        and not is_beyond_float(fraction)
    )
    if not (is_number and 0 < float(fraction) < 1):
        got = shown(fraction) if isinstance(fraction, Real | str) else type(fraction).__name__
        raise ValueError(f"validation: expected a fraction between 0 and 1, or (X, y), got {got}")
    N, count = len(y), math.ceil(float(fraction) * len(y))
    if count == N:
        raise ValueError(f"validation: expected a fraction that leaves samples to train on, got all {N}")
    rows = rng.permutation(N)
    if stratify:
        if y.ndim != 1 or y.dtype.kind not in "iub":
            raise TypeError(f"stratify: expected targets that are class indices, got {y.dtype} of shape {y.shape}")
        # In shuffled order, the k-th of n samples of a class has the place (k + 1/2) / n: the first `count` places of
        # all classes hold the same share of each.
        place = np.empty(N)
        for c in np.unique(y):
            own = rows[y[rows] == c]
            place[own] = (np.arange(len(own)) + 0.5) / len(own)
        rows = rows[np.argsort(place[rows], kind="stable")]
    return np.sort(rows[:count])
