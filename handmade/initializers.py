"""Initial weights: functions ``(shape, fan_in, fan_out, rng)`` that return an array of that shape.

Weights and biases have initializers of the same form. ``shape`` is that of the parameter, ``fan_in`` and ``fan_out``
are I and O of the layer, at least 1, and ``rng`` is a seed or a numpy.random.Generator. All return float64; a layer
converts it to its dtype. Give options with functools.partial: ``partial(uniform, low=-0.3, high=0.3)`` draws the
initial weights of the experiments of 1986.
"""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np

from ._types import Array, Initializer, InitializerFunction, InitializerName
from ._validation import as_generator, check_choice, check_count, finite, nonnegative

__all__ = [
    "constant",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "linear_default",
    "normal",
    "uniform",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]

Shape = tuple[int, ...]
Seed = Any  # a seed or a numpy.random.Generator


def linear_default(shape: Shape, fan_in: int, fan_out: int, rng: Seed = None) -> Array:
    """Draw from U(-1/sqrt(I), 1/sqrt(I)), as torch.nn.Linear does for its weights and its bias.

    Examples
    --------
    >>> W = hm.initializers.linear_default((3, 100), 100, 3, rng=0)
    >>> W.shape, bool(np.all(np.abs(W) <= 0.1))
    ((3, 100), True)
    """
    return _symmetric(shape, 1 / math.sqrt(check_count(fan_in, "fan_in")), rng)


def xavier_uniform(shape: Shape, fan_in: int, fan_out: int, rng: Seed = None, gain: float = 1.0) -> Array:
    """Draw from U(-a, a) with a = gain sqrt(6 / (I + O)), as torch.nn.init.xavier_uniform_.

    Source: X. Glorot and Y. Bengio, Understanding the difficulty of training deep feedforward neural networks, 2010.

    Examples
    --------
    >>> W = hm.initializers.xavier_uniform((3, 3), 3, 3, rng=0)
    >>> bool(np.all(np.abs(W) <= 1))
    True
    """
    return _symmetric(shape, nonnegative(gain, "gain") * math.sqrt(6 / _fans(fan_in, fan_out)), rng)


def xavier_normal(shape: Shape, fan_in: int, fan_out: int, rng: Seed = None, gain: float = 1.0) -> Array:
    """Draw from N(0, s^2) with s = gain sqrt(2 / (I + O)), as torch.nn.init.xavier_normal_ (Glorot and Bengio 2010).

    Examples
    --------
    >>> hm.initializers.xavier_normal((2, 3), 3, 2, rng=0).shape
    (2, 3)
    """
    return _normal(shape, nonnegative(gain, "gain") * math.sqrt(2 / _fans(fan_in, fan_out)), rng)


def kaiming_uniform(shape: Shape, fan_in: int, fan_out: int, rng: Seed = None, gain: float = math.sqrt(2)) -> Array:
    """Draw from U(-a, a) with a = gain sqrt(3 / I), as torch.nn.init.kaiming_uniform_; the default gain is for ReLU.

    Source: K. He et al., Delving deep into rectifiers, 2015.

    Examples
    --------
    >>> W = hm.initializers.kaiming_uniform((2, 6), 6, 2, rng=0)
    >>> bool(np.all(np.abs(W) <= 1))
    True
    """
    return _symmetric(shape, nonnegative(gain, "gain") * math.sqrt(3 / check_count(fan_in, "fan_in")), rng)


def kaiming_normal(shape: Shape, fan_in: int, fan_out: int, rng: Seed = None, gain: float = math.sqrt(2)) -> Array:
    """Draw from N(0, s^2) with s = gain / sqrt(I), as torch.nn.init.kaiming_normal_; the default gain is for ReLU.

    Source: K. He et al., Delving deep into rectifiers, 2015.

    Examples
    --------
    >>> hm.initializers.kaiming_normal((2, 3), 3, 2, rng=0).shape
    (2, 3)
    """
    return _normal(shape, nonnegative(gain, "gain") / math.sqrt(check_count(fan_in, "fan_in")), rng)


def lecun_uniform(shape: Shape, fan_in: int, fan_out: int, rng: Seed = None) -> Array:
    """Draw from U(-a, a) with a = sqrt(3 / I), which has variance 1 / I.

    Source: Y. LeCun et al., Efficient BackProp, 1998.

    Examples
    --------
    >>> W = hm.initializers.lecun_uniform((2, 3), 3, 2, rng=0)
    >>> bool(np.all(np.abs(W) <= 1))
    True
    """
    return _symmetric(shape, math.sqrt(3 / check_count(fan_in, "fan_in")), rng)


