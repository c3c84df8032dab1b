"""Show what the library computes with: NumPy, the kernel and threads of its BLAS, and the processor."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import numpy as np

from ._version import __version__

__all__ = ["show_config"]

# OpenBLAS chooses its kernel by the model of the processor. For a model that it does not know it takes one without
# AVX-512, which has half to two thirds of the speed.
WITH_AVX512 = ("skylakex", "cooperlake", "sapphirerapids")
BETTER = "SkylakeX"

# The variable that sets the number of threads, by a part of the name of the BLAS.
THREADS = {
    "openblas": "OPENBLAS_NUM_THREADS",
    "mkl": "MKL_NUM_THREADS",
    "blis": "BLIS_NUM_THREADS",
    "accelerate": "VECLIB_MAXIMUM_THREADS",
}


def show_config(mode: str = "stdout") -> dict[str, Any] | None:
    """Print the versions, the BLAS, its kernel and threads, and what would make them faster.

    Kernel and threads are known if threadpoolctl is installed (``pip install handmade[threads]``). Without it, the
    number of threads is read from the environment variable of the BLAS, if it is set. `handmade` changes neither: BLAS
    reads the environment when NumPy is imported, and settings of a process are its user's choice.

    Parameters
    ----------
    mode : {"stdout", "dicts"}
        Print, or return a dictionary, as in `numpy.show_config`.

    Returns
    -------
    dict or None
        The values by name, for ``mode="dicts"``. ``"kernel"`` and ``"threads"`` are None if unknown, and
        ``"better kernel"`` is None if there is none.

    Raises
    ------
    ValueError
        If ``mode`` is neither of the two.

    Examples
    --------
    >>> list(hm.show_config(mode="dicts"))
    ['handmade', 'Python', 'NumPy', 'BLAS', 'kernel', 'threads', 'processor', 'cores', 'better kernel']
    """
    if not isinstance(mode, str) or mode not in ("stdout", "dicts"):
        raise ValueError(f"mode: expected 'stdout' or 'dicts', got {mode!r}")
    build = np.show_config(mode="dicts")
    blas = build.get("Build Dependencies", {}).get("blas", {})
    name = blas.get("name") or "unknown"
    variable = next((variable for part, variable in THREADS.items() if part in name.lower()), "OMP_NUM_THREADS")
    kernel, threads = kernel_and_threads(variable)
    config = {
        "handmade": __version__,
        "Python": platform.python_version(),
        "NumPy": np.__version__,
        "BLAS": f"{name} {blas.get('version') or ''}".strip(),
        "kernel": kernel,
        "threads": threads,
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "better kernel": better_kernel(kernel, build.get("SIMD Extensions", {}).get("found", [])),
    }
    if mode == "dicts":
        return config
    _print(config, variable)
    return None


def _print(config: dict[str, Any], variable: str) -> None:
    """Print the values that are known, and advice where there is some."""
    for name, value in config.items():
        if name != "better kernel":
            print(f"{name:<10} {'unknown' if value is None else value}")
    if config["threads"] != 1:
        print(f"Where several processes run at once, their threads compete for the cores. Before each starts:\n"
              f"    export {variable}=1")  # fmt: skip
    if config["better kernel"]:
        print(f"This processor has AVX-512, which the kernel does not use. Before Python starts:\n"
              f"    export OPENBLAS_CORETYPE={config['better kernel']}")  # fmt: skip


def better_kernel(kernel: str | None, features: list[str]) -> str | None:
    """Return the kernel to ask OpenBLAS for, or None, given the one in use and NumPy's names of processor features.

    Examples
    --------
    >>> hm.configuration.better_kernel("Haswell", ["X86_V3", "X86_V4"])
    'SkylakeX'
    >>> hm.configuration.better_kernel("Haswell", ["X86_V3"]) is None
    True
    """
    avx512 = any(name == "X86_V4" or name.startswith("AVX512_SKX") for name in features)
    return BETTER if avx512 and kernel and kernel.lower() not in WITH_AVX512 else None


def kernel_and_threads(variable: str) -> tuple[str | None, int | None]:
    """Return kernel and threads of NumPy's BLAS, as threadpoolctl says; without it the threads that a variable sets."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        value = os.environ.get(variable) or os.environ.get("OMP_NUM_THREADS") or ""
        return None, int(value) if value.isdecimal() else None
    pools = [pool for pool in threadpool_info() if pool.get("user_api") == "blas"]
    # SciPy and PyTorch may have loaded another BLAS.
    pools.sort(key=lambda pool: "numpy" not in str(pool.get("filepath", "")))
    return (pools[0].get("architecture"), pools[0].get("num_threads")) if pools else (None, None)


def _processor() -> str:
    """Return the processor's name, as Linux has it, or else Python."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
