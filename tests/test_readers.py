"""The readers of IDX, CSV and npz, and their writers, against bytes and numbers written here."""

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
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse

from handmade import _csv
from handmade.data import load_csv, load_idx, load_npz, save_idx, save_npz

# ---- IDX -----------------------------------------------------------------------------------------

IDX_TYPES = [
    (0x08, np.uint8, "B", [0, 255, 7, 128, 1, 2]),
    (0x09, np.int8, "b", [0, 127, -128, -1, 1, 2]),
    (0x0B, np.int16, "h", [0, 32767, -32768, 258, 1, 2]),
    (0x0C, np.int32, "i", [0, 2**31 - 1, -(2**31), 16909060, 1, 2]),
    (0x0D, np.float32, "f", [0.0, 1.5, -(2.0**-149), float("inf"), 1, 2]),
    (0x0E, np.float64, "d", [0.0, 0.1, -5e-324, 1e308, 1, 2]),
]


def idx_bytes(code: int, letter: str, shape: tuple[int, ...], values: list) -> bytes:
    header = struct.pack(f">BBBB{len(shape)}I", 0, 0, code, len(shape), *shape)
    return header + struct.pack(f">{len(values)}{letter}", *values)


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


VALID_IDX = idx_bytes(0x0B, "h", (2, 3), [1, 2, 3, 4, 5, 6])
PACKED_IDX = gzip.compress(VALID_IDX, mtime=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected an IDX file.* got the bytes ''"),
        (b"\0\0\x08", "got the bytes '00 00 08'"),
        (b"\x89PNG\r\n", "got the bytes '89 50 4e 47'"),
        (b"\0\x01" + VALID_IDX[2:], "got the bytes '00 01 0b 02'"),
        (b"\0\0\x0a\x01\0\0\0\0", "among 0x08 uint8, .*0x0e float64; got 0x0a"),
        (
            VALID_IDX[:11],
            r"header: expected 8 bytes for uint32 of shape \(2,\), got 7: the file is cut short",
        ),
        (VALID_IDX[:-1], r"expected 12 bytes for int16 of shape \(2, 3\), got 11: the file is cut short"),
        (VALID_IDX + b"\n", r"expected 12 bytes for int16 of shape \(2, 3\), got more: the file has surplus bytes"),
        (gzip.compress(VALID_IDX[:-1]), "expected 12 bytes .* got 11"),
        (PACKED_IDX[:-9], "expected a whole gzip file"),
        (PACKED_IDX[:5], "expected a whole gzip file"),
        (PACKED_IDX[:-8] + b"\0\0\0\0" + PACKED_IDX[-4:], "expected a whole gzip file, got CRC.*; fetch it again"),
        (PACKED_IDX[:12] + b"\xff\xff" + PACKED_IDX[14:], "expected a whole gzip file"),
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


@pytest.mark.parametrize("array", [[1, 2], [True], ["a"], np.float16(1.0), np.uint16([1]), 1j, None])
def test_idx_refuses_other_dtypes_and_keeps_the_file(tmp_path, array):
    path = tmp_path / "array"
    path.write_bytes(b"before")
    with pytest.raises(TypeError, match=r"uint8, int8, int16, int32, float32, float64, got .*astype"):
        save_idx(path, array)
    assert path.read_bytes() == b"before"


# ---- CSV -----------------------------------------------------------------------------------------


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "table.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


TABLE = [[0.1, 2.0, 1e-300], [-3.0, 4.5, 6.0]]


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("0.1,2,1e-300\n-3,4.5,6\n", {}),
        ("0.1,2,1e-300\n-3,4.5,6", {}),
        ("0.1,2,1e-300\r\n-3,4.5,6\r\n", {}),
        ("\n0.1,2,1e-300\n\n\n-3,4.5,6\n\n", {}),
        (" 0.1 ,2, 1E-300\n-3,+4.5,6.\n", {}),
        ('"0.1","2","1e-300"\n"-3","4.5","6"\n', {}),
        ("\ufeff0.1,2,1e-300\n-3,4.5,6\n", {}),
        ("0.1;2;1e-300\n-3;4.5;6\n", {"delimiter": ";"}),
        ("0.1\t2\t1e-300\n-3\t4.5\t6\n", {"delimiter": "\t"}),
        ("a,b,c\n0.1,2,1e-300\n-3,4.5,6\n", {}),
        ("\n\na,b,c\n\n0.1,2,1e-300\n-3,4.5,6\n", {}),
        ("\ufeffa,b,c\n0.1,2,1e-300\n-3,4.5,6\n", {}),
        ('"a, the first",#,"c"\n0.1,2,1e-300\n-3,4.5,6\n', {}),
        ('"a\nb",b,c\n0.1,2,1e-300\n-3,4.5,6\n', {}),
        (",b,c\n0.1,2,1e-300\n-3,4.5,6\n", {}),
        (b"gr\xf6\xdfe,b,c\n0.1,2,1e-300\n-3,4.5,6\n", {}),
        ("1,2,c\n0.1,2,1e-300\n-3,4.5,6\n", {"header": True}),
        ("0.1,2,1e-300\n-3,4.5,6\n", {"header": False}),
        ("0.1,2,1e-300\n\xa0-3,4.5,6\n", {}),
        ("\"0.1\",2,1e-300\n-3,4.5,'6'\n".replace("'", '"'), {}),
    ],
)
def test_csv_is_read_to_the_last_bit(tmp_path, text, options):
    X, y = load_csv(written(tmp_path, text), None, **options)
    np.testing.assert_array_equal(X, np.array(TABLE), strict=True)
    assert y is None


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("target", "column"), [(-1, 2), (0, 0), (1, 1), (-3, 0), ("a", 0), ("b", 1), ("c", 2)])
def test_csv_splits_off_the_target_column(tmp_path, target, column, dtype):
    path = written(tmp_path, "a, b ,c\n0.1,2,1e-30\n-3,4.5,6\n")
    table = np.array([[0.1, 2.0, 1e-30], [-3.0, 4.5, 6.0]], dtype=dtype)
    X, y = load_csv(path, target, dtype=dtype)
    np.testing.assert_array_equal(X, table[:, [i for i in range(3) if i != column]], strict=True)
    np.testing.assert_array_equal(y, table[:, column], strict=True)


