"""Wrong gradients explained: every known mistake is named, alone and in pairs; what is unknown stays unknown."""

from __future__ import annotations

import copy
import functools
import re
import types

import numpy as np
import pytest
import torch

import handmade as hm
from handmade import MLP, Network, diagnose_gradient
from handmade.checking.backward_pass import BackwardPass
from handmade.checking.catalogue_search import CHANCE, SHARE, _made, _matches
from handmade.checking.claims import blocks_of, call_repeatedly, is_single, leaves, read_gradient
from handmade.checking.mistakes import mistakes
from handmade.checking.problem import Problem, network_problem
from handmade.checking.reports import Diagnosis, Explanation
from handmade.checking.transforms import Cause, tolerance
from reference.twin import twin

RNG = np.random.default_rng(7)
X, LABELS = RNG.normal(size=(8, 4)), np.array([0, 2, 1, 1, 0, 2, 2, 1])
REALS, BITS = RNG.normal(size=(8, 3)), RNG.integers(0, 2, size=(8, 3)).astype(float)
CASES = {
    "deep tanh": (MLP([4, 5, 5, 3], activation="tanh", rng=0), LABELS, "cross_entropy"),
    "relu": (MLP([4, 6, 3], activation="relu", rng=1), LABELS, "cross_entropy"),
    "gelu, smoothed": (
        MLP([4, 4, 3], activation="gelu", rng=2), LABELS,
        functools.partial(hm.losses.cross_entropy, label_smoothing=0.1),
    ),
    "sigmoid, regression": (MLP([4, 5, 3], activation="sigmoid", rng=3), REALS, "mse_loss"),
    "lecture": (MLP([4, 5, 3], activation=["sigmoid", "sigmoid"], rng=4), BITS, "half_squared_error"),
    "logits": (MLP([4, 5, 3], activation="leaky_relu", rng=5), BITS, "binary_cross_entropy_with_logits"),
    "probabilities": (MLP([4, 5, 3], activation=["tanh", "sigmoid"], rng=6), BITS, "binary_cross_entropy"),
    "hinge": (MLP([4, 5, 3], activation="silu", rng=7), 2 * BITS - 1, "hinge_loss"),
    "square": (MLP([4, 8, 8, 3], activation="softplus", rng=8), LABELS, "cross_entropy"),
    "normalized, dropout": (
        MLP([4, 5, 3], activation="elu", normalization="batch", dropout=0.3, rng=9), LABELS, "cross_entropy",
    ),
    "residual": (
        Network(
            [hm.Dense(4, 5, rng=1), hm.Residual([hm.Dense(5, 5, rng=2), hm.Activation("tanh")]), hm.Dense(5, 3, rng=3)]
        ),
        LABELS, "cross_entropy",
    ),
}  # fmt: skip
SCALE = 0.05  # the learning rate of those mistakes that have one


def names(diagnosis) -> list[str]:
    return [explanation.name for explanation in diagnosis.explanations]


# ---- the catalogue -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_every_mistake_of_the_catalogue_is_named(case):
    network, y, loss = CASES[case]
    walk = BackwardPass(network, X, y, loss)
    truth = walk.gradient()
    named = 0
    # Of a mistake that several layers can have, the last in the list is the one that all of them have.
    for mistake in list({mistake.name: mistake for mistake in mistakes(walk)}.values())[sum(map(ord, case)) % 4 :: 4]:
        wrong = walk.gradient(mistake.steps, SCALE)
        if not np.isfinite(wrong).all():
            continue
        diagnosis = diagnose_gradient(network, X, y, wrong, loss=loss)
        if np.abs(wrong - truth).max() <= 1e-9 * np.abs(truth).max():
            assert diagnosis, mistake
        else:
            assert mistake.name in names(diagnosis), f"{mistake.name} in {mistake.where}: {diagnosis}"
            named += 1
    assert named >= 10


@pytest.mark.parametrize("seed", range(6))
def test_two_mistakes_at_once_are_both_named(seed):
    network, y, loss = CASES["deep tanh"]
    walk = BackwardPass(network, X, y, loss)
    known, truth, rng = mistakes(walk), walk.gradient(), np.random.default_rng(seed)
    while True:  # two that each have an effect of their own
        one, other = (known[i] for i in rng.choice(len(known), 2, replace=False))
        alone = [truth, walk.gradient(one.steps, SCALE), walk.gradient(other.steps, SCALE)]
        together = walk.gradient({**one.steps, **other.steps}, SCALE)
        distance = min(np.abs(together - gradient).max() for gradient in alone)
        if not one.steps.keys() & other.steps.keys() and distance > 1e-3 * np.abs(truth).max():
            break
    diagnosis = diagnose_gradient(network, X, y, together, loss=loss)
    # Another single mistake may amount to the same; then the simpler explanation is given.
    found = [set(name.split(" and ")) for name in names(diagnosis)]
    if {one.name, other.name} not in found and not any(len(few) == 1 for few in found):
        # Each wrong step is explained by itself, perhaps by another mistake that amounts to the same there.
        assert diagnosis.verdict in ("named", "located") and diagnosis.formula, diagnosis


def test_a_mistake_and_a_factor_are_both_named():
    network, y, loss = CASES["relu"]
    walk = BackwardPass(network, X, y, loss)
    missing = next(m for m in mistakes(walk) if m.name == "activation derivative missing")
    diagnosis = diagnose_gradient(network, X, y, 8 * walk.gradient(missing.steps), loss=loss)
    assert "times N and activation derivative missing" in names(diagnosis)
    assert diagnosis.first_wrong == "2.weight"  # the factor is in every layer


def test_the_first_wrong_parameter_is_the_one_nearest_the_output():
    network, y, _ = CASES["deep tanh"]
    gradient = network.loss_and_gradient(X, y)[1].copy()
    blocks = network.blocks(gradient)
    blocks["0.bias"] *= 5
    blocks["2.weight"] *= -1
    diagnosis = diagnose_gradient(network, X, y, gradient)
    assert diagnosis.wrong == ["2.weight", "0.bias"]
    assert names(diagnosis) == ["sign and constant factor"]
    told = diagnosis.explanations[0]
    assert told.evidence == "dW[2] = -right; db[0] = width right"
    assert told.where == "dW[2] from dA[2] (layers[2], Dense(5, 5)), and db[0] from dA[0] (layers[0], Dense(4, 5))"


