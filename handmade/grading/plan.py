"""One way to call a submission, and the arguments of its functions, guessed from the names of their parameters."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .._types import Array
from .layouts import Layout

__all__ = ["Part", "Plan", "bound"]

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
INPUTS: dict[str, Ref] = {role: ["input", role] for role in ("X", "y", "parameters", "weights", "biases")}


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
    """Yield the references to inputs in the calls of a program."""
    for step in part.steps:
        refs = [*step[2], *step[3].values()] if step[0] == "call" else []
        yield from (ref for ref in refs if ref[0] == "input")


def _role(name: str) -> str | None:
    if ONE_ARRAY.match(name):
        return "array"
    return next((role for role, pattern in ROLES.items() if pattern.match(name)), None)


def bound(parameters: Parameters, available: Mapping[str, Ref], of_forward: bool = False) -> list[Ref] | None:
    """Return the arguments of a function by the names of its parameters; None if the names do not tell.

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
    """Return the roles; if a single one is unknown or not available, it is guessed."""
    guess = "X" if of_forward else "y"
    unknown = [i for i, role in enumerate(roles) if role != "array" and role not in available]
    if len(unknown) == 1 and guess not in roles and (of_forward or "X" in roles):
        roles[unknown[0]] = guess
    return roles
