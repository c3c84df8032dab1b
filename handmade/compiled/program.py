"""The translation of a network into a program, see `handmade.compiled.passes`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import activations, losses
from .._validation import check_methods
from ..base_layer import Layer
from ..composites import Residual, Sequential
from ..dropout import Dropout
from ..layers import Activation, Dense, name_of
from ..network import Network
from ..normalization import BatchNorm, LayerNorm
from . import operations
from .blas import dot
from .operations import OPTIONS, OWN
from .passes import COLUMNS, END, LEAST_ROWS, NEED_DX, NETWORK_INPUT, OUTPUTS_TELL, address
from .tables import ACTIVATIONS, TERMS, Function

Array = npt.NDArray[Any]


ALONG_CLASSES: dict[Any, tuple[Callable[..., Any], Callable[..., Any]]] = {
    activations.softmax: (operations.softmax, operations.softmax_backward),
    activations.log_softmax: (operations.log_softmax, operations.log_softmax_backward),
}


class Unsupported(TypeError):
    """An error that names the layer, loss or option without a compiled form."""


def find(table: Sequence[Function], function: Any, options: Mapping[str, Any], what: str, owner: Any) -> Function:
    """Return the row of a function with these options; raise Unsupported if the table has none."""
    rows = [row for row in table if row.function is function]
    if not rows:
        raise Unsupported(f"compile: expected {what} with a compiled form, got {owner!r}; use the NumPy code")
    fitting = [row for row in rows if all(options.get(name, value) == value for name, value in row.only.items())]
    for name in options:
        if not fitting or name not in {*fitting[0].options, *fitting[0].only}:
            raise Unsupported(
                f"compile: expected {function.__name__} without {name}, got {owner!r}; use the NumPy code"
            )
        if name in fitting[0].positive and options[name] <= 0:
            raise Unsupported(f"compile: expected {name} above 0, got {owner!r}; use the NumPy code")
    return fitting[0]


def check_pair(f: Any, f_backward: Any, pairs: Iterable[Iterable[Any]], what: str, owner: Any) -> None:
    """Raise Unsupported unless a function and its backward are one of the library's pairs."""
    if not any(tuple(pair) == (f, f_backward) for pair in pairs):
        raise Unsupported(f"compile: expected {what} with a compiled form, got {owner!r}; use the NumPy code")


def check_options(layer: BatchNorm | LayerNorm, tracks: bool) -> None:
    """Raise Unsupported if a normalization lacks the weight and bias, or the running averages, of the defaults."""
    if len(layer.parameters) < 2 or not tracks:
        raise Unsupported(
            f"compile: expected a normalization with weight, bias, running averages and a momentum, got {layer!r}; "
            "use the NumPy code"
        )