def test_parameters_wrong_in_several_ways_are_explained():
    claimed = changed(at0=lambda g: -g, at1=lambda g: 5 * g, at2=lambda g: g.T)
    diagnosis = diagnose_gradient(f, THETA, claimed)
    assert diagnosis.verdict == "named"
    assert diagnosis.explanations[0].evidence == (
        "gradient of theta[2] = right^T; gradient of theta[0] = -right; gradient of theta[1] = 5 right"
    )


def test_what_cannot_be_told_apart_is_listed_and_said():
    network = MLP([4, 5, 2], activation="tanh", rng=0)
    gradient = network.loss_and_gradient(X[:2], LABELS[:2] % 2)[1]
    diagnosis = diagnose_gradient(network, X[:2], LABELS[:2] % 2, 2 * gradient)
    assert {"factor 2", "times N", "times outputs"} <= set(names(diagnosis))
    assert "cannot tell apart" in str(diagnosis)


@pytest.mark.parametrize("ignored", [3, 255])
def test_labels_that_are_no_class_may_be_ignored(ignored):
    y, loss = np.where(LABELS == 1, ignored, LABELS), functools.partial(hm.losses.cross_entropy, ignore_index=ignored)
    network = CASES["relu"][0]
    diagnosis = diagnose_gradient(network, X, y, -network.loss_and_gradient(X, y, loss=loss)[1], loss=loss)
    assert names(diagnosis) == ["sign"]


def test_the_learning_rate_inside_the_walk_is_measured():
    network, y, loss = CASES["deep tanh"]
    walk = BackwardPass(network, X, y, loss)
    for mistake in mistakes(walk):
        if mistake.has_learning_rate and "all" in mistake.where:
            diagnosis = diagnose_gradient(network, X, y, walk.gradient(mistake.steps, 0.25), loss=loss)
            assert "with a learning rate of 0.25;" in str(diagnosis)


# ---- a function alone ----------------------------------------------------------------------------------------------

THETA = [RNG.normal(size=(4, 3)), RNG.normal(size=4), RNG.normal(size=(4, 4)), RNG.normal(size=4)]


def f(theta) -> float:
    H = np.tanh(X[:, :3] @ theta[0].T + theta[1])
    return float(((H @ theta[2].T + theta[3]) ** 2).sum())


def f_gradient(theta) -> list[np.ndarray]:
    H = np.tanh(X[:, :3] @ theta[0].T + theta[1])
    dA2 = 2 * (H @ theta[2].T + theta[3])
    dA1 = dA2 @ theta[2] * (1 - H * H)
    return [dA1.T @ X[:, :3], dA1.sum(axis=0), dA2.T @ H, dA2.sum(axis=0)]


def changed(**blocks) -> list[np.ndarray]:
    """Return the right gradient, with some blocks replaced by a function of the right one."""
    right = f_gradient(THETA)
    return [blocks.get(f"at{i}", lambda g: g)(g) for i, g in enumerate(right)]


LENGTH = np.sqrt(sum((g**2).sum() for g in f_gradient(THETA)))


