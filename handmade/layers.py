"""4. Layers: each with its forward pass and, directly under it, its backward pass.

The contract of every layer, without exception:

* ``H = forward(X, training)`` computes the layer and remembers what ``backward`` will need.
* ``dX = backward(dH, need_dX)`` takes the gradient of the loss with respect to H, writes the gradients of the
  layer's parameters (dW beside W, replacing what was there), and returns the gradient with respect to X:
  "already computed, re-use (propagate)!" (System 9). Nothing asks for it in the lowest layer: ``need_dX=False``.
* ``H = predict(X)`` computes the same as ``forward(X, training=False)`` and remembers nothing, so any number of
  threads may call it at once.

Arrays are (N, features): one row per sample. What ``forward`` and ``backward`` return lives in the layer's memory
until the next pass; inputs are checked once, at the network's door, not here. It lies there feature by feature
(Fortran's order), so that ``A.T = W X.T`` is what BLAS computes: for batches of a hundred or so up to a quarter faster
than ``X W.T`` into rows, and sums over a batch run along the memory.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from ._validation import check_bool, check_count, check_dtype, up_to_one
from .activations import ACTIVATIONS
from .initializers import Initializer, find_initializer

__all__ = ["Activation", "Dense", "Dropout", "Layer"]

Array = np.ndarray


NOTHING = None, None


class Memory:
    """What a pass leaves for the next one, and the arrays it works in, allocated once and used again.

    A smaller batch uses the front of the same memory, so that the last, short batch of an epoch allocates nothing.
    A copy of a layer starts with an empty memory.

    Examples
    --------
    >>> memory, X = Memory(), np.zeros((4, 2))
    >>> large = memory.array("A", X, width=3)
    >>> small = memory.array("A", X[:2], width=3)
    >>> large.shape, small.shape, small.base is large.base
    ((4, 3), (2, 3), True)
    """

    def __init__(self) -> None:
        self._arrays: dict[str, tuple[Array, Array]] = {}
        self._whole: dict[str, Array] = {}

    def array(self, name: str, like: Array, width: int | None = None, dtype=None) -> Array:
        """An array with the rows of another and, unless given, its width and dtype; one name, one width and dtype."""
        # From step to step the layer below gives the same array: to see that takes less than to compare shapes.
        known, array = self._arrays.get(name, NOTHING)
        if known is not like:
            shape = like.shape if width is None else (len(like), width)
            array = self._cut(name, shape, dtype or like.dtype)
            self._arrays[name] = like, array
        return array

    def _cut(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> Array:
        _, array = self._arrays.get(name, NOTHING)
        if array is not None and array.shape == shape and array.dtype == dtype:
            return array
        whole, size = self._whole.get(name), math.prod(shape)
        if whole is None or whole.size < size or whole.dtype != dtype:
            whole = self._whole[name] = np.empty(size, dtype)
        return whole[:size].reshape(shape, order="F")

    def __getattr__(self, name: str):
        raise AttributeError(f"backward: expected a forward pass before it, found no {name} remembered; call forward")

    def __reduce__(self):
        return Memory, ()


class Layer:
    """What all layers have. A layer of your own defines `forward`, `backward`, `predict`, and names its parameters.

    Attributes
    ----------
    parameters : dict of str to str
        The name in a state_dict (PyTorch's) -> the attribute that holds the array. The gradient of ``W`` is ``dW``.
    state : tuple of str
        Names of arrays that belong to a state_dict but are not learnt by gradient.
    in_features : int or None
        The width of the input; None where any will do.
    neuron_count, weight_count : int
        How many perceptrons the layer holds, and how many edges lead into them (System 4).
    """

    parameters: ClassVar[dict[str, str]] = {}
    state: tuple[str, ...] = ()
    in_features: int | None = None
    neuron_count = 0
    weight_count = 0
    adopted = False

    def __init__(self) -> None:
        self.memory = Memory()

    def forward(self, X: Array, training: bool = False) -> Array:
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def backward(self, dH: Array, need_dX: bool = True) -> Array | None:
        raise NotImplementedError(f"{type(self).__name__} defines no backward")

    def predict(self, X: Array) -> Array:
        raise NotImplementedError(f"{type(self).__name__} defines no predict")

    def width_after(self, in_features: int) -> int:
        """The width that comes out where ``in_features`` go in.

        Raises
        ------
        ValueError
            If the layer takes another width.
        """
        if self.in_features not in (None, in_features):
            raise ValueError(f"{self!r}: expected {self.in_features} inputs, got {in_features}")
        return in_features

    def leaves(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """The layers that hold no others, each with the prefix of its names in a state_dict."""
        yield prefix, self

    def set_parameter(self, name: str, value: Array, gradient: Array | None = None) -> None:
        """Let the layer read its parameter from ``value``, and write the gradient to ``gradient``."""
        self.memory = Memory()  # which may hold views of the parameter that was
        self.__dict__[name] = value
        self.__dict__["d" + name] = np.zeros_like(value) if gradient is None else gradient

    def __setattr__(self, name: str, value) -> None:
        # W and dW are views into theta and gradient: assigning to one means new numbers in the old place, or the
        # network would not know of them.
        names = self.parameters.values()
        if name not in names and name.removeprefix("d") not in names:
            super().__setattr__(name, value)
        elif name not in self.__dict__:
            self.set_parameter(name, np.asarray(value))
        elif np.shape(value) == self.__dict__[name].shape:
            self.__dict__[name][...] = value
        else:
            expected = self.__dict__[name].shape
            raise ValueError(f"{name} of {self!r}: expected shape {expected}, got {np.shape(value)}")

    def __getstate__(self) -> dict:
        gradients = {"d" + name for name in self.parameters.values()}
        return {name: value for name, value in self.__dict__.items() if name not in gradients | {"adopted"}}

    def __setstate__(self, attributes: dict) -> None:
        self.__dict__.update(attributes)
        self.memory = Memory()  # also of a shallow copy
        for name in self.parameters.values():
            self.set_parameter(name, self.__dict__[name])


class Dense(Layer):
    """A fully connected layer of O perceptrons: A = X Wt + b (System 3; equation 1 of 1986), taken as At = W Xt + b.

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
    >>> layer = Dense(2, 1)
    >>> layer.W, layer.b = [[2.0, -1.0]], [0.5]
    >>> layer.forward(np.array([[3.0, 1.0]]))
    array([[5.5]])
    >>> layer.backward(np.array([[1.0]]))
    array([[ 2., -1.]])
    >>> layer.dW, layer.db
    (array([[3., 1.]]), array([1.]))
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        weight_init: Initializer = "linear_default",
        bias_init: Initializer = "linear_default",
        rng=None,
        dtype=np.float64,
    ) -> None:
        super().__init__()
        I = self.in_features = check_count(in_features, "in_features")
        O = self.out_features = self.neuron_count = check_count(out_features, "out_features")
        dtype = check_dtype(dtype)
        self.weight_count = O * I
        rng = np.random.default_rng(rng)
        self.parameters = {"weight": "W", "bias": "b"} if check_bool(bias, "bias") else {"weight": "W"}
        for name, shape, initializer in ("W", (O, I), weight_init), ("b", (O,), bias_init):
            if name in self.parameters.values():
                value = np.asarray(find_initializer(initializer)(shape, I, O, rng), dtype)
                if value.shape != shape:
                    raise ValueError(f"initializer of {name}: expected an array of shape {shape}, got {value.shape}")
                self.set_parameter(name, value)

    def forward(self, X: Array, training: bool = False) -> Array:
        memory = self.memory
        if getattr(memory, "X", None) is not X:
            self._bind(X)
        At = self.W.dot(memory.Xt, memory.At)
        if "bias" in self.parameters:
            At += memory.b
        return memory.A

    def backward(self, dA: Array, need_dX: bool = True) -> Array | None:
        memory, dAt = self.memory, dA.T
        dAt.dot(memory.X, self.dW)
        if "bias" in self.parameters:  # "a unit that is always 1" (1986): db is to 1 what dW is to X
            dAt.dot(memory.ones, self.db)
        if not need_dX:
            return None
        dX = memory.array("dX", memory.X)
        self.W.T.dot(dAt, dX.T)
        return dX

    def predict(self, X: Array) -> Array:
        A = self.W.dot(X.T)
        if "bias" in self.parameters:
            A += self.b[:, np.newaxis]
        return A.T

    def _bind(self, X: Array) -> None:
        """Make what a pass over X works in: it lasts from step to step, as the layer below gives the same X again."""
        memory = self.memory
        memory.A = memory.array("A", X, self.neuron_count)
        memory.At, memory.Xt = memory.A.T, X.T
        if "bias" in self.parameters:
            memory.b, memory.ones = self.b[:, np.newaxis], memory.array("ones", X, 1).ravel()
            memory.ones.fill(1)
        memory.X = X

    def width_after(self, in_features: int) -> int:
        super().width_after(in_features)
        return self.neuron_count

    def __repr__(self) -> str:
        bias = "" if "bias" in self.parameters else ", bias=False"
        return f"Dense({self.in_features}, {self.neuron_count}{bias})"


