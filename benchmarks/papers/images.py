"""The images to train on: MNIST's four IDX files from a folder, or the digits that come with the library."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

import handmade as hm

__all__ = ["DIGITS", "MNIST", "Images", "read"]

DIGITS, MNIST, OTHER = "the bundled digits", "MNIST", "the images given by --data"
FILES = {
    "training images": ("train-images-idx3-ubyte", 3),
    "training labels": ("train-labels-idx1-ubyte", 1),
    "test images": ("t10k-images-idx3-ubyte", 3),
    "test labels": ("t10k-labels-idx1-ubyte", 1),
}
SHAPES = (60_000, 28, 28), (10_000, 28, 28)
# How many of each digit: what tells MNIST from other sets of its shape.
COUNTS = (
    [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
    [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
)
CLASSES = 10


@dataclass(frozen=True)
class Images:
    """A training set and a test set of ten classes.

    Attributes
    ----------
    name : str
        `MNIST`, with which alone published figures are compared; `DIGITS`; or something else.
    X, X_test : ndarray of float32, shape (N, I)
        Pixels from 0 to 1.
    y, y_test : ndarray of int64, shape (N,)
        Classes.
    """

    name: str
    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray

    @property
    def held_out(self) -> int:
        """The number of training images that are held out for choices: the last sixth, 10,000 of MNIST's 60,000."""
        return len(self.X) // 6

    def for_choices(self) -> Images:
        """Return the training images only, with the held-out ones in place of the test set."""
        cut = len(self.X) - self.held_out
        return Images(self.name, self.X[:cut], self.y[:cut], self.X[cut:], self.y[cut:])


def read(folder: Path | None) -> Images:
    """Read the images of a folder, and check every file; without a folder, return the bundled digits.

    Parameters
    ----------
    folder : Path or None
        Holds the four files under MNIST's names, compressed with gzip or not.

    Raises
    ------
    OSError
        If the folder or a file is missing, or cannot be read.
    ValueError
        If a file is not IDX, is cut short or damaged, holds something else than its name says, does not match
        the others, or holds labels that are not those of the images.

    Examples
    --------
    >>> images = read(None)
    >>> images.name, images.X.shape, images.X_test.shape, images.held_out
    ('the bundled digits', (1437, 64), (360, 64), 239)
    """
    if folder is None:
        X, y = hm.load_digits()
        X, X_test, y, y_test = hm.train_test_split(X, y, 360, stratify=True, rng=0)
        return Images(DIGITS, X.astype(np.float32), y, X_test.astype(np.float32), y_test)
    if not folder.is_dir():
        raise FileNotFoundError(f"--data: expected a folder with MNIST's IDX files, got {str(folder)!r}")
    paths = [_find(folder, name) for name, _ in FILES.values()]
    arrays = [_load(path, what) for path, what in zip(paths, FILES, strict=True)]
    X, y, X_test, y_test = arrays
    for i in (0, 2):
        _check_pair(paths[i], arrays[i], paths[i + 1], arrays[i + 1])
    if X.shape[1:] != X_test.shape[1:]:
        raise ValueError(f"{paths[2]}: expected images of {X.shape[1:]} as in {paths[0].name}, got {X_test.shape[1:]}")
    counts = [np.bincount(labels, minlength=CLASSES).tolist() for labels in (y, y_test)]
    mnist = (X.shape, X_test.shape) == SHAPES and tuple(counts) == COUNTS
    return Images(MNIST if mnist else OTHER, _pixels(X), y.astype(np.int64), _pixels(X_test), y_test.astype(np.int64))


def _find(folder: Path, name: str) -> Path:
    for path in (folder / f"{name}.gz", folder / name):
        if path.exists():
            return path
    raise FileNotFoundError(f"--data: expected {name}.gz or {name} in {str(folder)!r}, found neither")


def _load(path: Path, what: str) -> np.ndarray:
    array, (_, dimensions) = hm.load_idx(path), FILES[what]
    if array.dtype != np.uint8 or array.ndim != dimensions:
        raise ValueError(
            f"{path}: expected {what}, uint8 of {dimensions} dimensions, got {array.dtype} of shape {array.shape}; "
            "is it another of the four files under this name?"
        )
    return array


def _check_pair(path: Path, X: np.ndarray, labels_path: Path, y: np.ndarray) -> None:
    """Raise if images and labels do not belong together."""
    if len(X) != len(y) or len(X) < CLASSES or X[0].size == 0:
        raise ValueError(f"{labels_path}: expected a label for each of the {len(X)} images of {path}, got {len(y)}")
    if y.max() >= CLASSES:
        row = int(np.argmax(y >= CLASSES))
        raise ValueError(f"{labels_path}: expected labels from 0 to {CLASSES - 1}, got {y[row]} in row {row}")
    right, guess = _nearest_mean(_pixels(X), y), np.bincount(y).max() / len(y)
    if right < 2 * guess:
        raise ValueError(
            f"{labels_path}: expected the labels of {path.name}, but only {100 * right:.0f} % of the images are "
            f"nearest to the mean image of their label (always the commonest label: {100 * guess:.0f} %): "
            "the labels are in another order, or of other images"
        )


def _nearest_mean(X: np.ndarray, y: np.ndarray) -> float:
    """Return the share of the images that are nearest to the mean of their own class."""
    present = np.unique(y)
    means = np.stack([X[y == c].mean(axis=0) for c in present])
    nearest = (X @ means.T - (means**2).sum(axis=1) / 2).argmax(axis=1)
    return float((present[nearest] == y).mean())


def _pixels(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255)
