"""``python -m benchmarks.reliability``: try each promise, keep the counts, and write docs/reliability.md.

``--only NAME ...`` tries some of them and keeps the earlier counts of the rest; ``--trials N`` tries each N times;
``--page`` writes the page alone. The long ones, `steps` and `hostile`, are tried by name only.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import handmade as hm
from handmade._atomic import write_atomically

from . import trials
from .disks import real_disks

ROOT = Path(__file__).parents[2]
HOSTILE = Path(__file__).with_name("hostile.json")  # from which a run goes on; delete it to begin anew
RESULTS, PAGE = Path(__file__).with_name("results.json"), ROOT / "docs" / "reliability.md"


class Promise(NamedTuple):
    """A promise, and what tries it: given the number of trials, it returns how many there were and how many failed.

    A long one is tried by name alone; the page keeps the counts of its last run.
    """

    text: str
    trials: int
    attempt: Callable[[int], tuple[int, int]]
    is_long: bool = False


def kills(count: int) -> tuple[int, int]:
    from benchmarks.kills.trainings import kill_and_resume

    with tempfile.TemporaryDirectory() as folder:
        report = kill_and_resume(count, 0, Path(folder))
    return report.kills, report.unreadable + report.different


def workers(count: int) -> tuple[int, int]:
    from benchmarks.distributed.kills import kill_and_recover

    with tempfile.TemporaryDirectory() as folder:
        report = kill_and_recover(count, 3, 1, Path(folder))
    return report.kills, report.kills - report.recoveries + report.different


def machines(count: int) -> tuple[int, int]:
    from benchmarks.distributed.processes import run

    found = [run(processes, "benchmarks.distributed.equality")["cases"].values() for processes in (1, 2, 4)]
    return sum(map(len, found)), sum(not distance <= bound for cases in found for distance, bound in cases)


def hostile(count: int) -> tuple[int, int]:
    from tests.fuzz.engine import Run, fuzz
    from tests.fuzz.registry import GROUPS

    targets = {name: target for group in GROUPS.values() for name, target in group.items()}
    run = fuzz(targets, count, float("inf"), Run.load(HOSTILE, 0), HOSTILE, processes=2)
    for violation in run.violations:
        print(f"{violation['target']} --case {violation['case']}: {violation['message']}")
    return sum(run.done.values()), len(run.violations)


PROMISES = {
    "kills": Promise("A training that is killed goes on from its checkpoint, with the same bits", 200, kills),
    "resumes": Promise("A training of any configuration, interrupted twice, has the same bits", 500, trials.resumes),
    "disks": Promise("A disk that becomes full during a write leaves the last checkpoint", 100, trials.disks),
    "full": Promise("A disk that is full or read-only leaves the existing file", 300, real_disks),
    "machines": Promise("1, 2 and 4 processes give the result of one, up to rounding", 54, machines),
    "workers": Promise("After a worker is killed, the others go on, with the bits of that history", 10, workers),
    "predictions": Promise(
        "A prediction while another thread loads weights uses one set of them", 100_000, trials.predictions
    ),
    "fits": Promise("8 trainings in 8 threads have the same bits as one after the other", 20, trials.fits),
    "steps": Promise("Memory and time of a step do not grow, compiled or not", 1_000_000, trials.steps, True),
    "hostile": Promise("A hostile input gives the right answer or an error that names it", 1_000_000, hostile, True),
}


SHORT = [name for name, promise in PROMISES.items() if not promise.is_long]
PAGE_TEXT = """# Reliability

Written by `python -m benchmarks.reliability`, which tests each promise many times and counts the failures. The
tests check each promise a few times.

| promise | trials | failures | command | machine |
|---|---|---|---|---|
{rows}

A hostile input is a damaged or impossible argument, file or state dict, or an array in an unusual form of NumPy,
PyTorch or pandas. A call passes if it returns the right number (that of another parser, of the same call with plain
float64 arrays, of ONNX Runtime or of compiled C), or raises a ValueError or TypeError that names the argument. It
fails on any other exception, a crash, a hang, an unfounded warning, a change of the caller's data, a change of the
library's state after an error, or more memory than a small multiple of the input. `python -m tests.fuzz NAME --case
N` repeats a call. An interrupted run goes on, unless the source has changed: then it starts again, so that all its
cases test the same source.

`python -m benchmarks.determinism` shows what changes the bits of a training: the kernel and the threads of BLAS, and
compilation.
"""


def page(results: dict[str, dict[str, str | int]]) -> str:
    """Return docs/reliability.md."""
    rows = [
        f"| {promise.text} | {results[name]['trials']:,} | {results[name]['failures']:,} | "
        f"`python -m benchmarks.reliability --only {name}` | {results[name]['machine']} |"
        for name, promise in PROMISES.items()
        if name in results
    ]
    return PAGE_TEXT.format(rows="\n".join(rows))


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return the exit status: 0 if nothing failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability", description=__doc__)
    parser.add_argument("--only", nargs="*", choices=PROMISES, default=SHORT, metavar="NAME")
    parser.add_argument("--page", action="store_true", help="write the page from the counts of earlier runs")
    parser.add_argument("--trials", type=int, help="instead of the usual number")
    options = parser.parse_args(arguments)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in [] if options.page else options.only:
        done, failed = PROMISES[name].attempt(options.trials or PROMISES[name].trials)
        results[name] = {"trials": done, "failures": failed, "machine": _machine()}
        print(f"{name}: {done:,} trials, {failed} failures", flush=True)
        write_atomically(RESULTS, lambda stream: stream.write((json.dumps(results, indent=1) + "\n").encode()))
    PAGE.write_text(page(results))
    return int(any(result["failures"] for result in results.values()))


def _machine() -> str:
    found = hm.show_config(mode="dicts")
    return f"{found['processor']}, {found['cores']} cores, {platform.system()}, Python {found['Python']}"


if __name__ == "__main__":
    sys.exit(main())
