"""The definitions of a quantity by several libraries, and the example for which it is computed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from handmade.protocols import Array

from ..libraries import LinearStep, scikit_learn_step

LIBRARIES = ("handmade", "torch", "scikit-learn", "Keras")


@dataclasses.dataclass(frozen=True)
class Formula:
    """A formula in words, and its value for the example, computed in NumPy."""

    text: str
    value: float


# A formula, and a function that computes the number with the library.
Definition = tuple[Formula, Callable[[], Any]]


@dataclasses.dataclass(frozen=True)
class Convention:
    """A quantity and its definition by each library.

    Attributes
    ----------
    quantity : str
        The name of the quantity.
    definitions : dict of str to (Formula, callable)
        For each library that has it: the formula, and a function that computes the number with the library.
    slack : float
        The relative difference that is allowed besides rounding, for random numbers.
    """

    quantity: str
    definitions: dict[str, Definition]
    slack: float = 0.0


def by_library(
    handmade: Definition | None = None,
    torch: Definition | None = None,
    sklearn: Definition | None = None,
    keras: Definition | None = None,
) -> dict[str, Definition]:
    """Return the definitions that are given, each under its library."""
    given = zip(LIBRARIES, (handmade, torch, sklearn, keras), strict=True)
    return {library: definition for library, definition in given if definition is not None}


# ---- the example: N, O and K differ, so that no two factors are equal by chance ------------------------------------

N, O, K = 5, 3, 4
RNG = np.random.default_rng(0)
P, Y = RNG.normal(size=(2, N, O))  # predictions (or logits) and targets
E = P - Y


def regressor(
    y: Array = Y, X: Array | None = None, W: Array = P.T, b: Array | float = 0.0, **options: Any
) -> LinearStep:
    """Return a step of scikit-learn's regression, by default of logits P against Y."""
    from sklearn.neural_network import MLPRegressor

    return scikit_learn_step(MLPRegressor, np.eye(N) if X is None else X, y, W, b, **options)
