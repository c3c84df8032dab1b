"""6. Gradient descent and its descendants, on one flat vector.

`optimizer.step(theta, gradient)` moves theta in place and returns None; it never changes gradient. theta
holds all parameters, gradient the derivative of the loss by each; where they come from is not known here.

Each algorithm is its paper's update, typed once:

    SGD            theta -= lr g;  with momentum  v = momentum v + g, theta -= lr v
    Momentum1986   v = momentum v - lr g;  theta += v
    Adagrad        s += g^2;  theta -= lr g / (sqrt(s) + eps)
    RMSprop        s = alpha s + (1 - alpha) g^2;  theta -= lr g / (sqrt(s) + eps)
    Adam, AdamW    m and v, such running means of g and g^2;  theta -= lr m / (sqrt(v) + eps)

Names, defaults and numbers are those of torch.optim. Penalties, clipping and bounded norms, which go before
or after an optimizer in a `Chain`, are in `handmade.clipping`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ._state import Stateful
from ._steps import Array, Elementwise, Step
from ._validation import below_one, check_bool, finite, nonnegative, up_to_one

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Chain", "Momentum1986", "RMSprop"]


def decayed(gradient: Array, theta: Array, weight_decay: float) -> Array:
    """Return the gradient of loss + weight_decay / 2 |theta|^2."""
    return gradient + weight_decay * theta if weight_decay else gradient


def move_average(average: Array, x: Array, decay: float) -> None:
    """Set average to decay * average + (1 - decay) * x in place."""
    average *= decay
    average += (1 - decay) * x


@dataclass(eq=False)
class SGD(Elementwise):
    """An optimizer: gradient descent, with momentum and Nesterov's momentum as torch.optim.SGD has them.

    Lecture, system 11: theta <- theta - lr dL/dtheta. With momentum: v <- momentum v + (1 - dampening) g, the
    first v being g; theta <- theta - lr v, or with Nesterov theta <- theta - lr (g + momentum v).

    Parameters
    ----------
    lr : float
        Learning rate: a plain attribute, to be set between steps at will.
    momentum, dampening : float
        Momentum factor; fraction of the gradient left out of the velocity.
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
    >>> hm.SGD(lr=0.5).step(theta, gradient)
    >>> theta
    array([0.75, 2.5 ])
    """

    lr: float = 1e-3
    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False
    maximize: bool = dataclasses.field(default=False, kw_only=True)

    momentum_buffer: ClassVar[Array | None] = None

    def _validate(self) -> None:
        self._require(nonnegative, "lr", "momentum", "weight_decay")
        self._require(finite, "dampening")
        self._require(check_bool, "nesterov", "maximize")
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise ValueError(
                f"nesterov: expected momentum > 0 and dampening = 0 with it, got momentum={self.momentum} "
                f"and dampening={self.dampening}"
            )

    def _initial_state(self) -> dict[str, float | None]:
        return {"momentum_buffer": 0.0 if self.momentum else None}

    def allocate(self, theta: Array) -> list[Array | None]:
        self._starts = self.momentum_buffer is None  # the first velocity is g, undampened
        return super().allocate(theta)

    def _update(self, theta: Array, gradient: Array, velocity: Any) -> None:
        g = -gradient if self.maximize else gradient
        g = decayed(g, theta, self.weight_decay)
        if self.momentum:
            velocity *= self.momentum
            velocity += g if self._starts or not self.dampening else (1 - self.dampening) * g
            g = g + self.momentum * velocity if self.nesterov else velocity
        theta -= self.lr * g


@dataclass(eq=False)
class Momentum1986(Elementwise):
    """An optimizer with momentum as published: equation 9 of Rumelhart, Hinton and Williams (Nature 323:533-536, 1986).

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

    >>> for optimizer in hm.Momentum1986(lr=1.0, momentum=0.5), hm.SGD(lr=1.0, momentum=0.5):
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

    velocity: ClassVar[Array | None] = None

    def _validate(self) -> None:
        self._require(nonnegative, "lr", "momentum")

    def _initial_state(self) -> dict[str, float | None]:
        return {"velocity": 0.0}

    def _update(self, theta: Array, gradient: Array, velocity: Any) -> None:
        velocity *= self.momentum
        velocity -= self.lr * gradient
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
        The value s starts from; the summand that keeps the division finite.

    Attributes
    ----------
    sum : ndarray, shape (P,), or None
        s, the sum of squared gradients.

    Examples
    --------
    >>> theta, gradient = np.array([1.0, 2.0]), np.array([0.5, -4.0])
    >>> hm.Adagrad(lr=0.5, eps=0.0).step(theta, gradient)
    >>> theta
    array([0.5, 2.5])
    """

    lr: float = 1e-2
    lr_decay: float = 0.0
    weight_decay: float = 0.0
    initial_accumulator_value: float = 0.0
    eps: float = 1e-10

    sum: ClassVar[Array | None] = None

    def _validate(self) -> None:
        self._require(nonnegative, "lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps")

    def _initial_state(self) -> dict[str, float | None]:
        return {"sum": self.initial_accumulator_value}

    def _update(self, theta: Array, gradient: Array, s: Any) -> None:
        g = decayed(gradient, theta, self.weight_decay)
        s += g * g
        lr = self.lr / (1 + (self.t - 1) * self.lr_decay)
        theta -= lr * (g / (np.sqrt(s) + self.eps))


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
        Decay of the running means; the summand that keeps the division finite.
    weight_decay : float
        Adds weight_decay * theta to the gradient.
    momentum : float
        Momentum factor of a velocity made of the divided gradients.
    centered : bool
        Divide by the running standard deviation instead.

    Attributes
    ----------
    square_avg, grad_avg, momentum_buffer : ndarray, shape (P,), or None
        The running means of g^2 and, where centered, of g; the velocity, where momentum > 0.

    Examples
    --------
    >>> theta, gradient = np.array([1.0, 2.0]), np.array([0.5, -4.0])
    >>> hm.RMSprop(lr=0.5, alpha=0.75, eps=0.0).step(theta, gradient)
    >>> theta
    array([0., 3.])
    """

    lr: float = 1e-2
    alpha: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum: float = 0.0
    centered: bool = False

    square_avg: ClassVar[Array | None] = None
    grad_avg: ClassVar[Array | None] = None
    momentum_buffer: ClassVar[Array | None] = None

    def _validate(self) -> None:
        self._require(nonnegative, "lr", "eps", "weight_decay", "momentum")
        self._require(up_to_one, "alpha")
        self._require(check_bool, "centered")

    def _initial_state(self) -> dict[str, float | None]:
        return {
            "square_avg": 0.0,
            "grad_avg": 0.0 if self.centered else None,
            "momentum_buffer": 0.0 if self.momentum else None,
        }

    def _update(self, theta: Array, gradient: Array, square_avg: Any, grad_avg: Any, velocity: Any) -> None:
        g = decayed(gradient, theta, self.weight_decay)
        move_average(square_avg, g * g, self.alpha)
        variance = square_avg
        if self.centered:
            move_average(grad_avg, g, self.alpha)
            variance = np.maximum(square_avg - grad_avg * grad_avg, 0)  # below 0 by rounding alone
        g = g / (np.sqrt(variance) + self.eps)
        if self.momentum:
            velocity *= self.momentum
            velocity += g
            g = velocity
        theta -= self.lr * g


