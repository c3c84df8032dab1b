"""The perceptron: Novikoff's bound, exclusive or, and the symmetry task, of which it learns at most 57 of 64."""

from __future__ import annotations

from itertools import combinations

import numpy as np

import handmade as hm

from . import symmetry
from .experiment import Experiment, Report, Row, Size, five_numbers, median, share
from .recipe import patterns

__all__ = ["EXPERIMENT"]

XOR = patterns(2), np.array([-1, 1, 1, -1])
SYMMETRIC = np.where(symmetry.Y[:, 0] == 1, 1, -1)
SAMPLES, INPUTS, MARGINS = 200, (2, 20), (0.01, 0.3)


def separable(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return random points in the unit ball, their labels by a random unit separator, and the separator.

    What lies nearer to the separator than a random margin is moved away from it, to the margin.
    """
    inputs = int(rng.integers(INPUTS[0], INPUTS[1], endpoint=True))
    margin = np.exp(rng.uniform(*np.log(MARGINS)))
    w = rng.normal(size=inputs)
    w /= np.linalg.norm(w)
    X = rng.normal(size=(SAMPLES, inputs))
    X *= rng.uniform(size=(SAMPLES, 1)) ** (1 / inputs) / np.linalg.norm(X, axis=1, keepdims=True)
    distance = X @ w
    y = np.where(distance >= 0, 1, -1)
    X += np.outer(y * np.maximum(margin - np.abs(distance), 0), w)
    return X, y, w


def novikoff(X: np.ndarray, y: np.ndarray, w: np.ndarray) -> float:
    """Return (R / gamma)^2 for a separator w of unit norm, without a bias."""
    return float((np.linalg.norm(X, axis=1).max() / (y * (X @ w)).min()) ** 2)


def best_on_symmetry(rng: np.random.Generator, epochs: int) -> int:
    """Return the most vectors of the symmetry task that a perceptron has right after any epoch, in random orders."""
    unit, best = hm.Perceptron(), 0
    for _ in range(epochs):
        order = rng.permutation(64)
        unit.fit(symmetry.X[order], SYMMETRIC[order], max_epochs=1)
        best = max(best, int((unit.predict(symmetry.X) == SYMMETRIC).sum()))
    return best


def run(generators: list[np.random.Generator], sweeps: int, report: Report) -> list[dict]:
    runs = []
    for rng in generators:
        X, y, w = separable(rng)
        unit = hm.Perceptron(bias=False).fit(X, y, max_epochs=sweeps)
        runs.append(
            {
                "inputs": X.shape[1],
                "mistakes": unit.mistakes,
                "bound": round(novikoff(X, y, w), 3),
                "converged": unit.converged,
                "symmetry": best_on_symmetry(rng, epochs=100),
            }
        )
        report(len(runs), f"{unit.mistakes} mistakes")
    return runs


def cycle(X: np.ndarray, y: np.ndarray, bias: bool, epochs: int = 1000) -> tuple[int, int] | None:
    """Return the first two epochs after which the weights are the same; None if there are none.

    An epoch is a function of the weights alone, so from there on they go round for ever. The inputs are integers, hence
    the weights too, and equal means equal.
    """
    unit, seen = hm.Perceptron(bias=bias), {}
    for epoch in range(1, epochs + 1):
        unit.fit(X, y, max_epochs=1)
        state = (*unit.w.tolist(), unit.b)
        if state in seen and unit.mistakes_per_epoch[-1]:
            return seen[state], epoch
        seen[state] = epoch
    return None


def certificate() -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Return, for each of the 28 pairs of symmetric vectors s, t, two others u, v with u + v = s + t, none used twice.

    A perceptron's score f is affine, so f(u) + f(v) = f(s) + f(t): where it says yes to s and t it says yes to u or v,
    wrongly. With yes to m of the 8, at least m (m - 1) / 2 others are wrong, and 56 + m - m (m - 1) / 2 are right:
    57 at most, for m = 1 or 2.
    """
    quadruples, used = [], set()
    symmetric = symmetry.X[SYMMETRIC == 1]
    for s, t in combinations(symmetric, 2):
        differing = np.flatnonzero(s[:3] != t[:3])
        for u in symmetry.X[SYMMETRIC == -1]:
            v = s + t - u
            pair = frozenset((tuple(u), tuple(v)))
            mixed = np.flatnonzero(u[:3] != u[:2:-1])
            if np.array_equal(mixed, differing) and ((v == 0) | (v == 1)).all() and not pair & used:
                used |= pair
                quadruples.append((s, t, u, v))
                break
    return quadruples


def reached() -> int:
    """Return the number of right answers of the perceptron that accepts only 000000: w = -1, b = 1/2."""
    scores = 0.5 - symmetry.X.sum(axis=1)
    return int((np.where(scores >= 0, 1, -1) == SYMMETRIC).sum())


def upper_bound() -> int:
    """Return the most right answers that the certificate allows; 64 if it is incomplete."""
    complete = len(certificate()) == 28
    return max(56 + m - m * (m - 1) // 2 for m in range(9)) if complete else 64


def table(runs: list[dict]) -> list[Row]:
    count = len(runs)
    ratios = np.array([run["mistakes"] / run["bound"] for run in runs])
    broken, converged = int((ratios > 1).sum()), sum(run["converged"] for run in runs)
    best = np.array([run["symmetry"] for run in runs])
    rows = [
        Row("data sets with more mistakes than (R / gamma)^2", "0 (Novikoff)", share(broken, count), count, "",
            broken == 0, "a theorem is broken: look for the error"),
        Row("data sets on which it converges", "all", share(converged, count), count, "", converged == count,
            "given up before the bound was used up"),
        Row("mistakes over the bound", "at most 1", median(ratios), count, five_numbers(ratios),
            broken == 0, "above 1"),
    ]  # fmt: skip
    for bias in (True, False):
        found = cycle(*XOR, bias=bias)
        ours = f"the weights after epoch {found[1]} are those after epoch {found[0]}" if found else "no repeat"
        rows.append(Row(f"XOR {'with' if bias else 'without'} a bias", "never learnt", ours, 0, "", found is not None,
                        "no state came back"))  # fmt: skip
    rows += [
        Row("symmetry: the most any perceptron can have right", "57 of 64",
            f"{upper_bound()} by a certificate of {len(certificate())} pairs", 0, "", upper_bound() == 57,
            "the certificate gives another number"),
        Row("symmetry: right at w = -1, b = 1/2", "57 of 64", f"{reached()} of 64", 0, "", reached() == 57,
            "these weights do not reach it"),
        Row("symmetry: best after any of 100 epochs in random order", "57 of 64", f"up to {best.max()}", count,
            f"{five_numbers(best)}; {share(int((best == 57).sum()), count)} reach 57", int(best.max()) == 57,
            "too few epochs in this form, or more than can be"),
    ]  # fmt: skip
    return rows


def draw(runs: list[dict], figure) -> None:
    figure.set_size_inches(11, 4)
    bound, best = figure.subplots(1, 2)
    bounds, mistakes = np.array([[run["bound"], max(run["mistakes"], 0.5)] for run in runs]).T
    bound.loglog(bounds, mistakes, ".", color="0.5", markersize=3)
    line = np.array([bounds.min(), bounds.max()])
    bound.plot(line, line, color="C3", label="mistakes = (R / gamma)^2")
    bound.set(xlabel="Novikoff's bound", ylabel="mistakes")
    bound.set_title(f"{int((mistakes <= bounds).sum()):,} of {len(runs):,} on or below the line")
    bound.legend()
    right = np.array([run["symmetry"] for run in runs])
    best.hist(right, bins=np.arange(right.min(), 60) - 0.5, color="0.6", rwidth=0.8)
    best.axvline(57, color="C3", label="the most there can be")
    best.set(xlabel="right of 64 on symmetry, best of 100 epochs", ylabel="runs")
    best.legend()


EXPERIMENT = Experiment(
    name="perceptron",
    title="The perceptron: its bound, XOR, and 57 of 64",
    source="Novikoff, On convergence proofs on perceptrons, 1962; Rosenblatt 1958",
    recipe=(
        "Each run draws 200 points in the unit ball of 2 to 20 dimensions, a separator, and a margin of 0.01 to 0.3, "
        "and trains `hm.Perceptron` without a bias until it makes no mistake. The bound is that of the drawn "
        "separator. XOR: a state that comes back proves that the weights go round for ever. Symmetry: u + v = s + t "
        "for two symmetric vectors s, t and two others u, v means that yes to s and t is yes to u or v; 28 such pairs "
        "without a vector in common leave 57 of 64."
    ),
    full=Size(1000, 100_000),
    quick=Size(50, 10_000),
    chunk=100,
    run=run,
    table=table,
    draw=draw,
)
