"""Functions of one number: activations and losses with their derivatives, and the exponentials under them.

Each function has its derivative under it. They follow `handmade.activations`, `handmade.losses` and
`handmade._numerics`, which give the reasons; float32 numbers are computed in double precision and rounded once.
"""

from __future__ import annotations

import math

import numpy as np

from .. import _numerics as exact
from ._jit import compiled

# ---- exponentials, in double precision for either dtype -------------------------------------------------------------

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
