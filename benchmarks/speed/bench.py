"""The process in which one side works."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from . import jobs, peers  # noqa: F401  # they give each piece of work its sides
from .alternation import time_calls
from .sides import Side

__all__ = ["Bench"]


class Bench:
    """A bench on which one side works on one piece after another, in its own process."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.side: Side | None = None
        warnings.simplefilter("ignore")  # scikit-learn's, about an unfinished fit, come at each call

    def prepare(self, work: Any) -> dict[str, np.ndarray]:
        """Build the side, let it work once, and tell what came out."""
        self.side = None  # the memory of the last piece is free before the next is built
        alike = getattr(work, "without_dropout", work)
        self.side = work.sides[self.name](alike)
        results = self.side.results()
        if alike is not work:
            self.side = work.sides[self.name](work)
            self.side.work()
        return results

    def time(self, block: float) -> float:
        """Seconds per call."""
        return time_calls(self.side.work, self.side.wait, block)