@dataclass(eq=False)
class Adam(Elementwise):
    """An optimizer: momentum over RMSprop, both means corrected for their start at zero (Kingma and Ba 2015).

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
        The summand that keeps the division finite.
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
    >>> hm.Adam(lr=0.5, betas=(0.5, 0.75), eps=0.0).step(theta, gradient)
    >>> theta
    array([0.5, 2.5])
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    amsgrad: bool = False

    exp_avg: ClassVar[Array | None] = None
    exp_avg_sq: ClassVar[Array | None] = None
    max_exp_avg_sq: ClassVar[Array | None] = None

    def _validate(self) -> None:
        self._require(nonnegative, "lr", "eps", "weight_decay")
        self._require(check_bool, "amsgrad")
        if isinstance(self.betas, np.ndarray):  # from a file
            self.betas = self.betas.tolist()
        if not isinstance(self.betas, Sequence) or len(self.betas) != 2:
            raise TypeError(f"betas: expected two numbers in [0, 1), got {self.betas!r}")
        self.betas = below_one(self.betas[0], "betas[0]"), below_one(self.betas[1], "betas[1]")

    def _initial_state(self) -> dict[str, float | None]:
        return {"exp_avg": 0.0, "exp_avg_sq": 0.0, "max_exp_avg_sq": 0.0 if self.amsgrad else None}

    def _update(self, theta: Array, gradient: Array, m: Any, v: Any, largest_v: Any) -> None:
        self._adam(theta, decayed(gradient, theta, self.weight_decay), m, v, largest_v)

    def _adam(self, theta: Array, g: Array, m: Array, v: Array, largest_v: Any) -> None:
        beta1, beta2 = self.betas
        move_average(m, g, beta1)
        move_average(v, g * g, beta2)
        if self.amsgrad:
            v = np.maximum(largest_v, v, out=largest_v)
        # As the paper's section 2 advises, the corrections go to the two scalars lr and eps, not to m and v.
        root = math.sqrt(1 - beta2**self.t)
        lr = self.lr * root / (1 - beta1**self.t)
        theta -= lr * (m / (np.sqrt(v) + self.eps * root))


@dataclass(eq=False)
class AdamW(Adam):
    """An optimizer: Adam with the weight decay outside the gradient.

    Loshchilov and Hutter 2019, as in torch.optim.AdamW: theta <- (1 - lr weight_decay) theta, then the step
    of Adam. Parameters and attributes are those of `Adam`.

    Examples
    --------
    >>> theta, gradient = np.array([1.0, 2.0]), np.array([0.5, -4.0])
    >>> hm.AdamW(lr=0.5, betas=(0.5, 0.75), eps=0.0, weight_decay=0.5).step(theta, gradient)
    >>> theta
    array([0.25, 2.  ])
    """

    weight_decay: float = 1e-2

    def _update(self, theta: Array, gradient: Array, m: Any, v: Any, largest_v: Any) -> None:
        theta *= 1 - self.lr * self.weight_decay
        self._adam(theta, gradient, m, v, largest_v)


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
        self.optimizer = optimizers[0]

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
