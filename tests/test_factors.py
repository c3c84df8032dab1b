"""Factors between two gradients: constants, clipping, normalization, powers from layer to layer."""

from __future__ import annotations

import numpy as np
import pytest
from gradient_matches import (
    BLOCKS,
    BY_NAME,
    FACTS,
    SHAPES,
    SIZE,
    THETA,
    TRUE,
    changed,
    match_of,
    names,
    parts,
)

from handmade.checking.causes import Block, Cause, tolerance

RNG = np.random.default_rng(6)


# ---- factors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "where"),
    [
        (SHAPES, "every parameter"),
        (["W0", "W1", "W2"], "all weights"),
        (["b0", "b1", "b2"], "all biases"),
        (["W0", "b0"], "W0 and all below"),
        (["W0", "b0", "W1", "b1"], "W1 and all below"),
        (["W1", "b1"], "W1, b1"),
        (["W2", "b0"], "W2, b0"),
        (["b2"], "b2"),
    ],
)
def test_where_a_factor_is(chosen, where):
    hint = "a constant factor is too much or missing"
    expected = Cause("constant factor", where, hint, f"claimed = 3 true in {where}", 1)
    assert parts(changed(**dict.fromkeys(chosen, 3))) == [[expected]]


def test_one_parameter_alone_is_called_by_its_name():
    for block in Block("theta", 0, (2,), 1), Block("W", 0, (1, 2), 1):
        match = match_of(np.array([3.0, 6.0]), blocks=[block], theta=np.ones(2))
        ((found, _),) = match.explanations(np.array([1.0, 2.0]), 1)
        assert found[0].where == block.name


@pytest.mark.parametrize("change", [3, lambda t: t[::-1]], ids=["factor", "form"])
@pytest.mark.parametrize(("chosen", "at"), [(["b1", "b2"], ("b2", "b1")), (SHAPES, ())])
def test_a_cause_says_at_which_parameters_it_is(change, chosen, at):
    """The ones nearest the output first; none where it is all of them."""
    ((cause,),) = parts(changed(**dict.fromkeys(chosen, change)))
    assert cause.at == at


def test_the_widths_of_a_layer_are_factors():
    blocks = [Block("W", 0, (5, 7), 1), Block("V", 35, (3, 5), 2)]
    true = RNG.uniform(1, 2, 50)

    def first_name(at, factor, facts=(("outputs", 11),)):
        claimed = true.copy()
        claimed[at] *= factor
        match = match_of(claimed, blocks=blocks, theta=np.zeros(50), facts=dict(facts))
        return next(found[0].name for found, _ in match.explanations(true, 1))

    W, V = blocks[0].slice, blocks[1].slice
    assert [first_name(W, k) for k in (7, 1 / 7, 5, 1 / 5)] == [
        *("times inputs", "divided by inputs", "times units", "divided by units")
    ]
    assert [first_name(V, k) for k in (5, 1 / 5)] == ["times inputs", "divided by inputs"]
    assert first_name(V, 3) == "constant factor"  # the units of the last layer are the outputs, a fact
    assert first_name(W, 7, facts=()) == "constant factor"  # of a function, nothing says what a matrix is


LARGE = "a sum where there should be a mean, or a factor too many"
LITTLE = "a mean is taken once too often, or over too much"


@pytest.mark.parametrize(
    ("factor", "name", "hint"),
    [
        (-1, "sign", "it points the other way"),
        (2, "factor 2", "a small constant is too much"),
        (0.5, "factor 1/2", "a small constant is missing"),
        (16, "times N", LARGE),
        (1 / 16, "divided by N", LITTLE),
        (3, "times outputs", LARGE),
        (1 / 3, "divided by outputs", LITTLE),
        (48, "times N outputs", LARGE),
        (1 / 48, "divided by N outputs", LITTLE),
        (0.3, "times learning rate", LARGE),
        (-16, "sign and times N", f"it points the other way; {LARGE}"),
        (-0.5, "sign and factor 1/2", "it points the other way; a small constant is missing"),
    ],
)
def test_a_known_factor_has_one_name(factor, name, hint):
    message = f"claimed = {factor:.9g} true in every parameter"
    assert parts(factor * TRUE, facts=FACTS) == [[Cause(name, "every parameter", hint, message, 0)]]


def test_a_factor_made_of_two_known_numbers_may_also_be_another():
    found = parts(8 * TRUE, facts={"N": 16})
    assert [(part.name, part.fitted) for (part,) in found] == [("factor 1/2 and times N", 1), ("constant factor", 1)]
    hints = [part.hint for (part,) in parts(32 * TRUE, facts={"N": 16})]
    assert hints[0] == f"a small constant is too much; {LARGE}"
    assert names(9 * TRUE, facts={"A": 3, "B": 3}) == ["times A and times B", "constant factor"]
    assert parts(9 * TRUE, facts={"A": 3, "B": 3})[0][0].hint == LARGE  # once


