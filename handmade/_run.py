"""The loop of a training run: epochs, their batches, and what an error undoes (System 11)."""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ._minibatches import counted
from ._run_state import Place, RunState, Snapshot
from ._sparse import SparseRows
from ._types import Array
from ._validation import call, is_true
from .checkpoints import Keeper
from .history import VALIDATION
from .network import Network, has_own
from .training_warnings import Watch, blame, fault, not_finite

__all__ = ["Run"]

# Of a compiled call, within which neither Ctrl-C nor a checkpoint falls: at most so many steps, and multiplications
# (some 40 ms).
AT_ONCE, MULTIPLICATIONS = 64, 2**31


@dataclasses.dataclass
class Run(RunState):
    """A training run: its parts, its state, and the loop that changes it."""

    keeper: Keeper

    def __post_init__(self) -> None:
        super().__post_init__()
        self.watch: Watch = Watch()
        self.evaluates: bool = getattr(self.optimizer, "needs_evaluate", False)
        found = [(callback, getattr(callback, "on_batch", None)) for callback in self.callbacks]
        self.on_batch: list[tuple[Any, Callable[..., Any]]] = [(callback, hook) for callback, hook in found if hook]

    def train(self, epochs: int, report: Callable[[int, str], None]) -> None:
        """Train for so many epochs, or until a rule, a callback or Ctrl-C says so."""
        stopped = "" if self.history.stopped == "running" else self.history.stopped  # of the run that goes on
        self.history.stopped = "error"  # unless the loop ends in another way
        try:
            self.watch.look(self)
            while not stopped and len(self.history) < epochs:
                stopped = self.epoch(lambda: report(len(self.history), self.history.latest()))
                self.history.stopped = stopped or "running"
                self.keeper.after_epoch(self, bool(stopped) or len(self.history) == epochs)
                self.watch.look(self)
            self.watch.look(self, ended=True)
            self.history.stopped = stopped or "all epochs"
        except KeyboardInterrupt:
            self.history.stopped = "interrupted"
        except Exception as error:
            error.history = self.history  # type: ignore[attr-defined]
            raise
        finally:
            self.stopper.restore_best()
        if self.history.stopped != "all epochs":
            report(len(self.history), self.history.stopped)

    def epoch(self, report: Callable[[], None]) -> str:
        """Train for one epoch, record and report it; return why to stop, or an empty string."""
        before = Snapshot(self)
        self.history.stopped = "running"
        try:
            training_loss, lr = self._train_epoch()
            scores = self._evaluate()
            self.history.add(training_loss, scores, lr, self.place.elapsed())
            self.place = Place()
        except Exception:
            before.restore(self)
            self.history.stopped = "error"
            raise
        stopped = "early stopping" if self.stopper.after(self.history) else ""
        self._step_schedules("epoch")
        report()
        for answer in self._answers([(callback, callback) for callback in self.callbacks], self.history):
            if is_true(answer):
                stopped = stopped or "callback"
        return stopped

    def _train_epoch(self) -> tuple[float, float]:
        """For each batch forward, loss, backward, update; return the mean loss and the last learning rate."""
        place = self.place
        if place.order is None:
            place.started, place.rng = time.perf_counter(), self.rng.bit_generator.state
            place.order = self.draw_order()
        if refresh := getattr(self.step, "refresh", None):
            refresh()
        with np.errstate(over="ignore", invalid="ignore"):  # a loss that is not finite is an error all the same
            for values, sizes in self._steps(place.order):
                place.lr = float(getattr(self.optimizer, "lr", math.nan))
                self._step_schedules("batch")
                for _ in self._answers(self.on_batch, values[-1]):
                    pass
                for value, size in zip(values, sizes, strict=True):
                    place.total += value * size
                place.last = values[-1]
                place.seen += sum(sizes)
                place.row += sum(sizes)
                self.keeper.after_step(self)
        if name := not_finite(self.network):
            raise FloatingPointError(self._diverged(f"{name} is no longer finite after"))
        return place.total / place.seen, place.lr

    def _answers(self, calls: list[tuple[Any, Callable[..., Any]]], news: Any) -> Iterator[Any]:
        """Tell the callbacks of an epoch or a step; raise where one of them spoils a parameter or a statistic."""
        found = fault(self.network) if calls else ""
        for callback, hook in calls:
            yield hook(self.network, news)
            before, found = found, fault(self.network)
            if found and not before:
                raise FloatingPointError(f"{found} from the callback {callback!r}")

    def _steps(self, order: Array) -> Iterator[tuple[list[float], list[int]]]:
        """Do the steps of an epoch from its place on; yield their losses and sizes, of one step or of several."""
        if hasattr(self.step, "batches") and not self._acts_between_batches():
            yield from self._several_steps(order)
        part = getattr(self.step, "part", None)
        options = {} if part is None else {"part": part}
        batches = self.training.minibatches(
            order, self.batch_size, self.network.dtype, self.drop_last, start=self.place.row, **options
        )
        for X, y, weight in batches:
            yield [self._update(X, y, weight)], [len(y)]

    def _acts_between_batches(self) -> bool:
        """Return whether a schedule or a callback does something after each batch."""
        return bool(self.on_batch) or any(every == "batch" for _, every in self.schedules)

    def _several_steps(self, order: Array) -> Iterator[tuple[list[float], list[int]]]:
        """Do several steps in each compiled call, until one needs a call of its own."""
        samples, size, place = self.training, self.batch_size, self.place
        stop = len(order) - (len(order) % size if self.drop_last else 0)
        of_a_step = 3 * size * max(1, self.network.parameter_count)
        count = min(AT_ONCE, max(1, MULTIPLICATIONS // of_a_step))
        step: Any = self.step
        while place.row < stop:
            rows = order[place.row : min(stop, place.row + count * size)]
            losses = step.batches(samples.X, samples.y, samples.weight, rows, size)
            if not losses:
                return
            last = min(size, len(rows) - size * (len(losses) - 1))
            yield losses, [size] * (len(losses) - 1) + [last]

    def _update(self, X: Array, y: Array, weight: Array | None) -> float:
        if self.evaluates:
            theta, gradient = self.network.theta, self.network.gradient
            value = self.optimizer.step(
                theta, gradient, lambda: self.network.backpropagate(X, y, self.loss, weight)[0]
            )  # updates, where the value is finite
        elif self.step is None:
            value, _ = self.network.backpropagate(X, y, self.loss, weight)
        else:
            value = self.step(X, y, weight)  # updates, where the value is finite
        try:
            is_finite = math.isfinite(value)
        except TypeError:
            who = "optimizer" if self.evaluates else "backpropagate" if self.step is None else "compile"
            raise TypeError(f"{who}: expected the loss of each step as a number, got {value!r}") from None
        if not is_finite:
            if not np.isfinite(X).all():
                raise ValueError("X: expected finite numbers, got one that is not; X was changed during training")
            if not self.place.seen and not self.history.loss and (name := not_finite(self.network)):
                raise FloatingPointError(
                    f"{name}: expected finite numbers to begin with, got others; initialize it anew"
                )
            where = blame(self.network, X)
            raise FloatingPointError(self._diverged(f"the loss became {value}, and {where}, in"))
        if self.step is None and not self.evaluates:
            self.optimizer.step(self.network.theta, self.network.gradient)
        return value

    def _diverged(self, what: str) -> str:
        place, losses = self.place, self.history.loss
        step = min(place.row // self.batch_size + 1, math.ceil(len(self.training) / self.batch_size))
        last = losses[-1] if math.isnan(place.last) and losses else place.last
        known = "no loss before was finite" if math.isnan(last) else f"the last finite loss was {last:.4g}"
        return (
            f"{what} step {step} of epoch {len(losses) + 1}; {known}: training diverges; lower the learning rate, "
            f"scale the inputs, or clip the gradient. Network and optimizer are as they were before this epoch"
        )

    def _evaluate(self, rows: Array | None = None) -> dict[str, float]:
        """Return the validation loss, where there are validation data, and all metrics, by name."""
        samples = self.held or self.training
        rows = samples.rows if rows is None else rows
        functions, depth = self.network.head(self.loss)
        if not self.metrics and self.held is None:
            return {}
        y, scores = samples.y[rows], {}
        H = _predict(self.network, samples.X, rows, depth)
        if self.held is not None:
            scores[VALIDATION] = float(functions.value(H, y))
        for layer in self.network.layers[depth:]:
            H = layer.predict(H)
        if self.metrics and has_own(self.network, "predict"):
            H = np.array(self.network.predict(samples.X[rows]))
        if not (count := counted(y, self.loss)).all():
            H, y = H[count], y[count]
        H.flags.writeable = False
        for name, metric in self.metrics.items():
            scores[name] = _score(metric, name, H, y)
        return scores

    def _first_rows(self) -> Array:
        """Return the first two rows that are evaluated; for metrics, of those that the loss counts."""
        samples = self.held or self.training
        rows = samples.rows
        if self.metrics:
            rows = rows[counted(samples.y[rows], self.loss)]
            if not len(rows):
                where, names = "" if self.held is None else "validation: ", ", ".join(self.metrics)
                raise ValueError(f"{where}y: expected labels for {names} that the loss does not ignore, got none")
        return rows[:2]

    def _step_schedules(self, every: str) -> None:
        for schedule, when in self.schedules:
            if when == every:
                if getattr(schedule, "needs_metric", False):
                    schedule.step((self.history.validation_loss or self.history.loss)[-1])
                else:
                    schedule.step()

    @np.errstate(over="ignore", invalid="ignore")  # as in an epoch
    def check(self, epochs: int) -> None:
        """Raise where the last, perhaps smaller batch, a metric or a schedule does not fit; change nothing."""
        rows, size = self.training.rows, self.batch_size
        if self.evaluates and size < len(rows):
            raise ValueError(
                f"batch_size: expected None, all samples at once, with {type(self.optimizer).__name__}, got {size} of "
                f"{len(rows)} samples"
            )
        short = 0 if self.drop_last else len(rows) % size
        steps = {"epoch": epochs, "batch": epochs * (len(rows) // size + (short > 0))}
        for schedule, when in self.schedules:
            left = getattr(schedule, "steps_left", math.inf)
            if steps[when] > left:
                raise ValueError(
                    f"schedule: expected total_steps to last for {steps[when]} steps, got {left} left of {schedule!r}"
                )
        last = rows[-(short or size) :]
        trial = copy.deepcopy(self.network)
        for X, y, weight in self.training.minibatches(last, len(last), self.network.dtype):
            trial.backpropagate(X, y, self.loss, weight)
        self._evaluate(self._first_rows())


def _predict(network: Network, X: Array | SparseRows, rows: Array, depth: int) -> Array:
    """Return the output of the first ``depth`` layers for these rows, read a block at a time where rows allow it."""
    size = 1024 if network.rows_are_independent(training=False) else len(rows)
    blocks = [rows[start : start + size] for start in range(0, len(rows), size)]
    return np.concatenate([network.predict_until(X[block], depth) for block in blocks])


def _score(metric: Callable[..., Any], name: str, H: Array, y: Array) -> float:
    """Return the value of a metric; add to an error what the metric was called with."""
    try:
        value = call(metric, "metrics", "of the output and y", H, y)
    except Exception as error:
        error.add_note(f"metrics: {name} was called as metric(output, y), with shapes {H.shape} and {y.shape}")
        raise
    return _number(value, name)


def _number(value: Any, name: str) -> float:
    """Return the value of a metric as a float."""
    try:
        return float("a text" if isinstance(value, str | bytes | bytearray) else value)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"metrics: expected {name} to return a number, got {value!r}") from None
