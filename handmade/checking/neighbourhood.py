"""9. A function around a point: its values, its noise, and its slopes with an estimate of their accuracy."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from .._types import Array
from .._validation import as_array, check_finite
from .methods import DIFFERENCES, EPS, Function, check_function

__all__ = ["Measurement", "Neighbourhood", "measured_noise"]

COMPLEX_ROUNDINGS = 8  # error of the imaginary part in eps: the length of a chain of operations
DEVIATIONS = 4  # standard deviations of the noise that an evaluation may be off
WIDE = (1e-5, 1e-3)  # spacings at which a part of f that moves in steps, such as one in float32, shows its noise
DIRECTIONS = 3  # directions along which the noise is measured
MUCH = 1e-3  # noise, relative to the value of f, that may come from steps too large for the entries
NOT_ANALYTIC = "the complex step needs a function analytic as written, which takes and returns complex numbers"


@dataclasses.dataclass(frozen=True)
class Measurement:
    """The slopes measured by one method, an array each.

    Attributes
    ----------
    value, left, right : ndarray
        The estimates, and the one-sided differences with the smallest step.
    truncation, rounding : ndarray
        Bounds of the error of the formula, and of the error that the noise of the function causes.
    doubt, roughness : ndarray
        Differences between the steps that a smooth function would not show, and all differences between the steps.
    steady_left, steady_right : ndarray of bool
        Whether the one-sided slopes of the three steps agree, extrapolated to step 0, as those beside a kink do.
    """

    value: Array
    left: Array
    right: Array
    truncation: Array
    rounding: Array
    doubt: Array
    roughness: Array
    steady_left: Array
    steady_right: Array


class Neighbourhood:
    """A function around theta: values at points that differ from theta in one entry, and the slopes between them.

    Every value has to be one finite real number, the same at a second call, and f must not change its argument.
    """

    def __init__(self, f: Function, theta: Array) -> None:
        if theta.size == 0:
            raise ValueError("theta: expected at least one entry, got none")
        check_function(f, "f")
        check_finite(theta, "theta")
        self.f: Any = f  # may have a method moved, and return a number of torch
        self.theta = theta
        self.outside: Exception | None = None  # why f has no value where a step has led
        self.base = self.at(theta)
        if (again := self.at(theta)) != self.base:
            apart = f"two calls gave {self.base!r} and {again!r}, {abs(again - self.base):.1e} apart"
            raise ValueError(f"the function is not deterministic: {apart}; give its random numbers a fixed seed")

    def at(self, theta: Array) -> float:
        """Return f(theta), one finite real number."""
        return self._checked(self._call(theta), theta)

    def _checked(self, value: Any, theta: Array) -> float:
        if np.ndim(value) or np.asarray(value).dtype.kind not in "iuf":
            raise TypeError(f"the function: expected it to return one real number, got {value!r}")
        if not math.isfinite(value):
            where = self._moved_from(theta)
            raise ValueError(f"the function: expected it to return a finite number, got {value!r}{where}")
        return float(value)

    def _call(self, theta: Array) -> Any:
        """Return f of a copy of theta; raise if f raises, or if the copy is changed afterwards."""
        given = theta.copy()
        value = self._value(given, theta)
        if not np.array_equal(given, theta):
            i = tuple(np.argwhere(given != theta)[0].tolist())
            change = f"theta[{', '.join(map(str, i))}] was {theta[i]} before the call and {given[i]} after it"
            raise ValueError(f"the function changed its argument: {change}; let it work on a copy")
        return value

    def _value(self, given: Array, theta: Array) -> Any:
        try:
            value = self.f(given)
        except Exception as error:
            where = self._moved_from(theta)
            if not where or np.iscomplexobj(theta):  # at theta itself the error is the caller's own
                raise
            raise ValueError(f"the function raised {type(error).__name__}: {error}{where}") from error
        return value.detach().numpy() if hasattr(value, "detach") else value  # a number of torch, on its graph

    def _moved_from(self, theta: Array) -> str:
        """Return a phrase that says in which entries a point differs from theta."""
        changed = np.argwhere(theta != self.theta)
        if not len(changed):
            return ""
        if len(changed) > 3:
            return f", at a point that differs from theta in {len(changed)} entries"
        entries = (tuple(i.tolist()) for i in changed)
        text = "; ".join(f"theta[{', '.join(map(str, i))}] = {theta[i]:.17g} for {self.theta[i]:.17g}" for i in entries)
        return f", at {text}"

    def moved(self, indices: Array, values: Array) -> Array:
        """Return f at theta with one entry changed, ``indices[k]`` to ``values[k]``, for each k."""
        if not hasattr(self.f, "moved"):
            return np.array([self.at(self._with(i, value)) for i, value in zip(indices, values, strict=True)])
        losses = self.f.moved(self.theta, indices, values)
        if not np.isfinite(losses).all():
            k = int(np.argmin(np.isfinite(losses)))
            where = self._moved_from(self._with(indices[k], values[k]))
            raise ValueError(f"the function: expected it to return a finite number, got {losses[k]!r}{where}")
        return losses

    def _with(self, i: int, value: Any) -> Array:
        moved = self.theta.astype(value.dtype)
        moved.flat[i] = value
        return moved

    def scale(self, indices: Array | slice) -> Array:
        """Return max(1, |theta_i|)."""
        return np.maximum(1, np.abs(self.theta.flat[indices]))

    def _inside(self, indices: Array, values: Array) -> Array:
        """Return f as `moved` does, and NaN where f has no value; why it has none is kept in ``outside``."""
        try:
            return self.moved(indices, values)
        except ValueError as error:
            self.outside = error
            if len(indices) == 1:
                return np.array([np.nan])
        halves = zip(np.array_split(indices, 2), np.array_split(values, 2), strict=True)
        return np.concatenate([self._inside(*half) for half in halves])

    def slopes(self, indices: Array, steps: Array, inside: bool = False) -> Array:
        """Return (f(x + h) - f(x)) / h for each entry x and its steps h, (levels, entries).

        With ``inside``, a slope is NaN where a step leaves the domain of f.
        """
        x = self.theta.flat[indices]
        there = x + steps
        levels = len(steps)
        value_at = self._inside if inside else self.moved
        values = value_at(np.tile(indices, levels), there.reshape(-1)).reshape(steps.shape)
        return (values - self.base) / (there - x) + 0.0  # the distance really gone; and zero has no sign

    def both_sides(self, indices: Array, steps: Array, inside: bool = False) -> tuple[Array, Array]:
        """Return the slopes below and above."""
        left, right = np.split(self.slopes(indices, np.concatenate((-steps, steps)), inside), 2)
        return left, right

    def measure(self, indices: Array, method: str, step: float | Array, noise: float) -> Measurement:
        """Measure the slopes with steps h, h/2 and h/4, and estimate their accuracy from how the three differ.

        The relative step is one for all entries, or one for each. Slopes are NaN where a step leaves the domain of f.
        """
        h = self.scale(indices) * step / np.array([[1], [2], [4]])
        return self._measurement(*self.both_sides(indices, h, inside=True), h, method, noise)

    def along(self, direction: Array, step: float, noise: float) -> Measurement:
        """Measure the slope of f along a direction, (P,), as `measure` does along a single entry.

        The relative step is that of a single entry: along many entries at once f curves more, so the estimate is
        the central difference, and the three steps tell its truncation.
        """
        h = step / np.array([[1], [2], [4]])
        way = direction.reshape(self.theta.shape)
        below, above = (
            (np.array([[self._at_distance(way, t)] for t in steps[:, 0]]) - self.base) / steps for steps in (-h, h)
        )
        return self._measurement(below, above, h, "richardson", noise)

    def _measurement(self, left: Array, right: Array, h: Array, method: str, noise: float) -> Measurement:
        formula = DIFFERENCES[method]
        *_, coarse, value = formula.combine(left, right)
        change, central, gaps = np.abs(value - coarse), (left + right) / 2, right - left
        bends = np.abs(2 * gaps[1:] - gaps[:-1]).sum(axis=0)  # a smooth function's gap closes in proportion to h
        size = abs(self.base) + np.maximum(np.abs(left), np.abs(right)).max(axis=0) * h[0]
        rounding = formula.amplification * evaluation_error(noise, size) / h[-1]
        return Measurement(
            value,
            left[-1],
            right[-1],
            truncation=2 * change / (2**formula.order - 1),
            rounding=rounding,
            doubt=change + bends,
            roughness=np.abs(np.diff(central, axis=0)).sum(axis=0) + bends,
            steady_left=_is_steady(left, gaps, rounding),
            steady_right=_is_steady(right, gaps, rounding),
        )

    def noise(self, indices: Array) -> float:
        """Return the standard deviation of the noise of f, measured along random directions of these entries."""
        rng, direction, found = np.random.default_rng(0), np.zeros_like(self.theta), []
        line = partial(self._at_distance, direction)
        for _ in range(DIRECTIONS):
            found.append(self.noise_along(direction, indices, rng))
        if not hasattr(self.f, "moved"):  # which computes in float64 throughout
            found += [noise_of_steps(line, wide) for wide in WIDE]
        return max(found)

    def noise_along(self, direction: Array, indices: Array, rng: np.random.Generator) -> float:
        """Return the noise of f along a random direction of these entries, which is written into ``direction``."""
        parts, found = rng.uniform(-1, 1, len(indices)), math.inf
        direction.flat[indices] = parts * self.scale(indices)
        line = partial(self._at_distance, direction)
        try:
            found = measured_noise(line)
            if found <= MUCH * abs(self.base):
                return found
        except ValueError:  # outside of the domain of f
            pass
        # An entry of 1e-100 has moved far: let each move by parts of itself.
        direction.flat[indices] = parts * np.abs(self.theta.flat[indices])
        own = measured_noise(line)
        return min(found, own) if own or found == math.inf else found

    def _at_distance(self, direction: Array, t: float) -> float:
        return self.at(self.theta + t * direction)

    def complex_slopes(self, indices: Array, step: float | Array) -> Array:
        """Return Im f(x + ih) / h."""
        values = self.theta.flat[indices] + 1j * step
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", np.exceptions.ComplexWarning)  # a cast that drops the imaginary part
                if hasattr(self.f, "moved"):
                    found = self.f.moved(self.theta, indices, values)
                else:
                    found = [self._call(self._with(i, value)) for i, value in zip(indices, values, strict=True)]
        except Exception as error:
            raise TypeError(f"{NOT_ANALYTIC}; it raised {type(error).__name__}: {error}") from error
        for value in found:
            if np.ndim(value) or np.asarray(value).dtype.kind != "c":
                raise TypeError(f"{NOT_ANALYTIC}; it returned {value!r}")
        return np.imag(found) / step

    def check_indices(self, indices: npt.ArrayLike) -> Array:
        """Return indices as integers; raise if one of them is none of theta."""
        indices = as_array(indices, "indices")
        if indices.ndim != 1 or (indices.size and indices.dtype.kind not in "iu"):
            raise TypeError(f"indices: expected a list of integers, got {indices!r}")
        if indices.size and not (indices.min() >= 0 and indices.max() < self.theta.size):
            raise ValueError(f"indices: expected integers from 0 to {self.theta.size - 1}, got {indices}")
        return indices.astype(np.intp)


def _is_steady(slopes: Array, gaps: Array, rounding: Array) -> Array:
    """Return where the one-sided slopes of three steps converge to one that is not the other side's."""
    change = np.abs(np.diff(slopes, axis=0)).max(axis=0)
    return change <= np.maximum(1e-3 * np.abs(gaps[-1]), rounding)


