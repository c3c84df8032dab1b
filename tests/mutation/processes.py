"""Processes for mutants: each a fork with limits and a directory of its own, so many at a time."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import tempfile
import time
from collections.abc import Callable

MEMORY = 6 << 30  # bytes of data, so that a mutant that never stops growing fails and harms nobody
PATIENCE = 20  # the clock may show so many times the seconds of the processor that are allowed
PASSED, FAILED, CANNOT = 0, 1, 99  # exit codes of a mutant's process


class Pool:
    """A pool of at most ``size`` processes, each with a limit, a directory, and a function to call at its end."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.running: dict[int, tuple[str, Callable[[str], None]]] = {}

    def start(self, work: Callable[[], int], limit: int, done: Callable[[str], None]) -> None:
        """Run ``work`` in a fork, as soon as there is room; its result is the exit code."""
        while len(self.running) >= self.size:
            self._wait()
        place = tempfile.mkdtemp(prefix="mutant-")
        if (pid := os.fork()) == 0:
            code = FAILED
            try:
                _confine(limit, place)
                code = work()
            finally:
                os._exit(code)
        self.running[pid] = place, done

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Wait for all; after an exception, end them without a result."""
        while self.running and kind is None:
            self._wait()
        for pid, (place, _) in self.running.items():
            _kill_group(pid)
            os.waitpid(pid, 0)
            shutil.rmtree(place, ignore_errors=True)
        self.running.clear()

    def _wait(self) -> None:
        pid, status = os.waitpid(-1, 0)
        place, done = self.running.pop(pid)
        _kill_group(pid)  # what the tests may have started
        shutil.rmtree(place, ignore_errors=True)
        if os.WIFSIGNALED(status):
            late = os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGALRM, signal.SIGKILL)
            done("timeout" if late else "killed")
        else:
            done({PASSED: "survived", CANNOT: "cannot"}.get(os.WEXITSTATUS(status), "killed"))


def _confine(limit: int, place: str) -> None:
    """Give this process a group, a directory, limits, and nowhere to write to."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    signal.alarm(PATIENCE * limit)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.environ["PYTEST_DEBUG_TEMPROOT"] = os.environ["TMPDIR"] = place
    tempfile.tempdir = None


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def seconds_computed() -> float:
    """Return the seconds that this process and those that it waited for have computed."""
    others = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + others.ru_utime + others.ru_stime
