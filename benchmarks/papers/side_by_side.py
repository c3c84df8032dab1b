"""Many small networks of one shape, trained side by side: K networks are one array operation.

A network of nine units is too small to keep a processor busy: its passes are mostly the overhead of calling NumPy.
Here every array has one more axis in front, K: weights (K, O, I), activations (K, N, O). The passes are those of
`handmade.layers` and `handmade.composites`, and the formulas are the library's own: its activations, and its
optimizers on the K vectors theta laid end to end, for they treat every element alike. Each network's numbers are
its own: they do not depend on how many are trained beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

import handmade as hm

Array = np.ndarray
Report = Callable[[float, str], None]


class Dense:
    """A = X Wt + b for each of the K networks; X is (N, I), the same for all, or (K, N, I)."""

    def __init__(self, W: Array, b: Array, dW: Array, db: Array) -> None:
        self.W, self.b, self.dW, self.db = W, b, dW, db

    def forward(self, X: Array) -> Array:
        self.X = X
        A = X @ self.W.mT
        A += self.b[:, np.newaxis]
        return A

    def backward(self, dA: Array, need_dX: bool = True) -> Array | None:
        np.matmul(dA.mT, self.X, out=self.dW)
        dA.sum(axis=1, out=self.db)
        return dA @ self.W if need_dX else None


class Activation:
    """An activation H = f(A). It is elementwise, so the library's functions take the arrays as they are."""

    def __init__(self, layer: hm.Activation) -> None:
        self.layer = layer

    def forward(self, A: Array) -> Array:
        H = self.layer.f(A)
        self.kept = H if self.layer.keeps_H else A
        return H

    def backward(self, dH: Array, need_dX: bool = True) -> Array:
        return self.layer.f_backward(dH, self.kept)


class Sequential:
    """One layer after the other."""

    def __init__(self, layers: Sequence) -> None:
        self.layers = layers

    def forward(self, X: Array) -> Array:
        for layer in self.layers:
            X = layer.forward(X)
        return X

    def backward(self, dH: Array, need_dX: bool = True) -> Array | None:
        for layer in reversed(self.layers):
            dH = layer.backward(dH, need_dX or layer is not self.layers[0])
        return dH


class Concatenate(Sequential):
    """A layer H = [X, chain(X)]."""

    def forward(self, X: Array) -> Array:
        self.skipped = X.shape[-1]
        B = super().forward(X)
        return np.concatenate((np.broadcast_to(X, (*B.shape[:-1], self.skipped)), B), axis=-1)

    def backward(self, dH: Array, need_dX: bool = True) -> Array | None:
        through = super().backward(dH[..., self.skipped :], need_dX)
        return dH[..., : self.skipped] + through if need_dX else None


class Parallel:
    """The input dealt out to groups of layers, their outputs joined."""

    def __init__(self, groups: Sequence[Sequential], widths: Sequence[int]) -> None:
        self.groups = groups
        self.ends = np.cumsum(widths)[:-1]

    def forward(self, X: Array) -> Array:
        parts = np.split(X, self.ends, axis=-1)
        H = [group.forward(part) for group, part in zip(self.groups, parts, strict=True)]
        self.out = np.cumsum([h.shape[-1] for h in H])[:-1]
        return np.concatenate(H, axis=-1)

    def backward(self, dH: Array, need_dX: bool = True) -> Array | None:
        parts = zip(self.groups, np.split(dH, self.out, axis=-1), strict=True)
        dX = [group.backward(part, need_dX) for group, part in parts]
        return np.concatenate(dX, axis=-1) if need_dX else None


