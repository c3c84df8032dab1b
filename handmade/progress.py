"""Progress of long work, on stderr: a bar by rich in a terminal, plain lines elsewhere, nothing on request."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

__all__ = ["progress_bar"]

PLAIN_LINES = 20


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
        of the reports become lines.

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
    except ImportError:
        return None
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, TextColumn("{task.fields[news]}", markup=False), console=Console(stderr=True))


def _lines(title: str, total: int) -> Callable[[int, str], None]:
    printed = 0

    def report(done: int, text: str = "") -> None:
        nonlocal printed
        due = done * PLAIN_LINES // max(total, PLAIN_LINES)
        if total <= PLAIN_LINES or due > printed or done == total:
            printed = due
            print(f"{title} {done}/{total}  {text}", file=sys.stderr, flush=True)

    return report
