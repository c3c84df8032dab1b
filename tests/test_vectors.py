"""Where long vectors begin in memory."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest

import handmade as hm

CACHE_LINE, PAGE = 64, 4096


def places(network, optimizer):
    names = [name for name in optimizer._initial_state() if getattr(optimizer, name) is not None]
    return [vector.ctypes.data for vector in (network.theta, network.gradient, *(getattr(optimizer, n) for n in names))]


@pytest.mark.parametrize("sizes", [(3, 4, 2), (784, 128, 10)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_vectors_of_an_update_begin_apart(sizes, dtype):
    network, optimizer = hm.MLP(sizes, rng=0, dtype=dtype), hm.Adam(amsgrad=True)
    X, y = np.ones((2, sizes[0])), np.array([0, 1])

    def check(network, optimizer):
        optimizer.step(network.theta, network.loss_and_gradient(X, y)[1])
        found = places(network, optimizer)
        assert len(found) == 5
        assert not any(place % CACHE_LINE for place in found)
        apart = [abs(one - other) % PAGE for one, other in itertools.combinations(found, 2)]
        assert min(min(distance, PAGE - distance) for distance in apart) >= 512

    check(network, optimizer)
    loaded = hm.Adam(amsgrad=True)
    loaded.load_state_dict(optimizer.state_dict())
    check(copy.deepcopy(network), loaded)
    check(network.astype(dtype), copy.deepcopy(optimizer))


def test_a_loaded_state_is_copied_not_changed():
    network, optimizer = hm.MLP([3, 4, 2], rng=0), hm.SGD(momentum=0.9)
    mine = np.ones(network.parameter_count)
    optimizer.momentum_buffer = mine
    optimizer.step(network.theta, network.loss_and_gradient(np.ones((2, 3)), [0, 1])[1])
    assert (mine == 1).all() and (optimizer.momentum_buffer != 1).any()
