"""4. Activations that are layers, because they have parameters or halve the width."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ._types import ActivationName, Array, DType
from ._validation import check_count, check_dtype, finite
from .base_layer import Layer
from .layers import Activation

__all__ = ["GLU", "PReLU", "SwiGLU"]


class PReLU(Layer):
    """A leaky ReLU whose negative slope is learnt (He et al. 2015): torch.nn.PReLU.

    Parameters
    ----------
    num_parameters : int
        1, for one slope that all units share; or the width of the input, for one slope per unit.
    init : float
        The initial value of the slopes.
    dtype : dtype
        float64 or float32.

    Attributes
    ----------
    slope, dslope : ndarray, shape (num_parameters,)
        The slopes and their gradient.

    Raises
    ------
    ValueError, TypeError
        If ``num_parameters`` is not an integer of at least 1, or ``init`` is not a finite number.

    Examples
    --------
    >>> layer = hm.PReLU()
    >>> H, cache = layer.forward(np.array([[-2.0, 1.0]]))
    >>> H
    array([[-0.5,  1. ]])
    >>> layer.backward(np.ones((1, 2)), cache), layer.dslope
    (array([[0.25, 1.  ]]), array([-2.]))
    """

    parameters: Mapping[str, str] = {"weight": "slope"}
    slope: Array
    dslope: Array

    def __init__(self, num_parameters: int = 1, init: float = 0.25, *, dtype: DType = np.float64) -> None:
        self.num_parameters: int = check_count(num_parameters, "num_parameters")
        self.in_features = num_parameters if num_parameters > 1 else None
        self.init: float = finite(init, "init")
        self.slope = np.full(num_parameters, init, check_dtype(dtype))

    def forward(self, X: Array, training: bool = False) -> tuple[Array, Array]:
        if self.in_features and X.shape[-1:] != (self.in_features,):
            raise ValueError(f"X: expected shape (N, {self.in_features}), got {X.shape}; give one row per sample")
        return np.where(X > 0, X, self.slope * X), X

    def backward(self, dH: Array, X: Array, need_dX: bool = True) -> Array | None:
        below = np.where(X > 0, 0, dH * X)
        self.dslope[...] = below.sum(axis=0) if self.in_features else below.sum()
        return np.where(X > 0, dH, self.slope * dH) if need_dX else None

    def rows_are_independent(self, training: bool) -> bool:
        return True

    def __repr__(self) -> str:
        init = "" if self.init == 0.25 else f", init={self.init!r}"
        return f"{type(self).__name__}({self.num_parameters}{init})"


class GLU(Layer):
    """A gated linear unit: the first half of the inputs times an activation of the second (Dauphin et al. 2017).

    With "sigmoid" it is torch.nn.GLU. It halves the width: a Dense layer below it computes both halves.

    Parameters
    ----------
    activation : str
        The activation of the gate: a name of `handmade.activations`. Shazeer 2020 compares several, such as `SwiGLU`.

    Raises
    ------
    ValueError
        If no activation has this name, or the number of inputs is odd.

    Examples
    --------
    >>> hm.GLU().predict(np.array([[1.0, 2.0, 0.0, 50.0]]))
    array([[0.5, 2. ]])
    >>> hm.Network([hm.Dense(3, 8), hm.GLU(), hm.Dense(4, 2)]).parameter_count
    42
    """

    gate: Activation

    def __init__(self, activation: ActivationName = "sigmoid") -> None:
        if not isinstance(activation, str):
            raise TypeError(f"activation: expected the name of an activation, got {activation!r}")
        self.activation, self.gate = activation, Activation(activation)

    def forward(self, X: Array, training: bool = False) -> tuple[Array, tuple[Array, Array, Any]]:
        A, B = np.split(X, 2, axis=1)
        G, cache = self.gate.forward(B)
        return A * G, (A, G, cache)

    def backward(self, dH: Array, cache: tuple[Array, Array, Any], need_dX: bool = True) -> Array | None:
        A, G, gate_cache = cache
        if not need_dX:
            return None
        dG: Any = self.gate.backward(dH * A, gate_cache)  # never None, because need_dX is True
        return np.concatenate((dH * G, dG), axis=1)

    def rows_are_independent(self, training: bool) -> bool:
        return self.gate.rows_are_independent(training)

    def width_after(self, in_features: int) -> int:
        if in_features % 2:
            raise ValueError(f"{self!r}: expected an even number of inputs, two halves, got {in_features}")
        return in_features // 2

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'' if self.activation == 'sigmoid' else repr(self.activation)})"


class SwiGLU(GLU):
    """A gated linear unit whose gate is `silu` (Shazeer 2020): the first half of the inputs times silu of the second.

    Raises
    ------
    ValueError
        If the number of inputs is odd; a network raises it when it is built.

    Examples
    --------
    >>> hm.SwiGLU().predict(np.array([[2.0, 1.0]])).round(4)
    array([[1.4621]])
    """

    def __init__(self) -> None:
        super().__init__("silu")

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"
