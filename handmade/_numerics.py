"""Exact tails: the parts of a formula that would lose digits, overflow or vanish as the textbook writes them.

The rule throughout: compute from the small side. ``e^-|a|`` lies in [0, 1] and loses no digit; ``1 + e^a`` and
``1 - p`` do. ``|a|`` is ``max(a, -a)`` and ``-|a|`` is ``min(a, -a)``: NumPy orders complex numbers by their real
part, so that the same lines are analytic and serve the complex step of a gradient check.

In float32 the exponentials are computed in double precision: NumPy's own are up to 2.5 ULP off.
"""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np

from ._types import Array

SINGLE = np.dtype(np.float32)
MOST_ROWS = 2**12  # of a batch that needs no new array of row numbers or ones
_ROWS = np.arange(MOST_ROWS)
_ONES = {dtype: np.ones(MOST_ROWS, dtype) for dtype in np.typecodes["AllFloat"]}
ZERO = np.zeros((), SINGLE)  # beside a small array twice as fast as the number 0, which NumPy has to convert


def matmul(A: Array, B: Array) -> Array:
    """Return A B, computed as (Bt At)t, which leaves the result in Fortran order.

    BLAS is up to a fifth faster this way for batches of about 100, and a layer's numbers for one unit lie side by
    side: elementwise functions and sums over the batch run along them.

    Raises
    ------
    ValueError
        If their shapes do not fit.
    """
    try:
        return B.T.dot(A.T).T
    except ValueError:
        raise ValueError(f"X: expected shape (N, {len(B)}), got {np.shape(A)}; give one row per sample") from None


def matmul_into(A: Array, B: Array, out: Array) -> None:
    """Write A B into ``out``.

    Raises
    ------
    TypeError
        If a dtype is not that of ``out``: a network converts its input, a layer used alone does not.
    """
    try:
        A.dot(B, out=out)
    except ValueError:
        if A.dtype == B.dtype == out.dtype:
            raise
        raise TypeError(
            f"dH and X: expected {out.dtype} as the layer's parameters, got {A.dtype} and {B.dtype}; convert X and "
            f"the gradient with astype({out.dtype!s}), also in layers of your own, where constants may be {A.dtype}"
        ) from None


def column_sums(A: Array, out: Array | None = None) -> Array:
    """Return A.sum(axis=0), as a product with ones: BLAS takes a third of the time."""
    N = len(A)
    ones = _ONES[A.dtype.char][:N] if N <= MOST_ROWS else np.ones(N, A.dtype)
    return ones.dot(A, out)


def row_numbers(count: int) -> Array:
    """Return 0, 1, ... count - 1, not to be changed."""
    return _ROWS[:count] if count <= MOST_ROWS else np.arange(count)


def exp(D: Array) -> Array:
    """Return e^d in the dtype of ``D``."""
    if D.dtype != SINGLE:
        return np.exp(D)
    return np.exp(D, out=np.empty_like(D), dtype=np.float64)


def expm1(D: Array) -> Array:
    """Return e^d - 1 in the dtype of ``D``."""
    if D.dtype != SINGLE:
        return np.expm1(D)
    return np.expm1(D, out=np.empty_like(D), dtype=np.float64)


def minus_abs(A: Array) -> Array:
    """Return -|a|."""
    return np.minimum(A, -A)


def exp_minus_abs(A: Array, factor: float = 1.0) -> Array:
    """Return e^-|factor a|, between 0 and 1, for a factor above 0."""
    D = minus_abs(A)
    if factor != 1:
        with np.errstate(over="ignore"):  # too large for the dtype: infinite, and its exponential is 0 all the same
            D = factor * D
    return exp(D)


def weighted(W: Array, terms: Array) -> Array:
    """Return w times each term; a weight of 0 gives 0, also where the term is infinite."""
    with np.errstate(invalid="ignore"):
        return np.where(W == 0, 0, W * terms)


# ---- silu, mish and gelu: |a| s(v(|a|)) and its slope, below 0 ---------------------------------------------------

# The slopes of gelu, silu and mish have one root each, f'(-root) = 0. A root is the sum of two numbers: near it,
# a + root needs digits of the root that one number does not hold.
_GELU_ROOT = 0.7517915246935645, -1.4956759177009883e-17
_GELU_TANH_ROOT = 0.7524614220710163, -3.635560509207687e-17
_SILU_ROOT = 1.2784645427610737, 1.0946994183093437e-16
_MISH_ROOT = 1.1924312145154952, 4.8484829848031044e-17

# exp(-x^2 / 2) is 0 from 39 on in every dtype. 40 in place of a larger |a| changes no bit of the result and keeps x^2
# and x^3 from overflowing.
_NORMAL_TAIL_ENDS = 40.0


