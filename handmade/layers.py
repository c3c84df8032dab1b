"""4. Layers: each with its forward pass and, directly under it, its backward pass.

`handmade.base_layer` states the contract that every layer keeps. Layers that normalize are in
`handmade.normalization`, layers made of layers in `handmade.composites`, activations that learn in
`handmade.activation_layers`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ._numerics import column_sums, matmul, matmul_into
from ._types import ActivationName, ActivationPair, Array, DType, Initializer
from ._validation import (
    as_array,
    as_generator,
    call,
    check_bool,
    check_choice,
    check_count,
    check_dtype,
    check_finite,
    check_unmasked,
    parameters_of,
)
from .activations import ACTIVATIONS, REGISTERED
from .base_layer import Layer
from .dropout import AlphaDropout, Dropout
from .initializers import find_initializer

__all__ = ["Activation", "AlphaDropout", "Dense", "Dropout", "Layer"]


class Dense(Layer):
    """A fully connected layer of O perceptrons: A = X Wt + b (System 3; equation 1 of Rumelhart et al. 1986).

    Backward: dW = dAt X, db = the sum of dA over the samples, dX = dA W.

    Parameters
    ----------
    in_features, out_features : int
        The number of inputs, I, and of outputs, O.
    bias : bool
        Whether the layer adds b.
    weight_init, bias_init : str or callable
        See `handmade.initializers`. The defaults are those of torch.nn.Linear.
    rng : optional
        A seed or a numpy.random.Generator; draws the initial values.
    dtype : dtype
        float64 or float32.

    Attributes
    ----------
    W, dW : ndarray, shape (O, I)
        Weights, laid out as in torch.nn.Linear, and the gradient that `backward` writes.
    b, db : ndarray, shape (O,)
        Bias, and the gradient that `backward` writes.

    Raises
    ------
    ValueError, TypeError
        If a size is not an integer of at least 1, or an initializer is unknown.

    Examples
    --------
    >>> layer = hm.Dense(2, 1)
    >>> layer.W, layer.b = [[2.0, -1.0]], [0.5]
    >>> A, cache = layer.forward(np.array([[3.0, 1.0]]))
    >>> A
    array([[5.5]])
    >>> layer.backward(np.array([[1.0]]), cache)
    array([[ 2., -1.]])
    >>> layer.dW, layer.db
    (array([[3., 1.]]), array([1.]))
    """

    in_features: int
    out_features: int
    neuron_count: int
    weight_count: int
    parameters: Mapping[str, str] = {"weight": "W", "bias": "b"}
    W: Array
    dW: Array
    b: Array
    db: Array

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        weight_init: Initializer = "linear_default",
        bias_init: Initializer = "linear_default",
        rng: Any = None,
        dtype: DType = np.float64,
    ) -> None:
        I = self.in_features = check_count(in_features, "in_features")  # pyright: ignore[reportIncompatibleVariableOverride]  # never None
        O = self.out_features = self.neuron_count = check_count(out_features, "out_features")
        self.weight_count = O * I
        self.bias: bool = check_bool(bias, "bias")
        dtype, rng = check_dtype(dtype), as_generator(rng)
        self.W = _initial("weight_init", (O, I), weight_init, I, O, rng, dtype)
        if bias:
            self.b = _initial("bias_init", (O,), bias_init, I, O, rng, dtype)
        else:
            self.parameters = {"weight": "W"}

    def forward(self, X: Array, training: bool = False) -> tuple[Array, Array]:
        A = matmul(X, self.W.T)  # X @ W.T, only faster
        if self.bias:
            A += self.b
        return A, X

    def backward(self, dA: Array, X: Array, need_dX: bool = True) -> Array | None:
        matmul_into(dA.T, X, self.dW)  # dW = dA.T @ X, written in place
        if self.bias:
            column_sums(dA, out=self.db)  # db = dA.sum(axis=0)
        return matmul(dA, self.W) if need_dX else None

    def rows_are_independent(self, training: bool) -> bool:
        return True

    def width_after(self, in_features: int) -> int:
        super().width_after(in_features)
        return self.out_features

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Layer:
        return cls(**config, weight_init="zeros", bias_init="zeros")

    def __repr__(self) -> str:
        bias = "" if self.bias else ", bias=False"
        return f"{type(self).__name__}({self.in_features}, {self.out_features}{bias})"


def _initial(
    name: str, shape: tuple[int, ...], initializer: Initializer, I: int, O: int, rng: np.random.Generator, dtype: Any
) -> Array:
    """Return the initial values of a parameter; raise if a user's initializer returns another shape, or no numbers."""
    function = find_initializer(initializer, name)
    value = as_array(call(function, name, "of (shape, fan_in, fan_out, rng)", shape, I, O, rng), name)
    if value.shape != shape:
        raise ValueError(f"{name}: expected an array of shape {shape}, got {value.shape}")
    if value.dtype.kind not in "iuf":
        raise TypeError(f"{name}: expected an array of numbers, got dtype {value.dtype}")
    with np.errstate(over="ignore"):  # too large for float32: infinite, and refused
        value = value.astype(dtype)
    check_finite(value, name)
    return value


