"""8. The chain rule of one sample, with the name and the number of every factor (Systems 8 and 9).

It is for a chain of Dense layers and elementwise activations, numbered as on the slides: layer l computes
``a_l = w_l f_(l-1) + b_l`` and ``f_l = activation(a_l)``, with f_0 = x. The weight is called W_l if the layer has more
than one. The factors are then vectors and matrices, in the order in which their shapes fit. Brackets hold the prefix
that a layer above has computed already.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from ._types import Array
from ._validation import as_array
from .composites import SequentialCache
from .dropout import Dropout
from .layers import Activation, Dense, name_of
from .losses import Loss, find_loss, loss_of_batch
from .network import Network, as_network, check_finite_targets

__all__ = ["Factor", "Product", "Trace", "trace"]

Pairs = list[tuple[Dense, Activation | None]]


@dataclasses.dataclass(frozen=True)
class Factor:
    """A factor of a chain rule: its name, such as ``df2/da2``, and its value."""

    name: str
    value: Array


@dataclasses.dataclass(frozen=True)
class Product:
    """A derivative as the product of its factors.

    Attributes
    ----------
    name : str
        The derivative, such as ``dL/dw2``.
    shared : tuple of Factor
        The prefix that a layer above, or the weight of the same layer, has computed already.
    prefix : ndarray
        The value of the prefix: one number per unit.
    factors : tuple of Factor
        The factors that multiply the prefix.
    value : ndarray
        The product, in the shape of the parameter.
    """

    name: str
    shared: tuple[Factor, ...]
    prefix: Array
    factors: tuple[Factor, ...]
    value: Array

    def formula(self) -> str:
        """Return the names of the factors, with the re-used prefix in brackets.

        Examples
        --------
        >>> from handmade.chain_rule import Factor, Product
        >>> one = np.ones(1)
        >>> Product("dL/db1", (Factor("dL/df1", one),), one, (Factor("da1/db1", one),), one).formula()
        '[dL/df1] * da1/db1'
        """
        return _times([factor.name for factor in self.shared], [factor.name for factor in self.factors])

    def __str__(self) -> str:
        lines = [f"  {self.name} = {self.formula()}"]
        if all(array.size == 1 for array in (self.value, *(factor.value for factor in self.factors))):
            numbers = [_number(factor.value) for factor in self.factors]
            indent = " " * len(f"  {self.name}")
            lines.append(f"{indent} = {_times([_number(self.prefix)] if self.shared else [], numbers)}")
            lines.append(f"{indent} = {_number(self.value)}")
        else:
            if self.shared:
                lines.append(_named("    [re-used]", self.prefix))
            lines += [_named(f"    {factor.name}", factor.value) for factor in self.factors]
            lines.append(_named(f"    {self.name}", self.value))
        return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class Trace:
    """A forward pass and the chain rule of one sample; printed, it is a calculation that can be done on paper.

    Attributes
    ----------
    forward : list of (str, ndarray)
        Each quantity of the forward pass: its formula and its value.
    loss_formula : str
        The formula of the loss.
    loss : float
        The loss of the sample.
    products : list of Product
        The derivative with respect to each weight and bias, from the last layer to the first.
    """

    forward: list[tuple[str, Array]]
    loss_formula: str
    loss: float
    products: list[Product]

    def __getitem__(self, name: str) -> Array:
        """Return the derivative of this name, such as ``dL/dw2``.

        Raises
        ------
        KeyError
            If there is no such derivative; the message lists all names.
        """
        values = {product.name: product.value for product in self.products}
        if name not in values:
            raise KeyError(f"expected one of {', '.join(values)}; got {name!r}")
        return values[name]

    def __str__(self) -> str:
        forward = [_named(f"  {formula}", value) for formula, value in self.forward]
        loss = f"  {self.loss_formula} = {self.loss:.7g}"
        return "\n".join(["forward", *forward, loss, "", "backward", *map(str, self.products)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return a table of the forward pass and one of the derivatives, each with its factors."""
        from ._html import html_table  # only a notebook needs it

        forward = [*self.forward, (self.loss_formula, np.array(self.loss))]
        quantities = [[*text.partition(" = ")[::2], _numbers(value)] for text, value in forward]
        derivatives = [[product.name, product.formula(), _numbers(product.value)] for product in self.products]
        return "\n".join(
            [
                html_table(["forward", "formula", "value"], quantities),
                html_table(["backward", "product, [re-used]", "value"], derivatives),
            ]
        )


