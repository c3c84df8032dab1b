"""The contract of every layer and composite, in one table."""

from __future__ import annotations

import copy
import itertools
import pickle

import numpy as np
import pytest
import torch
from layers_of_tests import assert_same, double_times, numbers, square
from oracles import assert_close, assert_pulls_back

from handmade import activations
from handmade.activation_layers import GLU, PReLU, SwiGLU
from handmade.composites import Concatenate, Parallel, Residual
from handmade.dropout import Dropout
from handmade.layers import Activation, Dense
from handmade.network import Network, Sequential
from handmade.normalization import BatchNorm, LayerNorm
from reference.twin import twin

ACTIVATIONS = [
    *[(name, {}) for name in activations.ACTIVATIONS],
    ("leaky_relu", {"negative_slope": 0.3}),
    ("elu", {"alpha": 0.7}),
    ("gelu", {"approximate": "tanh"}),
    ("softplus", {"beta": 2.0}),
]

# Every kind of layer, for inputs of width I; Parallel takes two more.
KINDS = {
    "dense": lambda I: Dense(I, 4, rng=0),
    "dense, no bias": lambda I: Dense(I, 4, bias=False, rng=0),
    "prelu": lambda I: PReLU(),
    "prelu, a slope per unit": lambda I: PReLU(I),
    "glu": lambda I: Sequential([Dense(I, 4, rng=0), GLU()]),
    "swiglu": lambda I: Sequential([Dense(I, 6, rng=0), SwiGLU()]),
    "dropout": lambda I: Dropout(0.5, rng=0),
    "batch": lambda I: BatchNorm(I, eps=0.1, momentum=0.3),
    "layer": lambda I: LayerNorm(I, eps=0.1),
    "sequential": lambda I: Sequential([Dense(I, 2, rng=0), Activation("tanh"), Dense(2, 3, rng=1)]),
    "residual": lambda I: Residual([Dense(I, 2, rng=0), Activation("tanh"), Dense(2, I, rng=1)]),
    "concatenate": lambda I: Concatenate([Dense(I, 2, rng=0), Activation("sigmoid")]),
    "parallel": lambda I: Parallel([Dense(I, 2, rng=0), Activation("tanh")], [Dense(2, 3, rng=1)]),
    "residual of nothing learnt": lambda I: Residual([Activation("tanh"), Dropout(0.5, rng=0)]),
    "nested": lambda I: Concatenate(
        [
            Dense(I, 3, rng=0),
            Concatenate([LayerNorm(3, eps=0.1), Residual([Dense(3, 3, rng=1), Activation("silu")])]),
            Parallel([Dense(4, 2, rng=2)], [Activation("tanh"), Residual([Dense(2, 2, rng=3)])]),
        ]
    ),
    "nested, batch": lambda I: Residual(
        [Dense(I, 2, rng=0), BatchNorm(2, eps=0.1), Concatenate([Dropout(0.5, rng=0)]), Dense(4, I, rng=1)]
    ),
    **{
        " ".join(map(str, [name, *options.values()])): lambda I, name=name, options=options: Activation(name, **options)
        for name, options in ACTIVATIONS
    },
}


def build(kind, width=3, dtype=np.float64):
    """Return a network of this one layer, with parameters and statistics that are not those of the start."""
    network = Network([KINDS[kind](width)], dtype=dtype)
    network.theta[:] = numbers(network.theta.shape, seed=1)
    for seed in range(2):
        network.forward(inputs_of(network, 4, width, seed=2 + seed), training=True)
    return network


def inputs_of(network, samples, width=3, seed=0):
    return numbers((samples, network.in_features or width), seed, network.dtype)


def contains(network, kind):
    return any(isinstance(leaf, kind) for _, leaf in network.leaves())


def with_frozen_masks(network):
    """Return a forward pass that drops the same values every time."""
    generators = [leaf.rng for _, leaf in network.leaves() if isinstance(leaf, Dropout)]
    states = [generator.bit_generator.state for generator in generators]

    def forward(X, training):
        for generator, state in zip(generators, states, strict=True):
            generator.bit_generator.state = state
        return network.forward(X, training)

    return forward


def passes(network, X, training, seed=5):
    """Return what comes out of a forward and a backward pass: copies of H, dX and the gradient."""
    H, cache = network.forward(X, training)
    dX = network.backward(numbers(H.shape, seed, H.dtype), cache).copy()
    return H, dX, network.gradient.copy()


BATCHED = {kind for kind in KINDS if contains(Network([KINDS[kind](3)]), BatchNorm)}
DROPPING = {kind for kind in KINDS if contains(Network([KINDS[kind](3)]), Dropout)}
LEARNING = [kind for kind in KINDS if Network([KINDS[kind](3)]).theta.size]
# A batch of one has no variance to train with.
SHAPES = [
    (kind, training, samples, width)
    for kind, training, (samples, width) in itertools.product(KINDS, [False, True], [(5, 3), (1, 3), (5, 1), (1, 1)])
    if not (training and samples == 1 and kind in BATCHED)
]

