"""The bundled digits, splits, labels and toy sets, each against values written here."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from handmade import data
from handmade.data import (
    blobs,
    load_digits,
    moons,
    parity,
    spirals,
    symmetry,
    train_test_split,
    xor,
)

EPS = np.finfo(np.float64).eps

# ---- digits --------------------------------------------------------------------------------------

FIRST_DIGIT = [
    [0, 0, 5, 13, 9, 1, 0, 0],
    [0, 0, 13, 15, 10, 15, 5, 0],
    [0, 3, 15, 2, 0, 11, 8, 0],
    [0, 4, 12, 0, 0, 8, 8, 0],
    [0, 5, 8, 0, 0, 9, 8, 0],
    [0, 4, 11, 0, 1, 12, 7, 0],
    [0, 2, 14, 5, 10, 12, 0, 0],
    [0, 0, 6, 13, 10, 0, 0, 0],
]


def test_digits_are_the_published_ones():
    X, y = load_digits()
    assert X.shape == (1797, 64) and X.dtype == np.float64
    assert y.shape == (1797,) and y.dtype == np.int64
    assert np.bincount(y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert X.min() == 0.0 and X.max() == 1.0
    np.testing.assert_array_equal((16 * X[0]).reshape(8, 8), FIRST_DIGIT)
    pixels = (16 * X).astype(np.uint8)
    np.testing.assert_array_equal(pixels / 16, X)
    assert (
        hashlib.sha256(pixels.tobytes()).hexdigest()
        == "8f26b2bd9d135c256808f68f14fdabddde6d9c7f869ae419704b051f0f14b3b3"
    )
    assert (
        hashlib.sha256(y.astype(np.uint8).tobytes()).hexdigest()
        == "8ba4f891220f5e4c9c819638d1602d74b83618f167043c6da52a2a247841ddf0"
    )


def test_digits_are_read_from_a_zipped_package(tmp_path):
    archive = tmp_path / "library.zip"
    package = Path(data.__file__).parent
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("handmade/__init__.py", "")
        for path in (*package.glob("*.py"), package / "digits.npz"):
            if path.name != "__init__.py":
                file.write(path, f"handmade/{path.name}")
    program = (
        f"import sys; sys.path.insert(0, {str(archive)!r})\n"
        "from handmade import data\n"
        "X, y = data.load_digits()\n"
        "print(data.__file__, X.shape, y.sum())"
    )
    command = [sys.executable, "-W", "error", "-c", program]
    output = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    inside = Path(archive, "handmade", "data.py")
    assert (output.stdout, output.stderr) == (f"{inside} (1797, 64) {load_digits()[1].sum()}\n", "")


# ---- train_test_split ----------------------------------------------------------------------------


@pytest.mark.parametrize("stratify", [False, True])
@pytest.mark.parametrize(
    ("test_size", "expected"),
    [(0.25, 10), (0.27, 11), (1, 1), (37, 37), (np.int64(5), 5), (0.001, 1), (0.95, 36 + 1)],
)
def test_split_keeps_every_sample_once_with_its_target(test_size, expected, stratify):
    n_samples = 38
    X = np.arange(2 * n_samples).reshape(n_samples, 2)
    y = np.arange(n_samples) % 3
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size, stratify=stratify, rng=0)
    assert len(X_test) == len(y_test) == expected
    together = np.concatenate([X_train, X_test])
    np.testing.assert_array_equal(np.concatenate([y_train, y_test]), together[:, 0] // 2 % 3)
    np.testing.assert_array_equal(together[np.argsort(together[:, 0])], X)


def test_split_takes_images_and_rows_of_targets():
    X, y = np.arange(24).reshape(4, 2, 3), np.arange(8).reshape(4, 2)
    X_train, X_test, y_train, y_test = train_test_split(X, y, 2, rng=0)
    assert X_train.shape == X_test.shape == (2, 2, 3)
    for images, rows in ((X_train, y_train), (X_test, y_test)):
        np.testing.assert_array_equal(images[:, 0, 0] // 3, rows[:, 0])


def test_split_is_random_and_repeats_with_its_seed():
    X = np.arange(1000)
    for stratify in (False, True):
        first = train_test_split(X, X % 2, rng=3, stratify=stratify)
        again = train_test_split(X, X % 2, rng=np.random.default_rng(3), stratify=stratify)
        other = train_test_split(X, X % 2, rng=4, stratify=stratify)
        for a, b in zip(first, again, strict=True):
            np.testing.assert_array_equal(a, b)
        for part in (0, 1):
            assert np.any(first[part] != other[part])
            # Sorted by sample or by class, next to no step goes down; in random order a quarter or more.
            for values in (first[part], first[part + 2]):
                assert np.mean(np.diff(values) < 0) > 0.15


@pytest.mark.parametrize("test_size", [1, 7, 20, 49, 0.1, 0.33, 0.5, 0.99])
def test_stratified_split_gives_each_class_its_share(test_size):
    counts = np.array([1, 2, 5, 31, 61])
    y = np.random.default_rng(0).permutation(np.repeat(np.arange(5), counts))
    y_test = train_test_split(y, y, test_size, stratify=True, rng=1)[3]
    share = counts * len(y_test) / len(y)
    drawn = np.bincount(y_test, minlength=5)
    assert np.all(drawn >= np.floor(share)) and np.all(drawn <= np.ceil(share))


def test_stratified_split_chooses_at_random_within_a_class():
    y = np.repeat([0, 1], 4)
    seen = {tuple(sorted(train_test_split(np.arange(8), y, 2, stratify=True, rng=seed)[1])) for seed in range(200)}
    assert seen == {(a, b) for a in range(4) for b in range(4, 8)}


@pytest.mark.parametrize(
    ("X", "y", "options", "error", "message"),
    [
        ([1, 2], [1, 2, 3], {}, ValueError, r"X of shape \(2,\) and y of shape \(3,\)"),
        (1.0, 2.0, {}, ValueError, r"one target for each sample.*shape \(\)"),
        (
            [1, 2],
            [1, 2],
            {"test_size": 0},
            ValueError,
            "count from 1 to 1, got 0, which puts 0 of 2",
        ),
        ([1, 2], [1, 2], {"test_size": 2}, ValueError, "puts 2 of 2"),
        ([1, 2], [1, 2], {"test_size": 1.0}, ValueError, "puts 2 of 2"),
        ([1, 2], [1, 2], {"test_size": -0.5}, ValueError, "fraction between 0 and 1"),
        ([1], [1], {}, ValueError, "at least 2 samples to split, got 1"),
        ([1, 2], [[1], [2]], {"stratify": True}, ValueError, r"^y: expected class labels of shape \(N,\) .* \(2, 1\)"),
        ([1, 2], [1, 2], {"test_size": "half"}, TypeError, "test_size: expected a fraction or a count, got 'half'"),
        ([1, 2], [1, 2], {"test_size": True}, TypeError, "test_size: expected a fraction or a count, got True"),
        ([1, 2], [1, 2], {"stratify": 1}, TypeError, "stratify: expected True or False, got 1"),
        ([1, 2], [1, 2], {"rng": "seed"}, TypeError, "rng: expected None, an integer >= 0 or .* got 'seed'"),
        (np.ma.array([1, 2]), [1, 2], {}, TypeError, "X: expected an array without a mask"),
        ([1, 2], np.ma.array([1, 2]), {}, TypeError, "y: expected an array without a mask"),
        (scipy.sparse.eye_array(2), [1, 2], {}, TypeError, r"X: expected a dense array, .* X.toarray\(\)"),
        ([1, 2], [1, 2], {"test_size": np.nan}, ValueError, "test_size: .* got nan"),
        ([1, 2], [1, 2], {"test_size": np.inf}, ValueError, "puts inf of 2"),
    ],
)
def test_split_names_bad_arguments(X, y, options, error, message):
    with pytest.raises(error, match=message):
        train_test_split(X, y, **options)


# ---- toy sets ------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [1, 2, 5])
@pytest.mark.parametrize(
    ("make", "rule"),
    [(parity, lambda word: word.count("1") % 2), (symmetry, lambda word: word == word[::-1])],
)
def test_binary_vectors_have_their_targets(make, rule, bits):
    X, y = make(bits)
    words = [format(n, f"0{bits}b") for n in range(2**bits)]
    np.testing.assert_array_equal(X, np.array([list(map(float, word)) for word in words]), strict=True)
    np.testing.assert_array_equal(y, np.array([int(rule(word)) for word in words]), strict=True)


def test_xor_and_symmetry_are_those_of_1986():
    np.testing.assert_array_equal(xor()[0], [[0, 0], [0, 1], [1, 0], [1, 1]])
    np.testing.assert_array_equal(xor()[1], [0, 1, 1, 0])
    assert xor()[0].dtype == np.float64 and xor()[1].dtype == np.int64
    X, y = symmetry()
    assert X.shape == (64, 6)
    np.testing.assert_array_equal(np.flatnonzero(y), [0, 12, 18, 30, 33, 45, 51, 63])


POINT_SETS = [
    (lambda n, **options: spirals(n, 3, **options), 3, "noise"),
    (moons, 2, "noise"),
    (lambda n, **options: blobs(n, 4, **options), 4, "cluster_std"),
]


@pytest.mark.parametrize("n_samples", [1, 2, 3, 7, 100])
@pytest.mark.parametrize(("make", "classes", "noise"), POINT_SETS)
def test_point_sets_have_exact_counts_and_dtypes(make, classes, noise, n_samples):
    X, y = make(n_samples, rng=0)
    assert X.shape == (n_samples, 2) and X.dtype == np.float64 and np.isfinite(X).all()
    np.testing.assert_array_equal(y, np.array([n % classes for n in range(n_samples)]), strict=True)


@pytest.mark.parametrize(("make", "classes", "noise"), POINT_SETS)
def test_point_sets_repeat_with_their_seed(make, classes, noise):
    first, _ = make(50, rng=1, **{noise: 0.3})
    again, _ = make(50, rng=np.random.default_rng(1), **{noise: 0.3})
    other, _ = make(50, rng=2, **{noise: 0.3})
    np.testing.assert_array_equal(first, again)
    assert np.all(first != other)


@pytest.mark.parametrize(
    ("short", "long"),
    [
        (spirals(9), spirals(9, 2, noise=0.0, turns=1.0)),
        (moons(9), moons(9, noise=0.0)),
        (blobs(9, rng=0), blobs(9, 3, cluster_std=1.0, rng=0)),
        (symmetry(), symmetry(6)),
        (
            train_test_split(range(9), range(9), rng=0)[:2],
            train_test_split(range(9), range(9), 0.25, stratify=False, rng=0)[:2],
        ),
    ],
)
def test_defaults_are_the_documented_ones(short, long):
    for a, b in zip(short, long, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


@pytest.mark.parametrize(
    "make",
    [
        lambda std: spirals(20_000, noise=std, rng=0)[0] - spirals(20_000)[0],
        lambda std: moons(20_000, noise=std, rng=0)[0] - moons(20_000)[0],
        lambda std: blobs(20_000, [[0.0, 0.0]], cluster_std=std, rng=0)[0],
    ],
)
def test_noise_is_gaussian_with_the_given_deviation(make):
    noise = make(0.25) / 0.25
    # Five standard errors: 1 / sqrt(n) for mean and product, sqrt(2 / n) for the variance.
    n = len(noise)
    assert np.all(np.abs(noise.mean(axis=0)) < 5 / np.sqrt(n))
    covariance = noise.T @ noise / n
    np.testing.assert_array_less(np.abs(covariance - np.eye(2)), 5 * np.sqrt(2 / n))
    # 0.3173 of a Gaussian lies beyond one standard deviation: of a uniform distribution 0.4226.
    beyond = np.mean(np.abs(noise) > 1)
    assert abs(beyond - 0.3173) < 5 * np.sqrt(0.3173 * 0.6827 / (2 * n))


def test_spirals_follow_their_formula():
    X, y = spirals(30, 3, turns=1.5)
    radius = np.hypot(*X.T)
    turn = np.arctan2(X[:, 1], X[:, 0]) / (2 * np.pi)
    for k in range(3):
        steps = np.arange(1, 11) / 10
        # A handful of roundings each; the angle, up to 14 here, carries its own rounding into cos and sin.
        np.testing.assert_allclose(radius[y == k], steps, rtol=4 * EPS)
        off = turn[y == k] - (1.5 * steps + k / 3)
        np.testing.assert_allclose(off - np.rint(off), 0.0, atol=16 * EPS)


def test_a_moon_of_two_points_has_its_two_ends():
    np.testing.assert_allclose(moons(4)[0], [[1, 0], [0, 0.5], [-1, 0], [2, 0.5]], atol=EPS)


def test_moons_lie_on_half_circles():
    X, y = moons(11)
    upper, lower = X[y == 0], X[y == 1]
    t = np.pi * np.arange(6) / 5
    # cos and sin are at most 1, the angle at most pi: its rounding is below 4 eps.
    np.testing.assert_allclose(upper, np.column_stack([np.cos(t), np.sin(t)]), atol=4 * EPS)
    t = np.pi * np.arange(5) / 4
    np.testing.assert_allclose(lower, np.column_stack([1 - np.cos(t), 0.5 - np.sin(t)]), atol=4 * EPS)


def test_blobs_without_noise_lie_on_their_centers():
    centers = np.array([[1.0, 2.0, 3.0], [-4.0, 5.0, 6.0]])
    X, y = blobs(5, centers, cluster_std=0.0)
    np.testing.assert_array_equal(X, centers[[0, 1, 0, 1, 0]])
    drawn, y = blobs(3000, 1000, cluster_std=0.0, rng=0)
    assert drawn.min() >= -10 and drawn.max() < 10
    # All of 2,000 uniform draws miss the outer hundredth of the range with probability 0.99**2000 < 2e-9.
    assert drawn.min() < -9.8 and drawn.max() > 9.8
    np.testing.assert_array_equal(drawn[y == 7], drawn[[7, 7, 7]])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: parity(0), ValueError, "bits: expected an integer of at least 1, got 0"),
        (lambda: symmetry(21), ValueError, "bits: expected an integer from 1 to 20, got 21"),
        (lambda: parity(2.0), TypeError, "bits: expected an integer .* got 2.0"),
        (lambda: spirals(0), ValueError, "n_samples: expected an integer of at least 1, got 0"),
        (lambda: moons(10.0), TypeError, "n_samples: expected an integer .* got 10.0"),
        (lambda: spirals(10, 0), ValueError, "classes: expected an integer of at least 1, got 0"),
        (lambda: spirals(10, noise=-1.0), ValueError, "noise: expected a finite number >= 0, got -1.0"),
        (lambda: moons(10, noise=np.nan), ValueError, "noise: expected a finite number >= 0, got nan"),
        (lambda: spirals(10, turns=np.inf), ValueError, "turns: expected a number from -1e6 to 1e6, got inf"),
        (lambda: moons(10, noise="a"), TypeError, "noise: expected a finite number >= 0, got 'a'"),
        (lambda: moons(10, rng=-1), ValueError, "rng: expected None"),
        (lambda: blobs(10, cluster_std=np.inf), ValueError, "cluster_std: .* got inf"),
        (lambda: blobs(10, 0), ValueError, "centers: expected an integer of at least 1, got 0"),
        (
            lambda: blobs(10, 2.0),
            ValueError,
            r"centers: expected a count or an array of shape \(K, I\), K >= 1, got shape \(\)",
        ),
        (lambda: blobs(10, [1.0, 2.0]), ValueError, r"\(K, I\), K >= 1, got shape \(2,\)"),
        (lambda: blobs(10, np.empty((0, 2))), ValueError, r"K >= 1, got shape \(0, 2\)"),
        (
            lambda: blobs(10, [[1.0, np.nan]]),
            ValueError,
            r"centers: expected finite numbers, got nan at",
        ),
        (lambda: blobs(10, [["a"]]), TypeError, "centers: expected an array of numbers"),
    ],
)
def test_toy_sets_name_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "named", "sizes"),
    [
        (spirals, {"classes": 2, "noise": 0.0, "turns": 1.0}, 2),
        (moons, {"noise": 0.0}, 2),
        (blobs, {"centers": 3, "cluster_std": 1.0}, 3),
    ],
)
def test_toy_sets_use_their_documented_defaults(make, named, sizes):
    X, y = make(30, rng=0)
    np.testing.assert_array_equal(X, make(30, rng=0, **named)[0])
    assert np.bincount(y).tolist() == [30 // sizes] * sizes


@pytest.mark.parametrize("make", [spirals, moons])
def test_noise_is_added_as_it_is_drawn(make):
    (X, _), (clean, _) = make(20, noise=0.5, rng=3), make(20)
    np.testing.assert_array_equal(X, clean + np.random.default_rng(3).normal(0.0, 0.5, clean.shape))
    X, _ = blobs(20, [[1.0, 2.0]], cluster_std=0.5, rng=3)
    np.testing.assert_array_equal(X, np.array([[1.0, 2.0]]) + np.random.default_rng(3).normal(0.0, 0.5, (20, 2)))


def test_centers_are_real_numbers():
    assert blobs(2, np.array([[1, 2], [3, 4]], np.int8), cluster_std=0.0)[0].dtype == np.float64
    with pytest.raises(TypeError):
        blobs(2, [[1j, 0.0]])


def test_the_bounds_of_bits_are_allowed():
    assert parity(1)[0].shape == (2, 1) and parity(np.int8(20))[0].shape == (2**20, 20)


@pytest.mark.parametrize("make", [lambda: moons(5), lambda: spirals(5), lambda: blobs(5), lambda: parity(3), symmetry])
def test_labels_are_int64_where_integers_have_32_bits(make, monkeypatch):
    """On such a platform np.arange gives int32 by default."""
    arange = np.arange
    monkeypatch.setattr(np, "arange", lambda *a, **k: arange(*a, **({"dtype": np.int32} | k)))
    assert make()[1].dtype == np.int64


# ---- encode_labels -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "classes", "y"),
    [
        (["dog", "cat", "dog"], ["cat", "dog"], [1, 0, 1]),
        (np.array(["b", "a"], dtype=object), ["a", "b"], [1, 0]),
        (pd.Series(["b", "a", "b"]), ["a", "b"], [1, 0, 1]),
        (pd.Categorical(["b", "a"]), ["a", "b"], [1, 0]),
        ([3, 7, 3], [3, 7], [0, 1, 0]),
        (np.array([2, -1], np.int8), [-1, 2], [1, 0]),
        ([1.5, 0.5], [0.5, 1.5], [1, 0]),
        ([True, False], [False, True], [1, 0]),
        ([b"x", b"y"], [b"x", b"y"], [0, 1]),
        ([], [], []),
    ],
)
def test_encode_labels_numbers_classes_in_order(labels, classes, y):
    indices, found = data.encode_labels(labels)
    np.testing.assert_array_equal(indices, np.array(y, np.int64), strict=True)
    assert found.tolist() == classes
    np.testing.assert_array_equal(found[indices], np.asarray(labels))
    again, same = data.encode_labels(labels, found[::-1])
    np.testing.assert_array_equal(same[again], np.asarray(labels))


@pytest.mark.parametrize(
    ("labels", "classes", "error", "message"),
    [
        (["a", "d"], ["a", "b"], ValueError, r"labels: expected one of \['a', 'b'\], got 'd'"),
        (["a"], ["a", "a"], ValueError, r"classes: expected distinct classes, got \['a', 'a'\]"),
        (["a", None], None, TypeError, "labels: expected text, numbers or booleans, got objects of NoneType, str"),
        (["a", np.nan], None, TypeError, "labels: expected text, numbers or booleans, got objects of float, str; fill"),
        ([1, "a"], None, TypeError, "labels: expected text, numbers or booleans, got objects of int, str"),
        (["a"], ("a", 1), TypeError, "classes: expected text, numbers or booleans, got objects of int, str"),
        ([1.0, np.nan], None, ValueError, "labels: expected a label for each sample, got nan at index 1"),
        ([["a"]], None, ValueError, r"labels: expected a vector of shape \(N,\), got shape \(1, 1\)"),
        ("cat", None, TypeError, "labels: expected an array, got str"),
        ([1j], None, TypeError, "labels: expected text, numbers or booleans, got dtype complex128"),
        (np.ma.array(["a"]), None, TypeError, "labels: expected an array without a mask"),
        (["a"], [["a"]], ValueError, "classes: expected a vector"),
    ],
)
def test_encode_labels_names_bad_input(labels, classes, error, message):
    with pytest.raises(error, match=message):
        data.encode_labels(labels, classes)


@pytest.mark.parametrize("odd", [np.nan, None, 3])
def test_a_split_makes_no_text_of_what_is_none(odd):
    """A label that is missing is no class 'nan' afterwards."""
    labels = ["a", "b", odd, "a", "b", "a", "b", odd]
    _, _, y_train, y_test = data.train_test_split(np.ones((8, 2)), labels, rng=0)
    found = [*y_train, *y_test]
    assert sum(label is odd for label in found) == 2 and sum(isinstance(label, str) for label in found) == 6
    with pytest.raises(TypeError, match="labels: expected text, numbers or booleans, got objects of"):
        data.encode_labels(np.array(found, object))
    with pytest.raises(TypeError, match="y: expected labels of one type for stratify=True"):
        data.train_test_split(np.ones((8, 2)), labels, stratify=True)
    assert data.train_test_split(np.ones((4, 2)), list("abab"), rng=0)[2].dtype.kind == "U"


def test_stratified_split_does_not_depend_on_the_sort():
    """Evenly spaced from the samples by class, within a class as drawn: Python's sort keeps equals in their order."""
    y = np.random.default_rng(0).integers(0, 2, 500)
    by_class = sorted(np.random.default_rng(7).permutation(500).tolist(), key=lambda n: y[n])
    picked = train_test_split(np.arange(500), y, 100, stratify=True, rng=7)[1]
    assert sorted(picked.tolist()) == sorted(by_class[i * 5] for i in range(100))
