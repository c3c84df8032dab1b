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
import math
from collections.abc import Callable

import numpy as np

from ._resumable import positive
from ._validation import floating

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


def identity(A, out=None) -> Array:
    """f(a) = a, the linear unit.

    Examples
    --------
    >>> identity(np.array([-1.0, 2.0]))
    array([-1.,  2.])
    """
    return np.positive(floating(A), out=out)


def identity_backward(dH, H, out=None) -> Array:
    """f'(a) = 1: the gradient passes unchanged."""
    return np.positive(dH, out=out)


def _exp_of_minus_magnitude(A: Array) -> Array:
    """exp(-|a|), between 0 and 1; an array of its own to go on with, also of a single number."""
    E = np.minimum(A, -A, out=np.empty_like(A))
    return np.exp(E, out=E)


def _sigmoid_of_minus_magnitude(A: Array) -> Array:
    """s(-|a|) = e / (1 + e) with e = exp(-|a|): at most one half, exact to the last digits however small."""
    E = _exp_of_minus_magnitude(A)
    E /= 1 + E
    return E


def _reflect(tail: Array, A: Array) -> Array:
    """Extend F(-|a|) to all a by F(a) = 1 - F(-a). The tail is at most one half, so 1 - tail loses nothing."""
    return np.subtract(1, tail, out=tail, where=A >= 0)


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
    A = floating(A)
    S = _reflect(_sigmoid_of_minus_magnitude(A), A)
    return S if out is None else np.positive(S, out=out)


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
    s = _sigmoid_of_minus_magnitude(floating(A))
    s *= 1 - s
    return np.multiply(dH, s, out=out)


def tanh(A, out=None) -> Array:
    """f(a) = tanh(a).

    Examples
    --------
    >>> tanh(np.array([0.0, 0.5]))
    array([0.        , 0.46211716])
    """
    return np.tanh(floating(A), out=out)


def tanh_backward(dH, A, out=None) -> Array:
    """f'(a) = 1 - tanh(a)^2 = 4 e / (1 + e)^2 with e = exp(-2|a|), which does not cancel where tanh is near one.

    Examples
    --------
    >>> tanh_backward(np.ones(2), np.array([0.0, 30.0]))
    array([1.00000000e+00, 3.50260431e-26])
    """
    A = floating(A)
    E = np.minimum(A, -A, out=np.empty_like(A))
    np.maximum(E, -400, out=E)  # e^-800 is zero in every dtype, and 2a overflows at the end of the range
    E *= 2
    np.exp(E, out=E)
    E /= (1 + E) ** 2
    E *= 4
    return np.multiply(dH, E, out=out)


def relu(A, out=None) -> Array:
    """f(a) = max(a, 0).

    Examples
    --------
    >>> relu(np.array([-1.0, 0.0, 2.0]))
    array([0., 0., 2.])
    """
    return np.maximum(floating(A), 0, out=out)


def relu_backward(dH, H, out=None) -> Array:
    """f'(a) = 1 where a > 0, else 0: at the kink a = 0 the derivative is taken as 0, as PyTorch does.

    The activation tells as much as the pre-activation: h > 0 exactly where a > 0.

    Examples
    --------
    >>> relu_backward(np.array([5.0, 5.0, 5.0]), np.array([0.0, 0.0, 2.0]))
    array([0., 0., 5.])
    """
    return np.multiply(dH, H > 0, out=out)


def leaky_relu(A, negative_slope: float = 0.01, out=None) -> Array:
    """f(a) = a where a > 0, else negative_slope a.

    Examples
    --------
    >>> leaky_relu(np.array([-1.0, 2.0]), negative_slope=0.1)
    array([-0.1,  2. ])
    """
    A = floating(A)
    return np.positive(np.where(A > 0, A, float(negative_slope) * A), out=out)


