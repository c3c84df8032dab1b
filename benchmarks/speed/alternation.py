"""Fair timing: every side has its own process, and the processes take turns for several rounds.

In one process the sides would disturb each other: threads that wait for work spin, and keep the cores from the next
side; allocators and OpenMP libraries get mixed. Before each block of calls is a pause, in which the threads of the last
side go to sleep. The block begins with calls that are not counted, which wake the side's own threads. By default,
OpenBLAS's threads spin for 2^28 cycles, a tenth of a second, which can slow down the next side tenfold; here, for 2^24.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Process", "Timing", "alternate", "time_calls"]

WARM_UP = 0.2  # as a fraction of a block
PAUSE = 0.02  # seconds


@dataclass(frozen=True)
class Timing:
    """A side's seconds per call, one number for each round.

    Examples
    --------
    >>> Timing((1.0, 2.0, 4.0)).median
    2.0
    """

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        return float(np.median(self.rounds))

    def ratio(self, other: Timing) -> float:
        """Return the other's median divided by this one's.

        Examples
        --------
        >>> Timing((1.0, 2.0, 4.0)).ratio(Timing((4.0, 4.0, 4.0)))
        2.0
        """
        return other.median / self.median

    def spread(self, other: Timing) -> tuple[float, float]:
        """Return the smallest and the largest ratio of the rounds, other to this.

        Examples
        --------
        >>> Timing((1.0, 2.0)).spread(Timing((4.0, 4.0)))
        (2.0, 4.0)
        """
        ratios = np.divide(other.rounds, self.rounds)
        return float(ratios.min()), float(ratios.max())


class Process:
    """A process that holds one object, calls its methods, and times them.

    Parameters
    ----------
    make : callable
        Called once in the process, without arguments, to make the object; must be picklable.

    Examples
    --------
    >>> with Process(list) as process:
    ...     process.call("append", 7)
    ...     process.call("index", 7)
    0
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "24")  # read when NumPy is loaded, in the new process
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make), daemon=True)
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited: Ctrl-C interrupts this process alone
        try:
            self._process.start()
        finally:
            signal.signal(signal.SIGINT, before)
        theirs.close()

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def call(self, method: str, *arguments):
        """Call a method of the object; return its result, or raise its exception."""
        return self.begin(method, *arguments)()

    def begin(self, method: str, *arguments) -> Callable[[], Any]:
        """Begin to call a method of the object; return a function that waits for it, and then acts as `call`."""
        with suppress(OSError):  # the process has ended: `_answer` raises
            self._pipe.send((method, arguments))
        return self._answer

    def _answer(self):
        try:
            succeeded, answer = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            raise RuntimeError(f"the process ended with status {self._process.exitcode}") from None
        if succeeded:
            return answer
        raise answer

    def close(self) -> None:
        self._pipe.close()
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_) -> None:
        self.close()


def _serve(pipe, make) -> None:
    held = make()
    while True:
        try:
            method, arguments = pipe.recv()
        except EOFError:
            return
        try:
            answer = True, getattr(held, method)(*arguments)
        except Exception as error:
            answer = False, error
        try:
            pipe.send(answer)
        except OSError:  # the other end has closed
            return
        except Exception as error:  # the answer cannot be pickled
            what = answer[1] if isinstance(answer[1], Exception) else error
            pipe.send((False, RuntimeError(f"{type(what).__name__}: {what}")))


def time_calls(work: Callable[[], object], wait: Callable[[], object], block: float) -> float:
    """Return the seconds per call, over a block of ``block`` seconds, after a shorter one that is not counted."""
    count, taken = 0, 0.0
    started = time.perf_counter()
    while taken < block * WARM_UP:
        work()
        count += 1
        taken = time.perf_counter() - started
    wait()
    taken = time.perf_counter() - started
    count = max(1, round(count * block / taken))
    collecting = gc.isenabled()
    gc.disable()
    try:
        started = time.perf_counter()
        for _ in range(count):
            work()
        wait()
        return (time.perf_counter() - started) / count
    finally:
        if collecting:
            gc.enable()


def alternate(
    sides: Mapping[str, Callable[[float], float]],
    block: float = 0.2,
    rounds: int = 5,
    failed: Callable[[str, Exception], None] | None = None,
) -> dict[str, Timing]:
    """Time the sides in turn.

    Parameters
    ----------
    sides : mapping of str to callable
        Each takes the seconds of a block, and returns the seconds per call in it.
    block : float
        Seconds that a side is timed at a time; at least one call.
    rounds : int
        The number of blocks of each side. Every other round goes backwards, so that no side always follows the same.
    failed : callable, optional
        Called with the name of a side that raises, and the exception; the side is then left out. By default, raise.

    Returns
    -------
    dict of str to Timing
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds):
        for name in list(times)[:: -1 if turn % 2 else 1]:
            time.sleep(PAUSE)
            try:
                times[name].append(sides[name](block))
            except Exception as error:
                if failed is None:
                    raise
                failed(name, error)
                del times[name]
    return {name: Timing(tuple(values)) for name, values in times.items()}
