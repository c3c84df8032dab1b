"""The conventions of four libraries (factors one-half, means, epsilons), measured and printed side by side.

``python -m reference --conventions`` runs it. The definitions are in the package `reference.convention_table`.
"""

from __future__ import annotations

import dataclasses
import json
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from .convention_table import LIBRARIES, Convention, Formula, defaults, definitions
from .libraries import installed, plain

__all__ = ["Comparison", "measure", "print_conventions"]

# No quantity takes more than 64 roundings of numbers of its own size. Keras computes means in float32, whatever the
# dtype; 64 roundings in float32 are still far smaller than the difference between any two formulas.
ROUNDINGS = 64
PRECISION = dict.fromkeys(LIBRARIES, 2.0**-52) | {"Keras": 2.0**-23}
DISTRIBUTIONS = {"torch": "torch", "scikit-learn": "scikit-learn", "Keras": "keras"}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A number computed by a library, with the formula that it should agree with.

    Attributes
    ----------
    formula : Formula
        The definition that the table states.
    value : float
        The number from the library.
    tolerance : float
        The largest difference that counts as agreement.
    """

    formula: Formula
    value: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """True if the library agrees with its formula; False for NaN."""
        return bool(abs(self.value - self.formula.value) <= self.tolerance)


def measure(convention: Convention, library: str) -> Comparison:
    """Compute a number with a library, and return it with its formula.

    Examples
    --------
    >>> measure(definitions()[0], "torch").passed
    True
    """
    formula, compute = convention.definitions[library]
    tolerance = (ROUNDINGS * PRECISION[library] + convention.slack) * abs(formula.value)
    return Comparison(formula, float(plain(compute())), tolerance)


def print_conventions(file: Path | None = None) -> int:
    """Measure and print everything, and return the exit status: 0 if every library agrees with its formula, else 1.

    A cell has the formula and, among the definitions, the ratio of the library's number to handmade's if it is not 1.
    "=" means handmade's formula; "-" means that the library lacks the quantity.

    Parameters
    ----------
    file : Path, optional
        The file to which all numbers are written as JSON.
    """
    libraries = [library for library in LIBRARIES if installed(library)]
    records = []
    for title, conventions in ("definitions", definitions()), ("defaults", defaults()):
        table = Table(box=None, padding=(0, 1))
        for column in (title, *LIBRARIES):
            table.add_column(column, no_wrap=True)
        for convention in conventions:
            found = {
                library: measure(convention, library) for library in libraries if library in convention.definitions
            }
            cells = {library: _cell(library, found, ratio=title == "definitions") for library in found}
            absent = {library: "not installed" for library in convention.definitions if library not in found}
            table.add_row(convention.quantity, *((cells | absent).get(library, "-") for library in LIBRARIES))
            records += [_record(convention.quantity, library, found[library]) for library in found]
        # The table keeps its full width: a narrow terminal wraps lines, but nothing is cut off.
        Console(width=1000, highlight=False).print(table)
    failed = sum(not record["passed"] for record in records)
    versions = ", ".join(f"{DISTRIBUTIONS[name]} {metadata.version(DISTRIBUTIONS[name])}" for name in libraries[1:])
    print(f"{len(records)} numbers, {failed} of them not equal to their formula; {versions}")
    if file:
        file.write_text(json.dumps(records, indent=1))
    return 1 if failed else 0


def _cell(library: str, found: dict[str, Comparison], ratio: bool) -> str:
    own, comparison = found["handmade"], found[library]
    formula = comparison.formula
    if not comparison.passed:
        return f"WRONG: {comparison.value:.9g}, not {formula.value:.9g}: {formula.text}"
    if formula is own.formula and library != "handmade":
        return "="
    if not ratio or formula.value == own.formula.value:
        return formula.text
    return f"{formula.text}  x {formula.value / own.formula.value:.4g}"


def _record(quantity: str, library: str, comparison: Comparison) -> dict[str, Any]:
    return {
        "quantity": quantity,
        "library": library,
        "formula": comparison.formula.text,
        "expected": comparison.formula.value,
        "measured": comparison.value,
        "tolerance": comparison.tolerance,
        "passed": comparison.passed,
    }
