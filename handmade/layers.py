"""4. Layers: each with its forward pass and, directly under it, its backward pass.

The contract of every layer, without exception:

* ``H, cache = forward(X, training)`` computes the layer, and the values that ``backward`` will need.
* ``dX = backward(dH, cache, need_dX)`` takes the gradient of the loss with respect to H, overwrites the gradients of
  the layer's parameters (dW beside W), and returns the gradient with respect to X, which the layer below takes as its
  dH: "already computed, re-use (propagate)!" (System 9). With ``need_dX=False`` nobody reads the result, and a layer
  may return None: the lowest trainable layer has no layer to pass a gradient to.
* ``predict(X)`` is ``forward(X)[0]``, in evaluation mode.

Forward keeps nothing in a layer for backward, so any number of threads may run forward and predict in evaluation mode
at once. In training, dropout draws random numbers and batch normalization updates its running averages. Arrays are
(N, features), one row per sample; the network checks them once, layers do not. "System n" is a row of the table in
docs/lecture.md, which names the slides.
"""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ._numerics import column_sums, matmul, matmul_into
from ._types import ActivationName, ActivationPair, Array, DType, Initializer
from ._validation import as_floating, as_generator, check_bool, check_choice, check_count, check_dtype, up_to_one
from .activations import ACTIVATIONS
from .initializers import find_initializer

__all__ = ["Activation", "AlphaDropout", "Dense", "Dropout", "Layer"]


NOT_IN_CONFIG = ("weight_init", "bias_init", "rng", "dtype")  # arguments that are not part of an architecture


