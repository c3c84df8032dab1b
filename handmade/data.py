"""Data: the bundled digits, readers for common files, and toy sets with exact conventions.

A data set is a pair (X, y): X of shape (N, I), one sample per row, and y, one target per sample. Classes are
int64 class indices, as `handmade.losses.cross_entropy` takes them.

- `load_digits`: 1,797 handwritten digits of 8 x 8 pixels, part of this package.
- `train_test_split`: a random split that keeps each sample with its target.
- `load_idx`, `save_idx`: the format of the MNIST files, one array per file.
- `load_csv`: a table of numbers as text.
- `load_npz`, `save_npz`: NumPy's archive of arrays.
- `xor`, `parity`, `symmetry`: every binary vector of some length, with the classic targets.
- `spirals`, `moons`, `blobs`: points in the plane, with noise.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import os
import reprlib
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "load_digits",
    "train_test_split",
    "load_idx",
    "save_idx",
    "load_csv",
    "load_npz",
    "save_npz",
    "xor",
    "parity",
    "symmetry",
    "spirals",
    "moons",
    "blobs",
]

FilePath = str | os.PathLike[str]
Pair = tuple[np.ndarray, np.ndarray]
Seed = Any  # what numpy.random.default_rng takes; naming its types here would load numpy.random at import


# ------------------------------------------------------------------------------------------------------------
# The bundled set
# ------------------------------------------------------------------------------------------------------------


def load_digits() -> Pair:
    """Return the 1,797 handwritten digits that come with the package.

    Each sample is an image of 8 x 8 pixels, row by row. A pixel counts the black dots, 0 to 16, in a block
    of 4 x 4 of the scanned digit; here it is divided by 16. Both steps are exact in binary.

    Returns
    -------
    X : ndarray of float64, shape (1797, 64)
        Pixels from 0 (paper) to 1 (ink).
    y : ndarray of int64, shape (1797,)
        The digit, 0 to 9; 178, 182, 177, 183, 181, 182, 181, 179, 174 and 180 of each.

    Notes
    -----
    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
    Repository, 1998. These are its 1,797 test images, by 13 writers; the same set, in the same order, as
    ``sklearn.datasets.load_digits``.

    Examples
    --------
    >>> X, y = load_digits()
    >>> X.shape, y[:10]
    ((1797, 64), array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]))
    >>> print((16 * X[0]).astype(int).reshape(8, 8))
    [[ 0  0  5 13  9  1  0  0]
     [ 0  0 13 15 10 15  5  0]
     [ 0  3 15  2  0 11  8  0]
     [ 0  4 12  0  0  8  8  0]
     [ 0  5  8  0  0  9  8  0]
     [ 0  4 11  0  1 12  7  0]
     [ 0  2 14  5 10 12  0  0]
     [ 0  0  6 13 10  0  0  0]]
    """
    from importlib.resources import as_file, files  # here, as importing it takes long

    with as_file(files("handmade") / "digits.npz") as path:
        images, labels = load_npz(path)
    return images.reshape(len(images), -1) / 16.0, labels.astype(np.int64)


# ------------------------------------------------------------------------------------------------------------
# Splitting
# ------------------------------------------------------------------------------------------------------------


def train_test_split(
    X: npt.ArrayLike, y: npt.ArrayLike, test_size: float = 0.25, *, stratify: bool = False, rng: Seed = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Split samples at random into a training part and a test part.

    Parameters
    ----------
    X : array_like, shape (N, ...)
        Samples.
    y : array_like, shape (N, ...)
        Targets, one per sample.
    test_size : float or int, default 0.25
        A float is the fraction of the samples in the test part, rounded up as in scikit-learn. An int is
        their number. Each part holds at least one sample.
    stratify : bool, default False
        Keep the proportions of the classes: the count of each class in the test part is its exact share,
        rounded down or up. Needs y of shape (N,).
    rng : int, Generator or None
        The source of randomness: anything `numpy.random.default_rng` takes.

    Returns
    -------
    X_train, X_test, y_train, y_test : ndarray
        Copies, in random order; the order of scikit-learn's function of this name.

    Raises
    ------
    ValueError
        X and y differ in length, a part would be empty, or `stratify` is asked for and y is not a vector.

    Examples
    --------
    >>> X, y = load_digits()
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=True, rng=0)
    >>> len(y_train), len(y_test)
    (1347, 450)
    >>> np.bincount(y_test)
    array([45, 46, 44, 46, 45, 46, 45, 45, 43, 45])
    """
    X, y = _paired(X, y)
    n_samples = len(X)
    n_test = test_size if isinstance(test_size, (int, np.integer)) else np.ceil(test_size * n_samples)
    if not 1 <= n_test < n_samples:
        raise ValueError(
            f"test_size={test_size} puts {n_test:g} of {n_samples} samples in the test part; "
            f"give a fraction between 0 and 1, or a count from 1 to {n_samples - 1}"
        )
    order = np.random.default_rng(rng).permutation(n_samples)
    chosen = order[: int(n_test)]
    if stratify:
        if y.ndim != 1:
            raise ValueError(f"stratify=True needs class labels of shape (N,), got y of shape {y.shape}")
        # Evenly spaced picks from the samples sorted by class meet each class in proportion to its size.
        by_class = order[np.argsort(y[order], kind="stable")]
        chosen = by_class[np.arange(len(chosen)) * n_samples // len(chosen)]
    in_test = np.zeros(n_samples, dtype=bool)
    in_test[chosen] = True
    train, test = order[~in_test[order]], order[in_test[order]]
    return X[train], X[test], y[train], y[test]


def _paired(X: npt.ArrayLike, y: npt.ArrayLike) -> Pair:
    """Return X and y as arrays, one target for each sample."""
    X, y = np.asarray(X), np.asarray(y)
    if X.ndim == 0 or X.shape[:1] != y.shape[:1]:
        raise ValueError(
            f"expected one target for each sample, that is X of shape (N, ...) and y of shape (N, ...), "
            f"got X of shape {X.shape} and y of shape {y.shape}"
        )
    return X, y


# ------------------------------------------------------------------------------------------------------------
# IDX, the format of the MNIST files
# ------------------------------------------------------------------------------------------------------------

_IDX_DTYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype(">u1"),
    0x09: np.dtype(">i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}


def load_idx(path: FilePath) -> np.ndarray:
    """Read an array from an IDX file, compressed with gzip or not.

    The file holds two zero bytes, a byte for the type, a byte for the number of dimensions, the sizes as
    big-endian unsigned integers of 4 bytes, and the numbers, big-endian in C order. Compression is told
    from the content of the file, not from its name.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    ndarray
        Of type uint8, int8, int16, int32, float32 or float64, as in the file, in the byte order of this
        machine.

    Raises
    ------
    ValueError
        The file is not IDX, is cut short, has bytes to spare, or is damaged gzip.

    Notes
    -----
    Source: Y. LeCun, C. Cortes and C. J. C. Burges, The MNIST database of handwritten digits,
    http://yann.lecun.com/exdb/mnist/, section "File formats".

    Examples
    --------
    MNIST comes as ``train-images-idx3-ubyte.gz`` and three files like it; for a network,
    ``X = load_idx(path).reshape(60000, 784) / 255.0`` and ``y = load_idx(path).astype(np.int64)``.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name, "image.gz")
    >>> save_idx(path, np.array([[0, 128], [255, 1]], dtype=np.uint8))
    >>> load_idx(path)
    array([[  0, 128],
           [255,   1]], dtype=uint8)
    >>> folder.cleanup()
    """
    content = Path(path).read_bytes()
    if content.startswith(b"\x1f\x8b"):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path}: damaged gzip file ({error}); fetch it again") from error
    magic = content[:4]
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise ValueError(
            f"{path}: expected an IDX file: two zero bytes, a type code, a number of dimensions; "
            f"found the bytes '{magic.hex(' ')}'"
        )
    code, ndim = magic[2:]
    if code not in _IDX_DTYPES:
        known = ", ".join(f"0x{known:02x} {dtype.name}" for known, dtype in _IDX_DTYPES.items())
        raise ValueError(f"{path}: expected a type code among {known}; found 0x{code:02x}")
    dtype, header_size = _IDX_DTYPES[code], 4 + 4 * ndim
    _check_size(path, f"the header of an array of {ndim} dimensions", header_size, content[:header_size])
    shape = tuple(np.frombuffer(content[4:header_size], dtype=">u4").tolist())
    total_size = header_size + math.prod(shape) * dtype.itemsize
    _check_size(path, f"{dtype.name} of shape {shape}", total_size, content)
    return np.frombuffer(content[header_size:], dtype).reshape(shape).astype(dtype.newbyteorder("="))


def _check_size(path: FilePath, what: str, expected: int, content: bytes) -> None:
    if len(content) != expected:
        state = "is cut short" if len(content) < expected else "has surplus bytes"
        raise ValueError(f"{path}: expected {expected} bytes for {what}, found {len(content)}: the file {state}")


def save_idx(path: FilePath, array: npt.ArrayLike) -> None:
    """Write an array to an IDX file, compressed with gzip if the name ends in ``.gz``.

    Equal arrays give equal files, byte for byte.

    Parameters
    ----------
    path : path-like
        The file; one that exists is replaced.
    array : array_like
        Of type uint8, int8, int16, int32, float32 or float64, with any shape.

    Raises
    ------
    TypeError
        IDX has no such type.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name, "labels")
    >>> save_idx(path, np.array([7, 2, 1], dtype=np.uint8))
    >>> path.read_bytes().hex(" ")
    '00 00 08 01 00 00 00 03 07 02 01'
    >>> folder.cleanup()
    """
    array = np.asarray(array)
    dtype = array.dtype.newbyteorder(">")
    codes = {dtype: code for code, dtype in _IDX_DTYPES.items()}
    if dtype not in codes:
        names = ", ".join(dtype.name for dtype in codes)
        raise TypeError(f"IDX holds {names}; got an array of {array.dtype}: convert it with astype first")
    header = bytes([0, 0, codes[dtype], array.ndim]) + np.array(array.shape, dtype=">u4").tobytes()
    content = header + array.astype(dtype).tobytes()
    Path(path).write_bytes(gzip.compress(content, mtime=0) if Path(path).suffix == ".gz" else content)


# ------------------------------------------------------------------------------------------------------------
# Text
# ------------------------------------------------------------------------------------------------------------


def load_csv(
    path: FilePath,
    target: int | str | None = -1,
    *,
    delimiter: str = ",",
    header: bool | None = None,
    dtype: npt.DTypeLike = np.float64,
) -> tuple[np.ndarray, np.ndarray | None]:
    r"""Read a table of numbers from a text file, one sample per line.

    Parameters
    ----------
    path : path-like
        The file, in UTF-8. Empty lines are passed over; cells may stand in double quotes.
    target : int, str or None, default -1
        The column of the targets: its index from 0, negative from the end, or its name in the header. None:
        the file has no targets.
    delimiter : str, default ","
        The character between cells.
    header : bool or None, default None
        Whether the first line names the columns. None: it does if none of its cells is a number.
    dtype : float32 or float64, default float64
        The type of X.

    Returns
    -------
    X : ndarray of `dtype`, shape (N, I)
        All columns but the target, in order.
    y : ndarray of int64 or `dtype`, shape (N,), or None
        The target: int64 if all its values are whole numbers (class labels), else `dtype`.

    Raises
    ------
    ValueError
        The file has no data; a line has more or fewer cells than the first one; a cell is empty, is no
        number, or is not finite in `dtype`; there is no such target column. The message says where, and
        quotes what stands there. Names of classes are no numbers: number the classes 0, 1, 2, ... first.
    TypeError
        `dtype` is neither float32 nor float64.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name, "flowers.csv")
    >>> _ = path.write_text("length,width,kind\n5.1,3.5,0\n7.0,3.2,1\n")
    >>> load_csv(path)
    (array([[5.1, 3.5],
           [7. , 3.2]]), array([0, 1]))
    >>> load_csv(path, target="width")
    (array([[5.1, 0. ],
           [7. , 1. ]]), array([3.5, 3.2]))
    >>> _ = path.write_text("length,width,kind\n5.1,3.5,0\n7.0,three,1\n")
    >>> load_csv(path)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: ...flowers.csv, line 3, column 2 of 3: expected a finite number, found 'three'
    >>> folder.cleanup()
    """
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise TypeError(f"dtype: expected float32 or float64, got {dtype}")
    # A byte that is not UTF-8 becomes a sign that no number contains, and so a bad cell with its place.
    with open(path, encoding="utf-8-sig", errors="replace") as stream:
        rows = csv.reader(stream, delimiter=delimiter)
        first = next(filter(None, rows), [])
        if header is None:
            header = all(_number(cell) is None for cell in first)
        skip = rows.line_num if header else 0
        if not first or (header and not any(rows)):
            raise ValueError(f"{path}: expected lines of numbers, found none")
        column = None if target is None else _find_column(path, target, first if header else [], len(first))
        table = _read_table(path, stream, delimiter, skip, len(first), float(np.finfo(dtype).max))
    if column is None:
        return table.astype(dtype, copy=False), None
    X, y = np.delete(table, column, axis=1), table[:, column]
    # Above 2**53 float64 no longer holds every whole number.
    are_labels = np.all((y == np.rint(y)) & (np.abs(y) <= 2**53))
    return X.astype(dtype, copy=False), y.astype(np.int64 if are_labels else dtype)


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _find_column(path: FilePath, target: int | str, names: list[str], n_columns: int) -> int:
    """Return the index, from 0, of the target column."""
    if isinstance(target, str):
        names = [name.strip() for name in names]
        if names.count(target) != 1:
            raise ValueError(f"{path}: expected one column named {target!r}; the header names {names}")
        return names.index(target)
    if not -n_columns <= target < n_columns:
        raise ValueError(f"{path}: target={target}, but the file has {n_columns} columns")
    return target % n_columns


def _read_table(
    path: FilePath, stream: io.TextIOBase, delimiter: str, skip: int, n_columns: int, largest: float
) -> np.ndarray:
    """Read the lines after the first `skip` ones, all at once if every cell is fine, else cell by cell."""
    stream.seek(0)
    try:
        table = np.loadtxt(stream, delimiter=delimiter, skiprows=skip, comments=None, quotechar='"', ndmin=2)
        if table.shape[1] == n_columns and np.all(np.abs(table) <= largest):
            return table
    except ValueError:
        # Its message numbers the rows without header and empty lines: find the cell again, by line.
        pass
    stream.seek(0)
    rows = csv.reader(stream, delimiter=delimiter)
    numbers = []
    for row in rows:
        if not row or rows.line_num <= skip:
            continue
        place = f"{path}, line {rows.line_num}"
        if len(row) != n_columns:
            raise ValueError(f"{place}: expected {n_columns} cells, found {len(row)}: {reprlib.repr(row)}")
        values = [_number(cell) for cell in row]
        for value, cell, number in zip(values, row, range(1, n_columns + 1), strict=True):
            if value is None or not abs(value) <= largest:
                found = reprlib.repr(cell) if cell.strip() else "an empty cell"
                raise ValueError(f"{place}, column {number} of {n_columns}: expected a finite number, found {found}")
        numbers.append(values)
    return np.array(numbers)


# ------------------------------------------------------------------------------------------------------------
# npz
# ------------------------------------------------------------------------------------------------------------


def load_npz(path: FilePath, X: str = "X", y: str = "y") -> Pair:
    """Read samples and targets from an ``.npz`` archive.

    Pickled objects are never loaded: a data file cannot run code.

    Parameters
    ----------
    path : path-like
        The archive, as `numpy.savez` and `save_npz` write it.
    X, y : str
        The names of the two arrays in it.

    Returns
    -------
    X, y : ndarray
        As stored.

    Raises
    ------
    ValueError
        The file is no archive or is damaged, lacks one of the names, holds Python objects under them, or
        its arrays differ in length.

    Examples
    --------
    Keras' copy of MNIST: ``X, y = load_npz("mnist.npz", "x_train", "y_train")``.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name, "xor.npz")
    >>> save_npz(path, *xor())
    >>> load_npz(path)
    (array([[0., 0.],
           [0., 1.],
           [1., 0.],
           [1., 1.]]), array([0, 1, 1, 0]))
    >>> folder.cleanup()
    """
    import zipfile  # here, as importing it takes longer than most of this library

    with open(path, "rb") as stream:
        if not zipfile.is_zipfile(stream):
            raise ValueError(f"{path}: expected an .npz archive; the file is something else, or cut short")
        stream.seek(0)
        try:
            with np.load(stream, allow_pickle=False) as archive:
                if not {X, y} <= set(archive.files):
                    raise ValueError(f"expected arrays {X!r} and {y!r}; the archive holds {archive.files}")
                return _paired(archive[X], archive[y])
        except Exception as error:  # A damaged archive fails in many ways.
            raise ValueError(f"{path}: {error}") from error


def save_npz(path: FilePath, X: npt.ArrayLike, y: npt.ArrayLike) -> None:
    """Write samples and targets to a compressed ``.npz`` archive, under the names X and y.

    Parameters
    ----------
    path : path-like
        The file, named exactly so; one that exists is replaced.
    X, y : array_like, shape (N, ...)
        Numbers.

    Raises
    ------
    ValueError
        X and y differ in length.
    TypeError
        X or y holds Python objects, which `load_npz` would refuse.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name, "symmetry.npz")
    >>> save_npz(path, *symmetry())
    >>> X, y = load_npz(path)
    >>> X.shape, y.shape
    ((64, 6), (64,))
    >>> folder.cleanup()
    """
    X, y = _paired(X, y)
    for name, array in (("X", X), ("y", y)):
        if array.dtype.hasobject:
            raise TypeError(f"{name}: expected an array of numbers, got dtype {array.dtype}")
    archive = io.BytesIO()
    np.savez_compressed(archive, X=X, y=y)
    Path(path).write_bytes(archive.getvalue())


# ------------------------------------------------------------------------------------------------------------
# Every binary vector
# ------------------------------------------------------------------------------------------------------------


def xor() -> Pair:
    """Return the four points of exclusive or: class 1 where the two inputs differ.

    No single perceptron separates them (M. Minsky and S. Papert, Perceptrons, 1969).

    Returns
    -------
    X : ndarray of float64, shape (4, 2)
    y : ndarray of int64, shape (4,)

    Examples
    --------
    >>> X, y = xor()
    >>> X
    array([[0., 0.],
           [0., 1.],
           [1., 0.],
           [1., 1.]])
    >>> y
    array([0, 1, 1, 0])
    """
    return parity(2)


def parity(bits: int) -> Pair:
    """Return all binary vectors of some length: class 1 where the number of ones is odd.

    Parameters
    ----------
    bits : int
        The length, from 1 to 20.

    Returns
    -------
    X : ndarray of float64, shape (2**bits, bits)
        Row n is the number n in binary, the most significant bit first.
    y : ndarray of int64, shape (2**bits,)

    Raises
    ------
    ValueError, TypeError
        `bits` is out of range, or no int.

    Notes
    -----
    Source: D. E. Rumelhart, G. E. Hinton and R. J. Williams, Parallel Distributed Processing, volume 1,
    chapter 8, 1986.

    Examples
    --------
    >>> X, y = parity(3)
    >>> X[6], y
    (array([1., 1., 0.]), array([0, 1, 1, 0, 1, 0, 0, 1]))
    """
    X = _binary_vectors(bits)
    return X, X.sum(axis=1).astype(np.int64) % 2


def symmetry(bits: int = 6) -> Pair:
    """Return all binary vectors of some length: class 1 where the vector reads the same from both ends.

    Parameters
    ----------
    bits : int, default 6
        The length, from 1 to 20.

    Returns
    -------
    X : ndarray of float64, shape (2**bits, bits)
        Row n is the number n in binary, the most significant bit first.
    y : ndarray of int64, shape (2**bits,)
        With 2**ceil(bits / 2) ones: 8 of 64 for six bits.

    Raises
    ------
    ValueError, TypeError
        `bits` is out of range, or no int.

    Notes
    -----
    Source: D. E. Rumelhart, G. E. Hinton and R. J. Williams, Learning representations by back-propagating
    errors, Nature 323, 533-536, 1986, figure 1. System 13 of the lecture.

    Examples
    --------
    >>> X, y = symmetry()
    >>> X.shape, y.sum()
    ((64, 6), np.int64(8))
    >>> X[y == 1][:3]
    array([[0., 0., 0., 0., 0., 0.],
           [0., 0., 1., 1., 0., 0.],
           [0., 1., 0., 0., 1., 0.]])
    """
    X = _binary_vectors(bits)
    return X, np.all(X[:, ::-1] == X, axis=1).astype(np.int64)


def _binary_vectors(bits: int) -> np.ndarray:
    _check_integer("bits", bits, 1, 20)
    return (np.arange(2**bits)[:, None] >> np.arange(bits)[::-1] & 1).astype(np.float64)


# ------------------------------------------------------------------------------------------------------------
# Points in the plane
# ------------------------------------------------------------------------------------------------------------
# Sample n belongs to class n % K: the classes take turns. So every stretch of the data is balanced, and where
# K does not divide the number of samples the first classes have one sample more.


def spirals(n_samples: int, classes: int = 2, *, noise: float = 0.0, turns: float = 1.0, rng: Seed = None) -> Pair:
    """Return points on interleaved spirals around the origin, one spiral per class.

    The i-th of the m points of class k, i from 1 to m, has radius r = i / m and angle
    2 pi (turns r + k / classes).

    Parameters
    ----------
    n_samples : int
        The number of points in all. Sample n belongs to class n % classes.
    classes : int, default 2
        The number of spirals.
    noise : float, default 0.0
        Standard deviation of the Gaussian noise added to both coordinates.
    turns : float, default 1.0
        Full turns of each spiral from the centre to radius 1.
    rng : int, Generator or None
        The source of randomness: anything `numpy.random.default_rng` takes.

    Returns
    -------
    X : ndarray of float64, shape (n_samples, 2)
    y : ndarray of int64, shape (n_samples,)

    Raises
    ------
    ValueError, TypeError
        A count is below 1 or no int, or `noise` is negative or not finite.

    Examples
    --------
    >>> X, y = spirals(4)
    >>> X.round(12) + 0.0
    array([[-0.5,  0. ],
           [ 0.5,  0. ],
           [ 1. ,  0. ],
           [-1. ,  0. ]])
    >>> y
    array([0, 1, 0, 1])
    """
    y = _alternating_classes(n_samples, classes)
    radius = (np.arange(n_samples) // classes + 1) / np.bincount(y)[y]
    angle = 2 * np.pi * (turns * radius + y / classes)
    X = radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    return X + _gaussian(noise, X.shape, rng), y


def moons(n_samples: int, *, noise: float = 0.0, rng: Seed = None) -> Pair:
    """Return points on two half circles that reach into each other.

    With m points in a class and t from 0 to pi in m equal steps, ends included: class 0 is the upper half
    circle (cos t, sin t), class 1 the lower one (1 - cos t, 1/2 - sin t). The curves of scikit-learn's
    ``make_moons``.

    Parameters
    ----------
    n_samples : int
        The number of points in all. Sample n belongs to class n % 2.
    noise : float, default 0.0
        Standard deviation of the Gaussian noise added to both coordinates.
    rng : int, Generator or None
        The source of randomness: anything `numpy.random.default_rng` takes.

    Returns
    -------
    X : ndarray of float64, shape (n_samples, 2)
    y : ndarray of int64, shape (n_samples,)

    Raises
    ------
    ValueError, TypeError
        `n_samples` is below 1 or no int, or `noise` is negative or not finite.

    Examples
    --------
    >>> X, y = moons(5)
    >>> X.round(12) + 0.0
    array([[ 1. ,  0. ],
           [ 0. ,  0.5],
           [ 0. ,  1. ],
           [ 2. ,  0.5],
           [-1. ,  0. ]])
    >>> y
    array([0, 1, 0, 1, 0])
    """
    y = _alternating_classes(n_samples, 2)
    # A class of one point has no second end: its point is the start.
    t = np.pi * (np.arange(n_samples) // 2) / np.maximum(np.bincount(y)[y] - 1, 1)
    upper = np.column_stack([np.cos(t), np.sin(t)])
    X = np.where(y[:, None] == 0, upper, [1.0, 0.5] - upper)
    return X + _gaussian(noise, X.shape, rng), y


def blobs(n_samples: int, centers: int | npt.ArrayLike = 3, *, cluster_std: float = 1.0, rng: Seed = None) -> Pair:
    """Return points scattered around centres by a Gaussian, one class per centre.

    Parameters
    ----------
    n_samples : int
        The number of points in all. Sample n belongs to class n % K.
    centers : int or array_like of shape (K, I), default 3
        The centres themselves, or their number K: then their two coordinates are drawn uniformly from
        [-10, 10).
    cluster_std : float, default 1.0
        Standard deviation in each coordinate.
    rng : int, Generator or None
        The source of randomness: anything `numpy.random.default_rng` takes.

    Returns
    -------
    X : ndarray of float64, shape (n_samples, I), with I = 2 where the centres are drawn
    y : ndarray of int64, shape (n_samples,)

    Raises
    ------
    ValueError, TypeError
        A count is below 1 or no int, the centres are no matrix, or `cluster_std` is negative or not finite.

    Examples
    --------
    >>> X, y = blobs(3, [[-5.0, 0.0], [5.0, 1.0]], cluster_std=0.0)
    >>> X
    array([[-5.,  0.],
           [ 5.,  1.],
           [-5.,  0.]])
    >>> y
    array([0, 1, 0])
    """
    generator = np.random.default_rng(rng)
    if isinstance(centers, (int, np.integer)):
        _check_integer("centers", centers, 1)
        centers = generator.uniform(-10.0, 10.0, size=(centers, 2))
    centers = np.asarray(centers, dtype=np.float64)
    if centers.ndim != 2:
        raise ValueError(f"centers: expected an int or an array of shape (K, I), got shape {centers.shape}")
    y = _alternating_classes(n_samples, len(centers))
    X = centers[y]
    return X + _gaussian(cluster_std, X.shape, generator), y


def _alternating_classes(n_samples: int, classes: int) -> np.ndarray:
    _check_integer("n_samples", n_samples, 1)
    _check_integer("the number of classes", classes, 1)
    return np.arange(n_samples) % classes


def _gaussian(std: float, shape: tuple[int, ...], rng: Seed) -> np.ndarray:
    if not 0.0 <= std < math.inf:
        raise ValueError(f"expected a standard deviation of 0 or more, got {std}")
    return np.random.default_rng(rng).normal(0.0, std, shape)


def _check_integer(name: str, value: object, lowest: int, highest: float = math.inf) -> None:
    if not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}: expected an int, got {value!r}")
    if not lowest <= value <= highest:
        raise ValueError(f"expected {lowest} <= {name} <= {highest}, got {value}")
