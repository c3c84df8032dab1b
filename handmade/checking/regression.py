"""9. The formula of a wrong step: a regression of its result on the products of the arrays that are at hand there.

With the wrong step isolated, both its sides are known. The coefficients are the diagnosis: ``dA0 = dH - H^2`` lacks
parentheses, ``dH f'(A) + 0.09 dH [A < 0]`` has a slope of 0.1. Two guards keep coincidences out: there have to be more
numbers than any choice of terms can fit, and simple coefficients come before odd ones.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..activations import ACTIVATIONS, sigmoid, softmax
from ..layers import Activation, Dense, Dropout
from ..normalization import Normalization
from .backward_pass import BackwardPass, is_elementwise, own_slope, slope
from .localisation import Localisation, WrongStep, names_of

__all__ = ["Formula", "Term", "fit", "formula_of"]

Array = npt.NDArray[Any]

MOST_TERMS = 3
MOST_CANDIDATES = 60  # of which subsets of three are tried
SHARE = 0.01  # of the difference is all that a formula may leave
MOST_NUMBERS = 3000  # of an array that are fitted, drawn at random
LARGE = 1_000_000  # multiplications in a product, from which on only the usual products are tried
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
    factors : tuple of str
        The coefficients as they are written: ``1/N``, or a number.
    residual : float
        The largest difference, relative to the largest entry.
    cost : float
        How complicated it is: of two formulas, the simpler is to be believed.
    place : str
        The layer whose step it is, or "loss".
    """

    left: str
    terms: tuple[str, ...]
    coefficients: tuple[float, ...]
    factors: tuple[str, ...]
    residual: float
    cost: float
    place: str = ""

    def __str__(self) -> str:
        text = ""
        for factor, term in zip(self.factors, self.terms, strict=True):
            sign, size = ("-", factor[1:]) if factor.startswith("-") else ("+", factor)
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
        What is to be explained.
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
        return [Formula(left, ("0",), (1.0,), ("1",), 0.0, 0.0)]
    names, columns, costs = _columns(t, terms)
    if not names:
        return []
    X = np.stack(columns, axis=1)
    best: list[Formula] = []
    for count in range(1, most + 1):
        if len(t) < count + (SPARE if count > 1 else 1):
            break
        found = []
        for chosen in _screened(X, t, count):
            coefficients, *_ = np.linalg.lstsq(X[:, chosen], t)
            shares = np.abs(coefficients) * np.abs(X[:, chosen]).max(axis=0)
            residual = np.abs(X[:, chosen] @ coefficients - t).max() / size
            if residual <= relative and shares.min() > 1e-5 * size:
                priced = [_factor(float(c), known, relative) for c in coefficients]
                cost = sum(costs[j] + price + 1 for j, (_, price) in zip(chosen, priced, strict=True))
                if count == 1 and names[chosen[0]] == "right":
                    cost = min(cost, 1.5 + priced[0][1])
                if max(price for _, price in priced) >= ODD and len(t) < 2 * count + SPARE:
                    continue
                factors = tuple(text for text, _ in priced)
                found.append(
                    Formula(left, tuple(names[j] for j in chosen), tuple(map(float, coefficients)), factors,
                            float(residual), cost)
                )  # fmt: skip
        best = sorted([*best, *found], key=lambda formula: formula.cost)
        if best and best[0].cost <= 2.0 * count + 1:
            break
    return best


def _columns(t: Array, terms: Sequence[Term]) -> tuple[list[str], list[Array], list[float]]:
    """Return the terms that are finite, not zero, and no multiple of an earlier one."""
    names: list[str] = []
    columns: list[Array] = []
    units: list[Array] = []
    costs: list[float] = []
    for term in terms:
        x = np.ravel(term.value).astype(np.float64)
        if x.shape != t.shape or not np.isfinite(x).all():
            continue
        largest = np.abs(x).max(initial=0.0)
        if largest == 0 or not math.isfinite(largest):
            continue
        unit = x / largest
        unit /= np.linalg.norm(unit)
        if units and np.abs(np.stack(units) @ unit).max() > 1 - 1e-12:
            continue
        names.append(term.name)
        columns.append(x)
        units.append(unit)
        costs.append(term.cost)
    return names, columns, costs