class Layer:
    """A layer. One of your own defines `forward` and `backward`, and names its parameters.

    Attributes
    ----------
    parameters : mapping of str to str
        The name in a state_dict (PyTorch's) -> the attribute that holds the array. The gradient of ``W`` is ``dW``.
        The first assignment to ``W`` creates both; a later one copies its numbers into the same array.
    state : tuple of str
        Names of arrays that belong to a state_dict but are not learnt by gradient.
    in_features : int or None
        The width of the input; None where any will do.
    neuron_count, weight_count : int
        How many perceptrons the layer holds, and how many edges lead into them (System 4).

    Raises
    ------
    TypeError
        By the definition of a class whose ``backward`` takes no cache.

    Examples
    --------
    A layer that scales each feature:

    >>> class Scale(hm.Layer):
    ...     parameters = {"weight": "w"}
    ...
    ...     def __init__(self, features):
    ...         self.in_features = features
    ...         self.w = np.ones(features)
    ...
    ...     def forward(self, X, training=False):
    ...         return X * self.w, X
    ...
    ...     def backward(self, dH, X, need_dX=True):
    ...         self.dw[...] = (dH * X).sum(axis=0)
    ...         return dH * self.w if need_dX else None
    >>> hm.Network([hm.Dense(2, 3), Scale(3)]).parameter_count
    12
    """

    parameters: Mapping[str, str] = {}
    state: tuple[str, ...] = ()
    in_features: int | None = None
    neuron_count: int = 0
    weight_count: int = 0
    owned = False  # True once a network holds the layer: its parameters then live in the network's theta

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not isinstance(cls.parameters, Mapping):
            raise TypeError(f'{cls.__name__}: expected parameters such as {{"weight": "W"}}, got {cls.parameters!r}')
        for name in cls.parameters.values():
            for attribute in (name, "d" + name):
                setattr(cls, attribute, _array_property(attribute))
        owner = next(base for base in cls.__mro__ if "forward" in vars(base))
        if owner is cls or not issubclass(owner, Layer):  # of a class beside Layer, too
            cls.forward = _checked_once(cls)  # type: ignore[method-assign]
        if "forward" in vars(cls) and "rows_are_independent" not in vars(cls):
            cls.rows_are_independent = Layer.rows_are_independent  # type: ignore[method-assign]  # another forward, another answer: unknown
        arguments = [name for name in inspect.signature(cls.backward).parameters if name != "self"]
        if len(arguments) < 2 or arguments[1] == "need_dX":
            raise TypeError(
                f"{cls.__name__}.backward: expected backward(self, dH, cache, need_dX=True), got "
                f"({', '.join(arguments)}); let forward(X, training) return (H, cache), and read the cache here"
            )

    def __repr__(self) -> str:
        return type(self).__name__

    def forward(self, X: Array, /, training: bool = False) -> tuple[Array, Any]:
        """Return the output, shape (N, O), and the cache for `backward`."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def backward(self, dH: Array, cache: Any, /, need_dX: bool = True) -> Array | Any:
        """Write the gradients of the parameters; return dX, or None where it is not needed."""
        raise NotImplementedError(f"{type(self).__name__} defines no backward")

    def predict(self, X: Array) -> Array:
        """Return the output in evaluation mode, shape (N, O)."""
        return _output_and_cache(self, self.forward(X))[0]

    def rows_are_independent(self, training: bool) -> bool:
        """Return whether each row of the output depends on the same row of the input alone; False if unknown."""
        return False

    def width_after(self, in_features: int) -> int:
        """Return the width of the output for an input of width ``in_features``.

        Raises
        ------
        ValueError
            If the layer takes another width.
        """
        if self.in_features not in (None, in_features):
            raise ValueError(f"{self!r}: expected {self.in_features} inputs, got {in_features}")
        return in_features

    def leaves(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """Yield the layers that hold no others, each with the prefix of its names in a state_dict."""
        yield prefix, self

    def check_state(self, state: Mapping[str, Array], prefix: str) -> None:
        """Raise where arrays for `state`, from a state_dict, hold impossible values."""

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments, for files: numbers, text, layers, and lists and dicts of them.

        Each is the attribute of its name. Initial values, generators and the dtype are left out. A class with other
        attributes, or that takes ``*arguments``, overrides this method and `from_config`.
        """
        names = [name for name in inspect.signature(type(self)).parameters if name not in NOT_IN_CONFIG]
        missing = [name for name in names if not hasattr(self, name)]
        if missing:
            raise TypeError(
                f"{type(self).__name__}: expected an attribute for each argument, got none for {missing[0]!r}; "
                "set it in __init__, or define config() and from_config(config)"
            )
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Layer:
        """Return a layer with the arguments that `config` returned; a state_dict gives it its weights."""
        return cls(**config)

    def bind(self, name: str, value: Array, gradient: Array) -> None:
        """Let the parameter ``name`` and its gradient live in these arrays: views into theta and gradient."""
        self.__dict__["_" + name] = value
        self.__dict__["_d" + name] = gradient

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"owned": False}  # a copy belongs to no network


def _output_and_cache(layer: Layer, result: Any) -> tuple[Array, Any]:
    """Return the result of a forward pass; raise where it is no pair: two rows would pass for an output and a cache."""
    if isinstance(result, tuple) and len(result) == 2:
        return result
    got = f"{len(result)} results" if isinstance(result, tuple) else f"{type(result).__name__} alone"
    raise TypeError(f"{type(layer).__name__}.forward: expected (H, cache), got {got}; return what backward needs, too")


def _checked_once(cls: type[Layer]) -> Callable[..., tuple[Array, Any]]:
    """Return the forward of a class with its first result checked; later calls cost nothing more."""
    forward = cls.forward

    @functools.wraps(forward)
    def first(layer: Layer, *arguments: Any, **options: Any) -> tuple[Array, Any]:
        result = _output_and_cache(layer, forward(layer, *arguments, **options))
        if vars(cls)["forward"] is first:
            cls.forward = forward  # type: ignore[method-assign]
        return result

    return first


def _array_property(name: str) -> property:
    """Return a property that copies what is assigned into the array that is there, or creates the array."""
    stored = "_" + name

    def assign(layer: Layer, value: npt.ArrayLike) -> None:
        value = as_floating(value, name)
        if stored not in layer.__dict__:
            value = np.array(value)
            layer.bind(name, value, np.zeros_like(value))
        elif value.shape != (expected := layer.__dict__[stored].shape):
            raise ValueError(f"{name} of {layer!r}: expected shape {expected}, got {value.shape}")
        else:
            layer.__dict__[stored][...] = value

    return property(operator.attrgetter(stored), assign)


