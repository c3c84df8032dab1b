"""4. Composites: layers made of layers, in a chain, around a connection that skips them, or side by side (System 13).

"Connections can skip intermediate layers" (Rumelhart, Hinton and Williams 1986). In a `Sequential`, each layer feeds
the next one. `Residual` adds the chain's input to its output, `Concatenate` puts the two side by side, and `Parallel`
splits the input among several chains.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ._types import Array
from .base_layer import Layer

__all__ = ["Concatenate", "Parallel", "Residual", "Sequential", "last_layer"]

DEEPEST = 100  # layers in one another: a copy takes 7 calls inside each other for each, and Python allows 1,000


class SequentialCache(NamedTuple):
    """The values of a forward pass through a chain.

    Attributes
    ----------
    values : list of ndarray
        ``values[i]`` goes into layer i, and ``values[-1]`` is the output.
    layers : list
        The cache of each layer.
    """

    values: list[Array]
    layers: list[Any]


class Sequential(Layer):
    """A chain of layers: the output of each is the input of the next. It is itself a layer, so chains may hold chains.

    Parameters
    ----------
    layers : sequence of Layer
        From the input to the output.

    Raises
    ------
    TypeError
        If ``layers`` holds something other than layers.
    ValueError
        If there are no layers, or the widths of two neighbours differ.

    Examples
    --------
    >>> chain = hm.Sequential([hm.Activation("relu"), hm.Activation("tanh")])
    >>> H, cache = chain.forward(np.array([[-1.0, 0.5]]))
    >>> H.round(4)
    array([[0.    , 0.4621]])
    >>> chain.backward(np.array([[1.0, 1.0]]), cache).round(4)
    array([[0.    , 0.7864]])
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        name = type(self).__name__
        self.layers: tuple[Layer, ...] = tuple(layers) if np.iterable(layers) else (layers,)
        for layer in self.layers:
            if not isinstance(layer, Layer) or not np.iterable(layers):
                cure = "make an object of it, with its sizes" if isinstance(layer, type) else "give them in a list"
                raise TypeError(f"{name}: expected layers, got {layer!r}; {cure}")
        if not self.layers:
            raise ValueError(f"{name}: expected at least one layer, got none")
        self._nesting: int = 1 + max(getattr(layer, "_nesting", 0) for layer in self.layers)
        if self._nesting > DEEPEST:
            raise ValueError(
                f"{name}: expected at most {DEEPEST} layers nested in one another, got more; join their lists"
            )
        trainable = [i for i, layer in enumerate(self.layers) if any(leaf.parameters for _, leaf in layer.leaves())]
        self.first_trainable: int = trainable[0] if trainable else len(self.layers)
        self.in_features: int | None = _in_features(self.layers)
        if self.in_features:
            Sequential.width_after(self, self.in_features)

    def forward(self, X: Array, training: bool = False) -> tuple[Array, SequentialCache]:
        H, values, caches = X, [X], []
        for layer in self.layers:
            H, cache = layer.forward(H, training)
            values.append(H)
            caches.append(cache)
        return H, SequentialCache(values, caches)

    def backward(self, dH: Array, cache: SequentialCache, need_dX: bool = True) -> Array | None:
        first = 0 if need_dX else self.first_trainable  # below the first trainable layer no gradient is needed
        for i in reversed(range(first, len(cache.layers))):
            dH = self.layers[i].backward(dH, cache.layers[i], need_dX or i > first)  # dX is dH of the layer below
        return dH if need_dX else None

    def rows_are_independent(self, training: bool) -> bool:
        return all(layer.rows_are_independent(training) for layer in self.layers)

    def width_after(self, in_features: int) -> int:
        for layer in self.layers:
            in_features = layer.width_after(in_features)
        return in_features

    def leaves(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        for i, layer in enumerate(self.layers):
            yield from layer.leaves(f"{prefix}{i}.")

    @property
    def neuron_count(self) -> int:  # type: ignore[override]  # read-only here
        """The number of perceptrons: 4 + 2 = 6 for the lecture's 3-4-2 (System 4)."""
        return sum(layer.neuron_count for layer in self.layers)

    @property
    def weight_count(self) -> int:  # type: ignore[override]  # read-only here
        """The number of edges between neurons: 3 x 4 + 4 x 2 = 20 for the lecture's 3-4-2 (System 4)."""
        return sum(layer.weight_count for layer in self.layers)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self.layers)!r})"


SOME_WIDTH = 2**20  # a width to try; even, because a GLU halves it


def _in_features(layers: Sequence[Layer]) -> int | None:
    """Return the width of the first layer that has one, if the layers below it keep the width."""
    for layer in layers:
        if layer.in_features:
            return layer.in_features
        try:
            keeps_width = layer.width_after(SOME_WIDTH) == SOME_WIDTH
        except ValueError:  # a chain, in which a layer with a fixed width follows one that halves the width
            return None
        if not keeps_width:
            return None
    return None


def last_layer(chain: Sequential) -> Layer:
    """Return the layer that computes the output of a chain, also if it stands in a chain inside."""
    last = chain.layers[-1]
    return last_layer(last) if type(last) is Sequential else last


