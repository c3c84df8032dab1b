"""NumPy's archives of arrays, read with a bound on the memory that they take."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ._streams import PIECE, FilePath, Source, memory_limit, open_source, read_array
from ._types import Array

if TYPE_CHECKING:
    from zipfile import ZipFile

__all__ = ["read_npz"]

Shape = tuple[int, ...]

LONGEST_HEADER = 2**16  # bytes; of an array of numbers it has about 100
NOT_READ = {b"|O'": "one of Python objects, which are never loaded,", b"'descr': [": "one of named fields"}
HEADER = re.compile(
    rb"""\{\s*'descr':\s*'([<>|=][biufcSUmM][0-9]+(?:\[\w+\])?)',"""
    rb"""\s*'fortran_order':\s*(True|False),"""
    rb"""\s*'shape':\s*\(((?:[0-9]+,\s*)*[0-9]*)\),?\s*\}\s*"""
)


def read_npz(
    path: FilePath | IO[bytes], names: Iterable[str] | None = None, *, max_bytes: int | None = None
) -> dict[str, Array]:
    """Read arrays from an ``.npz`` archive; Python objects are never loaded, so that a file cannot run code.

    The headers are read first, and no more is read or kept than they declare.

    Parameters
    ----------
    path : path-like or binary file object
        The archive, as `numpy.savez` writes it.
    names : iterable of str, optional
        The arrays to read; all by default.
    max_bytes : int, optional
        The limit of the size of all arrays in bytes. By default 1 GiB, or 16 times the size of the file if that
        is more.

    Returns
    -------
    dict of ndarray
        In the order of ``names``, or of the archive.

    Raises
    ------
    ValueError
        If the file is not an archive, is damaged, lacks a name or has one twice, holds Python objects under one, or
        declares more than ``max_bytes``.

    Examples
    --------
    >>> import io, numpy as np
    >>> from handmade._npz import read_npz
    >>> stream = io.BytesIO()
    >>> np.savez(stream, a=[1, 2], b=[3.0])
    >>> read_npz(stream, ["b"])
    Traceback (most recent call last):
        ...
    ValueError: <stream>: expected an .npz archive, which begins with '50 4b 03 04', got the bytes ''
    >>> _ = stream.seek(0)
    >>> read_npz(stream, ["b"])
    {'b': array([3.])}
    """
    import zipfile  # imported here, because it takes longer than most of this library

    with open_source(path) as source:
        limit = memory_limit(max_bytes, source)
        if not source.head.startswith((b"PK\3\4", b"PK\5\6")):
            cure = "; read one array with numpy.load" if source.head.startswith(b"\x93NUM") else ""
            raise ValueError(
                f"{source.name}: expected an .npz archive, which begins with '50 4b 03 04', got the bytes "
                f"'{source.head.hex(' ')}'{cure}"
            )
        try:
            archive = zipfile.ZipFile(_seekable(source, limit))
        except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError) as error:
            raise ValueError(
                f"{source.name}: expected an .npz archive, got a file that is cut short or damaged, "
                f"or something else: {error}"
            ) from error
        with archive:
            return _read_members(archive, source.name, names, limit)


def _seekable(source: Source, limit: int) -> IO[bytes]:
    """Return the stream, or its content where it cannot seek."""
    if source.stream.seekable():
        return source.stream
    content = io.BytesIO()
    while piece := source.stream.read(PIECE):
        content.write(piece)
        if content.tell() > limit:
            raise ValueError(
                f"{source.name}: expected at most {limit} bytes, got more; if you trust it, raise max_bytes"
            )
    return content


def _read_members(archive: ZipFile, name: str, wanted: Iterable[str] | None, limit: int) -> dict[str, Array]:
    """Read the headers of the wanted arrays, check what they declare together, then read the arrays."""
    members = {member.removesuffix(".npy"): member for member in archive.namelist()}
    if len(members) < len(archive.namelist()):  # zipfile would read the last one of each name
        keys = [member.removesuffix(".npy") for member in archive.namelist()]
        twice = next(key for key in members if keys.count(key) > 1)
        raise ValueError(f"{name}: expected each name once, got {keys.count(twice)} arrays {twice!r}; write it again")
    wanted = list(members if wanted is None else wanted)
    other = next((member for member in archive.namelist() if member.endswith("/data.pkl")), None)
    if other is not None:
        raise ValueError(f"{name}: expected arrays alone, got a file of torch.save; read it with hm.from_torch(path)")
    total = 0
    for key in wanted:
        if key not in members:
            raise ValueError(f"{name}: expected an array {key!r}, got an archive with {', '.join(members) or 'none'}")
        with _open_member(archive, members[key], f"{name}, array {key!r}") as (_, shape, _, dtype):
            total += math.prod(shape) * dtype.itemsize
    if total > limit:
        raise ValueError(
            f"{name}: expected at most {limit} bytes, got headers that declare {total}; "
            f"if you trust the file, pass max_bytes={total}"
        )
    return {key: _read_member(archive, members[key], f"{name}, array {key!r}") for key in wanted}


@contextmanager
def _open_member(archive: ZipFile, member: str, name: str) -> Iterator[tuple[IO[bytes], Shape, bool, np.dtype[Any]]]:
    """Open one array and read its header: yield the stream, the shape, whether the order is Fortran's, and dtype."""
    try:
        if archive.getinfo(member).compress_type not in (0, 8):
            raise ValueError("another compression than deflate")  # LZMA takes as much memory as the file asks for
        stream = archive.open(member)
        shape, fortran_order, dtype = _read_header(stream)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name}: expected the header of an array, got {error}") from error
    except Exception as error:  # a damaged archive fails in many ways
        raise ValueError(f"{name}: expected whole data, got {error}; fetch it again") from error
    with stream:
        if dtype.itemsize == 0 or len(shape) > 64:
            raise ValueError(f"{name}: expected an array that NumPy can hold, got {dtype} of shape {shape}")
        yield stream, shape, fortran_order, dtype


