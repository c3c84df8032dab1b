"""Optimizers made of other steps: one after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .._state import Stateful
from .._steps import Array, Step

__all__ = ["Chain"]


def of_the_optimizer(name: str) -> property:
    """Make a property of `Chain` that reads and sets the attribute `name` of its optimizer."""
    return property(
        lambda chain: getattr(chain.optimizer, name),
        lambda chain, value: setattr(chain.optimizer, name, value),
        doc=f"`{name}` of the chain's optimizer, to read and to set.",
    )


class Chain(Step):
    """A sequence of steps as one: on an error none of them has happened.

    Parameters
    ----------
    *steps : Step
        One of them an optimizer, that is, with an `lr`. `L1`, `ClipGradNorm` and `ClipGradValue` go before it
        and change gradient in place; `MaxNorm` goes after it.

    Attributes
    ----------
    steps : tuple of Step
    optimizer : Step
        The one with an `lr`. Its lr, momentum and betas are the chain's, to read and to set, so that a
        schedule takes a chain for an optimizer.

    Examples
    --------
    >>> chain = hm.Chain(hm.ClipGradValue(1.0), hm.SGD(lr=0.5))
    >>> theta, gradient = np.array([1.0, 2.0]), np.array([0.5, -4.0])
    >>> chain.step(theta, gradient)
    >>> theta
    array([0.75, 2.5 ])
    >>> chain.lr
    0.5
    """

    if TYPE_CHECKING:
        lr: float
        momentum: float
        betas: tuple[float, float]
    else:
        lr, momentum, betas = map(of_the_optimizer, ("lr", "momentum", "betas"))

    def __init__(self, *steps: Step) -> None:
        for i, step in enumerate(steps):
            if not isinstance(step, Step):
                raise TypeError(f"steps[{i}]: expected a Step such as L1(1e-4) or SGD(), got {step!r}")
        optimizers = [step for step in steps if hasattr(step, "lr")]
        if len(optimizers) != 1:
            raise ValueError(f"steps: expected one optimizer, a step with a learning rate, got {optimizers}")
        self.steps = steps
        self.optimizer: Step = optimizers[0]

    def __repr__(self) -> str:
        return f"Chain({', '.join(map(repr, self.steps))})"

    def _saved(self) -> list[str]:
        return []

    def _members(self) -> Sequence[Stateful]:
        return self.steps

    def check(self, theta: Array, gradient: Array) -> None:
        for step in self.steps:
            step.check(theta, gradient)

    def apply(self, theta: Array, gradient: Array) -> None:
        for step in self.steps:
            step.apply(theta, gradient)
