"""Files: what is saved comes back bit for bit; what cannot be saved is refused by name."""

from __future__ import annotations

import contextlib
import io
import json
from types import MappingProxyType

import numpy as np
import pytest

import handmade as hm
from handmade import files
from handmade._config import BUILT_IN, build
from handmade.activations import ACTIVATIONS, REGISTERED
from tests.networks import assert_same

FORMATS = (".npz", ".safetensors")


@hm.register_layer
class FeatureScale(hm.Layer):
    """A layer of a user's own: each feature times a learnt number."""

    parameters = MappingProxyType({"weight": "w"})

    def __init__(self, features: int, start: float = 1.0) -> None:
        self.in_features = self.features = features
        self.start = np.float64(start)
        self.w = np.full(features, start)

    def __repr__(self) -> str:
        return f"FeatureScale({self.in_features})"

    def forward(self, X, training=False):
        return X * self.w, X

    def backward(self, dH, X, need_dX=True):
        self.dw[...] = (dH * X).sum(axis=0)
        return dH * self.w


def layer_of_every_kind() -> list[hm.Layer]:
    inner = [hm.Dense(4, 4, bias=False), hm.Activation("leaky_relu", negative_slope=0.3)]
    return [
        hm.Parallel([hm.Dense(2, 2)], [hm.Dense(1, 2), hm.BatchNorm(2, eps=1e-3, momentum=0.2)]),
        hm.LayerNorm(4, eps=1e-4),
        hm.Residual([hm.Sequential(inner)]),
        hm.Dropout(0.25),
        hm.AlphaDropout(0.25),
        hm.RMSNorm(4, elementwise_affine=False),
        hm.RMSNorm((4,)),
        hm.GroupNorm(2, 4, bias=False),
        hm.BatchNorm(4, momentum=None, affine=False),
        hm.Concatenate([hm.Dense(4, 3)]),
        hm.PReLU(7, init=0.5),
        hm.Dense(7, 8),
        hm.GLU("tanh"),
        hm.SwiGLU(),
        hm.PReLU(),
        hm.Dense(2, 2),
    ]


def moved(network: hm.Network) -> hm.Network:
    """Return the network with a weight for each rounding, and statistics of batches that were seen."""
    rng = np.random.default_rng(1)
    network.theta[:] = rng.normal(size=network.theta.size) * 10.0 ** rng.integers(-30, 5, network.theta.size)
    network.load_state_dict(
        {
            name: array + 3 if "running" in name or "num" in name else array
            for name, array in network.state_dict().items()
        }
    )
    return network


# ---- round trips ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_layer_comes_back_bit_for_bit(tmp_path, suffix, dtype):
    network = moved(hm.Network([*layer_of_every_kind(), FeatureScale(2, 2.5)], dtype=dtype))
    hm.save(network, tmp_path / f"network{suffix}")
    loaded = hm.load(tmp_path / f"network{suffix}")
    assert_same(network, loaded)
    X = np.random.default_rng(2).normal(size=(5, 3))
    assert (network.predict(X) == loaded.predict(X)).all()


def test_cases_cover_all_built_in_layers():
    found = set()

    def visit(config):
        if isinstance(config, dict):
            found.add(config.get("class"))
            config = config.values()
        if not isinstance(config, str) and np.iterable(config):
            for value in config:
                visit(value)

    visit(hm.to_config(hm.Network([hm.Dense(1, 3), *layer_of_every_kind()])))
    assert found - {None} == BUILT_IN - {"MLP"}


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_comes_back(tmp_path, suffix, name):
    network = hm.MLP([3, 4, 2], name, rng=0)
    hm.save(network, tmp_path / f"network{suffix}")
    assert_same(network, hm.load(tmp_path / f"network{suffix}"))


