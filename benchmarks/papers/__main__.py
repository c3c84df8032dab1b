"""``python -m benchmarks.papers``: list the experiments, or run some and write their results."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.kernel import restart_with_better_kernel
from handmade.progress import progress_bar

from . import images, results
from .experiment import Experiment, Size
from .registry import EXPERIMENTS

HERE = Path(__file__).parent
NEWS = 5.0  # seconds
CHOICE = 10**6  # the run whose seed the candidates share: beyond those of the runs


def main(arguments: list[str] | None = None) -> int:
    """Run published experiments again, and compare our figures with theirs.

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
        chosen = list(dict.fromkeys(name for asked in options.experiments for name in _names()[asked]))
        on_images = [name for name in chosen if EXPERIMENTS[name].on_images]
        data = images.read(options.data) if on_images or options.data else None
        _check_folder(out)
        jobs = [_job(EXPERIMENTS[name], options, out, data) for name in chosen]
    except (ImportError, OSError, ValueError) as error:
        parser.error(str(error))
    try:
        for (experiment, runs, record), after in zip(jobs, [*jobs[1:], None], strict=True):
            _run(experiment, runs, record, out, last=not after or after[0].section is not experiment.section)
    except KeyboardInterrupt:
        print("interrupted: finished runs are saved, and the command without --fresh goes on there", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.papers", description=main.__doc__.splitlines()[0])
    names = ", ".join(_names())
    parser.add_argument("experiments", nargs="*", type=_name, metavar="NAME", help=f"some of: {names}")
    parser.add_argument("--data", type=Path, metavar="DIR", help="MNIST's four IDX files (default: the bundled digits)")
    parser.add_argument("--seeds", type=_at_least(1), metavar="N", help="how many runs, each with its own seed")
    parser.add_argument("--seed", type=_at_least(0), default=0, help="what the seeds of the runs come from (default 0)")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter runs, in seconds (into quick/)")
    parser.add_argument("--fresh", action="store_true", help="discard saved runs instead of going on from them")
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"where results go (default {HERE.name}/)")
    return parser


def _names() -> dict[str, list[str]]:
    """Return the experiments that each name stands for: all, those of a group, or one."""
    names = {"all": list(EXPERIMENTS)}
    for name, experiment in EXPERIMENTS.items():
        if experiment.group:
            names.setdefault(experiment.group.name, []).append(name)
        names[name] = [name]
    return names


def _name(name: str) -> str:
    if name not in _names():
        raise argparse.ArgumentTypeError(f"unknown experiment {name!r}; there are: {', '.join(_names())}")
    return name


def _at_least(least: int):
    def count(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"expected an integer of at least {least}, got {text!r}")
        return int(text)

    return count


