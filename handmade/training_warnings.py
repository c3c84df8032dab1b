"""Warnings of what keeps a network from learning, each with a cure and at most once in a training."""

from __future__ import annotations

import copy
import math
import warnings
import zlib
from typing import Any

import numpy as np

from ._run_state import RunState
from ._types import Array
from .composites import Sequential
from .layers import Activation
from .network import Network
from .normalization import Normalization

__all__ = ["TrainingWarning", "Watch", "blame", "fault", "not_finite"]

STEPS = 1024  # before the second look
ROWS = 256  # that are looked at
FEWEST = 10  # rows that say anything about labels, inputs or units
LARGE, SMALL = 30.0, 1e-3  # of inputs: pixels from 0 to 255 are above the one; pixels from 0 to 16 are not
DEAD = 0.5  # share of a layer's units
VANISHED, EXPLODED = 1e-5, 1e4  # the gradient at a layer's output, relative to that at the last one


class TrainingWarning(UserWarning):
    """A warning of `handmade.fit` about data, network or training, each kind at most once in a call.

    ``warnings.filterwarnings("ignore", category=hm.TrainingWarning)`` silences all; a message begins with what it is
    about, so that ``message="dead units"`` silences one.

    Examples
    --------
    >>> import warnings
    >>> network = hm.MLP([64, 32, 10], activation=["relu", "softmax"], rng=0)  # cross_entropy computes the softmax
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     history = hm.fit(network, *hm.load_digits(), epochs=1, rng=0, progress=False)
    >>> caught[0].category.__name__, str(caught[0].message)[:14]
    ('TrainingWarning', 'squashed logit')
    """


class Watch:
    """A look at a training before its first step, at the end, and in between after every doubling of the steps.

    A look takes as long as some 30 steps of a small compiled network, so that the first in between comes after `STEPS`
    of them, at the end of an epoch. A fault after the first step is reported once the next look finds it too: a
    training that diverges ends with its error.
    """

    def __init__(self) -> None:
        self.next: float = 0
        self.last: int = 0
        self.suspected: dict[str, str] = {}
        self.seen: set[str] = set()
        self.start: int = 0

    def look(self, run: RunState, ended: bool = False) -> None:
        """Warn, if it is time."""
        epochs, first, earlier = len(run.history), self.next == 0, self.suspected
        steps = epochs * len(run.training) / run.batch_size
        if steps >= self.next or (ended and epochs != self.last):
            self.suspected = dict(_of_data(run) if first else [])
            self.next, self.last = max(STEPS, 2 * steps), epochs
            rows = run.training.rows[:ROWS]
            if first:
                self.start = _digest(run)
            elif _digest(run) == self.start and getattr(run.optimizer, "lr", None) != 0 and not _has_converged(run):
                self.suspected["unchanged parameters"] = (
                    f"the steps of {type(run.optimizer).__name__} leave all parameters as they were, and the gradient "
                    "is not 0; let step(theta, gradient) change theta in place, as theta -= ... and theta[...] = ... do"
                )
            if len(rows) >= FEWEST:
                self.suspected |= _of_layers(run, rows)
        elif not ended:
            return
        for kind, message in self.suspected.items():
            if kind not in self.seen and (first or ended or kind in earlier):
                self.seen.add(kind)
                warnings.warn(f"{kind}: {message}", TrainingWarning, stacklevel=4)


def _has_converged(run: RunState) -> bool:
    """Return whether the gradient is so small that the optimizer takes no step, as L-BFGS does; or 0."""
    return bool(np.abs(run.network.gradient).max(initial=0.0) <= getattr(run.optimizer, "tolerance_grad", 0.0))


def _digest(run: RunState) -> int:
    return zlib.crc32(run.network.theta.data)


def not_finite(network: Network) -> str:
    """Return the name of the first parameter or statistic that is not finite, or an empty string."""
    with np.errstate(all="ignore"):  # a sum is quick, but may overflow
        if math.isfinite(network.theta.sum()) and not network._statistics:
            return ""
        return next((name for name, a in network._state() if not (math.isfinite(a.sum()) or np.isfinite(a).all())), "")


def fault(network: Network) -> str:
    """Return what is wrong with the first parameter or statistic, as "name: expected X, got Y", or an empty string."""
    if name := not_finite(network):
        return f"{name}: expected finite numbers, got others"
    try:
        for prefix, leaf in network.leaves():
            leaf.check_state({name: getattr(leaf, name) for name in leaf.state}, prefix)
    except ValueError as error:
        return str(error).removeprefix("state_dict: ")
    return ""


def blame(network: Network, X: Array) -> str:
    """Return where numbers first cease to be finite in a forward pass."""
    if name := not_finite(network):
        return f"{name} is no longer finite"
    with np.errstate(all="ignore"):
        _, cache = Sequential.forward(copy.deepcopy(network), X, training=True)
    for i, H in enumerate(cache.values[1:]):
        if not np.isfinite(H).all():
            return f"the output of layer {i}, {network.layers[i]!r}, is no longer finite"
    return f"all layers are finite, with outputs up to {np.abs(cache.values[-1]).max():.3g}"


