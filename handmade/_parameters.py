"""5. The parameters of a network: one vector theta, one gradient, the layers' views into both, and state_dict."""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from ._threads import OneWriter, Versioned
from ._types import Array, DType
from ._validation import as_array, check_dtype, check_finite
from ._vectors import cut, empty
from .base_layer import Layer
from .composites import Sequential

__all__ = ["ParameterizedChain"]


def _like(own: Array, values: npt.ArrayLike, name: str) -> Array:
    """Return ``values`` in the dtype of ``own``; raise unless they are finite numbers in its shape."""
    array = as_array(values, name)
    expected, kinds = ("True or False", "b") if own.dtype.kind == "b" else ("numbers", "fiu")
    if array.dtype.kind not in kinds:
        raise TypeError(f"{name}: expected {expected}, got dtype {array.dtype}")
    if array.shape != own.shape:
        cure = "; pass its transpose: Keras has weights of shape (in, out)" if array.shape == own.shape[::-1] else ""
        raise ValueError(f"{name}: expected shape {own.shape}, got {array.shape}{cure}")
    with np.errstate(over="ignore"):  # too large for float32: infinite, and refused
        check_finite(converted := array.astype(own.dtype if own.dtype.kind == "f" else array.dtype), name)
    with np.errstate(invalid="ignore"):
        result = converted.astype(own.dtype)
    if own.dtype.kind == "i" and not np.array_equal(result, converted):
        raise ValueError(f"{name}: expected integers, got {converted}")
    return result


def _vector_property(name: str) -> Any:
    """Return a property whose assignment copies numbers into the existing vector."""
    stored = "_" + name

    def assign(network: ParameterizedChain, values: npt.ArrayLike) -> None:
        own = getattr(network, stored)
        if values is not own:  # theta -= ... assigns theta to itself
            own[...] = _like(own, values, name)

    return property(operator.attrgetter(stored), assign)