def _screened(X: Array, t: Array, count: int) -> Iterator[list[int]]:
    """Yield the choices of columns whose least squares leave next to nothing."""
    scales = np.linalg.norm(X, axis=0)
    X = X / scales
    t = t / np.linalg.norm(t)
    gram, by = X.T @ X, X.T @ t
    if count == 1:
        left = np.abs(1 - by**2)
        yield from ([int(j)] for j in np.flatnonzero(left < 1e-5))
        return
    number = min(X.shape[1], MOST_CANDIDATES if count == 3 else 400)
    chosen = np.array(list(itertools.combinations(range(number), count)))
    if not len(chosen):
        return
    for part in np.array_split(chosen, max(1, len(chosen) // 20000)):
        A = gram[part[:, :, np.newaxis], part[:, np.newaxis, :]]
        b = by[part]
        regular = np.linalg.det(A) > 1e-9
        A, b, part = A[regular], b[regular], part[regular]
        if len(part):
            c = np.linalg.solve(A, b[..., np.newaxis])[..., 0]
            left = np.abs(1 - (c * b).sum(axis=1))
            yield from (list(map(int, row)) for row in part[left < 1e-6])


NICE, SHORT, ODD = 0.5, 1.5, 3.0  # costs of a coefficient: a known number, a short decimal, any other


def _factor(number: float, known: Mapping[str, float], relative: float) -> tuple[str, float]:
    """Return a coefficient as it is written, and its cost."""
    sign, size = "-" if number < 0 else "", abs(number)
    for text, value, cost in _numbers(known):
        if abs(size / value - 1) <= 10 * relative:
            return f"{sign}{text}", cost
    short = float(f"{size:.2g}")
    if abs(size / short - 1) <= 10 * relative:
        return f"{sign}{short:g}", SHORT
    return f"{sign}{size:.6g}", ODD


def _numbers(known: Mapping[str, float]) -> Iterator[tuple[str, float, float]]:
    """Yield the numbers that a coefficient may be, the most usual first: text, value, cost."""
    yield from (("1", 1.0, 0.0), ("2", 2.0, NICE / 2), ("1/2", 0.5, NICE / 2))
    usable = {name: value for name, value in known.items() if math.isfinite(value) and value > 0 and value != 1}
    for name, value in usable.items():
        yield name, value, NICE
        yield f"1/{name}", 1 / value, NICE
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
        yield f"{one}/{other}", usable[one] / usable[other], 2.5 * NICE
        yield f"{other}/{one}", usable[other] / usable[one], 2.5 * NICE


# ---- patterns ------------------------------------------------------------------------------------------------------


def pattern_of(actual: Array, right: Array) -> str:
    """Return what a person would see in an array beside the right one: cut, rounded, scaled or exchanged rows.

    Examples
    --------
    >>> from handmade.checking.regression import pattern_of
    >>> right = np.array([[0.3, -0.01], [0.02, -0.2], [0.04, 0.01]])
    >>> pattern_of(np.clip(right, -0.05, 0.05), right)
    'right, clipped at 0.05'
    >>> pattern_of(right * [[1], [1], [0]], right)
    'right, but row 2 is 0'
    """
    size = np.abs(right).max(initial=0.0)
    if actual.shape != right.shape or size == 0 or actual.size < 4:
        return ""
    same = np.abs(actual - right) <= 1e-7 * size
    actual = np.where(np.abs(actual) <= 1e-9 * size, 0.0, actual)
    if same.any() and (actual[~same] == 0).all():
        return _zeros(actual, same)
    limit = np.abs(actual).max()
    cut = (np.abs(np.abs(actual) - limit) <= 1e-7 * size) & (np.abs(right) > limit) & (actual * right > 0)
    if (same | cut).all() and same.any() and cut.sum() > 1:
        return f"right, clipped at {limit:.6g}"
    for digits in range(1, 7):
        if np.array_equal(actual, np.round(right, digits)) and actual.any():
            return f"right, rounded to {digits} decimals"
    if np.array_equal(actual, right.astype(np.float16).astype(np.float64)):
        return "right, rounded to float16"
    if actual.ndim == 2 and min(actual.shape) > 1:
        return _lines(actual, right, size)
    return ""


def _zeros(actual: Array, same: Array) -> str:
    if actual.ndim == 2:
        for axis, name in (1, "row"), (0, "column"):
            lines = np.flatnonzero((~same).any(axis=axis))
            if (actual.take(lines, axis=1 - axis) == 0).all():
                listed = ", ".join(map(str, lines[:6].tolist()))
                return (
                    f"right, but {name}{'s' if len(lines) > 1 else ''} {listed} {'are' if len(lines) > 1 else 'is'} 0"
                )
    return f"right, but {int((~same).sum())} of {actual.size} entries are 0"


def _lines(actual: Array, right: Array, size: float) -> str:
    """Return whether rows or columns have a factor of their own, or rows are exchanged."""
    for axis, name in (1, "row"), (0, "column"):
        factors = (actual * right).sum(axis=axis, keepdims=True) / (right * right).sum(axis=axis, keepdims=True)
        if np.abs(actual - factors * right).max() <= 1e-7 * size:
            if np.ptp(factors) <= 1e-7 * np.abs(factors).max():
                return f"{factors.flat[0]:.6g} right"
            told = ", ".join(f"{factor:.4g}" for factor in factors.ravel()[:6])
            return f"right, each {name} times a number of its own: {told}{', ...' if factors.size > 6 else ''}"
    order = [np.abs(right - row).max(axis=1).argmin() for row in actual]
    if np.abs(actual - right[order]).max() <= 1e-7 * size and sorted(order) == list(range(len(right))):
        return f"right, its rows in the order {', '.join(map(str, order[:8]))}{', ...' if len(order) > 8 else ''}"
    return ""


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
    found: list[Formula] = []
    step = pairs[0][1]
    with np.errstate(all="ignore"):
        for place in step.path if step.kind == "dA" else (step.prefix,):
            targets, tables = zip(*(_equation(case, step, place) for case, step in pairs), strict=True)
            target = np.concatenate([np.ravel(array) for array in targets])
            if not np.abs(target).max(initial=0.0) > 0:
                continue
            common = [key for key in tables[0] if all(key in table for table in tables)]
            changes = [_change(step) for _, step in pairs]
            limit = min(relative, SHARE * min(changes))
            terms = [
                Term(key, np.concatenate([np.ravel(table[key].value) for table in tables]), tables[0][key].cost)
                for key in common
            ]
            if len(target) > MOST_NUMBERS:
                drawn = np.sort(np.random.default_rng(0).choice(len(target), MOST_NUMBERS, replace=False))
                terms = [term._replace(value=term.value[drawn]) for term in terms]
                target = target[drawn]
            sizes = {len(case.of.values[-1]) for case, _ in pairs}
            known = known_numbers(pairs[0][0].of, place, facts)
            if len(sizes) > 1:  # a coefficient that holds for all of them has no N in it
                known = {key: value for key, value in known.items() if "N" not in key}
            for formula in fit(target, terms, known, limit, step.name, most)[:8]:
                if check is None or _holds(formula, check, name, place, relative):
                    found.append(dataclasses.replace(formula, place=place))
    if not found and step.unique:
        seen = [pattern_of(s.actual, s.right) for _, s in pairs]
        if all(seen) and len({text[:16] for text in seen}) == 1:
            found = [Formula(step.name, (seen[0],), (1.0,), ("1",), 0.0, ODD + 1, step.path[0])]
    return sorted(found, key=lambda formula: formula.cost)


def _change(step: WrongStep) -> float:
    """Return the difference of a wrong step from the right one, relative to its largest entry."""
    size = np.abs(step.actual).max(initial=0.0)
    if not step.unique or size == 0:
        return 1.0
    return float(np.abs(step.actual - step.right).max() / size)


def _equation(case: Case, step: WrongStep, place: str) -> tuple[Array, dict[str, Term]]:
    """Return what is to be explained at a place of the path, and the candidates by name."""
    if step.kind == "dA":
        constant, terms = _through(step, case.of, case.found, place)
        if step.unique:
            return step.actual - constant, {term.name: term for term in terms}
        # dA itself is not known, but the gradients of the layer's parameters are, and they are linear in dA.
        target = _parameter_gradients(step, case.of, constant)
        return np.concatenate([step.claimed[name].ravel() for name in step.claimed]) - target, {
            term.name: term._replace(value=_parameter_gradients(step, case.of, term.value)) for term in terms
        }
    terms = [term for term in _of_parameter(step, case.of, case.found) if np.shape(term.value) == step.actual.shape]
    return step.actual, {term.name: term for term in terms}


def _parameter_gradients(step: WrongStep, of: BackwardPass, dA: Array) -> Array:
    """Return the gradients of a layer's parameters from dA, as one vector."""
    leaf = of.leaves[step.prefix]
    leaf.backward(dA, of.leaf_caches[step.prefix], False)
    return np.concatenate([getattr(leaf, "d" + name).ravel() for name in leaf.parameters.values()])


def dA_of(formula: Formula, case: Case, step: WrongStep) -> Array:
    """Return the dA that a formula gives."""
    constant, terms = _through(step, case.of, case.found, formula.place)
    table = {term.name: term.value for term in terms}
    parts = zip(formula.coefficients, formula.terms, strict=True)
    return constant + sum((c * table[name] for c, name in parts), np.zeros(constant.shape))


def _holds(formula: Formula, check: Case, name: str, place: str, relative: float) -> bool:
    """Return whether a formula holds for a batch that it was not fitted to; true where the step cannot be seen."""
    step = next((step for step in check.found.steps if step.name == name), None)
    if step is None:
        return True
    target, table = _equation(check, step, place)
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


def _through(step: WrongStep, of: BackwardPass, found: Localisation, place: str) -> tuple[Array, list[Term]]:
    """Return the candidates for what one layer of the path passes on, as they arrive below; and what arrives anyway.

    The layers between that layer and the wrong array are right, and linear.
    """
    actual = {p: dA for p, dA in found.actual.items() if p != step.prefix and _is_above(of, p, step.prefix)}
    of.rerun(incoming=actual, signals_only=True)
    incoming = {p: a.copy() for p, a in of.incoming.items()} | actual

    def arrives(array: Array) -> Array:
        if place == "loss":
            of.rerun(loss_gradient=array, incoming=actual, signals_only=True)
        else:
            of.rerun(incoming=actual, outgoing={place: array}, signals_only=True)
        return of.incoming[step.prefix].copy()

    if place == "loss":
        shape, candidates = of.values[-1].shape, _of_loss(of)
    else:
        shape, candidates = of.inputs[place].shape, _of_layer(of, place, incoming)
    constant = arrives(np.zeros(shape))
    terms = []
    for name, value, cost in candidates:
        if np.shape(value) == shape and np.isfinite(value).all():
            terms.append(Term(name, arrives(np.asarray(value, np.float64)) - constant, cost))
    return constant, terms


def _is_above(of: BackwardPass, prefix: str, other: str) -> bool:
    order = list(of.leaves)
    return order.index(prefix) > order.index(other)


def _of_layer(of: BackwardPass, place: str, incoming: Mapping[str, Array]) -> Iterator[Term]:
    leaf = of.leaves[place]
    dH = incoming[place]
    if isinstance(leaf, Activation):
        yield from _of_activation(of, place, dH)
    elif isinstance(leaf, Dense):
        yield from _of_dense(of, place, dH, incoming)
    elif isinstance(leaf, Normalization):
        yield from _of_normalization(of, place, dH)
    else:
        kept = (of.outputs[place] != 0).astype(float)
        yield Term("dH", dH)
        yield Term("dH [kept]", dH * kept)
        yield Term("dH [dropped]", dH * (1 - kept))
        yield Term("dH H", dH * of.outputs[place])
        yield Term("dH X", dH * of.inputs[place])


def _powers(name: str, value: Array) -> Iterator[tuple[str, Array, float]]:
    yield name, value, 1.0
    yield f"{name}^2", value * value, 1.2
    yield f"|{name}|", np.abs(value), 1.6


def _of_activation(of: BackwardPass, place: str, dH: Array) -> Iterator[Term]:
    leaf, A, H = of.leaves[place], of.inputs[place], of.outputs[place]
    if not isinstance(leaf, Activation):
        return
    yield Term("dH", dH, 0.5)
    if not is_elementwise(leaf):
        along = (dH * H).sum(axis=1, keepdims=True)
        for name, value in (
            ("dH H", dH * H), ("H sum(dH H)", H * along), ("dH H^2", dH * H * H), ("H", H), ("H sum(dH)",
            H * dH.sum(axis=1, keepdims=True)), ("sum(dH H)", along + 0 * H), ("dH A", dH * A),
        ):  # fmt: skip
            yield Term(name, value)
        return
    factors: list[tuple[str, Array, float]] = [("f'(A)", of.mended.get(place, own_slope(leaf, A)), 0.5)]
    s = factors[0][1]
    factors += [*_powers("H", H), *_powers("A", A), ("1", np.ones_like(A), 1.0)]
    factors += [
        ("[A > 0]", (A > 0) * 1.0, 1.0), ("[A < 0]", (A < 0) * 1.0, 1.0), ("[H > 0]", (H > 0) * 1.0, 1.1),
        ("[H >= 0]", (H >= 0) * 1.0, 1.2), ("[A == 0]", (A == 0) * 1.0, 1.2),
        ("f'(A)^2", s * s, 1.2), ("f'(H)", slope(leaf, H), 1.2), ("1/f'(A)", 1 / s, 1.5), ("A H", A * H, 1.4),
        ("f(H)", leaf.f(H, **leaf.options), 1.4), ("H^3", H**3, 1.6), ("A^3", A**3, 1.8),
        ("exp(A)", np.exp(A), 1.4), ("exp(A) sigma(A)^2", np.exp(A) * sigmoid(A) ** 2, 1.7),
        ("exp(-A)", np.exp(-A), 1.4), ("sigma(A)", sigmoid(A), 1.3),
        ("sigma(A)^2", sigmoid(A) ** 2, 1.5), ("A sigma(A)", A * sigmoid(A), 1.5),
        ("A sigma'(A)", A * sigmoid(A) * sigmoid(-A), 1.6), ("tanh(A)", np.tanh(A), 1.4),
        ("tanh(A)^2", np.tanh(A) ** 2, 1.5), ("exp(-A^2/2)", np.exp(-A * A / 2), 1.7),
        ("A exp(-A^2/2)", A * np.exp(-A * A / 2), 1.7), ("A f'(A)", A * s, 1.4), ("H f'(A)", H * s, 1.4),
        ("1/A", 1 / A, 2.0), ("1/H", 1 / H, 2.0), ("sqrt|H|", np.sqrt(np.abs(H)), 2.0),
        ("1/cosh(A)", 1 / np.cosh(A), 1.6),
        ("A [A < 0]", np.minimum(A, 0), 1.5), ("exp(A) [A < 0]", np.exp(np.minimum(A, 0)) * (A < 0), 1.4),
        ("H [A < 0]", H * (A < 0), 1.5), ("H [A > 0]", H * (A > 0), 1.5),
    ]  # fmt: skip
    for name in ACTIVATIONS:
        other = Activation(name)
        if is_elementwise(other) and name not in ("identity", leaf.function):
            factors.append((f"{name}'(A)", own_slope(other, A), 1.5))
            factors.append((f"{name}'(H)", own_slope(other, H), 1.9))
    for name, value, cost in factors:
        if name != "1":
            yield Term(f"dH {name}", dH * value, cost)
    yield Term("dH [dH > 0]", dH * (dH > 0), 1.5)
    for name, value, cost in factors[:12]:
        yield Term(name, value + 0 * dH, cost + 1.0)
    yield Term("|dH|", np.abs(dH), 1.8)
    yield Term("dH^2", dH * dH, 1.8)
    yield Term("mean over the samples of dH", np.broadcast_to(dH.mean(axis=0), dH.shape), 1.8)
    yield Term("mean over the samples of dH f'(A)", np.broadcast_to((dH * s).mean(axis=0), dH.shape), 1.8)
    yield Term("mean over the samples of f'(A), times dH", dH * s.mean(axis=0), 1.8)
    yield Term("f'(A) of the sample before, times dH", dH * np.roll(s, 1, axis=0), 1.9)
    for other_place, V in of.inputs.items():
        if other_place != place and V.shape == A.shape and isinstance(of.leaves[other_place], Activation):
            yield Term(f"dH f'(A) of layer {other_place.rstrip('.')}", dH * own_slope(leaf, V), 1.5)
            yield Term(f"dH [A > 0] of layer {other_place.rstrip('.')}", dH * (V > 0), 1.8)


def _before_activation(of: BackwardPass, prefix: str, incoming: Mapping[str, Array]) -> Array | None:
    """Return the gradient with respect to the output of the activation that follows a layer."""
    order = list(of.leaves)
    at = order.index(prefix)
    above = order[at + 1] if at + 1 < len(order) else None
    return incoming[above] if above is not None and isinstance(of.leaves[above], Activation) else None


def _activated(of: BackwardPass, prefix: str) -> Array | None:
    order = list(of.leaves)
    at = order.index(prefix)
    above = order[at + 1] if at + 1 < len(order) else None
    return of.outputs[above] if above is not None and isinstance(of.leaves[above], Activation) else None


def _of_dense(of: BackwardPass, place: str, dA: Array, incoming: Mapping[str, Array]) -> Iterator[Term]:
    leaf, X = of.leaves[place], of.inputs[place]
    W = np.asarray(leaf.W)
    leaf.backward(dA, of.leaf_caches[place], False)
    dW = leaf.dW.copy()
    k = names_of(of)[place]
    rows: list[tuple[str, Array, float]] = [("dA", dA, 0.0)]
    before, above = _before_activation(of, place, incoming), _activated(of, place)
    if before is not None and not np.array_equal(before, dA):
        rows.append(("dH", before, 0.6))
    if above is not None:
        rows += [("H", above, 1.0), ("dH H", (before if before is not None else dA) * above, 1.4)]
    rows += [
        ("A", of.outputs[place], 1.2), ("|dA|", np.abs(dA), 1.2), ("sign(dA)", np.sign(dA), 1.4),
        ("dA^2", dA * dA, 1.2), ("mean(dA)", np.broadcast_to(dA.mean(axis=0), dA.shape), 1.2),
        ("sum(dA)", np.broadcast_to(dA.sum(axis=0), dA.shape), 1.4), ("1", np.ones_like(dA), 1.4),
    ]  # fmt: skip
    matrices: list[tuple[str, Array, float]] = [
        (f"W{k}", W, 0.0), (f"|W{k}|", np.abs(W), 1.0), (f"W{k}^2", W * W, 1.0), (f"dW{k}", dW, 1.0),
        (f"sign(W{k})", np.sign(W), 1.3), (f"1/W{k}", 1 / W, 1.8),
        (f"W{k} with units in reverse", W[::-1], 1.5), (f"W{k} with inputs in reverse", W[:, ::-1], 1.5),
        (f"W{k} / |W{k}|", W / np.linalg.norm(W), 1.5), ("1", np.ones_like(W), 1.8),
    ]  # fmt: skip
    if W.shape[0] == W.shape[1]:
        matrices.insert(1, (f"W{k}^T", W.T, 0.8))
        matrices.append((f"dW{k}^T", dW.T, 1.4))
        if np.linalg.cond(W) < 1e6:
            matrices.append((f"W{k}^-1", np.linalg.inv(W), 1.5))
        yield Term("dA", dA, 1.0)
        if before is not None:
            yield Term("dH", before, 1.4)
    for other, layer in of.leaves.items():
        if other != place and isinstance(layer, Dense) and layer.W.shape == W.shape:
            matrices.append((f"W{names_of(of)[other]}", np.asarray(layer.W), 0.8))
    if "bias" in leaf.parameters and leaf.b.shape == dA.shape[1:]:
        rows.append((f"(dA + b{k})", dA + leaf.b, 1.6))
        rows.append((f"dA b{k}", dA * leaf.b, 1.6))
    for (row, D, cost), (matrix, M, more) in itertools.product(rows, matrices):
        if cost + more <= 2.2:
            yield Term(f"{row} @ {matrix}", D @ M, 0.5 + cost + more)
    if W.shape == dA.shape:
        yield Term(f"dA * W{k}", dA * W, 1.0)
        yield Term(f"dA * dW{k}", dA * dW, 1.8)
    if dA.shape[0] == dA.shape[1] == W.shape[0]:
        yield Term(f"dA^T @ W{k}", dA.T @ W, 1.0)
    D = dA @ W
    norms = np.linalg.norm(D, axis=1, keepdims=True)
    yield Term(f"dA @ W{k}, each sample normalized", D / norms, 1.5)
    yield Term("|dA @ W|", np.abs(D), 1.5)
    yield Term(f"dA @ W{k}, normalized", D / np.linalg.norm(D), 1.5)
    yield Term("X", X, 1.6)
    yield Term(f"dA @ W{k} * X", D * X, 1.4)
    yield Term(f"[X > 0] of dA @ W{k}", D * (X > 0), 1.6)
    yield Term("1", np.ones_like(X), 1.6)
    yield Term(f"mean over the samples of dA @ W{k}", np.broadcast_to(D.mean(axis=0), D.shape), 1.3)
    yield Term(f"dA @ W{k} of the sample before", np.roll(D, 1, axis=0), 1.5)
    for k_row, name in (0, "first"), (-1, "last"):
        one = np.zeros_like(D)
        one[k_row] = D[k_row]
        yield Term(f"dA @ W{k} of the {name} sample", one, 1.4)


def _of_normalization(of: BackwardPass, place: str, dH: Array) -> Iterator[Term]:
    leaf, X = of.leaves[place], of.inputs[place]
    axis = leaf.axis
    mean, variance = X.mean(axis=axis, keepdims=True), X.var(axis=axis, keepdims=True)
    if axis == 0 and not of.training:
        mean, variance = leaf.running_mean, leaf.running_var
    inverse = 1 / np.sqrt(variance + leaf.eps)
    Xhat = (X - mean) * inverse
    for base, D, cost in ("dXhat", dH * leaf.gamma, 0.0), ("dH", dH, 0.4):
        along = (D * Xhat).mean(axis=axis, keepdims=True)
        centred = (D * (X - mean)).mean(axis=axis, keepdims=True)
        pieces = (
            (base, D, 0.0), (f"mean({base})", D.mean(axis=axis, keepdims=True) + 0 * X, 0.1),
            (f"xhat mean({base} xhat)", Xhat * along, 0.2), (f"x mean({base} xhat)", X * along, 1.0),
            (f"(x - mean) mean({base} (x - mean))", (X - mean) * centred, 0.6), (f"{base} xhat", D * Xhat, 0.8),
            (f"mean({base} xhat)", along + 0 * X, 0.8),
            (f"xhat mean({base})", Xhat * D.mean(axis=axis, keepdims=True), 0.8),
            (f"{base} xhat^2", D * Xhat * Xhat, 1.0),
        )  # fmt: skip
        for (name, value, more), power in itertools.product(pieces, (1, 0, 2, 3)):
            factor = {0: "", 1: "inv ", 2: "inv^2 ", 3: "inv^3 "}[power]
            yield Term(f"{factor}{name}", value * inverse**power, 0.5 + cost + more + 0.3 * abs(power - 1))
    yield Term("inv", inverse + 0 * X, 1.8)
    yield Term("xhat", Xhat, 1.8)


def _of_loss(of: BackwardPass) -> Iterator[Term]:
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


def _of_parameter(step: WrongStep, of: BackwardPass, found: Localisation) -> Iterator[Term]:
    prefix = step.prefix
    leaf, X, dA = of.leaves[prefix], of.inputs[prefix], found.actual[prefix]
    above = {p: d for p, d in found.actual.items() if p == prefix or _is_above(of, p, prefix)}
    of.rerun(incoming=above, signals_only=True)
    incoming = {p: a.copy() for p, a in of.incoming.items()} | {prefix: dA}
    yield Term("right", step.right, 0.5)
    parameter = np.asarray(getattr(leaf, leaf.parameters[step.kind]))
    name = step.name[1:]
    rows = [("dA", dA, 0.0), *_rows_beside(of, prefix, dA, incoming)]
    if isinstance(leaf, Dense) and step.kind == "weight":
        most = 3.0 if parameter.size * len(X) < LARGE else 0.7
        for (row, D, cost), (column, V, more) in itertools.product(rows, _columns_beside(of, prefix, X)):
            if cost + more > most and cost and more:
                continue
            yield Term(f"{row}^T @ {column}", D.T @ V if D.shape[0] == V.shape[0] else np.zeros(1), 0.5 + cost + more)
        N = len(X)
        yield Term("dA^T @ X with sums for products", np.outer(dA.sum(axis=0), X.sum(axis=0)), 1.0)
        yield Term("X^T @ dA", X.T @ dA, 1.0)
        if dA.shape[1] == N:
            yield Term("dA @ X", dA @ X, 1.0)
        if dA.T.shape == X.shape:
            yield Term("dA^T * X", dA.T * X, 1.0)
        yield Term("sum(dA)", np.broadcast_to(dA.sum(axis=0)[:, np.newaxis], parameter.shape), 1.2)
    elif isinstance(leaf, Normalization):
        yield from _of_scale(of, prefix, dA, step.kind)
    else:
        for row, D, cost in rows:
            yield Term(f"sum({row})", D.sum(axis=0), 0.5 + cost)
            yield Term(f"max({row})", D.max(axis=0), 1.6 + cost)
            yield Term(f"sum of everything in {row}", np.full(parameter.shape, D.sum()), 1.0 + cost)
            yield Term(f"first row of {row}", D[0], 1.0 + cost)
            yield Term(f"last row of {row}", D[-1], 1.0 + cost)
            if D.shape[0] == D.shape[1]:
                yield Term(f"sum({row}) over the units", D.sum(axis=1), 1.0 + cost)
        dW = getattr(leaf, "dW", None)
        if dW is not None:
            yield Term(f"sum(d{name.replace('b', 'W')}) over the inputs", dW.sum(axis=1), 1.2)
    yield from beside_parameter(step.right, parameter, name)


def beside_parameter(right: Array, parameter: Array, name: str) -> Iterator[Term]:
    """Yield what may stand in the gradient of a parameter, made of the right gradient and the parameter itself."""
    yield Term("right", right, 0.5)
    yield Term(name, parameter, 0.8)
    yield Term(f"sign({name})", np.sign(parameter), 1.0)
    yield Term(f"|{name}|", np.abs(parameter), 1.2)
    yield Term(f"{name}^2", parameter**2, 1.2)
    yield Term(f"right {name}", right * parameter, 1.3)
    yield Term("1", np.ones(parameter.shape), 1.2)
    yield Term("|right|", np.abs(right), 1.3)
    yield Term("sign(right)", np.sign(right), 1.3)
    yield Term("right^2", right**2, 1.4)
    if right.ndim == 2 and right.shape[0] == right.shape[1]:
        yield Term("right^T", right.T, 0.8)
    if right.ndim:
        yield Term("right with units in reverse", right[::-1], 1.4)
        yield Term("mean of the right one", np.full(right.shape, right.mean()), 1.5)
    norm = np.linalg.norm(right)
    yield Term("right / its norm", right / norm if norm else right, 1.4)


def _rows_beside(
    of: BackwardPass, prefix: str, dA: Array, incoming: Mapping[str, Array]
) -> Iterator[tuple[str, Array, float]]:
    """Yield the arrays that may stand where dA belongs."""
    before, above = _before_activation(of, prefix, incoming), _activated(of, prefix)
    if before is not None:
        yield "dH", before, 0.6
        yield "dA H", dA * above, 1.2
        yield "H", above, 1.4
        yield "dA f'(A)", dA * np.divide(dA, before, out=np.zeros_like(dA), where=before != 0), 1.0
    yield "|dA|", np.abs(dA), 0.9
    yield "dA^2", dA * dA, 1.0
    yield "sign(dA)", np.sign(dA), 1.2
    yield "mean(dA)", np.broadcast_to(dA.mean(axis=0), dA.shape), 1.2
    yield "A", of.outputs[prefix], 1.4
    rows = np.arange(len(dA))[:, np.newaxis]
    N = len(dA)
    for told, chosen in (
        ("first row of dA", rows == 0), ("last row of dA", rows == N - 1), ("dA without its last row", rows < N - 1),
        ("dA without its first row", rows > 0), ("first half of dA", rows < N // 2),
    ):  # fmt: skip
        yield f"({told})", dA * chosen, 1.0
    for other, D in incoming.items():
        if other != prefix and D.shape == dA.shape and D is not before and not np.array_equal(D, dA):
            yield f"(gradient of layer {other.rstrip('.')})", D, 1.1


def _columns_beside(of: BackwardPass, prefix: str, X: Array) -> Iterator[tuple[str, Array, float]]:
    """Yield the arrays that may stand where the input of a layer belongs."""
    yield "X", X, 0.0
    seen = [X]
    for other in of.leaves:
        for told, V in ("input", of.inputs[other]), ("output", of.outputs[other]):
            if V.shape == X.shape and not any(np.array_equal(V, known) for known in seen):
                seen.append(V)
                yield f"({told} of layer {other.rstrip('.')})", V, 0.7
    yield "X^2", X * X, 1.0
    yield "|X|", np.abs(X), 1.0
    yield "1", np.ones_like(X), 1.0
    yield "(X - mean)", X - X.mean(axis=0), 1.2
    yield "mean(X)", np.broadcast_to(X.mean(axis=0), X.shape), 1.2
    yield "sign(X)", np.sign(X), 1.2
    yield "[X > 0]", (X > 0) * 1.0, 1.2
    yield "(X of the sample before)", np.roll(X, 1, axis=0), 1.2
    yield "(X of the sample after)", np.roll(X, -1, axis=0), 1.2
    yield "(X with samples in reverse)", X[::-1], 1.2
    yield "(X with inputs in reverse)", X[:, ::-1], 1.3
    yield "X (1 - X)", X * (1 - X), 1.3


def _of_scale(of: BackwardPass, prefix: str, dH: Array, kind: str) -> Iterator[Term]:
    """Yield what may stand for the gradient of the scale or the shift of a normalization."""
    leaf, X, H = of.leaves[prefix], of.inputs[prefix], of.outputs[prefix]
    axis = leaf.axis
    mean, variance = X.mean(axis=axis, keepdims=True), X.var(axis=axis, keepdims=True)
    if axis == 0 and not of.training:
        mean, variance = leaf.running_mean, leaf.running_var
    Xhat = (X - mean) / np.sqrt(variance + leaf.eps)
    for told, V in (
        ("dH xhat", dH * Xhat), ("dH", dH), ("dH x", dH * X), ("dH H", dH * H), ("dH (x - mean)", dH * (X - mean)),
        ("dH gamma", dH * leaf.gamma), ("dH gamma xhat", dH * leaf.gamma * Xhat), ("dH beta", dH * leaf.beta),
        ("dH |xhat|", dH * np.abs(Xhat)), ("dH xhat^2", dH * Xhat**2), ("xhat", Xhat),
    ):  # fmt: skip
        yield Term(f"sum({told})", V.sum(axis=0), 0.7)
        yield Term(f"first row of {told}", V[0], 1.4)
        yield Term(f"last row of {told}", V[-1], 1.4)
