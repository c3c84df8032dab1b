"""The architecture of a network as plain values: for each layer its class and the arguments of its constructor."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from ._types import Array
from ._validation import as_generator, check_dtype, patched_method
from .activation_layers import GLU, PReLU, SwiGLU
from .activations import ACTIVATIONS, REGISTERED
from .base_layer import Layer
from .composites import Concatenate, Parallel, Residual, Sequential
from .dropout import AlphaDropout, Dropout
from .layers import Activation, Dense
from .mlp import MLP
from .network import Network, as_network
from .normalization import BatchNorm, GroupNorm, LayerNorm, RMSNorm

__all__ = ["build", "from_config", "register_activation", "register_layer", "to_config"]

Config = dict[str, Any]
L = TypeVar("L", bound=type[Layer])

FORMAT = "handmade"
RESERVED = {"class": None, "registered": None}.keys()  # names in JSON that say what a dict stands for
VERSION = 1


# ---- layers and their arguments ------------------------------------------------------------------------------------


LAYERS: dict[str, type[Layer]] = {
    kind.__name__: kind
    for kind in (
        Dense,
        Activation,
        PReLU,
        GLU,
        SwiGLU,
        Dropout,
        AlphaDropout,
        BatchNorm,
        LayerNorm,
        RMSNorm,
        GroupNorm,
        Sequential,
        Residual,
        Concatenate,
        Parallel,
        Network,
        MLP,
    )
}
BUILT_IN = frozenset(LAYERS)


def register_layer(kind: L) -> L:
    """Register a layer class of your own, so that files can hold its layers; use it as a decorator.

    A file holds the arguments of its constructor: numbers, text, layers, and lists and dicts of them, each read from
    the attribute of the same name; see `Layer.config`. Register the class both in the program that saves and in the
    program that loads; its name identifies it.

    Parameters
    ----------
    kind : type
        A subclass of Layer.

    Returns
    -------
    type
        The class itself.

    Raises
    ------
    TypeError
        If it is not a subclass of Layer.
    ValueError
        If its name is that of a layer of handmade.

    Examples
    --------
    >>> @hm.register_layer
    ... class Times(hm.Layer):
    ...     def __init__(self, factor):
    ...         self.factor = factor
    ...
    ...     def forward(self, X, training=False):
    ...         return self.factor * X, None
    ...
    ...     def backward(self, dH, cache, need_dX=True):
    ...         return self.factor * dH
    >>> hm.to_config(hm.Network([Times(2.5), hm.Dense(2, 1)]))["layers"][0]
    {'class': 'Times', 'factor': 2.5}
    """
    if not (isinstance(kind, type) and issubclass(kind, Layer)):
        raise TypeError(f"register_layer: expected a subclass of Layer, got {kind!r}")
    name = kind.__name__
    if name in BUILT_IN:
        raise ValueError(f"register_layer: expected a name other than {name!r}, which is a layer of handmade")
    LAYERS[name] = kind
    return kind


def register_activation(name: str, pair: tuple[Callable[..., Array], Callable[..., Array]]) -> None:
    """Register an activation of your own under a name, for files and for ``activation=``.

    Parameters
    ----------
    name : str
        The name, other than those of `handmade.activations`.
    pair : (callable, callable)
        ``f(A)`` and ``f_backward(dH, A)``, as for `Activation`.

    Raises
    ------
    ValueError
        If the name is that of an activation of `handmade.activations`.
    TypeError
        If the name is not a string, or the pair does not hold two functions.

    Examples
    --------
    >>> pair = (hm.activations.tanh, hm.activations.tanh_backward)
    >>> hm.register_activation("my_tanh", pair)
    >>> hm.to_config(hm.Network([hm.Dense(1, 1), hm.Activation(pair)]))["layers"][1]
    {'class': 'Activation', 'function': {'registered': 'my_tanh'}, 'options': {}}
    """
    if not isinstance(name, str):
        raise TypeError(f"register_activation: expected a name as text, got {name!r}")
    if name in ACTIVATIONS:
        raise ValueError(f"register_activation: expected a new name, got {name!r}, an activation of handmade")
    Activation(pair)  # raises what is wrong with it
    REGISTERED[name] = pair[0], pair[1]


# ---- configurations ------------------------------------------------------------------------------------------------


def to_config(network: Network) -> Config:
    """Return the architecture of a network as plain values that JSON can hold.

    Parameters
    ----------
    network : Network

    Returns
    -------
    dict
        The format's name and version, the dtype, and for each layer its class and the arguments of its constructor.
        Weights, and the state of random generators, are not part of it.

    Raises
    ------
    TypeError
        If ``network`` is not a Network, or an argument of a layer is neither a number, text, a layer nor a collection
        of them.
    ValueError
        If the class of a layer, or a pair of functions, is not registered.

    Examples
    --------
    >>> hm.to_config(hm.Network([hm.Dense(2, 1)]))["layers"]
    [{'class': 'Dense', 'in_features': 2, 'out_features': 1, 'bias': True}]
    """
    as_network(network)
    head = {"format": FORMAT, "version": VERSION, "dtype": check_dtype(network.dtype).name}
    return {**head, **_encode(network)}


def _encode(value: Any) -> Any:
    """Return a layer, or an argument of one, as JSON can hold it."""
    if isinstance(value, Layer):
        return _encode_layer(value)
    if isinstance(value, tuple) and value and all(map(callable, value)):
        return {"registered": _name_of_pair(value)}
    if isinstance(value, (list, tuple)):
        return [_encode(item) for item in value]
    if isinstance(value, Mapping):
        if value.keys() & RESERVED or not all(isinstance(key, str) for key in value):
            raise TypeError(f"config: expected text as keys, other than {', '.join(RESERVED)}; got {list(value)}")
        return {key: _encode(item) for key, item in value.items()}
    if isinstance(value, np.generic):
        value = value.item()
    if value is not None and not isinstance(value, (bool, int, float, str)):
        raise TypeError(f"config: expected numbers, text, layers, and lists and dicts of them, got {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"config: expected finite numbers, got {value}")
    return value


def _name_of_pair(pair: tuple[Any, ...]) -> str:
    """Return the name under which a pair of functions is registered."""
    for name, registered in REGISTERED.items():
        if registered == pair:
            return name
    raise ValueError(f"{pair[0]!r}: expected a registered pair; call hm.register_activation(name, pair) first")


def _encode_layer(layer: Layer) -> Config:
    name = type(layer).__name__
    if name not in LAYERS or LAYERS[name] is not type(layer):
        raise ValueError(f"{layer!r}: expected a registered layer; decorate class {name} with hm.register_layer")
    if method := patched_method(layer):
        raise ValueError(
            f"{layer!r}: expected the {method} of its class, got one of the instance's own, which no file can hold; "
            "write a class of it, and decorate that with hm.register_layer"
        )
    arguments = layer.config()
    if not isinstance(arguments, Mapping):
        raise TypeError(f"{name}.config: expected a dict of the constructor's arguments, got {arguments!r}")
    return {"class": name, **_encode(arguments)}


def from_config(config: Mapping[str, Any], *, rng: Any = None) -> Network:
    """Build a network from what `to_config` returned. Its weights are zero until a state_dict is loaded.

    Parameters
    ----------
    config : mapping
        The architecture.
    rng : optional
        A seed or a numpy.random.Generator; draws the masks of dropout.

    Returns
    -------
    Network

    Raises
    ------
    ValueError
        If the format, its version or a class is unknown, or arguments do not fit.

    Examples
    --------
    >>> hm.from_config(hm.to_config(hm.MLP([3, 4, 2], "tanh")))
    Network([Dense(3, 4), Activation('tanh'), Dense(4, 2)])
    """
    return build(config, math.inf, rng)


def build(config: Any, size: float, rng: Any) -> Network:
    """Build the network of a configuration whose layers may declare ``size`` numbers in all."""
    if not isinstance(config, Mapping) or config.get("format") != FORMAT:
        raise ValueError(f"config: expected the format {FORMAT!r}, got {str(config)[:80]}")
    version = config.get("version")
    if type(version) is not int or version < 1:
        raise ValueError(f"config: expected a version of at least 1, got {version!r}")
    if version > VERSION:
        raise ValueError(f"config: expected version {VERSION} at most, got {version}; install a newer handmade")
    arguments = {key: value for key, value in config.items() if key not in ("format", "version", "metadata")}
    try:
        network = _Decoder(size).decode(arguments)
    except RecursionError:
        raise ValueError("config: expected layers nested less deeply") from None
    if not isinstance(network, Network):
        raise ValueError(f"config: expected the class Network or MLP, got {str(config.get('class'))[:80]}")
    generator = as_generator(rng)
    for _, leaf in network.leaves():
        if "rng" in vars(leaf):
            vars(leaf)["rng"] = generator
    return network


class _Decoder:
    """A builder of layers that refuses to build more numbers than a file can fill."""

    def __init__(self, size: float) -> None:
        self.left = size

    def decode(self, value: Any) -> Any:
        """Return an argument with the layers in it built."""
        if isinstance(value, list):
            return [self.decode(item) for item in value]
        if isinstance(value, Mapping) and "class" in value:
            return self.layer(dict(value))
        if isinstance(value, Mapping) and "registered" in value:
            return self.pair(value["registered"])
        if isinstance(value, Mapping):
            return {key: self.decode(item) for key, item in value.items()}
        return value

    def pair(self, name: Any) -> Any:
        """Return a registered pair of functions."""
        if not isinstance(name, str) or name not in REGISTERED:
            raise ValueError(
                f"config: expected a registered activation, got {name!r}; import the module that calls "
                "hm.register_activation for it"
            )
        return REGISTERED[name]

    def layer(self, arguments: Config) -> Layer:
        """Return the layer of a class and its arguments."""
        name = arguments.pop("class")
        if not isinstance(name, str) or name not in LAYERS:
            known = ", ".join(LAYERS)
            raise ValueError(
                f"config: expected a layer among {known}, got {name!r}; import the module that registers it with "
                "hm.register_layer, or install a newer handmade"
            )
        arguments = {key: self.decode(value) for key, value in arguments.items()}
        if name in BUILT_IN:
            self.spend(name, math.prod(value for value in arguments.values() if type(value) is int and value > 1))
        try:
            return LAYERS[name].from_config(arguments)
        except (TypeError, ValueError, KeyError, OverflowError) as error:
            given = "" if ": expected" in str(error) else f"expected the arguments of {name}, got {list(arguments)}: "
            raise ValueError(f"config of {name}: {given}{error}") from error

    def spend(self, name: str, size: int) -> None:
        """Count the numbers of a layer."""
        self.left -= size
        if self.left < 0:
            raise ValueError(f"config of {name}: expected as many weights as the file holds, got sizes beyond that")
