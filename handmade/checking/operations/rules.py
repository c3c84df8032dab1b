"""9. What may go wrong in the backward pass at one operation, or in all turns of a loop alike."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..._types import Array
from .operation import LINEAR, MEANS, REARRANGEMENTS, SUMS, Operation, Slot, sources, summed_to

__all__ = [
    "Edge",
    "OperationMistake",
    "as_it_is",
    "beside",
    "both",
    "clipped_at",
    "exchanged",
    "exchanged_operands",
    "from_another",
    "kept_from",
    "left_as_it_is",
    "place_of",
    "times",
    "with_others",
    "written",
]

HOME = Path(__file__).parents[2]  # this library, whose lines say nothing to a user
REPEATING = ("getitem", "take", "take_along_axis", "repeat", "tile", "pad")
SHIFTING = ("getitem", "pad", "concatenate", "roll")
TURNING = ("transpose", "swapaxes", "moveaxis", "rollaxis")
LARGEST = ("max", "min", "amax", "amin", "maximum.reduce", "minimum.reduce")
BOUNDS = (1.0, 5.0, 10.0, 0.1, 0.01, 0.5, 2.0, 0.05, 0.02, 0.2, 0.25, 100.0)  # at which people clip
FEWEST = 3  # different numbers that show clipping, and not a factor
MOST_PARTS = 5  # of a value, that are tried in every order
MOST_IN_WORDS = 64  # of which a factor may be the inverse or the root

SLOPES: dict[str, Callable[[Array, Array], Array]] = {  # that people write for the derivative of h = f(x)
    "1 - h": lambda x, h: 1 - h,
    "1 - x^2": lambda x, h: 1 - x * x,
    "1 - h^2": lambda x, h: 1 - h * h,
    "1 + h^2": lambda x, h: 1 + h * h,
    "h (1 - h)": lambda x, h: h * (1 - h),
    "x (1 - x)": lambda x, h: x * (1 - x),
    "h": lambda x, h: h,
    "1/h": lambda x, h: 1 / h,
}

Edge = tuple[Operation, int]
Rule = Callable[[Operation, int, Array], Array]


@dataclasses.dataclass(frozen=True)
class OperationMistake:
    """One change of the backward pass.

    Attributes
    ----------
    text : str
        The change in words.
    edges : sequence of (Operation, int)
        The operations at which it is made, each with the number of an operand: all turns of a loop.
    rule : callable
        ``rule(operation, k, G)`` returns what is passed on to operand k in place of the right gradient.
    cost : float
        How unusual it is.
    """

    text: str
    edges: Sequence[Edge]
    rule: Rule
    cost: float


def kept_from(one: Operation, k: int, G: Array) -> Array:
    """Return zeros: no gradient for operand k."""
    return np.zeros(one.operands[k].value.shape)


def left_as_it_is(edges: Sequence[Edge]) -> Iterator[OperationMistake]:
    """Yield the mistakes in which the gradient is cut, passed on unchanged, turned round or sent elsewhere."""
    one, k = written(edges)
    operand, where = one.names[k], place_of(one)

    def mistake(text: str, rule: Rule, cost: float = 1.2) -> OperationMistake:
        return OperationMistake(text, edges, rule, cost)

    yield mistake(f"{operand} taken for a constant in {where}", kept_from, 1.0)
    yield mistake(f"sign of the gradient by {operand} of {where}", lambda o, k, G: -o.backward_to(k)(G), 1.1)
    if one.is_elementwise and (len(one.operands) == 1 or one.name in ("multiply", "divide")):
        yield mistake(f"derivative of {where} by {operand} missing", _unchanged)
    if one.is_elementwise and len(one.operands) == 1:
        text = f"derivative of {where} taken at its result, in place of {operand}"
        yield mistake(text, lambda o, k, G: G * o.slope(k, {0: o.value}), 1.3)
    if one.is_elementwise and len(one.inputs) == 1 and one.name != "negative":
        for text, slope in SLOPES.items():
            yield mistake(f"derivative of {where} written as {text}", _with_slope(slope), 1.4)
    if one.name == "divide" and k == 0 and one.operands[-1].operands[:1] == one.operands[:1]:
        both = [(o, j) for o, _ in edges for j in (0, 1)]
        yield OperationMistake(f"diagonal alone of the Jacobian of {where}", both, _diagonal_of_shares, 1.3)
        for axis in range(one.value.ndim):
            text = f"sum in the Jacobian of {where} over axis {axis}"
            yield OperationMistake(text, both, _jacobian_of_shares(axis), 1.4)
    if one.value.ndim and (one.operands[k].value.size < one.value.size or one.name == "matmul"):
        for row, name in (0, "first"), (-1, "last"):
            yield mistake(f"only the {name} row of {where} counts in the gradient by {operand}", _of_row(row), 1.6)
    if one.name in ("where", "maximum", "minimum", "clip") and one.operands[k].value.shape == one.value.shape:
        yield mistake(f"condition of {where} missing in the gradient by {operand}", _unchanged)
        both = [(o, j) for o, _ in edges for j in range(len(o.operands))]
        if one.name != "clip":
            alone = f"gradient of {where} sent to {operand} alone, whatever the condition"
            yield OperationMistake(alone, both, functools.partial(_to_one, k), 1.3)
        text = f"condition of {where} turned round"
        yield OperationMistake(text, both, lambda o, k, G: _unchanged(o, k, G) - o.backward_to(k)(G), 1.3)
    if one.name in LARGEST:
        yield mistake(f"gradient of {where} sent to all entries", _to_all)
    if one.name == "matmul":
        yield mistake(f"factor transposed in the gradient by {operand} of {where}", _by_transposed)
        yield mistake(f"incoming gradient transposed in the gradient by {operand} of {where}", _transposed, 1.3)
    if one.name in LINEAR:
        for j in range(len(one.operands)):
            if j != k:
                text = f"factor {one.names[j]} missing in the gradient by {operand} of {where}"
                yield mistake(text, _with_operand(j, np.ones(one.operands[j].value.shape)))
    for axes, turned in _turned_axes(one, k):
        yield mistake(f"gradient of {where} spread over {operand} along axis {axes}", turned, 1.5)
    if one.name == "softmax":
        yield mistake(f"diagonal alone of the Jacobian of {where}", _diagonal)
        yield mistake(f"sum over the classes taken for a constant in {where}", lambda o, k, G: G * o.value)
    if not one.is_elementwise and one.operands[k].value.shape == one.value.shape and one.value.ndim:
        yield mistake(f"{where} applied to the gradient by {operand}, not its transpose", _applied, 1.4)
    if one.name in TURNING and one.value.ndim > 2:
        yield mistake(f"{where} not undone in the gradient by {operand}", _reshaped)
    if one.name in REARRANGEMENTS and one.value.ndim > 2:
        for p, q in itertools.combinations(range(one.value.ndim), 2):
            if one.value.shape[p] == one.value.shape[q] > 1:
                yield mistake(f"axes {p} and {q} of the gradient of {where} exchanged", _exchanging(p, q), 1.6)
    if one.name in SHIFTING and one.value.ndim and one.value.shape[-1] > 2:
        for shift in (1, -1, 2, -2):
            where_to = f"{abs(shift)} too {'late' if shift > 0 else 'early'}"
            yield mistake(f"gradient of {where} taken {where_to} along the last axis", _shifted(shift), 1.7)
    if one.name in REPEATING:
        yield mistake(f"gradient by {operand} of {where} assigned, not added, where entries repeat", _assigned)


def written(edges: Sequence[Edge]) -> Edge:
    """Return the turn of a loop that is written most briefly."""
    return min(edges, key=lambda edge: ("..." in edge[0].text + edge[0].names[edge[1]], len(edge[0].text)))


def place_of(one: Operation) -> str:
    """Return an operation in words, and its line, if that is not of this library."""
    code = one.place[0]
    is_own = not Path(code.co_filename).is_relative_to(HOME)
    of = "" if code.co_name.startswith("<") else f" of {code.co_name}"  # a comprehension, or a lambda
    return f"`{one.text}` (line {one.line}{of})" if is_own else f"`{one.text}`"


def _to_one(chosen: int, one: Operation, k: int, G: Array) -> Array:
    return _unchanged(one, k, G) if k == chosen else kept_from(one, k, G)


def _turned_axes(one: Operation, k: int) -> Iterator[tuple[str, Rule]]:
    """Yield the wrong axes along which the gradient of a sum or mean may be repeated, where lengths agree."""
    shape = one.operands[k].value.shape
    if one.name not in (*SUMS, *MEANS) or len(shape) != one.value.ndim + 1:
        return
    scale = one.value.size / one.operands[k].value.size if one.name in MEANS else 1.0
    right = one.backward_to(k)(one.value)
    for axis in range(len(shape)):
        if shape[:axis] + shape[axis + 1 :] == one.value.shape:
            spread = functools.partial(_spread, axis, scale)
            if not np.array_equal(spread(one, k, one.value), right):
                yield f"{axis}", spread


def _spread(axis: int, scale: float, one: Operation, k: int, G: Array) -> Array:
    return np.broadcast_to(np.expand_dims(G * scale, axis), one.operands[k].value.shape)


def _unchanged(one: Operation, k: int, G: Array) -> Array:
    return summed_to(G, one.operands[k].value.shape)


def _with_operand(j: int, value: Array) -> Rule:
    """Return the derivative with another value of another operand."""

    def rule(one: Operation, k: int, G: Array) -> Array:
        other = Operation(np.broadcast_to(value, one.operands[j].value.shape))
        return one.on([other if i == j else operand for i, operand in enumerate(one.operands)]).backward_to(k)(G)

    return rule


def _shifted(shift: int) -> Rule:
    return lambda one, k, G: one.backward_to(k)(np.roll(G, -shift, axis=-1))


def _applied(one: Operation, k: int, G: Array) -> Array:
    """Return the derivative along G, which is the operation itself if it is linear."""
    x, h = one.operands[k].value, 1e-6 / (float(np.abs(G).max(initial=0.0)) or 1.0)
    return np.asarray(one.of_operand(k, x + h * G) - one.of_operand(k, x - h * G)) / (2 * h)


def _reshaped(one: Operation, k: int, G: Array) -> Array:
    return G.reshape(one.operands[k].value.shape)


def _by_transposed(one: Operation, k: int, G: Array) -> Array:
    other = one.factor_beside(k)
    return summed_to(G @ other if one.is_first(k) else other @ G, one.operands[k].value.shape)


def _transposed(one: Operation, k: int, G: Array) -> Array:
    return one.backward_to(k)(np.ascontiguousarray(np.swapaxes(G, -1, -2)))


def _exchanging(p: int, q: int) -> Rule:
    return lambda one, k, G: one.backward_to(k)(np.ascontiguousarray(np.swapaxes(G, p, q)))


def _diagonal(one: Operation, k: int, G: Array) -> Array:
    return G * one.value * (1 - one.value)


def _diagonal_of_shares(one: Operation, k: int, G: Array) -> Array:
    """Return what a share of a sum passes on if the sum depended on the same entry alone."""
    return kept_from(one, k, G) if k else G * (1 - one.value) / one.operands[1].value


def _jacobian_of_shares(axis: int) -> Rule:
    """Return what shares of a sum pass on if backward sums over an axis that may not be the one of forward."""

    def rule(one: Operation, k: int, G: Array) -> Array:
        if k:
            return kept_from(one, k, G)
        return (G - (G * one.value).sum(axis=axis, keepdims=True)) / one.operands[1].value

    return rule


def _with_slope(slope: Callable[[Array, Array], Array]) -> Rule:
    return lambda one, k, G: G * slope(one.operands[k].value, one.value)


def _of_row(row: int) -> Rule:
    def rule(one: Operation, k: int, G: Array) -> Array:
        alone = np.zeros(G.shape)
        alone[row] = G[row]
        return one.backward_to(k)(alone)

    return rule


def _to_all(one: Operation, k: int, G: Array) -> Array:
    x = one.operands[k].value
    return np.broadcast_to(G.reshape([n if m == n else 1 for n, m in _beside(x.shape, one.value.shape)]), x.shape)


def _beside(shape: tuple[int, ...], result: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Yield the length of each axis, and what is left of it in a result with fewer axes."""
    left = list(result)
    for n in shape:
        yield n, (left.pop(0) if left and left[0] in (n, 1) else 0)


