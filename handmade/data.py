"""Data: the bundled digits, readers of common files, splits, labels, and toy sets with exact conventions.

A data set is a pair (X, y): X of shape (N, I), one sample per row, and y, one target per sample. Classes are int64
class indices, as `handmade.losses.cross_entropy` takes them.

- `load_digits`: 1,797 handwritten digits of 8 x 8 pixels, part of this package.
- `train_test_split`: a random split that keeps each sample with its target.
- `encode_labels`: class indices from names of classes.
- `load_idx`, `save_idx`: the format of the MNIST files, one array per file.
- `load_csv`: a table of numbers as text.
- `load_npz`, `save_npz`: NumPy's archive of arrays.
- `xor`, `parity`, `symmetry`: every binary vector of some length, with the classic targets.
- `spirals`, `moons`, `blobs`: points in the plane, with noise.
"""

from __future__ import annotations

from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ._atomic import write_atomically
from ._csv import load_csv
from ._idx import load_idx, save_idx
from ._npz import read_npz
from ._streams import FilePath, source_name
from ._toy_problems import blobs, moons, parity, spirals, symmetry, xor
from ._types import Array
from ._validation import (
    as_array,
    as_generator,
    check_bool,
    is_integer,
)

__all__ = [
    "load_digits",
    "train_test_split",
    "encode_labels",
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

Pair = tuple[Array, Array]
Seed = Any  # a seed or a numpy.random.Generator; naming that type would load numpy.random at import


# ------------------------------------------------------------------------------------------------------------
# The bundled set
# ------------------------------------------------------------------------------------------------------------


def load_digits() -> Pair:
    """Return the 1,797 handwritten digits that come with the package.

    Each sample is an image of 8 x 8 pixels, row by row. A pixel counts the black dots, 0 to 16, in a block of 4 x 4
    of the scanned digit; here it is divided by 16. Both steps are exact in binary.

    Returns
    -------
    X : ndarray of float64, shape (1797, 64)
        Pixels from 0 (paper) to 1 (ink).
    y : ndarray of int64, shape (1797,)
        The digits, 0 to 9: there are 178, 182, 177, 183, 181, 182, 181, 179, 174 and 180 samples of them.

    Notes
    -----
    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository,
    1998. These are its 1,797 test images, by 13 writers; the same set, in the same order, as
    ``sklearn.datasets.load_digits``.

    Examples
    --------
    >>> X, y = hm.load_digits()
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
    from importlib.resources import as_file, files  # imported here, because it takes long

    with as_file(files("handmade") / "digits.npz") as path:
        images, labels = load_npz(path)
    return images.reshape(len(images), -1) / 16.0, labels.astype(np.int64)


# ------------------------------------------------------------------------------------------------------------
# Splits and labels
# ------------------------------------------------------------------------------------------------------------


def train_test_split(
    X: npt.ArrayLike, y: npt.ArrayLike, test_size: float = 0.25, *, stratify: bool = False, rng: Seed = None
) -> tuple[Array, Array, Array, Array]:
    """Split samples at random into a training part and a test part.

    Parameters
    ----------
    X : array_like, shape (N, ...)
        Samples.
    y : array_like, shape (N, ...)
        Targets, one per sample.
    test_size : float or int, default 0.25
        A float is the fraction of the samples in the test part, rounded up as in scikit-learn. An int is their
        number. Each part holds at least one sample.
    stratify : bool, default False
        Keep the proportions of the classes: the count of each class in the test part is its exact share, rounded down
        or up. Needs y of shape (N,).
    rng : int, Generator or None
        The source of randomness: anything `numpy.random.default_rng` takes.

    Returns
    -------
    X_train, X_test, y_train, y_test : ndarray
        Copies, in random order; returned in the order of scikit-learn's function of this name.

    Raises
    ------
    ValueError
        If X and y differ in length, a part would be empty, or ``stratify`` is True and y is not a vector.
    TypeError
        If an argument is of another type, or X or y is masked or sparse.

    Examples
    --------
    >>> X, y = hm.load_digits()
    >>> X_train, X_test, y_train, y_test = hm.train_test_split(X, y, stratify=True, rng=0)
    >>> len(y_train), len(y_test)
    (1347, 450)
    >>> np.bincount(y_test)
    array([45, 46, 44, 46, 45, 46, 45, 45, 43, 45])
    """
    X, y = _paired(X, y)
    n_samples = len(X)
    n_test = _test_count(test_size, n_samples)
    order = as_generator(rng).permutation(n_samples)
    chosen = order[:n_test]
    if check_bool(stratify, "stratify"):
        if y.ndim != 1:
            raise ValueError(f"y: expected class labels of shape (N,) for stratify=True, got shape {y.shape}")
        # Evenly spaced places in the samples sorted by class hit each class in proportion to its size.
        try:
            by_class = order[np.argsort(y[order], kind="stable")]
        except TypeError as error:
            raise TypeError("y: expected labels of one type for stratify=True, got some that have no order") from error
        chosen = by_class[np.arange(n_test) * n_samples // n_test]
    in_test = np.zeros(n_samples, dtype=bool)
    in_test[chosen] = True
    train, test = order[~in_test[order]], order[in_test[order]]
    return X[train], X[test], y[train], y[test]


def _test_count(test_size: float, n_samples: int) -> int:
    """Return the number of samples in the test part."""
    if not is_integer(test_size) and not isinstance(test_size, (float, np.floating)):
        raise TypeError(f"test_size: expected a fraction or a count, got {test_size!r}")
    if n_samples < 2:
        raise ValueError(f"X: expected at least 2 samples to split, got {n_samples}")
    is_count = is_integer(test_size)
    n_test = test_size if is_count else np.ceil(test_size * n_samples)
    if not 1 <= n_test < n_samples:
        raise ValueError(
            f"test_size: expected a fraction between 0 and 1 or a count from 1 to {n_samples - 1}, got {test_size}, "
            f"which puts {n_test if is_count else f'{n_test:g}'} of {n_samples} samples in the test part"
        )
    return int(n_test)


def _paired(X: npt.ArrayLike, y: npt.ArrayLike) -> Pair:
    """Return X and y as arrays, one target for each sample."""
    X, y = as_array(X, "X"), _as_given(y, "y")
    if X.ndim == 0 or X.shape[:1] != y.shape[:1]:
        raise ValueError(
            f"y: expected one target for each sample, X and y of shape (N, ...), "
            f"got X of shape {X.shape} and y of shape {y.shape}"
        )
    return X, y


def encode_labels(labels: npt.ArrayLike, classes: npt.ArrayLike | None = None) -> Pair:
    """Convert labels to class indices y, so that ``classes[y]`` are the labels again.

    Parameters
    ----------
    labels : array_like, shape (N,)
        Text, numbers or booleans; also a column of pandas.
    classes : array_like, shape (K,), optional
        The classes in the order of their indices; for a test set, pass those of the training set. By default the
        distinct labels in ascending order.

    Returns
    -------
    y : ndarray of int64, shape (N,)
        Class indices from 0 to K - 1, as `cross_entropy` takes them.
    classes : ndarray, shape (K,)
        The classes.

    Raises
    ------
    ValueError
        If the labels are not a vector, one is missing (NaN), or one is not among ``classes``.
    TypeError
        If the labels are of several types, or of a type that has no order.

    Examples
    --------
    >>> y, classes = hm.data.encode_labels(["dog", "cat", "dog"])
    >>> y, classes
    (array([1, 0, 1]), array(['cat', 'dog'], dtype='<U3'))
    >>> hm.data.encode_labels(["cat"], classes)[0]
    array([0])
    """
    labels = _as_labels(labels, "labels")
    if classes is None:
        classes, y = np.unique(labels, return_inverse=True)
        return y.astype(np.int64), classes
    classes = _as_labels(classes, "classes")
    known = {label: index for index, label in enumerate(classes.tolist())}
    if len(known) < len(classes):
        raise ValueError(f"classes: expected distinct classes, got {classes.tolist()}")
    unknown = [label for label in labels.tolist() if label not in known]
    if unknown:
        raise ValueError(f"labels: expected one of {classes.tolist()}, got {unknown[0]!r}")
    return np.array([known[label] for label in labels.tolist()], np.int64), classes


def _as_given(labels: npt.ArrayLike, name: str) -> Array:
    """Return labels as an array; of text beside numbers or NaN in a list, of which NumPy makes text, the objects."""
    array = as_array(labels, name)
    if array.dtype.kind == "U" and isinstance(labels, list | tuple):
        objects = np.asarray(labels, object)
        return array if all(isinstance(label, str) for label in objects.flat) else objects
    return array


def _as_labels(labels: npt.ArrayLike, name: str) -> Array:
    """Return a vector of text, numbers or booleans."""
    array = _as_given(labels, name)
    if array.dtype.kind == "O":
        kinds = {type(label) for label in array.flat}
        if not all(issubclass(kind, str) for kind in kinds):
            found = ", ".join(sorted(kind.__name__ for kind in kinds))
            raise TypeError(f"{name}: expected text, numbers or booleans, got objects of {found}; fill in missing ones")
        array = array.astype(str)
    if array.dtype.kind not in "biufSU":
        raise TypeError(f"{name}: expected text, numbers or booleans, got dtype {array.dtype}")
    if array.ndim != 1:
        raise ValueError(f"{name}: expected a vector of shape (N,), got shape {array.shape}")
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise ValueError(f"{name}: expected a label for each sample, got nan at index {int(np.isnan(array).argmax())}")
    return array


# ------------------------------------------------------------------------------------------------------------
# npz
# ------------------------------------------------------------------------------------------------------------


def load_npz(path: FilePath | IO[bytes], X: str = "X", y: str = "y", *, max_bytes: int | None = None) -> Pair:
    """Read samples and targets from an ``.npz`` archive.

    Python objects are never loaded, so a data file cannot run code. The headers are read first, and then no more than
    they declare.

    Parameters
    ----------
    path : path-like or binary file object
        The archive, as `numpy.savez` and `save_npz` write it; a FIFO or a pipe will do.
    X, y : str
        The names of the two arrays in it.
    max_bytes : int, optional
        The limit of the arrays' size in bytes. By default 1 GiB, or 16 times the size of the file if that is more.

    Returns
    -------
    X, y : ndarray
        The arrays as they are stored.

    Raises
    ------
    ValueError
        If the file is not an archive or is damaged, lacks one of the names, holds Python objects under them, declares
        arrays larger than ``max_bytes``, or its arrays differ in length.

    Examples
    --------
    Keras' copy of MNIST: ``X, y = hm.load_npz("mnist.npz", "x_train", "y_train")``.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     hm.data.save_npz(folder + "/xor.npz", *hm.data.xor())
    ...     hm.load_npz(folder + "/xor.npz")
    (array([[0., 0.],
           [0., 1.],
           [1., 0.],
           [1., 1.]]), array([0, 1, 1, 0]))
    """
    arrays = read_npz(path, (X, y), max_bytes=max_bytes)
    try:
        return _paired(arrays[X], arrays[y])
    except ValueError as error:
        raise ValueError(f"{source_name(path)}, arrays {X!r} and {y!r}: {error}") from error


def save_npz(path: FilePath, X: npt.ArrayLike, y: npt.ArrayLike) -> None:
    """Write samples and targets to a compressed ``.npz`` archive, under the names X and y.

    An existing file is replaced as a whole when the new one is on the disk. On an error it stays as it was.

    Parameters
    ----------
    path : path-like
        The file; no ending is added to its name.
    X, y : array_like, shape (N, ...)
        Numbers or text.

    Raises
    ------
    ValueError
        If X and y differ in length.
    TypeError
        If X or y holds Python objects, which `load_npz` would refuse, or is masked or sparse.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     hm.data.save_npz(folder + "/symmetry.npz", *hm.data.symmetry())
    ...     X, y = hm.load_npz(folder + "/symmetry.npz")
    >>> X.shape, y.shape
    ((64, 6), (64,))
    """
    X, y = _paired(X, y)
    for name, array in (("X", X), ("y", y)):
        if array.dtype.hasobject or array.dtype.names:
            raise TypeError(f"{name}: expected an array of numbers, got dtype {array.dtype}; convert it with astype")
    write_atomically(path, lambda stream: np.savez_compressed(stream, X=X, y=y))