def _read_member(archive: ZipFile, member: str, name: str) -> Array:
    """Read one array, and make sure that nothing follows."""
    with _open_member(archive, member, name) as (stream, shape, fortran_order, dtype):
        try:
            array = read_array(stream, name, shape[::-1] if fortran_order else shape, dtype)
            if stream.read(1):  # which also compares the checksum
                raise ValueError(f"{name}: expected {array.nbytes} bytes for {dtype} of shape {shape}, got more")
        except (ValueError, MemoryError):
            raise
        except Exception as error:  # damaged data fails in many ways
            raise ValueError(f"{name}: expected whole data, got {error}; fetch it again") from error
    return array.T if fortran_order else array


def _read_header(stream: IO[bytes]) -> tuple[Shape, bool, np.dtype[Any]]:
    """Return shape, whether the order is Fortran's, and dtype.

    NumPy evaluates the header as an expression of Python; a pattern takes what NumPy writes and nothing else.
    """
    magic = stream.read(8)
    if magic[:6] != b"\x93NUMPY" or magic[6:] not in (b"\1\0", b"\2\0", b"\3\0"):
        raise ValueError(f"the bytes '{magic.hex(' ')}' instead of '93 4e 55 4d 50 59' and a version")
    size = int.from_bytes(stream.read(2 if magic[6] == 1 else 4), "little")
    header = stream.read(min(size, LONGEST_HEADER))
    if len(header) < size:
        raise ValueError(f"{len(header)} bytes instead of {size}")
    if not (found := HEADER.fullmatch(header)):
        kind = next((words for mark, words in NOT_READ.items() if mark in header), f"{header[:100]!r}")
        raise ValueError(f"{kind} instead of dtype, order and shape of an array of numbers or text")
    descr, order, shape = (item.decode() for item in found.groups())
    sizes = tuple(int(size) for size in shape.split(",") if size.strip())
    return sizes, order == "True", np.dtype(descr)
