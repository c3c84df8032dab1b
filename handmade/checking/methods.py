"""9. Difference formulas, their orders and their best steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np

from .._types import Array
from .._validation import check_choice, takes

__all__ = ["DIFFERENCES", "METHODS", "Method"]

Function = Callable[[Array], float]
MethodName = Literal["forward", "central", "richardson", "complex"]

EPS = float(np.finfo(np.float64).eps)


class Method(NamedTuple):
    """A difference formula.

    Attributes
    ----------
    order : int
        The power of h in the truncation error.
    amplification : float
        The sum of the absolute coefficients, times the smallest step: the noise of f divided by that step, times
        this, is the noise of the estimate.
    levels : int
        The number of steps, each half of the one before.
    combine : callable
        (slopes below, slopes above), (levels, entries) each -> estimates, one row less than there are extra levels.
    """

    order: int
    amplification: float
    levels: int
    combine: Callable[[Array | None, Array], Array]

    @property
    def step(self) -> float:
        """The best relative step for a smooth function of size 1: truncation h^p and rounding eps / h meet there."""
        return EPS ** (1 / (1 + self.order))


def _forward(below: Array | None, above: Array) -> Array:
    return above


def _central(below: Array | None, above: Array) -> Array:
    return (below + above) / 2


def _richardson(below: Array | None, above: Array) -> Array:
    central = _central(below, above)
    return (4 * central[1:] - central[:-1]) / 3


DIFFERENCES = {
    "forward": Method(1, 2.0, 1, _forward),
    "central": Method(2, 1.0, 1, _central),
    "richardson": Method(4, 1.5, 2, _richardson),
}
METHODS = (*DIFFERENCES, "complex")
COMPLEX_STEP = 1e-20


def check_method(method: str) -> None:
    """Raise ValueError if there is no such method."""
    check_choice(method, "method", METHODS)


def check_function(f: Any, name: str) -> None:
    """Raise TypeError unless f can be called with theta alone."""
    if not callable(f):
        raise TypeError(
            f"{name}: expected a function of theta, got {f!r}; the loss of a network is NetworkLoss(network, X, y)"
        )
    if not takes(f, 1):
        raise TypeError(
            f"{name}: expected a function of theta alone, got {f!r}; bind its other arguments with functools.partial"
        )