def test_csv_parses_a_clean_table_many_lines_at_once(tmp_path, monkeypatch):
    def parse_by_cell(block, layout):
        pytest.fail(f"took the slow way for {block}")

    monkeypatch.setattr(_csv, "_parse_by_cell", parse_by_cell)
    path = written(tmp_path, f'a;b\n\n"0.1";2\n3;{np.finfo(np.float64).max}\n')
    X, _ = load_csv(path, None, delimiter=";", header=True)
    np.testing.assert_array_equal(X, [[0.1, 2.0], [3.0, np.finfo(np.float64).max]])


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["0", "1", "2"], np.array([0, 1, 2])),
        (["1.0", "-1", "1e2"], np.array([1, -1, 100])),
        (["9007199254740992"], np.array([2**53])),
        (["16777217"], np.array([2**24 + 1])),
        (["0", "1.5"], np.array([0.0, 1.5], dtype=np.float32)),
        (["18014398509481984"], np.array([2.0**54], dtype=np.float32)),
        (["1e30"], np.array([1e30], dtype=np.float32)),
    ],
)
def test_csv_returns_whole_numbers_as_labels(tmp_path, cells, expected):
    path = written(tmp_path, "".join(f"0.5,{cell}\n" for cell in cells))
    np.testing.assert_array_equal(load_csv(path, dtype=np.float32)[1], expected, strict=True)


