"""Targets: files of networks and of arrays, against the safetensors library and NumPy."""

from __future__ import annotations

import copy
import functools
import io
import json
from typing import Any

import numpy as np
import safetensors.numpy

import handmade as hm
from handmade.files import DOCUMENT, load, read_state_dict

from .mutate import mutate, pick
from .readers import MEASURED, MEMORY, NAME, Pipe, Stream
from .rules import Outcome, Violation, observe, same_numbers

__all__ = ["REPLAYS", "TARGETS"]

HOSTILE = [
    None, True, -1, 0, 1, 2**31, 10**18, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf"), "", "relu", "Dense",
    "float32", "object", "__class__", [], [1], {}, {"type": "Dense"}, [[]] * 3, "9" * 400,
]  # fmt: skip


@functools.cache
def networks() -> list[tuple[dict[str, np.ndarray], str]]:
    """Return arrays and the JSON document of small networks of every kind."""
    residual = hm.Residual([hm.Dense(2, 2, rng=0)])
    parallel = hm.Parallel([hm.Dense(2, 1, rng=0)], [hm.Dense(2, 2, rng=0)])
    dense = hm.Concatenate([hm.Dense(2, 1, rng=0)])
    found = []
    for network in (
        hm.MLP([3, 4, 2], activation="relu", rng=0),
        hm.MLP([2, 3, 1], activation=["tanh"], dropout=0.5, normalization="batch", dtype=np.float32, rng=0),
        hm.Network([residual, hm.LayerNorm(2), hm.Activation("leaky_relu", negative_slope=0.1)]),
        hm.Network([dense, hm.BatchNorm(3)]),
        hm.Network([parallel]),
    ):
        stream = Named("network.safetensors")
        _save(network, stream)
        tensors = safetensors.numpy.load(stream.getvalue())
        header = json.loads(stream.getvalue()[8 : 8 + int.from_bytes(stream.getvalue()[:8], "little")])
        found.append((tensors, header["__metadata__"][DOCUMENT]))
    return found


class Named(io.BytesIO):
    """A stream with a name."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


def _save(network: hm.Network, stream: Named) -> None:
    """Write a network into memory."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, stream.name)
        hm.files.save(network, path)
        stream.write(path.read_bytes())


def _pack(rng: np.random.Generator, tensors: dict[str, np.ndarray], document: str) -> bytes:
    """Return the bytes of a file in one of the two formats."""
    if rng.random() < 0.6:
        return safetensors.numpy.save(tensors, {DOCUMENT: document})
    stream = io.BytesIO()
    save = np.savez if rng.random() < 0.5 else np.savez_compressed
    save(stream, **tensors, **{DOCUMENT: np.array(document)})
    return stream.getvalue()


def _hostile_json(rng: np.random.Generator, document: str) -> str:
    """Return the document with some of its values replaced, removed or added."""
    root = [copy.deepcopy(json.loads(document))]
    for _ in range(int(rng.integers(1, 4))):
        place, key = _place(rng, root)
        action = rng.random()
        if action < 0.7:
            place[key] = copy.deepcopy(pick(rng, HOSTILE))
        elif action < 0.85 and place is not root:
            del place[key]
        elif isinstance(place, list):
            place.insert(int(rng.integers(len(place) + 1)), copy.deepcopy(place[key]))
        else:
            place[f"{key}_"] = place[key]
    return json.dumps(root[0])


def _place(rng: np.random.Generator, place: Any) -> tuple[Any, Any]:
    """Return a container in a document and one of its keys, drawn at random."""
    while True:
        key = pick(rng, list(place) if isinstance(place, dict) else range(len(place)))
        if not isinstance(place[key], (dict, list)) or not place[key] or rng.random() < 0.2:
            return place, key
        place = place[key]


def fuzz_tensors(rng: np.random.Generator) -> None:
    """Read the arrays of a mutated file."""
    content = _pack(rng, *pick(rng, networks()))
    is_archive = content.startswith(b"PK")
    content = mutate(rng, content, _pack(rng, *pick(rng, networks())))
    outcome = _read(rng, read_state_dict, content)
    if outcome.error is None:
        expected = _arrays(content)
        if expected is None and not (b"BF16" in content or is_archive):
            raise Violation("taken", "expected an error", content)
        if expected is not None and not same_numbers(dict(outcome.value), expected):
            raise Violation("wrong", f"expected {str(expected)[:100]}, got {str(outcome.value)[:100]}", content)


def _arrays(content: bytes) -> dict[str, np.ndarray] | None:
    """Return the arrays as the safetensors library or NumPy reads them, or None if it does not."""
    try:
        if content.startswith(b"PK"):
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files if name != DOCUMENT}
        return safetensors.numpy.load(content)
    except Exception:
        return None


def fuzz_networks(rng: np.random.Generator) -> None:
    """Load a network whose architecture or bytes were mutated; what loads has the numbers of the file and predicts."""
    tensors, document = pick(rng, networks())
    if rng.random() < 0.7:
        document = _hostile_json(rng, document)
    if rng.random() < 0.2:
        tensors = {
            name: pick(rng, [array, array.T, array.ravel()[:0], array * np.nan]) for name, array in tensors.items()
        }
    content = _pack(rng, {name: np.ascontiguousarray(array) for name, array in tensors.items()}, document)
    if rng.random() < 0.3:
        content = mutate(rng, content)
    outcome = _read(rng, load, content)
    if outcome.error is None:
        network = outcome.value
        if not same_numbers(network.state_dict(), read_state_dict(Stream(content))):
            raise Violation("wrong", "the network has other numbers than the file", content)
        X = np.ones((2, network.in_features))
        observe(lambda: network.predict(X), ["X"])


def _read(rng: np.random.Generator, read: Any, content: bytes) -> Outcome:
    """Read from a stream or a pipe, with the memory measured in some cases."""
    most_memory = MEMORY + 64 * len(content) if rng.random() < MEASURED else None
    stream = Stream(content) if rng.random() < 0.8 else Pipe(content, int(rng.integers(1, 50)))
    try:
        return observe(lambda: read(stream), [NAME], most_memory=most_memory)
    except Violation as violation:
        violation.content = content
        raise


def _replay(read: Any, content: bytes) -> None:
    """Read a file of the corpus in every way."""
    for make in (Stream, functools.partial(Pipe, step=1), functools.partial(Pipe, step=4096)):
        observe(lambda make=make: read(make(content)), [NAME], most_memory=MEMORY + 64 * len(content))


REPLAYS = {"tensors": functools.partial(_replay, read_state_dict), "networks": functools.partial(_replay, load)}
TARGETS = {"tensors": fuzz_tensors, "networks": fuzz_networks}
