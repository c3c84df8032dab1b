"""7. Training: the loop around forward, loss, backward, update (System 11).

`fit` checks the data, splits it, and goes through it in minibatches: the network computes the gradient, the optimizer
takes the step, and a `History` records the epoch. ``batch_size=1`` is the lecture's loop over single samples.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy.typing as npt

from . import checkpoints
from ._fit_options import check_hooks, compiled_step, find_callbacks, find_metrics, find_schedules
from ._minibatches import check_data, split, weigh
from ._run import Run
from ._run_state import TrainingStep
from ._sparse import SparseMatrix
from ._steps import check_optimizer
from ._validation import as_generator, check_bool, check_count
from .callbacks import EarlyStopping, Stopper
from .history import History
from .losses import Loss
from .network import Network, as_network, check_passes
from .optimizers import Adam
from .progress import progress_bar
from .protocols import Callback, Metric, MetricSchedule, Optimizer, Schedule

__all__ = ["fit"]

When: TypeAlias = Literal["epoch", "batch"]
AnySchedule: TypeAlias = Schedule | MetricSchedule


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
        Names of `handmade.metrics`, or functions ``(output, y) -> float`` of what ``network.predict`` returns, for
        the rows whose label the loss does not ignore (``ignore_index``).
    schedule : schedule, or list of (schedule, {"epoch", "batch"}), optional
        Learning-rate schedules, each stepped after every epoch or batch. A ReduceLROnPlateau gets the validation loss,
        or the training loss where there is no validation.
    schedule_every : {"epoch", "batch"}
        When a single schedule is stepped.
    sample_weight : array_like, shape (N,), optional
        How much each sample counts, relative to the others: the weights are divided by their mean over the samples
        to train on, and then used as in `handmade.losses.loss_and_backward`.
    class_weight : mapping or sequence, optional
        How much each class counts: multiplies the weights of its samples. ``y`` must be class indices;
        labels that the loss ignores (``ignore_index``) need none.
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
        Of dead units, vanishing or exploding gradients, inputs that are not scaled, targets that are all the same,
        a softmax below a loss that computes it itself, and steps that leave all parameters as they were; each once.

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
    # 1. check
    check_passes(as_network(network), "fit")
    seed, rng = rng, as_generator(rng)
    optimizer = check_optimizer(Adam() if optimizer is None else optimizer, network)
    check_hooks(optimizer, "optimizer")
    check_count(epochs, "epochs")
    flags = dict(shuffle=shuffle, drop_last=drop_last, progress=progress, stratify=stratify)
    for name, value in flags.items():
        check_bool(value, name)
    step = compiled_step(network, loss, optimizer, compile)
    samples = weigh(check_data(network, X, y, loss), sample_weight, class_weight, loss)
    functions, schedules = find_metrics(metrics), find_schedules(schedule, schedule_every, optimizer)
    callbacks = find_callbacks(callbacks)
    with checkpoints.keeper(checkpoint, checkpoint_every, resume) as keeper:
        # 2. split
        training, held = split(samples, network, loss, validation, stratify, keeper.generator(rng, seed))
        batch_size = min(len(training), check_count(len(training) if batch_size is None else batch_size, "batch_size"))
        stopper = Stopper(network, early_stopping, held is not None, functions)
        # 3. loop
        run = Run(
            network, loss, optimizer, training, held, batch_size, shuffle, drop_last, functions, schedules, callbacks,
            stopper, rng, step, keeper,
        )  # fmt: skip
        run.check(epochs)
        keeper.begin(run)
        with progress_bar("epoch", epochs, progress) as report:
            run.train(epochs, report)
    return run.history
