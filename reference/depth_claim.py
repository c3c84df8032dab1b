"""The statement that more than three layers gain nothing, tested with four kinds of networks of growing depth."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import handmade as hm
from handmade.progress import progress_bar
from handmade.protocols import Array

from .claim import Claim

__all__ = ["KINDS", "QUICK", "Effort", "depth", "train"]


@dataclasses.dataclass(frozen=True)
class Effort:
    """The amount of training: the depths, the number of random splits of the data, and the epochs of each network."""

    depths: tuple[int, ...]
    repeats: int
    epochs: int


FULL = Effort((1, 2, 3, 5, 8), repeats=8, epochs=20)
QUICK = Effort((1, 2, 8), repeats=3, epochs=5)
WIDTH = 32
CLEAR = 3  # standard errors; with eight splits, one in a hundred gains of zero exceeds three by chance


def _plain(depth: int, rng: np.random.Generator, **options: Any) -> hm.Network:
    return hm.MLP([64] + [WIDTH] * depth + [10], rng=rng, **options)


def _residual(depth: int, rng: np.random.Generator) -> hm.Network:
    dense, relu = functools.partial(hm.Dense, rng=rng), functools.partial(hm.Activation, "relu")
    blocks = [hm.Residual([hm.LayerNorm(WIDTH), relu(), dense(WIDTH, WIDTH)]) for _ in range(depth - 1)]
    return hm.Network([dense(64, WIDTH), *blocks, relu(), dense(WIDTH, 10)])


# The plain kinds have the initial weights that were derived for them (Glorot and Bengio 2010, He et al. 2015).
KINDS: dict[str, Callable[..., hm.Network]] = {
    "sigmoid": functools.partial(_plain, activation="sigmoid", weight_init="xavier_uniform", bias_init="zeros"),
    "ReLU": functools.partial(_plain, activation="relu", weight_init="kaiming_uniform", bias_init="zeros"),
    "ReLU, batch normalization": functools.partial(_plain, activation="relu", normalization="batch"),
    "ReLU, layer normalization, residual": _residual,
}


def _accuracies(effort: Effort, rng: np.random.Generator) -> Array:
    """Return validation and test accuracy, shape (repeats, kinds, depths, 2); each repeat splits the digits anew."""
    scores = np.empty((effort.repeats, len(KINDS), len(effort.depths), 2))
    grid = list(itertools.product(enumerate(KINDS.items()), enumerate(effort.depths)))
    with progress_bar("training", scores[..., 0].size) as report:
        for repeat in range(effort.repeats):
            X, X_test, y, y_test = hm.train_test_split(*hm.load_digits(), test_size=0.25, rng=rng)
            X, X_valid, y, y_valid = hm.train_test_split(X, y, test_size=0.25, rng=rng)
            held_out = (X_valid, y_valid), (X_test, y_test)
            for done, ((k, (kind, build)), (d, depth)) in enumerate(grid, repeat * len(grid) + 1):
                network = build(depth, rng)
                train(network, X, y, optimizer=hm.Adam(lr=3e-3), epochs=effort.epochs, rng=rng)
                scores[repeat, k, d] = [hm.metrics.accuracy(network.predict(A), labels) for A, labels in held_out]
                report(done, f"{kind}, depth {depth}")
    return scores


def _mean_and_error(values: Array) -> tuple[Array, Array]:
    """Return mean and standard error over the repeats."""
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))


def _gain(scores: Array, depths: Sequence[int]) -> Array:
    """Return the test accuracy of the best deeper network less that of the best with 2 or 3 layers, (repeats, kinds).

    The validation data choose the best depth of each group, because the test data must not.
    """
    validation, test = np.moveaxis(scores, -1, 0)
    best: list[Array] = []
    for group in np.isin(depths, (2, 3)), np.array(depths) > 3:
        chosen = validation[..., group].argmax(axis=-1, keepdims=True)
        best.append(np.take_along_axis(test[..., group], chosen, axis=-1)[..., 0])
    gain: Array = best[1] - best[0]
    return gain


def depth(rng: np.random.Generator, effort: Effort = FULL) -> Claim:
    """Train four kinds of networks on the digits, from shallow to deep, and test whether more than 3 layers gain."""
    scores = _accuracies(effort, rng)
    accuracy, error = _mean_and_error(100 * scores[..., 1])
    gain, gain_error = _mean_and_error(100 * _gain(scores, effort.depths))
    best = np.array(effort.depths)[accuracy.argmax(axis=1)]
    clear = int((gain > CLEAR * gain_error).sum())
    rows = [
        f"{kind}: {', '.join(f'{a:.1f} ({e:.1f})' for a, e in zip(accuracy[k], error[k], strict=True))}; best deeper "
        f"less best of 2-3: {gain[k]:+.1f} ({gain_error[k]:.1f})."
        for k, kind in enumerate(KINDS)
    ]
    return Claim(
        10,
        "Performance usually tops out at 2-3 layers, deeper networks don't really improve performance",
        "false" if clear else "true",
        f"On the bundled digits, per cent right in the test, mean (standard error) over {effort.repeats} splits after "
        f"{effort.epochs} epochs, with {', '.join(map(str, effort.depths))} hidden layers of {WIDTH} units. "
        f"{' '.join(rows)} The best means are at depth {', '.join(map(str, best))}. Deeper gains more than {CLEAR} "
        f"standard errors in {clear} of {len(KINDS)} kinds. One small data set, one width, one learning rate: no word "
        f"on others.",
        {f"{kind}, {d}": float(accuracy[k, i]) for k, kind in enumerate(KINDS) for i, d in enumerate(effort.depths)}
        | {f"{kind}, deeper less 2-3": float(gain[k]) for k, kind in enumerate(KINDS)}
        | {f"{kind}, its standard error": float(gain_error[k]) for k, kind in enumerate(KINDS)}
        | {"clear gains": clear},
    )


def train(network: hm.Network, X: Array, y: Array, **options: Any) -> None:
    """Train without a progress bar; raise KeyboardInterrupt after Ctrl-C, because half a training is no evidence."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hm.TrainingWarning)  # a claim measures what vanishing gradients do
        history = hm.fit(network, X, y, progress=False, **options)
    if history.stopped == "interrupted":
        raise KeyboardInterrupt
