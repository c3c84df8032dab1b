"""The verification of one case by PyTorch's forward pass, autograd, finite differences, and PyTorch's optimizers."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

import handmade as hm
from handmade.protocols import Array

from .autograd import as_tensor, find_loss, loss_and_gradient
from .compiled import CompiledNetwork
from .networks import Case
from .twin import twin

__all__ = ["Figure", "Row", "distance", "verify"]

STEPS = 100
ENTRIES = 40  # of theta, for finite differences

# The promised accuracy in float64, where PyTorch is the reference.
LOSS_RELATIVE, LOSS_ABSOLUTE = 1e-13, 1e-15
GRADIENT = 1e-12
DIFFERENCES = 1e-9
PARAMETERS = 1e-12

# In float32, both libraries are compared with PyTorch's float64 result from the same numbers. The error of handmade may
# be at most 1.5 times that of PyTorch's float32. Errors of a few roundings are chance and always pass: four for one
# pass; for a hundred steps one per step, at worst all in the same direction.
SINGLE = 1.5
EPS = float(np.finfo(np.float32).eps)
CHANCE = 4 * EPS

# Training that amplifies rounding has a wider bound, see `_amplified`. A case that amplifies more than this is useless.
TOO_SENSITIVE = 1e-3


@dataclasses.dataclass(frozen=True)
class Figure:
    """A measured difference with its tolerance."""

    value: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """True if the difference is within the tolerance; False for NaN."""
        return self.value <= self.tolerance


@dataclasses.dataclass(frozen=True)
class Row:
    """The outcome of one case.

    Attributes
    ----------
    case : Case
        The case that was verified.
    counts : (int, int, int)
        Neurons, weights and parameters of the network.
    torch_count : int
        Parameters of the twin.
    figures : dict of str to Figure
        ``loss``, ``autograd``, ``differences``, ``steps``.
    wrong : int
        Entries of the gradient that differences call wrong.
    """

    case: Case
    counts: tuple[int, int, int]
    torch_count: int
    figures: dict[str, Figure]
    wrong: int

    @property
    def passed(self) -> bool:
        """True if every figure is within its tolerance, and the counts are equal."""
        right = self.counts[2] == self.torch_count and self.wrong == 0
        return right and all(figure.passed for figure in self.figures.values())


def verify(case: Case, seed: int = 0, compiled: bool = False) -> Row:
    """Compare one case with PyTorch and with finite differences.

    Parameters
    ----------
    case : Case
        One of `reference.networks.all_cases`.
    seed : int
        Draws the weights and the data.
    compiled : bool
        Whether to use `handmade.compile` for the passes and the steps.

    Returns
    -------
    Row
        Figures and tolerances.

    Raises
    ------
    handmade.compiled.Unsupported
        If a case has no compiled form.

    Examples
    --------
    >>> from reference.networks import all_cases
    >>> row = verify(all_cases()[0])
    >>> row.counts, row.torch_count, row.passed
    ((6, 20, 26), 26, True)
    """
    rng = np.random.default_rng(seed)
    X, y = case.data(rng)
    X, y = X.astype(case.dtype), _as_dtype(y, case.dtype)
    network = case.build(rng, case.dtype)
    if compiled:
        network = CompiledNetwork(network)
    counts = network.neuron_count, network.weight_count, network.parameter_count
    figures = _single_pass(case, network, X, y)
    figures["differences"], wrong = _differences(case, network, X, y, rng)
    figures["steps"] = _steps(case, network, X, y)
    return Row(case, counts, sum(p.numel() for p in twin(network).parameters()), figures, wrong)


def distance(a: Array, b: Array) -> float:
    """Return ||a - b|| / ||b||, in float64.

    Examples
    --------
    >>> distance(np.array([3.0, 4.5]), np.array([3.0, 4.0]))
    0.1
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(np.linalg.norm(a - b) / max(np.linalg.norm(b), np.finfo(np.float64).tiny))


def _as_dtype(y: Array, dtype: type) -> Array:
    """Return targets in a dtype; class indices stay as they are."""
    return y.astype(dtype) if y.dtype.kind == "f" else y


def _module(network: hm.Network, case: Case) -> torch.nn.Module:
    return twin(network).train(case.training)


# ---- the first batch -------------------------------------------------------------------------------------------------


