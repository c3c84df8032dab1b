"""Training: `fit` beside loops written by hand and in torch, and every promise of its docstring."""

from __future__ import annotations

import functools
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from oracles import assert_close
from trainings import (
    X_LONG,
    Y_LONG,
    Script,
    assert_same_state,
    fit,
    flat,
    follow,
    mean_output,
    rows_seen,
    samples,
    state,
    stateful,
    targets,
    with_middle,
)

from handmade import (
    L1,
    MLP,
    SGD,
    Activation,
    Adam,
    BatchNorm,
    Chain,
    ClipGradNorm,
    Dense,
    ExponentialLR,
    History,
    MaxNorm,
    Network,
    OneCycleLR,
    ReduceLROnPlateau,
    load_digits,
    losses,
    train_test_split,
    training,
)
from handmade.metrics import accuracy, r2_score


class Watched:
    """An optimizer, with a copy of theta after each of its steps."""

    def __init__(self, optimizer):
        self.optimizer, self.thetas = optimizer, []

    def step(self, theta, gradient):
        self.optimizer.step(theta, gradient)
        self.thetas.append(theta.copy())


# ---- the loop --------------------------------------------------------------------------------------------------------


def test_batch_size_one_is_the_lecture_s_loop_over_samples():
    x, y, eta = [0.5, -1.25, 2.0, 0.75], [1.0, 0.3, -0.7, 2.0], 0.1
    watched = Watched(SGD(lr=eta))
    network = Network([Dense(1, 1, bias=False, weight_init="zeros")])
    columns = np.array([x]).T, np.array([y]).T
    fit(network, *columns, loss="half_squared_error", optimizer=watched, epochs=2, batch_size=1, shuffle=False)
    w, path = 0.0, []
    for x_n, y_n in 2 * list(zip(x, y, strict=True)):
        w -= eta * ((w * x_n - y_n) * x_n)
        path.append(w)
    assert np.ravel(watched.thetas).tolist() == path


@pytest.mark.parametrize("batch_size", [1, 4, 5, 10, None])
@pytest.mark.parametrize(
    "loss",
    [
        "cross_entropy",
        functools.partial(losses.cross_entropy, label_smoothing=0.1),
        "mse_loss",
        functools.partial(losses.mse_loss, reduction="sum"),
        (losses.hinge_loss, losses.hinge_loss_backward),
    ],
    ids=["index", "smoothed", "mse", "sum", "pair"],
)
def test_fit_is_the_loop_written_by_hand_to_the_bit(loss, batch_size):
    X, y = samples()[0], targets(loss[0] if isinstance(loss, tuple) else loss)
    network, by_hand = (MLP([3, 5, 3], activation="tanh", rng=2) for _ in range(2))
    watched = Watched(SGD(lr=0.05))
    options = {"loss": loss, "optimizer": watched, "epochs": 3, "batch_size": batch_size, "shuffle": False}
    history = fit(network, X, y, **options)

    size, thetas, means = batch_size or len(X), [], []
    for _ in range(3):
        total = 0
        for start in range(0, len(X), size):
            rows = slice(start, start + size)
            value, gradient = by_hand.loss_and_gradient(X[rows], y[rows], loss)
            by_hand.theta -= 0.05 * gradient
            thetas.append(by_hand.theta.copy())
            total += value * len(X[rows])
        means.append(total / len(X))
    assert np.array_equal(watched.thetas, thetas)
    assert history.loss == means
    assert history.stopped == "all epochs"


def torch_twin(network):
    modules = {
        Dense: lambda layer: torch.nn.Linear(layer.in_features, layer.neuron_count, "bias" in layer.parameters),
        Activation: lambda layer: torch.nn.Tanh(),
        BatchNorm: lambda layer: torch.nn.BatchNorm1d(layer.in_features),
    }
    twin = torch.nn.Sequential(*(modules[type(layer)](layer) for layer in network.layers)).double()
    twin.load_state_dict({name: torch.from_numpy(array) for name, array in network.state_dict().items()})
    return twin


