"""The functions that are measured, of handmade, of PyTorch and in mpmath: one subject per row of `reference.cases`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import mpmath
import numpy as np
import numpy.typing as npt
import torch
from mpmath import mpf

import handmade as hm
from reference.autograd import find_loss
from reference.cases import ACTIVATIONS, LOSSES, ActivationCase, Domain, Exact, LossCase
from reference.twin import MODULES

from .ulp import DIGITS

__all__ = ["Subject", "all_subjects", "derivative", "subject_of_activation", "upstream"]

Array = npt.NDArray[Any]
Pair = tuple[Array, Array]


@dataclasses.dataclass(frozen=True)
class Subject:
    """A function and its derivative by handmade, by PyTorch and in mpmath.

    Attributes
    ----------
    name : str
        The name in the table.
    handmade : callable
        ``handmade(X)`` returns the values, and the derivatives for `upstream`.
    torch : callable
        The same function of a tensor.
    exact, slope : callable
        The value and the derivative of one point (a number, or a list of logits), in mpmath.
    domain : {"numbers", "logits", "probabilities"}
        The points, see `benchmarks.exactness.points`.
    target : float
        The largest error that is promised, in ULP.
    """

    name: str
    handmade: Callable[[Array], Pair]
    torch: Callable[[torch.Tensor], torch.Tensor]
    exact: Exact
    slope: Exact
    domain: Domain = "numbers"
    target: float = np.inf

    def roots(self) -> list[float]:
        """Return the roots of the derivative on a grid from -10 to 10; near them, derivatives cancel.

        Examples
        --------
        >>> next(s for s in all_subjects() if s.name == "silu").roots()
        [-1.2784645427610737]
        """
        if self.domain != "numbers":
            return []
        with mpmath.workdps(DIGITS):
            grid = [mpf(2 * k + 1) / 16 for k in range(-80, 80)]  # odd multiples of 1/16, which are no kinks
            slopes = [self.slope(x) for x in grid]
            brackets = [
                ends for ends, (f, g) in zip(pairwise(grid), pairwise(slopes), strict=True) if mpmath.sign(f * g) < 0
            ]
            return [float(mpmath.findroot(self.slope, ends, solver="bisect", verify=False)) for ends in brackets]


# ---- exactly ---------------------------------------------------------------------------------------------------------


def derivative(exact: Exact) -> Exact:
    """Return the derivative of a function in mpmath: of a number, or of the first value by each of a list of logits.

    The differences are computed with more and more digits, until two results agree to 30 digits. From 400 digits on,
    results far below the smallest float64 count as agreeing.

    Examples
    --------
    >>> with mpmath.workdps(50):
    ...     float(derivative(lambda a: mpmath.log1p(mpmath.exp(a)))(mpf(-700)))
    9.859676543759771e-305
    """

    def slope(point: Any) -> Any:
        if isinstance(point, list):
            return [_refined(partial(_first_value, exact, point, j), z) for j, z in enumerate(point)]
        return _refined(exact, point)

    return slope


def _first_value(exact: Exact, row: list[mpmath.mpf], j: int, z: mpmath.mpf) -> mpmath.mpf:
    value = exact([*row[:j], z, *row[j + 1 :]])
    return value[0] if isinstance(value, list) else value


def _refined(f: Exact, x: mpmath.mpf, most_digits: int = 3200) -> mpmath.mpf:
    """Return f'(x) by differences with as many digits as it takes; raise ArithmeticError at a kink."""
    digits, before = DIGITS, mpf("nan")
    while digits <= most_digits:
        with mpmath.workdps(digits):
            value = mpmath.diff(f, x)
            negligible = mpf(10) ** -340 if digits >= 400 else 0
            if abs(value - before) < max(abs(value) * mpf(10) ** -30, negligible):
                return value
        digits, before = 2 * digits, value
    raise ArithmeticError(f"derivative: expected agreement within {most_digits} digits at {x}; is there a kink?")


# ---- the two libraries -----------------------------------------------------------------------------------------------


