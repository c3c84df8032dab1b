"""The cases of the verification: networks with data, loss, optimizer and dtype, from the rows of `reference.cases`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

import handmade as hm
from handmade.losses import half_squared_error
from handmade.protocols import Array, LossName

from .cases import ACTIVATIONS, LOSSES, OPTIMIZERS, ActivationCase, class_indices

__all__ = ["Case", "all_cases"]

Data = tuple[Array, Array]
SAMPLES = 100


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
    """Return normal inputs, and targets between 0 and 1, or labels of two classes if ``outputs`` is None."""
    X = rng.normal(size=(samples, inputs))
    return X, rng.integers(0, 2, samples) if outputs is None else rng.uniform(size=(samples, outputs))


def mlp(rng: np.random.Generator, dtype: type, sizes: list[int], **options: Any) -> hm.Network:
    """Return an MLP."""
    return hm.MLP(sizes, rng=rng, dtype=dtype, **options)


def side_by_side(rng: np.random.Generator, dtype: type, cases: Sequence[ActivationCase]) -> hm.Network:
    """Return a 64-24-10 network whose hidden units form four groups, each with 16 inputs and another activation."""
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
    """Return the network of Rumelhart, Hinton and Williams 1986 with separate codes of 24 persons and 12 relations."""
    dense, sigmoid = partial(hm.Dense, rng=rng, dtype=dtype), partial(hm.Activation, "sigmoid")
    encoders = hm.Parallel([dense(24, 6), sigmoid()], [dense(12, 6), sigmoid()])
    return hm.Network([encoders, dense(12, 12), sigmoid(), dense(12, 6), sigmoid(), dense(6, 24), sigmoid()])


def residual(rng: np.random.Generator, dtype: type) -> hm.Network:
    """Return a network with a residual block that begins with layer normalization."""
    dense = partial(hm.Dense, rng=rng, dtype=dtype)
    block = [hm.LayerNorm(24, dtype=dtype), dense(24, 16), hm.Activation("gelu"), dense(16, 24)]
    return hm.Network([dense(64, 24), hm.Residual(block), hm.Activation("tanh"), dense(24, 10)])


def gated(rng: np.random.Generator, dtype: type) -> hm.Network:
    """Return a network with a PReLU slope per unit, GLU, one PReLU slope for all units, and SwiGLU."""
    dense = partial(hm.Dense, rng=rng, dtype=dtype)
    units = [hm.PReLU(24, dtype=dtype), dense(24, 24), hm.GLU(), dense(12, 16), hm.PReLU(dtype=dtype), hm.SwiGLU()]
    return hm.Network([dense(64, 24), *units, dense(8, 10)])


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


# Each of these has its own networks, with three losses. The others share networks, which takes less time.
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
        # The gradient of the sum is SAMPLES times that of the mean.
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
    yield Case("64-24-10 gated", "cross_entropy", gated, digits, "cross_entropy", smooth=False)
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
