"""Laws that hold for any numbers: symmetries, scalings, sums over parts, round trips.

Most are asserted to the bit. The networks here are of Dense and piecewise linear layers on small multiples of 1/4, with
batches of 2, 4 or 8: every product and sum is then exact in float64, in any order, so a law of real numbers is a law of
these. Elsewhere a factor is a power of two, which rounds nothing.
"""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import assert_close
from torch.nn.utils import parameters_to_vector

import handmade as hm
from handmade import activations, losses, metrics
from reference.twin import twin

law = settings(max_examples=25, deadline=None, derandomize=True)  # the same examples every time
seeds = st.integers(0, 2**32 - 1)
powers_of_two = st.integers(-8, 8).map(lambda n: 2.0**n)
batches = st.sampled_from([2, 4, 8])

same = np.testing.assert_array_equal


def quarters(shape, seed):
    """Multiples of 1/4 from -2 to 2."""
    return np.random.default_rng(seed).integers(-8, 9, size=shape) / 4


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


# ---- optimizers ------------------------------------------------------------------------------------------------------

ELEMENTWISE = {
    "SGD": lambda: hm.SGD(lr=0.1),
    "momentum": lambda: hm.SGD(lr=0.1, momentum=0.9, dampening=0.1, weight_decay=0.01),
    "nesterov": lambda: hm.SGD(lr=0.1, momentum=0.9, nesterov=True),
    "1986": lambda: hm.Momentum1986(lr=0.1, momentum=0.9),
    "Adagrad": lambda: hm.Adagrad(lr=0.1, lr_decay=0.1, eps=0.0),
    "RMSprop": lambda: hm.RMSprop(lr=0.1, eps=0.0),
    "centered": lambda: hm.RMSprop(lr=0.1, eps=0.0, momentum=0.9, centered=True),
    "Adam": lambda: hm.Adam(lr=0.1, eps=0.0),
    "amsgrad": lambda: hm.Adam(lr=0.1, eps=0.0, amsgrad=True),
    "AdamW": lambda: hm.AdamW(lr=0.1, eps=0.0, weight_decay=0.1),
}
ADAPTIVE = ["Adagrad", "RMSprop", "centered", "Adam", "amsgrad", "AdamW"]
LINEAR = ["SGD", "momentum", "nesterov", "1986"]
each = pytest.mark.parametrize


def after_steps(optimizer, theta, gradients):
    """Return a copy of theta after steps along the gradients."""
    theta = theta.copy()
    for gradient in gradients:
        optimizer.step(theta, gradient)
    return theta


def walk(seed, steps=4, size=5):
    rng = np.random.default_rng(seed)
    return rng.normal(size=size), rng.normal(size=(steps, size))


@each("name", ADAPTIVE)
@law
@given(seeds, powers_of_two)
def test_adaptive_step_ignores_the_scale_of_the_gradient(name, seed, c):
    theta, gradients = walk(seed)
    same(after_steps(ELEMENTWISE[name](), theta, c * gradients), after_steps(ELEMENTWISE[name](), theta, gradients))


@each("name", LINEAR)
@law
@given(seeds, powers_of_two)
def test_linear_step_scales_with_theta_and_gradient(name, seed, c):
    theta, gradients = walk(seed)
    scaled = after_steps(ELEMENTWISE[name](), c * theta, c * gradients)
    same(scaled, c * after_steps(ELEMENTWISE[name](), theta, gradients))


@each("name", ELEMENTWISE)
@law
@given(seeds)
def test_step_treats_each_element_alone(name, seed):
    """Elements in another order, and each alone, arrive where they arrive together."""
    (theta, gradients), order = walk(seed), np.random.default_rng(seed).permutation(5)
    together = after_steps(ELEMENTWISE[name](), theta, gradients)
    same(after_steps(ELEMENTWISE[name](), theta[order], gradients[:, order].copy()), together[order])
    same(after_steps(ELEMENTWISE[name](), theta[:1], gradients[:, :1].copy()), together[:1])


@each("name", [name for name in ELEMENTWISE if name not in ("momentum", "AdamW")])  # these two decay theta
@law
@given(seeds)
def test_step_along_the_negative_gradient_is_mirrored(name, seed):
    theta, gradients = walk(seed)
    same(after_steps(ELEMENTWISE[name](), -theta, -gradients), -after_steps(ELEMENTWISE[name](), theta, gradients))


