"""9. What a person would see in a wrong step beside the right one: a pattern, two pieces, an operation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from ..._types import Array
from ...activations import softmax
from ...dropout import Dropout
from ...layers import Activation
from ..backward_pass import is_elementwise, own_slope
from ..localisation import WrongStep
from ..operations.layers import operations_of_step
from ..regression import ODD, Formula, Term, ways_to_write
from .patterns import OWN_FACTORS, pattern_of
from .pieces import LEAST, two_pieces
from .predictions import other_prediction
from .step_equations import MOST_NUMBERS, SHARE, Case, candidates_of, change_of, incoming_of, joined, known_numbers

__all__ = ["VAGUE", "derived_in", "in_words", "seen_in"]

VAGUE = 9.0  # cost of a formula with a number of its own in each row or column
FLAT = 1e-4  # a derivative smaller than this hides what was multiplied by it


def in_words(name: str, text: str, cost: float, place: str) -> Formula:
    """Return a formula that is a text."""
    return Formula(name, (text,), (1.0,), (("1",),), 0.0, cost, place)


def seen_in(
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
    return [in_words(name, text, cost, place)]


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
        A, dH = of.inputs[place], incoming_of(step, of, case.found)[place]
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


def derived_in(pairs: Sequence[tuple[Case, WrongStep]], relative: float) -> tuple[str, Array | None]:
    """Return the operation that is derived wrongly in all batches, and the dA of the last; else nothing."""
    found, dA = "", None
    for case, step in pairs:
        incoming = incoming_of(step, case.of, case.found) | ({} if step.kind == "dA" else case.found.actual)
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
    terms = [{t.name: t.value for t in candidates_of(step, case.of, case.found, place, False)} for case, step in pairs]
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


def _of_two_pieces(
    pairs: Sequence[tuple[Case, WrongStep]], place: str, facts: Mapping[str, float], relative: float
) -> list[Formula]:
    """Return the formula of two pieces that explains the last layer of the path of a step."""
    target, terms = joined(pairs, place, False)
    if target.size > MOST_NUMBERS:
        return []
    names = [term.name for term in terms]
    first = pairs[0][0].of
    known = known_numbers(first, place, facts)
    tables = [_quantities(case, step, place) for case, step in pairs]
    quantities = [Term(key, np.concatenate([np.ravel(table[key]) for table in tables])) for key in tables[0]]
    if "right" not in names:
        terms = [Term("right", np.concatenate([step.right.ravel() for _, step in pairs]), 0.3), *terms]
    limit = min(relative, SHARE * min(change_of(case, step) for case, step in pairs))
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
        named |= {"A": of.inputs[place], "H": of.outputs[place], "dH": incoming_of(step, of, case.found)[place]}
    named |= {"X": of.inputs[step.prefix], "right": step.right}
    return {name: value for name, value in named.items() if np.shape(value) == shape}
