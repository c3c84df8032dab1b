"""Held-out mistakes of state, dtypes, clipping and broadcasting."""

from __future__ import annotations

import numpy as np

from handmade import activations
from handmade.protocols import Array

from ..public.problems import Parameters, backward, forward, mlp, one_hot, relu, sigmoid, softmax
from .problems import TWO, above, d_cross_entropy, d_half, d_mse, held_out, sigmoid_slope, slope_of, tanh_slope, through


@held_out(
    "gradients clipped by value before they are compared",
    mlp([5, 8, 3], "relu", "half_squared_error", "numbers", rows=18),
    "0 dW, 0 db, 2 dW, 2 db",
    r"clip|limit|bound|capped|0\.1\b",
)
def gradients_clipped_by_value(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return [np.clip(g, -0.1, 0.1) for g in through(parameters, X, relu, above, d_half(y))]


@held_out(
    "gradients of two micro-batches added, each a mean over its own half",
    mlp([4, 6, 3], "gelu", rows=16),
    "loss, 0 dW, 0 db, 2 dW, 2 db",
    TWO,
)
def two_micro_batches_added(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    half = (len(X) + 1) // 2
    parts = [
        through(parameters, X[part], activations.gelu, slope_of("gelu"), d_cross_entropy(y[part]))
        for part in (slice(half), slice(half, None))
        if len(X[part])
    ]
    return [np.sum(pair, axis=0) for pair in zip(*parts, strict=True)]


@held_out(
    "an accumulator of the hidden error that is not set to zero between the layers",
    mlp([4, 5, 5, 5, 2], "tanh", "mse_loss", "numbers", rows=13),
    "2 dX, 4 dX",
    r"accumul|adds|plus|previous|layer above|dh \+|\+ dh",
)
def error_of_the_layer_above_kept(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    A, H = forward(parameters, X, np.tanh)
    buffer = np.zeros((len(X), 5))

    def dX(dA: Array, W: Array, k: int) -> Array:
        nonlocal buffer
        buffer = buffer + dA @ W
        return buffer

    return backward(parameters, H, d_mse(y)(A[-1]), lambda k: tanh_slope(A[k]), dX=dX)


@held_out(
    "softmax along axis 0, in a batch of one sample: all probabilities are 1",
    mlp([4, 6, 5], "relu", rows=1),
    "loss",
    r"axis|over the samples|over the batch|normali[sz]|= 1\b|1 - y|ones",
)
def softmax_over_a_batch_of_one(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def dA(A: Array) -> Array:
        return (softmax(A.T).T - one_hot(y, A)) / len(A)

    return through(parameters, X, relu, above, dA)


@held_out(
    "mixed precision without loss scaling: small errors vanish in float16",
    mlp([4, 6, 2], "sigmoid", "mse_loss", "numbers", rows=32, dtype=np.float32),
    "loss",
    r"float16|half precision|precision|round|underflow|digits",
)
def error_quantized(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def dA(A: Array) -> Array:
        e: Array = ((A - y) / 1024).astype(np.float16) * np.float16(2**-12)
        return e.astype(np.float32) * (2 * 1024 * 2**12 / A.size)

    return through(parameters, X, sigmoid, sigmoid_slope, dA)
