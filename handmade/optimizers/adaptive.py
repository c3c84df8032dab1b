"""Optimizers with a learning rate for each element, from the sum or the mean of its squared gradients."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .._validation import check_bool, nonnegative, up_to_one
from ._common import Array, Optimizer, move_average, move_average_of_squares, quietly

__all__ = ["Adadelta", "Adagrad", "RMSprop"]


@dataclass(eq=False)
class Adagrad(Optimizer):
    """An optimizer with a learning rate for each element, which falls with the sum of its squared gradients.

    Duchi, Hazan and Singer 2011: s <- s + g^2; theta <- theta - lr g / (sqrt(s) + eps). At step t the
    learning rate is lr / (1 + (t - 1) lr_decay).

    Parameters
    ----------
    lr, lr_decay : float
        Learning rate and its decay.
    weight_decay : float
        Adds weight_decay * theta to the gradient.
    initial_accumulator_value, eps : float
        The value s starts from; a number added to the divisor, so that it is never 0.
    maximize : bool
        Whether to maximize the function instead of minimizing it.

    Attributes
    ----------
    sum : ndarray, shape (P,), or None
        s, the sum of squared gradients.

    Raises
    ------
    ValueError, TypeError
        If an option is out of range, or of another type.

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
    maximize: bool = dataclasses.field(default=False, kw_only=True)

    sum: ClassVar[Array | None] = None

    def _validate(self) -> None:
        self._require(nonnegative, "lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps")
        self._require(check_bool, "maximize")

    def _initial_state(self) -> dict[str, float | None]:
        return {"sum": self.initial_accumulator_value}

    @quietly
    def _update(self, theta: Array, gradient: Array, s: Any) -> None:
        g = self._descent_gradient(theta, gradient)
        s += g * g
        lr = self.lr / (1 + (self.t - 1) * self.lr_decay)
        theta -= lr * (g / (np.sqrt(s) + self.eps))


@dataclass(eq=False)
class RMSprop(Optimizer):
    """An optimizer that divides the gradient by its running root mean square, element by element.

    Tieleman and Hinton 2012 (Coursera, lecture 6e), as in torch.optim.RMSprop:
    s <- alpha s + (1 - alpha) g^2; theta <- theta - lr g / (sqrt(s) + eps). Centered (Graves 2013): s less
    the square of the running mean of g.

    Parameters
    ----------
    lr : float
        Learning rate.
    alpha, eps : float
        Decay of the running means; a number added to the divisor, so that it is never 0.
    weight_decay : float
        Adds weight_decay * theta to the gradient.
    momentum : float
        Momentum factor of a velocity made of the divided gradients.
    centered : bool
        Whether to divide by the running standard deviation instead.
    maximize : bool
        Whether to maximize the function instead of minimizing it.

    Attributes
    ----------
    square_avg, grad_avg, momentum_buffer : ndarray, shape (P,), or None
        The running means of g^2 and, where centered, of g; the velocity, where momentum > 0.

    Raises
    ------
    ValueError, TypeError
        If an option is out of range, or of another type.

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
    maximize: bool = dataclasses.field(default=False, kw_only=True)

    square_avg: ClassVar[Array | None] = None
    grad_avg: ClassVar[Array | None] = None
    momentum_buffer: ClassVar[Array | None] = None

    def _validate(self) -> None:
        self._require(nonnegative, "lr", "eps", "weight_decay", "momentum")
        self._require(up_to_one, "alpha")
        self._require(check_bool, "centered", "maximize")

    def _initial_state(self) -> dict[str, float | None]:
        return {
            "square_avg": 0.0,
            "grad_avg": 0.0 if self.centered else None,
            "momentum_buffer": 0.0 if self.momentum else None,
        }

    @quietly
    def _update(self, theta: Array, gradient: Array, square_avg: Any, grad_avg: Any, velocity: Any) -> None:
        g = self._descent_gradient(theta, gradient)
        move_average_of_squares(square_avg, g, self.alpha)
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
class Adadelta(Optimizer):
    """An optimizer whose step has the units of theta: the ratio of two running root mean squares (Zeiler 2012).

    s <- rho s + (1 - rho) g^2; delta = g sqrt(u + eps) / sqrt(s + eps); u <- rho u + (1 - rho) delta^2;
    theta <- theta - lr delta.

    Parameters
    ----------
    lr : float
        Factor of the step; the paper has none, which means 1.
    rho, eps : float
        Decay of the running means; the summand that lets the first step begin.
    weight_decay : float
        Adds weight_decay * theta to the gradient.
    maximize : bool
        Whether to maximize the function instead of minimizing it.

    Attributes
    ----------
    square_avg, acc_delta : ndarray, shape (P,), or None
        s and u, the running means of g^2 and of delta^2.

    Raises
    ------
    ValueError, TypeError
        If an option is out of range, or of another type.

    Examples
    --------
    >>> theta, gradient = np.array([1.0, 2.0]), np.array([0.5, -4.0])
    >>> hm.Adadelta(eps=1.0, rho=0.0).step(theta, gradient)
    >>> theta.round(4)
    array([0.5528, 2.9701])
    """

    lr: float = 1.0
    rho: float = 0.9
    eps: float = 1e-6
    weight_decay: float = 0.0
    maximize: bool = dataclasses.field(default=False, kw_only=True)

    square_avg: ClassVar[Array | None] = None
    acc_delta: ClassVar[Array | None] = None

    def _validate(self) -> None:
        self._require(nonnegative, "lr", "eps", "weight_decay")
        self._require(up_to_one, "rho")
        self._require(check_bool, "maximize")

    def _initial_state(self) -> dict[str, float | None]:
        return {"square_avg": 0.0, "acc_delta": 0.0}

    @quietly
    def _update(self, theta: Array, gradient: Array, square_avg: Any, acc_delta: Any) -> None:
        g = self._descent_gradient(theta, gradient)
        move_average_of_squares(square_avg, g, self.rho)
        delta = np.sqrt(acc_delta + self.eps) / np.sqrt(square_avg + self.eps) * g
        move_average_of_squares(acc_delta, delta, self.rho)
        theta -= self.lr * delta
