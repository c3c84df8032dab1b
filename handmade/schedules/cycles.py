"""Schedules that go up and down: warm restarts, and the cycles of Smith, which also set the momentum."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

from .._validation import below_one, call, check_bool, check_count, finite, nonnegative, positive, up_to_one
from ._base import LRScheduler, check_callable, cosine, linear, parts_of, power


@dataclass(eq=False)
class CosineAnnealingWarmRestarts(LRScheduler):
    """A schedule that follows half a cosine wave down towards eta_min, then restarts from the top.

    Loshchilov and Hutter 2017 (SGDR). `lr_at` accepts fractions of a step, such as epoch + batch / batches.

    Parameters
    ----------
    optimizer : object with an lr
    T_0 : int
        Length of the first wave.
    T_mult : int
        Each further wave is T_mult times as long as the one before.
    eta_min : float
        The learning rate that a wave approaches.
    last_epoch : int
        See `LRScheduler`.

    Raises
    ------
    ValueError, TypeError
        If an option is out of range, or of another type.

    Examples
    --------
    >>> schedule = hm.CosineAnnealingWarmRestarts(hm.SGD(lr=1.0), T_0=1, T_mult=2)
    >>> [round(schedule.lr_at(t), 6) for t in range(8)]
    [1.0, 1.0, 0.5, 1.0, 0.853553, 0.5, 0.146447, 1.0]
    """

    T_0: int
    T_mult: int = 1
    eta_min: float = 0.0
    last_epoch: int = -1

    def _validate(self) -> None:
        self._require(check_count, "T_0", "T_mult")
        self._require(nonnegative, "eta_min")
        self.floor: float = self.eta_min

    def lr_at(self, t: float) -> float:
        length = self.T_0
        if self.T_mult == 1:
            t %= length
        while t >= length:
            t -= length
            length *= self.T_mult
        return cosine(self.base_lr, self.eta_min, math.pi * t / length)


class MomentumCycle(LRScheduler):
    """A schedule that sets the optimizer's momentum (of Adam's kind the first of betas), down while the rate goes up.

    The learning rate does not depend on the optimizer's.
    """

    cycle_momentum: bool
    base_momentum: float
    max_momentum: float

    def momentum_at(self, t: int) -> float:
        """Return the momentum after t calls of `step`; change nothing."""
        raise NotImplementedError

    def _validate(self) -> None:
        self._require(below_one, "base_momentum", "max_momentum")
        self._require(check_bool, "cycle_momentum")
        if self.cycle_momentum and not all(
            hasattr(part, "betas") or hasattr(part, "momentum") for part in parts_of(self.optimizer)
        ):
            raise ValueError(
                f"cycle_momentum: expected an optimizer with momentum or betas, got {self.optimizer!r}; "
                "pass cycle_momentum=False"
            )

    def _write(self, t: int, lr: float) -> None:
        super()._write(t, lr)
        for part in parts_of(self.optimizer) if self.cycle_momentum else ():
            if hasattr(part, "betas"):
                part.betas = (self.momentum_at(t), part.betas[1])
            else:
                part.momentum = self.momentum_at(t)


@dataclass(eq=False)
class CyclicLR(MomentumCycle):
    """A schedule that goes from base_lr up to max_lr and down again in straight lines, and momentum the other way.

    Smith 2017 (cyclical learning rates). torch computes the position in a cycle as 1 + t / size - cycle, which loses
    digits as t grows; here it is t modulo size.

    Parameters
    ----------
    optimizer : object with an lr
        And with betas or momentum, if momentum is to be cycled.
    base_lr, max_lr : float
        The lowest learning rate, and the highest of the first cycle.
    step_size_up, step_size_down : int
        Number of steps up and down; step_size_down is step_size_up by default.
    mode : "triangular", "triangular2" or "exp_range"
        Cycles of one height; each half as high as the one before; height multiplied by gamma**t.
    gamma : float
        Only for "exp_range".
    scale_fn : callable, optional
        A function that returns the height's factor, instead of mode. A `state_dict` does not contain it.
    scale_mode : "cycle" or "iterations"
        Whether scale_fn is called with the number of the cycle, from 1, or with t.
    cycle_momentum : bool
        Whether to set momentum too: from max_momentum down to base_momentum, and back.
    base_momentum, max_momentum : float
    last_epoch : int
        See `LRScheduler`.

    Raises
    ------
    ValueError, TypeError
        If an option is out of range, or of another type.

    Examples
    --------
    >>> schedule = hm.CyclicLR(hm.SGD(momentum=0.9), base_lr=0.25, max_lr=1.25, step_size_up=2)
    >>> [schedule.lr_at(t) for t in range(6)]
    [0.25, 0.75, 1.25, 0.75, 0.25, 0.75]
    """

    base_lr: float
    max_lr: float
    step_size_up: int = 2000
    step_size_down: int | None = None
    mode: str = "triangular"
    gamma: float = 1.0
    scale_fn: Callable[[int], float] | None = None
    scale_mode: str = "cycle"
    cycle_momentum: bool = True
    base_momentum: float = 0.8
    max_momentum: float = 0.9
    last_epoch: int = -1

    def _validate(self) -> None:
        super()._validate()
        self._require(nonnegative, "base_lr", "max_lr", "gamma")
        if self.step_size_down is None:
            self.step_size_down = self.step_size_up
        self._require(check_count, "step_size_up", "step_size_down")
        self._require_one_of("mode", "triangular", "triangular2", "exp_range")
        self._require_one_of("scale_mode", "cycle", "iterations")
        if self.scale_fn is not None:
            self._require(check_callable, "scale_fn")

    def _rebase(self, lr: float) -> None:
        """Keep base_lr: it is an argument."""

    def lr_at(self, t: int) -> float:
        return self.base_lr + (self.max_lr - self.base_lr) * self._height_at(t)

    def momentum_at(self, t: int) -> float:
        return self.max_momentum - (self.max_momentum - self.base_momentum) * self._height_at(t)

    def _height_at(self, t: int) -> float:
        """Return the height above base_lr, as a fraction of max_lr - base_lr."""
        up, down = self.step_size_up, self.step_size_down or self.step_size_up
        cycle, position = divmod(t, up + down)
        return self._scale_at(t, cycle + 1) * (position / up if position <= up else (up + down - position) / down)

    def _scale_at(self, t: int, cycle: int) -> float:
        if self.scale_fn is not None:
            count = cycle if self.scale_mode == "cycle" else t
            return finite(call(self.scale_fn, "scale_fn", "of a count", count), "scale_fn")
        if self.mode == "exp_range":
            return power(self.gamma, t)
        return 1.0 if self.mode == "triangular" else 0.5 ** (cycle - 1)


@dataclass(eq=False)
class OneCycleLR(MomentumCycle):
    """A schedule that goes up to max_lr and down to almost 0 in total_steps steps, while momentum goes down and up.

    Smith and Topin 2018 (super-convergence). The learning rate starts at max_lr / div_factor and ends at
    max_lr / div_factor / final_div_factor, whatever the optimizer's own. The last count of the cycle is
    total_steps - 1. As in torch, one more step is allowed, because a training loop usually ends with one. It
    extrapolates the curve, and its learning rate is not meant for training: a straight line has gone below zero. The
    next step raises ValueError.

    Parameters
    ----------
    optimizer : object with an lr
        And with betas or momentum, if momentum is to be cycled.
    max_lr : float
        The highest learning rate.
    total_steps, epochs, steps_per_epoch : int
        Give total_steps, or both of the others for their product.
    pct_start : float
        The fraction of the steps that go up.
    anneal_strategy : "cos" or "linear"
        The shape of the curve.
    cycle_momentum : bool
        Whether to set momentum too: from max_momentum down to base_momentum, and back.
    base_momentum, max_momentum : float
    div_factor, final_div_factor : float
        max_lr divided by the first learning rate, and that divided by the last.
    three_phase : bool
        Go up, then as many steps down to the first learning rate, and only then to the end.
    last_epoch : int
        See `LRScheduler`.

    Raises
    ------
    ValueError, TypeError
        If an option is out of range, or of another type.

    Examples
    --------
    >>> optimizer = hm.SGD(momentum=0.9)
    >>> schedule = hm.OneCycleLR(
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
    last_epoch: int = -1

    def _validate(self) -> None:
        super()._validate()
        if self.total_steps is None:
            if self.epochs is None or self.steps_per_epoch is None:
                raise ValueError("total_steps: expected it, or both epochs and steps_per_epoch, got neither")
            self._require(check_count, "epochs", "steps_per_epoch")
            self.total_steps = self.epochs * self.steps_per_epoch
        self._require(check_count, "total_steps")
        self._require(nonnegative, "max_lr")
        self._require(positive, "div_factor", "final_div_factor")
        self._require(up_to_one, "pct_start")
        self._require(check_bool, "three_phase")
        self._require_one_of("anneal_strategy", "cos", "linear")

    def _rebase(self, lr: float) -> None:
        """Set base_lr, whatever the optimizer's learning rate is."""
        self.base_lr: float = self.max_lr / self.div_factor

    @property
    def steps_left(self) -> float:
        """Return how many more calls of `step` are allowed."""
        return self._length - self.t

    @property
    def _length(self) -> int:
        return cast("int", self.total_steps)  # `_validate` has computed it

    def lr_at(self, t: int) -> float:
        return self._value_at(t, self.base_lr, high=self.max_lr, last=self.base_lr / self.final_div_factor)

    def momentum_at(self, t: int) -> float:
        return self._value_at(t, low=self.max_momentum, high=self.base_momentum, last=self.max_momentum)

    def _value_at(self, t: int, low: float, high: float, last: float) -> float:
        """Return the value at t on the curve low, high, last; in three phases low, high, low, last."""
        if t > self._length:
            raise ValueError(f"t: expected at most {self._length} = total_steps, got {t}; make a new one")
        top, end = self.pct_start * self._length - 1, self._length - 1
        corners = [(0.0, low), (top, high), (end, last)]
        if self.three_phase:
            corners.insert(2, (2 * top, low))
        phases = list(pairwise(corners))
        (start, from_value), (stop, to_value) = next((p for p in phases if t <= p[1][0]), phases[-1])
        share = (t - start) / (stop - start) if stop != start else 1.0
        if self.anneal_strategy == "cos":
            return cosine(from_value, to_value, math.pi * share)
        return linear(from_value, to_value, share)
