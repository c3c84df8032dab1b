"""Training of an estimator's network: the loop of scikit-learn's MLP, which can be continued exactly."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._steps import bind
from .._types import Array
from ..layers import Dense, Dropout
from ..losses import loss_and_backward
from ..network import Network

__all__ = ["Batches", "Trainer", "initialize"]

SMALLEST_LR = 1e-6  # below which learning_rate="adaptive" stops


def initialize(network: Network, activation: Any, random: np.random.RandomState) -> None:
    """Draw the weights of Dense layers as scikit-learn does: the same numbers from the same generator."""
    dense = [leaf for _, leaf in network.leaves() if isinstance(leaf, Dense)]
    factor = 2.0 if activation in ("logistic", "sigmoid") else 6.0
    for layer in dense:
        O, I = layer.W.shape
        bound = math.sqrt(factor / (I + O))
        layer.W[...] = random.uniform(-bound, bound, (I, O)).T
        layer.b[...] = random.uniform(-bound, bound, O)
    masks: list[Any] = [leaf for _, leaf in network.leaves() if isinstance(leaf, Dropout)]
    if masks:
        generator = np.random.default_rng(random.randint(2**31))
        for leaf in masks:
            leaf.rng = generator


@dataclass
class Batches:
    """A set of samples, targets and weights; X may be sparse, and becomes dense a batch at a time."""

    X: Any
    Y: Array
    weight: Array | None
    dtype: np.dtype[Any]

    def __len__(self) -> int:
        return int(self.X.shape[0])

    def take(self, rows: Array) -> Batches:
        """Return some of the samples."""
        return Batches(self.X[rows], self.Y[rows], None if self.weight is None else self.weight[rows], self.dtype)

    def dense(self) -> Array:
        """Return X as an array of the network's dtype."""
        X = self.X.toarray() if hasattr(self.X, "toarray") else self.X
        return np.asarray(X, self.dtype)

    def in_blocks(self, size: int) -> Iterator[Batches]:
        """Yield the samples in order, ``size`` at a time."""
        for start in range(0, len(self), size):
            yield self.take(np.arange(start, min(start + size, len(self))))