class Dense(Layer):
    """A fully connected layer of O perceptrons: A = X Wt + b (System 3; equation 1 of 1986).

    Parameters
    ----------
    in_features, out_features : int
        I and O.
    bias : bool
        Whether each unit adds b.
    weight_init, bias_init : str or callable
        See `handmade.initializers`. The default is that of torch.nn.Linear.
    rng : optional
        Anything numpy.random.default_rng takes.
    dtype : dtype
        float64 or float32.

    Attributes
    ----------
    W, dW : ndarray, shape (O, I)
        Weights, laid out as in torch.nn.Linear, and their gradient.
    b, db : ndarray, shape (O,)
        Bias and its gradient.

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
    """Return the first values of a parameter; raise where an initializer of the user's own has another shape."""
    value = np.asarray(find_initializer(initializer, name)(shape, I, O, rng), dtype)
    if value.shape != shape:
        raise ValueError(f"{name}: expected an array of shape {shape}, got {value.shape}")
    return value


class Activation(Layer):
    """An activation as a layer: H = f(A).

    Parameters
    ----------
    function : str or (callable, callable)
        A name of `handmade.activations`, or a pair ``f(A)``, ``f_backward(dH, A)`` of your own; a backward whose
        second parameter is named ``H`` is given the activation instead of the pre-activation.
    **options
        Go to both functions, e.g. ``negative_slope=0.2``.

    Attributes
    ----------
    is_elementwise : bool
        Whether each number of the output depends on the same number of the input alone, as it is not for softmax.

    Raises
    ------
    ValueError
        If no activation has this name, or an option's value is refused.
    TypeError
        If the functions do not take the options, or give no array of their input's shape.

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
        self.function = function
        # A file cannot hold NumPy's numbers of every kind, and they would change the dtype of H.
        self.options = {name: float(x) if isinstance(x, np.floating) else x for name, x in options.items()}
        if isinstance(function, str):
            function = ACTIVATIONS[check_choice(function, "activation", ACTIVATIONS)]
        if not (isinstance(function, tuple) and len(function) == 2 and all(map(callable, function))):
            hint = "; give its backward with it" if callable(function) else ""
            raise TypeError(
                f"activation: expected a name or a pair (f, f_backward) of functions, got {function!r}{hint}"
            )
        self.f: Callable[..., Array] = function[0]
        self.f_backward: Callable[..., Array] = function[1]
        self.keeps_H: bool = list(inspect.signature(self.f_backward).parameters)[1:2] == ["H"]
        with np.errstate(over="ignore"):  # an option may be too large for the numbers of the dry run
            self._dry_run()

    def _dry_run(self) -> None:
        """Raise where an option is unknown or a result has another shape; see which numbers depend on which."""
        A = np.linspace(0.5, 1, 6).reshape(2, 3)
        H = self._call("f", self.f, A)
        self._call("f_backward", self.f_backward, A, H if self.keeps_H else A)
        moved = A.copy()
        moved[0, 0] += 0.25
        same = self.forward(moved)[0] == self.forward(A)[0]
        single, H = A.astype(np.float32), H.astype(np.float32)
        if self.f(single, **self.options).dtype != single.dtype:
            self.f = functools.partial(_in_dtype_of_first, self.f)
        if self.f_backward(single, H if self.keeps_H else single, **self.options).dtype != single.dtype:
            self.f_backward = functools.partial(_in_dtype_of_first, self.f_backward)
        self._rows_are_independent = bool(same[1].all())
        self.is_elementwise: bool = self._rows_are_independent and bool(same[0, 1:].all())

    def _call(self, name: str, function: Callable[..., Array], *arrays: Array) -> Array:
        result = function(*arrays, **self.options)
        if not isinstance(result, np.ndarray) or result.shape != arrays[0].shape:
            raise TypeError(f"activation: expected {name} to return an array of its input's shape, got {result!r}")
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
    """Return the name of a function, or of the class of an object that is called like one."""
    return getattr(function, "__name__", type(function).__name__)


def _in_dtype_of_first(function: Callable[..., Array], *arrays: Array, **options: Any) -> Array:
    """Return the result of a user's function in the dtype of its first argument."""
    return function(*arrays, **options).astype(arrays[0].dtype)


