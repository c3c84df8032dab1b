"""A file of the user's that a command runs: the modules beside it, and the place of an error in it."""

from __future__ import annotations

import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["importing_beside", "place_in_a_file"]


@contextmanager
def importing_beside(path: str | Path) -> Iterator[None]:
    """Let a file import the modules in its folder, which may hold students' files: what is installed comes first."""
    folder = str(Path(path).resolve().parent)
    is_new = folder not in sys.path
    if is_new:
        sys.path.append(folder)
    try:
        yield
    finally:
        if is_new:
            sys.path.remove(folder)


def place_in_a_file(error: BaseException) -> str:
    """Return a phrase for the innermost line of the user's code that an error has passed; empty if there is none.

    Examples
    --------
    >>> from handmade._user_code import place_in_a_file
    >>> place_in_a_file(ValueError("raised nowhere"))
    ''
    """
    while error.__cause__ is not None:
        error = error.__cause__
    others = [Path(__file__).parent, *map(Path, map(sysconfig.get_path, ("stdlib", "purelib", "platlib")))]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if file.is_file() and not any(file.is_relative_to(folder) for folder in others):
            return f" (line {frame.lineno} of {file.name})"
    return ""
