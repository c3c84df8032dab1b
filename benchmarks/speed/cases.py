"""The cases that are timed, each one kind of work of one network on one batch, and the grid of all cases."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

import handmade as hm

from .sides import Disagreement, Side

__all__ = ["GRID", "Case", "curves"]


@dataclass(frozen=True)
class Case:
    """One cell of the grid.

    Parameters
    ----------
    sizes : tuple of int
        Inputs, hidden units, outputs.
    batch : int
        The number of samples.
    work : {"step", "predict"}
        A training step (forward, loss, backward, update), or a prediction.
    activation, loss, dtype, optimizer : str
        Names of handmade; the optimizer is "SGD" or "Adam".
    normalization : {None, "batch"}
        The normalization before each hidden activation.
    dropout : float
        The probability of dropout after each hidden activation.
    """

    sizes: tuple[int, ...]
    batch: int
    work: str = "step"
    activation: str = "relu"
    loss: str = "cross_entropy"
    dtype: str = "float32"
    optimizer: str = "SGD"
    normalization: str | None = None
    dropout: float = 0.0

    lr = 1e-3
    sides: ClassVar[dict[str, type[Side]]] = {}  # by name, from `peers`

    @property
    def shape(self) -> str:
        """Return the widths and the batch as text; equal widths in a row are counted.

        Examples
        --------
        >>> Case((784, 1024, 1024, 10), 64).shape
        '784-1024x2-10, batch 64'
        """
        parts: list[str] = []
        for width in self.sizes:
            last, _, count = parts[-1].partition("x") if parts else ("", "", "")
            if last == str(width):
                parts[-1] = f"{width}x{int(count or 1) + 1}"
            else:
                parts.append(str(width))
        return f"{'-'.join(parts)}, batch {self.batch:,}"

    @property
    def options(self) -> str:
        """Return the options other than float32, ReLU and cross-entropy, as text."""
        usual = Case(self.sizes, self.batch)
        names = ("activation", "loss", "dtype")
        found = [getattr(self, name) for name in names if getattr(self, name) != getattr(usual, name)]
        found += [f"{self.normalization} normalization"] * bool(self.normalization)
        return ", ".join(found + [f"dropout {self.dropout}"] * bool(self.dropout))

    @property
    def without_dropout(self) -> Case:
        """Return the case without dropout, to compare results: every library draws other random numbers."""
        return replace(self, dropout=0.0) if self.dropout else self

    @property
    def title(self) -> str:
        """Return the name of the cell.

        Examples
        --------
        >>> Case((3, 4, 2), 1, optimizer="Adam", dtype="float64").title
        'step, Adam: 3-4-2, batch 1 (float64)'
        """
        work = self.work if self.work == "predict" else f"step, {self.optimizer}"
        return f"{work}: {self.shape}" + (f" ({self.options})" if self.options else "")

    @property
    def parameter_count(self) -> int:
        dense = sum(i * o + o for i, o in itertools.pairwise(self.sizes))
        return dense + (2 * sum(self.sizes[1:-1]) if self.normalization else 0)

    @property
    def tolerance(self) -> float:
        """Return the largest relative difference of two right implementations: each sum rounds once per term."""
        return (sum(self.sizes) + self.batch) * float(np.finfo(self.dtype).eps)

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Return X, shape (N, I), normally distributed, and y: class indices, or targets, normally distributed."""
        rng = np.random.default_rng(0)
        X = rng.standard_normal((self.batch, self.sizes[0])).astype(self.dtype)
        if self.loss == "cross_entropy":
            return X, rng.integers(0, self.sizes[-1], self.batch)
        return X, rng.standard_normal((self.batch, self.sizes[-1])).astype(self.dtype)

    def network(self) -> hm.MLP:
        # He's weights: with smaller ones, the gradients of a deep network vanish, and steps could not be compared.
        options = dict(activation=self.activation, weight_init="kaiming_uniform", rng=0, dtype=self.dtype)
        return hm.MLP(self.sizes, normalization=self.normalization, dropout=self.dropout, **options)

    def check(self, name: str, theirs: Mapping[str, np.ndarray], ours: Mapping[str, np.ndarray]) -> None:
        """Raise unless a side's results are handmade's: the loss and the parameters after a step, or the outputs.

        Parameters after a step are compared block by block. Each difference is weighted by the entry's gradient,
        because Adam takes a full step in a random direction where a gradient is only rounding error.

        Parameters
        ----------
        name : str
            The name of the side.
        theirs, ours : mapping of str to ndarray
            The results of the side and of handmade, see `benchmarks.speed.sides.Side.results`.

        Raises
        ------
        Disagreement
            If the results differ by more than rounding.
        """
        if self.work == "predict":
            theirs, ours = (side["outputs"] - side["outputs"].mean(axis=1, keepdims=True) for side in (theirs, ours))
            apart, allowed = np.abs(theirs - ours).max(), self.tolerance * np.abs(ours).max()
            if not apart <= allowed:
                raise Disagreement(f"{name}, {self.title}: outputs differ by {apart:.2g}, more than {allowed:.2g}")
            return
        if not abs(theirs["loss"] - ours["loss"]) <= self.tolerance * abs(ours["loss"]):
            raise Disagreement(f"{name}, {self.title}: expected the loss {ours['loss']}, got {theirs['loss']}")
        network, eps = self.network(), float(np.finfo(self.dtype).eps)
        after = network.blocks(theirs["theta"])
        theta, before, gradient = (network.blocks(ours[key]) for key in ("theta", "before", "gradient"))
        for block, weight in gradient.items():
            weight = np.abs(weight)
            apart, moved, stored = (
                float(np.sum(weight * np.abs(array)))
                for array in (after[block] - theta[block], theta[block] - before[block], before[block])
            )
            if not apart <= self.tolerance * moved + eps * stored:  # both round the parameters that they store
                raise Disagreement(
                    f"{name}, {self.title}: the step of {block} has a relative error of {apart / moved:.1g}"
                )


