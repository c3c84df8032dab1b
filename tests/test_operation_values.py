"""The gradient by one value as a formula: none of these mistakes is in a list."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from handmade.checking.operations.values import NUMBERS, GradientsByValues
from tests.operations_of_tests import explained

RNG = np.random.default_rng(11)
X, Y, S, P = RNG.normal(size=(4, 7, 5))
M, C = RNG.normal(size=(2, 5, 5))


def deviance(mean, s):
    return (0.5 * (s + (Y - mean) ** 2 / np.exp(s))).sum()


def test_a_derivative_by_another_quantity_is_a_factor():
    dv = 0.5 * (1 / np.exp(S) - (Y - X) ** 2 / np.exp(S) ** 2)  # by v = e^s, in place of s
    assert explained(deviance, {"mean": X, "s": S}, s=dv) == "gradient by s = right / (exp(s))"


def test_one_of_two_parts_counted_twice_is_named():
    def gated(Z):
        return ((Z @ M) * np.tanh(Z)).sum()

    text = explained(gated, {"Z": X}, Z=2 * (X @ M) * (1 - np.tanh(X) ** 2))
    assert text.startswith("gradient by Z = 2 (part by `tanh(Z)` (line")


def test_parts_with_weights_of_their_own_are_named():
    def three(Z):
        return (np.tanh(Z) * Y).sum() + (Z**3).sum() + (Z * S).sum()

    wrong = 3 * Y * (1 - np.tanh(X) ** 2) + 3 * X**2 - 0.5 * S
    text = explained(three, {"Z": X}, Z=wrong)
    assert text.startswith("gradient by Z = -1/2 (part by `Z * S` (line")
    assert " + (part by `Z ** 3` (line" in text
    assert " + 3 (part by `tanh(Z)` (line" in text


def test_a_constant_in_the_place_of_a_gradient_is_named():
    def likelihood(Z):
        return ((np.log(np.exp(Z).sum(axis=1, keepdims=True)) - Z) * abs(Y)).sum()

    wrong = np.exp(X) / np.exp(X).sum(axis=1, keepdims=True) - abs(Y)
    text = explained(likelihood, {"Z": X}, Z=wrong)
    assert text.startswith("gradient by `log(sum(exp(Z), axis=1, keepdims=True))`")
    assert text.endswith(" = 1")


def test_a_factor_after_its_update_is_named():
    def products(P, Q):
        return ((P @ Q.T - P0) ** 2).sum()

    P0, Q = RNG.normal(size=(7, 7)), RNG.normal(size=(7, 5))
    E = 2 * (P @ Q.T - P0)
    text = explained(products, {"P": P, "Q": Q}, Q=E.T @ (P - 0.03 * E @ Q))
    assert "= right - 0.03 (part by `P @ Q.T`" in text
    assert text.endswith("with its gradient in place of P)")


def test_two_factors_beside_a_gradient_are_named():
    def kernels(Z):
        D = ((Z[:, None] - Z[None]) ** 2).sum(axis=2)
        return (np.log(1 + D) * W).sum()

    W = RNG.random((7, 7))
    D = ((X[:, None] - X[None]) ** 2).sum(axis=2)
    G = W * np.sqrt(D)  # in place of W / (1 + D)
    wrong = 2 * ((G + G.T).sum(axis=1, keepdims=True) * X - (G + G.T) @ X)
    text = explained(kernels, {"Z": X}, Z=wrong)  # (1 + D) turns the gradient by 1 + D into that by its logarithm
    assert re.search(r"= \(gradient by `log\(1 \+ D\)` \(line \d+ of kernels\)\) sqrt\(D\)$", text)


@pytest.mark.parametrize("bound", [-0.4, 0.6])
def test_another_bound_of_a_condition_is_named(bound):
    def halved(Z):
        return (np.where(Z > 0.1, Z, 0.5 * Z) * Y).sum()

    wrong = np.where(X - bound > 0, Y, 0.5 * Y)
    text = explained(halved, {"Z": X}, Z=wrong)
    factor, side = ("1/2 ", "below") if bound > 0.1 else ("", "above")
    assert text.startswith(f"gradient by Z = {factor}(gradient by `where(Z > 0.1, Z, 0.5 * Z)` (line")
    found = re.search(rf" where Z is {side} (\S+), right elsewhere", text)
    assert np.sort(X, axis=None).searchsorted(float(found[1])) == (bound > X).sum()


def test_a_window_that_is_not_mirrored_is_named():
    def window(V):
        total = V.copy()
        total[:, 1:] += V[:, :-1]
        total[:, 2:] += V[:, :-2]
        return total

    def normalized(Z):
        return (np.log(1 + window(Z**2)) * Y).sum()

    G = Y / (1 + window(X**2))
    text = explained(normalized, {"Z": X}, Z=2 * X * window(G))
    assert text.startswith("gradient by V = (`setitem(total, (:, 2:)")
    assert text.endswith("applied to its own gradient)")


def test_a_sum_with_another_array_is_named():
    def unit(A):
        norm = np.sqrt((A**2).sum(axis=1, keepdims=True))
        return (A / norm * Y).sum()

    norm = np.sqrt((X**2).sum(axis=1, keepdims=True))
    wrong = Y / norm - (S * Y).sum(axis=1, keepdims=True) * X / norm**2

    def beside(A, S):
        return unit(A) + (S * A).sum()

    text = explained(beside, {"A": X, "S": S}, A=wrong + S)
    assert text.startswith("gradient by norm = -(sum of the gradient by `A / norm` (line")
    assert text.endswith(" times S) / norm")


def test_a_vectorized_function_is_differentiated():
    lgamma = np.vectorize(math.lgamma)

    def likelihood(a, b):
        return (lgamma(a) + 2 * lgamma(b)).sum()

    a, b = np.exp([X, Y])
    h = 1e-5
    psi = (lgamma(a + h) - lgamma(a - h)) / (2 * h)
    text = explained(likelihood, {"a": a, "b": b}, relative=1e-6, b=2 * psi)
    assert text.startswith("derivative of `lgamma(b)` (line")
    assert text.endswith("by b with a in place of b")


def test_a_factor_in_each_turn_of_a_loop_is_named():
    def filtered(Z):
        level, total = np.ones(7), 0.0
        for k in range(5):
            gain = np.exp(-level)
            level = level + gain * Z[:, k]
            total = total + (level * Y[:, k]).sum()
        return total

    levels = [np.ones(7)]
    for k in range(5):
        levels.append(levels[-1] + np.exp(-levels[-1]) * X[:, k])
    wrong, carried = np.zeros(X.shape), np.zeros(7)
    for k in range(4, -1, -1):
        carried = carried + Y[:, k]
        wrong[:, k] = carried * np.exp(-levels[k])
        carried = carried * (1 - X[:, k] * np.exp(-levels[k]) ** 2)  # the gain is a factor too much
    assert explained(filtered, {"Z": X}, Z=wrong) == "gradient by gain times gain"


def test_a_search_in_large_arrays_ends_after_a_count(monkeypatch):
    numbers, below = [], GradientsByValues._below

    def counted(self, value, G):
        numbers.append(sum(one.value.size for one in self.recording.operations))
        return below(self, value, G)

    monkeypatch.setattr(GradientsByValues, "_below", counted)
    Z, noise = RNG.normal(size=(2, 300, 200))
    assert explained(lambda Z: (np.tanh(np.exp(Z) / (1 + Z**2)) * Z).sum(), {"Z": Z}, Z=noise) == ""
    assert 0 < sum(numbers) <= 2.5 * NUMBERS  # sums of usual arrays, and products, beside what is right


def test_a_gradient_of_noise_has_no_formula():
    for seed in range(5):
        noise = np.random.default_rng(seed).normal(size=X.shape)
        assert explained(deviance, {"mean": X, "s": S}, s=noise) == ""
        assert explained(lambda Z: (np.tanh(Z @ M) @ C * Y).sum(), {"Z": X}, Z=noise) == ""