class Activation(Layer):
    """An activation as a layer: H = f(A).

    Parameters
    ----------
    function : str or (callable, callable)
        A name of `handmade.activations`, or a pair of your own, ``f(A)`` and ``f_backward(dH, A)``. If the second
        parameter of ``f_backward`` is named ``H``, it gets the activation instead of the pre-activation.
    **options
        Keyword arguments of both functions, such as ``negative_slope=0.2``.

    Attributes
    ----------
    is_elementwise : bool
        Whether each number of the output depends only on the same number of the input. For softmax it does not.

    Raises
    ------
    ValueError
        If no activation has this name, or an option has an impossible value.
    TypeError
        If the functions do not take the options, or do not return an array of their input's shape.

    Examples
    --------
    >>> layer = hm.Activation("leaky_relu", negative_slope=0.5)
    >>> layer
    Activation('leaky_relu', negative_slope=0.5)
    >>> H, cache = layer.forward(np.array([[-1.0, 1.0]]))
    >>> H
    array([[-0.5,  1. ]])
    >>> layer.backward(np.array([[1.0, 1.0]]), cache)
    array([[0.5, 1. ]])
    """

    def __init__(self, function: ActivationName | ActivationPair = "relu", **options: Any) -> None:
        function = REGISTERED.get(function, function) if isinstance(function, str) else function
        self.function = function
        # Python's floats: a file cannot hold every number type of NumPy, and NumPy's would change the dtype of H.
        self.options = {name: float(x) if isinstance(x, np.floating) else x for name, x in options.items()}
        if isinstance(function, str):
            names: list[Any] = [*ACTIVATIONS, *REGISTERED]
            function = ACTIVATIONS[check_choice(function, "activation", names)]
        if not (isinstance(function, tuple) and len(function) == 2 and all(map(callable, function))):
            hint = "; pass it with its derivative, (f, f_backward)" if callable(function) else ""
            raise TypeError(
                f"activation: expected a name or a pair (f, f_backward) of functions, got {function!r}{hint}"
            )
        self.f: Callable[..., Array] = function[0]
        self.f_backward: Callable[..., Array] = function[1]
        self.keeps_H: bool = parameters_of(self.f_backward)[1:2] == ["H"]
        if isinstance(self.function, str):
            self._check_options()
        with np.errstate(over="ignore"):  # with large options the dry run may overflow
            self._dry_run()

    def _check_options(self) -> None:
        """Raise unless the function has an option of each name; a pair of a user's own raises by itself."""
        known = parameters_of(self.f)[1:]
        for name in self.options:
            if name not in known:
                expected = f"options among {known}" if known else "no options"
                raise TypeError(f"activation: expected {expected} for {self.function!r}, got {name}")

    def _dry_run(self) -> None:
        """Call both functions once: check their results, and find out which outputs depend on which inputs."""
        A = np.linspace(0.5, 1, 6).reshape(2, 3)
        # 1. shapes and options
        H = self._call("f", self.f, A)
        self._call("f_backward", self.f_backward, A, H if self.keeps_H else A)
        # 2. the outputs that change with one input
        moved = A.copy()
        moved[0, 0] += 0.25
        same = self.forward(moved)[0] == self.forward(A)[0]
        self._rows_are_independent = bool(same[1].all())
        self.is_elementwise: bool = self._rows_are_independent and bool(same[0, 1:].all())
        # 3. float32 in, float32 out
        single, H = A.astype(np.float32), H.astype(np.float32)
        if self.f(single, **self.options).dtype != single.dtype:
            self.f = functools.partial(_in_dtype_of_first, self.f)
        if self.f_backward(single, H if self.keeps_H else single, **self.options).dtype != single.dtype:
            self.f_backward = functools.partial(_in_dtype_of_first, self.f_backward)

    def _call(self, name: str, function: Callable[..., Array], *arrays: Array) -> Array:
        before = [array.copy() for array in arrays]
        expected = f"of {', '.join(['A' if name == 'f' else 'dH, A', *self.options])}"
        result = call(function, "activation", expected, *arrays, **self.options)
        check_unmasked(result, "activation")
        if any((array != kept).any() for array, kept in zip(arrays, before, strict=True)):
            raise ValueError(f"activation: expected {name} to leave its arguments unchanged; compute in a new array")
        if not isinstance(result, np.ndarray) or result.shape != arrays[0].shape:
            raise TypeError(f"activation: expected {name} to return an array of its input's shape, got {result!r}")
        if result.dtype.kind not in "biuf":
            raise TypeError(f"activation: expected {name} to return real numbers, got dtype {result.dtype}")
        return result

    def forward(self, A: Array, training: bool = False) -> tuple[Array, Array]:
        H = self.f(A, **self.options)
        return H, H if self.keeps_H else A

    def backward(self, dH: Array, cache: Array, need_dX: bool = True) -> Array | None:
        return self.f_backward(dH, cache, **self.options)

    def rows_are_independent(self, training: bool) -> bool:
        return self._rows_are_independent

    def config(self) -> dict[str, Any]:
        return {"function": self.function, "options": self.options}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Layer:
        return cls(config["function"], **config["options"])

    def __repr__(self) -> str:
        options = "".join(f", {name}={value!r}" for name, value in self.options.items())
        name = self.function if isinstance(self.function, str) else name_of(self.function[0])
        return f"{type(self).__name__}({name!r}{options})"


def name_of(function: Callable[..., Any]) -> str:
    """Return the name of a function, or the name of the class of another callable."""
    return getattr(function, "__name__", type(function).__name__)


def _in_dtype_of_first(function: Callable[..., Array], *arrays: Array, **options: Any) -> Array:
    """Return the result of a user's function in the dtype of its first argument."""
    return function(*arrays, **options).astype(arrays[0].dtype)
