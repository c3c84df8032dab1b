"""7. Training: the loop around forward, loss, backward, update (System 11).

`fit` checks the data, splits it, and goes through it in minibatches. `Run._update` in `handmade._run` does one step:
`Network.backpropagate` computes the gradient, and ``optimizer.step`` changes theta. A `History` records each epoch.
``batch_size=1`` is the lecture's loop over single samples.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy.typing as npt

from . import checkpoints
from ._fit_options import compiled_step, find_callbacks, find_metrics, find_schedules
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
    """Train a network by gradient descent on minibatches.

    All data and options are checked before the first step. Ctrl-C ends training and returns the history so far.

    Parameters
    ----------
    network : Network
        The network to train, in place.
    X : array_like or sparse matrix, shape (N, I)
        Inputs. A numpy.memmap may be larger than memory: its rows are read batch by batch. The rows of a scipy.sparse
        matrix become dense batch by batch.
    y : array_like, shape (N,) or (N, ...)
        Targets, one per row of X, in the form that the loss takes: class indices for "cross_entropy".
    loss : str, callable, functools.partial or (callable, callable)
        See `handmade.losses.find_loss`.
    optimizer : optional
        Any object with ``step(theta, gradient)``; Adam() by default. It keeps its state, so that a second call goes on
        from it.
    epochs : int
        The number of passes through the data.
    batch_size : int or None
        Samples per step. 1 is the lecture's SGD; None takes all samples (full batch).
    shuffle : bool
        Whether each epoch takes the samples in a new random order.
    drop_last : bool
        Whether to leave out the last batch of an epoch if it is smaller than the others.
    validation : float or (X, y), optional
        Validation data, or the fraction of X and y to set aside as such, drawn at random.
    stratify : bool
        Whether this fraction is taken of each class.
    early_stopping : int or EarlyStopping, optional
        Stop when the validation loss no longer falls. A number is the patience, in epochs.
    metrics : str, callable, or sequence of them
        Names of `handmade.metrics`, or functions ``(output, y) -> float`` of the outputs of ``network.predict``. Rows
        whose label the loss ignores (``ignore_index``) are left out.
    schedule : schedule, or list of (schedule, {"epoch", "batch"}), optional
        Learning-rate schedules, each stepped after every epoch or every batch. A ReduceLROnPlateau gets the validation
        loss, or the training loss if there are no validation data.
    schedule_every : {"epoch", "batch"}
        When a schedule given alone is stepped.
    sample_weight : array_like, shape (N,), optional
        How much each sample counts, relative to the others. The weights are divided by their mean over the training
        samples, and then used as in `handmade.losses.loss_and_backward`.
    class_weight : mapping or sequence, optional
        How much each class counts: its number multiplies the weights of its samples. ``y`` must be class indices.
        Labels that the loss ignores (``ignore_index``) need no number.
    rng : optional
        A seed or a numpy.random.Generator. It draws the validation split, then the order of each epoch. The same seed
        gives the same bits.
    progress : bool
        Whether to show progress: a bar in a terminal (with rich), plain lines elsewhere.
    callbacks : callable, or sequence of them
        Called as ``callback(network, history)`` after each epoch; see `handmade.callbacks`.
    compile : bool, "auto" or callable
        True: steps are compiled by `handmade.compile`. "auto": the same, but if a part has no compiled form, warn and
        use the NumPy code. A function (network, loss, optimizer) -> step: use its steps. ``step(X, y, weight)`` returns
        the loss, and updates theta if the loss is finite.
    checkpoint : path-like, optional
        A file for the whole state of the run. It is written after every ``checkpoint_every``, at the end, and when
        Ctrl-C or SIGTERM ends the run. If the file exists, the run goes on from it, bit for bit, until there are
        ``epochs`` epochs in all. A file of other data, another network or other options raises ValueError.
    checkpoint_every : int or datetime.timedelta
        Epochs, or time, between two checkpoints.
    resume : bool
        Whether to go on from an existing file. False starts from the beginning, and replaces the file.

    Returns
    -------
    History
        Losses, metrics, learning rate and seconds of each epoch.

    Warns
    -----
    TrainingWarning
        About dead units, vanishing or exploding gradients, inputs that are not scaled, targets that are all equal, a
        softmax below a loss that computes it itself, and steps that change no parameter; each at most once.

    Raises
    ------
    ValueError, TypeError
        If data or options do not fit, or the checkpoint belongs to another run or is damaged. Nothing has changed then.
    OSError
        If the checkpoint cannot be written, or another run writes to it. The last one is kept.
    FloatingPointError
        If the loss is no longer finite. The message has the layer, the step and the last finite loss. After this and
        any other error during an epoch, network, optimizer and schedules are as they were before that epoch (your own
        classes, too, if they have ``state_dict`` and ``load_state_dict``), and ``error.history`` is the history so far.

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
