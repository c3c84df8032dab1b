"""7. Checkpoints: the whole state of a training run in one file, from which it goes on bit for bit.

`handmade.fit` writes them with ``checkpoint=path``. The file is an ``.npz`` archive without Python objects: a header in
JSON, and the arrays. At any moment the path holds the last complete checkpoint.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from types import FrameType
from typing import Any

import numpy as np

from ._atomic import write_atomically
from ._minibatches import BLOCK
from ._npz import read_npz
from ._run_state import RunState, Snapshot, is_stateful, load_state, state_of, stateful_callbacks
from ._state import Stateful
from ._types import Array
from ._validation import check_bool, check_count
from .base_layer import Layer

__all__ = ["Keeper", "keeper"]

FilePath = str | os.PathLike[str]
Every = int | datetime.timedelta

FORMAT, VERSION = "handmade checkpoint", 1
HEADER = "header"
SIGNALS = (signal.SIGINT, signal.SIGTERM)
KINDS = "biufcU"  # dtypes that a file without Python objects can hold


# ---- values as JSON ------------------------------------------------------------------------------------------------


def encode(value: Any, arrays: list[Array], name: str = "state") -> Any:
    """Return a value as JSON can hold it, with the arrays in it put into a list.

    Parameters
    ----------
    value
        None, numbers, text, arrays, and lists, tuples and dicts of them.
    arrays : list of ndarray
        The list to which the arrays are appended.
    name : str
        The value's name in error messages.

    Raises
    ------
    TypeError
        If something in it is of another type.

    Examples
    --------
    >>> from handmade.checkpoints import decode, encode
    >>> arrays = []
    >>> encoded = encode({"t": 3, "betas": (0.9, 0.999), "sum": np.ones(2)}, arrays)
    >>> decode(encoded, arrays)
    {'t': 3, 'betas': (0.9, 0.999), 'sum': array([1., 1.])}
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in KINDS:
        arrays.append(np.asarray(value))
        return {"scalar" if isinstance(value, np.generic) else "array": len(arrays) - 1}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [encode(item, arrays, f"{name}[{i}]") for i, item in enumerate(value)]}
    if isinstance(value, Mapping):
        pairs = [(key, encode(item, arrays, f"{name}[{key!r}]")) for key, item in value.items()]
        if all(type(key) in (str, int) for key, _ in pairs):
            return {"dict": pairs}
    raise TypeError(f"checkpoint: expected numbers, text, arrays, lists and dicts in {name}, got {value!r}")


def decode(value: Any, arrays: list[Array]) -> Any:
    """Return the value that was passed to `encode`."""
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind in ("array", "scalar"):
        return arrays[content] if kind == "array" else arrays[content][()]
    if kind == "dict":
        return {key: decode(item, arrays) for key, item in content}
    items = [decode(item, arrays) for item in content]
    return {"list": list, "tuple": tuple}[kind](items)


# ---- fingerprints --------------------------------------------------------------------------------------------------


def describe(value: Any) -> str:
    """Return a text that differs for different options, and is the same in every process.

    Examples
    --------
    >>> from handmade.checkpoints import describe
    >>> describe(hm.SGD(lr=0.5))
    'SGD(lr=0.5, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, maximize=False)'
    >>> describe([hm.losses.mse_loss, "huber_loss"])
    "[handmade.losses.regression.mse_loss, 'huber_loss']"
    """
    if isinstance(value, np.ndarray):
        return _describe_array(value)
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(describe, value))}]"
    if isinstance(value, Mapping):
        keys = [key if isinstance(key, str) else describe(key) for key in value]
        return f"{{{', '.join(f'{key}: {describe(item)}' for key, item in zip(keys, value.values(), strict=True))}}}"
    if isinstance(value, functools.partial):
        return f"partial({describe(value.func)}, {describe(value.args)}, {describe(value.keywords)})"
    if isinstance(value, Layer):
        return f"{type(value).__name__}({describe(value.config())})"
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    fields = dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()
    parts = [f"{f.name}={describe(getattr(value, f.name, None))}" for f in fields if f.repr and f.name != "optimizer"]
    members = value._members() if isinstance(value, Stateful) else ()
    return f"{type(value).__name__}({', '.join([*parts, *map(describe, members)])})"


