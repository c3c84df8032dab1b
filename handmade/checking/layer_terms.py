"""9. Candidates for what a layer may pass down in place of the right gradient."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..activations import ACTIVATIONS, sigmoid
from ..layers import Activation, Dense
from ..normalization import Normalization
from .backward_pass import BackwardPass, is_elementwise, own_slope, slope
from .localisation import names_of
from .regression import Term

__all__ = ["terms_of_layer"]

Array = npt.NDArray[Any]


def terms_of_layer(of: BackwardPass, place: str, incoming: Mapping[str, Array]) -> Iterator[Term]:
    leaf = of.leaves[place]
    dH = incoming[place]
    if isinstance(leaf, Activation):
        yield from _of_activation(of, place, dH)
    elif isinstance(leaf, Dense):
        yield from _of_dense(of, place, dH, incoming)
    elif isinstance(leaf, Normalization):
        yield from _of_normalization(of, place, dH)
    else:
        kept = (of.outputs[place] != 0).astype(float)
        yield Term("dH", dH)
        yield Term("dH [kept]", dH * kept)
        yield Term("dH [dropped]", dH * (1 - kept))
        yield Term("dH H", dH * of.outputs[place])
        yield Term("dH X", dH * of.inputs[place])


def _powers(name: str, value: Array) -> Iterator[tuple[str, Array, float]]:
    yield name, value, 1.0
    yield f"{name}^2", value * value, 1.2
    yield f"|{name}|", np.abs(value), 1.6


def _of_activation(of: BackwardPass, place: str, dH: Array) -> Iterator[Term]:
    leaf, A, H = of.leaves[place], of.inputs[place], of.outputs[place]
    if not isinstance(leaf, Activation):
        return
    yield Term("dH", dH, 0.5)
    if not is_elementwise(leaf):
        along = (dH * H).sum(axis=1, keepdims=True)
        for name, value in (
            ("dH H", dH * H), ("H sum(dH H)", H * along), ("dH H^2", dH * H * H), ("H", H), ("H sum(dH)",
            H * dH.sum(axis=1, keepdims=True)), ("sum(dH H)", along + 0 * H), ("dH A", dH * A),
        ):  # fmt: skip
            yield Term(name, value)
        return
    factors: list[tuple[str, Array, float]] = [("f'(A)", of.mended.get(place, own_slope(leaf, A)), 0.5)]
    s = factors[0][1]
    factors += [*_powers("H", H), *_powers("A", A), ("1", np.ones_like(A), 1.0)]
    factors += [
        ("[A > 0]", (A > 0) * 1.0, 1.0), ("[A < 0]", (A < 0) * 1.0, 1.0), ("[H > 0]", (H > 0) * 1.0, 1.1),
        ("[H >= 0]", (H >= 0) * 1.0, 1.2), ("[A == 0]", (A == 0) * 1.0, 1.2),
        ("f'(A)^2", s * s, 1.2), ("f'(H)", slope(leaf, H), 1.2), ("1/f'(A)", 1 / s, 1.5), ("A H", A * H, 1.4),
        ("f(H)", leaf.f(H, **leaf.options), 1.4), ("H^3", H**3, 1.6), ("A^3", A**3, 1.8),
        ("exp(A)", np.exp(A), 1.4), ("exp(A) sigma(A)^2", np.exp(A) * sigmoid(A) ** 2, 1.7),
        ("exp(-A)", np.exp(-A), 1.4), ("sigma(A)", sigmoid(A), 1.3),
        ("sigma(A)^2", sigmoid(A) ** 2, 1.5), ("A sigma(A)", A * sigmoid(A), 1.5),
        ("A sigma'(A)", A * sigmoid(A) * sigmoid(-A), 1.6), ("tanh(A)", np.tanh(A), 1.4),
        ("tanh(A)^2", np.tanh(A) ** 2, 1.5), ("exp(-A^2/2)", np.exp(-A * A / 2), 1.7),
        ("A exp(-A^2/2)", A * np.exp(-A * A / 2), 1.7), ("A f'(A)", A * s, 1.4), ("H f'(A)", H * s, 1.4),
        ("1/A", 1 / A, 2.0), ("1/H", 1 / H, 2.0), ("sqrt|H|", np.sqrt(np.abs(H)), 2.0),
        ("1/cosh(A)", 1 / np.cosh(A), 1.6),
        ("A [A < 0]", np.minimum(A, 0), 1.5), ("exp(A) [A < 0]", np.exp(np.minimum(A, 0)) * (A < 0), 1.4),
        ("H [A < 0]", H * (A < 0), 1.5), ("H [A > 0]", H * (A > 0), 1.5),
    ]  # fmt: skip
    for name in ACTIVATIONS:
        other = Activation(name)
        if is_elementwise(other) and name not in ("identity", leaf.function):
            factors.append((f"{name}'(A)", own_slope(other, A), 1.5))
            factors.append((f"{name}'(H)", own_slope(other, H), 1.9))
    for name, value, cost in factors:
        if name != "1":
            yield Term(f"dH {name}", dH * value, cost)
    yield Term("dH [dH > 0]", dH * (dH > 0), 1.5)
    for name, value, cost in factors[:12]:
        yield Term(name, value + 0 * dH, cost + 1.0)
    yield Term("|dH|", np.abs(dH), 1.8)
    yield Term("dH^2", dH * dH, 1.8)
    yield Term("mean over the samples of dH", np.broadcast_to(dH.mean(axis=0), dH.shape), 1.8)
    yield Term("mean over the samples of dH f'(A)", np.broadcast_to((dH * s).mean(axis=0), dH.shape), 1.8)
    yield Term("mean over the samples of f'(A), times dH", dH * s.mean(axis=0), 1.8)
    yield Term("f'(A) of the sample before, times dH", dH * np.roll(s, 1, axis=0), 1.9)
    for other_place, V in of.inputs.items():
        if other_place != place and V.shape == A.shape and isinstance(of.leaves[other_place], Activation):
            yield Term(f"dH f'(A) of layer {other_place.rstrip('.')}", dH * own_slope(leaf, V), 1.5)
            yield Term(f"dH [A > 0] of layer {other_place.rstrip('.')}", dH * (V > 0), 1.8)


def before_activation(of: BackwardPass, prefix: str, incoming: Mapping[str, Array]) -> Array | None:
    """Return the gradient with respect to the output of the activation that follows a layer."""
    order = list(of.leaves)
    at = order.index(prefix)
    above = order[at + 1] if at + 1 < len(order) else None
    return incoming[above] if above is not None and isinstance(of.leaves[above], Activation) else None


def after_activation(of: BackwardPass, prefix: str) -> Array | None:
    order = list(of.leaves)
    at = order.index(prefix)
    above = order[at + 1] if at + 1 < len(order) else None
    return of.outputs[above] if above is not None and isinstance(of.leaves[above], Activation) else None


def _of_dense(of: BackwardPass, place: str, dA: Array, incoming: Mapping[str, Array]) -> Iterator[Term]:
    leaf, X = of.leaves[place], of.inputs[place]
    W = np.asarray(leaf.W)
    leaf.backward(dA, of.leaf_caches[place], False)
    dW = leaf.dW.copy()
    k = names_of(of)[place]
    rows: list[tuple[str, Array, float]] = [("dA", dA, 0.0)]
    before, above = before_activation(of, place, incoming), after_activation(of, place)
    if before is not None and not np.array_equal(before, dA):
        rows.append(("dH", before, 0.6))
    if above is not None:
        rows += [("H", above, 1.0), ("dH H", (before if before is not None else dA) * above, 1.4)]
    rows += [
        ("A", of.outputs[place], 1.2), ("|dA|", np.abs(dA), 1.2), ("sign(dA)", np.sign(dA), 1.4),
        ("dA^2", dA * dA, 1.2), ("mean(dA)", np.broadcast_to(dA.mean(axis=0), dA.shape), 1.2),
        ("sum(dA)", np.broadcast_to(dA.sum(axis=0), dA.shape), 1.4), ("1", np.ones_like(dA), 1.4),
    ]  # fmt: skip
    matrices: list[tuple[str, Array, float]] = [
        (f"W{k}", W, 0.0), (f"|W{k}|", np.abs(W), 1.0), (f"W{k}^2", W * W, 1.0), (f"dW{k}", dW, 1.0),
        (f"sign(W{k})", np.sign(W), 1.3), (f"1/W{k}", 1 / W, 1.8),
        (f"W{k} with units in reverse", W[::-1], 1.5), (f"W{k} with inputs in reverse", W[:, ::-1], 1.5),
        (f"W{k} / |W{k}|", W / np.linalg.norm(W), 1.5), ("1", np.ones_like(W), 1.8),
    ]  # fmt: skip
    if W.shape[0] == W.shape[1]:
        matrices.insert(1, (f"W{k}^T", W.T, 0.8))
        matrices.append((f"dW{k}^T", dW.T, 1.4))
        if np.linalg.cond(W) < 1e6:
            matrices.append((f"W{k}^-1", np.linalg.inv(W), 1.5))
        yield Term("dA", dA, 1.0)
        if before is not None:
            yield Term("dH", before, 1.4)
    for other, layer in of.leaves.items():
        if other != place and isinstance(layer, Dense) and layer.W.shape == W.shape:
            matrices.append((f"W{names_of(of)[other]}", np.asarray(layer.W), 0.8))
    if "bias" in leaf.parameters and leaf.b.shape == dA.shape[1:]:
        rows.append((f"(dA + b{k})", dA + leaf.b, 1.6))
        rows.append((f"dA b{k}", dA * leaf.b, 1.6))
    for (row, D, cost), (matrix, M, more) in itertools.product(rows, matrices):
        if cost + more <= 2.2:
            yield Term(f"{row} @ {matrix}", D @ M, 0.5 + cost + more)
    if W.shape == dA.shape:
        yield Term(f"dA * W{k}", dA * W, 1.0)
        yield Term(f"dA * dW{k}", dA * dW, 1.8)
    if dA.shape[0] == dA.shape[1] == W.shape[0]:
        yield Term(f"dA^T @ W{k}", dA.T @ W, 1.0)
    D = dA @ W
    norms = np.linalg.norm(D, axis=1, keepdims=True)
    yield Term(f"dA @ W{k}, each sample normalized", D / norms, 1.5)
    yield Term("|dA @ W|", np.abs(D), 1.5)
    yield Term(f"dA @ W{k}, normalized", D / np.linalg.norm(D), 1.5)
    yield Term("X", X, 1.6)
    yield Term(f"dA @ W{k} * X", D * X, 1.4)
    yield Term(f"[X > 0] of dA @ W{k}", D * (X > 0), 1.6)
    yield Term("1", np.ones_like(X), 1.6)
    yield Term(f"mean over the samples of dA @ W{k}", np.broadcast_to(D.mean(axis=0), D.shape), 1.3)
    yield Term(f"dA @ W{k} of the sample before", np.roll(D, 1, axis=0), 1.5)
    for k_row, name in (0, "first"), (-1, "last"):
        one = np.zeros_like(D)
        one[k_row] = D[k_row]
        yield Term(f"dA @ W{k} of the {name} sample", one, 1.4)


def _of_normalization(of: BackwardPass, place: str, dH: Array) -> Iterator[Term]:
    leaf, X = of.leaves[place], of.inputs[place]
    axis = leaf.axis
    mean, variance = X.mean(axis=axis, keepdims=True), X.var(axis=axis, keepdims=True)
    if axis == 0 and not of.training:
        mean, variance = leaf.running_mean, leaf.running_var
    inverse = 1 / np.sqrt(variance + leaf.eps)
    Xhat = (X - mean) * inverse
    for base, D, cost in ("dXhat", dH * leaf.gamma, 0.0), ("dH", dH, 0.4):
        along = (D * Xhat).mean(axis=axis, keepdims=True)
        centred = (D * (X - mean)).mean(axis=axis, keepdims=True)
        pieces = (
            (base, D, 0.0), (f"mean({base})", D.mean(axis=axis, keepdims=True) + 0 * X, 0.1),
            (f"xhat mean({base} xhat)", Xhat * along, 0.2), (f"x mean({base} xhat)", X * along, 1.0),
            (f"(x - mean) mean({base} (x - mean))", (X - mean) * centred, 0.6), (f"{base} xhat", D * Xhat, 0.8),
            (f"mean({base} xhat)", along + 0 * X, 0.8),
            (f"xhat mean({base})", Xhat * D.mean(axis=axis, keepdims=True), 0.8),
            (f"{base} xhat^2", D * Xhat * Xhat, 1.0),
        )  # fmt: skip
        for (name, value, more), power in itertools.product(pieces, (1, 0, 2, 3)):
            factor = {0: "", 1: "inv ", 2: "inv^2 ", 3: "inv^3 "}[power]
            yield Term(f"{factor}{name}", value * inverse**power, 0.5 + cost + more + 0.3 * abs(power - 1))
    yield Term("inv", inverse + 0 * X, 1.8)
    yield Term("xhat", Xhat, 1.8)
