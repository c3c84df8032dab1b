"""XOR's local minimum, PDP chapter 8: two hidden units, and weights from which descent does not find the solution."""

from __future__ import annotations

from functools import cache

import numpy as np

import handmade as hm

from .experiment import Experiment, Report, Row, Size, five_numbers, median, share
from .recipe import SUMMED, at_most, learn, mlp, targets
from .xor import PDP, X, Y

__all__ = ["EXPERIMENT"]

# h1 (-2.0, 9.2), bias 2.0; h2 (4.3, 8.8), bias -0.1; output (-4.5, 5.3), bias -0.8: in the order of theta.
PUBLISHED = [-2.0, 9.2, 4.3, 8.8, 2.0, -0.1, -4.5, 5.3, -0.8]
OUTPUTS = ".096, .5, .898, .5"
TARGETS = targets(Y)
VALLEY = {"0 and 1": 0.25, "0.1 and 0.9": 0.16}  # E where 00 and 10 are right and 01 and 11 are both answered half-way
SOLVED = len(X) * 0.1**2 / 2  # E of outputs that are all 0.1 from their targets
STEP = 1e-5  # of the differences
BLUR = 1e-9  # ten times eps / STEP + STEP^2, by which they are wrong: a smaller curvature has no sign
DESCENT = 10_000
ETA, ALPHA, BOUND = 0.5, 0.9, 0.5


def gradient(theta, Y: np.ndarray) -> tuple[float, np.ndarray]:
    """Return E and its gradient, from the hand-written backward pass."""
    network = mlp(2, 2, 1)()
    network.theta[:] = theta
    return network.loss_and_gradient(X, Y, loss=SUMMED)


def hessian(theta, Y: np.ndarray) -> np.ndarray:
    """Compute the second derivatives by central differences of the hand-written gradient, made symmetric."""
    steps = STEP * np.eye(len(theta))
    rows = [(gradient(theta + h, Y)[1] - gradient(theta - h, Y)[1]) / (2 * STEP) for h in steps]
    return (np.array(rows) + np.transpose(rows)) / 2


@cache
def descent(name: str) -> tuple[np.ndarray, list[float]]:
    """Do plain gradient descent from the published weights; return where it ends, and E on the way."""
    network, errors, optimizer = mlp(2, 2, 1)(), [], hm.SGD(lr=ETA)
    network.theta[:] = PUBLISHED
    for _ in range(DESCENT):
        error, slope = network.loss_and_gradient(X, TARGETS[name], loss=SUMMED)
        errors.append(error)
        optimizer.step(network.theta, slope)
    return network.theta, errors


def run(generators: list[np.random.Generator], sweeps: int, report: Report) -> list[dict]:
    networks = [mlp(2, 2, 1)(BOUND, rng) for rng in generators]
    optimizer = hm.Momentum1986(lr=ETA, momentum=ALPHA)
    outcome = learn(networks, X, Y, optimizer, sweeps, {"solved": at_most(SOLVED)}, report)
    ends = zip(outcome.reached["solved"].tolist(), outcome.error.tolist(), strict=True)
    return [{"solved": sweeps, "E": round(error, 5)} for sweeps, error in ends]


def judge(name: str) -> dict:
    """Return all results at the published weights, for one pair of targets."""
    wanted = TARGETS[name]
    start = gradient(PUBLISHED, wanted)
    theta, errors = descent(name)
    end = gradient(theta, wanted)
    curvatures = np.linalg.eigvalsh(hessian(np.array(PUBLISHED), wanted))
    return {
        "E": start[0],
        "slope": float(np.linalg.norm(start[1])),
        # Nine weights, each off by up to 0.05, times the largest curvature.
        "rounding": float(0.05 * np.sqrt(9) * curvatures[-1]),
        "curvatures": curvatures,
        "E after": end[0],
        "slope after": float(np.linalg.norm(end[1])),
        "curvatures after": np.linalg.eigvalsh(hessian(theta, wanted)),
        "moved": float(np.linalg.norm(theta - PUBLISHED)),
        "falls": bool(np.all(np.diff(errors) <= 0)),
    }


def _signs(curvatures: np.ndarray) -> str:
    positive, negative = int((curvatures > BLUR).sum()), int((curvatures < -BLUR).sum())
    return f"{positive} positive, {negative} negative of {len(curvatures)}, smallest {curvatures[0]:.1e}"


