"""Targets: whole trainings: any options of `hm.fit` in combination, and checkpoints with hostile bytes."""

from __future__ import annotations

import functools
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import handmade as hm

from .calls import OPTIMIZERS
from .mutate import mutate, pick
from .rules import Violation, observe, same_numbers
from .sessions import make_schedules

__all__ = ["REPLAYS", "TARGETS"]

SAMPLES = np.random.default_rng(0)
X, Y = SAMPLES.normal(size=(23, 3)), np.arange(23) % 3
CHECKPOINT = Path("run.checkpoint")


class Recorder:
    """A callback with a state, which counts its calls and may end the training."""

    def __init__(self, last: int = 0) -> None:
        self.calls, self.last = 0, last

    def __call__(self, network: Any, history: Any) -> bool:
        self.calls += 1
        return self.calls == self.last

    def state_dict(self) -> dict[str, Any]:
        return {"calls": self.calls}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.calls = state_dict["calls"]


def draw_options(rng: np.random.Generator) -> dict[str, Any]:
    """Return a value for each option of `hm.fit`; what has a state is a maker."""
    has_held = rng.random() < 0.5
    weights = rng.random(len(X)) + 0.1
    return {
        "epochs": int(rng.integers(1, 5)),
        "batch_size": pick(rng, [None, 1, 4, 7, 23, 99]),
        "shuffle": bool(rng.integers(2)),
        "drop_last": bool(rng.integers(2)),
        "validation": pick(rng, [0.3, (X[:6], Y[:6])]) if has_held else None,
        "stratify": bool(rng.integers(2)),
        "early_stopping": pick(rng, [None, 1, hm.EarlyStopping(1, monitor="loss")]) if has_held else None,
        "metrics": pick(rng, [(), "accuracy", ["accuracy", lambda output, y: float(output.sum())]]),
        "sample_weight": pick(rng, [None, weights, weights.tolist(), 0 * weights + 1]),
        "class_weight": pick(rng, [None, [1.0, 2.0, 0.5], {0: 1.0, 1: 2.0, 2: 0.5}]),
        "loss": pick(rng, ["cross_entropy", functools.partial(hm.losses.cross_entropy, label_smoothing=0.1)]),
        "compile": "auto" if rng.random() < 0.05 else False,  # which takes longer
        "schedule": int(rng.integers(-8, 15)),
        "schedule_every": pick(rng, ["epoch", "batch"]),
        "optimizer": int(rng.integers(len(OPTIMIZERS))),
        "network": {
            "normalization": pick(rng, [None, "batch", "layer"]), "dropout": pick(rng, [0.0, 0.3]),
            "dtype": pick(rng, ["float64", "float32"]), "activation": pick(rng, ["relu", "tanh", "gelu"]),
        },
        "seed": int(rng.integers(99)),
        "last": int(rng.integers(0, 5)),
    }  # fmt: skip


NAMES = ("batch_size", "stratify", "validation", "BatchNorm", "schedule", "class", "sample_weight", "drop_last", "loss",
         "total_steps", "early_stopping", "input", "optimizer", "compile", "weights")  # fmt: skip