def _assigned(one: Operation, k: int, G: Array) -> Array:
    made, source = np.zeros(one.operands[k].value.size), sources(one, k)
    made[source[source >= 0]] = G.ravel()[source >= 0]
    return made.reshape(one.operands[k].value.shape)


# ---- mistakes with a number --------------------------------------------------------------------------------------


def as_it_is(edges: Sequence[Edge]) -> OperationMistake:
    """Return the right gradient by an operand, which only `times` makes a mistake."""
    one, k = written(edges)
    return OperationMistake(
        f"gradient by {one.names[k]} of {place_of(one)}", edges, lambda o, k, G: o.backward_to(k)(G), 0.5
    )


def times(mistake: OperationMistake, factor: float) -> OperationMistake:
    """Return a mistake with a factor beside it."""
    return OperationMistake(
        f"{mistake.text} times {_in_words(factor)}",
        mistake.edges,
        lambda o, k, G: factor * mistake.rule(o, k, G),
        mistake.cost + 1.0,
    )


def _in_words(factor: float) -> str:
    for n in range(1, MOST_IN_WORDS):
        for text, value in (f"{n}", n), (f"1/{n}", 1 / n), (f"sqrt({n})", math.sqrt(n)), (f"1/sqrt({n})", n**-0.5):
            if abs(abs(factor) - value) <= 1e-7 * value:
                return "-" * (factor < 0) + text
    return f"{factor:.6g}"


