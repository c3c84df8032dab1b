"""Claimed gradients of functions of one vector, with the verdicts of check_gradient and diagnose_gradient."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import handmade as hm
from handmade.protocols import Array

from .catalogue import Bug
from .public import Bug as PublicBug
from .public import Problem
from .student_programs import Setting
from .trial import Trial

__all__ = ["Claim", "of_problem", "of_program", "of_public_bug", "of_zoo_bug", "seconds_of"]


@dataclasses.dataclass(frozen=True)
class Claim:
    """A function, a point, and a claimed gradient of the function.

    Attributes
    ----------
    value : callable
        The function of a vector.
    theta : ndarray, shape (P,)
        The point.
    gradient : callable
        The claimed gradient at a vector.
    diagnose : callable
        Returns the diagnosis; it uses all that is known about the function.
    dtype : dtype
        The dtype in which the function computes.
    """

    value: Callable[[Array], float]
    theta: Array
    gradient: Callable[[Array], Array]
    diagnose: Callable[[], hm.Diagnosis]
    dtype: Any = np.float64

    def is_accused(self) -> bool:
        """Return whether `handmade.check_gradient` finds a wrong entry."""
        try:
            return bool(hm.check_gradient(self.value, self.theta.copy(), self.gradient).wrong)
        except ValueError:  # not finite, or not reproducible
            return True


def seconds_of(call: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result of a call, and the processor seconds that it takes."""
    started = time.process_time()
    result = call()
    return result, time.process_time() - started


def of_program(setting: Setting, text: str, seed: int) -> Claim:
    """Return the claim of a student's program, which may be right or wrong."""
    trial = Trial(setting, text, seed)
    fresh = Trial(setting, text, seed)  # some programs keep state, so the diagnosis uses another instance
    return Claim(trial.loss, trial.theta, trial.gradient, fresh.diagnose, setting.dtype)


def of_zoo_bug(bug: Bug, seed: int) -> Claim:
    """Return the claim of a wrong program.

    Examples
    --------
    >>> claim = of_zoo_bug(BUGS[0], seed=0)
    >>> claim.is_accused(), [explanation.name for explanation in claim.diagnose().explanations]
    (True, ['sign'])
    """
    return of_program(bug.setting, bug.text, seed)


def of_public_bug(bug: PublicBug, as_function: bool = True) -> Claim:
    """Return the claim of a published mistake; the diagnosis gets a function of (parameters, X, y), or the arrays."""
    return of_problem(bug.problem(), bug.gradient, as_function and not bug.array_only)


def of_problem(problem: Problem, gradient: Callable[..., Sequence[Array]], as_function: bool) -> Claim:
    """Return the claim that ``gradient(parameters, X, y)`` is the gradient of a problem."""
    X, y, network = problem.X, problem.y, problem.network
    if network is None:
        return _of_function(problem, gradient)
    masks = {layer: _copied(layer.rng) for _, layer in network.leaves() if isinstance(layer, hm.Dropout)}
    theta, own = network.theta.copy(), hm.Network.__copy__(network)
    own_masks = [layer for _, layer in own.leaves() if isinstance(layer, hm.Dropout)]

    def value(vector: Array) -> float:
        for layer, rng in zip(own_masks, masks.values(), strict=True):  # the same mask at each call
            layer.rng = _copied(rng)
        own.theta = vector
        return own.loss_and_gradient(X, y, problem.loss)[0]

    def claimed(vector: Array) -> Array:
        blocks = list(own.blocks(vector.astype(own.dtype)).values())
        with np.errstate(all="ignore"):
            return np.concatenate([np.ravel(g) for g in gradient(blocks, X, y)])

    def diagnose() -> hm.Diagnosis:
        given = gradient if as_function else gradient(list(network.blocks(theta).values()), X, y)
        return hm.diagnose_gradient(network, X, y, given, loss=problem.loss, **problem.options)

    return Claim(value, theta, claimed, diagnose, network.dtype)


def _of_function(problem: Problem, gradient: Callable[..., Sequence[Array]]) -> Claim:
    function, parameters = problem.function, list(problem.parameters)
    assert function is not None
    ends = np.cumsum([p.size for p in parameters])

    def cut(vector: Array) -> list[Array]:
        return [part.reshape(p.shape) for part, p in zip(np.split(vector, ends[:-1]), parameters, strict=True)]

    def claimed(vector: Array) -> Array:
        return np.concatenate([g.ravel() for g in gradient(cut(vector), problem.X, problem.y)])

    def named(arrays: Sequence[Array]) -> dict[str, Array]:
        return {f"{'Wb'[i % 2]}{i // 2 * 2}": array for i, array in enumerate(arrays)}

    def of_dict(f: Callable[..., float]) -> Callable[[dict[str, Array]], float]:
        return lambda blocks: f(*blocks.values())

    def diagnose() -> hm.Diagnosis:
        options = dict(problem.options)
        options["terms"] = {name: of_dict(term) for name, term in options["terms"].items()}
        given = named(gradient(parameters, problem.X, problem.y))
        return hm.diagnose_gradient(of_dict(function), named(parameters), given, **options)

    theta = np.concatenate([p.ravel() for p in parameters])
    return Claim(lambda vector: function(*cut(vector)), theta, claimed, diagnose)


def _copied(rng: np.random.Generator) -> np.random.Generator:
    other = np.random.default_rng()
    other.bit_generator.state = rng.bit_generator.state
    return other
