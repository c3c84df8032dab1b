"""Export to C: one header file in C99 that holds the weights and computes the network."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from string import Template
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .._atomic import write_atomically
from .._types import Array
from ..activation_layers import GLU, PReLU, SwiGLU
from ..activations.rectifiers import SELU_ALPHA, SELU_SCALE
from ..base_layer import Layer
from ..composites import Concatenate, Parallel, Residual, Sequential
from ..dropout import AlphaDropout, Dropout
from ..layers import Activation, Dense
from ..network import Network
from ..normalization import BatchNorm, GroupNorm, LayerNorm, RMSNorm
from ._common import check_network, emitter_of, export_array, full_options, input_width, running_moments

__all__ = ["ACTIVATIONS", "LAYERS", "to_c"]


# ---- activations ---------------------------------------------------------------------------------------------------


class Body(NamedTuple):
    """The body of a C function, written for doubles; the names of options follow a dollar sign."""

    text: str
    head: str = "real $function(real a)"


A_ROW = "void $function(const real *a, real *h, int n)"  # of the outputs of one sample

_GELU = {
    "none": Body(f"return 0.5 * a * erfc(-{math.sqrt(0.5)!r} * a);"),
    "tanh": Body(f"return a / (1.0 + exp(-{math.sqrt(8 / math.pi)!r} * (a + 0.044715 * a * a * a)));"),
}
_EXPONENTIALS = """
real largest = a[0], sum = 0.0;
for (int i = 1; i < n; i++) largest = a[i] > largest ? a[i] : largest;
"""

ACTIVATIONS: dict[str, Callable[..., Body]] = {
    "identity": lambda: Body("return a;"),
    "sigmoid": lambda: Body("const real e = exp(-fabs(a)); return (a >= 0.0 ? 1.0 : e) / (1.0 + e);"),
    "tanh": lambda: Body("return tanh(a);"),
    "relu": lambda: Body("return a < 0.0 ? 0.0 : a;"),  # NaN stays NaN
    "leaky_relu": lambda negative_slope: Body("return a > 0.0 ? a : $negative_slope * a;"),
    "elu": lambda alpha: Body("return a > 0.0 ? a : $alpha * expm1(a);"),
    "gelu": lambda approximate: _GELU[approximate],
    "silu": lambda: Body("const real e = exp(-fabs(a)); return a * (a >= 0.0 ? 1.0 : e) / (1.0 + e);"),
    "softplus": lambda beta, threshold: Body(
        ("" if threshold == math.inf else "if ($beta * a > $threshold) return a;\n")
        + "return (a > 0.0 ? a : 0.0) + log1p(exp(-fabs($beta * a))) / $beta;"
    ),
    "softmax": lambda: Body(
        _EXPONENTIALS + "for (int i = 0; i < n; i++) sum += h[i] = exp(a[i] - largest);\n"
        "for (int i = 0; i < n; i++) h[i] /= sum;",
        A_ROW,
    ),
    "log_softmax": lambda: Body(
        _EXPONENTIALS + "int place = 0;\n"
        "while (a[place] < largest) place++;\n"
        "for (int i = 0; i < n; i++) sum += i == place ? 0.0 : exp(a[i] - largest);\n"
        "for (int i = 0; i < n; i++) h[i] = a[i] - largest - log1p(sum);",
        A_ROW,
    ),
    "relu6": lambda: Body("return a < 0.0 ? 0.0 : a > 6.0 ? 6.0 : a;"),
    "threshold": lambda threshold, value: Body("return a <= $threshold ? $value : a;"),
    "hardtanh": lambda min_val, max_val: Body("return a < $min_val ? $min_val : a > $max_val ? $max_val : a;"),
    "hardsigmoid": lambda: Body("return a < -3.0 ? 0.0 : a > 3.0 ? 1.0 : (a + 3.0) / 6.0;"),
    "hardswish": lambda: Body("return a < -3.0 ? 0.0 : a > 3.0 ? a : a * ((a + 3.0) / 6.0);"),
    "softshrink": lambda lambd: Body("return a > $lambd ? a - $lambd : a < -$lambd ? a + $lambd : 0.0 * a;"),
    "hardshrink": lambda lambd: Body("return fabs(a) <= $lambd ? 0.0 : a;"),
    "selu": lambda: Body(f"return {SELU_SCALE!r} * (a > 0.0 ? a : {SELU_ALPHA!r} * expm1(a));"),
    "celu": lambda alpha: Body("return a > 0.0 ? a : $alpha * expm1(a / $alpha);"),
    "mish": lambda: Body(
        "const real e = exp(-fabs(a));\n"
        "return a * (a >= 0.0 ? (1.0 + 2.0 * e) / (1.0 + 2.0 * e * (1.0 + e))\n"
        "                     : e * (2.0 + e) / (2.0 + e * (2.0 + e)));"
    ),
    "logsigmoid": lambda: Body("return (a < 0.0 ? a : 0.0) - log1p(exp(-fabs(a)));"),
    "softsign": lambda: Body("return a / (1.0 + fabs(a));"),
    "tanhshrink": lambda: Body("return a - tanh(a);"),
}

_FUNCTIONS = re.compile(r"\b(exp|expm1|log1p|tanh|erfc|fabs|sqrt)\(")
_LITERALS = re.compile(r"(?<![\w.])(\d+\.\d+(?:e[+-]?\d+)?)")


# ---- the file ------------------------------------------------------------------------------------------------------


class Value(NamedTuple):
    """An array in the C function: its name, and how many numbers it holds."""

    name: str
    width: int


class Source:
    """The declarations and statements of the header, while it is written."""

    def __init__(self, name: str, dtype: np.dtype[Any]) -> None:
        self.name: str = name
        self.dtype: np.dtype[Any] = dtype
        self.real = "float" if dtype == np.float32 else "double"
        self.arrays: list[str] = []
        self.functions: dict[str, tuple[str, str]] = {}  # body -> name and declaration
        self.statements: list[str] = []
        self.layer: Layer | None = None  # whose numbers are being written, for error messages
        self.values: int = 0

    def in_dtype(self, text: str) -> str:
        """Return C that was written for doubles in the type of the export."""
        if self.real == "float":
            text = _LITERALS.sub(r"\1f", _FUNCTIONS.sub(r"\1f(", text))
        return re.sub(r"\breal\b", self.real, text)

    def literal(self, number: Any) -> str:
        """Return a number as C reads it back bit for bit."""
        text = f"{float(number):.{9 if self.real == 'float' else 17}g}"
        text = text if re.search(r"[.e]", text) else text + ".0"
        text = text + "f" if self.real == "float" else text
        return f"({text})" if text.startswith("-") else text

    def option(self, number: Any) -> str:
        """Return an option of the layer as a literal; raise if the dtype of the export cannot hold it."""
        return self.literal(export_array(number, self.dtype, repr(self.layer)))

    def array(self, values: Array) -> str:
        """Declare a constant array; return its name."""
        name = f"{self.name}_array{len(self.arrays)}"
        numbers = [self.literal(v) for v in export_array(values, self.dtype, repr(self.layer)).ravel()]
        lines = [", ".join(numbers[i : i + 8]) for i in range(0, len(numbers), 8)]
        body = ",\n    ".join(lines)
        self.arrays.append(f"static const {self.real} {name}[{len(numbers)}] = {{\n    {body}\n}};")
        return name

    def function(self, body: Body, title: str, options: Mapping[str, Any]) -> str:
        """Declare a function, once if several layers share it; return its name."""
        literals = {key: self.option(v) for key, v in options.items() if f"${key}" in body.text}
        text = Template(self.in_dtype(body.text.strip())).substitute(literals).replace("\n", "\n    ")
        if text not in self.functions:
            name = f"{self.name}_{title}{len(self.functions)}"
            head = Template(self.in_dtype(body.head)).substitute(function=name)
            self.functions[text] = name, f"static inline {head} {{\n    {text}\n}}"
        return self.functions[text][0]

    def value(self, width: int) -> Value:
        """Declare an array for values of the pass."""
        self.values += 1
        value = Value(f"v{self.values}", width)
        self.statements.append(f"{self.real} {value.name}[{width}];")
        return value

    def loop(self, width: int, statement: str) -> None:
        """Append a loop over i."""
        self.statements.append(self.in_dtype(f"for (int i = 0; i < {width}; i++) {statement}"))


# ---- layers: f(source, layer, x) appends statements and returns the output -----------------------------------------


def _dense(c: Source, layer: Dense, x: Value) -> Value:
    W, y = c.array(layer.W), c.value(layer.out_features)
    start = f"{c.array(layer.b)}[i]" if "bias" in layer.parameters else "0.0"
    c.loop(
        y.width,
        f"{{\n        real sum = {start};\n"
        f"        for (int j = 0; j < {x.width}; j++) sum += {W}[{x.width} * i + j] * {x.name}[j];\n"
        f"        {y.name}[i] = sum;\n    }}",
    )
    return y


def _activation(c: Source, layer: Activation, x: Value) -> Value:
    options = full_options(layer)
    body = emitter_of(layer.function, ACTIVATIONS, layer, "to_c")(**options)
    f = c.function(body, str(layer.function), options)
    y = c.value(x.width)
    if body.head == A_ROW:
        c.statements.append(f"{f}({x.name}, {y.name}, {x.width});")
    else:
        c.loop(x.width, f"{y.name}[i] = {f}({x.name}[i]);")
    return y


def _prelu(c: Source, layer: PReLU, x: Value) -> Value:
    slopes, y = c.array(np.broadcast_to(layer.slope, x.width)), c.value(x.width)
    c.loop(x.width, f"{y.name}[i] = {x.name}[i] > 0.0 ? {x.name}[i] : {slopes}[i] * {x.name}[i];")
    return y


def _glu(c: Source, layer: GLU, x: Value) -> Value:
    half = x.width // 2
    gate, y = _activation(c, layer.gate, Value(f"({x.name} + {half})", half)), c.value(half)
    c.loop(half, f"{y.name}[i] = {x.name}[i] * {gate.name}[i];")
    return y


def scale_and_shift(layer: BatchNorm) -> tuple[Array, Array]:
    """Return a and b of batch normalization in evaluation mode, a x + b, in float64."""
    gamma, beta, mean, variance = (
        array.astype(np.float64) for array in (layer.gamma, layer.beta, *running_moments(layer))
    )
    scale = gamma / np.sqrt(variance + layer.eps)
    return scale, beta - mean * scale


def _batch_norm(c: Source, layer: BatchNorm, x: Value) -> Value:
    scale, shift = map(c.array, scale_and_shift(layer))
    y = c.value(x.width)
    c.loop(x.width, f"{y.name}[i] = {scale}[i] * {x.name}[i] + {shift}[i];")
    return y


_LAYER_NORM = Body(
    """
