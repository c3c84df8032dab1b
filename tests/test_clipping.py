"""Clipping, penalties and norms: beside torch, and as steps of a chain."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from optimizers_of_tests import SIZE, gradient_at, read_only, start

from handmade.clipping import L1, ClipGradNorm, ClipGradValue, MaxNorm, clip_grad_norm_, clip_grad_value_
from handmade.optimizers import SGD, Adam, Chain

# --- Steps before and after an optimizer


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("norm_type", [0.5, 1.0, 2.0, 3.0, math.inf])
@pytest.mark.parametrize("max_norm", [0.0, 0.5, 1e9, math.inf])
def test_clip_grad_norm_gives_torchs_numbers(max_norm, norm_type, dtype):
    gradient = gradient_at(0, start(SIZE, dtype))
    parameter = torch.nn.Parameter(torch.zeros(SIZE))
    parameter.data = parameter.data.to(getattr(torch, np.dtype(dtype).name))
    parameter.grad = torch.from_numpy(gradient.copy())
    expected_norm = torch.nn.utils.clip_grad_norm_([parameter], max_norm, norm_type).item()
    norm = clip_grad_norm_(gradient, max_norm, norm_type)
    # A sum of SIZE terms of one sign is off by at most SIZE eps; for the order 0.5 the norm is its square.
    rtol = float(2 * SIZE * np.finfo(dtype).eps)
    assert norm == pytest.approx(expected_norm, rel=rtol)
    np.testing.assert_allclose(gradient, parameter.grad.numpy(), rtol=rtol)


@pytest.mark.parametrize(("dtype", "large"), [(np.float64, 1e200), (np.float32, 1e30)])
@pytest.mark.parametrize("norm_type", [2.0, 3.0])
def test_the_norm_does_not_overflow_where_its_squares_would(norm_type, dtype, large):
    gradient = np.array([3 * large, 4 * large, 0], dtype)
    norm = clip_grad_norm_(gradient, 1.0, norm_type)
    expected = (3**norm_type + 4**norm_type) ** (1 / norm_type)
    rtol = float(8 * np.finfo(dtype).eps)  # a division, two powers, a sum, a root, two products
    assert norm / large == pytest.approx(expected, rel=rtol)
    np.testing.assert_allclose(gradient, np.array([3, 4, 0]) / expected, rtol=rtol)


def test_a_nan_in_the_gradient_is_passed_on_as_in_torch():
    gradient = np.array([1.0, np.nan])
    assert math.isnan(clip_grad_norm_(gradient, 1.0))
    assert np.isnan(gradient).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_error_if_nonfinite_raises_before_anything_changes(value):
    theta, gradient = np.ones(2), np.array([1.0, value])
    adam = Adam()
    chain = Chain(L1(0.5), ClipGradNorm(1.0, error_if_nonfinite=True), adam)
    for call in (
        lambda: clip_grad_norm_(gradient, 1.0, error_if_nonfinite=True),
        lambda: chain.step(theta, gradient),
    ):
        with pytest.raises(FloatingPointError, match=r"^gradient: expected .*finite"):
            call()
    np.testing.assert_array_equal(gradient, [1.0, value])
    assert (theta == 1).all() and adam.t == 0
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.grad = torch.tensor([1.0, float(value)])
    with pytest.raises(RuntimeError):
        torch.nn.utils.clip_grad_norm_([parameter], 1.0, error_if_nonfinite=True)


def test_error_if_nonfinite_lets_a_finite_gradient_pass():
    one, other = np.array([3e200, 4e200]), np.array([3e200, 4e200])
    assert clip_grad_norm_(one, 1.0, error_if_nonfinite=True) == clip_grad_norm_(other, 1.0)
    np.testing.assert_array_equal(one, other)


def test_clip_grad_value_gives_torchs_numbers():
    gradient = gradient_at(0, start(SIZE))
    parameter = torch.nn.Parameter(torch.zeros(SIZE, dtype=torch.float64))
    parameter.grad = torch.from_numpy(gradient.copy())
    torch.nn.utils.clip_grad_value_([parameter], 0.25)
    assert clip_grad_value_(gradient, 0.25) is None
    np.testing.assert_array_equal(gradient, parameter.grad.numpy())
    assert 0 < np.count_nonzero(abs(gradient) == 0.25) < SIZE


def test_l1_adds_the_gradient_of_the_absolute_values():
    theta = start(SIZE)
    theta[3] = 0.0
    gradient, before = gradient_at(0, theta), theta.copy()
    expected = gradient + 0.25 * np.sign(theta)
    L1(0.25).step(theta, gradient)
    np.testing.assert_array_equal(gradient, expected)
    np.testing.assert_array_equal(theta, before)


def test_max_norm_shortens_only_long_rows():
    theta = start(3 * 4 + 5 + 2 * 3)
    first, second = theta[:12].reshape(3, 4), theta[17:].reshape(2, 3)
    first[0], second[1] = 0.0, [0.3, 0.4, 0.0]
    before, gradient = theta.copy(), gradient_at(0, theta)
    MaxNorm([first, second], 0.5).step(theta, gradient)
    np.testing.assert_array_equal(theta[12:17], before[12:17])
    for weight, old in [(first, before[:12].reshape(3, 4)), (second, before[17:].reshape(2, 3))]:
        for row, old_row in zip(weight, old, strict=True):
            norm = np.linalg.norm(old_row)
            if norm <= 0.5:
                np.testing.assert_array_equal(row, old_row)
            else:
                np.testing.assert_allclose(row, old_row / norm * 0.5, rtol=8 * np.finfo(float).eps)


def test_max_norm_wants_views_into_theta():
    theta, gradient = np.ones(4), np.ones(4)
    sgd = SGD(momentum=0.9)
    chain = Chain(ClipGradValue(0.5), sgd, MaxNorm([np.ones((2, 2))], 1.0))
    with pytest.raises(ValueError, match=r"weights\[0\]: expected a view into theta"):
        chain.step(theta, gradient)
    np.testing.assert_array_equal([theta, gradient], np.ones((2, 4)))
    assert sgd.t == 0 and sgd.momentum_buffer is None


# --- Clipping, to the letter


@pytest.mark.parametrize("norm", [0.5, 1.0 - 2e-6])
def test_a_gradient_within_the_bound_is_left_as_it_is(norm):
    gradient = np.array([0.6, 0.8]) * norm
    before = gradient.copy()
    assert clip_grad_norm_(gradient, 1.0) == pytest.approx(norm, rel=4 * np.finfo(float).eps)
    np.testing.assert_array_equal(gradient, before)


def test_a_gradient_of_zero_has_norm_zero_and_stays():
    gradient = np.zeros(3)
    assert clip_grad_norm_(gradient, 1.0) == 0
    np.testing.assert_array_equal(gradient, np.zeros(3))


def test_the_norm_is_the_euclidean_one_unless_told():
    assert clip_grad_norm_(np.array([3.0, 4.0]), 1.0) == 5
    assert ClipGradNorm(1.0).norm_type == 2


@pytest.mark.parametrize(("max_norm", "norm_type"), [(0.25, 1.0), (0.5, 3.0), (2.0, math.inf)])
def test_a_clipping_step_is_the_function_with_its_two_numbers(max_norm, norm_type):
    gradient = gradient_at(0, start(SIZE))
    expected = gradient.copy()
    clip_grad_norm_(expected, max_norm, norm_type)
    ClipGradNorm(max_norm, norm_type).step(start(SIZE), gradient)
    np.testing.assert_array_equal(gradient, expected)


def test_a_bound_of_the_norm_is_saved_and_loaded():
    theta = start(4)
    step, other = MaxNorm([theta.reshape(2, 2)], 0.5), MaxNorm([theta.reshape(2, 2)], 2.0)
    assert step.state_dict() == {"class": "MaxNorm", "max_norm": 0.5, "members": []}
    other.load_state_dict(step.state_dict())
    assert other.max_norm == 0.5


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: clip_grad_norm_(read_only(np.ones(2)), 9.0), "^gradient: .*read-only"),
        (lambda: clip_grad_norm_(np.ones(2), -1.0), "^max_norm: expected"),
        (lambda: clip_grad_norm_(np.ones(2), 1.0, 0.0), "^norm_type: expected"),
        (lambda: clip_grad_value_(np.ones(2), -1.0), "^clip_value: expected"),
        (lambda: MaxNorm([np.ones((2, 2)), read_only(np.ones((2, 2)))], 1.0), r"^weights\[1\]: .*read-only"),
    ],
)
def test_clipping_error_names_the_argument(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_clipping_as_a_step_does_what_the_function_does():
    gradient = gradient_at(1, start(50))
    for step, clip in (ClipGradValue(0.5), clip_grad_value_), (ClipGradNorm(0.5), clip_grad_norm_):
        by_step, by_function = gradient.copy(), gradient.copy()
        step.step(start(50), by_step)
        clip(by_function, 0.5)
        np.testing.assert_array_equal(by_step, by_function)
        assert not np.array_equal(by_step, gradient)


def test_max_norm_is_printed_without_the_weights():
    assert repr(MaxNorm([np.ones((2, 2))], 1.5)) == "MaxNorm(max_norm=1.5)"


def test_an_infinite_gradient_is_clipped_as_in_torch():
    parameter = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    parameter.grad = torch.tensor([1.0, math.inf], dtype=torch.float64)
    gradient = parameter.grad.numpy().copy()
    with np.errstate(invalid="ignore"):
        assert clip_grad_norm_(gradient, 1.0) == torch.nn.utils.clip_grad_norm_([parameter], 1.0) == math.inf
    np.testing.assert_array_equal(gradient, parameter.grad.numpy())