@pytest.mark.parametrize("batch_size", [1, 4, None])
@pytest.mark.parametrize("normalization", [None, "batch"])
@pytest.mark.parametrize(
    ("optimizer", "theirs"),
    [
        (lambda: SGD(lr=0.1, momentum=0.9), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)),
        (lambda: Adam(lr=0.01), lambda p: torch.optim.Adam(p, lr=0.01)),
    ],
    ids=["sgd", "adam"],
)
@pytest.mark.parametrize(
    ("loss", "torch_loss"),
    [("cross_entropy", torch.nn.functional.cross_entropy), ("mse_loss", torch.nn.functional.mse_loss)],
    ids=["cross_entropy", "mse"],
)
def test_fit_equals_a_torch_loop(optimizer, theirs, normalization, batch_size, loss, torch_loss):
    if normalization and batch_size == 1:
        batch_size = 2  # a single sample has no variance
    X, y = samples()[0], targets(loss)
    # A bias under a batch normalization has only rounding noise for a gradient, which Adam would blow up.
    network = MLP([3, 5, 3], activation="tanh", normalization=normalization, bias=not normalization, rng=3)
    twin = torch_twin(network)
    fit(network, X, y, loss=loss, optimizer=optimizer(), epochs=4, batch_size=batch_size, shuffle=False)

    size, torch_optimizer = batch_size or len(X), theirs(twin.parameters())
    for _ in range(4):
        for start in range(0, len(X), size):
            torch_optimizer.zero_grad()
            rows = slice(start, start + size)
            torch_loss(twin(torch.from_numpy(X[rows])), torch.from_numpy(y[rows])).backward()
            torch_optimizer.step()
    for name, array in twin.state_dict().items():
        # At most 40 steps of some 100 roundings each, of numbers around one: 40 * 100 * 2e-16 = 1e-12.
        assert np.abs(network.state_dict()[name] - array.numpy()).max() <= 1e-12


def test_the_dtype_of_the_network_is_that_of_training():
    X, y = samples()
    network = MLP([3, 5, 3], rng=0, dtype=np.float32)
    fit(network, X.tolist(), y.tolist(), epochs=2)
    assert network.theta.dtype == network.gradient.dtype == np.float32


# ---- batches ---------------------------------------------------------------------------------------------------------


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
def test_epoch_takes_every_sample_once(batch_size, drop_last, sizes, shuffle):
    steps = rows_seen(10, batch_size=batch_size, drop_last=drop_last, shuffle=shuffle, epochs=2, rng=0)
    assert [len(rows) for rows in steps] == 2 * sizes
    for epoch in steps[: len(sizes)], steps[len(sizes) :]:
        rows = flat(epoch)
        assert len(set(rows)) == len(rows) == sum(sizes)
        if not shuffle:
            assert rows == list(range(sum(sizes)))


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


# ---- validation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("N", "fraction", "held"), [(10, 0.25, 3), (10, 0.1, 1), (7, 0.5, 4), (2, 0.01, 1)])
def test_a_fraction_is_set_aside_at_random(N, fraction, held):
    trained = [set(flat(rows_seen(N, validation=fraction, epochs=3, batch_size=1, rng=rng))) for rng in range(8)]
    assert {len(rows) for rows in trained} == {N - held}
    assert len({frozenset(rows) for rows in trained}) > 1