class Activation(Layer):
    """An activation as a layer: H = f(A).

    Parameters
    ----------
    function : str or (callable, callable)
        A name of `handmade.activations`, or a pair ``f(A, out=None)``, ``f_backward(dH, A, out=None)`` of your own;
        a backward whose second parameter is named ``H`` is given the activation instead of the pre-activation.
        Arrays and ``out`` are in Fortran's order.
    **options
        Go to both functions, e.g. ``negative_slope=0.2``.

    Raises
    ------
    ValueError
        If no activation has this name, or an option's value is refused.
    TypeError
        If the functions do not take the options.

    Examples
    --------
    >>> layer = Activation("leaky_relu", negative_slope=0.5)
    >>> layer
    Activation('leaky_relu', negative_slope=0.5)
    >>> layer.forward(np.array([[-1.0, 1.0]]))
    array([[-0.5,  1. ]])
    >>> layer.backward(np.array([[1.0, 1.0]]))
    array([[0.5, 1. ]])
    """

    def __init__(self, function="relu", **options) -> None:
        super().__init__()
        self.function = function
        self.options = options
        if isinstance(function, str):
            if function not in ACTIVATIONS:
                raise ValueError(f"activation: expected one of {', '.join(ACTIVATIONS)}; got {function!r}")
            function = ACTIVATIONS[function]
        if not (isinstance(function, tuple) and len(function) == 2 and all(map(callable, function))):
            raise TypeError(f"activation: expected a name or a pair (f, f_backward) of functions, got {function!r}")
        self.f, self.f_backward = function
        self.keeps_H = list(inspect.signature(self.f_backward).parameters)[1:2] == ["H"]
        self._rehearse()

    def _rehearse(self) -> None:
        """An unknown option or another contract is an error here, not in the middle of training."""
        A = np.linspace(0.5, 1, 6).reshape(2, 3)
        H = self._try("f", self.f, A)
        self._try("f_backward", self.f_backward, A, H if self.keeps_H else A)

    def _try(self, name: str, function, *arrays: Array) -> Array:
        out = np.empty_like(arrays[0], order="F")
        alone, result = function(*arrays, **self.options), function(*arrays, out=out, **self.options)
        if not isinstance(result, np.ndarray) or result.shape != out.shape:
            raise TypeError(f"activation: expected {name} to give an array of its input's shape, got {result!r}")
        if not np.array_equal(result, alone):
            raise ValueError(
                f"activation: expected {name} to give with out, in Fortran's order, what it gives without, {alone}, "
                f"got {result}"
            )
        return result

    def forward(self, A: Array, training: bool = False) -> Array:
        H = self.f(A, out=self.memory.array("H", A), **self.options)
        self.memory.kept = H if self.keeps_H else A
        return H

    def backward(self, dH: Array, need_dX: bool = True) -> Array:
        dA = self.memory.array("dA", dH)
        return self.f_backward(dH, self.memory.kept, out=dA, **self.options)

    def predict(self, A: Array) -> Array:
        return self.f(A, **self.options)

    def __repr__(self) -> str:
        options = "".join(f", {name}={value!r}" for name, value in self.options.items())
        name = self.function if isinstance(self.function, str) else self.f.__name__
        return f"Activation({name!r}{options})"


