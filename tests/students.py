"""A student's right file, the exercise that it answers, and its grade."""

from __future__ import annotations

import numpy as np

import handmade as hm
from handmade.grading import grade
from handmade.grading.child.loading import load

_rng = np.random.default_rng(3)
X, Y = _rng.normal(size=(6, 3)), _rng.normal(size=(6, 2))
NETWORK = hm.MLP([3, 5, 4, 2], activation="tanh", rng=0)

RIGHT = """\
import numpy as np

def forward(parameters, X):
    W0, b0, W1, b1, W2, b2 = parameters
    return np.tanh(np.tanh(X @ W0.T + b0) @ W1.T + b1) @ W2.T + b2

def backward(parameters, X, y):
    W0, b0, W1, b1, W2, b2 = parameters
    H0 = np.tanh(X @ W0.T + b0)
    H1 = np.tanh(H0 @ W1.T + b1)
    dA2 = 2 * (H1 @ W2.T + b2 - y) / y.size
    dA1 = dA2 @ W2 * (1 - H1**2)
    dA0 = dA1 @ W1 * (1 - H0**2)
    return [dA0.T @ X, dA0.sum(axis=0), dA1.T @ H0, dA1.sum(axis=0), dA2.T @ H1, dA2.sum(axis=0)]
"""
BOTH = """
def loss_and_gradient(parameters, X, y):
    return np.mean((forward(parameters, X) - y) ** 2), backward(parameters, X, y)
"""


def grade_text(file, old: str = "", new: str = "", text: str = RIGHT):
    """Return the grade of a file with this text, some of it replaced; in this process."""
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with np.errstate():
        student, _ = load(str(file))
    student.__name__ = file.name
    return grade(student, NETWORK, X, Y, loss="mse_loss")


def credits(result) -> list[int]:
    return [item.credit for item in result.items]