def silu_tail(A: Array) -> Array:
    """Return |a| s(-|a|), which is max(a, 0) - silu(a)."""
    D, E, beyond = split_exp(minus_abs(A))
    return -D * (E / (1 + E)) * beyond


def silu_slope_below(A: Array) -> Array:
    """Return the slope of silu at -|a|."""
    D, E, beyond = split_exp(minus_abs(A))
    d, rest = _from_root(D, _SILU_ROOT)
    e = _SILU_ROOT[0] - 1  # exp(-root)
    from_root = d + (e * np.expm1(d) + (1 + e) * rest)  # d + rest + e expm1(d + rest)
    return _slope_below(E / (1 + E), D, from_root) * beyond


def mish_slope_below(A: Array) -> Array:
    """Return the slope of mish at -|a|, e g / (e^2 + 2 e + 2)^2 with e = e^-|a|.

    g = e^3 + 4 e^2 + 6 e + 4 + 4 a (1 + e) less its value at the root, 0, has the factors d = a - root and e - e_root,
    which have one sign.
    """
    D, E, beyond = split_exp(minus_abs(A))
    root, e = -_MISH_ROOT[0], 0.3034825352815289  # and exp(root)
    d = np.add(*_from_root(D, _MISH_ROOT))
    g = e * np.expm1(d) * (E * E + E * e + e * e + 4 * (E + e) + (6 + 4 * root)) + 4 * d * (1 + E)
    M = 2 + E * (2 + E)
    return E * (g / (M * M)) * beyond


def gelu_tail(A: Array) -> Array:
    """Return |a| Phi(-|a|), which is max(a, 0) - gelu(a)."""
    X = np.minimum(-minus_abs(A), _NORMAL_TAIL_ENDS)
    E, beyond = _normal_density(X)
    mills = _horner(_mills_polynomial(A.dtype == SINGLE), (X - 4) / (X + 4)) / (1 + X)
    return X * (E * mills) * beyond


def gelu_slope_below(A: Array) -> Array:
    """Return the slope of gelu at -|a|, phi(x) (M(x) - x) with x = |a| and Mills' ratio M.

    (1 + x) (M(x) - x) is P(t) - P(t_root) less x (1 + x) - root (1 + root), and both have the factor x - root.
    """
    X = np.minimum(-minus_abs(A), _NORMAL_TAIL_ENDS)
    root = _GELU_ROOT[0]
    quotient = _horner(_mills_quotient(X.dtype == SINGLE), (X - 4) / (X + 4))
    quotient *= -8 / (4 + root) / (X + 4)
    quotient += (1 + root) + X
    d, rest = _from_root(-X, _GELU_ROOT)
    E, beyond = _normal_density(X)
    return (d + rest) * quotient / (1 + X) * E * beyond


def gelu_tanh_tail(A: Array) -> Array:
    """Return max(a, 0) - f(a) for the tanh form f of gelu: |a| s(-v(|a|))."""
    X = np.minimum(-minus_abs(A), _NORMAL_TAIL_ENDS)
    E, beyond = _exp_minus_v(X)
    return X * (E / (1 + E)) * beyond


def gelu_tanh_slope_below(A: Array) -> Array:
    """Return the slope of the tanh form of gelu at -|a|."""
    X = np.minimum(-minus_abs(A), _NORMAL_TAIL_ENDS)
    root = _GELU_TANH_ROOT[0]
    v1, v3 = _V1 + _V1_REST, _V3 + _V3_REST
    square = X * X
    cubic = v3 * (square + root * X + root * root)  # V3 (x^3 - root^3) / (x - root)
    d = np.add(*_from_root(-X, _GELU_TANH_ROOT))
    e = v1 * root + 3 * v3 * root**3 - 1  # exp(-v) at the root
    from_root = d * (v1 + 3 * cubic) + e * np.expm1(d * (v1 + cubic))
    E, beyond = _exp_minus_v(X)
    return _slope_below(E / (1 + E), -X * (v1 + 3 * v3 * square), from_root) * beyond


# sinh and a cosh differ by the series of 2 k / (2 k + 1)! a^(2 k + 1) from k = 1 on: up to |a| = 1.5, 12 terms suffice.
_SHRINK = [2 * k / math.factorial(2 * k + 1) for k in range(12, 0, -1)]


def tanhshrink_near_0(A: Array) -> Array:
    """Return a - tanh(a) = (a cosh(a) - sinh(a)) / cosh(a), for |a| up to 1.5; beyond, the number for 1.5."""
    A = np.minimum(np.maximum(A, -1.5), 1.5)
    square = A * A
    return A * (square * (_horner(_SHRINK, square) / np.cosh(A)))


