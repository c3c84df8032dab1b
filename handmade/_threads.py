"""Two locks for arrays that several threads share: one refuses a second writer, one lets readers notice a write."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")


class OneWriter:
    """A lock that refuses a second holder instead of letting it wait.

    Parameters
    ----------
    message : str
        The text of the RuntimeError.
    """

    def __init__(self, message: str) -> None:
        self.message = message
        lock = threading.Lock()
        self.acquire = functools.partial(lock.acquire, blocking=False)  # returns whether nobody else holds it
        self.release = lock.release


class Versioned:
    """A lock for rare writers, which wait for each other, and frequent readers, which take no lock.

    A reader notes the version, which is odd while somebody writes, reads, and reads again if the version has changed.
    """

    def __init__(self) -> None:
        self.version = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()
        self.version += 1

    def __exit__(self, *error: object) -> None:
        self.version += 1
        self._lock.release()

    def read(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Return what the function returns when nobody writes meanwhile."""
        while True:
            version = self.version
            if version % 2:
                with self._lock:  # wait for the writer
                    continue
            result = function(*arguments)
            if self.version == version:
                return result
