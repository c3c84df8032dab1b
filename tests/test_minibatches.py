"""Minibatches, weights and splits, one function at a time: `fit` is made of them."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from scipy import sparse

import handmade as hm
from handmade._minibatches import BLOCK, Samples, check_data, counted, ignored_label, split, weigh
from handmade._sparse import SparseRows

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(10, 3)), np.array([0, 1, 2, 1, 0, 2, 1, 1, 0, 2])
NETWORK = hm.MLP([3, 4, 3], "tanh", rng=0)
ORDER = np.array([3, 1, 4, 0, 5, 9, 2, 6])
DOUBLE = np.dtype(float)


def samples_of(X=X, weight=None):
    return Samples(X, Y, np.arange(10), weight)


# ---- minibatches -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["same dtype", "float32", "integers", "list", "sparse"])
@pytest.mark.parametrize(
    ("size", "drop_last", "start", "batches"),
    [
        (3, False, 0, [[3, 1, 4], [0, 5, 9], [2, 6]]),
        (3, True, 0, [[3, 1, 4], [0, 5, 9]]),
        (3, False, 3, [[0, 5, 9], [2, 6]]),
        (4, True, 0, [[3, 1, 4, 0], [5, 9, 2, 6]]),
        (8, True, 0, [ORDER.tolist()]),
        (9, False, 0, [ORDER.tolist()]),
        (9, True, 0, []),
        (1, False, 6, [[2], [6]]),
    ],
)
def test_minibatches_hold_the_rows_in_order(kind, size, drop_last, start, batches):
    data = {
        "same dtype": X, "float32": X.astype(np.float32), "integers": (4 * X).astype(int), "list": X.tolist(),
        "sparse": SparseRows.of(sparse.csr_matrix(X)),
    }[kind]  # fmt: skip
    dense = X if kind in ("same dtype", "list", "sparse") else np.asarray(data, float)
    weight = np.arange(10.0)
    found = [
        (batch.copy(), y, w)
        for batch, y, w in samples_of(data, weight).minibatches(ORDER, size, DOUBLE, drop_last, start)
    ]
    assert [y.tolist() for _, y, _ in found] == [Y[rows].tolist() for rows in batches]
    assert [w.tolist() for _, _, w in found] == [weight[rows].tolist() for rows in batches]
    for (batch, _, _), rows in zip(found, batches, strict=True):
        assert batch.dtype == DOUBLE and np.array_equal(batch, dense[rows])


def test_minibatches_are_views_into_one_array():
    first, *others = [batch for batch, _, _ in samples_of().minibatches(ORDER, 3, DOUBLE)]
    assert all(np.shares_memory(first, other) for other in others)
    assert not np.shares_memory(first, X)
    assert all(weight is None for _, _, weight in samples_of().minibatches(ORDER, 3, DOUBLE))


def test_a_part_of_each_batch_is_taken_and_all_targets():
    halves = [
        [
            (batch.copy(), y, w)
            for batch, y, w in samples_of(X, np.arange(10.0)).minibatches(ORDER, 3, DOUBLE, part=part)
        ]
        for part in (lambda n: slice(0, n // 2), lambda n: slice(n // 2, n))
    ]
    for (first, y, w), (second, *same), rows in zip(*halves, ([3, 1, 4], [0, 5, 9], [2, 6]), strict=True):
        assert np.array_equal(np.concatenate([first, second]), X[rows])
        assert (
            (y.tolist(), w.tolist())
            == (Y[rows].tolist(), [float(r) for r in rows])
            == (same[0].tolist(), same[1].tolist())
        )


# ---- weights ---------------------------------------------------------------------------------------------------------


IGNORING = functools.partial(hm.losses.cross_entropy, ignore_index=1)


@pytest.mark.parametrize(
    ("sample_weight", "class_weight", "loss", "expected"),
    [
        (np.arange(10), None, "mse_loss", np.arange(10.0)),
        (None, {0: 2, 1: 3, 2: 0.5}, "cross_entropy", np.array([2, 3, 0.5])[Y]),
        (None, [2, 3, 0.5], "cross_entropy", np.array([2, 3, 0.5])[Y]),
        (np.arange(10.0), [2, 3, 0.5], "cross_entropy", np.arange(10) * np.array([2, 3, 0.5])[Y]),
        (None, {0: 2, 1: 3, 2: 0.5}, IGNORING, np.array([2, 0, 0.5])[Y]),  # an ignored label has no weight
        (None, {0: 2, 2: 0.5}, IGNORING, np.array([2, 0, 0.5])[Y]),
        (None, {0: 2, 1: 3, 2: 0.5, 7: 9}, "cross_entropy", np.array([2, 3, 0.5])[Y]),
    ],
)
def test_weights_of_samples_and_classes_are_multiplied(sample_weight, class_weight, loss, expected):
    found = weigh(samples_of(), sample_weight, class_weight, loss)
    assert found.weight.tolist() == expected.tolist() and found.weight.dtype == DOUBLE
    assert found.X is X


def test_without_weights_the_samples_are_as_they_are():
    samples = samples_of()
    assert weigh(samples, None, None, "cross_entropy") is samples
    given = np.ones(10)
    assert not np.shares_memory(weigh(samples, given, None, "mse_loss").weight, given)


@pytest.mark.parametrize(
    ("sample_weight", "class_weight", "error", "message"),
    [
        (np.ones(9), None, ValueError, r"sample_weight: expected one weight per sample, shape \(10,\), got \(9,\)"),
        (np.ones((10, 1)), None, ValueError, r"sample_weight: expected one weight .*, got \(10, 1\)"),
        (["1"] * 10, None, TypeError, "sample_weight: expected numbers, got dtype <U1"),
        (np.full(10, np.nan), None, ValueError, "sample_weight: "),
        (-np.ones(10), None, ValueError, "sample_weight: expected weights of at least 0, got -1.0"),
        (None, {0: 1, 2: 1}, ValueError, r"class_weight: expected a weight for each class \[0, 1, 2\], missing \[1\]"),
        (
            None,
            "even",
            TypeError,
            "class_weight: expected a mapping or a sequence of numbers, got 'even'; for balanced classes pass",
        ),
        (None, 3.0, TypeError, "class_weight: expected a mapping or a sequence"),
        (None, [1, 1, -1], ValueError, "class_weight: expected finite numbers of at least 0"),
        (None, [1, 1, np.inf], ValueError, "class_weight: expected finite numbers of at least 0"),
        (None, {0: 1, 1: 1, 2: "1"}, ValueError, "class_weight: expected finite numbers of at least 0"),
    ],
)
def test_weights_that_are_none_are_refused(sample_weight, class_weight, error, message):
    with pytest.raises(error, match=f"^{message}"):
        weigh(samples_of(), sample_weight, class_weight, "cross_entropy")


@pytest.mark.parametrize("y", [Y.astype(float), Y[:, np.newaxis], Y > 0])
def test_class_weights_need_class_indices(y):
    with pytest.raises(TypeError, match=r"^class_weight: expected targets that are class indices, got "):
        weigh(Samples(X, y, np.arange(10)), None, [1, 1, 1], "cross_entropy")


def test_the_ignored_label_counts_for_nothing():
    assert [ignored_label(loss) for loss in ("cross_entropy", "mse_loss", IGNORING)] == [-100, None, 1]
    assert counted(Y, IGNORING).tolist() == (Y != 1).tolist()
    assert counted(np.array([0, -100, 1]), "cross_entropy").tolist() == [True, False, True]
    for y, loss in (Y, "mse_loss"), (Y.astype(float), IGNORING), (np.stack([Y, Y], axis=1), IGNORING):
        assert counted(y, loss).tolist() == [True] * 10


# ---- splits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stratify", [False, True])
@pytest.mark.parametrize(("fraction", "count"), [(0.1, 1), (0.11, 2), (0.5, 5), (0.9, 9)])
def test_a_fraction_is_held_out(fraction, count, stratify):
    training, held = split(samples_of(), NETWORK, "cross_entropy", fraction, stratify, np.random.default_rng(1))
    assert (len(training), len(held)) == (10 - count, count)
    assert sorted([*training.rows, *held.rows]) == list(range(10))
    for one in training, held:
        assert one.rows.tolist() == sorted(one.rows.tolist()) and one.X is X
    again = split(samples_of(), NETWORK, "cross_entropy", fraction, stratify, np.random.default_rng(1))[1]
    assert again.rows.tolist() == held.rows.tolist()


def test_a_stratified_split_holds_each_class_alike():
    y = np.repeat([0, 1, 2], [40, 20, 10])
    for seed in range(5):
        samples = Samples(RNG.normal(size=(70, 3)), y, np.arange(70))
        _, held = split(samples, NETWORK, "cross_entropy", 0.1, True, np.random.default_rng(seed))
        assert np.bincount(y[held.rows]).tolist() == [4, 2, 1]
    with pytest.raises(TypeError, match=r"^stratify: expected targets that are class indices, got float64 of shape"):
        split(Samples(X, Y * 1.0, np.arange(10)), NETWORK, "mse_loss", 0.5, True, np.random.default_rng(0))


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5, np.nan, True, "0.5", [0.5], np.timedelta64(1), 0.99])
def test_a_fraction_lies_between_none_and_all(fraction):
    with pytest.raises(ValueError, match=r"^validation: expected a fraction"):
        split(samples_of(), NETWORK, "cross_entropy", fraction, False, np.random.default_rng(0))


def test_data_to_validate_on_are_checked_and_named():
    _, held = split(samples_of(), NETWORK, "cross_entropy", (X[:4], Y[:4]), False, None)
    assert len(held) == 4 and held.weight is None
    training, none = split(samples_of(), NETWORK, "cross_entropy", None, False, None)
    assert none is None and len(training) == 10
    with pytest.raises(ValueError, match=r"^validation: y: expected one target per row"):
        split(samples_of(), NETWORK, "cross_entropy", (X[:4], Y[:3]), False, None)
    with pytest.raises(TypeError, match=r"^validation: "):
        split(samples_of(), NETWORK, "cross_entropy", (X[:4], ["a"] * 4), False, None)


@pytest.mark.parametrize("largest", [1.0, 1e308])
def test_training_weights_have_the_mean_one(largest):
    weight = np.arange(10.0) / 9 * largest
    training, held = split(samples_of(X, weight), NETWORK, "cross_entropy", 0.3, False, np.random.default_rng(0))
    assert training.weight[training.rows].mean() == pytest.approx(1)
    assert np.allclose(training.weight / training.weight.max(), weight / largest)
    assert held.weight is None
    none = np.zeros(10)
    none[held.rows] = 1
    with pytest.raises(ValueError, match=r"^sample_weight, class_weight: expected, among the samples to train on, one"):
        split(samples_of(X, none), NETWORK, "cross_entropy", 0.3, False, np.random.default_rng(0))


# ---- checks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", [0, BLOCK - 1, BLOCK, 2 * BLOCK + 4])
def test_every_row_is_checked_and_named(row):
    data, labels = np.zeros((2 * BLOCK + 5, 3)), np.zeros(2 * BLOCK + 5, int)
    assert len(check_data(NETWORK, data, labels, "cross_entropy")) == 2 * BLOCK + 5
    bad = data.copy()
    bad[row, 1] = np.nan
    with pytest.raises(ValueError, match=rf"^X: .*\b{row}\b"):
        check_data(NETWORK, bad, labels, "cross_entropy")
    wrong = labels.copy()
    wrong[row] = 3
    with pytest.raises(ValueError, match=r"^y: "):
        check_data(NETWORK, data, wrong, "cross_entropy")
    numbers = np.zeros((2 * BLOCK + 5, 3))
    numbers[row, 2] = np.inf
    with pytest.raises(ValueError, match=rf"^y: .*\b{row}\b"):
        check_data(NETWORK, data, numbers, "mse_loss")


def test_a_wrong_shape_of_targets_is_told_for_all_rows():
    with pytest.raises(ValueError, match=r"\(2053, 2\)"):
        check_data(NETWORK, np.zeros((2 * BLOCK + 5, 3)), np.zeros((2 * BLOCK + 5, 2)), "mse_loss")
    for y in Y[:9], 3, np.zeros(()):
        with pytest.raises(ValueError, match=r"^y: expected one target per row of X \(10, 3\), got shape"):
            check_data(NETWORK, X, y, "cross_entropy")


def test_a_loss_that_overflows_is_left_to_the_first_step():
    found = check_data(NETWORK, X, np.full((10, 3), 1e300), "mse_loss")
    assert (found.rows.tolist(), found.weight) == (list(range(10)), None)
    pair = (lambda H, y, reduction="mean": np.sqrt(H - y).sum(), lambda H, y, reduction="mean": 0 * H)
    assert len(check_data(NETWORK, X, np.ones((10, 3)), pair)) == 10  # the root of a negative number: NaN


def test_sparse_samples_stay_sparse():
    found = check_data(NETWORK, sparse.csr_matrix(X), Y, "cross_entropy")
    assert isinstance(found.X, SparseRows) and len(found) == 10


def test_the_gradient_of_a_loss_is_tried_too():
    def backward(H, y, reduction="mean"):
        raise TypeError("y: no gradient for these")

    pair = (lambda H, y, reduction="mean": 0.0, backward)
    with pytest.raises(TypeError, match="no gradient for these"):
        check_data(NETWORK, X, Y, pair)
