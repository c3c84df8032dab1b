"""9. Known mistakes in backward passes, each as a step that takes the place of the right one.

A `BackwardPass` goes backward through a network as `Sequential.backward` does, and lets any of its steps be
replaced. `mistakes` lists replacements; `handmade.diagnose_gradient` searches the one that leads to a claimed gradient.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from .._types import Array
from ..activations import softmax
from ..base_layer import Layer
from ..composites import Residual, Sequential
from ..dropout import Dropout
from ..layers import Activation, Dense
from ..normalization import Normalization
from .backward_pass import BackwardPass, Step, elementwise_activations, is_elementwise, slope
from .loss_mistakes import of_loss

__all__ = ["FAMILIES", "Mistake", "mistakes"]


@dataclasses.dataclass(frozen=True)
class Mistake:
    """A mistake in a backward pass.

    Attributes
    ----------
    name : str
        Its name.
    hint : str
        Its effect, in words that do not give the right line away.
    where : str
        The layer.
    steps : dict of int to callable
        The steps that it replaces; see `BackwardPass.gradient`.
    has_learning_rate : bool
        Whether its steps use the number ``BackwardPass.scale``, which is not known.
    at : tuple of str
        The layers, as numbered in a state_dict, or "loss".
    """

    name: str
    hint: str
    where: str
    steps: dict[int, Step]
    has_learning_rate: bool = False
    at: tuple[str, ...] = ("loss",)


def mistakes(of: BackwardPass) -> list[Mistake]:
    """List the mistakes of this network from the loss down: each in one place, then in all places that can have it.

    Examples
    --------
    >>> from handmade.checking.backward_pass import BackwardPass
    >>> from handmade.checking.mistakes import mistakes
    >>> of = BackwardPass(hm.MLP([2, 3, 2], activation="tanh", rng=0), np.eye(2), np.array([0, 1]))
    >>> len({mistake.name for mistake in mistakes(of)}) > 60
    True
    """
    listed = [mistake for family in FAMILIES.values() for mistake in family(of)]
    single = sorted(listed, key=lambda mistake: -max(mistake.steps))
    together: dict[str, list[Mistake]] = {}
    for mistake in single:
        together.setdefault(mistake.name, []).append(mistake)
    return single + [_everywhere(same) for same in together.values() if len(same) > 1]


def _everywhere(same: list[Mistake]) -> Mistake:
    steps = {i: step for mistake in same for i, step in mistake.steps.items()}
    at = tuple(place for mistake in same for place in mistake.at)
    return dataclasses.replace(same[0], where=f"all {len(steps)} layers that have it", steps=steps, at=at)


# ---- activations ---------------------------------------------------------------------------------------------------

Found = Iterator[tuple[str, str, Step]]

# Replacements of f'(A). ``u`` has A, H, the right slope s, the incoming gradient dH, and slope(at).
SLOPES: dict[str, tuple[str, Callable[[SimpleNamespace], Array]]] = {
    "activation derivative missing": (
        "the gradient passes an activation as if it were not there",
        lambda u: np.ones_like(u.A),
    ),
    "activation derivative taken at its output": (
        "the derivative is evaluated at the wrong one of the activation's two ends",
        lambda u: u.slope(u.H),
    ),
    "activation in place of its derivative": ("a function stands where its derivative belongs", lambda u: u.H),
    "pre-activation in place of the derivative": ("an input stands where a derivative belongs", lambda u: u.A),
    "activation derivative applied twice": ("one factor of the chain rule occurs twice", lambda u: u.s * u.s),
    "divided by the activation derivative": ("a factor of the chain rule divides", lambda u: 1 / u.s),
    "activation derivative negated": ("one factor of the chain rule has the wrong sign", lambda u: -u.s),
    "complement of the activation derivative": ("the derivative is large where it should be small", lambda u: 1 - u.s),
    "mask from the gradient": ("what passes an activation is decided by the wrong array", lambda u: u.dH > 0),
    "derivative formula h (1 - h)": ("the formula is that of another activation", lambda u: u.H * (1 - u.H)),
    "derivative formula a (1 - a)": ("the formula is fed with the wrong array", lambda u: u.A * (1 - u.A)),
    "derivative formula 1 - h^2": ("the formula is that of another activation", lambda u: 1 - u.H**2),
    "derivative formula 1 - a^2": ("the formula is fed with the wrong array", lambda u: 1 - u.A**2),
    "derivative formula 1 - h": ("a part of the derivative's formula is missing", lambda u: 1 - u.H),
    "derivative formula (1 - h)^2": ("the derivative's formula is another one", lambda u: (1 - u.H) ** 2),
    "derivative formula h^2": ("a part of the derivative's formula is missing", lambda u: u.H**2),
    "derivative formula 1 + h^2": ("a sign in the derivative's formula is wrong", lambda u: 1 + u.H**2),
    "derivative formula h (1 + h)": ("a sign in the derivative's formula is wrong", lambda u: u.H * (1 + u.H)),
    "derivative formula h + 1": ("the derivative's formula is another one", lambda u: 1 + u.H),
    "step function of the input": ("the derivative is only that of a step", lambda u: u.A > 0),
    "step function of the output, >= for >": ("a comparison lets too much pass", lambda u: u.H >= 0),
}


# Of an activation with options whose choices are functions of their own.
VARIANTS = {"gelu": [Activation("gelu", approximate="none"), Activation("gelu", approximate="tanh")]}


def _of_activation(of: BackwardPass, i: int, layer: Activation) -> Found:
    if not is_elementwise(layer):
        yield from _of_softmax(of, i, layer)
        return
    for name, (hint, value) in SLOPES.items():
        yield name, hint, functools.partial(_with_slope, value)
    for other, stranger in elementwise_activations().items():
        if other not in (layer.function, "identity"):
            hint = "the derivative is that of another activation"
            yield f"derivative of {other}", hint, functools.partial(_with_slope, _slope_of(stranger))
    for other in VARIANTS.get(str(layer.function), []):
        if not np.array_equal(other.predict(of.values[i]), of.values[i + 1]):
            options = ", ".join(f"{option}={value!r}" for option, value in other.options.items())
            hint = "the derivative is that of a similar function"
            step = functools.partial(_with_slope, _slope_of(other))
            yield f"derivative of {layer.function} with {options}", hint, step
    for j in of.slopes:
        if j != i and of.values[j].shape == of.values[i].shape:
            hint = "the derivative is taken where another layer was"
            wrong = {"activation derivative": of.slopes[j], "step function": of.values[j] > 0}
            for what, numbers in wrong.items():
                value = functools.partial(lambda numbers, u: numbers, numbers)
                yield f"{what} of another layer", hint, functools.partial(_with_slope, value)


def _slope_of(layer: Activation) -> Callable[[SimpleNamespace], Array]:
    return lambda u: slope(layer, u.A)


def _with_slope(value: Callable[[SimpleNamespace], Array], of: BackwardPass, i: int, dH: Array) -> Array:
    layer, A, H = of.layers[i], of.values[i], of.values[i + 1]
    assert isinstance(layer, Activation)
    return dH * value(SimpleNamespace(A=A, H=H, s=of.slopes[i], dH=dH, slope=functools.partial(slope, layer)))


def _of_softmax(of: BackwardPass, i: int, layer: Activation) -> Found:
    P = softmax(of.values[i])
    yield "activation derivative missing", SLOPES["activation derivative missing"][0], lambda w, i, dH: dH
    hint = "an output is taken to depend on its own input alone"
    yield "softmax with a diagonal Jacobian", hint, lambda w, i, dH: dH * P * (1 - P)
    yield "softmax in place of its derivative", "a function stands where its derivative belongs", lambda w, i, d: d * P


# ---- Dense ---------------------------------------------------------------------------------------------------------


def _dense(
    of: BackwardPass,
    i: int,
    dA: Array,
    dX: Callable[[Array, Dense], Array] | None = None,
    db: Callable[[Array], Array] | None = None,
    dW: Callable[[Array, Array], Array] | None = None,
) -> Array:
    """Return the right gradient of a Dense layer's input, and leave its dW and db, except for what is replaced."""
    layer, X = of.layers[i], of.values[i]
    assert isinstance(layer, Dense)
    right = layer.backward(dA, X)
    if db and "bias" in layer.parameters:
        layer.db[:] = db(dA)
    if dW:
        layer.dW[:] = dW(dA, X)
    return dX(dA, layer) if dX else np.asarray(right)


