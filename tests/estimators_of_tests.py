"""Samples and targets of each kind for the tests of estimators."""

from __future__ import annotations

import numpy as np

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 4))
TWO = (X[:, 0] + X[:, 1] ** 2 > 0.5).astype(int)
THREE = np.array(["low", "mid", "top"])[np.digitize(X[:, 0] + X[:, 1], [-0.6, 0.6])]
LABELS = (X[:, :3] + 0.3 * X[:, 1:] > 0).astype(int)
NUMBER = X[:, 0] * X[:, 1] + X[:, 2]
NUMBERS = np.stack([NUMBER, X[:, 3] ** 2], axis=1)
COUNTS = RNG.poisson(np.exp(X[:, 0]))
CLASSIFIED = {"two": TWO, "three": THREE, "labels": LABELS}
FITTED = {"number": NUMBER, "numbers": NUMBERS}
