"""5. The first backward pass of a network, checked: a layer of a user's own may break the contract of `Layer`.

NumPy broadcasts many a wrong shape without an error, and a gradient that nobody writes is that of the pass before. The
passes after the first one are not checked: `Sequential.backward` alone is faster.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._types import Array
from .base_layer import Layer
from .composites import Sequential, SequentialCache

__all__ = ["first_backward"]


def first_backward(network: Sequential, gradient: Array, dH: Array, cache: SequentialCache, need_dX: bool) -> Any:
    """Return what `Sequential.backward` does; raise where a layer breaks the contract.

    Raises
    ------
    TypeError, ValueError
        If the backward of a layer returns no array of its input's shape, or leaves the gradient of a parameter, or a
        part of it, unwritten. Any other error of a layer gets a note that names the layer.
    """
    was_zero = not gradient.any()
    if was_zero:
        gradient.fill(np.finfo(gradient.dtype).tiny)  # to find what nobody overwrites
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
    """Raise where a layer has left the gradient of a parameter, or a part of it, as it was."""
    for prefix, layer in network.leaves():
        for attribute in layer.parameters.values():
            gradient: Array = getattr(layer, "d" + attribute)
            if (gradient == np.finfo(gradient.dtype).tiny).any():
                raise ValueError(
                    f"{type(layer).__name__}.backward: expected it to overwrite d{attribute} of layer "
                    f"{prefix.rstrip('.')}, got the numbers from before; write self.d{attribute}[...] = ..., or zeros "
                    "if it is not to learn"
                )
