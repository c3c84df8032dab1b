"""The published experiments: their anchors in the quick form, the trainer beside the library, the command."""

from __future__ import annotations

import doctest
import importlib
import json
import pkgutil
from collections import Counter

import numpy as np
import pytest

import benchmarks.papers
import handmade as hm
from benchmarks.papers import family, family_trees, local_minimum, perceptron, results, symmetry, xor
from benchmarks.papers.__main__ import main
from benchmarks.papers.experiment import Experiment, Row, Size
from benchmarks.papers.recipe import SUMMED, at_most, learn, mlp
from benchmarks.papers.registry import EXPERIMENTS
from benchmarks.papers.side_by_side import SideBySide, summed_error

MODULES = [module.name for module in pkgutil.iter_modules(benchmarks.papers.__path__) if module.name != "__main__"]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    assert doctest.testmod(importlib.import_module(f"benchmarks.papers.{name}")).failed == 0


# ---- many networks side by side, against the library's one --------------------------------------------------------

SHAPES = {
    "chain": (mlp(6, 2, 1), symmetry.X, symmetry.Y),
    "direct connections": (xor.network, xor.X, xor.Y),
    "two groups": (family_trees.network, family_trees.X, family_trees.Y),
}


def three(build):
    return [build(1.0, np.random.default_rng(seed)) for seed in range(3)]


@pytest.mark.parametrize("shape", SHAPES)
def test_side_by_side_has_the_outputs_errors_and_gradients_of_the_single_networks(shape):
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
def test_side_by_side_learns_as_the_library_does_by_equation_9(shape):
    build, X, Y = SHAPES[shape]
    outcome = learn(three(build), X, Y, hm.Momentum1986(0.05, 0.5), 20, {"never": at_most(0)}, lambda *news: None)
    for theta, network in zip(outcome.theta, three(build), strict=True):
        optimizer = hm.Momentum1986(0.05, 0.5)
        for _ in range(20):
            optimizer.step(network.theta, network.loss_and_gradient(X, Y, loss=SUMMED)[1])
        np.testing.assert_allclose(theta, network.theta, rtol=0, atol=1e-12)  # 20 steps of about 1e-14 each


def test_a_run_does_not_depend_on_its_company_to_the_last_bit():
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


def test_a_goal_is_counted_in_sweeps_and_its_weights_are_those_that_meet_it():
    network = mlp(6, 2, 1)(0.3, np.random.default_rng([0, 12]))
    outcome = learn(
        [network], symmetry.X, symmetry.Y, hm.Momentum1986(), 5000, {"E": at_most(1.0)}, lambda *news: None
    )
    optimizer, sweeps = hm.Momentum1986(), 0
    while (found := network.loss_and_gradient(symmetry.X, symmetry.Y, loss=SUMMED))[0] > 1.0:
        optimizer.step(network.theta, found[1])
        sweeps += 1
    assert outcome.reached["E"][0] == sweeps > 100
    assert outcome.error[0] <= 1.0
    np.testing.assert_allclose(outcome.error[0], found[0], rtol=1e-6)  # rounding, grown over the sweeps


def test_a_layer_that_cannot_be_trained_side_by_side_is_refused():
    network = hm.MLP([2, 2, 1], normalization="batch")
    with pytest.raises(TypeError, match="BatchNorm"):
        SideBySide(network, network.theta[np.newaxis])


# ---- the anchors, without training --------------------------------------------------------------------------------


@pytest.mark.parametrize(("source", "error"), [("Nature, Fig. 1", 0.346), ("PDP, chapter 8", 0.354)])
def test_the_published_symmetry_weights_have_64_of_64_right(source, error):
    outputs, found, _ = symmetry.at_published_weights(source)
    assert ((outputs > 0.5) == symmetry.Y).all()
    assert abs(found - error) < 0.0005
    if source.startswith("Nature"):
        assert np.round([*outputs[symmetry.Y == 1]], 3).tolist() == [0.881] * 8
        others = outputs[symmetry.Y == 0]
        assert (len(others), round(others.min(), 3), round(others.max(), 3)) == (56, 0.083, 0.156)


@pytest.mark.parametrize("source", symmetry.PUBLISHED)
def test_the_published_symmetry_weights_stand_still_for_targets_of_one_and_nine_tenths(source):
    slopes = {kind: symmetry.at_published_weights(source, Y)[2] for kind, Y in symmetry.TARGETS.items()}
    assert slopes["0.1 and 0.9"] < slopes["0 and 1"] / 20


