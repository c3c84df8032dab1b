"""Networks: forward, loss and backward beside autograd, and what a network refuses."""

from __future__ import annotations

import copy
import inspect
import pickle
from functools import partial
from typing import ClassVar

import numpy as np
import pytest
import torch
from networks_of_tests import (
    NETWORKS,
    I,
    N,
    O,
    assert_same,
    assert_views,
    build,
    each_network,
    everything,
    in_both_dtypes,
    inputs,
    labels,
    nested,
    roundings,
)
from oracles import assert_close

from handmade.checking.gradients import check_gradient
from handmade.composites import Concatenate, Residual
from handmade.initializers import constant
from handmade.layers import Activation, Dense, Dropout, Layer
from handmade.mlp import MLP
from handmade.network import Network, Sequential, check_finite_targets
from handmade.normalization import BatchNorm, LayerNorm
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


# --- What cannot be a network


def shared(layer):
    return [Dense(2, 2), layer, Dense(2, 2), layer]


@pytest.mark.parametrize(
    ("layers", "error", "words"),
    [
        (lambda: [], ValueError, "at least one layer, got none"),
        (lambda: ["relu"], TypeError, "expected layers, got 'relu'"),
        (lambda: [Dense(2, 2), np.tanh], TypeError, "expected layers, got <ufunc 'tanh'>"),
        (lambda: [Dense], TypeError, "expected layers, got <class"),
        (lambda: Dense(2, 2), TypeError, r"layers.*Dense\(2, 2\)"),
        (lambda: [Dense(2, 3), Dense(4, 1)], ValueError, r"Dense\(4, 1\): expected 4 inputs, got 3"),
        (
            lambda: [Dense(2, 3), Activation("relu"), BatchNorm(2)],
            ValueError,
            r"BatchNorm\(2\): expected 2 inputs, got 3",
        ),
        (lambda: shared(Dense(2, 2)), ValueError, "the same layer.*twice"),
        (lambda: shared(LayerNorm(2)), ValueError, "the same layer.*twice"),
        (lambda: shared(Activation("tanh")), ValueError, "the same layer.*twice"),
        (lambda: shared(Dropout(0.5)), ValueError, "the same layer.*twice"),
        (lambda: shared(Residual([Activation("tanh")])), ValueError, "the same layer.*twice"),
        (lambda: [Residual(shared(Dense(2, 2)))], ValueError, "the same layer.*twice"),
        (lambda: MLP([2, 1]).layers, ValueError, r"Dense\(2, 1\) already belongs to a network.*deepcopy"),
        (lambda: [MLP([2, 1])], ValueError, r"Dense\(2, 1\) already belongs to a network.*deepcopy"),
    ],
)
def test_a_network_refuses(layers, error, words):
    layers = layers()
    with pytest.raises(error, match=words):
        Network(layers)


def test_refused_layer_leaves_the_others_free():
    network, free = MLP([2, 2], rng=0), Dense(2, 2)
    with pytest.raises(ValueError, match="already belongs"):
        Network([free, network.layers[0]])
    assert_views(network)
    assert_views(Network([free, copy.deepcopy(network.layers[0])]))


# --- The door


@pytest.mark.parametrize(
    ("X", "error", "words"),
    [
        (
            np.ones(3),
            ValueError,
            r"X: expected shape \(N, 3\).*got \(3,\).*single sample.*x\[np.newaxis, :\]",
        ),
        (np.ones(4), ValueError, r"X: expected shape \(N, 3\) with N at least 1, got \(4,\)$"),
        (np.ones((2, 4)), ValueError, r"X: expected shape \(N, 3\).*got \(2, 4\)$"),
        (np.ones((3, 2)), ValueError, r"X: expected shape \(N, 3\).*got \(3, 2\)"),
        (
            np.ones((2, 3, 1)),
            ValueError,
            r"X: expected shape \(N, 3\).*got \(2, 3, 1\); flatten it with X\.reshape\(len\(X\), -1\)$",
        ),
        (np.ones((0, 3)), ValueError, r"N at least 1, got \(0, 3\)"),
        ([], ValueError, r"got \(0,\)"),
        (1.0, ValueError, r"got \(\)"),
        ([[1, 2, np.nan], [1, 2, 3]], ValueError, r"X: expected finite numbers, got nan at index \(0, 2\)"),
        ([[1, 2, 3], [1, np.inf, 3]], ValueError, r"X: expected finite numbers, got inf at index \(1, 1\)"),
        ([[-np.inf, 2, 3]], ValueError, r"X: expected finite numbers, got -inf at index \(0, 0\)"),
        (np.array([[1, np.nan, 3]], np.float32), ValueError, r"nan at index \(0, 1\)"),
        (np.array([[1, 2, None]]), TypeError, "X: expected numbers, got dtype object.*astype"),
        ([["1", "2", "3"]], TypeError, "X: expected numbers, got dtype <U1.*astype"),
        (np.ones((1, 3), complex), TypeError, "X: expected numbers, got dtype complex128"),
        (np.zeros((1, 3), "datetime64[s]"), TypeError, "X: expected numbers, got dtype datetime64"),
    ],
)
@pytest.mark.parametrize("use", ["predict", "forward", "loss_and_gradient"])
def test_bad_input_is_an_error_and_changes_nothing(X, error, words, use):
    network = MLP([3, 4, 2], activation="tanh", normalization="batch", dropout=0.5, rng=0)
    network.loss_and_gradient(inputs(width=3), labels() % 2)
    before = everything(network)
    targets = {"loss_and_gradient": [[0, 1]], "predict": [], "forward": []}[use]
    with pytest.raises(error, match=words):
        getattr(network, use)(X, *targets)
    assert_same(everything(network), before)


