"""The decorators of the compiled code; with NUMBA_DISABLE_JIT=1 they leave functions as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

try:
    import numba
    import scipy.linalg.cython_blas  # noqa: F401  # Numba's np.dot calls it
except ImportError as error:
    raise ImportError(f"compile: expected numba and SciPy, got {error}; install them with handmade[fast]") from error

F = TypeVar("F", bound=Callable[..., Any])


class Decorator(Protocol):
    """A decorator whose functions are called as they are written: Numba has no types."""

    def __call__(self, function: F, /) -> F: ...


# Functions that only compiled functions call need no wrapper for Python, which takes as long to compile as they do.
OPTIONS: dict[str, Any] = dict(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
inlined: Decorator = numba.njit(inline="always", **OPTIONS)
compiled: Decorator = numba.njit(fastmath={"contract"}, **OPTIONS)  # a b + c may be rounded once
summed: Decorator = numba.njit(fastmath={"contract", "reassoc"}, **OPTIONS)  # sums may be taken in any order
