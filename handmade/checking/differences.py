"""8. Slopes measured by differences: change one entry of theta a little, and see what the function does.

"Small change in parameter dw1 -> output will change by df/dw1 dw1" (System 6). Four methods:

==========  ====================================  =====  ==================
method      formula                               error  relative step
==========  ====================================  =====  ==================
forward     F(h) = (f(x + h) - f(x)) / h          h      eps^(1/2) = 1.5e-8
central     D(h) = (f(x + h) - f(x - h)) / 2h     h^2    eps^(1/3) = 6.1e-6
richardson  (4 D(h/2) - D(h)) / 3                 h^4    eps^(1/5) = 7.4e-4
complex     Im f(x + ih) / h                      h^2    1e-20
==========  ====================================  =====  ==================

The first three subtract numbers that are nearly equal: the noise of f, divided by h, is what they cannot see through,
and the best step balances it with the error of the formula (truncation). The complex step subtracts nothing (Squire
and Trapp 1998), so h can be so small that h^2 vanishes, if f is analytic as written.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable

import numpy as np

from .._validation import check_finite

__all__ = ["Accuracy", "StepSweep", "numerical_gradient", "step_sweep"]

Array = np.ndarray
Function = Callable[[Array], float]

EPS = np.finfo(np.float64).eps
ORDERS = {"forward": 1, "central": 2, "richardson": 4}  # the power of h in the truncation
METHODS = (*ORDERS, "complex")
AMPLIFICATION = {"forward": 2.0, "central": 1.0, "richardson": 1.5}  # sum of |coefficients| by the smallest step
COMPLEX_STEP = 1e-20
COMPLEX_ROUNDINGS = 8  # how many eps the imaginary part may be off: the length of a chain of operations
DEVIATIONS = 4  # standard deviations that count as the most that noise does
DIRECTIONS = 3  # along which noise is measured
NOT_ANALYTIC = "the complex step needs a function analytic as written, which takes and returns complex numbers"


def numerical_gradient(
    f: Function, theta, *, method: str = "richardson", step: float | None = None, indices=None
) -> Array:
    """The gradient of a function by differences.

    Parameters
    ----------
    f : callable
        Takes an array like theta, and returns a number. Where it has a method ``moved(theta, indices, values)``, as
        `NetworkLoss` has, that is asked for all values at once.
    theta : array_like, any shape
        Where.
    method : {"forward", "central", "richardson", "complex"}
        See the module; "complex" needs a function that takes complex numbers and is analytic as written.
    step : float, optional
        h, relative to max(1, \\|theta_i\\|); the best for a smooth function of size 1 in float64, unless given.
    indices : array_like of int, optional
        Which entries of theta, counted in its flat order; all, unless given.

    Returns
    -------
    ndarray
        The shape of theta; or one number per index.

    Raises
    ------
    ValueError
        If the method is unknown, or f changes its argument, gives another value at a second call, or none that is
        finite.
    TypeError
        If f returns something other than a number, or, for the complex step, a number that is not complex.

    Examples
    --------
    >>> f = lambda theta: np.exp(theta).sum()
    >>> for method, bound in ("forward", 1e-7), ("central", 1e-9), ("richardson", 1e-11), ("complex", 1e-15):
    ...     error = numerical_gradient(f, [1.0], method=method)[0] / np.e - 1
    ...     print(f"{method:<10} {abs(error) < bound}")
    forward    True
    central    True
    richardson True
    complex    True
    """
    theta = np.array(theta, dtype=np.float64)
    near = Neighbourhood(f, theta)
    chosen = np.arange(theta.size) if indices is None else near.check_indices(indices)
    check_method(method)
    if step is not None and not 0 < step < math.inf:
        raise ValueError(f"step: expected a number above 0, got {step!r}")
    if method == "complex":
        slopes = near.complex_slopes(chosen, COMPLEX_STEP if step is None else step)
    else:
        h = near.scale(chosen) * (default_step(method) if step is None else step)
        steps = h / np.array([[1], [2]]) if method == "richardson" else h[np.newaxis]
        left, right = (None, near.slopes(chosen, steps)) if method == "forward" else near.both_sides(chosen, steps)
        slopes = estimates(method, left, right)[-1]
    return slopes.reshape(theta.shape) if indices is None else slopes


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """What a method can reach.

    Attributes
    ----------
    method : str
        One of the four.
    step, estimate : float
        The best step, relative to max(1, \\|theta_i\\|), and the slope by it.
    truncation, rounding : float
        What the formula, and what the noise of the function, may make the estimate off.
    """

    method: str
    step: float
    estimate: float
    truncation: float
    rounding: float

    @property
    def achievable(self) -> float:
        """The sum of the two: how far off the estimate may be."""
        return self.truncation + self.rounding

    def __str__(self) -> str:
        numbers = f"{self.truncation:>10.1e}  {self.rounding:>8.1e}  {self.achievable:>10.1e}"
        return f"{self.method:<10}  {self.step:>9.1e}  {self.estimate:>22.15g}  {numbers}"


@dataclasses.dataclass(frozen=True)
class StepSweep:
    """What each method can reach for one entry of theta; printed as a table, a line for each.

    Attributes
    ----------
    methods : dict of str to Accuracy
        The best of each method.
    steps, estimates : dict of str to ndarray
        All steps (relative) of each method, and the slopes by them.
    value, noise : float
        The function at theta, and the standard deviation of what it gets wrong.
    refused : str
        Why the complex step is missing, where it is.
    """

    methods: dict[str, Accuracy]
    steps: dict[str, Array]
    estimates: dict[str, Array]
    value: float
    noise: float
    refused: str

    def __str__(self) -> str:
        lines = [f"{'method':<10}  best step  {'estimate':>22}  truncation  rounding  achievable"]
        lines += map(str, self.methods.values())
        if self.refused:
            lines.append(f"complex     {self.refused}")
        return "\n".join([*lines, f"noise of the function: {self.noise:.1e}, at a value of {self.value:.6g}"])

    __repr__ = __str__


def step_sweep(f: Function, theta, index: int = 0, *, steps=None) -> StepSweep:
    """One entry of a gradient by every method and many steps: which step is best, and how good it is.

    The error of a formula falls with h^p; that of rounding grows with 1 / h. The first is seen at large steps, where
    the estimates of h and h/2 differ by more than rounding explains, and is followed down from there by its power;
    the second is the measured noise of f over h. They meet at the best step.

    Parameters
    ----------
    f, theta
        As in `numerical_gradient`; smooth at theta.
    index : int
        Which entry, in the flat order of theta.
    steps : array_like, optional
        Relative to max(1, \\|theta_i\\|); two per decade from 0.1 down to 1e-14, unless given.

    Returns
    -------
    StepSweep
        A table in print.

    Raises
    ------
    ValueError, TypeError
        As in `numerical_gradient`.

    Examples
    --------
    >>> sweep = step_sweep(lambda theta: np.exp(theta).sum(), [1.0, 2.0], index=0)
    >>> for name, accuracy in sweep.methods.items():
    ...     print(f"{name:<10} {abs(accuracy.estimate - np.e) <= accuracy.achievable}")
    forward    True
    central    True
    richardson True
    complex    True
    """
    near = Neighbourhood(f, np.array(theta, dtype=np.float64))
    chosen = near.check_indices([index])
    scale, noise = near.scale(chosen), near.noise(chosen)
    relative = 10.0 ** -np.arange(1, 14.25, 0.5) if steps is None else np.array(steps, dtype=np.float64)
    if relative.ndim != 1 or relative.size == 0 or not np.all((relative > 0) & (relative < np.inf)):
        raise ValueError(f"steps: expected a list of numbers above 0, got {steps!r}")
    many = np.repeat(chosen, len(relative))
    h = scale * relative / np.array([[1], [2], [4]])
    left, right = near.both_sides(many, h)
    size = abs(near.base) + np.maximum(np.abs(left[0]), np.abs(right[0])) * h[0]
    found, accuracies, refused = {}, {}, ""
    for method, order in ORDERS.items():
        one, half = estimates(method, left, right)[:2]
        smallest = h[1] if method == "richardson" else h[0]
        rounding = AMPLIFICATION[method] * evaluation_error(noise, size) / smallest
        found[method] = relative, one
        accuracies[method] = _best(method, relative, one, half, order, rounding)
    try:
        relative = np.append(relative, COMPLEX_STEP)
        many = np.append(many, chosen)
        one, half = near.complex_slopes(many, relative), near.complex_slopes(many, relative / 2)
        found["complex"] = relative, one
        accuracies["complex"] = _best("complex", relative, one, half, 2, COMPLEX_ROUNDINGS * EPS * np.abs(one))
    except TypeError as error:
        refused = str(error)
    taken, slopes = ({name: pair[k] for name, pair in found.items()} for k in range(2))
    return StepSweep(accuracies, taken, slopes, near.base, noise, refused)


def _best(method: str, steps: Array, one: Array, half: Array, order: int, rounding: Array) -> Accuracy:
    """The step with the smallest sum of truncation and rounding; of equals, the smallest."""
    change = 2 * np.abs(one - half) / (1 - 0.5**order)
    seen = np.where(change > 20 * rounding, steps, np.inf)  # by far more than rounding explains
    last = seen.argmin()
    followed = change[last] * (steps / seen[last]) ** order  # zero, where no change was seen
    truncation = np.where(steps > seen[last], np.maximum(followed, change), followed)
    total = truncation + rounding
    best = np.flatnonzero(total == total.min())[-1]
    return Accuracy(method, *(float(column[best]) for column in (steps, one, truncation, rounding)))


def default_step(method: str) -> float:
    """Relative; where truncation h^p and rounding eps / h meet, for a smooth function of size 1."""
    return EPS ** (1 / (1 + ORDERS[method]))


def check_method(method: str) -> None:
    if method not in METHODS:
        raise ValueError(f"method: expected one of {', '.join(METHODS)}; got {method!r}")


def estimates(method: str, left: Array | None, right: Array) -> Array:
    """The slopes by one of the methods, from one-sided ones at steps each half of the one before (first axis)."""
    if method == "forward":
        return right
    central = (left + right) / 2
    return central if method == "central" else (4 * central[1:] - central[:-1]) / 3


def evaluation_error(noise: float, size):
    """How far f may be off: some standard deviations of its noise, and in any case its last digits."""
    return np.maximum(DEVIATIONS * noise, 2 * EPS * size)


@dataclasses.dataclass(frozen=True)
class Measurement:
    """Slopes measured by one method, an array each.

    Attributes
    ----------
    value, left, right : ndarray
        The estimates, and the one-sided differences with the smallest step.
    truncation, rounding : ndarray
        What the formula and the noise of the function may make them off.
    doubt, roughness : ndarray
        What the steps differ by in ways that a smooth function does not, and in any way.
    """

    value: Array
    left: Array
    right: Array
    truncation: Array
    rounding: Array
    doubt: Array
    roughness: Array


def measured_noise(f: Callable[[float], float]) -> float:
    """The standard deviation of the noise of f(t) near t = 0 (Moré and Wild, SIAM J. Sci. Comput. 33, 2011).

    The k-th differences of a smooth function at equally spaced points vanish with the spacing; those of noise have k
    times the variance (2k)! / (k!)^2 of the noise. Where three levels of the table of differences agree about it, it
    is noise. A function that moves in stairs, because it computes in float32, needs a wider spacing, a wild one a
    narrower.
    """
    spacing, least = 1e-12, 0.0
    for _ in range(12):
        values = [f(k * spacing) for k in range(8)]
        tables = [np.diff(values, k) for k in range(1, 7)]
        if np.count_nonzero(tables[0] == 0) >= 4:
            if spacing > 1e-3:
                return _last_bit(values[0]) / math.sqrt(12)
            spacing *= 100
            continue
        levels = [math.factorial(k) ** 2 / math.factorial(2 * k) * np.mean(tables[k - 1] ** 2) for k in range(1, 7)]
        for k in range(4):
            three = levels[k : k + 3]  # of the variance
            if max(three) <= 4**2 * min(three) and tables[k].min() < 0 < tables[k].max():
                return math.sqrt(levels[k])
        spacing, least = spacing / 10, math.sqrt(min(levels))
    return least


def _last_bit(value: float) -> float:
    """How high a stair a function may stand on that does not move: the last bit of its value, float32's at most."""
    numerator, denominator = value.as_integer_ratio()
    return min((numerator & -numerator) / denominator, float(np.finfo(np.float32).eps) * abs(value))


