"""Long vectors: where they begin in memory, and how they are cut into the blocks of which they consist."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from ._types import Array

__all__ = ["cut", "empty"]

PAGE, APART = 4096, 832  # bytes: of whole cache lines of 64


def empty(size: int, dtype: npt.DTypeLike, place: int) -> Array:
    """Return a vector of undefined numbers that begins with a cache line, and in a page away from others.

    The system gives memory for long arrays from 16 bytes after the start of a page on. Then a vector register is read
    from two cache lines, and what is written to one array looks like what is read from the next, to a processor that
    compares the addresses within a page. Both slow an update down.

    Parameters
    ----------
    size : int
        How many numbers.
    dtype : dtype
        Of the numbers.
    place : int
        0 for theta, 1 for its gradient, and a number of its own for each array that is read and written with them.
    """
    size *= np.dtype(dtype).itemsize
    memory = np.empty(PAGE + size, np.uint8)
    start = (APART * place - memory.ctypes.data) % PAGE
    return memory[start : start + size].view(dtype)


def cut(vector: Array, shapes: Iterable[tuple[int, ...]]) -> list[Array]:
    """Return views of the vector, one after another, in these shapes."""
    views, start = [], 0
    for shape in shapes:
        size = math.prod(shape)
        views.append(vector[start : start + size].reshape(shape))
        start += size
    return views
