"""The data of the papers' experiments: images from files or the library, MNIST's rows."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from papers_of_tests import write_digits

import handmade as hm
from benchmarks.papers import depth, images, mnist
from benchmarks.papers.__main__ import main
from benchmarks.papers.noise import GaussianNoise, UnscaledBatchNorm

# ---- images: from files or from the library --------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    return write_digits(tmp_path)


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


# ---- MNIST's rows ----------------------------------------------------------------------------------------------------


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


@pytest.mark.filterwarnings("ignore:dead units:handmade.TrainingWarning")  # so it soon stops to improve
def test_early_stopping_sets_the_epochs_of_the_final_run():
    recipe, data = recipe_and_images(patience=2, lr=0.1, epochs=40, candidates=({},))
    judged = mnist.judge(recipe, {}, np.random.default_rng(0), 40, lambda *news: None, images=data)
    assert 0 < judged["epochs"] < 40
    choices = [{"settings": {}, **judged}]
    (run,) = mnist.run(recipe, [np.random.default_rng(1)], 40, lambda *news: None, images=data, choices=choices)
    assert run["epochs"] == judged["epochs"]


def test_best_candidate_is_chosen_without_the_test_set():
    recipe, data = recipe_and_images(epochs=5)
    poisoned = dataclasses.replace(data, X_test=data.X_test * np.nan)  # fit refuses NaN
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
