"""Workers killed at random moments: the others resume from the checkpoint, to the bits of a run with that history."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.distributed as dist

__all__ = ["Report", "kill_and_recover"]

EPOCHS, PATIENCE = 120, 240.0  # epochs of a training; seconds to wait for any event


@dataclasses.dataclass
class Report:
    """The counts of a series of kills.

    Attributes
    ----------
    kills, recoveries : int
        The number of killed workers, and how often the others resumed from the checkpoint.
    noticed, seconds : list of float
        Seconds from each kill until the others had noticed it, and until they trained again, in new processes that
        had imported PyTorch.
    runs, different : int
        The number of trainings that ended, and of those with other bits than a run with the same history.
    """

    kills: int = 0
    recoveries: int = 0
    noticed: list[float] = dataclasses.field(default_factory=list)
    seconds: list[float] = dataclasses.field(default_factory=list)
    runs: int = 0
    different: int = 0

    def __str__(self) -> str:
        return (
            f"{self.kills} workers killed, {self.recoveries} recoveries; noticed within {max(self.noticed):.1f} s, "
            f"training again after {statistics.median(self.seconds):.0f} s (median; at most {max(self.seconds):.0f}); "
            f"{self.runs} trainings ended, {self.different} with other bits"
        )


def kill_and_recover(kills: int, nodes: int, seed: int, folder: Path) -> Report:
    """Kill workers in one training after the other, in each until one worker is left.

    Parameters
    ----------
    kills : int
        The number of workers to kill.
    nodes : int
        The number of workers at the start of a training, each with its own torchrun, as on separate machines.
    seed : int
        Draws the moments and the workers.
    folder : Path
        The folder for checkpoints and logs.
    """
    rng, report = random.Random(seed), Report()
    while report.kills < kills:
        place = folder / f"{report.runs}"
        place.mkdir()
        _one_training(min(nodes - 1, kills - report.kills), nodes, rng, place, report)
    return report


def _one_training(kills: int, nodes: int, rng: random.Random, folder: Path, report: Report) -> None:
    """Start the workers, kill some of them, and compare the result with a run with the same history."""
    log = folder / "log"
    store = dist.TCPStore(
        "127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=datetime.timedelta(seconds=60)
    )
    agents = [_agent(store.port, nodes, folder) for _ in range(nodes)]
    try:
        for left in range(nodes, nodes - kills, -1):
            workers = _wait(lambda left=left: _started(log, left))
            time.sleep(rng.uniform(0, 1.5))
            victim = rng.randrange(left)
            before = time.time()
            _kill_node(agents, workers[victim]["pid"])
            report.kills += 1
            again = _wait(lambda left=left: _started(log, left - 1))
            report.recoveries += 1
            report.seconds.append(max(line["time"] for line in again) - before)
            lost = [line["time"] for line in _lines(log) if line["event"] == "lost" and line["time"] > before]
            report.noticed.append(max(lost) - before)
        end = _wait(lambda: [line for line in _lines(log) if line["event"] == "end"])[0]
    finally:
        for agent in agents:
            agent.terminate()
            agent.wait()
    report.runs += 1
    report.different += end["checksum"] != _replay(log, folder)


def _agent(port: int, nodes: int, folder: Path) -> subprocess.Popen[bytes]:
    """Start the torchrun of one node, with a worker."""
    conf = "is_host=0,last_call_timeout=5,keep_alive_interval=1,keep_alive_max_attempt=4"
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nnodes", f"1:{nodes}", "--nproc-per-node", "1"),
        *("--max-restarts", "9", "--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}"),
        *("--rdzv-id", "kills", "--rdzv-conf", conf, "--local-addr", "127.0.0.1"),
        *("-m", "benchmarks.distributed.training", str(folder / "checkpoint"), str(folder / "log"), str(EPOCHS)),
    ]
    # With a shared store, PyTorch 2.13 hangs if a node joins late, or if the first node is lost.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    with open(folder / "output", "ab") as output:
        return subprocess.Popen(command, stdout=output, stderr=output, env=environment)


def _kill_node(agents: list[subprocess.Popen[bytes]], worker: int) -> None:
    """Kill a worker and its torchrun, to simulate the loss of a machine."""
    parent = int(Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[1])
    (agent,) = (agent for agent in agents if agent.pid == parent)
    agent.send_signal(signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)
    agent.wait()


def _lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def _started(log: Path, processes: int) -> list[dict[str, Any]]:
    """Return the last ``processes`` start events if all are of a group of that size, else an empty list."""
    starts = [line for line in _lines(log) if line["event"] == "start"][-processes:]
    return starts if [line["processes"] for line in starts] == [processes] * processes else []


def _wait(condition: Callable[[], Any]) -> Any:
    """Return the result of the condition as soon as it is true; raise TimeoutError after PATIENCE seconds."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.05)
    raise TimeoutError(f"expected all workers to go on within {PATIENCE:g} s")


def _replay(log: Path, folder: Path) -> str:
    """Train without kills, for the epochs and with the numbers of processes in the log; return the last checksum."""
    starts = [line for line in _lines(log) if line["event"] == "start" and line["rank"] == 0]
    ends = [*(line["done"] for line in starts[1:]), EPOCHS]
    again = folder / "log of the replay"
    for start, end in zip(starts, ends, strict=True):
        if end == start["done"]:  # killed before it wrote a checkpoint
            continue
        command = [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(start["processes"])),
            *("-m", "benchmarks.distributed.training", str(folder / "replayed"), str(again), str(end)),
        ]
        subprocess.run(command, check=True, capture_output=True)
    checksum: str = [line for line in _lines(again) if line["event"] == "end"][-1]["checksum"]
    return checksum
