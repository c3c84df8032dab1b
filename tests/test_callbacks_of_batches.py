"""Callbacks of batches that make a parameter infinite or NaN are named, and not blamed for divergence."""

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


def test_a_callback_of_batches_is_not_blamed_for_divergence():
    X, y = samples(20)
    with pytest.raises(FloatingPointError, match="training diverges"):
        optimizer = SGD(lr=1e308)
        fit(MLP([X.shape[1], 3, 3], rng=0), X, y, batch_size=4, optimizer=optimizer, callbacks=Spoils(99, 0.0))
