"""The tables that give each NumPy function its compiled form, a function of one number, with its options."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .. import activations, losses
from . import functions as f


class Function(NamedTuple):
    """A row of a table: the NumPy function, its compiled form and derivative, and the options that these take.

    Attributes
    ----------
    function, f, slope : callable
        The NumPy function; f and f' of one number.
    options : mapping of str to float
        The names of the options, in the order in which f takes them, and their defaults.
    only : mapping of str to object
        Options that select a formula of the NumPy function: the row is for these values only.
    positive : tuple of str
        Options that must be above 0.
    over_outputs : bool
        For a loss: whether its mean is over samples and outputs, or over samples alone.
    targets : tuple of two floats
        For a loss: the smallest and the largest valid target.
    """

    function: Callable[..., Any]
    f: Callable[..., Any]
    slope: Callable[..., Any]
    options: Mapping[str, float] = {}
    only: Mapping[str, Any] = {}
    positive: tuple[str, ...] = ()
    over_outputs: bool = True
    targets: tuple[float, float] = (-math.inf, math.inf)


ACTIVATIONS = [
    Function(activations.identity, f.identity, f.identity_slope),
    Function(activations.relu, f.relu, f.relu_slope),
    Function(activations.leaky_relu, f.leaky_relu, f.leaky_relu_slope, {"negative_slope": 0.01}),
    Function(activations.sigmoid, f.sigmoid, f.sigmoid_slope),
    Function(activations.tanh, f.tanh, f.tanh_slope),
    Function(activations.elu, f.elu, f.elu_slope, {"alpha": 1.0}),
    Function(activations.softplus, f.softplus, f.softplus_slope, {"beta": 1.0}),
    Function(activations.silu, f.silu, f.silu_slope),
    Function(activations.gelu, f.gelu, f.gelu_slope, only={"approximate": "none"}),
    Function(activations.gelu, f.gelu_tanh, f.gelu_tanh_slope, only={"approximate": "tanh"}),
    Function(activations.logsigmoid, f.logsigmoid, f.logsigmoid_slope),
    Function(activations.relu6, f.hardtanh, f.hardtanh_slope, {"min_val": 0.0, "max_val": 6.0}),
    Function(activations.threshold, f.threshold, f.threshold_slope, {"threshold": 0.0, "value": 0.0}),
    Function(activations.hardtanh, f.hardtanh, f.hardtanh_slope, {"min_val": -1.0, "max_val": 1.0}),
    Function(activations.hardsigmoid, f.hardsigmoid, f.hardsigmoid_slope),
    Function(activations.hardswish, f.hardswish, f.hardswish_slope),
    Function(activations.softshrink, f.softshrink, f.shrink_slope, {"lambd": 0.5}),
    Function(activations.hardshrink, f.hardshrink, f.shrink_slope, {"lambd": 0.5}),
    Function(activations.selu, f.selu, f.selu_slope),
    Function(activations.celu, f.celu, f.celu_slope, {"alpha": 1.0}, positive=("alpha",)),
    Function(activations.mish, f.mish, f.mish_slope),
    Function(activations.softsign, f.softsign, f.softsign_slope),
    Function(activations.tanhshrink, f.tanhshrink, f.tanhshrink_slope),
]

TERMS = [
    Function(losses.mse_loss, f.square, f.square_slope),
    Function(losses.half_squared_error, f.half_square, f.half_square_slope, over_outputs=False),
    Function(losses.l1_loss, f.distance, f.distance_slope),
    Function(losses.huber_loss, f.huber, f.huber_slope, {"delta": 1.0}),
    Function(losses.binary_cross_entropy_with_logits, f.logit, f.logit_slope, {"pos_weight": 1.0}, targets=(0, 1)),
]
