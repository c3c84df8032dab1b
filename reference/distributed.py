"""One training over many processes and machines: `fit` of handmade, with gradients summed by torch.distributed (gloo).

All processes draw the same batches in the same order. Process r of W takes the r-th of W consecutive parts of each
batch, and computes its gradient by handmade's backward pass. One all-reduce sums the flat gradients, and all processes
take the same step. Up to rounding, the result is that of one process with the whole batch.

``torchrun --nproc-per-node 2 -m reference.distributed`` trains on the bundled digits.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import hashlib
import inspect
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

import handmade as hm
from handmade import checkpoints
from handmade._run_state import Snapshot
from handmade._validation import is_true
from handmade.losses import Loss, LossFunctions, find_loss
from handmade.protocols import Array

__all__ = ["fit", "group"]


@contextmanager
def group(timeout: float = 60.0) -> Iterator[int]:
    """Join the processes that torchrun has started, and yield the number of this one, from 0.

    Parameters
    ----------
    timeout : float
        Seconds to wait for the other processes in a step. A process that dies is noticed at once; the timeout is for
        one that hangs, or whose machine is cut off.

    Raises
    ------
    RuntimeError
        If torchrun has not started this process.
    """
    if missing := [name for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]:
        raise RuntimeError(
            f"group: expected a process that torchrun has started, got none of its {', '.join(missing)}; start the "
            "program with torchrun --nproc-per-node 2 program.py"
        )
    dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=timeout))
    try:
        yield dist.get_rank()
    finally:
        dist.destroy_process_group()


def fit(
    network: hm.Network,
    X: Any,
    y: Any,
    *,
    callbacks: Any = (),
    progress: bool = True,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int | datetime.timedelta = 1,
    resume: bool = True,
    **options: Any,
) -> hm.History:
    """Train as `handmade.fit` does, with each batch spread over all processes; call it in each of them, inside `group`.

    Parameters
    ----------
    network, X, y
        They must be equal in all processes. If X is a numpy.memmap, a process reads only its own rows of each batch.
    callbacks : callable, or sequence of them
        Called in each process. If one returns True in any process, training ends in all of them.
    progress : bool
        Whether process 0 shows a progress bar.
    checkpoint, checkpoint_every, resume
        As in `handmade.fit`, except that only process 0 reads and writes the file. A resumed run may have another
        number of processes.
    **options
        As in `handmade.fit`, except ``compile``. ``batch_size`` is the size of the whole batch.

    Returns
    -------
    handmade.History
        The same in all processes.

    Raises
    ------
    ValueError
        If data, options, weights or seed differ between processes; and in the cases in which `handmade.fit` raises.
    TypeError
        If a layer other than BatchNorm and Dropout may mix the rows of a batch, or ``compile`` is given.
    RuntimeError
        Outside of a `group`; if another process has ended, or has computed other numbers.

    Examples
    --------
    A group of one process:

    >>> from reference import distributed
    >>> os.environ |= {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    >>> X, y = hm.data.xor()
    >>> network = hm.MLP([2, 8, 2], activation="tanh", rng=0)
    >>> with distributed.group():
    ...     history = distributed.fit(
    ...         network, X, y, optimizer=hm.Adam(lr=0.1), epochs=100, batch_size=4, rng=0, progress=False
    ...     )
    >>> network.predict(X).argmax(axis=1)
    array([0, 1, 1, 0])
    """
    if not dist.is_initialized():
        raise RuntimeError("fit: expected a group of processes, got none; call it inside `with distributed.group():`")
    if "compile" in options:
        raise TypeError("compile: expected none, because the processes sum their gradients; leave it out")
    _compare({"epochs": repr(options.get("epochs"))}, ValueError)
    callbacks = [callbacks] if callable(callbacks) else list(callbacks)
    with _keeper(checkpoint, checkpoint_every, resume) as keeper:
        return hm.fit(
            network,
            X,
            y,
            callbacks=[*(_Agreed(one) if callable(one) else one for one in callbacks), _compare_after_epoch],
            progress=progress and dist.get_rank() == 0,
            checkpoint=keeper,
            compile=functools.partial(DistributedStep, keeper),
            **options,
        )


# ---- one step ------------------------------------------------------------------------------------------------------

EXTRA = 3  # numbers after the gradient in the all-reduced vector: loss, SIGINT, SIGTERM


class DistributedStep:
    """A training step on one batch, which is divided among all processes.

    Parameters
    ----------
    keeper : _SharedKeeper
        It records a signal to any process, so that all processes stop after the same step.
    network, loss, optimizer
        As in `handmade.fit`.
    """

    def __init__(self, keeper: _SharedKeeper, network: hm.Network, loss: Loss, optimizer: Any) -> None:
        self.keeper, self.network, self.optimizer = keeper, network, optimizer
        self.functions = find_loss(loss)
        self.summed = _summed(self.functions)
        self.message = np.zeros(network.theta.size + EXTRA, network.dtype)
        self.leaves: list[Any] = [leaf for _, leaf in network.leaves() if not leaf.rows_are_independent(training=True)]
        for leaf in self.leaves:
            if not (isinstance(leaf, hm.BatchNorm) or hasattr(leaf, "rng")):
                raise TypeError(
                    f"network: expected layers that compute each row from the same row alone, or BatchNorm or Dropout, "
                    f"got {leaf!r}; define rows_are_independent if it does"
                )

    def part(self, size: int) -> slice:
        """Return the rows of a batch that belong to this process. Each row belongs to exactly one process."""
        rank, processes = dist.get_rank(), dist.get_world_size()
        return slice(size * rank // processes, size * (rank + 1) // processes)

    def __call__(self, X: Array, y: Array, weight: Array | None = None) -> float:
        """Do the step, and return the loss of the whole batch.

        Parameters
        ----------
        X : ndarray
            This process's part of the inputs.
        y, weight : ndarray
            Targets and weights of the whole batch.
        """
        rows, message, network = self.part(len(y)), self.message, self.network
        with self._whole_batch(len(y), rows):
            value, width = self._backpropagate(X, y[rows], None if weight is None else weight[rows])
        message[:-EXTRA] = network.gradient
        message[-EXTRA:] = value, *(self.keeper.pending == number for number in checkpoints.SIGNALS)
        dist.all_reduce(torch.from_numpy(message))
        for number, received in zip(checkpoints.SIGNALS, message[-2:], strict=True):
            if received:
                self.keeper.received, self.keeper.pending = number, 0
        divisor = self._divisor((len(y), *width), y, weight)
        value = float(message[-EXTRA]) / divisor
        if np.isfinite(value):
            np.divide(message[:-EXTRA], divisor, out=network.gradient)
            self.optimizer.step(network.theta, network.gradient)
        return value

    def _backpropagate(self, X: Array, y: Array, weight: Array | None) -> tuple[float, tuple[int, ...]]:
        """Write the gradient of the summed loss; return the sum, and the shape of one sample's output."""
        _, cache = hm.Sequential.forward(self.network, X, training=True)
        value, dH, cache = self.network.loss_of(cache, y, self.summed, weight)
        hm.Sequential.backward(self.network, dH, cache, need_dX=False)
        return float(value), cache.values[-1].shape[1:]

    def _divisor(self, shape: tuple[int, ...], y: Array, weight: Array | None) -> float:
        """Return the divisor of the mean over the whole batch.

        It may depend on the labels: cross-entropy divides by the sum of class weights. So it is computed as the sum
        of the losses divided by their mean, for outputs whose loss is not 0. If there are none, because all samples are
        ignored or no score exceeds a margin, it is the number of terms.
        """
        if _reduction(self.functions) == "sum":
            return 1.0
        (mean, _), (total, _) = (self.network.head(loss)[0] for loss in (self.functions, self.summed))
        if not _takes_reduction(self.functions):
            return float(len(y))
        for level in (0.5, 0.25) if weight is None else ():  # at 0.5, the loss may be 0 if all targets are 0.5
            if value := total(np.full(shape, level), y):
                return float(value / mean(np.full(shape, level), y))
        return float(np.size(mean(np.full(shape, 0.5), y, reduction="none")))

    @contextmanager
    def _whole_batch(self, size: int, rows: slice) -> Iterator[None]:
        """Make BatchNorm use the statistics of all rows, and dropout draw for all rows and use its own."""
        for leaf in self.leaves:
            if isinstance(leaf, hm.BatchNorm):
                vars(leaf).update(mean=functools.partial(_mean, size), count=lambda X: size)
            else:
                leaf.rng = _RowsOf(leaf.rng, size, rows)
        try:
            yield
        finally:
            for leaf in self.leaves:
                if isinstance(leaf, hm.BatchNorm):
                    del leaf.mean, leaf.count
                else:
                    leaf.rng = leaf.rng.generator


class _RowsOf:
    """A random generator that draws for the whole batch, as a single process would, and returns some of the rows."""

    def __init__(self, generator: np.random.Generator, size: int, rows: slice) -> None:
        self.generator, self.size, self.rows = generator, size, rows

    def __getattr__(self, name: str) -> Callable[..., Array]:
        def draw(shape: Any = None, *arguments: Any, **options: Any) -> Array:
            drawn: Array = getattr(self.generator, name)((self.size, *shape[1:]), *arguments, **options)
            return drawn[self.rows]

        if name != "random":
            raise AttributeError(f"rng: expected a layer that draws by rng.random(shape), got rng.{name}")
        return draw


def _mean(size: int, V: Array) -> Array:
    """Return the mean over the rows of all processes."""
    total = V.sum(axis=0, keepdims=True)
    dist.all_reduce(torch.from_numpy(total))
    return total / size


def _reduction(functions: LossFunctions) -> str:
    options = functions.value.keywords if isinstance(functions.value, functools.partial) else {}
    return options.get("reduction", "mean")


def _takes_reduction(functions: LossFunctions) -> bool:
    return "reduction" in inspect.signature(functions.value).parameters


def _summed(functions: LossFunctions) -> LossFunctions:
    """Return the loss with a sum instead of its mean; without ``reduction`` it is assumed to be a mean over rows."""
    if _takes_reduction(functions):
        return functions.with_options({"reduction": "sum"})
    value, backward = functions
    return LossFunctions(lambda H, y: value(H, y) * len(H), lambda H, y: backward(H, y) * len(H))


# ---- agreement -----------------------------------------------------------------------------------------------------


def _compare(own: dict[str, str], error: type[Exception]) -> None:
    """Raise in all processes unless all have the same text."""
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, own)
    for name in own:
        for rank, other in enumerate(everyone):
            if other[name] != everyone[0][name]:
                raise error(
                    f"{name}: expected the same in all processes, got {everyone[0][name]} in process 0 and "
                    f"{other[name]} in process {rank}; pass the same data, options and seed (rng=0) in all"
                )


