"""The two kernels: a training step, and a prediction, of any network that is given as a program.

A program has one row of integers per operation. Every value of a pass has its columns in one work array, where a
column holds one number per sample: N samples use the first N times as many numbers as there are columns.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from . import passes as p
from ._jit import compiled, numba, summed

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
def vector(theta, start, width):
    """Return the parameters that start there; zeros where the layer has none."""
    return theta[start : start + width] if start >= 0 else np.zeros(width, theta.dtype)


@compiled
def forward(X, program, numbers, theta, work, masks):
    N = len(X)
    for k in range(len(program)):
        row = program[k]
        op, I, O, at = row[OP], row[IN], row[OUT], row[AT]
        S, H = matrix(X, work, row[SOURCE], N, I), matrix(X, work, row[TARGET], N, O)
        if op == DENSE:
            p.dense(S, theta[row[W] : row[W] + O * I].reshape(O, I), H)
        elif op == UNIT:
            other = H if row[OTHER] == row[TARGET] else matrix(X, work, row[OTHER], N, O)
            if row[SOURCE] != row[OTHER]:
                p.copy_to(other, S)
            if row[OTHER] == row[TARGET]:
                p.units_in_place(row[CODE], (H, vector(theta, row[B], O), numbers[at]))
            else:
                p.units_forward(row[CODE], (other, vector(theta, row[B], O), numbers[at], H))
        elif op == SOFTMAX:
            p.softmax(S, H)
        elif op == DROPOUT:
            p.dropout(S, masks[row[CODE] * N : (row[CODE] + I) * N].reshape(N, I), numbers[at], numbers[at + 1], H)
        elif op == BATCH_NORM:
            mean, variance = numbers[at : at + O], numbers[at + O : at + 2 * O]
            inverse = numbers[at + 2 * O : at + 3 * O]
            if row[CODE]:
                p.batch_moments(S, mean, variance)
            for j in range(O):
                inverse[j] = 1 / math.sqrt(variance[j] + numbers[at + 3 * O])
            Xhat = matrix(X, work, row[OTHER], N, O)
            p.batch_norm(S, mean, inverse, vector(theta, row[W], O), vector(theta, row[B], O), Xhat, H)
        elif op == LAYER_NORM:
            Xhat, inverse = matrix(X, work, row[OTHER], N, O), matrix(X, work, row[CODE], N, 1)
            p.layer_norm(S, numbers[at], vector(theta, row[W], O), vector(theta, row[B], O), Xhat, inverse, H)
        elif op == JOIN:
            p.copy_to(H, S)
            p.add_to(H, matrix(X, work, row[OTHER], N, O))


@compiled
def backward(X, program, numbers, theta, gradient, work, masks):
    N = len(X)
    for k in range(len(program) - 2, -1, -1):
        row = program[k]
        op, I, O, at = row[OP], row[IN], row[OUT], row[AT]
        dH = matrix(X, work, row[DH], N, O)
        if op == DENSE:
            w, S = slice(row[W], row[W] + O * I), matrix(X, work, row[SOURCE], N, I)
            dX = matrix(X, work, row[DX], N, I)
            p.dense_backward(dH, S, theta[w].reshape(O, I), gradient[w].reshape(O, I), dX, not row[LAST])
        elif op == UNIT:
            other = matrix(X, work, row[OTHER], N, O)
            p.units_backward(row[CODE], (dH, other, numbers[at], vector(gradient, row[B], O)))
        elif op == SOFTMAX:
            p.softmax_backward(dH, matrix(X, work, row[TARGET], N, O))
        elif op == DROPOUT:
            p.dropout(dH, masks[row[CODE] * N : (row[CODE] + I) * N].reshape(N, I), numbers[at], numbers[at + 1], dH)
        elif op == BATCH_NORM:
            inverse, Xhat = numbers[at + 2 * O : at + 3 * O], matrix(X, work, row[OTHER], N, O)
            dgamma, dbeta = vector(gradient, row[W], O), vector(gradient, row[B], O)
            p.batch_norm_backward(dH, Xhat, inverse, vector(theta, row[W], O), dgamma, dbeta)
        elif op == LAYER_NORM:
            Xhat, inverse = matrix(X, work, row[OTHER], N, O), matrix(X, work, row[CODE], N, 1)
            dgamma, dbeta = vector(gradient, row[W], O), vector(gradient, row[B], O)
            p.layer_norm_backward(dH, Xhat, inverse, vector(theta, row[W], O), dgamma, dbeta)
        elif op == FORK:  # dX of the block, to dH that went past it
            p.add_to(matrix(X, work, row[DX], N, I), dH)
        elif op == JOIN:
            p.copy_to(matrix(X, work, row[DX], N, I), dH)
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
            if code == p.BINARY and not 0 <= Y[i, j] <= 1:
                return False
    for label in labels:
        if not 0 <= label < K and label != loss[OTHER]:
            return False
    return total + excess(w) == 0 and (w.size == 0 or w.size == N) and not (w.size and loss[W] > 0)


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
    if loss[CODE] == p.CROSS_ENTROPY:
        weight = numbers[at + 1 : at + 1 + K * loss[W]]
        value = p.cross_entropy(A, labels, Y, w, weight, numbers[at], loss[OTHER], loss[B], dA)
    else:
        count = 1.0 if not loss[B] else N * 1.0 if loss[B] == 1 else N * K * 1.0
        value = p.loss_of_terms(loss[CODE], (A, Y, w, numbers[at : at + K], count, dA))
    backward(X, program, numbers, theta, gradient, work, masks)
    if np.isfinite(value):
        h = number(h0), number(h1), number(h2), number(h3), number(h4), number(h5), number(h6), number(h7)
        p.update(rule, (theta, gradient, s1, s2, s3, h))
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
        p.copy_to(H[start : start + rows], matrix(block, work, program[-1, TARGET], len(block), O))
    return H


@functools.cache
def kernels(dtype: np.dtype[Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return train and predict for a dtype, compiled or loaded from the cache on disk.

    They raise TypeError for arrays of another dtype or memory layout.
    """
    real = numba.from_dtype(dtype)
    vector, rows, integers, count = real[::1], real[:, ::1], numba.int64[::1], numba.int64
    program, doubles = numba.int64[:, ::1], [numba.float64] * 8
    fixed = [program, vector, vector, vector, vector, numba.float32[::1], vector, vector, vector, count]
    signatures = (
        numba.float64(rows, integers, rows, vector, *fixed, *doubles),
        rows(rows, program, vector, vector, vector, count),
    )
    if numba.config.DISABLE_JIT:
        return plain(train, signatures[0]), plain(predict, signatures[1])
    # Numba looks for changes in the file of the kernel alone: the name of the entry stands for all files.
    sources = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    for kernel in train, predict:
        kernel.__qualname__ = f"{kernel.__name__}_{hashlib.sha256(sources).hexdigest()[:16]}"
    jit = [numba.njit(signature, nogil=True, cache=True, error_model="numpy") for signature in signatures]
    return jit[0](train), jit[1](predict)


def plain(kernel: Callable[..., Any], signature: Any) -> Callable[..., Any]:
    """Return a kernel in plain Python that takes arrays of the same types as the compiled one."""

    def call(*arguments: Any) -> Any:
        for argument, expected in zip(arguments, signature.args, strict=True):
            if isinstance(expected, numba.types.Array) and numba.typeof(argument) != expected:
                raise TypeError(f"expected {expected}, got {argument!r}")
        with np.errstate(all="ignore"):
            return kernel(*arguments)

    return call
