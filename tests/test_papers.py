"""The published experiments: their known facts in the quick form, the trainer against the library, the command."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import json
import pkgutil
from collections import Counter

import numpy as np
import pytest

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
from benchmarks.papers.experiment import Experiment, Group, Row, Size
from benchmarks.papers.noise import GaussianNoise, UnscaledBatchNorm
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


# ---- the anchors, without training --------------------------------------------------------------------------------


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


# ---- images: from files or from the library ------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """Write the bundled digits as MNIST's four files."""
    X, y = hm.load_digits()
    pixels, labels = (255 * X).round().astype(np.uint8).reshape(-1, 8, 8), y.astype(np.uint8)
    parts = (pixels[:1400], labels[:1400], pixels[1400:], labels[1400:])
    for (name, _), part in zip(images.FILES.values(), parts, strict=True):
        hm.data.save_idx(tmp_path / f"{name}.gz", part)
    return tmp_path


def file(folder, what):
    return folder / f"{images.FILES[what][0]}.gz"


def test_images_are_scaled_and_not_taken_for_mnist(folder):
    X, y = hm.load_digits()
    found = images.read(folder)
    assert found.name not in (images.MNIST, images.DIGITS)
    assert found.X.shape == (1400, 64) and found.X_test.shape == (397, 64) and found.X.dtype == np.float32
    assert np.abs(found.X - X[:1400]).max() < 0.5 / 255 + 1e-7, "pixels were rounded to 1/255"
    np.testing.assert_array_equal(np.concatenate([found.y, found.y_test]), y)


def test_compressed_and_plain_files_are_read(folder):
    path = file(folder, "test labels")
    hm.data.save_idx(path.with_suffix(""), hm.load_idx(path))
    path.unlink()
    assert len(images.read(folder).y_test) == 397


def test_choices_are_made_without_the_test_set(folder):
    found = images.read(folder)
    part = found.for_choices()
    assert len(part.X_test) == found.held_out == 233
    np.testing.assert_array_equal(np.concatenate([part.X, part.X_test]), found.X)
    np.testing.assert_array_equal(np.concatenate([part.y, part.y_test]), found.y)


def missing(folder):
    file(folder, "training labels").unlink()


def truncated(folder):
    path = file(folder, "training images")
    path.write_bytes(path.read_bytes()[:-1000])


def truncated_before_compression(folder):
    path = file(folder, "training images")
    array = hm.load_idx(path)
    plain = path.with_suffix("")
    hm.data.save_idx(plain, array)
    plain.write_bytes(plain.read_bytes()[:-64])
    path.unlink()


def wrong_magic(folder):
    file(folder, "test images").write_bytes(b"\x89PNG and so on")


def swapped(folder):
    a, b = file(folder, "test images"), file(folder, "test labels")
    content = a.read_bytes(), b.read_bytes()
    a.write_bytes(content[1])
    b.write_bytes(content[0])


def labels_of_the_other_set(folder):
    file(folder, "training labels").write_bytes(file(folder, "test labels").read_bytes())


def shuffled_labels(folder):
    path = file(folder, "training labels")
    hm.data.save_idx(path, np.random.default_rng(0).permutation(hm.load_idx(path)))


def eleventh_class(folder):
    path = file(folder, "test labels")
    labels = hm.load_idx(path)
    labels[7] = 10
    hm.data.save_idx(path, labels)


def another_size(folder):
    path = file(folder, "test images")
    hm.data.save_idx(path, hm.load_idx(path)[:, :7])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (missing, "expected train-labels-idx1-ubyte.gz or train-labels-idx1-ubyte in"),
        (truncated, "expected a whole gzip file"),
        (truncated_before_compression, "the file is cut short"),
        (wrong_magic, "expected an IDX file"),
        (swapped, "expected test images, uint8 of 3 dimensions, got uint8 of shape (397,)"),
        (labels_of_the_other_set, "expected a label for each of the 1400 images"),
        (shuffled_labels, "the labels are in another order"),
        (eleventh_class, "expected labels from 0 to 9, got 10 in row 7"),
        (another_size, "expected images of (8, 8)"),
    ],
)
def test_damaged_data_are_refused_before_any_work(folder, tmp_path, capsys, damage, message):
    damage(folder)
    with pytest.raises(SystemExit, match="2"):
        main(["mnist", "--quick", "--data", str(folder), "--out", str(tmp_path / "new")])
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "new").exists()


