"""A gradient beside the true one: what counts as equal, in numbers, and where an entry is not decided."""

from __future__ import annotations

import numpy as np
import pytest
from gradient_matches import (
    BLOCKS,
    BY_NAME,
    EPS,
    FACTS,
    SIZE,
    TRUE,
    changed,
    match_of,
    names,
    parts,
)

from handmade.checking.causes import Block, tolerance
from handmade.checking.transforms import GLOBAL_TRANSFORMS

RNG = np.random.default_rng(6)


# ---- equal or not --------------------------------------------------------------------------------------------------


def test_almost_half_of_the_digits_have_to_agree():
    assert tolerance(False) == EPS**0.45
    assert tolerance(True) == float(np.finfo(np.float32).eps) ** 0.45
    assert match_of(TRUE).relative == tolerance(False) and match_of(TRUE, single=True).relative == tolerance(True)


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize(("within", "expected"), [(0.9, []), (1.1, ["b0"])])
def test_differences_are_relative_to_the_largest_entry(single, within, expected):
    claimed, b0 = TRUE.copy(), BY_NAME["b0"].slice
    claimed[b0] += [within * tolerance(single) * np.abs(TRUE[b0]).max(), 0, 0]
    match = match_of(claimed, single=single)
    assert [block.name for block in match.wrong_blocks(TRUE)] == expected
    assert match.residual(TRUE) == pytest.approx(within * tolerance(single), rel=1e-2)


@pytest.mark.parametrize(("size", "wrong"), [(0.5, False), (2, True)])
def test_tiny_parameters_have_a_scale_of_a_thousandth(size, wrong):
    true = TRUE.copy()
    true[BY_NAME["b0"].slice] = 0
    claimed = true.copy()
    claimed[BY_NAME["b0"].start] = size * tolerance(False) * 1e-3 * np.abs(TRUE).max()
    assert bool(match_of(claimed).wrong_blocks(true)) == wrong


def test_of_nothing_at_all_a_difference_is_absolute():
    claimed = np.zeros(SIZE)
    assert match_of(claimed).residual(claimed) == 0
    assert match_of(claimed).wrong_blocks(claimed) == []


def test_what_an_entry_is_allowed_to_be_off_is_no_difference():
    claimed, allowed = TRUE + 0.25, np.full(SIZE, 0.25 + 1e-12)
    assert match_of(claimed, allowed=allowed).residual(TRUE) == 0
    assert match_of(claimed, allowed=0.5 * allowed).residual(TRUE) > 0.05
    allowed[3] = np.inf
    assert match_of(claimed, allowed=allowed).decided.tolist() == [i != 3 for i in range(SIZE)]


def test_wrong_parameters_are_listed_in_backward_order():
    claimed = -TRUE
    assert [block.name for block in match_of(claimed).wrong_blocks(TRUE)] == ["W2", "b2", "W1", "b1", "W0", "b0"]
    assert match_of(claimed).wrong_blocks(TRUE, TRUE) == []
    assert [block.name for block in match_of(claimed).wrong_blocks(TRUE, changed(b1=2))] == ["b1"]


def test_what_is_not_a_number_is_never_right():
    assert BY_NAME["b1"] in match_of(changed(b1=np.nan)).wrong_blocks(TRUE)


@pytest.mark.parametrize("fitted", [0, 1, 2])
def test_chance_falls_with_each_wrong_entry(fitted):
    """Four entries are wrong, in two parameters, a fifth is as far off as it may be; three comparisons were made."""
    true, claimed, W1 = TRUE.copy(), changed(b0=2), BY_NAME["W1"]
    true[W1.slice], claimed[W1.slice] = [4, 0, 1, 1, 1, 1], [4, 4 * tolerance(False), 2, 1, 1, 1]
    match = match_of(claimed)
    for _ in range(3):
        match.residual(true)
    assert match.chance(true, fitted) == 3 * tolerance(False) ** (4 - fitted)


@pytest.mark.parametrize("swap", [False, True])
def test_wrong_entries_are_relative_to_the_larger_gradient(swap):
    true, claimed = np.array([8, 0, 1.0]), np.array([0, 4 * tolerance(False), 1.0])
    true, claimed = (claimed, true) if swap else (true, claimed)
    match = match_of(claimed, blocks=[Block("theta", 0, (3,), 1)], theta=true)
    match.residual(true)
    assert match.chance(true, 0) == tolerance(False)


def test_as_far_off_as_it_may_be_is_not_wrong():
    block = [Block("theta", 0, (2,), 1)]
    true, claimed = np.array([4.0, 0.0]), np.array([4.0, 4 * tolerance(False)])
    assert match_of(claimed, blocks=block).wrong_blocks(true) == []
    assert match_of(2 * claimed, blocks=block).wrong_blocks(true) == block


