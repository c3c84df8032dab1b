"""A step on the flat vectors theta and gradient: the base classes of optimizers, penalties and clipping."""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ._state import Stateful
from ._validation import STATE, check_count, check_finite, check_hooks, check_unmasked
from ._vectors import cut, empty

if TYPE_CHECKING:
    from ._parameters import ParameterizedChain

Array = npt.NDArray[Any]
Shapes = Mapping[str, tuple[int, ...]]  # of the parameters in theta, by their names in a state_dict
MOST_STEPS = 2**53  # counted exactly by a float, as the corrections of Adam are
# Sums and means of squares, and sizes.
NEVER_NEGATIVE = (
    *("sum", "square_avg", "exp_avg_sq", "max_exp_avg_sq", "acc_delta", "exp_inf", "step_size"),
    *("row_var", "col_var", "variance"),
)
# Bytes of each array in one update: all of them stay in the cache. Memory for intermediate results of 192 KiB goes back
# to the system after every step, where nothing larger has been freed before: Adam then takes twice as long.
BLOCK = 2**17


def check_array(array: Array, name: str, ndim: int, writeable: bool = False) -> None:
    """Raise unless array is a float32 or float64 array of ndim dimensions, writeable where asked."""
    check_unmasked(array, name)
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name}: expected a NumPy array, got {type(array).__name__}; use np.asarray")
    if array.dtype.char not in "fd":
        raise TypeError(f"{name}: expected float32 or float64, got {array.dtype}; use {name}.astype")
    if array.ndim != ndim:
        raise ValueError(f"{name}: expected {ndim} dimension(s), got shape {array.shape}; use reshape")
    if writeable and not array.flags.writeable:
        raise ValueError(f"{name}: expected an array to change in place, got a read-only one; pass a copy")


def check_steps(t: int) -> None:
    """Raise unless t is a number of steps that was loaded."""
    check_count(t, "t", least=0)
    if t > MOST_STEPS:
        raise ValueError(f"t: expected at most {MOST_STEPS} steps, got a larger number")


def check_state_array(array: Array | None, name: str) -> None:
    """Raise unless a state that was loaded is None, or a vector of possible numbers."""
    if array is not None:
        check_array(array, name, 1)
        check_finite(array, name)
        if name in NEVER_NEGATIVE and array.size and array.min() < 0:
            raise ValueError(f"{name}: expected numbers of at least 0, got {array.min()}")


@functools.cache
def _options_of(step: type[Step]) -> Callable[[Step], Any]:
    """Return a function that reads all hyperparameters of such a step."""
    names: list[str] = [field.name for field in dataclasses.fields(step)] if dataclasses.is_dataclass(step) else []
    return operator.attrgetter(*names) if names else lambda _: ()


class _Seen:
    """A weak memory of vectors that have passed a check: the next step need not look at them again."""

    def __init__(self, theta: Array, gradient: Array) -> None:
        self.theta, self.gradient = weakref.ref(theta), weakref.ref(gradient)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(None), ()  # a copy and a file hold None