def test_missing_data_folder_is_refused_before_any_work(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["mnist-linear", "--data", str(tmp_path / "nowhere"), "--out", str(tmp_path / "new")])
    assert "expected a folder with MNIST's IDX files" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


# ---- MNIST's rows ---------------------------------------------------------------------------------------------------


def test_every_published_figure_has_its_row():
    assert sorted(recipe.published for recipe in mnist.RECIPES) == sorted(
        [12.0, 4.7, 4.5, 3.05, 2.95, 1.6, 1.51, 1.53, 1.60, 1.35, 1.25, 1.06, 0.95]
    )


def test_networks_are_as_their_rows_say():
    built = {recipe.name: mnist.build(recipe, 784, np.random.default_rng(0)) for recipe in mnist.RECIPES}
    for recipe in mnist.RECIPES:
        dense = [layer for layer in built[recipe.name].layers if isinstance(layer, hm.Dense)]
        assert [layer.neuron_count for layer in dense] == [*recipe.hidden, 10], recipe.name
        drops = [layer.p for layer in built[recipe.name].layers if isinstance(layer, hm.Dropout)]
        assert drops == ([0.2, 0.5, 0.5, 0.5] if "dropout" in recipe.name else []), recipe.name
    assert built["mnist-linear"].parameter_count == 7850
    best_published = 784 * 8192 + 8192**2 + 8192 * 10
    assert round(best_published / built["mnist-best"].weight_count) == 48, "as the recipe of the group says"


def test_squared_error_has_targets_of_plus_and_minus_one():
    recipe = next(recipe for recipe in mnist.RECIPES if recipe.name == "mnist-300-mse")
    (row,) = mnist.targets(recipe, np.array([3]))
    assert row.tolist() == [-1, -1, -1, 1, -1, -1, -1, -1, -1, -1]
    assert mnist.build(recipe, 64, np.random.default_rng(0)).layers[-1].function == "tanh"


def recipe_and_images(**changes):
    recipe = next(recipe for recipe in mnist.RECIPES if recipe.name == "mnist-800")
    return dataclasses.replace(recipe, hidden=(20,), **changes), images.read(None)


def test_max_norm_bounds_hidden_units_only():
    recipe, data = recipe_and_images(max_norm=0.5)
    network, _ = mnist.train(recipe, data, np.random.default_rng(0), lambda *news: None, 5)
    norms = [np.linalg.norm(layer.W, axis=1).max() for layer in network.layers if isinstance(layer, hm.Dense)]
    assert norms[0] < 0.5 + 1e-6 < norms[1]


@pytest.mark.parametrize("module", [mnist, depth])
def test_interrupt_within_a_run_ends_the_command(module, monkeypatch):
    def interrupted(self, theta, gradient):
        raise KeyboardInterrupt

    monkeypatch.setattr(hm.Adam, "step", interrupted)
    recipe, data = recipe_and_images()
    with pytest.raises(KeyboardInterrupt):
        if module is mnist:
            mnist.train(recipe, data, np.random.default_rng(0), lambda *news: None, 5)
        else:
            depth.one_run(np.random.default_rng(0), 8, lambda *news: None, data)


def test_early_stopping_sets_the_epochs_of_the_final_run():
    recipe, data = recipe_and_images(patience=2, lr=0.1, epochs=40, candidates=({},))
    judged = mnist.judge(recipe, {}, np.random.default_rng(0), 40, lambda *news: None, images=data)
    assert 0 < judged["epochs"] < 40
    choices = [{"settings": {}, **judged}]
    (run,) = mnist.run(recipe, [np.random.default_rng(1)], 40, lambda *news: None, images=data, choices=choices)
    assert run["epochs"] == judged["epochs"]


