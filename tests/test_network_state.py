"""theta, gradient and state_dict: one vector, views into it, copies, dtypes and files of torch."""

from __future__ import annotations

import copy
import pickle

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
    roundings,
)
from oracles import assert_close

from handmade.composites import Concatenate, Parallel, Residual
from handmade.dropout import Dropout
from handmade.layers import Activation, Dense
from handmade.losses import cross_entropy
from handmade.mlp import MLP
from handmade.network import Network, Sequential
from handmade.normalization import BatchNorm, LayerNorm
from reference.twin import twin

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


@pytest.mark.parametrize(
    ("vector", "words"),
    [([[1.0], [2.0, 3.0]], "^vector: expected"), (["a"] * 26, "^vector: expected numbers, got dtype <U1")],
)
def test_a_block_of_no_numbers_is_refused_by_name(vector, words):
    with pytest.raises((TypeError, ValueError), match=words):
        MLP([3, 4, 2]).blocks(vector)


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
        (changed(_2_bias=None), ValueError, r"missing \['2.bias'\], unknown \[\]"),
        (changed(_4_bias=np.zeros(2)), ValueError, r"missing \[\], unknown \['4.bias'\]"),
        (changed(_2_bias=None, _2_offset=0), ValueError, r"missing \['2.bias'\], unknown \['2.offset'\]"),
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


@pytest.mark.parametrize("count", [2.5, 1e30])
def test_a_count_that_is_no_integer_is_not_loaded(count):
    network = Network([Dense(3, 4, rng=0), BatchNorm(4)])
    state = network.state_dict()
    with pytest.raises(ValueError, match=r"^state_dict: 1\.num_batches_tracked: expected integers, got "):
        network.load_state_dict(state | {"1.num_batches_tracked": np.array(count)})
    network.load_state_dict(state | {"1.num_batches_tracked": np.array(3.0)})
    assert network.layers[1].num_batches_tracked == 3


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


def test_a_shallow_copy_is_a_network_of_its_own():
    network = MLP([3, 2], rng=0)
    copied = copy.copy(network)
    copied.theta += 1
    assert not np.shares_memory(copied.theta, network.theta)
    np.testing.assert_array_equal(copied.theta, network.theta + 1)


def test_a_complex_copy_gives_the_gradient_by_a_complex_step():
    """Im f(theta + ih e_j) / h: exact but for the roundings, which are those of the loss, of a size of about one."""
    network = MLP([I, 4, O], activation="tanh", normalization="layer", rng=0)
    gradient = network.loss_and_gradient(inputs(), labels())[1]
    moved = network.astype(np.complex128)
    assert moved.theta.dtype == moved.gradient.dtype == network.astype("complex128").theta.dtype == np.complex128
    slopes = np.empty_like(gradient)
    for j in range(network.theta.size):
        moved.theta[j] += 1e-20j
        slopes[j] = cross_entropy(moved.forward(inputs())[0], labels()).imag / 1e-20
        moved.theta[j] = network.theta[j]
    assert_close(slopes, gradient, operations=roundings(network) + N * O, scale=1.0)


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


def test_impossible_statistics_are_refused_and_old_files_taken():
    network = MLP([3, 4, 2], normalization="batch", rng=0)
    state = network.state_dict()
    for name in ("1.running_var", "1.num_batches_tracked"):
        with pytest.raises(ValueError, match=f"{name}: expected numbers of at least 0, got -1"):
            network.load_state_dict(state | {name: np.full_like(state[name], -1)})
    network.load_state_dict({name: array for name, array in state.items() if not name.endswith("tracked")})