def test_held_out_samples_are_never_trained_on():
    X, y = samples(40)
    options = {"validation": 0.25, "rng": 5, "batch_size": 8, "epochs": 3}
    held = sorted(set(range(40)) - set(flat(rows_seen(40, **options))))
    X_poisoned, y_poisoned = X.copy(), y.copy()
    X_poisoned[held], y_poisoned[held] = 1e3, (y[held] + 1) % 3
    networks, histories = [stateful(), stateful()], []
    for network, data in zip(networks, [(X, y), (X_poisoned, y_poisoned)], strict=True):
        histories.append(fit(network, *data, **options))
        expected = losses.cross_entropy(network.predict(data[0][held]), data[1][held])
        assert histories[-1].validation_loss[-1] == expected
    assert len(held) == 10
    assert_same_state(state(networks[1]), state(networks[0]))
    assert histories[1].loss == histories[0].loss
    assert histories[1].validation_loss != histories[0].validation_loss


@pytest.mark.parametrize(
    "loss",
    ["cross_entropy", "mse_loss", functools.partial(losses.huber_loss, delta=0.5)],
    ids=["index", "mse", "partial"],
)
def test_validation_loss_is_reported_and_changes_nothing(loss):
    X, y = samples(20)[0], targets(loss, 20)
    held = samples(30, seed=6)[0], targets(loss, 30, seed=7)
    with_validation, without = stateful(), stateful()
    states = []
    options = {"loss": loss, "batch_size": 8, "epochs": 3, "rng": 2, "sample_weight": np.arange(20)}
    history = fit(
        with_validation,
        X,
        y,
        validation=held,
        callbacks=lambda network, _: states.append(network.state_dict()),
        **options,
    )
    fit(without, X, y, **options)
    assert_same_state(state(with_validation), state(without))
    judge = losses.find_loss(loss).value
    for epoch_state, value in zip(states, history.validation_loss, strict=True):
        without.load_state_dict(epoch_state)
        assert value == judge(without.predict(held[0]), held[1])
    assert history.best_epoch == np.argmin(history.validation_loss)


def test_more_validation_data_than_one_block():
    X, y = samples(20)
    held = samples(3000, seed=6)
    network = MLP([3, 5, 3], rng=0)
    history = fit(network, X, y, epochs=1, validation=held)
    one_by_one = [losses.cross_entropy(network.predict([x]), [label]) for x, label in zip(*held, strict=True)]
    expected = np.mean(one_by_one)
    assert_close(np.array(history.validation_loss[-1]), expected, operations=3000)


@pytest.mark.parametrize("validates", [False, True])
def test_metrics_by_name_and_by_function(validates):
    X, y = samples(20)
    judged = samples(12, seed=6) if validates else (X, y)
    network = stateful()
    history = fit(network, X, y, epochs=3, metrics=["accuracy", mean_output], validation=judged if validates else None)
    assert {name: len(values) for name, values in history.metrics.items()} == {
        "accuracy": 3,
        "mean_output": 3,
    }
    output = network.predict(judged[0])
    assert history.metrics["accuracy"][-1] == accuracy(output, judged[1])
    assert history.metrics["mean_output"][-1] == output.mean()
    assert history.best_epoch is None or validates


@pytest.mark.parametrize("validates", [False, True])
def test_a_metric_may_be_called_loss(validates):
    def loss(output, y):
        return 42.0

    X, y = samples(20)
    network = MLP([3, 5, 3], rng=0)
    history = fit(network, X, y, epochs=2, metrics=[loss], validation=(X, y) if validates else None)
    assert history.metrics == {"loss": [42.0, 42.0]}
    assert history.validation_loss[1:] == [losses.cross_entropy(network.predict(X), y)] * validates


def test_the_metric_of_a_regression():
    X, Y = samples(20)[0], targets("mse_loss", 20)
    network = MLP([3, 5, 3], rng=0)
    history = fit(network, X, Y, loss="mse_loss", epochs=1, metrics=[r2_score])
    assert history.metrics == {"r2_score": [r2_score(network.predict(X), Y)]}