def test_the_pattern_of_the_published_weights_is_1_to_2_to_4():
    asymmetry, magnitudes = symmetry.shape(symmetry.PUBLISHED["Nature, Fig. 1"][0])
    assert asymmetry == 0
    np.testing.assert_allclose(magnitudes, [[1, 2, 14.2 / 3.6], [1, 7.1 / 3.6, 14.2 / 3.6]])


def test_the_trees_have_104_cases_and_56_facts_each():
    assert len(family.CASES) == len(set(family.CASES)) == 104
    assert sum(len(relatives) for _, _, relatives in family.CASES) == 2 * 56
    counts = Counter(person for person, _, _ in family.CASES)
    expected = {3: ["Christopher", "Penelope", "Andrew", "Christine", "Margaret", "Charles"],
                6: ["Arthur", "Victoria", "James", "Jennifer"], 5: ["Colin", "Charlotte"]}  # fmt: skip
    english = {name: count for count, names in expected.items() for name in names}
    assert {name: counts[name] for name in english} == english
    assert sum(english.values()) == 52


def test_the_trees_know_aunts_by_marriage_and_are_alike():
    assert ("Colin", "aunt", ("Margaret", "Jennifer")) in family.CASES
    assert ("Charles", "nephew", ("Colin",)) in family.CASES
    translated = dict(zip(family.ENGLISH, family.ITALIAN, strict=True))
    english = [case for case in family.CASES if case[0] in family.ENGLISH]
    italian = [(translated[p], r, tuple(translated[name] for name in names)) for p, r, names in english]
    assert italian == [case for case in family.CASES if case[0] in family.ITALIAN]


def test_no_relative_is_missing_and_each_relation_has_its_inverse():
    facts = {(p, r, name) for p, r, names in family.CASES for name in names}
    pairs = [("husband", "wife"), ("father mother", "son daughter"), ("brother sister", "brother sister"),
             ("uncle aunt", "nephew niece")]  # fmt: skip
    for one, other in pairs:
        forth = {(a, b) for a, r, b in facts if r in one.split()}
        back = {(b, a) for a, r, b in facts if r in other.split()}
        assert forth == back, (one, other)


def test_the_two_criteria_of_the_trees():
    H = np.full((1, 104, 24), 0.1)
    H[0][family_trees.Y == 1] = 0.7  # the largest, and not above 0.8
    right = family_trees.answers(H)
    assert (right["strict"].sum(), right["largest"].sum()) == (0, 104)
    H[0][family_trees.Y == 1] = 0.9
    assert family_trees.answers(H)["strict"].sum() == 104
    H[0, 0, :] = 0.9
    assert family_trees.answers(H)["strict"].sum() == family_trees.answers(H)["largest"].sum() == 103


def test_a_unit_that_is_a_feature_correlates_with_it_fully():
    person = np.random.default_rng(0).normal(size=(6, 24))
    person[2], person[4] = 3 * family.NATIONALITY + 1, -2.0 * family.BRANCH
    found = family_trees.correlations(person)
    np.testing.assert_allclose([found[2, 0], found[4, 2]], 1)
    assert found[2, 1:].max() < 1e-12, "the features do not correlate with each other"


@pytest.mark.parametrize("name", local_minimum.TARGETS)
def test_the_local_minimum_is_a_valley_that_descent_does_not_leave(name):
    found = local_minimum.judge(name)
    assert found["slope"] < found["rounding"] < 0.1
    assert found["falls"]
    assert local_minimum.VALLEY[name] < found["E after"] < found["E"]
    assert found["slope after"] < found["slope"] / 10
    assert (found["curvatures after"] > local_minimum.BLUR).all(), "nine directions, and all go up"


def test_the_published_outputs_of_the_local_minimum_are_at_targets_of_one_and_nine_tenths():
    slopes = {name: local_minimum.judge(name)["slope"] for name in local_minimum.TARGETS}
    assert slopes["0.1 and 0.9"] < slopes["0 and 1"] / 10


def test_the_hessian_by_differences_is_that_of_a_function_known_in_closed_form():
    # One weight path, X = (0, 0): E = 4 terms of biases only; against second differences of E itself.
    theta = np.array(local_minimum.PUBLISHED) / 4  # where nothing is saturated
    H, h = local_minimum.hessian(theta, xor.Y), 1e-3
    for i in range(9):
        step = h * np.eye(9)[i]
        E = [local_minimum.gradient(theta + k * step, xor.Y)[0] for k in (-1, 0, 1)]
        assert abs((E[0] - 2 * E[1] + E[2]) / h**2 - H[i, i]) < 1e-6  # h^2 / 12 times a fourth derivative of about 1


def test_xor_goes_round_for_ever():
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