@pytest.mark.parametrize("fact", [0, 1])
def test_facts_of_zero_or_one_name_no_factor(fact):
    assert names(3 * TRUE, facts={"N": fact, "outputs": 3}) == ["times outputs", *(["times N outputs"] if fact else [])]


@pytest.mark.parametrize(("off", "known"), [(5, True), (20, False)])
def test_a_factor_is_known_within_ten_tolerances(off, known):
    claimed = (2 + 2 * off * tolerance(False)) * TRUE
    assert ("factor 2" in names(claimed)) == known


@pytest.mark.parametrize("factor", [1e6, -1e3, 1, -1e-3, 1e-6])
@pytest.mark.parametrize(("noise", "expected"), [(1e-2, []), (1e-5, []), (1e-9, ["constant factor"])])
def test_multiples_have_the_tolerance_of_equals(factor, noise, expected):
    """Relative to the claimed entries, which are as large as the factor makes them."""
    claimed = 3 * factor * TRUE * (1 + noise * RNG.choice([-1, 1], SIZE))
    match = match_of(claimed, blocks=[Block("theta", 0, (SIZE,), 1)])
    assert [found[0].name for found, _ in match.explanations(TRUE, 1)] == expected


def test_a_number_is_a_known_one_up_to_ten_tolerances():
    match = match_of(TRUE)
    match.relative = 2.0**-20
    assert match._is(1 + 10 * 2.0**-20, 1) and match._is(3 - 30 * 2.0**-20, 3)
    assert not match._is(1 + 10.5 * 2.0**-20, 1) and not match._is(-1, 1)


def test_facts_that_are_the_same_number_are_all_named():
    assert names(2 * TRUE, facts={"N": 2, "outputs": 2}) == ["factor 2", "times N", "times outputs"]


def test_two_factors_in_two_places_are_two_mistakes():
    claimed = changed(W2=-1, b0=16)
    assert names(claimed, 1, facts=FACTS) == []
    assert names(claimed, 2, facts=FACTS) == ["sign and times N"]
    assert [part.where for part in parts(claimed, 2, facts=FACTS)[0]] == ["W2", "b0"]
    assert names(changed(W2=-1, b0=16, b1=7), 2, facts=FACTS) == []


@pytest.mark.parametrize("norm", [0.01, 0.1, 0.25, 0.5, 1, 2, 5, 10, 100])
def test_a_gradient_made_shorter_to_a_round_norm_may_be_clipped(norm):
    true = TRUE * 300 / np.linalg.norm(TRUE)
    clipped, constant = parts(norm / 300 * true, true=true)
    message = f"claimed = {norm / 300:.9g} true in every parameter"
    hint = "the gradient has a length that it was given"
    assert clipped == [
        Cause("clipped by norm", "every parameter", hint, f"{message}, which makes its norm {norm:g}", 0)
    ]
    assert constant[0].name == "constant factor"


@pytest.mark.parametrize(
    ("length", "factor", "expected"),
    [
        (0.3, 1 / 0.3, ["normalized", "constant factor"]),
        (0.8, 1 / 0.8, ["normalized", "constant factor"]),
        (4, 5 / 4, ["constant factor"]),
        (0.3, 5 / 0.3, ["constant factor"]),  # longer, and not 1
        (7, -5 / 7, ["constant factor"]),  # turned around
        (7, 4 / 7, ["constant factor"]),  # not round
    ],
)
def test_a_gradient_made_longer_is_not_clipped(length, factor, expected):
    true = TRUE * length / np.linalg.norm(TRUE)
    assert names(factor * true, true=true) == expected


def test_two_numbers_may_be_clipped():
    match = match_of(np.array([3.0, 4.0]), blocks=[Block("theta", 0, (2,), 1)], theta=np.ones(2))
    assert next(found[0].name for found, _ in match.explanations(np.array([30.0, 40.0]), 1)) == "clipped by norm"


def test_a_part_of_a_gradient_or_a_single_number_is_not_clipped():
    claimed = TRUE.copy()
    rest = np.linalg.norm(np.delete(TRUE, [*range(BY_NAME["b2"].start, SIZE)]))
    b2 = TRUE[BY_NAME["b2"].slice]
    claimed[BY_NAME["b2"].slice] *= np.sqrt(100 - rest**2) / np.linalg.norm(b2)
    assert np.linalg.norm(claimed) == pytest.approx(10)
    assert names(claimed) == ["constant factor"]
    single = match_of(np.array([0.5]), blocks=[Block("theta", 0, (), 1)], theta=np.ones(1))
    assert next(found[0].name for found, _ in single.explanations(np.array([0.9]), 1)) == "constant factor"


