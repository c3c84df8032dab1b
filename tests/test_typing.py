"""Names as literals: each lists the keys of the table that is looked up at run time."""

from __future__ import annotations

from typing import get_args

import pytest

from handmade import protocols
from handmade.activations import ACTIVATIONS
from handmade.checking.differences import METHODS
from handmade.initializers import INITIALIZERS
from handmade.losses import LOSSES, mse_loss
from handmade.network import NORMALIZATIONS
from handmade.training import METRICS


@pytest.mark.parametrize(
    "literal, table",
    [
        (protocols.ActivationName, ACTIVATIONS),
        (protocols.LossName, LOSSES),
        (protocols.NormalizationName, [name for name in NORMALIZATIONS if name is not None]),
        (protocols.InitializerName, INITIALIZERS),
        (protocols.MetricName, METRICS),
        (protocols.Method, METHODS),
    ],
)
def test_a_literal_lists_the_keys_of_its_table(literal, table):
    assert sorted(get_args(literal)) == sorted(table)


def test_every_reduction_of_the_literal_is_accepted():
    for reduction in get_args(protocols.Reduction):
        mse_loss([1.0], [2.0], reduction=reduction)
    with pytest.raises(ValueError, match="reduction"):
        mse_loss([1.0], [2.0], reduction="max")