# ---- schedules -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("every", "steps", "by_epoch"),
    [
        ("epoch", [1, 1, 1, 0.5, 0.5, 0.5], [1, 0.5]),
        ("batch", [1, 0.5, 0.25, 0.125, 0.0625, 0.03125], [0.25, 0.03125]),
    ],
)
def test_a_schedule_is_stepped_every_epoch_or_every_batch(every, steps, by_epoch):
    rates = []

    class Note:
        lr = 1.0

        def step(self, theta, gradient):
            rates.append(self.lr)

    optimizer = Note()
    schedule = ExponentialLR(optimizer, gamma=0.5)
    options = {"optimizer": optimizer, "schedule": schedule, "schedule_every": every}
    history = fit(MLP([3, 3], rng=0), *samples(), epochs=2, batch_size=4, **options)
    assert rates == steps
    assert schedule.t == (2 if every == "epoch" else 6)
    assert history.lr == by_epoch  # of the last step of the epoch


@pytest.mark.parametrize(
    ("options", "best", "rates"),
    [({}, 1.5, [1, 1, 1, 0.5, 0.25]), ({"validation": None}, 0, [1, 1, 0.5, 0.25, 0.125])],
    ids=["validation", "training"],
)
def test_a_plateau_is_one_of_the_validation_loss_if_there_is_any(options, best, rates):
    optimizer = Script([3, 2, 2.5, 2.5, 1.5])  # the training losses, taken before the update: 0, 3, 2, 2.5, 2.5
    schedule = ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
    _, history = follow([3, 2, 2.5, 2.5, 1.5], optimizer=optimizer, schedule=schedule, **options)
    assert history.loss == [0, 3, 2, 2.5, 2.5]
    assert history.lr == rates
    assert schedule.best == best


# ---- weights ---------------------------------------------------------------------------------------------------------

WEIGHTED = [
    "cross_entropy",
    "mse_loss",
    "half_squared_error",
    "hinge_loss",
    "binary_cross_entropy_with_logits",
]


ROUNDINGS = 5 * 100  # 5 steps of at most 100 roundings: the same 40 terms, summed in another order


@pytest.mark.parametrize("loss", WEIGHTED)
def test_an_integer_weight_is_a_repeated_sample(loss):
    X, y, weight = samples(12)[0], targets(loss, 12), np.array([1, 0, 2, 3] * 3)
    weighted, repeated = (MLP([3, 5, 3], activation="tanh", rng=1) for _ in range(2))
    options = {"loss": loss, "batch_size": None, "epochs": 5, "shuffle": False}
    history = fit(weighted, X, y, sample_weight=weight, optimizer=SGD(lr=0.1), **options)
    rows = np.repeat(np.arange(12), weight)
    expected = fit(repeated, X[rows], y[rows], optimizer=SGD(lr=0.1), **options)
    assert_close(weighted.theta, repeated.theta, operations=ROUNDINGS)
    assert_close(np.array(history.loss), np.array(expected.loss), operations=ROUNDINGS)


@pytest.mark.parametrize("batch_size", [1, 4, 12])
def test_weights_are_taken_relative_to_their_mean(batch_size):
    X, y = samples(12)
    weight = np.random.default_rng(3).uniform(0, 5, 12)
    network, by_hand, rescaled = (MLP([3, 5, 3], rng=1) for _ in range(3))
    options = {"optimizer": SGD(lr=0.1), "batch_size": batch_size, "epochs": 2, "shuffle": False}
    fit(network, X, y, sample_weight=weight, **options)
    fit(rescaled, X, y, sample_weight=1024 * weight, **options)
    for start in 2 * list(range(0, 12, batch_size)):
        rows = slice(start, start + batch_size)
        relative = weight[rows] / weight.mean()
        by_hand.theta -= 0.1 * by_hand.loss_and_gradient(X[rows], y[rows], sample_weight=relative)[1]
    assert np.array_equal(network.theta, by_hand.theta)
    assert np.array_equal(network.theta, rescaled.theta)


