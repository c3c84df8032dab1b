"""Held-out mistakes in products, biases and propagation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from handmade import activations
from handmade.protocols import Array

from ..public.problems import Parameters, backward, forward, mlp, relu, sigmoid
from .problems import above, d_cross_entropy, d_half, d_mse, held_out, sigmoid_slope, slope_of, tanh_slope, through


@held_out(
    "square layers: W in place of its transpose in a column-vector port, in each layer",
    mlp([5, 5, 5, 5], "silu", rows=9),
    "2 dX, 4 dX",
    r"transpos|\bw\d?t\b|\.t\b",
)
def propagated_by_the_transpose(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through(
        parameters,
        X,
        activations.silu,
        slope_of("silu"),
        d_cross_entropy(y),
        dX=lambda dA, W, k: dA @ W.T,
    )


@held_out(
    "a C port that stores X^T dA row by row into the memory of dW",
    mlp([4, 6, 3], "tanh", "mse_loss", "numbers", rows=10),
    "0 dW, 2 dW",
    r"transpos|reshape|order|layout|row by row|permut|memory",
)
def weights_gradient_in_the_wrong_memory_order(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through(
        parameters, X, np.tanh, tanh_slope, d_mse(y), dW=lambda dA, H, k: (H.T @ dA).reshape(dA.shape[1], H.shape[1])
    )


@held_out(
    "db = mean(dA) although the loss is a mean already, in the output layer alone",
    mlp([4, 7, 3], "relu", rows=6),
    "2 db",
    r"mean|average|\bn\b|batch",
)
def last_bias_averaged(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    db: Callable[..., Array] = lambda dA, k: dA.mean(axis=0) if k == 1 else dA.sum(axis=0)  # noqa: E731
    return through(parameters, X, relu, above, d_cross_entropy(y), db=db)


@held_out(
    "a loop over the samples that assigns db where it should add",
    mlp([3, 6, 6, 2], "sigmoid", "half_squared_error", "numbers", rows=11),
    "0 db, 2 db, 4 db",
    r"last|one sample|single sample",
)
def biases_of_the_last_sample(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through(parameters, X, sigmoid, sigmoid_slope, d_half(y), db=lambda dA, k: dA[-1])


@held_out(
    "a loop over the classes that leaves out the last one when it sends the error back",
    mlp([5, 6, 4], "tanh", rows=13),
    "2 dX",
    r"last (unit|column|class|output|row)|one (unit|column|class|output|row)|unit 3|output 3|column 3|without",
)
def last_output_not_propagated(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through(parameters, X, np.tanh, tanh_slope, d_cross_entropy(y), dX=lambda dA, W, k: dA[:, :-1] @ W[:-1])


@held_out(
    "axis 1 in place of axis 0, unseen because the batch is as large as the layer is wide",
    mlp([3, 8, 2], "tanh", "mse_loss", "numbers", rows=8),
    "0 db",
    r"axis|rows|columns|over the units|over the outputs",
    array_only=True,
)
def bias_summed_along_the_wrong_axis(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    return through(parameters, X, np.tanh, tanh_slope, d_mse(y), db=lambda dA, k: dA.sum(axis=1 if k == 0 else 0))


@held_out(
    "propagates with the weights of the layer below, an index off by one in a deep square network",
    mlp([4, 4, 4, 4, 4, 4, 3], "tanh", rows=12),
    "4 dX, 6 dX, 8 dX",
    r"another layer|other layer|layer below|weights of|wrong layer|previous|w\[?\d",
)
def propagated_by_the_layer_below(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    def dX(dA: Array, W: Array, k: int) -> Array:
        return dA @ (parameters[2 * k - 2] if 2 <= k <= 4 else W)

    return through(parameters, X, np.tanh, tanh_slope, d_cross_entropy(y), dX=dX)


@held_out(
    "the weights are updated in place before the error is sent through them",
    mlp([4, 9, 2], "sigmoid", "mse_loss", "numbers", rows=40),
    "2 dX",
    r"updat|already|learning|descent",
)
def propagated_by_updated_weights(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    A, H = forward(parameters, X, sigmoid)
    last = d_mse(y)(A[-1])

    def dX(dA: Array, W: Array, k: int) -> Array:
        return dA @ (W - 0.5 * dA.T @ H[k])

    return backward(parameters, H, last, lambda k: sigmoid_slope(A[k]), dX=dX)


@held_out(
    "the slope is looked up one layer too high",
    mlp([3, 6, 6, 6, 2], "sigmoid", "mse_loss", "numbers", rows=10),
    "1 slope, 3 slope",
    r"another layer|other layer|layer above|wrong layer|next|index|f'\(a",
)
def slope_of_the_next_layer(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    A, H = forward(parameters, X, sigmoid)
    return backward(parameters, H, d_mse(y)(A[-1]), lambda k: sigmoid_slope(A[min(k + 1, 2)]))


@held_out(
    "dW from the pre-activation of the layer below, the activation forgotten",
    mlp([5, 6, 6, 3], "relu", rows=17),
    "2 dW, 4 dW",
    r"pre-?activation|before|\ba\[?\d",
)
def weights_gradient_from_preactivations(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    A, H = forward(parameters, X, relu)
    dW: Callable[..., Array] = lambda dA, _H, k: dA.T @ (A[k - 1] if k else X)  # noqa: E731
    return backward(parameters, H, d_cross_entropy(y)(A[-1]), lambda k: A[k] > 0, dW=dW)


@held_out(
    "a cache that still holds the activations of the samples in another order (reshuffled between the passes)",
    mlp([4, 7, 2], "tanh", "half_squared_error", "numbers", rows=9),
    "2 dW",
    r"other sample|another|neighbou?r|order|shuffl|stale|shift|rows|previous",
)
def activations_of_the_neighbouring_sample(parameters: Parameters, X: Array, y: Array) -> list[Array]:
    dW: Callable[..., Array] = lambda dA, H, k: dA.T @ (np.roll(H, 1, axis=0) if k else H)  # noqa: E731
    return through(parameters, X, np.tanh, tanh_slope, d_half(y), dW=dW)
