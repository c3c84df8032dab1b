"""Generators of layers of one's own, under whatever name and in whatever layer: runs go on with the same numbers."""

from __future__ import annotations

import numpy as np
import pytest

import handmade as hm
from handmade._parameters import with_generators

X, y = hm.data.moons(40, noise=0.1, rng=0)


class Noise(hm.Layer):
    """A layer that adds noise in training, from a generator that is not called rng."""

    def __init__(self, seed=0):
        self.seed, self.generators = seed, [np.random.default_rng(seed), np.random.default_rng(seed + 1)]

    def forward(self, X, training=False):
        scale = 1.0 + sum(0.1 * g.normal(size=X.shape) for g in self.generators) if training else np.ones_like(X)
        return X * scale, scale

    def backward(self, dH, scale, need_dX=True):
        return dH * scale


class DropPath(hm.Residual):
    """A residual block that is left out in some batches; the composite itself draws."""

    def __init__(self, layers):
        super().__init__(layers)
        self.source, self.itself = np.random.default_rng(7), self

    def forward(self, X, training=False):
        kept = float(self.source.random() < 0.5) if training else 1.0
        H, cache = hm.Sequential.forward(self, X, training)
        return X + kept * H, (cache, kept)

    def backward(self, dH, cache, need_dX=True):
        cache, kept = cache
        return dH + hm.Sequential.backward(self, kept * dH, cache)


NETWORKS = {
    "a list": lambda: hm.Network([Noise(), hm.Dense(2, 4, rng=0), hm.Activation("tanh"), hm.Dense(4, 2, rng=1)]),
    "a composite": lambda: hm.Network(
        [hm.Dense(2, 2, rng=0), DropPath([hm.Dense(2, 2, rng=1)]), hm.Dense(2, 2, rng=2)]
    ),
}
EACH = pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS.keys())


@EACH
def test_a_resumed_run_draws_the_same_numbers(build, tmp_path):
    def train(epochs, path):
        network = build()
        hm.fit(network, X, y, epochs=epochs, batch_size=8, rng=0, progress=False, checkpoint=path)
        return network.theta

    train(2, tmp_path / "run")
    np.testing.assert_array_equal(train(4, tmp_path / "run"), train(4, None))


@EACH
def test_a_failed_step_leaves_all_generators(build):
    network, other = build(), build()
    with pytest.raises(ValueError, match=r"^y: "):
        network.loss_and_gradient(X, y + 1)
    assert network.loss_and_gradient(X, y)[0] == other.loss_and_gradient(X, y)[0]


def test_generators_may_be_exchanged_in_a_network():
    network, other = NETWORKS["a list"](), NETWORKS["a list"]()
    for one in network, other:
        one.layers[0].generators[1] = np.random.default_rng(9)
    with pytest.raises(ValueError, match=r"^y: "):
        network.loss_and_gradient(X, y + 1)
    assert network.loss_and_gradient(X, y)[0] == other.loss_and_gradient(X, y)[0]


def test_layers_that_hold_each_other_are_searched_once():
    one, other = Noise(), Noise(2)
    one.partner, other.partner = other, one
    assert len(with_generators(one)) == 4


@EACH
def test_a_gradient_is_checked_with_the_same_numbers(build):
    assert hm.check_gradient(build(), X, y)
