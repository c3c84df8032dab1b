"""A network that uses the compiled passes instead of the NumPy code, for ``python -m reference --compiled``."""

from __future__ import annotations

import copy
from typing import Any

import numpy.typing as npt

import handmade as hm
from handmade.protocols import Array

__all__ = ["CompiledNetwork"]


class CompiledNetwork(hm.Network):
    """A network that computes losses and gradients by `handmade.compile`.

    Parameters
    ----------
    network : Network
        The network whose layers are copied.

    Raises
    ------
    handmade.compiled.Unsupported
        In the first pass, if a layer or the loss has no compiled form, or in evaluation mode.

    Examples
    --------
    >>> network = hm.MLP([3, 4, 2], "tanh", rng=0)
    >>> X, y = np.ones((5, 3)), np.zeros(5, int)
    >>> loss, _ = CompiledNetwork(network).loss_and_gradient(X, y)
    >>> abs(loss - network.loss_and_gradient(X, y)[0]) < 1e-15
    True
    """

    def __init__(self, network: hm.Network) -> None:
        super().__init__(copy.deepcopy(network.layers), dtype=network.dtype.type)

    def plain(self) -> hm.Network:
        """Return a copy as a plain `handmade.Network`, which can be compiled because it overrides no method."""
        return hm.Network(copy.deepcopy(self.layers), dtype=self.dtype.type)

    def backpropagate(
        self,
        X: Array,
        y: Array,
        loss: Any = "cross_entropy",
        sample_weight: npt.ArrayLike | None = None,
        training: bool = True,
    ) -> tuple[float, Array]:
        if not training:
            from handmade.compiled import Unsupported

            raise Unsupported("compile: expected a training batch, got evaluation mode; use the NumPy code")
        twin = self.plain()
        value, self.gradient = hm.compile(twin, loss).gradient(X, y, sample_weight)
        self.load_state_dict(twin.state_dict())  # running averages
        return value, self.gradient
