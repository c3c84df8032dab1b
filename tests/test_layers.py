"""The contract of every layer and composite, in one table; then Dense, Activation, Dropout and Memory alone.

Numbers have magnitudes from 0.5 to 1.5: around one, and away from the kinks at zero, so that differences
apply to ReLU too.
"""

from __future__ import annotations

import copy
import itertools
import math
import pickle
from typing import ClassVar

import numpy as np
import pytest
import torch
from oracles import assert_close, assert_pulls_back

import handmade as hm
from handmade import activations
from handmade.activation_layers import GLU, PReLU, SwiGLU
from handmade.composites import Concatenate, Parallel, Residual
from handmade.layers import Activation, AlphaDropout, Dense, Dropout, Layer
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


def numbers(shape, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return (rng.choice([-1, 1], shape) * rng.uniform(0.5, 1.5, shape)).astype(dtype)


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


def assert_same(actual, expected):
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


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


# --- Layer


def test_a_layer_that_lacks_a_pass_says_which():
    class Half(Layer):
        pass

    for method, arguments in ("forward", [1]), ("backward", [1, 2]), ("predict", [1]):
        with pytest.raises(NotImplementedError, match=f"Half defines no {method.replace('predict', 'forward')}"):
            getattr(Half(), method)(*arguments)


@pytest.mark.parametrize("arguments", ["dH", "dH, need_dX=True"])
def test_a_backward_without_a_cache_is_refused_with_the_new_form(arguments):
    expected = r"^Old\.backward: expected backward\(self, dH, cache, need_dX=True\), got \(dH.*let forward"
    with pytest.raises(TypeError, match=expected):
        exec(f"class Old(Layer):\n    def backward(self, {arguments}): pass", {"Layer": Layer})


# --- Dense


def test_dense_by_hand():
    layer = Dense(2, 3)
    layer.W, layer.b = [[1, 2], [3, 4], [5, 6]], [10, 20, 30]
    X = np.array([[1.0, -1.0], [2.0, 0.0]])
    A, cache = layer.forward(X)
    assert A.tolist() == [[9, 19, 29], [12, 26, 40]]
    assert layer.backward(np.array([[1.0, 0, 0], [0, 1, -1]]), cache).tolist() == [[1, 2], [-2, -2]]
    assert layer.dW.tolist() == [[1, -1], [2, 0], [-2, 0]]
    assert layer.db.tolist() == [1, 1, -1]
    assert (layer.neuron_count, layer.weight_count) == (3, 6)


def test_dense_without_bias_has_none():
    layer = Dense(2, 3, bias=False)
    assert layer.parameters == {"weight": "W"}
    assert not hasattr(layer, "b") and not hasattr(layer, "db")


@pytest.mark.parametrize(
    "name, shape", [("W", (3, 4)), ("W", (5, 3)), ("W", (3,)), ("W", (1, 3)), ("b", (3,)), ("b", (1,))]
)
def test_assigning_a_wrong_shape_is_an_error_and_changes_nothing(name, shape):
    layer = Dense(3, 4, rng=0)
    before = getattr(layer, name).copy()
    with pytest.raises(ValueError, match="shape"):
        setattr(layer, name, np.ones(shape))
    assert_same([getattr(layer, name)], [before])


def test_one_seed_gives_one_layer_in_both_dtypes():
    one, same, other = Dense(3, 4, rng=0), Dense(3, 4, rng=np.random.default_rng(0)), Dense(3, 4, rng=1)
    single = Dense(3, 4, rng=0, dtype=np.float32)
    assert_same([same.W, same.b], [one.W, one.b])
    assert_same([single.W, single.b], [one.W.astype(np.float32), one.b.astype(np.float32)])
    assert not np.any(other.W == one.W)


def test_initializers_are_told_the_shape_and_the_fans():
    message = []

    def initializer(shape, fan_in, fan_out, rng):
        message.append((shape, fan_in, fan_out, type(rng)))
        return np.full(shape, len(message))

    layer = Dense(3, 4, weight_init=initializer, bias_init=initializer)
    assert message == [((4, 3), 3, 4, np.random.Generator), ((4,), 3, 4, np.random.Generator)]
    assert np.all(layer.W == 1) and np.all(layer.b == 2)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        ((0, 1), {}, ValueError, "in_features.*at least 1.*0"),
        ((1, -2), {}, ValueError, "out_features.*at least 1.*-2"),
        ((2.0, 1), {}, TypeError, "in_features.*integer.*2.0"),
        ((1, True), {}, TypeError, "out_features.*integer.*True"),
        (("3", 1), {}, TypeError, "in_features.*integer.*'3'"),
        ((1, 1), {"weight_init": "he"}, ValueError, "initializer.*kaiming_normal.*'he'"),
        ((1, 1), {"bias_init": 0.0}, TypeError, "initializer.*name or a function.*0.0"),
        ((1, 2), {"weight_init": lambda shape, I, O, rng: np.ones(3)}, ValueError, r"W.*\(2, 1\).*\(3,\)"),
        ((1, 2), {"bias_init": lambda shape, I, O, rng: 0.0}, ValueError, r"b.*\(2,\).*\(\)"),
    ],
)
def test_dense_refuses(arguments, options, error, words):
    with pytest.raises(error, match=words):
        Dense(*arguments, **options)


