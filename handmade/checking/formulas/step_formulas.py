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

from ..._types import Array
from ..backward_pass import BackwardPass
from ..localisation import WrongStep
from ..regression import MOST_TERMS, ODD, Formula, fit, numbers_named, price_of, ways_to_write
from .layer_terms import SIGNAL
from .predictions import other_smoothing
from .step_equations import MOST_NUMBERS, SHARE, Case, candidates_of, change_of, equation, joined, known_numbers
from .step_patterns import VAGUE, derived_in, in_words, seen_in

__all__ = ["VAGUE", "Case", "dA_of", "formula_of", "right_formula"]

ALIKE = 2.0  # what a term in common with the wrong formula is worth
SIMPLE = 5.0  # cost of a formula, beyond which products of two arrays are tried, too


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
    if places == ("loss",) and (text := other_smoothing([(c.of, own.actual) for c, own in pairs if own.unique])):
        return [in_words(name, text, ODD, "loss")]
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
    seen = seen_in(name, [pair for pair in pairs if pair[1].unique], places, facts, relative)
    elsewhere = [_step_in(case, step) for case in others]
    is_right_elsewhere = any(s is not None and np.array_equal(s.actual, s.right) for s in elsewhere)
    seen = [f for f in seen if not (is_right_elsewhere and " row" in str(f))]  # the rows are not what decides
    if by_operations and (not seen or seen[0].cost >= VAGUE):
        text, dA = derived_in(pairs, relative)
        if text:
            formula = in_words(name, f"right, but for {text}", ODD, places[-1])
            return [dataclasses.replace(formula, value=dA)]
    return seen


def right_formula(
    name: str, cases: Sequence[Case], formula: Formula, facts: Mapping[str, float], others: Sequence[Case] = ()
) -> str:
    """Return what a step should compute, in the terms of the formula of what it computes; empty if it has no terms."""
    pairs = [(case, step) for case in cases for step in case.found.steps if step.name == name]
    if any("right" in term for term in formula.terms):
        return ""
    right = [(case, _as_right(step)) for case, step in pairs]
    _, terms = joined(right, formula.place, False)
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
    own = dict(zip(formula.terms, formula.coefficients, strict=True))

    def unlike(one: Formula) -> float:
        parts = zip(one.terms, one.coefficients, strict=True)
        return one.cost - ALIKE * sum(term in own and math.isclose(own[term], c, rel_tol=1e-6) for term, c in parts)

    best = min((one for one in confirmed if one is not None), key=unlike, default=None)
    best = dataclasses.replace(best, left="right") if best else None
    return f"{best}{', dXhat = gamma dH' if 'dXhat' in str(best) else ''}" if best else ""


def _as_right(step: WrongStep) -> WrongStep:
    """Return a step as if it were right."""
    return dataclasses.replace(step, actual=step.right, unique=True)


def _fitted(
    pairs: Sequence[tuple[Case, WrongStep]],
    place: str,
    facts: Mapping[str, float],
    relative: float,
    most: int,
    products: bool,
) -> list[Formula]:
    """Return the formulas that hold in all cases, if the mistake is at one place of the path of the step."""
    target, terms = joined(pairs, place, products)
    if len(target) > MOST_NUMBERS:
        drawn = np.sort(np.random.default_rng(0).choice(len(target), MOST_NUMBERS, replace=False))
        terms = [term._replace(value=term.value[drawn]) for term in terms]
        target = target[drawn]
    known = known_numbers(pairs[0][0].of, place, facts)
    limit = min(relative, SHARE * min(change_of(case, step) for case, step in pairs))
    found = fit(target, terms, known, limit, pairs[0][1].name, most)[:8]
    rows = len(pairs[0][0].of.values[-1])
    return [dataclasses.replace(formula, place=place, rows=rows) for formula in found]


def dA_of(formula: Formula, case: Case, step: WrongStep) -> Array | None:
    """Return the dA that a formula gives; None if it is not known."""
    table = {"0": np.zeros(step.right.shape)}
    for products in (True, False):
        table |= {term.name: term.value for term in candidates_of(step, case.of, case.found, formula.place, products)}
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
    target, table = equation(check, step, formula.place, products)
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
            before, now = (sum(price_of(ways[0], known) for ways in factors) for factors in (formula.factors, written))
            return dataclasses.replace(formula, factors=written, cost=formula.cost + now - before)
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
