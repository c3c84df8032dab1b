"""The catalogue of mistakes without some of its families, to test the general diagnosis on the bugs that they name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

from handmade.checking.backward_pass import BackwardPass
from handmade.checking.mistakes import FAMILIES, Family, Mistake

__all__ = ["FAMILIES", "recorded", "switched_off"]


@contextlib.contextmanager
def switched_off(*families: str) -> Iterator[None]:
    """Leave these families out of the catalogue, within the context."""
    with mock.patch.dict(FAMILIES, dict.fromkeys(families, lambda of: iter(()))):
        yield


@contextlib.contextmanager
def recorded() -> Iterator[dict[str, set[str]]]:
    """Yield a dict that collects the names of the mistakes that each family lists."""
    names: dict[str, set[str]] = {name: set() for name in FAMILIES}

    def recording(name: str, family: Family) -> Family:
        def recorded_family(of: BackwardPass) -> Iterator[Mistake]:
            for mistake in family(of):
                names[name].add(mistake.name)
                yield mistake

        return recorded_family

    with mock.patch.dict(FAMILIES, {name: recording(name, family) for name, family in FAMILIES.items()}):
        yield names
