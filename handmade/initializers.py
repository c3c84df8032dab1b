"""Initial weights: functions ``(shape, fan_in, fan_out, rng)`` that return an array of that shape.

One signature serves weights and biases: ``fan_in`` and ``fan_out`` are those of the layer, I and O. Options are given
with functools.partial: ``partial(uniform, low=-0.3, high=0.3)`` is the start of the 1986 experiments.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

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

Array = np.ndarray
Shape = tuple[int, ...]


def _symmetric(shape: Shape, bound: float, rng) -> Array:
    return np.random.default_rng(rng).uniform(-bound, bound, shape)


def _normal(shape: Shape, std: float, rng) -> Array:
    return np.random.default_rng(rng).normal(0, std, shape)


def linear_default(shape: Shape, fan_in: int, fan_out: int, rng=None) -> Array:
    """U(-1/sqrt(I), 1/sqrt(I)): how torch.nn.Linear starts its weights and its bias.

    Examples
    --------
    >>> bool(np.all(np.abs(linear_default((3, 100), 100, 3, rng=0)) <= 0.1))
    True
    """
    return _symmetric(shape, 1 / math.sqrt(fan_in), rng)


def xavier_uniform(shape: Shape, fan_in: int, fan_out: int, rng=None, gain: float = 1.0) -> Array:
    """U(-a, a) with a = gain sqrt(6 / (I + O)) (Glorot and Bengio 2010): torch.nn.init.xavier_uniform_."""
    return _symmetric(shape, gain * math.sqrt(6 / (fan_in + fan_out)), rng)


def xavier_normal(shape: Shape, fan_in: int, fan_out: int, rng=None, gain: float = 1.0) -> Array:
    """N(0, s^2) with s = gain sqrt(2 / (I + O)) (Glorot and Bengio 2010): torch.nn.init.xavier_normal_."""
    return _normal(shape, gain * math.sqrt(2 / (fan_in + fan_out)), rng)


def kaiming_uniform(shape: Shape, fan_in: int, fan_out: int, rng=None, gain: float = math.sqrt(2)) -> Array:
    """U(-a, a) with a = gain sqrt(3 / I) (He et al. 2015, for ReLU): torch.nn.init.kaiming_uniform_."""
    return _symmetric(shape, gain * math.sqrt(3 / fan_in), rng)


def kaiming_normal(shape: Shape, fan_in: int, fan_out: int, rng=None, gain: float = math.sqrt(2)) -> Array:
    """N(0, s^2) with s = gain / sqrt(I) (He et al. 2015, for ReLU): torch.nn.init.kaiming_normal_."""
    return _normal(shape, gain / math.sqrt(fan_in), rng)


def lecun_uniform(shape: Shape, fan_in: int, fan_out: int, rng=None) -> Array:
    """U(-a, a) with a = sqrt(3 / I): variance 1 / I (LeCun et al. 1998, Efficient BackProp)."""
    return _symmetric(shape, math.sqrt(3 / fan_in), rng)


def lecun_normal(shape: Shape, fan_in: int, fan_out: int, rng=None) -> Array:
    """N(0, 1 / I) (LeCun et al. 1998, Efficient BackProp)."""
    return _normal(shape, 1 / math.sqrt(fan_in), rng)


def uniform(shape: Shape, fan_in: int, fan_out: int, rng=None, low: float = 0.0, high: float = 1.0) -> Array:
    """U(low, high).

    Examples
    --------
    >>> uniform((2, 2), 2, 2, rng=0, low=-0.3, high=0.3).shape
    (2, 2)
    """
    return np.random.default_rng(rng).uniform(low, high, shape)


def normal(shape: Shape, fan_in: int, fan_out: int, rng=None, std: float = 1.0) -> Array:
    """N(0, std^2)."""
    return _normal(shape, std, rng)


def constant(shape: Shape, fan_in: int, fan_out: int, rng=None, value: float = 0.0) -> Array:
    """Every entry ``value``."""
    return np.full(shape, float(value))


def zeros(shape: Shape, fan_in: int, fan_out: int, rng=None) -> Array:
    """Every entry 0: right for biases; as weights, all units of a layer stay equal for ever."""
    return np.zeros(shape)


Initializer = str | Callable[..., Array]

INITIALIZERS: dict[str, Callable[..., Array]] = {name: globals()[name] for name in __all__}


def find_initializer(initializer: Initializer) -> Callable[..., Array]:
    """The function that is meant by a name, or the function itself.

    Raises
    ------
    ValueError
        If no initializer has this name.
    TypeError
        If it is neither a name nor a function.

    Examples
    --------
    >>> find_initializer("zeros") is zeros
    True
    """
    if callable(initializer):
        return initializer
    if not isinstance(initializer, str):
        raise TypeError(f"initializer: expected a name or a function, got {initializer!r}")
    if initializer not in INITIALIZERS:
        raise ValueError(f"initializer: expected one of {', '.join(INITIALIZERS)}; got {initializer!r}")
    return INITIALIZERS[initializer]
