"""Small training runs that several test files share."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

from handmade import MLP, Activation, BatchNorm, Dense, Network, training

fit = functools.partial(training.fit, progress=False)

# Of a test whose learning rate is too high on purpose.
warned = pytest.mark.filterwarnings("ignore:(exploding gradients|dead units):handmade.TrainingWarning")


def samples(N=10, seed=0):
    """Inputs (N, 3) and labels of three classes."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(N, 3)), rng.integers(0, 3, N)


def targets(loss, N=10, seed=1):
    """Targets that the loss takes for outputs (N, 3)."""
    rng = np.random.default_rng(seed)
    name = getattr(loss, "func", loss)
    name = getattr(name, "__name__", name)
    if name in ("cross_entropy", "multi_margin_loss"):
        return rng.integers(0, 3, N)
    if name == "binary_cross_entropy_with_logits":
        return rng.integers(0, 2, (N, 3))
    return rng.choice([-1.0, 1.0], (N, 3)) if name == "hinge_loss" else rng.normal(size=(N, 3))


def stateful(rng=0):
    """Return a network with everything that training can change: weights, statistics, a generator of masks."""
    return MLP([3, 8, 3], normalization="batch", dropout=0.25, rng=rng)


def state(network):
    """Copies of all that training can change."""
    generators = {id(leaf.rng): leaf.rng.bit_generator.state for _, leaf in network.leaves() if hasattr(leaf, "rng")}
    return network.state_dict() | {"generators": list(generators.values())}


def assert_same_state(actual, expected):
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert np.array_equal(actual[name], value), name


def torch_twin(network):
    """Return the same network in torch, in float64."""
    modules = {
        Dense: lambda layer: torch.nn.Linear(layer.in_features, layer.neuron_count, "bias" in layer.parameters),
        Activation: lambda layer: torch.nn.Tanh(),
        BatchNorm: lambda layer: torch.nn.BatchNorm1d(layer.in_features),
    }
    twin = torch.nn.Sequential(*(modules[type(layer)](layer) for layer in network.layers)).double()
    twin.load_state_dict({name: torch.from_numpy(array) for name, array in network.state_dict().items()})
    return twin


class Script:
    """An optimizer that sets the only weight to the next number, whatever the gradient."""

    def __init__(self, weights, lr=1.0):
        self.weights, self.lr = iter(weights), lr

    def step(self, theta, gradient):
        theta[:] = next(self.weights)


def follow(validation_losses, **options):
    """Train one weight so that the validation losses are these numbers: |w 1 - 0| = w."""
    network = Network([Dense(1, 1, bias=False, weight_init="zeros")])
    one, zero = [[1.0]], [[0.0]]
    options = {"optimizer": Script(validation_losses), "validation": (one, zero)} | options
    return network, fit(network, one, zero, loss="l1_loss", epochs=len(validation_losses), **options)


def rows_seen(N, **options):
    """Return which samples each step is computed from: sample n has its 1, and so its gradient, in entry n alone."""
    steps = []

    class Note:
        lr = 0.0  # it changes nothing, and is not warned of

        def step(self, theta, gradient):
            steps.append(np.flatnonzero(gradient).tolist())

    network = Network([Dense(N, 1, bias=False, weight_init="zeros")])
    fit(network, np.eye(N), np.arange(1.0, N + 1).reshape(N, 1), loss="mse_loss", optimizer=Note(), **options)
    return steps


def flat(steps):
    return [row for rows in steps for row in rows]


def mean_output(output, y):
    assert len(output) == len(y)
    return output.mean()


X_LONG, Y_LONG = samples(2500)  # more than two blocks of 1,024 rows: every row is looked at


def with_row(row, array, value):
    """Return a copy of the array, one row of it replaced."""
    changed = np.array(array)
    changed[row] = value
    return changed


with_middle = functools.partial(with_row, 1200)  # in the second block of rows, and not in the last batch
