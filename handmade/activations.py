"""2. Activations: ``f(A)`` and, directly under it, ``f_backward(dH, ...)``.

The contract of every pair, without exception:

* ``H = f(A)`` maps pre-activations to activations of the same shape.
* ``dA = f_backward(dH, A)`` or ``dA = f_backward(dH, H)`` takes the upstream gradient first and asks by name for the
  one array that it needs: the pre-activation ``A`` or the activation ``H``. Options follow, as keywords.
* ``out`` receives the result, where it is given. The arrays of a backward are ndarrays of one shape and dtype.

Every formula holds in both tails. The sums of the textbook that cancel (``1 - s`` near ``s = 1``, ``log(1 + e^a)``)
are written from the *small* side, ``e^-|a|``, which loses no digit and cannot overflow. ``|a|`` is ``max(a, -a)``
and ``-|a|`` is ``min(a, -a)``: NumPy orders complex numbers by their real part, so the same lines are analytic and
serve the complex-step check.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable

import numpy as np

from ._validation import as_floating, positive

__all__ = [
    "identity",
    "identity_backward",
    "sigmoid",
    "sigmoid_backward",
    "tanh",
    "tanh_backward",
    "relu",
    "relu_backward",
    "leaky_relu",
    "leaky_relu_backward",
    "elu",
    "elu_backward",
    "gelu",
    "gelu_backward",
    "silu",
    "silu_backward",
    "softplus",
    "softplus_backward",
    "softmax",
    "softmax_backward",
    "log_softmax",
    "log_softmax_backward",
]

Array = np.ndarray
SINGLE = np.dtype(np.float32)
# These save NumPy the conversion of a number, half the time of a small array; they promote no dtype.
ZERO, ONE = np.zeros((), SINGLE), np.ones((), SINGLE)


def identity(A, out=None) -> Array:
    """f(a) = a, the linear unit.

    Examples
    --------
    >>> identity(np.array([-1.0, 2.0]))
    array([-1.,  2.])
    """
    return np.positive(as_floating(A), out=out)


def identity_backward(dH, H, out=None) -> Array:
    """f'(a) = 1: the gradient passes unchanged."""
    return np.positive(dH, out=out)


def _minus_magnitude(A: Array) -> Array:
    """-|a|, in an array of its own to go on with, also of a single number."""
    D = np.negative(A, out=np.empty_like(A))
    return np.minimum(A, D, out=D)


@np.errstate(over="ignore")
def _times(factor: float, A: Array) -> Array:
    """factor a; infinite, which is as good as enormous, where that is too large for the dtype."""
    return np.multiply(factor, A, out=np.empty_like(A))


def _exp(D: Array, out: Array) -> Array:
    """e^d into ``out``. Of float32 it is computed in double precision: NumPy's own is off by up to 2.5 ULP there."""
    return np.exp(D, out=out, dtype=np.float64 if D.dtype == SINGLE else None, casting="same_kind")


def _exp_of_minus_magnitude(A: Array) -> Array:
    """exp(-|a|), between 0 and 1."""
    E = _minus_magnitude(A)
    return _exp(E, out=E)


def _sigmoid_slope(E: Array) -> Array:
    """s (1 - s) for s = e / (1 + e), in place of e = exp(-|a|): s is small there and 1 - s exact."""
    E /= ONE + E
    E *= ONE - E
    return E


def _exp_in_two(D: Array) -> tuple[Array, Array, Array | float]:
    """d, and exp(d), d <= 0, as a product: exp(max(d, -64)), and exp(min(d + 64, 0)), 1 unless a d is below -64.

    Where exp(d) itself has left the normal numbers and lost digits, d exp(d) still needs them. d + 64 is exact. The d
    that is returned is at least -1e4, whose exponential is 0 as well, and so is its product with d.
    """
    E = _exp(D, out=np.empty_like(D))
    if np.minimum.reduce(D, axis=None, initial=0).real >= -64:
        return D, E, 1.0
    return np.maximum(D, -1e4), np.maximum(E, math.exp(-64), out=E), np.exp(np.minimum(D + 64, 0))


