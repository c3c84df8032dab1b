"""Family trees, Figs. 2 to 4 of 1986: from a person and a relation to the relatives, by features that are learnt."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

import handmade as hm
from handmade.plots import hinton

from .experiment import Experiment, Report, Row, Size, five_numbers, median, part_of, share
from .family import BRANCH, CASES, GENERATION, NATIONALITY, PEOPLE, one_hot_cases
from .recipe import options, sigmoid_layer
from .side_by_side import SideBySide
from .symmetry import NATURE

__all__ = ["EXPERIMENT"]

X, Y = one_hot_cases()
HELD_OUT = 4
FEATURES = {"nationality": NATIONALITY, "generation": GENERATION, "branch": BRANCH}


@dataclass(frozen=True)
class Recipe:
    """A training recipe: the initial range, eps and alpha for the first 20 sweeps and after, the share by which weights
    shrink after each change, the margin within which an error counts as none, and the sweeps.
    """

    text: str
    bound: float = 0.3
    eps: tuple[float, float] = (0.005, 0.01)
    alpha: tuple[float, float] = (0.5, 0.9)
    decay: float = 0.002
    margin: float = 0.2
    sweeps: int = 1500


RECIPES = {
    "literal": Recipe("the paper's, from [-0.3, 0.3]"),
    "without decay": Recipe("the same without decay", decay=0.0),
    "wide": Recipe("the paper's, from [-1, 1]", bound=1.0),
    "replication": Recipe("from [-1, 1], eps 0.05, decay 0.02 %", bound=1.0, eps=(0.05, 0.05), decay=0.0002),
    "works": Recipe(
        "from [-1, 1], eps 0.05 after 20 sweeps, decay 0.05 %, margin 0.1, 3,000 sweeps",
        bound=1.0, eps=(0.005, 0.05), decay=0.0005, margin=0.1, sweeps=3000,
    ),
}  # fmt: skip
READ = "works"  # whose person units are read


def network(bound: float = 0.3, rng: np.random.Generator | None = None) -> hm.Network:
    """Return the network of five layers: 24 and 12 inputs, six units for each, 12, 6, and 24 outputs."""
    start = options(bound, rng)
    groups = hm.Parallel(sigmoid_layer(24, 6, **start), sigmoid_layer(12, 6, **start))
    return hm.Network(
        [groups, *sigmoid_layer(12, 12, **start), *sigmoid_layer(12, 6, **start), *sigmoid_layer(6, 24, **start)]
    )


def train(recipe: Recipe, networks: list[hm.Network], trained: np.ndarray, sweeps: int, report: Report) -> SideBySide:
    """Train the networks on their cases; ``trained``, (K, 104), marks the cases of each."""
    together = SideBySide(networks[0], np.stack([network.theta for network in networks]))
    optimizer = hm.Momentum1986()
    for sweep in range(min(sweeps, recipe.sweeps)):
        optimizer.lr, optimizer.momentum = (pair[sweep >= 20] for pair in (recipe.eps, recipe.alpha))
        D = together.forward(X) - Y
        D *= trained[:, :, np.newaxis]
        D[np.abs(D) < recipe.margin] = 0  # 0.2: on above 0.8, or off below 0.2
        together.backward(D)
        optimizer.step(together.theta, together.gradient)
        together.theta *= 1 - recipe.decay
        report(0, f"{recipe.text}: sweep {sweep + 1:,}")
    return together


def answers(H: np.ndarray) -> dict[str, np.ndarray]:
    """Return masks of the right cases, (K, 104): all 24 outputs within 0.2 of their targets, or the right ones largest.

    The second knows how many relatives there are: of a case with two, the two largest outputs must be theirs.
    """
    count = Y.sum(axis=1).astype(int)
    cut = -np.sort(-H, axis=2)[:, np.arange(len(Y)), count - 1]
    largest = cut[:, :, np.newaxis] <= H
    return {"strict": (np.abs(H - Y) < 0.2).all(axis=2), "largest": (largest == (Y == 1)).all(axis=2)}


def run(generators: list[np.random.Generator], sweeps: int, report: Report) -> list[dict]:
    held_out = [rng.choice(len(X), HELD_OUT, replace=False) for rng in generators]
    trained = np.ones((len(generators), len(X)), bool)
    for k, cases in enumerate(held_out):
        trained[k, cases] = False
    runs: list[dict] = [{"held out": np.sort(cases).tolist()} for cases in held_out]
    for i, (name, recipe) in enumerate(RECIPES.items()):
        start = [network(recipe.bound, rng) for rng in generators]
        together = train(recipe, start, trained, sweeps, part_of(report, i, len(RECIPES), len(runs)))
        for criterion, right in answers(together.forward(X)).items():
            for k, found in enumerate(runs):
                counts = {"trained": int(right[k, trained[k]].sum()), "held out": int(right[k, ~trained[k]].sum())}
                found.setdefault(name, {})[criterion] = counts
        if name == READ:
            person = np.round(together.parameters()[:, :144].reshape(-1, 6, 24), 2)
            for k, found in enumerate(runs):
                found["person"] = person[k].tolist()
    return runs


def correlations(person) -> np.ndarray:
    """Return |r| of each person unit's 24 weights with each feature, (..., 6, 3)."""
    W = np.asarray(person, float)
    W = W - W.mean(axis=-1, keepdims=True)
    F = np.stack([feature - feature.mean() for feature in FEATURES.values()])
    norms = np.linalg.norm(W, axis=-1)[..., np.newaxis] * np.linalg.norm(F, axis=-1)
    return np.abs(W @ F.T) / norms


