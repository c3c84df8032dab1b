"""All readers and writers: streams, limits, memory, full disks."""

from __future__ import annotations

import gzip
import io
import os
import struct
import subprocess
import sys
import threading
import tracemalloc
import zipfile

import numpy as np
import pytest
import scipy.sparse
from readers_of_tests import GOOD, MIB, PACKED_IDX, VALID_IDX

import handmade as hm
from handmade.data import load_csv, load_idx, load_npz, save_idx, save_npz


@pytest.mark.parametrize("load", [load_idx, load_csv, load_npz])
def test_a_missing_file_raises_file_not_found(tmp_path, load):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load(tmp_path / "nowhere")


# ---- streams, limits and memory ----------------------------------------------------------------------------------


def csv_bytes():
    return b"a,b\n1.5,0\n2.5,1\n"


READERS = {
    "idx": (load_idx, VALID_IDX),
    "idx.gz": (load_idx, PACKED_IDX),
    "csv": (load_csv, csv_bytes()),
    "npz": (load_npz, GOOD),
}


def flat(result):
    return result if isinstance(result, np.ndarray) else np.column_stack(result)


@pytest.mark.parametrize(("load", "content"), READERS.values(), ids=READERS)
def test_readers_take_streams_and_leave_them_open(tmp_path, load, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    expected = flat(load(path))
    stream = io.BytesIO(b"before" + content)
    stream.seek(6)
    np.testing.assert_array_equal(flat(load(stream)), expected)
    assert not stream.closed
    with open(path, "rb") as file:
        np.testing.assert_array_equal(flat(load(file)), expected)
        assert not file.closed


@pytest.mark.parametrize("step", [1, 3, 10**6])
@pytest.mark.parametrize(("load", "content"), READERS.values(), ids=READERS)
def test_readers_take_a_fifo_however_it_is_filled(tmp_path, load, content, step):
    (tmp_path / "file").write_bytes(content)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    def fill():
        with open(fifo, "wb", buffering=0) as stream:
            for start in range(0, len(content), step):
                stream.write(content[start : start + step])

    writer = threading.Thread(target=fill)
    writer.start()
    np.testing.assert_array_equal(flat(load(fifo)), flat(load(tmp_path / "file")))
    writer.join(10)


@pytest.mark.parametrize("load", [load_idx, load_npz])
def test_binary_readers_refuse_text_streams(load):
    with pytest.raises(TypeError, match="expected a binary file object, got one of text; open it with mode 'rb'"):
        load(io.StringIO("text"))


@pytest.mark.parametrize("load", [load_idx, load_csv, load_npz, hm.load])
def test_readers_refuse_closed_files_and_files_to_write(tmp_path, load):
    path = tmp_path / "set"
    with path.open("wb") as stream, pytest.raises(ValueError, match="set: expected a file object to read from, got"):
        load(stream)
    with pytest.raises(ValueError, match="set: expected an open file object, got one that is closed"):
        load(stream)


@pytest.mark.parametrize("load", [load_idx, load_csv, load_npz])
@pytest.mark.parametrize("wrong", [3, None, 1.5, b"bytes", [1, 2]])
def test_readers_refuse_what_is_no_path(load, wrong):
    """A number would be the descriptor of a file that happens to be open."""
    with pytest.raises(TypeError, match=r"^path: expected a path or a binary file object, got"):
        load(wrong)


def declared(shape, content=b"", pack=False):
    """Return an IDX file of uint8 whose header declares a shape, whatever content follows."""
    whole = struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape) + content
    return gzip.compress(whole, compresslevel=1) if pack else whole


def npy_header(descr, shape):
    header = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}, }}".encode()
    header += b" " * (-len(header) - 11 & 63) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