def sigmoid(A, out=None) -> Array:
    """s(a) = 1 / (1 + e^-a) (System 10), exact in both tails.

    Parameters
    ----------
    A : array_like
        Pre-activations, any shape.
    out : ndarray, optional
        Receives the result.

    Returns
    -------
    ndarray
        The shape of ``A``, values in [0, 1].

    Examples
    --------
    >>> sigmoid(np.array([0.0, -710.0, 1e4]))
    array([5.00000000e-001, 4.47628623e-309, 1.00000000e+000])
    """
    A = as_floating(A)
    E = _exp_of_minus_magnitude(A)
    numerator = np.maximum(E, A >= ZERO)  # 1 / (1 + e), and e / (1 + e) for a below 0
    E += ONE
    return np.divide(numerator, E, out=out)


def sigmoid_backward(dH, A, out=None) -> Array:
    """s' = s (1 - s) (System 10), taken at -|a|: s' is even, and there s is small and 1 - s exact.

    The slide's form at ``H`` itself loses every digit of 1 - s where s is near one.

    Parameters
    ----------
    dH : ndarray
        Upstream gradient, the shape of ``A``.
    A : array_like
        Pre-activations.
    out : ndarray, optional
        Receives the result.

    Returns
    -------
    ndarray
        dA = dH s(a) (1 - s(a)).

    Examples
    --------
    >>> sigmoid_backward(np.ones(2), np.array([0.0, 50.0]))
    array([2.50000000e-01, 1.92874985e-22])
    """
    return np.multiply(dH, _sigmoid_slope(_exp_of_minus_magnitude(as_floating(A))), out=out)


def tanh(A, out=None) -> Array:
    """f(a) = tanh(a).

    Examples
    --------
    >>> tanh(np.array([0.0, 0.5]))
    array([0.        , 0.46211716])
    """
    return np.tanh(as_floating(A), out=out)


def tanh_backward(dH, A, out=None) -> Array:
    """f'(a) = 1 - tanh(a)^2 = 4 s'(2a), which does not cancel where tanh is near one.

    Examples
    --------
    >>> tanh_backward(np.ones(2), np.array([0.0, 30.0]))
    array([1.00000000e+00, 3.50260431e-26])
    """
    slope = _sigmoid_slope(_exp_of_minus_magnitude(_times(2.0, as_floating(A))))
    slope *= 4
    return np.multiply(dH, slope, out=out)


def relu(A, out=None) -> Array:
    """f(a) = max(a, 0).

    Examples
    --------
    >>> relu(np.array([-1.0, 0.0, 2.0]))
    array([0., 0., 2.])
    """
    return np.maximum(as_floating(A), ZERO, out=out)


def relu_backward(dH, H, out=None) -> Array:
    """f'(a) = 1 where a > 0, else 0: at the kink a = 0 the derivative is taken as 0, as PyTorch does.

    That is the sign of the activation ``H``, which is never negative. ``out`` may not be ``dH``.

    Examples
    --------
    >>> relu_backward(np.array([5.0, 5.0, 5.0]), np.array([0.0, 0.0, 2.0]))
    array([0., 0., 5.])
    """
    return np.multiply(dH, np.sign(H, out=out), out=out)


def leaky_relu(A, negative_slope: float = 0.01, out=None) -> Array:
    """f(a) = a where a > 0, else negative_slope a.

    Examples
    --------
    >>> leaky_relu(np.array([-1.0, 2.0]), negative_slope=0.1)
    array([-0.1,  2. ])
    """
    A = as_floating(A)
    return np.positive(np.where(A > 0, A, float(negative_slope) * A), out=out)


def leaky_relu_backward(dH, A, negative_slope: float = 0.01, out=None) -> Array:
    """f'(a) = 1 where a > 0, else negative_slope (also at the kink, as PyTorch does).

    Examples
    --------
    >>> leaky_relu_backward(np.array([5.0, 5.0]), np.array([-1.0, 2.0]), negative_slope=0.1)
    array([0.5, 5. ])
    """
    return np.positive(np.where(as_floating(A) > 0, dH, float(negative_slope) * dH), out=out)


def elu(A, alpha: float = 1.0, out=None) -> Array:
    """f(a) = a where a > 0, else alpha (e^a - 1) (Clevert, Unterthiner and Hochreiter 2016).

    Examples
    --------
    >>> elu(np.array([-1.0, 2.0]))
    array([-0.63212056,  2.        ])
    """
    A = as_floating(A)
    return np.positive(np.where(A > 0, A, float(alpha) * np.expm1(np.minimum(A, 0))), out=out)


