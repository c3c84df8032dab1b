"""9. The gradient of a function explained by the terms of which the function is the sum."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import numpy as np

from .._types import Array
from .claims import Parameters
from .differences import numerical_gradient
from .explanation import Explanation
from .regression import Term, fit
from .subjects import Subject
from .transforms import GradientMatch

HINT = "a term of the function does not enter as it should"
RELATIVE = 1e-6  # differences are good to this, relative to the largest entry


def terms_that_explain(
    subject: Subject, terms: Mapping[str, Callable[..., float]], parameters: Parameters, match: GradientMatch
) -> list[Explanation]:
    """Return the explanation of a claim as a combination of the measured gradients of a function's terms.

    The true gradient is fitted first: its coefficients are the right ones. A coefficient of the claim that differs is
    the mistake: 0 is a missing term, the opposite a sign, N a mean that was not taken.
    """
    gradients = {
        name: numerical_gradient(functools.partial(_value_of, term, parameters), subject.theta)
        for name, term in terms.items()
    }
    X = np.stack(list(gradients.values()), axis=1)
    decided = np.isfinite(match.allowed)
    truth = numerical_gradient(subject.f, subject.theta)
    size = max(np.abs(truth).max(), np.abs(subject.claimed).max())
    right = dict(zip(gradients, _right_coefficients(X, truth, decided, size, list(gradients)), strict=True))
    facts = {name: value for name, value in match.facts.items() if value not in (0, 1)}
    for scope, chosen in _scopes(match, decided):
        claimed = subject.claimed[chosen]
        weights, *_ = np.linalg.lstsq(X[chosen], claimed)
        outside = [b.name for b in match.wrong_blocks(truth) if not chosen[b.slice].all()]
        if np.abs(X[chosen] @ weights - claimed).max() > RELATIVE * size or outside:
            continue
        claim = dict(zip(gradients, weights, strict=True))
        texts = [_coefficient_text(n, claim[n], right[n], facts) for n in claim if not _same(claim[n], right[n])]
        if texts:
            evidence = f"claimed = {_sum_text(claim)}, the true gradient is {_sum_text(right)}"
            return [Explanation(" and ".join(texts), scope, HINT, evidence, 0.0)]
    return _by_facts(subject, match, gradients, facts)


def _right_coefficients(X: Array, truth: Array, decided: Array, size: float, names: list[str]) -> Array:
    """Return the coefficients with which the terms' gradients sum to the true one; raise if none do."""
    right, *_ = np.linalg.lstsq(X[decided], truth[decided])
    if np.abs(X @ right - truth)[decided].max() > RELATIVE * size:
        raise ValueError(
            f"terms: expected functions whose sum, each times a number, is the function; "
            f"{', '.join(names)} leave {np.abs(X @ right - truth).max() / size:.1e} of its gradient"
        )
    return right


def _sum_text(coefficients: Mapping[str, float]) -> str:
    return " + ".join(f"{number:.6g} {name}" for name, number in coefficients.items())


def _value_of(term: Callable[..., float], parameters: Parameters, vector: Array) -> float:
    return float(term(parameters.shaped(vector)))


def _scopes(match: GradientMatch, decided: Array) -> list[tuple[str, Array]]:
    scopes = [("every parameter", decided)]
    for block in match.blocks if len(match.blocks) > 1 else ():
        chosen = np.zeros(decided.shape, bool)
        chosen[block.slice] = decided[block.slice]
        if chosen.sum() > 3:
            scopes.append((block.name, chosen))
    return scopes


def _same(a: float, b: float) -> bool:
    return abs(a - b) <= 1e-5 * max(abs(a), abs(b), 1.0)


def _coefficient_text(name: str, weight: float, right: float, facts: Mapping[str, float]) -> str:
    """Return a phrase about a coefficient that is not the right one."""
    if abs(weight) <= 1e-6 * abs(right):
        return f"{name} missing"
    ratio = weight / right if right else weight
    if _same(ratio, -1):
        return f"sign of {name}"
    sign = "sign and " if ratio < 0 else ""
    for fact, value in facts.items():
        for text, number in (f"times {fact}", value), (f"divided by {fact}", 1 / value):
            if _same(abs(ratio), number) or abs(abs(ratio) / number - 1) < 1e-6:
                return f"{name} {sign}{text}"
        if abs(abs(ratio) / value**2 - 1) < 1e-6:
            return f"{name} {sign}times {fact}^2"
    return f"{name} times {ratio:.6g}"


def _by_facts(
    subject: Subject, match: GradientMatch, gradients: Mapping[str, Array], facts: Mapping[str, float]
) -> list[Explanation]:
    """Return the explanation of each wrong parameter by itself as a combination of terms and parameters."""
    truth = numerical_gradient(subject.f, subject.theta)
    columns = [Term(name, g) for name, g in gradients.items()]
    columns += [Term("theta", subject.theta, 1.5), Term("1", np.ones(truth.size), 1.6)]
    columns += [Term("sign(theta)", np.sign(subject.theta), 1.8)]
    columns += [Term(f"|{name}|", np.abs(g), 2.0) for name, g in gradients.items()]
    wrong = match.wrong_blocks(truth)
    said: list[tuple[str, str]] = []
    for blocks in [wrong], [[block] for block in wrong]:  # one formula for all, or one for each
        for chosen in blocks:
            at = np.concatenate([np.arange(block.start, block.start + block.size) for block in chosen])
            names = ", ".join(block.name for block in chosen)
            usable = [term._replace(value=term.value[at]) for term in columns]
            found = fit(subject.claimed[at], usable, facts, RELATIVE, f"gradient of {names}")
            right = fit(truth[at], usable[: len(gradients)], facts, RELATIVE, "right")
            if found:  # what lies below a wrong parameter may be wrong in ways that no sum of terms shows
                lacking = [
                    f"{term} missing" for term in (right[0].terms if right else ()) if term not in found[0].terms
                ]
                said.append((names, ", ".join([*lacking, str(found[0]), *map(str, right[:1])])))
        if said:
            break
    if not said:
        return []
    name, where = " and ".join(text for _, text in said), ", ".join(names for names, _ in said)
    return [Explanation(name, where, HINT, name, 0.0, tuple(where.split(", ")))]
