"""The types of arguments that need no other module of this package: see `handmade.protocols`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, SupportsFloat, TypeAlias

import numpy as np
import numpy.typing as npt

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
    "quantile_loss",
    "soft_margin_loss",
    "hinge_embedding_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "sigmoid_focal_loss",
    "nll_loss",
    "kl_div",
    "poisson_nll_loss",
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


ActivationPair: TypeAlias = tuple[Callable[..., Array], Callable[..., Array]]  # f(A), and f_backward(dH, A or H)
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
