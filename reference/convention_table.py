"""The quantities by which four libraries are compared, each on one small example with the formula of every library.

`reference.conventions` measures them.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import pkgutil
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

import handmade as hm
from handmade import losses
from handmade.protocols import InitializerName

from .libraries import (
    LinearStep,
    keras,
    keras_path,
    keras_step,
    path,
    plain,
    scikit_learn_path,
    scikit_learn_step,
    torch_path,
)

__all__ = ["LIBRARIES", "Convention", "Definition", "Formula", "defaults", "definitions"]

Array = npt.NDArray[Any]

LIBRARIES = ("handmade", "torch", "scikit-learn", "Keras")


@dataclasses.dataclass(frozen=True)
class Formula:
    """A formula in words, and its value for the example, computed in NumPy."""

    text: str
    value: float


# A formula, and a function that computes the number with the library.
Definition = tuple[Formula, Callable[[], Any]]


@dataclasses.dataclass(frozen=True)
class Convention:
    """A quantity, as each library defines it.

    Attributes
    ----------
    quantity : str
        The name of the quantity.
    definitions : dict of str to (Formula, callable)
        For each library that has it: the formula, and a function that computes the number with the library.
    slack : float
        The relative difference that is allowed besides rounding, for random numbers.
    """

    quantity: str
    definitions: dict[str, Definition]
    slack: float = 0.0


def _by_library(
    handmade: Definition | None = None,
    torch: Definition | None = None,
    sklearn: Definition | None = None,
    keras: Definition | None = None,
) -> dict[str, Definition]:
    given = zip(LIBRARIES, (handmade, torch, sklearn, keras), strict=True)
    return {library: definition for library, definition in given if definition is not None}


# ---- the example: N, O and K differ, and so does every factor that could be confused -------------------------------

N, O, K = 5, 3, 4
RNG = np.random.default_rng(0)
P, Y = RNG.normal(size=(2, N, O))  # predictions (or logits) and targets
E = P - Y
ONES = (RNG.random((N, O)) < 0.5).astype(float)  # targets of 0 and 1
SIGNS = 2 * ONES - 1
BCE = np.log1p(np.exp(-SIGNS * P))
Z, LABELS = RNG.normal(size=(N, K)), np.array([0, 1, 2, 3, 1])  # logits and classes
Z[0] = [0.5, -2.0, -0.5, -1.0]  # all wrong scores below 0
ONE_HOT = np.eye(K)[LABELS]
LOG_P = Z - np.log(np.exp(Z).sum(axis=1, keepdims=True))
CLASS_WEIGHT = np.array([1.0, 2.0, 0.5, 4.0])
SAMPLE_WEIGHT = np.array([1.0, 3.0, 0.5, 2.0, 0.0])
ELEMENT_WEIGHT = np.linspace(0.5, 2, N * O).reshape(N, O)
MEAN_SQUARE = Formula("mean over N and O of e^2", (E**2).mean())
HALF_MEAN_SQUARE = Formula("1/2 mean over N and O of e^2", (E**2).mean() / 2)
DESCENDED = Formula("e / N: O times that of its loss", E[0, 0] / N)


def _torch_loss(name: str, input: Array | torch.Tensor, target: Array, **options: Any) -> torch.Tensor:
    arrays = {key: torch.tensor(value) if isinstance(value, np.ndarray) else value for key, value in options.items()}
    value: torch.Tensor = getattr(F, name)(torch.as_tensor(input), torch.as_tensor(target), **arrays)
    return value


def _torch_slopes(name: str, input: Array, target: Array, **options: Any) -> torch.Tensor:
    leaf = torch.tensor(input, requires_grad=True)
    return torch.autograd.grad(_torch_loss(name, leaf, target, **options), leaf)[0]


def _keras_loss(name: str, target: Array, input: Array, sample_weight: Array | None = None, **options: Any) -> Any:
    return getattr(keras().losses, name)(**options)(target, input, sample_weight=sample_weight)


def _sklearn_metric(name: str, *arguments: Any, **options: Any) -> Any:
    from sklearn import metrics

    return getattr(metrics, name)(*arguments, **options)


def _regressor(
    y: Array = Y, X: Array | None = None, W: Array = P.T, b: Array | float = 0.0, **options: Any
) -> LinearStep:
    from sklearn.neural_network import MLPRegressor

    return scikit_learn_step(MLPRegressor, np.eye(N) if X is None else X, y, W, b, **options)


def _classifier(y: Any, logits: Array, **options: Any) -> LinearStep:
    from sklearn.neural_network import MLPClassifier

    return scikit_learn_step(MLPClassifier, np.eye(len(logits)), y, logits.T, 0.0, **options)


# ---- losses --------------------------------------------------------------------------------------------------------


def _squared_error() -> Iterator[Convention]:
    yield Convention(
        "squared error",
        _by_library(
            (MEAN_SQUARE, lambda: losses.mse_loss(P, Y)),
            (MEAN_SQUARE, lambda: _torch_loss("mse_loss", P, Y)),
            (HALF_MEAN_SQUARE, lambda: _regressor().loss),
            (MEAN_SQUARE, lambda: _keras_loss("MeanSquaredError", Y, P)),
        ),
    )
    slope = Formula("2 e / (N O)", 2 * E[0, 0] / (N * O))
    yield Convention(
        "squared error: slope of a step",
        _by_library(
            (slope, lambda: losses.mse_loss_backward(P, Y)[0, 0]),
            (slope, lambda: _torch_slopes("mse_loss", P, Y)[0, 0]),
            (DESCENDED, lambda: _regressor().dW[0, 0]),
            (slope, lambda: keras_step("mse", np.eye(N), Y, P.T, 0.0).dW[0, 0]),
        ),
    )


def _half_squared_error() -> Iterator[Convention]:
    summed = Formula("1/2 sum over O, mean over N of e^2", (E**2).sum() / (2 * N))
    yield Convention(
        "half squared error",
        _by_library(
            (summed, lambda: losses.half_squared_error(P, Y)), sklearn=(HALF_MEAN_SQUARE, lambda: _regressor().loss)
        ),
    )
    slope = Formula("e / N", E[0, 0] / N)
    yield Convention(
        "half squared error: slope of a step",
        _by_library(
            (slope, lambda: losses.half_squared_error_backward(P, Y)[0, 0]),
            sklearn=(DESCENDED, lambda: _regressor().dW[0, 0]),
        ),
    )


def _robust_errors() -> Iterator[Convention]:
    mean = Formula("mean over N and O of |e|", np.abs(E).mean())
    metric = Formula(f"as a metric: {mean.text}", mean.value)
    yield Convention(
        "absolute error",
        _by_library(
            (mean, lambda: losses.l1_loss(P, Y)),
            (mean, lambda: _torch_loss("l1_loss", P, Y)),
            (metric, lambda: _sklearn_metric("mean_absolute_error", Y, P)),
            (mean, lambda: _keras_loss("MeanAbsoluteError", Y, P)),
        ),
    )
    C = np.minimum(np.abs(E), 0.5)
    huber = Formula("mean of e^2 / 2, or delta (|e| - delta / 2)", (C * (np.abs(E) - C / 2)).mean())
    yield Convention(
        "Huber, delta = 0.5",
        _by_library(
            (huber, lambda: losses.huber_loss(P, Y, delta=0.5)),
            (huber, lambda: _torch_loss("huber_loss", P, Y, delta=0.5)),
            keras=(huber, lambda: _keras_loss("Huber", Y, P, delta=0.5)),
        ),
    )
    smooth = Formula("Huber / beta", huber.value / 0.5)
    yield Convention(
        "smooth L1, beta = 0.5",
        _by_library(
            (smooth, lambda: losses.smooth_l1_loss(P, Y, beta=0.5)),
            (smooth, lambda: _torch_loss("smooth_l1_loss", P, Y, beta=0.5)),
        ),
    )


def _hinges() -> Iterator[Convention]:
    mean = Formula("mean of max(0, 1 - y a), y = -1 or 1", np.maximum(0, 1 - SIGNS * P).mean())
    any_labels = Formula("as a metric, of any two labels", mean.value)
    converted = Formula("the same; y = 0 or 1 is converted", mean.value)
    yield Convention(
        "hinge",
        _by_library(
            (mean, lambda: losses.hinge_loss(P, SIGNS)),
            sklearn=(any_labels, lambda: _sklearn_metric("hinge_loss", ONES.ravel(), P.ravel())),
            keras=(converted, lambda: _keras_loss("Hinge", ONES, P)),
        ),
    )
    M = np.maximum(0, 1 - (ONE_HOT * Z).sum(axis=1, keepdims=True) + Z) * (1 - ONE_HOT)
    every = Formula("mean over N of violations / K, summed", M.sum(axis=1).mean() / K)
    largest = Formula("as a metric: the largest violation", M.max(axis=1).mean())
    rivals, own = np.maximum(0, ((1 - ONE_HOT) * Z).max(axis=1)), (ONE_HOT * Z).sum(axis=1)
    from_zero = Formula("the largest, rivals at least 0", np.maximum(0, 1 - own + rivals).mean())
    yield Convention(
        "hinge of K classes",
        _by_library(
            (every, lambda: losses.multi_margin_loss(Z, LABELS)),
            (every, lambda: _torch_loss("multi_margin_loss", Z, LABELS)),
            (largest, lambda: _sklearn_metric("hinge_loss", LABELS, Z)),
            (from_zero, lambda: _keras_loss("CategoricalHinge", ONE_HOT, Z)),
        ),
    )


def _binary_cross_entropy() -> Iterator[Convention]:
    mean, summed = Formula("mean over N and O", BCE.mean()), Formula("mean over N, sum over O", BCE.sum() / N)
    yield Convention(
        "binary cross-entropy of logits",
        _by_library(
            (mean, lambda: losses.binary_cross_entropy_with_logits(P, ONES)),
            (mean, lambda: _torch_loss("binary_cross_entropy_with_logits", P, ONES)),
            (summed, lambda: _classifier(ONES.astype(int), P).loss),
            (mean, lambda: _keras_loss("BinaryCrossentropy", ONES, P, from_logits=True)),
        ),
    )


def _certainty() -> Iterator[Convention]:
    one, zero, low = np.ones((1, 1)), np.zeros((1, 1)), np.full((1, 1), -500.0)
    floor = Formula("100: log p at least -100", 100.0)
    clipped = Formula("36.0: p at least 2^-52", 52 * math.log(2))
    clipped_more = Formula("16.1: p at least 1e-7", 7 * math.log(10))
    yield Convention(
        "p = 0 where the target is 1",
        _by_library(
            (floor, lambda: losses.binary_cross_entropy(zero, one)),
            (floor, lambda: _torch_loss("binary_cross_entropy", zero, one)),
            (clipped, lambda: _sklearn_metric("log_loss", [1], [0.0], labels=[0, 1])),
            (clipped_more, lambda: _keras_loss("BinaryCrossentropy", one, zero)),
        ),
    )
    exact = Formula("500: exact", 500.0)
    yield Convention(
        "logit -500 where the target is 1",
        _by_library(
            (exact, lambda: losses.binary_cross_entropy_with_logits(low, one)),
            (exact, lambda: _torch_loss("binary_cross_entropy_with_logits", low, one)),
            # Both classes have to occur; the other sample, rightly sure, costs 2^-52.
            (clipped, lambda: 2 * _classifier([1, 0], np.vstack([low, low])).loss),
            (exact, lambda: _keras_loss("BinaryCrossentropy", one, low, from_logits=True)),
        ),
    )


def _cross_entropy() -> Iterator[Convention]:
    mean = Formula("mean over N of -log p", -(ONE_HOT * LOG_P).sum(axis=1).mean())
    yield Convention(
        "cross-entropy of K classes",
        _by_library(
            (mean, lambda: losses.cross_entropy(Z, LABELS)),
            (mean, lambda: _torch_loss("cross_entropy", Z, LABELS)),
            (mean, lambda: _classifier(LABELS, Z).loss),
            (mean, lambda: _keras_loss("SparseCategoricalCrossentropy", LABELS, Z, from_logits=True)),
        ),
    )
    smoothed = Formula("target (1 - s) t + s / K", -((0.9 * ONE_HOT + 0.1 / K) * LOG_P).sum(axis=1).mean())
    options: dict[str, Any] = dict(from_logits=True, label_smoothing=0.1)
    yield Convention(
        "label smoothing s = 0.1",
        _by_library(
            (smoothed, lambda: losses.cross_entropy(Z, LABELS, label_smoothing=0.1)),
            (smoothed, lambda: _torch_loss("cross_entropy", Z, LABELS, label_smoothing=0.1)),
            keras=(smoothed, lambda: _keras_loss("CategoricalCrossentropy", ONE_HOT, Z, **options)),
        ),
    )
    value = (0.95 * BCE + 0.05 * (BCE + SIGNS * P)).mean()  # the other label costs a, or -a, more
    binary, by_hand = Formula("target (1 - s) t + s / 2", value), Formula("by hand: target (1 - s) t + s / 2", value)
    target = 0.9 * ONES + 0.05
    yield Convention(
        "label smoothing s = 0.1, one logit",
        _by_library(
            (by_hand, lambda: losses.binary_cross_entropy_with_logits(P, target)),
            (by_hand, lambda: _torch_loss("binary_cross_entropy_with_logits", P, target)),
            keras=(binary, lambda: _keras_loss("BinaryCrossentropy", ONES, P, **options)),
        ),
    )


def _class_weights() -> Iterator[Convention]:
    weight = CLASS_WEIGHT[LABELS]
    slope = weight[3] * math.exp(LOG_P[3, 0])  # of the fourth sample's w l, by the logit of the first class
    own, counted = Formula("sum w l / sum w", slope / weight.sum()), Formula("sum w l / N", slope / N)
    by_sample = Formula("sum w l / sum w, w by sample", own.value)

    def keras_slope() -> float:
        loss = keras().losses.SparseCategoricalCrossentropy(from_logits=True)
        options = dict(class_weight=dict(enumerate(CLASS_WEIGHT)))
        return float(keras_step(loss, np.eye(N), LABELS, Z.T, 0.0, **options).dW[0, 3])

    yield Convention(
        "class weights: slope of a step",
        _by_library(
            (own, lambda: losses.cross_entropy_backward(Z, LABELS, weight=CLASS_WEIGHT)[3, 0]),
            (own, lambda: _torch_slopes("cross_entropy", Z, LABELS, weight=CLASS_WEIGHT)[3, 0]),
            (by_sample, lambda: _classifier(LABELS, Z, sample_weight=weight).dW[0, 3]),
            (counted, keras_slope),
        ),
    )


def _other_weights() -> Iterator[Convention]:
    total = SAMPLE_WEIGHT @ (E**2).mean(axis=1)
    counted, own = Formula("sum w l / N", total / N), Formula("sum w l / sum w", total / SAMPLE_WEIGHT.sum())
    half = Formula("1/2 sum w l / sum w", own.value / 2)
    everywhere, outputs = np.repeat(SAMPLE_WEIGHT, O).reshape(N, O), hm.Network([hm.Activation("identity")])
    yield Convention(
        "sample weights, squared error",
        _by_library(
            (counted, lambda: outputs.loss_and_gradient(P, Y, "mse_loss", sample_weight=SAMPLE_WEIGHT)[0]),
            (own, lambda: _torch_loss("mse_loss", P, Y, weight=everywhere)),
            (half, lambda: _regressor(sample_weight=SAMPLE_WEIGHT).loss),
            (counted, lambda: _keras_loss("MeanSquaredError", Y, P, SAMPLE_WEIGHT)),
        ),
    )
    by_count = Formula("sum w l / (N O)", (ELEMENT_WEIGHT * BCE).mean())
    yield Convention(
        "weights of elements, binary cross-entropy",
        _by_library(
            (by_count, lambda: losses.binary_cross_entropy_with_logits(P, ONES, weight=ELEMENT_WEIGHT)),
            (by_count, lambda: _torch_loss("binary_cross_entropy_with_logits", P, ONES, weight=ELEMENT_WEIGHT)),
        ),
    )


# ---- penalties: the change of a weight and a bias of 2 in a step of lr = 1, where the loss has no gradient ---------

LAMBDA, AT = 0.25, 2.0
RESTING = np.zeros((N, 1)), np.full((N, 1), AT), np.array([[AT]]), np.array([AT])  # X, y, W, b


def _l2() -> Iterator[Convention]:
    def own() -> float:
        return AT - path(hm.SGD(lr=1.0, weight_decay=LAMBDA), [0.0], start=AT)

    def of_torch() -> float:
        return AT - torch_path(partial(torch.optim.SGD, lr=1.0, weight_decay=LAMBDA), [0.0], start=AT)

    def of_sklearn() -> LinearStep:
        X, y, W, b = RESTING
        return _regressor(y.ravel(), X, W, b, alpha=LAMBDA)

    def of_keras() -> LinearStep:
        return keras_step("mse", *RESTING, kernel_regularizer=keras().regularizers.L2(LAMBDA))

    once, shared = (
        Formula("lambda w: of 1/2 |w|^2", LAMBDA * AT),
        Formula("lambda w / N: of 1/2N |w|^2", LAMBDA * AT / N),
    )
    twice, none = Formula("2 lambda w: of |w|^2", 2 * LAMBDA * AT), Formula("0: weights only", 0.0)
    yield Convention(
        "L2 term: slope by a weight",
        _by_library(
            (once, own), (once, of_torch), (shared, lambda: of_sklearn().dW[0, 0]), (twice, lambda: of_keras().dW[0, 0])
        ),
    )
    yield Convention(
        "L2 term: slope by a bias",
        _by_library(
            (once, own), (once, of_torch), (none, lambda: of_sklearn().db[0]), (none, lambda: of_keras().db[0])
        ),
    )


def _weight_decays() -> Iterator[Convention]:
    share, mu = 0.5 * LAMBDA, 0.9
    decay: dict[str, Any] = dict(lr=0.5, weight_decay=LAMBDA)
    momentum: dict[str, Any] = decay | dict(momentum=mu)
    beside = Formula("(1 - lr lambda) theta, before the step", (1 - share) * AT)
    yield Convention(
        "AdamW's weight decay, one step",
        _by_library(
            (beside, lambda: path(hm.AdamW(**decay), [0.0], start=AT)),
            (beside, lambda: torch_path(partial(torch.optim.AdamW, **decay), [0.0], start=AT)),
            keras=(beside, lambda: keras_path(keras().optimizers.AdamW(0.5, LAMBDA), [0.0], start=AT)),
        ),
    )
    inside = Formula("in the gradient, so in the velocity", ((1 - share) ** 2 - share * mu) * AT)
    outside = Formula("(1 - lr lambda) theta, as AdamW", (1 - share) ** 2 * AT)

    def keras_sgd() -> Any:
        return keras().optimizers.SGD(0.5, mu, weight_decay=LAMBDA)

    yield Convention(
        "weight_decay of SGD with momentum, two steps",
        _by_library(
            (inside, lambda: path(hm.SGD(**momentum), [0.0, 0.0], start=AT)),
            (inside, lambda: torch_path(partial(torch.optim.SGD, **momentum), [0.0, 0.0], start=AT)),
            keras=(outside, lambda: keras_path(keras_sgd(), [0.0, 0.0], start=AT)),
        ),
    )


# ---- optimizers: theta, from 0, after steps along given gradients --------------------------------------------------

GRADIENTS = [1.0, 3.0, 2.0]
LR, MU = 0.1, 0.9
VELOCITIES = np.array([1.0, MU + 3, MU * (MU + 3) + 2])  # v = mu v + g


def _momentum(
    nesterov: bool, own: Formula, theirs: Formula, quantity: str, lrs: list[float] | None = None
) -> Convention:
    options: dict[str, Any] = dict(lr=LR, momentum=MU, nesterov=nesterov)
    return Convention(
        quantity,
        _by_library(
            (own, lambda: path(hm.SGD(**options), GRADIENTS, lrs)),
            (own, lambda: torch_path(partial(torch.optim.SGD, **options), GRADIENTS, lrs)),
            (
                theirs,
                lambda: scikit_learn_path(
                    "SGDOptimizer", GRADIENTS, lrs, learning_rate_init=LR, momentum=MU, nesterov=nesterov
                ),
            ),
            (theirs, lambda: keras_path(keras().optimizers.SGD(LR, MU, nesterov), GRADIENTS, lrs)),
        ),
    )


def _momenta() -> Iterator[Convention]:
    heavy = Formula("v = mu v + g, theta -= lr v", -LR * VELOCITIES.sum())
    inside = Formula("v = mu v - lr g, theta += v", heavy.value)
    yield _momentum(False, heavy, inside, "momentum, lr constant, 3 steps")
    nesterov = Formula("theta -= lr (g + mu v)", -LR * (np.array(GRADIENTS) + MU * VELOCITIES).sum())
    ahead = Formula("theta += mu v - lr g", nesterov.value)
    yield _momentum(True, nesterov, ahead, "Nesterov, lr constant, 3 steps")
    stops = Formula("stops: lr scales the old velocity too", -LR * VELOCITIES[:2].sum())
    rolls = Formula("rolls on: lr is inside the velocity", -LR * (VELOCITIES[:2].sum() + MU * VELOCITIES[1]))
    lrs = [LR, LR, 0.0]
    yield _momentum(False, stops, rolls, "momentum, lr = 0 in the third step", lrs)
    yield Convention(
        "the same, Momentum1986", _by_library((rolls, lambda: path(hm.Momentum1986(LR, MU), GRADIENTS, lrs)))
    )
    v = MU + 0.5 * 3
    dampened = Formula("(1 - d) g, but in the first step g", -LR * (1 + v + MU * v + 0.5 * 2))
    options: dict[str, Any] = dict(lr=LR, momentum=MU, dampening=0.5)
    yield Convention(
        "dampening d = 0.5, 3 steps",
        _by_library(
            (dampened, lambda: path(hm.SGD(**options), GRADIENTS)),
            (dampened, lambda: torch_path(partial(torch.optim.SGD, **options), GRADIENTS)),
        ),
    )


def _adam(own: Formula, theirs: Formula, quantity: str, gradients: list[float], epsilon: float) -> Convention:
    return Convention(
        quantity,
        _by_library(
            (own, lambda: path(hm.Adam(LR, eps=epsilon), gradients)),
            (own, lambda: torch_path(partial(torch.optim.Adam, lr=LR, eps=epsilon), gradients)),
            (theirs, lambda: scikit_learn_path("AdamOptimizer", gradients, learning_rate_init=LR, epsilon=epsilon)),
            (theirs, lambda: keras_path(keras().optimizers.Adam(LR, epsilon=epsilon), gradients)),
        ),
    )


def _adams() -> Iterator[Convention]:
    beta1, beta2 = 0.9, 0.999
    m = v = theta = 0.0
    for t, g in enumerate(GRADIENTS, 1):
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        theta -= LR * (m / (1 - beta1**t)) / math.sqrt(v / (1 - beta2**t))
    corrected = Formula("m and v over 1 - beta^t", theta)
    yield _adam(corrected, corrected, "Adam's bias correction, 3 steps", GRADIENTS, 1e-300)
    after = Formula("sqrt(vhat) + eps", -LR / (1 + 0.5))
    before = Formula("sqrt(v) + eps, then corrected", -LR / (1 + 0.5 / math.sqrt(1 - beta2)))
    yield _adam(after, before, "Adam's epsilon: step along 1, eps = 0.5", [1.0], 0.5)


def _other_epsilons() -> Iterator[Convention]:
    eps = 0.5
    outside = Formula("sqrt(s) + eps", -LR / (math.sqrt(0.25) + eps))
    inside = Formula("sqrt(s + eps)", -LR / math.sqrt(0.25 + eps))
    yield Convention(
        "RMSprop's epsilon: step along 1, eps = 0.5",
        _by_library(
            (outside, lambda: path(hm.RMSprop(LR, 0.75, eps), [1.0])),
            (outside, lambda: torch_path(partial(torch.optim.RMSprop, lr=LR, alpha=0.75, eps=eps), [1.0])),
            keras=(inside, lambda: keras_path(keras().optimizers.RMSprop(LR, 0.75, epsilon=eps), [1.0])),
        ),
    )
    outside, inside = Formula("sqrt(s) + eps", -LR / (1 + eps)), Formula("sqrt(s + eps)", -LR / math.sqrt(1 + eps))

    def of_keras() -> float:
        optimizer = keras().optimizers.Adagrad(LR, initial_accumulator_value=0.0, epsilon=eps)
        return keras_path(optimizer, [1.0])

    yield Convention(
        "Adagrad's epsilon: step along 1, eps = 0.5",
        _by_library(
            (outside, lambda: path(hm.Adagrad(LR, eps=eps), [1.0])),
            (outside, lambda: torch_path(partial(torch.optim.Adagrad, lr=LR, eps=eps), [1.0])),
            keras=(inside, of_keras),
        ),
    )


# ---- layers --------------------------------------------------------------------------------------------------------


def _normalizations() -> Iterator[Convention]:
    X = torch.tensor(P)
    layers = (
        ("BatchNorm", 0, hm.BatchNorm, torch.nn.BatchNorm1d, "BatchNormalization"),
        ("LayerNorm", 1, hm.LayerNorm, torch.nn.LayerNorm, "LayerNormalization"),
    )
    for name, axis, own, of_torch, of_keras in layers:
        D = P - P.mean(axis, keepdims=True)
        H = D / np.sqrt((D**2).mean(axis, keepdims=True) + 0.5)
        inside = Formula("(x - mean) / sqrt(var + eps), var over N", H[0, 0])
        yield Convention(
            f"{name} in training, eps = 0.5",
            _by_library(
                (inside, partial(lambda layer: layer(O, eps=0.5).forward(P, training=True)[0][0, 0], own)),
                (inside, partial(lambda layer: layer(O, eps=0.5, dtype=X.dtype)(X)[0, 0], of_torch)),
                keras=(
                    inside,
                    partial(lambda n: getattr(keras().layers, n)(epsilon=0.5)(P, training=True)[0, 0], of_keras),
                ),
            ),
        )


def _running(layer: Any, call: Callable[[Any], Any], name: str) -> float:
    """Return the running statistic of the first feature after one batch; it began as 0 or 1."""
    call(layer)
    return float(plain(getattr(layer, name))[0])


def _running_averages() -> Iterator[Convention]:
    def convention(
        quantity: str, own: Formula, theirs: Formula, name: str, keras_name: str, keras_momentum: float
    ) -> Convention:
        def of_keras() -> float:
            layer = keras().layers.BatchNormalization(momentum=keras_momentum)
            return _running(layer, lambda layer: layer(P, training=True), keras_name)

        def of_torch() -> float:
            layer = torch.nn.BatchNorm1d(O, momentum=0.1, dtype=torch.float64)
            return _running(layer, lambda layer: layer(torch.tensor(P)), name)

        return Convention(
            quantity,
            _by_library(
                (own, lambda: _running(hm.BatchNorm(O, momentum=0.1), lambda layer: layer.forward(P, True), name)),
                (own, of_torch),
                keras=(theirs, of_keras),
            ),
        )

    mean, var = P[:, 0].mean(), P[:, 0].var()
    new, old = Formula("(1 - m) old + m new", 0.1 * mean), Formula("m old + (1 - m) new", 0.9 * mean)
    yield convention("BatchNorm's momentum m = 0.1: running mean", new, old, "running_mean", "moving_mean", 0.1)
    unbiased = Formula("new: over N - 1", 0.9 + 0.1 * var * N / (N - 1))
    biased = Formula("new: over N", 0.9 + 0.1 * var)
    quantity = "BatchNorm's running variance, a tenth new"
    yield convention(quantity, unbiased, biased, "running_var", "moving_variance", 0.9)


def _dropout() -> Iterator[Convention]:
    kept, ones = Formula("1 / (1 - p), p the share dropped", 1 / (1 - 0.2)), np.ones((1, 64))
    yield Convention(
        "dropout, p = 0.2: a kept 1 becomes",
        _by_library(
            (kept, lambda: hm.Dropout(0.2, rng=0).forward(ones, training=True)[0].max()),
            (kept, lambda: torch.nn.Dropout(0.2)(torch.tensor(ones)).max()),
            keras=(kept, lambda: keras().layers.Dropout(0.2, seed=0)(ones, training=True).max()),
        ),
    )


# ---- initial weights: the largest of many draws from U(-a, a) is a, within `SLACK` ---------------------------------

I, UNITS = 40, 2000
SLACK = 0.02  # 2,000 draws all miss the outer 2 per cent with probability 0.98^2000 = 3e-18


def _own_start(initializer: InitializerName, index: int) -> float:
    layer = hm.Dense(I, UNITS, weight_init=initializer, bias_init=initializer, rng=0)
    parameters: list[Array] = [layer.W, layer.b]
    return float(np.abs(parameters[index]).max())


def _torch_start(index: int) -> torch.Tensor:
    return list(torch.nn.Linear(I, UNITS).parameters())[index].abs().max()


def _sklearn_start(activation: str, index: int) -> float:
    from sklearn.neural_network import MLPRegressor

    options: dict[str, Any] = dict(
        hidden_layer_sizes=(UNITS,), activation=activation, learning_rate_init=1e-9, random_state=0
    )
    estimator = MLPRegressor(**options).partial_fit(np.ones((1, I)), np.ones(1))  # a step of 1e-9
    return float(np.abs((estimator.coefs_, estimator.intercepts_)[index][0]).max())


def _keras_start(index: int) -> float:
    layer = keras().layers.Dense(UNITS)
    layer.build((None, I))
    return float(np.abs(plain((layer.kernel, layer.bias)[index])).max())


def _starts() -> Iterator[Convention]:
    default = Formula("1 / sqrt(I)", 1 / math.sqrt(I))
    glorot = Formula("sqrt(6 / (I + O)), Glorot's", math.sqrt(6 / (I + UNITS)))
    narrow = Formula("sqrt(2 / (I + O))", math.sqrt(2 / (I + UNITS)))
    for index, name, of_keras in (0, "weights", glorot), (1, "biases", Formula("0", 0.0)):
        yield Convention(
            f"start of the {name}: U(-a, a) with a =",
            _by_library(
                (default, partial(_own_start, "linear_default", index)),
                (default, partial(_torch_start, index)),
                (glorot, partial(_sklearn_start, "relu", index)),
                (of_keras, partial(_keras_start, index)),
            ),
            SLACK,
        )
    yield Convention(
        "the same of xavier_uniform, and of logistic units",
        _by_library(
            (glorot, partial(_own_start, "xavier_uniform", 0)), sklearn=(narrow, partial(_sklearn_start, "logistic", 0))
        ),
        SLACK,
    )


def definitions() -> list[Convention]:
    """Return the conventions about formulas, in the order of the table.

    Examples
    --------
    >>> definitions()[0].quantity
    'squared error'
    """
    groups = (
        *(_squared_error, _half_squared_error, _robust_errors, _hinges, _binary_cross_entropy, _certainty),
        *(_cross_entropy, _class_weights, _other_weights, _l2, _weight_decays, _momenta, _adams, _other_epsilons),
        *(_normalizations, _running_averages, _dropout, _starts),
    )
    return [convention for group in groups for convention in group()]


# ---- defaults: the value, the function or class, and the name of its parameter --------------------------------------

MLP = "sklearn.neural_network:MLPClassifier"
# fmt: off
DEFAULTS = {
    "Huber's delta": (
        (1.0, "handmade.losses:huber_loss", "delta"), (1.0, "torch.nn.functional:huber_loss", "delta"),
        None, (1.0, "keras:losses.Huber", "delta")),
    "lr of SGD": (
        (1e-3, "handmade:SGD", "lr"), (1e-3, "torch.optim:SGD", "lr"),
        (1e-3, MLP, "learning_rate_init"), (1e-2, "keras:optimizers.SGD", "learning_rate")),
    "momentum of SGD": (
        (0.0, "handmade:SGD", "momentum"), (0, "torch.optim:SGD", "momentum"),
        (0.9, MLP, "momentum"), (0.0, "keras:optimizers.SGD", "momentum")),
    "Nesterov's form of it": (
        (False, "handmade:SGD", "nesterov"), (False, "torch.optim:SGD", "nesterov"),
        (True, MLP, "nesterovs_momentum"), (False, "keras:optimizers.SGD", "nesterov")),
    "L2 term": (
        (0.0, "handmade:SGD", "weight_decay"), (0, "torch.optim:SGD", "weight_decay"), (1e-4, MLP, "alpha"), None),
    "lr of Adam": (
        (1e-3, "handmade:Adam", "lr"), (1e-3, "torch.optim:Adam", "lr"),
        (1e-3, MLP, "learning_rate_init"), (1e-3, "keras:optimizers.Adam", "learning_rate")),
    "epsilon of Adam": (
        (1e-8, "handmade:Adam", "eps"), (1e-8, "torch.optim:Adam", "eps"),
        (1e-8, MLP, "epsilon"), (1e-7, "keras:optimizers.Adam", "epsilon")),
    "weight decay of AdamW": (
        (1e-2, "handmade:AdamW", "weight_decay"), (1e-2, "torch.optim:AdamW", "weight_decay"),
        None, (4e-3, "keras:optimizers.AdamW", "weight_decay")),
    "lr of RMSprop": (
        (1e-2, "handmade:RMSprop", "lr"), (1e-2, "torch.optim:RMSprop", "lr"),
        None, (1e-3, "keras:optimizers.RMSprop", "learning_rate")),
    "decay of RMSprop": (
        (0.99, "handmade:RMSprop", "alpha"), (0.99, "torch.optim:RMSprop", "alpha"),
        None, (0.9, "keras:optimizers.RMSprop", "rho")),
    "epsilon of RMSprop": (
        (1e-8, "handmade:RMSprop", "eps"), (1e-8, "torch.optim:RMSprop", "eps"),
        None, (1e-7, "keras:optimizers.RMSprop", "epsilon")),
    "lr of Adagrad": (
        (1e-2, "handmade:Adagrad", "lr"), (1e-2, "torch.optim:Adagrad", "lr"),
        None, (1e-3, "keras:optimizers.Adagrad", "learning_rate")),
    "epsilon of Adagrad": (
        (1e-10, "handmade:Adagrad", "eps"), (1e-10, "torch.optim:Adagrad", "eps"),
        None, (1e-7, "keras:optimizers.Adagrad", "epsilon")),
    "start of Adagrad's sum": (
        (0.0, "handmade:Adagrad", "initial_accumulator_value"), (0, "torch.optim:Adagrad", "initial_accumulator_value"),
        None, (0.1, "keras:optimizers.Adagrad", "initial_accumulator_value")),
    "epsilon of BatchNorm": (
        (1e-5, "handmade:BatchNorm", "eps"), (1e-5, "torch.nn:BatchNorm1d", "eps"),
        None, (1e-3, "keras:layers.BatchNormalization", "epsilon")),
    "momentum of BatchNorm": (
        (0.1, "handmade:BatchNorm", "momentum"), (0.1, "torch.nn:BatchNorm1d", "momentum"),
        None, (0.99, "keras:layers.BatchNormalization", "momentum")),
    "epsilon of LayerNorm": (
        (1e-5, "handmade:LayerNorm", "eps"), (1e-5, "torch.nn:LayerNorm", "eps"),
        None, (1e-3, "keras:layers.LayerNormalization", "epsilon")),
    "slope of leaky ReLU": (
        (0.01, "handmade.activations:leaky_relu", "negative_slope"),
        (0.01, "torch.nn.functional:leaky_relu", "negative_slope"),
        None, (0.2, "keras:activations.leaky_relu", "negative_slope")),
    "slope of leaky ReLU, as a layer": (
        (0.01, "handmade.activations:leaky_relu", "negative_slope"), (0.01, "torch.nn:LeakyReLU", "negative_slope"),
        None, (0.3, "keras:layers.LeakyReLU", "negative_slope")),
}
# fmt: on


def _default(place: str, name: str) -> Any:
    if place.startswith("keras:"):
        keras()
    return inspect.signature(pkgutil.resolve_name(place)).parameters[name].default


def defaults() -> list[Convention]:
    """Return the conventions about default values.

    Examples
    --------
    >>> defaults()[0].quantity
    "Huber's delta"
    """
    return [
        Convention(
            quantity,
            _by_library(*(cell and (Formula(str(cell[0]), cell[0]), partial(_default, *cell[1:])) for cell in row)),
        )
        for quantity, row in DEFAULTS.items()
    ]
