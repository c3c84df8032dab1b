"""A wrong gradient explained: which layer is the first wrong one, and which mistake makes it what it is.

Every mistake leaves a signature. A 1/N that is missing is one ratio in every parameter; an activation derivative that
is missing leaves the last layer right and all below it wrong, in a way that can be computed. So each known mistake is
made on purpose, alone and in pairs, and what comes out is compared with what was claimed. Where nothing comes out
equal, the cause is unknown, and the diagnosis says so.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from ..layers import Layer
from ..losses import Loss
from ..network import Network, check_finite_targets
from ..progress import progress_bar
from .backward_pass import BackwardPass
from .differences import numerical_gradient
from .gradients import check_gradient
from .mistakes import Mistake, mistakes
from .network_loss import NetworkLoss
from .transforms import Block, Cause, GradientMatch, tolerance

__all__ = ["Diagnosis", "Explanation", "diagnose_gradient"]

Array = np.ndarray
Found = Iterator[tuple[list[Cause], int, float]]  # the mistakes, how many numbers were fitted, what is left

CHANGES = "changes from call to call"
SHARE = 0.01  # of the difference is all that an explanation may leave: what is left of rounding, rounding explains
CHANCE = 1e-3  # an explanation that a random gradient would meet more often than this explains nothing


@dataclasses.dataclass(frozen=True)
class Explanation:
    """One mistake, or two, that turn the true gradient into the claimed one.

    Attributes
    ----------
    name : str
        What the mistake is called; two are joined by "and".
    where : str
        In which layer or parameters.
    hint : str
        What it does, in words that do not give the right line away.
    evidence : str
        The ratio, the transform, or the backward pass that makes the two match.
    residual : float
        The largest difference that is left, relative to the largest entry of its parameter.
    """

    name: str
    where: str
    hint: str
    evidence: str
    residual: float

    def __str__(self) -> str:
        return f"{self.name}, in {self.where}\n  evidence: {self.evidence}; residual {self.residual:.1e}"


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """What `diagnose_gradient` found; true where the gradient is right, and printed as a report.

    Attributes
    ----------
    verdict : {"right", "named", "unknown", "undecided"}
        Unknown: the gradient is wrong, and no known mistake, alone or with another, explains it. Undecided: no entry
        could be compared, because of kinks or noise.
    wrong : list of str
        The wrong parameters in backward order: the first is the one to look at.
    explanations : list of Explanation
        All that match equally well and equally simply; more than one cannot be told apart on this batch.
    ratios : dict of str to str
        How each wrong parameter compares with the true one.
    tolerance : float
        Up to which relative difference two gradients count as equal.
    tried : int
        How many comparisons were made.
    undecided : int
        How many entries could not be compared.
    difference : float
        The largest difference from the true gradient, relative to the largest entry of its parameter.
    """

    verdict: str
    wrong: list[str]
    explanations: list[Explanation]
    ratios: dict[str, str]
    tolerance: float
    tried: int
    undecided: int
    difference: float

    @property
    def first_wrong(self) -> str | None:
        """The first wrong parameter in backward order."""
        return self.wrong[0] if self.wrong else None

    def __bool__(self) -> bool:
        return self.verdict == "right"

    def __str__(self) -> str:
        if self.verdict == "right":
            undecided = f"; {self.undecided} entries at a kink or in noise undecided" if self.undecided else ""
            return f"RIGHT: equal to the true gradient within {self.tolerance:.0e}{undecided}"
        if self.verdict == "undecided":
            return "UNDECIDED: at no entry did the differences tell right from wrong"
        lines = [f"first wrong in backward order: {self.first_wrong}"] if self.wrong else []
        lines += [f"  {name}: {ratio}" for name, ratio in self.ratios.items()]
        if self.verdict == "unknown":
            lines.append(f"UNKNOWN: {self.tried} comparisons, and no known mistake or pair of them explains it")
            if self.difference <= tolerance(single=True):
                lines.append(f"it differs by at most {self.difference:.1e}, as much as float32 may lose")
        lines += [f"NAMED: {explanation}" for explanation in self.explanations[:5]]
        if len(self.explanations) > 1:
            count = len(self.explanations)
            lines.append(f"{count} explanations that this batch cannot tell apart; another, of another size, may")
        return "\n".join(lines)

    __repr__ = __str__


def diagnose_gradient(
    target: Network | Callable,
    *arguments,
    loss: Loss = "cross_entropy",
    sample_weight=None,
    training: bool = True,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    progress: bool = False,
) -> Diagnosis:
    """Say whether a gradient is right, and if not, where it goes wrong first and which mistake explains it.

    Three ways to call it: ``diagnose_gradient(network, X, y, gradient)`` judges a gradient that somebody's code
    gives for the same network and batch; ``diagnose_gradient(network, X, y)`` the network's own, where it holds
    layers or losses of your own; ``diagnose_gradient(f, theta, gradient)`` any gradient of any function, of which
    nothing else is known. With a network, every step of its backward pass can be made wrong on purpose; with a
    function alone, only what shows in the numbers can be named: factors, signs, transposes, missing or swapped
    parameters, penalties.

    Parameters
    ----------
    target : Network or callable
        What the gradient is of; a function takes theta, in the form in which it is given, and returns a number.
    *arguments
        X, y and the claimed gradient; or theta and the claimed gradient. Theta and gradients are flat vectors, lists
        of arrays (W0, b0, W1, b1, ...), or dicts of arrays by name; NumPy, torch, or nested lists. Weights may be
        laid out as (I, O), in a list or dict in which one of them is not square: else that cannot be seen. A gradient
        may also be a function of theta, which is then called three times.
    loss, sample_weight, training
        As in `Network.loss_and_gradient`; for networks.
    batch_size, learning_rate : optional
        Facts about the code that is judged, which give a name to a factor; a network's batch is known.
    progress : bool
        Whether to show progress.

    Returns
    -------
    Diagnosis
        Its ``verdict``, ``first_wrong`` and ``explanations``; prints as a report.

    Raises
    ------
    ValueError, TypeError
        If shapes do not fit, or the function is not deterministic, changes its argument or returns no number.

    Examples
    --------
    A gradient in which the derivative of tanh was forgotten:

    >>> import handmade as hm
    >>> network = hm.MLP([2, 3, 2], activation="tanh", rng=0)
    >>> X, y = hm.data.xor()
    >>> W1, b1, W2, b2 = network.state_dict().values()
    >>> H = np.tanh(X @ W1.T + b1)
    >>> P = hm.activations.softmax(H @ W2.T + b2)
    >>> dA2 = (P - np.eye(2)[y]) / len(X)
    >>> dA1 = dA2 @ W2
    >>> diagnosis = diagnose_gradient(network, X, y, [dA1.T @ X, dA1.sum(axis=0), dA2.T @ H, dA2.sum(axis=0)])
    >>> diagnosis.first_wrong, diagnosis.explanations[0].name, diagnosis.explanations[0].where
    ('0.weight', 'activation derivative missing', "layer 1, Activation('tanh')")

    A gradient of any function:

    >>> diagnosis = diagnose_gradient(lambda theta: float(theta @ theta), np.array([1.0, 3.0]), np.array([-1.0, -3.0]))
    >>> diagnosis.verdict, [explanation.name for explanation in diagnosis.explanations]
    ('named', ['sign and factor 1/2'])
    """
    of_network = isinstance(target, Network)
    expected = "(network, X, y) or (network, X, y, gradient) with a Network, or (f, theta, gradient)"
    if len(arguments) not in ((2, 3) if of_network else (2,)) or (isinstance(target, Layer) and not of_network):
        given = ", ".join(type(argument).__name__ for argument in (target, *arguments))
        raise TypeError(f"diagnose_gradient: expected {expected}, got {given}")
    facts = {"N": batch_size, "learning rate": learning_rate}
    if of_network:
        case = _of_network(target, *arguments, loss=loss, weight=sample_weight, training=training, facts=facts)
    else:
        case = _of_function(target, *arguments, facts=facts, progress=progress)
    with np.errstate(all="ignore"):  # a candidate that is infinite is like nothing, and that is all
        return case.diagnose(progress)


# ---- what is claimed, and of what ----------------------------------------------------------------------------------


def _array(value, name: str) -> Array:
    """Anybody's array as one of float64; torch's may hang on a graph."""
    value = value.detach() if hasattr(value, "detach") else value
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "iuf":
            raise TypeError
        return array.astype(np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: expected numbers, got {value!r}") from None


def _parts(value, name: str) -> dict[str, Array]:
    """Arrays by name, from a dict, a sequence of arrays, or one array."""
    if isinstance(value, Mapping):
        return {str(key): _array(part, f"{name}[{key!r}]") for key, part in value.items()}
    if isinstance(value, list | tuple) and any(map(np.ndim, value)):
        return {f"{name}[{i}]": _array(part, f"{name}[{i}]") for i, part in enumerate(value)}
    return {name: _array(value, name)}


def _flat(value, blocks: Sequence[Block], name: str = "gradient") -> Array:
    """The claimed gradient as one vector in the order of the blocks, its weights laid out as theirs."""
    parts = _parts(value, name)
    size = sum(block.size for block in blocks)
    if list(parts) == [name]:
        (vector,) = parts.values()
        if vector.shape == (size,):
            return vector
        if len(blocks) > 1:
            shapes = ", ".join(f"{block.name} {block.shape}" for block in blocks)
            raise ValueError(f"{name}: expected a vector of {size}, or arrays for {shapes}; got shape {vector.shape}")
    names = [block.name for block in blocks]
    if isinstance(value, Mapping):
        if set(parts) != set(names):
            raise ValueError(f"{name}: expected the parameters {names}, got {list(parts)}")
        parts = {block.name: parts[block.name] for block in blocks}
    if len(parts) != len(blocks):
        raise ValueError(f"{name}: expected {len(blocks)} arrays for {names}, got {len(parts)}")
    arrays = list(parts.values())
    turned = any(a.shape != b.shape and a.T.shape == b.shape for a, b in zip(arrays, blocks, strict=True))
    arrays = [array.T if turned and array.ndim == 2 else array for array in arrays]
    for array, block in zip(arrays, blocks, strict=True):
        if array.shape != block.shape:
            raise ValueError(f"{name}: expected shape {block.shape} for {block.name}, got {array.shape}")
    return np.concatenate([array.ravel() for array in arrays])


def _blocks(arrays: Mapping[str, Array]) -> list[Block]:
    """The parameters as slices of one vector; a vector that follows a matrix belongs to its layer."""
    blocks, start, layer = [], 0, 0
    for name, array in arrays.items():
        layer += array.ndim != 1 or not blocks or len(blocks[-1].shape) < 2
        blocks.append(Block(name, start, array.shape, layer))
        start += array.size
    return blocks


def _is_single(gradient, vector: Array) -> bool:
    """Whether the numbers come from float32: by their dtype, or because each of them is one of float32's."""
    arrays = gradient.values() if isinstance(gradient, Mapping) else gradient
    arrays = arrays if isinstance(arrays, Iterable) and not hasattr(arrays, "dtype") else [arrays]
    told = any(str(getattr(array, "dtype", "")).endswith("float32") for array in arrays)
    with np.errstate(over="ignore"):
        exact, fewer = (np.array_equal(vector, vector.astype(dtype)) for dtype in (np.float32, np.float16))
    return told or (exact and not fewer)  # 0.5 is a number of every type