def elu_backward(dH, A, alpha: float = 1.0, out=None) -> Array:
    """f'(a) = 1 where a > 0, else alpha e^a. (From ``H`` it would be h + alpha, which cancels for a far below 0.)

    Examples
    --------
    >>> elu_backward(np.ones(2), np.array([-100.0, 2.0]))
    array([3.72007598e-44, 1.00000000e+00])
    """
    A = as_floating(A)
    return np.multiply(dH, np.where(A > 0, 1, float(alpha) * np.exp(np.minimum(A, 0))).astype(A.dtype), out=out)


# The slopes of gelu and silu have one root each, f'(-root) = 0. It is the sum of two numbers: near it, a + root needs
# digits of the root that one number does not hold.
_GELU_ROOT = 0.7517915246935645, -1.4956759177009883e-17
_GELU_TANH_ROOT = 0.7524614220710163, -3.635560509207687e-17
_SILU_ROOT = 1.2784645427610737, 1.0946994183093437e-16


def _from_root(D: Array, root: tuple[float, float]) -> tuple[Array, float]:
    """d + root in two parts: a sum that is exact where d is close to -root, and what the dtype left of the root."""
    near = float(D.dtype.type(root[0]))
    return D + near, root[0] - near + root[1]


def _slope_below(s: Array, minus_w: Array, from_root: Array) -> Array:
    """The slope of f(a) = a s(v(a)) at a = -x, x >= 0: s (1 - w (1 - s)) with s = s(-v(x)) and w = x v'(x).

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

# exp(-x^2 / 2) is zero from 39 on in every dtype; 40 in place of a larger |a| changes no bit of the result and
# keeps x^2 and x^3 from overflowing.
_NORMAL_TAIL_ENDS = 40.0


@functools.cache
def _mills_polynomial(single: bool) -> list[float]:
    """The series as a polynomial in t, highest power first; float32 needs half of it."""
    return np.polynomial.chebyshev.cheb2poly(_MILLS[: 14 if single else None])[::-1].tolist()


@functools.cache
def _mills_quotient(single: bool) -> list[float]:
    """(P(t) - P(t_root)) / (t - t_root) of that polynomial P, by synthetic division."""
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
    """phi(x) in two factors, see `_exp_in_two`."""
    # The rounding of x^2 would be as large a relative error of its exponential: split off what squares exactly.
    rough = np.round(X * 256) / 256
    _, E, beyond = _exp_in_two(rough * rough / -2)
    E *= np.exp((rough - X) * (rough + X) / 2) / math.sqrt(2 * math.pi)
    return E, beyond


# v = 2 u = V1 x + V3 x^3 for the tanh form, whose (1 + tanh u) / 2 is s(v): V1 = sqrt(8 / pi) and V3 = 0.044715 V1,
# each as nine bits and the rest.
_V1, _V1_REST = 409 / 2**8, -0.0018871283942692883
_V3, _V3_REST = 292 / 2**12, 6.575377260024877e-05


def _exp_of_minus_v(X: Array) -> tuple[Array, Array | float]:
    """exp(-v) in two factors, see `_exp_in_two`."""
    # As above: the polynomial of the rough x with the short coefficients is exact, what is missing is small.
    grain = 2 if X.dtype == np.float32 else 256
    rough = np.round(X * grain) / grain
    missing = (X - rough) * (_V1 + _V3 * (X * X + X * rough + rough * rough)) + (_V1_REST * X + _V3_REST * X * X * X)
    _, E, beyond = _exp_in_two(-(_V1 * rough + _V3 * (rough * rough * rough)))
    E *= np.exp(-missing)
    return E, beyond


def _check_approximate(approximate: str) -> None:
    if approximate not in ("none", "tanh"):
        raise ValueError(f"approximate: expected 'none' or 'tanh', got {approximate!r}")


def gelu(A, approximate: str = "none", out=None) -> Array:
    """f(a) = a Phi(a) with the normal distribution Phi (Hendrycks and Gimpel 2016), or its tanh approximation.

    Parameters
    ----------
    A : array_like
        Pre-activations, any shape.
    approximate : {"none", "tanh"}
        "tanh": a (1 + tanh(sqrt(2/pi) (a + 0.044715 a^3))) / 2.
    out : ndarray, optional
        Receives the result.

    Returns
    -------
    ndarray
        The shape of ``A``.

    Raises
    ------
    ValueError
        If ``approximate`` is neither of the two.

    Examples
    --------
    >>> gelu(np.array([1.0, -10.0]))
    array([ 8.41344746e-01, -7.61985302e-23])
    >>> gelu(np.array([1.0, -10.0]), approximate="tanh")
    array([ 8.41191991e-01, -1.20409235e-37])
    """
    _check_approximate(approximate)
    A = as_floating(A)
    X = np.minimum(np.maximum(A, -A), _NORMAL_TAIL_ENDS)
    if approximate == "none":
        E, beyond = _normal_density(X)
        E *= _horner(_mills_polynomial(A.dtype == np.float32), (X - 4) / (X + 4)) / (1 + X)
    else:
        E, beyond = _exp_of_minus_v(X)
        E /= 1 + E
    return np.subtract(np.maximum(A, 0), X * E * beyond, out=out)


def gelu_backward(dH, A, approximate: str = "none", out=None) -> Array:
    """f'(a) = Phi(a) + a phi(a); of the tanh form, s(2u) (1 + a s(-2u) d(2u)/da).

    At -|a|, which is enough as f'(a) = 1 - f'(-a), and with the root of f' as a factor: the sum cancels there.

    Examples
    --------
    >>> gelu_backward(np.ones(2), np.array([0.0, 1.0]))
    array([0.5       , 1.08331547])
    """
    _check_approximate(approximate)
    A = as_floating(A)
    X = np.minimum(np.maximum(A, -A), _NORMAL_TAIL_ENDS)
    slope = _gelu_slope_below(X) if approximate == "none" else _gelu_tanh_slope_below(X)
    return np.multiply(dH, np.where(A >= 0, 1 - slope, slope), out=out)


def _gelu_slope_below(X: Array) -> Array:
    """phi(x) (M(x) - x), the slope at -x.

    (1 + x) (M(x) - x) is P(t) - P(t_root) less x (1 + x) - root (1 + root), and both have the factor x - root.
    """
    root = _GELU_ROOT[0]
    quotient = _horner(_mills_quotient(X.dtype == np.float32), (X - 4) / (X + 4))
    quotient *= -8 / (4 + root) / (X + 4)
    quotient += (1 + root) + X
    d, rest = _from_root(-X, _GELU_ROOT)
    E, beyond = _normal_density(X)
    return (d + rest) * quotient / (1 + X) * E * beyond


def _gelu_tanh_slope_below(X: Array) -> Array:
    """The slope of the tanh form at -x."""
    root = _GELU_TANH_ROOT[0]
    v1, v3 = _V1 + _V1_REST, _V3 + _V3_REST
    square = X * X
    cubic = v3 * (square + root * X + root * root)  # V3 (x^3 - root^3) / (x - root)
    d = np.add(*_from_root(-X, _GELU_TANH_ROOT))
    e = v1 * root + 3 * v3 * root**3 - 1  # exp(-v) at the root
    from_root = d * (v1 + 3 * cubic) + e * np.expm1(d * (v1 + cubic))
    E, beyond = _exp_of_minus_v(X)
    return _slope_below(E / (1 + E), -X * (v1 + 3 * v3 * square), from_root) * beyond


def silu(A, out=None) -> Array:
    """f(a) = a s(a), also called swish (Hendrycks and Gimpel 2016; Ramachandran, Zoph and Le 2017).

    Examples
    --------
    >>> silu(np.array([0.0, 1.0]))
    array([0.        , 0.73105858])
    """
    A = as_floating(A)
    D, E, beyond = _exp_in_two(_minus_magnitude(A))
    return np.add(np.maximum(A, 0), D * (E / (1 + E)) * beyond, out=out)


def silu_backward(dH, A, out=None) -> Array:
    """f'(a) = s(a) (1 + a s(-a)), at -|a|, which is enough: f'(a) = 1 - f'(-a).

    Examples
    --------
    >>> silu_backward(np.ones(2), np.array([0.0, 1.0]))
    array([0.5       , 0.92767051])
    """
    A = as_floating(A)
    D, E, beyond = _exp_in_two(_minus_magnitude(A))
    s = E / (1 + E)
    d, rest = _from_root(D, _SILU_ROOT)
    e = _SILU_ROOT[0] - 1  # exp(-root)
    slope = _slope_below(s, D, d + (e * np.expm1(d) + (1 + e) * rest))  # d + rest + e expm1(d + rest)
    slope *= beyond
    return np.multiply(dH, np.where(A >= 0, 1 - slope, slope), out=out)


def softplus(A, beta: float = 1.0, out=None) -> Array:
    """f(a) = log(1 + e^(beta a)) / beta = max(a, 0) + log(1 + e^-|beta a|) / beta.

    PyTorch's ``threshold``, beyond which it returns a itself, has no counterpart here: the second form is exact and
    cannot overflow, so there is nothing to cut off.

    Examples
    --------
    >>> softplus(np.array([0.0, -50.0, 1000.0]))
    array([6.93147181e-01, 1.92874985e-22, 1.00000000e+03])
    """
    A = as_floating(A)
    E = _exp_of_minus_magnitude(_times(positive(beta, "beta"), A))
    np.log1p(E, out=E)
    E /= float(beta)
    return np.add(np.maximum(A, 0), E, out=out)


def softplus_backward(dH, A, beta: float = 1.0, out=None) -> Array:
    """f'(a) = s(beta a).

    Examples
    --------
    >>> softplus_backward(np.ones(2), np.array([0.0, 1.0]))
    array([0.5       , 0.73105858])
    """
    return np.multiply(dH, sigmoid(_times(positive(beta, "beta"), as_floating(A))), out=out)


def softmax(A, dim: int = -1, out=None) -> Array:
    """p_i = e^(a_i) / sum_j e^(a_j) along ``dim`` (System 12), shifted by the maximum so that nothing overflows.

    Parameters
    ----------
    A : array_like
        Logits.
    dim : int
        The axis of the classes.
    out : ndarray, optional
        Receives the result.

    Returns
    -------
    ndarray
        The shape of ``A``; sums to one along ``dim``.

    Examples
    --------
    >>> softmax(np.array([[0.0, 0.0], [1e4, 0.0]]))
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    A = as_floating(A)
    _, E = exp_below_the_largest(A, dim)
    return np.divide(E, E.sum(axis=dim, keepdims=True), out=np.empty_like(A) if out is None else out)


