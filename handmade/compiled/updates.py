"""The updates of `handmade.optimizers` in one pass over theta, each followed by the hyperparameters that it reads."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from .. import optimizers
from ._jit import compiled
from ._numerics import Real
from .blas import add_scaled, scale
from .passes import AXPY, GRADIENT, PARAMETERS, SCAL, STATE1, STATE2, STATE3, THETA, Array, Pass, long_vector

SHARED = 2**21  # N x parameters from which BLAS divides the products of a step among its threads


class Rule(NamedTuple):
    """A compiled update: its operation, the names of the state arrays, and the hyperparameters of the next step."""

    update: Callable[..., None]
    state: tuple[str, ...]
    numbers: Callable[[Any], tuple[float, ...]]
    counts: bool = False  # whether the hyperparameters depend on the number of steps so far


@compiled
def hyperparameters(p: Pass) -> tuple[Real, ...]:
    """Return the eight hyperparameters in the dtype of theta."""
    number, h = p.X.dtype.type, p.numbers
    return (
        number(h[0]),
        number(h[1]),
        number(h[2]),
        number(h[3]),
        number(h[4]),
        number(h[5]),
        number(h[6]),
        number(h[7]),
    )


@compiled
def by_blas(p: Pass, row: Array) -> bool:
    """Return whether BLAS updates faster: after large products, each of its threads has a part of dW in its cache."""
    return len(p.X) * row[PARAMETERS] >= SHARED and row[AXPY] != 0 and row[SCAL] != 0


@compiled
def decayed(g: Real, decay: Real, w: Real) -> Real:
    """Return g + decay w; without decay return g, because 0 times an infinite weight would be NaN."""
    return g + decay * w if decay != 0 else g


def sgd(p: Pass, row: Array) -> None:
    theta, gradient, velocity = long_vector(p, THETA), long_vector(p, GRADIENT), long_vector(p, STATE1)
    lr, momentum, keep, decay, nesterov, sign, _, _ = hyperparameters(p)
    if by_blas(p, row) and decay == 0:
        if momentum != 0:
            scale(row[SCAL], momentum, velocity)
            add_scaled(row[AXPY], sign * keep, gradient, velocity)
            add_scaled(row[AXPY], -lr * (momentum if nesterov else 1), velocity, theta)
        if momentum == 0 or nesterov:
            add_scaled(row[AXPY], -lr * sign, gradient, theta)
        return
    if momentum == 0:
        for i in range(theta.size):
            theta[i] -= lr * decayed(sign * gradient[i], decay, theta[i])
        return
    for i in range(theta.size):
        g = decayed(sign * gradient[i], decay, theta[i])
        velocity[i] = momentum * velocity[i] + keep * g
        theta[i] -= lr * (g + momentum * velocity[i] if nesterov else velocity[i])


def _sgd(o: optimizers.SGD) -> tuple[float, ...]:
    keep = 1.0 if o.momentum_buffer is None else 1.0 - o.dampening
    return o.lr, o.momentum, keep, o.weight_decay, o.nesterov, _sign(o)


def _sign(o: Any) -> float:
    return -1.0 if o.maximize else 1.0


def momentum1986(p: Pass, row: Array) -> None:
    theta, gradient, velocity = long_vector(p, THETA), long_vector(p, GRADIENT), long_vector(p, STATE1)
    lr, momentum = hyperparameters(p)[:2]
    for i in range(theta.size):
        velocity[i] = momentum * velocity[i] - lr * gradient[i]
        theta[i] += velocity[i]


def _momentum1986(o: optimizers.Momentum1986) -> tuple[float, ...]:
    return o.lr, o.momentum


def adagrad(p: Pass, row: Array) -> None:
    theta, gradient, s = long_vector(p, THETA), long_vector(p, GRADIENT), long_vector(p, STATE1)
    lr, eps, decay, sign = hyperparameters(p)[:4]
    for i in range(theta.size):
        g = decayed(sign * gradient[i], decay, theta[i])
        s[i] += g * g
        theta[i] -= lr * (g / (math.sqrt(s[i]) + eps))


def _adagrad(o: optimizers.Adagrad) -> tuple[float, ...]:
    return o.lr / (1 + o.t * o.lr_decay), o.eps, o.weight_decay, _sign(o)


def rmsprop(p: Pass, row: Array) -> None:
    theta, gradient, square_avg = long_vector(p, THETA), long_vector(p, GRADIENT), long_vector(p, STATE1)
    grad_avg, velocity = long_vector(p, STATE2), long_vector(p, STATE3)
    lr, alpha, rest, eps, decay, momentum, sign, centered = hyperparameters(p)
    for i in range(theta.size):
        g = decayed(sign * gradient[i], decay, theta[i])
        square_avg[i] = alpha * square_avg[i] + rest * (g * g)
        variance = square_avg[i]
        if centered:
            grad_avg[i] = alpha * grad_avg[i] + rest * g
            variance = max(square_avg[i] - grad_avg[i] * grad_avg[i], 0 * g)
        g = g / (math.sqrt(variance) + eps)
        if momentum != 0:
            velocity[i] = momentum * velocity[i] + g
            g = velocity[i]
        theta[i] -= lr * g


def _rmsprop(o: optimizers.RMSprop) -> tuple[float, ...]:
    return o.lr, o.alpha, 1 - o.alpha, o.eps, o.weight_decay, o.momentum, _sign(o), o.centered


def adam(p: Pass, row: Array) -> None:
    theta, gradient = long_vector(p, THETA), long_vector(p, GRADIENT)
    m, v, largest_v = long_vector(p, STATE1), long_vector(p, STATE2), long_vector(p, STATE3)
    lr, beta1, rest1, beta2, eps, decay, shrink, amsgrad = hyperparameters(p)
    rest2 = theta.dtype.type(1 - p.numbers[3])  # subtracted in double precision, which loses no digits
    for i in range(theta.size):
        g = decayed(gradient[i], decay, theta[i])
        theta[i] *= shrink
        m[i] = beta1 * m[i] + rest1 * g
        v[i] = beta2 * v[i] + rest2 * (g * g)
        variance = v[i]
        if amsgrad:
            variance = largest_v[i] = max(largest_v[i], v[i])
        theta[i] -= lr * (m[i] / (math.sqrt(variance) + eps))


def _adam(o: optimizers.Adam) -> tuple[float, ...]:
    (beta1, beta2), t = o.betas, o.t + 1
    root = math.sqrt(1 - beta2**t)
    outside = isinstance(o, optimizers.AdamW)
    decay, shrink = (0.0, 1 - o.lr * o.weight_decay) if outside else (o.weight_decay, 1.0)
    # To maximize, (1 - beta1) (-g + decay theta) is computed as -(1 - beta1) (g - decay theta).
    rest1, decay = _sign(o) * (1 - beta1), _sign(o) * decay
    return o.lr * root / (1 - beta1**t), beta1, rest1, beta2, o.eps * root, decay, shrink, o.amsgrad


MOMENTS = "exp_avg", "exp_avg_sq", "max_exp_avg_sq"
RULES: dict[type, Rule] = {
    optimizers.SGD: Rule(sgd, ("momentum_buffer",), _sgd),
    optimizers.Momentum1986: Rule(momentum1986, ("velocity",), _momentum1986),
    optimizers.Adagrad: Rule(adagrad, ("sum",), _adagrad, counts=True),
    optimizers.RMSprop: Rule(rmsprop, ("square_avg", "grad_avg", "momentum_buffer"), _rmsprop),
    optimizers.Adam: Rule(adam, MOMENTS, _adam, counts=True),
    optimizers.AdamW: Rule(adam, MOMENTS, _adam, counts=True),
}
