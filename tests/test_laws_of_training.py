"""Laws of optimizers, schedules, metrics and the perceptron that hold for any numbers: see tests/test_laws.py."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import law, powers_of_two, quarters, same, seeds
from oracles import assert_close

import handmade as hm
from handmade import losses, metrics

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


def random_steps(seed, steps=4, size=5):
    rng = np.random.default_rng(seed)
    return rng.normal(size=size), rng.normal(size=(steps, size))


@each("name", ADAPTIVE)
@law
@given(seeds, powers_of_two)
def test_adaptive_step_ignores_the_scale_of_the_gradient(name, seed, c):
    theta, gradients = random_steps(seed)
    same(after_steps(ELEMENTWISE[name](), theta, c * gradients), after_steps(ELEMENTWISE[name](), theta, gradients))


@each("name", LINEAR)
@law
@given(seeds, powers_of_two)
def test_linear_step_scales_with_theta_and_gradient(name, seed, c):
    theta, gradients = random_steps(seed)
    scaled = after_steps(ELEMENTWISE[name](), c * theta, c * gradients)
    same(scaled, c * after_steps(ELEMENTWISE[name](), theta, gradients))


@each("name", ELEMENTWISE)
@law
@given(seeds)
def test_step_treats_each_element_alone(name, seed):
    """Elements in another order, and each alone, arrive where they arrive together."""
    (theta, gradients), order = random_steps(seed), np.random.default_rng(seed).permutation(5)
    together = after_steps(ELEMENTWISE[name](), theta, gradients)
    same(after_steps(ELEMENTWISE[name](), theta[order], gradients[:, order].copy()), together[order])
    same(after_steps(ELEMENTWISE[name](), theta[:1], gradients[:, :1].copy()), together[:1])


@each("name", [name for name in ELEMENTWISE if name not in ("momentum", "AdamW")])  # these two decay theta
@law
@given(seeds)
def test_step_along_the_negative_gradient_is_mirrored(name, seed):
    theta, gradients = random_steps(seed)
    same(after_steps(ELEMENTWISE[name](), -theta, -gradients), -after_steps(ELEMENTWISE[name](), theta, gradients))


@law
@given(seeds, st.integers(1, 20))
def test_weight_decay_alone_shrinks_by_a_constant_factor(seed, steps):
    """(1 - lr weight_decay)^t; each step rounds twice, and the lr of AdamW meets a gradient of exactly zero."""
    theta, gradients = random_steps(seed)[0], np.zeros((steps, 5))
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
