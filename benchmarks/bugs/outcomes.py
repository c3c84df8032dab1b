"""The comparison of a diagnosis with the steps and the words that were written down before it."""

from __future__ import annotations

import re
from typing import Any

import handmade as hm

from .public import Bug
from .readings import reading

__all__ = ["outcome", "places", "words"]

STEPS = {"weight": ("dW", "dgamma"), "bias": ("db", "dbeta")}


def outcome(bug: Bug, diagnosis: hm.Diagnosis) -> dict[str, Any]:
    """Return a record of a diagnosis: its verdict, and whether the step and the explanation are right.

    A step is right if every place that the diagnosis names is wrong. An explanation is right if the step is right and
    the explanation has the words that were written down before; `reading` classifies other words. A diagnosis is
    misleading if it calls the gradient right, names a place where nothing is wrong, or says something false.
    """
    steps, said = places(diagnosis), words(diagnosis)
    right = bool(steps) and all(step & bug.step for step in steps)
    named = right and diagnosis.verdict == "named"
    explained = named and all(re.search(pattern, said.lower()) for pattern in bug.says)
    read = reading(bug.name, said) if named and not explained else ""
    return {
        "verdict": diagnosis.verdict,
        "said": said,
        "steps": diagnosis.steps,
        "step_right": right,
        "explained": explained,
        "reading": read,
        "misleading": diagnosis.verdict == "right" or bool(steps and not right) or read == "false",
    }


def words(diagnosis: hm.Diagnosis) -> str:
    """Return the names, places and evidence of the best three explanations, and the formula, as one text."""
    said = [f"{e.name}, in {e.where} ({e.evidence})" for e in diagnosis.explanations[:3]]
    return "; or ".join(said + ([diagnosis.formula] if diagnosis.formula else []))


def places(diagnosis: hm.Diagnosis) -> list[frozenset[str]]:
    """Return the places that a diagnosis names, each as the set of elementary steps that it may stand for.

    Examples
    --------
    >>> X, y = hm.data.xor()
    >>> network = hm.MLP([2, 3, 2], rng=0)
    >>> _, gradient = network.loss_and_gradient(X, y)
    >>> claimed = np.where(np.arange(gradient.size) < 15, gradient, 2 * gradient)
    >>> [sorted(place) for place in places(hm.diagnose_gradient(network, X, y, claimed))]
    [['2 db', '2 dbeta', '2.bias']]
    """
    return [_steps_of(place) for place in diagnosis.places]


def _steps_of(place: hm.checking.places.Place) -> frozenset[str]:
    found: set[str] = set()
    for layer in place.layers:
        joined = {layer, layer.split(".")[0]}  # the layer of a block includes its skip
        found |= {"loss"} if layer == "loss" else {f"{one} {kind}" for one in joined for kind in ("dX", "slope")}
    for name in place.parameters:
        layer, _, kind = name.rpartition(".")
        found |= {f"{layer} {step}" for step in STEPS.get(kind, ())} | {name}
    return frozenset(found)
