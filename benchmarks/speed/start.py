"""The time from the start of a program to the end of its first training step: import, compilation, step."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from .memory import ROOT, TRAIN, run_python
from .sides import COMPILED

__all__ = ["NUMBA_ALONE", "START", "call_overhead", "first_steps"]

ROUNDS = 3
TORCH = TRAIN["torch"].replace("for _ in range(5)", "for _ in range(1)")
NUMBA_ALONE = "Numba alone"
# Numba's own start, before it loads any compiled function: its imports, and its tables of functions.
NUMBA = """
import numba
from numba.core.registry import cpu_target
cpu_target.typing_context.refresh()
cpu_target.target_context.refresh()
"""
# The program of each side, and the environment variable that names its cache folder of compiled code, if it has one.
START: dict[str, tuple[str, str | None]] = {
    "handmade": (TRAIN["handmade"], None),
    COMPILED: (TRAIN[COMPILED], "NUMBA_CACHE_DIR"),
    NUMBA_ALONE: (NUMBA, None),
    "torch": (TORCH, None),
    "torch.compile": (
        TORCH.replace("optimizer =", "module = torch.compile(module, dynamic=False)\noptimizer ="),
        "TORCHINDUCTOR_CACHE_DIR",
    ),
    "JAX": (TRAIN["JAX"], "JAX_COMPILATION_CACHE_DIR"),
}


def first_steps(sides: list[str], sizes: tuple[int, ...], batch: int, rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Return the seconds that a new process takes from its start to the end of its first step.

    Parameters
    ----------
    sides : list of str
        Names of `START`.
    sizes, batch
        Those of the network and its one batch.
    rounds : int
        The number of measurements of each side, in turns.

    Returns
    -------
    dict of str to list of float
        The times by name of the side; those with compiled code on disk by the name with ", cached".
    """
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        for side in sides:
            code, variable = START[side]
            program = f"sizes, N = {list(sizes)}, {batch}\n{code.replace('range(5)', 'range(1)')}"
            with tempfile.TemporaryDirectory() as folder:
                environment = {} if variable is None else {variable: folder} | JAX_KEEPS_ALL
                found.setdefault(side, []).append(_seconds(program, environment))
                if variable:
                    found.setdefault(f"{side}, cached", []).append(_seconds(program, environment))
    return found


# By default, JAX caches only functions that took a second to compile.
JAX_KEEPS_ALL = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}


def _seconds(program: str, environment: Mapping[str, str]) -> float:
    """Return the seconds that a new Python takes for a program; raise RuntimeError if it fails."""
    usual = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=Path(ROOT), env=usual | environment
    )
    if run.returncode:
        raise RuntimeError(f"a measurement failed:\n{run.stderr[-2000:]}")
    return time.perf_counter() - started


CALL = """
import time
import numba, numpy as np, handmade as hm
from handmade.compiled import kernels
X, y = np.ones((1, 3), np.float32), np.zeros(1, int)
step = hm.compile(hm.MLP([3, 4, 2], "tanh", dtype=np.float32, rng=0), optimizer=hm.SGD(lr=1e-3))
empty = numba.njit(kernels.signatures(X.dtype)["train with labels"])(lambda X, y, program, update: 0.0)
program = np.zeros((1, 1), np.int64)
arguments = X, y, program, 0
def seconds(f, arguments, count=20000):
    rounds = []
    for _ in range(15):
        started = time.perf_counter()
        for _ in range(count):
            f(*arguments)
        rounds.append((time.perf_counter() - started) / count)
    return sorted(rounds)[len(rounds) // 2]
seconds(step, (X, y), 1000)
print(seconds(step, (X, y)), seconds(empty, arguments))
"""


def call_overhead() -> dict[str, float]:
    """Return the seconds of a compiled step of 3-4-2 with one sample, and of a compiled function that does nothing."""
    step, empty = map(float, run_python(CALL).split())
    return {"step": step, "empty": empty}
