"""The step of a backward pass that is wrong, beside the right one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._types import Array
from ..checking.reports import Diagnosis
from ._drawing import SLIDE, VERMILLION, check_axes, check_numbers, figure_of, matplotlib, new_figure
from .parameters import draw_squares

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WRONG = 1e-6  # of the largest number: a larger difference is framed


def diagnosis(diagnosis: Diagnosis, *, axes: Sequence[Axes] | None = None) -> Figure:
    """Draw the result of the first wrong step of a backward pass beside the right one.

    Both are drawn as `hinton` draws weights, a row per sample, with squares of one scale. Frames mark the numbers that
    are wrong.

    Parameters
    ----------
    diagnosis : Diagnosis
        The result of `diagnose_gradient`, if it has found the step.
    axes : sequence of two matplotlib Axes, optional
        The axes to draw in.

    Returns
    -------
    matplotlib Figure
        The actual result at the left, the right one at the right.

    Raises
    ------
    ValueError
        If the diagnosis has found no step, or there are not two axes.
    TypeError
        If ``diagnosis`` is not a Diagnosis.

    Examples
    --------
    The square is forgotten in the derivative of tanh, 1 - H**2:

    >>> X, y = np.eye(4), np.array([0, 1, 0, 1])
    >>> network = hm.MLP([4, 3, 2], activation="tanh", rng=0)
    >>> A1, cache = network.forward(X)
    >>> W1, H0 = network.layers[2].W, cache.values[2]
    >>> dA1 = hm.losses.cross_entropy_backward(A1, y)
    >>> dA0 = dA1 @ W1 * (1 - H0)
    >>> claimed = [dA0.T @ X, dA0.sum(axis=0), dA1.T @ H0, dA1.sum(axis=0)]
    >>> found = hm.diagnose_gradient(network, X, y, np.concatenate([block.ravel() for block in claimed]))
    >>> figure = hm.plots.diagnosis(found)
    >>> [ax.get_title().split(";")[0] for ax in figure.axes]
    ['dA[0]', 'right dA[0]']
    """
    if not isinstance(diagnosis, Diagnosis):
        raise TypeError(
            f"diagnosis: expected a Diagnosis, got {type(diagnosis).__name__}; it is what diagnose_gradient returns"
        )
    rows = diagnosis.rows
    if rows is None:
        raise ValueError(f"diagnosis: expected one that has found a wrong step, got the verdict {diagnosis.verdict!r}")
    actual, right = (np.atleast_2d(check_numbers(A, rows.name)) for A in (rows.actual, rows.right))
    given: Any = new_figure(SLIDE).subplots(1, 2, sharey=True) if axes is None else axes
    panes = [check_axes(ax) for ax in np.ravel(given)]
    if len(panes) != 2:
        raise ValueError(f"axes: expected 2, for the actual and the right numbers, got {len(panes)}")
    largest = max(np.abs(actual).max(), np.abs(right).max()) or 1.0
    for ax, A, title in (panes[0], actual, rows.name), (panes[1], right, f"right {rows.name}"):
        draw_squares(ax, A / largest, "unit", "sample", f"{title};  largest: {np.abs(A).max():.3g}")
    _frame(panes[0], np.abs(actual - right) > WRONG * largest)
    return figure_of(panes[0])


def _frame(ax: Axes, wrong: Array) -> None:
    """Draw a frame around the cells of the entries that are wrong."""
    corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    cells = np.argwhere(wrong)[:, np.newaxis, ::-1] + 1 + 0.94 * corners
    options = {"facecolors": "none", "edgecolors": VERMILLION, "linewidths": 2, "gid": "wrong"}
    ax.add_collection(matplotlib("collections").PolyCollection(cells, **options))
