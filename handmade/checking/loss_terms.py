"""9. Candidates for what may stand for the gradient of a loss with respect to the output."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ..activations import sigmoid, softmax
from .backward_pass import BackwardPass
from .regression import Term

__all__ = ["terms_of_loss"]

Array = npt.NDArray[Any]


def terms_of_loss(of: BackwardPass) -> Iterator[Term]:
    """Yield what may stand for the gradient of the loss with respect to the output."""
    H, y, g = of.values[-1], of.y, of.loss_gradient
    N = len(H)
    yield Term("right", g, 1.7)
    yield Term("|right|", np.abs(g), 1.4)
    yield Term("right^2", g * g, 1.6)
    yield Term("sign(right)", np.sign(g), 1.4)
    yield Term("mean over the samples of the right one", np.broadcast_to(g.mean(axis=0), g.shape), 1.3)
    yield Term("the right one of the sample before", np.roll(g, 1, axis=0), 1.4)
    yield Term("the right one of the sample after", np.roll(g, -1, axis=0), 1.4)
    rows = np.arange(N)[:, np.newaxis]
    for name, chosen in (
        ("first sample", rows == 0), ("last sample", rows == N - 1), ("first half", rows < N // 2),
        ("even samples", rows % 2 == 0), ("last two samples", rows >= N - 2),
    ):  # fmt: skip
        yield Term(f"the right one of the {name}", g * chosen, 1.4)
    labels = y.ndim == 1 and y.dtype.kind in "iu" and H.ndim == 2
    if labels:
        Y = np.zeros(H.shape)
        inside = (y >= 0) & (y < H.shape[1])
        Y[np.flatnonzero(inside), y[inside]] = 1
    elif y.shape == H.shape:
        Y = y.astype(np.float64)
    else:
        return
    P, S = softmax(H) if H.ndim == 2 else H, sigmoid(H)
    outputs: list[tuple[str, Array, float]] = []
    if labels or (H.ndim == 2 and H.shape[1] > 1 and np.allclose(Y.sum(axis=1), 1)):
        outputs += [("P", P, 0.3), ("softmax(P)", softmax(P), 1.0), ("softmax over the samples", softmax(H, 0), 1.2)]
        best = np.zeros(H.shape)
        best[np.arange(N), H.argmax(axis=1)] = 1
        outputs += [("[predicted class]", best, 1.2)]
        worst = np.exp(H) / np.exp(H).max(axis=1, keepdims=True)
        outputs += [("exp(A)", np.exp(H), 1.2), ("exp(A - max)", worst, 1.4)]
    outputs += [("A", H, 0.6), ("sigma(A)", S, 0.8), ("sigma(sigma(A))", sigmoid(S), 1.4), ("tanh(A)", np.tanh(H), 1.4)]
    yield Term("Y", Y, 0.3)
    yield Term("1", np.ones_like(H), 1.0)
    for name, V, cost in outputs:
        yield Term(name, V, cost)
        yield Term(f"Y {name}", Y * V, cost + 0.4)
        yield Term(f"{name}^2", V * V, cost + 0.4)
        yield Term(f"Y {name}^2", Y * V * V, cost + 0.8)
        if name in ("P", "A", "sigma(A)"):
            yield Term(f"{name}^3", V**3, cost + 0.9)
            yield Term(f"Y/{name}", Y / V, cost + 0.6)
            yield Term(f"(1-Y)/(1-{name})", (1 - Y) / (1 - V), cost + 0.8)
            yield Term(f"1/(1-{name})", 1 / (1 - V), cost + 1.0)
            yield Term(f"1/{name}", 1 / V, cost + 1.0)
            yield Term(f"Y log {name}", Y * np.log(V), cost + 0.8)
            yield Term(f"log {name}", np.log(V), cost + 0.8)
            yield Term(f"(1-Y) log(1-{name})", (1 - Y) * np.log(1 - V), cost + 1.0)
            yield Term(f"{name} mean over the outputs", V.mean(axis=-1, keepdims=True) + 0 * V, cost + 1.2)
            E = V - Y
            yield Term(f"({name}-Y)", E, cost + 0.2)
            yield Term(f"({name}-Y)^2", E * E, cost + 0.8)
            yield Term(f"sign({name}-Y)", np.sign(E), cost + 0.6)
            yield Term(f"|{name}-Y|", np.abs(E), cost + 0.7)
            for condition, chosen in _bounds(E, name):
                yield Term(f"({name}-Y) {condition}", E * chosen, cost + 0.8)
                yield Term(condition, chosen * 1.0, cost + 0.9)
            total = (E * V).sum(axis=-1, keepdims=True)
            yield Term(f"{name} sum(({name}-Y) {name})", V * total, cost + 1.0)
            yield Term(f"({name}-Y) {name} (1-{name})", E * V * (1 - V), cost + 0.6)
            yield Term(f"({name}-Y) mean over the outputs", E.mean(axis=-1, keepdims=True) + 0 * V, cost + 1.0)
            yield Term(f"({name}-Y) sum over the samples", E.sum(axis=0) + 0 * V, cost + 1.0)
            yield Term(f"({name}-Y) / |{name}-Y|", E / np.linalg.norm(E, axis=-1, keepdims=True), cost + 1.2)
    for shift, told in (1, "before"), (-1, "after"):
        yield Term(f"Y of the sample {told}", np.roll(Y, shift, axis=0), 0.8)
        yield Term(f"Y of the output {told}", np.roll(Y, shift, axis=1) if Y.ndim > 1 else Y, 0.8)
    yield Term("Y^2", Y * Y, 1.4)
    if Y.ndim == 2:
        yield Term("Y with outputs in reverse", Y[:, ::-1], 1.0)
    margin = Y * H
    for told, chosen in ("[Y A < 1]", margin < 1), ("[Y A < 0]", margin < 0), ("[Y A > 1]", margin > 1):
        yield Term(told, chosen * 1.0, 1.2)
        yield Term(f"Y {told}", Y * chosen, 1.0)
        yield Term(f"A {told}", H * chosen, 1.3)
    if of.sample_weight is not None:
        weight = np.asarray(of.sample_weight, np.float64).reshape(-1, *([1] * (H.ndim - 1)))
        yield Term("weight^2 right", g * weight, 1.4)
        yield Term("right / weight", g / weight, 1.4)


def _bounds(E: Array, name: str) -> Iterator[tuple[str, Array]]:
    yield f"[|{name}-Y| < 1]", np.abs(E) < 1
    yield f"[{name}-Y > 1]", E > 1
    yield f"[{name}-Y < -1]", E < -1
    yield f"[{name}-Y > 0]", E > 0
