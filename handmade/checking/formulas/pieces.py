"""9. A wrong array made of two pieces: one formula where a quantity exceeds a bound, another one elsewhere.

Thresholds, clipping of inputs, masks and forgotten branches do this. The entries that a multiple of one array explains
are found first, then an array that explains the others, and last a quantity whose bound separates the two sets.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ..._types import Array
from ..regression import ODD, Formula, Term, ways_to_write

__all__ = ["two_pieces"]

LEAST = 3  # entries of the smaller piece
CHANCE = 1e-3  # that some quantity separates the pieces by accident
CHANCE_OF_KNOWN = 2e-2  # the same, if an option of the loss or the layer, which few gaps contain, is the bound
COST = 2.2  # of the most unusual array that a piece is a multiple of


def two_pieces(
    target: Array,
    terms: Sequence[Term],
    quantities: Sequence[Term],
    known: Mapping[str, float],
    relative: float,
    left: str = "claim",
) -> list[Formula]:
    """Return the simplest formula of two pieces that equals the target; none if there is none.

    Parameters
    ----------
    target : ndarray
        The array to explain.
    terms : sequence of Term
        Arrays that a piece may be a multiple of, in the shape of the target.
    quantities : sequence of Term
        Arrays whose bound may separate the pieces.
    known : mapping of str to float
        Numbers that a coefficient and a bound may be made of.
    relative : float
        The difference up to which two arrays count as equal, relative to the largest entry of the target.
    left : str
        The name of the target.

    Examples
    --------
    >>> from handmade.checking.formulas.pieces import two_pieces
    >>> from handmade.checking.regression import Term
    >>> E = np.random.default_rng(0).normal(size=(8, 5))
    >>> terms = [Term("E", E, 0.5), Term("sign(E)", np.sign(E))]
    >>> print(two_pieces(np.where(np.abs(E) < 0.5, E, np.sign(E)), terms, [Term("E", E)], {}, 1e-9, "dA")[0])
    dA = E where |E| < 1/2, else sign(E)
    """
    t = np.ravel(target).astype(np.float64)
    size = np.abs(t).max(initial=0.0)
    if size == 0 or len(t) < 3 * LEAST:
        return []
    usable = [
        Term(term.name, x, term.cost)
        for term in terms
        if term.cost <= COST and (x := np.ravel(term.value)).shape == t.shape and np.isfinite(x).all() and x.any()
    ]
    tolerance = relative * size
    found = []
    for one, c, here in _leading(t, usable, tolerance):
        for other, d, there in _covering(t, usable, ~here, tolerance):
            price_c, price_d = ways_to_write(c, known, relative), ways_to_write(d, known, relative)
            if max(price_c[1], price_d[1]) >= ODD and not {"right", "1"} & {one.name, other.name}:
                continue
            condition = _condition(here & ~there, ~here, quantities, known)
            if condition:
                pieces = _product(c, price_c[0], one.name), _product(d, price_d[0], other.name)
                text = f"{pieces[0]} where {condition}, else {pieces[1]}"
                cost = ODD + one.cost + other.cost + price_c[1] + price_d[1]
                found.append(Formula(left, (text,), (1.0,), (("1",),), 0.0, cost))
    return sorted(found, key=lambda formula: formula.cost)[:1]


def _leading(t: Array, terms: Sequence[Term], tolerance: float) -> Iterator[tuple[Term, float, Array]]:
    """Yield the multiples of a term that explain a third of the entries or more, but not all."""
    zero = np.abs(t) <= tolerance
    if len(t) // 3 <= zero.sum() < len(t):
        yield Term("0", np.zeros(len(t)), 0.0), 1.0, zero
    for term in terms:
        x = term.value
        moving = np.abs(x) > 1e3 * tolerance
        if moving.sum() < LEAST:
            continue
        ratios = np.sort(t[moving] / x[moving])
        least = max(LEAST, len(t) // 3)
        if len(ratios) < least:
            continue
        widths = ratios[least - 1 :] - ratios[: len(ratios) - least + 1]
        first = int(np.argmin(widths))
        c = float(np.median(ratios[first : first + least]))
        here = np.abs(t - c * x) <= tolerance
        visible = np.abs(c * x).max() > 1e3 * tolerance
        is_number = here.any() and np.ptp(t[here]) <= tolerance
        if visible and (here & moving).sum() >= least and not here.all() and (term.name == "1" or not is_number):
            yield term, c, here


def _covering(t: Array, terms: Sequence[Term], chosen: Array, tolerance: float) -> Iterator[tuple[Term, float, Array]]:
    """Yield the multiples of a term, or 0, that explain all chosen entries."""
    if chosen.sum() < LEAST:
        return
    if (np.abs(t[chosen]) <= tolerance).all():
        yield Term("0", np.zeros(len(t)), 0.0), 1.0, np.abs(t) <= tolerance
        return
    if np.ptp(t[chosen]) <= tolerance:  # a number: many an array is one where another is
        terms = [Term("1", np.ones(len(t)), 0.0)]
    for term in terms:
        x = term.value[chosen]
        length = float(x @ x)
        c = float(x @ t[chosen]) / length if length else 0.0
        if c and (np.abs(t[chosen] - c * x) <= tolerance).all():
            yield term, c, np.abs(t - c * term.value) <= tolerance


def _condition(here: Array, there: Array, quantities: Sequence[Term], known: Mapping[str, float]) -> str:
    """Return the bound of a quantity that holds in the one set and not in the other; empty if there is none."""
    one, other = int(here.sum()), int(there.sum())
    if min(one, other) < LEAST:
        return ""
    ways = math.lgamma(one + other + 1) - math.lgamma(one + 1) - math.lgamma(other + 1)
    chance = math.log(4 * max(1, len(quantities))) - ways
    if chance > math.log(CHANCE_OF_KNOWN):
        return ""
    for term in quantities:
        x = np.ravel(term.value)
        for name, v in ((term.name, x), (f"|{term.name}|", np.abs(x))):
            if v.shape != here.shape or not np.isfinite(v).all():
                continue
            for sign, low, high in ("<", v[here].max(), v[there].min()), (">", v[there].max(), v[here].min()):
                if low < high:
                    text, bound = _bound(float(low), float(high), known)
                    if chance > math.log(CHANCE) and text.lstrip("-") not in known:
                        continue
                    closed = bool(bound == (low if sign == "<" else high))
                    return f"{name} {sign}{'=' * closed} {text}"
    return ""


def _bound(low: float, high: float, known: Mapping[str, float]) -> tuple[str, float]:
    """Return the simplest number between two, as text and as it is."""
    named = [(name, sign * number) for name, number in known.items() for sign in (1, -1) if "N" not in name]
    for name, number in [("0", 0.0), *named, ("1", 1.0), ("1", -1.0), ("1/2", 0.5), ("1/2", -0.5)]:
        if low <= number <= high:
            return "-" * (number < 0) + name, number
    for digits in range(1, 6):
        number = float(f"{(low + high) / 2:.{digits}g}")
        if low <= number <= high:
            return f"about {number:g}", number
    return f"about {(low + high) / 2:.6g}", (low + high) / 2


def _product(c: float, ways: Sequence[str], name: str) -> str:
    size = "" if ways[0] == "1" else ways[0] if name == "1" else f"{' or '.join(ways)} "
    return f"{'-' * (c < 0)}{size}{'' if name == '1' and size else name}"
