"""The bundled digits, the file readers and the toy sets, each against values typed here."""

from __future__ import annotations

import gzip
import hashlib
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from handmade import data
from handmade.data import (
    blobs,
    load_csv,
    load_digits,
    load_idx,
    load_npz,
    moons,
    parity,
    save_idx,
    save_npz,
    spirals,
    symmetry,
    train_test_split,
    xor,
)

EPS = np.finfo(np.float64).eps

# ---- digits --------------------------------------------------------------------------------------

FIRST_DIGIT = [
    [0, 0, 5, 13, 9, 1, 0, 0],
    [0, 0, 13, 15, 10, 15, 5, 0],
    [0, 3, 15, 2, 0, 11, 8, 0],
    [0, 4, 12, 0, 0, 8, 8, 0],
    [0, 5, 8, 0, 0, 9, 8, 0],
    [0, 4, 11, 0, 1, 12, 7, 0],
    [0, 2, 14, 5, 10, 12, 0, 0],
    [0, 0, 6, 13, 10, 0, 0, 0],
]


def test_digits_are_the_published_ones():
    X, y = load_digits()
    assert X.shape == (1797, 64) and X.dtype == np.float64
    assert y.shape == (1797,) and y.dtype == np.int64
    assert np.bincount(y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert X.min() == 0.0 and X.max() == 1.0
    np.testing.assert_array_equal((16 * X[0]).reshape(8, 8), FIRST_DIGIT)
    pixels = (16 * X).astype(np.uint8)
    np.testing.assert_array_equal(pixels / 16, X)
    assert (
        hashlib.sha256(pixels.tobytes()).hexdigest()
        == "8f26b2bd9d135c256808f68f14fdabddde6d9c7f869ae419704b051f0f14b3b3"
    )
    assert (
        hashlib.sha256(y.astype(np.uint8).tobytes()).hexdigest()
        == "8ba4f891220f5e4c9c819638d1602d74b83618f167043c6da52a2a247841ddf0"
    )


def test_digits_are_read_from_a_package_inside_a_zip(tmp_path):
    archive = tmp_path / "library.zip"
    package = Path(data.__file__).parent
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("handmade/__init__.py", "")
        for name in ("data.py", "digits.npz"):
            file.write(package / name, f"handmade/{name}")
    program = (
        f"import sys; sys.path.insert(0, {str(archive)!r})\n"
        "from handmade import data\n"
        "X, y = data.load_digits()\n"
        "print(data.__file__, X.shape, y.sum())"
    )
    command = [sys.executable, "-W", "error", "-c", program]
    output = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    inside = Path(archive, "handmade", "data.py")
    assert (output.stdout, output.stderr) == (f"{inside} (1797, 64) {load_digits()[1].sum()}\n", "")


# ---- train_test_split ----------------------------------------------------------------------------


@pytest.mark.parametrize("stratify", [False, True])
@pytest.mark.parametrize(
    ("test_size", "expected"),
    [(0.25, 10), (0.27, 11), (1, 1), (37, 37), (np.int64(5), 5), (0.001, 1), (0.95, 36 + 1)],
)
def test_a_split_holds_every_sample_once_with_its_target(test_size, expected, stratify):
    n_samples = 38
    X = np.arange(2 * n_samples).reshape(n_samples, 2)
    y = np.arange(n_samples) % 3
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size, stratify=stratify, rng=0)
    assert len(X_test) == len(y_test) == expected
    together = np.concatenate([X_train, X_test])
    np.testing.assert_array_equal(np.concatenate([y_train, y_test]), together[:, 0] // 2 % 3)
    np.testing.assert_array_equal(together[np.argsort(together[:, 0])], X)


def test_a_split_takes_images_and_rows_of_targets():
    X, y = np.arange(24).reshape(4, 2, 3), np.arange(8).reshape(4, 2)
    X_train, X_test, y_train, y_test = train_test_split(X, y, 2, rng=0)
    assert X_train.shape == X_test.shape == (2, 2, 3)
    for images, rows in ((X_train, y_train), (X_test, y_test)):
        np.testing.assert_array_equal(images[:, 0, 0] // 3, rows[:, 0])


def test_a_split_is_in_random_order_and_repeats_with_its_seed():
    X = np.arange(1000)
    for stratify in (False, True):
        first = train_test_split(X, X % 2, rng=3, stratify=stratify)
        again = train_test_split(X, X % 2, rng=np.random.default_rng(3), stratify=stratify)
        other = train_test_split(X, X % 2, rng=4, stratify=stratify)
        for a, b in zip(first, again, strict=True):
            np.testing.assert_array_equal(a, b)
        for part in (0, 1):
            assert np.any(first[part] != other[part])
            # Sorted by sample or by class, next to no step goes down; in random order a quarter or more.
            for values in (first[part], first[part + 2]):
                assert np.mean(np.diff(values) < 0) > 0.15


@pytest.mark.parametrize("test_size", [1, 7, 20, 49, 0.1, 0.33, 0.5, 0.99])
def test_a_stratified_split_gives_each_class_its_share(test_size):
    counts = np.array([1, 2, 5, 31, 61])
    y = np.random.default_rng(0).permutation(np.repeat(np.arange(5), counts))
    y_test = train_test_split(y, y, test_size, stratify=True, rng=1)[3]
    share = counts * len(y_test) / len(y)
    drawn = np.bincount(y_test, minlength=5)
    assert np.all(drawn >= np.floor(share)) and np.all(drawn <= np.ceil(share))


def test_a_stratified_split_chooses_within_a_class_at_random():
    y = np.repeat([0, 1], 4)
    seen = {tuple(sorted(train_test_split(np.arange(8), y, 2, stratify=True, rng=seed)[1])) for seed in range(200)}
    assert seen == {(a, b) for a in range(4) for b in range(4, 8)}


@pytest.mark.parametrize(
    ("X", "y", "options", "error", "message"),
    [
        ([1, 2], [1, 2, 3], {}, ValueError, r"X of shape \(2,\) and y of shape \(3,\)"),
        (1.0, 2.0, {}, ValueError, r"one target for each sample.*shape \(\)"),
        ([1, 2], [1, 2], {"test_size": 0}, ValueError, "test_size=0 puts 0 of 2 .* count from 1 to 1"),
        ([1, 2], [1, 2], {"test_size": 2}, ValueError, "puts 2 of 2"),
        ([1, 2], [1, 2], {"test_size": 1.0}, ValueError, "puts 2 of 2"),
        ([1, 2], [1, 2], {"test_size": -0.5}, ValueError, "fraction between 0 and 1"),
        ([1], [1], {}, ValueError, "puts 1 of 1"),
        ([1, 2], [[1], [2]], {"stratify": True}, ValueError, r"y of shape \(2, 1\)"),
        ([1, 2], [1, 2], {"test_size": "half"}, TypeError, "ceil"),
        ([1, 2], [1, 2], {"test_size": np.nan}, ValueError, "test_size=nan"),
        ([1, 2], [1, 2], {"test_size": np.inf}, ValueError, "puts inf of 2"),
    ],
)
def test_a_split_that_cannot_be_made_is_refused(X, y, options, error, message):
    with pytest.raises(error, match=message):
        train_test_split(X, y, **options)


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
def test_idx_holds_a_single_number_and_no_number(tmp_path, shape):
    array = np.full(shape, 7, dtype=np.int16)
    save_idx(tmp_path / "array", array)
    np.testing.assert_array_equal(load_idx(tmp_path / "array"), array, strict=True)


def test_gzip_is_told_from_the_content_and_written_by_the_name(tmp_path):
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
        (b"", "expected an IDX file.* found the bytes ''"),
        (b"\0\0\x08", "found the bytes '00 00 08'"),
        (b"\x89PNG\r\n", "found the bytes '89 50 4e 47'"),
        (b"\0\x01" + VALID_IDX[2:], "found the bytes '00 01 0b 02'"),
        (b"\0\0\x0a\x01\0\0\0\0", "among 0x08 uint8, .*0x0e float64; found 0x0a"),
        (
            VALID_IDX[:11],
            "expected 12 bytes for the header of an array of 2 dim.* found 11: the file is cut short",
        ),
        (VALID_IDX[:-1], r"24 bytes for int16 of shape \(2, 3\), found 23: the file is cut short"),
        (VALID_IDX + b"\n", r"24 bytes for int16 of shape \(2, 3\), found 25: the file has surplus bytes"),
        (gzip.compress(VALID_IDX[:-1]), "expected 24 bytes .* found 23"),
        (PACKED_IDX[:-9], "damaged gzip"),
        (PACKED_IDX[:5], "damaged gzip"),
        (PACKED_IDX[:-8] + b"\0\0\0\0" + PACKED_IDX[-4:], "damaged gzip file .*CRC"),
        (PACKED_IDX[:12] + b"\xff\xff" + PACKED_IDX[14:], "damaged gzip"),
        (PACKED_IDX + b"tail", "damaged gzip"),
    ],
)
def test_what_is_not_idx_is_refused(tmp_path, content, message):
    path = tmp_path / "digits"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"digits: .*{message}"):
        load_idx(path)


