"""Files: a network's architecture and weights in one ``.safetensors`` or ``.npz`` file, without pickle.

The architecture is JSON, as `to_config` returns it. The arrays are those of `Network.state_dict`. Reading a file never
runs code from it, and takes no more memory than the size of the file justifies.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import IO, Any

import numpy as np

from ._atomic import write_atomically
from ._config import build, from_config, register_activation, register_layer, to_config
from ._npz import read_npz
from ._safetensors import read_header, read_tensors, write_safetensors
from ._streams import COMPRESSION, FilePath, open_source
from ._types import Array
from ._validation import check_finite
from .network import Network

__all__ = [
    "from_config",
    "load",
    "read_metadata",
    "read_state_dict",
    "register_activation",
    "register_layer",
    "save",
    "to_config",
]

DOCUMENT = "handmade"  # the name of the JSON in a file's metadata, or among the arrays of an archive
ARCHIVE_LIMIT = 2**24  # bytes: 16 MiB, which a small archive may hold, however well it is compressed
SPARE_SIZES = 2**20  # numbers that layers may hold besides those in the file, such as an RMSNorm without gamma


def save(network: Network, path: FilePath, *, metadata: Mapping[str, Any] | None = None) -> None:
    """Write a network to a file: its architecture and its weights, bit for bit.

    An existing file is replaced as a whole, or, on an error, not at all.

    Parameters
    ----------
    network : Network
        The network, in float32 or float64. Layers and activations of your own have to be registered, see
        `register_layer`.
    path : path-like
        The file. Its name ends with ``.safetensors``, which PyTorch reads as a state_dict with
        ``safetensors.torch.load_file``, or with ``.npz``, which `numpy.load` reads.
    metadata : mapping, optional
        Your own notes, for `read_metadata`: anything that JSON can hold, with strings as keys. A tuple comes back as a
        list.

    Raises
    ------
    ValueError
        If the path has another ending, a layer is not registered or has a method of its own, a weight is not finite, a
        statistic is impossible, or JSON cannot hold the metadata.
    TypeError
        If ``network`` is not a Network, or a key of the metadata is not a string.
    OSError
        If the file cannot be written. An existing file stays as it was.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> network = hm.MLP([3, 4, 2], rng=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "small.safetensors")
    ...     hm.save(network, path)
    ...     loaded = hm.load(path)
    >>> loaded, bool((loaded.theta == network.theta).all())
    (Network([Dense(3, 4), Activation('relu'), Dense(4, 2)]), True)
    """
    config = to_config(network)
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path: expected text or a path-like object, got {path!r}")
    if not isinstance(metadata, Mapping | None):
        raise TypeError(f"metadata: expected a mapping, got {metadata!r}")
    suffix = os.path.splitext(os.fspath(path))[1].lower()
    if suffix not in WRITERS:
        raise ValueError(f"path: expected a name that ends with {' or '.join(WRITERS)}, got {os.fspath(path)!r}")
    if metadata is not None:
        config["metadata"] = dict(metadata)
    try:
        document = json.dumps(config, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"metadata: expected what JSON can hold, got {error}") from error
    _check_keys(metadata)
    state = network.state_dict()
    for name, array in state.items():
        check_finite(array, name)
    for prefix, leaf in network.leaves():
        leaf.check_state({name: state[prefix + name] for name in leaf.state}, prefix)  # as load does
    write_atomically(path, lambda stream: WRITERS[suffix](stream, state, document))


def _check_keys(metadata: Any) -> None:
    """Raise unless all keys are strings: JSON would turn numbers into strings without an error."""
    for key, value in metadata.items() if isinstance(metadata, Mapping) else ():
        if not isinstance(key, str):
            raise ValueError(f"metadata: expected keys of text, got {key!r}; use {str(key)!r}")
        _check_keys(value)
    for value in metadata if isinstance(metadata, list | tuple) else ():
        _check_keys(value)


def _write_safetensors(stream: IO[bytes], state: dict[str, Array], document: str) -> None:
    write_safetensors(stream, state, {DOCUMENT: document})


def _write_npz(stream: IO[bytes], state: dict[str, Array], document: str) -> None:
    np.savez(stream, **{DOCUMENT: np.array(document)}, **state)  # type: ignore[arg-type]


WRITERS: dict[str, Callable[[IO[bytes], dict[str, Array], str], None]] = {
    ".safetensors": _write_safetensors,
    ".npz": _write_npz,
}


def load(path: FilePath | IO[bytes], *, rng: Any = None, max_bytes: int | None = None) -> Network:
    """Read a network that `save` wrote.

    No code from the file is run. All lengths, shapes and offsets are checked before memory is allocated for them.

    Parameters
    ----------
    path : path-like or binary file object
        The file. Its format is recognised by its content.
    rng : optional
        A seed or a numpy.random.Generator; draws the masks of dropout.
    max_bytes : int, optional
        The limit of the arrays' size in bytes. By default 16 times the size of the file, and at least 16 MiB.

    Returns
    -------
    Network
        A network with the saved architecture, dtype and weights.

    Raises
    ------
    ValueError
        If the file is cut short, damaged or not written by `save`, its version is newer than the library's, a layer's
        class is not registered, or the arrays do not fit the architecture.
    OSError
        If the file cannot be read.
    """
    document, state, name = _read(path, max_bytes)
    config, size = _parse(document, name), sum(array.size for array in state.values())
    try:
        network = build(config, size + SPARE_SIZES, rng)
        own = network.state_dict()
        wrong = [key for key in own if key in state and state[key].dtype != own[key].dtype]
        if wrong:
            key = wrong[0]
            raise ValueError(f"{key}: expected dtype {own[key].dtype}, got {state[key].dtype}")
        network.load_state_dict(state)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from error
    return network


def read_metadata(path: FilePath | IO[bytes], *, max_bytes: int | None = None) -> dict[str, Any]:
    """Return the metadata that was passed to `save`; an empty dict if there was none.

    Parameters
    ----------
    path, max_bytes
        As for `load`.

    Returns
    -------
    dict
        The metadata.

    Raises
    ------
    ValueError, OSError
        As for `load`.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     hm.save(hm.MLP([2, 1]), folder + "/xor.npz", metadata={"data": "xor"})
    ...     hm.files.read_metadata(folder + "/xor.npz")
    {'data': 'xor'}
    """
    document, _, name = _read(path, max_bytes)
    metadata = _parse(document, name).get("metadata", {})
    if not isinstance(metadata, dict):
        raise ValueError(f"{name}: expected metadata that map names to values, got {type(metadata).__name__}")
    return metadata


def read_state_dict(path: FilePath | IO[bytes], *, max_bytes: int | None = None) -> dict[str, Array]:
    """Return the arrays of a ``.safetensors`` or ``.npz`` file by name, whichever program wrote it.

    Parameters
    ----------
    path : path-like or binary file object
        A file such as ``safetensors.torch.save_file(module.state_dict(), path)`` writes.
    max_bytes : int, optional
        As for `load`.

    Returns
    -------
    dict of str to ndarray
        The arrays, for `Network.load_state_dict`.

    Raises
    ------
    ValueError, OSError
        If the file cannot be read, is cut short or damaged.
    """
    return _read(path, max_bytes)[1]


def _read(path: FilePath | IO[bytes], max_bytes: int | None) -> tuple[str | None, dict[str, Array], str]:
    """Return the JSON text (None in files of other programs), the arrays, and the file's name for messages."""
    with open_source(path) as source:
        if source.head.startswith(b"PK"):
            limit = max(ARCHIVE_LIMIT, COMPRESSION * (source.size or 0)) if max_bytes is None else max_bytes
            arrays = read_npz(source.stream, max_bytes=limit)
            text = arrays.pop(DOCUMENT, None)
            is_text = text is not None and text.dtype.kind == "U" and text.shape == ()
            return (str(text) if is_text else None), arrays, source.name
        header = read_header(source)
        return header.metadata.get(DOCUMENT), read_tensors(source, header, max_bytes), source.name


def _parse(document: str | None, name: str) -> dict[str, Any]:
    """Return the JSON document of a file."""
    if document is None:
        raise ValueError(
            f"{name}: expected a file that hm.save wrote, got one without an architecture; load its weights with "
            "network.load_state_dict(hm.files.read_state_dict(path)), or try hm.from_torch(path)"
        )
    try:
        config = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name}: expected an architecture in JSON, got {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{name}: expected an architecture, got {type(config).__name__}")
    return config
