"""9. An explanation of a wrong gradient: the mistake that makes it, its place and its evidence."""

from __future__ import annotations

import dataclasses

__all__ = ["Explanation"]


@dataclasses.dataclass(frozen=True)
class Explanation:
    """One mistake, or several, that turn the true gradient into the claimed one.

    Attributes
    ----------
    name : str
        The name of the mistake, or the formula of the wrong step; several are joined by "and".
    where : str
        The layer or the parameters.
    hint : str
        What the mistake does, in words that do not give the right line away.
    evidence : str
        The ratio, the transform, the formula or the backward pass that makes the two match.
    residual : float
        The largest difference that is left, relative to the largest entry of its parameter.
    at : tuple of str
        ``where`` as data: layers, as numbered in a state_dict, "loss", or parameters by name; empty for all of them.
    """

    name: str
    where: str
    hint: str
    evidence: str
    residual: float
    at: tuple[str, ...] = dataclasses.field(default=(), compare=False)

    def __str__(self) -> str:
        return f"{self.name}, in {self.where}\n  evidence: {self.evidence}; residual {self.residual:.1e}"