def split_exp(D: Array) -> tuple[Array, Array, Array | float]:
    """Return d, and exp(d) for d <= 0 as a product of exp(max(d, -64)) and exp(min(d + 64, 0)).

    Where exp(d) itself has left the normal numbers and lost digits, d exp(d) still needs them. d + 64 is exact. The
    returned d is at least -1e4: exp(d) is 0 there, and so is d exp(d).
    """
    E = exp(D)
    if np.minimum.reduce(D, axis=None, initial=0).real >= -64:
        return D, E, 1.0
    return np.maximum(D, -1e4), np.maximum(E, math.exp(-64)), np.exp(np.minimum(D + 64, 0))


def _from_root(D: Array, root: tuple[float, float]) -> tuple[Array, float]:
    """Return d + root in two parts: a sum that is exact where d is close to -root, and the rest of the root."""
    near = float(D.dtype.type(root[0]))
    return D + near, root[0] - near + root[1]


def _slope_below(s: Array, minus_w: Array, from_root: Array) -> Array:
    """Return the slope of f(a) = a s(v(a)) at a = -x, x >= 0: s (1 - w (1 - s)), s = s(-v(x)) and w = x v'(x).

    It is also s (1 - s) (1 + exp(-v) - w), whose sum cancels near its root. ``from_root`` is that sum without
    cancellation: each term less its value at the root, which leaves two of one sign.
    """
    factor = 1 + minus_w
    factor -= minus_w * s
    near = np.abs(factor) < 0.4  # elsewhere the error of s does not grow, and the sum rounds less
    return s * np.where(near, from_root * (1 - s), factor)


# Mills' ratio of the normal distribution, M(x) = Q(x) / phi(x) for x >= 0, as a Chebyshev series:
# (1 + x) M(x) in t = (x - 4) / (x + 4), which maps [0, inf) to [-1, 1). The form is that of Shepherd and
# Laframboise (Mathematics of Computation 36, 1981); the coefficients are the series' own, interpolated at 60 nodes
# with 40 digits. The largest one left out is 1.6e-18; a test computes them anew.
_MILLS = (
    1.1670525350882472, -0.1610195767134654, -0.028002821825452974, 0.03167452189239266,
    -0.012103231162345369, 0.0027056129762167095, -0.00029931636202703166, -1.716686526879361e-05,
    1.0178489264109868e-05, -4.894829570004192e-07, -2.844006500151048e-07, 3.0766283713811506e-08,
    9.180378674469537e-09, -1.2756102213808737e-09, -3.660279376104134e-10, 4.5926359348595205e-11,
    1.7189314687646526e-11, -1.2726833698700697e-12, -8.668081913316191e-13, 1.1061557204135388e-15,
    4.2750210770103334e-14, 3.79093769226404e-15, -1.8474103010589634e-15, -4.0419094130667955e-16,
    5.340854385070602e-17, 2.9414799376559916e-17,
)  # fmt: skip


@functools.cache
def _mills_polynomial(single: bool) -> list[float]:
    """Return the series as a polynomial in t, highest power first; float32 needs half of it."""
    return np.polynomial.chebyshev.cheb2poly(_MILLS[: 14 if single else None])[::-1].tolist()


@functools.cache
def _mills_quotient(single: bool) -> list[float]:
    """Return (P(t) - P(t_root)) / (t - t_root) of that polynomial P, by synthetic division."""
    t = (_GELU_ROOT[0] - 4) / (_GELU_ROOT[0] + 4)
    return list(itertools.accumulate(_mills_polynomial(single), lambda q, c: q * t + c))[:-1]


def _horner(polynomial: list[float], T: Array) -> Array:
    first, *others = polynomial
    value = np.full_like(T, first)
    for coefficient in others:
        value *= T
        value += coefficient
    return value


def _normal_density(X: Array) -> tuple[Array, Array | float]:
    """Return phi(x) in two factors, see `split_exp`."""
    # The rounding of x^2 would be as large a relative error of its exponential: split off what squares exactly.
    rough = np.round(X * 256) / 256
    _, E, beyond = split_exp(rough * rough / -2)
    E *= np.exp((rough - X) * (rough + X) / 2) / math.sqrt(2 * math.pi)
    return E, beyond


# v = 2 u = V1 x + V3 x^3 for the tanh form, whose (1 + tanh u) / 2 is s(v): V1 = sqrt(8 / pi) and V3 = 0.044715 V1,
# each as nine bits and the rest.
_V1, _V1_REST = 409 / 2**8, -0.0018871283942692883
_V3, _V3_REST = 292 / 2**12, 6.575377260024877e-05


