"""9. The operations of a user's own function, layer, activation or loss that explain a wrong gradient."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..._types import Array
from ..backward_pass import BackwardPass
from ..catalogue_search import explain
from ..causes import Cause
from ..explanation import Explanation
from ..localisation import layer_name
from ..problem import Problem
from .recordings import record, record_layers
from .search import Explained, operations_that_explain
from .trials import Compared

__all__ = ["explain_operations"]

Search = Callable[..., list[Explained]]

DIFFERENT = 1e-6  # relative: where a gradient is farther from the measured one, it is wrong
HINT = "one operation of the code, in the backward pass"


def explain_operations(problem: Problem, formulas: bool) -> list[Explanation]:
    """Return the mistakes in the backward pass through recorded operations that explain the claim, as one; or none.

    ``formulas`` tells whether to search for a formula, too, where no mistake explains it.
    """
    explain_one = functools.partial(operations_that_explain, relative=problem.match.relative, formulas=formulas)
    try:
        causes = (_of_network if problem.network is not None else _of_function)(problem, explain_one)
    except Exception:  # code that needs plain arrays, or anything else that it raises
        return []
    return [explain([*problem.odd, *causes], 0.0)] if causes else []


def _of_function(problem: Problem, explain_one: Search) -> list[Cause]:
    match, parameters = problem.match, problem.parameters
    if problem.function is None or parameters is None or not match.decided.all():
        return []
    arrays = [match.theta[block.slice].reshape(block.shape) for block in match.blocks]
    names = [block.name for block in match.blocks]
    recording = record(problem.function, arrays, names, lambda parts: (parameters.rebuilt(parts),))
    wrong = [block.name for block in problem.check.blocks if block.wrong] if problem.check is not None else []
    compared = [
        Compared(
            b.name, match.claimed[b.slice].reshape(b.shape), problem.truth[b.slice].reshape(b.shape), b.name in wrong
        )
        for b in match.blocks
    ]
    found = explain_one(recording, np.ones(recording.output.value.shape), compared)
    evidence = "a backward pass through the function with this mistake gives the claimed gradient"
    return [Cause(one.text, " and ".join(one.names), HINT, evidence, at=tuple(one.names)) for one in found]


# ---- the own parts of a network ------------------------------------------------------------------------------------


def _of_network(problem: Problem, explain_one: Search) -> list[Cause]:
    """Return the causes in every wrong part that is the user's own; none if one of them has none."""
    of = problem.backward_pass
    if of is None or not problem.is_own:
        return []
    causes: list[Cause] = []
    rng = np.random.default_rng(0)
    for prefix in [*of.measured, *of.mended]:
        dH = rng.normal(size=of.outputs[prefix].shape)
        found = _of_layer(of, prefix, dH, explain_one)
        if found is None:
            return []
        causes += found
    loss = _of_loss(of, explain_one) if problem.is_measured else []
    return [] if loss is None else [*loss, *causes]


def _of_layer(of: BackwardPass, prefix: str, dH: Array, explain_one: Search) -> list[Cause] | None:
    """Return the causes in a layer: none if it is right, None if nothing explains what is wrong."""
    leaf, X = of.leaves[prefix], of.inputs[prefix]
    attributes = list(leaf.parameters.values())
    claimed = _gradients(leaf, attributes, type(leaf).backward(leaf, dH, of.leaf_caches[prefix]))
    right = _gradients(leaf, attributes, leaf.backward(dH, of.leaf_caches[prefix]))
    recording = record_layers([leaf], X, of.training)
    if not np.allclose(recording.output.value, of.outputs[prefix], rtol=1e-9, atol=0):
        return None
    names = ["dX", *(f"d{name}" for name in attributes)]
    places = dict(zip(names, [prefix.rstrip("."), *(prefix + name for name in leaf.parameters)], strict=True))
    if prefix == next(iter(of.leaves)):  # whose dX nobody needs
        claimed[0] = right[0] = recording.gradient(dH)[0]
    compared = _compared(names, claimed, right)
    if not any(one.is_wrong for one in compared):
        return []
    found = explain_one(recording, dH, compared)
    evidence = "a backward pass through the layer with this mistake gives what it returns"
    where = layer_name(of, prefix)
    return [
        Cause(one.text, f"{' and '.join(one.names)} of {where}", HINT, evidence, at=tuple(places[n] for n in one.names))
        for one in found
    ] or None


def _of_loss(of: BackwardPass, explain_one: Search) -> list[Cause] | None:
    """Return the causes in a loss of the user's own: none if it is right, None if nothing explains what is wrong."""
    if not isinstance(of.loss, tuple) or of.sample_weight is not None:
        return []
    H = of.values[-1]
    claimed = np.asarray(of.loss[1](H.copy(), of.y))
    compared = _compared(["dH"], [claimed], [of.loss_gradient])
    if not compared[0].is_wrong:
        return []
    value: Callable[..., Any] = of.loss[0]
    recording = record(value, [H], [""], lambda arrays: (arrays[0], of.y))
    found = explain_one(recording, np.ones(recording.output.value.shape), compared)
    evidence = "a backward pass through the loss with this mistake gives what it returns"
    return [Cause(one.text, "the loss", HINT, evidence, at=("loss",)) for one in found] or None


def _gradients(leaf: Any, attributes: Sequence[str], dX: Any) -> list[Array]:
    return [np.array(dX), *(getattr(leaf, "d" + name).copy() for name in attributes)]


def _compared(names: Sequence[str], claimed: Sequence[Array], right: Sequence[Array]) -> list[Compared]:
    return [
        Compared(n, c, r, not np.abs(c - r).max(initial=0.0) <= DIFFERENT * np.abs(r).max(initial=0.0))
        for n, c, r in zip(names, claimed, right, strict=True)
    ]
