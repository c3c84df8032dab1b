"""The rule that every case has to obey, and the violations of it."""

from __future__ import annotations

import functools
import tracemalloc
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Outcome", "Violation", "observe", "same_numbers"]


class Violation(Exception):
    """A case that broke the rule: ``kind`` in a word, and the input's bytes where it is a file."""

    def __init__(self, kind: str, message: str, content: bytes | None = None) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind, self.content = kind, content


@dataclass(frozen=True)
class Outcome:
    """An outcome of a call: a value, or an error that the rule allows."""

    value: Any = None
    error: Exception | None = None


def observe(
    call: Callable[[], Any],
    names: Sequence[str],
    inputs: Sequence[Any] = (),
    state: Callable[[], Any] = lambda: None,
    most_memory: int | None = None,
    may_overflow: bool = False,
) -> Outcome:
    """Run a call and check everything about it but its value.

    Parameters
    ----------
    call : callable
        The call, without arguments.
    names : sequence of str
        The names of arguments, one of which an error has to contain.
    inputs : sequence
        The caller's data, which must not change.
    state : callable
        Returns the state of the library's objects as something that can be compared; an error must not change it.
    most_memory : int or None
        The most bytes that the call may take. None: not measured, which is faster.
    may_overflow : bool
        Take NumPy's warnings of overflow and invalid values: the numbers are so large that steps on the way overflow.

    Raises
    ------
    Violation
        If the call broke the rule.
    """
    before, state_before = [_snapshot(value) for value in inputs], state()
    if most_memory is not None:
        tracemalloc.start()
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        try:
            outcome = Outcome(call())
        except (ValueError, TypeError) as error:
            outcome = Outcome(error=error)
        except Exception as error:
            raise Violation("error", f"{type(error).__name__}: {error}") from error
        finally:
            peak = tracemalloc.get_traced_memory()[1] if most_memory is not None else 0
            if most_memory is not None:
                tracemalloc.stop()
    if most_memory is not None and peak > most_memory:
        raise Violation("memory", f"{peak:,} bytes, expected at most {most_memory:,}")
    unfounded = [warning for warning in raised if not _is_founded(warning.message, outcome, may_overflow)]
    if unfounded:
        raise Violation("warning", f"{unfounded[0].category.__name__}: {unfounded[0].message}")
    if outcome.error is not None:
        if not any(name in str(outcome.error) for name in names):
            raise Violation("name", f"expected one of {list(names)} in {type(outcome.error).__name__}: {outcome.error}")
        if state() != state_before:
            raise Violation("state", f"it changed although the call failed: {outcome.error}")
    for value, old in zip(inputs, before, strict=True):
        if _snapshot(value) != old:
            raise Violation("input", f"the caller's {type(value).__name__} was changed")
    return outcome


def same_numbers(value: Any, expected: Any, tolerance: float = 0.0, of_largest: bool = False) -> bool:
    """Return whether two results, or tuples and dicts of them, are equal within a tolerance, NaN to NaN.

    The tolerance is relative to each number, or to the largest of an array where sums may cancel.
    """
    same = functools.partial(same_numbers, tolerance=tolerance, of_largest=of_largest)
    if isinstance(expected, dict):
        return value.keys() == expected.keys() and all(same(value[name], expected[name]) for name in expected)
    if isinstance(expected, (tuple, list)):
        return len(value) == len(expected) and all(map(same, value, expected))
    value, expected = np.asarray(value), np.asarray(expected)
    if value.shape != expected.shape:
        return False
    if value.dtype.kind in "OV":
        return repr(value) == repr(expected)
    if value.dtype.kind not in "fc" or expected.dtype.kind not in "fc":
        return bool(np.array_equal(value, expected))
    with np.errstate(all="ignore"):
        expected = expected.astype(value.dtype)  # what is too large for the result's dtype is infinite in it
        scale = np.abs(expected) + np.finfo(value.dtype).tiny
        scale = np.max(scale, initial=0.0, where=np.isfinite(scale)) if of_largest else scale
        equal = (value == expected) | (np.isnan(value) & np.isnan(expected))
        return bool(np.all(equal | (np.abs(value - expected) <= tolerance * scale)))


def _is_founded(warning: Warning | str, outcome: Outcome, may_overflow: bool) -> bool:
    """Return whether a warning says of a result what is true: that it is too large, or no number."""
    if not str(warning).startswith(("overflow", "invalid value")):
        return False
    if may_overflow or outcome.error is not None:
        return may_overflow
    values = outcome.value if isinstance(outcome.value, tuple) else (outcome.value,)
    return not all(np.isfinite(np.asarray(value)).all() for value in values if np.asarray(value).dtype.kind in "fc")


def _snapshot(value: Any) -> Any:
    """Return a copy of data of any kind that can be compared with a later one."""
    if isinstance(value, np.ndarray):
        mask = np.ma.getmaskarray(value).tobytes() if isinstance(value, np.ma.MaskedArray) else b""
        return value.shape, str(value.dtype), np.asarray(value).tobytes(), mask
    if hasattr(value, "detach"):
        return _snapshot(value.detach().numpy())
    if hasattr(value, "to_numpy"):
        return _snapshot(value.to_numpy())
    if isinstance(value, (bytes, str, int)) or value is None:
        return value
    return repr(value)
