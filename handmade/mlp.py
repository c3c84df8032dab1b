"""5. The multi-layer perceptron: a network built from the sizes of its layers (System 3)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import protocols
from ._types import DType, Initializer, NormalizationName
from ._validation import as_generator, check_choice, check_count, up_to_one
from .base_layer import Layer
from .dropout import Dropout
from .layers import Activation, Dense
from .network import Network
from .normalization import BatchNorm, LayerNorm, RMSNorm

__all__ = ["MLP"]


class MLP(Network):
    """A multi-layer perceptron: Dense layers of the given sizes, an activation after each but the last (System 3).

    Parameters
    ----------
    sizes : sequence of int
        The number of inputs, of units in each hidden layer, and of outputs: ``[3, 4, 2]`` is the lecture's network.
    activation : str, (callable, callable), or a list of them
        One activation for all hidden layers, or a list: one for each hidden layer, or one for each layer, the last for
        the outputs. None leaves a layer linear.
    dropout : float
        The probability of `Dropout` after each hidden layer; 0 adds no such layer.
    normalization : {None, "batch", "layer", "rms"}
        The normalization between each hidden Dense layer and its activation.
    bias : bool
        Whether the units have biases.
    weight_init, bias_init : str or callable
        See `handmade.initializers`.
    rng : optional
        A seed or a numpy.random.Generator; draws the weights, then the dropout masks.
    dtype : dtype
        float64 or float32.

    Raises
    ------
    ValueError, TypeError
        If a size is not an integer of at least 1, the number of activations does not fit, or a name is unknown; the
        message names the argument.

    Examples
    --------
    >>> network = hm.MLP([3, 4, 2], activation="sigmoid", rng=0)
    >>> network
    Network([Dense(3, 4), Activation('sigmoid'), Dense(4, 2)])
    >>> network.neuron_count, network.weight_count, network.parameter_count
    (6, 20, 26)
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: protocols.Activation | Sequence[protocols.Activation | None] | None = "relu",
        *,
        dropout: float = 0.0,
        normalization: NormalizationName | None = None,
        bias: bool = True,
        weight_init: Initializer = "linear_default",
        bias_init: Initializer = "linear_default",
        rng: Any = None,
        dtype: DType = np.float64,
    ) -> None:
        sizes = [check_count(size, "sizes") for size in (sizes if np.iterable(sizes) else [sizes])]
        if len(sizes) < 2:
            raise ValueError(
                f"sizes: expected at least the numbers of inputs and outputs, such as [3, 4, 2], got {sizes!r}"
            )
        depth = len(sizes) - 1
        activations = _one_per_layer(activation, depth)
        if normalization is not None:
            check_choice(normalization, "normalization", NORMALIZATIONS)
        rng, dropout = as_generator(rng), up_to_one(dropout, "dropout")
        layers: list[Layer] = []
        for i, function in enumerate(activations):
            options: dict[str, Any] = dict(
                bias=bias, weight_init=weight_init, bias_init=bias_init, rng=rng, dtype=dtype
            )
            layers.append(Dense(sizes[i], sizes[i + 1], **options))
            hidden = i < depth - 1
            if hidden and normalization:
                layers.append(NORMALIZATIONS[normalization](sizes[i + 1], dtype=dtype))
            if function is not None:
                layers.append(function if isinstance(function, Layer) else Activation(function))
            if hidden and dropout:
                layers.append(Dropout(dropout, rng=rng))
        super().__init__(layers, dtype=dtype)

    def __repr__(self) -> str:
        """Return the call that builds a network of the same layers: sizes alone would not show changed layers."""
        return f"Network({list(self.layers)!r})"


NORMALIZATIONS: dict[str, Callable[..., Layer]] = {"batch": BatchNorm, "layer": LayerNorm, "rms": RMSNorm}


def _one_per_layer(activation: Any, depth: int) -> list[Any]:
    """Return one activation for each layer, None for a linear one; a single one is for all hidden layers."""
    if isinstance(activation, tuple) and not all(map(callable, activation)):
        raise TypeError(f"activation: expected a list of one per layer, or a pair of functions, got {activation!r}")
    if isinstance(activation, list):
        if len(activation) not in (depth - 1, depth):
            raise ValueError(
                f"activation: expected one, a list of {depth - 1} for the hidden layers, or a list of {depth} "
                f"for all layers, got a list of {len(activation)}"
            )
        return activation + [None] * (depth - len(activation))
    is_layer = isinstance(activation, Layer)  # which has one place: the others get copies
    return [copy.deepcopy(activation) if is_layer and i else activation for i in range(depth - 1)] + [None]
