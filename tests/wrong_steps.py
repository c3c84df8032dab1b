"""A wrong step, and a batch of a small network, for tests of the step search."""

from __future__ import annotations

import types

import numpy as np

import handmade as hm
from handmade.checking.localisation import WrongStep

X, Y = np.random.default_rng(3).normal(size=(8, 3)), np.array([0, 1, 1, 0, 1, 0, 0, 1])
NETWORK = hm.MLP([3, 4, 2], "tanh", rng=0)


def simple(**values):
    return types.SimpleNamespace(**values)


def wrong_step(name="dA[0]", kind="dA", prefix="0.", path=("2.", "1."), **more):
    return WrongStep(name, "dA[2]", prefix, kind, path, np.ones((2, 2)), np.zeros((2, 2)), **more)
