"""IDX, the format of the MNIST files: one array per file."""

from __future__ import annotations

import os
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ._atomic import write_atomically
from ._streams import FilePath, memory_limit, open_source, read_array
from ._types import Array
from ._validation import as_array

__all__ = ["load_idx", "save_idx"]

GZIP = b"\x1f\x8b"
MOST_DIMENSIONS = 64  # of a NumPy array
DTYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype(">u1"),
    0x09: np.dtype(">i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
CODES = {dtype: code for code, dtype in DTYPES.items()}


def load_idx(path: FilePath | IO[bytes], *, max_bytes: int | None = None) -> Array:
    """Read an array from an IDX file, compressed with gzip or not.

    The file holds two zero bytes, a byte for the type, a byte for the number of dimensions, the sizes as big-endian
    unsigned integers of 4 bytes, and the numbers, big-endian in C order. Its content, not its name, tells whether it
    is compressed. The header is read first; no more is read or kept than it declares.

    Parameters
    ----------
    path : path-like or binary file object
        The file; a FIFO or a pipe will do.
    max_bytes : int, optional
        The limit of the array's size in bytes. By default 1 GiB, or 16 times the size of the file if that is more.

    Returns
    -------
    ndarray
        Of type uint8, int8, int16, int32, float32 or float64, as in the file.

    Raises
    ------
    ValueError
        If the file is not IDX, is cut short, has bytes to spare, is damaged gzip, or declares an array larger than
        ``max_bytes``.

    Notes
    -----
    Source: Y. LeCun, C. Cortes and C. J. C. Burges, The MNIST database of handwritten digits,
    http://yann.lecun.com/exdb/mnist/, section "File formats".

    Examples
    --------
    MNIST comes as ``train-images-idx3-ubyte.gz`` and three files like it; for a network,
    ``X = hm.data.load_idx(path).reshape(60000, 784) / 255.0`` and ``y = hm.data.load_idx(path).astype(np.int64)``.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     hm.data.save_idx(folder + "/image.gz", np.array([[0, 128], [255, 1]], dtype=np.uint8))
    ...     hm.data.load_idx(folder + "/image.gz")
    array([[  0, 128],
           [255,   1]], dtype=uint8)
    """
    import gzip  # imported here: `import handmade` does not need it
    import zlib

    with open_source(path) as source:
        limit = memory_limit(max_bytes, source)
        if not source.head.startswith(GZIP):
            return _read(source.stream, source.name, limit, source.size)
        try:
            with gzip.GzipFile(fileobj=source.stream, mode="rb") as stream:
                return _read(stream, source.name, limit, None)  # type: ignore[arg-type]
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ValueError(f"{source.name}: expected a whole gzip file, got {error}; fetch it again") from error


def _read(stream: IO[bytes], name: str, limit: int, size: int | None) -> Array:
    """Read the header, then what it declares, then make sure that nothing follows."""
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        cure = "; it is compressed twice, decompress it once" if magic.startswith(GZIP) else ""
        raise ValueError(
            f"{name}: expected an IDX file (two zero bytes, a type code, a number of dimensions), "
            f"got the bytes '{magic.hex(' ')}'{cure}"
        )
    code, ndim = magic[2:]
    if code not in DTYPES:
        known = ", ".join(f"0x{known:02x} {dtype.name}" for known, dtype in DTYPES.items())
        raise ValueError(f"{name}: expected a type code among {known}; got 0x{code:02x}")
    if ndim > MOST_DIMENSIONS:
        raise ValueError(f"{name}: expected at most {MOST_DIMENSIONS} dimensions, got {ndim}")
    sizes = read_array(stream, f"{name}, header", (ndim,), np.dtype(">u4"))
    array = read_array(stream, name, tuple(sizes.tolist()), DTYPES[code], limit, size)
    if stream.read(1):
        raise ValueError(
            f"{name}: expected {array.nbytes} bytes for {array.dtype} of shape {array.shape}, got more: "
            "the file has surplus bytes"
        )
    return array


def save_idx(path: FilePath, array: npt.ArrayLike) -> None:
    """Write an array to an IDX file, compressed with gzip if the name ends in ``.gz``.

    Equal arrays give equal files, byte for byte. A file that exists is replaced as a whole, once the new one is on the
    disk; where that fails, it stays as it was.

    Parameters
    ----------
    path : path-like
        The file.
    array : array_like
        Of type uint8, int8, int16, int32, float32 or float64, with any shape.

    Raises
    ------
    TypeError
        If IDX has no such type.
    ValueError
        If a size does not fit into 4 bytes.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "labels")
    ...     hm.data.save_idx(path, np.array([7, 2, 1], dtype=np.uint8))
    ...     path.read_bytes().hex(" ")
    '00 00 08 01 00 00 00 03 07 02 01'
    """
    array = as_array(array, "array")
    dtype = array.dtype.newbyteorder(">")
    if dtype not in CODES:
        names = ", ".join(dtype.name for dtype in CODES)
        raise TypeError(f"array: expected one of {names}, got {array.dtype}; convert it with array.astype")
    if any(size >= 2**32 for size in array.shape):
        raise ValueError(f"array: expected sizes below 2**32, got shape {array.shape}; split it")
    header = bytes([0, 0, CODES[dtype], array.ndim]) + np.array(array.shape, dtype=">u4").tobytes()
    numbers = np.ascontiguousarray(array, dtype).reshape(-1).view(np.uint8)

    def write(stream: IO[bytes]) -> None:
        stream.write(header)
        stream.write(numbers.data)

    def compress(stream: IO[bytes]) -> None:
        import gzip

        with gzip.GzipFile(filename="", fileobj=stream, mode="wb", mtime=0) as packed:
            write(packed)  # type: ignore[arg-type]

    write_atomically(path, compress if os.fspath(path).endswith(".gz") else write)
