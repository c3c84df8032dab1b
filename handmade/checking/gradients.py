"""8. Gradients checked: the slope of a function measured by differences, beside the one that backpropagation claims.

"Small change in parameter dw1 -> output will change by df/dw1 dw1" (System 6): change one entry of theta by h and
by -h, see what the loss does, divide by 2h. It knows nothing of chain rules, and so has nothing to get wrong. What it
has is an accuracy, which is measured too, entry by entry: that is what a claimed gradient may be off, and no more.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterable

import numpy as np

from .._validation import check_count, check_finite
from ..layers import Layer
from ..losses import Loss
from ..network import Network
from ..progress import progress_bar
from .differences import COMPLEX_STEP, EPS, ORDERS, Function, Neighbourhood, check_method, default_step
from .network_loss import NetworkLoss

__all__ = ["BlockCheck", "EntryCheck", "GradientCheck", "check_gradient"]

Array = np.ndarray
PART = 500  # entries that are measured together


@dataclasses.dataclass(frozen=True)
class EntryCheck:
    """One entry of the gradient, claimed and measured.

    Attributes
    ----------
    index : int
        Where in theta.
    name : str
        Where in the network, e.g. ``0.weight[2, 1]``.
    claimed, measured : float
        The two numbers.
    left, right : float
        The slopes on either side, which differ at a kink.
    allowed : float
        How far apart the two numbers may be: the accuracy reached by the step that measured it, and that of the
        gradient's dtype.
    verdict : str
        ``"right"``, ``"wrong"``, or ``"undecidable"``: at a kink there is no single slope to compare with, and in
        noise none to be seen.
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
        """The larger of the two."""
        return max(abs(self.claimed), abs(self.measured))

    @property
    def relative_error(self) -> float:
        """The error by the size."""
        return self.error / (self.size or 1.0)

    def __str__(self) -> str:
        line = f"{self.name}: claimed {self.claimed:.10g}, measured {self.measured:.10g}"
        if self.verdict == "undecidable":
            return f"{line}; the slopes on its two sides are {self.left:.6g} and {self.right:.6g}"
        return f"{line}, relative error {self.relative_error:.1e}"


@dataclasses.dataclass(frozen=True)
class BlockCheck:
    """One parameter of the network: how far its claimed gradient is from the measured one.

    Attributes
    ----------
    name : str
        As in a state_dict.
    size, checked : int
        How many entries it has, and how many were measured and decided.
    relative_error : float
        ||claimed - measured|| / max(||claimed||, ||measured||) over those entries.
    tolerance : float
        What it may be, from what each of them may be off.
    wrong : int
        How many of them are wrong; the parameter passes where none is.
    """

    name: str
    size: int
    checked: int
    relative_error: float
    tolerance: float
    wrong: int

    @property
    def passed(self) -> bool:
        return self.wrong == 0

    @classmethod
    def of(cls, name: str, size: int, entries: _Entries) -> BlockCheck:
        """Sum up what was found of a parameter's entries."""
        decided = entries.of(entries.verdict != "undecidable")
        norm = max(math.hypot(*decided.claimed), math.hypot(*decided.measured)) or 1.0
        error, allowed = math.hypot(*decided.error) / norm, math.hypot(*decided.allowed) / norm
        return cls(name, size, len(decided.index), error, allowed, int(np.sum(decided.verdict == "wrong")))


