"""``python -m reference``: verify handmade against PyTorch and against differences, case by case."""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from handmade.progress import progress_bar

from .cases import Case, all_cases
from .claims import print_claims
from .command import add_options
from .conventions import print_conventions
from .exactness import print_exactness
from .verify import Row, verify

FIGURES = {
    "loss": "loss - torch",
    "autograd": "gradient - autograd",
    "differences": "gradient - differences",
    "steps": "after 100 steps - torch",
}
QUICK = 6  # --quick takes every sixth case
INSTEAD = {
    "claims": "judge the lecture's sentences, in half a minute,",
    "conventions": "compare the definitions of four libraries",
    "exactness": "measure every formula in ULP",
}


def main(arguments: list[str] | None = None) -> int:
    """Run the cases, print the table, and return the exit status: 0 if all pass, 1 if any fails, 2 if none is asked.

    Examples
    --------
    >>> main(["--case", "no such case"])
    2
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    chosen = [name for name in INSTEAD if getattr(options, name)]
    if chosen and options.case:
        parser.error(f"--case chooses among the cases of the verification; --{chosen[0]} has none")
    if options.claims:
        return print_claims(options.seed, options.quick, options.json)
    if options.conventions:
        return print_conventions(options.json)
    if options.exactness:
        return print_exactness(options.seed, options.quick, options.json)
    cases = [case for case in all_cases() if options.case in case.name]
    if not cases:
        example = all_cases()[0].name
        print(f"no case is named like {options.case!r}; a name is, for example, {example!r}", file=sys.stderr)
        return 2
    cases = cases[::QUICK] if options.quick else cases
    torch.set_num_threads(1)  # these networks are small: a second thread waits longer than it works
    started = time.perf_counter()
    rows, interrupted = _run(cases, options.seed)
    _print_table(rows)
    _print_largest(rows)
    failed = [row for row in rows if not row.passed]
    for row in failed:
        print(f"FAILED: {row.case.name}")
    print(
        f"{len(rows)} of {len(cases)} cases, {len(rows) * len(FIGURES)} figures: {len(rows) - len(failed)} cases "
        f"passed, {len(failed)} failed; {time.perf_counter() - started:.0f} s; Python {platform.python_version()}, "
        f"NumPy {np.__version__}, torch {torch.__version__}, seed {options.seed}"
    )
    if options.json:
        options.json.write_text(json.dumps([_record(row) for row in rows], indent=1))
    return 1 if failed or interrupted else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m reference", description=main.__doc__.splitlines()[0])
    instead = parser.add_mutually_exclusive_group()
    for name, what in INSTEAD.items():
        instead.add_argument(f"--{name}", action="store_true", help=f"{what} instead")
    parser.add_argument("--case", default="", metavar="PATTERN", help="only cases whose name contains PATTERN")
    add_options(parser, f"only every {QUICK}th case", "draws weights and data")
    return parser


def _run(cases: list[Case], seed: int) -> tuple[list[Row], bool]:
    """The rows of all cases; of those that were finished, where Ctrl-C came first."""
    rows: list[Row] = []
    with progress_bar("case", len(cases)) as report:
        try:
            for case in cases:
                rows.append(verify(case, seed))
                report(len(rows), case.name)
        except KeyboardInterrupt:
            return rows, True
    return rows, False


def _print_largest(rows: list[Row]) -> None:
    """What the table comes to: the largest figure of each column."""
    for dtype in (np.float64, np.float32):
        chosen = [row for row in rows if row.case.dtype is dtype]
        if chosen:
            largest = {title: max(row.figures[name].value for row in chosen) for name, title in FIGURES.items()}
            text = ", ".join(f"{title} {value:.1e}" for title, value in largest.items())
            print(f"largest in {np.dtype(dtype).name}: {text}")


def _print_table(rows: list[Row]) -> None:
    """One table: each figure with its tolerance."""
    table = Table(box=None, padding=(0, 1))
    for title in ("case", "neurons", "weights", "parameters", "torch", *FIGURES.values(), ""):
        table.add_column(title, no_wrap=True)
    for row in rows:
        cells = [f"{row.figures[name].value:.1e} / {row.figures[name].tolerance:.1e}" for name in FIGURES]
        counts = map(str, [*row.counts, row.torch_count])
        table.add_row(row.case.name, *counts, *cells, "pass" if row.passed else "FAIL")
    # As wide as it is: a narrow terminal may break the lines, but nothing is cut off.
    Console(width=1000, highlight=False).print(table)


def _record(row: Row) -> dict:
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