class Residual(Sequential):
    """A chain whose input is added to its output: H = X + chain(X) (He et al. 2016).

    Parameters
    ----------
    layers : sequence of Layer
        The chain; its outputs are as wide as its inputs.

    Raises
    ------
    ValueError
        If the chain changes the width.

    Examples
    --------
    >>> hm.Residual([hm.Activation("relu")]).predict(np.array([[-1.0, 2.0]]))
    array([[-1.,  4.]])
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__(layers)
        if self.in_features:
            self.width_after(self.in_features)

    def forward(self, X: Array, training: bool = False) -> tuple[Array, SequentialCache]:
        H, cache = super().forward(X, training)
        return X + H, cache

    def backward(self, dH: Array, cache: SequentialCache, need_dX: bool = True) -> Array | None:
        dX = super().backward(dH, cache, need_dX)
        return None if dX is None else dH + dX

    def rows_are_independent(self, training: bool) -> bool:  # a class with a `forward` has to define it, see `Layer`
        return super().rows_are_independent(training)

    def width_after(self, in_features: int) -> int:
        width = super().width_after(in_features)
        if width != in_features:
            raise ValueError(f"Residual: expected layers that keep the width, {in_features}, got {width} outputs")
        return width


class Concatenate(Sequential):
    """A chain whose input is put beside its output: H = [X, chain(X)], column by column.

    A Dense layer on top then has weights from the input as well as from the chain. These are the direct connections of
    the XOR network with one hidden unit (Rumelhart, Hinton and Williams, PDP volume 1, chapter 8, 1986).

    Parameters
    ----------
    layers : sequence of Layer
        The chain.

    Examples
    --------
    >>> hm.Concatenate([hm.Activation("relu")]).predict(np.array([[-1.0, 2.0]]))
    array([[-1.,  2.,  0.,  2.]])
    """

    def forward(self, X: Array, training: bool = False) -> tuple[Array, SequentialCache]:
        H, cache = super().forward(X, training)
        return np.concatenate((X, H), axis=1), cache

    def backward(self, dH: Array, cache: SequentialCache, need_dX: bool = True) -> Array | None:
        width = cache.values[0].shape[1]
        dX = super().backward(dH[:, width:], cache, need_dX)
        return None if dX is None else dH[:, :width] + dX

    def rows_are_independent(self, training: bool) -> bool:  # a class with a `forward` has to define it, see `Layer`
        return super().rows_are_independent(training)

    def width_after(self, in_features: int) -> int:
        return in_features + super().width_after(in_features)


class Parallel(Layer):
    """A layer of chains side by side: the columns of the input are split among them, and their outputs are joined.

    The family-tree network of 1986 begins so: 24 inputs for a person and 12 for a relation, each group encoded by 6
    units of its own.

    Parameters
    ----------
    *groups : sequence of Layer
        The layers of each chain. Each chain must know its input width: it holds a layer such as Dense.

    Raises
    ------
    TypeError
        If a group is a layer instead of a list of layers.
    ValueError
        If there is no group, or a group does not know its input width.

    Examples
    --------
    >>> family = hm.Parallel([hm.Dense(24, 6)], [hm.Dense(12, 6)])
    >>> family.in_features, family.width_after(36)
    (36, 12)
    """

    def __init__(self, *groups: Sequence[Layer]) -> None:
        if not groups:
            raise ValueError("Parallel: expected at least one group of layers, got none")
        for group in groups:
            if isinstance(group, Layer):
                raise TypeError(f"Parallel: expected layers, got {group!r}; give each group as a list")
            if any(isinstance(layer, list | tuple) for layer in group):
                raise TypeError(f"Parallel: expected layers in each list, got {group!r}; write Parallel([...], [...])")
        self.groups: list[Sequential] = [Sequential(group) for group in groups]
        self._nesting: int = 1 + max(group._nesting for group in self.groups)
        widths = [group.in_features for group in self.groups]
        if None in widths:
            unknown = self.groups[widths.index(None)]
            raise ValueError(
                f"Parallel: expected groups that know their input width, got {unknown!r}; begin it with a Dense layer"
            )
        self.in_features: int = sum(  # pyright: ignore[reportIncompatibleVariableOverride]  # never None
            width or 0 for width in widths
        )
        self._in = _slices(width or 0 for width in widths)
        self._out = _slices(group.width_after(group.in_features or 0) for group in self.groups)

    def forward(self, X: Array, training: bool = False) -> tuple[Array, list[SequentialCache]]:
        passes = [group.forward(X[:, into], training) for group, into in zip(self.groups, self._in, strict=True)]
        return np.concatenate([H for H, _ in passes], axis=1), [cache for _, cache in passes]

    def backward(self, dH: Array, cache: list[SequentialCache], need_dX: bool = True) -> Array | None:
        parts = [
            group.backward(dH[:, out], group_cache, need_dX)
            for group, group_cache, out in zip(self.groups, cache, self._out, strict=True)
        ]
        return np.concatenate(parts, axis=1) if need_dX else None  # type: ignore[arg-type]  # no part is None

    def rows_are_independent(self, training: bool) -> bool:
        return all(group.rows_are_independent(training) for group in self.groups)

    def width_after(self, in_features: int) -> int:
        super().width_after(in_features)
        return self._out[-1].stop

    def leaves(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        for i, group in enumerate(self.groups):
            yield from group.leaves(f"{prefix}{i}.")

    def config(self) -> dict[str, Any]:
        return {"groups": [group.layers for group in self.groups]}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Layer:
        return cls(*config["groups"])

    @property
    def neuron_count(self) -> int:  # type: ignore[override]  # read-only here
        """The number of perceptrons in all groups."""
        return sum(group.neuron_count for group in self.groups)

    @property
    def weight_count(self) -> int:  # type: ignore[override]  # read-only here
        """The number of edges in all groups."""
        return sum(group.weight_count for group in self.groups)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(str(list(group.layers)) for group in self.groups)})"


def _slices(widths: Iterable[int]) -> list[slice]:
    """Return one slice of columns for each width, side by side."""
    slices, start = [], 0
    for width in widths:
        slices.append(slice(start, start + width))
        start += width
    return slices