@pytest.mark.parametrize("array", [[1, 2], [True], ["a"], np.float16(1.0), np.uint16([1]), 1j, None])
def test_idx_refuses_other_types_and_leaves_the_file(tmp_path, array):
    path = tmp_path / "array"
    path.write_bytes(b"before")
    with pytest.raises(TypeError, match=r"uint8, int8, int16, int32, float32, float64; got .*astype"):
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
        # Python's notation, which NumPy's reader does not know.
        ("0.1,2,1e-300\n-3,4.5,0_6\n", {}),
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


def test_csv_reads_a_clean_table_all_at_once(tmp_path, monkeypatch):
    def cell_by_cell(cell):
        pytest.fail(f"took the slow way for {cell!r}")

    monkeypatch.setattr(data, "_number", cell_by_cell)
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
def test_csv_gives_whole_numbers_as_labels(tmp_path, cells, expected):
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
        ("1,2\n3,x\n", {}, "line 2, column 2 of 2: expected a finite number, found 'x'"),
        ("a,b\n\n1,2\n3, 4 5\n", {}, "line 4, column 2 of 2: .* found ' 4 5'"),
        ("1,2\n3,\n", {}, "line 2, column 2 of 2: .* found an empty cell"),
        ("1,2\n  ,3\n", {}, "line 2, column 1 of 2: .* found an empty cell"),
        ("1,2\n3\n", {}, r"line 2: expected 2 cells, found 1: \['3'\]"),
        ("1,2\n3,4,5\n", {}, r"line 2: expected 2 cells, found 3: \['3', '4', '5'\]"),
        ("a,b\n1,2,3\n", {}, "line 2: expected 2 cells, found 3"),
        ("a,b,c\n1,2\n3,4\n", {}, "line 2: expected 3 cells, found 2"),
        ("1,2\n \n", {}, "line 2: expected 2 cells, found 1"),
        ("1,nan\n", {}, "line 1, column 2 of 2: .* found 'nan'"),
        ("1,2\n-inf,2\n", {}, "line 2, column 1 of 2: .* found '-inf'"),
        ("1,2\n1e400,2\n", {}, "line 2, column 1 of 2: .* found '1e400'"),
        ("1,2\n1e39,2\n", {"dtype": np.float32}, "line 2, column 1 of 2: .* found '1e39'"),
        ("1,2\n3,0x10\n", {}, "line 2, column 2 of 2: .* found '0x10'"),
        ("1,2\n3,4 # five\n", {}, "line 2, column 2 of 2: .* found '4 # five'"),
        ("1,2\n3,setosa\n", {}, "found 'setosa'"),
        ("a,b\n1,2\n", {"header": False}, "line 1, column 1 of 2: .* found 'a'"),
        ("a,2\n3,4\n", {}, "line 1, column 1 of 2: .* found 'a'"),
        ("a;b\n1;2\n", {}, "line 2, column 1 of 1: .* found '1;2'"),
        ("1;2,5\n", {"delimiter": ";"}, "line 1, column 2 of 2: .* found '2,5'"),
        (b"1,2\n3,\xff4\n", {}, "line 2, column 2 of 2"),
        ("1," + "9" * 500 + "\n", {}, r"found '9+\.\.\.9+'$"),
        ("", {}, "expected lines of numbers, found none"),
        ("\n\n", {}, "found none"),
        ("a,b\n", {}, "found none"),
        ("1,2\n\n", {"header": True}, "found none"),
        ("1,2\n", {"target": 2}, "target=2, but the file has 2 columns"),
        ("1,2\n", {"target": -3}, "target=-3, but the file has 2 columns"),
        ("a,b\n1,2\n", {"target": "c"}, r"one column named 'c'; the header names \['a', 'b'\]"),
        ("a,a\n1,2\n", {"target": "a"}, r"one column named 'a'; the header names \['a', 'a'\]"),
        ("1,2\n", {"target": "a"}, r"one column named 'a'; the header names \[\]"),
    ],
)
def test_csv_names_the_place_of_what_it_refuses(tmp_path, text, options, message):
    with pytest.raises(ValueError, match=f"table.csv(:|,) .*{message}|table.csv, {message}"):
        load_csv(written(tmp_path, text), **options)


