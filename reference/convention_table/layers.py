"""Conventions of layers and their initial weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

import handmade as hm
from handmade.protocols import Array, InitializerName

from ..libraries import keras, plain
from .convention import Convention, Formula, N, O, P, by_library


def _normalizations() -> Iterator[Convention]:
    X = torch.tensor(P)
    layers = (
        ("BatchNorm", 0, hm.BatchNorm, torch.nn.BatchNorm1d, "BatchNormalization"),
        ("LayerNorm", 1, hm.LayerNorm, torch.nn.LayerNorm, "LayerNormalization"),
    )
    for name, axis, own, of_torch, of_keras in layers:
        D = P - P.mean(axis, keepdims=True)
        H = D / np.sqrt((D**2).mean(axis, keepdims=True) + 0.5)
        inside = Formula("(x - mean) / sqrt(var + eps), var over N", H[0, 0])
        yield Convention(
            f"{name} in training, eps = 0.5",
            by_library(
                (inside, partial(lambda layer: layer(O, eps=0.5).forward(P, training=True)[0][0, 0], own)),
                (inside, partial(lambda layer: layer(O, eps=0.5, dtype=X.dtype)(X)[0, 0], of_torch)),
                keras=(
                    inside,
                    partial(lambda n: getattr(keras().layers, n)(epsilon=0.5)(P, training=True)[0, 0], of_keras),
                ),
            ),
        )


def _running(layer: Any, call: Callable[[Any], Any], name: str) -> float:
    """Return the running statistic of the first feature after one batch; it began as 0 or 1."""
    call(layer)
    return float(plain(getattr(layer, name))[0])


def _running_averages() -> Iterator[Convention]:
    def convention(
        quantity: str, own: Formula, theirs: Formula, name: str, keras_name: str, keras_momentum: float
    ) -> Convention:
        def of_keras() -> float:
            layer = keras().layers.BatchNormalization(momentum=keras_momentum)
            return _running(layer, lambda layer: layer(P, training=True), keras_name)

        def of_torch() -> float:
            layer = torch.nn.BatchNorm1d(O, momentum=0.1, dtype=torch.float64)
            return _running(layer, lambda layer: layer(torch.tensor(P)), name)

        return Convention(
            quantity,
            by_library(
                (own, lambda: _running(hm.BatchNorm(O, momentum=0.1), lambda layer: layer.forward(P, True), name)),
                (own, of_torch),
                keras=(theirs, of_keras),
            ),
        )

    mean, var = P[:, 0].mean(), P[:, 0].var()
    new, old = Formula("(1 - m) old + m new", 0.1 * mean), Formula("m old + (1 - m) new", 0.9 * mean)
    yield convention("BatchNorm's momentum m = 0.1: running mean", new, old, "running_mean", "moving_mean", 0.1)
    unbiased = Formula("new: over N - 1", 0.9 + 0.1 * var * N / (N - 1))
    biased = Formula("new: over N", 0.9 + 0.1 * var)
    quantity = "BatchNorm's running variance, a tenth new"
    yield convention(quantity, unbiased, biased, "running_var", "moving_variance", 0.9)


def _dropout() -> Iterator[Convention]:
    kept, ones = Formula("1 / (1 - p), p the share dropped", 1 / (1 - 0.2)), np.ones((1, 64))
    yield Convention(
        "dropout, p = 0.2: a kept 1 becomes",
        by_library(
            (kept, lambda: hm.Dropout(0.2, rng=0).forward(ones, training=True)[0].max()),
            (kept, lambda: torch.nn.Dropout(0.2)(torch.tensor(ones)).max()),
            keras=(kept, lambda: keras().layers.Dropout(0.2, seed=0)(ones, training=True).max()),
        ),
    )


# ---- initial weights: the largest of many draws from U(-a, a) is a, within `SLACK` ---------------------------------

I, UNITS = 40, 2000
SLACK = 0.02  # 2,000 draws all miss the outer 2 per cent with probability 0.98^2000 = 3e-18


def _own_start(initializer: InitializerName, index: int) -> float:
    layer = hm.Dense(I, UNITS, weight_init=initializer, bias_init=initializer, rng=0)
    parameters: list[Array] = [layer.W, layer.b]
    return float(np.abs(parameters[index]).max())


def _torch_start(index: int) -> torch.Tensor:
    return list(torch.nn.Linear(I, UNITS).parameters())[index].abs().max()


def _sklearn_start(activation: str, index: int) -> float:
    from sklearn.neural_network import MLPRegressor

    options: dict[str, Any] = dict(
        hidden_layer_sizes=(UNITS,), activation=activation, learning_rate_init=1e-9, random_state=0
    )
    estimator = MLPRegressor(**options).partial_fit(np.ones((1, I)), np.ones(1))  # a step of 1e-9
    return float(np.abs((estimator.coefs_, estimator.intercepts_)[index][0]).max())


def _keras_start(index: int) -> float:
    layer = keras().layers.Dense(UNITS)
    layer.build((None, I))
    return float(np.abs(plain((layer.kernel, layer.bias)[index])).max())


def _starts() -> Iterator[Convention]:
    default = Formula("1 / sqrt(I)", 1 / math.sqrt(I))
    glorot = Formula("sqrt(6 / (I + O)), Glorot's", math.sqrt(6 / (I + UNITS)))
    narrow = Formula("sqrt(2 / (I + O))", math.sqrt(2 / (I + UNITS)))
    for index, name, of_keras in (0, "weights", glorot), (1, "biases", Formula("0", 0.0)):
        yield Convention(
            f"start of the {name}: U(-a, a) with a =",
            by_library(
                (default, partial(_own_start, "linear_default", index)),
                (default, partial(_torch_start, index)),
                (glorot, partial(_sklearn_start, "relu", index)),
                (of_keras, partial(_keras_start, index)),
            ),
            SLACK,
        )
    yield Convention(
        "the same of xavier_uniform, and of logistic units",
        by_library(
            (glorot, partial(_own_start, "xavier_uniform", 0)), sklearn=(narrow, partial(_sklearn_start, "logistic", 0))
        ),
        SLACK,
    )


GROUPS = (_normalizations, _running_averages, _dropout, _starts)
