"""CSV files as tables of text, with the line of the file for each row.

No type is guessed from a file: training decides once what a column holds, and prediction reads it in that way. So the
text of one row never changes how another is read.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["read_table"]

DELIMITERS = ",;\t|"
# The cells that pandas.read_csv takes for missing values.
NAMES_OF_NONE = "#N/A #NA -1.#IND -1.#QNAN -NaN -nan 1.#IND 1.#QNAN <NA> N/A NA NULL NaN None n/a nan null"
MISSING = frozenset(["", "#N/A N/A", *NAMES_OF_NONE.split()])


def read_table(path: Path) -> tuple[Any, str]:
    """Return the cells of a CSV file as text, and the decimal marks that its numbers may have.

    Parameters
    ----------
    path : Path
        The file, which may be compressed, or ``-`` for standard input. The delimiter is the one that gives the most
        names in the first line.

    Returns
    -------
    frame : DataFrame of object
        Each cell is its text without surrounding spaces, or None where it is missing. The index holds the line of the
        file in which each row begins, from 1.
    marks : str
        ``"."`` where cells are separated by commas, else ``".,"``.

    Raises
    ------
    ValueError
        If the file is not UTF-8, has no rows, names two columns alike, or a row has more or fewer cells than there are
        names.
    """
    import pandas as pd

    text = _read_text(path)
    heads = {delimiter: next(_rows(text, delimiter, path), (1, []))[1] for delimiter in DELIMITERS}
    delimiter = max(heads, key=lambda one: len(heads[one]))
    names = heads[delimiter]
    if not names:
        raise ValueError(f"{path}: expected a CSV file, got no text")
    if twice := [name for i, name in enumerate(names) if name and name in names[:i]]:
        raise ValueError(f"{path}: expected different names of columns, got {twice[0]!r} twice")
    lines, rows = [], []
    for line, row in list(_rows(text, delimiter, path))[1:]:
        if len(row) != len(names):
            count = f"{len(names)} cell{'s' * (len(names) > 1)}"
            cure = f"write missing cells as empty ones, between {delimiter!r}"
            if len(row) > len(names):
                cure = f"name every column, or quote cells that hold {delimiter!r}"
            raise ValueError(
                f"{path}, line {line}: expected {count}, one for each column in the first line, "
                f"got {len(row)} separated by {delimiter!r}; {cure}"
            )
        lines.append(line)
        rows.append([None if cell in MISSING else cell for cell in row])
    if not rows:
        raise ValueError(f"{path}: expected at least one row below the names of the columns, got none")
    columns = [name or f"Unnamed: {i}" for i, name in enumerate(names)]  # as pandas calls them
    return pd.DataFrame(rows, index=lines, columns=columns, dtype=object), "." if delimiter == "," else ".,"


def _read_text(path: Path) -> str:
    """Return the text of a file, of a compressed one by its ending, or of standard input."""
    from pandas.io.common import get_handle

    if str(path) == "-":
        if sys.stdin is None:
            raise ValueError("-: expected a table in standard input, got none; it is closed")
        content = sys.stdin.buffer.read()
    else:
        try:
            with get_handle(path, "rb", compression="infer", is_text=False) as handles:
                content = handles.handle.read()
        except Exception as error:  # damaged files fail in many ways: EOFError, zlib.error, BadGzipFile, BadZipFile
            if isinstance(error, ImportError | MemoryError) or getattr(error, "errno", None) is not None:
                raise
            raise ValueError(f"{path}: expected a whole compressed file, got {error}; fetch it again") from error
    try:
        text, found = content.decode("utf-8-sig"), ""
    except UnicodeDecodeError as error:
        text, found = "\0", f"byte {error.object[error.start]:#x}"
    if "\0" in text:
        from ..grading.child.loading import other_than_utf_8  # a wrong file alone needs it

        found = other_than_utf_8(content) or found
        raise ValueError(f"{path}: expected text in UTF-8, got {found}; save the file as text in UTF-8")
    return text


def _rows(text: str, delimiter: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the cells of each row that is not blank, with the line in which it begins."""
    last, has_ended = "", False

    def lines() -> Iterator[str]:
        nonlocal last, has_ended
        for last in io.StringIO(text, newline=""):  # noqa: UP028  # seen by the loop below
            yield last
        has_ended = True

    reader = csv.reader(lines(), delimiter=delimiter, skipinitialspace=True)
    while True:
        start = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise ValueError(
                f"{path}, line {start}: expected a CSV file, got a {error}; is a quote missing?"
            ) from error
        if row is None:
            return
        if has_ended:  # the reader has looked for the end of a quoted cell
            raise ValueError(f"{path}, line {start}: expected every quoted cell closed by a double quote, got none")
        if len(row) > 1 or last.strip():
            yield start, [cell.strip() for cell in row]
