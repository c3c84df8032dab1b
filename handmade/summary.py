"""A table of a network's layers: widths, parameters, multiply-adds, and the memory that a training step takes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._parameters import ParameterizedChain
from ._steps import bind
from ._types import Optimizer
from ._validation import check_count

__all__ = ["LayerSummary", "Summary", "summarize"]


@dataclass(frozen=True)
class LayerSummary:
    """A row of a `Summary`.

    Attributes
    ----------
    layer : str
        The layer, as its repr.
    output : int or None
        The width of its output; None if it takes inputs of any width.
    parameters : int
        Number of parameters.
    multiply_adds : int
        Multiplications, each with an addition, in its matrix products, in a forward pass of one sample.
    """

    layer: str
    output: int | None
    parameters: int
    multiply_adds: int


class Summary(str):
    """A table of the layers of a network: a str to print, which a notebook shows as a table.

    Attributes
    ----------
    layers : list of LayerSummary
        One row per layer.
    totals : list of str
        The lines below the table.
    memory : dict of str to int
        Bytes of "parameters", "gradient" and, if asked for, "optimizer" and "activations".
    multiply_adds : dict of str to int
        Those of the matrix products for one sample: "forward", and "forward and backward".
    """

    layers: list[LayerSummary]
    totals: list[str]
    memory: dict[str, int]
    multiply_adds: dict[str, int]
    _header: list[str]
    _rows: list[list[str]]

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        from ._html import html_table  # only a notebook needs it

        return html_table(self._header, self._rows) + "".join(f"<div>{line}</div>" for line in self.totals)


def summarize(
    network: ParameterizedChain, batch_size: int | None = None, optimizer: Optimizer | None = None
) -> Summary:
    """Return a table of the network's layers; `Network.summary` does the same.

    Parameters
    ----------
    network : Network
        The network; it is not changed.
    batch_size : int, optional
        Samples in a batch. The table then shows multiply-adds and the memory of a training step.
    optimizer : optional
        An optimizer. The memory of its state is counted: that of a copy after one step, or of `LBFGS` with a full
        history.

    Returns
    -------
    Summary
        The table.

    Raises
    ------
    TypeError, ValueError
        If ``batch_size`` is not an integer of at least 1, or no layer tells the width of the input.

    Examples
    --------
    >>> network = hm.MLP([784, 128, 10], rng=0, dtype="float32")
    >>> print(network.summary(batch_size=32, optimizer=hm.Adam()))
    layer                output  parameters  multiply-adds
    Dense(784, 128)         128      100480         100352
    Activation('relu')      128           0              0
    Dense(128, 10)           10        1290           1280
    138 neurons, 101632 weights, 101770 parameters, float32
    multiply-adds of a batch of 32: 3.25 million forward, 6.55 million forward and backward
    memory: 398 KiB parameters, 398 KiB gradient, 795 KiB optimizer, 131 KiB activations; 1.68 MiB in all
    """
    if not isinstance(network, ParameterizedChain):
        raise TypeError(f"network: expected a Network, got {type(network).__name__}; wrap layers in Network([...])")
    rows = list(_layer_rows(network))
    detailed = batch_size is not None or optimizer is not None
    counts = f"{network.neuron_count} neurons, {network.weight_count} weights, {network.parameter_count} parameters"
    totals = [f"{counts}, {network.dtype}"]
    multiply_adds = _multiply_adds(network)
    memory = {"parameters": network.theta.nbytes, "gradient": network.gradient.nbytes}
    if optimizer is not None:
        try:
            memory["optimizer"] = _optimizer_bytes(optimizer, network)
        except ValueError as error:  # as from a fit of this network
            totals.append(f"optimizer: not counted. {error}")
    if batch_size is not None:
        memory["activations"] = _activation_bytes(network, check_count(batch_size, "batch_size"))
        work = ", ".join(f"{_count(batch_size * count)} {name}" for name, count in multiply_adds.items())
        totals.append(f"multiply-adds of a batch of {batch_size}: {work}")
    if detailed:
        parts = ", ".join(f"{_bytes(size)} {name}" for name, size in memory.items())
        totals.append(f"memory: {parts}; {_bytes(sum(memory.values()))} in all")
    return _written(rows, totals, memory, multiply_adds, detailed)


def _layer_rows(network: ParameterizedChain) -> Iterator[LayerSummary]:
    width = network.in_features
    for layer in network.layers:
        width = layer.width_after(width) if width else None
        leaves = [leaf for _, leaf in layer.leaves()]
        parameters = sum(getattr(leaf, name).size for leaf in leaves for name in leaf.parameters.values())
        yield LayerSummary(repr(layer), width, parameters, layer.weight_count)


def _written(
    rows: list[LayerSummary], totals: list[str], memory: dict[str, int], multiply_adds: dict[str, int], detailed: bool
) -> Summary:
    """Return the summary with its text: columns for the layers, then the totals."""
    header = ["layer", "output", "parameters", "multiply-adds"][: 4 if detailed else 3]
    cells = [[r.layer, str(r.output or "any"), str(r.parameters), str(r.multiply_adds)][: len(header)] for r in rows]
    longest = max(len(row[0]) for row in [header, *cells])
    widths = [max(len(title), 7) for title in header[1:]]
    lines = [
        "  ".join([f"{row[0]:<{longest}}", *(f"{cell:>{w}}" for cell, w in zip(row[1:], widths, strict=True))])
        for row in [header, *cells]
    ]
    summary = Summary("\n".join([*lines, *totals]))
    summary.layers, summary.totals, summary.memory, summary.multiply_adds = rows, totals, memory, multiply_adds
    summary._header, summary._rows = header, cells
    return summary


def _multiply_adds(network: ParameterizedChain) -> dict[str, int]:
    """Return those of one sample: forward W x, and backward dA xT and WT dA, which the first layer does without."""
    forward = network.weight_count
    first = next((layer.weight_count for layer in network.layers if layer.weight_count), 0)
    return {"forward": forward, "forward and backward": 3 * forward - first}


def _activation_bytes(network: ParameterizedChain, batch_size: int) -> int:
    """Return the bytes of all that a forward pass in training keeps for the backward pass, the batch included.

    Two small batches are measured, of a copy; the bytes are linear in their size.
    """
    width = network.in_features
    if width is None:
        raise ValueError(
            "summary: expected a layer that says how wide the input is, such as Dense; leave batch_size out"
        )
    network = copy.deepcopy(network)
    two, three = (_cache_bytes(network, np.ones((N, width), network.dtype)) for N in (2, 3))
    return two + (batch_size - 2) * (three - two)


def _cache_bytes(network: ParameterizedChain, X: Any) -> int:
    H, cache = network.forward(X, training=True)
    return sum(_buffers([H, cache]).values())


def _optimizer_bytes(optimizer: Optimizer, network: ParameterizedChain) -> int:
    """Return the bytes of the arrays that a copy of the optimizer holds after a step."""
    if not callable(getattr(optimizer, "step", None)):
        raise TypeError(f"optimizer: expected an object with step(theta, gradient), such as Adam(), got {optimizer!r}")
    if getattr(optimizer, "needs_evaluate", False):  # its state grows from step to step
        most: int | None = getattr(optimizer, "most_vectors", None)
        if most is None:
            raise ValueError(f"expected a state of a fixed size, or most_vectors, got {optimizer!r}")
        return most * network.theta.nbytes
    optimizer = copy.deepcopy(optimizer)
    bind(optimizer, network)
    optimizer.step(network.theta.copy(), np.zeros_like(network.theta))
    return sum(_buffers(vars(optimizer)).values())


def _buffers(value: Any) -> dict[int, int]:
    """Return the bytes of the arrays in nested containers and objects, by their memory, whatever views there are of it.

    A vector from `handmade._vectors.empty` has a few bytes more of memory, which count for nothing.
    """
    if isinstance(value, np.ndarray):
        memory = value
        while isinstance(memory.base, np.ndarray):
            memory = memory.base
        return {id(memory): memory.nbytes if memory.dtype == value.dtype else value.nbytes}
    if isinstance(value, dict):
        parts: Any = value.values()
    elif isinstance(value, list | tuple):
        parts = value
    else:
        parts = vars(value).values() if hasattr(value, "__dict__") and not callable(value) else ()
    return {key: size for part in parts for key, size in _buffers(part).items()}


def _count(number: int) -> str:
    """Return a count in words, to three digits.

    Examples
    --------
    >>> from handmade.summary import _count
    >>> _count(640), _count(3252224)
    ('640', '3.25 million')
    """
    for size, word in (1e12, "trillion"), (1e9, "billion"), (1e6, "million"):
        if number >= size:
            return f"{number / size:.3g} {word}"
    return f"{number:,}"


def _bytes(size: int) -> str:
    """Return a size in bytes with its unit, to three digits.

    Examples
    --------
    >>> from handmade.summary import _bytes
    >>> _bytes(208), _bytes(407080)
    ('208 B', '398 KiB')
    """
    for power, unit in (3, "GiB"), (2, "MiB"), (1, "KiB"):
        if size >= 1024**power:
            return f"{size / 1024**power:.3g} {unit}"
    return f"{size} B"
