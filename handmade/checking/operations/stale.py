"""9. Arrays of a loop that backward takes from another turn: an index off by one, a buffer that was overwritten."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..._types import Array
from .operation import UNFIT, Operation
from .rules import OperationMistake

__all__ = ["Series", "back_through", "in_loops", "out_of_step", "series_of", "with_right_states"]

MOST_TURNS, MOST_AGAIN = 40, 6  # of a loop, and turns that it may begin again with

Made = dict[int, tuple[Operation, Operation]]  # operations, each beside the same one with other values


@dataclasses.dataclass
class Series:
    """An array that operations in a loop take anew in each turn.

    Attributes
    ----------
    name : str
        How it is written.
    values : list of ndarray
        One for each turn.
    before, after : ndarray or None
        Those that a turn before the first one, and one after the last one, would have, if they are known.
    results : list of Operation
        Those that compute them; none for arrays that are given.
    uses : list of (Operation, int, int)
        The operations that take them, each with the number of the argument and that of the turn.
    """

    name: str
    values: list[Array]
    before: Array | None
    after: Array | None
    results: list[Operation]
    uses: list[tuple[Operation, int, int]] = dataclasses.field(default_factory=list)


def series_of(turns: Sequence[Sequence[Operation]], operations: Sequence[Operation] = ()) -> list[Series]:
    """Return the arrays that differ from turn to turn; ``turns`` holds the operations at each place in loops.

    ``operations`` holds all, in order: one before a loop may be like those in the loop.

    Where the first turn takes something else, such as a constant, the turns are counted from the last one.
    """
    sites = [site for of_place in turns if len(of_place) <= MOST_TURNS for site in _sites(of_place)]
    before = {id(parts[1]): parts[0] for _, _, parts in sites}
    after = {id(a): b for of_place in turns for a, b in itertools.pairwise(of_place)}
    found: dict[tuple[int, ...], Series] = {}
    for of_place, j, parts in sorted(sites, key=lambda site: -len(site[0])):
        ids = tuple(map(id, parts))
        longer = next((key for key in found if key[-len(ids) + 1 :] == ids[1:]), None)
        if longer is None:
            words = [one.word(part) for one, part in zip(of_place[1:], parts[1:], strict=True)]
            name = words[0] if len(set(words)) == 1 else f"{', '.join(words[:2])}, ..."  # of a row for each turn
            alike = next((one for one in reversed(operations) if _is_like(one, parts[0])), _beside(parts, -1))
            ends = before.get(ids[0], alike), after.get(ids[-1], _beside(parts, 1))
            results = [part for part in (*parts, ends[1]) if isinstance(part, Operation) and part.operands]
            values = [array for part in parts if (array := _value(part)) is not None]
            first, last = (_value(end, values[0].shape) for end in ends)
            found[longer := ids] = Series(name, values, first, last, results)
        found[longer].uses += [(one, j, len(longer) - len(ids) + turn) for turn, one in enumerate(of_place)]
    return sorted(found.values(), key=lambda series: (series.after is None, not series.results))


def _sites(of_place: Sequence[Operation]) -> Iterator[tuple[Sequence[Operation], int, tuple[Any, ...]]]:
    """Yield the arguments of the operations at a place that are arrays, or numbers, which differ from turn to turn."""
    for j, parts in enumerate(zip(*(one.parts() for one in of_place), strict=False)):
        shapes = {None if (array := _value(part)) is None else array.shape for part in parts}
        if len(shapes) == 1 and shapes != {None} and len(set(map(id, parts))) > 1:
            yield of_place, j, parts


def _is_like(one: Operation, first: Any) -> bool:
    """Return whether an operation is of the same kind as a later one, and of the same operands."""
    is_earlier = isinstance(first, Operation) and one.number < first.number
    return is_earlier and bool(one.operands) and one.name == first.name and one.operands == first.operands


def _value(part: Any, shape: tuple[int, ...] | None = None) -> Array | None:
    """Return an argument if it is an array or a number, recorded or not; and of a shape, if one is given."""
    array = part.value if isinstance(part, Operation) else part
    array = np.asarray(array) if isinstance(array, np.ndarray | float) else None  # np.float64 is a float
    return array if array is not None and shape in (None, array.shape) else None


def _beside(parts: Sequence[Any], step: int) -> Array | None:
    """Return the row before or after those of one array that the turns take one after another, if it has one."""
    base = getattr(parts[0], "base", None)
    if not isinstance(base, np.ndarray) or any(getattr(part, "base", None) is not base for part in parts):
        return None
    places = [part.__array_interface__["data"][0] - base.__array_interface__["data"][0] for part in parts]
    distance = places[1] - places[0]
    place = places[0] - distance if step < 0 else places[-1] + distance
    is_row_of = base.flags.c_contiguous and parts[0].flags.c_contiguous and 0 <= place <= base.nbytes - parts[0].nbytes
    if not is_row_of or len({b - a for a, b in itertools.pairwise(places)}) > 1:
        return None
    return np.ndarray(parts[0].shape, parts[0].dtype, base, place, parts[0].strides)


def in_loops(turns: Sequence[Sequence[Operation]]) -> list[tuple[Operation, int]]:
    """Return the operations in loops, in the order in which they were done, each with its turn, the last one -1."""
    looped = [(one, turn - len(of_place)) for of_place in turns for turn, one in enumerate(of_place)]
    return sorted(looped, key=lambda pair: pair[0].number)


def out_of_step(series: Series, looped: Sequence[tuple[Operation, int]]) -> Iterator[OperationMistake]:
    """Yield the mistakes that backward has the array of another turn: alone, or with what follows from it.

    ``looped`` holds the operations in loops, see `in_loops`.
    """
    alone = [(one, 0) for one, *_ in series.uses]
    more = ", and what follows from it"
    ways = ("", alone, True), (more, looped, False), (more, looped, True)  # in the turn, or in all of them
    for (which, taken), (n, (also, operations, at_all)) in itertools.product(_orders(series), enumerate(ways)):
        with contextlib.suppress(*UNFIT):
            made = _computed(series, taken, operations, at_all)
            edges = [(one, k) for one, _ in made.values() for k in range(len(one.operands))]
            text = f"backward uses `{series.name}` {which}{also}, in each of {len(series.values)} turns"
            rule = functools.partial(_with_other_values, made)
            yield OperationMistake(text, edges, rule, 2.6 + 0.1 * n)


def back_through(series: Series, mistake: OperationMistake, adjoints: Mapping[int, Array]) -> OperationMistake:
    """Return a mistake as it is if only the gradients that go back through a series have it.

    ``adjoints`` holds the gradients, by the ids of the results, that the mistake leads to.
    """
    edges = [(one, k) for one in series.results for k in range(len(one.operands))]
    text = f"{mistake.text}, on the way back through it"
    return OperationMistake(text, edges, lambda o, k, G: o.backward_to(k)(adjoints[id(o)]), mistake.cost + 0.2)


def with_right_states(
    handed_on: Sequence[Operation], mistake: OperationMistake, right: Mapping[int, Array]
) -> OperationMistake:
    """Return a mistake as it is if the gradients that go back from turn to turn do not have it.

    ``handed_on`` holds the results that a turn takes from the one before; ``right`` their gradients, by id.
    """
    wrong = {(id(one), k) for one, k in mistake.edges}
    states = {id(one) for one in handed_on}

    def rule(one: Operation, k: int, G: Array) -> Array:
        G = right[id(one)] if id(one) in states else G
        return mistake.rule(one, k, G) if (id(one), k) in wrong else one.backward_to(k)(G)

    edges = [*mistake.edges, *((one, k) for one in handed_on for k in range(len(one.operands)))]
    return OperationMistake(f"{mistake.text}, but not on the way back", edges, rule, mistake.cost + 0.3)


def _with_other_values(made: Made, one: Operation, k: int, G: Array) -> Array:
    return made[id(one)][1].backward_to(k)(G)


def _orders(series: Series) -> Iterator[tuple[str, list[Array]]]:
    """Yield the arrays that the turns may get, and whose they are."""
    values, before, after = series.values, series.before, series.after
    yield "of the turn after", [*values[1:], values[-1] if after is None else after]
    yield "of the turn before", [values[0] if before is None else before, *values[:-1]]
    yield "of the last turn", [values[-1]] * len(values)
    for where, end in ("after the last", after), ("before the first", before):
        if end is not None:
            yield f"as it is {where} turn", [end] * len(values)
    yield "of the turns in reverse order", values[::-1]
    for start in range(1, min(len(values), MOST_AGAIN + 1)):
        which = f"of the first {start} turns again" if start > 1 else "of the first turn"
        yield which, [values[turn % start] for turn in range(len(values))]


def _computed(
    series: Series, taken: Sequence[Array], operations: Sequence[tuple[Operation, int]], in_other_turns: bool
) -> Made:
    """Return the operations that have another value, each beside the same one with it."""
    given: dict[int, dict[int, Array]] = {}
    for one, j, turn in series.uses:
        given.setdefault(id(one), {})[j] = taken[turn]
    kept, when = set(map(id, series.results)), {id(one): turn for one, turn in operations}
    made: Made = {}
    for one, turn in operations:
        from_others = {id(o) for o in one.operands if id(o) in made and (in_other_turns or when[id(o)] == turn)} - kept
        computed = [made[id(o)][1] if id(o) in from_others else o for o in one.operands]
        changed = one.on(computed) if from_others else one
        if id(one) in given:
            changed = changed.with_parts(given[id(one)])
        if changed is not one:
            made[id(one)] = one, changed
    return made
