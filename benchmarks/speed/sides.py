"""What all sides of a comparison have in common."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable

import numpy as np

__all__ = ["CALLS", "COMPILED", "FLOOR", "OURS", "TORCH_FLOOR", "Disagreement", "Side", "Unable", "has_compiler",
           "why_missing"]  # fmt: skip

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
