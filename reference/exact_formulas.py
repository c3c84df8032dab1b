"""Activations, losses and their derivatives as formulas in mpmath, without cancellation beyond its 50 digits.

An elementwise function takes a number. Functions along classes take a list of logits. The upstream gradient of their
derivatives is one for the first class and zero for the others; the target of a loss is the first class.
"""

from __future__ import annotations

from typing import Any

import mpmath
from mpmath import exp, expm1, log, log1p, mpf

Number = Any  # mpmath.mpf; mpmath has no annotations
Row = list[Number]

# ---- elementwise activations -----------------------------------------------------------------------------------------


def sigmoid(a: Number) -> Number:
    """Return 1 / (1 + e^-a)."""
    return 1 / (1 + exp(-a))


def sigmoid_slope(a: Number) -> Number:
    """Return s(a) s(-a), which does not cancel."""
    return sigmoid(a) * sigmoid(-a)


def tanh_slope(a: Number) -> Number:
    """Return 1 / cosh(a)^2."""
    return mpmath.sech(a) ** 2


def leaky_relu(a: Number, negative_slope: float = 0.01) -> Number:
    """Return a above 0, else a times the negative slope."""
    return a if a > 0 else mpf(negative_slope) * a


def leaky_relu_slope(a: Number, negative_slope: float = 0.01) -> Number:
    """Return 1 above 0, else the negative slope."""
    return mpf(1 if a > 0 else negative_slope)


def elu(a: Number, alpha: float = 1.0) -> Number:
    """Return a above 0, else alpha (e^a - 1)."""
    return a if a > 0 else mpf(alpha) * expm1(a)


def elu_slope(a: Number, alpha: float = 1.0) -> Number:
    """Return 1 above 0, else alpha e^a."""
    return mpf(1) if a > 0 else mpf(alpha) * exp(a)


def gelu(a: Number, approximate: str = "none") -> Number:
    """Return a Phi(a), or a s(2u), which equals the tanh form a (1 + tanh u) / 2."""
    return a * (mpmath.ncdf(a) if approximate == "none" else sigmoid(_twice_u(a)))


def gelu_slope(a: Number, approximate: str = "none") -> Number:
    """Return Phi(a) + a phi(a), or the derivative of the tanh form."""
    if approximate == "none":
        return mpmath.ncdf(a) + a * mpmath.npdf(a)
    twice_u_slope = mpmath.sqrt(8 / mpmath.pi) * (1 + 3 * mpf("0.044715") * a**2)
    return sigmoid(_twice_u(a)) * (1 + a * sigmoid(-_twice_u(a)) * twice_u_slope)


def _twice_u(a: Number) -> Number:
    return mpmath.sqrt(8 / mpmath.pi) * (a + mpf("0.044715") * a**3)


def silu(a: Number) -> Number:
    """Return a s(a)."""
    return a * sigmoid(a)


def silu_slope(a: Number) -> Number:
    """Return s(a) (1 + a s(-a))."""
    return sigmoid(a) * (1 + a * sigmoid(-a))


def softplus(a: Number, beta: float = 1.0) -> Number:
    """Return log(1 + e^(beta a)) / beta."""
    return log1p(exp(mpf(beta) * a)) / mpf(beta)


def softplus_slope(a: Number, beta: float = 1.0) -> Number:
    """Return s(beta a)."""
    return sigmoid(mpf(beta) * a)


SELU_SCALE, SELU_ALPHA = mpf(1.0507009873554805), mpf(1.6732632423543772)  # as rounded to double precision


def selu(a: Number) -> Number:
    """Return scale a above 0, else scale alpha (e^a - 1)."""
    return SELU_SCALE * (a if a > 0 else SELU_ALPHA * expm1(a))


def selu_slope(a: Number) -> Number:
    """Return scale above 0, else scale alpha e^a."""
    return SELU_SCALE * (1 if a > 0 else SELU_ALPHA * exp(a))


def celu(a: Number, alpha: float = 1.0) -> Number:
    """Return a above 0, else alpha (e^(a / alpha) - 1)."""
    return a if a > 0 else mpf(alpha) * expm1(a / mpf(alpha))


def celu_slope(a: Number, alpha: float = 1.0) -> Number:
    """Return 1 above 0, else e^(a / alpha)."""
    return mpf(1) if a > 0 else exp(a / mpf(alpha))


def mish(a: Number) -> Number:
    """Return a tanh(log(1 + e^a))."""
    return a * _tanh_of_softplus(a)


def mish_slope(a: Number) -> Number:
    """Return t + a (1 - t^2) s(a), where 1 - t^2 = 1 / cosh(log(1 + e^a))^2."""
    return _tanh_of_softplus(a) + a * mpmath.sech(log1p(exp(a))) ** 2 * sigmoid(a)


def _tanh_of_softplus(a: Number) -> Number:
    return mpmath.tanh(log1p(exp(a)))


