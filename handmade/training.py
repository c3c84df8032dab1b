"""7. Training: the loop around forward, loss, backward, update (System 11).

`fit` is a function: it walks over the data in batches, lets the network compute the gradient and the optimizer take
the step, and writes down in a `History` how it went. ``batch_size=1`` is the lecture's loop over single samples.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from numbers import Real

import numpy as np

from ._steps import Step
from ._validation import check_bool, check_count, check_finite, nonnegative
from .losses import Loss, find_loss
from .metrics import accuracy, r2_score, top_k_accuracy
from .network import Network, check_finite_targets
from .optimizers import Adam
from .progress import progress_bar
from .schedules import ReduceLROnPlateau

__all__ = ["EarlyStopping", "History", "fit"]

Array = np.ndarray
METRICS = {metric.__name__: metric for metric in (accuracy, top_k_accuracy, r2_score)}
BLOCK = 1024  # rows that are checked or judged at a time
Metric = str | Callable[[Array, Array], float]


@dataclasses.dataclass
class History:
    """What happened in each epoch: one entry per epoch that was finished.

    Attributes
    ----------
    loss : list of float
        The training loss: the mean over the epoch's batches, each taken before its own update.
    validation_loss : list of float
        The loss on the validation data after the epoch; empty without validation data.
    metrics : dict of str to list of float
        Each metric after the epoch, on the validation data if there are any, else on the training data.
    lr : list of float
        The learning rate of the epoch's last step.
    seconds : list of float
        How long the epoch took, validation included.
    stopped : str
        Why training ended: ``"all epochs"``, ``"early stopping"`` or ``"interrupted"``.

    Examples
    --------
    >>> history = History(loss=[0.5, 0.25], validation_loss=[0.5, 0.75], metrics={"accuracy": [0.75, 0.5]})
    >>> len(history), history.best_epoch
    (2, 0)
    >>> print(history)
    2 epochs (all epochs): loss 0.25  validation 0.75  accuracy 0.5; best epoch 0
    """

    loss: list[float] = dataclasses.field(default_factory=list)
    validation_loss: list[float] = dataclasses.field(default_factory=list)
    metrics: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    lr: list[float] = dataclasses.field(default_factory=list)
    seconds: list[float] = dataclasses.field(default_factory=list)
    stopped: str = "all epochs"

    def __len__(self) -> int:
        return len(self.loss)

    @property
    def best_epoch(self) -> int | None:
        """Counted from 0: where the validation loss was lowest; None without validation data."""
        return int(np.argmin(self.validation_loss)) if self.validation_loss else None

    def _add(self, loss: float, scores: list[float], lr: float, seconds: float) -> None:
        """One more epoch: the scores are those of all metrics, after the validation loss where there is one."""
        self.loss.append(loss)
        self.validation_loss += scores[: len(scores) - len(self.metrics)]
        for values, score in zip(self.metrics.values(), scores[len(scores) - len(self.metrics) :], strict=True):
            values.append(score)
        self.lr.append(lr)
        self.seconds.append(seconds)

    def latest(self) -> str:
        """The last epoch in one line."""
        parts = [f"loss {self.loss[-1]:.4g}"]
        parts += [f"validation {value:.4g}" for value in self.validation_loss[-1:]]
        parts += [f"{name} {values[-1]:.4g}" for name, values in self.metrics.items()]
        return "  ".join(parts)

    def __str__(self) -> str:
        best = "" if self.best_epoch is None else f"; best epoch {self.best_epoch}"
        return f"{len(self)} epochs ({self.stopped})" + (f": {self.latest()}{best}" if self.loss else "")

    def _repr_html_(self) -> str:
        from ._html import history_html

        return history_html(self)


@dataclasses.dataclass(frozen=True)
class EarlyStopping:
    """Stop when the validation loss has not fallen for ``patience`` epochs.

    Attributes
    ----------
    patience : int
        How many epochs without an improvement are allowed.
    min_delta : float
        By how much the loss has to fall below the last improvement to count as one. The epoch that is restored is
        the last improvement, which for 0 is `History.best_epoch`.
    restore_best : bool
        Whether the network goes back to its best epoch at the end.
    """

    patience: int = 10
    min_delta: float = 0.0
    restore_best: bool = True

    def __post_init__(self) -> None:
        check_count(self.patience, "patience")
        nonnegative(self.min_delta, "min_delta")


def fit(
    network: Network,
    X,
    y,
    *,
    loss: Loss = "cross_entropy",
    optimizer=None,
    epochs: int = 10,
    batch_size: int | None = 32,
    shuffle: bool = True,
    drop_last: bool = False,
    validation: float | tuple | None = None,
    early_stopping: int | EarlyStopping | None = None,
    metrics: Sequence[Metric] = (),
    schedule=None,
    schedule_every: str = "epoch",
    sample_weight=None,
    class_weight: Mapping[int, float] | Sequence[float] | None = None,
    rng=None,
    progress: bool = True,
    callback: Callable[[Network, History], None] | None = None,
) -> History:
    """Train a network by stochastic gradient descent on minibatches.

    All data are checked before the first step; Ctrl-C ends training and returns what has been learnt so far.

    Parameters
    ----------
    network : Network
        Trained in place.
    X : array_like, shape (N, I)
        Inputs. A numpy.memmap may be larger than memory: its rows are read batch by batch.
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
        Data to validate on, or which fraction of X and y to set aside for it, drawn at random.
    early_stopping : int or EarlyStopping, optional
        Stop on the validation loss; a number is the patience.
    metrics : sequence of str or callable
        Names of `handmade.metrics`, or functions ``(output, y) -> float``.
    schedule : optional
        A learning-rate schedule; stepped, with the validation loss where it is a ReduceLROnPlateau.
    schedule_every : {"epoch", "batch"}
        When.
    sample_weight : array_like, shape (N,), optional
        How much each sample counts, relative to the others: the weights are divided by their mean over the samples
        to train on, and then used as in `handmade.losses.loss_and_backward`.
    class_weight : mapping or sequence, optional
        How much each class counts: multiplies the weights of its samples. ``y`` must be class indices.
    rng : optional
        Anything numpy.random.default_rng takes: the validation split, then the orders. Same seed, same bits.
    progress : bool
        A progress bar in a terminal (with rich), plain lines elsewhere; False is silent.
    callback : callable, optional
        Called as ``callback(network, history)`` after each epoch.

    Returns
    -------
    History
        What happened.

    Raises
    ------
    ValueError, TypeError
        If data or options do not fit; nothing has changed then.
    FloatingPointError
        If the loss is no longer finite; network and optimizer are as they were before that epoch.

    Examples
    --------
    >>> import handmade as hm
    >>> X, y = hm.data.xor()
    >>> network = hm.MLP([2, 8, 2], activation="tanh", rng=0)
    >>> history = hm.fit(network, X, y, optimizer=hm.Adam(lr=0.1), epochs=100, batch_size=None, progress=False)
    >>> network.predict(X).argmax(axis=1)
    array([0, 1, 1, 0])
    """
    if not isinstance(network, Network):
        raise TypeError(f"network: expected a Network, got {type(network).__name__}; wrap layers in Network([...])")
    rng = np.random.default_rng(rng)
    optimizer = _check_optimizer(Adam() if optimizer is None else optimizer)
    check_count(epochs, "epochs")
    for name, value in ("shuffle", shuffle), ("drop_last", drop_last), ("progress", progress):
        check_bool(value, name)
    if callback is not None and not callable(callback):
        raise TypeError(f"callback: expected a function of the network and the history, got {callback!r}")
    X, y = _check_data(network, X, y, loss)
    weight = _weights(y, sample_weight, class_weight)
    training, judged, validates = _split(network, X, y, loss, validation, rng)
    batch_size = min(len(training), check_count(len(training) if batch_size is None else batch_size, "batch_size"))
    if weight is not None:
        weight = weight / _mean_weight(weight[training])
    functions = _find_metrics(metrics)
    judges = [find_loss(loss).value] * validates + list(functions.values())
    every_epoch, every_batch = _when(schedule, schedule_every, optimizer)
    stopper = _Stopper(network, early_stopping, validates)
    history = History(metrics={name: [] for name in functions})

    def batches(order: Array):
        return _batches(network, X, y, weight, order, batch_size, drop_last)

    short = 0 if drop_last else len(training) % batch_size
    _check_length(schedule, epochs * (len(training) // batch_size + (short > 0) if schedule_every == "batch" else 1))
    _rehearse(network, batches(training[-(short or batch_size) :]), loss, optimizer)
    _scores(network, judged, judges)
    with progress_bar("epoch", epochs, progress) as report:
        try:
            for epoch in range(epochs):
                started = time.perf_counter()
                order = rng.permutation(training) if shuffle else training
                training_loss, lr = _descend(network, batches(order), loss, optimizer, every_batch)
                scores = _scores(network, judged, judges)
                history._add(training_loss, scores, lr, time.perf_counter() - started)
                done = stopper.after(history)
                every_epoch(history)
                report(epoch + 1, history.latest())
                if callback is not None:
                    callback(network, history)
                if done:
                    history.stopped = "early stopping"
                    break
        except KeyboardInterrupt:
            history.stopped = "interrupted"
        finally:
            stopper.restore_best()
        if history.stopped != "all epochs":
            report(len(history), history.stopped)
    return history


def _check_optimizer(optimizer):
    """An object with ``step(theta, gradient)`` that can be expected to move theta."""
    if isinstance(optimizer, type) or not callable(getattr(optimizer, "step", None)):
        raise TypeError(f"optimizer: expected an object with step(theta, gradient), such as Adam(), got {optimizer!r}")
    if isinstance(optimizer, Step) and not hasattr(optimizer, "lr"):
        raise ValueError(f"optimizer: expected one that moves theta, got {optimizer!r}; put it in a Chain before SGD()")
    return optimizer


def _rehearse(network: Network, batches, loss: Loss, optimizer) -> None:
    """Try the last, perhaps smaller batch on a copy of the network: what does not fit is found before it matters."""
    if isinstance(optimizer, Step):
        optimizer.check(network.theta, network.gradient)
    rehearsing = copy.deepcopy(network)
    for X, y, weight in batches:
        rehearsing.backpropagate(X, y, loss, weight)


def _check_data(network: Network, X, y, loss: Loss) -> tuple[Array, Array]:
    """X and y as arrays, every row seen by the network's door and every target by the loss."""
    X = X if isinstance(X, np.ndarray) else np.asarray(X)
    y = np.asarray(y)
    if X.ndim != 2:
        hint = "; flatten it with X.reshape(len(X), -1)" if X.ndim > 2 else ""
        raise ValueError(f"X: expected shape (N, {network.in_features or 'features'}), got {X.shape}{hint}")
    if y.ndim == 0 or len(X) != len(y):
        raise ValueError(f"y: expected one target per row of X {X.shape}, got shape {y.shape}")
    f, f_backward = find_loss(loss)
    width = network.predict(X[:1]).shape[1]
    for start in range(0, len(X), BLOCK):
        rows = slice(start, start + BLOCK)
        network.check_input(X[rows], start)
        trial = np.zeros((len(X[rows]), width), network.dtype)
        check_finite_targets(y[rows], start)
        f(trial, y[rows])
    f_backward(trial, y[rows])
    return X, y


