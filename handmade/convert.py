"""Convert networks of PyTorch and scikit-learn to networks of this library."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ._types import ActivationName, Array
from ._validation import check_bool, check_unmasked
from .activation_layers import GLU, PReLU
from .base_layer import Layer
from .composites import Sequential
from .dropout import AlphaDropout, Dropout
from .files import read_state_dict
from .layers import Activation, Dense
from .network import Network, as_network
from .normalization import BatchNorm, GroupNorm, LayerNorm, RMSNorm

if TYPE_CHECKING:
    import torch
    from sklearn.neural_network import MLPClassifier, MLPRegressor

__all__ = ["from_sklearn", "from_torch"]

FilePath = str | os.PathLike[str]

# ---- modules of PyTorch --------------------------------------------------------------------------------------------

# The class in torch.nn -> the activation here, and the attributes that are its options.
ACTIVATION_MODULES: dict[str, tuple[str, tuple[str, ...]]] = {
    "CELU": ("celu", ("alpha",)),
    "ELU": ("elu", ("alpha",)),
    "GELU": ("gelu", ("approximate",)),
    "Hardshrink": ("hardshrink", ("lambd",)),
    "Hardsigmoid": ("hardsigmoid", ()),
    "Hardswish": ("hardswish", ()),
    "Hardtanh": ("hardtanh", ("min_val", "max_val")),
    "Identity": ("identity", ()),
    "LeakyReLU": ("leaky_relu", ("negative_slope",)),
    "LogSigmoid": ("logsigmoid", ()),
    "LogSoftmax": ("log_softmax", ("dim",)),
    "Mish": ("mish", ()),
    "ReLU": ("relu", ()),
    "ReLU6": ("relu6", ()),
    "SELU": ("selu", ()),
    "SiLU": ("silu", ()),
    "Sigmoid": ("sigmoid", ()),
    "Softmax": ("softmax", ("dim",)),
    "Softplus": ("softplus", ("beta",)),
    "Softshrink": ("softshrink", ("lambd",)),
    "Softsign": ("softsign", ()),
    "Tanh": ("tanh", ()),
    "Tanhshrink": ("tanhshrink", ()),
    "Threshold": ("threshold", ("threshold", "value")),
}


def _linear(module: Any) -> Layer:
    return _blank_dense(module.in_features, module.out_features, module.bias is not None)


def _blank_dense(in_features: int, out_features: int, bias: bool) -> Dense:
    return Dense(in_features, out_features, bias, weight_init="zeros", bias_init="zeros")


def _batch_norm(module: Any) -> Layer:
    return BatchNorm(
        module.num_features,
        module.eps,
        module.momentum,
        module.affine,
        module.track_running_stats,
        bias=module.bias is not None,
    )


def _layer_norm(module: Any) -> Layer:
    return LayerNorm(_width(module), module.eps, module.weight is not None, module.bias is not None)


def _width(module: Any) -> int:
    if len(module.normalized_shape) != 1:
        raise ValueError("expected one normalized dimension")
    return int(module.normalized_shape[0])


def _group_norm(module: Any) -> Layer:
    return GroupNorm(module.num_groups, module.num_channels, module.eps, module.affine, bias=module.bias is not None)


def _flatten(module: Any) -> Layer:
    if module.start_dim != 1 or module.end_dim != -1:
        raise ValueError("expected start_dim=1 and end_dim=-1")
    return Activation("identity")  # samples are rows already


def _glu(module: Any) -> Layer:
    if module.dim not in (-1, 1):
        raise ValueError(f"expected dim=-1, got {module.dim}")
    return GLU()


def _softplus(module: Any) -> Layer:
    # The default threshold avoids an overflow, which cannot occur here; another one is meant.
    threshold = {} if module.threshold == 20 else {"threshold": module.threshold}
    return Activation("softplus", beta=module.beta, **threshold)


def _activation(module: Any) -> Layer:
    name, options = ACTIVATION_MODULES[type(module).__name__]
    values = {option: getattr(module, option) for option in options}
    return Activation(
        cast(ActivationName, name),
        **{option: -1 if option == "dim" and v is None else v for option, v in values.items()},
    )


MODULES: dict[str, Callable[[Any], Layer]] = {
    "Linear": _linear,
    "BatchNorm1d": _batch_norm,
    "LayerNorm": _layer_norm,
    "RMSNorm": lambda module: RMSNorm(_width(module), module.eps, module.elementwise_affine),
    "GroupNorm": _group_norm,
    "Dropout": lambda module: Dropout(module.p),
    "AlphaDropout": lambda module: AlphaDropout(module.p),
    "Flatten": _flatten,
    **dict.fromkeys(ACTIVATION_MODULES, _activation),
    "Softplus": _softplus,
    "PReLU": lambda module: PReLU(module.num_parameters),
    "GLU": _glu,
}

# The classes that train a module in another way, and the attribute that holds it.
WRAPPERS = {"DataParallel": "module", "DistributedDataParallel": "module", "OptimizedModule": "_orig_mod"}


def _layer_of(module: Any, place: str = "") -> Layer:
    """Return the layer that does what a module does; raise, naming its place, if there is none."""
    kind, where = type(module).__name__, f"module {place.removesuffix('.') or 'given'}"
    if hasattr(module, "to_handmade"):
        layer = module.to_handmade(lambda child: _layer_of(child, place))
        if not isinstance(layer, Layer):
            raise TypeError(f"{where}: expected a layer from {kind}.to_handmade, got {layer!r}")
        return layer
    if kind in WRAPPERS and type(module).__module__.startswith("torch."):
        _check_forward(module, where, of_instance=kind == "OptimizedModule")  # torch.compile sets forward
        return _layer_of(getattr(module, WRAPPERS[kind]), place)
    own = type(module).__module__.startswith("torch.nn.modules.")
    _check_forward(module, where)
    if own and kind == "Sequential":
        children = module._modules.items()  # named_children() leaves out a child that stands in two places
        return Sequential([_layer_of(child, f"{place}{name}.") for name, child in children] or [Activation("identity")])
    if not own or kind not in MODULES:
        cure = "" if own else "; give the class a method to_handmade(layer_of), which returns its layer"
        if hasattr(module, "parametrizations"):
            cure = "; remove what computes its weights with torch.nn.utils.parametrize.remove_parametrizations"
        raise ValueError(f"{where}: expected one of Sequential, {', '.join(MODULES)}; got {module!r}{cure}")
    try:
        return MODULES[kind](module)
    except ValueError as error:
        raise ValueError(f"{where}, {kind}: {error}") from error


def _check_forward(module: Any, where: str, of_instance: bool = False) -> None:
    """Raise where a module computes something else than its class says: by hooks, or a forward of the instance's."""
    if module._forward_hooks or module._forward_pre_hooks or ("forward" in vars(module) and not of_instance):
        raise ValueError(
            f"{where}: expected the forward of {type(module).__name__}, got one with hooks, or of the instance's own; "
            "remove them (as prune.remove does), or write a class with a method to_handmade(layer_of)"
        )