def both(one: OperationMistake, other: OperationMistake) -> OperationMistake:
    """Return two mistakes at different places as one."""
    rules = {(id(o), k): mistake.rule for mistake in (one, other) for o, k in mistake.edges}
    edges = [*one.edges, *other.edges]
    text = f"{one.text} and {other.text}"
    return OperationMistake(text, edges, lambda o, k, G: rules[id(o), k](o, k, G), one.cost + other.cost + 1)


def clipped_at(edges: Sequence[Edge], passed: Sequence[Array]) -> Iterator[OperationMistake]:
    """Yield clipping, at the usual bounds, of what is passed on to an operand.

    Clipped by value, some of it has to be left as it is; clipped by norm, it has to have several numbers. Otherwise it
    may as well be a factor, or a constant.
    """
    one, k = written(edges)
    sizes = np.unique(np.abs(np.concatenate([G.ravel() for G in passed])).round(12))
    longest = max(float(np.linalg.norm(G)) for G in passed)
    for bound in BOUNDS:
        text = f"gradient by {one.names[k]} of {place_of(one)} clipped at {bound:g}"
        if ((sizes > 0) & (sizes <= bound)).sum() >= FEWEST and bound < sizes.max():
            yield OperationMistake(text, edges, _by_value(bound), 1.7)
        if len(sizes) > FEWEST and bound < longest:
            yield OperationMistake(f"norm of the {text}", edges, _by_norm(bound), 1.8)


