"""Programs as users write them: both checkers of types accept them, and a test runs them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import handmade as hm

Array = npt.NDArray[Any]


class Scale(hm.Layer):
    """A layer of one's own, which scales each feature."""

    parameters = {"weight": "w"}  # noqa: RUF012
    w: Array
    dw: Array

    def __init__(self, features: int) -> None:
        self.in_features = features
        self.w = np.ones(features)

    def forward(self, X: Array, training: bool = False) -> tuple[Array, Array]:
        return X * self.w, X

    def backward(self, dH: Array, X: Array, need_dX: bool = True) -> Array | None:
        self.dw[...] = (dH * X).sum(axis=0)
        return dH * self.w if need_dX else None


class SignDescent:
    """An optimizer of one's own, with a learning rate that schedules can set."""

    def __init__(self, lr: float = 0.01) -> None:
        self.lr = lr

    def step(self, theta: Array, gradient: Array) -> None:
        theta -= self.lr * np.sign(gradient)


def log_cosh(input: Array, target: Array) -> float:
    return float(np.log(np.cosh(input - target)).mean())


def log_cosh_backward(input: Array, target: Array) -> Array:
    gradient: Array = np.tanh(input - target) / input.size
    return gradient


def square(A: Array) -> Array:
    return A * A


def square_backward(dH: Array, A: Array) -> Array:
    return dH * 2 * A


def error_rate(output: Array, y: Array) -> float:
    return float((output.argmax(axis=1) != y).mean())


def report(network: hm.Network, history: hm.History) -> None:
    print(len(history), history.loss[-1], np.abs(network.theta).max())


def own_parts() -> None:
    X, y = hm.data.xor()
    network = hm.Network([hm.Dense(2, 8, rng=0), Scale(8), hm.Activation((square, square_backward)), hm.Dense(8, 2)])
    optimizer = SignDescent(lr=0.01)
    schedule = hm.StepLR(hm.SGD(lr=0.1), step_size=10)
    schedule.step()
    history = hm.fit(network, X, y, optimizer=optimizer, epochs=2, metrics=[error_rate, "accuracy"], progress=False)
    print(history.metrics["error_rate"], history.best_epoch)
    hm.fit(network, X, np.eye(2)[y], loss=(log_cosh, log_cosh_backward), epochs=1, progress=False)
    hm.register_activation("square", (square, square_backward))
    hm.to_config(hm.MLP([2, 3, 2], activation=(square, square_backward)))
    hm.fit(network, X, np.eye(2)[y], loss=partial(hm.losses.huber_loss, delta=2.0), epochs=1, progress=False)


def typical_use(folder: Path) -> None:
    X, y = hm.load_digits()
    network = hm.MLP([64, 32, 10], activation=["tanh"], normalization="batch", dropout=0.1, rng=0, dtype=np.float32)
    optimizer = hm.Chain(hm.ClipGradNorm(1.0), hm.AdamW(lr=1e-3))
    schedule = hm.CosineAnnealingLR(optimizer, T_max=2)
    history = hm.fit(network, X, y, optimizer=optimizer, schedule=schedule, epochs=2, batch_size=128, progress=False)
    labels = network.predict(X).argmax(axis=1)
    print(history.loss[-1], (labels == y).mean(), network.theta.shape, network.parameter_count, optimizer.lr)
    loss, gradient = network.loss_and_gradient(X[:8], y[:8], loss=hm.losses.cross_entropy)
    network.theta -= 0.1 * gradient
    H, cache = network.forward(X[:8], training=True)
    dX = network.backward(np.ones_like(H), cache)
    print(loss + 1.0, dX)
    hm.save(network, folder / "digits.npz")
    again = hm.load(folder / "digits.npz")
    again.load_state_dict(network.state_dict())


def checks() -> None:
    X, y = hm.data.xor()
    network = hm.MLP([2, 3, 2], activation="sigmoid", rng=0)
    result = hm.check_gradient(network, X, y, loss="cross_entropy", method="central")
    print(result)
    gradient = hm.numerical_gradient(lambda theta: float(np.sin(theta).sum()), [0.5, 1.0], method="richardson")
    print(gradient.shape, hm.diagnose_gradient(network, X, y, network.loss_and_gradient(X, y)[1]))


def formulas() -> None:
    A = np.array([[1.0, -2.0]])
    H = hm.activations.leaky_relu(A, negative_slope=0.2)
    dA = hm.activations.leaky_relu_backward(np.ones_like(H), A, negative_slope=0.2)
    print(H.sum() + dA.sum(), hm.losses.cross_entropy(A, [1], reduction="sum", label_smoothing=0.1))
