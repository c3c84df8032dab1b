"""Exponentials and tails for `handmade.compiled.functions`: the formulas of `handmade._numerics`, for one number.

`exp` and `expm1` of a float32 are computed in single precision, to 2 ULP, because vector registers hold twice as many
float32. Everything else is computed in double precision, and rounded once, when the result is stored.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import _numerics as exact
from ._jit import by_type, compiled


def polynomial(coefficients: Sequence[float]) -> Callable[[Any], Any]:
    """Return a compiled polynomial in t with these coefficients, the highest first, evaluated by Horner's rule.

    The expression is written out, because LLVM unrolls a loop over coefficients too late to use vector registers.
    """
    text = functools.reduce(
        lambda inner, c: f"({inner}) * t + {float(c)!r}", coefficients[1:], repr(float(coefficients[0]))
    )
    return compiled(eval(f"lambda t: {text}"))


Real = Any  # a number: float32 or float64
LOG2_E, LN2_HIGH, LN2_LOW = 1.4426950408889634, 6.93147180369123816490e-01, 1.90821492927058770002e-10
MAGIC = 1.5 * 2.0**52  # x + MAGIC rounds x to an integer, which is then in the low bits of the sum
atanh_rest = polynomial(
    [2 / k for k in range(33, 1, -2)]
)  # ((2 / s) atanh(s) - 2) / s^2, as a polynomial in s^2 with a remainder below 1e-17
FAR, FAR_FACTOR = 600, 2.0**-600  # below -600, e^x = p 2^-600: e^x itself becomes subnormal, then 0


@compiled
def exp_parts(x: Real) -> tuple[Real, Real, Real]:
    """Return p, r, q: e^x = (p + p q) r for x <= 340, with p and r powers of 2 and q = e^s - 1, |s| <= log(2) / 2.

    r is 1, or 2^-600 for very small e^x. There is no branch, so that loops over it run in vector registers.
    """
    x = -900.0 if x < -900.0 else np.float64(x)
    far = x < -FAR
    n = x * LOG2_E + MAGIC
    k = n - MAGIC
    s = x - k * LN2_HIGH - k * LN2_LOW
    t = 1 / 6227020800 * s + 1 / 479001600  # Taylor series; the remainder is below 1e-17
    t = ((((t * s + 1 / 39916800) * s + 1 / 3628800) * s + 1 / 362880) * s + 1 / 40320) * s + 1 / 5040
    t = ((((t * s + 1 / 720) * s + 1 / 120) * s + 1 / 24) * s + 1 / 6) * s + 1 / 2
    bits = np.float64(n).view(np.int64) + (1023 + (FAR if far else 0))
    return np.int64(bits << 52).view(np.float64), FAR_FACTOR if far else 1.0, t * s * s + s


@compiled
def exp_double(x: Real) -> Real:
    p, r, q = exp_parts(x)
    return (p + p * q) * r


@compiled
def expm1_double(x: Real) -> Real:
    p, r, q = exp_parts(x)
    return p * r * q + (p * r - 1.0)


single, integer = np.float32, np.int32
ZERO, ONE, LEAST_SINGLE = single(0), single(1), single(-110)
FAR_SINGLE, FAR_FACTOR_SINGLE, MAGIC_SINGLE = single(-60), single(2.0**-60), single(1.5 * 2.0**23)
LOG2_E_SINGLE, LN2_HIGH_SINGLE, LN2_LOW_SINGLE = single(LOG2_E), single(0.693359375), single(math.log(2) - 0.693359375)
C2, C3, C4, C5, C6, C7 = (single(1 / math.factorial(k)) for k in range(2, 8))  # remainder below 1e-8


@compiled
def exp_parts_single(x: Real) -> tuple[Real, Real, Real]:
    """Return p, r and q as `exp_parts` does, in single precision, for x <= 60."""
    x = LEAST_SINGLE if x < LEAST_SINGLE else x
    far = x < FAR_SINGLE
    n = x * LOG2_E_SINGLE + MAGIC_SINGLE
    k = n - MAGIC_SINGLE
    s = x - k * LN2_HIGH_SINGLE - k * LN2_LOW_SINGLE
    t = ((((C7 * s + C6) * s + C5) * s + C4) * s + C3) * s + C2
    bits = single(n).view(integer) + integer(187 if far else 127)
    return integer(bits << integer(23)).view(single), FAR_FACTOR_SINGLE if far else ONE, t * s * s + s


@compiled
def exp_single(x: Real) -> Real:
    p, r, q = exp_parts_single(x)
    return (p + p * q) * r


@compiled
def expm1_single(x: Real) -> Real:
    p, r, q = exp_parts_single(x)
    return p * r * q + (p * r - ONE)


exp, expm1 = by_type(exp_single, exp_double), by_type(expm1_single, expm1_double)  # e^x and e^x - 1


@compiled
def log1p(x: Real) -> Real:
    """Return log(1 + x) for 0 <= x <= 1: x - s (x - 2 (s^2 / 3 + s^4 / 5 + ...)) with s = x / (2 + x) <= 1 / 3."""
    s = x / (2 + x)
    return x - s * (x - atanh_rest(s * s) * (s * s))


# ---- silu, mish, gelu and tanhshrink: the parts in which digits would cancel -----------------------------------------

SILU_ROOT, SILU_REST = exact._SILU_ROOT
GELU_ROOT, GELU_REST = exact._GELU_ROOT
TANH_ROOT, TANH_REST = exact._GELU_TANH_ROOT
MISH_ROOT, MISH_REST = exact._MISH_ROOT
shrink_series = polynomial(exact._SHRINK)
mills, mills_quotient = polynomial(exact._mills_polynomial(False)), polynomial(exact._mills_quotient(False))
V1, V1_REST, V3, V3_REST = exact._V1, exact._V1_REST, exact._V3, exact._V3_REST
W1, W3 = V1 + V1_REST, V3 + V3_REST


@compiled
def positive_part(a: Real) -> Real:
    return 0.0 if a < 0 else np.float64(a)


@compiled
def capped(x: Real, most: Real) -> Real:
    return most if x > most else np.float64(x)


@compiled
def slope_factor(s: Real, minus_w: Real, from_root: Real) -> Real:
    """Return 1 - w (1 - s); near its root, where that cancels, as from_root (1 - s)."""
    factor, near_root = 1 + minus_w - minus_w * s, from_root * (1 - s)
    return near_root if abs(factor) < 0.4 else factor


@compiled
def silu_tail(x: Real) -> Real:
    """Return -silu(-x) for x >= 0: silu(a) = max(a, 0) - silu_tail(|a|)."""
    p, r, q = exp_parts(-x)
    e = p + p * q
    return x * (e / (1 + e * r)) * r


@compiled
def silu_slope_below(x: Real) -> Real:
    """Return silu'(-x) for x >= 0: silu'(x) = 1 - silu'(-x)."""
    p, r, q = exp_parts(-x)
    e = p + p * q
    d = SILU_ROOT - x
    from_root = d + ((SILU_ROOT - 1) * expm1(d) + SILU_ROOT * SILU_REST)
    total = 1 + e * r
    return e / total * slope_factor(e * r / total, -x, from_root) * r