def leaky_relu_backward(dH, A, negative_slope: float = 0.01, out=None) -> Array:
    """f'(a) = 1 where a > 0, else negative_slope (also at the kink, as PyTorch does).

    Examples
    --------
    >>> leaky_relu_backward(np.array([5.0, 5.0]), np.array([-1.0, 2.0]), negative_slope=0.1)
    array([0.5, 5. ])
    """
    return np.positive(np.where(floating(A) > 0, dH, float(negative_slope) * dH), out=out)


def elu(A, alpha: float = 1.0, out=None) -> Array:
    """f(a) = a where a > 0, else alpha (e^a - 1) (Clevert, Unterthiner and Hochreiter 2016).

    Examples
    --------
    >>> elu(np.array([-1.0, 2.0]))
    array([-0.63212056,  2.        ])
    """
    A = floating(A)
    return np.positive(np.where(A > 0, A, float(alpha) * np.expm1(np.minimum(A, 0))), out=out)


def elu_backward(dH, A, alpha: float = 1.0, out=None) -> Array:
    """f'(a) = 1 where a > 0, else alpha e^a. (From ``H`` it would be h + alpha, which cancels for a far below 0.)

    Examples
    --------
    >>> elu_backward(np.ones(2), np.array([-100.0, 2.0]))
    array([3.72007598e-44, 1.00000000e+00])
    """
    A = floating(A)
    return np.multiply(dH, np.where(A > 0, 1, float(alpha) * np.exp(np.minimum(A, 0))).astype(A.dtype), out=out)


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


def _normal(A: Array) -> tuple[Array, Array]:
    """The normal distribution: Phi(a), exact in both tails, and the density phi(a)."""
    X = np.minimum(np.maximum(A, -A), _NORMAL_TAIL_ENDS)
    # The rounding of x^2 would be as large a relative error of its exponential: split off what squares exactly.
    rough = np.round(X * 256) / 256
    density = np.exp(rough * rough / -2)
    density *= np.exp((rough - X) * (rough + X) / 2)
    density *= 1 / math.sqrt(2 * math.pi)
    T = (X - 4) / (X + 4)
    first, *others = _mills_polynomial(A.dtype == np.float32)
    tail = np.full_like(T, first)
    for coefficient in others:
        tail *= T
        tail += coefficient
    tail /= 1 + X
    tail *= density
    return _reflect(tail, A), density


def _gelu_tanh_parts(A: Array) -> tuple[Array, Array, Array]:
    """For u = sqrt(2/pi) (a + 0.044715 a^3): S = s(2u) = (1 + tanh u) / 2, then d(2u)/da and s'(2u)."""
    X = np.minimum(np.maximum(A, -A), _NORMAL_TAIL_ENDS)
    scale = 2 * math.sqrt(2 / math.pi)
    tail = _sigmoid_of_minus_magnitude(scale * (X + 0.044715 * X**3))
    slope = tail * (1 - tail)
    return _reflect(tail, A), scale * (1 + 3 * 0.044715 * X * X), slope


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
    A = floating(A)
    cumulative = _normal(A)[0] if approximate == "none" else _gelu_tanh_parts(A)[0]
    return np.multiply(A, cumulative, out=out)


def gelu_backward(dH, A, approximate: str = "none", out=None) -> Array:
    """f'(a) = Phi(a) + a phi(a); of the tanh form, S + a s'(2u) d(2u)/da.

    Examples
    --------
    >>> gelu_backward(np.ones(2), np.array([0.0, 1.0]))
    array([0.5       , 1.08331547])
    """
    _check_approximate(approximate)
    A = floating(A)
    if approximate == "none":
        cumulative, density = _normal(A)
    else:
        cumulative, inner, slope = _gelu_tanh_parts(A)
        density = slope * inner
    return np.multiply(dH, cumulative + A * density, out=out)


