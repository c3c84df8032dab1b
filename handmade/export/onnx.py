"""Export to ONNX: each layer and each activation by the operators that compute it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .._atomic import write_atomically
from .._version import __version__
from ..activation_layers import GLU, PReLU, SwiGLU
from ..activations.rectifiers import SELU_ALPHA, SELU_SCALE
from ..base_layer import Layer
from ..composites import Concatenate, Parallel, Residual, Sequential
from ..dropout import AlphaDropout, Dropout
from ..layers import Activation, Dense
from ..network import Network
from ..normalization import BatchNorm, GroupNorm, LayerNorm, RMSNorm, Standardization
from ._common import check_network, emitter_of, export_array, full_options, input_width, running_moments

if TYPE_CHECKING:
    import onnx

__all__ = ["ACTIVATIONS", "LAYERS", "OPSET", "to_onnx"]

OPSET = 17  # the operators' version: read by ONNX Runtime 1.12 and newer
IR_VERSION = 8


class Graph:
    """The nodes and constants of an ONNX graph, while it is written."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.layer: Layer | None = None  # whose numbers are being written, for error messages

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Append a node; return the name of its output."""
        return self.add_many(operator, inputs, 1, **attributes)[0]

    def add_many(self, operator: str, inputs: Sequence[str], outputs: int, **attributes: Any) -> list[str]:
        """Append a node; return the names of its outputs."""
        from onnx import helper

        name = f"{operator}_{len(self.nodes)}"
        names = [f"{name}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, names, name, **attributes))
        return names

    def constant(self, value: Any, name: str | None = None) -> str:
        """Append an array, in the dtype of the graph if it is of floats; return its name."""
        from onnx import numpy_helper

        name = f"constant_{len(self.constants)}" if name is None else name
        value = np.asarray(value)
        if value.dtype.kind == "f":
            value = export_array(value, self.dtype, repr(self.layer))
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def apply(self, operator: str, x: str, number: float) -> str:
        """Append a node of x and a number."""
        return self.add(operator, x, self.constant(float(number)))


# ---- activations: f(graph, a, **options) appends nodes and returns the name of h -----------------------------------


def _elu(g: Graph, a: str, alpha: float, bend: float = 1.0) -> str:
    # Not the operators Elu, Selu and Celu: their attributes are float32, in a graph of float64, too.
    e = g.add("Exp", g.apply("Div", g.apply("Min", a, 0), bend))
    return g.add("Add", g.add("Relu", a), g.apply("Mul", g.apply("Sub", e, 1), alpha))


def _clip(g: Graph, a: str, min_val: float, max_val: float) -> str:
    # Not the operator Clip: ONNX Runtime merges it with a Relu below, and then refuses float64.
    return g.apply("Min", g.apply("Max", a, min_val), max_val)


def _where_at_most(g: Graph, condition: str, bound: float, below: str, above: str) -> str:
    # Not above the bound: of NaN, which is neither, `above` is the input, and stays NaN.
    return g.add("Where", g.apply("LessOrEqual", condition, bound), below, above)


def _gelu(g: Graph, a: str, approximate: str) -> str:
    if approximate == "tanh":
        cube = g.add("Mul", a, g.add("Mul", a, a))
        inner = g.apply("Mul", g.add("Add", a, g.apply("Mul", cube, 0.044715)), math.sqrt(2 / math.pi))
        curve = g.add("Tanh", inner)
    else:
        curve = g.add("Erf", g.apply("Mul", a, math.sqrt(0.5)))
    return g.add("Mul", g.apply("Mul", a, 0.5), g.apply("Add", curve, 1))


def _softplus(g: Graph, a: str, beta: float, threshold: float = math.inf) -> str:
    scaled = g.apply("Mul", a, beta)
    e = g.add("Exp", g.add("Neg", g.add("Abs", scaled)))
    h = g.add("Add", g.add("Relu", a), g.apply("Div", g.add("Log", g.apply("Add", e, 1)), beta))
    return h if threshold == math.inf else _where_at_most(g, scaled, threshold, h, a)


def _hardsigmoid(g: Graph, a: str) -> str:
    return g.apply("Div", _clip(g, g.apply("Add", a, 3), 0, 6), 6)


ACTIVATIONS: dict[str, Callable[..., str]] = {
    "identity": lambda g, a: a,
    "sigmoid": lambda g, a: g.add("Sigmoid", a),
    "tanh": lambda g, a: g.add("Tanh", a),
    "relu": lambda g, a: g.add("Relu", a),
    "leaky_relu": lambda g, a, negative_slope: g.add("PRelu", a, g.constant([float(negative_slope)])),
    "elu": _elu,
    "gelu": _gelu,
    "silu": lambda g, a: g.add("Mul", a, g.add("Sigmoid", a)),
    "softplus": _softplus,
    "softmax": lambda g, a: g.add("Softmax", a, axis=-1),
    "log_softmax": lambda g, a: g.add("LogSoftmax", a, axis=-1),
    "relu6": lambda g, a: _clip(g, a, 0, 6),
    "threshold": lambda g, a, threshold, value: _where_at_most(g, a, threshold, g.constant(float(value)), a),
    "hardtanh": _clip,
    "hardsigmoid": _hardsigmoid,
    "hardswish": lambda g, a: g.add("Mul", a, _hardsigmoid(g, a)),
    "softshrink": lambda g, a, lambd: g.add("Sub", a, _clip(g, a, -lambd, lambd)),
    "hardshrink": lambda g, a, lambd: _where_at_most(g, g.add("Abs", a), lambd, g.constant(0.0), a),
    "selu": lambda g, a: g.apply("Mul", _elu(g, a, SELU_ALPHA), SELU_SCALE),
    "celu": lambda g, a, alpha: _elu(g, a, alpha, alpha),
    "mish": lambda g, a: g.add("Mul", a, g.add("Tanh", _softplus(g, a, 1.0))),
    "logsigmoid": lambda g, a: g.add("Neg", _softplus(g, g.add("Neg", a), 1.0)),
    "softsign": lambda g, a: g.add("Div", a, g.apply("Add", g.add("Abs", a), 1)),
    "tanhshrink": lambda g, a: g.add("Sub", a, g.add("Tanh", a)),
}


# ---- layers: f(graph, layer, x, prefix) appends nodes and returns the name of the output ---------------------------


def _dense(g: Graph, layer: Dense, x: str, prefix: str) -> str:
    inputs = [g.constant(getattr(layer, name), prefix + key) for key, name in layer.parameters.items()]
    return g.add("Gemm", x, *inputs, transB=1)


def _activation(g: Graph, layer: Activation, x: str, prefix: str) -> str:
    return emitter_of(layer.function, ACTIVATIONS, layer, "to_onnx")(g, x, **full_options(layer))


def _prelu(g: Graph, layer: PReLU, x: str, prefix: str) -> str:
    return g.add("PRelu", x, g.constant(layer.slope, prefix + "weight"))


def _glu(g: Graph, layer: GLU, x: str, prefix: str) -> str:
    a, b = g.add_many("Split", [x], 2, axis=1)
    return g.add("Mul", a, _activation(g, layer.gate, b, prefix))


def _batch_norm(g: Graph, layer: BatchNorm, x: str, prefix: str) -> str:
    mean, variance = running_moments(layer)
    scale = layer.gamma / np.sqrt(variance + layer.eps)
    deviation = g.add("Sub", x, g.constant(mean, prefix + "running_mean"))
    scaled = g.add("Mul", deviation, g.constant(scale, prefix + "scale"))
    return g.add("Add", scaled, g.constant(layer.beta, prefix + "bias"))


def _standardized(g: Graph, x: str, axis: int, eps: float) -> str:
    # Not the operator LayerNormalization: ONNX Runtime computes the variance as E[x^2] - E[x]^2, which cancels.
    deviation = g.add("Sub", x, g.add("ReduceMean", x, axes=[axis]))
    variance = g.add("ReduceMean", g.add("Mul", deviation, deviation), axes=[axis])
    return g.add("Div", deviation, g.add("Sqrt", g.apply("Add", variance, eps)))


def _layer_norm(g: Graph, layer: LayerNorm, x: str, prefix: str) -> str:
    return _scaled_and_shifted(g, layer, _standardized(g, x, 1, layer.epsilon(g.dtype)), prefix)


def _rms_norm(g: Graph, layer: RMSNorm, x: str, prefix: str) -> str:
    square = g.add("ReduceMean", g.add("Mul", x, x), axes=[1])
    normalized = g.add("Div", x, g.add("Sqrt", g.apply("Add", square, layer.epsilon(layer.gamma.dtype))))
    return _scaled_and_shifted(g, layer, normalized, prefix)


def _group_norm(g: Graph, layer: GroupNorm, x: str, prefix: str) -> str:
    shape = -1, layer.num_groups, layer.num_channels // layer.num_groups  # an empty batch forbids [0, groups, -1]
    groups = g.add("Reshape", x, g.constant(np.array(shape, np.int64)))
    normalized = _standardized(g, groups, 2, layer.epsilon(g.dtype))
    flat = g.add("Reshape", normalized, g.constant(np.array([-1, layer.num_channels], np.int64)))
    return _scaled_and_shifted(g, layer, flat, prefix)


def _scaled_and_shifted(g: Graph, layer: Standardization, x: str, prefix: str) -> str:
    scaled = g.add("Mul", x, g.constant(layer.gamma, prefix + "weight"))
    return g.add("Add", scaled, g.constant(layer.beta, prefix + "bias"))


def _chain(g: Graph, chain: Sequential, x: str, prefix: str) -> str:
    for i, layer in enumerate(chain.layers):
        g.layer = layer
        x = emitter_of(type(layer), LAYERS, layer, "to_onnx")(g, layer, x, f"{prefix}{i}.")
    return x


def _parallel(g: Graph, layer: Parallel, x: str, prefix: str) -> str:
    if len(layer.groups) == 1:
        return _chain(g, layer.groups[0], x, f"{prefix}0.")
    widths = g.constant(np.array([group.in_features for group in layer.groups], np.int64))
    parts = g.add_many("Split", (x, widths), len(layer.groups), axis=1)
    outputs = [
        _chain(g, group, part, f"{prefix}{i}.") for i, (group, part) in enumerate(zip(layer.groups, parts, strict=True))
    ]
    return g.add("Concat", *outputs, axis=1)


LAYERS: dict[type[Layer], Callable[[Graph, Any, str, str], str]] = {
    Dense: _dense,
    Activation: _activation,
    PReLU: _prelu,
    GLU: _glu,
    SwiGLU: _glu,
    Dropout: lambda g, layer, x, prefix: x,
    AlphaDropout: lambda g, layer, x, prefix: x,
    BatchNorm: _batch_norm,
    LayerNorm: _layer_norm,
    RMSNorm: _rms_norm,
    GroupNorm: _group_norm,
    Sequential: _chain,
    Residual: lambda g, layer, x, prefix: g.add("Add", x, _chain(g, layer, x, prefix)),
    Concatenate: lambda g, layer, x, prefix: g.add("Concat", x, _chain(g, layer, x, prefix), axis=1),
    Parallel: _parallel,
}


def to_onnx(
    network: Network,
    path: str | os.PathLike[str] | None = None,
    *,
    softmax: bool = False,
    dtype: npt.DTypeLike = np.float32,
) -> onnx.ModelProto:
    """Write a network as an ONNX model, of operator set 17.

    The input is ``X`` of shape (N, I), with any N, and the output is ``H`` of shape (N, O). Weights have the names of
    the state_dict; batch normalization has a ``scale`` in place of ``weight`` and ``running_var``.

    Parameters
    ----------
    network : Network
        The network; it is exported in evaluation mode, without dropout and with the running averages of batch
        normalization.
    path : path-like, optional
        The file to write; it is replaced as a whole or not at all.
    softmax : bool
        Whether to append a softmax, which converts logits to probabilities.
    dtype : dtype
        The dtype of the model: float32 or float64. For float64, ONNX Runtime lacks the operator Erf, which "gelu"
        needs.

    Returns
    -------
    onnx.ModelProto
        The model.

    Raises
    ------
    ImportError
        If the package onnx is missing.
    ValueError
        If a layer or an activation is of your own, or a weight is too large for the dtype.
    TypeError
        If ``network`` is not a Network, or the dtype is neither float32 nor float64.

    Examples
    --------
    >>> model = hm.export.to_onnx(hm.MLP([3, 4, 2]))
    >>> [node.op_type for node in model.graph.node]
    ['Gemm', 'Relu', 'Gemm', 'Identity']
    """
    try:
        import onnx
    except ImportError:
        raise ImportError("to_onnx: expected the package onnx; install it with pip install handmade[onnx]") from None
    graph = Graph(check_network(network, softmax, dtype))
    output = _chain(graph, network, "X", "")
    output = graph.add("Softmax", output, axis=-1) if softmax else output
    graph.nodes.append(onnx.helper.make_node("Identity", [output], ["H"], "output"))
    model = _model(graph, network)
    onnx.checker.check_model(model, full_check=True)
    if path is not None:
        content = model.SerializeToString()
        write_atomically(path, lambda stream: stream.write(content))
    return model


def _model(graph: Graph, network: Network) -> onnx.ModelProto:
    """Return the model of a graph from X to H."""
    from onnx import helper

    kind = helper.np_dtype_to_tensor_dtype(graph.dtype)
    width = input_width(network)
    X = helper.make_tensor_value_info("X", kind, ["N", width])
    H = helper.make_tensor_value_info("H", kind, ["N", network.width_after(width)])
    body = helper.make_graph(graph.nodes, "network", [X], [H], graph.constants)
    versions = [helper.make_opsetid("", OPSET)]
    return helper.make_model(
        body, opset_imports=versions, ir_version=IR_VERSION, producer_name="handmade", producer_version=__version__
    )
