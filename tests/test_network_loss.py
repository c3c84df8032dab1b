"""The loss of a network at many entries of theta at once, beside the same one by one."""

from __future__ import annotations

import copy
import functools

import numpy as np
import pytest
from checked_gradients import ARCHITECTURES, LABELS, PROBABILITIES, REALS, TARGETS, X, build
from functions_of_tests import EPS

import handmade.losses as losses
from handmade import (
    Activation,
    BatchNorm,
    Concatenate,
    Dense,
    Dropout,
    LayerNorm,
    Network,
    Parallel,
    Residual,
    Sequential,
    check_gradient,
    diagnose_gradient,
)
from handmade.checking.differences import numerical_gradient
from handmade.checking.network_loss import NetworkLoss


def assert_moved_one_by_one(f, theta):
    """All entries at once give what each alone gives, but for a few roundings; also of complex numbers."""
    rng = np.random.default_rng(1)
    indices = rng.permutation(np.tile(np.arange(theta.size), 2))
    for values in rng.normal(size=indices.size), theta[indices] + 1e-20j:
        alone = []
        for i, value in zip(indices, values, strict=True):
            moved = theta.astype(values.dtype)
            moved[i] = value
            alone.append(f(moved))
        together = f.moved(theta, indices, values)
        assert together.dtype == values.dtype
        for one, other in (together.real, np.real(alone)), (together.imag, np.imag(alone)):
            assert np.abs(one - other).max() <= 32 * EPS * np.abs(other).max()
    assert f(theta) == f(theta)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_many_entries_at_once_are_the_same_as_one_by_one(architecture, training):
    network = build(architecture, np.float64)
    assert_moved_one_by_one(NetworkLoss(network, X, LABELS, training=training), network.theta)


WEIGHT = np.array([0.5, 0, 1, 2, 3, 0.25, 1])
FORMS = {
    **{name: (name, y) for name, y in TARGETS.items()},
    **{
        f"{name} sum": (functools.partial(losses.LOSSES[name].value, reduction="sum"), y) for name, y in TARGETS.items()
    },
    "probabilities": ("cross_entropy", PROBABILITIES),
    "smoothed": (functools.partial(losses.cross_entropy, label_smoothing=0.2), LABELS),
    "class weights": (functools.partial(losses.cross_entropy, weight=[1, 2, 3], label_smoothing=0.1), LABELS),
    "ignored": (functools.partial(losses.cross_entropy, ignore_index=1), LABELS),
    "all ignored": (functools.partial(losses.cross_entropy, ignore_index=1), np.ones(7, int)),
    "margins": (functools.partial(losses.multi_margin_loss, p=2, margin=0.5, weight=[1, 2, 3]), LABELS),
    "element weights": (functools.partial(losses.mse_loss, weight=np.abs(REALS)), REALS),
    "positive weights": (
        functools.partial(losses.binary_cross_entropy_with_logits, pos_weight=[1.0, 2.0, 3.0]),
        PROBABILITIES,
    ),
    "a weight for each": (
        functools.partial(losses.binary_cross_entropy_with_logits, pos_weight=np.abs(REALS)),
        PROBABILITIES,
    ),
    "a pair of the library's": ((losses.huber_loss, losses.huber_loss_backward), REALS),
    "a pair of its own": (
        (lambda H, y: ((H - y) ** 2).sum() / len(H) ** 2, lambda H, y: 2 * (H - y) / len(H) ** 2),
        REALS,
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_many_entries_at_once_equal_one_by_one(form):
    loss, y = FORMS[form]
    network = build("tanh", np.float64)
    assert_moved_one_by_one(NetworkLoss(network, X, y, loss), network.theta)


@pytest.mark.parametrize("loss", TARGETS)
def test_sample_weights_of_many_entries_at_once(loss):
    network = build("tanh", np.float64)
    f = NetworkLoss(network, X, TARGETS[loss], loss, sample_weight=WEIGHT)
    moved = f.moved(network.theta, np.arange(network.theta.size), network.theta + 0.5)
    for i, value in enumerate(moved):
        there = network.theta.copy()
        there[i] += 0.5
        assert value == pytest.approx(f(there), rel=32 * EPS)


@pytest.mark.parametrize("block", [1, 100, 333])
def test_the_size_of_a_block_changes_nothing(block):
    class Small(NetworkLoss):
        BLOCK = block

    network = build("tanh", np.float64)
    assert_moved_one_by_one(Small(network, X, LABELS), network.theta)


class Squared(Dense):
    """A layer with a forward of its own: W enters squared."""

    def forward(self, X, training=False):
        return X @ (self.W**2).T + self.b, X


class Across(Activation):
    """A layer whose rows depend on each other."""

    def forward(self, A, training=False):
        H, cache = super().forward(A, training)
        return H - A.mean(axis=0), cache


def mean_free_backward(dH, A):
    return dH - dH.mean(axis=0)


def mean_free(A):
    return A - A.mean(axis=0)


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [Squared(4, 5, rng=0), Activation("tanh"), Dense(5, 3, rng=1)],
        lambda: [Dense(4, 5, rng=0), Activation("tanh"), Squared(5, 3, rng=1)],
        lambda: [Dense(4, 5, rng=0), Across("tanh"), Dense(5, 3, rng=1)],
        lambda: [Dense(4, 5, rng=0), Activation((mean_free, mean_free_backward)), Dense(5, 3, rng=1)],
        lambda: [Dense(4, 5, rng=0), Dropout(0.5, rng=3), Dense(5, 3, rng=1)],
    ],
    ids=["own forward", "own forward above", "subclass of Activation", "pair", "dropout"],
)
def test_layers_with_dependent_rows_are_not_shortened(layers):
    network = Network(layers())
    assert_moved_one_by_one(NetworkLoss(network, X, LABELS), network.theta)


