"""Transforms of one gradient into another: each is named where it was made, and none where none was."""

from __future__ import annotations

import re

import numpy as np
import pytest
from gradient_matches import (
    BLOCKS,
    BY_NAME,
    FACTS,
    SIZE,
    THETA,
    TRUE,
    changed,
    match_of,
    names,
    parts,
)

from handmade.checking.causes import Block, Cause, tolerance
from handmade.checking.transforms import BLOCK_TRANSFORMS, GLOBAL_TRANSFORMS

RNG = np.random.default_rng(6)


# ---- equal already, or not to be turned ----------------------------------------------------------------------------


def test_what_is_equal_needs_nothing():
    assert list(match_of(TRUE).explanations(TRUE, 2)) == [([], 0.0)]
    assert list(match_of(TRUE).explanations(TRUE, 0)) == [([], 0.0)]


def test_without_a_further_mistake_what_differs_is_not_explained():
    assert parts(-TRUE, 0) == []


def test_an_infinite_candidate_explains_nothing():
    with np.errstate(all="ignore"):
        assert parts(TRUE, 2, true=changed(b0=np.inf)) == []


def test_noise_has_no_explanation():
    assert parts(TRUE + RNG.normal(size=SIZE), 2) == []


# ---- forms ---------------------------------------------------------------------------------------------------------

SQUARE = [("W0", name) for name in BLOCK_TRANSFORMS]
FLAT = [("b0", name) for name in BLOCK_TRANSFORMS if name not in ("transposed", "columns in reverse")]
OBLONG = [("W1", name) for name in BLOCK_TRANSFORMS if name != "transposed"]


@pytest.mark.parametrize(("block", "name"), SQUARE + FLAT + OBLONG)
def test_each_form_of_a_parameter_is_named(block, name):
    hint, form = BLOCK_TRANSFORMS[name]
    expected = Cause(name, block, hint, f"{name}: equal in {block}", 0)
    assert [expected] in parts(changed(**{block: form}))


def test_a_form_and_a_factor_of_one_parameter_are_two_mistakes():
    claimed = changed(W0=lambda t: 5 * t.T)
    assert names(claimed, 1) == []
    assert names(claimed, 2) == ["transposed and constant factor"]


def test_forms_of_several_parameters_are_one_part_in_all_of_them():
    claimed = changed(b0=lambda t: t[::-1], b1=lambda t: t[::-1], b2=lambda t: t[::-1])
    assert [[(part.name, part.where) for part in found] for found in parts(claimed)] == [
        [("rows in reverse", "all biases")]
    ]


def test_the_gradient_of_another_parameter_has_its_shape():
    claimed = changed(b1=lambda t: TRUE[BY_NAME["b2"].slice])
    hint = "two parameters are mistaken for each other"
    name = "gradient of another parameter"
    assert parts(claimed) == [[Cause(name, "b1", hint, f"{name}: equal to that of b2 in b1", 0)]]
    swapped = changed(b1=lambda t: TRUE[BY_NAME["b2"].slice], b2=lambda t: TRUE[BY_NAME["b1"].slice])
    assert names(swapped) == [name]


@pytest.mark.parametrize("name", GLOBAL_TRANSFORMS)
def test_each_transform_of_the_whole_is_named(name):
    hint, whole = GLOBAL_TRANSFORMS[name]
    claimed = 10 * TRUE
    claimed = np.clip(claimed, -15, 15) if name == "clipped by value" else whole(claimed, claimed).astype(float)
    expected = Cause(name, "every parameter", hint, f"the true gradient {name} is the claimed one", 1)
    assert [expected] in parts(claimed, true=10 * TRUE)


