"""The compiled step, which checks arguments, manages the optimizer's state and the threads, and calls the kernels."""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
import operator
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .._steps import bind
from .._validation import as_array, check_count, check_methods, patched_method
from .._vectors import empty
from ..losses import Loss
from ..network import Network, has_own
from . import blas, kernels, operations, passes
from ._jit import entry
from .passes import address
from .program import Translator, Unsupported
from .updates import RULES, Rule

Array = npt.NDArray[Any]


REPLACED = "forward", "backward", "backpropagate", "loss_and_gradient", "loss_of", "head"  # what the kernels replace
ROWS = 1024  # samples per block of a prediction; smaller products would not keep the threads of BLAS busy
LAYOUT: list[Literal["C", "A", "W"]] = ["C", "A", "W"]  # of the arrays that the kernels are compiled for


def _connect(program: Array, numbers: Array, work: Array, network: Network) -> None:
    """Write the addresses of these arrays into the first row of a program."""
    m = program[0]
    m[passes.THETA], m[passes.GRADIENT] = network.theta.ctypes.data, network.gradient.ctypes.data
    m[passes.PARAMETERS] = network.theta.size
    m[passes.NUMBERS], m[passes.NUMBER_COUNT] = numbers.ctypes.data, numbers.size
    m[passes.WORK] = work.ctypes.data
    for slot, name in (passes.GEMM, "gemm"), (passes.AXPY, "axpy"), (passes.SCAL, "scal"):
        m[slot] = blas.function(name, network.dtype)


def _check_replaced(network: Network, optimizer: Any) -> None:
    """Raise Unsupported if the network overrides a replaced method, or the optimizer needs to evaluate the loss."""
    check_methods(network, "compile", Unsupported)
    if own := next((name for name in REPLACED if has_own(network, name)), ""):
        raise Unsupported(
            f"compile: expected the {own} of hm.Network, got that of {type(network).__name__}; use the NumPy code"
        )
    if getattr(optimizer, "needs_evaluate", False):
        raise Unsupported(
            f"compile: expected an optimizer of one gradient per step, got {optimizer!r}; use the NumPy code"
        )


