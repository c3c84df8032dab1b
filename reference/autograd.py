"""The loss and the flat gradient of a torch module by autograd, as a reference for backward passes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["as_tensor", "find_loss", "loss_and_gradient"]


def half_squared_error(input: torch.Tensor, target: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
    """Return half the squared error of each sample, summed over its outputs, then reduced over the samples."""
    squares = (input - target).square()
    return _reduce(squares.flatten(1).sum(1) / 2 if squares.ndim > 1 else squares / 2, reduction)


def hinge_loss(input: torch.Tensor, target: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
    """Return max(0, 1 - y x), reduced over all elements."""
    return _reduce((1 - target * input).relu(), reduction)


def kl_div(
    input: torch.Tensor, target: torch.Tensor, reduction: str = "mean", log_target: bool = False
) -> torch.Tensor:
    """Return torch's function, without the warning that its "mean" is not that of the batch."""
    return _reduce(F.kl_div(input, target, reduction="none", log_target=log_target), reduction)


def quantile_loss(
    input: torch.Tensor, target: torch.Tensor, quantile: float = 0.5, reduction: str = "mean"
) -> torch.Tensor:
    """Return q (y - x) above 0, else (q - 1) (y - x), reduced over all elements."""
    difference = target - input
    return _reduce(quantile * difference.relu() + (1 - quantile) * (-difference).relu(), reduction)


def sigmoid_focal_loss(
    input: torch.Tensor, target: torch.Tensor, alpha: float = 0.25, gamma: float = 2.0, reduction: str = "mean"
) -> torch.Tensor:
    """Return torchvision's focal loss: the cross-entropy times alpha_t (1 - p_t)^gamma."""
    p = input.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(input, target, reduction="none")
    p_t, alpha_t = p * target + (1 - p) * (1 - target), alpha * target + (1 - alpha) * (1 - target)
    return _reduce((alpha_t if alpha >= 0 else 1) * entropy * (1 - p_t) ** gamma, reduction)


def _reduce(terms: torch.Tensor, reduction: str) -> torch.Tensor:
    reduced = {"mean": terms.mean(), "sum": terms.sum(), "none": terms}
    return reduced[reduction]


# Losses that PyTorch lacks, and kl_div, which warns.
OWN = {f.__name__: f for f in (half_squared_error, hinge_loss, kl_div, quantile_loss, sigmoid_focal_loss)}


def find_loss(loss: str | functools.partial[Any], dtype: torch.dtype = torch.float64) -> Callable[..., torch.Tensor]:
    """Return the PyTorch function for a loss of handmade, given by name or as a partial of a function.

    Arrays among the options, such as class weights, become tensors of ``dtype``.

    Examples
    --------
    >>> find_loss("mse_loss").__name__
    'mse_loss'
    """
    if isinstance(loss, functools.partial):
        tensors = {k: as_tensor(v, dtype) if isinstance(v, np.ndarray) else v for k, v in loss.keywords.items()}
        return functools.partial(find_loss(loss.func.__name__), **tensors)
    return OWN.get(loss) or getattr(F, loss)


def as_tensor(array: npt.ArrayLike, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Return a copy of an array as a tensor; floats in ``dtype`` if it is given.

    Examples
    --------
    >>> as_tensor([1.0], torch.float32).dtype
    torch.float32
    """
    tensor = torch.tensor(np.asarray(array))
    return tensor.to(dtype) if tensor.is_floating_point() and dtype is not None else tensor


def loss_and_gradient(
    module: nn.Module, X: npt.ArrayLike, y: npt.ArrayLike, loss: str | functools.partial[Any] = "cross_entropy"
) -> tuple[float, npt.NDArray[Any]]:
    """Return the loss of a batch and its gradient, one vector in the order of ``parameters_to_vector``.

    Parameters
    ----------
    module : torch.nn.Module
        Used in its current mode, training or evaluation.
    X, y : array_like
        As for `handmade.Network.loss_and_gradient`.
    loss : str or functools.partial
        See `find_loss`.

    Returns
    -------
    loss : float
        The value.
    gradient : ndarray, shape (P,)
        In the dtype of the module.

    Examples
    --------
    >>> import handmade as hm
    >>> from reference.twin import twin
    >>> network = hm.MLP([3, 4, 2], rng=0)
    >>> loss, gradient = loss_and_gradient(twin(network), np.ones((1, 3)), [0])
    >>> gradient.shape
    (26,)
    """
    dtype = next(module.parameters()).dtype
    module.zero_grad(set_to_none=True)
    value = find_loss(loss, dtype)(module(as_tensor(X, dtype)), as_tensor(y, dtype))
    torch.autograd.backward(value)
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in module.parameters()]
    return value.item(), torch.cat([gradient.reshape(-1) for gradient in gradients]).numpy()
