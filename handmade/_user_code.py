"""The place of an error in a file of the user's, for commands that show no traceback."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

__all__ = ["place_in_a_file"]


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
