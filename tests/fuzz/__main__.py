"""``python -m tests.fuzz``: run hostile cases, a million of them in an hour on two cores."""

from __future__ import annotations

import argparse
import contextlib
import functools
import math
import os
import sys
import tempfile
import time
from pathlib import Path

from .calls import run_quietly
from .doors import DOORS
from .engine import Run, Target, fuzz, run_case
from .reach import unreached
from .registry import GROUPS
from .rules import Violation


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; return 1 if a case broke the rule."""
    options = _parser().parse_args(arguments)
    targets = _choose(options.names)
    if options.case is not None:
        return _replay(targets, options.seed, options.case)
    if options.reach:
        calls = [functools.partial(run_quietly, door.make()) for door in DOORS.values()]
        print(*unreached(targets, options.reach, options.seed, calls), sep="\n")
        return 0
    run = Run.load(options.resume, options.seed)
    last = time.monotonic() - 10

    def report(run: Run) -> None:
        nonlocal last
        if time.monotonic() - last >= 10:
            last = time.monotonic()
            print(f"{sum(run.done.values()):,} cases, {len(run.violations)} violations", file=sys.stderr, flush=True)

    try:
        fuzz(targets, options.cases, options.seconds, run, options.resume, options.processes, report)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
    for violation in run.violations:
        print(f"{violation['target']} --case {violation['case']}: {violation['message']}")
    for name, done in sorted(run.done.items()):
        print(f"{name:<24} {done:>10,} cases")
    print(f"{sum(run.done.values()):,} cases in {run.seconds:.0f} s, {len(run.violations)} violations")
    return bool(run.violations)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", default=["all"], help=f"groups ({', '.join(GROUPS)}) or targets; all")
    parser.add_argument("--cases", type=int, default=1_000_000, help="in all, with those of earlier runs")
    parser.add_argument("--seconds", type=float, default=math.inf, help="stop after this time")
    parser.add_argument("--resume", type=Path, help="a file to go on from, written every few seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--case", type=int, help="run this case alone, with its traceback")
    parser.add_argument("--reach", type=int, help="print the public functions that so many cases of each do not call")
    return parser


def _choose(names: list[str]) -> dict[str, Target]:
    """Return the targets of groups and single ones."""
    every = {name: target for group in GROUPS.values() for name, target in group.items()}
    chosen: dict[str, Target] = {}
    for name in names:
        found = every if name == "all" else GROUPS.get(name) or {key: t for key, t in every.items() if key == name}
        if not found:
            sys.exit(f"{name}: expected a group ({', '.join(GROUPS)}) or a target ({', '.join(every)})")
        chosen |= found
    return chosen


def _replay(targets: dict[str, Target], seed: int, case: int) -> int:
    """Run one case of each target in this process, in a folder where it may leave files."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for name, target in targets.items():
            try:
                run_case(target, seed, case)
            except Violation:
                print(f"{name} --case {case}", file=sys.stderr)
                raise
    print("no violation")
    return 0


if __name__ == "__main__":
    sys.exit(main())