def _describe_array(array: Array) -> str:
    """Return dtype, shape and a checksum; a memmap is read block by block."""
    import hashlib  # imported here, because it would take a tenth of `import handmade`

    digest = hashlib.sha256()
    array = np.asarray(array)
    for start in range(0, len(array) if array.ndim else 1, BLOCK):
        digest.update(np.ascontiguousarray(array[start : start + BLOCK] if array.ndim else array).data.cast("B"))
    return f"{array.dtype.str} of shape {array.shape} with checksum {digest.hexdigest()[:32]}"


def fingerprints(run: RunState, seed: Any) -> dict[str, str]:
    """Return a text for each option and array that has to be the same in a run that goes on from a checkpoint."""
    own, held = run.training, run.held
    validation = None if held is None else [held.rows, *([] if held.X is own.X else [held.X, held.y])]
    options: dict[str, Any] = {
        "X": own.X, "y": own.y, "validation": validation, "sample_weight, class_weight": own.weight,
        "network": [run.network, run.network.dtype.name], "loss": run.loss, "optimizer": run.optimizer,
        "batch_size": run.batch_size, "shuffle": run.shuffle, "drop_last": run.drop_last, "schedule": run.schedules,
        "early_stopping": run.stopper.rule, "metrics": list(run.metrics.values()),
        "callbacks": [type(part).__name__ for part in stateful_callbacks(run)],
        "compile": False if run.step is None else type(run.step),
        "rng": type(run.rng.bit_generator).__name__ if isinstance(seed, np.random.Generator) else seed,
    }  # fmt: skip
    return {name: describe(value) for name, value in options.items()}


# ---- the file ------------------------------------------------------------------------------------------------------


def write(path: FilePath, document: dict[str, Any]) -> None:
    """Write a document to a file; on an error, leave the old file as it was."""
    import json

    arrays: list[Array] = []
    text = json.dumps({"format": FORMAT, "version": VERSION, "document": encode(document, arrays)})
    members = {HEADER: np.frombuffer(text.encode(), np.uint8)} | {f"{i}": a for i, a in enumerate(arrays)}
    write_atomically(path, lambda stream: np.savez(stream, **members))  # type: ignore[arg-type]


