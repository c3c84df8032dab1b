"""Optimizers made of other steps: one after another, or side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from .._state import Stateful
from .._steps import Array, Shapes, Step
from .._validation import call, nonnegative
from ._common import check_numbers

__all__ = ["Chain", "ParameterGroups", "is_vector"]

Select: TypeAlias = str | Callable[[str, tuple[int, ...]], bool]


def of_the_optimizer(name: str) -> property:
    """Make a property of `Chain` that reads and sets the attribute `name` of its optimizer."""
    return property(
        lambda chain: getattr(chain.optimizer, name),
        lambda chain, value: setattr(chain.optimizer, name, value),
        doc=f"`{name}` of the chain's optimizer, to read and to set.",
    )


class Chain(Step):
    """A sequence of steps, done one after another: on an error, none of them has been done.

    Parameters
    ----------
    *steps : Step
        Exactly one of them is an optimizer, which has an `lr`. `L1`, `ClipGradNorm` and `ClipGradValue` come before it
        and change gradient in place; `MaxNorm` comes after it.

    Attributes
    ----------
    steps : tuple of Step
        The steps.
    optimizer : Step
        The step with an `lr`. Its lr, momentum and betas can be read and set on the chain, so that schedules take a
        chain like an optimizer.

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
        if optimizers[0].needs_evaluate:
            raise TypeError(
                f"steps: expected an optimizer of one gradient per step, got {optimizers[0]!r}; use it alone"
            )
        self.steps = steps
        self.optimizer: Step = optimizers[0]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.steps))})"

    def _saved(self) -> list[str]:
        return []

    def _members(self) -> Sequence[Stateful]:
        return self.steps

    def _bind(self, shapes: Shapes) -> None:
        for step in self.steps:
            step._bind(shapes)

    def check(self, theta: Array, gradient: Array) -> None:
        for step in self.steps:
            step.check(theta, gradient)

    def apply(self, theta: Array, gradient: Array) -> None:
        for step in self.steps:
            step.apply(theta, gradient)


def is_vector(name: str, shape: tuple[int, ...]) -> bool:
    """Return whether a parameter is a vector: a bias, or the scale or shift of a normalization."""
    return len(shape) < 2


