"""Differences: how accurate each method is, and which arguments are refused."""

from __future__ import annotations

import itertools
import re
import warnings

import numpy as np
import pytest
import torch
from functions_of_tests import EPS, ORDERS, THETA, f, slopes

from handmade.checking.differences import numerical_gradient, step_sweep
from handmade.checking.methods import METHODS


@pytest.mark.parametrize("method", ORDERS)
def test_each_method_reaches_its_accuracy(method):
    """Where h^p and eps / h meet, both are eps^(p / (p + 1)); no error is more than ten of that, and one near it."""
    errors = np.abs(numerical_gradient(f, THETA, method=method) - slopes(THETA))
    reachable = EPS ** (ORDERS[method] / (ORDERS[method] + 1))
    assert reachable / 100 <= errors.max() <= 10 * reachable


def test_the_complex_step_is_exact_to_a_few_ulp():
    errors = np.abs(numerical_gradient(f, THETA, method="complex") - slopes(THETA))
    assert np.all(errors <= 4 * EPS * np.abs(slopes(THETA)))


def test_the_methods_are_ordered_by_accuracy():
    errors = [np.abs(numerical_gradient(f, THETA, method=method) - slopes(THETA)).max() for method in METHODS]
    assert errors == sorted(errors, reverse=True)
    assert errors[1] < errors[0] / 100 and errors[2] < errors[1] / 10 and errors[3] < errors[2] / 1000


@pytest.mark.parametrize(("method", "exact"), [("forward", 1), ("central", 2), ("richardson", 4), ("complex", 2)])
def test_each_method_is_exact_for_polynomials_of_its_order(method, exact):
    """The next power shows the truncation: h^p, by (4 / 2^4 - 1) / 3 for Richardson's, by -1 for the complex step."""
    h = 0.25
    for power in range(1, exact + 1):
        assert numerical_gradient(lambda t, p=power: t[0] ** p, [0.5], method=method, step=h)[0] == pytest.approx(
            power * 0.5 ** (power - 1), rel=1e-14
        )
    factor = {"forward": 1, "central": 1, "richardson": -0.25, "complex": -1}[method]
    measured = numerical_gradient(lambda t: t[0] ** (exact + 1), [0.0], method=method, step=h)[0]
    assert measured == pytest.approx(factor * h**exact, rel=1e-14)


@pytest.mark.parametrize("method", METHODS)
def test_theta_of_any_shape_and_some_entries_of_it(method):
    theta = THETA.reshape(5, 2, 4)
    whole = numerical_gradient(f, theta, method=method)
    assert whole.shape == theta.shape
    np.testing.assert_allclose(whole, slopes(theta), rtol=1e-6)
    some = numerical_gradient(f, theta, method=method, indices=[7, 0, 7])
    assert some.tolist() == whole.reshape(-1)[[7, 0, 7]].tolist()
    assert numerical_gradient(lambda t: t**2, 3.0, method=method) == pytest.approx(6, rel=1e-7)
    assert numerical_gradient(f, theta, method=method, indices=[]).shape == (0,)


