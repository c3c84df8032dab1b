"""Every activation and loss, and its derivative, against 50 digits: the worst error in ULP, beside PyTorch's.

The ULP of an exact value v is the distance from v, rounded to the dtype, to the next number: ``np.spacing``. Below the
normal numbers, and at 0, it is the smallest subnormal number. A correctly rounded result is off by at most half of it.

The exact values are closed forms in mpmath in which nothing cancels that 50 digits would not survive: log(sum) is
log1p of the other terms, 1 - s(a) is s(-a), 1 - p is the sum of the other p.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import mpmath
import numpy as np
import torch
import torch.nn.functional as F
from mpmath import exp, expm1, log, log1p, mpf
from rich.console import Console
from rich.table import Table

import handmade as hm
from handmade import losses
from handmade.progress import progress_bar

__all__ = ["Exact", "Measurement", "Subject", "all_subjects", "measure", "print_exactness", "ulp_errors"]

Array = np.ndarray
Number = mpmath.mpf
Row = list[Number]

DIGITS = 50
SLACK = 2.0  # ULP: by so much at most may handmade's worst error exceed torch's, on any row
NEAR = 10.0  # the first of the two ranges is |x| <= 10, or logits of scale 10
CLASSES = 10
POINTS, QUICK_POINTS = 2000, 100  # the n of `numbers`, which makes three times as many


# ---- the measure -----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Exact:
    """Exact values as three arrays of float64: value = rounded + remainder * ulp.

    Attributes
    ----------
    rounded : ndarray
        The value, rounded to the dtype.
    ulp : ndarray
        The distance from there to the next number of the dtype.
    remainder : ndarray
        What the rounding left, in ULP.
    """

    rounded: Array
    ulp: Array
    remainder: Array

    @classmethod
    def of(cls, values: Iterable[Number], dtype) -> Exact:
        """Round mpmath numbers to a dtype, and keep what is left."""
        values = list(values)
        nearest = np.array([float(v) for v in values]).astype(dtype)
        rounded, ulp = nearest.astype(float), np.abs(np.spacing(np.abs(nearest)).astype(float))
        with mpmath.workdps(DIGITS):
            left = [(v - mpf(r)) / mpf(u) for v, r, u in zip(values, rounded.tolist(), ulp.tolist(), strict=True)]
        return cls(rounded, ulp, np.array([float(x) for x in left]))


def ulp_errors(results: Array, exact: Exact) -> Array:
    """|result - value| in ULP of the value, entry by entry; infinite where the result is not a number.

    Examples
    --------
    >>> with mpmath.workdps(50):
    ...     third = Exact.of([mpf(1) / 3], np.float64)
    >>> ulp_errors(np.array([1 / 3]), third)  # of 1/3, the nearest number is a third of an ULP away
    array([0.33333333])
    >>> ulp_errors(np.nextafter([1 / 3], 1), third)
    array([0.66666667])
    """
    with np.errstate(over="ignore", invalid="ignore"):
        errors = np.abs((results.ravel().astype(float) - exact.rounded) / exact.ulp - exact.remainder)
    return np.where(np.isnan(errors), np.inf, errors)


# ---- the points ------------------------------------------------------------------------------------------------------

# Where a derivative is zero: of silu, of both gelu, and of the regression losses for TARGET.
TARGET = 0.75
ROOTS = (-1.2784645427610737, -0.7517915246935645, -0.7524614220710163, TARGET)


def numbers(dtype, rng, n: int) -> tuple[Array, Array]:
    """|x| from 1e-8 to 1e3 in both signs, spread evenly over the magnitudes, and the places where formulas fail.

    These are the middle; the tails, where exp(-x), exp(-2x), exp(-x^2 / 2) and their like leave the normal numbers;
    and the roots.
    """
    info = np.finfo(dtype)
    underflow = -np.log(float(info.smallest_subnormal))
    either_sign = np.concatenate(
        [
            10 ** rng.uniform(-8, 3, n),
            rng.uniform(0, NEAR, n),
            rng.uniform(NEAR, 5 * NEAR, n // 4),
            underflow * rng.uniform(0.9, 1.01, n // 4) * rng.choice([0.5, 1], n // 4),
        ]
    )
    nearby = [root + rng.choice([-1, 1], n // 8) * 10 ** rng.uniform(np.log10(info.eps), -1, n // 8) for root in ROOTS]
    X = np.concatenate([either_sign * rng.choice([-1, 1], either_sign.size), *nearby]).astype(dtype)
    return X, np.abs(X) <= NEAR


def probabilities(dtype, rng, n: int) -> tuple[Array, Array]:
    """From 1e-8 to 1 - 1e-8 (or the last number before 1), spread evenly over the magnitudes of p and of 1 - p."""
    small = 10 ** rng.uniform(-8, np.log10(0.5), 2 * n)
    P = np.where(rng.integers(2, size=2 * n), small, 1 - small).astype(dtype)
    P = P[P < 1]
    return P, np.ones(P.shape, bool)


def logits(dtype, rng, n: int) -> tuple[Array, Array]:
    """Rows of 10 normal numbers, times 10 and times 512; in every other row the first class leads."""
    N = n // 10
    Z = (rng.normal(size=(2 * N, CLASSES)) * np.repeat([NEAR, 512.0], N)[:, np.newaxis]).astype(dtype)
    rows = np.arange(0, 2 * N, 2)
    largest = Z[::2].argmax(axis=1)
    Z[rows, 0], Z[rows, largest] = Z[rows, largest], Z[rows, 0]
    return Z, np.arange(2 * N) < N


# ---- the two sides ---------------------------------------------------------------------------------------------------


def upstream(H: Array) -> Array:
    """The gradient that is sent back: one for every number; of a row of classes, for the first of them."""
    dH = np.ones_like(H)
    if H.ndim > 1:
        dH[:, 1:] = 0
    return dH


def activation(X: Array, name: str, **options) -> tuple[Array, Array]:
    """Values and derivatives by the layer of this name: the way that a network goes."""
    layer = hm.Activation(name, **options)
    H, cache = layer.forward(X)
    return H, layer.backward(upstream(H), cache)


def loss(X: Array, name: str, target: Callable[[Array], Array]) -> tuple[Array, Array]:
    """Values and derivatives by the loss of this name, term by term."""
    f, f_backward = losses.LOSSES[name]
    return f(X, target(X), reduction="none"), f_backward(X, target(X), reduction="none")


def torch_loss(X: torch.Tensor, f: Callable, target: Callable[[Array], Array]) -> torch.Tensor:
    return f(X, torch.from_numpy(target(X.detach().numpy())), reduction="none")


def by_autograd(f: Callable[[torch.Tensor], torch.Tensor], X: Array) -> tuple[Array, Array]:
    """Values and derivatives by torch."""
    tensor = torch.tensor(X, requires_grad=True)
    H = f(tensor)
    H.backward(torch.from_numpy(upstream(H.detach().numpy())))
    return H.detach().numpy(), tensor.grad.numpy()


def all_of(y: float) -> Callable[[Array], Array]:
    """The target y for every number."""
    return lambda X: np.full_like(X, y)


def first_class(X: Array) -> Array:
    """Class 0 for every row."""
    return np.zeros(len(X), dtype=np.int64)


# ---- exactly ---------------------------------------------------------------------------------------------------------


def s(a: Number) -> Number:
    return 1 / (1 + exp(-a))


def inner(a: Number) -> Number:
    """2u of gelu's tanh form, whose (1 + tanh u) / 2 is s(2u)."""
    return mpmath.sqrt(8 / mpmath.pi) * (a + mpf("0.044715") * a**3)


