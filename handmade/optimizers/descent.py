"""Optimizers that step along the gradient, its running mean, or its sign."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .._steps import Elementwise
from .._validation import check_bool, finite, nonnegative, positive
from ._common import Array, Optimizer, check_numbers, move_average

__all__ = ["ASGD", "SGD", "Lion", "Momentum1986", "Rprop"]


@dataclass(eq=False)
class SGD(Optimizer):
    """An optimizer by gradient descent, with momentum and Nesterov's momentum as in torch.optim.SGD.

    Lecture, System 11: theta <- theta - lr dL/dtheta. With momentum: v <- momentum v + (1 - dampening) g, the
    first v being g; theta <- theta - lr v, or with Nesterov theta <- theta - lr (g + momentum v).

    Parameters
    ----------
    lr : float
        Learning rate. It may be changed between steps.
    momentum, dampening : float
        Momentum factor; fraction of the gradient left out of the velocity.
    weight_decay : float
        Adds weight_decay * theta to the gradient.
    nesterov : bool
        Needs momentum > 0 and dampening = 0 (Sutskever et al. 2013).
    maximize : bool
        Whether to maximize the function instead of minimizing it.

    Attributes
    ----------
    momentum_buffer : ndarray, shape (P,), or None
        The velocity v.

    Raises
    ------
    ValueError, TypeError
        If an option is out of range, or of another type.

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

    def _update(self, theta: Array, gradient: Array, velocity: Any) -> None:
        g = self._descent_gradient(theta, gradient)
        if self.momentum:
            velocity *= self.momentum
            velocity += g if self._is_first or not self.dampening else (1 - self.dampening) * g  # the first is g
            g = g + self.momentum * velocity if self.nesterov else velocity
        theta -= self.lr * g


