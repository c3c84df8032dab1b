"""Tables of numbers as text: one sample per line, one column per feature."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import NoneType
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ._streams import DEFAULT_LIMIT, FilePath, is_stream, memory_limit, open_source, source_name
from ._types import Array
from ._validation import check_count, check_dtype, is_integer

__all__ = ["load_csv"]

LONGEST_LINE = 2**24  # characters
CELLS_AT_ONCE = 2**17  # parsed in one call of NumPy
LARGEST_LABEL = 2.0**53  # below it float64 holds every whole number
DELIMITERS = ",;\t|"
IN_NUMBERS = "+-.0123456789eE"
SIGNATURES = (
    (codecs.BOM_UTF32_LE, "the mark of UTF-32", "pass encoding='utf-32'"),
    (codecs.BOM_UTF16_LE, "the mark of UTF-16", "pass encoding='utf-16'"),
    (codecs.BOM_UTF16_BE, "the mark of UTF-16", "pass encoding='utf-16'"),
    (b"\x1f\x8b", "gzip", "pass gzip.open(path)"),
    (b"PK\x03\x04", "a zip archive or a spreadsheet", "save it as CSV"),
)


def load_csv(
    path: FilePath | IO[Any],
    target: int | str | None = -1,
    *,
    delimiter: str = ",",
    header: bool | None = None,
    dtype: npt.DTypeLike = np.float64,
    encoding: str = "utf-8",
    max_bytes: int | None = None,
) -> tuple[Array, Array | None]:
    r"""Read a table of numbers from a text file, one sample per line.

    Parameters
    ----------
    path : path-like or file object
        The file; a FIFO, a pipe or a text stream will do. Empty lines are skipped; cells may be quoted by ``"``.
    target : int, str or None, default -1
        The column of the targets: its index from 0, negative from the end, or its name in the header. None: the file
        has no targets. The targets may be names of classes; `encode_labels` turns them into numbers.
    delimiter : str, default ","
        The character between cells.
    header : bool or None, default None
        Whether the first line names the columns. None: it does if none of its cells is a number.
    dtype : float32 or float64, default float64
        The dtype of X. Numbers are read as float64, and then rounded to it.
    encoding : str, default "utf-8"
        The encoding of the text.
    max_bytes : int, optional
        The limit of the table's size in bytes. By default 1 GiB, or 16 times the size of the file if that is more.

    Returns
    -------
    X : ndarray of ``dtype``, shape (N, I)
        All columns but the target, in order.
    y : ndarray of int64, ``dtype`` or str, shape (N,), or None
        The target: int64 if all its values are whole numbers (class labels), str if none is a number, else ``dtype``.

    Raises
    ------
    ValueError
        If the file has no data, a line has more or fewer cells than the first, a cell is empty, is not a number or is
        not finite in ``dtype``, a quote is missing, there is no such target column, or the table would take more than
        ``max_bytes``. The message names the file, the line, the column, and what stands there.
    TypeError
        If an argument is of another type.

    Examples
    --------
    >>> import io
    >>> flowers = "length,width,kind\n5.1,3.5,setosa\n7.0,3.2,versicolor\n"
    >>> X, y = hm.load_csv(io.StringIO(flowers))
    >>> X, y
    (array([[5.1, 3.5],
           [7. , 3.2]]), array(['setosa', 'versicolor'], dtype='<U10'))
    >>> hm.data.encode_labels(y)[0]
    array([0, 1])
    >>> hm.load_csv(io.StringIO("length,width,kind\n5.1,3.5,0\n7.0,3.2,1\n"), target="width")
    (array([[5.1, 0. ],
           [7. , 1. ]]), array([3.5, 3.2]))
    >>> hm.load_csv(io.StringIO("5.1,3.5,0\n7.0,three,1\n"))
    Traceback (most recent call last):
        ...
    ValueError: <stream>, line 2, column 2 of 3: expected a finite number, got 'three'
    """
    dtype = check_dtype(dtype)
    _check_options(target, delimiter, header, encoding)
    with _open_text(path, encoding) as (text, name, source_limit):
        limit = source_limit if max_bytes is None else check_count(max_bytes, "max_bytes")
        lines = _numbered_lines(text, name, encoding)
        names, rows = _read_header(lines, name, delimiter, header)
        first = next(rows, None)
        if first is None:
            raise ValueError(f"{name}: expected lines of numbers, got none")
        cells = next(csv.reader([first[1]], delimiter=delimiter))
        n_columns = len(names or cells)
        column = None if target is None else _find_column(name, target, names, n_columns)
        has_labels = column is not None and len(cells) == n_columns and _is_label(cells[column])
        layout = _Layout(name, n_columns, column, has_labels, delimiter, dtype)
        return _read_table(layout, itertools.chain([first], rows), limit)


class _Layout(NamedTuple):
    """The layout of a table, from its header and first line.

    ``target`` is None or an index; ``has_labels`` says whether the targets are names of classes.
    """

    name: str
    n_columns: int
    target: int | None
    has_labels: bool
    delimiter: str
    dtype: np.dtype[Any]

    @property
    def largest(self) -> float:
        """Return the largest number of the dtype."""
        return float(np.finfo(self.dtype).max)


def _check_options(target: Any, delimiter: Any, header: Any, encoding: Any) -> None:
    """Raise TypeError or ValueError for an argument that means nothing."""
    if not is_integer(target) and not isinstance(target, (str, NoneType)):
        raise TypeError(f"target: expected the index of a column, its name, or None, got {target!r}")
    if not isinstance(delimiter, str):
        raise TypeError(f"delimiter: expected a character, got {delimiter!r}")
    if len(delimiter) != 1 or delimiter in '"\r\n\0' + IN_NUMBERS:
        raise ValueError(f"delimiter: expected one character that is in no number, got {delimiter!r}")
    if not isinstance(header, (bool, NoneType)):
        raise TypeError(f"header: expected True, False or None, got {header!r}")
    if not isinstance(encoding, str):
        raise TypeError(f"encoding: expected a name, got {encoding!r}")
    try:
        "".encode(encoding)
    except (LookupError, UnicodeError, ValueError) as error:
        raise ValueError(f"encoding: expected the name of one, as 'utf-8', got {encoding!r}: {error}") from error


@contextmanager
def _open_text(path: FilePath | IO[Any], encoding: str) -> Iterator[tuple[IO[str], str, int]]:
    """Open a file as text, or take a stream of text; yield it with its name and the default limit of memory.

    A byte that this encoding does not know becomes U+FFFD. No number or label contains it: the cell is named as a bad
    one.
    """
    if is_stream(path) and path.read(0) == "":
        yield path, source_name(path), DEFAULT_LIMIT
        return
    with open_source(path) as source:
        is_utf_8 = codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")
        for mark, found, cure in SIGNATURES if is_utf_8 else ():
            if source.head.startswith(mark):
                raise ValueError(f"{source.name}: expected text in {encoding}, got {found}; {cure}")
        text = io.TextIOWrapper(source.stream, "utf-8-sig" if is_utf_8 else encoding, "replace")
        try:
            yield text, source.name, memory_limit(None, source)
        finally:
            text.detach()  # or the wrapper would close a stream that the caller goes on using


def _numbered_lines(text: IO[str], name: str, encoding: str) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not empty, each with its number from 1."""
    for number in itertools.count(1):
        line = text.readline(LONGEST_LINE)
        if not line:
            return
        if len(line) == LONGEST_LINE and line[-1] != "\n":
            raise ValueError(f"{name}, line {number}: expected fewer than {LONGEST_LINE} characters, got more")
        if "\0" in line:
            raise ValueError(
                f"{name}, line {number}: expected text in {encoding}, got NUL characters; "
                "is it UTF-16? Then pass encoding='utf-16'"
            )
        if number == 1:
            line = line.removeprefix("\ufeff")  # the mark of an encoding, which a text stream may still have
        if line.strip("\r\n"):
            yield number, line


