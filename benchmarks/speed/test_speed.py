"""Every cell of the grid and every whole job, timed on all sides by pytest-benchmark.

    python -m pytest benchmarks/speed                                       everything, in half an hour
    python -m pytest benchmarks/speed -k "step and 3-4-2"                   some cells
    python -m pytest benchmarks/speed --benchmark-json FILE
    python -m pytest benchmarks/speed --benchmark-autosave --benchmark-compare

Each group of the printed table is one piece of work: compare times only within a group, and only of one run. Here all
sides share one process, where their thread pools can disturb each other. ``python -m benchmarks.speed`` gives each side
its own process, and writes a report.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from .cases import GRID, Case
from .jobs import JOBS
from .sides import OURS, Unable, why_missing

TASKS = [pytest.param(piece, name, id=f"{piece.title}-{name}") for piece in (*GRID, *JOBS) for name in piece.sides]


@pytest.fixture(scope="module")
def ours():
    """Return handmade's results for a piece of work; those of the last piece are kept for the other sides."""
    known: dict[str, dict[str, np.ndarray]] = {}

    def results(piece: Case) -> dict[str, np.ndarray]:
        if piece.title not in known:
            known.clear()
            known[piece.title] = piece.sides[OURS](piece).results()
        return known[piece.title]

    return results


@pytest.mark.benchmark(max_time=0.3, min_rounds=3, warmup=True, warmup_iterations=3)
@pytest.mark.parametrize(("piece", "name"), TASKS)
@pytest.mark.filterwarnings("ignore")  # scikit-learn warns of an unfinished fit, PyTorch of its compiler
def test_speed(benchmark, ours, piece, name):
    if why := why_missing(piece.sides[name]):
        pytest.skip(f"{name}: {why}")
    try:
        side = piece.sides[name](piece)
    except Unable as reason:
        pytest.skip(f"{name}: {reason}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = side.results()
        if theirs:  # the matrix products alone have no results to compare
            piece.check(name, theirs, ours(piece))
    benchmark.group = piece.title
    benchmark.name = name

    def work() -> None:
        side.work()
        side.wait()

    benchmark(work)
