"""The state of a training run: a snapshot that an error in mid-epoch goes back to, and all that a checkpoint holds."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import time
from typing import TYPE_CHECKING, Any

from ._parameters import with_generators

if TYPE_CHECKING:
    from ._run import Run

__all__ = ["Snapshot", "is_stateful", "load_state", "state_of", "stateful_callbacks"]


class Snapshot:
    """The state of a run before an epoch: of network, dropout's generators, optimizer and schedules."""

    def __init__(self, run: Run) -> None:
        self.generators: list[Any] = [leaf.rng.bit_generator.state for leaf in with_generators(run.network)]
        self.states: list[Any] = [copy.deepcopy(part.state_dict()) for part in self._parts(run)]

    @staticmethod
    def _parts(run: Run) -> list[Any]:
        return [*filter(is_stateful, [run.network, run.optimizer, *(schedule for schedule, _ in run.schedules)])]

    def restore(self, run: Run) -> None:
        for part, state in zip(self._parts(run), self.states, strict=True):
            getattr(part, "_assign", part.load_state_dict)(state)  # a number that is not finite is no error here
        for leaf, state in zip(with_generators(run.network), self.generators, strict=True):
            leaf.rng.bit_generator.state = state


def is_stateful(part: Any) -> bool:
    """Return whether a part has a state that can be saved and loaded."""
    return hasattr(part, "state_dict") and hasattr(part, "load_state_dict")


def stateful_callbacks(run: Run) -> list[Any]:
    """Return the callbacks that checkpoints save."""
    return [part for part in run.callbacks if is_stateful(part)]


def state_of(run: Run) -> dict[str, Any]:
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


def load_state(run: Run, state: dict[str, Any]) -> None:
    """Set a run to the state that `state_of` returned."""
    run.network.load_state_dict(state["network"])
    run.optimizer.load_state_dict(state["optimizer"])
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
