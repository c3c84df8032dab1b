"""Callbacks of batches that make a parameter or statistic infinite or NaN are named, and not blamed for divergence."""

from __future__ import annotations

import numpy as np
import pytest
from trainings import fit, samples

from handmade import MLP, SGD


class Spoils:
    """A callback that writes a number into a parameter after so many steps."""

    def __init__(self, step, number):
        self.left, self.number = step, number

    def __call__(self, network, history):
        return None

    def on_batch(self, network, loss):
        self.left -= 1
        if self.left == 0:
            network.theta[3] = self.number


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("step", [1, 3, 5])
@pytest.mark.parametrize("compile", [False, True])
def test_a_callback_of_batches_that_spoils_a_weight_is_named(compile, step, number):
    if compile:
        pytest.importorskip("numba")
    X, y = samples(20)
    network = MLP([X.shape[1], 3, 3], rng=0)
    before = network.theta.copy()
    with pytest.raises(FloatingPointError, match=r"0\.weight: expected finite numbers, .* from the callback .*Spoils"):
        fit(network, X, y, batch_size=4, epochs=1, callbacks=Spoils(step, number), compile=compile)
    assert (network.theta == before).all()


class Writes(Spoils):
    """A callback that writes a number into an array of the network after so many steps."""

    def __init__(self, step, number, array_of):
        super().__init__(step, number)
        self.array_of = array_of

    def on_batch(self, network, loss):
        self.left -= 1
        if self.left == 0:
            self.array_of(network)[-1:] = self.number


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["running_mean", "running_var"])
@pytest.mark.parametrize("step", [1, 5])
def test_a_callback_that_spoils_statistics_is_named(step, name, number):
    X, y = samples(20)
    network = MLP([X.shape[1], 3, 3], normalization="batch", rng=0)
    callback = Writes(step, number, lambda network: getattr(network.layers[1], name))
    with pytest.raises(FloatingPointError, match=rf"1\.{name}: expected finite numbers, .* from the callback .*Writes"):
        fit(network, X, y, batch_size=4, epochs=1, callbacks=callback)
    assert np.isfinite(getattr(network.layers[1], name)).all()


def negative_variance(network):
    network.layers[1].running_var[1] = -0.5


def new_variance(network):
    network.layers[1].running_var = np.full(3, -0.5)


def negative_count(network):
    network.layers[1].num_batches_tracked[...] = -3


def new_variance_of_nan(network):
    network.layers[1].running_var = np.full(3, np.nan)


WRITES = [
    (negative_variance, "running_var: expected numbers of at least 0, got -0.5"),
    (new_variance, "running_var: expected numbers of at least 0, got -0.5"),
    (negative_count, "num_batches_tracked: expected numbers of at least 0, got -3"),
    (new_variance_of_nan, "running_var: expected finite numbers, got others"),
]


@pytest.mark.parametrize(("write", "words"), WRITES)
@pytest.mark.parametrize("when", ["batch", "epoch"])
def test_a_callback_that_makes_a_statistic_impossible_is_named(when, write, words):
    class Mine:
        def __call__(self, network, history):
            if when == "epoch":
                write(network)

        def on_batch(self, network, loss):
            if when == "batch":
                write(network)

    X, y = samples(20)
    callbacks = [lambda network, history: None, Mine(), Spoils(99, 0.0)]
    with pytest.raises(FloatingPointError, match=f"^1.{words} from the callback .*Mine"):
        fit(MLP([3, 3, 3], normalization="batch", rng=0), X, y, batch_size=4, epochs=1, callbacks=callbacks)


def test_a_callback_is_not_blamed_for_what_was_wrong_before():
    X, y = samples(20)
    network = MLP([3, 3, 3], normalization="batch", rng=0)
    network.layers[1].running_var[:] = -1e6
    fit(network, X, y, batch_size=4, epochs=1, callbacks=Spoils(99, 0.0))
    assert network.layers[1].running_var.max() < 0


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_spoiled_weight_is_seen_where_their_sum_overflows(number):
    X, y = samples(20)
    network = MLP([X.shape[1], 3, 3], rng=0, dtype="float32")
    network.layers[2].b[:2] = np.finfo(np.float32).max  # one class is certain, and no product overflows
    with np.errstate(over="ignore"):
        assert np.isinf(network.theta.sum())
    with pytest.raises(FloatingPointError, match=r"0\.weight: expected finite numbers, .* from the callback .*Writes"):
        callback = Writes(2, number, lambda network: network.layers[0].W)
        fit(network, X, y, batch_size=4, epochs=1, callbacks=callback)


def test_a_callback_of_batches_is_not_blamed_for_divergence():
    X, y = samples(20)
    with pytest.raises(FloatingPointError, match="training diverges"):
        optimizer = SGD(lr=1e308)
        fit(MLP([X.shape[1], 3, 3], rng=0), X, y, batch_size=4, optimizer=optimizer, callbacks=Spoils(99, 0.0))
