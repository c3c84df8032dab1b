"""Network and MLP: theta and its views, gradients against autograd, state_dict, copies, predict, errors."""

from __future__ import annotations

import copy
import inspect
import itertools
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ClassVar

import numpy as np
import pytest
import torch
from oracles import assert_close

from handmade.checking.gradients import check_gradient
from handmade.composites import Concatenate, Parallel, Residual
from handmade.initializers import constant
from handmade.layers import Activation, Dense, Dropout, Layer
from handmade.losses import cross_entropy
from handmade.mlp import MLP
from handmade.network import Network, Sequential, check_finite_targets
from handmade.normalization import BatchNorm, LayerNorm
from reference.autograd import loss_and_gradient
from reference.twin import twin

I, O, N = 6, 3, 8


def family():
    encoders = Parallel([Dense(4, 3, rng=0), Activation("sigmoid")], [Dense(2, 2, rng=1), Activation("sigmoid")])
    return Network([encoders, Dense(5, 4, rng=2), Activation("tanh"), Dense(4, O, rng=3)])


def nested():
    block = [LayerNorm(5), Dense(5, 7, rng=1), Activation("gelu"), Dense(7, 5, rng=2)]
    skipping = Concatenate([Residual(block), BatchNorm(5)])
    return Network([Activation("tanh"), Dense(I, 5, rng=0), skipping, Dense(10, O, rng=3)])


# Networks with inputs of width I and outputs of width O.
NETWORKS = {
    "one layer": lambda: MLP([I, O], rng=0),
    "sigmoid": lambda: MLP([I, 4, O], activation="sigmoid", rng=0),
    "relu, deep": lambda: MLP([I, 7, 5, 4, O], rng=0),
    "no bias": lambda: MLP([I, 7, 5, O], activation="tanh", bias=False, rng=0),
    "batch": lambda: MLP([I, 7, 5, O], activation="tanh", normalization="batch", rng=0),
    "layer": lambda: MLP([I, 7, 5, O], activation="silu", normalization="layer", rng=0),
    "dropout": lambda: MLP([I, 7, 5, O], activation="elu", normalization="batch", dropout=0.5, rng=0),
    "groups": family,
    "nested": nested,
}
WITHOUT_DROPOUT = [name for name in NETWORKS if name != "dropout"]

each_network = pytest.mark.parametrize("name", NETWORKS)
in_both_modes = pytest.mark.parametrize("training", [False, True])
in_both_dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32])


def build(name, dtype=np.float64):
    """Return a network whose statistics, where it has some, are not those of the start."""
    network = NETWORKS[name]().astype(dtype)
    network.forward(inputs(seed=9), training=True)
    return network


def inputs(samples=N, seed=0, width=I):
    return np.random.default_rng(seed).uniform(-1, 1, (samples, width))


def labels(samples=N):
    return np.arange(samples) % O


def assert_same(actual, expected):
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


def everything(network):
    return [network.theta.copy(), network.gradient.copy(), *network.state_dict().values()]


def assert_views(network):
    """Every parameter is the block of theta that it is named for, and its gradient that of the gradient."""
    values, gradients = network.blocks(network.theta), network.blocks(network.gradient)
    parameters = [
        (prefix + name, getattr(layer, attribute), getattr(layer, "d" + attribute))
        for prefix, layer in network.leaves()
        for name, attribute in layer.parameters.items()
    ]
    assert [name for name, _, _ in parameters] == list(values)
    before = network.theta.copy()
    network.theta[:] = np.arange(network.theta.size)
    network.gradient[:] = -network.theta
    for name, value, gradient in parameters:
        assert value.shape == gradient.shape == values[name].shape
        assert_same([value, gradient], [values[name], gradients[name]])
    assert_same([np.concatenate([value.ravel() for _, value, _ in parameters])], [network.theta])
    assert_same([np.concatenate([gradient.ravel() for _, _, gradient in parameters])], [network.gradient])
    network.theta[:] = before


# --- Counts