def _by_value(bound: float) -> Rule:
    return lambda one, k, G: np.clip(one.backward_to(k)(G), -bound, bound)


def _by_norm(bound: float) -> Rule:
    def rule(one: Operation, k: int, G: Array) -> Array:
        passed = one.backward_to(k)(G)
        return passed * min(1.0, bound / (float(np.linalg.norm(passed)) or 1.0))

    return rule


# ---- other arrays --------------------------------------------------------------------------------------------------


def with_others(edges: Sequence[Edge], others: Sequence[Operation]) -> Iterator[OperationMistake]:
    """Yield derivatives with another array of the same shape: of the same turn of a loop, or of another."""
    one, k = edges[0]
    if not (one.is_elementwise or one.name in ("matmul", *LARGEST)) or len(others) not in (1, len(edges)):
        return
    for j in _entering(one, k):
        own = one.argument(j)[0]
        if own.shape == others[0].value.shape and (own.ndim or len(others) > 1):
            for turn in TURNS if len(others) > 1 else [""]:
                yield _with_another(edges, j, others, turn)


TURNS = ["", " of the time before", " of the time after", " in reverse"]


def _entering(one: Operation, k: int) -> list[int]:
    """Return the arguments, by their place, on which the derivative by an operand depends."""
    if one.name in ("add", "subtract", "negative"):
        return []
    if one.name in LARGEST:
        return [0]
    if len(one.inputs) == 2 and (one.name in ("multiply", "matmul") or (one.name == "divide" and one.is_first(k))):
        return [1 if one.is_first(k) else 0]
    return list(range(len(one.inputs)))


