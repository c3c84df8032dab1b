"""Parameters, data and gradients in the shapes in which students keep them.

The grader's own: a weight is (O, I), a bias (O,), X is (N, I). Students' weights may be (I, O), their biases columns or
rows, their samples columns or one at a time, their labels one-hot.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .._types import Array
from ..checking import claims
from ..checking.causes import Block
from ..checking.claims import read_gradient
from .child.wire import Opaque

__all__ = ["Layout", "Reading", "layouts", "read"]

BIASES = {"vector": (-1,), "column": (-1, 1), "row": (1, -1)}
GRADIENT_PREFIX = re.compile(r"^(delta_?|gradients?_?|grads?_?|nabla_?|g_|d_?)(?=\w)", re.IGNORECASE)
NAME = re.compile(r"^(?P<kind>w|weights?|kernel|theta|b|bias(es)?)_?(?P<number>\d*)$", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Layout:
    """The shapes in which a student's code expects and returns arrays.

    Attributes
    ----------
    turned : bool
        Whether a weight is (I, O).
    bias : {"vector", "column", "row"}
        A bias is (O,), (O, 1) or (1, O).
    samples : {"rows", "columns", "single columns", "single vectors"}
        X is (N, I) or (I, N); or each sample is given by itself, as (I, 1) or (I,).
    target : int
        Which of the shapes that a target may have.
    """

    turned: bool = False
    bias: str = "vector"
    samples: str = "rows"
    target: int = 0

    @property
    def is_single(self) -> bool:
        """True if samples are given one at a time."""
        return self.samples.startswith("single")

    def parameters(self, arrays: Sequence[Array]) -> list[Array]:
        """Return parameters as the student expects them."""
        return [self.parameter(array) for array in arrays]

    def parameter(self, array: Array) -> Array:
        """Return one parameter as the student expects it."""
        if array.ndim == 2:
            return np.ascontiguousarray(array.T) if self.turned else array.copy()
        return array.reshape(BIASES[self.bias]).copy()

    def batches(self, X: Array, y: Array, outputs: int) -> list[tuple[Array, Any]]:
        """Return X and y as the student expects them: once, or sample by sample."""
        if not self.is_single:
            target = _targets(y, outputs, self.samples == "columns")[self.target]
            return [(np.ascontiguousarray(X.T) if self.samples == "columns" else X.copy(), target)]
        shape = (-1, 1) if self.samples == "single columns" else (-1,)
        pairs = []
        for x, t in zip(X, y, strict=True):
            target = _targets(t[np.newaxis], outputs, False)[self.target]
            is_label = target.ndim == 1 and self.target != 0
            pairs.append((x.reshape(shape).copy(), target[0] if is_label else target.reshape(shape).copy()))
        return pairs

    def output(self, value: Any) -> Any:
        """Return an output with samples as rows."""
        if self.samples == "columns" and isinstance(value, np.ndarray) and value.ndim == 2:
            return value.T
        if self.is_single and isinstance(value, np.ndarray):
            return value.reshape(1, -1)
        return value


def _targets(y: Array, outputs: int, is_columns: bool) -> list[Array]:
    """Return the shapes in which a target may be expected, the most usual first."""
    if y.ndim == 1 and y.dtype.kind in "iu":
        labels = y.copy()
        wide = np.eye(outputs)[np.clip(y, 0, outputs - 1)]
        wide[(y < 0) | (y >= outputs)] = 0
        return [wide.T.copy(), labels, labels[np.newaxis]] if is_columns else [labels, wide, labels[:, np.newaxis]]
    if y.ndim == 1:
        return [y[np.newaxis].copy(), y.copy()] if is_columns else [y.copy(), y[:, np.newaxis].copy()]
    wide = y.T.copy() if is_columns else y.copy()
    return [wide, y.ravel().copy()] if y.shape[1] == 1 else [wide]


def layouts(y: Array, of_object: Sequence[tuple[bool, str]] | None = None) -> Iterator[Layout]:
    """Yield the layouts in which code may be called, the most usual first.

    Parameters
    ----------
    y : ndarray
        The target.
    of_object : sequence of (turned, bias), optional
        Those that the arrays of an object leave open.
    """
    usual = [
        (False, "vector", "rows"), (True, "vector", "rows"), (True, "row", "rows"), (False, "column", "columns"),
        (False, "column", "single columns"), (True, "column", "columns"), (False, "row", "rows"),
        (False, "vector", "single vectors"), (True, "vector", "single vectors"), (True, "row", "single vectors"),
    ]  # fmt: skip
    if of_object is not None:
        ways = "rows", "columns", "single columns", "single vectors"
        usual = [(turned, bias, samples) for turned, bias in of_object for samples in ways]
    for turned, bias, samples in usual:
        is_labels = y.ndim == 1 and y.dtype.kind in "iu"
        order = [0, 1, 2] if is_labels else [0, 1] if y.ndim == 1 or y.shape[1] == 1 else [0]
        for target in [1, 0] if is_labels and samples.startswith("single") else order:
            yield Layout(turned, bias, samples, target)


# ---- gradients -----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Reading:
    """A gradient as the grader keeps it.

    Attributes
    ----------
    arrays : dict of str to ndarray
        By parameter, as far as they can be judged.
    flaws : dict of str to str
        Why it cannot.
    problem : str
        What keeps the whole from being judged.
    """

    arrays: dict[str, Array]
    flaws: dict[str, str]
    problem: str = ""

    def completed(self, true: Mapping[str, Array]) -> dict[str, Array]:
        """Return the arrays, with true ones for those that cannot be judged: so the others can."""
        return {name: self.arrays.get(name, array) for name, array in true.items()}


def read(value: Any, blocks: Mapping[str, Array], layout: Layout, samples: int) -> Reading:
    """Return a gradient in any layout, by parameter.

    Parameters
    ----------
    value : object
        The value that the student's code returned.
    blocks : dict of str to ndarray
        The parameters.
    layout : Layout
        The shapes in which the student got them.
    samples : int
        N, to recognize a gradient that was not summed.
    """
    if value is None:
        return Reading({}, {}, "gradients: expected arrays, got None")
    value = _without_extras(value, blocks)
    if isinstance(value, Mapping) and list(value) == list(blocks):
        value = list(value.values())
    if isinstance(value, list | tuple) and len(value) == len(blocks) and not _is_reordered(value, blocks, layout):
        return _read_each(value, blocks, layout, samples)
    expected = [layout.parameter(block) for block in blocks.values()]
    try:
        vector = read_gradient(value, _blocks(blocks, layout), samples)[0]
    except (ValueError, TypeError, RecursionError):
        shapes = ", ".join(str(array.shape) for array in expected)
        problem = f"gradients: expected a list of {len(blocks)} arrays of shapes {shapes}, got {kind_of(value)}"
        return Reading({}, {}, problem)
    parts, start = [], 0
    for array in expected:
        parts.append(vector[start : start + array.size].reshape(array.shape))
        start += array.size
    return _read_each(parts, blocks, layout, samples)


def _blocks(blocks: Mapping[str, Array], layout: Layout) -> list[Block]:
    found, start, layer = [], 0, 0
    for name, array in blocks.items():
        layer += array.ndim != 1
        shape = layout.parameter(array).shape if array.ndim == 2 else array.shape
        found.append(Block(name, start, shape, layer))
        start += array.size
    return found


def _without_extras(value: Any, blocks: Mapping[str, Array]) -> Any:
    """Return a dict with the parameters' gradients only, in the order of the parameters if the names tell it."""
    if not isinstance(value, Mapping):
        return value
    ranked = []
    for key, part in value.items():
        matched = NAME.match(GRADIENT_PREFIX.sub("", key)) if key not in blocks else None
        if matched and matched["number"]:
            ranked.append((int(matched["number"]), matched["kind"][0].lower() == "b", part))
    if len(ranked) == len(blocks) and len({row[:2] for row in ranked}) == len(ranked):
        return [part for _, _, part in sorted(ranked, key=lambda row: row[:2])]
    return value