def inner_slope(a: Number) -> Number:
    return mpmath.sqrt(8 / mpmath.pi) * (1 + 3 * mpf("0.044715") * a**2)


def softmax_parts(row: Row) -> tuple[Row, Row, Number]:
    """p, 1 - p as the sum of the others, and log of the sum of exp(z - max) without its largest term, which is 1."""
    m = max(row)
    E = [exp(z - m) for z in row]
    total = mpmath.fsum(E)
    first_largest = row.index(m)
    return (
        [e / total for e in E],
        [mpmath.fsum(E[:j] + E[j + 1 :]) / total for j in range(len(E))],
        log1p(mpmath.fsum(E[:first_largest] + E[first_largest + 1 :])),
    )


def softmax_slope(row: Row) -> Row:
    """Of the first p by each logit."""
    P, others, _ = softmax_parts(row)
    return [P[0] * others[0], *(-P[0] * p for p in P[1:])]


def log_softmax(row: Row) -> Row:
    log_sum = softmax_parts(row)[2]
    return [z - max(row) - log_sum for z in row]


def log_softmax_slope(row: Row) -> Row:
    """Of the first log p by each logit."""
    P, others, _ = softmax_parts(row)
    return [others[0], *(-p for p in P[1:])]


def huber(x: Number) -> Number:
    e = abs(x - mpf(TARGET))
    return e * e / 2 if e <= 1 else e - mpf(1) / 2


