"""A diagnosis of a published mistake, compared with what was written down before it: the steps, and the words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import handmade as hm

from .public import Bug
from .public.readings import reading

__all__ = ["outcome", "places", "words"]

OF_LAYER = ("dW", "db", "dgamma", "dbeta", "dX", "slope")
OF_KIND = {"weight": ("dW", "dgamma"), "bias": ("db", "dbeta")}


def outcome(bug: Bug, diagnosis: hm.Diagnosis) -> dict[str, Any]:
    """Return a record of a diagnosis: its verdict, and whether the step and the explanation are right.

    A step is right if every place that the diagnosis points at is wrong indeed; one of several explanations that the
    batch cannot tell apart is enough. An explanation is right if the step is and the words that were written down
    before occur in it; `reading` judges other words. A diagnosis is misleading if it calls the gradient right, points
    at a place where nothing is wrong, or says what is false.
    """
    steps, said = places(diagnosis), words(diagnosis)
    right = bool(steps) and all(step & bug.step for step in steps)
    right = right or any(_of_where(e.where, diagnosis.wrong) & bug.step for e in diagnosis.explanations)
    named = right and diagnosis.verdict == "named"
    explained = named and all(re.search(pattern, said.lower()) for pattern in bug.says)
    read = reading(bug.name, said) if named and not explained else ""
    misplaced = not right and bool(steps)
    return {
        "verdict": diagnosis.verdict,
        "said": said,
        "steps": diagnosis.steps,
        "step_right": right,
        "explained": explained,
        "reading": read,
        "misleading": diagnosis.verdict == "right" or misplaced or read == "false",
    }


def words(diagnosis: hm.Diagnosis) -> str:
    """Return what a diagnosis says in words and formulas: names, places and evidence of its best explanations."""
    said = [f"{e.name}, in {e.where} ({e.evidence})" for e in diagnosis.explanations[:3]]
    return "; or ".join(said + ([diagnosis.formula] if diagnosis.formula else []))


def places(diagnosis: hm.Diagnosis) -> list[frozenset[str]]:
    """Return the places that a diagnosis points at, each as the elementary steps that it may mean.

    The steps that the algebra found come first. Without them, the explanation's place counts.

    Examples
    --------
    >>> X, y = hm.data.xor()
    >>> network = hm.MLP([2, 3, 2], rng=0)
    >>> _, gradient = network.loss_and_gradient(X, y)
    >>> claimed = np.where(np.arange(gradient.size) < 15, gradient, 2 * gradient)
    >>> [sorted(place) for place in places(hm.diagnose_gradient(network, X, y, claimed))]
    [['2 db']]
    """
    if diagnosis.steps:
        return [_of_step(step) for step in diagnosis.steps]
    if not diagnosis.explanations:
        return []
    return [_of_where(diagnosis.explanations[0].where, diagnosis.wrong)]


def _numbered(text: str) -> str:
    """Return a text with its layers as in a state_dict: layers[2].layers[0] becomes layer 2.0."""
    path = r"(?:layers|groups)\[\d+\]"
    return re.sub(rf"{path}(\.{path})*", lambda one: "layer " + ".".join(re.findall(r"\d+", one[0])), text)


def _of_step(step: str) -> frozenset[str]:
    step = _numbered(step)
    found = re.match(r"d([A-Za-z]+)\S* from (the loss|\S+)", step)
    made, source = found.groups() if found else ("", "")
    layers = re.findall(r"layer ([\d.]+),", step)
    if made != "A":
        return frozenset(f"{layer} d{made}" for layer in layers)
    layers += [layer.split(".")[0] for layer in layers if "." in layer]  # what joins a block to its skip is its layer
    through = {f"{layer} {kind}" for layer in layers for kind in ("dX", "slope")}
    return frozenset(through | ({"loss"} if source == "the loss" else set()))


def _of_where(where: str, wrong: Iterable[str]) -> frozenset[str]:
    where = _numbered(where)
    found = {f"{layer} {kind}" for layer in re.findall(r"layer ([\d.]+)", where) for kind in OF_LAYER}
    for layer, kind in re.findall(r"([\d.]+)\.(weight|bias)", where):
        found |= {f"{layer} {what}" for what in OF_KIND[kind]}
    found |= set(re.findall(r"\b[Wb]\d+\b", where))
    if "loss" in where or where in ("every parameter", "everything"):
        found.add("loss")
    if not found or where.startswith(("every", "all ")):  # all places of a kind: those that it shows in
        for name in wrong:
            found |= _of_where(name, ()) if name != where else set()
    return frozenset(found)
