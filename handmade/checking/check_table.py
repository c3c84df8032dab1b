"""9. The result of a check: one row per parameter, and the entries that are wrong or undecidable."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from .._types import Array
from .subjects import Subject

LEAST_OF_PENALTY = 4  # entries that have to differ by one multiple of theta

__all__ = ["BlockCheck", "EntryCheck", "GradientCheck"]


@dataclasses.dataclass(frozen=True)
class EntryCheck:
    """One entry of the gradient, claimed and measured.

    Attributes
    ----------
    index : int
        Its place in theta.
    name : str
        Its place in the network, e.g. ``0.weight[2, 1]``.
    claimed, measured : float
        The two numbers.
    left, right : float
        The one-sided derivatives, which differ at a kink.
    allowed : float
        The difference that is allowed: the accuracy of the measurement plus the rounding of the gradient's dtype.
    verdict : str
        ``"right"``, ``"wrong"``, or ``"undecidable"``: the differences cannot tell, because of kinks or noise.
    """

    index: int
    name: str
    claimed: float
    measured: float
    left: float
    right: float
    allowed: float
    verdict: str

    @property
    def error(self) -> float:
        """|claimed - measured|."""
        return abs(self.claimed - self.measured)

    @property
    def size(self) -> float:
        """The larger of |claimed| and |measured|."""
        return max(abs(self.claimed), abs(self.measured))

    @property
    def relative_error(self) -> float:
        """The error divided by the size."""
        return self.error / (self.size or 1.0)

    def __str__(self) -> str:
        line = f"{self.name}: claimed {self.claimed:.10g}, measured {self.measured:.10g}"
        if self.verdict == "undecidable":
            return f"{line}; the slopes on its two sides are {self.left:.6g} and {self.right:.6g}"
        return f"{line}, relative error {self.relative_error:.1e}"


@dataclasses.dataclass(frozen=True)
class BlockCheck:
    """A parameter of the network, and the distance of its claimed gradient from the measured one.

    Attributes
    ----------
    name : str
        As in a state_dict.
    size, checked : int
        The number of its entries, and of those measured one by one and decided.
    relative_error : float
        ||claimed - measured|| / max(||claimed||, ||measured||) over the decided entries.
    tolerance : float
        The same with the allowed differences in place of claimed - measured.
    wrong : int
        The number of wrong entries; the parameter passes if there are none.
    along : int
        The number of further entries, seen only along random directions.
    excluded : float
        An error larger than this in any one of those entries would have been found; infinite where the directions
        decided nothing, NaN where there are no such entries.
    is_complete : bool
        Whether all entries agree except those that are listed as wrong.
    outside : int
        The number of undecidable entries whose claim lies outside of the slopes on both sides of a kink.
    """

    name: str
    size: int
    checked: int
    relative_error: float
    tolerance: float
    wrong: int
    along: int = 0
    excluded: float = math.nan
    is_complete: bool = True
    outside: int = 0

    @property
    def passed(self) -> bool:
        return self.wrong == 0

    @property
    def verdict(self) -> str:
        """The last column of the table."""
        return "FAIL" if self.wrong else "undecided" if self.outside or not self.checked else "pass"

    @classmethod
    def of(cls, name: str, size: int, entries: Entries, outside: Array, along: Along | None = None) -> BlockCheck:
        """Summarize the entries of a parameter."""
        n_outside = int(outside[entries.index].sum())
        decided = entries.of(entries.verdict != "undecidable")
        norm = max(math.hypot(*decided.claimed), math.hypot(*decided.measured)) or 1.0
        error, allowed = math.hypot(*decided.error) / norm, math.hypot(*decided.allowed) / norm
        wrong, all_decided = int(np.sum(decided.verdict == "wrong")), len(decided.index) == len(entries.index)
        if along is None:
            is_complete = all_decided and len(entries.index) == size
            return cls(
                name, size, len(decided.index), error, allowed, wrong, is_complete=is_complete, outside=n_outside
            )
        wrong = max(wrong, int(along.disagree))  # somewhere, if the search has not found the place
        is_complete = along.is_complete and all_decided
        counts = along.entries, along.excluded, is_complete, n_outside
        return cls(name, size, len(decided.index), error, allowed, wrong, *counts)


@dataclasses.dataclass(frozen=True)
class GradientCheck:
    """The verdict of `check_gradient`; true if the gradient passed, and printed as a table.

    It passes if at least one entry could be decided, none is wrong, and at no kink a claim lies outside of both slopes.

    Attributes
    ----------
    blocks : list of BlockCheck
        One per parameter.
    worst : EntryCheck
        The entry with the largest difference, relative to the difference that is allowed.
    wrong, undecidable : list of EntryCheck
        Entries that are wrong, and entries at a kink or lost in noise.
    total : BlockCheck
        All parameters as one.
    value, noise : float
        The function at theta, and the standard deviation of its rounding errors, which limit every difference.
    measured, allowed : ndarray, the shape of theta
        The slopes, and the allowed differences; NaN where an entry was not measured, or not decided.
    entries : Entries
        All entries that were measured one by one.
    is_zero : bool
        Whether the claimed gradient is 0 everywhere.
    penalty : str
        The multiple of theta that the wrong parameters have too much or too little, in words, if that is all.
    """

    total: BlockCheck
    blocks: list[BlockCheck]
    worst: EntryCheck
    wrong: list[EntryCheck]
    undecidable: list[EntryCheck]
    value: float
    noise: float
    measured: Array
    allowed: Array
    entries: Entries
    is_zero: bool = False
    penalty: str = ""

    @property
    def passed(self) -> bool:
        return not any(block.wrong or block.outside for block in self.blocks) and self.total.checked > 0

    @property
    def excluded(self) -> float:
        """The largest error that a single entry, seen along directions only, may have without being found."""
        return max((b.excluded for b in self.blocks if b.along), default=math.nan)

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        width = max(len("parameter"), *(len(block.name) for block in self.blocks))
        lines = [f"{'parameter':<{width}}  {'checked':>13}  relative error  tolerance"]
        for b in self.blocks:
            figures = f"{f'{b.checked}/{b.size}':>13}  {b.relative_error:>14.1e}  {b.tolerance:>9.1e}"
            lines.append(f"{b.name:<{width}}  {figures}  {b.verdict}")
        lines.append(f"worst entry: {self.worst}")
        for entry in self.undecidable[:3]:
            lines.append(f"undecidable: {entry}")
        if len(self.undecidable) > 3:
            lines.append(f"undecidable: {len(self.undecidable) - 3} more")
        lines.append(f"noise of the function: {self.noise:.1e}, at a value of {self.value:.6g}")
        lines += [self.penalty] if self.penalty else []
        lines.append(self._verdict())
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from html import escape  # only a notebook needs them

        from .._html import html_table

        rows = []
        for block in self.blocks:
            errors = f"{block.relative_error:.1e}", f"{block.tolerance:.1e}"
            rows.append([block.name, f"{block.checked}/{block.size}", *errors, block.verdict])
        table = html_table(["parameter", "checked", "relative error", "tolerance", "verdict"], rows)
        below = str(self).splitlines()[1 + len(rows) :]
        return "\n".join([table, *(f"<div>{escape(line)}</div>" for line in below)])

    def _verdict(self) -> str:
        checked, wrong = self.total.checked, len(self.wrong)
        failed = [block for block in self.blocks if not block.passed]
        if self.passed:
            undecided = f", {len(self.undecidable)} undecided" if self.undecidable else ""
            zero = "; all of them are 0: nothing is learnt here" if self.is_zero else ""
            return f"PASS: {checked} entries agree{undecided}{self._others()}{zero}"
        if not failed:
            return f"UNDECIDED: {self._undecided()}"
        return f"FAIL: {wrong} of {checked} entries wrong, {len(failed)} of {len(self.blocks)} parameters fail"

    def _undecided(self) -> str:
        """Return a phrase about what keeps the check from passing, if no entry is wrong."""
        if not self.total.outside:
            return "at no entry did the differences tell right from wrong"
        count = "1 claim lies" if self.total.outside == 1 else f"{self.total.outside} claims lie"
        return f"{count} outside of both slopes at a kink, which is right only where kinks meet; check at another point"

    def _others(self) -> str:
        """Return a phrase about the entries that were not measured one by one."""
        along = sum(block.along for block in self.blocks)
        if not along:
            rest = self.total.size - len(self.undecidable) - self.total.checked
            return f"; {rest} were not looked at" if rest > 0 else ""
        unseen = sum(block.along for block in self.blocks if not math.isfinite(block.excluded))
        bound = max((b.excluded for b in self.blocks if b.along and math.isfinite(b.excluded)), default=math.nan)
        text = f"; {along - unseen} more agree along random directions: an error above {bound:.1e} in one is excluded"
        return (text if along > unseen else "") + (f"; along {unseen} kinks or noise hide errors" if unseen else "")

    __repr__ = __str__


class Along(NamedTuple):
    """A comparison, along random directions, of the entries of a parameter that were not measured one by one.

    Attributes
    ----------
    entries : int
        The number of these entries.
    excluded : float
        An error larger than this in any one of them would have been found.
    disagree : bool
        Whether a direction disagreed.
    is_complete : bool
        Whether they agree, except for those that the search then found.
    """

    entries: int
    excluded: float
    disagree: bool
    is_complete: bool


# ---- the table -----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Entries:
    """A table of entries: the columns of `EntryCheck`, except the name."""

    index: Array
    claimed: Array
    measured: Array
    left: Array
    right: Array
    allowed: Array
    verdict: Array

    @property
    def error(self) -> Array:
        return np.abs(self.claimed - self.measured)

    @property
    def size(self) -> Array:
        return np.maximum(np.abs(self.claimed), np.abs(self.measured))

    def columns(self) -> list[Array]:
        return [getattr(self, field.name) for field in dataclasses.fields(self)]

    def of(self, chosen: Any) -> Entries:
        return Entries(*(column[chosen] for column in self.columns()))

    def put(self, chosen: Array, others: Entries) -> None:
        """Replace some entries by others."""
        for column, new in zip(self.columns(), others.columns(), strict=True):
            column[chosen] = new

    @classmethod
    def joined(cls, parts: Iterable[Entries]) -> Entries:
        return cls(*map(np.concatenate, zip(*(part.columns() for part in parts), strict=True)))

    def listed(self, chosen: Any, names: dict[str, Array]) -> list[EntryCheck]:
        """Return some of them one by one, each with the name of its place."""
        rows = zip(*(column[chosen].tolist() for column in self.columns()), strict=True)
        return [EntryCheck(index, _place(index, names), *rest) for index, *rest in rows]


def _place(index: int, names: dict[str, Array]) -> str:
    """Return the place of an entry of theta in the network, such as ``0.weight[2, 1]``."""
    name, block = next((name, block) for name, block in names.items() if index <= block.flat[-1])
    return f"{name}[{', '.join(map(str, np.unravel_index(index - block.flat[0], block.shape)))}]"


def _is_outside(subject: Subject, entries: Entries, beside: Array | None) -> Array:
    """Return which undecidable claims lie outside of both slopes at a kink, and of what backpropagation may give."""
    outside = (entries.verdict == "undecidable") & (False if beside is None else beside[entries.index])
    if subject.one_sided is None:
        return outside
    lower, upper = (bound[entries.index] for bound in subject.one_sided)
    margin = entries.allowed + 1e-6 * (np.abs(lower) + np.abs(upper))
    return outside & ((entries.claimed < lower - margin) | (entries.claimed > upper + margin))


def summary_of(
    subject: Subject,
    compared: dict[str, Entries],
    along: dict[str, Along],
    value: float,
    noise: float,
    beside: Array | None = None,
) -> GradientCheck:
    """Return the result; ``beside`` marks the entries whose claim lies outside of both slopes at a kink."""
    names, everything = subject.names, Entries.joined(compared.values())
    measured, allowed = np.full((2, *subject.theta.shape), np.nan)
    decided = everything.of(everything.verdict != "undecidable")
    measured.flat[decided.index], allowed.flat[decided.index] = decided.measured, decided.allowed
    excess = everything.error / np.maximum(everything.allowed, np.finfo(np.float64).tiny)  # of zero, zero is allowed
    excess[everything.verdict == "undecidable"] = -1
    outside = np.zeros(subject.theta.size, bool)
    outside[everything.index] = _is_outside(subject, everything, beside)
    rows = {n: BlockCheck.of(n, names[n].size, entries, outside, along.get(n)) for n, entries in compared.items()}
    total = BlockCheck.of("all", sum(block.size for block in names.values()), everything, outside)
    return GradientCheck(
        total,
        list(rows.values()),
        worst=everything.listed([excess.argmax()], names)[0],
        wrong=everything.listed(everything.verdict == "wrong", names),
        undecidable=everything.listed(everything.verdict == "undecidable", names),
        value=value,
        noise=noise,
        measured=measured,
        allowed=allowed,
        entries=everything,
        is_zero=not subject.claimed.any() and subject.claimed.size > 1,
        penalty=_penalty(subject, {n: compared[n] for n, row in rows.items() if row.wrong}),
    )


def _penalty(subject: Subject, wrong: dict[str, Entries]) -> str:
    """Return the multiple of theta by which the wrong parameters differ, in words; empty if it is none."""
    if not wrong:
        return ""
    entries = Entries.joined(wrong.values())
    entries = entries.of(entries.verdict != "undecidable")
    theta, difference = subject.theta.flat[entries.index], entries.claimed - entries.measured
    amount = float(theta @ difference) / (float(theta @ theta) or 1.0)
    left = np.abs(difference - amount * theta) - entries.allowed
    if len(theta) < LEAST_OF_PENALTY or left.max(initial=0.0) > 1e-6 * np.abs(difference).max(initial=0.0):
        return ""
    where = ", ".join(wrong)
    return f"claimed - measured = {amount:.6g} theta in {where}: the penalties of loss and gradient differ"
