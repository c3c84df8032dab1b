"""9. Candidates for what may stand for the gradient of a parameter."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import numpy as np

from ..._types import Array
from ...layers import Dense
from ...normalization import Standardization
from ..backward_pass import BackwardPass
from ..localisation import Localisation, WrongStep
from ..regression import Term
from .layer_terms import after_activation, before_activation, normalized

__all__ = ["beside_parameter", "terms_of_parameter"]

LARGE = 1_000_000  # multiplications in a product, from which on only the usual products are tried


def terms_of_parameter(step: WrongStep, of: BackwardPass, found: Localisation) -> Iterator[Term]:
    """Yield what may stand for the gradient of a parameter, from the dA that its layer really had."""
    prefix = step.prefix
    leaf, dA = of.leaves[prefix], found.actual[prefix]
    above = {p: d for p, d in found.actual.items() if p == prefix or of.is_above(p, prefix)}
    of.rerun(incoming=above, signals_only=True)
    incoming = {p: a.copy() for p, a in of.incoming.items()} | {prefix: dA}
    parameter = np.asarray(getattr(leaf, leaf.parameters[step.kind]))
    yield Term("right", step.right, 0.5)
    rows = [Term("dA", dA, 0.0), *_rows_beside(of, prefix, dA, incoming)]
    if isinstance(leaf, Dense) and step.kind == "weight":
        yield from _of_weight(of, prefix, rows, parameter)
    elif isinstance(leaf, Standardization):
        yield from _of_scale(of, prefix, leaf, dA)
        yield from _of_bias(rows, parameter)
    else:
        yield from _of_bias(rows, parameter)
        if isinstance(leaf, Dense):
            dW, W = dA.T @ of.inputs[prefix], step.name.replace("b", "W")
            yield Term(f"sum({W}) over the inputs", dW.sum(axis=1), 1.2)
            yield Term(f"mean({W}) over the inputs", dW.mean(axis=1), 1.3)
            yield from (Term(f"{W}[:, {i}]", dW[:, i], 1.6) for i in (0, -1))
    yield from beside_parameter(step.right, parameter, step.name.removeprefix("d"))


def _of_weight(of: BackwardPass, prefix: str, rows: list[Term], parameter: Array) -> Iterator[Term]:
    """Yield the products of what may stand for dA with what may stand for the input."""
    X, dA = of.inputs[prefix], rows[0].value
    most = 3.0 if parameter.size * len(X) < LARGE else 0.7
    for (row, D, cost), (column, V, more) in itertools.product(rows, _columns_beside(of, X)):
        if cost + more <= most or not cost or not more:
            yield Term(f"{row}^T @ {column}", D.T @ V if D.shape[0] == V.shape[0] else np.zeros(1), 0.5 + cost + more)
    yield Term("dA^T @ X with sums for products", np.outer(dA.sum(axis=0), X.sum(axis=0)), 1.0)
    yield Term("X^T @ dA", X.T @ dA, 1.0)
    if dA.shape[1] == len(X):
        yield Term("dA @ X", dA @ X, 1.0)
    if dA.T.shape == X.shape:
        yield Term("dA^T * X", dA.T * X, 1.0)
    yield Term("sum(dA) W", dA.sum(axis=0)[:, np.newaxis] * parameter, 1.4)
    yield Term("mean(X) W", X.mean(axis=0) * parameter, 1.6)
    yield Term("sum(dA)", np.broadcast_to(dA.sum(axis=0)[:, np.newaxis], parameter.shape), 1.2)


def _of_bias(rows: list[Term], parameter: Array) -> Iterator[Term]:
    """Yield what may stand for the sum of dA over the samples."""
    for row, D, cost in rows:
        yield Term(f"sum({row})", D.sum(axis=0), 0.5 + cost)
        yield Term(f"max({row})", D.max(axis=0), 1.6 + cost)
        yield Term(f"standard deviation of {row}", D.std(axis=0), 1.8 + cost)
        yield Term(f"median({row})", np.median(D, axis=0), 1.8 + cost)
        yield Term(f"sum of everything in {row}", np.full(parameter.shape, D.sum()), 1.0 + cost)
        yield Term(f"first row of {row}", D[0], 1.0 + cost)
        yield Term(f"last row of {row}", D[-1], 1.0 + cost)
        if D.shape[0] == D.shape[1]:
            yield Term(f"sum({row}) over the units", D.sum(axis=1), 1.0 + cost)


def beside_parameter(right: Array, parameter: Array, name: str) -> Iterator[Term]:
    """Yield what may stand in the gradient of a parameter, made of the right gradient and the parameter itself."""
    yield Term("right", right, 0.5)
    yield Term(name, parameter, 0.8)
    yield Term(f"sign({name})", np.sign(parameter), 1.0)
    yield Term(f"|{name}|", np.abs(parameter), 1.2)
    yield Term(f"{name}^2", parameter**2, 1.2)
    yield Term(f"right {name}", right * parameter, 1.3)
    yield Term("1", np.ones(parameter.shape), 1.2)
    yield Term("|right|", np.abs(right), 1.3)
    yield Term("sign(right)", np.sign(right), 1.3)
    yield Term("right^2", right**2, 1.4)
    yield Term("tanh(right)", np.tanh(right), 1.6)
    if right.ndim == 2 and right.shape[0] == right.shape[1]:
        yield Term("right^T", right.T, 0.8)
    if right.ndim:
        yield Term("right with units in reverse", right[::-1], 1.4)
        yield Term("mean of the right one", np.full(right.shape, right.mean()), 1.5)
    for axis, over in ((0, "units"), (1, "inputs")) if right.ndim == 2 else ():
        mean = np.broadcast_to(right.mean(axis=axis, keepdims=True), right.shape)
        yield Term(f"mean of the right one over the {over}", mean, 1.5)
    norm = np.linalg.norm(right)
    yield Term("right / its norm", right / norm if norm else right, 1.4)


def _rows_beside(of: BackwardPass, prefix: str, dA: Array, incoming: Mapping[str, Array]) -> Iterator[Term]:
    """Yield the arrays that may stand where dA belongs."""
    before, above = before_activation(of, prefix, incoming), after_activation(of, prefix)
    if before is not None and above is not None:
        yield Term("dH", before, 0.6)
        yield Term("dA H", dA * above, 1.2)
        yield Term("H", above, 1.4)
        yield Term("dA f'(A)", dA * np.divide(dA, before, out=np.zeros_like(dA), where=before != 0), 1.0)
    yield Term("|dA|", np.abs(dA), 0.9)
    yield Term("dA^2", dA * dA, 1.0)
    yield Term("sign(dA)", np.sign(dA), 1.2)
    yield Term("mean(dA)", np.broadcast_to(dA.mean(axis=0), dA.shape), 1.2)
    yield Term("A", of.outputs[prefix], 1.4)
    N = len(dA)
    if of.sample_weight is not None:
        weight = np.asarray(of.sample_weight, np.float64)[:, np.newaxis]
        yield Term("(dA / weight)", np.divide(dA, weight, out=np.zeros_like(dA), where=weight != 0), 0.9)
        yield Term("dA weight", dA * weight, 0.9)
    rows = np.arange(N)[:, np.newaxis]
    for text, chosen in (
        ("first row of dA", rows == 0), ("last row of dA", rows == N - 1), ("dA without its last row", rows < N - 1),
        ("dA without its first row", rows > 0), ("first half of dA", rows < N // 2),
    ):  # fmt: skip
        yield Term(f"({text})", dA * chosen, 1.0)
    for other, D in incoming.items():
        if other != prefix and D.shape == dA.shape and D is not before and not np.array_equal(D, dA):
            yield Term(f"(gradient of the output of {of.place_of(other)})", D, 1.1)


def _columns_beside(of: BackwardPass, X: Array) -> Iterator[Term]:
    """Yield the arrays that may stand where the input of a layer belongs."""
    yield Term("X", X, 0.0)
    for text, V in of.arrays_like(X):
        if not np.array_equal(V, X):
            yield Term(f"({text})", V, 0.7)
    deviation = X.std(axis=0)
    yield Term("X^2", X * X)
    yield Term("|X|", np.abs(X))
    yield Term("1", np.ones_like(X))
    yield Term("(X - mean)", X - X.mean(axis=0), 1.2)
    yield Term("mean(X)", np.broadcast_to(X.mean(axis=0), X.shape), 1.2)
    yield Term("(X / std)", X / np.where(deviation, deviation, 1), 1.3)
    yield Term("((X - mean) / std)", (X - X.mean(axis=0)) / np.where(deviation, deviation, 1), 1.3)
    yield Term("sign(X)", np.sign(X), 1.2)
    yield Term("[X > 0]", (X > 0) * 1.0, 1.2)
    yield Term("(X rounded to float16)", X.astype(np.float16).astype(np.float64), 1.2)
    yield Term("(X of the sample before)", np.roll(X, 1, axis=0), 1.2)
    yield Term("(X of the sample after)", np.roll(X, -1, axis=0), 1.2)
    yield Term("(X with samples in reverse)", X[::-1], 1.2)
    yield Term("(X with inputs in reverse)", X[:, ::-1], 1.3)
    yield Term("X (1 - X)", X * (1 - X), 1.3)
    for shift in range(1, min(X.shape[1], 64)) if of.joins_columns else ():
        yield Term(f"(X, {shift} columns too early)", np.roll(X, -shift, axis=1), 1.4)


def _of_scale(of: BackwardPass, prefix: str, leaf: Standardization, dH: Array) -> Iterator[Term]:
    """Yield what may stand for the gradient of the scale or the shift of a normalization."""
    Xhat, inverse, centred = normalized(of, prefix)
    X, H = of.inputs[prefix], of.outputs[prefix]
    for text, V in (
        ("dH xhat", dH * Xhat), ("dH", dH), ("dH x", dH * X), ("dH H", dH * H), ("dH (x - mean)", dH * centred),
        ("dH gamma", dH * leaf.gamma), ("dH gamma xhat", dH * leaf.gamma * Xhat), ("dH beta", dH * leaf.beta),
        ("dH |xhat|", dH * np.abs(Xhat)), ("dH xhat^2", dH * Xhat**2), ("xhat", Xhat),
        ("dH xhat inv", dH * Xhat * inverse),
    ):  # fmt: skip
        yield Term(f"sum({text})", V.sum(axis=0), 0.7)
        yield Term(f"first row of {text}", V[0], 1.4)
        yield Term(f"last row of {text}", V[-1], 1.4)
        if V.shape[0] == V.shape[1]:
            yield Term(f"sum({text}) over the features", V.sum(axis=1), 1.4)
