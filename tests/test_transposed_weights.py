"""Weights laid out as (in, out), as Keras has them, are refused with the cure."""

from __future__ import annotations

import pytest

import handmade as hm


@pytest.mark.parametrize("sizes", [[3, 5, 2], [1, 4], [4, 1]])
def test_a_transposed_weight_is_refused_with_the_cure(sizes):
    network = hm.MLP(sizes, rng=0)
    before, state = network.theta.copy(), network.state_dict()
    with pytest.raises(ValueError, match=r"0\.weight: expected shape .*; pass its transpose"):
        network.load_state_dict({name: array.T for name, array in state.items()})
    with pytest.raises(ValueError, match=r"0\.weight: expected shape \(\d, \d\), got \(\d,\)$"):
        network.load_state_dict(state | {"0.weight": state["0.weight"][0]})
    assert (network.theta == before).all()
