"""Vectors cut into the blocks of which they consist: theta and gradient into parameters."""

from __future__ import annotations

import math
from collections.abc import Iterable

from ._types import Array

__all__ = ["cut"]


def cut(vector: Array, shapes: Iterable[tuple[int, ...]]) -> list[Array]:
    """Return views of the vector, one after another, in these shapes."""
    views, start = [], 0
    for shape in shapes:
        size = math.prod(shape)
        views.append(vector[start : start + size].reshape(shape))
        start += size
    return views