def test_best_candidate_is_chosen_without_the_test_set():
    recipe, data = recipe_and_images(epochs=5)
    poisoned = dataclasses.replace(data, X_test=data.X_test * np.nan)  # the door refuses what is not finite
    candidates = [{"lr": 1e-9}, {"lr": 0.01}, {"lr": 1e-8}]
    choices = [
        {"settings": settings}
        | mnist.judge(recipe, settings, np.random.default_rng(0), 5, lambda *news: None, images=poisoned)
        for settings in candidates
    ]
    assert min(choices, key=lambda choice: choice["error"])["settings"] == {"lr": 0.01}
    (run,) = mnist.run(recipe, [np.random.default_rng(1)], 5, lambda *news: None, images=data, choices=choices)
    assert run["error"] < 20, "only the second learns anything"


def test_row_is_met_by_the_mean_on_mnist_only():
    recipe = next(recipe for recipe in mnist.RECIPES if recipe.name == "mnist-800")
    runs = [{"row": recipe.name, "data": images.MNIST, "error": error, "minutes": 1.0} for error in (1.5, 1.7)]
    (met,) = mnist.table(recipe, runs)
    assert (met.met, met.published, met.ours) == (True, "1.6 %", "mean 1.600 %")
    runs[0]["error"] = 1.51
    assert mnist.table(recipe, runs)[0].met is False
    (row,) = mnist.table(recipe, [run | {"data": images.DIGITS} for run in runs])
    assert (row.met, row.published) == (None, "-") and images.DIGITS in row.quantity


def test_noise_has_its_deviation_and_is_off_in_prediction():
    X = np.ones((1000, 10), np.float32)
    network = hm.Network([GaussianNoise(0.3, rng=0), hm.Dense(10, 10)], dtype=np.float32)
    layer = network.layers[0]
    H, cache = layer.forward(X, training=True)
    noise = H - 1
    # The estimate of a standard deviation from n numbers has the standard error std / sqrt(2 n); five of them.
    assert abs(noise.std() - 0.3) < 5 * 0.3 / np.sqrt(2 * X.size)
    np.testing.assert_array_equal(layer.predict(X), X)
    np.testing.assert_array_equal(layer.backward(X, cache), X)
    np.testing.assert_array_equal(network.predict(X), network.layers[1].predict(X))


def test_unscaled_batch_normalization_learns_its_shift_only():
    rng = np.random.default_rng(0)
    layers = [hm.Dense(4, 3, rng=rng), UnscaledBatchNorm(3), hm.Activation("tanh"), hm.Dense(3, 2, rng=rng)]
    network = hm.Network(layers)
    assert network.parameter_count == 5 * 3 + 3 + 4 * 2
    assert hm.check_gradient(network, rng.normal(size=(8, 4)), rng.integers(2, size=8)).passed
    before = network.layers[1].gamma.copy()
    hm.fit(network, rng.normal(size=(8, 4)), rng.integers(2, size=8), epochs=3, progress=False)
    np.testing.assert_array_equal(network.layers[1].gamma, before)
    assert np.abs(network.layers[1].beta).max() > 0


# ---- depth ----------------------------------------------------------------------------------------------------------


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


# ---- every experiment, in its quick form --------------------------------------------------------------------------


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


def row(out, name, quantity):
    (found,) = [row for row in results.read(out, name).rows if row.quantity == quantity]
    return found


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


# ---- the command --------------------------------------------------------------------------------------------------


def toy(name="toy", interrupt_at=None):
    """Build an experiment of one random number per run, three runs per chunk."""
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


def test_listing_names_every_experiment_and_runs_none(capsys, tmp_path):
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
def test_wrong_argument_is_refused_before_any_work(only_toys, capsys, tmp_path, arguments, message):
    only_toys(toy())
    with pytest.raises(SystemExit, match="2"):
        main([*arguments, "--out", str(tmp_path / "new")])
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_unwritable_folder_is_refused_before_any_work(only_toys, capsys, tmp_path):
    only_toys(toy())
    (tmp_path / "file").write_text("here already")
    with pytest.raises(SystemExit, match="2"):
        main(["toy", "--out", str(tmp_path / "file")])
    assert "expected a folder that can be written" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "here already"


def test_interrupted_run_resumes_and_ends_the_same(only_toys, tmp_path, capsys):
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


def test_run_i_of_a_seed_does_not_depend_on_their_number(only_toys, tmp_path):
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


