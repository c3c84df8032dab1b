"""Functions of one number: activations and terms of losses, each followed by its derivative.

The formulas are those of `handmade.activations` and `handmade.losses`, where they are explained. An activation takes a,
the term of a loss takes a and y; options follow.
"""

from __future__ import annotations

import numpy as np

from ..activations.rectifiers import SELU_ALPHA, SELU_SCALE
from . import _numerics as exact
from ._jit import compiled
from ._numerics import Real, exp, expm1, log1p

ZERO, ONE, TWO, FOUR = np.float32(0), np.float32(1), np.float32(2), np.float32(4)  # floats would promote float32


# ---- activations -----------------------------------------------------------------------------------------------------


@compiled
def identity(a: Real) -> Real:
    return a


@compiled
def identity_slope(a: Real) -> Real:
    return ONE


@compiled
def relu(a: Real) -> Real:
    return ZERO if a <= 0 else a  # written so that NaN stays NaN


@compiled
def relu_slope(a: Real) -> Real:
    return ONE if a > 0 else ZERO


@compiled
def leaky_relu(a: Real, negative_slope: Real) -> Real:
    return a if a > 0 else negative_slope * a


@compiled
def leaky_relu_slope(a: Real, negative_slope: Real) -> Real:
    return ONE if a > 0 else negative_slope


@compiled
def sigmoid(a: Real) -> Real:
    e = exp(-abs(a))
    return (ONE if a >= 0 else e) / (ONE + e)


@compiled
def sigmoid_slope(a: Real) -> Real:
    e = exp(-abs(a))
    return e / ((ONE + e) * (ONE + e))


@compiled
def tanh(a: Real) -> Real:
    e = expm1(-TWO * abs(a))
    t = -e / (TWO + e)
    return -t if a < 0 else t


@compiled
def tanh_slope(a: Real) -> Real:
    return FOUR * sigmoid_slope(TWO * a)


@compiled
def elu(a: Real, alpha: Real) -> Real:
    e = alpha * expm1(ZERO if a > 0 else a)
    return a if a > 0 else e


@compiled
def elu_slope(a: Real, alpha: Real) -> Real:
    e = alpha * exp(ZERO if a > 0 else a)
    return ONE if a > 0 else e


@compiled
def softplus(a: Real, beta: Real) -> Real:
    return (0.0 if a < 0 else a) + log1p(exp(-abs(beta * a))) / beta


@compiled
def softplus_slope(a: Real, beta: Real) -> Real:
    return sigmoid(beta * a)


@compiled
def silu(a: Real) -> Real:
    return exact.positive_part(a) - exact.silu_tail(exact.capped(abs(a), 1e3))


@compiled
def silu_slope(a: Real) -> Real:
    s = exact.silu_slope_below(exact.capped(abs(a), 1e3))
    return 1 - s if a >= 0 else s


@compiled
def gelu(a: Real) -> Real:
    return exact.positive_part(a) - exact.gelu_tail(exact.capped(abs(a), 40.0))


@compiled
def gelu_slope(a: Real) -> Real:
    s = exact.gelu_slope_below(exact.capped(abs(a), 40.0))
    return 1 - s if a >= 0 else s


@compiled
def gelu_tanh(a: Real) -> Real:
    return exact.positive_part(a) - exact.gelu_tanh_tail(exact.capped(abs(a), 40.0))


@compiled
def gelu_tanh_slope(a: Real) -> Real:
    s = exact.gelu_tanh_slope_below(exact.capped(abs(a), 40.0))
    return 1 - s if a >= 0 else s


@compiled
def logsigmoid(a: Real) -> Real:
    return (a if a < 0 else 0.0) - log1p(exp(-abs(a)))


@compiled
def logsigmoid_slope(a: Real) -> Real:
    return sigmoid(-a)


# Piecewise functions


@compiled
def hardtanh(a: Real, low: Real, high: Real) -> Real:
    return low if a < low else (high if a > high else a)


@compiled
def hardtanh_slope(a: Real, low: Real, high: Real) -> Real:
    return ONE if low < a and a < high else ZERO


@compiled
def threshold(a: Real, most: Real, value: Real) -> Real:
    return value if a <= most else a


@compiled
def threshold_slope(a: Real, most: Real, value: Real) -> Real:
    return ZERO if a <= most else ONE


