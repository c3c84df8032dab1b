"""The operations of a program: forward passes, each followed by its backward pass, and losses.

All take the same two arguments. ``p`` holds the arrays of a pass. ``row`` is a row of the program, which says how wide
the operation's arrays are and where they start; `values` returns one of them, shape (N, width). Forward overwrites X
with H, except in a product, whose backward pass needs X. Backward reads dH where H was, and writes dX where X was: no
operation needs X any more.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ._jit import array_at, compiled
from ._numerics import Real
from .logits import (
    against_distribution,
    against_index,
    difference,
    exponentials,
    exponentials_of_rows,
    others_of,
    rows_at_once,
    shift_of,
)
from .passes import (
    AT,
    DB,
    DW,
    GEMM,
    IN,
    MASKS,
    NEED_DX,
    OUT,
    SAVED,
    WORK,
    Array,
    B,
    H,
    Pass,
    W,
    X,
    labels_of,
    matrix,
    targets_of,
    values,
    vector,
    weights_of,
)  # fmt: skip

# ``p.numbers`` begins with eight hyperparameters of the update and the value of the loss. From OWN on, it has the
# options of the operations. Those of a loss are: whether it is a mean over samples, and over outputs; the label to
# ignore; label smoothing; whether there are class weights; the smallest and the largest valid target; further options.
LOSS, OWN = 8, 9
MEAN, OVER_OUTPUTS, IGNORED, SMOOTHING, WEIGHTED, LEAST, LARGEST, GIVEN = range(8)


@compiled
def fill(x: Array) -> None:
    for j in range(x.size):
        x[j] = 0


# ---- Dense -----------------------------------------------------------------------------------------------------------

dot: Any = abs  # a placeholder: `address` puts `handmade.compiled.blas.dot` in its place
SMALL = 200  # multiplications: up to here, calling BLAS takes longer than the loops


@compiled
def transpose(At: Array, A: Array) -> None:
    """Set A, shape (N, O), to the transpose of At, 4 columns at a time, which the compiler turns into shuffles."""
    N, O = A.shape
    for start in range(0, O, 4):
        for i in range(N):
            if start + 4 <= O:
                for j in range(4):
                    A[i, start + j] = At[start + j, i]
            else:
                for j in range(start, O):
                    A[i, j] = At[j, i]


def product(p: Pass, row: Array) -> None:
    """Set A = X Wt; a later operation adds the bias, together with the activation."""
    N, O, I = len(p.X), row[OUT], row[IN]
    X_, W_, A = values(p, row[X], I), matrix(p, row, W), values(p, row[H], O)
    # OpenBLAS computes At = W Xt in float32 up to twice as fast as A = X Wt if X has few, long rows.
    if A.itemsize == 4 and N <= 128 and max(64, 2 * N) <= I and 2 * N <= O and N * O > 1200:
        At = array_at(p.first[WORK] + row[SAVED] * N * A.itemsize, (O, N), A.dtype)
        dot(p.first[GEMM], W_, X_.T, At)
        transpose(At, A)
        return
    if N * O * I > SMALL:
        dot(p.first[GEMM], X_, W_.T, A)
        return
    for i in range(N):
        for o in range(O):
            total = A.dtype.type(0)
            for k in range(I):
                total += X_[i, k] * W_[o, k]
            A[i, o] = total


def product_backward(p: Pass, row: Array) -> None:
    """Set dW = dAt X, and dX = dA W if it is needed."""
    N, O, I = len(p.X), row[OUT], row[IN]
    dA, X_, W_, dW = values(p, row[H], O), values(p, row[X], I), matrix(p, row, W), matrix(p, row, DW)
    if N * O * I > SMALL:
        dot(p.first[GEMM], dA.T, X_, dW)
        if row[NEED_DX]:
            dot(p.first[GEMM], dA, W_, X_)
        return
    for o in range(O):
        fill(dW[o])
        for i in range(N):
            for k in range(I):
                dW[o, k] += dA[i, o] * X_[i, k]
    if row[NEED_DX]:
        for i in range(N):
            fill(X_[i])
            for o in range(O):
                for k in range(I):
                    X_[i, k] += dA[i, o] * W_[o, k]


def add_bias(p: Pass, row: Array) -> None:
    A, b = values(p, row[H], row[OUT]), vector(p, row, B)
    for i in range(A.shape[0]):
        for j in range(A.shape[1]):
            A[i, j] += b[j]


def add_bias_backward(p: Pass, row: Array) -> None:
    dA, db = values(p, row[H], row[OUT]), vector(p, row, DB)
    fill(db)
    for i in range(dA.shape[0]):
        for j in range(dA.shape[1]):
            db[j] += dA[i, j]


# ---- activations: `f`, `slope` and `options` are those of a row of `handmade.compiled.tables` ---------------------

f: Any = abs  # placeholders, as `dot`
slope: Any = abs
options: Any = abs


def no_options(numbers: Array, at: int, stride: int, number: type) -> tuple[()]:
    return ()


def one_option(numbers: Array, at: int, stride: int, number: type) -> tuple[Real]:
    return (number(numbers[at]),)


def two_options(numbers: Array, at: int, stride: int, number: type) -> tuple[Real, Real]:
    return number(numbers[at]), number(numbers[at + stride])


OPTIONS = [compiled(read) for read in (no_options, one_option, two_options)]  # one for each number of options


def units(p: Pass, row: Array) -> None:
    """Set H = f(A + b), and save f'(A + b) for backward, because both need the same exponential."""
    H_, slopes, b = values(p, row[H], row[OUT]), values(p, row[SAVED], row[OUT]), vector(p, row, B)
    given = options(p.numbers, row[AT], 1, p.X.dtype.type)
    for i in range(H_.shape[0]):
        for j in range(H_.shape[1]):
            a = H_[i, j] + b[j]
            H_[i, j] = f(a, *given)
            slopes[i, j] = slope(a, *given)


