"""Checks of more entries than are measured: along directions, and by a search."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from checked_gradients import MANY, Checker, cubes, measurement, squares_with_errors, subject_of

from handmade import check_gradient
from handmade.checking.check_table import Along
from handmade.checking.entry_checker import EntryChecker, _most_entries, examine
from handmade.checking.neighbourhood import Neighbourhood
from handmade.checking.subjects import function_subject

EPS = np.finfo(float).eps


@pytest.mark.parametrize("wrong", [[57], [3, 57, 191]])
def test_wrong_entries_that_were_not_drawn_are_found(wrong):
    result = check_gradient(cubes, MANY, squares_with_errors(wrong), entries=10, rng=0)
    assert [entry.index for entry in result.wrong] == wrong
    block = result.blocks[0]
    assert (block.wrong, block.along, block.is_complete) == (len(wrong), 400 - block.checked, True)
    assert block.checked <= 10 + EntryChecker.GROUP * len(wrong)


def test_the_search_ends_after_a_few_wrong_entries():
    result = check_gradient(cubes, MANY, squares_with_errors([1, 50, 100, 150, 201, 300]), entries=10, rng=0)
    assert not result.blocks[0].is_complete and len(result.wrong) == 4
    assert result.blocks[0].checked <= 10 + EntryChecker.GROUP * 4


def test_an_error_that_agreement_excludes_is_found():
    right = check_gradient(cubes, MANY, MANY**2, entries=10, rng=0)
    block = right.blocks[0]
    assert right and (block.checked, block.along) == (10, 390) and block.excluded < 1e-6
    assert check_gradient(cubes, MANY, squares_with_errors(57, 2 * block.excluded), entries=10, rng=0).wrong


@pytest.mark.parametrize(("error", "checked"), [(0.1, 6), (0.0, 400)])
def test_after_enough_wrong_entries_the_others_are_left_out(error, checked):
    subject = function_subject(cubes, MANY, squares_with_errors(slice(None), error))
    block = examine(subject, enough=6, rng=0).blocks[0]
    assert (block.checked, block.along) == (checked, 0)


# ---- the search ------------------------------------------------------------------------------------------------------


class Scripted(EntryChecker):
    """A checker for which a group of entries has the verdict that this function gives."""

    def __init__(self, size, verdict):
        super().__init__(
            Neighbourhood(cubes, np.ones(size)), function_subject(cubes, np.ones(size), np.ones(size)), 0.0
        )
        self.verdict, self.asked = verdict, []

    def _along(self, indices, rng):
        assert isinstance(rng, np.random.Generator)
        self.asked.append(len(indices))
        return self.verdict(indices.tolist()), 0.0


@pytest.mark.parametrize("wrong", [0, 77, 255])
def test_halving_ends_at_the_group_of_a_wrong_entry(wrong):
    checker = Scripted(256, lambda group: "wrong" if wrong in group else "right")
    group = checker._group_with_a_wrong_entry(np.arange(256), np.random.default_rng(0))
    assert wrong in group and len(group) == checker.GROUP
    assert checker.asked == [128, 64, 32, 16]


@pytest.mark.parametrize("wrong", [0, 255])
def test_of_an_undecidable_half_the_other_one_tells(wrong):
    """Where both are undecidable, the first is taken apart, down to eight groups; then the search gives up."""
    rng = np.random.default_rng(0)
    open_first = Scripted(256, lambda group: "undecidable" if 0 in group else "wrong" if wrong in group else "right")
    group = open_first._group_with_a_wrong_entry(np.arange(256), rng)
    assert group is None if wrong == 0 else (wrong in group and len(group) == open_first.GROUP)
    assert open_first.asked == ([128, 128, 64, 64] if wrong == 0 else [128, 128, 64, 32, 16])


@pytest.mark.parametrize(("size", "asked"), [(128, [64, 64]), (129, [65, 64, 33, 32]), (256, [128, 128, 64, 64])])
def test_two_undecidable_halves_end_the_search_of_a_few(size, asked):
    """8 groups of 16 are the few."""
    checker = Scripted(size, lambda group: "undecidable")
    assert checker._group_with_a_wrong_entry(np.arange(size), np.random.default_rng(0)) is None
    assert checker.asked == asked


def test_a_search_that_measures_all_entries_is_complete():
    """Eight entries are one group: nothing is left to agree."""
    theta = np.linspace(1, 2, 12)
    claimed = theta**2
    claimed[7] += 0.1
    result = check_gradient(cubes, theta, claimed, entries=4, rng=1)
    assert [entry.index for entry in result.wrong] == [7]
    block = result.blocks[0]
    assert (block.checked, block.along, block.is_complete) == (12, 0, True)


def test_random_directions_keep_the_shape_of_theta():
    theta = MANY.reshape(20, 20)

    def cubes_of_rows(theta):
        assert theta.shape == (20, 20)
        return cubes(theta)

    assert check_gradient(cubes_of_rows, theta, theta**2, entries=10, rng=0)


def test_noise_of_other_entries_is_measured_along_scales():
    theta, points = np.array([0.5, 1e6, -1e6, 0.0] * 10), []

    def f(t):
        points.append(t.copy())
        return 0.0

    checker = EntryChecker(Neighbourhood(f, theta), function_subject(f, theta, np.zeros(40)), 0.0)
    points.clear()
    checker.others(np.arange(10, 40), "richardson", 1, np.random.default_rng(0))
    ways = (points[7] - theta) / (7e-12 * np.maximum(1, np.abs(theta)))
    assert np.all(ways[:10] == 0)
    # The same in every process, up to the rounding of theta + h, eps theta in 7e-12 theta.
    assert np.abs(ways[10:] - np.random.default_rng(0).uniform(-1, 1, 30)).max() < 2 * EPS / 7e-12


def test_the_steps_along_many_entries_shrink_with_their_norm():
    """Six steps by tens; the first is the usual one by the root of the norm, where that is above 1."""
    steps = []

    def along(directions, step, noise):
        steps.append((step, np.linalg.norm(directions)))
        return measurement(value=0.0, rounding=1e9, roughness=1e12)

    subject = subject_of([1.0] * 400)
    near = SimpleNamespace(scale=lambda i: np.full(400, 3.0)[i], along=along)
    assert EntryChecker(near, subject, 0.0)._along(np.arange(400), np.random.default_rng(0))[0] == "undecidable"
    usual = np.finfo(float).eps ** (1 / 5)
    assert [step for step, _ in steps] == pytest.approx(
        [usual / norm**0.5 * 10.0**-k for k, (_, norm) in enumerate(steps)]
    )
    assert len(steps) == 6 and steps[0][1] > 30


@pytest.mark.parametrize(("off", "verdict"), [(0.25, "right"), (0.5, "doubtful")])
def test_a_slope_along_entries_may_be_off_by_what_it_allows(off, verdict):
    """By a quarter, of rounding alone; the claimed slope is 0 + 1 of the one entry that moves by 1/2 to 1."""
    near = SimpleNamespace(
        scale=lambda i: np.ones(1), along=lambda *a: measurement(value=off, rounding=0.25, doubt=1.0)
    )
    checker = EntryChecker(near, subject_of([0.0]), 0.0)
    assert checker._along(np.arange(1), np.random.default_rng(0))[0] == verdict


@pytest.mark.parametrize(("size", "most"), [(1, 2000), (20_000, 2000), (20_001, 1999), (754_717, 52), (10**9, 40)])
def test_a_large_gradient_has_fewer_entries_measured_singly(size, most):
    """As many as make 40 million numbers, but at least 40."""
    assert _most_entries(size) == most


# ---- along one direction ---------------------------------------------------------------------------------------------


def along_of(claimed, *found, scale=1.0, rounding=None):
    """Return the verdict along all but the last entry, when these are measured, one step after the other.

    A function among them gets the claimed slope along the direction, and the direction.
    """
    steps, subject = iter(found), subject_of(claimed)
    if rounding is not None:
        subject.rounding = np.array(rounding)

    def along(direction, step, noise):
        now = next(steps)
        return now(float(direction @ subject.claimed), direction) if callable(now) else now

    near = SimpleNamespace(scale=lambda i: np.full(len(claimed), scale)[i], along=along)
    return Checker(near, subject, 0.0)._along(np.arange(len(claimed) - 1), np.random.default_rng(0))


ROUGH = measurement(rounding=1e9, roughness=1e12)  # decides nothing


def test_entries_move_by_amounts_of_their_own_to_both_sides():
    """By half of their scale to all of it, so that no two equal errors cancel."""
    ways = []

    def keep(slope, direction):
        ways.append(direction)
        return ROUGH

    along_of(np.ones(401), *[keep] * 6, scale=4.0)
    size = np.abs(ways[0][:400])
    assert 2 <= size.min() < 2.1 and 3.9 < size.max() <= 4 and len(set(size.tolist())) == 400
    assert 150 < np.sum(ways[0] > 0) < 250 and ways[0][400] == 0


def test_a_single_entry_moves_by_the_usual_step():
    steps = []
    near = SimpleNamespace(scale=lambda i: np.ones(1), along=lambda d, step, noise: steps.append(step) or ROUGH)
    EntryChecker(near, subject_of([1.0]), 0.0)._along(np.arange(1), np.random.default_rng(0))
    assert steps == pytest.approx(EPS ** (1 / 5) * 10.0 ** -np.arange(6))


@pytest.mark.parametrize("rounding", [0.0, 1e-3])
def test_a_claimed_slope_along_entries_has_its_own_rounding(rounding):
    """32 eps of its terms, and four deviations of what the claims were rounded by; twice that is excluded."""
    claimed, ways = np.linspace(1, 2, 41), []

    def off(share):
        def found(slope, direction):
            terms = np.linalg.norm(direction * claimed), np.linalg.norm(direction * rounding)
            own = 32 * EPS * terms[0] + 4 * terms[1]
            ways.append((direction, own))
            return measurement(value=slope + share * own, doubt=1.0)

        return along_of(claimed, *[found] * 6, rounding=np.full(41, rounding))

    for share in -0.9, 0.9:
        verdict, excluded = off(share)
        direction, own = ways[-1]
        assert (verdict, excluded) == ("right", pytest.approx(2 * own / np.abs(direction[:40]).min(), rel=1e-12))
    assert off(-1.1) == off(1.1) == ("doubtful", math.inf)


@pytest.mark.parametrize(
    ("numbers", "verdict"),
    [
        (dict(value=0.125, rounding=0.125, roughness=0.125 + 2**-13), "right"),  # smooth enough for its size, just so
        (dict(value=0.125, rounding=0.125, roughness=0.125 + 2**-12), "undecidable"),
        (dict(rounding=0.125, truncation=0.375), "right"),  # four times the rounding is precise, just so
        (dict(rounding=0.125, truncation=0.375 + 2**-9), "undecidable"),
    ],
)
def test_right_slopes_along_entries_are_smooth_and_precise(numbers, verdict):
    found = measurement(**dict(value=0.0) | numbers)
    assert along_of([0.0, 0.0], *[found] * 6)[0] == verdict


def test_a_coarse_claim_does_not_blur_the_measurement():
    """Precise is what is measured, whatever the claims were rounded by."""

    def found(slope, direction):
        return measurement(value=slope, rounding=2**-20)

    assert along_of(np.ones(3), found, rounding=np.full(3, 0.5))[0] == "right"


@pytest.mark.parametrize(("share", "verdict"), [(0.99, "right"), (1.01, "undecidable")])
def test_a_precise_slope_is_one_for_the_largest_entry(share, verdict):
    """PRECISE of the largest entry, by the length of the direction."""

    def found(slope, direction):
        return measurement(value=slope, truncation=share * Checker.PRECISE * np.linalg.norm(direction) * 8.0)

    assert along_of([1.0] * 400 + [-8.0], *[found] * 6)[0] == verdict


@pytest.mark.parametrize(("apart", "verdict"), [(0.0, "wrong"), (2.0, "wrong"), (2 + 2**-9, "doubtful")])
def test_the_next_step_confirms_a_refutation_along_entries(apart, verdict):
    """The two slopes may be apart by what both may be off, which is 1 each."""
    steps = [measurement(value=16 + n % 2 * apart, rounding=1.0) for n in range(6)]
    assert along_of([0.0, 0.0], *steps)[0] == verdict


@pytest.mark.parametrize(("value", "verdict"), [(8.0, "doubtful"), (8 + 2**-9, "wrong")])
def test_an_error_along_entries_exceeds_eight_times_the_doubt(value, verdict):
    steps = [measurement(value=value, rounding=1.0, doubt=0.875)] * 6
    assert along_of([0.0, 0.0], *steps)[0] == verdict


@pytest.mark.parametrize(
    ("value", "rounding", "verdict"),
    [(2.0, 4.0, "doubtful"), (1.0, 1.0 + 2**-9, "doubtful"), (1.0, 1.0, "right"), (0.0, 0.5, "right")],
)
def test_a_less_exact_step_overrules_no_other(value, rounding, verdict):
    """Its agreement would exclude only errors that are larger than the one which the first step has shown."""
    first, later = (measurement(value=v, rounding=r, doubt=0.875) for v, r in ((2.0, 1.0), (value, rounding)))
    assert along_of([0.0, 0.0], first, *[later] * 5)[0] == verdict


@pytest.mark.parametrize(
    ("verdicts", "directions", "disagree"),
    [
        (["right"] * 2, 2, False),
        (["undecidable"] * 2, 2, False),
        (["doubtful", "doubtful", "right", "right"], 4, False),
        (["doubtful"] * 5 + ["wrong"], 6, True),
        (["doubtful"] * 12, 12, False),
    ],
)
def test_after_a_doubtful_direction_another_one_is_tried(verdicts, directions, disagree):
    given = iter(verdicts)
    checker = Scripted(40, lambda group: next(given, "right"))
    _, along = checker.others(np.arange(40), "richardson", 2, np.random.default_rng(0))
    assert along.disagree == disagree and checker.asked[:directions] == [40] * directions
    assert disagree or len(checker.asked) == directions


# ---- along several ---------------------------------------------------------------------------------------------------


def checker_of_many(f, claimed, noise=0.0):
    return EntryChecker(Neighbourhood(f, MANY), function_subject(f, MANY, claimed), noise)


def test_directions_that_agree_say_what_they_exclude():
    found, along = checker_of_many(cubes, MANY**2).others(np.arange(10, 400), "richardson", 2, np.random.default_rng(0))
    assert len(found.index) == 0 and 0 < along.excluded < 1e-6
    assert along == Along(390, along.excluded, False, True)


def test_a_direction_that_disagrees_leads_to_the_entry():
    checker = checker_of_many(cubes, squares_with_errors(57))
    found, along = checker.others(np.arange(10, 400), "richardson", 2, np.random.default_rng(0))
    assert found.index[found.verdict == "wrong"].tolist() == [57]
    assert along == Along(390 - len(found.index), math.inf, True, True)


def test_the_noise_is_the_larger_one_of_few_and_of_many():
    def noisy(theta):
        return float(np.sin(1e14 * theta.sum()))

    for f, noise, most in (noisy, 0.0, 4.0), (cubes, 1.0, 1.0):
        checker = checker_of_many(f, MANY**2, noise)
        checker.others(np.arange(400), "richardson", 1, np.random.default_rng(0))
        assert 0.1 < checker.noise <= most


def evaluations_of(claimed, **options):
    """Return how often the sum of cubes is evaluated in a check of so many entries, and the check."""
    calls = []

    def f(theta):
        calls.append(1)
        return cubes(theta)

    result = examine(function_subject(f, MANY, claimed), rng=0, entries=10, **options)
    return len(calls), result


def test_there_are_two_directions_unless_others_are_asked_for():
    """Six evaluations each, as the first step decides."""
    one, two, usual = (evaluations_of(MANY**2, **options)[0] for options in ({"directions": 1}, {"directions": 2}, {}))
    assert (two - one, usual) == (6, two)


def test_no_directions_is_a_number_of_them_and_less_is_not(capfd):
    block = evaluations_of(MANY**2, directions=0)[1].blocks[0]
    assert (block.checked, block.along, block.is_complete) == (10, 0, False)
    with pytest.raises(ValueError, match=r"^directions: expected"):
        evaluations_of(MANY**2, directions=-1)
    assert capfd.readouterr() == ("", "")  # nor does it report, unless asked


@pytest.mark.parametrize(("error", "seen"), [(0.1, (6, 0)), (0.0, (12, 388))])
def test_directions_are_left_out_for_what_is_known_to_be_wrong(error, seen):
    subject = function_subject(cubes, MANY, squares_with_errors(slice(None), error))
    block = examine(subject, enough=6, entries=12, rng=0).blocks[0]
    assert (block.checked, block.along) == seen


def test_five_hundred_entries_are_measured_together():
    """At six points each: what they need in memory does not grow with theta."""
    sizes = []

    class Squares:
        def __call__(self, theta):
            return float(theta @ theta)

        def moved(self, theta, indices, values):
            sizes.append(len(indices))
            return theta @ theta - theta[indices] ** 2 + values**2

    theta = np.linspace(1, 2, 501)
    assert check_gradient(Squares(), theta, 2 * theta)
    assert sum(sizes) == 6 * 501 and max(sizes) <= 6 * 500


def test_a_search_without_a_place_is_not_complete():
    checker = Scripted(256, lambda group: "undecidable")
    found, is_complete = checker._search(np.arange(256), "richardson", np.random.default_rng(0))
    assert len(found.index) == 0 and is_complete is False


def test_a_search_ends_where_nothing_wrong_is_found():
    """The directions disagree, and none of the group they lead to: they are not asked again."""
    checker = Scripted(256, lambda group: "wrong")
    found, is_complete = checker._search(np.arange(256), "richardson", np.random.default_rng(0))
    assert (len(found.index), is_complete, checker.asked) == (16, False, [128, 64, 32, 16])
