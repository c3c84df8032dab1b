"""9. Candidates for what a layer may pass down in place of the right gradient."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..._types import Array
from ...activations import sigmoid
from ...layers import Activation, Dense
from ...normalization import Standardization
from ..backward_pass import BackwardPass, elementwise_activations, is_elementwise, own_slope, slope
from ..localisation import number_of
from ..regression import Term

__all__ = ["after_activation", "before_activation", "signals_as_terms", "terms_of_layer"]

SIGNAL = "(gradient of the output of"
GROUPS = "groups"  # of features, over each of which a mean is taken
MOST_UNITS = 10  # of a layer, of which each may be left out
MOST_UNUSUAL = 2.2  # cost of a product of a row and a matrix that is tried


def terms_of_layer(of: BackwardPass, place: str, incoming: Mapping[str, Array], products: bool) -> Iterator[Term]:
    """Yield what may come out of a leaf's backward pass.

    Parameters
    ----------
    of : BackwardPass
        The right one.
    place : str
        The leaf, by its prefix.
    incoming : mapping of str to ndarray
        The gradient with respect to the output of each leaf.
    products : bool
        Whether to yield products of two unusual factors in place of the usual candidates.
    """
    leaf, dH = of.leaves[place], incoming[place]
    if isinstance(leaf, Activation):
        if not is_elementwise(leaf):
            yield from () if products else _of_softmax(of, place, dH)
        elif products:
            yield from _products_of_activation(of, place, dH)
        else:
            yield from _of_activation(of, place, dH)
    elif products:
        return
    elif isinstance(leaf, Dense):
        yield from _of_dense(of, place, leaf, dH, incoming)
        yield from _of_propagated(of, place, leaf, dH)
    elif isinstance(leaf, Standardization):
        yield from _of_normalization(of, place, leaf, dH)
    else:
        kept = (of.outputs[place] != 0).astype(float)
        yield Term("dH", dH)
        yield Term("dH [kept]", dH * kept)
        yield Term("dH [dropped]", dH * (1 - kept))
        yield Term("dH H", dH * of.outputs[place])
        if of.inputs[place].shape == dH.shape:  # a gated layer has half as many outputs as inputs
            yield Term("dH X", dH * of.inputs[place])


# ---- activations ---------------------------------------------------------------------------------------------------


def _of_softmax(of: BackwardPass, place: str, dH: Array) -> Iterator[Term]:
    A, H = of.inputs[place], of.outputs[place]
    along, total = (dH * H).sum(axis=1, keepdims=True), dH.sum(axis=1, keepdims=True)
    yield Term("dH", dH, 0.5)
    for name, value in (
        ("dH H", dH * H), ("H sum(dH H)", H * along), ("dH H^2", dH * H * H), ("H", H), ("H sum(dH)", H * total),
        ("sum(dH H)", along + 0 * H), ("dH A", dH * A), ("dH exp(H)", dH * np.exp(H)),
        ("exp(H) sum(dH)", np.exp(H) * total),
    ):  # fmt: skip
        yield Term(name, value)


def _of_activation(of: BackwardPass, place: str, dH: Array) -> Iterator[Term]:
    leaf, factors = of.leaves[place], _factors(of, place)
    assert isinstance(leaf, Activation)
    yield Term("dH", dH, 0.5)
    for name, value, cost in [*factors, *_slopes_elsewhere(of, place)]:
        yield Term(f"dH {name}", dH * value, cost)
    yield Term("dH [dH > 0]", dH * (dH > 0), 1.5)
    at_gradient = slope(leaf, dH)
    yield Term("f'(dH)", at_gradient, 1.7)
    yield Term("dH f'(dH)", dH * at_gradient, 1.6)
    for name, value, cost in [*factors[:12], Term("1", np.ones_like(dH))]:
        yield Term(name, value, cost + 1.0)
    s = factors[0].value
    yield Term("|dH|", np.abs(dH), 1.8)
    yield Term("dH^2", dH * dH, 1.8)
    yield Term("mean over the samples of dH", np.broadcast_to(dH.mean(axis=0), dH.shape), 1.8)
    yield Term("mean over the samples of dH f'(A)", np.broadcast_to((dH * s).mean(axis=0), dH.shape), 1.8)
    yield Term("mean over the samples of f'(A), times dH", dH * s.mean(axis=0), 1.8)
    yield Term("f'(A) of the sample before, times dH", dH * np.roll(s, 1, axis=0), 1.9)


def _factors(of: BackwardPass, place: str) -> list[Term]:
    """Return what may stand where f'(A) belongs, the right slope first."""
    leaf, A, H = of.leaves[place], of.inputs[place], of.outputs[place]
    assert isinstance(leaf, Activation)
    s = of.mended.get(place, own_slope(leaf, A))
    positive = np.minimum(A, 0)
    listed = [
        ("f'(A)", s, 0.5), ("H", H, 1.0), ("H^2", H * H, 1.2), ("|H|", np.abs(H), 1.6),
        ("A", A, 1.0), ("A^2", A * A, 1.2), ("|A|", np.abs(A), 1.6),
        ("[A > 0]", (A > 0) * 1.0, 1.0), ("[A < 0]", (A < 0) * 1.0, 1.0), ("[H > 0]", (H > 0) * 1.0, 1.1),
        ("[H >= 0]", (H >= 0) * 1.0, 1.2), ("[A == 0]", (A == 0) * 1.0, 1.2),
        ("f'(A)^2", s * s, 1.2), ("f'(H)", slope(leaf, H), 1.2), ("1/f'(A)", 1 / s, 1.5), ("A H", A * H, 1.4),
        ("H/A", H / A, 1.5), ("f(H)", leaf.f(H, **leaf.options), 1.4), ("H^3", H**3, 1.6), ("A^3", A**3, 1.8),
        ("exp(A)", np.exp(A), 1.4), ("exp(A) sigmoid(A)^2", np.exp(A) * sigmoid(A) ** 2, 1.7),
        ("exp(-A)", np.exp(-A), 1.4), ("sigmoid(A)", sigmoid(A), 1.3),
        ("sigmoid(A)^2", sigmoid(A) ** 2, 1.5), ("A sigmoid(A)", A * sigmoid(A), 1.5),
        ("A sigmoid'(A)", A * sigmoid(A) * sigmoid(-A), 1.6), ("tanh(A)", np.tanh(A), 1.4),
        ("tanh(A)^2", np.tanh(A) ** 2, 1.5), ("exp(-A^2/2)", np.exp(-A * A / 2), 1.7),
        ("A exp(-A^2/2)", A * np.exp(-A * A / 2), 1.7), ("A f'(A)", A * s, 1.4), ("H f'(A)", H * s, 1.4),
        ("1/A", 1 / A, 2.0), ("1/H", 1 / H, 2.0), ("sqrt|H|", np.sqrt(np.abs(H)), 2.0),
        ("1/cosh(A)", 1 / np.cosh(A), 1.6), ("sqrt(f'(A))", np.sqrt(np.abs(s)), 1.7),
        ("A [A < 0]", positive, 1.5), ("exp(A) [A < 0]", np.exp(positive) * (A < 0), 1.4),
        ("H [A < 0]", H * (A < 0), 1.5), ("H [A > 0]", H * (A > 0), 1.5),
    ]  # fmt: skip
    if len(np.unique(s.round(9))) <= 2:  # of two slopes, the root is any other slope
        listed = [factor for factor in listed if factor[0] != "sqrt(f'(A))"]
    for name, other in elementwise_activations().items():
        if name not in ("identity", leaf.function):
            listed += [(f"{name}'(A)", own_slope(other, A), 1.5), (f"{name}'(H)", own_slope(other, H), 1.9)]
    return [Term(*factor) for factor in listed]


