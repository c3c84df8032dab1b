"""The layout of a program, the arrays of a pass, and the addresses of operations, compiled when first needed.

A program has one row of integers per operation: its widths, and the addresses of its functions and arrays. So one
kernel, compiled once, runs every network. The first row holds the addresses of arrays that all operations share. They
are not arguments, because a small step calls ten operations, and passing a dozen arrays to each would take longer than
the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ._jit import array_at, compiled, copy_of, inlined, location

Array = npt.NDArray[Any]

# Columns of the first row: addresses of arrays, some with a length (MASKS: random numbers for dropout); addresses of
# BLAS functions; the smallest valid N; the row where backward ends; whether to check row 1's outputs instead of X.
THETA, GRADIENT, PARAMETERS, NUMBERS, NUMBER_COUNT, WORK, MASKS = range(7)
LABELS, LABEL_COUNT, TARGETS, TARGET_COUNT, WEIGHTS, WEIGHT_COUNT = range(7, 13)
STATE1, STATE2, STATE3, GEMM, AXPY, SCAL, LEAST_ROWS, END, OUTPUTS_TELL = range(13, 22)
COLUMNS = 22
# Columns of the other rows: addresses of forward and backward; widths; where X, H and the values saved for backward
# begin in the work array; addresses of parameters and gradients; where options begin in numbers; whether dX is needed.
FORWARD, BACKWARD, IN, OUT, X, H, SAVED, W, DW, B, DB, AT, NEED_DX = range(13)
NETWORK_INPUT = -1  # in place of a column: the X of the pass


class Pass(NamedTuple):
    """The arrays of a pass that every operation may need, and the row with the addresses of the others."""

    X: Any  # (N, I)
    numbers: Any  # hyperparameters, options, moments; in double precision
    first: Any  # the first row of the program


@compiled
def pass_over(X: Array, program: Array) -> Pass:
    """Return the arrays of a pass over X."""
    m = program[0]
    return Pass(X, array_at(m[NUMBERS], (m[NUMBER_COUNT],), np.float64), m)


@compiled
def labels_of(p: Pass) -> Array:
    """Return the labels, shape (N,), or an empty array."""
    return array_at(p.first[LABELS], (p.first[LABEL_COUNT],), np.int64)


@compiled
def targets_of(p: Pass, K: int) -> Array:
    """Return the targets, shape (N, K), or an empty array."""
    return array_at(p.first[TARGETS], (p.first[TARGET_COUNT], K), p.X.dtype)


@compiled
def weights_of(p: Pass) -> Array:
    """Return the sample weights, shape (N,), or an empty array."""
    return array_at(p.first[WEIGHTS], (p.first[WEIGHT_COUNT],), p.X.dtype)


@compiled
def long_vector(p: Pass, name: int) -> Array:
    """Return theta, its gradient or a state array of the optimizer, shape (P,); an empty array if there is none."""
    place = p.first[name]
    return array_at(place, (p.first[PARAMETERS] if place else 0,), p.X.dtype)


@compiled
def values(p: Pass, column: int, width: int) -> Array:
    """Return the array, shape (N, width), at this column of the work array, or the input of the network."""
    N = len(p.X)
    start = np.int64(p.X.ctypes.data) if column == NETWORK_INPUT else p.first[WORK] + column * N * p.X.itemsize
    return array_at(start, (N, width), p.X.dtype)


@compiled
def vector(p: Pass, row: Array, name: int) -> Array:
    """Return b or db, shape (O,)."""
    return array_at(row[name], (row[OUT],), p.X.dtype)


@compiled
def matrix(p: Pass, row: Array, name: int) -> Array:
    """Return W or dW, shape (O, I)."""
    return array_at(row[name], (row[OUT], row[IN]), p.X.dtype)


body: Any = abs  # a placeholder: `address` puts an operation in its place


def operation(X: Array, program: Array, k: int) -> None:
    """Run the operation of row k."""
    body(pass_over(X, program), program[k])


# Keys are the name and the id of the signature, one object per dtype: its hash takes longer than a small step.
_addresses: dict[tuple[str, int], int] = {}


def address(function: Callable[..., Any], signature: Any, **names: Any) -> int:
    """Return the address of an operation, compiled or loaded, with ``names`` in place of some of its globals."""
    name = "_".join([function.__name__, *(other.__name__ for other in names.values())])
    key = name, id(signature)
    if key not in _addresses:
        whole = copy_of(operation, name, {"body": inlined(copy_of(function, name, names))})
        _addresses[key] = location(whole, signature)
    return _addresses[key]