@pytest.mark.parametrize(
    ("layer", "in_training", "outside"),
    [
        (Dense(4, 4), True, True),
        (LayerNorm(4), True, True),
        (Activation("tanh"), True, True),
        (Activation((mean_free, mean_free_backward)), False, False),
        (Across("tanh"), False, False),
        (Squared(4, 4), False, False),
        (BatchNorm(4), False, True),
        (Dropout(0.5), False, True),
        (Sequential([Dense(4, 4), LayerNorm(4)]), True, True),
        (Residual([Dense(4, 4), Across("tanh")]), False, False),
        (Concatenate([Dense(4, 2), Dropout(0.5)]), False, True),
        (Parallel([Dense(2, 3)], [Dense(2, 3), BatchNorm(3)]), False, True),
        (Parallel([Dense(2, 3)], [Dense(2, 3), Activation("tanh")]), True, True),
    ],
    ids=lambda value: value if isinstance(value, bool) else type(value).__name__,
)
def test_rows_are_independent_if_they_are_in_all_parts(layer, in_training, outside):
    assert (layer.rows_are_independent(True), layer.rows_are_independent(False)) == (in_training, outside)


@pytest.mark.parametrize("training", [True, False])
def test_many_entries_below_composites_equal_one_by_one(training):
    above = Residual([Dense(4, 4, rng=1), Dropout(0.3, rng=5)]), Parallel([Dense(2, 3, rng=2)], [BatchNorm(2)])
    network = Network([Dense(4, 4, rng=0), Activation("tanh"), *above, Concatenate([Dense(5, 1, rng=3)])])
    assert_moved_one_by_one(NetworkLoss(network, X, LABELS, training=training), network.theta)


@pytest.mark.parametrize(("block", "size"), [(1, 1), (27, 1), (28, 1), (84, 3), (111, 3), (112, 4)])
def test_variants_are_computed_in_parts_that_fit_a_block(block, size):
    """Of 7 rows by 4 units each."""

    class Small(NetworkLoss):
        BLOCK = block

    network = build("tanh", np.float64)
    parts = Small(network, X, LABELS)._split(np.arange(10), network)
    assert [part.tolist() for part in parts] == [list(range(10))[k : k + size] for k in range(0, 10, size)]


class Halved(Network):
    def forward(self, X, training=False):
        H, cache = super().forward(X, training)
        return H / 2, cache


def test_a_network_with_a_forward_of_its_own_is_not_short_cut():
    network = Halved([Dense(4, 5, rng=0), Activation("tanh"), Dense(5, 3, rng=1)])
    assert_moved_one_by_one(NetworkLoss(network, X, LABELS), network.theta)


def test_a_moved_unit_is_computed_by_its_layers_forward(monkeypatch):
    network = build("tanh", np.float64)
    original = Dense.forward

    def doubled(self, X, training=False):
        H, cache = original(self, X, training)
        return 2 * H, cache

    monkeypatch.setattr(Dense, "forward", doubled)
    assert_moved_one_by_one(NetworkLoss(network, X, LABELS), network.theta)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("architecture", ["both", "composites", "dropout"])
