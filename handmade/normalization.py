"""Layers that normalize: over the batch (one feature at a time), or over the features (one sample at a time).

Both subtract a mean, divide by a standard deviation, and scale and shift by what they learn; they differ in the axis.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ._validation import check_count, check_dtype, nonnegative, up_to_one
from .layers import Layer

__all__ = ["BatchNorm", "LayerNorm"]

Array = np.ndarray


class Normalization(Layer):
    """H = gamma Xhat + beta with Xhat = (X - mean) / sqrt(var + eps), the moments along ``axis``."""

    axis: int
    parameters: ClassVar[dict[str, str]] = {"weight": "gamma", "bias": "beta"}

    def __init__(self, num_features: int, eps: float, dtype) -> None:
        super().__init__()
        self.in_features = check_count(num_features, "num_features")
        self.eps = nonnegative(eps, "eps")
        dtype = check_dtype(dtype)
        self.set_parameter("gamma", np.ones(num_features, dtype))
        self.set_parameter("beta", np.zeros(num_features, dtype))

    def moments(self, X: Array, training: bool) -> tuple[Array, Array]:
        """The mean and the variance to normalize by, each with the shape that broadcasts over X."""
        mean = X.mean(axis=self.axis, keepdims=True)
        D = X - mean
        D *= D
        return mean, D.mean(axis=self.axis, keepdims=True)

    def moments_move_with(self, training: bool) -> bool:
        """Whether those are computed from X, and so have a derivative."""
        return True

    def forward(self, X: Array, training: bool = False) -> Array:
        memory = self.memory
        mean, variance = self.moments(X, training)
        memory.inverse = 1 / np.sqrt(variance + self.eps)
        memory.moving = self.moments_move_with(training)
        memory.Xhat = Xhat = np.subtract(X, mean, out=memory.array("Xhat", X))
        Xhat *= memory.inverse
        H = np.multiply(Xhat, self.gamma, out=memory.array("H", X))
        H += self.beta
        return H

    def backward(self, dH: Array, need_dX: bool = True) -> Array | None:
        Xhat, inverse = self.memory.Xhat, self.memory.inverse
        dX = np.multiply(dH, Xhat, out=self.memory.array("dX", dH))
        dX.sum(axis=0, out=self.dgamma)
        dH.sum(axis=0, out=self.dbeta)
        if not need_dX:
            return None
        np.multiply(dH, self.gamma, out=dX)
        if self.memory.moving:  # mean and variance move with X: what points along 1 or Xhat changes nothing
            along = np.mean(dX * Xhat, axis=self.axis, keepdims=True)
            dX -= dX.mean(axis=self.axis, keepdims=True)
            dX -= Xhat * along
        dX *= inverse
        return dX

    def predict(self, X: Array) -> Array:
        mean, variance = self.moments(X, training=False)
        return (X - mean) * (self.gamma / np.sqrt(variance + self.eps)) + self.beta

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.in_features})"


class LayerNorm(Normalization):
    """Normalizes each sample over its features (Ba, Kiros and Hinton 2016): torch.nn.LayerNorm.

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
    >>> LayerNorm(2, eps=0.0).forward(np.array([[1.0, 3.0]]))
    array([[-1.,  1.]])
    """

    axis = 1

    def __init__(self, num_features: int, eps: float = 1e-5, *, dtype=np.float64) -> None:
        super().__init__(num_features, eps, dtype)


class BatchNorm(Normalization):
    """Normalizes each feature over the batch (Ioffe and Szegedy 2015): torch.nn.BatchNorm1d.

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
    >>> layer = BatchNorm(1, eps=0.0)
    >>> layer.forward(np.array([[1.0], [3.0]]), training=True)
    array([[-1.],
           [ 1.]])
    >>> layer.running_mean, layer.running_var
    (array([0.2]), array([1.1]))
    """

    axis = 0
    state = ("running_mean", "running_var", "num_batches_tracked")

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, *, dtype=np.float64) -> None:
        super().__init__(num_features, eps, dtype)
        self.momentum = up_to_one(momentum, "momentum")
        self.running_mean = np.zeros(num_features, dtype)
        self.running_var = np.ones(num_features, dtype)
        self.num_batches_tracked = np.zeros((), np.int64)

    def moments(self, X: Array, training: bool) -> tuple[Array, Array]:
        if not training:
            return self.running_mean, self.running_var
        N = len(X)
        if N == 1:
            raise ValueError(f"{self!r}: expected at least 2 samples in a training batch, got 1")
        mean, variance = super().moments(X, training)
        self.running_mean += self.momentum * (mean[0] - self.running_mean)
        self.running_var += self.momentum * (variance[0] * (N / (N - 1)) - self.running_var)
        self.num_batches_tracked += 1
        return mean, variance

    def moments_move_with(self, training: bool) -> bool:
        return training