def test_csv_reads_back_random_numbers_exactly(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 7)) * 10.0 ** rng.integers(-300, 300, size=(300, 7))
    text = "\n".join(",".join(map(repr, row)) for row in X.tolist())
    np.testing.assert_array_equal(load_csv(written(tmp_path, text), None)[0], X)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("1,2\n3,x\n", {}, "line 2, column 2 of 2: expected a finite number, got 'x'"),
        ("a,b\n\n1,2\n3, 4 5\n", {}, "line 4, column 2 of 2: .* got ' 4 5'"),
        ("1,2\n3,\n", {}, "line 2, column 2 of 2: .* got an empty cell"),
        ("1,2\n  ,3\n", {}, "line 2, column 1 of 2: .* got an empty cell"),
        ("1,2\n3\n", {}, r"line 2: expected 2 cells separated by ',', got 1: \['3'\]$"),
        ("1,2\n3,4,5\n", {}, r"line 2: expected 2 cells .* got 3: \['3', '4', '5'\]$"),
        ("a,b\n1,2,3\n", {}, "line 2: expected 2 cells .* got 3"),
        ("a,b,c\n1,2\n3,4\n", {}, "line 2: expected 3 cells .* got 2"),
        ("1,2\n \n", {}, "line 2: expected 2 cells .* got 1"),
        ("1,nan\n", {}, "line 1, column 2 of 2: .* got 'nan'"),
        ("1,2\n-inf,2\n", {}, "line 2, column 1 of 2: .* got '-inf'"),
        ("1,2\n1e400,2\n", {}, "line 2, column 1 of 2: .* got '1e400'"),
        ("1,2\n1e39,2\n", {"dtype": np.float32}, "line 2, column 1 of 2: .* got '1e39'"),
        ("1,2\n3,0x10\n", {}, "line 2, column 2 of 2: .* got '0x10'"),
        ("1,2\n3,4 # five\n", {}, "line 2, column 2 of 2: .* got '4 # five'"),
        ("1,2\n3,setosa\n", {}, "got 'setosa'"),
        ("a,b\n1,2\n", {"header": False}, "line 1, column 1 of 2: .* got 'a'"),
        ("a,2\n3,4\n", {}, "line 1, column 1 of 2: .* got 'a'"),
        ("a;b\n1;2\n", {}, "line 2, column 1 of 1: .* got '1;2'; if cells are separated by ';', pass delimiter=';'$"),
        ("1;2,5\n", {"delimiter": ";"}, "line 1, column 2 of 2: .* got '2,5'; write decimals with a point$"),
        (b"1,2\n3,\xff4\n", {}, "line 2, column 2 of 2: .* got '.4'; if the text has another encoding, pass encoding"),
        (
            "a;b\n1,5;2\n",
            {},
            r"line 2: expected 1 cells separated by ',', got 2: .*; if .* by ';', pass delimiter=';'$",
        ),
        ("1,2\n3,1_000\n", {}, "line 2, column 2 of 2: expected a finite number, got '1_000'$"),
        ("1_000,2\n3,4\n", {}, "line 1, column 1 of 2: expected a finite number, got '1_000'$"),
        ("1,2\n3,\uff11\uff12\n", {}, "line 2, column 2 of 2: expected a finite number, got '\uff11\uff12'$"),
        ("1,\uff11\uff12\n", {}, "line 1, column 2 of 2: expected a finite number"),
        ('1,2\n3,"4\n5,6\n', {}, "line 2: expected every quoted cell closed by a double quote, got unexpected end"),
        ('1,2\n3,"4"5\n', {}, "line 2: expected every quoted cell closed"),
        ('1,"2\n', {}, "line 1: expected cells .* got unexpected end of data; is a double quote missing"),
        ('"1\n",2\n', {}, "line 1: expected every quoted cell closed"),
        ('"a,b\n1,2\n', {}, "line 1: expected cells separated by ',', got unexpected end.*is a double quote missing"),
        ('"a,b\n' + "1,2\n" * 50_000, {}, "line 1: expected cells .* got field larger .*is a double quote missing"),
        ("1,2\0\n", {}, "line 1: expected text in utf-8, got NUL characters; is it UTF-16.*encoding='utf-16'"),
        ("1,2\n".encode("utf-16-le"), {}, "line 1: expected text in utf-8, got NUL characters"),
        ("1,2\n".encode("utf-16"), {}, "expected text in utf-8, got the mark of UTF-16; pass encoding='utf-16'"),
        ("1,2\n".encode("utf-32"), {}, "expected text in utf-8, got the mark of UTF-32; pass encoding='utf-32'"),
        (gzip.compress(b"1,2\n"), {}, "expected text in utf-8, got gzip; pass gzip.open"),
        (b"PK\x03\x04", {}, "expected text in utf-8, got a zip archive or a spreadsheet; save it as CSV"),
        ("1,a\n2,3\n", {}, "line 2: expected the name of a class, as in the first line, got '3'$"),
        ("1,a\n2,\n", {}, "line 2: expected the name of a class, as in the first line, got ''$"),
        ("1,a\nb,c\n", {}, "line 2, column 1 of 2: expected a finite number, got 'b'$"),
        ("a,1\nb,c\n", {"target": 0}, "line 2, column 2 of 2: expected a finite number, got 'c'$"),
        (b"1,a\n2,\xff\n", {}, "line 2: expected the name of a class"),
        ("1,2\n" * 10, {"max_bytes": 159}, "line 10: expected a table of at most 159 bytes.*raise max_bytes"),
        ("1,abc\n" * 10, {"max_bytes": 199}, "line 10: expected a table of at most 199 bytes"),
        ("1," + "9" * 500 + "\n", {}, r"got '9+\.\.\.9+'$"),
        ("", {}, "expected lines of numbers, got none"),
        ("\n\n", {}, "got none"),
        ("a,b\n", {}, "got none"),
        ("1,2\n\n", {"header": True}, "got none"),
        ("1,2\n", {"target": 2}, "expected a target from -2 to 1 for 2 columns, got 2"),
        ("1,2\n", {"target": -3}, "expected a target from -2 to 1 for 2 columns, got -3"),
        ("a,b\n1,2\n", {"target": "c"}, r"one column named 'c', got the names \['a', 'b'\]"),
        ("a,a\n1,2\n", {"target": "a"}, r"one column named 'a', got the names \['a', 'a'\]"),
        ("1,2\n", {"target": "a"}, r"one column named 'a', got the names \[\]"),
    ],
)
def test_csv_names_file_line_and_column_of_bad_input(tmp_path, text, options, message):
    with pytest.raises(ValueError, match=f"table.csv(:|,) ({message}|.*{message})"):
        load_csv(written(tmp_path, text), **options)


