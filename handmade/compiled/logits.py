"""Softmax and cross-entropy of one row of logits; `handmade.losses` and `handmade._numerics` explain them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _numerics as exact
from ._jit import compiled, flat
from ._numerics import Real

Array = npt.NDArray[Any]
REACH = 340.0  # as in `handmade.losses`: up to this size, logits need no shift before exp


@compiled
def difference(a: Real, b: Real) -> Real:
    return 0.0 if a == b else np.float64(a) - b  # inf - inf would be NaN


@compiled
def exponentials(z: Array, shift: Real, E: Array) -> Real:
    """Set E to e^(z - shift), corrected for the rounding error of z - shift; return the sum of E."""
    total = 0.0
    for c in range(z.size):
        d = difference(z[c], shift)
        t = d - z[c]
        lost = z[c] - (d - t) - (t + shift)  # TwoSum, see `handmade._numerics.exp_below_max`
        E[c] = exact.exp(d) * (1 + (lost if lost > -1 else 0.0))
        total += E[c]
    return total


@compiled
def shift_of(z: Array) -> Real:
    """Return a shift that keeps e^(z - shift) finite: 0, which rounds nothing; beyond REACH, the largest logit."""
    reach, largest = 0.0, -np.inf
    for a in z:
        reach, largest = max(reach, abs(np.float64(a))), max(largest, np.float64(a))
    return 0.0 if reach <= REACH else largest


@compiled
def rows_at_once(K: int) -> int:
    """Return how many rows of K logits to pass to `exponentials_of_rows`, enough to fill vector registers."""
    return max(1, 512 // K)


@compiled
def exponentials_of_rows(Z: Array, shifts: Array, E: Array) -> None:
    """Set the first rows of E to e^(z - shift), and ``shifts`` to the shift of each row."""
    z, e, far = flat(Z), flat(E), 0
    for j in range(z.size):
        far += abs(z[j]) > REACH
    near = far == 0  # nearly always
    if near:
        for j in range(z.size):
            e[j] = exact.exp(np.float64(z[j]))
    for i in range(len(Z)):
        shifts[i] = 0 if near else shift_of(Z[i])
        if not near:
            exponentials(Z[i], shifts[i], E[i])


@compiled
def against_index(z: Array, t: int, factor: Real, shift: Real, E: Array) -> Real:
    """Return the loss of the label t, -log p_t, and set z to its gradient, p_c - 1[c = t]; both times factor.

    E holds the exponentials: own is the label's, rest the sum of the others. -log p_t = log(1 + rest / own) and
    p_t - 1 = -rest / (own + rest) lose no digits even if p_t is nearly 1.
    """
    own, beyond, rest = E[t], 0.0, 0.0
    if shift != 0:  # e^(z - shift) of the target may be too small to divide by
        own, beyond = max(own, math.exp(-REACH)), min(difference(z[t], shift) + REACH, 0.0)
    E[t] = 0
    for e in E:
        rest += e
    for c in range(z.size):
        z[c] = E[c] / (own + rest) * factor
    z[t] = -rest / (own + rest) * factor
    return (math.log1p(rest / own) - beyond) * factor


@compiled
def against_distribution(z: Array, T: Array, factor: Real, E: Array) -> Real:
    """Return the loss of probabilities T, -sum_c T_c log p_c, and set z to its gradient; both times factor.

    The gradient is p_c sum(T) - T_c, see `handmade._numerics`. E is scratch.
    """
    top = 0
    for c in range(z.size):
        top = c if z[c] > z[top] else top
    shift, weight, value, others = np.float64(z[top]), 0.0, 0.0, 0.0
    exponentials(z, shift, E)
    E[top] = 0
    for c in range(z.size):
        weight, others = weight + T[c], others + E[c]
    E[top] = 1
    for c in range(z.size):
        p = E[c] / (1 + others)
        complement = others / (1 + others) if c == top else 1 - p
        if T[c] != 0:
            value -= T[c] * (difference(z[c], shift) - math.log1p(others))
        z[c] = (p * (weight - T[c]) - T[c] * complement) * factor
    return value * factor


@compiled
def others_of(E: Array) -> tuple[int, Real]:
    """Return the index of the largest exponential, which is 1, and the sum of the others."""
    top, others = -1, 0.0
    for c in range(E.size):
        if top < 0 and E[c] == 1:
            top = c
        else:
            others += E[c]
    return top, others
