"""A case, and the oracles it faces: torch's forward pass, autograd, differences, and torch's optimizers."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import torch

import handmade as hm

from .autograd import as_tensor, find_loss, loss_and_gradient
from .cases import Case
from .twin import twin

__all__ = ["Figure", "Row", "verify"]

Array = np.ndarray

STEPS = 100
ENTRIES = 40  # of theta, measured by differences

# The accuracy that is promised. In float64 PyTorch is the reference.
LOSS_RELATIVE, LOSS_ABSOLUTE = 1e-13, 1e-15
GRADIENT = 1e-12
DIFFERENCES = 1e-9
PARAMETERS = 1e-12

# In float32 both sides are held against the float64 result from the same numbers, and handmade may be at most 1.5
# times as far from it as PyTorch is. A handful of roundings is luck, and asked of nobody: four for a single pass; for
# a hundred steps one per step, at worst all in one direction.
SINGLE = 1.5
EPS = float(np.finfo(np.float32).eps)
LUCK = 4 * EPS


@dataclasses.dataclass(frozen=True)
class Figure:
    """A measured difference, and how large it may be."""

    value: float
    tolerance: float

    @property
    def passed(self) -> bool:
        return self.value <= self.tolerance


@dataclasses.dataclass(frozen=True)
class Row:
    """The outcome of one case.

    Attributes
    ----------
    case : Case
        What was verified.
    counts : (int, int, int)
        Neurons, weights, parameters of the network.
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
        right = self.counts[2] == self.torch_count and self.wrong == 0
        return right and all(figure.passed for figure in self.figures.values())


def verify(case: Case, seed: int = 0) -> Row:
    """Run one case against all its oracles.

    Parameters
    ----------
    case : Case
        From `reference.cases.all_cases`.
    seed : int
        Draws the weights and the data.

    Returns
    -------
    Row
        Figures and tolerances.

    Examples
    --------
    >>> from reference.cases import all_cases
    >>> row = verify(all_cases()[0])
    >>> row.counts, row.torch_count, row.passed
    ((6, 20, 26), 26, True)
    """
    rng = np.random.default_rng(seed)
    X, y = case.data(rng)
    X = X.astype(case.dtype)
    y = y.astype(case.dtype) if y.dtype.kind == "f" else y
    network = case.build(rng, case.dtype)
    counts = network.neuron_count, network.weight_count, network.parameter_count
    figures = _single_pass(case, network, X, y)
    figures["differences"], wrong = _differences(case, network, X, y, rng)
    figures["steps"] = _steps(case, network, X, y)
    return Row(case, counts, sum(p.numel() for p in twin(network).parameters()), figures, wrong)


def distance(a: Array, b: Array) -> float:
    """||a - b|| / ||b||, in float64."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(np.linalg.norm(a - b) / max(np.linalg.norm(b), np.finfo(np.float64).tiny))


def _module(network: hm.Network, case: Case) -> torch.nn.Module:
    return twin(network).train(case.training)


def _single_pass(case: Case, network: hm.Network, X: Array, y: Array) -> dict[str, Figure]:
    """Loss and gradient of the first batch."""
    loss, gradient = copy.deepcopy(network).loss_and_gradient(X, y, case.objective, training=case.training)
    torch_loss, torch_gradient = loss_and_gradient(_module(network, case), X, y, case.objective)
    if case.dtype == np.float64:
        allowed = LOSS_RELATIVE * abs(torch_loss) + LOSS_ABSOLUTE
        return {
            "loss": Figure(abs(loss - torch_loss), allowed),
            "autograd": Figure(distance(gradient, torch_gradient), GRADIENT),
        }
    double = _module(network.astype(np.float64), case)
    true_loss, true_gradient = loss_and_gradient(double, X.astype(float), _double(y), case.objective)
    torch_error = abs(torch_loss - true_loss)
    return {
        "loss": Figure(abs(loss - true_loss), max(SINGLE * torch_error, LUCK * abs(true_loss))),
        "autograd": _no_worse(gradient, torch_gradient, true_gradient, LUCK),
    }


def _double(y: Array) -> Array:
    return y.astype(np.float64) if y.dtype.kind == "f" else y


def _no_worse(own: Array, other: Array, truth: Array, luck: float) -> Figure:
    return Figure(distance(own, truth), max(SINGLE * distance(other, truth), luck))


def _differences(case: Case, network: hm.Network, X: Array, y: Array, rng) -> tuple[Figure, int]:
    """The relative error over all entries that were measured, and how many of them are wrong."""
    options = dict(loss=case.objective, training=case.training, entries=ENTRIES, rng=rng)
    check = hm.check_gradient(network, X, y, **options)
    promised = DIFFERENCES if case.smooth and case.dtype == np.float64 else check.total.tolerance
    return Figure(check.total.relative_error, promised), len(check.wrong)


def _steps(case: Case, network: hm.Network, X: Array, y: Array) -> Figure:
    """Where 100 steps of the optimizer lead."""
    own = copy.deepcopy(network)
    name, options = case.optimizer
    optimizer = getattr(hm, name)(**options)
    for _ in range(STEPS):
        _, gradient = own.loss_and_gradient(X, y, case.objective, training=case.training)
        optimizer.step(own.theta, gradient)
    other = _train(_module(network, case), case, X, y)
    if case.dtype == np.float64:
        return Figure(distance(own.theta, other), PARAMETERS)
    truth = _train(_module(network.astype(np.float64), case), case, X.astype(float), _double(y))
    return _no_worse(own.theta, other, truth, STEPS * EPS)


def _train(module: torch.nn.Module, case: Case, X: Array, y: Array) -> Array:
    name, options = case.optimizer
    optimizer = getattr(torch.optim, name)(module.parameters(), **options)
    dtype = next(module.parameters()).dtype
    X, y, loss = as_tensor(X, dtype), as_tensor(y, dtype), find_loss(case.objective, dtype)
    for _ in range(STEPS):
        optimizer.zero_grad(set_to_none=True)
        loss(module(X), y).backward()
        optimizer.step()
    return torch.nn.utils.parameters_to_vector(module.parameters()).detach().numpy()
