"""Round trips of random networks: files, configurations, pickles and PyTorch bit for bit; ONNX and C up to rounding."""

from __future__ import annotations

import copy
import json
import os
import pickle

import numpy as np
import pytest

import handmade as hm
from handmade._config import BUILT_IN
from tests.exports import NO_ERF, assert_equal_within_rounding, needs_cc, run_c, run_onnx
from tests.networks import assert_same, draw_network

COUNT = int(os.environ.get("ROUND_TRIPS", "30"))  # networks drawn at random
SEEDS = pytest.mark.parametrize("seed", range(COUNT))


def has_no_erf(network: hm.Network) -> bool:
    """Return whether ONNX Runtime lacks an operator of the network."""
    activations = [getattr(leaf, "gate", leaf) for _, leaf in network.leaves()]
    name, options, dtype = NO_ERF
    return network.dtype == dtype and any(
        getattr(a, "function", None) == name and a.options in (options, {"approximate": "none"}) for a in activations
    )


@SEEDS
def test_files_copies_and_torch_keep_every_bit(seed, tmp_path):
    network, X = draw_network(seed)
    expected = network.predict(X)
    hm.save(network, tmp_path / "n.npz")
    hm.save(network, tmp_path / "n.safetensors")
    configured = hm.from_config(json.loads(json.dumps(hm.to_config(network))))
    configured.load_state_dict(network.state_dict())
    copies = [hm.load(tmp_path / "n.npz"), hm.load(tmp_path / "n.safetensors"), configured]
    for other in [*copies, copy.deepcopy(network), pickle.loads(pickle.dumps(network))]:
        assert_same(network, other)
        assert (other.predict(X) == expected).all()


@SEEDS
def test_torch_and_back_keeps_every_bit(seed):
    pytest.importorskip("torch")
    from reference.twin import twin

    network, X = draw_network(seed)
    back = hm.from_torch(twin(network))
    assert [a.tobytes() for a in back.state_dict().values()] == [a.tobytes() for a in network.state_dict().values()]
    assert back.dtype == network.dtype and (back.predict(X) == network.predict(X)).all()


@SEEDS
def test_onnx_runtime_agrees(seed):
    network, X = draw_network(seed)
    if has_no_erf(network):
        pytest.skip("ONNX Runtime has no Erf for float64")
    assert_equal_within_rounding(run_onnx(hm.export.to_onnx(network, dtype=network.dtype), X), network, X)


@needs_cc
@SEEDS
def test_compiled_c_agrees(seed, tmp_path):
    network, X = draw_network(seed)
    assert_equal_within_rounding(run_c(hm.export.to_c(network, dtype=network.dtype), X, tmp_path), network, X)


def test_every_kind_of_layer_is_drawn():
    kinds, names = set(), set()

    def visit(config):
        if isinstance(config, dict):
            kinds.add(config.get("class"))
            names.add(str(config.get("function")))
            config = config.values()
        if not isinstance(config, str) and np.iterable(config):
            for value in config:
                visit(value)

    for seed in range(200):
        visit(hm.to_config(draw_network(seed)[0]))
    assert kinds - {None} == BUILT_IN - {"MLP"}
    assert names >= set(hm.activations.ACTIVATIONS)
