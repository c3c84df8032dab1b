"""Open a file or a stream for a reader, and read arrays without taking more memory than the bytes that arrive."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, NamedTuple, TypeGuard

import numpy as np

from ._types import Array
from ._validation import check_count

__all__ = ["FilePath", "Source", "memory_limit", "open_source", "read_array", "source_name"]

FilePath = str | os.PathLike[str]

DEFAULT_LIMIT = 2**30  # bytes: 1 GiB
COMPRESSION = 16  # times; data compressed further than this and larger than DEFAULT_LIMIT are refused unless asked for
HEAD = 4  # bytes: enough for every signature and byte order mark
PIECE = 2**20  # bytes read at a time


class Source(NamedTuple):
    """A binary stream with what is known of it before it is read.

    ``stream`` stands at the first byte, ``name`` is for messages, ``size`` is the number of bytes, or None for pipes
    and others that do not know, and ``head`` holds the first bytes.
    """

    stream: IO[bytes]
    name: str
    size: int | None
    head: bytes


@contextmanager
def open_source(source: FilePath | IO[Any]) -> Iterator[Source]:
    """Open a path, or take a binary stream that is open; streams are left open.

    Parameters
    ----------
    source : path-like or binary file object
        A FIFO or another path that cannot seek is taken too.

    Raises
    ------
    TypeError
        If ``source`` is neither.
    OSError
        If the file cannot be opened.

    Examples
    --------
    >>> import io
    >>> from handmade._streams import open_source
    >>> with open_source(io.BytesIO(b"some bytes")) as source:
    ...     source.name, source.size, source.head
    ('<stream>', 10, b'some')
    """
    if is_stream(source):
        yield _examine(source, source_name(source))
        return
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(f"path: expected a path or a binary file object, got {source!r}")
    with open(source, "rb") as stream:
        yield _examine(stream, source_name(source))


def is_stream(source: FilePath | IO[Any]) -> TypeGuard[IO[Any]]:
    """Return whether this is a stream; raise ValueError where it is closed, or open for writing."""
    stream: Any = source
    if not hasattr(stream, "read"):
        return False
    if getattr(stream, "closed", False) is True:
        raise ValueError(f"{source_name(source)}: expected an open file object, got one that is closed")
    if hasattr(stream, "readable") and not stream.readable():
        raise ValueError(f"{source_name(source)}: expected a file object to read from, got one to write to")
    return True


def source_name(source: FilePath | IO[Any]) -> str:
    """Return what messages call a file or a stream."""
    return str(getattr(source, "name", "<stream>") if hasattr(source, "read") else source)


def _examine(stream: IO[bytes], name: str) -> Source:
    """Look at the start of a stream without taking it away from the reader."""
    if stream.read(0) != b"":
        raise TypeError(f"{name}: expected a binary file object, got one of text; open it with mode 'rb'")
    if hasattr(stream, "seekable") and stream.seekable():
        start = stream.tell()
        size = stream.seek(0, io.SEEK_END) - start
        stream.seek(start)
        head = stream.read(HEAD)
        stream.seek(start)
        return Source(stream, name, size or None, head)  # files of the system, as /proc/cpuinfo, say 0
    head = b""
    while len(head) < HEAD and (more := stream.read(HEAD - len(head))):  # a pipe may give a byte at a time
        head += more
    return Source(io.BufferedReader(_Rejoined(head, stream, name)), name, None, head)


class _Rejoined(io.RawIOBase):
    """The bytes that were read from a stream to look at them, followed by the rest of it."""

    def __init__(self, head: bytes, rest: IO[bytes], name: str) -> None:
        self.head, self.rest, self.name = head, rest, name

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as one read does."""
        content = self.head[: len(buffer)] or self.rest.read(len(buffer))
        self.head = self.head[len(content) :]
        buffer[: len(content)] = content
        return len(content)


def memory_limit(max_bytes: int | None, source: Source) -> int:
    """Return the most bytes that the arrays of a file may take: max_bytes, or a default that fits its size.

    Examples
    --------
    >>> import io
    >>> from handmade._streams import memory_limit, open_source
    >>> with open_source(io.BytesIO(b"some bytes")) as source:
    ...     memory_limit(None, source), memory_limit(100, source)
    (1073741824, 100)
    """
    if max_bytes is None:
        return max(DEFAULT_LIMIT, COMPRESSION * (source.size or 0))
    return check_count(max_bytes, "max_bytes")


def read_array(
    stream: IO[bytes],
    name: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    limit: float = math.inf,
    size: int | None = None,
) -> Array:
    """Read the numbers of an array whose shape and dtype a header has declared.

    Memory grows with the bytes that arrive, so that a header that promises too much costs nothing.

    Parameters
    ----------
    stream : binary file object
        It stands at the first number.
    name : str
        The file, and what it holds, for messages.
    shape, dtype
        As declared.
    limit : int, optional
        The limit of the array's size in bytes.
    size : int or None
        The number of bytes that are known to be in the stream.

    Returns
    -------
    ndarray
        Writable, in C order and the byte order of this machine.

    Raises
    ------
    ValueError
        If the array would take more than ``limit``, the shape is impossible, or the stream ends early.

    Examples
    --------
    >>> import io, numpy as np
    >>> from handmade._streams import read_array
    >>> read_array(io.BytesIO(bytes([0, 1, 0, 2])), "two numbers", (2,), np.dtype(">i2"))
    array([1, 2], dtype=int16)
    """
    expected = math.prod(shape) * dtype.itemsize
    if expected > limit:
        raise ValueError(
            f"{name}: expected at most {limit} bytes, got a header that declares {expected}, {dtype.name} of shape "
            f"{shape}; if you trust the file, pass max_bytes={expected}"
        )
    content = np.empty(min(expected, max(size or 0, PIECE)), np.uint8)
    filled = 0
    while filled < expected:
        if filled == content.size:
            content.resize(min(2 * filled, expected), refcheck=False)
        count = stream.readinto(content[filled : filled + PIECE])  # type: ignore[attr-defined]
        if not count:
            raise ValueError(
                f"{name}: expected {expected} bytes for {dtype.name} of shape {shape}, got {filled}: "
                "the file is cut short; fetch it again"
            )
        filled += count
    try:
        array = content.view(dtype).reshape(shape)
    except ValueError as error:  # more dimensions than NumPy has, or sizes beside a 0 that it cannot hold
        raise ValueError(f"{name}: expected a shape that NumPy can hold, got {shape}: {error}") from error
    return array if dtype.isnative else array.byteswap(inplace=True).view(dtype.newbyteorder("="))
