"""Functions that all losses share: checks of inputs, and the reduction of terms and derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .._types import Array
from .._validation import as_array, as_floating, check_choice, check_finite, not_numbers

REDUCTIONS = ("none", "mean", "sum")


def check_reduction(reduction: str) -> None:
    """Raise unless ``reduction`` is one of the three."""
    if not (isinstance(reduction, str) and reduction in REDUCTIONS):
        check_choice(reduction, "reduction", REDUCTIONS)


def as_numbers(value: npt.ArrayLike, name: str, like: Array) -> Array:
    """Return ``value`` as an array of the dtype of ``like``; refuse booleans, text and objects."""
    if type(value) is np.ndarray and value.dtype == like.dtype:
        return value
    value = as_array(value, name)
    if value.dtype.kind not in "iuf":
        raise not_numbers(value, name)
    with np.errstate(over="ignore"):  # in float32, a target of 1e60 becomes infinite, and so does the loss
        return value.astype(like.dtype)


def pair(
    input: npt.ArrayLike, target: npt.ArrayLike, names: tuple[str, str] = ("input", "target")
) -> tuple[Array, Array]:
    """Return both as arrays of one dtype and one shape.

    Shapes have to be equal: broadcasting (N,) against (N, 1) would hide a mistake.
    """
    input = as_floating(input, names[0])
    target = as_numbers(target, names[1], input)
    if target.shape != input.shape:
        hint = ""
        if target.size == input.size:
            hint = f"; reshape it with {names[1]}.reshape({', '.join(map(str, input.shape))})"
        raise ValueError(f"{names[1]}: expected the shape of the {names[0]} {input.shape}, got {target.shape}{hint}")
    if input.size == 0:
        raise ValueError(f"{names[0]}: expected at least one value, got an empty array of shape {input.shape}")
    return input, target


def signs(input: npt.ArrayLike, target: npt.ArrayLike) -> tuple[Array, Array]:
    """Return the pair; raise if a target is neither -1 nor +1."""
    input, target = pair(input, target)
    check_signs(target)
    return input, target


def check_signs(target: Array) -> None:
    """Raise if a target is neither -1 nor +1."""
    wrong = target[np.abs(target) != 1]
    if wrong.size:
        hint = "; labels in {0, 1} become -1 and +1 with 2 * target - 1" if 0 in wrong else ""
        raise ValueError(f"target: expected labels -1 and +1, got {wrong[0]:g}{hint}")


def check_probabilities(values: Array, name: str, hint: str = "") -> None:
    """Raise if a value is outside [0, 1], or NaN."""
    if not (values.min() >= 0 and values.max() <= 1):
        wrong = values[~((values >= 0) & (values <= 1))]
        raise ValueError(f"{name}: expected values from 0 to 1, got {wrong[0]:g}{hint}")


def bits(input: npt.ArrayLike, target: npt.ArrayLike) -> tuple[Array, Array]:
    """Return the pair; raise if a target is outside [0, 1]."""
    input, target = pair(input, target)
    check_probabilities(target, "target", "; labels -1 and +1 become 0 and 1 with (target + 1) / 2")
    return input, target


def element_weights(weight: npt.ArrayLike | None, like: Array) -> Array | None:
    """Return one weight per element, or None."""
    if weight is None:
        return None
    weight = as_numbers(weight, "weight", like)
    if weight.shape != like.shape:
        raise ValueError(f"weight: expected the shape of the input {like.shape}, got {weight.shape}")
    return weight


def broadcast(weight: npt.ArrayLike | None, name: str, like: Array) -> Array | float:
    """Return weights that broadcast over an array, 1 in place of None."""
    if weight is None:
        return 1.0
    weight = as_numbers(weight, name, like)
    try:
        return np.broadcast_to(weight, like.shape)
    except ValueError:
        raise ValueError(f"{name}: expected a shape that broadcasts to {like.shape}, got {weight.shape}") from None


def reduce(terms: Array, reduction: str, count: float | None = None) -> Any:
    """Return the terms as they are, their sum, or their sum divided by ``count``, by default their number."""
    scale = divisor(reduction, terms.size if count is None else count)
    return terms if reduction == "none" else np.add.reduce(terms, axis=None) / scale


def divisor(reduction: str, count: float) -> float:
    """Return the divisor of the reduction: count for the mean, else 1."""
    if isinstance(reduction, str) and reduction == "mean":
        return count
    check_reduction(reduction)
    return 1


def reduce_backward(derivatives: Array, reduction: str, count: float | None = None) -> Array:
    """Return the derivatives divided as the loss is: by ``count`` for the mean, else by 1."""
    return derivatives / divisor(reduction, derivatives.size if count is None else count)


# ---- classes: rows of logits, and one target for each --------------------------------------------------------------


def class_rows(input: npt.ArrayLike) -> tuple[Array, tuple[int, ...]]:
    """Return logits as (rows, K), and the shape of the rows: (), (N,), or (N, d1, ...) of (N, K, d1, ...)."""
    Z = as_floating(input, "input")
    if Z.size == 0 or Z.ndim == 0:
        raise ValueError(f"input: expected logits of shape (N, K) with at least one sample and class, got {Z.shape}")
    if Z.ndim == 2:
        return Z, Z.shape[:1]
    if Z.ndim > 2:
        Z = np.moveaxis(Z, 1, -1)
    return Z.reshape(-1, Z.shape[-1]), Z.shape[:-1]


def class_labels(
    target: Array, lead: tuple[int, ...], K: int, ignore_index: int | None = None
) -> tuple[Array, Array | None]:
    """Return the class indices, one per row, and a mask of the rows that count, or None if all count."""
    if target.dtype.kind not in "iu":
        cure = "convert labels with target.astype(int)"
        if target.dtype.kind in "OSUT":
            cure = "number the classes with handmade.data.encode_labels"
        raise TypeError(
            f"target: expected integer class indices of shape {lead}, got dtype {target.dtype} of shape "
            f"{target.shape}; {cure}"
        )
    if target.shape != lead:
        hint = _column_hint(target, lead)
        raise ValueError(f"target: expected class indices of shape {lead}, got shape {target.shape}{hint}")
    labels = target if target.ndim == 1 and target.dtype == np.intp else target.astype(np.intp).reshape(-1)
    # One comparison for both ends of the range: read as an unsigned number, a negative one is enormous.
    in_range = 0 <= labels[labels.view(np.uintp).argmax()] < K
    if in_range and (ignore_index is None or not 0 <= ignore_index < K):
        return labels, None
    given = target.reshape(-1)  # an unsigned one that is too large has become negative in labels
    kept = given != ignore_index
    wrong = given[kept & ((labels < 0) | (labels >= K))]
    if wrong.size:
        hint = "; for two classes and one logit use binary_cross_entropy_with_logits" if K == 1 else ""
        raise ValueError(f"target: expected class indices from 0 to {K - 1}, got {wrong[0]}{hint}")
    return np.where(kept, labels, 0), kept


def _column_hint(target: Array, lead: tuple[int, ...]) -> str:
    """Return the reshape that turns a column of labels into a row, if that is the mistake."""
    if not lead or target.shape != (*lead, 1):
        return ""
    return f"; reshape indices with target.reshape({', '.join(map(str, lead))})"


def label_weights(labels: Array, kept: Array | None, class_weight: Array | None) -> Array | None:
    """Return the weight of each row's class, 0 for ignored labels; None if all weights are equal."""
    if class_weight is None:
        return kept
    return class_weight[labels] if kept is None else class_weight[labels] * kept


