"""A learner written out, whose lines tests replace by wrong ones."""

from __future__ import annotations

import numpy as np

import handmade as hm
from handmade.activations import sigmoid, softmax
from handmade.checking.backward_pass import BackwardPass, slope
from handmade.checking.mistakes import mistakes

RNG = np.random.default_rng(11)
X, LABELS = RNG.normal(size=(7, 4)), np.array([0, 2, 1, 1, 0, 2, 2])
REALS, BITS = RNG.normal(size=(7, 3)), RNG.integers(0, 2, size=(7, 3)).astype(float)
SCALE = 0.05  # the learning rate of those mistakes that have one

LEARNER = """
A0 = X @ W0.T + b0
H0 = np.tanh(A0)
A1 = H0 @ W1.T + b1
H1 = np.tanh(A1)
H2 = H1 @ W2.T + b2
{dH2}
dW2 = dH2.T @ H1
db2 = dH2.sum(axis=0)
dH1 = dH2 @ W2
dA1 = dH1 * (1 - H1**2)
dW1 = dA1.T @ H0
db1 = dA1.sum(axis=0)
dH0 = dA1 @ W1
dA0 = dH0 * (1 - H0**2)
dW0 = dA0.T @ X
db0 = dA0.sum(axis=0)
"""
LOSSES = {
    "cross_entropy": "T = np.eye(3)[y]; P = softmax(H2); dH2 = (P - T) / N",
    "mse_loss": "dH2 = 2 * (H2 - y) / y.size",
    "binary_cross_entropy_with_logits": "P = sigmoid(H2); dH2 = (P - y) / y.size",
    "hinge_loss": "dH2 = -y * (1 - y * H2 > 0) / y.size",
}


def network_of(I=4, O=3, units=5, **options):
    network = hm.MLP([I, units, units, O], **{"activation": "tanh", "rng": 0} | options)
    network.theta += 0.3 * np.random.default_rng(1).normal(size=network.theta.shape)  # no bias at 0
    return network


def written(network, X, y, loss, *replaced):
    """Return the gradient that the learner's lines lead to, some of them replaced."""
    lines = LEARNER.format(dH2=LOSSES[loss])
    for old, new in replaced:
        assert lines.count(old) == 1
        lines = lines.replace(old, new)
    parameters = dict(zip(("W0", "b0", "W1", "b1", "W2", "b2"), network.state_dict().values(), strict=True))
    known = dict(np=np, softmax=softmax, sigmoid=sigmoid, X=X, y=y, N=len(X), rate=SCALE, slope=slope) | parameters
    with np.errstate(all="ignore"):
        exec(lines, known)
    return np.concatenate([np.broadcast_to(known["d" + name], p.shape).ravel() for name, p in parameters.items()])


def made(passes, name, where):
    (mistake,) = {m.name: m for m in mistakes(passes) if m.name == name and m.where.startswith(where)}.values()
    return passes.gradient(mistake.steps, SCALE)


def assert_equal(gradient, other):
    assert np.abs(gradient - other).max() <= 64 * np.finfo(float).eps * np.abs(other).max()


def assert_made(network, X, y, loss, name, where, *replaced):
    assert_equal(made(BackwardPass(network, X, y, loss), name, where), written(network, X, y, loss, *replaced))
