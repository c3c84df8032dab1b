"""The compiled step: checks, state and threads around the kernels."""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .. import optimizers
from .._steps import bind
from ..losses import Loss
from ..network import Network
from .kernels import CODE, kernels
from .passes import CROSS_ENTROPY
from .program import Translator, Unsupported

Array = npt.NDArray[Any]


class Rule(NamedTuple):
    """A compiled update: its code, the names of the state arrays, and the numbers of a step."""

    code: int
    state: tuple[str, ...]
    numbers: Callable[[Any], tuple[float, ...]]


def _sign(o: Any) -> float:
    return -1.0 if o.maximize else 1.0


def _sgd(o: optimizers.SGD) -> tuple[float, ...]:
    keep = 1.0 if o.momentum_buffer is None else 1.0 - o.dampening
    return o.lr, o.momentum, keep, o.weight_decay, o.nesterov, _sign(o), 0.0, 0.0


def _adagrad(o: optimizers.Adagrad) -> tuple[float, ...]:
    return o.lr / (1 + o.t * o.lr_decay), o.eps, o.weight_decay, _sign(o), 0.0, 0.0, 0.0, 0.0


def _rmsprop(o: optimizers.RMSprop) -> tuple[float, ...]:
    return o.lr, o.alpha, 1 - o.alpha, o.eps, o.weight_decay, o.momentum, _sign(o), 0.0


def _adam(o: optimizers.Adam) -> tuple[float, ...]:
    (beta1, beta2), t = o.betas, o.t + 1
    root = math.sqrt(1 - beta2**t)
    outside = isinstance(o, optimizers.AdamW)
    decay, shrink = (0.0, 1 - o.lr * o.weight_decay) if outside else (o.weight_decay, 1.0)
    # To maximize, (1 - beta1) (-g + decay theta) is computed as -(1 - beta1) (g - decay theta).
    rest1, decay = _sign(o) * (1 - beta1), _sign(o) * decay
    return o.lr * root / (1 - beta1**t), beta1, rest1, beta2, 1 - beta2, o.eps * root, decay, shrink


MOMENTS = "exp_avg", "exp_avg_sq", "max_exp_avg_sq"
RULES: dict[type, Rule] = {
    optimizers.SGD: Rule(1, ("momentum_buffer",), _sgd),
    optimizers.Momentum1986: Rule(2, ("velocity",), lambda o: (o.lr, o.momentum, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)),
    optimizers.Adagrad: Rule(3, ("sum",), _adagrad),
    optimizers.RMSprop: Rule(4, ("square_avg", "grad_avg", "momentum_buffer"), _rmsprop),
    optimizers.Adam: Rule(5, MOMENTS, _adam),
    optimizers.AdamW: Rule(5, MOMENTS, _adam),
}
NO_UPDATE = Rule(0, (), lambda o: (0.0,) * 8)
CACHE = 2**17  # numbers of the work array that a block of a prediction fills


