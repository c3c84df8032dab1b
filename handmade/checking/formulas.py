"""9. The formula of a wrong step: a regression of its result on the products of the arrays that are at hand there.

With the wrong step isolated, both its sides are known. The coefficients are the diagnosis: ``dA[0] = dH - H^2`` lacks
parentheses, ``dH f'(A) + 0.09 dH [A < 0]`` has a slope of 0.1.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .._types import Array
from ..activations import softmax
from ..dropout import Dropout
from ..layers import Activation, Dense
from ..normalization import Standardization
from .backward_pass import BackwardPass, is_elementwise, own_slope
from .layer_operations import operations_of_step
from .layer_terms import SIGNAL, signals_as_terms, terms_of_layer
from .localisation import Localisation, WrongStep
from .loss_terms import terms_of_loss
from .parameter_terms import terms_of_parameter
from .patterns import OWN_FACTORS, pattern_of
from .pieces import LEAST, two_pieces
from .predictions import other_prediction
from .regression import MOST_TERMS, ODD, Formula, Term, fit, numbers_named, ways_to_write

__all__ = ["VAGUE", "Case", "formula_of", "right_formula"]

SHARE = 0.01  # of the difference is all that a formula may leave
SIMPLE = 5.0  # cost of a formula, beyond which products of two arrays are tried, too
VAGUE = 9.0  # cost of a formula with a number of its own in each row or column
FLAT = 1e-4  # a derivative smaller than this hides what was multiplied by it
ZERO = 1e-14  # of the terms of a sum: a sum as small as this is 0, and its digits are rounding
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
    others: Sequence[Case] = (),
    most: int = MOST_TERMS,
    by_operations: bool = True,
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
    others : sequence of Case
        Batches that are not fitted, on which a formula has to hold.
    most : int
        The largest number of terms.
    by_operations : bool
        Whether to search for an operation that is derived wrongly, if there is no formula.
    """
    steps = [next((step for step in case.found.steps if step.name == name), None) for case in cases]
    pairs = [(case, step) for case, step in zip(cases, steps, strict=True) if step is not None]
    if not pairs:
        return []
    step = pairs[0][1]
    places = step.path if step.kind == "dA" else (step.prefix,)
    best: list[Formula] = []
    is_contradicted = False
    for products in (False, True):
        fitted = [
            formula
            for place in places
            for formula in _fitted(pairs, place, facts, relative, min(most, 2) if products else most, products)
        ]
        confirmed = (_confirmed_by(others, formula, step, facts, relative, products) for formula in fitted)
        found = [formula for formula in confirmed if formula is not None]
        best = sorted([*best, *found], key=lambda formula: formula.cost)
        if best and best[0].cost <= SIMPLE:
            return best
        is_contradicted |= bool(fitted) and not best
    if best or is_contradicted:  # by another batch, as any other way to write these numbers would be
        return best
    seen = _seen(name, [pair for pair in pairs if pair[1].unique], places, facts, relative)
    elsewhere = [_step_in(case, step) for case in others]
    is_right_elsewhere = any(s is not None and np.array_equal(s.actual, s.right) for s in elsewhere)
    seen = [f for f in seen if not (is_right_elsewhere and " row" in str(f))]  # the rows are not what decides
    if by_operations and (not seen or seen[0].cost >= VAGUE):
        text, dA = _derived(pairs, relative)
        if text:
            formula = _in_words(name, f"right, but for {text}", ODD, places[-1])
            return [dataclasses.replace(formula, value=dA)]
    return seen


def _in_words(name: str, text: str, cost: float, place: str) -> Formula:
    """Return a formula that is a text."""
    return Formula(name, (text,), (1.0,), (("1",),), 0.0, cost, place)