def read(path: FilePath) -> dict[str, Any]:
    """Read a document that `write` wrote, without running code from it or taking more memory than its size.

    Raises
    ------
    ValueError
        If the file is cut short, damaged, something else, or of a newer version.
    OSError
        If it cannot be read.
    """
    import json

    members = read_npz(path, max_bytes=max(1, os.path.getsize(path)))  # the archive is not compressed
    try:
        header = json.loads(members[HEADER].tobytes())
        kind, version = header["format"], header["version"]
        if kind == FORMAT and version == VERSION:
            arrays = [members[f"{i}"] for i in range(len(members) - 1)]
            document = decode(header["document"], arrays)
            return {key: document[key] for key in ("state", "options", "options now", "start")}
    except (KeyError, IndexError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: expected a checkpoint that hm.fit wrote, got a file without: {error}") from error
    raise ValueError(
        f"{path}: expected format {FORMAT!r} of version {VERSION}, got {kind!r} of version {version!r}; "
        "install the version of handmade that wrote it, or pass resume=False to start again"
    )


@contextmanager
def locked(path: FilePath) -> Iterator[None]:
    """Hold the lock of a path. The system releases it when the process ends, however that happens.

    Raises
    ------
    BlockingIOError
        If another run holds it.
    OSError
        If no file can be written there.
    """
    name = f"{os.path.realpath(path)}.lock"
    while True:
        try:
            descriptor = os.open(name, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            text = f"checkpoint: expected a path in a folder that can be written to, got {os.fspath(path)!r}"
            raise type(error)(error.errno, f"{text}: {error.strerror}") from None
        try:
            _lock(descriptor)
        except OSError:
            os.close(descriptor)
            raise BlockingIOError(
                f"checkpoint: expected a path that no other run writes to, got {os.fspath(path)!r}; pass another"
            ) from None
        with suppress(FileNotFoundError):  # the run before has removed the file between the two lines
            if os.path.samestat(os.fstat(descriptor), os.stat(name)):
                break
        os.close(descriptor)
    owner = os.getpid()
    try:
        yield
    finally:
        if os.getpid() == owner:  # a forked process leaves file and lock to the run that goes on
            with suppress(OSError):
                os.unlink(name)
            _unlock(descriptor)
        os.close(descriptor)


def _unlock(descriptor: int) -> None:
    """Release the lock, even if a process that was forked meanwhile has the file open."""
    if os.name == "posix":
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _lock(descriptor: int) -> None:
    """Lock an open file, or raise OSError."""
    if os.name == "posix":
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]


# ---- the keeper ----------------------------------------------------------------------------------------------------


@contextmanager
def keeper(path: FilePath | Keeper | None, every: Every, resume: bool) -> Iterator[Keeper]:
    """Yield the keeper of a run's checkpoint; until the run ends, the path is locked, and signals wait.

    If ``path`` is a keeper, it is yielded as it is.
    """
    if isinstance(path, Keeper):
        with closing(path):
            yield path
        return
    check_bool(resume, "resume")
    if isinstance(every, datetime.timedelta):
        if every < datetime.timedelta(0):
            raise ValueError(f"checkpoint_every: expected a time of at least 0, got {every}")
    else:
        check_count(every, "checkpoint_every")
    if path is None:
        yield Keeper(None, every)
        return
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"checkpoint: expected a path, got {path!r}")
    if not os.fspath(path):
        raise ValueError("checkpoint: expected the path of a file, got ''; pass a file name")
    path = os.path.abspath(path)  # so that it stays the same file if a callback changes the folder
    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError(f"checkpoint: expected the path of a file, got {path!r}, a folder or device; pass another")
    with locked(path), closing(Keeper(path, every)) as kept:
        if resume and os.path.exists(path):
            kept.go_on_from(read(path))
        yield kept


