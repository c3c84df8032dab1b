"""Tables in HTML, for objects that a notebook shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


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
