"""The tables of activations, losses and optimizers that tests, verification and benchmarks share.

To add an activation, a loss or an optimizer, add its row here, too. Tests require a row for each registered name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import mpmath
import numpy as np
from mpmath import mpf

from handmade.losses import LOSSES as FUNCTIONS
from handmade.protocols import ActivationName, Array, LossName

from . import exact_formulas as exact

__all__ = ["ACTIVATIONS", "LOSSES", "OPTIMIZERS", "ActivationCase", "LossCase"]

Exact = Callable[..., Any]  # of mpmath numbers
Domain = Literal["numbers", "logits", "probabilities"]

# ---- activations -----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class ActivationCase:
    """A row for an activation with some options.

    Attributes
    ----------
    name : str
        A name of `handmade.activations.ACTIVATIONS`.
    torch : str
        The class in torch.nn, which takes the same options.
    exact : callable
        ``exact(a, **options)`` is the value in mpmath; for functions along classes, a is a list of logits.
    slope : callable, optional
        The derivative in mpmath. By default it is computed from ``exact``, which takes longer.
    options : dict
        Options of the functions of both libraries.
    domain : {"numbers", "logits"}
        "logits" for functions along classes.
    ulp : float
        The largest error that is promised, in ULP; infinite if PyTorch's error alone is the bound.
    smooth : bool
        Whether the function has derivatives of every order.
    """

    name: ActivationName
    torch: str
    exact: Exact
    slope: Exact | None = None
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    domain: Domain = "numbers"
    ulp: float = np.inf
    smooth: bool = True

    @property
    def label(self) -> str:
        """The name with the values of the options, such as "elu 0.7"."""
        return " ".join(map(str, [self.name, *self.options.values()]))


ACTIVATIONS = (
    ActivationCase("identity", "Identity", lambda a: a, lambda a: mpf(1)),
    ActivationCase("sigmoid", "Sigmoid", exact.sigmoid, exact.sigmoid_slope, ulp=4),
    ActivationCase("tanh", "Tanh", mpmath.tanh, exact.tanh_slope, ulp=4),
    ActivationCase("relu", "ReLU", lambda a: max(a, 0), lambda a: mpf(a > 0), smooth=False),
    ActivationCase("leaky_relu", "LeakyReLU", exact.leaky_relu, exact.leaky_relu_slope, smooth=False),
    ActivationCase(
        "leaky_relu", "LeakyReLU", exact.leaky_relu, exact.leaky_relu_slope, {"negative_slope": 0.1}, smooth=False
    ),
    ActivationCase("elu", "ELU", exact.elu, exact.elu_slope, ulp=4, smooth=False),
    ActivationCase("elu", "ELU", exact.elu, exact.elu_slope, {"alpha": 0.7}, ulp=4, smooth=False),
    ActivationCase("gelu", "GELU", exact.gelu, exact.gelu_slope, ulp=8),
    ActivationCase("gelu", "GELU", exact.gelu, exact.gelu_slope, {"approximate": "tanh"}, ulp=16),
    ActivationCase("silu", "SiLU", exact.silu, exact.silu_slope, ulp=4),
    ActivationCase("softplus", "Softplus", exact.softplus, exact.softplus_slope, ulp=4),
    ActivationCase("softplus", "Softplus", exact.softplus, exact.softplus_slope, {"beta": 2.0}, ulp=4),
    ActivationCase("softmax", "Softmax", exact.softmax, exact.softmax_slope, domain="logits", ulp=16),
    ActivationCase("log_softmax", "LogSoftmax", exact.log_softmax, exact.log_softmax_slope, domain="logits", ulp=8),
    ActivationCase("selu", "SELU", exact.selu, exact.selu_slope, ulp=4, smooth=False),
    ActivationCase("celu", "CELU", exact.celu, exact.celu_slope, {"alpha": 2.0}, ulp=4, smooth=False),
    ActivationCase("mish", "Mish", exact.mish, exact.mish_slope, ulp=8),
    ActivationCase(
        "logsigmoid", "LogSigmoid", lambda a: -mpmath.log1p(mpmath.exp(-a)), lambda a: exact.sigmoid(-a), ulp=4
    ),
    ActivationCase("softsign", "Softsign", lambda a: a / (1 + abs(a)), lambda a: (1 + abs(a)) ** -2, ulp=4),
    ActivationCase("tanhshrink", "Tanhshrink", exact.tanhshrink, lambda a: mpmath.tanh(a) ** 2, ulp=8),
    ActivationCase("relu6", "ReLU6", exact.relu6, exact.relu6_slope, smooth=False),
    ActivationCase(
        "hardtanh",
        "Hardtanh",
        exact.hardtanh,
        exact.hardtanh_slope,
        {"min_val": -0.5, "max_val": 2.0},
        smooth=False,
    ),
    ActivationCase("hardsigmoid", "Hardsigmoid", exact.hardsigmoid, exact.hardsigmoid_slope, ulp=4, smooth=False),
    ActivationCase("hardswish", "Hardswish", exact.hardswish, exact.hardswish_slope, ulp=4, smooth=False),
    ActivationCase("softshrink", "Softshrink", exact.softshrink, exact.shrink_slope, {"lambd": 0.25}, smooth=False),
    ActivationCase("hardshrink", "Hardshrink", exact.hardshrink, exact.shrink_slope, smooth=False),
    ActivationCase(
        "threshold",
        "Threshold",
        exact.threshold,
        lambda a, threshold, value: mpf(a > threshold),
        {"threshold": 0.5, "value": -0.25},
        smooth=False,
    ),
)


# ---- losses ----------------------------------------------------------------------------------------------------------


def class_indices(labels: Array) -> Array:
    """Return the labels as they are."""
    return labels


def one_hot(labels: Array) -> Array:
    """Return a row per label, of a one among zeros."""
    return np.eye(10)[labels]


def signs(labels: Array) -> Array:
    """Return a row per label, of a +1 among -1."""
    return 2 * one_hot(labels) - 1


def soft(labels: Array) -> Array:
    """Return a distribution per label that prefers the label."""
    return 0.7 * one_hot(labels) + 0.03


def sets_of_labels(labels: Array) -> Array:
    """Return a row per label: the label and the next one, followed by -1."""
    return np.stack([labels, (labels + 1) % 10, *[np.full_like(labels, -1)] * 8], axis=1)


def some_ignored(labels: Array) -> Array:
    """Return the labels, with every fifth replaced by -100."""
    return np.where(np.arange(len(labels)) % 5 == 0, -100, labels)


@dataclasses.dataclass(frozen=True)
class LossCase:
    """A row for a loss with some options.

    Attributes
    ----------
    name : str
        A name of `handmade.losses.LOSSES`.
    target : callable
        ``target(labels)`` returns the targets for digits.
    options : dict
        Options of the functions of both libraries.
    label : str
        A description of the options or the targets, which follows the name in tables.
    exact, slope : callable, optional
        One term of the loss without options, and its derivative, in mpmath: of a number and its target, or of a list of
        logits whose first class is the target. By default, the derivative is computed from ``exact``.
    domain : {"numbers", "logits", "probabilities"}
        The kind of the loss's input.
    targets : tuple of float
        The targets that ``exact`` is measured for, on numbers and probabilities.
    ulp : float
        The largest error that is promised, in ULP; infinite if PyTorch's error alone is the bound.
    smooth : bool
        Whether the loss has derivatives of every order.
    """

    name: LossName
    target: Callable[[Array], Array]
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    label: str = ""
    exact: Exact | None = None
    slope: Exact | None = None
    domain: Domain = "numbers"
    targets: tuple[float, ...] = (0.75,)
    ulp: float = np.inf
    smooth: bool = True

    @property
    def title(self) -> str:
        """The name, followed by the label."""
        return f"{self.name} {self.label}".rstrip()

    @property
    def objective(self) -> LossName | partial[Any]:
        """The loss as `handmade.losses.find_loss` takes it."""
        return partial(FUNCTIONS[self.name].value, **self.options) if self.options else self.name


# Class weights and positive weights: any positive numbers that differ.
WEIGHT = np.linspace(0.5, 2.0, 10)

LOSSES = (
    LossCase(
        "cross_entropy",
        class_indices,
        exact=exact.cross_entropy,
        slope=exact.cross_entropy_slope,
        domain="logits",
        ulp=8,
    ),
    LossCase("mse_loss", one_hot, exact=lambda x, y: (x - y) ** 2, slope=lambda x, y: 2 * (x - y)),
    LossCase(
        "binary_cross_entropy_with_logits",
        one_hot,
        exact=exact.binary_cross_entropy_with_logits,
        slope=exact.binary_cross_entropy_with_logits_slope,
        targets=(1, 0),
        ulp=4,
    ),
    LossCase("half_squared_error", one_hot, exact=lambda x, y: (x - y) ** 2 / 2, slope=lambda x, y: x - y),
    LossCase("half_squared_error", one_hot, {"reduction": "sum"}, "sum"),
    LossCase("l1_loss", one_hot, exact=lambda x, y: abs(x - y), slope=lambda x, y: mpmath.sign(x - y), smooth=False),
    LossCase("huber_loss", one_hot, exact=exact.huber_loss, slope=exact.huber_loss_slope, smooth=False),
    LossCase("huber_loss", one_hot, {"delta": 0.5}, "delta 0.5", smooth=False),
    LossCase("smooth_l1_loss", one_hot, exact=exact.smooth_l1_loss, slope=exact.smooth_l1_loss_slope, smooth=False),
    LossCase("smooth_l1_loss", one_hot, {"beta": 0.5}, "beta 0.5", smooth=False),
    LossCase("hinge_loss", signs, exact=exact.hinge_loss, slope=exact.hinge_loss_slope, targets=(1,), smooth=False),
    LossCase(
        "multi_margin_loss",
        class_indices,
        exact=exact.multi_margin_loss,
        slope=exact.multi_margin_loss_slope,
        domain="logits",
        smooth=False,
    ),
    LossCase("multi_margin_loss", class_indices, {"weight": WEIGHT}, "weighted", smooth=False),
    LossCase("multi_margin_loss", class_indices, {"p": 2}, "p 2", smooth=False),
    LossCase(
        "cross_entropy",
        soft,
        label="soft",
        exact=exact.cross_entropy,
        slope=exact.cross_entropy_slope,
        domain="logits",
        ulp=8,
    ),
    LossCase("cross_entropy", class_indices, {"label_smoothing": 0.1}, "smoothed"),
    LossCase("cross_entropy", some_ignored, {"weight": WEIGHT, "label_smoothing": 0.1}, "weighted, ignoring"),
    LossCase("binary_cross_entropy_with_logits", one_hot, {"pos_weight": WEIGHT}, "pos_weight"),
    LossCase(
        "binary_cross_entropy",
        one_hot,
        exact=exact.binary_cross_entropy,
        slope=exact.binary_cross_entropy_slope,
        domain="probabilities",
        targets=(1, 0),
    ),
    LossCase(
        "quantile_loss", one_hot, exact=exact.quantile_loss, slope=lambda x, y: mpmath.sign(x - y) / 2, smooth=False
    ),
    LossCase("quantile_loss", one_hot, {"quantile": 0.9}, "0.9", smooth=False),
    LossCase(
        "soft_margin_loss",
        signs,
        exact=lambda x, y: mpmath.log1p(mpmath.exp(-y * x)),
        slope=lambda x, y: -y * exact.sigmoid(-y * x),
        targets=(1, -1),
        ulp=4,
    ),
    LossCase(
        "hinge_embedding_loss",
        signs,
        exact=exact.hinge_embedding_loss,
        slope=exact.hinge_embedding_loss_slope,
        targets=(1, -1),
        smooth=False,
    ),
    LossCase(
        "multilabel_margin_loss",
        sets_of_labels,
        exact=exact.multilabel_margin_loss,
        slope=exact.multilabel_margin_loss_slope,
        domain="logits",
        smooth=False,
    ),
    LossCase(
        "multilabel_soft_margin_loss",
        one_hot,
        exact=exact.multilabel_soft_margin_loss,
        slope=exact.multilabel_soft_margin_loss_slope,
        domain="logits",
        ulp=8,
    ),
    LossCase(
        "sigmoid_focal_loss",
        one_hot,
        exact=exact.sigmoid_focal_loss,
        slope=exact.sigmoid_focal_loss_slope,
        targets=(1, 0),
        ulp=16,
    ),
    LossCase("nll_loss", class_indices, exact=lambda row: -row[0], slope=exact.nll_loss_slope, domain="logits"),
    LossCase("kl_div", soft, exact=lambda x, y: y * (mpmath.log(y) - x), slope=lambda x, y: -y),
    LossCase(
        "poisson_nll_loss",
        one_hot,
        exact=lambda x, y: mpmath.exp(x) - y * x,
        slope=lambda x, y: mpmath.exp(x) - y,
        domain="probabilities",
    ),
)


# ---- optimizers ------------------------------------------------------------------------------------------------------

# Names of classes in both libraries, and their options.
OPTIMIZERS = (
    ("SGD", dict(lr=0.05, momentum=0.9, nesterov=True)),
    ("SGD", dict(lr=0.05, momentum=0.9, dampening=0.1, weight_decay=1e-3)),
    ("Adagrad", dict(lr=0.01, lr_decay=1e-3)),
    ("RMSprop", dict(lr=1e-3, momentum=0.9, centered=True)),
    ("Adam", dict(lr=1e-3)),
    ("Adam", dict(lr=1e-3, amsgrad=True)),
    ("AdamW", dict(lr=1e-3, weight_decay=0.1)),
    ("NAdam", dict(lr=1e-3)),
    ("RAdam", dict(lr=1e-3)),
    ("Adamax", dict(lr=1e-3)),
    ("Adadelta", dict(lr=0.1)),
    ("Adafactor", dict(lr=1e-2)),
    ("ASGD", dict(lr=0.05, t0=5.0)),
    ("Rprop", dict(lr=1e-4, step_sizes=(1e-6, 1e-3))),
)
