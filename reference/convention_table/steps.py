"""Conventions of penalties and optimizers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

import handmade as hm

from ..libraries import LinearStep, keras, keras_path, keras_step, path, scikit_learn_path, torch_path
from .convention import Convention, Formula, N, by_library, regressor

LAMBDA, AT = 0.25, 2.0
RESTING = np.zeros((N, 1)), np.full((N, 1), AT), np.array([[AT]]), np.array([AT])  # X, y, W, b


def _l2() -> Iterator[Convention]:
    def own() -> float:
        return AT - path(hm.SGD(lr=1.0, weight_decay=LAMBDA), [0.0], start=AT)

    def of_torch() -> float:
        return AT - torch_path(partial(torch.optim.SGD, lr=1.0, weight_decay=LAMBDA), [0.0], start=AT)

    def of_sklearn() -> LinearStep:
        X, y, W, b = RESTING
        return regressor(y.ravel(), X, W, b, alpha=LAMBDA)

    def of_keras() -> LinearStep:
        return keras_step("mse", *RESTING, kernel_regularizer=keras().regularizers.L2(LAMBDA))

    once, shared = (
        Formula("lambda w: of 1/2 |w|^2", LAMBDA * AT),
        Formula("lambda w / N: of 1/2N |w|^2", LAMBDA * AT / N),
    )
    twice, none = Formula("2 lambda w: of |w|^2", 2 * LAMBDA * AT), Formula("0: weights only", 0.0)
    yield Convention(
        "L2 term: slope by a weight",
        by_library(
            (once, own), (once, of_torch), (shared, lambda: of_sklearn().dW[0, 0]), (twice, lambda: of_keras().dW[0, 0])
        ),
    )
    yield Convention(
        "L2 term: slope by a bias",
        by_library((once, own), (once, of_torch), (none, lambda: of_sklearn().db[0]), (none, lambda: of_keras().db[0])),
    )


def _weight_decays() -> Iterator[Convention]:
    share, mu = 0.5 * LAMBDA, 0.9
    decay: dict[str, Any] = dict(lr=0.5, weight_decay=LAMBDA)
    momentum: dict[str, Any] = decay | dict(momentum=mu)
    beside = Formula("(1 - lr lambda) theta, before the step", (1 - share) * AT)
    yield Convention(
        "AdamW's weight decay, one step",
        by_library(
            (beside, lambda: path(hm.AdamW(**decay), [0.0], start=AT)),
            (beside, lambda: torch_path(partial(torch.optim.AdamW, **decay), [0.0], start=AT)),
            keras=(beside, lambda: keras_path(keras().optimizers.AdamW(0.5, LAMBDA), [0.0], start=AT)),
        ),
    )
    inside = Formula("in the gradient, so in the velocity", ((1 - share) ** 2 - share * mu) * AT)
    outside = Formula("(1 - lr lambda) theta, as AdamW", (1 - share) ** 2 * AT)

    def keras_sgd() -> Any:
        return keras().optimizers.SGD(0.5, mu, weight_decay=LAMBDA)

    yield Convention(
        "weight_decay of SGD with momentum, two steps",
        by_library(
            (inside, lambda: path(hm.SGD(**momentum), [0.0, 0.0], start=AT)),
            (inside, lambda: torch_path(partial(torch.optim.SGD, **momentum), [0.0, 0.0], start=AT)),
            keras=(outside, lambda: keras_path(keras_sgd(), [0.0, 0.0], start=AT)),
        ),
    )


# ---- optimizers: theta, from 0, after steps along given gradients --------------------------------------------------

GRADIENTS = [1.0, 3.0, 2.0]
LR, MU = 0.1, 0.9
VELOCITIES = np.array([1.0, MU + 3, MU * (MU + 3) + 2])  # v = mu v + g


def _momentum(
    nesterov: bool, own: Formula, theirs: Formula, quantity: str, lrs: list[float] | None = None
) -> Convention:
    options: dict[str, Any] = dict(lr=LR, momentum=MU, nesterov=nesterov)
    return Convention(
        quantity,
        by_library(
            (own, lambda: path(hm.SGD(**options), GRADIENTS, lrs)),
            (own, lambda: torch_path(partial(torch.optim.SGD, **options), GRADIENTS, lrs)),
            (
                theirs,
                lambda: scikit_learn_path(
                    "SGDOptimizer", GRADIENTS, lrs, learning_rate_init=LR, momentum=MU, nesterov=nesterov
                ),
            ),
            (theirs, lambda: keras_path(keras().optimizers.SGD(LR, MU, nesterov), GRADIENTS, lrs)),
        ),
    )


def _momenta() -> Iterator[Convention]:
    heavy = Formula("v = mu v + g, theta -= lr v", -LR * VELOCITIES.sum())
    inside = Formula("v = mu v - lr g, theta += v", heavy.value)
    yield _momentum(False, heavy, inside, "momentum, lr constant, 3 steps")
    nesterov = Formula("theta -= lr (g + mu v)", -LR * (np.array(GRADIENTS) + MU * VELOCITIES).sum())
    ahead = Formula("theta += mu v - lr g", nesterov.value)
    yield _momentum(True, nesterov, ahead, "Nesterov, lr constant, 3 steps")
    stops = Formula("stops: lr scales the old velocity too", -LR * VELOCITIES[:2].sum())
    rolls = Formula("rolls on: lr is inside the velocity", -LR * (VELOCITIES[:2].sum() + MU * VELOCITIES[1]))
    lrs = [LR, LR, 0.0]
    yield _momentum(False, stops, rolls, "momentum, lr = 0 in the third step", lrs)
    yield Convention(
        "the same, Momentum1986", by_library((rolls, lambda: path(hm.Momentum1986(LR, MU), GRADIENTS, lrs)))
    )
    v = MU + 0.5 * 3
    dampened = Formula("(1 - d) g, but in the first step g", -LR * (1 + v + MU * v + 0.5 * 2))
    options: dict[str, Any] = dict(lr=LR, momentum=MU, dampening=0.5)
    yield Convention(
        "dampening d = 0.5, 3 steps",
        by_library(
            (dampened, lambda: path(hm.SGD(**options), GRADIENTS)),
            (dampened, lambda: torch_path(partial(torch.optim.SGD, **options), GRADIENTS)),
        ),
    )


def _adam(own: Formula, theirs: Formula, quantity: str, gradients: list[float], epsilon: float) -> Convention:
    return Convention(
        quantity,
        by_library(
            (own, lambda: path(hm.Adam(LR, eps=epsilon), gradients)),
            (own, lambda: torch_path(partial(torch.optim.Adam, lr=LR, eps=epsilon), gradients)),
            (theirs, lambda: scikit_learn_path("AdamOptimizer", gradients, learning_rate_init=LR, epsilon=epsilon)),
            (theirs, lambda: keras_path(keras().optimizers.Adam(LR, epsilon=epsilon), gradients)),
        ),
    )


def _adams() -> Iterator[Convention]:
    beta1, beta2 = 0.9, 0.999
    m = v = theta = 0.0
    for t, g in enumerate(GRADIENTS, 1):
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        theta -= LR * (m / (1 - beta1**t)) / math.sqrt(v / (1 - beta2**t))
    corrected = Formula("m and v over 1 - beta^t", theta)
    yield _adam(corrected, corrected, "Adam's bias correction, 3 steps", GRADIENTS, 1e-300)
    after = Formula("sqrt(vhat) + eps", -LR / (1 + 0.5))
    before = Formula("sqrt(v) + eps, then corrected", -LR / (1 + 0.5 / math.sqrt(1 - beta2)))
    yield _adam(after, before, "Adam's epsilon: step along 1, eps = 0.5", [1.0], 0.5)


def _other_epsilons() -> Iterator[Convention]:
    eps = 0.5
    outside = Formula("sqrt(s) + eps", -LR / (math.sqrt(0.25) + eps))
    inside = Formula("sqrt(s + eps)", -LR / math.sqrt(0.25 + eps))
    yield Convention(
        "RMSprop's epsilon: step along 1, eps = 0.5",
        by_library(
            (outside, lambda: path(hm.RMSprop(LR, 0.75, eps), [1.0])),
            (outside, lambda: torch_path(partial(torch.optim.RMSprop, lr=LR, alpha=0.75, eps=eps), [1.0])),
            keras=(inside, lambda: keras_path(keras().optimizers.RMSprop(LR, 0.75, epsilon=eps), [1.0])),
        ),
    )
    outside, inside = Formula("sqrt(s) + eps", -LR / (1 + eps)), Formula("sqrt(s + eps)", -LR / math.sqrt(1 + eps))

    def of_keras() -> float:
        optimizer = keras().optimizers.Adagrad(LR, initial_accumulator_value=0.0, epsilon=eps)
        return keras_path(optimizer, [1.0])

    yield Convention(
        "Adagrad's epsilon: step along 1, eps = 0.5",
        by_library(
            (outside, lambda: path(hm.Adagrad(LR, eps=eps), [1.0])),
            (outside, lambda: torch_path(partial(torch.optim.Adagrad, lr=LR, eps=eps), [1.0])),
            keras=(inside, of_keras),
        ),
    )


GROUPS = (_l2, _weight_decays, _momenta, _adams, _other_epsilons)
