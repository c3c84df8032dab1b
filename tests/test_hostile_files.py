"""Damaged, foreign and hostile files are refused by name, at no cost in memory."""

from __future__ import annotations

import contextlib
import io
import json
import re
import tracemalloc
import zipfile

import numpy as np
import pytest

import handmade as hm
from handmade import files
from handmade._safetensors import write_safetensors

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