def test_registered_pair_comes_back(tmp_path):
    pair = (hm.activations.silu, hm.activations.silu_backward)
    network = hm.MLP([2, 3, 1], pair)
    with pytest.raises(ValueError, match="register_activation"):
        hm.save(network, tmp_path / "network.npz")
    hm.register_activation("own_silu", pair)
    hm.save(network, tmp_path / "network.npz")
    assert hm.load(tmp_path / "network.npz").layers[1].f is pair[0]


def test_files_are_the_same_bytes_each_time(tmp_path):
    network = hm.MLP([3, 4, 2], rng=0)
    for suffix in FORMATS:
        for name in "ab":
            hm.save(network, tmp_path / (name + suffix))
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_metadata_come_back(tmp_path):
    for suffix in FORMATS:
        hm.save(hm.MLP([2, 1], rng=0), tmp_path / f"m{suffix}", metadata={"classes": ["é", "b"]})
        assert files.read_metadata(tmp_path / f"m{suffix}") == {"classes": ["é", "b"]}
        assert_same(hm.MLP([2, 1], rng=0), hm.load(tmp_path / f"m{suffix}"))
        hm.save(hm.MLP([2, 1]), tmp_path / f"m{suffix}")
        assert files.read_metadata(tmp_path / f"m{suffix}") == {}


def test_streams_and_pipes_are_read(tmp_path):
    network = hm.MLP([3, 4, 2], rng=0)
    for suffix in FORMATS:
        hm.save(network, tmp_path / f"n{suffix}")
        content = (tmp_path / f"n{suffix}").read_bytes()
        assert_same(network, hm.load(io.BytesIO(content)))


def test_masks_of_dropout_follow_the_seed(tmp_path):
    network = hm.Network([hm.Dropout(0.5), hm.Dense(50, 1)])
    hm.save(network, tmp_path / "n.npz")
    config = hm.to_config(network)
    for read in (lambda rng: hm.load(tmp_path / "n.npz", rng=rng), lambda rng: hm.from_config(config, rng=rng)):
        draws = [read(seed).layers[0].rng.random(50) for seed in (0, 0, 1)]
        assert (draws[0] == draws[1]).all() and (draws[0] != draws[2]).any()


def test_files_of_today_are_those_of_tomorrow(tmp_path):
    """The names in a file are its format: another one would leave all files that exist unread."""
    hm.save(hm.Network([hm.Dense(2, 1)]), tmp_path / "n.npz")
    with np.load(tmp_path / "n.npz") as archive:
        assert set(archive) == {"handmade", "0.weight", "0.bias"}
        layers = [{"class": "Dense", "in_features": 2, "out_features": 1, "bias": True}]
        head = {"format": "handmade", "version": 1, "dtype": "float64", "class": "Network"}
        assert json.loads(str(archive["handmade"])) == head | {"layers": layers}


def test_layers_may_hold_more_numbers_than_the_file(tmp_path):
    network = hm.Network([hm.LayerNorm(1000, elementwise_affine=False), hm.Dense(1000, 1)])
    hm.save(network, tmp_path / "n.npz")
    assert_same(network, hm.load(tmp_path / "n.npz"))


def test_sizes_are_refused_from_one_number_beyond_the_limit():
    config = hm.to_config(hm.Network([hm.Dense(2, 3)]))
    assert build(config, 7, 0).theta.size == 9  # the network itself counts as one
    for size, name in (6, "Network"), (5, "Dense"):
        with pytest.raises(ValueError, match=f"config of {name}: expected as many weights as the file holds"):
            build(config, size, 0)


