"""Adam and its relatives: a running mean of the gradient, divided by a running size of it."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .._validation import check_bool, nonnegative, up_to_one
from ._common import Array, Optimizer, move_average, move_average_of_squares, quietly

__all__ = ["Adam", "AdamW", "Adamax", "NAdam", "RAdam"]


@dataclass(eq=False)
class Adam(Optimizer):
    """An optimizer with running means of gradient and squared gradient, bias-corrected (Kingma and Ba 2015).

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
        Added to the divisor, so that it is never 0.
    weight_decay : float
        Adds weight_decay * theta to the gradient; compare `AdamW`.
    amsgrad : bool
        Whether the divisor never decreases.
    maximize : bool
        Whether to maximize the function instead of minimizing it.

    Attributes
    ----------
    exp_avg, exp_avg_sq, max_exp_avg_sq : ndarray, shape (P,), or None
        m, v and, with amsgrad, the largest v.

    Raises
    ------
    ValueError, TypeError
        If an option is out of range, or of another type.

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
    maximize: bool = dataclasses.field(default=False, kw_only=True)

    exp_avg: ClassVar[Array | None] = None
    exp_avg_sq: ClassVar[Array | None] = None
    max_exp_avg_sq: ClassVar[Array | None] = None

    def _validate(self) -> None:
        self._require(nonnegative, "lr", "eps", "weight_decay")
        self._require(check_bool, "amsgrad", "maximize")
        self._require_betas()

    def _initial_state(self) -> dict[str, float | None]:
        return {"exp_avg": 0.0, "exp_avg_sq": 0.0, "max_exp_avg_sq": 0.0 if self.amsgrad else None}

    @quietly
    def _update(self, theta: Array, gradient: Array, m: Any, v: Any, largest_v: Any) -> None:
        g = self._descent_gradient(theta, gradient)
        beta1, beta2 = self.betas
        move_average(m, g, beta1)
        move_average_of_squares(v, g, beta2)
        if self.amsgrad:
            v = np.maximum(largest_v, v, out=largest_v)
        # As the paper's section 2 advises, the corrections go to the two scalars lr and eps, not to m and v.
        root = math.sqrt(1 - beta2**self.t)
        step = np.sqrt(v)
        step += self.eps * root
        np.divide(m, step, out=step)
        step *= self.lr * root / (1 - beta1**self.t)
        theta -= step


@dataclass(eq=False)
class AdamW(Adam):
    """An optimizer like Adam, with the weight decay outside the gradient.

    Loshchilov and Hutter 2019, as in torch.optim.AdamW: theta <- (1 - lr weight_decay) theta, then the step
    of Adam. Parameters and attributes are those of `Adam`.

    Raises
    ------
    ValueError, TypeError
        If an option is out of range, or of another type.

    Examples
    --------
    >>> theta, gradient = np.array([1.0, 2.0]), np.array([0.5, -4.0])
    >>> hm.AdamW(lr=0.5, betas=(0.5, 0.75), eps=0.0, weight_decay=0.5).step(theta, gradient)
    >>> theta
    array([0.25, 2.  ])
    """

    weight_decay: float = 1e-2

    decoupled_weight_decay = True


@dataclass(eq=False)
class NAdam(Optimizer):
    """An optimizer: Adam with Nesterov's momentum (Dozat 2016).

    m, v and vhat as in `Adam`. mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2);
    d = (1 - mu_t) g / (1 - mu_1 ... mu_t) + mu_{t+1} m / (1 - mu_1 ... mu_{t+1});
    theta <- theta - lr d / (sqrt(vhat) + eps).

    Parameters
    ----------
    lr : float
        Learning rate.
    betas : tuple of two floats
        Decay of m and of v.
    eps : float
        Added to the divisor, so that it is never 0.
    weight_decay : float
        Adds weight_decay * theta to the gradient.
    momentum_decay : float
        How fast mu grows to beta1.
    decoupled_weight_decay : bool
        Whether to keep the weight decay out of the gradient, as `AdamW` does.
    maximize : bool
        Whether to maximize the function instead of minimizing it.

    Attributes
    ----------
    exp_avg, exp_avg_sq : ndarray, shape (P,), or None
        m and v.
    mu_product : float
        mu_1 ... mu_t.

    Raises
    ------
    ValueError, TypeError
        If an option is out of range, or of another type.

    Examples
    --------
    >>> theta, gradient = np.array([1.0, 2.0]), np.array([0.5, -4.0])
    >>> hm.NAdam(lr=0.5, betas=(0.5, 0.75), eps=0.0, momentum_decay=0.0).step(theta, gradient)
    >>> theta
    array([0.43333333, 2.56666667])
    """

    lr: float = 2e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum_decay: float = 4e-3
    decoupled_weight_decay: bool = False
    maximize: bool = dataclasses.field(default=False, kw_only=True)

    exp_avg: ClassVar[Array | None] = None
    exp_avg_sq: ClassVar[Array | None] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.mu_product: float = 1.0

    def _validate(self) -> None:
        self._require(nonnegative, "lr", "eps", "weight_decay", "momentum_decay")
        self._require(check_bool, "decoupled_weight_decay", "maximize")
        self._require_betas()

    def _initial_state(self) -> dict[str, float | None]:
        return {"exp_avg": 0.0, "exp_avg_sq": 0.0}

    def _mu(self, t: int) -> float:
        """Return the momentum of step t."""
        return float(self.betas[0] * (1 - 0.5 * 0.96 ** (t * self.momentum_decay)))

    def apply(self, theta: Array, gradient: Array) -> None:
        self.mu_product *= self._mu(self.t + 1)  # once for all blocks
        super().apply(theta, gradient)

    @quietly
    def _update(self, theta: Array, gradient: Array, m: Any, v: Any) -> None:
        g = self._descent_gradient(theta, gradient)
        beta1, beta2 = self.betas
        move_average(m, g, beta1)
        move_average_of_squares(v, g, beta2)
        mu, mu_next = self._mu(self.t), self._mu(self.t + 1)
        d = (1 - mu) / (1 - self.mu_product) * g + mu_next / (1 - self.mu_product * mu_next) * m
        theta -= self.lr * (d / (np.sqrt(v / (1 - beta2**self.t)) + self.eps))

    def _saved(self) -> list[str]:
        return [*super()._saved(), "mu_product"]

    def _validate_loaded(self) -> None:
        super()._validate_loaded()
        self._require(up_to_one, "mu_product")