def _exp_minus_v(X: Array) -> tuple[Array, Array | float]:
    """Return exp(-v) in two factors, see `split_exp`."""
    # As above: the polynomial of the rough x with the short coefficients is exact, and the missing part is small.
    grain = 2 if X.dtype == SINGLE else 256
    rough = np.round(X * grain) / grain
    missing = (X - rough) * (_V1 + _V3 * (X * X + X * rough + rough * rough)) + (_V1_REST * X + _V3_REST * X * X * X)
    _, E, beyond = split_exp(-(_V1 * rough + _V3 * (rough * rough * rough)))
    E *= np.exp(-missing)
    return E, beyond


# ---- the family of softmax: classes along the last axis ------------------------------------------------------------


def exp_below_max(A: Array, axis: int = -1) -> tuple[Array, Array]:
    """Return d = a - max along ``axis`` and e^d; of float32, both in double precision.

    The rounding of d would be as large a relative error of the exponential: half an eps of d, 250 eps at d = -500.
    A double's rounding is nothing to a float32. In float64 the lost part of d is computed exactly (TwoSum: Knuth, The
    Art of Computer Programming, volume 2, section 4.2.2) and given back to first order. Where d is too large for the
    dtype it is minus infinity, whose exponential is 0.
    """
    if A.shape[axis] == 0:
        raise ValueError(f"A: expected at least one class along axis {axis}, got shape {A.shape}")
    B = A.astype(np.float64) if A.dtype == SINGLE else A
    largest = np.maximum.reduce(B, axis, keepdims=True)
    with np.errstate(over="ignore", invalid="ignore"):
        D = B - largest
    infinite = None if np.isfinite(largest).all() else np.broadcast_to(largest == B, B.shape)
    if infinite is not None:
        D[infinite] = 0  # inf - inf is NaN, but the two are equal
    E = np.exp(D)
    if A.dtype != SINGLE:
        E += E * _lost_in_difference(B, largest, D)
        if infinite is not None:
            E[infinite] = 1
    return D, E


def _lost_in_difference(A: Array, B: Array, D: Array) -> Array:
    """Return (a - b) - d exactly, for b at least a; -1 where d is infinite, as inf - inf is NaN."""
    with np.errstate(invalid="ignore"):
        T = D - A
        lost = D - T
        np.subtract(A, lost, out=lost)
        T += B
        lost -= T
    return np.fmax(lost, -1, out=lost)


def log_sum_parts(Z: Array) -> tuple[Array, Array, Array, Array]:
    """Return the parts of softmax, its logarithm and its complement, the largest term apart from the others.

    Where one logit is far above the rest, log(sum) and 1 - p are tiny: both live in the *other* terms, and are lost
    as soon as those are added to the largest, which is 1.

    Parameters
    ----------
    Z : ndarray, shape (..., K)
        Logits.

    Returns
    -------
    D : ndarray, shape (..., K)
        Z - max, at most 0.
    E : ndarray, shape (..., K)
        exp(Z - max).
    others : ndarray, shape (..., 1)
        The sum of E without the one largest term: sum(E) = 1 + others.
    largest : ndarray, shape (...)
        The places of the largest terms in the flattened arrays.

    Examples
    --------
    >>> D, E, others, largest = hm._numerics.log_sum_parts(np.array([[0.0, -50.0]]))
    >>> others, np.log1p(others), largest
    (array([[1.92874985e-22]]), array([[1.92874985e-22]]), array([0]))
    """
    Z = np.ascontiguousarray(Z)
    D, E = exp_below_max(Z)
    largest = Z.argmax(axis=-1) + np.arange(0, Z.size, Z.shape[-1]).reshape(Z.shape[:-1])
    E.put(largest, 0)
    others = E.sum(axis=-1, keepdims=True)
    E.put(largest, 1)
    return D, E, others, largest


def log_softmax(Z: Array) -> Array:
    """Return log p = d - log(1 + the other terms); of float32 in double precision."""
    D, _, others, _ = log_sum_parts(Z)
    return D - np.log1p(others)


def log_softmax_backward(dH: Array, Z: Array) -> Array:
    """Return dH (1 - p) - p sum_{j != i} dH_j, with an exact 1 - p: for the largest p, the share of the others."""
    _, E, others, largest = log_sum_parts(Z)
    total = 1 + others
    P = E / total
    complement = 1 - P
    complement.put(largest, others / total)
    with np.errstate(invalid="ignore"):  # an infinite dH gives NaN
        return dH * complement - P * (dH.sum(axis=-1, keepdims=True) - dH)
