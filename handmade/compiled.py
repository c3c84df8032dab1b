"""The same passes as loops, compiled by Numba: for speed, where the NumPy code is there to be read.

`compile` translates a network into a program, a table with one row per operation, and two kernels run any such
program: `_train` does the forward pass, the loss, the backward pass and the update of one batch, `_predict` the
forward pass in evaluation mode. They work on the network's own theta and gradient and on the optimizer's own state,
so that both may be saved, checked and trained further by the NumPy code. A kernel is compiled once per dtype and kept
in Numba's cache on disk: another network costs nothing.

Notation is that of the package: X, A, H, W, b, and dX for the gradient with respect to X. With NUMBA_DISABLE_JIT=1 all
of it is plain Python.
"""

from __future__ import annotations

import copy
import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _numerics as exact
from . import activations, losses, optimizers
from ._steps import Elementwise
from .composites import Residual, Sequential
from .layers import Activation, Dense, Dropout, Layer
from .losses import Loss, find_loss
from .network import Network
from .normalization import BatchNorm, LayerNorm

try:
    import numba
except ImportError as error:
    raise ImportError(f"compile: expected numba and SciPy ({error}); install them with handmade[fast]") from error

__all__ = ["CompiledStep", "compile"]

Array = npt.NDArray[Any]
OPTIONS: dict[str, Any] = dict(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
inlined = numba.njit(inline="always", **OPTIONS)
compiled = numba.njit(fastmath={"contract"}, **OPTIONS)  # a b + c may be rounded once
summed = numba.njit(fastmath={"contract", "reassoc"}, **OPTIONS)  # sums may be taken in any order

# ---- exponentials, in double precision for either dtype -------------------------------------------------------------

REACH = 340.0  # as in `handmade.losses`: exponentials of such logits need no shift
LOG2_E, LN2_HIGH, LN2_LOW = 1.4426950408889634, 6.93147180369123816490e-01, 1.90821492927058770002e-10
MAGIC = 1.5 * 2.0**52  # x + MAGIC rounds x to an integer, which is then in the low bits of the sum
FAR, FAR_FACTOR = 600, 2.0**-600  # e^x = p 2^-600 below x = -600, where e^x itself would lose digits or vanish


@compiled
def exp_parts(x):
    """Return p, r, q: e^x = (p + p q) r for x <= 340, with p and r powers of 2 and q = e^s - 1, |s| <= log(2) / 2.

    No branch: loops over it run in vector registers. r is 1, or 2^-600 for very small e^x.
    """
    x = -900.0 if x < -900.0 else np.float64(x)
    far = x < -FAR
    n = x * LOG2_E + MAGIC
    k = n - MAGIC
    s = x - k * LN2_HIGH - k * LN2_LOW
    t = 1 / 6227020800 * s + 1 / 479001600  # Taylor's series: its rest is below 1e-17
    t = ((((t * s + 1 / 39916800) * s + 1 / 3628800) * s + 1 / 362880) * s + 1 / 40320) * s + 1 / 5040
    t = ((((t * s + 1 / 720) * s + 1 / 120) * s + 1 / 24) * s + 1 / 6) * s + 1 / 2
    bits = np.float64(n).view(np.int64) + (1023 + (FAR if far else 0))
    return np.int64(bits << 52).view(np.float64), FAR_FACTOR if far else 1.0, t * s * s + s


@compiled
def exp(x):
    """Return e^x."""
    p, r, q = exp_parts(x)
    return (p + p * q) * r


@compiled
def expm1(x):
    """Return e^x - 1."""
    p, r, q = exp_parts(x)
    return p * r * q + (p * r - 1.0)


# ---- activations: f(a), and under it f'(a), or f'(h) where the NumPy code reads H; each with its one option ----------

ZERO, ONE = np.float32(0), np.float32(1)  # these promote no float32


@compiled
def identity(a, option):
    return a


@compiled
def identity_slope(h, option):
    return ONE


@compiled
def relu(a, option):
    return ZERO if a <= 0 else a  # written so that NaN stays NaN


@compiled
def relu_slope(h, option):
    return ONE if h > 0 else ZERO


@compiled
def leaky_relu(a, negative_slope):
    return a if a > 0 else negative_slope * a


@compiled
def leaky_relu_slope(a, negative_slope):
    return ONE if a > 0 else negative_slope


@compiled
def sigmoid(a, option):
    e = exp(-abs(a))
    return (1.0 if a >= 0 else e) / (1 + e)


@compiled
def sigmoid_slope(a, option):
    e = exp(-abs(a))
    s = e / (1 + e)
    return s * (1 - s)


@compiled
def tanh(a, option):
    e = expm1(-2.0 * abs(a))
    t = -e / (2 + e)
    return -t if a < 0 else t


@compiled
def tanh_slope(a, option):
    return 4 * sigmoid_slope(2.0 * a, option)


@compiled
def elu(a, alpha):
    e = alpha * expm1(0.0 if a > 0 else a)
    return a if a > 0 else e


@compiled
def elu_slope(a, alpha):
    e = alpha * exp(0.0 if a > 0 else a)
    return 1.0 if a > 0 else e


@compiled
def softplus(a, beta):
    return (0.0 if a < 0 else a) + math.log1p(exp(-abs(beta * a))) / beta


@compiled
def softplus_slope(a, beta):
    return sigmoid(beta * a, beta)


@compiled
def silu(a, option):
    return positive_part(a) - silu_tail(capped(abs(a), 1e3))


@compiled
def silu_slope(a, option):
    s = silu_slope_below(capped(abs(a), 1e3))
    return 1 - s if a >= 0 else s


@compiled
def gelu(a, option):
    return positive_part(a) - gelu_tail(capped(abs(a), 40.0))


@compiled
def gelu_slope(a, option):
    s = gelu_slope_below(capped(abs(a), 40.0))
    return 1 - s if a >= 0 else s


@compiled
def gelu_tanh(a, option):
    return positive_part(a) - gelu_tanh_tail(capped(abs(a), 40.0))


@compiled
def gelu_tanh_slope(a, option):
    s = gelu_tanh_slope_below(capped(abs(a), 40.0))
    return 1 - s if a >= 0 else s


# ---- the tails of silu and gelu: the formulas of `handmade._numerics`, for one number -------------------------------

SILU_ROOT, SILU_REST = exact._SILU_ROOT
GELU_ROOT, GELU_REST = exact._GELU_ROOT
TANH_ROOT, TANH_REST = exact._GELU_TANH_ROOT
MILLS, QUOTIENT = tuple(exact._mills_polynomial(False)), tuple(exact._mills_quotient(False))
V1, V1_REST, V3, V3_REST = exact._V1, exact._V1_REST, exact._V3, exact._V3_REST
W1, W3 = V1 + V1_REST, V3 + V3_REST


@compiled
def positive_part(a):
    return 0.0 if a < 0 else np.float64(a)


@compiled
def capped(x, most):
    return most if x > most else np.float64(x)


@compiled
def horner(polynomial, t):
    value = polynomial[0]
    for coefficient in polynomial[1:]:
        value = value * t + coefficient
    return value


@compiled
def slope_factor(s, minus_w, from_root):
    factor = 1 + minus_w - minus_w * s
    return from_root * (1 - s) if abs(factor) < 0.4 else factor


@compiled
def silu_tail(x):
    p, r, q = exp_parts(-x)
    e = p + p * q
    return x * (e / (1 + e * r)) * r


@compiled
def silu_slope_below(x):
    p, r, q = exp_parts(-x)
    e = p + p * q
    d = SILU_ROOT - x
    from_root = d + ((SILU_ROOT - 1) * expm1(d) + SILU_ROOT * SILU_REST)
    total = 1 + e * r
    return e / total * slope_factor(e * r / total, -x, from_root) * r


@compiled
def normal_density(x):
    """Return phi(x) in two factors. x is split, as the rounding of x^2 would be an error of its exponential."""
    rough = np.round(x * 256) / 256
    p, r, q = exp_parts(rough * rough / -2)
    return (p + p * q) * (exp((rough - x) * (rough + x) / 2) / math.sqrt(2 * math.pi)), r


@compiled
def gelu_tail(x):
    e, r = normal_density(x)
    return x * (e * (horner(MILLS, (x - 4) / (x + 4)) / (1 + x))) * r


@compiled
def gelu_slope_below(x):
    quotient = horner(QUOTIENT, (x - 4) / (x + 4)) * (-8 / (4 + GELU_ROOT) / (x + 4)) + ((1 + GELU_ROOT) + x)
    e, r = normal_density(x)
    return (GELU_ROOT - x + GELU_REST) * quotient / (1 + x) * e * r


@compiled
def exp_minus_v(x):
    """Return e^-v in two factors, where v = W1 x + W3 x^3; x is split as in `normal_density`."""
    rough = np.round(x * 256) / 256
    missing = (x - rough) * (V1 + V3 * (x * x + x * rough + rough * rough)) + (V1_REST * x + V3_REST * x * x * x)
    p, r, q = exp_parts(-(V1 * rough + V3 * (rough * rough * rough)))
    return (p + p * q) * exp(-missing), r


@compiled
def gelu_tanh_tail(x):
    e, r = exp_minus_v(x)
    return x * (e / (1 + e * r)) * r


@compiled
def gelu_tanh_slope_below(x):
    cubic = W3 * (x * x + TANH_ROOT * x + TANH_ROOT * TANH_ROOT)  # W3 (x^3 - root^3) / (x - root)
    d = TANH_ROOT - x + TANH_REST
    e_root = W1 * TANH_ROOT + 3 * W3 * TANH_ROOT**3 - 1  # e^-v at the root
    e, r = exp_minus_v(x)
    total = 1 + e * r
    from_root = d * (W1 + 3 * cubic) + e_root * expm1(d * (W1 + cubic))
    return e / total * slope_factor(e * r / total, -x * (W1 + 3 * W3 * x * x), from_root) * r


# ---- losses of one number: the term, and under it its derivative by a ------------------------------------------------


@compiled
def mse(a, y, option):
    return (a - y) * (a - y)


@compiled
def mse_slope(a, y, option):
    return 2.0 * (a - y)


@compiled
def half_squares(a, y, option):
    return 0.5 * (a - y) * (a - y)


@compiled
def half_squares_slope(a, y, option):
    return a - y


@compiled
def l1(a, y, option):
    return abs(a - y)


@compiled
def l1_slope(a, y, option):
    return np.sign(a - y)


@compiled
def huber(a, y, delta):
    e = abs(a - y)
    c = delta if e > delta else e
    return c * (e - c / 2)


@compiled
def huber_slope(a, y, delta):
    e = a - y
    return delta if e > delta else (-delta if e < -delta else e)


@compiled
def logit(a, y, pos_weight):
    """Return the cross-entropy of s(a); a weight of 0 gives 0, also where the other factor is infinite."""
    yes = 0.0 if y * pos_weight == 0 else y * pos_weight * softplus(-a, 1.0)
    return yes + (0.0 if y == 1 else (1 - y) * softplus(a, 1.0))


@compiled
def logit_slope(a, y, pos_weight):
    return (1 - y) * sigmoid(a, 1.0) - y * pos_weight * sigmoid(-a, 1.0)


# ---- cross-entropy of one row of logits ------------------------------------------------------------------------------


@compiled
def exponentials(z, E):
    """Set E to e^(z - shift), with the digits that z - shift loses given back; return the shift.

    The shift is 0, which rounds nothing, unless a logit is out of REACH; then it is the largest.
    """
    magnitude, shift = 0.0, -np.inf
    for a in z:
        magnitude = max(magnitude, abs(a))
        shift = max(shift, np.float64(a))
    if magnitude <= REACH:
        shift = 0.0
    for c in range(z.size):
        d = difference(z[c], shift)
        t = d - z[c]
        lost = z[c] - (d - t) - (t + shift)  # TwoSum, see `handmade._numerics.exp_below_max`
        E[c] = exp(d) * (1 + (lost if lost > -1 else 0.0))
    return shift


@compiled
def total_of(E):
    total = 0.0
    for e in E:
        total += e
    return total


@compiled
def difference(a, b):
    return 0.0 if a == b else np.float64(a) - b  # inf - inf is no number, but equal is equal


@compiled
def against_index(z, t, factor, E, dz):
    """Return -log p_t = log(1 + rest / own), and set dz to p_c - 1[c = t]: p_t - 1 = -rest / total. Both times factor.

    rest is the sum of the exponentials without the target's: no digit is lost where p_t is nearly 1.
    """
    shift = exponentials(z, E)
    own, beyond = E[t], 0.0
    if shift != 0:  # e^(z - shift) of the target may be too small to divide by
        own, beyond = max(own, math.exp(-REACH)), min(difference(z[t], shift) + REACH, 0.0)
    E[t] = 0
    rest = total_of(E)
    for c in range(z.size):
        dz[c] = E[c] / (own + rest) * factor
    dz[t] = -rest / (own + rest) * factor
    return (math.log1p(rest / own) - beyond) * factor


@compiled
def against_distribution(z, T, factor, E, dz):
    """Return -sum_c T_c log p_c, and set dz to p_c sum(T) - T_c, see `handmade._numerics`. Both times factor."""
    top = 0
    for c in range(z.size):
        top = c if z[c] > z[top] else top
    shift = np.float64(z[top])
    if exponentials(z, E) != shift:
        for c in range(z.size):
            E[c] = exp(difference(z[c], shift))
    E[top] = 0
    others, weight, value = total_of(E), total_of(T), 0.0
    E[top] = 1
    for c in range(z.size):
        p = E[c] / (1 + others)
        complement = others / (1 + others) if c == top else 1 - p
        dz[c] = (p * (weight - T[c]) - T[c] * complement) * factor
        if T[c] != 0:
            value -= T[c] * (difference(z[c], shift) - math.log1p(others))
    return value * factor


# ---- passes over arrays: each forward pass, and under it its backward pass -------------------------------------------


@compiled
def fill(x):
    for j in range(x.size):
        x[j] = 0


@compiled
def copy_to(Y, X):
    for i in range(Y.shape[0]):
        for j in range(Y.shape[1]):
            Y[i, j] = X[i, j]


@compiled
def add_to(Y, X):
    for i in range(Y.shape[0]):
        for j in range(Y.shape[1]):
            Y[i, j] += X[i, j]


def units(f: Callable[..., Any], slope: Callable[..., Any]) -> tuple[Callable[..., Any], ...]:
    """Return the passes of units with activation f: A += b, H = f(A); the same in one array; dA = dH f', db."""

    @compiled
    def forward(arrays):
        A, b, option, H = arrays
        for i in range(A.shape[0]):
            for j in range(A.shape[1]):
                A[i, j] += b[j]
                H[i, j] = f(A[i, j], option)

    @compiled
    def in_place(arrays):
        H, b, option = arrays
        for i in range(H.shape[0]):
            for j in range(H.shape[1]):
                H[i, j] = f(H[i, j] + b[j], option)

    @compiled
    def backward(arrays):
        dH, V, option, db = arrays
        fill(db)
        for i in range(dH.shape[0]):
            for j in range(dH.shape[1]):
                dH[i, j] *= slope(V[i, j], option)
                db[j] += dH[i, j]

    return forward, in_place, backward


def choose(functions: Sequence[Callable[..., Any]]) -> Callable[..., Any]:
    """Return a function of (code, arguments) that calls functions[code](arguments): Numba has no table of functions."""
    code, first = len(functions) - 1, functions[-1]
    others = choose(functions[:-1]) if code else None

    @inlined
    def last(wanted, arguments):
        return first(arguments)

    @inlined
    def call(wanted, arguments):
        if wanted == code:
            return first(arguments)
        return others(wanted, arguments)

    return call if code else last


class Unit(NamedTuple):
    """An activation: the NumPy function, f and its slope, the option with its default, and whether f' reads H."""

    function: Callable[..., Any]
    f: Callable[..., Any]
    slope: Callable[..., Any]
    option: str = ""
    default: float = 1.0
    keeps_H: bool = False


UNITS = [
    Unit(activations.identity, identity, identity_slope, keeps_H=True),
    Unit(activations.relu, relu, relu_slope, keeps_H=True),
    Unit(activations.sigmoid, sigmoid, sigmoid_slope),
    Unit(activations.tanh, tanh, tanh_slope),
    Unit(activations.leaky_relu, leaky_relu, leaky_relu_slope, "negative_slope", 0.01),
    Unit(activations.elu, elu, elu_slope, "alpha"),
    Unit(activations.softplus, softplus, softplus_slope, "beta"),
    Unit(activations.silu, silu, silu_slope),
    Unit(activations.gelu, gelu, gelu_slope),
    Unit(activations.gelu, gelu_tanh, gelu_tanh_slope),
]
_passes = list(zip(*[units(unit.f, unit.slope) for unit in UNITS], strict=True))
units_forward, units_backward = choose(_passes[0]), choose(_passes[2])
units_in_place = choose(_passes[1][: sum(unit.keeps_H for unit in UNITS)])  # they come first

SMALL = 3000  # multiplications: up to here, calling BLAS takes longer than the loops


@summed
def dense(X, W, A):
    """A = X Wt; the bias is added with the activation."""
    N, O, I = X.shape[0], W.shape[0], W.shape[1]
    if N * O * I > SMALL:
        np.dot(X, W.T, A)
        return
    for i in range(N):
        for o in range(O):
            A[i, o] = X[i, 0] * W[o, 0]
            for k in range(1, I):
                A[i, o] += X[i, k] * W[o, k]


@summed
def dense_backward(dA, X, W, dW, dX, need_dX):
    """dW = dAt X, and dX = dA W where it is needed."""
    N, O, I = X.shape[0], W.shape[0], W.shape[1]
    if N * O * I > SMALL:
        np.dot(dA.T, X, dW)
        if need_dX:
            np.dot(dA, W, dX)
        return
    for o in range(O):
        fill(dW[o])
        for i in range(N):
            for k in range(I):
                dW[o, k] += dA[i, o] * X[i, k]
    if need_dX:
        for i in range(N):
            fill(dX[i])
            for o in range(O):
                for k in range(I):
                    dX[i, k] += dA[i, o] * W[o, k]


@compiled
def softmax(A, H):
    E = np.empty(A.shape[1])
    for i in range(len(A)):
        exponentials(A[i], E)
        total = total_of(E)
        for c in range(E.size):
            H[i, c] = E[c] / total


@compiled
def softmax_backward(dH, H):
    """dA = p (dH - sum dH p), where dH counts from its value at the largest p, see `handmade.activations`."""
    for i in range(H.shape[0]):
        top, along = 0, 0.0
        for c in range(H.shape[1]):
            top = c if H[i, c] > H[i, top] else top
        at_top = dH[i, top]
        for c in range(H.shape[1]):
            along += (dH[i, c] - at_top) * H[i, c]
        for c in range(H.shape[1]):
            dH[i, c] = H[i, c] * (dH[i, c] - at_top - along)


@compiled
def dropout(X, U, p, kept_share, H):
    """H = X / (1 - p) where the random number is at least p, else 0; the mask is (features, samples)."""
    for i in range(X.shape[0]):
        for j in range(X.shape[1]):
            H[i, j] = X[i, j] / kept_share if U[j, i] >= p else X[i, j] * ZERO


@compiled
def batch_moments(X, mean, variance):
    fill(mean)
    fill(variance)
    for i in range(X.shape[0]):
        for j in range(X.shape[1]):
            mean[j] += X[i, j]
    for j in range(X.shape[1]):
        mean[j] /= X.shape[0]
    for i in range(X.shape[0]):
        for j in range(X.shape[1]):
            variance[j] += (X[i, j] - mean[j]) * (X[i, j] - mean[j])
    for j in range(X.shape[1]):
        variance[j] /= X.shape[0]


@compiled
def batch_norm(X, mean, inverse, gamma, beta, Xhat, H):
    for i in range(X.shape[0]):
        for j in range(X.shape[1]):
            xhat = (X[i, j] - mean[j]) * inverse[j]
            Xhat[i, j] = xhat
            H[i, j] = gamma[j] * xhat + beta[j]


@compiled
def batch_norm_backward(dH, Xhat, inverse, gamma, dgamma, dbeta):
    """dX = gamma inverse (dH - mean(dH) - Xhat mean(dH Xhat)): a change along 1 or Xhat moves the moments alone."""
    N = dgamma.dtype.type(len(dH))
    fill(dgamma)
    fill(dbeta)
    for i in range(dH.shape[0]):
        for j in range(dH.shape[1]):
            dgamma[j] += dH[i, j] * Xhat[i, j]
            dbeta[j] += dH[i, j]
    for i in range(dH.shape[0]):
        for j in range(dH.shape[1]):
            dH[i, j] = gamma[j] * inverse[j] * (dH[i, j] - dbeta[j] / N - Xhat[i, j] * dgamma[j] / N)


@summed
def layer_norm(X, eps, gamma, beta, Xhat, inverse, H):
    O = X.shape[1]
    for i in range(X.shape[0]):
        mean, variance = 0.0, 0.0
        for j in range(O):
            mean += X[i, j] / O
        for j in range(O):
            variance += (X[i, j] - mean) * (X[i, j] - mean) / O
        inverse[i, 0] = 1 / math.sqrt(variance + eps)
        for j in range(O):
            xhat = (X[i, j] - mean) * inverse[i, 0]
            Xhat[i, j] = xhat
            H[i, j] = gamma[j] * xhat + beta[j]


@summed
def layer_norm_backward(dH, Xhat, inverse, gamma, dgamma, dbeta):
    """dX = (dXhat - mean(dXhat) - Xhat mean(dXhat Xhat)) inverse with dXhat = dH gamma."""
    O = dH.shape[1]
    fill(dgamma)
    fill(dbeta)
    for i in range(dH.shape[0]):
        mean, along = 0.0, 0.0
        for j in range(O):
            dgamma[j] += dH[i, j] * Xhat[i, j]
            dbeta[j] += dH[i, j]
            mean += dH[i, j] * gamma[j] / O
            along += dH[i, j] * gamma[j] * Xhat[i, j] / O
        for j in range(O):
            dH[i, j] = (dH[i, j] * gamma[j] - mean - Xhat[i, j] * along) * inverse[i, 0]


# ---- losses of a batch: each sets dH and returns the value -----------------------------------------------------------


def terms(term: Callable[..., Any], slope: Callable[..., Any]) -> Callable[..., Any]:
    """Return the loss that is the sum of such terms, over ``count``, with weights of the samples."""

    @compiled
    def loss(arguments):
        A, Y, w, options, count, dH = arguments
        value = 0.0
        for i in range(A.shape[0]):
            weight = np.float64(w[i]) if w.size else 1.0
            for j in range(A.shape[1]):
                value += weight * term(A[i, j], Y[i, j], options[j])
                dH[i, j] = slope(A[i, j], Y[i, j], options[j]) * weight / count
        return value / count

    return loss


class Terms(NamedTuple):
    """A loss that is a sum of terms: the NumPy function, term and slope, its option with default, the divisor."""

    function: Callable[..., Any]
    term: Callable[..., Any]
    slope: Callable[..., Any]
    option: str = ""
    over_outputs: bool = True  # whether the mean is over samples and outputs, or over samples alone


TERMS = [
    Terms(losses.mse_loss, mse, mse_slope),
    Terms(losses.half_squared_error, half_squares, half_squares_slope, over_outputs=False),
    Terms(losses.l1_loss, l1, l1_slope),
    Terms(losses.huber_loss, huber, huber_slope, "delta"),
    Terms(losses.binary_cross_entropy_with_logits, logit, logit_slope, "pos_weight"),
]
BINARY, CROSS_ENTROPY = 4, 5  # codes: the last of TERMS, and after it
loss_of_terms = choose([terms(loss.term, loss.slope) for loss in TERMS])


@compiled
def cross_entropy(Z, labels, T, w, class_weight, smoothing, ignore, mean, dZ):
    """See `handmade.losses.cross_entropy`; T holds probabilities, unless it is empty."""
    N, K = Z.shape
    E, row = np.empty(K), np.empty(K)
    value, count = 0.0, 0.0
    for t in labels:
        if t != ignore:
            count += class_weight[t] if class_weight.size else ONE
    divisor = 1.0
    if mean:
        divisor = np.float64(N) if len(T) or w.size or count == 0 else count
    for i in range(N):
        factor = (np.float64(w[i]) if w.size else 1.0) / divisor
        t = labels[i] if labels.size else -1
        if labels.size and t == ignore:
            fill(dZ[i])
        elif labels.size and smoothing == 0:
            factor *= class_weight[t] if class_weight.size else ONE
            value += against_index(Z[i], t, factor, E, dZ[i])
        else:
            for c in range(K):
                share = (T[i, c] if len(T) else ONE * (c == t)) * (1 - smoothing) + smoothing / K
                row[c] = share * (class_weight[c] if class_weight.size else ONE)
            value += against_distribution(Z[i], row, factor, E, dZ[i])
    return value


# ---- updates: those of `handmade.optimizers`, in one pass over theta --------------------------------------------------


@compiled
def no_update(arrays):
    return None


@compiled
def sgd(arrays):
    theta, gradient, velocity, _, _, h = arrays
    lr, momentum, keep, decay, nesterov, sign, _, _ = h
    if momentum == 0:
        for i in range(theta.size):
            theta[i] -= lr * (sign * gradient[i] + decay * theta[i])
        return
    for i in range(theta.size):
        g = sign * gradient[i] + decay * theta[i]
        velocity[i] = momentum * velocity[i] + keep * g
        theta[i] -= lr * (g + momentum * velocity[i] if nesterov != 0 else velocity[i])


@compiled
def momentum1986(arrays):
    theta, gradient, velocity, _, _, h = arrays
    lr, momentum = h[0], h[1]
    for i in range(theta.size):
        velocity[i] = momentum * velocity[i] - lr * gradient[i]
        theta[i] += velocity[i]


@compiled
def adagrad(arrays):
    theta, gradient, s, _, _, h = arrays
    lr, eps, decay = h[0], h[1], h[2]
    for i in range(theta.size):
        g = gradient[i] + decay * theta[i]
        s[i] += g * g
        theta[i] -= lr * (g / (math.sqrt(s[i]) + eps))


@compiled
def rmsprop(arrays):
    theta, gradient, square_avg, grad_avg, velocity, h = arrays
    lr, alpha, rest, eps, decay, momentum, _, _ = h
    for i in range(theta.size):
        g = gradient[i] + decay * theta[i]
        square_avg[i] = alpha * square_avg[i] + rest * (g * g)
        variance = square_avg[i]
        if grad_avg.size:
            grad_avg[i] = alpha * grad_avg[i] + rest * g
            variance = max(square_avg[i] - grad_avg[i] * grad_avg[i], ZERO)
        g = g / (math.sqrt(variance) + eps)
        if momentum != 0:
            velocity[i] = momentum * velocity[i] + g
            g = velocity[i]
        theta[i] -= lr * g


@compiled
def adam(arrays):
    theta, gradient, m, v, largest_v, h = arrays
    lr, beta1, rest1, beta2, rest2, eps, decay, shrink = h
    for i in range(theta.size):
        g = gradient[i] + decay * theta[i]
        theta[i] *= shrink
        m[i] = beta1 * m[i] + rest1 * g
        v[i] = beta2 * v[i] + rest2 * (g * g)
        variance = v[i]
        if largest_v.size:
            variance = largest_v[i] = max(largest_v[i], v[i])
        theta[i] -= lr * (m[i] / (math.sqrt(variance) + eps))


update = choose([no_update, sgd, momentum1986, adagrad, rmsprop, adam])

# ---- a network as a program: one row of integers per operation -------------------------------------------------------

DENSE, UNIT, SOFTMAX, DROPOUT, BATCH_NORM, LAYER_NORM, FORK, JOIN, LOSS = range(9)
# Which operation and variant; widths; where X, H, another array, dH and dX lie in the work array, in columns; where W
# and b start in theta, and the options in numbers; whether backward ends here.
COLUMNS = OP, CODE, IN, OUT, SOURCE, TARGET, OTHER, DH, DX, W, B, AT, LAST = range(13)
NETWORK_INPUT = -1  # as SOURCE


@compiled
def matrix(X, work, column, N, width):
    """Return the array (N, width) at this column of the work array, or the input of the network."""
    if column == NETWORK_INPUT:
        return X
    return work[column * N : column * N + N * width].reshape(N, width)


@compiled
def forward(X, program, numbers, theta, work, masks):
    N = len(X)
    for k in range(len(program)):
        row = program[k]
        op, I, O, at = row[OP], row[IN], row[OUT], row[AT]
        S = matrix(X, work, row[SOURCE], N, I)
        H = matrix(X, work, row[TARGET], N, O)
        other = matrix(X, work, row[OTHER], N, O)
        b = theta[row[B] : row[B] + O] if row[B] >= 0 else np.zeros(O, X.dtype)
        if op == DENSE:
            dense(S, theta[row[W] : row[W] + O * I].reshape(O, I), H)
        elif op == UNIT:
            if row[SOURCE] != row[OTHER]:
                copy_to(other, S)
            if row[OTHER] == row[TARGET]:
                units_in_place(row[CODE], (H, b, numbers[at]))
            else:
                units_forward(row[CODE], (other, b, numbers[at], H))
        elif op == SOFTMAX:
            softmax(S, H)
        elif op == DROPOUT:
            dropout(S, masks[row[CODE] * N : (row[CODE] + I) * N].reshape(I, N), numbers[at], numbers[at + 1], H)
        elif op == BATCH_NORM:
            mean, variance, inverse = numbers[at : at + O], numbers[at + O : at + 2 * O], numbers[at + 2 * O : at + 3 * O]
            if row[CODE]:
                batch_moments(S, mean, variance)
            for j in range(O):
                inverse[j] = 1 / math.sqrt(variance[j] + numbers[at + 3 * O])
            batch_norm(S, mean, inverse, theta[row[W] : row[W] + O], b, other, H)
        elif op == LAYER_NORM:
            layer_norm(S, numbers[at], theta[row[W] : row[W] + O], b, other, matrix(X, work, row[CODE], N, 1), H)
        elif op == JOIN:
            copy_to(H, S)
            add_to(H, other)


@compiled
def backward(X, program, numbers, theta, gradient, work, masks):
    N = len(X)
    for k in range(len(program) - 2, -1, -1):
        row = program[k]
        op, I, O, at = row[OP], row[IN], row[OUT], row[AT]
        dH = matrix(X, work, row[DH], N, O)
        other = matrix(X, work, row[OTHER], N, O)
        db = gradient[row[B] : row[B] + O] if row[B] >= 0 else np.empty(O, X.dtype)
        if op == DENSE:
            w, S = slice(row[W], row[W] + O * I), matrix(X, work, row[SOURCE], N, I)
            dX = matrix(X, work, row[DX], N, I)
            dense_backward(dH, S, theta[w].reshape(O, I), gradient[w].reshape(O, I), dX, not row[LAST])
        elif op == UNIT:
            units_backward(row[CODE], (dH, other, numbers[at], db))
        elif op == SOFTMAX:
            softmax_backward(dH, matrix(X, work, row[TARGET], N, O))
        elif op == DROPOUT:
            dropout(dH, masks[row[CODE] * N : (row[CODE] + I) * N].reshape(I, N), numbers[at], numbers[at + 1], dH)
        elif op == BATCH_NORM:
            inverse, w = numbers[at + 2 * O : at + 3 * O], slice(row[W], row[W] + O)
            batch_norm_backward(dH, other, inverse, theta[w], gradient[w], db)
        elif op == LAYER_NORM:
            w = slice(row[W], row[W] + O)
            layer_norm_backward(dH, other, matrix(X, work, row[CODE], N, 1), theta[w], gradient[w], db)
        elif op == FORK:  # dX of the block, to dH that went past it
            add_to(matrix(X, work, row[DX], N, I), dH)
        elif op == JOIN:
            copy_to(matrix(X, work, row[DX], N, I), dH)
        if row[LAST]:
            return


@summed
def excess(x):
    """Return 0, or NaN where a number of x is not finite."""
    total = x.dtype.type(0)
    for a in x:
        total += a - a
    return total


@compiled
def is_sound(X, labels, Y, w, program, numbers):
    """Return whether shapes fit, every number is finite and every label a class: NumPy's code says what is wrong."""
    N, loss = len(X), program[-1]
    K, code, total = loss[OUT], loss[CODE], 0.0
    if X.shape[1] != program[0, IN] or N == 0 or labels.size + len(Y) != N or (len(Y) and Y.shape[1] != K):
        return False
    for k in range(len(program)):
        if program[k, OP] == BATCH_NORM and N == 1:
            return False
    for i in range(N):
        total += excess(X[i])
    for i in range(len(Y)):
        total += excess(Y[i])
        for j in range(K):
            if code == BINARY and not 0 <= Y[i, j] <= 1:
                return False
    for label in labels:
        if not 0 <= label < K and label != loss[OTHER]:
            return False
    return total + excess(w) == 0 and (w.size == 0 or w.size == N) and not (w.size and loss[W])


def train(
    X, labels, Y, w, program, numbers, theta, gradient, work, masks, s1, s2, s3, rule, h0, h1, h2, h3, h4, h5, h6, h7
):
    """Do one training step, and return the loss; NaN, and nothing has been written, where the batch is not sound.

    Without a finite loss there is no update.
    """
    if not is_sound(X, labels, Y, w, program, numbers):
        return np.nan
    forward(X, program[:-1], numbers, theta, work, masks)
    loss, N, number = program[-1], len(X), theta.dtype.type
    K, at = loss[OUT], loss[AT]
    A, dA = matrix(X, work, loss[SOURCE], N, K), matrix(X, work, loss[DX], N, K)
    if loss[CODE] == CROSS_ENTROPY:
        weight = numbers[at + 1 : at + 1 + K * loss[W]]
        value = cross_entropy(A, labels, Y, w, weight, numbers[at], loss[OTHER], loss[B], dA)
    else:
        count = 1.0 if not loss[B] else N * 1.0 if loss[B] == 1 else N * K * 1.0
        value = loss_of_terms(loss[CODE], (A, Y, w, numbers[at : at + K], count, dA))
    backward(X, program, numbers, theta, gradient, work, masks)
    if np.isfinite(value):
        h = number(h0), number(h1), number(h2), number(h3), number(h4), number(h5), number(h6), number(h7)
        update(rule, (theta, gradient, s1, s2, s3, h))
    return value


def predict(X, program, numbers, theta, work, rows):
    """Return the output of the network, ``rows`` samples at a time; an empty array where X is not sound."""
    N, O = len(X), program[-1, OUT]
    total = 0.0
    for i in range(N):
        total += excess(X[i])
    if X.shape[1] != program[0, IN] or N == 0 or total != 0:
        return np.empty((0, 0), X.dtype)
    H = np.empty((N, O), X.dtype)
    masks = np.empty(0, np.float32)
    for start in range(0, N, rows):
        block = X[start : start + rows]
        forward(block, program, numbers, theta, work, masks)
        copy_to(H[start : start + rows], matrix(block, work, program[-1, TARGET], len(block), O))
    return H


@functools.cache
def _kernels(dtype: np.dtype[Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return train and predict, compiled for a dtype or loaded from the cache on disk."""
    real = numba.from_dtype(dtype)
    vector, rows, integers, count = real[::1], real[:, ::1], numba.int64[::1], numba.int64
    program, doubles = numba.int64[:, ::1], [numba.float64] * 8
    fixed = [program, vector, vector, vector, vector, numba.float32[::1], vector, vector, vector, count]
    options: dict[str, Any] = dict(nogil=True, cache=True, error_model="numpy")
    return (
        numba.njit(numba.float64(rows, integers, rows, vector, *fixed, *doubles), **options)(train),
        numba.njit(rows(rows, program, vector, vector, vector, count), **options)(predict),
    )


class Unsupported(TypeError):
    """An error that names the layer, loss or option without a compiled form."""


class _Translator:
    """A builder of programs: it places every value of a pass in the work array, in columns of one number per sample."""

    def __init__(self, network: Network, layers: Sequence[Layer], training: bool) -> None:
        self.training, self.width = training, network.in_features or 0
        self.rows: list[list[int]] = []
        self.numbers: list[float] = []
        self.statistics: list[tuple[BatchNorm, int]] = []  # with the place of their moments in numbers
        self.masks: list[tuple[Dropout, int]] = []  # with their widths
        self.columns, self.value, self.may_overwrite, self.bias = 0, NETWORK_INPUT, False, -1
        self.free: list[tuple[int, int]] = []
        self.kept: list[int] = [NETWORK_INPUT]
        self.starts: dict[tuple[int, str], int] = {}
        start = 0
        for _, leaf in network.leaves():
            for name in leaf.parameters.values():
                self.starts[id(leaf), name] = start
                start += getattr(leaf, name).size
        self.sequence(layers)
        if not self.rows:
            raise Unsupported(f"compile: expected at least one layer that computes something, got {network!r}")

    def row(self, op: int, *, code: int = 0, out: int | None = None, source: int | None = None, target: int = 0,
            other: int = 0, w: int = -1, b: int = -1, numbers: Sequence[float] = ()) -> None:  # fmt: skip
        out, source = self.width if out is None else out, self.value if source is None else source
        self.rows.append([op, code, self.width, out, source, target, other, 0, 0, w, b, len(self.numbers), 0])
        self.numbers.extend(numbers)

    def take(self, width: int) -> int:
        """Return free columns of the work array."""
        for place in self.free:
            if place[1] >= width:
                self.free.remove(place)
                return place[0]
        self.columns += -(-width // 16) * 16  # so that arrays begin at the start of a cache line
        return self.columns - -(-width // 16) * 16

    def move(self, target: int, width: int, may_overwrite: bool = True) -> None:
        """Go on with the value in these columns; a prediction needs the one before no more."""
        if not self.training and self.value not in (*self.kept, target):
            self.free.append((self.value, self.width))
        self.value, self.width = target, width
        self.may_overwrite = may_overwrite or not self.training

    def sequence(self, layers: Sequence[Layer]) -> None:
        for layer in layers:
            if type(layer) not in self.LAYERS:
                raise Unsupported(f"compile: expected layers with a compiled form, got {layer!r}; use the NumPy code")
            if not isinstance(layer, Activation):
                self.add_bias()
            self.LAYERS[type(layer)](self, layer)
        self.add_bias()

    def add_bias(self) -> None:
        if self.bias >= 0:
            self.unit(0, 1.0)

    def dense(self, layer: Dense) -> None:
        target = self.take(layer.out_features)
        self.row(DENSE, out=layer.out_features, target=target, w=self.starts[id(layer), "W"])
        self.move(target, layer.out_features)
        self.bias = self.starts.get((id(layer), "b"), -1)

    def activation(self, layer: Activation) -> None:
        options = dict(layer.options)
        if layer.f is activations.softmax and options.pop("dim", -1) in (-1, 1):
            self.add_bias()
            target = self.take(self.width)
            self.row(SOFTMAX, target=target, other=self.value)
            return self.move(target, self.width, may_overwrite=False)
        codes = [i for i, unit in enumerate(UNITS) if unit.function is layer.f]
        if not codes:
            raise Unsupported(f"compile: expected an activation with a compiled form, got {layer!r}; use the NumPy code")
        unit = UNITS[codes[0]]
        self.unit(codes[options.get("approximate") == "tanh"], float(options.get(unit.option, unit.default)))

    def unit(self, code: int, option: float) -> None:
        source = self.value
        other = source if self.may_overwrite else self.take(self.width)
        target = other if UNITS[code].keeps_H else self.take(self.width)
        self.row(UNIT, code=code, target=target, other=other, b=self.bias, numbers=[option])
        self.bias = -1
        self.move(target, self.width, may_overwrite=False)

    def dropout(self, layer: Dropout) -> None:
        if self.training:
            target, code = self.take(self.width), sum(width for _, width in self.masks)
            kept_share = 1.0 if layer.p in (0, 1) else 1 - layer.p
            self.row(DROPOUT, code=code, target=target, numbers=[float(np.float32(layer.p)), kept_share])
            self.masks.append((layer, self.width))
            self.move(target, self.width)

    def normalization(self, layer: BatchNorm | LayerNorm) -> None:
        target = self.take(self.width)
        other = self.take(self.width) if self.training else target
        w, b = self.starts[id(layer), "gamma"], self.starts[id(layer), "beta"]
        if isinstance(layer, BatchNorm):
            self.statistics.append((layer, len(self.numbers)))
            numbers, code, op = [0.0] * (3 * self.width) + [layer.eps], int(self.training), BATCH_NORM
        else:
            numbers, code, op = [layer.eps], self.take(1), LAYER_NORM
        self.row(op, code=code, target=target, other=other, w=w, b=b, numbers=numbers)
        self.move(target, self.width)

    def residual(self, layer: Residual) -> None:
        start = self.value
        self.row(FORK)
        self.kept.append(start)
        self.may_overwrite = False
        self.sequence(layer.layers)
        target = self.take(self.width)
        self.row(JOIN, source=start, target=target, other=self.value)
        self.kept.remove(start)
        self.move(target, self.width)

    LAYERS: dict[type, Callable[..., None]] = {
        Dense: dense,
        Activation: activation,
        Dropout: dropout,
        BatchNorm: normalization,
        LayerNorm: normalization,
        Residual: residual,
        Sequential: lambda self, layer: self.sequence(layer.layers),
    }

    def loss(self, functions: losses.LossFunctions, dtype: np.dtype[Any]) -> None:
        """Add the row of the loss, and the columns for gradients."""
        f, options, K = functions.value, {}, self.width
        if isinstance(f, functools.partial):
            f, options = f.func, dict(f.keywords)
        mean = options.pop("reduction", "mean") == "mean"
        if f is losses.cross_entropy:
            functions.value(np.zeros((1, K), dtype), np.zeros(1, int))  # raises where an option is wrong
            weight, ignore = options.pop("weight", None), options.pop("ignore_index", -100)
            numbers = [options.pop("label_smoothing", 0.0), *(() if weight is None else weight)]
            self.row(LOSS, code=CROSS_ENTROPY, other=ignore, w=weight is not None, b=mean, numbers=numbers)
        else:
            codes = [i for i, loss in enumerate(TERMS) if loss.function is f]
            if not codes:
                raise Unsupported(f"compile: expected a loss with a compiled form, got {f!r}; use the NumPy code")
            functions.value(np.zeros((1, K), dtype), np.zeros((1, K), dtype))
            loss, option = TERMS[codes[0]], 1.0
            if loss.option in options:
                option = options.pop(loss.option)
            over = mean * (1 + loss.over_outputs)
            self.row(LOSS, code=codes[0], b=over, numbers=np.broadcast_to(1 if option is None else option, (K,)))
        if options:
            raise Unsupported(f"compile: expected {f.__name__} without {', '.join(options)}; use the NumPy code")
        self.place_gradients()

    def place_gradients(self) -> None:
        """Give every row the columns of its dH and dX: two for each level of blocks, in turns."""
        first = next((row for row in self.rows if row[W] >= 0), self.rows[0])
        first[LAST] = 1
        widest = max([row[OUT] for row in self.rows] + [row[IN] for row in self.rows if row is not first])
        levels: list[list[int]] = [[self.take(widest), self.take(widest)]]
        self.rows[-1][DX] = levels[0][0]
        for row in reversed(self.rows[:-1]):
            row[DH] = row[DX] = levels[-1][0]
            if row[OP] == DENSE:
                levels[-1].reverse()
                row[DX] = NETWORK_INPUT if row is first else levels[-1][0]
            elif row[OP] == JOIN:
                levels.append([self.take(widest), self.take(widest)])
                row[DX] = levels[-1][0]
            elif row[OP] == FORK:
                levels.pop()
                row[DX] = levels[-1][0]


class Rule(NamedTuple):
    """A compiled update: its code, the names of the state arrays, and the numbers of a step."""

    code: int
    state: tuple[str, ...]
    numbers: Callable[[Any], tuple[float, ...]]


def _sgd(o: optimizers.SGD) -> tuple[float, ...]:
    keep = 1.0 if o.momentum_buffer is None else 1.0 - o.dampening
    return o.lr, o.momentum, keep, o.weight_decay, o.nesterov, -1.0 if o.maximize else 1.0, 0.0, 0.0


def _adagrad(o: optimizers.Adagrad) -> tuple[float, ...]:
    return o.lr / (1 + o.t * o.lr_decay), o.eps, o.weight_decay, 0.0, 0.0, 0.0, 0.0, 0.0


def _rmsprop(o: optimizers.RMSprop) -> tuple[float, ...]:
    return o.lr, o.alpha, 1 - o.alpha, o.eps, o.weight_decay, o.momentum, 0.0, 0.0


def _adam(o: optimizers.Adam) -> tuple[float, ...]:
    (beta1, beta2), t = o.betas, o.t + 1
    root = math.sqrt(1 - beta2**t)
    outside = isinstance(o, optimizers.AdamW)
    decay, shrink = (0.0, 1 - o.lr * o.weight_decay) if outside else (o.weight_decay, 1.0)
    return o.lr * root / (1 - beta1**t), beta1, 1 - beta1, beta2, 1 - beta2, o.eps * root, decay, shrink


MOMENTS = "exp_avg", "exp_avg_sq", "max_exp_avg_sq"
RULES: dict[type, Rule] = {
    optimizers.SGD: Rule(1, ("momentum_buffer",), _sgd),
    optimizers.Momentum1986: Rule(2, ("velocity",), lambda o: (o.lr, o.momentum, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)),
    optimizers.Adagrad: Rule(3, ("sum",), _adagrad),
    optimizers.RMSprop: Rule(4, ("square_avg", "grad_avg", "momentum_buffer"), _rmsprop),
    optimizers.Adam: Rule(5, MOMENTS, _adam),
    optimizers.AdamW: Rule(5, MOMENTS, _adam),
}
NO_UPDATE = Rule(0, (), lambda o: (0.0,) * 8)
CACHE = 2**17  # numbers of the work array that a block of a prediction fills


class CompiledStep:
    """A compiled training step of one network with one loss and one optimizer, see `compile`.

    Attributes
    ----------
    network : Network
    loss : see `handmade.losses.find_loss`
    optimizer : optimizer or None
        As given to `compile`.
    """

    def __init__(self, network: Network, loss: Loss, optimizer: Any) -> None:
        self.network, self.loss, self.optimizer = network, loss, optimizer
        dtype, (functions, depth) = network.dtype, network.head(loss)
        training = _Translator(network, network.layers[:depth], training=True)
        training.loss(functions, dtype)
        prediction = _Translator(network, network.layers, training=False)
        self._train, self._predict = _kernels(dtype)
        self._rule = RULES.get(type(optimizer), NO_UPDATE)
        self._state_of = operator.attrgetter(*(self._rule.state * 3)[:3]) if self._rule.state else lambda optimizer: None
        self._state: Any = None
        self._nothing = np.empty(0, dtype)
        self._no_labels, self._no_targets = np.empty(0, np.int64), np.empty((0, 0), dtype)
        self._of_classes = training.rows[-1][CODE] == CROSS_ENTROPY
        self._moments, self._dropouts = training.statistics, training.masks
        self._numbers, self._columns = np.array(training.numbers, dtype), training.columns
        self._program, self._theta, self._capacity = np.array(training.rows), network.theta, 0
        self._fixed: tuple[Array, ...] = ()
        self._running, self._running_numbers = prediction.statistics, np.array(prediction.numbers, dtype)
        self._forward = np.array(prediction.rows)
        self._rows = max(16, CACHE // prediction.columns)
        self._work_size, self._spare = self._rows * prediction.columns, []

    def __call__(self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> float:
        """Do one training step: forward, loss, backward, update.

        Parameters
        ----------
        X : array_like, shape (N, I)
            Inputs.
        y : array_like
            Targets, as the loss takes them.
        sample_weight : array_like, shape (N,), optional
            See `handmade.losses.loss_and_backward`.

        Returns
        -------
        float
            The loss before the update. Where it is not finite there is no update.

        Raises
        ------
        ValueError, TypeError
            As `Network.loss_and_gradient` and the optimizer's ``step`` do; nothing has changed then.
        RuntimeError
            If another thread is in a backward pass of this network.
        """
        optimizer, rule = self.optimizer, self._rule
        if rule is NO_UPDATE:  # an optimizer of another kind does its own step
            value = self._run(X, y, sample_weight, rule, None)
            if math.isfinite(value):
                optimizer.step(self.network.theta, self.network.gradient)
            return value
        state = self._state_of(optimizer)
        if not (self._state and all(map(operator.is_, state, self._state))) or any(a is None for a in state):
            state = self._complete_state()
        value = self._run(X, y, sample_weight, rule, state)
        if math.isfinite(value):
            optimizer.t += 1
            if state is not self._state:
                for name, array in zip(rule.state, state, strict=False):
                    setattr(optimizer, name, array)
                self._state = state
        return value

    def gradient(
        self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None
    ) -> tuple[float, Array]:
        """Return the loss and ``network.gradient``, as `Network.loss_and_gradient` does; no update."""
        return self._run(X, y, sample_weight, NO_UPDATE, None), self.network.gradient

    def predict(self, X: npt.ArrayLike) -> Array:
        """Return the output of the network in evaluation mode, as `Network.predict` does; any number of threads may."""
        network, version = self.network, self.network._weights.version
        for layer, at in self._running:
            O = len(layer.running_mean)
            self._running_numbers[at : at + O] = layer.running_mean
            self._running_numbers[at + O : at + 2 * O] = layer.running_var
        work = self._spare.pop() if self._spare else np.empty(self._work_size, network.dtype)
        fixed = self._forward, self._running_numbers, self._theta, work, self._rows
        try:
            H = self._predict(X, *fixed)
        except TypeError:  # not the array that the kernel is compiled for
            H = self._predict(np.ascontiguousarray(network.check_input(X)), *fixed)
        self._spare.append(work)
        if not H.size or version % 2 or network._weights.version != version:
            return network.predict(X)  # raises and says why; or new weights have been loaded meanwhile
        return H

    def _complete_state(self) -> tuple[Array | None, ...]:
        """Return the state arrays of the optimizer, new where it has none yet; it gets those after the step."""
        self.optimizer.check(self.network.theta, self.network.gradient)
        trial = copy.copy(self.optimizer)
        trial.allocate(self.network.theta)
        return self._state_of(trial)

    def _run(self, X: Any, y: Any, sample_weight: Any, rule: Rule, state: Any) -> float:
        network = self.network
        y = np.asarray(y)
        labels, Y = (y, self._no_targets) if self._of_classes and y.ndim == 1 else (self._no_labels, y)
        w = self._nothing if sample_weight is None else sample_weight
        s = [self._nothing if array is None else array for array in state or (None,) * 3]
        with network._gradient_writer:
            if len(X) > self._capacity:
                self._allocate(len(X))
            drawn = [layer.rng.bit_generator.state for layer, _ in self._dropouts]
            self._draw_masks(len(X))
            fixed = *self._fixed, *s, rule.code, *rule.numbers(self.optimizer)
            try:
                value = self._train(X, labels, Y, w, *fixed)
            except TypeError:  # not the arrays that the kernel is compiled for
                value = self._train(*self._converted(X, labels, Y, w), *fixed)
            if math.isfinite(value):
                self._move_statistics(len(X))
                return value
        try:
            copy.deepcopy(network).loss_and_gradient(X, y, self.loss, sample_weight=sample_weight)
        except Exception:
            for (layer, _), before in zip(self._dropouts, drawn, strict=True):
                layer.rng.bit_generator.state = before
            raise
        return value

    def _converted(self, X: Any, labels: Array, Y: Array, w: Any) -> tuple[Array, ...]:
        """Return the arrays with the dtypes and memory layouts that the kernel takes; NumPy's code judges the rest."""
        dtype, least = self.network.dtype, np.iinfo(np.int64).min
        X = np.ascontiguousarray(self.network.check_input(X))
        if labels.dtype.kind in "iu":
            labels = np.where(labels > np.iinfo(np.int64).max, least, labels).astype(np.int64)
        else:
            labels = np.full(len(X), least)
        Y = np.ascontiguousarray(Y, dtype) if Y.ndim == 2 and Y.dtype.kind in "iuf" else np.full((1, 1), np.nan, dtype)
        w = np.asarray(w)
        return X, labels, Y, np.ascontiguousarray(w, dtype) if w.ndim == 1 and w.dtype.kind in "iuf" else np.full(1, np.nan, dtype)

    def _allocate(self, N: int) -> None:
        """Make the arrays that a pass over N samples works in; a smaller batch uses a part of them."""
        network, self._capacity = self.network, N
        self._mask = np.empty(N * sum(width for _, width in self._dropouts), np.float32)
        work = np.empty(N * self._columns, network.dtype)
        self._fixed = self._program, self._numbers, network.theta, network.gradient, work, self._mask

    def _draw_masks(self, N: int) -> None:
        """Draw the random numbers of dropout as the layers do in the NumPy code: the same seed, the same masks."""
        start = 0
        for layer, width in self._dropouts:
            layer.rng.random(dtype=np.float32, out=self._mask[start : start + width * N])
            start += width * N

    def _move_statistics(self, N: int) -> None:
        for layer, at in self._moments:
            O = len(layer.running_mean)
            mean, variance = self._numbers[at : at + O], self._numbers[at + O : at + 2 * O]
            layer.running_mean += layer.momentum * (mean - layer.running_mean)
            layer.running_var += layer.momentum * (variance * (N / (N - 1)) - layer.running_var)
            layer.num_batches_tracked += 1


def compile(network: Network, loss: Loss = "cross_entropy", optimizer: Any = None) -> CompiledStep:
    """Compile the training step and the prediction of a network.

    The step works on the network's own theta and gradient and the optimizer's own state: both can be saved, checked,
    or trained further by the NumPy code at any time, and a schedule may change the learning rate between steps. The
    layers and their options, and the options of the loss, are those at the time of the call.

    Parameters
    ----------
    network : Network
        Of `Dense`, `Activation` (any of this package but log_softmax), `Dropout`, `BatchNorm`, `LayerNorm`,
        `Residual` and `Sequential` layers.
    loss : str, callable or functools.partial
        Cross-entropy, binary cross-entropy with logits, mse, half squared error, l1 or huber.
    optimizer : optional
        Anything with ``step(theta, gradient)``; Adam() unless given. SGD, Momentum1986, Adagrad, RMSprop, Adam and
        AdamW are compiled; another one runs its own step after the compiled passes.

    Returns
    -------
    CompiledStep
        ``step(X, y, sample_weight=None)`` returns the loss; ``step.predict(X)``; ``step.gradient(X, y)``.

    Raises
    ------
    Unsupported
        A TypeError that names the layer, loss or option without a compiled form.
    ImportError
        If numba or SciPy is missing.

    Examples
    --------
    >>> X, y = hm.data.xor()
    >>> network = hm.MLP([2, 8, 2], activation="tanh", rng=0)
    >>> step = hm.compile(network, loss="cross_entropy", optimizer=hm.Adam(lr=0.1))
    >>> losses = [step(X, y) for _ in range(100)]
    >>> step.predict(X).argmax(axis=1)
    array([0, 1, 1, 0])
    """
    if not isinstance(network, Network):
        raise TypeError(f"network: expected a Network, got {type(network).__name__}; wrap layers in Network([...])")
    return CompiledStep(network, loss, optimizers.Adam() if optimizer is None else optimizer)