def class_probabilities(target: Array, Z: Array, shape: tuple[int, ...]) -> Array:
    """Return probabilities of the input's shape as (rows, K)."""
    if target.shape != shape:
        lead = shape[:1] * (len(shape) > 1) + shape[2:]
        expected = f"class indices of shape {lead}, or probabilities of shape {shape}"
        raise ValueError(f"target: expected {expected}, got {target.shape}{_column_hint(target, lead)}")
    if target.dtype.kind != "f":  # as PyTorch: a row of integers may be multi-hot, which is not a distribution
        raise TypeError(
            f"target: expected class indices, or probabilities in floating point, got dtype {target.dtype} of shape "
            f"{target.shape}; convert one-hot rows with target.astype(float)"
        )
    T = as_numbers(target, "target", np.real(Z))
    return (np.moveaxis(T, 1, -1) if T.ndim > 2 else T).reshape(Z.shape)


def class_weights(weight: npt.ArrayLike | None, Z: Array, double: bool = False) -> Array | None:
    """Return one weight per class, in the dtype of the logits Z or in double precision; or None."""
    if weight is None:
        return None
    weight = as_numbers(weight, "weight", np.empty(0) if double else np.real(Z))
    if weight.shape != Z.shape[1:]:
        raise ValueError(f"weight: expected one weight per class, shape {Z.shape[1:]}, got {weight.shape}")
    check_finite(weight, "weight")
    return weight