def test_no_perceptron_has_more_than_57_of_64_right_and_one_has_57():
    quadruples = perceptron.certificate()
    assert len(quadruples) == 28
    used = Counter(tuple(vector) for _, _, u, v in quadruples for vector in (u, v))
    assert len(used) == 56 and set(used.values()) == {1}
    for s, t, u, v in quadruples:
        np.testing.assert_array_equal(s + t, u + v)
        assert all(np.array_equal(vector, vector[::-1]) for vector in (s, t))
        assert not any(np.array_equal(vector, vector[::-1]) for vector in (u, v))
    assert perceptron.upper_bound() == perceptron.reached() == 57


def test_drawn_data_have_the_margin_they_are_said_to_have():
    X, y, w = perceptron.separable(np.random.default_rng(0))
    assert abs(np.linalg.norm(w) - 1) < 1e-12
    margins = y * (X @ w)
    assert 0 < margins.min() < 0.3 + 1e-12
    assert perceptron.novikoff(X, y, w) == (np.linalg.norm(X, axis=1).max() / margins.min()) ** 2


# ---- every experiment, in its quick form --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """The records of all experiments, run once."""
    out = tmp_path_factory.mktemp("papers")
    assert main(["all", "--quick", "--out", str(out)]) == 0
    return out


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_runs_and_writes_a_table_and_a_figure(quick, name):
    record, experiment = results.read(quick, name), EXPERIMENTS[name]
    assert len(record.runs) == experiment.quick.runs
    assert record.rows and record.minutes > 0
    assert (quick / "results" / f"{name}.png").stat().st_size > 10_000
    page = (quick / "RESULTS.md").read_text()
    assert f"## {name}" in page
    assert all(row.quantity.replace("|", "\\|") in page for row in record.rows)


def row(out, name, quantity):
    (found,) = [row for row in results.read(out, name).rows if row.quantity == quantity]
    return found


def test_symmetry_is_learnt_within_the_distribution_and_stuck_at_always_no_or_not_at_all(quick):
    runs = [run["0 and 1"] for run in results.read(quick, "symmetry").runs]
    learnt = [run for run in runs if run["error"] >= 0]
    assert len(learnt) >= len(runs) / 2
    assert min(run["correct"] for run in learnt) < symmetry.SWEEPS < max(run["correct"] for run in learnt)
    assert all(run["E"] <= 0.3463 for run in learnt)
    assert all(abs(run["E"] - 4) < 0.05 for run in runs if run["correct"] < 0)
    assert row(quick, "symmetry", "targets 0 and 1: opposite weights: largest sum over largest weight").met


def test_xor_takes_some_hundred_sweeps_with_momentum(quick):
    assert row(quick, "xor", "sweeps until all 4 are right; [-0.3, 0.3], alpha = 0.9, targets 0 and 1").met


def test_the_encoder_is_learnt_every_time(quick):
    assert all(run["close"] > 0 for run in results.read(quick, "encoder").runs)


def test_novikoffs_bound_holds_and_57_is_never_passed(quick):
    runs = results.read(quick, "perceptron").runs
    assert all(run["converged"] and run["mistakes"] <= run["bound"] for run in runs)
    assert max(run["mistakes"] / run["bound"] for run in runs) > 0.1, "the bound is not idle"
    assert max(run["symmetry"] for run in runs) == 57


def test_the_literal_recipe_of_the_family_trees_learns_nothing(quick):
    runs = results.read(quick, "family-trees").runs
    assert all(run["literal"]["strict"] == {"trained": 0, "held out": 0} for run in runs)


def test_a_figure_that_is_not_met_needs_a_reason():
    with pytest.raises(ValueError, match="say in differs"):
        Row("sweeps", "558", "600", met=False)
    assert Row("sweeps", "558", "600", met=np.bool_(False), differs="the start").met is False


# ---- the command --------------------------------------------------------------------------------------------------


def toy(name="toy", interrupt_at=None):
    """An experiment of one random number a run, three runs a chunk."""
    calls = []

    def run(generators, sweeps, report):
        calls.append(len(generators))
        if len(calls) == interrupt_at:
            raise KeyboardInterrupt
        return [{"value": float(rng.uniform()) * sweeps} for rng in generators]

    def table(runs):
        return [Row("mean", "-", f"{np.mean([run['value'] for run in runs]):.6f}", len(runs))]

    def draw(runs, figure):
        figure.subplots().plot([run["value"] for run in runs])

    return Experiment(name, "A toy", "nowhere", "None.", Size(7, 10), Size(2, 1), 3, run, table, draw)


@pytest.fixture
def only_toys(monkeypatch):
    def put(*experiments):
        for name in list(EXPERIMENTS):
            monkeypatch.delitem(EXPERIMENTS, name)
        for experiment in experiments:
            monkeypatch.setitem(EXPERIMENTS, experiment.name, experiment)

    return put


