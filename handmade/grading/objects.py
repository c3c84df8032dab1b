"""Classes of submissions: how an object is made, where its parameters are, and how its methods are called."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .._types import Array
from .layouts import GRADIENT_PREFIX, NAME, Layout
from .plan import BACKWARD, BOTH, FORWARD, INPUTS, LOSS, PREDICT, Parameters, Part, Plan, Ref, bound

__all__ = [
    "Made",
    "constructors",
    "gradient_paths",
    "constructed",
    "object_parameters",
    "open_layouts",
    "path_text",
    "plans_of_class",
]


def constructors(parameters: Parameters, widths: Sequence[int]) -> Iterator[tuple[list[Any], dict[str, Any]]]:
    """Yield the arguments with which a network may be made, those that its parameters' names suggest first."""
    sizes = list(widths)
    named: dict[str, Any] = {}
    for name, is_needed in parameters or []:
        low = name.lower()
        if re.search(r"hidden", low):
            is_list = re.search(r"(dims|sizes|layers|widths|list|s$)", low) and not re.search(
                r"hidden_(size|dim)$", low
            )
            hidden: Any = sizes[1:-1]
            number = re.search(r"(\d+)", low)
            if not is_list and hidden:
                index = int(number[1]) - 1 if number else 0
                hidden = hidden[min(max(index, 0), len(hidden) - 1)]
            named[name] = hidden
        elif re.search(r"(sizes|layers|dims|widths|list|shape|architecture|topology|neurons|units)", low):
            named[name] = sizes
        elif re.search(r"(^|_)(n_?)?(out|outputs?|classes)(_|$)|^n_y$|^d_out$|^(k|o|c)$", low):
            named[name] = sizes[-1]  # before the inputs: out_features
        elif re.search(r"(^|_)(n_?)?(in|inputs?|features?)(_|$)|^n_x$|^d(_in)?$|^i$", low):
            named[name] = sizes[0]
        elif is_needed:
            named = {}
            break
    if named:
        yield [], named
    yield [sizes], {}
    yield sizes, {}
    yield [], {}


def object_parameters(found: Sequence[tuple[list[Any], list[int]]], blocks: Mapping[str, Array]) -> list[Ref] | None:
    """Return the path of each parameter in an object, by names and shapes; None if they do not fit."""
    weights: list[tuple[list[int], list[Any], list[int]]] = []
    biases: list[tuple[list[int], list[Any], list[int]]] = []
    for path, shape in found:
        names = [key for key in path if isinstance(key, str)]
        matches = [match for key in names if (match := NAME.match(key))]
        if not matches:
            continue
        order = [key for key in path if isinstance(key, int)] + [int(m["number"]) for m in matches if m["number"]]
        is_bias = matches[-1]["kind"][0].lower() == "b"
        if any(re.match(r"(d|grads?|gradients?|nabla)", key.lower()) and not NAME.match(key) for key in names):
            continue
        (biases if is_bias else weights).append((order, path, shape))
    paths = []
    for kind, own in (weights, 2), (biases, 1):
        expected = [block for block in blocks.values() if block.ndim == own]
        kind = sorted(
            (row for row in kind if int(np.prod(row[2])) in {block.size for block in expected}), key=lambda row: row[0]
        )
        if len(kind) != len(expected) or any(int(np.prod(r[2])) != b.size for r, b in zip(kind, expected, strict=True)):
            return None
        paths.append([row[1] for row in kind])
    given: list[Iterator[list[Any]]] = [iter(paths[0]), iter(paths[1])]
    return [next(given[block.ndim != 2]) for block in blocks.values()]


def open_layouts(shapes: Sequence[Sequence[int]], blocks: Mapping[str, Array]) -> list[tuple[bool, str]] | None:
    """Return the (turned, bias) that the shapes of an object's arrays allow, in the order of the blocks."""
    fitting = []
    for turned, bias in itertools.product((False, True), ("vector", "column", "row")):
        layout = Layout(turned, bias)
        if all(layout.parameter(b).shape == tuple(s) for b, s in zip(blocks.values(), shapes, strict=True)):
            fitting.append((turned, bias))
    return fitting[:2] or None


def path_text(path: Sequence[Any]) -> str:
    """Return a path as the student writes it, such as ``params['W1']`` or ``weights[0]``."""
    text = str(path[0])
    for before, key in itertools.pairwise(path):
        is_attribute = isinstance(key, str) and isinstance(before, int)
        text += f".{key}" if is_attribute else f"[{key!r}]"
    return text