@dataclasses.dataclass(frozen=True)
class GradientCheck:
    """The verdict of `check_gradient`; true where it passed, and printed as a table.

    It passes where at least one entry could be decided, and none is wrong.

    Attributes
    ----------
    blocks : list of BlockCheck
        One per parameter.
    worst : EntryCheck
        The entry with the largest difference, measured against what may be expected of it.
    wrong, undecidable : list of EntryCheck
        Entries that are wrong, and entries at a kink or lost in noise.
    total : BlockCheck
        All parameters as one.
    value, noise : float
        The function at theta, and the standard deviation of what it gets wrong: what limits any difference.
    measured, allowed : ndarray, the shape of theta
        The slopes, and how far off each may be; NaN where an entry was not measured, or not decided.
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

    @property
    def passed(self) -> bool:
        return not self.wrong and self.total.checked > 0

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

    def _verdict(self) -> str:
        checked, wrong = self.total.checked, len(self.wrong)
        if self.passed:
            undecided = f", {len(self.undecidable)} undecided" if self.undecidable else ""
            return f"PASS: {checked} entries agree{undecided}"
        if not wrong:
            return "UNDECIDED: at no entry did the differences tell right from wrong"
        failed = sum(not block.passed for block in self.blocks)
        return f"FAIL: {wrong} of {checked} entries wrong, {failed} of {len(self.blocks)} parameters fail"

    __repr__ = __str__


def check_gradient(
    target: Network | Function,
    *arguments,
    method: str = "richardson",
    loss: Loss = "cross_entropy",
    sample_weight=None,
    training: bool = True,
    entries: int | None = None,
    rng=None,
    progress: bool = False,
) -> GradientCheck:
    """Compare a gradient with differences, entry by entry.

    Two ways to call it: ``check_gradient(network, X, y, loss=...)`` checks a network's own backward pass, and
    ``check_gradient(f, theta, gradient)`` any gradient of any function of a vector.

    What an entry may be off is what could be achieved: the noise of the function is measured, and so is, from three
    steps each half of the one before, the error of the formula. An entry that disagrees is called wrong only if that
    cannot be the fault of the differences, and smaller steps agree; where no step decides, the point is a kink (of a
    ReLU, a hinge) or drowned in noise, and the entry undecidable.

    Nothing of the network changes: the check works on copies. Dropout masks are drawn once and kept. The loss of a
    float32 network is measured in float64; what its gradient may be off is what the same backward pass gives
    differently in float64, so an error that float32 alone commits passes.

    Parameters
    ----------
    target : Network or callable
        What to check; a function takes theta and returns a number.
    *arguments
        X and y for a network; theta and the claimed gradient (an array, or a function of theta) for a function.
    method : {"forward", "central", "richardson", "complex"}
        See `handmade.differences`. "complex" needs a function analytic as written and confirms a gradient to the last
        digits; where it disagrees, or finds zero, "richardson" has the last word.
    loss, sample_weight, training
        As in `Network.loss_and_gradient`; for networks.
    entries : int, optional
        How many entries to measure, drawn at random from every parameter alike. All, up to 2,000, unless given.
    rng : optional
        Anything numpy.random.default_rng takes; draws the entries.
    progress : bool
        Whether to show progress.

    Returns
    -------
    GradientCheck
        True or false, and a table in print.

    Raises
    ------
    ValueError
        If the claimed gradient has another shape than theta, is not finite, or a second call of it gives another; or
        as `numerical_gradient` raises.
    TypeError
        As `numerical_gradient` raises.

    Examples
    --------
    >>> import handmade as hm
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
    if len(arguments) != 2 or (isinstance(target, Layer) and not isinstance(target, Network)):
        raise TypeError(
            f"check_gradient: expected (network, X, y) with a Network, or (f, theta, gradient), got "
            f"{', '.join(type(argument).__name__ for argument in (target, *arguments))}"
        )
    check_method(method)
    if isinstance(target, Network):
        f, theta, claimed, own, names = _of_network(target, *arguments, loss, sample_weight, training)
    else:
        f, theta, claimed = target, *_vector_and_gradient(*arguments)
        names, own = {"theta": np.arange(theta.size).reshape(theta.shape)}, np.zeros(theta.shape)
    near = Neighbourhood(f, theta)
    if claimed.shape != theta.shape:
        raise ValueError(f"gradient: expected the shape of theta {theta.shape}, got {claimed.shape}")
    check_finite(claimed, "gradient")
    entries = min(theta.size, 2000) if entries is None else check_count(entries, "entries")

    rng = np.random.default_rng(rng)
    chosen = {name: _choose(block.ravel(), theta.size, entries, rng) for name, block in names.items()}
    total = sum(map(len, chosen.values()))
    judge = _Judge(near, claimed, own, near.noise(np.concatenate(list(chosen.values()))))
    judged, done = {}, 0
    with progress_bar("entries", total, progress) as report:
        for name, indices in chosen.items():
            parts = []
            for start in range(0, len(indices), PART):
                part = indices[start : start + PART]
                parts.append(judge.entries(part, method))
                report(done := done + len(part), name)
            judged[name] = _Entries.joined(parts)
    return _summary(names, judged, theta.shape, near.base, judge.noise)