def _digest(*parts: Any) -> str:
    """Return a checksum of states, as text."""
    arrays: list[Array] = []
    text = repr(checkpoints.encode(list(parts), arrays)).encode()
    return hashlib.sha256(text + b"".join(array.tobytes() for array in arrays)).hexdigest()[:16]


def _compare_after_epoch(network: hm.Network, history: hm.History) -> None:
    """Raise if a process has other numbers: two kinds of processors may round a prediction differently."""
    scores = [history.loss[-1:], history.validation_loss[-1:], *(values[-1] for values in history.metrics.values())]
    _compare({"weights": _digest(network.state_dict()), "history": repr(scores)}, RuntimeError)


class _Agreed:
    """A callback that ends training in all processes if it returns True in one; all else is that of the callback."""

    def __init__(self, callback: Any) -> None:
        self.callback = callback

    def __call__(self, network: hm.Network, history: hm.History) -> bool:
        ends = torch.tensor(int(is_true(self.callback(network, history))))
        dist.all_reduce(ends, dist.ReduceOp.MAX)
        return bool(ends)

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["callback"], name)

    def __repr__(self) -> str:
        return repr(self.callback)


class _SharedKeeper(checkpoints.Keeper):
    """A keeper of checkpoints that only process 0 writes, and that raises if processes train different things.

    Attributes
    ----------
    pending : int
        The signal that this process has received, or 0. After the next step, it is ``received`` in all processes.
    """

    pending = 0

    def begin(self, run: Any) -> None:
        self._check_batches(run)
        if self.path is None:
            self.fingerprints(run)
        super().begin(run)
        start = Snapshot(run)
        _compare({"network, optimizer and schedules": _digest(start.states)}, ValueError)
        _compare({"generators of the layers": _digest(start.generators)}, ValueError)

    def fingerprints(self, run: Any) -> dict[str, str]:
        own = super().fingerprints(run)
        _compare(own | {"state of rng": _digest(run.rng.bit_generator.state)}, ValueError)
        return own

    def _check_batches(self, run: Any) -> None:
        size, processes = run.batch_size, dist.get_world_size()
        last = size if run.drop_last else len(run.training) % size or size
        if min(size, last) < processes:
            raise ValueError(
                f"batch_size: expected a row for each of {processes} processes in every batch, got batches of {size} "
                f"and a last one of {last}; pass another, or drop_last=True"
            )

    def _receive(self, number: int, frame: Any) -> None:
        if self.pending:  # a second signal takes effect at once
            self.restore_handlers()
            signal.raise_signal(number)
        self.pending = number

    def close(self) -> None:
        self.received = self.received or self.pending
        super().close()

    def _write(self, run: Any) -> None:
        if dist.get_rank() == 0:
            super()._write(run)


