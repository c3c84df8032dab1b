"""Show the progress of long work on stderr: a bar in a terminal (with rich), plain lines elsewhere.

A process may have no stderr, as pythonw on Windows, or one that is closed: then nothing is shown, and the work goes on.
"""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from ._validation import check_bool, check_count

__all__ = ["progress_bar"]

PLAIN_LINES = 20  # printed in all, for any number of steps
SILENCE = 10.0  # seconds after which a report becomes a line in any case


@contextlib.contextmanager
def progress_bar(title: str, total: int, enabled: bool = True) -> Iterator[Callable[..., None]]:
    """Show how far a loop of ``total`` steps has come.

    Parameters
    ----------
    title : str
        The label of the loop.
    total : int
        The number of steps.
    enabled : bool, default True
        False shows nothing.

    Yields
    ------
    callable
        ``report(done, text="")``: ``done`` steps are finished, and ``text`` is the latest news. Outside a terminal
        about twenty of the reports become lines. A second report of the same count is always shown, so that a loop can
        end with a last word.

    Raises
    ------
    ValueError
        If ``total`` is below 0.
    TypeError
        If ``total`` is not an integer, or ``enabled`` is not a bool.

    Examples
    --------
    >>> with hm.progress.progress_bar("counting", 3, enabled=False) as report:
    ...     for done in range(1, 4):
    ...         report(done, f"at {done}")
    """
    total = check_count(total, "total", least=0)
    if not check_bool(enabled, "enabled"):
        yield lambda done, text="": None
    elif _is_terminal() and (bar := _rich_bar()):
        with bar:
            task = bar.add_task(title, total=total, news="")
            yield lambda done, text="": bar.update(task, completed=done, news=text)
    else:
        yield _line_printer(title, total)


def _is_terminal() -> bool:
    """Return whether stderr is a terminal; an object in its place may have no such method."""
    try:
        return bool(sys.stderr.isatty())
    except (AttributeError, ValueError):
        return False


def _rich_bar() -> Any:
    """Return a progress display of rich, or None where rich is not installed."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.table import Column
    except ImportError:
        return None
    news = Column(no_wrap=True, overflow="ellipsis", ratio=1)  # the column that shrinks in a narrow terminal
    return Progress(
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(bar_width=12),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[news]}", markup=False, table_column=news),
        console=Console(stderr=True),
        expand=True,
    )


def _line_printer(title: str, total: int) -> Callable[..., None]:
    """Return a report that prints the first step, the last, about twenty in all, and more after a silence."""
    printed, due, last = time.monotonic(), 0, 0

    def report(done: int, text: str = "") -> None:
        nonlocal printed, due, last
        if done >= due or done in (last, total) or time.monotonic() - printed >= SILENCE:
            printed, due = time.monotonic(), done + math.ceil(total / PLAIN_LINES)
            if sys.stderr is not None:  # for None, print would write to stdout
                with contextlib.suppress(OSError, ValueError):  # of a pipe without a reader, and of a closed file
                    print(f"{title} {done}/{total}  {text}", file=sys.stderr, flush=True)
        last = done

    return report