class Neighbourhood:
    """A function around theta: its values at points that differ from theta in one entry, and the slopes that they make.

    Every value is looked at: it has to be one finite number, the same at a second call, and theta has to be what it
    was.
    """

    def __init__(self, f: Function, theta: Array) -> None:
        if theta.size == 0:
            raise ValueError("theta: expected at least one entry, got none")
        if not callable(f):
            told = "for that of a network, NetworkLoss(network, X, y)"
            raise TypeError(f"f: expected a function of theta; {told}; got {f!r}")
        check_finite(theta, "theta")
        self.f, self.theta = f, theta
        self.base = self.at(theta)
        if (again := self.at(theta)) != self.base:
            told = f"two calls gave {self.base!r} and {again!r}, {abs(again - self.base):.1e} apart"
            raise ValueError(f"the function is not deterministic: {told}; give its random numbers a fixed seed")

    def at(self, theta: Array) -> float:
        """f(theta), one finite real number."""
        value = self._call(theta)
        if np.ndim(value) or np.asarray(value).dtype.kind not in "iuf":
            raise TypeError(f"the function: expected it to return one real number, got {value!r}")
        if not math.isfinite(value):
            raise ValueError(f"the function: expected it to return a finite number, got {value!r}")
        return float(value)

    def _call(self, theta: Array):
        """f on a copy, which has to stay as it is."""
        handed = theta.copy()
        value = self.f(handed)
        if hasattr(value, "detach"):  # torch's numbers hang on the graph that made them
            value = value.detach().numpy()
        if not np.array_equal(handed, theta):
            i = tuple(np.argwhere(handed != theta)[0].tolist())
            told = f"theta[{', '.join(map(str, i))}] was {theta[i]} before the call and {handed[i]} after it"
            raise ValueError(f"the function changed its argument: {told}; let it work on a copy")
        return value

    def moved(self, indices: Array, values: Array) -> Array:
        """f at theta with one entry changed, ``indices[k]`` to ``values[k]``, for each k."""
        if not hasattr(self.f, "moved"):
            return np.array([self.at(self._with(i, value)) for i, value in zip(indices, values, strict=True)])
        losses = self.f.moved(self.theta, indices, values)
        if not np.isfinite(losses).all():
            found = losses[~np.isfinite(losses)][0]
            raise ValueError(f"the function: expected it to return a finite number, got {found!r}")
        return losses

    def _with(self, i: int, value) -> Array:
        moved = self.theta.astype(np.result_type(self.theta, value))
        moved.flat[i] = value
        return moved

    def scale(self, indices: Array) -> Array:
        """max(1, |theta_i|)."""
        return np.maximum(1, np.abs(self.theta.flat[indices]))

    def slopes(self, indices: Array, steps: Array) -> Array:
        """(f(x + h) - f(x)) / h for each entry x and its steps h, (levels, entries): backward, where h is negative."""
        x = self.theta.flat[indices]
        there = x + steps
        levels = len(steps)
        values = self.moved(np.tile(indices, levels), there.reshape(-1)).reshape(steps.shape)
        return (values - self.base) / (there - x) + 0.0  # the distance really gone; and zero has no sign

    def both_sides(self, indices: Array, steps: Array) -> tuple[Array, Array]:
        """The slopes below and above."""
        left, right = np.split(self.slopes(indices, np.concatenate((-steps, steps))), 2)
        return left, right

    def measure(self, indices: Array, method: str, step: float, noise: float) -> Measurement:
        """The slopes by steps h, h/2 and h/4, and all that the three tell of their own accuracy."""
        h = self.scale(indices) * step / np.array([[1], [2], [4]])
        left, right = self.both_sides(indices, h)
        *_, coarse, value = estimates(method, left, right)
        change, central, gaps = np.abs(value - coarse), (left + right) / 2, right - left
        bends = np.abs(2 * gaps[1:] - gaps[:-1]).sum(axis=0)  # a smooth function's gap closes in proportion to h
        size = abs(self.base) + np.maximum(np.abs(left), np.abs(right)).max(axis=0) * h[0]
        return Measurement(
            value,
            left[-1],
            right[-1],
            truncation=2 * change / (2 ** ORDERS[method] - 1),
            rounding=AMPLIFICATION[method] * evaluation_error(noise, size) / h[-1],
            doubt=change + bends,
            roughness=np.abs(np.diff(central, axis=0)).sum(axis=0) + bends,
        )

    def noise(self, indices: Array) -> float:
        """The standard deviation of the noise of f around theta, measured along random directions of these entries."""
        rng = np.random.default_rng(0)
        found = []
        for _ in range(DIRECTIONS):
            way = np.zeros_like(self.theta)
            way.flat[indices] = rng.uniform(-1, 1, len(indices)) * self.scale(indices)
            found.append(measured_noise(lambda t, way=way: self.at(self.theta + t * way)))
        return max(found)

    def complex_slopes(self, indices: Array, step: float | Array) -> Array:
        """Im f(x + ih) / h."""
        values = self.theta.flat[indices] + 1j * step
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", np.exceptions.ComplexWarning)  # a cast that drops the imaginary part
                if hasattr(self.f, "moved"):
                    found = self.f.moved(self.theta, indices, values)
                else:
                    found = [self._call(self._with(i, value)) for i, value in zip(indices, values, strict=True)]
        except Exception as error:
            raise TypeError(f"{NOT_ANALYTIC}; it raised {type(error).__name__}: {error}") from error
        for value in found:
            if np.ndim(value) or np.asarray(value).dtype.kind != "c":
                raise TypeError(f"{NOT_ANALYTIC}; it returned {value!r}")
        return np.imag(found) / step

    def check_indices(self, indices) -> Array:
        indices = np.asarray(indices)
        if indices.ndim != 1 or (indices.size and indices.dtype.kind not in "iu"):
            raise TypeError(f"indices: expected a list of integers, got {indices!r}")
        if indices.size and not (indices.min() >= 0 and indices.max() < self.theta.size):
            raise ValueError(f"indices: expected integers from 0 to {self.theta.size - 1}, got {indices}")
        return indices.astype(np.intp)