def _weights(y: Array, sample_weight, class_weight) -> Array | None:
    """One weight per sample, or None where all count the same."""
    if sample_weight is None and class_weight is None:
        return None
    weight = np.ones(len(y)) if sample_weight is None else np.array(sample_weight)
    if weight.dtype.kind not in "iuf":
        raise TypeError(f"sample_weight: expected numbers, got dtype {weight.dtype}")
    if weight.shape != (len(y),):
        raise ValueError(f"sample_weight: expected one weight per sample, shape {(len(y),)}, got {weight.shape}")
    weight = weight.astype(np.float64)
    if class_weight is not None:
        if y.ndim != 1 or y.dtype.kind not in "iu":
            raise TypeError(f"class_weight: expected targets that are class indices, got {y.dtype} of shape {y.shape}")
        classes = np.unique(y).tolist()
        pairs = class_weight if isinstance(class_weight, Mapping) else dict(enumerate(_as_list(class_weight)))
        if not all(isinstance(w, Real) and w >= 0 for w in pairs.values()):
            raise ValueError(f"class_weight: expected finite numbers of at least 0, got {class_weight!r}")
        missing = [c for c in classes if c not in pairs]
        if missing:
            raise ValueError(f"class_weight: expected a weight for each class {classes}, missing {missing}")
        for c in classes:
            weight[y == c] *= pairs[c]
    check_finite(weight, "sample_weight")
    if weight.min() < 0:
        raise ValueError(f"sample_weight: expected weights of at least 0, got {weight.min()}")
    return weight


