"""The base classes of the schedules, and the curves and checks that several of them use."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from .._state import Stateful
from .._types import HasLearningRate
from .._validation import check_choice, check_count, finite, nonnegative, number

above_zero_up_to_one = number("a number in (0, 1]", lambda x: 0 < x <= 1)
count = partial(check_count, least=0)


def check_callable(value: Any, name: str) -> Any:
    """Return value, or raise TypeError if it cannot be called.

    Examples
    --------
    >>> from handmade.schedules._base import check_callable
    >>> check_callable(0.9, "lr_lambda")
    Traceback (most recent call last):
        ...
    TypeError: lr_lambda: expected a function, got 0.9
    """
    if not callable(value):
        raise TypeError(f"{name}: expected a function, got {value!r}")
    return value


def check_milestones(values: Iterable[int], name: str) -> list[int]:
    """Return values as a list of integers of at least 1.

    Examples
    --------
    >>> from handmade.schedules._base import check_milestones
    >>> check_milestones((30, 80), "milestones")
    [30, 80]
    """
    try:
        counts = None if isinstance(values, str) else list(values)
    except TypeError:  # also of an array without axes, which has an __iter__
        counts = None
    if counts is None:
        raise TypeError(f"{name}: expected a sequence of counts, got {values!r}")
    return [check_count(t, f"{name}[{i}]") for i, t in enumerate(counts)]


def check_not_zero(lr: float, schedule: Schedule) -> float:
    """Return the optimizer's learning rate as a float, or raise ValueError if it is 0 and would stay 0 for ever."""
    if nonnegative(lr, "optimizer.lr") == 0:
        raise ValueError(
            f"optimizer.lr: expected a number > 0, got 0, which {type(schedule).__name__} only multiplies; "
            "set optimizer.lr first, and make a schedule that starts at 0 after the others"
        )
    return float(lr)


def parts_of(optimizer: Any) -> Sequence[Any]:
    """Return the optimizers that an optimizer consists of: those of groups, also within a chain; else itself.

    Examples
    --------
    >>> from handmade.schedules._base import parts_of
    >>> [part.lr for part in parts_of(hm.ParameterGroups({"*.bias": hm.SGD(lr=0.1), "*": hm.SGD(lr=0.2)}))]
    [0.1, 0.2]
    """
    optimizer = getattr(optimizer, "optimizer", optimizer)
    parts: Sequence[Any] = getattr(optimizer, "optimizers", (optimizer,))
    return parts


def power(gamma: float, exponent: int) -> float:
    """Return gamma**exponent, or raise ValueError if it is too large for a float.

    Examples
    --------
    >>> from handmade.schedules._base import power
    >>> power(0.5, 3)
    0.125
    """
    try:
        return float(gamma**exponent)
    except OverflowError:
        raise ValueError(
            f"gamma: expected a number whose powers are finite, got {gamma:g}, whose power {exponent} is not; "
            "lower gamma"
        ) from None


def linear(start: float, end: float, share: float) -> float:
    """Return the value at `share` of the straight line from start to end.

    Examples
    --------
    >>> from handmade.schedules._base import linear
    >>> linear(2.0, 4.0, 0.25)
    2.5
    """
    return start + (end - start) * share


def cosine(start: float, end: float, angle: float) -> float:
    """Return the value at `angle` of half a cosine wave that is start at 0 and end at pi.

    Examples
    --------
    >>> from handmade.schedules._base import cosine
    >>> cosine(2.0, 4.0, 0.0), cosine(2.0, 4.0, np.pi)
    (2.0, 4.0)
    """
    return end + (start - end) * (1 + math.cos(angle)) / 2


