"""The reader and the writer of IDX files, against bytes written here."""

from __future__ import annotations

import gzip
import tracemalloc

import numpy as np
import pytest
from readers_of_tests import MIB, PACKED_IDX, VALID_IDX, idx_bytes

from handmade.data import load_idx, save_idx

IDX_TYPES = [
    (0x08, np.uint8, "B", [0, 255, 7, 128, 1, 2]),
    (0x09, np.int8, "b", [0, 127, -128, -1, 1, 2]),
    (0x0B, np.int16, "h", [0, 32767, -32768, 258, 1, 2]),
    (0x0C, np.int32, "i", [0, 2**31 - 1, -(2**31), 16909060, 1, 2]),
    (0x0D, np.float32, "f", [0.0, 1.5, -(2.0**-149), float("inf"), 1, 2]),
    (0x0E, np.float64, "d", [0.0, 0.1, -5e-324, 1e308, 1, 2]),
]


@pytest.mark.parametrize("shape", [(6,), (2, 3), (1, 2, 3), (3, 1, 1, 2)])
@pytest.mark.parametrize(("code", "dtype", "letter", "values"), IDX_TYPES)
def test_idx_holds_every_type_in_any_shape(tmp_path, code, dtype, letter, values, shape):
    path = tmp_path / "array"
    content = idx_bytes(code, letter, shape, values)
    path.write_bytes(content)
    array = load_idx(path)
    np.testing.assert_array_equal(array, np.array(values, dtype=dtype).reshape(shape), strict=True)
    assert array.dtype.isnative and array.flags.writeable
    save_idx(path, np.asfortranarray(array))
    assert path.read_bytes() == content
    save_idx(path, array.astype(array.dtype.newbyteorder(">")))
    assert path.read_bytes() == content


@pytest.mark.parametrize("shape", [(), (0,), (0, 28, 28), (5, 0)])
def test_idx_holds_a_single_number_and_an_empty_array(tmp_path, shape):
    array = np.full(shape, 7, dtype=np.int16)
    save_idx(tmp_path / "array", array)
    np.testing.assert_array_equal(load_idx(tmp_path / "array"), array, strict=True)


def test_idx_gzip_is_read_by_content_and_written_by_name(tmp_path):
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    plain, packed, renamed = tmp_path / "plain", tmp_path / "packed.gz", tmp_path / "renamed"
    save_idx(plain, array)
    save_idx(str(packed), array)
    assert packed.read_bytes()[:2] == b"\x1f\x8b" and gzip.decompress(packed.read_bytes()) == plain.read_bytes()
    packed_once = packed.read_bytes()
    renamed.write_bytes(packed_once)
    plain_named_gz = tmp_path / "plain.gz"
    plain_named_gz.write_bytes(plain.read_bytes())
    for path in (plain, packed, renamed, plain_named_gz):
        np.testing.assert_array_equal(load_idx(path), array, strict=True)
    # Bytes 4 to 8 of a gzip file are its time of writing: none, so that equal arrays give equal files.
    assert packed_once[4:8] == bytes(4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected an IDX file.* got the bytes ''"),
        (b"\0\0\x08", "got the bytes '00 00 08'"),
        (b"\x89PNG\r\n", "got the bytes '89 50 4e 47'"),
        (b"\0\x01" + VALID_IDX[2:], "got the bytes '00 01 0b 02'$"),
        (b"\0\0\x0a\x01\0\0\0\0", "among 0x08 uint8, .*0x0e float64; got 0x0a"),
        (
            VALID_IDX[:11],
            r"header: expected 8 bytes for uint32 of shape \(2,\), got 7: the file is cut short",
        ),
        (VALID_IDX[:-1], r"expected 12 bytes for int16 of shape \(2, 3\), got 11: the file is cut short"),
        (VALID_IDX + b"\n", r"expected 12 bytes for int16 of shape \(2, 3\), got more: the file has surplus bytes"),
        (gzip.compress(VALID_IDX[:-1], mtime=0), "expected 12 bytes .* got 11"),
        (PACKED_IDX[:-9], "expected a whole gzip file"),
        (PACKED_IDX[:5], "expected a whole gzip file"),
        (PACKED_IDX[:-8] + b"\0\0\0\0" + PACKED_IDX[-4:], "expected a whole gzip file, got CRC.*; fetch it again"),
        (PACKED_IDX[:12] + b"\xff\xff" + PACKED_IDX[14:], "expected a whole gzip file"),
        (b"\0\0\x08\x41" + bytes(4 * 65), "expected at most 64 dimensions, got 65"),
        (b"\0\0\x08\xff" + bytes(4 * 255), "expected at most 64 dimensions, got 255"),
        (b"\0\0\x08\x03" + bytes(4) + b"\xff" * 8, r"expected a shape that NumPy can hold, got \(0, 4294967295"),
        (PACKED_IDX + b"tail", "expected a whole gzip file"),
    ],
)
def test_idx_refuses_other_content(tmp_path, content, message):
    path = tmp_path / "digits"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"digits(:|,) .*{message}"):
        load_idx(path)


@pytest.mark.parametrize("array", [[1, 2], [True], ["a"], np.float16(1.0), np.uint16([1]), 1j])
def test_idx_refuses_other_dtypes_and_keeps_the_file(tmp_path, array):
    path = tmp_path / "array"
    path.write_bytes(b"before")
    with pytest.raises(TypeError, match=r"uint8, int8, int16, int32, float32, float64, got .*astype"):
        save_idx(path, array)
    assert path.read_bytes() == b"before"


def test_idx_memory_is_that_of_the_array(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (8, MIB), dtype=np.uint8)
    for name in ("plain", "packed.gz"):
        save_idx(tmp_path / name, array)
        tracemalloc.start()
        loaded = load_idx(tmp_path / name)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        np.testing.assert_array_equal(loaded, array)
        assert peak < array.nbytes + 4 * MIB


def test_idx_holds_as_many_dimensions_as_numpy(tmp_path):
    array = np.ones((1,) * 64, np.uint8)
    save_idx(tmp_path / "file", array)
    np.testing.assert_array_equal(load_idx(tmp_path / "file"), array)


def test_idx_refuses_sizes_beyond_four_bytes(tmp_path):
    with pytest.raises(ValueError, match=r"array: expected sizes below 2\*\*32, got shape \(4294967296, 0\)"):
        save_idx(tmp_path / "file", np.empty((2**32, 0), np.uint8))


def test_idx_is_read_from_what_gzip_has_opened(tmp_path):
    array = np.arange(5, dtype=np.uint8)
    save_idx(tmp_path / "a.gz", array)
    (tmp_path / "b").write_bytes(gzip.compress((tmp_path / "a.gz").read_bytes(), mtime=0))
    for name in "a.gz", "b":
        with gzip.open(tmp_path / name) as stream:
            np.testing.assert_array_equal(load_idx(stream), array)


@pytest.mark.parametrize("times", [2, 3])
def test_idx_that_is_compressed_twice_is_told_so(tmp_path, times):
    save_idx(tmp_path / "a", np.arange(5, dtype=np.uint8))
    content = (tmp_path / "a").read_bytes()
    for _ in range(times):
        content = gzip.compress(content, mtime=0)
    (tmp_path / "a.gz").write_bytes(content)
    with pytest.raises(ValueError, match=r"expected an IDX file .* got the bytes '1f 8b .*'; it is compressed twice"):
        load_idx(tmp_path / "a.gz")
