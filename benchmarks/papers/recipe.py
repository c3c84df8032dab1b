"""The common recipe of the experiments of 1986: sigmoid units, uniform weights, eq. 9, runs until a goal is met."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

import handmade as hm

from .experiment import Report
from .side_by_side import Goal, Outcome, SideBySide, descend

__all__ = ["SUMMED", "all_correct", "at_most", "learn", "mlp", "options", "patterns", "sigmoid_layer", "targets"]

SUMMED = partial(hm.losses.half_squared_error, reduction="sum")  # equation 3, for a single network


def patterns(bits: int) -> np.ndarray:
    """Return all vectors of ``bits`` bits, (2^bits, bits), counting up.

    Examples
    --------
    >>> patterns(2)
    array([[0., 0.],
           [0., 1.],
           [1., 0.],
           [1., 1.]])
    """
    return (np.arange(2**bits)[:, np.newaxis] >> np.arange(bits)[::-1] & 1).astype(float)


def targets(Y: np.ndarray) -> dict[str, np.ndarray]:
    """Return the targets 0 and 1, and targets within reach of sigmoid units, which the papers may have used."""
    return {"0 and 1": Y, "0.1 and 0.9": 0.1 + 0.8 * Y}


def options(bound: float, rng: np.random.Generator | None) -> dict:
    """Return the options of layers with weights and biases uniform in [-bound, bound]."""
    initial = partial(hm.initializers.uniform, low=-bound, high=bound)
    return dict(weight_init=initial, bias_init=initial, rng=rng)


def sigmoid_layer(inputs: int, outputs: int, **options) -> list[hm.Layer]:
    return [hm.Dense(inputs, outputs, **options), hm.Activation("sigmoid")]


def mlp(*sizes: int) -> Callable[..., hm.Network]:
    """Return ``build(bound, rng)`` for a chain of fully connected layers of sigmoid units."""
    activation = ["sigmoid"] * (len(sizes) - 1)
    return lambda bound=0.3, rng=None: hm.MLP(sizes, activation=activation, **options(bound, rng))


def all_correct(Y: np.ndarray) -> Goal:
    """Every output on its target's side of 0.5."""
    return lambda H, E: ((H > 0.5) == (Y > 0.5)).all(axis=(1, 2))


def at_most(error: float) -> Goal:
    return lambda H, E: error >= E


def learn(
    networks: Sequence[hm.Network],
    X: np.ndarray,
    Y: np.ndarray,
    optimizer: hm.Momentum1986,
    sweeps: int,
    goals: Mapping[str, Goal],
    report: Report,
) -> Outcome:
    """Call `descend` from the present parameters of the networks."""
    start = SideBySide(networks[0], np.stack([network.theta for network in networks]))
    return descend(start, X, Y, optimizer, sweeps, goals, report)
