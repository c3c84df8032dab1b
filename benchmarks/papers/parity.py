"""Parity of four bits, PDP chapter 8: is the number of ones odd? Four hidden units."""

from __future__ import annotations

from .experiment import Experiment, Size
from .recipe import mlp, patterns, targets
from .variants import VariantsOf
from .xor import PDP

__all__ = ["EXPERIMENT"]

X = patterns(4)
Y = X.sum(axis=1, keepdims=True) % 2
CLOSE = len(X) * 0.1**2 / 2  # E of outputs that are all 0.1 from their targets
TASK = VariantsOf(
    build=mlp(4, 4, 1), X=X, Y=Y, eta=0.5, close=dict.fromkeys(targets(Y), CLOSE), published=2825,
    texts={"correct": "all 16 are right", "close": f"E is {CLOSE:.2f}, outputs 0.1 off"},
)  # fmt: skip


def draw(runs: list[dict], figure) -> None:
    figure.set_size_inches(8, 5.5)
    TASK.draw(runs, figure.subplots())


EXPERIMENT = Experiment(
    name="parity",
    title="Parity of four bits, 4-4-1",
    source=PDP,
    recipe=(
        "Equation 9 with eta = 0.5 on the gradient summed over the 16 patterns. The initial range, the momentum and "
        "the targets are not known to us: uniform in [-0.3, 0.3] and in [-1, 1], alpha = 0 and 0.9, targets 0 and 1 "
        "and 0.1 and 0.9. Counted are the sweeps until all 16 are on their side of 0.5, and until E is that of "
        "outputs all 0.1 from their targets."
    ),
    full=Size(500, 10_000),
    quick=Size(10, 3000),
    chunk=100,
    run=TASK.run,
    table=TASK.rows,
    draw=draw,
)
