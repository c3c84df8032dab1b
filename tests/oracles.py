"""The oracles of the tests: tolerances from first principles, and derivatives by differences."""

from __future__ import annotations

import mpmath
import numpy as np


def assert_close(actual, expected, *, operations: float = 4, scale: float | None = None) -> None:
    """Assert that two results agree up to so many roundings of their dtype.

    Parameters
    ----------
    actual, expected : array_like
        Of one shape; the dtype of ``actual`` says what a rounding is.
    operations : float
        How many roundings, of half an ulp each and at worst all in one direction, separate the two.
    scale : float, optional
        The size of the numbers that were rounded on the way; the largest expected value unless given.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    scale = np.abs(expected).max(initial=0.0) if scale is None else scale
    allowed = operations * np.finfo(actual.dtype).eps * scale
    worst = np.abs(actual.astype(float) - expected.astype(float)).max(initial=0.0)
    assert worst <= allowed, f"worst difference {worst:.3g}, allowed {allowed:.3g}"


def slope_along(f, X: np.ndarray, direction: np.ndarray) -> float:
    """Return the derivative of a scalar function of an array along a direction, good to about 1e-12.

    Central differences at two steps, combined so that the error in h^2 cancels (Richardson).
    """
    h = np.finfo(float).eps ** 0.2

    def central(step: float) -> float:
        return (f(X + step * direction) - f(X - step * direction)) / (2 * step)

    return (4 * central(h / 2) - central(h)) / 3


def assert_pulls_back(forward, backward, X: np.ndarray, rng: np.random.Generator) -> None:
    """Assert that <dX, V> is the slope of <forward(X), dH> along V, for random dH and V (random cotangents).

    ``forward`` maps X to (H, cache), ``backward`` maps (dH, cache) to dX. Smooth functions of numbers around one only:
    the difference quotient is then good to 1e-9 of its own size and of the terms in it.
    """
    H, cache = forward(X)
    dH = rng.normal(size=np.shape(H))
    dX = np.array(backward(dH, cache))
    assert dX.shape == X.shape
    V = rng.normal(size=X.shape)
    measured = slope_along(lambda moved: float(np.sum(forward(moved)[0] * dH)), X, V)
    size = np.abs(dX * V).sum() + np.abs(H * dH).sum()
    assert abs(np.sum(dX * V) - measured) <= 1e-9 * size


def complex_gradient(f, X: np.ndarray) -> np.ndarray:
    """Return the gradient of an analytic scalar function by complex steps, Im f(X + i h e_j) / h for every entry j.

    There is no difference to cancel, so h can be so small that h^2 vanishes: exact but for the roundings of f.
    """
    h = 1e-20
    gradient = np.zeros(X.shape)
    for j in np.ndindex(X.shape):
        moved = X.astype(complex)
        moved[j] += h * 1j
        gradient[j] = np.imag(f(moved)) / h
    return gradient


def exact_errors(actual: np.ndarray, exact: list) -> np.ndarray:
    """Return |actual - exact| for mpmath numbers, entry by entry, without rounding the exact ones first."""
    errors = [abs(mpmath.mpf(float(a)) - e) for a, e in zip(actual.ravel(), exact, strict=True)]
    return np.array([float(error) for error in errors])


def read_only(array) -> np.ndarray:
    """Return a copy that raises an error when something writes into it."""
    array = np.array(array)
    array.flags.writeable = False
    return array
