"""Progress of long work, on stderr: a bar by rich in a terminal, plain lines elsewhere, nothing on request."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator

__all__ = ["progress_bar"]

PLAIN_LINES = 20
SILENCE = 10.0  # seconds


@contextlib.contextmanager
def progress_bar(title: str, total: int, enabled: bool = True) -> Iterator[Callable[[int, str], None]]:
    """Show how far a loop of ``total`` steps has come.

    Parameters
    ----------
    title : str
        What is being done.
    total : int
        How many steps it takes.
    enabled : bool
        False shows nothing.

    Yields
    ------
    callable
        ``report(done, text)``: so many steps are done, and this is the latest news. Outside a terminal about twenty
        of the reports become lines. A second report of the same count is a last word, and always shown.

    Examples
    --------
    >>> with progress_bar("counting", 3, enabled=False) as report:
    ...     for done in range(1, 4):
    ...         report(done, f"at {done}")
    """
    if not enabled:
        yield lambda done, text="": None
    elif sys.stderr.isatty() and (rich := _rich()):
        with rich as bar:
            task = bar.add_task(title, total=total, news="")
            yield lambda done, text="": bar.update(task, completed=done, news=text)
    else:
        yield _lines(title, total)


def _rich():
    """A rich progress display, or None where rich is not installed."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.table import Column
    except ImportError:
        return None
    yielding = Column(no_wrap=True, overflow="ellipsis", ratio=1)  # what gives way where the terminal is narrow
    return Progress(
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(bar_width=12),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[news]}", markup=False, table_column=yielding),
        console=Console(stderr=True),
        expand=True,
    )


def _lines(title: str, total: int) -> Callable[[int, str], None]:
    """The first and the last report, about twenty in all, and more after a while of silence or for a last word."""
    printed, due, last = time.monotonic(), 0, 0

    def report(done: int, text: str = "") -> None:
        nonlocal printed, due, last
        if done >= due or done in (last, total) or time.monotonic() - printed >= SILENCE:
            printed, due = time.monotonic(), done + math.ceil(total / PLAIN_LINES)
            print(f"{title} {done}/{total}  {text}", file=sys.stderr, flush=True)
        last = done

    return report