def _as_list(class_weight) -> list:
    if isinstance(class_weight, str) or not np.iterable(class_weight):
        raise TypeError(f"class_weight: expected a mapping or a sequence of numbers, got {class_weight!r}")
    return list(class_weight)


def _mean_weight(weight: Array) -> float:
    """The mean over the samples to train on, to divide by: the weights then leave the scale of the loss as it is."""
    if weight.max() == 0:
        raise ValueError("sample_weight: expected, among the samples to train on, one above 0")
    return weight.max() * (weight / weight.max()).mean()  # a plain sum could overflow


def _split(network: Network, X: Array, y: Array, loss: Loss, validation, rng):
    """The rows to train on; the data to judge by, as (X, y, rows); and whether those were held out."""
    everything = np.arange(len(X))
    if validation is None:
        return everything, (X, y, everything), False
    if isinstance(validation, tuple | list) and len(validation) == 2:
        X_held, y_held = _check_data(network, *validation, loss)
        return everything, (X_held, y_held, np.arange(len(X_held))), True
    if not (isinstance(validation, Real) and 0 < validation < 1):
        got = repr(validation) if isinstance(validation, Real | str) else type(validation).__name__
        raise ValueError(f"validation: expected a fraction between 0 and 1, or (X, y), got {got}")
    count = math.ceil(validation * len(X))
    if count == len(X):
        raise ValueError(f"validation: expected a fraction that leaves samples to train on, got all {len(X)}")
    rows = rng.permutation(len(X))
    return np.sort(rows[count:]), (X, y, np.sort(rows[:count])), True


