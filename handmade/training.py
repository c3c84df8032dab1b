"""7. Training: the loop around forward, loss, backward, update (System 11).

`fit` checks the data, splits it, and goes through it in minibatches: the network computes the gradient, the optimizer
takes the step, and a `History` records the epoch. ``batch_size=1`` is the lecture's loop over single samples.
"""

from __future__ import annotations

import copy
import dataclasses
import datetime
import inspect
import math
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from . import checkpoints
from ._minibatches import Samples, check_data, split, weigh
from ._sparse import SparseMatrix, SparseRows
from ._steps import Step
from ._validation import as_generator, check_bool, check_choice, check_count
from .callbacks import EarlyStopping
from .history import VALIDATION, History
from .losses import Loss
from .metrics import accuracy, r2_score, top_k_accuracy
from .network import Network, as_network
from .optimizers import Adam
from .progress import progress_bar
from .protocols import Array, Callback, Metric, MetricFunction, MetricName, MetricSchedule, Optimizer, Schedule
from .training_warnings import Watch, blame

__all__ = ["fit"]

When: TypeAlias = Literal["epoch", "batch"]
AnySchedule: TypeAlias = Schedule | MetricSchedule
TrainingStep: TypeAlias = Callable[..., float]  # (X, y, weight) -> loss; updates where the loss is finite

METRICS: dict[MetricName, MetricFunction] = {
    "accuracy": accuracy,
    "top_k_accuracy": top_k_accuracy,
    "r2_score": r2_score,
}


