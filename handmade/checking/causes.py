"""9. The parameters of a gradient, and the mistakes that explain it.

Every search of a diagnosis returns causes, which `handmade.checking.catalogue_search.explain` joins to an explanation.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

__all__ = ["Block", "Cause", "Match", "tolerance"]


@dataclasses.dataclass(frozen=True)
class Block:
    """One parameter: its place in theta, and the layer that it belongs to, counted from the input."""

    name: str
    start: int
    shape: tuple[int, ...]
    layer: int

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def slice(self) -> slice:
        return slice(self.start, self.start + self.size)

    @property
    def is_weight(self) -> bool:
        return len(self.shape) >= 2


@dataclasses.dataclass(frozen=True)
class Cause:
    """One mistake of an explanation; ``fitted`` counts the numbers that were chosen to make it match.

    ``at`` are the layers, as numbered in a state_dict, or "loss", or the parameters by name; empty for all of them.
    """

    name: str
    where: str
    hint: str
    evidence: str
    fitted: int = 0
    at: tuple[str, ...] = dataclasses.field(default=(), compare=False)


Match = tuple[list[Cause], float]  # mistakes, and the difference that is left, relative to the parameter


def tolerance(single: bool) -> float:
    """Return the relative difference up to which two right computations may disagree: 9e-8, in float32 8e-4.

    A little less than half of the digits: the others may be lost by a plain formula, such as p - 1 near p = 1.
    """
    return float(np.finfo(np.float32 if single else np.float64).eps) ** 0.45
