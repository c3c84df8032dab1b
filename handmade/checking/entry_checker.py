"""9. Each entry of a claimed gradient compared with differences, one by one and along random directions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._types import Array
from .._validation import as_generator, check_count
from ..progress import progress_bar
from .check_table import Along, Entries, GradientCheck, summary_of
from .methods import COMPLEX_STEP, DIFFERENCES, EPS, MethodName
from .neighbourhood import DEVIATIONS, Neighbourhood
from .rounding import ROUNDINGS
from .subjects import Subject

__all__ = ["EntryChecker", "examine", "examine_beside"]

PART, FIRST = 500, 8  # entries that are measured together, and the first ones of those that differ from the truth
MOST, LEAST, NUMBERS = 2000, 40, 4e7  # entries measured one by one: as many as NUMBERS allows, within these bounds


# ---- the comparison ------------------------------------------------------------------------------------------------


def examine(
    subject: Subject,
    *,
    method: MethodName = "richardson",
    entries: int | None = None,
    directions: int = 2,
    rng: Any = None,
    enough: int | None = None,
    progress: bool = False,
) -> GradientCheck:
    """Compare a claimed gradient with differences: `check_gradient` and `diagnose_gradient` both call this.

    With ``enough``, the other entries of a parameter are left out after so many wrong ones: the parameter is wrong.
    """
    near = Neighbourhood(subject.f, subject.theta)
    size = subject.theta.size
    entries = min(size, _most_entries(size)) if entries is None else check_count(entries, "entries")
    directions = check_count(directions, "directions", least=0)
    rng = as_generator(rng)
    chosen = {name: _choose(block.ravel(), size, entries, rng) for name, block in subject.names.items()}
    checker = EntryChecker(near, subject, near.noise(np.concatenate(list(chosen.values()))))
    compared, done, total = {}, 0, sum(map(len, chosen.values()))
    along: dict[str, Along] = {}
    with progress_bar("entries", total, progress) as report:
        for name, indices in chosen.items():
            parts: list[Entries] = []
            for part in np.array_split(indices, math.ceil(len(indices) / (enough or PART))):
                if not parts or not enough or sum(np.sum(p.verdict == "wrong") for p in parts) < enough:
                    parts.append(checker.entries(part, method))
                report(done := done + len(part), name)
            compared[name] = Entries.joined(parts)
        for name, block in subject.names.items():
            others = np.setdiff1d(block.ravel(), chosen[name], assume_unique=True)
            is_settled = enough is not None and np.sum(compared[name].verdict == "wrong") >= enough
            if directions and len(others) and not is_settled:
                found, along[name] = checker.others(others, method, directions, rng)
                compared[name] = Entries.joined([compared[name], found])
    _respect_kinks(subject, compared)
    return summary_of(subject, compared, along, near.base, checker.noise, checker.beside)


def examine_beside(subject: Subject, truth: Array, proof: GradientCheck, enough: int) -> GradientCheck:
    """Compare a claimed gradient with one that `examine` has found right; measure only where the two differ.

    An entry that equals the right one up to rounding is as right as that. The others are measured one by one, the
    farthest first, until ``enough`` of a parameter are wrong. Where too many are left and none is wrong, random
    directions decide.
    """
    near, rng = Neighbourhood(subject.f, subject.theta), as_generator(0)
    checker = EntryChecker(near, subject, proof.noise)
    distance = np.abs(subject.claimed - truth)
    differs = distance > subject.rounding
    compared, along = {}, {}
    for row, block in zip(proof.blocks, subject.names.values(), strict=True):
        at = block.ravel()
        other = at[differs[at]]
        known = proof.entries.of(np.isin(proof.entries.index, at[~differs[at]]))
        allowed = known.allowed + subject.rounding[known.index]
        known = dataclasses.replace(known, claimed=subject.claimed[known.index], allowed=allowed)
        found, left = checker.until(other[np.argsort(-distance[other], kind="stable")], enough)
        unseen = len(at) - len(other) - len(known.index)
        is_complete = not unseen or math.isfinite(row.excluded)
        seen = Along(unseen + len(left), row.excluded, False, is_complete and not len(left))
        if len(left) and not (found.verdict == "wrong").any():
            more, rest = checker.others(left, "richardson", 2, rng)
            found = Entries.joined([found, more])
            excluded = max(rest.excluded, row.excluded) if unseen else rest.excluded
            seen = Along(unseen + rest.entries, excluded, rest.disagree, is_complete and rest.is_complete)
        compared[row.name], along[row.name] = Entries.joined([known, found]), seen
    _respect_kinks(subject, compared)
    return summary_of(subject, compared, along, near.base, checker.noise, checker.beside)


def _most_entries(size: int) -> int:
    """Return the largest number of entries that are measured one by one."""
    return int(min(MOST, max(LEAST, NUMBERS // size)))


def _respect_kinks(subject: Subject, compared: Mapping[str, Entries]) -> None:
    """Leave undecidable what backpropagation gives for a choice of sides at the kinks of a network.

    Where several kinks meet, that may lie outside of the slopes of the function: max(x, 0) - max(-x, 0) has the slope 1
    at 0, and every framework says 0.
    """
    if subject.one_sided is None:
        return
    lower, upper = subject.one_sided
    for entries in compared.values():
        at, margin = entries.index, 1e-6 * (np.abs(lower) + np.abs(upper))[entries.index] + entries.allowed
        open_ = (upper - lower)[at] > margin
        inside = (entries.claimed >= lower[at] - margin) & (entries.claimed <= upper[at] + margin)
        entries.verdict[(entries.verdict == "wrong") & open_ & inside] = "undecidable"


def _choose(block: Array, total: int, entries: int, rng: np.random.Generator) -> Array:
    """Return the entries of a parameter to measure one by one: its share of them, and at least one."""
    count = min(len(block), math.ceil(entries * len(block) / total))
    return np.sort(rng.choice(block, count, replace=False))


class EntryChecker:
    """A comparison of the entries of a claimed gradient with differences of f around theta."""

    DOUBT = 10  # an entry is refuted only if its error exceeds so many times the disagreement between steps
    SMOOTH = 1e-3  # relative: where the central differences of two steps are farther apart, a kink may be the cause
    SMALL = 1e-3  # relative to 1: entries below it may have a scale of their own
    PRECISE = 1e-7  # relative: a measurement as good as this needs no smaller step
    DECISIVE = 0.1  # relative to the largest entry: where noise is larger, agreement proves nothing
    GROUP = 16  # entries that are measured one by one instead of being halved again
    MOST_DIRECTIONS = 12  # of random ones for a parameter, where those before were doubtful
    FOUND = 4  # wrong entries of a parameter after which the search ends

    near: Any
    noise: float
    claimed: Array
    rounding: Array

    def __init__(self, near: Neighbourhood, subject: Subject, noise: float) -> None:
        self.near, self.noise = near, noise
        self.claimed, self.rounding = subject.claimed.ravel(), subject.rounding.ravel()
        self.largest: float = float(np.abs(self.claimed).max())
        self.absolute: Array = np.zeros(self.claimed.size)
        self.beside: Array = np.zeros(self.claimed.size, bool)  # at a kink, with a claim outside of both slopes
        for indices in subject.names.values():
            flat = indices.ravel()
            self.absolute[flat] = ROUNDINGS * EPS * np.abs(self.claimed[flat]).max(initial=0.0)

    def entries(self, indices: Array, method: str) -> Entries:
        """Return a verdict on each."""
        if method != "complex":
            return self._by_differences(indices, method)
        found = self._by_complex_steps(indices)
        again = np.flatnonzero(found.verdict == "undecidable")
        found.put(again, self._by_differences(indices[again], "richardson"))
        return found

    def until(self, indices: Array, enough: int) -> tuple[Entries, Array]:
        """Measure entries in their order until so many are wrong; return a verdict on each, and those that are left."""
        found, size = self.entries(indices[:0], "richardson"), FIRST
        most = _most_entries(self.claimed.size)
        while len(indices) and len(found.index) < most and np.sum(found.verdict == "wrong") < enough:
            found = Entries.joined([found, self.entries(indices[:size], "richardson")])
            indices, size = indices[size:], 2 * size
        return found, indices

    def _by_complex_steps(self, indices: Array) -> Entries:
        """Return right, or undecidable: at a kink, or where f may have dropped the imaginary part."""
        slopes, claimed = self.near.complex_slopes(indices, COMPLEX_STEP), self.claimed[indices]
        allowed = ROUNDINGS * EPS * np.maximum(self.largest, np.abs(slopes)) + self.rounding[indices]
        right = (np.abs(claimed - slopes) <= allowed) & (slopes != 0)
        verdict = np.where(right, "right", "undecidable")
        return Entries(indices, claimed, slopes, slopes.copy(), slopes.copy(), allowed, verdict)

    def _by_differences(self, indices: Array, method: str) -> Entries:
        """Try smaller and smaller steps.

        An entry is right as soon as one step confirms it, wrong if a step refutes it and all smaller steps agree, and
        otherwise undecidable. The smaller steps are needed: two kinks, one on each side, look like a smooth function
        from afar, and a wave shorter than the step like anything. At a kink every number between the one-sided
        derivatives is right. Entries that are next to nothing are then moved by parts of themselves, too.
        """
        zeros = (np.zeros(len(indices)) for _ in range(5))
        found = Entries(indices, *zeros, np.full(len(indices), "undecidable"))  # type: ignore[call-arg]
        refuted, between = np.zeros((2, len(indices)), bool)
        sizes = np.abs(self.near.theta.flat[indices])
        small = (sizes > 0) & (sizes < self.SMALL)
        for relative, tried in ((np.ones(len(indices)), True), (sizes, small)):
            is_open = (found.verdict == "undecidable") & ~between & ~refuted
            active = np.flatnonzero(is_open & tried)
            for step in self._steps(method):
                if not active.size:
                    break
                now, refuting, between[active] = self._measure(indices[active], method, step * relative[active])
                kept = found.of(active)
                confirmed = refuted[active] & (np.abs(now.measured - kept.measured) <= now.allowed + kept.allowed)
                found.put(active[~confirmed], now.of(~confirmed))
                found.verdict[active[confirmed]] = "wrong"
                refuted[active] = refuting | confirmed
                active = active[confirmed | (now.verdict != "right")]
        if self.near.outside is not None and np.isnan(found.measured).any():
            raise self.near.outside
        at_kink = between & (found.verdict == "undecidable")
        found.verdict[at_kink], found.measured[at_kink] = "right", found.claimed[at_kink]
        return found

    def _steps(self, method: str) -> Array:
        """Return relative steps, from the best one down: larger than usual by tens where f is noisy for its slope."""
        usual, order = DIFFERENCES[method].step, DIFFERENCES[method].order
        slope = np.max(np.abs(self.claimed) * self.near.scale(slice(None))) or abs(self.near.base) or 1.0
        larger = np.log10((self.noise / slope) ** (1 / (order + 1)) / usual) if self.noise else 0
        most = int(np.log10(0.1 / usual))
        return usual * 10.0 ** np.arange(np.clip(np.rint(larger), 0, most), -6, -1)

    def _measure(self, indices: Array, method: str, step: float | Array) -> tuple[Entries, Array, Array]:
        """Measure entries with a step: verdicts right or undecidable, which are refuted, which lie within a kink."""
        claimed, own = self.claimed[indices], self.rounding[indices]
        m = self.near.measure(indices, method, step, self.noise)
        precision = m.truncation + m.rounding + self.absolute[indices]
        verdict = np.full(len(indices), "undecidable")
        now = Entries(indices, claimed, m.value, m.left, m.right, precision + own, verdict)
        smooth = m.roughness <= now.allowed + self.SMOOTH * now.size
        precise = precision <= self.PRECISE * now.size
        limit = self.DECISIVE * np.maximum(now.size, self.largest)
        decisive = precise | ((precision <= limit) & (m.truncation <= m.rounding)) | (now.error == 0)
        now.verdict[smooth & decisive & (now.error <= now.allowed)] = "right"
        refuted = now.error > now.allowed + self.DOUBT * np.where(smooth, m.doubt, m.roughness)
        margin = m.rounding + self.absolute[indices] + own + 1e-6 * np.abs(m.right - m.left)
        kink = m.steady_left & m.steady_right & (np.abs(m.right - m.left) > 4 * m.rounding)
        inside = np.abs(claimed - (m.left + m.right) / 2) <= np.abs(m.right - m.left) / 2 + margin
        # Where several kinks meet, backpropagation may give a number outside of both slopes: undecided, if it is near.
        outside = np.abs(claimed - (m.left + m.right) / 2) > 1.5 * np.abs(m.right - m.left) + self.DOUBT * margin
        self.beside[indices] = kink & ~inside
        return now, np.where(kink, outside, refuted), kink & inside

    # ---- many entries at once --------------------------------------------------------------------------------------

    def others(self, indices: Array, method: str, directions: int, rng: np.random.Generator) -> tuple[Entries, Along]:
        """Look at entries along random directions; if one disagrees, search for the wrong entries."""
        excluded = math.inf
        moving = self.near.noise_along(np.zeros_like(self.near.theta), indices, rng)
        self.noise = max(self.noise, moving)  # more numbers that move round more
        tried = 0
        while tried < directions:
            verdict, bound = self._along(indices, rng)
            excluded = min(excluded, bound)
            tried += 1
            directions += verdict == "doubtful" and directions < self.MOST_DIRECTIONS
            if verdict == "wrong":
                found, is_complete = self._search(indices, method, rng)
                return found, Along(len(indices) - len(found.index), excluded, True, is_complete)
        is_complete = math.isfinite(excluded)
        return self.entries(indices[:0], method), Along(len(indices), excluded, False, is_complete)

    def _along(self, indices: Array, rng: np.random.Generator) -> tuple[str, float]:
        """Compare the slope along random signs of these entries with the claimed one, with smaller and smaller steps.

        Return the verdict, and the error of a single entry that agreement excludes. The entries move by amounts of
        their own, so that no two equal errors cancel. The verdict is "doubtful" where a step disagreed, but not by
        enough, and only steps that are less exact agree: another direction may tell.
        """
        direction = np.zeros(self.claimed.size)
        signs = rng.choice([-1.0, 1.0], len(indices))
        direction[indices] = signs * rng.uniform(0.5, 1, len(indices)) * self.near.scale(indices)
        claimed = float(direction @ self.claimed)
        norm = float(np.linalg.norm(direction))
        terms = float(np.linalg.norm(direction[indices] * self.claimed[indices]))
        rounded = float(np.linalg.norm(direction[indices] * self.rounding[indices]))
        own = EPS * ROUNDINGS * terms + DEVIATIONS * rounded
        refuted, least = None, math.inf  # the accuracy of the most exact step that disagreed
        for step in DIFFERENCES["richardson"].step / max(norm, 1.0) ** 0.5 * 10.0 ** -np.arange(6.0):
            try:
                m = self.near.along(direction, float(step), self.noise)
            except ValueError:  # outside of the domain of f
                continue
            value, allowed = float(m.value[0]), float(m.truncation[0] + m.rounding[0]) + own
            error = abs(claimed - value)
            if refuted is not None and abs(value - refuted[0]) <= allowed + refuted[1]:
                return "wrong", math.inf
            smooth = m.roughness[0] <= allowed + self.SMOOTH * max(abs(value), abs(claimed))
            precise = allowed - own <= max(self.PRECISE * norm * self.largest, 4 * float(m.rounding[0]))
            if error > allowed and smooth and precise:
                least = min(least, allowed)
            if error <= allowed <= least and smooth and precise:
                return "right", 2 * allowed / float(np.abs(direction[indices]).min())
            doubt = self.DOUBT * float(m.doubt[0] if smooth else m.roughness[0])
            refuted = (value, allowed) if error > allowed + doubt else None
        return "doubtful" if least < math.inf else "undecidable", math.inf

    def _search(self, indices: Array, method: str, rng: np.random.Generator) -> tuple[Entries, bool]:
        """Find wrong entries by halving; return them, and whether all others agree.

        Where one half agrees, the wrong entry is in the other, so that P entries need about log2 P directions. What
        was measured one by one is left out, and the search begins again until the rest agrees.
        """
        found = self.entries(indices[:0], method)
        while True:
            group = self._group_with_a_wrong_entry(indices, rng)
            if group is None:
                return found, False
            measured = self.entries(group, method)
            found = Entries.joined([found, measured])
            indices = np.setdiff1d(indices, group, assume_unique=True)
            if not (measured.verdict == "wrong").any() or np.sum(found.verdict == "wrong") >= self.FOUND:
                return found, False
            verdict = self._along(indices, rng)[0] if indices.size else "right"
            if verdict != "wrong":
                return found, verdict == "right"

    def _group_with_a_wrong_entry(self, group: Array, rng: np.random.Generator) -> Array | None:
        """Return a few entries that disagree together; None if the halves hide it in noise or at kinks."""
        while len(group) > self.GROUP:
            first, second = np.array_split(group, 2)
            verdict = self._along(first, rng)[0]
            if verdict == "undecidable":
                verdict = "right" if self._along(second, rng)[0] == "wrong" else "undecidable"
                if verdict == "undecidable" and len(group) <= 8 * self.GROUP:
                    return None
            group = second if verdict == "right" else first
        return group
