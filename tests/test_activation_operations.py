"""The formulas of activations are the library's, and a wrong derivative of one's own is explained by an operation."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import handmade as hm
from handmade.checking.backward_pass import is_elementwise
from handmade.checking.operations.activations import PLAIN, plain_formula

A = np.random.default_rng(3).normal(size=(6, 4)) * 2
dH = np.random.default_rng(4).normal(size=(6, 4))


@pytest.mark.parametrize("name", PLAIN)
def test_plain_formulas_are_the_librarys_functions(name):
    options = {"approximate": "tanh"} if name == "gelu" else {}
    leaf = hm.Activation(name, **options)
    formula = plain_formula(leaf)
    assert is_elementwise(leaf)
    np.testing.assert_allclose(formula(A, **leaf.options), leaf.f(A, **leaf.options), rtol=1e-12, atol=1e-14)


def wavelet(A):
    return np.log(1 + A**2) * np.sin(A)


def wavelet_backward(dH, A):
    return dH * (2 * A / (1 + A**2) * np.sin(A) + np.log(1 + A**2) * np.cos(A))


def test_own_activation_in_a_students_gradient_is_explained():
    network = hm.Network([hm.Dense(4, 5, rng=0), hm.Activation((wavelet, wavelet_backward)), hm.Dense(5, 3, rng=1)])
    X, y = A, np.array([0, 1, 2, 1, 0, 2])

    def gradient(parameters, X, y):
        W1, b1, W2, b2 = parameters
        A1 = X @ W1.T + b1
        H = wavelet(A1)
        dA2 = (hm.activations.softmax(H @ W2.T + b2) - np.eye(3)[y]) / len(X)
        dA1 = dA2 @ W2 * (np.sin(A1) / (1 + A1**2) + np.log(1 + A1**2) * np.cos(A1))
        return [dA1.T @ X, dA1.sum(axis=0), dA2.T @ H, dA2.sum(axis=0)]

    (explanation,) = hm.diagnose_gradient(network, X, y, gradient).explanations
    assert "dA[0] = right, but for derivative of `A ** 2` (line" in explanation.name


@pytest.mark.parametrize("bound", [0.03, 0.3])
def test_clipping_before_an_activation_is_seen_behind_it(bound):
    network = hm.MLP([4, 7, 5, 3], activation="silu", rng=2)
    X, y = 2 * A, np.array([0, 1, 2, 1, 0, 2])

    def gradient(parameters, X, y):
        W1, b1, W2, b2, W3, b3 = parameters
        silu, slope = hm.activations.silu, lambda A: hm.activations.silu_backward(np.ones_like(A), A)
        A1 = X @ W1.T + b1
        A2 = silu(A1) @ W2.T + b2
        dA3 = hm.activations.softmax(silu(A2) @ W3.T + b3) - np.eye(3)[y]
        dA2 = np.clip(dA3 @ W3, -bound, bound) * slope(A2)
        dA1 = dA2 @ W2 * slope(A1)
        return [dA1.T @ X, dA1.sum(axis=0), dA2.T @ silu(A1), dA2.sum(axis=0), dA3.T @ silu(A2), dA3.sum(axis=0)]

    loss = functools.partial(hm.losses.cross_entropy, reduction="sum")
    (explanation,) = hm.diagnose_gradient(network, X, y, gradient, loss=loss).explanations
    assert explanation.name == f"dA[2] = dH f'(A), of which dH is right, clipped at {bound:g}"