each_kind = pytest.mark.parametrize("kind", KINDS)
in_both_modes = pytest.mark.parametrize("training", [False, True])
in_both_dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32])


# --- The contract


@pytest.mark.parametrize(("kind", "training", "samples", "width"), SHAPES)
def test_backward_pulls_a_random_cotangent_back(kind, training, samples, width):
    network, rng = build(kind, width), np.random.default_rng(6)
    X, forward = inputs_of(network, samples, width), with_frozen_masks(network)
    assert_pulls_back(lambda X: forward(X, training), network.backward, X, rng)
    gradients = network.blocks(network.gradient)
    for name, parameter in network.blocks(network.theta).items():

        def moved(value, parameter=parameter):
            parameter[...] = value
            return forward(X, training)

        def gradient(dH, cache, name=name):
            network.backward(dH, cache)
            return gradients[name]

        assert_pulls_back(moved, gradient, parameter.copy(), rng)


# The table's layers are at most 8 steps deep, a step adds up at most 7 numbers around one, and both sides
# round.
ROUNDINGS = 2 * 8 * 7


@in_both_dtypes
@pytest.mark.parametrize(
    ("kind", "training"),
    [(k, t) for k, t in itertools.product(KINDS, [False, True]) if not (t and k in DROPPING)],
)
def test_torch_gives_the_same_numbers(kind, training, dtype):
    network = build(kind, dtype=dtype)
    module = twin(network).train(training)
    X = inputs_of(network, 7)
    H, dX, gradient = passes(network, X, training)
    torch_X = torch.tensor(X, requires_grad=True)
    torch_H = module(torch_X)
    torch_H.backward(torch.tensor(numbers(H.shape, seed=5, dtype=dtype)))
    gradients = [parameter.grad.reshape(-1).numpy() for parameter in module.parameters()]
    torch_gradient = np.concatenate([np.empty(0, dtype), *gradients])
    for actual, expected in (H, torch_H.detach()), (dX, torch_X.grad), (gradient, torch_gradient):
        expected = np.asarray(expected)
        assert actual.dtype == expected.dtype == dtype
        assert_close(actual, expected, operations=ROUNDINGS, scale=np.abs(expected).max(initial=1.0))


@each_kind
@in_both_modes
def test_gradients_are_replaced_and_not_accumulated(kind, training):
    network = build(kind)
    X = inputs_of(network, 5)
    expected = passes(build(kind), X, training)
    network.gradient[:] = np.nan
    H, cache = network.forward(X, training)
    for _ in range(2):
        dX = network.backward(numbers(H.shape, seed=5), cache)
        assert_same((H, dX, network.gradient), expected)


@each_kind
@in_both_modes
def test_what_goes_in_is_not_changed(kind, training):
    network = build(kind)
    X = inputs_of(network, 5)
    dH = numbers(network.forward(X, training)[0].shape)
    X.flags.writeable = dH.flags.writeable = False
    _, cache = network.forward(X, training)
    network.backward(dH, cache)
    network.predict(X)
    assert_same((X, dH), (inputs_of(network, 5), numbers(dH.shape)))


@each_kind
@in_both_modes
def test_predict_between_forward_and_backward_disturbs_nothing(kind, training):
    network = build(kind)
    other = copy.deepcopy(network)
    X = inputs_of(network, 5)
    expected = passes(other, X, training)
    H, cache = network.forward(X, training)
    state, before = network.state_dict(), H.copy()
    for samples in (5, 9, 2, 1):
        network.predict(inputs_of(network, samples, seed=samples))
    assert_same(network.state_dict().values(), state.values())
    dX = network.backward(numbers(H.shape, seed=5), cache)
    assert_same((H, before, dX, network.gradient), (expected[0], *expected))


@each_kind
@in_both_modes
def test_batches_of_all_sizes_give_what_a_fresh_layer_gives(kind, training):
    network = build(kind)
    for samples in (7, 3, 7, 2, 9, 7):
        fresh = copy.deepcopy(network)
        X = inputs_of(network, samples, seed=samples)
        assert_same(passes(network, X, training), passes(fresh, X, training))
        assert_same(network.state_dict().values(), fresh.state_dict().values())


@each_kind
@in_both_dtypes
@pytest.mark.parametrize("samples", [1, 2, 7, 300])
def test_predict_is_forward_while_evaluating(kind, dtype, samples):
    network = build(kind, dtype=dtype)
    X = inputs_of(network, samples)
    H, P = network.forward(X, training=False)[0], network.predict(X)
    if contains(network, BatchNorm | LayerNorm):
        # gamma / sqrt(var + eps) is one factor there and two here: 4 roundings on either side, of the product
        # of |X - mean| and |gamma| / sqrt(var + 0.1), at most 3 and 5. In the nested kinds at most two Dense
        # layers follow: four weights of at most 1.5 each, which multiply the error by 6.
        assert_close(P, H, operations=8, scale=3 * 5 * (1 if kind in ("batch", "layer") else 6**2))
    else:
        assert_same([P], [H])


