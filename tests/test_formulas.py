"""Formulas of wrong steps: pieces, coefficients that coincide, places that a batch cannot separate, single entries."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import handmade as hm
from handmade import losses
from handmade.checking.backward_pass import BackwardPass
from handmade.checking.formulas.pieces import two_pieces
from handmade.checking.places import Place
from handmade.checking.regression import Term, ways_to_write


def mlp_gradient(parameters, X, y, dA2, slope=lambda A: 1 - np.tanh(A) ** 2):
    """Return the gradient of a network with one tanh layer; dA2 and the slope are what a test makes wrong."""
    W0, b0, W2, b2 = parameters
    A = X @ W0.T + b0
    dA = dA2(np.tanh(A) @ W2.T + b2, y)
    dA0 = dA @ W2 * slope(A)
    return [dA0.T @ X, dA0.sum(axis=0), dA.T @ np.tanh(A), dA.sum(axis=0)]


def diagnosis_of(dA2, loss="mse_loss", rows=12, as_function=True, **more):
    rng = np.random.default_rng(0)
    network = hm.MLP([5, 6, 4], activation="tanh", rng=0)
    network.theta = rng.normal(scale=0.6, size=network.theta.size)
    X, y = rng.normal(size=(rows, 5)), rng.normal(size=(rows, 4)) * 1.5
    gradient = functools.partial(mlp_gradient, dA2=dA2, **more)
    claim = (lambda parameters, X, y: gradient(parameters, X, y)) if as_function else None
    if claim is None:
        claim = gradient(list(network.blocks(network.theta).values()), X, y)
    return hm.diagnose_gradient(network, X, y, claim, loss=loss)


def test_a_threshold_in_the_loss_is_found():
    found = diagnosis_of(lambda A, y: np.where(abs(A - y) < 2, A - y, np.sign(A - y)) / y.size, "huber_loss")
    assert found.formula == "dA[2] = right where |A-Y| > about 2, else 1/(N K) (A-Y)"


def test_a_bound_of_the_loss_has_its_name():
    loss = functools.partial(losses.huber_loss, delta=0.7)
    found = diagnosis_of(lambda A, y: np.where(abs(A - y) < 0.7, A - y, np.sign(A - y)) / y.size, loss)
    assert "delta" in found.formula and found.places == [Place(("loss",))]


def test_pieces_need_more_entries_than_chance_explains():
    E = np.random.default_rng(0).normal(size=6)
    terms = [Term("E", E, 0.5), Term("1", np.ones(6))]
    many = [Term(f"Q{i}", np.random.default_rng(i).normal(size=6)) for i in range(50)]
    assert not two_pieces(np.where(np.arange(6) < 3, E, 1.0), terms, many, {}, 1e-9)


@pytest.mark.parametrize(("rows", "known"), [(4, "1.5/N"), (12, "1.5/(N K)")])
def test_a_factor_is_written_with_the_numbers_of_the_batch(rows, known):
    assert known.split("/")[0] in ways_to_write(1.5 / (rows * 4), {"N": float(rows), "K": 4.0}, 1e-9)[0][0]


def test_numbers_that_coincide_are_both_named():
    assert ways_to_write(4.0, {"N": 4.0, "K": 4.0}, 1e-9) == (("N", "K"), 0.5)


def test_other_rows_tell_the_number_of_rows_from_that_of_outputs():
    """In batches of four rows of four outputs 1/N and 1/K are one number; a function is called with other rows, too."""
    found = diagnosis_of(lambda A, y: 2 * (A - y) * (1 + A) / len(y))
    assert found.formula == "dA[2] = K right + K right A"


def test_below_a_batch_norm_dA_and_dW_are_both_pointed_at():
    """The bias below a normalization has the gradient 0, so 12 rows of 5 inputs leave open if dA or dW is wrong."""
    rng = np.random.default_rng(0)
    network = hm.Network([hm.Dense(5, 6, rng=0), hm.BatchNorm(6), hm.Activation("tanh"), hm.Dense(6, 3, rng=1)])
    X, y = rng.normal(size=(12, 5)), rng.integers(0, 3, 12)
    gradient = BackwardPass(network, X, y).gradient()
    network.blocks(gradient)["0.weight"][...] += rng.normal(size=(6, 5))
    found = hm.diagnose_gradient(network, X, y, gradient)
    assert found.verdict == "located"
    assert found.places == [Place(("3", "2", "1"), ("0.weight",))]
    assert ", or dW[0] from dA[0]" in found.step


# ---- single entries --------------------------------------------------------------------------------------------------


def test_a_wrong_entry_among_many_is_named():
    network = hm.MLP([60, 50, 10], activation="relu", rng=0)
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(16, 60)), rng.integers(0, 10, 16)
    gradient = BackwardPass(network, X, y).gradient()
    gradient[1234] += 0.01
    found = hm.diagnose_gradient(network, X, y, gradient)
    assert [e.name for e in found.explanations] == ["wrong entry 0.weight[20, 34]"]
    assert found.places == [Place((), ("0.weight",))]


def test_two_wrong_entries_of_a_function_are_found_by_halving():
    """Both errors are of one size and of opposite sign, so equal steps along both would cancel."""
    scale, theta = np.random.default_rng(0).uniform(0.5, 2, (2, 30_000))
    gradient = scale * theta
    gradient[[12_345, 23_456]] += [0.5, -0.5]
    calls = []

    def f(t):
        calls.append(1)
        return float(0.5 * t @ (scale * t))

    check = hm.check_gradient(f, theta, gradient, entries=50, rng=0)
    assert [entry.index for entry in check.wrong] == [12_345, 23_456]
    assert check.blocks[0].is_complete and len(calls) < 2000


@pytest.mark.parametrize(("claim", "right"), [(-1.0, True), (-0.4, True), (0.0, True), (1.3, False), (-2.3, False)])
def test_at_a_kink_what_is_far_outside_of_both_slopes_is_wrong(claim, right):
    network = hm.Network([hm.Dense(1, 1), hm.Activation("relu"), hm.Dense(1, 1)])
    network.theta[:] = [1.0, 0.0, 1.0, 0.0]
    X, y, gradient = np.zeros((1, 1)), np.ones((1, 1)), np.array([0.0, claim, 0.0, -1.0])
    f = hm.NetworkLoss(network, X, y, "half_squared_error")
    assert bool(hm.check_gradient(network, X, y, gradient, loss="half_squared_error")) == right
    assert bool(hm.check_gradient(f, network.theta, gradient)) == right
    assert bool(hm.diagnose_gradient(network, X, y, gradient, loss="half_squared_error")) == right


def test_where_kinks_cancel_the_function_decides():
    """f is max(x, 0) - max(-x, 0) = x: its slope is 1, whatever derivative is chosen at the kinks of its two units."""
    network = hm.Network([hm.Dense(1, 2, bias=False), hm.Activation("relu"), hm.Dense(2, 1, bias=False)])
    network.theta[:] = [1.0, -1.0, 1.0, -1.0]
    f = lambda theta: float(np.maximum(theta[0], 0) - np.maximum(-theta[0], 0))  # noqa: E731
    for slope in 0.0, 2.0:
        assert not hm.check_gradient(f, np.zeros(1), np.array([slope]))
    assert hm.check_gradient(f, np.zeros(1), np.ones(1))


def test_a_gated_layer_with_a_wrong_slope_gets_an_answer():
    network = hm.Network([hm.Dense(3, 8, rng=0), hm.GLU(), hm.Dense(4, 2, rng=1)])
    X, Y = np.random.default_rng(2).normal(size=(4, 3)), np.zeros((4, 2))
    W0, b0, W2, b2 = network.state_dict().values()
    A, B = np.split(X @ W0.T + b0, 2, axis=1)
    gate = 1 / (1 + np.exp(-B))
    dA2 = 2 * ((A * gate) @ W2.T + b2 - Y) / Y.size
    dH = dA2 @ W2
    dA0 = np.concatenate([dH * gate, dH * A], axis=1)  # the slope of the gate is missing
    claimed = [dA0.T @ X, dA0.sum(axis=0), dA2.T @ (A * gate), dA2.sum(axis=0)]
    diagnosis = hm.diagnose_gradient(network, X, Y, claimed, loss="mse_loss")
    assert diagnosis.verdict in ("located", "named") and "1" in diagnosis.places[0].layers


def test_a_batch_norm_in_float32_with_large_inputs_is_right():
    """The gradient of gamma sums dH Xhat, and Xhat has lost the digits that X and its mean share."""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        layers = [hm.Dense(2, 3, rng=seed), hm.BatchNorm(3), hm.Activation("relu"), hm.Dense(3, 4, rng=seed)]
        network = hm.Network(layers, dtype=np.float32)
        X = (100 + 30 * rng.normal(size=(5, 2))).astype(np.float32)
        y = rng.choice([-1.0, 1.0], (5, 4)).astype(np.float32)
        assert hm.check_gradient(network, X, y, loss="hinge_loss"), seed
