"""What turns one gradient into another: each transform is named where it was made, and nothing where none was."""

from __future__ import annotations

import math

import numpy as np
import pytest

from handmade.checking.transforms import (
    BLOCK_TRANSFORMS,
    GLOBAL_TRANSFORMS,
    ROUND_NORMS,
    Block,
    Cause,
    GradientMatch,
    tolerance,
)

EPS = np.finfo(float).eps
SHAPES = {"W0": (3, 3), "b0": (3,), "W1": (2, 3), "b1": (2,), "W2": (2, 2), "b2": (2,)}
STARTS = np.cumsum([0, *map(math.prod, SHAPES.values())])
BLOCKS = [Block(name, int(STARTS[i]), shape, i // 2 + 1) for i, (name, shape) in enumerate(SHAPES.items())]
BY_NAME = {block.name: block for block in BLOCKS}
SIZE = int(STARTS[-1])
RNG = np.random.default_rng(5)
TRUE, THETA = RNG.uniform(0.3, 2, SIZE) * RNG.choice([-1, 1], SIZE), RNG.normal(size=SIZE)


def changed(**factors):
    """Return the true gradient, some parameters multiplied by a number or replaced by what a function makes of them."""
    claimed = TRUE.copy()
    for name, factor in factors.items():
        at, shape = BY_NAME[name].slice, SHAPES[name]
        true = TRUE[at].reshape(shape)
        claimed[at] = (factor(true) if callable(factor) else factor * true).ravel()
    return claimed


def likeness(claimed, *, allowed=None, facts=None, single=False, blocks=BLOCKS, theta=THETA):
    allowed = np.zeros(len(claimed)) if allowed is None else allowed
    return GradientMatch(blocks, theta, claimed, allowed, facts or {}, single)


def parts(claimed, most=1, true=TRUE, **options):
    return [found for found, _ in likeness(claimed, **options).explanations(true, most)]


def names(*arguments, **options):
    return [" and ".join(part.name for part in found) for found in parts(*arguments, **options)]


# ---- equal or not --------------------------------------------------------------------------------------------------


def test_almost_half_of_the_digits_have_to_agree():
    assert tolerance(False) == EPS**0.45
    assert tolerance(True) == float(np.finfo(np.float32).eps) ** 0.45
    assert likeness(TRUE).relative == tolerance(False) and likeness(TRUE, single=True).relative == tolerance(True)


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize(("within", "expected"), [(0.9, []), (1.1, ["b0"])])
def test_differences_are_relative_to_the_largest_entry(single, within, expected):
    claimed, b0 = TRUE.copy(), BY_NAME["b0"].slice
    claimed[b0] += [within * tolerance(single) * np.abs(TRUE[b0]).max(), 0, 0]
    match = likeness(claimed, single=single)
    assert [block.name for block in match.wrong_blocks(TRUE)] == expected
    assert match.residual(TRUE) == pytest.approx(within * tolerance(single), rel=1e-2)


@pytest.mark.parametrize(("size", "wrong"), [(0.5, False), (2, True)])
def test_tiny_parameters_have_a_scale_of_a_thousandth(size, wrong):
    true = TRUE.copy()
    true[BY_NAME["b0"].slice] = 0
    claimed = true.copy()
    claimed[BY_NAME["b0"].start] = size * tolerance(False) * 1e-3 * np.abs(TRUE).max()
    assert bool(likeness(claimed).wrong_blocks(true)) == wrong


def test_of_nothing_at_all_a_difference_is_absolute():
    claimed = np.zeros(SIZE)
    assert likeness(claimed).residual(claimed) == 0
    assert likeness(claimed).wrong_blocks(claimed) == []


def test_what_an_entry_is_allowed_to_be_off_is_no_difference():
    claimed, allowed = TRUE + 0.25, np.full(SIZE, 0.25 + 1e-12)
    assert likeness(claimed, allowed=allowed).residual(TRUE) == 0
    assert likeness(claimed, allowed=0.5 * allowed).residual(TRUE) > 0.05
    allowed[3] = np.inf
    assert likeness(claimed, allowed=allowed).decided.tolist() == [i != 3 for i in range(SIZE)]


def test_wrong_parameters_are_listed_in_backward_order():
    claimed = -TRUE
    assert [block.name for block in likeness(claimed).wrong_blocks(TRUE)] == ["W2", "b2", "W1", "b1", "W0", "b0"]
    assert likeness(claimed).wrong_blocks(TRUE, TRUE) == []
    assert [block.name for block in likeness(claimed).wrong_blocks(TRUE, changed(b1=2))] == ["b1"]


def test_what_is_not_a_number_is_never_right():
    assert BY_NAME["b1"] in likeness(changed(b1=np.nan)).wrong_blocks(TRUE)


@pytest.mark.parametrize("fitted", [0, 1, 2])
def test_chance_falls_with_each_wrong_entry(fitted):
    """Four entries are wrong, in two parameters, a fifth is as far off as it may be; three comparisons were made."""
    true, claimed, W1 = TRUE.copy(), changed(b0=2), BY_NAME["W1"]
    true[W1.slice], claimed[W1.slice] = [4, 0, 1, 1, 1, 1], [4, 4 * tolerance(False), 2, 1, 1, 1]
    match = likeness(claimed)
    for _ in range(3):
        match.residual(true)
    assert match.chance(true, fitted) == 3 * tolerance(False) ** (4 - fitted)


@pytest.mark.parametrize("swap", [False, True])
def test_wrong_entries_are_relative_to_the_larger_gradient(swap):
    true, claimed = np.array([8, 0, 1.0]), np.array([0, 4 * tolerance(False), 1.0])
    true, claimed = (claimed, true) if swap else (true, claimed)
    match = likeness(claimed, blocks=[Block("theta", 0, (3,), 1)], theta=true)
    match.residual(true)
    assert match.chance(true, 0) == tolerance(False)


def test_as_far_off_as_it_may_be_is_not_wrong():
    block = [Block("theta", 0, (2,), 1)]
    true, claimed = np.array([4.0, 0.0]), np.array([4.0, 4 * tolerance(False)])
    assert likeness(claimed, blocks=block).wrong_blocks(true) == []
    assert likeness(2 * claimed, blocks=block).wrong_blocks(true) == block


def test_chance_with_many_entries_is_not_zero():
    block = [Block("theta", 0, (60,), 1)]
    match = likeness(np.ones(60), blocks=block, theta=np.ones(60))
    match.residual(-np.ones(60))
    assert match.chance(-np.ones(60), 0) == tolerance(False) ** 40 > 0


def test_what_an_entry_is_allowed_to_be_off_is_no_test():
    claimed, allowed = changed(b0=2, b1=2), np.zeros(SIZE)
    allowed[BY_NAME["b0"].slice] = 10
    match = likeness(claimed, allowed=allowed)
    match.residual(TRUE)
    assert match.chance(TRUE, 0) == tolerance(False) ** 2


# ---- in numbers ----------------------------------------------------------------------------------------------------


def test_how_a_wrong_parameter_compares_is_told_in_numbers():
    claimed = changed(W0=-3, b0=0, b1=[3, -4], W2=lambda t: np.eye(2))
    true = TRUE.copy()
    true[BY_NAME["b1"].slice], claimed[BY_NAME["b1"].slice] = [1, 1], [3, -4]
    true[BY_NAME["W2"].slice], claimed[BY_NAME["W2"].slice] = [1, 2, 3, 4], [-4, 3, -2, 1]
    length = np.linalg.norm(TRUE[BY_NAME["b0"].slice])
    assert likeness(claimed).ratios(true) == {
        "W2": "1 times as long as the true one, cosine 0.0000",
        "b1": "3.54 times as long as the true one, cosine -0.1414",
        "W0": "-3 times the true gradient",
        "b0": f"of length 0, the true one {length:.3g}",
    }


def test_where_something_is_not_finite_that_is_all_that_is_told():
    claimed = changed(W0=np.inf, b0=3)
    claimed[0] = np.nan
    claimed[BY_NAME["b2"].start + 1] = np.nan
    match = likeness(claimed)
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
    assert likeness(claimed).fitted_scale(TRUE, TRUE + direction) == pytest.approx(0.25, rel=1e-14)


def test_a_number_that_changes_nothing_or_is_not_finite_is_zero():
    assert likeness(TRUE).fitted_scale(TRUE, TRUE) == 0
    assert likeness(TRUE).fitted_scale(TRUE, changed(b0=np.inf)) == 0
    assert likeness(TRUE).fitted_scale(changed(b0=np.nan), TRUE) == 0


# ---- equal already, or not to be turned ----------------------------------------------------------------------------


def test_what_is_equal_needs_nothing():
    assert list(likeness(TRUE).explanations(TRUE, 2)) == [([], 0.0)]
    assert list(likeness(TRUE).explanations(TRUE, 0)) == [([], 0.0)]


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
    assert parts(claimed) == [[Cause(name, "b1", hint, f"{name}: equal in b1", 0)]]
    swapped = changed(b1=lambda t: TRUE[BY_NAME["b2"].slice], b2=lambda t: TRUE[BY_NAME["b1"].slice])
    assert names(swapped) == [name]


@pytest.mark.parametrize("name", GLOBAL_TRANSFORMS)
def test_each_transform_of_the_whole_is_named(name):
    hint, whole = GLOBAL_TRANSFORMS[name]
    claimed = 10 * TRUE
    claimed = np.clip(claimed, -15, 15) if name == "clipped by value" else whole(claimed, claimed).astype(float)
    expected = Cause(name, "every parameter", hint, f"the true gradient {name} is the claimed one", 1)
    assert [expected] in parts(claimed, true=10 * TRUE)


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
        match = likeness(np.array([3.0, 6.0]), blocks=[block], theta=np.ones(2))
        ((found, _),) = match.explanations(np.array([1.0, 2.0]), 1)
        assert found[0].where == block.name


LARGE = "a sum where there should be a mean, or a factor too many"
LITTLE = "a mean is taken once too often, or over too much"
FACTS = {"N": 16, "outputs": 3, "learning rate": 0.3, "unknown": None}


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
    match = likeness(claimed, blocks=[Block("theta", 0, (SIZE,), 1)])
    assert [found[0].name for found, _ in match.explanations(TRUE, 1)] == expected


def test_a_number_is_a_known_one_up_to_ten_tolerances():
    match = likeness(TRUE)
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


@pytest.mark.parametrize("norm", ROUND_NORMS)
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
    match = likeness(np.array([3.0, 4.0]), blocks=[Block("theta", 0, (2,), 1)], theta=np.ones(2))
    assert next(found[0].name for found, _ in match.explanations(np.array([30.0, 40.0]), 1)) == "clipped by norm"


def test_a_part_of_a_gradient_or_a_single_number_is_not_clipped():
    claimed = TRUE.copy()
    rest = np.linalg.norm(np.delete(TRUE, [*range(BY_NAME["b2"].start, SIZE)]))
    b2 = TRUE[BY_NAME["b2"].slice]
    claimed[BY_NAME["b2"].slice] *= np.sqrt(100 - rest**2) / np.linalg.norm(b2)
    assert np.linalg.norm(claimed) == pytest.approx(10)
    assert names(claimed) == ["constant factor"]
    single = likeness(np.array([0.5]), blocks=[Block("theta", 0, (), 1)], theta=np.ones(1))
    assert next(found[0].name for found, _ in single.explanations(np.array([0.9]), 1)) == "constant factor"


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
    match = likeness(by_layer(0.49, 0.7, 1)[:two], blocks=BLOCKS[:4], theta=THETA[:two], facts=facts)
    assert [[part.name for part in found] for found, _ in match.explanations(TRUE[:two], 1)] == [[name]]


def test_two_parameters_are_enough_to_be_normalized():
    same = TRUE / np.repeat([np.linalg.norm(TRUE[:12]), np.linalg.norm(TRUE[12:20]), 1], [12, 8, 6])
    whole = likeness(same[:20], blocks=[Block("U", 0, (12,), 1), Block("V", 12, (8,), 2)], theta=THETA[:20])
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


# ---- what is not known ---------------------------------------------------------------------------------------------


def test_entries_that_are_not_decided_are_not_compared():
    allowed, claimed = np.zeros(SIZE), -TRUE
    at = BY_NAME["W0"].start
    allowed[[at, at + 4]] = np.inf
    claimed[[at, at + 4]] = 77
    assert names(claimed, allowed=allowed) == ["sign"]
    allowed[BY_NAME["b1"].slice], claimed[BY_NAME["b1"].slice] = np.inf, 77
    ((found, residual),) = likeness(claimed, allowed=allowed).explanations(TRUE, 1)
    assert [(part.name, part.where, residual) for part in found] == [("sign", "W2, b2, W1, W0, b0", 0)]


U, V = [Block("U", 0, (2,), 1)], Block("V", 2, (2,), 2)


def of_two(true, claimed, allowed=(0, 0)):
    """Return the explanation of two numbers where the two that follow have a wrong sign."""
    claimed, true = np.array([*claimed, -1, 2]), np.array([*true, 1, -2])
    match = likeness(claimed, blocks=[*U, V], theta=np.ones(4), allowed=np.array([*allowed, 0, 0]))
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
    assert likeness(one).residual(other) == 1


@pytest.mark.parametrize(("factor", "name"), [(2, "factor 2"), (-4, "constant factor"), (0.5, "factor 1/2")])
def test_the_allowed_error_grows_with_the_factor(factor, name):
    def said(off, allowed):
        match = likeness(np.array([4 * factor, off]), blocks=U, theta=np.ones(2), allowed=np.array([0, allowed]))
        return [found[0].name for found, _ in match.explanations(np.array([4.0, 0.0]), 1) if found[0].where == "U"]

    one, times = 4 * factor * tolerance(False), max(abs(factor), 1)
    assert said(one, 0) == [name] and said(1.01 * one, 0) == []
    assert said(times * 1e-3, 1e-3) == [name] and said(times * 1.1e-3, 1e-3) == []


def test_a_factor_next_to_one_allows_no_more_than_it_is():
    match = likeness(np.array([6, 1.7e-3]), blocks=U, theta=np.zeros(2), allowed=np.array([0, 1e-3]))
    assert list(match.explanations(np.array([4.0, 0.0]), 1)) == []


@pytest.mark.parametrize(("large", "small", "found"), [(2e4, 1.0, [[("constant factor", "V")]]), (1.0, 2e4, [])])
def test_small_differences_count_beside_the_claim_alone(large, small, found):
    """A candidate that is larger than the claim excuses nothing: beside one that is blown up, anything would be 0."""
    true, claimed = np.array([0, 0, small, small]), np.array([0, 1e-6, large, large])
    match = likeness(claimed, blocks=[*U, V], theta=np.zeros(4))
    assert [[(part.name, part.where) for part in parts] for parts, _ in match.explanations(true, 1)] == found


def test_the_residual_is_the_largest_difference():
    one = tolerance(False)
    assert list(likeness(np.array([4, 4 * one]), blocks=U).explanations(np.array([4.0, 0]), 1)) == [([], one)]
    match = likeness(np.array([4, 2 * one, -4, one]), blocks=[*U, V], theta=np.zeros(4))
    assert [residual for _, residual in match.explanations(np.array([4.0, 0, 4, 0]), 1)] == [one / 2]
    match = likeness(np.array([4, 4 * one]), blocks=U, theta=np.zeros(2))
    found = {
        (found[0].name, found[0].where): residual for found, residual in match.explanations(np.array([-4.0, 0]), 1)
    }
    assert found["without sign", "every parameter"] == one


def test_comparisons_are_counted():
    """One to see that they differ, one of each parameter, one of each transform of the whole; no penalty on theta 0."""
    match = likeness(-TRUE, theta=np.zeros(SIZE))
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
    match = likeness(claimed, blocks=[Block("theta", 0, (4,), 1)], theta=theta)
    assert [" and ".join(part.name for part in found) for found, _ in match.explanations(true, 2)] == expected


def test_a_penalty_for_the_gradient_is_no_factor():
    assert names(0.5 * THETA, 2) == []


def test_where_there_are_only_weights_they_are_every_parameter():
    block = [Block("W", 0, (3, 2), 1)]
    match = likeness(TRUE[:6] + 0.01 * THETA[:6], blocks=block, theta=THETA[:6])
    assert [found[0].where for found, _ in match.explanations(TRUE[:6], 1)] == ["every parameter"]


def test_a_penalty_of_one_parameter_of_two_is_found():
    blocks = [Block("U", 0, (2, 3), 1), Block("V", 6, (3, 2), 2)]
    match = likeness(TRUE[:12] + 0.01 * THETA[:12] * (np.arange(12) < 6), blocks=blocks, theta=THETA[:12])
    assert [found[0].where for found, _ in match.explanations(TRUE[:12], 1)] == ["U"]


def test_what_a_penalty_leaves_may_be_as_large_as_the_tolerance():
    true, claimed = np.array([4.0, 0, 0]), np.array([4, 4 * tolerance(False), 1])
    match = likeness(claimed, blocks=[Block("theta", 0, (3,), 1)], theta=np.array([0.0, 0, 2]))
    assert "L2 term added or too large" in [found[0].name for found, _ in match.explanations(true, 1)]


def test_a_penalty_shows_in_decided_entries_alone():
    allowed, claimed = np.zeros(SIZE), TRUE + 0.01 * THETA
    allowed[:5], claimed[:5] = np.inf, 77
    assert names(claimed, allowed=allowed) == ["L2 term added or too large"]
    claimed[5:] += 15 * TRUE[5:]
    assert names(claimed, 2, facts=FACTS, allowed=allowed) == ["times N and L2 term added or too large"]
    theta = np.where(np.arange(SIZE) < 5, THETA, 0)
    assert parts(changed(b1=[3, 4]), allowed=allowed, theta=theta) == []