@pytest.mark.parametrize("dtype", [np.int64, np.float16, np.longdouble, complex, object])
def test_csv_refuses_types_that_are_not_floating(tmp_path, dtype):
    with pytest.raises(TypeError, match="expected float32 or float64, got"):
        load_csv(written(tmp_path, "1,2\n"), dtype=dtype)


# ---- npz -----------------------------------------------------------------------------------------


def test_npz_returns_what_was_saved_under_the_exact_name(tmp_path):
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
        (b"\x93NUMPY", "expected an .npz archive"),
        (GOOD[:-30], "expected an .npz archive.*cut short"),
        (
            archive_of(x_train=[1], y=[1]),
            r"expected arrays 'X' and 'y'; the archive holds \['x_train', 'y'\]",
        ),
        (archive_of(X=[1, 2], y=[1]), r"X of shape \(2,\) and y of shape \(1,\)"),
        (archive_of(X=np.array([{}, {}]), y=[1, 2]), "Object arrays cannot be loaded"),
        (GOOD.replace(np.float64(2.0).tobytes(), np.float64(3.0).tobytes()), "CRC"),
    ],
)
def test_npz_refuses_what_is_damaged_or_missing(tmp_path, content, message):
    path = tmp_path / "set.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"set.npz: .*{message}"):
        load_npz(path)