@pytest.mark.parametrize(
    "claimed, name, where, first",
    [
        ([-g for g in f_gradient(THETA)], "sign", "every parameter", "theta[2]"),
        ([g / 16 for g in f_gradient(THETA)], "divided by N", "every parameter", "theta[2]"),
        ([-g * 16 for g in f_gradient(THETA)], "sign and times N", "every parameter", "theta[2]"),
        ([-g * 7 for g in f_gradient(THETA)], "constant factor", "every parameter", "theta[2]"),
        (changed(at3=lambda g: g / 16), "divided by N", "theta[3]", "theta[3]"),
        (changed(at1=lambda g: g / 2, at3=lambda g: g / 2), "factor 1/2", "all biases", "theta[3]"),
        (changed(at0=lambda g: g / 3, at1=lambda g: g / 3), "constant factor", "theta[0] and all below", "theta[0]"),
        (changed(at2=lambda g: g.T), "transposed", "theta[2]", "theta[2]"),
        (changed(at1=lambda g: 0 * g), "not computed", "theta[1]", "theta[1]"),
        (changed(at0=lambda g: g[::-1]), "rows in reverse", "theta[0]", "theta[0]"),
        (changed(at0=np.abs), "without sign", "theta[0]", "theta[0]"),
        ([g / LENGTH for g in f_gradient(THETA)], "clipped by norm", "every parameter", "theta[2]"),
        ([np.clip(g, -1, 1) for g in f_gradient(THETA)], "clipped by value", "every parameter", "theta[2]"),
        ([np.trunc(g) for g in f_gradient(THETA)], "truncated to integers", "every parameter", "theta[2]"),
        ([g + 0.01 * t for g, t in zip(f_gradient(THETA), THETA, strict=True)], "L2 term added or too large",
         "every parameter", "theta[2]"),
        ([g - 0.01 * np.sign(t) * (t.ndim == 2) for g, t in zip(f_gradient(THETA), THETA, strict=True)],
         "L1 term missing or too small", "the weights", "theta[2]"),
        ([g * 0.1 ** (2 - i // 2) for i, g in enumerate(f_gradient(THETA))], "constant factor in every layer",
         "every layer", "theta[2]"),
    ],
)  # fmt: skip
def test_what_shows_in_the_numbers_is_named_without_a_network(claimed, name, where, first):
    diagnosis = diagnose_gradient(f, THETA, claimed, batch_size=16)
    assert (diagnosis.verdict, names(diagnosis), diagnosis.first_wrong) == ("named", [name], first)
    assert diagnosis.explanations[0].where == where
    assert diagnosis.explanations[0].residual <= diagnosis.tolerance


def test_two_biases_that_are_exchanged_are_named():
    right = f_gradient(THETA)
    diagnosis = diagnose_gradient(f, THETA, [right[0], right[3], right[2], right[1]])
    assert names(diagnosis) == ["gradient of another parameter"]


def test_an_unknown_factor_is_named_constant_with_its_value():
    diagnosis = diagnose_gradient(f, THETA, [g / 16 for g in f_gradient(THETA)])
    assert names(diagnosis) == ["constant factor"]
    assert "claimed = 0.0625 true in every parameter" in diagnosis.explanations[0].evidence


# ---- nothing is guessed, and nothing right is accused --------------------------------------------------------------


@pytest.mark.parametrize("size", [1e-5, 1e-2, 1.0])
def test_noise_is_wrong_and_unknown(size):
    network, y, _ = CASES["deep tanh"]
    gradient = network.loss_and_gradient(X, y)[1]
    noise = size * np.abs(gradient).max() * np.random.default_rng(0).normal(size=gradient.shape)
    diagnosis = diagnose_gradient(network, X, y, gradient + noise)
    assert (diagnosis.verdict, diagnosis.explanations, diagnosis.first_wrong) == ("unknown", [], "4.weight")
    assert "UNKNOWN" in str(diagnosis)


def test_one_wrong_number_explains_nothing():
    network = MLP([4, 5, 1], activation="tanh", rng=0)
    gradient = network.loss_and_gradient(X, REALS[:, :1], loss="mse_loss")[1].copy()
    gradient[-1] *= 1.2345
    diagnosis = diagnose_gradient(network, X, REALS[:, :1], gradient, loss="mse_loss")
    assert (diagnosis.verdict, diagnosis.wrong) == ("located", ["2.bias"])
    assert diagnosis.steps == ["db[2] from dA[2] (layers[2], Dense(5, 1))"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES)
def test_a_right_gradient_is_right(case, dtype):
    network, y, loss = CASES[case]
    network = network.astype(dtype)
    assert diagnose_gradient(network, X, y, loss=loss).verdict == "right"


@pytest.mark.parametrize("factor", [1 + 1e-5, 1.001])
def test_a_slightly_wrong_gradient_is_not_right(factor):
    network, y, loss = CASES["relu"]
    gradient = network.loss_and_gradient(X, y, loss=loss)[1].copy()
    network.blocks(gradient)["0.weight"][2] *= factor
    diagnosis = diagnose_gradient(network, X, y, gradient, loss=loss)
    assert diagnosis.verdict in ("located", "named") and diagnosis.wrong == ["0.weight"]  # a row times a number


def test_a_kink_is_no_mistake():
    kinked = np.array([0.0, 1.0, -2.0, 3.0])
    diagnosis = diagnose_gradient(lambda t: float(np.abs(t).sum()), kinked, np.sign(kinked))
    assert diagnosis.verdict == "right"
    diagnosis = diagnose_gradient(lambda t: float(np.abs(t).sum()), kinked, -np.sign(kinked))
    assert names(diagnosis) == ["sign"]


@pytest.mark.parametrize("claimed", [[5.0, -7.0, 9.0], [1.1, 2.0, -2.0]])
def test_where_nothing_can_be_decided_nothing_is_right(claimed):
    diagnosis = diagnose_gradient(lambda t: float(np.abs(t).sum()), np.zeros(3), np.array(claimed))
    assert (diagnosis.verdict, bool(diagnosis), diagnosis.undecided) == ("undecided", False, 3)
    assert str(diagnosis).startswith("UNDECIDED")


def test_a_right_verdict_tells_what_was_left_undecided():
    diagnosis = diagnose_gradient(lambda t: float(np.abs(t).sum()), np.array([0.0, 1.0]), np.array([5.0, 1.0]))
    assert diagnosis.verdict == "right"
    assert "1 entries at a kink or in noise undecided" in str(diagnosis)


@pytest.mark.parametrize("case", ["deep tanh", "relu", "sigmoid, regression"])
def test_right_float32_gradients_of_torch_are_right(case):
    network, y, loss = CASES[case]
    module = twin(network).to(torch.float32)
    output = module(torch.tensor(X, dtype=torch.float32))
    target = torch.tensor(y) if loss == "cross_entropy" else torch.tensor(y, dtype=torch.float32)
    getattr(torch.nn.functional, loss)(output, target).backward()
    gradients = [parameter.grad for parameter in module.parameters()]
    for form in gradients, [g.tolist() for g in gradients], [g.numpy().astype(float) for g in gradients]:
        assert diagnose_gradient(network, X, y, form, loss=loss).verdict == "right"
    wrong = diagnose_gradient(network, X, y, [(-g).tolist() for g in gradients], loss=loss)
    assert names(wrong) == ["sign"]


@pytest.mark.parametrize("size", [1e-16, 1e-14, 1e-10])
def test_a_right_gradient_may_round_in_another_way_each_time(size):
    network, y, loss = CASES["deep tanh"]
    gradient, rng = network.loss_and_gradient(X, y, loss=loss)[1].copy(), np.random.default_rng(0)
    diagnosis = diagnose_gradient(network, X, y, lambda theta: gradient * (1 + size * rng.normal(size=gradient.shape)))
    assert diagnosis.verdict == "right"


@pytest.mark.parametrize("seed", range(5))
def test_float32_rounding_in_float64_is_not_named(seed):
    network, y, loss = CASES["relu"]
    gradient, rng = network.loss_and_gradient(X, y, loss=loss)[1], np.random.default_rng(seed)
    noise = np.finfo(np.float32).eps * rng.normal(size=gradient.shape)
    diagnosis = diagnose_gradient(network, X, y, gradient * (1 + 4 * noise), loss=loss)
    assert diagnosis.explanations == []
    assert diagnosis or "as much as float32 may lose" in str(diagnosis)


def test_a_factor_that_lengthens_is_not_clipping():
    longer = 5 / np.hypot(0.6**3, 0.8**3) * np.array([0.6, 0.8]) ** 3
    diagnosis = diagnose_gradient(lambda t: float((t**4).sum()), np.array([0.6, 0.8]), longer)  # of norm 5
    assert names(diagnosis) == ["constant factor"]


def test_a_factor_that_two_facts_make_up_may_also_be_another():
    diagnosis = diagnose_gradient(f, THETA, [3 * g for g in f_gradient(THETA)], batch_size=6)
    assert set(names(diagnosis)) == {"factor 1/2 and times N", "constant factor"}


def test_only_the_learning_rate_is_named_so_in_every_layer():
    claimed = [g * 0.25 ** (2 - i // 2) for i, g in enumerate(f_gradient(THETA))]
    assert names(diagnose_gradient(f, THETA, claimed, learning_rate=0.25)) == ["learning rate in the chain rule"]
    assert names(diagnose_gradient(f, THETA, claimed, batch_size=4)) == ["divided by N in every layer"]
    assert names(diagnose_gradient(f, THETA, claimed)) == ["constant factor in every layer"]


# ---- a network's own backward, and functions that change from call to call ------------------------------------------


def test_a_layer_of_the_users_own_is_judged_by_differences():
    def power(A):
        return A**5

    def power_backward(dH, A):
        return dH * A**4  # the 5 is missing

    network = Network([hm.Dense(4, 3, rng=0), hm.Activation((power, power_backward)), hm.Dense(3, 3, rng=1)])
    diagnosis = diagnose_gradient(network, X, LABELS)
    assert (diagnosis.verdict, diagnosis.first_wrong, names(diagnosis)) == ("named", "0.weight", ["constant factor"])
    assert "claimed = 0.2 true" in diagnosis.explanations[0].evidence


def test_gradients_that_accumulate_are_named():
    network, y, _ = CASES["relu"]
    kept = np.zeros(network.theta.shape)

    def gradient(theta):
        kept.__iadd__(network.loss_and_gradient(X, y)[1])
        return kept.copy()

    assert names(diagnose_gradient(network, X, y, gradient)) == ["gradients accumulate"]
    diagnosis = diagnose_gradient(network, X, y, lambda theta: -gradient(theta))
    assert names(diagnosis) == ["gradients accumulate and sign"]


def test_a_changing_gradient_is_named_with_its_change():
    network = MLP([4, 5, 3], dropout=0.5, rng=0)
    diagnosis = diagnose_gradient(network, X, LABELS, lambda theta: network.loss_and_gradient(X, LABELS)[1].copy())
    assert names(diagnosis) == ["changes from call to call"]
    assert "two calls differ by" in str(diagnosis)


def test_nothing_of_the_network_changes():
    network, y, loss = CASES["normalized, dropout"]
    before = {name: value.copy() for name, value in network.state_dict().items()}
    network.gradient[:] = 7
    diagnose_gradient(network, X, y, loss=loss)
    assert all((before[name] == value).all() for name, value in network.state_dict().items())
    assert (network.gradient == 7).all()


# ---- anybody's arrays ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        lambda blocks: np.concatenate([g.ravel() for g in blocks.values()]),
        lambda blocks: list(blocks.values()),
        lambda blocks: tuple(g.tolist() for g in blocks.values()),
        lambda blocks: dict(reversed(blocks.items())),
        lambda blocks: [torch.tensor(g, requires_grad=True) for g in blocks.values()],
        lambda blocks: [torch.tensor(g, dtype=torch.float32) for g in blocks.values()],
        lambda blocks: [g.T for g in blocks.values()],
    ],
    ids=["vector", "list", "nested lists", "dict", "torch", "torch float32", "(I, O)"],
)
def test_gradients_come_in_every_form(given):
    network, y, loss = CASES["sigmoid, regression"]
    gradient = network.loss_and_gradient(X, y, loss=loss)[1]
    assert diagnose_gradient(network, X, y, given(network.blocks(gradient)), loss=loss).verdict == "right"
    wrong = diagnose_gradient(network, X, y, given(network.blocks(-gradient)), loss=loss)
    assert names(wrong) == ["sign"]


SINGLE, DOUBLE = np.float32(0.1), 0.1


@pytest.mark.parametrize(
    ("gradient", "expected"),
    [
        (np.array([SINGLE, 1]), True),
        ([np.array([0.5]), np.array([0.25], np.float32)], True),  # by its type, though the numbers do not tell
        ({"W": torch.tensor([0.5]), "b": np.array([DOUBLE])}, True),
        ([[float(SINGLE)], [1.0]], True),  # by its numbers
        (np.array([float(SINGLE)]), True),
        ([[0.5], [-0.25]], False),  # which are numbers of every type
        (np.array([DOUBLE, 1.0]), False),
        (np.array([1e300, float(SINGLE)]), False),
        (3.0, False),
        (np.array(0.5, np.float32), True),
        (np.array(0.5), False),
    ],
)  # fmt: skip
def test_float32_is_recognized_by_dtype_or_values(gradient, expected):
    parts = [np.ravel(np.asarray(part, dtype=float)) for _, part in leaves(gradient, "gradient")]
    assert is_single(gradient, np.concatenate(parts)) == expected


def test_a_vector_that_follows_a_matrix_belongs_to_its_layer():
    shapes = {"W0": (3, 2), "b0": (3,), "gamma": (3,), "beta": (3,), "K": (2, 2, 3), "b1": (2,), "W2": (1, 2), "s": ()}
    blocks = blocks_of({name: np.zeros(shape) for name, shape in shapes.items()})
    assert [(block.name, block.shape) for block in blocks] == list(shapes.items())
    assert [block.start for block in blocks] == [0, 6, 9, 12, 15, 27, 29, 31]
    assert [block.layer for block in blocks] == [1, 1, 2, 3, 4, 4, 5, 6]
    assert [block.layer for block in blocks_of({"b": np.zeros(3), "W": np.zeros((3, 3))})] == [1, 2]


BLOCKS = blocks_of({"W": np.zeros((2, 3)), "b": np.zeros(2), "V": np.zeros((2, 2))})
W, B, V = np.arange(6.0).reshape(2, 3), np.array([6.0, 7.0]), np.array([[8.0, 9.0], [10.0, 11.0]])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (np.arange(12.0), range(12)),
        (list(range(12)), range(12)),
        ([W, B, V], range(12)),
        ((W.tolist(), B.tolist(), V.tolist()), range(12)),
        ({"V": V, "b": B, "W": W}, range(12)),
        ([W.T, B, V.T], range(12)),  # (I, O) shows in W, and V is turned with it
        ({"W": W.T, "b": B, "V": V.T}, range(12)),
        ([W, B, V.T], [*range(8), 8, 10, 9, 11]),  # here it does not show
    ],
)
def test_gradients_are_read_into_the_order_of_the_parameters(given, expected):
    assert read_gradient(given, BLOCKS)[0].tolist() == list(expected)