def _seen(
    name: str,
    pairs: Sequence[tuple[Case, WrongStep]],
    places: Sequence[str],
    facts: Mapping[str, float],
    relative: float,
) -> list[Formula]:
    """Return what a person would see in a wrong step that is known exactly, beside the right one."""
    if not pairs:
        return []
    text, place = _pattern_in_all([(step.actual, step.right) for _, step in pairs]), places[0]
    if not text and places == ("loss",):
        text = other_prediction([(case.of, step.actual) for case, step in pairs])
    if not text:
        text, place = next(((found, at) for at in places if (found := _other_mask(pairs, at, facts))), ("", place))
    if not text and (before := _at_activation(pairs, places[-1])):
        text, place = before, places[-1]
    if not text or " entries are " in text:
        pieces = _of_two_pieces(pairs, places[-1], facts, relative)
        if pieces or not text:
            return pieces
    cost = VAGUE if OWN_FACTORS in text else ODD
    return [_in_words(name, text, cost, place)]


def _pattern_in_all(arrays: Sequence[tuple[Array, Array]]) -> str:
    """Return the pattern of several arrays, each beside the right one: that of each, or that of all together."""
    seen = [pattern_of(*pair) for pair in arrays]
    if not all(seen) or len({text[:16] for text in seen}) > 1:
        joined = pattern_of(*map(np.concatenate, zip(*arrays, strict=True)))
        return "" if " row" in joined else joined
    return seen[0]


def _at_activation(pairs: Sequence[tuple[Case, WrongStep]], place: str) -> str:
    """Return the pattern that shows in dH or in f'(A) behind an activation; empty if there is none."""
    factors: dict[str, list[tuple[Array, Array]]] = {"dH": [], "f'(A)": []}
    for case, step in pairs:
        of, leaf = case.of, case.of.leaves.get(place)
        if step.kind != "dA" or not isinstance(leaf, Activation) or not is_elementwise(leaf):
            return ""
        A, dH = of.inputs[place], _incoming(step, of, case.found)[place]
        slope = of.mended.get(place, own_slope(leaf, A))
        for (name, seen), other in zip(list(factors.items()), (slope, dH), strict=True):
            is_seen = np.abs(other) > FLAT * np.abs(other).max()
            if is_seen.mean() > 0.5:
                right = dH if name == "dH" else slope
                seen.append((np.where(is_seen, step.actual / np.where(is_seen, other, 1.0), right), right))
    for name, seen in factors.items():
        if len(seen) == len(pairs) and (text := _pattern_in_all(seen)):
            return f"dH f'(A), of which {name} is {text}"
    return ""


def _derived(pairs: Sequence[tuple[Case, WrongStep]], relative: float) -> tuple[str, Array | None]:
    """Return the operation that is derived wrongly in all batches, and the dA of the last; else nothing."""
    found, dA = "", None
    for case, step in pairs:
        incoming = _incoming(step, case.of, case.found) | ({} if step.kind == "dA" else case.found.actual)
        text, dA = operations_of_step(case.of, step, incoming, relative)
        if not text or found not in ("", text):
            return "", None
        found = text
    return found, dA


def _other_mask(pairs: Sequence[tuple[Case, WrongStep]], place: str, facts: Mapping[str, float]) -> str:
    """Return the formula of a dropout layer that passes down other entries than its mask keeps; else nothing."""
    leaf = pairs[0][0].of.leaves.get(place)
    if not isinstance(leaf, Dropout):
        return ""
    actual = np.concatenate([step.actual.ravel() for _, step in pairs])
    terms = [{t.name: t.value for t in _through(step, case.of, case.found, place, False)} for case, step in pairs]
    dH = np.concatenate([np.ravel(table["dH"]) for table in terms])
    moving = np.abs(dH) > 1e-6 * np.abs(dH).max(initial=0.0)
    passed = moving & (np.abs(actual) > 1e-6 * np.abs(actual).max(initial=0.0))
    if min(passed.sum(), (moving & ~passed).sum()) < LEAST:
        return ""
    factor = float(np.median(actual[passed] / dH[passed]))
    if np.abs(actual - factor * dH * passed).max() > 1e-7 * np.abs(actual).max():
        return ""
    ways, _ = ways_to_write(factor, known_numbers(pairs[0][0].of, place, facts), 1e-7)
    sign = "-" if factor < 0 else ""
    return f"{sign}{' or '.join(ways)} dH, with another mask than that of the forward pass"


