"""A handmade network as a torch.nn.Module with the same numbers, trainable on its own."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

import handmade as hm

__all__ = ["twin"]

ACTIVATIONS = {
    "identity": nn.Identity,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "softmax": lambda dim=-1: nn.Softmax(dim),
    "log_softmax": lambda dim=-1: nn.LogSoftmax(dim),
}


class Residual(nn.Sequential):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + super().forward(x)


class Concatenate(nn.Sequential):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat((x, super().forward(x)), dim=1)


class Parallel(nn.ModuleList):
    def __init__(self, groups: list[nn.Module], widths: list[int]) -> None:
        super().__init__(groups)
        self.widths = widths

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = torch.split(x, self.widths, dim=1)
        return torch.cat([group(part) for group, part in zip(self, parts, strict=True)], dim=1)


def twin(network: hm.Network) -> nn.Sequential:
    """Build the torch.nn.Sequential of a network: the same layers, names and numbers, in the same dtype.

    Parameters
    ----------
    network : handmade.Network
        Copied, not shared: either side can be trained without moving the other.

    Returns
    -------
    torch.nn.Sequential
        In training mode, as PyTorch's modules are when they are new.

    Raises
    ------
    TypeError
        If a layer or activation has no counterpart in PyTorch.

    Examples
    --------
    >>> network = hm.MLP([3, 4, 2], activation="sigmoid", rng=0)
    >>> twin(network)
    Sequential(
      (0): Linear(in_features=3, out_features=4, bias=True)
      (1): Sigmoid()
      (2): Linear(in_features=4, out_features=2, bias=True)
    )
    >>> sum(parameter.numel() for parameter in twin(network).parameters())
    26
    """
    module = nn.Sequential(*map(_module, network.layers))
    module.to(torch.float64 if network.dtype == np.float64 else torch.float32)
    module.load_state_dict({name: torch.tensor(array) for name, array in network.state_dict().items()})
    return module


def _module(layer: hm.Layer) -> nn.Module:
    match layer:
        case hm.Dense():
            return nn.Linear(layer.in_features, layer.neuron_count, bias="bias" in layer.parameters)
        case hm.Activation() if layer.function in ACTIVATIONS:
            return ACTIVATIONS[layer.function](**layer.options)
        case hm.Dropout():
            return nn.Dropout(layer.p)
        case hm.BatchNorm():
            return nn.BatchNorm1d(layer.in_features, eps=layer.eps, momentum=layer.momentum)
        case hm.LayerNorm():
            return nn.LayerNorm(layer.in_features, eps=layer.eps)
        case hm.Sequential() if type(layer) is hm.Sequential:
            return nn.Sequential(*map(_module, layer.layers))
        case hm.Residual():
            return Residual(*map(_module, layer.layers))
        case hm.Concatenate():
            return Concatenate(*map(_module, layer.layers))
        case hm.Parallel():
            groups = [nn.Sequential(*map(_module, group.layers)) for group in layer.groups]
            return Parallel(groups, [group.in_features for group in layer.groups])
    raise TypeError(f"twin: expected layers that PyTorch has, got {layer!r}")
