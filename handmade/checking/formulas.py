"""9. The formula of a wrong step: a regression of its result on the products of the arrays that are at hand there.

With the wrong step isolated, both its sides are known. The coefficients are the diagnosis: ``dA[0] = dH - H^2`` lacks
parentheses, ``dH f'(A) + 0.09 dH [A < 0]`` has a slope of 0.1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..layers import Dense, Dropout
from ..normalization import Normalization
from .backward_pass import BackwardPass
from .layer_terms import terms_of_layer
from .localisation import Localisation, WrongStep
from .loss_terms import terms_of_loss
from .parameter_terms import terms_of_parameter
from .patterns import pattern_of
from .regression import MOST_TERMS, ODD, Formula, Term, fit

__all__ = ["Case", "formula_of"]

Array = npt.NDArray[Any]

SHARE = 0.01  # of the difference is all that a formula may leave
MOST_NUMBERS = 3000  # of an array that are fitted, drawn at random


# ---- the candidates ------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Case:
    """One batch: the right backward pass over it, and the localisation of what is claimed for it."""

    of: BackwardPass
    found: Localisation


def formula_of(
    name: str,
    cases: Sequence[Case],
    facts: Mapping[str, float],
    relative: float,
    check: Case | None = None,
    most: int = MOST_TERMS,
) -> list[Formula]:
    """Return the formulas that explain a wrong step in every case, the simplest first.

    The usual arrays are tried first, then products of two of them, then the patterns that a person would see.

    Parameters
    ----------
    name : str
        The quantity that the step makes.
    cases : sequence of Case
        Batches whose numbers are fitted together.
    facts : mapping of str to float
        Numbers that coefficients may be made of.
    relative : float
        The relative difference up to which two arrays count as equal.
    check : Case, optional
        A batch that is not fitted, on which a formula has to hold.
    most : int
        The largest number of terms.
    """
    steps = [next((step for step in case.found.steps if step.name == name), None) for case in cases]
    pairs = [(case, step) for case, step in zip(cases, steps, strict=True) if step is not None]
    if not pairs:
        return []
    step = pairs[0][1]
    places = step.path if step.kind == "dA" else (step.prefix,)
    with np.errstate(all="ignore"):
        for products in (False, True):
            found = [
                formula
                for place in places
                for formula in _fitted(pairs, place, facts, relative, min(most, 2) if products else most, products)
                if check is None or _holds(formula, check, name, place, relative, products)
            ]
            if found:
                return sorted(found, key=lambda formula: formula.cost)
    seen = [pattern_of(s.actual, s.right) for _, s in pairs] if step.unique else [""]
    if all(seen) and len({text[:16] for text in seen}) == 1:
        return [Formula(name, (seen[0],), (1.0,), ("1",), 0.0, ODD + 1, places[0])]
    return []


def _fitted(
    pairs: Sequence[tuple[Case, WrongStep]],
    place: str,
    facts: Mapping[str, float],
    relative: float,
    most: int,
    products: bool,
) -> list[Formula]:
    """Return the formulas that hold in all cases, if the mistake is at one place of the path of the step."""
    targets, tables = zip(*(_equation(case, step, place, products) for case, step in pairs), strict=True)
    target = np.concatenate([np.ravel(array) for array in targets])
    if not np.abs(target).max(initial=0.0) > 0:
        return []
    terms = [
        Term(key, np.concatenate([np.ravel(table[key].value) for table in tables]), tables[0][key].cost)
        for key in tables[0]
        if all(key in table for table in tables)
    ]
    if len(target) > MOST_NUMBERS:
        drawn = np.sort(np.random.default_rng(0).choice(len(target), MOST_NUMBERS, replace=False))
        terms = [term._replace(value=term.value[drawn]) for term in terms]
        target = target[drawn]
    known = known_numbers(pairs[0][0].of, place, facts)
    if len({len(case.of.values[-1]) for case, _ in pairs}) > 1:  # a coefficient that holds for all has no N in it
        known = {key: value for key, value in known.items() if "N" not in key}
    limit = min(relative, SHARE * min(_change(step) for _, step in pairs))
    found = fit(target, terms, known, limit, pairs[0][1].name, most)[:8]
    return [dataclasses.replace(formula, place=place) for formula in found]


def _change(step: WrongStep) -> float:
    """Return the difference of a wrong step from the right one, relative to its largest entry."""
    size = np.abs(step.actual).max(initial=0.0)
    if not step.unique or size == 0:
        return 1.0
    return float(np.abs(step.actual - step.right).max() / size)


def _equation(case: Case, step: WrongStep, place: str, products: bool) -> tuple[Array, dict[str, Term]]:
    """Return what is to be explained at a place of the path, and the candidates by name."""
    if step.kind != "dA":
        terms = [] if products else terms_of_parameter(step, case.of, case.found)
        return step.actual, {term.name: term for term in terms if np.shape(term.value) == step.actual.shape}
    candidates = _through(step, case.of, case.found, place, products)
    if step.unique:
        return step.actual, {term.name: term for term in candidates}
    # dA itself is not known, but the gradients of the layer's parameters are, and they are linear in dA.
    return np.concatenate([step.claimed[name].ravel() for name in step.claimed]), {
        term.name: term._replace(value=_parameter_gradients(step, case.of, term.value)) for term in candidates
    }


def _parameter_gradients(step: WrongStep, of: BackwardPass, dA: Array) -> Array:
    """Return the gradients of a layer's parameters from dA, as one vector."""
    leaf = of.leaves[step.prefix]
    leaf.backward(dA, of.leaf_caches[step.prefix], False)
    return np.concatenate([getattr(leaf, "d" + name).ravel() for name in leaf.parameters.values()])


