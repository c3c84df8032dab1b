"""The base class, names and errors of the sides: handmade, another library, or a lower bound that is timed."""

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
    """An error of a side that cannot do a piece of work; the message gives the reason."""


class Disagreement(AssertionError):
    """An error of a side whose results differ from handmade's; it is not timed."""


class Side:
    """A side at one piece of work. All sides start with the same parameters and data.

    Attributes
    ----------
    packages : tuple of str
        The packages that must be installed.
    work : callable
        Does the work once.
    """

    packages: tuple[str, ...] = ()
    work: Callable[[], object]

    def wait(self) -> None:
        """Wait until the work is done; asynchronous sides override this."""

    def results(self) -> dict[str, np.ndarray]:
        """Do the work once, and return its results by name, to be compared; an empty dict if there are none."""
        raise NotImplementedError


def why_missing(side: type[Side]) -> str | None:
    """Return why a side is left out of all comparisons, or None."""
    missing = [name for name in side.packages if not importlib.util.find_spec(name)]
    return f"{', '.join(missing)} not installed" if missing else None


def has_compiler() -> bool:
    """Return whether the C++ compiler that torch.compile calls is installed."""
    return any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "g++", "clang++"))
