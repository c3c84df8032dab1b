"""``python -m benchmarks.exactness``: measure every activation, loss and derivative in ULP, and print one table."""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import sys
import time

import mpmath
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from handmade.progress import progress_bar
from reference.command import add_options

from .measurement import POINTS, SLACK, Measurement, measure
from .subjects import Subject, all_subjects
from .ulp import DIGITS

QUICK_POINTS = POINTS // 20


def main(arguments: list[str] | None = None) -> int:
    """Measure every subject, print one table, and return the exit status: 0 if every target is met, else 1."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    started = time.perf_counter()
    work = [(subject, dtype) for subject in all_subjects() for dtype in (np.float32, np.float64)]
    rows, interrupted = _measure_all(work, QUICK_POINTS if options.quick else POINTS, options.seed)
    _print_table(rows)
    missed = [row for row in rows if not row.met]
    for row in missed:
        print(f"MISSED: {row.name} {row.dtype}, {max(row.handmade):.3g} ULP, at {row.where!r}")
    print(
        f"{len(rows)} of {2 * len(work)} rows: {len(rows) - len(missed)} met, {len(missed)} missed; "
        f"{time.perf_counter() - started:.0f} s; Python {platform.python_version()}, NumPy {np.__version__}, "
        f"torch {torch.__version__}, mpmath {mpmath.__version__} at {DIGITS} digits, seed {options.seed}"
    )
    if options.json:
        records = [dataclasses.asdict(row) | {"dtype": str(row.dtype), "met": row.met} for row in rows]
        options.json.write_text(json.dumps(records, indent=1))
    return 1 if missed or interrupted else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.exactness",
        description="Measure every activation, loss and derivative against 50 digits, beside PyTorch.",
    )
    add_options(parser, "a twentieth of the points", "draws the points")
    return parser


def _measure_all(work: list[tuple[Subject, type]], n: int, seed: int) -> tuple[list[Measurement], bool]:
    """Return the measurements of all finished subjects, and whether Ctrl-C ended the run early."""
    rows: list[Measurement] = []
    with progress_bar("exactness", len(work)) as report:
        try:
            for done, (subject, dtype) in enumerate(work, start=1):
                rows += measure(subject, dtype, n, seed)
                report(done, f"{subject.name} {np.dtype(dtype)}")
        except KeyboardInterrupt:
            return rows, True
    return rows, False


def _print_table(rows: list[Measurement]) -> None:
    table = Table(box=None, padding=(0, 1), title="worst error in ULP: |x| <= 10 or logits of scale 10 / everywhere")
    for title, justify in (
        ("function", "left"),
        ("dtype", "left"),
        ("handmade", "right"),
        ("torch", "right"),
        ("target", "right"),
        ("worst at", "right"),
        ("", "left"),
    ):
        table.add_column(title, justify=justify, no_wrap=True)
    for row in rows:
        target = f"torch + {SLACK:.0f}" if np.isinf(row.target) else f"{row.target:.0f}"
        both = (" / ".join(map(_figure, pair)) for pair in (row.handmade, row.torch))
        table.add_row(row.name, str(row.dtype), *both, target, f"{row.where:.6g}", "met" if row.met else "MISSED")
    # The table keeps its full width: a narrow terminal wraps lines, but nothing is cut off.
    Console(width=1000, highlight=False).print(table)


def _figure(error: float) -> str:
    return f"{error:.2f}" if error < 1000 else f"{error:.0e}"


if __name__ == "__main__":
    sys.exit(main())
