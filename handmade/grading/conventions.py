"""How a submission is called: the functions and classes of the usual courses, recognised by the names they use.

A `Plan` is one way to call a submission. It has up to four parts (both, loss, output, gradients), each a program for
the student's process. Which plan and which layout fit is found by calling: `handmade.grading.judge` keeps those that
give the network's own numbers. `handmade.grading.objects` has the plans of classes, this module those of functions.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from .._types import Array
from .objects import (
    Made,
    constructed,
    constructors,
    gradient_paths,
    object_parameters,
    open_layouts,
    path_text,
    plans_of_class,
)
from .plan import BACKWARD, BOTH, FORWARD, INPUTS, LOSS, PREDICT, Parameters, Part, Plan, Ref, bound

__all__ = [
    "BACKWARD", "BOTH", "FORWARD", "LOSS", "PREDICT", "Made", "Part", "Plan", "constructors", "gradient_paths",
    "object_parameters", "open_layouts", "path_text", "plans",
]  # fmt: skip


def _call(name: str, arguments: Sequence[Ref]) -> list[Any]:
    return ["call", ["name", name], list(arguments), {}, name]


def _contract(functions: Mapping[str, Parameters], names: dict[str, str]) -> Plan:
    """Return the plan of the form that an exercise states: parameters in a list."""
    X, y, parameters = (INPUTS[role] for role in ("X", "y", "parameters"))

    def part(name: str, arguments: list[Ref]) -> Part:
        by_name = bound(functions[name], {"X": X, "y": y, "parameters": parameters})
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
    """Return the program that calls the first function whose parameters have names that tell what they are."""
    for name in names:
        arguments = bound(functions[name], available, of_forward)
        if arguments is None:
            continue
        needs_forward = any(ref[0] == "step" for ref in arguments)
        steps = before if needs_forward else []
        return Part(name, [*steps, _call(name, arguments)], [["step", len(steps)]])
    return None


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
        for made in constructed(name, kind, blocks, run):
            yield from plans_of_class(made, blocks)
