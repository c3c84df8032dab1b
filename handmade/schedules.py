"""Learning rates over time: `schedule.step()` sets `optimizer.lr`, every epoch or every batch, as you like.

A schedule is a function of a count: `lr_at(t)` is the learning rate after t calls of `step`, and making the
schedule sets `lr_at(0)`. Only `ReduceLROnPlateau` looks at a metric instead. Names, parameters and numbers
are those of torch.optim.lr_scheduler.

As each schedule sets its own function of t, an optimizer has one at a time; `SequentialLR` puts one after
another.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Protocol

from ._state import Resumable
from ._validation import below_one, check_bool, check_count, nonnegative, number, positive, up_to_one

above_zero_up_to_one = number("a number in (0, 1]", lambda x: 0 < x <= 1)
any_number = number("a number", lambda x: True)
count = partial(check_count, least=0)


def linear(start: float, end: float, share: float) -> float:
    """Return the value at `share` of the way from start to end, on a straight line.

    Examples
    --------
    >>> linear(2.0, 4.0, 0.25)
    2.5
    """
    return start + (end - start) * share


def cosine(start: float, end: float, angle: float) -> float:
    """Return the value at `angle` on the half wave of the cosine that is start at 0 and end at pi.

    Examples
    --------
    >>> cosine(2.0, 4.0, 0.0), cosine(2.0, 4.0, math.pi)
    (2.0, 4.0)
    """
    return end + (start - end) * (1 + math.cos(angle)) / 2


class HasLearningRate(Protocol):
    """What a schedule needs of an optimizer."""

    lr: float


@dataclass(eq=False)
class Schedule(Resumable):
    """What all schedules share: checked arguments, a state to resume from, and the optimizer they set."""

    optimizer: HasLearningRate

    def __post_init__(self) -> None:
        if not hasattr(self.optimizer, "lr"):
            raise TypeError(f"optimizer: expected an object with an attribute lr, got {self.optimizer!r}")
        self._validate()

    def _saved(self) -> list[str]:
        return [name for name in super()._saved() if name != "optimizer"]

    def _require_one_of(self, name: str, *choices: str) -> None:
        if getattr(self, name) not in choices:
            raise ValueError(f"{name}: expected one of {choices}, got {getattr(self, name)!r}")


class LRScheduler(Schedule):
    """A schedule that is a function of the count t alone. A new one is a dataclass with a method `lr_at`.

    Attributes
    ----------
    base_lr : float
        The optimizer's learning rate when the schedule was made.
    t : int
        Number of calls of `step`.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.base_lr = nonnegative(self.optimizer.lr, "optimizer.lr")
        self.t = 0
        self._set(0)

    def lr_at(self, t: int) -> float:
        """Return the learning rate after t calls of `step`; change nothing."""
        raise NotImplementedError

    def step(self) -> None:
        """Set the next learning rate."""
        self._set(self.t + 1)
        self.t += 1

    def _set(self, t: int) -> None:
        self.optimizer.lr = self.lr_at(t)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` of the same class returned, and set the learning rate that is due.

        Raises
        ------
        TypeError, ValueError
            As `Resumable.load_state_dict`; then nothing is changed.
        """
        super().load_state_dict(state_dict)
        self._set(self.t)

    def _saved(self) -> list[str]:
        return [*super()._saved(), "base_lr", "t"]

    def _validate_loaded(self) -> None:
        self._require(nonnegative, "base_lr")
        self._require(count, "t")
        self.lr_at(self.t)  # raises where t is past the end


@dataclass(eq=False)
class StepLR(LRScheduler):
    """Multiplies the learning rate by gamma every step_size steps.

    Examples
    --------
    >>> from handmade.optimizers import SGD
    >>> schedule = StepLR(SGD(lr=1.0), step_size=2, gamma=0.5)
    >>> [schedule.lr_at(t) for t in range(6)]
    [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    """

    step_size: int
    gamma: float = 0.1

    def _validate(self) -> None:
        self._require(check_count, "step_size")
        self._require(nonnegative, "gamma")

    def lr_at(self, t: int) -> float:
        return self.base_lr * self.gamma ** (t // self.step_size)


@dataclass(eq=False)
class ExponentialLR(LRScheduler):
    """Multiplies the learning rate by gamma at each step.

    Examples
    --------
    >>> from handmade.optimizers import SGD
    >>> schedule = ExponentialLR(SGD(lr=1.0), gamma=0.5)
    >>> [schedule.lr_at(t) for t in range(4)]
    [1.0, 0.5, 0.25, 0.125]
    """

    gamma: float

    def _validate(self) -> None:
        self._require(nonnegative, "gamma")

    def lr_at(self, t: int) -> float:
        return self.base_lr * self.gamma**t


@dataclass(eq=False)
class LinearLR(LRScheduler):
    """Goes in a straight line from start_factor to end_factor times the learning rate: a linear warm-up.

    Parameters
    ----------
    optimizer : object with an lr
    start_factor, end_factor : float
        In (0, 1] and in [0, 1].
    total_iters : int
        The count at which end_factor is reached, to hold from there on.

    Examples
    --------
    >>> from handmade.optimizers import SGD
    >>> schedule = LinearLR(SGD(lr=1.0), start_factor=0.25, total_iters=3)
    >>> [schedule.lr_at(t) for t in range(5)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """

    start_factor: float = 1.0 / 3
    end_factor: float = 1.0
    total_iters: int = 5

    def _validate(self) -> None:
        self._require(above_zero_up_to_one, "start_factor")
        self._require(up_to_one, "end_factor")
        self._require(check_count, "total_iters")

    def lr_at(self, t: int) -> float:
        share = min(t, self.total_iters) / self.total_iters
        return self.base_lr * linear(self.start_factor, self.end_factor, share)


@dataclass(eq=False)
class CosineAnnealingLR(LRScheduler):
    """Goes down to eta_min along half a cosine wave of T_max steps; then up again the same way, and so on.

    Loshchilov and Hutter 2017 (SGDR), without the restarts.

    Examples
    --------
    >>> from handmade.optimizers import SGD
    >>> schedule = CosineAnnealingLR(SGD(lr=1.0), T_max=2)
    >>> [round(schedule.lr_at(t), 12) for t in range(6)]
    [1.0, 0.5, 0.0, 0.5, 1.0, 0.5]
    """

    T_max: int
    eta_min: float = 0.0

    def _validate(self) -> None:
        self._require(check_count, "T_max")
        self._require(nonnegative, "eta_min")

    def lr_at(self, t: int) -> float:
        return cosine(self.base_lr, self.eta_min, math.pi * t / self.T_max)


@dataclass(eq=False)
class CosineAnnealingWarmRestarts(LRScheduler):
    """Goes down towards eta_min along half a cosine wave, then starts again from the top.

    Loshchilov and Hutter 2017 (SGDR). `lr_at` takes parts of a step as well, such as epoch + batch / batches.

    Parameters
    ----------
    optimizer : object with an lr
    T_0 : int
        Length of the first wave.
    T_mult : int
        How many times as long as the one before each further wave is.
    eta_min : float
        The learning rate a wave goes down to.

    Examples
    --------
    >>> from handmade.optimizers import SGD
    >>> schedule = CosineAnnealingWarmRestarts(SGD(lr=1.0), T_0=1, T_mult=2)
    >>> [round(schedule.lr_at(t), 6) for t in range(8)]
    [1.0, 1.0, 0.5, 1.0, 0.853553, 0.5, 0.146447, 1.0]
    """

    T_0: int
    T_mult: int = 1
    eta_min: float = 0.0

    def _validate(self) -> None:
        self._require(check_count, "T_0", "T_mult")
        self._require(nonnegative, "eta_min")

    def lr_at(self, t: float) -> float:
        length = self.T_0
        if self.T_mult == 1:
            t %= length
        while t >= length:
            t -= length
            length *= self.T_mult
        return cosine(self.base_lr, self.eta_min, math.pi * t / length)


@dataclass(eq=False)
class OneCycleLR(LRScheduler):
    """Up to max_lr and down to almost nothing in total_steps steps, while momentum goes down and up.

    Smith and Topin 2018 (super-convergence). The learning rate starts at max_lr / div_factor and ends at
    max_lr / div_factor / final_div_factor, whatever the optimizer's own. The last count of the cycle is
    total_steps - 1. One more step is allowed, as a loop usually ends with one: it goes on along the curve, as
    in torch, and what it sets is not meant for training (a straight line has gone below zero). The next step
    raises ValueError.

    Parameters
    ----------
    optimizer : object with an lr
        And with betas or momentum, if momentum is to be cycled; of betas it is the first.
    max_lr : float
        The highest learning rate.
    total_steps, epochs, steps_per_epoch : int
        Give total_steps, or both of the others for their product.
    pct_start : float
        The share of the steps that go up.
    anneal_strategy : "cos" or "linear"
        The form of the curve.
    cycle_momentum : bool
        Whether to set momentum too: from max_momentum down to base_momentum, and back.
    base_momentum, max_momentum : float
    div_factor, final_div_factor : float
    three_phase : bool
        Up; as many steps down to where it began; only then to the end.

    Examples
    --------
    >>> from handmade.optimizers import SGD
    >>> optimizer = SGD(momentum=0.9)
    >>> schedule = OneCycleLR(
    ...     optimizer, 1.0, 7, pct_start=3 / 7, anneal_strategy="linear", div_factor=4.0, final_div_factor=1.0
    ... )
    >>> [schedule.lr_at(t) for t in range(7)]
    [0.25, 0.625, 1.0, 0.8125, 0.625, 0.4375, 0.25]
    >>> optimizer.lr, optimizer.momentum
    (0.25, 0.95)
    """

    max_lr: float
    total_steps: int | None = None
    epochs: int | None = None
    steps_per_epoch: int | None = None
    pct_start: float = 0.3
    anneal_strategy: str = "cos"
    cycle_momentum: bool = True
    base_momentum: float = 0.85
    max_momentum: float = 0.95
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    three_phase: bool = False

    def _validate(self) -> None:
        if self.total_steps is None:
            if self.epochs is None or self.steps_per_epoch is None:
                raise ValueError("total_steps: expected it, or both epochs and steps_per_epoch, got neither")
            self._require(check_count, "epochs", "steps_per_epoch")
            self.total_steps = self.epochs * self.steps_per_epoch
        self._require(check_count, "total_steps")
        self._require(nonnegative, "max_lr")
        self._require(positive, "div_factor", "final_div_factor")
        self._require(up_to_one, "pct_start")
        self._require(below_one, "base_momentum", "max_momentum")
        self._require(check_bool, "cycle_momentum", "three_phase")
        self._require_one_of("anneal_strategy", "cos", "linear")
        can_cycle = hasattr(self.optimizer, "betas") or hasattr(self.optimizer, "momentum")
        if self.cycle_momentum and not can_cycle:
            raise ValueError(
                f"cycle_momentum: expected an optimizer with momentum or betas, got {self.optimizer!r}; "
                "pass cycle_momentum=False"
            )

    def lr_at(self, t: int) -> float:
        initial = self.max_lr / self.div_factor
        return self._value_at(t, low=initial, high=self.max_lr, last=initial / self.final_div_factor)

    def momentum_at(self, t: int) -> float:
        """Return the momentum after t calls of `step`; change nothing."""
        return self._value_at(t, low=self.max_momentum, high=self.base_momentum, last=self.max_momentum)

    def _value_at(self, t: int, low: float, high: float, last: float) -> float:
        """Return the value at t on the curve low, high, last; in three phases low, high, low, last."""
        if t > self.total_steps:
            raise ValueError(f"t: expected at most {self.total_steps} = total_steps, got {t}; make a new one")
        top, end = self.pct_start * self.total_steps - 1, self.total_steps - 1
        corners = [(0.0, low), (top, high), (end, last)]
        if self.three_phase:
            corners.insert(2, (2 * top, low))
        phases = list(pairwise(corners))
        (start, from_value), (stop, to_value) = next((p for p in phases if t <= p[1][0]), phases[-1])
        share = (t - start) / (stop - start) if stop != start else 1.0
        if self.anneal_strategy == "cos":
            return cosine(from_value, to_value, math.pi * share)
        return linear(from_value, to_value, share)

    def _set(self, t: int) -> None:
        super()._set(t)
        if self.cycle_momentum and hasattr(self.optimizer, "betas"):
            self.optimizer.betas = (self.momentum_at(t), self.optimizer.betas[1])
        elif self.cycle_momentum:
            self.optimizer.momentum = self.momentum_at(t)


@dataclass(eq=False)
class SequentialLR(LRScheduler):
    """One schedule after another, such as a warm-up and then a decay.

    Parameters
    ----------
    optimizer : object with an lr
    schedulers : sequence of LRScheduler
        Of this optimizer, made in this order: the learning rate that the first one found is the base of all.
        `OneCycleLR`, which has a warm-up of its own, and `SequentialLR` itself are not taken.
    milestones : sequence of int
        The counts at which the second, the third, ... schedule takes over, each from its own t = 0.

    Examples
    --------
    >>> from handmade.optimizers import SGD
    >>> optimizer = SGD(lr=1.0)
    >>> warm_up, decay = LinearLR(optimizer, 0.5, total_iters=2), ExponentialLR(optimizer, gamma=0.5)
    >>> schedule = SequentialLR(optimizer, [warm_up, decay], milestones=[2])
    >>> [schedule.lr_at(t) for t in range(6)]
    [0.5, 0.75, 1.0, 0.5, 0.25, 0.125]
    """

    schedulers: Sequence[LRScheduler]
    milestones: Sequence[int]

    def __post_init__(self) -> None:
        self._validate()
        self.optimizer.lr = self.schedulers[0].base_lr
        for schedule in self.schedulers:
            schedule.base_lr = self.optimizer.lr
        super().__post_init__()

    def _validate(self) -> None:
        for i, schedule in enumerate(self.schedulers):
            if not isinstance(schedule, LRScheduler) or isinstance(schedule, OneCycleLR | SequentialLR):
                raise TypeError(f"schedulers[{i}]: expected StepLR, LinearLR or their like, got {schedule!r}")
            if schedule.optimizer is not self.optimizer:
                raise ValueError(f"schedulers[{i}]: expected one of the same optimizer, got {schedule!r}")
        if len(self.schedulers) != len(self.milestones) + 1:
            raise ValueError(
                f"milestones: expected one less than schedulers, of which there are {len(self.schedulers)}, "
                f"got {self.milestones!r}"
            )
        self.milestones = [check_count(t, f"milestones[{i}]") for i, t in enumerate(self.milestones)]
        if self.milestones != sorted(set(self.milestones)):
            raise ValueError(f"milestones: expected increasing counts, got {self.milestones}")

    def _saved(self) -> list[str]:
        return [name for name in super()._saved() if name != "schedulers"]

    def _members(self) -> Sequence[LRScheduler]:
        return self.schedulers

    def lr_at(self, t: int) -> float:
        index = bisect_right(self.milestones, t)
        return self.schedulers[index].lr_at(t - [0, *self.milestones][index])


@dataclass(eq=False)
class ReduceLROnPlateau(Schedule):
    """Multiplies the learning rate by factor when a metric has not improved for more than patience steps.

    The learning rate itself is in the state of the optimizer, not of this schedule.

    Parameters
    ----------
    optimizer : object with an lr
    mode : "min" or "max"
        Whether a smaller or a larger metric is better.
    factor : float
        In [0, 1).
    patience : int
        Steps without improvement that are put up with.
    threshold : float
        The least change that counts as an improvement.
    threshold_mode : "rel" or "abs"
        Whether threshold is a share of the best metric, or a difference from it.
    cooldown : int
        Steps after a reduction in which nothing is counted.
    min_lr : float
        The learning rate is not reduced below it.
    eps : float
        Reductions not larger than this are left out.

    Attributes
    ----------
    best : float
        The best metric so far.
    num_bad_epochs, cooldown_counter : int
        Steps without improvement so far; steps of the cooldown to come.

    Examples
    --------
    >>> from handmade.optimizers import SGD
    >>> optimizer = SGD(lr=1.0)
    >>> schedule = ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    >>> for loss in [3.0, 2.0, 2.0, 2.0]:
    ...     schedule.step(loss)
    ...     print(optimizer.lr)
    1.0
    1.0
    1.0
    0.5
    """

    mode: str = "min"
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    threshold_mode: str = "rel"
    cooldown: int = 0
    min_lr: float = 0.0
    eps: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        self.best = math.inf if self.mode == "min" else -math.inf
        self.num_bad_epochs = 0
        self.cooldown_counter = 0

    def _validate(self) -> None:
        self._require_one_of("mode", "min", "max")
        self._require_one_of("threshold_mode", "rel", "abs")
        self._require(below_one, "factor")
        self._require(nonnegative, "threshold", "min_lr", "eps")
        self._require(count, "patience", "cooldown")

    def _saved(self) -> list[str]:
        return [*super()._saved(), "best", "num_bad_epochs", "cooldown_counter"]

    def _validate_loaded(self) -> None:
        self._require(any_number, "best")
        self._require(count, "num_bad_epochs", "cooldown_counter")

    def step(self, metric: float) -> None:
        """Look at the metric, and reduce the learning rate if it is time. A NaN is no improvement."""
        metric = float(metric)
        if self._is_better(metric):
            self.best = metric
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            reduced = max(self.optimizer.lr * self.factor, self.min_lr)
            if self.optimizer.lr - reduced > self.eps:
                self.optimizer.lr = reduced
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0

    def _is_better(self, metric: float) -> bool:
        change = -self.threshold if self.mode == "min" else self.threshold
        bar = self.best * (1 + change) if self.threshold_mode == "rel" else self.best + change
        return metric < bar if self.mode == "min" else metric > bar
