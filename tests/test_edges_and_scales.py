"""Gradients of functions next to the edge of their domain, and of numbers of any size, are decided."""

from __future__ import annotations

import numpy as np
import pytest

import handmade as hm


def total(f):
    return lambda theta: float(f(theta).sum())


@pytest.mark.parametrize(
    ("f", "slope", "theta"),
    [
        (np.square, lambda t: 2 * t, 1e100 * np.array([1.0, 2.0])),
        (np.square, lambda t: 2 * t, 1e150 * np.array([1.0, -2.0, 3.0])),
        (np.square, lambda t: 2 * t, 1e-100 * np.array([1.0, 2.0])),
        (np.log, lambda t: 1 / t, 1e-100 * np.array([1.0, 2.0])),
        (np.sqrt, lambda t: 0.5 / np.sqrt(t), np.array([1e-12, 1.0])),
        (np.log, lambda t: 1 / t, np.array([1e-13, 2.0, 1e-15])),
        (lambda t: np.arcsin(1 - t), lambda t: -1 / np.sqrt(1 - (1 - t) ** 2), np.array([1e-10, 0.5])),
    ],
)
def test_numbers_next_to_an_edge_or_of_any_size_are_decided(f, slope, theta):
    with np.errstate(invalid="ignore", divide="ignore"):  # steps beyond the edge
        assert hm.check_gradient(total(f), theta, slope(theta))
        wrong = hm.check_gradient(total(f), theta, slope(theta) * np.where(np.arange(theta.size), 1.01, 1.0))
    assert not wrong and wrong.wrong


def test_many_entries_next_to_an_edge_are_seen_along_directions():
    theta = np.random.default_rng(0).uniform(1e-13, 1e-11, 300)
    with np.errstate(invalid="ignore"):
        check = hm.check_gradient(total(np.sqrt), theta, 0.5 / np.sqrt(theta), entries=20, rng=0)
    assert not check.wrong
