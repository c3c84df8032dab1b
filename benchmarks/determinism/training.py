"""``python -m benchmarks.determinism.training FILE DTYPE MODE``: train one network and save its parameters."""

from __future__ import annotations

import sys

import numpy as np

import handmade as hm

__all__ = ["train"]


def train(dtype: str, epochs: int = 5, compiled: bool = False) -> hm.Network:
    """Train a network with dropout on the bundled digits, with fixed seeds, by NumPy or by `handmade.compile`.

    Examples
    --------
    >>> train("float32", epochs=1).theta.dtype
    dtype('float32')
    """
    X, y = hm.load_digits()
    network = hm.MLP([64, 256, 128, 10], activation="relu", dropout=0.2, rng=0, dtype=np.dtype(dtype))
    X, rng, optimizer = X.astype(dtype), np.random.default_rng(0), hm.Adam(lr=1e-3)

    def numpy_step(inputs: np.ndarray, labels: np.ndarray) -> None:
        optimizer.step(network.theta, network.loss_and_gradient(inputs, labels)[1])

    step = hm.compile(network, optimizer=optimizer) if compiled else numpy_step
    for _ in range(epochs):
        for rows in np.array_split(rng.permutation(len(X)), len(X) // 128):
            step(X[rows], y[rows])
    return network


if __name__ == "__main__":
    np.save(sys.argv[1], train(sys.argv[2], compiled=sys.argv[3] == "compiled").theta)
