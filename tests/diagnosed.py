"""Claims that several test files share."""

from __future__ import annotations

import functools

import numpy as np

import handmade as hm
from handmade import MLP, Network

RNG = np.random.default_rng(7)


X, LABELS = RNG.normal(size=(8, 4)), np.array([0, 2, 1, 1, 0, 2, 2, 1])


REALS, BITS = RNG.normal(size=(8, 3)), RNG.integers(0, 2, size=(8, 3)).astype(float)


CASES = {
    "deep tanh": (MLP([4, 5, 5, 3], activation="tanh", rng=0), LABELS, "cross_entropy"),
    "relu": (MLP([4, 6, 3], activation="relu", rng=1), LABELS, "cross_entropy"),
    "gelu, smoothed": (
        MLP([4, 4, 3], activation="gelu", rng=2), LABELS,
        functools.partial(hm.losses.cross_entropy, label_smoothing=0.1),
    ),
    "sigmoid, regression": (MLP([4, 5, 3], activation="sigmoid", rng=3), REALS, "mse_loss"),
    "lecture": (MLP([4, 5, 3], activation=["sigmoid", "sigmoid"], rng=4), BITS, "half_squared_error"),
    "logits": (MLP([4, 5, 3], activation="leaky_relu", rng=5), BITS, "binary_cross_entropy_with_logits"),
    "probabilities": (MLP([4, 5, 3], activation=["tanh", "sigmoid"], rng=6), BITS, "binary_cross_entropy"),
    "hinge": (MLP([4, 5, 3], activation="silu", rng=7), 2 * BITS - 1, "hinge_loss"),
    "square": (MLP([4, 8, 8, 3], activation="softplus", rng=8), LABELS, "cross_entropy"),
    "normalized, dropout": (
        MLP([4, 5, 3], activation="elu", normalization="batch", dropout=0.3, rng=9), LABELS, "cross_entropy",
    ),
    "residual": (
        Network(
            [hm.Dense(4, 5, rng=1), hm.Residual([hm.Dense(5, 5, rng=2), hm.Activation("tanh")]), hm.Dense(5, 3, rng=3)]
        ),
        LABELS, "cross_entropy",
    ),
}  # fmt: skip


SCALE = 0.05  # the learning rate of those mistakes that have one


def names(diagnosis) -> list[str]:
    return [explanation.name for explanation in diagnosis.explanations]


THETA = [RNG.normal(size=(4, 3)), RNG.normal(size=4), RNG.normal(size=(4, 4)), RNG.normal(size=4)]


def f(theta) -> float:
    H = np.tanh(X[:, :3] @ theta[0].T + theta[1])
    return float(((H @ theta[2].T + theta[3]) ** 2).sum())


def f_gradient(theta) -> list[np.ndarray]:
    H = np.tanh(X[:, :3] @ theta[0].T + theta[1])
    dA2 = 2 * (H @ theta[2].T + theta[3])
    dA1 = dA2 @ theta[2] * (1 - H * H)
    return [dA1.T @ X[:, :3], dA1.sum(axis=0), dA2.T @ H, dA2.sum(axis=0)]


A, B2 = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([5.0, -6.0])
