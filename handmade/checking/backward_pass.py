"""9. A backward pass whose steps can be replaced, to compute the gradient that a mistake leads to.

It is the network's own forward and backward pass: each layer of a copy is wrapped, so that its values are recorded and
its step can be replaced. There is no second loop over the layers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from .._types import Array
from ..activations import ACTIVATIONS
from ..base_layer import Layer
from ..composites import Concatenate, Parallel, Sequential
from ..layers import Activation, Dense
from ..losses import Loss, loss_of_batch
from ..network import Network
from ..normalization import Standardization
from .methods import EPS

__all__ = ["BackwardPass", "Step", "elementwise_activations", "is_elementwise", "slope"]

Step = Callable[["BackwardPass", int, Array], Array]


class BackwardPass:
    """One forward pass of a network, and any number of backward passes over its values.

    Parameters
    ----------
    network : Network
        Not changed: the passes are of a copy in float64.
    X, y, loss, sample_weight, training
        As in `Network.loss_and_gradient`.

    Attributes
    ----------
    layers : tuple of Layer
        The layers of the copy.
    values : list of ndarray
        ``values[i]`` goes into layer i, ``values[i + 1]`` comes out of it.
    inputs, outputs : dict of str to ndarray
        The same for the leaves of the network, by their prefix, also inside of composites.
    caches, leaf_caches : list, and dict of str
        The caches of the layers, and of the leaves.
    value, loss_gradient : float and ndarray
        The loss, and its gradient with respect to the output.
    slopes : dict of int to ndarray
        The derivatives of the elementwise activations, by layer.
    upstream : dict of int to ndarray
        ``upstream[i]`` is the gradient with respect to ``values[i]`` in the latest backward pass.
    incoming : dict of str to ndarray
        The gradient with respect to the output of each leaf in the latest backward pass.
    mended : dict of str to ndarray
        The measured derivatives of activations whose own backward disagrees with differences.
    measured : dict of str to callable
        The measured backward passes of other layers of which the same is known.
    is_loss_wrong : bool
        Whether the loss's own gradient disagrees with differences, so that ``loss_gradient`` is measured.
    scale : float
        The number that some mistakes leave open, such as a learning rate, in the latest backward pass.

    Examples
    --------
    >>> from handmade.checking.backward_pass import BackwardPass
    >>> network, X, y = hm.MLP([2, 3, 2], activation="tanh", rng=0), np.eye(2), np.array([0, 1])
    >>> right = network.loss_and_gradient(X, y)[1]
    >>> bool(np.allclose(BackwardPass(network, X, y).gradient(), right, rtol=1e-14, atol=1e-16))
    True
    """

    scale: float

    values: list[Array]
    caches: list[Any]
    loss_gradient: Array
    y: Array
    sample_weight: Any
    signals_only: bool

    def __init__(
        self,
        network: Network,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        loss: Loss = "cross_entropy",
        sample_weight: npt.ArrayLike | None = None,
        training: bool = True,
    ) -> None:
        self.network: Network = network.astype(np.float64)
        self.layers: tuple[Layer, ...] = self.network.layers
        self.y, self.sample_weight = np.asarray(y), sample_weight
        self.loss: Loss = loss
        self.training = training
        self.inputs: dict[str, Array] = {}
        self.outputs: dict[str, Array] = {}
        self.leaf_caches: dict[str, Any] = {}
        self.incoming: dict[str, Array] = {}
        self.upstream: dict[int, Array] = {}
        self.mended: dict[str, Array] = {}
        self.measured: dict[str, Callable[[Array], Array]] = {}
        self.signals_only = False
        self.is_loss_wrong: bool = False
        self._steps: dict[int, Step] = {}
        self._incoming: Mapping[str, Array] = {}
        self._outgoing: Mapping[str, Array] = {}
        self.leaves: dict[str, Layer] = dict(self.network.leaves())
        for prefix, leaf in self.leaves.items():
            _wrap_leaf(self, prefix, leaf)
        for i, layer in enumerate(self.layers):
            _wrap_layer(self, i, layer)
        H, self._cache = self.network.forward(X, training)
        self.values, self.caches = self._cache
        value, self.loss_gradient = loss_of_batch(loss, H, self.y, sample_weight)
        self.value: float = float(value)
        self._measure_slopes()

    def _measure_slopes(self) -> None:
        """Measure the slope of each elementwise activation; keep in ``mended`` those that its backward gets wrong."""
        for prefix, leaf in self.leaves.items():
            if is_elementwise(leaf):
                measured = slope(leaf, self.inputs[prefix])
                if not np.array_equal(measured, own_slope(leaf, self.inputs[prefix])):
                    self.mended[prefix] = measured
        self.slopes: dict[Any, Array] = {
            i: slope(layer, self.values[i]) for i, layer in enumerate(self.layers) if is_elementwise(layer)
        }

    def gradient(
        self,
        steps: Mapping[int, Step] | None = None,
        scale: float = 0.0,
        incoming: Mapping[str, Array] | None = None,
    ) -> Array:
        """Return the gradient as vector (P,), with the given steps in place of the right ones.

        Parameters
        ----------
        steps : mapping of int to callable
            The place (the number of a layer; the loss has the number of layers) -> ``step(backward_pass, i, dH)``,
            which returns dX and leaves dW and db in the layer.
        scale : float
            For steps that leave a number open.
        incoming : mapping of str to ndarray
            As in `rerun`.
        """
        self._steps, self.scale, self._incoming = dict(steps or {}), scale, incoming or {}
        loss_step = self._steps.pop(len(self.layers), None)
        dH = self.loss_gradient if loss_step is None else loss_step(self, len(self.layers), self.values[-1])
        try:
            return self._run(dH)
        finally:
            self._incoming = {}

    def rerun(
        self,
        loss_gradient: Array | None = None,
        incoming: Mapping[str, Array] | None = None,
        outgoing: Mapping[str, Array] | None = None,
        signals_only: bool = False,
    ) -> Array:
        """Return the gradient (P,) of a pass in which some arrays are replaced.

        Parameters
        ----------
        loss_gradient : ndarray, shape (N, O), optional
            In place of the gradient of the loss.
        incoming, outgoing : dict of str to ndarray
            Gradients with respect to the output, and to the input, of leaves.
        signals_only : bool
            Whether to leave out the gradients of dense layers, and compute `incoming` alone.
        """
        self._steps, self._incoming, self._outgoing = {}, incoming or {}, outgoing or {}
        self.signals_only = signals_only
        try:
            return self._run(self.loss_gradient if loss_gradient is None else loss_gradient)
        finally:
            self._incoming, self._outgoing, self.signals_only = {}, {}, False

    @property
    def is_chain(self) -> bool:
        """True if the network is a plain chain of leaves."""
        return len(self.leaves) == len(self.layers)

    def passed_down(self, array: Array, above: str, prefix: str) -> Array:
        """Return the gradient by the output of a leaf from that by the input of a leaf, or of the loss, in a chain."""
        order = list(self.leaves)
        end = len(order) if above == "loss" else order.index(above)
        for between in reversed(order[order.index(prefix) + 1 : end]):
            array = self.leaves[between].backward(array, self.leaf_caches[between])
        return array

    @property
    def joins_columns(self) -> bool:
        """True if a layer puts the outputs of several paths side by side."""
        return any(isinstance(layer, Concatenate | Parallel) for layer in self.layers)

    def arrays_like(self, array: Array) -> Iterator[tuple[str, Array]]:
        """Yield each value of the forward pass that has the shape of an array, with its name, once."""
        named = [("X", self.values[0])]
        named += [(f"the output of {self.place_of(f'{i}.')}", V) for i, V in enumerate(self.values[1:])]
        named += [(f"the output of {self.place_of(prefix)}", V) for prefix, V in self.outputs.items()]
        for prefix, leaf in self.leaves.items():
            if isinstance(leaf, Standardization):
                Xhat = self.leaf_caches[prefix][0]
                named.append((f"the output of {self.place_of(prefix)} without gamma and beta", Xhat))
        known = [V for _, V in named]
        for prefix, X in self.inputs.items():  # a part of an output may have no other name
            if not any(np.array_equal(X, V) for V in known):
                named.append((f"the input of {self.place_of(prefix)}", X))
        seen: list[Array] = []
        for name, value in named:
            if value.shape == array.shape and not any(np.array_equal(value, one) for one in seen):
                seen.append(value)
                yield name, value

    def place_of(self, prefix: str) -> str:
        """Return the place of a layer in the network, such as ``layers[2].layers[0]``, from its prefix, ``2.0.``."""
        layer: Any = self.network
        parts = []
        for number in prefix.rstrip(".").split("."):
            attribute = "layers" if hasattr(layer, "layers") else "groups"
            parts.append(f"{attribute}[{number}]")
            layer = getattr(layer, attribute)[int(number)]
        return ".".join(parts)

    def is_above(self, prefix: str, other: str) -> bool:
        """Return whether a leaf comes after another in the forward pass."""
        order = list(self.leaves)
        return order.index(prefix) > order.index(other)

    def _run(self, dH: Array) -> Array:
        self.network.gradient[:] = 0
        self.upstream[len(self.layers)] = dH
        with np.errstate(all="ignore"):  # what a mistake makes infinite is refused later
            Sequential.backward(self.network, dH, self._cache)
        self._steps = {}
        return self.network.gradient.copy()


def _wrap_leaf(of: BackwardPass, prefix: str, leaf: Layer) -> None:
    """Let a leaf record its values, and replace its gradients where that is asked for."""
    forward, backward = leaf.forward, leaf.backward

    def recorded_forward(X: Array, training: bool = False) -> tuple[Array, Any]:
        H, cache = forward(X, training)
        of.inputs[prefix], of.outputs[prefix], of.leaf_caches[prefix] = X, H, cache
        return H, cache

    def replaced_backward(dH: Array, *arguments: Any, **options: Any) -> Array | None:
        of.incoming[prefix] = np.array(dH)
        dH = of._incoming.get(prefix, dH)
        if prefix in of.mended:
            dX: Array | None = dH * of.mended[prefix]
        elif prefix in of.measured:
            dX = of.measured[prefix](dH)
        elif of.signals_only and isinstance(leaf, Dense):
            dX = dH @ leaf.W
        else:
            dX = backward(dH, *arguments, **options)
        return dX if dX is None else of._outgoing.get(prefix, dX)

    leaf.forward, leaf.backward = recorded_forward, replaced_backward  # type: ignore[method-assign]


def _wrap_layer(of: BackwardPass, i: int, layer: Layer) -> None:
    """Let a layer of the network's own chain take a step that replaces its backward pass."""
    backward = layer.backward

    def replaced_backward(dH: Array, *arguments: Any, **options: Any) -> Array | None:
        of.upstream[i + 1] = dH
        if i in of._steps:
            step = of._steps.pop(i)
            dX = step(of, i, dH)
        else:
            dX = backward(dH, *arguments, **options)
        of.upstream[i] = dX
        return dX

    layer.backward = replaced_backward  # type: ignore[method-assign]


