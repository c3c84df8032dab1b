"""Metrics against counting by hand, exact fractions, and torch where it has the operation."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse
import torch

from handmade import metrics
from handmade.metrics import accuracy, confusion_matrix, r2_score, top_k_accuracy

EPS = np.finfo(np.float64).eps
INF = float("inf")
NAN = float("nan")

# output, y, how many are right, the confusion matrix (None: labels that are not 0 to K - 1)
CASES = {
    "scores": (
        [[2.0, 1.0, 0.0], [0.0, 1.0, 2.0], [0.0, 3.0, 1.0]],
        [0, 2, 0],
        2,
        [[1, 1, 0], [0, 0, 0], [0, 0, 1]],
    ),
    "two scores": ([[0.2, 0.8], [0.9, 0.1]], [1, 1], 1, [[0, 0], [1, 1]]),
    "equal scores": ([[1.0, 1.0], [1.0, 1.0]], [0, 1], 1, [[1, 0], [1, 0]]),
    "infinite scores": ([[-INF, INF], [0.0, -INF]], [1, 0], 2, [[1, 0], [0, 1]]),
    "integer scores": ([[5, 2], [1, 7]], [0, 0], 1, [[1, 1], [0, 0]]),
    "one-hot targets": (
        [[2.0, 1.0, 0.0], [0.0, 1.0, 2.0]],
        [[1, 0, 0], [0, 1, 0]],
        1,
        [[1, 0, 0], [0, 0, 1], [0, 0, 0]],
    ),
    "column targets": ([[2.0, 1.0], [0.0, 1.0]], [[0.0], [1.0]], 2, [[1, 0], [0, 1]]),
    "logits": ([-1.0, 2.0, 0.5, -0.5], [0, 1, 0, 1], 2, [[1, 1], [1, 1]]),
    "column of logits": ([[-1.0], [2.0], [0.5]], [0, 1, 0], 2, [[1, 1], [0, 1]]),
    "logits, column targets": ([[-1.0], [2.0]], [[0.0], [1.0]], 2, [[1, 0], [0, 1]]),
    "logits in a row, column targets": ([-1.0, 2.0, 3.0], [[0], [1], [0]], 2, [[1, 1], [0, 1]]),
    "logits of zero": ([0.0, -0.0, -5e-324], [0, 1, 1], 1, [[0, 1], [1, 1]]),
    "infinite logits": ([-INF, INF], [0, 1], 2, [[1, 0], [0, 1]]),
    "logits, all of class 1": ([0.5, -0.5], [1, 1], 1, [[0, 0], [1, 1]]),
    "logits of small floats": (np.array([0.5, -0.5], dtype=np.float16), [True, True], 1, [[0, 0], [1, 1]]),
    "logits, labels of the hinge loss": ([-0.5, 3.0, 0.5, 0.0], [-1, 1, -1, 1], 3, None),
    "labels": ([3, 0, 2, 2], [3, 0, 1, 2], 3, [[1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
    "column of labels": (np.array([[1], [0]], dtype=np.uint8), [1.0, 1.0], 1, [[0, 0], [1, 1]]),
    "thresholded probabilities": ([True, False, True], [1, 0, 0], 2, [[1, 1], [0, 1]]),
    "labels of the perceptron": ([1, -1, 1], [1, -1, -1], 2, None),
}


@pytest.mark.parametrize(("output", "y", "correct", "matrix"), CASES.values(), ids=CASES)
def test_accuracy_is_the_share_of_right_predictions(output, y, correct, matrix):
    result = accuracy(output, y)
    assert type(result) is float
    assert result == correct / len(y)


@pytest.mark.parametrize(("output", "y", "correct", "matrix"), CASES.values(), ids=CASES)
def test_confusion_matrix_has_true_rows(output, y, correct, matrix):
    if matrix is None:
        with pytest.raises(ValueError, match="y: expected labels 0 to 1, got -1"):
            confusion_matrix(output, y)
    else:
        np.testing.assert_array_equal(confusion_matrix(output, y), np.array(matrix, dtype=np.int64), strict=True)


def test_the_printed_zero_one_loss_is_the_accuracy():
    # The lecture's 1[yhat = y] scores a perfect prediction 1; a loss must score it 0.
    y = np.array([2, 0, 1])
    assert np.mean(y == y) == accuracy(y, y) == 1.0


def test_confusion_matrix_takes_a_number_of_classes():
    np.testing.assert_array_equal(confusion_matrix([0, 1], [1, 1], n_classes=3), [[0, 0, 0], [1, 1, 0], [0, 0, 0]])
    for output, y, message in [
        ([0, 2], [0, 1], "output: expected labels 0 to 1, got 2"),
        ([0, 1], [0, 3], "y: expected labels 0 to 1, got 3"),
        ([0, -1], [0, 1], "output: expected labels 0 to 1, got -1"),
    ]:
        with pytest.raises(ValueError, match=message):
            confusion_matrix(output, y, n_classes=2)


def test_confusion_matrix_agrees_with_counting():
    rng = np.random.default_rng(0)
    scores, y = rng.normal(size=(500, 7)), rng.integers(7, size=500)
    counted = np.zeros((7, 7), dtype=np.int64)
    for row, label in zip(scores.tolist(), y.tolist(), strict=True):
        counted[label, row.index(max(row))] += 1
    matrix = confusion_matrix(scores, y)
    np.testing.assert_array_equal(matrix, counted)
    assert accuracy(scores, y) == np.trace(matrix) / 500


@pytest.mark.parametrize("k", range(1, 8))
def test_top_k_agrees_with_torch(k):
    rng = np.random.default_rng(1)
    scores, y = rng.normal(size=(200, 7)), rng.integers(7, size=200)
    best = torch.topk(torch.from_numpy(scores), k, dim=1).indices.numpy()
    assert top_k_accuracy(scores, y, k) == np.mean(np.any(best == y[:, None], axis=1))


@pytest.mark.parametrize(
    ("scores", "y", "k", "expected"),
    [
        ([[1.0, 1.0, 1.0]] * 3, [0, 1, 2], 1, 1 / 3),
        ([[1.0, 1.0, 1.0]] * 3, [0, 1, 2], 2, 2 / 3),
        ([[1.0, 1.0, 1.0]] * 3, [0, 1, 2], 3, 1.0),
        ([[0.0, 2.0, 2.0, 1.0]] * 4, [[0], [1], [2], [3]], 2, 0.5),
        ([[0.0, 1.0], [0.0, 1.0]], [[1, 0], [0, 1]], 1, 0.5),
    ],
)
def test_top_k_counts_the_first_of_equal_scores_first(scores, y, k, expected):
    assert top_k_accuracy(scores, y, k) == expected
    assert top_k_accuracy(scores, y, 1) == accuracy(scores, y)


def test_top_k_takes_five_by_default():
    scores = np.tile(np.arange(7.0), (7, 1))
    assert top_k_accuracy(scores, np.arange(7)) == 5 / 7


@pytest.mark.parametrize(
    ("output", "k", "error", "message"),
    [
        ([[1.0, 2.0]], 0, ValueError, "k: expected an integer of at least 1, got 0"),
        ([[1.0, 2.0]], 3, ValueError, "k: expected an integer from 1 to 2, the number of classes, got 3"),
        ([[1.0, 2.0]], 1.0, TypeError, "k: expected an integer of at least 1, got 1.0"),
        ([1.0, 2.0], 1, ValueError, r"output: expected scores of shape \(N, K\), K >= 2, got shape \(2,\)"),
        ([[1.0], [2.0]], 1, ValueError, r"output: expected scores .* got shape \(2, 1\)"),
    ],
)
def test_top_k_needs_scores_and_a_k_among_them(output, k, error, message):
    with pytest.raises(error, match=message):
        top_k_accuracy(output, [0] * len(output), k)


@pytest.mark.parametrize("metric", [accuracy, confusion_matrix, lambda output, y: top_k_accuracy(output, y, 1)])
@pytest.mark.parametrize(
    ("output", "y", "error", "message"),
    [
        ([[1.0, 2.0]], [0, 1], ValueError, r"output of shape \(1, 2\) and y of shape \(2,\)"),
        (np.empty((0, 2)), [], ValueError, "at least one sample"),
        (np.empty((2, 0)), [0, 1], ValueError, r"\(2, 0\)"),
        ([[1.0, 2.0]], [[0, 1, 0]], ValueError, r"y of shape \(1, 3\)"),
        ([[1.0, 2.0]], [[[0]]], ValueError, r"y of shape \(1, 1, 1\)"),
        ([[1.0, 2.0]], 0, ValueError, r"y of shape \(\)"),
        ([[0.0, 1.0], [1.0, NAN]], [0, 1], ValueError, r"output: expected numbers, got nan at index \(1, 1\)"),
        ([[1.0, 2.0]], [2], ValueError, "y: expected labels 0 to 1, got 2"),
        ([[1.0, 2.0]], [-1], ValueError, "y: expected labels 0 to 1, got -1"),
        ([[1.0, 2.0]], [0.5], ValueError, "y: expected whole numbers as labels, got 0.5"),
        ([[1.0, 2.0]], [NAN], ValueError, "y: expected whole numbers as labels, got nan"),
        ([[1.0, 2.0]], [INF], ValueError, "y: expected whole numbers as labels, got inf"),
        ([[1.0, 2.0]], [[0.5, 0.5]], ValueError, "y: expected one-hot rows"),
        ([[1.0, 2.0]], [[1, 1]], ValueError, "y: expected one-hot rows"),
        ([[1.0, 2.0]], [[0, 0]], ValueError, "y: expected one-hot rows"),
        ([[1.0, 2.0]] * 2, [[0, 1], [1, 1]], ValueError, "y: expected one-hot rows"),
        ([[1.0, 2.0]], [[2, -1]], ValueError, "y: expected one-hot rows"),
        (
            [["a", "b"]],
            [0],
            TypeError,
            "output: expected real numbers, got dtype <U1; number the classes",
        ),
        ([[1j, 2.0]], [0], TypeError, "output: expected real numbers, got dtype complex128"),
        ([[1.0, 2.0]], ["0"], TypeError, "y: expected real numbers, got dtype <U1; number the classes with hm.data"),
        (np.ma.array([[1.0, 2.0]]), [0], TypeError, "output: expected an array without a mask"),
        ([[1.0, 2.0]], np.ma.array([0]), TypeError, "y: expected an array without a mask"),
        (scipy.sparse.eye_array(2), [0, 1], TypeError, "output: expected a dense array"),
    ],
)
def test_metrics_of_classes_name_bad_input(metric, output, y, error, message):
    with pytest.raises(error, match=message):
        metric(output, y)


@pytest.mark.parametrize(
    ("output", "y", "message"),
    [
        (1.0, 1, r"output of shape \(\)"),
        (np.zeros((1, 1, 2)), [0], r"output of shape \(1, 1, 2\)"),
        ([0.1, NAN], [0, 1], r"output: expected numbers, got nan at index \(1,\)"),
        ([0.1, 0.2], [0, 2], "y: expected labels 0 to 1, got 2"),
        ([0.1, 0.2, 0.3], [0, -1, 1], "y: expected labels -1 or 1, got 0"),
        ([0, 1], [[1, 0], [0, 1]], r"y of shape \(2, 2\)"),
        ([0.3, 0.2], [[0, 1]], r"y of shape \(1, 2\)"),
    ],
)
def test_accuracy_of_logits_and_labels_names_bad_input(output, y, message):
    with pytest.raises(ValueError, match=message):
        accuracy(output, y)


# ---- R2 ------------------------------------------------------------------------------------------


def exact_r2(output: list, y: list) -> Fraction:
    """Return 1 - residual / total of one column in rational arithmetic."""
    output, y = [Fraction(value) for value in output], [Fraction(value) for value in y]
    mean = sum(y) / len(y)
    residual = sum((a - b) ** 2 for a, b in zip(y, output, strict=True))
    return 1 - residual / sum((a - mean) ** 2 for a in y)


@pytest.mark.parametrize(
    ("output", "y"),
    [
        ([2.5, 0.0, 2.0, 8.0], [3.0, -0.5, 2.0, 7.5]),
        ([1, 2, 3, 4], [1, 2, 3, 4]),
        ([3, 3, 3, 3], [1, 2, 3, 6]),
        ([4, 3, 2, 1], [1, 2, 3, 4]),
        ([1000, 0, -7, 1], [0, 1, 0, 1]),
        ([0, 1], [1, 0]),
    ],
)
def test_r2_agrees_with_exact_fractions(output, y):
    # The means are exact. A square carries a division twice and its own rounding, the sum three more: 3 eps.
    # The ratio of two such sums carries 6.5 eps, and the difference to 1 one more rounding.
    exact = exact_r2(output, y)
    tolerance = 8 * EPS * (1 + abs(1 - exact))
    result = r2_score(output, y)
    assert type(result) is float
    assert abs(Fraction(result) - exact) <= tolerance
    # A power of two only moves the exponent: the very same bits, also where squares would leave the range.
    for scale in (2.0**-600, 2.0**600):
        assert r2_score(np.multiply(output, scale), np.multiply(y, scale)) == result
    column = np.array(output, dtype=np.float32)[:, None]
    assert r2_score(column, y) == r2_score(output, np.array(y)[:, None]) == result


def test_r2_averages_the_columns_evenly():
    output = np.array([[0.0, 2.0, 5.0], [-1.0, 2.0, 5.0], [8.0, -5.0, 5.0]])
    y = np.array([[0.5, 1.0, 4.0], [-1.0, 1.0, 5.0], [7.0, -6.0, 6.0]])
    columns = [r2_score(output[:, i], y[:, i]) for i in range(3)]
    # Two additions and a division. Each column has its own range.
    for scale in (1.0, np.array([2.0**-600, 1.0, 2.0**600])):
        assert abs(r2_score(output * scale, y * scale) - sum(columns) / 3) <= 3 * EPS


@pytest.mark.parametrize(
    ("output", "y", "expected"),
    [
        ([0.1, 0.1, 0.1], [0.1, 0.1, 0.1], 1.0),
        ([0.1, 0.1, 0.2], [0.1, 0.1, 0.1], 0.0),
        ([0.1, 0.1, np.nextafter(0.1, 1)], [0.1, 0.1, 0.1], 0.0),
        ([0.0, 5e-324], [0.0, 0.0], 0.0),
        ([[1.0, 7.0], [2.0, 8.0]], [[1.0, 7.0], [2.0, 7.0]], 0.5),
        ([[2.0, 7.0], [2.0, 7.0]], [[1.0, 7.0], [3.0, 7.0]], 0.5),
        ([0.0, 5e-324], [0.0, 5e-324], 1.0),
    ],
)
def test_r2_of_a_constant_target_is_one_or_zero(output, y, expected):
    # The mean of three times 0.1 is not 0.1 in binary: comparing with it would find a variance.
    assert r2_score(output, y) == expected


@pytest.mark.parametrize(
    ("output", "y", "error", "message"),
    [
        ([1.0, 2.0], [1.0, 2.0, 3.0], ValueError, r"got \(2,\) and y of \(3,\)"),
        ([[1.0, 2.0]] * 2, [1.0, 2.0], ValueError, r"got \(2, 2\) and y of \(2,\)"),
        ([1.0], [1.0], ValueError, "N >= 2"),
        ([], [], ValueError, "N >= 2"),
        (1.0, 1.0, ValueError, r"got \(\) and y of \(\)"),
        (np.zeros((2, 0)), np.zeros((2, 0)), ValueError, r"got \(2, 0\)"),
        (np.zeros((2, 2, 2)), np.zeros((2, 2, 2)), ValueError, r"got \(2, 2, 2\)"),
        ([1.0, NAN], [1.0, 2.0], ValueError, r"output: expected finite numbers, got nan at index \(1, 0\)"),
        ([1.0, 2.0], [1.0, INF], ValueError, r"y: expected finite numbers, got inf at index \(1, 0\)"),
        ([1.0, 2.0], ["a", "b"], TypeError, "y: expected real numbers"),
        ([1.0, 2j], [1.0, 2.0], TypeError, "output: expected real numbers"),
    ],
)
def test_r2_names_bad_input(output, y, error, message):
    with pytest.raises(error, match=message):
        r2_score(output, y)


def test_labels_are_whole_numbers_below_2_to_the_53():
    for label in (107, 2**53 - 1, 1 - 2**53):
        assert accuracy([label, 0], [label, 0]) == 1
    for label in (2**53, 2**53 + 1, -(2**53), 2**60):
        with pytest.raises(ValueError, match=r"^y: expected whole numbers as labels, got"):
            accuracy([label, 0], [label, 0])
        with pytest.raises(ValueError, match=r"^output: expected whole numbers as labels, got"):
            accuracy([label, 0], [1, 0])


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_labels_of_both_shapes_mean_the_same(shape):
    y = np.array([0, 1, 1, 0])
    assert accuracy(y.reshape(shape), y) == accuracy(y, y.reshape(shape)) == 1
    np.testing.assert_array_equal(confusion_matrix(y.reshape(shape), y.reshape(shape)), [[2, 0], [0, 2]])


def test_confusion_matrix_refuses_more_classes_than_it_can_hold():
    for labels, n_classes in (([2**40, 0], None), ([0, 1], 2**40)):
        with pytest.raises(ValueError, match=r"n_classes: expected at most 16384 classes, .* hm.data.encode_labels"):
            confusion_matrix(labels, labels, n_classes)
    with pytest.raises(TypeError, match=r"n_classes: expected an integer of at least 1, got 2\.0"):
        confusion_matrix([0, 1], [0, 1], 2.0)


def test_r2_of_the_largest_numbers_does_not_overflow():
    largest = np.finfo(np.float64).max
    assert r2_score([largest, -largest, 0.0], [largest, -largest, 0.0]) == 1
    # The mean is 0, the variance 2 and the residual 1, in units of the largest number squared.
    assert r2_score([largest, -largest, largest], [largest, -largest, 0.0]) == 0.5
    assert r2_score([largest] * 9 + [0.0], [largest] * 9 + [0.0]) == 1
    assert r2_score([1e300, 0.0], [0.0, 1.0]) == -np.inf


@pytest.mark.parametrize(("output", "y"), [([0, 2], [0, 1]), ([0, 1], [0, 2])])
def test_confusion_matrix_counts_classes_on_both_sides(output, y):
    matrix = confusion_matrix(output, y)
    assert matrix.shape == (3, 3)
    assert matrix[y[1], output[1]] == 1


def test_confusion_matrix_takes_as_many_classes_as_it_says(monkeypatch):
    monkeypatch.setattr(metrics, "MOST_CLASSES", 3)
    assert confusion_matrix([0], [0], 3).shape == (3, 3)
    with pytest.raises(ValueError, match="n_classes: expected at most 3 classes, got 4"):
        confusion_matrix([0], [0], 4)


def test_r2_of_enormous_numbers_is_that_of_small_ones():
    """A power of two changes no digit: neither the caller's nor the one by which the largest are divided."""
    output, y = np.random.default_rng(0).normal(size=(2, 9))
    assert r2_score(output * 2.0**1000, y * 2.0**1000) == r2_score(output, y)


def test_a_metric_has_the_name_of_its_function():
    assert all(name == metric.__name__ for name, metric in metrics.METRICS.items())
