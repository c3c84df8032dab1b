"""Trainings by compiled steps: `fit` with ``compile``, and several steps in one call."""

from __future__ import annotations

import copy
import functools

import numpy as np
import pytest
from compiled_of_tests import OPTIMIZERS, Own, small
from trainings import warned

import handmade as hm
from handmade import _run

pytest.importorskip("numba")


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_fit_compiled_is_fit(dtype):
    X, y = hm.data.xor()
    X, y = np.tile(X, (9, 1)), np.tile(y, 9)
    histories, thetas = [], []
    for compile in False, True:
        network, optimizer = hm.MLP([2, 8, 2], "tanh", dropout=0.2, rng=0, dtype=dtype), hm.SGD(0.1, momentum=0.9)
        schedule = hm.StepLR(optimizer, 2)
        options = dict(schedule=schedule, class_weight=[1, 2], metrics="accuracy", rng=0, progress=False)
        histories.append(hm.fit(network, X, y, optimizer=optimizer, epochs=5, batch_size=8, compile=compile, **options))
        thetas.append(network.theta)
    # 25 steps, each of sums of some 20 terms
    np.testing.assert_allclose(*thetas, rtol=0, atol=500 * np.finfo(dtype).eps)
    np.testing.assert_allclose(histories[0].loss, histories[1].loss, rtol=500 * np.finfo(dtype).eps)


