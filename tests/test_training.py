"""Training: `fit` beside loops written by hand and in torch, its schedules, messages and errors."""

from __future__ import annotations

import dataclasses
import functools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from trainings import (
    X_LONG,
    Y_LONG,
    Script,
    assert_same_state,
    fit,
    follow,
    samples,
    state,
    stateful,
    targets,
    torch_twin,
    with_middle,
)

from handmade import (
    MLP,
    SGD,
    Activation,
    Adam,
    Dense,
    ExponentialLR,
    History,
    Network,
    OneCycleLR,
    ReduceLROnPlateau,
    load_digits,
    losses,
    train_test_split,
    training,
)
from handmade.metrics import accuracy


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


# ---- schedules -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("every", "steps", "by_epoch"),
    [
        ("epoch", [1, 1, 1, 0.5, 0.5, 0.5], [1, 0.5]),
        ("batch", [1, 0.5, 0.25, 0.125, 0.0625, 0.03125], [0.25, 0.03125]),
    ],
)
@pytest.mark.filterwarnings("ignore:unchanged parameters")  # its optimizer only looks on
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


SAID = {
    "shuffle": ({"shuffle": 1}, TypeError, "^shuffle: expected True or False, got 1$"),
    "drop_last": ({"drop_last": 1}, TypeError, "^drop_last: expected True or False, got 1$"),
    "stratify": ({"stratify": 1}, TypeError, "^stratify: expected True or False, got 1$"),
    "progress": ({"progress": 1}, TypeError, "^progress: expected True or False, got 1$"),
    "optimizer": ({"optimizer": object()}, TypeError, "^optimizer: expected an object with step"),
    "X of one dimension": (
        {"X": np.ones(10)},
        ValueError,
        r"^X: expected shape \(N, 3\) with N at least 1, got \(10,\)$",
    ),
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


@dataclasses.dataclass  # which compares its fields, and so has no hash
class Halving:
    """A user's own schedule."""

    optimizer: SGD

    def step(self):
        self.optimizer.lr /= 2


@pytest.mark.parametrize("compile", [False, True])
def test_a_schedule_of_ones_own_needs_no_hash(compile):
    optimizer, (X, y) = SGD(lr=1.0), samples(20)
    history = fit(MLP([3, 3], rng=0), X, y, optimizer=optimizer, schedule=Halving(optimizer), epochs=3, compile=compile)
    assert history.lr == [1.0, 0.5, 0.25]


def test_a_network_without_parameters_is_evaluated():
    X, y = samples(20)
    history = fit(Network([Activation("tanh")]), X, y, epochs=2)
    expected = losses.cross_entropy(np.tanh(X), y)
    assert history.loss == pytest.approx([expected, expected], rel=1e-14)