def _slopes_elsewhere(of: BackwardPass, place: str) -> Iterator[Term]:
    """Yield the derivative of an activation at another array of its shape, and the derivatives of other layers."""
    leaf, A, H = of.leaves[place], of.inputs[place], of.outputs[place]
    assert isinstance(leaf, Activation)
    derivative = slope if place in of.mended else own_slope  # f' is the right one
    for text, V in of.arrays_like(A):
        if V is A or V is H:
            continue
        yield Term(f"f'({text})", derivative(leaf, V), 1.4)
        yield Term(f"[{text} > 0]", (V > 0) * 1.0, 1.8)
        yield Term(f"({text})", V, 1.9)
        yield Term(f"({text})^2", V * V, 2.0)


def _products_of_activation(of: BackwardPass, place: str, dH: Array) -> Iterator[Term]:
    """Yield dH times products of two factors, and what products are usually added to."""
    usual = ("f'(A)", "H", "A", "[A > 0]", "[A < 0]", "sigmoid(A)", "tanh(A)", "exp(A)", "exp(-A)", "H/A", "1/A", "1/H")
    chosen = [factor for factor in _factors(of, place) if factor.name in usual]
    yield Term("dH", dH, 0.5)
    for name, value, cost in chosen:
        yield Term(f"dH {name}", dH * value, cost)
        yield Term(f"dH^2 {name}", dH * dH * value, cost + 1.5)
    for one, other in itertools.combinations_with_replacement(chosen, 2):
        yield Term(f"dH {one.name} {other.name}", dH * one.value * other.value, one.cost + other.cost)
    for one, two, three in itertools.combinations_with_replacement(chosen[:8], 3):
        name, value = f"dH {one.name} {two.name} {three.name}", dH * one.value * two.value * three.value
        yield Term(name, value, one.cost + two.cost + three.cost)