def _check_folder(out: Path) -> None:
    """Raise if results could not be written in the end."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ImportError("the figures need matplotlib: pip install matplotlib")
    try:
        (out / "results").mkdir(parents=True, exist_ok=True)
        for folder in (out, out / "results"):
            tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(f"--out: expected a folder that can be written, got {str(out)!r}: {error.strerror}") from error


def _job(experiment: Experiment, options: argparse.Namespace, out: Path, data: images.Images | None):
    """Return the experiment on its data, the number of its runs, and the record to continue."""
    size: Size = experiment.quick if options.quick else experiment.full
    name = data.name if experiment.on_images else ""
    record = None if options.fresh else results.read(out, experiment.name)
    if record and (record.seed, record.sweeps, record.data) != (options.seed, size.sweeps, name):
        raise ValueError(
            f"{experiment.name}: {str(out)!r} holds runs of seed {record.seed} with {record.sweeps:,} sweeps"
            f"{_on(record.data)}, asked for are seed {options.seed} and {size.sweeps:,}{_on(name)}; "
            "choose another --out, or discard them with --fresh"
        )
    if record and [choice["settings"] for choice in record.choices] != _candidates(experiment)[: len(record.choices)]:
        raise ValueError(
            f"{experiment.name}: {str(out)!r} holds runs that were chosen among other candidates than those there are "
            "now; choose another --out, or discard them with --fresh"
        )
    record = record or results.Record(experiment.name, options.seed, size.sweeps, data=name)
    if experiment.on_images:
        judge = experiment.judge and partial(experiment.judge, images=data)
        experiment = replace(experiment, run=partial(experiment.run, images=data), judge=judge)
    return experiment, options.seeds or size.runs, record


def _on(data: str) -> str:
    return f" on {data}" if data else ""


def _candidates(experiment: Experiment) -> list[dict]:
    """Return the candidates as they are after writing them to a file and reading them."""
    return json.loads(json.dumps(experiment.candidates))


def _run(experiment: Experiment, runs: int, record: results.Record, out: Path, last: bool) -> None:
    """Make the runs that are missing, and conclude from those there are, also where Ctrl-C came first.

    The figure of a group is drawn after the last of its experiments.
    """
    if record.runs:
        print(f"{experiment.name}: going on from {len(record.runs):,} saved runs", file=sys.stderr)
    done = False
    try:
        with progress_bar(experiment.name, runs) as report:
            while len(record.runs) < runs and len(record.choices) < len(experiment.candidates):
                _judge_next(experiment, record, report)
                results.write(out, record)
            while (count := len(record.runs)) < runs:
                _run_chunk(experiment, range(count, min(count + experiment.chunk, runs)), record, report)
                results.write(out, record)
                report(len(record.runs), "saved")
        done = True
    finally:
        if record.runs:
            _conclude(experiment, record, out)
        if last or not done:
            figure = results.write_figure(out, EXPERIMENTS[experiment.name], EXPERIMENTS)
            print(*([figure] if figure else []), results.write_page(out, EXPERIMENTS), sep=", ")


def _judge_next(experiment: Experiment, record: results.Record, report) -> None:
    """Try the next candidate, all of them from one seed, which no run has."""
    number = len(record.choices)
    settings = _candidates(experiment)[number]
    tell = _now_and_then(lambda done, text: report(0, f"candidate {number + 1}: {text}"), 0)
    with _timed(record) as took:
        found = experiment.judge(settings, np.random.default_rng([record.seed, CHOICE]), record.sweeps, tell)
    record.choices.append({"settings": settings, **found, "minutes": round(took["processor"], 3)})


def _run_chunk(experiment: Experiment, chunk: range, record: results.Record, report) -> None:
    """Make some runs side by side, and add them to the record with what they took."""
    generators = [np.random.default_rng([record.seed, run]) for run in chunk]
    choices = {"choices": record.choices} if experiment.candidates else {}
    with _timed(record):
        record.runs += experiment.run(generators, record.sweeps, _now_and_then(report, chunk.start), **choices)
    record.load.append(round(os.getloadavg()[0], 2))
    record.machine = results.this_machine()


@contextmanager
def _timed(record: results.Record):
    """Add to the record the minutes that the block takes; yields a dict that then has those of processor time."""
    took: dict[str, float] = {}
    wall, processor = time.perf_counter(), time.process_time()
    yield took
    took["processor"] = (time.process_time() - processor) / 60
    record.minutes += (time.perf_counter() - wall) / 60
    record.processor_minutes += took["processor"]


def _conclude(experiment: Experiment, record: results.Record, out: Path) -> None:
    """Write the table and print it."""
    rows = experiment.table(record.runs)
    record.table = [asdict(row) for row in rows]
    results.write(out, record)
    print(f"\n{experiment.title}\n{results.rows_as_text(rows)}")
    print(f"{len(record.runs):,} runs, {record.minutes:.2f} minutes")


def _now_and_then(report, done: int):
    """Pass on what a chunk reports: when one more of its runs is done, and else every few seconds."""
    last, reported_at = 0, time.monotonic()

    def tell(part: float, text: str) -> None:
        nonlocal last, reported_at
        if int(part) != last or time.monotonic() - reported_at > NEWS:
            last, reported_at = int(part), time.monotonic()
            report(done + last, text)

    return tell


def _listing(out: Path) -> str:
    lines = [f"{'experiment':<22}  {'runs':>5}  {'saved':>5}  {'minutes':>7}  what is rerun"]
    for name, experiment in EXPERIMENTS.items():
        record = results.read(out, name)
        saved = (f"{len(record.runs):,}", f"{record.minutes:.2f}") if record else ("-", "-")
        lines.append(f"{name:<22}  {experiment.full.runs:>5,}  {saved[0]:>5}  {saved[1]:>7}  {experiment.title}")
    groups = dict.fromkeys(experiment.group.name for experiment in EXPERIMENTS.values() if experiment.group)
    lines.append(f"\npython -m benchmarks.papers NAME ... (or {', '.join(['all', *groups])}),")
    lines.append("with --quick, --data DIR, --seeds N, --seed S, --out DIR")
    return "\n".join(lines)


if __name__ == "__main__":
    restart_with_better_kernel()
    sys.exit(main())