class Translator:
    """A translator of a network into a program.

    It places every array of a pass in the work array, which it divides into columns of one number per sample. The
    "value" is the output of the last row so far.
    """

    signature: Any
    training: bool
    width: int
    value: int
    columns: int
    of_classes: bool
    no_bias: Array
    no_gradient: Array

    def __init__(self, network: Network, layers: Sequence[Layer], signature: Any, training: bool) -> None:
        self.signature, self.training, self.width = signature, training, network.in_features or 0
        self.rows: list[list[int]] = [[0] * COLUMNS]
        self.numbers: list[float] = [0.0] * OWN
        self.statistics: list[tuple[BatchNorm, int]] = []  # each with the index of its moments in numbers
        self.masks: list[tuple[Dropout, int]] = []  # each with its width
        self.trainable: list[int] = []
        self.columns, self.value = 0, NETWORK_INPUT
        self.dense_below: Dense | None = None  # the layer whose bias is not yet added
        self.kept: list[int] = [NETWORK_INPUT]  # columns that a later row needs
        self.free: list[tuple[int, int]] = []  # columns that no later row needs, with their widths
        self.leaves = [leaf for _, leaf in network.leaves()]
        self.scratch: int | None = None  # columns for a transposed product
        widest = max([leaf.neuron_count for leaf in self.leaves] + [self.width])
        self.no_bias, self.no_gradient = np.zeros(widest, network.dtype), np.zeros(widest, network.dtype)
        self.sequence(layers)
        if len(self.rows) == 1 or not network.in_features:
            raise Unsupported(f"compile: expected a layer with weights, got {network!r}")
        self.rows[0][LEAST_ROWS] = 2 if training and self.statistics else 1
        self.rows[0][END] = self.trainable[0] if self.trainable else len(self.rows)
        if self.trainable:  # no layer below has parameters
            self.rows[self.trainable[0]][NEED_DX] = 0

    def address(self, operation: Callable[..., Any], **names: Any) -> int:
        return address(operation, self.signature, **names)

    def row(self, forward: int, backward: Callable[..., Any] | None = None, *, out: int = 0, source: int | None = None,
            saved: int = 0, parameters: Sequence[Array] = (), numbers: Sequence[float] = (),
            names: Mapping[str, Any] = MappingProxyType({})) -> None:  # fmt: skip
        """Add a row that writes its output to the current columns of the value.

        ``parameters`` are W, dW, b and db; ``names`` replace globals of backward, see `handmade.compiled.passes`.
        """
        source, width, out = self.value if source is None else source, self.width, out or self.width
        back = self.address(backward, **names) if backward and self.training else 0
        places = [parameter.ctypes.data for parameter in parameters] + [0] * (4 - len(parameters))
        row = [forward, back, width, out, source, self.value, saved, *places, len(self.numbers), 1]
        self.rows.append(row + [0] * (COLUMNS - len(row)))
        self.numbers.extend(map(float, numbers))
        self.width = out

    def take(self, width: int) -> int:
        """Return the first of ``width`` free columns of the work array."""
        for place in self.free:
            if place[1] >= width:
                self.free.remove(place)
                return place[0]
        self.columns += -(-width // 16) * 16  # arrays begin at the start of a cache line
        return self.columns - -(-width // 16) * 16

    def saved(self, width: int) -> int:
        """Return columns for the values that forward saves for backward; in a prediction, they are free at once."""
        column = self.take(width)
        if not self.training:
            self.free.append((column, width))
        return column

    def move(self, width: int) -> int:
        """Give the value new columns, and return the old ones; in a prediction, free them, unless they are kept."""
        old = self.value
        self.value = self.take(width)
        if not self.training and old not in self.kept:
            self.free.append((old, self.width))
        return old

    def copy(self) -> None:
        """Copy the value to new columns, because a later row needs the old ones unchanged."""
        source = self.move(self.width)
        self.row(self.address(operations.copy), operations.copy_backward, source=source)

    def sequence(self, layers: Sequence[Layer]) -> None:
        """Add the rows of layers; raise Unsupported if one has no compiled form."""
        for layer in layers:
            check_methods(layer, "compile", Unsupported)
            if type(layer) not in TRANSLATIONS:
                raise Unsupported(f"compile: expected layers with a compiled form, got {layer!r}; use the NumPy code")
            if not isinstance(layer, Activation):
                self.add_bias()
            if self.value == NETWORK_INPUT and not isinstance(layer, Dense | Dropout | Sequential):
                self.copy()  # these layers overwrite their input
            TRANSLATIONS[type(layer)](self, layer)
        self.add_bias()

    def bias(self) -> tuple[Array, Array]:
        """Return the bias that is not yet added, and its gradient; zeros if there is none."""
        layer, self.dense_below = self.dense_below, None
        return (layer.b, layer.db) if layer and layer.bias else (self.no_bias, self.no_gradient)

    def add_bias(self) -> None:
        """Add a row for a bias that is not yet added, if there is one."""
        if self.dense_below and self.dense_below.bias:
            b = self.bias()
            self.row(self.address(operations.add_bias), operations.add_bias_backward, parameters=[*b, *b])

    def dense(self, layer: Dense) -> None:
        if self.scratch is None:  # before the columns of X, which the product reads, are free
            self.scratch = self.take(max(leaf.out_features for leaf in self.leaves if isinstance(leaf, Dense)))
        source, forward = self.move(layer.out_features), self.address(operations.product, dot=dot)
        self.row(forward, operations.product_backward, out=layer.out_features, source=source, saved=self.scratch,
                 parameters=[layer.W, layer.dW], names={"dot": dot})  # fmt: skip
        self.trainable.append(len(self.rows) - 1)
        self.dense_below = layer
        if source == NETWORK_INPUT:
            self.rows[0][OUTPUTS_TELL] = layer.out_features < layer.in_features

    def activation(self, layer: Activation) -> None:
        check_pair(layer.f, layer.f_backward, activations.ACTIVATIONS.values(), "an activation", layer)
        if layer.f in ALONG_CLASSES and layer.options.get("dim", -1) in (-1, 1):
            self.add_bias()
            forward, backward = ALONG_CLASSES[layer.f]
            self.row(self.address(forward), backward, saved=self.saved(self.width))
            return
        unit = find(ACTIVATIONS, layer.f, layer.options, "an activation", layer)
        numbers = [layer.options.get(name, value) for name, value in unit.options.items()]
        options = OPTIONS[len(numbers)]
        if self.training:
            forward = self.address(operations.units, f=unit.f, slope=unit.slope, options=options)
            saved = self.take(self.width)
        else:
            forward, saved = self.address(operations.units_predict, f=unit.f, options=options), 0
        b = self.bias()
        self.row(forward, operations.units_backward, saved=saved, parameters=[*b, *b], numbers=numbers)

    def dropout(self, layer: Dropout) -> None:
        if self.training:
            if self.value == NETWORK_INPUT:
                self.copy()
            start, kept_share = sum(width for _, width in self.masks), 1.0 if layer.p in (0, 1) else 1 - layer.p
            numbers = float(np.float32(layer.p)), kept_share
            self.row(self.address(operations.dropout), operations.dropout, saved=start, numbers=numbers)
            self.masks.append((layer, self.width))

    def batch_norm(self, layer: BatchNorm) -> None:
        check_options(layer, layer.track_running_stats and layer.momentum is not None)
        self.statistics.append((layer, len(self.numbers) + 1))
        if self.training:
            self.row(self.address(operations.batch_moments), operations.nothing)
        saved, parameters = self.saved(self.width), [layer.gamma, layer.dgamma, layer.beta, layer.dbeta]
        numbers = [layer.eps] + [0.0] * (3 * self.width)
        forward = self.address(operations.batch_norm)
        self.row(forward, operations.batch_norm_backward, saved=saved, parameters=parameters, numbers=numbers)
        self.trainable.append(len(self.rows) - 1)

    def layer_norm(self, layer: LayerNorm) -> None:
        check_options(layer, True)
        saved, parameters = self.saved(self.width + 1), [layer.gamma, layer.dgamma, layer.beta, layer.dbeta]
        forward = self.address(operations.layer_norm)
        self.row(forward, operations.layer_norm_backward, saved=saved, parameters=parameters, numbers=[layer.eps])
        self.trainable.append(len(self.rows) - 1)

    def residual(self, layer: Residual) -> None:
        if self.value == NETWORK_INPUT:
            self.copy()
        start = self.value
        self.kept.append(start)
        self.copy()
        self.sequence(layer.layers)
        self.kept.remove(start)
        if not self.training:
            self.free.append((self.value, self.width))
        end, self.value = self.value, start
        self.row(self.address(operations.join), operations.join_backward, source=end)

    def loss(self, functions: losses.LossFunctions, dtype: np.dtype[Any]) -> None:
        """Add the row of the loss; raise if the network's outputs or the options do not suit it."""
        losses.check_one_number(functions)
        functions.check_outputs(self.width)
        f, backward = (getattr(function, "func", function) for function in functions)  # of a functools.partial
        check_pair(f, backward, losses.LOSSES.values(), "a loss", name_of(f))
        options, others = (getattr(function, "keywords", {}) for function in functions)
        alike = options.keys() == others.keys() and all(np.array_equal(options[name], others[name]) for name in others)
        if not alike or any(getattr(function, "args", ()) for function in functions):
            raise Unsupported(
                f"compile: expected a loss and a gradient with the same options by name, got {tuple(functions)}; use "
                "the NumPy code"
            )
        self.of_classes = f is losses.cross_entropy
        add = self.cross_entropy if self.of_classes else self.terms
        add(functions, f, {**options}, dtype)

    def cross_entropy(self, functions: losses.LossFunctions, f: Any, options: dict[str, Any], dtype: Any) -> None:
        functions.value(np.zeros((1, self.width), dtype), np.zeros(1, int))  # raises if an option is invalid
        mean, ignored = options.pop("reduction", "mean") == "mean", options.pop("ignore_index", -100)
        smoothing, weight = options.pop("label_smoothing", 0.0), options.pop("weight", None)
        weights = () if weight is None else weight
        given = [mean, 0, ignored, smoothing, weight is not None, -np.inf, np.inf, *weights]
        self.row(self.address(operations.cross_entropy), numbers=given)

    def terms(self, functions: losses.LossFunctions, f: Any, options: dict[str, Any], dtype: Any) -> None:
        mean = options.pop("reduction", "mean") == "mean"
        term = find(TERMS, f, options, "a loss", name_of(f))
        functions.value(np.zeros((1, self.width), dtype), np.zeros((1, self.width), dtype))
        given = [mean, mean and term.over_outputs, np.nan, 0, 0, *term.targets]
        for name, value in term.options.items():
            value = options.get(name, value)
            given.extend(np.broadcast_to(term.options[name] if value is None else value, (self.width,)))
        names = dict(f=term.f, slope=term.slope, options=OPTIONS[len(term.options)])
        self.row(self.address(operations.terms, **names), numbers=given)


TRANSLATIONS: dict[type, Callable[[Translator, Any], None]] = {
    Dense: Translator.dense,
    Activation: Translator.activation,
    Dropout: Translator.dropout,
    BatchNorm: Translator.batch_norm,
    LayerNorm: Translator.layer_norm,
    Residual: Translator.residual,
    Sequential: lambda translator, layer: translator.sequence(layer.layers),
}
