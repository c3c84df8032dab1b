"""Networks: forward, loss and backward beside autograd, and a layer of a user's own."""

from __future__ import annotations

import copy
import inspect
import pickle
from functools import partial
from typing import ClassVar

import numpy as np
import pytest
from networks_of_tests import (
    NETWORKS,
    I,
    N,
    O,
    assert_same,
    assert_views,
    build,
    each_network,
    in_both_dtypes,
    inputs,
    labels,
    nested,
    roundings,
)
from oracles import assert_close

from handmade.base_layer import Layer
from handmade.checking.gradients import check_gradient
from handmade.composites import Concatenate, Residual
from handmade.dropout import Dropout
from handmade.initializers import constant
from handmade.layers import Activation, Dense
from handmade.mlp import MLP
from handmade.network import Network, Sequential
from reference.autograd import loss_and_gradient
from reference.twin import twin

WITHOUT_DROPOUT = [name for name in NETWORKS if name != "dropout"]


in_both_modes = pytest.mark.parametrize("training", [False, True])


# --- Counts


def test_the_network_of_the_lecture():
    network = MLP([3, 4, 2], activation="sigmoid", rng=0)
    assert (network.neuron_count, network.weight_count, network.parameter_count) == (6, 20, 26)
    assert network.theta.shape == network.gradient.shape == (26,)
    assert repr(network) == "Network([Dense(3, 4), Activation('sigmoid'), Dense(4, 2)])"
    assert network.summary().splitlines() == [
        "layer                   output  parameters",
        "Dense(3, 4)                  4          16",
        "Activation('sigmoid')        4           0",
        "Dense(4, 2)                  2          10",
        "6 neurons, 20 weights, 26 parameters, float64",
    ]


def test_a_network_with_composites_is_printed_whole():
    network = nested().astype(np.float32)
    inner = "Residual([LayerNorm(5), Dense(5, 7), Activation('gelu'), Dense(7, 5)])"
    skipping = f"Concatenate([{inner}, BatchNorm(5)])"
    assert repr(network) == f"Network([Activation('tanh'), Dense(6, 5), {skipping}, Dense(10, 3)])"
    pad = len(skipping)
    assert network.summary().splitlines() == [
        f"{'layer':{pad}}   output  parameters",
        f"{'''Activation('tanh')''':{pad}}        6           0",
        f"{'Dense(6, 5)':{pad}}        5          35",
        f"{skipping}       10         102",
        f"{'Dense(10, 3)':{pad}}        3          33",
        "20 neurons, 130 weights, 170 parameters, float32",
    ]


def test_a_network_that_takes_any_width_says_so():
    network = Network([Activation("tanh"), Dropout(0.25)])
    assert network.summary().splitlines() == [
        "layer                output  parameters",
        "Activation('tanh')      any           0",
        "Dropout(0.25)           any           0",
        "0 neurons, 0 weights, 0 parameters, float64",
    ]
    assert_same([network.predict([[1, 2]])], [np.tanh([[1.0, 2.0]])])


# --- The gradient


@each_network
@in_both_modes
def test_the_gradient_is_one_vector_that_is_overwritten(name, training):
    network = build(name)
    other = copy.deepcopy(network)
    loss, gradient = network.loss_and_gradient(inputs(), labels(), training=training)
    assert isinstance(loss, float) and gradient is network.gradient
    first = gradient.copy()
    network.loss_and_gradient(inputs(5, seed=1), labels(5), training=training)
    assert np.any(gradient != first)
    assert other.loss_and_gradient(inputs(), labels(), training=training)[0] == loss
    assert_same([other.gradient], [first])
    assert_views(network)


@in_both_dtypes
@pytest.mark.parametrize(
    "loss", ["cross_entropy", "mse_loss", "half_squared_error", "binary_cross_entropy_with_logits"]
)
@pytest.mark.parametrize(
    ("name", "training"), [*[(name, True) for name in WITHOUT_DROPOUT], *[(name, False) for name in NETWORKS]]
)
def test_autograd_gives_the_same_loss_and_gradient(name, training, loss, dtype):
    network = build(name, dtype)
    module = twin(network).train(training)
    y = labels() if loss == "cross_entropy" else np.random.default_rng(1).uniform(0, 1, (N, O)).astype(dtype)
    value, gradient = network.loss_and_gradient(inputs(), y, loss, training=training)
    torch_value, torch_gradient = loss_and_gradient(module, inputs(), y, loss)
    assert gradient.dtype == torch_gradient.dtype == dtype
    # The loss adds up N O terms more. What cancels in these sums are products of numbers of about one.
    scale = max(1.0, np.abs(torch_gradient).max())
    assert_close(gradient, torch_gradient, operations=roundings(network), scale=scale)
    assert_close(dtype(value), torch_value, operations=roundings(network) + N * O, scale=max(1.0, abs(torch_value)))