class Silent:
    """A callback that sees every batch: then each step is a call of its own."""

    def __call__(self, network, history):
        return None

    def on_batch(self, network, value):
        return None


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda make: repr(make()))
@pytest.mark.parametrize("loss", ["cross_entropy", "mse_loss"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@warned
def test_steps_at_once_have_the_bits_of_single_ones(optimizer, loss, dtype):
    rng = np.random.default_rng(0)
    X, labels = rng.normal(size=(303, 5)).astype(dtype), rng.integers(0, 3, 303)
    y, weight = labels if loss == "cross_entropy" else np.eye(3)[labels], rng.uniform(0.5, 2, 303)
    runs = []
    for callbacks in [], [Silent()]:
        network, own = hm.MLP([5, 7, 3], "tanh", rng=0, dtype=dtype), optimizer()
        history = hm.fit(
            network, X, y, loss=loss, optimizer=own, epochs=3, batch_size=4, sample_weight=weight, compile=True,
            drop_last=dtype == np.float64, rng=0, progress=False, callbacks=callbacks,
        )  # fmt: skip
        runs.append((history.loss, history.lr, network.theta, *own.state_dict().values()))
    for one, other in zip(*runs, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("limits", "steps"),
    [
        ({}, [64, 1]),
        ({"AT_ONCE": 25}, [25, 25, 15]),
        ({"MULTIPLICATIONS": 25.5 * 792}, [25, 25, 15]),
        ({"MULTIPLICATIONS": 1}, [1] * 65),
    ],
)
def test_a_compiled_call_does_no_more_steps_than_it_may(limits, steps, monkeypatch):
    """A step of 4 samples takes 3 * 4 * 66 = 792 multiplications. The steps of a call change no bit."""
    from handmade.compiled.step import CompiledStep

    calls, original = [], CompiledStep.batches

    def batches(self, X, y, weight, order, size):
        calls.append(-(-len(order) // size))
        return original(self, X, y, weight, order, size)

    X, y = np.random.default_rng(0).normal(size=(258, 5)), np.arange(258) % 3
    networks = [hm.MLP([5, 7, 3], rng=0) for _ in range(2)]
    options = dict(epochs=1, batch_size=4, compile=True, rng=0, progress=False)
    hm.fit(networks[0], X, y, **options, callbacks=[Silent()])
    for name, limit in limits.items():
        monkeypatch.setattr(_run, name, int(limit))
    monkeypatch.setattr(CompiledStep, "batches", batches)
    hm.fit(networks[1], X, y, **options)
    assert calls == steps
    np.testing.assert_array_equal(networks[0].theta, networks[1].theta)


@pytest.mark.parametrize("compile", [False, True])
def test_what_acts_between_batches_does_so_after_each(compile):
    seen, X, y = [], np.random.default_rng(0).normal(size=(10, 5)), np.arange(10) % 3

    class Recording(Silent):
        def on_batch(self, network, value):
            seen.append(value)

    options = dict(epochs=2, batch_size=4, compile=compile, rng=0, progress=False)
    history = hm.fit(hm.MLP([5, 3], rng=0), X, y, **options, callbacks=[Recording()])
    losses = np.reshape(seen, (2, 3))
    assert losses @ [0.4, 0.4, 0.2] == pytest.approx(history.loss)
    optimizer = hm.SGD(lr=1.0)
    schedule = hm.ExponentialLR(optimizer, 0.5)
    options |= dict(optimizer=optimizer, schedule=schedule, schedule_every="batch")
    assert hm.fit(hm.MLP([5, 3], rng=0), X, y, **options).lr == [2.0**-2, 2.0**-5]


def test_steps_at_once_end_before_a_loss_that_is_not_finite():
    _, step, X, y = small()
    X, y, order = np.tile(X, (4, 1)), np.tile(y, 4), np.arange(20)
    X[13] = np.nan
    assert len(step.batches(X, y, None, order, 2)) == 6
    assert step.optimizer.t == 6
    with pytest.raises(ValueError, match="X: expected finite"):
        step.batches(X, y, None, order[13:], 2)
    assert step.optimizer.t == 6
    assert len(step.batches(X, y, None, order[14:], 4)) == 2  # of which the last is short


def test_ctrl_c_among_steps_leaves_theta_and_optimizer_alike(monkeypatch):
    def entry_with_ctrl_c(function, signature):
        def run(*arguments):
            compiled_entry(function, signature)(*arguments)
            raise KeyboardInterrupt  # as it falls when the kernel returns

        return run if function is hm.compiled.step.kernels.train_batches else compiled_entry(function, signature)

    compiled_entry = hm.compiled.step.entry
    (network, step, X, y), (other, single, _, _) = small(), small()
    monkeypatch.setattr(hm.compiled.step, "entry", entry_with_ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        step.batches(X, y, None, np.arange(5), 2)
    for rows in [0, 1], [2, 3], [4]:
        single(X[rows], y[rows])
    np.testing.assert_array_equal(network.theta, other.theta)
    assert step.optimizer.t == single.optimizer.t == 3


@pytest.mark.parametrize("form", ["read-only", "memmap", "strided", "Fortran", "float32", "list"])
def test_fit_compiled_takes_any_form_of_x(form, tmp_path):
    X = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32).astype(np.float64)
    y, given = (X[:, 0] > 0).astype(int), X.copy()
    if form == "read-only":
        given.flags.writeable = False
    elif form == "memmap":
        np.save(tmp_path / "X.npy", X)
        given = np.load(tmp_path / "X.npy", mmap_mode="r")
    elif form == "strided":
        given = np.repeat(X, 2, axis=1)[:, ::2]
    else:
        given = {"Fortran": np.asfortranarray(X), "float32": X.astype(np.float32), "list": X.tolist()}[form]
    thetas = []
    for data in X, given:
        network = hm.MLP([4, 3, 2], rng=0)
        hm.fit(network, data, y, epochs=2, batch_size=4, rng=0, progress=False, compile=True)
        thetas.append(network.theta)
    np.testing.assert_array_equal(*thetas)


def test_steps_at_once_read_no_row_that_does_not_exist():
    _, step, X, y = small()
    for order, targets in ([0, 5], y), ([-1, 0], y), ([0, 4], y[:4]):
        with pytest.raises(IndexError, match="order"):
            step.batches(X, targets, None, np.array(order), 1)
    assert step.optimizer.t == 0


@pytest.mark.filterwarnings("ignore:overflow")  # of the NumPy loss, as fit checks the targets
def test_fit_compiled_raises_as_fit_does():
    network, X, y = hm.MLP([3, 4, 1], rng=0), np.ones((8, 3)), np.zeros((8, 1))
    y[4:6], before = 1e200, network.theta.copy()
    with pytest.raises(FloatingPointError, match="loss became"):
        hm.fit(network, X, y, loss="mse_loss", batch_size=2, shuffle=False, compile=True, progress=False)
    np.testing.assert_array_equal(network.theta, before)


def test_fit_falls_back_only_when_asked():
    network, X = hm.Network([hm.Dense(2, 1), Own()]), np.ones((4, 2))
    options = dict(loss="mse_loss", epochs=1, progress=False)
    with pytest.raises(TypeError, match="Own"):
        hm.fit(network, X, np.ones((4, 1)), compile=True, **options)
    with pytest.warns(UserWarning, match="Own"):
        hm.fit(network, X, np.ones((4, 1)), compile="auto", **options)
    with pytest.raises(ValueError, match="compile"):
        hm.fit(network, X, np.ones((4, 1)), compile="yes", **options)
    step = hm.compile(hm.MLP([2, 1], rng=0), "mse_loss")
    with pytest.raises(
        TypeError, match=r"compile: expected a function that makes a step, got a step.*; pass hm.compile"
    ):
        hm.fit(step.network, X, np.ones((4, 1)), compile=step, **options)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("make", OPTIMIZERS)
def test_an_infinite_weight_moves_as_in_the_numpy_code(make, dtype):
    """Behind a tanh it may stand in a network whose loss is finite."""
    thetas = []
    for compiled in False, True:
        optimizer = make()
        network, step, X, y = small(optimizer=optimizer, dtype=dtype)
        network.layers[0].W[0, 1], network.layers[0].b[2] = np.inf, -np.inf
        with np.errstate(invalid="ignore"):  # weight decay may subtract infinity from itself
            if compiled:
                step(X, y)
            else:
                optimizer.step(network.theta, network.loss_and_gradient(X, y)[1])
        thetas.append(network.theta)
    # a step of sums of some 10 terms
    np.testing.assert_allclose(*thetas, rtol=0, atol=100 * np.finfo(dtype).eps)


@pytest.mark.parametrize("thing", ["layer", "inner", "network"])
@pytest.mark.parametrize("method", ["forward", "backward", "predict"])
def test_a_method_of_an_instance_is_refused(thing, method):
    network = hm.Network([hm.Dense(3, 4), hm.Residual([hm.Activation("tanh")]), hm.Dense(4, 2)])
    owner = {"layer": network.layers[2], "inner": network.layers[1].layers[0], "network": network}[thing]
    setattr(owner, method, getattr(owner, method))
    with pytest.raises(TypeError, match=rf"^compile: expected {type(owner).__name__} with the {method} of its class"):
        hm.compile(network)
    for export in hm.export.to_onnx, hm.export.to_c:
        with pytest.raises(ValueError, match=rf"expected {type(owner).__name__} with the {method} of its class"):
            export(network)


@pytest.mark.parametrize("method", ["step", "apply"])
def test_an_optimizers_method_of_its_own_is_honoured(method):
    optimizer = hm.Adam()
    setattr(optimizer, method, lambda theta, gradient: None)
    network, step, X, y = small(optimizer=optimizer)
    before = network.theta.copy()
    step(X, y)
    assert (network.theta == before).all() and network.gradient.any()


@pytest.mark.parametrize("batch_size", [None, 1, 7, 100, 5000])
def test_the_rows_of_a_prediction_at_a_time_change_nothing(batch_size):
    network, step, _, _ = small(normalization="batch")
    X = np.random.default_rng(0).normal(size=(2500, 3))
    # sums of 4 terms
    np.testing.assert_allclose(step.predict(X, batch_size=batch_size), network.predict(X), rtol=1e-14, atol=1e-15)
    with pytest.raises(ValueError, match=r"^batch_size: expected"):
        step.predict(X, batch_size=0)


@pytest.mark.parametrize("weight", [None, [1.0, 2.0]])
def test_errors_of_weights_are_those_of_the_numpy_code(weight):
    loss = "cross_entropy" if weight is None else functools.partial(hm.losses.cross_entropy, weight=weight)
    network, step, X, y = small(loss)
    masked = np.ma.masked_array(np.ones(5), mask=np.arange(5) < 2)
    for call in (lambda: network.loss_and_gradient(X, y, loss, sample_weight=masked), lambda: step(X, y, masked)):
        with pytest.raises(TypeError, match=r"^sample_weight: expected an array without a mask"):
            call()
    huge = functools.partial(hm.losses.cross_entropy, weight=[1e308, 1e308])
    for f in (hm.compile(network, huge), functools.partial(network.loss_and_gradient, loss=huge)):
        with pytest.raises(ValueError, match=r"^weight: expected a finite sum"), np.errstate(over="ignore"):
            f(X, y)


STATES = ("momentum_buffer", "velocity", "sum", "square_avg", "grad_avg", "exp_avg", "exp_avg_sq", "max_exp_avg_sq")


def halve(optimizer):
    """Put other arrays in the place of an optimizer's state."""
    for name in STATES:
        if getattr(optimizer, name, None) is not None:
            setattr(optimizer, name, getattr(optimizer, name) / 2)


BETWEEN = {  # what may happen between two steps that would otherwise be the same
    "nothing": lambda optimizer: None,
    "other lr": lambda optimizer: setattr(optimizer, "lr", 0.05),
    "lr again": lambda optimizer: setattr(optimizer, "lr", 0.1),
    "decay": lambda optimizer: setattr(optimizer, "weight_decay" if hasattr(optimizer, "weight_decay") else "lr", 0.01),
    "first step again": lambda optimizer: setattr(optimizer, "t", 0),
    "loaded": lambda optimizer: optimizer.load_state_dict(optimizer.state_dict()),
    "other arrays": halve,
}
BATCHES = {
    "the same": lambda X, y: (X, y, None),
    "fewer": lambda X, y: (X[:3], y[:3], None),
    "more": lambda X, y: (np.tile(X, (3, 1)), np.tile(y, 3), None),
    "weighted": lambda X, y: (X, y, np.arange(1.0, len(X) + 1)),
    "of distributions": lambda X, y: (X, np.eye(3)[y] * 0.5 + 1 / 6, None),
    "of another layout": lambda X, y: (np.asfortranarray(X), y, None),
    "without a finite loss": lambda X, y: (X * 1e308 * 1e308, y, None),
    "of no class": lambda X, y: (X, y + 3, None),
}


def numpy_step(network, optimizer, X, y, w):
    value, gradient = network.loss_and_gradient(X, y, sample_weight=w)
    optimizer.step(network.theta, gradient)
    return value


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "make",
    [
        lambda: hm.SGD(0.1),
        lambda: hm.SGD(0.1, momentum=0.9, nesterov=True),
        lambda: hm.Momentum1986(0.1),
        lambda: hm.Adagrad(0.1, lr_decay=0.1),
        lambda: hm.RMSprop(0.01, momentum=0.5),  # centered, a difference of nearly equal numbers multiplies roundings
        lambda: hm.Adam(0.01),
        lambda: hm.AdamW(0.01, amsgrad=True),
    ],
)
def test_steps_in_any_sequence_are_those_of_numpy(make, seed):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(8, 6)), rng.integers(0, 3, 8)
    network, other = hm.MLP([6, 5, 3], rng=1), hm.MLP([6, 5, 3], rng=1)
    optimizer, of_numpy = make(), make()
    step = hm.compile(network, optimizer=optimizer)
    for between in rng.choice(list(BETWEEN), 60, p=[0.4] + [0.1] * 6):
        batch = BATCHES[rng.choice(list(BATCHES), p=[0.65] + [0.05] * 7)](X, y)
        BETWEEN[between](optimizer)
        BETWEEN[between](of_numpy)
        try:
            expected = numpy_step(other, of_numpy, *batch)
        except ValueError:
            with pytest.raises(ValueError, match=r"expected"):
                step(*batch)
        else:
            assert step(*batch) == pytest.approx(expected, rel=1e-9)
        assert optimizer.t == of_numpy.t
        # 60 steps of some 100 roundings each are 1e-12; the training may multiply a difference as it goes on.
        np.testing.assert_allclose(network.theta, other.theta, rtol=1e-9, atol=1e-12)


def test_an_equal_option_of_another_type_is_another_number():
    """0.1 == np.float32(0.1), as NumPy compares them in float32."""
    network, step, X, y = small(optimizer=hm.SGD(0.1))
    other, optimizer = copy.deepcopy(network), hm.SGD(0.1)
    for lr in 0.1, 0.1, np.float32(0.1):
        step.optimizer.lr = optimizer.lr = lr
        step(X, y)
        _, gradient = other.loss_and_gradient(X, y)
        optimizer.step(other.theta, gradient)
    np.testing.assert_allclose(network.theta, other.theta, rtol=1e-13)


def test_options_of_layers_may_change_between_epochs():
    X, y = hm.data.xor()
    X, y = np.tile(X, (9, 1)), np.tile(y, 9)

    def change(network, history):
        dropout = next(layer for layer in network.layers if isinstance(layer, hm.Dropout))
        dropout.p = 0.5 / len(history)

    thetas = []
    for compile in False, True:
        network = hm.MLP([2, 8, 2], "tanh", dropout=0.2, rng=0)
        options = dict(optimizer=hm.SGD(0.1), epochs=4, batch_size=8, rng=0, progress=False, compile=compile)
        hm.fit(network, X, y, callbacks=change, **options)
        thetas.append(network.theta)
    np.testing.assert_allclose(*thetas, rtol=0, atol=500 * np.finfo(np.float64).eps)  # 20 steps, as above
