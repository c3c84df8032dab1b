"""9. The result of a diagnosis, and how it is printed."""

from __future__ import annotations

import dataclasses
import html

import numpy as np

from .._types import Array
from .causes import tolerance
from .check_table import GradientCheck
from .explanation import Explanation
from .places import Place

__all__ = ["Diagnosis", "Rows"]

FINER = 1e-10  # relative error that no parameter has whose gradient was computed in float32
SHOWN = 6  # rows and columns of the arrays that are shown side by side


@dataclasses.dataclass(frozen=True)
class Rows:
    """The result of a wrong step beside the right one.

    Attributes
    ----------
    name : str
        The quantity, such as ``dA[0]``.
    actual, right : ndarray
        The result of the step, and the right one.
    """

    name: str
    actual: Array
    right: Array

    def _cut(self) -> tuple[Array, Array]:
        return _rows_of(self.actual)[:SHOWN, :SHOWN], _rows_of(self.right)[:SHOWN, :SHOWN]

    def __str__(self) -> str:
        actual, right = self._cut()
        more = " ..." if _rows_of(self.actual).shape[1] > SHOWN else ""
        wide = 11 * actual.shape[1]
        lines = [f"{self.name:<{wide}}{' ' * len(more)}   right"]
        for a, r in zip(actual, right, strict=True):
            lines.append("".join(f"{v:>11.3g}" for v in a) + f"{more}   " + "".join(f"{v:>11.3g}" for v in r) + more)
        hidden = len(_rows_of(self.actual)) - len(actual)
        return "\n".join([*lines, f"... {hidden} more rows"] if hidden > 0 else lines)

    def _repr_html_(self) -> str:
        actual, right = self._cut()
        size = max(np.abs(right).max(initial=0.0), np.abs(actual).max(initial=0.0)) or 1.0
        rows = []
        for a, r in zip(actual, right, strict=True):
            wrong = np.abs(a - r) > 1e-6 * size
            style = [' style="background:#fdd"' if bad else "" for bad in wrong]
            cells = "".join(f"<td{s}>{v:.3g}</td>" for s, v in zip(style, a, strict=True))
            rows.append(f"<tr>{cells}<td></td>{''.join(f'<td>{v:.3g}</td>' for v in r)}</tr>")
        n = actual.shape[1]
        head = f'<tr><th colspan="{n}">{html.escape(self.name)}</th><th></th><th colspan="{n}">right</th></tr>'
        return f"<table>{head}{''.join(rows)}</table>"


def _rows_of(array: Array) -> Array:
    """Return an array as a matrix: of more axes, the last ones side by side."""
    array = np.atleast_2d(array)
    return array.reshape(len(array), -1)


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """The result of `diagnose_gradient`; true if the gradient is right, and printed as a report.

    Attributes
    ----------
    verdict : {"right", "named", "located", "unknown", "undecided"}
        Named: the gradient is wrong, and a mistake or a formula explains it. Located: the wrong step is known, but not
        what it computes. Unknown: neither is known. Undecided: the differences cannot tell, because of kinks or noise.
    wrong : list of str
        The wrong parameters in backward order: the first is the one to look at.
    explanations : list of Explanation
        All that match equally well and equally simply; more than one cannot be distinguished on this batch.
    ratios : dict of str to str
        The comparison of each wrong parameter with the true one.
    tolerance : float
        The relative difference up to which a gradient that a mistake leads to counts as equal to the claim.
    tried : int
        The number of comparisons.
    undecided : int
        The number of entries that could not be compared.
    difference : float
        The largest difference from the true gradient, relative to the largest entry of its parameter.
    steps : list of str
        The wrong steps in backward order, such as ``dA[0] from dA[2]``.
    places : list of Place
        ``steps`` as data; the places of the explanations, if no step is known.
    formula : str or None
        The formula of the first wrong step, such as ``dA[0] = dH - H^2``.
    rows : Rows or None
        The result of the first wrong step beside the right one.
    advice : str
        What would tell more, such as the gradient of fewer rows.
    check : GradientCheck or None
        The table of the differences.
    """

    verdict: str
    wrong: list[str]
    explanations: list[Explanation]
    ratios: dict[str, str]
    tolerance: float
    tried: int
    undecided: int
    difference: float
    steps: list[str] = dataclasses.field(default_factory=list)
    places: list[Place] = dataclasses.field(default_factory=list, repr=False)
    formula: str | None = None
    rows: Rows | None = dataclasses.field(default=None, repr=False)
    advice: str = ""
    check: GradientCheck | None = dataclasses.field(default=None, repr=False, compare=False)

    @property
    def first_wrong(self) -> str | None:
        """The first wrong parameter in backward order."""
        return self.wrong[0] if self.wrong else None

    @property
    def step(self) -> str | None:
        """The first wrong step in backward order."""
        return self.steps[0] if self.steps else None

    @property
    def _may_be_single(self) -> bool:
        """True if no parameter's gradient has more right digits than float32 has."""
        blocks = [] if self.check is None else self.check.blocks
        return not any(block.checked and block.relative_error < FINER for block in blocks)

    def __bool__(self) -> bool:
        return self.verdict == "right"

    def __str__(self) -> str:
        if self.verdict == "right":
            undecided = f"; {self.undecided} entries at a kink or in noise undecided" if self.undecided else ""
            return f"RIGHT: the differences confirm it{undecided}" + (f"; {self.advice}" if self.advice else "")
        if self.verdict == "undecided":
            text = "UNDECIDED: at no entry did the differences tell right from wrong"
            return text if self.check is None else str(self.check).splitlines()[-1]
        lines = [f"first wrong in backward order: {self.first_wrong}"] if self.wrong else []
        lines += [f"  {name}: {ratio}" for name, ratio in self.ratios.items()]
        if self.steps:
            lines.append(f"everything is right except {' and '.join(self.steps[:6])}")
        if self.verdict in ("unknown", "located"):
            text = "no known mistake and no simple formula explains it"
            lines.append(f"{self.verdict.upper()}: {self.tried} comparisons, and {text}")
            if self.difference <= tolerance(single=True) and self._may_be_single:
                lines.append(f"it differs by at most {self.difference:.1e}, as much as float32 may lose")
            if self.rows is not None:
                lines.append(str(self.rows))
        lines += [f"NAMED: {explanation}" for explanation in self.explanations[:5]]
        if self.formula and not any(self.formula in explanation.name for explanation in self.explanations):
            lines.append(f"formula: {self.formula}")
        if len(self.explanations) > 1:
            count = len(self.explanations)
            lines.append(f"{count} explanations that this batch cannot tell apart; another, of another size, may")
        return "\n".join([*lines, self.advice] if self.advice else lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        table = self.rows._repr_html_() if self.rows is not None else ""
        return f"<pre>{html.escape(str(self))}</pre>{table}"
