"""The twin of a handmade network: a torch.nn.Module with copies of its parameters and running averages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import nn

import handmade as hm
from handmade.network import as_network

from .cases import ACTIVATIONS

__all__ = ["twin"]


LayerOf = Callable[[nn.Module], hm.Layer]  # the argument of a module's ``to_handmade``, see `handmade.from_torch`


class Hardsigmoid(nn.Hardsigmoid):
    """The module of "hardsigmoid" with an exact gradient: PyTorch's is 1/6 in float32, whatever the dtype."""

    def to_handmade(self, layer_of: LayerOf) -> hm.Layer:
        """Return the layer."""
        return hm.Activation("hardsigmoid")

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return nn.functional.hardtanh(input, -3, 3) / 6 + 0.5


# Modules by name. Along classes, the default axis is the last, as in handmade; PyTorch's default is deprecated.
MODULES: dict[str, Callable[..., nn.Module]] = {
    case.name: partial(getattr(nn, case.torch), **({"dim": -1} if case.domain == "logits" else {}))
    for case in ACTIVATIONS
}
MODULES["hardsigmoid"] = Hardsigmoid
MODULES["threshold"] = lambda threshold=0.0, value=0.0: nn.Threshold(threshold, value)  # PyTorch has no defaults


class Residual(nn.Sequential):
    """The module of `handmade.Residual`: input + f(input)."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        H: torch.Tensor = super().forward(input)  # type: ignore[no-untyped-call]
        return input + H

    def to_handmade(self, layer_of: LayerOf) -> hm.Layer:
        """Return the layer."""
        return hm.Residual([layer_of(child) for child in self])


class Gated(nn.Module):
    """The module of `handmade.GLU` with any gate."""

    def __init__(self, gate: nn.Module) -> None:
        super().__init__()
        self.gate = gate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = x.chunk(2, dim=1)
        gated: torch.Tensor = self.gate(b)
        return a * gated

    def to_handmade(self, layer_of: LayerOf) -> hm.Layer:
        """Return the layer."""
        gate = layer_of(self.gate)
        assert isinstance(gate, hm.Activation) and isinstance(gate.function, str)
        return hm.SwiGLU() if gate.function == "silu" else hm.GLU(cast(Any, gate.function))  # a name


class Concatenate(nn.Sequential):
    """The module of `handmade.Concatenate`: input beside f(input)."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        H: torch.Tensor = super().forward(input)  # type: ignore[no-untyped-call]
        return torch.cat((input, H), dim=1)

    def to_handmade(self, layer_of: LayerOf) -> hm.Layer:
        """Return the layer."""
        return hm.Concatenate([layer_of(child) for child in self])


class Parallel(nn.ModuleList):
    """The module of `handmade.Parallel`: each group on its columns of x."""

    def __init__(self, groups: Sequence[nn.Module], widths: list[int]) -> None:
        super().__init__(groups)
        self.widths = widths

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = torch.split(x, self.widths, dim=1)
        return torch.cat([group(part) for group, part in zip(self, parts, strict=True)], dim=1)

    def to_handmade(self, layer_of: LayerOf) -> hm.Layer:
        """Return the layer."""
        return hm.Parallel(*[[layer_of(child)] for child in self])


def twin(network: hm.Network) -> nn.Sequential:
    """Build the torch.nn.Sequential of a network, with the same layers, names, numbers and dtype.

    Parameters
    ----------
    network : handmade.Network
        Its parameters are copied: training one side does not change the other.

    Returns
    -------
    torch.nn.Sequential
        In training mode, as new modules of PyTorch are.

    Raises
    ------
    TypeError
        If ``network`` is not a Network, or a layer or activation has no counterpart in PyTorch.

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
    module = nn.Sequential(*map(_module, as_network(network).layers))
    module.to(torch.float64 if network.dtype == np.float64 else torch.float32)
    module.load_state_dict({name: torch.tensor(array) for name, array in network.state_dict().items()})
    return module


def _width(layer: hm.Layer) -> int:
    assert layer.in_features is not None, "these layers fix the width of their input"
    return layer.in_features


def _module(layer: hm.Layer) -> nn.Module:
    match layer:
        case hm.Dense():
            return nn.Linear(_width(layer), layer.neuron_count, bias="bias" in layer.parameters)
        case hm.Activation(function=str(name)) if name in MODULES:
            return MODULES[name](**layer.options)
        case hm.PReLU():
            return nn.PReLU(layer.num_parameters)
        case hm.GLU():
            return nn.GLU() if layer.activation == "sigmoid" else Gated(_module(layer.gate))
        case hm.AlphaDropout():
            return nn.AlphaDropout(layer.p)
        case hm.Dropout():
            return nn.Dropout(layer.p)
        case hm.BatchNorm():
            return nn.BatchNorm1d(
                _width(layer), layer.epsilon(float), layer.momentum, layer.affine, layer.track_running_stats,
                bias=layer.bias,
            )  # fmt: skip
        case hm.LayerNorm():
            return nn.LayerNorm(_width(layer), layer.epsilon(float), layer.elementwise_affine, layer.bias)
        case hm.RMSNorm():
            return nn.RMSNorm(_width(layer), layer.eps, layer.elementwise_affine)
        case hm.GroupNorm():
            return nn.GroupNorm(
                layer.num_groups, layer.num_channels, layer.epsilon(float), layer.affine, bias=layer.bias
            )
        case hm.Sequential() if type(layer) is hm.Sequential:
            return nn.Sequential(*map(_module, layer.layers))
        case hm.Residual():
            return Residual(*map(_module, layer.layers))
        case hm.Concatenate():
            return Concatenate(*map(_module, layer.layers))
        case hm.Parallel():
            groups = [nn.Sequential(*map(_module, group.layers)) for group in layer.groups]
            return Parallel(groups, [_width(group) for group in layer.groups])
    raise TypeError(f"twin: expected layers that PyTorch has, got {layer!r}; write its module in PyTorch yourself")