def _above(of: BackwardPass, prefix: str) -> str | None:
    """Return the activation that follows a leaf."""
    order = list(of.leaves)
    following = order[order.index(prefix) + 1 :][:1]
    return following[0] if following and isinstance(of.leaves[following[0]], Activation) else None


def before_activation(of: BackwardPass, prefix: str, incoming: Mapping[str, Array]) -> Array | None:
    """Return the gradient with respect to the output of the activation that follows a layer."""
    above = _above(of, prefix)
    return None if above is None else incoming[above]


def after_activation(of: BackwardPass, prefix: str) -> Array | None:
    """Return the output of the activation that follows a layer."""
    above = _above(of, prefix)
    return None if above is None else of.outputs[above]


# ---- dense layers --------------------------------------------------------------------------------------------------


def _of_dense(of: BackwardPass, place: str, leaf: Dense, dA: Array, incoming: Mapping[str, Array]) -> Iterator[Term]:
    """Yield the products of what may stand for dA with what may stand for W."""
    W = np.asarray(leaf.W)
    rows, matrices = _rows_above(of, place, leaf, dA, incoming), _matrices(of, place, leaf, dA)
    for (row, D, cost), (matrix, M, more) in itertools.product(rows, matrices):
        if cost + more <= MOST_UNUSUAL:
            yield Term(f"{row} @ {matrix}", D @ M, 0.5 + cost + more)
    k = number_of(place)
    if W.shape[0] == W.shape[1]:
        yield Term("dA", dA, 1.0)
        yield from (Term(row, D, 1.4) for row, D, _ in rows if row == "dH")
    if W.shape == dA.shape:
        yield Term(f"dA * W{k}", dA * W, 1.0)
        yield Term(f"dA * dW{k}", dA * leaf.dW, 1.8)
    if dA.shape[0] == dA.shape[1] == W.shape[0]:
        yield Term(f"dA^T @ W{k}", dA.T @ W, 1.0)


def _rows_above(of: BackwardPass, place: str, leaf: Dense, dA: Array, incoming: Mapping[str, Array]) -> Sequence[Term]:
    before, above = before_activation(of, place, incoming), after_activation(of, place)
    rows = [Term("dA", dA, 0.0)]
    if before is not None and not np.array_equal(before, dA):
        rows.append(Term("dH", before, 0.6))
    if above is not None:
        rows += [Term("H", above, 1.0), Term("dH H", (before if before is not None else dA) * above, 1.4)]
    rows += [
        Term("A", of.outputs[place], 1.2), Term("|dA|", np.abs(dA), 1.2), Term("sign(dA)", np.sign(dA), 1.4),
        Term("dA^2", dA * dA, 1.2), Term("mean(dA)", np.broadcast_to(dA.mean(axis=0), dA.shape), 1.2),
        Term("(dA of the unit before)", np.roll(dA, 1, axis=1), 1.3),
        Term("(dA of the unit after)", np.roll(dA, -1, axis=1), 1.3),
        Term("sum(dA)", np.broadcast_to(dA.sum(axis=0), dA.shape), 1.4), Term("1", np.ones_like(dA), 1.4),
    ]  # fmt: skip
    if 1 < dA.shape[1] <= MOST_UNITS:
        for j in range(dA.shape[1]):
            cost = 1.2 if j in (0, dA.shape[1] - 1) else 1.6
            rows.append(Term(f"(dA without unit {j})", dA * (np.arange(dA.shape[1]) != j), cost))
    if "bias" in leaf.parameters and leaf.b.shape == dA.shape[1:]:
        k = number_of(place)
        rows += [Term(f"(dA + b{k})", dA + leaf.b, 1.6), Term(f"dA b{k}", dA * leaf.b, 1.6)]
    return rows


