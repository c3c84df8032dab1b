"""The tables in docs/speed.md and README.md, which a run writes between comments that name them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .memory import ROOT
from .report import Rows, headline, start_table
from .sides import CALLS, COMPILED, FLOOR
from .targets import count_met, judge, share

__all__ = ["RESULTS", "fill", "write_pages"]

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
PAGES = ROOT / "README.md", ROOT / "docs" / "speed.md"
NAMES = {"torch": "PyTorch"}


def table(header: tuple[str, ...], rows: Rows) -> str:
    """Return a table in Markdown."""
    names = [NAMES.get(name, name) for name in header]
    return "\n".join(f"| {' | '.join(row)} |" for row in (names, ["---"] * len(names), *rows))


def _machine(results: dict[str, Any]) -> str:
    machine = results["machine"]
    libraries = ", ".join(f"{name} {machine[name]}" for name in ("torch", "jax", "scikit-learn", "onnxruntime")
                          if machine.get(name))  # fmt: skip
    return (f"Measured on {machine['cores']} cores of an {machine['processor']} with NumPy {machine['NumPy']} "
            f"(OpenBLAS kernel {machine['kernel']}), {libraries}.")  # fmt: skip


def _resident(results: dict[str, Any]) -> str:
    found = results["memory"].get("resident", {})
    return table(
        ("MB", *found), [["trains 784-1024x3-10, batch 256", *(f"{size / 1e6:.0f}" for size in found.values())]]
    )


def _call(results: dict[str, Any]) -> str:
    call = results["memory"]["call"]
    return (f"A compiled step of 3-4-2 with one sample takes {1e6 * call['step']:.1f} us; a compiled function that "
            f"does nothing takes {1e6 * call['empty']:.1f} us of it.")  # fmt: skip


def _targets(results: dict[str, Any]) -> str:
    targets = judge(results)
    missed = [[target.text, target.measured, target.forbidden or "-"] for target in targets if target.met is False]
    text = f"{count_met(targets)}.".capitalize()
    return f"{text}\n\n{table(('missed', 'measured', 'forbidden'), missed)}" if missed else text


def _calls(results: dict[str, Any]) -> str:
    """Return the speed of the NumPy code relative to its calls, and of the compiled code to the matrix products."""
    rows = []
    for cell in results["cells"].values():
        if cell.get("kind") == "step" and cell.get("grid") and cell["optimizer"] == "SGD":
            calls, products = share(cell, CALLS), share(cell, FLOOR, COMPILED)
            if calls is not None and products is not None:
                rows.append([cell["title"], f"{100 * calls:.0f} %", f"{100 * products:.0f} %"])
    return table(("", "NumPy code: of its calls' speed", "compiled: of the products' speed"), rows)


BLOCKS: dict[str, Callable[[dict[str, Any]], str]] = {
    "headline": lambda results: table(*headline(results)),
    "machine": _machine,
    "start": lambda results: table(*start_table(results["memory"])),
    "call": _call,
    "memory": _resident,
    "calls": _calls,
    "targets": _targets,
}


def fill(text: str, results: dict[str, Any]) -> str:
    """Return the text of a page with its tables replaced by those of a run.

    Examples
    --------
    >>> print(fill("<!-- speed: start -->\\nold\\n<!-- end -->", {"memory": {"first step": {"torch": [1.0, 3.0]}}}))
    <!-- speed: start -->
    |  | first run | compiled before |
    | --- | --- | --- |
    | torch | 2.00 | - |
    <!-- end -->
    """

    def block(match: re.Match[str]) -> str:
        return f"<!-- speed: {match[1]} -->\n{BLOCKS[match[1]](results)}\n<!-- end -->"

    return re.sub(r"<!-- speed: (\w+) -->\n.*?<!-- end -->", block, text, flags=re.DOTALL)


def write_pages(results: dict[str, Any], out: Path) -> list[Path]:
    """Write the tables into README.md and docs/speed.md, and the report and the results beside this module."""
    for path in PAGES:
        path.write_text(fill(path.read_text(), results))
    RESULTS.write_text(json.dumps(results) + "\n")
    (HERE / "REPORT.md").write_text((out / "report.md").read_text())
    return [*PAGES, RESULTS, HERE / "REPORT.md"]