class Step(Stateful):
    """A change of theta or gradient at each training step; a new one is a dataclass deriving from this.

    A step has two halves: `check` raises and changes nothing, `apply` changes and does not raise. `step` is
    one after the other. A `Chain` runs all checks first, so that it happens as a whole or not at all.
    """

    changes_gradient = False
    needs_evaluate = False  # True where `step` takes a function that computes loss and gradient, too
    _checked: Any = object()  # the hyperparameters of the last check; before it, what none equal
    _seen: _Seen | None = None  # theta and gradient of the last check

    def __post_init__(self) -> None:
        self._validate()

    def bind(self, network: ParameterizedChain) -> None:
        """Tell the step the names and shapes of a network's parameters, which groups and matrices need.

        `handmade.fit` and all that trains a network do this. A loop of your own does it once, before the first step.
        """
        self._bind({name: block.shape for name, block in network.blocks(network.theta).items()})

    def _bind(self, shapes: Shapes) -> None:
        """Take the names and shapes of the parameters that theta holds, one after another."""

    def step(self, theta: Array, gradient: Array) -> None:
        """Change theta in place; or gradient, where the class says so.

        Parameters
        ----------
        theta : ndarray, shape (P,)
            All parameters, float32 or float64, contiguous and writeable.
        gradient : ndarray, shape (P,)
            The derivative of the loss by theta, of theta's dtype. Non-finite values are not looked for: NumPy warns
            where they meet, as in inf - inf, and `ClipGradNorm` with ``error_if_nonfinite`` refuses them.

        Raises
        ------
        TypeError
            If one is not an array of float32 or float64, or a hyperparameter has been set to what is no number.
        ValueError
            If they are not flat vectors of one shape and dtype, overlap in memory, or cannot be changed; or if a
            hyperparameter has been set to a number that the constructor would refuse.
        """
        self.check(theta, gradient)
        self.apply(theta, gradient)

    def check_options(self) -> None:
        """Raise if a hyperparameter has been set to an illegal value since the last check."""
        own_class: Any = type(self)  # mypy does not see that a class can be hashed
        options = _options_of(own_class)
        try:
            known = options(self) == self._checked
        except ValueError:  # an array, of which the check says what is wrong
            known = False
        if not known:
            self._validate()
            self._take_options()
            self._checked = options(self)

    def _take_options(self) -> None:
        """Do what depends on the hyperparameters alone; called when they are new or have changed."""

    def check(self, theta: Array, gradient: Array) -> None:
        """Raise what `step` raises; change nothing."""
        self.check_options()
        seen = self._seen
        known = seen is not None and seen.theta() is theta and seen.gradient() is gradient
        # What can be changed in place is looked at each time.
        if not (known and theta.shape == gradient.shape and theta.flags.writeable and gradient.flags.writeable):
            self._check_vectors(theta, gradient)
            self._seen = _Seen(theta, gradient)

    def _check_vectors(self, theta: Array, gradient: Array) -> None:
        check_array(theta, "theta", 1, writeable=True)
        check_array(gradient, "gradient", 1, writeable=self.changes_gradient)
        if theta.shape != gradient.shape or theta.dtype != gradient.dtype:
            raise ValueError(
                f"gradient: expected shape {theta.shape} and dtype {theta.dtype} as theta has, "
                f"got {gradient.shape} and {gradient.dtype}"
            )
        if not theta.flags.c_contiguous:
            raise ValueError(f"theta: expected a contiguous vector, got strides {theta.strides}; pass a copy")
        owners = theta.base is gradient.base is None  # of their memory, so that it is not the same
        if theta is gradient or (not owners and np.may_share_memory(theta, gradient)):
            raise ValueError("gradient: expected memory of its own, got an overlap with theta; pass a copy")

    def apply(self, theta: Array, gradient: Array) -> None:
        """Do the step on vectors that have passed `check`."""
        raise NotImplementedError(f"{type(self).__name__} defines no apply")


def bind(optimizer: Any, network: ParameterizedChain) -> None:
    """Bind an optimizer to a network; anything else with a ``step`` needs no binding."""
    if isinstance(optimizer, Step):
        optimizer.bind(network)


def check_optimizer(optimizer: Any, network: ParameterizedChain) -> Any:
    """Return the optimizer; raise unless it has ``step(theta, gradient)`` and can be expected to move theta."""
    if isinstance(optimizer, type) or not callable(getattr(optimizer, "step", None)):
        raise TypeError(f"optimizer: expected an object with step(theta, gradient), such as Adam(), got {optimizer!r}")
    evaluate = ("evaluate",) if getattr(optimizer, "needs_evaluate", False) else ()
    check_hooks(optimizer, "optimizer", {"step": [("theta", "gradient", *evaluate)], **STATE})
    if not isinstance(optimizer, Step) and hasattr(optimizer, "lr"):
        _check_lr(optimizer.lr)
    if isinstance(optimizer, Step):
        optimizer.bind(network)
        if not hasattr(optimizer, "lr"):
            raise ValueError(
                f"optimizer: expected one that moves theta, got {optimizer!r}; put it in a Chain before SGD()"
            )
        optimizer.check(network.theta, network.gradient)
    return optimizer


def _check_lr(lr: Any) -> None:
    """Raise TypeError unless the learning rate of an optimizer of the user's own is a number."""
    try:
        float("a text" if isinstance(lr, str) else lr)
    except (TypeError, ValueError):
        raise TypeError(f"optimizer: expected an lr that is a number, got {lr!r}") from None


