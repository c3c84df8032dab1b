"""Mistakes that were unknown to the diagnosis when they were tested first, and have been used to improve it since.

Three were held out, and their diagnosis was false. The others are seven of 66 new ones that were not explained. So this
list measures regressions, and does not predict the diagnosis of new mistakes.
"""

from __future__ import annotations

import numpy as np

import handmade as hm
from handmade.protocols import Array

from .heldout.normalizations import DROPPED, normalized, right_dA, through_dropout
from .heldout.problems import above, d_cross_entropy, d_half, tanh_slope, through
from .public.problems import Bug, Parameters, backward, forward, into, layers, mlp, one_hot, relu, right_dW, softmax

__all__ = ["MENDED"]

MENDED: list[Bug] = []
mended = into(MENDED)


@mended(
    "log-softmax layer: dh - p dh, without the sum of dh over the classes",
    mlp([4, 5, 4], ["relu", "log_softmax"], "nll_loss", rows=20),
    "3 slope",
    r"sum|classes|jacobian|elementwise|diagonal|dh - dh p|dh \(1 - p\)|dh - p dh",
)
def log_softmax_without_its_sum(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def dA(A: Array) -> Array:
        dH = -one_hot(y, A) / len(A)
        return dH - softmax(A) * dH

    return through(parameters, X, relu, above, dA)


@mended(
    "targets cast to int with the labels of another task, so numbers are cut off",
    mlp([6, 4, 1], "tanh", "mse_loss", "numbers", rows=30),
    "loss",
    r"target|\bint|round|trunc",
)
def targets_cast_to_integers(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through(parameters, X, np.tanh, tanh_slope, lambda A: 2 * (A - y.astype(int)) / A.size)


@mended(
    "averages the errors and the inputs over the batch first, then takes the outer product",
    mlp([4, 5, 3], "tanh", rows=15),
    "0 dW, 2 dW",
    r"average|outer|mean of|mean\(",
)
def outer_product_of_averages(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through(
        parameters,
        X,
        np.tanh,
        tanh_slope,
        d_cross_entropy(y),
        dW=lambda dA, H, k: np.outer(dA.sum(axis=0), H.mean(axis=0)),
    )


@mended(
    "probabilities clipped before the labels are subtracted",
    mlp([6, 7, 4], "tanh", rows=14),
    "loss",
    r"clip|bound",
)
def probabilities_clipped(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def dA(A: Array) -> Array:
        return (np.clip(softmax(A), 0.2, 0.9) - one_hot(y, A)) / len(A)

    return through(parameters, X, np.tanh, tanh_slope, dA)


@mended(
    "softmax in half precision",
    mlp([5, 7, 4], "relu", rows=11),
    "loss",
    r"float16|half",
)
def softmax_in_half_precision(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def dA(A: Array) -> Array:
        return (softmax(A.astype(np.float16)).astype(float) - one_hot(y, A)) / len(A)

    return through(parameters, X, relu, above, dA)


@mended(
    "a temperature in the backward pass alone",
    mlp([5, 6, 4], "tanh", rows=13),
    "loss",
    r"temperature|divided by 2",
)
def temperature_backward_only(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through(parameters, X, np.tanh, tanh_slope, lambda A: (softmax(A / 2) - one_hot(y, A)) / len(A))


@mended(
    "the gradient of the weights centred over the inputs, as some optimizers do",
    mlp([6, 7, 3], "tanh", "half_squared_error", "numbers"),
    "2 dW",
    r"mean|centr",
)
def weights_gradient_centred(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def dW(dA: Array, H: Array, k: int) -> Array:
        gradient = right_dW(dA, H, k)
        return gradient - gradient.mean(axis=1, keepdims=True) * (k == 1)

    A, H = forward(parameters, X, np.tanh)
    return backward(parameters, H, d_half(y)(A[-1]), lambda k: tanh_slope(A[k]), dW=dW)


@mended(
    "dropout: the mask of the sample before, drawn again",
    DROPPED,
    "2 dX, 2 slope",
    r"mask|dropped|drawn",
)
def dropout_mask_of_another_draw(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through_dropout(parameters, X, y, lambda dH, kept: dH * np.roll(kept, 1, axis=0) / (1 - 0.4))


NORMALIZED = layers(
    lambda: [hm.Dense(5, 7, rng=1), hm.Activation("relu"), hm.LayerNorm(7), hm.Dense(7, 4, rng=2)],
    "cross_entropy",
    "classes",
    rows=11,
)


def normalized_after_relu(
    parameters: Parameters, X: Array, y: Array, skip: float = 0.0, before_gamma: bool = False
) -> list[Array]:
    """Return the gradients of Dense, relu, LayerNorm, Dense; optionally with a wrong skip, or dW before gamma."""
    W0, b0, gamma, beta, W3, b3 = parameters
    A = X @ W0.T + b0
    Xhat, inv = normalized(relu(A), 1)
    H = gamma * Xhat + beta
    last = d_cross_entropy(y)(H @ W3.T + b3)
    dH = last @ W3
    first = (right_dA(dH, Xhat, inv, gamma, 1) + skip * dH) * above(A)
    dW3 = last.T @ (Xhat if before_gamma else H)
    return [first.T @ X, first.sum(axis=0), (dH * Xhat).sum(axis=0), dH.sum(axis=0), dW3, last.sum(axis=0)]


@mended(
    "a skip around a layer norm in the backward pass alone",
    NORMALIZED,
    "2 dX",
    r"\+ dh\b|skip",
)
def skip_backward_only(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return normalized_after_relu(parameters, X, y, skip=1.0)


@mended(
    "dW from the normalized input, before gamma and beta",
    NORMALIZED,
    "3 dW",
    r"gamma|xhat|normalized",
)
def weights_gradient_before_gamma(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return normalized_after_relu(parameters, X, y, before_gamma=True)
