"""The table that check_gradient prints, and the sums in it."""

from __future__ import annotations

import re
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from handmade import Dense, GradientCheck, Network, check_gradient
from handmade.checking.check_table import Entries, summary_of

# ---- what it prints --------------------------------------------------------------------------------------------------


def test_the_table_of_a_tiny_example():
    network = Network([Dense(2, 1)])
    network.theta[:] = [1.0, -0.5, 0.25]
    result = check_gradient(network, [[1.0, 2.0]], [[0.0]], loss="half_squared_error")
    assert isinstance(result, GradientCheck)
    lines = str(result).splitlines()
    assert repr(result) == str(result)
    # The numbers that are rounding noise are left out; everything else is exact.
    assert [re.sub(r"\d\.\de-\d\d", "~", line) for line in lines] == [
        "parameter        checked  relative error  tolerance",
        "0.weight             2/2         ~    ~  pass",
        "0.bias               1/1         ~    ~  pass",
        lines[3].replace(lines[3].rpartition(" ")[2], "~"),
        "noise of the function: ~, at a value of 0.03125",
        "PASS: 3 entries agree",
    ]
    assert re.fullmatch(r"worst entry: 0\.(weight\[0, [01]\]|bias\[0\]): claimed 0\.2?5, .*", lines[3])


def test_the_table_of_a_wrong_gradient():
    result = check_gradient(lambda t: t[0] + 2 * t[1], [0.0, 0.0], [1.0, 4.0])
    assert re.sub(r"\d\.\de-\d\d(?=  FAIL|, at)", "~", str(result)) == (
        "parameter        checked  relative error  tolerance\n"
        "theta                2/2         4.9e-01    ~  FAIL\n"
        "worst entry: theta[1]: claimed 4, measured 2, relative error 5.0e-01\n"
        "noise of the function: ~, at a value of 0\n"
        "FAIL: 1 of 2 entries wrong, 1 of 1 parameters fail"
    )


# ---- sums and texts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slope", [0.0, 3.0])
def test_a_parameters_tolerance_is_relative_to_its_norm(slope):
    check = check_gradient(lambda t: 1 + slope * t.sum(), [1.0, 2.0], [slope, slope])
    norm = slope * np.sqrt(2) or 1.0  # of nothing, nothing is divided
    assert check.blocks[0].tolerance == pytest.approx(np.linalg.norm(check.allowed) / norm, rel=1e-9, abs=0)
    assert check.blocks[0].tolerance > 0


@pytest.mark.parametrize("method", ["richardson", "complex"])
def test_a_gradient_may_hold_numbers_of_any_kind(method):
    halves = [Fraction(1, 2), Fraction(3, 2)]
    for gradient in halves, lambda t: halves:
        check = check_gradient(lambda t: 0.5 * t[0] + 1.5 * t[1], [1.0, 2.0], gradient, method=method)
        assert check and isinstance(check.worst.claimed, float)


def test_what_was_left_undecided_is_told_beside_what_agrees():
    message = str(check_gradient(lambda t: abs(t[0]) ** 0.5 + t[1], [0.0, 1.0], [2.0, 1.0])).splitlines()[-1]
    assert message == "PASS: 1 entries agree, 1 undecided"


def test_the_worst_entry_exceeds_its_tolerance_most():
    claimed, allowed = np.array([2.0, 1.5, 99.0]), np.array([1.0, 0.125, 0.125])
    verdicts = np.array(["right", "wrong", "undecidable"])
    entries = Entries(np.arange(3), claimed, np.ones(3), np.ones(3), np.ones(3), allowed, verdicts)
    subject = SimpleNamespace(names={"b": np.arange(3)}, theta=np.zeros(3), claimed=claimed, one_sided=None)
    result = summary_of(subject, {"b": entries}, {}, 0.0, 0.0)
    assert (result.worst.name, result.worst.error, result.worst.allowed) == ("b[1]", 0.5, 0.125)
    assert [entry.name for entry in result.undecidable] == ["b[2]"]


@pytest.mark.parametrize(("in_loss", "in_gradient"), [(0.0, 0.3), (0.3, 0.0), (0.2, 0.3)])
def test_table_names_a_penalty_that_differs(in_loss, in_gradient):
    theta = np.array([1.0, -2.0, 0.5, 3.0])

    def f(t):
        return float(np.sin(t).sum() + in_loss * (t @ t) / 2)

    table = str(check_gradient(f, theta, np.cos(theta) + in_gradient * theta))
    amount = f"{in_gradient - in_loss:.6g}"
    assert f"claimed - measured = {amount} theta in theta: the penalties of loss and gradient differ" in table
    assert "penalties" not in str(check_gradient(f, theta, np.cos(theta) + in_loss * theta))
    assert "penalties" not in str(check_gradient(f, theta, np.cos(theta) + theta**2))
