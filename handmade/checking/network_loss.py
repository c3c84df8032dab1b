"""9. The loss of a network as a function of theta, also at many thetas at once that differ in one entry each."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from .._parameters import with_generators
from .._types import Array
from .._validation import as_floating
from ..base_layer import Layer
from ..composites import Sequential
from ..layers import Activation, Dense
from ..losses import LOSSES, Loss, LossFunctions, loss_and_backward, loss_of_batch
from ..network import Network, as_network, check_finite_targets, has_own

__all__ = ["NetworkLoss"]


class NetworkLoss:
    """The loss of a network on a batch, as a function of theta.

    It computes on a copy, in float64, or in complex128 where theta is complex. Dropout masks are the same at every
    call. Where a class has a `backpropagate` of its own, the loss is the value that this returns.

    Parameters
    ----------
    network : Network
        The network; it is not changed.
    X, y, loss, sample_weight, training
        As in `Network.loss_and_gradient`.

    Raises
    ------
    ValueError, TypeError
        As in `Network.loss_and_gradient`.

    Examples
    --------
    >>> network = hm.Network([hm.Dense(2, 1, bias=False)])
    >>> f = hm.NetworkLoss(network, [[1.0, 2.0]], [[0.5]], loss="half_squared_error")
    >>> theta = np.array([0.5, -1.0])
    >>> float(f(theta))
    2.0

    With the second entry changed, to one value and to another:

    >>> f.moved(theta, [1, 1], [-0.5, 0.0])
    array([0.5, 0. ])
    """

    BLOCK = 2**18  # numbers that a layer may put out at once: two megabytes

    y: Array
    sample_weight: Any
    training: bool
    functions: LossFunctions

    def __init__(
        self,
        network: Network,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        loss: Loss = "cross_entropy",
        sample_weight: npt.ArrayLike | None = None,
        training: bool = True,
    ) -> None:
        target = check_finite_targets(y)
        self.X = as_network(network).check_input(X).astype(np.float64)
        self.y = target.astype(network.dtype) if target.dtype.kind == "f" else target
        self.loss: Loss = loss
        self.sample_weight, self.training = sample_weight, training
        self.functions, _ = network.head(loss)
        self._has_own_value: bool = has_own(network, "backpropagate")  # a penalty, say, belongs to its loss
        self._networks = {np.dtype(np.float64): network.astype(np.float64)}
        self._masks = [leaf.rng.bit_generator.state for leaf in with_generators(network)]
        H = self._output(network.theta)
        value, _ = loss_of_batch(self.functions, H, self.y, sample_weight)  # or the error that the loss raises
        # The divisor of a mean depends on targets and weights, not on the input.
        self._divisor = self._sums(H[np.newaxis])[0] / value if value and self._has_terms() else None

    def __call__(self, theta: npt.ArrayLike) -> Any:
        """Return the loss at theta: a real number, or a complex one where theta is complex."""
        theta, expected = as_floating(theta, "theta"), self._networks[np.dtype(np.float64)].theta.shape
        if theta.shape != expected:
            raise ValueError(f"theta: expected shape {expected}, got {theta.shape}")
        return self._own_value(theta) if self._has_own_value else self._value(self._output(theta))

    def loss_gradient(self, H: Array) -> Array:
        """Return the gradient of the loss with respect to H, (N, O), the output of the layers below the loss."""
        return loss_and_backward(self.functions, H, self.y, self.sample_weight)[1]

    def gradient_at_mirrored(self, H: Array) -> Array:
        """Return |gradient of the loss| at -H, or 0 where the loss does not take -H: the size of its terms at H."""
        try:
            return np.abs(self.loss_gradient(-H))
        except (ValueError, FloatingPointError):
            return np.zeros_like(H)

    def moved(self, theta: Array, indices: npt.ArrayLike, values: npt.ArrayLike) -> Array:
        """Return the losses at copies of theta, the k-th of which has ``values[k]`` at ``indices[k]``.

        An entry of a Dense layer moves one column of the layer's output. Where the rows above do not depend on each
        other, that column alone is computed anew, and the outputs, one below the other, go up together. What the
        column changes in the next Dense layer is a product of a column and a row.
        """
        indices, values = np.asarray(indices, np.intp), np.asarray(values)
        network = self._at(np.asarray(theta, np.result_type(theta, values)))
        theta, outputs = network.theta.copy(), network.forward(self.X.astype(network.dtype), self.training)[1].values
        losses = np.empty(len(indices), theta.dtype)
        known = not (self._has_own_value or has_own(network, "forward"))
        for name, block in network.blocks(np.arange(theta.size)).items():
            chosen = np.flatnonzero((indices >= block.flat[0]) & (indices <= block.flat[-1]))
            number, _, parameter = name.partition(".")
            layer, *above = network.layers[int(number) : network.head(self.loss)[1]] or (None,)
            if known and type(layer) is Dense and all(upper.rows_are_independent(self.training) for upper in above):
                X, A = outputs[int(number) : int(number) + 2]
                for part in self._split(chosen, network):
                    place = np.unravel_index(indices[part] - block.flat[0], block.shape)
                    column = _columns(layer, X, layer.parameters[parameter], place, values[part])
                    if _feeds_dense(above, outputs[int(number) + 2 :]):
                        changed = _next_outputs(outputs[int(number) + 2 :], above, place[0], column)
                        losses[part] = self._values(changed, above[2:])
                    else:
                        losses[part] = self._values(_in_place_of(A, place[0], column), above)
            else:
                for k in chosen:
                    moved = theta.copy()
                    moved[indices[k]] = values[k]
                    losses[k] = self(moved)
        return losses

    def _at(self, theta: Array) -> Network:
        """Return the network with these parameters, its generators set back so that it draws the same masks."""
        dtype = np.result_type(theta, np.float64)
        if dtype not in self._networks:
            self._networks[dtype] = self._networks[np.dtype(np.float64)].astype(dtype)
        network = self._networks[dtype]
        network.theta[:] = theta
        for leaf, state in zip(network._drawing, self._masks, strict=True):
            leaf.rng.bit_generator.state = state
        return network

    def _own_value(self, theta: Array) -> Any:
        """Return the loss that a network of another class computes beside its gradient."""
        network = self._at(theta)
        with np.errstate(over="ignore", invalid="ignore"):
            X = self.X.astype(network.dtype)
            return network.backpropagate(X, self.y, self.loss, self.sample_weight, self.training)[0]

    def _output(self, theta: Array) -> Array:
        network = self._at(theta)
        with np.errstate(over="ignore", invalid="ignore"):  # a loss that is not finite is refused by who asks for it
            X = self.X.astype(network.dtype)
            if has_own(network, "forward"):
                H, cache = network.forward(X, self.training)
            else:  # X and theta are checked once, not at every call
                H, cache = Sequential.forward(network, X, self.training)
        depth = network.head(self.loss)[1]
        return H if depth == len(network.layers) else cache.values[depth]

    def _split(self, chosen: Array, network: Network) -> list[Array]:
        """Return the variants in parts that fit into a block."""
        widest = max(network.width_after(self.X.shape[1]), *(leaf.neuron_count for _, leaf in network.leaves()))
        size = max(1, self.BLOCK // (len(self.X) * widest))
        return [chosen[start : start + size] for start in range(0, len(chosen), size)]

    def _values(self, H: Array, above: list[Layer]) -> Array:
        """Return the losses of K outputs of a layer, (K, N, O), which go up as K N rows."""
        K, N, _ = H.shape
        H = H.reshape(K * N, -1)
        for layer in above:
            H, _ = layer.forward(H, self.training)
        H = H.reshape(K, N, -1)
        return np.array([self._value(one) for one in H]) if self._divisor is None else self._sums(H) / self._divisor

    def _value(self, H: Array) -> Any:
        if self.sample_weight is None:
            return self.functions.value(H, self.y)
        return loss_and_backward(self.functions, H, self.y, self.sample_weight)[0]

    def _has_terms(self) -> bool:
        """Return whether the loss is one of the library's, without an option that belongs to single rows."""
        f = self.functions.value
        rows = any(np.ndim(option) > 1 for option in getattr(f, "keywords", {}).values())
        return not rows and any(getattr(f, "func", f) is own.value for own in LOSSES.values())

    def _sums(self, H: Array) -> Array:
        """Return the sums of the weighted terms of the loss for outputs (K, N, O)."""
        K, N, O = H.shape
        terms = partial(self.functions.value, reduction="none")(H.reshape(K * N, O), np.concatenate([self.y] * K))
        terms = terms.reshape(K, N, -1).sum(axis=2)
        return terms.sum(axis=1) if self.sample_weight is None else terms @ self.sample_weight


