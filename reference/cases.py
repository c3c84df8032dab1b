"""The table of cases that tests, verification and benchmarks share: activations, losses, optimizers and networks.

Whoever adds an activation, a loss or an optimizer adds its row here. Tests demand a row for each registered name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal

import mpmath
import numpy as np
import numpy.typing as npt
from mpmath import mpf

import handmade as hm
from handmade.losses import LOSSES as FUNCTIONS
from handmade.losses import half_squared_error
from handmade.protocols import ActivationName, LossName

from . import exact_formulas as exact

__all__ = ["ACTIVATIONS", "LOSSES", "OPTIMIZERS", "ActivationCase", "Case", "LossCase", "all_cases"]

Array = npt.NDArray[Any]
Data = tuple[Array, Array]
Exact = Callable[..., Any]  # of mpmath numbers
Domain = Literal["numbers", "logits", "probabilities"]

SAMPLES = 100


# ---- activations -----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class ActivationCase:
    """A row for an activation with some options.

    Attributes
    ----------
    name : str
        In `handmade.activations.ACTIVATIONS`.
    torch : str
        The class in torch.nn, which takes the same options.
    exact : callable
        ``exact(a, **options)`` is the value in mpmath; along classes, of a list of logits.
    slope : callable, optional
        The derivative, in mpmath too. Without it, the derivative is computed from ``exact``, which takes longer.
    options : dict
        Options of both sides.
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


def some_ignored(labels: Array) -> Array:
    """Return the labels, with every fifth replaced by -100."""
    return np.where(np.arange(len(labels)) % 5 == 0, -100, labels)


