"""Targets: the readers of IDX, CSV and npz, against parsers written another way."""

from __future__ import annotations

import csv
import functools
import gzip
import io
import math
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from handmade.data import load_csv, load_idx, load_npz

from .mutate import mutate, pick
from .rules import Outcome, Violation, observe, same_numbers

__all__ = ["REPLAYS", "TARGETS"]

NAME = "fuzzed"  # of the file; errors have to contain it
# Where the reader of archives is stricter than NumPy: surplus bytes, records, other compressions, headers of others.
ALLOWED = ("got more", "header of an array", "that NumPy can hold", "at most")
MEASURED = 0.1  # of the cases: measuring memory takes time
MEMORY = 24 * 2**20  # bytes beyond a multiple of the file; 2 MiB of buffers, and what deflate makes of 20 KB


# ---- IDX ---------------------------------------------------------------------------------------------------------


@functools.cache
def idx_seeds() -> list[bytes]:
    """Return small valid files of every type and several shapes."""
    seeds = []
    for code, letter in zip((8, 9, 11, 12, 13, 14), "BbhifD".replace("D", "d"), strict=True):
        for shape in ((), (0,), (5,), (2, 3), (2, 1, 2)):
            numbers = [n % 7 for n in range(math.prod(shape))]
            header = struct.pack(f">BBBB{len(shape)}I", 0, 0, code, len(shape), *shape)
            seeds.append(header + struct.pack(f">{len(numbers)}{letter}", *numbers))
    return seeds


def fuzz_idx(rng: np.random.Generator) -> None:
    """Read a mutated IDX file, packed or not."""
    content = mutate(rng, pick(rng, idx_seeds()), pick(rng, idx_seeds()))
    if rng.random() < 0.4:
        content = gzip.compress(content, mtime=0)
        content = mutate(rng, content) if rng.random() < 0.5 else content
    _judge(rng, load_idx, content, parse_idx(content))


def parse_idx(content: bytes) -> Any:
    """Return the array of an IDX file, or None if it is not valid."""
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.GzipFile(fileobj=io.BytesIO(content)).read()
        except (OSError, EOFError, zlib.error):
            return None
    if len(content) < 4 or content[:2] != b"\0\0" or content[3] > 64:
        return None
    letter = {8: "u1", 9: "i1", 11: "i2", 12: "i4", 13: "f4", 14: "f8"}.get(content[2])
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, 4 + 4 * content[3], 4)]
    numbers = content[4 + 4 * len(shape) :]
    if letter is None or len(content) < 4 + 4 * len(shape):
        return None
    if len(numbers) != math.prod(shape) * int(letter[1]):
        return None
    try:
        return np.frombuffer(numbers, ">" + letter).reshape(shape).astype(letter)
    except ValueError:
        return None


# ---- npz ---------------------------------------------------------------------------------------------------------


@functools.cache
def npz_seeds() -> list[bytes]:
    """Return small valid archives."""
    seeds = []
    for X, y in (
        ([[1.0, 2.0], [3.0, 4.0]], [0, 1]),
        (np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)), np.array([1, 0], np.uint8)),
        (np.zeros((2, 0)), np.array(["cat", "dog"])),
        (np.arange(2, dtype=">i4"), np.array([1j, 2])),
        (np.zeros((0, 3), np.int8), np.zeros(0, bool)),
    ):
        for save in (np.savez, np.savez_compressed):
            stream = io.BytesIO()
            save(stream, X=X, y=y)
            seeds.append(stream.getvalue())
    return seeds


def fuzz_npz(rng: np.random.Generator) -> None:
    """Read a mutated archive: its bytes, or an array in it, whose checksum is then right."""
    content = pick(rng, npz_seeds())
    if rng.random() < 0.6:
        content = _mutate_members(rng, content)
    if rng.random() < 0.5:
        content = mutate(rng, content, pick(rng, npz_seeds()))
    _judge(rng, load_npz, content, parse_npz(content))


