"""A step on the flat vectors theta and gradient, and a step that goes over them block by block."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ._state import Resumable
from ._validation import check_count

BLOCK = 32768  # elements, so few that all the arrays of one update stay in the cache


def check_array(array: npt.NDArray, name: str, ndim: int, writeable: bool = False) -> None:
    """Raise unless array is a float32 or float64 array of ndim dimensions, writeable where asked."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name}: expected a NumPy array, got {type(array).__name__}; use np.asarray")
    if array.dtype not in (np.float32, np.float64):
        raise TypeError(f"{name}: expected float32 or float64, got {array.dtype}; use {name}.astype")
    if array.ndim != ndim:
        raise ValueError(f"{name}: expected {ndim} dimension(s), got shape {array.shape}; use reshape")
    if writeable and not array.flags.writeable:
        raise ValueError(f"{name}: expected an array to change in place, got a read-only one; pass a copy")


class Step(Resumable):
    """Something done to theta or gradient at each training step; a new one is a dataclass deriving from this.

    A step has two halves: `check` raises and changes nothing, `apply` changes and does not raise. `step` is
    one after the other. A `Chain` runs all checks first, so that it happens as a whole or not at all.
    """

    changes_gradient = False

    def __post_init__(self) -> None:
        self._validate()

    def step(self, theta: npt.NDArray, gradient: npt.NDArray) -> None:
        """Change theta in place; or gradient, where the class says so.

        Parameters
        ----------
        theta : ndarray, shape (P,)
            All parameters, float32 or float64, contiguous and writeable.
        gradient : ndarray, shape (P,)
            The derivative of the loss by theta, of theta's dtype. Non-finite values are not looked for.

        Raises
        ------
        TypeError
            If one is not an array of float32 or float64.
        ValueError
            If they are not flat vectors of one shape and dtype, overlap in memory, or cannot be changed.
        """
        self.check(theta, gradient)
        self.apply(theta, gradient)

    def check(self, theta: npt.NDArray, gradient: npt.NDArray) -> None:
        """Raise what `step` raises; change nothing."""
        check_array(theta, "theta", 1, writeable=True)
        check_array(gradient, "gradient", 1, writeable=self.changes_gradient)
        if theta.shape != gradient.shape or theta.dtype != gradient.dtype:
            raise ValueError(
                f"gradient: expected shape {theta.shape} and dtype {theta.dtype} as theta has, "
                f"got {gradient.shape} and {gradient.dtype}"
            )
        if not theta.flags.c_contiguous:
            raise ValueError(f"theta: expected a contiguous vector, got strides {theta.strides}; pass a copy")
        if np.may_share_memory(theta, gradient):
            raise ValueError("gradient: expected memory of its own, got an overlap with theta; pass a copy")

    def apply(self, theta: npt.NDArray, gradient: npt.NDArray) -> None:
        """Do the step on vectors that have passed `check`."""
        raise NotImplementedError


UNBOUND = {"_theta": None, "_gradient": None, "_started": None, "_scratch": None, "_blocks": ()}


class Elementwise(Step):
    """A step that treats every element by the same formula, and so can go block by block.

    A subclass writes `_update` for one block and names its state arrays in `_initial_state`. Here they are
    allocated at the first step, the steps are counted in `t`, and the loop over the blocks is run. What an
    update reads and writes stays in the cache, and after the first step nothing of theta's size is allocated.

    Attributes
    ----------
    t : int
        Number of steps done.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.t = 0
        self._layout: tuple[tuple[int, ...], np.dtype] | None = None
        self.__dict__.update(dict.fromkeys(self._initial_state()) | UNBOUND)

    def _initial_state(self) -> dict[str, float | None]:
        """Name each state array and the value it starts from; None where the options do not need it."""
        return {}

    def _update(self, theta, gradient, *state_then_two_scratch):
        """Do the step on one block. State arrays come in the order of `_initial_state`."""
        raise NotImplementedError

    def check(self, theta: npt.NDArray, gradient: npt.NDArray) -> None:
        known = theta is self._theta and gradient is self._gradient
        if known and theta.flags.writeable and gradient.flags.writeable:
            return
        super().check(theta, gradient)
        if self._layout not in (None, (theta.shape, theta.dtype)):
            raise ValueError(
                f"theta: expected shape {self._layout[0]} and dtype {self._layout[1]} as at the last step, "
                f"got {theta.shape} and {theta.dtype}; make a new optimizer for a new vector"
            )

    def apply(self, theta: npt.NDArray, gradient: npt.NDArray) -> None:
        bound = theta is self._theta and gradient is self._gradient
        # An option set since the last step may need a state array that was not needed then.
        if not bound or self._started != self._initial_state():
            self._bind(theta, gradient)
        self.t += 1
        for block in self._blocks:
            self._update(*block)

    def _bind(self, theta: npt.NDArray, gradient: npt.NDArray) -> None:
        """Allocate what is missing and cut all arrays into blocks, to last while the same two arrays come."""
        self._started = self._initial_state()
        for name, start in self._started.items():
            if start is not None and getattr(self, name) is None:
                setattr(self, name, np.full(theta.shape, start, theta.dtype))
        if self._scratch is None:
            self._scratch = np.empty((2, min(BLOCK, theta.size)), theta.dtype)
        self._layout, self._theta, self._gradient = (theta.shape, theta.dtype), theta, gradient
        vectors = [theta, gradient, *(getattr(self, name) for name in self._started)]
        self._blocks = [
            (
                *(None if vector is None else vector[start : start + BLOCK] for vector in vectors),
                *self._scratch[:, : theta.size - start],
            )
            for start in range(0, theta.size, BLOCK)
        ]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | UNBOUND  # a copied or unpickled view would be a view of nothing

    def _saved(self) -> list[str]:
        return [*super()._saved(), "t", *self._initial_state()]

    def _validate_loaded(self) -> None:
        check_count(self.t, "t", least=0)
        layouts = set()
        for name in self._initial_state():
            array = getattr(self, name)
            if array is not None:
                check_array(array, name, 1)
                layouts.add((array.shape, array.dtype))
        if len(layouts) > 1:
            raise ValueError(f"state_dict: expected arrays of one shape and dtype, got {layouts}")
        self._layout = layouts.pop() if layouts else None
