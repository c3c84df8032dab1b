"""A schedule that looks at a metric: it lowers the learning rate when the metric no longer improves."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from .._validation import below_one, nonnegative, number
from ._base import Schedule, check_not_zero, count

any_number: Callable[[Any, str], float] = number("a number", lambda x: True)


@dataclass(eq=False)
class ReduceLROnPlateau(Schedule):
    """A schedule that multiplies the learning rate by factor after more than patience steps without improvement.

    The optimizer's state contains the learning rate; that of this schedule does not.

    Parameters
    ----------
    optimizer : object with an lr
    mode : "min" or "max"
        Whether a smaller or a larger metric is better.
    factor : float
        In [0, 1).
    patience : int
        Number of steps without improvement before a reduction is due.
    threshold : float
        The smallest change that counts as an improvement.
    threshold_mode : "rel" or "abs"
        Whether threshold is a fraction of the best metric's size, or a difference from the best metric.
    cooldown : int
        Number of steps after a reduction in which no bad step is counted.
    min_lr : float
        The learning rate is not reduced below it.
    eps : float
        Reductions not larger than eps are left out.

    Attributes
    ----------
    best : float
        The best metric so far.
    num_bad_epochs, cooldown_counter : int
        Steps without improvement so far; steps of the cooldown to come.

    Raises
    ------
    ValueError, TypeError
        If an option is out of range, or of another type.

    Notes
    -----
    `handmade.fit` passes the validation loss to `step`, and without validation data the training loss. That one
    still falls when a network has begun to overfit, so that the learning rate may never be reduced.

    With threshold_mode="rel" a metric has to pass best - threshold * abs(best) in mode "min", and
    best + threshold * abs(best) in mode "max". torch takes best * (1 - threshold) and best * (1 + threshold): for a
    negative metric, such as a log-likelihood, worse then counts as better, and the learning rate is never reduced.

    Examples
    --------
    >>> optimizer = hm.SGD(lr=1.0)
    >>> schedule = hm.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    >>> for loss in [3.0, 2.0, 2.0, 2.0]:
    ...     schedule.step(loss)
    ...     print(optimizer.lr)
    1.0
    1.0
    1.0
    0.5
    """

    needs_metric: ClassVar[bool] = True

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
        check_not_zero(self.optimizer.lr, self)
        self.best: float = math.inf if self.mode == "min" else -math.inf
        self.num_bad_epochs: int = 0
        self.cooldown_counter: int = 0

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

    def step(self, metrics: float) -> None:
        """Count the metric, and reduce the learning rate if that is due. NaN is not an improvement.

        Parameters
        ----------
        metrics : float
            The metric of the epoch, preferably of validation data: the training loss improves long after a network
            has begun to overfit.

        Raises
        ------
        TypeError
            If it is not a number.
        """
        if not hasattr(metrics, "__float__"):
            raise TypeError(f"metrics: expected a number, such as the validation loss, got {metrics!r}")
        try:
            metric = float(metrics)
        except TypeError as error:
            raise TypeError(f"metrics: expected a number, got {metrics!r}") from error
        except OverflowError as error:
            raise ValueError("metrics: expected a number, got an integer beyond 1e308") from error
        if self._is_better(metric):
            self.best = metric
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0

    def _reduce(self) -> None:
        reduced = max(self.optimizer.lr * self.factor, self.min_lr)
        if self.optimizer.lr - reduced > self.eps:
            self.optimizer.lr = reduced

    def _is_better(self, metric: float) -> bool:
        sign = -1 if self.mode == "min" else 1  # of an improvement
        if math.isinf(self.best):
            bar = self.best
        elif self.threshold_mode == "abs":
            bar = self.best + sign * self.threshold
        else:
            bar = self.best * (1 + sign * math.copysign(self.threshold, self.best))
        return metric < bar if self.mode == "min" else metric > bar