def _matrices(of: BackwardPass, place: str, leaf: Dense, dA: Array) -> Sequence[Term]:
    leaf.backward(dA, of.leaf_caches[place], False)
    k, W, dW = number_of(place), np.asarray(leaf.W), leaf.dW.copy()
    matrices = [
        Term(f"W{k}", W, 0.0), Term(f"|W{k}|", np.abs(W)), Term(f"W{k}^2", W * W), Term(f"dW{k}", dW),
        Term(f"max(W{k}, 0)", np.maximum(W, 0), 1.3), Term(f"sign(W{k})", np.sign(W), 1.3),
        Term(f"1/W{k}", 1 / W, 1.8), Term(f"W{k} with units in reverse", W[::-1], 1.5),
        Term(f"W{k} with inputs in reverse", W[:, ::-1], 1.5), Term(f"W{k} / |W{k}|", W / np.linalg.norm(W), 1.5),
        Term(f"W{k}, each unit normalized", W / np.linalg.norm(W, axis=1, keepdims=True), 1.5),
        Term("1", np.ones_like(W), 1.8),
    ]  # fmt: skip
    if W.shape[0] == W.shape[1]:
        matrices += [Term(f"W{k}^T", W.T, 0.8), Term(f"dW{k}^T", dW.T, 1.4)]
        if np.linalg.cond(W) < 1e6:
            matrices.append(Term(f"W{k}^-1", np.linalg.inv(W), 1.5))
    for other, layer in of.leaves.items():
        if other != place and isinstance(layer, Dense) and layer.W.shape == W.shape:
            matrices.append(Term(f"W{number_of(other)}", np.asarray(layer.W), 0.8))
    return matrices


def _of_propagated(of: BackwardPass, place: str, leaf: Dense, dA: Array) -> Iterator[Term]:
    """Yield what may be made of dA @ W."""
    k, X, D = number_of(place), of.inputs[place], dA @ leaf.W
    yield Term(f"dA @ W{k}, each sample normalized", D / np.linalg.norm(D, axis=1, keepdims=True), 1.5)
    yield Term(f"|dA @ W{k}|", np.abs(D), 1.5)
    yield Term(f"tanh(dA @ W{k})", np.tanh(D), 1.6)
    yield Term(f"dA @ W{k}, normalized", D / np.linalg.norm(D), 1.5)
    yield Term("X", X, 1.6)
    yield Term(f"dA @ W{k} * X", D * X, 1.4)
    yield Term(f"[X > 0] of dA @ W{k}", D * (X > 0), 1.6)
    yield Term("1", np.ones_like(X), 1.6)
    yield Term(f"mean over the samples of dA @ W{k}", np.broadcast_to(D.mean(axis=0), D.shape), 1.3)
    yield Term(f"dA @ W{k} of the sample before", np.roll(D, 1, axis=0), 1.5)
    for row, name in (0, "first"), (-1, "last"):
        one = np.zeros_like(D)
        one[row] = D[row]
        yield Term(f"dA @ W{k} of the {name} sample", one, 1.4)
    for shift in range(1, min(D.shape[1], 64)) if of.joins_columns else ():
        yield Term(f"dA @ W{k}, {shift} columns too early", np.roll(D, -shift, axis=1), 1.4)


def signals_as_terms(of: BackwardPass, shape: tuple[int, ...], incoming: Mapping[str, Array]) -> Iterator[Term]:
    """Yield the gradients by the outputs of all layers that have a shape, and columns of those that are joined."""
    for prefix, dH in incoming.items():
        if dH.shape == shape:
            yield Term(f"{SIGNAL} {of.place_of(prefix)})", dH, 1.6)
    for i, dX in of.upstream.items() if of.joins_columns else ():
        if dX is not None and dX.ndim == 2 and dX.shape[1] > shape[1]:
            for start in range(min(dX.shape[1] - shape[1] + 1, 64)):
                columns = f"columns {start} to {start + shape[1] - 1}"
                yield Term(
                    f"({columns} of the gradient of the input of layers[{i}])", dX[:, start:][:, : shape[1]], 1.6
                )


