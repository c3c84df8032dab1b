"""Mistakes in the backward passes of normalization, dropout and skip connections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import handmade as hm
from handmade.protocols import Array

from .losses import GITHUB
from .problems import Parameters, layers, public, relu

EPS = 1e-5


def batch_normalized() -> list[hm.Layer]:
    return [hm.Dense(4, 6, rng=1), hm.BatchNorm(6), hm.Activation("tanh"), hm.Dense(6, 2, rng=2)]


def layer_normalized() -> list[hm.Layer]:
    return [hm.Dense(4, 6, rng=3), hm.LayerNorm(6), hm.Activation("tanh"), hm.Dense(6, 2, rng=4)]


BATCH, LAYER = layers(batch_normalized), layers(layer_normalized)


def normalized_gradients(
    parameters: Parameters,
    X: Array,
    y: Array,
    axis: int,
    dX: Callable[..., Array] | None = None,
    dgamma: Callable[..., Array] | None = None,
    dbeta: Callable[..., Array] | None = None,
) -> list[Array]:
    """Return the gradients of Dense, normalization along ``axis``, tanh, Dense under mse_loss.

    A mistaken dX takes (dH, gamma, D, variance, Xhat), D being the centred input; dgamma and dbeta take (dH, Xhat).
    """
    W1, b1, gamma, beta, W2, b2 = parameters
    A = X @ W1.T + b1
    D = A - A.mean(axis=axis, keepdims=True)
    variance = (D * D).mean(axis=axis, keepdims=True)
    Xhat = D / np.sqrt(variance + EPS)
    H = np.tanh(gamma * Xhat + beta)
    dout = 2 * (H @ W2.T + b2 - y) / y.size
    dN = dout @ W2 * (1 - H**2)
    dA = right_normalization_dX(dN * gamma, Xhat, variance, axis) if dX is None else dX(dN, gamma, D, variance, Xhat)
    return [
        dA.T @ X,
        dA.sum(axis=0),
        (dN * Xhat).sum(axis=0) if dgamma is None else dgamma(dN, Xhat),
        dN.sum(axis=0) if dbeta is None else dbeta(dN, Xhat),
        dout.T @ H,
        dout.sum(axis=0),
    ]


def right_normalization_dX(dXhat: Array, Xhat: Array, variance: Array, axis: int) -> Array:
    """Return the gradient at the input of a normalization."""
    means = dXhat.mean(axis=axis, keepdims=True), (dXhat * Xhat).mean(axis=axis, keepdims=True)
    return (dXhat - means[0] - Xhat * means[1]) / np.sqrt(variance + EPS)


@public(GITHUB + "denizyuret/Knet.jl/issues/288", BATCH, "1 dX", r"gamma|scale|weight")
def batch_norm_without_gamma(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def dX(dH: Array, gamma: Array, D: Array, variance: Array, Xhat: Array) -> Array:
        return right_normalization_dX(dH, Xhat, variance, 0)

    return normalized_gradients(parameters, X, y, 0, dX)


@public(GITHUB + "mlpack/mlpack/pull/1327", BATCH, "1 dX", r"sign|variance|xhat|\+")
def batch_norm_with_the_variance_term_added(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def dX(dH: Array, gamma: Array, D: Array, variance: Array, Xhat: Array) -> Array:
        inverse = 1 / np.sqrt(variance + EPS)
        dXhat = dH * gamma
        dvariance = 0.5 * (dXhat * D).sum(axis=0) * inverse**3
        return dXhat * inverse + 2 * D * dvariance / len(D) - (dXhat * inverse).mean(axis=0)

    return normalized_gradients(parameters, X, y, 0, dX)


@public(GITHUB + "jax-ml/jax/issues/442", BATCH, "1 dX", r"std|variance|sqrt|root|power|square")
def batch_norm_divides_by_the_squared_variance(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def dX(dH: Array, gamma: Array, D: Array, variance: Array, Xhat: Array) -> Array:
        right = right_normalization_dX(dH * gamma, Xhat, variance, 0)
        return right * np.sqrt(variance + EPS) / (variance + EPS) ** 2

    return normalized_gradients(parameters, X, y, 0, dX)


@public(GITHUB + "cthorey/CS231/issues/9", BATCH, "1 dgamma, 1 dbeta", r"\bn\b|batch|mean|average|samples")
def batch_norm_parameters_averaged(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return normalized_gradients(
        parameters,
        X,
        y,
        0,
        dgamma=lambda dH, Xhat: (dH * Xhat).mean(axis=0),
        dbeta=lambda dH, Xhat: dH.mean(axis=0),
    )


@public(
    GITHUB + "wjbKimberly/cs231n_spring_2017_assignment/issues/7",
    BATCH,
    "1 dgamma",
    r"\bn\b|batch|mean|average|samples",
)
def batch_norm_gamma_averaged(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return normalized_gradients(parameters, X, y, 0, dgamma=lambda dH, Xhat: (dH * Xhat).mean(axis=0))


@public(GITHUB + "karpathy/llm.c/pull/763", LAYER, "1 dX", r"gamma|scale|weight")
def layer_norm_without_gamma(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def dX(dH: Array, gamma: Array, D: Array, variance: Array, Xhat: Array) -> Array:
        return right_normalization_dX(dH, Xhat, variance, 1)

    return normalized_gradients(parameters, X, y, 1, dX)


@public(GITHUB + "flagos-ai/FlagGems/issues/5392", LAYER, "1 dX", r"axis|batch|samples|over the rows|dimension")
def layer_norm_means_over_the_batch(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def dX(dH: Array, gamma: Array, D: Array, variance: Array, Xhat: Array) -> Array:
        return right_normalization_dX(dH * gamma, Xhat, variance, 0)

    return normalized_gradients(parameters, X, y, 1, dX)


@public(GITHUB + "flagos-ai/FlagGems/pull/59", LAYER, "1 dX", r"axis|all|whole|batch|sum|rows")
def layer_norm_sums_over_the_block(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def dX(dH: Array, gamma: Array, D: Array, variance: Array, Xhat: Array) -> Array:
        dXhat, width = dH * gamma, dH.shape[1]
        return (dXhat - dXhat.sum() / width - Xhat * (dXhat * Xhat).sum() / width) / np.sqrt(variance + EPS)

    return normalized_gradients(parameters, X, y, 1, dX)


@public(GITHUB + "Oneflow-Inc/oneflow/pull/6149", LAYER, "1 dgamma, 1 dbeta", r"swap|exchang|interchang|mixed up")
def layer_norm_gradients_swapped(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return normalized_gradients(
        parameters, X, y, 1, dgamma=lambda dH, Xhat: dH.sum(axis=0), dbeta=lambda dH, Xhat: (dH * Xhat).sum(axis=0)
    )


@public(
    GITHUB + "deepspeedai/DeepSpeed/pull/692",
    LAYER,
    "1 dgamma",
    r"index|order|roll|shift|permut|gamma|beta",
)
def layer_norm_input_restored_with_shifted_indices(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    gamma, beta = parameters[2], parameters[3]

    def dgamma(dH: Array, Xhat: Array) -> Array:
        restored = (gamma * Xhat + beta - np.roll(beta, 1)) / np.roll(gamma, 1)
        return (dH * restored).sum(axis=0)

    return normalized_gradients(parameters, X, y, 1, dgamma=dgamma)


# ---- dropout -------------------------------------------------------------------------------------------------------


def dropped() -> list[hm.Layer]:
    return [hm.Dense(5, 8, rng=5), hm.Activation("relu"), hm.Dropout(0.25, rng=6), hm.Dense(8, 3, rng=7)]


DROPOUT = layers(dropped)


def dropout_gradients(parameters: Parameters, X: Array, y: Array, through: Any) -> list[Array]:
    """Return the gradients of `dropped` under mse_loss; through(dH, kept) is the backward pass of the dropout."""
    W1, b1, W2, b2 = parameters
    A = X @ W1.T + b1
    kept = np.random.default_rng(6).random(A.shape, dtype=np.float32) >= 0.25
    H = relu(A) * kept / 0.75
    dout = 2 * (H @ W2.T + b2 - y) / y.size
    dA = through(dout @ W2, kept) * (A > 0)
    return [dA.T @ X, dA.sum(axis=0), dout.T @ H, dout.sum(axis=0)]


@public(
    GITHUB + "rohitg00/ai-engineering-from-scratch/pull/17",
    DROPOUT,
    "2 dX",
    r"mask|dropout|dropped",
)
def dropout_not_applied_backward(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return dropout_gradients(parameters, X, y, lambda dH, kept: dH)


@public(GITHUB + "ddbourgin/numpy-ml/issues/94", DROPOUT, "2 dX", r"mask|dropped")
def dropout_scaled_without_its_mask(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return dropout_gradients(parameters, X, y, lambda dH, kept: dH / 0.75)


@public(
    GITHUB + "iamtrask/Grokking-Deep-Learning/issues/16",
    DROPOUT,
    "2 dX",
    r"scal|1 - p|0\.75|1\.33|factor|keep",
)
def dropout_mask_without_its_scale(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return dropout_gradients(parameters, X, y, lambda dH, kept: dH * kept)


# ---- skip connections ----------------------------------------------------------------------------------------------


def residual() -> list[hm.Layer]:
    return [
        hm.Dense(4, 5, rng=8),
        hm.Residual([hm.Dense(5, 5, rng=9), hm.Activation("tanh")]),
        hm.Dense(5, 2, rng=10),
    ]


RESIDUAL = layers(residual)


def residual_gradients(parameters: Parameters, X: Array, y: Array, joined: Any) -> list[Array]:
    """Return the gradients of `residual` under mse_loss; joined(dH, through) is dX, through(dH) that of the block."""
    W1, b1, W2, b2, W3, b3 = parameters
    A = X @ W1.T + b1
    T = np.tanh(A @ W2.T + b2)
    dout = 2 * ((A + T) @ W3.T + b3 - y) / y.size
    dH = dout @ W3
    dT = dH * (1 - T**2)
    dA = joined(dH, lambda dH: (dH * (1 - T**2)) @ W2)
    return [dA.T @ X, dA.sum(axis=0), dT.T @ A, dT.sum(axis=0), dout.T @ (A + T), dout.sum(axis=0)]


@public(GITHUB + "paiml/entrenar/issues/313", RESIDUAL, "1 dX", r"skip|shortcut|identity|residual|dh missing|\+ dh")
def residual_without_its_skip(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return residual_gradients(parameters, X, y, lambda dH, through: through(dH))


@public(GITHUB + "karpathy/micrograd/issues/2", RESIDUAL, "1 dX", r"twice|\b2\b|skip|shortcut|doubl")
def reused_value_passes_its_gradient_twice(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return residual_gradients(parameters, X, y, lambda dH, through: dH + dH + through(dH))


@public(GITHUB + "Dao-AILab/quack/pull/53", RESIDUAL, "1 dX", r"skip|shortcut|identity|residual|block|dh")
def skip_gradient_sent_through_the_block(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return residual_gradients(parameters, X, y, lambda dH, through: through(dH + dH))


def joined() -> list[hm.Layer]:
    return [
        hm.Dense(4, 5, rng=11),
        hm.Concatenate([hm.Dense(5, 5, rng=12), hm.Activation("tanh")]),
        hm.Dense(10, 2, rng=13),
    ]


@public(
    GITHUB + "Oneflow-Inc/oneflow/pull/8208",
    layers(joined),
    "1 dX, 1.1 slope, 1.0 dW, 1.0 db",
    r"swap|order|halves|half|slice|split|exchang|columns|first",
)
def concatenation_split_in_the_wrong_order(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    W1, b1, W2, b2, W3, b3 = parameters
    A = X @ W1.T + b1
    T = np.tanh(A @ W2.T + b2)
    joined = np.concatenate([A, T], axis=1)
    dout = 2 * (joined @ W3.T + b3 - y) / y.size
    dT, direct = np.split(dout @ W3, 2, axis=1)
    dT = dT * (1 - T**2)
    dA = direct + dT @ W2
    return [dA.T @ X, dA.sum(axis=0), dT.T @ A, dT.sum(axis=0), dout.T @ joined, dout.sum(axis=0)]
