"""4. Dropout: layers that set random values to zero in training, to reduce overfitting."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._types import Array
from ._validation import as_generator, up_to_one
from .base_layer import Layer

__all__ = ["AlphaDropout", "Dropout"]


class Dropout(Layer):
    """A layer that, in training, sets each value to zero with probability p and multiplies the others by 1 / (1 - p).

    Srivastava et al. 2014. The factor is applied in training, as in PyTorch ("inverted" dropout), so that a prediction
    leaves the input unchanged.

    Parameters
    ----------
    p : float
        The probability of a zero, from 0 to 1.
    rng : optional
        A seed or a numpy.random.Generator; draws the masks.

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
        # Drawn in float32 for every dtype, so that one seed gives one mask.
        kept = np.empty_like(X, dtype=bool)
        np.greater_equal(self.rng.random(X.shape, dtype=np.float32), self.p, out=kept)
        return self._apply(X, kept), kept

    def backward(self, dH: Array, kept: Array | None, need_dX: bool = True) -> Array | None:
        return dH if kept is None else self._apply(dH, kept)

    def _apply(self, V: Array, kept: Array) -> Array:
        """Multiply each value by 0 or 1 / (1 - p): forward and backward are the same linear map."""
        return V * kept if self.p in (0, 1) else V * kept / (1 - self.p)

    def rows_are_independent(self, training: bool) -> bool:
        return not training

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.p!r})"


class AlphaDropout(Dropout):
    """A dropout that keeps mean 0 and variance 1, for selu (Klambauer et al. 2017): torch.nn.AlphaDropout.

    In training each value becomes -alpha, the limit of selu for a -> -inf, with probability p. Then all values are
    scaled and shifted: H = a (X kept - alpha (1 - kept)) + a alpha p with a = ((1 - p) (1 + p alpha^2))^-1/2. A
    prediction leaves the input unchanged.

    Parameters
    ----------
    p : float
        The probability of a zero, from 0 to 1.
    rng : optional
        A seed or a numpy.random.Generator; draws the masks.

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
        if kept is None or self.p in (0, 1):  # with p = 1 all values are 0, as in torch
            return H, kept
        shift = self.scale * self.alpha
        return H + np.where(kept, shift * self.p, shift * (self.p - 1)).astype(X.dtype), kept

    def _apply(self, V: Array, kept: Array) -> Array:
        return V * kept * self.scale
