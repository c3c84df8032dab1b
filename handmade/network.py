"""5. The network: a chain of layers that owns its parameters, and backpropagation through it.

Read `Sequential.forward` and `Sequential.backward` in `handmade.composites` first, then `Network.backpropagate` here:
forward, loss, backward. `handmade.fit` calls it for each minibatch. `Dense.backward` in `handmade.layers` writes dW.
The rest of this file checks input, predicts, and finds the functions of a loss. `handmade._parameters` keeps theta and
its gradient.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ._first_backward import first_backward
from ._parameters import ParameterizedChain
from ._sparse import SparseRows
from ._types import Array, Optimizer
from ._validation import as_array, check_count, check_finite, not_numbers
from .composites import Sequential, SequentialCache
from .losses import Loss, LossFunctions, find_loss, loss_of_batch

if TYPE_CHECKING:
    from .summary import Summary

__all__ = ["Network"]

A_LAYER = "make it a hm.Layer, and build hm.Network([...]) with a layer of it"
PASSES = {  # methods that a subclass may override and a caller may not call -> how to mend that
    "forward": A_LAYER,
    "backward": A_LAYER,
    "loss_and_gradient": "define backpropagate, which both call",
    "predict": A_LAYER,
}
TRAINED = ("forward", "backward", "loss_and_gradient")
BLOCK = 2**18  # numbers of the widest layer that `predict` computes at a time: they fit into the cache


class Network(ParameterizedChain):
    """A chain of layers that owns their parameters: ``theta`` holds all of them, ``gradient`` their gradient.

    Both are one contiguous vector in the order of PyTorch's ``parameters()``: W0, b0, W1, b1, ... Each layer's W and
    b are views into theta, its dW and db views into gradient, so ``theta -= lr * gradient`` is the lecture's update
    (System 11) of the whole network.

    Any number of threads may run `predict`, and `forward` in evaluation mode, at the same time. Another thread may load
    a state_dict meanwhile: each prediction uses either the old weights or the new ones. A backward pass writes the
    gradient, so a second one at the same time raises RuntimeError.

    Parameters
    ----------
    layers : sequence of Layer
        From the input to the output. Their parameters keep their values, and are moved into theta.
    dtype : dtype, optional
        float64 or float32; by default that of the first parameter.

    Attributes
    ----------
    theta, gradient : ndarray, shape (P,)
        All parameters, and the gradient that the last backward pass wrote. An assignment copies numbers into the
        vector.
    layers : tuple of Layer
        From the input to the output.
    dtype : dtype
        The dtype of parameters, gradients and outputs.

    Raises
    ------
    TypeError
        If ``layers`` holds something other than layers, or the dtype is not float32 or float64.
    ValueError
        If there are no layers, the widths of two neighbours differ, or a layer already belongs to a network.

    Examples
    --------
    One linear unit with two inputs and no bias (System 7), one step of gradient descent:

    >>> network = hm.Network([hm.Dense(2, 1, bias=False)])
    >>> network.theta[:] = [0.5, -1.0]
    >>> x, y = np.array([[1.0, 2.0]]), np.array([[0.5]])
    >>> loss, gradient = network.loss_and_gradient(x, y, loss="half_squared_error")
    >>> loss, gradient
    (2.0, array([-2., -4.]))
    >>> network.theta -= 0.1 * gradient
    >>> network.predict(x)
    array([[-0.5]])
    """

    # ---- passes ----------------------------------------------------------------------------------------------------

    def loss_and_gradient(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        loss: Loss = "cross_entropy",
        *,
        sample_weight: npt.ArrayLike | None = None,
        training: bool = True,
    ) -> tuple[float, Array]:
        """Return the loss of a batch and its gradient with respect to theta: forward, loss, backward (System 11).

        After an error, running averages and random generators are as they were before the call.

        Parameters
        ----------
        X : array_like, shape (N, I)
            Inputs.
        y : array_like
            Targets, in the form that the loss takes: for "cross_entropy" class indices (N,) or probabilities (N, K).
        loss : str, callable, functools.partial or (callable, callable)
            See `handmade.losses.find_loss`.
        sample_weight : array_like, shape (N,), optional
            See `handmade.losses.loss_and_backward`.
        training : bool
            True: dropout drops values, and batch normalization uses the statistics of the batch and updates its running
            averages. False: as in `predict`.

        Returns
        -------
        loss : float
            The loss of the batch.
        gradient : ndarray, shape (P,)
            ``network.gradient`` itself: the next call overwrites it.

        Raises
        ------
        ValueError
            If a shape or value is wrong, or an input, target or weight is not finite.
        TypeError
            If a dtype is wrong.
        RuntimeError
            If another thread is in a backward pass of this network.
        """
        X, y = self.check_input(X), check_finite_targets(y)
        if not (self._statistics or self._drawing):  # no layer has running averages, or draws random numbers
            return self.backpropagate(X, y, loss, sample_weight, training)
        statistics = [array.copy() for array in self._statistics]
        generators = [leaf.rng.bit_generator.state for leaf in self._drawing]
        try:
            return self.backpropagate(X, y, loss, sample_weight, training)
        except Exception:
            for array, values in zip(self._statistics, statistics, strict=True):
                array[...] = values
            for leaf, state in zip(self._drawing, generators, strict=True):
                leaf.rng.bit_generator.state = state
            raise

    def backpropagate(
        self,
        X: Array,
        y: Array,
        loss: Loss = "cross_entropy",
        sample_weight: npt.ArrayLike | None = None,
        training: bool = True,
    ) -> tuple[float, Array]:
        """Return the loss of a batch and its gradient without checking X and y, which `fit` checks once for all steps.

        Parameters and results are those of `loss_and_gradient`; X has the network's dtype.
        """
        _, cache = Sequential.forward(self, X, training)
        value, dH, cache = self.loss_of(cache, y, loss, sample_weight)
        backward = Sequential.backward if self._is_checked else Network._first_backward  # which also checks each layer
        self._gradient_writer.run(backward, self, dH, cache, False)  # calls backward, in one thread at a time
        return float(value), self.gradient

    def forward(self, X: npt.ArrayLike, training: bool = False) -> tuple[Array, SequentialCache]:
        """Return the output of the network, and the cache for `backward`.

        Parameters
        ----------
        X : array_like, shape (N, I)
            Inputs.
        training : bool
            As in `loss_and_gradient`.

        Returns
        -------
        H : ndarray, shape (N, O)
            Outputs: logits, where the network ends with a Dense layer.
        cache : SequentialCache
            The input of each layer (``cache.values``), and the cache of each layer (``cache.layers``). Some of its
            arrays are X and H themselves: change none before `backward` has read them.
        """
        return super().forward(self.check_input(X), training)

    def backward(self, dH: npt.ArrayLike, cache: SequentialCache, need_dX: bool = True) -> Array | None:
        """Backpropagate dH, an upstream gradient: write dW and db of all layers into ``gradient``.

        Parameters
        ----------
        dH : array_like, shape (N, O)
            The gradient of a scalar, such as the loss, with respect to the output.
        cache : SequentialCache
            The second result of `forward`.
        need_dX : bool
            Whether to compute the gradient with respect to the input, too.

        Returns
        -------
        ndarray, shape (N, I), or None
            dX, the gradient with respect to the input; None if ``need_dX`` is False.

        Raises
        ------
        TypeError
            If ``cache`` does not come from `forward`.
        ValueError
            If dH does not have the shape of the output, or is not finite.
        RuntimeError
            If another thread is in a backward pass of this network.
        """
        if not isinstance(cache, SequentialCache):
            raise TypeError(f"cache: expected the second result of forward, got {type(cache).__name__}")
        dH, expected = np.asarray(as_array(dH, "dH"), self.dtype), cache.values[-1].shape
        if dH.shape != expected:
            raise ValueError(f"dH: expected the shape of the output {expected}, got {dH.shape}")
        check_finite(dH, "dH")
        backward = Sequential.backward if self._is_checked else Network._first_backward
        return self._gradient_writer.run(backward, self, dH, cache, need_dX)

    def _first_backward(self, dH: Array, cache: SequentialCache, need_dX: bool) -> Array | None:
        dX: Array | None = first_backward(self, self.gradient, dH, cache, need_dX)
        self._is_checked = True
        return dX

    def predict(self, X: npt.ArrayLike, *, batch_size: int | None = None) -> Array:
        """Return the output of the network in evaluation mode: without dropout, with running averages.

        Parameters
        ----------
        X : array_like, shape (N, I)
            Inputs. A numpy.memmap is read one block at a time.
        batch_size : int, optional
            Rows that are computed at a time, which limits the memory in use. By default, as many as fit into the
            processor's cache.

        Returns
        -------
        ndarray, shape (N, O)
            The outputs, in a new array. ``network.predict(X).argmax(axis=1)`` gives class indices.

        Raises
        ------
        ValueError, TypeError
            As in `loss_and_gradient`.
        """
        return self._outputs(X, len(self.layers), batch_size)

    def predict_until(self, X: npt.ArrayLike, layers: int, batch_size: int | None = None) -> Array:
        """Return the output of the first ``layers`` layers, see `predict`."""
        if check_count(layers, "layers", least=0) > len(self.layers):
            raise ValueError(f"layers: expected at most {len(self.layers)}, got {layers}")
        return self._outputs(X, layers, batch_size)

    def _outputs(self, X: npt.ArrayLike, layers: int, batch_size: int | None) -> Array:
        X = as_array(X, "X")
        size = self._rows_at_a_time() if batch_size is None else check_count(batch_size, "batch_size")
        if X.ndim != 2 or len(X) <= size:
            return self._weights.read(self._predict_block, X, layers, 0)
        self.check_shape(X)  # an error in a block would name the shape of the block
        return self._weights.read(self._predict_blocks, X, layers, size)

    def rows_are_independent(self, training: bool) -> bool:  # a class with a `forward` has to define it, see `Layer`
        return super().rows_are_independent(training)

    def _predict_blocks(self, X: Array, layers: int, size: int) -> Array:
        starts = range(0, len(X), size)
        return np.concatenate([self._predict_block(X[start : start + size], layers, start) for start in starts])

    def _predict_block(self, X: Array, layers: int, first_row: int) -> Array:
        H = X = self.check_input(X, first_row)
        for layer in self.layers[:layers]:
            H = layer.predict(H)
        return H.copy() if H is X else H  # a network of dropout alone returns its input

    def _rows_at_a_time(self) -> int:
        if not self.rows_are_independent(training=False):
            return sys.maxsize  # all at once: a row of the output may depend on all rows of the input
        widest = max(self.in_features or 1, *(leaf.neuron_count for _, leaf in self.leaves()))
        return max(256, BLOCK // widest)

    # ---- the loss --------------------------------------------------------------------------------------------------

    def loss_of(
        self, cache: SequentialCache, y: npt.ArrayLike, loss: Loss, sample_weight: npt.ArrayLike | None = None
    ) -> tuple[Any, Array, SequentialCache]:
        """Return the loss, dH, with which the backward pass begins, and the cache of the layers below dH."""
        functions, depth = self.head(loss)
        if depth < len(self.layers):  # the loss computes the last activation, too
            cache = SequentialCache(cache.values[: depth + 1], cache.layers[:depth])
        H = cache.values[-1]
        functions.check_outputs(H.shape[-1])
        value, dH = loss_of_batch(functions, H, y, sample_weight)
        return value, dH, cache

    def head(self, loss: Loss) -> tuple[LossFunctions, int]:
        """Return the functions of a loss, and the number of layers below it.

        These are all layers, unless the loss also computes the last activation, as `binary_cross_entropy` does for a
        sigmoid: the two together lose no digits.
        """
        functions, last = find_loss(loss), self.layers[-1]
        if functions.on_activation and getattr(last, "function", None) == functions.activation:
            return functions.on_activation, len(self.layers) - 1
        return functions, len(self.layers)

    # ---- checks of the input ---------------------------------------------------------------------------------------

    def check_input(self, X: npt.ArrayLike, first_row: int = 0) -> Array:
        """Return X in the network's dtype; raise unless it has the right shape and is finite.

        Parameters
        ----------
        X : array_like, shape (N, I)
            Inputs.
        first_row : int
            The number of the first row of X in the array that the caller knows: errors name rows of that array.

        Raises
        ------
        ValueError
            If the shape is not (N, I), or a number is not finite.
        TypeError
            If X does not hold numbers.
        """
        X = as_array(X, "X")
        if X.ndim != 2 or X.shape[1] != self.in_features or len(X) == 0:
            self.check_shape(X)
        if X.dtype != self.dtype:
            if X.dtype.kind not in "fiub":
                raise not_numbers(X, "X")
            with np.errstate(over="ignore"):  # a number too large for float32 becomes infinite, and is refused below
                X = X.astype(self.dtype)
        if self.dtype.kind == "f":
            check_finite(X, "X", first_row)
        return X

    def check_shape(self, X: Array | SparseRows) -> None:
        """Raise unless X has the shape (N, I) and at least one row."""
        if X.ndim == 2 and len(X) > 0 and self.in_features in (None, X.shape[1]):
            if self.in_features is None:
                self.width_after(X.shape[1])  # raises if a layer further up takes another width
            return
        width = self.in_features or "features"
        hint = "; a single sample x is x[np.newaxis, :]" if X.shape == (self.in_features,) else ""
        hint = "; flatten it with X.reshape(len(X), -1)" if X.ndim > 2 else hint
        raise ValueError(f"X: expected shape (N, {width}) with N at least 1, got {X.shape}{hint}")

    # ---- for files -----------------------------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        return {"layers": self.layers}  # also for a subclass whose constructor takes something else, such as MLP

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Network:
        network = cls.__new__(cls)
        Network.__init__(network, **config)
        return network

    # ---- for people ------------------------------------------------------------------------------------------------

    def summary(self, batch_size: int | None = None, optimizer: Optimizer | None = None) -> Summary:
        """Return a table with the output width and the number of parameters of each layer.

        Parameters
        ----------
        batch_size : int, optional
            Adds the multiply-adds and the memory of a training step with this number of rows.
        optimizer : optional
            Adds the memory of its state; see `handmade.summary.summarize`.

        Returns
        -------
        Summary
            It prints as the table, also in a notebook.

        Examples
        --------
        >>> print(hm.MLP([3, 4, 2], activation="sigmoid").summary())
        layer                   output  parameters
        Dense(3, 4)                  4          16
        Activation('sigmoid')        4           0
        Dense(4, 2)                  2          10
        6 neurons, 20 weights, 26 parameters, float64
        """
        from .summary import summarize  # training and prediction never need it

        return summarize(self, batch_size, optimizer)

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()


def as_network(network: Any) -> Network:
    """Return the network; raise TypeError if it is something else."""
    if not isinstance(network, Network):
        raise TypeError(f"network: expected a Network, got {type(network).__name__}; wrap layers in Network([...])")
    return network


def check_finite_targets(y: npt.ArrayLike, first_row: int = 0) -> Array:
    """Return y as an array; raise if it holds NaN or infinity. The loss checks the rest."""
    y = as_array(y, "y")
    if y.dtype.kind == "f":
        check_finite(y, "y", first_row)
    return y


def has_own(network: Network, name: str) -> bool:
    """Return whether the network's class, or the object itself, overrides a method of hm.Network."""
    return getattr(getattr(network, name), "__func__", None) is not getattr(Network, name)


def check_passes(network: Network, caller: str, names: Sequence[str] = TRAINED) -> None:
    """Raise if a network overrides a pass that the caller does not call."""
    for name in names:
        if has_own(network, name):
            raise TypeError(
                f"{caller}: expected a network with the {name} of hm.Network, got a {type(network).__name__} with "
                f"another, which {caller} does not call; {PASSES[name]}"
            )
