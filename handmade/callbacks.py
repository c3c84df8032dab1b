"""Rules that watch a training run: early stopping, and averages of the weights.

A callback is any function ``callback(network, history)``. `handmade.fit` calls it after each epoch, and stops if it
returns True. If it has a method ``on_batch(network, loss)``, that is called after each update. If it has ``state_dict``
and ``load_state_dict``, its state is saved in checkpoints.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from ._types import Array
from ._validation import as_array, check_bool, check_count, nonnegative, up_to_one
from .history import VALIDATION, History
from .network import Network

__all__ = ["AveragedModel", "EarlyStopping"]


@dataclasses.dataclass(frozen=True)
class EarlyStopping:
    """A rule that stops training when a number has not improved for ``patience`` epochs.

    Attributes
    ----------
    patience : int
        The number of epochs without an improvement after which training stops.
    min_delta : float
        The least change that counts as an improvement, compared with the last improvement. The epoch of the last
        improvement is restored; with 0 and the validation loss this is `History.best_epoch`.
    restore_best : bool
        Whether the network goes back to its best epoch at the end.
    monitor : str
        ``"validation_loss"``, ``"loss"`` (of training), or the name of a metric.
    mode : {"min", "max"}, optional
        Whether smaller or larger is better. By default smaller for losses, and larger for metrics.

    Raises
    ------
    ValueError, TypeError
        If ``patience`` is not an integer of at least 1, or another option has an impossible value.

    Examples
    --------
    >>> X, y = hm.load_digits()
    >>> rule = hm.EarlyStopping(patience=2, monitor="accuracy")
    >>> options = dict(validation=0.2, metrics="accuracy", epochs=50, rng=0, progress=False)
    >>> history = hm.fit(hm.MLP([64, 8, 10], rng=0), X, y, early_stopping=rule, **options)
    >>> history.stopped, len(history) < 50
    ('early stopping', True)
    """

    patience: int = 10
    min_delta: float = 0.0
    restore_best: bool = True
    monitor: str = VALIDATION
    mode: str | None = None

    def __post_init__(self) -> None:
        check_count(self.patience, "patience")
        object.__setattr__(self, "min_delta", nonnegative(self.min_delta, "min_delta"))  # as a float
        check_bool(self.restore_best, "restore_best")
        if not isinstance(self.monitor, str):
            raise TypeError(f"monitor: expected the name of a loss or metric, got {self.monitor!r}")
        if self.mode is not None and not (isinstance(self.mode, str) and self.mode in ("min", "max")):
            raise ValueError(f"mode: expected 'min' or 'max', got {self.mode!r}")

    @property
    def sign(self) -> int:
        """1 if smaller is better, else -1."""
        mode = self.mode or ("min" if self.monitor in ("loss", VALIDATION) else "max")
        return 1 if mode == "min" else -1


class AveragedModel:
    """A callback that keeps an average of the weights: an exponential moving average, or a plain mean over epochs.

    Polyak and Juditsky 1992; stochastic weight averaging by Izmailov et al. 2018. As in torch.optim.swa_utils,
    statistics of batch normalization are copied, not averaged.

    Parameters
    ----------
    decay : float, optional
        With it, the average is updated after each batch: average = decay average + (1 - decay) theta. Without it, the
        average is the plain mean of the weights after each epoch.
    start : int
        The first epoch, counted from 1, that is averaged.

    Attributes
    ----------
    network : Network or None
        A copy of the network with the averaged weights; None before the first update.
    n_averaged : int
        The number of sets of weights in the average.

    Examples
    --------
    >>> X, y = hm.data.xor()
    >>> network, average = hm.MLP([2, 8, 2], rng=0), hm.AveragedModel(decay=0.9)
    >>> history = hm.fit(network, X, y, epochs=20, callbacks=[average], progress=False)
    >>> average.network.predict(X).shape, average.n_averaged
    ((4, 2), 20)
    """

    def __init__(self, decay: float | None = None, *, start: int = 1) -> None:
        self.decay: float | None = None if decay is None else up_to_one(decay, "decay")
        self.start: int = check_count(start, "start")
        self.network: Network | None = None
        self.n_averaged: int = 0
        self._epoch = 0

    def on_batch(self, network: Network, loss: float) -> None:
        """Average after an update, if the average is exponential."""
        if self.decay is not None and self._epoch + 1 >= self.start:
            self._add(network, 1 - self.decay)

    def __call__(self, network: Network, history: History) -> None:
        """Average after an epoch, if the average is a plain mean."""
        self._epoch += 1
        if self.decay is None and self._epoch >= self.start:
            self._add(network, 1 / (self.n_averaged + 1))

    def _add(self, network: Network, share: float) -> None:
        if self.network is None:
            self.network = copy.deepcopy(network)
        else:
            before = self.network.theta.copy()
            try:
                self.network.load_state_dict(network.state_dict())
            except ValueError as error:
                raise ValueError(f"AveragedModel: {error}, of another network; make a new AveragedModel") from error
            self.network.theta[:] = before + share * (network.theta - before)
        self.n_averaged += 1

    def state_dict(self) -> dict[str, Any]:
        """Return the average and the counts."""
        weights = None if self.network is None else self.network.state_dict()
        return {"n_averaged": self.n_averaged, "epoch": self._epoch, "network": weights}

    def load_state_dict(self, state_dict: dict[str, Any], network: Network | None = None) -> None:
        """Copy what `state_dict` returned; ``network`` has the architecture where nothing was averaged yet."""
        own = list(self.state_dict())
        if not isinstance(state_dict, Mapping) or set(state_dict) != set(own):
            raise ValueError(f"state_dict: expected a mapping with the entries {own}, got {state_dict!r}")
        counts = [as_array(state_dict[name], f"state_dict: {name}")[()] for name in ("n_averaged", "epoch")]
        counts = [check_count(count, "state_dict: n_averaged, epoch", least=0) for count in counts]
        clone = None
        if state_dict["network"] is not None:
            clone = copy.deepcopy(self.network if self.network is not None else network)
            if clone is None:
                raise ValueError("network: expected the network that is averaged, got None")
            clone.load_state_dict(state_dict["network"])
        self.network, self.n_averaged, self._epoch = clone, *counts


class Stopper:
    """The state of an early-stopping rule: the best value so far, and the network's state then."""

    def __init__(
        self, network: Network, rule: int | EarlyStopping | None, validates: bool, metrics: Mapping[str, Any]
    ) -> None:
        if rule is not None and not isinstance(rule, EarlyStopping):
            rule = EarlyStopping(patience=check_count(rule, "early_stopping"))
        if rule and rule.monitor == VALIDATION and not validates:
            raise ValueError("early_stopping: expected validation data to stop on; pass validation=0.1 or (X, y)")
        if rule and rule.monitor not in (VALIDATION, "loss", *metrics):
            names = ", ".join([VALIDATION, "loss", *metrics])
            raise ValueError(f"early_stopping: expected monitor to be one of {names}; got {rule.monitor!r}")
        self.network: Network = network
        self.rule: EarlyStopping | None = rule
        self.best: float = math.inf
        self.since: int = 0
        self.state: dict[str, Array] | None = None

    def after(self, history: History) -> bool:
        """Return whether to stop after this epoch."""
        rule = self.rule
        if rule is None:
            return False
        lists = {"loss": history.loss, VALIDATION: history.validation_loss, **history.metrics}
        value = rule.sign * lists[rule.monitor][-1]
        self.since += 1
        if value < self.best - rule.min_delta:
            self.best, self.since = value, 0
            self.state = self.network.state_dict() if rule.restore_best else None
        return self.since >= rule.patience

    def restore_best(self) -> None:
        if self.state is not None:
            self.network.load_state_dict(self.state)
