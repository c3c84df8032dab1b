"""Composites: layers made of layers, for connections that skip or split (System 13).

"Connections can skip intermediate layers" (Rumelhart, Hinton and Williams 1986). A chain feeds each layer by the one
before it; here the input also goes past the chain, added to or put beside what comes out, or is dealt out to several.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from .layers import Layer
from .network import Sequential

__all__ = ["Concatenate", "Parallel", "Residual"]

Array = np.ndarray


class Residual(Sequential):
    """H = X + chain(X): the input skips the block and is added to it (He et al. 2016).

    Parameters
    ----------
    layers : sequence of Layer
        The block; as wide at its end as at its start.

    Raises
    ------
    ValueError
        If the block changes the width.

    Examples
    --------
    >>> from handmade.layers import Activation
    >>> Residual([Activation("relu")]).forward(np.array([[-1.0, 2.0]]))
    array([[-1.,  4.]])
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__(layers)
        if self.in_features:
            self.width_after(self.in_features)

    def forward(self, X: Array, training: bool = False) -> Array:
        return np.add(X, super().forward(X, training), out=self.memory.array("H", X))

    def backward(self, dH: Array, need_dX: bool = True) -> Array | None:
        through = super().backward(dH, need_dX)
        return np.add(dH, through, out=self.memory.array("dX", dH)) if need_dX else None

    def predict(self, X: Array) -> Array:
        return X + super().predict(X)

    def width_after(self, in_features: int) -> int:
        width = super().width_after(in_features)
        if width != in_features:
            raise ValueError(f"Residual: expected a block that ends as wide as it starts, {in_features}, got {width}")
        return width


class Concatenate(Sequential):
    """H = [X, chain(X)]: the input skips the block and stands beside it.

    A Dense layer on top then has weights from the input and from the block: direct connections, as in the XOR network
    with one hidden unit (Rumelhart, Hinton and Williams, PDP volume 1, chapter 8, 1986).

    Parameters
    ----------
    layers : sequence of Layer
        The block.

    Examples
    --------
    >>> from handmade.layers import Activation
    >>> Concatenate([Activation("relu")]).forward(np.array([[-1.0, 2.0]]))
    array([[-1.,  2.,  0.,  2.]])
    """

    def forward(self, X: Array, training: bool = False) -> Array:
        self.memory.skipped = X.shape[1]
        B = super().forward(X, training)
        H = self.memory.array("H", X, X.shape[1] + B.shape[1])
        return np.concatenate((X, B), axis=1, out=H)

    def backward(self, dH: Array, need_dX: bool = True) -> Array | None:
        skipped = self.memory.skipped
        through = super().backward(dH[:, skipped:], need_dX)
        if not need_dX:
            return None
        return np.add(dH[:, :skipped], through, out=self.memory.array("dX", through))

    def predict(self, X: Array) -> Array:
        return np.concatenate((X, super().predict(X)), axis=1)

    def width_after(self, in_features: int) -> int:
        return in_features + super().width_after(in_features)


class Parallel(Layer):
    """Splits the input into groups, sends each through layers of its own, and joins the outputs.

    The 1986 family-tree network: 24 units for the person and 12 for the relation, each encoded by 6 of their own.

    Parameters
    ----------
    *groups : sequence of Layer
        The layers of each group. Each must know its input width, i.e. hold a layer such as Dense.

    Raises
    ------
    ValueError
        If there is no group, or one does not know its width.

    Examples
    --------
    >>> from handmade.layers import Dense
    >>> family = Parallel([Dense(24, 6)], [Dense(12, 6)])
    >>> family.in_features, family.width_after(36)
    (36, 12)
    """

    def __init__(self, *groups: Sequence[Layer]) -> None:
        super().__init__()
        if not groups:
            raise ValueError("Parallel: expected at least one group of layers, got none")
        for group in groups:
            if isinstance(group, Layer):
                raise TypeError(f"Parallel: expected layers, got {group!r}; give each group as a list")
        self.groups = [Sequential(group) for group in groups]
        for group in self.groups:
            if not group.in_features:
                raise ValueError(f"Parallel: expected groups that know their input width, got {group!r}")
        self.in_features = sum(group.in_features for group in self.groups)
        self._in = _slices([group.in_features for group in self.groups])
        self._out = _slices([group.width_after(group.in_features) for group in self.groups])

    def forward(self, X: Array, training: bool = False) -> Array:
        H = self.memory.array("H", X, self._out[-1].stop)
        for group, into, out in zip(self.groups, self._in, self._out, strict=True):
            H[:, out] = group.forward(X[:, into], training)
        return H

    def backward(self, dH: Array, need_dX: bool = True) -> Array | None:
        dX = self.memory.array("dX", dH, self.in_features) if need_dX else None
        for group, into, out in zip(self.groups, self._in, self._out, strict=True):
            through = group.backward(dH[:, out], need_dX)
            if need_dX:
                dX[:, into] = through
        return dX

    def predict(self, X: Array) -> Array:
        return np.concatenate([g.predict(X[:, into]) for g, into in zip(self.groups, self._in, strict=True)], axis=1)

    def width_after(self, in_features: int) -> int:
        super().width_after(in_features)
        return self._out[-1].stop

    def leaves(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        for i, group in enumerate(self.groups):
            yield from group.leaves(f"{prefix}{i}.")

    @property
    def neuron_count(self) -> int:
        return sum(group.neuron_count for group in self.groups)

    @property
    def weight_count(self) -> int:
        return sum(group.weight_count for group in self.groups)

    def __repr__(self) -> str:
        return f"Parallel({', '.join(str(list(group.layers)) for group in self.groups)})"


def _slices(widths: list[int]) -> list[slice]:
    ends = np.cumsum(widths).tolist()
    return [slice(end - width, end) for end, width in zip(ends, widths, strict=True)]
