"""Toy problems: every binary vector with the classic targets, and noisy points in the plane."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ._types import Array
from ._validation import as_floating, as_generator, check_count, check_finite, nonnegative, number

__all__ = ["blobs", "moons", "parity", "spirals", "symmetry", "xor"]

Pair = tuple[Array, Array]
Seed = Any  # a seed or a numpy.random.Generator; naming that type would load numpy.random at import


# ------------------------------------------------------------------------------------------------------------
# Every binary vector
# ------------------------------------------------------------------------------------------------------------


def xor() -> Pair:
    """Return the four points of exclusive or; the class is 1 if the two inputs differ.

    No single perceptron separates them (M. Minsky and S. Papert, Perceptrons, 1969).

    Returns
    -------
    X : ndarray of float64, shape (4, 2)
    y : ndarray of int64, shape (4,)

    Examples
    --------
    >>> X, y = hm.data.xor()
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
    """Return all binary vectors of a length; the class is 1 if the number of ones is odd.

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
    ValueError
        If ``bits`` is out of range.
    TypeError
        If ``bits`` is not an integer.

    Notes
    -----
    Source: D. E. Rumelhart, G. E. Hinton and R. J. Williams, Parallel Distributed Processing, volume 1, chapter 8,
    1986.

    Examples
    --------
    >>> X, y = hm.data.parity(3)
    >>> X[6], y
    (array([1., 1., 0.]), array([0, 1, 1, 0, 1, 0, 0, 1]))
    """
    X = _binary_vectors(bits)
    return X, X.sum(axis=1).astype(np.int64) % 2


def symmetry(bits: int = 6) -> Pair:
    """Return all binary vectors of a length; the class is 1 if a vector reads the same from both ends.

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
    ValueError
        If ``bits`` is out of range.
    TypeError
        If ``bits`` is not an integer.

    Notes
    -----
    Source: D. E. Rumelhart, G. E. Hinton and R. J. Williams, Learning representations by back-propagating errors,
    Nature 323, 533-536, 1986, figure 1. System 13 of the lecture.

    Examples
    --------
    >>> X, y = hm.data.symmetry()
    >>> X.shape, y.sum()
    ((64, 6), np.int64(8))
    >>> X[y == 1][:3]
    array([[0., 0., 0., 0., 0., 0.],
           [0., 0., 1., 1., 0., 0.],
           [0., 1., 0., 0., 1., 0.]])
    """
    X = _binary_vectors(bits)
    return X, np.all(X[:, ::-1] == X, axis=1).astype(np.int64)


def _binary_vectors(bits: int) -> Array:
    """Return all binary vectors of this length, in ascending order."""
    bits = check_count(bits, "bits")
    if bits > 20:
        raise ValueError(f"bits: expected an integer from 1 to 20, got {bits}")
    return (np.arange(2**bits)[:, None] >> np.arange(bits)[::-1] & 1).astype(np.float64)


# ------------------------------------------------------------------------------------------------------------
# Points in the plane
# ------------------------------------------------------------------------------------------------------------
# Sample n belongs to class n % K: the classes take turns. So every stretch of the data is balanced, and where K does
# not divide the number of samples the first classes have one sample more.


_turns = number("a number from -1e6 to 1e6", lambda x: abs(x) <= 1e6)  # of more, rounding leaves no angle