def _dense_step(
    dX: Callable[[Array, Dense], Array] | None = None,
    db: Callable[[Array], Array] | None = None,
    dW: Callable[[Array, Array], Array] | None = None,
) -> Step:
    return functools.partial(_dense, dX=dX, db=db, dW=dW)


def _of_propagation(of: BackwardPass, i: int, layer: Dense) -> Found:
    O, I = layer.W.shape
    if O == I:
        hint = "the gradient goes back through the weights along the wrong edges"
        yield "weights transposed in propagation", hint, _dense_step(dX=lambda dA, layer: dA @ layer.W.T)
        hint = "the gradient passes a layer as if its weights were not there"
        yield "weights missing in propagation", hint, _dense_step(dX=lambda dA, layer: dA.copy())
        hint = "the gradient goes back through something other than the weights"
        yield "weight gradient in propagation", hint, _dense_step(dX=lambda dA, layer: dA @ layer.dW)
    if O == I == len(of.values[i]):
        hint = "a product of numbers stands where one of matrices belongs"
        yield "* for @ in propagation", hint, _dense_step(dX=lambda dA, layer: dA * layer.W)
    for other in of.layers:
        if other is not layer and isinstance(other, Dense) and other.W.shape == layer.W.shape:
            hint = "the gradient goes back through weights that it has not come through"
            dX = functools.partial(lambda W, dA, layer: dA @ W, other.W)
            yield "weights of another layer in propagation", hint, _dense_step(dX=dX)
    hint = "the gradient goes back through the size of the weights"
    yield "weights without sign in propagation", hint, _dense_step(dX=lambda dA, layer: dA @ np.abs(layer.W))
    hint = "weights are used after they have been changed"
    step = _dense_step(dX=lambda dA, layer: dA @ (layer.W - of.scale * layer.dW))
    yield "updated weights in propagation", hint, step


