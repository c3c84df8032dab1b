"""5. The network: layers one after the other, and backpropagation, which is the same walk the other way.

The page of the lecture is `Sequential.forward`, `Sequential.backward` and `Network.loss_and_gradient`. Everything
else here keeps the books: one vector theta of all parameters, one of their gradient, and who owns which slice.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ._validation import check_count, check_dtype, check_finite
from .initializers import Initializer
from .layers import Activation, Dense, Dropout, Layer
from .losses import Loss, loss_and_backward
from .normalization import BatchNorm, LayerNorm

__all__ = ["MLP", "Sequential", "Network"]

Array = np.ndarray


class Sequential(Layer):
    """Layers, each fed by the one before: a layer itself, so chains may hold chains.

    Parameters
    ----------
    layers : sequence of Layer
        From the input to the output.

    Raises
    ------
    TypeError
        If one of them is no layer.
    ValueError
        If there are none, or two neighbours do not fit.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__()
        name = type(self).__name__
        self.layers = tuple(layers) if np.iterable(layers) else (layers,)
        for layer in self.layers:
            if not isinstance(layer, Layer) or not np.iterable(layers):
                raise TypeError(f"{name}: expected layers, got {layer!r}; give them in a list")
        if not self.layers:
            raise ValueError(f"{name}: expected at least one layer, got none")
        learning = [i for i, layer in enumerate(self.layers) if any(leaf.parameters for _, leaf in layer.leaves())]
        self.lowest = learning[0] if learning else len(self.layers)
        self.in_features = _in_features(self.layers)
        if self.in_features:
            Sequential.width_after(self, self.in_features)

    # ---- the page --------------------------------------------------------------------------------------------------

    def forward(self, X: Array, training: bool = False) -> Array:
        H = X
        for layer in self.layers:
            H = layer.forward(H, training)
        return H

    def backward(self, dH: Array, need_dX: bool = True) -> Array | None:
        layers = self.layers if need_dX else self.layers[self.lowest :]  # below the lowest, nothing is learnt
        for layer in reversed(layers):
            dH = layer.backward(dH, need_dX or layer is not layers[0])
        return dH if need_dX else None

    def predict(self, X: Array) -> Array:
        H = X
        for layer in self.layers:
            H = layer.predict(H)
        return H

    # ---- its size --------------------------------------------------------------------------------------------------

    def width_after(self, in_features: int) -> int:
        for layer in self.layers:
            in_features = layer.width_after(in_features)
        return in_features

    def leaves(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        for i, layer in enumerate(self.layers):
            yield from layer.leaves(f"{prefix}{i}.")

    @property
    def neuron_count(self) -> int:
        """The perceptrons: 4 + 2 = 6 for the lecture's 3-4-2 (System 4)."""
        return sum(layer.neuron_count for layer in self.layers)

    @property
    def weight_count(self) -> int:
        """The edges between neurons: 3 x 4 + 4 x 2 = 20 for the lecture's 3-4-2 (System 4)."""
        return sum(layer.weight_count for layer in self.layers)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.layers))})"


def _in_features(layers: Sequence[Layer]) -> int | None:
    """The width that the first layer with a width of its own takes, if what lies below it keeps the width."""
    for layer in layers:
        if layer.in_features:
            return layer.in_features
        if layer.width_after(1) != 1:
            return None
    return None


