"""The encoder 8-3-8, PDP chapter 8: eight patterns through three hidden units, which must find a code."""

from __future__ import annotations

import numpy as np

import handmade as hm

from .experiment import Experiment, Report, Row, Size, five_numbers, median, share
from .recipe import all_correct, at_most, learn, mlp
from .xor import PDP

__all__ = ["EXPERIMENT"]

X = np.eye(8)
ETA, BOUND = 0.5, 0.3
CLOSE = X.size * 0.1**2 / 2  # E of outputs that are all 0.1 from their targets


def run(generators: list[np.random.Generator], sweeps: int, report: Report) -> list[dict]:
    networks = [mlp(8, 3, 8)(BOUND, rng) for rng in generators]
    goals = {"correct": all_correct(X), "close": at_most(CLOSE)}
    outcome = learn(networks, X, X, hm.Momentum1986(lr=ETA, momentum=0.0), sweeps, goals, report)
    counts = [{name: int(reached[k]) for name, reached in outcome.reached.items()} for k in range(len(networks))]
    return [found | {"codes": codes(theta).tolist()} for found, theta in zip(counts, outcome.theta, strict=True)]


def codes(theta: np.ndarray) -> np.ndarray:
    """Return the activations of the three hidden units for the eight patterns, (8, 3)."""
    network = mlp(8, 3, 8)()
    network.theta[:] = theta
    return np.round(hm.activations.sigmoid(network.layers[0].predict(X)), 3)


def values(found) -> np.ndarray:
    """Return the nearest of 0, 1/2 and 1 for each activation."""
    return np.round(np.array(found) * 2) / 2


def table(runs: list[dict]) -> list[Row]:
    count = len(runs)
    learnt = [run for run in runs if run["close"] >= 0]
    correct, close = ([run[goal] for run in runs if run[goal] >= 0] for goal in ("correct", "close"))
    nearest = [values(run["codes"]) for run in learnt]
    distinct = sum(len(np.unique(code, axis=0)) == 8 for code in nearest)
    halves = np.array([(code == 0.5).sum() for code in nearest])
    far = np.array([np.abs(code - run["codes"]).max() for code, run in zip(nearest, learnt, strict=True)])
    rows = [
        Row("runs that learn it", "it is learnt", share(len(learnt), count), count, "", len(learnt) > count / 2,
            "most runs do not"),
        *(Row(f"sweeps until {text}", "-", median(counts), count,
              five_numbers(counts))
          for text, counts in (("all 64 outputs are right", correct), (f"E is {CLOSE:.2f}, outputs 0.1 off", close))),
        Row("learnt codes of 0, 1/2 and 1 that are all different", "8 codes, some with intermediate values",
            share(distinct, len(learnt)), len(learnt)),
    ]  # fmt: skip
    if learnt:
        rows += [
            Row("of the 24 activations, nearest to 1/2", "-", median(halves), len(learnt),
                five_numbers(halves)),
            Row("largest distance of an activation from 0, 1/2 or 1", "-", median(far), len(learnt),
                five_numbers(far)),
        ]  # fmt: skip
    return rows


def draw(runs: list[dict], figure) -> None:
    figure.set_size_inches(11, 4)
    first, all_codes, sweeps = figure.subplots(1, 3, width_ratios=(1, 2, 2))
    learnt = [run for run in runs if run["close"] >= 0] or runs
    code = np.array(learnt[0]["codes"])
    first.imshow(code, cmap="Greys", vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(code):
        first.annotate(f"{value:.2f}", (column, row), ha="center", va="center", color="C3")
    first.set(xticks=range(3), yticks=range(8), xlabel="hidden unit", ylabel="pattern")
    first.set_title(f"the code of run {runs.index(learnt[0])}")
    all_codes.hist(np.ravel([run["codes"] for run in learnt]), bins=50, color="0.6")
    all_codes.set(xlabel="activation of a hidden unit", ylabel="count, all learnt runs")
    sweeps.hist([run["close"] for run in learnt], bins=40, color="0.6")
    sweeps.set(xlabel=f"sweeps until E = {CLOSE:.2f}", ylabel="runs")


EXPERIMENT = Experiment(
    name="encoder",
    title="The encoder, 8-3-8",
    source=PDP,
    recipe=(
        "Eight patterns of one unit each are to come out as they went in. Gradient descent with eta = 0.5 on the "
        "summed gradient, without momentum, from uniform weights in [-0.3, 0.3], until E is that of outputs all 0.1 "
        "from their targets."
    ),
    full=Size(500, 20_000),
    quick=Size(10, 5000),
    chunk=100,
    run=run,
    table=table,
    draw=draw,
)
