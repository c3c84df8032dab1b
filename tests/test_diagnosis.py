"""diagnose_gradient: the catalogue is named, nothing right is accused."""

from __future__ import annotations

import functools
import time

import numpy as np
import pytest
import torch
from diagnosed import CASES, LABELS, REALS, SCALE, THETA, X, f, f_gradient, names

import handmade as hm
from handmade import MLP, diagnose_gradient
from handmade.checking.backward_pass import BackwardPass
from handmade.checking.differences import numerical_gradient
from handmade.checking.mistakes import mistakes
from reference.twin import twin

# ---- the catalogue ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_every_mistake_of_the_catalogue_is_named(case):
    network, y, loss = CASES[case]
    passes = BackwardPass(network, X, y, loss)
    truth = passes.gradient()
    named = 0
    # Of a mistake that several layers can have, the last in the list is the one that all of them have.
    for mistake in list({mistake.name: mistake for mistake in mistakes(passes)}.values())[sum(map(ord, case)) % 4 :: 4]:
        wrong = passes.gradient(mistake.steps, SCALE)
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
    passes = BackwardPass(network, X, y, loss)
    known, truth, rng = mistakes(passes), passes.gradient(), np.random.default_rng(seed)
    while True:  # two that each have an effect of their own
        one, other = (known[i] for i in rng.choice(len(known), 2, replace=False))
        alone = [truth, passes.gradient(one.steps, SCALE), passes.gradient(other.steps, SCALE)]
        together = passes.gradient({**one.steps, **other.steps}, SCALE)
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
    passes = BackwardPass(network, X, y, loss)
    missing = next(m for m in mistakes(passes) if m.name == "activation derivative missing")
    diagnosis = diagnose_gradient(network, X, y, 8 * passes.gradient(missing.steps), loss=loss)
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
    message = diagnosis.explanations[0]
    assert message.evidence == "dW[2] = -right; db[0] = width right"
    assert message.where == "dW[2] from dA[2] (layers[2], Dense(5, 5)), and db[0] from dA[0] (layers[0], Dense(4, 5))"


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
    passes = BackwardPass(network, X, y, loss)
    for mistake in mistakes(passes):
        if mistake.has_learning_rate and "all" in mistake.where:
            diagnosis = diagnose_gradient(network, X, y, passes.gradient(mistake.steps, 0.25), loss=loss)
            assert "with a learning rate of 0.25;" in str(diagnosis)


# ---- a function alone ------------------------------------------------------------------------------------------------


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


def likelihood(t):
    scale, noise = np.exp(t["scale"]), np.exp(t["noise"])
    return float(sum(x**2 / (scale * k + noise) + np.log(scale * k + noise) for k, x in enumerate([0.7, -1.2, 2.1])))


def test_a_number_with_the_gradient_of_another_is_named():
    theta = {"scale": np.array(0.3), "noise": np.array(-0.5)}
    gradient = numerical_gradient(lambda v: likelihood(dict(zip(theta, v, strict=True))), np.array([0.3, -0.5]))
    claimed = {"scale": np.array(gradient.sum()), "noise": np.array(gradient[1])}
    assert names(diagnose_gradient(likelihood, theta, claimed)) == ["gradient of scale = right + gradient of noise"]
    for seed in range(20):
        claimed["scale"] = np.array(np.random.default_rng(seed).normal())
        assert names(diagnose_gradient(likelihood, theta, claimed)) == []


# ---- nothing is guessed, and nothing right is accused ----------------------------------------------------------------


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
    diagnosis = diagnose_gradient(lambda t: float(np.sqrt(np.abs(t)).sum()), np.zeros(3), np.array(claimed))
    assert (diagnosis.verdict, bool(diagnosis), diagnosis.undecided) == ("undecided", False, 3)
    assert str(diagnosis).startswith("UNDECIDED")


def test_a_right_verdict_tells_what_was_left_undecided():
    diagnosis = diagnose_gradient(lambda t: float(np.sqrt(np.abs(t)).sum()), np.array([0.0, 1.0]), np.array([5.0, 0.5]))
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


