"""Gradient descent and its descendants, on one flat vector.

`optimizer.step(theta, gradient)` moves theta in place and returns None; it never changes gradient. theta
holds all parameters, gradient the derivative of the loss by each; where they come from is not known here.

Each algorithm is its paper's update, typed once, for one block of the vector:

    SGD            theta -= lr g;  with momentum  v = momentum v + g, theta -= lr v
    Momentum1986   v = momentum v - lr g;  theta += v
    Adagrad        s += g^2;  theta -= lr g / (sqrt(s) + eps)
    RMSprop        s = alpha s + (1 - alpha) g^2;  theta -= lr g / (sqrt(s) + eps)
    Adam, AdamW    m and v, such running means of g and g^2;  theta -= lr m / (sqrt(v) + eps)

Names, defaults and numbers are those of torch.optim. `Chain` puts other steps before or after an optimizer:
`L1`, `ClipGradNorm` and `ClipGradValue`, which do change gradient in place, and `MaxNorm`.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ._validation import check_count

BLOCK = 32768  # elements, so few that all the arrays of one update stay in the cache


# --- Hyperparameters: what they may be, and how they are saved ------------------------------------


def number(expected: str, accepts: Callable[[Any], bool]) -> Callable[[Any, str], float]:
    """Make a check(value, name) that returns value as a float, or raises saying what was expected."""

    def check(value: Any, name: str) -> float:
        # To Python a bool is a number; here it is an argument in the wrong place.
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise TypeError(f"{name}: expected {expected}, got {value!r} of type {type(value).__name__}")
        if not accepts(value):
            raise ValueError(f"{name}: expected {expected}, got {value!r}")
        return float(value)

    return check


finite = number("a finite number", math.isfinite)
nonnegative = number("a finite number >= 0", lambda x: 0 <= x < math.inf)
positive = number("a finite number > 0", lambda x: 0 < x < math.inf)
nonnegative_or_infinite = number("a number >= 0", lambda x: x >= 0)
positive_or_infinite = number("a number > 0", lambda x: x > 0)
up_to_one = number("a number in [0, 1]", lambda x: 0 <= x <= 1)
below_one = number("a number in [0, 1)", lambda x: 0 <= x < 1)


def flag(value: Any, name: str) -> bool:
    """Return value, or raise where it is not a bool."""
    if not isinstance(value, bool):
        raise TypeError(f"{name}: expected True or False, got {value!r}")
    return value


class Resumable:
    """A dataclass whose fields are its hyperparameters, and which can be saved and resumed exactly."""

    def _validate(self) -> None:
        """Raise unless every hyperparameter is legal; make each a plain Python value."""

    def _validate_loaded(self) -> None:
        """Raise unless the state besides the hyperparameters is legal, after `load_state_dict`."""

    def _require(self, check: Callable[[Any, str], Any], *names: str) -> None:
        for name in names:
            setattr(self, name, check(getattr(self, name), name))

    def _saved(self) -> list[str]:
        """Name the attributes that go into `state_dict`."""
        return [field.name for field in dataclasses.fields(self)]

    def _members(self) -> Sequence[Resumable]:
        """Return the parts that have a `state_dict` of their own."""
        return ()

    def state_dict(self) -> dict[str, Any]:
        """Return hyperparameters and state as a plain dict of copies: all that an exact resumption needs."""
        state = {name: copy.copy(getattr(self, name)) for name in self._saved()}
        members = [part.state_dict() for part in self._members()]
        return {"class": type(self).__name__, **state, "members": members}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` of the same class returned; on an error nothing is changed.

        Raises
        ------
        TypeError
            If state_dict is not a dict, or a value in it has a wrong type.
        ValueError
            If it comes from another class, lacks a key or has one too many, or holds an illegal value.
        """
        for part, attributes in self._parse(state_dict):
            part.__dict__.update(attributes)

    def _parse(self, state_dict: dict[str, Any]) -> list[tuple[Resumable, dict[str, Any]]]:
        """Return the attributes that state_dict stands for, for self and for each member; change nothing."""
        if not isinstance(state_dict, dict):
            raise TypeError(f"state_dict: expected a dict, got {type(state_dict).__name__}")
        name = type(self).__name__
        if state_dict.get("class") != name:
            raise ValueError(f"state_dict: expected class {name!r}, got {state_dict.get('class')!r}")
        expected = ["class", *self._saved(), "members"]
        if state_dict.keys() != set(expected):
            raise ValueError(f"state_dict: expected the keys {expected}, got {list(state_dict)}")
        states = state_dict["members"]
        if len(states) != len(self._members()):
            raise ValueError(f"state_dict: expected {len(self._members())} members, got {len(states)}")
        candidate = copy.copy(self)
        candidate.__dict__.update({name: copy.copy(state_dict[name]) for name in self._saved()})
        candidate._validate()
        candidate._validate_loaded()
        parsed = [part._parse(state) for part, state in zip(self._members(), states, strict=True)]
        return [(self, candidate.__dict__), *(pair for pairs in parsed for pair in pairs)]