class Network(Sequential):
    """A chain that owns its parameters: all of them in ``theta``, their gradient in ``gradient``.

    Both are one contiguous vector in the order of PyTorch's ``parameters()``: W0, b0, W1, b1, ... Each layer's W and
    b are views into theta, its dW and db views into gradient, so ``theta -= lr * gradient`` is the lecture's update
    (System 11) of the whole network.

    Parameters
    ----------
    layers : sequence of Layer
        From the input to the output. The network adopts them: their values are kept, and move into theta.
    dtype : dtype, optional
        float64 or float32; that of the first parameter unless given.

    Attributes
    ----------
    theta, gradient : ndarray, shape (P,)
        Parameters, and the gradient that the last backward pass left.
    layers : tuple of Layer
        The layers.

    Raises
    ------
    TypeError
        If something in ``layers`` is no layer, or the dtype is not a float.
    ValueError
        If there are none, two neighbours do not fit, or a layer already belongs to a network.

    Examples
    --------
    The second smallest perceptron of System 7, one step of gradient descent:

    >>> network = Network([Dense(2, 1, bias=False)])
    >>> network.theta[:] = [0.5, -1.0]
    >>> x, y = np.array([[1.0, 2.0]]), np.array([[0.5]])
    >>> loss, gradient = network.loss_and_gradient(x, y, loss="half_squared_error")
    >>> loss, gradient
    (2.0, array([-2., -4.]))
    >>> network.theta -= 0.1 * gradient
    >>> network.predict(x)
    array([[-0.5]])
    """

    def __init__(self, layers: Sequence[Layer], *, dtype=None) -> None:
        super().__init__(layers)
        self._adopt(dtype)

    # ---- the page --------------------------------------------------------------------------------------------------

    def loss_and_gradient(
        self, X, y, loss: Loss = "cross_entropy", *, sample_weight=None, training: bool = True
    ) -> tuple[float, Array]:
        """Forward, loss, backward: the loss of a batch and its gradient with respect to theta (System 11).

        Parameters
        ----------
        X : array_like, shape (N, I)
            Inputs.
        y : array_like
            Targets, as the loss takes them.
        loss : str, callable, functools.partial or (callable, callable)
            See `handmade.losses.find_loss`.
        sample_weight : array_like, shape (N,), optional
            See `handmade.losses.loss_and_backward`.
        training : bool
            Whether dropout drops and batch normalization uses (and updates) the statistics of the batch.

        Returns
        -------
        loss : float
            The value.
        gradient : ndarray, shape (P,)
            ``network.gradient`` itself, overwritten by the next call.

        Raises
        ------
        ValueError
            If a shape or value is wrong, or an input, target or weight is not finite.
        TypeError
            If a dtype is wrong.
        """
        X, y = self.check_input(X), check_finite_targets(y)
        statistics = [(layer, name, getattr(layer, name).copy()) for layer in self._stateful for name in layer.state]
        try:
            return self.backpropagate(X, y, loss, sample_weight, training)
        except Exception:
            for layer, name, before in statistics:  # a forward pass in training has moved them
                getattr(layer, name)[...] = before
            raise

    def backpropagate(self, X: Array, y: Array, loss: Loss, sample_weight=None, training: bool = True):
        """`loss_and_gradient` for arrays that are known to be sound: training checks its data once, not every step.

        Parameters and returns as there; X is in the network's dtype.
        """
        H = self.memory.H = super().forward(X, training)
        value, dH = loss_and_backward(loss, H, y, sample_weight)
        super().backward(dH, need_dX=False)
        return float(value), self.gradient

    def forward(self, X, training: bool = False) -> Array:
        """The output of the network; the layers remember what `backward` needs.

        Parameters
        ----------
        X : array_like, shape (N, I)
            Inputs.
        training : bool
            As in `loss_and_gradient`.

        Returns
        -------
        ndarray, shape (N, O)
            Outputs: logits, where the network ends with a Dense layer. X may not be changed before `backward`, which
            reads it.
        """
        self.memory.H = super().forward(self.check_input(X), training)
        return self.memory.H.copy()

    def backward(self, dH, need_dX: bool = True) -> Array | None:
        """Write into ``gradient`` what the last `forward` and the upstream gradient dH make of it.

        Parameters
        ----------
        dH : array_like, shape (N, O)
            The gradient of a scalar with respect to the output.
        need_dX : bool
            Whether to go on down to the input.

        Returns
        -------
        ndarray, shape (N, I), or None
            dX, the gradient with respect to the input.

        Raises
        ------
        ValueError
            If dH has not the shape of the last output, or is not finite.
        AttributeError
            If there was no forward pass.
        """
        dH, expected = np.asarray(dH, self.dtype), self.memory.H.shape
        if dH.shape != expected:
            raise ValueError(f"dH: expected the shape of the last output {expected}, got {dH.shape}")
        check_finite(dH, "dH")
        dX = super().backward(dH, need_dX)
        return None if dX is None else dX.copy()

    def predict(self, X, *, batch_size: int = 1024) -> Array:
        """The output of the network, nothing remembered: safe in several threads at once.

        Parameters
        ----------
        X : array_like, shape (N, I)
            Inputs; a numpy.memmap is read a block at a time.
        batch_size : int
            How many rows at a time, which bounds the memory in use.

        Returns
        -------
        ndarray, shape (N, O)
            A new array, of a Dense layer in Fortran's order. For classes: ``network.predict(X).argmax(axis=1)``.

        Raises
        ------
        ValueError, TypeError
            As in `loss_and_gradient`.
        """
        check_count(batch_size, "batch_size")
        X = np.asarray(X)
        if X.ndim == 2 and len(X) > batch_size:
            starts = range(0, len(X), batch_size)
            return np.concatenate([self._predict(X[start : start + batch_size], start) for start in starts])
        return self._predict(X)

    def _predict(self, X: Array, first_row: int = 0) -> Array:
        X = self.check_input(X, first_row)
        H = super().predict(X)
        return H.copy() if H is X else H  # dropout alone passes its input through

    # ---- the door --------------------------------------------------------------------------------------------------

    def check_input(self, X, first_row: int = 0) -> Array:
        """X in the network's dtype and of its width, or an error that says what came, and in which row."""
        X = np.asarray(X)
        if X.ndim != 2 or X.shape[1] != self.in_features or len(X) == 0:
            self._check_shape(X)
        if X.dtype != self.dtype:
            if X.dtype.kind not in "fiub":
                raise TypeError(f"X: expected numbers, got dtype {X.dtype}; convert it with X.astype(float)")
            with np.errstate(over="ignore"):  # too large for float32: infinite, and refused
                X = X.astype(self.dtype)
        if self.dtype.kind == "f":
            check_finite(X, "X", first_row)
        return X

    def _check_shape(self, X: Array) -> None:
        """Raise, unless no layer says how wide X has to be, and all can take it as it is."""
        if not self.in_features and X.ndim == 2 and len(X) > 0:
            self.width_after(X.shape[1])  # raises, where a layer further up takes another width
            return
        width = self.in_features or "features"
        hint = "; a single sample x is x[np.newaxis, :]" if X.shape == (self.in_features,) else ""
        raise ValueError(f"X: expected shape (N, {width}) with N at least 1, got {X.shape}{hint}")

    # ---- theta -----------------------------------------------------------------------------------------------------

    def _parameters(self) -> Iterator[tuple[str, Layer, str]]:
        """The name in a state_dict, the layer, the attribute: in the order of theta."""
        for prefix, layer in self.leaves():
            for name, attribute in layer.parameters.items():
                yield prefix + name, layer, attribute

    def _adopt(self, dtype=None) -> None:
        """Move every parameter into theta, and leave the layers views of it."""
        leaves = [leaf for _, leaf in self.leaves()]
        if len({id(leaf) for leaf in leaves}) < len(leaves):
            raise ValueError(f"{type(self).__name__}: the same layer appears twice; build one for each place")
        for leaf in leaves:
            if leaf.adopted:
                raise ValueError(f"{leaf!r} already belongs to a network; build another, or pass copy.deepcopy(it)")
        parameters = list(self._parameters())
        values = [getattr(layer, attribute) for _, layer, attribute in parameters]
        dtype = values[0].dtype if dtype is None and values else dtype or np.float64
        # Complex numbers are for the complex step of a gradient check, see `astype`.
        dtype = self.dtype = np.dtype(dtype) if dtype == np.complex128 else check_dtype(dtype)
        theta = np.concatenate([value.reshape(-1) for value in values] or [[]]).astype(dtype)
        self.__dict__.update(theta=theta, gradient=np.zeros_like(theta))
        blocks = self._cut(self.theta), self._cut(self.gradient)
        for (_, layer, attribute), value, gradient in zip(parameters, *blocks, strict=True):
            layer.set_parameter(attribute, value, gradient)
        self._stateful = [leaf for leaf in leaves if leaf.state]
        for leaf in leaves:
            leaf.adopted = True
            for name in leaf.state:
                array = getattr(leaf, name)
                setattr(leaf, name, array.astype(dtype if array.dtype.kind in "fc" else array.dtype))

    def _cut(self, vector: Array) -> list[Array]:
        """One view of the vector per parameter, in its shape."""
        views, start = [], 0
        for _, layer, attribute in self._parameters():
            parameter = getattr(layer, attribute)
            views.append(vector[start : start + parameter.size].reshape(parameter.shape))
            start += parameter.size
        return views

    def blocks(self, vector: Array) -> dict[str, Array]:
        """A vector as long as theta, cut into the network's parameters.

        Parameters
        ----------
        vector : ndarray, shape (P,)
            ``theta``, ``gradient``, or anything of their length.

        Returns
        -------
        dict of str to ndarray
            Views into it: the name in a state_dict -> the block, in the shape of the parameter.

        Raises
        ------
        ValueError
            If its length is not P.

        Examples
        --------
        >>> network = Network([Dense(1, 1)])
        >>> network.blocks(np.array([7.0, 8.0]))
        {'0.weight': array([[7.]]), '0.bias': array([8.])}
        """
        if np.shape(vector) != self.theta.shape:
            raise ValueError(f"vector: expected shape {self.theta.shape}, got {np.shape(vector)}")
        vector = np.asarray(vector)
        return dict(zip((name for name, _, _ in self._parameters()), self._cut(vector), strict=True))

    @property
    def parameter_count(self) -> int:
        """All that is learnt, biases too: 26 for the lecture's 3-4-2 (System 4)."""
        return self.theta.size

    def astype(self, dtype) -> Network:
        """A copy of the network in float32, float64, or (for the complex step of a gradient check) complex128.

        Examples
        --------
        >>> Network([Dense(2, 1)]).astype(np.float32).theta.dtype
        dtype('float32')
        """
        clone = copy.deepcopy(self)
        for _, layer in clone.leaves():
            layer.adopted = False
        clone._adopt(dtype)
        return clone

    def __setattr__(self, name: str, value) -> None:
        # The layers hold views of these two vectors: assigning means new numbers in the old place.
        if name in ("theta", "gradient") and name in self.__dict__:
            if value is not (old := self.__dict__[name]):
                self.__dict__[name][...] = _like(old, np.asarray(value), name)
        else:
            super().__setattr__(name, value)

    def __copy__(self) -> Network:
        return copy.deepcopy(self)  # two networks cannot share their layers

    def __getstate__(self) -> dict:
        # The layers carry the values; theta, whose views they are, is built anew around the copies.
        return {name: value for name, value in super().__getstate__().items() if name not in ("theta", "gradient")}

    def __setstate__(self, attributes: dict) -> None:
        super().__setstate__(attributes)
        self._adopt(self.dtype)

    # ---- state_dict ------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Array]:
        """Copies of all parameters and statistics, named and laid out as in the equivalent torch.nn.Sequential.

        Returns
        -------
        dict of str to ndarray
            ``"0.weight"`` of shape (O, I), ``"0.bias"``, ``"2.weight"``, ...

        Examples
        --------
        >>> list(MLP([3, 4, 2]).state_dict())
        ['0.weight', '0.bias', '2.weight', '2.bias']
        """
        return {name: array.copy() for name, array in self._state()}

    def _state(self) -> Iterator[tuple[str, Array]]:
        for prefix, layer in self.leaves():
            for name, attribute in layer.parameters.items():
                yield prefix + name, getattr(layer, attribute)
            for name in layer.state:
                yield prefix + name, getattr(layer, name)

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Take over the numbers of a state_dict: all of them, or, on any error, none.

        Parameters
        ----------
        state : mapping of str to array_like
            As `state_dict` gives it; torch's works too.

        Raises
        ------
        ValueError
            If an entry is missing, surplus, misshapen or not finite.
        TypeError
            If an entry holds something other than numbers.

        Examples
        --------
        >>> one, other = MLP([3, 4, 2], rng=1), MLP([3, 4, 2], rng=2)
        >>> other.load_state_dict(one.state_dict())
        >>> bool((one.theta == other.theta).all())
        True
        """
        own = dict(self._state())
        if not isinstance(state, Mapping):
            raise TypeError(f"state_dict: expected a mapping of names to arrays, got {type(state).__name__}")
        if own.keys() != state.keys():
            missing, surplus = [k for k in own if k not in state], [k for k in state if k not in own]
            raise ValueError(f"state_dict: expected the entries {list(own)}; missing {missing}, surplus {surplus}")
        new = {name: _like(array, np.asarray(state[name]), f"state_dict: {name}") for name, array in own.items()}
        for name, array in new.items():
            own[name][...] = array

    # ---- for people ------------------------------------------------------------------------------------------------

    def summary(self) -> str:
        """A table of the layers: what comes out of each, and what it learns.

        Examples
        --------
        >>> print(MLP([3, 4, 2], activation="sigmoid").summary())
        layer                   output  parameters
        Dense(3, 4)                  4          16
        Activation('sigmoid')        4           0
        Dense(4, 2)                  2          10
        6 neurons, 20 weights, 26 parameters, float64
        """
        rows, width = [], self.in_features
        for layer in self.layers:
            width = layer.width_after(width) if width else None
            learnt = sum(getattr(leaf, a).size for _, leaf in layer.leaves() for a in leaf.parameters.values())
            rows.append((repr(layer), str(width or "any"), str(learnt)))
        rows.insert(0, ("layer", "output", "parameters"))
        longest = max(len(name) for name, _, _ in rows)
        lines = [f"{a:<{longest}}  {b:>7}  {c:>10}" for a, b, c in rows]
        counts = f"{self.neuron_count} neurons, {self.weight_count} weights, {self.parameter_count} parameters"
        return "\n".join([*lines, f"{counts}, {self.dtype}"])


def _like(own: Array, array: Array, name: str) -> Array:
    """``array`` in the dtype of ``own``, if it holds finite numbers in the shape of ``own``."""
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name}: expected numbers, got dtype {array.dtype}")
    if array.shape != own.shape:
        raise ValueError(f"{name}: expected shape {own.shape}, got {array.shape}")
    with np.errstate(over="ignore"):  # too large for float32: infinite, and refused
        array = array.astype(own.dtype)
    check_finite(array, name)
    return array


def check_finite_targets(y, first_row: int = 0) -> Array:
    """y as an array without NaN or infinity; what else it has to be is for the loss to say."""
    y = np.asarray(y)
    if y.dtype.kind == "f":
        check_finite(y, "y", first_row)
    return y


class MLP(Network):
    """A multi-layer perceptron: Dense layers of the given sizes, an activation after each but the last (System 3).

    Parameters
    ----------
    sizes : sequence of int
        Inputs, units of each hidden layer, outputs: ``[3, 4, 2]`` is the lecture's network.
    activation : str, (callable, callable), or a list of them
        One for all hidden layers; or one per hidden layer; or one per layer, the last for the outputs. None leaves
        a layer linear.
    dropout : float
        The probability of `Dropout` after each hidden layer; 0 adds no such layer.
    normalization : {None, "batch", "layer"}
        What comes between each hidden Dense layer and its activation.
    bias : bool
        Whether the units have biases.
    weight_init, bias_init : str or callable
        See `handmade.initializers`.
    rng : optional
        Anything numpy.random.default_rng takes; draws the weights, then the dropout masks.
    dtype : dtype
        float64 or float32.

    Raises
    ------
    ValueError, TypeError
        If a size is not an integer of at least 1, the number of activations does not fit, or a name is unknown.

    Examples
    --------
    >>> network = MLP([3, 4, 2], activation="sigmoid", rng=0)
    >>> network
    MLP(Dense(3, 4), Activation('sigmoid'), Dense(4, 2))
    >>> network.neuron_count, network.weight_count, network.parameter_count
    (6, 20, 26)
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation="relu",
        *,
        dropout: float = 0.0,
        normalization: str | None = None,
        bias: bool = True,
        weight_init: Initializer = "linear_default",
        bias_init: Initializer = "linear_default",
        rng=None,
        dtype=np.float64,
    ) -> None:
        sizes = list(sizes) if np.iterable(sizes) else [sizes]
        if len(sizes) < 2:
            raise ValueError(f"sizes: expected the inputs, the outputs, and any hidden layers between, got {sizes!r}")
        depth = len(sizes) - 1
        activations = _one_per_layer(activation, depth)
        if normalization not in NORMALIZATIONS:
            raise ValueError(f"normalization: expected None, 'batch' or 'layer', got {normalization!r}")
        rng = np.random.default_rng(rng)
        layers: list[Layer] = []
        for i, function in enumerate(activations):
            options = dict(bias=bias, weight_init=weight_init, bias_init=bias_init, rng=rng, dtype=dtype)
            layers.append(Dense(sizes[i], sizes[i + 1], **options))
            hidden = i < depth - 1
            if hidden and normalization:
                layers.append(NORMALIZATIONS[normalization](sizes[i + 1], dtype=dtype))
            if function is not None:
                layers.append(function if isinstance(function, Layer) else Activation(function))
            if hidden and dropout:
                layers.append(Dropout(dropout, rng=rng))
        super().__init__(layers, dtype=dtype)


NORMALIZATIONS = {None: None, "batch": BatchNorm, "layer": LayerNorm}


def _one_per_layer(activation, depth: int) -> list:
    """The activations of all layers; a single one is for the hidden layers."""
    if isinstance(activation, tuple) and not all(map(callable, activation)):
        raise TypeError(f"activation: expected a list of one per layer, or a pair of functions, got {activation!r}")
    if isinstance(activation, list):
        if len(activation) not in (depth - 1, depth):
            raise ValueError(
                f"activation: expected one, a list of {depth - 1} for the hidden layers, or a list of {depth} "
                f"for all layers, got {len(activation)}"
            )
        return activation + [None] * (depth - len(activation))
    return [activation] * (depth - 1) + [None]