@pytest.mark.parametrize("size", [1e-16, 1e-14, 1e-12])  # differences here are good to some 1e-10
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


# ---- what must not be said -------------------------------------------------------------------------------------------


def dense_gradient(change):
    """Return a backward pass of a sigmoid network of two layers, with one array changed."""

    def gradient(parameters, inputs, y):
        W0, b0, W1, b1 = parameters
        H = 1 / (1 + np.exp(-(inputs @ W0.T + b0)))
        dA1 = (hm.activations.softmax(H @ W1.T + b1) - np.eye(3)[y]) / len(y)
        dA0 = change(dA1, W1, y) * H * (1 - H)
        return [dA0.T @ inputs, dA0.sum(axis=0), dA1.T @ H, dA1.sum(axis=0)]

    return gradient


@pytest.mark.parametrize("as_function", [False, True])
def test_a_unit_left_out_is_named_not_fitted_by_odd_numbers(as_function):
    network = MLP([3, 4, 3], activation="sigmoid", rng=3)
    gradient = dense_gradient(lambda dA, W, y: dA[:, :-1] @ W[:-1])
    blocks = list(network.blocks(network.theta).values())
    claim = gradient if as_function else gradient(blocks, X[:, :3], LABELS)
    assert names(diagnose_gradient(network, X[:, :3], LABELS, claim)) == ["dA[0] = (dA without unit 2) @ W[2]"]


def test_a_formula_has_to_hold_in_right_batches_too():
    """Samples of one class are skipped: in a batch of two rows, that may look like the first or the last one."""
    network = MLP([3, 4, 3], activation="sigmoid", rng=3)
    gradient = dense_gradient(lambda dA, W, y: dA @ W * (y != 0)[:, np.newaxis])
    diagnosis = diagnose_gradient(network, X[:, :3], LABELS, gradient)
    assert diagnosis.verdict == "located" and diagnosis.step.startswith("dA[0] from dA[2]")


def test_a_factor_is_named_by_the_inputs_of_its_layer():
    network = MLP([4, 6, 3], activation="tanh", rng=3)
    W, *others = (g.copy() for g in network.blocks(network.loss_and_gradient(X, LABELS)[1]).values())
    assert names(diagnose_gradient(network, X, LABELS, [4 * W, *others])) == ["times inputs"]


def test_a_bias_gradient_with_a_number_for_each_sample_is_named():
    network = MLP([4, 6, 3], activation="tanh", rng=3)
    W, _, *others = (g.copy() for g in network.blocks(network.loss_and_gradient(X, LABELS)[1]).values())
    diagnosis = diagnose_gradient(network, X, LABELS, [W, np.ones(8), *others])
    assert (names(diagnosis), diagnosis.first_wrong) == (["bias gradient summed over the wrong axis"], "0.bias")
    assert not hm.check_gradient(network, X, LABELS, [W, np.ones(8), *others])


def test_some_entries_by_a_factor_or_in_another_order_are_named():
    theta = np.array([0.3, -0.2, 1.5, -2.0, 0.9, 0.7])
    factor, other = (
        diagnose_gradient(lambda t: float(t @ t), theta, claim)
        for claim in (2 * theta * np.where(np.abs(theta) > 0.5, 3, 1), 2 * theta[[2, 0, 1, 4, 5, 3]])
    )
    assert names(factor) == ["gradient of theta = right, but 4 of 6 entries are 3 times that"]
    assert names(other) == ["gradient of theta = right, its entries in another order"]


def test_a_diagnosis_is_the_same_on_a_slow_machine(monkeypatch):
    ticks = iter(range(0, 10**9, 1000))
    monkeypatch.setattr(time, "process_time", lambda: next(ticks))
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    network = MLP([4, 5, 5, 3], activation="tanh", rng=0)
    passes = BackwardPass(network, X, LABELS)
    known = mistakes(passes)
    passes.gradient()
    wrong = passes.gradient(known[-1].steps)
    assert known[-1].name in names(diagnose_gradient(network, X, LABELS, wrong))