@dataclass(eq=False)
class ParameterGroups(Step):
    """An optimizer for each group of parameters: no weight decay for biases, a learning rate per layer.

    A parameter belongs to the first group that selects it. `handmade.fit` binds the groups to its network; a loop of
    your own calls ``optimizer.bind(network)`` before the first step.

    Parameters
    ----------
    groups : dict
        A key selects parameters; its value is their optimizer. A key is a pattern of names in a state_dict, such as
        ``"0.*"``, ``"*.bias"`` or ``"*"``; or a function ``(name, shape) -> bool`` such as `is_vector`.

    Attributes
    ----------
    lr : float
        The largest learning rate. Setting it multiplies those of all groups by the same factor, as schedules do.
    optimizers : tuple of Step
        In the order of the groups.
    names : list of list of str
        The parameters of each group; empty before `bind`.

    Raises
    ------
    TypeError, ValueError
        If a key or an optimizer is of another kind, or two groups have the same optimizer. `bind` raises if a parameter
        is in no group, or a group selects nothing.

    Examples
    --------
    >>> optimizer = hm.ParameterGroups(
    ...     {
    ...         hm.optimizers.is_vector: hm.AdamW(weight_decay=0.0),  # biases and normalization
    ...         "0.*": hm.AdamW(lr=1e-4),
    ...         "*": hm.AdamW(),
    ...     }
    ... )
    >>> optimizer.bind(hm.MLP([3, 4, 4, 2], normalization="batch", rng=0))
    >>> optimizer.names
    [['0.bias', '1.weight', '1.bias', '3.bias', '4.weight', '4.bias', '6.bias'], ['0.weight'], ['3.weight', '6.weight']]
    >>> optimizer.lr = optimizer.lr / 2
    >>> [part.lr for part in optimizer.optimizers]
    [0.0005, 5e-05, 0.0005]
    """

    groups: Mapping[Select, Step]

    def _validate(self) -> None:
        if not isinstance(self.groups, Mapping) or not self.groups:
            raise TypeError(f'groups: expected a dict such as {{"0.*": SGD(), "*": Adam()}}, got {self.groups!r}')
        for select, optimizer in self.groups.items():
            if not isinstance(select, str) and not callable(select):
                raise TypeError(f"groups: expected names, patterns or functions as keys, got {select!r}")
            is_single = isinstance(optimizer, Step) and not optimizer._members() and not optimizer.needs_evaluate
            if not is_single or not hasattr(optimizer, "lr"):
                raise TypeError(
                    f"groups: expected a single optimizer such as Adam(), got {optimizer!r}; other steps go around "
                    "the groups, in Chain(step, ParameterGroups(...))"
                )
        if len(set(map(id, self.groups.values()))) < len(self.groups):
            raise ValueError("groups: expected an optimizer of its own for each group, got one twice")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.optimizers: tuple[Any, ...] = tuple(self.groups.values())
        self.names: list[list[str]] = []
        self._runs: list[list[slice]] = []
        self.shares = self._current_shares((1.0,) * len(self.optimizers))

    # ---- the learning rate -----------------------------------------------------------------------------------------

    def _current_shares(self, before: tuple[float, ...]) -> tuple[float, ...]:
        """Return each learning rate as a share of the largest; those of before where all are 0."""
        rates = [optimizer.lr for optimizer in self.optimizers]
        return tuple(rate / max(rates) for rate in rates) if max(rates) > 0 else before

    @property
    def lr(self) -> float:
        """The largest learning rate of the groups."""
        return float(max(optimizer.lr for optimizer in self.optimizers))

    @lr.setter
    def lr(self, value: float) -> None:
        self.shares = self._current_shares(self.shares)
        for optimizer, share in zip(self.optimizers, self.shares, strict=True):
            optimizer.lr = value * share

    # ---- the groups ------------------------------------------------------------------------------------------------

    def _bind(self, shapes: Shapes) -> None:
        members: list[dict[str, tuple[int, ...]]] = [{} for _ in self.groups]
        runs: list[list[slice]] = [[] for _ in self.groups]
        stop = 0
        for name, shape in shapes.items():
            start, stop = stop, stop + math.prod(shape)
            group = self._group_of(name, shape)
            members[group][name] = shape
            if runs[group] and runs[group][-1].stop == start:
                start = runs[group].pop().start
            runs[group].append(slice(start, stop))
        for select, found in zip(self.groups, members, strict=True):
            if not found:
                raise ValueError(f"groups: expected each to select a parameter, got none for {select!r} in {[*shapes]}")
        for optimizer, found in zip(self.optimizers, members, strict=True):
            optimizer._bind(found)
        self.names, self._runs, self._size = [list(found) for found in members], runs, stop

    def _group_of(self, name: str, shape: tuple[int, ...]) -> int:
        """Return the index of the first group that selects a parameter."""
        for i, select in enumerate(self.groups):
            of_names = "of the name and the shape"
            if fnmatchcase(name, select) if isinstance(select, str) else call(select, "groups", of_names, name, shape):
                return i
        raise ValueError(f'groups: expected one for every parameter, got none for {name!r}; add "*": Adam()')

    def check(self, theta: Array, gradient: Array) -> None:
        super().check(theta, gradient)
        if not self.names or self._size != theta.size:
            raise ValueError(
                f"theta: expected parameters of the network that the groups are bound to, got {theta.size} numbers; "
                "call optimizer.bind(network) before the first step, as handmade.fit does"
            )
        for optimizer, runs in zip(self.optimizers, self._runs, strict=True):
            size = sum(run.stop - run.start for run in runs)
            optimizer.check(theta[:size], gradient[:size])  # vectors like those of the group

    def apply(self, theta: Array, gradient: Array) -> None:
        for optimizer, runs in zip(self.optimizers, self._runs, strict=True):
            if len(runs) == 1:
                optimizer.apply(theta[runs[0]], gradient[runs[0]])
                continue
            part = np.concatenate([theta[run] for run in runs])
            optimizer.apply(part, np.concatenate([gradient[run] for run in runs]))
            start = 0
            for run in runs:
                theta[run] = part[start : (start := start + run.stop - run.start)]

    # ---- state -----------------------------------------------------------------------------------------------------

    def _members(self) -> Sequence[Stateful]:
        return self.optimizers

    def _saved(self) -> list[str]:
        return ["shares"]

    def _validate_loaded(self) -> None:
        self.shares = check_numbers(self.shares, "shares", len(self.optimizers), nonnegative)