# --- Activation


def square(A):
    return np.multiply(A, A)


def double_times(dH, A):
    return np.multiply(dH, 2 * A)


def double_root_times(dH, H):
    return np.multiply(dH, 2 * np.sqrt(H))


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
        ("swish", {}, ValueError, "sigmoid, tanh, relu.*'swish'"),
        (None, {}, TypeError, "name or a pair.*None"),
        (np.tanh, {}, TypeError, "name or a pair.*tanh"),
        ((np.tanh, 1), {}, TypeError, "name or a pair"),
        ((square, double_times, square), {}, TypeError, "name or a pair"),
        ("relu", {"negative_slope": 0.1}, TypeError, "negative_slope"),
        ("gelu", {"approximate": "erf"}, ValueError, "'none' or 'tanh'.*'erf'"),
    ],
)
def test_activation_refuses(function, options, error, words):
    with pytest.raises(error, match=words):
        Activation(function, **options)


@pytest.mark.parametrize("takes", ["A", "H"])
def test_dry_run_uses_numbers_up_to_1(takes):
    """An activation may have no value elsewhere."""
    seen = []

    def f(A):
        if not ((A > 0) & (A <= 1)).all():
            raise ValueError("undefined")
        return np.add(A, 7)

    def with_A(dH, A):
        seen.append(A)
        return np.positive(dH)

    def with_H(dH, H):
        return with_A(dH, H)

    Activation((f, with_A if takes == "A" else with_H))
    assert seen and all(((array > 7) == (takes == "H")).all() for array in seen)