def test_a_weight_of_zero_drops_a_sample():
    X, y = samples(12)
    weight = np.ones(12)
    weight[[3, 7]] = 0
    poisoned, X_poisoned = y.copy(), X.copy()
    poisoned[[3, 7]], X_poisoned[[3, 7]] = (y[[3, 7]] + 1) % 3, 5.0
    one, other, without = (MLP([3, 5, 3], rng=1) for _ in range(3))
    options = {"optimizer": SGD(lr=0.1), "batch_size": None, "epochs": 5, "shuffle": False}
    fit(one, X, y, sample_weight=weight, **options)
    fit(other, X_poisoned, poisoned, sample_weight=weight, **options)
    fit(without, X[weight > 0], y[weight > 0], **options)
    assert_close(other.theta, one.theta, operations=ROUNDINGS)
    assert_close(one.theta, without.theta, operations=ROUNDINGS)


@pytest.mark.parametrize(
    "class_weight",
    [[0.5, 2.0, 3.0], np.array([0.5, 2.0, 3.0]), {0: 0.5, 1: 2.0, 2: 3.0}, {2: 3.0, 0: 0.5, 1: 2.0, 9: 1.0}],
    ids=["list", "array", "mapping", "surplus"],
)
def test_class_weights_are_those_of_torch(class_weight):
    X, y = samples(12)
    network = MLP([3, 5, 3], activation="tanh", rng=1)
    twin = torch_twin(network)
    options = {"optimizer": SGD(lr=0.1), "batch_size": None, "epochs": 5, "shuffle": False}
    history = fit(network, X, y, class_weight=class_weight, **options)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    weight, expected = torch.tensor([0.5, 2.0, 3.0], dtype=torch.float64), []
    for _ in range(5):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(twin(torch.from_numpy(X)), torch.from_numpy(y), weight=weight)
        loss.backward()
        optimizer.step()
        expected.append(loss.item())
    theirs = torch.nn.utils.parameters_to_vector(twin.parameters()).detach().numpy()
    assert_close(network.theta, theirs, operations=ROUNDINGS)
    assert_close(np.array(history.loss), np.array(expected), operations=ROUNDINGS)


def test_class_weights_multiply_sample_weights():
    X, y = samples(12)
    sample_weight, class_weight = np.random.default_rng(3).uniform(0, 5, 12), np.array([0.5, 2.0, 3.0])
    both, product = MLP([3, 5, 3], rng=1), MLP([3, 5, 3], rng=1)
    fit(both, X, y, sample_weight=sample_weight, class_weight=class_weight, batch_size=4, rng=0)
    fit(product, X, y, sample_weight=sample_weight * class_weight[y], batch_size=4, rng=0)
    assert np.array_equal(both.theta, product.theta)
    assert sample_weight.max() > 1  # the caller's weights are left alone


