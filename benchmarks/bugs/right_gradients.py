"""Right gradients of nine kinds, which neither check_gradient nor diagnose_gradient may call wrong.

They are of kinds for which a check easily errs: networks of all layers, user-defined activations, points at kinks,
float32, depth, saturation, a batch of one, scales from 1e-6 to 1e3, and programs without this package.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

import handmade as hm
from handmade.protocols import Array

from .claims import Claim, of_problem, of_program
from .public import Problem
from .trial import random_setting

__all__ = ["KINDS", "right_gradient"]

KINDS = (
    "all layers",
    "user-defined activations",
    "points at kinks",
    "float32",
    "6 to 10 layers",
    "saturated",
    "batch of one",
    "scales 1e-6 to 1e3",
    "programs of students",
)
Pair = tuple[Callable[[Array], Array], Callable[[Array, Array], Array]]


def right_gradient(seed: int) -> tuple[str, str, Claim]:
    """Return the kind of a right gradient, a description, and the claim; consecutive seeds have different kinds.

    Examples
    --------
    >>> kind, description, claim = right_gradient(3)
    >>> kind, claim.dtype, claim.is_accused()
    ('float32', dtype('float32'), False)
    """
    rng = np.random.default_rng(seed)
    kind = KINDS[seed % len(KINDS)]
    if kind == "programs of students":
        while True:
            setting = random_setting(rng)
            claim = of_program(setting, setting.text, seed)
            if np.isfinite(claim.gradient(claim.theta)).all():  # not finite if 1 - p rounds to 0 and is divided by
                return kind, f"seed {seed}: {setting}, {np.dtype(setting.dtype).name}", claim
    while True:
        description, claim = _draw(rng, kind, seed)
        if kind != "points at kinks" or _is_between(claim):
            return kind, f"seed {seed}: {description}", claim


def _draw(rng: np.random.Generator, kind: str, seed: int) -> tuple[str, Claim]:
    network = _network(rng, kind)
    rows = 1 if kind == "batch of one" else int(rng.integers(2, 20))
    loss, X, y = _batch(rng, network, rows)
    if kind == "points at kinks":
        network.theta, X = np.round(2 * network.theta), np.round(X)
    if kind == "saturated":
        network.theta = network.theta * rng.choice([5.0, 20.0])
    if kind == "scales 1e-6 to 1e3":
        X = X * 10 ** rng.uniform(-6, 3)
        network.theta = network.theta * 10 ** rng.uniform(-2, 1)
    own = hm.Network.__copy__(network)
    name = getattr(loss, "__name__", "label smoothing" if callable(loss) else loss)
    return f"{network!r}, {name}, N = {rows}", _claim(network, own, X, y, loss, seed)


def _is_between(claim: Claim) -> bool:
    """Return whether each entry lies between the one-sided derivatives of the function, measured by differences.

    At several kinks at once, backpropagation may be wrong: max(x, 0) - max(-x, 0) has the slope 1 at 0, and
    backpropagation gives 0. Such points are drawn again.
    """
    claimed, step, at = claim.gradient(claim.theta), 1e-6, claim.value(claim.theta)
    smallest = 1e-5 * np.abs(claimed).max()  # the resolution of differences with this step
    for i, entry in enumerate(claimed):
        sides = []
        for h in (step, -step):
            moved = claim.theta.copy()
            moved[i] += h
            sides.append((claim.value(moved) - at) / h)
        room = 1e-4 * max(map(abs, sides)) + smallest  # curvature: a hundred times the step
        if not min(sides) - room <= entry <= max(sides) + room:
            return False
    return True


def _claim(network: hm.Network, own: hm.Network, X: Array, y: Array, loss: Any, seed: int) -> Claim:
    """Return the claim of handmade's gradient, given as a function of (parameters, X, y) or as arrays."""
    fresh = [layer.rng.bit_generator.state for _, layer in own.leaves() if isinstance(layer, hm.Dropout)]

    def gradient(parameters: Any, X: Array, y: Array) -> list[Array]:
        dropouts = [layer for _, layer in own.leaves() if isinstance(layer, hm.Dropout)]
        for layer, state in zip(dropouts, fresh, strict=True):
            layer.rng.bit_generator.state = state
        own.theta = np.concatenate([np.ravel(p) for p in parameters])
        return list(own.blocks(own.loss_and_gradient(X, y, loss)[1].copy()).values())

    return of_problem(Problem(X.astype(network.dtype), y, network, loss), gradient, as_function=seed % 2 == 0)


# ---- networks ------------------------------------------------------------------------------------------------------


def _network(rng: np.random.Generator, kind: str) -> hm.Network:
    """Return a random network of a kind."""
    deep = kind == "6 to 10 layers"
    depth = int(rng.integers(6, 11)) if deep else int(rng.integers(1, 4))
    width = [int(rng.integers(2, 4 if deep else 8)) for _ in range(depth)]
    chosen = _activations(rng, kind)
    layers: list[hm.Layer] = []
    before = int(rng.integers(1, 7))
    for features in width:
        layers += [_dense(rng, before, features)]
        block = str(rng.choice(BLOCKS)) if kind == "all layers" else "plain"
        extra, before = _block(rng, block, features, chosen)
        layers += extra
    layers.append(_dense(rng, before, int(rng.integers(2, 5))))
    single = kind == "float32" or (kind != "points at kinks" and rng.random() < 0.2)
    network = hm.Network(layers, dtype=np.float32 if single else np.float64)
    if kind == "all layers":  # gamma and beta, too, are random
        network.theta = network.theta + rng.normal(scale=0.2, size=network.theta.size)
    return network


