"""Softmax and its logarithm: sums, shifts, slopes, and logits that are infinite or enormous."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import handmade as hm
from handmade import activations
from handmade.activations import (
    log_softmax_backward,
    softmax,
    softmax_backward,
)

FLOATS = (np.float64, np.float32)


@pytest.mark.parametrize("dtype", FLOATS)
def test_softmax_of_the_ends_of_the_range_is_quiet(dtype):
    largest = np.finfo(dtype).max
    A = np.array([[largest, -largest], [-largest, -largest], [largest, largest], [0, largest]], dtype)
    np.testing.assert_array_equal(softmax(A), np.array([[1, 0], [0.5, 0.5], [0.5, 0.5], [0, 1]], dtype), strict=True)
    logarithms = activations.log_softmax(A)
    assert logarithms.dtype == dtype
    np.testing.assert_array_equal(logarithms[[0, 3], [0, 1]], 0)
    assert np.all(logarithms[[0, 3], [1, 0]] <= -largest)


LOGITS = arrays(np.float64, array_shapes(min_dims=1, max_dims=3, max_side=5), elements=st.floats(-1e4, 1e4))


@settings(max_examples=60, deadline=None)
@given(LOGITS, st.floats(-1e4, 1e4), st.data())
def test_softmax_sums_to_one_and_ignores_a_shift(A, shift, data):
    dim = data.draw(st.integers(-A.ndim, A.ndim - 1))
    P = softmax(A, dim=dim)
    eps = np.finfo(float).eps
    assert np.all((P >= 0) & (P <= 1))
    np.testing.assert_allclose(P.sum(axis=dim), 1, rtol=0, atol=A.shape[dim] * eps)
    # a + shift is rounded: that changes logits of 2e4 by up to eps/2 of it, and p by as much in relation to itself.
    np.testing.assert_allclose(softmax(A + shift, dim=dim), P, rtol=0, atol=4 * eps * 2e4)
    np.testing.assert_allclose(np.exp(activations.log_softmax(A, dim=dim)), P, rtol=0, atol=8 * eps)


@pytest.mark.parametrize("shift", [-1024.0, 0.5, 2.0**40])
def test_a_shift_without_rounding_changes_no_bit(shift):
    A = np.random.default_rng(10).integers(-8, 8, size=(6, 4)) / 8
    for f in (softmax, activations.log_softmax):
        np.testing.assert_array_equal(f(A + shift), f(A))


def test_jacobians_are_those_of_the_definition():
    """Row by row: diag(p) - p p^T of the softmax, I - 1 p^T of its logarithm. Four roundings of numbers up to one."""
    a = np.array([0.3, -1.2, 2.0, 0.0])
    p = np.exp(a) / np.exp(a).sum()
    P, upstream = np.tile(softmax(a), (4, 1)), np.eye(4)
    atol = 4 * np.finfo(float).eps
    np.testing.assert_allclose(softmax_backward(upstream, P), np.diag(p) - np.outer(p, p), rtol=0, atol=atol)
    np.testing.assert_allclose(log_softmax_backward(upstream, np.log(P)), np.eye(4) - p, rtol=0, atol=atol)


def test_a_logit_of_minus_infinity_is_a_class_left_out():
    A = np.array([[0.0, -np.inf, 1.0]])
    np.testing.assert_array_equal(softmax(A)[:, [0, 2]], softmax(A[:, [0, 2]]))
    assert softmax(A)[0, 1] == 0
    assert activations.log_softmax(A)[0, 1] == -np.inf


def test_the_slopes_of_a_confident_softmax_are_small_and_exact():
    """p = (1, e^-50) within rounding: the slope of the first by itself is p (1 - p) = e^-50."""
    A, upstream = np.array([0.0, -50.0]), np.array([1.0, 0.0])
    tiny = np.exp(-50)
    np.testing.assert_array_equal(softmax_backward(upstream, softmax(A)), [tiny, -tiny])
    np.testing.assert_array_equal(log_softmax_backward(upstream, A), [tiny, -tiny])


@pytest.mark.parametrize("dtype", FLOATS)
def test_infinite_and_enormous_logits_are_quiet(dtype):
    """The results are NaN or infinite. The caller sees that in them, so there is no warning."""
    infinite, enormous = np.array([[np.inf, 0]], dtype), np.array([[0.9, -0.9]], dtype) * np.finfo(dtype).max
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        softmax(infinite)
        activations.log_softmax(infinite)
        log_softmax_backward(infinite, infinite)
        hm.losses.cross_entropy(infinite, [0])
        assert hm.losses.cross_entropy(enormous, [1]) == np.inf
        np.testing.assert_array_equal(hm.losses.cross_entropy_backward(enormous, [1]), [[1, -1]])


@pytest.mark.parametrize("f", [activations.softmax, activations.log_softmax])
def test_a_missing_axis_is_one_of_A(f):
    with pytest.raises(ValueError, match=r"^dim: expected an axis of A, whose shape is \(2, 3\), got 2$"):
        f(np.zeros((2, 3)), dim=2)


def test_a_missing_axis_of_the_slopes_is_named():
    for f, name in (softmax_backward, "H"), (log_softmax_backward, "A"):
        with pytest.raises(ValueError, match=rf"^dim: expected an axis of {name}, whose shape is \(2, 3\), got 2$"):
            f(np.zeros((2, 3)), np.zeros((2, 3)), dim=2)


@pytest.mark.parametrize("f", [activations.softmax, activations.log_softmax])
def test_no_classes_are_refused_by_name(f):
    with pytest.raises(ValueError, match=r"^A: expected at least one class along axis -1, got shape \(2, 0\)$"):
        f(np.zeros((2, 0)))
