"""How a submission is called: the functions and classes of the usual courses, recognised by the names they use.

A `Plan` is one way to call a submission. It has up to four parts (both, loss, output, gradients), each a program for
the student's process. Which plan and which layout fit is found by calling: `handmade.grading.judge` keeps those that
give the network's own numbers.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .._types import Array
from .layouts import GRADIENT_PREFIX, NAME, Layout

__all__ = ["Part", "Plan", "plans"]

Ref = list[Any]
Parameters = list[list[Any]] | None  # name, and whether it is needed

_PREFIX = r"(l_?|n_?)?(layers?_)?(model_|nn_|network_|net_|mlp_|full_|compute_|calculate_|calc_|get_|my_)*"
FORWARD = re.compile(rf"^{_PREFIX}(forward|feed_?forward)(_?(prop\w*|pass))?$", re.IGNORECASE)
PREDICT = re.compile(rf"^{_PREFIX}(predict|scores?|logits|__call__)$", re.IGNORECASE)
BACKWARD = re.compile(rf"^{_PREFIX}(back(ward)?s?_?(prop\w*|pass)?|grad(ient)?s?)$", re.IGNORECASE)
LOSS = re.compile(rf"^{_PREFIX}(loss|cost|cross_?entropy|mse)(_?(function|fn|loss|cost))?$", re.IGNORECASE)
BOTH = re.compile(rf"^{_PREFIX}(loss|cost|value)(_?and|_?n)?_?(back)?_?(grad(ient)?s?)$", re.IGNORECASE)


ROLES: dict[str, re.Pattern[str]] = {
    name: re.compile(rf"^({pattern})$")
    for name, pattern in {
        "X": r"[xX]s?|inputs?|data|features|images?|[aA]0|[xX]_?(batch|train|data|in)|batch_?[xX]",
        "y": r"[yYtT]s?|targets?|labels?|[yY]_?(batch|train|true|data|onehot|one_hot|oh)|batch_?[yY]|expected",
        "parameters": r"parameters?|params?|theta|p|model|net(work)?|weights_and_biases",
        "weights": r"[wW]s?|weights?|thetas",
        "biases": r"[bB]s?|bias(es)?",
        "output": r"AL|[aA][1-9LN]?|outputs?|out|prob(abilitie)?s?|[yY]_?(hat|pred)|scores?|logits|predictions?|[hH]",
        "cache": r"caches?|memory|saved|activations|intermediates?|values|ctx|tape",
    }.items()
}
ONE_ARRAY = re.compile(r"^([wWbB])_?(\d+)$")


@dataclasses.dataclass(frozen=True)
class Part:
    """A program that gives one quantity.

    Attributes
    ----------
    label : str
        The student's name for it.
    steps : list
        See `handmade.grading.child.runner`.
    results : list of list
        The reference to the quantity, or one to the gradient of each parameter.
    """

    label: str
    steps: list[list[Any]]
    results: list[Ref]


@dataclasses.dataclass(frozen=True)
class Plan:
    """One way to call a submission.

    Attributes
    ----------
    parts : dict of str to Part
        "both" for a pair (loss, gradients); "loss", "output", "gradients".
    form : str
        How parameters are given: "list", "dict from 1", "dict from 0", "lists" or "arrays"; "object" for a class.
    names : dict of str to str
        The student's name of each parameter.
    is_contract : bool
        Whether it is the form that the exercise states.
    of_object : list of (bool, str), optional
        The layouts that the arrays of an object leave open.
    missing : tuple of str
        Functions of the contract that are not there.
    """

    parts: dict[str, Part]
    form: str
    names: dict[str, str]
    is_contract: bool = False
    of_object: list[tuple[bool, str]] | None = None
    missing: tuple[str, ...] = ()

    @property
    def takes_target(self) -> bool:
        """True if any part is given y."""
        return any(ref[1] == "y" for part in self.parts.values() for ref in _references(part))

    def inputs(self, arrays: Sequence[Array], X: Array, y: Any, layout: Layout) -> dict[str, Any]:
        """Return the inputs of the programs."""
        shaped = layout.parameters(arrays)
        weights = [array for array, own in zip(shaped, arrays, strict=True) if own.ndim == 2]
        biases = [array for array, own in zip(shaped, arrays, strict=True) if own.ndim != 2]
        first = 0 if self.form.endswith("0") else 1
        numbered = {f"W{i}": W for i, W in enumerate(weights, first)} | {
            f"b{i}": b for i, b in enumerate(biases, first)
        }
        parameters: Any = numbered if self.form.startswith("dict") else shaped
        given = {"parameters": parameters, "weights": weights, "biases": biases, "X": X, "y": y}
        used = {ref[1] for part in self.parts.values() for ref in _references(part)}
        return {name: value for name, value in (given | numbered).items() if name in used}


def _references(part: Part) -> Iterator[Ref]:
    """Yield the references to inputs in a program."""
    for step in part.steps:
        refs = [*step[2], *step[3].values()] if step[0] == "call" else [step[3]] if step[0] == "set" else []
        yield from (ref for ref in refs if ref[0] == "input")


def _role(name: str) -> str | None:
    if ONE_ARRAY.match(name):
        return "array"
    return next((role for role, pattern in ROLES.items() if pattern.match(name)), None)


def _bound(parameters: Parameters, available: Mapping[str, Ref], of_forward: bool = False) -> list[Ref] | None:
    """Return the arguments of a function by the names of its parameters; None where they do not say.

    The one name that says nothing is X in a forward pass, and y in a backward pass that is given X.
    """
    if parameters is None:
        return None
    needed = [name for name, is_needed in parameters if is_needed]
    roles = [_role(name) for name in needed]
    if {"weights", "biases"} - set(roles) == {"biases"}:  # of one list alone
        roles = ["parameters" if role == "weights" else role for role in roles]
    roles = _completed(roles, available, of_forward)
    arguments: list[Ref] = []
    for name, role in zip(needed, roles, strict=True):
        if role == "array":
            matched = ONE_ARRAY.match(name)
            assert matched is not None
            letter = "W" if matched[1] in "wW" else "b"
            arguments.append(["input", f"{letter}{matched[2]}"])
        elif role is not None and role in available:
            arguments.append(available[role])
        else:
            return None
    optional = [(name, _role(name)) for name, is_needed in parameters if not is_needed]
    if optional and optional[0][1] == "y" and "y" in available and len(needed) + 1 <= len(parameters):
        arguments.append(available["y"])  # loss(X, y=None) returns scores without it
    repeated = [role for role in roles if role != "array"]
    return arguments if len(set(repeated)) == len(repeated) else None


def _completed(roles: list[str | None], available: Mapping[str, Ref], of_forward: bool) -> list[str | None]:
    """Return the roles with one that is not known, or not available, guessed."""
    guess = "X" if of_forward else "y"
    unknown = [i for i, role in enumerate(roles) if role != "array" and role not in available]
    if len(unknown) == 1 and guess not in roles and (of_forward or "X" in roles):
        roles[unknown[0]] = guess
    return roles


# ---- functions -----------------------------------------------------------------------------------------------------

INPUTS: dict[str, Ref] = {role: ["input", role] for role in ("X", "y", "parameters", "weights", "biases")}


def _call(name: str, arguments: Sequence[Ref]) -> list[Any]:
    return ["call", ["name", name], list(arguments), {}, name]


def _contract(functions: Mapping[str, Parameters], names: dict[str, str]) -> Plan:
    """Return the form that an exercise states: parameters in a list."""
    X, y, parameters = (INPUTS[role] for role in ("X", "y", "parameters"))

    def part(name: str, arguments: list[Ref]) -> Part:
        by_name = _bound(functions[name], {"X": X, "y": y, "parameters": parameters})
        complete = by_name is not None and len(by_name) == len(arguments)
        return Part(name, [_call(name, by_name if by_name is not None and complete else arguments)], [["step", 0]])

    if "loss_and_gradient" in functions:
        return Plan({"both": part("loss_and_gradient", [parameters, X, y])}, "list", names, True)
    parts = {}
    if "forward" in functions:
        parts["output"] = part("forward", [parameters, X])
    if "backward" in functions:
        parts["gradients"] = part("backward", [parameters, X, y])
    missing = tuple(name for name in ("forward", "backward") if name not in functions)
    return Plan(parts, "list", names, True, missing=missing)


def _of_functions(functions: Mapping[str, Parameters], names: Callable[[str], dict[str, str]]) -> Iterator[Plan]:
    """Yield the ways to call functions by the names of their parameters."""
    found = {
        kind: [name for name in functions if pattern.match(name)]
        for kind, pattern in {"both": BOTH, "gradients": BACKWARD, "output": FORWARD, "loss": LOSS}.items()
    }
    found["output"] = found["output"] or [name for name in functions if PREDICT.match(name)]
    forms = ["list", "dict from 1", "dict from 0"]
    if any(name == "weights" for f in functions.values() for name, _ in f or []):
        forms = ["list", "dict from 1"]
    for form, is_pair, main in itertools.product(forms, (True, False), [*found["both"], *found["gradients"]]):
        parts: dict[str, Part] = {}
        forward = _function_part(functions, found["output"], [], dict(INPUTS), of_forward=True)
        before, available = [], dict(INPUTS)
        if forward is not None:
            before = forward.steps
            available["output"] = ["step", 0, 0] if is_pair else ["step", 0]
            available["cache"] = ["step", 0, 1] if is_pair else ["step", 0]
            parts["output"] = dataclasses.replace(forward, results=[available["output"]])
        gradients = _function_part(functions, [main], before, available)
        if gradients is None:
            continue
        parts["both" if main in found["both"] else "gradients"] = gradients
        loss = _function_part(functions, found["loss"], before, available)
        if loss is not None and main not in found["both"]:
            parts["loss"] = loss
        yield Plan(parts, form, names(form))


def _function_part(
    functions: Mapping[str, Parameters],
    names: Sequence[str],
    before: list[list[Any]],
    available: Mapping[str, Ref],
    of_forward: bool = False,
) -> Part | None:
    """Return the program that calls the first function whose parameters have names that say what they are."""
    for name in names:
        arguments = _bound(functions[name], available, of_forward)
        if arguments is None:
            continue
        needs_forward = any(ref[0] == "step" for ref in arguments)
        steps = before if needs_forward else []
        return Part(name, [*steps, _call(name, arguments)], [["step", len(steps)]])
    return None


# ---- classes -------------------------------------------------------------------------------------------------------


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


def _of_class(made: Made, blocks: Mapping[str, Array]) -> Iterator[Plan]:
    """Yield the ways to use an object: its parameters are set, then its methods called."""
    begin: list[list[Any]] = [made.call()]
    for i, path in enumerate(made.paths):
        begin.append(["set", ["step", 0], path, ["input", "parameters", i], made.name])
    names = {block: path_text(path) for block, path in zip(blocks, made.paths, strict=True)}
    own = {role: INPUTS[role] for role in ("X", "y")}
    kinds = {"both": BOTH, "gradients": BACKWARD, "output": FORWARD, "loss": LOSS}
    found = {kind: [name for name in made.methods if pattern.match(name)] for kind, pattern in kinds.items()}
    found["output"] += [name for name in made.methods if PREDICT.match(name)]

    def part(names: Sequence[str], after: Sequence[list[Any]], available: Mapping[str, Ref]) -> Part | None:
        for name in names:
            arguments = _bound(made.methods[name], available, names is found["output"])
            if arguments is not None:
                steps = [*begin, *after, ["call", ["step", 0, name], arguments, {}, name]]
                return Part(name, steps, [["step", len(steps) - 1]])
        return None

    forward = part(found["output"], [], own)
    after = forward.steps[len(begin) :] if forward is not None else []
    k = len(begin)
    before_loss = [own] if forward is None else [own, own | {"output": ["step", k], "cache": ["step", k]},
                                                 own | {"output": ["step", k, 0], "cache": ["step", k, 1]}]  # fmt: skip
    options = [("both", name) for name in [*found["both"], *found["loss"]]]
    options += [("gradients", name) for name in found["gradients"]]
    for (kind, name), available in itertools.product(options, before_loss):
        steps = after if available is not own else []
        main = part([name], steps, available)
        if main is None:
            continue
        parts = {kind: main}
        if forward is not None:
            parts["output"] = dataclasses.replace(forward, results=[available.get("output", ["step", k])])
        if kind == "gradients":
            loss = part(found["loss"], steps, available)
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


# ---- all -----------------------------------------------------------------------------------------------------------


def plans(
    described: Mapping[str, Any], blocks: Mapping[str, Array], run: Callable[[dict[str, Any]], Any]
) -> Iterator[Plan]:
    """Yield the ways in which a submission may be called; the form that exercises state first.

    Parameters
    ----------
    described : dict
        The description of the submission by the student's process.
    blocks : dict of str to ndarray
        The parameters of the network.
    run : callable
        Runs a program in that process.
    """
    functions: dict[str, Parameters] = described["functions"]
    unpacked = [names for names in described["unpacked"] if len(names) == len(blocks)]
    listed = unpacked[0] if unpacked else [f"parameters[{i}]" for i in range(len(blocks))]

    def names(form: str) -> dict[str, str]:
        if form == "list":
            return dict(zip(blocks, listed, strict=True))
        first, layer, renamed = (0 if form.endswith("0") else 1) - 1, 0, {}
        for name, block in blocks.items():
            layer += block.ndim == 2
            renamed[name] = f"{'W' if block.ndim == 2 else 'b'}{first + layer}"
        return renamed

    if "loss_and_gradient" in functions or {"forward", "backward"} & set(functions):
        contract = _contract(functions, names("list"))
        yield contract
        if not contract.missing:
            return
    yield from _of_functions(functions, names)
    for name, kind in described["classes"].items():
        for made in _made(name, kind, blocks, run):
            yield from _of_class(made, blocks)


def _made(
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