def _claimed(gradient, theta: Callable[[], object], blocks: Sequence[Block]) -> tuple[Array, list[Cause], bool]:
    """The claimed gradient; what is odd about the function that gives it, where it is one; whether it is float32."""
    if not callable(gradient):
        vector = _flat(gradient, blocks)
        return vector, [], _is_single(gradient, vector)
    given = gradient(theta())
    first = _flat(given, blocks)  # a copy: the next call may write into the same arrays
    single = _is_single(given, first)
    second, third = _flat(gradient(theta()), blocks), _flat(gradient(theta()), blocks)
    if np.array_equal(first, second, equal_nan=True):
        return first, [], single
    growth, size = second - first, np.abs(second).max()
    if np.abs(growth).max() <= tolerance(single) * size:  # sums in another order round in another way
        return first, [], single
    if np.allclose(third - second, growth, rtol=1e-9, atol=1e-12 * size):
        told, hint = "each call adds the same to what it returns", "what one call leaves behind, the next finds"
        return growth, [Cause("gradients accumulate", "every call", hint, told)], single
    told = f"two calls differ by {np.abs(growth).max():.1e}, where the largest entry is {size:.1e}"
    return first, [Cause(CHANGES, "every call", "two calls use different numbers", told)], single


def _of_network(network: Network, X, y, gradient=None, *, loss, weight, training, facts) -> _Case:
    X, y = network.check_input(X), check_finite_targets(y)
    options = dict(loss=loss, sample_weight=weight, training=training)
    walk = BackwardPass(network, X, y, **options)
    layers = {prefix: i for i, (prefix, _) in enumerate(network.leaves())}
    blocks = _blocks(network.blocks(network.theta))
    blocks = [dataclasses.replace(block, layer=layers[block.name[: block.name.rindex(".") + 1]]) for block in blocks]
    if gradient is None:  # of its formulas, not of the rounding of float32: that is for check_gradient to bound
        network = network.astype(np.float64)
        gradient = copy.deepcopy(network).backpropagate(X.astype(np.float64), y, loss, weight, training)[1]
    claimed, odd, single = _claimed(gradient, network.theta.copy, blocks)
    single = single or network.dtype == np.float32
    truth, theta = walk.gradient(), network.theta.astype(np.float64)
    # The library's own backward passes are right; a layer of the user's own may be the patient.
    if check_gradient(network, X, y, entries=30, rng=0, **options).wrong:
        truth = numerical_gradient(NetworkLoss(network, X, y, **options), theta)
    facts = {"outputs": walk.values[-1].shape[-1], **facts, "N": len(X)}
    # A loss is known to some roundings of its value, and its slope to that over the step of the differences.
    rounding = np.finfo(np.float32).eps if single else np.finfo(np.float64).eps ** 0.8
    allowed = np.full(theta.shape, 64 * rounding * abs(walk.value))
    return _Case(GradientMatch(blocks, theta, claimed, allowed, facts, single), truth, odd, walk)


