"""Targets: networks of every layer, activation and option, exported and run elsewhere, against float64."""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import handmade as hm
from handmade.activations import ACTIVATIONS
from tests.exports import CC, ROUNDINGS, run_c, run_onnx, scale_of

from .mutate import pick
from .rules import Violation, observe

__all__ = ["TARGETS"]

IN_C = 0.02  # of the cases: a compiler takes a hundred times as long
ROWS = 8


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    """Return a number, sometimes one of the ends."""
    return float(pick(rng, [low, high, rng.uniform(low, high), rng.uniform(low, high)]))


OPTIONS: dict[str, Callable[[np.random.Generator], dict[str, Any]]] = {
    "leaky_relu": lambda rng: {"negative_slope": _between(rng, -1, 2)},
    "elu": lambda rng: {"alpha": _between(rng, 0.1, 3)},
    "celu": lambda rng: {"alpha": _between(rng, 0.1, 3)},
    "gelu": lambda rng: {"approximate": pick(rng, ["none", "tanh"])},
    "softplus": lambda rng: {"beta": _between(rng, 0.1, 4), "threshold": _between(rng, 1, 40)},
    "hardtanh": lambda rng: {"min_val": _between(rng, -2, 0), "max_val": _between(rng, 0.1, 3)},
    "threshold": lambda rng: {"threshold": _between(rng, -1, 1), "value": _between(rng, -3, 3)},
    "softshrink": lambda rng: {"lambd": _between(rng, 0, 2)},
    "hardshrink": lambda rng: {"lambd": _between(rng, 0, 2)},
    "softmax": lambda rng: {"dim": pick(rng, [-1, 1])},
    "log_softmax": lambda rng: {"dim": pick(rng, [-1, 1])},
}


def _activation(rng: np.random.Generator) -> hm.Activation:
    name = pick(rng, list(ACTIVATIONS))
    options = OPTIONS[name](rng) if name in OPTIONS and rng.random() < 0.7 else {}
    return hm.Activation(name, **options)


def _layers(rng: np.random.Generator, width: int, depth: int) -> list[hm.Layer]:
    """Return layers from this width to any other; composites hold layers of their own."""
    layers: list[hm.Layer] = []
    for _ in range(int(rng.integers(1, 4))):
        kinds = KINDS if depth < 2 else KINDS[:-4]
        layer = pick(rng, kinds)(rng, width, depth)
        layers.append(layer)
        width = layer.width_after(width)
    return layers


def _square(rng: np.random.Generator, width: int, depth: int) -> list[hm.Layer]:
    """Return layers that end as wide as they start."""
    layers = _layers(rng, width, depth + 1)
    end = width
    for layer in layers:
        end = layer.width_after(end)
    return [*layers, hm.Dense(end, width, rng=rng)]


def _parallel(rng: np.random.Generator, width: int, depth: int) -> hm.Layer:
    cut = int(rng.integers(1, width)) if width > 1 else width
    widths = [cut, width - cut] if cut < width else [width]
    return hm.Parallel(*([hm.Dense(w, int(rng.integers(1, 4)), rng=rng), _activation(rng)] for w in widths))


def _group_norm(rng: np.random.Generator, width: int, depth: int) -> hm.Layer:
    groups = pick(rng, [n for n in range(1, width + 1) if width % n == 0])
    return hm.GroupNorm(groups, width, eps=_between(rng, 1e-3, 0.1), affine=bool(rng.integers(2)))