def from_torch(
    source: torch.nn.Module | Mapping[str, Any] | FilePath,
    network: Network | None = None,
    *,
    activation: ActivationName | None = None,
) -> Network:
    """Return the network of a PyTorch module, or of a file of its weights.

    Parameters
    ----------
    source : torch.nn.Module, mapping or path-like
        A module made of Linear, BatchNorm1d, LayerNorm, RMSNorm, GroupNorm, Dropout, AlphaDropout, Identity, Flatten,
        activations, and Sequentials of these, nested to any depth; it may be compiled or in DataParallel. Or a
        state_dict; or a ``.pt`` file of one, which is read with ``weights_only=True``; or a ``.safetensors`` file of
        one, for which PyTorch need not be installed.
        A module of your own needs a method ``to_handmade(layer_of)``, which returns its layer, such as
        ``hm.Residual([layer_of(child) for child in self])``, with the weights in the same order.
    network : Network, optional
        For weights without a module: a network of their architecture. A copy of it gets the weights. All names may
        have a prefix that those of the network lack, such as "module.".
    activation : str, optional
        For weights without a module and without ``network``: the activation of the hidden layers, which weights do not
        tell. Each weight matrix becomes a Dense layer, a single weight a PReLU, and vectors of weights and biases a
        normalization. If the layers are numbered, the activation takes the first missing number after a Dense layer or
        PReLU, and identities take the others, as for dropout. If the layers are named, it comes before each Dense layer
        but the first, unless there is a PReLU.

    Returns
    -------
    Network
        A network with copies of the weights, in float64 if the module's are, else in float32. Its state_dict has the
        module's names if these are numbers.

    Raises
    ------
    ValueError
        If a module is of another class or has hooks (the message says where it is), a module with weights appears
        twice, the file does not hold a state_dict, its weights do not fit, or an argument is for weights alone.
    TypeError
        If ``source`` is something else.
    ImportError
        If a ``.pt`` file is given and PyTorch is missing.

    Examples
    --------
    >>> weights = {"0.weight": np.ones((4, 3)), "0.bias": np.zeros(4), "2.weight": np.ones((2, 4))}
    >>> hm.from_torch(weights, activation="tanh")
    Network([Dense(3, 4), Activation('tanh'), Dense(4, 2, bias=False)])
    """
    if isinstance(source, type):
        raise TypeError(f"source: expected a torch.nn.Module, got the class {source.__name__}; make an object of it")
    is_module = hasattr(source, "state_dict") and hasattr(source, "modules")
    for name, given, has_own in ("network", network, is_module), ("activation", activation, is_module or network):
        if given is not None and has_own:
            raise ValueError(f"{name}: expected none with a module or network, which has its own, got {given!r}")
    if is_module:
        return _from_module(source)
    if isinstance(source, (str, os.PathLike)):
        source = _read_weights(source)
    if not isinstance(source, Mapping):
        raise TypeError(f"source: expected a torch.nn.Module, a state_dict or a path, got {type(source).__name__}")
    if not all(isinstance(name, str) for name in source):
        raise TypeError(f"source: expected the names of weights as text, got {list(source)}")
    _check_whole(source)
    state = {name: _as_array(name, value) for name, value in source.items()}
    if network is None:
        return _from_weights(state, activation)
    copy = as_network(network).astype(network.dtype)
    copy.load_state_dict(_without_prefix(state, list(copy.state_dict())))
    return copy


