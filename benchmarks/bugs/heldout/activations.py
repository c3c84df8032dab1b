"""Held-out mistakes in the derivatives of activations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import handmade as hm
from handmade import activations
from handmade.protocols import Array

from ..public.problems import Parameters, backward, forward, layers, mlp, relu, sigmoid, softmax
from .problems import d_cross_entropy, d_half, d_mse, held_out, slope_of, tanh_slope, through

PRODUCT = r"product|density|\bphi\b|pdf|cdf|h / a|second term"


@held_out(
    "GELU: the product rule forgotten, only Phi(a) is left",
    mlp([4, 7, 7, 3], "gelu", "mse_loss", "numbers", rows=12),
    "1 slope, 3 slope",
    PRODUCT,
)
def gelu_without_the_product_rule(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def slope(A: Array) -> Array:
        return np.where(np.abs(A) > 1e-9, activations.gelu(A) / np.where(A == 0, 1, A), 0.5)

    return through(parameters, X, activations.gelu, slope, d_mse(y))


@held_out(
    "GELU exact in the forward pass, and derived as a sigmoid(1.702 a) in the backward pass",
    mlp([6, 9, 4], "gelu", rows=20),
    "1 slope",
    r"approx|1\.702|sigmoid",
)
def gelu_derived_from_its_approximation(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def slope(A: Array) -> Array:
        S = sigmoid(1.702 * A)
        return S + 1.702 * A * S * (1 - S)

    return through(parameters, X, activations.gelu, slope, d_cross_entropy(y))


@held_out(
    "swish with a bracket misplaced: s + a (1 - s)",
    mlp([3, 6, 6, 6, 2], "silu", "half_squared_error", "numbers", rows=10),
    "1 slope, 3 slope, 5 slope",
    r"bracket|\bs\b|sigmoid",
)
def silu_with_a_misplaced_bracket(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def slope(A: Array) -> Array:
        return sigmoid(A) + A * (1 - sigmoid(A))

    return through(parameters, X, activations.silu, slope, d_half(y))


@held_out(
    "ELU: alpha in the forward pass only",
    lambda: mlp([5, 8, 3], [hm.Activation("elu", alpha=0.5)], "mse_loss", "numbers", rows=15)(),
    "1 slope",
    r"alpha|0\.5|twice|\b2\b",
)
def elu_slope_without_alpha(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through(parameters, X, lambda A: activations.elu(A, 0.5), slope_of("elu", alpha=1.0), d_mse(y))


@held_out(
    "leaky ReLU: 0.2 in forward, the default 0.01 in backward",
    lambda: mlp(
        [4, 8, 8, 1],
        [hm.Activation("leaky_relu", negative_slope=0.2) for _ in range(2)],
        "mse_loss",
        "numbers",
        rows=28,
    )(),
    "1 slope, 3 slope",
    r"0\.2|0\.01|leak|negative_slope|0\.05",
)
def leaky_slope_left_at_its_default(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def slope(A: Array) -> Array:
        return np.where(A > 0, 1, 0.01)

    return through(parameters, X, lambda A: np.where(A > 0, A, 0.2 * A), slope, d_mse(y))


@held_out(
    "guided backpropagation from a visualization notebook left in the training code",
    mlp([6, 7, 4], "relu", rows=16),
    "1 slope, 2 dX",
    r"guided|positive|negative|dh > 0|\[dh|dh <|clip|max\(|relu\(d",
)
def guided_backpropagation(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    A, H = forward(parameters, X, relu)
    dX: Callable[..., Array] = lambda dA, W, k: np.maximum(dA @ W, 0)  # noqa: E731
    return backward(parameters, H, d_cross_entropy(y)(A[-1]), lambda k: A[k] > 0, dX=dX)


@held_out(
    "softplus: the sigmoid of its output in place of its input",
    mlp([5, 6, 2], "softplus", "mse_loss", "numbers", rows=8),
    "1 slope",
    r"\bh\b|its output|instead of (the|its) (pre-?activation|input)",
)
def softplus_slope_at_its_output(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through(parameters, X, activations.softplus, lambda A: sigmoid(activations.softplus(A)), d_mse(y))


@held_out(
    "tanh: 1 - h, the square forgotten",
    mlp([3, 5, 5, 5, 5, 2], "tanh", "mse_loss", "numbers", rows=14),
    "1 slope, 3 slope, 5 slope, 7 slope",
    r"squar|\^2|h h|\*\*|1 - h|1 - tanh|h\^",
)
def tanh_slope_without_its_square(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through(parameters, X, np.tanh, lambda A: 1 - np.tanh(A), d_mse(y))


@held_out(
    "tanh overwritten in place, and applied once more in the backward pass",
    mlp([4, 6, 3], "tanh", rows=18),
    "1 slope",
    r"twice|overwrit|once more|\(h\)|of h\b|already",
)
def slope_at_an_overwritten_input(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through(parameters, X, np.tanh, lambda A: 1 - np.tanh(np.tanh(A)) ** 2, d_cross_entropy(y))


@held_out(
    "softmax layer: the product with the Jacobian is summed over the batch and not over the classes",
    mlp([5, 6, 3], ["tanh", "softmax"], "mse_loss", "numbers", rows=12),
    "3 slope",
    r"axis|samples|batch|over the classes|over n|rows|columns",
)
def softmax_jacobian_summed_over_the_batch(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def dA(A: Array) -> Array:
        P = softmax(A)
        dH = 2 * (P - y) / P.size
        return P * (dH - (dH * P).sum(axis=0))

    return through(parameters, X, np.tanh, tanh_slope, dA)


@held_out(
    "SELU: the scale forgotten for positive inputs",
    mlp([6, 6, 2], "selu", "l1_loss", "numbers", rows=13),
    "1 slope",
    r"scale|1\.05|lambda|positive|above|0\.95|\[a > 0\]",
)
def selu_slope_one_above_zero(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    slope = slope_of("selu")
    return through(
        parameters, X, activations.selu, lambda A: np.where(A > 0, 1, slope(A)), lambda A: np.sign(A - y) / A.size
    )


@held_out(
    "hardtanh sent through straight, as if nothing had been cut",
    mlp([4, 10, 3], "hardtanh", rows=36),
    "1 slope",
    r"slope|derivative|identity|linear|satur|limit|straight|clip",
)
def hardtanh_sent_straight_through(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through(parameters, X, activations.hardtanh, np.ones_like, d_cross_entropy(y))


@held_out(
    "softsign: 1 / (1 + |a|), the square forgotten",
    mlp([5, 5, 2], "softsign", "mse_loss", "numbers", rows=7),
    "1 slope",
    r"squar|\^2|1 \+ \|a|once|power|root",
)
def softsign_slope_without_its_square(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through(parameters, X, activations.softsign, lambda A: 1 / (1 + np.abs(A)), d_mse(y))


GATED = layers(lambda: [hm.Dense(4, 8, rng=1), hm.GLU(), hm.Dense(4, 2, rng=2)], rows=14)


@held_out(
    "GLU: the slope of the gate's sigmoid forgotten",
    GATED,
    "1 dX, 1 slope",
    r"slope|derivative|sigmoid'|1 - ",
)
def gate_without_its_slope(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    W0, b0, W2, b2 = parameters
    A, B = np.split(X @ W0.T + b0, 2, axis=1)
    H = A * sigmoid(B)
    dA = d_mse(y)(H @ W2.T + b2)
    dH = dA @ W2
    dAB = np.concatenate([dH * sigmoid(B), dH * A], axis=1)
    return [dAB.T @ X, dAB.sum(axis=0), dA.T @ H, dA.sum(axis=0)]