def trace(network: Network, x: npt.ArrayLike, y: npt.ArrayLike, loss: Loss = "half_squared_error") -> Trace:
    """Return the forward pass and the chain rule of one sample, factor by factor.

    Parameters
    ----------
    network : Network
        Dense layers, each followed by at most one elementwise activation. Dropout is left out, as in a prediction.
    x : array_like, shape (I,)
        The sample; a number if I is 1.
    y : array_like
        The target of the sample, in the form that the loss takes.
    loss : str, callable, functools.partial or (callable, callable)
        See `handmade.losses.find_loss`.

    Returns
    -------
    Trace
        The derivatives with all their factors; printed, a calculation.

    Raises
    ------
    ValueError
        If the network holds other layers, or x or y does not fit.

    Examples
    --------
    The smallest perceptron with a sigmoid, w = 2, x = 0.5, y = 1:

    >>> network = hm.MLP([1, 1], activation=["sigmoid"], bias=False)
    >>> network.theta[:] = 2.0
    >>> print(hm.trace(network, 0.5, 1.0))
    forward
      x = 0.5
      a1 = w1 x = 1
      f1 = sigmoid(a1) = 0.7310586
      L = half_squared_error(f1, y) = 0.03616474
    <BLANKLINE>
    backward
      dL/dw1 = dL/df1 * df1/da1 * da1/dw1
             = -0.2689414 * 0.1966119 * 0.5
             = -0.02643855
    """
    pairs = _pairs(as_network(network))
    if not pairs:
        raise ValueError(f"trace: expected at least one Dense layer, got {network!r}")
    x, y = np.atleast_1d(np.array(as_array(x, "x"))), check_finite_targets(y)
    f = network.check_input(x[np.newaxis] if x.ndim == 1 else x)
    if len(f) > 1:
        raise ValueError(f"x: expected one sample, got {len(f)}; pass one row, x[0]")
    f, cache = network.forward(f)
    forward, inputs, slopes = _forward(network, pairs, cache)
    if y.size not in (1, f.size):
        raise ValueError(f"y: expected one class index or {f.size} target values, got shape {y.shape}")
    target = y.reshape(f.shape if y.size == f.size else 1)
    value, dH = loss_of_batch(loss, f, target)
    f_loss = find_loss(loss).value
    formula = f"L = {getattr(f_loss, 'func', f_loss).__name__}({_output(pairs, len(pairs))}, y)"
    return Trace(forward, formula, float(value), _products(pairs, inputs, slopes, dH))


def _pairs(network: Network) -> Pairs:
    """Return each Dense layer with the activation on top of it."""
    pairs: Pairs = []
    for layer in network.layers:
        if isinstance(layer, Dense):
            pairs.append((layer, None))
        elif isinstance(layer, Activation) and pairs and pairs[-1][1] is None and layer.is_elementwise:
            pairs[-1] = pairs[-1][0], layer
        elif not isinstance(layer, Dropout):
            raise ValueError(f"trace: expected Dense layers, each with at most one elementwise function, got {layer!r}")
    return pairs


def _forward(
    network: Network, pairs: Pairs, cache: SequentialCache
) -> tuple[list[tuple[str, Array]], list[Array], list[Array | None]]:
    """Return the named values of a forward pass, and the input and the activation's slope of each pair."""
    forward: list[tuple[str, Array]] = [("x", cache.values[0])]
    inputs: list[Array] = []
    slopes: list[Array | None] = []
    for layer, X, H, kept in zip(network.layers, cache.values, cache.values[1:], cache.layers, strict=False):
        n = len(inputs)
        if isinstance(layer, Dense):
            bias = f" + b{n + 1}" if layer.bias else ""
            forward.append((f"a{n + 1} = {_weight(layer)}{n + 1} {_output(pairs, n)}{bias}", H))
            inputs.append(X)
            slopes.append(None)
        elif isinstance(layer, Activation):
            forward.append(
                (f"f{n} = {name_of(layer.f if isinstance(layer.function, str) else layer.function[0])}(a{n})", H)
            )
            slopes[-1] = layer.backward(np.ones_like(H), kept)
    return forward, inputs, slopes


def _products(pairs: Pairs, inputs: list[Array], slopes: list[Array | None], dH: Array) -> list[Product]:
    """Return the derivatives, from the loss down: the prefix grows by one factor after another."""
    products: list[Product] = []
    new: tuple[Factor, ...] = (Factor(f"dL/d{_output(pairs, len(pairs))}", dH[0]),)
    shared: tuple[Factor, ...] = ()
    start = prefix = dH[0]
    for n in range(len(pairs), 0, -1):
        dense, below = pairs[n - 1][0], inputs[n - 1][0]
        if (slope := slopes[n - 1]) is not None:
            new += (Factor(f"df{n}/da{n}", slope[0]),)
            prefix = prefix * slope[0]
        w = _weight(dense)
        last = Factor(f"da{n}/d{w}{n}", below)
        products.append(Product(f"dL/d{w}{n}", shared, start, (*new, last), np.outer(prefix, below)))
        shared, start = shared + new, prefix
        if "bias" in dense.parameters:
            one = Factor(f"da{n}/db{n}", np.ones(1))
            products.append(Product(f"dL/db{n}", shared, start, (one,), prefix))
        new = (Factor(f"da{n}/d{_output(pairs, n - 1)}", dense.W.copy()),)
        prefix = prefix @ dense.W
    return products


def _weight(dense: Dense) -> str:
    return "w" if dense.W.size == 1 else "W"


def _output(pairs: Pairs, n: int) -> str:
    """Return the name of the output of layer n: f after an activation, a of a linear one, x below the first."""
    return "x" if n == 0 else f"a{n}" if pairs[n - 1][1] is None else f"f{n}"


def _times(shared: list[str], new: list[str]) -> str:
    return " * ".join([f"[{' * '.join(shared)}]"] * bool(shared) + new)


def _number(value: Array) -> str:
    return f"{value.item():.7g}"


def _named(name: str, value: Array) -> str:
    """``name = value``: a number, a row, or, below each other, the rows of a matrix."""
    if value.size == 1:
        return f"{name} = {_number(value)}"
    rows = np.atleast_2d(value)
    if len(rows) == 1:
        return f"{name} = ({', '.join(f'{entry:.7g}' for entry in rows[0])})"
    return "\n".join([f"{name} =", *("        " + "  ".join(f"{entry:>10.7g}" for entry in row) for row in rows)])


def _numbers(value: Array) -> str:
    """Return a scalar to seven digits, an array to four, -0 as 0."""
    value = np.asarray(value) + 0.0
    return f"{value.item():.7g}" if value.size == 1 else np.array2string(value, precision=4, separator=", ")