class CompiledStep:
    """A compiled training step of one network with one loss and one optimizer, see `compile`.

    Attributes
    ----------
    network : Network
    loss : see `handmade.losses.find_loss`
    optimizer : optimizer or None
        The one given to `compile`. It cannot be exchanged: for another optimizer, compile again.
    """

    def __init__(self, network: Network, loss: Loss, optimizer: Any) -> None:
        self.network, self._optimizer = network, optimizer
        self.loss: Loss = loss
        _check_replaced(network, optimizer)
        bind(optimizer, network)
        self._dtype, (functions, depth) = network.dtype, network.head(loss)
        self._signatures = kernels.signatures(self._dtype)
        signature = self._signatures["operation"]
        Translator(network, network.layers, signature, training=False)  # raises if a layer has no compiled form
        training = Translator(network, network.layers[:depth], signature, training=True)
        training.loss(functions, self._dtype)
        self._rule = None if patched_method(optimizer) else RULES.get(type(optimizer))
        self._nothing, self._theta = np.empty(0, self._dtype), network._theta
        self._of_classes = training.of_classes
        self._train, self._of_y = self._kernel(kernels.train, self._of_classes), self._dtype
        self._moments, self._dropouts, self._columns = training.statistics, training.masks, training.columns
        self._numbers, self._program = np.array(training.numbers), np.array(training.rows)
        self._no_update = address(operations.nothing, signature)
        if self._rule:
            self._counts, self._numbers_of = self._rule.counts, self._rule.numbers
            self._update = address(self._rule.update, signature)
            self._state_of = operator.attrgetter(*(self._rule.state * 3)[:3])
            options = [field.name for field in dataclasses.fields(optimizer)]
            self._options_of = operator.attrgetter(*self._rule.state, *options)
        self._state: tuple[Array | None, ...] = (self._nothing,) * 3  # an array that no optimizer has
        self._last: tuple[Any, ...] | None = None  # the optimizer's arrays and options in the last step
        self._capacity, self._no_bias = -1, (training.no_bias, training.no_gradient)
        self._spare: list[_Predictor] = []
        self._writer, self._own_predict = network._gradient_writer, has_own(network, "predict")
        self._described = repr(network)

    @property
    def optimizer(self) -> Any:
        return self._optimizer

    def __call__(self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> float:
        """Do one training step: forward, loss, backward, update.

        Parameters
        ----------
        X : array_like, shape (N, I)
            Inputs.
        y : array_like
            Class indices, shape (N,), or targets, shape (N, K), as the loss requires.
        sample_weight : array_like, shape (N,), optional
            See `handmade.losses.loss_and_backward`.

        Returns
        -------
        float
            The loss before the update. If it is not finite, there is no update.

        Raises
        ------
        ValueError, TypeError
            In the same cases as `Network.loss_and_gradient` and the optimizer's ``step``; nothing has changed then.
        RuntimeError
            If another thread is in a backward pass of this network.
        """
        last = self._last
        if last is not None and sample_weight is None:
            optimizer = self._optimizer
            # By identity, because 0.1 == np.float32(0.1) is True, although the numbers differ.
            same = all(map(operator.is_, self._options_of(optimizer), last)) and self.network._theta is self._theta
            try:
                inputs: Any = X
                targets: Any = y
                # Once Numba has seen an unaligned array, it takes one of the other byte order for such an array.
                is_native = inputs.dtype == self._dtype and targets.dtype == self._of_y
                if same and is_native and len(inputs) <= self._capacity:
                    if self._counts:
                        numbers = self._numbers_of(optimizer)
                        self._numbers[: len(numbers)] = numbers
                    value: float = self._writer.run(self._train, X, y, self._program, self._update)
                    if math.isfinite(value):
                        optimizer.t += 1
                        return value
            except (TypeError, AttributeError):
                pass  # the kernel is not compiled for such an X or y
        return self._step(X, y, sample_weight)

    def _step(self, X: Any, y: Any, sample_weight: Any) -> float:
        """Do a step that cannot repeat the last one: the first, or one with other arrays, options or sample weights."""
        optimizer, rule, self._last = self._optimizer, self._rule, None
        if rule is None:  # not compiled: the optimizer does its own step
            value = self._run(X, y, sample_weight, self._no_update)
            if math.isfinite(value):
                optimizer.step(self.network.theta, self.network.gradient)
            return value
        if not self._is_ready(rule):
            return self._first_step(X, y, sample_weight, rule)
        value = self._run(X, y, sample_weight, self._update)
        if math.isfinite(value):
            optimizer.t += 1
            self._last = None if self._dropouts or self._moments else self._options_of(optimizer)
        return value

    def gradient(
        self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None
    ) -> tuple[float, Array]:
        """Return the loss and ``network.gradient``, as `Network.loss_and_gradient` does; no update."""
        return self._run(X, y, sample_weight, self._no_update), self.network.gradient

    def batches(
        self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None, order: Array, size: int
    ) -> list[float]:
        """Do one training step for every ``size`` rows, in the given order, without a return to Python in between.

        Returns
        -------
        list of float
            The losses. The list ends before a loss that is not finite. It is empty if every step must be a call: with
            dropout or batch normalization, with an optimizer that is not compiled, or with an X of another
            dtype or layout, or read-only.

        Raises
        ------
        IndexError, ValueError, TypeError, RuntimeError
            If a row of ``order`` does not exist; otherwise in the same cases as a call.
        """
        y, w = as_array(y, "y"), None if sample_weight is None else as_array(sample_weight, "sample_weight")
        if not (type(X) is np.ndarray and X.dtype is self._dtype and X.ndim == 2 and X.flags.carray):
            return []
        if self._rule is None or self._dropouts or self._moments:
            return []
        count = min(len(X), len(y), len(X if w is None else w))
        if order.min() < 0 or order.max() >= count:
            raise IndexError(f"order: expected rows from 0 to {count - 1}, got {order.min()} to {order.max()}")
        several = functools.partial(self._writer.run, self._several, self._rule, X, y, w, size)
        losses: list[float] = several(order) if self._is_ready(self._rule) else []
        if not losses:  # a call allocates the optimizer's arrays, or raises
            first, order = order[:size], order[size:]
            loss = self(X.take(first, 0), y.take(first, 0), None if w is None else w.take(first))
            if math.isfinite(loss):
                losses = [loss, *(several(order) if len(order) else [])]
        return losses

    def refresh(self) -> None:
        """Compile again if an option of a layer has changed, as a callback may do between epochs."""
        if repr(self.network) != self._described:
            vars(self).update(vars(type(self)(self.network, self.loss, self._optimizer)))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.network, self.loss, self._optimizer)  # addresses hold in one process only

    # ---- the optimizer's state -------------------------------------------------------------------------------------

    def _is_ready(self, rule: Rule) -> bool:
        """Write this step's hyperparameters into the program; return whether it has the optimizer's arrays already."""
        optimizer = self._optimizer
        optimizer.check_options()
        numbers = rule.numbers(optimizer)
        self._numbers[: len(numbers)] = numbers
        lacks = any(start is not None and getattr(optimizer, name) is None for name, start in optimizer._start.items())
        return not lacks and all(map(operator.is_, self._state_of(optimizer), self._state))

    def _first_step(self, X: Any, y: Any, sample_weight: Any, rule: Rule) -> float:
        """Do a step with new state arrays, which the optimizer gets only after a step with a finite loss."""
        self._optimizer.check(self.network.theta, self.network.gradient)
        trial = copy.copy(self._optimizer)
        trial.allocate(self.network.theta)
        state = [getattr(trial, name) for name in rule.state]
        for slot in range(3):
            array = state[slot] if slot < len(state) else None
            self._program[0, passes.STATE1 + slot] = 0 if array is None else array.ctypes.data
        value = self._run(X, y, sample_weight, self._update)
        self._state = (self._nothing,) * 3
        if math.isfinite(value):
            self._optimizer.t += 1
            for name, array in zip(rule.state, state, strict=True):
                setattr(self._optimizer, name, array)
            self._state = self._state_of(self._optimizer)
        return value

    def _kernel(self, kernel: Callable[..., Any], with_labels: bool) -> Callable[..., Any]:
        return entry(kernel, self._signatures[f"{kernel.__name__} with {'labels' if with_labels else 'targets'}"])

    # ---- a training step -------------------------------------------------------------------------------------------

    def _run(self, X: Any, y: Any, sample_weight: Any, update: int) -> float:
        """Do the passes and an update for a batch, and return its loss; raise if the batch is invalid."""
        if not (type(X) is np.ndarray and X.dtype is self._dtype and X.ndim == 2):
            X = self.network.check_input(X)
        y = as_array(y, "y")
        if sample_weight is not None:
            sample_weight = as_array(sample_weight, "sample_weight")
        return self._writer.run(self._pass, X, y, sample_weight, update)

    def _pass(self, X: Array, y: Array, sample_weight: Array | None, update: int) -> float:
        """Run the kernel on a batch, and return the loss; after an error, restore dropout's random generators."""
        drawn, N = (), len(X)
        try:
            if self._capacity < N or self.network._theta is not self._theta:
                self._allocate(N)
            if self._dropouts:
                drawn = [layer.rng.bit_generator.state for layer, _ in self._dropouts]
                self._draw_masks(N)
            weights = () if sample_weight is None else (sample_weight,)
            kernel = kernels.train if sample_weight is None else kernels.train_weighted
            try:
                train = self._kernel(kernel, self._of_classes and y.ndim == 1)
                value, y_ = train(X, y, *weights, self._program, update), y
            except TypeError:  # the kernel is not compiled for such arrays
                X_ = np.require(self.network.check_input(X), None, LAYOUT)
                y_, *weights_ = self._converted(y, *weights)
                train = self._kernel(kernel, y_.ndim == 1)
                value = train(X_, y_, *weights_, self._program, update)
            if sample_weight is None:
                self._train, self._of_y = train, y_.dtype
            if not math.isfinite(value):  # the NumPy code raises if the batch is invalid
                trial = copy.deepcopy(self.network)
                with np.errstate(all="ignore"):
                    known, _ = trial.loss_and_gradient(X, y, self.loss, sample_weight=sample_weight)
                value = value if math.isfinite(known) else known  # infinite if a target overflows in float32
            elif self._moments:
                self._move_statistics(N)
        except Exception:
            for (layer, _), before in zip(self._dropouts, drawn, strict=False):
                layer.rng.bit_generator.state = before
            raise
        return float(value)

    def _several(self, rule: Rule, X: Array, y: Array, w: Array | None, size: int, order: Array) -> list[float]:
        """Run the kernel on one batch after another; return the losses before the first that is not finite."""
        if self._capacity < size or self.network._theta is not self._theta:
            self._allocate(size)
        losses, trial = np.full(-(-len(order) // size), np.nan), copy.copy(self._optimizer)
        numbers = np.empty((len(losses), len(rule.numbers(trial))))
        for k in range(len(losses) if rule.counts else 1):
            numbers[k:] = rule.numbers(trial)
            trial.t += 1
        self._last = None  # the kernel overwrites the hyperparameters
        y, w = self._converted(y.take(order, 0), self._nothing if w is None else w.take(order))
        train = self._kernel(kernels.train_batches, with_labels=y.ndim == 1)
        try:
            train(X, y, w, self._program, self._update, order, size, numbers, losses)
        finally:  # even on Ctrl-C, count the steps done
            done = int(np.isfinite(losses).sum())
            self._optimizer.t += done
        return [*map(float, losses[:done])]

    def _converted(self, y: Any, *weights: Any) -> list[Array]:
        """Return the arrays in the dtypes and layouts that the kernels take; an invalid one as one that they refuse."""
        y, given = np.asarray(y), map(np.asarray, weights)
        sound_weights = [w if w.ndim == 1 and w.dtype.kind in "iuf" else np.full(1, np.nan) for w in given]
        if self._of_classes and not (y.ndim == 2 and y.dtype.kind == "f"):
            largest = np.iinfo(np.int64).max
            sound = y.ndim == 1 and y.dtype.kind in "iu"
            y = np.where(y > largest, -largest - 1, y).astype(np.int64) if sound else np.empty(0, np.int64)
        elif not (y.ndim == 2 and y.dtype.kind in "iuf"):
            y = np.full((1, 1), np.nan)
        dtypes = [np.int64 if y.ndim == 1 else self._dtype, self._dtype]
        with np.errstate(over="ignore"):  # too large for float32: infinite, and refused
            return [np.require(array, dtype, LAYOUT) for array, dtype in zip([y, *sound_weights], dtypes, strict=False)]

    def _allocate(self, N: int) -> None:
        """Allocate the arrays of a pass over N samples; smaller batches use a part of them."""
        if self.network._theta is not self._theta:
            raise RuntimeError("theta: expected the network's vector at compile, got another one; compile again")
        self._mask = np.empty(N * sum(width for _, width in self._dropouts), np.float32)
        self._work = empty(N * self._columns, self._dtype, 5)
        _connect(self._program, self._numbers, self._work, self.network)
        self._program[0, passes.MASKS] = self._mask.ctypes.data
        self._capacity = N

    def _draw_masks(self, N: int) -> None:
        """Draw dropout's random numbers as the NumPy code does, so that the same seed gives the same masks."""
        start = 0
        for layer, width in self._dropouts:
            layer.rng.random(dtype=np.float32, out=self._mask[start : start + width * N])
            start += width * N

    def _move_statistics(self, N: int) -> None:
        """Update the running averages of batch normalization with the mean and the unbiased variance of N samples."""
        for layer, at in self._moments:
            O = len(layer.running_mean)
            mean, variance = self._numbers[at : at + O], self._numbers[at + O : at + 2 * O]
            layer._average(mean, variance * (N / (N - 1)))

    # ---- a prediction ----------------------------------------------------------------------------------------------

    def predict(self, X: npt.ArrayLike, *, batch_size: int | None = None) -> Array:
        """Return the output of the network in evaluation mode, as `Network.predict` does; it is thread-safe."""
        if self._own_predict:
            return self.network.predict(X, batch_size=batch_size)
        network, version = self.network, self.network._weights.version
        rows = ROWS if batch_size is None else min(ROWS, check_count(batch_size, "batch_size"))
        predictor = self._spare.pop() if self._spare else _Predictor(self)
        predictor.read_statistics()
        if not (type(X) is np.ndarray and X.dtype is self._dtype and X.ndim == 2):
            X = network.check_input(X)
        try:
            H = predictor.run(X, predictor.program, rows)
        except TypeError:  # the kernel is not compiled for such an array
            X = np.require(network.check_input(X), None, LAYOUT)
            H = predictor.run(X, predictor.program, rows)
        self._spare.append(predictor)
        if not H.size or version is None or network._weights.version != version:
            return network.predict(
                X, batch_size=batch_size
            )  # raises if X is invalid; otherwise weights were loaded meanwhile
        return H


class _Predictor:
    """The program and the arrays of a prediction; every thread needs its own."""

    def __init__(self, step: CompiledStep) -> None:
        network, signatures = step.network, step._signatures
        translator = Translator(network, network.layers, signatures["operation"], training=False)
        self.no_bias = translator.no_bias
        self.statistics, self.numbers = translator.statistics, np.array(translator.numbers)
        self.program, self.work = np.array(translator.rows), empty(ROWS * translator.columns, step._dtype, 5)
        _connect(self.program, self.numbers, self.work, network)
        self.run = entry(kernels.predict, signatures["predict"])

    def read_statistics(self) -> None:
        """Copy the running averages of batch normalization, which training and loading change."""
        for layer, at in self.statistics:
            O = len(layer.running_mean)
            self.numbers[at : at + O], self.numbers[at + O : at + 2 * O] = layer.running_mean, layer.running_var