def units_backward(p: Pass, row: Array) -> None:
    """Set dA = dH f'(A + b), and db to its sum over the samples."""
    dH, slopes, db = values(p, row[H], row[OUT]), values(p, row[SAVED], row[OUT]), vector(p, row, DB)
    fill(db)
    for i in range(dH.shape[0]):
        for j in range(dH.shape[1]):
            dH[i, j] *= slopes[i, j]
            db[j] += dH[i, j]


def units_predict(p: Pass, row: Array) -> None:
    H_, b = values(p, row[H], row[OUT]), vector(p, row, B)
    given = options(p.numbers, row[AT], 1, p.X.dtype.type)
    for i in range(H_.shape[0]):
        for j in range(H_.shape[1]):
            H_[i, j] = f(H_[i, j] + b[j], *given)


# ---- other layers ----------------------------------------------------------------------------------------------------


def softmax(p: Pass, row: Array) -> None:
    H_, saved, E = values(p, row[H], row[OUT]), values(p, row[SAVED], row[OUT]), np.empty(row[OUT])
    for i in range(len(H_)):
        total = exponentials(H_[i], shift_of(H_[i]), E)
        for c in range(E.size):
            H_[i, c] = saved[i, c] = E[c] / total


def softmax_backward(p: Pass, row: Array) -> None:
    """Set dA = p (dH - sum dH p); the dH of the largest p is subtracted first, see `handmade.activations.classes`."""
    dH, H_ = values(p, row[H], row[OUT]), values(p, row[SAVED], row[OUT])
    for i in range(H_.shape[0]):
        top, along = 0, 0.0
        for c in range(H_.shape[1]):
            top = c if H_[i, c] > H_[i, top] else top
        at_top = dH[i, top]
        for c in range(H_.shape[1]):
            along += (dH[i, c] - at_top) * H_[i, c]
        for c in range(H_.shape[1]):
            dH[i, c] = H_[i, c] * (dH[i, c] - at_top - along)


def log_softmax(p: Pass, row: Array) -> None:
    """Set log p = a - max - log(1 + others), and save E = e^(a - max); others is the sum of E without its 1 at max."""
    H_, saved, E = values(p, row[H], row[OUT]), values(p, row[SAVED], row[OUT]), np.empty(row[OUT])
    for i in range(len(H_)):
        shift = np.float64(H_[i].max())
        exponentials(H_[i], shift, E)
        _, others = others_of(E)
        for c in range(E.size):
            H_[i, c] = difference(H_[i, c], shift) - math.log1p(others)
            saved[i, c] = E[c]


def log_softmax_backward(p: Pass, row: Array) -> None:
    """Set dA = dH (1 - p) - p times the sum of the other dH."""
    dH, saved = values(p, row[H], row[OUT]), values(p, row[SAVED], row[OUT])
    for i in range(len(dH)):
        top, others = others_of(saved[i])
        along = 0.0
        for c in range(dH.shape[1]):
            along += dH[i, c]
        for c in range(dH.shape[1]):
            share = saved[i, c] / (1 + others)
            rest = others / (1 + others) if c == top else 1 - share
            dH[i, c] = dH[i, c] * rest - share * (along - dH[i, c])


