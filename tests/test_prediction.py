"""Prediction: in blocks, from a memmap, and in many threads at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from networks_of_tests import I, O, assert_same, build, each_network, in_both_dtypes, inputs, labels, roundings
from oracles import assert_close

from handmade.dropout import Dropout
from handmade.layers import Activation, Dense
from handmade.mlp import MLP
from handmade.network import Network
from handmade.normalization import BatchNorm


@pytest.mark.parametrize("layers", [lambda: [Dropout(0.5)], lambda: [Activation("identity")], lambda: [Dense(I, O)]])
def test_predict_gives_a_new_array(layers):
    network, X = Network(layers()), inputs()
    H = network.predict(X)
    H += 1
    assert_same([X], [inputs()])
    assert np.all(network.predict(X) != H)


@each_network
@in_both_dtypes
def test_blocks_give_what_one_block_gives(name, dtype):
    network, X = build(name, dtype), inputs(2500)
    whole = network.predict(X, batch_size=2500)
    for batch_size in (1, 7, 1024, 2499, 10**6):
        H = network.predict(X[: 50 * batch_size], batch_size=batch_size)
        # Matrices of other sizes are multiplied in another order of the same sums.
        assert_close(H, whole[: len(H)], operations=roundings(network), scale=max(1.0, np.abs(whole).max()))
    assert network.predict(X).shape == (2500, O)
    assert_close(network.predict(X), whole, operations=roundings(network), scale=max(1.0, np.abs(whole).max()))


def test_a_memmap_is_read_in_blocks(tmp_path):
    X = inputs(2500).astype(np.float32)
    X.tofile(tmp_path / "X.bin")
    mapped = np.memmap(tmp_path / "X.bin", np.float32, "r", shape=X.shape)
    network = build("sigmoid")
    assert_same([network.predict(mapped, batch_size=100)], [network.predict(X, batch_size=100)])


def test_an_error_in_a_later_block_names_the_row():
    X = inputs(3000)
    X[2100, 4] = np.nan
    with pytest.raises(ValueError, match=r"nan at index \(2100, 4\)"):
        build("sigmoid").predict(X, batch_size=1000)


@pytest.mark.parametrize(
    ("batch_size", "error"), [(0, ValueError), (-1, ValueError), (2.5, TypeError), (True, TypeError)]
)
def test_a_bad_batch_size_is_an_error(batch_size, error):
    with pytest.raises(error, match=f"batch_size: expected an integer of at least 1, got {batch_size}"):
        build("sigmoid").predict(inputs(), batch_size=batch_size)


@each_network
def test_many_threads_may_predict_at_once(name):
    threads, rounds = 8, 10
    network = build(name)
    batches = [inputs(3 + 40 * i, seed=i) for i in range(threads)]
    expected = [network.predict(X, batch_size=100) for X in batches]
    gradient = network.loss_and_gradient(inputs(), labels(), training=False)[1].copy()
    barrier = threading.Barrier(threads + 1, timeout=30)

    def repeatedly(work):
        results = []
        for _ in range(rounds):
            barrier.wait()
            results.append(work().copy())
        return results

    with ThreadPoolExecutor(threads + 1) as pool:
        jobs = [pool.submit(repeatedly, lambda X=X: network.predict(X, batch_size=100)) for X in batches]
        backward = pool.submit(repeatedly, lambda: network.loss_and_gradient(inputs(), labels(), training=False)[1])
        for job, alone in zip(jobs, expected, strict=True):
            assert_same(job.result(), [alone] * rounds)
        assert_same(backward.result(), [gradient] * rounds)


class Counting(Activation):
    """A layer that remembers how many rows it was given at a time."""

    def __init__(self):
        super().__init__("tanh")
        self.rows = []

    def predict(self, A):
        self.rows.append(len(A))
        return super().predict(A)


@pytest.mark.parametrize(
    ("width", "options", "rows"),
    [(2, {}, [1500]), (256, {}, [1024, 476]), (4096, {}, [256] * 5 + [220]), (2, {"batch_size": 700}, [700, 700, 100])],
)
def test_prediction_takes_so_many_rows_at_a_time(width, options, rows):
    layer = Counting()
    Network([Dense(I, width), layer]).predict(inputs(1500), **options)
    assert layer.rows == rows


def test_a_prediction_belongs_to_one_set_of_weights():
    """While one thread loads all-ones and all-twos in turns, outputs are those of one of them."""
    network, X = MLP([8, 64, 64, 1], activation="identity", bias=False, rng=0), np.ones((4, 8))
    states = [{name: np.full_like(array, value) for name, array in network.state_dict().items()} for value in (1, 2)]
    allowed, found, done = set(), set(), threading.Event()
    for state in states:
        network.load_state_dict(state)
        allowed |= set(network.predict(X).ravel().tolist())

    def predict():
        while not done.is_set():
            found.update(network.predict(X).ravel().tolist())

    threads = [threading.Thread(target=predict) for _ in range(3)]
    for thread in threads:
        thread.start()
    for k in range(2000):
        network.load_state_dict(states[k % 2])
    done.set()
    for thread in threads:
        thread.join()
    assert found <= allowed and len(found) == 2


@pytest.mark.parametrize("samples", [5, 3000])
def test_predict_until_gives_the_outputs_of_a_layer(samples):
    network, X = MLP([I, 4, 5, O], activation="tanh", rng=0), inputs(samples)
    values = network.forward(X)[1].values
    for depth in range(len(network.layers) + 1):
        assert_same([network.predict_until(X, depth, batch_size=1000)], [values[depth]])


def test_predict_until_takes_so_many_rows_at_a_time():
    layer = Counting()
    Network([Dense(I, 2), layer, Dense(2, O)]).predict_until(inputs(1500), 2, batch_size=700)
    assert layer.rows == [700, 700, 100]


def test_layers_that_a_network_lacks_are_refused():
    with pytest.raises(ValueError, match=r"^layers: expected at most 1, got 2$"):
        Network([Dense(I, O)]).predict_until(inputs(), 2)
    with pytest.raises(ValueError, match=r"^layers: expected an integer of at least 0, got -1"):
        Network([Dense(I, O)]).predict_until(inputs(), -1)


def test_what_mixes_rows_in_training_predicts_in_blocks():
    """Dropout draws for the whole batch and BatchNorm takes its mean, in training alone."""
    layer = Counting()
    network = Network([Dense(I, 256), BatchNorm(256), Dropout(0.5, rng=0), layer])
    network.predict(inputs(1500))
    assert layer.rows == [1024, 476]
    assert network.rows_are_independent(False) and not network.rows_are_independent(True)


def test_a_wrong_width_is_told_with_the_whole_shape():
    with pytest.raises(ValueError, match=r"X: expected shape \(N, 3\) .*, got \(5000, 2\)"):
        MLP([3, 1000, 2], rng=0).predict(np.ones((5000, 2)))