def exp_below_the_largest(A: Array, dim: int) -> tuple[Array, Array]:
    """d = a - max along ``dim``, and its exponential, which is between 0 and 1: of float32 both in double precision.

    The rounding of d would be as large a relative error of the exponential: half an eps of d, 250 eps at d = -500.
    That of a double is nothing to a float32. Of float64, what it took is computed exactly (TwoSum: Knuth, The Art of
    Computer Programming, volume 2, section 4.2.2), and given back to first order. Where d is too large for the dtype
    it is minus infinity, whose power is 0; of infinite logits it is not a number. Neither is worth a warning.
    """
    if A.dtype == SINGLE:
        D = A.astype(np.float64)
        D = _difference(D, np.maximum.reduce(D, dim, keepdims=True))
        return D, np.exp(D)
    largest = np.maximum.reduce(A, dim, keepdims=True)
    D = _difference(A, largest)
    E, lost = np.exp(D), _lost_by_it(A, largest, D)
    lost *= E
    E += lost
    return D, E


@np.errstate(over="ignore", invalid="ignore")
def _difference(A: Array, B: Array) -> Array:
    return A - B


def _lost_by_it(A: Array, B: Array, D: Array) -> Array:
    """(a - b) - d, for b at least a; where d is infinite, which makes it no number, -1."""
    with np.errstate(invalid="ignore"):
        T = D - A
        lost = D - T
        np.subtract(A, lost, out=lost)
        T += B
        lost -= T
    return np.fmax(lost, -1, out=lost)