BLOCKS = ("plain", "batch", "layer", "dropout", "residual", "concatenate", "parallel")


def _block(rng: np.random.Generator, block: str, features: int, chosen: Any) -> tuple[list[hm.Layer], int]:
    """Return the layers after a Dense layer, and the width of their output."""
    activation = hm.Activation(chosen)
    if block == "batch":
        return [hm.BatchNorm(features), activation], features
    if block == "layer":
        return [hm.LayerNorm(features), activation], features
    if block == "dropout":
        return [activation, hm.Dropout(0.3, rng=int(rng.integers(1000)))], features
    if block == "residual":
        return [hm.Residual([_dense(rng, features, features), activation])], features
    if block == "concatenate":
        return [hm.Concatenate([_dense(rng, features, 3), activation])], features + 3
    if block == "parallel" and features > 1:
        return [hm.Parallel([_dense(rng, 1, 2), activation], [_dense(rng, features - 1, 3)])], 5
    return [activation], features


def _dense(rng: np.random.Generator, inputs: int, outputs: int) -> hm.Dense:
    return hm.Dense(inputs, outputs, rng=int(rng.integers(1 << 30)))


# ---- activations ---------------------------------------------------------------------------------------------------


def _activations(rng: np.random.Generator, kind: str) -> Any:
    if kind == "points at kinks":
        return str(rng.choice(["relu", "leaky_relu"])) if rng.random() < 0.3 else _kinked(rng)
    if kind == "user-defined activations":
        return OWN[rng.integers(len(OWN))]
    if kind == "saturated":
        return str(rng.choice(["sigmoid", "tanh"]))
    return str(rng.choice(["sigmoid", "tanh", "relu", "leaky_relu", "elu", "gelu", "silu", "softplus"]))


def _kinked(rng: np.random.Generator) -> Pair:
    """Return a piecewise linear activation; its derivative at a kink lies between the one-sided derivatives."""
    between = float(rng.uniform())
    kind = rng.integers(4)
    if kind == 0:
        return _pair(lambda A: np.maximum(A, 0), lambda A: np.where(A == 0, between, A > 0))
    if kind == 1:
        return _pair(np.abs, lambda A: np.where(A == 0, 2 * between - 1, np.sign(A)))
    if kind == 2:
        return _pair(lambda A: np.clip(A, -1, 1), lambda A: np.where(abs(A) == 1, between, abs(A) < 1))
    return _pair(lambda A: np.where(A > 0, A, 0.2 * A), lambda A: np.where(A >= 0, 1.0, 0.2))


def _pair(f: Callable[[Array], Array], slope: Callable[[Array], Array]) -> Pair:
    return f, functools.partial(_times_slope, slope)


def _times_slope(slope: Callable[[Array], Array], dH: Array, A: Array) -> Array:
    return dH * slope(A).astype(dH.dtype)


def _swish(A: Array) -> Array:
    return A / (1 + np.exp(-A))


def _swish_slope(A: Array) -> Array:
    s = 1 / (1 + np.exp(-A))
    return s * (1 + A * (1 - s))


OWN: tuple[Pair, ...] = (
    _pair(lambda A: np.maximum(A, 0), lambda A: A > 0),
    _pair(lambda A: A / (1 + abs(A)), lambda A: 1 / (1 + abs(A)) ** 2),
    _pair(lambda A: A * A / 2, lambda A: A),
    _pair(np.sin, np.cos),
    _pair(_swish, _swish_slope),
    _pair(np.arctan, lambda A: 1 / (1 + A * A)),
    _pair(lambda A: np.exp(-A * A), lambda A: -2 * A * np.exp(-A * A)),
    _pair(lambda A: np.clip(A, -1, 1), lambda A: abs(A) < 1),
    _pair(lambda A: np.where(A > 0, A * A, 0), lambda A: 2 * np.maximum(A, 0)),
)


# ---- batches -------------------------------------------------------------------------------------------------------

LOSSES: tuple[tuple[Any, str], ...] = (
    ("cross_entropy", "classes"),
    (functools.partial(hm.losses.cross_entropy, label_smoothing=0.1), "classes"),
    ("multi_margin_loss", "classes"),
    ("mse_loss", "numbers"),
    ("half_squared_error", "numbers"),
    ("l1_loss", "numbers"),
    ("huber_loss", "numbers"),
    ("binary_cross_entropy_with_logits", "bits"),
    ("hinge_loss", "signs"),
)


def _batch(rng: np.random.Generator, network: hm.Network, rows: int) -> tuple[Any, Array, Array]:
    """Return a loss, inputs and targets."""
    loss, kind = LOSSES[rng.integers(len(LOSSES))]
    K = network.width_after(network.in_features or 1)
    X = rng.normal(size=(rows, network.in_features or 1))
    shape = (rows, K)
    y = {
        "classes": lambda: rng.integers(0, K, rows),
        "numbers": lambda: rng.normal(size=shape),
        "bits": lambda: rng.integers(0, 2, shape) * 1.0,
        "signs": lambda: rng.choice([-1.0, 1.0], size=shape),
    }[kind]()
    return loss, X, y
