"""Warnings in training: each illness is named once, with a cure, and healthy trainings are silent."""

from __future__ import annotations

import functools
import re
import warnings

import numpy as np
import pytest

import handmade as hm
from handmade import _run
from handmade.training_warnings import Watch

pytestmark = pytest.mark.filterwarnings("error::handmade.TrainingWarning")
X, Y = hm.load_digits()
X, Y = X[:300], Y[:300]
DEEP = [64, *[32] * 10, 10]
HEAVY = functools.partial(hm.initializers.normal, std=1.0)
FAR_BELOW = functools.partial(hm.initializers.constant, value=-100.0)


def sigmoid_output():
    return hm.Network([hm.Dense(64, 1, rng=0), hm.Activation("sigmoid")])


def train(network, X=X, y=Y, **options):
    return hm.fit(network, X, y, **{"epochs": 4, "rng": 0, "progress": False} | options)


ILL = {
    "softmax": (hm.MLP, {"sizes": [64, 8, 10], "activation": ["relu", "softmax"]}, {}, "squashed"),
    "sigmoid": (
        sigmoid_output, {}, {"y": (Y[:, None] > 4) * 1.0, "loss": "binary_cross_entropy_with_logits"}, "squashed",
    ),
    "labels": (hm.MLP, {"sizes": [64, 8, 10]}, {"y": np.full(300, 7)}, "constant targets: all 300 targets are 7"),
    "numbers": (hm.MLP, {"sizes": [64, 8, 1]}, {"y": np.ones((300, 1)), "loss": "mse_loss"}, "constant targets"),
    "pixels": (hm.MLP, {"sizes": [64, 8, 10]}, {"X": X * 255}, "unscaled inputs: .* up to 255"),
    "tiny": (hm.MLP, {"sizes": [64, 8, 10], "activation": "tanh"}, {"X": X * 1e-6}, "unscaled inputs: .*hardly"),
    "dead": (hm.MLP, {"sizes": [64, 8, 10], "bias_init": FAR_BELOW}, {}, "dead units: 100% .* layer 1"),
    "vanishing": (hm.MLP, {"sizes": DEEP, "activation": "sigmoid"}, {}, "vanishing gradients: .* layer 0, Dense"),
    "exploding": (hm.MLP, {"sizes": DEEP, "weight_init": HEAVY}, {"optimizer": hm.SGD(1e-9)}, "exploding gradients"),
}  # fmt: skip


@pytest.mark.parametrize("name", ILL)
def test_an_illness_is_named_once_in_a_training(name):
    make, arguments, options, expected = ILL[name]
    network = make(**arguments, **({"rng": 0} if arguments else {}))
    with pytest.warns(hm.TrainingWarning, match=expected) as caught:
        train(network, **options)
    kinds = [str(warning.message).partition(":")[0] for warning in caught]
    assert len(kinds) == len(set(kinds)) and kinds[0].startswith(expected.partition(":")[0])
    assert {warning.filename for warning in caught} == {__file__}


def test_units_that_die_in_training_are_noticed():
    with pytest.warns(hm.TrainingWarning, match="dead units"):
        train(hm.MLP([64, 32, 10], rng=0), optimizer=hm.Adam(1.0))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "gelu"])
def test_healthy_trainings_are_silent(seed, activation):
    # Warnings are errors in the tests.
    for optimizer in (hm.SGD(0.1, momentum=0.9), hm.Adam(0.01), hm.RMSprop(1e-3)):
        train(hm.MLP([64, 32, 16, 10], activation, rng=seed), optimizer=optimizer)
    train(hm.MLP([64, *[16] * 8, 10], activation, normalization="batch", dropout=0.1, rng=seed), epochs=2)
    xor = [np.repeat(part, 5, axis=0) for part in hm.data.xor()]
    train(hm.MLP([2, 8, 2], activation, rng=seed), *xor, optimizer=hm.Adam(0.05), epochs=60, batch_size=None)
    numbers = np.random.default_rng(seed).normal(size=(100, 3))
    train(hm.MLP([3, 16, 1], activation, rng=seed), numbers, 50 * numbers[:, :1], loss="mse_loss", epochs=20)


def test_a_look_changes_nothing_and_costs_little():
    quiet = hm.MLP([64, 16, 10], normalization="batch", dropout=0.3, rng=0)
    looks = []

    class Counted(Watch):
        def look(self, run, ended=False):
            before = self.next, self.last
            super().look(run, ended)
            looks.append((self.next, self.last) != before)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_run, "Watch", Counted)
        train(quiet, epochs=60, batch_size=4)
    assert sum(looks) == 5, "before the first epoch, after 14, 28 and 56, of 75 steps each, and at the end"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Watch, "look", lambda self, run, ended=False: None)
        train(other := hm.MLP([64, 16, 10], normalization="batch", dropout=0.3, rng=0), epochs=60, batch_size=4)
    assert quiet.theta.tobytes() == other.theta.tobytes()
    assert quiet.gradient.tobytes() == other.gradient.tobytes()


def test_warnings_can_be_silenced_by_class_and_by_message():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="unscaled inputs", category=hm.TrainingWarning)
        train(hm.MLP([64, 8, 10], activation="tanh", rng=0), X * 255)


@pytest.mark.parametrize("compile", [False, True])
def test_divergence_says_layer_step_and_last_loss(compile):
    if compile:
        pytest.importorskip("numba")
    network = hm.MLP([64, 16, 10], rng=0, dtype="float32")
    before = network.theta.copy()
    with pytest.raises(FloatingPointError) as caught:
        train(network, X, X[:, :10], loss="mse_loss", optimizer=hm.SGD(1e30), compile=compile)
    message = str(caught.value)
    assert "the output of layer 2, Dense(16, 10), is no longer finite" in message
    assert re.search(r"in step 2 of epoch 1; the last finite loss was 0.\d+: training diverges", message)
    np.testing.assert_array_equal(network.theta, before)


class Rebinds:
    lr = 0.1

    def step(self, theta, gradient):
        theta = theta - self.lr * gradient


def test_an_optimizer_that_changes_nothing_is_named():
    with pytest.warns(hm.TrainingWarning, match="unchanged parameters: the steps of Rebinds leave all"):
        train(hm.MLP([64, 8, 10], rng=0), optimizer=Rebinds())
    train(hm.MLP([64, 8, 10], rng=0), optimizer=hm.SGD(lr=0.0))  # frozen on purpose


@pytest.mark.parametrize("line_search_fn", [None, "strong_wolfe"])
def test_an_optimizer_that_has_converged_is_not_blamed(line_search_fn):
    data = np.repeat(np.random.default_rng(0).normal(size=(6, 3)), 5, axis=0), np.tile([0, 1, 2], 10)
    network = hm.MLP([3, 4, 3], activation="tanh", rng=0)
    options = {"loss": "mse_loss", "batch_size": None, "epochs": 3}
    target = network.predict(data[0])
    network.theta += 1e-9
    train(network, data[0], target, optimizer=hm.LBFGS(line_search_fn=line_search_fn), **options)
    assert 0 < abs(network.gradient).max() < 1e-7
