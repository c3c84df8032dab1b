"""Every formula against 50 digits in ULP; and that the measure is right, and can fail."""

from __future__ import annotations

import dataclasses
import json

import mpmath
import numpy as np
import pytest
import torch
from mpmath import mpf

from reference import exactness
from reference.__main__ import main
from reference.exactness import QUICK_POINTS, Exact, all_subjects, logits, measure, numbers, probabilities, ulp_errors

FLOATS = (np.float64, np.float32)
LOGITS = "binary_cross_entropy_with_logits"
SUBJECTS = {subject.name: subject for subject in all_subjects()}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS)
def test_every_function_and_derivative_meets_its_target(subject, dtype):
    for row in measure(subject, dtype, QUICK_POINTS, seed=1):
        assert row.met, row


def test_the_targets_are_the_promised_ones():
    promised = {
        4: ["sigmoid", "tanh", "elu", "silu", "softplus", f"{LOGITS}, y = 1", f"{LOGITS}, y = 0"],
        8: ["gelu", "log_softmax", "cross_entropy, index", "cross_entropy, one-hot"],
        16: ["gelu tanh", "softmax"],
    }
    for target, names in promised.items():
        assert sorted(n for n, subject in SUBJECTS.items() if subject.target == target) == sorted(names)


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
def test_an_ulp_is_the_distance_to_the_next_number(value, more, result, error):
    with mpmath.workdps(50):
        exact = Exact.of([mpf(value) + mpf(more)], np.float64)
    assert ulp_errors(np.array([result]), exact) == [error]


def test_an_ulp_of_float32_is_that_of_float32():
    exact = Exact.of([mpf(1) / 3, mpf(2) ** -150, mpf(2) ** -200], np.float32)
    np.testing.assert_array_equal(exact.rounded, [float(np.float32(1 / 3)), 0, 0])
    np.testing.assert_array_equal(exact.ulp, [2.0**-25, 2.0**-149, 2.0**-149])
    np.testing.assert_array_equal(ulp_errors(np.zeros(3, np.float32), exact)[1:], [0.5, 2.0**-51])
    assert ulp_errors(np.full(3, np.float32(1 / 3)), exact)[0] == pytest.approx(1 / 3, abs=1e-9)


@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS)
def test_the_exact_derivative_is_the_slope_of_the_exact_function(subject):
    """By differences with 50 digits, at points of size one: good to 1e-15 at least."""
    points = subject.points(np.float64, np.random.default_rng(3), 40)[0]
    points = points[(np.abs(points) > 1e-2) & (np.abs(points) < 5)][:8] if points.ndim == 1 else points[:4] / 8
    with mpmath.workdps(50):
        for point in np.atleast_2d(points.T).T.tolist():
            row = [mpf(z) for z in point]
            expected = [slope_by_differences(subject.exact, row, j) for j in range(len(row))]
            found = subject.exact_slope(row if len(row) > 1 else row[0])
            for f, e in zip(found if isinstance(found, list) else [found], expected, strict=True):
                assert abs(f - e) <= 1e-15 * (1 + abs(e))


def slope_by_differences(f, row, j):
    """Of f, or of the first of its values, by entry j."""

    def moved(z):
        value = f([*row[:j], z, *row[j + 1 :]] if len(row) > 1 else z)
        return value[0] if isinstance(value, list) else value

    return mpmath.diff(moved, row[j])


@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS)
def test_the_exact_function_is_the_one_of_torch(subject):
    """To 1e-12: 1e4 roundings, as a difference of probabilities or a tail may have lost. At points of size one."""
    X = subject.points(np.float64, np.random.default_rng(4), 40)[0]
    X = X[np.abs(X) < 5][:20] if X.ndim == 1 else X[:4] / 8
    found = subject.torch(torch.from_numpy(X)).numpy().ravel()
    exact = exactness._exactly(subject.exact, X)
    np.testing.assert_allclose(found, exact.rounded, rtol=1e-12, atol=1e-15)