def fit(
    network: Network,
    X: npt.ArrayLike | SparseMatrix,
    y: npt.ArrayLike,
    *,
    loss: Loss = "cross_entropy",
    optimizer: Optimizer | None = None,
    epochs: int = 10,
    batch_size: int | None = 32,
    shuffle: bool = True,
    drop_last: bool = False,
    validation: float | tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    stratify: bool = False,
    early_stopping: int | EarlyStopping | None = None,
    metrics: Metric | Sequence[Metric] = (),
    schedule: AnySchedule | list[tuple[AnySchedule, When]] | None = None,
    schedule_every: When = "epoch",
    sample_weight: npt.ArrayLike | None = None,
    class_weight: Mapping[int, float] | Sequence[float] | None = None,
    rng: Any = None,
    progress: bool = True,
    callbacks: Callback | Sequence[Callback] = (),
    compile: bool | Literal["auto"] | Callable[..., TrainingStep] = False,
    checkpoint: str | os.PathLike[str] | checkpoints.Keeper | None = None,
    checkpoint_every: int | datetime.timedelta = 1,
    resume: bool = True,
) -> History:
    """Train a network by stochastic gradient descent on minibatches.

    All data are checked before the first step. Ctrl-C ends training and returns the history so far.

    Parameters
    ----------
    network : Network
        Trained in place.
    X : array_like or sparse matrix, shape (N, I)
        Inputs. A numpy.memmap may be larger than memory: its rows are read batch by batch. Rows of a matrix of
        scipy.sparse become dense batch by batch.
    y : array_like
        Targets, as the loss takes them; one per row of X.
    loss : str, callable, functools.partial or (callable, callable)
        See `handmade.losses.find_loss`.
    optimizer : optional
        Anything with ``step(theta, gradient)``; Adam() unless given. It keeps its state: a second call goes on.
    epochs : int
        How often to go through the data.
    batch_size : int or None
        Samples per step: 1 is the lecture's SGD, None takes all (full batch).
    shuffle : bool
        Whether each epoch takes the samples in a new order.
    drop_last : bool
        Whether to leave out the last batch of an epoch where it is smaller than the others.
    validation : float or (X, y), optional
        Data to validate on, or the fraction of X and y to set aside for it, drawn at random.
    stratify : bool
        Whether that fraction holds the same share of every class.
    early_stopping : int or EarlyStopping, optional
        Stop when the validation loss no longer falls; a number is the patience.
    metrics : str, callable, or sequence of them
        Names of `handmade.metrics`, or functions ``(output, y) -> float``.
    schedule : schedule, or list of (schedule, {"epoch", "batch"}), optional
        Learning-rate schedules, each stepped after every epoch or batch. A ReduceLROnPlateau gets the validation loss,
        or the training loss where there is no validation.
    schedule_every : {"epoch", "batch"}
        When a single schedule is stepped.
    sample_weight : array_like, shape (N,), optional
        How much each sample counts, relative to the others: the weights are divided by their mean over the samples
        to train on, and then used as in `handmade.losses.loss_and_backward`.
    class_weight : mapping or sequence, optional
        How much each class counts: multiplies the weights of its samples. ``y`` must be class indices.
    rng : optional
        Anything numpy.random.default_rng takes: the validation split, then the orders. Same seed, same bits.
    progress : bool
        A progress bar in a terminal (with rich), plain lines elsewhere; False is silent.
    callbacks : callable, or sequence of them
        Called as ``callback(network, history)`` after each epoch; see `handmade.callbacks`.
    compile : bool, "auto" or callable
        Whether `handmade.compile` does the steps; "auto" warns and uses the NumPy code where it cannot. Or a function
        (network, loss, optimizer) -> step, which does them: ``step(X, y, weight)`` updates theta, unless the loss is
        not finite, and returns the loss.
    checkpoint : path-like, optional
        A file that keeps the whole state of the run: written at the end, every so often before it, and when Ctrl-C or
        SIGTERM ends the run. A file that is there already is where the run goes on, bit for bit, with ``epochs`` the
        number of all epochs; it is refused where data, network or an option is another.
    checkpoint_every : int or datetime.timedelta
        Epochs, or time, between two checkpoints.
    resume : bool
        Whether to go on from the file; False begins anew and replaces it.

    Returns
    -------
    History
        The numbers of each epoch.

    Warns
    -----
    TrainingWarning
        Of dead units, vanishing or exploding gradients, inputs that are not scaled, targets that are all the same, and
        a softmax below a loss that computes it itself; each once.

    Raises
    ------
    ValueError, TypeError
        If data or options do not fit, or the checkpoint is of another run or damaged; nothing has changed then.
    OSError
        If the checkpoint cannot be written, or another run writes to it; the last one is kept.
    FloatingPointError
        If the loss is no longer finite; the message has the layer, the step and the last finite loss. After this and
        any other error in mid-epoch, network, optimizer and schedules are as they were before that epoch (the user's
        own, if they have ``state_dict`` and ``load_state_dict``), and ``error.history`` is the history so far.

    Examples
    --------
    >>> X, y = hm.data.xor()
    >>> network = hm.MLP([2, 8, 2], activation="tanh", rng=0)
    >>> history = hm.fit(network, X, y, optimizer=hm.Adam(lr=0.1), epochs=100, batch_size=None, progress=False)
    >>> network.predict(X).argmax(axis=1)
    array([0, 1, 1, 0])
    """
    as_network(network)
    seed, rng = rng, as_generator(rng)
    optimizer = _check_optimizer(Adam() if optimizer is None else optimizer, network)
    check_count(epochs, "epochs")
    flags = dict(shuffle=shuffle, drop_last=drop_last, progress=progress, stratify=stratify)
    for name, value in flags.items():
        check_bool(value, name)
    step = compiled_step(network, loss, optimizer, compile)

    samples = weigh(check_data(network, X, y, loss), sample_weight, class_weight)
    functions, schedules = _find_metrics(metrics), _find_schedules(schedule, schedule_every, optimizer)
    callbacks = _find_callbacks(callbacks)
    with checkpoints.keeper(checkpoint, checkpoint_every, resume) as keeper:
        generator = keeper.generator(rng, seed)
        training, held = split(samples, network, loss, validation, stratify, generator)
        batch_size = min(len(training), check_count(len(training) if batch_size is None else batch_size, "batch_size"))
        run = _Run(
            network, loss, optimizer, training, held, batch_size, shuffle, drop_last, functions, schedules, callbacks,
            rng, keeper, step,
        )  # fmt: skip
        run.stopper = _Stopper(network, early_stopping, held is not None, functions)
        run.check(epochs)
        keeper.begin(run)
        with progress_bar("epoch", epochs, progress) as report:
            run.train(epochs, report)
    return run.history


@dataclasses.dataclass
class _Place:
    """The place that an epoch has come to: the row of its order, sums of its mean loss, and what drew the order."""

    row: int = 0
    total: float = 0.0
    seen: int = 0
    last: float = math.nan
    lr: float = math.nan
    rng: Any = None
    order: Array | None = None
    started: float = 0.0

    def elapsed(self) -> float:
        """Return the seconds since the epoch began."""
        return time.perf_counter() - self.started if self.row else 0.0


