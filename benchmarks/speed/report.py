"""The report of a run: the same tables as a Markdown file and as a self-contained HTML page."""

from __future__ import annotations

import html
import importlib.metadata
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .cases import curves
from .sides import CALLS, COMPILED, FLOOR, OURS, TORCH_FLOOR
from .targets import PEERS, Cell, Target, compiled, count_met, judge, ratio, share

__all__ = ["headline", "start_table", "versions", "write"]

PACKAGES = ("torch", "jax", "scikit-learn", "onnxruntime", "onnx")
TABLES = (
    ("A training step with SGD", "step", "SGD"),
    ("A training step with Adam", "step", "Adam"),
    ("A prediction", "predict", "SGD"),
)
WIDE = 1.5  # the slowest round divided by the fastest from which on a number is doubtful
Rows = list[list[str]]


@dataclass(frozen=True)
class Section:
    """A section of the report: a heading, text and a table, each of which may be empty but the heading."""

    title: str
    text: str = ""
    header: tuple[str, ...] = ()
    rows: Rows | None = None


def versions() -> dict[str, str]:
    """Return the versions of the other libraries that are installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def write(results: dict[str, Any], out: Path) -> list[Path]:
    """Write results.json, report.md and report.html into the folder; return their paths."""
    sections = _sections(results)
    texts = {
        "results.json": json.dumps(results, indent=1) + "\n",
        "report.md": _markdown(sections),
        "report.html": _html(sections, _figure(results)),
    }
    for name, text in texts.items():
        (out / name).write_text(text)
    return [out / name for name in texts]


# ---- contents --------------------------------------------------------------------------------------------------------


def _sections(results: dict[str, Any]) -> list[Section]:
    cells = list(results["cells"].values())
    targets = judge(results) if cells else []
    networks = [cell for cell in cells if cell.get("grid")]
    jobs = [cell for cell in cells if "sizes" not in cell]
    along = [cell for cell in cells if "sizes" in cell and not cell["grid"]]
    behind = sorted(filter(_is_behind, networks), key=_worst)
    machine = ", ".join(f"{key} {value}" for key, value in results["machine"].items() if value is not None)
    errors = [[name, text] for cell in cells for name, text in cell["errors"].items()]
    sections = [
        Section(
            "Speed and memory beside other libraries",
            f"{machine}. {len(cells)} cells in {results.get('minutes', 0):.0f} minutes. The two numbers of a cell are "
            "the time of the library divided by that of handmade's NumPy code, and by that of its compiled code: above "
            "1, handmade is faster. Times are medians over a few rounds. The sides take turns, each in its own process "
            "with its default number of threads. Before a side is timed, its results are compared with handmade's. "
            "scikit-learn's prediction ends with a softmax, the others with logits. The \"calls\" are the NumPy calls "
            "that the work consists of, in one list, without a library around them; the \"products\" are the matrix "
            "products among them. For both, the fastest round counts.",
        ),
        *_doubts(results),
        Section("Summary", "The median over the cells.", *headline(results)),
        Section("Targets", count_met(targets) + ".", ("target", "measured", "met"), _target_rows(targets)),
        Section("Where the compiled code is behind", _behind_text(networks, behind),
                *(_table(behind) if behind else ())),
        Section("Time to the first step", "Seconds from the start of Python, 784-128-10, batch 64.",
                *start_table(results["memory"])),
        *(Section(title, "", *_table(_chosen(networks, kind, optimizer))) for title, kind, optimizer in TABLES),
        Section("More widths, depths and batches", "For the figure; not counted in the summary.", *_table(along)),
        Section("Whole jobs", "", *_table(jobs, ("torch", "torch.compile", "JAX", "scikit-learn", "loop"))),
        *_memory_sections(results["memory"]),
        Section("Not timed", "These sides failed, or their results differ from handmade's.", ("side", "why"), errors),
    ]  # fmt: skip
    return [section for section in sections if section.rows or not section.header]


def headline(results: dict[str, Any]) -> tuple[tuple[str, ...], Rows]:
    """Return header and rows of the summary: steps with SGD, with Adam, predictions, an epoch of MNIST's size."""
    cells = list(results["cells"].values())
    networks = [cell for cell in cells if cell.get("grid")]
    lines = [(f"{title}, {len(chosen)} sizes", chosen) for title, kind, how in TABLES
             if (chosen := _chosen(networks, kind, how))]  # fmt: skip
    mnist = [cell for cell in cells if cell["kind"] == "Epoch" and "MNIST" in cell["title"]]
    lines += [("An epoch of MNIST's size, 784-100-10, batch 128", mnist)] if mnist else []
    timed = {side for _, chosen in lines for cell in chosen for side in cell["seconds"]}
    sides = tuple(side for side in PEERS if side in timed)
    return ("", *sides), [[title, *(_middle(chosen, side) for side in sides)] for title, chosen in lines]