@law
@given(seeds, st.integers(1, 20))
def test_weight_decay_alone_shrinks_by_a_constant_factor(seed, steps):
    """(1 - lr weight_decay)^t; each step rounds twice, and the lr of AdamW meets a gradient of exactly zero."""
    theta, gradients = walk(seed)[0], np.zeros((steps, 5))
    for optimizer in hm.SGD(lr=0.5, weight_decay=0.25), hm.AdamW(lr=0.5, weight_decay=0.25):
        moved = after_steps(optimizer, theta, gradients)
        assert_close(moved / theta, np.full(5, 0.875**steps), operations=2 * steps + 1)


@law
@given(seeds, st.floats(0.0, 2.0))
def test_l1_moves_all_weights_equally_towards_zero(seed, l1):
    theta, gradient = quarters(6, seed), np.zeros(6)
    hm.L1(l1).step(theta, gradient)
    same(gradient, l1 * np.sign(theta))


@law
@given(seeds, st.floats(0.25, 4.0), st.sampled_from([1.0, 2.0, 3.0, np.inf]))
def test_clipping_bounds_the_norm_and_keeps_the_direction(seed, bound, order):
    """A division and six products round. A second time finds a norm below the bound, by less than the 1e-6 added."""
    gradient = np.random.default_rng(seed).normal(size=6)
    clipped = gradient.copy()
    norm = hm.clip_grad_norm_(clipped, bound, norm_type=order)
    assert norm == pytest.approx(np.linalg.norm(gradient, order), rel=8 * np.finfo(float).eps)
    assert np.linalg.norm(clipped, order) <= min(norm, bound) * (1 + 8 * np.finfo(float).eps)
    assert_close(clipped * (np.abs(gradient).max() / np.abs(clipped).max()), gradient, operations=8)
    again = clipped.copy()
    hm.clip_grad_norm_(again, bound, norm_type=order)
    np.testing.assert_allclose(again, clipped, rtol=1e-6 / bound, atol=0)


@law
@given(seeds, st.floats(0.25, 4.0))
def test_max_norm_bounds_every_row_and_is_idempotent(seed, bound):
    theta = np.random.default_rng(seed).normal(size=12)
    step = hm.MaxNorm([theta.reshape(3, 4)], max_norm=bound)
    before = np.linalg.norm(theta.reshape(3, 4), axis=1)
    step.step(theta, np.zeros(12))
    once = theta.copy()
    assert_close(np.linalg.norm(theta.reshape(3, 4), axis=1), np.minimum(before, bound), operations=8)
    step.step(theta, np.zeros(12))
    assert_close(theta, once, operations=8)


# ---- schedules -------------------------------------------------------------------------------------------------------

SCHEDULES = {
    "step": lambda o, T: hm.StepLR(o, T, gamma=0.5),
    "exponential": lambda o, T: hm.ExponentialLR(o, gamma=0.5 ** (1 / T)),
    "linear": lambda o, T: hm.LinearLR(o, 0.25, total_iters=T),
    "cosine": lambda o, T: hm.CosineAnnealingLR(o, T),
    "restarts": lambda o, T: hm.CosineAnnealingWarmRestarts(o, T, T_mult=2),
}


@each("name", SCHEDULES)
@law
@given(st.integers(1, 50), powers_of_two)
def test_schedule_is_a_factor_between_zero_and_one(name, T, c):
    one, scaled = (SCHEDULES[name](hm.SGD(lr=lr), T) for lr in (0.1, c * 0.1))
    rates = [one.lr_at(t) for t in range(3 * T)]
    assert [scaled.lr_at(t) for t in range(3 * T)] == [c * rate for rate in rates]
    assert all(0 <= rate <= 0.1 * (1 + 2 * np.finfo(float).eps) for rate in rates)


@law
@given(st.integers(1, 50), st.integers(0, 200), st.floats(0.0, 0.1))
def test_cosine_moves_no_faster_than_its_slope(T, t, lowest):
    """|dlr/dt| <= (lr - eta_min) pi / 2T; the angle pi t / T is rounded by eps/2 of itself, 200 pi at most."""
    schedule = hm.CosineAnnealingLR(hm.SGD(lr=0.1), T, eta_min=lowest)
    change = abs(schedule.lr_at(t + 1) - schedule.lr_at(t))
    assert change <= (0.1 - lowest) * math.pi / (2 * T) + 0.1 * 202 * math.pi * np.finfo(float).eps
    assert lowest <= schedule.lr_at(t) * (1 + 4 * np.finfo(float).eps)


@law
@given(st.integers(1, 30), st.integers(1, 3), st.integers(1, 4))
def test_warm_restarts_begin_each_period_at_the_top(T, T_mult, waves):
    schedule = hm.CosineAnnealingWarmRestarts(hm.SGD(lr=0.1), T, T_mult=T_mult)
    starts = [T * sum(T_mult**n for n in range(wave)) for wave in range(waves + 1)]
    assert [schedule.lr_at(t) for t in starts] == [0.1] * len(starts)
    for start, stop in pairwise(starts):
        rates = [schedule.lr_at(t) for t in range(start, stop)]
        assert rates == sorted(rates, reverse=True)


