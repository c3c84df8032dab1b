"""Layers that normalize: over the batch (one feature at a time), or over the features (one sample at a time).

Both subtract a mean, divide by a standard deviation, and scale and shift by what they learn; they differ in the axis.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ._validation import check_count, check_dtype, nonnegative, up_to_one
from .layers import Layer
from .protocols import DType

__all__ = ["BatchNorm", "LayerNorm"]

Array = npt.NDArray[Any]


class Normalization(Layer):
    """A layer H = gamma Xhat + beta with Xhat = (X - mean) / sqrt(var + eps), the moments along ``axis``."""

    axis: int
    in_features: int
    num_features: int
    parameters: Mapping[str, str] = {"weight": "gamma", "bias": "beta"}
    gamma: Array
    dgamma: Array
    beta: Array
    dbeta: Array

    def __init__(self, num_features: int, eps: float, dtype: npt.DTypeLike) -> None:
        self.num_features = check_count(num_features, "num_features")
        self.in_features = self.num_features  # pyright: ignore[reportIncompatibleVariableOverride]  # never None
        self.eps: float = nonnegative(eps, "eps")
        self.gamma = np.ones(num_features, check_dtype(dtype))
        self.beta = np.zeros(num_features, check_dtype(dtype))

    def mean(self, V: Array) -> Array:
        """Return the mean along the axis; where the batch is spread over processes, that over all of them."""
        return V.mean(axis=self.axis, keepdims=True)

    def moments(self, X: Array, training: bool) -> tuple[Array, Array]:
        """Return the mean and the variance to normalize by, each with a shape that broadcasts over X."""
        mean = self.mean(X)
        D = X - mean
        return mean, self.mean(D * D)

    def moments_depend_on_X(self, training: bool) -> bool:
        """Return whether the moments are computed from X, and so have a derivative."""
        return True

    def forward(self, X: Array, training: bool = False) -> tuple[Array, tuple[Array, Array, bool]]:
        if X.ndim != 2:
            raise ValueError(f"X: expected shape (N, {self.in_features}), got {X.shape}; give one row per sample")
        mean, variance = self.moments(X, training)
        inverse = 1 / np.sqrt(variance + self.eps)
        Xhat = (X - mean) * inverse
        return self.gamma * Xhat + self.beta, (Xhat, inverse, self.moments_depend_on_X(training))

    def backward(self, dH: Array, cache: tuple[Array, Array, bool], need_dX: bool = True) -> Array | None:
        Xhat, inverse, moments_depend_on_X = cache
        self.dgamma[...] = (dH * Xhat).sum(axis=0)
        self.dbeta[...] = dH.sum(axis=0)
        if not need_dX:
            return None
        dXhat = dH * self.gamma
        if moments_depend_on_X:  # a change along 1 or Xhat moves the moments, and so has no effect
            dXhat = dXhat - self.mean(dXhat) - Xhat * self.mean(dXhat * Xhat)
        return dXhat * inverse

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.in_features})"


class LayerNorm(Normalization):
    """A layer that normalizes each sample over its features (Ba, Kiros and Hinton 2016): torch.nn.LayerNorm.

    Parameters
    ----------
    num_features : int
        The width.
    eps : float
        Added to the variance.
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

    axis = 1

    def __init__(self, num_features: int, eps: float = 1e-5, *, dtype: DType = np.float64) -> None:
        super().__init__(num_features, eps, dtype)

    def rows_are_independent(self, training: bool) -> bool:
        return True


class BatchNorm(Normalization):
    """A layer that normalizes each feature over the batch (Ioffe and Szegedy 2015): torch.nn.BatchNorm1d.

    In training the moments are those of the batch, and running averages of them are kept for prediction: the mean,
    and the *unbiased* variance, as in PyTorch.

    Parameters
    ----------
    num_features : int
        The width.
    eps : float
        Added to the variance.
    momentum : float
        The weight of the newest batch in the running averages.
    dtype : dtype
        float64 or float32.

    Raises
    ------
    ValueError, TypeError
        If ``num_features`` is not an integer of at least 1, ``eps`` is negative, or ``momentum`` is not within
        [0, 1]; in training, if the batch has a single sample, whose variance says nothing.

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
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, *, dtype: DType = np.float64
    ) -> None:
        super().__init__(num_features, eps, dtype)
        self.momentum: float = up_to_one(momentum, "momentum")
        self.running_mean: Array = np.zeros(num_features, dtype)
        self.running_var: Array = np.ones(num_features, dtype)
        self.num_batches_tracked: Array = np.zeros((), np.int64)

    def moments(self, X: Array, training: bool) -> tuple[Array, Array]:
        if not training:
            return self.running_mean, self.running_var
        N = self.count(X)
        if N == 1:
            raise ValueError(
                f"{self!r}: expected at least 2 samples in a training batch, got 1; drop a last batch of one with "
                "fit(..., drop_last=True), or choose another batch_size"
            )
        mean, variance = super().moments(X, training)
        self.running_mean += self.momentum * (mean[0] - self.running_mean)
        self.running_var += self.momentum * (variance[0] * (N / (N - 1)) - self.running_var)
        self.num_batches_tracked += 1
        return mean, variance

    def count(self, X: Array) -> int:
        """Return the number of samples in the batch of which X holds all, or one process's part."""
        return len(X)

    def moments_depend_on_X(self, training: bool) -> bool:
        return training

    def check_state(self, state: Mapping[str, Array], prefix: str) -> None:
        for name in ("running_var", "num_batches_tracked"):
            if name in state and state[name].min() < 0:
                raise ValueError(f"state_dict: {prefix}{name}: expected numbers of at least 0, got {state[name].min()}")

    def rows_are_independent(self, training: bool) -> bool:
        return not training