class SideBySide:
    """A stack of K networks of one shape, each with its own parameters.

    Parameters
    ----------
    network : handmade.Network
        The shape: Dense (with bias) and Activation layers, chained or in Concatenate and Parallel.
    theta : array_like, shape (K, P)
        The parameters of each, in the order of ``network.theta``. They are copied.

    Attributes
    ----------
    theta, gradient : ndarray, shape (K * P,)
        All parameters end to end, as an optimizer takes them, and the gradient that the last backward pass left.
    """

    def __init__(self, network: hm.Network, theta) -> None:
        self.network = network
        theta = np.asarray(theta, np.float64)
        self.theta, self.gradient = theta.flatten(), np.zeros(theta.size)
        self.count = len(theta)
        self.layers = self._chain(network, zip(self._blocks(self.theta), self._blocks(self.gradient), strict=True))

    def _blocks(self, vector: Array) -> Iterator[Array]:
        """Return one view per parameter: (K, *its shape)."""
        rows, start = vector.reshape(self.count, -1), 0
        for block in self.network.blocks(self.network.theta).values():
            yield rows[:, start : start + block.size].reshape(self.count, *block.shape)
            start += block.size

    def _chain(self, chain: hm.Sequential, blocks: Iterator) -> Sequential:
        return Sequential([self._layer(layer, blocks) for layer in chain.layers])

    def _layer(self, layer: hm.Layer, blocks: Iterator):
        match layer:
            case hm.Dense():
                (W, dW), (b, db) = next(blocks), next(blocks)
                return Dense(W, b, dW, db)
            case hm.Activation():
                return Activation(layer)
            case hm.Concatenate():
                return Concatenate(self._chain(layer, blocks).layers)
            case hm.Parallel():
                widths = [group.in_features for group in layer.groups]
                return Parallel([self._chain(group, blocks) for group in layer.groups], widths)
        raise TypeError(f"SideBySide: expected Dense, Activation, Concatenate or Parallel layers, got {layer!r}")

    def forward(self, X: Array) -> Array:
        """Compute the outputs of all networks: (N, I) or (K, N, I) -> (K, N, O)."""
        return self.layers.forward(X)

    def backward(self, dH: Array) -> None:
        """Write the gradient of every network for its upstream gradient dH, (K, N, O)."""
        self.layers.backward(dH, need_dX=False)

    def parameters(self) -> Array:
        """theta as one row per network, (K, P): a view."""
        return self.theta.reshape(self.count, -1)

    def subset(self, chosen: Array) -> SideBySide:
        """Return some of the networks, with their parameters."""
        return SideBySide(self.network, self.parameters()[chosen])


def optimizer_of(chosen: Array, optimizer: hm.Momentum1986) -> hm.Momentum1986:
    """Return the optimizer of some of the networks, with their part of the velocity."""
    state = optimizer.state_dict()
    state["velocity"] = state["velocity"].reshape(len(chosen), -1)[chosen].flatten()
    smaller = type(optimizer)()
    smaller.load_state_dict(state)
    return smaller


def summed_error(Y: Array) -> Callable[[Array], tuple[Array, Array]]:
    """Return equation 3, E = 1/2 sum (y - d)^2 over cases and outputs, for each network; and equation 4, y - d."""

    def error(H: Array) -> tuple[Array, Array]:
        D = H - Y
        return np.einsum("kno,kno->k", D, D) / 2, D

    return error


@dataclass
class Outcome:
    """The outcome of training K networks.

    Attributes
    ----------
    reached : dict of str to ndarray of int, shape (K,)
        For each goal, the number of sweeps after which it was first met; -1 where it never was.
    theta : ndarray, shape (K, P)
        The parameters in the end: where the last goal was met, or after the last sweep.
    error : ndarray, shape (K,)
        E in the end.
    """

    reached: dict[str, Array]
    theta: Array
    error: Array


Goal = Callable[[Array, Array], Array]


def descend(
    networks: SideBySide,
    X: Array,
    Y: Array,
    optimizer: hm.Momentum1986,
    sweeps: int,
    goals: Mapping[str, Goal],
    report: Report = lambda done, text: None,
) -> Outcome:
    """Do full-batch descent on the summed error; a network leaves when it has met all goals.

    Parameters
    ----------
    networks : SideBySide
        Where they start; unchanged.
    X, Y : ndarray, shape (N, I) and (N, O)
        Cases, the same for all.
    optimizer : Momentum1986
        A new one; its options are used for all.
    sweeps : int
        Give up after so many.
    goals : mapping of str to callable
        ``goal(H, E)`` says of each network whether it is met, from its outputs (K, N, O) and its error (K,).
    report : callable
        Told how many networks have left, and a text.

    Returns
    -------
    Outcome
        In the order of the networks.
    """
    count, error = networks.count, summed_error(Y)
    outcome = Outcome({name: np.full(count, -1) for name in goals}, networks.parameters().copy(), np.empty(count))
    active, running = np.arange(count), networks.subset(np.arange(count))
    for sweep in range(sweeps + 1):
        H = running.forward(X)
        E, dH = error(H)
        for name, goal in goals.items():
            first = active[goal(H, E) & (outcome.reached[name][active] < 0)]
            outcome.reached[name][first] = sweep
        met = np.all([reached[active] >= 0 for reached in outcome.reached.values()], axis=0)
        leaving = met if sweep < sweeps else np.ones_like(met)
        outcome.theta[active[leaving]], outcome.error[active[leaving]] = running.parameters()[leaving], E[leaving]
        if leaving.all():
            break
        running.backward(dH)
        if leaving.any():
            running, gradient = running.subset(~leaving), running.gradient.reshape(running.count, -1)[~leaving]
            running.gradient[:] = gradient.ravel()
            optimizer = optimizer_of(~leaving, optimizer) if optimizer.t else optimizer
            active = active[~leaving]
        optimizer.step(running.theta, running.gradient)
        report(count - len(active), f"sweep {sweep + 1}")
    return outcome
