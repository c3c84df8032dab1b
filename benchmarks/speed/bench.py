"""The object that each side's process holds, which prepares and times one piece of work after another."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from . import jobs, peers  # noqa: F401  # they register the sides of each piece of work
from .alternation import time_calls
from .sides import Side

__all__ = ["Bench"]


class Bench:
    """A bench for one side, which prepares and times one piece of work after another.

    Parameters
    ----------
    name : str
        The name of the side, see `benchmarks.speed.sides`.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.side: Side | None = None
        warnings.simplefilter("ignore")  # scikit-learn warns of an unfinished fit at each call

    def prepare(self, work: Any) -> dict[str, np.ndarray]:
        """Build the side for a piece of work, let it work once, and return its results."""
        self.side = None  # frees the memory of the last piece
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
