"""The batches with which the step search calls a gradient function, and which of its localisations it believes."""

from __future__ import annotations

import numpy as np
import pytest
from wrong_steps import NETWORK, X, Y, simple, wrong_step

import handmade as hm
from handmade.checking import step_search
from handmade.checking.claims import blocks_of
from handmade.checking.formulas.step_formulas import Case
from handmade.checking.localisation import Localisation

# ---- small batches ---------------------------------------------------------------------------------------------------


def tried(monkeypatch, rows, widths, outputs, layers=(), training=True, complete_at=None, wrong=True):
    """Return the sizes of the batches that a gradient function is called with, and the cases that are kept."""
    sizes: list[int] = []

    def judged(problem, X, y, blame_dA, relative):
        assert (problem, blame_dA, relative) == ("problem", "blame", 1e-7)
        assert (X[:, 0] == y).all() and (np.diff(y) > 0).all()  # the same rows of both, in their order
        sizes.append(len(X))
        is_complete = complete_at is not None and len(X) in complete_at
        steps = [wrong_step()] if wrong is True or len(X) in wrong else []
        return Case(simple(rows=len(X)), Localisation(steps, {}, is_complete, "", 1))

    monkeypatch.setattr(step_search, "_case_of", judged)
    dense = {f"{i}.": hm.Dense(width, 2) for i, width in enumerate(widths)}
    of = simple(
        values=[np.arange(float(rows))[:, np.newaxis], np.zeros((rows, outputs))],
        y=np.arange(float(rows)),
        leaves=dense | {f"{len(dense) + i}.": layer for i, layer in enumerate(layers)},
        inputs={prefix: np.zeros((rows, layer.in_features)) for prefix, layer in dense.items()},
        training=training,
    )
    found = step_search._on_few_rows("problem", of, "blame", 1e-7)
    return sizes, [case.of.rows for case in found]


@pytest.mark.parametrize(
    ("rows", "widths", "outputs", "layers", "sizes"),
    [
        (64, [8, 9], 3, [], [6, 6, 6, 5, 3, 3, 3, 2, 1, 1, 1, 2]),  # at most 6, then half of them, then 1
        (64, [8, 4], 3, [], [4, 4, 4, 3, 2, 2, 2, 3, 1, 1, 1, 2]),  # as many as the narrowest layer takes
        (64, [8, 9], 6, [], [5, 5, 5, 4, 2, 2, 2, 3, 1, 1, 1, 2]),  # not as many as outputs
        (64, [1, 9], 3, [], [1, 1, 1, 2]),
        (64, [8, 9], 1, [], [6, 6, 6, 5, 3, 3, 3, 2, 1, 1, 1, 2]),
        (64, [1, 9], 1, [], [1, 1, 1, 2]),  # fewer than one row are none
        (64, [8, 9], 3, [hm.BatchNorm(2)], [6, 6, 6, 5, 3, 3, 3, 4]),  # a normalization needs three
        (64, [2, 9], 3, [hm.BatchNorm(2)], [3, 3, 3, 4]),
        (4, [8, 9], 3, [], [4, 3, 2, 2, 2, 3, 1, 1, 1, 2]),  # the whole batch once
        (2, [8, 9], 3, [], [2, 1, 1, 1, 2]),
        (1, [8, 9], 3, [], [1]),
        (2, [8, 9], 3, [hm.BatchNorm(2)], []),
        (64, [8, 9], 3, [hm.Dropout(0.5)], []),
        (64, [1, 9], 3, [hm.Dropout(0.0)], [1, 1, 1, 2]),
    ],
)
def test_a_function_is_called_with_few_rows_then_fewer(monkeypatch, rows, widths, outputs, layers, sizes):
    assert tried(monkeypatch, rows, widths, outputs, layers) == (sizes, [])


def test_dropout_that_is_off_does_not_keep_from_few_rows(monkeypatch):
    assert tried(monkeypatch, 64, [1], 3, [hm.Dropout(0.5)], training=False)[0] == [1, 1, 1, 2]


def test_the_first_size_that_decides_every_step_ends_the_calls(monkeypatch):
    assert tried(monkeypatch, 64, [8], 3, complete_at={6, 5}) == ([6, 6, 6, 5], [6, 6, 6, 5])
    assert tried(monkeypatch, 64, [8], 3, complete_at={3, 2}) == ([6, 6, 6, 5, 3, 3, 3, 2], [3, 3, 3, 2])
    # Batches in which all is right come last, and need not decide anything.
    assert tried(monkeypatch, 64, [8], 3, complete_at={5}, wrong={5}) == ([6, 6, 6, 5], [5, 6, 6, 6])


