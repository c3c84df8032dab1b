"""Dense: its numbers by hand, its bias, its initial values, its errors."""

from __future__ import annotations

import numpy as np
import pytest
from layers_of_tests import assert_same, numbers

from handmade._numerics import MOST_ROWS, column_sums, row_numbers
from handmade.layers import Dense


def test_dense_by_hand():
    layer = Dense(2, 3)
    layer.W, layer.b = [[1, 2], [3, 4], [5, 6]], [10, 20, 30]
    X = np.array([[1.0, -1.0], [2.0, 0.0]])
    A, cache = layer.forward(X)
    assert A.tolist() == [[9, 19, 29], [12, 26, 40]]
    assert layer.backward(np.array([[1.0, 0, 0], [0, 1, -1]]), cache).tolist() == [[1, 2], [-2, -2]]
    assert layer.dW.tolist() == [[1, -1], [2, 0], [-2, 0]]
    assert layer.db.tolist() == [1, 1, -1]
    assert (layer.neuron_count, layer.weight_count) == (3, 6)


def test_dense_without_bias_has_none():
    layer = Dense(2, 3, bias=False)
    assert layer.parameters == {"weight": "W"}
    assert not hasattr(layer, "b") and not hasattr(layer, "db")


@pytest.mark.parametrize(
    "name, shape", [("W", (3, 4)), ("W", (5, 3)), ("W", (3,)), ("W", (1, 3)), ("b", (3,)), ("b", (1,))]
)
def test_assigning_a_wrong_shape_is_an_error_and_changes_nothing(name, shape):
    layer = Dense(3, 4, rng=0)
    before = getattr(layer, name).copy()
    with pytest.raises(ValueError, match="shape"):
        setattr(layer, name, np.ones(shape))
    assert_same([getattr(layer, name)], [before])


def test_one_seed_gives_one_layer_in_both_dtypes():
    one, same, other = Dense(3, 4, rng=0), Dense(3, 4, rng=np.random.default_rng(0)), Dense(3, 4, rng=1)
    single = Dense(3, 4, rng=0, dtype=np.float32)
    assert_same([same.W, same.b], [one.W, one.b])
    assert_same([single.W, single.b], [one.W.astype(np.float32), one.b.astype(np.float32)])
    assert not np.any(other.W == one.W)


def test_initializers_are_told_the_shape_and_the_fans():
    message = []

    def initializer(shape, fan_in, fan_out, rng):
        message.append((shape, fan_in, fan_out, type(rng)))
        return np.full(shape, len(message))

    layer = Dense(3, 4, weight_init=initializer, bias_init=initializer)
    assert message == [((4, 3), 3, 4, np.random.Generator), ((4,), 3, 4, np.random.Generator)]
    assert np.all(layer.W == 1) and np.all(layer.b == 2)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        ((0, 1), {}, ValueError, "in_features.*at least 1.*0"),
        ((1, -2), {}, ValueError, "out_features.*at least 1.*-2"),
        ((2.0, 1), {}, TypeError, "in_features.*integer.*2.0"),
        ((1, True), {}, TypeError, "out_features.*integer.*True"),
        (("3", 1), {}, TypeError, "in_features.*integer.*'3'"),
        ((1, 1), {"weight_init": "he"}, ValueError, "^weight_init: .*kaiming_normal.*'he'"),
        ((1, 1), {"bias_init": 0.0}, TypeError, "^bias_init: .*name or a function.*0.0"),
        ((1, 2), {"weight_init": lambda shape, I, O, rng: np.ones(3)}, ValueError, r"^weight_init: .*\(2, 1\).*\(3,\)"),
        ((1, 2), {"bias_init": lambda shape, I, O, rng: 0.0}, ValueError, r"b.*\(2,\).*\(\)"),
    ],
)
def test_dense_refuses(arguments, options, error, words):
    with pytest.raises(error, match=words):
        Dense(*arguments, **options)


@pytest.mark.parametrize(
    ("own", "of_dH", "of_X"),
    [
        (np.float32, np.float64, np.float64),
        (np.float32, np.float64, np.float32),
        (np.float32, np.float32, np.float64),
        (np.float64, np.float32, np.float32),
    ],
)
def test_a_gradient_of_another_dtype_is_refused(own, of_dH, of_X):
    # A network converts its input; a layer used alone does not.
    layer = Dense(2, 1, dtype=own)
    message = f"dH and X: expected {own.__name__}.*got {of_dH.__name__} and {of_X.__name__}"
    with pytest.raises(TypeError, match=message):
        layer.backward(np.ones((3, 1), of_dH), np.ones((3, 2), of_X))
    assert not layer.dW.any()


def test_a_gradient_of_another_shape_is_no_matter_of_dtype():
    with pytest.raises(ValueError, match="not aligned"):
        Dense(2, 1).backward(np.ones((3, 1)), np.ones((4, 2)))


def test_the_bias_of_a_shorter_batch_counts_its_own_samples_only():
    layer = Dense(3, 2, rng=0)
    for samples in (5, 2, 7, 2):
        dA = np.arange(2.0 * samples).reshape(samples, 2)  # sums of whole numbers are exact
        _, cache = layer.forward(numbers((samples, 3)))
        layer.backward(dA, cache)
        np.testing.assert_array_equal(layer.db, dA.sum(axis=0))


@pytest.mark.parametrize("N", [MOST_ROWS, MOST_ROWS + 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_more_rows_than_are_kept_are_summed_and_numbered(N, dtype):
    A = np.arange(2 * N, dtype=dtype).reshape(N, 2) % 8  # sums of small integers are exact
    sums = column_sums(A)
    assert sums.dtype == dtype and np.array_equal(sums, A.sum(axis=0))
    assert np.array_equal(row_numbers(N), np.arange(N))


def test_a_layer_from_its_config_draws_no_numbers():
    layer = Dense.from_config(Dense(3, 2).config())
    assert not layer.W.any() and not layer.b.any()