@pytest.mark.parametrize("given", [W.ravel(), W, W.T, [W], {"W": W}, W.ravel().tolist()])
def test_of_a_single_block_too_the_gradient_may_be_a_vector(given):
    assert read_gradient(given, BLOCKS[:1])[0].tolist() == list(range(6))
    network, X = hm.MLP([3, 1], bias=False, rng=0), np.eye(3)
    gradient = network.loss_and_gradient(X, X[:, :1], "mse_loss")[1]
    assert hm.diagnose_gradient(network, X, X[:, :1], gradient.copy(), loss="mse_loss")


@pytest.mark.parametrize(
    ("given", "error", "told"),
    [
        (np.zeros(11), ValueError, r"expected a vector of 12, or arrays for W \(2, 3\), b \(2,\), V \(2, 2\); got"),
        (np.zeros((12, 1)), ValueError, r"got shape \(12, 1\)"),
        ([W, B], ValueError, r"expected 3 arrays for \['W', 'b', 'V'\], got 2"),
        ([W], ValueError, r"expected 3 arrays"),
        ({"W": W, "b": B}, ValueError, r"expected the parameters \['W', 'b', 'V'\], got \['W', 'b'\]"),
        ([W, B, np.zeros((2, 3))], ValueError, r"gradient: expected shape \(2, 2\) for V, got \(2, 3\)"),
        ([W.T, B, np.zeros((2, 3))], ValueError, r"expected shape \(2, 2\) for V, got \(2, 3\)"),
        ([W, [True, False], V], TypeError, r"b: expected numbers, got \[True, False\]"),
        ({"W": 1j * W, "b": B, "V": V}, TypeError, r"W: expected numbers"),
        ([W, B, [[1], [2, 3]]], ValueError, r"gradient: expected 3 arrays for .*, got 4"),
        ("dW", TypeError, "^gradient: expected numbers, got 'dW'"),
    ],
)
def test_a_gradient_of_another_form_is_named(given, error, told):
    with pytest.raises(error, match=told):
        read_gradient(given, BLOCKS)[0]


