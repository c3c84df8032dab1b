"""The course of a training (System 11), and the learning rates before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..history import History
from ..lr_finder import LearningRateSearch
from ._drawing import (
    BLACK,
    BLUE,
    GREY,
    VERMILLION,
    axes_for,
    check_axes,
    check_numbers,
    figure_of,
    label,
    new_figure,
    styles,
    whole_ticks,
)

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
        If ``history`` is not a History.

    Examples
    --------
    >>> record = hm.History(loss=[0.5, 0.25], validation_loss=[0.5, 0.75], metrics={"accuracy": [0.75, 0.5]})
    >>> [[line.get_label() for line in panel.lines] for panel in hm.plots.history(record).axes]
    [['training', 'validation', 'best epoch: 1'], ['accuracy']]
    """
    panels = _panels(history)
    given: Any = new_figure().subplots(1, len(panels)) if axes is None else axes
    panes = [check_axes(ax) for ax in np.ravel(given)]
    if len(panes) != len(panels):
        raise ValueError(f"axes: expected {len(panels)}, for {' and '.join(panels)}, got {len(panes)}")
    for ax, (panel, curves) in zip(panes, panels.items(), strict=True):
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
    return figure_of(panes[0])


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


def learning_rates(search: LearningRateSearch, *, ax: Axes | None = None) -> Figure:
    """Draw the losses of a learning-rate search over the learning rate, and its suggestion.

    Parameters
    ----------
    search : LearningRateSearch
        The result of `find_lr`.
    ax : matplotlib Axes, optional
        The axes to draw in.

    Returns
    -------
    matplotlib Figure
        The loss of each batch, the smoothed loss, and a vertical line at the suggestion if there is one.

    Raises
    ------
    TypeError
        If ``search`` is not a LearningRateSearch.

    Examples
    --------
    >>> X, y = hm.data.xor()
    >>> search = hm.find_lr(hm.MLP([2, 8, 2], rng=0), X, y, batch_size=4, rng=0)
    >>> figure = hm.plots.learning_rates(search)
    >>> [line.get_label().partition(":")[0] for line in figure.axes[0].lines]
    ['batches', 'smoothed', 'suggestion']
    """
    if not isinstance(search, LearningRateSearch):
        raise TypeError(
            f"search: expected a LearningRateSearch, got {type(search).__name__}; it is what find_lr returns"
        )
    ax = axes_for(ax)
    ax.plot(search.lr, search.loss, color=GREY, linewidth=1, marker=".", label="batches")
    ax.plot(search.lr, search.smoothed, color=BLUE, linewidth=3, label="smoothed")
    if search.suggestion is not None:
        name = f"suggestion: {search.suggestion:.2g}"
        ax.axvline(search.suggestion, color=VERMILLION, linestyle="--", linewidth=2, label=name)
    ax.set_xscale("log")
    first, lowest = search.smoothed[0], search.smoothed.min()
    reach = (first - lowest) or 1.0
    ax.set_ylim(lowest - 0.5 * reach, first + 0.5 * reach)  # not up to where it diverges
    ax.grid(color="#DDDDDD")
    label(ax, "learning rate", "loss", legend="best")
    return figure_of(ax)
