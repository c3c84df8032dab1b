"""The base class of the optimizers that treat every element alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._steps import Array, Elementwise
from .._validation import below_one

__all__ = ["Array", "Optimizer", "move_average"]


def move_average(average: Array, x: Array, decay: float) -> None:
    """Set average to decay * average + (1 - decay) * x in place."""
    average *= decay
    average += (1 - decay) * x


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

    def _require_pair(self, check: Callable[[Any, str], float], name: str, expected: str = "") -> None:
        """Replace an attribute by a tuple of two numbers that have passed the check."""
        pair = getattr(self, name)
        pair = pair.tolist() if isinstance(pair, np.ndarray) else pair  # from a file
        if not isinstance(pair, Sequence) or len(pair) != 2:
            raise TypeError(f"{name}: expected two numbers{expected}, got {pair!r}")
        setattr(self, name, (check(pair[0], f"{name}[0]"), check(pair[1], f"{name}[1]")))

    def _require_betas(self) -> None:
        self._require_pair(below_one, "betas", " in [0, 1)")
