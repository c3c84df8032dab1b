"""The number of hidden layers: a test of "performance usually tops out at 2-3 layers" with one to eight layers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import partial
from itertools import product

import numpy as np

import handmade as hm

from . import images
from .experiment import Experiment, Group, Report, Row, Run, Size, share
from .images import DIGITS, Images

__all__ = ["EXPERIMENTS"]

ACTIVATIONS = ("sigmoid", "relu")
KINDS = ("plain", "normalized", "residual", "normalized residual")
SIZES = ("width", "budget")  # what is equal at all depths
DEPTHS, RATES = range(1, 9), (0.001, 0.003, 0.01)
SHORT = 10  # epochs; fewer are a trial run: at three depths, with the middle rate
BUDGET_DEPTH = 3  # the depth at which equal width and equal budget are the same network
TRAINED = 6_000  # training images at most
WIDTHS = {DIGITS: 32}  # of the hidden layers; 64 for larger images
BATCHES = {DIGITS: 32}  # 100 for more images
CLASSES = 10
SURE = 3  # standard errors: as the best of six other depths is taken, it would often be two ahead by chance


def parameters(inputs: int, width: int, depth: int) -> int:
    """Return the number of weights and biases with ``depth`` hidden layers, without those of a normalization.

    Examples
    --------
    >>> parameters(64, 32, 3) == hm.MLP([64, 32, 32, 32, 10]).parameter_count
    True
    """
    return (inputs + 1) * width + (depth - 1) * (width + 1) * width + (width + 1) * CLASSES


def width_within(budget: int, inputs: int, depth: int) -> int:
    """Return the largest width whose parameters are within the budget.

    Examples
    --------
    >>> budget = parameters(64, 32, 3)
    >>> [width_within(budget, 64, depth) for depth in (1, 3, 8)]
    [60, 32, 20]
    """
    width = 1
    while parameters(inputs, width + 1, depth) <= budget:
        width += 1
    return width


def build(activation: str, kind: str, inputs: int, width: int, depth: int, rng: np.random.Generator) -> hm.Network:
    """Build a network of equally wide hidden layers, with skip connections around all but the first if residual."""
    start = "xavier_uniform" if activation == "sigmoid" else "kaiming_uniform"  # each by its authors' rule
    options = dict(weight_init=start, bias_init="zeros", rng=rng, dtype=np.float32)

    def hidden(below: int) -> list[hm.Layer]:
        normal = [hm.BatchNorm(width, dtype=np.float32)] if "normalized" in kind else []
        return [hm.Dense(below, width, **options), *normal, hm.Activation(activation)]

    layers = hidden(inputs)
    for _ in range(depth - 1):
        layers += [hm.Residual(hidden(width))] if "residual" in kind else hidden(width)
    return hm.Network([*layers, hm.Dense(width, CLASSES, **options)])


def grid(sweeps: int) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return the depths and the learning rates."""
    return ((1, 3, 8), RATES[1:2]) if sweeps < SHORT else (tuple(DEPTHS), RATES)


def networks(inputs: int, width: int, depths: tuple[int, ...]) -> Iterator[tuple[str, str, str, int, int]]:
    """Return activation, kind, what is equal, depth and width of each network; one layer is never skipped."""
    budget = parameters(inputs, width, BUDGET_DEPTH)
    for activation, kind, size, depth in product(ACTIVATIONS, KINDS, SIZES, depths):
        if depth > 1 or "residual" not in kind:
            yield activation, kind, size, depth, width if size == "width" else width_within(budget, inputs, depth)


def split(data: Images, rng: np.random.Generator) -> tuple[Images, np.ndarray, np.ndarray]:
    """Return the training images, with validation images instead of a test set; and the test set.

    All digits are dealt out anew, as they are few; of more images some are drawn from those not held out.
    """
    if data.name == DIGITS:
        X, y = np.concatenate([data.X, data.X_test]), np.concatenate([data.y, data.y_test])
        X, X_test, y, y_test = hm.train_test_split(X, y, len(data.X_test), stratify=True, rng=rng)
        X, X_held, y, y_held = hm.train_test_split(X, y, len(data.X_test), stratify=True, rng=rng)
        return Images(data.name, X, y, X_held, y_held), X_test, y_test
    part = data.for_choices()
    drawn = rng.permutation(len(part.X))[:TRAINED]
    return Images(data.name, part.X[drawn], part.y[drawn], part.X_test, part.y_test), data.X_test, data.y_test


def wrong(network: hm.Network, X: np.ndarray, y: np.ndarray) -> float:
    return 100 * float(np.mean(network.predict(X).argmax(axis=1) != y))