def is_elementwise(layer: Layer) -> TypeGuard[Activation]:
    """Return whether the layer is an activation of each number by itself, as softmax is not."""
    return isinstance(layer, Activation) and layer.is_elementwise


@functools.cache
def elementwise_activations() -> dict[str, Activation]:
    """Return a layer of each elementwise activation of the library, by name."""
    layers = {name: Activation(name) for name in ACTIVATIONS}
    return {name: layer for name, layer in layers.items() if layer.is_elementwise}


def slope(layer: Activation, A: Array) -> Array:
    """Return f'(A) of an elementwise activation: the layer's own, if differences beside each A confirm it.

    At a kink every number between the one-sided derivatives is confirmed. If the layer's own is wrong anywhere, it
    may be wrong by less than the margin elsewhere: then the differences stand for it, except at kinks.
    """
    below, above = one_sided_slopes(layer, A)
    own = own_slope(layer, A)
    margin = 1e-6 * (1 + np.abs(below) + np.abs(above))
    right = (own >= np.minimum(below, above) - margin) & (own <= np.maximum(below, above) + margin)
    trusted = right if right.all() else right & (np.abs(above - below) > margin)
    return np.where(trusted, own, (below + above) / 2)


def own_slope(layer: Activation, A: Array) -> Array:
    """Return the derivative f'(A) that the backward of an elementwise activation uses."""
    with np.errstate(all="ignore"):
        H = layer.f(A, **layer.options)
        return layer.f_backward(np.ones_like(A), H if layer.keeps_H else A, **layer.options)


def one_sided_slopes(layer: Activation, A: Array) -> tuple[Array, Array]:
    """Return the derivatives of an elementwise activation below and above A, measured on each side alone.

    Both are extrapolated to step 0 from three steps on one side, so that no difference reaches across a kink at A.
    """
    h = EPS**0.25 * np.maximum(1, np.abs(A))
    sides = []
    with np.errstate(all="ignore"):  # f may overflow, or be defined on one side alone
        at = layer.f(A, **layer.options)
        for side in -1, 1:
            one, two, four = ((layer.f(A + side * k * h, **layer.options) - at) / (side * k * h) for k in (1, 2, 4))
            sides.append((8 * one - 6 * two + four) / 3)
    return sides[0], sides[1]
