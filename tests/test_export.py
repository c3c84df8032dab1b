"""Export: ONNX Runtime and a C compiler compute what the network computes, within rounding."""

from __future__ import annotations

import re

import numpy as np
import pytest

import handmade as hm
from handmade import _config
from handmade.export import c as c_export
from handmade.export import onnx as onnx_export
from tests.exports import NO_ERF, ROUNDINGS, assert_equal_within_rounding, needs_cc, run_c, run_onnx

OPTIONS = {
    "leaky_relu": [{}, {"negative_slope": 0.3}],
    "elu": [{}, {"alpha": 0.5}],
    "gelu": [{}, {"approximate": "tanh"}],
    "softplus": [{}, {"beta": 2.5}, {"beta": 2.0, "threshold": 1.0}],
    "celu": [{}, {"alpha": 2.5}],
    "hardtanh": [{}, {"min_val": -0.5, "max_val": 2.0}],
    "threshold": [{}, {"threshold": 0.1, "value": -2.0}],
    "softmax": [{}, {"dim": 1}],
}
CASES = [(name, options) for name in hm.activations.ACTIVATIONS for options in OPTIONS.get(name, [{}])]
INPUTS = np.concatenate([np.linspace(-30, 30, 901), [0.0, 1e-30, -1e-30, 80.0, -80.0, 0.5, -0.5]]).reshape(-1, 4)


def deep_network(dtype="float32") -> hm.Network:
    inner = [hm.Dense(6, 6, bias=False), hm.Activation("leaky_relu", negative_slope=0.3), hm.Dropout(0.3)]
    network = hm.Network(
        [
            hm.Parallel([hm.Dense(2, 3)], [hm.Parallel([hm.Dense(1, 2)], [hm.Dense(1, 1), hm.BatchNorm(1)])]),
            hm.BatchNorm(6),
            hm.LayerNorm(6, eps=1e-3),
            hm.RMSNorm(6, eps=0.01),
            hm.GroupNorm(2, 6, eps=0.1, bias=False),
            hm.AlphaDropout(0.2),
            hm.RMSNorm(6, elementwise_affine=False),
            hm.Residual([hm.Sequential(inner)]),
            hm.Concatenate([hm.Dense(6, 3), hm.BatchNorm(3), hm.Activation("softmax")]),
            hm.Activation("gelu", approximate="tanh"),
            hm.PReLU(9),
            hm.Dense(9, 16),
            hm.GLU(),
            hm.PReLU(),
            hm.SwiGLU(),
            hm.Activation("log_softmax"),
        ],
        dtype=dtype,
    )
    rng = np.random.default_rng(3)
    network.theta[:] = rng.normal(size=network.theta.size)
    state = network.state_dict()
    for name in state:
        if "running" in name:
            state[name] = rng.uniform(0.5, 2, state[name].shape)
    network.load_state_dict(state)
    return network


# ---- both ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [onnx_export, c_export])
def test_tables_hold_every_activation_and_layer(module):
    assert hm.activations.ACTIVATIONS.keys() <= module.ACTIVATIONS.keys()
    missing = set(_config.LAYERS.values()) - module.LAYERS.keys() - {hm.Network, hm.MLP}
    assert {kind for kind in missing if kind.__module__.startswith("handmade")} == set()


@pytest.mark.parametrize("export", [hm.export.to_onnx, hm.export.to_c])
def test_foreign_layers_and_bad_calls_are_refused(export, tmp_path):
    class Own(hm.Dense):
        pass

    pair = (hm.activations.silu, hm.activations.silu_backward)
    large = hm.MLP([1, 1])
    large.theta[1] = 1e300
    for network, error, match in [
        (hm.Network([Own(1, 1)]), ValueError, f"^{export.__name__}: expected one of .*Dense.*; got Own"),
        (hm.MLP([1, 2, 1], pair), ValueError, f"^{export.__name__}: expected one of identity.*; got Activation"),
        (hm.Network([hm.Activation("relu")]), ValueError, "number of inputs"),
        (hm.Network([hm.Dense(1, 2), hm.Activation("softmax", dim=0)]), ValueError, "dim=-1"),
        (large, ValueError, "0.bias: expected numbers that float32 can hold"),
        (None, TypeError, "Network"),
    ]:
        with pytest.raises(error, match=match):
            export(network, tmp_path / "file")
    with pytest.raises(TypeError, match="dtype"):
        export(hm.MLP([1, 1]), tmp_path / "file", dtype="float16")
    assert not list(tmp_path.iterdir())


