"""Statistics of a layer, which are in its state_dict and not learnt: assigned, owned by a network, refused by name."""

from __future__ import annotations

import copy
import pickle
from typing import ClassVar

import numpy as np
import pytest

import handmade as hm


class Passes(hm.Layer):
    """A layer that changes nothing; a subclass has statistics."""

    def forward(self, X, training=False):
        return X, None

    def backward(self, dH, cache, need_dX=True):
        return dH


class Counts(Passes):
    """A layer that counts batches, as a number of Python, and averages them, by assigning new arrays."""

    state = ("count", "average")

    def __init__(self):
        self.count = 0
        self.average = np.zeros(2)

    def forward(self, X, training=False):
        if training:
            self.count += 1
            self.average = 0.5 * self.average + 0.5 * X.mean(axis=0)
        return X, None


class NamedInAnObject(Counts):
    state = ()

    def __init__(self):
        self.state = ("count", "average")
        super().__init__()


class NamedWithValues(Counts):
    count, average = 0, np.zeros(2)

    def __init__(self):
        pass


EACH = pytest.mark.parametrize("kind", [Counts, NamedInAnObject, NamedWithValues])


def network_of(layer):
    return hm.Network([hm.Dense(2, 2, rng=0), layer, hm.Dense(2, 2, rng=1)])


def listed(network):
    """Return whether the network's list of statistics holds the very arrays of its layers."""
    arrays = [getattr(leaf, name) for _, leaf in network.leaves() for name in leaf.state]
    return all(a is b for a, b in zip(network._statistics, arrays, strict=True))


def test_assigning_a_statistic_copies_into_its_array():
    layer = hm.BatchNorm(2)
    network = network_of(layer)
    held = [layer.running_mean, layer.running_var, layer.num_batches_tracked]
    layer.running_mean, layer.running_var, layer.num_batches_tracked = [1, 2], np.float32([3, 4]), 5
    assert [array.tolist() for array in held] == [[1, 2], [3, 4], 5]
    assert listed(network) and layer.running_var is held[1]


def test_a_statistic_takes_numbers_of_another_precision():
    network = hm.Network([hm.Dense(2, 2, rng=0), hm.BatchNorm(2)], dtype="float32")
    network.layers[1].running_mean = np.array([0.5, 2.0])
    assert network.layers[1].running_mean.dtype == np.float32
    np.testing.assert_array_equal(network.layers[1].running_mean, [0.5, 2.0])


def test_assigned_statistics_come_back_after_a_failed_step():
    layer = hm.BatchNorm(2)
    network = network_of(layer)
    layer.running_var = [3.0, 4.0]
    with pytest.raises(ValueError, match=r"^y: "):
        network.loss_and_gradient(np.eye(2), [0, 7])
    assert layer.running_var.tolist() == [3.0, 4.0] and layer.num_batches_tracked == 0


@EACH
def test_own_statistics_may_be_numbers_and_new_arrays(kind):
    network, X = network_of(kind()), np.array([[1.0, 2.0], [3.0, 5.0]])
    layer = network.layers[1]
    for _ in range(2):
        network.loss_and_gradient(X, [0, 1])
        assert listed(network)
    assert layer.count.dtype == np.int64 and layer.count == 2
    before = network.state_dict()
    with pytest.raises(ValueError, match=r"^y: "):
        network.loss_and_gradient(X, [0, 7])
    for name, array in network.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    assert kind().count == 0


@EACH
@pytest.mark.parametrize("way", [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))])
def test_a_copy_holds_own_statistics_of_its_own(kind, way):
    network = network_of(kind())
    clone = way(network)
    clone.layers[1].count, clone.layers[1].average = 3, [1.0, 2.0]
    assert listed(network) and listed(clone)
    assert network.layers[1].count == 0 and not network.layers[1].average.any()
    single = clone.astype(np.float32)
    assert listed(single) and single.layers[1].average.dtype == np.float32 and single.layers[1].count == 3


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (np.ones(1), ValueError, r"^running_var of BatchNorm\(2\): expected shape \(2,\), got \(1,\)"),
        (None, TypeError, "^running_var: expected an array, got NoneType"),
        (np.ma.array([1.0, 2.0], mask=[0, 1]), TypeError, "^running_var: expected an array without a mask"),
        ([1j, 2j], TypeError, r"^running_var of BatchNorm\(2\): expected numbers for float64, got complex128"),
        (["a", "b"], TypeError, "^running_var of .*: expected numbers for float64, got <U1"),
    ],
)
@pytest.mark.parametrize("owned", [False, True])
def test_a_statistic_of_another_kind_is_refused(value, error, words, owned):
    layer = hm.BatchNorm(2)
    if owned:
        network_of(layer)
    with pytest.raises(error, match=words):
        layer.running_var = value
    assert layer.running_var.tolist() == [1.0, 1.0]
    with pytest.raises(TypeError, match=r"^num_batches_tracked of .*: expected numbers for int64, got float64"):
        layer.num_batches_tracked = 2.5


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        (
            {"state": ("count",)},
            "^Own: expected an array in 'count', which its state name, got none; assign self.count",
        ),
        ({"state": "count", "count": 0}, r"^Own: expected state such as \('count',\), got 'count'"),
        ({"state": ("count",), "count": None}, "^count: expected an array, got NoneType"),
        ({"state": ("count",), "count": np.array(["a"])}, "^count of Own: expected numbers, got dtype <U1"),
        ({"parameters": {"weight": "w"}}, "^Own: expected an array in 'w', which its parameters name, got none"),
    ],
)
def test_what_cannot_be_owned_is_named_and_stays_free(attributes, words):
    own, below = type("Own", (Passes,), attributes)(), hm.Dense(2, 2)
    with pytest.raises(TypeError, match=words):
        hm.Network([below, own])
    assert not below.owned and not own.owned


def test_parameters_that_an_object_names_are_refused():
    class Scale(Passes):
        state: ClassVar = ()

        def __init__(self):
            self.parameters, self.w = {"weight": "w"}, np.ones(2)

    with pytest.raises(TypeError, match=r"^Scale: expected a class whose parameters name 'w', got an object whose do"):
        hm.Network([Scale()])


def test_a_mask_may_be_a_statistic():
    class Pruned(Passes):
        state = ("mask",)

        def __init__(self):
            self.mask = np.array([True, False])

    network = network_of(Pruned())
    network.layers[1].mask = [False, True]
    network.load_state_dict(network.state_dict())
    assert network.layers[1].mask.dtype == bool and network.layers[1].mask.tolist() == [False, True]
    with pytest.raises(TypeError, match=r"^state_dict: 1\.mask: expected True or False, got dtype float64"):
        network.load_state_dict(network.state_dict() | {"1.mask": np.ones(2)})
