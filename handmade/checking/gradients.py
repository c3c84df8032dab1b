"""9. Gradients checked: the slopes of a function measured by differences, beside the claimed gradient.

"Small change in parameter dw1 -> output will change by df/dw1 dw1" (System 6): change one entry of theta by h and
by -h, measure the change of the loss, divide by 2h. Differences know nothing of chain rules. Their accuracy is
measured too, entry by entry: a claimed gradient may be off by that much, and no more. A random direction sees many
entries at once; group testing finds the wrong one among them.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .._validation import check_count, check_finite
from ..composites import Sequential, SequentialCache
from ..layers import Activation, Dense, Layer
from ..losses import Loss
from ..network import Network
from ..normalization import Normalization
from ..progress import progress_bar
from .claims import Parameters, is_single, read_gradient
from .differences import (
    COMPLEX_STEP,
    DEVIATIONS,
    DIFFERENCES,
    EPS,
    Function,
    MethodName,
    Neighbourhood,
    check_method,
    measured_noise,
)
from .network_loss import NetworkLoss
from .transforms import Block

__all__ = ["BlockCheck", "EntryCheck", "GradientCheck", "check_gradient"]

Array = npt.NDArray[Any]
PART = 500  # entries that are measured together
MOST, LEAST, NUMBERS = 2000, 200, 2e8  # entries measured one by one: as many as NUMBERS allows, within these bounds


@dataclasses.dataclass(frozen=True)
class EntryCheck:
    """One entry of the gradient, claimed and measured.

    Attributes
    ----------
    index : int
        Its place in theta.
    name : str
        Its place in the network, e.g. ``0.weight[2, 1]``.
    claimed, measured : float
        The two numbers.
    left, right : float
        The one-sided derivatives, which differ at a kink.
    allowed : float
        The difference that is allowed: the accuracy of the measurement plus the rounding of the gradient's dtype.
    verdict : str
        ``"right"``, ``"wrong"``, or ``"undecidable"``: the differences cannot tell, because of kinks or noise.
    """

    index: int
    name: str
    claimed: float
    measured: float
    left: float
    right: float
    allowed: float
    verdict: str

    @property
    def error(self) -> float:
        """|claimed - measured|."""
        return abs(self.claimed - self.measured)

    @property
    def size(self) -> float:
        """The larger of |claimed| and |measured|."""
        return max(abs(self.claimed), abs(self.measured))

    @property
    def relative_error(self) -> float:
        """The error divided by the size."""
        return self.error / (self.size or 1.0)

    def __str__(self) -> str:
        line = f"{self.name}: claimed {self.claimed:.10g}, measured {self.measured:.10g}"
        if self.verdict == "undecidable":
            return f"{line}; the slopes on its two sides are {self.left:.6g} and {self.right:.6g}"
        return f"{line}, relative error {self.relative_error:.1e}"


@dataclasses.dataclass(frozen=True)
class BlockCheck:
    """A parameter of the network, and the distance of its claimed gradient from the measured one.

    Attributes
    ----------
    name : str
        As in a state_dict.
    size, checked : int
        The number of its entries, and of those measured one by one and decided.
    relative_error : float
        ||claimed - measured|| / max(||claimed||, ||measured||) over the decided entries.
    tolerance : float
        The same with the allowed differences in place of claimed - measured.
    wrong : int
        The number of wrong entries; the parameter passes if there are none.
    along : int
        The number of further entries, seen only along random directions.
    excluded : float
        An error larger than this in any one of those entries would have been found; infinite where the directions
        decided nothing, NaN where there are no such entries.
    """

    name: str
    size: int
    checked: int
    relative_error: float
    tolerance: float
    wrong: int
    along: int = 0
    excluded: float = math.nan

    @property
    def passed(self) -> bool:
        return self.wrong == 0

    @classmethod
    def of(cls, name: str, size: int, entries: _Entries) -> BlockCheck:
        """Summarize the entries of a parameter."""
        decided = entries.of(entries.verdict != "undecidable")
        norm = max(math.hypot(*decided.claimed), math.hypot(*decided.measured)) or 1.0
        error, allowed = math.hypot(*decided.error) / norm, math.hypot(*decided.allowed) / norm
        return cls(name, size, len(decided.index), error, allowed, int(np.sum(decided.verdict == "wrong")))


@dataclasses.dataclass(frozen=True)
class GradientCheck:
    """The verdict of `check_gradient`; true if the gradient passed, and printed as a table.

    It passes if at least one entry could be decided, and none is wrong.

    Attributes
    ----------
    blocks : list of BlockCheck
        One per parameter.
    worst : EntryCheck
        The entry with the largest difference, relative to the difference that is allowed.
    wrong, undecidable : list of EntryCheck
        Entries that are wrong, and entries at a kink or lost in noise.
    total : BlockCheck
        All parameters as one.
    value, noise : float
        The function at theta, and the standard deviation of its rounding errors, which limit every difference.
    measured, allowed : ndarray, the shape of theta
        The slopes, and the allowed differences; NaN where an entry was not measured, or not decided.
    """

    total: BlockCheck
    blocks: list[BlockCheck]
    worst: EntryCheck
    wrong: list[EntryCheck]
    undecidable: list[EntryCheck]
    value: float
    noise: float
    measured: Array
    allowed: Array
    is_zero: bool = False

    @property
    def passed(self) -> bool:
        return not any(block.wrong for block in self.blocks) and self.total.checked > 0

    @property
    def excluded(self) -> float:
        """The largest error that a single entry, seen along directions only, may have without being found."""
        return max((b.excluded for b in self.blocks if b.along), default=math.nan)

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        width = max(len("parameter"), *(len(block.name) for block in self.blocks))
        lines = [f"{'parameter':<{width}}  {'checked':>13}  relative error  tolerance"]
        for b in self.blocks:
            verdict = ("pass" if b.checked else "undecided") if b.passed else "FAIL"
            count = f"{b.checked}/{b.size}"
            lines.append(f"{b.name:<{width}}  {count:>13}  {b.relative_error:>14.1e}  {b.tolerance:>9.1e}  {verdict}")
        lines.append(f"worst entry: {self.worst}")
        for entry in self.undecidable[:3]:
            lines.append(f"undecidable: {entry}")
        if len(self.undecidable) > 3:
            lines.append(f"undecidable: {len(self.undecidable) - 3} more")
        lines.append(f"noise of the function: {self.noise:.1e}, at a value of {self.value:.6g}")
        lines.append(self._verdict())
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from .._html import check_html

        return check_html(self)

    def _verdict(self) -> str:
        checked, wrong = self.total.checked, len(self.wrong)
        failed = [block for block in self.blocks if not block.passed]
        if self.passed:
            undecided = f", {len(self.undecidable)} undecided" if self.undecidable else ""
            zero = "; all of them are 0: nothing is learnt here" if self.is_zero else ""
            return f"PASS: {checked} entries agree{undecided}{self._others()}{zero}"
        if not failed:
            return "UNDECIDED: at no entry did the differences tell right from wrong"
        return f"FAIL: {wrong} of {checked} entries wrong, {len(failed)} of {len(self.blocks)} parameters fail"

    def _others(self) -> str:
        """Return a phrase about the entries that were not measured one by one."""
        along = sum(block.along for block in self.blocks)
        if not along:
            rest = self.total.size - len(self.undecidable) - self.total.checked
            return f"; {rest} were not looked at" if rest > 0 else ""
        unseen = sum(block.along for block in self.blocks if not math.isfinite(block.excluded))
        bound = max((b.excluded for b in self.blocks if b.along and math.isfinite(b.excluded)), default=math.nan)
        told = f"; {along - unseen} more agree along random directions: an error above {bound:.1e} in one is excluded"
        return (told if along > unseen else "") + (f"; along {unseen} kinks or noise hide errors" if unseen else "")

    __repr__ = __str__


def check_gradient(
    target: Network | Function,
    *arguments: Any,
    method: MethodName = "richardson",
    loss: Loss = "cross_entropy",
    sample_weight: npt.ArrayLike | None = None,
    training: bool = True,
    entries: int | None = None,
    directions: int = 2,
    rng: Any = None,
    progress: bool = False,
) -> GradientCheck:
    """Compare a gradient with differences, entry by entry and along random directions.

    Three ways to call it: ``check_gradient(network, X, y, loss=...)`` checks a network's own backward pass,
    ``check_gradient(network, X, y, gradient)`` a gradient that somebody's code computes for the network, and
    ``check_gradient(f, theta, gradient)`` any gradient of any function.

    An entry may be off by what could be achieved: the noise of the function is measured, and so is, from three steps
    each half of the one before, the error of the formula; a gradient in float32 may also be off by the rounding of
    float32. An entry that disagrees is wrong only if the differences cannot be at fault, and smaller steps agree.
    At a kink (of a ReLU, a hinge) both one-sided derivatives are right, and every number between them. Where no step
    decides, the entry is undecidable.

    Entries that are not measured one by one are seen along random directions. If a direction disagrees, halving the
    set of entries finds the wrong one.

    Nothing of the network changes: the check works on copies. Dropout masks are drawn once and kept. The loss of a
    float32 network is measured in float64.

    Parameters
    ----------
    target : Network or callable
        The network, or a function that takes theta in the form in which it is given and returns a number.
    *arguments
        X and y, and perhaps a gradient, for a network; theta and the gradient for a function. Theta is an array, or a
        list or dict of arrays. The gradient is in the form of theta, or in a layout of `diagnose_gradient`, or a
        function of theta.
    method : {"forward", "central", "richardson", "complex"}
        See `handmade.checking.differences`. "complex" needs a function analytic as written and confirms a gradient to
        the last digits; where it disagrees, or finds zero, "richardson" decides.
    loss, sample_weight, training
        As in `Network.loss_and_gradient`; for networks.
    entries : int, optional
        The number of entries to measure one by one, drawn at random from every parameter alike. Default: all, up to
        2,000, and fewer where theta has more than 100,000.
    directions : int
        The number of random directions for the other entries of each parameter; 0 looks at no other entries.
    rng : optional
        Anything numpy.random.default_rng takes; draws the entries and the directions.
    progress : bool
        Whether to show progress.

    Returns
    -------
    GradientCheck
        True or false, and a table in print.

    Raises
    ------
    ValueError
        If the gradient does not fit theta, is not finite, or a second call of it gives another; or as
        `numerical_gradient` raises.
    TypeError
        As `numerical_gradient` raises.

    Examples
    --------
    >>> X, y = hm.data.xor()
    >>> bool(hm.check_gradient(hm.MLP([2, 3, 2], activation="tanh", rng=0), X, y))
    True

    A gradient that is wrong by a twentieth of one per cent, in one entry:

    >>> f = lambda theta: float(theta @ theta)
    >>> print(hm.check_gradient(f, np.array([1.0, 2.0]), np.array([2.0, 4.002])))  # doctest: +ELLIPSIS
    parameter        checked  relative error  tolerance
    theta                2/2         4.5e-04    ...  FAIL
    worst entry: theta[1]: claimed 4.002, measured 4, relative error 5.0e-04
    noise of the function: ..., at a value of 5
    FAIL: 1 of 2 entries wrong, 1 of 1 parameters fail
    """
    of_network = isinstance(target, Network)
    if len(arguments) not in ((2, 3) if of_network else (2,)) or (isinstance(target, Layer) and not of_network):
        raise TypeError(
            f"check_gradient: expected (network, X, y) with a Network, or (f, theta, gradient), got "
            f"{', '.join(type(argument).__name__ for argument in (target, *arguments))}"
        )
    check_method(method)
    if isinstance(target, Network):
        subject = network_subject(target, *arguments, loss=loss, sample_weight=sample_weight, training=training)
    else:
        subject = function_subject(target, *arguments)
    check_finite(subject.claimed, "gradient")
    return examine(subject, method=method, entries=entries, directions=directions, rng=rng, progress=progress)


# ---- what is judged ------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Subject:
    """A function, a point, and the gradient that is claimed there.

    Attributes
    ----------
    f : callable
        Takes an array like theta, and returns a number.
    theta, claimed : ndarray
        The point and the gradient, of one shape.
    rounding : ndarray, the shape of theta
        The error that the rounding of the claim's dtype explains, for each entry.
    names : dict of str to ndarray
        The flat indices of each parameter, in its shape.
    one_sided : tuple of ndarray, optional
        The smallest and largest gradient, entry by entry, for the choices of a side at the kinks of a network.
    """

    f: Function
    theta: Array
    claimed: Array
    rounding: Array
    names: dict[str, Array]
    one_sided: tuple[Array, Array] | None = None


SINGLE = float(np.finfo(np.float32).eps)
ROUNDINGS = 32  # eps of the largest entry of a parameter that another may be off: sums over samples and paths


def rounding_of(claimed: Array, blocks: Iterable[Block], value: float, eps: float) -> Array:
    """Return the error that rounding may cause in each entry, (P,): some eps of the largest entry of its parameter.

    Nothing is known of the terms of the sums, so a few eps of the function's value are allowed as well.
    """
    allowed = np.zeros(claimed.size)
    flat = np.abs(claimed.ravel())
    for block in blocks:
        allowed[block.slice] = eps * ROUNDINGS * flat[block.slice].max(initial=0.0) + 4 * eps * abs(value)
    return allowed.reshape(claimed.shape)


def function_subject(f: Function, theta: Any, gradient: Any) -> Subject:
    """Return the subject of a function of theta, in whatever form theta is."""
    parameters = Parameters(theta, "theta")
    single = len(parameters.blocks) == 1 and not isinstance(theta, Mapping)
    given = gradient
    if callable(gradient):
        given = _called_twice(gradient, lambda: parameters.shaped(parameters.vector.copy()), parameters.blocks)
    if single and parameters.blocks[0].name == "theta":
        vector = parameters.vector.reshape(parameters.blocks[0].shape)
        claimed = np.asarray(_numbers(given), dtype=np.float64)
        if claimed.shape != vector.shape:
            raise ValueError(f"gradient: expected the shape of theta {vector.shape}, got {claimed.shape}")
        of_vector = f
    else:
        vector, claimed = parameters.vector, read_gradient(given, parameters.blocks)[0]

        def of_vector(vector: Array) -> float:
            return f(parameters.shaped(vector))

    names = {b.name: np.arange(b.start, b.start + b.size).reshape(b.shape) for b in parameters.blocks}
    rounding = np.zeros(vector.shape)
    if np.isfinite(claimed).all() and is_single(given, claimed.ravel()):
        value = float(np.asarray(_numbers(of_vector(vector.copy()))))
        rounding = rounding_of(claimed, parameters.blocks, value, SINGLE)
    return Subject(of_vector, vector, claimed, rounding, names)


def _numbers(value: Any) -> Any:
    """Return a tensor of torch without its graph."""
    return value.detach().cpu().numpy() if hasattr(value, "detach") else value


def _called_twice(gradient: Callable[[Any], Any], theta: Callable[[], Any], blocks: list[Block]) -> Any:
    """Return what a gradient function returns; raise if a second call returns something else."""
    first = copy.deepcopy(_numbers(gradient(theta())))
    again = gradient(theta())
    try:
        a, b = read_gradient(first, blocks)[0], read_gradient(again, blocks)[0]
    except ValueError:
        shapes = np.shape(first), np.shape(_numbers(again))
        if shapes[0] == shapes[1]:
            return first  # and its shape is refused by name
        a, b = np.array([0.0]), np.array([0.0, 0.0])
    if not np.array_equal(a, b, equal_nan=True):
        apart = f"{np.abs(b - a).max():.1e} apart" if a.shape == b.shape else "of two shapes"
        values = np.ravel(first if np.ndim(first) else a)[0], np.ravel(again if np.ndim(again) else b)[0]
        raise ValueError(
            f"the gradient is not deterministic: two calls gave {values[0]!r}, ... and {values[1]!r}, ..., "
            f"{apart}; let it add to nothing that an earlier call left, and give its random numbers a fixed seed"
        )
    return first


def network_subject(
    network: Network, X: Any, y: Any, gradient: Any = None, *, loss: Loss, sample_weight: Any, training: bool
) -> Subject:
    """Return the subject of a network's loss in float64, and the gradient that is claimed, or the network's own."""
    f = NetworkLoss(network, X, y, loss, sample_weight, training)
    names = network.blocks(np.arange(network.theta.size))
    blocks = [Block(name, int(index.flat[0]), index.shape, i) for i, (name, index) in enumerate(names.items())]
    if gradient is None:
        _, claimed = copy.deepcopy(network).backpropagate(network.check_input(X), f.y, loss, sample_weight, training)
        single = network.dtype == np.float32
        claimed = claimed.astype(np.float64)
    else:
        claimed = read_gradient(gradient, blocks, len(f.X))[0]
        single = is_single(gradient, claimed) or network.dtype == np.float32
    rounding = network_rounding(network, f, claimed, blocks, single)
    return Subject(f, network.theta.astype(np.float64), claimed, rounding, names, one_sided_gradients(network, f))


def one_sided_gradients(network: Network, f: NetworkLoss) -> tuple[Array, Array] | None:
    """Return the smallest and largest entries of the gradients for either side of all kinks; None without kinks."""
    from .backward_pass import BackwardPass, is_elementwise, one_sided_slopes

    of = BackwardPass(network, f.X, f.y, f.loss, f.sample_weight, f.training)
    sides: list[dict[str, Array]] = [{}, {}]
    for prefix, leaf in of.leaves.items():
        if isinstance(leaf, Activation) and is_elementwise(leaf):
            below, above = one_sided_slopes(leaf, of.inputs[prefix])
            if np.abs(above - below).max(initial=0.0) > 1e-3:
                sides[0][prefix], sides[1][prefix] = below, above
    if not sides[0]:
        return None
    found = [of.gradient()]
    for side in sides:
        of.mended = {**of.mended, **side}
        found.append(of.gradient())
    return np.min(found, axis=0), np.max(found, axis=0)


def network_rounding(network: Network, f: NetworkLoss, claimed: Array, blocks: list[Block], single: bool) -> Array:
    """Return the error that rounding may cause in each entry of a network's gradient."""
    if not np.isfinite(claimed).all():
        return np.zeros(claimed.shape)
    sizes = rounding_sizes(network, f)
    eps = SINGLE if single else EPS
    return np.maximum(rounding_of(claimed, blocks, 0.0, eps), eps * sizes)