@pytest.mark.parametrize("name", ["sigmoid", "groups"])
def test_batch_gradient_is_the_mean_over_samples(name):
    network, X, y = build(name), inputs(), labels()
    weight = np.linspace(0, 2, N)
    each = np.array([network.loss_and_gradient(X[i : i + 1], y[i : i + 1])[1].copy() for i in range(N)])
    scale = 2 * np.abs(each).max()
    gradient = network.loss_and_gradient(X, y)[1]
    assert_close(gradient, each.mean(axis=0), operations=roundings(network), scale=scale)
    gradient = network.loss_and_gradient(X, y, sample_weight=weight)[1]
    assert_close(gradient, weight @ each / N, operations=roundings(network), scale=scale)


@pytest.mark.parametrize("name", ["dropout", "layer"])
def test_a_sample_of_weight_zero_is_as_good_as_absent(name):
    """The mean still counts it: that of the 4 others is N / 4 times as large."""
    network, X, y = build(name), inputs(), labels()
    _, gradient = network.loss_and_gradient(X, y, sample_weight=1.0 * (np.arange(N) < 4), training=False)
    gradient = gradient * N / 4
    _, expected = network.loss_and_gradient(X[:4], y[:4], training=False)
    assert_close(gradient, expected, operations=roundings(network), scale=max(1.0, np.abs(expected).max()))


@in_both_modes
def test_the_mode_reaches_a_layer_without_state(training):
    class Loud(Layer):
        def forward(self, X, training=False):
            return X + 1.0 if training else X, training

        def backward(self, dH, cache, need_dX=True):
            return dH

    loss, _ = Network([Loud()]).loss_and_gradient([[2.0]], [[0.0]], "mse_loss", training=training)
    assert loss == (9.0 if training else 4.0)


@each_network
def test_backward_goes_down_to_the_input_where_that_is_asked_for(name):
    network = build(name)
    H, cache = network.forward(inputs())
    dH = np.ascontiguousarray(np.cos(H))  # in the order of a list: BLAS rounds as the arrays lie
    dX = network.backward(dH, cache)
    gradient = network.gradient.copy()
    assert dX.shape == (N, I) and np.any(dX)
    assert network.backward(dH.tolist(), cache, need_dX=False) is None
    assert_same([network.gradient], [gradient])


# --- A layer of your own: nothing in the network knows which layers exist


class Scale(Layer):
    """A layer H = scale X, one factor per feature."""

    parameters: ClassVar = {"scale": "scale"}

    def __init__(self, width):
        self.in_features = width
        self.scale = np.linspace(1, 2, width)

    def forward(self, X, training=False):
        return X * self.scale, X

    def backward(self, dH, X, need_dX=True):
        np.sum(dH * X, axis=0, out=self.dscale)
        return dH * self.scale


def with_scale():
    block = Residual([Scale(4), Activation("tanh")])
    return Network([Scale(I), Dense(I, 4, rng=0), block, Dense(4, O, rng=1), Sequential([Scale(O)])])


def test_a_layer_of_your_own_is_a_layer_like_any_other():
    network = with_scale()
    names = ["0.scale", "1.weight", "1.bias", "2.0.scale", "3.weight", "3.bias", "4.0.scale"]
    assert list(network.state_dict()) == list(network.blocks(network.gradient)) == names
    assert network.parameter_count == 6 + (24 + 4) + 4 + (12 + 3) + 3
    assert_views(network)
    X, y = inputs(), labels()
    check = check_gradient(network, X, y)
    assert check, str(check)
    assert [block.name for block in check.blocks] == names
    assert_same([network.predict(X)], [network.forward(X)[0]])
    clone = pickle.loads(pickle.dumps(network.astype(np.float32)))
    assert clone.layers[0].scale.dtype == np.float32
    assert_views(clone)
    loss, gradient = network.loss_and_gradient(X, y)
    network.theta -= 0.1 * gradient
    assert network.loss_and_gradient(X, y)[0] < loss
    other = with_scale()
    other.load_state_dict(network.state_dict())
    assert_same([other.theta], [network.theta])