def test_of_two_blocks_too_a_vector_has_one_length():
    with pytest.raises(ValueError, match=r"a vector of 8, or arrays for W \(2, 3\), b \(2,\); got shape \(7,\)"):
        read_gradient(np.zeros(7), BLOCKS[:2])


def claimed_by(gradient, theta, blocks):
    """Return the claimed gradient, what is odd about it, and whether it is float32."""
    if callable(gradient):
        return call_repeatedly(lambda: gradient(theta()), lambda g: read_gradient(g, blocks), tolerance)
    vector, causes = read_gradient(gradient, blocks)
    return vector, causes, is_single(gradient, vector)


def test_a_gradient_function_is_called_three_times():
    """Where it writes into the same arrays each time, the first answer is kept as it was."""
    seen, kept = [], np.zeros(12)

    def gradient(theta):
        seen.append(theta)
        kept[:] = len(seen) ** 2  # grows by 3, then by 5: changes, and does not accumulate
        return kept

    claimed, odd, _ = claimed_by(gradient, lambda: "theta", BLOCKS)
    assert seen == ["theta"] * 3 and claimed.tolist() == [1.0] * 12
    told = "two calls differ by 3.0e+00, where the largest entry is 4.0e+00"
    assert odd == [Cause("changes from call to call", "every call", "two calls use different numbers", told)]


def oddities(*answers):
    """Return the oddities of a function that gives these, one after the other, in the first of twelve entries."""
    given = iter(answers)
    return [part.name for part in claimed_by(lambda theta: np.append(next(given), np.full(10, 1.0)), list, BLOCKS)[1]]


CHANGES, GROWS = ["changes from call to call"], ["gradients accumulate"]


@pytest.mark.parametrize(
    ("answers", "odd"),
    [
        ([[np.nan, 0], [np.nan, 0], [np.nan, 0]], []),
        ([[0, 0], [tolerance(False), 0], [0, 0]], []),
        ([[0, 0], [1.01 * tolerance(False), 0], [0, 0]], CHANGES),
        ([[0, 100], [50 * tolerance(False), 100], [0, 100]], []),
        ([[0, 0], [1, 0], [2 + 1e-6, 0]], CHANGES),
        ([[0, 0], [1, 0], [2 + 1e-10, 0]], GROWS),
        ([[1e6, 5], [2e6, 5], [3e6, 5 + 1e-7]], GROWS),  # beside a million, 1e-7 is less than a rounding or two
        ([[1e6, 5], [2e6, 5], [3e6, 5 + 1e-5]], CHANGES),
    ],
)
def test_rounding_is_not_odd_and_growth_is_constant(answers, odd):
    assert oddities(*answers) == odd


@pytest.mark.parametrize("start", [0.0, 100.0])
def test_of_an_accumulating_gradient_the_growth_is_taken(start):
    kept = np.full(12, start)

    def gradient(theta):
        kept.__iadd__(np.arange(12.0))
        return kept

    claimed, odd, _ = claimed_by(gradient, lambda: None, BLOCKS)
    assert claimed.tolist() == list(range(12))
    assert [part.name for part in odd] == ["gradients accumulate"]
    for part in odd:
        assert re.fullmatch("[a-z, ]+", part.hint + part.evidence) and part.where == "every call"


@pytest.mark.parametrize(("dtype", "single"), [(np.float32, True), (np.float64, False)])
def test_a_gradient_function_is_of_the_type_of_what_it_gives(dtype, single):
    given = np.linspace(0, 1, 12).astype(dtype)
    halves = np.full(12, dtype(0.5))  # of every type, but for what it says itself
    for numbers in given, halves:
        assert claimed_by(lambda theta, numbers=numbers: numbers, lambda: None, BLOCKS)[1:] == ([], single)
        assert claimed_by(numbers, lambda: None, BLOCKS)[1:] == ([], single)
    rounded = iter([given, given * dtype(1 + 2 * np.finfo(dtype).eps), given])
    assert claimed_by(lambda theta: next(rounded), lambda: None, BLOCKS)[1:] == ([], single)


def test_theta_comes_as_a_vector_or_by_name():
    vector = np.array([1.0, -2.0, 3.0])
    assert diagnose_gradient(lambda t: float(t @ t), vector, 2 * vector)
    by_name = {"W": np.eye(2), "b": np.ones(2)}
    claimed = {"b": -2 * by_name["b"], "W": 2 * by_name["W"]}
    diagnosis = diagnose_gradient(lambda p: float((p["W"] ** 2).sum() + (p["b"] ** 2).sum()), by_name, claimed)
    assert (diagnosis.wrong, names(diagnosis)) == (["b"], ["sign"])