def _columns(layer: Dense, X: Array, attribute: str, place: tuple[Array, ...], values: Array) -> Array:
    """Return the output of a layer with one unit per value: each is a unit of ``layer`` with one number changed."""
    units = copy.copy(layer)
    for name in layer.parameters.values():
        rows = getattr(layer, name)[place[0]]
        units.bind(name, rows, rows)
    getattr(units, attribute)[np.arange(len(values)), *place[1:]] = values
    return units.predict(X)


def _feeds_dense(above: list[Layer], values: list[Array]) -> bool:
    """Return whether each unit goes through an elementwise activation into a dense layer, as ``values`` confirm."""
    if len(above) < 2 or type(above[0]) is not Activation or not above[0].is_elementwise or type(above[1]) is not Dense:
        return False
    H, A = values[:2]
    bias = above[1].b if "bias" in above[1].parameters else 0.0
    return bool(np.abs(H @ above[1].W.T + bias - A).max(initial=0.0) <= 1e-12 * np.abs(A).max(initial=1.0))


def _next_outputs(values: list[Array], above: list[Any], units: Array, columns: Array) -> Array:
    """Return the outputs (K, N, O) of the next dense layer, each with one of its input units computed anew.

    ``values`` are the input and the output of that layer before the change.
    """
    H, A = values[:2]
    change = above[0].predict(columns) - H[:, units]
    return A + change.T[:, :, np.newaxis] * above[1].W.T[units][:, np.newaxis, :]


def _in_place_of(A: Array, units: Array, columns: Array) -> Array:
    """Return a copy of A for each column, (K, N, O), with that column in place of a unit's."""
    variants = np.repeat(A[np.newaxis], len(units), axis=0)
    variants[np.arange(len(units)), :, units] = columns.T
    return variants
