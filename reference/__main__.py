"""``python -m reference``: verify handmade against PyTorch and finite differences, case by case."""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from handmade.progress import progress_bar

from .command import add_options
from .conventions import print_conventions
from .lecture_claims import print_claims
from .networks import Case, all_cases
from .verify import Row, verify

FIGURES = {
    "loss": "loss - torch",
    "autograd": "gradient - autograd",
    "differences": "gradient - differences",
    "steps": "after 100 steps - torch",
}
QUICK = 6  # --quick takes every sixth case

# Options that run another command instead of the verification: a help text and the command.
INSTEAD: dict[str, tuple[str, Callable[[argparse.Namespace], int]]] = {
    "claims": ("test the lecture's statements, in half a minute,", lambda o: print_claims(o.seed, o.quick, o.json)),
    "conventions": ("compare the definitions of four libraries", lambda o: print_conventions(o.json)),
}


def main(arguments: list[str] | None = None) -> int:
    """Run the cases, print the table, and return the exit status: 0 if all pass, 1 if any fails, 2 if none is chosen.

    Examples
    --------
    >>> main(["--case", "no such case"])
    2
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    for name, (_, command) in INSTEAD.items():
        if getattr(options, name):
            if options.case:
                parser.error(f"--case selects cases of the verification; --{name} has none")
            return command(options)
    cases = [case for case in all_cases() if options.case in case.name]
    if not cases:
        example = all_cases()[0].name
        print(f"--case: expected a part of a name such as {example!r}, got {options.case!r}", file=sys.stderr)
        return 2
    return _verify_all(cases[::QUICK] if options.quick else cases, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m reference", description="Verify handmade against PyTorch.")
    instead = parser.add_mutually_exclusive_group()
    for name, (text, _) in INSTEAD.items():
        instead.add_argument(f"--{name}", action="store_true", help=f"{text} instead")
    parser.add_argument("--compiled", action="store_true", help="verify the passes of handmade.compile")
    parser.add_argument("--case", default="", metavar="PATTERN", help="only cases whose name contains PATTERN")
    add_options(parser, f"only every {QUICK}th case", "draws weights and data")
    return parser


def _verify_all(cases: list[Case], options: argparse.Namespace) -> int:
    """Verify and print these cases, and return the exit status."""
    torch.set_num_threads(1)  # small networks: a second thread would mostly wait
    started = time.perf_counter()
    rows, without, interrupted = _run(cases, options.seed, options.compiled)
    _print_table(rows)
    _print_largest(rows)
    for name, reason in without.items():
        print(f"no compiled form: {name}: {reason}")
    failed = [row for row in rows if not row.passed]
    for row in failed:
        print(f"FAILED: {row.case.name}")
    print(
        f"{len(rows)} of {len(cases)} cases{', compiled' * options.compiled}, {len(rows) * len(FIGURES)} figures: "
        f"{len(rows) - len(failed)} cases "
        f"passed, {len(failed)} failed; {time.perf_counter() - started:.0f} s; Python {platform.python_version()}, "
        f"NumPy {np.__version__}, torch {torch.__version__}, seed {options.seed}"
    )
    if options.json:
        options.json.write_text(json.dumps([_record(row) for row in rows], indent=1))
    return 1 if failed or interrupted else 0


def _run(cases: list[Case], seed: int, compiled: bool) -> tuple[list[Row], dict[str, str], bool]:
    """Return the rows, the cases without a compiled form, and whether Ctrl-C ended the run early."""
    rows: list[Row] = []
    without: dict[str, str] = {}
    unsupported: tuple[type[Exception], ...] = ()
    if compiled:
        from handmade.compiled import Unsupported  # needs numba

        unsupported = (Unsupported,)
    with progress_bar("case", len(cases)) as report:
        try:
            for done, case in enumerate(cases, 1):
                try:
                    rows.append(verify(case, seed, compiled))
                except unsupported as error:
                    without[case.name] = str(error)
                report(done, case.name)
        except KeyboardInterrupt:
            return rows, without, True
    return rows, without, False


def _print_largest(rows: list[Row]) -> None:
    """Print the largest figure of each column, for each dtype."""
    for dtype in (np.float64, np.float32):
        chosen = [row for row in rows if row.case.dtype is dtype]
        if chosen:
            largest = {title: max(row.figures[name].value for row in chosen) for name, title in FIGURES.items()}
            text = ", ".join(f"{title} {value:.1e}" for title, value in largest.items())
            print(f"largest in {np.dtype(dtype).name}: {text}")


def _print_table(rows: list[Row]) -> None:
    """Print a table with each figure and its tolerance."""
    table = Table(box=None, padding=(0, 1))
    for title in ("case", "neurons", "weights", "parameters", "torch", *FIGURES.values(), ""):
        table.add_column(title, no_wrap=True)
    for row in rows:
        cells = [f"{row.figures[name].value:.1e} / {row.figures[name].tolerance:.1e}" for name in FIGURES]
        counts = map(str, [*row.counts, row.torch_count])
        table.add_row(row.case.name, *counts, *cells, "pass" if row.passed else "FAIL")
    # The table keeps its full width: a narrow terminal wraps lines, but nothing is cut off.
    Console(width=1000, highlight=False).print(table)


def _record(row: Row) -> dict[str, Any]:
    figures = {name: {"value": f.value, "tolerance": f.tolerance} for name, f in row.figures.items()}
    neurons, weights, parameters = row.counts
    return {
        "case": row.case.name,
        "neurons": neurons,
        "weights": weights,
        "parameters": parameters,
        "torch_parameters": row.torch_count,
        "figures": figures,
        "wrong_entries": row.wrong,
        "passed": row.passed,
    }


if __name__ == "__main__":
    sys.exit(main())
