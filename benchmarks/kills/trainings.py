"""Trainings that are killed at random moments and resumed, and counts of lost checkpoints and different results."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import handmade as hm
from handmade import checkpoints

__all__ = ["Report", "kill_and_resume", "train"]

EPOCHS, LONGEST = 60, 0.3  # the most seconds from the first step to the kill


@dataclasses.dataclass
class Report:
    """The counts of a series of kills.

    Attributes
    ----------
    kills : int
        The number of killed processes.
    before_first : int
        The number of those that had not yet written a checkpoint.
    unreadable : int
        The number of kills after which the checkpoint was unreadable, or was gone.
    runs, different : int
        The number of trainings that ended, and of those that ended with other bits.
    """

    kills: int = 0
    before_first: int = 0
    unreadable: int = 0
    runs: int = 0
    different: int = 0

    def __str__(self) -> str:
        return (
            f"{self.kills} kills ({self.before_first} before the first checkpoint), {self.unreadable} checkpoints lost "
            f"or unreadable; {self.runs} trainings ended, {self.different} with other bits"
        )


def train(path: Path | None) -> str:
    """Train a small network, with a checkpoint after every step; return a checksum of the results."""
    X, y = hm.load_digits()
    network = hm.MLP([64, 16, 10], normalization="batch", dropout=0.2, rng=0)
    optimizer, average = hm.Adam(lr=0.01), hm.AveragedModel(decay=0.9)
    history = hm.fit(
        network, X[:100], y[:100], optimizer=optimizer, schedule=hm.ExponentialLR(optimizer, 0.99), epochs=EPOCHS,
        batch_size=16, validation=0.2, early_stopping=EPOCHS, callbacks=[_announce, average], rng=0, progress=False,
        checkpoint=path, checkpoint_every=datetime.timedelta(0),
    )  # fmt: skip
    numbers = [*network.state_dict().values(), average.network.theta, optimizer.exp_avg, optimizer.exp_avg_sq]  # type: ignore[union-attr]
    numbers += [np.array(history.loss), np.array(history.validation_loss)]
    return hashlib.sha256(b"".join(array.tobytes() for array in numbers)).hexdigest()


class _Announcement:
    """A callback that prints a line after the first step, once."""

    done = False

    def __call__(self, network: hm.Network, history: hm.History) -> None:
        """Do nothing after an epoch."""

    def on_batch(self, network: hm.Network, loss: float) -> None:
        if not self.done:
            self.done = True
            print("training", flush=True)


_announce = _Announcement()


def kill_and_resume(kills: int, seed: int, folder: Path) -> Report:
    """Kill ``kills`` processes at random moments, and return the counts.

    Parameters
    ----------
    kills : int
        The number of processes to kill.
    seed : int
        Draws the moments.
    folder : Path
        The folder for the checkpoint.
    """
    rng, report, path = random.Random(seed), Report(), folder / "killed.ckpt"
    expected = _finish(None)
    while report.kills < kills:
        had = path.exists()
        status, output = _kill(path, rng.uniform(0, LONGEST))
        if status == 0:
            report.runs += 1
            report.different += output != expected
            path.unlink()
            continue
        report.kills += 1
        report.before_first += not (had or path.exists())
        report.unreadable += not _is_readable(path, had)
    report.runs += 1
    report.different += _finish(path) != expected
    return report


def _command(path: Path | None) -> list[str]:
    return [sys.executable, "-m", "benchmarks.kills", "--train", "" if path is None else str(path)]


def _kill(path: Path, delay: float) -> tuple[int, str]:
    """Train, and kill the process ``delay`` seconds after its first step; return its status and last line."""
    with subprocess.Popen(_command(path), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()  # of the first step; or of the end, if all epochs were done before
        time.sleep(delay)
        process.kill()
        rest = process.stdout.read()
    if process.returncode > 0 or not first:
        raise RuntimeError(f"expected a training that is killed or ends, got status {process.returncode}")
    return process.returncode, (first + rest).splitlines()[-1]


def _finish(path: Path | None) -> str:
    """Train to the end; return the last line, which is the checksum."""
    done = subprocess.run(_command(path), stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()[-1]


def _is_readable(path: Path, had: bool) -> bool:
    """Return whether the checkpoint can be read; if there is none, whether there was none before (``had``)."""
    if not path.exists():
        return not had
    try:
        checkpoints.read(path)
    except ValueError:
        return False
    return True
