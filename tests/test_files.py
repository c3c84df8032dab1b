"""Files: what is saved comes back bit for bit, and what is damaged, foreign or hostile is refused."""

from __future__ import annotations

import contextlib
import io
import json
import re
import tracemalloc
import zipfile
from types import MappingProxyType

import numpy as np
import pytest

import handmade as hm
from handmade import files
from handmade._config import BUILT_IN, build
from handmade._safetensors import write_safetensors
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
    for call, error in [
        (lambda: hm.save(network, path), "0.weight: expected finite numbers"),
        (lambda: hm.save(hm.MLP([2, 1]), path, metadata={"a": np.nan}), "metadata: expected what JSON can hold"),
        (lambda: hm.save(hm.MLP([2, 1]), path, metadata=[1]), r"metadata: expected a mapping, got \[1\]"),
        (lambda: hm.save(hm.MLP([2, 1]), 3), "path: expected text or a path-like object, got 3"),
        (lambda: hm.save(hm.MLP([2, 1]), path, metadata={"a": object()}), "JSON"),
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


PAIR = (hm.activations.silu, hm.activations.silu_backward)


@pytest.mark.parametrize(
    ("register", "error", "message"),
    [
        (lambda: hm.register_layer(int), TypeError, "^register_layer: expected a subclass of Layer, got <class 'int'>"),
        (lambda: hm.register_layer(hm.Dense(1, 1)), TypeError, "^register_layer: .* got Dense"),
        (lambda: hm.register_activation(3, PAIR), TypeError, "^register_activation: expected a name, got 3"),
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


# ---- hostile files -------------------------------------------------------------------------------------------------

CONFIG = hm.to_config(hm.MLP([2, 1]))


def safetensors_bytes(config=CONFIG, state=None) -> bytes:
    stream = io.BytesIO()
    metadata = {files.DOCUMENT: config if isinstance(config, str) else json.dumps(config)}
    write_safetensors(stream, hm.MLP([2, 1], rng=0).state_dict() if state is None else state, metadata)
    return stream.getvalue()


def with_header(change, data: bytes = bytes(24)) -> bytes:
    header = {
        "0.weight": {"dtype": "F64", "shape": [1, 2], "data_offsets": [0, 16]},
        "0.bias": {"dtype": "F64", "shape": [1], "data_offsets": [16, 24]},
        "__metadata__": {files.DOCUMENT: json.dumps(CONFIG)},
    }
    text = change(header)
    text = (text if isinstance(text, str) else json.dumps(header if text is None else text)).encode()
    return len(text).to_bytes(8, "little") + text + data


def setting(name: str, key: str, value):
    return lambda header: header[name].update({key: value})


WHOLE = safetensors_bytes()
NESTED = '[{"class":"Sequential","layers":' * 900 + "[]" + "}]" * 900
HOSTILE = {
    "empty": b"",
    "short": b"\x01",
    "text": b"just some text that is no model",
    "pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x08",
    "no data": WHOLE[:-1],
    "more data": WHOLE + b"\0",
    "cut header": WHOLE[:40],
    "huge header": (2**63).to_bytes(8, "little") + WHOLE[8:],
    "header beyond the file": (10**6).to_bytes(8, "little") + WHOLE[8:],
    "header of 0": bytes(16),
    "header is a list": with_header(lambda header: []),
    "header nested": with_header(lambda header: "[" * 100_000),
    "name twice": with_header(lambda header: json.dumps(header)[:-1] + ', "0.bias": 1}'),
    "metadata of numbers": with_header(setting("__metadata__", files.DOCUMENT, 1)),
    "unknown dtype": with_header(setting("0.bias", "dtype", "O")),
    "dtype is a list": with_header(setting("0.bias", "dtype", [])),
    "negative size": with_header(setting("0.bias", "shape", [-1])),
    "size is a bool": with_header(setting("0.bias", "shape", [True])),
    "size is a float": with_header(setting("0.bias", "shape", [1.0])),
    "enormous size": with_header(setting("0.weight", "shape", [2**62, 2**62])),
    "many dimensions": with_header(setting("0.bias", "shape", [1] * 100)),
    "overlap": with_header(setting("0.bias", "data_offsets", [8, 16])),
    "gap": with_header(setting("0.bias", "data_offsets", [24, 32]), bytes(32)),
    "backwards": with_header(setting("0.bias", "data_offsets", [24, 16])),
    "negative offset": with_header(setting("0.bias", "data_offsets", [-8, 0])),
    "wrong length": with_header(setting("0.weight", "data_offsets", [0, 8])),
    "surplus key": with_header(setting("0.weight", "more", 1)),
    "no document": safetensors_bytes("null"),
    "document no JSON": safetensors_bytes("{"),
    "newer version": safetensors_bytes({**CONFIG, "version": 2}),
    "version is text": safetensors_bytes({**CONFIG, "version": "1"}),
    "other format": safetensors_bytes({**CONFIG, "format": "other"}),
    "unknown layer": safetensors_bytes({**CONFIG, "layers": [{"class": "os.system", "command": "true"}]}),
    "class is a list": safetensors_bytes({**CONFIG, "class": []}),
    "no layers": safetensors_bytes({**CONFIG, "layers": []}),
    "not a layer": safetensors_bytes({**CONFIG, "layers": ["Dense"]}),
    "root no network": safetensors_bytes({"format": "handmade", "version": 1, "class": "Dropout", "p": 0.5}),
    "wrong argument": safetensors_bytes({**CONFIG, "layers": [{"class": "Dense", "rows": 2}]}),
    "unknown pair": safetensors_bytes(
        {**CONFIG, "layers": [{"class": "Activation", "function": {"registered": "gone"}, "options": {}}]}
    ),
    "function is a list": safetensors_bytes(
        {**CONFIG, "layers": [{"class": "Activation", "function": [], "options": {}}]}
    ),
    "options are a number": safetensors_bytes(
        {**CONFIG, "layers": [{"class": "Activation", "function": "elu", "options": 3}]}
    ),
    "no options": safetensors_bytes({**CONFIG, "layers": [{"class": "Activation", "function": "elu"}]}),
    "no groups": safetensors_bytes({**CONFIG, "layers": [{"class": "Parallel", "groups": 3}]}),
    "surplus argument": safetensors_bytes({**CONFIG, "surplus": 2}),
    "complex": safetensors_bytes({**CONFIG, "dtype": "complex128"}),
    "another dtype": safetensors_bytes({**CONFIG, "dtype": "float32"}),
    "sizes beyond the file": safetensors_bytes(
        {**CONFIG, "layers": [{"class": "Dense", "in_features": 10**6, "out_features": 10**6, "bias": True}]}
    ),
    "many sizes beyond the file": safetensors_bytes(
        {**CONFIG, "layers": [{"class": "LayerNorm", "num_features": 10**6, "eps": 0.1}] * 100}
    ),
    "nested layers": safetensors_bytes(json.dumps({**CONFIG, "layers": "?"}).replace('"?"', NESTED)),
    "weights missing": safetensors_bytes(state={"0.weight": np.zeros((1, 2))}),
    "weights surplus": safetensors_bytes(state={**hm.MLP([2, 1]).state_dict(), "1.weight": np.zeros(1)}),
    "weights misshapen": safetensors_bytes(state={"0.weight": np.zeros((2, 1)), "0.bias": np.zeros(1)}),
    "weights infinite": safetensors_bytes(state={"0.weight": np.full((1, 2), np.inf), "0.bias": np.zeros(1)}),
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 0}, "expected a version of at least 1, got 0"),
        ({"version": "1"}, "expected a version of at least 1, got '1'"),
        ({"layers": [{"class": "Gone"}]}, "expected a layer among Dense, Activation, .*, got 'Gone'"),
        ({"layers": [{"class": []}]}, r"expected a layer among Dense, Activation, .*, got \[\]"),
    ],
)
def test_configurations_say_what_they_cannot_be(changes, message):
    with pytest.raises(ValueError, match=f"^config: {message}"):
        hm.from_config({**CONFIG, **changes})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (safetensors_bytes("3"), "expected an architecture, got int"),
        (safetensors_bytes({**CONFIG, "metadata": [1]}), "expected metadata that map names to values, got list"),
        (safetensors_bytes("{"), "expected an architecture in JSON"),
    ],
)
def test_metadata_that_cannot_be_read_name_the_file(tmp_path, content, message):
    path = tmp_path / "n.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: {message}"):
        files.read_metadata(path)