def dA_of(formula: Formula, case: Case, step: WrongStep) -> Array:
    """Return the dA that a formula gives."""
    table: dict[str, Array] = {}
    for products in (True, False):
        table |= {term.name: term.value for term in _through(step, case.of, case.found, formula.place, products)}
    parts = zip(formula.coefficients, formula.terms, strict=True)
    return sum((c * table[name] for c, name in parts), np.zeros(step.right.shape))


def _holds(formula: Formula, check: Case, name: str, place: str, relative: float, products: bool) -> bool:
    """Return whether a formula holds for a batch that it was not fitted to; true where the step cannot be seen."""
    step = next((step for step in check.found.steps if step.name == name), None)
    if step is None:
        return True
    target, table = _equation(check, step, place, products)
    if not all(term in table for term in formula.terms):
        return True
    total = np.zeros(target.shape)
    for term, number in zip(formula.terms, formula.coefficients, strict=True):
        total = total + number * table[term].value
    return bool(np.abs(total - target).max() <= 100 * relative * max(np.abs(target).max(), 1e-300))


def known_numbers(of: BackwardPass, place: str, facts: Mapping[str, float]) -> dict[str, float]:
    """Return the numbers that a coefficient may be made of, by name."""
    N, K = of.values[-1].shape[0], int(np.prod(of.values[-1].shape[1:]))
    known = {"N": float(N), "K": float(K), "(N-1)": float(N - 1)}
    known |= {name: float(value) for name, value in facts.items() if value}
    leaf = of.leaves.get(place)
    if isinstance(leaf, Dropout) and 0 < leaf.p < 1:
        known |= {"p": leaf.p, "(1-p)": 1 - leaf.p, "(1-p)^2": (1 - leaf.p) ** 2}
    for name in "negative_slope", "alpha", "beta":
        options = getattr(leaf, "options", {})
        if options.get(name):
            known[name] = float(options[name])
    if isinstance(leaf, Normalization | Dense):
        width = of.outputs[place].shape[1]
        known["width"] = float(width)
    return known


BESIDE = "dH of the other paths"


def _through(step: WrongStep, of: BackwardPass, found: Localisation, place: str, products: bool) -> list[Term]:
    """Return the candidates for what one layer of the path passes on, as they arrive below.

    The layers between that layer and the wrong array are right, and linear. What arrives along other paths, such as a
    skip connection, is a candidate, too.
    """
    actual = {p: dA for p, dA in found.actual.items() if p != step.prefix and of.is_above(p, step.prefix)}
    of.rerun(incoming=actual, signals_only=True)
    incoming = {p: a.copy() for p, a in of.incoming.items()} | actual

    def arrives(array: Array) -> Array:
        if of.is_chain:
            return of.passed_down(array, place, step.prefix)
        if place == "loss":
            of.rerun(loss_gradient=array, incoming=actual, signals_only=True)
        else:
            of.rerun(incoming=actual, outgoing={place: array}, signals_only=True)
        return of.incoming[step.prefix].copy()

    if place == "loss":
        shape, candidates = of.values[-1].shape, terms_of_loss(of, products)
    else:
        shape, candidates = of.inputs[place].shape, terms_of_layer(of, place, incoming, products)
    beside = arrives(np.zeros(shape))
    terms = [Term(BESIDE, beside, 0.0)] if beside.any() else []
    for name, value, cost in candidates:
        if np.shape(value) == shape and np.isfinite(value).all():
            terms.append(Term(name, arrives(np.asarray(value, np.float64)) - beside, cost))
    return terms