def _batches(network: Network, X: Array, y: Array, weight: Array | None, order: Array, size: int, drop_last: bool):
    """The samples in this order, ``size`` at a time, in one array from the first to the last."""
    X, batch = np.asarray(X), np.empty((size, X.shape[1]), network.dtype)
    for start in range(0, len(order) - (size - 1 if drop_last else 0), size):
        rows = order[start : start + size]
        if len(rows) < size:
            batch = batch[: len(rows)]
        if X.dtype == batch.dtype:
            X.take(rows, 0, batch, "clip")  # all rows exist, and so NumPy needs no copy to fall back on
        else:
            batch[...] = X.take(rows, 0)
        yield batch, y.take(rows, 0), None if weight is None else weight.take(rows)


def _descend(network: Network, batches, loss: Loss, optimizer, every_batch: Callable[[], None]) -> tuple[float, float]:
    """One epoch: for each batch forward, loss, backward, update. Returns the mean loss and the last learning rate."""
    total = seen = 0
    before = network.state_dict()
    momentum = optimizer.state_dict() if isinstance(optimizer, Step) else None
    try:
        for X, y, weight in batches:
            value, gradient = network.backpropagate(X, y, loss, weight)
            if not math.isfinite(value):
                raise FloatingPointError(f"the loss became {value}")
            optimizer.step(network.theta, gradient)
            lr = float(getattr(optimizer, "lr", math.nan))
            every_batch()
            total += value * len(X)
            seen += len(X)
        if not all(np.isfinite(array).all() for array in network.state_dict().values()):
            raise FloatingPointError("a parameter is no longer finite")
    except FloatingPointError as error:
        network.load_state_dict(before)
        if momentum is not None:
            optimizer.load_state_dict(momentum)
        raise FloatingPointError(
            f"{error}: training diverges; lower the learning rate, scale the inputs, or clip the gradient. "
            f"Network and optimizer are as they were before this epoch"
        ) from None
    return total / seen, lr