def _is_reordered(parts: Sequence[Any], blocks: Mapping[str, Array], layout: Layout) -> bool:
    """Return whether the shapes fit the parameters in another order only, such as all weights before all biases."""
    sizes = [np.size(part) if isinstance(part, np.ndarray) else None for part in parts]
    own = [block.size for block in blocks.values()]
    if None in sizes or sizes == own:
        return any(isinstance(part, list | tuple) and any(isinstance(p, np.ndarray) for p in part) for part in parts)
    if sorted(sizes) != sorted(own):  # type: ignore[type-var]
        return False
    try:
        read_gradient(list(parts), _blocks(blocks, layout))
    except (ValueError, TypeError):
        return False
    return True


def _read_each(parts: Sequence[Any], blocks: Mapping[str, Array], layout: Layout, samples: int) -> Reading:
    arrays: dict[str, Array] = {}
    flaws: dict[str, str] = {}
    numeric = [np.asarray(part) if is_numeric(part) else None for part in parts]
    all_turned = _are_all_turned(numeric, blocks, layout)
    for part, array, (name, block) in zip(parts, numeric, blocks.items(), strict=True):
        given = layout.parameter(block)
        if array is not None and all_turned and block.ndim == 2:
            array = array.T
        if (
            array is not None
            and block.ndim == 1
            and array.size == block.size
            and max(array.shape, default=1) == array.size
        ):
            array = array.reshape(given.shape)
        flaw = flaw_of(part if array is None else array, given.shape)
        if flaw and array is not None and block.ndim == 1:
            flaw = _unsummed(array, block.size, samples) or flaw
        if flaw:
            flaws[name] = flaw
        if array is not None and (not flaw or "exchanged" in flaw):
            arrays[name] = _back(array.T if flaw else array, block, layout)
    return Reading(arrays, flaws)


