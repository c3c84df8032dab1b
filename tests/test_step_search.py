"""The choices of the step search: which batches are fitted, what counts as located, and how parts are written."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from diagnosed import THETA, f, f_gradient
from wrong_steps import NETWORK, X, Y, simple, wrong_step

import handmade as hm
from handmade.checking import step_search
from handmade.checking.backward_pass import BackwardPass
from handmade.checking.causes import Cause
from handmade.checking.formulas.step_formulas import VAGUE, Case
from handmade.checking.localisation import Localisation, localise
from handmade.checking.mistakes import mistakes
from handmade.checking.regression import Formula

# ---- the parts of a parameter ----------------------------------------------------------------------------------------


def part_of(shape, *wrong, other="right"):
    verdicts = np.full(shape, other, object)
    for index in wrong:
        verdicts[index] = "wrong"
    return step_search._part_of("W", verdicts)


@pytest.mark.parametrize(
    ("shape", "wrong", "text"),
    [
        ((4, 6), [1], "row 1 of W"),
        ((4, 6), [0, 3], "rows 0, 3 of W"),  # half of the rows
        ((4, 6), [0, 1, 3], "W"),  # more than half of the entries
        ((6, 4), [np.s_[:, 3]], "column 3 of W"),
        ((6, 4), [np.s_[:, 0], np.s_[:, 2]], "columns 0, 2 of W"),
        ((20, 3), [np.s_[4:11]], "rows 4, 5, 6, 7, 8, 9, ... of W"),
        ((20, 3), [np.s_[4:10]], "rows 4, 5, 6, 7, 8, 9 of W"),
        ((3, 20), [np.s_[1:2, ::2]], "row 1 of W"),  # every second entry of one row
        ((4, 6), [(1, 2)], "W[1, 2]"),
        ((4, 6), [(1, 2), (3, 0)], "W[1, 2], W[3, 0]"),
        ((4, 6), [(1, 2), (1, 4)], "row 1 of W"),
        ((6, 4), [(1, 2), (4, 2)], "column 2 of W"),
        ((6, 6), [(i, i) for i in range(6)], ", ".join(f"W[{i}, {i}]" for i in range(6))),
        ((7, 7), [(i, i) for i in range(7)], "7 of 49 entries of W"),
        ((8,), [3], "W[3]"),
        ((8,), [1, 2, 5, 7], "W[1], W[2], W[5], W[7]"),
        ((8,), [0, 1, 2, 5, 7], "W"),
        ((16,), [0, 1, 2, 5, 7, 9, 11], "7 of 16 entries of W"),
        ((2, 2, 3), [(1, 0, 2)], "W[1, 0, 2]"),
        ((4, 6), [], "W"),
    ],
)
def test_the_wrong_part_of_a_parameter_is_written(shape, wrong, text):
    assert part_of(shape, *wrong) == text


def test_a_part_is_named_only_where_every_entry_is_decided():
    assert part_of((4, 6), 1, other="undecidable") == "W"
    verdicts = np.full((4, 6), "right", object)
    verdicts[1], verdicts[3, 3] = "wrong", ""
    assert step_search._part_of("W", verdicts) == "W"


def function_of(verdicts, wrong):
    """Return a problem of parameters a, b, ... whose entries have these verdicts, and the parts that are wrong."""
    values = np.array([verdict for block in verdicts.values() for verdict in block], object)
    measured = np.flatnonzero(values != "")
    ends = np.cumsum([len(block) for block in verdicts.values()])
    blocks = [
        simple(name=name, slice=slice(end - len(block), end), shape=(len(block),))
        for (name, block), end in zip(verdicts.items(), ends, strict=True)
    ]
    check = simple(entries=simple(index=measured, verdict=values[measured]))
    problem = simple(backward_pass=None, check=check, truth=np.zeros(values.size), match=simple(blocks=blocks))
    return step_search.wrong_parts(problem, wrong)


R, WRONG = "right", "wrong"


def test_parts_are_those_of_the_wrong_parameters():
    few, whole = [R, R, WRONG, R], [WRONG] * 4
    assert function_of({"a": few, "b": [R] * 4}, ["a"]) == ["a[2]"]
    assert function_of({"a": [R] * 4, "b": few}, ["b"]) == ["b[2]"]
    assert function_of({"a": few, "b": few}, ["b", "a"]) == ["b[2]", "a[2]"]
    assert function_of({"a": whole, "b": few}, ["a", "b"]) == ["a", "b[2]"]
    assert function_of({"a": whole, "b": [R] * 4}, ["a"]) == ["a"]
    assert function_of({"a": [WRONG, WRONG, WRONG, R], "b": whole}, ["a", "b"]) == []  # nothing but their names
    assert function_of({"a": whole, "b": whole}, ["a", "b"]) == []  # nothing is right
    assert function_of({"a": ["", R, R, WRONG]}, ["a"]) == []  # not all was measured


def test_parts_are_those_of_functions_alone():
    check = simple(entries=simple(index=np.arange(2), verdict=np.array([R, WRONG], object)))
    match = simple(blocks=[simple(name="a", slice=slice(0, 2), shape=(2,))])
    problem = simple(backward_pass=None, check=check, truth=np.zeros(2), match=match)
    assert step_search.wrong_parts(problem, ["a"]) == ["a[1]"]
    assert step_search.wrong_parts(simple(**vars(problem) | {"backward_pass": object()}), ["a"]) == []
    assert step_search.wrong_parts(simple(**vars(problem) | {"check": None}), ["a"]) == []


# ---- which batches are fitted ----------------------------------------------------------------------------------------


def case(rows, wrong=True, complete=True):
    steps = [wrong_step()] if wrong else []
    return Case(simple(values=[None, np.zeros((rows, 2))]), Localisation(steps, {}, complete, "", 1))


@pytest.mark.parametrize(
    ("batches", "fitted", "others"),
    [
        ("4", "4", ""),
        ("44", "44", ""),
        ("444", "44", "4"),  # of three, one confirms
        ("4444", "444", "4"),
        ("443", "44", "3"),
        ("4443", "444", "3"),  # a batch of another size confirms, and no other has to
        ("444r", "44", "4r"),
        ("44r", "44", "r"),  # a batch in which all is right is not fitted
        ("4443s", "444", "3s"),
        ("r44", "44", "r"),
    ],
)
def test_batches_of_one_size_are_fitted_and_others_confirm(batches, fitted, others):
    """The numbers are rows; r is a batch of four rows, s of three, in which every step is right."""
    cases = [case(3 if letter in "3s" else 4, letter not in "rs") for letter in batches]
    found = step_search._fitted_and_others(cases)
    places = [next(i for i, own in enumerate(cases) if own is one) for part in found for one in part]
    assert "".join(batches[i] for i in places[: len(fitted)]) == fitted
    assert "".join(batches[i] for i in places[len(fitted) :]) == others
    assert sorted(places) == list(range(len(cases)))


def test_an_undecided_step_without_a_formula_is_left_out(monkeypatch):
    """It is kept where it is known exactly, where a batch decides it, or where it has a formula."""
    first, last = wrong_step("dA[2]", prefix="2."), wrong_step("dA[0]", unique=False)
    formulas = {"dA[2]": [], "dA[0]": []}
    monkeypatch.setattr(step_search, "formulas_of", lambda *_: formulas)

    def kept(complete, *steps):
        found = Localisation(list(steps), {}, complete, "", 1)
        return [step.name for step in step_search.located_steps(None, [Case(None, found)], False)[1]]

    assert kept(False, first, last) == ["dA[2]"]
    assert kept(True, first, last) == ["dA[2]", "dA[0]"]
    assert kept(False, first, dataclasses.replace(last, unique=True)) == ["dA[2]", "dA[0]"]
    formulas["dA[0]"] = ["a formula"]
    assert kept(False, first, last) == ["dA[2]", "dA[0]"]
    assert kept(False) == []


def test_steps_of_several_batches_are_those_of_the_first(monkeypatch):
    monkeypatch.setattr(step_search, "formulas_of", lambda *_: {})
    first, again, other = wrong_step(), wrong_step(), wrong_step("dA[2]", prefix="2.")
    cases = [Case(None, Localisation(steps, {}, True, "", 1)) for steps in ([first], [other, again])]
    found, steps, formulas = step_search.located_steps(None, cases, False)
    assert (found, formulas) == (cases, {})
    assert {id(step) for step in steps} == {id(first), id(other)}


@pytest.mark.parametrize(
    ("kinds", "is_located"),
    [
        ([], False),
        (["dA"], True),
        (["dA", "weight"], True),  # two, whatever they are
        (["dA", "weight", "bias"], True),  # as many as layers with parameters
        (["dA", "weight", "bias", "dA"], False),
        (["weight"] * 5, True),  # all of one kind
    ],
)
def test_steps_locate_a_mistake_if_they_are_few_or_alike(kinds, is_located):
    of = BackwardPass(hm.MLP([3, 4, 4, 2], "tanh", rng=0), X[:4], Y[:4])
    steps = [wrong_step(kind=kind) for kind in kinds]
    assert step_search.is_located(simple(backward_pass=of), steps) is is_located
    of_function = len(kinds) in (1, 2) or len(set(kinds)) == 1
    assert step_search.is_located(simple(backward_pass=None), steps) is of_function


@pytest.mark.parametrize(
    ("steps", "wrong", "accounts"),
    [
        ([wrong_step("dA[0]", "dA", "0.")], ["0.weight", "0.bias"], True),
        ([wrong_step("dA[2]", "dA", "2.")], ["0.weight", "2.bias"], True),  # and all that lies below
        ([wrong_step("dA[0]", "dA", "0.")], ["2.weight"], False),
        ([wrong_step("dW[2]", "weight", "2.")], ["2.weight"], True),
        ([wrong_step("dW[2]", "weight", "2.")], ["2.bias"], False),
        ([wrong_step("dW[2]", "weight", "2.")], ["0.weight"], False),
        ([wrong_step("dW[2]", "weight", "2."), wrong_step("db[0]", "bias", "0.")], ["2.weight", "0.bias"], True),
        ([], ["0.weight"], False),
        ([], [], True),
    ],
)
def test_wrong_steps_account_for_wrong_parameters(steps, wrong, accounts):
    of = BackwardPass(NETWORK, X[:4], Y[:4])
    blocks = [simple(name=name, wrong=int(name in wrong)) for name in NETWORK.blocks(NETWORK.theta)]
    cases = [Case(of, Localisation(steps, {}, True, "", 1))]
    assert step_search._account_for_all(simple(check=simple(blocks=blocks)), cases) is accounts
    assert step_search._account_for_all(simple(check=None), cases)


# ---- names -----------------------------------------------------------------------------------------------------------


def factor_name(coefficient, norm=0.73, facts=(), terms=("right",), factors=(("3.3",),)):
    formula = Formula("dA[0]", terms, (coefficient,), factors, 0.0, 1.0)
    return step_search._factor_name(simple(match=simple(facts=dict(facts))), formula, norm)


@pytest.mark.parametrize(
    ("coefficient", "name"),
    [
        (2.0, "factor 2"),
        (-2.0, "sign and factor 2"),
        (0.5, "factor 1/2"),
        (-1.0, "sign"),
        (1.0, ""),
        (7.0, "times N"),
        (1 / 7, "divided by N"),
        (-1 / 7, "sign and divided by N"),
        (7 * (1 + 1e-7), "times N"),
        (7 * (1 + 1e-5), "constant factor"),
        (3.3, "constant factor"),
        (-3.3, "sign and constant factor"),
    ],
)
def test_a_multiple_of_the_right_step_has_a_name(coefficient, name):
    assert factor_name(coefficient, facts={"N": 7.0, "zero": 0.0}) == name


def test_a_step_of_a_round_norm_was_normalized_or_clipped():
    assert factor_name(3.3, norm=1.0) == "normalized, to 1"
    assert factor_name(-3.3, norm=5.0) == "sign and clipped by norm, to 5"
    assert factor_name(3.3, norm=5 * (1 + 1e-7)) == "clipped by norm, to 5"
    assert factor_name(3.3, norm=5 * (1 + 1e-5)) == "constant factor"
    assert factor_name(3.3, norm=0.0) == "constant factor"
    assert factor_name(2.0, norm=1.0) == "factor 2"


def test_only_a_multiple_of_the_right_step_has_such_a_name():
    assert factor_name(2.0, terms=("dH",)) == ""
    assert factor_name(2.0, factors=(("N", "2"),)) == ""  # the formula names both


def test_a_step_is_written_with_its_layers():
    of = BackwardPass(NETWORK, X[:4], Y[:4])

    def text(*step):
        return step_search.step_text(simple(backward_pass=of), wrong_step(*step))

    assert text("dW[2]", "weight", "2.") == "dW[2] from dA[2] (layers[2], Dense(4, 2))"
    assert text() == "dA[0] from dA[2] (through layers[2], Dense(4, 2); layers[1], Activation('tanh'))"
    assert text("dA[2]", "dA", "2.", ("loss",)) == "dA[2] from dA[2]"
    assert text("dA[2]", "dA", "2.", ("loss", "1.")) == "dA[2] from dA[2] (through layers[1], Activation('tanh'))"


# ---- single entries --------------------------------------------------------------------------------------------------


def of_entries(blocks, wrong, **more):
    """Explain these wrong entries; a block is its name, its size, its count of wrong entries, and what is complete."""
    listed = [simple(name=n, size=s, wrong=w, is_complete=c) for n, s, w, c in blocks]

    class Entry(type(simple())):
        def __str__(self):
            return f"{self.name} is wrong"

    check = simple(blocks=listed, wrong=[Entry(name=name) for name in wrong])
    return step_search.explain_entries(simple(check=check, odd=[], **more))


def test_a_few_wrong_entries_are_an_explanation():
    (found,) = of_entries([("W", 40, 2, True), ("b", 20, 1, True), ("V", 5, 0, False)], ["W[0]", "W[7]", "b[3]"])
    assert found.name == "wrong entries W[0] and W[7] and b[3]"
    assert (found.where, found.at, found.residual) == ("W, b", ("W", "b"), 0.0)
    assert found.hint == "the parameter's gradient is right, except for a few of its entries"
    assert found.evidence == "W[0] is wrong; W[7] is wrong; b[3] is wrong"
    assert of_entries([("W", 20, 1, True)], ["W[0]"])[0].name == "wrong entry W[0]"
    assert of_entries([("W", 80, 4, True)], list("abcd"))


@pytest.mark.parametrize(
    ("blocks", "count"),
    [
        ([("W", 100, 5, True)], 5),  # too many to name
        ([("W", 39, 2, True)], 2),  # too large a part
        ([("W", 40, 2, False)], 2),  # not all of it was compared
        ([("W", 40, 2, True), ("b", 19, 1, True)], 3),
    ],
)
def test_many_wrong_entries_are_no_explanation(blocks, count):
    assert of_entries(blocks, [f"W[{i}]" for i in range(count)]) == []
    assert step_search.explain_entries(simple(check=None)) == []


# ---- formulas of steps -----------------------------------------------------------------------------------------------


def with_formulas(monkeypatch, costs):
    """Let the formulas of steps have these costs, by name; return the arguments with which they are searched for."""
    asked = []

    def formula_of(name, cases, facts, relative, others, most=3, by_operations=True):
        asked.append((name, relative, most))
        cost = costs.get(name)
        return [] if cost is None else [Formula(name, ("right",), (2.0,), (("2",),), 0.0, cost)]

    monkeypatch.setattr(step_search, "formula_of", formula_of)
    return asked


SEVERAL = [wrong_step(f"d{letter}[0]") for letter in "abcdef"]


def of_steps(steps, complete=True):
    return [Case(simple(values=[np.zeros((4, 2))]), Localisation(list(steps), {}, complete, "", 1))]


def test_the_cost_of_steps_is_that_of_their_formulas(monkeypatch):
    with_formulas(monkeypatch, {"da[0]": 1.5, "db[0]": 2.0, "dc[0]": VAGUE, "dd[0]": None})
    problem = simple(facts={}, match=simple(relative=1e-7))
    assert step_search._cost(problem, of_steps(SEVERAL[:2])) == (0, 3.5)
    assert step_search._cost(problem, of_steps(SEVERAL[:4])) == (2, 3.5)
    assert step_search._cost(problem, of_steps(SEVERAL[:1]) * 2) == (0, 1.5)


def test_formulas_are_searched_for_until_three_steps_have_none(monkeypatch):
    asked = with_formulas(monkeypatch, {"db[0]": 1.0})
    problem, cases = simple(facts={}, match=simple(relative=1e-7)), of_steps(SEVERAL)
    found = step_search.formulas_of(problem, cases, SEVERAL, False)
    assert [name for name, *_ in asked] == ["da[0]", "db[0]", "dc[0]", "dd[0]"]
    assert {name: len(listed) for name, listed in found.items()} == {"da[0]": 0, "db[0]": 1, "dc[0]": 0, "dd[0]": 0}
    assert {(relative, most) for _, relative, most in asked} == {(1e-6, 3)}
    asked.clear()
    assert list(step_search.formulas_of(problem, cases, SEVERAL, True)) == ["da[0]"]  # a mistake is known already
    assert asked == [("da[0]", 1e-6, 2)]
    assert step_search.formulas_of(problem, [], SEVERAL, False) == {}
    assert step_search.formulas_of(problem, cases, [], False) == {}


def explained(monkeypatch, listed, named=(), complete=True, right="", odd=(), steps=SEVERAL[:2]):
    """Explain two steps by these formulas and mistakes, each given by the name of its step."""
    monkeypatch.setattr(
        step_search, "_catalogued", lambda problem, case, step: [m for m in named if m.step == step.name]
    )
    monkeypatch.setattr(step_search, "step_text", lambda problem, step: f"the step {step.name}")
    monkeypatch.setattr(step_search, "right_formula", lambda *_: right)
    problem = simple(facts={}, odd=list(odd), match=simple(facts={}))
    return step_search.explain_steps(problem, of_steps(steps, complete), steps, listed)


def test_every_step_is_explained_by_formula_or_mistake(monkeypatch):
    double = [Formula("da[0]", ("right",), (2.0,), (("2",),), 0.0, 1.0)]
    other = [Formula("db[0]", ("dH",), (1.0,), (("1",),), 0.0, 1.0)]
    mistake = simple(step="db[0]", name="a mistake", where="somewhere", hint="do better", at=("1.",))
    (found,) = explained(monkeypatch, {"da[0]": double, "db[0]": other}, right="right = dH f'(A)")
    assert found.name == "factor 2 and db[0] = dH"
    assert found.where == "the step da[0], and the step db[0]"
    assert (
        found.hint == "a constant factor is too much or missing; one step of the backward pass computes something else"
    )
    assert found.evidence == "da[0] = 2 right; db[0] = dH; right = dH f'(A)"
    (found,) = explained(monkeypatch, {"da[0]": double, "db[0]": other}, [mistake])
    assert (found.name, found.where) == ("factor 2 and a mistake", "the step da[0], and somewhere")
    assert (found.evidence, found.residual) == ("da[0] = 2 right; db[0] = dH", 0.0)
    (found,) = explained(monkeypatch, {"da[0]": double}, [mistake])
    assert found.evidence == "da[0] = 2 right; a backward pass with this mistake gives db[0]"
    assert found.hint == "a constant factor is too much or missing; do better"
    (found,) = explained(monkeypatch, {"db[0]": other}, [mistake], steps=SEVERAL[1:2])
    assert found.at == ("1.",)
    odd = Cause("odd", "everywhere", "a hint", "evidence")
    assert explained(monkeypatch, {"db[0]": other}, odd=[odd], steps=SEVERAL[1:2])[0].name == "odd and db[0] = dH"


def test_a_step_without_an_explanation_leaves_all_without(monkeypatch):
    double = [Formula("da[0]", ("right",), (2.0,), (("2",),), 0.0, 1.0)]
    assert explained(monkeypatch, {"da[0]": double}) == []
    assert explained(monkeypatch, {"da[0]": double, "db[0]": double}, complete=False) == []
    assert explained(monkeypatch, {}, steps=[]) == []


def test_the_norm_of_a_step_is_that_of_the_claim(monkeypatch):
    odd = [Formula("da[0]", ("right",), (3.3,), (("3.3",),), 0.0, 1.0)]
    step = dataclasses.replace(SEVERAL[0], actual=np.array([[0.6, 0.8]]))
    assert explained(monkeypatch, {"da[0]": odd}, steps=[step])[0].name == "normalized, to 1"
    step = dataclasses.replace(SEVERAL[0], actual=np.array([[0.6, 0.7]]))
    assert explained(monkeypatch, {"da[0]": odd}, steps=[step])[0].name == "constant factor"


def test_mistakes_of_the_catalogue_explain_a_step_by_itself():
    """Also where another step is wrong in a way that no catalogue has."""
    of = BackwardPass(NETWORK, X[:3], Y[:3])
    (known,) = (m for m in mistakes(of) if m.name == "activation derivative missing" and len(m.steps) == 1)
    noise = np.random.default_rng(0).normal(size=(3, 2))
    for steps in known.steps, {**known.steps, 3: lambda of, i, A: noise}:
        claimed = of.gradient(steps)
        case = Case(of, localise(of, claimed, np.zeros(claimed.size), 1e-9))
        for step, relative in itertools.product(case.found.steps, (1e-9, 1.0)):  # a hundredth of the difference is less
            problem = simple(match=simple(relative=relative))
            named = [mistake.name for mistake in step_search._catalogued(problem, case, step)]
            assert ("activation derivative missing" in named) is (step.name == "dA[0]")
            assert len(named) <= 2


def test_parameters_of_a_function_are_explained_one_by_one():
    right = f_gradient(THETA)
    claimed = [-right[0], right[3], right[2].T, right[3] / 16]
    (found,) = hm.diagnose_gradient(f, THETA, claimed, batch_size=16).explanations
    assert set(found.evidence.split("; ")) == {
        "gradient of theta[0] = -right",
        "gradient of theta[1] = gradient of theta[3]",
        "gradient of theta[2] = right^T",
        "gradient of theta[3] = 1/N right",
    }


@pytest.mark.parametrize("rows", [3, 8])
def test_distance_of_a_pass_from_a_step_is_relative(rows):
    """Eight rows leave dA open; then the gradients of its layer's parameters stand for it."""
    of = BackwardPass(NETWORK, X[:rows], Y[:rows])
    (missing,) = (m for m in mistakes(of) if m.name == "activation derivative missing" and len(m.steps) == 1)
    claimed = of.gradient(missing.steps)
    (step,) = localise(of, claimed, np.zeros(claimed.size), 1e-9).steps
    assert step.unique is (rows == 3)
    assert step_search._distance(of, of.gradient(missing.steps), step) < 1e-12
    assert 0.01 < step_search._distance(of, of.gradient(), step) < 10
    twice = of.gradient({1: lambda of, i, dH: 2 * dH})  # the claim, doubled
    assert step_search._distance(of, twice, step) == pytest.approx(1, abs=1e-9)


def test_distance_of_a_parameter_is_that_of_its_gradient():
    of = BackwardPass(NETWORK, X[:3], Y[:3])
    right = of.gradient()
    weight = of.network.blocks(right)["2.weight"]
    step = dataclasses.replace(wrong_step("dW[2]", "weight", "2."), actual=weight * 4)
    assert step_search._distance(of, right, step) == pytest.approx(0.75)
    step = dataclasses.replace(step, actual=0 * weight)
    assert step_search._distance(of, right, step) == pytest.approx(np.abs(weight).max())