def huber_slope(x: Number) -> Number:
    return max(-1, min(1, x - mpf(TARGET)))


def violations(row: Row) -> Row:
    return [max(mpf(0), 1 - row[0] + z) for z in row[1:]]


def multi_margin_slope(row: Row) -> Row:
    counts = [mpf(1 if v > 0 else 0) / len(row) for v in violations(row)]
    return [-mpmath.fsum(counts), *counts]


# ---- what is measured ------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Subject:
    """A function with its derivative, three times: by handmade, by torch, and exactly.

    Attributes
    ----------
    name : str
        What it is called in the table.
    handmade : callable
        ``handmade(X)`` gives the values, and the derivatives for `upstream`.
    torch : callable
        The same function of a tensor.
    exact, exact_slope : callable
        Of one point (a number, or a row of logits): a number, or a list of them.
    target : float
        The worst error that is promised, in ULP.
    points : callable
        ``points(dtype, rng, n)`` gives the inputs, and which of them are near.
    """

    name: str
    handmade: Callable[[Array], tuple[Array, Array]]
    torch: Callable[[torch.Tensor], torch.Tensor]
    exact: Callable
    exact_slope: Callable
    target: float = np.inf
    points: Callable = numbers


def _activations() -> list[Subject]:
    f = partial
    return [
        Subject("sigmoid", f(activation, name="sigmoid"), torch.sigmoid, s, lambda a: s(a) * s(-a), 4),
        Subject("tanh", f(activation, name="tanh"), torch.tanh, mpmath.tanh, lambda a: mpmath.sech(a) ** 2, 4),
        Subject(
            "leaky_relu",
            f(activation, name="leaky_relu"),
            F.leaky_relu,
            lambda a: a if a > 0 else mpf(0.01) * a,
            lambda a: mpf(1 if a > 0 else 0.01),
        ),
        Subject(
            "elu",
            f(activation, name="elu"),
            F.elu,
            lambda a: a if a > 0 else expm1(a),
            lambda a: mpf(1) if a > 0 else exp(a),
            4,
        ),
        Subject(
            "gelu",
            f(activation, name="gelu"),
            F.gelu,
            lambda a: a * mpmath.ncdf(a),
            lambda a: mpmath.ncdf(a) + a * mpmath.npdf(a),
            8,
        ),
        Subject(
            "gelu tanh",
            f(activation, name="gelu", approximate="tanh"),
            f(F.gelu, approximate="tanh"),
            lambda a: a * s(inner(a)),
            lambda a: s(inner(a)) * (1 + a * s(-inner(a)) * inner_slope(a)),
            16,
        ),
        Subject("silu", f(activation, name="silu"), F.silu, lambda a: a * s(a), lambda a: s(a) * (1 + a * s(-a)), 4),
        Subject("softplus", f(activation, name="softplus"), F.softplus, lambda a: log1p(exp(a)), s, 4),
        Subject(
            "softmax",
            f(activation, name="softmax"),
            f(torch.softmax, dim=-1),
            lambda row: softmax_parts(row)[0],
            softmax_slope,
            16,
            logits,
        ),
        Subject(
            "log_softmax",
            f(activation, name="log_softmax"),
            f(torch.log_softmax, dim=-1),
            log_softmax,
            log_softmax_slope,
            8,
            logits,
        ),
    ]


def _loss(name: str, torch_f: Callable, target: Callable, *others, label: str = "", **options) -> Subject:
    sides = partial(loss, name=name, target=target), partial(torch_loss, f=torch_f, target=target)
    return Subject(f"{name}{label}", *sides, *others, **options)