def values(out, name="toy"):
    return [run["value"] for run in json.loads((out / "results" / f"{name}.json").read_text())["runs"]]


def test_the_listing_names_every_experiment_and_runs_none(capsys, tmp_path):
    assert main(["--out", str(tmp_path)]) == 0
    listing = capsys.readouterr().out
    assert all(f"\n{name} " in listing for name in EXPERIMENTS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["toy", "--seeds", "0"], "expected an integer of at least 1, got '0'"),
        (["toy", "--seeds", "many"], "expected an integer of at least 1, got 'many'"),
        (["toy", "--seed", "-1"], "expected an integer of at least 0, got '-1'"),
        (["xor2"], "unknown experiment 'xor2'; there are: all, toy"),
    ],
)
def test_a_wrong_argument_is_said_before_any_work(only_toys, capsys, tmp_path, arguments, message):
    only_toys(toy())
    with pytest.raises(SystemExit, match="2"):
        main([*arguments, "--out", str(tmp_path / "new")])
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_written_is_said_before_any_work(only_toys, capsys, tmp_path):
    only_toys(toy())
    (tmp_path / "file").write_text("here already")
    with pytest.raises(SystemExit, match="2"):
        main(["toy", "--out", str(tmp_path / "file")])
    assert "expected a folder that can be written" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "here already"


def test_an_interrupted_run_goes_on_where_it_stopped_and_ends_as_if_it_had_not(only_toys, tmp_path, capsys):
    only_toys(toy(interrupt_at=2))
    assert main(["toy", "--out", str(tmp_path / "a")]) == 130
    assert "saved" in capsys.readouterr().err
    assert len(values(tmp_path / "a")) == 3
    assert f"| mean | - | {np.mean(values(tmp_path / 'a')):.6f} | 3 |" in (tmp_path / "a" / "RESULTS.md").read_text()
    only_toys(toy())
    assert main(["toy", "--out", str(tmp_path / "a")]) == 0
    assert main(["toy", "--out", str(tmp_path / "b")]) == 0
    assert values(tmp_path / "a") == values(tmp_path / "b")
    assert len(values(tmp_path / "b")) == 7


def test_run_i_of_a_seed_is_the_same_however_many_there_are(only_toys, tmp_path):
    only_toys(toy())
    for name, seeds, seed in (("a", 2, 0), ("b", 5, 0), ("c", 5, 1)):
        assert main(["toy", "--seeds", str(seeds), "--seed", str(seed), "--out", str(tmp_path / name)]) == 0
    a, b, c = (values(tmp_path / name) for name in "abc")
    assert a == b[:2] and len(b) == 5
    assert not set(b) & set(c)


def test_runs_of_another_seed_are_not_mixed_in(only_toys, tmp_path, capsys):
    only_toys(toy())
    assert main(["toy", "--seeds", "2", "--out", str(tmp_path)]) == 0
    before = values(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main(["toy", "--seed", "1", "--out", str(tmp_path)])
    assert "--fresh" in capsys.readouterr().err
    assert values(tmp_path) == before
    assert main(["toy", "--seeds", "2", "--seed", "1", "--fresh", "--out", str(tmp_path)]) == 0
    assert values(tmp_path) != before


def test_running_one_experiment_updates_its_part_of_the_page_only(only_toys, tmp_path):
    only_toys(toy("one"), toy("two"))
    assert main(["one", "--seeds", "2", "--out", str(tmp_path)]) == 0
    first = (tmp_path / "RESULTS.md").read_text()
    assert "## one" in first and "Not run yet: two." in first
    assert main(["two", "--out", str(tmp_path)]) == 0
    assert main(["one", "--seeds", "3", "--out", str(tmp_path)]) == 0
    page = (tmp_path / "RESULTS.md").read_text()
    for name, runs in (("one", 3), ("two", 7)):
        found = values(tmp_path, name)
        assert len(found) == runs and f"| mean | - | {np.mean(found):.6f} | {runs} |" in page


@pytest.mark.parametrize("text", ["[1, 2", "{}", '{"experiment": "toy", "sum": 3}'])
@pytest.mark.parametrize("arguments", [["toy"], []])
def test_a_file_that_is_no_record_is_said_before_any_work(only_toys, tmp_path, capsys, arguments, text):
    only_toys(toy())
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "toy.json").write_text(text)
    with pytest.raises(SystemExit, match="2"):
        main([*arguments, "--out", str(tmp_path)])
    assert "expected the record of an experiment" in capsys.readouterr().err
