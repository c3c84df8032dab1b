"""9. The formulas of activations whose operations are recorded: those of a textbook, or a user's own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..._types import Array
from ...activations import sigmoid
from ...layers import Activation

__all__ = ["plain_formula"]


def erf(x: Array) -> Array:
    """Return the error function of each number."""
    return np.vectorize(math.erf, otypes=[np.float64])(x)


# As textbooks write them: exact tails and large numbers are the library's affair.
PLAIN: dict[str, Callable[..., Any]] = {
    "sigmoid": lambda A: 1 / (1 + np.exp(-A)),
    "tanh": lambda A: (np.exp(A) - np.exp(-A)) / (np.exp(A) + np.exp(-A)),
    "gelu": lambda A, approximate="none": (
        0.5 * A * (1 + erf(A / np.sqrt(2)))
        if approximate == "none"
        else 0.5 * A * (1 + np.tanh(np.sqrt(2 / np.pi) * (A + 0.044715 * A**3)))
    ),
    "silu": lambda A: A * sigmoid(A),
    "mish": lambda A: A * np.tanh(np.log(1 + np.exp(A))),
    "softplus": lambda A, beta=1.0: np.log(1 + np.exp(beta * A)) / beta,
    "logsigmoid": lambda A: -np.log(1 + np.exp(-A)),
    "softsign": lambda A: A / (1 + np.abs(A)),
    "tanhshrink": lambda A: A - np.tanh(A),
    "hardswish": lambda A: A * np.clip(A + 3, 0, 6) / 6,
    "elu": lambda A, alpha=1.0: np.where(A > 0, A, alpha * (np.exp(A) - 1)),
    "celu": lambda A, alpha=1.0: np.where(A > 0, A, alpha * (np.exp(A / alpha) - 1)),
    "selu": lambda A: 1.0507009873554805 * np.where(A > 0, A, 1.6732632423543772 * (np.exp(A) - 1)),
    "leaky_relu": lambda A, negative_slope=0.01: np.where(A > 0, A, negative_slope * A),
}  # fmt: skip


def plain_formula(leaf: Activation) -> Callable[..., Any] | None:
    """Return an activation as a function whose operations can be recorded; None if there is none."""
    return leaf.function[0] if isinstance(leaf.function, tuple) else PLAIN.get(leaf.function)