def test_npz_survives_no_flipped_byte(tmp_path):
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
def test_npz_refuses_to_save_what_it_could_not_load(tmp_path, X, y, error, message):
    path = tmp_path / "set.npz"
    path.write_bytes(b"before")
    with pytest.raises(error, match=message):
        save_npz(path, X, y)
    assert path.read_bytes() == b"before"


@pytest.mark.parametrize("load", [load_idx, load_csv, load_npz])
def test_a_missing_file_is_reported_as_such(tmp_path, load):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load(tmp_path / "nowhere")


# ---- toy sets ------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [1, 2, 5])
@pytest.mark.parametrize(
    ("make", "rule"),
    [(parity, lambda word: word.count("1") % 2), (symmetry, lambda word: word == word[::-1])],
)
def test_every_binary_vector_has_its_target(make, rule, bits):
    X, y = make(bits)
    words = [format(n, f"0{bits}b") for n in range(2**bits)]
    np.testing.assert_array_equal(X, np.array([list(map(float, word)) for word in words]), strict=True)
    np.testing.assert_array_equal(y, np.array([int(rule(word)) for word in words]), strict=True)


def test_xor_and_the_symmetry_of_1986():
    np.testing.assert_array_equal(xor()[0], [[0, 0], [0, 1], [1, 0], [1, 1]])
    np.testing.assert_array_equal(xor()[1], [0, 1, 1, 0])
    assert xor()[0].dtype == np.float64 and xor()[1].dtype == np.int64
    X, y = symmetry()
    assert X.shape == (64, 6)
    np.testing.assert_array_equal(np.flatnonzero(y), [0, 12, 18, 30, 33, 45, 51, 63])


POINT_SETS = [
    (lambda n, **options: spirals(n, 3, **options), 3, "noise"),
    (moons, 2, "noise"),
    (lambda n, **options: blobs(n, 4, **options), 4, "cluster_std"),
]


@pytest.mark.parametrize("n_samples", [1, 2, 3, 7, 100])
@pytest.mark.parametrize(("make", "classes", "noise"), POINT_SETS)
def test_point_sets_have_exact_counts_and_types(make, classes, noise, n_samples):
    X, y = make(n_samples, rng=0)
    assert X.shape == (n_samples, 2) and X.dtype == np.float64 and np.isfinite(X).all()
    np.testing.assert_array_equal(y, np.array([n % classes for n in range(n_samples)]), strict=True)


@pytest.mark.parametrize(("make", "classes", "noise"), POINT_SETS)
def test_point_sets_repeat_with_their_seed(make, classes, noise):
    first, _ = make(50, rng=1, **{noise: 0.3})
    again, _ = make(50, rng=np.random.default_rng(1), **{noise: 0.3})
    other, _ = make(50, rng=2, **{noise: 0.3})
    np.testing.assert_array_equal(first, again)
    assert np.all(first != other)