def _choose(block: Array, total: int, entries: int, rng) -> Array:
    """Which entries of a block to measure: its share of them, and at least one."""
    count = min(len(block), math.ceil(entries * len(block) / total))
    return np.sort(rng.choice(block, count, replace=False))


def _vector_and_gradient(theta, gradient) -> tuple[Array, Array]:
    theta = np.array(theta, dtype=np.float64)
    if not callable(gradient):
        return theta, np.array(gradient, dtype=np.float64)
    claimed, again = (np.array(gradient(theta.copy()), dtype=np.float64) for _ in range(2))
    if not np.array_equal(claimed, again, equal_nan=True):
        apart = f"{np.abs(again - claimed).max():.1e} apart" if again.shape == claimed.shape else "of two shapes"
        raise ValueError(
            f"the gradient is not deterministic: two calls gave {claimed.flat[0]!r}, ... and {again.flat[0]!r}, ..., "
            f"{apart}; let it add to nothing that an earlier call left, and give its random numbers a fixed seed"
        )
    return theta, claimed


def _of_network(network: Network, X, y, loss: Loss, sample_weight, training: bool):
    """The loss as a function of theta in float64, the gradient that the network claims, and how it is rounded.

    The rounding of a float32 gradient is measured: it is what the same backward pass does differently in float64.
    """
    f = NetworkLoss(network, X, y, loss, sample_weight, training)
    _, claimed = copy.deepcopy(network).backpropagate(network.check_input(X), f.y, loss, sample_weight, training)
    _, exact = network.astype(np.float64).backpropagate(f.X, f.y, loss, sample_weight, training)
    claimed = claimed.astype(np.float64)
    own = np.abs(claimed - exact) if np.isfinite(claimed).all() else claimed
    return f, network.theta.astype(np.float64), claimed, own, network.blocks(np.arange(claimed.size))


