"""9. Transforms of one gradient into another: factors, transposes, swaps, penalties, in some parameters or in all.

This half of a diagnosis needs no network: two vectors, split into parameters, are compared.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from .._types import Array
from .causes import Block, Cause, Match, tolerance

# Functions of the right gradient of a parameter, each with a hint.
BLOCK_TRANSFORMS: dict[str, tuple[str, Callable[[Array], Array]]] = {
    "transposed": ("rows and columns are exchanged", lambda t: t.T),
    "not computed": ("a parameter has no gradient at all", np.zeros_like),
    "rows in reverse": ("the order of the units is turned around", lambda t: t[::-1]),
    "columns in reverse": ("the order of the inputs is turned around", lambda t: t[..., ::-1]),
    "without sign": ("the signs are lost", np.abs),
    "sign only": ("the size is lost", np.sign),
    "squared": ("the gradient is used twice", np.square),
}

# The same for the gradient as a whole; ``c`` is the claim.
GLOBAL_TRANSFORMS: dict[str, tuple[str, Callable[[Array, Array], Array]]] = {
    "clipped by value": ("large entries are cut off", lambda t, c: np.clip(t, -np.abs(c).max(), np.abs(c).max())),
    "truncated to integers": ("the numbers pass through an integer type", lambda t, c: np.trunc(t)),
    "rounded to integers": ("the numbers pass through an integer type", lambda t, c: np.round(t)),
    "rounded to float16": ("the numbers pass through a type of few digits", lambda t, c: t.astype(np.float16)),
    "rounded to four decimals": ("the numbers are rounded", lambda t, c: np.round(t, 4)),
    "without sign": (BLOCK_TRANSFORMS["without sign"][0], lambda t, c: np.abs(t)),
    "sign only": (BLOCK_TRANSFORMS["sign only"][0], lambda t, c: np.sign(t)),
    "squared": (BLOCK_TRANSFORMS["squared"][0], lambda t, c: np.square(t)),
    "parameters in reverse": ("the order of the parameters is turned around", lambda t, c: t[::-1]),
}

ROUND_NORMS = (0.01, 0.1, 0.25, 0.5, 1, 2, 5, 10, 100)


def _factors_of(facts: Mapping[str, float]) -> dict[str, tuple[float, str]]:
    """Return the factors that known numbers make, by name, each with a hint."""
    known = {}
    for name, number in facts.items():
        if number not in (0, 1):
            known[f"times {name}"] = (number, "a sum where there should be a mean, or a factor too many")
            known[f"divided by {name}"] = (1 / number, "a mean is taken once too often, or over too much")
    return known


SAMPLE = 64  # entries of each parameter that are compared before all of them


class GradientMatch:
    """A claimed gradient, and its comparison with candidates.

    Parameters
    ----------
    blocks : sequence of Block
        The parameters in the order of theta.
    theta, claimed : ndarray, shape (P,)
        The parameters' values, and their claimed gradient.
    allowed : ndarray, shape (P,)
        The error that each entry of the truth may have; infinite where nothing is known, as at a kink.
    facts : mapping of str to number or None
        Names for factors, e.g. N.
    single : bool
        Whether the claim was computed in float32.

    Attributes
    ----------
    relative : float
        The difference, relative to the largest entry of a parameter, up to which two gradients count as equal.
    compared : int
        The number of comparisons.
    """

    theta: Array
    claimed: Array
    allowed: Array
    decided: Array

    def __init__(
        self,
        blocks: Sequence[Block],
        theta: Array,
        claimed: Array,
        allowed: Array,
        facts: Mapping[str, float | None],
        single: bool,
    ) -> None:
        self.blocks = blocks
        self.theta, self.claimed, self.allowed, self.decided = theta, claimed, allowed, np.isfinite(allowed)
        self.relative: float = tolerance(single)
        self.facts: dict[str, float] = {name: float(number) for name, number in facts.items() if number is not None}
        self._starts = [block.start for block in blocks]
        chosen = [np.linspace(b.start, b.start + b.size, min(b.size, SAMPLE), endpoint=False) for b in blocks]
        at = np.concatenate(chosen).astype(np.intp)
        self._sample: Array = at[self.decided[at]]
        self._margin: Array = self._limits()[self._sample]
        self.compared = 0

    # ---- equal or not ----------------------------------------------------------------------------------------------

    def _largest(self, vector: Array) -> Array:
        """Return the largest size of an entry in each parameter."""
        return np.maximum.reduceat(np.abs(vector), self._starts)

    def _scales(self, *vectors: Array) -> Array:
        """Return the divisor of a difference in each parameter: its largest entry, unless that is next to nothing."""
        largest = np.maximum.reduce([self._largest(vector) for vector in vectors])
        return np.maximum(largest, 1e-3 * largest.max() or 1.0)

    def _differences(self, a: Array, b: Array) -> Array:
        """Return the largest difference in each parameter, relative to it; NaN where one of the two is."""
        return self._largest(np.maximum(np.abs(a - b) - self.allowed, 0)) / self._scales(a, b)

    def _limits(self) -> Array:
        """Return a difference from the claim, for each entry, that no candidate has which equals the claim."""
        sizes = np.repeat(self._scales(self.claimed), [block.size for block in self.blocks])
        return 8 * self.relative * sizes + 2 * self.allowed

    def _may_equal(self, candidate: Array) -> bool:
        """Return whether a candidate equals the claim in a sample of the entries: a cheap test before the whole one."""
        at = self._sample
        return bool((np.abs(candidate[at] - self.claimed[at]) <= self._margin).all())

    def residual(self, candidate: Array) -> float:
        """Return the largest difference between candidate and claim, relative to its parameter."""
        self.compared += 1
        return float(self._differences(candidate, self.claimed).max())

    def wrong_blocks(self, truth: Array, other: Array | None = None) -> list[Block]:
        """Return the parameters in which two gradients (the claim by default) differ, in backward order."""
        differences = self._differences(truth, self.claimed if other is None else other)
        wrong = [block for block, d in zip(self.blocks, differences, strict=True) if not d <= self.relative]
        return sorted(wrong, key=lambda block: -block.layer)

    def chance(self, truth: Array, fitted: int) -> float:
        """Return the chance that one of the comparisons made so far succeeds by accident.

        Each wrong entry beyond those used for fitting is a test, passed by accident with the chance ``relative``.
        """
        tests, scales = -fitted, self._scales(truth, self.claimed)
        for block in self.wrong_blocks(truth):
            at, scale = block.slice, scales[self.blocks.index(block)]
            wrong = np.abs(truth[at] - self.claimed[at]) > self.allowed[at] + self.relative * scale
            tests += int(wrong.sum())
        return self.compared * self.relative ** min(tests, 40)

    # ---- what is wrong, in numbers ---------------------------------------------------------------------------------

    def ratios(self, truth: Array, wrong: Sequence[str] | None = None) -> dict[str, str]:
        """Return a comparison of each wrong parameter with the true one, in words."""
        text = dict.fromkeys(self.not_finite_blocks(), "not finite")
        listed = self.wrong_blocks(truth) if wrong is None else [b for n in wrong for b in self.blocks if b.name == n]
        for block in [] if text else listed:
            c, t = self.claimed[block.slice], truth[block.slice]
            sizes = np.linalg.norm(c), np.linalg.norm(t)
            found = self._form_and_ratio(block, truth)
            if found and not found[0]:
                text[block.name] = f"{found[3]:.6g} times the true gradient"
            elif min(sizes) == 0:
                text[block.name] = f"of length {sizes[0]:.3g}, the true one {sizes[1]:.3g}"
            else:
                cosine = c @ t / (sizes[0] * sizes[1])
                text[block.name] = f"{sizes[0] / sizes[1]:.3g} times as long as the true one, cosine {cosine:.4f}"
        return text

    def not_finite_blocks(self) -> list[str]:
        finite = [np.isfinite(self.claimed[block.slice]).all() for block in self.blocks]
        bad = [block for block, good in zip(self.blocks, finite, strict=True) if not good]
        return [block.name for block in sorted(bad, key=lambda block: -block.layer)]

    def not_finite(self) -> Cause:
        bad = self.claimed[~np.isfinite(self.claimed)]
        text = f"{bad.size} of {self.claimed.size} entries are not finite, the first is {bad[0]}"
        hint = "a logarithm of 0, a division by 0, or an exponential that overflows"
        return Cause("not finite", ", ".join(self.not_finite_blocks()), hint, text)

    def fitted_scale(self, at_0: Array, at_1: Array) -> float:
        """Return the number s at which at_0 + s (at_1 - at_0) comes closest to the claim where it first matters."""
        if not np.isfinite([at_0, at_1]).all():
            return 0.0
        direction = at_1 - at_0
        touched = [block for block in self.blocks if direction[block.slice].any()]
        if not touched:
            return 0.0
        at = max(touched, key=lambda block: block.layer).slice  # below, it may enter more than once
        return float(direction[at] @ (self.claimed - at_0)[at] / (direction[at] @ direction[at]))

    # ---- what turns a candidate into the claim ---------------------------------------------------------------------

    def explanations(self, candidate: Array, most: int) -> Iterator[Match]:
        """Yield each way to turn the candidate into the claim with at most ``most`` causes, and its residual."""
        residual = self.residual(candidate)
        if residual <= self.relative:
            yield [], residual
        elif most and math.isfinite(residual):
            yield from self._by_blocks(candidate, most)
            yield from self._as_a_whole(candidate)
            yield from self._by_penalty(candidate, most)

    def _as_a_whole(self, candidate: Array) -> Iterator[Match]:
        for name, (hint, whole) in GLOBAL_TRANSFORMS.items():
            changed = whole(candidate, self.claimed).astype(float)
            self.compared += 1
            if self._may_equal(changed) and (residual := self.residual(changed)) <= self.relative:
                text = f"the true gradient {name} is the claimed one"
                yield [Cause(name, "every parameter", hint, text, fitted=1)], residual

    def _by_blocks(self, candidate: Array, most: int) -> Iterator[Match]:
        """Yield transforms and factors, parameter by parameter."""
        forms: dict[tuple[str, str], dict[Block, str]] = {}
        ratios: dict[Block, float] = {}
        largest = 0.0
        for block in sorted(self.blocks, key=lambda block: -block.layer):
            found = self._form_and_ratio(block, candidate)
            if found is None:
                return
            name, hint, source, ratio, residual = found
            largest = max(largest, residual)
            if name:
                forms.setdefault((name, hint), {})[block] = source
            if ratio != 1:
                ratios[block] = ratio
        parts = []
        for (name, hint), sources in forms.items():
            others = ", ".join(filter(None, sources.values()))
            evidence = f"{name}: equal{f' to that of {others}' if others else ''}"
            parts.append(self._part(name, hint, list(sources), evidence))
        for factors in self._factors(ratios, most - len(parts)):
            if parts or factors:
                yield parts + factors, largest

    def _form_and_ratio(self, block: Block, candidate: Array) -> tuple[str, str, str, float, float] | None:
        """Return the first transform that equals the claim, or a multiple: name, hint, source, factor, residual."""
        i, decided = self.blocks.index(block), self.decided[block.slice]
        scale = self._scales(self.claimed)[i]  # beside a candidate that is blown up, anything would be 0
        c, allowed = self.claimed[block.slice][decided], self.allowed[block.slice][decided]
        if not decided.any():
            return "", "", "", 1.0, 0.0
        for name, hint, source, form in self._forms(block, candidate):
            t = form.ravel()[decided]
            self.compared += 1
            residual = np.maximum(np.abs(c - t) - allowed, 0).max() / scale
            if residual <= self.relative:
                return name, hint, source, 1.0, residual
            if min(np.abs(c).max(), np.abs(t).max()) > allowed.max():  # a multiple of what is not known is nothing
                ratio = float(t @ c / (t @ t))
                left = np.maximum(np.abs(c - ratio * t) - max(abs(ratio), 1.0) * allowed, 0).max()
                residual = left / self._scales(self.claimed)[i]
                if residual <= self.relative:
                    return name, hint, source, ratio, residual
        return None

    def _forms(self, block: Block, candidate: Array) -> Iterator[tuple[str, str, str, Array]]:
        """Yield the block itself, then its transforms: name, hint, the other parameter that it is of, numbers."""
        t = candidate[block.slice].reshape(block.shape)
        yield "", "", "", t
        for name, (hint, form) in BLOCK_TRANSFORMS.items():
            if form(t).shape == t.shape:
                yield name, hint, "", form(t)
        for other in self.blocks:
            if other is not block and other.shape == block.shape:
                hint = "two parameters are mistaken for each other"
                yield "gradient of another parameter", hint, other.name, candidate[other.slice]

    def _part(self, name: str, hint: str, blocks: Sequence[Block], evidence: str) -> Cause:
        where = self._where(blocks)
        return Cause(name, where, hint, f"{evidence} in {where}", at=self._at(blocks))

    def _at(self, blocks: Sequence[Block]) -> tuple[str, ...]:
        return () if len(blocks) == len(self.blocks) else tuple(block.name for block in blocks)

    def _where(self, blocks: Sequence[Block]) -> str:
        chosen = set(blocks)
        top = max(block.layer for block in chosen)
        scopes = {
            "every parameter": set(self.blocks),
            "all weights": {block for block in self.blocks if block.is_weight},
            "all biases": {block for block in self.blocks if not block.is_weight},
            f"{blocks[0].name} and all below": {block for block in self.blocks if block.layer <= top},
        }
        names = ", ".join(block.name for block in blocks)
        return next((scope for scope, of in scopes.items() if of == chosen and len(blocks) > 1), names)

    # ---- factors ---------------------------------------------------------------------------------------------------

    def _factors(self, ratios: Mapping[Block, float], most: int) -> Iterator[list[Cause]]:
        """Yield the names that the ratios of the parameters may have."""
        groups: list[tuple[float, list[Block]]] = []
        for block, ratio in ratios.items():
            same = [of for r, of in groups if self._is(ratio, r)]
            if same:
                same[0].append(block)
            else:
                groups.append((ratio, [block]))
        for signature in self._powers(groups), self._normalized(groups):
            if signature:
                yield [signature]
        if len(groups) <= most:
            yield from map(list, itertools.product(*(list(self._names(r, of)) for r, of in groups)))

    def _powers(self, groups: list[tuple[float, list[Block]]]) -> Cause | None:
        """Recognize one factor in every step backward: its powers, in the layers from the output down."""
        ratio_of = {block.layer: r for r, of in groups for block in of}
        layers = sorted({block.layer for block in self.blocks}, reverse=True)
        known = np.array([ratio_of.get(layer, 1.0) for layer in layers])
        count = sum(len(of) for _, of in groups)
        whole = sum(block.layer in ratio_of for block in self.blocks)
        mixed = any(ratio_of[block.layer] != r for r, of in groups for block in of)
        if len(groups) < 2 or count != whole or mixed or known.min() <= 0:
            return None
        steps = known[1:] / known[:-1]
        begins = self._is(known[0], 1) or self._is(known[0], steps[0])
        if not (begins and all(self._is(step, steps[0]) for step in steps)):
            return None
        text = "the ratios, from the output down, are " + ", ".join(f"{r:.6g}" for r in known)
        if "learning rate" in self.facts and self._is(steps[0], self.facts["learning rate"]):
            hint = "a factor that belongs to the update stands inside the chain rule"
            return Cause("learning rate in the chain rule", "every layer", hint, text)
        factors = self._known_factors().items()
        named = [(f"{name} in every layer", hint, 0) for name, (number, hint) in factors if self._is(steps[0], number)]
        name, hint, fitted = (named or [("constant factor in every layer", "a factor is in every step back", 1)])[0]
        return Cause(name, "every layer", hint, text, fitted)

    def _normalized(self, groups: list[tuple[float, list[Block]]]) -> Cause | None:
        """Recognize parameters that have the same norm, each by a factor of its own: normalized, or clipped."""
        scaled = [block for _, of in groups for block in of]
        norms = {block: float(np.linalg.norm(self.claimed[block.slice])) for block in self.blocks}
        largest = max(norms.values())
        if len(groups) < 2 or not all(self._is(norms[block], largest) for block in scaled):
            return None
        hint = "the gradient has a length that it was given"
        if len(scaled) == len(self.blocks) and self._is(largest, 1):
            return Cause("each parameter normalized", "every parameter", hint, "the norm of each is 1")
        if all(0 < ratio < 1 for ratio, _ in groups):
            where, text = self._where(scaled), f"the norm of each is {largest:.6g}, that of all others is less"
            return Cause("each parameter clipped by norm", where, hint, text, at=self._at(scaled))
        return None

    def _names(self, ratio: float, blocks: list[Block]) -> Iterator[Cause]:
        """Yield names of a factor: of one known number, of two, or of none that is known."""
        where, at = self._where(blocks), self._at(blocks)
        text = f"claimed = {ratio:.9g} true in {where}"
        known = self._known_factors()
        for count, numbers in (1, known | self._widths(blocks)), (2, known):
            named = [
                chosen
                for chosen in itertools.combinations(numbers.items(), count)
                if (product := math.prod(number for _, (number, _) in chosen)) != 1 and self._is(ratio, product)
            ]
            # Two factors make up many a number: beside them stands that it may be another. Not so with a mere sign.
            certain = False
            for chosen in named:
                is_certain = count == 1 or "sign" in (name for name, _ in chosen)
                hints = dict.fromkeys(hint for _, (_, hint) in chosen)
                name = " and ".join(name for name, _ in chosen)
                yield Cause(name, where, "; ".join(hints), text, fitted=int(not is_certain), at=at)
                certain = certain or is_certain
            if certain:
                return
        norm = float(np.linalg.norm(self.claimed))
        if ratio > 0 and len(blocks) == len(self.blocks) and any(self._is(norm, n) for n in ROUND_NORMS):
            hint = "the gradient has a length that it was given"
            if self.claimed.size > 1 and (ratio < 1 or self._is(norm, 1)):
                name = "clipped by norm" if ratio < 1 else "normalized"
                yield Cause(name, where, hint, f"{text}, which makes its norm {norm:g}")
        yield Cause("constant factor", where, "a constant factor is too much or missing", text, fitted=1, at=at)

    def _is(self, number: float, known: float) -> bool:
        return abs(number / known - 1) <= 10 * self.relative

    def _known_factors(self) -> dict[str, tuple[float, str]]:
        known = {
            "sign": (-1.0, "it points the other way"),
            "factor 2": (2.0, "a small constant is too much"),
            "factor 1/2": (0.5, "a small constant is missing"),
        }
        facts = dict(self.facts)
        if {"N", "outputs"} <= facts.keys():
            facts["N outputs"] = facts["N"] * facts["outputs"]
        return known | _factors_of(facts)

    def _widths(self, blocks: Sequence[Block]) -> dict[str, tuple[float, str]]:
        """Return the factors that the numbers of inputs and units of a layer make, if the blocks belong to one."""
        top = max(block.layer for block in self.blocks)
        shapes = [b.shape for b in self.blocks if {b.layer} == {of.layer for of in blocks} and len(b.shape) == 2]
        if not shapes or "outputs" not in self.facts:  # of a function, nothing says what a matrix is
            return {}
        units, inputs = shapes[0]
        return _factors_of({"inputs": inputs} if blocks[0].layer == top else {"inputs": inputs, "units": units})

    # ---- penalties -------------------------------------------------------------------------------------------------

    def _by_penalty(self, candidate: Array, most: int) -> Iterator[Match]:
        """Yield a multiple of theta, or of its sign, in the weights, the biases or both; perhaps beside a factor."""
        columns, sampled = self._columns
        left = (self.claimed - candidate)[self._sample]
        with np.errstate(over="ignore", invalid="ignore"):  # of entries near the largest number, which do not fit
            amounts = sampled @ left / np.maximum(np.square(sampled).sum(axis=1), np.finfo(float).tiny)
        may_fit = (np.abs(left - amounts[:, np.newaxis] * sampled) <= self._margin).all(axis=1)
        for (names, penalty, where, of), possible in zip(columns, may_fit, strict=True):
            self.compared += 1
            if possible:
                yield from self._with_penalty(candidate, penalty * of, names, where, [])
            if most > 1:
                yield from self._with_factor(candidate, penalty * of, names, where)

    @functools.cached_property
    def _columns(self) -> tuple[list[tuple[tuple[str, str, str], Array, str, Array]], Array]:
        """The penalties in their scopes, each with its names; and their values in the sample."""
        every = itertools.product(self._penalties().items(), self._scopes())
        columns = [(names, penalty, where, of) for (names, penalty), (where, of) in every if (penalty * of).any()]
        sampled = [(penalty * of)[self._sample] for _, penalty, _, of in columns]
        return columns, np.reshape(sampled, (len(columns), len(self._sample)))

    def _penalties(self) -> dict[tuple[str, str, str], Array]:
        """Return each penalty by its names, for a positive and a negative multiple, and its formula."""
        theta, sign = self.theta, np.sign(self.theta)
        return {
            ("L2 term added or too large", "L2 term missing or too small", "theta"): theta,
            ("L1 term added or too large", "L1 term missing or too small", "sign(theta)"): sign,
            ("L1 term for L2 term", "L2 term for L1 term", "(sign(theta) - theta)"): sign - theta,
        }

    def _scopes(self) -> Iterator[tuple[str, Array]]:
        is_weight = np.concatenate([np.full(block.size, block.is_weight) for block in self.blocks])
        yield "every parameter", np.array(True)
        if is_weight.any() and not is_weight.all():
            yield "the weights", is_weight
            yield "the biases", ~is_weight
        for block in self.blocks if len(self.blocks) > 1 else ():
            of_block = np.zeros(len(is_weight), bool)
            of_block[block.slice] = True
            yield block.name, of_block

    def _with_penalty(
        self, candidate: Array, column: Array, names: tuple[str, str, str], where: str, others: list[Cause]
    ) -> Iterator[Match]:
        c, t = column[self.decided], (self.claimed - candidate)[self.decided]
        amount = float(c @ t / (c @ c or 1.0))
        residual = self.residual(candidate + amount * column)
        if amount and residual <= self.relative:
            text = f"claimed - true = {amount:.6g} {names[2]} in {where}"
            hint = f"the penalty on {where} is not the one that the loss has"
            yield [*others, Cause(names[amount < 0], where, hint, text, fitted=1)], residual

    def _with_factor(self, candidate: Array, column: Array, names: tuple[str, str, str], where: str) -> Iterator[Match]:
        self.compared += 1
        at = self._sample
        both, claimed = np.stack([candidate[at], column[at]], axis=1), self.claimed[at]
        if (np.abs(claimed - both @ np.linalg.lstsq(both, claimed)[0]) > self._margin).any():
            return
        both = np.stack([candidate, column], axis=1)[self.decided]
        ratio, _ = np.linalg.lstsq(both, self.claimed[self.decided])[0]
        if abs(ratio) > self.relative and not self._is(ratio, 1):
            for factor in self._names(float(ratio), list(self.blocks)):
                self.compared += 1
                yield from self._with_penalty(ratio * candidate, column, names, where, [factor])
