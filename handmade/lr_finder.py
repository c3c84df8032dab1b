"""The learning-rate finder: raise the learning rate batch by batch, and see where the loss falls fastest."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._html import html_table
from ._steps import check_optimizer
from ._types import RNG, Array, Loss, Optimizer
from ._validation import as_array, as_generator, check_count, positive
from .network import Network, as_network, check_passes
from .optimizers import Adam

__all__ = ["LearningRateSearch", "find_lr"]

WIDTH = 0.03  # standard deviation of the smoothing, as a fraction of all steps
RECENT = 5  # losses whose mean is compared with the smallest such mean
DIVERGED = 4.0  # times the smallest mean ends the search


@dataclass(frozen=True, eq=False)
class LearningRateSearch:
    """The result of `find_lr`.

    Attributes
    ----------
    lr : ndarray, shape (steps,)
        The learning rate of each step.
    loss : ndarray, shape (steps,)
        The loss of each batch before its step.
    smoothed : ndarray, shape (steps,)
        The losses, averaged over neighbouring steps with Gaussian weights. Other finders average over past steps only,
        which lags behind and suggests learning rates that are too large.
    suggestion : float or None
        The learning rate at which the smoothed loss falls fastest; None if it never falls.
    """

    lr: Array
    loss: Array
    smoothed: Array
    suggestion: float | None

    def __str__(self) -> str:
        where = f"{len(self.lr)} learning rates from {self.lr[0]:.2g} to {self.lr[-1]:.2g}"
        if self.suggestion is None:
            return f"{where}: the loss never falls"
        return f"{where}: the loss falls fastest at {self.suggestion:.2g}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        shown = np.linspace(0, len(self.lr) - 1, min(len(self.lr), 12)).round().astype(int)
        rows = [[f"{self.lr[n]:.2g}", f"{self.loss[n]:.4g}", f"{self.smoothed[n]:.4g}"] for n in shown]
        return html_table(["learning rate", "loss", "smoothed"], rows, str(self))


def find_lr(
    network: Network,
    X: Any,
    y: Any,
    *,
    loss: Loss = "cross_entropy",
    optimizer: Optimizer | None = None,
    start_lr: float = 1e-6,
    end_lr: float = 10.0,
    steps: int = 100,
    batch_size: int | None = 32,
    rng: RNG = None,
) -> LearningRateSearch:
    """Train a copy of the network while the learning rate grows exponentially, and return the losses.

    Smith 2017 (cyclical learning rates). A good learning rate is the suggestion, or a little less.
    `handmade.plots.learning_rates` draws the result.

    Parameters
    ----------
    network : Network
        The network; it is not changed.
    X, y : array_like
        The samples and targets, as for `fit`.
    loss : str, callable, functools.partial or (callable, callable)
        See `handmade.losses.find_loss`.
    optimizer : object with an lr, optional
        The optimizer whose learning rate is searched; Adam() by default. A copy takes the steps.
    start_lr, end_lr : float
        The first learning rate and the last.
    steps : int
        Number of batches. The search ends earlier if the loss grows to four times its smallest value.
    batch_size : int or None
        Samples per batch; None takes all samples.
    rng : optional
        A seed or a numpy.random.Generator; draws the batches.

    Returns
    -------
    LearningRateSearch
        Learning rates, losses and the suggestion.

    Raises
    ------
    ValueError, TypeError
        If the data or an option do not fit, or the loss is not finite at start_lr.

    Examples
    --------
    >>> X, y = hm.load_digits()
    >>> network = hm.MLP([64, 32, 10], rng=0)
    >>> search = hm.find_lr(network, X, y, optimizer=hm.SGD(), rng=0)
    >>> 0.01 < search.suggestion < 1
    True
    """
    check_passes(as_network(network), "find_lr")
    optimizer = copy.deepcopy(Adam() if optimizer is None else optimizer)
    if not hasattr(optimizer, "lr"):
        raise TypeError(f"optimizer: expected an object with an attribute lr, got {optimizer!r}")
    if getattr(optimizer, "needs_evaluate", False):
        raise TypeError(f"optimizer: expected an optimizer of one gradient per step, got {optimizer!r}")
    check_optimizer(optimizer, network)
    start_lr, end_lr = positive(start_lr, "start_lr"), positive(end_lr, "end_lr")
    if not start_lr < end_lr:
        raise ValueError(f"end_lr: expected more than start_lr = {start_lr}, got {end_lr}")
    rates = np.geomspace(start_lr, end_lr, check_count(steps, "steps", least=10))
    X, y = as_array(X, "X"), as_array(y, "y")
    if X.ndim != 2 or y.ndim == 0 or len(X) != len(y):
        raise ValueError(f"y: expected one target per row of X {X.shape}, got shape {y.shape}")
    size = len(X) if batch_size is None else check_count(batch_size, "batch_size")
    batches = _batches(len(X), size, as_generator(rng))
    losses = _losses(copy.deepcopy(network), X, y, loss, optimizer, rates, batches)
    return _result(rates[: len(losses)], np.array(losses), WIDTH * steps)


def _batches(N: int, size: int, rng: np.random.Generator) -> Iterator[Array]:
    """Yield the rows of one batch after another, in a new order in each epoch."""
    while True:
        order = rng.permutation(N)
        for start in range(0, max(N - size, 0) + 1, size):  # no smaller batch at the end
            yield order[start : start + size]


def _losses(
    network: Network, X: Array, y: Array, loss: Loss, optimizer: Any, rates: Array, batches: Iterator[Array]
) -> list[float]:
    """Return the loss before each step, until it diverges."""
    losses: list[float] = []
    smallest = math.inf
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # a loss that diverges ends the search
        for lr, rows in zip(rates, batches, strict=False):
            value, gradient = network.loss_and_gradient(X[rows], y[rows], loss=loss)
            if not math.isfinite(value) or not np.isfinite(gradient).all():
                break
            losses.append(float(value))
            recent = float(np.mean(losses[-RECENT:]))
            smallest = min(smallest, recent)
            if recent > DIVERGED * smallest:
                break
            optimizer.lr = float(lr)
            optimizer.step(network.theta, gradient)
            if not np.isfinite(network.theta).all():
                break
    if len(losses) < 2:
        raise ValueError(f"start_lr: expected a rate with a finite loss, got {rates[0]:g}; choose a smaller one")
    return losses


def _smooth(losses: Array, width: float) -> Array:
    """Return averages weighted by a Gaussian around each; beyond the ends the first and last loss go on."""
    reach = math.ceil(4 * width)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    return np.convolve(np.pad(losses, reach, mode="edge"), weights / weights.sum(), "valid")


def _result(lr: Array, loss: Array, width: float) -> LearningRateSearch:
    """Return the search with its suggestion: the steepest descent of the smoothed loss before its minimum."""
    smoothed = _smooth(loss, width)
    lowest = int(smoothed.argmin())
    slopes = np.gradient(smoothed)[: lowest + 1]  # equal steps of log(lr)
    steepest = int(slopes.argmin())
    suggestion = float(lr[steepest]) if lowest > 0 and slopes[steepest] < 0 else None
    return LearningRateSearch(lr, loss, smoothed, suggestion)
