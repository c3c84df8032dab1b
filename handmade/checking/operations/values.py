"""9. The gradient by one value of a recording, as a formula of the arrays that are at hand there.

This needs no list of mistakes. If backward is wrong where it makes the gradient by one value, and right below it, the
claim depends linearly on that gradient. So each array that may stand there is sent through the backward pass below the
value, and a regression finds the few that together make the claim.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence, Set

import numpy as np

from ..._types import Array
from ..regression import MOST_TERMS, Term, fit, ways_to_write
from .operation import LINEAR, Operation, backward, summed_to
from .recordings import Recording
from .rules import beside, kept_from, place_of

__all__ = ["GradientsByValues", "Made", "broadcasts_to"]

MOST_VALUES = 60  # of a longer recording, only those outside of its loops have formulas
MOST_FACTORS = 20  # arrays that may be factors of the gradient by a value
MOST_TRIED = 2000  # arrays that may stand in its place
NUMBERS = 10**8  # that the backward passes of a search compute, about: it ends after a count, the same on every machine
ENTRIES = 1000  # of the gradient by an input, to which formulas are fitted before all of them are compared
FEWEST = 3  # entries on each side of a condition
SMALL = 4  # sizes that are plain numbers in a formula
PRODUCTS = ("matmul", "multiply", *LINEAR)

Made = tuple[str, float, list[Array]]  # the gradient by a value in words, the cost, the gradients by the inputs


class GradientsByValues:
    """The right gradients by the values of a recording, and the formulas of wrong ones.

    Parameters
    ----------
    recording : Recording
        The function.
    seed : ndarray
        The gradient by its result.
    idle : set of int
        The operations, by their ids, that nobody derives, because they change nothing.
    may_go_on : callable
        Returns whether the search can afford so many more backward passes.
    """

    def __init__(self, recording: Recording, seed: Array, idle: Set[int], may_go_on: Callable[[int], bool]) -> None:
        self.recording, self.seed, self.idle, self.may_go_on = recording, seed, idle, may_go_on
        self.right: dict[int, Array] = {id(recording.output): seed}  # by the ids of operations
        self.parts: dict[int, list[tuple[Operation, Array]]] = {}  # what each user of a value passes on to it
        self.units: dict[int, Array] = {}  # what the inputs get of 1 in one entry of a value
        self.gradients: list[Array] = recording.gradient(seed, self._noted)
        self.right |= {id(one): G for one, G in zip(recording.inputs, self.gradients, strict=True)}
        numbers = sum(one.value.size for one in recording.operations) * len(self.values())
        self.most: int = min(MOST_TRIED, NUMBERS // numbers)
        sizes = [one.value.size for one in recording.inputs]
        self.entries = [np.linspace(0, n, min(n, ENTRIES), endpoint=False).astype(np.intp) for n in sizes]
        self.owners: Array = np.repeat(np.arange(len(sizes)), [len(at) for at in self.entries])

    def _noted(self, one: Operation, k: int, G: Array) -> Array:
        self.right[id(one)] = G
        passed = kept_from(one, k, G) if id(one) in self.idle else one.backward_to(k)(G)
        self.parts.setdefault(id(one.operands[k]), []).append((one, passed))
        return passed

    def values(self) -> list[Operation]:
        """Return the values whose gradient may be wrong: in a long recording, those outside of its loops."""
        reached = [one for one in self.recording.operations if id(one) in self.right]
        places = [one.place if one.name else id(one) for one in reached]
        if len(reached) <= MOST_VALUES:
            return reached
        return [one for one, place in zip(reached, places, strict=True) if places.count(place) == 1]

    def formulas(
        self, value: Operation, claimed: Sequence[Array], fitted: Sequence[int], relative: float, products: bool
    ) -> Iterator[Made]:
        """Yield the simplest formula of the gradient by a value that makes the claimed gradients.

        Parameters
        ----------
        value : Operation
            The value.
        claimed : sequence of ndarray
            The claimed gradients by the inputs.
        fitted : sequence of int
            The inputs whose gradients have to agree.
        relative : float
            The difference up to which two gradients count as equal.
        products : bool
            Whether to try the right gradient beside two arrays, in place of sums of usual arrays.
        """
        terms = list(itertools.islice(self._products(value) if products else self._usual(value), self.most))
        if not terms or not self.may_go_on(min(len(terms), value.value.size)):
            return
        through = self._entries_of(self._below(value, self.right[id(value)]))
        left = self._entries_of(claimed) - self._entries_of(self.gradients) + through
        sizes = np.array([np.abs(one).max(initial=0.0) or 1.0 for one in claimed])[self.owners]
        is_touched = (through != 0) | (np.abs(left) > relative * sizes)
        at = np.isin(self.owners, np.intersect1d(self.owners[is_touched], fitted))
        rows = self._passed(value, [term.value for term in terms])[:, at] / sizes[at]
        listed = [term._replace(value=row) for term, row in zip(terms, rows, strict=True)]
        name, most = f"gradient by {_in_words(value)}", 1 if products else MOST_TERMS
        for formula in fit(left[at] / sizes[at], listed, self._sizes(), relative, name, most)[:1]:
            table = {"0": 0 * value.value} | {term.name: term.value for term in reversed(terms)}
            G = sum((c * table[t] for c, t in zip(formula.coefficients, formula.terms, strict=True)), table["0"])
            changes = self._below(value, G - self.right[id(value)])
            cost = formula.cost - value.label.isidentifier()  # what has a name is read more easily
            parts = [place_of(user) for user, _ in self.parts.get(id(value), [])]
            text = str(formula)
            if "(part by" in text and len(parts) > 1:
                text += f"; right = {' + '.join(f'(part by {part})' for part in parts)}"
            yield _explained(text), cost, [g + d for g, d in zip(self.gradients, changes, strict=True)]

    def conditions(self, number: int, claimed: Array, relative: float) -> Iterator[Made]:
        """Yield other gradients by an input that stand where an array is beyond a bound, where the rest is right.

        ``number`` is that of the input.
        """
        value = self.recording.inputs[number]
        right, limit = self.right[id(value)], relative * np.abs(claimed).max(initial=0.0)
        is_wrong = ~(np.abs(claimed - right) <= limit)
        for term in self._bases(value) if is_wrong.sum() >= FEWEST else ():
            of_wrong = term.value[is_wrong]
            factor = float(of_wrong @ claimed[is_wrong] / (of_wrong @ of_wrong or 1.0))
            other = factor * term.value
            ours = np.abs(claimed - other) > limit
            if not (ours & is_wrong).any() and ours.sum() >= FEWEST:
                size = f"{'-' * (factor < 0)}{ways_to_write(factor, {}, relative)[0][0]} ".removeprefix("1 ")
                formula = f"gradient by {_in_words(value)} = {size}{term.name}"
                made = [np.where(is_wrong, other, right) if i == number else G for i, G in enumerate(self.gradients)]
                for one in self.recording.operations:
                    if one.value.shape == claimed.shape and (side := _side(one.value[is_wrong], one.value[ours])):
                        condition = f"where {_in_words(one)} is {side}, right elsewhere"
                        yield _explained(f"{formula} {condition}"), term.cost, made

    def _passed(self, value: Operation, signals: Sequence[Array]) -> Array:
        """Return what the inputs get of each gradient by a value, as rows of some entries."""
        size = value.value.size
        if len(signals) <= size:
            return np.stack([self._entries_of(self._below(value, G)) for G in signals])
        if id(value) not in self.units:
            self.units[id(value)] = self._passed(value, list(np.eye(size).reshape(size, *value.value.shape)))
        return np.reshape(signals, (len(signals), size)) @ self.units[id(value)]

    def _entries_of(self, gradients: Sequence[Array]) -> Array:
        """Return some entries of the gradients by all inputs, one after another."""
        return np.concatenate([one.ravel()[at] for one, at in zip(gradients, self.entries, strict=True)])

    def _below(self, value: Operation, G: Array) -> list[Array]:
        order = [one for one in self.recording.operations if one.number <= value.number]

        def idle(one: Operation, k: int, G: Array) -> Array | None:
            return kept_from(one, k, G) if id(one) in self.idle else None

        with np.errstate(all="ignore"):
            return backward(value, G, self.recording.inputs, order, idle)

    def _sizes(self) -> dict[str, float]:
        """Return the lengths of all axes, as numbers that a coefficient may be made of."""
        sizes = {n for one in self.recording.operations for n in one.value.shape}
        return {str(n): float(n) for n in sorted(sizes) if n > SMALL}

    # ---- what may stand in the place of the gradient by a value ----------------------------------------------------

    def _usual(self, value: Operation) -> Iterator[Term]:
        """Yield the right gradient, its parts, and each of them beside one array."""
        bases, factors = list(self._bases(value)), list(self._factors(value))
        yield from bases
        yield Term("1", np.ones(value.value.shape), 1.2)
        yield from self._through_users(value)
        yield from self._applied(value)
        for base, factor in itertools.product(bases, factors):
            yield Term(f"{base.name} {factor.name}", beside(base.value, factor.value), base.cost + factor.cost)

    def _bases(self, value: Operation) -> Iterator[Term]:
        right, parts = self.right[id(value)], self.parts.get(id(value), [])
        yield Term("right", right, 0.5)
        if len(parts) > 1:
            yield from (Term(f"(part by {place_of(user)})", passed, 0.8) for user, passed in parts)
        for user, _ in parts:
            for distance, one in enumerate(self._chain(user, right.shape)):
                yield Term(f"(gradient by {place_of(one)})", self.right[id(one)], 0.9 + 0.1 * distance)
        if self.seed.shape == right.shape:
            yield Term("G", self.seed, 1.0)

    def _chain(self, one: Operation, shape: tuple[int, ...]) -> Iterator[Operation]:
        """Yield an operation and those that follow it, each of the last one alone, as long as the shape stays."""
        while one.value.shape == shape:
            yield one
            users = self.parts.get(id(one), [])
            if len(users) != 1:
                return
            one = users[0][0]

    def _through_users(self, value: Operation) -> Iterator[Term]:
        """Yield the parts by users beside one array; by products also with the other factor's gradient, as updated."""
        shape = value.value.shape
        for user, _ in self.parts.get(id(value), []):
            if user.is_elementwise and user.value.shape != shape:  # along which the value is repeated
                for factor in self._factors(user):
                    total = summed_to(beside(self.right[id(user)], factor.value), shape)
                    name = f"(sum of the gradient by {place_of(user)} times {factor.name})"
                    yield Term(name, total, 0.8 + factor.cost)
                    yield Term(f"{name} / {_in_words(value)}", total / value.value, 1.5 + factor.cost)
            if user.name in PRODUCTS and value in user.operands:
                G, k, part = self.right[id(user)], user.operands.index(value), f"part by {place_of(user)}"
                for factor in self._factors(user):
                    passed = user.backward_to(k)(beside(G, factor.value))
                    yield Term(f"({part} of its gradient {factor.name})", passed, 0.8 + factor.cost)
                for other in user.operands[:k] + user.operands[k + 1 :]:
                    if id(other) in self.right:
                        operands = [Operation(self.right[id(one)]) if one is other else one for one in user.operands]
                        text = f"({part} with its gradient in place of {other.label})"
                        yield Term(text, user.on(operands).backward_to(k)(G), 1.5)

    def _applied(self, value: Operation) -> Iterator[Term]:
        """Yield what linear operations make of their own gradient, where their transpose belongs."""
        x, zero = value.value, np.zeros(value.value.shape)
        for later in self.recording.operations:
            G = self.right.get(id(later))
            if later.name and G is not None and later.number > value.number and later.value.shape == x.shape:
                made = [self._computed(later, value, point) for point in (G, x + G, zero)]
                if np.allclose(made[1] - later.value, made[0] - made[2], rtol=1e-9, atol=1e-12):
                    yield Term(f"({place_of(later)} applied to its own gradient)", made[0] - made[2], 1.4)

    def _computed(self, later: Operation, value: Operation, x: Array) -> Array:
        """Return what a later value would be with another array in the place of an earlier one."""
        now = {id(value): Operation(x)}
        for one in self.recording.operations:
            if value.number < one.number <= later.number and any(id(operand) in now for operand in one.operands):
                now[id(one)] = one.on([now.get(id(operand), operand) for operand in one.operands])
        return now[id(later)].value if id(later) in now else later.value

    def _factors(self, value: Operation) -> Iterator[Term]:
        """Yield the arrays that fit to a value, the latest first; their inverses and roots."""
        arrays: dict[str, Array] = {}
        for one in reversed(self.recording.operations):
            arrays = {one.label: one.value} | one.beside | arrays
        fitting = [(text, a) for text, a in arrays.items() if a.ndim and broadcasts_to(a.shape, value.value.shape)]
        for text, array in fitting[::-1][:MOST_FACTORS]:
            name = text if text.isidentifier() else f"({text})"
            with np.errstate(all="ignore"):
                yield Term(name, array, 0.8)
                yield Term(f"/ {name}", 1 / array, 0.9)
                yield Term(f"sqrt({text})", np.sqrt(array), 1.1)

    def _products(self, value: Operation) -> Iterator[Term]:
        """Yield the right gradient beside two arrays."""
        right = self.right[id(value)]
        for one, other in itertools.combinations_with_replacement(list(self._factors(value)), 2):
            both = beside(beside(right, one.value), other.value)
            yield Term(f"right {one.name} {other.name}", both, 1 + one.cost + other.cost)


def _in_words(value: Operation) -> str:
    return value.label if value.label.isidentifier() or not value.name else place_of(value)


def _explained(formula: str) -> str:
    """Return a formula, and what its G is."""
    return f"{formula}, where G is the gradient by the result" if re.search(r"\bG\b", formula) else formula


def _side(theirs: Array, ours: Array) -> str:
    """Return the side of a bound on which all of some numbers are, and none of others; nothing if there is none."""
    for word, low, high in ("above", ours.max(), theirs.min()), ("below", theirs.max(), ours.min()):
        if low < high:
            return f"{word} {(low + high) / 2:.3g}"
    return ""


def broadcasts_to(shape: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Return whether an array of one shape can stand beside one of another, which keeps its shape."""
    pairs = zip(reversed(shape), reversed(other), strict=False)
    return len(shape) <= len(other) and all(n in (1, m) for n, m in pairs)