class CompiledStep:
    """A compiled training step of one network with one loss and one optimizer, see `compile`.

    Attributes
    ----------
    network : Network
    loss : see `handmade.losses.find_loss`
    optimizer : optimizer or None
        As given to `compile`.
    """

    def __init__(self, network: Network, loss: Loss, optimizer: Any) -> None:
        self.network, self.loss, self.optimizer = network, loss, optimizer
        bind(optimizer, network)
        if getattr(optimizer, "needs_evaluate", False):
            raise Unsupported(f"compile: expected an optimizer of one gradient per step, got {optimizer!r}")
        dtype, (functions, depth) = network.dtype, network.head(loss)
        prediction = Translator(network, network.layers, training=False)
        training = Translator(network, network.layers[:depth], training=True)
        training.loss(functions, dtype)
        self._train, self._predict = kernels(dtype)
        self._rule = RULES.get(type(optimizer), NO_UPDATE)
        self._state_of = (
            operator.attrgetter(*(self._rule.state * 3)[:3]) if self._rule.state else lambda optimizer: None
        )
        self._state: tuple[Array | None, ...] = (None, None, None)
        self._stepped = False
        self._nothing = np.empty(0, dtype)
        self._no_labels, self._no_targets = np.empty(0, np.int64), np.empty((0, 0), dtype)
        self._of_classes = training.rows[-1][CODE] == CROSS_ENTROPY
        self._moments, self._dropouts = training.statistics, training.masks
        self._numbers, self._columns = np.array(training.numbers, dtype), training.columns
        self._program, self._theta, self._capacity = np.array(training.rows), network.theta, 0
        self._fixed: tuple[Array, ...] = ()
        self._running, self._running_numbers = prediction.statistics, np.array(prediction.numbers, dtype)
        self._forward = np.array(prediction.rows)
        self._rows = max(16, CACHE // prediction.columns)
        self._work_size, self._spare = self._rows * prediction.columns, []

    def __call__(self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> float:
        """Do one training step: forward, loss, backward, update.

        Parameters
        ----------
        X : array_like, shape (N, I)
            Inputs.
        y : array_like
            Targets, as the loss takes them.
        sample_weight : array_like, shape (N,), optional
            See `handmade.losses.loss_and_backward`.

        Returns
        -------
        float
            The loss before the update. Where it is not finite there is no update.

        Raises
        ------
        ValueError, TypeError
            As `Network.loss_and_gradient` and the optimizer's ``step`` do; nothing has changed then.
        RuntimeError
            If another thread is in a backward pass of this network.
        """
        optimizer, rule = self.optimizer, self._rule
        if rule is NO_UPDATE:  # an optimizer of another kind does its own step
            value = self._run(X, y, sample_weight, rule, None)
            if math.isfinite(value):
                optimizer.step(self.network.theta, self.network.gradient)
            return value
        state = self._state_of(optimizer)
        completed = not self._is_known(state)
        if completed:
            state = self._complete_state()
        value = self._run(X, y, sample_weight, rule, state)
        if math.isfinite(value):
            optimizer.t += 1
            if completed:
                for name, array in zip(rule.state, state, strict=False):
                    setattr(optimizer, name, array)
                self._state, self._stepped = state, True
        return value

    def gradient(
        self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None
    ) -> tuple[float, Array]:
        """Return the loss and ``network.gradient``, as `Network.loss_and_gradient` does; no update."""
        return self._run(X, y, sample_weight, NO_UPDATE, None), self.network.gradient

    def predict(self, X: npt.ArrayLike) -> Array:
        """Return the output of the network in evaluation mode, as `Network.predict` does; any number of threads may."""
        network, version = self.network, self.network._weights.version
        for layer, at in self._running:
            O = len(layer.running_mean)
            self._running_numbers[at : at + O] = layer.running_mean
            self._running_numbers[at + O : at + 2 * O] = layer.running_var
        work = self._spare.pop() if self._spare else np.empty(self._work_size, network.dtype)
        fixed = self._forward, self._running_numbers, self._theta, work, self._rows
        try:
            H = self._predict(X, *fixed)
        except TypeError:  # not the array that the kernel is compiled for
            H = self._predict(np.require(network.check_input(X), None, "CW"), *fixed)
        self._spare.append(work)
        if not H.size or version % 2 or network._weights.version != version:
            return network.predict(X)  # raises and says why; or new weights have been loaded meanwhile
        return H

    def _is_known(self, state: tuple[Array | None, ...]) -> bool:
        """Return whether these are the arrays of the last step, and all that the optimizer's options ask for."""
        a, b, c = self._state
        if state[0] is not a or state[1] is not b or state[2] is not c or not self._stepped:
            return False
        if a is None or b is None or c is None:
            for name, start in self.optimizer._initial_state().items():
                if start is not None and getattr(self.optimizer, name) is None:
                    return False
        return True

    def _complete_state(self) -> tuple[Array | None, ...]:
        """Return the state arrays of the optimizer, new where it has none yet; it gets those after the step."""
        self.optimizer.check(self.network.theta, self.network.gradient)
        trial = copy.copy(self.optimizer)
        trial.allocate(self.network.theta)
        return self._state_of(trial)

    def _run(self, X: Any, y: Any, sample_weight: Any, rule: Rule, state: Any) -> float:
        """Return the loss of a batch, after the passes and the update by a rule; raise where the batch is not sound."""
        drawn = [layer.rng.bit_generator.state for layer, _ in self._dropouts]
        try:
            with self.network._gradient_writer:
                value = self._compute(X, y, sample_weight, rule, state)
            if not math.isfinite(value):  # the NumPy code says what is wrong, if anything but the loss is
                with np.errstate(all="ignore"):
                    copy.deepcopy(self.network).loss_and_gradient(X, y, self.loss, sample_weight=sample_weight)
        except Exception:
            for (layer, _), before in zip(self._dropouts, drawn, strict=True):
                layer.rng.bit_generator.state = before
            raise
        return value

    def _compute(self, X: Any, y: Any, sample_weight: Any, rule: Rule, state: Any) -> float:
        y, N = np.asarray(y), len(X)
        labels, Y = (y, self._no_targets) if self._of_classes and y.ndim == 1 else (self._no_labels, y)
        if labels.dtype.kind == "i":
            labels = labels.astype(np.int64, copy=False)
        w = self._nothing if sample_weight is None else sample_weight
        s = [self._nothing if array is None else array for array in state or (None,) * 3]
        if not self._fixed or self._capacity < N:
            self._allocate(N)
        self._draw_masks(N)
        fixed = *self._fixed, *s, rule.code, *rule.numbers(self.optimizer)
        try:
            value = self._train(X, labels, Y, w, *fixed)
        except TypeError:  # not the arrays that the kernel is compiled for
            value = self._train(*self._converted(X, labels, Y, w), *fixed)
        if math.isfinite(value):
            self._move_statistics(N)
        return value

    def _converted(self, X: Any, labels: Array, Y: Array, w: Any) -> tuple[Array, ...]:
        """Return the arrays with the dtypes and memory layouts that the kernel takes; NumPy's code judges the rest."""
        dtype, least = self.network.dtype, np.iinfo(np.int64).min
        X = np.require(self.network.check_input(X), None, "CW")
        if labels.dtype.kind in "iu":
            labels = np.where(labels > np.iinfo(np.int64).max, least, labels).astype(np.int64)
        else:
            labels = np.full(len(X), least)
        Y = np.require(Y, dtype, "CW") if Y.ndim == 2 and Y.dtype.kind in "iuf" else np.full((1, 1), np.nan, dtype)
        w = np.asarray(w)
        return (
            X,
            labels,
            Y,
            np.require(w, dtype, "CW") if w.ndim == 1 and w.dtype.kind in "iuf" else np.full(1, np.nan, dtype),
        )

    def _allocate(self, N: int) -> None:
        """Make the arrays that a pass over N samples works in; a smaller batch uses a part of them."""
        network, self._capacity = self.network, N
        self._mask = np.empty(N * sum(width for _, width in self._dropouts), np.float32)
        work = np.empty(N * self._columns, network.dtype)
        self._fixed = self._program, self._numbers, network.theta, network.gradient, work, self._mask

    def _draw_masks(self, N: int) -> None:
        """Draw the random numbers of dropout as the layers do in the NumPy code: the same seed, the same masks."""
        start = 0
        for layer, width in self._dropouts:
            layer.rng.random(dtype=np.float32, out=self._mask[start : start + width * N])
            start += width * N

    def _move_statistics(self, N: int) -> None:
        for layer, at in self._moments:
            O = len(layer.running_mean)
            mean, variance = self._numbers[at : at + O], self._numbers[at + O : at + 2 * O]
            layer.running_mean += layer.momentum * (mean - layer.running_mean)
            layer.running_var += layer.momentum * (variance * (N / (N - 1)) - layer.running_var)
            layer.num_batches_tracked += 1
