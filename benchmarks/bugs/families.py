"""The catalogue without one of its families: what the general way says of bugs that the family would have named."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import handmade as hm
from handmade.checking import mistakes

__all__ = ["FAMILIES", "recorded", "switched_off"]

# The functions in handmade.checking.mistakes that list a family: their names, or the layers that they are listed for.
FAMILIES: dict[str, str | type] = {
    "loss": "of_loss",
    "activations": hm.Activation,
    "propagation (dX)": "_of_propagation",
    "biases (db)": "_of_bias",
    "weights (dW)": "_of_weight",
    "dW and db together": "_of_both",
    "dropout": hm.Dropout,
    "normalization": mistakes.Normalization,
    "skip connections": hm.Residual,
}


@contextlib.contextmanager
def switched_off(*families: str) -> Iterator[None]:
    """Leave these families out of the catalogue."""
    with _replaced({family: lambda of: lambda *arguments: iter(()) for family in families}):
        yield


@contextlib.contextmanager
def recorded() -> Iterator[dict[str, set[str]]]:
    """Yield a dict that collects the names of the mistakes that each family lists."""
    names: dict[str, set[str]] = {family: set() for family in FAMILIES}

    def spying(family: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def spied(of: Callable[..., Any]) -> Callable[..., Any]:
            def listed(*arguments: Any) -> Iterator[Any]:
                for found in of(*arguments):
                    names[family].add(found[0])
                    yield found

            return listed

        return spied

    with _replaced({family: spying(family) for family in FAMILIES}):
        yield names


@contextlib.contextmanager
def _replaced(wrappers: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for family, wrapper in wrappers.items():
            place = FAMILIES[family]
            if isinstance(place, str):
                stack.enter_context(mock.patch.object(mistakes, place, wrapper(getattr(mistakes, place))))
            else:
                stack.enter_context(mock.patch.dict(mistakes.OF_LAYER, {place: wrapper(mistakes.OF_LAYER[place])}))
        yield
