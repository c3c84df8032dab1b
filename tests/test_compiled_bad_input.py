"""What a compiled step refuses: with the message of the NumPy code, and nothing is written."""

from __future__ import annotations

import copy
import importlib
import re
import sys
from functools import partial

import numpy as np
import pytest
from compiled_of_tests import Own, small

import handmade as hm
from handmade import losses

pytest.importorskip("numba")

BAD = {
    "nan": (lambda X, y: (np.where(np.arange(5)[:, None] == 3, np.nan, X), y), ValueError, r"index \(3, 0\)"),
    "infinity": (lambda X, y: (np.where(np.arange(5)[:, None] == 3, -np.inf, X), y), ValueError, r"index \(3, 0\)"),
    "label too large": (lambda X, y: (X, np.array([0, 1, 2, 0, 1])), ValueError, "from 0 to 1, got 2"),
    "negative label": (lambda X, y: (X, np.array([0, 1, -1, 0, 1])), ValueError, "got -1"),
    "unsigned label": (lambda X, y: (X, np.array([0, 1, 2**64 - 100, 0, 1], np.uint64)), ValueError, "got 184467"),
    "float labels": (lambda X, y: (X, y.astype(float)), TypeError, "integer class indices"),
    "too few labels": (lambda X, y: (X, y[:4]), ValueError, "^y: expected"),
    "wide": (lambda X, y: (np.ones((5, 4)), y), ValueError, r"\(N, 3\)"),
    "one sample": (lambda X, y: (X[0], y[:1]), ValueError, "np.newaxis"),
    "empty": (lambda X, y: (X[:0], y[:0]), ValueError, "at least 1"),
    "text": (lambda X, y: (np.full((5, 3), "a"), y), TypeError, "numbers"),
    "probabilities": (lambda X, y: (X, np.ones((5, 3))), ValueError, "^y: expected"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("optimizer", [hm.SGD(momentum=0.9, dampening=0.5), hm.Chain(hm.ClipGradNorm(1.0), hm.SGD())])
def test_bad_batches_raise_and_change_nothing(case, optimizer):
    change, error, message = BAD[case]
    network, step, X, y = small(optimizer=copy.deepcopy(optimizer), dropout=0.5, normalization="batch")
    state, random = copy.deepcopy(network.state_dict()), network.layers[3].rng.bit_generator.state
    gradient = network.gradient.copy()
    with pytest.raises(error, match=message):
        step(*change(X, y))
    for name, array in network.state_dict().items():
        np.testing.assert_array_equal(array, state[name])
    assert network.layers[3].rng.bit_generator.state == random
    np.testing.assert_array_equal(network.gradient, gradient)
    assert getattr(step.optimizer, "momentum_buffer", None) is None


@pytest.mark.parametrize("case", ["nan", "wide", "one sample", "empty", "text"])
def test_bad_inputs_of_a_prediction_raise(case):
    change, error, message = BAD[case]
    _, step, X, y = small()
    with pytest.raises(error, match=message):
        step.predict(change(X, y)[0])


def test_bad_weights_and_targets_raise():
    _, step, X, y = small()
    for weight, message in ([1.0] * 4, "one weight per sample"), ([1.0] * 4 + [np.nan], "sample_weight"):
        with pytest.raises(ValueError, match=message):
            step(X, y, weight)
    _, step, X, y = small(partial(losses.cross_entropy, weight=[1.0, 2.0]))
    with pytest.raises(ValueError, match="a loss without weight"):
        step(X, y, np.ones(5))
    _, step, X, y = small("binary_cross_entropy_with_logits")
    with pytest.raises(ValueError, match="from 0 to 1"):
        step(X, np.full((5, 2), 1.5))
    with pytest.raises(ValueError, match="shape"):
        step(X, np.ones(5))


def test_a_batch_of_one_has_no_statistics():
    _, step, X, y = small(normalization="batch")
    with pytest.raises(ValueError, match="at least 2 samples"):
        step(X[:1], y[:1])


def test_a_loss_that_overflows_is_returned_without_an_update():
    network, step, X, _ = small("mse_loss", hm.SGD(momentum=0.9))
    theta = network.theta.copy()
    assert step(X, np.full((5, 2), 1e200)) == np.inf
    np.testing.assert_array_equal(network.theta, theta)
    assert step.optimizer.t == 0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("loss", "Y", "expected"),
    [
        ("mse_loss", np.full((5, 2), 1e39), np.inf),
        ("l1_loss", np.full((5, 2), -1e300), np.inf),
        ("cross_entropy", np.full((5, 2), [1e39, 0.0]), np.inf),
        ("huber_loss", np.full((5, 2), 1e39), np.inf),
    ],
)
def test_targets_beyond_float32_give_an_infinite_loss(loss, Y, expected):
    network, step, X, _ = small(loss, hm.SGD(momentum=0.9), dtype=np.float32)
    with np.errstate(all="ignore"):
        assert network.loss_and_gradient(X, Y, loss)[0] == expected
    theta = network.theta.copy()
    assert step(X, Y) == expected
    np.testing.assert_array_equal(network.theta, theta)
    assert step.optimizer.t == 0
    with pytest.raises(ValueError, match="sample_weight: expected finite numbers"):
        step(X, Y, np.full(5, 1e39))


@pytest.mark.parametrize(
    ("layers", "loss", "message"),
    [
        ([hm.Dense(3, 2), Own()], "cross_entropy", "Own"),
        ([hm.Parallel([hm.Dense(3, 2)])], "cross_entropy", "Parallel"),
        ([hm.Dense(3, 2), hm.Activation("log_softmax", dim=0)], "mse_loss", "log_softmax"),
        ([hm.Dense(3, 2), hm.Activation((np.tanh, lambda dH, A: dH))], "mse_loss", "activation"),
        ([hm.Dense(3, 2)], "hinge_loss", "hinge_loss"),
        ([hm.Dense(3, 2)], partial(losses.mse_loss, weight=np.ones((1, 2))), "weight"),
        ([hm.Dense(3, 2)], (partial(losses.huber_loss, delta=2.0), losses.huber_loss_backward), "same options"),
        (
            [hm.Dense(3, 2)],
            (partial(losses.huber_loss, delta=2.0), partial(losses.huber_loss_backward, delta=3.0)),
            "same options",
        ),
        ([hm.Dense(3, 2), hm.Activation("celu", alpha=-1.0)], "mse_loss", "alpha above 0"),
        ([hm.Dropout(0.5)], "mse_loss", "weights"),
        ([hm.Activation("tanh")], "mse_loss", "weights"),
    ],
)
def test_what_has_no_compiled_form_is_named(layers, loss, message):
    with pytest.raises(TypeError, match=message):
        hm.compile(hm.Network(copy.deepcopy(layers)), loss)


def test_an_optimizer_that_evaluates_the_loss_is_refused():
    with pytest.raises(TypeError, match=r"one gradient per step, got LBFGS.*; use the NumPy code"):
        small(optimizer=hm.LBFGS())


def test_compile_wants_a_network():
    with pytest.raises(TypeError, match="network"):
        hm.compile(hm.Dense(3, 2))


def test_without_numba_the_error_names_the_extra(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("handmade.compiled")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(ImportError, match=r"handmade\[fast\]"):
        importlib.import_module("handmade.compiled")


@pytest.mark.parametrize("make", [hm.SGD, hm.Momentum1986, hm.Adagrad, hm.RMSprop, hm.Adam, hm.AdamW])
def test_an_illegal_option_raises_as_in_the_numpy_code(make):
    network, step, X, y = small(optimizer=make())
    own, optimizer, theta = network.theta.copy(), make(), network.theta.copy()
    options = [("lr", "a"), ("lr", None), ("lr", -1.0), ("lr", np.nan), ("weight_decay", "a"), ("betas", (1.0, 1.0))]
    for name, value in options:
        default = getattr(optimizer, name, None)
        if default is not None:
            setattr(optimizer, name, value)
            setattr(step.optimizer, name, value)
            with pytest.raises((TypeError, ValueError), match=f"^{name}") as expected:
                optimizer.step(own, np.ones_like(own))
            with pytest.raises(expected.type, match=f"^{re.escape(str(expected.value))}$"):
                step(X, y)
            setattr(step.optimizer, name, default)
            setattr(optimizer, name, default)
    assert step.optimizer.t == 0
    np.testing.assert_array_equal(network.theta, theta)
    step(X, y)
    assert step.optimizer.t == 1


def test_an_optimizer_cannot_be_put_into_a_step():
    _, step, _, _ = small()
    with pytest.raises(AttributeError):
        step.optimizer = hm.SGD()


def test_what_the_numpy_code_refuses_of_a_loss_is_refused():
    network, _, X, y = small()
    for loss in losses.cross_entropy, losses.mse_loss:
        with pytest.raises(ValueError, match="reduction='none'"):
            hm.compile(network, partial(loss, reduction="none"))
    step = hm.compile(network, partial(losses.cross_entropy, ignore_index=1))
    with pytest.raises(ValueError, match="ignore_index: expected none with probabilities"):
        step(X, np.eye(2)[y])


@pytest.mark.parametrize("loss", ["cross_entropy", partial(losses.cross_entropy, label_smoothing=0.1)])
def test_a_single_output_is_refused_as_by_the_numpy_code(loss):
    network = hm.MLP([3, 1], rng=0)
    with pytest.raises(ValueError, match="at least 2 outputs for cross_entropy, got 1") as expected:
        network.loss_and_gradient(np.ones((2, 3)), [0, 0], loss)
    with pytest.raises(ValueError) as found:
        hm.compile(network, loss)
    assert str(found.value) == str(expected.value)


@pytest.mark.parametrize("optimizer", ["adam", hm.Adam, 3, hm.ClipGradNorm(1.0)])
def test_compile_refuses_what_is_no_optimizer(optimizer):
    with pytest.raises((TypeError, ValueError), match=r"^optimizer: expected"):
        hm.compile(hm.MLP([3, 2], rng=0), optimizer=optimizer)


def test_a_network_with_a_backpropagation_of_its_own_is_refused():
    class Decayed(hm.MLP):
        def backpropagate(self, *arguments):
            loss, gradient = super().backpropagate(*arguments)
            gradient += self.theta
            return loss, gradient

    X, y = np.ones((4, 3)), [0, 1, 1, 0]
    with pytest.raises(TypeError, match=r"^compile: expected the backpropagate of hm.Network, got that of Decayed"):
        hm.fit(Decayed([3, 2]), X, y, compile=True, epochs=1, progress=False)
    compiled, plain = Decayed([3, 2], rng=0), Decayed([3, 2], rng=0)
    with pytest.warns(UserWarning, match="backpropagate"):
        hm.fit(compiled, X, y, compile="auto", epochs=1, rng=0, progress=False)
    hm.fit(plain, X, y, epochs=1, rng=0, progress=False)
    assert (compiled.theta == plain.theta).all()


def with_own(name):
    """Return a class of networks with another method of this name, which does the same."""
    method = getattr(hm.Network, name)
    return type("Own", (hm.MLP,), {name: lambda self, *given, **options: method(self, *given, **options)})


@pytest.mark.parametrize("name", ["forward", "backward", "backpropagate", "loss_and_gradient", "loss_of", "head"])
def test_a_network_with_a_pass_of_its_own_is_refused(name):
    with pytest.raises(hm.compiled.Unsupported, match=f"^compile: expected the {name} of hm.Network, got that of Own"):
        hm.compile(with_own(name)([3, 2]))


def test_a_prediction_of_a_networks_own_is_kept():
    class Sure(hm.MLP):
        def predict(self, X, *, batch_size=None):
            return 10 * super().predict(X, batch_size=batch_size)

    X, network = np.eye(3), Sure([3, 2], rng=0)
    step = hm.compile(network, optimizer=hm.SGD(0.1))
    step(X, [0, 1, 1])
    np.testing.assert_array_equal(step.predict(X), network.predict(X))
    np.testing.assert_array_equal(step.predict(X, batch_size=2), network.predict(X, batch_size=2))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("sizes", [[3, 4, 2], [70, 5, 3], [300, 40, 3], [8, 8, 2]])
def test_each_number_of_x_that_is_not_finite_is_found(sizes, value, dtype):
    # The outputs of a first layer with fewer outputs than inputs tell it: in loops, and in BLAS with few rows or many.
    network = hm.MLP(sizes, rng=0, dtype=dtype)
    network.layers[0].W[:, ::3] = 0  # times infinity, which is NaN, in every output
    step = hm.compile(network, optimizer=hm.SGD(0.1))
    rng = np.random.default_rng(0)
    before = network.theta.copy()
    for N in 1, 2, 7, 130, 1100:
        X, y = rng.normal(size=(N, sizes[0])).astype(dtype), rng.integers(0, sizes[-1], N)
        for row, column in [(0, 0), (N - 1, sizes[0] - 1), *rng.integers(0, [N, sizes[0]], (4, 2))]:
            kept, X[row, column] = X[row, column], value
            with pytest.raises(ValueError, match=rf"X: .*\({row}, {column}\)"):
                step(X, y)
            with pytest.raises(ValueError, match=rf"X: .*\({row}, {column}\)"):
                step.predict(X)
            X[row, column] = kept
    np.testing.assert_array_equal(network.theta, before)


def test_products_that_overflow_say_nothing_of_x():
    network = hm.MLP([4, 2, 2], activation="tanh", rng=0)
    network.layers[0].W[:] = [[1e308, 1e308, 0, 0], [0, 0, 1, 1]]
    X, y = np.array([[10.0, 10, 1, 1], [0, 0, 1, -1]]), np.array([0, 1])
    step = hm.compile(copy.deepcopy(network), optimizer=hm.SGD(0.1))
    with np.errstate(over="ignore"):  # tanh of infinity is 1
        np.testing.assert_allclose(step.predict(X), network.predict(X), rtol=1e-14)
        loss, gradient = network.loss_and_gradient(X, y)
    assert step(X, y) == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(step.network.gradient, gradient, rtol=1e-12)