SHAPES = (
    ((3, 4, 2), 1),
    ((3, 4, 2), 32),
    ((64, 32, 10), 32),
    ((64, 100, 10), 200),
    ((784, 128, 10), 64),
    ((784, 300, 100, 10), 128),
    ((784, 800, 800, 10), 128),
    ((784, 1024, 1024, 1024, 10), 256),
    ((784, 2048, 2048, 2048, 10), 1024),
    ((256,) * 9 + (10,), 64),
    ((256,) * 33 + (10,), 64),
)


def grid() -> list[Case]:
    """Return all cells: each shape with both optimizers and as a prediction; some with options or other batches."""
    usual = [Case(*shape) for shape in SHAPES]
    cases = [change(case) for change in (_step, _adam, _predict) for case in usual]
    for case in (usual[2], usual[4], usual[5]):
        others = [replace(case, activation=name) for name in ("sigmoid", "tanh")]
        others += [replace(case, loss="mse_loss"), replace(case, dtype="float64")]
        cases += [*others, *map(_predict, (others[0], others[1], others[3]))]
    for case in (usual[2], usual[4], usual[5], usual[6]):
        cases += [replace(case, dropout=0.2), replace(case, normalization="batch")]
    for batch in (1, 8, 512, 4096):
        case = Case((784, 128, 10), batch)
        cases += [case, _predict(case)]
    cases.append(Case((784, 1024, 1024, 10), 64, "predict"))
    return cases


def curves() -> dict[str, list[Case]]:
    """Return training steps of growing width, depth, and batch.

    Examples
    --------
    >>> {name: len(cases) for name, cases in curves().items()}
    {'width': 7, 'depth': 6, 'batch': 5}
    """
    return {
        "width": [Case((784, width, width, 10), 128) for width in (32, 64, 128, 512, 1024, 2048, 4096)],
        "depth": [Case((256,) * (depth + 1) + (10,), 64) for depth in (1, 2, 4, 8, 16, 32)],
        "batch": [Case((784, 128, 10), batch) for batch in (1, 8, 64, 512, 4096)],
    }


def _step(case: Case) -> Case:
    return case


def _adam(case: Case) -> Case:
    return replace(case, optimizer="Adam")


def _predict(case: Case) -> Case:
    return replace(case, work="predict")


GRID = grid()
