"""The sweep over steps: its errors, its best step, its table."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from functions_of_tests import CUBE, EPS, FIFTH, ORDERS, THETA, H, f, slopes

from handmade.checking.differences import _best, numerical_gradient, step_sweep
from handmade.checking.methods import METHODS

SMOOTH = {
    "exp": (lambda t: np.exp(t).sum(), np.exp),
    "sin": (lambda t: np.sin(t).sum(), np.cos),
    "tanh": (lambda t: np.tanh(3 * t).sum(), lambda t: 3 / np.cosh(3 * t) ** 2),
    "waves": (lambda t: np.sin(20 * t).sum(), lambda t: 20 * np.cos(20 * t)),
    "far up": (lambda t: 1000 + np.sin(t).sum(), np.cos),
    "small": (lambda t: 1e-6 * np.log1p(t * t).sum(), lambda t: 2e-6 * t / (1 + t * t)),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_the_accuracy_that_is_said_to_be_achievable_is(name):
    """It bounds every error, and is not more than a hundred times the largest."""
    f, gradient = SMOOTH[name]
    theta = THETA[:20]
    sweeps = [step_sweep(f, theta, i) for i in range(len(theta))]
    for method in METHODS:
        best = [sweep.methods[method] for sweep in sweeps]
        errors = np.abs([accuracy.estimate for accuracy in best] - gradient(theta))
        promised = np.array([accuracy.achievable for accuracy in best])
        assert np.all(errors <= promised), method
        assert np.max(promised) <= 100 * np.max(errors), method


def test_the_best_steps_are_where_theory_puts_them():
    sweep = step_sweep(f, THETA, 3)
    for method, order in ORDERS.items():
        accuracy = sweep.methods[method]
        usual = EPS ** (1 / (order + 1))
        assert usual / 10 <= accuracy.step <= 30 * usual, method
        assert accuracy.achievable == accuracy.truncation + accuracy.rounding
    assert sweep.methods["complex"].step == 1e-20
    assert sweep.methods["complex"].truncation < 1e-30
    achievable = [sweep.methods[method].achievable for method in METHODS]
    assert achievable == sorted(achievable, reverse=True)


def test_truncation_falls_and_rounding_grows_along_the_steps():
    sweep = step_sweep(f, THETA, 3)
    for method, order in ORDERS.items():
        steps, errors = sweep.steps[method], np.abs(sweep.estimates[method] - slopes(THETA)[3])
        assert steps == pytest.approx(10 ** np.linspace(-1, -14, 27), rel=1e-12, abs=0)
        assert errors[0] / errors[2] == pytest.approx(10**order, rel=0.2)  # two steps are a decade
        assert errors[-6:].mean() > 1e4 * errors.min()


def test_the_accuracy_of_a_function_in_float32():
    def single(theta):
        return float(np.exp(theta.astype(np.float32)).sum())

    sweep = step_sweep(single, [1.0, 2.0], 0)
    assert "complex" not in sweep.methods and "analytic as written" in sweep.refused
    for accuracy in sweep.methods.values():
        assert abs(accuracy.estimate - np.e) <= accuracy.achievable
    assert 1e-6 <= sweep.methods["richardson"].achievable <= 1e-3
    assert sweep.noise == pytest.approx(2**-23 * sweep.value, rel=0.9)


def test_the_table_of_a_sweep():
    sweep = step_sweep(lambda t: np.exp(t).sum(), [1.0], 0)
    assert repr(sweep) == str(sweep)
    lines = str(sweep).splitlines()
    assert lines[0] == "method      best step                estimate  truncation  rounding  achievable"
    assert [line.split()[0] for line in lines[1:5]] == list(METHODS)
    assert all(len(line) == len(lines[0]) for line in lines[1:5])
    assert lines[4].split()[1:3] == ["1.0e-20", "2.71828182845905"]
    assert lines[5].startswith("noise of the function: ") and lines[5].endswith(", at a value of 2.71828")
    refused = str(step_sweep(lambda t: np.abs(t).sum(), [1.0], 0)).splitlines()
    assert refused[4].startswith("complex     the complex step needs a function analytic as written")


@pytest.mark.parametrize(
    ("f", "method", "estimate", "truncation", "rounding"),
    [
        (lambda t: t[0] ** 2, "forward", H, 2 * H, 2 * 2 * EPS * H),
        (lambda t: max(t[0], 0.0) ** 2, "forward", H, 2 * H, 2 * 2 * EPS * H),
        (lambda t: min(t[0], 0.0) ** 2, "forward", 0, 0, 2 * 2 * EPS * H),
        (lambda t: t[0] ** 3, "central", CUBE, 2 * CUBE, 2 * EPS * CUBE),
        (lambda t: t[0] ** 5, "richardson", -FIFTH / 4, FIFTH / 2, 1.5 * 2 * 2 * EPS * FIFTH),
    ],
    ids=["square", "square above", "square below", "cube", "fifth"],
)
def test_one_step_of_a_sweep_in_numbers(f, method, estimate, truncation, rounding):
    """Twice the truncation that the estimates of h and h/2 show; twice eps of the largest value over the step."""
    accuracy = step_sweep(f, [0.0], steps=[H]).methods[method]
    assert (accuracy.step, accuracy.estimate) == (H, estimate)
    assert accuracy.truncation == pytest.approx(truncation, rel=4 * EPS, abs=0)
    assert accuracy.rounding == pytest.approx(rounding, rel=4 * EPS, abs=0)


def test_the_complex_step_of_a_sweep_in_numbers():
    """Im (ih)^3 / h = -h^2: the truncation is seen at 1/8 and followed by its square; 8 eps of it are rounding."""
    sweep = step_sweep(lambda t: t[0] ** 3, [0.0], steps=[H])
    accuracy = sweep.methods["complex"]
    assert sweep.steps["complex"].tolist() == [H, 1e-20] and sweep.estimates["complex"][0] == -CUBE
    assert (accuracy.method, accuracy.step) == ("complex", 1e-20)
    found = [accuracy.estimate, accuracy.truncation, accuracy.rounding]
    assert found == pytest.approx([-1e-40, 2e-40, 8 * EPS * 1e-40], rel=16 * EPS, abs=0)


@pytest.mark.parametrize(("change", "truncation"), [(20.5, 20.5), (20, 0)])
def test_a_change_above_twenty_roundings_counts(change, truncation):
    """From h to h/2 the forward difference loses half of its error: the change is twice two times the difference."""
    one = np.array([change / 4])
    assert _best("forward", np.ones(1), one, 0 * one, 1, np.ones(1)).truncation == truncation


def test_the_best_step_follows_the_order():
    """At 1.01 the change is 100, and not the 30.3 that follow from 30 at 1."""
    one, rounding = np.array([100.0, 30.0]) / 4, np.array([0.1, 1.4])
    best = _best("forward", np.array([1.01, 1.0]), one, 0 * one, 1, rounding)
    assert (best.step, best.truncation, best.rounding) == (1.0, 30.0, 1.4)


def test_steps_in_integers_are_steps():
    assert step_sweep(f, THETA, steps=[1, 2]).steps["forward"].dtype == np.float64


@pytest.mark.parametrize("steps", [[], [0.1, 0.0], [-0.1], [[0.1]], [np.nan], [np.inf]])
def test_steps_that_are_no_steps_are_named(steps):
    with pytest.raises(ValueError, match="steps: expected a list of numbers above 0, got"):
        step_sweep(f, THETA, steps=steps)


def test_steps_of_your_own():
    """The logarithm ends below the entry: the usual first steps would leave it."""
    sweep = step_sweep(lambda t: np.log(t[0]), [0.05], steps=10.0 ** np.arange(-9, -2))
    for accuracy in sweep.methods.values():
        assert abs(accuracy.estimate - 20) <= accuracy.achievable <= 1e-2


def test_theta_that_is_not_finite_is_named():
    with pytest.raises(ValueError, match="theta: expected finite numbers, got nan at index"):
        numerical_gradient(f, [0.0, np.nan])


@pytest.mark.parametrize(("index", "error"), [(2, ValueError), (-1, ValueError), (0.5, TypeError)])
def test_an_entry_that_is_not_there_is_named(index, error):
    with pytest.raises(error, match="index: expected"):
        step_sweep(lambda t: t.sum(), [1.0, 2.0], index)


def test_steps_in_words_are_named():
    with pytest.raises(TypeError, match=r"^steps: expected numbers"):
        step_sweep(f, THETA, steps=["small"])


def test_a_sweep_cannot_be_changed():
    sweep = step_sweep(lambda t: t[0] ** 2, [1.0], steps=[H])
    for found, name in [(sweep, "noise"), (sweep.methods["central"], "step")]:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(found, name, 0.0)