# ---- ONNX ----------------------------------------------------------------------------------------------------------


TYPED_CASES = [(*case, dtype) for case in CASES for dtype in ("float32", "float64") if (*case, dtype) != NO_ERF]


@pytest.mark.parametrize(("name", "options", "dtype"), TYPED_CASES)
def test_onnx_runtime_agrees_on_activations(name, options, dtype):
    network = hm.Network([hm.Dense(4, 4), hm.Activation(name, **options)], dtype=dtype)
    network.theta[:] = [*np.eye(4).ravel(), *np.zeros(4)]
    X = INPUTS.astype(dtype)
    assert_equal_within_rounding(run_onnx(hm.export.to_onnx(network, dtype=dtype), X), network, X)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_onnx_runtime_agrees_on_layers(dtype):
    network = deep_network(dtype)
    X = np.random.default_rng(0).normal(size=(200, 4)).astype(dtype)
    assert_equal_within_rounding(run_onnx(hm.export.to_onnx(network, dtype=dtype), X), network, X)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_onnx_runtime_takes_bounds_above_a_relu(dtype):
    bounded = [layer for name in ("hardtanh", "relu6", "softshrink") for layer in ("relu", name)]
    network = hm.Network([hm.Dense(4, 4, rng=0), *map(hm.Activation, bounded)], dtype=dtype)
    X = INPUTS.astype(dtype)
    assert_equal_within_rounding(run_onnx(hm.export.to_onnx(network, dtype=dtype), X), network, X)


def test_onnx_softmax_is_appended():
    network = hm.MLP([3, 4, 2], rng=0)
    X = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    P = run_onnx(hm.export.to_onnx(network, softmax=True), X)
    assert np.abs(P - hm.activations.softmax(network.predict(X))).max() < ROUNDINGS * np.finfo(np.float32).eps


def test_onnx_file_states_versions_and_names(tmp_path):
    onnx = pytest.importorskip("onnx")
    network = hm.MLP([3, 4, 2], rng=0)
    hm.export.to_onnx(network, tmp_path / "n.onnx")
    model = onnx.load(tmp_path / "n.onnx")
    assert [(o.domain, o.version) for o in model.opset_import] == [("", onnx_export.OPSET)]
    assert {tensor.name for tensor in model.graph.initializer} == set(network.state_dict())
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
    assert (model.producer_name, model.producer_version) == ("handmade", hm.__version__)


def test_onnx_weights_have_the_names_of_the_state_dict():
    pytest.importorskip("onnx")
    network = deep_network()
    initializers = hm.export.to_onnx(network).graph.initializer
    names = {tensor.name for tensor in initializers if not tensor.name.startswith("constant_")}
    normalized = {name.removesuffix("running_var") for name in network.state_dict() if name.endswith("running_var")}
    folded = {f"{prefix}{name}" for prefix in normalized for name in ("weight", "running_var", "num_batches_tracked")}
    assert names >= {f"{prefix}scale" for prefix in normalized} | (set(network.state_dict()) - folded)
    assert all(re.fullmatch(r"(\d+\.)+(weight|bias|running_mean|scale)", name) for name in names)


def test_onnx_runtime_agrees_on_a_single_group():
    network = hm.Network([hm.Parallel([hm.Dense(4, 3, rng=0), hm.Activation("tanh")])])
    X = INPUTS.astype(np.float32)
    assert_equal_within_rounding(run_onnx(hm.export.to_onnx(network), X), network, X)


