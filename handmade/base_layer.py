"""4. The contract of a layer, the checks that a class keeps it, and what all layers have in common.

Every layer, without exception:

* ``H, cache = forward(X, training)`` returns the output, and the values that ``backward`` will need.
* ``dX = backward(dH, cache, need_dX)`` takes dH, the gradient of the loss with respect to H. It overwrites the
  gradients of the layer's parameters (dW beside W), and returns dX, the gradient with respect to X. The layer below
  takes dX as its dH: "already computed, re-use (propagate)!" (System 9). With ``need_dX=False`` a layer may return
  None: below the lowest trainable layer no gradient is needed.
* ``predict(X)`` is ``forward(X)[0]`` in evaluation mode.

Forward leaves the values for backward in the cache, never in the layer. So any number of threads may run forward and
predict in evaluation mode at the same time. In training mode, dropout draws random numbers and batch normalization
updates its running averages. Arrays have the shape (N, features), one row per sample. The network checks them once;
layers do not. "System n" is a row of the table in docs/lecture.md, which names the slides.
"""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ._types import Array
from ._validation import as_array, as_floating

__all__ = ["Layer"]


NOT_IN_CONFIG = ("weight_init", "bias_init", "rng", "dtype")  # arguments that are not part of an architecture


class Layer:
    """A layer, the base class of all: a subclass defines `forward` and `backward`, and names its parameters.

    Attributes
    ----------
    parameters : mapping of str to str
        The name in a state_dict (PyTorch's) -> the attribute that holds the array. The gradient of ``W`` is ``dW``.
        The first assignment to ``W`` creates both arrays; later ones copy numbers into the array of ``W``.
    state : tuple of str
        Attributes with arrays that belong to a state_dict but are not learnt by gradient, such as running averages.
        As for ``W``, later assignments copy numbers into the same array.
    in_features : int or None
        The width of the input; None if the layer takes any width.
    neuron_count, weight_count : int
        The number of perceptrons in the layer, and of the edges that lead into them (System 4).

    Raises
    ------
    TypeError
        When a subclass is defined whose ``backward`` takes no cache, or whose ``parameters`` are no mapping.

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
        # 1. the arrays
        if not isinstance(cls.parameters, Mapping):
            raise TypeError(f'{cls.__name__}: expected parameters such as {{"weight": "W"}}, got {cls.parameters!r}')
        for name in cls.parameters.values():
            for attribute in (name, "d" + name):
                setattr(cls, attribute, _array_property(attribute))
        # 2. forward: of a user's class, the first results are checked; it may come from a class that is no Layer
        owner = next(base for base in cls.__mro__ if "forward" in vars(base))
        of_the_library = cls.__module__.startswith(f"{__package__}.")  # tests check these classes
        if (owner is cls or not issubclass(owner, Layer)) and not of_the_library:
            cls.forward = _checked_in_each_mode(cls)  # type: ignore[method-assign]
        if "forward" in vars(cls) and "rows_are_independent" not in vars(cls):  # the base class's answer may be wrong
            cls.rows_are_independent = Layer.rows_are_independent  # type: ignore[method-assign]
        # 3. backward
        arguments = [name for name in inspect.signature(cls.backward).parameters if name != "self"]
        if len(arguments) < 2 or arguments[1] == "need_dX":
            raise TypeError(
                f"{cls.__name__}.backward: expected backward(self, dH, cache, need_dX=True), got "
                f"({', '.join(arguments)}); let forward(X, training) return (H, cache), and read the cache here"
            )

    if not TYPE_CHECKING:  # a checker of types would then take any attribute

        def __setattr__(self, name: str, value: Any) -> None:
            """Set an attribute; copy the numbers of a statistic into its array, which a network knows."""
            if name in self.state and isinstance(own := vars(self).get(name), np.ndarray):
                _copy_statistic(self, name, own, value)
            else:
                super().__setattr__(name, value)

    def __repr__(self) -> str:
        return type(self).__name__

    def forward(self, X: Array, /, training: bool = False) -> tuple[Array, Any]:
        """Return the output, shape (N, O), and the cache for `backward`."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def backward(self, dH: Array, cache: Any, /, need_dX: bool = True) -> Array | Any:
        """Write the gradients of the parameters; return dX, shape (N, I), or None if ``need_dX`` is False."""
        raise NotImplementedError(f"{type(self).__name__} defines no backward")

    def predict(self, X: Array) -> Array:
        """Return the output in evaluation mode, shape (N, O)."""
        return self.forward(X)[0]

    def rows_are_independent(self, training: bool) -> bool:
        """Return whether each row of the output depends only on the same row of the input; False if unknown."""
        return False

    def width_after(self, in_features: int) -> int:
        """Return the width of the output for inputs of width ``in_features``.

        Raises
        ------
        ValueError
            If the layer takes inputs of another width only.
        """
        if self.in_features not in (None, in_features):
            raise ValueError(f"{self!r}: expected {self.in_features} inputs, got {in_features}")
        return in_features

    def leaves(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """Yield each layer that holds no other layers, after the prefix of its names in a state_dict."""
        yield prefix, self

    def check_state(self, state: Mapping[str, Array], prefix: str) -> None:
        """Raise if arrays of a state_dict hold values that `state` cannot have, such as a negative variance."""

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments for a file: numbers, text, layers, and lists and dicts of them.

        Each is read from the attribute of the same name. Initial values, generators and the dtype are left out. A class
        whose attributes have other names, or whose constructor takes ``*arguments``, overrides this method and
        `from_config`.
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
        """Return a layer with the arguments that `config` returned. Its weights come from a state_dict later."""
        return cls(**config)

    def bind(self, name: str, value: Array, gradient: Array) -> None:
        """Store the parameter ``name`` and its gradient in these arrays, views into theta and gradient."""
        self.__dict__["_" + name] = value
        self.__dict__["_d" + name] = gradient

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"owned": False}  # a copy belongs to no network


