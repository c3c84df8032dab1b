"""Checks beside a gradient that is proven: of what differs from it alone."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from checked_gradients import MANY, cubes

from handmade.checking import entry_checker
from handmade.checking.entry_checker import EntryChecker, examine, examine_beside
from handmade.checking.neighbourhood import Neighbourhood
from handmade.checking.subjects import function_subject

EPS = np.finfo(float).eps
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