def _check_whole(source: Mapping[str, Any]) -> None:
    """Raise if the state_dict is only one part of the mapping, as in a checkpoint of a training."""
    for name, part in source.items():
        if isinstance(part, Mapping) and any(hasattr(value, "shape") for value in part.values()):
            raise ValueError(
                f"source: expected a state_dict of arrays, got one under {name!r}, beside other things; pass it alone, "
                f"as torch.load(path)[{name!r}]"
            )


def _without_prefix(state: dict[str, Array], names: Sequence[str]) -> dict[str, Array]:
    """Return the arrays without a prefix of all their names, such as DataParallel's "module.", if names lack it."""
    for name in state:
        prefix = name.removesuffix(names[0]) if names else name
        if prefix != name and all(key.startswith(prefix) and key[len(prefix) :] in names for key in state):
            return {key[len(prefix) :]: array for key, array in state.items()}
    return state


def _from_module(module: Any) -> Network:
    """Return the network of a module."""
    weighted = [part for part in module.modules() if next(part.parameters(recurse=False), None) is not None]
    named = [part for _, part in module.named_modules(remove_duplicate=False) if any(part is w for w in weighted)]
    if len(named) > len(weighted):
        twice = next(part for part in named if sum(part is other for other in named) > 1)
        raise ValueError(f"module: expected each module with weights in one place, got twice: {twice!r}")
    state = {name: _as_array(name, tensor) for name, tensor in module.state_dict().items()}
    layer = _layer_of(module)
    layers = layer.layers if type(layer) is Sequential else [layer]
    is_double = any(array.dtype == np.float64 for array in state.values())
    network = Network(layers, dtype=np.float64 if is_double else np.float32)
    # The order is that of the layers; names differ where children of a Sequential have names, not numbers.
    names = list(network.state_dict())
    if len(names) != len(state):
        raise ValueError(
            f"module: expected layers that hold {list(state)}, got {names}; return such layers from to_handmade"
        )
    network.load_state_dict(dict(zip(names, state.values(), strict=True)))
    return network


