"""On what the arithmetic runs: NumPy, its BLAS and the kernel in use, and whether the processor could do better."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["show_config"]

# OpenBLAS chooses its kernel by the model of the processor, and takes one without AVX-512 for a model that it does not
# know: half to two thirds of the speed.
WITH_AVX512 = ("skylakex", "cooperlake", "sapphirerapids")
BETTER = "SkylakeX"


def show_config(mode: str = "stdout") -> dict[str, Any] | None:
    """Print the versions, the BLAS library, its kernel and threads; and, where there is a better kernel, how to get it.

    `handmade` changes none of these: BLAS reads its environment when NumPy is imported, and a process belongs to
    whoever started it.

    Parameters
    ----------
    mode : {"stdout", "dicts"}
        Print, or return a dictionary, as in `numpy.show_config`.

    Returns
    -------
    dict or None
        The values by name; ``"kernel"`` and ``"threads"`` are None where BLAS does not tell, ``"better kernel"`` is
        None where none is known.

    Raises
    ------
    ValueError
        If ``mode`` is something else.

    Examples
    --------
    >>> list(show_config(mode="dicts"))
    ['handmade', 'Python', 'NumPy', 'BLAS', 'kernel', 'threads', 'processor', 'cores', 'better kernel']
    """
    if mode not in ("stdout", "dicts"):
        raise ValueError(f"mode: expected 'stdout' or 'dicts', got {mode!r}")
    from . import __version__

    build = np.show_config(mode="dicts")
    blas = build.get("Build Dependencies", {}).get("blas", {})
    name = blas.get("name") or "unknown"
    kernel, threads = kernel_and_threads() if "openblas" in name else (None, None)
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
    for name, value in config.items():
        if name != "better kernel":
            print(f"{name:<10} {'unknown' if value is None else value}")
    if config["better kernel"]:
        print(f"This processor has AVX-512, which the kernel does not use. Before Python starts:\n"
              f"    export OPENBLAS_CORETYPE={config['better kernel']}")  # fmt: skip
    return None


def better_kernel(kernel: str | None, features: list[str]) -> str | None:
    """The kernel to ask OpenBLAS for, given the one in use and NumPy's names of what the processor can do.

    Examples
    --------
    >>> better_kernel("Haswell", ["X86_V3", "X86_V4"])
    'SkylakeX'
    >>> better_kernel("Haswell", ["X86_V3"]) is better_kernel("SkylakeX", ["X86_V4"]) is None
    True
    """
    avx512 = any(name == "X86_V4" or name.startswith("AVX512_SKX") for name in features)
    return BETTER if avx512 and kernel and kernel.lower() not in WITH_AVX512 else None


def kernel_and_threads() -> tuple[str | None, int | None]:
    """What the OpenBLAS that this process has loaded says of itself; None and None where there is none."""
    for path in _libraries():
        try:
            library = ctypes.CDLL(str(path))
        except OSError:
            continue
        for prefix, suffix in ("scipy_", "64_"), ("scipy_", ""), ("", "64_"), ("", ""):
            name = getattr(library, f"{prefix}openblas_get_corename{suffix}", None)
            count = getattr(library, f"{prefix}openblas_get_num_threads{suffix}", None)
            if name and count:
                name.restype = ctypes.c_char_p
                return name().decode(), count()
    return None, None


def _libraries() -> list[Path]:
    """Where an OpenBLAS that this process has loaded may be: beside NumPy, and wherever the process says."""
    package = Path(np.__file__).parent
    folders = package.parent / "numpy.libs", package / ".dylibs"
    found = [path for folder in folders for path in folder.glob("*openblas*")]
    maps = Path("/proc/self/maps")
    if maps.exists():
        mapped = [line.split(maxsplit=5)[-1] for line in maps.read_text().splitlines() if "openblas" in line]
        found += map(Path, dict.fromkeys(mapped))
    return found


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def restart_with_better_kernel() -> None:
    """Start this command again with the better kernel, if there is one and nobody has chosen: for commands alone."""
    kernel = show_config(mode="dicts")["better kernel"]
    if kernel and "OPENBLAS_CORETYPE" not in os.environ:
        os.execve(sys.executable, sys.orig_argv, os.environ | {"OPENBLAS_CORETYPE": kernel})