def evaluation_error(noise: float, size: Array) -> Array:
    """Return a bound of the error of f: some standard deviations of its noise, and at least its last digits."""
    return np.maximum(DEVIATIONS * noise, 2 * EPS * size)


def measured_noise(f: Callable[[float], float]) -> float:
    """Return the standard deviation of the noise of f(t) near t = 0 (Moré and Wild, SIAM J. Sci. Comput. 33, 2011).

    The k-th differences of a smooth function at equally spaced points vanish with the spacing; those of noise have k
    times the variance (2k)! / (k!)^2 of the noise. Where three levels of the table of differences agree about it, it
    is noise. A function that changes in steps, because it computes in float32, needs a wider spacing, a function that
    oscillates a narrower one.
    """
    spacing, least = 1e-12, 0.0
    for _ in range(12):
        values, tables = _differences(f, spacing)
        if np.count_nonzero(tables[0] == 0) >= 4:
            if spacing > 1e-3:
                return _last_bit(values[0]) / math.sqrt(12)
            spacing *= 100
            continue
        levels = _levels(tables)
        if (found := _agreed(tables, levels)) is not None:
            return found
        spacing, least = spacing / 10, min(levels)
    return least


def noise_of_steps(f: Callable[[float], float], spacing: float) -> float:
    """Return the noise of f(t) at a wide spacing, if it comes from steps; else 0.

    A sum of a part in float64 and one in float32 looks smooth at a narrow spacing: the latter does not move. A wave may
    look like noise at a wide one. What tells them apart is a jump: halving an interval does not make it smaller.
    """
    try:
        _, tables = _differences(f, spacing)
        found = _agreed(tables, _levels(tables)) or 0.0
        low, high = 0.0, 7 * spacing
        below, above = f(low), f(high)
        while found and high - low > NARROW:
            middle = (low + high) / 2
            value = f(middle)
            if abs(value - below) > abs(above - value):
                high, above = middle, value
            else:
                low, below = middle, value
    except ValueError:  # outside of the domain of f
        return 0.0
    return found if abs(above - below) > found / 2 else 0.0


