"""Types of the arguments that functions of this package take: names as literals, objects as protocols.

A checker of types compares a program with them, so that ``loss="cross_entrpy"`` or an optimizer without ``step`` is an
error before the program runs. Nothing here does anything at run time: whatever has the methods of a protocol
satisfies it, without inheriting from it.

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

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, SupportsFloat, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from .history import History
    from .layers import Layer
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

Array: TypeAlias = npt.NDArray[Any]

# ---- names: each literal lists the keys of one table, and a test compares them -------------------------------------

ActivationName = Literal[
    "identity",
    "sigmoid",
    "tanh",
    "relu",
    "leaky_relu",
    "elu",
    "gelu",
    "silu",
    "softplus",
    "softmax",
    "log_softmax",
    "relu6",
    "threshold",
    "hardtanh",
    "hardsigmoid",
    "hardswish",
    "softshrink",
    "hardshrink",
    "selu",
    "celu",
    "mish",
    "logsigmoid",
    "softsign",
    "tanhshrink",
]
LossName = Literal[
    "l1_loss",
    "mse_loss",
    "half_squared_error",
    "huber_loss",
    "smooth_l1_loss",
    "hinge_loss",
    "multi_margin_loss",
    "zero_one_loss",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
]
NormalizationName = Literal["batch", "layer", "rms"]
InitializerName = Literal[
    "constant",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "linear_default",
    "normal",
    "uniform",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]
MetricName = Literal["accuracy", "top_k_accuracy", "r2_score"]
Reduction = Literal["mean", "sum", "none"]
Method = Literal["forward", "central", "richardson", "complex"]

# ---- values --------------------------------------------------------------------------------------------------------

DType: TypeAlias = (
    Literal["float32", "float64"]
    | type[float]  # np.float64 is one
    | type[np.float32]
    | np.dtype[np.float32]
    | np.dtype[np.float64]
)
# The argument of numpy.random.default_rng; in quotes, as numpy.random is imported by those who need it.
RNG: TypeAlias = "int | Sequence[int] | np.random.SeedSequence | np.random.BitGenerator | np.random.Generator | None"

# ---- functions -----------------------------------------------------------------------------------------------------


class LossFunction(Protocol):
    """A loss, or its gradient with respect to ``input``."""

    def __call__(self, input: Any, target: Any, /) -> Any: ...


class InitializerFunction(Protocol):
    """A function that draws the first values of a parameter of the given shape."""

    def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, rng: np.random.Generator, /) -> Array: ...


class MetricFunction(Protocol):
    """A score of the network's outputs, given the targets."""

    def __call__(self, output: Array, y: Array, /) -> SupportsFloat: ...


class Callback(Protocol):
    """A function that `handmade.fit` calls after each epoch."""

    def __call__(self, network: Network, history: History, /) -> object: ...


ActivationPair: TypeAlias = tuple[Callable[..., Array], Callable[..., Array]]  # f(A), and f_backward(dH, A or H)
Activation: TypeAlias = "ActivationName | ActivationPair | Layer"
Initializer: TypeAlias = InitializerName | InitializerFunction
Loss: TypeAlias = LossName | LossFunction | tuple[LossFunction, LossFunction]
Metric: TypeAlias = MetricName | MetricFunction

# ---- objects -------------------------------------------------------------------------------------------------------


class Optimizer(Protocol):
    """An object that changes theta in place, given the gradient of the loss, both of shape (P,)."""

    def step(self, theta: Array, gradient: Array, /) -> object: ...


class HasLearningRate(Protocol):
    """An object whose learning rate a schedule can set."""

    lr: float


class Schedule(Protocol):
    """An object that sets the next learning rate at each step."""

    def step(self) -> None: ...


class MetricSchedule(Protocol):
    """An object that sets the next learning rate in view of a loss or a score."""

    def step(self, metric: float, /) -> None: ...


class HasState(Protocol):
    """An object whose state can be saved and restored."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None: ...