@pytest.mark.parametrize("dtype", [np.int64, np.float16, np.longdouble, complex, object])
def test_csv_refuses_types_that_are_not_floating(tmp_path, dtype):
    with pytest.raises(TypeError, match="dtype: expected float64 or float32, got"):
        load_csv(written(tmp_path, "1,2\n"), dtype=dtype)


# ---- npz -----------------------------------------------------------------------------------------


def test_npz_returns_what_was_saved(tmp_path):
    X, y = np.arange(6, dtype=np.float32).reshape(3, 2), np.array([2, 0, 1])
    path = tmp_path / "no suffix"
    save_npz(path, X, y.tolist())
    np.testing.assert_array_equal(load_npz(path)[0], X, strict=True)
    np.testing.assert_array_equal(load_npz(path)[1], y, strict=True)
    np.savez(tmp_path / "keras.npz", x_test=X, y_test=y, x_train=X[:2], y_train=y[:2])
    loaded = load_npz(str(tmp_path / "keras.npz"), "x_train", "y_train")
    np.testing.assert_array_equal(loaded[0], X[:2], strict=True)
    np.testing.assert_array_equal(loaded[1], y[:2], strict=True)


def archive_of(**arrays) -> bytes:
    from io import BytesIO

    stream = BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


GOOD = archive_of(X=[[1.0], [2.0]], y=[0, 1])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected an .npz archive"),
        (b"\x93NUMPY", "expected an .npz archive, .* got the bytes '93 4e 55 4d'; read one array with numpy.load"),
        (b"anything", "expected an .npz archive"),
        (GOOD[:-30], "expected an .npz archive.*cut short"),
        (
            archive_of(x_train=[1], y=[1]),
            "expected an array 'X', got an archive with x_train, y",
        ),
        (archive_of(X=[1, 2], y=[1]), r"X of shape \(2,\) and y of shape \(1,\)"),
        (
            archive_of(X=np.array([{}, {}]), y=[1, 2]),
            "array 'X': expected the header of an array, got .*O.* instead of dtype, order and shape",
        ),
        (
            GOOD.replace(np.float64(2.0).tobytes(), np.float64(3.0).tobytes()),
            "array 'X': expected the header of an array, got .*CRC",
        ),
    ],
)
def test_npz_refuses_damaged_and_missing_arrays(tmp_path, content, message):
    path = tmp_path / "set.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"set.npz.*{message}"):
        load_npz(path)