def _single_pass(case: Case, network: hm.Network, X: Array, y: Array) -> dict[str, Figure]:
    """Compare loss and gradient of the first batch."""
    loss, gradient = copy.deepcopy(network).loss_and_gradient(X, y, case.objective, training=case.training)
    torch_loss, torch_gradient = loss_and_gradient(_module(network, case), X, y, case.objective)
    if case.dtype == np.float64:
        allowed = LOSS_RELATIVE * abs(torch_loss) + LOSS_ABSOLUTE
        return {
            "loss": Figure(abs(loss - torch_loss), allowed),
            "autograd": Figure(distance(gradient, torch_gradient), GRADIENT),
        }
    double = _module(network.astype(np.float64), case)
    true_loss, true_gradient = loss_and_gradient(double, X.astype(float), _as_dtype(y, np.float64), case.objective)
    torch_error = abs(torch_loss - true_loss)
    return {
        "loss": Figure(abs(loss - true_loss), max(SINGLE * torch_error, CHANCE * abs(true_loss))),
        "autograd": _no_worse(gradient, torch_gradient, true_gradient, CHANCE),
    }


def _no_worse(own: Array, other: Array, truth: Array, chance: float) -> Figure:
    return Figure(distance(own, truth), max(SINGLE * distance(other, truth), chance))


def _differences(case: Case, network: hm.Network, X: Array, y: Array, rng: np.random.Generator) -> tuple[Figure, int]:
    """Return the relative error over all measured entries, and the number of wrong ones."""
    check = hm.check_gradient(network, X, y, loss=case.objective, training=case.training, entries=ENTRIES, rng=rng)
    promised = DIFFERENCES if case.smooth and case.dtype == np.float64 else check.total.tolerance
    return Figure(check.total.relative_error, promised), len(check.wrong)


# ---- a hundred steps -------------------------------------------------------------------------------------------------


def _steps(case: Case, network: hm.Network, X: Array, y: Array) -> Figure:
    """Compare the parameters after 100 steps of the optimizer."""
    own, other = _train(network, case, X, y), _train_twin(network, case, X, y)
    if case.dtype == np.float64:
        figure = Figure(distance(own, other), PARAMETERS)
    else:
        truth = _train_twin(network.astype(np.float64), case, X.astype(float), _as_dtype(y, np.float64))
        figure = _no_worse(own, other, truth, STEPS * EPS)
    if figure.passed:
        return figure
    return Figure(figure.value, max(figure.tolerance, _amplified(case, network, X, y, own, other)))


def _amplified(case: Case, network: hm.Network, X: Array, y: Array, own: Array, other: Array) -> float:
    """Return a bound for training that amplifies rounding.

    Both libraries train again, from parameters that are moved up or down by one ULP each. The larger distance from the
    first result is the effect of one rounding at the start. 100 steps make at most 100 such roundings, none earlier.
    """
    moved = copy.deepcopy(network)
    directions: Array = np.random.default_rng(0).choice([-np.inf, np.inf], moved.theta.size).astype(case.dtype)
    moved.theta = np.nextafter(moved.theta, directions)
    effect = max(distance(_train(moved, case, X, y), own), distance(_train_twin(moved, case, X, y), other))
    return STEPS * effect if effect < TOO_SENSITIVE / STEPS else 0.0


def _train(network: hm.Network, case: Case, X: Array, y: Array) -> Array:
    """Return theta after 100 steps of handmade; the network stays unchanged."""
    network = copy.deepcopy(network)
    name, options = case.optimizer
    optimizer = getattr(hm, name)(**options)
    optimizer.bind(network)
    if isinstance(network, CompiledNetwork):
        step = hm.compile(network.plain(), case.objective, optimizer)
        for _ in range(STEPS):
            step(X, y)
        return step.network.theta
    for _ in range(STEPS):
        _, gradient = network.loss_and_gradient(X, y, case.objective, training=case.training)
        optimizer.step(network.theta, gradient)
    return network.theta


@contextmanager
def _double_by_default() -> Iterator[None]:
    """Set PyTorch's default dtype, in which its NAdam and ASGD keep numbers that depend on the step, to float64."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(default)


def _train_twin(network: hm.Network, case: Case, X: Array, y: Array) -> Array:
    """Return theta after 100 steps of PyTorch."""
    module = _module(network, case)
    name, options = case.optimizer
    optimizer = getattr(torch.optim, name)(module.parameters(), **options)
    dtype = next(module.parameters()).dtype
    inputs, targets, loss = as_tensor(X, dtype), as_tensor(y, dtype), find_loss(case.objective, dtype)
    with _double_by_default():
        for _ in range(STEPS):
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss(module(inputs), targets))
            optimizer.step()
    return torch.nn.utils.parameters_to_vector(module.parameters()).detach().numpy()