def test_the_network_of_the_lecture():
    network = MLP([3, 4, 2], activation="sigmoid", rng=0)
    assert (network.neuron_count, network.weight_count, network.parameter_count) == (6, 20, 26)
    assert network.theta.shape == network.gradient.shape == (26,)
    assert repr(network) == "MLP(Dense(3, 4), Activation('sigmoid'), Dense(4, 2))"
    assert network.summary().splitlines() == [
        "layer                   output  parameters",
        "Dense(3, 4)                  4          16",
        "Activation('sigmoid')        4           0",
        "Dense(4, 2)                  2          10",
        "6 neurons, 20 weights, 26 parameters, float64",
    ]


def test_a_network_with_composites_is_printed_whole():
    network = nested().astype(np.float32)
    inner = "Residual(LayerNorm(5), Dense(5, 7), Activation('gelu'), Dense(7, 5))"
    skipping = f"Concatenate({inner}, BatchNorm(5))"
    assert repr(network) == f"Network(Activation('tanh'), Dense(6, 5), {skipping}, Dense(10, 3))"
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


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("sizes", [[1, 1], [2, 1], [3, 4, 2], [6, 2, 1], [1, 1, 1, 1, 1], [64, 32, 16, 10], (5, 9, 5)])
def test_counts_are_those_of_torch(sizes, bias):
    network = MLP(sizes, bias=bias)
    linear = [torch.nn.Linear(i, o, bias=bias) for i, o in itertools.pairwise(sizes)]
    parameters = [parameter for module in linear for parameter in module.parameters()]
    assert network.parameter_count == network.theta.size == sum(p.numel() for p in parameters)
    assert network.weight_count == sum(module.weight.numel() for module in linear)
    assert network.neuron_count == sum(sizes[1:])
    assert [block.shape for block in network.blocks(network.theta).values()] == [tuple(p.shape) for p in parameters]


# --- theta


@each_network
@in_both_dtypes
def test_theta_is_laid_out_as_torchs_parameters(name, dtype):
    network = build(name, dtype)
    vector = torch.nn.utils.parameters_to_vector(twin(network).parameters()).detach().numpy()
    assert_same([network.theta], [vector])
    assert network.theta.flags.c_contiguous and network.gradient.flags.c_contiguous


@each_network
def test_parameters_are_views_of_theta_and_gradient(name):
    assert_views(build(name))


def test_writing_to_a_parameter_writes_to_theta():
    network = MLP([3, 4, 2])
    first = network.layers[0]
    first.W = np.arange(12).reshape(4, 3)
    first.b = [20, 21, 22, 23]
    assert network.theta[:16].tolist() == [*range(12), 20, 21, 22, 23]
    first.W[1, 0] = -1
    first.b -= 20
    assert network.theta[:16].tolist() == [0, 1, 2, -1, *range(4, 12), 0, 1, 2, 3]
    network.theta[0] = 7
    assert first.W[0, 0] == 7
    for wrong in (np.ones((3, 4)), np.ones((5, 3)), np.ones(3)):
        before = network.theta.copy()
        with pytest.raises(ValueError, match="shape"):
            first.W = wrong
        assert_same([network.theta], [before])


def test_a_new_vector_in_place_of_theta_reaches_the_layers():
    network, other = MLP([3, 4, 2], rng=0), MLP([3, 4, 2], rng=0)
    step = np.linspace(-1, 1, 26)
    network.theta -= step
    other.theta = other.theta - step
    assert_same([other.theta, other.predict(np.ones((1, 3)))], [network.theta, network.predict(np.ones((1, 3)))])
    assert_views(other)
    with pytest.raises(ValueError, match="shape"):
        other.theta = np.ones(25)
    assert_same([other.theta], [network.theta])


def test_layers_keep_their_values_when_a_network_adopts_them():
    dense, norm = Dense(3, 4, rng=0), BatchNorm(4)
    norm.running_mean += 2
    before = dense.W.copy(), dense.b.copy(), norm.running_mean.copy()
    network = Network([dense, norm])
    assert_same([dense.W, dense.b, norm.running_mean], before)
    assert network.layers == (dense, norm)


def test_a_block_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"vector.*\(26,\).*\(25,\)"):
        MLP([3, 4, 2]).blocks(np.ones(25))


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


