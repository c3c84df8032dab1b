"""``python -m benchmarks.papers``: list the experiments, or run some and write what came out."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from handmade.progress import progress_bar

from . import results
from .experiment import Experiment, Size
from .registry import EXPERIMENTS

HERE = Path(__file__).parent
NEWS = 5.0  # seconds


def main(arguments: list[str] | None = None) -> int:
    """Run published experiments anew and put our figures beside theirs.

    Returns 0 if all was run, 130 if it was interrupted. Whatever is wrong with the arguments or the folder is said
    before any work starts, with the exit status 2.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    out = options.out or (HERE / "quick" if options.quick else HERE)
    try:
        if not options.experiments:
            print(_listing(out))
            return 0
        _check_folder(out)
        chosen = list(EXPERIMENTS) if "all" in options.experiments else list(dict.fromkeys(options.experiments))
        jobs = [_job(EXPERIMENTS[name], options, out) for name in chosen]
    except (ImportError, OSError, ValueError) as error:
        parser.error(str(error))
    try:
        for experiment, runs, record in jobs:
            _run(experiment, runs, record, out)
    except KeyboardInterrupt:
        print("interrupted: finished runs are saved, and the command without --fresh goes on there", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.papers", description=main.__doc__.splitlines()[0])
    names = ", ".join(EXPERIMENTS)
    parser.add_argument("experiments", nargs="*", type=_name, metavar="NAME", help=f"all, or some of: {names}")
    parser.add_argument("--seeds", type=_at_least(1), metavar="N", help="how many runs, each with its own seed")
    parser.add_argument("--seed", type=_at_least(0), default=0, help="what the seeds of the runs come from (default 0)")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter runs, in seconds (into quick/)")
    parser.add_argument("--fresh", action="store_true", help="discard saved runs instead of going on from them")
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"where results go (default {HERE.name}/)")
    return parser


def _name(name: str) -> str:
    if name != "all" and name not in EXPERIMENTS:
        raise argparse.ArgumentTypeError(f"unknown experiment {name!r}; there are: all, {', '.join(EXPERIMENTS)}")
    return name


def _at_least(least: int):
    def count(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"expected an integer of at least {least}, got {text!r}")
        return int(text)

    return count


def _check_folder(out: Path) -> None:
    """Raise where results could not be written in the end."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ImportError("the figures need matplotlib: pip install matplotlib")
    try:
        (out / "results").mkdir(parents=True, exist_ok=True)
        for folder in (out, out / "results"):
            tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(f"--out: expected a folder that can be written, got {str(out)!r}: {error.strerror}") from error


def _job(experiment: Experiment, options: argparse.Namespace, out: Path):
    """The experiment, how many runs it is to have, and the record to go on from."""
    size: Size = experiment.quick if options.quick else experiment.full
    record = None if options.fresh else results.read(out, experiment.name)
    if record and (record.seed, record.sweeps) != (options.seed, size.sweeps):
        raise ValueError(
            f"{experiment.name}: {str(out)!r} holds runs of seed {record.seed} with {record.sweeps:,} sweeps, "
            f"asked for are seed {options.seed} and {size.sweeps:,}; choose another --out, or discard them with --fresh"
        )
    record = record or results.Record(experiment.name, options.seed, size.sweeps)
    return experiment, options.seeds or size.runs, record


def _run(experiment: Experiment, runs: int, record: results.Record, out: Path) -> None:
    """Make the runs that are missing, and conclude from those there are, also where Ctrl-C came first."""
    if record.runs:
        print(f"{experiment.name}: going on from {len(record.runs):,} saved runs", file=sys.stderr)
    try:
        with progress_bar(experiment.name, runs) as report:
            while (done := len(record.runs)) < runs:
                _run_chunk(experiment, range(done, min(done + experiment.chunk, runs)), record, report)
                results.write(out, record)
                report(len(record.runs), "saved")
    finally:
        if record.runs:
            _conclude(experiment, record, out)


def _run_chunk(experiment: Experiment, chunk: range, record: results.Record, report) -> None:
    """Make some runs side by side, and add them to the record with what they took."""
    generators = [np.random.default_rng([record.seed, run]) for run in chunk]
    wall, processor = time.perf_counter(), time.process_time()
    record.runs += experiment.run(generators, record.sweeps, _now_and_then(report, chunk.start))
    record.minutes += (time.perf_counter() - wall) / 60
    record.processor_minutes += (time.process_time() - processor) / 60
    record.load.append(round(os.getloadavg()[0], 2))
    record.machine = results.this_machine()


def _conclude(experiment: Experiment, record: results.Record, out: Path) -> None:
    """Write table, figure and page, and print the table."""
    rows = experiment.table(record.runs)
    record.table = [asdict(row) for row in rows]
    results.write(out, record)
    figure = results.write_figure(out, experiment, record)
    written = results.write_page(out, EXPERIMENTS)
    print(f"\n{experiment.title}\n{results.rows_as_text(rows)}")
    print(f"{len(record.runs):,} runs, {record.minutes:.2f} minutes; {figure}, {written}")


def _now_and_then(report, done: int):
    """Pass on what a chunk reports: when one more of its runs is done, and else every few seconds."""
    last, told = 0, time.monotonic()

    def tell(part: float, text: str) -> None:
        nonlocal last, told
        if int(part) != last or time.monotonic() - told > NEWS:
            last, told = int(part), time.monotonic()
            report(done + last, text)

    return tell


def _listing(out: Path) -> str:
    lines = [f"{'experiment':<14}  {'runs':>5}  {'saved':>5}  {'minutes':>7}  what is rerun"]
    for name, experiment in EXPERIMENTS.items():
        record = results.read(out, name)
        saved = (f"{len(record.runs):,}", f"{record.minutes:.2f}") if record else ("-", "-")
        lines.append(f"{name:<14}  {experiment.full.runs:>5,}  {saved[0]:>5}  {saved[1]:>7}  {experiment.title}")
    lines.append("\npython -m benchmarks.papers NAME ... (or all), with --quick, --seeds N, --seed S, --out DIR")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
