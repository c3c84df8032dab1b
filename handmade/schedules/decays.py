"""Schedules that multiply the learning rate by a factor: steps, lines, powers, functions of one's own."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .._validation import call, check_count, nonnegative, up_to_one
from ._base import LRScheduler, above_zero_up_to_one, check_callable, check_milestones, cosine, linear, power

MOST_CALLS = 10_000_000  # of lr_lambda at once: some seconds, and the memory of the products
OF_T = "of the count t"  # the argument of lr_lambda


@dataclass(eq=False)
class StepLR(LRScheduler):
    """A schedule that multiplies the learning rate by gamma every step_size steps.

    Parameters
    ----------
    optimizer : object with an lr
    step_size : int
        The number of steps between two reductions.
    gamma : float
        The factor, at least 0.
    last_epoch : int
        See `LRScheduler`.

    Raises
    ------
    ValueError, TypeError
        If an option is out of range, or of another type.

    Examples
    --------
    >>> schedule = hm.StepLR(hm.SGD(lr=1.0), step_size=2, gamma=0.5)
    >>> [schedule.lr_at(t) for t in range(6)]
    [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    """

    step_size: int
    gamma: float = 0.1
    last_epoch: int = -1

    def _validate(self) -> None:
        self._require(check_count, "step_size")
        self._require(nonnegative, "gamma")

    def lr_at(self, t: int) -> float:
        return self.base_lr * power(self.gamma, t // self.step_size)


@dataclass(eq=False)
class MultiStepLR(LRScheduler):
    """A schedule that multiplies the learning rate by gamma at each milestone.

    Parameters
    ----------
    optimizer : object with an lr
    milestones : iterable of int
        Counts of at least 1, in any order. A count that occurs twice multiplies twice.
    gamma : float
    last_epoch : int
        See `LRScheduler`.

    Raises
    ------
    ValueError, TypeError
        If an option is out of range, or of another type.

    Examples
    --------
    >>> schedule = hm.MultiStepLR(hm.SGD(lr=1.0), milestones=[2, 3], gamma=0.5)
    >>> [schedule.lr_at(t) for t in range(5)]
    [1.0, 1.0, 0.5, 0.25, 0.25]
    """

    milestones: Sequence[int]
    gamma: float = 0.1
    last_epoch: int = -1

    def _validate(self) -> None:
        self.milestones = sorted(check_milestones(self.milestones, "milestones"))
        self._require(nonnegative, "gamma")

    def lr_at(self, t: int) -> float:
        return self.base_lr * power(self.gamma, bisect_right(self.milestones, t))


@dataclass(eq=False)
class ExponentialLR(LRScheduler):
    """A schedule that multiplies the learning rate by gamma at each step.

    Parameters
    ----------
    optimizer : object with an lr
    gamma : float
        The factor, at least 0.
    last_epoch : int
        See `LRScheduler`.

    Raises
    ------
    ValueError, TypeError
        If an option is out of range, or of another type.

    Examples
    --------
    >>> schedule = hm.ExponentialLR(hm.SGD(lr=1.0), gamma=0.5)
    >>> [schedule.lr_at(t) for t in range(4)]
    [1.0, 0.5, 0.25, 0.125]
    """

    gamma: float
    last_epoch: int = -1

    def _validate(self) -> None:
        self._require(nonnegative, "gamma")

    def lr_at(self, t: int) -> float:
        return self.base_lr * power(self.gamma, t)


@dataclass(eq=False)
class ConstantLR(LRScheduler):
    """A schedule that multiplies the learning rate by factor for total_iters steps, then by 1.

    With factor=0, torch divides by zero at the end; here the learning rate returns.

    Parameters
    ----------
    optimizer : object with an lr
    factor : float
        In [0, 1].
    total_iters : int
        The count at which the factor ends.
    last_epoch : int
        See `LRScheduler`.

    Raises
    ------
    ValueError, TypeError
        If an option is out of range, or of another type.

    Examples
    --------
    >>> schedule = hm.ConstantLR(hm.SGD(lr=1.0), factor=0.5, total_iters=2)
    >>> [schedule.lr_at(t) for t in range(4)]
    [0.5, 0.5, 1.0, 1.0]
    """

    factor: float = 1.0 / 3
    total_iters: int = 5
    last_epoch: int = -1

    def _validate(self) -> None:
        self._require(up_to_one, "factor")
        self._require(check_count, "total_iters")

    def lr_at(self, t: int) -> float:
        return self.base_lr * self.factor if t < self.total_iters else self.base_lr


@dataclass(eq=False)
class LinearLR(LRScheduler):
    """A linear warm-up: a straight line from start_factor to end_factor times the learning rate.

    Parameters
    ----------
    optimizer : object with an lr
    start_factor, end_factor : float
        In (0, 1] and in [0, 1].
    total_iters : int
        The count at which end_factor is reached. From then on the schedule changes nothing.
    last_epoch : int
        See `LRScheduler`.

    Raises
    ------
    ValueError, TypeError
        If an option is out of range, or of another type.

    Examples
    --------
    >>> schedule = hm.LinearLR(hm.SGD(lr=1.0), start_factor=0.25, total_iters=3)
    >>> [schedule.lr_at(t) for t in range(5)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """

    start_factor: float = 1.0 / 3
    end_factor: float = 1.0
    total_iters: int = 5
    last_epoch: int = -1

    def _validate(self) -> None:
        self._require(above_zero_up_to_one, "start_factor")
        self._require(up_to_one, "end_factor")
        self._require(check_count, "total_iters")

    def lr_at(self, t: int) -> float:
        share = min(t, self.total_iters) / self.total_iters
        return self.base_lr * linear(self.start_factor, self.end_factor, share)


@dataclass(eq=False)
class PolynomialLR(LRScheduler):
    """A schedule that lowers the learning rate to 0 in total_iters steps, as base_lr * (1 - t / total_iters)**power.

    Parameters
    ----------
    optimizer : object with an lr
    total_iters : int
        The number of steps until the learning rate is 0.
    power : float
        The power of the decay; 1 is a straight line.
    last_epoch : int
        See `LRScheduler`.

    Raises
    ------
    ValueError, TypeError
        If an option is out of range, or of another type.

    Examples
    --------
    >>> schedule = hm.PolynomialLR(hm.SGD(lr=1.0), total_iters=4, power=2.0)
    >>> [schedule.lr_at(t) for t in range(6)]
    [1.0, 0.5625, 0.25, 0.0625, 0.0, 0.0]
    """

    total_iters: int = 5
    power: float = 1.0
    last_epoch: int = -1

    def _validate(self) -> None:
        self._require(check_count, "total_iters")
        self._require(nonnegative, "power")

    def lr_at(self, t: int) -> float:
        return self.base_lr * math.pow(1 - min(t, self.total_iters) / self.total_iters, self.power)


@dataclass(eq=False)
class CosineAnnealingLR(LRScheduler):
    """A schedule that follows half a cosine wave down to eta_min in T_max steps, then the same way up, and so on.

    Loshchilov and Hutter 2017 (SGDR), without the restarts. Beyond T_max torch adds up rounding errors; here every
    learning rate is computed from t.

    Parameters
    ----------
    optimizer : object with an lr
    T_max : int
        The number of steps down to eta_min: half a period.
    eta_min : float
        The lowest learning rate.
    last_epoch : int
        See `LRScheduler`.

    Raises
    ------
    ValueError, TypeError
        If an option is out of range, or of another type.

    Examples
    --------
    >>> schedule = hm.CosineAnnealingLR(hm.SGD(lr=1.0), T_max=2)
    >>> [round(schedule.lr_at(t), 12) for t in range(6)]
    [1.0, 0.5, 0.0, 0.5, 1.0, 0.5]
    """

    T_max: int
    eta_min: float = 0.0
    last_epoch: int = -1

    def _validate(self) -> None:
        self._require(check_count, "T_max")
        self._require(nonnegative, "eta_min")
        self.floor: float = self.eta_min

    def lr_at(self, t: int) -> float:
        return cosine(self.base_lr, self.eta_min, math.pi * t / self.T_max)


@dataclass(eq=False)
class LambdaLR(LRScheduler):
    """A schedule that multiplies the first learning rate by lr_lambda(t).

    Parameters
    ----------
    optimizer : object with an lr
    lr_lambda : callable
        A function of the count t that returns a factor >= 0. A `state_dict` does not contain it.
    last_epoch : int
        See `LRScheduler`.

    Raises
    ------
    ValueError, TypeError
        If an option is out of range, or of another type.

    Examples
    --------
    >>> schedule = hm.LambdaLR(hm.SGD(lr=1.0), lambda t: 1 / (1 + t))
    >>> [schedule.lr_at(t) for t in range(4)]
    [1.0, 0.5, 0.3333333333333333, 0.25]
    """

    lr_lambda: Callable[[int], float]
    last_epoch: int = -1

    def _validate(self) -> None:
        self._require(check_callable, "lr_lambda")

    def lr_at(self, t: int) -> float:
        return self.base_lr * nonnegative(call(self.lr_lambda, "lr_lambda", OF_T, t), f"lr_lambda({t})")


@dataclass(eq=False)
class MultiplicativeLR(LRScheduler):
    """A schedule that multiplies the learning rate by lr_lambda(t) at step t, from t = 1 on.

    Parameters
    ----------
    optimizer : object with an lr
    lr_lambda : callable
        A function of the count t that returns a factor >= 0. A `state_dict` does not contain it.
    last_epoch : int
        See `LRScheduler`.

    Raises
    ------
    ValueError, TypeError
        If an option is out of range, or of another type.

    Examples
    --------
    >>> schedule = hm.MultiplicativeLR(hm.SGD(lr=1.0), lambda t: 0.5)
    >>> [schedule.lr_at(t) for t in range(4)]
    [1.0, 0.5, 0.25, 0.125]
    """

    lr_lambda: Callable[[int], float]
    last_epoch: int = -1

    def _validate(self) -> None:
        self._require(check_callable, "lr_lambda")
        self._products = [1.0]  # of lr_lambda(1) ... lr_lambda(t), at index t

    def lr_at(self, t: int) -> float:
        if t - len(self._products) >= MOST_CALLS:
            raise ValueError(
                f"last_epoch: expected at most {MOST_CALLS} steps at once, each of which calls lr_lambda, got {t}; "
                "use LambdaLR, which calls it once"
            )
        while len(self._products) <= t:
            next_t = len(self._products)
            factor = call(self.lr_lambda, "lr_lambda", OF_T, next_t)
            self._products.append(self._products[-1] * nonnegative(factor, f"lr_lambda({next_t})"))
        return self.base_lr * self._products[t]
