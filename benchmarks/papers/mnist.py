"""MNIST by plain MLPs without augmentation: every row of the published tables, each an experiment of its own."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

import handmade as hm

from .experiment import Experiment, Group, Report, Row, Run, Size
from .images import MNIST, Images
from .noise import GaussianNoise, UnscaledBatchNorm

__all__ = ["EXPERIMENTS"]

LECUN = "The table of LeCun, Cortes and Burges at yann.lecun.com/exdb/mnist"
SIMARD = "Simard, Steinkraus and Platt, ICDAR 2003"
HINTON = "Hinton, Osindero and Teh, Neural Computation 18:1527-1554, 2006"
SRIVASTAVA = "Srivastava et al., JMLR 15:1929-1958, 2014"
BLOCK = 1000  # test images at a time
CLASSES = 10


@dataclass(frozen=True)
class Recipe:
    """A row: what is published, the network, and how it is trained.

    Parameters
    ----------
    name, text, source : str
        Of the row.
    published : float
        The test error in per cent.
    hidden, activation, output : tuple of int, str, str or None
        The widths and the activation of the hidden layers, and the activation of the outputs.
    loss : str
        ``"cross_entropy"`` on class indices, or ``"mse_loss"`` on targets of 1 for the class and -1 for the others.
    dropout : tuple of two floats
        Of the inputs and of the hidden units.
    max_norm : float
        The bound of each hidden unit's incoming weights; 0 for none.
    normalization : str or None
        Between each hidden layer's weights and its activation; with noise, of a fixed scale.
    noise : float
        The standard deviation of Gaussian noise on the inputs and before each hidden activation.
    lr, weight_decay, batch, epochs : numbers
        AdamW's, the learning rate falling to 0 along half a cosine in so many epochs.
    label_smoothing : float
        Of the cross-entropy.
    patience : int
        Of early stopping on the held-out images, which sets for how many of the epochs is trained; 0 for none.
    compared : int
        For how many epochs the candidates are trained, where that is fewer.
    candidates : tuple of dict
        Other values of these fields, of which the ones with the lowest error on the held-out images are taken.
    runs : int
        How many seeds.
    """

    name: str
    text: str
    source: str
    published: float
    hidden: tuple[int, ...]
    activation: str = "relu"
    output: str | None = None
    loss: str = "cross_entropy"
    dropout: tuple[float, float] = (0.0, 0.0)
    max_norm: float = 0.0
    normalization: str | None = None
    noise: float = 0.0
    lr: float = 0.001
    weight_decay: float = 0.0
    batch: int = 100
    epochs: int = 15
    label_smoothing: float = 0.0
    patience: int = 0
    compared: int = 1000
    candidates: tuple[dict[str, Any], ...] = ({"lr": 0.001}, {"lr": 0.003})
    runs: int = 3


SQUARED = dict(activation="tanh", output="tanh", loss="mse_loss", source=LECUN)
SMOOTHED = ({"label_smoothing": 0.0}, {"label_smoothing": 0.1})
DROPOUT = dict(hidden=(1024, 1024, 1024), dropout=(0.2, 0.5), normalization="batch", batch=200, lr=0.002,
               source=SRIVASTAVA)  # fmt: skip
DECAYED = ({"dropout": (0.2, 0.5)}, {"dropout": (0.1, 0.3), "weight_decay": 0.3, "label_smoothing": 0.1})
RECIPES = (
    Recipe("mnist-linear", "linear", LECUN, 12.0, (), runs=5,
           candidates=({"loss": "mse_loss"}, {"loss": "cross_entropy"})),
    Recipe("mnist-300-mse", "300, squared error", published=4.7, hidden=(300,), **SQUARED),
    Recipe("mnist-300-100-mse", "300-100, squared error", published=3.05, hidden=(300, 100), **SQUARED),
    Recipe("mnist-500-150-mse", "500-150, squared error", published=2.95, hidden=(500, 150), **SQUARED),
    Recipe("mnist-800", "800, cross-entropy", SIMARD, 1.6, (800,), epochs=25, candidates=SMOOTHED),
    Recipe("mnist-800-stopped", "800, cross-entropy, early stopping", HINTON, 1.53, (800,), epochs=40, patience=5,
           candidates=SMOOTHED),
    Recipe("mnist-500-300-decay", "500-300, cross-entropy, weight decay", HINTON, 1.51, (500, 300), epochs=25,
           label_smoothing=0.1, candidates=({"weight_decay": 0.03}, {"weight_decay": 0.3})),
    Recipe("mnist-1000-mse", "1000, squared error", published=4.5, hidden=(1000,), **SQUARED),
    Recipe("mnist-standard", "800-800 logistic, cross-entropy", SRIVASTAVA, 1.6, (800, 800), activation="sigmoid",
           epochs=20, compared=10, label_smoothing=0.1,
           candidates=({"normalization": None}, {"normalization": "batch"})),
    Recipe("mnist-best", "the best here: 1000-500-250-250-250 ReLU, batch normalization, Gaussian noise", SRIVASTAVA,
           0.95, (1000, 500, 250, 250, 250), normalization="batch", noise=0.3, lr=0.002, epochs=60, compared=20,
           candidates=({"noise": 0.3}, {"noise": 0.2})),
    Recipe("mnist-dropout-maxnorm", "3 x 1024 ReLU, dropout, max-norm", published=1.06, epochs=25, compared=10,
           max_norm=2.0, candidates=({"dropout": (0.2, 0.5)}, {"dropout": (0.2, 0.3)},
                                     {"dropout": (0.2, 0.3), "label_smoothing": 0.1}), **DROPOUT),
    Recipe("mnist-dropout-relu", "3 x 1024 ReLU, dropout", published=1.25, epochs=15, compared=4, candidates=DECAYED,
           **DROPOUT),
    Recipe("mnist-dropout-logistic", "3 x 1024 logistic, dropout", published=1.35, activation="sigmoid", epochs=20,
           compared=3, label_smoothing=0.1, candidates=({"dropout": (0.1, 0.1)}, {"dropout": (0.1, 0.2)}),
           **DROPOUT | dict(batch=100, lr=0.003)),
)  # fmt: skip


def build(recipe: Recipe, inputs: int, rng: np.random.Generator) -> hm.Network:
    """Build the network of a row, in float32."""
    sizes, outputs = (inputs, *recipe.hidden, CLASSES), [recipe.output]
    activation = [recipe.activation] * len(recipe.hidden) + outputs
    options = dict(weight_init="xavier_uniform" if recipe.activation != "relu" else "kaiming_uniform",
                   bias_init="zeros", rng=rng, dtype=np.float32)  # fmt: skip
    if not (recipe.dropout[0] or recipe.noise):
        normal = dict(dropout=recipe.dropout[1], normalization=recipe.normalization)
        return hm.MLP(sizes, activation=activation, **normal, **options)
    layers: list[hm.Layer] = [hm.Dropout(recipe.dropout[0], rng=rng)] if recipe.dropout[0] else []
    layers += [GaussianNoise(recipe.noise, rng=rng)] if recipe.noise else []
    normalize = UnscaledBatchNorm if recipe.noise else hm.BatchNorm
    for below, above in pairwise(sizes[:-1]):
        layers.append(hm.Dense(below, above, **options))
        layers += [normalize(above, dtype=np.float32)] if recipe.normalization else []
        layers += [GaussianNoise(recipe.noise, rng=rng)] if recipe.noise else []
        layers.append(hm.Activation(recipe.activation))
        layers += [hm.Dropout(recipe.dropout[1], rng=rng)] if recipe.dropout[1] else []
    return hm.Network([*layers, hm.Dense(sizes[-2], CLASSES, **options)])


def train(
    recipe: Recipe, images: Images, rng: np.random.Generator, report: Report, epochs: int, stop: int = 0
) -> tuple[hm.Network, int]:
    """Train the network of a row on all of ``images.X``; return it with the number of epochs.

    ``epochs`` is the length of the schedule; ``stop`` ends training earlier. With patience, and without ``stop``,
    the images in the place of the test set say when.
    """
    network = build(recipe, images.X.shape[1], rng)
    adam = hm.AdamW(lr=recipe.lr, weight_decay=recipe.weight_decay)
    bounded = [layer.W for layer in network.layers if isinstance(layer, hm.Dense)][:-1]
    optimizer = hm.Chain(adam, hm.MaxNorm(bounded, recipe.max_norm)) if recipe.max_norm else adam
    batches = -(-len(images.X) // recipe.batch)
    options: dict[str, Any] = {}
    if recipe.patience and not stop:
        options = dict(validation=(images.X_test, targets(recipe, images.y_test)), early_stopping=recipe.patience)
    history = hm.fit(
        network, images.X, targets(recipe, images.y), loss=loss_of(recipe), optimizer=optimizer, rng=rng,
        epochs=stop or epochs, batch_size=recipe.batch, schedule=hm.CosineAnnealingLR(optimizer, epochs * batches),
        schedule_every="batch", progress=False,
        callbacks=lambda _, history: report(0, f"epoch {len(history)} of {stop or epochs}: {history.latest()}"),
        **options,
    )  # fmt: skip
    if history.stopped == "interrupted":  # fit returns on Ctrl-C, with what has been learnt so far
        raise KeyboardInterrupt
    return network, len(history) if history.best_epoch is None else history.best_epoch + 1


def targets(recipe: Recipe, y: np.ndarray) -> np.ndarray:
    """Return the labels as the loss takes them."""
    if recipe.loss == "cross_entropy":
        return y
    return (2 * np.eye(CLASSES, dtype=np.float32) - 1)[y]


def loss_of(recipe: Recipe):
    if recipe.loss == "cross_entropy" and recipe.label_smoothing:
        return partial(hm.losses.cross_entropy, label_smoothing=recipe.label_smoothing)
    return recipe.loss


def error(network: hm.Network, X: np.ndarray, y: np.ndarray) -> float:
    """Return the test error in per cent: how often the largest output is not that of the class."""
    return 100 * float(np.mean(network.predict(X, batch_size=BLOCK).argmax(axis=1) != y))


def judge(
    recipe: Recipe, settings: Mapping, rng: np.random.Generator, sweeps: int, report: Report, *, images: Images
) -> Run:
    """Return the error of one candidate on the held-out images and, for early stopping, its best epoch."""
    recipe, part = replace(recipe, **settings), images.for_choices()
    network, epochs = train(recipe, part, rng, report, min(sweeps, recipe.epochs, recipe.compared))
    return {"error": error(network, part.X_test, part.y_test), "epochs": epochs}


def run(
    recipe: Recipe, generators: list[np.random.Generator], sweeps: int, report: Report, *, images: Images,
    choices: list[dict],
) -> list[Run]:  # fmt: skip
    """Train by the best candidate on all training images, and look at the test set once."""
    best = min(choices, key=lambda choice: choice["error"])
    recipe = replace(recipe, **best["settings"])
    runs = []
    for number, rng in enumerate(generators):
        started = time.process_time()
        report_part = partial(_report_part, report, number)
        network, epochs = train(
            recipe, images, rng, report_part, min(sweeps, recipe.epochs), best["epochs"] if recipe.patience else 0
        )
        wrong = error(network, images.X_test, images.y_test)
        minutes = round((time.process_time() - started) / 60, 3)
        runs.append({"row": recipe.name, "data": images.name, "error": wrong, "epochs": epochs, "minutes": minutes,
                     "parameters": network.parameter_count})  # fmt: skip
    return runs


def _report_part(report: Report, number: int, part: float, text: str) -> None:
    report(number + part, text)


def table(recipe: Recipe, runs: list[Run]) -> list[Row]:
    errors, minutes = np.array([run["error"] for run in runs]), sum(run["minutes"] for run in runs)
    mean = errors.mean()
    deviation = f"standard deviation {errors.std(ddof=1):.3f}, " if len(runs) > 1 else ""
    spread = f"{deviation}from {errors.min():.2f} to {errors.max():.2f}; {minutes / 2:.1f} minutes on two cores"
    ours, quantity = f"mean {mean:.3f} %", f"{recipe.text}: test error"
    if runs[0]["data"] != MNIST:
        return [Row(f"{quantity} on {runs[0]['data']}", "-", ours, len(runs), spread)]
    steps = -(-60_000 // recipe.batch) * recipe.epochs
    differs = f"{steps:,} steps of AdamW; a mean over seeds instead of one run"
    met = bool(mean <= recipe.published)
    return [Row(quantity, f"{recipe.published:g} %", ours, len(runs), spread, met, differs)]


def draw(runs: list[Run], figure) -> None:
    """Draw the runs of every row, and the published error if there is one for these images."""
    rows = [recipe for recipe in RECIPES if any(run["row"] == recipe.name for run in runs)]
    rows.sort(key=lambda recipe: -recipe.published)
    figure.set_size_inches(9, 1.6 + 0.4 * len(rows))
    axes = figure.subplots()
    for y, recipe in enumerate(rows):
        mine = [run for run in runs if run["row"] == recipe.name]
        errors = [run["error"] for run in mine]
        first = dict(label="one run of ours, each a seed") if y == 0 else {}
        axes.plot(errors, [y] * len(errors), "o", markersize=6, markerfacecolor="none", color="C0", **first)
        axes.plot(np.mean(errors), y, "|", markersize=16, color="C0", **(dict(label="their mean") if y == 0 else {}))
        if mine[0]["data"] == MNIST:
            axes.plot(recipe.published, y, "x", markersize=8, markeredgewidth=2, color="black",
                      **(dict(label="published") if y == 0 else {}))  # fmt: skip
        axes.axhline(y, color="0.85", linewidth=0.8, zorder=0)
    axes.set(xscale="log", xlabel=f"test error in per cent, {runs[0]['data']}", yticks=range(len(rows)))
    axes.set_yticklabels([recipe.text.split(";")[0] for recipe in rows])
    ticks = [tick for tick in (0.8, 1, 1.5, 2, 3, 5, 8, 12, 20, 40, 80) if _inside(axes.get_xlim(), tick)]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.invert_yaxis()
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)


def _inside(limits: tuple[float, float], value: float) -> bool:
    return limits[0] <= value <= limits[1]


GROUP = Group(
    name="mnist",
    title="MNIST by plain MLPs, one network, no augmentation",
    source=f"{LECUN}; {SIMARD}; {HINTON}; {SRIVASTAVA}",
    recipe=(
        "Pixels from 0 to 1, float32. The candidates of each row are trained on the first 50,000 training images and "
        "judged on the last 10,000; the best is trained anew on all 60,000, once for each seed, and each of these "
        "networks sees the test set once, after training. The hidden layers are as wide as published, tanh for squared "
        "error and else ReLU where the name says nothing; the training is not the published one: AdamW with a learning "
        "rate that falls to 0 along half a cosine, and, where the row or its candidates say so, label smoothing and "
        "batch normalization. The nets with dropout have the widths of a reproduction (1,000,000 steps: 1.12 %). "
        "The best published net, two layers of 8,192 units, has 48 times the weights of the one here, which stands in "
        "its place under its own name, with Gaussian noise (Rasmus et al. 2015, arXiv:1507.02672) and no dropout. "
        "A first recipe of the row of logistic units with dropout (15 epochs in batches of 200, dropout of 0.3 to 0.5, "
        "one seed) came to 3.28 % on the test set, and 6.9 % on the held-out images after 4 epochs; it was replaced, "
        "and its successor chosen by the held-out images alone. "
        "Minutes on two cores are half of the processor time, as two or three rows were trained side by side."
    ),
    draw=draw,
)


def _experiment(recipe: Recipe) -> Experiment:
    first, *_ = recipe.candidates
    chosen = ", ".join(key.replace("_", " ") for key in first)
    smoothing = f", label smoothing {recipe.label_smoothing:g}" if recipe.label_smoothing else ""
    compared = f" over {recipe.compared} epochs" if recipe.compared < recipe.epochs else ""
    return Experiment(
        name=recipe.name,
        title=f"MNIST: {recipe.text}",
        source=recipe.source,
        recipe=(
            f"{recipe.text}; {recipe.epochs} epochs in batches of {recipe.batch}, learning rate {recipe.lr:g}"
            f"{smoothing}; chosen{compared}: {chosen}. Published: {recipe.source}."
        ),
        full=Size(recipe.runs, recipe.epochs),
        quick=Size(1, 8 if not recipe.hidden else 3 if sum(recipe.hidden) <= 1000 else 1),
        chunk=1,
        run=partial(run, recipe),
        table=partial(table, recipe),
        group=GROUP,
        on_images=True,
        candidates=recipe.candidates,
        judge=partial(judge, recipe),
    )


EXPERIMENTS = tuple(_experiment(recipe) for recipe in RECIPES)