def _read_header(
    lines: Iterator[tuple[int, str]], name: str, delimiter: str, header: bool | None
) -> tuple[list[str], Iterator[tuple[int, str]]]:
    """Return the names of the columns, none without a header, and the numbered lines of data."""
    taken: list[tuple[int, str]] = []

    def take() -> Iterator[str]:
        for number, line in lines:
            taken.append((number, line))
            yield line

    try:
        first = next(csv.reader(take(), delimiter=delimiter, strict=True), [])
    except csv.Error as error:
        raise ValueError(
            f"{name}, line {taken[0][0]}: expected cells separated by {delimiter!r}, got {error}; "
            "is a double quote missing?"
        ) from error
    if header or (header is None and all(number_in(cell) is None for cell in first)):
        return [cell.strip() for cell in first], lines
    return [], itertools.chain(taken, lines)


def _find_column(name: str, target: int | str, names: list[str], n_columns: int) -> int:
    """Return the index, from 0, of the target column."""
    if isinstance(target, str):
        if names.count(target) != 1:
            raise ValueError(f"{name}: expected one column named {target!r}, got the names {reprlib.repr(names)}")
        return names.index(target)
    if not -n_columns <= target < n_columns:
        raise ValueError(
            f"{name}: expected a target from {-n_columns} to {n_columns - 1} for {n_columns} columns, got {target}"
        )
    return int(target) % n_columns


