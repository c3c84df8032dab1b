"""The published, held-out and mended bugs are what their lists say: wrong, and in the right shapes."""

from __future__ import annotations

import re

import numpy as np
import pytest

import handmade as hm
from benchmarks.bugs.heldout import HELD_OUT
from benchmarks.bugs.mended import MENDED
from benchmarks.bugs.public import BUGS, Bug

ALL = [*BUGS, *HELD_OUT, *MENDED]
NAMES = [bug.name for bug in ALL]


def value(bug: Bug, network: hm.Network | None, parameters: list[np.ndarray]) -> float:
    """Return the loss at the parameters, which are views into the network's theta."""
    problem = bug.problem()
    if network is None:
        return problem.function(*parameters)
    for _, layer in network.leaves():
        if isinstance(layer, hm.Dropout):
            layer.rng = np.random.default_rng(6)
    return network.loss_and_gradient(problem.X, problem.y, problem.loss)[0]


@pytest.mark.parametrize("bug", ALL, ids=NAMES)
def test_a_bug_is_wrong_in_the_right_shapes(bug):
    problem, network = bug.problem(), None
    parameters = [p.copy() for p in problem.parameters]
    if problem.network is not None:
        network = problem.network.astype(np.float64)
        parameters = list(network.blocks(network.theta).values())
    claim = [np.asarray(g, float) for g in bug.gradient(parameters, problem.X, problem.y)]
    assert [g.shape for g in claim] == [p.shape for p in parameters]

    # The slopes of the loss in five directions, by central differences: off by 1e-6 at most, the claim by more.
    errors = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        directions = [rng.choice([-1.0, 1.0], size=p.shape) for p in parameters]
        sides = []
        for step in (1e-5, -2e-5):
            for p, d in zip(parameters, directions, strict=True):
                p += step * d
            sides.append(value(bug, network, parameters))
        for p, d in zip(parameters, directions, strict=True):
            p += 1e-5 * d
        claimed = sum((g * d).sum() for g, d in zip(claim, directions, strict=True))
        errors.append(abs((sides[0] - sides[1]) / 2e-5 - claimed))
    assert max(errors) > 1e-4


def test_bugs_are_many_and_distinct():
    assert len(set(NAMES)) == len(ALL)
    assert len(BUGS) >= 60 and len(HELD_OUT) == 57 and len(MENDED) == 10
    assert all(bug.source.startswith("https://") for bug in BUGS)
    assert all(bug.source and bug.step and bug.says for bug in ALL)
    assert all(re.compile(pattern) for bug in ALL for pattern in bug.says)