def test_chance_with_many_entries_is_not_zero():
    block = [Block("theta", 0, (60,), 1)]
    match = match_of(np.ones(60), blocks=block, theta=np.ones(60))
    match.residual(-np.ones(60))
    assert match.chance(-np.ones(60), 0) == tolerance(False) ** 40 > 0


def test_what_an_entry_is_allowed_to_be_off_is_no_test():
    claimed, allowed = changed(b0=2, b1=2), np.zeros(SIZE)
    allowed[BY_NAME["b0"].slice] = 10
    match = match_of(claimed, allowed=allowed)
    match.residual(TRUE)
    assert match.chance(TRUE, 0) == tolerance(False) ** 2


# ---- in numbers ----------------------------------------------------------------------------------------------------


def test_how_a_wrong_parameter_compares_is_told_in_numbers():
    claimed = changed(W0=-3, b0=0, b1=[3, -4], W2=lambda t: np.eye(2))
    true = TRUE.copy()
    true[BY_NAME["b1"].slice], claimed[BY_NAME["b1"].slice] = [1, 1], [3, -4]
    true[BY_NAME["W2"].slice], claimed[BY_NAME["W2"].slice] = [1, 2, 3, 4], [-4, 3, -2, 1]
    length = np.linalg.norm(TRUE[BY_NAME["b0"].slice])
    assert match_of(claimed).ratios(true) == {
        "W2": "1 times as long as the true one, cosine 0.0000",
        "b1": "3.54 times as long as the true one, cosine -0.1414",
        "W0": "-3 times the true gradient",
        "b0": f"of length 0, the true one {length:.3g}",
    }


def test_the_parameters_to_compare_may_be_chosen():
    match = match_of(changed(W0=-3, b1=2))
    assert list(match.ratios(TRUE)) == ["b1", "W0"]
    assert match.ratios(TRUE, ["W0", "b2"]) == {"W0": "-3 times the true gradient", "b2": "1 times the true gradient"}


def test_where_something_is_not_finite_that_is_all_that_is_told():
    claimed = changed(W0=np.inf, b0=3)
    claimed[0] = np.nan
    claimed[BY_NAME["b2"].start + 1] = np.nan
    match = match_of(claimed)
    assert match.not_finite_blocks() == ["b2", "W0"]
    assert match.ratios(TRUE) == {"b2": "not finite", "W0": "not finite"}
    part = match.not_finite()
    assert (part.name, part.where, part.fitted) == ("not finite", "b2, W0", 0)
    assert part.evidence == f"10 of {SIZE} entries are not finite, the first is nan"
    assert "logarithm of 0" in part.hint and part.hint == part.hint.lower()


def test_an_open_number_fits_where_it_first_matters():
    """Below that, in the layers nearer the input, it may enter more than once: W0 does not count."""
    direction = np.zeros(SIZE)
    direction[BY_NAME["b1"].slice], direction[BY_NAME["W0"].slice] = [3, 4], 1
    claimed = TRUE + 0.25 * direction
    claimed[BY_NAME["W0"].slice] += 5
    claimed[BY_NAME["b1"].slice] += [4, -3]  # across: changes nothing
    assert match_of(claimed).fitted_scale(TRUE, TRUE + direction) == pytest.approx(0.25, rel=1e-14)


def test_a_number_that_changes_nothing_or_is_not_finite_is_zero():
    assert match_of(TRUE).fitted_scale(TRUE, TRUE) == 0
    assert match_of(TRUE).fitted_scale(TRUE, changed(b0=np.inf)) == 0
    assert match_of(TRUE).fitted_scale(changed(b0=np.nan), TRUE) == 0


# ---- what is not known ---------------------------------------------------------------------------------------------


def test_entries_that_are_not_decided_are_not_compared():
    allowed, claimed = np.zeros(SIZE), -TRUE
    at = BY_NAME["W0"].start
    allowed[[at, at + 4]] = np.inf
    claimed[[at, at + 4]] = 77
    assert names(claimed, allowed=allowed) == ["sign"]
    allowed[BY_NAME["b1"].slice], claimed[BY_NAME["b1"].slice] = np.inf, 77
    ((found, residual),) = match_of(claimed, allowed=allowed).explanations(TRUE, 1)
    assert [(part.name, part.where, residual) for part in found] == [("sign", "W2, b2, W1, W0, b0", 0)]


U, V = [Block("U", 0, (2,), 1)], Block("V", 2, (2,), 2)


