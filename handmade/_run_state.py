"""A training run's parts and state: a snapshot that an error in mid-epoch goes back to, and what a checkpoint holds."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import math
import time
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from ._minibatches import Samples
from ._parameters import with_generators
from ._types import Array, MetricFunction
from .callbacks import Stopper
from .history import History
from .losses import Loss
from .network import Network

__all__ = [
    "Place",
    "RunState",
    "Snapshot",
    "TrainingStep",
    "is_stateful",
    "load_state",
    "state_of",
    "stateful_callbacks",
]

TrainingStep: TypeAlias = Callable[..., float]  # (X, y, weight) -> loss; updates where the loss is finite


@dataclasses.dataclass
class Place:
    """The place that an epoch has come to: the row of its order, sums of its mean loss, and what drew the order."""

    row: int = 0
    total: float = 0.0
    seen: int = 0
    last: float = math.nan
    lr: float = math.nan
    rng: Any = None
    order: Array | None = None
    started: float = 0.0

    def elapsed(self) -> float:
        """Return the seconds since the epoch began."""
        return time.perf_counter() - self.started if self.row else 0.0


@dataclasses.dataclass
class RunState:
    """The parts of a training run, how far it has come, and its history."""

    network: Network
    loss: Loss
    optimizer: Any
    training: Samples
    held: Samples | None
    batch_size: int
    shuffle: bool
    drop_last: bool
    metrics: dict[str, MetricFunction]
    schedules: list[tuple[Any, str]]
    callbacks: list[Callable[..., Any]]
    stopper: Stopper
    rng: np.random.Generator
    step: TrainingStep | None

    def __post_init__(self) -> None:
        self.place: Place = Place()
        self.history: History = History(metrics={name: [] for name in self.metrics})

    def draw_order(self) -> Array:
        """Return the rows in the order of an epoch."""
        rows = self.training.rows
        return self.rng.permutation(rows) if self.shuffle else rows


class Snapshot:
    """The state of a run before an epoch: of network, dropout's generators, optimizer and schedules."""

    def __init__(self, run: RunState) -> None:
        self.generators: list[Any] = [leaf.rng.bit_generator.state for leaf in with_generators(run.network)]
        _, *others = self._parts(run)
        self.states: list[Any] = [run.network.state_dict(), *(copy.deepcopy(part.state_dict()) for part in others)]

    @staticmethod
    def _parts(run: RunState) -> list[Any]:
        return [run.network, *filter(is_stateful, [run.optimizer, *(schedule for schedule, _ in run.schedules)])]

    def restore(self, run: RunState) -> None:
        for part, state in zip(self._parts(run), self.states, strict=True):
            getattr(part, "_assign", part.load_state_dict)(state)  # a number that is not finite is no error here
        for leaf, state in zip(with_generators(run.network), self.generators, strict=True):
            leaf.rng.bit_generator.state = state


def is_stateful(part: Any) -> bool:
    """Return whether an object has a state that can be saved and loaded."""
    return all(callable(getattr(part, name, None)) for name in ("state_dict", "load_state_dict"))


def stateful_callbacks(run: RunState) -> list[Any]:
    """Return the callbacks that checkpoints save."""
    return [part for part in run.callbacks if is_stateful(part)]


def state_of(run: RunState) -> dict[str, Any]:
    """Return the whole state of a run after a step or an epoch."""
    return {
        "network": run.network.state_dict(),
        "generators": [leaf.rng.bit_generator.state for leaf in with_generators(run.network)],
        "optimizer": run.optimizer.state_dict(),
        "schedules": [schedule.state_dict() for schedule, _ in run.schedules],
        "callbacks": [part.state_dict() for part in stateful_callbacks(run)],
        "stopper": {name: getattr(run.stopper, name) for name in ("best", "since", "state")},
        "history": dataclasses.asdict(run.history),
        "place": {**vars(run.place), "order": None, "seconds": run.place.elapsed()},
        "rng": run.rng.bit_generator.state,
    }


def load_state(run: RunState, state: dict[str, Any]) -> None:
    """Set a run to the state that `state_of` returned."""
    run.network.load_state_dict(state["network"])
    for (schedule, _), saved in zip(run.schedules, state["schedules"], strict=True):
        schedule.load_state_dict(saved)
    run.optimizer.load_state_dict(state["optimizer"])  # a schedule may have set the learning rate
    vars(run.stopper).update(state["stopper"])
    vars(run.history).update(state["history"])
    place = dict(state["place"])
    started = time.perf_counter() - place.pop("seconds")
    vars(run.place).update(place, started=started)
    if run.place.row:  # in mid-epoch: draw its order again
        run.rng.bit_generator.state = run.place.rng
        run.place.order = run.draw_order()
    run.rng.bit_generator.state = state["rng"]
    for leaf, saved in zip(with_generators(run.network), state["generators"], strict=True):
        leaf.rng.bit_generator.state = saved
    for part, saved in zip(stateful_callbacks(run), state["callbacks"], strict=True):
        takes_network = "network" in inspect.signature(part.load_state_dict).parameters
        part.load_state_dict(saved, *([run.network] if takes_network else []))