@pytest.mark.parametrize("kind", LEARNING)
@in_both_modes
def test_without_dX_the_gradients_are_the_same(kind, training):
    network = build(kind)
    other, X = copy.deepcopy(network), inputs_of(network, 5)
    _, dX, gradient = passes(network, X, training)
    H, cache = other.forward(X, training)
    dH = numbers(H.shape, seed=5)
    assert other.backward(dH, cache, need_dX=False) is None
    assert_same([other.gradient], [gradient])
    assert np.any(dX)


@each_kind
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_a_copy_of_a_layer_is_the_same_and_independent(kind, duplicate):
    network = build(kind)
    X = inputs_of(network, 5)
    [layer] = network.layers
    layer.forward(X)
    clone = Network([duplicate(layer)], dtype=network.dtype)
    assert_same([clone.theta, clone.predict(X)], [network.theta, network.predict(X)])
    assert_same(passes(clone, X, training=True), passes(network, X, training=True))
    before = network.predict(X)
    clone.theta += 1
    passes(clone, inputs_of(network, 5, seed=3), training=True)
    assert_same([network.predict(X)], [before])


@each_kind
def test_the_width_that_comes_out_is_the_width_that_was_said(kind):
    network = build(kind)
    X = inputs_of(network, 2)
    assert network.width_after(X.shape[1]) == network.predict(X).shape[1] == network.forward(X)[0].shape[1]
    if network.in_features:
        with pytest.raises(ValueError, match=f"expected .*{network.in_features}.* got {network.in_features + 1}"):
            network.layers[0].width_after(network.in_features + 1)


# --- Contracts


@pytest.mark.parametrize("dtype", [int, "float16", "flaot32", object])
def test_a_layer_computes_in_float64_or_float32(dtype):
    with pytest.raises(TypeError, match="dtype: expected float64 or float32, got"):
        Dense(3, 2, dtype=dtype)


# --- What is said and left unsaid


@each_kind
def test_layer_defaults_to_evaluation_and_dX(kind):
    layer, other = KINDS[kind](3), KINDS[kind](3)
    X = inputs_of(Network([KINDS[kind](3)]), 4)
    (H, cache), (expected, other_cache) = layer.forward(X), other.forward(X, training=False)
    dH = np.ones_like(H)
    assert_same([H, layer.backward(dH, cache)], [expected, other.backward(dH, other_cache, need_dX=True)])


def test_defaults_are_those_of_torch_where_torch_has_them():
    assert Dropout().p == torch.nn.Dropout().p == 0.5
    assert repr(Activation()) == "Activation('relu')"
    assert "bias" in Dense(1, 1).parameters and torch.nn.Linear(1, 1).bias is not None


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [
        (lambda: Dense(0, 1), ValueError, "^in_features: expected"),
        (lambda: Dense(1, 0), ValueError, "^out_features: expected"),
        (lambda: Dense(1, 1, bias=1), TypeError, "^bias: expected"),
        (lambda: Dropout(2.0), ValueError, "^p: expected"),
        (lambda: Activation((lambda A: A.sum(), double_times)), TypeError, "expected f to return an array"),
        (lambda: Activation((square, lambda dH, A: 1.0)), TypeError, "expected f_backward to return an array"),
    ],
)
def test_an_error_begins_with_the_argument_that_is_wrong(build, error, words):
    with pytest.raises(error, match=words):
        build()


@pytest.mark.parametrize(
    "layer", [Dense(4, 4, rng=0), Activation("tanh"), Dropout(0.5, rng=0), BatchNorm(4), LayerNorm(4)], ids=str
)
def test_a_shallow_copy_remembers_for_itself(layer):
    X, dH = numbers((5, 4)), numbers((5, 4), seed=1)
    _, cache = layer.forward(X, training=True)
    expected = layer.backward(dH, cache).copy()
    copy.copy(layer).forward(2 * X, training=True)
    np.testing.assert_array_equal(layer.backward(dH, cache), expected)


@pytest.mark.parametrize(
    "layer, training, predicting",
    [
        (Dense(3, 2), True, True),
        (Dropout(0.5), False, True),
        (BatchNorm(3), False, True),
        (Sequential([Dense(3, 3), Dropout(0.5)]), False, True),
        (Parallel([Dense(3, 3)], [BatchNorm(3)]), False, True),
    ],
)
def test_layers_tell_whether_rows_are_independent(layer, training, predicting):
    assert layer.rows_are_independent(True) is training
    assert layer.rows_are_independent(False) is predicting