@each("strategy", ["cos", "linear"])
@each("three_phase", [False, True])
@law
@given(st.integers(10, 60), st.floats(0.1, 0.5))
def test_one_cycle_rises_once_and_stays_in_its_bounds(strategy, three_phase, T, up):
    optimizer = hm.SGD(momentum=0.9)
    options = dict(total_steps=T, pct_start=up, anneal_strategy=strategy, three_phase=three_phase)
    schedule = hm.OneCycleLR(optimizer, 0.5, div_factor=4.0, final_div_factor=8.0, **options)
    rates, momenta = ([f(t) for t in range(T)] for f in (schedule.lr_at, schedule.momentum_at))
    room = 8 * np.finfo(float).eps
    assert all(0.125 / 8 - room <= rate <= 0.5 + room for rate in rates)
    assert all(0.85 - room <= momentum <= 0.95 + room for momentum in momenta)
    assert abs(rates[-1] - 0.125 / 8) <= room
    assert abs(momenta[-1] - 0.95) <= room
    rising = [b > a for a, b in pairwise(rates)]
    assert rising == sorted(rising, reverse=True)


# ---- metrics ---------------------------------------------------------------------------------------------------------


@law
@given(st.integers(2, 6), st.integers(1, 30), seeds)
def test_counts_of_the_confusion_matrix_add_up(K, N, seed):
    rng = np.random.default_rng(seed)
    scores, y = rng.integers(0, 4, size=(N, K)) / 1.0, rng.integers(K, size=N)
    matrix = metrics.confusion_matrix(scores, y)
    same(matrix.sum(axis=1), np.bincount(y, minlength=K))
    same(matrix.sum(axis=0), np.bincount(scores.argmax(axis=1), minlength=K))
    assert matrix.sum() == N
    assert metrics.accuracy(scores, y) == np.trace(matrix) / N
    order = rng.permutation(N)
    same(metrics.confusion_matrix(scores[order], y[order]), matrix)


@law
@given(st.integers(2, 6), st.integers(1, 30), seeds)
def test_top_k_grows_with_k_from_accuracy_to_one(K, N, seed):
    rng = np.random.default_rng(seed)
    scores, y = rng.integers(0, 4, size=(N, K)) / 1.0, rng.integers(K, size=N)
    hits = [metrics.top_k_accuracy(scores, y, k) for k in range(1, K + 1)]
    assert hits == sorted(hits)
    assert (hits[0], hits[-1]) == (metrics.accuracy(scores, y), 1.0)


@law
@given(st.integers(2, 30), seeds, powers_of_two)
def test_r2_ignores_the_unit_and_is_zero_for_the_mean(N, seed, c):
    rng = np.random.default_rng(seed)
    y, output = rng.normal(size=(2, N, 2))
    score = metrics.r2_score(output, y)
    assert score <= 1
    assert metrics.r2_score(c * output, c * y) == score
    assert metrics.r2_score(-output, -y) == score
    assert metrics.r2_score(y, y) == 1
    assert metrics.r2_score(np.broadcast_to(y.mean(axis=0), y.shape), y) == 0


@law
@given(st.integers(1, 30), seeds)
def test_accuracy_is_one_minus_the_zero_one_loss(N, seed):
    scores, y = quarters((N, 3), seed), np.random.default_rng(seed).integers(3, size=N)
    error = losses.zero_one_loss(scores.argmax(axis=1), y)
    assert abs(metrics.accuracy(scores, y) - (1 - error)) <= np.finfo(float).eps  # two divisions by N and a difference


# ---- the perceptron --------------------------------------------------------------------------------------------------


@law
@given(seeds, powers_of_two)
def test_perceptron_ignores_the_scale_of_its_inputs(seed, c):
    X = quarters((12, 3), seed)
    y = np.where(X @ [1.0, -2.0, 0.5] >= 0, 1, -1)
    unit, scaled = (hm.Perceptron(bias=False).fit(s * X, y, max_epochs=50) for s in (1.0, c))
    assert scaled.mistakes_per_epoch == unit.mistakes_per_epoch
    same(scaled.w, c * unit.w)


@law
@given(seeds, powers_of_two)
def test_delta_rule_is_linear_in_its_targets(seed, c):
    X, y, w = quarters((6, 2), seed), quarters(6, seed + 1), quarters(2, seed + 2)
    same(hm.delta_rule(X, c * y, eta=0.1, w=c * w, epochs=3), c * hm.delta_rule(X, y, eta=0.1, w=w, epochs=3))
