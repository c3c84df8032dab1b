"""``torchrun --nproc-per-node 2 -m benchmarks.distributed.equality``: compare processes with one on the whole batch.

Each case is trained by `reference.distributed` in all processes together, and by `handmade.fit` in each process alone.
Parameters may differ by rounding, which training amplifies. The bound is ten times the difference between two trainings
of one process whose initial parameters differ by one ULP. Process 0 prints a line of JSON.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

import handmade as hm
from handmade import checkpoints
from handmade.losses import cross_entropy, hinge_embedding_loss, huber_loss, mse_loss
from handmade.protocols import Array
from reference import distributed
from reference.twin import twin

ROWS, SLACK = 41, 10
rng = np.random.default_rng(0)
X, NUMBERS = rng.normal(size=(ROWS, 5)), rng.normal(size=(ROWS, 3))
LABELS, WEIGHTS = rng.integers(0, 3, ROWS), rng.random(ROWS)
IGNORED = np.where(rng.random(ROWS) < 0.4, 7, LABELS)
CLASSES = [0.2, 1.0, 3.0]


def own_loss(input: Array, target: Array) -> Any:
    """Return a mean of fourth powers: a user's own loss, without a reduction."""
    return ((input - target) ** 4).sum(axis=1).mean()


def own_loss_backward(input: Array, target: Array) -> Array:
    """Return the gradient of `own_loss`."""
    return 4 * (input - target) ** 3 / len(input)


def mlp(**options: Any) -> hm.Network:
    """Return a small network."""
    return hm.MLP([5, 8, 6, 3], **{"activation": "tanh", "rng": 0} | options)


def residual() -> hm.Network:
    """Return a network with a Residual that has BatchNorm and Dropout inside."""
    inner = [hm.Dense(8, 8, rng=1), hm.BatchNorm(8), hm.Activation("relu"), hm.Dropout(0.3, rng=2)]
    return hm.Network([hm.Dense(5, 8, rng=0), hm.Residual(inner), hm.Dense(8, 3, rng=3)])


def sigmoid() -> hm.Network:
    """Return a network that ends with probabilities."""
    return hm.Network([hm.Dense(5, 3, rng=0), hm.Activation("sigmoid")])


Case = tuple[Callable[[], hm.Network], Array, dict[str, Any]]
CASES: dict[str, Case] = {
    "labels": (mlp, LABELS, {}),
    "class weights of the loss": (mlp, LABELS, {"loss": functools.partial(cross_entropy, weight=CLASSES)}),
    "ignored labels": (mlp, IGNORED, {"loss": functools.partial(cross_entropy, ignore_index=7, weight=CLASSES)}),
    "smoothed labels": (mlp, LABELS, {"loss": functools.partial(cross_entropy, label_smoothing=0.2, weight=CLASSES)}),
    "ignored and weighted": (
        mlp, IGNORED, {"loss": functools.partial(cross_entropy, ignore_index=7), "sample_weight": WEIGHTS},
    ),
    "class weights of fit": (mlp, LABELS, {"class_weight": CLASSES}),
    "sample weights": (mlp, NUMBERS, {"loss": "mse_loss", "sample_weight": WEIGHTS}),
    "numbers": (mlp, NUMBERS, {"loss": functools.partial(huber_loss, delta=0.5)}),
    "a sum": (mlp, NUMBERS, {"loss": functools.partial(mse_loss, reduction="sum"), "optimizer": lambda: hm.SGD(0.001)}),
    "probabilities": (sigmoid, (NUMBERS > 0) * 1.0, {"loss": "binary_cross_entropy"}),
    "targets of one half": (mlp, np.full((ROWS, 3), 0.5), {"loss": "mse_loss"}),
    "a margin that no score exceeds": (
        mlp, np.full((ROWS, 3), -1.0), {"loss": functools.partial(hinge_embedding_loss, margin=0.2)},
    ),
    "a user's loss": (mlp, NUMBERS, {"loss": (own_loss, own_loss_backward), "optimizer": lambda: hm.SGD(0.01)}),
    "BatchNorm": (functools.partial(mlp, normalization="batch"), LABELS, {}),
    "LayerNorm, dropout": (functools.partial(mlp, normalization="layer", dropout=0.4), LABELS, {}),
    "composites": (residual, LABELS, {}),
    "float32": (functools.partial(mlp, normalization="batch", dropout=0.4, dtype="float32"), LABELS, {}),
    "validation, Adam": (
        mlp, LABELS, {"optimizer": hm.Adam, "validation": 0.2, "early_stopping": 2, "metrics": "accuracy"},
    ),
}  # fmt: skip