def _mutate_members(rng: np.random.Generator, content: bytes) -> bytes:
    """Return the archive with mutated arrays and right checksums."""
    stream = io.BytesIO()
    packing = pick(rng, [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w", packing) as new:
        for name in old.namelist():
            member = old.read(name)
            new.writestr(name, mutate(rng, member) if rng.random() < 0.7 else member)
    return stream.getvalue()


def parse_npz(content: bytes) -> Any:
    """Return X and y as NumPy reads them, or None if it does not, or they do not fit together."""
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                X, y = archive["X"], archive["y"]
    except Exception:
        return None
    if not all(isinstance(array, np.ndarray) for array in (X, y)) or not X.ndim or X.shape[:1] != y.shape[:1]:
        return None
    return X.astype(X.dtype.newbyteorder("=")), y.astype(y.dtype.newbyteorder("="))


# ---- CSV ---------------------------------------------------------------------------------------------------------

CSV_SEEDS = [
    b"1,2,0\n3.5,-4e2,1\n",
    b"a,b,c\n1,2,0\n3,4,1\n\n5,6,2\n",
    b'"a, b","c"\n"1","2"\n3,4\n',
    b"a;b\r\n1;2\r\n3;4\r\n",
    b"length\twidth\tkind\n5.1\t3.5\tsetosa\n7.0\t3.2\tversicolor\n",
    b"\xef\xbb\xbf1,a\n2,b\n",
    b"x\n1\n2\n",
    b"1 , 2\n 3, 4\n5 ,6 \n",
    b"1e308,1e-308,inf\n1,2,3\n",
    b"n,m\n" + b"12345678,87654321\n" * 40,
]


def fuzz_csv(rng: np.random.Generator) -> None:
    """Read a mutated table with options drawn at random."""
    content = mutate(rng, pick(rng, CSV_SEEDS), pick(rng, CSV_SEEDS))
    options = {
        "target": pick(rng, [-1, -1, 0, 1, None, "b", 5]),
        "delimiter": pick(rng, [",", ",", ";", "\t"]),
        "header": pick(rng, [None, None, True, False]),
        "dtype": pick(rng, [np.float64, np.float64, np.float32]),
    }
    _judge(rng, functools.partial(load_csv, **options), content, parse_csv(content, **options))


def parse_csv(content: bytes, target: Any, delimiter: str, header: bool | None, dtype: Any) -> Any:
    """Return X and y of a table, or None if it is not valid."""
    marks = (b"\xff\xfe", b"\xfe\xff", b"\x1f\x8b", b"PK\x03\x04")
    text = content.decode("utf-8-sig", "replace")
    if content.startswith(marks) or "\0" in text:
        return None
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    try:
        rows = _rows([line + "\n" for line in lines if line], delimiter, header)
    except (csv.Error, StopIteration):
        return None
    names, rows = rows
    if not rows or len({len(row) for row in rows} | ({len(names)} if names else set())) != 1:
        return None
    width = len(rows[0])
    if isinstance(target, str):
        column = names.index(target) if names.count(target) == 1 else None
    else:
        column = target % width if target is not None and -width <= target < width else None
    if column is None and target is not None:
        return None
    return _columns(rows, column, dtype)


def _rows(lines: list[str], delimiter: str, header: bool | None) -> tuple[list[str], list[list[str]]]:
    """Return the names of the columns and the cells of every line of data."""
    reader = csv.reader(iter(lines), delimiter=delimiter, strict=True)
    first = next(reader)
    if header or (header is None and all(_value(cell) is None for cell in first)):
        lines = lines[reader.line_num :]
        names = [cell.strip() for cell in first]
    else:
        names = []
    return names, [next(csv.reader([line], delimiter=delimiter, strict=True)) for line in lines]


def _columns(rows: list[list[str]], column: int | None, dtype: Any) -> Any:
    """Return X and y, or None where a cell is bad."""
    largest = float(np.finfo(dtype).max)
    labels = [row[column].strip() for row in rows] if column is not None else []
    is_text = bool(labels) and _is_name(labels[0])
    cells = [[c for i, c in enumerate(row) if not (is_text and i == column)] for row in rows]
    numbers = [[_value(cell) for cell in row] for row in cells]
    if any(n is None or not abs(n) <= largest for row in numbers for n in row):
        return None
    if is_text:
        X = np.array(numbers, np.float64).reshape(len(rows), -1).astype(dtype)
        return (X, np.array(labels)) if all(map(_is_name, labels)) else None
    table = np.array(numbers, np.float64)
    if column is None:
        return table.astype(dtype), None
    y = table[:, column]
    whole = all(n.is_integer() and abs(n) < 2**53 for n in y.tolist())
    return np.delete(table, column, axis=1).astype(dtype), y.astype(np.int64 if whole else dtype)


def _value(cell: str) -> float | None:
    cell = cell.strip()
    try:
        return float(cell) if cell.isascii() and "_" not in cell else None
    except ValueError:
        return None


def _is_name(cell: str) -> bool:
    return (
        bool(cell)
        and _value(cell) is None
        and not cell[0].isnumeric()
        and cell[0] not in "+-.,"
        and "\ufffd" not in cell
    )


# ---- what they share ---------------------------------------------------------------------------------------------


class Pipe(io.RawIOBase):
    """A stream that cannot seek and gives few bytes at a time."""

    name = NAME

    def __init__(self, content: bytes, step: int) -> None:
        self.content, self.step = content, step

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece, self.content = self.content[: min(self.step, len(buffer))], self.content[min(self.step, len(buffer)) :]
        buffer[: len(piece)] = piece
        return len(piece)


class Stream(io.BytesIO):
    """A stream with a name."""

    name = NAME


def _judge(rng: np.random.Generator, load: Callable[..., Any], content: bytes, expected: Any) -> None:
    """Read the content as a file, a stream or a pipe, and compare with the other parser."""
    most_memory = MEMORY + 64 * len(content) if rng.random() < MEASURED else None
    way = rng.random()
    try:
        if way < 0.1:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, NAME)
                path.write_bytes(content)
                outcome = observe(lambda: load(path), [NAME], most_memory=most_memory)
        else:
            stream = Stream(content) if way < 0.8 else Pipe(content, int(rng.integers(1, 50)))
            outcome = observe(lambda: load(stream), [NAME], most_memory=most_memory)
        _compare(outcome, expected, ALLOWED if load is load_npz else ())
    except Violation as violation:
        violation.content = content
        raise


def _compare(outcome: Outcome, expected: Any, allowed: tuple[str, ...]) -> None:
    """Raise Violation if the reader took what is not valid, refused what is, or gave other numbers."""
    if outcome.error is not None:
        if expected is not None and not any(words in str(outcome.error) for words in allowed):
            raise Violation("refused", f"expected {str(expected)[:100]}, got {outcome.error}")
        return
    if expected is None:
        raise Violation("taken", f"expected an error, got {str(outcome.value)[:100]}")
    pairs = zip(outcome.value, expected, strict=True) if isinstance(expected, tuple) else [(outcome.value, expected)]
    for value, right in pairs:
        if right is None or value is None:
            same = right is value
        else:
            same = value.dtype == right.dtype and (value.tobytes() == right.tobytes() or same_numbers(value, right))
        if not same:
            raise Violation("wrong", f"expected {str(right)[:100]}, got {str(value)[:100]}")


def _replay(name: str, content: bytes) -> None:
    """Read a file of the corpus in every way."""
    load, parse = READERS[name]
    expected = parse(content)
    for make in (Stream, functools.partial(Pipe, step=1), functools.partial(Pipe, step=4096)):
        outcome = observe(lambda make=make: load(make(content)), [NAME], most_memory=MEMORY + 64 * len(content))
        _compare(outcome, expected, ALLOWED if name == "npz" else ())


READERS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "idx": (load_idx, parse_idx),
    "npz": (load_npz, parse_npz),
    "csv": (load_csv, functools.partial(parse_csv, target=-1, delimiter=",", header=None, dtype=np.float64)),
}
REPLAYS = {name: functools.partial(_replay, name) for name in READERS}
TARGETS = {"idx": fuzz_idx, "npz": fuzz_npz, "csv": fuzz_csv}