def tanhshrink(a: Number) -> Number:
    """Return a - tanh(a), computed with twice the digits because of the cancellation near 0."""
    with mpmath.extradps(mpmath.mp.dps):
        return a - mpmath.tanh(a)


# ---- piecewise activations -------------------------------------------------------------------------------------------


def hardtanh(a: Number, min_val: float = -1.0, max_val: float = 1.0) -> Number:
    """Return a between the bounds."""
    return min(max(a, mpf(min_val)), mpf(max_val))


def hardtanh_slope(a: Number, min_val: float = -1.0, max_val: float = 1.0) -> Number:
    """Return 1 between the bounds, else 0."""
    return mpf(min_val < a < max_val)


def relu6(a: Number) -> Number:
    """Return a between 0 and 6."""
    return hardtanh(a, 0, 6)


def relu6_slope(a: Number) -> Number:
    """Return 1 between 0 and 6, else 0."""
    return hardtanh_slope(a, 0, 6)


def hardsigmoid(a: Number) -> Number:
    """Return a sixth of a + 3 between 0 and 6."""
    return hardtanh(a + 3, 0, 6) / 6


def hardsigmoid_slope(a: Number) -> Number:
    """Return 1 / 6 between -3 and 3, else 0."""
    return hardtanh_slope(a, -3, 3) / 6


def hardswish(a: Number) -> Number:
    """Return a times the hard sigmoid."""
    return a * hardsigmoid(a)


def hardswish_slope(a: Number) -> Number:
    """Return 0, a / 3 + 1 / 2, or 1."""
    return mpf(a > 0) if abs(a) >= 3 else a / 3 + mpf(1) / 2


def softshrink(a: Number, lambd: float = 0.5) -> Number:
    """Return a - lambd above lambd, a + lambd below -lambd, else 0."""
    return a - hardtanh(a, -lambd, lambd)


def hardshrink(a: Number, lambd: float = 0.5) -> Number:
    """Return a where |a| > lambd, else 0."""
    return a * shrink_slope(a, lambd)


def shrink_slope(a: Number, lambd: float = 0.5) -> Number:
    """Return the slope of softshrink and hardshrink: 1 where |a| > lambd, else 0."""
    return mpf(abs(a) > lambd)


def threshold(a: Number, threshold: float, value: float) -> Number:
    """Return a above the threshold, else the value."""
    return a if a > threshold else mpf(value)


def threshold_slope(a: Number, threshold: float, value: float) -> Number:
    """Return 1 above the threshold, else 0."""
    return mpf(a > threshold)


# ---- activations along classes ---------------------------------------------------------------------------------------


def _softmax_parts(row: Row) -> tuple[Row, Row, Number]:
    """Return p, 1 - p as the sum of the other p, and log of the sum of exp(z - max), whose largest term is 1."""
    m = max(row)
    E = [exp(z - m) for z in row]
    total = mpmath.fsum(E)
    first_largest = row.index(m)
    return (
        [e / total for e in E],
        [mpmath.fsum(E[:j] + E[j + 1 :]) / total for j in range(len(E))],
        log1p(mpmath.fsum(E[:first_largest] + E[first_largest + 1 :])),
    )


def softmax(row: Row) -> Row:
    """Return the probabilities p."""
    return _softmax_parts(row)[0]


def softmax_slope(row: Row) -> Row:
    """Return the derivatives of the first p with respect to each logit."""
    P, others, _ = _softmax_parts(row)
    return [P[0] * others[0], *(-P[0] * p for p in P[1:])]


def log_softmax(row: Row) -> Row:
    """Return log p."""
    log_sum = _softmax_parts(row)[2]
    return [z - max(row) - log_sum for z in row]


def log_softmax_slope(row: Row) -> Row:
    """Return the derivatives of the first log p with respect to each logit."""
    P, others, _ = _softmax_parts(row)
    return [others[0], *(-p for p in P[1:])]


# ---- losses ----------------------------------------------------------------------------------------------------------


def huber_loss(x: Number, y: Number, delta: float = 1.0) -> Number:
    """Return e^2 / 2 for |e| up to delta, else delta (|e| - delta / 2), with e = x - y."""
    e, d = abs(x - y), mpf(delta)
    return e * e / 2 if e <= d else d * (e - d / 2)


def huber_loss_slope(x: Number, y: Number, delta: float = 1.0) -> Number:
    """Return x - y, clipped to [-delta, delta]."""
    return max(-mpf(delta), min(mpf(delta), x - y))


def smooth_l1_loss(x: Number, y: Number, beta: float = 1.0) -> Number:
    """Return the Huber loss with delta = beta, divided by beta."""
    return huber_loss(x, y, beta) / mpf(beta)


def smooth_l1_loss_slope(x: Number, y: Number, beta: float = 1.0) -> Number:
    """Return (x - y) / beta, clipped to [-1, 1]."""
    return huber_loss_slope(x, y, beta) / mpf(beta)


