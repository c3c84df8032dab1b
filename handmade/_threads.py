"""Two locks for arrays that several threads share: one refuses a second writer, one lets readers notice a write."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

Result = TypeVar("Result")


class ForkedLock:
    """A lock that is free in a forked process, which has no copy of the thread that held it and would free it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        _living[id(self)] = self

    def renew(self) -> None:
        """Take a new lock; called in the child, which has one thread."""
        self._lock = threading.Lock()


_living: weakref.WeakValueDictionary[int, ForkedLock] = weakref.WeakValueDictionary()


def _renew_all() -> None:
    for reference in _living.valuerefs():
        if lock := reference():
            lock.renew()


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_renew_all)


class OneWriter(ForkedLock):
    """A lock that refuses a second caller instead of letting it wait.

    Parameters
    ----------
    message : str
        The text of the RuntimeError.
    """

    def __init__(self, message: str) -> None:
        super().__init__()
        self.message = message
        self._calls = 0

    def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Return what the function returns; raise RuntimeError if another call is running."""
        calls = self._calls
        if not self._lock.locked():
            with self._lock:  # unlike acquire and release, frees the lock wherever Ctrl-C falls
                if self._calls == calls:  # nobody else has come between
                    self._calls += 1
                    return function(*arguments)
        raise RuntimeError(self.message)


class Versioned(ForkedLock):
    """A lock for rare writers, which wait for each other, and frequent readers, which take no lock.

    A reader notes the version, reads, and reads again if somebody has written meanwhile.

    Parameters
    ----------
    message : str
        The text of the RuntimeError of a read in a process that was forked while another thread wrote: nobody will
        finish what it has begun.
    """

    def __init__(self, message: str) -> None:
        super().__init__()
        self.message = message
        self._version = 0
        self._is_half_written = False

    def renew(self) -> None:
        self._is_half_written = self._lock.locked()
        super().renew()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Keep other writers out. The lock's own ``with`` frees it, wherever Ctrl-C falls."""
        with self._lock:
            self._version += 1
            yield
            self._is_half_written = False

    @property
    def version(self) -> int | None:
        """The number of writes so far; None while somebody writes, or where a fork has cut a write off."""
        version = self._version
        return None if self._lock.locked() or self._is_half_written else version

    def read(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Return what the function returns when nobody writes; raise RuntimeError where a fork has cut a write off."""
        while True:
            if self._is_half_written and not self._lock.locked():
                raise RuntimeError(self.message)
            version = self.version
            if version is None:
                with self._lock:  # wait for the writer
                    continue
            result = function(*arguments)
            if self.version == version:
                return result