def test_the_gradient_of_the_loss_is_that_of_backpropagation(architecture, dtype):
    network = build(architecture, dtype)
    f = NetworkLoss(network, X.astype(dtype), LABELS)
    untouched = network.state_dict()
    _, gradient = build(architecture, dtype).loss_and_gradient(X.astype(dtype), LABELS)
    measured = numerical_gradient(f, network.theta, method="complex")
    assert np.abs(measured - gradient).max() <= 100 * np.finfo(dtype).eps * np.abs(gradient).max()
    for name, array in network.state_dict().items():
        assert np.array_equal(array, untouched[name]), name


def test_the_loss_of_a_float32_network_is_computed_in_float64():
    network = build("tanh", np.float32)
    targets = np.random.default_rng(0).normal(size=(len(X), network.layers[-1].neuron_count))
    theta = network.theta * (1 + 1e-9 * np.arange(network.theta.size))  # in float32 it would be the same
    rounded = targets.astype(np.float32).astype(float)
    seen, double = X.astype(np.float32), build("tanh", np.float64)
    f, g = NetworkLoss(network, seen, targets, "mse_loss"), NetworkLoss(double, seen, rounded, "mse_loss")
    assert f(theta) == g(theta) != f(network.theta)
    assert f(network.theta) == g(network.theta.astype(float))


def test_moved_losses_are_complex_where_theta_is():
    network = build("tanh", np.float64)
    f, theta = NetworkLoss(network, X, LABELS), network.theta + 1e-20j
    moved = f.moved(theta, np.array([0.0, 5.0]), [0.25, -0.5])
    for loss, index, value in zip(moved, [0, 5], [0.25, -0.5], strict=True):
        other = theta.copy()
        other[index] = value
        assert loss == pytest.approx(complex(f(other)), rel=1e-13) and loss.imag != 0


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"X": X[:, :2]}, ValueError, r"X: expected shape \(N, 4\)"),
        ({"y": LABELS + 1}, ValueError, "from 0 to 2, got 3"),
        ({"loss": "crossentropy"}, ValueError, "loss: expected one of"),
        ({"loss": "zero_one_loss", "y": REALS}, TypeError, "zero_one_loss has no gradient"),
        ({"sample_weight": [1.0, 2.0]}, ValueError, "one weight per sample"),
    ],
)
def test_a_loss_that_cannot_be_computed_is_named_at_once(options, error, match):
    with pytest.raises(error, match=match):
        NetworkLoss(build("tanh", np.float64), **{"X": X, "y": LABELS} | options)


class Decayed(Network):
    """A network with the penalty amount |weights|^2 / 2 in its loss, and another in its gradient, if asked for."""

    amount, in_gradient = 0.2, 0.2

    def backpropagate(self, *arguments):
        value, gradient = super().backpropagate(*arguments)
        weights = [block for name, block in self.blocks(self.theta).items() if name.endswith("weight")]
        for name, block in self.blocks(gradient).items():
            if name.endswith("weight"):
                block += self.in_gradient * self.blocks(self.theta)[name]
        return value + self.amount / 2 * float(sum((block**2).sum() for block in weights)), gradient


def test_the_loss_of_an_own_backpropagate_is_the_one_that_counts():
    network = Decayed([Dense(4, 5, rng=0), Activation("tanh"), Dense(5, 3, rng=1)])
    f = NetworkLoss(network, X, LABELS)
    plain = NetworkLoss(Network(copy.deepcopy(list(network.layers))), X, LABELS)
    weights = np.concatenate([network.layers[0].W.ravel(), network.layers[2].W.ravel()])
    assert f(network.theta) == pytest.approx(plain(network.theta) + 0.1 * float(weights @ weights), rel=1e-14)
    moved = network.theta.copy()
    moved[3] += 0.5
    assert f.moved(network.theta, [3], [moved[3]])[0] == f(moved) != f(network.theta)
    assert check_gradient(network, X, LABELS)
    assert diagnose_gradient(network, X, LABELS).verdict == "right"


def test_a_penalty_that_is_not_that_of_the_loss_is_named():
    network = Decayed([Dense(4, 5, rng=0), Activation("tanh"), Dense(5, 3, rng=1)])
    network.in_gradient = 0.5
    (explanation,) = diagnose_gradient(network, X, LABELS).explanations
    assert (explanation.name, explanation.where) == ("L2 term added or too large", "the weights")
    assert "claimed - measured = 0.3 theta in 0.weight, 2.weight" in str(check_gradient(network, X, LABELS))
