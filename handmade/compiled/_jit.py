"""The decorators of the compiled code; with NUMBA_DISABLE_JIT=1 they leave functions as they are."""

from __future__ import annotations

from typing import Any

try:
    import numba
    import scipy.linalg.cython_blas  # noqa: F401  # Numba's np.dot calls it
except ImportError as error:
    raise ImportError(f"compile: expected numba and SciPy, got {error}; install them with handmade[fast]") from error

# Functions that only compiled functions call need no wrapper for Python, which takes as long to compile as they do.
OPTIONS: dict[str, Any] = dict(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
inlined = numba.njit(inline="always", **OPTIONS)
compiled = numba.njit(fastmath={"contract"}, **OPTIONS)  # a b + c may be rounded once
summed = numba.njit(fastmath={"contract", "reassoc"}, **OPTIONS)  # sums may be taken in any order
