"""4. Layers that normalize: each feature over the batch, or each sample over its features.

They subtract a mean, divide by a standard deviation, multiply by gamma and add beta, which are learnt. They differ in
the axis.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ._types import Array, DType
from ._validation import check_bool, check_count, check_dtype, nonnegative, up_to_one
from .base_layer import Layer

__all__ = ["BatchNorm", "GroupNorm", "LayerNorm", "RMSNorm"]


class Standardization(Layer):
    """A layer H = gamma Xhat + beta, with Xhat = (X - mean) / sqrt(var + eps) and the moments along ``axis``.

    Where gamma or beta is not learnt, it is 1 or 0. With several groups, each group of neighbouring features is
    normalized like a sample of its own.
    """

    axis = 1
    groups = 1
    subtracts_mean = True
    parameters: Mapping[str, str] = {"weight": "gamma", "bias": "beta"}
    gamma: Array
    dgamma: Array
    beta: Array
    dbeta: Array
    eps: float | None

    def __init__(self, num_features: Any, eps: float | None, weight: bool, bias: bool, dtype: npt.DTypeLike) -> None:
        if isinstance(num_features, tuple | list) and len(num_features) == 1:  # torch's normalized_shape
            (num_features,) = num_features
        self.num_features: int = check_count(num_features, "num_features")
        self.in_features = self.num_features  # pyright: ignore[reportIncompatibleVariableOverride]  # never None
        self.eps = None if eps is None else nonnegative(eps, "eps")
        self.gamma = np.ones(num_features, check_dtype(dtype))
        self.beta = np.zeros(num_features, check_dtype(dtype))
        self.learns_gamma: bool = weight
        self.learns_beta: bool = weight and bias
        learnt = {"weight": self.learns_gamma, "bias": self.learns_beta}
        self.parameters = {name: array for name, array in type(self).parameters.items() if learnt[name]}

    def mean(self, V: Array) -> Array:
        """Return the mean along the axis; if the batch is spread over processes, the mean over all of them."""
        return V.mean(axis=self.axis, keepdims=True)

    def moments(self, X: Array, training: bool) -> tuple[Array | float, Array]:
        """Return the mean and the variance to normalize with, in shapes that broadcast over X."""
        mean = self.mean(X)
        D = X - mean
        return mean, self.mean(D * D)

    def moments_depend_on_X(self, training: bool) -> bool:
        """Return whether the moments are computed from X, and so have a derivative."""
        return True

    def epsilon(self, dtype: npt.DTypeLike) -> float:
        """Return the number that is added to a variance in this dtype."""
        return float(np.finfo(dtype).eps) if self.eps is None else self.eps

    def _in_groups(self, X: Array) -> Array:
        return X if self.groups == 1 else X.reshape(len(X) * self.groups, -1)

    def forward(self, X: Array, training: bool = False) -> tuple[Array, tuple[Array, Array, bool]]:
        if X.ndim != 2 or X.shape[1] != self.in_features:
            raise ValueError(f"X: expected shape (N, {self.in_features}), got {X.shape}; give one row per sample")
        rows = self._in_groups(X)
        mean, variance = self.moments(rows, training)
        inverse = 1 / np.sqrt(variance + self.epsilon(X.dtype))
        Xhat = (rows - mean) * inverse
        H = Xhat.reshape(X.shape) if self.groups > 1 else Xhat
        if self.learns_gamma:
            H = self.gamma * H
        if self.learns_beta:
            H = H + self.beta
        return H, (Xhat, inverse, self.moments_depend_on_X(training))

    def backward(self, dH: Array, cache: tuple[Array, Array, bool], need_dX: bool = True) -> Array | None:
        Xhat, inverse, moments_depend_on_X = cache
        if self.learns_gamma:
            self.dgamma[...] = (dH * Xhat.reshape(dH.shape)).sum(axis=0)
        if self.learns_beta:
            self.dbeta[...] = dH.sum(axis=0)
        if not need_dX:
            return None
        dXhat = self._in_groups(dH * self.gamma if self.learns_gamma else dH)
        if moments_depend_on_X:  # a change of X along 1 or Xhat also changes the moments, and leaves H as it is
            along = self.mean(dXhat * Xhat)
            if self.subtracts_mean:
                dXhat = dXhat - self.mean(dXhat)
            dXhat = dXhat - Xhat * along
        return (dXhat * inverse).reshape(dH.shape)

    def rows_are_independent(self, training: bool) -> bool:
        return True

    def __repr__(self) -> str:
        """Return the call that builds the layer, without arguments that have their default."""
        parts = []
        for name, parameter in inspect.signature(type(self)).parameters.items():
            value = getattr(self, name, parameter.default)  # dtype is that of the arrays, and no attribute
            if parameter.default is parameter.empty:
                parts.append(repr(self.in_features if value is parameter.empty else value))
            elif value != parameter.default:
                parts.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(parts)})"


class Normalization(Standardization):
    """A layer that normalizes all values along one axis of X: `LayerNorm` or `BatchNorm`."""

    eps: float  # pyright: ignore[reportIncompatibleVariableOverride]  # never None


class LayerNorm(Normalization):
    """A layer that normalizes each sample over its features (Ba, Kiros and Hinton 2016): torch.nn.LayerNorm.

    Parameters
    ----------
    num_features : int, or tuple of one int
        The width of the input, I.
    eps : float
        Added to the variance, so that the divisor is never 0.
    elementwise_affine, bias : bool
        Whether to learn gamma and beta; whether to learn beta.
    dtype : dtype
        float64 or float32.

    Raises
    ------
    ValueError, TypeError
        If ``num_features`` is not an integer of at least 1, or ``eps`` is negative.

    Examples
    --------
    >>> hm.LayerNorm(2, eps=0.0).predict(np.array([[1.0, 3.0]]))
    array([[-1.,  1.]])
    """

    def __init__(
        self,
        num_features: int | tuple[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: DType = np.float64,
    ) -> None:
        self.elementwise_affine: bool = check_bool(elementwise_affine, "elementwise_affine")
        self.bias: bool = check_bool(bias, "bias")
        super().__init__(num_features, nonnegative(eps, "eps"), elementwise_affine, bias, dtype)


class RMSNorm(Standardization):
    """A layer that divides each sample by its root mean square (Zhang and Sennrich 2019): torch.nn.RMSNorm.

    H = gamma X / sqrt(mean(X^2) + eps), the mean over the features.

    Parameters
    ----------
    num_features : int, or tuple of one int
        The width of the input, I.
    eps : float, optional
        Added to the mean; by default the machine epsilon of the dtype of X.
    elementwise_affine : bool
        Whether to learn gamma.
    dtype : dtype
        float64 or float32.

    Raises
    ------
    ValueError, TypeError
        If ``num_features`` is not an integer of at least 1, or ``eps`` is negative.

    Examples
    --------
    >>> hm.RMSNorm(2, eps=0.0).predict(np.array([[1.0, 7.0]]))
    array([[0.2, 1.4]])
    """

    subtracts_mean = False

    def __init__(
        self,
        num_features: int | tuple[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        *,
        dtype: DType = np.float64,
    ) -> None:
        self.elementwise_affine: bool = check_bool(elementwise_affine, "elementwise_affine")
        super().__init__(num_features, eps, elementwise_affine, False, dtype)

    def moments(self, X: Array, training: bool) -> tuple[Array | float, Array]:
        return 0.0, (X * X).mean(axis=1, keepdims=True)


class GroupNorm(Standardization):
    """A layer that normalizes each sample over groups of its features (Wu and He 2018): torch.nn.GroupNorm.

    Parameters
    ----------
    num_groups, num_channels : int
        The number of groups of neighbouring features, and the width, which is a multiple of it.
    eps : float
        Added to the variance, so that the divisor is never 0.
    affine, bias : bool
        Whether to learn gamma and beta; whether to learn beta.
    dtype : dtype
        float64 or float32.

    Raises
    ------
    ValueError, TypeError
        If a size is not an integer of at least 1, the width is not a multiple of the groups, or ``eps`` is negative.

    Examples
    --------
    >>> hm.GroupNorm(2, 4, eps=0.0).predict(np.array([[1.0, 3.0, 50.0, 10.0]]))
    array([[-1.,  1.,  1., -1.]])
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        bias: bool = True,
        dtype: DType = np.float64,
    ) -> None:
        self.num_groups: int = check_count(num_groups, "num_groups")
        self.groups: int = self.num_groups
        self.num_channels: int = check_count(num_channels, "num_channels")
        if num_channels % num_groups:
            raise ValueError(f"num_channels: expected a multiple of num_groups={num_groups}, got {num_channels}")
        self.affine: bool = check_bool(affine, "affine")
        self.bias: bool = check_bool(bias, "bias")
        super().__init__(num_channels, nonnegative(eps, "eps"), affine, bias, dtype)


