"""A smooth function with known slopes, for tests of differences."""

from __future__ import annotations

import numpy as np

EPS = np.finfo(float).eps
ORDERS = {"forward": 1, "central": 2, "richardson": 4}
THETA = np.random.default_rng(0).uniform(-1, 1, 40)


def f(theta):
    """Smooth, of size 1, with derivatives of size 1."""
    return np.sin(theta[0]) * np.exp(theta[1]) if len(theta) == 2 else np.sin(theta).sum() / 8


def slopes(theta):
    return np.cos(theta) / 8


H = 1 / 8  # relative to entries of 0: every number below is exact
CUBE, FIFTH = H**2, H**4
