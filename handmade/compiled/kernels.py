"""The kernels: a training step, one step after another, and a prediction, of any network that is given as a program.

A program has one row of integers per operation. They hold the addresses of its functions, so that the kernels are
the same, and compiled once, for all of them. The first row holds the addresses of the arrays: passing an array from
Python takes a tenth of a microsecond, and a step has a dozen.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ._jit import array_at, call, compiled, numba, summed, types
from ._numerics import Real
from .operations import (
    AT,
    BACKWARD,
    FORWARD,
    IGNORED,
    IN,
    LARGEST,
    LEAST,
    LOSS,
    OUT,
    WEIGHTED,
    Array,
    H,
    Pass,
    set_to,
    values,
)  # fmt: skip

# The first row: where the arrays are, and how many numbers they have; BLAS's functions; the least N; the row where
# backward ends.
THETA, GRADIENT, PARAMETERS, NUMBERS, NUMBER_COUNT, WORK, MASKS = range(7)
STATE1, STATE2, STATE3, GEMM, AXPY, SCAL, LEAST_ROWS, END = range(7, 15)
COLUMNS = 15


@compiled
def arrays(X: Array, labels: Array, Y: Array, w: Array, program: Array) -> Pass:
    """Return the arrays of a pass."""
    m, real = program[0], X.dtype
    P = m[PARAMETERS]
    theta, gradient = array_at(m[THETA], (P,), real), array_at(m[GRADIENT], (P,), real)
    numbers = array_at(m[NUMBERS], (m[NUMBER_COUNT],), np.float64)
    return Pass(X, labels, Y, w, theta, gradient, numbers, m[WORK], m[MASKS], m[GEMM], m[STATE1], m[STATE2], m[STATE3])


@summed
def excess(x: Array) -> Real:
    """Return 0, or NaN where a number of x is not finite."""
    total = x.dtype.type(0)
    for j in range(x.size):  # an iteration over x itself would not run in vector registers
        total += x[j] - x[j]
    return total


@compiled
def is_sound(p: Pass, program: Array) -> bool:
    """Return whether shapes fit, every number is finite and every label a class: NumPy's code says what is wrong."""
    N, K, given, total = len(p.X), program[-1, OUT], p.numbers[program[-1, AT] :], 0.0
    if p.X.shape[1] != program[1, IN] or p.labels.size + len(p.Y) != N or (len(p.Y) and p.Y.shape[1] != K):
        return False
    if program[0, LEAST_ROWS] > N:
        return False
    if p.sample_weight.size and (p.sample_weight.size != N or given[WEIGHTED]):
        return False
    if len(p.Y) and given[IGNORED] >= 0:
        return False
    for i in range(N):
        total += excess(p.X[i])
    for i in range(len(p.Y)):
        total += excess(p.Y[i])
        for y in p.Y[i]:
            if not given[LEAST] <= y <= given[LARGEST]:
                return False
    for label in p.labels:
        if not 0 <= label < K and label != given[IGNORED]:
            return False
    return total + excess(p.sample_weight) == 0


@compiled
def step(X: Array, labels: Array, Y: Array, w: Array, program: Array, update: int) -> Real:
    """Do one training step, and return the loss; NaN, and nothing has been written, where the batch is not sound.

    Without a finite loss there is no update.
    """
    p = arrays(X, labels, Y, w, program)
    if not is_sound(p, program):
        return np.nan
    loss = len(program) - 1
    for k in range(1, loss + 1):
        call(program[k, FORWARD], (p, program[k]))
    for k in range(loss - 1, program[0, END] - 1, -1):
        call(program[k, BACKWARD], (p, program[k]))
    if np.isfinite(p.numbers[LOSS]):
        call(update, (p, program[0]))
    return p.numbers[LOSS]


def train(X: Array, labels: Array, Y: Array, w: Array, program: Array, update: int) -> Real:
    """Do one training step, see `step`."""
    return step(X, labels, Y, w, program, update)


def train_batches(
    X: Array, labels: Array, Y: Array, w: Array, program: Array, update: int, order: Array, size: int,
    hyperparameters: Array, losses: Array,
) -> None:  # fmt: skip
    """Do one training step for every ``size`` rows of X in this order; end where a loss is not finite.

    Labels, Y and w are in that order already: they are converted on the way.
    """
    batch = np.empty((size, X.shape[1]), X.dtype)
    numbers = array_at(program[0, NUMBERS], (hyperparameters.shape[1],), np.float64)
    for k in range(len(losses)):
        start, stop = k * size, min((k + 1) * size, len(order))
        for i in range(stop - start):
            row = order[start + i]
            for j in range(batch.shape[1]):
                batch[i, j] = X[row, j]
        numbers[:] = hyperparameters[k]
        X_k, labels_k, Y_k, w_k = batch[: stop - start], labels[start:stop], Y[start:stop], w[start:stop]
        losses[k] = step(X_k, labels_k, Y_k, w_k, program, update)
        if not np.isfinite(losses[k]):
            return


def predict(X: Array, program: Array, rows: int) -> Array:
    """Return the output of the network, ``rows`` samples at a time; an empty array where X is not sound."""
    last, N, total = program[-1], len(X), 0.0
    for i in range(N):
        total += excess(X[i])
    if X.shape[1] != program[1, IN] or N == 0 or total != 0:
        return np.empty((0, 0), X.dtype)
    output, no_labels, none = np.empty((N, last[OUT]), X.dtype), np.empty(0, np.int64), np.empty(0, X.dtype)
    for start in range(0, N, rows):
        block = X[start : start + rows]
        p = arrays(block, no_labels, X[:0], none, program)
        for k in range(1, len(program)):
            call(program[k, FORWARD], (p, program[k]))
        set_to(output[start : start + rows], values(p, last[H], last[OUT]))
    return output


@functools.cache
def signatures(dtype: np.dtype[Any]) -> dict[str, Any]:
    """Return the types of the kernels, by name, and of an ``operation`` for a dtype."""
    real = numba.from_dtype(dtype)
    vector, rows, integers, program = real[::1], real[:, ::1], types.int64[::1], types.int64[:, ::1]
    doubles, batch = types.float64[::1], (rows, integers, rows, vector)
    arrays = [*batch, vector, vector, doubles]
    return {
        "train": types.float64(*batch, program, types.int64),
        "train_batches": types.void(
            *batch, program, types.int64, integers, types.int64, types.float64[:, ::1], doubles
        ),
        "predict": rows(rows, program, types.int64),
        "operation": types.void(types.NamedTuple([*arrays, *[types.int64] * 6], Pass), integers),
    }