KINDS: list[Callable[[np.random.Generator, int, int], hm.Layer]] = [
    lambda rng, width, depth: hm.Dense(width, int(rng.integers(1, 7)), bias=bool(rng.integers(2)), rng=rng),
    lambda rng, width, depth: hm.Dense(width, 2 * int(rng.integers(1, 4)), rng=rng),
    lambda rng, width, depth: _activation(rng),
    lambda rng, width, depth: _activation(rng),
    lambda rng, width, depth: hm.PReLU(pick(rng, [1, width])),
    lambda rng, width, depth: pick(rng, [hm.GLU(), hm.SwiGLU()]) if width % 2 == 0 else hm.Dropout(0.5),
    lambda rng, width, depth: pick(rng, [hm.Dropout, hm.AlphaDropout])(_between(rng, 0, 0.9)),
    lambda rng, width, depth: hm.BatchNorm(width, eps=_between(rng, 1e-5, 0.1), affine=bool(rng.integers(2))),
    lambda rng, width, depth: hm.LayerNorm(width, eps=_between(rng, 1e-3, 0.1), bias=bool(rng.integers(2))),
    lambda rng, width, depth: hm.RMSNorm(width, eps=_between(rng, 1e-3, 0.1)),
    _group_norm,
    lambda rng, width, depth: hm.Sequential(_layers(rng, width, depth + 1)),
    lambda rng, width, depth: hm.Residual(_square(rng, width, depth)),
    lambda rng, width, depth: hm.Concatenate(_layers(rng, width, depth + 1)),
    _parallel,
]


PROBABILITIES = "softmax", "sigmoid"  # which a second softmax would change


def draw_network(rng: np.random.Generator) -> hm.Network:
    """Return a network with any weights and statistics; one that begins with a Dense layer knows its width."""
    first = hm.Dense(int(rng.integers(1, 5)), int(rng.integers(1, 7)), bias=bool(rng.integers(2)), rng=rng)
    network = hm.Network([first, *_layers(rng, first.out_features, 0)])
    network.theta = rng.normal(size=network.theta.size) * pick(rng, [0.1, 1.0, 3.0])
    state = network.state_dict()
    for name, array in state.items():
        if name.endswith(("running_mean", "running_var")):
            state[name] = rng.uniform(0.5, 2, array.shape)
    network.load_state_dict(state)
    return network


def fuzz_exports(rng: np.random.Generator) -> None:
    """Export a network of any layers and run it in ONNX Runtime or as C: what it predicts in float64, but rounded."""
    network, dtype = draw_network(rng), pick(rng, [np.float32, np.float64])
    softmax = bool(rng.random() < 0.2)
    X = (rng.normal(size=(ROWS, network.in_features or 1)) * 10.0 ** rng.integers(-2, 3)).astype(dtype)
    in_c = CC is not None and rng.random() < IN_C
    export = hm.export.to_c if in_c else hm.export.to_onnx
    outcome = observe(lambda: export(network, softmax=softmax, dtype=dtype), ["network"])
    if outcome.error is not None:
        of_logits = network.predict(X).shape[1] > 1 and getattr(network.layers[-1], "function", "") not in PROBABILITIES
        if softmax and not of_logits and str(outcome.error).startswith("softmax: expected"):
            return
        raise Violation("refused", f"{network!r}: {outcome.error}")
    if in_c:
        with tempfile.TemporaryDirectory() as folder:
            actual = run_c(outcome.value, X, Path(folder))
    elif dtype == np.float64 and "Erf" in {node.op_type for node in outcome.value.graph.node}:
        return  # which ONNX Runtime has for float32 alone
    else:
        actual = run_onnx(outcome.value, X)
    exact = hm.Network([*map(copy.deepcopy, network.layers), hm.Activation("softmax")]) if softmax else network
    X = X.astype(np.float64)
    error, scale = np.abs(actual - exact.predict(X)), scale_of(exact, np.abs(X), X)
    bound = np.finfo(dtype).eps * scale * _roundings(exact)
    if not np.all((error <= bound) | ~np.isfinite(scale)):
        raise Violation(
            "wrong", f"{'C' if in_c else 'ONNX'}, {dtype.__name__}, {exact!r}: off by up to {np.max(error - bound):.3g}"
        )


def _roundings(network: hm.Network) -> float:
    """Return how often numbers are rounded on the way: some times in each layer, and once for each product of a sum."""
    return sum(ROUNDINGS + math.log2(1 + (leaf.in_features or 1)) for _, leaf in network.leaves())


TARGETS = {"exports": fuzz_exports}