def test_npz_never_returns_other_numbers_for_flipped_bytes(tmp_path):
    path = tmp_path / "set.npz"
    X, y = load_npz_bytes(path, GOOD)
    for place in range(len(GOOD)):
        damaged = bytearray(GOOD)
        damaged[place] ^= 0xFF
        # A byte that means nothing may change; the numbers may not, and there is one kind of error.
        try:
            loaded = load_npz_bytes(path, bytes(damaged))
        except ValueError as error:
            assert "set.npz" in str(error)
        else:
            np.testing.assert_array_equal(loaded[0], X, strict=True)
            np.testing.assert_array_equal(loaded[1], y, strict=True)


def load_npz_bytes(path: Path, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    path.write_bytes(content)
    return load_npz(path)


@pytest.mark.parametrize(
    ("X", "y", "error", "message"),
    [
        ([1, 2], [1], ValueError, r"X of shape \(2,\) and y of shape \(1,\)"),
        ([{}], [1], TypeError, "X: expected an array of numbers, got dtype object"),
        ([1], [None], TypeError, "y: expected an array of numbers, got dtype object"),
    ],
)
def test_npz_refuses_to_save_what_it_would_not_load(tmp_path, X, y, error, message):
    path = tmp_path / "set.npz"
    path.write_bytes(b"before")
    with pytest.raises(error, match=message):
        save_npz(path, X, y)
    assert path.read_bytes() == b"before"


@pytest.mark.parametrize("load", [load_idx, load_csv, load_npz])
def test_a_missing_file_raises_file_not_found(tmp_path, load):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize("largest", [np.finfo(np.float64).max, -np.finfo(np.float64).max])
def test_csv_takes_the_largest_number(tmp_path, largest):
    path = tmp_path / "set.csv"
    path.write_text(f"{float(largest)!r},0.5\n1.0,2.0\n")
    X, y = load_csv(path)
    assert X.tolist() == [[float(largest)], [1.0]] and y.tolist() == [0.5, 2.0]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_csv_without_a_target_has_the_requested_dtype(tmp_path, dtype):
    path = tmp_path / "set.csv"
    path.write_text("0.1,2\n3,4\n")
    X, y = load_csv(path, target=None, dtype=dtype)
    np.testing.assert_array_equal(X, np.array([[0.1, 2], [3, 4]], dtype), strict=True)
    assert y is None


def test_csv_names_the_bad_cell_not_the_largest_one(tmp_path):
    path = tmp_path / "set.csv"
    path.write_text(f"1,2\n{float(np.finfo(np.float64).max)!r},a\n")
    with pytest.raises(ValueError, match=r"line 2, column 2 of 2: expected a finite number, got 'a'$"):
        load_csv(path)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"target": 1.5}, TypeError, "target: expected the index of a column, its name, or None, got 1.5"),
        ({"target": True}, TypeError, "target: expected the index of a column"),
        ({"header": "a"}, TypeError, "header: expected True, False or None, got 'a'"),
        ({"header": 1}, TypeError, "header: expected True, False or None, got 1"),
        ({"delimiter": 1}, TypeError, "delimiter: expected a character, got 1"),
        ({"delimiter": ""}, ValueError, "delimiter: expected one character that is in no number, got ''"),
        ({"delimiter": ", "}, ValueError, "delimiter: expected one character"),
        ({"delimiter": "."}, ValueError, "delimiter: expected one character"),
        ({"delimiter": "\n"}, ValueError, "delimiter: expected one character"),
        ({"encoding": "klingon"}, ValueError, "encoding: expected the name of one, as 'utf-8', got 'klingon'"),
        ({"encoding": "hex"}, ValueError, "encoding: expected the name of one"),
        ({"encoding": None}, TypeError, "encoding: expected a name, got None"),
        ({"max_bytes": 0}, ValueError, "max_bytes: expected an integer of at least 1, got 0"),
        ({"max_bytes": 1e9}, TypeError, "max_bytes: expected an integer"),
    ],
)
def test_csv_names_a_bad_argument(tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        load_csv(written(tmp_path, "1,2\n"), **options)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1", "utf-8-sig", "UTF8"])
def test_csv_takes_any_encoding(tmp_path, encoding):
    X, y = load_csv(written(tmp_path, "größe,art\n1.5,ä\n2,b\n".encode(encoding)), encoding=encoding)
    assert X.tolist() == [[1.5], [2.0]] and y.tolist() == ["ä", "b"]


@pytest.mark.parametrize(("target", "column"), [(-1, 2), (0, 0), ("b", 1)])
def test_csv_returns_names_of_classes(tmp_path, target, column):
    cells = [["1", "2", "3"], ["4", "5", "6"], ["7", "8", "9"]]
    for row, label in zip(cells, [" setosa", '"<=50K, or so"', "x"], strict=True):
        row[column] = label
    X, y = load_csv(written(tmp_path, "a,b,c\n" + "\n".join(map(",".join, cells))), target)
    np.testing.assert_array_equal(X, np.delete([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]], column, axis=1), strict=True)
    assert y.tolist() == ["setosa", "<=50K, or so", "x"] and y.dtype.kind == "U"


