"""Weights of samples and classes in `fit`."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from oracles import assert_close
from trainings import fit, samples, targets, torch_twin

from handmade import MLP, SGD
from handmade.losses import cross_entropy

WEIGHTED = [
    "cross_entropy",
    "mse_loss",
    "half_squared_error",
    "hinge_loss",
    "binary_cross_entropy_with_logits",
]


ROUNDINGS = 5 * 100  # 5 steps of at most 100 roundings: the same 40 terms, summed in another order


@pytest.mark.parametrize("loss", WEIGHTED)
def test_an_integer_weight_is_a_repeated_sample(loss):
    X, y, weight = samples(12)[0], targets(loss, 12), np.array([1, 0, 2, 3] * 3)
    weighted, repeated = (MLP([3, 5, 3], activation="tanh", rng=1) for _ in range(2))
    options = {"loss": loss, "batch_size": None, "epochs": 5, "shuffle": False}
    history = fit(weighted, X, y, sample_weight=weight, optimizer=SGD(lr=0.1), **options)
    rows = np.repeat(np.arange(12), weight)
    expected = fit(repeated, X[rows], y[rows], optimizer=SGD(lr=0.1), **options)
    assert_close(weighted.theta, repeated.theta, operations=ROUNDINGS)
    assert_close(np.array(history.loss), np.array(expected.loss), operations=ROUNDINGS)


@pytest.mark.parametrize("batch_size", [1, 4, 12])
def test_weights_are_taken_relative_to_their_mean(batch_size):
    X, y = samples(12)
    weight = np.random.default_rng(3).uniform(0, 5, 12)
    network, by_hand, rescaled = (MLP([3, 5, 3], rng=1) for _ in range(3))
    options = {"optimizer": SGD(lr=0.1), "batch_size": batch_size, "epochs": 2, "shuffle": False}
    fit(network, X, y, sample_weight=weight, **options)
    fit(rescaled, X, y, sample_weight=1024 * weight, **options)
    for start in 2 * list(range(0, 12, batch_size)):
        rows = slice(start, start + batch_size)
        relative = weight[rows] / weight.mean()
        by_hand.theta -= 0.1 * by_hand.loss_and_gradient(X[rows], y[rows], sample_weight=relative)[1]
    assert np.array_equal(network.theta, by_hand.theta)
    assert np.array_equal(network.theta, rescaled.theta)


@pytest.mark.parametrize("class_weight", [[0.5, 2.0, 3.0], {0: 0.5, 1: 2.0, 2: 3.0}, {0: 1, 1: 0, 2: 4, -100: 9}])
@pytest.mark.parametrize("ignored", [-100, -1, 7, 1])
def test_ignored_labels_need_no_class_weight(ignored, class_weight):
    X, y = samples(12)
    y = np.where(y == ignored, 0, y)
    y[::4] = ignored
    kept = y != ignored
    loss = partial(cross_entropy, ignore_index=ignored)
    loss = "cross_entropy" if ignored == -100 else loss
    one, other = (MLP([3, 5, 3], rng=1) for _ in range(2))
    options = {"loss": loss, "class_weight": class_weight, "batch_size": None, "epochs": 5, "shuffle": False}
    fit(one, X, y, optimizer=SGD(lr=0.1), **options)
    fit(other, X[kept], y[kept], optimizer=SGD(lr=0.1), **options)
    assert_close(one.theta, other.theta, operations=ROUNDINGS)


def test_labels_that_are_not_ignored_need_a_class_weight():
    X, y = samples(12)
    for loss, label in (("cross_entropy", 2), (partial(cross_entropy, ignore_index=7), 2), ("multi_margin_loss", 1)):
        weights = {k: 1.0 for k in range(3) if k != label}
        with pytest.raises(ValueError, match=rf"missing \[{label}\]"):
            fit(MLP([3, 5, 3], rng=1), X, y, loss=loss, class_weight=weights)


def test_a_weight_of_zero_drops_a_sample():
    X, y = samples(12)
    weight = np.ones(12)
    weight[[3, 7]] = 0
    poisoned, X_poisoned = y.copy(), X.copy()
    poisoned[[3, 7]], X_poisoned[[3, 7]] = (y[[3, 7]] + 1) % 3, 5.0
    one, other, without = (MLP([3, 5, 3], rng=1) for _ in range(3))
    options = {"optimizer": SGD(lr=0.1), "batch_size": None, "epochs": 5, "shuffle": False}
    fit(one, X, y, sample_weight=weight, **options)
    fit(other, X_poisoned, poisoned, sample_weight=weight, **options)
    fit(without, X[weight > 0], y[weight > 0], **options)
    assert_close(other.theta, one.theta, operations=ROUNDINGS)
    assert_close(one.theta, without.theta, operations=ROUNDINGS)


@pytest.mark.parametrize(
    "class_weight",
    [[0.5, 2.0, 3.0], np.array([0.5, 2.0, 3.0]), {0: 0.5, 1: 2.0, 2: 3.0}, {2: 3.0, 0: 0.5, 1: 2.0, 9: 1.0}],
    ids=["list", "array", "mapping", "surplus"],
)
def test_class_weights_are_those_of_torch(class_weight):
    X, y = samples(12)
    network = MLP([3, 5, 3], activation="tanh", rng=1)
    twin = torch_twin(network)
    options = {"optimizer": SGD(lr=0.1), "batch_size": None, "epochs": 5, "shuffle": False}
    history = fit(network, X, y, class_weight=class_weight, **options)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    weight, expected = torch.tensor([0.5, 2.0, 3.0], dtype=torch.float64), []
    for _ in range(5):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(twin(torch.from_numpy(X)), torch.from_numpy(y), weight=weight)
        loss.backward()
        optimizer.step()
        expected.append(loss.item())
    theirs = torch.nn.utils.parameters_to_vector(twin.parameters()).detach().numpy()
    assert_close(network.theta, theirs, operations=ROUNDINGS)
    assert_close(np.array(history.loss), np.array(expected), operations=ROUNDINGS)


def test_class_weights_multiply_sample_weights():
    X, y = samples(12)
    sample_weight, class_weight = np.random.default_rng(3).uniform(0, 5, 12), np.array([0.5, 2.0, 3.0])
    both, product = MLP([3, 5, 3], rng=1), MLP([3, 5, 3], rng=1)
    fit(both, X, y, sample_weight=sample_weight, class_weight=class_weight, batch_size=4, rng=0)
    fit(product, X, y, sample_weight=sample_weight * class_weight[y], batch_size=4, rng=0)
    assert np.array_equal(both.theta, product.theta)
    assert sample_weight.max() > 1  # the caller's weights are left alone


def test_a_class_may_weigh_nothing():
    X, y = samples(20)
    kept = y != 1
    one, other = MLP([3, 3], rng=0), MLP([3, 3], rng=0)
    fit(one, X, y, class_weight=[1, 0, 1], epochs=3, batch_size=None, optimizer=SGD(lr=0.1))
    fit(other, X[kept], y[kept], epochs=3, batch_size=None, optimizer=SGD(lr=0.1))
    # The mean over the samples kept, and the mean of the weights, divide by the same count, one after the other.
    np.testing.assert_allclose(one.theta, other.theta, rtol=0, atol=ROUNDINGS * np.finfo(float).eps)
