"""The course of a training (System 11): losses and metrics over the epochs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..training import History
from ._drawing import BLACK, check_axes, check_numbers, label, new_figure, styles, whole_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = 10  # about as many in a line
FEW = 4  # curves whose legend finds room among them


def history(history: History, *, axes: Axes | Sequence[Axes] | None = None) -> Figure:
    """Draw the losses of a training over its epochs and, in a second panel, its metrics; epochs count from 1.

    Parameters
    ----------
    history : History
        The result of `fit`.
    axes : sequence of matplotlib Axes, optional
        The axes to draw in: one for the losses, one more if there are metrics.

    Returns
    -------
    matplotlib Figure
        One line per series; a vertical line marks the best epoch if there are validation data.

    Raises
    ------
    ValueError
        If no epoch was finished, a number is not finite, or there are more or fewer axes than panels.
    TypeError
        If it is no History.

    Examples
    --------
    >>> record = hm.History(loss=[0.5, 0.25], validation_loss=[0.5, 0.75], metrics={"accuracy": [0.75, 0.5]})
    >>> [[line.get_label() for line in panel.lines] for panel in hm.plots.history(record).axes]
    [['training', 'validation', 'best epoch: 1'], ['accuracy']]
    """
    panels = _panels(history)
    if axes is None:
        axes = new_figure().subplots(1, len(panels), squeeze=False)
    axes = [check_axes(ax) for ax in np.ravel(axes)]
    if len(axes) != len(panels):
        raise ValueError(f"axes: expected {len(panels)}, for {' and '.join(panels)}, got {len(axes)}")
    for ax, (panel, curves) in zip(axes, panels.items(), strict=True):
        epochs = range(1, len(history) + 1)
        for (name, values), style in zip(curves.items(), styles(), strict=False):
            every = max(1, len(values) // MARKERS)
            ax.plot(epochs, values, label=name, linewidth=2.5, markersize=8, markevery=every, **style)
        if panel == "loss" and history.best_epoch is not None:
            best = history.best_epoch + 1
            ax.axvline(best, color=BLACK, linestyle=(0, (1, 3)), linewidth=2, label=f"best epoch: {best}")
        whole_ticks(ax.xaxis, len(history))
        ax.grid(color="#DDDDDD")
        label(ax, "epoch", panel, legend="best" if len(curves) <= FEW else "outside")
    return axes[0].figure


def _panels(history: History) -> dict[str, dict[str, list[float]]]:
    """Return the curves of each panel by their names, or raise unless they are finite."""
    if not isinstance(history, History):
        raise TypeError(f"history: expected a History, got {type(history).__name__}; it is what fit returns")
    if not len(history):
        raise ValueError("history: expected at least one finished epoch, got none")
    losses = {"training": history.loss}
    if history.validation_loss:
        losses["validation"] = history.validation_loss
    panels = {"loss": losses} | ({"metric": dict(history.metrics)} if history.metrics else {})
    for curves in panels.values():
        for name, values in curves.items():
            check_numbers(values, f"history: {name}")
    return panels
