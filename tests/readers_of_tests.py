"""Files in bytes, written here, for tests of the readers."""

from __future__ import annotations

import gzip
import struct

import numpy as np


def idx_bytes(code: int, letter: str, shape: tuple[int, ...], values: list) -> bytes:
    header = struct.pack(f">BBBB{len(shape)}I", 0, 0, code, len(shape), *shape)
    return header + struct.pack(f">{len(values)}{letter}", *values)


VALID_IDX = idx_bytes(0x0B, "h", (2, 3), [1, 2, 3, 4, 5, 6])
PACKED_IDX = gzip.compress(VALID_IDX, mtime=0)


def archive_of(**arrays) -> bytes:
    from io import BytesIO

    stream = BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


GOOD = archive_of(X=[[1.0], [2.0]], y=[0, 1])


MIB = 2**20
