"""The compiled passes against the NumPy code: random networks, losses and optimizers; errors; threads; plain Python."""

from __future__ import annotations

import copy
import functools
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import handmade as hm
from handmade import losses

pytest.importorskip("numba")
from handmade import compiled  # noqa: E402  # needs numba

partial = functools.partial
ACTIVATIONS = [
    "identity",
    "sigmoid",
    "tanh",
    "relu",
    ("leaky_relu", {"negative_slope": 0.2}),
    ("elu", {"alpha": 0.7}),
    ("softplus", {"beta": 2.0}),
    "silu",
    "gelu",
    ("gelu", {"approximate": "tanh"}),
    "softmax",
]
CLASS_LOSSES = [
    losses.cross_entropy,
    partial(losses.cross_entropy, weight=[0.5, 2.0, 1.0]),
    partial(losses.cross_entropy, label_smoothing=0.1),
    partial(losses.cross_entropy, label_smoothing=0.1, weight=[0.5, 2.0, 1.0], ignore_index=1),
    partial(losses.cross_entropy, ignore_index=2, reduction="sum"),
]
NUMBER_LOSSES = [
    losses.mse_loss,
    losses.half_squared_error,
    losses.l1_loss,
    partial(losses.huber_loss, delta=0.5),
    partial(losses.mse_loss, reduction="sum"),
    partial(losses.binary_cross_entropy_with_logits, pos_weight=[0.5, 1.0, 2.0]),
    losses.cross_entropy,  # of probabilities
]
OPTIMIZERS = [
    partial(hm.SGD, lr=0.1),
    partial(hm.SGD, lr=0.1, weight_decay=0.01, maximize=True),
    partial(hm.SGD, lr=0.05, momentum=0.9, dampening=0.5),
    partial(hm.SGD, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    partial(hm.Momentum1986, lr=0.05),
    partial(hm.Adagrad, lr=0.05, lr_decay=0.1, weight_decay=0.01),
    partial(hm.RMSprop, lr=0.01, momentum=0.9, weight_decay=0.01),
    partial(hm.RMSprop, lr=0.01, centered=True),
    partial(hm.Adam, lr=0.01, weight_decay=0.01),
    partial(hm.Adam, lr=0.01, amsgrad=True),
    partial(hm.AdamW, lr=0.01),
    lambda: hm.Chain(hm.ClipGradNorm(0.5), hm.SGD(lr=0.1)),
]


def layers_of(draw, width: int, depth: int, rng) -> list[hm.Layer]:
    """Draw some layers that keep the width."""
    layers: list[hm.Layer] = []
    for _ in range(draw(st.integers(1, depth))):
        kind = draw(st.sampled_from(["dense", "activation", "activation", "dropout", "batch", "layer", "residual"]))
        if kind == "dense":
            layers.append(hm.Dense(width, width, bias=draw(st.booleans()), rng=rng))
        elif kind == "activation":
            name = draw(st.sampled_from(ACTIVATIONS))
            layers.append(hm.Activation(name) if isinstance(name, str) else hm.Activation(name[0], **name[1]))
        elif kind == "dropout":
            layers.append(hm.Dropout(draw(st.sampled_from([0.0, 0.3])), rng=rng))
        elif kind == "batch":
            layers.append(hm.BatchNorm(width))
        elif kind == "layer":
            layers.append(hm.LayerNorm(width))
        elif depth > 1:
            layers.append(hm.Residual(layers_of(draw, width, depth - 1, rng)))
    return layers or [hm.Dense(width, width, rng=rng)]


@st.composite
def problems(draw):
    """Draw a network, batches, a loss and an optimizer."""
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    I, width = draw(st.sampled_from([1, 3, 20])), draw(st.sampled_from([2, 5, 33]))
    layers = [
        *([hm.Activation("tanh")] if draw(st.booleans()) else []),
        hm.Dense(I, width, rng=rng),
        *layers_of(draw, width, 3, rng),
        hm.Dense(width, 3, rng=rng),
    ]
    network = hm.Network(layers, dtype=draw(st.sampled_from([np.float64, np.float32])))
    of_classes = draw(st.booleans())
    loss = draw(st.sampled_from(CLASS_LOSSES if of_classes else NUMBER_LOSSES))
    weighted = draw(st.booleans()) and "weight" not in getattr(loss, "keywords", {})
    batches = []
    for N in draw(st.lists(st.sampled_from([2, 7, 40]), min_size=1, max_size=3)):
        y = rng.integers(0, 3, N) if of_classes else rng.random((N, 3)).astype(network.dtype)
        w = rng.random(N).astype(network.dtype) if weighted else None
        batches.append((rng.normal(size=(N, I)).astype(network.dtype), y, w))
    return network, batches, loss, draw(st.sampled_from(OPTIMIZERS))


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(problems())
def test_a_step_is_that_of_the_numpy_code(problem):
    network, batches, loss, make_optimizer = problem
    other, optimizer = copy.deepcopy(network), make_optimizer()
    step = hm.compile(network, loss, make_optimizer())
    for X, y, w in batches:
        expected, gradient = other.loss_and_gradient(X, y, loss, sample_weight=w)
        # Sums of at most 40 x 33 terms in another order: some 40 eps, amplified where a normalization divides by
        # a small standard deviation, which the scale of the gradient tells.
        tolerance = 2e3 * np.finfo(network.dtype).eps
        value, _ = copy.deepcopy(step).gradient(X, y, w)
        before = network.theta.copy()
        assert step(X, y, w) == pytest.approx(expected, rel=tolerance, abs=tolerance)
        assert value == pytest.approx(expected, rel=tolerance, abs=tolerance)
        scale = 1 + np.abs(gradient).max()
        np.testing.assert_allclose(network.gradient, gradient, rtol=0, atol=scale * tolerance)
        # The update itself is checked on the compiled gradient: Adam's first steps only know its signs.
        theta, optimizer_gradient = before, network.gradient.copy()
        optimizer.step(theta, optimizer_gradient)
        np.testing.assert_allclose(network.theta, theta, rtol=tolerance, atol=tolerance)
        other.load_state_dict(network.state_dict())
        np.testing.assert_allclose(step.predict(X), other.predict(X), rtol=0, atol=tolerance * (1 + np.abs(X).max()) * 10)
