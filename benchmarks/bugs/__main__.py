"""``python -m benchmarks.bugs``: count the planted bugs that are detected and named, and the false accusations."""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.kernel import restart_with_better_kernel
from handmade.progress import progress_bar
from reference.command import add_options

from .benchmark import Verdict, accused, judge, random_setting
from .catalogue import BUGS, RARE
from .student_programs import Setting

CASES = 1000  # correct gradients
QUICK = 6  # --quick takes every sixth bug and a sixth of the correct gradients
TARGET = 0.95  # the share of bugs that diagnose_gradient has to name

Answers = list[tuple[Setting, tuple[bool, bool]]]
Item = TypeVar("Item")


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark, print the tables, and return the exit status: 0 if every target is met, else 1.

    Ctrl-C ends the run early; the tables then hold what was finished.
    """
    options = _parser().parse_args(arguments)
    step = QUICK if options.quick else 1
    started = time.perf_counter()
    rng = np.random.default_rng(options.seed)
    settings = list(enumerate(random_setting(rng) for _ in range(CASES // step)))
    verdicts: list[Verdict] = []
    others: list[Verdict] = []
    cases: Answers = []
    try:
        _collect("bug", BUGS[::step], lambda bug: verdicts.append(judge(bug, options.seed)))
        _collect("rare bug", RARE[::step], lambda bug: others.append(judge(bug, options.seed)))
        _collect("right gradient", settings, lambda pair: cases.append(_ask(*pair, options.seed)))
    except KeyboardInterrupt:
        print("interrupted: what follows is a part")
    _print_table(verdicts + others)
    passed = _print_totals(verdicts, others, cases)
    print(
        f"{len(verdicts)} of {len(BUGS)} bugs, {len(cases)} of {CASES} right gradients; "
        f"{time.perf_counter() - started:.0f} s; Python {platform.python_version()}, NumPy {np.__version__}, "
        f"seed {options.seed}"
    )
    if options.json:
        options.json.write_text(json.dumps(_record(verdicts + others, cases), indent=1))
    return 0 if passed and len(others) == len(RARE[::step]) and len(cases) == len(settings) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bugs",
        description="Plant bugs in correct programs and count those that are detected and named.",
    )
    add_options(parser, f"every {QUICK}th bug, a {QUICK}th of the right gradients", "draws weights and batches")
    return parser


def _collect(name: str, items: Iterable[Item], judge_one: Callable[[Item], None]) -> None:
    """Judge each item, with a progress bar."""
    items = list(items)
    with progress_bar(name, len(items)) as report:
        for done, item in enumerate(items, start=1):
            judge_one(item)
            report(done, name)


def _ask(i: int, setting: Setting, seed: int) -> tuple[Setting, tuple[bool, bool]]:
    """Return a setting with both answers, about the student's gradient and the network's in turn."""
    return setting, accused(setting, seed + i, by_hand=i % 2 == 0)


def _print_table(verdicts: list[Verdict]) -> None:
    table = Table(box=None, padding=(0, 1))
    for title in ("bug", "the wrong line", "program", "detected", "named", "diagnosis"):
        table.add_column(title)
    for verdict in verdicts:
        bug, said = verdict.bug, verdict.said
        first = next((name for name in said if name in bug.expected), said[0] if said else "unknown")
        more = f" (or {len(said) - 1} more)" if len(said) > 1 else ""
        wrong = " ".join(bug.wrong.split())
        answers = ["yes" if answer else "NO" for answer in (verdict.detected, verdict.named)]
        table.add_row(bug.name, wrong, str(bug.setting), *answers, first + more)
    # The table keeps its full width: a narrow terminal wraps lines, but nothing is cut off.
    Console(width=1000, highlight=False, markup=False).print(table)


def _print_totals(verdicts: list[Verdict], others: list[Verdict], cases: Answers) -> bool:
    """Print the totals, and return whether the targets are met."""
    count = len(verdicts)
    detected, named = sum(v.detected for v in verdicts), sum(v.named for v in verdicts)
    alone = sum(v.named and len(v.said) == 1 for v in verdicts)
    by_check, by_diagnosis = (sum(answer[i] for _, answer in cases) for i in range(2))
    print(f"detected by check_gradient: {detected} of {count}; target {count}")
    least = math.ceil(TARGET * count)
    print(f"named by diagnose_gradient: {named} of {count}, {alone} of them by one name alone; target {least}")
    seen, known, unknown = (
        sum(of) for of in ([v.detected for v in others], [v.named for v in others], [not v.said for v in others])
    )
    print(
        f"rarer bugs, written when the catalogue was finished: {seen} of {len(others)} detected, {known} named, "
        f"{unknown} called unknown, {len(others) - known - unknown} named by another name"
    )
    print(f"right gradients accused by check_gradient: {by_check} of {len(cases)}; target 0")
    print(f"right gradients accused by diagnose_gradient: {by_diagnosis} of {len(cases)}; target 0")
    for setting, answer in cases:
        if any(answer):
            print(f"ACCUSED: {setting}, {np.dtype(setting.dtype).name}")
    return detected == count and seen == len(others) and named >= least and not by_check and not by_diagnosis


def _record(verdicts: list[Verdict], cases: Answers) -> dict[str, Any]:
    return {
        "bugs": [
            {
                "name": v.bug.name,
                "right": v.bug.right,
                "wrong": v.bug.wrong,
                "program": str(v.bug.setting),
                "detected": v.detected,
                "named": v.named,
                "said": v.said,
                "expected": v.bug.expected,
            }
            for v in verdicts
        ],
        "right": [
            {"program": str(setting), "dtype": np.dtype(setting.dtype).name, "accused": answer}
            for setting, answer in cases
        ],
    }


if __name__ == "__main__":
    restart_with_better_kernel()
    sys.exit(main())