@pytest.mark.parametrize(
    ("short", "long"),
    [
        (spirals(9), spirals(9, 2, noise=0.0, turns=1.0)),
        (moons(9), moons(9, noise=0.0)),
        (blobs(9, rng=0), blobs(9, 3, cluster_std=1.0, rng=0)),
        (symmetry(), symmetry(6)),
        (
            train_test_split(range(9), range(9), rng=0)[:2],
            train_test_split(range(9), range(9), 0.25, stratify=False, rng=0)[:2],
        ),
    ],
)
def test_defaults_are_the_documented_ones(short, long):
    for a, b in zip(short, long, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


@pytest.mark.parametrize(
    "make",
    [
        lambda std: spirals(20_000, noise=std, rng=0)[0] - spirals(20_000)[0],
        lambda std: moons(20_000, noise=std, rng=0)[0] - moons(20_000)[0],
        lambda std: blobs(20_000, [[0.0, 0.0]], cluster_std=std, rng=0)[0],
    ],
)
def test_noise_is_gaussian_with_the_standard_deviation_asked_for(make):
    noise = make(0.25) / 0.25
    # Five standard errors: 1 / sqrt(n) for mean and product, sqrt(2 / n) for the variance.
    n = len(noise)
    assert np.all(np.abs(noise.mean(axis=0)) < 5 / np.sqrt(n))
    covariance = noise.T @ noise / n
    np.testing.assert_array_less(np.abs(covariance - np.eye(2)), 5 * np.sqrt(2 / n))
    # 0.3173 of a Gaussian lies beyond one standard deviation: of a uniform distribution 0.4226.
    beyond = np.mean(np.abs(noise) > 1)
    assert abs(beyond - 0.3173) < 5 * np.sqrt(0.3173 * 0.6827 / (2 * n))


def test_spirals_follow_their_formula():
    X, y = spirals(30, 3, turns=1.5)
    radius = np.hypot(*X.T)
    turn = np.arctan2(X[:, 1], X[:, 0]) / (2 * np.pi)
    for k in range(3):
        steps = np.arange(1, 11) / 10
        # A handful of roundings each; the angle, up to 14 here, carries its own rounding into cos and sin.
        np.testing.assert_allclose(radius[y == k], steps, rtol=4 * EPS)
        off = turn[y == k] - (1.5 * steps + k / 3)
        np.testing.assert_allclose(off - np.rint(off), 0.0, atol=16 * EPS)


def test_a_moon_of_two_points_is_its_two_ends():
    np.testing.assert_allclose(moons(4)[0], [[1, 0], [0, 0.5], [-1, 0], [2, 0.5]], atol=EPS)


def test_moons_lie_on_their_half_circles():
    X, y = moons(11)
    upper, lower = X[y == 0], X[y == 1]
    t = np.pi * np.arange(6) / 5
    # cos and sin are at most 1, the angle at most pi: its rounding is below 4 eps.
    np.testing.assert_allclose(upper, np.column_stack([np.cos(t), np.sin(t)]), atol=4 * EPS)
    t = np.pi * np.arange(5) / 4
    np.testing.assert_allclose(lower, np.column_stack([1 - np.cos(t), 0.5 - np.sin(t)]), atol=4 * EPS)


def test_blobs_stand_at_their_centres():
    centers = np.array([[1.0, 2.0, 3.0], [-4.0, 5.0, 6.0]])
    X, y = blobs(5, centers, cluster_std=0.0)
    np.testing.assert_array_equal(X, centers[[0, 1, 0, 1, 0]])
    drawn, y = blobs(3000, 1000, cluster_std=0.0, rng=0)
    assert drawn.min() >= -10 and drawn.max() < 10
    # All of 2,000 uniform draws miss the outer hundredth of the range with probability 0.99**2000 < 2e-9.
    assert drawn.min() < -9.8 and drawn.max() > 9.8
    np.testing.assert_array_equal(drawn[y == 7], drawn[[7, 7, 7]])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: parity(0), ValueError, "1 <= bits <= 20, got 0"),
        (lambda: symmetry(21), ValueError, "1 <= bits <= 20, got 21"),
        (lambda: parity(2.0), TypeError, "bits: expected an int, got 2.0"),
        (lambda: spirals(0), ValueError, "1 <= n_samples.*got 0"),
        (lambda: moons(10.0), TypeError, "n_samples: expected an int, got 10.0"),
        (lambda: spirals(10, 0), ValueError, "number of classes.*got 0"),
        (lambda: spirals(10, noise=-1.0), ValueError, "standard deviation of 0 or more, got -1.0"),
        (lambda: moons(10, noise=np.nan), ValueError, "got nan"),
        (lambda: blobs(10, cluster_std=np.inf), ValueError, "got inf"),
        (lambda: blobs(10, 0), ValueError, "1 <= centers.*got 0"),
        (
            lambda: blobs(10, 2.0),
            ValueError,
            r"expected an int or an array of shape \(K, I\), got shape \(\)",
        ),
        (lambda: blobs(10, [1.0, 2.0]), ValueError, r"\(K, I\), got shape \(2,\)"),
        (lambda: blobs(10, np.empty((0, 2))), ValueError, "number of classes.*got 0"),
    ],
)
def test_toy_sets_refuse_impossible_requests(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "named", "sizes"),
    [
        (spirals, {"classes": 2, "noise": 0.0, "turns": 1.0}, 2),
        (moons, {"noise": 0.0}, 2),
        (blobs, {"centers": 3, "cluster_std": 1.0}, 3),
    ],
)
def test_toy_sets_are_made_with_the_defaults_in_their_descriptions(make, named, sizes):
    X, y = make(30, rng=0)
    np.testing.assert_array_equal(X, make(30, rng=0, **named)[0])
    assert np.bincount(y).tolist() == [30 // sizes] * sizes


@pytest.mark.parametrize("make", [spirals, moons])
def test_noise_is_added_as_it_is_drawn(make):
    (X, _), (clean, _) = make(20, noise=0.5, rng=3), make(20)
    np.testing.assert_array_equal(X, clean + np.random.default_rng(3).normal(0.0, 0.5, clean.shape))
    X, _ = blobs(20, [[1.0, 2.0]], cluster_std=0.5, rng=3)
    np.testing.assert_array_equal(X, np.array([[1.0, 2.0]]) + np.random.default_rng(3).normal(0.0, 0.5, (20, 2)))


def test_centres_are_real_numbers():
    assert blobs(2, np.array([[1, 2], [3, 4]], np.int8), cluster_std=0.0)[0].dtype == np.float64
    with pytest.raises(TypeError):
        blobs(2, [[1j, 0.0]])


@pytest.mark.parametrize("largest", [np.finfo(np.float64).max, -np.finfo(np.float64).max])
def test_the_largest_number_is_a_number(tmp_path, largest):
    path = tmp_path / "set.csv"
    path.write_text(f"{float(largest)!r},0.5\n1.0,2.0\n")
    X, y = load_csv(path)
    assert X.tolist() == [[float(largest)], [1.0]] and y.tolist() == [0.5, 2.0]


def test_the_bounds_of_a_count_belong_to_it():
    for value in (1, 20, np.int8(20)):
        data._check_integer("bits", value, 1, 20)


def test_a_stratified_split_does_not_hang_on_how_the_machine_sorts():
    """Evenly spaced from the samples by class, within a class as drawn: Python's sort keeps equals in their order."""
    y = np.random.default_rng(0).integers(0, 2, 500)
    by_class = sorted(np.random.default_rng(7).permutation(500).tolist(), key=lambda n: y[n])
    picked = train_test_split(np.arange(500), y, 100, stratify=True, rng=7)[1]
    assert sorted(picked.tolist()) == sorted(by_class[i * 5] for i in range(100))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_csv_without_a_target_has_the_dtype_asked_for(tmp_path, dtype):
    path = tmp_path / "set.csv"
    path.write_text("0.1,2\n3,4\n")
    X, y = load_csv(path, target=None, dtype=dtype)
    np.testing.assert_array_equal(X, np.array([[0.1, 2], [3, 4]], dtype), strict=True)
    assert y is None


def test_the_cell_that_is_named_is_the_wrong_one_and_not_the_largest(tmp_path):
    path = tmp_path / "set.csv"
    path.write_text(f"1,2\n{float(np.finfo(np.float64).max)!r},a\n")
    with pytest.raises(ValueError, match=r"line 2, column 2 of 2: expected a finite number, found 'a'$"):
        load_csv(path)