def spirals(n_samples: int, classes: int = 2, *, noise: float = 0.0, turns: float = 1.0, rng: Seed = None) -> Pair:
    """Return points on interleaved spirals around the origin, one spiral per class.

    The i-th of the m points of class k, i from 1 to m, has radius r = i / m and angle 2 pi (turns r + k / classes).

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
    ValueError
        If a count is below 1, ``noise`` is negative, or ``noise`` or ``turns`` is not finite.
    TypeError
        If a count is not an integer, or ``noise`` or ``turns`` not a number.

    Examples
    --------
    >>> X, y = hm.data.spirals(4)
    >>> X.round(12) + 0.0
    array([[-0.5,  0. ],
           [ 0.5,  0. ],
           [ 1. ,  0. ],
           [-1. ,  0. ]])
    >>> y
    array([0, 1, 0, 1])
    """
    y = _alternating_classes(n_samples, classes, "classes")
    turns = _turns(turns, "turns")
    radius = (np.arange(n_samples) // classes + 1) / np.bincount(y)[y]
    angle = 2 * np.pi * (turns * radius + y / classes)
    X = radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    return X + _gaussian(noise, "noise", X.shape, rng), y


def moons(n_samples: int, *, noise: float = 0.0, rng: Seed = None) -> Pair:
    """Return points on two half circles that reach into each other.

    A class has m points, with t from 0 to pi in equal steps, ends included. Class 0 is the upper half circle
    (cos t, sin t), class 1 the lower one (1 - cos t, 1/2 - sin t): the curves of scikit-learn's ``make_moons``.

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
    ValueError
        If ``n_samples`` is below 1, or ``noise`` is negative or not finite.
    TypeError
        If ``n_samples`` is not an integer, or ``noise`` not a number.

    Examples
    --------
    >>> X, y = hm.data.moons(5)
    >>> X.round(12) + 0.0
    array([[ 1. ,  0. ],
           [ 0. ,  0.5],
           [ 0. ,  1. ],
           [ 2. ,  0.5],
           [-1. ,  0. ]])
    >>> y
    array([0, 1, 0, 1, 0])
    """
    y = _alternating_classes(n_samples, 2, "classes")
    # A class of one point has no second end: its point is the start.
    t = np.pi * (np.arange(n_samples) // 2) / np.maximum(np.bincount(y)[y] - 1, 1)
    upper = np.column_stack([np.cos(t), np.sin(t)])
    X = np.where(y[:, None] == 0, upper, [1.0, 0.5] - upper)
    return X + _gaussian(noise, "noise", X.shape, rng), y


def blobs(n_samples: int, centers: int | npt.ArrayLike = 3, *, cluster_std: float = 1.0, rng: Seed = None) -> Pair:
    """Return points scattered around centres by a Gaussian, one class per centre.

    Parameters
    ----------
    n_samples : int
        The number of points in all. Sample n belongs to class n % K.
    centers : int or array_like of shape (K, I), default 3
        The centres themselves, or their number K: then their two coordinates are drawn uniformly from [-10, 10).
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
    ValueError
        If a count is below 1, the centres are not a matrix of finite numbers, or ``cluster_std`` is negative or not
        finite.
    TypeError
        If a count is not an integer, or the centres or ``cluster_std`` are not real numbers.

    Examples
    --------
    >>> X, y = hm.data.blobs(3, [[-5.0, 0.0], [5.0, 1.0]], cluster_std=0.0)
    >>> X
    array([[-5.,  0.],
           [ 5.,  1.],
           [-5.,  0.]])
    >>> y
    array([0, 1, 0])
    """
    generator = as_generator(rng)
    if isinstance(centers, (int, np.integer)):
        centers = generator.uniform(-10.0, 10.0, size=(check_count(centers, "centers"), 2))
    centers = as_floating(centers, "centers")
    if centers.dtype.kind == "c":
        raise TypeError(f"centers: expected real numbers, got dtype {centers.dtype}")
    centers = centers.astype(np.float64)
    if centers.ndim != 2 or len(centers) == 0:
        raise ValueError(f"centers: expected a count or an array of shape (K, I), K >= 1, got shape {centers.shape}")
    check_finite(centers, "centers")
    y = _alternating_classes(n_samples, len(centers), "centers")
    X = centers[y]
    return X + _gaussian(cluster_std, "cluster_std", X.shape, generator), y


def _alternating_classes(n_samples: int, n_classes: int, name: str) -> Array:
    """Return class n % K for sample n."""
    return np.arange(check_count(n_samples, "n_samples"), dtype=np.int64) % check_count(n_classes, name)


def _gaussian(std: float, name: str, shape: tuple[int, ...], rng: Seed) -> Array:
    """Draw noise with this standard deviation."""
    return as_generator(rng).normal(0.0, abs(nonnegative(std, name)), shape)  # NumPy refuses -0.0
