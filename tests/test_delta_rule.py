"""The delta rule by hand, as gradient descent by torch, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from handmade.perceptron import delta_rule

GATES = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])


def test_delta_rule_worked_by_hand():
    # yhat = 0, error 4: w = (0, 0) + 1/8 * 4 * (1, 2) = (1/2, 1).
    # yhat = 1/2 * 2 + 1 * -1 = 0, error -2: w = (1/2, 1) + 1/8 * -2 * (2, -1) = (0, 5/4).
    # The second epoch: yhat = 5/2, error 3/2: w = (0, 5/4) + 1/8 * 3/2 * (1, 2) = (3/16, 13/8).
    # yhat = 3/8 - 13/8 = -5/4, error -3/4: w = (3/16, 13/8) - 3/32 * (2, -1) = (0, 55/32).
    X, y = [[1, 2], [2, -1]], [4, -2]
    path = delta_rule(X, y, eta=0.125, epochs=2, return_path=True)
    assert path.tolist() == [[0, 0], [1 / 2, 1], [0, 5 / 4], [3 / 16, 13 / 8], [0, 55 / 32]]
    assert delta_rule(X, y, eta=0.125, epochs=2).tolist() == path[-1].tolist()
    assert delta_rule(X, y, eta=0.125, w=path[2]).tolist() == path[-1].tolist()


def test_delta_rule_is_the_two_bp_lines():
    rng = np.random.default_rng(5)
    X, y = rng.integers(-4, 5, size=(8, 2)), rng.integers(-4, 5, size=8)
    eta = 2.0**-3  # three bits more per step: eight steps stay within the 53 of float64, and nothing rounds
    w1 = w2 = 0.0
    for (x1, x2), target in zip(X.tolist(), y.tolist(), strict=True):
        yhat = w1 * x1 + w2 * x2
        dw1 = -(target - yhat) * x1
        dw2 = -(target - yhat) * x2
        w1 = w1 - eta * dw1
        w2 = w2 - eta * dw2
    assert delta_rule(X, y, eta=eta).tolist() == [w1, w2]


def test_delta_rule_is_gradient_descent_on_half_squares():
    rng = np.random.default_rng(6)
    X, y, start = rng.normal(size=(30, 5)), rng.normal(size=30), rng.normal(size=5)
    longest = np.linalg.norm(X, axis=1).max()
    eta = 1 / longest**2
    path = delta_rule(X, y, eta=eta, w=start, epochs=2, return_path=True)

    w = torch.tensor(start)
    torch_path = [start]
    for x, target in zip(torch.tensor(np.tile(X, (2, 1))), torch.tensor(np.tile(y, 2)), strict=True):
        w.requires_grad_()
        (gradient,) = torch.autograd.grad(0.5 * (target - w @ x) ** 2, w)
        w = w.detach() - eta * gradient
        torch_path.append(w.numpy())

    # A step rounds I products, their sum, and four operations more, each by eps relative to at most
    # |w| + eta (|y| + |w| |x|) |x|. For eta |x|^2 <= 2 a step lengthens no earlier error, so that over the
    # steps errors only add, on either side.
    size = np.linalg.norm(path, axis=1).max()
    step = size + eta * (np.abs(y).max() + size * longest) * longest
    operations = 2 * 5 + 4
    tolerance = 2 * len(path) * operations * np.finfo(np.float64).eps * step
    np.testing.assert_allclose(path, torch_path, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8, np.uint8, np.bool_])
def test_delta_rule_computes_in_float64(dtype):
    X, y = GATES.astype(dtype), GATES[:, 0].astype(dtype)
    w = delta_rule(X, y, eta=0.1, w=np.ones(2, dtype))
    assert w.dtype == np.float64
    assert w.tolist() == delta_rule(GATES * 1.0, GATES[:, 0] * 1.0, eta=0.1, w=[1.0, 1.0]).tolist()


def test_delta_rule_at_the_edge_of_stability():
    # The error is multiplied by 1 - eta x^2: by 0, -1 and -2 for eta = 1, 2 and 3 at x = 1. Doubled 1,024
    # times, it exceeds the largest float64.
    assert delta_rule([[1]], [1], eta=1, epochs=3, return_path=True).tolist() == [[0], [1], [1], [1]]
    assert delta_rule([[1]], [1], eta=2, epochs=3, return_path=True).tolist() == [[0], [2], [0], [2]]
    assert np.isfinite(delta_rule([[1]], [1], eta=3, epochs=1023)).all()
    with pytest.raises(ValueError, match=r"below 2 / max \|\|x\|\|\^2 = 2, got 3\.0, .* overflowed in epoch 1024$"):
        delta_rule([[0], [1]], [0, 1], eta=3, epochs=2000)


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"eta": 0}, ValueError, "eta: expected a finite number > 0, got 0"),
        ({"eta": -0.5}, ValueError, "eta: .* got -0.5"),
        ({"eta": float("nan")}, ValueError, "eta: .* got nan"),
        ({"eta": float("inf")}, ValueError, "eta: .* got inf"),
        ({"eta": "0.1"}, TypeError, "eta: expected a finite number > 0, got '0.1'"),
        ({"epochs": 0}, ValueError, "epochs: .*at least 1, got 0"),
        ({"epochs": 2.0}, TypeError, "epochs: expected an integer.* got 2.0"),
        ({"w": [1.0]}, ValueError, r"w: expected shape \(2,\), one number per input, got \(1,\)"),
        ({"return_path": 1}, TypeError, "return_path: expected True or False, got 1"),
        ({"w": np.ma.array([1.0, 1.0])}, TypeError, "w: expected an array without a mask"),
        ({"w": [np.nan, 1.0]}, ValueError, "w: expected finite numbers"),
        ({"y": [1, 2]}, ValueError, r"y: expected shape \(4,\), .* got \(2,\)"),
        ({"y": [0, 1, np.inf, 1]}, ValueError, "y: expected finite numbers"),
        ({"X": [1, 2, 3, 4]}, ValueError, r"X: expected shape \(N, I\), .* got \(4,\)"),
        ({"X": []}, ValueError, r"X: expected at least one sample and one input, got shape \(0,\)"),
        ({"X": [["1", "2"]]}, TypeError, "X: expected real numbers, got dtype <U1"),
    ],
)
def test_delta_rule_names_bad_arguments(changed, error, words):
    arguments = {"X": GATES, "y": [0.0, 1.0, 1.0, 2.0], "eta": 0.1} | changed
    with pytest.raises(error, match=words):
        delta_rule(**arguments)


def test_the_largest_learning_rate_is_one():
    assert delta_rule([[0.0]], [0.0], eta=1e100).tolist() == [0.0]
    with pytest.raises(ValueError, match=r"^eta: expected a number of at most 1e\+100"):
        delta_rule([[0.0]], [0.0], eta=1.1e100)


def test_overflow_within_an_epoch_is_found_without_a_warning():
    """The error doubles 2,000 times, from 1: it is infinite after 1,024, and no number at all after the next."""
    with pytest.raises(ValueError, match=r"eta: .*\^2 = 2, got 3\.0, .* overflowed in epoch 1$"):
        delta_rule(np.ones((2000, 1)), np.ones(2000), eta=3)


def test_the_advised_bound_of_eta_is_computed_in_float64():
    """100 squared is 10,000, which int8 does not hold."""
    with pytest.raises(ValueError, match=r"2 / max \|\|x\|\|\^2 = 0\.0002, got 1\.0"):
        delta_rule(np.full((200, 1), 100, np.int8), np.ones(200), eta=1.0)


def test_one_weight_that_overflows_is_enough():
    with pytest.raises(ValueError, match=r"eta: expected a learning rate below .* overflowed in epoch 1$"):
        delta_rule([[1e100, 0.0]] * 2, [1e100, 0.0], eta=1.0)  # the second weight stays 0
