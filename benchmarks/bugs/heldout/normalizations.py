"""Held-out mistakes in normalization, dropout and skip connections."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import handmade as hm
from handmade.protocols import Array

from ..public.problems import Parameters, layers, relu
from .problems import Of, above, d_cross_entropy, d_mse, held_out, tanh_slope

BATCH_NORM = layers(
    lambda: [hm.Dense(5, 6, rng=1), hm.BatchNorm(6), hm.Activation("relu"), hm.Dense(6, 3, rng=2)], rows=16
)
LAYER_NORM = layers(
    lambda: [hm.Dense(4, 7, rng=1), hm.LayerNorm(7), hm.Activation("tanh"), hm.Dense(7, 3, rng=2)],
    "cross_entropy",
    "classes",
    rows=10,
)


def normalized(A: Array, axis: int) -> tuple[Array, Array]:
    """Return Xhat, and one over the standard deviation."""
    inv = 1 / np.sqrt(A.var(axis=axis, keepdims=True) + 1e-5)
    return (A - A.mean(axis=axis, keepdims=True)) * inv, inv


def through_norm(
    parameters: Parameters,
    X: Array,
    axis: int,
    f: Of,
    slope: Of,
    dA_of: Of,
    dA: Callable[[Array, Array, Array, Array], Array],
    dgamma: Callable[[Array, Array, Array], Array] = lambda dH, Xhat, A: (dH * Xhat).sum(axis=0),
) -> list[Array]:
    """Return the gradients of Dense, a normalization, f, Dense; dA(dH, Xhat, inv, gamma) goes to the first Dense."""
    W0, b0, gamma, beta, W3, b3 = parameters
    A = X @ W0.T + b0
    Xhat, inv = normalized(A, axis)
    B = gamma * Xhat + beta
    H = f(B)
    last = dA_of(H @ W3.T + b3)
    dH = (last @ W3) * slope(B)
    first = dA(dH, Xhat, inv, gamma)
    return [first.T @ X, first.sum(axis=0), dgamma(dH, Xhat, A), dH.sum(axis=0), last.T @ H, last.sum(axis=0)]


def mean(V: Array, axis: int) -> Array:
    """Return the mean, with the axis kept."""
    return V.mean(axis=axis, keepdims=True)


def right_dA(dH: Array, Xhat: Array, inv: Array, gamma: Array, axis: int) -> Array:
    """Return the right gradient of the input of a normalization."""
    D = dH * gamma
    return inv * (D - mean(D, axis) - Xhat * mean(D * Xhat, axis))


@held_out(
    "batch norm: divided by the variance where its root belongs",
    BATCH_NORM,
    "1 dX",
    r"varian|standard deviation|inv inv|inv\^2|squar|root|twice",
)
def divided_by_the_variance(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through_norm(
        parameters, X, 0, relu, above, d_mse(y), lambda dH, Xhat, inv, g: inv * right_dA(dH, Xhat, inv, g, 0)
    )


@held_out(
    "batch norm: the backward pass uses N - 1 where the forward pass uses N",
    BATCH_NORM,
    "1 dX",
    r"n - 1|unbiased|bessel|ddof",
)
def batch_norm_with_n_minus_one(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def dA(dH: Array, Xhat: Array, inv: Array, gamma: Array) -> Array:
        D, N = dH * gamma, len(dH)
        return inv * (D - D.sum(axis=0) / N - Xhat * (D * Xhat).sum(axis=0) / (N - 1))

    return through_norm(parameters, X, 0, relu, above, d_mse(y), dA)


@held_out(
    "layer norm: a copied batch norm, its means over axis 0",
    LAYER_NORM,
    "1 dX",
    r"axis|batch|samples",
)
def layer_norm_with_means_over_the_batch(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def dA(dH: Array, Xhat: Array, inv: Array, gamma: Array) -> Array:
        return right_dA(dH, Xhat, inv, gamma, 0)

    return through_norm(parameters, X, 1, np.tanh, tanh_slope, d_cross_entropy(y), dA)


@held_out(
    "layer norm: dgamma from the input, not from the normalized input",
    LAYER_NORM,
    "1 dgamma",
    r"xhat|normali[sz]ed|input|before",
)
def gamma_gradient_from_the_input(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through_norm(
        parameters,
        X,
        1,
        np.tanh,
        tanh_slope,
        d_cross_entropy(y),
        lambda dH, Xhat, inv, g: right_dA(dH, Xhat, inv, g, 1),
        lambda dH, Xhat, A: (dH * A).sum(axis=0),
    )


DROPPED = layers(
    lambda: [hm.Dense(5, 8, rng=1), hm.Activation("tanh"), hm.Dropout(0.4, rng=6), hm.Dense(8, 2, rng=2)], rows=20
)


def through_dropout(parameters: Parameters, X: Array, y: Array, back: Callable[[Array, Array], Array]) -> list[Array]:
    """Return the gradients of Dense, tanh, Dropout, Dense; back(dH, kept) is what the dropout sends back."""
    W0, b0, W3, b3 = parameters
    kept = np.random.default_rng(6).random((len(X), len(W0)), dtype=np.float32) >= 0.4
    T = np.tanh(X @ W0.T + b0)
    H = T * kept / (1 - 0.4)
    last = d_mse(y)(H @ W3.T + b3)
    dA = back(last @ W3, kept) * (1 - T**2)
    return [dA.T @ X, dA.sum(axis=0), last.T @ H, last.sum(axis=0)]


@held_out(
    "inverted dropout: the mask without its 1 / (1 - p) in the backward pass",
    DROPPED,
    "2 dX, 2 slope",
    r"1 - p|scale|0\.6|keep|factor|constant",
)
def dropout_scaled_forward_only(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through_dropout(parameters, X, y, lambda dH, kept: dH * kept)


@held_out(
    "dropout: the mask compared the other way round, the gradient goes where nothing went",
    DROPPED,
    "2 dX, 2 slope",
    r"invert|dropped|opposite|complement|other way|not kept|1 - mask",
)
def dropout_mask_the_other_way_round(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through_dropout(parameters, X, y, lambda dH, kept: dH * ~kept / (1 - 0.4))


RESIDUAL = layers(
    lambda: [
        hm.Dense(4, 6, rng=1),
        hm.Residual([hm.Dense(6, 6, rng=2), hm.Activation("tanh")]),
        hm.Dense(6, 3, rng=3),
    ],
    "cross_entropy",
    "classes",
    rows=14,
)


def through_block(
    parameters: Parameters, X: Array, y: Array, join: Callable[[Array, Array, Array], Array]
) -> list[Array]:
    """Return the gradients of Dense, Residual(Dense, tanh), Dense; join(dH, dX of the block, slope) leaves it."""
    W0, b0, W1, b1, W2, b2 = parameters
    H0 = X @ W0.T + b0
    T = np.tanh(H0 @ W1.T + b1)
    last = d_cross_entropy(y)((H0 + T) @ W2.T + b2)
    dH = last @ W2
    dA = dH * (1 - T**2)
    first = join(dH, dA @ W1, 1 - T**2)
    return [first.T @ X, first.sum(axis=0), dA.T @ H0, dA.sum(axis=0), last.T @ (H0 + T), last.sum(axis=0)]


@held_out(
    "a residual block sends back the gradient of the skip alone, that of the block overwritten",
    RESIDUAL,
    "1 dX",
    r"block|branch|chain|without|missing",
)
def residual_block_without_its_branch(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through_block(parameters, X, y, lambda dH, dX, slope: dH)


@held_out(
    "a residual block multiplies the skip too by the slope of the block's activation",
    RESIDUAL,
    "1 dX",
    r"skip|identity|shortcut",
    r"slope|derivative|activation|f'|1 - ",
)
def skip_through_the_activation(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through_block(parameters, X, y, lambda dH, dX, slope: dH * slope + dX)