real mean = 0.0, variance = 0.0;
for (int i = 0; i < n; i++) mean += x[i];
mean /= (real)n;
for (int i = 0; i < n; i++) variance += (x[i] - mean) * (x[i] - mean);
const real scale = 1.0 / sqrt(variance / (real)n + eps);
for (int i = 0; i < n; i++) h[i] = gamma[i] * ((x[i] - mean) * scale) + beta[i];
""",
    "void $function(const real *x, const real *gamma, const real *beta, real eps, real *h, int n)",
)


def _group_norm(c: Source, layer: GroupNorm | LayerNorm, x: Value) -> Value:
    f, gamma, beta, y = c.function(_LAYER_NORM, "norm", {}), c.array(layer.gamma), c.array(layer.beta), c.value(x.width)
    n = x.width // (layer.num_groups if isinstance(layer, GroupNorm) else 1)
    eps = c.option(layer.epsilon(c.dtype))
    for k in range(0, x.width, n):
        c.statements.append(f"{f}({x.name} + {k}, {gamma} + {k}, {beta} + {k}, {eps}, {y.name} + {k}, {n});")
    return y


_RMS_NORM = Body(
    """
real square = 0.0;
for (int i = 0; i < n; i++) square += x[i] * x[i];
const real scale = 1.0 / sqrt(square / (real)n + eps);
for (int i = 0; i < n; i++) h[i] = gamma[i] * (x[i] * scale);
""",
    "void $function(const real *x, const real *gamma, real eps, real *h, int n)",
)


def _rms_norm(c: Source, layer: RMSNorm, x: Value) -> Value:
    f, gamma, y = c.function(_RMS_NORM, "rms", {}), c.array(layer.gamma), c.value(x.width)
    eps = c.option(layer.epsilon(layer.gamma.dtype))
    c.statements.append(f"{f}({x.name}, {gamma}, {eps}, {y.name}, {x.width});")
    return y


def _folded(layers: Sequence[Layer]) -> list[Layer]:
    """Return the layers with each batch normalization after a Dense layer folded into its weights."""
    folded: list[Layer] = []
    for layer in layers:
        below = folded[-1] if folded else None
        if type(layer) is BatchNorm and type(below) is Dense:
            scale, shift = scale_and_shift(layer)
            dense = Dense(below.W.shape[1], below.W.shape[0], weight_init="zeros", bias_init="zeros")
            bias = below.b.astype(np.float64) if "bias" in below.parameters else 0.0
            dense.W, dense.b = scale[:, np.newaxis] * below.W, scale * bias + shift
            folded[-1] = dense
        else:
            folded.append(layer)
    return folded


def _chain(c: Source, chain: Sequential, x: Value) -> Value:
    for layer in _folded(chain.layers):
        c.layer = layer
        x = emitter_of(type(layer), LAYERS, layer, "to_c")(c, layer, x)
    return x


def _joined(c: Source, parts: Sequence[Value]) -> Value:
    """Append statements that put arrays side by side."""
    y, start = c.value(sum(part.width for part in parts)), 0
    for part in parts:
        c.loop(part.width, f"{y.name}[{start} + i] = {part.name}[i];")
        start += part.width
    return y


def _residual(c: Source, layer: Residual, x: Value) -> Value:
    H, y = _chain(c, layer, x), c.value(x.width)
    c.loop(x.width, f"{y.name}[i] = {x.name}[i] + {H.name}[i];")
    return y


def _parallel(c: Source, layer: Parallel, x: Value) -> Value:
    parts, start = [], 0
    for group in layer.groups:
        width = group.in_features or 0
        parts.append(_chain(c, group, Value(f"({x.name} + {start})", width)))
        start += width
    return _joined(c, parts)


LAYERS: dict[type[Layer], Callable[[Source, Any, Value], Value]] = {
    Dense: _dense,
    Activation: _activation,
    PReLU: _prelu,
    GLU: _glu,
    SwiGLU: _glu,
    Dropout: lambda c, layer, x: x,
    AlphaDropout: lambda c, layer, x: x,
    BatchNorm: _batch_norm,
    LayerNorm: _group_norm,
    RMSNorm: _rms_norm,
    GroupNorm: _group_norm,
    Sequential: _chain,
    Residual: _residual,
    Concatenate: lambda c, layer, x: _joined(c, [x, _chain(c, layer, x)]),
    Parallel: _parallel,
}


def to_c(
    network: Network,
    path: str | os.PathLike[str] | None = None,
    *,
    name: str = "network",
    softmax: bool = False,
    dtype: npt.DTypeLike = np.float32,
) -> str:
    """Write a network as one self-contained header file in C99.

    The header holds the weights and a function ``name_predict(const float *x, float *y)`` for one sample. It
    allocates no memory, needs only ``math.h``, and may be called by any number of threads at the same time. Batch
    normalization after a Dense layer is folded into its weights. A comment has an input and its output, as a test.

    Parameters
    ----------
    network : Network
        The network; it is exported in evaluation mode, without dropout and with the running averages of batch
        normalization.
    path : path-like, optional
        The file to write; it is replaced as a whole or not at all.
    name : str
        The prefix of all names in the header: a C identifier.
    softmax : bool
        Whether to append a softmax, which converts logits to probabilities.
    dtype : dtype
        The dtype of the numbers in C: float32 (float) or float64 (double).

    Returns
    -------
    str
        The content of the file.

    Raises
    ------
    ValueError
        If the name is not an identifier in C, the network holds a layer or an activation of your own, or a weight is
        too large for the dtype.
    TypeError
        If ``network`` is not a Network, or the dtype is neither float32 nor float64.

    Notes
    -----
    The function keeps the outputs of all layers on the stack: 4 bytes (float) times the sum of their widths.

    Examples
    --------
    >>> print(hm.export.to_c(hm.MLP([3, 4, 2])).splitlines()[0])
    /* network: 3 inputs, 2 outputs, computed in float. Written by handmade.
    """
    dtype = check_network(network, softmax, dtype)
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII):
        raise ValueError(f"name: expected a C identifier such as 'network', got {name!r}")
    c = Source(name, dtype)
    y = _chain(c, network, Value("x", input_width(network)))
    y = _activation(c, Activation("softmax"), y) if softmax else y
    c.loop(y.width, f"y[i] = {y.name}[i];")
    text = _header(c, network, y.width, _test_vector(network, softmax))
    if path is not None:
        write_atomically(path, lambda stream: stream.write(text.encode()))
    return text


def _test_vector(network: Network, softmax: bool) -> str:
    """Return an input and its output as a comment."""
    x = np.linspace(-1, 1, input_width(network))[np.newaxis]
    y = network.predict(x)
    y = Activation("softmax").predict(y) if softmax else y
    rows = [f"{name} = {{{', '.join(f'{v:.9g}' for v in row[0])}}}" for name, row in (("x", x), ("y", y))]
    return " *   " + "\n *   ".join(rows)


def _header(c: Source, network: Network, outputs: int, test_vector: str) -> str:
    """Return the text of the file."""
    inputs, big = input_width(network), c.name.upper()
    statements = "\n    ".join(c.statements)
    functions = "\n\n".join([*c.arrays, *(declaration for _, declaration in c.functions.values())])
    return f"""/* {c.name}: {inputs} inputs, {outputs} outputs, computed in {c.real}. Written by handmade.
 *
 *   {c.real} x[{big}_INPUTS] = {{...}}, y[{big}_OUTPUTS];
 *   {c.name}_predict(x, y);
 *
 * C99; link the mathematics library with -lm. To test it, up to rounding:
{test_vector}
 */
#ifndef {big}_PREDICT_H
#define {big}_PREDICT_H

#include <math.h>

#define {big}_INPUTS {inputs}
#define {big}_OUTPUTS {outputs}

{functions}

static inline void {c.name}_predict(const {c.real} *x, {c.real} *y) {{
    {statements}
}}

#endif
"""
