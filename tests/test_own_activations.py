"""Activation: functions of a user's own, its dry run, what it tells of its rows and columns."""

from __future__ import annotations

import numpy as np
import pytest
from layers_of_tests import double_times, square

import handmade as hm
from handmade import activations
from handmade.layers import Activation, Dense
from handmade.network import Network


def double_root_times(dH, H):
    return np.multiply(dH, 2 * np.sqrt(H))


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setitem(activations.REGISTERED, "own_square", (square, double_times))
    return "own_square"


@pytest.mark.parametrize(
    "build",
    [
        lambda name: Network([Dense(2, 3, rng=0), Activation(name), Dense(3, 2, rng=1)]),
        lambda name: hm.MLP([2, 3, 2], activation=name, rng=0),
        lambda name: hm.MLP([2, 3, 2], [name, None], rng=0),
        lambda name: hm.MLP([2, 3, 3, 2], ["tanh", name], rng=0),
    ],
)
def test_a_registered_name_stands_for_its_pair(registered, build, tmp_path):
    named, paired = build(registered), build((square, double_times))
    X = np.array([[1.0, -2.0], [0.5, 3.0]])
    for network in (named, paired):
        network.theta[:] = np.arange(network.parameter_count) / 10
    (loss, gradient), expected = named.loss_and_gradient(X, [0, 1]), paired.loss_and_gradient(X, [0, 1])
    assert loss == expected[0]
    assert (gradient == expected[1]).all()
    hm.save(named, tmp_path / "own.npz")
    assert (hm.load(tmp_path / "own.npz").predict(X) == paired.predict(X)).all()


def test_an_unknown_name_is_refused_beside_registered_ones(registered):
    with pytest.raises(ValueError, match="did you mean 'own_square'"):
        Activation("own_squar")


@pytest.mark.parametrize("backward", [double_times, double_root_times])
def test_user_backward_gets_the_array_it_names(backward):
    layer = Activation((square, backward))
    H, cache = layer.forward(np.array([[3.0]]))
    assert H == layer.predict(np.array([[3.0]])) == 9
    assert layer.backward(np.array([[10.0]]), cache) == 60
    assert repr(layer) == "Activation('square')"


@pytest.mark.parametrize(
    ("function", "options", "error", "words"),
    [
        ("swish", {}, ValueError, "^activation: expected one of .*sigmoid, tanh, relu.*'swish'"),
        (None, {}, TypeError, "name or a pair.*None$"),
        (np.tanh, {}, TypeError, r"name or a pair.*'tanh'>; pass it with its derivative, \(f, f_backward\)$"),
        ((np.tanh, 1), {}, TypeError, "name or a pair"),
        ((square, double_times, square), {}, TypeError, "name or a pair"),
        ("relu", {"negative_slope": 0.1}, TypeError, "expected no options for 'relu', got negative_slope$"),
        ("elu", {"beta": 0.1}, TypeError, r"expected options among \['alpha'\] for 'elu', got beta$"),
        ("gelu", {"approximate": "erf"}, ValueError, "'none' or 'tanh'.*'erf'"),
    ],
)
def test_activation_refuses(function, options, error, words):
    with pytest.raises(error, match=words):
        Activation(function, **options)


@pytest.mark.parametrize("takes", ["A", "H"])
def test_dry_run_uses_numbers_from_a_half_to_1(takes):
    """An activation may have no value elsewhere."""
    seen = []

    def f(A):
        if not ((A >= 0.5) & (A <= 1)).all():
            raise ValueError("undefined")
        return np.add(A, 7)

    def with_A(dH, A):
        seen.append(A)
        return np.positive(dH)

    def with_H(dH, H):
        return with_A(dH, H)

    Activation((f, with_A if takes == "A" else with_H))
    assert seen and all(((array > 7) == (takes == "H")).all() for array in seen)