NOISE, SAMPLES, CAUTION = 1e-6, 4, 32  # relative noise injected, passes with it, and the factor to a bound


def rounding_sizes(network: Network, f: NetworkLoss) -> Array:
    """Return how many eps each entry of a network's gradient may be off, (P,): the largest of its parameter.

    Noise is injected into every value and every gradient of a pass in float64, as rounding would: relative to the
    terms of each sum, to the slope of each activation (1 - h^2 loses the digits that h and 1 share), and to the terms
    of the loss (p - 1 loses those of p). The scatter of the gradients is proportional to the noise.
    """
    rng = np.random.default_rng(0)
    exact = _noisy_gradient(network, f, rng, 0.0)
    with np.errstate(all="ignore"):
        scatter = [np.abs(_noisy_gradient(network, f, rng, NOISE) - exact) for _ in range(SAMPLES)]
    largest = np.nan_to_num(CAUTION / NOISE * np.sqrt(np.mean(np.square(scatter), axis=0)))
    for block in network.blocks(largest).values():
        block[...] = block.max(initial=0.0)
    return largest


def _noisy_gradient(network: Network, f: NetworkLoss, rng: np.random.Generator, size: float) -> Array:
    network = network.astype(np.float64)

    def noise(scale: Array) -> Array:
        return size * rng.uniform(-1, 1, np.shape(scale)) * scale

    for _, leaf in network.leaves():
        _inject(leaf, noise)

    _, depth = network.head(f.loss)
    _, (values, caches) = network.forward(f.X, f.training)
    dH = f.loss_gradient(values[depth])
    dH = dH + noise(np.maximum(np.abs(dH), f.gradient_at_mirrored(values[depth])))
    Sequential.backward(network, dH, SequentialCache(values[: depth + 1], caches[:depth]), need_dX=False)
    return network.gradient.copy()