@pytest.mark.parametrize(
    ("y", "loss", "error", "words"),
    [
        ([0, 1], "cross_entropy", ValueError, "^y: "),
        (np.ones((N - 1, O)), "mse_loss", ValueError, "^y: "),
        (np.ones((N, O + 1)), "mse_loss", ValueError, "^y: "),
        (np.full(N, O), "cross_entropy", ValueError, "^y: "),
        (
            np.full((N, O), np.nan),
            "mse_loss",
            ValueError,
            r"y: expected finite numbers, got nan at index \(0, 0\)",
        ),
        ([["a"] * O] * N, "mse_loss", TypeError, "^y: "),
        (np.ones((N, O)), "mean", ValueError, "loss: expected one of .*mse_loss.*got 'mean'"),
        (np.ones((N, O)), None, TypeError, "loss: expected a name"),
    ],
)
@in_both_modes
def test_bad_targets_are_an_error_and_change_nothing(y, loss, error, words, training):
    network = build("dropout")
    network.loss_and_gradient(inputs(), labels())
    before = everything(network)
    with pytest.raises(error, match=words):
        network.loss_and_gradient(inputs(), y, loss, training=training)
    assert_same(everything(network), before)


@pytest.mark.parametrize(
    ("own", "X"),
    [
        (np.float64, np.full((2, 3), 1e200)),
        (np.float64, np.full((2, 3), 1e30, np.float32)),
        (np.float64, np.full((2, 3), 6e4, np.float16)),
        (np.float32, np.full((2, 3), 1e30)),
        (np.float32, np.full((2, 3), 1e30, np.float32)),
    ],
)
def test_large_numbers_are_finite_numbers(own, X):
    network = MLP([3, 2], rng=0, dtype=own)
    network.theta[:] = 1
    assert_same([network.predict(X)], [(3 * X[:, :2].astype(own) + 1)])


@pytest.mark.parametrize("use", ["predict", "forward"])
def test_what_is_too_large_for_float32_is_not_taken_as_infinity(use):
    network = MLP([3, 2], rng=0, dtype=np.float32)
    with pytest.raises(ValueError, match=r"X: expected finite numbers, got .* at index \(0, 1\)"):
        getattr(network, use)(np.array([[1.0, 1e300, 1.0]]))


# --- predict


@pytest.mark.parametrize(
    "X",
    [
        [[1, 0, 1], [0, 1, 1]],
        ((1, 0, 1), (0, 1, 1)),
        np.array([[1, 0, 1], [0, 1, 1]], np.uint8),
        np.array([[1, 0, 1], [0, 1, 1]], bool),
        np.array([[1, 0, 1], [0, 1, 1]], np.float32),
        np.array([[1, 0, 1], [0, 1, 1]], ">f8"),
        np.array([[1, 0], [0, 1], [1, 1]]).T,
        np.array([[0, 1, 1], [1, 0, 1]], float)[::-1],
    ],
)
@in_both_dtypes
def test_any_real_numbers_will_do(X, dtype):
    network = MLP([3, 4, 2], activation="tanh", rng=0, dtype=dtype)
    H = network.predict(X)
    assert H.dtype == dtype
    # Strides may choose another order of the sums: 3 and 4 products of numbers of at most 1, on two sides.
    assert_close(H, network.predict(np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])), operations=2 * 10, scale=1)
    assert_close(network.forward(X)[0], H, operations=2 * 10, scale=1)


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


@pytest.mark.parametrize("shape", [(4, 3), (4,), (1, 2), (4, 2, 1)])
def test_backward_takes_the_shape_of_the_output(shape):
    network = MLP([3, 2], rng=0)
    _, cache = network.forward(np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"dH: expected the shape of the output \(4, 2\), got"):
        network.backward(np.ones(shape), cache)


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


def test_unknown_width_below_a_skip_is_checked_on_input():
    network = Network([Concatenate([Activation("tanh")]), Dense(4, 1)])
    assert network.predict(np.ones((5, 2))).shape == (5, 1)
    with pytest.raises(ValueError, match=r"Dense\(4, 1\): expected 4 inputs, got 6"):
        network.predict(np.ones((5, 3)))