def upstream(H: Array) -> Array:
    """Return the upstream gradient: 1 for every number; for a row of classes, 1 for the first class, else 0."""
    dH = np.ones_like(H)
    if H.ndim > 1:
        dH[:, 1:] = 0
    return dH


def _activation(X: Array, case: ActivationCase) -> Pair:
    """Return values and derivatives by an Activation layer."""
    layer = hm.Activation(case.name, **case.options)
    H, cache = layer.forward(X)
    return H, layer.backward(upstream(H), cache)


def _loss(X: Array, case: LossCase, target: Callable[[Array], Array]) -> Pair:
    """Return the terms of a loss and their derivatives, by the two functions of the loss."""
    f, f_backward = hm.losses.find_loss(case.objective)
    return f(X, target(X), reduction="none"), f_backward(X, target(X), reduction="none")


def _loss_at_once(X: Array, case: LossCase, target: Callable[[Array], Array]) -> Pair:
    """Return the terms of a loss and their derivatives, by the function for both that training uses."""
    value_and_backward = hm.losses.find_loss(case.objective).value_and_backward
    assert value_and_backward is not None
    return value_and_backward(X, target(X), reduction="none")


def _torch_loss(X: torch.Tensor, case: LossCase, target: Callable[[Array], Array]) -> torch.Tensor:
    return find_loss(case.name)(X, torch.from_numpy(target(X.detach().numpy())), reduction="none")


def _all_of(y: float, X: Array) -> Array:
    """Return the target y for every number."""
    return np.full_like(X, y)


def _of_first_class(target: Callable[[Array], Array], X: Array) -> Array:
    """Return the target of class 0 for every row."""
    return target(np.zeros(len(X), dtype=np.int64))


# ---- the subjects ----------------------------------------------------------------------------------------------------


def all_subjects() -> list[Subject]:
    """Return a subject for each activation of the table, and for each loss with an exact formula and each target.

    Examples
    --------
    >>> [subject.name for subject in all_subjects()][:3]
    ['identity', 'sigmoid', 'tanh']
    """
    of_losses = [subject for case in LOSSES if case.exact for subject in _subjects_of_loss(case, case.exact)]
    return [*map(subject_of_activation, ACTIVATIONS), *of_losses]


def subject_of_activation(case: ActivationCase) -> Subject:
    """Return the subject of a row for an activation."""
    exact = partial(case.exact, **case.options)
    slope = partial(case.slope, **case.options) if case.slope else derivative(exact)
    module = MODULES[case.name](**case.options)
    return Subject(case.label, partial(_activation, case=case), module, exact, slope, case.domain, case.ulp)


def _subjects_of_loss(case: LossCase, exact: Exact) -> list[Subject]:
    """Return a subject for each target, and one more where another function computes value and derivative at once."""
    if case.domain == "logits":
        indices = case.target(np.zeros(1, np.int64)).dtype.kind == "i"
        also_of_indices = any(other.name == case.name and other.target is not case.target for other in LOSSES)
        name = f"{case.name}, one-hot" if also_of_indices and not indices else case.name
        target = partial(_of_first_class, case.target) if indices else upstream
        return _loss_subjects(case, name, target, exact, case.slope)
    return [
        subject
        for y in case.targets
        for subject in _loss_subjects(
            case,
            f"{case.name}, y = {y:g}" if len(case.targets) > 1 else case.name,
            partial(_all_of, y),
            partial(exact, y=mpf(y)),
            partial(case.slope, y=mpf(y)) if case.slope else None,
        )
    ]


def _loss_subjects(
    case: LossCase, name: str, target: Callable[[Array], Array], exact: Exact, slope: Exact | None
) -> list[Subject]:
    ways = {name: _loss}
    if hm.losses.find_loss(case.objective).value_and_backward:
        ways[f"{name}, at once"] = _loss_at_once
    by_torch, slope = partial(_torch_loss, case=case, target=target), slope or derivative(exact)
    return [
        Subject(title, partial(way, case=case, target=target), by_torch, exact, slope, case.domain, case.ulp)
        for title, way in ways.items()
    ]
