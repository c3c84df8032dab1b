"""9. The places of wrong steps in a network, as data."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from .explanation import Explanation
from .localisation import WrongStep
from .problem import Problem

__all__ = ["Place", "is_within", "place_of", "places_of"]


@dataclasses.dataclass(frozen=True)
class Place:
    """A place that a diagnosis points at: one step of the backward pass, or several that the batch cannot separate.

    Attributes
    ----------
    layers : tuple of str
        The layers whose gradient with respect to their input may be wrong, as numbered in a state_dict, such as
        ``"2.0"``; "loss" for the gradient of the loss.
    parameters : tuple of str
        The parameters whose gradient may be wrong, by their names in a state_dict.

    Examples
    --------
    >>> X, y = hm.data.xor()
    >>> network = hm.MLP([2, 3, 2], rng=0)
    >>> _, gradient = network.loss_and_gradient(X, y)
    >>> diagnosis = hm.diagnose_gradient(network, X, y, np.where(np.arange(gradient.size) < 15, gradient, 2 * gradient))
    >>> diagnosis.places
    [Place(layers=(), parameters=('2.bias',))]
    """

    layers: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()


def place_of(*steps: WrongStep) -> Place:
    """Return the place of a wrong step, or of several of which one is wrong."""
    layers = [leaf.rstrip(".") for step in steps if step.kind == "dA" for leaf in step.path]
    parameters = [f"{step.prefix}{step.kind}" for step in steps if step.kind != "dA"]
    return Place(tuple(dict.fromkeys(layers)), tuple(dict.fromkeys(parameters)))


def places_of(problem: Problem, places: list[Place], found: Sequence[Explanation], wrong: Sequence[str]) -> list[Place]:
    """Return the places of wrong steps, and of explanations that need none of them, as one place of alternatives."""
    if not found:
        return places
    explained = [_place_of_explanation(problem, explanation, wrong) for explanation in found]
    others = [place for place in explained if not places or not any(_meet(place, step) for step in places)]
    return [_joined(*places, *others)] if others else places


def _place_of_explanation(problem: Problem, explanation: Explanation, wrong: Sequence[str]) -> Place:
    """Return the place of an explanation.

    A mistake of the catalogue in a layer may be in its parameters, too; one that is everywhere may be in the loss.
    """
    names = [block.name for block in problem.match.blocks]
    at = explanation.at or ("loss", *wrong)
    layers = tuple(place for place in at if place not in names)
    inside = (name for name in names if name in wrong and any(name.startswith(f"{layer}.") for layer in layers))
    return Place(layers, tuple(dict.fromkeys([*(place for place in at if place in names), *inside])))


def is_within(problem: Problem, explanation: Explanation, places: Sequence[Place]) -> bool:
    """Return whether all that an explanation names is among the places of wrong steps."""
    layers = {layer for place in places for layer in place.layers}
    tops = layers | {layer.split(".")[0] for layer in layers}
    parameters = {name for place in places for name in place.parameters}
    own = {name.rpartition(".")[0] for name in parameters}
    names = [block.name for block in problem.match.blocks]
    return bool(explanation.at) and all(at in (parameters if at in names else tops | own) for at in explanation.at)


def _meet(one: Place, other: Place) -> bool:
    """Return whether two places have a step in common, also inside of a composite."""
    tops = {layer.split(".")[0] for layer in one.layers} & {layer.split(".")[0] for layer in other.layers}
    return bool(tops or set(one.parameters) & set(other.parameters))


def _joined(*places: Place) -> Place:
    layers = (layer for place in places for layer in place.layers)
    return Place(tuple(dict.fromkeys(layers)), tuple(dict.fromkeys(p for place in places for p in place.parameters)))