# --- Dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_mean(p):
    count = 100_000
    H = Dropout(p, rng=0).forward(np.ones((count // 100, 100)), training=True)[0]
    kept = 1 / (1 - p)
    assert_close(np.unique(H), [0, kept], operations=2)
    # The mean of so many values of variance p / (1 - p) is five standard deviations off once in two million.
    assert abs(H.mean() - 1) <= 5 * math.sqrt(p / (1 - p) / count)


@pytest.mark.parametrize(("p", "factor"), [(0, 1), (0.0, 1), (1, 0), (1.0, 0)])
def test_dropout_of_nothing_and_of_everything(p, factor):
    layer, X = Dropout(p, rng=0), numbers((50, 20))
    H, cache = layer.forward(X, training=True)
    assert_same([H, layer.backward(2 * X, cache)], [factor * X, factor * 2 * X])


def test_one_seed_drops_the_same_values_in_both_dtypes():
    X = np.ones((20, 30))
    H = Dropout(0.5, rng=3).forward(X, training=True)[0]
    single = Dropout(0.5, rng=np.random.default_rng(3)).forward(X.astype(np.float32), training=True)[0]
    assert single.dtype == np.float32
    assert_same([single], [H.astype(np.float32)])
    assert np.any(Dropout(0.5, rng=4).forward(X, training=True)[0] != H)


def test_the_mask_is_drawn_in_float32():
    layer, X = Dropout(0.3, rng=5), np.ones((4, 3))
    drawn = np.random.default_rng(5).random((2, 4, 3), dtype=np.float32)
    for batch in range(2):
        assert_same([layer.forward(X, training=True)[0]], [(drawn[batch] >= 0.3) / 0.7])


def test_dropout_backward_uses_the_mask_of_its_cache():
    layer, X = Dropout(0.5, rng=0), numbers((20, 30))
    first, cache = layer.forward(X, training=True)
    second, later = layer.forward(X, training=True)
    assert np.any(first != second)
    assert_same([layer.backward(X, cache), layer.backward(X, later)], [first, second])


def test_dropout_is_the_identity_while_evaluating():
    layer, X = Dropout(0.5, rng=0), numbers((20, 30))
    state = layer.rng.bit_generator.state
    H, cache = layer.forward(X)
    assert_same([H, layer.backward(2 * X, cache), layer.predict(X)], [X, 2 * X, X])
    assert layer.rng.bit_generator.state == state


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan, 50])
def test_dropout_refuses_what_is_no_probability(p):
    with pytest.raises(ValueError, match=rf"p: expected a number in \[0, 1\], got {p}"):
        Dropout(p)


# --- Contracts


@pytest.mark.parametrize("name", ["W", "b", "dW", "db"])
def test_assigning_writes_into_the_vectors_of_the_network(name):
    layer = Dense(3, 2, rng=0)
    network = Network([layer])
    vector = network.gradient if name.startswith("d") else network.theta
    new = np.arange(getattr(layer, name).size, dtype=float).reshape(getattr(layer, name).shape) + 7
    setattr(layer, name, new)
    block = "0.weight" if name.endswith("W") else "0.bias"
    np.testing.assert_array_equal(network.blocks(vector)[block], new)


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


class Doubling(Layer):
    """A layer that makes its parameter by assigning it."""

    parameters: ClassVar = {"weight": "w"}

    def __init__(self):
        super().__init__()
        self.w = [2.0, 2.0]


def test_assigning_a_parameter_makes_it_and_its_gradient():
    layer = Doubling()
    assert_same([layer.w, layer.dw], [np.array([2.0, 2.0]), np.zeros(2)])
    kept = layer.w
    layer.w = [3.0, 4.0]
    assert_same([kept], [np.array([3.0, 4.0])])
    with pytest.raises(ValueError, match=r"^w of .*: expected shape \(2,\), got \(3,\)$"):
        layer.w = np.ones(3)


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


def test_an_activation_prints_all_its_options():
    def power(A, exponent, factor):
        return np.multiply(factor, A**exponent)

    def power_backward(dH, A, exponent, factor):
        return np.multiply(dH, factor * exponent * A ** (exponent - 1))

    layer = Activation((power, power_backward), exponent=3, factor=2.0)
    assert repr(layer) == "Activation('power', exponent=3, factor=2.0)"


def test_the_bias_of_a_shorter_batch_counts_its_own_samples_only():
    layer = Dense(3, 2, rng=0)
    for samples in (5, 2, 7, 2):
        dA = np.arange(2.0 * samples).reshape(samples, 2)  # sums of whole numbers are exact
        _, cache = layer.forward(numbers((samples, 3)))
        layer.backward(dA, cache)
        np.testing.assert_array_equal(layer.db, dA.sum(axis=0))


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


def test_a_layer_of_its_own_claims_no_independent_rows():
    class Centred(Dense):
        def forward(self, X, training=False):
            return super().forward(X - X.mean(axis=0), training)

    class Named(Dense):
        pass

    assert Layer().rows_are_independent(False) is False
    assert Centred(3, 2).rows_are_independent(False) is False
    assert Named(3, 2).rows_are_independent(False) is True


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


def test_a_parameter_is_a_copy_of_what_is_assigned():
    class Scale(Layer):
        parameters: ClassVar = {"weight": "w"}

    layer, w = Scale(), np.ones(3)
    layer.w = w
    layer.w += 1
    np.testing.assert_array_equal(w, np.ones(3))
    layer.w = w
    layer.w += 1
    np.testing.assert_array_equal(w, np.ones(3))
    np.testing.assert_array_equal(layer.w, np.full(3, 2.0))


def test_a_layer_alone_is_its_only_leaf():
    layer = Dense(2, 1)
    assert list(layer.leaves()) == [("", layer)]


def test_the_mask_of_dropout_takes_a_byte_per_number():
    _, kept = Dropout(0.5, rng=0).forward(np.ones((3, 4)), training=True)
    assert kept.dtype == bool


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


# --- AlphaDropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_alpha_dropout_has_the_values_of_torch(p, dtype):
    X = np.random.default_rng(0).normal(size=(20, 30)).astype(dtype)
    H, kept = AlphaDropout(p, rng=0).forward(X, training=True)
    torch.manual_seed(0)
    module = torch.nn.AlphaDropout(p)
    theirs = module(torch.tensor(X)).numpy()
    a = ((1 - p) * (1 + p * 1.7580993408473766**2)) ** -0.5
    dropped = a * 1.7580993408473766 * (p - 1)
    eps = float(8 * np.finfo(dtype).eps)
    np.testing.assert_allclose(H, np.where(kept, a * X + a * 1.7580993408473766 * p, dropped), rtol=0, atol=4 * eps)
    mask = abs(theirs - dropped) > 1e-3  # where torch, whose mask is another, has kept the value
    np.testing.assert_allclose(theirs[mask], (a * X + a * 1.7580993408473766 * p)[mask], rtol=0, atol=4 * eps)
    assert H.dtype == dtype


def test_alpha_dropout_keeps_mean_and_variance():
    X = np.random.default_rng(0).normal(size=(1000, 300))
    for p in (0.05, 0.2, 0.6):
        H, kept = AlphaDropout(p, rng=1).forward(X, training=True)
        # Five standard errors of means of 300,000 numbers, whose squares have a standard deviation below 4.
        assert abs(H.mean()) < 5 / 300_000**0.5 and abs(H.var() - 1) < 20 / 300_000**0.5
        assert abs(kept.mean() - (1 - p)) < 5 * (p * (1 - p) / 300_000) ** 0.5


def test_alpha_dropout_is_the_identity_in_evaluation():
    X = np.random.default_rng(0).normal(size=(4, 5))
    assert AlphaDropout(0.5).predict(X) is X
    np.testing.assert_array_equal(AlphaDropout(0.0).forward(X, training=True)[0], X)
    H, kept = AlphaDropout(1.0).forward(X, training=True)  # zeros, as in torch
    np.testing.assert_array_equal(H, torch.nn.AlphaDropout(1.0)(torch.tensor(X)).numpy() + 0.0)
    assert (AlphaDropout(1.0).backward(X, kept) == 0).all()


def test_alpha_dropout_passes_the_gradient_check():
    layers = [Dense(3, 6, rng=0), Activation("elu"), AlphaDropout(0.3, rng=1), Dense(6, 2, rng=2)]
    network, X, y = Network(layers), np.random.default_rng(2).normal(size=(9, 3)), np.arange(9) % 2
    assert not hm.check_gradient(network, X, y, rng=0).wrong
    one, other = AlphaDropout(0.3, rng=5), Dropout(0.3, rng=5)
    np.testing.assert_array_equal(one.forward(X, True)[1], other.forward(X, True)[1])
    assert repr(one) == "AlphaDropout(0.3)"
    with pytest.raises(ValueError, match="p: expected a number in"):
        AlphaDropout(1.5)


class Tanh:
    """A function without a name, and in float64."""

    def __call__(self, A):
        return np.tanh(A).astype(np.float64)


def test_activations_need_no_name_to_be_shown_and_traced():
    layer = Activation((Tanh(), lambda dH, A: dH * (1 - np.tanh(A) ** 2)))
    network = Network([Dense(1, 1, rng=0), layer, Dense(1, 1, rng=1)])
    assert repr(layer) == "Activation('Tanh')" and "Activation('Tanh')" in str(network.summary())
    assert "Tanh(a1)" in str(hm.trace(network, [[1.0]], [[0.0]], loss="mse_loss"))