def _check_result(layer: Layer, X: Array, before: Array, result: Any) -> None:
    """Raise unless forward returned H and a cache, H has the right shape, and X is as it was before."""
    name = f"{type(layer).__name__}.forward"
    if not (isinstance(result, tuple) and len(result) == 2):
        got = f"{len(result)} results" if isinstance(result, tuple) else f"{type(result).__name__} alone"
        raise TypeError(
            f"{name}: expected (H, cache), got {got}; return H, and a cache with the values that backward needs"
        )
    if not isinstance(result[0], np.ndarray):
        raise TypeError(f"{name}: expected H to be an array, got {type(result[0]).__name__}; use np.asarray")
    if not np.array_equal(X, before, equal_nan=True):
        X[...] = before
        raise ValueError(
            f"{name}: expected it to leave its input unchanged, got an X with other numbers; compute H in a new array"
        )
    if before.ndim == 2:
        expected = len(X), layer.width_after(before.shape[1])
        of_one_output = expected[:1] if expected[1] == 1 else expected  # (N,) will do
        if np.shape(result[0]) not in (expected, of_one_output):
            raise ValueError(
                f"{name}: expected H of shape {expected}, as width_after says, got {np.shape(result[0])}; "
                "let width_after return the width of H"
            )


def _checked_in_each_mode(cls: type[Layer]) -> Callable[..., tuple[Array, Any]]:
    """Return the forward of a class, with a check of its first result in training and in evaluation mode.

    Without the check, a forward that returns H alone would go unnoticed for a batch of two rows, which unpacks into two
    values. After one call in each mode the class gets its own forward back, so that later calls cost nothing.
    """
    forward = cls.forward
    unchecked = {True, False}

    @functools.wraps(forward)
    def checked(layer: Layer, X: Array, *arguments: Any, **options: Any) -> tuple[Array, Any]:
        before = np.array(X)
        result: Any = forward(layer, X, *arguments, **options)
        _check_result(layer, X, before, result)
        trains = any(argument is True for argument in (*arguments, *options.values()))
        if trains and layer.owned and before.dtype == np.float32 and result[0].dtype == np.float64:
            raise TypeError(  # as a backward pass would, without the name of the layer
                f"{type(layer).__name__}.forward: expected H of dtype float32, as its input, got float64; convert "
                "constants and arrays with astype(X.dtype)"
            )
        unchecked.discard(trains)
        if not unchecked and vars(cls)["forward"] is checked:
            cls.forward = forward  # type: ignore[method-assign]
        return result

    return checked


def _array_property(name: str) -> property:
    """Return a property whose first assignment creates the array; later ones copy numbers into it."""
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


def _copy_statistic(layer: Layer, name: str, own: Array, value: npt.ArrayLike) -> None:
    """Copy numbers of the same shape, which own's dtype can hold, into own."""
    if value is own:  # after +=
        return
    value = as_array(value, name)
    if value.shape != own.shape:
        raise ValueError(f"{name} of {layer!r}: expected shape {own.shape}, got {value.shape}")
    if not np.can_cast(value.dtype, own.dtype, "same_kind"):
        raise TypeError(f"{name} of {layer!r}: expected numbers for {own.dtype}, got {value.dtype}; convert them")
    own[...] = value
