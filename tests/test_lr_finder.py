"""The learning-rate finder: its steps, its suggestion, and that it changes nothing."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import handmade as hm
from handmade.lr_finder import find_lr

X, y = hm.load_digits()


def network():
    return hm.MLP([64, 16, 10], rng=0)


def bowl(curvature):
    """Return a network of one weight and a batch on which the loss is 1/2 curvature w**2."""
    network = hm.MLP([1, 1], bias=False)
    network.theta[:] = 1.0
    return network, np.full((4, 1), np.sqrt(curvature)), np.zeros((4, 1))


def test_steps_are_those_of_the_optimizer_with_growing_lr():
    smallest, inputs, targets = bowl(1.0)
    search = find_lr(
        smallest, inputs, targets, loss="half_squared_error", optimizer=hm.SGD(), start_lr=0.01, end_lr=1.0, steps=10
    )
    np.testing.assert_allclose(search.lr, np.geomspace(0.01, 1.0, 10), rtol=1e-15)
    w = np.cumprod([1.0, *(1 - search.lr[:-1])])
    np.testing.assert_allclose(search.loss, w**2 / 2, rtol=1e-13)  # some 5 roundings in each of 10 steps


@pytest.mark.parametrize("curvature", [0.1, 1.0, 100.0])
def test_suggestion_is_below_the_rate_that_diverges(curvature):
    # From 2 / curvature on the steps climb; a hundredth of it hardly moves.
    search = find_lr(*bowl(curvature), loss="half_squared_error", optimizer=hm.SGD(), end_lr=1e3, steps=200)
    assert 0.01 * 2 / curvature < search.suggestion < 2 / curvature


@pytest.mark.parametrize("optimizer", [hm.SGD(), hm.SGD(momentum=0.9), hm.Adam()], ids=["SGD", "momentum", "Adam"])
def test_suggestion_trains_the_digits(optimizer):
    search = find_lr(network(), X, y, optimizer=optimizer, rng=0)
    trained, optimizer = network(), copy.deepcopy(optimizer)
    optimizer.lr = search.suggestion
    history = hm.fit(trained, X, y, optimizer=optimizer, epochs=3, progress=False, rng=0)
    assert history.loss[-1] < 0.5  # from 2.3


def test_search_ends_when_the_loss_diverges():
    search = find_lr(network(), X, y, optimizer=hm.SGD(), end_lr=1e6, rng=0)
    assert len(search.lr) == len(search.loss) == len(search.smoothed) < 100
    assert np.isfinite(search.loss).all()


def test_search_changes_neither_network_nor_optimizer():
    trained, optimizer = network(), hm.Adam(lr=0.5)
    theta, gradient, state = trained.theta.copy(), trained.gradient.copy(), repr(optimizer.state_dict())
    find_lr(trained, X, y, optimizer=optimizer, rng=0)
    assert (trained.theta == theta).all() and (trained.gradient == gradient).all()
    assert repr(optimizer.state_dict()) == state


def test_same_seed_gives_the_same_search():
    first, second = (find_lr(network(), X, y, rng=3) for _ in range(2))
    assert (first.loss == second.loss).all() and first.suggestion == second.suggestion


def test_search_takes_fewer_samples_than_a_batch():
    search = find_lr(hm.MLP([2, 8, 2], rng=0), *hm.data.xor(), batch_size=64, rng=0)
    assert len(search.loss) >= 2


def test_loss_that_never_falls_gives_no_suggestion():
    minimum, inputs, targets = bowl(1.0)
    minimum.theta[:] = 0.0
    search = find_lr(minimum, inputs, targets, loss="half_squared_error", optimizer=hm.SGD())
    assert search.suggestion is None
    assert str(search).endswith("the loss never falls")


def test_search_is_printed_and_shown():
    search = find_lr(network(), X, y, optimizer=hm.SGD(), rng=0)
    assert str(search) == repr(search) and f"falls fastest at {search.suggestion:.2g}" in str(search)
    assert str(search) in search._repr_html_() and search._repr_html_().count("<tr>") == 13


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"optimizer": object()}, TypeError, "optimizer: expected an object with an attribute lr"),
        ({"start_lr": 0.0}, ValueError, "start_lr: expected a finite number > 0, got 0.0"),
        ({"start_lr": 1.0, "end_lr": 1.0}, ValueError, "end_lr: expected more than start_lr = 1.0, got 1.0"),
        ({"steps": 9}, ValueError, "steps: expected an integer of at least 10, got 9"),
        ({"batch_size": 0}, ValueError, "batch_size: expected an integer of at least 1, got 0"),
        ({"y": y[:-1]}, ValueError, r"y: expected one target per row of X \(1797, 64\)"),
        ({"X": np.ma.array(X, mask=X > 0.5)}, TypeError, "X: expected an array without a mask"),
        ({"rng": -1}, ValueError, "rng: "),
        ({"X": np.full_like(X, np.nan)}, ValueError, "X: expected finite"),
        ({"loss": "mse"}, ValueError, "mse"),
        (
            {"optimizer": hm.SGD(), "start_lr": 1e300, "end_lr": 1e308},
            ValueError,
            "start_lr: expected a rate with a finite loss",
        ),
    ],
)
def test_bad_arguments_are_named(change, error, words):
    arguments = {"X": X, "y": y, "rng": 0} | change
    with pytest.raises(error, match=words):
        find_lr(network(), arguments.pop("X"), arguments.pop("y"), **arguments)


def test_no_batch_size_takes_all_samples_as_in_fit():
    options = dict(optimizer=hm.SGD(), steps=10, rng=0)
    every, whole = (find_lr(network(), X, y, batch_size=size, **options) for size in (None, len(X)))
    np.testing.assert_array_equal(every.loss, whole.loss)