# --- A step, and a step in blocks -----------------------------------------------------------------


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


# --- The optimizers -------------------------------------------------------------------------------


def with_weight_decay(gradient, theta, weight_decay, out, scratch):
    """Return the gradient of loss + weight_decay / 2 |theta|^2; in out, unless it is gradient itself."""
    if weight_decay == 0:
        return gradient
    np.multiply(theta, weight_decay, out=scratch)
    return np.add(gradient, scratch, out=out)


def move_average(average, x, decay, scratch):
    """Set average to decay * average + (1 - decay) * x in place; scratch may be x itself."""
    average *= decay
    average += np.multiply(x, 1 - decay, out=scratch)


@dataclass(eq=False)
class SGD(Elementwise):
    """Gradient descent, with momentum and Nesterov's momentum as torch.optim.SGD has them.

    Lecture, system 11: theta <- theta - lr dL/dtheta. With momentum: v <- momentum v + (1 - dampening) g, the
    first v being g; theta <- theta - lr v, or with Nesterov theta <- theta - lr (g + momentum v).

    Parameters
    ----------
    lr : float
        Learning rate: a plain attribute, to be set between steps at will.
    momentum, dampening : float
        The share of the last velocity that is kept; the share of the gradient that is kept out of it.
    weight_decay : float
        Adds weight_decay * theta to the gradient.
    nesterov : bool
        Needs momentum > 0 and dampening = 0 (Sutskever et al. 2013).
    maximize : bool
        Climb instead of descend.

    Attributes
    ----------
    momentum_buffer : ndarray, shape (P,), or None
        The velocity v.

    Examples
    --------
    >>> theta, gradient = np.array([1.0, 2.0]), np.array([0.5, -1.0])
    >>> SGD(lr=0.5).step(theta, gradient)
    >>> theta
    array([0.75, 2.5 ])
    """

    lr: float = 1e-3
    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False
    maximize: bool = dataclasses.field(default=False, kw_only=True)

    def _validate(self) -> None:
        self._require(nonnegative, "lr", "momentum", "weight_decay")
        self._require(finite, "dampening")
        self._require(flag, "nesterov", "maximize")
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise ValueError(
                f"nesterov: expected momentum > 0 and dampening = 0 with it, got momentum={self.momentum} "
                f"and dampening={self.dampening}"
            )

    def _initial_state(self) -> dict[str, float | None]:
        return {"momentum_buffer": 0.0 if self.momentum else None}

    def _update(self, theta, gradient, velocity, a, b):
        g = np.negative(gradient, out=a) if self.maximize else gradient
        g = with_weight_decay(g, theta, self.weight_decay, out=a, scratch=b)
        if self.momentum:
            velocity *= self.momentum
            dampened = self.dampening and self.t > 1
            velocity += np.multiply(g, 1 - self.dampening, out=b) if dampened else g
            if self.nesterov:
                np.multiply(velocity, self.momentum, out=b)
                g = np.add(g, b, out=a)
            else:
                g = velocity
        theta -= np.multiply(g, self.lr, out=b)