WITH_LEARNING_RATE = frozenset({"updated weights in propagation"})


def _of_bias(of: BackwardPass, i: int, layer: Dense) -> Found:
    wrong = {
        "bias gradient averaged over the samples": ("is scaled down", lambda dA: dA.mean(axis=0)),
        "bias gradient of the first sample only": ("sees a part of the batch", lambda dA: dA[0]),
        "bias gradient of the last sample only": ("sees a part of the batch", lambda dA: dA[-1]),
        "bias gradient summed over everything": ("is the same for all units", lambda dA: dA.sum()),
        "bias gradient averaged over everything": ("is the same for all units", lambda dA: dA.mean()),
        "bias gradient times the bias": ("depends on the bias itself", lambda dA: dA.sum(axis=0) * layer.b),
        "bias gradient without sign": ("loses its signs", lambda dA: np.abs(dA).sum(axis=0)),
    }
    samples, units = of.values[i + 1].shape
    if samples == units:
        wrong["bias gradient summed over the wrong axis"] = ("adds up what does not belong together", _rows)
        wrong["bias gradient averaged over the wrong axis"] = ("adds up what does not belong together", _row_means)
    if "bias" in layer.parameters:
        for name, (what, db) in wrong.items():
            yield name, f"the gradient of the bias {what}", _dense_step(db=db)
        if i + 1 < len(of.layers) and isinstance(of.layers[i + 1], Activation):
            hint = "the gradient of the bias is taken one step too early"
            step = _dense_step(db=lambda dA: of.upstream[i + 2].sum(axis=0))
            yield "activation derivative missing in the bias gradient", hint, step