@dataclasses.dataclass(frozen=True)
class LossCase:
    """A row for a loss with some options.

    Attributes
    ----------
    name : str
        In `handmade.losses.LOSSES`.
    target : callable
        ``target(labels)`` gives the targets for digits.
    options : dict
        Options of both sides.
    label : str
        Follows the name in tables; says what the options or the targets are.
    exact, slope : callable, optional
        Term and derivative in mpmath: of a number and its target, or of a list of logits, of which the first is the
        target. They compute the loss without options. Without ``slope``, the derivative is computed from ``exact``.
    domain : {"numbers", "logits", "probabilities"}
        What the input of the loss is.
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


# ---- networks --------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Case:
    """A network with data, a loss, an optimizer and a dtype.

    Attributes
    ----------
    network, loss : str
        The names in the table.
    build : callable
        ``build(rng, dtype)`` gives the network.
    data : callable
        ``data(rng)`` gives X and y in float64.
    objective : str or functools.partial
        The loss, as `handmade.losses.find_loss` takes it.
    dtype : type
        numpy.float64 or numpy.float32.
    optimizer : (str, dict)
        Class name and options, the same for both libraries.
    training : bool
        Whether dropout and batch normalization are in training mode.
    smooth : bool
        Whether the loss has derivatives of every order with respect to theta.
    """

    network: str
    loss: str
    build: Callable[..., hm.Network]
    data: Callable[..., Data]
    objective: LossName | partial[Any]
    dtype: type = np.float64
    optimizer: tuple[str, dict[str, Any]] = ("SGD", {"lr": 0.01})
    training: bool = True
    smooth: bool = True

    @property
    def name(self) -> str:
        """The network, the loss and the dtype."""
        return f"{self.network} {self.loss} {np.dtype(self.dtype).name}"


def digits(rng: np.random.Generator, target: Callable[[Array], Array] = class_indices) -> Data:
    """Return a sample of the bundled digits, with targets made from the labels."""
    X, labels = hm.load_digits()
    rows = rng.choice(len(X), SAMPLES, replace=False)
    return X[rows], target(labels[rows])


def random_data(rng: np.random.Generator, inputs: int, outputs: int | None, samples: int = 20) -> Data:
    """Return normal inputs with targets between 0 and 1, or with two classes where ``outputs`` is None."""
    X = rng.normal(size=(samples, inputs))
    return X, rng.integers(0, 2, samples) if outputs is None else rng.uniform(size=(samples, outputs))


def mlp(rng: np.random.Generator, dtype: type, sizes: list[int], **options: Any) -> hm.Network:
    """Return an MLP."""
    return hm.MLP(sizes, rng=rng, dtype=dtype, **options)


def side_by_side(rng: np.random.Generator, dtype: type, cases: Sequence[ActivationCase]) -> hm.Network:
    """Return a 64-24-10 network of whose hidden units each group has 16 of the inputs and an activation of its own."""
    dense = partial(hm.Dense, rng=rng, dtype=dtype)
    groups = [[dense(16, 6, weight_init="normal"), hm.Activation(case.name, **case.options)] for case in cases]
    return hm.Network([hm.Parallel(*groups), dense(24, 10)])


def activated(rng: np.random.Generator, dtype: type, case: ActivationCase) -> hm.Network:
    """Return a 64-24-10 network with an activation in its hidden layer."""
    dense = partial(hm.Dense, rng=rng, dtype=dtype)
    return hm.Network([dense(64, 24), hm.Activation(case.name, **case.options), dense(24, 10)])


def skipping(rng: np.random.Generator, dtype: type) -> hm.Network:
    """Return the network for XOR with one hidden unit and direct connections (PDP volume 1, chapter 8, 1986)."""
    dense = partial(hm.Dense, rng=rng, dtype=dtype)
    hidden = hm.Concatenate([dense(2, 1), hm.Activation("sigmoid")])
    return hm.Network([hidden, dense(3, 1), hm.Activation("sigmoid")])


def family_trees(rng: np.random.Generator, dtype: type) -> hm.Network:
    """Return the network of Rumelhart, Hinton and Williams 1986, which encodes 24 persons and 12 relations apart."""
    dense, sigmoid = partial(hm.Dense, rng=rng, dtype=dtype), partial(hm.Activation, "sigmoid")
    encoders = hm.Parallel([dense(24, 6), sigmoid()], [dense(12, 6), sigmoid()])
    return hm.Network([encoders, dense(12, 12), sigmoid(), dense(12, 6), sigmoid(), dense(6, 24), sigmoid()])


def residual(rng: np.random.Generator, dtype: type) -> hm.Network:
    """Return a network with a residual block that begins with layer normalization."""
    dense = partial(hm.Dense, rng=rng, dtype=dtype)
    block = [hm.LayerNorm(24, dtype=dtype), dense(24, 16), hm.Activation("gelu"), dense(16, 24)]
    return hm.Network([dense(64, 24), hm.Residual(block), hm.Activation("tanh"), dense(24, 10)])


def normalized(rng: np.random.Generator, dtype: type) -> hm.Network:
    """Return a network with each normalization, and each of its options."""
    dense = partial(hm.Dense, rng=rng, dtype=dtype)
    return hm.Network(
        [
            *[
                hm.LayerNorm(64, elementwise_affine=False),
                dense(64, 24),
                hm.BatchNorm(24, affine=False, momentum=None),
                hm.Activation("tanh"),
            ],
            *[dense(24, 24), hm.GroupNorm(4, 24), hm.Activation("tanh"), hm.RMSNorm(24)],
            *[dense(24, 24), hm.BatchNorm(24, bias=False, track_running_stats=False), hm.Activation("tanh")],
            *[hm.LayerNorm(24, bias=False), dense(24, 10)],
        ],
        dtype=dtype,
    )


# ---- the cases of the verification -----------------------------------------------------------------------------------


def _lecture() -> Iterator[Case]:
    build, data = partial(mlp, sizes=[3, 4, 2], activation="sigmoid"), partial(random_data, inputs=3, outputs=None)
    yield Case("3-4-2 sigmoid", "cross_entropy", build, data, "cross_entropy")
    small = partial(mlp, weight_init="normal")
    for name, sizes, options in (
        ("y = wx", [1, 1], dict(bias=False)),
        ("y = w1 x1 + w2 x2", [2, 1], dict(bias=False)),
        ("1-1-1-1-1 sigmoid", [1, 1, 1, 1, 1], dict(activation=["sigmoid"] * 4)),
        ("6-2-1 sigmoid", [6, 2, 1], dict(activation=["sigmoid"] * 2)),
    ):
        data = partial(random_data, inputs=sizes[0], outputs=1)
        yield Case(name, "half_squared_error", partial(small, sizes=sizes, **options), data, "half_squared_error")
    data = partial(random_data, inputs=2, outputs=1)
    yield Case("2-1-1 skipping", "half_squared_error", skipping, data, "half_squared_error")
    data = partial(random_data, inputs=36, outputs=24)
    summed = partial(half_squared_error, reduction="sum")
    yield Case("family trees", "half_squared_error sum", family_trees, data, summed)


WITH_EVERY_ACTIVATION = ("cross_entropy", "mse_loss", "binary_cross_entropy_with_logits")


# Each row of these has networks of its own, with three losses. The others stand side by side, which takes less time.
ALONE = "identity", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "softmax", "log_softmax"


def _activations() -> Iterator[Case]:
    for activation in (case for case in ACTIVATIONS if case.name in ALONE):
        for loss in LOSSES:
            if loss.title in WITH_EVERY_ACTIVATION:
                data = partial(digits, target=loss.target)
                name, build = f"64-24-10 {activation.label}", partial(activated, case=activation)
                yield Case(name, loss.title, build, data, loss.objective, smooth=activation.smooth)


def _activations_side_by_side() -> Iterator[Case]:
    others = [case for case in ACTIVATIONS if case.name not in ALONE]
    for i in range(0, len(others), 4):
        group = [*others[i : i + 4], *others][:4]
        name, build = " ".join(["64-24-10", *(case.label for case in group)]), partial(side_by_side, cases=group)
        smooth = all(case.smooth for case in group)
        yield Case(name, "cross_entropy", build, digits, "cross_entropy", smooth=smooth)


def _losses() -> Iterator[Case]:
    for loss in LOSSES:
        if loss.title in WITH_EVERY_ACTIVATION:
            continue
        name, sizes, activation = "64-32-16-10 tanh", [64, 32, 16, 10], ["tanh", "tanh"]
        if loss.domain == "probabilities":
            name, sizes, activation = "64-24-10 tanh, sigmoid", [64, 24, 10], ["tanh", "sigmoid"]
        # The sum over the samples has a gradient as many times as large as the mean's.
        lr = 0.01 / SAMPLES if loss.options.get("reduction") == "sum" else 0.01
        yield Case(
            name,
            loss.title,
            partial(mlp, sizes=sizes, activation=activation),
            partial(digits, target=loss.target),
            loss.objective,
            optimizer=("SGD", {"lr": lr}),
            smooth=loss.smooth,
        )


def _layers() -> Iterator[Case]:
    for name, options in (
        ("64-24-24-10 tanh batch", dict(normalization="batch")),
        ("64-24-24-10 tanh layer", dict(normalization="layer")),
        ("64-24-24-10 tanh rms", dict(normalization="rms")),
        ("64-24-24-10 tanh no bias", dict(bias=False)),
    ):
        build = partial(mlp, sizes=[64, 24, 24, 10], activation="tanh", **options)
        yield Case(name, "cross_entropy", build, digits, "cross_entropy")
    yield Case("64-24-24-10 every normalization", "cross_entropy", normalized, digits, "cross_entropy")
    build = partial(mlp, sizes=[64, 24, 10], activation="tanh", normalization="batch", dropout=0.5)
    name = "64-24-10 tanh batch dropout, evaluating"
    yield Case(name, "cross_entropy", build, digits, "cross_entropy", training=False)
    yield Case("64-24-10 residual", "cross_entropy", residual, digits, "cross_entropy")
    build = partial(mlp, sizes=[64] + [16] * 7 + [10], activation="tanh", weight_init="xavier_uniform")
    yield Case("64-16x7-10 tanh", "cross_entropy", build, digits, "cross_entropy")


def _optimizers() -> Iterator[Case]:
    build = partial(mlp, sizes=[64, 32, 16, 10], activation="tanh")
    for name, options in OPTIMIZERS:
        label = " ".join([name, *(key for key in options if key != "lr")])
        network = f"64-32-16-10 tanh, {label}"
        yield Case(network, "cross_entropy", build, digits, "cross_entropy", optimizer=(name, options))


def all_cases() -> list[Case]:
    """Return every case in float64 and in float32.

    Examples
    --------
    >>> all_cases()[0].name
    '3-4-2 sigmoid cross_entropy float64'
    """
    groups = (_lecture(), _activations(), _activations_side_by_side(), _losses(), _layers(), _optimizers())
    return [
        dataclasses.replace(case, dtype=dtype)
        for group in groups
        for case in group
        for dtype in (np.float64, np.float32)
    ]
