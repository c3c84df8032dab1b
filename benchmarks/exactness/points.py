"""The inputs on which functions are measured: numbers, probabilities and rows of logits.

Each function returns the points, and which of them are near: |x| <= 10, or logits of scale 10.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["CLASSES", "DOMAINS", "NEAR", "logits", "numbers", "probabilities"]

Array = npt.NDArray[Any]
Points = tuple[Array, Array]

NEAR = 10.0
CLASSES = 10


def numbers(dtype: npt.DTypeLike, rng: np.random.Generator, n: int, roots: Sequence[float] = ()) -> Points:
    """Return numbers of both signs: |x| log-uniform from 1e-8 to 1e3, and more points where formulas tend to fail.

    Formulas tend to fail in the middle; in the tails, where exp(-x), exp(-2x), exp(-x^2 / 2) and the like become
    subnormal; and near the roots of the derivative.
    """
    info = np.finfo(dtype)
    underflow = -np.log(float(info.smallest_subnormal))
    either_sign = np.concatenate(
        [
            10 ** rng.uniform(-8, 3, n),
            rng.uniform(0, NEAR, n),
            rng.uniform(NEAR, 5 * NEAR, n // 4),
            underflow * rng.uniform(0.9, 1.01, n // 4) * rng.choice([0.5, 1], n // 4),
        ]
    )
    nearby = [root + rng.choice([-1, 1], n // 4) * 10 ** rng.uniform(np.log10(info.eps), -1, n // 4) for root in roots]
    X = np.concatenate([either_sign * rng.choice([-1, 1], either_sign.size), *nearby]).astype(dtype)
    return X, np.abs(X) <= NEAR


def probabilities(dtype: npt.DTypeLike, rng: np.random.Generator, n: int, roots: Sequence[float] = ()) -> Points:
    """Return p from 1e-8 to 1 - 1e-8 (or the last number before 1), log-uniform in p or in 1 - p."""
    small = 10 ** rng.uniform(-8, np.log10(0.5), 2 * n)
    P = np.where(rng.integers(2, size=2 * n), small, 1 - small).astype(dtype)
    P = P[P < 1]
    return P, np.ones(P.shape, bool)


def logits(dtype: npt.DTypeLike, rng: np.random.Generator, n: int, roots: Sequence[float] = ()) -> Points:
    """Return rows of 10 normal numbers, times 10 and times 512; in every other row the first class is the largest."""
    N = n // 10
    Z = (rng.normal(size=(2 * N, CLASSES)) * np.repeat([NEAR, 512.0], N)[:, np.newaxis]).astype(dtype)
    rows = np.arange(0, 2 * N, 2)
    largest = Z[::2].argmax(axis=1)
    Z[rows, 0], Z[rows, largest] = Z[rows, largest], Z[rows, 0]
    return Z, np.arange(2 * N) < N


# By the domains of `reference.cases`.
DOMAINS: dict[str, Callable[..., Points]] = {"numbers": numbers, "probabilities": probabilities, "logits": logits}