# ---- data on disk, threads -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("network_dtype", [np.float32, np.float64])
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
    y = np.zeros(len(X), np.uint8)
    network = MLP([40, 2], rng=0)
    tracemalloc.start()
    fit(network, X, y, epochs=1, batch_size=1024, metrics=["accuracy"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # 4 MB: room for some blocks, and for a few numbers per sample.
    assert peak < X.size * network.dtype.itemsize / 4


def test_two_threads_give_the_bits_of_one_after_the_other():
    data = samples(320)  # 240 to train on, in 15 batches

    def train(rng, wait=lambda: None):
        network = stateful(rng)
        wait()
        history = fit(network, *data, epochs=20, batch_size=16, validation=0.25, early_stopping=15, rng=rng)
        return state(network), history.loss, history.validation_loss

    expected = [train(rng) for rng in (1, 2)]
    start = threading.Barrier(2, timeout=10)
    with ThreadPoolExecutor(2) as pool:
        actual = list(pool.map(lambda rng: train(rng, start.wait), (1, 2)))
    for (now, *lists), (then, *lists_then) in zip(actual, expected, strict=True):
        assert_same_state(now, then)
        assert lists == lists_then


# ---- messages --------------------------------------------------------------------------------------------------------


def test_callback_is_called_after_each_epoch():
    network, calls = MLP([3, 5, 3], rng=0), []

    def callback(*arguments):
        trained, history = arguments
        calls.append((trained, history, len(history), len(history.validation_loss), len(history.seconds)))

    history = fit(network, *samples(), epochs=3, validation=0.5, callbacks=callback)
    assert calls == [(network, history, n, n, n) for n in (1, 2, 3)]
    assert all(seconds > 0 for seconds in history.seconds)
    assert history.lr == 3 * [1e-3]  # of Adam(), the default


@pytest.mark.parametrize(
    ("history", "text"),
    [
        (History(), "0 epochs (running)"),
        (History(loss=[0.25], stopped="interrupted"), "1 epochs (interrupted): loss 0.25"),
        (
            History([1.0, 0.5], [2.0, 1.5], {"accuracy": [0.5, 0.75]}, stopped="early stopping"),
            "2 epochs (early stopping): loss 0.5  validation 1.5  accuracy 0.75; best epoch 2",
        ),
    ],
    ids=["empty", "loss only", "all"],
)
def test_a_history_in_one_line(history, text):
    assert str(history) == text


def test_handwritten_digits():
    """97 of 100 digits that the network has never seen."""
    X, y = load_digits()
    X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=True, rng=0)
    network = MLP([64, 64, 10], rng=0)
    fit(network, X_train, y_train, optimizer=SGD(lr=0.1, momentum=0.9), epochs=20, batch_size=16, rng=0)
    assert accuracy(network.predict(X_test), y_test) >= 0.97


# ---- output, and defaults --------------------------------------------------------------------------------------------


def test_defaults_are_ten_epochs_of_batches_of_32(capsys):
    optimizer = Watched(SGD(lr=0.1))
    history = training.fit(MLP([3, 3], rng=0), *samples(33), optimizer=optimizer)
    assert (len(history), len(optimizer.thetas)) == (10, 20)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[0] for line in lines] == [f"epoch {n}/10" for n in range(1, 11)]


def test_without_progress_nothing_is_shown(capsys):
    training.fit(MLP([3, 3], rng=0), *samples(), epochs=3, progress=False)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("N", "drop_last", "steps"), [(8, False, 2), (9, False, 3), (9, True, 2), (11, False, 3)])
def test_a_schedule_by_batch_has_to_last_for_the_short_batch_too(N, drop_last, steps):
    for total_steps in (2 * steps, 2 * steps - 1):
        optimizer = SGD(lr=0.1, momentum=0.9)
        schedule = OneCycleLR(optimizer, max_lr=0.1, total_steps=total_steps)
        options = {"optimizer": optimizer, "schedule": schedule, "schedule_every": "batch"}
        arguments = {"epochs": 2, "batch_size": 4, "drop_last": drop_last} | options
        if total_steps == 2 * steps:
            fit(MLP([3, 3], rng=0), *samples(N), **arguments)
            assert schedule.t == total_steps
        else:
            with pytest.raises(ValueError, match=f"^schedule: .* {2 * steps} steps, got {total_steps} left"):
                fit(MLP([3, 3], rng=0), *samples(N), **arguments)


def test_a_loss_of_your_own_sees_the_dtype_of_the_network_alone():
    dtypes = set()

    def loss(input, target):
        dtypes.add(input.dtype)
        return losses.mse_loss(input, target)

    network = MLP([3, 3], rng=0, dtype=np.float32)
    fit(network, samples()[0], targets("mse_loss"), loss=(loss, losses.mse_loss_backward), epochs=1)
    assert dtypes == {np.dtype(np.float32)}


