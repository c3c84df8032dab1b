"""The worst errors of a function and of its derivative."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import numpy.typing as npt
import torch
from mpmath import mpf

from .points import DOMAINS
from .subjects import Subject, upstream
from .ulp import DIGITS, Exact, ulp_errors

__all__ = ["POINTS", "SLACK", "Measurement", "exactly", "measure"]

Array = npt.NDArray[Any]

SLACK = 2.0  # ULP by which handmade's worst error may exceed torch's, in any row
POINTS = 2000  # the n of `points.numbers`, which returns up to three times as many


@dataclasses.dataclass(frozen=True)
class Measurement:
    """The worst errors of a function, or of its derivative, in one dtype: at near points, and at all points.

    Attributes
    ----------
    name : str
        The name of the subject, with a prime for its derivative.
    dtype : dtype
        float32 or float64.
    handmade, torch : (float, float)
        The worst errors in ULP, at near points and at all points.
    target : float
        The largest error that is promised, in ULP.
    where : float
        The point of handmade's worst error; for a row of logits, one of them.
    """

    name: str
    dtype: np.dtype[Any]
    handmade: tuple[float, float]
    torch: tuple[float, float]
    target: float
    where: float

    @property
    def met(self) -> bool:
        """True if handmade meets its target, and exceeds neither error of torch by more than `SLACK`."""
        both = zip(self.handmade, self.torch, strict=True)
        return all(own <= min(self.target, other + SLACK) for own, other in both)


def measure(subject: Subject, dtype: npt.DTypeLike, n: int = POINTS, seed: int = 0) -> list[Measurement]:
    """Measure a function and its derivative.

    Parameters
    ----------
    subject : Subject
        From `benchmarks.exactness.subjects.all_subjects`.
    dtype : dtype
        float32 or float64.
    n : int
        Sets the number of points, see `benchmarks.exactness.points.numbers`.
    seed : int
        Draws the points.

    Returns
    -------
    list of Measurement
        One for the function, one for its derivative.

    Examples
    --------
    >>> from benchmarks.exactness.subjects import all_subjects
    >>> value, slope = measure(all_subjects()[1], np.float64, n=10)
    >>> value.name, slope.name, value.met
    ('sigmoid', "sigmoid'", True)
    """
    X, near = DOMAINS[subject.domain](dtype, np.random.default_rng(seed), n, subject.roots())
    with np.errstate(over="ignore"):  # the largest float32 points may rightly overflow
        own, other = subject.handmade(X), _by_autograd(subject.torch, X)
    measurements = []
    for k, (exact, prime) in enumerate([(subject.exact, ""), (subject.slope, "'")]):
        truth = exactly(exact, X)
        errors = ulp_errors(own[k], truth)
        at = np.repeat(near, errors.size // len(X))
        where = X.ravel()[errors.argmax() * (X.size // errors.size)]
        worst = [(float(e[at].max()), float(e.max())) for e in (errors, ulp_errors(other[k], truth))]
        measurements.append(
            Measurement(subject.name + prime, np.dtype(dtype), worst[0], worst[1], subject.target, float(where))
        )
    return measurements


def exactly(f: Callable[[Any], Any], X: Array) -> Exact:
    """Return the exact values of a function at all points."""
    with mpmath.workdps(DIGITS):
        points = [[mpf(z) for z in x] if X.ndim > 1 else mpf(x) for x in X.tolist()]
        values = [f(point) for point in points]
        flat = [v for value in values for v in value] if isinstance(values[0], list) else values
        return Exact.of(flat, X.dtype)


def _by_autograd(f: Callable[[torch.Tensor], torch.Tensor], X: Array) -> tuple[Array, Array]:
    """Return values and derivatives by torch."""
    tensor = torch.tensor(X, requires_grad=True)
    H = f(tensor)
    H.backward(torch.from_numpy(upstream(H.detach().numpy())))
    assert tensor.grad is not None
    return H.detach().numpy(), tensor.grad.numpy()