def train(
    fit: Callable[..., hm.History], case: Case, nudge: bool = False, **more: Any
) -> tuple[hm.Network, hm.History]:
    """Train a case; ``nudge`` moves each initial parameter by one ULP."""
    make, y, options = case
    network = make()
    if nudge:
        network.theta = np.nextafter(network.theta, np.inf)
    options = {
        "optimizer": lambda: hm.SGD(0.1, momentum=0.9),
        "epochs": 3,
        "batch_size": 9,
        "drop_last": False,
    } | options
    options["optimizer"] = options["optimizer"]()
    return network, fit(network, X.astype(network.dtype), y, rng=0, progress=False, **options | more)


def difference(case: Case) -> tuple[float, float]:
    """Return the distance of the parameters from those of one process, and its bound."""
    (network, history), (one, alone), (nudged, _) = (
        train(distributed.fit, case), train(hm.fit, case), train(hm.fit, case, nudge=True),
    )  # fmt: skip
    states = [np.concatenate([array.ravel() for array in n.state_dict().values()]) for n in (network, one, nudged)]
    bound = SLACK * float(np.linalg.norm(states[2] - states[1]))
    same = np.allclose(history.loss, alone.loss, rtol=1e3 * np.finfo(one.dtype).eps) and len(history) == len(alone)
    return float(np.linalg.norm(states[0] - states[1])) if same else np.inf, bound


# ---- refusals ------------------------------------------------------------------------------------------------------


class Mixer(hm.Layer):
    """A user's layer, in which a row of the output depends on all rows of the input."""

    def forward(self, X: Array, training: bool = False) -> tuple[Array, None]:
        return X - X.mean(axis=0), None

    def backward(self, dH: Array, cache: None, need_dX: bool = True) -> Array:
        return dH - dH.mean(axis=0)


def refusals(folder: Path) -> dict[str, str]:
    """Return the error for each argument that differs in process 1, or that no process can have."""
    other = dist.get_rank() == 1
    case, damaged = CASES["labels"], folder / "damaged"
    damaged.write_bytes(b"PK damaged")
    changed_X, changed_y = X.copy(), LABELS.copy()
    changed_X[3, 2] += other
    changed_y[3] = (changed_y[3] + other) % 3
    attempts: dict[str, Callable[[], Any]] = {
        "X": lambda: distributed.fit(mlp(), changed_X, LABELS, rng=0, batch_size=9),
        "y": lambda: distributed.fit(mlp(), X, changed_y, rng=0, batch_size=9),
        "seed": lambda: distributed.fit(mlp(), X, LABELS, rng=int(other), batch_size=9),
        "no seed": lambda: distributed.fit(mlp(), X, LABELS, batch_size=9),
        "weights": lambda: distributed.fit(mlp(rng=int(other)), X, LABELS, rng=0, batch_size=9),
        "dropout's seed": lambda: distributed.fit(_with_dropout(int(other)), X, LABELS, rng=0, batch_size=9),
        "optimizer": lambda: train(distributed.fit, case, optimizer=hm.Adam(0.1 + 0.1 * other)),
        "epochs": lambda: train(distributed.fit, case, epochs=1 + other),
        "compile": lambda: train(distributed.fit, case, compile=True),
        "batch": lambda: train(distributed.fit, case, batch_size=dist.get_world_size() - 1 or 1, validation=0.5),
        "rows": lambda: distributed.fit(hm.Network([Mixer(), hm.Dense(5, 3)]), X, LABELS, rng=0),
        "damaged": lambda: train(distributed.fit, case, checkpoint=damaged),
        "unwritable": lambda: train(distributed.fit, case, checkpoint=folder / "no folder" / "file"),
    }
    return {name: _error(attempt) for name, attempt in attempts.items()}


def _with_dropout(seed: int) -> hm.Network:
    return hm.Network([hm.Dense(5, 3, rng=0), hm.Dropout(0.5, rng=seed)])


def _error(attempt: Callable[[], Any]) -> str:
    try:
        attempt()
    except (ValueError, TypeError, OSError) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


# ---- signals and PyTorch -------------------------------------------------------------------------------------------


