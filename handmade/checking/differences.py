"""9. Derivatives by differences: change one entry of theta a little, and measure the change of the function.

"Small change in parameter dw1 -> output will change by df/dw1 dw1" (System 6). Four methods:

==========  ====================================  =====  ==================
method      formula                               error  relative step
==========  ====================================  =====  ==================
forward     F(h) = (f(x + h) - f(x)) / h          h      eps^(1/2) = 1.5e-8
central     D(h) = (f(x + h) - f(x - h)) / 2h     h^2    eps^(1/3) = 6.1e-6
richardson  (4 D(h/2) - D(h)) / 3                 h^4    eps^(1/5) = 7.4e-4
complex     Im f(x + ih) / h                      h^2    1e-20
==========  ====================================  =====  ==================

The first three subtract numbers that are nearly equal, so the noise of f, divided by h, limits their accuracy; the
best step balances it with the error of the formula (truncation). The complex step subtracts nothing (Squire and Trapp
1998), so h can be so small that h^2 vanishes, if f is analytic as written.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from .._types import Array
from .._validation import is_integer, positive, shown
from .claims import as_numbers
from .methods import COMPLEX_STEP, DIFFERENCES, EPS, Function, MethodName, check_method
from .neighbourhood import COMPLEX_ROUNDINGS, Neighbourhood, evaluation_error

__all__ = ["Accuracy", "StepSweep", "numerical_gradient", "step_sweep"]


def numerical_gradient(
    f: Function,
    theta: npt.ArrayLike,
    *,
    method: MethodName = "richardson",
    step: float | None = None,
    indices: npt.ArrayLike | None = None,
) -> Array:
    """Compute the gradient of a function by differences.

    Parameters
    ----------
    f : callable
        A function of an array like theta that returns a number. If it has a method ``moved(theta, indices, values)``,
        as `NetworkLoss` has, that method computes all values at once.
    theta : array_like, any shape
        The point at which to differentiate.
    method : {"forward", "central", "richardson", "complex"}
        See `handmade.checking.differences`. "complex" needs a function that takes complex numbers and is analytic as
        written.
    step : float, optional
        h, relative to max(1, \\|theta_i\\|). Default: the best step for a smooth function of size 1 in float64.
    indices : array_like of int, optional
        Entries of theta, by their index in its flat order. By default all.

    Returns
    -------
    ndarray
        The gradient, in the shape of theta; or one number per index.

    Raises
    ------
    ValueError
        If the method is unknown, or f changes its argument, returns another value at a second call, returns a value
        that is not finite, or raises an exception at some point; the message names the point.
    TypeError
        If f returns something other than a real number, or, for the complex step, a number that is not complex.

    Examples
    --------
    >>> f = lambda theta: np.exp(theta).sum()
    >>> for method, bound in ("forward", 1e-7), ("central", 1e-9), ("richardson", 1e-11), ("complex", 1e-15):
    ...     error = hm.numerical_gradient(f, [1.0], method=method)[0] / np.e - 1
    ...     print(f"{method:<10} {abs(error) < bound}")
    forward    True
    central    True
    richardson True
    complex    True
    """
    theta = as_numbers(theta, "theta")
    near = Neighbourhood(f, theta)
    chosen = np.arange(theta.size) if indices is None else near.check_indices(indices)
    check_method(method)
    step = None if step is None else positive(step, "step")
    if method == "complex":
        slopes = near.complex_slopes(chosen, COMPLEX_STEP if step is None else step)
    else:
        formula = DIFFERENCES[method]
        h = near.scale(chosen) * (formula.step if step is None else step)
        steps = h / 2.0 ** np.arange(formula.levels)[:, np.newaxis]
        below, above = (None, near.slopes(chosen, steps)) if method == "forward" else near.both_sides(chosen, steps)
        slopes = formula.combine(below, above)[-1]
    return slopes.reshape(theta.shape) if indices is None else slopes


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """The accuracy that a method can reach.

    Attributes
    ----------
    method : str
        One of the four.
    step, estimate : float
        The best step, relative to max(1, \\|theta_i\\|), and the slope measured with it.
    truncation, rounding : float
        Bounds of the error of the formula, and of the error that the noise of the function causes.
    """

    method: str
    step: float
    estimate: float
    truncation: float
    rounding: float

    @property
    def achievable(self) -> float:
        """The sum of the two: a bound of the error of the estimate."""
        return self.truncation + self.rounding

    def __str__(self) -> str:
        numbers = f"{self.truncation:>10.1e}  {self.rounding:>8.1e}  {self.achievable:>10.1e}"
        return f"{self.method:<10}  {self.step:>9.1e}  {self.estimate:>22.15g}  {numbers}"


@dataclasses.dataclass(frozen=True)
class StepSweep:
    """The accuracy of each method for one entry of theta; prints as a table.

    Attributes
    ----------
    methods : dict of str to Accuracy
        The best step of each method.
    steps, estimates : dict of str to ndarray
        All relative steps of each method, and the slopes measured with them.
    value, noise : float
        The function at theta, and the standard deviation of its rounding errors.
    refused : str
        The reason if there is no complex step, else empty.
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


