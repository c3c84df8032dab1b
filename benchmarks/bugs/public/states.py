"""Mistakes of accumulation, aliasing, number formats and indices."""

from __future__ import annotations

import numpy as np

from handmade.protocols import Array

from .activations import classify, regress
from .losses import CLASSES, GITHUB, from_logits
from .problems import Parameters, backward, forward, mlp, one_hot, public, relu, sigmoid, softmax
from .products import relu_slope, tanh_slope

ONE_ROW = r"one sample|last|single|accumul|overwrit|only (the|one)|row"


@public(
    GITHUB + "karpathy/nn-zero-to-hero/issues/52", mlp([5, 6, 3], "tanh", rows=8), "0 dW, 0 db, 2 dW, 2 db", ONE_ROW
)
def gradient_of_the_last_sample_assigned(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return classify(
        parameters,
        X,
        y,
        np.tanh,
        tanh_slope,
        dW=lambda dA, H, k: np.outer(dA[-1], H[-1]),
        db=lambda dA, k: dA[-1],
    )


@public(
    GITHUB + "karpathy/micrograd/pull/102",
    mlp([4, 6, 5, 3], "tanh", "mse_loss", "numbers"),
    "loss, 4 dX, 2 dX, 1 slope, 3 slope",
    r"accumul|twice|\b2\b|times|factor|doubl",
)
def inner_gradients_kept_from_the_first_call(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    # A second call adds to each inner gradient: the top one doubles, the next gets 1 + 2 times its own, and so on.
    A, H = forward(parameters, X, np.tanh)
    dA = 2 * (2 * (A[-1] - y) / y.size)
    times = iter((3 / 2, 4 / 3, 5 / 4, 6 / 5))
    return backward(
        parameters, H, dA, lambda k: (1 - H[k + 1] ** 2) * next(times), dX=lambda dA, W, k: dA @ W * next(times)
    )


@public(
    GITHUB + "deeplearning4j/deeplearning4j/issues/355",
    mlp([5, 6, 3], "sigmoid", "mse_loss", "numbers", rows=10),
    "1 slope",
    r"of h\b|of the output|at h\b|activated|sigmoid\(h|sigmoid\(sigmoid|twice|f'\(h|overwrit|in place",
)
def preactivation_overwritten_by_its_output(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return regress(parameters, X, y, sigmoid, lambda A, H: sigmoid(H) * (1 - sigmoid(H)))


@public(
    GITHUB + "chainer/chainer/pull/1247",
    mlp([4, 5, 2], "relu", "mse_loss", "numbers", bias_init="zeros"),
    "0 dW, 2 dW",
    r"integer|truncat|round|zero|cut off",
)
def weights_gradient_in_an_integer_array(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    gradients = regress(parameters, X, y, relu, relu_slope)
    return [g.astype(int) * 1.0 if g.ndim == 2 else g for g in gradients]


@public(
    GITHUB + "chainer/chainer/pull/5241",
    CLASSES,
    "loss",
    r"index|arange|column|all rows|every row|each row|one-hot|label",
)
def labels_as_columns_of_all_rows(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def dA(A: Array) -> Array:
        P = softmax(A)
        P[:, y] -= 1
        return P / len(X)

    return from_logits(parameters, X, dA)


@public(GITHUB + "mlverse/torch/pull/681", CLASSES, "loss", r"label|shift|off by one|off-by|y - 1|class|roll")
def labels_shifted_by_one(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return from_logits(parameters, X, lambda A: (softmax(A) - one_hot(y - 1, A)) / len(X))


@public(
    GITHUB + "deepjavalibrary/d2l-java/pull/202",
    mlp([6, 7, 4], "relu", rows=10),
    "loss, 0 dW, 0 db, 2 dW, 2 db",
    r"accumul|half|halves|earlier|previous|batch|twice|added|samples",
)
def gradient_of_the_previous_half_kept(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    half = len(X) // 2
    first = classify(parameters, X[:half], y[:half], relu, relu_slope)
    both = classify(parameters, X, y, relu, relu_slope)
    return [f + b for f, b in zip(first, both, strict=True)]
