"""9. A wrong gradient as the right one of another network: what a wrong forward pass leads to."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ..layers import Activation, Dense
from ..network import Network
from .backward_pass import BackwardPass, elementwise_activations, is_elementwise
from .causes import Cause
from .localisation import layer_name

__all__ = ["right_ones_elsewhere"]

EVIDENCE = "the right gradient of that network is the claimed one"


def right_ones_elsewhere(network: Network, of: BackwardPass) -> Iterator[tuple[npt.NDArray[np.float64], list[Cause]]]:
    """Yield the right gradients, on the batch of a backward pass, of networks that differ in one thing; with its cause.

    Of activations that are the same on the batch, as relu and relu6 below 6, the first in the library's table counts.

    Examples
    --------
    >>> from handmade.checking.backward_pass import BackwardPass
    >>> from handmade.checking.other_networks import right_ones_elsewhere
    >>> X, y = hm.data.xor()
    >>> network = hm.MLP([2, 3, 2], "tanh", rng=0)
    >>> for gradient, causes in right_ones_elsewhere(network, BackwardPass(network, X, y)):
    ...     print(causes[0].name, "in", causes[0].where)  # doctest: +ELLIPSIS
    bias left out of the forward pass in layers[0], Dense(2, 3)
    identity in the forward pass, too in layers[1], Activation('tanh')
    ...
    bias left out of the forward pass in layers[2], Dense(3, 2)
    """
    seen: set[tuple[str, bytes]] = set()
    for prefix, name, other in _others(network):
        at = prefix.rstrip(".")
        hint = "the gradient is right, but that of a network whose forward pass computes something else here"
        try:
            elsewhere = BackwardPass(other, of.values[0], of.y, of.loss, of.sample_weight, of.training)
        except ValueError:  # outputs that the loss does not take, such as probabilities above 1
            continue
        gradient = elsewhere.gradient()
        if (key := (prefix, gradient.tobytes())) not in seen:
            seen.add(key)
            yield gradient, [Cause(name, layer_name(of, prefix), hint, EVIDENCE, at=(at,))]


def _others(network: Network) -> Iterator[tuple[str, str, Network]]:
    """Yield networks, each with the prefix of the layer that differs, and in what."""
    for prefix, leaf in network.leaves():
        if isinstance(leaf, Dense) and "bias" in leaf.parameters and leaf.b.any():
            other = copy.deepcopy(network)
            dict(other.leaves())[prefix].b[...] = 0  # type: ignore[attr-defined]
            yield prefix, "bias left out of the forward pass", other
        if isinstance(leaf, Activation) and is_elementwise(leaf):
            for name, changed in elementwise_activations().items():
                if name != leaf.function:
                    other = copy.deepcopy(network)
                    vars(dict(other.leaves())[prefix]).update(vars(changed))
                    yield prefix, f"{name} in the forward pass, too", other