class BatchNorm(Normalization):
    """A layer that normalizes each feature over the batch (Ioffe and Szegedy 2015): torch.nn.BatchNorm1d.

    In training the layer uses mean and variance of the batch, and keeps running averages of both for prediction: of the
    mean, and of the *unbiased* variance, as in PyTorch.

    Parameters
    ----------
    num_features : int
        The width of the input, I.
    eps : float
        Added to the variance, so that the divisor is never 0.
    momentum : float or None
        The weight of the newest batch in the running averages. None makes them plain means over all batches.
    affine, bias : bool
        Whether to learn gamma and beta; whether to learn beta.
    track_running_stats : bool
        Whether to keep running averages. Without them a prediction uses mean and variance of all its rows.
    dtype : dtype
        float64 or float32.

    Raises
    ------
    ValueError, TypeError
        If ``num_features`` is not an integer of at least 1, ``eps`` is negative, or ``momentum`` is not within
        [0, 1]; in training, if the batch has a single sample, whose variance is always 0.

    Examples
    --------
    >>> layer = hm.BatchNorm(1, eps=0.0)
    >>> layer.forward(np.array([[1.0], [3.0]]), training=True)[0]
    array([[-1.],
           [ 1.]])
    >>> layer.running_mean, layer.running_var
    (array([0.2]), array([1.1]))
    """

    axis = 0
    state: tuple[str, ...] = ("running_mean", "running_var", "num_batches_tracked")

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
        dtype: DType = np.float64,
    ) -> None:
        self.affine: bool = check_bool(affine, "affine")
        self.bias: bool = check_bool(bias, "bias")
        super().__init__(num_features, nonnegative(eps, "eps"), affine, bias, dtype)
        self.momentum: float | None = None if momentum is None else up_to_one(momentum, "momentum")
        self.track_running_stats: bool = check_bool(track_running_stats, "track_running_stats")
        if track_running_stats:
            self.running_mean: Array = np.zeros(num_features, dtype)
            self.running_var: Array = np.ones(num_features, dtype)
            self.num_batches_tracked: Array = np.zeros((), np.int64)
        else:
            self.state = ()

    def moments(self, X: Array, training: bool) -> tuple[Array | float, Array]:
        if not self.moments_depend_on_X(training):
            return self.running_mean, self.running_var
        N = self.count(X)
        if N == 1:
            raise ValueError(
                f"{self!r}: expected at least 2 samples in a training batch, got 1; drop a last batch of one with "
                "fit(..., drop_last=True), or choose another batch_size"
            )
        mean, variance = super().moments(X, training)
        if training and self.track_running_stats:
            self._average(np.asarray(mean)[0], variance[0] * (N / (N - 1)))
        return mean, variance

    def count(self, X: Array) -> int:
        """Return the number of samples in the batch. X may hold the part of one process only."""
        return len(X)

    def _average(self, mean: Array, variance: Array) -> None:
        """Update the running averages with the moments of a batch."""
        self.num_batches_tracked += 1
        share = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean += share * (mean - self.running_mean)
        self.running_var += share * (variance - self.running_var)

    def moments_depend_on_X(self, training: bool) -> bool:
        return training or not self.track_running_stats

    def check_state(self, state: Mapping[str, Array], prefix: str) -> None:
        for name in ("running_var", "num_batches_tracked"):
            if name in state and state[name].min() < 0:
                raise ValueError(f"state_dict: {prefix}{name}: expected numbers of at least 0, got {state[name].min()}")

    def rows_are_independent(self, training: bool) -> bool:
        return not self.moments_depend_on_X(training)
