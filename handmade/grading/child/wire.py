"""Values as bytes between the grader and a student's process.

Not pickle, which would let the student's process run code in the grader's. A message is JSON, in which each array
stands by its place in a second part of plain bytes. What has no such form arrives as an `Opaque`.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import struct
from collections.abc import Generator, Iterator, Mapping, ValuesView
from typing import IO, Any

import numpy as np

__all__ = ["Opaque", "decode", "encode", "read_message", "write_message"]

MAX_DEPTH = 20  # of nested lists: one that holds itself has no end
MAX_PARTS = 100_000  # values in one message
MAX_BYTES = 2**28  # of one message
NUMERIC = "biufc"
HEADER = struct.Struct("<QQ")


@dataclasses.dataclass(frozen=True)
class Opaque:
    """A value that cannot be sent, and what it is in words."""

    kind: str


def encode(value: Any) -> tuple[bytes, bytes]:
    """Return a value as JSON and the bytes of its arrays.

    Raises
    ------
    ValueError
        If the value is nested without end, or too large.
    """
    encoder = _Encoder()
    tree = encoder.tree(value, 0)
    return json.dumps(tree).encode(), b"".join(encoder.buffers)


class _Encoder:
    """One message in the making."""

    def __init__(self) -> None:
        self.buffers: list[bytes] = []
        self.size = 0
        self.parts = 0

    def tree(self, value: Any, depth: int) -> Any:
        """Return a value as lists, dicts and numbers that JSON has."""
        self.parts += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"expected arrays in at most {MAX_DEPTH} nested lists; does a list hold itself?")
        if self.parts > MAX_PARTS:
            raise ValueError(f"expected at most {MAX_PARTS:,} values; are these arrays?")
        if value is None or isinstance(value, str):
            return value if value is None else value[:10_000]
        if type(value) in (bool, int, float):
            return self._array(np.asarray(value)) if type(value) is int and abs(value) >= 2**63 else {"n": repr(value)}
        if isinstance(value, Opaque):
            return {"o": value.kind}
        if isinstance(value, Mapping):
            return {"d": [[str(key), self.tree(part, depth + 1)] for key, part in value.items()]}
        if _holds_arrays(value):
            value = list(itertools.islice(value, MAX_PARTS))
        if isinstance(value, list | tuple):
            parts = [self.tree(part, depth + 1) for part in value]
            return {"t": parts} if isinstance(value, tuple) else {"l": parts}
        return self._array(value)

    def _array(self, value: Any) -> Any:
        """Return an array, or anything that is numbers as NumPy sees it, by its place among the bytes."""
        if not isinstance(value, np.ndarray | np.generic) and not hasattr(value, "__array__"):
            return {"o": type(value).__name__}
        value = getattr(value, "detach", lambda: value)()  # a tensor of torch may hang on a graph
        array = np.asarray(value)
        if array.dtype.kind not in NUMERIC or array.dtype.itemsize > 16:
            return {"o": f"an array of shape {array.shape} and dtype {array.dtype}"}
        self.size += array.size * array.dtype.itemsize  # nbytes of a broadcast array counts too little
        if self.size > MAX_BYTES:
            raise ValueError(f"expected at most {MAX_BYTES:,} bytes, got an array of shape {array.shape}")
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        self.buffers.append(array.tobytes())
        return {"a": [array.dtype.str, list(array.shape)]}


def _holds_arrays(value: Any) -> bool:
    """Return whether a value is a container of arrays in place of a list; a generator rather has a wrong yield."""
    if isinstance(value, Iterator | ValuesView):
        return not isinstance(value, Generator)
    return getattr(value, "dtype", None) == np.dtype(object) and np.ndim(value) > 0


def decode(header: bytes, buffer: bytes) -> Any:
    """Return the value that `encode` was given; arrays are writable copies.

    Raises
    ------
    ValueError
        If the bytes are not a message.
    """
    try:
        value, end = _decoded(json.loads(header), memoryview(buffer), 0)
    except (TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise ValueError(f"expected a message, got {error}") from None
    if end != len(buffer):
        raise ValueError("expected a message, got too many bytes")
    return value


def _decoded(tree: Any, buffer: memoryview, start: int) -> tuple[Any, int]:
    if tree is None or isinstance(tree, str):
        return tree, start
    ((kind, content),) = tree.items()
    if kind == "n":
        return _number(content), start
    if kind == "o":
        return Opaque(str(content)), start
    if kind == "a":
        dtype, shape = np.dtype(content[0]), tuple(content[1])
        if dtype.kind not in NUMERIC:
            raise ValueError(f"expected a message, got an array of dtype {dtype}")
        array: np.ndarray[Any, Any] = np.empty(shape, dtype)
        end = start + array.nbytes
        flat = np.frombuffer(buffer[start:end], dtype)
        return flat.reshape(shape).astype(dtype.newbyteorder("=")), end
    if kind == "d":
        mapping = {}
        for key, part in content:
            mapping[str(key)], start = _decoded(part, buffer, start)
        return mapping, start
    parts = []
    for part in content:
        value, start = _decoded(part, buffer, start)
        parts.append(value)
    return (tuple(parts) if kind == "t" else parts), start


def _number(text: str) -> bool | int | float:
    if text in ("True", "False"):
        return text == "True"
    return float(text) if any(c in text for c in ".einf") else int(text)


def write_message(stream: IO[bytes], value: Any) -> None:
    """Write a value to a stream."""
    header, buffer = encode(value)
    stream.write(HEADER.pack(len(header), len(buffer)) + header + buffer)
    stream.flush()


def read_message(stream: IO[bytes]) -> Any:
    """Read a value from a stream.

    Raises
    ------
    EOFError
        If the stream ends.
    ValueError
        If it holds something else.
    """
    sizes = _read(stream, HEADER.size)
    length, size = HEADER.unpack(sizes)
    if length + size > 2 * MAX_BYTES:
        raise ValueError("expected a message, got other bytes")
    return decode(_read(stream, length), _read(stream, size))


def _read(stream: IO[bytes], size: int) -> bytes:
    found = stream.read(size)
    if len(found) < size:
        raise EOFError
    return found
