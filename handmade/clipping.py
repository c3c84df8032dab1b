"""6. Steps before and after an optimizer: penalties, clipping, bounded norms.

`Chain(L1(1e-4), ClipGradNorm(1.0), SGD(lr=0.1))` is an optimizer, with `step(theta, gradient)`. `L1`, `ClipGradNorm`
and `ClipGradValue` change gradient in place before the optimizer's step; `MaxNorm` changes theta after it.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from ._steps import Array, Elementwise, Step, check_array
from ._validation import check_bool, nonnegative, nonnegative_or_infinite, positive, positive_or_infinite

__all__ = ["L1", "ClipGradNorm", "ClipGradValue", "MaxNorm", "clip_grad_norm_", "clip_grad_value_"]


def clip_grad_norm_(
    gradient: Array, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> float:
    """Scale gradient in place by min(1, max_norm / (norm + 1e-6)), as torch.nn.utils.clip_grad_norm_ does.

    Parameters
    ----------
    gradient : ndarray, shape (P,)
        The gradient, changed in place.
    max_norm : float
        The largest norm allowed. With infinity the norm is only measured.
    norm_type : float
        Order of the norm, greater than 0; infinity means the largest magnitude.
    error_if_nonfinite : bool
        Whether to raise FloatingPointError, before anything changes, if the norm is not finite. PyTorch raises
        RuntimeError.

    Returns
    -------
    float
        The norm before clipping. It is finite even if the squares of the elements overflow.

    Examples
    --------
    >>> gradient = np.array([3.0, 4.0])
    >>> hm.clip_grad_norm_(gradient, max_norm=1.0)
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
    if check_bool(error_if_nonfinite, "error_if_nonfinite") and not math.isfinite(norm):
        raise FloatingPointError(f"gradient: expected a finite norm of order {norm_type:g}, got {norm}")
    scale = max_norm / (norm + 1e-6)
    if not scale >= 1:  # also true for NaN, which is passed on, as in torch
        gradient *= scale
    return norm


def clip_grad_value_(gradient: Array, clip_value: float) -> None:
    """Limit each element to [-clip_value, clip_value] in place, as torch.nn.utils.clip_grad_value_ does.

    Parameters
    ----------
    gradient : ndarray, shape (P,)
        The gradient, changed in place.
    clip_value : float
        The largest magnitude allowed.

    Examples
    --------
    >>> gradient = np.array([0.5, -4.0])
    >>> hm.clip_grad_value_(gradient, 1.0)
    >>> gradient
    array([ 0.5, -1. ])
    """
    check_array(gradient, "gradient", 1, writeable=True)
    clip_value = nonnegative_or_infinite(clip_value, "clip_value")
    np.clip(gradient, -clip_value, clip_value, out=gradient)


@dataclass(eq=False)
class ClipGradNorm(Step):
    """A step that does `clip_grad_norm_`: it changes gradient in place and leaves theta as it is.

    With ``error_if_nonfinite`` a gradient that is not finite raises FloatingPointError before any step of a chain is
    done.

    Parameters
    ----------
    max_norm, norm_type, error_if_nonfinite
        As in `clip_grad_norm_`.

    Raises
    ------
    ValueError, TypeError
        If an option is out of range, or of another type.

    Examples
    --------
    >>> theta, gradient = np.zeros(2), np.array([3.0, 4.0])
    >>> hm.ClipGradNorm(1.0).step(theta, gradient)
    >>> gradient.round(6)
    array([0.6, 0.8])
    """

    max_norm: float
    norm_type: float = 2.0
    error_if_nonfinite: bool = False
    changes_gradient = True

    def _validate(self) -> None:
        self._require(nonnegative_or_infinite, "max_norm")
        self._require(positive_or_infinite, "norm_type")
        self._require(check_bool, "error_if_nonfinite")

    def check(self, theta: Array, gradient: Array) -> None:
        super().check(theta, gradient)
        if self.error_if_nonfinite and not np.isfinite(gradient).all():
            raise FloatingPointError("gradient: expected finite numbers, got one that is not")

    def apply(self, theta: Array, gradient: Array) -> None:
        clip_grad_norm_(gradient, self.max_norm, self.norm_type)


@dataclass(eq=False)
class ClipGradValue(Step):
    """A step that does `clip_grad_value_`: it changes gradient in place and leaves theta as it is.

    Parameters
    ----------
    clip_value : float
        The largest magnitude allowed.

    Raises
    ------
    ValueError, TypeError
        If an option is out of range, or of another type.

    Examples
    --------
    >>> theta, gradient = np.zeros(2), np.array([0.5, -4.0])
    >>> hm.ClipGradValue(1.0).step(theta, gradient)
    >>> gradient
    array([ 0.5, -1. ])
    """

    clip_value: float
    changes_gradient = True

    def _validate(self) -> None:
        self._require(nonnegative_or_infinite, "clip_value")

    def apply(self, theta: Array, gradient: Array) -> None:
        clip_grad_value_(gradient, self.clip_value)


@dataclass(eq=False)
class L1(Elementwise):
    """A step that adds l1 * sign(theta), the gradient of l1 |theta|_1, to gradient in place; theta stays as it is.

    Parameters
    ----------
    l1 : float
        The weight of the penalty, at least 0.

    Raises
    ------
    ValueError, TypeError
        If an option is out of range, or of another type.

    Examples
    --------
    >>> theta, gradient = np.array([2.0, 0.0, -3.0]), np.zeros(3)
    >>> hm.L1(0.5).step(theta, gradient)
    >>> gradient
    array([ 0.5,  0. , -0.5])
    """

    l1: float
    changes_gradient = True

    def _validate(self) -> None:
        self._require(nonnegative, "l1")

    def _update(self, theta: Array, gradient: Array) -> None:
        gradient += self.l1 * np.sign(theta)


@dataclass(eq=False)
class MaxNorm(Step):
    """A step that scales a unit's incoming weights to the 2-norm max_norm if theirs is larger.

    Srivastava et al. 2014. It changes theta, not gradient, and comes after the optimizer in a chain.

    Parameters
    ----------
    weights : list of ndarray, each of shape (O, I)
        Weight matrices, views into theta, with one row per unit.
    max_norm : float
        The largest norm of a row.

    Raises
    ------
    ValueError, TypeError
        If an option is out of range, or of another type.

    Examples
    --------
    >>> theta, gradient = np.array([3.0, 4.0, 0.3, 0.4]), np.zeros(4)
    >>> hm.MaxNorm([theta.reshape(2, 2)], max_norm=1.0).step(theta, gradient)
    >>> theta
    array([0.6, 0.8, 0.3, 0.4])
    """

    weights: list[Array] = dataclasses.field(repr=False)
    max_norm: float

    def _validate(self) -> None:
        self._require(positive, "max_norm")
        if not isinstance(self.weights, (list, tuple)):
            raise TypeError(f"weights: expected a list of arrays, got {self.weights!r}")
        for i, weight in enumerate(self.weights):
            check_array(weight, f"weights[{i}]", 2, writeable=True)

    def _saved(self) -> list[str]:
        return ["max_norm"]

    def check(self, theta: Array, gradient: Array) -> None:
        super().check(theta, gradient)
        for i, weight in enumerate(self.weights):
            if not np.may_share_memory(weight, theta):
                raise ValueError(f"weights[{i}]: expected a view into theta, got another array; pass layer.W")

    def apply(self, theta: Array, gradient: Array) -> None:
        for weight in self.weights:
            norm = np.sqrt(np.einsum("oi,oi->o", weight, weight))
            weight *= (self.max_norm / np.maximum(norm, self.max_norm))[:, None]