@dataclass
class Trainer:
    """The state of a training: what `fit` with ``warm_start`` and `partial_fit` continue.

    Attributes
    ----------
    network, optimizer, loss, alpha
        The parts of the training; ``alpha`` is the weight of the squared norm of the weight matrices.
    random : RandomState
        Draws the orders of the samples.
    compiled, factor : CompiledStep or None, int
        Computes the gradients in place of the NumPy code, of a loss that times this factor is ``loss``.
    curve, validation_curve, validation_scores : list of float
        The training loss, the validation loss and the validation score after each epoch.
    order : ndarray or None
        The samples in the order of the last epoch.
    best, unimproved : float, int
        The lowest value of what is monitored, and for how many epochs it has not fallen.
    last : dict or None
        The weights after the last epoch, where the network went back to the best ones.
    split, held_out : tuple of ndarray, Batches, or None
        The rows to train on and to validate on; what `partial_fit` has held out so far.
    offered : int
        The samples that `partial_fit` got under early stopping.
    stopped : bool
        Whether early stopping has ended `partial_fit`.
    begun : int
        The epochs before this call of `fit` or `partial_fit`.
    completed : tuple or None
        The weights and the state after the last epoch of this call, to go back to from an epoch that is interrupted.
    """

    network: Network
    optimizer: Any
    loss: Any
    alpha: float
    random: np.random.RandomState
    compiled: Any = None
    factor: int = 1
    curve: list[float] = field(default_factory=list)
    validation_curve: list[float] = field(default_factory=list)
    validation_scores: list[float] = field(default_factory=list)
    order: Array | None = None
    split: tuple[Array, Array] | None = None
    held_out: Batches | None = None
    best: float = math.inf
    best_state: dict[str, Array] | None = None
    unimproved: int = 0
    last: dict[str, Array] | None = None
    seen: int = 0
    offered: int = 0
    stopped: bool = False
    begun: int = 0
    completed: tuple[dict[str, Array], dict[str, Any], list[int]] | None = None

    def __post_init__(self) -> None:
        bind(self.optimizer, self.network)
        self.evaluates: bool = getattr(self.optimizer, "needs_evaluate", False)  # the loss, several times a step
        is_weight = np.zeros(self.network.theta.shape)
        for block in self.network.blocks(is_weight).values():
            block[...] = block.ndim == 2
        self.penalized = is_weight.astype(bool)
        self.needs_two = any(leaf.state for _, leaf in self.network.leaves())  # samples for the statistics of a batch

    # ---- one epoch -------------------------------------------------------------------------------------------------

    def epoch(self, data: Batches, batch_size: int, shuffle: bool) -> float:
        """Train on all batches once; return the mean loss."""
        rows = self._order(len(data), shuffle)
        total = 0.0
        starts = list(range(0, len(rows), batch_size))
        if self.needs_two and len(rows) - starts[-1] == 1 < len(starts):
            starts.pop()  # the last sample joins the batch before
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is an error all the same
            for start, stop in zip(starts, [*starts[1:], len(rows)], strict=True):
                batch = data.take(rows[start:stop])
                total += self._step(batch) * len(batch)
        self.seen += len(data)
        self.curve.append(total / len(data))
        return self.curve[-1]

    def is_finite(self) -> bool:
        """Return whether the last epoch has left a loss and weights that are numbers."""
        return math.isfinite(self.curve[-1]) and bool(np.isfinite(self.network.theta).all())

    def _order(self, count: int, shuffle: bool) -> Array:
        if self.order is None or len(self.order) != count:
            self.order = np.arange(count)
        if shuffle:
            rows = np.arange(count)
            self.random.shuffle(rows)  # as sklearn.utils.shuffle draws it
            self.order = self.order[rows]
        return self.order

    def _step(self, batch: Batches) -> float:
        """Return the loss of a batch, and take a step."""
        if self.evaluates:
            gradient = self.network.gradient
            return float(self.optimizer.step(self.network.theta, gradient, lambda: self.value_and_gradient(batch)[0]))
        if self.compiled and self.factor == 1 and not self.alpha and batch.weight is None:
            return float(self.compiled(batch.dense(), batch.Y))
        value, gradient = self.value_and_gradient(batch)
        if batch.weight is None or batch.weight.any():
            self.optimizer.step(self.network.theta, gradient)
        return value

    def value_and_gradient(self, batch: Batches) -> tuple[float, Array]:
        """Return sum_i w_i l_i / sum_i w_i + alpha / 2 |W|^2 / sum_i w_i and its gradient."""
        count, weight = float(len(batch)), None
        if batch.weight is not None:
            count = float(batch.weight.sum())
            if count == 0:
                return 0.0, self.network.gradient
            weight = batch.weight * (len(batch) / count)
        if self.compiled:
            value, gradient = self.compiled.gradient(batch.dense(), batch.Y, weight)
            if self.factor != 1:
                value *= self.factor
                gradient *= self.factor
        else:
            value, gradient = self.network.backpropagate(batch.dense(), batch.Y, self.loss, weight)
        if self.alpha:
            W = self.network.theta[self.penalized]
            value += 0.5 * self.alpha * float(W @ W) / count
            gradient[self.penalized] += (self.alpha / count) * W
        return value, gradient

    # ---- interruption ----------------------------------------------------------------------------------------------

    @property
    def n_iter(self) -> int:
        """Return the number of epochs of this call."""
        return len(self.curve) - self.begun

    @property
    def _curves(self) -> tuple[list[float], ...]:
        return self.curve, self.validation_curve, self.validation_scores

    def complete(self) -> None:
        """Keep the weights and the state after an epoch."""
        state = {name: vars(self)[name] for name in ("order", "best", "best_state", "unimproved", "seen")}
        self.completed = self.network.state_dict(), state, [len(curve) for curve in self._curves]

    def go_back(self) -> None:
        """Go back to the end of the last epoch that was completed."""
        if self.completed is not None:
            weights, state, lengths = self.completed
            self.network.load_state_dict(weights)
            vars(self).update(state)
            for curve, length in zip(self._curves, lengths, strict=True):
                del curve[length:]

    # ---- stopping --------------------------------------------------------------------------------------------------

    def validate(self, held_out: Batches, score: Callable[[Array, Batches], float]) -> None:
        """Add the loss and the score on held-out data to the curves."""
        outputs = np.concatenate([self.network.predict(block.dense()) for block in held_out.in_blocks(1024)])
        weight = held_out.weight
        weight = None if weight is None or not weight.any() else weight / weight.mean()
        self.validation_curve.append(float(loss_and_backward(self.loss, outputs, held_out.Y, weight)[0]))
        self.validation_scores.append(score(outputs, held_out))

    def watch(self, value: float, tol: float, keep_best: bool) -> None:
        """Count the epochs in which the value has not fallen by ``tol`` below the lowest."""
        self.unimproved = self.unimproved + 1 if value > self.best - tol else 0
        if value < self.best:
            self.best = value
            if keep_best:
                self.best_state = self.network.state_dict()

    def lower_learning_rate(self, adaptive: bool) -> bool:
        """Return whether to go on with a fifth of the learning rate, once nothing improves."""
        if not adaptive or self.optimizer.lr <= SMALLEST_LR:
            return False
        self.optimizer.lr /= 5
        self.unimproved = 0
        return True

    def restore_best(self) -> None:
        """Give the network its best weights, and keep the last ones to go on from."""
        if self.best_state is not None:
            self.last = self.network.state_dict()
            self.network.load_state_dict(self.best_state)

    def go_on(self) -> None:
        """Begin a call of `fit` or `partial_fit`: give the network the weights of the last epoch."""
        self.begun = len(self.curve)
        if self.last is not None:
            self.network.load_state_dict(self.last)
            self.last = None

    def copy(self) -> Trainer:
        """Return an independent copy."""
        return copy.deepcopy(self)