def silu(A, out=None) -> Array:
    """f(a) = a s(a), also called swish (Hendrycks and Gimpel 2016; Ramachandran, Zoph and Le 2017).

    Examples
    --------
    >>> silu(np.array([0.0, 1.0]))
    array([0.        , 0.73105858])
    """
    A = floating(A)
    return np.multiply(A, sigmoid(A), out=out)


def silu_backward(dH, A, out=None) -> Array:
    """f'(a) = s(a) (1 + a s(-a)).

    Examples
    --------
    >>> silu_backward(np.ones(2), np.array([0.0, 1.0]))
    array([0.5       , 0.92767051])
    """
    A = floating(A)
    tail = _sigmoid_of_minus_magnitude(A)
    slope = 1 + A * _reflect(tail.copy(), -A)
    slope *= _reflect(tail, A)
    return np.multiply(dH, slope, out=out)


def softplus(A, beta: float = 1.0, out=None) -> Array:
    """f(a) = log(1 + e^(beta a)) / beta = max(a, 0) + log(1 + e^-|beta a|) / beta.

    PyTorch's ``threshold``, beyond which it returns a itself, has no counterpart here: the second form is exact and
    cannot overflow, so there is nothing to cut off.

    Examples
    --------
    >>> softplus(np.array([0.0, -50.0, 1000.0]))
    array([6.93147181e-01, 1.92874985e-22, 1.00000000e+03])
    """
    A = floating(A)
    E = _exp_of_minus_magnitude(_times(beta, A))
    np.log1p(E, out=E)
    E /= float(beta)
    return np.add(np.maximum(A, 0), E, out=out)


def _times(beta: float, A: Array) -> Array:
    """beta a; infinite, which is as good as enormous, where that is too large for the dtype."""
    beta = positive(beta, "beta")
    with np.errstate(over="ignore"):
        return np.multiply(beta, A, out=np.empty_like(A))


def softplus_backward(dH, A, beta: float = 1.0, out=None) -> Array:
    """f'(a) = s(beta a).

    Examples
    --------
    >>> softplus_backward(np.ones(2), np.array([0.0, 1.0]))
    array([0.5       , 0.73105858])
    """
    return np.multiply(dH, sigmoid(_times(beta, floating(A))), out=out)


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
    A = floating(A)
    P = below_the_largest(A, dim)
    np.exp(P, out=P)
    return np.divide(P, P.sum(axis=dim, keepdims=True), out=out)


def below_the_largest(A: Array, dim: int) -> Array:
    """a - max: what a softmax exponentiates. Minus infinity, whose power is 0, where the dtype does not reach."""
    with np.errstate(over="ignore"):
        return A - A.max(axis=dim, keepdims=True)


def softmax_backward(dH, H, dim: int = -1, out=None) -> Array:
    """dA = p (dH - sum_j dH_j p_j): the Jacobian is diag(p) - p p^T, not its diagonal alone.

    Examples
    --------
    >>> softmax_backward(np.array([1.0, 0.0]), np.array([0.25, 0.75]))
    array([ 0.1875, -0.1875])
    """
    dA = np.subtract(dH, (dH * H).sum(axis=dim, keepdims=True), out=out)
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
        exp(D).
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
    D = below_the_largest(Z, 1)
    E = np.exp(D)
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
    Z = np.moveaxis(floating(A), dim, -1)
    D, _, others, _ = log_sum_parts(Z.reshape(-1, Z.shape[-1]))
    D -= np.log1p(others)
    return np.positive(np.moveaxis(D.reshape(Z.shape), -1, dim), out=out)


def log_softmax_backward(dH, H, dim: int = -1, out=None) -> Array:
    """dA = dH - p sum_j dH_j with p = e^h.

    Examples
    --------
    >>> log_softmax_backward(np.array([1.0, 0.0]), np.log([0.25, 0.75]))
    array([ 0.75, -0.75])
    """
    return np.subtract(dH, np.exp(H) * dH.sum(axis=dim, keepdims=True), out=out)


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