def right_formula(
    name: str, cases: Sequence[Case], formula: Formula, facts: Mapping[str, float], others: Sequence[Case] = ()
) -> str:
    """Return what a step should compute, in the terms of the formula of what it computes; empty if it has no terms."""
    pairs = [(case, step) for case in cases for step in case.found.steps if step.name == name]
    if any("right" in term for term in formula.terms):
        return ""
    right = [(case, _as_right(step)) for case, step in pairs]
    _, terms = _joined(right, formula.place, False)
    target = np.concatenate([step.right.ravel() for _, step in right])
    terms = [term for term in terms if "right" not in term.name and not term.name.startswith(SIGNAL)]
    rows = len(right[0][0].of.values[-1])
    found = fit(target, terms, known_numbers(right[0][0].of, formula.place, facts), 1e-9, name)
    others = [
        dataclasses.replace(case, found=dataclasses.replace(case.found, steps=list(map(_as_right, case.found.steps))))
        for case in others
    ]
    placed = (dataclasses.replace(one, place=formula.place, rows=rows) for one in found[:8])
    confirmed = (_confirmed_by(others, one, right[0][1], facts, 1e-9, False) for one in placed)
    best = next((dataclasses.replace(one, left="right") for one in confirmed if one is not None), None)
    return f"{best}{', dXhat = gamma dH' if 'dXhat' in str(best) else ''}" if best else ""


def _as_right(step: WrongStep) -> WrongStep:
    """Return a step as if it were right."""
    return dataclasses.replace(step, actual=step.right, unique=True)


def _of_two_pieces(
    pairs: Sequence[tuple[Case, WrongStep]], place: str, facts: Mapping[str, float], relative: float
) -> list[Formula]:
    """Return the formula of two pieces that explains the last layer of the path of a step."""
    target, terms = _joined(pairs, place, False)
    if target.size > MOST_NUMBERS:
        return []
    names = [term.name for term in terms]
    first = pairs[0][0].of
    known = known_numbers(first, place, facts)
    tables = [_quantities(case, step, place) for case, step in pairs]
    quantities = [Term(key, np.concatenate([np.ravel(table[key]) for table in tables])) for key in tables[0]]
    if "right" not in names:
        terms = [Term("right", np.concatenate([step.right.ravel() for _, step in pairs]), 0.3), *terms]
    limit = min(relative, SHARE * min(_change(case, step) for case, step in pairs))
    terms = [term for term in terms if not term.name.startswith("the right one")]  # of some samples
    found = two_pieces(target, terms, quantities, known, limit, pairs[0][1].name)
    return [dataclasses.replace(formula, place=place) for formula in found]


def _quantities(case: Case, step: WrongStep, place: str) -> dict[str, Array]:
    """Return the arrays whose size may decide which piece of a step applies."""
    of, shape = case.of, step.actual.shape
    named: dict[str, Array] = {}
    if place == "loss":
        A, y = of.values[-1], of.y
        named |= {"A-Y": A - y, "Y A": A * y} if y.shape == A.shape else {}
        named["A"] = A
        if A.ndim == 2:
            named["P"] = softmax(A)
    elif place in of.inputs:
        named |= {"A": of.inputs[place], "H": of.outputs[place], "dH": _incoming(step, of, case.found)[place]}
    named |= {"X": of.inputs[step.prefix], "right": step.right}
    return {name: value for name, value in named.items() if np.shape(value) == shape}


def _joined(pairs: Sequence[tuple[Case, WrongStep]], place: str, products: bool) -> tuple[Array, list[Term]]:
    """Return the equations of all batches as one: what is to be explained, and the candidates."""
    targets, tables = zip(*(_equation(case, step, place, products) for case, step in pairs), strict=True)
    terms = [
        Term(key, np.concatenate([np.ravel(table[key].value) for table in tables]), tables[0][key].cost)
        for key in tables[0]
        if all(key in table for table in tables)
    ]
    return np.concatenate([np.ravel(array) for array in targets]), terms