def softmax_backward(dH, H, dim: int = -1, out=None) -> Array:
    """dA = p (dH - sum_j dH_j p_j): the Jacobian is diag(p) - p p^T, not its diagonal alone.

    A constant in dH changes nothing, as the p sum to one. So dH counts from its value at the largest p, whose
    1 - p is then the sum of the others, and not rounding noise where it is nearly one.

    Examples
    --------
    >>> softmax_backward(np.array([1.0, 0.0]), np.array([0.25, 0.75]))
    array([ 0.1875, -0.1875])
    """
    dA = np.subtract(dH, np.take_along_axis(dH, H.argmax(axis=dim, keepdims=True), axis=dim), out=out)
    dA -= (dA * H).sum(axis=dim, keepdims=True)
    dA *= H
    return dA


def log_sum_parts(Z: Array) -> tuple[Array, Array, Array, Array]:
    """What softmax, its logarithm and its complement are made of, the largest term kept apart from the others.

    Where one logit is far above the rest, log(sum) is tiny and 1 - p is tiny: both live in the *other* terms, and are
    lost as soon as those are added to the largest, which is 1.

    Parameters
    ----------
    Z : ndarray, shape (N, K)
        Logits, classes last.

    Returns
    -------
    D : ndarray, shape (N, K)
        Z - max, at most 0.
    E : ndarray, shape (N, K)
        exp(Z - max).
    others : ndarray, shape (N, 1)
        The sum of E without the one largest term: sum(E) = 1 + others.
    largest : ndarray, shape (N,)
        Where the largest terms stand in the flattened arrays.

    Examples
    --------
    >>> D, E, others, largest = log_sum_parts(np.array([[0.0, -50.0]]))
    >>> others, np.log1p(others), largest
    (array([[1.92874985e-22]]), array([[1.92874985e-22]]), array([0]))
    """
    N, K = Z.shape
    largest = Z.argmax(axis=1)
    largest += np.arange(0, N * K, K)
    D, E = exp_below_the_largest(np.ascontiguousarray(Z), 1)
    E.put(largest, 0)
    others = E.sum(axis=1, keepdims=True)
    E.put(largest, 1)
    return D, E, others, largest


