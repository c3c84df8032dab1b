"""The parts of an experiment: its runs, its published figures, its picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = [
    "Experiment",
    "Group",
    "Report",
    "Row",
    "Size",
    "five_numbers",
    "median",
    "part_of",
    "share",
    "within_ninety_percent",
]

Report = Callable[[float, str], None]
Run = dict[str, Any]


@dataclass(frozen=True)
class Size:
    """The number of runs, each from its own seed, and of sweeps after which a run is given up (or ends)."""

    runs: int
    sweeps: int


@dataclass(frozen=True)
class Row:
    """One published figure beside ours.

    Parameters
    ----------
    quantity, published, ours, spread : str
        What is measured, the published figure ("-" where there is none), ours, and how ours varies.
    runs : int
        How many runs ours comes from; 0 where nothing is random.
    met : bool or None
        Whether ours agrees; None where there is nothing to agree with.
    differs : str
        What differs, required where it was not met.
    """

    quantity: str
    published: str
    ours: str
    runs: int = 0
    spread: str = ""
    met: bool | None = None
    differs: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "met", None if self.met is None else bool(self.met))  # not NumPy's
        if self.met is False and not self.differs:
            raise ValueError(f"{self.quantity!r} was not met: say in differs what differs")


@dataclass(frozen=True)
class Group:
    """A group of experiments that are rows of one published table, each with its own file, all in one section.

    Parameters
    ----------
    name, title, source, recipe : str
        As of an `Experiment`.
    draw : callable
        ``draw(runs, figure)`` draws the runs of all its experiments, in one list.
    """

    name: str
    title: str
    source: str
    recipe: str
    draw: Callable[[list[Run], Any], None]


@dataclass(frozen=True)
class Experiment:
    """A published experiment.

    Parameters
    ----------
    name, title, source, recipe : str
        What to type, what it is, where it was published, and what exactly is run here.
    full, quick : Size
        The whole experiment, and a form of it for seconds.
    chunk : int
        How many runs are made together, and saved when they are done.
    run : callable
        ``run(generators, sweeps, report)`` makes one run with each random generator and returns one dict for each,
        of what JSON can hold. ``report(done, text)`` says how far it is.
    table : callable
        ``table(runs)`` gives the rows, from the dicts of all runs.
    draw : callable
        ``draw(runs, figure)`` draws on a matplotlib Figure.
    group : Group, optional
        The table it is a row of, which then has the figure.
    on_images : bool
        Whether ``run`` and ``judge`` take ``images=``, the data.
    candidates : tuple of dict
        Settings to choose from before the first run; ``run`` then takes ``choices=``, what ``judge`` said of them.
    judge : callable
        ``judge(settings, generator, sweeps, report)`` returns a dict of what came of one candidate.
    """

    name: str
    title: str
    source: str
    recipe: str
    full: Size
    quick: Size
    chunk: int
    run: Callable[..., list[Run]]
    table: Callable[[list[Run]], list[Row]]
    draw: Callable[[list[Run], Any], None] | None = None
    group: Group | None = None
    on_images: bool = False
    candidates: tuple[dict[str, Any], ...] = ()
    judge: Callable[..., Run] | None = None

    @property
    def section(self) -> Experiment | Group:
        """The object with the title, the source and the figure."""
        return self.group or self


def part_of(report: Report, part: int, parts: int, runs: int) -> Report:
    """Return a report on one of the equal parts of each run.

    Examples
    --------
    >>> part_of(lambda done, text: print(done, text), 1, 2, runs=10)(4, "sweep 7")
    7.0 sweep 7
    """
    return lambda done, text: report((part * runs + done) / parts, text)


def _rounded(value: float) -> str:
    return f"{value:,.3g}" if abs(value) < 100 else f"{value:,.0f}"


def median(values) -> str:
    """Examples
    --------
    >>> median([1, 2, 4000]), median([])
    ('median 2', 'none')
    """
    return f"median {_rounded(np.median(values))}" if len(values) else "none"


def five_numbers(values) -> str:
    """Return the extremes and quartiles as text, as the tables print them.

    Examples
    --------
    >>> five_numbers([1, 2, 3, 4, 1000])
    'quartiles 2 and 4, from 1 to 1,000'
    """
    if not len(values):
        return "none"
    low, first, third, high = map(_rounded, np.percentile(values, [0, 25, 75, 100]))
    return f"quartiles {first} and {third}, from {low} to {high}"


def share(part: int, whole: int) -> str:
    """Examples
    --------
    >>> share(3, 4)
    '3 of 4 (75.0 %)'
    """
    return f"{part:,} of {whole:,} ({100 * part / whole:.1f} %)" if whole else "0 of 0"


def within_ninety_percent(published: float, values) -> bool:
    """Return a test whether a single published run lies in the middle 90 % of ours.

    Examples
    --------
    >>> within_ninety_percent(50, range(101)), within_ninety_percent(2, range(101))
    (True, False)
    """
    if not len(values):
        return False
    low, high = np.percentile(values, [5, 95])
    return bool(low <= published <= high)