def zipped(**members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return stream.getvalue()


ZEROS = bytes(64 * MIB)
HOSTILE = {  # reader, content, what the message says; each of them expands to 64 MiB, or claims to be larger
    "idx, empty with surplus": (load_idx, declared((0,), ZEROS, pack=True), "got more: the file has surplus bytes"),
    "idx, small with surplus": (load_idx, declared((7,), ZEROS, pack=True), "got more: the file has surplus bytes"),
    "idx, cut short": (load_idx, declared((2**29,)), "expected 536870912 bytes .* got 0: the file is cut short"),
    "idx.gz, cut short": (load_idx, declared((2**29,), b"1", pack=True), "got 1: the file is cut short"),
    "idx, huge": (load_idx, declared((2**31,) * 3), "expected at most 1073741824 bytes, got a header that declares"),
    "npz, empty with surplus": (
        load_npz,
        zipped(X=npy_header("<f8", (0,)) + ZEROS, y=npy_header("<f8", (0,))),
        "array 'X': expected 0 bytes .* got more",
    ),
    "npz, cut short": (
        load_npz,
        zipped(X=npy_header("<f8", (2**26,)), y=npy_header("<f8", (1,))),
        "array 'X': .* got 0: the file is cut short",
    ),
    "npz, huge": (
        load_npz,
        zipped(X=npy_header("<f8", (2**40,)), y=npy_header("<f8", (1,))),
        "got headers that declare 8796093022216; .*pass max_bytes=8796093022216",
    ),
    "npz, negative": (
        load_npz,
        zipped(X=npy_header("<f8", (-1, 2))),
        "array 'X': expected the header of an array, got",
    ),
    "npz, 65 sizes": (load_npz, zipped(X=npy_header("<f8", (1,) * 65)), "expected an array that NumPy can hold"),
    "npz, deep header": (load_npz, zipped(X=npy_header("(" * 9000, (1,))), "expected the header of an array"),
    "csv, one line": (load_csv, b"1," * (9 * MIB), "line 1: expected fewer than 16777216 characters, got more"),
}


@pytest.mark.parametrize(("load", "content", "message"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_files_take_little_memory(tmp_path, load, content, message):
    path = tmp_path / "file"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message):
            load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # A reading buffer of 1 MiB and the string it makes; of text, the longest line twice, as bytes and as characters.
    assert peak < (40 if load is load_csv else 4) * MIB


@pytest.mark.parametrize("pack", [False, True])
def test_limits_can_be_raised_and_lowered(tmp_path, pack):
    path = tmp_path / "file"
    path.write_bytes(declared((1000,), bytes(1000), pack))
    assert load_idx(path, max_bytes=1000).shape == (1000,)
    with pytest.raises(ValueError, match=r"expected at most 999 bytes, .* declares 1000, .* pass max_bytes=1000"):
        load_idx(path, max_bytes=999)
    archive = tmp_path / "file.npz"
    save_npz(archive, np.zeros((100, 2)), np.zeros(100))
    assert load_npz(archive, max_bytes=2400)[0].shape == (100, 2)
    with pytest.raises(
        ValueError, match=r"expected at most 2399 bytes, got headers that declare 2400; .* pass max_bytes=2400"
    ):
        load_npz(archive, max_bytes=2399)


def test_a_pipe_that_never_ends_meets_the_limit():
    class Endless(io.RawIOBase):
        """A stream of four bytes over and over."""

        def __init__(self, text):
            self.text = text

        def readable(self):
            return True

        def readinto(self, buffer):
            count = min(len(buffer), 4)
            buffer[:count] = self.text[:count]
            return count

    with pytest.raises(ValueError, match="expected a table of at most 1600000 bytes, got more"):
        load_csv(Endless(b"1,2\n"), max_bytes=1_600_000)
    with pytest.raises(ValueError, match="expected at most 1000 bytes, got more"):
        load_npz(io.BufferedReader(Endless(b"PK\3\4")), max_bytes=1000)


# ---- writers -----------------------------------------------------------------------------------------------------

WRITE = """
import resource, sys, numpy as np
from handmade import data
X = np.random.default_rng(0).integers(0, 256, (1000, 1000), dtype=np.uint8)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
data.save_idx(sys.argv[1], X) if sys.argv[2] == "idx" else data.save_npz(sys.argv[1], X, X[:, 0])
"""


@pytest.mark.parametrize(("form", "name"), [("idx", "file"), ("idx", "file.gz"), ("npz", "file.npz")])
def test_writers_keep_the_old_file_when_the_disk_is_full(tmp_path, form, name):
    """A limit on the size of files stands for the disk: the kernel refuses the write either way."""
    path = tmp_path / name
    path.write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", WRITE, path, form], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "File too large" in done.stderr
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("wrong", [np.ma.array([1.0, 2.0], mask=[0, 1]), scipy.sparse.eye_array(2)])
def test_writers_refuse_masked_and_sparse_arrays(tmp_path, wrong):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(TypeError, match=r"^array: expected an? (array without a mask|dense array), got"):
        save_idx(path, wrong)
    with pytest.raises(TypeError, match=r"^X: expected an? (array without a mask|dense array), got"):
        save_npz(path, wrong, [1, 2])
    assert path.read_bytes() == b"old"
