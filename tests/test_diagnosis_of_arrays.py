"""diagnose_gradient for anybody's arrays and functions."""

from __future__ import annotations

import re
import types

import numpy as np
import pytest
import torch
from diagnosed import B2, CASES, LABELS, REALS, SCALE, A, X, names

import handmade as hm
from handmade import MLP, Network, diagnose_gradient
from handmade.checking.backward_pass import BackwardPass
from handmade.checking.catalogue_search import CHANCE, SHARE, _made, _matches
from handmade.checking.causes import Cause, tolerance
from handmade.checking.claims import blocks_of, call_repeatedly, is_single, leaves, read_gradient
from handmade.checking.mistakes import mistakes
from handmade.checking.problem import Problem, network_problem


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


@pytest.mark.parametrize(
    "given",
    [
        lambda W, b: [array for pair in zip(W[::-1], b[::-1], strict=True) for array in pair],
        lambda W, b: [array for pair in zip(b[::-1], W[::-1], strict=True) for array in pair],
        lambda W, b: list(zip(W[::-1], b[::-1], strict=True)),
        lambda W, b: (W[::-1], b[::-1]),
        lambda W, b: [*b[::-1], *W[::-1]],
        lambda W, b: [W.T for W in W[::-1]] + b[::-1],
    ],
)
@pytest.mark.parametrize("sizes", [[2, 3, 1], [2, 5, 4, 3], [2, 4, 3, 5, 2]])
def test_gradients_from_the_last_layer_to_the_first_are_read(sizes, given):
    network = hm.MLP(sizes, "tanh", rng=0)
    vector = np.arange(1.0, network.theta.size + 1)
    parts = list(network.blocks(vector).values())
    read, causes = read_gradient(given(parts[::2], parts[1::2]), blocks_of(network.blocks(network.theta)))
    assert (read == vector).all()
    assert causes == []


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
    ("given", "error", "message"),
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
        ("dW", TypeError, "^gradient: expected a vector of 12, or arrays for .*; got str"),
    ],
)
def test_a_gradient_of_another_form_is_named(given, error, message):
    with pytest.raises(error, match=message):
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
    message = "two calls differ by 3.0e+00, where the largest entry is 4.0e+00"
    assert odd == [Cause("changes from call to call", "every call", "two calls use different numbers", message)]


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
    passes, steps = BackwardPass(network, X, y, loss), {}
    for name, where in wanted:
        (mistake,) = [m for m in mistakes(passes) if m.name == name and m.where.startswith(where)]
        steps |= mistake.steps
    return diagnose_gradient(network, X, y, passes.gradient(steps, SCALE), loss=loss)


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
    message = diagnose_gradient(lambda t: float(np.sqrt(np.abs(t)).sum()), np.zeros(2), np.full(2, 1.5))
    assert (message.verdict, message.wrong, message.explanations, message.ratios) == ("undecided", [], [], {})


def test_what_is_not_finite_is_named_and_leaves_nothing():
    message = diagnose_gradient(lambda t: float(t @ t), B2, np.array([np.nan, 1.0]))
    assert message.verdict == "named" and [explanation.residual for explanation in message.explanations] == [0.0]


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
        ((NETWORK, X, LABELS, "gradient"), TypeError, "^gradient: expected a vector of 51, .*; got str"),
        ((lambda t: t, np.ones(2), np.ones(2)), TypeError, "expected it to return one real number"),
        ((lambda t: float(t.__setitem__(0, 5.0) or 1), np.ones(2), np.ones(2)), ValueError, "changed its argument"),
    ],
)  # fmt: skip
def test_bad_input_is_named(arguments, error, match):
    with pytest.raises(error, match=match):
        diagnose_gradient(*arguments)
