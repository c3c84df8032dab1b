"""The list of held-out mistakes, and the right steps around the wrong ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from handmade import activations
from handmade.protocols import Array

from ..public.problems import Bug, Parameters, Problem, backward, forward, into, one_hot, sigmoid, softmax

HELD_OUT: list[Bug] = []
held_out = into(HELD_OUT)
Build = Callable[[], Problem]
Of = Callable[[Array], Array]


# ---- right steps ---------------------------------------------------------------------------------------------------


def through(parameters: Parameters, X: Array, f: Of, slope: Of, dA_of: Of, **steps: Any) -> list[Array]:
    """Return the gradients of an MLP with f in all hidden layers; slope(A) is f', dA_of(output) is dA of the last."""
    A, H = forward(parameters, X, f)
    return backward(parameters, H, dA_of(A[-1]), lambda k: slope(A[k]), **steps)


def slope_of(name: str, **options: Any) -> Of:
    """Return the right derivative of an activation."""
    function: Any = getattr(activations, f"{name}_backward")
    return lambda A: function(np.ones_like(A), A, **options)


def above(A: Array) -> Array:
    """Return the derivative of relu."""
    return A > 0


def tanh_slope(A: Array) -> Array:
    """Return the derivative of tanh."""
    return 1 - np.tanh(A) ** 2


def sigmoid_slope(A: Array) -> Array:
    """Return the derivative of the logistic function."""
    return sigmoid(A) * (1 - sigmoid(A))


def d_mse(y: Array) -> Of:
    """Return the derivative of mse_loss by the output."""
    return lambda A: 2 * (A - y) / A.size


def d_half(y: Array) -> Of:
    """Return the derivative of half_squared_error by the output."""
    return lambda A: (A - y) / len(A)


def d_cross_entropy(y: Array) -> Of:
    """Return the derivative of cross_entropy by the logits."""
    return lambda A: (softmax(A) - one_hot(y, A)) / len(A)


TWO = r"\b2\b|half|twice|double|0\.5"
