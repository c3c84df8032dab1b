"""Networks for which wrong gradients are given, the list of bugs, and the right steps that a bug does not replace."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

import handmade as hm
from handmade.protocols import Array

Parameters: TypeAlias = Sequence[Array]
Gradient: TypeAlias = Callable[[Parameters, Array, Array], Sequence[Array]]


@dataclasses.dataclass(frozen=True)
class Problem:
    """A batch with a network and its loss, or with a function of the parameters, whose gradient is tested.

    Attributes
    ----------
    X, y : ndarray
        The batch.
    network, loss : Network and loss, optional
        As in `handmade.diagnose_gradient`.
    function, parameters : callable and arrays, optional
        The function ``function(*parameters)``, instead of a network.
    options : mapping
        Further arguments for `handmade.diagnose_gradient`.
    """

    X: Array
    y: Array
    network: hm.Network | None = None
    loss: Any = "cross_entropy"
    function: Callable[..., float] | None = None
    parameters: Parameters = ()
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Bug:
    """A published mistake: its source, the problem in which it is made, and the words of a right diagnosis.

    Attributes
    ----------
    gradient : callable
        ``gradient(parameters, X, y)``, the wrong gradients in the order of the parameters.
    source : str
        Where it was published.
    problem : callable
        Returns the `Problem`.
    step : frozenset of str
        The wrong steps: the layer as in a state_dict, and dW, db, dgamma, dbeta, dX or slope; "loss"; or, without a
        network, the blocks.
    says : tuple of str
        Regular expressions, all of which match a right explanation.
    array_only : bool
        Whether the mistake is defined for this batch only.
    """

    gradient: Gradient
    source: str
    problem: Callable[[], Problem]
    step: frozenset[str]
    says: tuple[str, ...]
    array_only: bool = False

    @property
    def name(self) -> str:
        return self.gradient.__name__


def into(bugs: list[Bug]) -> Callable[..., Callable[[Gradient], Gradient]]:
    """Return a function that returns a decorator, which adds a wrong gradient to a list."""

    def described(
        source: str, problem: Callable[[], Problem], step: str, *says: str, array_only: bool = False
    ) -> Callable[[Gradient], Gradient]:
        """Return the decorator; ``step`` names the wrong steps, with commas."""

        def add(gradient: Gradient) -> Gradient:
            bugs.append(Bug(gradient, source, problem, frozenset(step.split(", ")), says, array_only))
            return gradient

        return add

    return described


BUGS: list[Bug] = []
public = into(BUGS)


# ---- problems ------------------------------------------------------------------------------------------------------


def batch(kind: str, rows: int, inputs: int, outputs: int, seed: int) -> tuple[Array, Array]:
    """Return inputs, and targets that are "classes", "numbers" or "bits"."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, inputs))
    if kind == "classes":
        return X, rng.integers(outputs, size=rows)
    return X, rng.normal(size=(rows, outputs)) if kind == "numbers" else rng.integers(2, size=(rows, outputs)) * 1.0


def mlp(
    sizes: Sequence[int],
    activation: Any,
    loss: Any = "cross_entropy",
    kind: str = "classes",
    rows: int = 12,
    **more: Any,
) -> Callable[[], Problem]:
    """Return a function that builds an MLP, and a batch for it."""

    def build() -> Problem:
        seed = sum(sizes) + rows
        network = hm.MLP(sizes, activation, rng=seed, **more)
        X, y = batch(kind, rows, sizes[0], sizes[-1], seed)
        return Problem(X.astype(network.dtype), y, network, loss)

    return build


def layers(
    make: Callable[[], list[hm.Layer]], loss: Any = "mse_loss", kind: str = "numbers", rows: int = 12
) -> Callable[[], Problem]:
    """Return a function that builds a network of layers whose parameters are all random, and a batch for it."""

    def build() -> Problem:
        network = hm.Network(make())
        network.theta[:] += np.random.default_rng(rows).normal(scale=0.3, size=network.theta.size)
        probe = network.predict(np.zeros((2, network.in_features or 1)))
        X, y = batch(kind, rows, network.in_features or 1, probe.shape[1], rows)
        return Problem(X, y, network, loss)

    return build


# ---- the right steps -----------------------------------------------------------------------------------------------


def sigmoid(A: Array) -> Array:
    """Return the logistic function."""
    return 1 / (1 + np.exp(-A))


def relu(A: Array) -> Array:
    """Return max(A, 0)."""
    return np.maximum(A, 0)


def softmax(A: Array) -> Array:
    """Return the softmax of each row."""
    E = np.exp(A - A.max(axis=1, keepdims=True))
    return E / E.sum(axis=1, keepdims=True)


def one_hot(y: Array, like: Array) -> Array:
    """Return the rows of the identity matrix that the labels name."""
    return np.eye(like.shape[1], dtype=like.dtype)[y]


def right_dW(dA: Array, X: Array, k: int) -> Array:
    """Return the gradient of the weights of layer k."""
    return dA.T @ X


def right_db(dA: Array, k: int) -> Array:
    """Return the gradient of the bias of layer k."""
    return dA.sum(axis=0)


def right_dX(dA: Array, W: Array, k: int) -> Array:
    """Return the gradient of the input of layer k."""
    return dA @ W


def forward(parameters: Parameters, X: Array, f: Callable[[Array], Array]) -> tuple[list[Array], list[Array]]:
    """Return the pre-activations, and the input of each layer followed by the output, f in all layers."""
    A, H = [], [X]
    for W, b in zip(parameters[::2], parameters[1::2], strict=True):
        A.append(H[-1] @ W.T + b)
        H.append(f(A[-1]))
    return A, H


def backward(
    parameters: Parameters,
    H: Sequence[Array],
    dA: Array,
    slope: Callable[[int], Any],
    dW: Callable[[Array, Array, int], Array] = right_dW,
    db: Callable[[Array, int], Array] = right_db,
    dX: Callable[[Array, Array, int], Array] = right_dX,
) -> list[Array]:
    """Return all gradients for the pre-activation gradient dA of the last layer; slope(k) is f' in layer k."""
    gradients: list[Array] = []
    for k in reversed(range(len(parameters) // 2)):
        gradients[:0] = [dW(dA, H[k], k), db(dA, k)]
        if k:
            dA = dX(dA, parameters[2 * k], k) * slope(k - 1)
    return gradients
