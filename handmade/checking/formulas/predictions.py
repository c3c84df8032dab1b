"""9. A wrong gradient of a loss as the right one of another prediction, or of other targets.

Most losses have the gradient c (V - Y): a prediction V, such as softmax(A), less the target Y. Where it is wrong, but
of that form, the prediction or the target follows from it, and its numbers show what was done to it: it was clipped,
cut to integers, divided by a temperature, computed in float16.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..._types import Array
from ..backward_pass import BackwardPass
from .loss_terms import outputs_of_loss, targets_of_loss
from .patterns import OWN_FACTORS, clipped, is_half, pattern_of

__all__ = ["other_prediction", "other_smoothing"]

SAME = 1e-7  # relative difference of two arrays that count as equal


def other_prediction(batches: Sequence[tuple[BackwardPass, Array]]) -> str:
    """Return the wrong gradient of a loss with respect to the output, as that of another prediction or target.

    Parameters
    ----------
    batches : sequence of (BackwardPass, ndarray)
        Right backward passes, and the claimed gradients with respect to their outputs.

    Returns
    -------
    str
        Such as ``c (P-Y) with P clipped below at 0.1, where (P-Y) c is right``; empty if nothing is seen.
    """
    for name in "P", "A", "sigmoid(A)":
        parts = [_parts(of, claimed, name) for of, claimed in batches]
        if not parts or any(part is None for part in parts):
            continue
        A, V, Y, implied, target = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        for text in _predictions(name, A, V, implied):
            return f"right, but with {text}"
        for text in _targets(Y, target, [(part[4], part[2]) for part in parts if part is not None]):
            return f"right, but with {text}"
    return ""


def other_smoothing(batches: Sequence[tuple[BackwardPass, Array]]) -> str:
    """Return the wrong gradient of a loss of classes as that of targets with two other numbers; empty if it is not.

    The numbers are that of the class and that of every other one, as label smoothing makes them.
    """
    found = set()
    for of, claimed in batches:
        right, other = _smoothing(of, of.loss_gradient), _smoothing(of, claimed)
        if right is None or other is None or abs(other[0] / right[0] - 1) > SAME:
            return ""
        if min(abs(a - b) for a, b in zip(right[1:], other[1:], strict=True)) <= SAME or abs(other[2]) <= SAME:
            return ""
        of_class, elsewhere = (
            f"{one:.6g} in place of {own:.6g}" for one, own in zip(other[1:], right[1:], strict=True)
        )
        found.add(f"right, but with targets {of_class} for the class, and {elsewhere} for the others")
    return found.pop() if len(found) == 1 else ""


def _smoothing(of: BackwardPass, dA: Array) -> tuple[float, float, float] | None:
    """Return c and the two numbers of the target T, if dA = c (P - T)."""
    Y = targets_of_loss(of)
    P = None if Y is None else next((term.value for term in outputs_of_loss(of, Y) if term.name == "P"), None)
    if Y is None or P is None or not np.isin(Y, (0, 1)).all():
        return None
    X = np.stack([P.ravel(), Y.ravel(), 1 - Y.ravel()], axis=1)
    (c, high, low), _, rank, _ = np.linalg.lstsq(X, dA.ravel())
    if rank < 3 or not c or np.abs(X @ (c, high, low) - dA.ravel()).max() > SAME * np.abs(dA).max():
        return None
    return float(c), round(float(-high / c), 9), round(float(-low / c), 9) + 0.0  # in place of -0


def _parts(of: BackwardPass, claimed: Array, name: str) -> tuple[Array, ...] | None:
    """Return A, V and Y, and the V and the Y that a claim implies, if the right gradient is c (V - Y)."""
    Y = targets_of_loss(of)
    if Y is None or Y.ndim != 2:
        return None
    V = next((term.value for term in outputs_of_loss(of, Y) if term.name == name), None)
    if V is None or not (V - Y).any():
        return None
    right, error = of.loss_gradient, V - Y
    c = float((right * error).sum() / (error * error).sum())
    if not c or np.abs(right - c * error).max() > SAME * np.abs(right).max():
        return None
    return of.values[-1], V, Y, claimed / c + Y, V - claimed / c


def _predictions(name: str, A: Array, V: Array, implied: Array) -> Iterator[str]:
    """Yield the changes that turn the right prediction into the claimed one."""
    if text := clipped(implied, V):
        yield f"{name} clipped {text}"
    if is_half(implied, V):
        yield f"{name} in float16"
    if name != "A" and (implied > 0).all():
        logits = np.log(implied) if name == "P" else np.log(implied) - np.log1p(-np.minimum(implied, 1 - 1e-16))
        own = A
        if name == "P":
            logits, own = (B - B.mean(axis=1, keepdims=True) for B in (logits, A))
        factor = float((logits * own).sum() / (own * own).sum())
        if factor and np.abs(logits - factor * own).max() <= SAME * np.abs(logits).max():
            way = f"A times {factor:.6g}" if factor > 1 else f"A divided by {1 / factor:.6g}"
            yield f"{'softmax' if name == 'P' else 'sigmoid'} of {way}: a temperature"


def _targets(Y: Array, target: Array, batches: Sequence[tuple[Array, Array]]) -> Iterator[str]:
    """Yield what was done to the targets, in all batches together, or in each."""
    whole = np.round(target)
    is_whole = np.abs(target - whole).max() <= SAME * max(1.0, float(np.abs(target).max()))
    if is_whole and not np.array_equal(np.round(Y), Y) and (np.abs(whole - Y) < 1).all():
        yield f"Y {'cut' if np.array_equal(whole, np.trunc(Y)) else 'rounded'} to integers"
        return
    one_hot = is_whole and (whole.sum(axis=1) == 1).all() and (np.abs(whole).sum(axis=1) == 1).all() and Y.shape[1] > 1
    if one_hot and (np.abs(Y).sum(axis=1) == 1).all():
        changed = np.flatnonzero((whole != Y).any(axis=1))
        listed = ", ".join(f"{whole[i].argmax()} for {Y[i].argmax()}" for i in changed[:6])
        yield f"other labels in {len(changed)} of {len(Y)} rows: {listed}{', ...' if len(changed) > 6 else ''}"
        return
    if text := clipped(target, Y):
        yield f"Y clipped {text}"
    for seen in pattern_of(target, Y), pattern_of(*batches[0]) * all(pattern_of(*batch) for batch in batches):
        if seen and OWN_FACTORS not in seen:
            yield f"Y {seen.removeprefix('right, ')}".replace("Y but", "Y of which").replace(
                "Y its rows", "the rows of Y"
            )
