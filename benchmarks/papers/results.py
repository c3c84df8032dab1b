"""The results on disk: one JSON file and one figure per experiment, and the page that is made from them."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .experiment import Experiment, Row

__all__ = ["Record", "page", "read", "rows_as_text", "write", "write_figure", "write_page"]

MET = {True: "yes", False: "no", None: "-"}
TITLES = ("quantity", "published", "ours", "runs", "spread", "met", "what differs")


@dataclass
class Record:
    """The runs of one experiment so far, and what they took.

    Attributes
    ----------
    experiment : str
        Its name.
    seed, sweeps : int
        Run i is drawn from numpy.random.default_rng([seed, i]), and given up after so many sweeps.
    runs : list of dict
        Run 0, run 1, ...: what the experiment's ``run`` returned.
    minutes, processor_minutes : float
        By the clock on the wall, and of processor time, for these runs.
    load : list of float
        The machine's load average (of the last minute) after each chunk.
    machine : dict
        Versions and the number of processors.
    table : list of dict
        The rows.
    data : str
        The name of the images, where the experiment is on images.
    choices : list of dict
        What came of each candidate, in their order: its "settings", and what the experiment's ``judge`` returned.
    """

    experiment: str
    seed: int
    sweeps: int
    runs: list[dict[str, Any]] = field(default_factory=list)
    minutes: float = 0.0
    processor_minutes: float = 0.0
    load: list[float] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=dict)
    table: list[dict[str, Any]] = field(default_factory=list)
    data: str = ""
    choices: list[dict[str, Any]] = field(default_factory=list)

    @property
    def rows(self) -> list[Row]:
        return [Row(**row) for row in self.table]


def this_machine() -> dict[str, Any]:
    return {"python": platform.python_version(), "numpy": np.__version__, "processors": os.cpu_count()}


def _replace(path: Path, text: str) -> None:
    """Write the file as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    partial.write_text(text)
    os.replace(partial, path)


def _json_path(out: Path, name: str) -> Path:
    return out / "results" / f"{name}.json"


def read(out: Path, name: str) -> Record | None:
    """Read the record of an experiment; return None if there is none.

    Raises
    ------
    ValueError
        If the file is not such a record.
    """
    path = _json_path(out, name)
    if not path.exists():
        return None
    try:
        return Record(**json.loads(path.read_text()))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected the record of an experiment, got {error}; move it away") from error


def write(out: Path, record: Record) -> None:
    """Save a record: one line per run, so that a difference between two files can be read."""
    fields = asdict(record)
    lines = ",\n  ".join(json.dumps(run, separators=(",", ":")) for run in fields.pop("runs"))
    head = json.dumps(fields, indent=1).removesuffix("\n}")
    _replace(_json_path(out, record.experiment), f'{head},\n "runs": [\n  {lines}\n ]\n}}\n')


def write_figure(out: Path, experiment: Experiment, experiments: dict[str, Experiment]) -> Path | None:
    """Draw the figure of an experiment, or of its group, beside the JSON files; without runs, none."""
    from matplotlib.figure import Figure

    section = experiment.section
    names = [name for name, other in experiments.items() if other.section is section]
    runs = [run for name in names if (record := read(out, name)) for run in record.runs]
    if not runs:
        return None
    path = _json_path(out, section.name).with_suffix(".png")
    figure = Figure(layout="constrained", dpi=110)
    section.draw(runs, figure)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    figure.savefig(partial, format="png", metadata={"Software": None})
    os.replace(partial, path)
    return path


def _cells(row: Row) -> list[str]:
    runs = f"{row.runs:,}" if row.runs else "-"
    differs = row.differs if row.met is False else "-"
    return [row.quantity, row.published, row.ours, runs, row.spread or "-", MET[row.met], differs]


