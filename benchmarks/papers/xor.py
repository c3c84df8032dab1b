"""Exclusive or with one hidden unit and direct connections, PDP chapter 8."""

from __future__ import annotations

import numpy as np

import handmade as hm

from .experiment import Experiment, Row, Size
from .recipe import SUMMED, options, patterns, sigmoid_layer, targets
from .variants import VariantsOf

__all__ = ["EXPERIMENT", "PDP", "X", "Y"]

PDP = "Rumelhart, Hinton and Williams, in Parallel Distributed Processing, volume 1, chapter 8, 1986"
X = patterns(2)
Y = np.array([[0.0], [1.0], [1.0], [0.0]])
# Hidden unit: two weights and the bias; output unit: from the two inputs and from the hidden unit, and the bias.
PUBLISHED = [-6.4, -6.4, 2.2, -4.2, -4.2, -9.4, 6.3]


def network(bound: float = 0.3, rng: np.random.Generator | None = None) -> hm.Network:
    start = options(bound, rng)
    return hm.Network([hm.Concatenate(sigmoid_layer(2, 1, **start)), *sigmoid_layer(3, 1, **start)])


def solution() -> hm.Network:
    """Build the network with the published weights."""
    solved = network()
    solved.theta[:] = PUBLISHED
    return solved


ERRORS = {kind: solution().loss_and_gradient(X, wanted, loss=SUMMED)[0] for kind, wanted in targets(Y).items()}
TASK = VariantsOf(
    build=network, X=X, Y=Y, eta=0.5, close=ERRORS, published=558,
    texts={"correct": "all 4 are right", "close": "E is that of the published weights"},
)  # fmt: skip


def table(runs: list[dict]) -> list[Row]:
    outputs = solution().predict(X)[:, 0]
    solved = bool(((outputs > 0.5) == Y[:, 0]).all())
    return [
        Row("outputs at the published weights, for 00, 01, 10, 11", "solves it", ", ".join(f"{y:.3f}" for y in outputs),
            met=solved, differs="the printed weights do not solve it"),
        Row("E there for targets 0 and 1; 0.1 and 0.9", "-", "; ".join(f"{error:.5f}" for error in ERRORS.values())),
        *TASK.rows(runs),
    ]  # fmt: skip


def draw(runs: list[dict], figure) -> None:
    figure.set_size_inches(13, 5.5)
    sweeps, surface = figure.subplots(1, 2)
    TASK.draw(runs, sweeps)
    side = np.linspace(-0.5, 1.5, 101)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    output = solution().predict(grid).reshape(101, 101)
    filled = surface.contourf(side, side, output, levels=np.linspace(0, 1, 11), cmap="Greys")
    surface.contour(side, side, output, levels=[0.5], colors="C3")
    for (a, b), (y,) in zip(X, Y, strict=True):
        surface.plot(a, b, "o", color="white", markeredgecolor="black", markersize=14)
        surface.annotate(f"{y:.0f}", (a, b), ha="center", va="center")
    surface.set(title="output at the published weights", xlabel="input 1", ylabel="input 2", aspect="equal")
    figure.colorbar(filled, ax=surface)


EXPERIMENT = Experiment(
    name="xor",
    title="XOR with one hidden unit and direct connections",
    source=PDP,
    recipe=(
        "Equation 9 with eta = 0.5 on the gradient summed over the four patterns. The initial range, the momentum "
        "and the targets are not known to us: uniform in [-0.3, 0.3] and in [-1, 1], alpha = 0 and 0.9, targets 0 "
        "and 1 and 0.1 and 0.9. Counted are the sweeps until all four are on their side of 0.5, and until E is as "
        "low as at the published weights. All minima of this network are global (Sprinkhuizen-Kuyper and Boers "
        "1996): what is given up is under way."
    ),
    full=Size(1000, 20_000),
    quick=Size(20, 3000),
    chunk=500,
    run=TASK.run,
    table=table,
    draw=draw,
)