def _fitted(
    pairs: Sequence[tuple[Case, WrongStep]],
    place: str,
    facts: Mapping[str, float],
    relative: float,
    most: int,
    products: bool,
) -> list[Formula]:
    """Return the formulas that hold in all cases, if the mistake is at one place of the path of the step."""
    target, terms = _joined(pairs, place, products)
    if len(target) > MOST_NUMBERS:
        drawn = np.sort(np.random.default_rng(0).choice(len(target), MOST_NUMBERS, replace=False))
        terms = [term._replace(value=term.value[drawn]) for term in terms]
        target = target[drawn]
    known = known_numbers(pairs[0][0].of, place, facts)
    limit = min(relative, SHARE * min(_change(case, step) for case, step in pairs))
    found = fit(target, terms, known, limit, pairs[0][1].name, most)[:8]
    rows = len(pairs[0][0].of.values[-1])
    return [dataclasses.replace(formula, place=place, rows=rows) for formula in found]


def _change(case: Case, step: WrongStep) -> float:
    """Return the difference of a wrong step from the right one, relative to its largest entry.

    Where a dA is not known exactly, the gradients of its layer's parameters stand for it.
    """
    actual, right = step.actual, step.right
    if not step.unique:
        actual = np.concatenate([array.ravel() for array in step.claimed.values()])
        right = _parameter_gradients(step, case.of, right)
    size = np.abs(actual).max(initial=0.0)
    return float(np.abs(actual - right).max() / size) if size else 1.0


def _equation(case: Case, step: WrongStep, place: str, products: bool) -> tuple[Array, dict[str, Term]]:
    """Return what is to be explained at a place of the path, and the candidates by name."""
    if step.kind != "dA":
        terms = [] if products else terms_of_parameter(step, case.of, case.found)
        dA = case.found.actual.get(step.prefix)
        is_rounding = step.kind == "bias" and dA is not None and np.abs(step.actual).max() <= ZERO * np.abs(dA).sum()
        actual = np.zeros(step.actual.shape) if is_rounding else step.actual
        return actual, {term.name: term for term in terms if np.shape(term.value) == step.actual.shape}
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


def dA_of(formula: Formula, case: Case, step: WrongStep) -> Array | None:
    """Return the dA that a formula gives; None if it is not known."""
    table = {"0": np.zeros(step.right.shape)}
    for products in (True, False):
        table |= {term.name: term.value for term in _through(step, case.of, case.found, formula.place, products)}
    if not table.keys() >= set(formula.terms):
        return formula.value
    parts = zip(formula.coefficients, formula.terms, strict=True)
    return sum((c * table[name] for c, name in parts), table["0"])


def _confirmed_by(others: Sequence[Case], formula: Formula, *arguments: Any) -> Formula | None:
    """Return a formula as it holds for all batches that it was not fitted to; None if one of them contradicts it."""
    found: Formula | None = formula
    for case in others:
        found = found and _confirmed(found, case, *arguments)
    return found


def _confirmed(
    formula: Formula, check: Case, like: WrongStep, facts: Mapping[str, float], relative: float, products: bool
) -> Formula | None:
    """Return a formula as it holds for a batch that it was not fitted to; None if it does not.

    Of the ways to write a coefficient those remain that hold there, too. A batch in which everything is right is one
    in which the formula gives what is right.
    """
    step = _step_in(check, like)
    if step is None:
        return formula
    target, table = _equation(check, step, formula.place, products)
    if not all(term in table for term in formula.terms):
        return formula
    known = known_numbers(check.of, formula.place, facts)
    named = numbers_named(known)
    pairs = list(zip(formula.coefficients, formula.factors, strict=True))
    usual = [{way: math.copysign(named[way], c) for way in ways if way in named} for c, ways in pairs]
    by_rows = [_ways_by_rows(c, formula.rows, known, check.of, relative) for c, _ in pairs]
    limit = 100 * relative * max(np.abs(target).max(initial=0.0), 1e-300)
    for listed in usual, by_rows:
        holding: list[tuple[str, ...]] = []
        for chosen in itertools.product(*(ways.items() for ways in listed)):
            parts = zip(chosen, formula.terms, strict=True)
            total = sum((c * table[term].value for (_, c), term in parts), 0.0 * target)
            if np.abs(total - target).max(initial=0.0) <= limit:
                holding.append(tuple(way for way, _ in chosen))
        if holding:
            written = tuple(tuple(dict.fromkeys(ways)) for ways in zip(*holding, strict=True))
            return dataclasses.replace(formula, factors=written)
    return None


