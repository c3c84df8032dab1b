"""9. The mistakes in the backward pass through recorded operations that make a claimed gradient.

This needs no catalogue: each mistake of `rules` is made at every operation that a function consists of, in
all turns of a loop alike, and its gradient is compared with the claim.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from ..._types import Array
from .operation import MEANS, REARRANGEMENTS, SUMS, UNFIT, Operation
from .recordings import Recording
from .rules import (
    Edge,
    OperationMistake,
    as_it_is,
    both,
    clipped_at,
    exchanged,
    exchanged_operands,
    from_another,
    kept_from,
    left_as_it_is,
    over_other_axes,
    place_of,
    times,
    with_others,
    written,
)
from .stale import back_through, in_loops, out_of_step, series_of, with_right_states
from .trials import FAINT, WORK, Compared, Found, Trials, agree
from .turns import beside_each, cut_short, in_turns, ordinal
from .values import broadcasts_to

__all__ = ["Explained", "operations_that_explain"]

AGREEMENT = 1e-6  # relative: up to which a recording has to have the measured gradient
FIRST = 3  # mistakes to which a second one is searched
FEW_TURNS = 4  # of a loop, in which a mistake may be in one of them
SPARE = 3  # entries that have to agree about a factor


@dataclasses.dataclass(frozen=True)
class Explained:
    """A mistake in words, the inputs whose wrong gradients it makes, and the gradients by all inputs that it makes."""

    text: str
    names: list[str]
    gradients: list[Array]


@np.errstate(all="ignore")  # a mistake may lead out of the domain of a function
def operations_that_explain(
    recording: Recording, seed: Array, compared: Sequence[Compared], relative: float, formulas: bool = True
) -> list[Explained]:
    """Return the mistakes that together make every wrong gradient.

    Parameters
    ----------
    recording : Recording
        The function.
    seed : ndarray
        The gradient by its result.
    compared : sequence of Compared
        One for each of its inputs.
    relative : float
        The difference up to which two gradients count as equal, relative to the largest entry.
    formulas : bool
        Whether to search for a formula, if no mistake explains the gradients.

    Returns
    -------
    list of Explained
        Empty if nothing explains all of them, or the recording does not have the right gradient.
    """
    right = recording.gradient(seed)
    slack = FAINT * max(np.abs(one.right).max(initial=0.0) for one in compared)
    if not all(agree(r, one.right, AGREEMENT, slack) for r, one in zip(right, compared, strict=True)):
        return []
    search = _Search(recording, seed, compared, right, relative)
    chosen, found = search.chosen((*search.mistakes(), *(search.formulas() if formulas else ())))
    for first in sorted(one for one in found if one.mistake and not one.spoils)[:FIRST] if not chosen else ():
        beside = [
            dataclasses.replace(one, right=made, is_wrong=one.is_wrong and i not in first.makes)
            for i, (one, made) in enumerate(zip(compared, first.gradients, strict=True))
        ]
        second = _Search(recording, seed, beside, first.gradients, relative, first.mistake)
        more, _ = second.chosen(second.mistakes())
        if more:
            chosen = [(first, first.makes), *more]
            break
    if not chosen and formulas:
        chosen, _ = search.chosen([search.pairs])
    return [Explained(one.text, [compared[i].name for i in sorted(of)], one.gradients) for one, of in chosen]


class _Search(Trials):
    """The kinds of mistakes that are made on purpose in one recording."""

    @functools.cached_property
    def edges(self) -> list[list[Edge]]:
        return list(_edges_by_place(self.recording))

    @functools.cached_property
    def users(self) -> dict[int, list[Operation]]:
        """The operations that take a result, by its id."""
        users: dict[int, list[Operation]] = {}
        for one in self.recording.operations:
            for operand in one.operands:
                users.setdefault(id(operand), []).append(one)
        return users

    def mistakes(self) -> Iterator[Callable[[], Iterable[Found]]]:
        """Yield the kinds of mistakes, the most usual first."""
        yield from (self.simple, self.factors, self.skipped, self.other_axes, self.left_out, self.clipped)
        yield from (self.other_factors, self.in_one_turn, self.other_arrays, self.other_inputs, self.not_handed_on)
        yield from (self.beside_arrays, self.swapped, self.out_of_step)

    def simple(self) -> Iterator[Found]:
        """Yield the mistakes without a number."""
        return self._tried(mistake for edges in self.edges for mistake in _without_number(edges))

    def factors(self) -> Iterator[Found]:
        """Yield the operands whose part of the gradient has a factor."""
        return self._with_factor(lambda edges: [as_it_is(edges)])

    def other_factors(self) -> Iterator[Found]:
        """Yield the mistakes without a number, beside a factor."""
        return self._with_factor(_without_number)

    def _with_factor(self, listed: Callable[[list[Edge]], Iterable[OperationMistake]]) -> Iterator[Found]:
        """Yield mistakes with a factor, which is fitted first, and then tried."""
        for edges in self.edges:
            without = self._gradient(OperationMistake("", edges, kept_from, 0.0))
            for mistake in listed(edges) if without else ():
                for factor in self._factors_of(mistake, without):
                    yield from self._tried([times(mistake, factor)])

    def _factors_of(self, mistake: OperationMistake, without: list[Array]) -> Iterator[float]:
        """Yield the factors that bring a mistake closest to the wrong gradients: to all, and to each."""
        with contextlib.suppress(*UNFIT):
            made = self._gradient(mistake)
            for chosen in {tuple(self.wrong), *((i,) for i in self.wrong)} if made else ():
                part = np.concatenate([(made[i] - without[i]).ravel() for i in chosen])
                wanted = np.concatenate([(self.compared[i].claimed - without[i]).ravel() for i in chosen])
                if np.count_nonzero(part) > SPARE:
                    factor = float(part @ wanted) / float(part @ part)
                    if math.isfinite(factor) and np.abs(wanted - factor * part).max() <= 0.1 * np.abs(wanted).max():
                        yield factor

    def skipped(self) -> Iterator[Found]:
        """Yield the operands whose gradient lacks the derivative of the function above, which others have."""
        above = {id(one): found for one in self.recording.operations if (found := self._function_above(one))}
        for edges in self.edges:
            is_on_the_way = edges[0][0].is_elementwise and len(edges[0][0].operands) == 1  # with nothing beside it
            if all(id(one) in above for one, _ in edges) and not is_on_the_way:
                one, k = written(edges)
                function, operand = place_of(above[id(one)]), f"{one.names[k]} of {place_of(one)}"

                def rule(one: Operation, k: int, G: Array) -> Array:
                    return one.backward_to(k)(self.incoming[id(above[id(one)])])

                text = f"derivative of {function} missing in the gradient by {operand}"
                yield from self._tried([OperationMistake(text, edges, rule, 1.5)])

    def _function_above(self, one: Operation) -> Operation | None:
        """Return the function or the product that takes a result, perhaps after something is added to it."""
        while len(users := self.users.get(id(one), [])) == 1 and users[0].value.shape == one.value.shape:
            one = users[0]
            if one.is_elementwise and (len(one.inputs) == 1 or one.name in ("multiply", "divide")):
                return one
            if one.name not in ("add", "subtract"):
                return None
        return None

    def other_axes(self) -> Iterator[Found]:
        """Yield the sums and means whose gradient is taken over another axis."""
        for edges in self.edges:
            (one, k), users = edges[0], self.users.get(id(edges[0][0]), [])
            if len(edges) == len(users) == 1 and one.name in (*SUMS, *MEANS) and users[0].is_elementwise:
                shape = one.operands[k].value.shape  # along which the result is repeated
                found = over_other_axes(edges, users[0], self.incoming) if users[0].value.shape == shape else ()
                yield from self._tried(found)

    def left_out(self) -> Iterator[Found]:
        """Yield the operations without which the claim would be right."""
        for edges in self.edges:
            one, k = edges[0]
            if one.is_elementwise and one.operands[k].value.shape == one.value.shape:
                text = f"gradient of a function without {place_of(one)}, of which {one.names[k]} is left"
                yield from self._of_other(functools.partial(self.recording.without, edges), text, one, 1.9)

    def _of_other(self, changed: Callable[[], Recording], text: str, one: Operation, cost: float) -> Iterator[Found]:
        """Yield the mistake that the gradient is that of another function."""
        if self._may_go_on():
            with contextlib.suppress(*UNFIT):
                yield from self._compare(changed().gradient(self.seed), text, one, cost)

    def clipped(self) -> Iterator[Found]:
        """Yield the operands whose gradient is clipped at a usual bound."""
        passed: dict[tuple[int, int], Array] = {}

        def note(one: Operation, k: int, G: Array) -> Array:
            passed[id(one), k] = one.backward_to(k)(G)
            return passed[id(one), k]

        self.recording.gradient(self.seed, note)
        for edges in self.edges:
            reached = [passed[id(one), k] for one, k in edges if (id(one), k) in passed]
            if reached and (edges[0][0].is_elementwise or edges[0][0].name == "matmul"):
                yield from self._tried(clipped_at(edges, reached))

    def other_arrays(self) -> Iterator[Found]:
        """Yield the derivatives that are taken with another array."""
        values = self._turns()
        for one in self.recording.operations:
            for name, array in one.beside.items():
                values.setdefault(name, [Operation(array, text=name)])
        for key, (one, *more) in list(values.items()):
            if not more and one.value.ndim == 2:
                values[key, "T"] = [Operation(one.value.T, text=f"{one.label}.T")]
        return self._tried(m for edges in self.edges for others in values.values() for m in with_others(edges, others))

    def in_one_turn(self) -> Iterator[Found]:
        """Yield the mistakes without a number in one turn of a short loop alone."""
        for edges in self.edges:
            for turn in range(len(edges)) if 1 < len(edges) <= FEW_TURNS else ():
                when = f", the {ordinal(turn, len(edges))} of {len(edges)} times only"
                found = left_as_it_is([edges[turn]])
                yield from self._tried(dataclasses.replace(m, text=m.text + when, cost=m.cost + 0.8) for m in found)

    def other_inputs(self) -> Iterator[Found]:
        """Yield the functions of one array whose value backward computes anew, from another array."""
        for edges in self.edges:
            one, k = edges[0]
            if one.is_elementwise and len(one.inputs) == 1 and len(edges) == 1:
                others = [o for o in self.recording.operations if o.value.shape == one.value.shape]
                users = [user for user in self.users.get(id(one), []) if user.is_elementwise]
                for other in others if len(others) > 1 else ():
                    if other is not one.operands[k]:
                        yield from self._tried([from_another(one, k, users, other)])
                        changed = functools.partial(self.recording.with_value, one, k, other.value)
                        source = f"computed from {other.label} in place of {one.names[k]}"
                        text = f"value of {place_of(one)}, and all that follows, {source}"
                        yield from self._of_other(changed, text, one, 2.7)

    def not_handed_on(self) -> Iterator[Found]:
        """Yield the turns of a loop that hand on nothing of what came from later ones."""
        for edges in self.edges:
            if len(edges) > 1:
                self.incoming = {}
                self._gradient(OperationMistake("", edges, kept_from, 0.0))
                yield from self._tried([cut_short(edges, self.incoming)])

    def beside_arrays(self) -> Iterator[Found]:
        """Yield the results in a loop whose gradient is in each turn times an array of that turn, or divided by it."""
        turns = self._turns()
        for results in turns.values():
            for others in turns.values() if len(results) > 1 else ():
                shape = others[0].value.shape
                if len(others) in (1, len(results)) and shape and broadcasts_to(shape, results[0].value.shape):
                    yield from self._tried(beside_each(results, others))

    def swapped(self) -> Iterator[Found]:
        """Yield the parts that are cut out of one value, or put together to one, whose gradients are exchanged."""
        right = self.by_value.right
        for value in self.recording.operations:
            cut = [user for user in self.users.get(id(value), []) if user.name in REARRANGEMENTS and id(user) in right]
            yield from self._tried(exchanged(value, cut, right))
            if value.name in REARRANGEMENTS:
                yield from self._tried(exchanged_operands(value))

    def out_of_step(self) -> Iterator[Found]:
        """Yield the arrays of a loop that backward takes from another turn."""
        turns = [of_place for of_place in self._turns().values() if len(of_place) > 1]
        looped = in_loops(turns)
        self.left = max(self.left, WORK // (4 * len(self.recording.operations)))  # a long loop has used up the rest
        listed = series_of(turns, self.recording.operations)
        handed_on = [one for series in listed if series.after is not None for one in series.results]
        right = self.by_value.right
        for mistakes in itertools.zip_longest(*(out_of_step(series, looped) for series in listed)):  # usual ones first
            for series, mistake in zip(listed, mistakes, strict=True):
                if mistake is not None:
                    yield from self._tried([mistake])
                    adjoints = dict(self.incoming)
                    yield from self._tried([back_through(series, mistake, adjoints)] if series.results else [])
                    yield from self._tried([with_right_states(handed_on, mistake, right)] if handed_on else [])

    def formulas(self) -> Iterator[Callable[[], Iterable[Found]]]:
        """Yield the kinds of formulas, the most usual first."""
        for products in (False, True):
            yield functools.partial(self.of_values, self.wrong, products)
            for i in self.wrong if len(self.wrong) > 1 else ():
                yield functools.partial(self.of_values, [i], products)
        yield self.conditions

    def pairs(self) -> Iterator[Found]:
        """Yield the usual mistakes, two at a time, of those that change wrong gradients alone."""
        self.left = WORK // (2 * len(self.recording.operations))
        single = [one for edges in self.edges for one in left_as_it_is(edges) if self.changes_wrong(one)]
        for one, other in sorted(itertools.combinations(single, 2), key=lambda pair: pair[0].cost + pair[1].cost):
            if not {(id(o), k) for o, k in one.edges} & {(id(o), k) for o, k in other.edges}:
                yield from self._tried([both(one, other)])

    def of_values(self, wrong: list[int], products: bool) -> Iterator[Found]:
        """Yield the formulas of the gradient by one value that make some wrong gradients, and none that is right."""
        fitted = [i for i, one in enumerate(self.compared) if i in wrong or one.is_wrong is False]
        claimed, relative = [one.claimed for one in self.compared], 10 * self.relative
        for value in self.by_value.values():
            for text, cost, made in self.by_value.formulas(value, claimed, fitted, relative, products):
                yield from self._compare(made, text, value, 3.0 + cost / 2)

    def conditions(self) -> Iterator[Found]:
        """Yield the gradients by one input that are another than the right one where a condition holds."""
        for i in self.wrong:
            for text, cost, made in self.by_value.conditions(i, self.compared[i].claimed, self.relative):
                yield from self._compare(made, text, self.recording.inputs[i], 3.0 + cost / 2)

    def _turns(self) -> dict[object, list[Operation]]:
        """Return the results of one place of the code, in order, by the place; of a loop, one for each turn."""
        turns: dict[object, list[Operation]] = {}
        for one in self.recording.operations:
            turns.setdefault(one.place if one.name else id(one), []).append(one)
        return turns


def _without_number(edges: Sequence[Edge]) -> Iterator[OperationMistake]:
    yield from left_as_it_is(edges)
    yield from in_turns(edges)


def _edges_by_place(recording: Recording) -> Iterator[list[Edge]]:
    """Yield the operands that depend on the inputs: those at one place of the code together, then those of each call.

    Turns of a loop are in one call. A function that is called at several places may be wrong in all of them, or in one.
    """
    depends = {id(one) for one in recording.inputs}
    groups: dict[object, list[Edge]] = {}
    for one in recording.operations:
        for k, operand in enumerate(one.operands):
            if id(operand) in depends:
                depends.add(id(one))
                groups.setdefault((*one.place, one.position(k)), []).append((one, k))
    yield from groups.values()
    for edges in groups.values():
        calls: dict[object, list[Edge]] = {}
        for one, k in edges:
            calls.setdefault(one.calls, []).append((one, k))
        if len(calls) > 1:
            yield from calls.values()
