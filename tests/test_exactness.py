"""Every function and derivative against 50 digits in ULP; the measure is right, and it can fail."""

from __future__ import annotations

import dataclasses
import json

import mpmath
import numpy as np
import pytest
import torch
from mpmath import mpf

import handmade as hm
from benchmarks.exactness import __main__ as command
from benchmarks.exactness.__main__ import QUICK_POINTS, main
from benchmarks.exactness.measurement import exactly, measure
from benchmarks.exactness.points import DOMAINS, logits, numbers, probabilities
from benchmarks.exactness.subjects import all_subjects, derivative, subject_of_activation
from benchmarks.exactness.ulp import Exact, ulp_errors
from reference.cases import ActivationCase
from reference.twin import MODULES

FLOATS = (np.float64, np.float32)
SUBJECTS = {subject.name: subject for subject in all_subjects()}


def points_of(subject, n, seed):
    return DOMAINS[subject.domain](np.float64, np.random.default_rng(seed), n)[0]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS)
def test_every_function_and_derivative_meets_its_target(subject, dtype):
    for row in measure(subject, dtype, QUICK_POINTS, seed=1):
        assert row.met, row


def test_targets_are_the_promised_ones():
    of_logits = [f"binary_cross_entropy_with_logits, y = {y}" for y in (0, 1)]
    promised = {
        4: [
            *("sigmoid", "tanh", "elu", "elu 0.7", "selu", "celu 2.0", "silu", "softplus", "softplus 2.0"),
            *("logsigmoid", "softsign", "hardsigmoid", "hardswish", *of_logits),
            *(f"soft_margin_loss, y = {y}" for y in (1, -1)),
        ],
        8: [
            *("gelu", "mish", "tanhshrink", "log_softmax", "multilabel_soft_margin_loss"),
            *(f"cross_entropy{t}{way}" for t in ("", ", one-hot") for way in ("", ", at once")),
        ],
        16: ["gelu tanh", "softmax", *(f"sigmoid_focal_loss, y = {y}" for y in (1, 0))],
    }
    for target, names in promised.items():
        assert sorted(n for n, subject in SUBJECTS.items() if subject.target == target) == sorted(names)


# ---- rows of one's own -----------------------------------------------------------------------------------------------


def own(A):
    """Mish as a newcomer writes it, right but for its derivative, which cancels in the left tail."""
    return A * np.tanh(np.logaddexp(0, A))


def cancelling_backward(dH, A):
    T, S = np.tanh(np.logaddexp(0, A)), 1 / (1 + np.exp(-A))
    return dH * (T + A * S * (1 - T**2))


@pytest.fixture
def mish_row(monkeypatch):
    """Return a row that gives no derivative, as a newcomer writes it."""
    monkeypatch.setitem(hm.activations.ACTIVATIONS, "own", (own, cancelling_backward))
    monkeypatch.setitem(MODULES, "own", torch.nn.Mish)
    return ActivationCase("own", "Mish", lambda a: a * mpmath.tanh(mpmath.log1p(mpmath.exp(a))), ulp=8)


def test_new_activation_with_a_cancelling_derivative_fails(mish_row):
    with np.errstate(over="ignore"):
        value, slope = measure(subject_of_activation(mish_row), np.float64, n=40)
    assert value.handmade[0] <= 8 < slope.handmade[0]  # |a| <= 10; in the far tail, the value loses digits too
    assert not slope.met


def test_roots_of_a_new_derivative_are_found(mish_row):
    # The minimum of mish.
    [root] = subject_of_activation(mish_row).roots()
    assert root == pytest.approx(-1.1924312145, abs=1e-9)


@pytest.mark.parametrize("a", [-700.0, -1.25, 1e-8, 3.0, 700.0])
def test_derived_derivative_has_all_digits_in_both_tails(a):
    with mpmath.workdps(50):
        found, expected = derivative(SUBJECTS["sigmoid"].exact)(mpf(a)), SUBJECTS["sigmoid"].slope(mpf(a))
        assert abs(found / expected - 1) < mpf(10) ** -29


# ---- the measure -----------------------------------------------------------------------------------------------------

