"""The reader and the writer of npz files, whole and damaged."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from readers_of_tests import GOOD, archive_of

from handmade._npz import read_npz
from handmade.data import load_npz, save_npz


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
            "array 'X': expected the header of an array, got one of Python objects, which are never",
        ),
        (
            GOOD.replace(np.float64(2.0).tobytes(), np.float64(3.0).tobytes()),
            "array 'X': expected whole data, got .*CRC.*; fetch it again",
        ),
    ],
)
def test_npz_refuses_damaged_and_missing_arrays(tmp_path, content, message):
    path = tmp_path / "set.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"set.npz.*{message}"):
        load_npz(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("second", ["X", "X.npy"])
def test_npz_refuses_two_arrays_of_one_name(second):
    stream = io.BytesIO(archive_of(X=[1.0]))
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr(second, archive.read("X.npy"))
    stream.seek(0)
    with pytest.raises(ValueError, match=r"^<stream>: expected each name once, got 2 arrays 'X'; write it again"):
        read_npz(stream, ["X"])


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_npz_reads_every_version_of_the_header(version):
    member, archive = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array(member, np.arange(3.0), version)
    with zipfile.ZipFile(archive, "w") as writer:
        writer.writestr("X.npy", member.getvalue())
    archive.seek(0)
    np.testing.assert_array_equal(read_npz(archive)["X"], np.arange(3.0), strict=True)


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


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (np.array([1, None], object), "one of Python objects, which are never loaded,"),
        (np.array({"a": 1}, object), "one of Python objects, which are never loaded,"),
        (np.array([[1.0], [2.0, 3.0]], object), "one of Python objects, which are never loaded,"),
        (np.zeros(3, [("a", float), ("b", int)]), "one of named fields"),
        (np.zeros(3, [("a", float), ("b", object)]), "one of Python objects, which are never loaded,"),
    ],
)
@pytest.mark.parametrize("name", ["X", "y"])
def test_npz_says_what_an_array_without_numbers_is(tmp_path, name, array, found):
    np.savez(tmp_path / "a.npz", **{"X": np.zeros((2, 1)), "y": np.zeros(2), name: array})
    words = f"a.npz, array '{name}': expected the header of an array, got {found} instead of dtype, order and shape"
    with pytest.raises(ValueError, match=words):
        load_npz(tmp_path / "a.npz")