def _step_in(case: Case, like: WrongStep) -> WrongStep | None:
    """Return a step in another batch, also where all is right; None where the batch does not decide."""
    named = next((step for step in case.found.steps if step.name == like.name), None)
    if named is not None or (case.found.steps and not case.found.complete):
        return named
    dA = case.found.actual[like.prefix]
    if like.kind == "dA":
        return dataclasses.replace(like, actual=dA, right=dA, unique=True)
    leaf = case.of.leaves[like.prefix]
    leaf.backward(dA, case.of.leaf_caches[like.prefix], False)
    right = getattr(leaf, "d" + leaf.parameters[like.kind]).copy()
    return dataclasses.replace(like, actual=right, right=right)


def _ways_by_rows(
    c: float, rows: int, known: Mapping[str, float], of: BackwardPass, relative: float
) -> dict[str, float]:
    """Return a coefficient as it is, divided by the number of rows, and times it: each with its value there."""
    N, K = len(of.values[-1]), int(np.prod(of.values[-1].shape[1:]))
    constant = {name: number for name, number in known.items() if "N" not in name}
    ways = dict.fromkeys(ways_to_write(c, constant, relative)[0], c)
    per_row, per_number = f"{abs(c) * rows:.6g}/N", f"{abs(c) * rows * K:.6g}/(N K)"
    ways[min(per_row, per_number, key=lambda text: len(text.split("/")[0]))] = c * rows / N
    ways[f"{abs(c) / rows:.6g} N".removeprefix("1 ")] = c / rows * N
    return ways


def known_numbers(of: BackwardPass, place: str, facts: Mapping[str, float]) -> dict[str, float]:
    """Return the numbers that a coefficient may be made of, by name."""
    N, K = of.values[-1].shape[0], int(np.prod(of.values[-1].shape[1:]))
    known = {"N": float(N), "K": float(K), "(N-1)": float(N - 1)}
    known |= {name: float(value) for name, value in facts.items() if value and name != "outputs"}  # which is K
    options = getattr(of.loss, "keywords", {}) if place == "loss" else {}
    known |= {name: float(v) for name, v in options.items() if isinstance(v, float) and v}
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


def _above(step: WrongStep, of: BackwardPass, found: Localisation) -> dict[str, Array]:
    """Return the claimed gradients with respect to the outputs of the layers above a step."""
    return {p: dA for p, dA in found.actual.items() if p != step.prefix and of.is_above(p, step.prefix)}


def _incoming(step: WrongStep, of: BackwardPass, found: Localisation) -> dict[str, Array]:
    """Return the gradients with respect to the outputs of all layers in a pass that is right from there on."""
    actual = _above(step, of, found)
    of.rerun(incoming=actual, signals_only=True)
    return {p: a.copy() for p, a in of.incoming.items()} | actual


BESIDE = "dH of the other paths"


def _through(step: WrongStep, of: BackwardPass, found: Localisation, place: str, products: bool) -> list[Term]:
    """Return the candidates for what one layer of the path passes on, as they arrive below.

    The layers between that layer and the wrong array are right, and linear. What arrives along other paths, such as a
    skip connection, is a candidate, too.
    """
    actual, incoming = _above(step, of, found), _incoming(step, of, found)

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
