"""Checks and look-ups that all exporters share."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from .._types import Array
from .._validation import check_bool, check_dtype, check_methods
from ..base_layer import Layer
from ..composites import last_layer
from ..layers import Activation
from ..network import Network, as_network, check_passes
from ..normalization import BatchNorm

__all__ = ["check_network", "emitter_of", "export_array", "full_options", "input_width", "running_moments"]

E = TypeVar("E")


def check_network(network: Network, softmax: bool, dtype: npt.DTypeLike) -> np.dtype[Any]:
    """Return the dtype to export; raise if the network cannot be exported, or softmax is not meant."""
    width = as_network(network).width_after(input_width(network))
    check_methods(network, "network")
    check_passes(network, "export", ("forward", "predict"))
    last = getattr(last_layer(network), "function", None)
    if check_bool(softmax, "softmax") and (width == 1 or last in ("softmax", "sigmoid")):
        ending = f"one that ends with {last}" if last in ("softmax", "sigmoid") else "one of a single output"
        raise ValueError(f"softmax: expected a network of logits of several classes, got {ending}; leave softmax=False")
    dtype = check_dtype(dtype)
    check_dtype(network.dtype)  # complex numbers are for a check of gradients
    for name, values in network.state_dict().items():
        export_array(values, dtype, name)  # checked here, because later errors have the names of the export
    return dtype


def input_width(network: Network) -> int:
    """Return the number of inputs."""
    if network.in_features is None:
        raise ValueError(
            f"{network!r}: expected a network that knows its number of inputs; begin it with a Dense layer"
        )
    return network.in_features


def export_array(values: Array, dtype: np.dtype[Any], name: str) -> Array:
    """Return numbers in the dtype of the export; raise if one is too large for it or not finite."""
    values = np.asarray(values)
    with np.errstate(over="ignore"):
        converted = values.astype(dtype)
    if not np.isfinite(converted).all():
        raise ValueError(f"{name}: expected numbers that {dtype} can hold, got {values[~np.isfinite(converted)][0]}")
    return converted


def emitter_of(key: Any, table: Mapping[Any, E], layer: Layer, target: str) -> E:
    """Return a table's entry for a layer; raise if there is none. Subclasses compute something else."""
    check_methods(layer, target)
    if key not in table:
        known = ", ".join(getattr(name, "__name__", name) for name in table)
        raise ValueError(f"{target}: expected one of {known}; got {layer!r}")
    return table[key]


def running_moments(layer: BatchNorm) -> tuple[Array, Array]:
    """Return the running averages of batch normalization; raise if it keeps none."""
    if not layer.track_running_stats:
        raise ValueError(
            f"{layer!r}: expected running averages, got track_running_stats=False: its outputs depend on the batch"
        )
    return layer.running_mean, layer.running_var


def full_options(layer: Activation) -> dict[str, Any]:
    """Return the options of an activation, defaults included."""
    parameters = list(inspect.signature(layer.f).parameters.values())[1:]
    options = {p.name: p.default for p in parameters if p.default is not p.empty}
    options |= layer.options
    dim = options.pop("dim", -1)
    if dim not in (-1, 1):
        raise ValueError(f"{layer!r}: expected dim=-1, the outputs of each sample, got {dim}")
    return options