@compiled
def mish_parts(x: Real) -> tuple[Real, Real]:
    """Return mish(x) / x and mish(-x)."""
    p, r, q = exp_parts(-x)
    e = p + p * q
    return (1 + 2 * e * r) / (1 + 2 * e * r * (1 + e * r)), -x * (e * (2 + e * r) / (2 + e * r * (2 + e * r))) * r


@compiled
def mish_slopes(x: Real) -> tuple[Real, Real]:
    """Return the slopes of mish at x and at -x, see `handmade._numerics.mish_slope_below`."""
    p, r, q = exp_parts(-x)
    e = (p + p * q) * r
    m = 1 + 2 * e * (1 + e)
    above = (1 + 2 * e + 4 * x * e * e * (1 + e) / m) / m
    root, at_root = -MISH_ROOT, 0.3034825352815289  # the root of the slope, and e^root
    d = MISH_ROOT - x + MISH_REST
    g = at_root * expm1(d) * (e * e + e * at_root + at_root * at_root + 4 * (e + at_root) + (6 + 4 * root))
    m = 2 + e * (2 + e)
    return above, (p + p * q) * ((g + 4 * d * (1 + e)) / (m * m)) * r


@compiled
def tanhshrink_near_0(x: Real) -> Real:
    """Return x - tanh(x) = (x cosh(x) - sinh(x)) / cosh(x) for 0 <= x <= 1.5."""
    e = exp(-x)
    return x * (x * x * shrink_series(x * x) / ((1 / e + e) / 2))


@compiled
def normal_density(x: Real) -> tuple[Real, Real]:
    """Return phi(x) as two factors. x is split, because a rounding error of x^2 would be one of e^(-x^2 / 2)."""
    rough = (x * 256 + MAGIC - MAGIC) / 256
    p, r, q = exp_parts(rough * rough / -2)
    return (p + p * q) * (exp((rough - x) * (rough + x) / 2) / math.sqrt(2 * math.pi)), r


@compiled
def gelu_tail(x: Real) -> Real:
    """Return -gelu(-x) for x >= 0: gelu(a) = max(a, 0) - gelu_tail(|a|)."""
    e, r = normal_density(x)
    return x * (e * (mills((x - 4) / (x + 4)) / (1 + x))) * r


@compiled
def gelu_slope_below(x: Real) -> Real:
    """Return gelu'(-x) for x >= 0: gelu'(x) = 1 - gelu'(-x)."""
    quotient = mills_quotient((x - 4) / (x + 4)) * (-8 / (4 + GELU_ROOT) / (x + 4)) + ((1 + GELU_ROOT) + x)
    e, r = normal_density(x)
    return (GELU_ROOT - x + GELU_REST) * quotient / (1 + x) * e * r


@compiled
def exp_minus_v(x: Real) -> tuple[Real, Real]:
    """Return e^-v as two factors, where v = W1 x + W3 x^3; x is split as in `normal_density`."""
    rough = (x * 256 + MAGIC - MAGIC) / 256
    missing = (x - rough) * (V1 + V3 * (x * x + x * rough + rough * rough)) + (V1_REST * x + V3_REST * x * x * x)
    p, r, q = exp_parts(-(V1 * rough + V3 * (rough * rough * rough)))
    return (p + p * q) * exp(-missing), r


@compiled
def gelu_tanh_tail(x: Real) -> Real:
    """Return -gelu_tanh(-x) for x >= 0, as `gelu_tail`."""
    e, r = exp_minus_v(x)
    return x * (e / (1 + e * r)) * r


@compiled
def gelu_tanh_slope_below(x: Real) -> Real:
    """Return the slope of gelu_tanh at -x for x >= 0, as `gelu_slope_below`."""
    cubic = W3 * (x * x + TANH_ROOT * x + TANH_ROOT * TANH_ROOT)  # W3 (x^3 - root^3) / (x - root)
    d = TANH_ROOT - x + TANH_REST
    e_root = W1 * TANH_ROOT + 3 * W3 * TANH_ROOT**3 - 1  # e^-v at the root
    e, r = exp_minus_v(x)
    total = 1 + e * r
    from_root = d * (W1 + 3 * cubic) + e_root * expm1(d * (W1 + cubic))
    return e / total * slope_factor(e * r / total, -x * (W1 + 3 * W3 * x * x), from_root) * r
