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

import handmade as hm
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
    EarlyStopping,
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
from handmade.metrics import accuracy, r2_score, top_k_accuracy

fit = functools.partial(training.fit, progress=False)


def samples(N=10, seed=0):
    """Inputs (N, 3) and labels of three classes."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(N, 3)), rng.integers(0, 3, N)


def targets(loss, N=10, seed=1):
    """Targets that the loss takes for outputs (N, 3)."""
    rng = np.random.default_rng(seed)
    name = getattr(loss, "func", loss)
    name = getattr(name, "__name__", name)
    if name in ("cross_entropy", "multi_margin_loss"):
        return rng.integers(0, 3, N)
    if name == "binary_cross_entropy_with_logits":
        return rng.integers(0, 2, (N, 3))
    return rng.choice([-1.0, 1.0], (N, 3)) if name == "hinge_loss" else rng.normal(size=(N, 3))


def stateful(rng=0):
    """Return a network with everything that training can change: weights, statistics, a generator of masks."""
    return MLP([3, 8, 3], normalization="batch", dropout=0.25, rng=rng)


def state(network):
    """Copies of all that training can change."""
    generators = {id(leaf.rng): leaf.rng.bit_generator.state for _, leaf in network.leaves() if hasattr(leaf, "rng")}
    return network.state_dict() | {"generators": list(generators.values())}


def assert_same_state(actual, expected):
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert np.array_equal(actual[name], value), name


class Watched:
    """An optimizer, with a copy of theta after each of its steps."""

    def __init__(self, optimizer):
        self.optimizer, self.thetas = optimizer, []

    def step(self, theta, gradient):
        self.optimizer.step(theta, gradient)
        self.thetas.append(theta.copy())


class Script:
    """An optimizer that sets the only weight to the next number, whatever the gradient."""

    def __init__(self, weights, lr=1.0):
        self.weights, self.lr = iter(weights), lr

    def step(self, theta, gradient):
        theta[:] = next(self.weights)


def follow(validation_losses, **options):
    """Train one weight so that the validation losses are these numbers: |w 1 - 0| = w."""
    network = Network([Dense(1, 1, bias=False, weight_init="zeros")])
    one, zero = [[1.0]], [[0.0]]
    options = {"optimizer": Script(validation_losses), "validation": (one, zero)} | options
    return network, fit(network, one, zero, loss="l1_loss", epochs=len(validation_losses), **options)


def rows_seen(N, **options):
    """Return which samples each step is computed from: sample n has its 1, and so its gradient, in entry n alone."""
    steps = []

    class Note:
        def step(self, theta, gradient):
            steps.append(np.flatnonzero(gradient).tolist())

    network = Network([Dense(N, 1, bias=False, weight_init="zeros")])
    fit(network, np.eye(N), np.ones((N, 1)), loss="mse_loss", optimizer=Note(), **options)
    return steps


def flat(steps):
    return [row for rows in steps for row in rows]


# ---- the loop ----------------------------------------------------------------------------------------------


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


# ---- batches -----------------------------------------------------------------------------------------------


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


# ---- validation --------------------------------------------------------------------------------------------


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


def mean_output(output, y):
    assert len(output) == len(y)
    return output.mean()


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


# ---- early stopping ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("validation_losses", "rule", "epochs", "weight"),
    [
        ([5, 4, 3, 3.5, 3.25, 1], 2, 5, 3),
        ([5, 4, 3, 3.5, 3.25, 1], EarlyStopping(2), 5, 3),
        ([5, 4, 3, 3.5, 3.25, 1], 3, 6, 1),
        ([5, 6, 4, 6, 6, 1], 2, 5, 4),
        ([3, 3, 1], 1, 2, 3),
        ([5, 4, 3, 3.5, 3.25, 1], EarlyStopping(2, restore_best=False), 5, 3.25),
        ([5, 4.8, 4.6, 4.4, 4.3, 4.2, 4.1, 1], EarlyStopping(3, min_delta=0.5, restore_best=False), 7, 4.1),
        ([5, 4.8, 4.6, 4.4, 4.3, 1], EarlyStopping(3, min_delta=1, restore_best=False), 4, 4.4),
        ([5, 3, 2.5, 1], EarlyStopping(1, min_delta=1), 3, 3),
        ([5, 4, 6, 6], 3, 4, 4),
    ],
)
def test_patience_is_counted_from_the_last_improvement(validation_losses, rule, epochs, weight):
    network, history = follow(validation_losses, early_stopping=rule)
    assert history.validation_loss == validation_losses[:epochs]
    assert history.stopped == ("early stopping" if epochs < len(validation_losses) else "all epochs")
    assert network.theta.tolist() == [weight]


def test_the_best_epoch_is_restored_exactly():
    X, y = samples(20)
    held = samples(20, seed=8)  # labels of pure chance: the validation loss soon rises
    network, states = stateful(), []
    options = {"epochs": 100, "batch_size": 8, "early_stopping": 5, "rng": 1, "optimizer": Adam(lr=0.05)}
    history = fit(network, X, y, validation=held, callbacks=lambda n, _: states.append(n.state_dict()), **options)
    assert history.stopped == "early stopping"
    assert len(history) == history.best_epoch + 6
    assert_same_state(network.state_dict(), states[history.best_epoch])
    assert losses.cross_entropy(network.predict(held[0]), held[1]) == min(history.validation_loss)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"patience": 0}, ValueError),
        ({"patience": 2.5}, TypeError),
        ({"min_delta": -1.0}, ValueError),
        ({"min_delta": float("nan")}, ValueError),
    ],
)
def test_early_stopping_refuses(options, error):
    with pytest.raises(error, match=next(iter(options))):
        EarlyStopping(**options)


# ---- schedules ---------------------------------------------------------------------------------------------


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


# ---- weights -----------------------------------------------------------------------------------------------

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


# ---- data on disk, threads ---------------------------------------------------------------------------------


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


# ---- the end: by hand, by divergence -----------------------------------------------------------------------


def interrupt_at(call, function=lambda *arguments: 1.0):
    """Return the function, pressing Ctrl-C at its call of this number."""
    calls = []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == call:
            raise KeyboardInterrupt
        return function(*arguments)

    return interrupted


class Interrupted(SGD):
    """An optimizer: plain SGD, and Ctrl-C at its step of this number."""

    def __init__(self, call):
        super().__init__(lr=0.1)
        self.step = interrupt_at(call, super().step)


class InterruptedSchedule:
    def __init__(self, call):
        self.step = interrupt_at(call)


@pytest.mark.parametrize(
    ("options", "epochs", "steps"),
    [
        (lambda: {"callbacks": interrupt_at(2)}, 2, 6),
        (lambda: {"optimizer": Interrupted(1)}, 0, 0),
        (lambda: {"optimizer": Interrupted(3)}, 0, 2),
        (lambda: {"optimizer": Interrupted(8)}, 2, 7),
        (lambda: {"metrics": ["accuracy", interrupt_at(3)]}, 1, 6),  # its first call is the trial before training
        (lambda: {"schedule": InterruptedSchedule(2)}, 2, 6),
        (lambda: {"schedule": InterruptedSchedule(5), "schedule_every": "batch"}, 1, 5),
    ],
    ids=["callback", "first step", "first epoch", "third epoch", "metric", "schedule", "schedule by batch"],
)
def test_interrupt_keeps_weights_and_whole_epochs(options, epochs, steps):
    X, y = samples()
    network, by_hand = MLP([3, 5, 3], rng=0), MLP([3, 5, 3], rng=0)
    options = {"optimizer": SGD(lr=0.1), "validation": samples(5, seed=9)} | options()
    history = fit(network, X, y, epochs=9, batch_size=4, shuffle=False, **options)
    for start in [0, 4, 8, 0, 4, 8, 0, 4, 8][:steps]:
        by_hand.theta -= 0.1 * by_hand.loss_and_gradient(X[start : start + 4], y[start : start + 4])[1]
    assert np.array_equal(network.theta, by_hand.theta)
    assert history.stopped == "interrupted"
    lists = [history.loss, history.validation_loss, history.lr, history.seconds, *history.metrics.values()]
    assert [len(values) for values in lists] == len(lists) * [epochs]


def test_an_interrupt_restores_the_best_of_all_whole_epochs():
    network, history = follow([5, 4, 3, 2], early_stopping=9, callbacks=interrupt_at(3))
    assert history.stopped == "interrupted"
    assert history.validation_loss == [5, 4, 3]
    assert network.theta.tolist() == [3]


@pytest.mark.parametrize(
    ("build", "lr", "batch_size"),
    [
        (lambda: MLP([3, 3], rng=0), 1e6, None),
        (lambda: MLP([3, 8, 3], rng=0), 1e6, None),
        (lambda: MLP([3, 8, 3], rng=0), 1e6, 8),
        (lambda: MLP([3, 8, 3], rng=0, dtype=np.float32), 1e6, 16),
        (lambda: MLP([3, 8, 3], normalization="batch", rng=0), 1e6, None),
        (lambda: MLP([3, 8, 3], normalization="batch", rng=0), 1e6, 8),
        (lambda: MLP([3, 8, 3], normalization="batch", rng=0), 1e15, 8),
        (lambda: MLP([3, 8, 8, 3], rng=0), 1e12, 16),
        (lambda: MLP([3, 8, 8, 3], rng=0), 1e15, None),
    ],
    ids=[
        "linear",
        "full",
        "batches",
        "float32",
        "statistics, full",
        "statistics",
        "last step",
        "deep",
        "deep, full",
    ],
)
@pytest.mark.parametrize("epochs", [1, 2, 4, 60])
def test_divergence_is_an_error_that_takes_its_epoch_back(build, lr, batch_size, epochs):
    X, Y = samples(32)[0], targets("mse_loss", 32)
    network = build()
    states, diverged = [network.state_dict()], False
    options = {"loss": "mse_loss", "optimizer": SGD(lr=lr), "batch_size": batch_size, "rng": 0}
    with np.errstate(over="ignore", invalid="ignore"):
        try:
            fit(network, X, Y, epochs=epochs, callbacks=lambda n, _: states.append(n.state_dict()), **options)
        except FloatingPointError as error:
            diverged = True
            assert "lower the learning rate" in str(error)
    assert diverged or epochs < 60
    # With or without an error: nothing that is not a number is left behind, not even by the very last step.
    assert all(np.isfinite(array).all() for array in network.state_dict().values())
    assert_same_state(network.state_dict(), states[-1])


def test_a_loss_that_overflows_by_itself_is_divergence_too():
    """Errors of 1e200 have finite derivatives, but no finite square."""
    network = MLP([3, 3], rng=0)
    before = network.state_dict()
    Y = np.full((10, 3), 1e200)
    with np.errstate(over="ignore"), pytest.raises(FloatingPointError, match="the loss became inf"):
        fit(network, samples()[0], Y, loss="mse_loss", optimizer=SGD(lr=1e-250), epochs=1)
    assert_same_state(network.state_dict(), before)


# ---- bad input ---------------------------------------------------------------------------------------------

X_LONG, Y_LONG = samples(2500)  # more than two blocks of 1,024 rows: every row is looked at


def with_row(row, array, value):
    """Return a copy of the array, one row of it replaced."""
    changed = np.array(array)
    changed[row] = value
    return changed


with_last = functools.partial(with_row, -1)
with_middle = functools.partial(with_row, 1200)  # in the second block of rows, and not in the last batch


def pair_without_reduction():
    return lambda input, target: float(((input - target) ** 2).sum()), lambda input, target: 2 * (input - target)


BAD = {
    "nan in X": ({"X": with_last(X_LONG, [0, np.nan, 0])}, ValueError, "X: expected finite numbers, got nan"),
    "infinity in X": ({"X": with_middle(X_LONG, np.inf)}, ValueError, "X: expected finite numbers, got inf"),
    "words in X": ({"X": np.full((2500, 3), "a")}, TypeError, "X: expected numbers"),
    "X of one dimension": ({"X": X_LONG[:, 0]}, ValueError, "X"),
    "X too wide": ({"X": np.ones((2500, 4))}, ValueError, r"X: expected shape \(N, 3\).*4"),
    "no samples": ({"X": X_LONG[:0], "y": Y_LONG[:0]}, ValueError, r"N at least 1, got \(0, 3\)"),
    "lengths": ({"y": Y_LONG[1:]}, ValueError, r"y: expected one target per row.*2499"),
    "a number for y": ({"y": 1}, ValueError, "y: expected one target per row"),
    "nan in y": (
        {"y": with_middle(X_LONG, np.nan), "loss": "mse_loss"},
        ValueError,
        "y: expected finite numbers",
    ),
    "label too large": ({"y": with_last(Y_LONG, 3)}, ValueError, "from 0 to 2, got 3"),
    "label below zero": ({"y": with_middle(Y_LONG, -1)}, ValueError, "from 0 to 2, got -1"),
    "labels as words": ({"y": Y_LONG.astype(str)}, TypeError, "target"),
    "labels as floats": ({"y": Y_LONG.astype(float)}, TypeError, "target: expected integer"),
    "labels for mse": ({"loss": "mse_loss"}, ValueError, "target: expected the shape"),
    "hinge labels": (
        {"y": with_middle(np.ones((2500, 3)), 0), "loss": "hinge_loss"},
        ValueError,
        "labels -1 and",
    ),
    "unknown loss": ({"loss": "crossentropy"}, ValueError, "loss: expected one of.*'crossentropy'"),
    "loss of no kind": ({"loss": 3}, TypeError, "loss"),
    "loss without gradient": (
        {"loss": "zero_one_loss", "y": np.zeros((2500, 3))},
        TypeError,
        "zero_one_loss has no gradient",
    ),
    "loss of many numbers": (
        {"loss": functools.partial(losses.cross_entropy, reduction="none")},
        ValueError,
        "reduction='none'",
    ),
    "loss of many numbers, last batch dropped": (
        {
            "loss": functools.partial(losses.cross_entropy, reduction="none"),
            "drop_last": True,
            "batch_size": 499,
        },
        ValueError,
        "reduction='none'",
    ),
    "weights for a pair without reduction": (
        {"loss": pair_without_reduction(), "y": np.zeros((2500, 3)), "sample_weight": np.ones(2500)},
        TypeError,
        "reduction",
    ),
    "no epochs": ({"epochs": 0}, ValueError, "epochs: expected an integer of at least 1, got 0"),
    "half epochs": ({"epochs": 1.5}, TypeError, "epochs"),
    "no batch": ({"batch_size": 0}, ValueError, "batch_size: expected an integer of at least 1, got 0"),
    "half batch": ({"batch_size": 2.5}, TypeError, "batch_size"),
    "last batch of one": ({"batch_size": 2499}, ValueError, "at least 2 samples"),
    "fraction above one": ({"validation": 1.5}, ValueError, "validation: expected a fraction.*1.5"),
    "fraction of zero": ({"validation": 0.0}, ValueError, "validation"),
    "fraction of all": ({"validation": 0.99999}, ValueError, "validation.*leaves samples to train on"),
    "a count for a fraction": ({"validation": 10}, ValueError, "validation"),
    "validation of one part": ({"validation": (X_LONG,)}, ValueError, "validation"),
    "validation too wide": (
        {"validation": (np.ones((2, 4)), [0, 1])},
        ValueError,
        r"X: expected shape \(N, 3\)",
    ),
    "validation label": ({"validation": (X_LONG, with_last(Y_LONG, 3))}, ValueError, "from 0 to 2, got 3"),
    "validation nan": ({"validation": (with_last(X_LONG, np.nan), Y_LONG)}, ValueError, "X: expected finite"),
    "validation empty": ({"validation": (X_LONG[:0], Y_LONG[:0])}, ValueError, "N at least 1"),
    "unknown metric": ({"metrics": ["precision"]}, ValueError, "metrics: .*accuracy.*'precision'"),
    "metric of no kind": ({"metrics": [3]}, ValueError, "metrics"),
    "two metrics of one name": ({"metrics": [accuracy, "accuracy"]}, ValueError, "metrics: .*accuracy"),
    "metric that does not fit": (
        {"metrics": ["accuracy"], "loss": "mse_loss", "y": X_LONG},
        ValueError,
        "expected one-hot rows",
    ),
    "schedule_every": (
        {"schedule_every": "step"},
        ValueError,
        "schedule_every: .*'epoch' or 'batch', got 'step'",
    ),
    "plateau by batch": (
        {"schedule": ReduceLROnPlateau(SGD()), "schedule_every": "batch"},
        (ValueError, TypeError),
        "ReduceLROnPlateau",
    ),
    "negative weight": ({"sample_weight": with_middle(np.ones(2500), -1)}, ValueError, "at least 0"),
    "nan weight": (
        {"sample_weight": with_middle(np.ones(2500), np.nan)},
        ValueError,
        "sample_weight: expected finite",
    ),
    "all weights zero": ({"sample_weight": np.zeros(2500)}, ValueError, "sample_weight: .*one above"),
    "one weight short": ({"sample_weight": np.ones(2499)}, ValueError, r"one weight per sample.*2500.*2499"),
    "one weight for all": ({"sample_weight": 1.0}, ValueError, "one weight per sample"),
    "one short, with classes": (
        {"sample_weight": np.ones(2499), "class_weight": [1, 1, 1]},
        ValueError,
        "one weight per sample.*2500.*2499",
    ),
    "weights as words": ({"sample_weight": np.full(2500, "a")}, (ValueError, TypeError), "sample_weight"),
    "class missing": (
        {"class_weight": {0: 1.0, 2: 1.0}},
        ValueError,
        r"class_weight: .*\[0, 1, 2\], missing \[1\]",
    ),
    "too few classes": ({"class_weight": [1.0, 1.0]}, ValueError, r"missing \[2\]"),
    "class weight below zero": ({"class_weight": [1, 1, -1]}, ValueError, "at least 0"),
    "class weight nan": ({"class_weight": [1, 1, np.nan]}, ValueError, "finite"),
    "class weights without classes": (
        {"class_weight": [1, 1, 1], "loss": "mse_loss", "y": X_LONG},
        TypeError,
        "class_weight: expected targets that are class indices",
    ),
    "nothing to stop on": ({"early_stopping": 3}, ValueError, "early_stopping: .*validation"),
    "no patience": ({"early_stopping": 0, "validation": 0.5}, ValueError, "early_stopping"),
    "no optimizer": ({"optimizer": "adam"}, (TypeError, AttributeError), "step"),
}


@pytest.mark.parametrize(("changes", "error", "match"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_refused_before_anything_changes(changes, error, match):
    network, optimizer = stateful(), Adam()
    before = state(network)
    options = {"X": X_LONG, "y": Y_LONG, "epochs": 1, "batch_size": 500, "optimizer": optimizer} | changes
    with pytest.raises(error, match=match):
        fit(network, **options)
    assert_same_state(state(network), before)
    assert optimizer.t == 0


def test_optimizer_of_another_network_is_refused():
    network, optimizer = stateful(), Adam()
    optimizer.step(np.zeros(3), np.zeros(3))
    before = state(network)
    with pytest.raises(ValueError, match="make a new optimizer"):
        fit(network, X_LONG, Y_LONG, optimizer=optimizer)
    assert_same_state(state(network), before)


def test_weights_that_are_all_set_aside_are_refused():
    trained = set(flat(rows_seen(10, validation=0.25, rng=0, epochs=1)))
    weight = np.array([n not in trained for n in range(10)], dtype=float)
    network = MLP([3, 5, 3], rng=0)
    before = state(network)
    with pytest.raises(ValueError, match="sample_weight"):
        fit(network, *samples(), validation=0.25, rng=0, sample_weight=weight)
    assert_same_state(state(network), before)


# ---- what is told ------------------------------------------------------------------------------------------


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


# ---- options that do not fit together -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"optimizer": Adam}, TypeError, r"optimizer: expected an object with step.*Adam\(\)"),
        ({"optimizer": ClipGradNorm(1.0)}, ValueError, "optimizer: expected one that moves theta"),
        ({"schedule": 3}, TypeError, "schedule: expected an object such as StepLR"),
        ({"schedule": ExponentialLR}, TypeError, "schedule: expected an object such as StepLR"),
        ({"schedule": ExponentialLR(SGD(), 0.5)}, ValueError, "schedule: expected one of the optimizer in use"),
        ({"callbacks": "print"}, TypeError, "callbacks: expected functions"),
        ({"callbacks": [3]}, TypeError, "callbacks: expected functions of the network and the history, got 3"),
        ({"callbacks": hm.AveragedModel}, TypeError, "callbacks: expected functions .* got <class"),
        ({"callbacks": [hm.AveragedModel]}, TypeError, "callbacks: expected functions .* got <class"),
        ({"callbacks": lambda: None}, TypeError, "callbacks: expected functions"),
        ({"callbacks": [lambda network: None]}, TypeError, "callbacks: expected functions"),
        ({"callbacks": EarlyStopping(3)}, TypeError, "callbacks: .*; pass it as early_stopping"),
        ({"shuffle": "no"}, TypeError, "shuffle: expected True or False"),
        ({"class_weight": "balanced"}, TypeError, "class_weight: expected a mapping or a sequence"),
        ({"class_weight": {0: None, 1: 1, 2: 1}}, ValueError, "class_weight: expected finite numbers"),
        ({"X": np.ones((12, 2, 3))}, ValueError, r"X: expected shape \(N, 3\), got \(12, 2, 3\); flatten it"),
    ],
)
def test_options_are_looked_at_before_anything_changes(options, error, message):
    network = MLP([3, 3], rng=0)
    before = network.theta.copy()
    with pytest.raises(error, match=message):
        fit(network, **({"X": samples()[0], "y": samples()[1], "progress": False} | options))
    assert np.array_equal(network.theta, before)


def test_only_a_network_is_trained():
    with pytest.raises(TypeError, match="network: expected a Network, got Dense"):
        fit(MLP([3, 3]).layers[0], *samples())


@pytest.mark.parametrize(("every", "enough"), [("epoch", 4), ("batch", 12)])
def test_a_schedule_of_a_fixed_length_lasts_or_is_refused(every, enough):
    for total_steps in (enough, enough - 1):
        optimizer = SGD(lr=0.1, momentum=0.9)
        schedule = OneCycleLR(optimizer, max_lr=0.1, total_steps=total_steps)
        options = {"optimizer": optimizer, "schedule": schedule, "schedule_every": every, "batch_size": 4}
        if total_steps == enough:
            assert len(fit(MLP([3, 3], rng=0), *samples(), epochs=4, progress=False, **options)) == 4
        else:
            with pytest.raises(ValueError, match=f"schedule: .* {enough} steps, got {total_steps} left"):
                fit(MLP([3, 3], rng=0), *samples(), epochs=4, progress=False, **options)


def test_divergence_takes_the_optimizers_momentum_back_too():
    X, Y = samples(32)[0], targets("mse_loss", 32)
    network, optimizer = MLP([3, 8, 3], rng=0), SGD(lr=1e6, momentum=0.9)
    with np.errstate(over="ignore", invalid="ignore"), pytest.raises(FloatingPointError, match="Network and optimizer"):
        fit(network, X, Y, loss="mse_loss", optimizer=optimizer, epochs=60, progress=False)
    assert optimizer.momentum_buffer is None or np.isfinite(optimizer.momentum_buffer).all()


def test_a_single_metric_needs_no_list():
    history = fit(MLP([3, 3], rng=0), *samples(), epochs=1, metrics="accuracy", progress=False)
    assert list(history.metrics) == ["accuracy"]


def test_enormous_sample_weights_are_weights_too():
    networks = [MLP([3, 3], rng=0) for _ in range(2)]
    for network, weight in zip(networks, (1.0, 1e308), strict=True):
        fit(network, *samples(), sample_weight=np.full(len(samples()[1]), weight), epochs=1, rng=0, progress=False)
    np.testing.assert_allclose(networks[1].theta, networks[0].theta, rtol=1e-12)


@pytest.mark.parametrize("lr", [1e6, 1e80], ids=["between epochs", "between steps"])
@pytest.mark.parametrize("chained", [False, True])
def test_divergence_takes_the_optimizer_back(lr, chained):
    X, Y = samples(32)[0], targets("mse_loss", 32)
    optimizer = Chain(L1(0.0), SGD(lr=lr, momentum=0.9)) if chained else SGD(lr=lr, momentum=0.9)
    states = [optimizer.state_dict()]
    options = {"loss": "mse_loss", "batch_size": 8, "callbacks": lambda *_: states.append(optimizer.state_dict())}
    with np.errstate(over="ignore", invalid="ignore"), pytest.raises(FloatingPointError):
        fit(MLP([3, 8, 3], rng=0), X, Y, optimizer=optimizer, epochs=60, rng=0, **options)
    np.testing.assert_equal(optimizer.state_dict(), states[-1])


def test_a_schedule_may_be_one_of_the_optimizer_inside_a_chain():
    sgd = SGD(lr=1.0)
    chain, schedule = Chain(ClipGradNorm(1.0), sgd), ExponentialLR(sgd, gamma=0.5)
    history = fit(MLP([3, 3], rng=0), *samples(), epochs=3, optimizer=chain, schedule=schedule)
    assert history.lr == [1.0, 0.5, 0.25]


def test_the_steps_that_a_schedule_has_taken_are_not_left():
    optimizer = SGD(lr=0.1, momentum=0.9)
    options = {"optimizer": optimizer, "schedule": OneCycleLR(optimizer, max_lr=0.1, total_steps=6)}
    network = MLP([3, 3], rng=0)
    fit(network, *samples(), epochs=4, **options)
    with pytest.raises(ValueError, match=r"^schedule: expected total_steps to last for 4 steps, got 2 left"):
        fit(network, *samples(), epochs=4, **options)
    assert len(fit(network, *samples(), epochs=2, **options)) == 2


def test_a_single_function_is_a_metric_too():
    network, (X, y) = MLP([3, 3], rng=0), samples()
    history = fit(network, X, y, epochs=1, metrics=mean_output)
    assert history.metrics == {"mean_output": [network.predict(X).mean()]}


def test_the_latest_line_is_about_the_last_epoch_alone():
    history = History([3.0, 2.0, 1.0], [6.0, 5.0, 4.0], {"accuracy": [0.25, 0.5, 0.75]})
    assert history.latest() == "loss 1  validation 4  accuracy 0.75"


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_a_validation_loss_that_is_never_finite_never_improves(patience):
    """Five samples are validated on, and ten trained on: the loss of five is infinite."""

    def loss(input, target):
        return np.inf if len(input) == 5 else losses.mse_loss(input, target)

    X, Y = samples(10)[0], targets("mse_loss", 10)
    options = {"loss": (loss, losses.mse_loss_backward), "validation": (X[:5], Y[:5]), "batch_size": None}
    history = fit(MLP([3, 3], rng=0), X, Y, epochs=9, early_stopping=patience, **options)
    assert history.validation_loss == [np.inf] * patience


def test_a_metric_without_a_name_is_called_what_it_prints():
    first_two = functools.partial(top_k_accuracy, k=2)
    history = fit(MLP([3, 3], rng=0), *samples(), epochs=1, metrics=[first_two, "accuracy"])
    assert list(history.metrics) == [repr(first_two), "accuracy"]


# ---- what is said, and what happens unless told ------------------------------------------------------------


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


# ---- errors in mid-epoch take the epoch back ------------------------------------------------------------------------


class Failing(SGD):
    """An optimizer: plain SGD with momentum, and an error at its step of this number."""

    def __init__(self, call, error):
        super().__init__(lr=0.1, momentum=0.9)
        self.left, self.error = call, error

    def step(self, theta, gradient):
        self.left -= 1
        if self.left == 0:
            raise self.error
        super().step(theta, gradient)


@pytest.mark.parametrize("error", [RuntimeError("mine"), FloatingPointError("mine"), ValueError("mine")])
def test_any_error_takes_its_epoch_back_and_has_the_history(error):
    X, y = samples()
    networks = [MLP([3, 5, 3], normalization="batch", dropout=0.5, rng=0) for _ in range(2)]
    optimizer, whole = Failing(8, error), SGD(lr=0.1, momentum=0.9)
    schedules = [ExponentialLR(one, 0.9) for one in (optimizer, whole)]
    options = dict(batch_size=4, rng=1, progress=False, schedule_every="batch")
    with pytest.raises(type(error), match="mine") as caught:
        fit(networks[0], X, y, optimizer=optimizer, epochs=9, schedule=schedules[0], **options)
    fit(networks[1], X, y, optimizer=whole, epochs=2, schedule=schedules[1], **options)
    assert len(caught.value.history) == 2 and caught.value.history.stopped == "error"
    np.testing.assert_equal(networks[0].state_dict(), networks[1].state_dict())
    np.testing.assert_array_equal(optimizer.momentum_buffer, whole.momentum_buffer)
    assert (optimizer.t, optimizer.lr, schedules[0].t) == (whole.t, whole.lr, schedules[1].t)
    generators = [next(leaf.rng for _, leaf in n.leaves() if hasattr(leaf, "rng")) for n in networks]
    assert generators[0].random() == generators[1].random()


def test_divergence_is_told_without_warnings_before_it():
    X, y = samples(32)
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        fit(MLP([3, 8, 3], rng=0), X, y, optimizer=SGD(lr=1e300), epochs=9, progress=False)


def test_an_input_that_becomes_nan_is_not_called_divergence():
    X, y = samples()

    def spoil(network, history):
        X[:] = np.nan

    with pytest.raises(ValueError, match="X was changed during training"):
        fit(MLP([3, 3], rng=0), X, y, epochs=2, callbacks=spoil, progress=False)


# ---- callbacks ------------------------------------------------------------------------------------------------------


def test_a_callback_that_returns_true_ends_training():
    seen = []
    callbacks = [lambda n, h: seen.append(str(h)), lambda n, h: len(h) == 3]
    history = fit(MLP([3, 3], rng=0), *samples(), epochs=9, callbacks=callbacks, progress=False)
    assert len(history) == len(seen) == 3 and history.stopped == "callback"
    assert seen[0].startswith("1 epochs (running): loss")


def test_on_batch_is_called_after_every_update():
    class Batches:
        losses = ()

        def on_batch(self, network, loss):
            self.losses += (loss,)

        def __call__(self, network, history):
            pass

    batches = Batches()
    history = fit(MLP([3, 3], rng=0), *samples(8), epochs=2, batch_size=4, callbacks=batches, progress=False)
    assert np.reshape(batches.losses, (2, 2)).mean(axis=1).tolist() == pytest.approx(history.loss, rel=1e-15)


@pytest.mark.parametrize("decay", [None, 0.75])
def test_averaged_weights_are_those_written_by_hand(decay):
    thetas, every = [], []
    average = hm.AveragedModel(decay, start=2)

    class Recorder:
        def on_batch(self, network, loss):
            every.append(network.theta.copy())

        def __call__(self, network, history):
            thetas.append(network.theta.copy())

    fit(MLP([3, 3], rng=0), *samples(8), epochs=4, batch_size=4, callbacks=[Recorder(), average], progress=False)
    if decay is None:
        expected = np.mean(thetas[1:], axis=0)
    else:
        expected = every[2]
        for theta in every[3:]:
            expected = decay * expected + (1 - decay) * theta
    np.testing.assert_allclose(average.network.theta, expected, rtol=1e-14)
    assert average.n_averaged == (3 if decay is None else 6)


@pytest.mark.parametrize("monitor", ["loss", "accuracy"])
def test_early_stopping_may_watch_the_training_loss_or_a_metric(monitor):
    rule = EarlyStopping(patience=2, monitor=monitor)
    options = dict(metrics="accuracy", optimizer=SGD(lr=0.0), early_stopping=rule, shuffle=False, progress=False)
    history = fit(MLP([3, 3], rng=0), *samples(), epochs=9, **options)
    assert len(history) == 3 and history.stopped == "early stopping"
    with pytest.raises(ValueError, match="early_stopping: expected monitor to be one of validation_loss, loss"):
        fit(MLP([3, 3], rng=0), *samples(), early_stopping=EarlyStopping(monitor="r2"), progress=False)


def test_a_stratified_fraction_holds_its_share_of_every_class():
    y = np.repeat([0, 1, 2], [80, 16, 4])
    X, seen = np.random.default_rng(0).normal(size=(100, 2)), []

    def count(output, held):
        seen.append(np.bincount(held, minlength=3).tolist())
        return 0.0

    fit(MLP([2, 3], rng=0), X, y, epochs=1, validation=0.25, stratify=True, metrics=count, rng=0, progress=False)
    assert seen[-1] == [20, 4, 1]
    with pytest.raises(TypeError, match="stratify: expected targets that are class indices"):
        fit(MLP([2, 2], rng=0), X, X, loss="mse_loss", validation=0.25, stratify=True, progress=False)


def test_several_schedules_each_have_their_own_time():
    optimizer = SGD(lr=1.0)
    schedule = [(ExponentialLR(optimizer, 0.5), "epoch"), (ExponentialLR(optimizer, 0.9), "batch")]
    history = fit(MLP([3, 3], rng=0), *samples(8), optimizer=optimizer, epochs=2, batch_size=4, schedule=schedule)
    assert history.lr == pytest.approx([0.9, 0.5 * 0.9**3]) and optimizer.lr == pytest.approx(0.25 * 0.9**4)


def test_one_output_for_classes_by_softmax_is_refused():
    X, _ = samples(6)
    with pytest.raises(ValueError, match="expected at least 2 outputs for cross_entropy, got 1; for one output use"):
        fit(MLP([3, 4, 1], rng=0), X, np.zeros(6, int), progress=False)


def test_a_history_is_a_table(tmp_path):
    history = fit(MLP([3, 3], rng=0), *samples(), epochs=2, validation=0.5, metrics="accuracy", progress=False)
    table = history.to_dict()
    assert list(table) == ["epoch", "loss", "validation_loss", "accuracy", "lr", "seconds"] and table["epoch"] == [1, 2]
    history.to_csv(tmp_path / "history.csv")
    lines = (tmp_path / "history.csv").read_text().splitlines()
    assert lines[0] == ",".join(table) and len(lines) == 3 and float(lines[2].split(",")[1]) == history.loss[1]


def test_the_best_epoch_is_the_lowest_that_is_a_number():
    assert History(loss=[1, 1, 1], validation_loss=[0.5, np.nan, 0.3]).best_epoch == 2
    assert History(loss=[1], validation_loss=[np.nan]).best_epoch is None


def test_messages_speak_of_the_caller_s_array():
    X = np.zeros((5000, 3))
    with pytest.raises(ValueError, match=r"reshape indices with target.reshape\(5000\)"):
        fit(MLP([3, 3], rng=0), X, np.zeros((5000, 1), int), progress=False)


def test_a_metric_that_is_no_number_is_named_and_cannot_write():
    with pytest.raises(TypeError, match="metrics: expected nothing to return a number, got None"):
        fit(MLP([3, 3], rng=0), *samples(), metrics=nothing, progress=False)
    with pytest.raises(ValueError, match="read-only"):
        fit(MLP([3, 3], rng=0), *samples(), metrics=lambda output, y: output.fill(0), progress=False)


def nothing(output, y):
    return None


@pytest.mark.parametrize("loss", ["binary_cross_entropy", "mse_loss"])
def test_metrics_see_the_outputs_of_the_whole_network(loss):
    """Also under a loss that takes over the last activation and reads the logits itself."""
    X, y = hm.data.xor()
    network = hm.MLP([2, 4, 1], activation=["tanh", "sigmoid"], rng=0)
    seen = []
    hm.fit(
        network,
        X,
        y[:, None].astype(float),
        loss=loss,
        epochs=1,
        metrics=[lambda output, y: seen.append(output) or 0.0],
    )
    np.testing.assert_array_equal(seen[-1], network.predict(X))
