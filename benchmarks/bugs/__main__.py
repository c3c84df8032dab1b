"""``python -m benchmarks.bugs``: count wrong gradients that are explained, and right ones that are called wrong."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from benchmarks.kernel import restart_with_better_kernel
from reference.command import add_options

from .campaign import PARTS, collect
from .report import is_met, tables, write_into

QUICK = 29  # --quick takes every 29th case


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark, print its tables, and return the exit status: 0 if it finished and met all targets, else 1.

    Ctrl-C ends the run early. The tables then have the finished cases, and ``--resume`` continues with the others.
    """
    options = _parser().parse_args(arguments)
    started = time.perf_counter()
    parts = options.only or list(PARTS)
    every = QUICK if options.quick else 1
    records, finished = collect(parts, every, options.seed, options.resume, options.right)
    if not finished:
        print("interrupted: the tables have the finished cases only")
    text = tables(records, options.seed)
    print(text)
    missed = is_met(records)
    for miss in missed:
        print(f"MISSED {miss}")
    print(f"{len(records)} cases, {time.perf_counter() - started:.0f} s")
    if options.json:
        options.json.write_text(json.dumps(records, indent=1))
    if options.docs:
        write_into(options.docs, text)
    return 0 if finished and not missed else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bugs",
        description="Test wrong and right gradients: count those detected, explained, and falsely called wrong.",
    )
    add_options(parser, f"every {QUICK}th case", "draws weights and batches")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), metavar="PART", help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--right", type=int, default=1000, metavar="COUNT", help="right gradients, at most 2000")
    parser.add_argument("--resume", type=Path, metavar="FILE", help="append each record to FILE, skip those in it")
    parser.add_argument("--docs", type=Path, metavar="PAGE", help="write the tables into PAGE, between its marks")
    return parser


if __name__ == "__main__":
    restart_with_better_kernel()
    sys.exit(main())
