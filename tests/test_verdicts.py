"""Verdicts of the check and the diagnosis: they agree, and no right gradient is accused."""

from __future__ import annotations

import numpy as np
import pytest

import handmade as hm
from tests.verdicts import random_case, spoilt, verdicts

RNG = np.random.default_rng(5)


@pytest.mark.filterwarnings("ignore")  # saturated networks overflow
@pytest.mark.parametrize("seed", range(16))
def test_check_and_diagnosis_agree_on_random_networks(seed):
    """`python -m tests.verdicts 2000` tries more."""
    case = random_case(seed)
    check, diagnosis = verdicts(case, case.gradient)
    assert check == diagnosis and check != "wrong", case
    check, diagnosis = verdicts(case, spoilt(case, seed))
    assert check == diagnosis, case


@pytest.mark.parametrize("entries", [[700], [3, 1500, 2000], range(900, 1000)], ids=["one", "three", "many"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_wrong_entries_are_found_beside_the_proven_truth(entries, dtype):
    """The diagnosis measures where the claim differs from a gradient that differences confirmed."""
    rng = np.random.default_rng(0)
    network = hm.MLP([40, 50, 10], activation="relu", rng=0, dtype=dtype)
    X, y = rng.normal(size=(16, 40)), rng.integers(0, 10, 16)
    claim = network.loss_and_gradient(X, y)[1].copy()
    claim[list(entries)] += dtype(0.1 * np.abs(claim).max())
    check, diagnosis = hm.check_gradient(network, X, y, claim), hm.diagnose_gradient(network, X, y, claim)
    assert [b.name for b in diagnosis.check.blocks if b.wrong] == [b.name for b in check.blocks if b.wrong]
    if len(entries) < 4:
        assert [entry.index for entry in diagnosis.check.wrong] == list(entries)
        assert diagnosis.explanations[0].name.startswith("wrong entr")


def test_float32_rounding_below_a_normalization_is_allowed():
    """LayerNorm of two features gives nearly +-1: the gradient below it is what rounding leaves."""
    rng = np.random.default_rng(25)
    layers = [hm.Dense(1, 2, rng=25), hm.LayerNorm(2), hm.Activation("tanh"), hm.Dense(2, 3, rng=26)]
    network = hm.Network(layers, dtype=np.float32)
    network.theta = network.theta + rng.normal(scale=0.2, size=network.theta.size)
    X, y = rng.normal(size=(17, 1)).astype(np.float32), rng.integers(0, 3, 17)
    gradient = network.loss_and_gradient(X, y)[1].copy()
    assert hm.check_gradient(network, X, y, gradient) and hm.diagnose_gradient(network, X, y, gradient)


@pytest.mark.parametrize("side", [0.0, 0.3, 1.0])
def test_any_slope_at_a_kink_is_right(side):
    network = hm.MLP([1, 1, 1], "relu", rng=0)
    network.theta = np.array([1.0, 0.0, 1.0, 0.0])
    claim = np.array([0.0, -side, 0.0, -1.0])
    X, y = np.zeros((1, 1)), np.ones((1, 1))
    assert hm.diagnose_gradient(network, X, y, claim, loss="half_squared_error")
    check = hm.check_gradient(network, X, y, claim, loss="half_squared_error")
    assert check


# ---- input that is not a gradient ------------------------------------------------------------------------------------


def test_one_hot_integers_do_not_overflow():
    network, X = hm.MLP([3, 4, 2], activation="tanh", rng=0), RNG.normal(size=(5, 3))
    y = np.eye(2, dtype=np.uint8)[[0, 1, 1, 0, 1]]
    wrong = network.loss_and_gradient(X, y, "mse_loss")[1] * 2
    assert hm.diagnose_gradient(network, X, y, wrong, loss="mse_loss").verdict == "named"


def test_none_is_a_missing_return():
    network, X, y = hm.MLP([3, 4, 2], activation="tanh", rng=0), RNG.normal(size=(5, 3)), np.array([0, 1, 1, 0, 1])
    diagnosis = hm.diagnose_gradient(network, X, y, None)
    assert diagnosis.verdict == "named" and "does the function return its gradient?" in str(diagnosis)


def test_a_cross_entropy_with_two_signs_has_one_cause():
    """The second term of the binary cross-entropy with a wrong sign: -y log p + (1 - y) log(1 - p)."""
    network, X = hm.MLP([3, 4, 2], activation="tanh", rng=0), RNG.normal(size=(5, 3))
    y = RNG.integers(0, 2, (5, 2)).astype(float)
    W0, b0, W1, b1 = network.state_dict().values()
    H = np.tanh(X @ W0.T + b0)
    P = 1 / (1 + np.exp(-(H @ W1.T + b1)))
    dA1 = (-y * (1 - P) - (1 - y) * P) / P.size
    dA0 = dA1 @ W1 * (1 - H**2)
    claim = [dA0.T @ X, dA0.sum(0), dA1.T @ H, dA1.sum(0)]
    diagnosis = hm.diagnose_gradient(network, X, y, claim, loss="binary_cross_entropy_with_logits")
    assert diagnosis.verdict == "named" and diagnosis.steps == ["dA[2] from the loss"]
    assert len(diagnosis.explanations) == 1


@pytest.mark.parametrize(
    ("f", "error", "message"),
    [
        (lambda t: t * 2.0, TypeError, "expected it to return one real number"),
        (lambda t: complex(t @ t), TypeError, "expected it to return one real number"),
        (lambda t: float(RNG.random()), ValueError, "not deterministic"),
        (lambda t: t.__imul__(2.0).sum(), ValueError, "not deterministic|changed its argument"),
        (lambda t: 1.0 if np.array_equal(t, [1.0, 2.0]) else 1 / 0, ValueError, r"ZeroDivisionError.*at theta\[0\]"),
    ],
    ids=["array", "complex", "random", "changes theta", "raises beside theta"],
)
def test_functions_that_are_no_functions_are_named(f, error, message):
    for function in hm.check_gradient, hm.diagnose_gradient:
        with pytest.raises(error, match=message):
            function(f, np.array([1.0, 2.0]), np.array([2.0, 4.0]))


def test_a_recursion_is_named():
    def f(theta):
        return f(theta)

    with pytest.raises(RecursionError):
        hm.check_gradient(f, np.ones(2), np.ones(2))
    nested: list = []
    nested.append(nested)
    with pytest.raises(TypeError, match="does a list hold itself"):
        hm.diagnose_gradient(lambda t: float(t @ t), np.ones(2), nested)


def test_dicts_of_parameters_are_checked_by_name():
    theta = {"W": np.eye(2), "b": np.ones(2)}
    claim = {"W": 2 * np.eye(2), "b": 3 * np.ones(2)}
    check = hm.check_gradient(lambda t: float((t["W"] ** 2).sum() + (t["b"] ** 2).sum()), theta, claim)
    assert [(block.name, block.passed) for block in check.blocks] == [("W", True), ("b", False)]


def test_float32_claims_are_compared_at_float32_accuracy():
    theta = RNG.normal(size=50)
    f, right = (lambda t: float(np.sin(t) @ np.sin(t))), np.sin(2 * theta)
    assert hm.check_gradient(f, theta, right.astype(np.float32))
    assert not hm.check_gradient(f, theta, (right * 1.001).astype(np.float32))


def test_parameters_that_do_not_fit_are_listed():
    network, X, y = hm.MLP([3, 4, 2], rng=0), RNG.normal(size=(5, 3)), np.array([0, 1, 1, 0, 1])
    with pytest.raises(ValueError, match=r"gradient: expected .*0\.weight"):
        hm.diagnose_gradient(network, X, y, [np.ones((7, 7)), np.ones(4), np.ones((2, 4)), np.ones(2)])


def test_a_batch_too_large_for_recovery_asks_for_rows():
    network, X, y = hm.MLP([2, 8, 8, 2], activation="tanh", rng=0), RNG.normal(size=(40, 2)), RNG.integers(0, 2, 40)
    wrong = RNG.normal(size=network.theta.size)
    assert "give the gradient of" in str(hm.diagnose_gradient(network, X, y, wrong))