EPS, TINY = 2.0**-52, 2.0**-1074
# The exact value as a sum of two numbers, the larger first; a result, and its error in ULP.
BY_HAND = [
    (1, EPS / 4, 1.0, 0.25),
    (1, EPS / 4, 1 + EPS, 0.75),
    (1, EPS / 4, 1 - EPS / 2, 0.75),  # the ULP is the one above 1, also for a result below
    (-1, -EPS / 4, -1.0, 0.25),
    (2, -EPS / 4, 2 - EPS, 0.375),  # rounds to 2, where the next number is 2 eps away
    (0, 0, 0.0, 0.0),
    (0, 0, -TINY, 1.0),
    (3 * TINY, mpf(TINY) / 4, 2 * TINY, 1.25),  # below 2^-1022 all numbers are a multiple of the smallest
    (0, mpf(TINY) / 4, 0.0, 0.25),
    (2.0**-1022, 0, 2.0**-1022 - TINY, 1.0),
    (1, 0, np.inf, np.inf),
    (1, 0, np.nan, np.inf),
]


@pytest.mark.parametrize(("value", "more", "result", "error"), BY_HAND)
def test_ulp_is_the_distance_to_the_next_number(value, more, result, error):
    with mpmath.workdps(50):
        exact = Exact.of([mpf(value) + mpf(more)], np.float64)
    assert ulp_errors(np.array([result]), exact) == [error]


def test_ulp_of_float32_is_that_of_float32():
    exact = Exact.of([mpf(1) / 3, mpf(2) ** -150, mpf(2) ** -200], np.float32)
    np.testing.assert_array_equal(exact.rounded, [float(np.float32(1 / 3)), 0, 0])
    np.testing.assert_array_equal(exact.ulp, [2.0**-25, 2.0**-149, 2.0**-149])
    np.testing.assert_array_equal(ulp_errors(np.zeros(3, np.float32), exact)[1:], [0.5, 2.0**-51])
    assert ulp_errors(np.full(3, np.float32(1 / 3)), exact)[0] == pytest.approx(1 / 3, abs=1e-9)


@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS)
def test_exact_derivative_equals_differences(subject):
    # By differences with 50 digits, at points of size one: good to 1e-15 at least.
    points = points_of(subject, 40, 3)
    points = points[(np.abs(points) > 1e-2) & (np.abs(points) < 5)][:8] if points.ndim == 1 else points[:4] / 8
    with mpmath.workdps(50):
        for point in np.atleast_2d(points.T).T.tolist():
            row = [mpf(z) for z in point]
            expected = [slope_by_differences(subject.exact, row, j) for j in range(len(row))]
            found = subject.slope(row if len(row) > 1 else row[0])
            for f, e in zip(found if isinstance(found, list) else [found], expected, strict=True):
                assert abs(f - e) <= 1e-15 * (1 + abs(e))


def slope_by_differences(f, row, j):
    """Differentiate f, or the first of its values, by entry j."""

    def moved(z):
        value = f([*row[:j], z, *row[j + 1 :]] if len(row) > 1 else z)
        return value[0] if isinstance(value, list) else value

    return mpmath.diff(moved, row[j])


@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS)
def test_exact_function_equals_torch(subject):
    # To 1e-12: 1e4 roundings, as a difference of probabilities or a tail may have lost. At points of size one.
    X = points_of(subject, 40, 4)
    X = X[np.abs(X) < 5][:20] if X.ndim == 1 else X[:4] / 8
    found = subject.torch(torch.from_numpy(X)).numpy().ravel()
    exact = exactly(subject.exact, X)
    np.testing.assert_allclose(found, exact.rounded, rtol=1e-12, atol=1e-15)


# ---- the points ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
def test_numbers_reach_both_tails_and_the_roots(dtype):
    X, near = numbers(dtype, np.random.default_rng(0), 400, [0.75])
    assert X.dtype == dtype
    np.testing.assert_array_equal(near, np.abs(X) <= 10)
    for sign in (1, -1):
        size = (sign * X)[sign * X > 0]
        assert size.min() < 1e-7
        assert 900 < size.max() <= 1000
        leaves = -np.log(float(np.finfo(dtype).tiny))  # exp(-x) is subnormal from here on
        assert np.count_nonzero((size > leaves) & (np.exp(-size.astype(float)) > 0)) > 5
    assert np.abs(X - 0.75).min() <= 64 * np.finfo(dtype).eps


