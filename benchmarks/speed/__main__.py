"""``python -m benchmarks.speed``: time handmade and other libraries in turn, and write a report."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.kernel import restart_with_better_kernel
from handmade.configuration import show_config
from handmade.progress import progress_bar

from . import memory, start
from .alternation import Process, alternate
from .bench import Bench
from .cases import GRID, Case, curves
from .jobs import JOBS, Epoch
from .pages import write_pages
from .peers import SIDES
from .report import versions, write
from .sides import COMPILED, OURS, Unable, why_missing

BLOCK, ROUNDS = 0.2, 3  # seconds that a side is timed at a time; how many times
QUICK = 5  # cells, evenly spaced in the grid
MINUTES = 15  # for the cells; memory and start-up take three more
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "MKL_NUM_THREADS")


def main(arguments: list[str] | None = None) -> int:
    """Time libraries and write a report; return 0, 1 if results of a library are wrong, 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    _make_folder(options.out)
    pieces = _work(options)
    if not pieces:
        expected = "expected a part of the title of a cell, such as 'predict: 3-4-2'"
        _parser().error(f"--match: {expected}, got {options.match!r}")
    results = _nothing_measured(options.quick)
    if options.resume:
        results |= _measured_before(options.out)
    for name, why in results["missing"].items():
        print(f"{name} is left out: {why}", file=sys.stderr)
    started, status = time.perf_counter(), 0
    try:
        _run(pieces, options, results)
        results["interrupted"] = False
    except KeyboardInterrupt:
        status = 130
        print("interrupted: the report has only what was measured before", file=sys.stderr)
    finally:
        results["minutes"] += (time.perf_counter() - started) / 60
        print(*write(results, options.out), sep="\n")
        if options.write and not results["interrupted"]:
            print(*write_pages(results, options.out), sep="\n")
    return status or int(any(cell["errors"] for cell in results["cells"].values()))


def _make_folder(out: Path) -> None:
    """Make the folder of the report; exit with an error message if it is not writable."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / ".probe").touch()
        (out / ".probe").unlink()
    except OSError as error:
        _parser().error(f"--out: expected a folder that can be written, got {str(out)!r}: {error.strerror}")


def _nothing_measured(quick: bool) -> dict[str, Any]:
    """Return the results before anything is measured: the machine, the libraries and the settings."""
    return {
        "machine": {**show_config(mode="dicts"), **versions(), "kernel asked for": os.environ.get("OPENBLAS_CORETYPE")},
        "quick": quick,
        "missing": {name: why for name, side in SIDES.items() if (why := why_missing(side))},
        "load": os.getloadavg()[0],
        "environment": {name: os.environ[name] for name in THREADS if name in os.environ},
        "interrupted": True,
        "cells": {},
        "memory": {},
        "measured": [],
        "skipped": [],
        "minutes": 0.0,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=main.__doc__.partition(";")[0])
    parser.add_argument("--quick", action="store_true", help="time a few cells, in one minute")
    parser.add_argument("--match", default="", metavar="TEXT", help="only cells with TEXT in their title; no memory")
    parser.add_argument("--out", type=Path, default=Path("speed-report"), metavar="DIR",
                        help="write report.md, report.html and results.json to DIR (default speed-report)")  # fmt: skip
    parser.add_argument("--resume", action="store_true", help="measure only what the results in DIR lack")
    parser.add_argument(
        "--minutes",
        type=float,
        default=MINUTES,
        metavar="M",
        help=f"begin no cell after M minutes (default {MINUTES})",
    )
    parser.add_argument("--write", action="store_true", help="also write the tables into docs/speed.md and README.md")
    return parser


def _measured_before(out: Path) -> dict[str, Any]:
    """Return the cells and the memory from the results of an earlier run; an empty dict if there was none."""
    path = out / "results.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    return {name: found[name] for name in ("cells", "memory", "measured", "minutes") if name in found}


def _work(options: argparse.Namespace) -> list[Any]:
    """Return the cells and jobs to time, each once."""
    along = [case for cases in curves().values() for case in cases]
    pieces = list(dict.fromkeys([*JOBS, *GRID, *along]))
    if options.quick:
        small = [piece for piece in pieces if not (isinstance(piece, Case) and piece.parameter_count > 10**6)]
        small = [piece for piece in small if not (isinstance(piece, Epoch) and piece.samples > 10**4)]
        pieces = small[:: max(1, len(small) // QUICK)]
    return [piece for piece in pieces if options.match.lower() in piece.title.lower()]


def _run(pieces: list[Any], options: argparse.Namespace, results: dict[str, Any]) -> None:
    """Measure memory, then time every piece; update the results after each, in memory and on disk."""
    measures = [] if options.match else _memory(options.quick)
    measures = [(name, measure) for name, measure in measures if name not in results["measured"]]
    pieces = [piece for piece in pieces if piece.title not in results["cells"]]
    until = time.perf_counter() + 60 * options.minutes
    with ExitStack() as stack, progress_bar("cell", len(pieces) + len(measures)) as report:
        benches: dict[str, Process] = {}

        def bench(name: str) -> Process:
            if name not in benches or not benches[name].alive:
                benches[name] = stack.enter_context(Process(partial(Bench, name)))
            return benches[name]

        for done, (name, measure) in enumerate(measures, 1):
            measure(results["memory"])
            results["measured"].append(name)
            report(done, name)
        for done, piece in enumerate(pieces, len(measures) + 1):
            if time.perf_counter() > until:
                results["skipped"] = [piece.title for piece in pieces if piece.title not in results["cells"]]
                break
            names = [name for name, side in piece.sides.items() if not why_missing(side)]
            results["cells"][piece.title] = _cell(piece, {name: bench(name) for name in names}, options.quick)
            (options.out / "results.json").write_text(json.dumps(results, indent=1))
            report(done, piece.title)


def _cell(piece: Any, benches: dict[str, Process], quick: bool) -> dict[str, Any]:
    """Time one piece of work on every side whose results agree with handmade's, and return the cell."""
    cell: dict[str, Any] = {"title": piece.title, "kind": getattr(piece, "work", type(piece).__name__), "errors": {}}
    if isinstance(piece, Case):
        cell |= {"sizes": list(piece.sizes), "batch": piece.batch, "optimizer": piece.optimizer,
                 "parameters": piece.parameter_count, "grid": piece in GRID}  # fmt: skip

    def lose(name: str, error: Exception) -> None:
        """Record an error of a side; raise it if the side is handmade."""
        if name == OURS:
            raise error
        cell["errors"][name] = str(error)
        print(f"not timed: {name}, {piece.title}: {error}", file=sys.stderr)

    # All sides prepare at once, because compilers take most of the time; timing begins when the last one is ready.
    prepared = {name: process.begin("prepare", piece) for name, process in benches.items()}
    sides, ours = {}, prepared[OURS]()
    for name, process in benches.items():
        try:
            theirs = ours if name == OURS else prepared[name]()
            if theirs:  # the matrix products alone have no results to compare
                piece.check(name, theirs, ours)
        except Unable:
            continue
        except Exception as error:  # a Disagreement, or an error of the library
            lose(name, error)
            continue
        sides[name] = partial(process.call, "time")
    timings = alternate(sides, BLOCK / 2 if quick else BLOCK, ROUNDS, lose)
    cell["seconds"] = {name: list(timing.rounds) for name, timing in timings.items()}
    return cell