A, B2 = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([5.0, -6.0])


@pytest.mark.parametrize(
    ("theta", "f", "gradient"),
    [
        (B2, lambda t: t @ t, lambda t: 2 * t),
        ([A, B2], lambda t: (t[0] ** 2).sum() + t[1] @ t[1], lambda t: [2 * t[0], 2 * t[1]]),
        ([A], lambda t: (t**2).sum(), lambda t: 2 * t),
        ({"W": A, "b": B2}, lambda t: (t["W"] ** 2).sum() + t["b"] @ t["b"], lambda t: {n: 2 * t[n] for n in t}),
    ],
    ids=["vector", "list", "one array", "dict"],
)
def test_a_gradient_function_takes_theta_in_its_form(theta, f, gradient):
    assert diagnose_gradient(lambda t: float(f(t)), theta, gradient)
    assert names(diagnose_gradient(lambda t: float(-f(t)), theta, gradient)) == ["sign"]


def test_a_gradient_function_may_do_to_its_theta_what_it_likes():
    def gradient(theta):
        result = 2 * theta
        theta[:] = 7
        return result

    assert diagnose_gradient(lambda t: float(t @ t), np.array([1.0, 3.0]), gradient)


@pytest.mark.parametrize("of_theta", [np.float32, np.float64])
@pytest.mark.parametrize("of_gradient", [np.float32, np.float64])
def test_the_less_precise_dtype_sets_the_tolerance(of_theta, of_gradient):
    theta, off = np.array([0.5, 1.5], of_theta), 1 + 2e-6 * np.array([1, -1])
    claimed = (2 * theta.astype(float) * off).astype(of_gradient)
    right = np.float32 in (of_theta, of_gradient)
    assert bool(diagnose_gradient(lambda t: float(t @ t), theta, claimed)) == right


def test_every_entry_of_a_large_vector_is_compared():
    theta = np.ones(2001)
    assert diagnose_gradient(lambda t: float(t.sum()), theta, theta).undecided == 0


def test_progress_is_shown_if_asked_for(capfd):
    network, y, loss = CASES["deep tanh"]
    gradient = network.loss_and_gradient(X, y)[1] * np.random.default_rng(0).uniform(1, 2, network.parameter_count)
    for shown in False, True:
        diagnose_gradient(lambda t: float(t @ t), B2, 2 * B2, progress=shown)
        assert capfd.readouterr().err.startswith("entries 2/2") == shown
        diagnose_gradient(network, X, y, gradient, loss=loss, **{"progress": True} if shown else {})
        assert bool(capfd.readouterr().err) == shown


def of_two(case, *wanted):
    """Diagnose a gradient with these mistakes, each given by its name and place."""
    network, y, loss = CASES[case]
    walk, steps = BackwardPass(network, X, y, loss), {}
    for name, where in wanted:
        (mistake,) = [m for m in mistakes(walk) if m.name == name and m.where.startswith(where)]
        steps |= mistake.steps
    return diagnose_gradient(network, X, y, walk.gradient(steps, SCALE), loss=loss)


def test_a_learning_rate_is_fitted_beside_another_mistake():
    found = of_two("relu", ("updated weights in propagation", "layers[2]"), ("last sample only", "the loss"))
    assert names(found) == ["last sample only and dA[0] = dA @ W[2] - 0.05 dA @ dW[2]"]


def test_three_mistakes_explain_nothing_that_two_do():
    pair = "sign of the loss's gradient", "activation derivative missing in the bias gradient"
    found = of_two("probabilities", (pair[0], "the loss"), (pair[1], "layers[2]"))
    assert names(found) == [" and ".join(pair)]


def test_pairs_of_mistakes_come_before_two_factors():
    average = "bias gradient averaged over the samples"
    found = of_two("sigmoid, regression", ("gradient of half_squared_error", "the loss"), (average, "layers[2]"))
    assert f"gradient of half_squared_error and {average}" in names(found)
    assert all("a backward pass with this mistake" in explanation.evidence for explanation in found.explanations)


def test_a_learning_rate_counts_as_a_number_that_is_fitted():
    network, y, loss = CASES["relu"]
    options = dict(loss=loss, sample_weight=None, training=True)
    facts = {"N": None, "learning rate": None}
    wrong = BackwardPass(network, X, y, loss).gradient() * 2
    case = network_problem(network, X, y, wrong, options=options, facts=facts)
    known = mistakes(case.backward_pass)
    fitted = {mistake.has_learning_rate: [part.fitted for part in _made(case, mistake)[1]] for mistake in known}
    assert fitted == {False: [0], True: [1]}


@pytest.mark.parametrize(
    ("residual", "chance", "explains"),
    [(0.0, 0.0, True), (SHARE, 0.0, True), (1.01 * SHARE, 0.0, False), (0.0, CHANCE, False), (0.0, CHANCE / 2, True)],
)
def test_an_explanation_passes_both_thresholds(residual, chance, explains):
    match = types.SimpleNamespace(
        explanations=lambda candidate, most: [([], residual)],
        residual=lambda truth: 1.0,
        chance=lambda truth, fitted: chance,
    )
    made = [Cause("a mistake", "somewhere", "a hint", "evidence")]
    assert bool(list(_matches(Problem(match, None, [], None), None, made, 0))) == explains


class OneNumber(hm.Layer):
    """A layer (N, 1) -> (N,)."""

    def forward(self, X, training=False):
        return X[:, 0], None

    def backward(self, dH, cache, need_dX=True):
        return dH[:, np.newaxis]


def test_a_network_may_put_out_one_number_for_each_sample():
    network = Network([hm.Dense(4, 3, rng=0), hm.Activation("tanh"), hm.Dense(3, 1, rng=1), OneNumber()])
    pair = (lambda H, y, reduction="mean": ((H - y) ** 2).sum(), lambda H, y, reduction="mean": 2 * (H - y))
    assert diagnose_gradient(network, X, REALS[:, 0], loss=pair)


