"""Checks of more entries than are measured: along directions, by a search, beside a proof."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
from checked_gradients import MANY, Checker, cubes, measurement, squares_with_errors, subject_of

from handmade import check_gradient
from handmade.checking import entry_checker
from handmade.checking.check_table import Along
from handmade.checking.entry_checker import EntryChecker, _most_entries, examine, examine_beside
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


@pytest.mark.parametrize(("off", "verdict"), [(0.25, "right"), (0.5, "undecidable")])
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
    assert off(-1.1) == off(1.1) == ("undecidable", math.inf)


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


@pytest.mark.parametrize(("apart", "verdict"), [(0.0, "wrong"), (2.0, "wrong"), (2 + 2**-9, "undecidable")])
def test_the_next_step_confirms_a_refutation_along_entries(apart, verdict):
    """The two slopes may be apart by what both may be off, which is 1 each."""
    steps = [measurement(value=16 + n % 2 * apart, rounding=1.0) for n in range(6)]
    assert along_of([0.0, 0.0], *steps)[0] == verdict


@pytest.mark.parametrize(("value", "verdict"), [(8.0, "undecidable"), (8 + 2**-9, "wrong")])
def test_an_error_along_entries_exceeds_eight_times_the_doubt(value, verdict):
    steps = [measurement(value=value, rounding=1.0, doubt=0.875)] * 6
    assert along_of([0.0, 0.0], *steps)[0] == verdict


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


# ---- beside a gradient that is proven --------------------------------------------------------------------------------

ONES = np.ones(64)


def total(theta):
    return float(theta.sum())


def beside(f, theta, truth, claimed, enough=4, rounding=0.0, entries=10, **proof):
    """Return a check beside a proof, of which a row is replaced, and the proof."""
    subject = function_subject(f, theta, truth)
    proven = examine(subject, entries=entries, rng=0)
    proven = dataclasses.replace(proven, blocks=[dataclasses.replace(proven.blocks[0], **proof)])
    subject = dataclasses.replace(subject, claimed=claimed, rounding=np.full(theta.size, rounding))
    return examine_beside(subject, truth, proven, enough), proven


def seen_of(result):
    block = result.blocks[0]
    return block.checked, block.along, block.is_complete


def test_beside_a_proof_only_what_differs_is_measured():
    """The farthest first; the entries that the proof has measured are known, and the others are as good as proven."""
    errors = np.zeros(400)
    errors[[3, 57]] = 0.1, -0.2
    result, proven = beside(cubes, MANY, MANY**2, MANY**2 + errors)
    assert result.entries.index.tolist() == [*proven.entries.index.tolist(), 57, 3]
    assert [entry.index for entry in result.wrong] == [57, 3]
    assert seen_of(result) == (12, 388, True)
    assert result.blocks[0].excluded == proven.blocks[0].excluded
    assert (result.value, result.noise) == (cubes(MANY), proven.noise)


def test_equal_distances_are_measured_in_order():
    claimed = ONES + np.tile([0.25, 0.5], 32)
    result, _ = beside(total, ONES, ONES, claimed, enough=1000)
    assert result.entries.index.tolist() == [*range(1, 64, 2), *range(0, 64, 2)]
    assert seen_of(result) == (64, 0, True)


def test_an_entry_as_far_off_as_rounding_is_known():
    """It keeps its measurement, and is allowed its rounding on top."""
    result, proven = beside(total, ONES, ONES, ONES + 0.25, rounding=0.25)
    assert seen_of(result) == (10, 54, True) and result
    assert result.entries.claimed.tolist() == [1.25] * 10
    assert result.entries.measured.tolist() == proven.entries.measured.tolist()
    assert result.entries.allowed.tolist() == (proven.entries.allowed + 0.25).tolist()


@pytest.mark.parametrize(("enough", "checked"), [(1, 8), (8, 8), (9, 24), (24, 24), (25, 56), (57, 64)])
def test_wrong_entries_are_measured_in_growing_parts(enough, checked):
    """8, 16, 32 and so on, until enough are wrong; then the others are left, and nobody has looked at them."""
    result, _ = beside(total, ONES, ONES, ONES + 0.25 * (2 + np.arange(64) % 2), enough=enough)
    assert seen_of(result) == (checked, 64 - checked, checked == 64)
    assert result.blocks[0].wrong == checked


def test_a_proof_that_could_not_decide_is_not_complete():
    """Unless it has measured every entry, or they all differ and are measured now."""
    one = MANY**2 + 0.1 * (np.arange(400) == 57)
    assert seen_of(beside(cubes, MANY, MANY**2, one, excluded=math.inf)[0]) == (11, 389, False)
    assert seen_of(beside(cubes, MANY, MANY**2, one, entries=400)[0]) == (400, 0, True)
    assert seen_of(beside(total, ONES, ONES, ONES + 0.25, enough=1000, excluded=math.inf)[0]) == (64, 0, True)


@pytest.fixture
def few_singly(monkeypatch):
    """Let eight entries be measured one by one."""
    monkeypatch.setattr(entry_checker, "MOST", 8)


NEAR = MANY**2 * (1 + 8 * EPS)  # what no measurement can tell from the truth


@pytest.mark.parametrize("excluded", [0.0, 1.0])
def test_directions_look_at_the_rest_of_what_differs(few_singly, excluded):
    """The error that they exclude is at least the one that the proof excludes, of the entries that rest on it."""
    result, _ = beside(cubes, MANY, MANY**2, NEAR, excluded=excluded)
    own = result.blocks[0].excluded
    assert result and seen_of(result) == (8, 392, True) and 0 < own < 1e-6
    again, _ = beside(cubes, MANY, MANY**2, NEAR, excluded=excluded)
    assert again.blocks[0].excluded == own
    half = np.where(np.arange(400) < 200, NEAR, MANY**2)
    result, proven = beside(cubes, MANY, MANY**2, half, excluded=excluded)
    known = int(np.sum(proven.entries.index >= 200))
    assert result and seen_of(result) == (8 + known, 392 - known, True)
    assert result.blocks[0].excluded == 1 if excluded else 0 < result.blocks[0].excluded < 1e-6


def kinks_and_cubes(theta):
    return float(np.abs(theta[:40]).sum() + (theta[40:] ** 3).sum() / 3)


KINKED = np.concatenate((np.zeros(40), MANY[40:]))
SLOPES = np.concatenate((np.zeros(40), MANY[40:] ** 2))


def at_kinks(count, error=0.0):
    """Return a gradient that differs at kinks, where it is as right, and elsewhere."""
    claimed = SLOPES * (1 + 8 * EPS)
    claimed[:count] = 0.5
    claimed[300] += error
    return claimed


def test_a_wrong_entry_behind_eight_kinks_is_found(few_singly):
    """The eight are farther off, and right: anything between the two slopes is."""
    result, proven = beside(kinks_and_cubes, KINKED, SLOPES, at_kinks(8, 0.1), excluded=1e-9)
    assert [entry.index for entry in result.wrong] == [300]
    block = result.blocks[0]
    known = int(np.sum((proven.entries.index >= 8) & (proven.entries.index < 40)))
    assert block.checked + block.along == 400 and block.checked <= 8 + known + EntryChecker.GROUP
    assert (block.excluded, block.is_complete) == (math.inf, True)


def test_kinks_along_the_directions_leave_the_rest_open(few_singly):
    result, _ = beside(kinks_and_cubes, KINKED, SLOPES, at_kinks(40), excluded=1e-9)
    assert result and seen_of(result) == (8, 392, False)
    assert result.blocks[0].excluded == math.inf


def test_nothing_is_searched_for_after_enough_are_wrong(few_singly):
    """Some of the eight are wrong, and some are right at kinks."""
    claimed = at_kinks(4)
    claimed[300:310] += 0.1
    result, proven = beside(kinks_and_cubes, KINKED, SLOPES, claimed, enough=1)
    known = int(np.sum((proven.entries.index >= 4) & (proven.entries.index < 40)))
    assert (len(result.entries.index), len(result.wrong)) == (known + 8, 4)


@pytest.mark.parametrize("check", [examine, lambda subject: examine_beside(subject, ONES, examine(proven_total()), 4)])
def test_what_lies_between_the_sides_of_kinks_is_open(check):
    """A network's choice of sides may explain it."""
    sides = ONES, 2 * ONES
    result = check(dataclasses.replace(proven_total(), claimed=1.5 * ONES, one_sided=sides))
    assert not result.wrong and len(result.undecidable) > 0


def proven_total():
    return function_subject(total, ONES, ONES)


def test_two_directions_from_the_seed_0_look_at_the_rest(few_singly):
    """The same in every process: what they exclude is no matter of luck."""
    calls = []

    def counted(theta):
        calls.append(1)
        return cubes(theta)

    subject = function_subject(counted, MANY, NEAR)
    proven = examine(dataclasses.replace(subject, claimed=MANY**2), entries=10, rng=0)
    calls.clear()
    result, beside_it = examine_beside(subject, MANY**2, proven, 4), len(calls)
    checker = EntryChecker(Neighbourhood(counted, MANY), subject, proven.noise)
    calls.clear()
    left = np.argsort(-np.abs(NEAR - MANY**2), kind="stable")[8:]
    _, along = checker.others(left, "richardson", 2, np.random.default_rng(0))
    assert result.blocks[0].excluded == along.excluded
    assert beside_it == 2 + 8 * 6 + len(calls)  # at theta, and six for each entry
