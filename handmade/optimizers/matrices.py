"""Optimizers that treat a weight matrix as a matrix. They need the shapes of the parameters, see `Step.bind`."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .._steps import Array, Blockwise, Shapes
from .._validation import check_bool, check_count, finite, nonnegative, positive
from ._common import check_numbers, move_average, move_average_of_squares

__all__ = ["Adafactor", "Muon"]


def root_mean_square(x: Array) -> float:
    """Return sqrt(mean(x^2))."""
    return float(np.linalg.norm(x)) / math.sqrt(x.size)


@dataclass(eq=False)
class Adafactor(Blockwise):
    """An optimizer that keeps the mean squares of rows and columns in place of every element's.

    Shazeer and Stern 2018, as in torch.optim.Adafactor. With 1 - beta = t^beta2_decay: for a matrix r and c are
    running means over its rows and columns of g^2, and V = r c / mean(r); for a vector V is the running mean of g^2.
    u = g / sqrt(V); theta <- theta - max(eps_2, rms(theta)) min(lr, 1 / sqrt(t)) u / max(1, rms(u) / d).

    Parameters
    ----------
    lr : float
        The largest relative step; the rms of theta multiplies it.
    beta2_decay : float
        Makes beta grow with t.
    eps : tuple of (float or None, float)
        The smallest sqrt(V), None for the eps of the dtype; and the smallest rms of theta in a step.
    d : float
        The largest rms of u.
    weight_decay : float
        Outside the gradient, as in `AdamW`.
    maximize : bool
        Whether to maximize the function instead of minimizing it.

    Attributes
    ----------
    row_var, col_var, variance : ndarray, or None
        r and c of all matrices, and V of all vectors, one after another.

    Raises
    ------
    ValueError, TypeError
        If an option is out of range, or of another type.

    Examples
    --------
    >>> network = hm.Network([hm.Dense(3, 2, rng=0)])
    >>> optimizer = hm.Adafactor()
    >>> optimizer.bind(network)
    >>> optimizer.step(network.theta, network.loss_and_gradient(np.ones((1, 3)), [0])[1])
    >>> optimizer.row_var.size, optimizer.col_var.size, optimizer.variance.size
    (2, 3, 2)
    """

    lr: float = 1e-2
    beta2_decay: float = -0.8
    eps: tuple[float | None, float] = (None, 1e-3)
    d: float = 1.0
    weight_decay: float = 0.0
    maximize: bool = dataclasses.field(default=False, kw_only=True)

    row_var: ClassVar[Array | None] = None
    col_var: ClassVar[Array | None] = None
    variance: ClassVar[Array | None] = None

    def _validate(self) -> None:
        self._require(nonnegative, "lr", "weight_decay")
        self._require(positive, "d")
        self._require(finite, "beta2_decay")
        if self.beta2_decay > 0:
            raise ValueError(f"beta2_decay: expected a number <= 0, got {self.beta2_decay}")
        self._require(check_bool, "maximize")
        first, second = check_numbers(self.eps, "eps", 2, lambda x, name: x if x is None else nonnegative(x, name))
        self.eps = first, nonnegative(second, "eps[1]")

    def _state_shapes(self, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        if len(shape) < 2:
            return {"row_var": (0,), "col_var": (0,), "variance": shape}
        return {"row_var": (shape[0], 1), "col_var": (1, shape[1]), "variance": (0,)}

    def _update(self, theta: Array, gradient: Array, row_var: Array, col_var: Array, variance: Array) -> None:
        g = -gradient if self.maximize else gradient
        beta = 1 - self.t**self.beta2_decay
        smallest = float(np.finfo(theta.dtype).eps) if self.eps[0] is None else self.eps[0]
        step = max(self.eps[1], root_mean_square(theta)) * min(self.lr, 1 / math.sqrt(self.t))
        theta *= 1 - self.lr * self.weight_decay
        if theta.ndim > 1:
            move_average(row_var, (g * g).mean(axis=1, keepdims=True), beta)
            move_average(col_var, (g * g).mean(axis=0, keepdims=True), beta)
            V = row_var * col_var / max(float(row_var.mean()), smallest)
        else:
            move_average_of_squares(variance, g, beta)
            V = variance
        u = g / np.sqrt(np.maximum(V, smallest * smallest))
        theta -= step / max(1.0, root_mean_square(u) / self.d) * u


def orthogonalized(G: Array, coefficients: tuple[float, float, float], steps: int, eps: float) -> Array:
    """Return about U Vt of the singular value decomposition G = U S Vt, by a Newton-Schulz iteration.

    Each step applies a s + b s^3 + c s^5 to every singular value s, which the coefficients drive to about 1.
    """
    a, b, c = coefficients
    X = G.T if len(G) > len(G.T) else G
    X = X / max(float(np.linalg.norm(X)), eps)
    for _ in range(steps):
        A = X @ X.T
        X = a * X + (b * A + c * (A @ A)) @ X
    return X.T if len(G) > len(G.T) else X


@dataclass(eq=False)
class Muon(Blockwise):
    """An optimizer of matrices that makes every direction of a momentum's update about equally long (Jordan 2024).

    m <- momentum m + (1 - momentum) g; theta <- (1 - lr weight_decay) theta - lr' U Vt, with U S Vt the singular value
    decomposition of m (or, with nesterov, of momentum m + (1 - momentum) g). For biases use another optimizer, by
    `ParameterGroups`; Jordan uses AdamW for the first and the last layer, too.

    Parameters
    ----------
    lr : float
        Learning rate.
    weight_decay : float
        Outside the gradient, as in `AdamW`.
    momentum : float
        Decay of m.
    nesterov : bool
        Look one step ahead.
    ns_coefficients : tuple of three floats
        Of the polynomial that `orthogonalized` iterates.
    eps : float
        The smallest divisor of m.
    ns_steps : int
        Iterations.
    adjust_lr_fn : {"original", "match_rms_adamw"}, optional
        lr' of a matrix (O, I): lr sqrt(max(1, O / I)), as None means too; or 0.2 lr sqrt(max(O, I)) (Liu et al. 2025),
        with which the lr and weight decay of AdamW fit.

    Attributes
    ----------
    momentum_buffer : ndarray, shape (P,), or None
        m of all matrices, one after another.

    Raises
    ------
    ValueError, TypeError
        If an option is out of range, or of another type.

    Notes
    -----
    torch.optim.Muon iterates in bfloat16, which keeps 8 bits; here the numbers have the dtype of theta.

    Examples
    --------
    >>> groups = {hm.optimizers.is_vector: hm.AdamW(lr=0.1), "*": hm.Muon(lr=0.1)}
    >>> X, y = hm.data.xor()
    >>> network = hm.MLP([2, 8, 2], rng=0)
    >>> optimizer = hm.ParameterGroups(groups)
    >>> history = hm.fit(network, X, y, optimizer=optimizer, epochs=100, batch_size=None, progress=False)
    >>> network.predict(X).argmax(axis=1)
    array([0, 1, 1, 0])
    """

    lr: float = 1e-3
    weight_decay: float = 0.1
    momentum: float = 0.95
    nesterov: bool = True
    ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315)
    eps: float = 1e-7
    ns_steps: int = 5
    adjust_lr_fn: str | None = None

    momentum_buffer: ClassVar[Array | None] = None

    def _validate(self) -> None:
        self._require(nonnegative, "lr", "weight_decay", "momentum", "eps")
        self._require(check_bool, "nesterov")
        self.ns_steps = check_count(self.ns_steps, "ns_steps", least=0)
        if self.ns_steps >= 100:
            raise ValueError(f"ns_steps: expected an integer below 100, got {self.ns_steps}")
        self.ns_coefficients = check_numbers(self.ns_coefficients, "ns_coefficients", 3, finite)
        known = isinstance(self.adjust_lr_fn, str) and self.adjust_lr_fn in ("original", "match_rms_adamw")
        if self.adjust_lr_fn is not None and not known:
            raise ValueError(f"adjust_lr_fn: expected None, 'original' or 'match_rms_adamw', got {self.adjust_lr_fn!r}")

    def _bind(self, shapes: Shapes) -> None:
        for name, shape in shapes.items():
            if len(shape) != 2:
                raise ValueError(
                    f"Muon: expected matrices, got {name!r} of shape {shape}; give it another optimizer, with "
                    'ParameterGroups({is_vector: AdamW(), "*": Muon()})'
                )
        super()._bind(shapes)

    def _state_shapes(self, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        return {"momentum_buffer": shape}

    def _update(self, theta: Array, gradient: Array, m: Array) -> None:
        move_average(m, gradient, self.momentum)
        update = self.momentum * m + (1 - self.momentum) * gradient if self.nesterov else m
        O, I = theta.shape
        factor = 0.2 * math.sqrt(max(O, I)) if self.adjust_lr_fn == "match_rms_adamw" else math.sqrt(max(1, O / I))
        theta *= 1 - self.lr * self.weight_decay
        theta -= self.lr * factor * orthogonalized(update, self.ns_coefficients, self.ns_steps, self.eps)