@pytest.mark.parametrize(("noise", "verdict"), [(0.0, "named"), (6e-8, "located")])
def test_an_explanation_leaves_next_to_nothing_of_the_difference(noise, verdict):
    """The noise is less than the tolerance, and more than a hundredth of the millionth by which the gradient is off."""
    network, y, loss = CASES["relu"]
    truth = BackwardPass(network, X, y, loss).gradient()
    claimed = truth * (1 + 1e-6)
    for block in network.blocks(claimed).values():
        block += noise * np.abs(block).max() * np.random.default_rng(0).choice([-1, 1], block.shape)
    assert diagnose_gradient(network, X, y, claimed, loss=loss).verdict == verdict


def test_a_network_in_float32_may_be_as_far_off_as_float32():
    network, y, loss = CASES["deep tanh"]
    off = 2e-6 * np.random.default_rng(0).choice([-1, 1], network.parameter_count)
    claimed = BackwardPass(network, X, y, loss).gradient() * (1 + off)
    assert not diagnose_gradient(network, X, y, claimed, loss=loss)
    assert diagnose_gradient(network.astype(np.float32), X, y, claimed, loss=loss)


def test_scale_and_shift_of_a_normalization_are_one_layer():
    network = MLP([4, 5, 3], activation="elu", normalization="batch", rng=9)
    claimed = BackwardPass(network, X, LABELS, "cross_entropy").gradient()
    for name in "1.weight", "1.bias":
        network.blocks(claimed)[name][:] = np.arange(5)
    assert diagnose_gradient(network, X, LABELS, claimed).wrong == ["1.weight", "1.bias"]


def test_an_undecided_gradient_has_no_explanation():
    told = diagnose_gradient(lambda t: float(np.abs(t).sum()), np.zeros(2), np.full(2, 1.5))
    assert (told.verdict, told.wrong, told.explanations, told.ratios) == ("undecided", [], [], {})


def test_what_is_not_finite_is_named_and_leaves_nothing():
    told = diagnose_gradient(lambda t: float(t @ t), B2, np.array([np.nan, 1.0]))
    assert told.verdict == "named" and [explanation.residual for explanation in told.explanations] == [0.0]


def test_what_is_not_finite_is_named_with_its_place():
    network, y, _ = CASES["relu"]
    gradient = network.loss_and_gradient(X, y)[1].copy()
    network.blocks(gradient)["0.bias"][2] = np.nan
    diagnosis = diagnose_gradient(network, X, y, gradient)
    assert (diagnosis.wrong, names(diagnosis)) == (["0.bias"], ["not finite"])
    assert f"1 of {gradient.size} entries are not finite" in diagnosis.explanations[0].evidence


NETWORK = CASES["relu"][0]


@pytest.mark.parametrize(
    "arguments, error, match",
    [
        ((NETWORK, X), TypeError, r"expected \(network, X, y\)"),
        ((hm.Dense(2, 2), X, LABELS), TypeError, r"expected \(network, X, y\)"),
        ((hm.Dense(2, 2), X), TypeError, r"got Dense, ndarray$"),
        ((NETWORK, X, LABELS, np.ones(51), 3), TypeError, r"got MLP, ndarray, ndarray, ndarray, int$"),
        ((np.sum, np.ones(2), np.ones(2), 3), TypeError, r"or \(f, theta, gradient\), got"),
        ((NETWORK, X, LABELS, np.ones(5)), ValueError, r"expected a vector of 51.*got shape \(5,\)"),
        ((NETWORK, X, LABELS, [np.ones((6, 4))]), ValueError, "expected 4 arrays"),
        ((NETWORK, X, LABELS, [np.ones((6, 4)), np.ones(6), np.ones((3, 5)), np.ones(3)]), ValueError,
         r"expected shape \(3, 6\) for 2.weight, got \(3, 5\)"),
        ((NETWORK, X, LABELS, {"W": 1.0}), ValueError, "expected the parameters"),
        ((NETWORK, X, LABELS, "gradient"), TypeError, "expected numbers, got 'gradient'"),
        ((lambda t: t, np.ones(2), np.ones(2)), TypeError, "expected it to return one real number"),
        ((lambda t: float(t.__setitem__(0, 5.0) or 1), np.ones(2), np.ones(2)), ValueError, "changed its argument"),
    ],
)  # fmt: skip
def test_bad_input_is_named(arguments, error, match):
    with pytest.raises(error, match=match):
        diagnose_gradient(*arguments)


# ---- the report ----------------------------------------------------------------------------------------------------

FIRST = Explanation("sign", "0.weight", "it points the other way", "claimed = -1 true", 1.25e-12)
TOLD = "NAMED: sign, in 0.weight\n  evidence: claimed = -1 true; residual 1.2e-12"
WRONG = dict(wrong=["2.bias", "0.weight"], ratios={"2.bias": "twice", "0.weight": "-1 times"})
BOTH = "first wrong in backward order: 2.bias\n  2.bias: twice\n  0.weight: -1 times\n"
SEVERAL = "{} explanations that this batch cannot tell apart; another, of another size, may"


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (dict(verdict="right"), "RIGHT: the differences confirm it"),
        (
            dict(verdict="right", undecided=3),
            "RIGHT: the differences confirm it; 3 entries at a kink or in noise undecided",
        ),
        (dict(verdict="undecided"), "UNDECIDED: at no entry did the differences tell right from wrong"),
        (
            dict(verdict="unknown", difference=1e-3, **WRONG),
            BOTH + "UNKNOWN: 77 comparisons, and no known mistake and no simple formula explains it",
        ),
        (
            dict(verdict="unknown", difference=tolerance(single=True), **WRONG),
            BOTH + "UNKNOWN: 77 comparisons, and no known mistake and no simple formula explains it\n"
            "it differs by at most 7.7e-04, as much as float32 may lose",
        ),
        (dict(verdict="named", explanations=[FIRST], **WRONG), BOTH + TOLD),
        (dict(verdict="named", explanations=[FIRST]), TOLD),
        (dict(verdict="named", explanations=[FIRST] * 2), "\n".join([TOLD] * 2 + [SEVERAL.format(2)])),
        (dict(verdict="named", explanations=[FIRST] * 7), "\n".join([TOLD] * 5 + [SEVERAL.format(7)])),
    ],
)
def test_what_a_diagnosis_prints(found, text):
    nothing = dict(wrong=[], explanations=[], ratios={}, tolerance=9e-8, tried=77, undecided=0, difference=1.0)
    diagnosis = Diagnosis(**nothing | found)
    assert str(diagnosis) == repr(diagnosis) == text
    assert bool(diagnosis) == (found["verdict"] == "right")
    assert diagnosis.first_wrong == (found["wrong"][0] if "wrong" in found else None)


