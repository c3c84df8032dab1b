"""9. Candidates for what may stand for the gradient of a loss with respect to the output."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from ..._types import Array
from ...activations import sigmoid, softmax
from ...losses import loss_and_backward
from ..backward_pass import BackwardPass
from ..regression import Term

__all__ = ["outputs_of_loss", "targets_of_loss", "terms_of_loss"]

MOST_CLASSES = 10  # that may have a weight of their own


def terms_of_loss(of: BackwardPass, products: bool) -> Iterator[Term]:
    """Yield what may stand for the gradient by the output; products of two factors in place of the usual candidates."""
    Y = targets_of_loss(of)
    if products:
        if Y is not None:
            yield from _products(of, Y)
        return
    yield from _of_batch(of.loss_gradient)
    yield from _of_options(of)
    if Y is None:
        return
    yield Term("Y", Y, 0.3)
    yield Term("1", np.ones_like(Y), 0.8)
    for name, V, cost in outputs_of_loss(of, Y):
        yield Term(name, V, cost)
        yield Term(f"Y {name}", Y * V, cost + 0.4)
        yield Term(f"{name}^2", V * V, cost + 0.4)
        yield Term(f"Y {name}^2", Y * V * V, cost + 0.8)
        if name in ("P", "A", "sigmoid(A)"):
            yield from _of_output(name, V, Y, cost)
            yield from _of_error(name, V - Y, V, cost)
            yield from _of_bounds(of, name, V - Y, cost)
    yield from _of_classes(of.loss_gradient, Y)
    yield from _of_targets(of.values[-1], Y)
    yield from _with_weights(of, Y)


def targets_of_loss(of: BackwardPass) -> Array | None:
    """Return the targets in the shape of the output, labels as one-hot rows; None if they have another form."""
    H, y = of.values[-1], of.y
    if y.ndim == 1 and y.dtype.kind in "iu" and H.ndim == 2:
        Y = np.zeros(H.shape)
        inside = (y >= 0) & (y < H.shape[1])
        Y[np.flatnonzero(inside), y[inside]] = 1
        return Y
    return y.astype(np.float64) if y.shape == H.shape else None


def outputs_of_loss(of: BackwardPass, Y: Array) -> list[Term]:
    """Return what may stand for the prediction."""
    A = of.values[-1]
    S = sigmoid(A)
    found = []
    if A.ndim == 2 and A.shape[1] > 1 and np.isin(Y.sum(axis=1).round(9), (0, 1)).all():
        P, best = softmax(A), np.zeros(A.shape)
        best[np.arange(len(A)), A.argmax(axis=1)] = 1
        shifted = np.exp(A - A.max(axis=1, keepdims=True))
        found += [
            Term("P", P, 0.3), Term("softmax(P)", softmax(P)), Term("softmax over the samples", softmax(A, 0), 1.2),
            Term("[predicted class]", best, 1.2), Term("exp(A - max)", shifted, 1.4),
        ]  # fmt: skip
    found += [
        Term("A", A, 0.6), Term("sigmoid(A)", S, 0.8), Term("sigmoid(sigmoid(A))", sigmoid(S), 1.4),
        Term("exp(A)", np.exp(A), 1.2), Term("tanh(A)", np.tanh(A), 1.4),
    ]  # fmt: skip
    return found


def _of_batch(right: Array) -> Iterator[Term]:
    """Yield what may be made of the right gradient by itself."""
    yield Term("right", right, 1.7)
    yield Term("|right|", np.abs(right), 1.4)
    yield Term("right^2", right * right, 1.6)
    yield Term("sign(right)", np.sign(right), 1.4)
    yield Term("mean over the samples of the right one", np.broadcast_to(right.mean(axis=0), right.shape), 1.3)
    yield Term("the right one of the sample before", np.roll(right, 1, axis=0), 1.4)
    yield Term("the right one of the sample after", np.roll(right, -1, axis=0), 1.4)
    N = len(right)
    rows = np.arange(N)[:, np.newaxis] if right.ndim == 2 else np.arange(N)
    for name, chosen in (
        ("first sample", rows == 0), ("last sample", rows == N - 1), ("first half", rows < N // 2),
        ("even samples", rows % 2 == 0), ("last two samples", rows >= N - 2),
    ):  # fmt: skip
        yield Term(f"the right one of the {name}", right * chosen, 1.4)


def _of_classes(right: Array, Y: Array) -> Iterator[Term]:
    """Yield the right gradient of the samples of one class: weights of classes are sums of these."""
    if right.ndim == 2 and 1 < Y.shape[1] <= MOST_CLASSES and np.isin(Y, (0, 1)).all():
        for k in range(Y.shape[1]):
            yield Term(f"the right one of class {k}", right * Y[:, k : k + 1], 1.4)


def _of_options(of: BackwardPass) -> Iterator[Term]:
    """Yield the gradient with other weights, and of a loss whose prediction or target is 0."""
    A, right = of.values[-1], of.loss_gradient
    if of.sample_weight is not None:
        weight = np.asarray(of.sample_weight, np.float64).reshape(-1, *([1] * (A.ndim - 1)))
        yield Term("weight^2 right", right * weight, 1.4)
        yield Term("right / weight", right / weight, 1.4)
    if of.is_loss_wrong:
        return
    for text, output, y in (
        ("the right one at target 0", A, np.zeros_like(of.y)), ("the right one at prediction 0", 0 * A, of.y),
    ):  # fmt: skip
        try:
            yield Term(text, loss_and_backward(of.loss, output, y, of.sample_weight)[1], 1.4)
        except (ValueError, TypeError):
            continue


def _with_weights(of: BackwardPass, Y: Array) -> Iterator[Term]:
    """Yield predictions and targets times the weights of samples, of classes, and of the class of each target."""
    options = {**getattr(of.loss, "keywords", {}), "sample_weight": of.sample_weight}
    factors: list[tuple[str, Array]] = []
    for name, option in options.items():
        weight = np.asarray(0.0 if option is None else option)
        if weight.dtype.kind not in "iuf" or Y.ndim != 2:
            continue
        if weight.shape == (Y.shape[1],):
            factors += [(f"{name}[unit]", weight + 0.0 * Y), (f"{name}[target]", (Y @ weight)[:, np.newaxis] + 0.0 * Y)]
        if weight.shape == (len(Y),):
            factors.append((f"{name}[sample]", weight[:, np.newaxis] + 0.0 * Y))
    totals = [(" / sum of the weights", factor[:, 0].sum()) for text, factor in factors if "unit" not in text]
    ignored = (of.y < 0) | (of.y >= Y.shape[-1]) | (of.y == options.get("ignore_index", -100))
    if of.y.ndim == 1 and of.y.dtype.kind in "iu" and ignored.any():
        factors.append(("[counted]", ~ignored[:, np.newaxis] + 0.0 * Y))
        totals.insert(0, (" / number of labels that count", (~ignored).sum()))
    outputs = [one for one in outputs_of_loss(of, Y) if one.name in ("P", "A", "sigmoid(A)")]
    for (text, factor), (over, total) in itertools.product([*factors, ("", 1 + 0 * Y)], [("", 1.0), *totals[:1]]):
        if not factors or not text + over:
            continue
        space, more = " " * bool(text), 0.2 * bool(over)
        yield Term(f"{text or '1'}{over}", factor / total, 1.6 + more)
        yield Term(f"{text}{space}Y{over}", factor * Y / total, 0.9 + more)
        for output, V, cost in outputs:
            yield Term(f"{text}{space}{output}{over}", factor * V / total, cost + 0.6 + more)
            yield Term(f"{text}{space}({output}-Y){over}", factor * (V - Y) / total, cost + 0.7 + more)


def _of_output(name: str, V: Array, Y: Array, cost: float) -> Iterator[Term]:
    """Yield functions of a prediction and its target."""
    yield Term(f"{name}^3", V**3, cost + 0.9)
    yield Term(f"Y/{name}", Y / V, cost + 0.6)
    yield Term(f"(1-Y)/(1-{name})", (1 - Y) / (1 - V), cost + 0.8)
    yield Term(f"1/(1-{name})", 1 / (1 - V), cost + 1.0)
    yield Term(f"1/{name}", 1 / V, cost + 1.0)
    yield Term(f"log {name}", np.log(V), cost + 0.8)
    yield Term(f"Y log {name}", Y * np.log(V), cost + 0.8)
    yield Term(f"{name} log {name}", V * np.log(V), cost + 0.9)
    yield Term(f"(1-Y) log(1-{name})", (1 - Y) * np.log(1 - V), cost + 1.0)
    yield Term(f"sqrt({name})", np.sqrt(V), cost + 1.2)
    if V.ndim > 1:
        yield Term(f"{name} mean over the outputs", V.mean(axis=-1, keepdims=True) + 0 * V, cost + 1.2)


def _of_error(name: str, E: Array, V: Array, cost: float) -> Iterator[Term]:
    """Yield functions of the difference between a prediction and its target."""
    e = f"({name}-Y)"
    yield Term(e, E, cost + 0.2)
    yield Term(f"{e}^2", E * E, cost + 0.8)
    yield Term(f"{e}^3", E**3, cost + 1.0)
    yield Term(f"sign{e}", np.sign(E), cost + 0.6)
    yield Term(f"|{name}-Y|", np.abs(E), cost + 0.7)
    yield Term(f"tanh{e}", np.tanh(E), cost + 0.9)
    for condition, chosen in (
        (f"[|{name}-Y| < 1]", np.abs(E) < 1), (f"[{name}-Y > 1]", E > 1), (f"[{name}-Y < -1]", E < -1),
        (f"[{name}-Y > 0]", E > 0),
    ):  # fmt: skip
        yield Term(f"{e} {condition}", E * chosen, cost + 0.8)
        yield Term(condition, chosen * 1.0, cost + 0.9)
    total = (E * V).sum(axis=-1, keepdims=True)
    yield Term(f"{name} sum({e} {name})", V * total, cost + 1.0)
    yield Term(f"{e} {name} (1-{name})", E * V * (1 - V), cost + 0.6)
    if E.ndim > 1:
        yield Term(f"{e} mean over the outputs", E.mean(axis=-1, keepdims=True) + 0 * V, cost + 1.0)
        yield Term(f"{e} / |{name}-Y|", E / np.linalg.norm(E, axis=-1, keepdims=True), cost + 1.2)
    yield Term(f"{e} sum over the samples", E.sum(axis=0) + 0 * V, cost + 1.0)
    yield Term(f"{e} / its norm", E / np.linalg.norm(E), cost + 1.4)


def _of_bounds(of: BackwardPass, name: str, E: Array, cost: float) -> Iterator[Term]:
    """Yield the difference between a prediction and its target, cut off on one side or on both."""
    options = {key: v for key, v in getattr(of.loss, "keywords", {}).items() if isinstance(v, float) and v > 0}
    for text, bound in (options | {"1": 1.0}).items():
        yield Term(f"min({name}-Y, {text})", np.minimum(E, bound), cost + 0.9)
        yield Term(f"max({name}-Y, -{text})", np.maximum(E, -bound), cost + 0.9)
        yield Term(f"({name}-Y) clipped at {text}", np.clip(E, -bound, bound), cost + 0.8)


def _of_targets(A: Array, Y: Array) -> Iterator[Term]:
    """Yield functions of the target, and of the margin Y A."""
    yield Term("[A > 0]", (A > 0) * 1.0, 1.0)
    for shift, text in (1, "before"), (-1, "after"):
        yield Term(f"Y of the sample {text}", np.roll(Y, shift, axis=0), 0.8)
        yield Term(f"Y of the output {text}", np.roll(Y, shift, axis=1) if Y.ndim > 1 else Y, 0.8)
    for name, V in ("Y", Y), ("A", A):
        yield Term(f"mean of {name} over the samples", V.mean(axis=0) + 0 * Y, 1.2)
        yield Term(f"mean of {name} over everything", V.mean() + 0 * Y, 1.3)
    yield Term("[column of a label in the batch]", (np.abs(Y).sum(axis=0) > 0) + 0 * Y, 1.4)
    yield Term("Y^2", Y * Y, 1.4)
    yield Term("tanh(Y)", np.tanh(Y), 1.6)
    count = np.where(Y.sum(axis=0), Y.sum(axis=0), 1)
    yield Term("Y, each class divided by its count", Y / count, 1.6)
    if A.ndim == 2:
        yield Term("(P-Y), each class divided by its count", (softmax(A) - Y) / count, 1.6)
    if Y.ndim == 2:
        yield Term("Y with outputs in reverse", Y[:, ::-1], 1.0)
    margin = Y * A
    for text, chosen in ("[Y A < 1]", margin < 1), ("[Y A < 0]", margin < 0), ("[Y A > 1]", margin > 1):
        yield Term(text, chosen * 1.0, 1.2)
        yield Term(f"Y {text}", Y * chosen, 1.0)
        yield Term(f"A {text}", A * chosen, 1.3)


def _products(of: BackwardPass, Y: Array) -> Iterator[Term]:
    """Yield products of two or three factors made of prediction and target."""
    right = of.loss_gradient
    factors = [Term("right", right, 0.5), Term("Y", Y, 0.5), Term("(1-Y)", 1 - Y, 0.6)]
    for name, V, cost in outputs_of_loss(of, Y):
        if name in ("P", "A", "sigmoid(A)"):
            factors += [
                Term(name, V, cost), Term(f"(1-{name})", 1 - V, cost + 0.1), Term(f"({name}-Y)", V - Y, cost),
                Term(f"log {name}", np.log(V), cost + 0.3), Term(f"sign({name}-Y)", np.sign(V - Y), cost + 0.4),
                Term(f"sqrt({name})", np.sqrt(V), cost + 0.5), Term(f"[{name} > 1/2]", (V > 0.5) * 1.0, cost + 0.5),
                Term(f"1/{name}", 1 / V, cost + 0.6), Term(f"sigmoid'({name})", sigmoid(V) * sigmoid(-V), cost + 0.5),
                Term(f"tanh'({name})", 1 - np.tanh(V) ** 2, cost + 0.6),
            ]  # fmt: skip
    usable = [factor for factor in factors if np.isfinite(factor.value).all()]
    yield from usable
    for one, other in itertools.combinations_with_replacement(usable, 2):
        yield Term(f"{one.name} {other.name}", one.value * other.value, one.cost + other.cost)
    for chosen in itertools.combinations_with_replacement(usable[:8], 3):
        value = chosen[0].value * chosen[1].value * chosen[2].value
        yield Term(" ".join(factor.name for factor in chosen), value, sum(factor.cost for factor in chosen))
