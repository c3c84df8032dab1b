"""The arguments of `handmade.fit`: each is checked, and brought into the one form that the loop knows."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ._run_state import TrainingStep
from ._steps import Step
from ._types import MetricFunction
from ._validation import STATE, check_choice, check_hooks, takes
from .callbacks import EarlyStopping
from .history import COLUMNS
from .losses import Loss
from .metrics import METRICS
from .network import Network

__all__ = ["compiled_step", "find_callbacks", "find_metrics", "find_schedules"]


def compiled_step(
    network: Network, loss: Loss, optimizer: Any, compile: bool | str | Callable[..., TrainingStep]
) -> TrainingStep | None:
    """Return what does the steps, or None for the NumPy code."""
    if isinstance(getattr(compile, "network", None), Network):
        raise TypeError(f"compile: expected a function that makes a step, got a step, {compile!r}; pass hm.compile")
    if callable(compile):
        step = compile(network, loss, optimizer)
        if not callable(step):
            raise TypeError(f"compile: expected a function that returns a step, step(X, y, weight), got {step!r}")
        check_hooks(step, "compile", {"part": [("rows",)], "batches": [("X", "y", "weight", "order", "size")]})
        return step
    if not (isinstance(compile, bool | np.bool_) or (isinstance(compile, str) and compile == "auto")):
        raise ValueError(f"compile: expected True, False, 'auto' or a function, got {compile!r}")
    if not compile:
        return None
    try:
        from . import compiled  # needs numba

        return compiled.compile(network, loss, optimizer)
    except (ImportError, TypeError) as error:
        if compile != "auto":
            raise
        warnings.warn(f"fit: {error}", stacklevel=3)
        return None


def find_schedules(schedule: Any, every: str, optimizer: Any) -> list[tuple[Any, str]]:
    """Return all schedules as pairs (schedule, "epoch" or "batch"); raise unless they belong to the optimizer."""
    pairs = schedule if isinstance(schedule, list) else [] if schedule is None else [(schedule, every)]
    if not _is_time(every):
        raise ValueError(f"schedule_every: expected 'epoch' or 'batch', got {every!r}")
    for pair in pairs:
        if not (isinstance(pair, tuple) and len(pair) == 2 and _is_time(pair[1])):
            raise TypeError(f"schedule: expected pairs such as (StepLR(optimizer, 10), 'epoch'), got {pair!r}")
        one, when = pair
        if isinstance(one, type) or not callable(getattr(one, "step", None)):
            raise TypeError(f"schedule: expected an object such as StepLR(optimizer, 10), got {one!r}")
        metric = ("metric",) if getattr(one, "needs_metric", False) else ()
        check_hooks(one, "schedule", {"step": [metric], **STATE})
        if getattr(one, "needs_metric", False) and when == "batch":
            raise ValueError("schedule_every: expected 'epoch' with a ReduceLROnPlateau, which waits for a loss")
        scheduled = getattr(one, "optimizer", optimizer)
        if scheduled not in _parts(optimizer):
            raise ValueError(
                f"schedule: expected one of the optimizer in use, got one of another {type(scheduled).__name__}; make "
                "it with the object that you pass as optimizer"
            )
    return pairs


def _is_time(when: Any) -> bool:
    """Return whether this names when a schedule is stepped."""
    return isinstance(when, str) and when in ("epoch", "batch")


def _parts(optimizer: Any) -> list[Any]:
    """Return an optimizer and all the steps it consists of."""
    members = optimizer._members() if isinstance(optimizer, Step) else ()
    return [optimizer, *(part for member in members for part in _parts(member))]


def find_metrics(metrics: Any) -> dict[str, MetricFunction]:
    """Return a dict of the functions, by their names in the history."""
    found: dict[str, MetricFunction] = {}
    listed: Any = [metrics] if isinstance(metrics, str) or callable(metrics) else metrics
    if not np.iterable(listed):
        raise TypeError(f"metrics: expected names or functions, got {metrics!r}")
    for metric in listed:
        function: Any = metric if callable(metric) else METRICS[check_choice(metric, "metrics", METRICS)]
        if isinstance(function, type) or not takes(function, 2):
            raise TypeError(f"metrics: expected functions of the output and y, got {metric!r}; write metric(output, y)")
        name = _name_of(function)
        if name in found or name in COLUMNS:
            raise ValueError(f"metrics: expected names of their own in the history, got {name!r} twice; rename one")
        found[name] = function
    return found


def _name_of(metric: Any) -> str:
    """Return a name for the history that is the same in every process, unlike the repr of a function."""
    if isinstance(metric, functools.partial):
        options = [*map(repr, metric.args), *(f"{name}={value!r}" for name, value in metric.keywords.items())]
        return f"{_name_of(metric.func)}({', '.join(options)})"
    return str(getattr(metric, "__name__", type(metric).__name__))


def find_callbacks(callbacks: Any) -> list[Callable[..., Any]]:
    """Return the callbacks as a list."""
    callbacks = list(callbacks) if np.iterable(callbacks) and not isinstance(callbacks, str) else [callbacks]
    for callback in callbacks:
        if not callable(callback) or isinstance(callback, type) or not takes(callback, 2):
            hint = "; pass it as early_stopping" if isinstance(callback, EarlyStopping) else ""
            raise TypeError(f"callbacks: expected functions of the network and the history, got {callback!r}{hint}")
        check_hooks(callback, "callbacks", {"on_batch": [("network", "loss")], **STATE})
    return callbacks