def _inject(layer: Layer, noise: Callable[[Array], Array]) -> None:
    """Let a layer's passes add noise to what they return."""
    forward, backward, seen = layer.forward, layer.backward, {}
    W = getattr(layer, "W", None) if isinstance(layer, Dense) else None

    def noisy_forward(X: Array, training: bool = False) -> tuple[Array, Any]:
        H, cache = forward(X, training)
        seen["H"] = H
        if isinstance(layer, Normalization):
            variance = getattr(layer, "running_var", None) if not training else None
            variance = X.var(axis=layer.axis, keepdims=True) if variance is None else variance
            seen["terms"] = np.abs(layer.gamma) / np.sqrt(variance + layer.eps)
        if isinstance(layer, Normalization):
            return H + noise(np.abs(H) + np.abs(X) * seen["terms"]), cache
        return H + noise(np.abs(H) if W is None else np.sqrt((X * X) @ (W * W).T)), cache

    def noisy_backward(dH: Array, cache: Any, need_dX: bool = True) -> Array | None:
        dX = backward(dH, cache, need_dX)
        if dX is None:
            return None
        if W is not None:
            return dX + noise(np.sqrt((dH * dH) @ (W * W)))
        if isinstance(layer, Activation):
            return dX + noise(np.abs(dX) + np.abs(dH) * np.minimum(np.abs(seen["H"]), 1))
        if isinstance(layer, Normalization):  # its terms cancel: a change along 1 or Xhat has no effect
            return dX + noise(np.abs(dX) + np.abs(dH) * seen["terms"])
        return dX + noise(np.abs(dX))

    layer.forward, layer.backward = noisy_forward, noisy_backward  # type: ignore[method-assign]


