"""The papers' experiments: networks side by side, anchors, and every quick form."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from collections import Counter

import numpy as np
import pytest
from papers_of_tests import row

import benchmarks.papers
import handmade as hm
from benchmarks.papers import (
    depth,
    family,
    family_trees,
    images,
    local_minimum,
    mnist,
    perceptron,
    results,
    symmetry,
    xor,
)
from benchmarks.papers.__main__ import main
from benchmarks.papers.experiment import Row
from benchmarks.papers.recipe import SUMMED, at_most, learn, mlp
from benchmarks.papers.registry import EXPERIMENTS
from benchmarks.papers.side_by_side import SideBySide, summed_error

MODULES = [module.name for module in pkgutil.iter_modules(benchmarks.papers.__path__) if module.name != "__main__"]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    assert doctest.testmod(importlib.import_module(f"benchmarks.papers.{name}")).failed == 0


# ---- many networks side by side, against the library's one -----------------------------------------------------------

SHAPES = {
    "chain": (mlp(6, 2, 1), symmetry.X, symmetry.Y),
    "direct connections": (xor.network, xor.X, xor.Y),
    "two groups": (family_trees.network, family_trees.X, family_trees.Y),
}


def three(build):
    return [build(1.0, np.random.default_rng(seed)) for seed in range(3)]


@pytest.mark.parametrize("shape", SHAPES)
def test_side_by_side_equals_the_single_networks(shape):
    build, X, Y = SHAPES[shape]
    networks = three(build)
    together = SideBySide(networks[0], np.stack([network.theta for network in networks]))
    H = together.forward(X)
    E, dH = summed_error(Y)(H)
    together.backward(dH)
    # Sums over the cases, the units and the layers may be taken in another order.
    rounding = 4 * len(X) * np.finfo(float).eps
    for k, network in enumerate(networks):
        error, gradient = network.loss_and_gradient(X, Y, loss=SUMMED)
        np.testing.assert_allclose(H[k], network.predict(X), rtol=rounding, atol=0)
        np.testing.assert_allclose(E[k], error, rtol=rounding)
        difference = together.gradient.reshape(3, -1)[k] - gradient
        assert np.abs(difference).max() <= rounding * np.abs(gradient).max()


@pytest.mark.parametrize("shape", SHAPES)
def test_side_by_side_learns_as_the_library_by_equation_9(shape):
    build, X, Y = SHAPES[shape]
    outcome = learn(three(build), X, Y, hm.Momentum1986(0.05, 0.5), 20, {"never": at_most(0)}, lambda *news: None)
    for theta, network in zip(outcome.theta, three(build), strict=True):
        optimizer = hm.Momentum1986(0.05, 0.5)
        for _ in range(20):
            optimizer.step(network.theta, network.loss_and_gradient(X, Y, loss=SUMMED)[1])
        np.testing.assert_allclose(theta, network.theta, rtol=0, atol=1e-12)  # 20 steps of about 1e-14 each


def test_run_is_bit_for_bit_independent_of_other_runs():
    goals = {"half": at_most(2.0)}
    networks = [mlp(6, 2, 1)(0.3, np.random.default_rng([0, run])) for run in (0, 7, 12, 14)]
    outcomes = [
        learn(chosen, symmetry.X, symmetry.Y, hm.Momentum1986(), 600, goals, lambda *news: None)
        for chosen in (networks, *([network] for network in networks))
    ]
    together, alone = outcomes[0], outcomes[1:]
    reached = together.reached["half"]
    assert len(set(reached.tolist())) > 2, "some leave before others, or nothing is tested"
    np.testing.assert_array_equal(together.theta, np.concatenate([outcome.theta for outcome in alone]))
    np.testing.assert_array_equal(reached, np.concatenate([outcome.reached["half"] for outcome in alone]))


def test_goal_counts_sweeps_and_keeps_the_weights():
    network = mlp(6, 2, 1)(0.3, np.random.default_rng([0, 12]))
    outcome = learn([network], symmetry.X, symmetry.Y, hm.Momentum1986(), 5000, {"E": at_most(1.0)}, lambda *news: None)
    optimizer, sweeps = hm.Momentum1986(), 0
    while (found := network.loss_and_gradient(symmetry.X, symmetry.Y, loss=SUMMED))[0] > 1.0:
        optimizer.step(network.theta, found[1])
        sweeps += 1
    assert outcome.reached["E"][0] == sweeps > 100
    assert outcome.error[0] <= 1.0
    np.testing.assert_allclose(outcome.error[0], found[0], rtol=1e-6)  # rounding, grown over the sweeps


def test_unsupported_layer_is_refused_side_by_side():
    network = hm.MLP([2, 2, 1], normalization="batch")
    with pytest.raises(TypeError, match="BatchNorm"):
        SideBySide(network, network.theta[np.newaxis])


# ---- the anchors, without training -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("source", "error"), [("Nature, Fig. 1", 0.346), ("PDP, chapter 8", 0.354)])
def test_published_symmetry_weights_have_64_of_64_right(source, error):
    outputs, found, _ = symmetry.at_published_weights(source)
    assert ((outputs > 0.5) == symmetry.Y).all()
    assert abs(found - error) < 0.0005
    if source.startswith("Nature"):
        assert np.round([*outputs[symmetry.Y == 1]], 3).tolist() == [0.881] * 8
        others = outputs[symmetry.Y == 0]
        assert (len(others), round(others.min(), 3), round(others.max(), 3)) == (56, 0.083, 0.156)


@pytest.mark.parametrize("source", symmetry.PUBLISHED)
def test_published_symmetry_weights_are_a_minimum(source):
    slopes = {kind: symmetry.at_published_weights(source, Y)[2] for kind, Y in symmetry.TARGETS.items()}
    assert slopes["0.1 and 0.9"] < slopes["0 and 1"] / 20


def test_published_weights_are_in_the_ratio_1_2_4():
    asymmetry, magnitudes = symmetry.shape(symmetry.PUBLISHED["Nature, Fig. 1"][0])
    assert asymmetry == 0
    np.testing.assert_allclose(magnitudes, [[1, 2, 14.2 / 3.6], [1, 7.1 / 3.6, 14.2 / 3.6]])


def test_trees_have_104_cases_and_56_facts_each():
    assert len(family.CASES) == len(set(family.CASES)) == 104
    assert sum(len(relatives) for _, _, relatives in family.CASES) == 2 * 56
    counts = Counter(person for person, _, _ in family.CASES)
    expected = {3: ["Christopher", "Penelope", "Andrew", "Christine", "Margaret", "Charles"],
                6: ["Arthur", "Victoria", "James", "Jennifer"], 5: ["Colin", "Charlotte"]}  # fmt: skip
    english = {name: count for count, names in expected.items() for name in names}
    assert {name: counts[name] for name in english} == english
    assert sum(english.values()) == 52


def test_trees_are_alike_and_have_aunts_by_marriage():
    assert ("Colin", "aunt", ("Margaret", "Jennifer")) in family.CASES
    assert ("Charles", "nephew", ("Colin",)) in family.CASES
    translated = dict(zip(family.ENGLISH, family.ITALIAN, strict=True))
    english = [case for case in family.CASES if case[0] in family.ENGLISH]
    italian = [(translated[p], r, tuple(translated[name] for name in names)) for p, r, names in english]
    assert italian == [case for case in family.CASES if case[0] in family.ITALIAN]


def test_each_relation_of_the_trees_has_its_inverse():
    facts = {(p, r, name) for p, r, names in family.CASES for name in names}
    pairs = [("husband", "wife"), ("father mother", "son daughter"), ("brother sister", "brother sister"),
             ("uncle aunt", "nephew niece")]  # fmt: skip
    for one, other in pairs:
        forth = {(a, b) for a, r, b in facts if r in one.split()}
        back = {(b, a) for a, r, b in facts if r in other.split()}
        assert forth == back, (one, other)


def test_criteria_of_the_trees():
    H = np.full((1, 104, 24), 0.1)
    H[0][family_trees.Y == 1] = 0.7  # the largest, and not above 0.8
    right = family_trees.answers(H)
    assert (right["strict"].sum(), right["largest"].sum()) == (0, 104)
    H[0][family_trees.Y == 1] = 0.9
    assert family_trees.answers(H)["strict"].sum() == 104
    H[0, 0, :] = 0.9
    assert family_trees.answers(H)["strict"].sum() == family_trees.answers(H)["largest"].sum() == 103


def test_unit_that_equals_a_feature_correlates_fully():
    person = np.random.default_rng(0).normal(size=(6, 24))
    person[2], person[4] = 3 * family.NATIONALITY + 1, -2.0 * family.BRANCH
    found = family_trees.correlations(person)
    np.testing.assert_allclose([found[2, 0], found[4, 2]], 1)
    assert found[2, 1:].max() < 1e-12, "the features do not correlate with each other"


@pytest.mark.parametrize("name", local_minimum.TARGETS)
def test_local_minimum_is_not_left_by_descent(name):
    found = local_minimum.judge(name)
    assert found["slope"] < found["rounding"] < 0.1
    assert found["falls"]
    assert local_minimum.VALLEY[name] < found["E after"] < found["E"]
    assert found["slope after"] < found["slope"] / 10
    assert (found["curvatures after"] > local_minimum.BLUR).all(), "nine directions, and all go up"


def test_published_outputs_of_the_minimum_belong_to_0_1_and_0_9():
    slopes = {name: local_minimum.judge(name)["slope"] for name in local_minimum.TARGETS}
    assert slopes["0.1 and 0.9"] < slopes["0 and 1"] / 10


def test_hessian_by_differences_equals_the_closed_form():
    # One weight path, X = (0, 0): E = 4 terms of biases only; against second differences of E itself.
    theta = np.array(local_minimum.PUBLISHED) / 4  # where nothing is saturated
    H, h = local_minimum.hessian(theta, xor.Y), 1e-3
    for i in range(9):
        step = h * np.eye(9)[i]
        E = [local_minimum.gradient(theta + k * step, xor.Y)[0] for k in (-1, 0, 1)]
        assert abs((E[0] - 2 * E[1] + E[2]) / h**2 - H[i, i]) < 1e-6  # h^2 / 12 times a fourth derivative of about 1


def test_perceptron_cycles_on_xor():
    X, y = perceptron.XOR
    for bias in (True, False):
        first, again = perceptron.cycle(X, y, bias)
        states = []
        for epochs in (first, again):
            unit = hm.Perceptron(bias=bias).fit(X, y, max_epochs=epochs)
            states.append((*unit.w, unit.b))
            assert not unit.converged
        assert states[0] == states[1]
    assert perceptron.cycle(X, np.array([-1, 1, 1, 1]), bias=True) is None, "OR is learnt"


def test_best_perceptron_has_57_of_64_right():
    quadruples = perceptron.certificate()
    assert len(quadruples) == 28
    used = Counter(tuple(vector) for _, _, u, v in quadruples for vector in (u, v))
    assert len(used) == 56 and set(used.values()) == {1}
    for s, t, u, v in quadruples:
        np.testing.assert_array_equal(s + t, u + v)
        assert all(np.array_equal(vector, vector[::-1]) for vector in (s, t))
        assert not any(np.array_equal(vector, vector[::-1]) for vector in (u, v))
    assert perceptron.upper_bound() == perceptron.reached() == 57


def test_drawn_data_have_the_stated_margin():
    X, y, w = perceptron.separable(np.random.default_rng(0))
    assert abs(np.linalg.norm(w) - 1) < 1e-12
    margins = y * (X @ w)
    assert 0 < margins.min() < 0.3 + 1e-12
    assert perceptron.novikoff(X, y, w) == (np.linalg.norm(X, axis=1).max() / margins.min()) ** 2


# ---- depth -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inputs", [64, 784])
@pytest.mark.parametrize("layers", depth.DEPTHS)
def test_equal_budget_is_the_largest_width_within(inputs, layers):
    budget = depth.parameters(inputs, 48, depth.BUDGET_DEPTH)
    width = depth.width_within(budget, inputs, layers)
    sizes = [hm.MLP([inputs, *[wide] * layers, 10]).parameter_count for wide in (width, width + 1)]
    assert sizes[0] <= budget < sizes[1]
    assert layers != depth.BUDGET_DEPTH or width == 48


@pytest.mark.parametrize("kind", depth.KINDS)
def test_networks_have_the_requested_depth_and_parts(kind):
    network = depth.build("relu", kind, 64, 12, 5, np.random.default_rng(0))
    leaves = [leaf for _, leaf in network.leaves()]
    assert sum(isinstance(leaf, hm.Activation) for leaf in leaves) == 5
    assert sum(isinstance(leaf, hm.BatchNorm) for leaf in leaves) == (5 if "normalized" in kind else 0)
    assert sum(isinstance(layer, hm.Residual) for layer in network.layers) == (4 if "residual" in kind else 0)
    learnt = sum(leaf.W.size + leaf.b.size for leaf in leaves if isinstance(leaf, hm.Dense))
    assert learnt == depth.parameters(64, 12, 5)


def invented(means, noise=0.1, runs=8):
    """Test errors of depths 1 to 8 with these means, and noise from a fixed seed."""
    return np.array(depth.DEPTHS), means + noise * np.random.default_rng(0).normal(size=(runs, 8))


@pytest.mark.parametrize(
    ("means", "holds"),
    [
        ([6, 4, 3, 4, 5, 6, 7, 8], True),
        ([6, 4, 3, 3, 3, 3, 3, 3], True),  # deeper is no better
        ([8, 7, 6, 5, 4, 3, 2, 1], False),
        ([1, 2, 3, 4, 5, 6, 7, 8], False),
    ],
)
def test_verdict_on_known_curves(means, holds):
    met, _, worse = depth.verdict(*invented(np.array(means, float)))
    assert met is holds or met == holds
    assert worse == (means[-1] > min(means[1:3]))


def test_residual_curve_starts_with_one_plain_layer():
    networks = [["relu", kind, "width", layers, 9, 0.1, 0.0, 10.0 * layers + (kind == "residual")]
                for kind in ("plain", "residual") for layers in (1, 2, 3) if layers > 1 or kind == "plain"]  # fmt: skip
    depths, errors = depth.curve([{"networks": networks}], "relu", "residual", "width")
    assert depths.tolist() == [1, 2, 3] and errors.tolist() == [[10, 21, 31]]
    assert depth.curve([{"networks": networks}], "relu", "plain", "width")[1].tolist() == [[10, 20, 30]]


def test_digits_of_a_run_are_split_without_overlap():
    data = images.read(None)
    part, X_test, _ = depth.split(data, np.random.default_rng(0))
    assert (len(part.X), len(part.X_test), len(X_test)) == (1077, 360, 360)
    together = np.concatenate([part.X, part.X_test, X_test])
    everything = np.concatenate([data.X, data.X_test])
    assert np.array_equal(np.sort(together.sum(axis=1)), np.sort(everything.sum(axis=1)))


# ---- every experiment, in its quick form -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """Return the records of all experiments, run once."""
    out = tmp_path_factory.mktemp("papers")
    assert main(["all", "--quick", "--out", str(out)]) == 0
    return out


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_writes_a_table_and_a_figure(quick, name):
    record, experiment = results.read(quick, name), EXPERIMENTS[name]
    assert len(record.runs) == experiment.quick.runs
    assert record.rows and record.minutes > 0
    assert (quick / "results" / f"{experiment.section.name}.png").stat().st_size > 10_000
    page = (quick / "RESULTS.md").read_text()
    assert f"## {experiment.section.name}\n" in page and f"[{name}](#" in page
    assert all(row.quantity.replace("|", "\\|") in page for row in record.rows)


def test_symmetry_is_learnt_or_stuck_as_published(quick):
    runs = [run["0 and 1"] for run in results.read(quick, "symmetry").runs]
    learnt = [run for run in runs if run["error"] >= 0]
    assert len(learnt) >= len(runs) / 2
    assert min(run["correct"] for run in learnt) < symmetry.SWEEPS < max(run["correct"] for run in learnt)
    assert all(run["E"] <= 0.3463 for run in learnt)
    assert all(abs(run["E"] - 4) < 0.05 for run in runs if run["correct"] < 0)
    assert row(quick, "symmetry", "targets 0 and 1: opposite weights: largest sum over largest weight").met


def test_xor_takes_some_hundred_sweeps_with_momentum(quick):
    assert row(quick, "xor", "sweeps until all 4 are right; [-0.3, 0.3], alpha = 0.9, targets 0 and 1").met


def test_encoder_is_learnt_every_time(quick):
    assert all(run["close"] > 0 for run in results.read(quick, "encoder").runs)


def test_novikoff_bound_holds_and_57_is_never_passed(quick):
    runs = results.read(quick, "perceptron").runs
    assert all(run["converged"] and run["mistakes"] <= run["bound"] for run in runs)
    assert max(run["mistakes"] / run["bound"] for run in runs) > 0.1, "the bound is not idle"
    assert max(run["symmetry"] for run in runs) == 57


def test_literal_recipe_of_the_trees_learns_nothing(quick):
    runs = results.read(quick, "family-trees").runs
    assert all(run["literal"]["strict"] == {"trained": 0, "held out": 0} for run in runs)


def test_hidden_layer_beats_the_linear_classifier_on_digits(quick):
    errors = {name: results.read(quick, name).runs[0]["error"] for name in ("mnist-linear", "mnist-500-300-decay")}
    assert errors["mnist-500-300-decay"] < errors["mnist-linear"] / 2
    for recipe in mnist.RECIPES:
        record = results.read(quick, recipe.name)
        assert record.data == images.DIGITS
        assert [(row.published, row.met) for row in record.rows] == [("-", None)]
        assert len(record.choices) == len(recipe.candidates)


def test_eight_sigmoid_layers_need_normalization_or_skips(quick):
    runs = results.read(quick, "depth-digits").runs
    errors = {kind: depth.curve(runs, "sigmoid", kind, "width")[1][:, -1].mean() for kind in depth.KINDS}
    assert errors["plain"] > 75 and depth.curve(runs, "sigmoid", "plain", "width")[1][:, 0].mean() < 25
    assert max(errors["normalized"], errors["residual"], errors["normalized residual"]) < 40


def test_figure_that_is_not_met_needs_a_reason():
    with pytest.raises(ValueError, match="say in differs"):
        Row("sweeps", "558", "600", met=False)
    assert Row("sweeps", "558", "600", met=np.bool_(False), differs="the start").met is False