# ---- the points ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_numbers_cover_both_signs_and_what_is_critical(dtype):
    X, near = numbers(dtype, np.random.default_rng(0), 400)
    assert X.dtype == dtype
    np.testing.assert_array_equal(near, np.abs(X) <= 10)
    for sign in (1, -1):
        size = (sign * X)[sign * X > 0]
        assert size.min() < 1e-7
        assert 900 < size.max() <= 1000
        leaves = -np.log(float(np.finfo(dtype).tiny))  # exp(-x) is subnormal from here on
        assert np.count_nonzero((size > leaves) & (np.exp(-size.astype(float)) > 0)) > 5
    for root in exactness.ROOTS:
        assert np.abs(X - root).min() <= 64 * np.finfo(dtype).eps


def test_the_roots_are_those_of_the_derivatives():
    with mpmath.workdps(50):
        for name, root in zip(("silu", "gelu", "gelu tanh", "mse_loss"), exactness.ROOTS, strict=True):
            assert float(mpmath.findroot(SUBJECTS[name].exact_slope, root)) == root


@pytest.mark.parametrize("dtype", FLOATS)
def test_logits_and_probabilities_reach_the_confident_answers(dtype):
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
def test_a_textbook_formula_misses_its_target(name, formula):
    planted = dataclasses.replace(SUBJECTS[name], handmade=formula)
    with np.errstate(all="ignore"):
        value, slope = measure(planted, np.float64, QUICK_POINTS)
    # Up to 10 the textbook's s(a) is as exact as any; beyond, exp(-a) overflows. Its slopes cancel in both ranges.
    assert max(value.handmade) > 1e4 and not value.met
    assert min(slope.handmade) > slope.target and not slope.met


@pytest.mark.parametrize("name", SUBJECTS)
def test_an_error_of_a_few_ulp_is_seen(name):
    """Each result moved by so many numbers as its row allows, and one more."""
    subject = SUBJECTS[name]

    def off(X):
        steps = min(subject.target, 16) + 3
        return [result + steps * np.spacing(result) for result in subject.handmade(X)]

    assert not any(row.met for row in measure(dataclasses.replace(subject, handmade=off), np.float64, QUICK_POINTS))


# ---- the command -----------------------------------------------------------------------------------------------------


def only(*subjects):
    return lambda: list(subjects)


def test_the_command(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(exactness, "all_subjects", only(SUBJECTS["silu"], SUBJECTS["log_softmax"]))
    file = tmp_path / "figures.json"
    assert main(["--exactness", "--quick", "--seed", "5", "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "log_softmax'" in printed
    assert "8 of 8 rows: 8 met, 0 missed" in printed
    assert "mpmath" in printed and "seed 5" in printed
    records = json.loads(file.read_text())
    assert [record["name"] for record in records[::2]] == ["silu", "silu", "log_softmax", "log_softmax"]
    assert all(max(record["handmade"]) <= record["target"] for record in records)


def test_the_command_fails_where_a_target_is_missed(monkeypatch, capsys):
    wrong = dataclasses.replace(SUBJECTS["sigmoid"], target=0.1)
    monkeypatch.setattr(exactness, "all_subjects", only(wrong))
    assert main(["--exactness", "--quick"]) == 1
    printed = capsys.readouterr().out
    assert "MISSED: sigmoid float32" in printed
    assert "4 of 4 rows: 0 met, 4 missed" in printed


def test_an_interrupted_run_keeps_what_it_has(monkeypatch, capsys):
    finished = []

    def measure_one(*arguments):
        if finished:
            raise KeyboardInterrupt
        finished.append(True)
        return measure(*arguments)

    monkeypatch.setattr(exactness, "measure", measure_one)
    assert main(["--exactness", "--quick"]) == 1
    assert f"2 of {4 * len(SUBJECTS)} rows: 2 met" in capsys.readouterr().out