@compiled
def hardsigmoid(a: Real) -> Real:
    return hardtanh(a + 3.0, 0.0, 6.0) / 6


@compiled
def hardsigmoid_slope(a: Real) -> Real:
    return 1 / 6 if abs(a) < 3 else 0.0


@compiled
def hardswish(a: Real) -> Real:
    return (-3.0 if a < -3.0 else a) * hardsigmoid(a)


@compiled
def hardswish_slope(a: Real) -> Real:
    between = (a + 1.5) / 3
    return 0.0 if a <= -3.0 else (1.0 if a >= 3.0 else between)


@compiled
def softshrink(a: Real, lambd: Real) -> Real:
    return a - hardtanh(a, -lambd, lambd)


@compiled
def hardshrink(a: Real, lambd: Real) -> Real:
    return ZERO if abs(a) <= lambd else a  # NaN stays NaN


@compiled
def shrink_slope(a: Real, lambd: Real) -> Real:
    return ONE if abs(a) > lambd else ZERO


# Exponentials and quotients


@compiled
def selu(a: Real) -> Real:
    e = SELU_ALPHA * expm1(0.0 if a > 0 else a)
    return SELU_SCALE * (a if a > 0 else e)


@compiled
def selu_slope(a: Real) -> Real:
    e = SELU_ALPHA * exp(0.0 if a > 0 else a)
    return SELU_SCALE * (1.0 if a > 0 else e)


@compiled
def celu(a: Real, alpha: Real) -> Real:
    e = alpha * expm1((0.0 if a > 0 else a) / alpha)
    return a if a > 0 else e


@compiled
def celu_slope(a: Real, alpha: Real) -> Real:
    e = exp((0.0 if a > 0 else a) / alpha)
    return 1.0 if a > 0 else e


@compiled
def mish(a: Real) -> Real:
    above, below = exact.mish_parts(exact.capped(abs(a), 1e3))
    return a * above if a >= 0 else below


@compiled
def mish_slope(a: Real) -> Real:
    above, below = exact.mish_slopes(exact.capped(abs(a), 1e3))
    return above if a >= 0 else below


@compiled
def softsign(a: Real) -> Real:
    x = exact.capped(abs(a), 1e30)  # softsign rounds to 1 from 1e17 on; inf / inf would be NaN
    return -x / (1 + x) if a < 0 else x / (1 + x)


@compiled
def softsign_slope(a: Real) -> Real:
    r = 1 / (1 + np.float64(abs(a)))
    return r * r


@compiled
def tanhshrink(a: Real) -> Real:
    near, far = exact.tanhshrink_near_0(exact.capped(abs(a), 1.5)), a - tanh(a)
    near = -near if a < 0 else near
    return near if abs(a) < 1.5 else far


@compiled
def tanhshrink_slope(a: Real) -> Real:
    t = tanh(a)
    return t * t


# ---- terms of losses -------------------------------------------------------------------------------------------------


@compiled
def square(a: Real, y: Real) -> Real:
    return (a - y) * (a - y)


@compiled
def square_slope(a: Real, y: Real) -> Real:
    return 2.0 * (a - y)


@compiled
def half_square(a: Real, y: Real) -> Real:
    return 0.5 * (a - y) * (a - y)


@compiled
def half_square_slope(a: Real, y: Real) -> Real:
    return a - y


@compiled
def distance(a: Real, y: Real) -> Real:
    return abs(a - y)


@compiled
def distance_slope(a: Real, y: Real) -> Real:
    return np.sign(a - y)


@compiled
def huber(a: Real, y: Real, delta: Real) -> Real:
    e = abs(a - y)
    c = delta if e > delta else e
    return c * (e - c / 2)


@compiled
def huber_slope(a: Real, y: Real, delta: Real) -> Real:
    e = a - y
    return delta if e > delta else (-delta if e < -delta else e)


@compiled
def logit(a: Real, y: Real, pos_weight: Real) -> Real:
    """Return the binary cross-entropy of s(a). A term with weight 0 is 0, even if its other factor is infinite."""
    yes = 0.0 if y * pos_weight == 0 else y * pos_weight * softplus(-a, 1.0)
    return yes + (0.0 if y == 1 else (1 - y) * softplus(a, 1.0))


@compiled
def logit_slope(a: Real, y: Real, pos_weight: Real) -> Real:
    return (1 - y) * sigmoid(a) - y * pos_weight * sigmoid(-a)