class _Judge:
    """Tells the right entries of a claimed gradient from the wrong ones, by differences of f around theta.

    ``own`` is how far each claimed entry may be off by the rounding of a dtype less precise than float64.
    """

    ROUNDINGS = 32  # how many eps of the largest entry another may be off: a sum over samples and paths, each rounded
    DOUBT = 10  # what looks like a kink or curvature may distort the estimate by so many times its own size
    SMOOTH = 1e-3  # relative: where the central differences of two steps are farther apart, a kink may be the cause
    PRECISE = 1e-7  # relative: a measurement as good as this needs no smaller step
    DECISIVE = 0.1  # relative to the largest entry: where noise is larger, agreement proves nothing

    def __init__(self, near: Neighbourhood, claimed: Array, own: Array, noise: float) -> None:
        self.near, self.claimed, self.own, self.noise = near, claimed.ravel(), own.ravel(), noise
        self.largest = float(np.abs(claimed).max())
        self.absolute = self.ROUNDINGS * EPS * self.largest

    def entries(self, indices: Array, method: str) -> _Entries:
        """A verdict on each."""
        if method != "complex":
            return self._by_differences(indices, method)
        found = self._by_complex_steps(indices)
        again = np.flatnonzero(found.verdict == "undecidable")
        found.put(again, self._by_differences(indices[again], "richardson"))
        return found

    def _by_complex_steps(self, indices: Array) -> _Entries:
        """Right, or undecidable: at a kink, and where f may have dropped the imaginary part, which leaves zero."""
        slopes, claimed = self.near.complex_slopes(indices, COMPLEX_STEP), self.claimed[indices]
        allowed = self.ROUNDINGS * EPS * np.maximum(self.largest, np.abs(slopes)) + self.own[indices]
        right = (np.abs(claimed - slopes) <= allowed) & (slopes != 0)
        verdict = np.where(right, "right", "undecidable")
        return _Entries(indices, claimed, slopes, slopes.copy(), slopes.copy(), allowed, verdict)

    def _by_differences(self, indices: Array, method: str) -> _Entries:
        """Measure until a step proves an entry right, or none has, and one refutes it and smaller ones confirm that.

        A refuted entry is looked at with the smaller steps too. Two kinks, one on each side, look like a smooth
        function from afar, and a wave shorter than the step like anything; where the slope near by is another one,
        the refutation is void.
        """
        found = _Entries(indices, *np.zeros((5, len(indices))), np.full(len(indices), "undecidable"))
        refuted = np.zeros(len(indices), bool)
        active = np.arange(len(indices))
        for step in self._steps(method):
            if not active.size:
                break
            now, refuting = self._measure(indices[active], method, step)
            kept = found.of(active)
            confirmed = refuted[active] & (np.abs(now.measured - kept.measured) <= now.allowed + kept.allowed)
            found.put(active[~confirmed], now.of(~confirmed))
            found.verdict[active[confirmed]] = "wrong"
            refuted[active] = refuting | confirmed
            active = active[confirmed | (now.verdict != "right")]
        return found

    def _steps(self, method: str) -> Array:
        """Relative steps, from the best one down: larger than usual by tens where f is noisy for its slope."""
        usual, order = default_step(method), ORDERS[method]
        slope = np.max(np.abs(self.claimed) * self.near.scale(slice(None))) or abs(self.near.base) or 1.0
        larger = np.log10((self.noise / slope) ** (1 / (order + 1)) / usual) if self.noise else 0
        most = int(np.log10(0.1 / usual))
        return usual * 10.0 ** np.arange(np.clip(np.rint(larger), 0, most), -6, -1)

    def _measure(self, indices: Array, method: str, step: float) -> tuple[_Entries, Array]:
        """Entries as measured with a step, the verdict right or undecidable, and which of them it refutes."""
        claimed, own = self.claimed[indices], self.own[indices]
        m = self.near.measure(indices, method, step, self.noise)
        precision = m.truncation + m.rounding + self.absolute
        verdict = np.full(len(indices), "undecidable")
        now = _Entries(indices, claimed, m.value, m.left, m.right, precision + own, verdict)
        smooth = m.roughness <= now.allowed + self.SMOOTH * now.size
        precise = precision <= self.PRECISE * now.size
        limit = self.DECISIVE * np.maximum(now.size, self.largest)
        decisive = precise | ((precision <= limit) & (m.truncation <= m.rounding)) | (now.error == 0)
        now.verdict[smooth & decisive & (now.error <= now.allowed)] = "right"
        return now, now.error > now.allowed + self.DOUBT * np.where(smooth, m.doubt, m.roughness)


# ---- the table -----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Entries:
    """What was found of many entries: the columns of `EntryCheck`, but for the name."""

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

    def told(self, chosen, names: dict[str, Array]) -> list[EntryCheck]:
        """Some of them one by one, each with the name of its place."""
        rows = zip(*(column[chosen].tolist() for column in self.columns()), strict=True)
        return [EntryCheck(index, _place(index, names), *rest) for index, *rest in rows]


def _place(index: int, names: dict[str, Array]) -> str:
    """Where an entry of theta is in the network, such as ``0.weight[2, 1]``."""
    name, block = next((name, block) for name, block in names.items() if index <= block.flat[-1])
    return f"{name}[{', '.join(map(str, np.unravel_index(index - block.flat[0], block.shape)))}]"


def _summary(
    names: dict[str, Array], judged: dict[str, _Entries], shape: tuple[int, ...], value: float, noise: float
) -> GradientCheck:
    everything = _Entries.joined(judged.values())
    measured, allowed = np.full((2, *shape), np.nan)
    decided = everything.of(everything.verdict != "undecidable")
    measured.flat[decided.index], allowed.flat[decided.index] = decided.measured, decided.allowed
    excess = everything.error / np.maximum(everything.allowed, np.finfo(np.float64).tiny)  # of zero, zero is allowed
    excess[everything.verdict == "undecidable"] = -1
    return GradientCheck(
        BlockCheck.of("all", sum(block.size for block in names.values()), everything),
        [BlockCheck.of(name, names[name].size, entries) for name, entries in judged.items()],
        worst=everything.told([excess.argmax()], names)[0],
        wrong=everything.told(everything.verdict == "wrong", names),
        undecidable=everything.told(everything.verdict == "undecidable", names),
        value=value,
        noise=noise,
        measured=measured,
        allowed=allowed,
    )