def _of_function(f: Callable, theta, gradient, *, facts, progress) -> _Case:
    parts = _parts(theta, "theta")
    blocks = _blocks(parts)
    vector = np.concatenate([part.ravel() for part in parts.values()])

    def shaped(vector: Array):
        """Theta in the form in which it was given."""
        arrays = [vector[block.slice].reshape(block.shape) for block in blocks]
        if isinstance(theta, Mapping):
            return dict(zip(theta, arrays, strict=True))
        return arrays if len(arrays) > 1 else arrays[0]

    def value(vector: Array) -> float:
        return f(shaped(vector))

    claimed, odd, single = _claimed(gradient, lambda: shaped(vector.copy()), blocks)
    single = single or _is_single(theta, vector)
    truth, allowed = np.zeros(vector.shape), np.full(vector.shape, np.inf)
    if np.isfinite(claimed).all():
        check = check_gradient(value, vector, claimed, entries=vector.size, progress=progress)
        decided = np.isfinite(check.measured)
        truth[decided], allowed[decided] = check.measured[decided], check.allowed[decided]
    return _Case(GradientMatch(blocks, vector, claimed, allowed, facts, single), truth, odd, None)


# ---- the search ----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Case:
    """A claimed gradient beside the true one, and the search for what leads from the one to the other."""

    match: GradientMatch
    truth: Array
    odd: list[Cause]
    backward_pass: BackwardPass | None

    def diagnose(self, progress: bool) -> Diagnosis:
        match = self.match
        if not np.isfinite(match.claimed).all():
            return self._report("named", [self._explain([match.not_finite()], 0.0)], match.not_finite_blocks())
        if not match.decided.any():
            return self._report("undecided", [], [])
        wrong = [block.name for block in match.wrong_blocks(self.truth)]
        # Of numbers that change from call to call, none is worth an explanation.
        found = self._search(progress) if wrong and not any(part.name == CHANGES for part in self.odd) else []
        if self.odd and not found:
            found = [self._explain(self.odd, match.residual(self.truth))]
        return self._report("named" if found else "unknown" if wrong else "right", found, wrong)

    def _report(self, verdict: str, found: list[Explanation], wrong: list[str]) -> Diagnosis:
        match = self.match
        ratios, difference = match.ratios(self.truth), match.residual(self.truth)
        undecided = int(np.sum(~match.decided))
        return Diagnosis(verdict, wrong, found, ratios, match.relative, match.compared, undecided, difference)

    def _explain(self, parts: Sequence[Cause], residual: float) -> Explanation:
        def joined(attribute: str, by: str) -> str:
            return by.join(dict.fromkeys(getattr(part, attribute) for part in parts))

        name, where = joined("name", " and "), joined("where", ", and ")
        return Explanation(name, where, joined("hint", "; "), joined("evidence", "; "), residual)

    def _search(self, progress: bool) -> list[Explanation]:
        """The simplest explanations: one mistake before two, and the fewer numbers fitted the better."""
        known = mistakes(self.backward_pass) if self.backward_pass and self._walk_is_right() else []
        for found in self._alone(known), self._in_pairs(known, progress):
            if found := list(found):
                fewest = min(fitted for _, fitted, _ in found)
                simplest = [(parts, residual) for parts, fitted, residual in found if fitted == fewest]
                return list(dict.fromkeys(self._explain([*self.odd, *p], r) for p, r in simplest))
        return []

    def _walk_is_right(self) -> bool:
        return not self.match.wrong_blocks(self.truth, self.backward_pass.gradient())

    def _alone(self, known: list[Mistake]) -> Found:
        yield from self._matches(self.truth, [], 1)
        for mistake in known:
            yield from self._matches(*self._made(mistake), 0)

    def _in_pairs(self, known: list[Mistake], progress: bool) -> Found:
        """Two mistakes: neither touches what is right, and one of them shows where the walk goes wrong first."""
        yield from self._matches(self.truth, [], 2)
        wrong = self.match.wrong_blocks(self.truth)
        leading, others = [], []
        for mistake in known:
            gradient, made = self._made(mistake)
            yield from self._matches(gradient, made, 1)
            changed = self.match.wrong_blocks(self.truth, gradient)
            if changed and all(block in wrong for block in changed):
                (leading if changed[0].layer == wrong[0].layer else others).append(mistake)
        pairs = [*itertools.combinations(leading, 2), *itertools.product(leading, others)]
        with progress_bar("pairs of mistakes", len(pairs), progress and bool(pairs)) as report:
            for i, (one, other) in enumerate(pairs):
                if not one.steps.keys() & other.steps.keys():
                    yield from self._matches(*self._made(one, other), 0)
                report(i + 1)

    def _made(self, *made: Mistake) -> tuple[Array, list[Cause]]:
        """The gradient that these mistakes lead to, and what is to be said of them."""
        steps = {i: step for mistake in made for i, step in mistake.steps.items()}
        scale = 0.0
        if is_open := any(mistake.has_learning_rate for mistake in made):
            scale = self.match.fitted_scale(
                self.backward_pass.gradient(steps, 0.0), self.backward_pass.gradient(steps, 1.0)
            )
        told = "a backward pass with this mistake gives the claimed gradient"
        told += f", with a learning rate of {scale:.6g}" if is_open else ""
        parts = [Cause(m.name, m.where, m.hint, told, fitted=int(m.has_learning_rate)) for m in made]
        return self.backward_pass.gradient(steps, scale), parts

    def _matches(self, candidate: Array, made: list[Cause], most: int) -> Found:
        """The ways to turn the candidate into the claim with at most so many further mistakes."""
        for parts, residual in self.match.explanations(candidate, most):
            together = [*made, *parts]
            fitted = sum(part.fitted for part in together)
            explains = residual <= SHARE * self.match.residual(self.truth)
            if together and explains and self.match.chance(self.truth, fitted) < CHANCE:
                yield together, fitted, residual