def log_softmax(A, dim: int = -1, out=None) -> Array:
    """log p_i = a_i - max - log(1 + the other terms), exact also where p_i is nearly one.

    Parameters
    ----------
    A : array_like
        Logits.
    dim : int
        The axis of the classes.
    out : ndarray, optional
        Receives the result.

    Returns
    -------
    ndarray
        The shape of ``A``, values at most 0.

    Examples
    --------
    >>> log_softmax(np.array([0.0, -50.0]))
    array([-1.92874985e-22, -5.00000000e+01])
    """
    A = as_floating(A)
    Z = np.moveaxis(A, dim, -1)
    D, _, others, _ = log_sum_parts(Z.reshape(-1, Z.shape[-1]))
    D -= np.log1p(others)
    with np.errstate(over="ignore"):  # too large for float32: infinite
        return np.positive(np.moveaxis(D.reshape(Z.shape), -1, dim), out=np.empty_like(A) if out is None else out)


def log_softmax_backward(dH, A, dim: int = -1, out=None) -> Array:
    """dA = dH - p sum_j dH_j, summed as dH (1 - p) - p sum_{j != i} dH_j with an exact 1 - p.

    From ``H`` it would be p = e^h, which turns the rounding of h into as large a relative error.

    Examples
    --------
    >>> log_softmax_backward(np.array([1.0, 0.0]), np.log([0.25, 0.75]))
    array([ 0.75, -0.75])
    """
    A = as_floating(A)
    Z, U = np.moveaxis(A, dim, -1), np.moveaxis(dH, dim, -1)
    P, complement = softmax_and_complement(*log_sum_parts(Z.reshape(-1, Z.shape[-1]))[1:])
    with np.errstate(invalid="ignore"):  # of infinite logits there is no number
        dZ = pull_back_log_softmax(U.reshape(P.shape), P, complement)
    return np.positive(np.moveaxis(dZ.reshape(Z.shape), -1, dim), out=np.empty_like(A) if out is None else out)


def softmax_and_complement(E: Array, others: Array, largest: Array) -> tuple[Array, Array]:
    """p and 1 - p from `log_sum_parts`; for the largest p, 1 - p is what the others make."""
    total = 1 + others
    P = E / total
    complement = 1 - P
    complement.put(largest, others / total)
    return P, complement


def pull_back_log_softmax(dH: Array, P: Array, complement: Array) -> Array:
    """dH (1 - p) - p sum_{j != i} dH_j."""
    return dH * complement - P * (dH.sum(axis=1, keepdims=True) - dH)


Pair = tuple[Callable[..., Array], Callable[..., Array]]

ACTIVATIONS: dict[str, Pair] = {
    "identity": (identity, identity_backward),
    "sigmoid": (sigmoid, sigmoid_backward),
    "tanh": (tanh, tanh_backward),
    "relu": (relu, relu_backward),
    "leaky_relu": (leaky_relu, leaky_relu_backward),
    "elu": (elu, elu_backward),
    "gelu": (gelu, gelu_backward),
    "silu": (silu, silu_backward),
    "softplus": (softplus, softplus_backward),
    "softmax": (softmax, softmax_backward),
    "log_softmax": (log_softmax, log_softmax_backward),
}