def _memory(quick: bool) -> list[tuple[str, Any]]:
    """Return the other measurements by name: functions that add their results to a dictionary."""
    usual = [Case((784, 128, 10), 64), Case((784, 1024, 1024, 1024, 10), 256)]
    steps = [case for one in usual for case in (one, Case(one.sizes, one.batch, optimizer="Adam"))]
    steps += [Case((784, 300, 100, 10), 128, activation=name) for name in ("sigmoid", "tanh")]
    sides = [name for name in memory.TRAIN if not why_missing(SIDES[name])]
    needs = {start.NUMBA_ALONE: COMPILED}
    starting = [name for name in start.START if not why_missing(SIDES[needs.get(name, name)])]
    starting = [name for name in starting if not (quick and name == "torch.compile")]

    def step(found: dict) -> None:
        found["steps"] = {case.title: memory.step_memory(case) for case in steps}

    def resident(found: dict) -> None:
        found["resident"] = {side: memory.resident(side, steps[2].sizes, steps[2].batch) for side in sides}

    def imports(found: dict) -> None:
        found["import"] = memory.import_ratio()

    def mapped(found: dict) -> None:
        size = 3 * 10**7 if quick else 10**10
        found["memmap"] = size, memory.memmap_growth(size)

    def along(name: str, case: Case, found: dict) -> None:
        sizes = {side: memory.resident(side, case.sizes, case.batch) for side in sides}
        found.setdefault("curves", {}).setdefault(name, []).append(sizes)

    def first_step(found: dict) -> None:
        found["first step"] = start.first_steps(starting, (784, 128, 10), 64, 1 if quick else start.ROUNDS)

    def call(found: dict) -> None:
        found["call"] = start.call_overhead()

    measures = [("memory of a step", step), ("import", imports), ("memmap", mapped), ("resident size", resident)]
    measures += [("call", call)] if COMPILED in sides else []
    measures.append(("first step", first_step))
    if not quick:
        measures += [(f"resident size: {case.shape}", partial(along, name, case))
                     for name, cases in curves().items() for case in cases]  # fmt: skip
    return measures


if __name__ == "__main__":
    restart_with_better_kernel()
    sys.exit(main())
