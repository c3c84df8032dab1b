"""Laws that hold for any numbers: symmetries, scalings, sums over parts, round trips.

Most are asserted to the bit. The networks here are of Dense and piecewise linear layers on small multiples of 1/4, with
batches of 2, 4 or 8: every product and sum is then exact in float64, in any order, so a law of real numbers is a law of
these. Elsewhere a factor is a power of two, which rounds nothing.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import batches, law, powers_of_two, quarters, same, seeds
from oracles import assert_close
from torch.nn.utils import parameters_to_vector

import handmade as hm
from handmade import activations, losses
from reference.twin import twin

BOTH = st.booleans()
PIECEWISE_LINEAR = [("relu", {}), ("leaky_relu", {"negative_slope": 0.25}), ("identity", {})]


@st.composite
def exact_layers(draw, width, depth=3, bias=BOTH, activation=PIECEWISE_LINEAR):
    """Up to `depth` layers on an input of this width, composites among them."""
    layers = []
    for kind in draw(st.lists(st.sampled_from(["dense", "residual", "concatenate"]), min_size=1, max_size=depth)):
        name, options = draw(st.sampled_from(activation))
        out = draw(st.integers(1, 4)) if kind == "dense" else width
        block = [hm.Dense(width, out, bias=draw(bias)), hm.Activation(name, **options)]
        wrap = {"dense": list, "residual": lambda b: [hm.Residual(b)], "concatenate": lambda b: [hm.Concatenate(b)]}
        layers += wrap[kind](block)
        width = 2 * width if kind == "concatenate" else out
    return layers, width


@st.composite
def exact_networks(draw, outputs=2, **options):
    """Draw a network from 3 inputs to `outputs`, with multiples of 1/4 as parameters."""
    layers, width = draw(exact_layers(3, **options))
    bias = draw(options.get("bias", BOTH))
    network = hm.Network([*layers, hm.Dense(width, outputs, bias=bias)])
    network.theta[:] = quarters(network.theta.shape, draw(seeds))
    return network


# ---- the backward pass -----------------------------------------------------------------------------------------------


def pulled_back(network, X, dH):
    """dX and the gradient, of a forward pass on X."""
    _, cache = network.forward(X, training=True)
    dX = network.backward(dH, cache)
    return dX, network.gradient.copy()


@law
@given(exact_networks(), batches, seeds, powers_of_two)
def test_backward_is_linear_in_the_upstream_gradient(network, N, seed, c):
    X, U, V = (quarters(shape, seed + i) for i, shape in enumerate([(N, 3), (N, 2), (N, 2)]))
    for of_u, of_v, of_both in zip(*(pulled_back(network, X, dH) for dH in (U, V, c * U - V)), strict=True):
        same(of_both, c * of_u - of_v)


SMOOTH = {
    "dropout": lambda: hm.Dropout(0.25, rng=0),
    "batch": lambda: hm.BatchNorm(3, eps=1.0),
    "layer": lambda: hm.LayerNorm(3, eps=1.0),
    **{name: partial(hm.Activation, name) for name in activations.ACTIVATIONS},
}


@pytest.mark.parametrize("name", SMOOTH)
@law
@given(seeds)
def test_backward_of_smooth_layers_is_linear(name, seed):
    """Each entry of dX is a sum of at most N + 4 = 8 terms, none larger than 2 max |dH| where variance + eps >= 1."""
    layer, rng = SMOOTH[name](), np.random.default_rng(seed)
    X, U, V = rng.uniform(-1, 1, (3, 4, 3))
    _, cache = layer.forward(X, training=True)
    of_u, of_v, of_both = (layer.backward(dH, cache).copy() for dH in (U, V, U - 2 * V))
    assert_close(of_both, of_u - 2 * of_v, operations=4 * 8, scale=2 * 3)


@law
@given(exact_networks(), batches, seeds)
def test_order_of_samples_does_not_matter(network, N, seed):
    X, Y, order = quarters((N, 3), seed), quarters((N, 2), seed + 1), np.random.default_rng(seed).permutation(N)
    loss, gradient = network.loss_and_gradient(X, Y, loss="mse_loss")
    gradient = gradient.copy()
    H, cache = network.forward(X, training=True)
    dX = network.backward(Y, cache)
    permuted_loss, permuted = network.loss_and_gradient(X[order], Y[order], loss="mse_loss")
    assert permuted_loss == loss
    same(permuted, gradient)
    same(network.predict(X[order]), H[order])
    same(network.backward(Y[order], network.forward(X[order], training=True)[1]), dX[order])


@law
@given(exact_networks(), batches, st.sampled_from(["mse_loss", "half_squared_error", "l1_loss"]), seeds)
def test_batch_is_the_sum_of_its_parts(network, N, loss, seed):
    """Each half of a batch has half of the mean; with reduction="sum", the sums add."""
    X, Y = quarters((N, 3), seed), quarters((N, 2), seed + 1)
    summed = partial(getattr(losses, loss), reduction="sum")
    for function, share in ((loss, 0.5), (summed, 1.0)):
        whole, gradient = network.loss_and_gradient(X, Y, loss=function)
        gradient = gradient.copy()
        value, added = 0.0, np.zeros_like(gradient)
        for half in (slice(0, N // 2), slice(N // 2, N)):
            part, part_gradient = network.loss_and_gradient(X[half], Y[half], loss=function)
            value, added = value + share * part, added + share * part_gradient
        assert value == whole
        same(added, gradient)


@law
@given(exact_networks(), batches, st.sampled_from(["cross_entropy", "mse_loss", "hinge_loss"]), powers_of_two, seeds)
def test_loss_is_homogeneous_in_the_sample_weights(network, N, loss, c, seed):
    X, weight = quarters((N, 3), seed), np.abs(quarters(N, seed + 1)) + 0.25
    y = {"cross_entropy": np.arange(N) % 2, "mse_loss": quarters((N, 2), seed), "hinge_loss": np.ones((N, 2))}[loss]
    value, gradient = network.loss_and_gradient(X, y, loss=loss, sample_weight=weight)
    gradient = gradient.copy()
    scaled_value, scaled = network.loss_and_gradient(X, y, loss=loss, sample_weight=c * weight)
    assert scaled_value == c * value
    same(scaled, c * gradient)


# ---- symmetries of networks ------------------------------------------------------------------------------------------

kinked = exact_networks(bias=st.just(False), activation=PIECEWISE_LINEAR)


@law
@given(kinked, seeds, powers_of_two)
def test_relu_network_without_bias_scales_with_its_input(network, seed, c):
    """f(c X) = c f(X) for c > 0; so the gradient by theta scales as well, and that by X does not change."""
    X, dH = quarters((4, 3), seed), quarters((4, 2), seed + 1)
    H, (dX, gradient) = network.predict(X), pulled_back(network, X, dH)
    scaled_dX, scaled_gradient = pulled_back(network, c * X, dH)
    same(network.predict(c * X), c * H)
    same(scaled_dX, dX)
    same(scaled_gradient, c * gradient)


@law
@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), seeds)
def test_relu_layers_share_the_product_of_weight_and_gradient(hidden, seed):
    """Euler: the output is homogeneous of degree one in each layer's weights, so <W, dW> = <H, dH> in every layer."""
    network = hm.MLP([3, *hidden, 2], bias=False)
    network.theta[:] = quarters(network.theta.shape, seed)
    X, dH = quarters((4, 3), seed + 1), quarters((4, 2), seed + 2)
    dX, gradient = pulled_back(network, X, dH)
    total = np.sum(network.predict(X) * dH)
    W, dW = network.blocks(network.theta), network.blocks(gradient)
    assert [np.sum(W[name] * dW[name]) for name in W] == [total] * len(W)
    assert np.sum(X * dX) == total


