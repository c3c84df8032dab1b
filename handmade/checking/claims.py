"""9. Parameters and gradients in the layouts in which people keep them, read into one flat vector.

A layout is recognized by its shapes and names: lists, dicts and nested lists of arrays, (dW, db) pairs, weights before
biases, biases as rows or columns, weights as (I, O), and bias and weights in one matrix. Where a gradient has a shape
that is a mistake (a bias gradient that was not summed, a None), the mistake is returned with its name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .._types import Array
from .._validation import as_array
from .causes import Block, Cause

SHOWN = 60  # characters of a value that is quoted
MAX_DEPTH = 20  # of nested lists: one that holds itself has no end
NOT_RETURNED = "None: does the function return its gradient?"


def as_numbers(value: Any, name: str) -> Array:
    """Return anybody's array as one of float64; a tensor of torch may hang on a graph."""
    array = as_array(value.detach().cpu() if hasattr(value, "detach") else value, name)
    try:
        if array.dtype.kind == "O":
            array = array.astype(np.float64)
        if array.dtype.kind not in "iuf":
            raise TypeError
        return array.astype(np.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        text = repr(value)
        found = text if len(text) <= SHOWN and "\n" not in text else kind_of(array)
        raise TypeError(f"{name}: expected numbers, got {found}") from None


def as_gradient(value: Any, expected: str) -> Array:
    """Return a gradient that is one array as numbers; raise with what was expected, and the mark after it."""
    try:
        return as_numbers(value, "gradient")
    except (TypeError, ValueError) as error:
        if hasattr(value, "filled") or hasattr(value, "toarray"):  # masked or sparse: the error says what to do
            raise
        kind = ValueError if isinstance(error, ValueError) else TypeError
        holds_objects = isinstance(value, np.ndarray) and value.dtype.kind == "O"
        cure = "; give one of numbers, or a list of arrays" * holds_objects
        raise kind(f"gradient: expected {expected} got {kind_of(value)}{cure}") from error


def kind_of(value: Any) -> str:
    """Return what a value is, in words."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    if isinstance(value, list | tuple):
        return f"a sequence of {len(value)}"
    return f"a dict of {len(value)}" if isinstance(value, Mapping) else type(value).__name__


def is_single(value: Any, vector: Array) -> bool:
    """Return whether numbers come from float32: by their dtype, or because each of them is one of float32's."""
    text = any(str(getattr(leaf, "dtype", "")).endswith("float32") for _, leaf in leaves(value, ""))
    with np.errstate(over="ignore"):
        exact, fewer = (np.array_equal(vector, vector.astype(dtype)) for dtype in (np.float32, np.float16))
    return text or (exact and not fewer)  # 0.5 is a number of every type


def leaves(value: Any, name: str, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield the arrays of a nested structure, each with its path; None is a leaf.

    Raises
    ------
    TypeError
        If lists are nested without end.
    """
    if depth > MAX_DEPTH:
        raise TypeError(
            f"{name[:40]}...: expected arrays in at most {MAX_DEPTH} nested lists; does a list hold itself?"
        )
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from leaves(part, f"{name}[{key!r}]" if name else str(key), depth + 1)
    elif _is_sequence(value, depth):
        for i, part in enumerate(value):
            yield from leaves(part, f"{name}[{i}]", depth + 1)
    else:
        yield name, value


def _is_sequence(value: Any, depth: int) -> bool:
    """Return whether a list holds arrays: the outermost list of lists does, a rectangle of numbers within it is one."""
    if not isinstance(value, list | tuple) or not any(part is None or _is_container(part) for part in value):
        return False
    return depth == 0 or not _is_rectangle(value)


def _is_rectangle(value: Any) -> bool:
    """Return whether nested lists are one array, written as numbers."""
    if any(hasattr(part, "dtype") for part in value):
        return False
    try:
        return np.asarray(value).dtype.kind in "iuf"
    except (ValueError, TypeError, RecursionError):
        return False


def _is_container(value: Any) -> bool:
    is_array_like = hasattr(value, "__array__")  # NumPy's protocol, which does not ask for an ndim
    return isinstance(value, Mapping | list | tuple) or bool(getattr(value, "ndim", is_array_like))


class Parameters:
    """The parameters as their owner keeps them, and as one vector.

    Parameters
    ----------
    value : array_like, sequence, mapping, or any nesting of them
        The parameters.
    name : str
        The name of the whole, for messages.

    Attributes
    ----------
    blocks : list of Block
        The arrays, as slices of the vector.
    vector : ndarray, shape (P,)
        All of them.

    Examples
    --------
    >>> from handmade.checking.claims import Parameters
    >>> parameters = Parameters({"W": np.eye(2), "b": np.zeros(2)}, "theta")
    >>> [block.name for block in parameters.blocks], parameters.vector.size
    (['W', 'b'], 6)
    >>> parameters.shaped(np.arange(6.0))["b"]
    array([4., 5.])
    """

    def __init__(self, value: Any, name: str = "theta") -> None:
        self.value = value
        found = list(leaves(value, "" if isinstance(value, Mapping) else name))
        arrays = {path or name: as_numbers(leaf, path or name) for path, leaf in found}
        if not arrays:
            raise ValueError(f"{name}: expected at least one array, got {value!r}")
        if len(arrays) > 1 and (empty := [path for path, array in arrays.items() if not array.size]):
            raise ValueError(f"{empty[0]}: expected at least one entry, got none; leave it out of {name}")
        self.blocks: list[Block] = blocks_of(arrays)
        self.vector: Array = np.concatenate([array.ravel() for array in arrays.values()])
        self.is_single: bool = is_single(value, self.vector)

    def shaped(self, vector: Array) -> Any:
        """Return a vector, as views, in the form of the parameters; the array alone, if the form is a list of one."""
        return self.rebuilt([vector[block.slice].reshape(block.shape) for block in self.blocks])

    def rebuilt(self, arrays: Sequence[Any]) -> Any:
        """Return arrays, or what stands for them, in the form of the parameters."""
        parts = iter(arrays)
        if len(self.blocks) == 1 and not isinstance(self.value, Mapping):
            return next(parts)
        return _rebuilt(self.value, parts, 0)


def _rebuilt(value: Any, parts: Iterator[Any], depth: int) -> Any:
    """Return a structure like the given one, its leaves replaced in order."""
    if isinstance(value, Mapping):
        return {key: _rebuilt(part, parts, depth + 1) for key, part in value.items()}
    if _is_sequence(value, depth):
        rebuilt = [_rebuilt(part, parts, depth + 1) for part in value]
        return type(value)(*rebuilt) if hasattr(value, "_fields") else type(value)(rebuilt)
    return next(parts)


def blocks_of(arrays: Mapping[str, Array]) -> list[Block]:
    """Return arrays as slices of one vector; a vector that follows a matrix belongs to its layer."""
    blocks: list[Block] = []
    start = layer = 0
    for name, array in arrays.items():
        layer += array.ndim != 1 or not blocks or len(blocks[-1].shape) < 2
        blocks.append(Block(name, start, array.shape, layer))
        start += array.size
    return blocks


# ---- gradients -----------------------------------------------------------------------------------------------------


def read_gradient(value: Any, blocks: Sequence[Block], samples: int | None = None) -> tuple[Array, list[Cause]]:
    """Return a gradient as one vector in the order of the blocks, and the mistakes that its shapes show.

    Parameters
    ----------
    value : array_like, sequence, mapping, or any nesting of them
        The gradient; None, where there is none.
    blocks : sequence of Block
        The parameters.
    samples : int, optional
        N, to recognize a bias gradient that was not summed.

    Raises
    ------
    ValueError
        If the shapes fit in no layout.
    TypeError
        If something is not a number.
    """
    if value is None:
        hint = "a function without return returns None"
        return np.zeros(sum(block.size for block in blocks)), [Cause("not returned", "everything", hint, NOT_RETURNED)]
    if isinstance(value, tuple) and len(value) == 2 and _is_loss_and_gradient(value, blocks):
        value = value[1]
    if not isinstance(value, Mapping) and not _is_sequence(value, 0):
        return _from_array(value, blocks), []
    problems = []
    for reading in _readings(value, blocks):
        try:
            return _fitted(reading, blocks, samples)
        except ValueError as error:
            problems.append(error)
    raise problems[0]


def _is_loss_and_gradient(value: tuple[Any, Any], blocks: Sequence[Block]) -> bool:
    """Return whether a pair is (loss, gradients) rather than the gradients of two parameters."""
    loss, rest = value
    if isinstance(loss, Mapping | list | tuple) or loss is None or np.ndim(getattr(loss, "detach", lambda: loss)()):
        return False
    return bool(_is_container(rest)) and not (len(blocks) == 2 and blocks[0].size == 1)


def _from_array(value: Any, blocks: Sequence[Block]) -> Array:
    size, shapes = sum(block.size for block in blocks), ", ".join(f"{block.name} {block.shape}" for block in blocks)
    expected = f"a vector of {size}, or arrays for {shapes};"
    array = as_gradient(value, expected)
    if array.shape == (size,):
        return array
    if len(blocks) == 1:
        return _laid_out(array, blocks[0], array.shape != blocks[0].shape)
    raise ValueError(f"gradient: expected {expected} got shape {array.shape}")


def _readings(value: Any, blocks: Sequence[Block]) -> Iterator[list[Any]]:
    """Yield the leaves of a gradient in the orders in which they may stand for the blocks."""
    named = _by_name(value, blocks)
    if named is not None:
        yield named
        return
    if isinstance(value, Mapping):
        names = [block.name for block in blocks]
        raise ValueError(f"gradient: expected the parameters {names}, got {list(value)}")
    flat = [leaf for _, leaf in leaves(value, "gradient")]
    weights = [i for i, block in enumerate(blocks) if block.is_weight]
    biases = [i for i, block in enumerate(blocks) if not block.is_weight]
    if len(flat) == len(blocks):
        yield flat
        from_last = sorted(range(len(blocks)), key=lambda i: -blocks[i].layer)
        of_kinds = [[i for i in from_last if blocks[i].is_weight is is_weight] for is_weight in (True, False)]
        orders = [weights + biases, biases + weights, *_pairs_turned(blocks), list(range(len(blocks)))[::-1], from_last]
        for order in (*orders, of_kinds[0] + of_kinds[1], of_kinds[1] + of_kinds[0]):
            yield [flat[order.index(i)] for i in range(len(blocks))]
    elif len(flat) == len(weights) == len(biases):
        yield _split_bias(flat, [blocks[i] for i in weights])
    else:
        raise ValueError(f"gradient: expected {len(blocks)} arrays for {[b.name for b in blocks]}, got {len(flat)}")


def _pairs_turned(blocks: Sequence[Block]) -> Iterator[list[int]]:
    """Yield the order b0, W0, b1, W1, ... where weights and biases alternate."""
    if len(blocks) % 2 == 0 and all(block.is_weight == (i % 2 == 0) for i, block in enumerate(blocks)):
        yield [i ^ 1 for i in range(len(blocks))]


def _split_bias(matrices: Sequence[Any], weights: Sequence[Block]) -> list[Any]:
    """Return weights and biases out of one matrix [b W] per layer, or its transpose."""
    arrays = [as_numbers(matrix, f"gradient[{i}]") for i, matrix in enumerate(matrices)]
    shapes = [(block.shape[0], block.shape[1] + 1) for block in weights]
    if [array.shape for array in arrays] != shapes:  # all of them are turned, or none: square ones do not tell
        arrays = [array.T for array in arrays]
    parts: list[Any] = []
    for array, shape in zip(arrays, shapes, strict=True):
        if array.shape != shape:
            raise ValueError(f"gradient: expected {len(weights) * 2} arrays, or [b W] of shape {shape}")
        parts += [array[:, 1:], array[:, 0]]
    return parts


def _by_name(value: Any, blocks: Sequence[Block]) -> list[Any] | None:
    """Return the leaves in the order of the blocks, if their names say it: exactly, or as W1, db2, weight_1, ..."""
    if not isinstance(value, Mapping):
        return None
    found = dict(leaves(value, ""))
    names = [block.name for block in blocks]
    if set(found) == set(names):
        return [found[name] for name in names]
    stripped = {re.sub(r"^(delta|grad|nabla|d)_?(?=\w)", "", str(key)): leaf for key, leaf in found.items()}
    if set(stripped) == set(names):
        return [stripped[name] for name in names]
    if len(found) != len(blocks):
        return None
    ranked: dict[bool, list[tuple[int, Any]]] = {True: [], False: []}
    for key, leaf in stripped.items():
        number = re.search(r"\d+", key)
        kind = re.sub(r"[\d_.\[\]']", "", key).lower()
        if number is None or not kind:
            return None
        ranked[kind[0] != "b"].append((int(number.group()), leaf))
    parts: list[Any] = [None] * len(blocks)
    for is_weight, of_kind in ranked.items():
        places = [i for i, block in enumerate(blocks) if block.is_weight == is_weight]
        if len(places) != len(of_kind):
            return None
        for i, (_, leaf) in zip(places, sorted(of_kind, key=lambda pair: pair[0]), strict=True):
            parts[i] = leaf
    return parts


def _fitted(parts: Sequence[Any], blocks: Sequence[Block], samples: int | None) -> tuple[Array, list[Cause]]:
    """Return the parts as one vector, each laid out as its block."""
    arrays = [None if part is None else as_numbers(part, block.name) for part, block in zip(parts, blocks, strict=True)]
    turned = any(
        a is not None and a.ndim == 2 and block.is_weight and a.shape != block.shape and a.T.shape == block.shape
        for a, block in zip(arrays, blocks, strict=True)
    )
    causes: dict[tuple[str, str, str], list[str]] = {}
    vectors = []
    for array, block in zip(arrays, blocks, strict=True):
        if array is None:
            array = np.zeros(block.shape)
            causes.setdefault(("not returned", "a gradient is missing", "None"), []).append(block.name)
        elif flaw := _flaw(array, block, samples):
            name, hint, text, array = flaw
            causes.setdefault((name, hint, text), []).append(block.name)
        vectors.append(_laid_out(array, block, turned))
    return np.concatenate(vectors), [
        Cause(name, ", ".join(where), hint, f"{text} for {', '.join(where)}")
        for (name, hint, text), where in causes.items()
    ]


def _flaw(array: Array, block: Block, samples: int | None) -> tuple[str, str, str, Array] | None:
    """Return name, hint and evidence of a mistake in a bias gradient's shape, and the gradient that was meant."""
    if block.is_weight or array.size == block.size:
        return None
    size = block.size
    text = f"shape {array.shape}, not {block.shape},"
    for axis, shape in (0, (samples, size)), (1, (size, samples)):
        if samples is not None and array.shape == shape:
            hint = "the gradient of the bias has one row for each sample"
            return "bias gradient not summed", hint, text, array.sum(axis=axis)
    if samples is not None and array.shape in ((samples,), (samples, 1), (1, samples)):
        hint = "the gradient of the bias has one number for each sample"
        return WRONG_AXIS, hint, text, np.zeros(size)
    if array.size == 1:
        hint = "the gradient of the bias is the same for all units"
        return "bias gradient summed over everything", hint, "one number", np.full(size, array.ravel()[0])
    return None


def _laid_out(array: Array, block: Block, turned: bool) -> Array:
    """Return the entries of an array in the order of its block: weights transposed, biases as rows or columns."""
    if block.is_weight and array.ndim == 2 and turned and array.T.shape == block.shape:
        return array.T.ravel()
    is_bias = not block.is_weight and array.size == block.size and sum(n > 1 for n in array.shape) <= 1
    if array.shape == block.shape or is_bias:
        return array.ravel()
    raise ValueError(f"gradient: expected shape {block.shape} for {block.name}, got {array.shape}")


# ---- gradients that are functions ----------------------------------------------------------------------------------

CHANGES = "changes from call to call"
WRONG_AXIS = "bias gradient summed over the wrong axis"


def call_repeatedly(
    function: Callable[[], Any], read: Callable[[Any], tuple[Array, list[Cause]]], relative: Callable[[bool], float]
) -> tuple[Array, list[Cause], bool]:
    """Call a gradient function three times: its gradient, the oddities of the calls, and whether it is float32.

    ``relative`` gives the difference that rounding may make, of float32 or not.
    """
    given = function()
    first, causes = read(given)  # a copy: the next call may write into the same arrays
    single = is_single(given, first)
    (second, _), (third, _) = read(function()), read(function())
    if not np.isfinite([first, second, third]).all():
        return first, causes, single
    growth, size = second - first, np.abs(second).max()
    if np.abs(growth).max() <= relative(single) * size:  # sums in another order round in another way
        return first, causes, single
    if np.allclose(third - second, growth, rtol=1e-9, atol=1e-12 * size):
        hint = "one call leaves numbers behind that the next one finds"
        return growth, [*causes, Cause("gradients accumulate", "every call", hint, ACCUMULATES)], single
    text = f"two calls differ by {np.abs(growth).max():.1e}, where the largest entry is {size:.1e}"
    return first, [*causes, Cause(CHANGES, "every call", "two calls use different numbers", text)], single


ACCUMULATES = "each call adds the same to its result"


def both_layouts(blocks: Sequence[Block]) -> bool:
    """Return whether the shapes leave open if weights are (O, I) or (I, O): all of them square."""
    weights = [block for block in blocks if block.is_weight]
    return bool(weights) and all(len(set(block.shape)) == 1 for block in weights)