def _as_array(name: str, value: Any) -> Array:
    """Return a tensor as an array; floats of 8 or 16 bits, some of which NumPy does not have, become float32."""
    if getattr(value, "is_meta", False):
        raise ValueError(f"source: expected numbers, got {name!r} on the device meta, which has none")
    if hasattr(value, "detach"):
        try:
            value = value.detach().to_dense()
            value = value.float() if value.is_floating_point() and value.element_size() < 4 else value
            value = value.numpy(force=True)
        except (TypeError, ValueError, RuntimeError) as error:  # of a parameter of a LazyLinear, for instance
            raise ValueError(f"source: expected numbers that NumPy can read under {name!r}, got: {error}") from error
    check_unmasked(value, f"source: {name}")
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"source: expected a state_dict of arrays, got {type(value).__name__} under {name!r}")
    return array


def _read_weights(path: FilePath) -> Mapping[str, Any]:
    """Return the state_dict in a file."""
    if os.path.splitext(os.fspath(path))[1].lower() in (".safetensors", ".npz"):
        return read_state_dict(path)
    try:
        import torch
    except ImportError:
        raise ImportError(f"{os.fspath(path)}: expected PyTorch to read it; save it as .safetensors instead") from None
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # of pickle, zipfile or PyTorch, whose advice, to trust the file, does not help
        raise ValueError(
            f"{os.fspath(path)}: expected weights alone, saved with torch.save(module.state_dict(), path), got a file "
            "of other objects, or one that is damaged"
        ) from error
    if not isinstance(found, Mapping):
        raise ValueError(f"{os.fspath(path)}: expected a state_dict, got {type(found).__name__}")
    return found


def _from_weights(state: Mapping[str, Array], activation: ActivationName | None) -> Network:
    """Return a network of Dense layers and normalizations, one for each group of weights."""
    groups: dict[str, dict[str, Array]] = {}
    for name, array in state.items():
        prefix, _, key = name.rpartition(".")
        groups.setdefault(prefix, {})[key] = array
    layers: list[Layer] = []
    arrays: list[Array] = []
    since_dense = 0  # activations since the last Dense layer
    width = 0  # of its output
    for prefix, gap in _gaps(list(groups)):
        layer = _layer_of_weights(prefix, groups[prefix], width)
        width = layer.out_features if isinstance(layer, Dense) else width
        for _ in range((isinstance(layer, Dense) and bool(layers)) if gap is None else gap):
            layers.append(Activation("identity" if since_dense else _given(activation)))
            since_dense += 1
        since_dense = 0 if isinstance(layer, Dense) else since_dense + isinstance(layer, PReLU)
        layers.append(layer)
        arrays += [groups[prefix][key] for key in _NAMES if key in groups[prefix]]
    if not layers:
        raise ValueError("source: expected the weights of at least one layer, got none")
    is_double = any(array.dtype == np.float64 for array in arrays)
    network = Network(layers, dtype=np.float64 if is_double else np.float32)
    network.load_state_dict(dict(zip(network.state_dict(), arrays, strict=True)))
    return network


def _gaps(prefixes: Sequence[str]) -> list[tuple[str, int | None]]:
    """Return the prefixes in order, each with the count of missing numbers before it; None if it has no number."""
    parts = [prefix.rpartition(".") for prefix in prefixes]
    if len({parent for parent, _, _ in parts}) > 1 or not all(number.isdigit() for _, _, number in parts):
        return [(prefix, None) for prefix in prefixes]
    ordered = sorted((int(number), prefix) for (_, _, number), prefix in zip(parts, prefixes, strict=True))
    before = [-1, *(number for number, _ in ordered)]
    return [(prefix, number - last - 1) for (number, prefix), last in zip(ordered, before, strict=False)]


def _given(activation: ActivationName | None) -> ActivationName:
    """Return the activation, or raise if it is needed and not given."""
    if activation is None:
        raise ValueError(
            "activation: expected the activation between the layers, which weights do not say; pass "
            "activation='relu', or the architecture as network"
        )
    return activation