def hinge_loss(x: Number, y: Number) -> Number:
    """Return max(0, 1 - y x)."""
    return max(mpf(0), 1 - y * x)


def hinge_loss_slope(x: Number, y: Number) -> Number:
    """Return -y where the margin is violated, else 0."""
    return -y if y * x < 1 else mpf(0)


def binary_cross_entropy(p: Number, y: Number) -> Number:
    """Return -log p for y = 1, -log(1 - p) for y = 0."""
    return -log(p) if y else -log1p(-p)


def binary_cross_entropy_slope(p: Number, y: Number) -> Number:
    """Return -1 / p for y = 1, 1 / (1 - p) for y = 0."""
    return -1 / p if y else 1 / (1 - p)


def binary_cross_entropy_with_logits(a: Number, y: Number) -> Number:
    """Return log(1 + e^-a) for y = 1, log(1 + e^a) for y = 0."""
    return log1p(exp(-a if y else a))


def binary_cross_entropy_with_logits_slope(a: Number, y: Number) -> Number:
    """Return s(a) - y, as -s(-a) for y = 1, without cancellation."""
    return -sigmoid(-a) if y else sigmoid(a)


def quantile_loss(x: Number, y: Number) -> Number:
    """Return half the absolute error."""
    return abs(x - y) / 2


def hinge_embedding_loss(x: Number, y: Number) -> Number:
    """Return x for y = 1, max(0, 1 - x) for y = -1."""
    return x if y > 0 else max(mpf(0), 1 - x)


def hinge_embedding_loss_slope(x: Number, y: Number) -> Number:
    """Return 1 for y = 1, -1 where the margin is violated for y = -1."""
    return mpf(1) if y > 0 else -mpf(x < 1)


def sigmoid_focal_loss(a: Number, y: Number) -> Number:
    """Return alpha (1 - p)^2 times the cross-entropy -log p of the right answer; alpha is 0.25 for y = 1, else 0.75."""
    b, alpha = (a, mpf(1) / 4) if y else (-a, mpf(3) / 4)
    return alpha * sigmoid(-b) ** 2 * log1p(exp(-b))


def sigmoid_focal_loss_slope(a: Number, y: Number) -> Number:
    """Return the derivative as a sum of terms of equal sign, which do not cancel."""
    b, alpha, sign = (a, mpf(1) / 4, -1) if y else (-a, mpf(3) / 4, 1)
    q = sigmoid(-b)
    return sign * alpha * q**2 * (q + 2 * sigmoid(b) * log1p(exp(-b)))


def multilabel_soft_margin_loss(row: Row) -> Number:
    """Return the mean of the binary cross-entropies of a row of logits; the first label is 1, the others are 0."""
    return mpmath.fsum(log1p(exp(-z if j == 0 else z)) for j, z in enumerate(row)) / len(row)


def multilabel_soft_margin_loss_slope(row: Row) -> Row:
    """Return (s(a) - y) / K for each class."""
    return [(-sigmoid(-z) if j == 0 else sigmoid(z)) / len(row) for j, z in enumerate(row)]


def nll_loss_slope(row: Row) -> Row:
    """Return -1 for the first class, 0 for the others."""
    return [mpf(-1), *(mpf(0) for _ in row[1:])]


def multi_margin_loss(row: Row) -> Number:
    """Return the sum of the violated margins, divided by the number of classes."""
    return mpmath.fsum(_violations(row)) / len(row)


def multi_margin_loss_slope(row: Row) -> Row:
    """Return 1 / K for each violated class, and minus their sum for the first."""
    slopes = [mpf(1 if v > 0 else 0) / len(row) for v in _violations(row)]
    return [-mpmath.fsum(slopes), *slopes]


def multilabel_margin_loss(row: Row) -> Number:
    """Return the sum of the margins that other classes violate of the first two, the labels, divided by K."""
    return mpmath.fsum(max(mpf(0), 1 - t + z) for t in row[:2] for z in row[2:]) / len(row)


def multilabel_margin_loss_slope(row: Row) -> Row:
    """Return 1 / K for each margin that a class violates, and -1 / K for each violated margin of a label."""
    own = [-mpmath.fsum(1 - t + z > 0 for z in row[2:]) / len(row) for t in row[:2]]
    return own + [mpmath.fsum(1 - t + z > 0 for t in row[:2]) / len(row) for z in row[2:]]


def _violations(row: Row) -> Row:
    return [max(mpf(0), 1 - row[0] + z) for z in row[1:]]


def cross_entropy(row: Row) -> Number:
    """Return -log p of the first class."""
    return -log_softmax(row)[0]


def cross_entropy_slope(row: Row) -> Row:
    """Return p - y, for the first class as minus the sum of the other p, without cancellation."""
    return [-slope for slope in log_softmax_slope(row)]