def test_packed_archives_may_hold_16_mib_or_16_times_their_size(tmp_path):
    noise = np.random.default_rng(0).bytes(2**21)
    for zeros, start, fits in [(2**23, b"", True), (20 * 2**20, b"", False), (20 * 2**20, noise, True)]:
        array = np.frombuffer(start + bytes(zeros), np.float64)
        np.savez_compressed(tmp_path / "a.npz", array=array)
        with contextlib.nullcontext() if fits else pytest.raises(ValueError, match="max_bytes"):
            assert files.read_state_dict(tmp_path / "a.npz")["array"].tobytes() == array.tobytes()


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("read", [hm.load, files.read_metadata, files.read_state_dict])
def test_every_reader_keeps_to_max_bytes(tmp_path, suffix, read):
    hm.save(hm.MLP([20, 10]), tmp_path / f"n{suffix}")
    read(tmp_path / f"n{suffix}", max_bytes=10_000)
    with pytest.raises(ValueError, match="max_bytes"):
        read(tmp_path / f"n{suffix}", max_bytes=1000)


# ---- other libraries -----------------------------------------------------------------------------------------------


def test_torch_loads_the_file_as_a_state_dict(tmp_path):
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.torch")
    network = moved(hm.MLP([3, 4, 2], "tanh", normalization="batch", dtype="float32", rng=0))
    hm.save(network, tmp_path / "n.safetensors")
    nn = torch.nn
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2))
    module.load_state_dict(safetensors.load_file(tmp_path / "n.safetensors"))
    for name, tensor in module.state_dict().items():
        assert tensor.numpy().tobytes() == network.state_dict()[name].tobytes()


def test_tensors_of_the_safetensors_package_are_read(tmp_path):
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.torch")
    values = torch.tensor([[1.5, -2.0, 0.0078125]])
    kinds = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]
    tensors = {str(kind): values.abs().to(kind) for kind in kinds}
    safetensors.save_file({**tensors, "empty": torch.zeros(0, 3)}, tmp_path / "t.safetensors")
    read = files.read_state_dict(tmp_path / "t.safetensors")
    assert read["empty"].shape == (0, 3)
    for name, tensor in tensors.items():
        assert (read[name] == tensor.to(torch.float64).numpy()).all(), name
    with pytest.raises(ValueError, match="without an architecture"):
        hm.load(tmp_path / "t.safetensors")


# ---- bad calls -----------------------------------------------------------------------------------------------------


def test_failed_save_keeps_the_old_file(tmp_path):
    path = tmp_path / "n.npz"
    hm.save(hm.MLP([2, 1], rng=0), path)
    before = path.read_bytes()
    network = hm.MLP([2, 1])
    network.theta[0] = np.nan
    nested: list = []
    for _ in range(5000):
        nested = [nested]
    for call, error in [
        (lambda: hm.save(network, path), "0.weight: expected finite numbers"),
        (lambda: hm.save(hm.MLP([2, 1]), path, metadata={"a": np.nan}), "metadata: expected what JSON can hold"),
        (lambda: hm.save(hm.MLP([2, 1]), path, metadata=[1]), r"metadata: expected a mapping, got \[1\]"),
        (lambda: hm.save(hm.MLP([2, 1]), 3), "path: expected text or a path-like object, got 3"),
        (lambda: hm.save(hm.MLP([2, 1]), path, metadata={"a": object()}), "JSON"),
        (lambda: hm.save(hm.MLP([2, 1]), path, metadata={"a": nested}), "^metadata: expected what JSON can hold"),
        (lambda: hm.save(hm.MLP([2, 1]), path, metadata={1: "a"}), "metadata: expected keys of text, got 1; use '1'"),
        (lambda: hm.save(hm.MLP([2, 1]), path, metadata={"a": [({None: 2},)]}), "expected keys of text, got None"),
        (lambda: hm.save(hm.MLP([2, 1]), tmp_path / "n.pickle"), "safetensors"),
        (lambda: hm.save("no network", path), "Network"),
    ]:
        with pytest.raises((TypeError, ValueError), match=error):
            call()
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["n.npz"]


