"""The time of training steps in two checkouts of this project, measured in turns: the effect of a change.

    python -m benchmarks.speed.versions OLD NEW            # two folders with checkouts
    git worktree add ../before HEAD~1 && python -m benchmarks.speed.versions ../before .

Each checkout runs in its own process, with one BLAS thread, and measures processor time, because other programs on the
machine disturb it least. The ratio of a case is the median over the rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys

CASES = (
    ("3-4-2", 1, "SGD"),
    ("3-4-2", 32, "SGD"),
    ("64-32-10", 32, "SGD"),
    ("64-100-10", 32, "SGD"),
    ("784-128-10", 64, "SGD"),
    ("784-300-100-10", 128, "Adam"),
    ("784-800-800-10", 128, "SGD"),
    ("784-1024-1024-1024-10", 256, "SGD"),
)

SERVER = """
import sys, time
import numpy as np
import handmade as hm
for line in sys.stdin:
    sizes, batch, name = line.split()
    sizes, batch, rng = [int(size) for size in sizes.split("-")], int(batch), np.random.default_rng(0)
    network = hm.MLP(sizes, rng=0, dtype=np.float32)
    X, y = rng.normal(size=(batch, sizes[0])).astype(np.float32), rng.integers(0, sizes[-1], batch)
    optimizer, steps = getattr(hm, name)(lr=0.001), 0
    for _ in range(5):
        optimizer.step(network.theta, network.loss_and_gradient(X, y)[1])
    start = time.process_time()
    while time.process_time() - start < 0.25:
        optimizer.step(network.theta, network.loss_and_gradient(X, y)[1])
        steps += 1
    print((time.process_time() - start) / steps, flush=True)
"""


def serve(folder: str) -> subprocess.Popen[str]:
    """Start a process that imports the checkout in a folder and times the cases that it reads."""
    environment = os.environ | {"PYTHONPATH": os.path.abspath(folder), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SERVER]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=environment, stdin=pipe, stdout=pipe, text=True)


def seconds(process: subprocess.Popen[str], case: tuple[str, int, str]) -> float:
    """Return the processor seconds of one step of a case."""
    assert process.stdin is not None and process.stdout is not None
    print(*case, file=process.stdin, flush=True)
    return float(process.stdout.readline())


def main() -> None:
    """Print, for each case, the times of a step in both checkouts and their ratio."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.versions", description=__doc__)
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    old, new = serve(options.old), serve(options.new)
    print(f"{'step':<36} {'old, us':>9} {'new, us':>9} {'new / old':>9}")
    for case in CASES:
        times = [(seconds(old, case), seconds(new, case)) for _ in range(options.rounds)]
        before, after = (statistics.median(column) * 1e6 for column in zip(*times, strict=True))
        ratio = statistics.median(b / a for a, b in times)
        print(f"{' '.join(map(str, case)):<36} {before:>9.1f} {after:>9.1f} {ratio:>9.2f}", flush=True)


if __name__ == "__main__":
    main()