@law
@given(st.integers(2, 5), seeds)
def test_hidden_units_can_be_permuted(hidden, seed):
    """Rows of the first layer and columns of the second, permuted alike: the output stays, the gradient follows."""
    network, other = hm.MLP([3, hidden, 2]), hm.MLP([3, hidden, 2])
    network.theta[:] = quarters(network.theta.shape, seed)
    order = np.random.default_rng(seed).permutation(hidden)
    X, Y = quarters((4, 3), seed + 1), quarters((4, 2), seed + 2)
    places = {"0.weight": np.s_[order], "0.bias": np.s_[order], "2.weight": np.s_[:, order], "2.bias": np.s_[:]}
    state = network.state_dict()
    other.load_state_dict({name: state[name][place] for name, place in places.items()})
    loss, gradient = network.loss_and_gradient(X, Y, loss="mse_loss")
    other_loss, other_gradient = other.loss_and_gradient(X, Y, loss="mse_loss")
    assert other_loss == loss
    for name, place in places.items():
        same(other.blocks(other_gradient)[name], network.blocks(gradient)[name][place])


@law
@given(st.integers(1, 4), seeds)
def test_tanh_unit_can_change_its_sign(hidden, seed):
    """tanh is odd, to the bit: a unit whose weights in and out are all negated does the same."""
    network = hm.MLP([3, hidden, 2], activation="tanh", rng=seed)
    X, y = quarters((4, 3), seed), [0, 1, 1, 0]
    loss, gradient = network.loss_and_gradient(X, y)
    gradient = gradient.copy()
    sign = np.ones_like(gradient)
    signs = network.blocks(sign)
    signs["0.weight"][0], signs["0.bias"][0], signs["2.weight"][:, 0] = -1, -1, -1
    network.theta *= sign
    other_loss, other_gradient = network.loss_and_gradient(X, y)
    assert other_loss == loss
    same(other_gradient, sign * gradient)


@law
@given(exact_networks(), seeds)
def test_network_survives_the_way_to_torch_and_back(network, seed):
    """theta is the twin's parameters in their order, and the twin's state_dict loads into another such network."""
    module = twin(network)
    same(parameters_to_vector(module.parameters()).detach().numpy(), network.theta)
    other = network.astype(np.float64)  # a copy
    other.theta[:] = quarters(other.theta.shape, seed)
    other.load_state_dict(module.state_dict())
    same(other.theta, network.theta)


@law
@given(seeds, powers_of_two, st.floats(-4, 4))
def test_normalization_ignores_scale_and_shift(seed, c, shift):
    """Without eps, normalization undoes a scale to the bit, and a shift but for its rounding.

    The rounding of X + shift, half an ulp of 5, is divided by a standard deviation, which may be small: by at most
    as much as the normalized values themselves have grown. 2 sums of up to 6 numbers add their own."""
    X = np.random.default_rng(seed).uniform(-1, 1, (6, 4))
    for layer in hm.BatchNorm(4, eps=0.0), hm.LayerNorm(4, eps=0.0):
        H = layer.forward(X, training=True)[0]
        same(layer.forward(c * X, training=True)[0], H)
        deviation = X.std(axis=layer.axis).min()
        shifted = layer.forward(X + shift, training=True)[0]
        assert_close(shifted, H, operations=4 * 6, scale=math.sqrt(6) * 5 / deviation)