def train(network: hm.Network, part: Images, rate: float, epochs: int, rng: np.random.Generator) -> float:
    """Train, and return the error on the images held out, in per cent; of a network that diverges, from before."""
    batch = BATCHES.get(part.name, 100)
    optimizer = hm.Adam(lr=rate)
    schedule = hm.CosineAnnealingLR(optimizer, epochs * (len(part.X) // batch))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", hm.TrainingWarning)  # vanishing gradients are what is measured
            history = hm.fit(
                network, part.X, part.y, optimizer=optimizer, schedule=schedule, schedule_every="batch", epochs=epochs,
                batch_size=batch, drop_last=True, rng=rng, progress=False,
            )  # fmt: skip
    except FloatingPointError:
        return wrong(network, part.X_test, part.y_test)
    if history.stopped == "interrupted":
        raise KeyboardInterrupt
    return wrong(network, part.X_test, part.y_test)


def run(generators: list[np.random.Generator], sweeps: int, report: Report, *, images: Images) -> list[Run]:
    return [one_run(rng, sweeps, partial(_report_part, report, k), images) for k, rng in enumerate(generators)]


def _report_part(report: Report, number: int, part: float, text: str) -> None:
    report(number + part, text)


def one_run(rng: np.random.Generator, sweeps: int, report: Report, data: Images) -> Run:
    """Train every network of the grid with the learning rate that is best on the held-out images."""
    part, X_test, y_test = split(data, rng)
    depths, rates = grid(sweeps)
    inputs, seed = part.X.shape[1], int(rng.integers(2**32))
    every = list(networks(inputs, WIDTHS.get(data.name, 64), depths))
    found: dict[tuple, list] = {}
    results = []
    for number, (activation, kind, size, depth, width) in enumerate(every):
        key = activation, kind, depth, width
        if key not in found:  # else it has been trained: equal width and equal budget meet at one depth
            report(0, f"network {number + 1} of {len(every)}: {depth} x {width} {activation}, {kind}")
            tried = []
            for rate in rates:
                network = build(activation, kind, inputs, width, depth, np.random.default_rng(seed))
                tried.append((train(network, part, rate, sweeps, np.random.default_rng(seed + 1)), rate, network))
            held_out, rate, network = min(tried, key=lambda trial: trial[:2])
            found[key] = [rate, round(held_out, 3), round(wrong(network, X_test, y_test), 3)]
        results.append([activation, kind, size, depth, width, *found[key]])
    return {"data": data.name, "networks": results}


def curve(runs: list[Run], activation: str, kind: str, size: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the depths and the test errors, (runs, depths), of one kind of network. One layer is never skipped."""
    wanted = {(activation, kind, size), (activation, kind.replace("residual", "").strip() or "plain", size)}
    errors = []
    for found in runs:
        errors.append({})
        for *own, depth, _, _, _, error in found["networks"]:
            if tuple(own) in wanted and (depth == 1 or own[1] == kind):
                errors[-1][depth] = error
    depths = sorted(errors[0])
    return np.array(depths), np.array([[error[depth] for depth in depths] for error in errors])


def compare(errors: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Return the mean of the differences, run by run, and its standard error."""
    difference = other - errors
    return float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(len(difference)))


def verdict(depths: np.ndarray, errors: np.ndarray) -> tuple[bool, str, bool]:
    """Decide whether 2-3 layers are best; return also the depth that beats them, and whether eight do worse.

    Beats: by more than `SURE` standard errors of the difference within a run.
    """
    candidates = [i for i, depth in enumerate(depths) if depth in (2, 3)]
    best = min(candidates, key=lambda i: errors[:, i].mean())
    against = {int(depth): compare(errors[:, best], errors[:, i]) for i, depth in enumerate(depths) if i != best}
    depth = min(against, key=lambda depth: against[depth][0])
    mean, error = against[depth]
    mean_last, error_last = against[int(depths[-1])]
    said = f"{_layers(depth)}: lower by {-mean:.2f}, standard error {error:.2f}"
    return not mean < -SURE * error, said, mean_last > SURE * error_last


def _layers(depth: int) -> str:
    return f"{depth} layer{'s' if depth > 1 else ''}"


def table(runs: list[Run]) -> list[Row]:
    count, data = len(runs), runs[0]["data"]
    rows, holds, worse = [], 0, 0
    for activation, kind, size in product(ACTIVATIONS, KINDS, SIZES):
        depths, errors = curve(runs, activation, kind, size)
        means = errors.mean(axis=0)
        ours = f"lowest at {_layers(depths[means.argmin()])}"
        means_of = ", ".join(f"{depth}: {mean:.2f}" for depth, mean in zip(depths, means, strict=True))
        met, said = None, ""
        if count > 1:
            met, said, last = verdict(depths, errors)
            holds, worse = holds + met, worse + last
            widest = (errors.std(axis=0, ddof=1) / np.sqrt(count)).max()
            means_of += f" (standard errors up to {widest:.2f})"
        rows.append(Row(f"{data}: {activation}, {kind}, equal {size}", "tops out at 2-3 layers", ours, count,
                        f"mean error by layers: {means_of} %", met, said))  # fmt: skip
    if count > 1:
        rows += [
            Row(f"{data}: of {len(rows)} such rows, those where no other depth beats 2 and 3 layers", "usually",
                share(holds, len(rows)), count, "", holds > len(rows) / 2, "other depths win more often than not"),
            Row(f"{data}: those where the better of 2 and 3 layers beats {depths[-1]}", "-", share(worse, len(rows)),
                count),
        ]  # fmt: skip
    return rows


STYLES = dict(zip(KINDS, (("#000000", "o", "-"), ("#0072B2", "s", "--"), ("#D55E00", "^", "-."),
                          ("#009E73", "D", ":")), strict=True))  # fmt: skip


def draw(runs: list[Run], figure) -> None:
    """Draw the mean test error against the depth, in a row of pictures for each set of images."""
    names = list(dict.fromkeys(run["data"] for run in runs))
    figure.set_size_inches(14, 0.4 + 3.8 * len(names))
    columns = list(product(ACTIVATIONS, SIZES))
    for row, name in zip(figure.subplots(len(names), 4, squeeze=False), names, strict=True):
        mine = [run for run in runs if run["data"] == name]
        for axes, (activation, size) in zip(row, columns, strict=True):
            for kind, (color, marker, line) in STYLES.items():
                depths, errors = curve(mine, activation, kind, size)
                bars = errors.std(axis=0, ddof=1) / np.sqrt(len(mine)) if len(mine) > 1 else None
                axes.errorbar(depths, errors.mean(axis=0), bars, color=color, marker=marker, linestyle=line,
                              markersize=4, capsize=2, label=kind)  # fmt: skip
            axes.set(xticks=depths, title=f"{name}: {activation}, equal {size}", xlabel="hidden layers", yscale="log")
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("{x:g}")
            axes.tick_params(axis="y", which="minor", labelsize=7)
        row[0].set_ylabel("test error in per cent")
    figure.legend(*row[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(KINDS))


GROUP = Group(
    name="depth",
    title="One to eight hidden layers",
    source='The sentence "Performance usually tops out at 2-3 layers", from a lecture on multi-layer perceptrons',
    recipe=(
        "Hidden layers of equal width in each network: the same width at all depths, or the width at which all have "
        f"the parameters of {BUDGET_DEPTH} layers at that width. Each with and without batch normalization, and with "
        "and without residual connections around each hidden layer but the first. Cross-entropy, Adam with a learning "
        f"rate that falls to 0 along half a cosine; each network is trained with {', '.join(map(str, RATES))}, and the "
        "one that is best on images held out is judged on the test set. A depth beats another where the mean "
        f"difference within a run is over {SURE} standard errors; met where none beats the better of 2 and 3 layers."
    ),
    draw=draw,
)


def _on_digits(generators: list[np.random.Generator], sweeps: int, report: Report) -> list[Run]:
    return run(generators, sweeps, report, images=images.read(None))


EXPERIMENTS = (
    Experiment(
        name="depth-digits",
        title="One to eight hidden layers, the bundled digits",
        source=GROUP.source,
        recipe=(
            f"width {WIDTHS[DIGITS]}, 20 epochs in batches of {BATCHES[DIGITS]}; 1,077 digits to train on, 360 to "
            "choose by, 360 to test on, dealt out anew in each run."
        ),
        full=Size(5, 20),
        quick=Size(1, 8),
        chunk=1,
        run=_on_digits,
        table=table,
        group=GROUP,
    ),
    Experiment(
        name="depth-mnist",
        title="One to eight hidden layers, MNIST",
        source=GROUP.source,
        recipe=(
            "width 64, 10 epochs in batches of 100; 6,000 images to train on, drawn in each run from the first "
            "50,000, the last 10,000 to choose by, the whole test set."
        ),
        full=Size(3, 10),
        quick=Size(1, 3),
        chunk=1,
        run=run,
        table=table,
        group=GROUP,
        on_images=True,
    ),
)