class ParameterizedChain(Sequential):
    """A chain of layers that owns their parameters, ``theta``, and their gradient, ``gradient``; see `Network`."""

    dtype: np.dtype[Any]
    theta: Array = _vector_property("theta")
    gradient: Array = _vector_property("gradient")

    def __init__(self, layers: Sequence[Layer], *, dtype: DType | None = None) -> None:
        super().__init__(layers)
        _check_not_owned(self)
        self._bind(dtype)

    def _parameters(self) -> Iterator[tuple[str, Layer, str]]:
        """Yield each parameter as (name in a state_dict, layer, attribute), in the order of theta."""
        for prefix, layer in self.leaves():
            for name, attribute in layer.parameters.items():
                yield prefix + name, layer, attribute

    def _bind(self, dtype: npt.DTypeLike | None = None) -> None:
        """Move every parameter into theta, and make the layers' arrays views into it."""
        parameters = list(self._parameters())
        for _, layer, attribute in parameters:
            _check_assigned(layer, attribute, "parameters")
            if not isinstance(getattr(type(layer), attribute, None), property):
                raise TypeError(
                    f"{type(layer).__name__}: expected a class whose parameters name {attribute!r}, got an object "
                    "whose do; write parameters in the body of the class"
                )
        statistics = [_statistics_of(leaf) for _, leaf in self.leaves()]
        values = [getattr(layer, attribute) for _, layer, attribute in parameters]
        dtype = values[0].dtype if dtype is None and values else np.float64 if dtype is None else dtype
        # Complex numbers are for the complex step of a gradient check, see `astype`.
        is_complex = isinstance(dtype, str | type | np.dtype) and dtype in (complex, np.complex128, "complex128")
        self.dtype = np.dtype(dtype) if is_complex else check_dtype(dtype)
        size = sum(value.size for value in values)
        self._theta, self._gradient = (empty(size, self.dtype, place) for place in range(2))
        self._theta[:] = np.concatenate([value.reshape(-1) for value in values] or [[]])
        self._gradient[:] = 0
        views = cut(self._theta, self._shapes()), cut(self._gradient, self._shapes())
        for (_, layer, attribute), value, gradient in zip(parameters, *views, strict=True):
            layer.bind(attribute, value, gradient)
        self._own_leaves(statistics)
        self._is_checked = False  # whether a backward pass has been checked, see `first_backward`
        self._weights = Versioned(
            "theta: expected whole weights, got those of a process that was forked while another thread loaded some; "
            "load them again, network.load_state_dict(state)"
        )
        self._gradient_writer = OneWriter(
            "gradient: expected one backward pass at a time, got a second one in another thread; give each thread a "
            "network of its own, copy.deepcopy(network)"
        )

    def _own_leaves(self, statistics: list[dict[str, Array]]) -> None:
        """Mark the layers as owned, convert their statistics, and list what a forward pass in training changes."""
        self._statistics: list[Array] = []
        for (_, leaf), arrays in zip(self.leaves(), statistics, strict=True):
            leaf.owned = True
            for name, array in arrays.items():
                vars(leaf).pop(name, None)  # else the layer would copy the numbers into this array
                setattr(leaf, name, array.astype(self.dtype if array.dtype.kind in "fc" else array.dtype))
                self._statistics.append(getattr(leaf, name))
        self._drawing = with_generators(self)

    def _shapes(self) -> list[tuple[int, ...]]:
        return [getattr(layer, attribute).shape for _, layer, attribute in self._parameters()]

    def blocks(self, vector: npt.ArrayLike) -> dict[str, Array]:
        """Cut a vector as long as theta into blocks, one for each parameter.

        Parameters
        ----------
        vector : array_like, shape (P,)
            ``theta``, ``gradient``, or anything of their length.

        Returns
        -------
        dict of str to ndarray
            The name in a state_dict -> the block, a view in the shape of the parameter.

        Raises
        ------
        ValueError
            If the length of the vector is not P.
        TypeError
            If the vector does not hold numbers.

        Examples
        --------
        >>> network = hm.Network([hm.Dense(1, 1)])
        >>> network.blocks(np.array([7.0, 8.0]))
        {'0.weight': array([[7.]]), '0.bias': array([8.])}
        """
        vector = as_array(vector, "vector")
        if vector.shape != self.theta.shape:
            raise ValueError(f"vector: expected shape {self.theta.shape}, got {vector.shape}")
        if vector.dtype.kind not in "biufc":
            raise TypeError(f"vector: expected numbers, got dtype {vector.dtype}")
        return dict(zip((name for name, _, _ in self._parameters()), cut(vector, self._shapes()), strict=True))

    @property
    def parameter_count(self) -> int:
        """The number of all parameters, P, biases included: 26 for the lecture's 3-4-2 (System 4)."""
        return self.theta.size

    def astype(self, dtype: npt.DTypeLike) -> Self:
        """Return a copy of the network in float32, float64, or (for the complex step of a check) complex128.

        Examples
        --------
        >>> hm.Network([hm.Dense(2, 1)]).astype(np.float32).theta.dtype
        dtype('float32')
        """
        clone = copy.deepcopy(self)
        clone._bind(dtype)
        return clone

    def __copy__(self) -> Self:
        return copy.deepcopy(self)  # two networks cannot share layers

    def __getstate__(self) -> dict[str, Any]:
        # The layers hold the values. Views into the old arrays must not be pickled, and locks cannot be.
        left_out = ("_theta", "_gradient", "_weights", "_gradient_writer", "_statistics", "_drawing")
        return {name: value for name, value in super().__getstate__().items() if name not in left_out}

    def __setstate__(self, attributes: dict[str, Any]) -> None:
        self.__dict__.update(attributes)
        self._bind(self.dtype)

    # ---- state_dict ------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Array]:
        """Return copies of all parameters and statistics, named and laid out as in the equivalent torch.nn.Sequential.

        Returns
        -------
        dict of str to ndarray
            ``"0.weight"`` of shape (O, I), ``"0.bias"``, ``"2.weight"``, ...

        Examples
        --------
        >>> list(hm.MLP([3, 4, 2]).state_dict())
        ['0.weight', '0.bias', '2.weight', '2.bias']
        """
        return {name: array.copy() for name, array in self._state()}

    def _state(self) -> Iterator[tuple[str, Array]]:
        for prefix, layer in self.leaves():
            for name, attribute in layer.parameters.items():
                yield prefix + name, getattr(layer, attribute)
            for name in layer.state:
                yield prefix + name, getattr(layer, name)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copy the numbers of a state_dict into the network: all of them, or, on any error, none.

        Parameters
        ----------
        state : mapping of str to array_like
            As `state_dict` returns it. A state_dict of torch works, too.

        Raises
        ------
        ValueError
            If an entry is missing, unknown, of another shape or not finite, or a statistic is impossible, such as a
            negative variance.
        TypeError
            If ``state`` is not a mapping, or an entry does not hold numbers.

        Examples
        --------
        >>> one, other = hm.MLP([3, 4, 2], rng=1), hm.MLP([3, 4, 2], rng=2)
        >>> other.load_state_dict(one.state_dict())
        >>> bool((one.theta == other.theta).all())
        True
        """
        own = dict(self._state())
        if not isinstance(state, Mapping):
            raise TypeError(f"state_dict: expected a mapping of names to arrays, got {type(state).__name__}")
        # Files of PyTorch before 0.4.1 have no num_batches_tracked; torch loads them, too.
        missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
        surplus = [key for key in state if key not in own]
        if missing or surplus:
            raise ValueError(
                f"state_dict: expected the entries {list(own)}, got {list(state)}; missing {missing}, unknown {surplus}"
            )
        new = {name: _like(own[name], values, f"state_dict: {name}") for name, values in state.items()}
        for prefix, layer in self.leaves():
            layer.check_state({name: new[prefix + name] for name in layer.state if prefix + name in new}, prefix)
        self._assign(new)

    def _assign(self, state: Mapping[str, Array]) -> None:
        """Copy arrays that `state_dict` of this network, or of a copy, returned; they are not checked."""
        own = dict(self._state())
        with self._weights.writing():
            for name, array in state.items():
                own[name][...] = array


def _check_assigned(layer: Layer, attribute: str, names: str) -> None:
    """Raise where ``parameters`` or ``state`` of a layer name an attribute that it has not."""
    if not hasattr(layer, attribute):
        raise TypeError(
            f"{type(layer).__name__}: expected an array in {attribute!r}, which its {names} name, got none; assign "
            f"self.{attribute} in __init__"
        )


def _statistics_of(leaf: Layer) -> dict[str, Array]:
    """Return the statistics of a layer by name; raise unless they are numbers."""
    if isinstance(leaf.state, str):
        raise TypeError(f"{type(leaf).__name__}: expected state such as ({leaf.state!r},), got {leaf.state!r}")
    arrays = {}
    for name in leaf.state:
        _check_assigned(leaf, name, "state")
        arrays[name] = as_array(getattr(leaf, name), name)
        if arrays[name].dtype.kind not in "biufc":
            raise TypeError(f"{name} of {leaf!r}: expected numbers, got dtype {arrays[name].dtype}")
    return arrays


def _check_not_owned(network: ParameterizedChain) -> None:
    """Raise if a layer appears twice, or belongs to another network: each layer writes one gradient."""
    leaves = [leaf for _, leaf in network.leaves()]
    if len({id(leaf) for leaf in leaves}) < len(leaves):
        raise ValueError(f"{type(network).__name__}: expected each layer once, got one twice; build one for each place")
    for leaf in leaves:
        if leaf.owned:
            raise ValueError(
                f"{type(network).__name__}: expected layers without a network, got {leaf!r}, which has one; build "
                "another, or pass copy.deepcopy(it)"
            )


class Drawing(NamedTuple):
    """A place where a layer holds a generator: an attribute in its `vars`, or an item of a list."""

    holder: Any
    key: Any

    @property
    def rng(self) -> np.random.Generator:
        """The generator that stands there now."""
        generator: np.random.Generator = self.holder[self.key]
        return generator


def with_generators(layer: Layer, seen: set[int] | None = None) -> list[Drawing]:
    """Return where a layer, and the layers in it, hold the generators that they draw from, under whatever name."""
    seen = set() if seen is None else seen
    seen.add(id(layer))
    found: list[Drawing] = []
    for name, value in vars(layer).items():
        places = enumerate(value) if isinstance(value, list | tuple) else [(name, value)]
        for key, part in places:
            if isinstance(part, np.random.Generator):
                found.append(Drawing(vars(layer) if part is value else value, key))
            elif isinstance(part, Layer) and id(part) not in seen:
                found += with_generators(part, seen)
    return found