class Dropout(Layer):
    """A layer that in training sets each value to zero with probability p, and scales the others by 1 / (1 - p).

    Srivastava et al. 2014, scaled at training time as PyTorch does ("inverted"): in prediction the layer passes its
    input on unchanged.

    Parameters
    ----------
    p : float
        From 0 to 1.
    rng : optional
        Anything numpy.random.default_rng takes.

    Raises
    ------
    ValueError
        If p is outside [0, 1].

    Examples
    --------
    >>> layer = hm.Dropout(0.5, rng=0)
    >>> layer.forward(np.ones((1, 4)), training=True)[0]
    array([[2., 2., 2., 0.]])
    >>> layer.predict(np.ones((1, 4)))
    array([[1., 1., 1., 1.]])
    """

    def __init__(self, p: float = 0.5, *, rng: Any = None) -> None:
        self.p: float = up_to_one(p, "p")
        self.rng: np.random.Generator = as_generator(rng)

    @property
    def scale(self) -> float:
        """The factor of the values that are kept."""
        return 1.0 if self.p in (0, 1) else 1 / (1 - self.p)

    def forward(self, X: Array, training: bool = False) -> tuple[Array, Array | None]:
        if not training:
            return X, None
        # Drawn in float32 whatever the network computes in: one seed, one mask, in every dtype.
        kept = np.empty_like(X, dtype=bool)
        np.greater_equal(self.rng.random(X.shape, dtype=np.float32), self.p, out=kept)
        return self._apply(X, kept), kept

    def backward(self, dH: Array, kept: Array | None, need_dX: bool = True) -> Array | None:
        return dH if kept is None else self._apply(dH, kept)

    def _apply(self, V: Array, kept: Array) -> Array:
        """Return zero or 1 / (1 - p) times each value: the same linear map forward and backward."""
        return V * kept if self.p in (0, 1) else V * kept / (1 - self.p)

    def rows_are_independent(self, training: bool) -> bool:
        return not training

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.p!r})"


class AlphaDropout(Dropout):
    """A dropout that keeps mean 0 and variance 1, for networks of selu (Klambauer et al. 2017): torch.nn.AlphaDropout.

    In training each value becomes -alpha with probability p, the limit of selu for a -> -inf; then all are scaled and
    shifted: H = a (X kept - alpha (1 - kept)) + a alpha p with a = ((1 - p) (1 + p alpha^2))^-1/2. In prediction the
    layer passes its input on unchanged.

    Parameters
    ----------
    p : float
        From 0 to 1.
    rng : optional
        Anything numpy.random.default_rng takes.

    Raises
    ------
    ValueError
        If p is outside [0, 1].

    Examples
    --------
    >>> H, kept = hm.AlphaDropout(0.5, rng=0).forward(np.ones((1000, 100)), training=True)
    >>> np.unique(H).round(4)
    array([-0.7792,  1.6656])
    """

    alpha: float = 1.7580993408473766  # lambda alpha of selu

    @property
    def scale(self) -> float:
        return 1.0 if self.p in (0, 1) else ((1 - self.p) * (1 + self.p * self.alpha**2)) ** -0.5

    def forward(self, X: Array, training: bool = False) -> tuple[Array, Array | None]:
        H, kept = super().forward(X, training)
        if kept is None or self.p in (0, 1):  # 1 leaves only zeros, as in torch
            return H, kept
        shift = self.scale * self.alpha
        return H + np.where(kept, shift * self.p, shift * (self.p - 1)).astype(X.dtype), kept

    def _apply(self, V: Array, kept: Array) -> Array:
        return V * kept * self.scale
