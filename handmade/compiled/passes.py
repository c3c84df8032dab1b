"""Passes over arrays: each forward pass, and under it its backward pass; losses of a batch; updates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import activations, losses
from . import functions as f
from ._jit import compiled, inlined, summed

ZERO, ONE = f.ZERO, f.ONE


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
    """Return a function of (code, arguments) that calls functions[code]: Numba has no table of functions."""
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
    Unit(activations.identity, f.identity, f.identity_slope, keeps_H=True),
    Unit(activations.relu, f.relu, f.relu_slope, keeps_H=True),
    Unit(activations.sigmoid, f.sigmoid, f.sigmoid_slope),
    Unit(activations.tanh, f.tanh, f.tanh_slope),
    Unit(activations.leaky_relu, f.leaky_relu, f.leaky_relu_slope, "negative_slope", 0.01),
    Unit(activations.elu, f.elu, f.elu_slope, "alpha"),
    Unit(activations.softplus, f.softplus, f.softplus_slope, "beta"),
    Unit(activations.silu, f.silu, f.silu_slope),
    Unit(activations.gelu, f.gelu, f.gelu_slope),
    Unit(activations.gelu, f.gelu_tanh, f.gelu_tanh_slope),
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


# ---- softmax and cross-entropy of one row of logits ------------------------------------------------------------------

REACH = 340.0  # as in `handmade.losses`: exponentials of such logits need no shift


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
        E[c] = f.exp(d) * (1 + (lost if lost > -1 else 0.0))
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
            E[c] = f.exp(difference(z[c], shift))
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


# ---- other layers ----------------------------------------------------------------------------------------------------


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
    """H = X / (1 - p) where the random number is at least p, else 0."""
    for i in range(X.shape[0]):
        for j in range(X.shape[1]):
            H[i, j] = X[i, j] / kept_share if U[i, j] >= p else X[i, j] * ZERO


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
    Terms(losses.mse_loss, f.mse, f.mse_slope),
    Terms(losses.half_squared_error, f.half_squares, f.half_squares_slope, over_outputs=False),
    Terms(losses.l1_loss, f.l1, f.l1_slope),
    Terms(losses.huber_loss, f.huber, f.huber_slope, "delta"),
    Terms(losses.binary_cross_entropy_with_logits, f.logit, f.logit_slope, "pos_weight"),
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
            count += np.float64(class_weight[t]) if class_weight.size else 1.0
    divisor = 1.0
    if mean:
        divisor = np.float64(N) if len(T) or w.size or count == 0 else count
    for i in range(N):
        factor = (np.float64(w[i]) if w.size else 1.0) / divisor
        t = labels[i] if labels.size else -1
        if labels.size and t == ignore:
            fill(dZ[i])
        elif labels.size and smoothing == 0:
            factor *= np.float64(class_weight[t]) if class_weight.size else 1.0
            value += against_index(Z[i], t, factor, E, dZ[i])
        else:
            for c in range(K):
                share = (np.float64(T[i, c]) if len(T) else 1.0 * (c == t)) * (1 - smoothing) + smoothing / K
                row[c] = share * (np.float64(class_weight[c]) if class_weight.size else 1.0)
            value += against_distribution(Z[i], row, factor, E, dZ[i])
    return value


# ---- updates: those of `handmade.optimizers`, in one pass over theta -------------------------------------------------


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
    lr, eps, decay, sign = h[0], h[1], h[2], h[3]
    for i in range(theta.size):
        g = sign * gradient[i] + decay * theta[i]
        s[i] += g * g
        theta[i] -= lr * (g / (math.sqrt(s[i]) + eps))


@compiled
def rmsprop(arrays):
    theta, gradient, square_avg, grad_avg, velocity, h = arrays
    lr, alpha, rest, eps, decay, momentum, sign, _ = h
    for i in range(theta.size):
        g = sign * gradient[i] + decay * theta[i]
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
