"""Matrix products and updates by NumPy's own BLAS, so that compiled and NumPy code share one set of threads.

Numba's np.dot calls the BLAS of SciPy, a second library with threads of its own. Threads that wait for work spin, and
keep the cores busy: a product right after one by the other library takes up to three times as long.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
from typing import Any

import numpy as np
import numpy.typing as npt

from ._jit import call_c, compiled

__all__ = ["add_scaled", "dot", "function", "scale"]

Array = npt.NDArray[Any]

# OpenBLAS in NumPy's wheels, OpenBLAS elsewhere, Apple's Accelerate: the builds whose integers have 64 bits.
NAMES = "scipy_cblas_{}64_", "cblas_{}64_", "cblas_{}$NEWLAPACK$ILP64"
ROW_MAJOR, AS_IT_IS, TRANSPOSED = 101, 111, 112


@functools.cache
def function(name: str, dtype: npt.DTypeLike) -> int:
    """Return the address of a function in NumPy's BLAS, such as gemm, or 0 if it is not found."""
    name = {"float32": "s", "float64": "d"}[np.dtype(dtype).name] + name
    try:
        library = ctypes.CDLL(importlib.import_module("numpy._core._multiarray_umath").__file__)
    except (ImportError, OSError):
        return 0
    for pattern in NAMES:
        if found := getattr(library, pattern.format(name), None):
            return ctypes.cast(found, ctypes.c_void_p).value or 0
    return 0


@compiled
def by_numpy(gemm: int, A: Array, B: Array, C: Array) -> None:
    """Set C, shape (M, N), to A B, shapes (M, K) and (K, N); A and B may be transposed views.

    ``gemm`` is the address of the function.
    """
    (M, K), N, size = A.shape, B.shape[1], C.itemsize
    a = A.strides[1] == size
    b = B.strides[1] == size
    call_c(gemm, (
        np.int32(ROW_MAJOR), np.int32(AS_IT_IS if a else TRANSPOSED), np.int32(AS_IT_IS if b else TRANSPOSED),
        M, N, K,
        C.dtype.type(1), A.ctypes.data, max(A.strides[0] // size, K) if a else max(A.strides[1] // size, M),
        B.ctypes.data, max(B.strides[0] // size, N) if b else max(B.strides[1] // size, K),
        C.dtype.type(0), C.ctypes.data, N,
    ))  # fmt: skip


@compiled
def scale(scal: int, factor: Any, x: Array) -> None:
    """Multiply the vector x by a factor, in place; ``scal`` is the address of the function."""
    call_c(scal, (x.size, x.dtype.type(factor), x.ctypes.data, np.int64(1)))


@compiled
def add_scaled(axpy: int, factor: Any, x: Array, y: Array) -> None:
    """Add factor x to the vector y, in place; ``axpy`` is the address of the function."""
    call_c(axpy, (x.size, x.dtype.type(factor), x.ctypes.data, np.int64(1), y.ctypes.data, np.int64(1)))


@compiled
def by_numba(gemm: int, A: Array, B: Array, C: Array) -> None:
    """Set C = A B by SciPy's BLAS."""
    np.dot(A, B, C)


dot = by_numpy if function("gemm", np.float64) else by_numba
if dot is by_numba and importlib.util.find_spec("scipy") is None:
    raise ImportError("compile: expected SciPy because NumPy's BLAS is not callable, got none; install handmade[fast]")