def _rows(dA: Array) -> Array:
    return dA.sum(axis=1)


def _row_means(dA: Array) -> Array:
    return dA.mean(axis=1)


def _of_weight(of: BackwardPass, i: int, layer: Dense) -> Found:
    X = of.values[i]
    hint = "the gradient of the weights is made with the wrong array"
    below = max((j for j in range(i) if isinstance(of.layers[j], Dense)), default=None)
    for j, V in enumerate(of.values):
        if j != i and V.shape == X.shape and not np.array_equal(V, X):
            early = j == i - 1 and isinstance(of.layers[j], Activation)
            name = "input of the layer below" if j == below else "input of another layer"
            name = "pre-activation for activation" if early else name
            yield f"weight gradient with {name}", hint, _dense_step(dW=functools.partial(lambda V, dA, X: dA.T @ V, V))
    wrong = {
        "weight gradient of the first sample only": ("sees a part of the batch", lambda dA, X: dA[:1].T @ X[:1]),
        "weight gradient of the last sample only": ("sees a part of the batch", lambda dA, X: dA[-1:].T @ X[-1:]),
        "sums multiplied for products summed": (
            "sums over the samples too early",
            lambda dA, X: np.outer(dA.sum(axis=0), X.sum(axis=0)),
        ),
        "weight gradient without the input": ("lacks a factor", lambda dA, X: dA.sum(axis=0)[:, np.newaxis]),
        "weight gradient times the weights": ("has a factor too many", lambda dA, X: dA.T @ X * layer.W),
    }
    if len(X) == layer.out_features:
        wrong["dA not transposed in the weight gradient"] = ("mixes samples and units", lambda dA, X: dA @ X)
        if len(X) == X.shape[1]:
            wrong["* for @ in the weight gradient"] = ("is no product of matrices", lambda dA, X: dA.T * X)
    for name, (what, dW) in wrong.items():
        yield name, f"the gradient of the weights {what}", _dense_step(dW=dW)
    if i + 1 < len(of.layers) and isinstance(of.layers[i + 1], Activation):
        hint = "the gradient of the weights is taken one step too early"
        step = _dense_step(dW=lambda dA, X: of.upstream[i + 2].T @ X)
        yield "activation derivative missing in the weight gradient", hint, step


def _of_both(of: BackwardPass, i: int, layer: Dense) -> Found:
    hint = "a layer's own gradient sees a part of the batch"
    for name, rows in ("first", slice(1)), ("last", slice(-1, None)):
        step = _dense_step(dW=functools.partial(_rows_of, rows), db=functools.partial(_sum_of, rows))
        yield f"layer's gradient of the {name} sample only", hint, step
    if i + 1 < len(of.layers) and isinstance(of.layers[i + 1], Activation):
        hint = "a layer's own gradient is taken one step too early"
        step = _dense_step(dW=lambda dA, X: of.upstream[i + 2].T @ X, db=lambda dA: of.upstream[i + 2].sum(axis=0))
        yield "activation derivative missing in the layer's own gradient", hint, step


def _rows_of(rows: slice, dA: Array, X: Array) -> Array:
    return dA[rows].T @ X[rows]


def _sum_of(rows: slice, dA: Array) -> Array:
    return dA[rows].sum(axis=0)


# ---- other layers --------------------------------------------------------------------------------------------------


