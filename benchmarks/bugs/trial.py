"""One run of a student's program, and the handmade network that computes the same function.

A bug is a substitution in the text of a correct program, so the wrong program differs by the mistake only.
"""

from __future__ import annotations

import functools
import math
import types
from typing import Any

import numpy as np
import numpy.typing as npt

import handmade as hm
from handmade import losses

from .student_programs import ACTIVATIONS, BODIES, HEADS, Setting

__all__ = ["LOSSES", "Trial", "random_setting"]

Array = npt.NDArray[Any]

# ---- one run of a program ------------------------------------------------------------------------------------------

# The loss of handmade for each head of a program.
LOSSES = {
    "cross_entropy": "cross_entropy",
    "label_smoothing": functools.partial(losses.cross_entropy, label_smoothing=0.1),
    "sample_weight": "cross_entropy",
    "mse": "mse_loss",
    "half": "half_squared_error",
    "l1": "l1_loss",
    "half_of_sigmoid": "half_squared_error",
    "bce": "binary_cross_entropy_with_logits",
    "bce_of_sigmoid": "binary_cross_entropy",
    "hinge": "hinge_loss",
}


class Trial:
    """A program and a batch, with the handmade network that computes the same function.

    Parameters
    ----------
    setting : Setting
        The program's parts, sizes and dtype.
    text : str
        The program, right or wrong.
    seed : int
        Draws parameters and batch.
    """

    def __init__(self, setting: Setting, text: str, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.setting, self.network = setting, _network(setting)
        self.network.theta = rng.normal(0, 0.7, self.network.theta.size)
        self.theta = self.network.theta.copy()
        ends = np.cumsum([block.size for block in self.network.blocks(self.theta).values()])
        shapes = [block.shape for block in self.network.blocks(self.theta).values()]
        self.blocks = [(slice(end - math.prod(shape), end), shape) for end, shape in zip(ends, shapes, strict=True)]
        self.X = (setting.scale * rng.normal(size=(setting.N, setting.sizes[0]))).astype(setting.dtype)
        self.y = _targets(setting, rng)
        self.weight = rng.uniform(0.5, 2, setting.N) if setting.head == "sample_weight" else None
        self.program = types.ModuleType("student")
        self.program.__dict__.update(np=np, sample_weight=self.weight)
        exec(_compiled(text), self.program.__dict__)

    def cut(self, theta: Array) -> list[Array]:
        """Return theta as the student stores it: [W0, b0, W1, b1, ...]."""
        theta = theta.astype(self.setting.dtype)
        return [theta[block].reshape(shape) for block, shape in self.blocks]

    def loss(self, theta: Array) -> float:
        """Return the loss that the student's program computes."""
        return self.program.loss(self.cut(theta), self.X, self.y)

    def gradient(self, theta: Array) -> Array:
        """Return the student's gradient as one vector. Wrong programs may divide by zero, without a warning."""
        with np.errstate(all="ignore"):
            gradients = self.program.loss_and_gradient(self.cut(theta), self.X, self.y)[1]
        return np.concatenate([gradient.reshape(-1) for gradient in gradients])

    def diagnose(self) -> hm.Diagnosis:
        """Return the diagnosis of the student's gradient by `handmade.diagnose_gradient`."""
        if self.setting.body == "L2":  # the network's loss has no penalty, so the student's loss is used
            facts = dict(batch_size=self.setting.N, learning_rate=0.1)
            return hm.diagnose_gradient(
                lambda parameters: self.program.loss(parameters, self.X, self.y),
                self.cut(self.theta),
                lambda parameters: self.cut(self.gradient(np.concatenate([p.reshape(-1) for p in parameters]))),
                **facts,
            )
        facts = dict(loss=LOSSES[self.setting.head], sample_weight=self.weight, learning_rate=0.1)
        return hm.diagnose_gradient(self.network, self.X, self.y, self.gradient, **facts)


@functools.cache
def _compiled(text: str) -> types.CodeType:
    return compile(text, "student", "exec")


def _network(setting: Setting) -> hm.Network:
    """Return the handmade network with the layers of the program."""
    layers: list[hm.Layer] = []
    pairs = list(zip(setting.sizes, setting.sizes[1:], strict=False))
    for i, (I, O) in enumerate(pairs):
        dense, hidden = hm.Dense(I, O), [hm.Activation(setting.activation)]
        if i == len(pairs) - 1:
            hidden = [hm.Activation("sigmoid")] if setting.head.endswith("of_sigmoid") else []
        elif setting.body == "batchnorm":
            hidden = [hm.BatchNorm(O), *hidden]
        elif setting.body == "dropout":
            hidden = [*hidden, hm.Dropout(float(1 - 0.7), rng=2 * i)]
        elif setting.body == "residual":
            dense, hidden = (dense, []) if i == 0 else (hm.Residual([dense, *hidden]), [])
        layers += [dense, *hidden]
    return hm.Network(layers, dtype=setting.dtype)


def _targets(setting: Setting, rng: np.random.Generator) -> Array:
    N, K = setting.N, setting.sizes[-1]
    if LOSSES[setting.head] == "cross_entropy" or setting.head == "label_smoothing":
        return rng.integers(0, K, N)
    if setting.head == "hinge":
        return rng.choice([-1.0, 1.0], (N, K)).astype(setting.dtype)
    if setting.head.startswith("bce"):
        return rng.integers(0, 2, (N, K)).astype(setting.dtype)
    return rng.normal(size=(N, K)).astype(setting.dtype)


# ---- random programs -----------------------------------------------------------------------------------------------


def random_setting(rng: np.random.Generator) -> Setting:
    """Draw a program of any size, activation, loss and dtype that its body allows."""
    body, head, activation = (str(rng.choice(list(of))) for of in (BODIES, HEADS, ACTIVATIONS))
    if body == "loop" and head == "sample_weight":  # its weights belong to the whole batch
        body = "plain"
    I, hidden, O = int(rng.integers(1, 7)), rng.integers(2, 8, rng.integers(1, 3)), int(rng.integers(2, 6))
    hidden = {"batchnorm": hidden[:1], "residual": [hidden[0]] * 2}.get(body, hidden)
    sizes = tuple(map(int, (I, *hidden, O)))
    dtype = np.float32 if rng.random() < 0.5 else np.float64
    return Setting(body, activation, head, sizes, int(rng.integers(2, 25)), float(rng.uniform(0.5, 2)), dtype)