def roundings(network):
    """On two sides, forward and backward, each layer adds up 10 terms or the batch, then 8 steps."""
    return 2 * 2 * len(list(network.leaves())) * (10 + N + 8)


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


class Asked(Dense):
    """A layer that remembers whether dX was asked for."""

    def backward(self, dH, cache, need_dX=True):
        self.asked = need_dX
        return super().backward(dH, cache, need_dX)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda low: [low],
        lambda low: [Activation("tanh"), low, Dropout(0.5)],
        lambda low: [Residual([low])],
        lambda low: [Concatenate([LayerNorm(I), low])],
        lambda low: [Sequential([Dropout(0.5), low])],
        lambda low: [Parallel([low], [Dense(2, 1)])],
    ],
)
def test_nothing_is_computed_below_the_lowest_parameters(wrap):
    low, high = Asked(I, I, rng=0), Asked(I, O, rng=1)
    layers = wrap(low)
    under = isinstance(layers[0], Concatenate)  # there, LayerNorm learns below
    width = Sequential(layers).width_after(Sequential(layers).in_features)
    network = Network([*layers, Dense(width, I, rng=2), high])
    network.loss_and_gradient(inputs(width=network.in_features), labels())
    assert (low.asked, high.asked) == (under, True)
    _, cache = network.forward(inputs(width=network.in_features))
    network.backward(np.ones((N, O)), cache)
    assert low.asked is True


# --- state_dict


@each_network
@in_both_dtypes
def test_state_dict_is_that_of_torch(name, dtype):
    network = build(name, dtype)
    own, theirs = network.state_dict(), twin(network).state_dict()
    assert list(own) == list(theirs)
    assert_same(own.values(), [tensor.numpy() for tensor in theirs.values()])
    for array in own.values():
        array += 1  # copies: the network does not feel it
    assert_same(network.state_dict().values(), [tensor.numpy() for tensor in theirs.values()])


@each_network
def test_state_dicts_load_both_ways(name):
    network, other = build(name), NETWORKS[name]()
    other.theta += 1
    other.load_state_dict(twin(network).state_dict())
    assert_same(everything(other)[2:], everything(network)[2:])
    assert_same([other.predict(inputs())], [network.predict(inputs())])
    assert_views(other)
    module = twin(NETWORKS[name]())
    module.load_state_dict({key: torch.tensor(array) for key, array in network.state_dict().items()})
    assert_same([tensor.numpy() for tensor in module.state_dict().values()], network.state_dict().values())


def test_state_dict_crosses_dtypes():
    double, single = build("batch"), build("batch", np.float32)
    double.load_state_dict(single.state_dict())
    assert double.theta.dtype == np.float64
    assert_same([double.theta.astype(np.float32)], [single.theta])
    single.load_state_dict({key: array.tolist() for key, array in double.state_dict().items()})
    assert single.theta.dtype == single.layers[1].running_mean.dtype == np.float32


def changed(**entries):
    """Return the state_dict of zeros of a 3-4-2 network, with other entries: names with _ in place of the dot."""
    state = {key: np.zeros_like(array) for key, array in MLP([3, 4, 2]).state_dict().items()}
    state |= {name[1:].replace("_", "."): value for name, value in entries.items()}
    return {key: value for key, value in state.items() if value is not None}


@in_both_dtypes
@pytest.mark.parametrize(
    ("state", "error", "words"),
    [
        ({}, ValueError, "missing.*0.weight.*0.bias.*2.weight.*2.bias"),
        (changed(_2_bias=None), ValueError, r"missing \['2.bias'\], surplus \[\]"),
        (changed(_4_bias=np.zeros(2)), ValueError, r"missing \[\], surplus \['4.bias'\]"),
        (changed(_2_bias=None, _2_offset=0), ValueError, r"missing \['2.bias'\], surplus \['2.offset'\]"),
        (changed(_2_weight=np.zeros((4, 2))), ValueError, r"2.weight: expected shape \(2, 4\), got \(4, 2\)"),
        (changed(_2_bias=np.zeros((1, 2))), ValueError, r"2.bias: expected shape \(2,\), got \(1, 2\)"),
        (changed(_2_bias=0.0), ValueError, r"2.bias: expected shape \(2,\), got \(\)"),
        (changed(_2_bias=[0, np.nan]), ValueError, "2.bias: expected finite"),
        (changed(_2_bias=[0, -np.inf]), ValueError, "2.bias: expected finite"),
        (changed(_2_bias=["0", "1"]), TypeError, "2.bias: expected numbers, got dtype <U1"),
        (changed(_2_bias=[0, None]), TypeError, "2.bias: expected numbers, got dtype object"),
        (changed(_2_bias=[0, 1j]), TypeError, "2.bias: expected numbers, got dtype complex128"),
    ],
)
def test_a_bad_state_dict_changes_nothing(state, error, words, dtype):
    network = MLP([3, 4, 2], rng=0, dtype=dtype)
    before = everything(network)
    with pytest.raises(error, match=f"state_dict: .*{words}"):
        network.load_state_dict(state)
    assert_same(everything(network), before)