def _read_table(layout: _Layout, rows: Iterator[tuple[int, str]], limit: int) -> tuple[Array, Array | None]:
    """Parse the lines, many at once, into arrays that grow in place."""
    X, y, labels = bytearray(), bytearray(), list[Array]()
    while block := list(itertools.islice(rows, max(1, CELLS_AT_ONCE // layout.n_columns))):
        table, names = _parse_at_once(block, layout) or _parse_by_cell(block, layout)
        if layout.has_labels:
            labels.append(np.array(names))
        elif layout.target is not None:
            y += table[:, layout.target].tobytes()
            table = np.delete(table, layout.target, axis=1)
        X += table.astype(layout.dtype).tobytes()
        if len(X) + len(y) + sum(map(len, labels)) * max((part.itemsize for part in labels), default=0) > limit:
            raise ValueError(
                f"{layout.name}, line {block[-1][0]}: expected a table of at most {limit} bytes, got more; "
                "if you trust the file, raise max_bytes"
            )
    if layout.has_labels:
        targets = np.concatenate(labels)
        return _as_rows(X, layout.dtype, len(targets)), targets
    if layout.target is not None:
        targets = np.frombuffer(y, np.float64)
        return _as_rows(X, layout.dtype, len(targets)), _as_targets(targets, layout.dtype)
    return _as_rows(X, layout.dtype, len(X) // (layout.n_columns * layout.dtype.itemsize)), None


def _as_rows(content: bytearray, dtype: np.dtype[Any], n_samples: int) -> Array:
    """Return the matrix that lies in these bytes, without a copy."""
    return np.ndarray((n_samples, len(content) // (n_samples * dtype.itemsize)), dtype, content)


def _as_targets(targets: Array, dtype: np.dtype[Any]) -> Array:
    """Return whole numbers as int64, others as dtype."""
    are_labels = np.all((targets == np.rint(targets)) & (np.abs(targets) < LARGEST_LABEL))
    return targets.astype(np.int64 if are_labels else dtype)


def _parse_at_once(block: list[tuple[int, str]], layout: _Layout) -> tuple[Array, list[str]] | None:
    """Return the numbers and labels of many lines, or None where a cell is bad."""
    lines, labels = [line for _, line in block], []
    try:
        if layout.has_labels or any('"' in line for line in lines):
            cells = list(csv.reader(lines, delimiter=layout.delimiter, strict=True))
            if len(cells) != len(lines) or any(len(row) != layout.n_columns for row in cells):
                return None
            column = layout.target
            if layout.has_labels and column is not None:
                labels = [row.pop(column).strip() for row in cells]
                if not all(map(_is_label, labels)):
                    return None
            lines = [layout.delimiter.join(row) for row in cells]
        n_numbers = layout.n_columns - layout.has_labels
        if n_numbers == 0:
            return np.empty((len(lines), 0)), labels
        if not any(map(str.strip, lines)):  # loadtxt warns
            return None
        table = np.loadtxt(lines, delimiter=layout.delimiter, comments=None, ndmin=2)
    except (ValueError, csv.Error):
        return None
    if table.shape != (len(lines), n_numbers) or not np.all(np.abs(table) <= layout.largest):
        return None
    return table, labels


def _parse_by_cell(block: list[tuple[int, str]], layout: _Layout) -> tuple[Array, list[str]]:
    """Return the numbers and labels of many lines cell by cell, or raise ValueError for the first bad one."""
    numbers, labels = [], []
    for number, line in block:
        place = f"{layout.name}, line {number}"
        try:
            (row,) = csv.reader([line], delimiter=layout.delimiter, strict=True)
        except csv.Error as error:
            raise ValueError(f"{place}: expected every quoted cell closed by a double quote, got {error}") from error
        if len(row) != layout.n_columns:
            raise ValueError(
                f"{place}: expected {layout.n_columns} cells separated by {layout.delimiter!r}, "
                f"got {len(row)}: {reprlib.repr(row)}{_cure(line, layout.delimiter)}"
            )
        if layout.target is not None and layout.has_labels:
            label = row[layout.target].strip()
            if not _is_label(label):
                cure = _cure(label, layout.delimiter)
                raise ValueError(f"{place}: expected the name of a class, as in the first line, got {label!r}{cure}")
            labels.append(label)
        numbers.append(
            [
                _finite(cell, f"{place}, column {i + 1} of {layout.n_columns}", layout)
                for i, cell in enumerate(row)
                if not (layout.has_labels and i == layout.target)
            ]
        )
    return np.array(numbers, np.float64).reshape(len(block), -1), labels


def _finite(cell: str, place: str, layout: _Layout) -> float:
    """Return the number in a cell, or raise ValueError."""
    number = number_in(cell)
    if number is None or not abs(number) <= layout.largest:
        found = reprlib.repr(cell) if cell.strip() else "an empty cell"
        raise ValueError(f"{place}: expected a finite number, got {found}{_cure(cell, layout.delimiter)}")
    return number


def _cure(text: str, delimiter: str) -> str:
    """Return the end of a message that names what is probably wrong with the options, or nothing."""
    if "\ufffd" in text:
        return "; if the text has another encoding, pass encoding=..."
    if delimiter != "," and number_in(text.replace(",", ".", 1)) is not None:
        return "; write decimals with a point"
    others = [other for other in DELIMITERS if other != delimiter and other in text]
    return f"; if cells are separated by {others[0]!r}, pass delimiter={others[0]!r}" if others else ""


def _is_label(cell: str) -> bool:
    """Return whether a cell is the name of a class: text that does not begin like a number, without unknown bytes."""
    text = cell.strip()
    is_name = bool(text) and number_in(text) is None and not (text[0].isnumeric() or text[0] in "+-.,")
    return is_name and "\ufffd" not in text


def number_in(cell: str) -> float | None:
    """Return the number that a cell holds, or None: Python's notation without underscores and foreign digits."""
    text = cell.strip()
    if not text.isascii() or "_" in text:
        return None
    try:
        return float(text)
    except ValueError:
        return None
