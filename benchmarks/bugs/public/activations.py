"""Mistakes in the derivative of a hidden activation."""

from __future__ import annotations

from typing import Any

import numpy as np

import handmade as hm
from handmade.protocols import Array

from .losses import GITHUB
from .problems import (
    Parameters,
    backward,
    forward,
    layers,
    mlp,
    one_hot,
    public,
    relu,
    right_db,
    right_dW,
    sigmoid,
    softmax,
)

SIGMOID = mlp([5, 6, 3], "sigmoid")
TANH = mlp([5, 6, 3], "tanh", "mse_loss", "numbers")
RELU = mlp([5, 8, 3], "relu", rows=15)


def classify(parameters: Parameters, X: Array, y: Array, f: Any, slope: Any, **wrong: Any) -> list[Array]:
    """Return the gradients under cross-entropy with slope(A, H) for each hidden layer."""
    A, H = forward(parameters, X, f)
    dA = (softmax(A[-1]) - one_hot(y, A[-1])) / len(X)
    return backward(parameters, H, dA, lambda k: slope(A[k], H[k + 1]), **wrong)


def regress(parameters: Parameters, X: Array, y: Array, f: Any, slope: Any, **wrong: Any) -> list[Array]:
    """Return the gradients under mse_loss with slope(A, H) for each hidden layer."""
    A, H = forward(parameters, X, f)
    return backward(parameters, H, 2 * (A[-1] - y) / y.size, lambda k: slope(A[k], H[k + 1]), **wrong)


