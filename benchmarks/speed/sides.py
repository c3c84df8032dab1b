"""What all sides of a comparison have in common, and the process in which each of them works."""

from __future__ import annotations

import importlib.util
import os
import shutil
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from .alternation import time_calls

__all__ = ["CALLS", "COMPILED", "FLOOR", "OURS", "TORCH_FLOOR", "Bench", "Disagreement", "Side", "Unable",
           "has_compiler", "why_missing"]  # fmt: skip

COMPILED = "handmade, compiled"
OURS, FLOOR, TORCH_FLOOR = "handmade", "matrix products alone", "matrix products by torch"
CALLS = "NumPy's calls alone"


class Unable(Exception):
    """An error: this side does not do this work, for the reason it gives."""


class Disagreement(AssertionError):
    """A side computes something else, and is not timed."""


class Side:
    """One side at one piece of work, from the same start as all others.

    Attributes
    ----------
    packages : tuple of str
        What has to be installed.
    work : callable
        Does the work once.
    """

    packages: tuple[str, ...] = ()
    work: Callable[[], object]

    def wait(self) -> None:
        """Everything is done when a call returns, unless a side says otherwise."""

    def results(self) -> dict[str, np.ndarray]:
        """Work once, and tell what came out, to be compared."""
        raise NotImplementedError


def why_missing(side: type[Side]) -> str | None:
    """Return why a side cannot take part at all, or None."""
    missing = [name for name in side.packages if not importlib.util.find_spec(name)]
    return f"{', '.join(missing)} not installed" if missing else None


def has_compiler() -> bool:
    """Return whether there is the C++ compiler that torch.compile calls."""
    return any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "g++", "clang++"))


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