def test_the_parts_of_a_name_mean_what_they_say():
    assert names(np.round(TRUE, 4)) == ["rounded to four decimals"]
    assert names(10 * TRUE // 1, true=10 * TRUE) == []
    assert names(np.trunc(10 * TRUE), true=10 * TRUE) == ["truncated to integers"]


def test_hints_are_words_of_a_sentence():
    for hint, _ in [*BLOCK_TRANSFORMS.values(), *GLOBAL_TRANSFORMS.values()]:
        assert re.fullmatch("[a-z ]+", hint)


# ---- penalties -----------------------------------------------------------------------------------------------------

IS_WEIGHT = np.concatenate([np.full(block.size, block.is_weight) for block in BLOCKS])
SCOPES = {"every parameter": np.ones(SIZE), "the weights": IS_WEIGHT, "the biases": ~IS_WEIGHT} | {
    block.name: np.isin(np.arange(SIZE), np.arange(SIZE)[block.slice]) for block in BLOCKS
}
PENALTIES = {
    "theta": (THETA, "L2 term added or too large", "L2 term missing or too small"),
    "sign(theta)": (np.sign(THETA), "L1 term added or too large", "L1 term missing or too small"),
    "(sign(theta) - theta)": (np.sign(THETA) - THETA, "L1 term for L2 term", "L2 term for L1 term"),
}


@pytest.mark.parametrize("amount", [0.01, -0.02])
@pytest.mark.parametrize("formula", PENALTIES)
@pytest.mark.parametrize("where", SCOPES)
def test_a_multiple_of_theta_or_its_sign_is_a_penalty(where, formula, amount):
    penalty, more, less = PENALTIES[formula]
    hint = f"the penalty on {where} is not the one that the loss has"
    message = f"claimed - true = {amount:.6g} {formula} in {where}"
    expected = Cause(more if amount > 0 else less, where, hint, message, 1)
    assert parts(TRUE + amount * penalty * SCOPES[where]) == [[expected]]


def test_a_penalty_beside_a_factor_is_two_mistakes():
    claimed = 16 * TRUE + 0.01 * THETA * IS_WEIGHT
    assert names(claimed, 1, facts=FACTS) == []
    (found,) = parts(claimed, 2, facts=FACTS)
    assert [(part.name, part.where) for part in found] == [
        ("times N", "every parameter"), ("L2 term added or too large", "the weights"),
    ]  # fmt: skip
    assert found[1].evidence == "claimed - true = 0.01 theta in the weights"


def test_a_factor_beside_a_penalty_is_named_unless_1():
    assert names(2 * TRUE + 0.01 * THETA, 2) == ["factor 2 and L2 term added or too large"]
    assert names(TRUE + 0.01 * THETA, 2) == ["L2 term added or too large"]


@pytest.mark.parametrize(("size", "expected"), [(1, []), (2, ["constant factor and L2 term added or too large"])])
def test_a_factor_no_larger_than_the_tolerance_is_none(size, expected):
    true, theta = np.array([1.0, 1, 0, 0]), np.array([0.0, 0, 1, 2])
    claimed = size * tolerance(False) * true + theta
    match = match_of(claimed, blocks=[Block("theta", 0, (4,), 1)], theta=theta)
    assert [" and ".join(part.name for part in found) for found, _ in match.explanations(true, 2)] == expected


def test_a_penalty_for_the_gradient_is_no_factor():
    assert names(0.5 * THETA, 2) == []


def test_where_there_are_only_weights_they_are_every_parameter():
    block = [Block("W", 0, (3, 2), 1)]
    match = match_of(TRUE[:6] + 0.01 * THETA[:6], blocks=block, theta=THETA[:6])
    assert [found[0].where for found, _ in match.explanations(TRUE[:6], 1)] == ["every parameter"]


def test_a_penalty_of_one_parameter_of_two_is_found():
    blocks = [Block("U", 0, (2, 3), 1), Block("V", 6, (3, 2), 2)]
    match = match_of(TRUE[:12] + 0.01 * THETA[:12] * (np.arange(12) < 6), blocks=blocks, theta=THETA[:12])
    assert [found[0].where for found, _ in match.explanations(TRUE[:12], 1)] == ["U"]


def test_what_a_penalty_leaves_may_be_as_large_as_the_tolerance():
    true, claimed = np.array([4.0, 0, 0]), np.array([4, 4 * tolerance(False), 1])
    match = match_of(claimed, blocks=[Block("theta", 0, (3,), 1)], theta=np.array([0.0, 0, 2]))
    assert "L2 term added or too large" in [found[0].name for found, _ in match.explanations(true, 1)]


def test_a_penalty_shows_in_decided_entries_alone():
    allowed, claimed = np.zeros(SIZE), TRUE + 0.01 * THETA
    allowed[:5], claimed[:5] = np.inf, 77
    assert names(claimed, allowed=allowed) == ["L2 term added or too large"]
    claimed[5:] += 15 * TRUE[5:]
    assert names(claimed, 2, facts=FACTS, allowed=allowed) == ["times N and L2 term added or too large"]
    theta = np.where(np.arange(SIZE) < 5, THETA, 0)
    assert parts(changed(b1=[3, 4]), allowed=allowed, theta=theta) == []