def test_numbers_beyond_float32_are_not_loaded_as_infinity():
    network = MLP([3, 4, 2], rng=0, dtype=np.float32)
    before = everything(network)
    with pytest.raises(ValueError, match=r"2\.bias: expected finite"):
        network.load_state_dict(changed(_2_bias=[0, 1e300]))
    assert_same(everything(network), before)


# --- Copies

COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda network: pickle.loads(pickle.dumps(network)),
    "astype": lambda network: network.astype(network.dtype),
}


@each_network
@pytest.mark.parametrize("way", COPIES)
def test_a_copy_does_the_same_and_is_independent(name, way):
    network = build(name)
    clone = COPIES[way](network)
    assert type(clone) is type(network) and repr(clone) == repr(network)
    assert_same(clone.state_dict().values(), network.state_dict().values())
    for _ in range(2):  # the same dropout masks, the same statistics
        assert_same([clone.predict(inputs())], [network.predict(inputs())])
        loss, gradient = network.loss_and_gradient(inputs(), labels())
        clone_loss, clone_gradient = clone.loss_and_gradient(inputs(), labels())
        assert clone_loss == loss
        assert_same([clone_gradient], [gradient])
    before = everything(network)
    clone.theta += 1
    clone.loss_and_gradient(inputs(5, seed=2), labels(5))
    assert_same(everything(network), before)
    assert_views(clone)
    assert_views(network)


def test_a_copy_draws_its_own_dropout_masks():
    network = build("dropout")
    clone, other = copy.deepcopy(network), copy.deepcopy(network)
    clone.forward(inputs(), training=True)
    assert_same([network.forward(inputs(), training=True)[0]], [other.forward(inputs(), training=True)[0]])


@each_network
def test_astype_rounds_the_parameters_and_nothing_else(name):
    network = build(name)
    single = network.astype(np.float32)
    assert single.dtype == single.theta.dtype == single.gradient.dtype == np.float32
    assert single.predict(inputs()).dtype == single.forward(inputs())[0].dtype == np.float32
    expected = [a.astype(np.float32) if a.dtype.kind == "f" else a for a in network.state_dict().values()]
    assert_same(single.state_dict().values(), expected)
    assert network.theta.dtype == np.float64
    assert_views(single)


def test_float32_network_is_float64_network_rounded():
    options = dict(activation="tanh", normalization="layer", dropout=0.5, rng=3)
    single, double = MLP([4, 5, 3], dtype=np.float32, **options), MLP([4, 5, 3], **options)
    assert_same([single.theta], [double.theta.astype(np.float32)])
    H, expected = (network.forward(inputs(width=4), training=True)[0] for network in (single, double))
    # Two layers of at most 5 terms and a dozen steps; a value dropped by only one of them would be far off.
    assert_close(H, expected, operations=2 * (5 + 12), scale=2 * np.abs(expected).max())


@pytest.mark.parametrize("dtype", [np.float32, "float32", np.dtype("float32")])
def test_a_dtype_is_what_numpy_takes_for_one(dtype):
    assert MLP([2, 1], dtype=dtype).dtype == Network([Dense(2, 1)], dtype=dtype).dtype == np.float32
    assert MLP([2, 1]).astype(dtype).theta.dtype == np.float32