@pytest.mark.parametrize("n_samples", [0, 3])
def test_onnx_runtime_takes_batches_of_any_size(n_samples):
    model = hm.export.to_onnx(deep_network())
    assert run_onnx(model, INPUTS[:n_samples].astype(np.float32)).shape == (n_samples, 4)


def test_nan_stays_nan_in_onnx_activations():
    names = list(hm.activations.ACTIVATIONS)
    network = hm.Network([hm.Parallel(*([hm.Dense(1, 1), hm.Activation(name)] for name in names))])
    H = run_onnx(hm.export.to_onnx(network), np.full((1, len(names)), np.nan, np.float32))
    assert [name for name, h in zip(names, H[0], strict=True) if not np.isnan(h)] == []


def test_missing_onnx_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(ImportError, match=r"handmade\[onnx\]"):
        hm.export.to_onnx(hm.MLP([1, 1]))


# ---- C -------------------------------------------------------------------------------------------------------------


@needs_cc
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_compiled_activations_agree(tmp_path, dtype):
    # All in one file, side by side.
    groups = [[hm.Dense(4, 4), hm.Activation(name, **options)] for name, options in CASES]
    network = hm.Network([hm.Parallel(*groups)], dtype=dtype)
    network.theta[:] = [*np.eye(4).ravel(), *np.zeros(4)] * len(groups)
    X = np.tile(INPUTS, len(groups)).astype(dtype)
    assert_equal_within_rounding(run_c(hm.export.to_c(network, dtype=dtype), X, tmp_path), network, X)


@needs_cc
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_compiled_layers_agree(tmp_path, dtype):
    network = deep_network(dtype)
    X = np.random.default_rng(0).normal(size=(200, 4)).astype(dtype)
    assert_equal_within_rounding(run_c(hm.export.to_c(network, dtype=dtype), X, tmp_path), network, X)


@needs_cc
def test_nan_stays_nan_in_compiled_activations(tmp_path):
    names = list(hm.activations.ACTIVATIONS)
    network = hm.Network([hm.Parallel(*([hm.Dense(1, 1), hm.Activation(name)] for name in names))])
    H = run_c(hm.export.to_c(network), np.full((1, len(names)), np.nan, np.float32), tmp_path)
    assert [name for name, h in zip(names, H[0], strict=True) if not np.isnan(h)] == []


@needs_cc
def test_compiled_softmax_is_appended(tmp_path):
    network = hm.MLP([3, 4, 2], rng=0)
    X = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    P = run_c(hm.export.to_c(network, softmax=True), X, tmp_path)
    assert np.abs(P - hm.activations.softmax(network.predict(X))).max() < ROUNDINGS * np.finfo(np.float32).eps


def test_batch_norm_is_folded_into_the_weights():
    network = hm.Network([hm.Dense(3, 4), hm.BatchNorm(4), hm.BatchNorm(4)])
    text = hm.export.to_c(network)
    assert text.count("static const") == 2 and "sqrt" not in text


def test_test_vector_is_the_output_of_the_network():
    network = hm.MLP([3, 4, 2], rng=0)
    lines = hm.export.to_c(network).splitlines()
    rows = {line[5]: line for line in lines if line.startswith((" *   x = {", " *   y = {"))}
    x, y = ([float(v) for v in rows[name].split("{")[1].rstrip("}").split(",")] for name in "xy")
    assert x == [-1, 0, 1]
    np.testing.assert_allclose(network.predict([x])[0], y, rtol=1e-8)