@pytest.mark.parametrize("method", METHODS)
def test_the_step_grows_with_the_entry(method):
    slope = numerical_gradient(lambda t: np.sin(t[0] / 1e10), [5e9], method=method)[0]
    assert slope == pytest.approx(np.cos(0.5) / 1e10, rel=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_theta_is_not_changed(method):
    theta = THETA.copy()
    numerical_gradient(f, theta, method=method)
    assert np.array_equal(theta, THETA)


def spoil(theta):
    theta[1] += 0.5
    return theta.sum()


def spoil_later():
    calls = []

    def f(theta):
        calls.append(1)
        if len(calls) > 3:
            theta[0] = -7
        return (theta**2).sum()

    return f


def drifting():
    calls = itertools.count()
    return lambda theta: theta.sum() + 1e-9 * next(calls)


@pytest.mark.parametrize(
    ("f", "options", "error", "match"),
    [
        (f, {"method": "Richardson"}, ValueError, "expected one of forward, central, richardson, complex; got 'Rich"),
        (f, {"indices": [40]}, ValueError, "indices: expected integers from 0 to 39"),
        (f, {"indices": [-1]}, ValueError, "indices: expected integers from 0 to 39"),
        (f, {"indices": [-1, 3]}, ValueError, "indices: expected integers from 0 to 39"),
        (f, {"indices": [3, 40]}, ValueError, "indices: expected integers from 0 to 39"),
        (f, {"indices": [[1], [2, 3]]}, ValueError, "^indices: "),
        (f, {"indices": 3}, TypeError, "indices: expected a list of integers"),
        (f, {"indices": [0.5]}, TypeError, "indices: expected a list of integers"),
        (f, {"step": 0.0}, ValueError, "step: expected a finite number > 0, got 0.0"),
        (f, {"step": np.nan}, ValueError, "step: expected a finite number > 0, got nan"),
        (f, {"step": np.inf}, ValueError, "step: expected a finite number > 0, got inf"),
        (lambda t: t, {}, TypeError, "the function: expected it to return one real number, got array"),
        (lambda t: None, {}, TypeError, "one real number, got None"),
        (lambda t: 1j, {}, TypeError, "one real number, got 1j"),
        (lambda t: np.inf, {}, ValueError, "the function: expected it to return a finite number, got inf"),
        (lambda t: 0.0 if t[0] == THETA[0] else np.nan, {}, ValueError, "a finite number, got nan"),
        (lambda t: 0.0 if t[0] == THETA[0] else np.nan, {"method": "forward"}, ValueError, r"got nan, at theta\[0\] ="),
        (drifting(), {}, ValueError, r"not deterministic: two calls gave .* and .*, 1\.0e-09 apart"),
        (spoil, {}, ValueError, r"changed its argument: theta\[1\] was -0.4604265.* before the call and 0.0395734"),
        (spoil_later(), {}, ValueError, r"changed its argument: theta\[0\] was .* before the call and -7.0 after it"),
        (lambda t: np.abs(t).sum(), {"method": "complex"}, TypeError, "analytic as written.*; it returned np.float64"),
        (
            lambda t: t.sum() if t.dtype.kind == "f" else t,
            {"method": "complex"},
            TypeError,
            r"analytic as written.*; it returned array",
        ),
        (lambda t: float(t.sum()), {"method": "complex"}, TypeError, "analytic as written.*raised ComplexWarning"),
        (
            lambda t: t.astype(float).sum() + 0 * t.sum(),
            {"method": "complex"},
            TypeError,
            "analytic as written.*raised ComplexWarning",
        ),
    ],
)
def test_bad_input_is_named(f, options, error, match):
    with pytest.raises(error, match=match):
        numerical_gradient(f, THETA, **options)


def test_the_entry_that_was_changed_is_named_by_its_place():
    def spoil(theta):
        theta[1, 2] = 5
        return theta.sum()

    with pytest.raises(ValueError, match=r"changed its argument: theta\[1, 2\] was 0.0 before the call and 5.0 after"):
        numerical_gradient(spoil, np.zeros((2, 3)))


def test_the_forward_difference_looks_at_one_side_alone():
    """t^(3/2) ends at 0; (h^(3/2) - 0) / h is sqrt(h), where h is sqrt(eps)."""
    slope = numerical_gradient(lambda t: t[0] ** 1.5, [0.0], method="forward")[0]
    assert slope == pytest.approx(EPS**0.25, rel=4 * EPS)


@pytest.mark.parametrize("theta", [[1, 2], np.array([1, 2], np.float32)], ids=["integers", "float32"])
def test_the_function_is_asked_in_float64_whatever_theta_was(theta):
    seen = set()

    def f(theta):
        seen.add(theta.dtype)
        return (theta**2).sum()

    numerical_gradient(f, theta)
    step_sweep(f, theta)
    assert seen == {np.dtype(float), np.dtype(complex)}


def test_other_warnings_do_not_refuse_the_complex_step():
    def warning(theta):
        warnings.warn("slow", stacklevel=1)
        return (theta**2).sum()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert numerical_gradient(warning, [3.0], method="complex")[0] == pytest.approx(6, rel=4 * EPS)


class Squares:
    """A function that can be asked for many values at once, one of them spoilt where an entry is moved to a number."""

    def __init__(self, spoilt=None):
        self.calls, self.spoilt = 0, spoilt

    def __call__(self, theta):
        self.calls += 1
        return (theta**2).sum()

    def moved(self, theta, indices, values):
        found = (theta**2).sum() - theta[indices] ** 2 + values**2
        return np.where(np.arange(len(values)) == self.spoilt, np.nan, found)


@pytest.mark.parametrize("method", METHODS)
def test_a_function_with_moved_gets_all_values_at_once(method):
    f = Squares()
    assert numerical_gradient(f, THETA, method=method) == pytest.approx(2 * THETA, rel=1e-5)
    assert f.calls == 2  # at theta, to see that it is deterministic


def test_a_value_of_many_that_is_not_finite_is_named():
    with pytest.raises(ValueError, match=r"expected it to return a finite number, got .*nan"):
        numerical_gradient(Squares(spoilt=5), THETA)


def test_a_torch_number_on_a_graph_is_a_number():
    def f(theta):
        return (torch.tensor(theta, requires_grad=True) ** 2).sum()

    assert numerical_gradient(f, [3.0, -1.0]) == pytest.approx([6, -2], rel=1e-9)


def test_what_is_no_function_is_named():
    message = "f: expected a function of theta, got 3; the loss of a network is NetworkLoss(network, X, y)"
    with pytest.raises(TypeError, match=re.escape(message)):
        numerical_gradient(3, [1.0])


def test_an_empty_theta_is_named():
    with pytest.raises(ValueError, match="theta: expected at least one entry, got none"):
        numerical_gradient(f, [])


@pytest.mark.parametrize("function", [numerical_gradient, step_sweep])
def test_theta_in_words_is_named(function):
    with pytest.raises(TypeError, match=r"^theta: expected numbers"):
        function(f, ["one", "two"])


def test_an_error_of_the_function_says_where_it_was_asked():
    def raises(theta):
        if theta[1] != at:
            raise ZeroDivisionError("no number")
        return 1.0

    at = 2.0
    with pytest.raises(
        ValueError, match=r"^the function raised ZeroDivisionError: no number, at theta\[1\] = .* for 2$"
    ):
        numerical_gradient(raises, [1.0, 2.0])
    at = 3.0
    with pytest.raises(ZeroDivisionError, match=r"^no number$"):
        numerical_gradient(raises, [1.0, 2.0])