def test_the_dtype_is_that_of_the_first_parameter_unless_given():
    assert Network([Activation("relu"), Dense(2, 3, dtype=np.float32), Dense(3, 1)]).theta.dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float16, int, bool, object])
def test_another_dtype_is_refused(dtype):
    network = MLP([2, 1])
    for build_it in (lambda: Network([Dense(2, 1)], dtype=dtype), lambda: network.astype(dtype)):
        with pytest.raises(TypeError, match=f"dtype: expected float64 or float32, got {np.dtype(dtype)}"):
            build_it()
    assert_views(network)


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


# --- MLP


@pytest.mark.parametrize(
    ("options", "layers"),
    [
        (dict(activation="tanh"), ["Dense(4, 3)", "'tanh'", "Dense(3, 2)", "'tanh'", "Dense(2, 1)"]),
        (
            dict(activation=["tanh", "relu"]),
            ["Dense(4, 3)", "'tanh'", "Dense(3, 2)", "'relu'", "Dense(2, 1)"],
        ),
        (
            dict(activation=["relu"] * 3),
            ["Dense(4, 3)", "'relu'", "Dense(3, 2)", "'relu'", "Dense(2, 1)", "'relu'"],
        ),
        (dict(activation=[None, "relu"]), ["Dense(4, 3)", "Dense(3, 2)", "'relu'", "Dense(2, 1)"]),
        (dict(activation=None), ["Dense(4, 3)", "Dense(3, 2)", "Dense(2, 1)"]),
        (
            dict(activation=None, normalization="batch", dropout=0.25, bias=False),
            [
                "Dense(4, 3, bias=False)",
                "BatchNorm(3)",
                "Dropout(0.25)",
                "Dense(3, 2, bias=False)",
                "BatchNorm(2)",
                "Dropout(0.25)",
                "Dense(2, 1, bias=False)",
            ],
        ),
        (
            dict(activation=["elu"] * 3, normalization="layer", dropout=0.5),
            [
                "Dense(4, 3)",
                "LayerNorm(3)",
                "'elu'",
                "Dropout(0.5)",
                "Dense(3, 2)",
                "LayerNorm(2)",
                "'elu'",
                "Dropout(0.5)",
                "Dense(2, 1)",
                "'elu'",
            ],
        ),
    ],
)
def test_an_mlp_is_made_of(options, layers):
    expected = [f"Activation({layer})" if layer.startswith("'") else layer for layer in layers]
    assert [repr(layer) for layer in MLP([4, 3, 2, 1], **options).layers] == expected


def test_an_mlp_with_functions_of_your_own():
    pair = (np.square, lambda dH, A: np.multiply(dH, 2 * A))
    network = MLP([3, 4, 4, 2], activation=pair, rng=0)
    assert [repr(layer) for layer in network.layers[1::2]] == ["Activation('square')"] * 2
    assert check_gradient(network, inputs(width=3), np.arange(N) % 2)


def test_one_seed_gives_one_mlp():
    one, same, other = (MLP([3, 4, 2], rng=rng) for rng in (0, np.random.default_rng(0), 1))
    assert_same([same.theta], [one.theta])
    assert not np.any(other.theta == one.theta)
    # Dropout draws after all weights: it changes none of them.
    assert_same([MLP([3, 4, 2], rng=0, dropout=0.5).theta], [one.theta])


def test_every_dropout_layer_of_an_mlp_draws_other_masks():
    def kept(network):
        """Return the values that each dropout layer keeps of a batch of ones."""
        dropouts = [layer for layer in network.layers if isinstance(layer, Dropout)]
        return [layer.forward(np.ones((5, 20)), training=True)[0] for layer in dropouts]

    first, second = kept(MLP([3, 4, 4, 2], dropout=0.5, rng=0))
    assert np.any(first != second)
    assert_same(kept(MLP([3, 4, 4, 2], dropout=0.5, rng=0)), [first, second])
    assert np.any(kept(MLP([3, 4, 4, 2], dropout=0.5, rng=1))[0] != first)


def test_an_mlp_starts_as_the_initializers_say():
    network = MLP([3, 4, 2], weight_init="zeros", bias_init=partial(constant, value=0.5))
    for name, block in network.blocks(network.theta).items():
        assert np.all(block == (0.5 if name.endswith("bias") else 0))