@pytest.mark.parametrize(
    ("name", "root"),
    [("silu", -1.27846454276107), ("gelu", -0.75179152469356), ("gelu tanh", -0.75246142207101), ("mse_loss", 0.75)],
)
def test_roots_are_those_of_the_derivative(name, root):
    assert SUBJECTS[name].roots() == pytest.approx([root], abs=1e-14)


@pytest.mark.parametrize("name", ["sigmoid", "relu", "softmax", "binary_cross_entropy, y = 1"])
def test_derivative_without_a_root_has_no_roots(name):
    assert SUBJECTS[name].roots() == []


@pytest.mark.parametrize("dtype", FLOATS)
def test_logits_and_probabilities_reach_sure_answers(dtype):
    Z, near = logits(dtype, np.random.default_rng(0), 400)
    assert Z.shape == (80, 10)
    assert np.count_nonzero(Z.argmax(axis=1) == 0) >= 40
    assert np.abs(Z[near]).max() < 60
    assert np.abs(Z[~near]).max() > 1000
    P, _ = probabilities(dtype, np.random.default_rng(0), 400)
    assert 0 < P.min() < 1e-7
    assert 0 < 1 - P.max() < 1e-6


# ---- it can fail -----------------------------------------------------------------------------------------------------


def textbook_sigmoid(X):
    S = 1 / (1 + np.exp(-X))
    return S, S * (1 - S)


def textbook_log_softmax(Z):
    D = Z - Z.max(axis=1, keepdims=True)
    H = D - np.log(np.exp(D).sum(axis=1, keepdims=True))
    return H, np.eye(10)[0] - np.exp(H)


def textbook_silu(X):
    S, slope = textbook_sigmoid(X)
    return X * S, S + X * slope


@pytest.mark.parametrize(
    ("name", "formula"),
    [("sigmoid", textbook_sigmoid), ("silu", textbook_silu), ("log_softmax", textbook_log_softmax)],
)
def test_textbook_formula_misses_its_target(name, formula):
    planted = dataclasses.replace(SUBJECTS[name], handmade=formula)
    with np.errstate(all="ignore"):
        value, slope = measure(planted, np.float64, QUICK_POINTS)
    # Up to 10 the textbook's s(a) is as exact as any; beyond, exp(-a) overflows. Its slopes cancel in both ranges.
    assert max(value.handmade) > 1e4 and not value.met
    assert min(slope.handmade) > slope.target and not slope.met


@pytest.mark.parametrize("name", SUBJECTS)
def test_error_of_a_few_ulp_is_seen(name):
    """Move each result by one number more than its row allows."""
    subject = SUBJECTS[name]

    def off(X):
        steps = min(subject.target, 16) + 3
        return [result + steps * np.spacing(result) for result in subject.handmade(X)]

    assert not any(row.met for row in measure(dataclasses.replace(subject, handmade=off), np.float64, QUICK_POINTS))


# ---- the command -----------------------------------------------------------------------------------------------------


def only(*subjects):
    return lambda: list(subjects)


def test_command_prints_and_writes_every_figure(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(command, "all_subjects", only(SUBJECTS["silu"], SUBJECTS["log_softmax"]))
    file = tmp_path / "figures.json"
    assert main(["--quick", "--seed", "5", "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "log_softmax'" in printed
    assert "8 of 8 rows: 8 met, 0 missed" in printed
    assert "mpmath" in printed and "seed 5" in printed
    records = json.loads(file.read_text())
    assert [record["name"] for record in records[::2]] == ["silu", "silu", "log_softmax", "log_softmax"]
    assert all(max(record["handmade"]) <= record["target"] for record in records)


def test_command_fails_when_a_target_is_missed(monkeypatch, capsys):
    wrong = dataclasses.replace(SUBJECTS["sigmoid"], target=0.1)
    monkeypatch.setattr(command, "all_subjects", only(wrong))
    assert main(["--quick"]) == 1
    printed = capsys.readouterr().out
    assert "MISSED: sigmoid float32" in printed
    assert "4 of 4 rows: 0 met, 4 missed" in printed


def test_interrupted_run_keeps_the_finished_rows(monkeypatch, capsys):
    finished = []

    def measure_one(*arguments):
        if finished:
            raise KeyboardInterrupt
        finished.append(True)
        return measure(*arguments)

    monkeypatch.setattr(command, "measure", measure_one)
    assert main(["--quick"]) == 1
    assert f"2 of {4 * len(SUBJECTS)} rows: 2 met" in capsys.readouterr().out
