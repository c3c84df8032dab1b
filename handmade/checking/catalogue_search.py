"""9. Mistakes of the catalogue made on purpose: alone, with a factor or a penalty, and in pairs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from .._types import Array
from ..progress import progress_bar
from .backward_pass import BackwardPass
from .causes import Cause
from .explanation import Explanation
from .mistakes import Mistake
from .other_networks import right_ones_elsewhere
from .problem import Problem

__all__ = ["affordable", "explain", "mistakes_alone", "mistakes_in_pairs", "right_elsewhere", "simplest"]

Found = Iterator[tuple[list[Cause], int, float]]  # the causes, the count of fitted numbers, the residual

SHARE = 0.01  # an explanation must remove 99 % of the difference, or tiny differences would be explained by anything
CHANCE = 1e-3  # an explanation that a random gradient would meet more often than this explains nothing
WORK = 4e8  # numbers that a search computes, about: it ends after a count of candidates, the same on every machine
PER_LAYER, PER_PARAMETER, PER_VALUE = 15_000, 20, 50  # numbers to a candidate: calls, comparisons, derivatives


def explain(causes: Sequence[Cause], residual: float) -> Explanation:
    """Return several causes as one explanation."""

    def joined(attribute: str, by: str) -> str:
        return by.join(dict.fromkeys(getattr(cause, attribute) for cause in causes))

    name, where = joined("name", " and "), joined("where", ", and ")
    at = tuple(dict.fromkeys(place for cause in causes for place in cause.at)) if all(c.at for c in causes) else ()
    return Explanation(name, where, joined("hint", "; "), joined("evidence", "; "), residual, at)


def simplest(problem: Problem, found: Found) -> list[Explanation]:
    """Return the explanations with the fewest fitted numbers."""
    listed = list(found)
    if not listed:
        return []
    fewest = min(fitted for _, fitted, _ in listed)
    chosen = [(causes, residual) for causes, fitted, residual in listed if fitted == fewest]
    return list(dict.fromkeys(explain([*problem.odd, *causes], residual) for causes, residual in chosen))


def mistakes_alone(problem: Problem, known: Sequence[Mistake]) -> Found:
    """Yield each mistake that explains the claim by itself; first factors, transposes and penalties."""
    yield from _matches(problem, problem.truth, [], 1)
    for mistake in known[: affordable(problem.backward_pass)]:
        yield from _matches(problem, *_made(problem, mistake), 0)


def right_elsewhere(problem: Problem) -> Found:
    """Yield each change of the network that makes the claim its right gradient."""
    of, network = problem.backward_pass, problem.network
    if of is None or network is None or problem.is_measured:
        return
    for gradient, causes in itertools.islice(right_ones_elsewhere(network, of), affordable(of)):
        yield from _matches(problem, gradient, causes, 0)


def mistakes_in_pairs(problem: Problem, known: Sequence[Mistake], progress: bool) -> Found:
    """Yield pairs of mistakes: neither touches what is right, and one of them shows in the first wrong layer."""
    match, truth = problem.match, problem.truth
    yield from _matches(problem, truth, [], 2)
    wrong = match.wrong_blocks(truth)
    if not wrong:
        return
    leading: list[Mistake] = []
    others: list[Mistake] = []
    most = affordable(problem.backward_pass)
    for mistake in known[:most]:
        gradient, made = _made(problem, mistake)
        yield from _matches(problem, gradient, made, 1)
        changed = match.wrong_blocks(truth, gradient)
        if changed and all(block in wrong for block in changed):
            (leading if changed[0].layer == wrong[0].layer else others).append(mistake)
    every = itertools.chain(itertools.combinations(leading, 2), itertools.product(leading, others))
    pairs = list(itertools.islice(every, max(0, most - len(known))))
    with progress_bar("pairs of mistakes", len(pairs), progress and bool(pairs)) as report:
        for i, (one, other) in enumerate(pairs):
            if not one.steps.keys() & other.steps.keys():
                yield from _matches(problem, *_made(problem, one, other), 0)
            report(i + 1)


def affordable(of: BackwardPass | None) -> int:
    """Return how many mistakes a search makes on purpose: as many as their cost allows, and at least one."""
    if of is None:
        return 0
    values = sum(output.size for output in of.outputs.values())
    cost = PER_LAYER * len(of.leaves) + PER_PARAMETER * of.network.theta.size + PER_VALUE * values
    return max(1, int(WORK / cost))


def _made(problem: Problem, *made: Mistake) -> tuple[Array, list[Cause]]:
    """Return the gradient that these mistakes lead to, and their causes."""
    of = problem.backward_pass
    assert of is not None
    steps = {i: step for mistake in made for i, step in mistake.steps.items()}
    scale = 0.0
    if has_rate := any(mistake.has_learning_rate for mistake in made):
        scale = problem.match.fitted_scale(of.gradient(steps, 0.0), of.gradient(steps, 1.0))
    evidence = "a backward pass with this mistake gives the claimed gradient"
    evidence += f", with a learning rate of {scale:.6g}" if has_rate else ""
    causes = [Cause(m.name, m.where, m.hint, evidence, fitted=int(m.has_learning_rate), at=m.at) for m in made]
    return of.gradient(steps, scale), causes


def _matches(problem: Problem, candidate: Array, made: list[Cause], most: int) -> Found:
    """Yield the explanations of the claim by the candidate and at most so many further causes."""
    match, truth = problem.match, problem.truth
    for causes, residual in match.explanations(candidate, most):
        together = [*made, *causes]
        fitted = sum(cause.fitted for cause in together)
        explains = residual <= SHARE * match.residual(truth)
        if together and explains and match.chance(truth, fitted) < CHANCE:
            yield together, fitted, residual