# ---- normalizations ------------------------------------------------------------------------------------------------


def _of_normalization(of: BackwardPass, place: str, leaf: Standardization, dH: Array) -> Iterator[Term]:
    Xhat, inverse, centred = normalized(of, place)
    words: dict[Any, str] = {leaf.axis: "", 1 - leaf.axis: " over the wrong axis", (0, 1): " over the whole batch"}
    if leaf.groups > 1:
        words = {GROUPS: "", 1: " over all features", **{axis: text for axis, text in words.items() if text}}
    for (base, D, cost), (axis, words_of) in itertools.product(
        (("dXhat", dH * leaf.gamma, 0.0), ("dH", dH, 0.4)), words.items()
    ):
        more = 0.6 if words_of else 0.0

        def mean(V: Array, axis: Any = axis) -> Array:
            if axis == GROUPS:
                rows = V.reshape(len(V) * leaf.groups, -1)
                return np.broadcast_to(rows.mean(axis=1, keepdims=True), rows.shape).reshape(V.shape)
            return V.mean(axis=axis, keepdims=True)

        pieces = [
            (f"mean({base})", mean(D) + 0 * Xhat, 0.1), (f"xhat mean({base} xhat)", Xhat * mean(D * Xhat), 0.2),
            (f"x mean({base} xhat)", of.inputs[place] * mean(D * Xhat), 1.0),
            (f"(x - mean) mean({base} (x - mean))", centred * mean(D * centred), 0.6),
            (f"mean({base} xhat)", mean(D * Xhat) + 0 * Xhat, 0.8), (f"xhat mean({base})", Xhat * mean(D), 0.8),
        ]  # fmt: skip
        if not words_of:
            pieces = [(base, D, 0.0), *pieces, (f"{base} xhat", D * Xhat, 0.8), (f"{base} xhat^2", D * Xhat**2, 1.0)]
        for (name, value, own), power in itertools.product(pieces, (1, 0, 2, 3, 4, 5)):
            factor = {0: "", 1: "inv "}.get(power, f"inv^{power} ")
            price = 0.5 + cost + own + more + 0.3 * abs(power - 1)
            yield Term(f"{factor}{name}{words_of}", value * inverse**power, price)
    yield from _with_gamma_outside(leaf, Xhat, inverse, dH)
    if leaf.groups == 1 and leaf.eps is not None and (n := Xhat.shape[leaf.axis]) > 1:
        variance = (1 / inverse**2 - leaf.eps) * n / (n - 1)
        ratio = 1 / (inverse * np.sqrt(variance + leaf.eps))
        right = np.asarray(leaf.backward(dH, of.leaf_caches[place]))
        yield Term("(right with the deviation of n - 1)", right * ratio, 1.0)
    yield Term("right", np.asarray(leaf.backward(dH, of.leaf_caches[place])), 2.8)
    yield Term("inv", inverse + 0 * Xhat, 1.8)
    yield Term("xhat", Xhat, 1.8)


def _with_gamma_outside(leaf: Standardization, Xhat: Array, inverse: Array, dH: Array) -> Iterator[Term]:
    """Yield means over the features that should hold gamma, and are multiplied by it."""
    if leaf.axis == 1 and np.ptp(leaf.gamma):  # over the samples, both are the same
        for name, value in ("mean(dH)", dH), ("xhat mean(dH xhat)", dH * Xhat):
            factor = Xhat if "xhat" in name else 1.0
            yield Term(f"gamma inv {name}", leaf.gamma * inverse * factor * value.mean(axis=1, keepdims=True), 1.2)


def normalized(of: BackwardPass, place: str) -> tuple[Array, Array, Array]:
    """Return the normalized input of a normalization, 1 / standard deviation, and the input without its mean."""
    Xhat, inverse, _ = of.leaf_caches[place]
    shape = of.inputs[place].shape  # in groups of features, each group has a row of its own
    inverse = inverse if Xhat.shape == shape else np.broadcast_to(inverse, Xhat.shape).reshape(shape)
    Xhat = Xhat.reshape(shape)
    return Xhat, inverse, Xhat / inverse