def test_a_class_may_weigh_nothing():
    X, y = samples(20)
    kept = y != 1
    one, other = MLP([3, 3], rng=0), MLP([3, 3], rng=0)
    fit(one, X, y, class_weight=[1, 0, 1], epochs=3, batch_size=None, optimizer=SGD(lr=0.1))
    fit(other, X[kept], y[kept], epochs=3, batch_size=None, optimizer=SGD(lr=0.1))
    # The mean over the samples kept, and the mean of the weights, divide by the same count, one after the other.
    np.testing.assert_allclose(one.theta, other.theta, rtol=0, atol=ROUNDINGS * np.finfo(float).eps)


SAID = {
    "shuffle": ({"shuffle": 1}, TypeError, "^shuffle: expected True or False, got 1$"),
    "drop_last": ({"drop_last": 1}, TypeError, "^drop_last: expected True or False, got 1$"),
    "progress": ({"progress": 1}, TypeError, "^progress: expected True or False, got 1$"),
    "optimizer": ({"optimizer": object()}, TypeError, "^optimizer: expected an object with step"),
    "X of one dimension": ({"X": np.ones(10)}, ValueError, r"^X: expected shape \(N, 3\), got \(10,\)$"),
    "X of three": ({"X": np.ones((10, 3, 1))}, ValueError, r"; flatten it with X.reshape\(len\(X\), -1\)$"),
    "row of X": ({"X": with_middle(X_LONG, np.nan), "y": Y_LONG}, ValueError, r"^X: .* nan at index \(1200, 0\)$"),
    "row of y": (
        {"X": X_LONG, "y": with_middle(X_LONG, np.inf), "loss": "mse_loss"},
        ValueError,
        r"^y: .* inf at index \(1200, 0\)$",
    ),
    "weights of class columns": (
        {"y": np.eye(3)[samples()[1]], "class_weight": [1, 1, 1]},
        TypeError,
        "^class_weight: expected targets that are class indices",
    ),
    "validation of all": ({"validation": 1.0}, ValueError, "^validation: .* between 0 and 1, or .*, got 1.0$"),
    "validation of three": ({"validation": [1, 2, 3]}, ValueError, "^validation: .* got list$"),
    "validation by name": ({"validation": "half"}, ValueError, "^validation: .* got 'half'$"),
}


@pytest.mark.parametrize(("options", "error", "words"), SAID.values(), ids=SAID)
def test_an_error_of_training_says_which_argument_and_where(options, error, words):
    with pytest.raises(error, match=words):
        fit(MLP([3, 3], rng=0), **({"X": samples()[0], "y": samples()[1]} | options))


def test_the_seconds_of_an_epoch_are_those_it_took():
    started = time.perf_counter()
    history = fit(MLP([3, 3], rng=0), *samples(), epochs=3)
    assert 0 < sum(history.seconds) <= time.perf_counter() - started


def test_progress_ends_with_the_reason_to_stop(capsys):
    history = follow([5, 4, 4, 1], early_stopping=1, progress=True)[1]
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("epoch 1/4  loss 0  validation 5")
    assert lines[2] == f"epoch 3/4  {history.latest()}"
    assert lines[3:] == ["epoch 3/4  early stopping"]


def test_every_row_is_looked_at_once_before_training():
    sizes = []

    def loss(input, target):
        sizes.append(len(input))
        return losses.mse_loss(input, target)

    X, Y = samples(2500)[0], targets("mse_loss", 2500)
    fit(MLP([3, 3], rng=0), X, Y, loss=(loss, losses.mse_loss_backward), epochs=1, batch_size=500)
    rehearsal, training_steps, look = [500], 5 * [500], [256]  # for warnings, before and after
    assert sizes == [1024, 1024, 452, *rehearsal, *look, *training_steps, *look]


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
    (_, rehearsed), (first, a), (second, b), (last, c) = seen
    assert first is second and np.shares_memory(first, last) and len(last) == 2
    np.testing.assert_array_equal(np.concatenate([a, b, c]), X.astype(np.float32))
    np.testing.assert_array_equal(rehearsed, X[8:].astype(np.float32))
