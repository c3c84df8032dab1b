"""Kernels that run programs: one training step, several training steps, and a prediction.

`handmade.compiled.passes` describes a program.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ._jit import array_at, call, compiled, flat, numba, summed, types
from ._numerics import Real
from .operations import IGNORED, LARGEST, LEAST, LOSS, WEIGHTED, set_to
from .passes import (
    AT,
    BACKWARD,
    END,
    FORWARD,
    IN,
    LABEL_COUNT,
    LABELS,
    LEAST_ROWS,
    NUMBERS,
    OUT,
    OUTPUTS_TELL,
    TARGET_COUNT,
    TARGETS,
    WEIGHT_COUNT,
    WEIGHTS,
    Array,
    H,
    pass_over,
    values,
)  # fmt: skip


@summed
def is_finite(x: Array) -> bool:
    """Return whether every number of an array is finite."""
    numbers, total = flat(x), x.dtype.type(0)
    for j in range(numbers.size):  # a loop `for a in numbers` would not run in vector registers
        total += numbers[j] - numbers[j]
    return total == 0


@compiled
def forward(X: Array, program: Array) -> bool:
    """Do the forward pass and the loss, if there is one; return False as soon as X is known not to be finite.

    A number of X that is not finite makes all outputs of its row in the first product so. If that product has fewer
    outputs than inputs, they are checked instead, and X is read only once. X itself is checked if an output is not
    finite, because the output may have overflowed.
    """
    outputs_tell = program[0, OUTPUTS_TELL] != 0
    if not outputs_tell and not is_finite(X):
        return False
    for k in range(1, len(program)):
        call(program[k, FORWARD], (X, program, k))
        if k == 1 and outputs_tell:
            A = values(pass_over(X, program), program[k, H], program[k, OUT])
            if not is_finite(A) and not is_finite(X):
                return False
    return True


@compiled
def connect(y: Array, w: Array, program: Array) -> None:
    """Write the addresses and lengths of targets and sample weights into a program."""
    m = program[0]
    m[LABELS] = m[TARGETS] = y.ctypes.data
    m[LABEL_COUNT], m[TARGET_COUNT] = (len(y), 0) if y.ndim == 1 else (0, len(y))
    m[WEIGHTS], m[WEIGHT_COUNT] = w.ctypes.data, w.size


@compiled
def fits(X: Array, y: Array, w: Array, program: Array) -> bool:
    """Return whether shapes agree, targets and weights are valid, and labels are classes; the NumPy code raises."""
    N, K = len(X), program[-1, OUT]
    given = pass_over(X, program).numbers[program[-1, AT] :]
    if X.shape[1] != program[1, IN] or len(y) != N or program[0, LEAST_ROWS] > N:
        return False
    if w.size and (w.size != N or given[WEIGHTED] or not is_finite(w)):
        return False
    if y.ndim == 1:
        wrong = 0
        for label in y:
            wrong += not 0 <= label < K and label != given[IGNORED]
        return wrong == 0
    if y.shape[1] != K or given[IGNORED] >= 0 or not is_finite(y):
        return False
    for i in range(N):
        for target in y[i]:
            if not given[LEAST] <= target <= given[LARGEST]:
                return False
    return True


@compiled
def step(X: Array, y: Array, w: Array, program: Array, update: int) -> Real:
    """Do one training step, and return the loss; for an invalid batch, return NaN and leave the network unchanged.

    There is no update unless the loss is finite.
    """
    if not fits(X, y, w, program):
        return np.nan
    connect(y, w, program)
    loss, numbers = len(program) - 1, pass_over(X, program).numbers
    if not forward(X, program):
        return np.nan
    for k in range(loss - 1, program[0, END] - 1, -1):
        call(program[k, BACKWARD], (X, program, k))
    if np.isfinite(numbers[LOSS]):
        call(update, (X, program, 0))
    return numbers[LOSS]


def train(X: Array, y: Array, program: Array, update: int) -> Real:
    """Do one training step, see `step`; y holds labels, shape (N,), or targets, shape (N, K)."""
    return step(X, y, array_at(0, (0,), X.dtype), program, update)


def train_weighted(X: Array, y: Array, w: Array, program: Array, update: int) -> Real:
    """Do one training step with sample weights w, shape (N,), or (0,) for none."""
    return step(X, y, w, program, update)


def train_batches(
    X: Array, y: Array, w: Array, program: Array, update: int, order: Array, size: int, hyperparameters: Array,
    losses: Array,
) -> None:  # fmt: skip
    """Do one training step for every ``size`` rows of X, in the given order; stop after a loss that is not finite.

    y and w are in this order already, because the caller copies them anyway, to convert them. ``hyperparameters`` has
    one row per step. The losses are written to ``losses``, one per step.
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
        losses[k] = step(batch[: stop - start], y[start:stop], w[start:stop], program, update)
        if not np.isfinite(losses[k]):
            return


def predict(X: Array, program: Array, rows: int) -> Array:
    """Return the output of the network, shape (N, K), ``rows`` samples at a time; an empty array if X is invalid."""
    last, N = program[-1], len(X)
    if X.shape[1] != program[1, IN]:
        return np.empty((0, 0), X.dtype)
    output = np.empty((N, last[OUT]), X.dtype)
    for start in range(0, N, rows):
        block = X[start : start + rows]
        if not forward(block, program):
            return np.empty((0, 0), X.dtype)
        set_to(output[start : start + rows], values(pass_over(block, program), last[H], last[OUT]))
    return output


@functools.cache
def signatures(dtype: np.dtype[Any]) -> dict[str, Any]:
    """Return the Numba signatures, for a dtype, of the kernels and of an ``operation``, by name."""
    real = numba.from_dtype(dtype)
    vector, rows, integers, program = real[::1], real[:, ::1], types.int64[::1], types.int64[:, ::1]
    found = {
        "predict": rows(rows, program, types.int64),
        "operation": types.void(rows, program, types.int64),
    }
    for kind, y in ("labels", integers), ("targets", rows):
        weighted = rows, y, vector, program, types.int64
        found[f"train with {kind}"] = types.float64(rows, y, program, types.int64)
        found[f"train_weighted with {kind}"] = types.float64(*weighted)
        found[f"train_batches with {kind}"] = types.void(
            *weighted, integers, types.int64, types.float64[:, ::1], types.float64[::1]
        )
    return found
