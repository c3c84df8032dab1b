"""9. Patterns that a person would see in a wrong array: clipping, rounding, factors, exchanged rows."""

from __future__ import annotations

import numpy as np

from ..._types import Array

__all__ = ["OWN_FACTORS", "clipped", "is_half", "pattern_of"]

SPARE = 3  # entries that have to agree about a factor
OWN_FACTORS = "times a number of its own"

# ---- patterns ------------------------------------------------------------------------------------------------------


def pattern_of(actual: Array, right: Array) -> str:
    """Return the pattern that a person would see beside the right array: cut, rounded, scaled or exchanged rows.

    Examples
    --------
    >>> from handmade.checking.formulas.patterns import pattern_of
    >>> right = np.array([[0.3, -0.01], [0.02, -0.2], [0.04, 0.01]])
    >>> pattern_of(np.clip(right, -0.05, 0.05), right)
    'right, clipped at 0.05'
    >>> pattern_of(right * [[1], [1], [0]], right)
    'right, but row 2 is 0'
    """
    size = np.abs(right).max(initial=0.0)
    if actual.shape != right.shape or size == 0 or actual.size < 4:
        return ""
    same = np.abs(actual - right) <= 1e-7 * size
    actual = np.where(np.abs(actual) <= 1e-8 * size, 0.0, actual)
    if same.any() and (actual[~same] == 0).all():
        return _zeros(actual, same)
    if same.any() and not right[~same].any() and right[same].any():
        return "right, but not 0 where the right one is 0"
    limit = np.abs(actual).max()
    cut = (np.abs(np.abs(actual) - limit) <= 1e-7 * size) & (np.abs(right) > limit) & (actual * right > 0)
    if (same | cut).all() and same.any() and cut.sum() > 1:
        return f"right, clipped at {limit:.6g}"
    for digits in range(1, 7):
        if np.abs(actual - np.round(right, digits)).max() <= 1e-9 * size and actual.any():
            return f"right, rounded to {digits} decimals"
    if is_half(actual, right):
        return "right, rounded to float16"
    lines = _lines(actual, right, size) if actual.ndim == 2 and min(actual.shape) > 1 else ""
    return lines or _of_entries(actual, right, size, same)


def is_half(actual: Array, right: Array) -> bool:
    """Return whether an array is another one in float16."""
    largest = np.abs(right).max(initial=0.0)
    with np.errstate(over="ignore"):
        rounded = actual.astype(np.float16).astype(np.float64)
    is_near = np.abs(actual - right) <= 4e-3 * np.abs(right) + 1e-4 * largest
    is_single = np.abs(actual - rounded) <= 1e-9 * largest + 1e-7 * np.abs(actual)
    return bool((is_near & is_single).all() and np.abs(actual - right).max() > 1e-7 * largest)


def clipped(actual: Array, right: Array) -> str:
    """Return between which bounds an array is another one, clipped, as text; empty if it is not."""
    low, high = float(actual.min()), float(actual.max())
    size = np.abs(right).max(initial=0.0)
    if np.abs(actual - right).max() <= 1e-7 * size or np.abs(actual - np.clip(right, low, high)).max() > 1e-7 * size:
        return ""
    bounds = [
        (low, "below", int((right < low - 1e-7 * size).sum())),
        (high, "above", int((right > high + 1e-7 * size).sum())),
    ]
    return " and ".join(
        f"{side} at {round(bound / size, 9) * size + 0.0:.6g}" for bound, side, count in bounds if count
    )


def _zeros(actual: Array, same: Array) -> str:
    if actual.ndim == 2:
        for axis, name in (1, "row"), (0, "column"):
            lines = np.flatnonzero((~same).any(axis=axis))
            if (actual.take(lines, axis=1 - axis) == 0).all():
                listed = ", ".join(map(str, lines[:6].tolist()))
                return (
                    f"right, but {name}{'s' if len(lines) > 1 else ''} {listed} {'are' if len(lines) > 1 else 'is'} 0"
                )
    return f"right, but {int((~same).sum())} of {actual.size} entries are 0"


def _of_entries(actual: Array, right: Array, size: float, same: Array) -> str:
    """Return whether some entries have a factor, the same for all of them, or all stand in another order."""
    a, r = actual[~same], right[~same]
    if (same & (right != 0)).any() and len(a) > SPARE and np.abs(r).min() > 1e-3 * size:
        factor = float(a @ r / (r @ r))
        if np.abs(a - factor * r).max() <= 1e-7 * size:
            return f"right, but {len(a)} of {actual.size} entries are {factor:.6g} times that"
    ordered = np.sort(right, axis=None)
    if np.abs(np.sort(actual, axis=None) - ordered).max() <= 1e-7 * size and np.diff(ordered).min() > 1e-6 * size:
        return "right, its entries in another order"
    return ""


def _lines(actual: Array, right: Array, size: float) -> str:
    """Return whether rows or columns have a factor of their own, or are exchanged."""
    for axis, name in (1, "row"), (0, "column"):
        tiny = np.finfo(np.float64).tiny
        lengths = np.maximum((right * right).sum(axis=axis, keepdims=True), tiny)
        factors = (actual * right).sum(axis=axis, keepdims=True) / lengths
        if np.abs(actual - factors * right).max() <= 1e-7 * size:
            if np.ptp(factors[lengths > tiny]) <= 1e-7 * np.abs(factors).max():
                return ""  # a formula, if other batches do not contradict it
            norms, cut = np.linalg.norm(actual, axis=axis, keepdims=True), factors < 1 - 1e-7
            if (factors <= 1 + 1e-7).all() and cut.sum() > 1 and np.ptp(norms[cut]) <= 1e-7 * norms.max():
                return f"right, the norm of each {name} clipped at {norms[cut][0]:.6g}"
            digits = 4 if np.abs(factors - 1).max() > 1e-3 else 8
            text = ", ".join(f"{factor:.{digits}g}" for factor in factors.ravel()[:6])
            return f"right, each {name} {OWN_FACTORS}: {text}{', ...' if factors.size > 6 else ''}"
    for later, earlier, name in (actual[1:], right[:-1], "before"), (actual[:-1], right[1:], "after"):
        if np.abs(later - earlier).max() <= 1e-7 * size and np.abs(later).any():  # the first one may be anything
            return f"right, but in each row that of the sample {name}"
    for name, lines, own in ("rows", actual, right), ("columns", actual.T, right.T):
        order = [np.abs(own - line).max(axis=1).argmin() for line in lines]
        if np.abs(lines - own[order]).max() <= 1e-7 * size and sorted(order) == list(range(len(own))):
            return f"right, its {name} in the order {', '.join(map(str, order[:8]))}{', ...' if len(order) > 8 else ''}"
    return ""
