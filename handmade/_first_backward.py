"""5. The first backward pass of a network, which checks that each layer keeps the contract of `Layer`.

A user's layer may return a dX of another shape, which NumPy often broadcasts without an error, or not write dW, which
then keeps the numbers of the pass before. Later passes run `Sequential.backward` without these checks: it is faster.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._types import Array
from .base_layer import Layer
from .composites import Sequential, SequentialCache

__all__ = ["first_backward"]


def first_backward(network: Sequential, gradient: Array, dH: Array, cache: SequentialCache, need_dX: bool) -> Any:
    """Do the backward pass as `Sequential.backward` does; raise if a layer breaks the contract.

    Raises
    ------
    TypeError, ValueError
        If the backward of a layer does not return an array of its input's shape, or does not write the whole gradient
        of a parameter. Any other error in a layer gets a note that names the layer.
    """
    was_zero = not gradient.any()
    if was_zero:
        gradient.fill(np.finfo(gradient.dtype).tiny)  # a mark: what still holds it afterwards was not written
    first = 0 if need_dX else network.first_trainable
    try:
        for i in reversed(range(first, len(cache.layers))):
            dH = _backward_of(network.layers[i], i, dH, cache, need_dX or i > first)
        _check_written(network)
    except BaseException:
        if was_zero:
            gradient.fill(0.0)
        raise
    return dH if need_dX else None


def _backward_of(layer: Layer, i: int, dH: Array, cache: SequentialCache, need_dX: bool) -> Any:
    try:
        dX: Any = layer.backward(dH, cache.layers[i], need_dX)
    except Exception as error:
        error.add_note(f"in the backward pass of layer {i}, {type(layer).__name__}")
        raise
    expected = cache.values[i].shape
    if need_dX and not isinstance(dX, np.ndarray):
        raise TypeError(
            f"{type(layer).__name__}.backward: expected an array of shape {expected}, that of the input of layer {i}, "
            f"got {type(dX).__name__}; return dX, the gradient with respect to the input"
        )
    if need_dX and dX.shape != expected:
        raise ValueError(
            f"{type(layer).__name__}.backward: expected the shape {expected} of the input of layer {i}, got "
            f"{dX.shape}; return dX, the gradient with respect to the input"
        )
    return dX


def _check_written(network: Sequential) -> None:
    """Raise if the mark is still in the gradient of a parameter."""
    for prefix, layer in network.leaves():
        for attribute in layer.parameters.values():
            gradient: Array = getattr(layer, "d" + attribute)
            if (gradient == np.finfo(gradient.dtype).tiny).any():
                raise ValueError(
                    f"{type(layer).__name__}.backward: expected it to overwrite d{attribute} of layer "
                    f"{prefix.rstrip('.')}, got the numbers from before; write self.d{attribute}[...] = ..., or zeros "
                    "if it is not to learn"
                )