def assert_refused_at_no_cost(path, content):
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(ValueError, match=re.escape(path.name)):
        hm.load(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40 * 2**20  # SPARE_SIZES numbers with their gradient are 16 MiB


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_file_is_refused_at_no_cost(tmp_path, case):
    assert_refused_at_no_cost(tmp_path / "hostile.safetensors", HOSTILE[case])


def npz_bytes(compression=zipfile.ZIP_STORED, **arrays) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **{files.DOCUMENT: np.array(json.dumps(CONFIG)), **arrays})
    if compression == zipfile.ZIP_STORED:
        return stream.getvalue()
    packed = io.BytesIO()
    with zipfile.ZipFile(stream) as old, zipfile.ZipFile(packed, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return packed.getvalue()


STATE = hm.MLP([2, 1], rng=0).state_dict()
HOSTILE_NPZ = {
    "cut short": npz_bytes(**STATE)[:-30],
    "objects": npz_bytes(**{**STATE, "0.bias": np.array([print], dtype=object)}),
    "document of objects": npz_bytes(**{**STATE, files.DOCUMENT: np.array({"a": 1}, dtype=object)}),
    "document is a list": npz_bytes(**{**STATE, files.DOCUMENT: np.array(["a", "b"])}),
    "no document": npz_bytes(**{**STATE, files.DOCUMENT: np.zeros(1)}),
    "bomb": npz_bytes(zipfile.ZIP_DEFLATED, **STATE, more=np.zeros(2**23)),
    "text weights": npz_bytes(**{**STATE, "0.bias": np.array(["1"])}),
}


@pytest.mark.parametrize("case", HOSTILE_NPZ)
def test_hostile_archive_is_refused_at_no_cost(tmp_path, case):
    assert_refused_at_no_cost(tmp_path / "hostile.npz", HOSTILE_NPZ[case])


def test_every_truncation_is_refused(tmp_path):
    path = tmp_path / "n.safetensors"
    for length in range(0, len(WHOLE), 7):
        path.write_bytes(WHOLE[:length])
        with pytest.raises(ValueError, match="expected"):
            hm.load(path)


def test_flipped_bytes_load_or_raise_value_error(tmp_path):
    # Only a damaged weight can go unnoticed: the format has no checksum.
    rng = np.random.default_rng(0)
    for _ in range(300):
        content = bytearray(WHOLE)
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        with contextlib.suppress(ValueError):
            hm.load(io.BytesIO(bytes(content)))


def test_files_of_others_are_named_once_and_plainly(tmp_path):
    np.savez(tmp_path / "o.npz", a=1)
    (tmp_path / "t.npz").write_text("a,b\n1,2\n3,4\n")
    with zipfile.ZipFile(tmp_path / "m.pt", "w") as archive:
        archive.writestr("m/data.pkl", b"")
    for name, message in [
        ("o.npz", "expected a file that hm.save wrote, got one without an architecture"),
        ("t.npz", "expected a safetensors file, .* or an .npz archive, got the bytes b'a,b"),
        ("m.pt", "expected arrays alone, got a file of torch.save; read it with hm.from_torch"),
    ]:
        with pytest.raises(ValueError, match=rf"^{tmp_path / name}: {message}"):
            hm.load(tmp_path / name)
