"""Targets: constructors and functions with hostile options, and state dicts with hostile values."""

from __future__ import annotations

import copy
import decimal
import fractions
import inspect
import math
import reprlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import handmade as hm
from handmade.activations import ACTIVATIONS
from handmade.initializers import INITIALIZERS
from handmade.losses import LOSSES

from .mutate import pick
from .rules import Violation, observe

__all__ = ["TARGETS"]

HOSTILE: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 3, 10**400, -(10**400), 2**31, 2**63, 2**64),
    *(0.0, -0.0, 0.1, 0.5, 1.0, 1.5, -0.5, math.nan, math.inf, -math.inf, 5e-324, 1e308, 1e-320),
    *("", "mean", "relu", "0.1", b"x", 1j, (), [], [0.1], (0.9,), (0.9, 0.999), (0.9, 1.0), [1, 2], {}, {0: 1.0}),
    *(np.float32(0.1), np.float64(0.1), np.float16(0.5), np.longdouble(0.1), np.int64(2), np.uint8(3), np.bool_(True)),
    *(np.array(0.1), np.array([0.1]), np.array(2), np.array([1.0, 2.0, 3.0]), np.array(["a"]), np.datetime64("NaT")),
    *(fractions.Fraction(1, 3), decimal.Decimal("0.1"), object(), Ellipsis, slice(3)),
]
# What would be asked for honestly, and would take all memory or all time.
LARGE = (2**31, 2**63, 2**64, 10**400, 1e308)


# Other words that errors use for an argument.
ALIASES = ("options", "p:", "in_features", "initializer", "layer", "loss", "activation", "Dense", "BatchNorm")


class Call(NamedTuple):
    """A call with valid arguments: ``counts`` are those of which large numbers are honest requests."""

    function: Callable[..., Any]
    arguments: dict[str, Any]
    counts: tuple[str, ...] = ()


X = np.random.default_rng(0).normal(size=(12, 3))
Y = np.arange(12) % 2
OPTIMIZERS: list[Callable[..., Any]] = [
    *(hm.SGD, hm.Momentum1986, hm.ASGD, hm.Rprop, hm.Lion, hm.Adagrad, hm.RMSprop, hm.Adadelta),
    *(hm.Adam, hm.AdamW, hm.NAdam, hm.RAdam, hm.Adamax, hm.Adafactor, hm.Muon),
]


def _calls() -> dict[str, Callable[[], Call]]:
    """Return the calls by name; each is made anew for each case."""
    calls: dict[str, Callable[[], Call]] = {}
    good = {"max_norm": 1.0, "clip_value": 1.0, "l1": 0.1, "weights": [np.ones((2, 3))]}
    for make in (*OPTIMIZERS, hm.L1, hm.ClipGradNorm, hm.ClipGradValue, hm.MaxNorm, hm.EarlyStopping):
        calls[make.__name__] = lambda make=make, good=good: Call(make, _defaults(make, good))
    for name, (f, _) in ACTIVATIONS.items():
        calls[f"activations.{name}"] = lambda f=f: Call(f, _defaults(f, {"A": X}))
    for name, functions in LOSSES.items():
        target = {"cross_entropy": Y, "multi_margin_loss": Y, "hinge_loss": np.sign(X), "zero_one_loss": np.sign(X)}
        good = {"input": np.full_like(X, 0.3), "target": target.get(name, np.full_like(X, 0.5))}
        calls[f"losses.{name}"] = lambda f=functions.value, good=good: Call(f, _defaults(f, good))
    for name, f in INITIALIZERS.items():
        good = {"shape": (3, 4), "fan_in": 4, "fan_out": 3}
        calls[f"initializers.{name}"] = lambda f=f, good=good: Call(f, _defaults(f, good), tuple(good))
    wide = {"in_features": 3, "out_features": 2}
    calls |= {
        "Dense": lambda: Call(hm.Dense, _defaults(hm.Dense, wide), tuple(wide)),
        "Activation": lambda: Call(hm.Activation, {"function": "leaky_relu", "negative_slope": 0.1}),
        "Dropout": lambda: Call(hm.Dropout, _defaults(hm.Dropout, {"p": 0.5})),
        "BatchNorm": lambda: Call(hm.BatchNorm, _defaults(hm.BatchNorm, {"num_features": 3}), ("num_features",)),
        "LayerNorm": lambda: Call(hm.LayerNorm, _defaults(hm.LayerNorm, {"num_features": 3}), ("num_features",)),
        "RMSNorm": lambda: Call(hm.RMSNorm, _defaults(hm.RMSNorm, {"num_features": 3}), ("num_features",)),
        "GroupNorm": lambda: Call(
            hm.GroupNorm, _defaults(hm.GroupNorm, {"num_groups": 2, "num_channels": 4}), ("num_groups", "num_channels")
        ),
        "AlphaDropout": lambda: Call(hm.AlphaDropout, _defaults(hm.AlphaDropout, {"p": 0.5})),
        "MLP": lambda: Call(hm.MLP, _defaults(hm.MLP, {"sizes": [3, 4, 2]}), ("sizes",)),
        "Network": lambda: Call(hm.Network, {"layers": [hm.Dense(3, 2)], "dtype": None}),
        "Perceptron": lambda: Call(hm.Perceptron, {"bias": True}),
        "delta_rule": lambda: Call(hm.delta_rule, _defaults(hm.delta_rule, {"X": X, "y": Y, "eta": 0.1}), ("epochs",)),
        "train_test_split": lambda: Call(hm.train_test_split, _defaults(hm.train_test_split, {"X": X, "y": Y})),
        "spirals": lambda: Call(
            hm.data.spirals, _defaults(hm.data.spirals, {"n_samples": 4}), ("n_samples", "classes")
        ),
        "moons": lambda: Call(hm.data.moons, _defaults(hm.data.moons, {"n_samples": 4}), ("n_samples",)),
        "blobs": lambda: Call(hm.data.blobs, _defaults(hm.data.blobs, {"n_samples": 4}), ("n_samples", "centers")),
        "parity": lambda: Call(hm.data.parity, {"bits": 3}),
        "confusion_matrix": lambda: Call(hm.metrics.confusion_matrix, {"output": Y, "y": Y, "n_classes": 2}),
        "top_k_accuracy": lambda: Call(hm.metrics.top_k_accuracy, {"output": X, "y": Y, "k": 2}),
        "entropy": lambda: Call(hm.information.entropy, {"p": np.full(4, 0.25), "dim": -1}),
        "show_config": lambda: Call(hm.show_config, {"mode": "dicts"}),
    }
    return calls


