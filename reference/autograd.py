"""Loss and flat gradient of a torch module, by autograd: the second opinion on every backward pass."""

from __future__ import annotations

import functools

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["as_tensor", "find_loss", "loss_and_gradient"]


def half_squared_error(input: torch.Tensor, target: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
    return _reduce((input - target).square().flatten(1).sum(1) / 2, reduction)


def hinge_loss(input: torch.Tensor, target: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
    return _reduce((1 - target * input).relu(), reduction)


def _reduce(terms: torch.Tensor, reduction: str) -> torch.Tensor:
    return {"mean": terms.mean, "sum": terms.sum, "none": lambda: terms}[reduction]()


# What PyTorch lacks is written above in PyTorch, forward only.
OWN = {"half_squared_error": half_squared_error, "hinge_loss": hinge_loss}


def find_loss(loss, dtype: torch.dtype = torch.float64):
    """The PyTorch function for what `handmade.losses.find_loss` accepts by name or as a partial of a function.

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


def as_tensor(array, dtype: torch.dtype | None = None) -> torch.Tensor:
    """An array as a tensor of its own; floats in ``dtype``, where that is given.

    Examples
    --------
    >>> as_tensor([1.0], torch.float32).dtype
    torch.float32
    """
    tensor = torch.tensor(np.asarray(array))
    return tensor.to(dtype) if tensor.is_floating_point() and dtype is not None else tensor


def loss_and_gradient(module: nn.Module, X, y, loss="cross_entropy") -> tuple[float, np.ndarray]:
    """The loss of a batch and its gradient by every parameter, in the order of ``parameters_to_vector``.

    Parameters
    ----------
    module : torch.nn.Module
        In whichever mode it is.
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
    value.backward()
    return value.item(), torch.cat([p.grad.reshape(-1) for p in module.parameters()]).numpy()