def _markdown(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [titles, ["---"] * len(titles), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def rows_as_text(rows: list[Row]) -> str:
    """Return the rows as text for a terminal: aligned columns, with the differences below them."""
    lines = [list(TITLES[:-1]), *(_cells(row)[:-1] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if row.met is False:
            reasons.setdefault(row.differs, []).append(row.quantity)
    notes = [f"not met, for {reason}: {'; '.join(quantities)}" for reason, quantities in reasons.items()]
    return "\n".join([*table, *notes])


def _met(rows: list[Row]) -> str:
    asked = [row for row in rows if row.met is not None]
    return f"{sum(row.met for row in asked)} of {len(asked)}"


def _cost(record: Record) -> list[str]:
    minutes = (f"{minutes:.2f}" for minutes in (record.minutes, record.processor_minutes))
    return [f"{len(record.runs):,}", *minutes, f"{np.mean(record.load):.1f}"]


def page(records: dict[str, Record], experiments: dict[str, Experiment]) -> str:
    """Return RESULTS.md: an overview, then the table and figure of each experiment."""
    lines = [
        "# The founding papers, rerun",
        "",
        "Made by `python -m benchmarks.papers` from the files in `results/`; do not edit.",
        "",
        "Met: a number of sweeps from one published run lies in the middle 90 % of those of our runs that got there;",
        "a computed number agrees to its last printed digit; a share is at least, a mean error at most the published",
        "one. A dash: nothing was published to agree with. Minutes are by the clock and of processor time, beside the",
        "machine's load average. Each run has a seed of its own.",
        "",
    ]
    sections: dict[str, list[str]] = {}
    for name in records:
        sections.setdefault(experiments[name].section.name, []).append(name)
    overview = [
        [f"[{name}](#{section})", _met(records[name].rows), *_cost(records[name])]
        for section, names in sections.items()
        for name in names
    ]
    lines += _markdown(["experiment", "figures met", "runs", "minutes", "processor minutes", "mean load"], overview)
    missing = [name for name in experiments if name not in records]
    lines += ["", f"Not run yet: {', '.join(missing)}."] if missing else []
    for section, names in sections.items():
        lines += _section(section, [(experiments[name], records[name]) for name in names])
    return "\n".join(lines) + "\n"


def _section(name: str, parts: list[tuple[Experiment, Record]]) -> list[str]:
    """Write the runs, the table, the choice and the figure of one experiment or of a group."""
    section = parts[0][0].section
    lines = ["", f"## {name}", "", f"{section.title}. {section.source}.", "", section.recipe, ""]
    if parts[0][0].group:
        lines += [*(f"- {experiment.name}: {experiment.recipe}" for experiment, _ in parts), ""]
    lines += _markdown(TITLES, (_cells(row) for _, record in parts for row in record.rows))
    judged = [_judged(experiment.name, record, choice) for experiment, record in parts for choice in record.choices]
    if judged:
        lines += ["", "Chosen by the error on the held-out training images:", ""]
        lines += _markdown(["experiment", "candidate", "held-out error", "processor minutes", "chosen"], judged)
    seeds, sweeps = (sorted(set(numbers)) for numbers in zip(*((r.seed, r.sweeps) for _, r in parts), strict=True))
    machine = ", ".join(f"{key} {value}" for key, value in parts[0][1].machine.items())
    runs = f"Seed {_listed(seeds)}, at most {_listed(sweeps)} sweeps a run"
    data = " and ".join(dict.fromkeys(record.data for _, record in parts if record.data))
    return [*lines, "", f"{runs}{f'; on {data}' if data else ''}; {machine}.", "",
            f"![{name}](results/{name}.png)"]  # fmt: skip


def _listed(numbers: Sequence[int]) -> str:
    return " or ".join(f"{number:,}" for number in numbers)


def _judged(name: str, record: Record, choice: dict[str, Any]) -> list[str]:
    settings = ", ".join(f"{key} {value}" for key, value in choice["settings"].items())
    chosen = choice is min(record.choices, key=lambda choice: choice["error"])
    return [name, settings, f"{choice['error']:.2f} %", f"{choice['minutes']:.1f}", "yes" if chosen else "-"]


def write_page(out: Path, experiments: dict[str, Experiment]) -> Path:
    """Write RESULTS.md from all records in the folder."""
    records = {name: record for name in experiments if (record := read(out, name)) and record.table}
    _replace(out / "RESULTS.md", page(records, experiments))
    return out / "RESULTS.md"
