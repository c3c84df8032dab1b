"""The base class of the optimizers that treat every element in the same way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._steps import Array, Elementwise
from .._validation import below_one

__all__ = ["Array", "Optimizer", "check_numbers", "move_average", "move_average_of_squares", "quietly"]

# With eps=0, squares that underflow make a step infinite, or NaN, as in torch; neither of them warns.
quietly = np.errstate(divide="ignore", invalid="ignore")
WORDS = {2: "two", 3: "three"}


def move_average(average: Array, x: Array, decay: float) -> None:
    """Set average to decay * average + (1 - decay) * x in place."""
    average *= decay
    average += (1 - decay) * x


def move_average_of_squares(average: Array, x: Array, decay: float) -> None:
    """Do `move_average` with x * x, in one intermediate array."""
    square = x * x
    square *= 1 - decay
    average *= decay
    average += square


def check_numbers(values: Any, name: str, count: int, check: Callable[[Any, str], Any], expected: str = "") -> Any:
    """Return ``count`` numbers as a tuple, each as the check returns it."""
    values = values.tolist() if isinstance(values, np.ndarray) else values  # from a file
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) != count:
        raise TypeError(f"{name}: expected {WORDS.get(count, count)} numbers{expected}, got {values!r}")
    return tuple(check(value, f"{name}[{i}]") for i, value in enumerate(values))


class Optimizer(Elementwise):
    """A step by a learning rate against the gradient, element by element."""

    lr: float
    weight_decay: float = 0.0
    maximize: bool = False
    decoupled_weight_decay: bool = False

    def _descent_gradient(self, theta: Array, gradient: Array) -> Array:
        """Return the gradient of what is minimized: -loss to maximize the loss, plus weight_decay / 2 |theta|^2.

        A decoupled weight decay is not in the gradient: it shrinks theta at once (Loshchilov and Hutter 2019).
        """
        g = -gradient if self.maximize else gradient
        if not self.weight_decay:
            return g
        if self.decoupled_weight_decay:
            theta *= 1 - self.lr * self.weight_decay
            return g
        return g + self.weight_decay * theta

    def _require_betas(self) -> None:
        self.betas: tuple[float, float] = check_numbers(self.betas, "betas", 2, below_one, " in [0, 1)")