def _losses() -> list[Subject]:
    y = mpf(TARGET)

    def half_squared_error(X, Y, reduction):
        return F.mse_loss(X, Y, reduction=reduction) / 2

    def hinge_loss(X, Y, reduction):
        return torch.clamp(1 - X * Y, min=0)

    def negative(f):
        return lambda row: [-v for v in f(row)]

    return [
        _loss("l1_loss", F.l1_loss, all_of(TARGET), lambda x: abs(x - y), lambda x: mpmath.sign(x - y)),
        _loss("mse_loss", F.mse_loss, all_of(TARGET), lambda x: (x - y) ** 2, lambda x: 2 * (x - y)),
        _loss("half_squared_error", half_squared_error, all_of(TARGET), lambda x: (x - y) ** 2 / 2, lambda x: x - y),
        _loss("huber_loss", F.huber_loss, all_of(TARGET), huber, huber_slope),
        _loss("smooth_l1_loss", F.smooth_l1_loss, all_of(TARGET), huber, huber_slope),
        _loss("hinge_loss", hinge_loss, all_of(1), lambda x: max(mpf(0), 1 - x), lambda x: mpf(-1 if x < 1 else 0)),
        _loss(
            "multi_margin_loss",
            F.multi_margin_loss,
            first_class,
            lambda row: mpmath.fsum(violations(row)) / len(row),
            multi_margin_slope,
            points=logits,
        ),
        _loss(
            "binary_cross_entropy",
            F.binary_cross_entropy,
            all_of(1),
            lambda p: -log(p),
            lambda p: -1 / p,
            label=", y = 1",
            points=probabilities,
        ),
        _loss(
            "binary_cross_entropy",
            F.binary_cross_entropy,
            all_of(0),
            lambda p: -log1p(-p),
            lambda p: 1 / (1 - p),
            label=", y = 0",
            points=probabilities,
        ),
        _loss(
            "binary_cross_entropy_with_logits",
            F.binary_cross_entropy_with_logits,
            all_of(1),
            lambda a: log1p(exp(-a)),
            lambda a: -s(-a),
            4,
            label=", y = 1",
        ),
        _loss(
            "binary_cross_entropy_with_logits",
            F.binary_cross_entropy_with_logits,
            all_of(0),
            lambda a: log1p(exp(a)),
            s,
            4,
            label=", y = 0",
        ),
        *(
            _loss(
                "cross_entropy",
                F.cross_entropy,
                target,
                lambda row: -log_softmax(row)[0],
                negative(log_softmax_slope),
                8,
                label=label,
                points=logits,
            )
            for target, label in ((first_class, ", index"), (upstream, ", one-hot"))
        ),
    ]


def all_subjects() -> list[Subject]:
    """Every activation but the piecewise linear ones without a rounding, and every loss that has a gradient.

    Examples
    --------
    >>> [subject.name for subject in all_subjects()][:2]
    ['sigmoid', 'tanh']
    """
    return [*_activations(), *_losses()]


# ---- measuring -------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Measurement:
    """The worst errors of one function, or of its derivative, in one dtype: at the near points, and at all.

    Attributes
    ----------
    name : str
        The subject, with a prime for its derivative.
    dtype : dtype
        float32 or float64.
    handmade, torch : (float, float)
        In ULP.
    target : float
        What is promised of handmade, in ULP.
    where : float
        The point of handmade's worst error; of a row, one of its logits.
    """

    name: str
    dtype: np.dtype
    handmade: tuple[float, float]
    torch: tuple[float, float]
    target: float
    where: float

    @property
    def met(self) -> bool:
        """Whether handmade keeps its target, and is nowhere worse than torch by more than `SLACK`."""
        both = zip(self.handmade, self.torch, strict=True)
        return all(own <= min(self.target, other + SLACK) for own, other in both)