# ---- the judgement -------------------------------------------------------------------------------------------------


def examine(
    subject: Subject,
    *,
    method: MethodName = "richardson",
    entries: int | None = None,
    directions: int = 2,
    rng: Any = None,
    progress: bool = False,
) -> GradientCheck:
    """Judge a claimed gradient: `check_gradient` and `diagnose_gradient` both call this."""
    near = Neighbourhood(subject.f, subject.theta)
    size = subject.theta.size
    most = int(min(MOST, max(LEAST, NUMBERS // size)))
    entries = min(size, most) if entries is None else check_count(entries, "entries")
    directions = check_count(directions, "directions", least=0)
    rng = np.random.default_rng(rng)
    chosen = {name: _choose(block.ravel(), size, entries, rng) for name, block in subject.names.items()}
    judge = _Judge(near, subject, near.noise(np.concatenate(list(chosen.values()))))
    judged, done, total = {}, 0, sum(map(len, chosen.values()))
    along: dict[str, tuple[int, float, bool]] = {}
    with progress_bar("entries", total, progress) as report:
        for name, indices in chosen.items():
            parts = []
            for start in range(0, len(indices), PART):
                part = indices[start : start + PART]
                parts.append(judge.entries(part, method))
                report(done := done + len(part), name)
            judged[name] = _Entries.joined(parts)
        for name, block in subject.names.items():
            others = np.setdiff1d(block.ravel(), chosen[name], assume_unique=True)
            if directions and len(others):
                disagree, found, excluded = judge.others(others, method, directions, rng)
                judged[name] = _Entries.joined([judged[name], found])
                along[name] = len(others) - len(found.index), excluded, disagree
    if subject.one_sided is not None:
        for entries_of in judged.values():
            _respect_kinks(entries_of, *subject.one_sided)
    return _summary(subject, judged, along, near.base, judge.noise)


def _respect_kinks(entries: _Entries, lower: Array, upper: Array) -> None:
    """Leave undecidable what is right for a choice of sides at the kinks of a network, though differences disagree."""
    at, margin = entries.index, 1e-6 * (np.abs(lower) + np.abs(upper))[entries.index] + entries.allowed
    open_ = (upper - lower)[at] > margin
    inside = (entries.claimed >= lower[at] - margin) & (entries.claimed <= upper[at] + margin)
    entries.verdict[(entries.verdict == "wrong") & open_ & inside] = "undecidable"


def _choose(block: Array, total: int, entries: int, rng: np.random.Generator) -> Array:
    """Return the entries of a parameter to measure one by one: its share of them, and at least one."""
    count = min(len(block), math.ceil(entries * len(block) / total))
    return np.sort(rng.choice(block, count, replace=False))


class _Judge:
    """Tells the right entries of a claimed gradient from the wrong ones, by differences of f around theta."""

    DOUBT = 10  # an entry is refuted only if its error exceeds so many times the disagreement between steps
    SMOOTH = 1e-3  # relative: where the central differences of two steps are farther apart, a kink may be the cause
    PRECISE = 1e-7  # relative: a measurement as good as this needs no smaller step
    DECISIVE = 0.1  # relative to the largest entry: where noise is larger, agreement proves nothing
    GROUP = 16  # entries that are measured one by one instead of being halved again
    FOUND = 4  # wrong entries of a parameter after which the search ends

    def __init__(self, near: Neighbourhood, subject: Subject, noise: float) -> None:
        self.near, self.noise = near, noise
        self.claimed, self.rounding = subject.claimed.ravel(), subject.rounding.ravel()
        self.largest = float(np.abs(self.claimed).max())
        self.absolute = np.zeros(self.claimed.size)
        for indices in subject.names.values():
            flat = indices.ravel()
            self.absolute[flat] = ROUNDINGS * EPS * np.abs(self.claimed[flat]).max(initial=0.0)

    def entries(self, indices: Array, method: str) -> _Entries:
        """Return a verdict on each."""
        if method != "complex":
            return self._by_differences(indices, method)
        found = self._by_complex_steps(indices)
        again = np.flatnonzero(found.verdict == "undecidable")
        found.put(again, self._by_differences(indices[again], "richardson"))
        return found

    def _by_complex_steps(self, indices: Array) -> _Entries:
        """Return right, or undecidable: at a kink, or where f may have dropped the imaginary part."""
        slopes, claimed = self.near.complex_slopes(indices, COMPLEX_STEP), self.claimed[indices]
        allowed = ROUNDINGS * EPS * np.maximum(self.largest, np.abs(slopes)) + self.rounding[indices]
        right = (np.abs(claimed - slopes) <= allowed) & (slopes != 0)
        verdict = np.where(right, "right", "undecidable")
        return _Entries(indices, claimed, slopes, slopes.copy(), slopes.copy(), allowed, verdict)

    def _by_differences(self, indices: Array, method: str) -> _Entries:
        """Try smaller and smaller steps.

        An entry is right as soon as one step confirms it, wrong if a step refutes it and all smaller steps agree, and
        otherwise undecidable. The smaller steps are needed: two kinks, one on each side, look like a smooth function
        from afar, and a wave shorter than the step like anything. At a kink every number between the one-sided
        derivatives is right.
        """
        found = _Entries(indices, *np.zeros((5, len(indices))), np.full(len(indices), "undecidable"))
        refuted, between = np.zeros((2, len(indices)), bool)
        active = np.arange(len(indices))
        for step in self._steps(method):
            if not active.size:
                break
            now, refuting, between[active] = self._measure(indices[active], method, step)
            kept = found.of(active)
            confirmed = refuted[active] & (np.abs(now.measured - kept.measured) <= now.allowed + kept.allowed)
            found.put(active[~confirmed], now.of(~confirmed))
            found.verdict[active[confirmed]] = "wrong"
            refuted[active] = refuting | confirmed
            active = active[confirmed | (now.verdict != "right")]
        at_kink = between & (found.verdict == "undecidable")
        found.verdict[at_kink], found.measured[at_kink] = "right", found.claimed[at_kink]
        return found

    def _steps(self, method: str) -> Array:
        """Return relative steps, from the best one down: larger than usual by tens where f is noisy for its slope."""
        usual, order = DIFFERENCES[method].step, DIFFERENCES[method].order
        slope = np.max(np.abs(self.claimed) * self.near.scale(slice(None))) or abs(self.near.base) or 1.0
        larger = np.log10((self.noise / slope) ** (1 / (order + 1)) / usual) if self.noise else 0
        most = int(np.log10(0.1 / usual))
        return usual * 10.0 ** np.arange(np.clip(np.rint(larger), 0, most), -6, -1)

    def _measure(self, indices: Array, method: str, step: float) -> tuple[_Entries, Array, Array]:
        """Measure entries with a step: verdicts right or undecidable, which are refuted, which lie within a kink."""
        claimed, own = self.claimed[indices], self.rounding[indices]
        m = self.near.measure(indices, method, step, self.noise)
        precision = m.truncation + m.rounding + self.absolute[indices]
        verdict = np.full(len(indices), "undecidable")
        now = _Entries(indices, claimed, m.value, m.left, m.right, precision + own, verdict)
        smooth = m.roughness <= now.allowed + self.SMOOTH * now.size
        precise = precision <= self.PRECISE * now.size
        limit = self.DECISIVE * np.maximum(now.size, self.largest)
        decisive = precise | ((precision <= limit) & (m.truncation <= m.rounding)) | (now.error == 0)
        now.verdict[smooth & decisive & (now.error <= now.allowed)] = "right"
        refuted = now.error > now.allowed + self.DOUBT * np.where(smooth, m.doubt, m.roughness)
        margin = m.rounding + self.absolute[indices] + own + 1e-6 * np.abs(m.right - m.left)
        kink = m.steady_left & m.steady_right & (np.abs(m.right - m.left) > 4 * m.rounding)
        inside = np.abs(claimed - (m.left + m.right) / 2) <= np.abs(m.right - m.left) / 2 + margin
        # Where several kinks meet, a gradient that is right for some choice of sides may lie outside of both slopes.
        return now, refuted & ~kink, kink & inside

    # ---- many entries at once --------------------------------------------------------------------------------------

    def others(
        self, indices: Array, method: str, directions: int, rng: np.random.Generator
    ) -> tuple[bool, _Entries, float]:
        """Look at entries along random directions; return whether they disagree, where, and the error excluded.

        The excluded error is infinite where the directions decided nothing.
        """
        excluded = math.inf
        everywhere = np.zeros(self.claimed.size)
        everywhere[indices] = rng.uniform(-1, 1, len(indices)) * self.near.scale(indices)
        everywhere = everywhere.reshape(self.near.theta.shape)
        moving = measured_noise(lambda t: self.near.at(self.near.theta + t * everywhere))
        self.noise = max(self.noise, moving)  # more numbers that move round more
        for _ in range(directions):
            verdict, bound = self._along(indices, rng)
            excluded = min(excluded, bound)
            if verdict == "wrong":
                return True, self._search(indices, method, rng), excluded
        return False, self.entries(indices[:0], method), excluded

    def _along(self, indices: Array, rng: np.random.Generator) -> tuple[str, float]:
        """Compare the slope along random signs of these entries with the claimed one, with smaller and smaller steps.

        Return the verdict, and the error of a single entry that agreement excludes.
        """
        direction = np.zeros(self.claimed.size)
        direction[indices] = rng.choice([-1.0, 1.0], len(indices)) * self.near.scale(indices)
        claimed = float(direction @ self.claimed)
        norm = float(np.linalg.norm(direction))
        terms = math.hypot(*(direction[indices] * self.claimed[indices]))
        own = EPS * ROUNDINGS * terms + DEVIATIONS * math.hypot(*(direction[indices] * self.rounding[indices]))
        refuted = None
        for step in DIFFERENCES["richardson"].step / max(norm, 1.0) ** 0.5 * 10.0 ** -np.arange(0.0, 6.0):
            m = self.near.along(direction[np.newaxis], float(step), self.noise)
            value, allowed = float(m.value[0]), float(m.truncation[0] + m.rounding[0]) + own
            error = abs(claimed - value)
            if refuted is not None and abs(value - refuted[0]) <= allowed + refuted[1]:
                return "wrong", math.inf
            smooth = m.roughness[0] <= allowed + self.SMOOTH * max(abs(value), abs(claimed))
            precise = allowed - own <= max(self.PRECISE * norm * self.largest, 4 * float(m.rounding[0]))
            if error <= allowed and smooth and precise:
                return "right", 2 * allowed / float(np.abs(direction[indices]).min())
            doubt = self.DOUBT * float(m.doubt[0] if smooth else m.roughness[0])
            refuted = (value, allowed) if error > allowed + doubt else None
        return "undecidable", math.inf

    def _search(self, indices: Array, method: str, rng: np.random.Generator) -> _Entries:
        """Find wrong entries by halving: a half that disagrees holds one."""
        suspects, found = [indices], self.entries(indices[:0], method)
        while suspects and np.sum(found.verdict == "wrong") < self.FOUND:
            group = suspects.pop()
            if len(group) <= self.GROUP:
                found = _Entries.joined([found, self.entries(group, method)])
                continue
            halves = np.array_split(group, 2)
            wrong = [half for half in halves if self._along(half, rng)[0] == "wrong"]
            if not wrong and len(group) > 8 * self.GROUP:  # errors that only their sum shows
                wrong = [half for half in halves if self._along(half, rng)[0] != "right"]
            suspects += wrong
        return found


# ---- the table -----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Entries:
    """Many entries: the columns of `EntryCheck`, except the name."""

    index: Array
    claimed: Array
    measured: Array
    left: Array
    right: Array
    allowed: Array
    verdict: Array

    @property
    def error(self) -> Array:
        return np.abs(self.claimed - self.measured)

    @property
    def size(self) -> Array:
        return np.maximum(np.abs(self.claimed), np.abs(self.measured))

    def columns(self) -> list[Array]:
        return [getattr(self, field.name) for field in dataclasses.fields(self)]

    def of(self, chosen) -> _Entries:
        return _Entries(*(column[chosen] for column in self.columns()))

    def put(self, chosen: Array, others: _Entries) -> None:
        """Replace some entries by others."""
        for column, new in zip(self.columns(), others.columns(), strict=True):
            column[chosen] = new

    @classmethod
    def joined(cls, parts: Iterable[_Entries]) -> _Entries:
        return cls(*map(np.concatenate, zip(*(part.columns() for part in parts), strict=True)))

    def listed(self, chosen: Any, names: dict[str, Array]) -> list[EntryCheck]:
        """Return some of them one by one, each with the name of its place."""
        rows = zip(*(column[chosen].tolist() for column in self.columns()), strict=True)
        return [EntryCheck(index, _place(index, names), *rest) for index, *rest in rows]


def _place(index: int, names: dict[str, Array]) -> str:
    """Return the place of an entry of theta in the network, such as ``0.weight[2, 1]``."""
    name, block = next((name, block) for name, block in names.items() if index <= block.flat[-1])
    return f"{name}[{', '.join(map(str, np.unravel_index(index - block.flat[0], block.shape)))}]"


def _summary(
    subject: Subject, judged: dict[str, _Entries], along: dict[str, tuple[int, float, bool]], value: float, noise: float
) -> GradientCheck:
    names, everything = subject.names, _Entries.joined(judged.values())
    measured, allowed = np.full((2, *subject.theta.shape), np.nan)
    decided = everything.of(everything.verdict != "undecidable")
    measured.flat[decided.index], allowed.flat[decided.index] = decided.measured, decided.allowed
    excess = everything.error / np.maximum(everything.allowed, np.finfo(np.float64).tiny)  # of zero, zero is allowed
    excess[everything.verdict == "undecidable"] = -1
    rows = {name: BlockCheck.of(name, names[name].size, entries) for name, entries in judged.items()}
    for name, (count, excluded, disagree) in along.items():
        wrong = max(rows[name].wrong, int(disagree))  # somewhere, if the search has not found the place
        rows[name] = dataclasses.replace(rows[name], along=count, excluded=excluded, wrong=wrong)
    total = BlockCheck.of("all", sum(block.size for block in names.values()), everything)
    return GradientCheck(
        total,
        list(rows.values()),
        worst=everything.listed([excess.argmax()], names)[0],
        wrong=everything.listed(everything.verdict == "wrong", names),
        undecidable=everything.listed(everything.verdict == "undecidable", names),
        value=value,
        noise=noise,
        measured=measured,
        allowed=allowed,
        is_zero=not subject.claimed.any() and subject.claimed.size > 1,
    )