@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        (([3, 0, 2],), {}, ValueError, "at least 1, got 0"),
        (([3, 4, -2],), {}, ValueError, "at least 1, got -2"),
        (([0, 4],), {}, ValueError, "at least 1, got 0"),
        (([3, 4.0, 2],), {}, TypeError, "integer.*got 4.0"),
        (([3, True, 2],), {}, TypeError, "integer.*got True"),
        ((["3", 2],), {}, TypeError, "integer.*got '3'"),
        (([3],), {}, ValueError, r"sizes.*inputs, the outputs.*got \[3\]"),
        (([],), {}, ValueError, r"sizes.*inputs, the outputs.*got \[\]"),
        (([3, 4, 5, 2], ["relu"]), {}, ValueError, "list of 2 for the hidden layers.*list of 3.*got 1"),
        (([3, 4, 2], ["relu"] * 3), {}, ValueError, "list of 1 for the hidden layers.*list of 2.*got 3"),
        (([3, 4, 2], "relu7"), {}, ValueError, "activation: expected one of .*relu.*got 'relu7'"),
        (([3, 4, 2], ["tanh", "relu7"]), {}, ValueError, "activation: expected one of .*relu.*got 'relu7'"),
        (([3, 4, 4, 2], ("tanh", "relu")), {}, TypeError, "activation: expected a list of one per layer, .*'tanh'"),
        (([3, 4, 4, 2], ("tanh", np.tanh)), {}, TypeError, "activation: expected a list of one per layer, .*'tanh'"),
        (([3, 4, 2], 3), {}, TypeError, "activation: expected a name or a pair.*got 3"),
        (
            ([3, 4, 2],),
            {"normalization": "group"},
            ValueError,
            "normalization: .*batch, layer, rms; got 'group'",
        ),
        (([3, 4, 2],), {"dropout": 1.5}, ValueError, "dropout: expected a number.*1.5"),
        (([3, 4, 2],), {"dropout": -0.5}, ValueError, "dropout: expected a number.*-0.5"),
        (([3, 4, 2],), {"weight_init": "he"}, ValueError, "initializer.*'he'"),
        (([3, 4, 2],), {"bias_init": "one"}, ValueError, "initializer.*'one'"),
        (([3, 4, 2],), {"dtype": np.float16}, TypeError, "float64 or float32, got float16"),
    ],
)
def test_an_mlp_refuses(arguments, options, error, words):
    with pytest.raises(error, match=words):
        MLP(*arguments, **options)


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
        (np.ones((2, 4)), ValueError, r"X: expected shape \(N, 3\).*got \(2, 4\)"),
        (np.ones((3, 2)), ValueError, r"X: expected shape \(N, 3\).*got \(3, 2\)"),
        (np.ones((2, 3, 1)), ValueError, r"X: expected shape \(N, 3\).*got \(2, 3, 1\)"),
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
        ([0, 1], "cross_entropy", ValueError, "target"),
        (np.ones((N - 1, O)), "mse_loss", ValueError, "target"),
        (np.ones((N, O + 1)), "mse_loss", ValueError, "target"),
        (np.full(N, O), "cross_entropy", ValueError, "target"),
        (
            np.full((N, O), np.nan),
            "mse_loss",
            ValueError,
            r"y: expected finite numbers, got nan at index \(0, 0\)",
        ),
        ([["a"] * O] * N, "mse_loss", TypeError, "target"),
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


@pytest.mark.parametrize("layers", [lambda: [Dropout(0.5)], lambda: [Activation("identity")], lambda: [Dense(I, O)]])
def test_predict_gives_a_new_array(layers):
    network, X = Network(layers()), inputs()
    H = network.predict(X)
    H += 1
    assert_same([X], [inputs()])
    assert np.all(network.predict(X) != H)


