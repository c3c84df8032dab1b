"""The minibatches of `fit`, and data on disk."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from oracles import assert_close
from trainings import assert_same_state, fit, flat, rows_seen, samples, state, stateful, targets

from handmade import L1, MLP, SGD, Adam, Chain, ClipGradNorm, Dense, MaxNorm, Network, losses


@pytest.mark.parametrize(
    ("batch_size", "drop_last", "sizes"),
    [
        (4, False, [4, 4, 2]),
        (4, True, [4, 4]),
        (5, True, [5, 5]),
        (1, True, [1] * 10),
        (10, True, [10]),
        (11, False, [10]),
        (999, True, [10]),
        (None, False, [10]),
        (None, True, [10]),
    ],
)
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.filterwarnings("ignore:unchanged parameters")  # its optimizer only looks on
def test_epoch_takes_every_sample_once(batch_size, drop_last, sizes, shuffle):
    steps = rows_seen(10, batch_size=batch_size, drop_last=drop_last, shuffle=shuffle, epochs=2, rng=0)
    assert [len(rows) for rows in steps] == 2 * sizes
    for epoch in steps[: len(sizes)], steps[len(sizes) :]:
        rows = flat(epoch)
        assert len(set(rows)) == len(rows) == sum(sizes)
        if not shuffle:
            assert rows == list(range(sum(sizes)))


@pytest.mark.filterwarnings("ignore:unchanged parameters")  # its optimizer only looks on
def test_shuffling_gives_each_epoch_another_order():
    steps = rows_seen(20, batch_size=1, epochs=3, rng=0)
    orders = [flat(steps[start : start + 20]) for start in (0, 20, 40)]
    assert all(sorted(order) == list(range(20)) for order in orders)
    assert len({tuple(order) for order in [*orders, range(20)]}) == 4


def test_same_seed_gives_same_bits():
    X, y = samples(40)
    thetas = []
    for rng in 7, 7, np.random.default_rng(7), 8:
        network = stateful()
        before = np.random.get_state()[1].copy()  # noqa: NPY002 the global generator must stay as it is
        fit(network, X, y, epochs=3, batch_size=16, validation=0.25, rng=rng)
        assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002
        thetas.append(network.theta.copy())
    assert np.array_equal(thetas[0], thetas[1])
    assert np.array_equal(thetas[0], thetas[2])
    assert not np.array_equal(thetas[0], thetas[3])


@pytest.mark.parametrize(
    "optimizer",
    [lambda: SGD(lr=0.1, momentum=0.9), Adam, lambda: Chain(L1(0.01), Adam())],
    ids=["sgd", "adam", "chain"],
)
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_second_call_goes_on_where_the_first_ended(optimizer, shuffle):
    X, y = samples(20)
    results = []
    for parts in [5], [2, 3]:
        network, steps, rng, history = stateful(), optimizer(), np.random.default_rng(4), []
        for epochs in parts:
            options = {"optimizer": steps, "epochs": epochs, "batch_size": 8, "shuffle": shuffle, "rng": rng}
            history += fit(network, X, y, **options).loss
        results.append((state(network), history))
    assert_same_state(results[1][0], results[0][0])
    assert results[1][1] == results[0][1]


def test_a_chain_of_penalty_clipping_step_and_norm_limit():
    X, y = samples()
    network, by_hand = (MLP([3, 5, 3], activation="tanh", rng=5) for _ in range(2))
    weights = [layer.W for layer in network.layers if isinstance(layer, Dense)]
    chain = Chain(L1(0.02), ClipGradNorm(0.25), SGD(lr=0.5), MaxNorm(weights, 0.5))
    fit(network, X, y, optimizer=chain, epochs=4, batch_size=5, shuffle=False)
    clipped = limited = 0
    for start in 4 * [0, 5]:
        _, gradient = by_hand.loss_and_gradient(X[start : start + 5], y[start : start + 5])
        gradient = gradient + 0.02 * np.sign(by_hand.theta)
        norm = np.sqrt(gradient @ gradient)
        clipped += norm > 0.25
        by_hand.theta -= 0.5 * gradient * min(1, 0.25 / (norm + 1e-6))
        for name, W in by_hand.blocks(by_hand.theta).items():
            if name.endswith("weight"):
                norms = np.linalg.norm(W, axis=1, keepdims=True)
                limited += (norms > 0.5).sum()
                W *= np.minimum(1, 0.5 / norms)
    assert clipped and limited  # or the chain would have had nothing to do
    assert_close(network.theta, by_hand.theta, operations=8 * 100)  # 8 steps of at most 100 roundings


# ---- data on disk, threads -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("network_dtype", [np.float32, np.float64])
@pytest.mark.filterwarnings("ignore:unscaled inputs:handmade.TrainingWarning")  # bytes, as they are on disk
def test_data_on_disk_give_the_same_bits(tmp_path, dtype, network_dtype):
    X = np.random.default_rng(0).integers(0, 256, (2500, 6)).astype(dtype)
    y = np.random.default_rng(1).integers(0, 3, 2500)
    on_disk = np.memmap(tmp_path / "X", dtype, "w+", shape=X.shape)
    on_disk[:] = X
    on_disk.flush()
    on_disk = np.memmap(tmp_path / "X", dtype, "r", shape=X.shape)
    networks = [MLP([6, 5, 3], normalization="layer", rng=0, dtype=network_dtype) for _ in range(3)]
    options = {"epochs": 2, "batch_size": 100, "validation": 0.4, "metrics": ["accuracy"], "rng": 3}
    histories = [fit(n, A, y, **options) for n, A in zip(networks, [X, on_disk, X.astype(network_dtype)], strict=True)]
    for network, history in zip(networks[1:], histories[1:], strict=True):
        assert np.array_equal(network.theta, networks[0].theta)
        assert history.validation_loss == histories[0].validation_loss
        assert history.metrics == histories[0].metrics


def test_data_on_disk_are_never_in_memory_as_a_whole(tmp_path):
    shape = 50_000, 40
    X = np.memmap(tmp_path / "X", np.uint8, "w+", shape=shape)
    y = np.arange(len(X), dtype=np.uint16) % 2
    network = MLP([40, 2], rng=0)
    tracemalloc.start()
    fit(network, X, y, epochs=1, batch_size=1024, metrics=["accuracy"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # 4 MB: room for some blocks, and for a few numbers per sample.
    assert peak < X.size * network.dtype.itemsize / 4


def test_every_row_is_looked_at_once_before_training():
    sizes = []

    def loss(input, target):
        sizes.append(len(input))
        return losses.mse_loss(input, target)

    X, Y = samples(2500)[0], targets("mse_loss", 2500)
    fit(MLP([3, 3], rng=0), X, Y, loss=(loss, losses.mse_loss_backward), epochs=1, batch_size=500)
    dry_run, training_steps, look = [500], 5 * [500], [256]  # for warnings, before and after
    assert sizes == [1024, 1024, 452, *dry_run, *look, *training_steps, *look]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_batches_of_an_epoch_are_one_array(dtype, monkeypatch):
    """The layers keep what they made for an array that comes again; of another dtype the rows are converted into it."""
    seen, backpropagate = [], Network.backpropagate

    def watched(self, X, *rest):
        seen.append((X, X.copy()))
        return backpropagate(self, X, *rest)

    monkeypatch.setattr(Network, "backpropagate", watched)
    X, y = np.random.default_rng(0).standard_normal((10, 3)).astype(dtype), np.arange(10) % 2
    fit(MLP((3, 4, 2), rng=0, dtype=np.float32), X, y, epochs=1, batch_size=4, shuffle=False, progress=False)
    (_, dry_run), (first, a), (second, b), (last, c) = seen
    assert first is second and np.shares_memory(first, last) and len(last) == 2
    np.testing.assert_array_equal(np.concatenate([a, b, c]), X.astype(np.float32))
    np.testing.assert_array_equal(dry_run, X[8:].astype(np.float32))