@dataclasses.dataclass
class _Run:
    """A training run: its parts, and its state between two epochs."""

    network: Network
    loss: Loss
    optimizer: Any
    training: Samples
    held: Samples | None
    batch_size: int
    shuffle: bool
    drop_last: bool
    metrics: dict[str, MetricFunction]
    schedules: list[tuple[Any, str]]
    callbacks: list[Callable[..., Any]]
    rng: np.random.Generator
    keeper: checkpoints.Keeper
    step: TrainingStep | None = None

    def __post_init__(self) -> None:
        self.place: _Place = _Place()
        self.history: History = History(metrics={name: [] for name in self.metrics})
        self.stopper: _Stopper
        self.watch: Watch = Watch(self)
        self.evaluates: bool = getattr(self.optimizer, "needs_evaluate", False)

    def train(self, epochs: int, report: Callable[[int, str], None]) -> None:
        """Train for so many epochs, or until a rule, a callback or Ctrl-C says so."""
        stopped = "" if self.history.stopped == "running" else self.history.stopped  # of the run that goes on
        self.history.stopped = "error"  # unless the loop ends in another way
        try:
            self.watch.look()
            while not stopped and len(self.history) < epochs:
                stopped = self.epoch(lambda: report(len(self.history), self.history.latest()))
                self.history.stopped = stopped or "running"
                self.keeper.after_epoch(self, bool(stopped) or len(self.history) == epochs)
                self.watch.look()
            self.watch.look(ended=True)
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
        before = self.snapshot()
        self.history.stopped = "running"
        try:
            training_loss, lr = self._train_epoch()
            scores = self._evaluate()
            self.history.__dict__ |= self.history.with_epoch(training_loss, scores, lr, self.place.elapsed())
            self.place = _Place()
        except Exception:
            before.restore(self)
            self.history.stopped = "error"
            raise
        stopped = "early stopping" if self.stopper.after(self.history) else ""
        self._step_schedules("epoch")
        report()
        for callback in self.callbacks:
            if callback(self.network, self.history) is True:
                stopped = stopped or "callback"
        return stopped

    def _train_epoch(self) -> tuple[float, float]:
        """For each batch forward, loss, backward, update; return the mean loss and the last learning rate."""
        place = self.place
        if place.order is None:
            place.started, place.rng = time.perf_counter(), self.rng.bit_generator.state
            place.order = self.draw_order()
        part = getattr(self.step, "part", None)
        options = {} if part is None else {"part": part}
        batches = self.training.minibatches(
            place.order, self.batch_size, self.network.dtype, self.drop_last, start=place.row, **options
        )
        with np.errstate(over="ignore", invalid="ignore"):  # a loss that is not finite is an error all the same
            for X, y, weight in batches:
                value = self._update(X, y, weight)
                place.lr = float(getattr(self.optimizer, "lr", math.nan))
                self._step_schedules("batch")
                for callback in self.callbacks:
                    if on_batch := getattr(callback, "on_batch", None):
                        on_batch(self.network, value)
                place.last = value
                place.total += value * len(y)
                place.seen += len(y)
                place.row += len(y)
                self.keeper.after_step(self)
        for name, array in self.network.state_dict().items():
            if not np.isfinite(array).all():
                raise FloatingPointError(self._diverged(f"{name} is no longer finite after"))
        return place.total / place.seen, place.lr

    def draw_order(self) -> Array:
        """Return the rows in the order of an epoch."""
        rows = self.training.rows
        return self.rng.permutation(rows) if self.shuffle else rows

    def snapshot(self) -> _Snapshot:
        """Return the state to go back to after an error."""
        return _Snapshot(self)

    def generators(self) -> list[Any]:
        """Return the layers that draw random numbers."""
        return _with_generators(self.network)

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
        if not math.isfinite(value):
            if not np.isfinite(X).all():
                raise ValueError("X: expected finite numbers, got one that is not; X was changed during training")
            where = blame(self.network, X)
            raise FloatingPointError(self._diverged(f"the loss became {value}, and {where}, in"))
        if self.step is None and not self.evaluates:
            self.optimizer.step(self.network.theta, self.network.gradient)
        return value

    def _diverged(self, what: str) -> str:
        place, losses = self.place, self.history.loss
        step = min(place.row // self.batch_size + 1, math.ceil(len(self.training) / self.batch_size))
        last = losses[-1] if math.isnan(place.last) and losses else place.last
        return (
            f"{what} step {step} of epoch {len(losses) + 1}; the last finite loss was {last:.4g}: training diverges; "
            f"lower the learning rate, scale the inputs, or clip the gradient. Network and optimizer are as they were "
            f"before this epoch"
        )

    def _evaluate(self, limit: int | None = None) -> dict[str, float]:
        """Return the validation loss, where there are validation data, and all metrics, by name."""
        samples = self.held or self.training
        rows = samples.rows[:limit]
        functions, depth = self.network.head(self.loss)
        if not self.metrics and self.held is None:
            return {}
        y, scores = samples.y[rows], {}
        H = _predict(self.network, samples.X, rows, depth)
        if self.held is not None:
            scores[VALIDATION] = float(functions.value(H, y))
        for layer in self.network.layers[depth:]:
            H = layer.predict(H)
        H.flags.writeable = False
        for name, metric in self.metrics.items():
            scores[name] = _number(metric(H, y), name)
        return scores

    def _step_schedules(self, every: str) -> None:
        for schedule, when in self.schedules:
            if when == every:
                if getattr(schedule, "needs_metric", False):
                    schedule.step((self.history.validation_loss or self.history.loss)[-1])
                else:
                    schedule.step()

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
        self._evaluate(limit=2)


def _predict(network: Network, X: Array | SparseRows, rows: Array, depth: int) -> Array:
    """Return the output of the first ``depth`` layers for these rows, read a block at a time."""
    blocks = [rows[start : start + 1024] for start in range(0, len(rows), 1024)]
    return np.concatenate([network.predict_until(X[block], depth) for block in blocks])


def _number(value: Any, name: str) -> float:
    """Return the value of a metric as a float."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"metrics: expected {name} to return a number, got {value!r}") from None


class _Snapshot:
    """The state of a run before an epoch: of network, dropout's generators, optimizer, schedules and callbacks."""

    def __init__(self, run: _Run) -> None:
        self.generators: list[Any] = [leaf.rng.bit_generator.state for leaf in _with_generators(run.network)]
        self.states: list[Any] = [copy.deepcopy(part.state_dict()) for part in self._parts(run)]

    @staticmethod
    def _parts(run: _Run) -> list[Any]:
        parts = [run.network, run.optimizer, *(schedule for schedule, _ in run.schedules)]
        return [part for part in parts if hasattr(part, "state_dict") and hasattr(part, "load_state_dict")]

    def restore(self, run: _Run) -> None:
        for part, state in zip(self._parts(run), self.states, strict=True):
            part.load_state_dict(state)
        for leaf, state in zip(_with_generators(run.network), self.generators, strict=True):
            leaf.rng.bit_generator.state = state


def _with_generators(network: Network) -> list[Any]:
    """Return the layers that draw random numbers."""
    return [leaf for _, leaf in network.leaves() if isinstance(getattr(leaf, "rng", None), np.random.Generator)]


def _check_optimizer(optimizer: Any, network: Network) -> Any:
    """Return the optimizer; raise unless it has ``step(theta, gradient)`` and can be expected to move theta."""
    if isinstance(optimizer, type) or not callable(getattr(optimizer, "step", None)):
        raise TypeError(f"optimizer: expected an object with step(theta, gradient), such as Adam(), got {optimizer!r}")
    if isinstance(optimizer, Step):
        optimizer.bind(network)
        if not hasattr(optimizer, "lr"):
            raise ValueError(
                f"optimizer: expected one that moves theta, got {optimizer!r}; put it in a Chain before SGD()"
            )
        optimizer.check(network.theta, network.gradient)
    return optimizer


def compiled_step(
    network: Network, loss: Loss, optimizer: Any, compile: bool | str | Callable[..., TrainingStep]
) -> TrainingStep | None:
    """Return what does the steps, or None for the NumPy code."""
    if callable(compile):
        return compile(network, loss, optimizer)
    if compile not in (True, False, "auto"):
        raise ValueError(f"compile: expected True, False, 'auto' or a function, got {compile!r}")
    if not compile:
        return None
    try:
        from . import compiled  # needs numba

        return compiled.compile(network, loss, optimizer)
    except (ImportError, TypeError) as error:
        if compile != "auto":
            raise
        warnings.warn(f"fit: {error}", stacklevel=3)
        return None


def _find_schedules(schedule: Any, every: str, optimizer: Any) -> list[tuple[Any, str]]:
    """Return all schedules, each with when it is stepped; raise unless they are the optimizer's."""
    pairs = schedule if isinstance(schedule, list) else [] if schedule is None else [(schedule, every)]
    if every not in ("epoch", "batch"):
        raise ValueError(f"schedule_every: expected 'epoch' or 'batch', got {every!r}")
    for pair in pairs:
        if not (isinstance(pair, tuple) and len(pair) == 2 and pair[1] in ("epoch", "batch")):
            raise TypeError(f"schedule: expected pairs such as (StepLR(optimizer, 10), 'epoch'), got {pair!r}")
        one, when = pair
        if isinstance(one, type) or not callable(getattr(one, "step", None)):
            raise TypeError(f"schedule: expected an object such as StepLR(optimizer, 10), got {one!r}")
        if getattr(one, "needs_metric", False) and when == "batch":
            raise ValueError("schedule_every: expected 'epoch' with a ReduceLROnPlateau, which waits for a loss")
        scheduled = getattr(one, "optimizer", optimizer)
        if scheduled not in _parts(optimizer):
            raise ValueError(f"schedule: expected one of the optimizer in use, {optimizer!r}, got one of {scheduled!r}")
    return pairs


def _parts(optimizer: Any) -> list[Any]:
    """Return an optimizer and all the steps it consists of."""
    members = optimizer._members() if isinstance(optimizer, Step) else ()
    return [optimizer, *(part for member in members for part in _parts(member))]


def _find_metrics(metrics: Any) -> dict[str, MetricFunction]:
    """Return the functions by the names that their values get in the history."""
    found: dict[str, MetricFunction] = {}
    metric: Any
    if not (isinstance(metrics, str) or callable(metrics) or np.iterable(metrics)):
        raise TypeError(f"metrics: expected names or functions, got {metrics!r}")
    for metric in [metrics] if isinstance(metrics, str) or callable(metrics) else metrics:
        if not callable(metric):
            check_choice(metric, "metrics", METRICS)
        name = getattr(metric, "__name__", repr(metric)) if callable(metric) else metric
        if name in found or name == VALIDATION:
            raise ValueError(f"metrics: expected different names, got {name!r} twice")
        function: Any = metric if callable(metric) else METRICS[metric]
        found[name] = function
    return found


def _find_callbacks(callbacks: Any) -> list[Callable[..., Any]]:
    """Return the callbacks as a list."""
    callbacks = list(callbacks) if np.iterable(callbacks) and not isinstance(callbacks, str) else [callbacks]
    for callback in callbacks:
        if not callable(callback) or isinstance(callback, type) or not _takes(callback, 2):
            hint = "; pass it as early_stopping" if isinstance(callback, EarlyStopping) else ""
            raise TypeError(f"callbacks: expected functions of the network and the history, got {callback!r}{hint}")
    return callbacks


def _takes(function: Callable[..., Any], count: int) -> bool:
    """Return whether a function can be called with so many arguments; True where Python does not know."""
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # some functions written in C
        return True
    return True


class _Stopper:
    """The state of an early-stopping rule: the best value so far, and the network's state then."""

    def __init__(
        self, network: Network, rule: int | EarlyStopping | None, validates: bool, metrics: Mapping[str, Any]
    ) -> None:
        if rule is not None and not isinstance(rule, EarlyStopping):
            rule = EarlyStopping(patience=check_count(rule, "early_stopping"))
        if rule and rule.monitor == VALIDATION and not validates:
            raise ValueError("early_stopping: expected validation data to stop on; pass validation=0.1 or (X, y)")
        if rule and rule.monitor not in (VALIDATION, "loss", *metrics):
            names = ", ".join([VALIDATION, "loss", *metrics])
            raise ValueError(f"early_stopping: expected monitor to be one of {names}; got {rule.monitor!r}")
        self.network: Network = network
        self.rule: EarlyStopping | None = rule
        self.best: float = math.inf
        self.since: int = 0
        self.state: dict[str, Array] | None = None

    def after(self, history: History) -> bool:
        """Return whether to stop after this epoch."""
        rule = self.rule
        if rule is None:
            return False
        value = rule.sign * {**history.to_dict(), **history.metrics}[rule.monitor][-1]
        self.since += 1
        if value < self.best - rule.min_delta:
            self.best, self.since = value, 0
            self.state = self.network.state_dict() if rule.restore_best else None
        return self.since >= rule.patience

    def restore_best(self) -> None:
        if self.state is not None:
            self.network.load_state_dict(self.state)