def _with_another(edges: Sequence[Edge], j: int, others: Sequence[Operation], turn: str) -> OperationMistake:
    """Return the mistake that the derivative is taken with another array in place of an argument."""
    one, k = written(edges)
    number = {id(o): i for i, (o, _) in enumerate(edges)}
    shift = {" of the time before": -1, " of the time after": 1}.get(turn, 0)

    def rule(o: Operation, k: int, G: Array) -> Array:
        at = len(others) - 1 - number[id(o)] if turn == TURNS[3] else number[id(o)] + shift
        at = at if len(others) > 1 else 0
        value = others[at].value if 0 <= at < len(others) else np.zeros(others[0].value.shape)
        return o.with_parts({j: value}).backward_to(k)(G)

    own = one.argument(j)[1]
    other = min((o.label for o in others), key=len)
    if other == own and not turn:  # a variable that is bound anew
        other = min((o.text for o in others), key=len)
    text = f"derivative of {place_of(one)} by {one.names[k]} with {other}{turn} in place of {own}"
    return OperationMistake(text, edges, rule, 2.0 + bool(turn))


def from_another(one: Operation, k: int, users: Sequence[Operation], other: Operation) -> OperationMistake:
    """Return the mistake that backward computes a function of another array, for its own derivative and its users'."""
    value = np.asarray(one.function(other.value))
    edges = [(one, k), *((user, j) for user in users for j in range(len(user.operands)))]

    def rule(o: Operation, j: int, G: Array) -> Array:
        if o is one:
            return summed_to(G * one.slope(k, {0: other.value}), one.operands[k].value.shape)
        changed = {i: value for i, part in enumerate(o.inputs) if isinstance(part, Slot) and o.operands[part] is one}
        return summed_to(G * o.slope(j, changed), o.operands[j].value.shape)

    text = f"value of {place_of(one)} computed from {other.label} in place of {one.names[k]}"
    return OperationMistake(text, edges, rule, 2.5)


def beside(G: Array, factor: Array) -> Array:
    """Return a gradient beside a factor; 0 where it is 0, whatever the factor is there."""
    return np.where(G == 0, 0.0, G * factor)


def exchanged(value: Operation, parts: Sequence[Operation], right: Mapping[int, Array]) -> Iterator[OperationMistake]:
    """Yield the mistakes that parts of a value pass on each other's gradient; ``right`` holds them, by part."""
    for order in _other_orders([part.value.shape for part in parts]):
        own = {id(parts[i]): right[id(parts[j])] for i, j in order.items()}
        rule = functools.partial(lambda own, o, k, G: o.backward_to(k)(own[id(o)]), own)
        text = f"gradients of {' and '.join(place_of(parts[i]) for i in order)} exchanged"
        edges = [(parts[i], parts[i].operands.index(value)) for i in order]
        yield OperationMistake(text, edges, rule, 1.7 + 0.1 * len(order))


def exchanged_operands(one: Operation) -> Iterator[OperationMistake]:
    """Yield the mistakes that operands of one operation, such as a concatenation, get each other's gradient."""
    for order in _other_orders([operand.value.shape for operand in one.operands]):
        rule = functools.partial(lambda order, o, k, G: o.backward_to(order[k])(G), order)
        text = f"gradients by {' and '.join(one.names[i] for i in order)} of {place_of(one)} exchanged"
        yield OperationMistake(text, [(one, i) for i in order], rule, 1.7 + 0.1 * len(order))


def _other_orders(shapes: Sequence[tuple[int, ...]]) -> Iterator[dict[int, int]]:
    """Yield the orders of a few things that keep the shape at each place; only what moves is listed."""
    for order in itertools.permutations(range(len(shapes))) if len(shapes) <= MOST_PARTS else ():
        moved = {i: j for i, j in enumerate(order) if i != j}
        if moved and all(shapes[i] == shapes[j] for i, j in moved.items()):
            yield moved


def over_other_axes(
    edges: Sequence[Edge], user: Operation, incoming: Mapping[int, Array]
) -> Iterator[OperationMistake]:
    """Yield sums or means whose gradient is taken over another axis before it is spread over the operand.

    ``user`` is the operation that takes the result, along which it is repeated; ``incoming`` the gradients by results.
    """
    one, _ = written(edges)
    j = next(j for j, operand in enumerate(user.operands) if operand is one)

    def rule(axis: int, o: Operation, k: int, G: Array) -> Array:
        unsummed = incoming[id(user)] * user.slope(j)
        reduced = unsummed.mean(axis=axis, keepdims=True) if o.name in MEANS else unsummed.sum(axis=axis, keepdims=True)
        return np.broadcast_to(reduced, o.operands[k].value.shape)

    for axis in range(user.value.ndim):
        text = f"gradient of {place_of(one)} taken over axis {axis}"
        yield OperationMistake(text, edges, functools.partial(rule, axis), 1.5)