def _scores(network: Network, judged: tuple[Array, Array, Array], judges: list[Callable]) -> list[float]:
    """What each function says of the network's output, which is computed a block of rows at a time."""
    if not judges:
        return []
    X, y, rows = judged
    blocks = [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]
    output = np.concatenate([network.predict(X[block]) for block in blocks])
    return [float(judge(output, y[rows])) for judge in judges]


def _when(schedule, every: str, optimizer) -> tuple[Callable[[History], None], Callable[[], None]]:
    """What to call after each epoch, and what after each batch."""
    if every not in ("epoch", "batch"):
        raise ValueError(f"schedule_every: expected 'epoch' or 'batch', got {every!r}")
    if schedule is None:
        return lambda history: None, lambda: None
    if isinstance(schedule, type) or not callable(getattr(schedule, "step", None)):
        raise TypeError(f"schedule: expected an object such as StepLR(optimizer, 10), got {schedule!r}")
    if isinstance(schedule, ReduceLROnPlateau) and every == "batch":
        raise ValueError("schedule_every: expected 'epoch' with a ReduceLROnPlateau, which waits for a loss")
    scheduled = getattr(schedule, "optimizer", optimizer)
    if scheduled is not optimizer and scheduled not in getattr(optimizer, "steps", ()):
        raise ValueError(f"schedule: expected one of the optimizer in use, {optimizer!r}, got one of {scheduled!r}")
    if isinstance(schedule, ReduceLROnPlateau):
        return lambda history: schedule.step((history.validation_loss or history.loss)[-1]), lambda: None
    if every == "batch":
        return lambda history: None, schedule.step
    return lambda history: schedule.step(), lambda: None


def _check_length(schedule, steps: int) -> None:
    """A schedule of a fixed length has to last for all the steps."""
    left = getattr(schedule, "steps_left", steps)
    if steps > left:
        raise ValueError(f"schedule: expected total_steps to last for {steps} steps, got {left} left of {schedule!r}")


def _find_metrics(metrics: Sequence[Metric]) -> dict[str, Callable[[Array, Array], float]]:
    """The functions by the names that their values get in the history."""
    found: dict[str, Callable[[Array, Array], float]] = {}
    for metric in [metrics] if isinstance(metrics, str) or callable(metrics) else metrics:
        if not callable(metric) and (not isinstance(metric, str) or metric not in METRICS):
            raise ValueError(f"metrics: expected functions, or names among {', '.join(METRICS)}; got {metric!r}")
        name = getattr(metric, "__name__", repr(metric)) if callable(metric) else metric
        if name in found:
            raise ValueError(f"metrics: expected different names, got {name!r} twice")
        found[name] = metric if callable(metric) else METRICS[metric]
    return found


class _Stopper:
    """Watches the validation loss, and keeps the network's best state."""

    def __init__(self, network: Network, rule: int | EarlyStopping | None, validates: bool) -> None:
        if rule is not None and not isinstance(rule, EarlyStopping):
            rule = EarlyStopping(patience=rule)
        if rule and not validates:
            raise ValueError("early_stopping: expected validation data to stop on; pass validation=0.1 or (X, y)")
        self.network, self.rule = network, rule
        self.lowest, self.since, self.best = math.inf, 0, None

    def after(self, history: History) -> bool:
        """Whether to stop after this epoch."""
        if self.rule is None:
            return False
        self.since += 1
        if history.validation_loss[-1] < self.lowest - self.rule.min_delta:
            self.lowest, self.since = history.validation_loss[-1], 0
            self.best = self.network.state_dict() if self.rule.restore_best else None
        return self.since >= self.rule.patience

    def restore_best(self) -> None:
        if self.best is not None:
            self.network.load_state_dict(self.best)
