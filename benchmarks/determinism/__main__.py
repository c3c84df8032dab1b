"""``python -m benchmarks.determinism``: compare the bits of one training for several kernels and numbers of threads."""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from handmade.progress import progress_bar

ROOT = Path(__file__).parents[2]
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}

# Environment variables of the process, by name of the setting. The other settings are compared with the first one.
# Variables of OpenBLAS have no effect on another BLAS.
SETTINGS: dict[str, dict[str, str]] = {
    "one thread": ONE_THREAD,
    "one thread, again": ONE_THREAD,
    "one thread, another hash seed": ONE_THREAD | {"PYTHONHASHSEED": "1"},
    "two threads": {"OPENBLAS_NUM_THREADS": "2"},
    "two threads, again": {"OPENBLAS_NUM_THREADS": "2"},
    "kernel Haswell": ONE_THREAD | {"OPENBLAS_CORETYPE": "Haswell"},
    "kernel Nehalem": ONE_THREAD | {"OPENBLAS_CORETYPE": "Nehalem"},
    "compiled": ONE_THREAD,
    "compiled, again": ONE_THREAD,
}
# Settings that must give the same bits as another setting.
REPEATED = {
    "one thread, again": "one thread",
    "one thread, another hash seed": "one thread",
    "compiled, again": "compiled",
}


def main(arguments: list[str] | None = None) -> int:
    """Train with each setting, print a table, and return the exit status: 0 if repetitions give equal bits, else 1.

    The compiled training is left out if Numba is not installed.
    """
    argparse.ArgumentParser(
        prog="python -m benchmarks.determinism",
        description="Compare the bits of one training under several settings of BLAS.",
    ).parse_args(arguments)
    table = Table(box=None, padding=(0, 1))
    for title in ("setting", "dtype", "same bits", "entries that differ", "relative difference"):
        table.add_column(title, no_wrap=True)
    names = [name for name in SETTINGS if not name.startswith("compiled") or importlib.util.find_spec("numba")]
    work = [(dtype, name) for dtype in ("float32", "float64") for name in names]
    found: dict[str, npt.NDArray[Any]] = {}
    failed = []
    with progress_bar("training", len(work)) as report:
        for done, (dtype, name) in enumerate(work, start=1):
            mode = "compiled" if name.startswith("compiled") else "numpy"
            theta = found[name] = train_in_process(dtype, mode, SETTINGS[name])
            first = found[next(iter(SETTINGS))]
            same = theta.tobytes() == first.tobytes()
            if name in REPEATED and theta.tobytes() != found[REPEATED[name]].tobytes():
                failed.append(f"{name}, {dtype}: expected the bits of {REPEATED[name]!r}")
            difference = np.linalg.norm(theta - first) / np.linalg.norm(first)
            share = f"{np.mean(theta != first):.1%}"
            table.add_row(name, dtype, "yes" if same else "no", share, f"{difference:.1e}")
            report(done, f"{name}, {dtype}")
    Console(width=1000, highlight=False).print(table)
    for name in failed:
        print(f"FAILED: {name}")
    return 1 if failed else 0


def train_in_process(dtype: str, mode: str, environment: dict[str, str]) -> npt.NDArray[Any]:
    """Return the parameters after a training in a new process with these environment variables."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "theta.npy"
        command = [sys.executable, "-m", "benchmarks.determinism.training", str(file), dtype, mode]
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        subprocess.run(command, check=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": path} | environment)
        theta: npt.NDArray[Any] = np.load(file)
        return theta


if __name__ == "__main__":
    sys.exit(main())
