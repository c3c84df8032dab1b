"""Tables in HTML, for objects that a notebook shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from .protocols import Array

if TYPE_CHECKING:
    from .chain_rule import Trace
    from .checking.check_table import GradientCheck
    from .history import History

SHOWN = 12  # epochs of a history


def html_table(header: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> str:
    """Return a table: the first column to the left, the others to the right, all text escaped.

    Examples
    --------
    >>> from handmade._html import html_table
    >>> html_table(["name", "value"], [["a < b", 1]]).splitlines()[2]
    '<tr><td style="text-align:left">a &lt; b</td><td style="text-align:right">1</td></tr>'
    """
    lines = [f"<caption>{escape(caption)}</caption>"] if caption else []
    lines += [_row("th", header), *(_row("td", row) for row in rows)]
    return "\n".join(["<table>", *lines, "</table>"])


def _row(tag: str, cells: Sequence[object]) -> str:
    sides = ["left", *["right"] * (len(cells) - 1)]
    styled = (
        f'<{tag} style="text-align:{side}">{escape(str(cell))}</{tag}>' for side, cell in zip(sides, cells, strict=True)
    )
    return f"<tr>{''.join(styled)}</tr>"


def history_html(history: History) -> str:
    """Return a table of at most twelve epochs, the best one among them."""
    epochs = set(np.linspace(1, len(history), min(len(history), SHOWN)).round().astype(int).tolist())
    if history.best_epoch is not None:
        epochs.add(history.best_epoch + 1)
    columns = {"loss": history.loss, "validation": history.validation_loss, **history.metrics, "lr": history.lr}
    columns = {name: values for name, values in columns.items() if values}  # no validation data: an empty list
    rows = [[epoch, *(f"{values[epoch - 1]:.4g}" for values in columns.values())] for epoch in sorted(epochs)]
    return html_table(["epoch", *columns], rows, str(history))


def trace_html(trace: Trace) -> str:
    """Return a table of the forward pass and one of the derivatives, each with its factors."""
    forward = [*trace.forward, (trace.loss_formula, np.array(trace.loss))]
    quantities = [[*_name_and_formula(text), _numbers(value)] for text, value in forward]
    derivatives = [[product.name, product.formula(), _numbers(product.value)] for product in trace.products]
    return "\n".join(
        [
            html_table(["forward", "formula", "value"], quantities),
            html_table(["backward", "product, [re-used]", "value"], derivatives),
        ]
    )


def _name_and_formula(text: str) -> tuple[str, str]:
    name, _, formula = text.partition(" = ")
    return name, formula


def _numbers(value: Array) -> str:
    """Return a scalar to seven digits, an array to four, -0 as 0."""
    value = np.asarray(value) + 0.0
    return f"{value.item():.7g}" if value.size == 1 else np.array2string(value, precision=4, separator=", ")


def check_html(check: GradientCheck) -> str:
    """Return the table of a gradient check, a row per parameter, and below it the lines of its report."""
    rows = []
    for block in check.blocks:
        verdict = ("pass" if block.checked else "undecided") if block.passed else "FAIL"
        errors = f"{block.relative_error:.1e}", f"{block.tolerance:.1e}"
        rows.append([block.name, f"{block.checked}/{block.size}", *errors, verdict])
    table = html_table(["parameter", "checked", "relative error", "tolerance", "verdict"], rows)
    below = str(check).splitlines()[1 + len(rows) :]
    return "\n".join([table, *(f"<div>{escape(line)}</div>" for line in below)])
