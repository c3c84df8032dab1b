"""How check_gradient measures one entry, and decides."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from checked_gradients import (
    Checker,
    measurement,
    subject_of,
)

import handmade as hm
from handmade import check_gradient
from handmade.checking.entry_checker import EntryChecker, _respect_kinks

# ---- the checker -----------------------------------------------------------------------------------------------------


def checker_of(claimed, *measured, largest=0.0):
    """Return a checker for which each step finds the next of these."""
    found = iter(measured)
    near = SimpleNamespace(
        measure=lambda *arguments: next(found), scale=lambda i: np.ones(1), base=0.0, theta=np.ones(2), outside=None
    )
    return Checker(near, subject_of([claimed, largest]), 0.0)


@pytest.mark.parametrize(
    ("numbers", "verdict"),
    [
        (dict(truncation=2**-20), "right"),  # precise
        (dict(truncation=2**-19), "undecidable"),
        (dict(rounding=2**-3), "right"),  # decisive, and no truncation in it
        (dict(rounding=2**-2), "undecidable"),
        (dict(rounding=2**-4, truncation=2**-4), "right"),
        (dict(rounding=2**-4, truncation=2**-4 + 2**-9), "undecidable"),
        (dict(rounding=4.0, value=1.0), "right"),  # nothing is nearer than equal
        (dict(rounding=2**-3, value=1 - 2**-3), "right"),
        (dict(rounding=2**-3, value=1 - 2**-2), "undecidable"),
        (dict(roughness=2**-10, value=1.0), "right"),  # smooth enough
        (dict(roughness=2**-9, value=1.0), "undecidable"),
    ],
)
def test_right_entries_are_smooth_near_and_decided(numbers, verdict):
    near = {"value": 1 - 2**-23}  # the claim itself would be right in any case
    found, _, _ = checker_of(1.0, measurement(**near | numbers))._measure(np.array([0]), "central", 1.0)
    assert found.verdict.tolist() == [verdict]


@pytest.mark.parametrize(
    ("numbers", "refuted"),
    [
        (dict(rounding=2**-3), False),  # as far off as it may be
        (dict(rounding=2**-4), True),
        (dict(doubt=2**-6), False),  # smooth: eight times the doubt
        (dict(doubt=2**-7), True),
        (dict(doubt=2**-6, roughness=2**-11), False),
        (dict(doubt=2**-7, roughness=2**-6), False),  # rough: eight times the roughness
        (dict(doubt=2**-3, roughness=2**-7), True),
    ],
)
def test_refuted_errors_exceed_noise_and_curvature(numbers, refuted):
    _, refuting, _ = checker_of(1.0 + 2**-3, measurement(**numbers))._measure(np.array([0]), "central", 1.0)
    assert refuting.tolist() == [refuted]


@pytest.mark.parametrize(("apart", "verdict"), [(0.0, "wrong"), (0.5, "wrong"), (0.5 + 2**-9, "undecidable")])
def test_smaller_steps_confirm_a_refutation(apart, verdict):
    """The two slopes may be apart by what both may be off: a quarter each."""
    steps = [measurement(value=8 + n % 2 * apart, rounding=0.25) for n in range(6)]
    judge = checker_of(1.0, *steps)
    found = judge._by_differences(np.array([0]), "central")
    assert found.verdict.tolist() == [verdict]
    assert found.measured.tolist() == [8.0 if verdict == "wrong" else 8 + apart]


@pytest.mark.parametrize(("method", "order"), [("forward", 1), ("central", 2), ("richardson", 4)])
@pytest.mark.parametrize(
    ("claimed", "theta", "base", "slope"), [(4.0, 100.0, 7.0, 400.0), (0.0, 100.0, 7.0, 7.0), (0.0, 1.0, 0.0, 1.0)]
)
def test_the_first_step_balances_noise_and_slope(method, order, claimed, theta, base, slope):
    """It is the nearest of the usual one and its tens below 0.1; the others go down from it by tens."""
    near = SimpleNamespace(scale=lambda i: np.maximum(1, [theta]), base=base)
    usual = np.finfo(float).eps ** (1 / (order + 1))
    tens = [usual * 10.0**n for n in range(8) if usual * 10.0**n < 0.1]
    for noise in 0.0, 1e-30, *10.0 ** np.arange(-16, 4, 0.15), 1e9:
        steps = EntryChecker(near, subject_of([claimed / 8, claimed]), noise)._steps(method)
        wanted = (noise / slope) ** (1 / (order + 1))
        assert steps[0] == pytest.approx(min(tens, key=lambda h: abs(np.log(max(wanted, usual) / h))), rel=1e-12)
        assert steps[:-1] / steps[1:] == pytest.approx(10, rel=1e-12)
        assert steps[-1] == pytest.approx(usual * 1e-5, rel=1e-12)


def test_a_complex_slope_may_be_off_by_its_roundings():
    """As far as it may be, it is right without differences, which would allow it more."""
    eps = np.finfo(float).eps
    worst = check_gradient(lambda t: t[0], [0.5], [1 - 32 * eps], method="complex").worst
    assert (worst.verdict, worst.measured, worst.allowed) == ("right", 1.0, 32 * eps)


def test_numbers_between_the_slopes_of_a_kink_are_not_accused():
    claimed = np.array([-0.5, 0.0, 0.5, 1.0, 1.5, 0.5])
    entries = SimpleNamespace(
        index=np.arange(6), claimed=claimed, allowed=np.full(6, 1e-9), verdict=np.full(6, "wrong", dtype="<U11")
    )
    sides = np.zeros(6), np.array([1.0, 1, 1, 1, 1, 0])  # the last has no kink
    _respect_kinks(SimpleNamespace(one_sided=sides), {"theta": entries})
    assert entries.verdict.tolist() == ["wrong", *["undecidable"] * 3, "wrong", "wrong"]


@pytest.mark.parametrize(
    ("function", "slope", "theta"),
    [
        (np.log, lambda t: 1 / t, 1e-8),
        (np.sqrt, lambda t: 0.5 / np.sqrt(t), 1e-10),
        (lambda t: np.maximum(t, 0), np.ones_like, 1e-9),
        (lambda t: np.linalg.norm(t).reshape(1), lambda t: t / np.linalg.norm(t), 1e-9),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_an_entry_next_to_nothing_is_moved_by_parts_of_itself(function, slope, theta):
    at = np.array([theta])
    assert hm.check_gradient(lambda t: float(function(t).sum()), at, slope(at))
    assert not hm.check_gradient(lambda t: float(function(t).sum()), at, 1.01 * slope(at))


def test_a_function_without_a_value_on_one_side_says_where():
    with pytest.raises(ValueError, match="expected it to return a finite number, got nan, at theta"):
        hm.check_gradient(lambda t: float(np.where(t > 1, np.nan, t).sum()), np.array([1.0]), np.array([1.0]))


def test_a_function_that_ends_beyond_its_noise_says_where():
    """A billionth below 1 its noise can be measured, but no step fits in."""

    def ends(theta):
        return float(np.where(theta > 1, np.nan, theta).sum())

    with pytest.raises(ValueError, match=r"expected it to return a finite number, got nan, at theta\[1\] = 1\."):
        check_gradient(ends, np.array([0.5, 1 - 1e-9]), np.ones(2))


@pytest.mark.parametrize(
    ("numbers", "right"),
    [
        (dict(roughness=0.9e-3, value=1.0), True),  # a thousandth of the slope: smooth
        (dict(roughness=1.1e-3, value=1.0), False),
        (dict(truncation=0.9e-7), True),  # a ten-millionth of it: precise
        (dict(truncation=1.1e-7), False),
        (dict(rounding=0.09), True),  # a tenth of the largest entry: decisive
        (dict(rounding=0.11), False),
    ],
)
def test_a_measurement_is_as_good_as_it_has_to_be(numbers, right):
    near = SimpleNamespace(measure=lambda *arguments: measurement(**dict(value=1 - 1e-8) | numbers))
    found, _, _ = EntryChecker(near, subject_of([1.0]), 0.0)._measure(np.array([0]), "central", 1.0)
    assert (found.verdict == "right").tolist() == [right]


@pytest.mark.parametrize(("error", "refuted"), [(0.95, False), (1.05, True)])
def test_an_error_of_ten_times_the_doubt_refutes(error, refuted):
    near = SimpleNamespace(measure=lambda *arguments: measurement(doubt=0.1))
    _, refuting, _ = EntryChecker(near, subject_of([1 + error]), 0.0)._measure(np.array([0]), "central", 1.0)
    assert refuting.tolist() == [refuted]


def test_the_largest_entry_says_what_is_decisive():
    """Noise of a sixteenth of it hides nothing that matters beside it."""
    found = measurement(value=2**-10 + 2**-12, rounding=2**-4)
    for largest, verdict in (1.0, "right"), (2**-3, "undecidable"):
        now, _, _ = checker_of(2**-10, found, largest=largest)._measure(np.array([0]), "central", 1.0)
        assert now.verdict.tolist() == [verdict]


def test_each_parameter_rounds_by_its_own_largest_entry():
    """A sum has some eps of its largest term; a parameter of another size is another sum, and may be empty."""
    subject = subject_of([0.5, 0.0, -1e6, 3.0])
    subject.names = {"small": np.array([[0, 1]]), "none": np.arange(0), "large": np.array([2, 3])}
    allowed = EntryChecker(SimpleNamespace(), subject, 0.0).absolute
    assert allowed.tolist() == [32 * np.finfo(float).eps * size for size in (0.5, 0.5, 1e6, 1e6)]


# ---- kinks -----------------------------------------------------------------------------------------------------------


def at_a_kink(claimed, sides=(-1.0, 1.0), steady=(True, True), rounding=2**-5):
    """Return whether a claim is refuted at a kink, and whether it lies within it; both slopes have noise."""
    subject = subject_of([claimed])
    subject.rounding = np.array([2**-7])
    near = SimpleNamespace(measure=lambda *arguments: measurement(0.0, 0.0, rounding, 1e9, 1e9, sides, steady))
    checker = Checker(near, subject, 0.0)
    checker.absolute = np.array([2**-6])
    _, refuted, within = checker._measure(np.array([0]), "central", 1.0)
    return bool(refuted[0]), bool(within[0])


MARGIN = 2**-5 + 2**-6 + 2**-7 + 1e-6 * 2  # noise, the sums' rounding, the claim's, and a millionth of the gap


@pytest.mark.parametrize("side", [-1, 1])
def test_a_claim_within_the_slopes_of_a_kink_is_right(side):
    """As far beyond one of them as it may be off; farther away it is open, and far away it is refuted."""
    edge, far = 1 + MARGIN, 3 + 8 * MARGIN
    assert at_a_kink(side * edge) == (False, True)
    assert at_a_kink(side * np.nextafter(edge, 2)) == (False, False)
    assert at_a_kink(side * far) == (False, False)
    assert at_a_kink(side * np.nextafter(far, 9)) == (True, False)


@pytest.mark.parametrize(
    ("options", "within"),
    [
        ({}, True),
        ({"steady": (True, False)}, False),  # one side bends: that may be a curve
        ({"steady": (False, True)}, False),
        ({"rounding": 2 / 4.5}, True),  # the gap is 2
        ({"rounding": 0.5}, False),  # as noise of four times its size may make it
    ],
)
def test_a_kink_has_two_straight_sides_apart(options, within):
    assert at_a_kink(0.5, **options) == (False, within)


def test_what_is_right_at_a_kink_says_so():
    worst = check_gradient(lambda t: float(np.maximum(t, 0).sum()), [0.0], [0.25]).worst
    assert (worst.verdict, worst.claimed, worst.measured, worst.left, worst.right) == ("right", 0.25, 0.25, 0, 1)


@pytest.mark.parametrize(
    ("lower", "upper", "claimed", "allowed", "verdict"),
    [
        (0.0, 1.0, -1e-6, 0.0, "undecidable"),  # a millionth of the slopes beyond, at most
        (0.0, 1.0, np.nextafter(-1e-6, -1), 0.0, "wrong"),
        (0.0, 1.0, 1 + 1e-6, 0.0, "undecidable"),
        (0.0, 1.0, np.nextafter(1 + 1e-6, 2), 0.0, "wrong"),
        (0.0, 1.0, -0.125, 0.125, "undecidable"),  # and what the measurement may be off
        (0.0, 1.0, -0.25, 0.125, "wrong"),
        (-0.5, 0.5, 0.0, 0.0, "undecidable"),
        (1.0, 1.0, 1.0, 0.0, "wrong"),  # no kink
        (0.0, 0.0, 0.0, 0.0, "wrong"),
    ],
)
def test_between_the_sides_of_a_kink_means_just_so(lower, upper, claimed, allowed, verdict):
    entries = SimpleNamespace(
        index=np.arange(1),
        claimed=np.array([claimed]),
        allowed=np.array([allowed]),
        verdict=np.array(["wrong"], "<U11"),
    )
    _respect_kinks(SimpleNamespace(one_sided=(np.array([lower]), np.array([upper]))), {"theta": entries})
    assert entries.verdict.tolist() == [verdict]


# ---- how often it measures -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("theta", "found", "times"),
    [
        (1e-4, "undecidable", 12),  # six steps, and six parts of itself
        (1e-3, "undecidable", 6),  # not next to nothing
        (0.5, "undecidable", 6),
        (0.0, "undecidable", 6),
        (1.0, "undecidable", 6),
        (7.0, "undecidable", 6),
        (1e-4, "right", 1),
        (7.0, "right", 1),
    ],
)
def test_an_entry_is_measured_once_by_each_step(theta, found, times):
    steps = []

    def measure(indices, method, step, noise):
        steps.append(step[0])
        return measurement() if found == "right" else measurement(value=9.0, rounding=1e9)

    near = SimpleNamespace(measure=measure, scale=lambda i: np.ones(1), base=0.0, theta=np.array([theta]), outside=None)
    entries = Checker(near, subject_of([1.0]), 0.0)._by_differences(np.array([0]), "central")
    assert entries.verdict.tolist() == [found]
    usual = np.finfo(float).eps ** (1 / 3) * 10.0 ** -np.arange(6)
    assert steps == pytest.approx(np.concatenate((usual, theta * usual))[:times])