NARROW = 1e-13  # an interval in which a smooth function does not move visibly


def _differences(f: Callable[[float], float], spacing: float) -> tuple[list[float], list[Array]]:
    """Return f at eight points, and the table of its differences: a column for each order from 1 to 6."""
    values = [f(k * spacing) for k in range(8)]
    return values, [np.diff(values, k) for k in range(1, 7)]


def _levels(tables: Sequence[Array]) -> list[float]:
    """Return the standard deviation of the noise that each column of a table of differences tells."""
    sizes = [float(np.abs(table).max()) for table in tables]  # whose squares may overflow
    return [
        size * math.sqrt(math.factorial(k) ** 2 / math.factorial(2 * k) * float(np.mean((table / (size or 1)) ** 2)))
        for k, (table, size) in enumerate(zip(tables, sizes, strict=True), 1)
    ]


def _agreed(tables: Sequence[Array], levels: Sequence[float]) -> float | None:
    """Return the standard deviation about which three columns agree, as they do of noise; None if none do."""
    for k in range(4):
        three = levels[k : k + 3]
        if max(three) <= 4 * min(three) and tables[k].min() < 0 < tables[k].max():
            return levels[k]
    return None


def _last_bit(value: float) -> float:
    """Return the resolution of a function that did not change: the last set bit, at most one float32 eps."""
    numerator, denominator = value.as_integer_ratio()
    return min((numerator & -numerator) / denominator, float(np.finfo(np.float32).eps) * abs(value))
