"""A backward pass whose steps can be replaced, to compute the gradient that a mistake leads to."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ..layers import Activation, Layer
from ..losses import Loss, loss_and_backward
from ..network import Network

__all__ = ["Step", "BackwardPass", "is_elementwise", "slope"]

Array = np.ndarray
Step = Callable[["BackwardPass", int, Array], Array]


class BackwardPass:
    """One forward pass of a network, and any number of backward passes over what it left.

    Parameters
    ----------
    network : Network
        Left as it is: the walk is over a copy in float64.
    X, y, loss, sample_weight, training
        As in `Network.loss_and_gradient`.

    Attributes
    ----------
    layers : tuple of Layer
        Those of the copy.
    values : list of ndarray
        ``values[i]`` went into layer i, ``values[i + 1]`` came out of it.
    value, loss_gradient : float and ndarray
        The loss, and its gradient with respect to the output.
    slopes : dict of int to ndarray
        The derivatives of the elementwise activations, by layer.
    upstream : dict of int to ndarray
        ``upstream[i]``: the gradient with respect to ``values[i]`` in the latest backward pass.
    scale : float
        The one number that some mistakes leave open, such as a learning rate, in the latest backward pass.

    Examples
    --------
    >>> from handmade import MLP
    >>> network, X, y = MLP([2, 3, 2], activation="tanh", rng=0), np.eye(2), np.array([0, 1])
    >>> right = network.loss_and_gradient(X, y)[1]
    >>> bool(np.allclose(BackwardPass(network, X, y).gradient(), right, rtol=1e-14, atol=1e-16))
    True
    """

    scale: float

    def __init__(
        self, network: Network, X, y, loss: Loss = "cross_entropy", sample_weight=None, training: bool = True
    ) -> None:
        self.network = network.astype(np.float64)
        self.layers = self.network.layers
        self.y, self.loss, self.sample_weight = np.asarray(y), loss, sample_weight
        _, (self.values, self.caches) = self.network.forward(X, training)
        value, self.loss_gradient = loss_and_backward(loss, self.values[-1], self.y, sample_weight)
        self.value = float(value)
        self.slopes = {i: slope(f, self.values[i]) for i, f in enumerate(self.layers) if is_elementwise(f)}
        self.upstream: dict[int, Array] = {}

    def gradient(self, steps: Mapping[int, Step] | None = None, scale: float = 0.0) -> Array:
        """The gradient as vector (P,), with the given steps in place of the right ones.

        Parameters
        ----------
        steps : mapping of int to callable
            The place (a layer's number; that of the loss is the number of layers) -> ``step(walk, i, dH)``, which
            returns dX and leaves dW and db in the layer.
        scale : float
            For the steps that leave a number open.
        """
        steps, self.scale = steps or {}, scale
        self.network.gradient[:] = 0
        dH = steps.get(len(self.layers), _loss_step)(self, len(self.layers), self.values[-1])
        with np.errstate(all="ignore"):  # what a mistake makes infinite is no candidate, and no concern
            for i in reversed(range(len(self.layers))):
                self.upstream[i + 1] = dH
                dH = steps.get(i, _step)(self, i, dH)
        return self.network.gradient.copy()


def _loss_step(walk: BackwardPass, i: int, H: Array) -> Array:
    return walk.loss_gradient


def _step(walk: BackwardPass, i: int, dH: Array) -> Array:
    return dH * walk.slopes[i] if i in walk.slopes else walk.layers[i].backward(dH, walk.caches[i])


def is_elementwise(layer: Layer) -> bool:
    """Whether the layer is an activation of each number by itself; softmax is not."""
    return isinstance(layer, Activation) and layer.is_elementwise


def slope(layer: Activation, A: Array) -> Array:
    """f'(A) of an elementwise activation; of one that is not handmade's own, measured (Richardson)."""
    if isinstance(layer.function, str):
        kept = layer.predict(A) if layer.keeps_H else A
        return layer.f_backward(np.ones_like(A), kept, **layer.options)
    h = np.finfo(float).eps ** 0.2 * np.maximum(1, np.abs(A))

    def central(step: Array) -> Array:
        return (layer.predict(A + step) - layer.predict(A - step)) / (2 * step)

    return (4 * central(h / 2) - central(h)) / 3