def _defaults(function: Callable[..., Any], good: dict[str, Any]) -> dict[str, Any]:
    """Return valid arguments: the defaults, and good ones for the parameters that have none."""
    parameters = inspect.signature(function).parameters.values()
    return {
        p.name: copy.deepcopy(good[p.name]) if p.name in good else p.default
        for p in parameters
        if p.name in good or (p.default is not p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL))
    }


CALLS = _calls()


def fuzz_options(rng: np.random.Generator) -> None:
    """Replace one or two arguments of a valid call."""
    name = pick(rng, list(CALLS))
    call = CALLS[name]()
    names = list(call.arguments)
    for _ in range(1 if rng.random() < 0.8 else 2):
        changed = pick(rng, names)
        value = pick(rng, HOSTILE)
        if not (changed in call.counts and _is_large(value)):
            call.arguments[changed] = value
    said = f"{name}({changed}={reprlib.repr(call.arguments[changed])})"
    inputs = [value for value in call.arguments.values() if isinstance(value, np.ndarray)]
    try:
        observe(lambda: call.function(**call.arguments), [*names, *ALIASES], inputs, most_memory=2**27)
    except Violation as violation:
        raise Violation(violation.kind, f"{said}: {violation}") from violation


def _is_large(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) in LARGE


# ---- state dicts -------------------------------------------------------------------------------------------------


def fuzz_states(rng: np.random.Generator) -> None:
    """Load a state dict with hostile values: nothing changes after an error, and what loads can be used."""
    thing, use = pick(rng, STATES)()
    state = copy.deepcopy(thing.state_dict())
    place = state
    for _ in range(int(rng.integers(1, 3))):
        key = pick(rng, list(place))
        action = rng.random()
        if action < 0.75:
            place[key] = _hostile_value(rng, place[key])
        elif action < 0.85:
            del place[key]
        else:
            place[f"{key}_"] = place.get(key)
        if not place:
            break
    before = repr(thing.state_dict())

    def now() -> str:
        return repr(thing.state_dict())

    names = ["state_dict", *map(str, state), *map(str, thing.state_dict())]
    outcome = observe(lambda: thing.load_state_dict(state), names, (), now)
    if outcome.error is None:
        observe(use, ["theta"], may_overflow=True)
    elif now() != before:
        raise Violation("state", "changed by a failed load")


def _hostile_value(rng: np.random.Generator, value: Any) -> Any:
    """Return a value like the right one, or one of another type."""
    if isinstance(value, np.ndarray) and rng.random() < 0.7:
        array = np.array(value)
        action = int(rng.integers(8))
        if action < 3 and array.size and array.dtype.kind == "f":
            array.flat[0] = [np.nan, np.inf, -1.0][action]
            return array
        others = array.astype(object), array[..., None], array.T, array.tolist(), np.asfortranarray(array)
        return [*others, array.astype(str), np.ma.array(array), array.astype("S")][action]
    return pick(rng, HOSTILE)


def _optimizer(make: Callable[..., Any]) -> Any:
    optimizer, theta = make(lr=0.1), np.ones(4)
    optimizer.bind(hm.Network([hm.Dense(2, 2, bias=False)]))
    optimizer.step(theta, np.full(4, 0.1))
    return optimizer, lambda: optimizer.step(theta, np.full(4, 0.1))


def _network() -> Any:
    network = hm.MLP([3, 4, 2], normalization="batch", rng=0)
    network.loss_and_gradient(X, Y)
    return network, lambda: network.predict(X)


STATES: list[Callable[[], tuple[Any, Callable[[], Any]]]] = [
    *(lambda make=make: _optimizer(make) for make in OPTIMIZERS),
    _network,
    _network,
]

TARGETS = {"options": fuzz_options, "states": fuzz_states}
