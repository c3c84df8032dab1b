"""9. Trials of mistakes in the backward pass of a recording: each is made, and compared with the claim."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from ..._types import Array
from .operation import UNFIT, Operation
from .recordings import Recording
from .rules import LARGEST, OperationMistake, kept_from
from .values import GradientsByValues

__all__ = ["FAINT", "WORK", "Compared", "Found", "Trials", "agree"]

FAINT = 1e-9  # of the largest gradient: differences do not see less
WORK = 200_000  # operations that a search goes backward through: it ends after a count, the same on every machine
MOST_CAUSES = 3  # each for parameters of its own


@dataclasses.dataclass(frozen=True)
class Compared:
    """The gradient by one input: claimed, and right; and whether it is wrong, or None if no claim is known."""

    name: str
    claimed: Array
    right: Array
    is_wrong: bool | None


@dataclasses.dataclass(frozen=True, order=True)
class Found:
    """A mistake that makes some of the wrong gradients; the order is that of preference."""

    cost: float
    place: int  # counted from the result
    text: str
    makes: frozenset[int] = dataclasses.field(compare=False)
    gradients: list[Array] = dataclasses.field(compare=False)
    spoils: bool = dataclasses.field(compare=False)  # whether it would make other gradients wrong, too
    mistake: OperationMistake | None = dataclasses.field(compare=False)


Chosen = list[tuple[Found, frozenset[int]]]  # mistakes, each with the numbers of the gradients that it explains


def agree(a: Array, b: Array, relative: float, slack: float = 0.0) -> bool:
    return bool(np.abs(a - b).max(initial=0.0) <= relative * np.abs(b).max(initial=0.0) + slack)


def cover(found: Sequence[Found], wrong: Sequence[int]) -> Chosen:
    """Return the fewest and simplest mistakes that make every wrong gradient, the ones nearest to the result first."""
    left, chosen = frozenset(wrong), []
    for _ in range(MOST_CAUSES):
        useful = [one for one in found if left & one.makes]
        if useful:
            best = min(useful, key=lambda one: (-len(left & one.makes), one))
            chosen.append((best, left & best.makes))
            left -= best.makes
    return [] if left else chosen


class Trials:
    """A recording with a claim, and the trials of mistakes in it.

    Parameters
    ----------
    recording : Recording
        The function.
    seed : ndarray
        The gradient by its result.
    compared : sequence of Compared
        One for each of its inputs.
    right : list of ndarray
        The gradients by the inputs without the mistakes that are tried.
    relative : float
        The difference up to which two gradients count as equal, relative to the largest entry.
    base : OperationMistake, optional
        A mistake that is there in each trial.
    """

    def __init__(
        self,
        recording: Recording,
        seed: Array,
        compared: Sequence[Compared],
        right: list[Array],
        relative: float,
        base: OperationMistake | None = None,
    ) -> None:
        self.recording, self.seed, self.compared, self.right = recording, seed, compared, right
        self.relative = relative
        self.base = {(id(one), k): base.rule for one, k in base.edges} if base else {}
        self.wrong = [i for i, one in enumerate(compared) if one.is_wrong]
        self.left = WORK // len(recording.operations)
        self.order = {id(one): i for i, one in enumerate(recording.operations)}
        self.incoming: dict[int, Array] = {}  # the gradient by each result, as far as a backward pass has come
        self.idle = self._without_effect()
        self.by_value = GradientsByValues(recording, seed, self.idle, self._may_go_on)

    def chosen(self, kinds: Iterable[Callable[[], Iterable[Found]]]) -> tuple[Chosen, list[Found]]:
        """Return the mistakes that together make every wrong gradient, if there are such, and all that make some."""
        found: list[Found] = []
        for find in kinds:
            found += find()
            if chosen := cover([one for one in found if not one.spoils], self.wrong):
                return chosen, found
        return cover(found, self.wrong), found

    def changes_wrong(self, mistake: OperationMistake) -> bool:
        """Return whether a mistake changes at least one gradient that is wrong, and none that is right."""
        with contextlib.suppress(*UNFIT):
            changed = [
                not agree(made, own, 1e-9) for made, own in zip(self._gradient(mistake), self.right, strict=False)
            ]
            right = [i for i, one in enumerate(self.compared) if one.is_wrong is False]
            return any(changed) and not any(changed[i] for i in right)
        return False

    def _without_effect(self) -> frozenset[int]:
        """Return the maxima that change nothing, as the one that a softmax subtracts: nobody derives those."""
        sizes: dict[int, float] = {}

        def note(one: Operation, k: int, G: Array) -> None:
            sizes[id(one)] = float(np.abs(G).max(initial=0.0))

        self.recording.gradient(self.seed, note)
        limit = FAINT * max(sizes.values(), default=0.0)
        maxima = (one for one in self.recording.operations if one.name in LARGEST)
        return frozenset(id(one) for one in maxima if sizes.get(id(one), 0.0) <= limit)

    def _may_go_on(self, passes: int = 1) -> bool:
        self.left -= passes
        return self.left >= 0

    def _gradient(self, mistake: OperationMistake) -> list[Array]:
        """Return the gradient that a mistake leads to; nothing where the search has cost enough."""
        if not self._may_go_on():
            return []
        chosen = {(id(one), k) for one, k in mistake.edges}

        def change(one: Operation, k: int, G: Array) -> Array | None:
            self.incoming[id(one)] = G
            rule = mistake.rule if (id(one), k) in chosen else self.base.get((id(one), k))
            if rule is None:
                return kept_from(one, k, G) if id(one) in self.idle else None
            passed = rule(one, k, G)
            if passed.shape != one.operands[k].value.shape:
                raise ValueError(f"expected shape {one.operands[k].value.shape}, got {passed.shape}")
            return passed

        return self.recording.gradient(self.seed, change)

    def _tried(self, mistakes: Iterable[OperationMistake]) -> Iterator[Found]:
        for mistake in mistakes:
            try:
                made = self._gradient(mistake)
            except UNFIT:
                continue
            if not made:
                return
            yield from self._compare(made, mistake.text, mistake.edges[-1][0], mistake.cost, mistake)

    def _compare(
        self, made: list[Array], text: str, at: Operation, cost: float, mistake: OperationMistake | None = None
    ) -> Iterator[Found]:
        """Yield the mistake if it makes a wrong gradient; it costs more if it would make others wrong, too."""
        makes = frozenset(i for i in self.wrong if self._is_claimed(made[i], i))
        if makes:
            others = [i for i, one in enumerate(self.compared) if one.is_wrong is False]
            spoilt = sum(not agree(made[i], self.right[i], 1e-9) for i in others)
            yield Found(cost + spoilt, -self.order[id(at)], text, makes, made, spoilt > 0, mistake)

    def _is_claimed(self, made: Array, i: int) -> bool:
        """Return whether a gradient is the claimed one, and closer to it than a hundredth of what is wrong."""
        claimed, right = self.compared[i].claimed, self.right[i]
        size, change = np.abs(claimed).max(initial=0.0), np.abs(claimed - right).max(initial=0.0)
        limit = min(self.relative * max(size, np.abs(right).max(initial=0.0)), 0.01 * change)
        return bool(np.abs(made - claimed).max(initial=0.0) <= limit)