@dataclass(eq=False)
class Schedule(Stateful):
    """A schedule of an optimizer: arguments that are checked, and a state that can be saved and loaded."""

    optimizer: HasLearningRate

    def __post_init__(self) -> None:
        if not hasattr(self.optimizer, "lr"):
            raise TypeError(f"optimizer: expected an object with an attribute lr, got {self.optimizer!r}")
        self._validate()

    def _saved(self) -> list[str]:
        """Return the attributes for `state_dict`: all but the optimizer, the members and functions."""
        kept_out = {"optimizer", "schedulers", "lr_lambda", "scale_fn"}
        return [name for name in super()._saved() if name not in kept_out]

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Copy the state that `state_dict` of the same class returned, and set the optimizer's learning rate.

        Raises
        ------
        TypeError
            If state_dict is not a dict, or a value in it has a wrong type.
        ValueError
            If it comes from another class, lacks a key or has one too many, or holds an illegal value. On any error
            nothing is changed.
        """
        super().load_state_dict(state_dict)
        self._restore()

    def _assign(self, state_dict: Mapping[str, Any]) -> None:
        super()._assign(state_dict)
        self._restore()

    def _restore(self) -> None:
        """Set the optimizer's learning rate and momentum to those of a state that was loaded."""

    def _require_one_of(self, name: str, *choices: str) -> None:
        check_choice(getattr(self, name), name, choices)


class LRScheduler(Schedule):
    """A schedule that is a function of the count t alone. A new one is a dataclass with a method `lr_at`.

    Every class takes `last_epoch`, the index of the last epoch that is finished, as its last argument. The schedule
    then begins at t = last_epoch + 1, which is 0 by default. To continue a training with it, `optimizer.lr` has to be
    the initial learning rate, or `optimizer.initial_lr`, which comes first. torch takes `initial_lr` alone, and leaves
    the learning rate as it is; here it is set to `lr_at(last_epoch + 1)`.

    Attributes
    ----------
    base_lr : float
        The optimizer's learning rate when the schedule was made.
    last_epoch : int
        Number of calls of `step`, as in torch.
    t : int
        The same number.
    last_lr : float
        The learning rate that the schedule set last.
    steps_left : float
        Number of steps before the end; infinite but for schedules of a fixed length.

    Notes
    -----
    A step sets `optimizer.lr` to `lr_at(t + 1)`. If something else, such as a second schedule, has changed
    `optimizer.lr` since the last step, the step keeps that change: it multiplies by lr_at(t + 1) / lr_at(t) instead.
    torch's LambdaLR, OneCycleLR, CyclicLR and CosineAnnealingWarmRestarts overwrite the change; its others keep it too.
    """

    last_epoch: int = -1
    floor: float = 0.0  # a step multiplies the learning rate's distance from floor

    def __post_init__(self) -> None:
        super().__post_init__()
        t = check_count(self.last_epoch, "last_epoch", least=-1) + 1
        lr = self._initial_lr()
        if t > 0:
            lr = getattr(self.optimizer, "initial_lr", lr)
        self._rebase(lr)
        self._write(t, self.lr_at(t))
        self.last_epoch = t

    @property
    def t(self) -> int:
        """Return the number of calls of `step`."""
        return self.last_epoch

    @property
    def steps_left(self) -> float:
        """Return how many more calls of `step` are allowed."""
        return math.inf

    def lr_at(self, t: int) -> float:
        """Return the learning rate after t calls of `step`; change nothing."""
        raise NotImplementedError

    def step(self) -> None:
        """Set the next learning rate."""
        before, after, lr = self.lr_at(self.t), self.lr_at(self.t + 1), self.optimizer.lr
        if lr != before and before != self.floor:
            after = self.floor + (lr - self.floor) * ((after - self.floor) / (before - self.floor))
        self._write(self.t + 1, after)
        self.last_epoch += 1

    def _initial_lr(self) -> float:
        """Return the learning rate at which the optimizer is when the schedule is made."""
        return self.optimizer.lr

    def _rebase(self, lr: float) -> None:
        """Set base_lr, the learning rate that the schedule multiplies."""
        self.base_lr: float = check_not_zero(lr, self)

    def _write(self, t: int, lr: float) -> None:
        """Set the learning rate lr; a schedule of momentum sets also that of count t."""
        self.optimizer.lr = lr
        self.last_lr: float = lr

    def state_dict(self) -> dict[str, Any]:
        """Return the state as a plain dict, with the optimizer's learning rate as `last_lr`."""
        return super().state_dict() | {"last_lr": self.optimizer.lr}

    def _restore(self) -> None:
        self._write(self.t, self.last_lr)

    def _saved(self) -> list[str]:
        return list(dict.fromkeys([*super()._saved(), "base_lr", "last_epoch", "last_lr"]))

    def _validate_loaded(self) -> None:
        self._require(nonnegative, "base_lr")
        self._require(count, "last_epoch")
        self._require(finite, "last_lr")
        self.lr_at(self.t)  # raises if t is past the end