class Stop:
    """A callback that sends a signal to the last process alone, in the middle of the second epoch."""

    def __init__(self, number: int) -> None:
        self.number, self.steps = number, 0

    def __call__(self, network: hm.Network, history: hm.History) -> None:
        """Do nothing after an epoch."""

    def on_batch(self, network: hm.Network, loss: float) -> None:
        self.steps += 1
        if self.steps == 7 and dist.get_rank() == dist.get_world_size() - 1:
            os.kill(os.getpid(), self.number)


def interrupted(folder: Path) -> bool:
    """Return whether a signal to one process stops all, and going on gives the bits of a run without it."""
    case, path, stopped = CASES["composites"], folder / "interrupted", False

    def stop(*_: Any) -> None:
        raise InterruptedError

    before = signal.signal(signal.SIGTERM, stop)
    try:
        train(distributed.fit, case, checkpoint=path, callbacks=[Stop(signal.SIGTERM)])
    except InterruptedError:
        stopped = True
    signal.signal(signal.SIGTERM, before)
    network, history = train(distributed.fit, case, checkpoint=path)
    whole, expected = train(distributed.fit, case)
    return stopped and network.theta.tobytes() == whole.theta.tobytes() and history.loss == expected.loss


def epochs_until_a_callback_ends() -> int:
    """Return the number of epochs after which a callback of the last process alone has ended training."""
    last = dist.get_rank() == dist.get_world_size() - 1
    _, history = train(distributed.fit, CASES["labels"], callbacks=lambda network, history: last and len(history) == 2)
    return len(history)


def twin_difference() -> float:
    """Return the relative difference between the gradient and that of PyTorch's DistributedDataParallel."""
    size = ROWS - ROWS % dist.get_world_size()  # it weights the processes alike, which is right for parts of one size
    network = hm.MLP([5, 8, 3], rng=0)
    module = torch.nn.parallel.DistributedDataParallel(twin(network))
    keeper = distributed._SharedKeeper(None, 1)
    step = distributed.DistributedStep(keeper, network, "cross_entropy", hm.SGD(1e-9))
    own = step.part(size)
    step(X[:size][own], LABELS[:size])
    torch.nn.functional.cross_entropy(module(torch.tensor(X[:size][own])), torch.tensor(LABELS[:size][own])).backward()
    gradient = np.concatenate([parameter.grad.numpy().ravel() for parameter in module.parameters()])
    return float(np.linalg.norm(network.gradient - gradient) / np.linalg.norm(gradient))


def killed(folder: Path) -> dict[str, Any]:
    """Kill the last process in mid-training; in the processes that torchrun starts next, go on and compare the bits."""
    case, path, restarts = CASES["composites"], folder / "killed", int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    if restarts == 0:
        train(distributed.fit, case, checkpoint=path, callbacks=[Stop(signal.SIGKILL)])
    done = len(checkpoints.read(path)["state"]["history"]["loss"])
    dist.barrier()
    network, history = train(distributed.fit, case, checkpoint=path)
    whole, expected = train(distributed.fit, case)
    same = network.theta.tobytes() == whole.theta.tobytes() and history.loss == expected.loss
    return {"restarts": restarts, "done before": done, "same bits": same}


def compare(folder: Path) -> dict[str, Any]:
    """Return the results of all cases, refusals and signals, for process 0 to print."""
    return {
        "processes": dist.get_world_size(),
        "cases": {name: difference(case) for name, case in CASES.items()},
        "refusals": refusals(folder) if dist.get_world_size() > 1 else {},
        "interrupted": interrupted(folder),
        "ended": epochs_until_a_callback_ends(),
        "twin": twin_difference(),
    }


def main() -> None:
    """Run all cases, and print the results of process 0; with ``--kill FOLDER``, also kill a process and recover."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser()
    parser.add_argument("--kill", type=Path, metavar="FOLDER")
    kill = parser.parse_args().kill
    with distributed.group(timeout=300) as rank, tempfile.TemporaryDirectory() as name:
        folder = [Path(name)]
        dist.broadcast_object_list(folder)
        if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
            found = compare(folder[0])
            if rank == 0:
                print(json.dumps(found), flush=True)
        if kill:
            found = killed(kill)
            if rank == 0:
                print(json.dumps(found), flush=True)
        dist.barrier()


if __name__ == "__main__":
    main()