def test_statistics_stay_as_they_were_where_the_target_is_wrong():
    network = MLP([3, 4, 2], normalization="batch", rng=0)
    before = network.state_dict()
    with pytest.raises(ValueError, match="from 0 to 1, got 2"):
        network.loss_and_gradient(np.random.default_rng(0).normal(size=(4, 3)), [0, 1, 2, 0])
    for name, array in network.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_generators_stay_as_they_were_where_the_target_is_wrong():
    network = MLP([3, 8, 2], dropout=0.5, rng=0)
    expected, _ = copy.deepcopy(network).loss_and_gradient(np.ones((4, 3)), [0, 1, 0, 1])
    with pytest.raises(ValueError, match="y: expected class indices from 0 to 1, got 2"):
        network.loss_and_gradient(np.ones((4, 3)), [0, 1, 0, 2])
    assert network.loss_and_gradient(np.ones((4, 3)), [0, 1, 0, 1])[0] == expected


# --- What is said and left unsaid


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


MASKED = np.ma.array(np.ones((N, I)), mask=np.eye(N, I))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda network: network.backward([[0.0, np.nan, 0.0]] * N, network.forward(inputs())[1]),
            ValueError,
            r"^dH: expected finite .* \(0, 1\)$",
        ),
        (
            lambda network: network.backward([[0.0], [1.0, 2.0]], network.forward(inputs())[1]),
            ValueError,
            r"^dH: expected an array",
        ),
        (lambda network: setattr(network, "theta", np.ones(3)), ValueError, r"^theta: expected shape"),
        (lambda network: network.predict(np.ones(I)), ValueError, r"; a single sample x is x\[np.newaxis, :\]$"),
        (lambda network: network.predict(inputs() * np.nan), ValueError, r"^X: expected finite .* \(0, 0\)$"),
        (lambda network: Network([Activation("tanh")]).predict(1.0), ValueError, r"^X: .* shape \(N, features\) with"),
        (lambda network: check_finite_targets([0.0, np.inf], 5), ValueError, r"^y: expected finite .* \(6,\)$"),
        (lambda network: MLP(3), ValueError, r"^sizes: expected .* got \[3\]$"),
        (lambda network: network.backward(np.zeros((N, O)), None), TypeError, "^cache: expected .* got NoneType$"),
        (lambda network: network.load_state_dict([1.0]), TypeError, "^state_dict: expected a mapping .* got list$"),
        (
            lambda network: Network([Dense(I, 1)]).loss_and_gradient(inputs(), [0] * N),
            ValueError,
            "^loss: expected at least 2 outputs for cross_entropy, got 1; ",
        ),
        (lambda network: network.predict(MASKED), TypeError, "^X: expected an array without a mask"),
        (lambda network: network.forward(MASKED), TypeError, "^X: expected an array without a mask"),
        (
            lambda network: network.loss_and_gradient(inputs(), MASKED),
            TypeError,
            "^y: expected an array without a mask",
        ),
        (
            lambda network: network.load_state_dict(network.state_dict() | {"0.weight": MASKED}),
            TypeError,
            "^state_dict: 0.weight: expected an array without a mask",
        ),
    ],
)
def test_an_error_begins_with_the_argument_that_is_wrong(call, error, words):
    network = build("sigmoid")
    with pytest.raises(error, match=words):
        call(network)


def test_a_network_of_any_width_wants_a_sample_too():
    with pytest.raises(ValueError, match=r"X: expected shape \(N, features\) with N at least 1, got \(0, 3\)"):
        Network([Activation("relu")]).predict(np.empty((0, 3)))


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


def test_second_backward_at_once_is_refused():
    network = MLP([3, 2], rng=0)
    with pytest.raises(RuntimeError, match=r"^gradient: expected one backward pass at a"):
        network._gradient_writer.run(lambda: network.loss_and_gradient(np.ones((1, 3)), [0]))
    network.loss_and_gradient(np.ones((1, 3)), [0])


def test_tensors_are_taken_and_masked_arrays_refused():
    network = MLP([3, 2], rng=0)
    X = torch.ones((2, 3), dtype=torch.float64, requires_grad=True)
    np.testing.assert_array_equal(network.predict(X), network.predict(np.ones((2, 3))))
    with pytest.raises(TypeError, match="X: expected an array without a mask"):
        network.predict(np.ma.masked_array(np.ones((2, 3)), mask=True))


def test_backpropagate_has_the_defaults_of_its_checked_form():
    checked, bare = (inspect.signature(f).parameters for f in (Network.loss_and_gradient, Network.backpropagate))
    assert {name: p.default for name, p in bare.items()} == {name: p.default for name, p in checked.items()}


def test_a_loss_of_probabilities_takes_any_last_layer():
    network = MLP([I, 1], weight_init="zeros", bias_init=partial(constant, value=0.25))
    loss, gradient = network.loss_and_gradient(inputs(), np.ones((N, 1)), "binary_cross_entropy")
    assert loss == -np.log(0.25)
    assert gradient[-1] == -4  # d(-log p) / dp