def lecun_normal(shape: Shape, fan_in: int, fan_out: int, rng: Seed = None) -> Array:
    """Draw from N(0, 1 / I).

    Source: Y. LeCun et al., Efficient BackProp, 1998.

    Examples
    --------
    >>> hm.initializers.lecun_normal((2, 3), 3, 2, rng=0).shape
    (2, 3)
    """
    return _normal(shape, 1 / math.sqrt(check_count(fan_in, "fan_in")), rng)


def uniform(shape: Shape, fan_in: int, fan_out: int, rng: Seed = None, low: float = 0.0, high: float = 1.0) -> Array:
    """Draw from U(low, high).

    Examples
    --------
    >>> hm.initializers.uniform((2, 2), 2, 2, rng=0, low=-0.3, high=0.3).shape
    (2, 2)
    """
    low, high = finite(low, "low") + 0.0, finite(high, "high") + 0.0  # NumPy refuses -0.0
    if not 0 <= high - low < math.inf:
        raise ValueError(f"high: expected a number of at least low = {low} and not far above it, got {high}")
    return as_generator(rng).uniform(low, high, _checked(shape))


def normal(shape: Shape, fan_in: int, fan_out: int, rng: Seed = None, std: float = 1.0) -> Array:
    """Draw from N(0, std^2).

    Examples
    --------
    >>> hm.initializers.normal((2, 2), 2, 2, rng=0, std=0.01).shape
    (2, 2)
    """
    return _normal(shape, nonnegative(std, "std"), rng)


def constant(shape: Shape, fan_in: int, fan_out: int, rng: Seed = None, value: float = 0.0) -> Array:
    """Return an array of one value.

    Examples
    --------
    >>> hm.initializers.constant((2,), 3, 2, value=0.1)
    array([0.1, 0.1])
    """
    return np.full(_checked(shape), finite(value, "value"))


def zeros(shape: Shape, fan_in: int, fan_out: int, rng: Seed = None) -> Array:
    """Return an array of zeros, for biases. If all weights are zero, the units of a layer stay equal in training.

    Examples
    --------
    >>> hm.initializers.zeros((2,), 3, 2)
    array([0., 0.])
    """
    return np.zeros(_checked(shape))


def _fans(fan_in: int, fan_out: int) -> int:
    """Return I + O."""
    return check_count(fan_in, "fan_in") + check_count(fan_out, "fan_out")


def _symmetric(shape: Shape, bound: float, rng: Seed) -> Array:
    """Draw from U(-bound, bound)."""
    if bound > 1e300:
        raise ValueError(f"gain: expected a smaller number, got one that makes weights of {bound:g}")
    return uniform(shape, 1, 1, rng, -bound, bound)


def _normal(shape: Shape, std: float, rng: Seed) -> Array:
    """Draw from N(0, std^2)."""
    return as_generator(rng).normal(0, abs(std), _checked(shape))  # NumPy refuses -0.0


def _checked(shape: Shape) -> Shape:
    """Return a shape as a tuple of ints; raise unless it is one."""
    if not isinstance(shape, (tuple, list)):
        raise TypeError(f"shape: expected a tuple of sizes, got {shape!r}")
    return tuple(check_count(size, "shape", least=0) for size in shape)


INITIALIZERS: dict[InitializerName, InitializerFunction] = {
    cast(InitializerName, name): globals()[name] for name in __all__
}


def find_initializer(initializer: Initializer, name: str = "initializer") -> InitializerFunction:
    """Return the initializer of this name, or the function itself.

    Parameters
    ----------
    initializer : str or callable
        A name of `handmade.initializers`, or a function ``(shape, fan_in, fan_out, rng)``.
    name : str
        The argument's name in error messages.

    Raises
    ------
    ValueError
        If no initializer has this name.
    TypeError
        If ``initializer`` is neither a name nor a function.

    Examples
    --------
    >>> hm.initializers.find_initializer("zeros") is hm.initializers.zeros
    True
    """
    if callable(initializer):
        return initializer
    if not isinstance(initializer, str):
        raise TypeError(f"{name}: expected a name or a function, got {initializer!r}")
    return INITIALIZERS[check_choice(initializer, name, INITIALIZERS)]