def _rows(name: str) -> list[Row]:
    found, valley = judge(name), VALLEY[name]
    above = found["E after"] > valley
    return [
        Row(f"targets {name}: E at the published weights", f"above 0; the valley's floor is {valley}",
            f"{found['E']:.4f}"),
        Row(f"targets {name}: norm of the gradient", "0 at a minimum", f"{found['slope']:.1e}", 0,
            f"printed to 0.1, an exact minimum could show {found['rounding']:.2f}", found["slope"] < found["rounding"],
            "more than the rounding of the printed weights explains"),
        Row(f"targets {name}: signs of the Hessian's eigenvalues", "none negative", _signs(found["curvatures"]), 0, "",
            bool(found["curvatures"][0] > -BLUR), "slight descent at the weights as printed; none further on, below"),
        Row(f"targets {name}: after {DESCENT:,} sweeps of descent from there", "not solved",
            f"E = {found['E after']:.6f}, gradient {found['slope after']:.1e}, moved {found['moved']:.1f}", 0,
            f"E {'never rises' if found['falls'] else 'rises at times'}", above, "E fell below the valley's floor"),
        Row(f"targets {name}: signs there", "none negative", _signs(found["curvatures after"]), 0, "",
            bool(found["curvatures after"][0] > -BLUR), "still a saddle"),
    ]  # fmt: skip


def table(runs: list[dict]) -> list[Row]:
    network = mlp(2, 2, 1)()
    network.theta[:] = PUBLISHED
    outputs = network.predict(X)[:, 0]
    ours = ", ".join(f"{y:.3f}".removeprefix("0") for y in outputs)
    met = np.allclose(np.round(outputs, 3), [0.096, 0.5, 0.898, 0.5], atol=1e-12)
    failed = [run for run in runs if run["solved"] < 0]
    trapped = sum(abs(run["E"] - VALLEY["0 and 1"]) < 0.01 for run in failed)
    counts = [run["solved"] for run in runs if run["solved"] >= 0]
    return [
        Row("outputs at the published weights", OUTPUTS, ours, 0, "", met, "the printed weights are rounded"),
        *_rows("0 and 1"),
        *_rows("0.1 and 0.9"),
        Row("random starts that solve it", "-", share(len(counts), len(runs)), len(runs),
            f"sweeps: {median(counts)}, {five_numbers(counts)}"),
        Row("random starts that end in such a valley, E = 0.25", "some do", share(trapped, len(runs)), len(runs), "",
            trapped > 0, "none did"),
    ]  # fmt: skip


def draw(runs: list[dict], figure) -> None:
    figure.set_size_inches(11, 4)
    fall, ends = figure.subplots(1, 2)
    for name in TARGETS:
        _, errors = descent(name)
        fall.loglog(np.arange(1, DESCENT + 1), np.array(errors) - VALLEY[name], label=f"targets {name}")
    fall.set(xlabel="sweeps of descent from the published weights", ylabel="E above the valley's floor")
    fall.set_title(f"{DESCENT:,} sweeps do not leave the valley")
    fall.legend()
    ends.hist([run["E"] for run in runs], bins=np.linspace(0, 0.6, 61), color="0.6")
    ends.axvline(VALLEY["0 and 1"], color="C3", label="the published valley, 0.25")
    ends.set(xlabel="E in the end, targets 0 and 1", ylabel="random starts", yscale="log")
    ends.legend()


EXPERIMENT = Experiment(
    name="local-minimum",
    title="The local minimum of XOR with two hidden units, 2-2-1",
    source=PDP,
    recipe=(
        "At the published weights: outputs, gradient, and the signs of the Hessian's eigenvalues, the Hessian by "
        "differences of the hand-written gradient. Both for targets 0 and 1 and for 0.1 and 0.9, because the outputs "
        ".096 and .898 are where targets 0.1 and 0.9 would draw them. Then plain descent from there. It has been "
        "proved that such regions of this network lie where hidden units are saturated, and that from every finite "
        "point a falling path leads to E = 0 (Sprinkhuizen-Kuyper and Boers, on the 2-2-1 XOR network): the minimum "
        "is one for descent, at the end of a valley without a lowest point. Random starts: uniform in [-0.5, 0.5], "
        "eta = 0.5, alpha = 0.9."
    ),
    full=Size(1000, 20_000),
    quick=Size(20, 2000),
    chunk=500,
    run=run,
    table=table,
    draw=draw,
)
