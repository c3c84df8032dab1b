"""Reprs that look like a call: pasted back, they build an object of the same configuration."""

from __future__ import annotations

import copy
import inspect

import numpy as np
import pytest

import handmade as hm

LAYERS = [
    hm.Dense(2, 3),
    hm.Dense(np.int64(2), 3, bias=False),
    hm.PReLU(),
    hm.PReLU(3, 0.1),
    hm.GLU(),
    hm.GLU("tanh"),
    hm.SwiGLU(),
    hm.Dropout(0.5),
    hm.Dropout(0.123456789012),
    hm.Dropout(np.float32(0.1)),
    hm.AlphaDropout(1 / 3),
    *(hm.Activation(name) for name in hm.activations.ACTIVATIONS),
    hm.Activation("elu", alpha=1 / 3),
    hm.Activation("gelu", approximate="tanh"),
    *(hm.BatchNorm(4, **{name: value}) for name, value in [("eps", 1e-3), ("momentum", None), ("affine", False)]),
    hm.BatchNorm(4, 1e-4, 0.2, False, False, bias=False),
    *(hm.LayerNorm(4, **{name: False}) for name in ("elementwise_affine", "bias")),
    hm.LayerNorm((4,), 1 / 7),
    hm.RMSNorm(4),
    hm.RMSNorm(4, 1e-6, False),
    hm.GroupNorm(2, 4),
    hm.GroupNorm(2, 4, 1e-3, False, bias=False),
]
NETWORKS = [
    hm.Sequential([hm.Dense(2, 3), hm.LayerNorm(3, bias=False)]),
    hm.Residual([hm.Dense(2, 2), hm.Activation("tanh")]),
    hm.Concatenate([hm.Dense(2, 3)]),
    hm.Parallel([hm.Residual([hm.Dense(2, 2)])], [hm.Dense(3, 1)]),
    hm.Network([hm.Concatenate([hm.Dense(2, 3), hm.PReLU(3, 0.1)]), hm.Dense(5, 1)]),
    hm.MLP([3, 4, 2], "tanh", dropout=0.1, normalization="rms"),
]
OPTIMIZERS = [
    make(**options)
    for make in (getattr(hm.optimizers, name) for name in hm.optimizers.__all__)
    if inspect.isclass(make) and "lr" in inspect.signature(make).parameters
    for options in ({}, {"lr": 1 / 3})
]
SGD = hm.SGD(lr=0.1, momentum=0.9)
SCHEDULES = [
    hm.StepLR(SGD, 10, 1 / 3),
    hm.MultiStepLR(SGD, [3, 5]),
    hm.ExponentialLR(SGD, 0.9),
    hm.ConstantLR(SGD),
    hm.LinearLR(SGD, 1 / 7),
    hm.PolynomialLR(SGD, 5, 2.0),
    hm.CosineAnnealingLR(SGD, 10, 0.01),
    hm.CosineAnnealingWarmRestarts(SGD, 10),
    hm.CyclicLR(SGD, 0.01, 0.1),
    hm.OneCycleLR(SGD, 0.1, 100),
    hm.ReduceLROnPlateau(SGD, patience=3),
]
OTHERS = [
    hm.EarlyStopping(patience=3),
    hm.ClipGradNorm(1 / 3),
    hm.ClipGradValue(0.5),
    hm.Chain(hm.ClipGradNorm(1.0), SGD),
]


def names():
    """Return what a reader has imported."""
    return {name: getattr(hm, name) for name in hm.__all__} | vars(hm.optimizers) | {"inf": np.inf, "nan": np.nan}


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_layers_can_be_pasted_back(layer):
    again = eval(repr(layer), names())
    assert type(again) is type(layer) and again.config() == layer.config() and repr(again) == repr(layer)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: type(network).__name__)
def test_networks_can_be_pasted_back(network):
    again = eval(repr(network), names())
    assert isinstance(network, type(again)) and repr(again) == repr(network)
    assert [(name, leaf.config()) for name, leaf in again.leaves()] == [
        (n, leaf.config()) for n, leaf in network.leaves()
    ]


@pytest.mark.parametrize("thing", [*OPTIMIZERS, *OTHERS], ids=lambda thing: repr(thing)[:60])
def test_optimizers_can_be_pasted_back(thing):
    again = eval(repr(thing), names())
    assert type(again) is type(thing) and repr(again) == repr(thing)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: type(schedule).__name__)
def test_schedules_can_be_pasted_back(schedule):
    again = eval(repr(schedule), names())
    assert type(again) is type(schedule)
    for name in inspect.signature(type(schedule)).parameters.keys() - {"optimizer", "last_epoch"}:  # which move on
        assert getattr(again, name) == getattr(schedule, name)


def test_a_repr_has_the_name_of_the_class():
    """An error that names a layer of one's own would otherwise blame the class that it derives from."""
    for part in [*LAYERS, *NETWORKS, *OPTIMIZERS, hm.Chain(hm.SGD())]:
        if not isinstance(part, hm.Network):
            own = copy.copy(part)
            own.__class__ = type("Own", (type(part),), {})
            assert repr(own) == repr(part).replace(type(part).__name__, "Own", 1)
