"""9. The wrong steps of a backward pass, each with its formula or with the mistake of the catalogue that makes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .._types import Array
from ..dropout import Dropout
from ..layers import Dense
from ..normalization import BatchNorm
from .backward_pass import BackwardPass
from .catalogue_search import SHARE, affordable, explain
from .causes import Cause
from .claims import read_gradient
from .explanation import Explanation
from .formulas.parameter_terms import beside_parameter
from .formulas.patterns import pattern_of
from .formulas.step_formulas import VAGUE, Case, dA_of, formula_of, right_formula
from .localisation import WrongStep, layer_name, localise
from .methods import EPS
from .mistakes import Mistake, mistakes
from .problem import MOST_ENTRIES, Problem, call_with, measure_steps
from .regression import MOST_TERMS, ODD, Formula, Term, fit, plain_sums, ways_to_write
from .rounding import SINGLE, rounding_of
from .transforms import ROUND_NORMS

__all__ = [
    "explain_entries",
    "explain_parameters",
    "explain_steps",
    "is_located",
    "locate",
    "located_steps",
    "step_text",
    "wrong_parts",
]

MOST_ROWS = 6  # of a batch that a gradient function is called with to separate its steps
BATCHES = 4  # of that size, the last of another
MOST_GIVEN = 4  # layers of which a formula stands for the dA that the batch leaves open
MOST_WITHOUT = 3  # steps without a formula, after which no more is searched for
MOST_LISTED = 6  # wrong rows, columns or entries that are named one by one
MOST_OF = 0.5  # of a parameter: where more of it is wrong, its right entries tell nothing
FEW = 20  # entries of a parameter for each one that is named alone


# ---- which steps are wrong -----------------------------------------------------------------------------------------


def locate(problem: Problem) -> list[list[Case]]:
    """Return the localisations of the claim, on batches small enough to check every step if that is possible.

    Where a wrong dA and a wrong dW explain equally much, both are returned, first the one with the simpler formula;
    a formula of dA alone decides, because a multiple of the right dW may come from a multiple of the right dA.
    """
    of, relative = problem.backward_pass, problem.match.relative
    if of is None:
        return [[]]
    for fine in (relative, relative / 10, relative / 100):  # a small mistake may be less than rounding is allowed to be
        cases = _located(problem, of, False, fine)
        if _account_for_all(problem, cases):
            break
    else:
        fine, cases = relative, _located(problem, of, False, relative)
    if not any(case.found.ties for case in cases):
        return [cases]
    others = _located(problem, of, True, fine)
    (open_, cost), (other_open, other_cost) = _cost(problem, cases), _cost(problem, others)
    if open_ and not other_open:
        return [others]
    return [cases, others] if not open_ and (other_open or cost < other_cost) else [others, cases]


def _account_for_all(problem: Problem, cases: Sequence[Case]) -> bool:
    """Return whether the wrong steps explain every parameter that the differences find wrong."""
    steps = [step for case in cases for step in case.found.steps]
    blocks = [] if problem.check is None else [block.name for block in problem.check.blocks if block.wrong]

    def explains(step: WrongStep, name: str) -> bool:
        prefix = name[: name.rindex(".") + 1]
        of = cases[0].of
        if step.kind != "dA":
            return name == step.prefix + step.kind
        return prefix == step.prefix or of.is_above(step.prefix, prefix)

    return all(any(explains(step, name) for step in steps) for name in blocks)


def _cost(problem: Problem, cases: Sequence[Case]) -> tuple[int, float]:
    """Return the number of steps without a formula, and the cost of the formulas of the others."""
    names = dict.fromkeys(step.name for case in cases for step in case.found.steps)
    fitted, others = _fitted_and_others(cases)
    found = [formula_of(name, fitted, problem.facts, 10 * problem.match.relative, others) for name in names]
    explained = [listed[0].cost for listed in found if listed and listed[0].cost < VAGUE]
    return len(found) - len(explained), sum(explained)


def _located(problem: Problem, of: BackwardPass, blame_dA: bool, relative: float) -> list[Case]:
    if problem.on_rows is not None and problem.options.get("sample_weight") is None:
        cases = _on_few_rows(problem, of, blame_dA, relative)
        if cases:
            return cases
    allowed = 4 * problem.subject.rounding
    given: dict[str, Array] = {}
    while True:
        case = Case(of, localise(of, problem.match.claimed, allowed, relative, given, blame_dA))
        unknown = [step for step in case.found.steps if not step.unique and step.prefix not in given]
        if not unknown or len(given) == MOST_GIVEN:
            return [case]
        formulas = formula_of(unknown[0].name, [case], problem.facts, 10 * relative)
        dA = dA_of(formulas[0], case, unknown[0]) if formulas else None
        if dA is None:
            return [case]
        given[unknown[0].prefix] = dA


def _on_few_rows(problem: Problem, of: BackwardPass, blame_dA: bool, relative: float) -> list[Case]:
    """Call the gradient function with a few rows: all steps are checked, and formulas are checked on other rows."""
    X, N = of.values[0], len(of.values[0])
    leaves = of.leaves.values()
    widths = [of.inputs[p].shape[1] for p, leaf in of.leaves.items() if isinstance(leaf, Dense)]
    least = 3 if any(isinstance(leaf, BatchNorm) for leaf in leaves) else 1
    if any(isinstance(leaf, Dropout) and leaf.p for leaf in leaves) and of.training:
        return []
    if least > N:
        return []
    most = max(least, min([*widths, N, MOST_ROWS]))
    if least < most == of.values[-1].shape[-1]:  # a formula tells N from the number of outputs
        most -= 1
    rng = np.random.default_rng(0)
    for count in dict.fromkeys((most, max(least, most // 2), least)):
        cases: list[Case] = []
        right: list[Case] = []
        # N in a formula shows in a batch of another size; not of one row, which is the first and the last.
        other = count - 1 if count > max(least, 2) else count + 1
        sizes = [count] * (BATCHES - 1) + [other] * (other <= N)
        for size in sizes if count < N else [N, *sizes[BATCHES - 1 :]]:
            rows = np.sort(rng.choice(N, size, replace=False))
            case = _case_of(problem, X[rows], of.y[rows], blame_dA, relative)
            if case is None:
                return []
            (cases if case.found.steps else right).append(case)
        if cases and all(case.found.complete for case in cases):
            return [*cases, *right]
    return []


def _case_of(problem: Problem, X: Array, y: Array, blame_dA: bool, relative: float) -> Case | None:
    """Return the localisation of the gradient function on other rows; None if it does not take them."""
    assert problem.on_rows is not None and problem.network is not None
    blocks = problem.match.blocks
    try:
        value = call_with(problem.on_rows, problem.network, X.astype(problem.network.dtype), y)
        claimed, _ = read_gradient(value, blocks, len(X))
        of = BackwardPass(problem.network, X, y, **problem.options)
        if problem.is_measured:
            measure_steps(of)
    except Exception:
        return None
    if not np.isfinite(claimed).all():
        return None
    eps = SINGLE if problem.match.relative > 1e-5 else EPS
    return Case(of, localise(of, claimed, 4 * rounding_of(claimed, blocks, 0.0, eps), relative, None, blame_dA))


def is_located(problem: Problem, steps: Sequence[WrongStep]) -> bool:
    """Return whether a list of wrong steps says something: not if every parameter is wrong in its own way."""
    of = problem.backward_pass
    layers = 0 if of is None else sum(bool(leaf.parameters) for leaf in of.leaves.values())
    return bool(steps) and (len(steps) <= max(2, layers) or len({step.kind for step in steps}) == 1)


def step_text(problem: Problem, step: WrongStep) -> str:
    """Return a step as it is printed: what it makes, from what, and through which layers."""
    of = problem.backward_pass
    assert of is not None
    if step.kind != "dA":
        return f"{step.name} from {step.source} ({layer_name(of, step.prefix)})"
    through = [layer_name(of, p) for p in step.path if p != "loss"]
    return f"{step.name} from {step.source}" + (f" (through {'; '.join(through)})" if through else "")


# ---- what they compute ---------------------------------------------------------------------------------------------


def formulas_of(
    problem: Problem, cases: Sequence[Case], steps: Sequence[WrongStep], is_explained: bool
) -> dict[str, list[Formula]]:
    """Return the formulas of the wrong steps; of the first alone, where the catalogue explains the gradient."""
    found: dict[str, list[Formula]] = {}
    if not cases or not steps:
        return found
    without = 0
    for step in steps[:1] if is_explained else steps:
        if without == MOST_WITHOUT:
            break
        fitted, others = _fitted_and_others(cases)
        most, relative = 2 if is_explained else MOST_TERMS, 10 * problem.match.relative
        found[step.name] = formula_of(
            step.name, fitted, problem.facts, relative, others, most, by_operations=not is_explained
        )
        without += not found[step.name]
    return found


def located_steps(
    problem: Problem, cases: Sequence[Case], is_explained: bool
) -> tuple[Sequence[Case], list[WrongStep], dict[str, list[Formula]]]:
    """Return the wrong steps of several batches, without those that are undecided and have no formula."""
    steps = list({step.name: step for case in reversed(cases) for step in case.found.steps}.values())
    formulas = formulas_of(problem, cases, steps, is_explained)
    undecided = {case.found.steps[-1].name for case in cases if not case.found.complete and case.found.steps}
    kept = [step for step in steps if step.unique or step.name not in undecided or formulas.get(step.name)]
    return cases, kept, formulas


def _fitted_and_others(cases: Sequence[Case]) -> tuple[Sequence[Case], Sequence[Case]]:
    """Return the batches of one size, to which formulas are fitted, and others to confirm them: also right ones."""
    rows = [len(case.of.values[-1]) for case in cases]
    fitted = [case for case, count in zip(cases, rows, strict=True) if count == rows[0] and case.found.steps]
    others = [case for case, count in zip(cases, rows, strict=True) if count != rows[0] or not case.found.steps]
    if any(len(case.of.values[-1]) != rows[0] for case in others) or len(fitted) < 3:
        return fitted, others
    return fitted[:-1], [fitted[-1], *others]


def explain_steps(
    problem: Problem, cases: Sequence[Case], steps: Sequence[WrongStep], formulas: Mapping[str, list[Formula]]
) -> list[Explanation]:
    """Return the explanation of every wrong step by itself; none if one of them has none, or may be unseen."""
    causes: list[Cause] = []
    if not steps or not all(case.found.complete for case in cases):
        return []
    for step in steps:
        case = next(case for case in cases if any(step is own for own in case.found.steps))
        named = _catalogued(problem, case, step)
        listed = formulas.get(step.name, [])
        if not listed and not named:
            return []
        text = step_text(problem, step)
        evidence = str(listed[0]) if listed else f"a backward pass with this mistake gives {step.name}"
        if listed and (factor := _factor_name(problem, listed[0], float(np.linalg.norm(step.actual)))):
            cause = Cause(factor, text, "a constant factor is too much or missing", evidence)
        elif named:
            cause = Cause(named[0].name, named[0].where, named[0].hint, evidence, at=named[0].at)
        else:
            fitted, others = _fitted_and_others(cases)
            right = right_formula(step.name, fitted, listed[0], problem.facts, others)
            evidence += f"; {right}" if right else ""
            cause = Cause(str(listed[0]), text, "one step of the backward pass computes something else", evidence)
        causes.append(cause)
    return [explain([*problem.odd, *causes], 0.0)]


def _factor_name(problem: Problem, formula: Formula, norm: float) -> str:
    """Return the name of a factor, if a formula says that a step is a multiple of the right one; else nothing."""
    if formula.terms != ("right",):
        return ""
    ratio = formula.coefficients[0]
    known = {"": 1.0, "factor 2": 2.0, "factor 1/2": 0.5}
    for name, number in problem.match.facts.items():
        known |= {f"times {name}": number, f"divided by {name}": 1 / number if number else 0.0}
    if len(formula.factors[0]) > 1:  # several numbers coincide: the formula names them all
        return ""
    size = next((n for n, v in known.items() if abs(abs(ratio) - v) <= 1e-6 * v), "constant factor")
    if size == "constant factor" and norm and any(abs(norm / n - 1) <= 1e-6 for n in ROUND_NORMS):
        size = f"{'normalized' if norm == 1 else 'clipped by norm'}, to {norm:.6g}"
    way = " or ".join(formula.factors[0])
    if size == "constant factor" and any(map(str.isalpha, way)) and ways_to_write(ratio, {}, 1e-9)[1] >= ODD:
        size = f"times {way}"
    return " and ".join(part for part in ("sign" if ratio < 0 else "", size) if part)


def _catalogued(problem: Problem, case: Case, step: WrongStep) -> list[Mistake]:
    """Return the mistakes of the catalogue that make a step what it is, all other steps being as they are."""
    of, found, relative = case.of, [], problem.match.relative
    above = {p: dA for p, dA in case.found.actual.items() if of.is_above(p, step.prefix)}
    if step.kind != "dA":
        above[step.prefix] = case.found.actual[step.prefix]
    right = _distance(of, of.gradient(incoming=above), step)
    for mistake in mistakes(of)[: affordable(of)]:
        if len(mistake.steps) == 1 and not mistake.has_learning_rate:
            # A mistake in a layer changes all dA below it; so each that is known has to be what it makes.
            between = {p: dA for p, dA in above.items() if int(p.split(".")[0]) < min(mistake.steps)}
            made = of.gradient(mistake.steps, 0.0, {p: dA for p, dA in above.items() if p not in between})
            left = max(_distance(of, made, step), *(_apart(of.incoming[p], dA) for p, dA in between.items()), 0.0)
            if left <= min(10 * relative, SHARE * right):
                found.append(mistake)
    return found


def _apart(made: Array, claimed: Array) -> float:
    return float(np.abs(made - claimed).max() / (np.abs(claimed).max() or 1.0))


def _distance(of: BackwardPass, gradient: Array, step: WrongStep) -> float:
    """Return the largest difference of the latest backward pass from a claimed step, relative to its largest entry."""
    made = of.network.blocks(gradient)
    if step.kind != "dA":
        pairs = [(made[f"{step.prefix}{step.kind}"], step.actual)]
    elif step.unique:
        pairs = [(of.incoming[step.prefix], step.actual)]
    else:
        pairs = [(made[name], claimed) for name, claimed in step.claimed.items()]
    return max(_apart(*pair) for pair in pairs)


def explain_entries(problem: Problem) -> list[Explanation]:
    """Return the wrong entries of the gradient as its explanation, if they are few and all others agree."""
    check = problem.check
    if check is None or len(check.wrong) > MOST_ENTRIES:
        return []
    failed = [block for block in check.blocks if block.wrong]
    if any(not block.is_complete or block.size < FEW * block.wrong for block in failed):
        return []
    hint = "the parameter's gradient is right, except for a few of its entries"
    names = " and ".join(entry.name for entry in check.wrong)
    name = f"wrong entr{'y' if len(check.wrong) == 1 else 'ies'} {names}"
    at = tuple(block.name for block in failed)
    cause = Cause(name, ", ".join(at), hint, "; ".join(map(str, check.wrong)), at=at)
    return [explain([*problem.odd, cause], 0.0)]


def explain_parameters(problem: Problem, wrong: Sequence[str]) -> list[Explanation]:
    """Return a formula of every wrong parameter's gradient by itself, without a network; none if one has none."""
    match, causes = problem.match, []
    if problem.backward_pass is not None:
        return []
    facts = problem.facts | ({"N": match.facts["N"]} if "N" in match.facts else {})
    for block in (b for name in wrong for b in match.blocks if b.name == name):
        at = block.slice
        if not match.decided[at].all():
            return []
        right, theta = (v[at].reshape(block.shape) for v in (problem.truth, match.theta))
        terms = list(beside_parameter(right, theta, block.name))
        same = (other for other in match.blocks if other is not block and other.shape == block.shape)
        others = [Term(f"gradient of {other.name}", problem.truth[other.slice], 1.2) for other in same]
        terms += others
        size = np.abs(match.claimed[at]).max(initial=0.0) or 1.0
        change = np.abs(match.claimed[at] - problem.truth[at]).max() / size
        limit = min(10 * max(match.relative, 1e-7), SHARE * change)
        name = f"gradient of {block.name}"
        formulas = fit(match.claimed[at], terms, facts, limit, name)
        formulas = formulas or plain_sums(match.claimed[at], [Term("right", right, 0.5), *others], limit, name)
        seen = pattern_of(match.claimed[at].reshape(block.shape), right)
        if not formulas and not seen:
            return []
        text = str(formulas[0]) if formulas else f"gradient of {block.name} = {seen}"
        hint = "the gradient of a parameter is computed from something else"
        causes.append(Cause(text, block.name, hint, text))
    return [explain([*problem.odd, *causes], 0.0)] if causes else []


