"""Two layers of one's own: Gaussian noise, and batch normalization whose scale cannot outgrow the noise."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

import handmade as hm

__all__ = ["GaussianNoise", "UnscaledBatchNorm"]


class GaussianNoise(hm.Layer):
    """A layer that adds noise in training, H = X + std Z with Z standard normal, and nothing otherwise.

    Rasmus et al. 2015 (arXiv:1507.02672) put it on the input and on every normalized pre-activation.

    Parameters
    ----------
    std : float
        The standard deviation.
    rng : optional
        Anything numpy.random.default_rng takes.

    Examples
    --------
    >>> layer = GaussianNoise(0.1, rng=0)
    >>> layer.forward(np.zeros((1, 2), np.float32), training=True)[0].round(3)
    array([[ 0.112, -0.139]], dtype=float32)
    >>> layer.predict(np.zeros((1, 2), np.float32))
    array([[0., 0.]], dtype=float32)
    """

    def __init__(self, std: float, *, rng=None) -> None:
        super().__init__()
        self.std = std
        self.rng = np.random.default_rng(rng)

    def forward(self, X: np.ndarray, training: bool = False) -> tuple[np.ndarray, None]:
        return X + self.std * self.rng.standard_normal(X.shape, X.dtype) if training else X, None

    def backward(self, dH: np.ndarray, cache: None, need_dX: bool = True) -> np.ndarray:
        return dH

    def __repr__(self) -> str:
        return f"GaussianNoise({self.std:g})"


class UnscaledBatchNorm(hm.BatchNorm):
    """A batch normalization that learns its shift; its scale stays 1.

    Before ReLU a scale changes nothing that the next layer could not; before noise it would drown it.

    Examples
    --------
    >>> network = hm.Network([hm.Dense(3, 2), UnscaledBatchNorm(2)])
    >>> list(network.blocks(network.theta))
    ['0.weight', '0.bias', '1.bias']
    """

    parameters: Mapping[str, str] = {"bias": "beta"}
