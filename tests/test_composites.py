"""Residual, Concatenate and Parallel: what they compute, which layers they equal, the networks of 1986."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from oracles import assert_close

import handmade as hm
from handmade.activation_layers import GLU
from handmade.activations import sigmoid
from handmade.composites import Concatenate, Parallel, Residual, last_layer
from handmade.dropout import Dropout
from handmade.layers import Activation, Dense
from handmade.network import Network, Sequential
from handmade.normalization import BatchNorm, LayerNorm
from reference.twin import twin


def dense(W):
    """Return a layer with these weights and no bias."""
    W = np.array(W, float)
    layer = Dense(*W.shape[::-1], bias=False)
    layer.W = W
    return layer


def numbers(*shape):
    return np.random.default_rng(0).uniform(-1, 1, shape)


# --- By hand


@pytest.mark.parametrize(
    ("layer", "H", "dX"),
    [
        (Residual([dense([[0, 2], [3, 0]])]), [[5, 5]], [[31, 12]]),
        (Residual([dense([[0, 2]]), dense([[1], [1]])]), [[5, 6]], [[1, 32]]),
        (Concatenate([dense([[1, 1]])]), [[1, 2, 3]], [[101, 110]]),
        (Concatenate([dense([[2, 0], [0, 3]])]), [[1, 2, 2, 6]], [[201, 3010]]),
        (Parallel([dense([[2]])], [dense([[3]])]), [[2, 6]], [[2, 30]]),
        (Parallel([dense([[2], [4]])], [dense([[3]])]), [[2, 4, 6]], [[42, 300]]),
        (Residual([Residual([dense([[0, 2], [3, 0]])])]), [[6, 7]], [[32, 22]]),
    ],
)
def test_by_hand(layer, H, dX):
    X, dH = np.array([[1.0, 2.0]]), 10.0 ** np.arange(len(H[0]))[np.newaxis, :]
    output, cache = layer.forward(X)
    assert output.tolist() == layer.predict(X).tolist() == H
    assert layer.backward(dH, cache).tolist() == dX


# --- Each composite of Dense layers is a Dense layer with other weights

I, O = 3, 2


def identity_beside(W):
    return np.vstack([np.eye(I), W])


EQUAL = {
    "residual": (lambda W: Residual([dense(W)]), (I, I), lambda W: np.eye(I) + W, lambda dV: dV),
    "concatenate": (lambda W: Concatenate([dense(W)]), (O, I), identity_beside, lambda dV: dV[I:]),
    "parallel": (
        lambda W: Parallel([dense(W[:1, :1])], [dense(W[1:, 1:])]),
        (O, I),
        lambda W: np.block([[W[:1, :1], np.zeros((1, 2))], [np.zeros((1, 1)), W[1:, 1:]]]),
        lambda dV: np.concatenate([dV[:1, :1].reshape(-1), dV[1:, 1:].reshape(-1)]),
    ),
}


@pytest.mark.parametrize("kind", EQUAL)
def test_a_composite_of_linear_layers_is_one_dense_layer(kind):
    build, shape, weights, gradient_of = EQUAL[kind]
    W, X = numbers(*shape), numbers(7, I)
    network, plain = Network([build(W)]), Network([dense(weights(W))])
    (H, cache), (expected, plain_cache) = network.forward(X), plain.forward(X)
    # Sums of at most 7 products of numbers of at most 2, on two sides.
    assert_close(H, expected, operations=2 * 8, scale=14)
    dH = np.cos(H)
    assert_close(network.backward(dH, cache), plain.backward(dH, plain_cache), operations=2 * 8, scale=14)
    expected = gradient_of(plain.layers[0].dW).reshape(-1)
    assert_close(network.gradient, expected, operations=2 * 8, scale=14)


# --- 1986


def test_xor_with_one_hidden_unit_and_direct_connections():
    """Figure 2 of chapter 8, PDP volume 1: the hidden unit is on for (0, 0) only, and inhibits the output."""
    hidden, output = Dense(2, 1), Dense(3, 1)
    network = Network([Concatenate([hidden, Activation("sigmoid")]), output, Activation("sigmoid")])
    hidden.W, hidden.b = [[-6.4, -6.4]], [2.2]
    output.W, output.b = [[-4.2, -4.2, -9.4]], [6.3]
    X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    assert ((network.predict(X) > 0.5).ravel() == [False, True, True, False]).all()
    h = sigmoid(2.2 - 6.4 * X.sum(axis=1))
    assert (h > 0.5).tolist() == [True, False, False, False]
    # A dozen roundings of numbers of at most 9.4; the slope of the last sigmoid is at most 1 / 4.
    assert_close(network.predict(X)[:, 0], sigmoid(6.3 - 4.2 * X.sum(axis=1) - 9.4 * h), operations=12, scale=9.4 / 4)
    assert (network.neuron_count, network.weight_count, network.parameter_count) == (2, 5, 7)


def test_the_family_tree_network_has_the_size_of_the_papers():
    """24 persons and 12 relations, 6 units each; 12; 6; 24 persons."""

    def s():
        return Activation("sigmoid")

    encoders = Parallel([Dense(24, 6), s()], [Dense(12, 6), s()])
    network = Network([encoders, Dense(12, 12), s(), Dense(12, 6), s(), Dense(6, 24), s()])
    weights = 24 * 6 + 12 * 6 + 12 * 12 + 12 * 6 + 6 * 24
    units = 6 + 6 + 12 + 6 + 24
    counts = network.neuron_count, network.weight_count, network.parameter_count
    assert counts == (units, weights, weights + units) == (54, 576, 630)
    assert (network.in_features, network.width_after(36)) == (36, 24)
    assert sum(parameter.numel() for parameter in twin(network).parameters()) == 630
    # What is said of a person does not depend on which relation is asked for, before the two meet.
    X = np.zeros((2, 36))
    X[:, 3] = 1
    X[[0, 1], [24 + 1, 24 + 5]] = 1
    first, second = encoders.predict(X)
    assert (first[:6] == second[:6]).all() and (first[6:] != second[6:]).all()


# --- Sizes, names, errors


def nested():
    inner = Concatenate([Dense(2, 3), Activation("tanh")])
    return Parallel([inner, Dense(5, 2)], [Residual([LayerNorm(4), Dense(4, 4, bias=False)]), BatchNorm(4)])


def test_a_nested_composite_counts_and_names_what_is_in_it():
    network = Network([nested()])
    assert (network.in_features, network.width_after(6)) == (6, 6)
    assert (network.neuron_count, network.weight_count) == (3 + 2 + 4, 6 + 10 + 16)
    assert network.parameter_count == (6 + 3) + (10 + 2) + (4 + 4) + 16 + (4 + 4)
    prefixes = dict.fromkeys(name.rsplit(".", 1)[0] for name in network.state_dict())
    assert list(prefixes) == ["0.0.0.0", "0.0.1", "0.1.0.0", "0.1.0.1", "0.1.1"]
    assert repr(network.layers[0]) == (
        "Parallel([Concatenate([Dense(2, 3), Activation('tanh')]), Dense(5, 2)], "
        "[Residual([LayerNorm(4), Dense(4, 4, bias=False)]), BatchNorm(4)])"
    )


@pytest.mark.parametrize("layers", [[Activation("tanh")], [Dropout(0.5, rng=0), Activation("relu")]])
def test_a_block_that_takes_any_width_takes_any_width(layers):
    for width in (1, 4):
        assert Residual(layers).width_after(width) == width
        assert Concatenate(layers).width_after(width) == 2 * width


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [
        (lambda: Residual([Dense(2, 3)]), ValueError, "Residual.*keep the width, 2, got 3 outputs"),
        (
            lambda: Network([Dense(3, 2), Residual([Activation("tanh"), Dense(2, 3)])]),
            ValueError,
            "Residual.*2, got 3",
        ),
        (lambda: Parallel(), ValueError, "Parallel.*at least one group.*none"),
        (lambda: Parallel([Dense(2, 1)], [Activation("relu")]), ValueError, "know their input width.*'relu'"),
        (lambda: Parallel([Dense(2, 1)], []), ValueError, "at least one layer"),
        (lambda: Parallel([Dense(2, 1), "relu"]), TypeError, "expected layers.*'relu'"),
        (lambda: Parallel(Dense(2, 1)), TypeError, "expected .*layers.*Dense"),
        (
            lambda: Network([Parallel([Dense(2, 1)], [Dense(3, 1)]), Dense(3, 1)]),
            ValueError,
            r"Dense\(3, 1\).*3.*got 2",
        ),
        (
            lambda: Network([Dense(2, 4), Parallel([Dense(2, 1)], [Dense(3, 1)])]),
            ValueError,
            "Parallel.*5.*got 4",
        ),
        *[
            (lambda c=c, layers=layers: c(layers), error, f"{c.__name__}.*{words}")
            for c in (Residual, Concatenate, Sequential)
            for layers, error, words in (
                ([], ValueError, "at least one layer"),
                ([None], TypeError, "expected layers, got None; give them in a list$"),
                ([Dense], TypeError, "expected layers, got .*Dense'>; make an object of it, with its sizes$"),
                (Dense(2, 2), TypeError, r"layers.*Dense\(2, 2\)"),
            )
        ],
        *[
            (
                lambda c=c: c([Dense(2, 3), Activation("tanh"), Dense(2, 2)]),
                ValueError,
                r"Dense\(2, 2\).*2 inputs, got 3",
            )
            for c in (Residual, Concatenate, Sequential)
        ],
    ],
)
def test_a_composite_refuses(build, error, words):
    with pytest.raises(error, match=words):
        build()


# --- What goes on inside

AROUND = {
    "residual": (lambda layers: Residual(layers), np.add),
    "concatenate": (lambda layers: Concatenate(layers), lambda X, B: np.concatenate([X, B], axis=1)),
    "sequential": (lambda layers: Sequential(layers), lambda X, B: B),
    "parallel": (lambda layers: Parallel(layers), lambda X, B: B),
}


@pytest.mark.parametrize("name", AROUND)
@pytest.mark.parametrize("mode", [{"training": True}, {"training": False}, {}], ids=["training", "evaluating", "-"])
def test_composite_passes_its_mode_on(name, mode):
    """Batch normalization alone, which has another output and other statistics in each mode, says what is right."""
    (around, combine), alone, inside, X = AROUND[name], BatchNorm(4), BatchNorm(4), numbers(5, 4)
    H = around([inside]).forward(X, **mode)[0]
    np.testing.assert_array_equal(H, combine(X, alone.forward(X, training=bool(mode.get("training")))[0]))
    np.testing.assert_array_equal(inside.running_mean, alone.running_mean)
    assert inside.num_batches_tracked == alone.num_batches_tracked == (mode.get("training") is True)


@pytest.mark.parametrize("widths", [(2,), (1, 2), (1, 2, 3), (2, 1, 1, 2)])
def test_any_number_of_groups_goes_side_by_side(widths):
    blocks = [numbers(n + 1, n) for n in widths]
    parallel, ends = Parallel(*[[dense(W)] for W in blocks]), np.cumsum([0, *widths])
    X = numbers(3, ends[-1])
    expected = [X[:, i:j] @ W.T for (i, j), W in zip(pairwise(ends), blocks, strict=True)]
    expected = np.concatenate(expected, axis=1)
    output, cache = parallel.forward(X)
    for H in (output, parallel.predict(X)):
        assert_close(H, expected, operations=max(widths), scale=max(widths))
    assert parallel.width_after(ends[-1]) == expected.shape[1] == sum(widths) + len(widths)
    dH = np.random.default_rng(1).uniform(-1, 1, expected.shape)
    outs = np.cumsum([0, *(n + 1 for n in widths)])
    pulled = [dH[:, i:j] @ W for (i, j), W in zip(pairwise(outs), blocks, strict=True)]
    assert_close(parallel.backward(dH, cache), np.concatenate(pulled, axis=1), operations=max(widths) + 1, scale=4)
    assert [name for name, _ in parallel.leaves()] == [f"{i}.0." for i in range(len(widths))]


class Asked(Dense):
    """A layer that remembers whether the gradient with respect to its input was asked for."""

    def backward(self, dH, cache, need_dX=True):
        self.asked = need_dX
        return super().backward(dH, cache, need_dX)


@pytest.mark.parametrize("name", AROUND)
@pytest.mark.parametrize("need_dX", [True, False])
def test_composite_passes_need_dX_on(name, need_dX):
    layer, X = Asked(4, 4), numbers(5, 4)
    composite = AROUND[name][0]([layer, Activation("tanh")])
    H, cache = composite.forward(X)
    dX = composite.backward(np.ones_like(H), cache, need_dX)
    assert layer.asked is need_dX and (dX is not None) is need_dX


def test_a_group_without_brackets_is_refused_by_name():
    with pytest.raises(TypeError, match=r"^Parallel: expected layers, got Dense\(2, 1\); give each group as a list$"):
        Parallel([Dense(2, 1)], Dense(2, 1))


def chain_of(depth):
    """Return a Dense layer inside so many chains."""
    return Dense(2, 2, rng=0) if depth == 0 else Sequential([chain_of(depth - 1)])


def test_the_depth_of_layers_is_that_of_the_deepest():
    assert len(Sequential([chain_of(99), Dense(2, 2, rng=0)]).layers) == 2
    for make in (lambda: Sequential([chain_of(100), Dense(2, 2)]), lambda: Sequential([Dense(2, 2), chain_of(100)])):
        with pytest.raises(ValueError, match="at most 100 layers nested in one another"):
            make()
    shallow_and_deep = Parallel([Dense(2, 2)], [chain_of(98)])  # 99, and the Parallel itself
    with pytest.raises(ValueError, match="at most 100 layers nested in one another"):
        Sequential([shallow_and_deep])


def test_the_last_layer_may_stand_in_a_chain():
    last = Activation("tanh")
    assert last_layer(Sequential([Dense(2, 2), Sequential([Dense(2, 2), Sequential([last])])])) is last
    residual = Residual([Dense(2, 2), last])
    assert last_layer(Sequential([Dense(2, 2), residual])) is residual


def test_a_list_in_the_list_of_a_group_is_refused_by_name():
    with pytest.raises(
        TypeError, match=r"^Parallel: expected layers in each list, got \[\[Dense\(2, 1\)\]\]; write Par"
    ):
        Parallel([[Dense(2, 1)]])


@pytest.mark.parametrize("kind", [Sequential, Parallel])
def test_layers_nested_too_deep_are_refused(kind, tmp_path):
    layer = kind([Dense(2, 2, rng=0)])
    for _ in range(98 if kind is Sequential else 48):  # a Parallel makes a chain of each group
        layer = kind([layer])
    network = Network([layer])
    hm.save(network, tmp_path / "deep.npz")
    loaded = hm.load(tmp_path / "deep.npz").astype("float32")
    hm.fit(loaded, np.eye(2), [0, 1], epochs=1, progress=False)
    assert hm.export.to_c(network) and repr(network) and network.summary()
    with pytest.raises(
        ValueError, match=r"^Network: expected at most 100 layers nested in one another, got more; join"
    ):
        Network([kind([layer])])


@pytest.mark.parametrize("kind", [Sequential, Residual, Concatenate, Parallel])
def test_a_composite_mixes_rows_where_its_layers_do(kind):
    composite = kind([Dense(3, 3), BatchNorm(3)])
    assert composite.rows_are_independent(False) and not composite.rows_are_independent(True)


def test_a_chain_of_unknown_width_stands_at_the_start_of_another():
    chain = Concatenate([Sequential([GLU(), Dense(3, 2)])])
    assert chain.in_features is None and chain.width_after(6) == 8
    assert Network([Dense(4, 6), chain]).predict(np.ones((1, 4))).shape == (1, 8)


def test_layers_that_halve_and_double_keep_the_width():
    """The first layer of a known width tells what goes in, as long as those below it end as wide as they start."""

    def chain(halvings, doublings):
        halves = [GLU() for _ in range(halvings)]
        return Sequential([*halves, *(Concatenate([Activation("relu")]) for _ in range(doublings))])

    assert Network([chain(6, 6), Dense(64, 2)]).in_features == 64
    assert Network([chain(6, 5), Dense(64, 2)]).in_features is None
