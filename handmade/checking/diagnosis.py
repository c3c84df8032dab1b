"""9. A wrong gradient explained: which step of the backward pass is wrong, and how.

Whether a gradient is right is decided by `examine`, which `check_gradient` uses, too. If it is wrong, four searches
explain it, the simplest first:

1. A catalogue of known mistakes. Each is made on purpose, and the gradient that it leads to compared with the claim.
2. Where the code that is to be differentiated is known (a function, or layers and losses of one's own), its operations
   are recorded, and mistakes made in the backward pass through them (`operations.search`). If none explains the
   claim, a regression searches for the formula of the gradient by one value (`operations.values`).
3. Localisation: the algebra of dense layers shows which steps are wrong, however many (`localisation`), and a
   regression gives the formula of each (`formulas`).
4. Pairs of mistakes of the catalogue, where the algebra cannot separate the steps.

If nothing explains the gradient, the diagnosis says so, and shows the rows of the wrong step beside the right ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .._validation import check_bool, finite
from ..base_layer import Layer
from ..losses import Loss
from ..network import Network
from .catalogue_search import explain, mistakes_alone, mistakes_in_pairs, right_elsewhere, simplest
from .claims import CHANGES, WRONG_AXIS
from .explanation import Explanation
from .formulas.step_formulas import Case
from .localisation import WrongStep
from .mistakes import mistakes
from .operations.explanations import explain_operations
from .places import Place, is_within, place_of, places_of
from .problem import Problem, function_problem, network_problem
from .regression import Formula
from .reports import Diagnosis, Rows
from .step_search import (
    explain_entries,
    explain_parameters,
    explain_steps,
    is_located,
    locate,
    located_steps,
    step_text,
    wrong_parts,
)
from .subjects import check_no_options
from .terms import terms_that_explain

__all__ = ["diagnose_gradient"]


def diagnose_gradient(
    target: Network | Callable[..., float],
    *arguments: Any,
    loss: Loss = "cross_entropy",
    sample_weight: npt.ArrayLike | None = None,
    training: bool = True,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    facts: Mapping[str, float] | None = None,
    terms: Mapping[str, Callable[..., float]] | None = None,
    progress: bool = False,
) -> Diagnosis:
    """Find out whether a gradient is right, and if not, which step of the backward pass is wrong and how.

    There are three ways to call it. ``diagnose_gradient(network, X, y, gradient)`` takes a gradient that your own code
    computes for the same network and batch. ``diagnose_gradient(network, X, y)`` takes the network's own gradient, for
    networks with layers or losses of your own. ``diagnose_gradient(f, theta, gradient)`` takes any gradient of any
    function. With a network, every step of the backward pass can be checked. With a function alone, factors, signs,
    transposes, missing or swapped parameters and penalties can be named, wrong weights of the function's ``terms``,
    and, if it consists of NumPy's operations, the operation that is differentiated wrongly.

    Parameters
    ----------
    target : Network or callable
        The network, or a function of theta that returns a number. It gets theta in the form in which you give it.
    *arguments
        X, y and the claimed gradient; or theta and the claimed gradient. Theta and gradients are flat vectors, lists
        of arrays (W0, b0, W1, b1, ...), dicts of arrays by name, or nested lists of them; the arrays are NumPy arrays,
        torch tensors, or lists of numbers. Biases may be rows or columns. Weights may be (I, O) if one of them is not
        square. Gradients may also come as (dW, db) pairs, as weights before biases, or as one matrix [b W] per layer.

        A gradient may also be a function of theta; or, for a network, a function of ``(parameters, X, y)`` that takes
        the list ``[W0, b0, W1, b1, ...]`` and returns gradients or (loss, gradients). It is called with as few rows as
        are needed to check every step by itself.
    loss, sample_weight, training
        For networks: as in `Network.loss_and_gradient`.
    batch_size : int, optional
        For functions: N, so that a factor N or 1/N can be named. A network's batch is known.
    learning_rate : float, optional
        The learning rate of your code, so that it can be named as a factor.
    facts : dict of str to float, optional
        More numbers that have a name in your code, such as ``{"tau": 0.6}``.
    terms : dict of str to callable, optional
        For functions that are a sum of terms: each term, as a function of theta. The claim is compared with the
        measured gradient of each term.
    progress : bool
        Whether to show progress.

    Returns
    -------
    Diagnosis
        With ``verdict``, ``step``, ``formula`` and ``explanations``; printed, a report.

    Raises
    ------
    ValueError, TypeError
        If shapes do not fit, or the function is not deterministic, changes its argument or returns no number.

    Examples
    --------
    In this gradient, the derivative of tanh is missing:

    >>> network = hm.MLP([2, 3, 2], activation="tanh", rng=0)
    >>> X, y = hm.data.xor()
    >>> W1, b1, W2, b2 = network.state_dict().values()
    >>> H = np.tanh(X @ W1.T + b1)
    >>> P = hm.activations.softmax(H @ W2.T + b2)
    >>> dA2 = (P - np.eye(2)[y]) / len(X)
    >>> dA1 = dA2 @ W2
    >>> diagnosis = hm.diagnose_gradient(network, X, y, [dA1.T @ X, dA1.sum(axis=0), dA2.T @ H, dA2.sum(axis=0)])
    >>> diagnosis.first_wrong, diagnosis.explanations[0].name, diagnosis.explanations[0].where
    ('0.weight', 'activation derivative missing', "layers[1], Activation('tanh')")

    A gradient of any function:

    >>> f = lambda theta: float(theta @ theta)
    >>> diagnosis = hm.diagnose_gradient(f, np.array([1.0, 3.0]), np.array([-1.0, -3.0]))
    >>> diagnosis.verdict, [explanation.name for explanation in diagnosis.explanations]
    ('named', ['sign and factor 1/2'])
    """
    of_network = isinstance(target, Network)
    expected = "(network, X, y) or (network, X, y, gradient) with a Network, or (f, theta, gradient)"
    if len(arguments) not in ((2, 3) if of_network else (2,)) or (isinstance(target, Layer) and not of_network):
        given = ", ".join(type(argument).__name__ for argument in (target, *arguments))
        raise TypeError(f"diagnose_gradient: expected {expected}, got {given}")
    check_bool(progress, "progress")
    check_bool(training, "training")
    for name, value in {"facts": facts, "terms": terms}.items():
        if not isinstance(value, Mapping | None):
            raise TypeError(f"{name}: expected a dict, got {value!r}")
    if not all(map(callable, (terms or {}).values())):
        raise TypeError(f"terms: expected functions of theta, got {terms!r}")
    numbers: dict[str, Any] = {"batch_size": batch_size, "learning_rate": learning_rate, **(facts or {})}
    for name, value in numbers.items():
        if value is not None:
            finite(value, name)
    known = {"N": batch_size, "learning rate": learning_rate, **(facts or {})}
    if isinstance(target, Network):
        if terms is not None:
            raise TypeError(f"terms: expected none with a network, whose layers and loss are known, got {list(terms)}")
        options = dict(loss=loss, sample_weight=sample_weight, training=training)
        problem = network_problem(target, *arguments, options=options, facts=known)
    else:
        check_no_options(loss=loss, sample_weight=sample_weight, training=training)
        problem = function_problem(target, *arguments, facts=known, terms=terms or {}, progress=progress)
    with np.errstate(all="ignore"):  # infinite candidates never match
        return _diagnosis_of(problem, progress)


# ---- the searches, one after the other -------------------------------------------------------------------------------


def _diagnosis_of(problem: Problem, progress: bool) -> Diagnosis:
    """Compare a claim with differences, and search for an explanation if it is wrong."""
    match = problem.match
    if not np.isfinite(match.claimed).all():
        return _report(problem, "named", [explain([match.not_finite()], 0.0)], match.not_finite_blocks())
    if problem.check is None:
        problem.check = problem.examined(progress)
    order = {block.name: -block.layer for block in match.blocks}
    wrong = sorted((b.name for b in problem.check.blocks if b.wrong), key=lambda name: order[name])
    if not wrong and not problem.check and not problem.odd:
        return _report(problem, "undecided", [], [])
    if not wrong:
        found = [explain(problem.odd, 0.0)] if problem.odd else []
        return _report(problem, "named" if found else "right", found, [])
    missing = any(cause.name == "not returned" and cause.where == "everything" for cause in problem.odd)
    if missing or any(cause.name in (CHANGES, WRONG_AXIS) for cause in problem.odd):  # its numbers say nothing
        return _report(problem, "named", [explain(problem.odd, match.residual(problem.truth))], wrong)
    return _explained(problem, wrong, progress)


def _explained(problem: Problem, wrong: list[str], progress: bool) -> Diagnosis:
    """Search for explanations, the simplest first."""
    if problem.terms and problem.parameters is not None:
        found = terms_that_explain(problem.subject, problem.terms, problem.parameters, problem.match)
        if found:
            return _report(problem, "named", found, wrong)
    if found := explain_entries(problem):
        return _report(problem, "named", found, wrong)
    known = mistakes(problem.backward_pass) if problem.backward_pass else []
    found = simplest(problem, mistakes_alone(problem, known))
    if not found or (problem.is_own and _is_vague(found)):
        found = explain_operations(problem, formulas=False) or found
    located = [located_steps(problem, cases, bool(found)) for cases in locate(problem)]
    (cases, steps, formulas), *others = located
    if not found or _is_vague(found):
        by_steps = [explain_steps(problem, *one) for one in located]
        if by_steps[0]:
            found = list({str(e): e for listed in by_steps for e in listed}.values())
    if not found and (elsewhere := simplest(problem, right_elsewhere(problem))):
        return _report(problem, "named", elsewhere, wrong)
    if not found:
        pairs = simplest(problem, mistakes_in_pairs(problem, known, progress))
        if steps and all(case.found.complete for case in cases) and all(step.unique for step in steps):
            pairs = [pair for pair in pairs if is_within(problem, pair, [place_of(step) for step in steps])]
        found = pairs or explain_parameters(problem, wrong)
    if not found or (problem.is_own and _is_vague(found)):
        found = explain_operations(problem, formulas=True) or found
    if not found and problem.odd:
        found = [explain(problem.odd, problem.match.residual(problem.truth))]
    parts = [] if found else wrong_parts(problem, wrong)
    verdict = "named" if found else "located" if parts or is_located(problem, steps) else "unknown"
    rivals = [step for _, rival, _ in others for step in rival]
    return _report(problem, verdict, found, wrong, cases, steps, formulas, rivals, parts)


def _is_vague(found: list[Explanation]) -> bool:
    """Return whether nothing is known but that a factor without a name is wrong."""
    return all(explanation.name == "constant factor" for explanation in found)


def _report(
    problem: Problem,
    verdict: str,
    found: list[Explanation],
    wrong: list[str],
    cases: Sequence[Case] = (),
    steps: Sequence[WrongStep] = (),
    formulas: Mapping[str, list[Formula]] | None = None,
    rivals: Sequence[WrongStep] = (),
    parts: Sequence[str] = (),
) -> Diagnosis:
    match, check = problem.match, problem.check
    alternatives = [[step, *_rivals_of(step, steps, rivals)] for step in steps]
    first = steps[0] if steps else None
    best = (formulas or {}).get(first.name, []) if first is not None else []
    return Diagnosis(
        verdict,
        wrong,
        found,
        ratios=match.ratios(problem.truth, wrong),
        difference=match.residual(problem.truth),
        tolerance=match.relative,
        tried=match.compared,
        undecided=len(check.undecidable) if check is not None else int(np.sum(~match.decided)),
        steps=[*(", or ".join(step_text(problem, one) for one in listed) for listed in alternatives), *parts],
        places=places_of(problem, [place_of(*listed) for listed in alternatives], found, wrong)
        or [Place(parameters=(name,)) for name in wrong if parts],
        formula=str(best[0]) if best else None,
        rows=Rows(first.name, first.actual, first.right) if first is not None and first.unique else None,
        advice=_advice(problem, verdict, found, cases),
        check=check,
    )


def _rivals_of(step: WrongStep, steps: Sequence[WrongStep], rivals: Sequence[WrongStep]) -> list[WrongStep]:
    """Return the steps of the same layer that explain equally much in place of a step."""
    known = [own.name for own in steps]
    return [rival for rival in rivals if rival.prefix == step.prefix and rival.name not in known]


def _advice(problem: Problem, verdict: str, found: list[Explanation], cases: Sequence[Case]) -> str:
    """Return what would tell more than this batch does."""
    if problem.layouts and any("transposed" in explanation.name for explanation in found):
        return "right, if your weights are laid out as (I, O): they are square, so their shapes do not tell"
    open_cases = [case.found for case in cases if not case.found.complete]
    if verdict not in ("unknown", "located") or not open_cases:
        return ""
    if problem.on_rows is not None:  # of which fewer rows have been tried
        return ""
    rows = min(3, *(case.rows for case in open_cases))
    return (
        f"{open_cases[0].undecided} cannot be separated from the steps around it on this batch: give the gradient of "
        f"{rows} row{'s' if rows > 1 else ''}, or a function of (parameters, X, y)"
    )
