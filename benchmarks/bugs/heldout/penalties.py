"""Held-out mistakes in penalties."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from handmade.protocols import Array

from ..public.problems import Parameters, Problem, forward
from .problems import TWO, Build, Of, d_mse, held_out, tanh_slope, through


def penalized(penalty: Callable[[Parameters], Any], rows: int) -> Build:
    """Return a function that builds the mean squared error of a tanh network plus a penalty of its weights."""

    def build() -> Problem:
        rng = np.random.default_rng(rows)
        X, y = rng.normal(size=(rows, 4)), rng.normal(size=(rows, 2))
        parameters = [rng.normal(scale=0.6, size=shape) for shape in ((5, 4), (5,), (2, 5), (2,))]

        def data(*blocks: Array) -> float:
            return float(np.mean((forward(blocks, X, np.tanh)[0][-1] - y) ** 2))

        def decay(*blocks: Array) -> float:
            return float(penalty(blocks))

        def both(*blocks: Array) -> float:
            return data(*blocks) + decay(*blocks)

        return Problem(X, y, function=both, parameters=parameters, options={"terms": {"data": data, "penalty": decay}})

    return build


def plus(parameters: Parameters, X: Array, y: Array, of_weights: Of, of_biases: Of | None = None) -> list[Array]:
    """Return the gradients of the mean squared error plus those of a penalty."""
    gradients = through(parameters, X, np.tanh, tanh_slope, d_mse(y))
    for i, p in enumerate(parameters):
        if i % 2 == 0:
            gradients[i] = gradients[i] + of_weights(p)
        elif of_biases:
            gradients[i] = gradients[i] + of_biases(p)
    return gradients


L2 = penalized(lambda blocks: 0.05 * ((blocks[0] ** 2).sum() + (blocks[2] ** 2).sum()), rows=12)
L1 = penalized(lambda blocks: 0.05 * (np.abs(blocks[0]).sum() + np.abs(blocks[2]).sum()), rows=17)


@held_out("L2 penalty lambda W^2 derived as lambda W", L2, "W0, W2", r"penalty", TWO)
def decay_without_its_two(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return plus(parameters, X, y, lambda W: 0.05 * W)


@held_out("L2 penalty: the biases decay too, which the loss does not say", L2, "b0, b2", r"penalt|decay|lambda|0\.1")
def decay_of_the_biases(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return plus(parameters, X, y, lambda W: 0.1 * W, lambda b: 0.1 * b)


@held_out("L1 penalty derived as an L2 penalty", L1, "W0, W2", r"sign|l1|l2|abs|squared|ridge")
def lasso_derived_as_ridge(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return plus(parameters, X, y, lambda W: 0.05 * W)
