"""Optimizers that several test files share."""

from __future__ import annotations

import copy

import numpy as np

from handmade.clipping import L1, ClipGradNorm, ClipGradValue
from handmade.optimizers import (
    ASGD,
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Chain,
    Lion,
    Momentum1986,
    NAdam,
    RAdam,
    RMSprop,
    Rprop,
)

SIZE = 257


# One optimizer of each class, with every option that adds a state array.
MAKERS = [
    lambda: SGD(lr=0.01, momentum=0.9, dampening=0.3, weight_decay=0.1, maximize=True),
    lambda: SGD(lr=0.01, momentum=0.9, nesterov=True),
    lambda: Momentum1986(lr=0.01, momentum=0.9),
    lambda: Adagrad(lr=0.05, lr_decay=0.1, weight_decay=0.1, initial_accumulator_value=0.5),
    lambda: RMSprop(weight_decay=0.1, momentum=0.9, centered=True),
    lambda: Adam(weight_decay=0.1, amsgrad=True),
    lambda: AdamW(),
    lambda: ASGD(lr=0.1, lambd=0.1, weight_decay=0.1, t0=1),
    lambda: Rprop(maximize=True),
    lambda: Lion(lr=0.01, weight_decay=0.1),
    lambda: Adadelta(weight_decay=0.1),
    lambda: NAdam(weight_decay=0.1, decoupled_weight_decay=True),
    lambda: RAdam(betas=(0.9, 0.99), weight_decay=0.1),
    lambda: Adamax(weight_decay=0.1),
    lambda: Chain(L1(0.1), ClipGradNorm(1.0), ClipGradValue(0.5), RMSprop(momentum=0.9)),
]


def make_id(maker):
    return repr(maker())


def start(size, dtype=np.float64):
    """Parameters to begin with, of both signs and of magnitudes from 0.01 to 10."""
    rng = np.random.default_rng(1)
    return (rng.choice([-1, 1], size) * 10 ** rng.uniform(-2, 1, size)).astype(dtype)


def gradient_at(t, theta):
    """Return a gradient that changes its sign and size with t, and depends on theta, so that errors breed errors."""
    index = np.arange(theta.size)
    noise = np.sin(index * (t + 1.5)) * np.exp(3 * np.cos(index))
    return (noise + 0.5 * theta).astype(theta.dtype)


def descend(optimizer, theta, steps, begin=0):
    for t in range(begin, begin + steps):
        optimizer.step(theta, gradient_at(t, theta))
    return theta


def memory_of(optimizer):
    """Return a copy of all that an optimizer remembers, to compare."""
    return copy.deepcopy(optimizer.state_dict())


def assert_same_state(state, other):
    assert state.keys() == other.keys()
    for key, value in state.items():
        if key == "members":
            for part, other_part in zip(value, other[key], strict=True):
                assert_same_state(part, other_part)
        else:
            np.testing.assert_array_equal(value, other[key])


# --- Bad input


def read_only(array):
    array.flags.writeable = False
    return array