def test_unregistered_layer_is_named(tmp_path):
    class Own(hm.Layer):
        def forward(self, X, training=False):
            return X, None

        def backward(self, dH, cache, need_dX=True):
            return dH

    with pytest.raises(ValueError, match=r"class Own with hm\.register_layer"):
        hm.save(hm.Network([Own(), hm.Dense(1, 1)]), tmp_path / "n.npz")
    Own.config = lambda self: {"function": print}
    Own.__name__ = "Dense"
    with pytest.raises(ValueError, match="Dense"):
        hm.register_layer(Own)
    Own.__name__ = "Own"
    hm.register_layer(Own)
    with pytest.raises(TypeError, match="expected numbers, text, layers"):
        hm.save(hm.Network([Own(), hm.Dense(1, 1)]), tmp_path / "n.npz")
    del Own.config
    Own.__init__ = lambda self, size=3: None
    with pytest.raises(TypeError, match="got none for 'size'"):
        hm.save(hm.Network([Own(), hm.Dense(1, 1)]), tmp_path / "n.npz")


def test_what_no_file_can_hold_is_refused(tmp_path):
    """Else the file would be read as a network that computes something else, or not at all."""
    layer, normalization = hm.Dense(2, 2, rng=0), hm.BatchNorm(2)
    network = hm.Network([layer, normalization])
    layer.predict = lambda X: 2 * hm.Dense.predict(layer, X)
    with pytest.raises(
        ValueError, match=r"^Dense\(2, 2\): expected the predict of its class, got one of the instance's"
    ):
        hm.save(network, tmp_path / "n.npz")
    del layer.predict
    normalization.running_var = [-1.0, 1.0]
    with pytest.raises(ValueError, match=r"1\.running_var: expected numbers of at least 0, got -1"):
        hm.save(network, tmp_path / "n.npz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("change", [{"more": 1}, {"in_features": None}, {"weight_init": "zeros"}])
def test_arguments_of_a_layer_that_do_not_fit_are_named(change):
    config = hm.to_config(hm.MLP([3, 2]))
    layer = {**config["layers"][0], **change}
    config["layers"] = [{name: value for name, value in layer.items() if value is not None}]
    with pytest.raises(ValueError, match=r"^config of Dense: expected the arguments of Dense, got \[.*\]: Dense|: h"):
        hm.from_config(config)


PAIR = (hm.activations.silu, hm.activations.silu_backward)


@pytest.mark.parametrize(
    ("register", "error", "message"),
    [
        (lambda: hm.register_layer(int), TypeError, "^register_layer: expected a subclass of Layer, got <class 'int'>"),
        (lambda: hm.register_layer(hm.Dense(1, 1)), TypeError, "^register_layer: .* got Dense"),
        (lambda: hm.register_activation(3, PAIR), TypeError, "^register_activation: expected a name as text, got 3"),
        (lambda: hm.register_activation("relu", PAIR), ValueError, "expected a new name, got 'relu'"),
        (lambda: hm.register_activation("own", (print, 3)), TypeError, "function"),
    ],
)
def test_what_cannot_be_registered_is_named(register, error, message):
    with pytest.raises(error, match=message):
        register()
    assert "own" not in REGISTERED


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ([1], TypeError, r"^FeatureScale.config: expected a dict of the constructor's arguments, got \[1\]"),
        ({"a": {"class": 1}}, TypeError, "^config: expected text as keys, other than class, registered"),
        ({"a": {"registered": 1}}, TypeError, "^config: expected text as keys"),
        ({"a": {1: 2}}, TypeError, "^config: expected text as keys"),
        ({"a": [np.inf]}, ValueError, "^config: expected finite numbers, got inf"),
        ({"a": (print, 3)}, TypeError, "^config: expected numbers, text, layers, .* got <built-in function print>"),
    ],
)
def test_arguments_that_a_file_cannot_hold_are_named(monkeypatch, arguments, error, message):
    monkeypatch.setattr(FeatureScale, "config", lambda self: arguments)
    with pytest.raises(error, match=message):
        hm.to_config(hm.Network([FeatureScale(2)]))