def step_sweep(f: Function, theta: npt.ArrayLike, index: int = 0, *, steps: npt.ArrayLike | None = None) -> StepSweep:
    """Measure one entry of a gradient by every method and many steps, and find the best step of each.

    The truncation error falls with h^p, the rounding error grows with 1 / h. The truncation error is measured at large
    steps, where the estimates of h and h/2 differ by more than rounding explains, and extrapolated from there by its
    power; the rounding error is the measured noise of f over h. They meet at the best step.

    Parameters
    ----------
    f, theta
        As in `numerical_gradient`; smooth at theta.
    index : int
        The entry, in the flat order of theta.
    steps : array_like, optional
        Relative to max(1, \\|theta_i\\|). Default: two per decade from 0.1 down to 1e-14.

    Returns
    -------
    StepSweep
        The estimates and accuracies of each method; printed, a table.

    Raises
    ------
    ValueError, TypeError
        As in `numerical_gradient`.

    Examples
    --------
    >>> sweep = hm.step_sweep(lambda theta: np.exp(theta).sum(), [1.0, 2.0], index=0)
    >>> for name, accuracy in sweep.methods.items():
    ...     print(f"{name:<10} {abs(accuracy.estimate - np.e) <= accuracy.achievable}")
    forward    True
    central    True
    richardson True
    complex    True
    """
    near = Neighbourhood(f, as_numbers(theta, "theta"))
    if not is_integer(index):
        raise TypeError(f"index: expected an integer, got {index!r}")
    if not 0 <= index < near.theta.size:
        raise ValueError(f"index: expected an integer from 0 to {near.theta.size - 1}, got {shown(index)}")
    chosen = near.check_indices([index])
    scale, noise = near.scale(chosen), near.noise(chosen)
    relative = 10.0 ** -np.arange(1, 14.25, 0.5) if steps is None else as_numbers(steps, "steps")
    if relative.ndim != 1 or relative.size == 0 or not np.all((relative > 0) & (relative < np.inf)):
        raise ValueError(f"steps: expected a list of numbers above 0, got {steps!r}")
    many = np.repeat(chosen, len(relative))
    h = scale * relative / np.array([[1], [2], [4]])
    left, right = near.both_sides(many, h)
    size = abs(near.base) + np.maximum(np.abs(left[0]), np.abs(right[0])) * h[0]
    found, accuracies, refused = {}, {}, ""
    for method, formula in DIFFERENCES.items():
        one, half = formula.combine(left, right)[:2]
        rounding = formula.amplification * evaluation_error(noise, size) / h[formula.levels - 1]
        found[method] = relative, one
        accuracies[method] = _best(method, relative, one, half, formula.order, rounding)
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
    """Return the step with the smallest sum of truncation and rounding; of equal sums, the smallest step."""
    change = 2 * np.abs(one - half) / (1 - 0.5**order)
    seen = np.where(change > 20 * rounding, steps, np.inf)  # by far more than rounding explains
    last = seen.argmin()
    followed = change[last] * (steps / seen[last]) ** order  # zero, where no change was seen
    truncation = np.where(steps > seen[last], np.maximum(followed, change), followed)
    total = truncation + rounding
    best = np.flatnonzero(total == total.min())[-1]
    return Accuracy(method, *(float(column[best]) for column in (steps, one, truncation, rounding)))
