"""Types of the arguments that functions of this package take: names as literals, objects as protocols.

A type checker compares a program with them, so that ``loss="cross_entrpy"`` or an optimizer without ``step`` is an
error before the program runs. They have no effect at run time. An object satisfies a protocol if it has the protocol's
methods; it need not inherit from it.

Examples
--------
An optimizer is any object with ``step(theta, gradient)``:

>>> import numpy as np, handmade as hm
>>> class SignDescent:
...     def step(self, theta: hm.protocols.Array, gradient: hm.protocols.Array) -> None:
...         theta -= 0.01 * np.sign(gradient)
>>> optimizer: hm.protocols.Optimizer = SignDescent()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

from ._types import (
    RNG,
    ActivationName,
    ActivationPair,
    Array,
    DType,
    HasLearningRate,
    HasState,
    Initializer,
    InitializerFunction,
    InitializerName,
    Loss,
    LossFunction,
    LossName,
    Method,
    Metric,
    MetricFunction,
    MetricName,
    MetricSchedule,
    NormalizationName,
    Optimizer,
    Reduction,
    Schedule,
)

if TYPE_CHECKING:
    from .base_layer import Layer
    from .history import History
    from .network import Network

__all__ = [
    "Activation",
    "ActivationName",
    "ActivationPair",
    "Array",
    "Callback",
    "DType",
    "HasLearningRate",
    "HasState",
    "Initializer",
    "InitializerFunction",
    "InitializerName",
    "Loss",
    "LossFunction",
    "LossName",
    "Method",
    "Metric",
    "MetricFunction",
    "MetricName",
    "MetricSchedule",
    "NormalizationName",
    "Optimizer",
    "RNG",
    "Reduction",
    "Schedule",
]

Activation: TypeAlias = "ActivationName | ActivationPair | Layer"


class Callback(Protocol):
    """A function that `handmade.fit` calls after each epoch."""

    def __call__(self, network: Network, history: History, /) -> object: ...