@each_network
@in_both_dtypes
def test_blocks_give_what_one_block_gives(name, dtype):
    network, X = build(name, dtype), inputs(2500)
    whole = network.predict(X, batch_size=2500)
    for batch_size in (1, 7, 1024, 2499, 10**6):
        H = network.predict(X[: 50 * batch_size], batch_size=batch_size)
        # Matrices of other sizes are multiplied in another order of the same sums.
        assert_close(H, whole[: len(H)], operations=roundings(network), scale=max(1.0, np.abs(whole).max()))
    assert network.predict(X).shape == (2500, O)
    assert_close(network.predict(X), whole, operations=roundings(network), scale=max(1.0, np.abs(whole).max()))


def test_a_memmap_is_read_in_blocks(tmp_path):
    X = inputs(2500).astype(np.float32)
    X.tofile(tmp_path / "X.bin")
    mapped = np.memmap(tmp_path / "X.bin", np.float32, "r", shape=X.shape)
    network = build("sigmoid")
    assert_same([network.predict(mapped, batch_size=100)], [network.predict(X, batch_size=100)])


def test_an_error_in_a_later_block_names_the_row():
    X = inputs(3000)
    X[2100, 4] = np.nan
    with pytest.raises(ValueError, match=r"nan at index \(2100, 4\)"):
        build("sigmoid").predict(X, batch_size=1000)


@pytest.mark.parametrize(
    ("batch_size", "error"), [(0, ValueError), (-1, ValueError), (2.5, TypeError), (True, TypeError)]
)
def test_a_bad_batch_size_is_an_error(batch_size, error):
    with pytest.raises(error, match=f"batch_size: expected an integer of at least 1, got {batch_size}"):
        build("sigmoid").predict(inputs(), batch_size=batch_size)


@each_network
def test_many_threads_may_predict_at_once(name):
    threads, rounds = 8, 10
    network = build(name)
    batches = [inputs(3 + 40 * i, seed=i) for i in range(threads)]
    expected = [network.predict(X, batch_size=100) for X in batches]
    gradient = network.loss_and_gradient(inputs(), labels(), training=False)[1].copy()
    barrier = threading.Barrier(threads + 1, timeout=30)

    def repeatedly(work):
        results = []
        for _ in range(rounds):
            barrier.wait()
            results.append(work().copy())
        return results

    with ThreadPoolExecutor(threads + 1) as pool:
        jobs = [pool.submit(repeatedly, lambda X=X: network.predict(X, batch_size=100)) for X in batches]
        backward = pool.submit(repeatedly, lambda: network.loss_and_gradient(inputs(), labels(), training=False)[1])
        for job, alone in zip(jobs, expected, strict=True):
            assert_same(job.result(), [alone] * rounds)
        assert_same(backward.result(), [gradient] * rounds)


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


def test_a_shallow_copy_is_a_network_of_its_own():
    network = MLP([3, 2], rng=0)
    copied = copy.copy(network)
    copied.theta += 1
    assert not np.shares_memory(copied.theta, network.theta)
    np.testing.assert_array_equal(copied.theta, network.theta + 1)


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


class Counting(Activation):
    """A layer that remembers how many rows it was given at a time."""

    def __init__(self):
        super().__init__("tanh")
        self.rows = []

    def predict(self, A):
        self.rows.append(len(A))
        return super().predict(A)


@pytest.mark.parametrize(
    ("width", "options", "rows"),
    [(2, {}, [1500]), (256, {}, [1024, 476]), (4096, {}, [256] * 5 + [220]), (2, {"batch_size": 700}, [700, 700, 100])],
)
def test_prediction_takes_so_many_rows_at_a_time(width, options, rows):
    layer = Counting()
    Network([Dense(I, width), layer]).predict(inputs(1500), **options)
    assert layer.rows == rows


def test_a_complex_copy_gives_the_gradient_by_a_complex_step():
    """Im f(theta + ih e_j) / h: exact but for the roundings, which are those of the loss, of a size of about one."""
    network = MLP([I, 4, O], activation="tanh", normalization="layer", rng=0)
    gradient = network.loss_and_gradient(inputs(), labels())[1]
    moved = network.astype(np.complex128)
    assert moved.theta.dtype == moved.gradient.dtype == np.complex128
    slopes = np.empty_like(gradient)
    for j in range(network.theta.size):
        moved.theta[j] += 1e-20j
        slopes[j] = cross_entropy(moved.forward(inputs())[0], labels()).imag / 1e-20
        moved.theta[j] = network.theta[j]
    assert_close(slopes, gradient, operations=roundings(network) + N * O, scale=1.0)


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