def test_a_function_that_takes_no_small_batch_is_called_no_more(monkeypatch):
    calls = []
    monkeypatch.setattr(step_search, "_case_of", lambda *_: calls.append(1))
    of = simple(values=[X, np.zeros((8, 3))], y=Y, leaves={}, inputs={}, training=True)
    assert step_search._on_few_rows(None, of, False, 1e-7) == []
    assert calls == [1]


def problem_of(on_rows, **more):
    match = simple(blocks=blocks_of(NETWORK.blocks(NETWORK.theta)), relative=1e-7)
    options = {"loss": "cross_entropy", "sample_weight": None, "training": True}
    return simple(**dict(on_rows=on_rows, network=NETWORK, match=match, options=options, is_measured=False) | more)


def right_gradient(parameters, X, y):
    return [block.copy() for block in NETWORK.blocks(NETWORK.loss_and_gradient(X, y)[1]).values()]


@pytest.mark.parametrize(
    ("change", "steps"),
    [
        (lambda g: g, []),
        (lambda g: [2 * g[0], *g[1:]], ["dW[0]"]),
        (lambda g: [g[0], g[1] * (1 + 1e-5), *g[2:]], ["db[0]"]),
        (lambda g: [g[0] * np.nan, *g[1:]], None),
        (lambda g: g[:-1], None),
        (lambda g: 1 / 0, None),
    ],
)
def test_a_function_is_judged_on_other_rows(change, steps):
    problem = problem_of(lambda parameters, X, y: change(right_gradient(parameters, X, y)))
    found = step_search._case_of(problem, X[:3], Y[:3], False, 1e-7)
    assert (found and [step.name for step in found.found.steps]) == steps
    if found:
        assert len(found.of.values[0]) == 3


def test_an_unsummed_bias_gradient_is_read_on_few_rows_too():
    def claimed(parameters, X, y):
        dW0, db0, *others = right_gradient(parameters, X, y)
        return [dW0, np.broadcast_to(db0 / len(X), (len(X), len(db0))), *others]

    assert step_search._case_of(problem_of(claimed), X[:3], Y[:3], False, 1e-7).found.steps == []


@pytest.mark.parametrize(("blame_dA", "step"), [(False, "dW[0]"), (True, "dA[0]")])
def test_of_a_tie_on_few_rows_the_one_to_blame_is_taken(blame_dA, step):
    """Without a bias, a multiple of dW is made by the same multiple of dA."""
    network = hm.MLP([3, 4, 2], "tanh", bias=False, rng=0)

    def doubled(parameters, X, y):
        first, last = network.blocks(network.loss_and_gradient(X, y)[1].copy()).values()
        return [2 * first, last]

    problem = problem_of(doubled, network=network)
    problem.match.blocks = blocks_of(network.blocks(network.theta))
    found = step_search._case_of(problem, X[:3], Y[:3], blame_dA, 1e-7).found
    assert ([one.name for one in found.steps], found.ties) == ([step], ["0."])


@pytest.mark.parametrize(
    ("on_rows", "weight", "few", "calls", "cases"),
    [
        (None, None, ["few"], ["whole"], ["whole"]),
        (max, None, ["few"], ["few rows"], ["few"]),
        (max, None, [], ["few rows", "whole"], ["whole"]),
        (max, np.ones(8), ["few"], ["whole"], ["whole"]),  # the weights are those of the whole batch
    ],
)
def test_the_whole_batch_is_localised_where_few_rows_do_not_tell(monkeypatch, on_rows, weight, few, calls, cases):
    made = []

    def on_few_rows(problem, of, blame_dA, relative):
        assert (problem, of, blame_dA, relative) == (whole, "passes", "blame", 1e-3)
        made.append("few rows")
        return few

    def localised(of, claimed, allowed, relative, given, blame_dA):
        assert (of, claimed, allowed, relative, given, blame_dA) == ("passes", "claim", 2.0, 1e-3, {}, "blame")
        made.append("whole")
        return Localisation([], {}, True, "", 1)

    monkeypatch.setattr(step_search, "_on_few_rows", on_few_rows)
    monkeypatch.setattr(step_search, "localise", localised)
    whole = problem_of(on_rows, subject=simple(rounding=0.5))
    whole.match.claimed, whole.options["sample_weight"] = "claim", weight
    found = step_search._located(whole, "passes", "blame", 1e-3)
    assert [one if isinstance(one, str) else "whole" for one in found] == cases
    assert made == calls