# ---- data ----------------------------------------------------------------------------------------------------------


def _of_data(run: RunState) -> list[tuple[str, str]]:
    """Return what is wrong with inputs, labels and the last layer, as (kind, message)."""
    network, training = run.network, run.training
    functions, depth = network.head(run.loss)
    found = []
    if functions.takes_logits and depth and _gives_probabilities(network.layers[depth - 1]):
        found.append((
            "squashed logits",
            f"{run.loss} takes logits and computes their probabilities itself, but the network ends with "
            f"{network.layers[depth - 1]!r}: it will learn slowly and badly; leave that layer out",
        ))  # fmt: skip
    if len(training) < FEWEST:
        return found
    y = training.y
    if np.array_equal(y[training.rows], np.broadcast_to(y[training.rows[0]], y[training.rows].shape)):
        found.append((
            "constant targets", f"all {len(training)} targets are {y[training.rows[0]]}: there is nothing to learn; "
            "check how y was loaded or split",
        ))  # fmt: skip
    X = np.asarray(training.X[np.sort(training.rows[:ROWS])], np.float64)
    size = np.abs(X).max(axis=0)
    if not isinstance(network.layers[0], Normalization) and not SMALL <= size.max() <= LARGE and size.any():
        found.append((
            "unscaled inputs",
            f"column {size.argmax()} of X has values up to {size.max():.3g} in size, which "
            f"{'saturate or overthrow' if size.max() > LARGE else 'hardly reach'} the first layer; scale X, e.g. "
            "(X - X.mean(axis=0)) / X.std(axis=0), or begin with a BatchNorm layer",
        ))  # fmt: skip
    return found


def _gives_probabilities(layer: Any) -> bool:
    """Return whether the outputs of an activation stay within 0 and 1, whatever goes in."""
    if not isinstance(layer, Activation):
        return False
    extremes = np.concatenate([1e3 * np.eye(3), -1e3 * np.eye(3), np.full((1, 3), 1e3), np.full((1, 3), -1e3)])
    H = layer.predict(extremes)
    return bool(H.min() >= 0 and H.max() <= 1)


# ---- layers --------------------------------------------------------------------------------------------------------


def _of_layers(run: RunState, rows: Array) -> list[tuple[str, str]]:
    """Return what is wrong with units and gradients, by one pass of a copy in training mode, as (kind, message)."""
    network = copy.deepcopy(run.network)
    X = np.asarray(run.training.X[rows], network.dtype)
    try:
        with np.errstate(all="ignore"):
            _, cache = Sequential.forward(network, X, training=True)
            _, dH, cache = network.loss_of(cache, run.training.y[rows], run.loss)
            gradients, dead = _backward(network, dH, cache)
    except (ValueError, TypeError):  # a loss with a weight for each row of a batch takes no other number of rows
        return []
    found = []
    for i, share in dead.items():
        if share > DEAD:
            found.append((
                "dead units",
                f"{share:.0%} of the units of layer {i}, {network.layers[i]!r}, have the derivative 0 for each of "
                f"{len(rows)} samples, and no longer learn; lower the learning rate, check bias_init, or use "
                "leaky_relu",
            ))  # fmt: skip
    return found or _of_gradients(network, gradients)


def _backward(network: Network, dH: Any, cache: Any) -> tuple[dict[int, float], dict[int, float]]:
    """Return the size of the gradient at the output of each layer with parameters; each activation's dead share."""
    sizes, dead = {}, {}
    for i in reversed(range(len(cache.layers))):
        layer = network.layers[i]
        if any(leaf.parameters for _, leaf in layer.leaves()):
            sizes[i] = float(np.sqrt(np.mean(np.square(dH, dtype=np.float64))))
        if isinstance(layer, Activation) and layer.is_elementwise and i + 1 < len(network.layers):
            slopes = layer.backward(np.ones_like(dH), cache.layers[i])
            dead[i] = float(np.mean(~np.any(slopes, axis=0)))
        if i:
            dH = layer.backward(dH, cache.layers[i])
    return sizes, dead


def _of_gradients(network: Network, sizes: dict[int, float]) -> list[tuple[str, str]]:
    """Return whether the gradient vanishes or explodes from the last layer to the first."""
    top = sizes[max(sizes)] if sizes else 0.0
    if not (np.isfinite(top) and top > 0):
        return []
    found = []
    low, high = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
    place = "the gradient at the output of layer {i}, {layer!r}, is {size:.0e} times that at the last layer"
    if sizes[low] < VANISHED * top:
        said = place.format(i=low, layer=network.layers[low], size=sizes[low] / top)
        cure = "that layer hardly learns; use relu or tanh with weight_init='kaiming_normal' or 'xavier_normal', "
        found.append(("vanishing gradients", f"{said}: {cure}normalization='batch', Residual, or fewer layers"))
    if sizes[high] > EXPLODED * top:
        said = place.format(i=high, layer=network.layers[high], size=sizes[high] / top)
        found.append((
            "exploding gradients", f"{said}; use smaller weights (weight_init), normalization='batch', or "
            "hm.Chain(hm.ClipGradNorm(1.0), optimizer)",
        ))  # fmt: skip
    return found
