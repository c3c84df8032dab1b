"""The safetensors format: arrays by name in one file, read with every bound checked before memory is taken.

The file is 8 bytes (the length of the header, little-endian), the header (JSON: name -> dtype, shape, and the first and
last byte of the data) and the data, without gaps. Source: https://github.com/huggingface/safetensors, "Format".
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import IO, Any, NamedTuple

import numpy as np

from ._streams import Source, memory_limit, read_array
from ._types import Array

__all__ = ["Entry", "Header", "read_header", "read_tensors", "write_safetensors"]

HEADER_LIMIT = 2**22  # bytes: 4 MiB, about 40,000 tensors
DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",  # the upper half of a float32
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "<i1",
    "U8": "<u1",
    "BOOL": "|b1",
}
CODES = {np.dtype(dtype): code for code, dtype in DTYPES.items() if code != "BF16"}


class Entry(NamedTuple):
    """An array that a header declares: the code of its dtype, its shape, and its bytes in the data."""

    code: str
    shape: tuple[int, ...]
    start: int
    stop: int


class Header(NamedTuple):
    """The metadata of a file, and its arrays in the order of the data."""

    metadata: dict[str, str]
    entries: dict[str, Entry]


def write_safetensors(stream: IO[bytes], arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
    """Write arrays and text in the safetensors format.

    Parameters
    ----------
    stream : binary file object
        Open for writing.
    arrays : mapping of str to ndarray
        Numbers. Arrays of larger numbers come first in the file, so that all are aligned.
    metadata : mapping of str to str
        Text by name.

    Raises
    ------
    TypeError
        If an array has a dtype that the format lacks.

    Examples
    --------
    >>> import io
    >>> from handmade._safetensors import write_safetensors
    >>> stream = io.BytesIO()
    >>> write_safetensors(stream, {"a": np.array([1.0])}, {})
    >>> stream.getvalue()[8:-8]
    b'{"__metadata__":{},"a":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}}'
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    stop = 0
    ordered = sorted(arrays.items(), key=lambda item: -item[1].dtype.itemsize)
    for name, array in ordered:
        if array.dtype.newbyteorder("<") not in CODES:
            raise TypeError(f"{name}: expected one of {', '.join(map(str, CODES))}, got dtype {array.dtype}")
        start, stop = stop, stop + array.nbytes
        code = CODES[array.dtype.newbyteorder("<")]
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": [start, stop]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > HEADER_LIMIT:
        raise ValueError(f"header: expected at most {HEADER_LIMIT} bytes, got {len(text)}; save less metadata")
    stream.write(len(text).to_bytes(8, "little") + text)
    for _, array in ordered:
        stream.write(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())


def read_header(source: Source) -> Header:
    """Read the header and check it; the stream then stands at the data.

    Raises
    ------
    ValueError
        If the length, the JSON, a dtype, a shape or an offset is impossible, or the data have gaps or overlaps.
    """
    name, size = source.name, source.size
    begin = _exactly(source, 8, "the length of a header")
    length = int.from_bytes(begin, "little")
    limit = HEADER_LIMIT if size is None else min(HEADER_LIMIT, size - 8)
    if not 2 <= length <= limit:
        raise ValueError(
            f"{name}: expected a safetensors file, which begins with the length of its header, or an .npz archive, "
            f"got the bytes {begin!r}"
        )
    try:
        document = json.loads(_exactly(source, length, "a header"), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name}: expected a header in JSON, got {error}") from error
    if not isinstance(document, dict):
        raise ValueError(f"{name}: expected a header that maps names to arrays, got {type(document).__name__}")
    metadata = document.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError(f"{name}: expected __metadata__ that maps names to text, got another type")
    entries = {key: _entry(f"{name}, array {key!r}", value) for key, value in document.items()}
    entries = dict(sorted(entries.items(), key=lambda item: item[1][2:]))
    _check_layout(name, entries, None if size is None else size - 8 - length)
    return Header(metadata, entries)


def _exactly(source: Source, count: int, what: str) -> bytes:
    """Read ``count`` bytes; raise if there are fewer."""
    content = source.stream.read(count)
    if len(content) < count:
        raise ValueError(f"{source.name}: expected {count} bytes for {what}, got {len(content)}: the file is cut short")
    return content


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object as a dict; raise if a name appears twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("the same name twice")
    return found


def _entry(name: str, value: Any) -> Entry:
    """Return what the header declares of one array; raise if that is impossible."""
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name}: expected dtype, shape and data_offsets, got {str(value)[:80]}")
    code, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(code, str) or code not in DTYPES:
        raise ValueError(f"{name}: expected a dtype among {', '.join(DTYPES)}, got {code!r}")
    if not _counts(shape) or len(shape) > 32:
        raise ValueError(f"{name}: expected a shape of at most 32 sizes of 0 or more, got {str(shape)[:80]}")
    if not _counts(offsets) or len(offsets) != 2:
        raise ValueError(f"{name}: expected two data_offsets of 0 or more, got {str(offsets)[:80]}")
    expected = math.prod(shape) * np.dtype(DTYPES[code]).itemsize
    if offsets[1] - offsets[0] != expected:
        raise ValueError(f"{name}: expected {expected} bytes for {code} of shape {shape}, got data_offsets {offsets}")
    return Entry(code, tuple(shape), *offsets)


def _counts(values: Any) -> bool:
    """Return whether this is a list of integers from 0 to 2^63 - 1."""
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**63 for value in values)


def _check_layout(name: str, entries: Mapping[str, Entry], size: int | None) -> None:
    """Raise unless each array begins where the one before it ends, and the last ends with the file."""
    end = 0
    for key, entry in entries.items():
        if entry.start != end:
            problem = "overlapping data" if entry.start < end else "a gap"
            raise ValueError(f"{name}: expected array {key!r} to begin at byte {end}, got {entry.start}: {problem}")
        end = entry.stop
    if size is not None and size != end:
        raise ValueError(f"{name}: expected {end} bytes of data, got {size}; the file is cut short or damaged")


def read_tensors(source: Source, header: Header, max_bytes: int | None = None) -> dict[str, Array]:
    """Read the data after `read_header`; bfloat16 becomes float32.

    Raises
    ------
    ValueError
        If the data end early, or take more than ``max_bytes``.
    """
    limit = memory_limit(max_bytes, source)
    total = max((entry.stop for entry in header.entries.values()), default=0)
    if total > limit:
        raise ValueError(f"{source.name}: expected at most {limit} bytes, got {total}; pass max_bytes={total}")
    arrays = {}
    for key, entry in header.entries.items():
        dtype = np.dtype(DTYPES[entry.code])
        array = read_array(source.stream, f"{source.name}, array {key!r}", entry.shape, dtype, limit, source.size)
        if entry.code == "BF16":
            array = (array.astype(np.uint32) << 16).view(np.float32)
        arrays[key] = array
    if source.stream.read(1):
        raise ValueError(f"{source.name}: expected {total} bytes of data, got more; the file is damaged")
    return arrays