@pytest.mark.parametrize(
    ("unknown", "formulas", "calls", "given"),
    [
        ([], 9, 1, []),
        (["2."], 9, 2, ["2."]),
        (["2.", "0."], 9, 3, ["2.", "0."]),
        (["2.", "0."], 1, 2, ["2."]),  # of the second there is no formula
        (["2.", "2."], 9, 2, ["2."]),
        (list("abcdef"), 9, 5, list("abcd")),  # at most four
    ],
)
def test_a_formula_stands_for_a_dA_that_a_batch_hides(monkeypatch, unknown, formulas, calls, given):
    seen = []

    def localised(of, claimed, allowed, relative, known, blame_dA):
        seen.append(dict(known))
        steps = [wrong_step(prefix=prefix, unique=False) for prefix in unknown[: len(seen)]]
        return Localisation(steps, {}, len(seen) > len(unknown), "", 1)

    def formula_of(name, cases, facts, relative):
        assert (name, len(cases), facts, relative) == ("dA[0]", 1, {"tau": 2.0}, 1e-2)
        return ["the best", "another"] if len(seen) <= formulas else []

    monkeypatch.setattr(step_search, "localise", localised)
    monkeypatch.setattr(step_search, "formula_of", formula_of)
    monkeypatch.setattr(step_search, "dA_of", lambda formula, case, step: (formula, step.prefix))
    problem = problem_of(None, subject=simple(rounding=0.5), facts={"tau": 2.0})
    problem.match.claimed = None
    (case,) = step_search._located(problem, "passes", False, 1e-3)
    assert len(seen) == calls
    assert seen[-1] == {prefix: ("the best", prefix) for prefix in given}
    assert len(case.found.steps) == min(calls, len(unknown))


@pytest.mark.parametrize(("relative", "is_right"), [(1e-7, False), (2e-5, True)])
def test_of_float32_more_is_rounding(relative, is_right):
    """The tolerance is that of float32 where the claim is of float32."""
    off = 1 + 2e-7
    problem = problem_of(lambda *batch: [g * off if g.ndim == 1 else g for g in right_gradient(*batch)])
    problem.match.relative = relative
    found = step_search._case_of(problem, X[:3], Y[:3], False, 1e-12)
    assert (found.found.steps == []) is is_right


# ---- which localisation is believed ----------------------------------------------------------------------------------


def located(monkeypatch, accounts, ties=(), costs=()):
    """Return the calls of the localisation, as (blame_dA, relative), and which of them are returned."""
    calls, verdicts, of_costs = [], iter(accounts), iter(costs)
    problem = simple(backward_pass="passes", match=simple(relative=1.0))

    def located_at(of_problem, of, blame_dA, relative):
        assert (of_problem, of) == (problem, "passes")
        calls.append((blame_dA, relative))
        found = (Localisation([], {}, True, "", 1, listed) for listed in ([], list(ties)))
        return [Case(calls[-1], one) for one in found]

    def cost(of_problem, cases):
        assert of_problem is problem and cases[0].of in calls
        return next(of_costs)

    monkeypatch.setattr(step_search, "_located", located_at)
    monkeypatch.setattr(step_search, "_account_for_all", lambda *_: next(verdicts))
    monkeypatch.setattr(step_search, "_cost", cost)
    found = step_search.locate(problem)
    return calls, [cases[0].of for cases in found]


def test_a_finer_localisation_is_tried_until_it_accounts_for_all(monkeypatch):
    plain, ten, hundred = (False, 1.0), (False, 0.1), (False, 0.01)
    assert located(monkeypatch, [True]) == ([plain], [plain])
    assert located(monkeypatch, [False, True]) == ([plain, ten], [ten])
    assert located(monkeypatch, [False, False, True]) == ([plain, ten, hundred], [hundred])
    assert located(monkeypatch, [False, False, False]) == ([plain, ten, hundred, plain], [plain])
    assert step_search.locate(simple(backward_pass=None, match=simple(relative=1.0))) == [[]]


@pytest.mark.parametrize(
    ("costs", "order"),
    [
        ([(0, 5.0), (0, 6.0)], [False, True]),
        ([(0, 6.0), (0, 5.0)], [True, False]),
        ([(0, 5.0), (0, 5.0)], [True, False]),
        ([(1, 5.0), (0, 9.0)], [True]),  # only dA has a formula
        ([(0, 9.0), (1, 5.0)], [False, True]),
        ([(1, 5.0), (1, 9.0)], [True, False]),
    ],
)
def test_of_a_tie_the_simpler_formula_comes_first(monkeypatch, costs, order):
    _, found = located(monkeypatch, [True], ["0."], costs)
    assert [blame_dA for blame_dA, _ in found] == order
    _, found = located(monkeypatch, [False, True], ["0."], costs)
    assert {relative for _, relative in found} == {0.1}