def start_table(memory: dict[str, Any]) -> tuple[tuple[str, ...], Rows]:
    """Return header and rows of the seconds to the end of the first step, without and with compiled code on disk."""
    found = memory.get("first step", {})
    rows = []
    for side in (name for name in found if not name.endswith(", cached")):
        cached = found.get(f"{side}, cached")
        rows.append([side, f"{np.median(found[side]):.2f}", "-" if cached is None else f"{np.median(cached):.2f}"])
    return ("", "first run", "compiled before"), rows


def _middle(cells: list[Cell], side: str) -> str:
    """Return the medians of `ratio` over the cells, for the NumPy code and for the compiled code, as text."""
    texts = []
    for of in ratio, compiled:
        ratios = [value for cell in cells if (value := of(cell, side)) is not None]
        texts.append(f"{np.median(ratios):.2f}" if ratios else "-")
    return "-" if texts == ["-", "-"] else "; ".join(texts)


def _chosen(cells: list[Cell], kind: str, optimizer: str) -> list[Cell]:
    return [cell for cell in cells if (cell["kind"], cell["optimizer"]) == (kind, optimizer)]


def _is_behind(cell: Cell) -> bool:
    return _worst(cell) < 1


def _worst(cell: Cell) -> float:
    return min((value for side in PEERS if (value := compiled(cell, side)) is not None), default=np.inf)


def _behind_text(cells: list[Cell], behind: list[Cell]) -> str:
    text = f"In {len(behind)} of {len(cells)} cells some library is faster than the compiled code."
    limits = [cell for cell in behind if (floor := share(cell, FLOOR, COMPILED)) and _worst(cell) < floor]
    if limits:
        text += (f" In {len(limits)} of them, that library takes less time for all the work than NumPy's BLAS for the "
                 "matrix products alone.")  # fmt: skip
    blas = [_fastest(cell, TORCH_FLOOR) / _fastest(cell, FLOOR) for cell in cells if TORCH_FLOOR in cell["seconds"]]
    if blas:
        text += (f" For the same products, PyTorch's BLAS takes {np.median(blas):.2f} of the time of NumPy's (median "
                 f"of {len(blas)} cells, from {min(blas):.2f} to {max(blas):.2f}).")  # fmt: skip
    return text


def _doubts(results: dict[str, Any]) -> list[Section]:
    """Return a section with the reasons why the numbers may be wrong; an empty list if there are none."""
    found, cores = [], results["machine"]["cores"]
    if cores == 1:
        found.append("There is only one core, so no side can use a second one.")
    if results["load"] > cores / 2:
        found.append(f"When the run began, the machine had a load of {results['load']:.1f} on {cores} cores.")
    if results.get("environment"):
        given = ", ".join(f"{name}={value}" for name, value in results["environment"].items())
        found.append(f"{given} is set: not every side has the threads that it takes by default.")
    cells = results["cells"].values()
    wide = [cell["title"] for cell in cells if max(cell["seconds"][OURS]) > WIDE * min(cell["seconds"][OURS])]
    if wide:
        found.append(f"In {len(wide)} of {len(cells)} cells handmade's own rounds differ by more than half: "
                     f"{'; '.join(wide)}.")  # fmt: skip
    if results["quick"]:
        found.append("It was a quick run, with few cells and short rounds.")
    if results.get("skipped"):
        found.append(f"{len(results['skipped'])} cells were skipped, because the time was up.")
    if results.get("interrupted"):
        found.append("It was interrupted, so some cells were not measured.")
    if results["machine"]["better kernel"]:
        found.append(f"The BLAS kernel is {results['machine']['kernel']}, but this processor has a better one.")
    found += [f"{name} is left out: {why}." for name, why in results["missing"].items()]
    return [Section("Caveats", " ".join(found))] if found else []


