"""9. What may go wrong in the backward pass in the turns of a loop."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ..._types import Array
from .operation import REARRANGEMENTS, Operation, sources
from .rules import Edge, OperationMistake, Rule, beside, kept_from, place_of, written

__all__ = ["beside_each", "cut_short", "in_turns", "ordinal"]

ORDINALS = "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"


def in_turns(edges: Sequence[Edge]) -> Iterator[OperationMistake]:
    """Yield the mistakes in which turns are left out, overwrite each other, or pass on to other entries."""
    if len(edges) < 2:
        return
    one, k = written(edges)
    turns = range(len(edges)) if len(edges) <= len(ORDINALS) else (0, len(edges) - 1)
    for turn in turns:
        text = f"{ordinal(turn, len(edges))} of {len(edges)} times of {place_of(one)}"
        others = [edge for edge in edges if edge is not edges[turn]]
        cost = 1.6 if turn in (0, len(edges) - 1) else 1.7
        yield OperationMistake(f"only the {text} counts for {one.names[k]}", others, kept_from, cost)
        yield OperationMistake(f"the {text} left out for {one.names[k]}", [edges[turn]], kept_from, cost)
    if len({id(o.operands[j]) for o, j in edges}) == 1 and one.name in REARRANGEMENTS:
        yield OperationMistake(
            f"gradient by {one.names[k]} of {place_of(one)} assigned each time where it is not 0, not added",
            edges,
            _overwriting(edges[-1][0]),
            1.9,
        )
        for axis, n in enumerate(one.operands[k].value.shape):
            for shift in (1, -1, 2, -2) if n > len(edges) else ():
                where_to = f"{abs(shift)} {'later' if shift > 0 else 'earlier'} along axis {axis}"
                text = f"gradient of {place_of(one)} added {where_to} with each turn"
                yield OperationMistake(text, edges, _moved_by_turn(edges, axis, shift), 1.9)
        for turns, order in (edges, ""), (edges[::-1], ", the first time last"):
            text = f"gradient by {one.names[k]} of {place_of(one)} assigned each time, not added{order}"
            yield OperationMistake(text, edges, _assigned_in(turns), 1.8)


def ordinal(turn: int, count: int) -> str:
    return "last" if turn == count - 1 else ORDINALS[turn]


def _assigned_in(turns: Sequence[Edge]) -> Rule:
    """Return the rule that each turn of a loop overwrites what earlier ones passed on to the same entries."""
    left, entries = np.full(turns[0][0].operands[turns[0][1]].value.size, True), {}
    for one, k in reversed(turns):
        mine = np.zeros(left.size, bool)
        mine[sources(one, k)[sources(one, k) >= 0]] = True
        entries[id(one)] = (mine & left).reshape(one.operands[k].value.shape)
        left &= ~mine
    return lambda one, k, G: one.backward_to(k)(G) * entries[id(one)]


def _overwriting(last: Operation) -> Rule:
    """Return the rule that each turn overwrites the entries to which it passes something; the last comes first."""
    written_to: list[Array] = []

    def rule(one: Operation, k: int, G: Array) -> Array:
        passed = one.backward_to(k)(G)
        if one is last:
            written_to[:] = [np.zeros(passed.shape, bool)]
        new = (passed != 0) & ~written_to[0]
        written_to[0] |= new
        return passed * new

    return rule


def _moved_by_turn(edges: Sequence[Edge], axis: int, shift: int) -> Rule:
    """Return the rule that each turn of a loop passes its gradient on to entries farther and farther away."""
    turns = {id(one): turn for turn, (one, _) in enumerate(edges)}
    return lambda one, k, G: np.roll(one.backward_to(k)(G), shift * turns[id(one)], axis)


def cut_short(edges: Sequence[Edge], direct: Mapping[int, Array]) -> OperationMistake:
    """Return the mistake that each turn of a loop passes on only what does not come from a later turn.

    ``direct`` holds that, by the results of the turns.
    """
    one, k = written(edges)
    text = f"gradient by {one.names[k]} of {place_of(one)} goes back one turn only"
    nothing = {id(o): np.zeros(o.value.shape) for o, _ in edges}
    known = nothing | {key: G for key, G in direct.items() if key in nothing}
    return OperationMistake(text, edges, lambda o, k, G: o.backward_to(k)(known[id(o)]), 1.9)


def beside_each(results: Sequence[Operation], others: Sequence[Operation]) -> Iterator[OperationMistake]:
    """Yield the mistakes that the gradient by a result has an array as a factor, in each turn that of the turn."""
    edges = [(one, k) for one in results for k in range(len(one.operands))]
    name, other = (min((o.label for o in listed), key=len) for listed in (results, others))
    for text, power in (f"times {other}", 1), (f"divided by {other}", -1):
        values = (o.value**power for o in (others if len(others) > 1 else [*others] * len(results)))
        factors = {id(one): value for one, value in zip(results, values, strict=True)}
        rule = functools.partial(lambda factors, o, k, G: o.backward_to(k)(beside(G, factors[id(o)])), factors)
        yield OperationMistake(f"gradient by {name} {text}", edges, rule, 2.8)
