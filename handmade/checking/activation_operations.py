"""9. The operations of an activation that explain a wrong derivative: of the formula of a textbook, or a user's own."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from .._types import Array
from ..activations import sigmoid
from ..layers import Activation
from .operation_mistakes import Compared, operations_that_explain
from .recordings import record

__all__ = ["operations_of_activation", "plain_formula"]

PLACE = re.compile(r" \(line \d+ of [^)]*\)")  # in a formula of this file, a line says nothing to the user

# As textbooks write them: exact tails and large numbers are the library's affair.
PLAIN: dict[str, Callable[..., Any]] = {
    "sigmoid": lambda A: 1 / (1 + np.exp(-A)),
    "tanh": lambda A: (np.exp(A) - np.exp(-A)) / (np.exp(A) + np.exp(-A)),
    "gelu": lambda A, approximate="tanh": (
        0.5 * A * (1 + np.tanh(np.sqrt(2 / np.pi) * (A + 0.044715 * A**3)))
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


def operations_of_activation(leaf: Activation, A: Array, dH: Array, actual: Array, right: Array) -> str:
    """Return which operation of an activation is derived wrongly, if that makes a wrong dA; else nothing.

    Parameters
    ----------
    leaf : Activation
        The activation.
    A : ndarray
        Its input.
    dH : ndarray
        The gradient by its output.
    actual, right : ndarray
        The claimed gradient by its input, and the right one.
    """
    formula = plain_formula(leaf)
    if formula is None:
        return ""
    try:
        recording = record(formula, [A], [""], lambda arrays: (arrays[0],), leaf.options)
    except Exception:  # a function of the user's own that needs plain arrays
        return ""
    if not np.allclose(recording.output.value, leaf.f(A, **leaf.options), rtol=1e-9, atol=1e-12):
        return ""
    found = operations_that_explain(recording, dH, [Compared("dA", actual, right, True)], 1e-7)
    own = isinstance(leaf.function, tuple)
    return " and ".join(text if own else PLACE.sub("", text) for text, _ in found)