def chance() -> np.ndarray:
    """Return the correlation with each feature that the best of six random units exceeds in 5 of 100 networks."""
    random = np.random.default_rng(0).uniform(-1, 1, (10_000, 6, 24))
    return np.percentile(correlations(random).max(axis=1), 95, axis=0)


def _case_rows() -> list[Row]:
    per_person = Counter(person for person, _, _ in CASES)
    some = ("Christopher", "Margaret", "Arthur", "Victoria", "Colin")
    english = ", ".join(f"{name} {per_person[name]}" for name in some)
    expected = "Christopher 3, Margaret 3, Arthur 6, Victoria 6, Colin 5"
    return [
        Row("cases, and facts in them", "104; 2 x 56", f"{len(CASES)}; 2 x {Y.sum() / 2:.0f}", 0, "",
            len(CASES) == 104 and Y.sum() == 112, "the trees"),
        Row("cases of a person", expected, english, 0, "", english == expected, "the trees"),
    ]  # fmt: skip


# What is published of the trained and of the held-out cases, the shares that are, and what differs where we have less.
PAPER = ("100 of 100", 1.0), ("7 of 8 in two runs", 7 / 8)
PUBLISHED = {
    "literal": (*PAPER, "nothing is learnt in 1,500 sweeps, as two replications report"),
    "without decay": (("100 of 100, in a replication", 1.0), ("0 of 4, in a replication", 0.0),
                      "nothing is learnt in 1,500 sweeps; the replication's initial range is not known to us"),
    "wide": (*PAPER, "nothing is learnt in 1,500 sweeps from a wider start either"),
    "replication": (("98.7 %, in a replication", 0.987), ("45 %, in a replication", 0.45),
                    "the replication's criterion is not known to us"),
    "works": (*PAPER, "even with another initial range, eps, decay, margin and more sweeps; a few cases stay wrong"),
}  # fmt: skip


def _recipe_rows(name: str, runs: list[dict]) -> list[Row]:
    rows = []
    *published, differs = PUBLISHED[name]
    for criterion, text in (("strict", "within 0.2"), ("largest", "the largest outputs")):
        for part, size, (printed, least) in zip(("trained", "held out"), (100, HELD_OUT), published, strict=True):
            right = np.array([run[name][criterion][part] for run in runs])
            spread = f"all right in {int((right == size).sum())} runs; {five_numbers(right)}"
            if part == "held out":
                spread = f"runs with 0, 1, 2, 3, 4 right: {', '.join(map(str, np.bincount(right, minlength=5)))}"
            rows.append(
                Row(f"{RECIPES[name].text}: {part} cases right, {text}", printed,
                    share(int(right.sum()), size * len(runs)), len(runs), spread, right.mean() >= least * size, differs)
            )  # fmt: skip
    return rows


def table(runs: list[dict]) -> list[Row]:
    best = correlations([run["person"] for run in runs]).max(axis=1)
    level = chance()
    rows = [row for name in RECIPES for row in _recipe_rows(name, runs)]
    for i, feature in enumerate(FEATURES):
        rows.append(
            Row(f"person units: largest |r| with {feature}", "a unit encodes it (Fig. 4)", median(best[:, i]),
                len(runs), f"{five_numbers(best[:, i])}; random units reach {level[i]:.2f} in 5 of 100",
                bool(np.median(best[:, i]) > level[i]), "no more than random units")
        )  # fmt: skip
    all_three = int((best > level).all(axis=1).sum())
    ours = share(all_three, len(runs))
    rows.append(Row("runs with a unit above chance for each of the three", "the paper's", ours, len(runs)))
    return [*_case_rows(), *rows]


def draw(runs: list[dict], figure) -> None:
    """Draw Fig. 4: the weights from the 24 people to the six person units, the English above the Italians."""
    figure.set_size_inches(11, 7)
    best = max(runs, key=lambda run: (run[READ]["strict"]["held out"], run[READ]["strict"]["trained"]))
    W = np.array(best["person"])
    right = best[READ]["strict"]
    figure.suptitle(
        f"run {runs.index(best)}: {right['trained']} of 100 trained and {right['held out']} of 4 held-out cases right; "
        "white positive, black negative"
    )
    for unit, (axes, found) in enumerate(zip(figure.subplots(3, 2).flat, correlations(W), strict=True)):
        hinton(W[unit].reshape(2, 12), ax=axes)
        reading = ", ".join(f"{name} {r:.2f}" for name, r in zip(FEATURES, found, strict=True))
        axes.set_title(f"unit {unit + 1}: |r| with {reading}", fontsize=9)
        axes.set(xlabel="", ylabel="")
        axes.set_xticks(range(1, 13), PEOPLE[:12], rotation=90, fontsize=7)
        axes.set_yticks([1, 2], ["English", "Italian"], fontsize=8)


EXPERIMENT = Experiment(
    name="family-trees",
    title="Family trees, two groups of inputs, five layers",
    source=f"{NATURE}, Figs. 2 to 4",
    recipe=(
        "Each run holds out 4 of the 104 cases at random and trains on the other 100, by the paper's recipe as "
        "printed (the initial range, which is not, taken from the symmetry task), and by others that differ in what "
        "their name says. A case is right where all on-units are above 0.8 and all off-units below 0.2; or, a looser "
        "criterion, where the right units have the largest outputs. The last recipe is the nearest found that learns "
        "nearly all and generalizes, chosen among some 60 settings by 8 of these splits; its six person units are read "
        "by their correlation with nationality, generation and branch of the tree."
    ),
    full=Size(200, 10_000),
    quick=Size(4, 200),
    chunk=8,
    run=run,
    table=table,
    draw=draw,
)