@dataclasses.dataclass(frozen=True)
class Made:
    """A class of a submission that can be made, and where its parameters are."""

    name: str
    methods: Mapping[str, Parameters]
    arguments: list[Any]
    options: dict[str, Any]
    paths: list[list[Any]] = dataclasses.field(default_factory=list)
    of_object: list[tuple[bool, str]] = dataclasses.field(default_factory=list)

    def inputs(self) -> dict[str, Any]:
        """Return the inputs of the program that makes an object."""
        given = {f"argument {i}": value for i, value in enumerate(self.arguments)}
        return given | {f"option {name}": value for name, value in self.options.items()}

    def call(self) -> list[Any]:
        """Return the step that makes an object."""
        arguments = [["input", f"argument {i}"] for i in range(len(self.arguments))]
        return ["call", ["name", self.name], arguments, {n: ["input", f"option {n}"] for n in self.options}, self.name]

    def begin(self) -> list[list[Any]]:
        """Return the steps that make an object and set its parameters."""
        set_each = [
            ["set", ["step", 0], path, ["input", "parameters", i], self.name] for i, path in enumerate(self.paths)
        ]
        return [self.call(), *set_each]

    def methods_by_kind(self) -> dict[str, list[str]]:
        """Return the names of the methods that compute each quantity."""
        kinds = {"both": BOTH, "gradients": BACKWARD, "output": FORWARD, "loss": LOSS}
        found = {kind: [name for name in self.methods if pattern.match(name)] for kind, pattern in kinds.items()}
        found["output"] += [name for name in self.methods if PREDICT.match(name)]
        return found

    def part(
        self, names: Sequence[str], after: Sequence[list[Any]], available: Mapping[str, Ref], of_forward: bool = False
    ) -> Part | None:
        """Return the program that calls the first method whose parameters have names that tell what they are."""
        for name in names:
            arguments = bound(self.methods[name], available, of_forward)
            if arguments is not None:
                steps = [*self.begin(), *after, ["call", ["step", 0, name], arguments, {}, name]]
                return Part(name, steps, [["step", len(steps) - 1]])
        return None


def plans_of_class(made: Made, blocks: Mapping[str, Array]) -> Iterator[Plan]:
    """Yield the ways to use an object: its parameters are set, then its methods called."""
    names = {block: path_text(path) for block, path in zip(blocks, made.paths, strict=True)}
    own = {role: INPUTS[role] for role in ("X", "y")}
    found = made.methods_by_kind()
    k = len(made.begin())  # the step of the forward pass
    forward = made.part(found["output"], [], own, of_forward=True)
    after = forward.steps[k:] if forward is not None else []
    results: list[dict[str, Ref]] = []  # of the forward pass: an output that is the cache, too, or the pair of both
    if forward is not None:
        results = [{"output": ["step", k], "cache": ["step", k]}, {"output": ["step", k, 0], "cache": ["step", k, 1]}]
    calls = [("both", name) for name in [*found["both"], *found["loss"]]]
    calls += [("gradients", name) for name in found["gradients"]]
    for (kind, name), result in itertools.product(calls, [{}, *results]):
        steps, available = (after, own | result) if result else ([], own)
        main = made.part([name], steps, available)
        if main is None:
            continue
        parts = {kind: main}
        if forward is not None:
            parts["output"] = dataclasses.replace(forward, results=[result.get("output", ["step", k])])
        if kind == "gradients":
            loss = made.part(found["loss"], steps, available)
            parts |= {"loss": loss} if loss is not None else {}
        yield _WithObject(parts, "object", names, of_object=made.of_object, made=made)


@dataclasses.dataclass(frozen=True)
class _WithObject(Plan):
    """A plan whose inputs are also the arguments of a class."""

    made: Made | None = None

    def inputs(self, arrays: Sequence[Array], X: Array, y: Any, layout: Layout) -> dict[str, Any]:
        assert self.made is not None
        given: dict[str, Any] = {"parameters": layout.parameters(arrays), "X": X, "y": y}
        return given | self.made.inputs()


def constructed(
    name: str, kind: Mapping[str, Any], blocks: Mapping[str, Array], run: Callable[[dict[str, Any]], Any]
) -> Iterator[Made]:
    """Yield a class with the first arguments that give an object with arrays for all parameters."""
    if not any(pattern.match(method) for method in kind["methods"] for pattern in (BOTH, BACKWARD, LOSS)):
        return
    matrices = [block for block in blocks.values() if block.ndim == 2]
    widths = [matrices[0].shape[1], *(block.shape[0] for block in matrices)] if matrices else []
    for arguments, options in constructors(kind["init"], widths):
        made = Made(name, kind["methods"], arguments, options)
        steps = [made.call(), ["shapes", ["step", 0], name]]
        answer = run({"inputs": made.inputs(), "steps": steps, "results": [["step", 1]]})
        if answer["error"] or not answer["values"]:
            continue
        found = [(path, shape) for path, shape in answer["values"][0]]
        paths = object_parameters(found, blocks)
        if paths is None:
            continue
        by_path = {str(path): shape for path, shape in found}
        layouts = open_layouts([by_path[str(path)] for path in paths], blocks)
        if layouts is not None:
            yield dataclasses.replace(made, paths=paths, of_object=layouts)
            return


def gradient_paths(found: Sequence[tuple[list[Any], list[int]]], blocks: Mapping[str, Array]) -> list[list[Any]] | None:
    """Return the paths of an object's gradients, such as ``grads['W1']``; None if there are none."""
    renamed = []
    for path, shape in found:
        marked = [key for key in path if isinstance(key, str) and _is_gradient(key)]
        if marked:
            stripped = [GRADIENT_PREFIX.sub("", key) if isinstance(key, str) else key for key in path]
            renamed.append((stripped, shape, path))
    paths = object_parameters([(path, shape) for path, shape, _ in renamed], blocks)
    if paths is None:
        return None
    own = {str(stripped): path for stripped, _, path in renamed}
    return [own[str(path)] for path in paths]


def _is_gradient(key: str) -> bool:
    is_container = re.match(r"^(grads?|gradients?|nablas?)$", key.lower()) is not None
    return is_container or (
        GRADIENT_PREFIX.match(key) is not None and NAME.match(GRADIENT_PREFIX.sub("", key)) is not None
    )
