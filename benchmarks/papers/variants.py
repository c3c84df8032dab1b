"""The variants of an experiment whose paper leaves start, momentum and targets open: every combination of two."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np

import handmade as hm

from .experiment import Report, Row, five_numbers, median, part_of, share, within_ninety_percent
from .recipe import all_correct, at_most, learn, targets

__all__ = ["VARIANTS", "VariantsOf"]

# [-0.3, 0.3], 0.9, and the two kinds of targets are those of the other experiments of 1986.
VARIANTS = {
    f"[-{bound}, {bound}], alpha = {momentum}, targets {kind}": (bound, momentum, kind)
    for bound, momentum, kind in product((0.3, 1.0), (0.0, 0.9), ("0 and 1", "0.1 and 0.9"))
}


@dataclass(frozen=True)
class VariantsOf:
    """A task learnt in every variant, beside one published number of sweeps.

    Parameters
    ----------
    build : callable
        ``build(bound, rng)`` makes a network.
    X, Y : ndarray
        The cases.
    eta : float
        The learning rate, on the summed gradient.
    close : mapping of str to float
        For each kind of targets the error at which learning ends.
    published : int
        Sweeps, in print.
    texts : mapping of str to str
        What the goals "correct" and "close" mean here.
    """

    build: Callable[..., hm.Network]
    X: np.ndarray
    Y: np.ndarray
    eta: float
    close: Mapping[str, float]
    published: int
    texts: Mapping[str, str]

    def run(self, generators: list[np.random.Generator], sweeps: int, report: Report) -> list[dict]:
        """Return, for each goal, the sweeps it took in each variant, in their order; -1 if it was not met."""
        runs: list[dict] = [{goal: [] for goal in self.texts} for _ in generators]
        for i, (bound, momentum, kind) in enumerate(VARIANTS.values()):
            start = [self.build(bound, rng) for rng in generators]
            goals = {"correct": all_correct(self.Y), "close": at_most(self.close[kind])}
            optimizer, Y = hm.Momentum1986(lr=self.eta, momentum=momentum), targets(self.Y)[kind]
            report_part = part_of(report, i, len(VARIANTS), len(runs))
            outcome = learn(start, self.X, Y, optimizer, sweeps, goals, report_part)
            for k, found in enumerate(runs):
                for goal, reached in outcome.reached.items():
                    found[goal].append(int(reached[k]))
        return runs

    def rows(self, runs: list[dict]) -> list[Row]:
        """Return the rows of the table: for every variant, the sweeps to each goal."""
        rows = []
        for i, name in enumerate(VARIANTS):
            for goal, text in self.texts.items():
                counts = sweeps_to(runs, goal)[i]
                spread = f"{five_numbers(counts)}; {share(len(counts), len(runs))} get there"
                rows.append(
                    Row(f"sweeps until {text}; {name}", f"{self.published:,}", median(counts), len(runs), spread,
                        within_ninety_percent(self.published, counts),
                        "the paper, which does not say how, started or stopped otherwise")
                )  # fmt: skip
        return rows

    def draw(self, runs: list[dict], axes) -> None:
        """Draw the distributions and the published number."""
        counts = dict(zip(VARIANTS, sweeps_to(runs, "close"), strict=True))
        every = np.concatenate([*counts.values(), [self.published]])
        bins = np.geomspace(every.min(), every.max() + 1, 50)
        for i, (name, found) in enumerate(counts.items()):
            style = dict(color=f"C{i // 2}", linestyle=("-", ":")[i % 2], linewidth=1.5)
            axes.hist(found, bins=bins, histtype="step", label=f"{name}: {len(found)} of {len(runs)}", **style)
        axes.axvline(self.published, color="black", linestyle="--", label=f"published, {self.published:,}")
        axes.set(xscale="log", xlabel=f"sweeps until {self.texts['close']}", ylabel="runs")
        axes.xaxis.set_minor_formatter("")
        axes.legend(fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.14))


def sweeps_to(runs: list[dict], goal: str) -> list[np.ndarray]:
    """Return, for each variant, the sweeps of the runs that met a goal."""
    return [counts[counts >= 0] for counts in np.transpose([run[goal] for run in runs])]