class Blockwise(Step):
    """A step that treats every parameter by its shape: a matrix is not only the numbers in it.

    A subclass writes `_update` for one parameter and names its state arrays in `_state_shapes`. Each array holds the
    states of all parameters, one after another.

    Attributes
    ----------
    t : int
        Number of steps done.
    shapes : list of tuple, or None
        Of the parameters in theta; None before `bind`.
    """

    shapes: list[tuple[int, ...]] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.t = 0
        self.__dict__.update(dict.fromkeys(self._state_shapes(())))

    def _state_shapes(self, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """Return the name of each state array, and the shape of its part for a parameter; (0,) where it needs none."""
        return {}

    def _update(self, *arrays: Any, **options: Any) -> None:
        """Do the step on one parameter, its gradient, and its states in the order of `_state_shapes`."""
        raise NotImplementedError(f"{type(self).__name__} defines no _update")

    def _bind(self, shapes: Shapes) -> None:
        self.shapes = list(shapes.values())

    def _parts(self, name: str) -> list[tuple[int, ...]]:
        """Return the shapes of the parts of a state array."""
        return [self._state_shapes(shape)[name] for shape in self.shapes or ()]

    def check(self, theta: Array, gradient: Array) -> None:
        super().check(theta, gradient)
        if self.shapes is None or sum(map(math.prod, self.shapes)) != theta.size:
            shapes = "a network that is bound" if self.shapes is None else f"shapes {self.shapes}"
            raise ValueError(
                f"theta: expected the parameters of {shapes}, got {theta.size} numbers; call optimizer.bind(network) "
                "before the first step, as handmade.fit does"
            )
        for name in self._state_shapes(()):
            array, size = getattr(self, name), sum(map(math.prod, self._parts(name)))
            if array is not None and (array.size != size or array.dtype != theta.dtype):
                raise ValueError(
                    f"theta: expected the shapes and the dtype {array.dtype} of the last step, got {self.shapes} and "
                    f"{theta.dtype}; make a new optimizer for a new vector"
                )

    def apply(self, theta: Array, gradient: Array) -> None:
        assert self.shapes is not None  # see check
        views = [cut(theta, self.shapes), cut(gradient, self.shapes)]
        for name in self._state_shapes(()):
            parts = self._parts(name)
            if getattr(self, name) is None:
                setattr(self, name, np.zeros(sum(map(math.prod, parts)), theta.dtype))
            views.append(cut(getattr(self, name), parts))
        self.t += 1
        for arrays in zip(*views, strict=True):
            self._update(*arrays)

    def _saved(self) -> list[str]:
        return [*super()._saved(), "t", *self._state_shapes(())]

    def _validate_loaded(self) -> None:
        check_steps(self.t)
        for name in self._state_shapes(()):
            check_state_array(getattr(self, name), name)


class Elementwise(Step):
    """A step that treats every element by the same formula, block by block.

    A subclass writes `_update` for one block and names its state arrays in `_initial_state`. A block is so small that
    the intermediate results of the formula stay in the cache: they cost no memory of theta's size.

    Attributes
    ----------
    t : int
        Number of steps done.
    """

    _start: Mapping[str, float | None]
    _is_first: bool  # whether this step is the first with a state array

    def __post_init__(self) -> None:
        super().__post_init__()
        self.t: int = 0
        self._take_options()
        self.__dict__.update(dict.fromkeys(self._start))

    def _initial_state(self) -> dict[str, float | None]:
        """Return the name of each state array and its initial value; None where the hyperparameters do not need it."""
        return {}

    def _update(self, *vectors: Any, **options: Any) -> None:
        """Do the step on one block of theta, gradient, and the state arrays in the order of `_initial_state`."""
        raise NotImplementedError(f"{type(self).__name__} defines no _update")

    def check(self, theta: Array, gradient: Array) -> None:
        super().check(theta, gradient)
        for name in self._start:
            array = getattr(self, name)
            if array is not None and (array.shape != theta.shape or array.dtype != theta.dtype):
                raise ValueError(
                    f"theta: expected shape {array.shape} and dtype {array.dtype} as at the last step, "
                    f"got {theta.shape} and {theta.dtype}; make a new optimizer for a new vector"
                )

    def _take_options(self) -> None:
        self._start = self._initial_state()

    def allocate(self, theta: Array) -> list[Array | None]:
        """Return the state arrays; create those that the options need, and give loaded ones their place in memory."""
        state, self._is_first = [], False
        for name, start in self._start.items():
            array = getattr(self, name)
            if array is None and start is not None:
                array, self._is_first = self._place(name, start, theta), True
            elif array is not None and array.base is None:  # loaded or copied: it owns its memory
                array = self._place(name, array, theta)
            state.append(array)
        return state

    def _place(self, name: str, values: Any, theta: Array) -> Array:
        """Return a new state array of these values, where updates are fast."""
        array = empty(theta.size, theta.dtype, 2 + list(self._start).index(name))
        array[:] = values
        setattr(self, name, array)
        return array

    def apply(self, theta: Array, gradient: Array) -> None:
        state = self.allocate(theta)
        self.t += 1
        if theta.nbytes <= BLOCK:
            self._update(theta, gradient, *state)
            return
        size = BLOCK // theta.itemsize
        for start in range(0, theta.size, size):
            block = slice(start, start + size)
            self._update(theta[block], gradient[block], *[None if array is None else array[block] for array in state])

    def _saved(self) -> list[str]:
        return [*super()._saved(), "t", *self._initial_state()]

    def _validate_loaded(self) -> None:
        check_steps(self.t)
        layouts = set()
        for name in self._initial_state():
            array = getattr(self, name)
            check_state_array(array, name)
            if array is not None:
                layouts.add((array.shape, array.dtype))
        if len(layouts) > 1:
            raise ValueError(f"state_dict: expected arrays of one shape and dtype, got {layouts}")