def test_a_new_vector_in_place_of_gradient_reaches_the_layers():
    network = MLP([3, 4, 2], rng=0)
    network.gradient = np.arange(26.0)
    assert_same([network.layers[0].dW], [np.arange(12.0).reshape(4, 3)])
    assert_views(network)


def test_a_pickle_holds_every_parameter_once():
    network = MLP([100, 1000, 10])
    once = network.theta.nbytes + network.gradient.nbytes
    assert once < len(pickle.dumps(network)) < 1.1 * once


@pytest.mark.parametrize("way", [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))])
def test_a_copy_of_a_network_that_learns_nothing_keeps_its_dtype(way):
    network = Network([Activation("tanh")], dtype=np.float32)
    assert way(network).dtype == way(network).theta.dtype == np.float32


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
    assert network._gradient_writer.acquire()
    with pytest.raises(RuntimeError, match=r"^gradient: expected one backward pass at a"):
        network.loss_and_gradient(np.ones((1, 3)), [0])
    network._gradient_writer.release()
    network.loss_and_gradient(np.ones((1, 3)), [0])


def test_a_prediction_belongs_to_one_set_of_weights():
    """While one thread loads all-ones and all-twos in turns, outputs are those of one of them."""
    network, X = MLP([8, 64, 64, 1], activation="identity", bias=False, rng=0), np.ones((4, 8))
    states = [{name: np.full_like(array, value) for name, array in network.state_dict().items()} for value in (1, 2)]
    allowed, found, done = set(), set(), threading.Event()
    for state in states:
        network.load_state_dict(state)
        allowed |= set(network.predict(X).ravel().tolist())

    def predict():
        while not done.is_set():
            found.update(network.predict(X).ravel().tolist())

    threads = [threading.Thread(target=predict) for _ in range(3)]
    for thread in threads:
        thread.start()
    for k in range(2000):
        network.load_state_dict(states[k % 2])
    done.set()
    for thread in threads:
        thread.join()
    assert found <= allowed and len(found) == 2


def test_impossible_statistics_are_refused_and_old_files_taken():
    network = MLP([3, 4, 2], normalization="batch", rng=0)
    state = network.state_dict()
    for name in ("1.running_var", "1.num_batches_tracked"):
        with pytest.raises(ValueError, match=f"{name}: expected numbers of at least 0, got -1"):
            network.load_state_dict(state | {name: np.full_like(state[name], -1)})
    network.load_state_dict({name: array for name, array in state.items() if not name.endswith("tracked")})


def test_tensors_are_taken_and_masked_arrays_refused():
    network = MLP([3, 2], rng=0)
    X = torch.ones((2, 3), dtype=torch.float64, requires_grad=True)
    np.testing.assert_array_equal(network.predict(X), network.predict(np.ones((2, 3))))
    with pytest.raises(TypeError, match="X: expected an array without a mask"):
        network.predict(np.ma.masked_array(np.ones((2, 3)), mask=True))


@pytest.mark.parametrize("samples", [5, 3000])
def test_predict_until_gives_the_outputs_of_a_layer(samples):
    network, X = MLP([I, 4, 5, O], activation="tanh", rng=0), inputs(samples)
    values = network.forward(X)[1].values
    for depth in range(len(network.layers) + 1):
        assert_same([network.predict_until(X, depth, batch_size=1000)], [values[depth]])


def test_backpropagate_has_the_defaults_of_its_checked_form():
    checked, bare = (inspect.signature(f).parameters for f in (Network.loss_and_gradient, Network.backpropagate))
    assert {name: p.default for name, p in bare.items()} == {name: p.default for name, p in checked.items()}


def test_a_loss_of_probabilities_takes_any_last_layer():
    network = MLP([I, 1], weight_init="zeros", bias_init=partial(constant, value=0.25))
    loss, gradient = network.loss_and_gradient(inputs(), np.ones((N, 1)), "binary_cross_entropy")
    assert loss == -np.log(0.25)
    assert gradient[-1] == -4  # d(-log p) / dp