def _back(array: Array, block: Array, layout: Layout) -> Array:
    """Return one gradient in the shape of the grader's own parameter."""
    return array.T if block.ndim == 2 and layout.turned else array.reshape(block.shape)


def _are_all_turned(parts: Sequence[Array | None], blocks: Mapping[str, Array], layout: Layout) -> bool:
    """Return whether every weight's gradient is the transpose of what it should be, and the shapes show it."""
    pairs = [(p, layout.parameter(b)) for p, b in zip(parts, blocks.values(), strict=True) if b.ndim == 2]
    return (
        len(pairs) > 1
        and all(p is not None and p.ndim == 2 and p.T.shape == b.shape for p, b in pairs)
        and any(p is not None and p.shape != b.shape for p, b in pairs)
    )


def _unsummed(array: Array, size: int, samples: int) -> str:
    if array.shape in ((samples, size), (size, samples)):
        return f"expected shape ({size},), got {array.shape}: it has one row for each sample"
    if array.shape in ((samples,), (samples, 1), (1, samples)):
        return f"expected shape ({size},), got {array.shape}: it has one number for each sample"
    return f"expected shape ({size},), got one number for all units" if array.size == 1 else ""


# ---- single values -------------------------------------------------------------------------------------------------


def is_numeric(value: Any) -> bool:
    """Return whether a value is real numbers."""
    try:
        return np.asarray(value).dtype.kind in "iuf"
    except (ValueError, TypeError, RecursionError):
        return False


def kind_of(value: Any) -> str:
    """Return what a value is, in words."""
    if isinstance(value, np.ndarray) and not value.shape:
        return "a number"
    return value.kind if isinstance(value, Opaque) else claims.kind_of(value)


def flaw_of(value: Any, shape: tuple[int, ...]) -> str:
    """Return what keeps a value from being an array of finite numbers of this shape; empty if nothing does."""
    if not is_numeric(value):
        return f"expected numbers, got {kind_of(value)}"
    array = np.asarray(value)
    if array.shape != shape:
        hint = ": rows and columns are exchanged" if array.T.shape == shape else ""
        return f"expected shape {shape}, got {array.shape}{hint}"
    bad = array[~np.isfinite(array)]
    return f"{bad.size} of {array.size} numbers are not finite, the first is {bad[0]}" if bad.size else ""
