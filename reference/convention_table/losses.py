"""Conventions of losses and their weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

import handmade as hm
from handmade import losses
from handmade.protocols import Array

from ..libraries import LinearStep, keras, keras_step, scikit_learn_step
from .convention import RNG, Convention, E, Formula, K, N, O, P, Y, by_library, regressor

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


def _classifier(y: Any, logits: Array, **options: Any) -> LinearStep:
    from sklearn.neural_network import MLPClassifier

    return scikit_learn_step(MLPClassifier, np.eye(len(logits)), y, logits.T, 0.0, **options)


# ---- losses --------------------------------------------------------------------------------------------------------


def _squared_error() -> Iterator[Convention]:
    yield Convention(
        "squared error",
        by_library(
            (MEAN_SQUARE, lambda: losses.mse_loss(P, Y)),
            (MEAN_SQUARE, lambda: _torch_loss("mse_loss", P, Y)),
            (HALF_MEAN_SQUARE, lambda: regressor().loss),
            (MEAN_SQUARE, lambda: _keras_loss("MeanSquaredError", Y, P)),
        ),
    )
    slope = Formula("2 e / (N O)", 2 * E[0, 0] / (N * O))
    yield Convention(
        "squared error: slope of a step",
        by_library(
            (slope, lambda: losses.mse_loss_backward(P, Y)[0, 0]),
            (slope, lambda: _torch_slopes("mse_loss", P, Y)[0, 0]),
            (DESCENDED, lambda: regressor().dW[0, 0]),
            (slope, lambda: keras_step("mse", np.eye(N), Y, P.T, 0.0).dW[0, 0]),
        ),
    )


def _half_squared_error() -> Iterator[Convention]:
    summed = Formula("1/2 sum over O, mean over N of e^2", (E**2).sum() / (2 * N))
    yield Convention(
        "half squared error",
        by_library(
            (summed, lambda: losses.half_squared_error(P, Y)), sklearn=(HALF_MEAN_SQUARE, lambda: regressor().loss)
        ),
    )
    slope = Formula("e / N", E[0, 0] / N)
    yield Convention(
        "half squared error: slope of a step",
        by_library(
            (slope, lambda: losses.half_squared_error_backward(P, Y)[0, 0]),
            sklearn=(DESCENDED, lambda: regressor().dW[0, 0]),
        ),
    )


def _robust_errors() -> Iterator[Convention]:
    mean = Formula("mean over N and O of |e|", np.abs(E).mean())
    metric = Formula(f"as a metric: {mean.text}", mean.value)
    yield Convention(
        "absolute error",
        by_library(
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
        by_library(
            (huber, lambda: losses.huber_loss(P, Y, delta=0.5)),
            (huber, lambda: _torch_loss("huber_loss", P, Y, delta=0.5)),
            keras=(huber, lambda: _keras_loss("Huber", Y, P, delta=0.5)),
        ),
    )
    smooth = Formula("Huber / beta", huber.value / 0.5)
    yield Convention(
        "smooth L1, beta = 0.5",
        by_library(
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
        by_library(
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
        by_library(
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
        by_library(
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
        by_library(
            (floor, lambda: losses.binary_cross_entropy(zero, one)),
            (floor, lambda: _torch_loss("binary_cross_entropy", zero, one)),
            (clipped, lambda: _sklearn_metric("log_loss", [1], [0.0], labels=[0, 1])),
            (clipped_more, lambda: _keras_loss("BinaryCrossentropy", one, zero)),
        ),
    )
    exact = Formula("500: exact", 500.0)
    yield Convention(
        "logit -500 where the target is 1",
        by_library(
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
        by_library(
            (mean, lambda: losses.cross_entropy(Z, LABELS)),
            (mean, lambda: _torch_loss("cross_entropy", Z, LABELS)),
            (mean, lambda: _classifier(LABELS, Z).loss),
            (mean, lambda: _keras_loss("SparseCategoricalCrossentropy", LABELS, Z, from_logits=True)),
        ),
    )
    yield from _label_smoothing()


def _label_smoothing() -> Iterator[Convention]:
    smoothed = Formula("target (1 - s) t + s / K", -((0.9 * ONE_HOT + 0.1 / K) * LOG_P).sum(axis=1).mean())
    options: dict[str, Any] = dict(from_logits=True, label_smoothing=0.1)
    yield Convention(
        "label smoothing s = 0.1",
        by_library(
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
        by_library(
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
        by_library(
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
        by_library(
            (counted, lambda: outputs.loss_and_gradient(P, Y, "mse_loss", sample_weight=SAMPLE_WEIGHT)[0]),
            (own, lambda: _torch_loss("mse_loss", P, Y, weight=everywhere)),
            (half, lambda: regressor(sample_weight=SAMPLE_WEIGHT).loss),
            (counted, lambda: _keras_loss("MeanSquaredError", Y, P, SAMPLE_WEIGHT)),
        ),
    )
    by_count = Formula("sum w l / (N O)", (ELEMENT_WEIGHT * BCE).mean())
    yield Convention(
        "weights of elements, binary cross-entropy",
        by_library(
            (by_count, lambda: losses.binary_cross_entropy_with_logits(P, ONES, weight=ELEMENT_WEIGHT)),
            (by_count, lambda: _torch_loss("binary_cross_entropy_with_logits", P, ONES, weight=ELEMENT_WEIGHT)),
        ),
    )


GROUPS = (
    *(_squared_error, _half_squared_error, _robust_errors, _hinges, _binary_cross_entropy),
    *(_certainty, _cross_entropy, _class_weights, _other_weights),
)