def test_a_pair_of_mistakes_is_printed_as_one():
    network, y, loss = CASES["deep tanh"]
    walk = BackwardPass(network, X, y, loss)
    known = {mistake.name: mistake for mistake in mistakes(walk) if not mistake.where.startswith("all")}
    one, other = known["activation derivative missing"], known["bias gradient averaged over the samples"]
    assert one.where == "layers[1], Activation('tanh')" and other.where == "layers[0], Dense(4, 5)"
    wrong = walk.gradient({**one.steps, **other.steps})
    diagnosis = diagnose_gradient(network, X, y, wrong, loss=loss)
    told = next(e for e in diagnosis.explanations if {one.name, other.name} == set(e.name.split(" and ")))
    assert set(told.where.split(", and ")) == {one.where, other.where}
    assert set(told.hint.split("; ")) == {one.hint, other.hint}
    assert told.evidence == "a backward pass with this mistake gives the claimed gradient"
    assert told.residual <= diagnosis.tolerance
    assert diagnosis.wrong == ["0.weight", "0.bias"] and list(diagnosis.ratios) == diagnosis.wrong


# ---- the options of the loss ---------------------------------------------------------------------------------------

WEIGHT = np.array([0.5, 0, 1, 2, 3, 0.25, 1, 4])


@pytest.mark.parametrize("options", [{}, {"training": False}, {"sample_weight": WEIGHT}, {"loss": "multi_margin_loss"}])
@pytest.mark.parametrize("own", [False, True], ids=["given", "the network's own"])
def test_a_gradient_is_that_of_the_loss_with_all_its_options(options, own):
    network = MLP([4, 5, 3], activation="tanh", normalization="batch", dropout=0.3, rng=9)
    gradient = [] if own else [copy.deepcopy(network).loss_and_gradient(X, LABELS, **options)[1]]
    assert diagnose_gradient(network, X, LABELS, *gradient, **options)
    if not own:
        assert "sign" in names(diagnose_gradient(network, X, LABELS, -gradient[0], **options))


@pytest.mark.parametrize("options", [{}, {"training": False}, {"sample_weight": WEIGHT}, {"loss": "multi_margin_loss"}])
def test_a_layer_of_the_users_own_is_judged_with_all_options(options):
    def power_backward(dH, A):
        return dH * A**4  # the 5 is missing

    power = hm.Activation((lambda A: A**5, power_backward))
    network = Network([hm.Dense(4, 3, rng=0), power, hm.Dropout(0.3, rng=2), hm.Dense(3, 3, rng=1)])
    diagnosis = diagnose_gradient(network, X, LABELS, **options)
    assert (diagnosis.first_wrong, names(diagnosis)) == ("0.weight", ["constant factor"])
    assert "claimed = 0.2 true" in diagnosis.explanations[0].evidence


def test_the_batch_of_a_network_is_a_fact_and_its_outputs():
    network, y, loss = CASES["deep tanh"]
    gradient = network.loss_and_gradient(X, y, loss=loss)[1].copy()
    factors = {"times N": 8, "times outputs": 3, "divided by N outputs": 1 / 24, "times learning rate": 0.01}
    for name, factor in factors.items():
        diagnosis = diagnose_gradient(network, X, y, factor * gradient, loss=loss, batch_size=5, learning_rate=0.01)
        assert name in names(diagnosis), diagnosis


def test_a_parameter_knows_its_layer_also_inside_of_others():
    network, y, loss = CASES["residual"]
    gradient = network.loss_and_gradient(X, y, loss=loss)[1].copy()
    network.blocks(gradient)["1.0.bias"] *= -1
    network.blocks(gradient)["2.bias"] *= -1
    assert diagnose_gradient(network, X, y, gradient, loss=loss).wrong == ["2.bias", "1.0.bias"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("roundings", "right"), [(4, True), (1e9, False)])
def test_a_gradient_may_be_off_by_the_rounding_of_its_terms(dtype, roundings, right):
    """At the optimum of two targets far apart the gradient is the sum of two numbers of 1e4, and zero."""
    network = Network([hm.Dense(1, 1)])
    network.theta[:] = 0
    claimed = np.array([0, 1]) * roundings * np.finfo(dtype).eps * 1e4
    data = np.ones((2, 1)), np.array([[1e4], [-1e4]])
    assert bool(diagnose_gradient(network.astype(dtype), *data, claimed.astype(dtype), loss="mse_loss")) == right


def test_what_a_diagnosis_has_found_is_also_there_in_numbers():
    right = np.concatenate([g.ravel() for g in f_gradient(THETA)])
    fine = diagnose_gradient(f, THETA, right)
    assert (fine.wrong, fine.explanations, fine.ratios, fine.undecided) == ([], [], {}, 0)
    assert fine.difference <= fine.tolerance == tolerance(single=False) and fine.tried >= 1
    twice = diagnose_gradient(f, THETA, 2 * right)
    assert twice.difference == pytest.approx(0.5, rel=1e-6)
    assert twice.ratios == dict.fromkeys(["theta[2]", "theta[3]", "theta[0]", "theta[1]"], "2 times the true gradient")
    assert twice.explanations[0].residual <= twice.tolerance
    kinks = diagnose_gradient(lambda t: float(np.abs(t).sum()), np.array([0.0, 1.0, 0.0]), np.array([9.0, -1.0, 9.0]))
    assert (kinks.undecided, names(kinks), kinks.wrong) == (2, ["sign"], ["theta"])


def test_a_changing_gradient_has_no_other_name():
    """Though the first answer is twice the true gradient."""
    answers = iter([np.array([4.0, 4.0]), np.array([2.0, 2.0]), np.array([3.0, 9.0])])
    diagnosis = diagnose_gradient(lambda t: float(t @ t), np.ones(2), lambda theta: next(answers))
    assert (diagnosis.verdict, names(diagnosis)) == ("named", ["changes from call to call"])
    assert diagnosis.explanations[0].residual == pytest.approx(0.5, rel=1e-6)