def test_one_experiment_updates_its_part_of_the_page_only(only_toys, tmp_path):
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
def test_file_that_is_no_record_is_refused_before_any_work(only_toys, tmp_path, capsys, arguments, text):
    only_toys(toy())
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "toy.json").write_text(text)
    with pytest.raises(SystemExit, match="2"):
        main([*arguments, "--out", str(tmp_path)])
    assert "expected the record of an experiment" in capsys.readouterr().err


# ---- the command: groups, candidates, data --------------------------------------------------------------------------


def choosing(name, group=None, interrupt_at=None, candidates=({"a": 3}, {"a": 1}, {"a": 2})):
    """Build an experiment on images whose best choice is the smallest a."""
    calls = []

    def judge(settings, rng, sweeps, report, *, images):
        calls.append(settings)
        if len(calls) == interrupt_at:
            raise KeyboardInterrupt
        return {"error": float(settings["a"]), "drawn": float(rng.uniform())}

    def run(generators, sweeps, report, *, images, choices):
        calls.append("run")
        if len(calls) == interrupt_at:
            raise KeyboardInterrupt
        best = min(choices, key=lambda choice: choice["error"])
        return [{"value": best["settings"]["a"] + float(rng.uniform())} for rng in generators]

    part = toy(name)
    return dataclasses.replace(part, run=run, judge=judge, candidates=candidates, group=group, on_images=True,
                               chunk=1, full=Size(3, 1))  # fmt: skip


@pytest.mark.parametrize("interrupt_at", [2, 5])
def test_finished_candidates_are_kept_after_an_interrupt(only_toys, tmp_path, interrupt_at):
    only_toys(choosing("row", interrupt_at=interrupt_at))
    assert main(["row", "--out", str(tmp_path / "a")]) == 130
    record = results.read(tmp_path / "a", "row")
    assert (len(record.choices), len(record.runs)) == {2: (1, 0), 5: (3, 1)}[interrupt_at]
    only_toys(choosing("row"))
    for out in ("a", "b"):
        assert main(["row", "--out", str(tmp_path / out)]) == 0
    a, b = (results.read(tmp_path / out, "row") for out in "ab")
    assert values(tmp_path / "a", "row") == values(tmp_path / "b", "row")
    assert [choice["drawn"] for choice in a.choices] == [choice["drawn"] for choice in b.choices]
    assert len({choice["drawn"] for choice in a.choices}) == 1, "all candidates are judged from one seed"
    assert all(1 <= value < 2 for value in values(tmp_path / "a", "row"))


def test_runs_of_other_candidates_are_not_mixed_in(only_toys, tmp_path, folder, capsys):
    only_toys(choosing("row"))
    assert main(["row", "--out", str(tmp_path / "out")]) == 0
    with pytest.raises(SystemExit, match="2"):
        main(["row", "--out", str(tmp_path / "out"), "--data", str(folder)])
    assert "on the bundled digits, asked for are seed 0 and 1 on the images given by --data" in " ".join(
        capsys.readouterr().err.split()
    )
    only_toys(choosing("row", candidates=({"a": 3}, {"a": 0})))
    with pytest.raises(SystemExit, match="2"):
        main(["row", "--out", str(tmp_path / "out")])
    assert "chosen among other candidates" in " ".join(capsys.readouterr().err.split())


def test_group_has_one_section_and_its_name_runs_all(only_toys, tmp_path):
    drawn = []
    group = Group("table", "A table", "nowhere", "All.", lambda runs, figure: drawn.append(len(runs)))
    only_toys(choosing("one", group), toy("alone"), choosing("two", group))
    assert main(["table", "--out", str(tmp_path)]) == 0
    page = (tmp_path / "RESULTS.md").read_text()
    assert page.count("## table\n") == 1 and "## one" not in page and "## two" not in page
    assert "| one | a 1 | 1.00 % |" in page and "| two | a 3 | 3.00 % |" in page
    assert "Not run yet: alone." in page
    assert drawn == [6], "once, with the runs of both"
    assert not (tmp_path / "results" / "one.png").exists() and (tmp_path / "results" / "table.png").exists()
