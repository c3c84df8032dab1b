"""8. Gradients checked: the slope of a function measured by differences, beside the one that backpropagation claims.

"Small change in parameter dw1 -> output will change by df/dw1 dw1" (System 6): change one entry of theta by h and
by -h, see what the loss does, divide by 2h. It knows nothing of chain rules, and so has nothing to get wrong.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable

import numpy as np

from ._validation import check_count
from .layers import Layer
from .losses import Loss, find_loss, loss_and_backward
from .network import Network, check_finite_targets
from .progress import progress_bar

__all__ = ["BlockCheck", "EntryCheck", "GradientCheck", "check_gradient"]

Array = np.ndarray
Function = Callable[[Array], float]

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
        The two numbers; measured by central differences.
    left, right : float
        The slopes on either side, which differ at a kink.
    allowed : float
        How far apart the two numbers may be: the accuracy of the step that measured it, and of the gradient's dtype.
    verdict : str
        ``"right"``, ``"wrong"``, or ``"undecidable"``: at a kink the loss has no single slope to compare with.
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
    def of(cls, name: str, size: int, entries: list[EntryCheck]) -> BlockCheck:
        """Sum up what was found of a parameter's entries."""
        decided = [entry for entry in entries if entry.verdict != "undecidable"]
        claimed = math.hypot(*(entry.claimed for entry in decided))
        measured = math.hypot(*(entry.measured for entry in decided))
        norm = max(claimed, measured) or 1.0
        error = math.hypot(*(entry.error for entry in decided)) / norm
        allowed = math.hypot(*(entry.allowed for entry in decided)) / norm
        return cls(name, size, len(decided), error, allowed, sum(entry.verdict == "wrong" for entry in decided))


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
        Entries that are wrong, and entries at a kink.
    total : BlockCheck
        All parameters as one.
    """

    total: BlockCheck
    blocks: list[BlockCheck]
    worst: EntryCheck
    wrong: list[EntryCheck]
    undecidable: list[EntryCheck]

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
        lines.append(self._verdict())
        return "\n".join(lines)

    def _verdict(self) -> str:
        checked, wrong = self.total.checked, len(self.wrong)
        if self.passed:
            return f"PASS: {checked} entries agree"
        if not wrong:
            return "UNDECIDED: at no entry did the differences tell right from wrong"
        failed = sum(not block.passed for block in self.blocks)
        return f"FAIL: {wrong} of {checked} entries wrong, {failed} of {len(self.blocks)} parameters fail"

    __repr__ = __str__


def check_gradient(
    target: Network | Function,
    *arguments,
    loss: Loss = "cross_entropy",
    sample_weight=None,
    training: bool = True,
    entries: int | None = None,
    rng=None,
    progress: bool = False,
) -> GradientCheck:
    """Compare a gradient with central differences, entry by entry.

    Two ways to call it: ``check_gradient(network, X, y, loss=...)`` checks a network's own backward pass, and
    ``check_gradient(f, theta, gradient)`` any gradient of any function of a vector.

    Each entry is measured by central differences at two steps, which gives an estimate free of the error in h^2
    (Richardson 1911), and an idea of how good it is. An entry that disagrees is called wrong only if that cannot be
    the fault of the differences; else the step is made smaller. Where no step decides, the point is a kink (of a
    ReLU, a hinge), and the entry undecidable.

    Nothing of the network changes: the check works on copies. Dropout masks are drawn once and kept. The loss of a
    float32 network is measured in float64; what its gradient may be off is what the same backward pass gives
    differently in float64.

    Parameters
    ----------
    target : Network or callable
        What to check; a function takes theta and returns a number.
    *arguments
        X and y for a network; theta and the claimed gradient (an array, or a function of theta) for a function.
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
        If the claimed gradient has another shape than theta or is not finite, or two calls of the function differ.
    TypeError
        If the function returns something other than a number.

    Examples
    --------
    >>> import handmade as hm
    >>> X, y = hm.data.xor()
    >>> bool(hm.check_gradient(hm.MLP([2, 3, 2], activation="tanh", rng=0), X, y))
    True

    A gradient that is wrong by a twentieth of one per cent, in one entry:

    >>> f = lambda theta: float(theta @ theta)
    >>> print(hm.check_gradient(f, np.array([1.0, 2.0]), np.array([2.0, 4.002])))
    parameter        checked  relative error  tolerance
    theta                2/2         4.5e-04    1.0e-08  FAIL
    worst entry: theta[1]: claimed 4.002, measured 4, relative error 5.0e-04
    FAIL: 1 of 2 entries wrong, 1 of 1 parameters fail
    """
    if len(arguments) != 2 or (isinstance(target, Layer) and not isinstance(target, Network)):
        raise TypeError(
            f"check_gradient: expected (network, X, y) with a Network, or (f, theta, gradient), got "
            f"{', '.join(type(argument).__name__ for argument in (target, *arguments))}"
        )
    if isinstance(target, Network):
        f, theta, claimed, own, names = _of_network(target, *arguments, loss, sample_weight, training)
    else:
        f, theta, claimed = target, *_vector_and_gradient(*arguments)
        names, own = {"theta": np.arange(theta.size).reshape(theta.shape)}, np.zeros(theta.shape)
    if theta.size == 0:
        raise ValueError("theta: expected at least one entry to check, got none")
    if claimed.shape != theta.shape:
        raise ValueError(f"gradient: expected the shape of theta {theta.shape}, got {claimed.shape}")
    if not np.isfinite(claimed).all():
        raise ValueError(f"gradient: expected all entries finite, got {claimed[~np.isfinite(claimed)][0]}")
    entries = min(theta.size, 2000) if entries is None else check_count(entries, "entries")
    base = _number(f(theta.copy()))
    if (again := _number(f(theta.copy()))) != base:
        told = f"two calls gave {base!r} and {again!r}, {abs(again - base):.1e} apart"
        raise ValueError(f"the function is not deterministic: {told}; give its random numbers a fixed seed")

    check = _Differences(f, theta, claimed, base, own)
    rng = np.random.default_rng(rng)
    chosen = {name: _choose(block.reshape(-1), theta.size, entries, rng) for name, block in names.items()}
    total = sum(map(len, chosen.values()))
    blocks, all_entries, done = [], [], 0
    with progress_bar("entries", total, progress) as report:
        for name, block in names.items():
            checked = []
            for i in chosen[name]:
                position = ", ".join(map(str, np.argwhere(block == i)[0])) if block.ndim else ""
                checked.append(check.entry(int(i), f"{name}[{position}]"))
                report(done := done + 1, name)
            blocks.append(BlockCheck.of(name, block.size, checked))
            all_entries += checked
    return GradientCheck(
        BlockCheck.of("all", theta.size, all_entries),
        blocks,
        worst=max(all_entries, key=lambda e: -1.0 if e.verdict == "undecidable" else e.error / e.allowed),
        wrong=[e for e in all_entries if e.verdict == "wrong"],
        undecidable=[e for e in all_entries if e.verdict == "undecidable"],
    )


def _choose(block: Array, total: int, entries: int, rng) -> Array:
    """Which entries of a block to measure: its share of them, and at least one."""
    count = min(len(block), math.ceil(entries * len(block) / total))
    return np.sort(rng.choice(block, count, replace=False))


def _number(value) -> float:
    if np.ndim(value) or np.asarray(value).dtype.kind not in "iuf":
        raise TypeError(f"the function: expected it to return one real number, got {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"the function: expected it to return a finite number, got {value!r}")
    return float(value)


def _vector_and_gradient(theta, gradient) -> tuple[Array, Array]:
    theta = np.array(theta, dtype=np.float64)
    return theta, np.array(gradient(theta.copy()) if callable(gradient) else gradient, dtype=np.float64)


def _of_network(network: Network, X, y, loss: Loss, sample_weight, training: bool):
    """The loss as a function of theta in float64, the gradient that the network claims, and how it is rounded.

    The rounding of a float32 gradient is measured: it is what the same backward pass does differently in float64.
    """
    X, y = network.check_input(X), check_finite_targets(y)
    y = y.astype(network.dtype) if y.dtype.kind == "f" else y
    _, claimed = copy.deepcopy(network).backpropagate(X, y, loss, sample_weight, training)
    witness = network.astype(np.float64)
    X = X.astype(np.float64)
    _, exact = copy.deepcopy(witness).backpropagate(X, y, loss, sample_weight, training)
    f = find_loss(loss)[0]
    generators = [leaf.rng for _, leaf in witness.leaves() if hasattr(leaf, "rng")]
    states = [generator.bit_generator.state for generator in generators]

    def value(theta: Array) -> float:
        for generator, state in zip(generators, states, strict=True):
            generator.bit_generator.state = state  # the same dropout masks every time
        witness.theta[:] = theta
        H = witness.forward(X, training)
        return f(H, y) if sample_weight is None else loss_and_backward(loss, H, y, sample_weight)[0]

    theta = witness.theta.copy()
    claimed = claimed.astype(np.float64)
    own = np.abs(claimed - exact) if np.isfinite(claimed).all() else claimed
    return value, theta, claimed, own, network.blocks(np.arange(theta.size))


class _Differences:
    """Differences of f around theta, and what may be expected of them.

    With a step h the central difference D(h) is off by h^2 f'''/6 (truncation) and by eps |f| / h (rounding). The
    combination (4 D(h/2) - D(h)) / 3 is rid of the first but for terms in h^4, so h can be large enough, eps^(1/5),
    to make the second small: about 1e-12 in all.

    ``own`` is how far each claimed entry may be off by the rounding of a dtype less precise than float64.
    """

    ROUNDINGS = 32  # how many eps |f| an evaluation of f may be off: the length of its chain of operations
    TRUNCATION = 1e-8  # relative: h^4 = 3e-13, with room for a fifth derivative 3 10^4 times the first
    STEPS = np.finfo(np.float64).eps ** 0.2 * 10.0 ** -np.arange(6)  # relative, from the best down to 7e-9
    DOUBT = 10  # what looks like a kink or curvature may distort the estimate by so many times its own size
    SMOOTH = 1e-3  # relative: a step with more doubt than this has met a kink, and proves nothing right
    DECISIVE = 0.1  # relative to the largest entry: where noise is larger, agreement proves nothing

    def __init__(self, f: Function, theta: Array, claimed: Array, base: float, own: Array) -> None:
        self.f, self.theta, self.claimed, self.base, self.own = f, theta, claimed, base, own
        self.largest = float(np.abs(claimed).max())
        # A gradient entry is a sum over samples and paths, each rounded.
        self.absolute = self.ROUNDINGS * np.finfo(np.float64).eps * self.largest

    def entry(self, i: int, name: str) -> EntryCheck:
        """Measure one entry: until a step proves it right, or none has, and one refutes it and another confirms that.

        A refuted entry is looked at with the smaller steps too. Two kinks, one on each side, look like a smooth
        function from afar, and a wave shorter than the step like anything; where the slope near by is another one,
        the refutation is void.
        """
        refuting, confirmed = None, False
        for step in self.STEPS:
            entry, doubt, precision = self._measure(i, name, step)
            if refuting and abs(entry.measured - refuting.measured) <= entry.allowed + refuting.allowed:
                confirmed = True
                continue
            agrees = entry.error <= entry.allowed and doubt <= entry.allowed + self.SMOOTH * entry.size
            if agrees and (entry.error == 0 or precision <= self.DECISIVE * max(entry.size, self.largest)):
                return dataclasses.replace(entry, verdict="right")
            refuting = entry if entry.error > entry.allowed + self.DOUBT * doubt else None
            confirmed = False
        return dataclasses.replace(refuting, verdict="wrong") if confirmed else entry

    def _measure(self, i: int, name: str, step: float) -> tuple[EntryCheck, float, float]:
        """The entry as measured with this step, how much the two steps that it takes disagree, and its precision.

        A smooth function has D(h) = D(h/2) and slopes on the two sides that close in proportion to h, but for
        higher orders. A kink anywhere within the step violates one of the two by at least a tenth of its jump.
        """
        left, right, size = self._slopes(i, step)
        near_left, near_right, _ = self._slopes(i, step / 2)
        wide, narrow = (left + right) / 2, (near_left + near_right) / 2
        doubt = abs(wide - narrow) + abs(2 * (near_right - near_left) - (right - left))
        measured = (4 * narrow - wide) / 3
        claimed = float(self.claimed.flat[i])
        noise = self.ROUNDINGS * np.finfo(np.float64).eps * size / (self._scale(i) * step)
        precision = self.TRUNCATION * max(abs(claimed), abs(measured)) + self.absolute + noise
        allowed = precision + float(self.own.flat[i])
        return EntryCheck(i, name, claimed, measured, near_left, near_right, allowed, "undecidable"), doubt, precision

    def _slopes(self, i: int, step: float) -> tuple[float, float, float]:
        """The one-sided differences below and above, and the largest |f| that they are made of."""
        x, h = float(self.theta.flat[i]), self._scale(i) * step
        below, above = x - h, x + h  # as rounded: divide by the distance that was really gone
        down, up = self._at(i, below), self._at(i, above)
        return (self.base - down) / (x - below), (up - self.base) / (above - x), max(map(abs, (down, self.base, up)))

    def _at(self, i: int, value: float) -> float:
        moved = self.theta.copy()
        moved.flat[i] = value
        return _number(self.f(moved))

    def _scale(self, i: int) -> float:
        return max(1.0, abs(float(self.theta.flat[i])))
