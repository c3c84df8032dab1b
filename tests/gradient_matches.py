"""A true gradient of three layers, claims made from it, and how the two are matched."""

from __future__ import annotations

import math

import numpy as np

from handmade.checking.causes import Block
from handmade.checking.transforms import GradientMatch

EPS = np.finfo(float).eps
SHAPES = {"W0": (3, 3), "b0": (3,), "W1": (2, 3), "b1": (2,), "W2": (2, 2), "b2": (2,)}
STARTS = np.cumsum([0, *map(math.prod, SHAPES.values())])
BLOCKS = [Block(name, int(STARTS[i]), shape, i // 2 + 1) for i, (name, shape) in enumerate(SHAPES.items())]
BY_NAME = {block.name: block for block in BLOCKS}
SIZE = int(STARTS[-1])
_rng = np.random.default_rng(5)  # a test file draws from one of its own
TRUE, THETA = _rng.uniform(0.3, 2, SIZE) * _rng.choice([-1, 1], SIZE), _rng.normal(size=SIZE)


def changed(**factors):
    """Return the true gradient, some parameters multiplied by a number or replaced by what a function makes of them."""
    claimed = TRUE.copy()
    for name, factor in factors.items():
        at, shape = BY_NAME[name].slice, SHAPES[name]
        true = TRUE[at].reshape(shape)
        claimed[at] = (factor(true) if callable(factor) else factor * true).ravel()
    return claimed


def match_of(claimed, *, allowed=None, facts=None, single=False, blocks=BLOCKS, theta=THETA):
    allowed = np.zeros(len(claimed)) if allowed is None else allowed
    return GradientMatch(blocks, theta, claimed, allowed, facts or {}, single)


def parts(claimed, most=1, true=TRUE, **options):
    return [found for found, _ in match_of(claimed, **options).explanations(true, most)]


def names(*arguments, **options):
    return [" and ".join(part.name for part in found) for found in parts(*arguments, **options)]


FACTS = {"N": 16, "outputs": 3, "learning rate": 0.3, "unknown": None}