@dataclass(eq=False)
class Momentum1986(Elementwise):
    """An optimizer with momentum as published: equation 9 of Rumelhart, Hinton and Williams (Nature 323:533-536, 1986).

    dw(t) = -lr dE/dw(t) + momentum dw(t - 1). The learning rate is inside the velocity dw: a new lr scales
    later gradients only. In `SGD` it is outside: a new lr also scales the velocity of past gradients. While lr
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

    Raises
    ------
    ValueError, TypeError
        If an option is out of range, or of another type.

    Examples
    --------
    With lr = 0 after the first step, SGD stops at once, and the rule of 1986 goes on:

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
class ASGD(Optimizer):
    """An optimizer by gradient descent with a falling learning rate, which also averages the parameters.

    Polyak and Juditsky 1992; the rates are those of Bottou's SGD: lr_t = lr / (1 + lambd lr (t - 1))^alpha;
    theta <- (1 - lambd lr_t) theta - lr_t g. ax is the mean of theta from step t0 + 2 on; before, it is theta.

    Parameters
    ----------
    lr : float
        Learning rate of the first step.
    lambd, alpha : float
        Decay of theta, and with the power alpha of the learning rate.
    t0 : float
        The step at which averaging starts.
    weight_decay : float
        Adds weight_decay * theta to the gradient.
    maximize : bool
        Whether to maximize the function instead of minimizing it.

    Attributes
    ----------
    ax : ndarray, shape (P,), or None
        The mean of theta. To use it, assign ``network.theta = optimizer.ax``.

    Raises
    ------
    ValueError, TypeError
        If an option is out of range, or of another type.

    Notes
    -----
    A new lr takes effect at the next step; in torch.optim.ASGD, one step later.

    Examples
    --------
    >>> theta, optimizer = np.array([1.0]), hm.ASGD(lr=0.5, lambd=0.0, t0=0)
    >>> for gradient in 1.0, -2.0, 1.0:
    ...     optimizer.step(theta, np.array([gradient]))
    >>> theta, optimizer.ax
    (array([1.]), array([1.25]))
    """

    lr: float = 1e-2
    lambd: float = 1e-4
    alpha: float = 0.75
    t0: float = 1e6
    weight_decay: float = 0.0
    maximize: bool = dataclasses.field(default=False, kw_only=True)

    ax: ClassVar[Array | None] = None

    def _validate(self) -> None:
        self._require(nonnegative, "lr", "lambd", "weight_decay")
        self._require(finite, "alpha", "t0")
        self._require(check_bool, "maximize")

    def _initial_state(self) -> dict[str, float | None]:
        return {"ax": 0.0}

    def _update(self, theta: Array, gradient: Array, ax: Any) -> None:
        g = self._descent_gradient(theta, gradient)
        lr = self.lr * float(np.power(1 + self.lambd * self.lr * (self.t - 1), -self.alpha))
        theta *= 1 - self.lambd * lr
        theta -= lr * g
        count = max(1, self.t - 1 - self.t0)
        ax[...] = theta if count == 1 else ax + (theta - ax) / count


@dataclass(eq=False)
class Rprop(Optimizer):
    """An optimizer for full batches that looks at the signs of the gradient alone (Riedmiller and Braun 1993).

    Each element has a step size of its own. It is multiplied by the second of etas while the gradient keeps its sign,
    and by the first when the sign changes; theta then stays. theta <- theta - step sign(g).

    Parameters
    ----------
    lr : float
        The step size of the first step; a later change has no effect, as in PyTorch.
    etas : tuple of two floats
        The factors below and above 1.
    step_sizes : tuple of two floats
        The smallest and the largest step.
    maximize : bool
        Whether to maximize the function instead of minimizing it.

    Attributes
    ----------
    prev, step_size : ndarray, shape (P,), or None
        The last gradient, 0 where its sign had changed; the step sizes.

    Raises
    ------
    ValueError, TypeError
        If an option is out of range, or of another type.

    Examples
    --------
    >>> theta, optimizer = np.array([1.0, 1.0]), hm.Rprop(lr=0.25, etas=(0.5, 2.0))
    >>> for gradient in [1.0, 1.0], [1.0, -1.0]:
    ...     optimizer.step(theta, np.array(gradient))
    >>> theta, optimizer.step_size
    (array([0.25, 0.75]), array([0.5  , 0.125]))
    """

    lr: float = 1e-2
    etas: tuple[float, float] = (0.5, 1.2)
    step_sizes: tuple[float, float] = (1e-6, 50.0)
    maximize: bool = dataclasses.field(default=False, kw_only=True)

    prev: ClassVar[Array | None] = None
    step_size: ClassVar[Array | None] = None

    def _validate(self) -> None:
        self._require(nonnegative, "lr")
        self._require(check_bool, "maximize")
        self.etas = check_numbers(self.etas, "etas", 2, positive)
        self.step_sizes = check_numbers(self.step_sizes, "step_sizes", 2, nonnegative)
        if not self.etas[0] < 1 < self.etas[1]:
            raise ValueError(f"etas: expected one factor below 1 and one above, got {self.etas}")
        if self.step_sizes[0] > self.step_sizes[1]:
            raise ValueError(f"step_sizes: expected the smaller one first, got {self.step_sizes}")

    def _initial_state(self) -> dict[str, float | None]:
        return {"prev": 0.0, "step_size": self.lr}

    def _update(self, theta: Array, gradient: Array, prev: Any, step_size: Any) -> None:
        g = self._descent_gradient(theta, gradient)
        smaller, larger = np.array(self.etas, theta.dtype)
        same = np.sign(g) * np.sign(prev)  # 1 where the sign has stayed, -1 where it has changed
        step_size *= np.where(same < 0, smaller, np.where(same > 0, larger, 1))
        np.clip(step_size, *self.step_sizes, out=step_size)
        prev[...] = np.where(same < 0, 0, g)
        theta -= step_size * np.sign(prev)


@dataclass(eq=False)
class Lion(Optimizer):
    """An optimizer that steps by the sign of a momentum, as far for every element (Chen et al. 2023).

    c = beta1 m + (1 - beta1) g; theta <- theta - lr (sign(c) + weight_decay theta); m <- beta2 m + (1 - beta2) g.
    The paper advises a learning rate 3 to 10 times smaller than AdamW's, and a weight decay as many times larger.

    Parameters
    ----------
    lr : float
        Learning rate, the size of every element's step.
    betas : tuple of two floats
        The share of m in the step, and the decay of m.
    weight_decay : float
        Outside the gradient, as in `AdamW`.
    maximize : bool
        Whether to maximize the function instead of minimizing it.

    Attributes
    ----------
    exp_avg : ndarray, shape (P,), or None
        m.

    Raises
    ------
    ValueError, TypeError
        If an option is out of range, or of another type.

    Notes
    -----
    PyTorch has no Lion; names and defaults are the paper's, and Adam's where the paper has none.

    Examples
    --------
    >>> theta, gradient = np.array([1.0, 2.0]), np.array([0.5, -4.0])
    >>> hm.Lion(lr=0.25).step(theta, gradient)
    >>> theta
    array([0.75, 2.25])
    """

    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    maximize: bool = dataclasses.field(default=False, kw_only=True)

    decoupled_weight_decay = True
    exp_avg: ClassVar[Array | None] = None

    def _validate(self) -> None:
        self._require(nonnegative, "lr", "weight_decay")
        self._require(check_bool, "maximize")
        self._require_betas()

    def _initial_state(self) -> dict[str, float | None]:
        return {"exp_avg": 0.0}

    def _update(self, theta: Array, gradient: Array, m: Any) -> None:
        g = self._descent_gradient(theta, gradient)
        beta1, beta2 = self.betas
        theta -= self.lr * np.sign(beta1 * m + (1 - beta1) * g)
        move_average(m, g, beta2)
