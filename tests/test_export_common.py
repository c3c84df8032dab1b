"""The checks that all exporters share."""

from __future__ import annotations

import numpy as np
import pytest

import handmade as hm
from handmade.export._common import (
    check_network,
    emitter_of,
    export_array,
    full_options,
    input_width,
    running_moments,
)


def network_of(outputs=3, last=None):
    layers = [hm.Dense(4, outputs, rng=0)]
    return hm.Network([*layers, hm.Activation(last)] if last else layers)


@pytest.mark.parametrize("dtype", ["float32", np.float64])
def test_the_dtype_of_an_export_is_checked(dtype):
    assert check_network(network_of(), False, dtype) == np.dtype(dtype)
    assert check_network(network_of(), True, dtype) == np.dtype(dtype)
    with pytest.raises((ValueError, TypeError), match="dtype"):
        check_network(network_of(), False, "int32")


@pytest.mark.parametrize(
    ("outputs", "last", "ending"),
    [
        (3, "softmax", "one that ends with softmax"),
        (3, "sigmoid", "one that ends with sigmoid"),
        (1, None, "one of a single output"),
        (1, "sigmoid", "one that ends with sigmoid"),
        (1, "tanh", "one of a single output"),
    ],
)
def test_a_softmax_is_of_several_logits(outputs, last, ending):
    network = network_of(outputs, last)
    assert check_network(network, False, "float64") == np.dtype("float64")
    with pytest.raises(ValueError, match=f"^softmax: expected a network of logits of several classes, got {ending};"):
        check_network(network, True, "float64")
    assert check_network(network_of(3, "tanh"), True, "float64") == np.dtype("float64")
    with pytest.raises(TypeError, match=r"^softmax: expected"):
        check_network(network, 1, "float64")


def test_a_softmax_at_the_end_of_a_chain_inside_is_found():
    inside = hm.Sequential([hm.Sequential([hm.Dense(4, 3, rng=0), hm.Activation("softmax")])])
    with pytest.raises(ValueError, match=r"^softmax: expected a network of logits .* got one that ends with softmax"):
        check_network(hm.Network([inside]), True, "float64")
    skipped = hm.Residual([hm.Dense(3, 3, rng=0), hm.Activation("softmax")])  # whose output is no softmax
    assert check_network(hm.Network([skipped]), True, "float64") == np.dtype("float64")


def test_a_network_knows_its_inputs_and_has_its_own_methods():
    assert input_width(network_of()) == 4
    with pytest.raises(ValueError, match="expected a network that knows its number of inputs; begin it with a Dense"):
        input_width(hm.Network([hm.Activation("tanh")]))

    class Other(hm.Network):
        def predict(self, X):
            return super().predict(X) + 1

    with pytest.raises(TypeError, match=r"^export: expected a network with the predict of hm\.Network, got a Other"):
        check_network(Other([hm.Dense(4, 3, rng=0)]), False, "float64")


@pytest.mark.parametrize("export", [hm.export.to_c, hm.export.to_onnx])
def test_a_network_of_complex_numbers_has_no_export(export):
    with pytest.raises(TypeError, match=r"^dtype: expected float64 or float32, got complex128"):
        export(hm.MLP([2, 1]).astype("complex128"))


def test_every_number_fits_the_dtype_of_the_export():
    network = network_of()
    network.layers[0].b[1] = 1e300
    assert check_network(network, False, "float64") == np.dtype("float64")
    with pytest.raises(ValueError, match=r"^0\.bias: expected numbers that float32 can hold, got 1e\+300"):
        check_network(network, False, "float32")
    array = export_array([1.0, 2.0], np.dtype("float32"), "x")
    assert (array.dtype, array.tolist()) == (np.dtype("float32"), [1, 2])
    with pytest.raises(ValueError, match=r"^x: expected numbers that float64 can hold, got nan"):
        export_array(np.array([1.0, np.nan, np.inf]), np.dtype("float64"), "x")


def test_a_layer_without_an_entry_is_told_the_known_ones():
    table = {hm.Dense: "dense", "tanh": "tangent"}
    assert emitter_of(hm.Dense, table, hm.Dense(2, 2, rng=0), "C") == "dense"
    with pytest.raises(ValueError, match=r"^C: expected one of Dense, tanh; got Dropout"):
        emitter_of(hm.Dropout, table, hm.Dropout(0.5), "C")

    layer = hm.Dense(2, 2, rng=0)
    layer.forward = lambda X, training=False: (X, None)
    with pytest.raises((TypeError, ValueError), match="forward"):
        emitter_of(hm.Dense, table, layer, "C")


def test_running_averages_are_needed():
    layer = hm.BatchNorm(3)
    mean, var = running_moments(layer)
    assert mean is layer.running_mean and var is layer.running_var
    with pytest.raises(ValueError, match="expected running averages, got track_running_stats=False"):
        running_moments(hm.BatchNorm(3, track_running_stats=False))


@pytest.mark.parametrize(
    ("layer", "options"),
    [
        (hm.Activation("tanh"), {}),
        (hm.Activation("leaky_relu"), {"negative_slope": 0.01}),
        (hm.Activation("leaky_relu", negative_slope=0.3), {"negative_slope": 0.3}),
        (hm.Activation("softmax"), {}),
        (hm.Activation("softmax", dim=1), {}),
        (hm.Activation("hardtanh", max_val=2.0), {"min_val": -1.0, "max_val": 2.0}),
    ],
    ids=repr,
)
def test_options_of_an_activation_are_complete(layer, options):
    assert full_options(layer) == options


def test_a_softmax_over_samples_has_no_export():
    with pytest.raises(ValueError, match="expected dim=-1, the outputs of each sample, got 0"):
        full_options(hm.Activation("softmax", dim=0))