def test_what_forward_and_backward_give_belongs_to_the_caller():
    network, X = Network([Dense(3, 3, rng=0), Activation("sigmoid")]), np.random.default_rng(0).normal(size=(4, 3))
    dH = np.random.default_rng(0).normal(size=(4, 3))
    _, cache = network.forward(X)
    expected_dX, expected = network.backward(dH, cache), network.gradient.copy()
    H, cache = network.forward(X)
    H -= 10
    dX = network.backward(dH, cache)
    np.testing.assert_array_equal(network.gradient, expected)
    np.testing.assert_array_equal(dX, expected_dX)
    network.backward(2 * dH, cache)
    np.testing.assert_array_equal(dX, expected_dX)


# --- Defaults and texts


def test_chain_defaults_to_evaluation_and_dX():
    chain, X = Sequential([Dropout(1.0), Activation("relu")]), inputs(4)
    H, cache = chain.forward(X)
    assert_same([H], [np.maximum(X, 0)])
    assert_same([chain.backward(np.ones((4, I)), cache)], [(X > 0) * 1.0])
    assert chain.backward(np.ones((4, I)), cache, need_dX=False) is None


def test_training_is_the_mode_of_a_gradient_unless_told():
    network = build("dropout")
    for gradient_of in (network.loss_and_gradient, network.backpropagate):
        before = copy.deepcopy(network)
        expected = before.loss_and_gradient(inputs(), labels(), "cross_entropy", training=True)
        assert gradient_of(inputs(), labels(), "cross_entropy")[0] == expected[0]


def test_float32_backward_takes_any_numbers():
    network = build("sigmoid", np.float32)
    _, cache = network.forward(inputs())
    results = []
    for dtype in (np.float32, np.float64, np.int64):
        dX = network.backward(np.ones((N, O), dtype), cache)
        assert dX.dtype == np.float32
        results.append([dX, network.gradient.copy()])
    assert_same(results[0], results[1])
    assert_same(results[0], results[2])


def test_a_summary_says_any_where_a_width_is_open():
    lines = Network([Concatenate([Activation("tanh")]), Residual([Activation("relu")])]).summary().splitlines()
    assert [line.split()[-2:] for line in lines[1:3]] == [["any", "0"], ["any", "0"]]


def test_a_layer_may_stand_for_an_activation():
    network = MLP([3, 4, 2], activation=[Activation("leaky_relu", negative_slope=0.5)], rng=0)
    assert repr(network.layers[1]) == "Activation('leaky_relu', negative_slope=0.5)"


@pytest.mark.parametrize(("X", "y", "logit"), [(17.0, 0.0, 17.0), (-30.0, 1.0, -30.0), (700.0, 0.0, 700.0)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sigmoid_under_cross_entropy_uses_the_logit(X, y, logit, dtype):
    network = Network([Dense(1, 1), Activation("sigmoid")], dtype=dtype)
    network.theta[:] = [1, 0]
    loss, gradient = network.loss_and_gradient([[X]], [[y]], "binary_cross_entropy")
    sign = 1 if y == 0 else -1
    assert loss == pytest.approx(abs(logit), rel=1e-6)  # log(1 + e^17) is 17 + 4e-8
    np.testing.assert_allclose(gradient, [sign * X, sign], rtol=1e-6)
    assert check_gradient(network, [[X]], [[y]], loss="binary_cross_entropy")


def test_backpropagate_has_the_defaults_of_its_checked_form():
    checked, bare = (inspect.signature(f).parameters for f in (Network.loss_and_gradient, Network.backpropagate))
    assert {name: p.default for name, p in bare.items()} == {name: p.default for name, p in checked.items()}


def test_a_loss_of_probabilities_takes_any_last_layer():
    network = MLP([I, 1], weight_init="zeros", bias_init=partial(constant, value=0.25))
    loss, gradient = network.loss_and_gradient(inputs(), np.ones((N, 1)), "binary_cross_entropy")
    assert loss == -np.log(0.25)
    assert gradient[-1] == -4  # d(-log p) / dp