class Dropout(Layer):
    """In training, each value is zero with probability p, and the others grow by 1 / (1 - p); otherwise nothing.

    Srivastava et al. 2014, scaled at training time as PyTorch does ("inverted"), so that prediction needs no care.

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
    >>> layer = Dropout(0.5, rng=0)
    >>> layer.forward(np.ones((1, 4)), training=True)
    array([[2., 2., 2., 0.]])
    >>> layer.forward(np.ones((1, 4)))
    array([[1., 1., 1., 1.]])
    """

    def __init__(self, p: float = 0.5, *, rng=None) -> None:
        super().__init__()
        self.p = up_to_one(p, "p")
        self.rng = np.random.default_rng(rng)

    def forward(self, X: Array, training: bool = False) -> Array:
        self.memory.mask = self._mask(X) if training else None
        return self._apply("H", X)

    def _mask(self, X: Array) -> Array:
        # Drawn in float32 and sample by sample, whatever the network computes in: one seed, one mask, in every dtype.
        single = np.dtype(np.float32)
        drawn = self.memory.array("drawn", X, dtype=single).T.reshape(X.shape)
        self.rng.random(dtype=single, out=drawn)
        return np.greater_equal(drawn, self.p, out=self.memory.array("mask", X, dtype=single))

    def _apply(self, name: str, V: Array) -> Array:
        """The same linear map forward and backward: zero or 1 / (1 - p) times each value."""
        if self.memory.mask is None:
            return V
        result = np.multiply(V, self.memory.mask, out=self.memory.array(name, V))
        if self.p < 1:
            result /= 1 - self.p
        return result

    def backward(self, dH: Array, need_dX: bool = True) -> Array:
        return self._apply("dX", dH)

    def predict(self, X: Array) -> Array:
        return X

    def __repr__(self) -> str:
        return f"Dropout({self.p:g})"
