"""L-BFGS: Newton's method with the curvature of the last steps, for full batches."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .._steps import Array, Step, check_state_array
from .._validation import check_count, finite, nonnegative

__all__ = ["LBFGS"]

SMALLEST_CURVATURE = 1e-10  # of a step that is remembered


class Point(NamedTuple):
    """A point of the line search: the distance, the loss, the gradient, and its slope along the direction."""

    t: float
    loss: float
    gradient: Array
    slope: float


def cubic_minimum(a: Point, b: Point, low: float, high: float) -> float:
    """Return where the cubic through two points and their slopes is lowest, within [low, high]; else the middle."""
    if a.t > b.t:
        a, b = b, a
    with np.errstate(all="ignore"):
        d1 = np.float64(a.slope + b.slope) - 3 * np.float64(a.loss - b.loss) / (a.t - b.t)
        d2 = np.sqrt(d1 * d1 - a.slope * b.slope)
        t = b.t - (b.t - a.t) * ((b.slope + d2 - d1) / (b.slope - a.slope + 2 * d2))
    return float(min(max(t, low), high)) if np.isfinite(t) else (low + high) / 2


class StrongWolfe:
    """A line search for a point with less loss and a smaller slope: the strong Wolfe conditions.

    Nocedal and Wright 2006, algorithms 3.5 and 3.6, in the form of torch.optim.LBFGS.

    Parameters
    ----------
    evaluate : callable
        ``evaluate(t)`` gives the point at distance t.
    start : Point
        At distance 0.
    length : float
        The largest change of a parameter for t = 1.
    evaluations : int
        How many are allowed after the first.
    """

    c1, c2, tolerance = 1e-4, 0.9, 1e-9

    evaluate: Callable[[float], Point]
    start: Point
    length: float
    left: int
    count: int

    def __init__(self, evaluate: Callable[[float], Point], start: Point, length: float, evaluations: int) -> None:
        self.evaluate, self.start, self.length, self.left = evaluate, start, length, evaluations
        self.count = 0

    def __call__(self, t: float) -> Point:
        """Return the point found, with t as the first guess."""
        low, high = self._bracket(self._at(t))
        return low if high is None else self._zoom(low, high)

    def _at(self, t: float) -> Point:
        self.count += 1
        return self.evaluate(t)

    def _is_too_far(self, point: Point) -> bool:
        return not point.loss <= self.start.loss + self.c1 * point.t * self.start.slope

    def _is_flat(self, point: Point) -> bool:
        return abs(point.slope) <= -self.c2 * self.start.slope

    def _bracket(self, point: Point) -> tuple[Point, Point | None]:
        """Return two points around one that fulfils the conditions, the lower one first; or that one alone."""
        before = self.start
        for i in range(self.left):
            if self._is_too_far(point) or (i > 1 and point.loss >= before.loss):
                break
            if self._is_flat(point):
                return point, None
            if point.slope >= 0:
                break
            t = cubic_minimum(before, point, point.t + 0.01 * (point.t - before.t), 10 * point.t)
            before, point = point, self._at(t)
            self.left -= 1
        else:
            before = self.start
        return (before, point) if before.loss <= point.loss else (point, before)

    def _zoom(self, low: Point, high: Point) -> Point:
        """Return a point between two that fulfils the conditions, or the lowest that was found."""
        was_near = False
        while self.left > 0 and abs(high.t - low.t) * self.length >= self.tolerance:
            left, right = sorted((low.t, high.t))
            t, margin = cubic_minimum(low, high, left, right), 0.1 * (right - left)
            near = min(right - t, t - left) < margin
            if near and (was_near or t >= right or t <= left):  # little progress twice: go inside
                t = right - margin if abs(t - right) < abs(t - left) else left + margin
                near = False
            was_near = near
            point = self._at(t)
            self.left -= 1
            if self._is_too_far(point) or point.loss >= low.loss:
                high = point
                if high.loss < low.loss:
                    low, high = high, low
                continue
            if self._is_flat(point):
                return point
            if point.slope * (high.t - low.t) >= 0:
                high = low
            low = point
        return low


@dataclass(eq=False)
class LBFGS(Step):
    """An optimizer for full batches: limited-memory BFGS (Liu and Nocedal 1989), as torch.optim.LBFGS.

    d = -H g, where H is the inverse of the curvature that the last `history_size` changes of theta and g show;
    theta <- theta + t d. One step does up to `max_iter` such iterations, so it needs a function that computes the loss
    and the gradient anew. ``hm.fit(..., optimizer=hm.LBFGS(line_search_fn="strong_wolfe"), batch_size=None)`` gives it.

    Parameters
    ----------
    lr : float
        t, or the first guess of t where there is a line search.
    max_iter, max_eval : int
        Iterations per step, and evaluations, 5/4 as many unless given.
    tolerance_grad, tolerance_change : float
        Ends a step when no element of the gradient, of the change of theta, or the change of the loss is larger.
    history_size : int
        How many changes are remembered: 2 P numbers each.
    line_search_fn : {"strong_wolfe"}, optional
        The line search; None takes lr as it is.

    Attributes
    ----------
    n_iter, func_evals : int
        Iterations and evaluations so far.

    Raises
    ------
    ValueError, TypeError
        If an option is out of range, or of another type.

    Notes
    -----
    A loss that is not finite during a line search is a loss that is too large: the search goes back. torch's goes on.

    Examples
    --------
    >>> def evaluate():
    ...     gradient[:] = 4 * theta**3
    ...     return float((theta**4).sum())
    >>> theta, gradient = np.array([1.0, -2.0]), np.zeros(2)
    >>> hm.LBFGS(line_search_fn="strong_wolfe").step(theta, gradient, evaluate)
    17.0
    >>> bool((abs(theta) < 0.02).all())
    True
    """

    lr: float = 1.0
    max_iter: int = 20
    max_eval: int | None = None
    tolerance_grad: float = 1e-7
    tolerance_change: float = 1e-9
    history_size: int = 100
    line_search_fn: str | None = None

    needs_evaluate = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.n_iter = self.func_evals = 0
        self.d: Array | None = None  # the last direction, how far it was followed, and the gradient before
        self.t = 0.0
        self.prev_flat_grad: Array | None = None
        self.old_dirs: list[Array] = []  # changes of the gradient
        self.old_stps: list[Array] = []  # changes of theta
        self.H_diag = 1.0

    def _validate(self) -> None:
        self._require(nonnegative, "lr", "tolerance_grad", "tolerance_change")
        self._require(check_count, "max_iter", "history_size")
        if self.max_eval is not None:
            self._require(check_count, "max_eval")
        if not (self.line_search_fn is None or isinstance(self.line_search_fn, str)) or (
            self.line_search_fn not in (None, "strong_wolfe")
        ):
            raise ValueError(f"line_search_fn: expected None or 'strong_wolfe', got {self.line_search_fn!r}")

    @property
    def most_vectors(self) -> int:
        """Return how many vectors of theta's size a full history takes, with the last direction and gradient."""
        return 2 * self.history_size + 2

    def check(self, theta: Array, gradient: Array) -> None:
        super().check(theta, gradient)
        if self.d is not None and (self.d.shape != theta.shape or self.d.dtype != theta.dtype):
            raise ValueError(
                f"theta: expected shape {self.d.shape} and dtype {self.d.dtype} as at the last step, got {theta.shape} "
                f"and {theta.dtype}; make a new optimizer for a new vector"
            )

    def step(  # type: ignore[override]
        self, theta: Array, gradient: Array, evaluate: Callable[[], float] | None = None
    ) -> float:
        """Change theta in place, by several iterations.

        Parameters
        ----------
        theta, gradient : ndarray, shape (P,)
            As for every optimizer; gradient is overwritten by ``evaluate``.
        evaluate : callable
            Returns the loss at theta as it is then, and writes its gradient into ``gradient``, as
            ``lambda: network.loss_and_gradient(X, y)[0]`` does.

        Returns
        -------
        float
            The loss before the step. If it is not finite, nothing has changed.

        Raises
        ------
        TypeError, ValueError
            As for every optimizer, and without ``evaluate``. An error of ``evaluate`` leaves theta as it was.
        """
        if not callable(evaluate):
            raise TypeError(
                f"evaluate: expected a function that returns the loss at theta and writes its gradient, got "
                f"{evaluate!r}; hm.fit gives it, with batch_size=None"
            )
        self.check(theta, gradient)
        before, state = theta.copy(), self.__dict__.copy()
        try:
            return self._iterate(theta, gradient, evaluate)
        except BaseException:
            theta[...], self.__dict__ = before, state
            raise

    def _iterate(self, theta: Array, gradient: Array, evaluate: Callable[[], float]) -> float:
        first = loss = float(evaluate())
        g, left = gradient.copy(), (self.max_iter * 5 // 4 if self.max_eval is None else self.max_eval) - 1
        self.func_evals += 1
        if not math.isfinite(first) or np.abs(g).max(initial=0) <= self.tolerance_grad:
            return first
        for iteration in range(1, self.max_iter + 1):
            d: Array = self._direction(g)
            self.d, self.prev_flat_grad, last = d, g, loss
            self.t = min(1.0, 1 / float(np.abs(g).sum())) * self.lr if self.n_iter == 1 else self.lr
            slope = float(g.dot(d))
            if slope > -self.tolerance_change:
                break
            x, start = theta.copy(), Point(0.0, loss, g, slope)

            def at(t: float, x: Array = x, d: Array = d) -> Point:
                theta[...] = x + t * d
                value = float(evaluate())
                return Point(t, value if math.isfinite(value) else math.inf, gradient.copy(), float(gradient.dot(d)))

            point, count = self._line_search(at, start, d, left, is_last=iteration == self.max_iter)
            self.t, loss, g = point.t, point.loss, point.gradient
            theta[...] = x + self.t * d
            self.func_evals += count
            left -= count
            change = abs(self.t) * float(np.abs(d).max())
            if iteration == self.max_iter or left <= 0 or np.abs(g).max() <= self.tolerance_grad:
                break
            if change <= self.tolerance_change or abs(loss - last) < self.tolerance_change:
                break
        return first

    def _line_search(
        self, at: Callable[[float], Point], start: Point, d: Array, left: int, is_last: bool
    ) -> tuple[Point, int]:
        """Return the point to go to, and how many evaluations it took; torch takes none at the end of a fixed step."""
        if self.line_search_fn is not None:
            search = StrongWolfe(at, start, float(np.abs(d).max()), left)  # pyright: ignore[reportGeneralTypeIssues]
            return search(self.t), search.count
        return (start._replace(t=self.t), 0) if is_last else (at(self.t), 1)

    def _direction(self, g: Array) -> Array:
        """Return -H g (Nocedal and Wright 2006, algorithm 7.4), after taking in the last change."""
        self.n_iter += 1
        if self.d is None or self.prev_flat_grad is None:
            return -g
        y, s = g - self.prev_flat_grad, self.t * self.d
        if (ys := float(y.dot(s))) > SMALLEST_CURVATURE:
            self.old_dirs, self.old_stps = [*self.old_dirs, y], [*self.old_stps, s]
            del self.old_dirs[: -self.history_size], self.old_stps[: -self.history_size]
            self.H_diag = ys / float(y.dot(y))
        q, shares = -g, []
        pairs = [(y, s, 1 / float(y.dot(s))) for y, s in zip(self.old_dirs, self.old_stps, strict=True)]
        for y, s, ro in reversed(pairs):
            shares.append(float(s.dot(q)) * ro)
            q -= shares[-1] * y
        d = q * self.H_diag
        for (y, s, ro), share in zip(pairs, reversed(shares), strict=True):
            d += (share - float(y.dot(d)) * ro) * s
        return d

    def _saved(self) -> list[str]:
        return [
            *super()._saved(),
            *("n_iter", "func_evals", "d", "t", "prev_flat_grad", "old_dirs", "old_stps", "H_diag"),
        ]

    def _validate_loaded(self) -> None:
        for name in ("n_iter", "func_evals"):
            check_count(getattr(self, name), name, least=0)
        self._require(finite, "t", "H_diag")
        layouts = set()
        for name in ("old_dirs", "old_stps"):
            if not isinstance(getattr(self, name), list):
                raise TypeError(f"{name}: expected a list of arrays, got {getattr(self, name)!r}")
        if len(self.old_dirs) != len(self.old_stps):
            raise ValueError(f"old_stps: expected {len(self.old_dirs)} arrays as in old_dirs, got {len(self.old_stps)}")
        arrays: list[tuple[str, Any]] = [("d", self.d), ("prev_flat_grad", self.prev_flat_grad)]
        arrays += [("old_dirs", y) for y in self.old_dirs] + [("old_stps", s) for s in self.old_stps]
        for name, array in arrays:
            check_state_array(array, name)
            layouts.add(None if array is None else (array.shape, array.dtype))
        if len(layouts) > 1:
            raise ValueError(f"state_dict: expected arrays of one shape and dtype, or none, got {layouts}")
        for y, s in zip(self.old_dirs, self.old_stps, strict=True):
            if not float(y.dot(s)) > 0:
                raise ValueError("old_dirs: expected changes of positive curvature, got one that is not")