def wrong_parts(problem: Problem, wrong: Sequence[str]) -> list[str]:
    """Return which parts of the parameters of a function are wrong, in words; none if no part is right."""
    check = problem.check
    if problem.backward_pass is not None or check is None:
        return []
    verdicts = np.full(problem.truth.size, "", object)
    verdicts[check.entries.index] = check.entries.verdict
    if not (verdicts == "right").any():
        return []
    blocks = (block for name in wrong for block in problem.match.blocks if block.name == name)
    parts = [_part_of(block.name, verdicts[block.slice].reshape(block.shape)) for block in blocks]
    return parts if len(parts) < len(problem.match.blocks) or parts != list(wrong) else []


def _part_of(name: str, verdicts: Array) -> str:
    """Return the rows, columns or entries of a parameter that are wrong, in words; its name, where that is most."""
    is_wrong = verdicts == "wrong"
    if not is_wrong.any() or not np.isin(verdicts, ("wrong", "right")).all() or is_wrong.mean() > MOST_OF:
        return name
    for axis, kind in ((1, "row"), (0, "column")) if is_wrong.ndim == 2 else ():
        lines = np.flatnonzero(is_wrong.any(axis=axis))
        if len(lines) <= MOST_OF * is_wrong.shape[1 - axis] and is_wrong.sum() > len(lines):
            return f"{_listed(kind, lines.tolist())} of {name}"
    entries = [", ".join(map(str, index)) for index in np.argwhere(is_wrong).tolist()]
    if len(entries) <= MOST_LISTED:
        return ", ".join(f"{name}[{entry}]" for entry in entries)
    return f"{len(entries)} of {is_wrong.size} entries of {name}"


def _listed(kind: str, numbers: Sequence[int]) -> str:
    more = ", ..." if len(numbers) > MOST_LISTED else ""
    return f"{kind}{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers[:MOST_LISTED]))}{more}"