def _layer_of_weights(prefix: str, arrays: Mapping[str, Array], width: int) -> Layer:
    """Return the layer that has arrays of these names, after outputs of this width."""
    shapes = {name: array.shape for name, array in arrays.items()}
    shape, names, has_bias = shapes.get("running_mean", shapes.get("weight", ())), arrays.keys(), "bias" in arrays
    if len(shape) == 2 and names <= {"weight", "bias"}:
        return _blank_dense(shape[1], shape[0], has_bias)
    if len(shape) == 1 and "running_mean" in names and names <= set(_NAMES):
        return BatchNorm(shape[0], affine="weight" in names, bias=has_bias)
    if len(shape) == 1 and names == {"weight", "bias"}:
        return LayerNorm(shape[0])
    if shape == (1,) and names == {"weight"} and width != 1:
        return PReLU()
    if len(shape) == 1 and names == {"weight"}:
        raise ValueError(
            f"source: expected weights that name one layer, got {shapes} under {prefix!r}, which PReLU, RMSNorm and "
            "LayerNorm have; pass the architecture as network"
        )
    raise ValueError(f"source: expected weights of Linear, PReLU or a normalization, got {shapes} under {prefix!r}")


_NAMES = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


# ---- scikit-learn --------------------------------------------------------------------------------------------------

# scikit-learn's names of activations -> those here.
SKLEARN_ACTIVATIONS: dict[str, ActivationName] = {
    "identity": "identity",
    "logistic": "sigmoid",
    "tanh": "tanh",
    "relu": "relu",
}


def from_sklearn(mlp: MLPClassifier | MLPRegressor, *, probabilities: bool = False) -> Network:
    """Return the network of a fitted MLPClassifier or MLPRegressor of scikit-learn.

    Parameters
    ----------
    mlp : estimator
        A fitted estimator.
    probabilities : bool
        Whether the network ends with the estimator's last activation, softmax or sigmoid. Otherwise its outputs are
        logits, so that training can go on with `cross_entropy` or `binary_cross_entropy_with_logits`. A classifier of
        two classes has one output; a regressor with the Poisson loss has the logarithm of its prediction.

    Returns
    -------
    Network
        A network with copies of the weights, in their dtype.

    Raises
    ------
    TypeError
        If it is not an MLPClassifier or MLPRegressor, or is not fitted.
    ValueError
        If the estimator's activation is unknown.

    Examples
    --------
    >>> from sklearn.neural_network import MLPRegressor
    >>> mlp = MLPRegressor(hidden_layer_sizes=[3], random_state=0, max_iter=500).fit([[0.0], [1.0]], [0.0, 1.0])
    >>> hm.from_sklearn(mlp)
    Network([Dense(1, 3), Activation('relu'), Dense(3, 1)])
    """
    if hasattr(mlp, "network_"):
        raise TypeError(f"mlp: expected an estimator of scikit-learn, got {mlp!r} of handmade; use its network_")
    if not all(hasattr(mlp, name) for name in ("coefs_", "intercepts_", "activation", "out_activation_")):
        raise TypeError(f"mlp: expected a fitted MLPClassifier or MLPRegressor of scikit-learn, got {mlp!r}")
    layers: list[Layer] = []
    for W in mlp.coefs_:
        layers += [_blank_dense(W.shape[0], W.shape[1], True), Activation(_named(mlp.activation))]
    layers.pop()
    if check_bool(probabilities, "probabilities"):
        layers.append(Activation(_named(mlp.out_activation_)))
    network = Network(layers, dtype=mlp.coefs_[0].dtype)
    pairs: Sequence[tuple[Array, Array]] = list(zip(mlp.coefs_, mlp.intercepts_, strict=True))
    network.load_state_dict(
        {f"{2 * i}.{name}": array for i, (W, b) in enumerate(pairs) for name, array in (("weight", W.T), ("bias", b))}
    )
    return network


def _named(activation: str) -> ActivationName:
    """Return this library's name of an activation of scikit-learn."""
    known: dict[str, ActivationName] = {**SKLEARN_ACTIVATIONS, "softmax": "softmax"}
    if activation not in known:
        raise ValueError(f"mlp: expected an activation among {', '.join(known)}, got {activation!r}")
    return known[activation]