def dropout(p: Pass, row: Array) -> None:
    """Set H = X / (1 - p) where the random number is at least p, else 0; as backward, do the same with dH."""
    H_ = values(p, row[H], row[OUT])
    random = array_at(p.first[MASKS] + 4 * row[SAVED] * len(p.X), H_.shape, np.float32)
    least, kept_share = p.numbers[row[AT]], p.X.dtype.type(p.numbers[row[AT] + 1])
    for i in range(H_.shape[0]):
        for j in range(H_.shape[1]):
            kept = random[i, j] >= least
            H_[i, j] = H_[i, j] / kept_share if kept else H_[i, j] * 0


@compiled
def moments(p: Pass, row: Array) -> tuple[Array, Array, Array, Real]:
    """Return mean, variance and 1 / sqrt(variance + eps) of each unit, views of numbers with shape (O,); and eps."""
    at, O = row[AT] + 1, row[OUT]
    numbers = p.numbers
    return numbers[at : at + O], numbers[at + O : at + 2 * O], numbers[at + 2 * O : at + 3 * O], numbers[at - 1]


def batch_moments(p: Pass, row: Array) -> None:
    """Set the mean and the biased variance of each unit over the batch."""
    X_, (mean, variance, _, _) = values(p, row[H], row[OUT]), moments(p, row)
    fill(mean)
    fill(variance)
    for i in range(X_.shape[0]):
        for j in range(X_.shape[1]):
            mean[j] += X_[i, j]
    for j in range(X_.shape[1]):
        mean[j] /= X_.shape[0]
    for i in range(X_.shape[0]):
        for j in range(X_.shape[1]):
            variance[j] += (X_[i, j] - mean[j]) * (X_[i, j] - mean[j])
    for j in range(X_.shape[1]):
        variance[j] /= X_.shape[0]


def batch_norm(p: Pass, row: Array) -> None:
    H_, Xhat, (mean, variance, inverse, eps) = (
        values(p, row[H], row[OUT]),
        values(p, row[SAVED], row[OUT]),
        moments(p, row),
    )
    gamma, beta = vector(p, row, W), vector(p, row, B)
    for j in range(H_.shape[1]):
        inverse[j] = 1 / math.sqrt(variance[j] + eps)
    for i in range(H_.shape[0]):
        for j in range(H_.shape[1]):
            xhat = (H_[i, j] - mean[j]) * inverse[j]
            Xhat[i, j] = xhat
            H_[i, j] = gamma[j] * xhat + beta[j]


def batch_norm_backward(p: Pass, row: Array) -> None:
    """Set dX = gamma inverse (dH - mean(dH) - Xhat mean(dH Xhat)): mean and variance depend on X, too."""
    dH, Xhat, (_, _, inverse, _) = values(p, row[H], row[OUT]), values(p, row[SAVED], row[OUT]), moments(p, row)
    N, gamma = len(dH), vector(p, row, W)
    dgamma, dbeta = vector(p, row, DW), vector(p, row, DB)
    fill(dgamma)
    fill(dbeta)
    for i in range(dH.shape[0]):
        for j in range(dH.shape[1]):
            dgamma[j] += dH[i, j] * Xhat[i, j]
            dbeta[j] += dH[i, j]
    for i in range(dH.shape[0]):
        for j in range(dH.shape[1]):
            dH[i, j] = gamma[j] * inverse[j] * (dH[i, j] - dbeta[j] / N - Xhat[i, j] * dgamma[j] / N)


def layer_norm(p: Pass, row: Array) -> None:
    O = row[OUT]
    H_, Xhat, inverse = values(p, row[H], O), values(p, row[SAVED], O), values(p, row[SAVED] + O, 1)
    gamma, beta = vector(p, row, W), vector(p, row, B)
    for i in range(H_.shape[0]):
        mean, variance = 0.0, 0.0
        for j in range(O):
            mean += H_[i, j] / O
        for j in range(O):
            variance += (H_[i, j] - mean) * (H_[i, j] - mean) / O
        inverse[i, 0] = 1 / math.sqrt(variance + p.numbers[row[AT]])
        for j in range(O):
            xhat = (H_[i, j] - mean) * inverse[i, 0]
            Xhat[i, j] = xhat
            H_[i, j] = gamma[j] * xhat + beta[j]


