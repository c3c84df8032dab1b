"""What is verified: networks of the lecture and networks on real digits, with every activation, layer and loss."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

import handmade as hm
from handmade import losses

__all__ = ["Case", "all_cases"]

Array = np.ndarray
Data = tuple[Array, Array]

SAMPLES = 100
OPTIMIZERS = (
    ("SGD", dict(lr=0.1)),
    ("SGD", dict(lr=0.05, momentum=0.9, nesterov=True)),
    ("SGD", dict(lr=0.05, momentum=0.9, dampening=0.1, weight_decay=1e-3)),
    ("Adagrad", dict(lr=0.01, lr_decay=1e-3)),
    ("RMSprop", dict(lr=1e-3, momentum=0.9, centered=True)),
    ("Adam", dict(lr=1e-3, amsgrad=True)),
    ("AdamW", dict(lr=1e-3, weight_decay=0.1)),
)


@dataclasses.dataclass(frozen=True)
class Case:
    """One network, on some data, with one loss, in one dtype.

    Attributes
    ----------
    network, loss : str
        What it is called in the table.
    build : callable
        ``build(rng, dtype)`` gives the network.
    data : callable
        ``data(rng)`` gives X and y in float64.
    objective : str or functools.partial
        The loss, as `handmade.losses.find_loss` takes it.
    dtype : type
        numpy.float64 or numpy.float32.
    optimizer : (str, dict), optional
        Class name and options, the same for both sides; the cases take turns where none is given.
    training : bool
        Whether dropout drops and batch normalization looks at the batch.
    smooth : bool
        Whether the loss has derivatives of every order in theta: no ReLU, no hinge.
    """

    network: str
    loss: str
    build: Callable[..., hm.Network]
    data: Callable[..., Data]
    objective: object
    dtype: type = np.float64
    optimizer: tuple[str, dict] | None = None
    training: bool = True
    smooth: bool = True

    @property
    def name(self) -> str:
        return f"{self.network} {self.loss} {np.dtype(self.dtype).name}"


# ---- data ----------------------------------------------------------------------------------------------------------


def digits(rng, encode: Callable[[Array], Array] = lambda labels: labels) -> Data:
    """A sample of the bundled digits, the labels as a loss wants them."""
    X, labels = hm.load_digits()
    rows = rng.choice(len(X), SAMPLES, replace=False)
    return X[rows], encode(labels[rows])


def one_hot(labels: Array) -> Array:
    return np.eye(10)[labels]


def signs(labels: Array) -> Array:
    return 2 * one_hot(labels) - 1


def soft(labels: Array) -> Array:
    return 0.7 * one_hot(labels) + 0.03


def some_ignored(labels: Array) -> Array:
    return np.where(np.arange(len(labels)) % 5 == 0, -100, labels)


def random_data(rng, inputs: int, outputs: int | None, samples: int = 20) -> Data:
    """Inputs from a normal distribution; targets between 0 and 1, or two classes where ``outputs`` is None."""
    X = rng.normal(size=(samples, inputs))
    return X, rng.integers(0, 2, samples) if outputs is None else rng.uniform(size=(samples, outputs))


# Class weights and positive weights: any positive numbers that differ.
WEIGHT = np.linspace(0.5, 2.0, 10)

DIGIT_LOSSES = (
    ("cross_entropy", "cross_entropy", digits),
    ("mse_loss", "mse_loss", partial(digits, encode=one_hot)),
    ("binary_cross_entropy_with_logits", "binary_cross_entropy_with_logits", partial(digits, encode=one_hot)),
    ("half_squared_error", "half_squared_error", partial(digits, encode=one_hot)),
    ("half_squared_error sum", partial(losses.half_squared_error, reduction="sum"), partial(digits, encode=one_hot)),
    ("l1_loss", "l1_loss", partial(digits, encode=one_hot)),
    ("huber_loss delta 0.5", partial(losses.huber_loss, delta=0.5), partial(digits, encode=one_hot)),
    ("smooth_l1_loss beta 0.5", partial(losses.smooth_l1_loss, beta=0.5), partial(digits, encode=one_hot)),
    ("hinge_loss", "hinge_loss", partial(digits, encode=signs)),
    ("multi_margin_loss", partial(losses.multi_margin_loss, weight=WEIGHT), digits),
    ("multi_margin_loss p 2", partial(losses.multi_margin_loss, p=2), digits),
    ("cross_entropy soft", "cross_entropy", partial(digits, encode=soft)),
    ("cross_entropy smoothed", partial(losses.cross_entropy, label_smoothing=0.1), digits),
    (
        "cross_entropy weighted, ignoring",
        partial(losses.cross_entropy, weight=WEIGHT, label_smoothing=0.1),
        partial(digits, encode=some_ignored),
    ),
    (
        "binary_cross_entropy_with_logits pos_weight",
        partial(losses.binary_cross_entropy_with_logits, pos_weight=WEIGHT),
        partial(digits, encode=one_hot),
    ),
)
KINKED_LOSSES = ("l1_loss", "huber_loss", "smooth_l1_loss", "hinge_loss", "multi_margin_loss")
KINKED_ACTIVATIONS = ("relu", "leaky_relu", "elu")

ACTIVATIONS = (
    ("sigmoid", {}),
    ("tanh", {}),
    ("relu", {}),
    ("leaky_relu", {"negative_slope": 0.1}),
    ("elu", {"alpha": 0.7}),
    ("gelu", {}),
    ("gelu", {"approximate": "tanh"}),
    ("silu", {}),
    ("softplus", {"beta": 2.0}),
    ("softmax", {}),
    ("log_softmax", {}),
    ("identity", {}),
)


# ---- networks ------------------------------------------------------------------------------------------------------


def mlp(rng, dtype, sizes, **options) -> hm.Network:
    return hm.MLP(sizes, rng=rng, dtype=dtype, **options)


def activated(rng, dtype, function: str, options: dict) -> hm.Network:
    dense = partial(hm.Dense, rng=rng, dtype=dtype)
    return hm.Network([dense(64, 24), hm.Activation(function, **options), dense(24, 10)])


def skipping(rng, dtype) -> hm.Network:
    """XOR with one hidden unit and direct connections (PDP volume 1, chapter 8, 1986)."""
    dense = partial(hm.Dense, rng=rng, dtype=dtype)
    hidden = hm.Concatenate([dense(2, 1), hm.Activation("sigmoid")])
    return hm.Network([hidden, dense(3, 1), hm.Activation("sigmoid")])


def family_trees(rng, dtype) -> hm.Network:
    """The network of Rumelhart, Hinton and Williams 1986: 24 persons and 12 relations, encoded apart."""
    dense, sigmoid = partial(hm.Dense, rng=rng, dtype=dtype), partial(hm.Activation, "sigmoid")
    encoders = hm.Parallel([dense(24, 6), sigmoid()], [dense(12, 6), sigmoid()])
    return hm.Network([encoders, dense(12, 12), sigmoid(), dense(12, 6), sigmoid(), dense(6, 24), sigmoid()])


def residual(rng, dtype) -> hm.Network:
    dense = partial(hm.Dense, rng=rng, dtype=dtype)
    block = [hm.LayerNorm(24, dtype=dtype), dense(24, 16), hm.Activation("gelu"), dense(16, 24)]
    return hm.Network([dense(64, 24), hm.Residual(block), hm.Activation("tanh"), dense(24, 10)])


# ---- cases ---------------------------------------------------------------------------------------------------------


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
    summed = partial(losses.half_squared_error, reduction="sum")
    yield Case("family trees", "half_squared_error sum", family_trees, data, summed)


def _digits() -> Iterator[Case]:
    for function, options in ACTIVATIONS:
        name = " ".join(map(str, ["64-24-10", function, *options.values()]))
        for loss, objective, data in DIGIT_LOSSES[:3]:
            build = partial(activated, function=function, options=options)
            yield Case(name, loss, build, data, objective, smooth=function not in KINKED_ACTIVATIONS)
    for loss, objective, data in DIGIT_LOSSES[3:]:
        build = partial(mlp, sizes=[64, 32, 16, 10], activation="tanh")
        smooth = not loss.startswith(KINKED_LOSSES)
        # A sum over 100 samples is 100 times as steep: only an optimizer that scales itself stays on the road.
        optimizer = OPTIMIZERS[-1] if loss.endswith("sum") else None
        yield Case("64-32-16-10 tanh", loss, build, data, objective, smooth=smooth, optimizer=optimizer)
    build = partial(mlp, sizes=[64, 24, 10], activation=["tanh", "sigmoid"])
    data = partial(digits, encode=one_hot)
    yield Case("64-24-10 tanh, sigmoid", "binary_cross_entropy", build, data, "binary_cross_entropy")
    for name, options in (
        ("64-24-24-10 tanh batch", dict(normalization="batch")),
        ("64-24-24-10 tanh layer", dict(normalization="layer")),
        ("64-24-24-10 tanh no bias", dict(bias=False)),
    ):
        build = partial(mlp, sizes=[64, 24, 24, 10], activation="tanh", **options)
        yield Case(name, "cross_entropy", build, digits, "cross_entropy")
    build = partial(mlp, sizes=[64, 24, 10], activation="tanh", normalization="batch", dropout=0.5)
    name = "64-24-10 tanh batch dropout, evaluating"
    yield Case(name, "cross_entropy", build, digits, "cross_entropy", training=False)
    yield Case("64-24-10 residual", "cross_entropy", residual, digits, "cross_entropy")
    build = partial(mlp, sizes=[64] + [16] * 7 + [10], activation="tanh", weight_init="xavier_uniform")
    yield Case("64-16x7-10 tanh", "cross_entropy", build, digits, "cross_entropy")


def all_cases() -> list[Case]:
    """Every case, float64 beside float32; the optimizers take turns.

    Examples
    --------
    >>> all_cases()[0].name
    '3-4-2 sigmoid cross_entropy float64'
    """
    return [
        dataclasses.replace(case, dtype=dtype, optimizer=case.optimizer or OPTIMIZERS[i % len(OPTIMIZERS)])
        for i, case in enumerate([*_lecture(), *_digits()])
        for dtype in (np.float64, np.float32)
    ]