def train(options: dict[str, Any], **other: Any) -> dict[str, Any]:
    """Train with these options, some of them others, and return all that a run leaves as bytes and numbers."""
    options = options | other
    parts = {name: options.pop(name) for name in ("schedule", "optimizer", "network", "seed", "last")}
    network = hm.MLP([3, 4, 3], rng=0, **parts["network"])
    optimizer, recorder = OPTIMIZERS[parts["optimizer"]](), Recorder(parts["last"])
    schedule = make_schedules(optimizer)[parts["schedule"]]() if parts["schedule"] >= 0 else None
    if schedule is not None and options.pop("listed", False):
        schedule = [(schedule, options["schedule_every"])]
    options.pop("listed", None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # TrainingWarning, and of what has no compiled form
        try:
            history = hm.fit(
                network, X, Y, optimizer=optimizer, schedule=schedule, rng=parts["seed"], callbacks=[recorder],
                progress=False, **options,
            )  # fmt: skip
        except FloatingPointError as error:
            history = error.history  # type: ignore[attr-defined]
    return {
        "network": network.state_dict(), "optimizer": repr(optimizer.state_dict()), "calls": recorder.calls,
        "loss": history.loss, "validation": history.validation_loss, "metrics": dict(history.metrics),
        "lr": history.lr, "stopped": history.stopped,
    }  # fmt: skip


def fuzz_fit_options(rng: np.random.Generator) -> None:
    """Train with any options: again, written in another way, in two runs, or by hand, with the same numbers."""
    options = draw_options(rng)
    outcome = observe(lambda: train(options), NAMES, may_overflow=True)
    if outcome.error is not None:
        return
    name = pick(rng, list(RELATIONS))
    other = RELATIONS[name](options)
    if other is None:
        return
    expected, tolerance = other
    if not same_numbers(outcome.value, expected, tolerance, of_largest=True):
        differing = [key for key in expected if not same_numbers(outcome.value[key], expected[key], tolerance, True)]
        raise Violation("wrong", f"{name}: {differing} differ of {options}")


def _resumed(options: dict[str, Any]) -> tuple[dict[str, Any], float] | None:
    """Train in two runs, from a checkpoint; the run then tells nothing of the first."""
    if options["compile"] or options["epochs"] == 1:
        return None
    CHECKPOINT.unlink(missing_ok=True)
    if train(options, epochs=1, checkpoint=CHECKPOINT)["stopped"] != "all epochs":
        return None
    return train(options, checkpoint=CHECKPOINT), 0.0


def _by_hand(options: dict[str, Any]) -> tuple[dict[str, Any], float] | None:
    """Train by a loop over the batches, where nothing is drawn, stopped or scheduled."""
    if any(options[name] for name in ("shuffle", "last", "early_stopping", "compile")) or options["schedule"] >= 0:
        return None
    if options["validation"] == 0.3 or options["class_weight"] is not None:
        return None
    network = hm.MLP([3, 4, 3], rng=0, **options["network"])
    optimizer, losses = OPTIMIZERS[options["optimizer"]](), []
    optimizer.bind(network)
    size = min(len(X), options["batch_size"] or len(X))
    weight = None if options["sample_weight"] is None else np.array(options["sample_weight"])
    weight = None if weight is None else weight / weight.mean()
    for _ in range(options["epochs"]):
        values = []
        for start in range(0, len(X), size):
            rows = slice(start, start + size)
            if options["drop_last"] and len(X[rows]) < size:
                break
            value, gradient = network.loss_and_gradient(
                X[rows], Y[rows], options["loss"], sample_weight=None if weight is None else weight[rows]
            )
            optimizer.step(network.theta, gradient)
            values.append((value, len(X[rows])))
        losses.append(sum(value * count for value, count in values) / sum(count for _, count in values))
    found = train(options)
    return found | {"network": network.state_dict(), "loss": losses}, 1e-5


RELATIONS: dict[str, Any] = {
    "again": lambda options: (train(options), 0.0),
    "in two runs": _resumed,
    "by hand": _by_hand,
    "whole batch": lambda o: (train(o, batch_size=1000), 0.0) if o["batch_size"] in (None, 99) else None,
    "a list of one schedule": lambda o: (train(o, listed=True), 0.0),
    "weights as an array": lambda o: (train(o, sample_weight=_array(o["sample_weight"])), 0.0),
    "class weights in a dict": lambda o: (
        (train(o, class_weight={0: 1.0, 1: 2.0, 2: 0.5}), 0.0) if o["class_weight"] is not None else None
    ),
}


def _array(weights: Any) -> Any:
    return None if weights is None else np.array(weights)


# ---- checkpoints -------------------------------------------------------------------------------------------------

RUN: dict[str, Any] = draw_options(np.random.default_rng(3)) | {
    "epochs": 2, "batch_size": 4, "validation": 0.3, "compile": False, "schedule": 1, "optimizer": 8, "last": 0,
    "early_stopping": 3, "metrics": "accuracy", "sample_weight": None,
}  # fmt: skip


@functools.cache
def _checkpoints() -> tuple[bytes, bytes, dict[str, Any]]:
    """Return a checkpoint after one epoch, one of another network, and what the whole run ends with."""
    with tempfile.TemporaryDirectory() as folder:
        path, other = Path(folder, "one"), Path(folder, "other")
        train(RUN, epochs=1, checkpoint=path)
        train(RUN, epochs=1, checkpoint=other, network={"activation": "tanh", "normalization": "batch"})
        return path.read_bytes(), other.read_bytes(), train(RUN)


def fuzz_checkpoints(rng: np.random.Generator) -> None:
    """Go on from a checkpoint with hostile bytes."""
    good, other, _ = _checkpoints()
    content = mutate(rng, good, other)
    try:
        resume(content)
    except Violation as violation:
        violation.content = content
        raise


def resume(content: bytes) -> None:
    """Train from these bytes: to the end of the run that they are of, or an error that leaves file and network."""
    path = Path("mutated.checkpoint")
    path.write_bytes(content)
    outcome = observe(lambda: train(RUN, checkpoint=path), [str(path), "checkpoint"], most_memory=2**26)
    if outcome.error is not None:
        if path.read_bytes() != content or Path(f"{path}.lock").exists():
            raise Violation("state", "the file was changed, or stayed locked")
    elif not same_numbers(outcome.value, _checkpoints()[2]):
        raise Violation("wrong", "the run goes on to other numbers")


REPLAYS = {"checkpoints": resume}
TARGETS = {"fit options": fuzz_fit_options, "checkpoints": fuzz_checkpoints}
