"""5. The network: a chain of layers that owns its parameters, and backpropagation through it.

The page of the lecture is `Sequential.forward` and `Sequential.backward` in `handmade.composites`, and
`Network.backpropagate` here. The rest checks input. `handmade._parameters` keeps theta and its gradient.
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
from ._validation import as_array, check_count, check_finite
from .composites import Sequential, SequentialCache
from .losses import Loss, LossFunctions, find_loss, loss_of_batch

if TYPE_CHECKING:
    from .summary import Summary

__all__ = ["Network"]

A_LAYER = "make it a hm.Layer, and build hm.Network([...]) with a layer of it"
PASSES = {  # that a subclass may have, and a caller may leave out, with what to do then
    "forward": A_LAYER,
    "backward": A_LAYER,
    "loss_and_gradient": "define backpropagate, which both call",
    "predict": A_LAYER,
}
TRAINED = ("forward", "backward", "loss_and_gradient")
BLOCK = 2**18  # numbers in the widest layer's output that a prediction computes at a time: they fit into the cache


class Network(ParameterizedChain):
    """A chain that owns its parameters: all of them in ``theta``, their gradient in ``gradient``.

    Both are one contiguous vector in the order of PyTorch's ``parameters()``: W0, b0, W1, b1, ... Each layer's W and
    b are views into theta, its dW and db views into gradient, so ``theta -= lr * gradient`` is the lecture's update
    (System 11) of the whole network.

    Any number of threads may run `predict`, and `forward` in evaluation mode, at once, also while one loads a
    state_dict: each prediction is of one set of weights. A backward pass writes the gradient, so a second one at the
    same time is refused.

    Parameters
    ----------
    layers : sequence of Layer
        From the input to the output. The network adopts them: their values are kept, and move into theta.
    dtype : dtype, optional
        float64 or float32; that of the first parameter unless given.

    Attributes
    ----------
    theta, gradient : ndarray, shape (P,)
        Parameters, and the gradient by the last backward pass. Assigning to one copies numbers into it.
    layers : tuple of Layer
        The layers.
    dtype : dtype
        That of all arrays.

    Raises
    ------
    TypeError
        If something in ``layers`` is no layer, or the dtype is not a float.
    ValueError
        If there are none, two neighbours do not fit, or a layer already belongs to a network.

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

        Parameters
        ----------
        X : array_like, shape (N, I)
            Inputs.
        y : array_like
            Targets, as the loss takes them.
        loss : str, callable, functools.partial or (callable, callable)
            See `handmade.losses.find_loss`.
        sample_weight : array_like, shape (N,), optional
            See `handmade.losses.loss_and_backward`.
        training : bool
            Whether dropout drops and batch normalization uses (and updates) the statistics of the batch.

        Returns
        -------
        loss : float
            The value.
        gradient : ndarray, shape (P,)
            ``network.gradient`` itself, overwritten by the next call.

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
        if not (self._statistics or self._drawing):
            return self.backpropagate(X, y, loss, sample_weight, training)
        statistics = [array.copy() for array in self._statistics]  # which the forward pass moves, as it does generators
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
        """Do `loss_and_gradient` for arrays known to be sound: training checks its data once, not at every step.

        Parameters and returns as there; X is in the network's dtype.
        """
        _, cache = Sequential.forward(self, X, training)
        value, dH, cache = self.loss_of(cache, y, loss, sample_weight)
        backward = Sequential.backward if self._is_checked else Network._first_backward
        self._gradient_writer.run(backward, self, dH, cache, False)
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
            The input of each layer (``cache.values``), and each layer's own cache. Its arrays, which may be X and H
            themselves, are not to be changed before `backward` has read them.
        """
        return super().forward(self.check_input(X), training)

    def backward(self, dH: npt.ArrayLike, cache: SequentialCache, need_dX: bool = True) -> Array | None:
        """Write into ``gradient`` the gradient for an upstream gradient dH and the cache of a forward pass.

        Parameters
        ----------
        dH : array_like, shape (N, O)
            The gradient of a scalar with respect to the output.
        cache : SequentialCache
            From `forward`.
        need_dX : bool
            Whether to go on down to the input.

        Returns
        -------
        ndarray, shape (N, I), or None
            dX, the gradient with respect to the input.

        Raises
        ------
        TypeError
            If ``cache`` is not of a forward pass.
        ValueError
            If dH has not the shape of the output, or is not finite.
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
        """Return the output of the network in evaluation mode.

        Parameters
        ----------
        X : array_like, shape (N, I)
            Inputs; a numpy.memmap is read a block at a time.
        batch_size : int, optional
            How many rows at a time, which bounds the memory in use; as many as fit into the processor's cache, unless
            given.

        Returns
        -------
        ndarray, shape (N, O)
            A new array. For classes: ``network.predict(X).argmax(axis=1)``.

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
        self.check_shape(X)  # here, as an error of a block would name the shape of the block
        return self._weights.read(self._predict_blocks, X, layers, size)

    def rows_are_independent(self, training: bool) -> bool:  # by name: another forward would leave it unknown
        return super().rows_are_independent(training)

    def _predict_blocks(self, X: Array, layers: int, size: int) -> Array:
        starts = range(0, len(X), size)
        return np.concatenate([self._predict_block(X[start : start + size], layers, start) for start in starts])

    def _predict_block(self, X: Array, layers: int, first_row: int) -> Array:
        H = X = self.check_input(X, first_row)
        for layer in self.layers[:layers]:
            H = layer.predict(H)
        return H.copy() if H is X else H  # dropout alone passes its input on

    def _rows_at_a_time(self) -> int:
        if not self.rows_are_independent(training=False):
            return sys.maxsize  # a row of a prediction may depend on all the others
        widest = max(self.in_features or 1, *(leaf.neuron_count for _, leaf in self.leaves()))
        return max(256, BLOCK // widest)

    # ---- the loss --------------------------------------------------------------------------------------------------

    def loss_of(
        self, cache: SequentialCache, y: npt.ArrayLike, loss: Loss, sample_weight: npt.ArrayLike | None = None
    ) -> tuple[Any, Array, SequentialCache]:
        """Return the loss of a forward pass, its gradient, and the cache of the layers still below that gradient."""
        functions, depth = self.head(loss)
        if depth < len(self.layers):
            cache = SequentialCache(cache.values[: depth + 1], cache.layers[:depth])
        H = cache.values[-1]
        functions.check_outputs(H.shape[-1])
        value, dH = loss_of_batch(functions, H, y, sample_weight)
        return value, dH, cache

    def head(self, loss: Loss) -> tuple[LossFunctions, int]:
        """Return the functions of a loss, and how many layers lie below it.

        All of them, unless the loss takes over the last activation, because computing both at once is more accurate: a
        sigmoid under `binary_cross_entropy` is computed from the logit.
        """
        functions, last = find_loss(loss), self.layers[-1]
        if functions.on_activation and getattr(last, "function", None) == functions.activation:
            return functions.on_activation, len(self.layers) - 1
        return functions, len(self.layers)

    # ---- checks of the input ---------------------------------------------------------------------------------------

    def check_input(self, X: npt.ArrayLike, first_row: int = 0) -> Array:
        """Return X in the network's dtype, or raise, naming the row that is wrong.

        Parameters
        ----------
        X : array_like, shape (N, I)
            Inputs.
        first_row : int
            Where X starts in the array that the caller knows.

        Raises
        ------
        ValueError
            If the shape does not fit, or a number is not finite.
        TypeError
            If X does not hold numbers.
        """
        X = as_array(X, "X")
        if X.ndim != 2 or X.shape[1] != self.in_features or len(X) == 0:
            self.check_shape(X)
        if X.dtype != self.dtype:
            if X.dtype.kind not in "fiub":
                raise TypeError(f"X: expected numbers, got dtype {X.dtype}; convert it with X.astype(float)")
            with np.errstate(over="ignore"):  # too large for float32: infinite, and refused
                X = X.astype(self.dtype)
        if self.dtype.kind == "f":
            check_finite(X, "X", first_row)
        return X

    def check_shape(self, X: Array | SparseRows) -> None:
        """Raise, naming the shape of all of X, unless X is (N, I) with at least one row."""
        if X.ndim == 2 and len(X) > 0 and self.in_features in (None, X.shape[1]):
            if self.in_features is None:
                self.width_after(X.shape[1])  # raises, where a layer further up takes another width
            return
        width = self.in_features or "features"
        hint = "; a single sample x is x[np.newaxis, :]" if X.shape == (self.in_features,) else ""
        hint = "; flatten it with X.reshape(len(X), -1)" if X.ndim > 2 else hint
        raise ValueError(f"X: expected shape (N, {width}) with N at least 1, got {X.shape}{hint}")

    # ---- for files -----------------------------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        return {"layers": self.layers}  # also of a subclass that is built from something else

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Network:
        network = cls.__new__(cls)
        Network.__init__(network, **config)
        return network

    # ---- for people ------------------------------------------------------------------------------------------------

    def summary(self, batch_size: int | None = None, optimizer: Optimizer | None = None) -> Summary:
        """Return a table of the layers: the width of each output, and how many parameters it has.

        Parameters
        ----------
        batch_size, optimizer : optional
            Adds multiply-adds and the memory of a training step; see `handmade.summary.summarize`.

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
    """Return the network, or raise TypeError where it is none."""
    if not isinstance(network, Network):
        raise TypeError(f"network: expected a Network, got {type(network).__name__}; wrap layers in Network([...])")
    return network


def check_finite_targets(y: npt.ArrayLike, first_row: int = 0) -> Array:
    """Return y as an array; raise where it holds NaN or infinity. The loss checks the rest."""
    y = as_array(y, "y")
    if y.dtype.kind == "f":
        check_finite(y, "y", first_row)
    return y


def has_own(network: Network, name: str) -> bool:
    """Return whether a network has another method of this name than hm.Network, of its class's or of itself."""
    return getattr(getattr(network, name), "__func__", None) is not getattr(Network, name)


def check_passes(network: Network, caller: str, names: Sequence[str] = TRAINED) -> None:
    """Raise where a network has a pass of its own that the caller would leave out."""
    for name in names:
        if has_own(network, name):
            raise TypeError(
                f"{caller}: expected a network with the {name} of hm.Network, got a {type(network).__name__} with "
                f"another, which {caller} does not call; {PASSES[name]}"
            )
