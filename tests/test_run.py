"""The end of a run: all epochs, Ctrl-C, divergence, and errors that take the epoch back."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from trainings import assert_same_state, fit, follow, samples, targets, warned

from handmade import MLP, SGD, Adam, ExponentialLR, History

# ---- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compile", [False, True])
def test_a_run_is_freed_without_the_garbage_collector(compile, tmp_path):
    X, y = samples()
    gc.disable()  # which would free the data of a run in a cycle only some time later
    try:
        network, data = MLP([3, 5, 3], dropout=0.0 if compile else 0.1, rng=0), np.array(X, np.float32)
        history = fit(
            network, data, y, epochs=2, batch_size=4, compile=compile, validation=0.2, early_stopping=1,
            metrics="accuracy", checkpoint=tmp_path / "run",
        )  # fmt: skip
        kept = [weakref.ref(value) for value in (network, data, history)]
        del network, data, history
        assert [value() for value in kept] == [None] * 3
    finally:
        gc.enable()


def test_a_history_appends_to_its_lists_instead_of_copying_them():
    history = History(metrics={"accuracy": []})
    lists = [history.loss, history.validation_loss, history.metrics["accuracy"], history.lr, history.seconds]
    for epoch in range(3):
        history.add(1.0, {"validation_loss": 2.0, "accuracy": 3.0}, 4.0, float(epoch))
    assert lists == [[1.0] * 3, [2.0] * 3, [3.0] * 3, [4.0] * 3, [0.0, 1.0, 2.0]]
    assert len(history) == 3 and history.to_dict()["accuracy"] is not history.metrics["accuracy"]


# ---- the end: by hand, by divergence ---------------------------------------------------------------------------------


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
@warned
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
    Y = 1e200 * np.arange(1.0, 31.0).reshape(10, 3)
    with pytest.raises(FloatingPointError, match="the loss became inf"):
        fit(network, samples()[0], Y, loss="mse_loss", optimizer=SGD(lr=1e-250), epochs=1)
    assert_same_state(network.state_dict(), before)


def test_divergence_in_the_first_step_tells_of_no_loss_before():
    Y = 1e200 * np.arange(1.0, 31.0).reshape(10, 3)
    with pytest.raises(FloatingPointError, match="in step 1 of epoch 1; no loss before was finite: training diverges"):
        fit(MLP([3, 3], rng=0), samples()[0], Y, loss="mse_loss", epochs=1)


@pytest.mark.parametrize("compile", [False, True])
def test_a_weight_that_was_not_finite_before_training_is_named(compile):
    """No learning rate would help."""
    if compile:
        pytest.importorskip("numba")
    network = MLP([3, 5, 3], rng=0)
    network.layers[2].b[1] = np.nan
    with pytest.raises(FloatingPointError, match=r"^2\.bias: expected finite numbers to begin with, got others; init"):
        fit(network, *samples(), epochs=1, compile=compile)


@pytest.mark.parametrize("compile", [False, True])
def test_a_callback_that_makes_a_weight_infinite_is_named(compile):
    """At once: below a tanh the loss would stay finite."""
    if compile:
        pytest.importorskip("numba")
    X, y = samples()
    network, optimizer, states = MLP([3, 5, 3], "tanh", rng=0), SGD(lr=0.1, momentum=0.9), []

    def spoil(network, history):
        network.theta[0] = np.inf
        states.append((network.state_dict(), optimizer.state_dict()))

    with pytest.raises(FloatingPointError, match=r"0\.weight: expected finite .* the callback .*spoil"):
        fit(network, X, y, optimizer=optimizer, callbacks=spoil, epochs=3, compile=compile)
    assert len(states) == 1
    assert_same_state(network.state_dict(), states[0][0])
    assert_same_state(optimizer.state_dict(), states[0][1])


def test_an_epoch_is_taken_back_to_an_infinite_optimizer_state():
    """Squares of large gradients overflow; steps divided by them are 0."""
    network, optimizer, states = MLP([3, 3], rng=0), Adam(), []
    Y = targets("mse_loss", 10)

    def spoil(network, history):
        optimizer.exp_avg_sq[0] = np.inf
        states.append(optimizer.state_dict())
        network.theta[1] = 1e200

    with pytest.raises(FloatingPointError, match="the loss became inf"):
        fit(network, samples()[0], Y, loss="mse_loss", optimizer=optimizer, callbacks=spoil, epochs=3)
    assert_same_state(optimizer.state_dict(), states[0])
    assert network.theta[1] == 1e200


# ---- errors in mid-epoch take the epoch back -------------------------------------------------------------------------


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


class Foreign:
    """An optimizer of another library: its state is its own array, as in torch, and not a copy."""

    def __init__(self, fails_at=0):
        self.left, self.velocity = fails_at, np.zeros(38)

    def step(self, theta, gradient):
        self.left -= 1
        if self.left == 0:
            raise RuntimeError("mine")
        self.velocity += gradient
        theta -= 0.1 * self.velocity

    def state_dict(self):
        return {"velocity": self.velocity}

    def load_state_dict(self, state):
        self.velocity[...] = state["velocity"]


def test_an_error_takes_the_state_of_a_foreign_optimizer_back():
    X, y = samples()
    optimizers = Foreign(fails_at=8), Foreign()
    with pytest.raises(RuntimeError, match="mine"):
        fit(MLP([3, 5, 3], rng=0), X, y, optimizer=optimizers[0], epochs=3, batch_size=4, rng=1)
    fit(MLP([3, 5, 3], rng=0), X, y, optimizer=optimizers[1], epochs=2, batch_size=4, rng=1)
    np.testing.assert_array_equal(optimizers[0].velocity, optimizers[1].velocity)


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
