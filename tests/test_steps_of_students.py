"""Wrong steps of students' programs, each explained by a formula: of samples, labels, weights or two numbers."""

from __future__ import annotations

import numpy as np

import handmade as hm


def step_of_student(network, X, y, gradient, **options):
    (explanation,) = hm.diagnose_gradient(network, X, y, gradient, **options).explanations
    return explanation.name


def test_a_stale_value_in_a_loop_over_samples_is_seen():
    network = hm.MLP([3, 5, 3], activation="tanh", rng=21)
    X, y = 2 * np.random.default_rng(0).normal(size=(9, 3)), np.arange(9) % 3

    def gradient(parameters, X, y):
        W1, b1, W2, b2 = parameters
        H, before = np.tanh(X @ W1.T + b1), np.zeros((1, 5))
        dA2 = (hm.activations.softmax(H @ W2.T + b2) - np.eye(3)[y]) / len(X)
        dA1 = dA2 @ W2 * (1 - np.concatenate([before, H[:-1]]) ** 2)
        return [dA1.T @ X, dA1.sum(axis=0), dA2.T @ H, dA2.sum(axis=0)]

    name = step_of_student(network, X, y, gradient)
    assert name == "dA[0] = dH f'(A), of which f'(A) is right, but in each row that of the sample before"


def test_ignored_labels_with_a_gradient_are_seen():
    network = hm.MLP([4, 6, 3], rng=0)
    X, y = np.random.default_rng(1).normal(size=(10, 4)), np.array([0, -100, 2, 1, 0, 2, -100, 1, 1, 0])

    def gradient(parameters, X, y):
        W1, b1, W2, b2 = parameters
        H, counted = np.maximum(X @ W1.T + b1, 0), y >= 0
        dA2 = hm.activations.softmax(H @ W2.T + b2)
        dA2[counted, y[counted]] -= 1
        dA2 /= max(counted.sum(), 1)
        dA1 = dA2 @ W2 * (H > 0)
        return [dA1.T @ X, dA1.sum(axis=0), dA2.T @ H, dA2.sum(axis=0)]

    assert step_of_student(network, X, y, gradient) == "dA[2] = (P-Y) / number of labels that count"


def test_biases_without_the_weights_of_samples_are_seen():
    network = hm.MLP([4, 6, 3], activation="tanh", rng=0)
    rng = np.random.default_rng(1)
    X, y, weight = rng.normal(size=(10, 4)), np.arange(10) % 3, rng.uniform(0.5, 2, 10)
    W1, b1, W2, b2 = network.state_dict().values()
    H = np.tanh(X @ W1.T + b1)
    dA2 = (hm.activations.softmax(H @ W2.T + b2) - np.eye(3)[y]) / 10
    dA1 = dA2 @ W2 * (1 - H**2)
    w = weight[:, np.newaxis]
    claimed = [(w * dA1).T @ X, dA1.sum(axis=0), (w * dA2).T @ H, dA2.sum(axis=0)]
    name = step_of_student(network, X, y, claimed, sample_weight=weight)
    assert name == "db[2] = sum((dA / weight)) and db[0] = sum((dA / weight))"


def test_a_step_of_two_numbers_is_written_with_them():
    def pinball(A, Y):
        return np.maximum(0.8 * (Y - A), 0.2 * (A - Y)).sum()

    def pinball_backward(A, Y):
        return np.where(Y > A, -0.8, 0.2)

    network = hm.MLP([3, 8, 3], activation="tanh", rng=0)
    rng = np.random.default_rng(3)
    X, Y = rng.normal(size=(8, 3)), rng.normal(size=(8, 3))
    W1, b1, W2, b2 = network.state_dict().values()
    H = np.tanh(X @ W1.T + b1)
    dA2 = np.where(H @ W2.T + b2 < Y, -0.2, 0.8)
    dA1 = dA2 @ W2 * (1 - H**2)
    claimed = [dA1.T @ X, dA1.sum(axis=0), dA2.T @ H, dA2.sum(axis=0)]
    name = step_of_student(network, X, Y, claimed, loss=(pinball, pinball_backward))
    assert name in ("dA[2] = 0.8 where A-Y > 0, else -0.2", "dA[2] = -0.2 where A-Y < 0, else 0.8")
