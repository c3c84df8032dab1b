"""Mirror symmetry, Fig. 1 of 1986: is a vector of six bits a palindrome? Two hidden units say so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

import handmade as hm

from .experiment import Experiment, Report, Row, Size, five_numbers, median, part_of, share, within_ninety_percent
from .recipe import SUMMED, all_correct, at_most, learn, mlp, patterns, targets

__all__ = ["EXPERIMENT"]

NATURE = "Rumelhart, Hinton and Williams, Nature 323:533-536, 1986"
SWEEPS = 1425  # to learn, in the paper
X = patterns(6)
Y = (X[:, ::-1] == X).all(axis=1, keepdims=True).astype(float)
EPS, ALPHA, BOUND = 0.1, 0.9, 0.3
TARGETS = targets(Y)
GIVEN_UP = 10_000  # sweeps with targets 0.1 and 0.9, where what is learnt is learnt early
REPLICATION = {0.25: 1127, 0.5: 2715, 0.75: 7830}  # quartiles of sweeps in 1,000 runs

# As printed: weights of hidden unit 1 and 2 from inputs 1 to 6, their biases, the output's weights and bias.
PUBLISHED = {
    "Nature, Fig. 1": (
        [14.2, -3.6, 7.2, -7.2, 3.6, -14.2, -14.2, 3.6, -7.1, 7.1, -3.6, 14.2, -1.1, -1.1, -8.8, -8.8, 6.4],
        "0.346",
    ),
    "PDP, chapter 8": (
        [
            -3.18,
            6.32,
            -12.56,
            12.56,
            -6.33,
            3.17,
            3.16,
            -6.34,
            12.52,
            -12.51,
            6.31,
            -3.17,
            -1.0,
            -1.0,
            -9.44,
            -9.44,
            6.89,
        ],
        "0.354",
    ),
}


def at_published_weights(source: str, wanted: np.ndarray = Y) -> tuple[np.ndarray, float, float]:
    """Return the 64 outputs, the error E, and the norm of its gradient, at the published weights."""
    network = mlp(6, 2, 1)()
    network.theta[:] = PUBLISHED[source][0]
    error, gradient = network.loss_and_gradient(X, wanted, loss=SUMMED)
    return network.predict(X), error, float(np.linalg.norm(gradient))


def run(generators: list[np.random.Generator], sweeps: int, report: Report) -> list[dict]:
    networks = [mlp(6, 2, 1)(BOUND, rng) for rng in generators]
    runs: list[dict] = [{} for _ in generators]
    limits = sweeps, min(sweeps, GIVEN_UP)
    for i, (kind, wanted) in enumerate(TARGETS.items()):
        _, error, _ = at_published_weights("Nature, Fig. 1", wanted)
        goals = {"correct": all_correct(Y), "error": at_most(error)}
        optimizer = hm.Momentum1986(lr=EPS, momentum=ALPHA)
        report_part = part_of(report, i, len(TARGETS), len(runs))
        outcome = learn(networks, X, wanted, optimizer, limits[i], goals, report_part)
        for k, found in enumerate(runs):
            found[kind] = {goal: int(reached[k]) for goal, reached in outcome.reached.items()}
            found[kind]["E"] = round(float(outcome.error[k]), 4)
            found[kind]["theta"] = np.round(outcome.theta[k], 3).tolist()
    return runs


def shape(theta) -> tuple[float, np.ndarray]:
    """Measure, for both hidden units, the distance from antisymmetry, and the magnitudes over the smallest.

    The first is the largest |w_i + w_(7-i)| over the largest |w|. Of the second the paper's are 1, 2 and 4.
    """
    W = np.reshape(theta[:12], (2, 6))
    mirrored = W[:, ::-1]
    asymmetry = np.abs(W + mirrored).max() / np.abs(W).max()
    magnitudes = np.sort((np.abs(W) + np.abs(mirrored))[:, :3], axis=1)
    return float(asymmetry), magnitudes / magnitudes[:, :1]


def near(ratios: np.ndarray, pattern: tuple[int, int, int]) -> np.ndarray:
    """Return a mask of the networks in which both units have these magnitudes, within 10 %; ratios is (K, 2, 3)."""
    return (np.abs(ratios / np.divide(pattern, pattern[0]) - 1) < 0.1).all(axis=(1, 2))


def as_replicated(sweeps: np.ndarray) -> bool:
    """Return whether the replication's quartiles agree with ours within sampling error.

    The share of ours below its p-quantile has the standard error sqrt(p (1 - p) (1 / n + 1 / 1000)); up to 1.96 of
    these are within chance, each at 5 %.
    """
    if not len(sweeps):
        return False
    error = {p: 1.96 * np.sqrt(p * (1 - p) * (1 / len(sweeps) + 1 / 1000)) for p in REPLICATION}
    return all(abs((sweeps <= at).mean() - p) <= error[p] for p, at in REPLICATION.items())


def ratio(above: float, below: float) -> tuple[float, float]:
    """Return the ratio of two weights that are printed to 0.1, and by how much the rounding may have changed it."""
    return above / below, 0.05 / below * (1 + above / below)


def _published_rows() -> list[Row]:
    rows = []
    for source, (_, printed) in PUBLISHED.items():
        outputs, error, _ = at_published_weights(source)
        right, found = int(((outputs > 0.5) == Y).sum()), f"{error:.3f}"
        slopes = [at_published_weights(source, wanted)[2] for wanted in TARGETS.values()]
        rows += [
            Row(f"right at the weights of {source}", "64 of 64", f"{right} of 64", 0, "", right == 64,
                "the printed weights do not do it"),
            Row(f"E at the weights of {source}", f"{printed} (computed from them)", found, 0, "", found == printed,
                "computed otherwise"),
            Row(f"norm of the gradient at the weights of {source}, targets {'; '.join(TARGETS)}", "-",
                "; ".join(f"{slope:.4f}" for slope in slopes)),
        ]  # fmt: skip
    outputs, _, _ = at_published_weights("Nature, Fig. 1")
    ours = "; ".join(f"{side.min():.3f} to {side.max():.3f}" for side in (outputs[Y == 1], outputs[Y == 0]))
    expected = "0.881 to 0.881; 0.083 to 0.156"
    rows.append(Row("outputs at those of Nature: symmetric; not", f"{expected} (computed from them)", ours, 0, "",
                    ours == expected, "computed otherwise"))  # fmt: skip
    return rows


def _learnt_rows(kind: str, runs: list[dict]) -> list[Row]:
    """Return the rows on runs with one kind of targets: sweeps, failures, and learnt weights."""
    found = [run[kind] for run in runs]
    count, learnt = len(found), [run for run in found if run["error"] >= 0]
    failed = [run["E"] for run in found if run["error"] < 0]
    read = [shape(run["theta"]) for run in learnt]
    asymmetry = [part[0] for part in read]
    ratios = np.array([part[1] for part in read]).reshape(-1, 2, 3)
    largest = np.array([np.abs(run["theta"][:12]).max() for run in learnt])
    rows = []
    for goal, text in (("correct", "all 64 are right"), ("error", "E is that of the published weights")):
        sweeps = np.array([run[goal] for run in found if run[goal] >= 0])
        spread = f"{five_numbers(sweeps)}; {share(int((sweeps < SWEEPS).sum()), count)} before 1,425"
        rows.append(Row(f"sweeps until {text}", "1,425", median(sweeps), count, spread,
                        within_ninety_percent(SWEEPS, sweeps),
                        "the paper does not say when it took learning to have ended"))  # fmt: skip
    rows += [
        Row("runs that do not get there", "-", share(len(failed), count), count,
            f"E in the end: {five_numbers(failed)}" if failed else ""),
        Row("opposite weights: largest sum over largest weight", "0 in print, one rounding 0.007", median(asymmetry),
            len(learnt), five_numbers(asymmetry), bool(learnt) and np.median(asymmetry) < 0.01,
            "opposite weights do not cancel to 1 %"),
        *(Row(f"{name} weight over the smallest", f"{printed:.2f} in Fig. 1, give or take {rounding:.2f} of rounding",
              median(ratios[..., i].ravel()), len(learnt), five_numbers(ratios[..., i].ravel()),
              bool(learnt) and abs(np.median(ratios[..., i]) - printed) <= rounding, "another ratio than the paper's")
          for i, name, printed, rounding in ((1, "middle", *ratio(7.2, 3.6)), (2, "largest", *ratio(14.2, 3.6)))),
        *(Row(f"runs with both units {':'.join(map(str, pattern))} within 10 %", published,
              share(int(near(ratios, pattern).sum()), len(learnt)), len(learnt))
          for pattern, published in (((1, 2, 4), "the paper's run"), ((2, 3, 4), "not mentioned"))),
        Row("largest hidden weight where E is that of the published weights", "14.2", median(largest), len(learnt),
            five_numbers(largest), within_ninety_percent(14.2, largest),
            "with these targets the recipe comes to this E with smaller weights"),
    ]  # fmt: skip
    return [replace(row, quantity=f"targets {kind}: {row.quantity}") for row in rows]


def table(runs: list[dict]) -> list[Row]:
    count = len(runs)
    correct = np.array([run["0 and 1"]["correct"] for run in runs])
    sweeps, stuck = correct[correct >= 0], [run["0 and 1"]["E"] for run in runs if run["0 and 1"]["correct"] < 0]
    at_four = sum(abs(E - 4) < 0.05 for E in stuck)
    return [
        *_published_rows(),
        *_learnt_rows("0 and 1", runs),
        Row("targets 0 and 1: a replication's 1,000 runs",
            "median 2,715, quartiles 1,127 and 7,830, from 333 to 54,770", median(sweeps), count, five_numbers(sweeps),
            as_replicated(sweeps), "a quartile is further off than two samples differ by chance"),
        Row("targets 0 and 1: a replication's 20 runs, 2 stuck at always no, E = 4.0", "all that fail",
            share(at_four, len(stuck)), count, "", at_four == len(stuck) if stuck else None,
            "some failed runs stand elsewhere"),
        *_learnt_rows("0.1 and 0.9", runs),
    ]  # fmt: skip


def draw(runs: list[dict], figure) -> None:
    figure.set_size_inches(12, 8)
    published, ours, sweeps, weights = figure.subplots(2, 2).flat
    _draw_network(published, PUBLISHED["Nature, Fig. 1"][0], "published: 1,425 sweeps")
    learnt = {kind: [run[kind] for run in runs if run[kind]["error"] >= 0] for kind in TARGETS}
    if learnt["0.1 and 0.9"]:
        nearest = min(learnt["0.1 and 0.9"], key=lambda run: abs(run["error"] - SWEEPS))
        number = [run["0.1 and 0.9"] for run in runs].index(nearest)
        _draw_network(ours, nearest["theta"], f"run {number}, targets 0.1 and 0.9: {nearest['error']:,} sweeps")
    else:
        ours.set_axis_off()
    counts = {kind: [run["error"] for run in found] for kind, found in learnt.items()}
    every = np.concatenate([[SWEEPS], *counts.values()])
    bins = np.geomspace(every.min(), every.max() + 1, 40)
    for kind, found in counts.items():
        text = f"targets {kind}: {len(found):,} of {len(runs):,} runs"
        sweeps.hist(found, bins=bins, histtype="step", linewidth=1.5, label=text)
    sweeps.axvline(SWEEPS, color="C3", label="published, 1,425")
    sweeps.set(xscale="log", xlabel="sweeps until E is that of the published weights", ylabel="runs")
    sweeps.xaxis.set_minor_formatter("")
    sweeps.legend()
    for kind, found in learnt.items():
        points = [(np.abs(run["theta"][:12]).max(), shape(run["theta"])[1][0, 2]) for run in found]
        weights.plot(*np.reshape(points, (-1, 2)).T, ".", markersize=4, label=f"targets {kind}")
    weights.plot(14.2, 14.2 / 3.6, "x", color="C3", markersize=10, label="published")
    weights.set(xlabel="largest hidden weight", ylabel="largest weight / smallest")
    weights.set_title("weights where E is that of the published ones")
    weights.legend()


def _draw_network(axes, theta, title: str) -> None:
    """Draw Fig. 1: units as circles, the weights beside their lines, the biases inside the units."""
    W, b, v, c = np.reshape(theta[:12], (2, 6)), theta[12:14], theta[14:16], theta[16]
    inputs, hidden, top = [(i, 0.0) for i in range(6)], [(1.0, 2.0), (4.0, 2.0)], (2.5, 3.4)
    for (x, y), weights in zip(hidden, W, strict=True):
        for (i, _), weight in zip(inputs, weights, strict=True):
            axes.plot([i, x], [0, y], **_line(weight))
    for j, (x, y) in enumerate(hidden):
        axes.plot([x, top[0]], [y, top[1]], **_line(v[j]))
        axes.annotate(f"{v[j]:.1f}", ((x + top[0]) / 2, (y + top[1]) / 2), ha="center", bbox=LABEL)
        text = "  ".join(f"{weight:.1f}" for weight in W[j])
        axes.annotate(text, (-0.4 if j == 0 else 5.4, 1.15), ha="left" if j == 0 else "right", fontsize=7, bbox=LABEL)
    for (x, y), bias in [*zip(hidden, b, strict=True), (top, c)]:
        axes.plot(x, y, "o", markersize=28, color="white", markeredgecolor="black", zorder=2)
        axes.annotate(f"{bias:.1f}", (x, y), ha="center", va="center", zorder=3)
    for i, (x, y) in enumerate(inputs):
        axes.plot(x, y, "o", markersize=16, color="white", markeredgecolor="black", zorder=2)
        axes.annotate(str(i + 1), (x, y), ha="center", va="center", zorder=3)
    axes.set(title=title, xlim=(-0.6, 5.6), ylim=(-0.4, 3.9))
    axes.set_axis_off()


def _line(weight: float) -> dict:
    return dict(color="black" if weight > 0 else "C3", linewidth=0.4 + abs(weight) / 6, zorder=1)


LABEL = dict(facecolor="white", edgecolor="none", pad=1)

EXPERIMENT = Experiment(
    name="symmetry",
    title="Mirror symmetry of six bits, 6-2-1",
    source=f"{NATURE}, Fig. 1",
    recipe=(
        "The published weights are loaded and judged. Then each run starts uniform in [-0.3, 0.3], biases too, and "
        "follows equation 9 with eps = 0.1 and alpha = 0.9 on the gradient summed over all 64 vectors. The paper "
        "states no stopping rule: counted are the sweeps until all 64 are on their side of 0.5, and until E is as "
        "low as at the published weights, where the weights are read. At the published weights the gradient is far "
        "from 0 for targets 0 and 1, and nearly 0 for 0.1 and 0.9: so each run is made with both, the second for "
        "10,000 sweeps at most."
    ),
    full=Size(1000, 100_000),
    quick=Size(20, 4000),
    chunk=100,
    run=run,
    table=table,
    draw=draw,
)