@contextmanager
def _keeper(path: Any, every: Any, resume: bool) -> Iterator[_SharedKeeper]:
    """Yield the keeper of a run; process 0 locks and reads the file, and sends its content to the others."""
    with ExitStack() as stack:
        found: list[Any] = [None, None]
        if dist.get_rank() == 0:
            try:
                found[0] = stack.enter_context(checkpoints.keeper(path, every, resume)).saved
            except Exception as error:
                found[1] = error
        dist.broadcast_object_list(found)
        if found[1] is not None:
            raise found[1]
        kept = _SharedKeeper(path, every)
        if found[0] is not None:
            kept.go_on_from(found[0])
        yield kept


# ---- the command ---------------------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> None:
    """Train on the bundled digits in each process that torchrun has started; process 0 prints the result."""
    parser = argparse.ArgumentParser(prog="torchrun --nproc-per-node 2 -m reference.distributed", description=__doc__)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=100, help="size of the whole batch")
    parser.add_argument("--checkpoint", help="a file to write, and to resume from")
    options = parser.parse_args(arguments)
    X, y = hm.load_digits()
    X_train, X_test, y_train, y_test = hm.train_test_split(X, y, test_size=0.25, rng=0)
    network = hm.MLP([64, 128, 10], normalization="batch", dropout=0.2, rng=0)
    with group() as rank:
        history = fit(
            network, X_train, y_train, optimizer=hm.Adam(lr=3e-3), epochs=options.epochs,
            batch_size=options.batch_size, drop_last=True, checkpoint=options.checkpoint, rng=0,
        )  # fmt: skip
        if rank == 0:
            accuracy = hm.metrics.accuracy(network.predict(X_test), y_test)
            print(f"{dist.get_world_size()} processes, {history}; accuracy of {len(y_test)} others {accuracy:.1%}")


if __name__ == "__main__":
    main()