@dataclass(eq=False)
class Momentum1986(Elementwise):
    """Momentum as published: equation 9 of Rumelhart, Hinton and Williams (Nature 323:533-536, 1986).

    dw(t) = -lr dE/dw(t) + momentum dw(t - 1). The learning rate is inside the velocity dw: a new lr bears on
    the gradients to come. In `SGD` it is outside: a new lr also scales the velocity gathered so far. While lr
    is constant the two agree. The defaults are those of the paper's mirror-symmetry experiment.

    Parameters
    ----------
    lr : float
        The paper's epsilon, for a gradient that is summed over all cases.
    momentum : float
        The paper's alpha.

    Attributes
    ----------
    velocity : ndarray, shape (P,), or None
        dw, the last change of theta.

    Examples
    --------
    With lr = 0 after the first step SGD stops at once; the rule of 1986 rolls on.

    >>> for optimizer in Momentum1986(lr=1.0, momentum=0.5), SGD(lr=1.0, momentum=0.5):
    ...     theta, gradient = np.array([0.0]), np.array([1.0])
    ...     optimizer.step(theta, gradient)
    ...     optimizer.lr = 0.0
    ...     optimizer.step(theta, gradient)
    ...     print(theta)
    [-1.5]
    [-1.]
    """

    lr: float = 0.1
    momentum: float = 0.9

    def _validate(self) -> None:
        self._require(nonnegative, "lr", "momentum")

    def _initial_state(self) -> dict[str, float | None]:
        return {"velocity": 0.0}

    def _update(self, theta, gradient, velocity, a, b):
        velocity *= self.momentum
        velocity -= np.multiply(gradient, self.lr, out=a)
        theta += velocity


@dataclass(eq=False)
class Adagrad(Elementwise):
    """A learning rate for each element, falling with the sum of its squared gradients.

    Duchi, Hazan and Singer 2011: s <- s + g^2; theta <- theta - lr g / (sqrt(s) + eps). At step t the
    learning rate is lr / (1 + (t - 1) lr_decay).

    Parameters
    ----------
    lr, lr_decay : float
        Learning rate and its decay.
    weight_decay : float
        Adds weight_decay * theta to the gradient.
    initial_accumulator_value, eps : float
        The value s starts from; what keeps the division finite.

    Attributes
    ----------
    sum : ndarray, shape (P,), or None
        s, the sum of squared gradients.

    Examples
    --------
    >>> theta, gradient = np.array([1.0, 2.0]), np.array([0.5, -4.0])
    >>> Adagrad(lr=0.5, eps=0.0).step(theta, gradient)
    >>> theta
    array([0.5, 2.5])
    """

    lr: float = 1e-2
    lr_decay: float = 0.0
    weight_decay: float = 0.0
    initial_accumulator_value: float = 0.0
    eps: float = 1e-10

    def _validate(self) -> None:
        self._require(nonnegative, "lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps")

    def _initial_state(self) -> dict[str, float | None]:
        return {"sum": self.initial_accumulator_value}

    def _update(self, theta, gradient, s, a, b):
        g = with_weight_decay(gradient, theta, self.weight_decay, out=a, scratch=b)
        s += np.multiply(g, g, out=b)
        np.sqrt(s, out=b)
        b += self.eps
        np.divide(g, b, out=b)
        b *= self.lr / (1 + (self.t - 1) * self.lr_decay)
        theta -= b