@pytest.mark.parametrize(
    "pair",
    [
        (lambda A: A, lambda dH: dH),
        (lambda A: A.sum(axis=0), lambda dH, A: dH),
        (lambda A: A, lambda dH, A: None),
    ],
    ids=["backward of one argument", "f that sums", "backward of nothing"],
)
def test_an_activation_of_another_contract_is_refused_at_once(pair):
    with pytest.raises(TypeError):
        Activation(pair)


def test_options_become_numbers_of_python():
    options = Activation("leaky_relu", negative_slope=np.float32(0.5)).options
    assert options == {"negative_slope": 0.5} and type(options["negative_slope"]) is float


def test_an_activation_prints_all_its_options():
    def power(A, exponent, factor):
        return np.multiply(factor, A**exponent)

    def power_backward(dH, A, exponent, factor):
        return np.multiply(dH, factor * exponent * A ** (exponent - 1))

    layer = Activation((power, power_backward), exponent=3, factor=2.0)
    assert repr(layer) == "Activation('power', exponent=3, factor=2.0)"


@pytest.mark.parametrize(
    "name, elementwise", [("tanh", True), ("relu", True), ("softmax", False), ("log_softmax", False)]
)
def test_activations_tell_which_numbers_depend_on_which(name, elementwise):
    layer = Activation(name)
    assert layer.is_elementwise is elementwise
    assert layer.rows_are_independent(True) is layer.rows_are_independent(False) is True


def test_an_activation_that_mixes_rows_is_not_elementwise():
    pair = (lambda A: A - A.mean(axis=0), lambda dH, A: dH - dH.mean(axis=0))
    layer = Activation(pair)
    assert layer.is_elementwise is False
    assert layer.rows_are_independent(False) is False


@pytest.mark.parametrize("reached", [1, 2])
def test_an_activation_that_mixes_two_columns_is_not_elementwise(reached):
    def f(A):
        H = A.copy()
        H[:, reached] += A[:, 0]
        return H

    def f_backward(dH, A):
        dA = dH.copy()
        dA[:, 0] += dH[:, reached]
        return dA

    activation = Activation((f, f_backward))
    assert activation.rows_are_independent(True) and not activation.is_elementwise


def test_a_users_activation_is_cast_to_the_networks_dtype():
    def square(A):
        return A.astype(np.float64) ** 2

    def square_backward(dH, A):
        return dH * 2 * A.astype(np.float64)

    layers = [Dense(2, 3, dtype=np.float32), Activation((square, square_backward)), Dense(3, 2, dtype=np.float32)]
    network = Network(layers)
    loss, gradient = network.loss_and_gradient(np.ones((4, 2)), [0, 1, 0, 1])
    assert network.predict(np.ones((1, 2))).dtype == gradient.dtype == np.float32 and np.isfinite(loss)
    assert gradient.any()


class Tanh:
    """A function without a name, and in float64."""

    def __call__(self, A):
        return np.tanh(A).astype(np.float64)


def test_activations_need_no_name_to_be_shown_and_traced():
    layer = Activation((Tanh(), lambda dH, A: dH * (1 - np.tanh(A) ** 2)))
    network = Network([Dense(1, 1, rng=0), layer, Dense(1, 1, rng=1)])
    assert repr(layer) == "Activation('Tanh')" and "Activation('Tanh')" in str(network.summary())
    assert "Tanh(a1)" in str(hm.trace(network, [[1.0]], [[0.0]], loss="mse_loss"))


@pytest.mark.parametrize(
    ("name", "options"), [("leaky_relu", {"negative_slope": 1e300}), ("softplus", {"beta": 1e300})]
)
def test_an_option_too_large_for_float32_is_quiet(name, options):
    layer = Activation(name, **options)  # a warning fails here
    assert np.isfinite(layer.predict(np.ones((1, 2)))).all()


@pytest.mark.parametrize("name", activations.ACTIVATIONS)
def test_functions_that_keep_the_dtype_stay_what_they_are(name):
    layer = Activation(name)
    assert (layer.f, layer.f_backward) == activations.ACTIVATIONS[name]
