"""Two locks for arrays that several threads share: one refuses a second writer, one lets readers notice a write."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

Result = TypeVar("Result")


class OneWriter:
    """A lock that refuses a second caller instead of letting it wait.

    Parameters
    ----------
    message : str
        The text of the RuntimeError.
    """

    def __init__(self, message: str) -> None:
        self.message = message
        self._lock = threading.Lock()
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


class Versioned:
    """A lock for rare writers, which wait for each other, and frequent readers, which take no lock.

    A reader notes the version, reads, and reads again if somebody has written meanwhile.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._version = 0

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Keep other writers out. The lock's own ``with`` frees it, wherever Ctrl-C falls."""
        with self._lock:
            self._version += 1
            yield

    @property
    def version(self) -> int | None:
        """The number of writes so far; None while somebody writes."""
        version = self._version
        return None if self._lock.locked() else version

    def read(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Return what the function returns when nobody writes meanwhile."""
        while True:
            version = self.version
            if version is None:
                with self._lock:  # wait for the writer
                    continue
            result = function(*arguments)
            if self.version == version:
                return result