@dataclass(eq=False)
class RMSprop(Elementwise):
    """The gradient divided by the running root mean square of its past, element by element.

    Tieleman and Hinton 2012 (Coursera, lecture 6e), as in torch.optim.RMSprop:
    s <- alpha s + (1 - alpha) g^2; theta <- theta - lr g / (sqrt(s) + eps). Centered (Graves 2013): s less
    the square of the running mean of g.

    Parameters
    ----------
    lr : float
        Learning rate.
    alpha, eps : float
        Decay of the running means; what keeps the division finite.
    weight_decay : float
        Adds weight_decay * theta to the gradient.
    momentum : float
        The share of the last velocity that is kept; the divided gradient is added to it.
    centered : bool
        Divide by the running standard deviation instead.

    Attributes
    ----------
    square_avg, grad_avg, momentum_buffer : ndarray, shape (P,), or None
        The running means of g^2 and, where centered, of g; the velocity, where momentum > 0.

    Examples
    --------
    >>> theta, gradient = np.array([1.0, 2.0]), np.array([0.5, -4.0])
    >>> RMSprop(lr=0.5, alpha=0.75, eps=0.0).step(theta, gradient)
    >>> theta
    array([0., 3.])
    """

    lr: float = 1e-2
    alpha: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum: float = 0.0
    centered: bool = False

    def _validate(self) -> None:
        self._require(nonnegative, "lr", "eps", "weight_decay", "momentum")
        self._require(up_to_one, "alpha")
        self._require(flag, "centered")

    def _initial_state(self) -> dict[str, float | None]:
        return {
            "square_avg": 0.0,
            "grad_avg": 0.0 if self.centered else None,
            "momentum_buffer": 0.0 if self.momentum else None,
        }

    def _update(self, theta, gradient, square_avg, grad_avg, velocity, a, b):
        g = with_weight_decay(gradient, theta, self.weight_decay, out=a, scratch=b)
        move_average(square_avg, np.multiply(g, g, out=b), self.alpha, scratch=b)
        variance = square_avg
        if self.centered:
            move_average(grad_avg, g, self.alpha, scratch=b)
            np.multiply(grad_avg, grad_avg, out=b)
            variance = np.subtract(square_avg, b, out=b)
        np.sqrt(variance, out=b)
        b += self.eps
        np.divide(g, b, out=b)
        if self.momentum:
            velocity *= self.momentum
            velocity += b
            theta -= np.multiply(velocity, self.lr, out=b)
        else:
            b *= self.lr
            theta -= b