@dataclass(eq=False)
class RAdam(Optimizer):
    """An optimizer: Adam that divides by sqrt(v) only once v is reliable (Liu et al. 2020).

    m, v, mhat and vhat as in `Adam`. The number of gradients that v averages over is about
    rho_t = rho_inf - 2 t beta2^t / (1 - beta2^t), with rho_inf = 2 / (1 - beta2) - 1. While rho_t <= 5,
    theta <- theta - lr mhat. From then on theta <- theta - lr r_t mhat / sqrt(vhat) with
    r_t^2 = (rho_t - 4) (rho_t - 2) rho_inf / ((rho_inf - 4) (rho_inf - 2) rho_t).

    Parameters
    ----------
    lr : float
        Learning rate.
    betas : tuple of two floats
        Decay of m and of v.
    eps : float
        Added to the divisor, so that it is never 0.
    weight_decay : float
        Adds weight_decay * theta to the gradient.
    decoupled_weight_decay : bool
        Whether to keep the weight decay out of the gradient, as `AdamW` does.
    maximize : bool
        Whether to maximize the function instead of minimizing it.

    Attributes
    ----------
    exp_avg, exp_avg_sq : ndarray, shape (P,), or None
        m and v.

    Raises
    ------
    ValueError, TypeError
        If an option is out of range, or of another type.

    Notes
    -----
    As in torch.optim.RAdam, eps is added to sqrt(v), and not to sqrt(vhat) as in `Adam`.

    Examples
    --------
    >>> theta, gradient = np.array([1.0, 2.0]), np.array([0.5, -4.0])
    >>> hm.RAdam(lr=0.5).step(theta, gradient)
    >>> theta
    array([0.75, 4.  ])
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    decoupled_weight_decay: bool = False
    maximize: bool = dataclasses.field(default=False, kw_only=True)

    exp_avg: ClassVar[Array | None] = None
    exp_avg_sq: ClassVar[Array | None] = None

    def _validate(self) -> None:
        self._require(nonnegative, "lr", "eps", "weight_decay")
        self._require(check_bool, "decoupled_weight_decay", "maximize")
        self._require_betas()

    def _initial_state(self) -> dict[str, float | None]:
        return {"exp_avg": 0.0, "exp_avg_sq": 0.0}

    @quietly
    def _update(self, theta: Array, gradient: Array, m: Any, v: Any) -> None:
        g = self._descent_gradient(theta, gradient)
        beta1, beta2 = self.betas
        move_average(m, g, beta1)
        move_average_of_squares(v, g, beta2)
        lr, left = self.lr / (1 - beta1**self.t), beta2**self.t
        rho_inf = 2 / (1 - beta2) - 1
        rho = rho_inf - 2 * self.t * left / (1 - left)
        if rho <= 5:
            theta -= lr * m
            return
        r = math.sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho))
        theta -= lr * r * math.sqrt(1 - left) * (m / (np.sqrt(v) + self.eps))


@dataclass(eq=False)
class Adamax(Optimizer):
    """An optimizer: Adam with the infinity norm (Kingma and Ba 2015, section 7.1).

    m <- beta1 m + (1 - beta1) g; u <- max(beta2 u, |g| + eps); theta <- theta - lr / (1 - beta1^t) m / u.

    Parameters
    ----------
    lr : float
        Learning rate.
    betas : tuple of two floats
        Decay of m and of u.
    eps : float
        Added to the divisor, so that it is never 0.
    weight_decay : float
        Adds weight_decay * theta to the gradient.
    maximize : bool
        Whether to maximize the function instead of minimizing it.

    Attributes
    ----------
    exp_avg, exp_inf : ndarray, shape (P,), or None
        m and u.

    Raises
    ------
    ValueError, TypeError
        If an option is out of range, or of another type.

    Examples
    --------
    >>> theta, gradient = np.array([1.0, 2.0]), np.array([0.5, -4.0])
    >>> hm.Adamax(lr=0.5, eps=0.0).step(theta, gradient)
    >>> theta
    array([0.5, 2.5])
    """

    lr: float = 2e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    maximize: bool = dataclasses.field(default=False, kw_only=True)

    exp_avg: ClassVar[Array | None] = None
    exp_inf: ClassVar[Array | None] = None

    def _validate(self) -> None:
        self._require(nonnegative, "lr", "eps", "weight_decay")
        self._require(check_bool, "maximize")
        self._require_betas()

    def _initial_state(self) -> dict[str, float | None]:
        return {"exp_avg": 0.0, "exp_inf": 0.0}

    @quietly
    def _update(self, theta: Array, gradient: Array, m: Any, u: Any) -> None:
        g = self._descent_gradient(theta, gradient)
        beta1, beta2 = self.betas
        move_average(m, g, beta1)
        np.maximum(beta2 * u, np.abs(g) + self.eps, out=u)
        theta -= self.lr / (1 - beta1**self.t) * (m / u)