def test_clipped_parameters_are_listed_from_the_output_down():
    to_norm = {name: lambda t: t * 0.5 / np.linalg.norm(t) for name in ("W0", "b0", "W1", "W2", "b2")}
    clipped = changed(b1=0.01, **to_norm)
    ((cause,),) = parts(clipped, true=changed(b1=0.01))
    assert cause.name == "each parameter clipped by norm"
    assert cause.where.split(", ")[:2] == ["W2", "b2"]
    assert cause.where.split(", ")[2:] == ["W1", "W0", "b0"]


def by_layer(*factors):
    return changed(**{name: factors[i // 2] for i, name in enumerate(SHAPES)})


STEPS = "the ratios, from the output down, are "


@pytest.mark.parametrize(
    ("claimed", "ratios"),
    [(by_layer(0.7**3, 0.7**2, 0.7), "0.7, 0.49, 0.343"), (by_layer(0.7**2, 0.7, 1), "1, 0.7, 0.49")],
    ids=["from the loss", "from the last layer"],
)
@pytest.mark.parametrize(
    ("facts", "name", "hint", "fitted"),
    [
        ({}, "constant factor in every layer", "a factor is in every step back", 1),
        ({"N": 10 / 7}, "divided by N in every layer", LITTLE, 0),
        ({"N": 0.7}, "times N in every layer", LARGE, 0),
        ({"learning rate": 0.7}, "learning rate in the chain rule",
         "a factor that belongs to the update stands inside the chain rule", 0),
        ({"learning rate": 0.5}, "constant factor in every layer", "a factor is in every step back", 1),
    ],
)  # fmt: skip
def test_a_factor_in_every_step_back_is_a_power_in_each_layer(claimed, ratios, facts, name, hint, fitted):
    assert parts(claimed, facts=facts) == [[Cause(name, "every layer", hint, STEPS + ratios, fitted)]]


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        ({}, "constant factor in every layer"),
        ({"N": 0.7}, "times N in every layer"),
        ({"learning rate": 0.7}, "learning rate in the chain rule"),
    ],
)
def test_two_layers_are_enough_for_powers(facts, name):
    two = BLOCKS[4].start
    match = match_of(by_layer(0.49, 0.7, 1)[:two], blocks=BLOCKS[:4], theta=THETA[:two], facts=facts)
    assert [[part.name for part in found] for found, _ in match.explanations(TRUE[:two], 1)] == [[name]]


def test_two_parameters_are_enough_to_be_normalized():
    same = TRUE / np.repeat([np.linalg.norm(TRUE[:12]), np.linalg.norm(TRUE[12:20]), 1], [12, 8, 6])
    whole = match_of(same[:20], blocks=[Block("U", 0, (12,), 1), Block("V", 12, (8,), 2)], theta=THETA[:20])
    assert "each parameter normalized" in [found[0].name for found, _ in whole.explanations(TRUE[:20], 1)]


@pytest.mark.parametrize(
    "claimed",
    [
        by_layer(0.7**4, 0.7**3, 0.7**2),
        by_layer(0.7**4, 0.7**2, 0.7),
        by_layer(-(0.7**3), 0.7**2, -0.7),
        by_layer(1, 0.7, 0.7**2),
        changed(W0=0.7**3, b0=0.7**3, W1=0.7**2, W2=0.7, b2=0.7),
        changed(W0=2, b0=0.7**3, W1=0.7**2, b1=0.7**2, W2=0.7, b2=0.7),
        changed(W0=0.7**3, b0=2, W1=0.7**2, b1=0.7**2, W2=0.7, b2=0.7),
    ],
    ids=["begins late", "skips", "turns", "wrong way", "a bias without", "a weight by another", "a bias by another"],
)
def test_other_factors_in_the_layers_are_no_powers(claimed):
    assert parts(claimed) == []


def test_parameters_that_each_have_norm_1_are_normalized():
    claimed = changed(**dict.fromkeys(SHAPES, lambda t: t / np.linalg.norm(t)))
    hint = "the gradient has a length that it was given"
    assert parts(claimed) == [[Cause("each parameter normalized", "every parameter", hint, "the norm of each is 1", 0)]]
    assert parts(claimed * np.where(np.arange(SIZE) < 9, 1.1, 1)) == []