def measure(subject: Subject, dtype, n: int = POINTS, seed: int = 0) -> list[Measurement]:
    """Measure a function and its derivative.

    Parameters
    ----------
    subject : Subject
        From `all_subjects`.
    dtype : dtype
        float32 or float64.
    n : int
        Sets the number of points, see `numbers`.
    seed : int
        Draws them.

    Returns
    -------
    list of Measurement
        Of the function, and of its derivative.

    Examples
    --------
    >>> value, slope = measure(all_subjects()[0], np.float64, n=10)
    >>> value.name, slope.name, value.met
    ('sigmoid', "sigmoid'", True)
    """
    X, near = subject.points(dtype, np.random.default_rng(seed), n)
    own, other = subject.handmade(X), by_autograd(subject.torch, X)
    measurements = []
    for k, (exact, prime) in enumerate([(subject.exact, ""), (subject.exact_slope, "'")]):
        truth = _exactly(exact, X)
        errors = ulp_errors(own[k], truth)
        at = np.repeat(near, errors.size // len(X))
        where = X.ravel()[errors.argmax() * (X.size // errors.size)]
        both = [(float(e[at].max()), float(e.max())) for e in (errors, ulp_errors(other[k], truth))]
        measurements.append(Measurement(subject.name + prime, np.dtype(dtype), *both, subject.target, float(where)))
    return measurements


def _exactly(f: Callable, X: Array) -> Exact:
    with mpmath.workdps(DIGITS):
        points = [[mpf(z) for z in x] if X.ndim > 1 else mpf(x) for x in X.tolist()]
        values = [f(point) for point in points]
        flat = [v for value in values for v in value] if isinstance(values[0], list) else values
        return Exact.of(flat, X.dtype)


# ---- the command -----------------------------------------------------------------------------------------------------


def print_exactness(seed: int = 0, quick: bool = False, file: Path | None = None) -> int:
    """Measure every subject, print one table, and return the exit status: 0 if every target is met, else 1.

    Parameters
    ----------
    seed : int
        Draws the points.
    quick : bool
        Takes a twentieth of the points.
    file : Path, optional
        Where to write every figure, as JSON.
    """
    torch.set_num_threads(1)
    started = time.perf_counter()
    work = [(subject, dtype) for subject in all_subjects() for dtype in (np.float32, np.float64)]
    rows, interrupted = _measure_all(work, QUICK_POINTS if quick else POINTS, seed)
    _print_table(rows)
    missed = [row for row in rows if not row.met]
    for row in missed:
        print(f"MISSED: {row.name} {row.dtype}, {max(row.handmade):.3g} ULP, at {row.where!r}")
    print(
        f"{len(rows)} of {2 * len(work)} rows: {len(rows) - len(missed)} met, {len(missed)} missed; "
        f"{time.perf_counter() - started:.0f} s; Python {platform.python_version()}, NumPy {np.__version__}, "
        f"torch {torch.__version__}, mpmath {mpmath.__version__} at {DIGITS} digits, seed {seed}"
    )
    if file:
        file.write_text(json.dumps([dataclasses.asdict(r) | {"dtype": str(r.dtype), "met": r.met} for r in rows]))
    return 1 if missed or interrupted else 0


def _measure_all(work: list[tuple[Subject, type]], n: int, seed: int) -> tuple[list[Measurement], bool]:
    """The measurements of all; of those that were finished, where Ctrl-C came first."""
    rows: list[Measurement] = []
    with progress_bar("exactness", len(work)) as report:
        try:
            for done, (subject, dtype) in enumerate(work, start=1):
                rows += measure(subject, dtype, n, seed)
                report(done, f"{subject.name} {np.dtype(dtype)}")
        except KeyboardInterrupt:
            return rows, True
    return rows, False


def _print_table(rows: list[Measurement]) -> None:
    table = Table(box=None, padding=(0, 1), title="worst error in ULP: |x| <= 10 or logits of scale 10 / everywhere")
    for title, justify in (
        ("function", "left"),
        ("dtype", "left"),
        ("handmade", "right"),
        ("torch", "right"),
        ("target", "right"),
        ("worst at", "right"),
        ("", "left"),
    ):
        table.add_column(title, justify=justify, no_wrap=True)
    for row in rows:
        target = f"torch + {SLACK:.0f}" if np.isinf(row.target) else f"{row.target:.0f}"
        both = (" / ".join(map(_figure, pair)) for pair in (row.handmade, row.torch))
        table.add_row(row.name, str(row.dtype), *both, target, f"{row.where:.6g}", "met" if row.met else "MISSED")
    # As wide as it is: a narrow terminal may break the lines, but nothing is cut off.
    Console(width=1000, highlight=False).print(table)


def _figure(error: float) -> str:
    return f"{error:.2f}" if error < 1000 else f"{error:.0e}"