def of_two(true, claimed, allowed=(0, 0)):
    """Return the explanation of two numbers where the two that follow have a wrong sign."""
    claimed, true = np.array([*claimed, -1, 2]), np.array([*true, 1, -2])
    match = match_of(claimed, blocks=[*U, V], theta=np.ones(4), allowed=np.array([*allowed, 0, 0]))
    return [[(part.name, part.where) for part in found] for found, _ in match.explanations(true, 1)]


@pytest.mark.parametrize("size", [1, 2.0**10])
def test_a_parameter_that_is_as_far_off_as_it_may_be_is_right(size):
    off = size * 4 * tolerance(False)
    assert of_two([size * 4, 0], [size * 4, off]) == [[("sign", "V")]]
    assert of_two([size * 4, 0], [size * 4, 2 * off]) == []
    assert of_two([size * 4, 0], [size * 4, off], allowed=[size * 4, 0]) == [[("sign", "V")]]  # and no multiple, either
    assert of_two([0, 0], [0, 2], allowed=[0, 2]) == [[("sign", "V")]]


@pytest.mark.parametrize("swap", [False, True])
def test_a_difference_is_relative_to_the_larger_of_the_two(swap):
    one, other = (TRUE, 0 * TRUE) if swap else (0 * TRUE, TRUE)
    assert match_of(one).residual(other) == 1


@pytest.mark.parametrize(("factor", "name"), [(2, "factor 2"), (-4, "constant factor"), (0.5, "factor 1/2")])
def test_the_allowed_error_grows_with_the_factor(factor, name):
    def said(off, allowed):
        match = match_of(np.array([4 * factor, off]), blocks=U, theta=np.ones(2), allowed=np.array([0, allowed]))
        return [found[0].name for found, _ in match.explanations(np.array([4.0, 0.0]), 1) if found[0].where == "U"]

    one, times = 4 * factor * tolerance(False), max(abs(factor), 1)
    assert said(one, 0) == [name] and said(1.01 * one, 0) == []
    assert said(times * 1e-3, 1e-3) == [name] and said(times * 1.1e-3, 1e-3) == []


def test_a_factor_next_to_one_allows_no_more_than_it_is():
    match = match_of(np.array([6, 1.7e-3]), blocks=U, theta=np.zeros(2), allowed=np.array([0, 1e-3]))
    assert list(match.explanations(np.array([4.0, 0.0]), 1)) == []


@pytest.mark.parametrize(("large", "small", "found"), [(2e4, 1.0, [[("constant factor", "V")]]), (1.0, 2e4, [])])
def test_small_differences_count_beside_the_claim_alone(large, small, found):
    """A candidate that is larger than the claim excuses nothing: beside one that is blown up, anything would be 0."""
    true, claimed = np.array([0, 0, small, small]), np.array([0, 1e-6, large, large])
    match = match_of(claimed, blocks=[*U, V], theta=np.zeros(4))
    assert [[(part.name, part.where) for part in parts] for parts, _ in match.explanations(true, 1)] == found


def test_the_residual_is_the_largest_difference():
    one = tolerance(False)
    assert list(match_of(np.array([4, 4 * one]), blocks=U).explanations(np.array([4.0, 0]), 1)) == [([], one)]
    match = match_of(np.array([4, 2 * one, -4, one]), blocks=[*U, V], theta=np.zeros(4))
    assert [residual for _, residual in match.explanations(np.array([4.0, 0, 4, 0]), 1)] == [one / 2]
    match = match_of(np.array([4, 4 * one]), blocks=U, theta=np.zeros(2))
    found = {
        (found[0].name, found[0].where): residual for found, residual in match.explanations(np.array([-4.0, 0]), 1)
    }
    assert found["without sign", "every parameter"] == one


def test_comparisons_are_counted():
    """One to see that they differ, one of each parameter, one of each transform of the whole; no penalty on theta 0."""
    match = match_of(-TRUE, theta=np.zeros(SIZE))
    assert len(list(match.explanations(TRUE, 1))) == 1
    assert match.compared == 1 + len(BLOCKS) + len(GLOBAL_TRANSFORMS)


def test_a_multiple_of_what_is_not_known_is_nothing():
    allowed = np.full(SIZE, 1e-3)
    true = changed(b0=1e-4)
    claimed = true.copy()
    claimed[BY_NAME["b0"].slice] = 5 * true[BY_NAME["b0"].slice] + 1e-2
    assert parts(claimed, true=true, allowed=allowed) == []


def test_a_factor_multiplies_what_is_allowed():
    claimed = 16 * TRUE * (1 + 3e-7 * RNG.choice([-1, 1], SIZE))
    assert names(claimed, facts=FACTS, allowed=7e-7 * np.abs(TRUE)) == ["times N"]
    assert names(claimed, facts=FACTS, allowed=1e-7 * np.abs(TRUE)) == []