def test_c_functions_and_arrays_have_telling_names():
    layers = [hm.Dense(4, 4), hm.Activation("tanh"), hm.LayerNorm(4), hm.RMSNorm(4), hm.GroupNorm(2, 4), hm.SwiGLU()]
    text = hm.export.to_c(hm.Network(layers), name="digits")
    assert re.findall(r"static inline \w+ (\w+)\(", text) == [
        "digits_tanh0", "digits_norm1", "digits_rms2", "digits_silu3", "digits_predict",
    ]  # fmt: skip
    assert "network_norm0(" in hm.export.to_c(hm.Network([hm.Dense(2, 4), hm.GroupNorm(2, 4)]))
    network = hm.Network([hm.Dense(1, 1, rng=0), hm.BatchNorm(1)])
    network.layers[0].W *= 1e30  # each number fits float32, and their product does not
    network.layers[1].gamma *= 1e30
    with pytest.raises(ValueError, match=r"^Dense\(1, 1\): expected numbers that float32 can hold"):
        hm.export.to_c(network, name="digits")


def test_name_must_be_an_identifier(tmp_path):
    for name in ("1st", "a b", "", "naïve", None):
        with pytest.raises(ValueError, match="C identifier"):
            hm.export.to_c(hm.MLP([1, 1]), name=name)
    assert "digits_predict(const float *x, float *y)" in hm.export.to_c(hm.MLP([1, 1]), name="digits")


@pytest.mark.parametrize("export", [hm.export.to_onnx, hm.export.to_c])
@pytest.mark.parametrize(
    "network", [hm.MLP([3, 2], ["softmax"]), hm.MLP([3, 2], ["sigmoid"]), hm.MLP([3, 1])], ids=lambda n: repr(n)[:30]
)
def test_a_softmax_of_no_logits_is_refused(export, network):
    last = network.layers[-1]
    ending = f"one that ends with {last.function}" if isinstance(last, hm.Activation) else "one of a single output"
    with pytest.raises(ValueError, match=f"softmax: expected a network of logits of several classes, got {ending}; "):
        export(network, softmax=True)
    with pytest.raises(TypeError, match=r"^softmax: expected True or False, got 1"):
        export(network, softmax=1)


@pytest.mark.parametrize("export", [hm.export.to_onnx, hm.export.to_c])
def test_a_number_that_the_dtype_cannot_hold_names_its_layer(export):
    large = hm.Activation("leaky_relu", negative_slope=1e300)
    with pytest.raises(
        ValueError, match=r"^Activation\('leaky_relu', negative_slope=1e\+300\): expected numbers that fl"
    ):
        export(hm.Network([hm.Dense(2, 2), large]))
    with pytest.raises(ValueError, match=r"^LayerNorm\(2, eps=1e\+300\): expected numbers that float32 can hold"):
        export(hm.Network([hm.Dense(2, 2), hm.LayerNorm(2, eps=1e300)]))
    tiny = hm.BatchNorm(2, eps=1e-300)
    tiny.running_var[...] = 0.0
    with pytest.raises(
        ValueError, match=r"^BatchNorm\(2, eps=1e-300\): expected numbers that float32 can hold, got 1e\+150"
    ):
        export(hm.Network([hm.Dense(2, 2), hm.Activation("relu"), tiny]))


@pytest.mark.parametrize("export", [hm.export.to_onnx, hm.export.to_c])
def test_what_an_export_would_leave_out_is_refused(export):
    network = hm.MLP([2, 3], rng=0)
    network.forward = lambda X, training=False: (X, None)
    with pytest.raises(ValueError, match=r"^network: expected MLP with the forward of its class"):
        export(network)
    network = hm.MLP([2, 3], rng=0)
    network.layers[0].forward = lambda X, training=False: (X, None)
    with pytest.raises(ValueError, match=f"^(network|{export.__name__}): expected .* with the .*forward of its class"):
        export(network)
    without_averages = hm.Network([hm.Dense(2, 3), hm.BatchNorm(3, track_running_stats=False)])
    with pytest.raises(ValueError, match="expected running averages, got track_running_stats=False"):
        export(without_averages)


def test_c_is_written_to_a_file_as_returned(tmp_path):
    network = hm.MLP([2, 3], rng=0)
    hm.export.to_c(network, tmp_path / "n.c")
    assert (tmp_path / "n.c").read_text() == hm.export.to_c(network)
