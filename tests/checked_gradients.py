"""Functions and networks to check that several test files share."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import numpy as np

from handmade import MLP, Activation, Concatenate, Dense, LayerNorm, Network, Parallel, Residual
from handmade.checking.entry_checker import EntryChecker
from handmade.checking.neighbourhood import Measurement

SMOOTH, KINKED = ("sigmoid", "tanh", "gelu", "silu", "softplus"), ("relu", "leaky_relu", "elu")


ARCHITECTURES = {
    **{name: functools.partial(MLP, [4, 4, 3], activation=name) for name in SMOOTH + KINKED},
    "one unit": functools.partial(MLP, [4, 3]),
    "deep": functools.partial(MLP, [4, 3, 3, 3, 3], activation="tanh"),
    "no bias": functools.partial(MLP, [4, 4, 3], activation="tanh", bias=False),
    "dropout": functools.partial(MLP, [4, 5, 5, 3], activation="tanh", dropout=0.4),
    "batch norm": functools.partial(MLP, [4, 4, 3], activation="tanh", normalization="batch", bias=False),
    "layer norm": functools.partial(MLP, [4, 4, 3], activation="tanh", normalization="layer"),
    "both": functools.partial(MLP, [4, 4, 3], activation="gelu", normalization="batch", dropout=0.3, bias=False),
    "composites": lambda rng, dtype: Network(
        [
            Parallel([Dense(2, 3, rng=rng)], [Dense(2, 3, rng=rng), Activation("tanh")]),
            Residual([Dense(6, 6, rng=rng), Activation("sigmoid")]),
            Concatenate([Dense(6, 2, rng=rng), LayerNorm(2)]),
            Dense(8, 3, rng=rng),
        ],
        dtype=dtype,
    ),
}


LABELS, REALS = np.array([0, 2, 1, 1, 0, 2, 2]), np.random.default_rng(5).normal(size=(7, 3))


PROBABILITIES = np.exp(REALS) / np.exp(REALS).sum(axis=1, keepdims=True)


TARGETS = {
    "cross_entropy": LABELS,
    "multi_margin_loss": LABELS,
    "l1_loss": REALS,
    "mse_loss": REALS,
    "half_squared_error": REALS,
    "huber_loss": REALS,
    "smooth_l1_loss": REALS,
    "hinge_loss": np.sign(REALS),
    "binary_cross_entropy_with_logits": PROBABILITIES,
}


X = np.random.default_rng(4).normal(size=(7, 4))


def build(architecture, dtype, rng=1):
    return ARCHITECTURES[architecture](rng=rng, dtype=dtype)


def assert_right(result, size):
    assert result, str(result)
    assert result.passed and not result.wrong
    assert sum(block.size for block in result.blocks) == result.total.size == size
    assert result.total.name == "all"
    assert len(result.undecidable) + sum(block.checked for block in result.blocks) == size


THETA = np.array([0.5, -1.25, 0.8])


class Faulty(Dense):
    """A Dense layer, the gradient of which is spoilt after it is right."""

    def __init__(self, *sizes, spoil, **options):
        super().__init__(*sizes, **options)
        self.spoil = spoil

    def backward(self, dA, cache, need_dX=True):
        dX = super().backward(dA, cache, need_dX)
        return self.spoil(self, dX)


def scale_entry(name, index, factor):
    def spoil(layer, dX):
        getattr(layer, name)[index] *= factor
        return dX

    return spoil


def scale_all(name, factor):
    return scale_entry(name, ..., factor)


def network_with(spoil, dtype=np.float64):
    layers = Dense(4, 5, rng=1), Activation("tanh"), Faulty(5, 3, spoil=spoil, rng=2)
    return Network([*layers, Activation("tanh"), Dense(3, 3, rng=3)], dtype=dtype)


def total(theta):
    return float(theta.sum())


# ---- parts of a check ------------------------------------------------------------------------------------------------

MANY = np.random.default_rng(0).uniform(1, 2, 400)


def cubes(theta):
    return float((theta**3).sum()) / 3


def squares_with_errors(at, error=0.1):
    gradient = MANY**2
    gradient[at] += error
    return gradient


class Checker(EntryChecker):
    """One with thresholds in powers of two, so that what is equal to one of them can be written down."""

    DOUBT, SMOOTH, PRECISE, DECISIVE = 8, 2**-10, 2**-20, 2**-3


def measurement(value=1.0, truncation=0.0, rounding=0.0, doubt=0.0, roughness=0.0, sides=None, steady=(False, False)):
    columns = (value, *(sides or (value, value)), truncation, rounding, doubt, roughness, *steady)
    return Measurement(*(np.array([column]) for column in columns))


def subject_of(claimed):
    return SimpleNamespace(claimed=np.array(claimed), rounding=np.zeros(len(claimed)), names={})