def test_csv_takes_a_target_alone(tmp_path):
    for text, expected in ("1\n0\n", [1, 0]), ("a\nb\n", ["a", "b"]):
        X, y = load_csv(written(tmp_path, text), header=False)
        assert X.shape == (2, 0) and y.tolist() == expected


def test_csv_blocks_join_without_a_seam(tmp_path, monkeypatch):
    monkeypatch.setattr(_csv, "CELLS_AT_ONCE", 6)
    table = np.random.default_rng(0).normal(size=(11, 3))
    lines = [",".join(map(repr, row)) for row in table.tolist()]
    X, y = load_csv(written(tmp_path, "\n".join(lines)))
    np.testing.assert_array_equal(np.column_stack([X, y]), table)
    lines[9] = "1,2,x"
    with pytest.raises(ValueError, match="line 12, column 3 of 3: expected a finite number, got 'x'"):
        load_csv(written(tmp_path, "a,b,c\n\n" + "\n".join(lines)))
    labels = "".join(f"{n},{'name' * n}\n" for n in range(1, 8))
    assert load_csv(written(tmp_path, labels))[1].tolist() == ["name" * n for n in range(1, 8)]


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


def test_csv_takes_text_streams():
    X, y = load_csv(io.StringIO("1,2\r\n3,4\r\n", newline=""))
    assert (X.tolist(), y.tolist()) == ([[1.0], [3.0]], [2, 4])
    with pytest.raises(ValueError, match=r"^<stream>, line 1, column 1 of 1: expected a finite number, got 'x;y'"):
        load_csv(io.StringIO("x;y\n"), header=False, target=None)


@pytest.mark.parametrize("load", [load_idx, load_npz])
def test_binary_readers_refuse_text_streams(load):
    with pytest.raises(TypeError, match="expected a binary file object, got one of text; open it with mode 'rb'"):
        load(io.StringIO("text"))


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


MIB = 2**20
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


@pytest.mark.parametrize("bad", [False, True], ids=["good", "bad last cell"])
@pytest.mark.parametrize("text_labels", [False, True], ids=["numbers", "names"])
def test_csv_memory_is_that_of_the_table(tmp_path, bad, text_labels):
    """A file with a bad cell takes no more than a good one: its table, an eighth, and one block of lines."""
    lines = ["0.123456,1.5,-2.25,3.125,setosa" if text_labels else "0.123456,1.5,-2.25,3.125,1"] * 40_000
    lines[-1] = "0.1,x,0,0," + lines[0].split(",")[-1] if bad else lines[-1]
    path = written(tmp_path, "\n".join(lines))
    del lines
    tracemalloc.start()
    try:
        if bad:
            with pytest.raises(ValueError, match="line 40000, column 2 of 5: expected a finite number, got 'x'"):
                load_csv(path)
        else:
            X, _ = load_csv(path)
            assert X.shape == (40_000, 4)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    table = 40_000 * (4 * 8 + (4 * 6 if text_labels else 8))
    # 26,214 lines of five cells: as lines, as rows of strings (8 + 56 bytes a cell) and as numbers.
    assert peak < 2 * table + 26_214 * (100 + 5 * 100)


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


def test_idx_refuses_sizes_beyond_four_bytes(tmp_path):
    with pytest.raises(ValueError, match=r"array: expected sizes below 2\*\*32, got shape \(4294967296, 0\)"):
        save_idx(tmp_path / "file", np.empty((2**32, 0), np.uint8))