def _table(cells: list[Cell], sides: tuple[str, ...] = PEERS) -> tuple[tuple[str, ...], Rows]:
    timed = {side for cell in cells for side in cell["seconds"]}
    sides = tuple(side for side in sides if side in timed)
    header = ("", "NumPy code", "compiled", *sides)
    header += ("NumPy code: of its calls' speed",) if CALLS in timed else ()
    header += ("compiled: of the products' speed",) if FLOOR in timed and COMPILED in timed else ()
    return header, [_row(cell, sides, header) for cell in cells]


def _row(cell: Cell, sides: tuple[str, ...], header: tuple[str, ...]) -> list[str]:
    medians = [_median(cell, side) for side in (OURS, COMPILED)]
    row = [cell["title"], *("-" if np.isnan(median) else _seconds(median) for median in medians)]
    row += [_middle([cell], side) for side in sides]
    parts = []
    if any("calls" in name for name in header):
        parts.append(share(cell, CALLS))
    if any("products" in name for name in header):
        parts.append(share(cell, FLOOR, COMPILED))
    return row + ["-" if part is None else f"{100 * part:.0f} %" for part in parts]


def _seconds(value: float) -> str:
    """Return a time with three digits, in s, ms or us.

    Examples
    --------
    >>> _seconds(1.234e-5), _seconds(0.01234), _seconds(1.234)
    ('12.3 us', '12.3 ms', '1.23 s')
    """
    for unit, size in ("s", 1.0), ("ms", 1e-3):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e6:.3g} us"


def _target_rows(targets: list[Target]) -> Rows:
    words = {True: "yes", False: "no", None: "-"}
    return [[target.text, target.measured,
             words[target.met] + (f": {target.forbidden}" if target.met is False and target.forbidden else "")]
            for target in targets]  # fmt: skip


def _memory_sections(memory: dict[str, Any]) -> list[Section]:
    sections = []
    if "steps" in memory:
        rows = [[title, f"{step['peak'] / 1e6:.2f} MB", f"{step['bound'] / 1e6:.2f} MB", f"{step['kept']} bytes",
                 f"{step['temporary'] / 1e3:.0f} kB"] for title, step in memory["steps"].items()]  # fmt: skip
        text = ("Traced by tracemalloc. The bound is parameters x (2 + optimizer state) plus three times the outputs "
                "of all layers. In float32, an optimizer needs 131 kB more of scratch.")  # fmt: skip
        header = ("", "peak", "bound", "growth after 20 more steps", "peak growth during them")
        sections.append(Section("Memory of a step", text, header, rows))
    if "curves" in memory:
        rows = []
        for name, sizes in memory["curves"].items():
            for case, size in zip(curves()[name], sizes, strict=False):
                rows.append([case.shape, *(f"{size[side] / 1e6:.0f}" for side in size)])
        text = "The peak resident size, in MB, of a process that makes five training steps with SGD in float32."
        sections.append(Section("Memory of a process", text, ("", *size), rows))
    return sections


# ---- formats ---------------------------------------------------------------------------------------------------------


def _markdown(sections: list[Section]) -> str:
    lines: list[str] = []
    for number, section in enumerate(sections):
        lines += [f"{'#' if number == 0 else '##'} {section.title}", ""]
        lines += [section.text, ""] if section.text else []
        if section.rows:
            lines += [f"| {' | '.join(section.header)} |", "|" + "---|" * len(section.header)]
            lines += [f"| {' | '.join(row)} |" for row in section.rows] + [""]
    return "\n".join(lines)


STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 85em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px }
th, td { padding: .25em .8em; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap }
th { white-space: normal; vertical-align: bottom }
th:first-child, td:first-child, .words th, .words td { text-align: left }
.words td { white-space: normal }
td.behind { background: #fbe3d6 } svg { max-width: 100%; height: auto }
"""


def _html(sections: list[Section], figure: str) -> str:
    parts = []
    for number, section in enumerate(sections):
        level = "h1" if number == 0 else "h2"
        parts.append(f"<{level}>{html.escape(section.title)}</{level}>")
        parts += [f"<p>{html.escape(section.text)}</p>"] if section.text else []
        if number == 0 and figure:
            parts.append(figure)
        if section.rows:
            titles = "".join(f"<th>{html.escape(name)}</th>" for name in section.header)
            parts.append(f"<table{' class=words' if section.header[0] else ''}><tr>{titles}</tr>")
            parts += [f"<tr>{''.join(map(_html_cell, row))}</tr>" for row in section.rows]
            parts.append("</table>")
    return (f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{html.escape(sections[0].title)}</title>\n'
            f"<style>{STYLE}</style>\n<body>\n" + "\n".join(parts) + "\n</body></html>\n")  # fmt: skip


def _html_cell(text: str) -> str:
    behind = text.startswith("no") or re.search(r"(^|; )0\.\d\d$", text)
    return f"<td{' class=behind' if behind else ''}>{html.escape(text)}</td>"


COLORS = {OURS: "#000000", COMPILED: "#CC79A7",
          "torch": "#D55E00", "torch.compile": "#E69F00", "JAX": "#0072B2", "scikit-learn": "#009E73",
          FLOOR: "#999999"}  # fmt: skip
MARKERS = dict(zip(COLORS, "osPD^v.", strict=True))


def _figure(results: dict[str, Any]) -> str:
    """Return time and memory against width, depth and batch as SVG; "" if no curve was measured."""
    drawn = {name: [results["cells"].get(case.title) for case in cases] for name, cases in curves().items()}
    if not any(all(cells) for cells in drawn.values()):
        return ""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    held = results["memory"].get("curves", {})
    figure = Figure(figsize=(13, 7.5), layout="constrained")
    axes = figure.subplots(2, 3)
    for column, (name, cases) in enumerate(curves().items()):
        along = [{"width": case.sizes[1], "depth": len(case.sizes) - 2, "batch": case.batch}[name] for case in cases]
        if all(drawn[name]):
            for side in COLORS:
                times = [(_fastest if side == FLOOR else _median)(cell, side) for cell in drawn[name]]
                axes[0, column].plot(along, times, marker=MARKERS[side], color=COLORS[side], label=side, markersize=5)
        for side in held.get(name, [{}])[0]:
            sizes = [size[side] / 1e6 for size in held[name]]
            axes[1, column].plot(along[: len(sizes)], sizes, marker=MARKERS[side], color=COLORS[side], markersize=5)
        for row, unit in enumerate(("seconds per training step", "resident size in MB")):
            axes[row, column].set(xscale="log", yscale="log", xlabel=_along(name), ylabel=unit if column == 0 else "")
            axes[row, column].set_xticks(along, [f"{value:,}" for value in along])
            axes[row, column].minorticks_off()
            axes[row, column].grid(alpha=0.3)
        axes[1, column].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))  # powers of ten would leave a single tick
        axes[1, column].yaxis.set_major_formatter("{x:.0f}")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=len(COLORS))
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def _median(cell: Cell, side: str) -> float:
    seconds = cell["seconds"].get(side)
    return float(np.median(seconds)) if seconds else np.nan


def _fastest(cell: Cell, side: str) -> float:
    return min(cell["seconds"].get(side, [np.nan]))


def _along(name: str) -> str:
    return {"width": "width of two hidden layers, batch 128", "depth": "hidden layers of 256, batch 64",
            "batch": "batch, 784-128-10"}[name]  # fmt: skip
