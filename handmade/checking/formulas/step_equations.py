"""9. What is to be explained in a wrong step, and the candidates for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from ..._types import Array
from ...dropout import Dropout
from ...layers import Dense
from ...normalization import Standardization
from ..backward_pass import BackwardPass
from ..localisation import Localisation, WrongStep
from ..regression import Term
from .layer_terms import signals_as_terms, terms_of_layer
from .loss_terms import targets_of_loss, terms_of_loss
from .parameter_terms import terms_of_parameter

__all__ = [
    "MOST_NUMBERS",
    "SHARE",
    "Case",
    "candidates_of",
    "change_of",
    "equation",
    "incoming_of",
    "joined",
    "known_numbers",
]

SHARE = 0.01  # of the difference is all that a formula may leave
MOST_NUMBERS = 3000  # of an array that are looked at
ZERO = 1e-14  # of the terms of a sum: a sum as small as this is 0, and its digits are rounding
BESIDE = "dH of the other paths"


@dataclasses.dataclass(frozen=True)
class Case:
    """One batch: the right backward pass over it, and the localisation of what is claimed for it."""

    of: BackwardPass
    found: Localisation


def incoming_of(step: WrongStep, of: BackwardPass, found: Localisation) -> dict[str, Array]:
    """Return the gradients with respect to the outputs of all layers in a pass that is right from there on."""
    actual = _above(step, of, found)
    of.rerun(incoming=actual, signals_only=True)
    return {p: a.copy() for p, a in of.incoming.items()} | actual


def _above(step: WrongStep, of: BackwardPass, found: Localisation) -> dict[str, Array]:
    """Return the claimed gradients with respect to the outputs of the layers above a step."""
    return {p: dA for p, dA in found.actual.items() if p != step.prefix and of.is_above(p, step.prefix)}


def candidates_of(step: WrongStep, of: BackwardPass, found: Localisation, place: str, products: bool) -> list[Term]:
    """Return the candidates for what one layer of the path passes on, as they arrive below.

    The layers between that layer and the wrong array are right, and linear. What arrives along other paths, such as a
    skip connection, is a candidate, too.
    """
    actual, incoming = _above(step, of, found), incoming_of(step, of, found)

    def arrives(array: Array) -> Array:
        if of.is_chain:
            return of.passed_down(array, place, step.prefix)
        if place == "loss":
            of.rerun(loss_gradient=array, incoming=actual, signals_only=True)
        else:
            of.rerun(incoming=actual, outgoing={place: array}, signals_only=True)
        return of.incoming[step.prefix].copy()

    if place == "loss":
        shape, candidates = of.values[-1].shape, list(terms_of_loss(of, products))
    else:
        shape, candidates = of.inputs[place].shape, list(terms_of_layer(of, place, incoming, products))
        above = {p: dH for p, dH in incoming.items() if of.is_above(p, step.prefix)}
        candidates += [] if products or of.is_chain else signals_as_terms(of, shape, above)
    beside = arrives(np.zeros(shape))
    terms = [Term(BESIDE, beside, 0.0)] if beside.any() else []
    for name, value, cost in candidates:
        if np.shape(value) == shape and np.isfinite(value).all():
            terms.append(Term(name, arrives(np.asarray(value, np.float64)) - beside, cost))
    return terms


def equation(case: Case, step: WrongStep, place: str, products: bool) -> tuple[Array, dict[str, Term]]:
    """Return what is to be explained at a place of the path, and the candidates by name."""
    if step.kind != "dA":
        terms = [] if products else terms_of_parameter(step, case.of, case.found)
        dA = case.found.actual.get(step.prefix)
        is_rounding = step.kind == "bias" and dA is not None and np.abs(step.actual).max() <= ZERO * np.abs(dA).sum()
        actual = np.zeros(step.actual.shape) if is_rounding else step.actual
        return actual, {term.name: term for term in terms if np.shape(term.value) == step.actual.shape}
    candidates = candidates_of(step, case.of, case.found, place, products)
    if step.unique:
        return step.actual, {term.name: term for term in candidates}
    # dA itself is not known, but the gradients of the layer's parameters are, and they are linear in dA.
    return np.concatenate([step.claimed[name].ravel() for name in step.claimed]), {
        term.name: term._replace(value=_parameter_gradients(step, case.of, term.value)) for term in candidates
    }


def joined(pairs: Sequence[tuple[Case, WrongStep]], place: str, products: bool) -> tuple[Array, list[Term]]:
    """Return the equations of all batches as one: what is to be explained, and the candidates."""
    targets, tables = zip(*(equation(case, step, place, products) for case, step in pairs), strict=True)
    terms = [
        Term(key, np.concatenate([np.ravel(table[key].value) for table in tables]), tables[0][key].cost)
        for key in tables[0]
        if all(key in table for table in tables)
    ]
    return np.concatenate([np.ravel(array) for array in targets]), terms


def _parameter_gradients(step: WrongStep, of: BackwardPass, dA: Array) -> Array:
    """Return the gradients of a layer's parameters from dA, as one vector."""
    leaf = of.leaves[step.prefix]
    leaf.backward(dA, of.leaf_caches[step.prefix], False)
    return np.concatenate([getattr(leaf, "d" + name).ravel() for name in leaf.parameters.values()])


def change_of(case: Case, step: WrongStep) -> float:
    """Return the difference of a wrong step from the right one, relative to its largest entry.

    Where a dA is not known exactly, the gradients of its layer's parameters stand for it.
    """
    actual, right = step.actual, step.right
    if not step.unique:
        actual = np.concatenate([array.ravel() for array in step.claimed.values()])
        right = _parameter_gradients(step, case.of, right)
    size = np.abs(actual).max(initial=0.0)
    return float(np.abs(actual - right).max() / size) if size else 1.0


def known_numbers(of: BackwardPass, place: str, facts: Mapping[str, float]) -> dict[str, float]:
    """Return the numbers that a coefficient may be made of, by name."""
    N, K = of.values[-1].shape[0], int(np.prod(of.values[-1].shape[1:]))
    known = {"N": float(N), "K": float(K), "(N-1)": float(N - 1)}
    known |= {name: float(value) for name, value in facts.items() if value and name != "outputs"}  # which is K
    options = getattr(of.loss, "keywords", {}) if place == "loss" else {}
    known |= {name: float(v) for name, v in options.items() if isinstance(v, float) and v}
    weight, Y = options.get("weight"), targets_of_loss(of)
    if weight is not None and Y is not None and np.shape(weight) == Y.shape[1:]:
        known["(sum of the weights)"] = float((Y @ np.asarray(weight, np.float64)).sum())
    leaf = of.leaves.get(place)
    if isinstance(leaf, Dropout) and 0 < leaf.p < 1:
        known |= {"p": leaf.p, "(1-p)": 1 - leaf.p, "(1-p)^2": (1 - leaf.p) ** 2}
    for name in "negative_slope", "alpha", "beta":
        options = getattr(leaf, "options", {})
        if options.get(name):
            known[name] = float(options[name])
    if isinstance(leaf, Standardization | Dense):
        known["width"] = float(of.outputs[place].shape[1])
    if isinstance(leaf, Dense):
        known["inputs"] = float(of.inputs[place].shape[1])
    return known