@public(
    GITHUB + "dwhitena/gophernet/issues/6",
    SIGMOID,
    "1 slope",
    r"of h\b|of the output|at h\b|activated|sigmoid\(h|sigmoid\(sigmoid|twice|f'\(h",
)
def sigmoid_slope_at_the_output(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return classify(parameters, X, y, sigmoid, lambda A, H: sigmoid(H) * (1 - sigmoid(H)))


@public(
    GITHUB + "llSourcell/Make_a_neural_network/pull/2",
    SIGMOID,
    "1 slope",
    r"pre-activation|of a\b|a \* \(1 - a\)|a \(1 - a\)|a\(1 - a\)|not activated|instead of h",
)
def sigmoid_slope_from_the_preactivation(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return classify(parameters, X, y, sigmoid, lambda A, H: A * (1 - A))


@public(
    GITHUB + "lazyprogrammer/facial-expression-recognition/issues/2",
    TANH,
    "1 slope",
    r"pre-activation|1 - a\b|a\*\*2|a²|a \* a|of a\b|a\^2|instead of h",
)
def tanh_slope_from_the_preactivation(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return regress(parameters, X, y, np.tanh, lambda A, H: 1 - A**2)


@public(GITHUB + "gy910210/neural-network-from-scratch/issues/2", TANH, "1 slope", r"1 \+|sign|plus|\+ h")
def tanh_slope_with_a_plus(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return regress(parameters, X, y, np.tanh, lambda A, H: 1 + H**2)


@public(GITHUB + "andersbll/nnet/issues/4", TANH, "1 slope", r"tanh|\bh\b|activation itself|derivative")
def tanh_for_its_slope(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return regress(parameters, X, y, np.tanh, lambda A, H: np.tanh(A))


@public(GITHUB + "yizt/numpy_neural_network/issues/6", TANH, "1 slope", r"tanh|dh\b|upstream")
def tanh_slope_at_the_upstream_gradient(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    A, H = forward(parameters, X, np.tanh)
    dA2 = 2 * (A[1] - y) / y.size
    dA1 = 1 - np.tanh(dA2 @ parameters[2]) ** 2
    return [dA1.T @ X, dA1.sum(axis=0), dA2.T @ H[1], dA2.sum(axis=0)]


@public(
    GITHUB + "dennybritz/nn-from-scratch/pull/3",
    mlp([4, 5, 5, 3], "tanh"),
    "1 slope",
    r"layer|a2|h2|another|next|wrong",
)
def tanh_slope_of_the_next_layer(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    A, H = forward(parameters, X, np.tanh)
    dA = (softmax(A[-1]) - one_hot(y, A[-1])) / len(X)
    return backward(parameters, H, dA, lambda k: 1 - H[2] ** 2)


@public(
    GITHUB + "exacity/deeplearningbook-chinese/issues/127",
    RELU,
    "1 slope",
    r"dh > 0|dh\b.*> ?0|upstream|of the gradient|relu\(d|max\(d|positive gradient",
)
def relu_mask_of_the_gradient(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    A, H = forward(parameters, X, relu)
    dA2 = (softmax(A[1]) - one_hot(y, A[1])) / len(X)
    dA1 = dA2 @ parameters[2]
    dA1 = dA1 * (dA1 > 0)
    return [dA1.T @ X, dA1.sum(axis=0), dA2.T @ H[1], dA2.sum(axis=0)]


LEAKY = layers(lambda: [hm.Dense(5, 7, rng=1), hm.Activation("leaky_relu", negative_slope=0.1), hm.Dense(7, 3, rng=2)])


@public(
    GITHUB + "chainer/chainer/pull/5898",
    LEAKY,
    "1 slope",
    r"derivative|slope|mask|missing|left out|skipped|forgot|omitted|identity",
)
def leaky_relu_passes_everything(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return regress(parameters, X, y, lambda A: np.where(A > 0, A, 0.1 * A), lambda A, H: 1.0)


@public(
    GITHUB + "SilasMarvin/dnns-from-scratch-in-zig/issues/5",
    LEAKY,
    "1 slope",
    r"0\.1|slope|negative|constant",
)
def leaky_relu_slope_without_the_gradient(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    A, H = forward(parameters, X, lambda A: np.where(A > 0, A, 0.1 * A))
    dA2 = 2 * (A[1] - y) / y.size
    dA1 = np.where(A[0] > 0, dA2 @ parameters[2], 0.1)
    return [dA1.T @ X, dA1.sum(axis=0), dA2.T @ H[1], dA2.sum(axis=0)]


@public(
    GITHUB + "mlpack/mlpack/pull/1540",
    layers(lambda: [hm.Dense(5, 7, rng=3), hm.Activation("elu"), hm.Dense(7, 3, rng=4)]),
    "1 slope",
    r"a \+ 1|a \+ alpha|1 \+ a|exp|pre-activation|of a\b|instead of h",
)
def elu_slope_from_the_preactivation(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def elu(A: Array) -> Array:
        return np.where(A > 0, A, np.exp(np.minimum(A, 0)) - 1)

    return regress(parameters, X, y, elu, lambda A, H: np.where(A > 0, 1, A + 1))


@public(
    "https://github.com/pytorch/pytorch/issues/61568",
    layers(lambda: [hm.Dense(5, 7, rng=5), hm.Activation("softplus", beta=3.0), hm.Dense(7, 3, rng=6)]),
    "1 slope",
    r"threshold|1 where|\bh >|saturat|clip|linear|\bone\b",
)
def softplus_threshold_of_the_output(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return regress(
        parameters, X, y, lambda A: np.log1p(np.exp(3 * A)) / 3, lambda A, H: np.where(3 * H > 1, 1, sigmoid(3 * A))
    )


@public(
    GITHUB + "arthurdouillard/deepcourse/issues/6",
    mlp([5, 6, 3], "tanh"),
    "0 db",
    r"dh\b|derivative|slope|before|1 - ",
)
def hidden_bias_before_the_tanh_slope(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    A, H = forward(parameters, X, np.tanh)
    dA2 = (softmax(A[1]) - one_hot(y, A[1])) / len(X)
    dH1 = dA2 @ parameters[2]
    return [(dH1 * (1 - H[1] ** 2)).T @ X, dH1.sum(axis=0), dA2.T @ H[1], dA2.sum(axis=0)]


@public(
    "https://stats.stackexchange.com/questions/464262/backpropagation-demo-gives-always-the-same-result-after-training",
    mlp([4, 5, 2], ["sigmoid", "sigmoid"], "half_squared_error", "bits"),
    "2 dX, 1 slope, 3 slope",
    r"derivative|slope|dh\b|before|1 - |without",
)
def propagated_without_the_output_slope(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    _A, H = forward(parameters, X, sigmoid)
    error = (H[2] - y) / len(X)
    dA2, dA1 = error * H[2] * (1 - H[2]), error @ parameters[2] * H[1] * (1 - H[1])
    return [right_dW(dA1, X, 0), right_db(dA1, 0), right_dW(dA2, H[1], 1), right_db(dA2, 1)]


@public(
    GITHUB + "unda-ml/unda/issues/1",
    mlp([4, 6, 6, 3], ["sigmoid", "tanh"]),
    "1 slope",
    r"tanh|another|other|next|wrong activation|layer",
)
def slope_of_the_other_layers_function(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    W1, b1, W2, b2, W3, b3 = parameters
    H1 = sigmoid(X @ W1.T + b1)
    H2 = np.tanh(H1 @ W2.T + b2)
    A3 = H2 @ W3.T + b3
    dA = (softmax(A3) - one_hot(y, A3)) / len(X)
    return backward(parameters, [X, H1, H2], dA, lambda k: 1 - (H1, H2)[k] ** 2)


@public(
    "https://github.com/pytorch/pytorch/pull/33639",
    layers(lambda: [hm.Dense(5, 7, rng=7), hm.Activation("leaky_relu", negative_slope=-0.4), hm.Dense(7, 3, rng=8)]),
    "1 slope",
    r"of h\b|output|sign|h > 0|derivative|slope",
)
def leaky_relu_mask_of_an_overwritten_input(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def leaky(A: Array) -> Array:
        return np.where(A > 0, A, -0.4 * A)

    return regress(parameters, X, y, leaky, lambda A, H: np.where(H > 0, 1, -0.4))


@public(
    GITHUB + "davidrmiller/neural2d/issues/40",
    mlp([4, 6, 5, 2], "tanh", "mse_loss", "numbers"),
    "1 slope, 3 slope",
    r"of h\b|of the output|at h\b|activated|tanh\(h|tanh\(tanh|twice|f'\(h",
)
def tanh_slope_at_the_output(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return regress(parameters, X, y, np.tanh, lambda A, H: 1 - np.tanh(H) ** 2)
