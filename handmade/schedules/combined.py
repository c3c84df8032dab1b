"""Schedules made of schedules: one after another, and all at once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from .._types import HasLearningRate
from ._base import LRScheduler, Schedule, check_milestones


def check_members(schedulers: Sequence[LRScheduler], optimizer: HasLearningRate | None) -> list[LRScheduler]:
    """Return the schedules as a list, or raise unless they all are functions of t, of this optimizer.

    Examples
    --------
    >>> from handmade.schedules.combined import check_members
    >>> check_members([], None)
    Traceback (most recent call last):
        ...
    ValueError: schedulers: expected at least one schedule, got none
    """
    if not isinstance(schedulers, Sequence):
        raise TypeError(f"schedulers: expected a list of schedules, got {schedulers!r}")
    if not schedulers:
        raise ValueError("schedulers: expected at least one schedule, got none")
    for i, schedule in enumerate(schedulers):
        if not isinstance(schedule, LRScheduler):
            raise TypeError(f"schedulers[{i}]: expected StepLR, LinearLR or their like, got {schedule!r}")
        if optimizer is not None and schedule.optimizer is not optimizer:
            raise ValueError(f"schedulers[{i}]: expected one of the same optimizer, got {schedule!r}")
    return list(schedulers)


@dataclass(eq=False)
class SequentialLR(LRScheduler):
    """A schedule that puts one schedule after another, such as a warm-up and then a decay.

    Parameters
    ----------
    optimizer : object with an lr
    schedulers : sequence of LRScheduler
        Of this optimizer. The base_lr of the first becomes the base_lr of all. OneCycleLR and CyclicLR set the momentum
        when they are made, even if their turn comes later.
    milestones : sequence of int
        The counts at which the second, the third, ... schedule takes over, each from its own t = 0.
    last_epoch : int
        See `LRScheduler`.

    Examples
    --------
    >>> optimizer = hm.SGD(lr=1.0)
    >>> warm_up = hm.LinearLR(optimizer, 0.5, total_iters=2)
    >>> decay = hm.ExponentialLR(optimizer, gamma=0.5)
    >>> schedule = hm.SequentialLR(optimizer, [warm_up, decay], milestones=[2])
    >>> [schedule.lr_at(t) for t in range(6)]
    [0.5, 0.75, 1.0, 0.5, 0.25, 0.125]
    """

    schedulers: Sequence[LRScheduler]
    milestones: Sequence[int]
    last_epoch: int = -1

    def _validate(self) -> None:
        self.schedulers = check_members(self.schedulers, self.optimizer)
        if not isinstance(self.milestones, Sequence):
            raise TypeError(f"milestones: expected a list of counts, got {self.milestones!r}")
        if len(self.milestones) != len(self.schedulers) - 1:
            raise ValueError(
                f"milestones: expected one less than schedulers, of which there are {len(self.schedulers)}, "
                f"got {self.milestones!r}"
            )
        self.milestones = check_milestones(self.milestones, "milestones")
        if self.milestones != sorted(set(self.milestones)):
            raise ValueError(f"milestones: expected increasing counts, got {self.milestones}")

    def _initial_lr(self) -> float:
        return self.schedulers[0].base_lr

    def _rebase(self, lr: float) -> None:
        super()._rebase(lr)
        for schedule in self.schedulers:
            schedule._rebase(lr)

    def _members(self) -> Sequence[LRScheduler]:
        return self.schedulers

    @property
    def steps_left(self) -> float:
        """Return how many more calls of `step` are allowed: infinitely many unless the last schedule has an end."""
        start, last = [0, *self.milestones][-1], self.schedulers[-1]
        return start + last.t + last.steps_left - self.t

    def _member_at(self, t: int) -> tuple[LRScheduler, int]:
        """Return the schedule whose turn it is at t, and its own count."""
        index = bisect_right(self.milestones, t)
        return self.schedulers[index], t - [0, *self.milestones][index]

    def lr_at(self, t: int) -> float:
        schedule, own_t = self._member_at(t)
        return schedule.lr_at(own_t)

    def _write(self, t: int, lr: float) -> None:
        super()._write(t, lr)
        schedule, own_t = self._member_at(t)
        schedule._write(own_t, lr)


@dataclass(eq=False, init=False)
class ChainedScheduler(Schedule):
    """A schedule that steps several schedules of one optimizer at once, so that their factors are multiplied.

    torch's LambdaLR, OneCycleLR, CyclicLR and CosineAnnealingWarmRestarts overwrite the factors of the schedules before
    them; here they keep them.

    Parameters
    ----------
    schedulers : sequence of LRScheduler
    optimizer : object with an lr, optional
        The optimizer of all of them; that of the first by default.

    Examples
    --------
    >>> optimizer = hm.SGD(lr=1.0)
    >>> parts = [hm.ConstantLR(optimizer, factor=0.5, total_iters=2), hm.ExponentialLR(optimizer, gamma=0.5)]
    >>> schedule = hm.ChainedScheduler(parts)
    >>> for _ in range(4):
    ...     print(optimizer.lr)
    ...     schedule.step()
    0.5
    0.25
    0.25
    0.125
    """

    schedulers: Sequence[LRScheduler]

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: HasLearningRate | None = None) -> None:
        self.schedulers = check_members(schedulers, optimizer)
        self.optimizer: HasLearningRate = self.schedulers[0].optimizer
        check_members(self.schedulers, self.optimizer)

    @property
    def t(self) -> int:
        """Return the number of steps that the first schedule has taken."""
        return self.schedulers[0].t

    @property
    def steps_left(self) -> float:
        """Return how many more calls of `step` are allowed: as many as each of the schedules allows."""
        return min(schedule.steps_left for schedule in self.schedulers)

    def step(self) -> None:
        """Step every schedule; if one of them has ended, raise before the first step."""
        for schedule in self.schedulers:
            schedule.lr_at(schedule.t + 1)
        for schedule in self.schedulers:
            schedule.step()

    def _members(self) -> Sequence[LRScheduler]:
        return self.schedulers

    def _restore(self) -> None:
        for schedule in self.schedulers:
            schedule._restore()