@dataclass(eq=False)
class Adam(Elementwise):
    """Momentum over RMSprop, both running means corrected for their start at zero (Kingma and Ba 2015).

    m <- beta1 m + (1 - beta1) g; v <- beta2 v + (1 - beta2) g^2; mhat = m / (1 - beta1^t);
    vhat = v / (1 - beta2^t); theta <- theta - lr mhat / (sqrt(vhat) + eps). With amsgrad (Reddi, Kale and
    Kumar 2018) the largest v so far takes the place of v.

    Parameters
    ----------
    lr : float
        Learning rate.
    betas : tuple of two floats
        Decay of m and of v.
    eps : float
        What keeps the division finite.
    weight_decay : float
        Adds weight_decay * theta to the gradient; compare `AdamW`.
    amsgrad : bool
        Never let the divisor fall.

    Attributes
    ----------
    exp_avg, exp_avg_sq, max_exp_avg_sq : ndarray, shape (P,), or None
        m, v and, with amsgrad, the largest v.

    Examples
    --------
    >>> theta, gradient = np.array([1.0, 2.0]), np.array([0.5, -4.0])
    >>> Adam(lr=0.5, betas=(0.5, 0.75), eps=0.0).step(theta, gradient)
    >>> theta
    array([0.5, 2.5])
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    amsgrad: bool = False

    def _validate(self) -> None:
        self._require(nonnegative, "lr", "eps", "weight_decay")
        self._require(flag, "amsgrad")
        if not isinstance(self.betas, Sequence) or len(self.betas) != 2:
            raise TypeError(f"betas: expected two numbers in [0, 1), got {self.betas!r}")
        self.betas = tuple(below_one(beta, f"betas[{i}]") for i, beta in enumerate(self.betas))

    def _initial_state(self) -> dict[str, float | None]:
        return {"exp_avg": 0.0, "exp_avg_sq": 0.0, "max_exp_avg_sq": 0.0 if self.amsgrad else None}

    def _update(self, theta, gradient, m, v, largest_v, a, b):
        g = with_weight_decay(gradient, theta, self.weight_decay, out=a, scratch=b)
        self._adam(theta, g, m, v, largest_v, b)

    def _adam(self, theta, g, m, v, largest_v, b):
        beta1, beta2 = self.betas
        move_average(m, g, beta1, scratch=b)
        move_average(v, np.multiply(g, g, out=b), beta2, scratch=b)
        if self.amsgrad:
            v = np.maximum(largest_v, v, out=largest_v)
        # As the paper's section 2 advises, the corrections go to the two scalars lr and eps, not to m and v.
        root = math.sqrt(1 - beta2**self.t)
        np.sqrt(v, out=b)
        b += self.eps * root
        np.divide(m, b, out=b)
        b *= self.lr * root / (1 - beta1**self.t)
        theta -= b


@dataclass(eq=False)
class AdamW(Adam):
    """Adam with the weight decay outside the gradient.

    Loshchilov and Hutter 2019, as in torch.optim.AdamW: theta <- (1 - lr weight_decay) theta, then the step
    of Adam. Parameters and attributes are those of `Adam`.

    Examples
    --------
    >>> theta, gradient = np.array([1.0, 2.0]), np.array([0.5, -4.0])
    >>> AdamW(lr=0.5, betas=(0.5, 0.75), eps=0.0, weight_decay=0.5).step(theta, gradient)
    >>> theta
    array([0.25, 2.  ])
    """

    weight_decay: float = 1e-2

    def _update(self, theta, gradient, m, v, largest_v, a, b):
        theta *= 1 - self.lr * self.weight_decay
        self._adam(theta, gradient, m, v, largest_v, b)


# --- Steps before and after an optimizer ----------------------------------------------------------


def clip_grad_norm_(gradient: npt.NDArray, max_norm: float, norm_type: float = 2.0) -> float:
    """Scale gradient in place by min(1, max_norm / (norm + 1e-6)), as torch.nn.utils.clip_grad_norm_ does.

    Parameters
    ----------
    gradient : ndarray, shape (P,)
        Changed in place.
    max_norm : float
        The norm that is allowed; infinity only measures.
    norm_type : float
        Order of the norm, greater than 0; infinity means the largest magnitude.

    Returns
    -------
    float
        The norm before clipping. It is finite also where the squares of the elements overflow.

    Examples
    --------
    >>> gradient = np.array([3.0, 4.0])
    >>> clip_grad_norm_(gradient, max_norm=1.0)
    5.0
    >>> gradient.round(6)
    array([0.6, 0.8])
    """
    check_array(gradient, "gradient", 1, writeable=True)
    max_norm = nonnegative_or_infinite(max_norm, "max_norm")
    norm_type = positive_or_infinite(norm_type, "norm_type")
    with np.errstate(over="ignore"):
        norm = float(np.linalg.norm(gradient, norm_type))
    if norm == math.inf and np.isfinite(gradient).all():
        largest = float(np.linalg.norm(gradient, math.inf))
        norm = largest * float(np.linalg.norm(gradient / largest, norm_type))
    scale = max_norm / (norm + 1e-6)
    if not scale >= 1:  # so that a NaN is passed on, as in torch
        gradient *= scale
    return norm


def clip_grad_value_(gradient: npt.NDArray, clip_value: float) -> None:
    """Limit each element to [-clip_value, clip_value] in place, as torch.nn.utils.clip_grad_value_ does.

    Parameters
    ----------
    gradient : ndarray, shape (P,)
        Changed in place.
    clip_value : float
        The magnitude that is allowed.

    Examples
    --------
    >>> gradient = np.array([0.5, -4.0])
    >>> clip_grad_value_(gradient, 1.0)
    >>> gradient
    array([ 0.5, -1. ])
    """
    check_array(gradient, "gradient", 1, writeable=True)
    clip_value = nonnegative_or_infinite(clip_value, "clip_value")
    np.clip(gradient, -clip_value, clip_value, out=gradient)


@dataclass(eq=False)
class ClipGradNorm(Step):
    """`clip_grad_norm_` as a step: changes gradient in place, leaves theta alone."""

    max_norm: float
    norm_type: float = 2.0
    changes_gradient = True

    def _validate(self) -> None:
        self._require(nonnegative_or_infinite, "max_norm")
        self._require(positive_or_infinite, "norm_type")

    def apply(self, theta: npt.NDArray, gradient: npt.NDArray) -> None:
        clip_grad_norm_(gradient, self.max_norm, self.norm_type)


@dataclass(eq=False)
class ClipGradValue(Step):
    """`clip_grad_value_` as a step: changes gradient in place, leaves theta alone."""

    clip_value: float
    changes_gradient = True

    def _validate(self) -> None:
        self._require(nonnegative_or_infinite, "clip_value")

    def apply(self, theta: npt.NDArray, gradient: npt.NDArray) -> None:
        clip_grad_value_(gradient, self.clip_value)


@dataclass(eq=False)
class L1(Elementwise):
    """Adds l1 * sign(theta), the gradient of l1 |theta|_1, to gradient in place; leaves theta alone.

    Examples
    --------
    >>> theta, gradient = np.array([2.0, 0.0, -3.0]), np.zeros(3)
    >>> L1(0.5).step(theta, gradient)
    >>> gradient
    array([ 0.5,  0. , -0.5])
    """

    l1: float
    changes_gradient = True

    def _validate(self) -> None:
        self._require(nonnegative, "l1")

    def _update(self, theta, gradient, a, b):
        np.sign(theta, out=a)
        a *= self.l1
        gradient += a


@dataclass(eq=False)
class MaxNorm(Step):
    """Shortens each unit's incoming weights to max_norm where their 2-norm exceeds it.

    Srivastava et al. 2014. Changes theta and leaves gradient alone; belongs after the optimizer.

    Parameters
    ----------
    weights : list of ndarray, each of shape (O, I)
        Views into theta, a row for each unit.
    max_norm : float
        The largest norm of a row.

    Examples
    --------
    >>> theta, gradient = np.array([3.0, 4.0, 0.3, 0.4]), np.zeros(4)
    >>> MaxNorm([theta.reshape(2, 2)], max_norm=1.0).step(theta, gradient)
    >>> theta
    array([0.6, 0.8, 0.3, 0.4])
    """

    weights: list[npt.NDArray] = dataclasses.field(repr=False)
    max_norm: float

    def _validate(self) -> None:
        self._require(positive, "max_norm")
        for i, weight in enumerate(self.weights):
            check_array(weight, f"weights[{i}]", 2, writeable=True)

    def _saved(self) -> list[str]:
        return ["max_norm"]

    def check(self, theta: npt.NDArray, gradient: npt.NDArray) -> None:
        super().check(theta, gradient)
        for i, weight in enumerate(self.weights):
            if not np.may_share_memory(weight, theta):
                raise ValueError(f"weights[{i}]: expected a view into theta, got an array of its own memory")

    def apply(self, theta: npt.NDArray, gradient: npt.NDArray) -> None:
        for weight in self.weights:
            norm = np.sqrt(np.einsum("oi,oi->o", weight, weight))
            weight *= (self.max_norm / np.maximum(norm, self.max_norm))[:, None]


def of_the_optimizer(name: str) -> property:
    """Make a property of `Chain` that reads and sets the attribute `name` of its optimizer."""
    return property(
        lambda chain: getattr(chain.optimizer, name),
        lambda chain, value: setattr(chain.optimizer, name, value),
        doc=f"`{name}` of the chain's optimizer, to read and to set.",
    )


class Chain(Step):
    """Several steps as one, in order: on an error none of them has happened.

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
    >>> chain = Chain(ClipGradValue(1.0), SGD(lr=0.5))
    >>> theta, gradient = np.array([1.0, 2.0]), np.array([0.5, -4.0])
    >>> chain.step(theta, gradient)
    >>> theta
    array([0.75, 2.5 ])
    >>> chain.lr
    0.5
    """

    lr, momentum, betas = map(of_the_optimizer, ("lr", "momentum", "betas"))

    def __init__(self, *steps: Step) -> None:
        for i, step in enumerate(steps):
            if not isinstance(step, Step):
                raise TypeError(f"steps[{i}]: expected a Step such as L1(1e-4) or SGD(), got {step!r}")
        optimizers = [step for step in steps if hasattr(step, "lr")]
        if len(optimizers) != 1:
            raise ValueError(f"steps: expected one optimizer, a step with a learning rate, got {optimizers}")
        self.steps = steps
        self.optimizer = optimizers[0]

    def __repr__(self) -> str:
        return f"Chain({', '.join(map(repr, self.steps))})"

    def _saved(self) -> list[str]:
        return []

    def _members(self) -> Sequence[Resumable]:
        return self.steps

    def check(self, theta: npt.NDArray, gradient: npt.NDArray) -> None:
        for step in self.steps:
            step.check(theta, gradient)

    def apply(self, theta: npt.NDArray, gradient: npt.NDArray) -> None:
        for step in self.steps:
            step.apply(theta, gradient)
