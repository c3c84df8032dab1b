"""9. A regression with few terms: the simplest linear combination of given arrays that equals another array.

Two guards keep coincidences out: there have to be more numbers than any choice of terms can fit, and simple
coefficients come before odd ones.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from .._types import Array

__all__ = ["Formula", "Term", "fit", "numbers_named", "plain_sums", "price_of", "ways_to_write"]

MOST_TERMS = 3
MOST_CANDIDATES = 60  # of which subsets of three are tried
MOST_CONDITION = 1e6  # of the terms of a formula with an odd coefficient
TOO_MANY = 6  # formulas with none but odd coefficients, of which none is evidence
SPARE = 3  # numbers beyond those that a choice of terms can fit


class Term(NamedTuple):
    """A candidate: an array, its name in a formula, and how unusual it is."""

    name: str
    value: Array
    cost: float = 1.0


@dataclasses.dataclass(frozen=True)
class Formula:
    """A linear combination of terms that equals an array.

    Attributes
    ----------
    left : str
        The name of the array.
    terms : tuple of str
        The names of the terms.
    coefficients : tuple of float
        One for each.
    factors : tuple of tuple of str
        The ways to write each coefficient: ``1/N``, or a number. More than one where known numbers coincide.
    residual : float
        The largest difference, relative to the largest entry.
    cost : float
        How complicated it is: of two formulas, the simpler is to be believed.
    place : str
        The layer whose step it is, or "loss".
    rows : int
        The number of rows of the batch that it was fitted to.
    value : ndarray or None
        What it gives in that batch, if it is a text.
    """

    left: str
    terms: tuple[str, ...]
    coefficients: tuple[float, ...]
    factors: tuple[tuple[str, ...], ...]
    residual: float
    cost: float
    place: str = ""
    rows: int = 1
    value: Array | None = dataclasses.field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        text = ""
        for number, ways, term in zip(self.coefficients, self.factors, self.terms, strict=True):
            sign = "-" if number < 0 else "+"
            size = " or ".join(ways)
            size = f"({size})" if len(ways) > 1 else size
            product = term if size == "1" else size if term == "1" else f"{size} {term}"
            text += f" {sign} {product}" if text else f"{'-' if sign == '-' else ''}{product}"
        return f"{self.left} = {text}"


# ---- the fit -------------------------------------------------------------------------------------------------------


def fit(
    target: Array,
    terms: Sequence[Term],
    known: Mapping[str, float],
    relative: float,
    left: str = "claim",
    most: int = MOST_TERMS,
) -> list[Formula]:
    """Return the simplest combinations of a few terms that equal the target, the simplest first.

    Parameters
    ----------
    target : ndarray
        The array to explain.
    terms : sequence of Term
        Candidates of its shape, the most usual ones first.
    known : mapping of str to float
        Numbers that a coefficient may be made of, such as N.
    relative : float
        The difference up to which two arrays count as equal, relative to the largest entry of the target.
    left : str
        The name of the target.
    most : int
        The largest number of terms.

    Examples
    --------
    >>> from handmade.checking.regression import Term, fit
    >>> H, dH = np.random.default_rng(0).normal(size=(2, 5, 4))
    >>> terms = [Term("dH", dH), Term("H", H), Term("H^2", H * H), Term("dH H^2", dH * H * H)]
    >>> print(fit(dH - H * H, terms, {}, 1e-9, "dA")[0])
    dA = dH - H^2
    """
    t = np.ravel(target).astype(np.float64)
    size = np.abs(t).max(initial=0.0)
    if not np.isfinite(t).all():
        return []
    if size == 0:
        return [Formula(left, ("0",), (1.0,), (("1",),), 0.0, 0.0)]
    terms = _independent(t, terms)
    if not terms:
        return []
    X = np.stack([term.value for term in terms], axis=1)
    best: list[Formula] = []
    for count in range(1, most + 1):
        if len(t) < count + (SPARE if count > 1 else 1):
            break
        tried = (
            _formula(left, [terms[j] for j in chosen], t, known, relative)
            for chosen in _screened(X, t, count, relative)
        )
        found = [one for one in tried if one is not None and not _is_rewritten(one[0], terms, X)]
        if sum(all_odd for _, all_odd in found) >= TOO_MANY:  # so many terms span all that can occur here
            found = [(formula, all_odd) for formula, all_odd in found if not all_odd]
        best = sorted([*best, *(formula for formula, _ in found)], key=lambda formula: formula.cost)
        if best and best[0].cost <= 2.0 * count + 1:
            break
    return best


def plain_sums(target: Array, terms: Sequence[Term], relative: float, left: str) -> list[Formula]:
    """Return the sums and differences of two terms that equal a target of too few numbers for `fit`.

    Nothing is fitted: that two of a handful of terms agree with one number in seven digits is no coincidence.
    """
    found = []
    t, limit = np.ravel(target), relative * np.abs(target).max(initial=0.0)
    for (one, other), sign in itertools.product(itertools.combinations(terms, 2), (1.0, -1.0)):
        far = np.abs(np.ravel(one.value) + sign * np.ravel(other.value) - t).max(initial=0.0)
        if far <= limit:
            cost = one.cost + other.cost + 2
            found.append(Formula(left, (one.name, other.name), (1.0, sign), (("1",), ("1",)), float(far), cost))
    return sorted(found, key=lambda formula: formula.cost)


def _formula(
    left: str, terms: Sequence[Term], t: Array, known: Mapping[str, float], relative: float
) -> tuple[Formula, bool] | None:
    """Return the formula of these terms, and whether it has several, all with odd coefficients; None if none holds."""
    X, count, size = np.stack([term.value for term in terms], axis=1), len(terms), np.abs(t).max()
    coefficients, *_ = np.linalg.lstsq(X, t)
    shares = np.abs(coefficients) * np.abs(X).max(axis=0)
    residual = np.abs(X @ coefficients - t).max() / size
    if residual > relative or shares.min() <= 1e-5 * size:
        return None
    priced = [ways_to_write(float(c), known, relative) for c in coefficients]
    prices = [price for _, price in priced]
    is_odd = count > 1 and max(prices) >= ODD
    kinds = count + (count > 1 or prices[0] >= ODD)  # with an odd factor, one number equals any other
    if _kinds(np.column_stack([X, t])) < (2 * count + SPARE if is_odd else kinds):
        return None
    if is_odd and not _is_determined(X):
        return None
    cost = sum(term.cost + price + 1 for term, price in zip(terms, prices, strict=True))
    if count == 1 and terms[0].name == "right":
        cost = min(cost, 1.5 + prices[0] + (prices[0] >= SHORT))  # a number that nobody knows explains little
    names, factors = tuple(term.name for term in terms), tuple(ways for ways, _ in priced)
    formula = Formula(left, names, tuple(map(float, coefficients)), factors, float(residual), cost)
    return formula, count > 1 and min(prices) >= ODD


def _is_rewritten(formula: Formula, terms: Sequence[Term], X: Array) -> bool:
    """Return whether two terms of a formula are together a multiple of one term.

    The formula is a shorter one then, written such that its rows seem to be of more kinds.
    """
    columns = {term.name: X[:, j] for j, term in enumerate(terms)}
    lengths = np.linalg.norm(X, axis=0)
    for (one, c), (other, d) in itertools.combinations(zip(formula.terms, formula.coefficients, strict=True), 2):
        both = c * columns[one] + d * columns[other]
        if (np.abs(both @ X) >= (1 - 1e-12) * lengths * np.linalg.norm(both)).any():
            return True
    return False


def _kinds(X: Array) -> int:
    """Return the number of different rows that are not zero: of masks, many rows are the same equation."""
    X = (X / (np.abs(X).max(axis=0) + np.finfo(float).tiny)).round(12)  # below, rounding makes rows different
    return len(np.unique(X[X.any(axis=1)][:1000], axis=0))


def _is_determined(X: Array) -> bool:
    """Return whether the coefficients do not hang on single equations: a column that one row needs fits anything."""
    for _ in range(SPARE):
        if not X.any(axis=0).all() or np.linalg.cond(unit := X / np.linalg.norm(X, axis=0)) > MOST_CONDITION:
            return False
        weight = np.square(np.linalg.qr(unit)[0]).sum(axis=1)  # near 1: this row decides a coefficient alone
        X = np.delete(X, int(weight.argmax()), axis=0)
    return True


def _independent(t: Array, terms: Sequence[Term]) -> list[Term]:
    """Return the terms that are finite, not zero, and no multiple of a more usual one; the most usual first."""
    kept: list[Term] = []
    units = np.empty((len(terms), len(t)))
    for term in sorted(terms, key=lambda term: (term.name != "right", term.cost)):
        x = np.ravel(term.value).astype(np.float64)
        if x.shape != t.shape or not np.isfinite(x).all():
            continue
        largest = np.abs(x).max(initial=0.0)
        if largest == 0 or not math.isfinite(largest):
            continue
        unit = x / largest
        unit /= np.linalg.norm(unit)
        if kept and np.abs(units[: len(kept)] @ unit).max() > 1 - 1e-12:
            continue
        units[len(kept)] = unit
        kept.append(term._replace(value=x))
    return kept


def _screened(X: Array, t: Array, count: int, relative: float) -> Iterator[list[int]]:
    """Yield the choices of columns whose least squares leave next to nothing."""
    scales = np.linalg.norm(X, axis=0)
    X = X / scales
    t = t / np.linalg.norm(t)
    gram, by = X.T @ X, X.T @ t
    if count == 1:
        left = np.abs(1 - by**2)
        yield from ([int(j)] for j in np.flatnonzero(left < 1e-5))
        return
    chosen = _choices(min(X.shape[1], MOST_CANDIDATES if count == 3 else 400), count)
    A, b = gram[chosen[:, np.newaxis], chosen], by[chosen]
    determinant = left = np.ones(chosen.shape[1])
    with np.errstate(all="ignore"):  # columns may depend on each other
        for k in range(count):  # Gauss's elimination, for all choices at once
            determinant, left = determinant * A[k, k], left - b[k] ** 2 / A[k, k]
            factors = A[k + 1 :, k] / A[k, k]
            b[k + 1 :] -= factors * b[k]
            A[k + 1 :, k + 1 :] -= factors[:, np.newaxis] * A[k, k + 1 :]
    # Squares hide what is left below 1e-3, so it is computed, with 1e-6 for the rounding of the Gram matrix.
    likely = chosen.T[(determinant > 1e-9) & (np.abs(left) < 1e-6)]
    for part in np.array_split(likely, 1 + len(likely) * len(t) // 2**18):
        c = np.linalg.solve(gram[part[:, :, np.newaxis], part[:, np.newaxis]], by[part][..., np.newaxis])
        left = np.abs(t - (c * X.T[part]).sum(axis=1)).max(axis=1)
        yield from part[left <= (1e-6 + 10 * relative) * np.abs(t).max()].tolist()


@functools.lru_cache(8)
def _choices(number: int, count: int) -> Array:
    """Return all choices of so many of the first numbers, (count, choices)."""
    return np.array(list(itertools.combinations(range(number), count)), np.intp).reshape(-1, count).T


MOST_WAYS = 3  # to write a coefficient
MOST_PARTS = 12  # in numerator and denominator of a fraction
NICE, SHORT, ODD = 0.5, 1.5, 3.0  # costs of a coefficient: a known number, a short decimal, any other


def ways_to_write(number: float, known: Mapping[str, float], relative: float) -> tuple[tuple[str, ...], float]:
    """Return the ways to write the size of a coefficient, and the cost of the simplest.

    Where known numbers coincide, as N and the number of classes may, all ways that are as simple are returned.
    """
    size = abs(number)
    ways = [(text, cost) for text, value, cost in _numbers(known) if abs(size / value - 1) <= 10 * relative]
    if ways:
        least = min(cost for _, cost in ways)
        if least == 0:
            return ("1",), 0.0
        return tuple(text for text, cost in ways if cost == least)[:MOST_WAYS], least
    if decimal := _short(size, relative):
        return (decimal,), SHORT
    fraction = Fraction(size).limit_denominator(MOST_PARTS)
    if 0 < fraction.numerator <= MOST_PARTS and abs(size / fraction - 1) <= 10 * relative:
        return (str(fraction),), SHORT
    per_batch = [(f"/{name}", known[name]) for name in ("N", "K") if name in known]
    if len(per_batch) == 2:
        per_batch.append(("/(N K)", known["N"] * known["K"]))
    for divisor, n in per_batch:
        if decimal := _short(size * n, relative):
            return (f"{decimal}{divisor}", f"{size:.6g}"), SHORT
    return (f"{size:.6g}",), ODD


def _short(number: float, relative: float) -> str:
    """Return a number as a decimal of two digits, if it is one; else nothing."""
    text = f"{number:.2g}"
    return f"{float(text):g}" if abs(number / float(text) - 1) <= 10 * relative else ""


def price_of(way: str, known: Mapping[str, float]) -> float:
    """Return the cost of a coefficient that is written in a way."""
    return next((cost for text, _, cost in _numbers(known) if text == way), SHORT)


def numbers_named(known: Mapping[str, float]) -> dict[str, float]:
    """Return the numbers that a coefficient may be, by their text."""
    return {text: value for text, value, _ in reversed(list(_numbers(known)))}


def _numbers(known: Mapping[str, float]) -> Iterator[tuple[str, float, float]]:
    """Yield the numbers that a coefficient may be, the most usual first: text, value, cost."""
    yield from (("1", 1.0, 0.0), ("2", 2.0, NICE / 2), ("1/2", 0.5, NICE / 2))
    usable = {name: value for name, value in known.items() if math.isfinite(value) and value > 0 and value != 1}
    for name, value in usable.items():
        price = 2 * NICE if "-1)" in name else NICE  # as much as 0.1, which 1/(N-1) is in a batch of 11
        yield name, value, price
        yield f"1/{name}", 1 / value, price
    if "(N-1)" in usable and "N" in usable:
        yield "N/(N-1)", usable["N"] / usable["(N-1)"], 2 * NICE
        yield "(N-1)/N", usable["(N-1)"] / usable["N"], 2 * NICE
    for text, value in (
        ("3", 3.0),
        ("4", 4.0),
        ("1/3", 1 / 3),
        ("1/4", 0.25),
        ("0.1", 0.1),
        ("0.01", 0.01),
        ("10", 10.0),
    ):
        yield text, value, 2 * NICE
    for name, value in usable.items():
        yield f"2 {name}", 2 * value, 2 * NICE
        yield f"2/{name}", 2 / value, 2 * NICE
        yield f"1/(2 {name})", 0.5 / value, 2 * NICE
    for one, other in itertools.combinations([n for n in usable if "-" not in n], 2):
        yield f"{one} {other}", usable[one] * usable[other], 2.5 * NICE
        yield f"1/({one} {other})", 1 / (usable[one] * usable[other]), 2.5 * NICE
        yield f"2/({one} {other})", 2 / (usable[one] * usable[other]), 3 * NICE
        price = (1.8 if len({one, other} & {"N", "K"}) == 1 else 2.5) * NICE  # an option, or a width, over N
        yield f"{one}/{other}", usable[one] / usable[other], price
        yield f"{other}/{one}", usable[other] / usable[one], price