def _of_dropout(of: BackwardPass, i: int, layer: Dropout) -> Found:
    scale, keep = layer.scale, of.caches[i]
    if keep is not None:
        for other, mask in zip(of.layers, of.caches, strict=True):
            if other is not layer and isinstance(other, Dropout) and mask.shape == keep.shape:
                hint = "the gradient reaches units that were switched off"
                step = functools.partial(lambda mask, w, i, dH: dH * mask * scale, mask)
                yield "dropout mask of another layer", hint, step
        yield "dropout mask missing", "the gradient reaches units that were switched off", lambda w, i, dH: dH.copy()
        yield "dropout scale missing", "a factor of the forward pass is missing", lambda w, i, dH: dH * keep
        yield (
            "dropout mask missing, its scale kept",
            "the gradient reaches units that were switched off",
            (lambda w, i, dH: dH * scale),
        )
        yield (
            "dropout scale applied twice",
            "a factor of the forward pass occurs twice",
            (lambda w, i, dH: dH * keep * scale**2),
        )


def _of_normalization(of: BackwardPass, i: int, layer: Normalization) -> Found:
    (Xhat, inverse, moments_depend_on_X), axis = of.caches[i], layer.axis

    def step(mean: bool, variance: bool, of: BackwardPass, i: int, dH: Array) -> Array:
        layer.backward(dH, of.caches[i])
        dX = dH * layer.gamma
        along = (dX * Xhat).mean(axis=axis, keepdims=True)
        dX = dX - mean * dX.mean(axis=axis, keepdims=True) - variance * Xhat * along
        return dX * inverse

    if moments_depend_on_X:
        hint = "something that depends on the inputs is taken for a constant"
        yield "mean and variance taken for constants", hint, functools.partial(step, False, False)
        yield "variance taken for a constant", hint, functools.partial(step, True, False)
        yield "mean taken for a constant", hint, functools.partial(step, False, True)
    hint = "the gradient passes a layer as if it were not there"
    yield "normalization ignored", hint, functools.partial(_normalization_ignored, 1.0)
    yield "normalization ignored but for gamma", hint, functools.partial(_normalization_ignored, layer.gamma)


def _normalization_ignored(factor: Array | float, of: BackwardPass, i: int, dH: Array) -> Array:
    of.layers[i].backward(dH, of.caches[i])
    return dH * factor


def _of_residual(of: BackwardPass, i: int, layer: Residual) -> Found:
    hint = "the gradient comes back along one path where the forward pass has two"
    yield "skip connection missing", hint, lambda w, i, dH: np.asarray(Sequential.backward(layer, dH, w.caches[i]))

    def branch_missing(of: BackwardPass, i: int, dH: Array) -> Array:
        layer.backward(dH, of.caches[i])
        return dH.copy()

    yield "block missing beside its skip connection", hint, branch_missing


# ---- the catalogue -------------------------------------------------------------------------------------------------

Family = Callable[[BackwardPass], Iterator[Mistake]]


def _in_layers(kind: type[Layer], listed: Callable[[BackwardPass, int, Any], Found]) -> Family:
    """Return the family of the mistakes that layers of one kind may have."""

    def family(of: BackwardPass) -> Iterator[Mistake]:
        for i, layer in enumerate(of.layers):
            if isinstance(layer, kind):
                where = f"{of.place_of(f'{i}.')}, {layer!r}"
                for name, hint, step in listed(of, i, layer):
                    yield Mistake(name, hint, where, {i: step}, name in WITH_LEARNING_RATE, (str(i),))

    return family


FAMILIES: dict[str, Family] = {
    "loss": lambda of: (Mistake(*found) for found in of_loss(of)),
    "activations": _in_layers(Activation, _of_activation),
    "propagation (dX)": _in_layers(Dense, _of_propagation),
    "biases (db)": _in_layers(Dense, _of_bias),
    "weights (dW)": _in_layers(Dense, _of_weight),
    "dW and db together": _in_layers(Dense, _of_both),
    "dropout": _in_layers(Dropout, _of_dropout),
    "normalization": _in_layers(Normalization, _of_normalization),
    "skip connections": _in_layers(Residual, _of_residual),
}