def layer_norm_backward(p: Pass, row: Array) -> None:
    """Set dX = (dXhat - mean(dXhat) - Xhat mean(dXhat Xhat)) inverse with dXhat = dH gamma."""
    O = row[OUT]
    dH, Xhat, inverse = values(p, row[H], O), values(p, row[SAVED], O), values(p, row[SAVED] + O, 1)
    gamma, dgamma, dbeta = vector(p, row, W), vector(p, row, DW), vector(p, row, DB)
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


@compiled
def set_to(Y: Array, X: Array) -> None:
    for i in range(Y.shape[0]):
        for j in range(Y.shape[1]):
            Y[i, j] = X[i, j]


@compiled
def add_to(Y: Array, X: Array) -> None:
    for i in range(Y.shape[0]):
        for j in range(Y.shape[1]):
            Y[i, j] += X[i, j]


def copy(p: Pass, row: Array) -> None:
    """Copy X to other columns, where H may be overwritten: the end of a residual block needs X again."""
    set_to(values(p, row[H], row[OUT]), values(p, row[X], row[OUT]))


def copy_backward(p: Pass, row: Array) -> None:
    """Add dH to dX, which already holds the gradient of the shortcut."""
    add_to(values(p, row[X], row[OUT]), values(p, row[H], row[OUT]))


def join(p: Pass, row: Array) -> None:
    """End a residual block: H += X, where X is the block's output and H its input."""
    add_to(values(p, row[H], row[OUT]), values(p, row[X], row[OUT]))


def join_backward(p: Pass, row: Array) -> None:
    """Set dX = dH."""
    set_to(values(p, row[X], row[OUT]), values(p, row[H], row[OUT]))


def nothing(p: Pass, row: Array) -> None:
    return


# ---- losses: each sets the value of the loss, and overwrites H with dH -----------------------------------------------


@compiled
def weight_of(w: Array, i: int) -> Real:
    return np.float64(w[i]) if w.size else 1.0


def terms(p: Pass, row: Array) -> None:
    """Set the loss to the weighted sum of f(a, y) over all outputs, divided by their count if it is a mean; set dH."""
    dH, given = values(p, row[H], row[OUT]), p.numbers[row[AT] :]
    Y, w = targets_of(p, row[OUT]), weights_of(p)
    count, value = (len(dH) if given[MEAN] else 1.0) * (row[OUT] if given[OVER_OUTPUTS] else 1.0), 0.0
    for i in range(dH.shape[0]):
        for j in range(dH.shape[1]):
            a, y, chosen = dH[i, j], Y[i, j], options(given, GIVEN + j, row[OUT], p.X.dtype.type)
            value += weight_of(w, i) * f(a, y, *chosen)
            dH[i, j] = slope(a, y, *chosen) * weight_of(w, i) / count
    p.numbers[LOSS] = value / count


def cross_entropy(p: Pass, row: Array) -> None:
    """Set the loss and dH, see `handmade.losses.cross_entropy`; Y holds probabilities, or is empty if y are labels."""
    dZ, K, given, labels = values(p, row[H], row[OUT]), row[OUT], p.numbers[row[AT] :], labels_of(p)
    Y, w = targets_of(p, K), weights_of(p)
    ignored, smoothing, weighted = given[IGNORED], given[SMOOTHING], given[WEIGHTED]
    class_weight, at_once = given[GIVEN:], min(len(dZ), rows_at_once(K))
    E, shifts = np.empty((at_once + 1, K)), np.empty(at_once)
    T = E[at_once]
    value, count = 0.0, 0.0
    for t in labels:
        if t != ignored:
            count += class_weight[t] if weighted else 1.0
    if len(Y) or w.size:
        count = len(dZ)
    elif count == 0:  # all are ignored, or have weight 0
        count = 1.0
    elif not np.isfinite(count):  # the NumPy code raises the error
        p.numbers[LOSS] = np.nan
        return
    for i in range(len(dZ)):
        factor = weight_of(w, i) / (count if given[MEAN] else 1.0)
        t, place = labels[i] if labels.size else 0, i % at_once
        if place == 0 and labels.size and smoothing == 0:
            exponentials_of_rows(dZ[i : i + at_once], shifts, E)
        if labels.size and t == ignored:
            fill(dZ[i])
        elif labels.size and smoothing == 0:
            factor *= class_weight[t] if weighted else 1.0
            value += against_index(dZ[i], t, factor, shifts[place], E[place])
        else:
            for c in range(K):
                share = np.float64(Y[i, c]) if len(Y) else 1.0 * (c == t)
                T[c] = (share * (1 - smoothing) + smoothing / K) * (class_weight[c] if weighted else 1.0)
            value += against_distribution(dZ[i], T, factor, E[0])
    p.numbers[LOSS] = value
