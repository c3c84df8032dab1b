"""The base class of layers: what a subclass has to define, and its parameters."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
from layers_of_tests import assert_same

from handmade.base_layer import Layer
from handmade.layers import Dense
from handmade.network import Network


def test_a_layer_that_lacks_a_pass_says_which():
    class Half(Layer):
        pass

    for method, arguments in ("forward", [1]), ("backward", [1, 2]), ("predict", [1]):
        with pytest.raises(NotImplementedError, match=f"Half defines no {method.replace('predict', 'forward')}"):
            getattr(Half(), method)(*arguments)


@pytest.mark.parametrize("arguments", ["dH", "dH, need_dX=True"])
def test_a_backward_without_a_cache_is_refused_with_the_new_form(arguments):
    expected = r"^Old\.backward: expected backward\(self, dH, cache, need_dX=True\), got \(dH.*let forward"
    with pytest.raises(TypeError, match=expected):
        exec(f"class Old(Layer):\n    def backward(self, {arguments}): pass", {"Layer": Layer})


def test_a_backward_may_pass_all_its_arguments_on():
    class Logged(Dense):
        def backward(self, *arguments, **options):
            return super().backward(*arguments, **options)

    layer, X = Logged(3, 2, rng=0), np.ones((4, 3))
    H, cache = layer.forward(X)
    np.testing.assert_array_equal(layer.backward(H, cache), H @ layer.W)


def test_options_of_a_class_reach_its_other_bases():
    class Registry:
        def __init_subclass__(cls, *, title):
            cls.title = title

    class Titled(Layer, Registry, title="own"):
        pass

    assert Titled.title == "own"


@pytest.mark.parametrize("name", ["W", "b", "dW", "db"])
def test_assigning_writes_into_the_vectors_of_the_network(name):
    layer = Dense(3, 2, rng=0)
    network = Network([layer])
    vector = network.gradient if name.startswith("d") else network.theta
    new = np.arange(getattr(layer, name).size, dtype=float).reshape(getattr(layer, name).shape) + 7
    setattr(layer, name, new)
    block = "0.weight" if name.endswith("W") else "0.bias"
    np.testing.assert_array_equal(network.blocks(vector)[block], new)


class Doubling(Layer):
    """A layer that makes its parameter by assigning it."""

    parameters: ClassVar = {"weight": "w"}

    def __init__(self):
        super().__init__()
        self.w = [2.0, 2.0]


def test_assigning_a_parameter_makes_it_and_its_gradient():
    layer = Doubling()
    assert_same([layer.w, layer.dw], [np.array([2.0, 2.0]), np.zeros(2)])
    kept = layer.w
    layer.w = [3.0, 4.0]
    assert_same([kept], [np.array([3.0, 4.0])])
    with pytest.raises(ValueError, match=r"^w of .*: expected shape \(2,\), got \(3,\)$"):
        layer.w = np.ones(3)


def test_a_layer_of_its_own_claims_no_independent_rows():
    class Centred(Dense):
        def forward(self, X, training=False):
            return super().forward(X - X.mean(axis=0), training)

    class Named(Dense):
        pass

    assert Layer().rows_are_independent(False) is False
    assert Centred(3, 2).rows_are_independent(False) is False
    assert Named(3, 2).rows_are_independent(False) is True


def test_a_parameter_that_is_no_number_is_refused_by_name():
    with pytest.raises(TypeError, match=r"^W: expected an array of numbers"):
        Dense(2, 1).W = [["a", "b"]]


def test_a_parameter_is_a_copy_of_what_is_assigned():
    class Scale(Layer):
        parameters: ClassVar = {"weight": "w"}

    layer, w = Scale(), np.ones(3)
    layer.w = w
    layer.w += 1
    np.testing.assert_array_equal(w, np.ones(3))
    layer.w = w
    layer.w += 1
    np.testing.assert_array_equal(w, np.ones(3))
    np.testing.assert_array_equal(layer.w, np.full(3, 2.0))


def test_a_layer_alone_is_its_only_leaf():
    layer = Dense(2, 1)
    assert list(layer.leaves()) == [("", layer)]


def test_a_forward_without_a_cache_is_refused():
    class Bare(Layer):
        def forward(self, X, training=False):
            return X

        def backward(self, dH, cache, need_dX=True):
            return dH

    with pytest.raises(TypeError, match=r"Bare.forward: expected \(H, cache\), got ndarray alone"):
        Network([Dense(3, 2), Bare()]).predict(np.ones((2, 3)))


def test_a_layer_of_its_own_is_shown_by_its_name():
    class Own(Layer):
        pass

    assert repr(Network([Dense(3, 3), Own()])) == "Network([Dense(3, 3), Own])"


def test_parameters_are_a_mapping_to_arrays():
    class Missing(Layer):
        parameters: ClassVar = {"weight": "w"}

    with pytest.raises(TypeError, match=r"Missing: expected an array in 'w', .*; assign self.w"):
        Network([Missing()])
    with pytest.raises(TypeError, match="Listed: expected parameters such as"):
        type("Listed", (Layer,), {"parameters": ["w"]})
