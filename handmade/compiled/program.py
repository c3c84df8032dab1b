"""From a network to a program: see `handmade.compiled.kernels`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import activations, losses
from ..composites import Residual, Sequential
from ..layers import Activation, Dense, Dropout, Layer
from ..network import Network
from ..normalization import BatchNorm, LayerNorm
from .kernels import (
    BATCH_NORM,
    DENSE,
    DH,
    DROPOUT,
    DX,
    FORK,
    IN,
    JOIN,
    LAST,
    LAYER_NORM,
    LOSS,
    NETWORK_INPUT,
    OP,
    OUT,
    SOFTMAX,
    UNIT,
    W,
)
from .passes import CROSS_ENTROPY, TERMS, UNITS


class Unsupported(TypeError):
    """An error that names the layer, loss or option without a compiled form."""


class Translator:
    """A builder of programs: it places every value of a pass in the work array, in columns of one number per sample."""

    def __init__(self, network: Network, layers: Sequence[Layer], training: bool) -> None:
        self.training, self.width = training, network.in_features or 0
        self.rows: list[list[int]] = []
        self.numbers: list[float] = []
        self.statistics: list[tuple[BatchNorm, int]] = []  # with the place of their moments in numbers
        self.masks: list[tuple[Dropout, int]] = []  # with their widths
        self.columns, self.value, self.may_overwrite, self.bias = 0, NETWORK_INPUT, False, -1
        self.free: list[tuple[int, int]] = []
        self.kept: list[int] = [NETWORK_INPUT]
        self.starts: dict[tuple[int, str], int] = {}
        start = 0
        for _, leaf in network.leaves():
            for name in leaf.parameters.values():
                self.starts[id(leaf), name] = start
                start += getattr(leaf, name).size
        self.sequence(layers)
        if not self.rows:
            raise Unsupported(f"compile: expected at least one layer that computes something, got {network!r}")

    def row(self, op: int, *, code: int = 0, out: int | None = None, source: int | None = None, target: int = 0,
            other: int = 0, w: int = -1, b: int = -1, numbers: Sequence[float] = ()) -> None:  # fmt: skip
        out, source = self.width if out is None else out, self.value if source is None else source
        self.rows.append([op, code, self.width, out, source, target, other, 0, 0, w, b, len(self.numbers), 0])
        self.numbers.extend(numbers)

    def take(self, width: int) -> int:
        """Return free columns of the work array."""
        for place in self.free:
            if place[1] >= width:
                self.free.remove(place)
                return place[0]
        self.columns += -(-width // 16) * 16  # so that arrays begin at the start of a cache line
        return self.columns - -(-width // 16) * 16

    def move(self, target: int, width: int, may_overwrite: bool = True) -> None:
        """Go on with the value in these columns; a prediction needs the one before no more."""
        if not self.training and self.value not in (*self.kept, target):
            self.free.append((self.value, self.width))
        self.value, self.width = target, width
        self.may_overwrite = may_overwrite or not self.training

    def sequence(self, layers: Sequence[Layer]) -> None:
        for layer in layers:
            if type(layer) not in TRANSLATIONS:
                raise Unsupported(f"compile: expected layers with a compiled form, got {layer!r}; use the NumPy code")
            if not isinstance(layer, Activation):
                self.add_bias()
            TRANSLATIONS[type(layer)](self, layer)
        self.add_bias()

    def add_bias(self) -> None:
        if self.bias >= 0:
            self.unit(0, 1.0)

    def dense(self, layer: Dense) -> None:
        target = self.take(layer.out_features)
        self.row(DENSE, out=layer.out_features, target=target, w=self.starts[id(layer), "W"])
        self.move(target, layer.out_features)
        self.bias = self.starts.get((id(layer), "b"), -1)

    def activation(self, layer: Activation) -> None:
        options = dict(layer.options)
        if layer.f is activations.softmax and options.pop("dim", -1) in (-1, 1):
            self.add_bias()
            target = self.take(self.width)
            self.row(SOFTMAX, target=target, other=self.value)
            return self.move(target, self.width, may_overwrite=False)
        codes = [i for i, unit in enumerate(UNITS) if unit.function is layer.f]
        if not codes:
            raise Unsupported(
                f"compile: expected an activation with a compiled form, got {layer!r}; use the NumPy code"
            )
        unit = UNITS[codes[0]]
        self.unit(codes[options.get("approximate") == "tanh"], float(options.get(unit.option, unit.default)))

    def unit(self, code: int, option: float) -> None:
        source = self.value
        other = source if self.may_overwrite else self.take(self.width)
        target = other if UNITS[code].keeps_H else self.take(self.width)
        self.row(UNIT, code=code, target=target, other=other, b=self.bias, numbers=[option])
        self.bias = -1
        self.move(target, self.width, may_overwrite=False)

    def dropout(self, layer: Dropout) -> None:
        if self.training:
            target, code = self.take(self.width), sum(width for _, width in self.masks)
            kept_share = 1.0 if layer.p in (0, 1) else 1 - layer.p
            self.row(DROPOUT, code=code, target=target, numbers=[float(np.float32(layer.p)), kept_share])
            self.masks.append((layer, self.width))
            self.move(target, self.width)

    def normalization(self, layer: BatchNorm | LayerNorm) -> None:
        tracks = not isinstance(layer, BatchNorm) or (layer.track_running_stats and layer.momentum is not None)
        if len(layer.parameters) < 2 or not tracks:
            raise Unsupported(
                f"compile: expected a normalization with weight, bias, running averages and a momentum, got {layer!r}; "
                "use the NumPy code"
            )
        target = self.take(self.width)
        other = self.take(self.width) if self.training else target
        w, b = self.starts[id(layer), "gamma"], self.starts[id(layer), "beta"]
        if isinstance(layer, BatchNorm):
            self.statistics.append((layer, len(self.numbers)))
            numbers, code, op = [0.0] * (3 * self.width) + [layer.eps], int(self.training), BATCH_NORM
        else:
            numbers, code, op = [layer.eps], self.take(1), LAYER_NORM
        self.row(op, code=code, target=target, other=other, w=w, b=b, numbers=numbers)
        self.move(target, self.width)

    def residual(self, layer: Residual) -> None:
        start = self.value
        self.row(FORK)
        self.kept.append(start)
        self.may_overwrite = False
        self.sequence(layer.layers)
        target = self.take(self.width)
        self.row(JOIN, source=start, target=target, other=self.value)
        self.kept.remove(start)
        self.move(target, self.width)

    def loss(self, functions: losses.LossFunctions, dtype: np.dtype[Any]) -> None:
        """Add the row of the loss, and the columns for gradients."""
        f, options, K = functions.value, {}, self.width
        if isinstance(f, functools.partial):
            f, options = f.func, dict(f.keywords)
        mean = options.pop("reduction", "mean") == "mean"
        if f is losses.cross_entropy:
            functions.value(np.zeros((1, K), dtype), np.zeros(1, int))  # raises where an option is wrong
            weight, ignore = options.pop("weight", None), options.pop("ignore_index", -100)
            numbers = [options.pop("label_smoothing", 0.0), *(() if weight is None else weight)]
            self.row(LOSS, code=CROSS_ENTROPY, other=ignore, w=weight is not None, b=mean, numbers=numbers)
        else:
            codes = [i for i, loss in enumerate(TERMS) if loss.function is f]
            if not codes:
                raise Unsupported(f"compile: expected a loss with a compiled form, got {f!r}; use the NumPy code")
            functions.value(np.zeros((1, K), dtype), np.zeros((1, K), dtype))
            loss, option = TERMS[codes[0]], 1.0
            if loss.option in options:
                option = options.pop(loss.option)
            over = mean * (1 + loss.over_outputs)
            self.row(LOSS, code=codes[0], b=over, numbers=np.broadcast_to(1 if option is None else option, (K,)))
        if options:
            raise Unsupported(f"compile: expected {f.__name__} without {', '.join(options)}; use the NumPy code")
        self.place_gradients()

    def place_gradients(self) -> None:
        """Give every row the columns of its dH and dX: two for each level of blocks, in turns."""
        first = next((row for row in self.rows if row[W] >= 0), self.rows[0])
        first[LAST] = 1
        widest = max([row[OUT] for row in self.rows] + [row[IN] for row in self.rows if row is not first])
        levels: list[list[int]] = [[self.take(widest), self.take(widest)]]
        self.rows[-1][DX] = levels[0][0]
        for row in reversed(self.rows[:-1]):
            row[DH] = row[DX] = levels[-1][0]
            if row[OP] == DENSE:
                levels[-1].reverse()
                row[DX] = NETWORK_INPUT if row is first else levels[-1][0]
            elif row[OP] == JOIN:
                levels.append([self.take(widest), self.take(widest)])
                row[DX] = levels[-1][0]
            elif row[OP] == FORK:
                levels.pop()
                row[DX] = levels[-1][0]


TRANSLATIONS: dict[type, Callable[[Translator, Any], None]] = {
    Dense: Translator.dense,
    Activation: Translator.activation,
    Dropout: Translator.dropout,
    BatchNorm: Translator.normalization,
    LayerNorm: Translator.normalization,
    Residual: Translator.residual,
    Sequential: lambda translator, layer: translator.sequence(layer.layers),
}
