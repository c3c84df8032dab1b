"""Gradients that are not computed by hand: by differences, or by an automatic differentiation of the student's.

An accusation needs a fact. The fact for differences is a count: how often one function of the submission returned the
loss, or the output, with slightly different values during one gradient of one row. Backpropagation needs one such
evaluation, differences one or two for each parameter. Everything else is a note for the teacher, and costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..checking.backward_pass import BackwardPass
from ..normalization import BatchNorm
from .calls import Call, Truth
from .layouts import Reading

__all__ = ["by_differences", "looks_like_differences", "suspicious"]

LEAST = 6  # evaluations, in the smallest of networks
NOISE = 1e-12  # relative; the errors of formulas are below it, those of differences above
OPERATORS = {"__add__", "__mul__"}


def by_differences(call: Call, truth: Truth) -> int:
    """Return the evaluations of the loss or output in one gradient, if these are as many as for differences; else 0."""
    network = truth.network
    rows = 2 if any(isinstance(leaf, BatchNorm) for _, leaf in network.leaves()) else 1
    part = "both" if "both" in call.plan.parts else "gradients"
    answer = call.ask(part, list(truth.blocks.values()), truth.X[:rows], truth.y[:rows], count=True)
    return answer.evaluations if answer.evaluations >= max(LEAST, network.theta.size) else 0


def looks_like_differences(call: Call, truth: Truth, reading: Reading) -> list[str]:
    """Return a note if the errors of a right gradient are large, and change like rounding noise from point to point.

    Numbers of float32, and a small constant in a formula, have errors that are as large, but these change smoothly.
    """
    if truth.is_single or any(a.dtype == np.float32 for a in reading.arrays.values()):
        return []
    here = _error(truth.gradient, reading)
    if here is None or np.abs(here).max() < NOISE:
        return []
    part = "both" if "both" in call.plan.parts else "gradients"
    shift = 1 + 1e-9
    answer = call.ask(part, [array * shift for array in truth.blocks.values()], truth.X, truth.y)
    pair = call.pair_of(answer.values) if part == "both" else ([], answer.values)
    if answer.error or answer.unsent or pair is None:
        return []
    there = _error(_shifted(truth, shift), call.gradient_of(pair[1], len(truth.X)))
    if there is None or np.abs(there - here).max() < NOISE:
        return []
    size = np.abs(here).max()
    return [
        f"the gradient is right to {size:.0e} only, and its errors change like those of differences: look at the code"
    ]


def _shifted(truth: Truth, shift: float) -> dict[str, Any]:
    """Return the true gradient at parameters that are a little larger."""
    network = truth.network.astype(np.float64)
    network.theta = network.theta * shift
    return network.blocks(BackwardPass(network, truth.X, truth.y, truth.exercise.loss).gradient())


def _error(gradient: Mapping[str, Any], reading: Reading) -> Any:
    """Return the error of each entry, relative to the largest of its parameter; None where it cannot be judged."""
    if reading.problem or reading.flaws:
        return None
    return np.concatenate([
        (reading.arrays[name] - true).ravel() / (np.abs(true).max() or 1.0) for name, true in gradient.items()
    ])  # fmt: skip


def suspicious(described: Mapping[str, Any]) -> list[str]:
    """Return notes on classes that look like an automatic differentiation."""
    return [
        f"the class {name} defines arithmetic and backward: an automatic differentiation?"
        for name, kind in described["classes"].items()
        if set(kind.get("operators", ())) >= OPERATORS and "backward" in kind["methods"]
    ]
