"""Times of steps: measured with one and two processes, projected to more machines from compute and message sizes.

The projection is for a constant part per machine (weak scaling). A step takes the computation of one part and a ring
all-reduce, in which each of W machines sends 2 (W - 1) messages of 1 / W of the gradient, each with the latency.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

import handmade as hm
from reference import distributed

from .processes import run

__all__ = ["efficiency", "scaling"]

SIZES = {"784-100-10": [784, 100, 10], "784-800-800-10": [784, 800, 800, 10]}
ROWS = (128, 1024)  # of each process
MACHINES = (2, 4, 8, 16, 32, 64)
GBIT = (10, 100)
LATENCY = 30e-6  # seconds of a small message between two machines of one rack, by TCP
REPEATS = 25


def efficiency(compute: float, message: int, machines: int, gbit: float) -> float:
    """Return the fraction of a step's time that is computation.

    Parameters
    ----------
    compute : float
        Seconds of the forward pass, the backward pass and the update of one part.
    message : int
        Bytes of the gradient.
    machines : int
        The number of machines.
    gbit : float
        The network bandwidth of each machine, in Gbit/s.

    Examples
    --------
    >>> round(efficiency(0.01, 5_000_000, 2, 10.0), 2)
    0.71
    """
    ring = 2 * (machines - 1) * (LATENCY + 8 * message / machines / (gbit * 1e9))
    return compute / (compute + ring)


def measure() -> dict[str, Any]:
    """Return wall-clock and processor seconds of a step in a group of processes, by network and rows."""
    found: dict[str, Any] = {}
    for name, sizes in SIZES.items():
        network = hm.MLP(sizes, rng=0, dtype="float32")
        step = distributed.DistributedStep(distributed._SharedKeeper(None, 1), network, "cross_entropy", hm.SGD(0.01))
        for rows in ROWS:
            X, size = np.random.default_rng(0).random((rows, sizes[0]), np.float32), rows * dist.get_world_size()
            y, times = np.arange(size) % 10, []
            for _ in range(REPEATS):
                dist.barrier()
                start = time.perf_counter(), time.process_time()
                step(X, y)
                times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
            found[f"{name}, {rows} rows"] = np.min(times, axis=0).tolist()
    return found


def scaling() -> str:
    """Return tables of the measured times and the projected efficiencies, in Markdown."""
    one, two = (run(processes, "benchmarks.distributed.scaling") for processes in (1, 2))
    lines = ["| network, rows of each process | one process | two processes | samples/s of two |", "|---|---|---|---|"]
    for name, (seconds, _) in one.items():
        both = two[name][0]
        lines.append(f"| {name} | {seconds * 1e3:.2f} ms | {both * 1e3:.2f} ms | {2 * seconds / both:.2f} x |")
    lines += ["", f"| network, rows of each machine | message | Gbit/s | {' | '.join(map(str, MACHINES))} machines |"]
    lines += ["|---" * (3 + len(MACHINES)) + "|"]
    for name, (_, seconds) in one.items():
        message = 4 * hm.MLP(SIZES[name.partition(",")[0]]).parameter_count
        for gbit in GBIT:
            shares = [f"{efficiency(seconds, message, machines, gbit):.0%}" for machines in MACHINES]
            lines.append(f"| {name} | {message / 1e6:.2f} MB | {gbit} | {' | '.join(shares)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the measurements of process 0."""
    torch.set_num_threads(1)
    with distributed.group() as rank:
        found = measure()
        if rank == 0:
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    sys.exit(main())