class Keeper:
    """A keeper of a run's checkpoint: it reads the file, and writes it when it is due or a signal ends the process.

    Parameters
    ----------
    path : path-like or None
        The file; None for no checkpoint.
    every : int or timedelta
        Epochs, or time, between two checkpoints.
    """

    def __init__(self, path: FilePath | None, every: Every) -> None:
        self.path: FilePath | None = path
        self.every: Every = every
        self.saved: dict[str, Any] | None = None
        self.seed: Any = None
        self.start: Any = None
        self.options: dict[str, str] = {}
        self.received: int = 0
        self.handlers: dict[int, Any] = {}
        self.written: float = time.monotonic()

    def go_on_from(self, saved: dict[str, Any]) -> None:
        """Set the run to go on from a document that `read` returned."""
        self.saved, self.start = saved, saved["start"]

    def generator(self, rng: np.random.Generator, seed: Any) -> np.random.Generator:
        """Return the generator that draws the validation split, in the state that it had when the run began."""
        self.seed = seed
        if self.saved is None:
            self.start = rng.bit_generator.state
            return rng
        kinds = [self.start["bit_generator"], rng.bit_generator.state["bit_generator"]]
        if kinds[0] != kinds[1]:
            raise ValueError(f"rng: expected a generator of {kinds[0]} as in {self.path}, got one of {kinds[1]}")
        generator = np.random.Generator(type(rng.bit_generator)())
        generator.bit_generator.state = self.start
        return generator

    def begin(self, run: RunState) -> None:
        """Go on from the saved state, or raise without changing anything; then catch signals."""
        if self.path is None:
            return
        for part in (run.optimizer, *(schedule for schedule, _ in run.schedules)):
            if not is_stateful(part):
                raise TypeError(f"checkpoint: expected state_dict and load_state_dict in {part!r}; add both")
        self.options = self.fingerprints(run)
        if self.saved is not None:
            self._compare(self.saved)
            before, rng = Snapshot(run), run.rng.bit_generator.state
            try:
                load_state(run, self.saved["state"])
            except Exception as error:
                before.restore(run)
                run.rng.bit_generator.state = rng
                raise ValueError(f"{self.path}: expected the state of this run, got {error}") from error
            self.options = self.saved["options"]
        encode(state_of(run), [])  # raises what a file cannot hold
        if threading.current_thread() is threading.main_thread():
            self.catch_signals()

    def fingerprints(self, run: RunState) -> dict[str, str]:
        """Return the texts of the options and arrays of a run, see `fingerprints`."""
        return fingerprints(run, self.seed)

    def _compare(self, saved: dict[str, Any]) -> None:
        """Raise unless every option is that of the saved run, at its start or, after schedules, at its end."""
        for name, own in self.options.items():
            before = saved["options"].get(name)
            if own not in (before, saved["options now"].get(name)):
                raise ValueError(
                    f"checkpoint: expected {name} as in {os.fspath(self.path)!r}, {before}, got {own}; "  # type: ignore[arg-type]
                    "pass the same to go on, or resume=False to start again"
                )

    def after_step(self, run: RunState) -> None:
        """Write if a checkpoint is due or a signal has come; then pass the signal on."""
        if self.path is not None and (self.received or self._time_is_over()):
            self._write(run)
            self._pass_on_signal()

    def after_epoch(self, run: RunState, ended: bool) -> None:
        """Write if an epoch's checkpoint is due, the run ends or a signal has come."""
        if self.path is None:
            return
        is_due = not isinstance(self.every, datetime.timedelta) and len(run.history) % self.every == 0
        if is_due or ended or self.received or self._time_is_over():
            self._write(run)
            self._pass_on_signal()

    def _time_is_over(self) -> bool:
        return (
            isinstance(self.every, datetime.timedelta) and time.monotonic() - self.written >= self.every.total_seconds()
        )

    def _write(self, run: RunState) -> None:
        """Write the state; if numbers have overflowed, keep the last checkpoint, from which a run can go on."""
        arrays: list[Array] = []
        state = state_of(run)
        encode([state["network"], state["optimizer"]], arrays)
        if all(np.isfinite(array).all() for array in arrays if array.dtype.kind in "fc"):
            now = {"optimizer": describe(run.optimizer), "schedule": describe(run.schedules)}
            document = {"state": state, "options": self.options, "options now": now, "start": self.start}
            write(self.path, document)  # type: ignore[arg-type]
        self.written = time.monotonic()

    def catch_signals(self) -> None:
        """Make SIGINT and SIGTERM wait for the end of a step, unless the process ignores them."""
        for number in SIGNALS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                self.handlers[number] = signal.signal(number, self._receive)

    def restore_handlers(self) -> None:
        """Restore the signal handlers that were there before."""
        while self.handlers:
            signal.signal(*self.handlers.popitem())

    def close(self) -> None:
        """Restore the signal handlers, and pass on a SIGTERM that came after the last step."""
        self.restore_handlers()
        if self.received == signal.SIGTERM:
            signal.raise_signal(self.received)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received:  # the second one does not wait
            self.restore_handlers()
            signal.raise_signal(number)
        self.received = number

    def _pass_on_signal(self) -> None:
        """End training as Ctrl-C does, or the process as SIGTERM does, or call the handler of the user."""
        number, self.received = self.received, 0
        if number:
            self.restore_handlers()
            signal.raise_signal(number)  # SIGINT raises KeyboardInterrupt, which ends training
            self.catch_signals()
