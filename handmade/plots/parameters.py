"""Parameters drawn: as knobs to turn (System 6), and as squares, as the papers of 1986 draw them (System 13)."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .._types import Array, Loss
from ..network import Network
from ._drawing import (
    BLACK,
    GREY,
    MIDDLE,
    SMALL,
    VERMILLION,
    axes_for,
    check_network,
    check_numbers,
    figure_of,
    label,
    matplotlib,
    parameter_symbols,
    whole_ticks,
    without_frame,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KNOBS = 40  # at most
ACROSS, DOWN = 3.8, 4.2  # between the centres of two knobs
CELL, WIDEST, TALLEST = 0.5, 9.5, 6.5  # inches: a weight's cell, and all cells of a picture


def knobs(
    network: Network, X: Any, y: Any, *, loss: Loss = "half_squared_error", sample_weight: Any = None,
    ax: Axes | None = None,
) -> Figure:  # fmt: skip
    """Draw each parameter as a knob on a machine, and its partial derivative as the way to turn it.

    A pointer straight up is the value 0, to the right positive; the largest value turns its knob to the end. The arrow
    turns against the gradient, which lowers the loss. Its length is proportional to the derivative.

    Parameters
    ----------
    network : Network
        A network of at most 40 parameters.
    X, y, loss, sample_weight
        As in `Network.loss_and_gradient`.
    ax : matplotlib Axes, optional
        The axes to draw in.

    Returns
    -------
    matplotlib Figure
        A small change dw of a knob changes the loss by dL/dw dw.

    Raises
    ------
    ValueError
        If the network has more than 40 parameters or none, or the data do not fit.
    TypeError
        If ``network`` is not a Network.

    Examples
    --------
    L = 1/2 (2 - w x)^2 at w = 1/2 and x = 1, whose slope is -3/2:

    >>> smallest = hm.MLP([1, 1], bias=False)
    >>> smallest.theta[:] = 0.5
    >>> [text.get_text() for text in hm.plots.knobs(smallest, [[1.0]], [[2.0]]).axes[0].texts]
    ['$w = 0.5$', '$\\\\partial\\\\mathcal{L}/\\\\partial w = -1.5$']
    """
    check_network(network)
    count = network.parameter_count
    if not 1 <= count <= KNOBS:
        raise ValueError(f"network: expected 1 to {KNOBS} parameters, one knob each, got {count}")
    value, gradient = copy.deepcopy(network).loss_and_gradient(X, y, loss=loss, sample_weight=sample_weight)
    pointers = 0.75 * np.pi * network.theta / (np.abs(network.theta).max() or 1.0)
    turns = -0.5 * np.pi * gradient / (np.abs(gradient).max() or 1.0)

    columns = math.ceil(math.sqrt(1.8 * count))
    rows = math.ceil(count / columns)
    ax = axes_for(ax, (max(6.0, 2.1 * columns), max(3.0, 2.3 * rows)))
    labels = zip(parameter_symbols(network), network.theta, gradient, strict=True)
    for n, ((symbol, w, slope), pointer, turn) in enumerate(zip(labels, pointers, turns, strict=True)):
        centre = np.array([ACROSS * (n % columns), -DOWN * (n // columns)])
        _knob(ax, centre, pointer, turn)
        derivative = rf"$\partial\mathcal{{L}}/\partial {symbol} = {slope:.2g}$"
        for below, text in (1.5, f"${symbol} = {w:.3g}$"), (2.22, derivative):
            ax.text(centre[0], centre[1] - below, text, ha="center", va="center", fontsize=SMALL)
    ax.set_title(rf"$\mathcal{{L}} = {value:.4g}$;  arrows: the turns that lower it", fontsize=MIDDLE)
    without_frame(ax, -1.9, ACROSS * (min(count, columns) - 1) + 1.9, -DOWN * (rows - 1) - 2.7, 1.6)
    return figure_of(ax)


def _clockwise(angle: Any, radius: float) -> Array:
    """Return points of a circle; the angle 0 is at the top."""
    return radius * np.stack([np.sin(angle), np.cos(angle)], axis=-1)


def _knob(ax: Axes, centre: Array, pointer: float, turn: float) -> None:
    """Draw a dial with its scale, the pointer, and around it the arrow of the turn."""
    patches = matplotlib("patches")
    ax.add_patch(patches.Circle(centre, 0.85, facecolor="#E8E8E8", edgecolor=BLACK, linewidth=1.5))
    for angle in np.linspace(-0.75, 0.75, 7) * np.pi:
        ax.plot(*np.transpose(centre + np.outer([0.9, 1.02], _clockwise(angle, 1))), color=GREY, linewidth=1.5)
    ax.plot(*np.transpose([centre, centre + _clockwise(pointer, 0.8)]), color=BLACK, linewidth=4, gid="pointer")
    arc = centre + _clockwise(np.linspace(pointer, pointer + turn, 50), 1.2)
    ax.plot(*arc.T, color=VERMILLION, linewidth=3, gid="turn")
    if turn:
        style = {"arrowstyle": "-|>", "mutation_scale": 16, "color": VERMILLION, "shrinkA": 0, "shrinkB": 0}
        tangent = math.copysign(1, turn) * _clockwise(pointer + turn + np.pi / 2, 0.25)
        ax.add_patch(patches.FancyArrowPatch(arc[-1], arc[-1] + tangent, **style))


def hinton(W: Any, *, ax: Axes | None = None) -> Figure:
    """Draw weights as squares on grey: white is positive, black negative, and the area is the size.

    Rumelhart, Hinton and Williams (1986, Fig. 4) draw the weights of their units so.

    Parameters
    ----------
    W : array_like, shape (O, I) or (I,)
        One row per unit, as in `Dense`; a vector is one row.
    ax : matplotlib Axes, optional
        The axes to draw in.

    Returns
    -------
    matplotlib Figure
        The largest weight has 0.9 of the side of its cell. Cells are smaller where there are many.

    Raises
    ------
    ValueError
        If W is empty, has more than two dimensions or a number that is not finite.
    TypeError
        If it holds something other than numbers.

    Examples
    --------
    >>> (squares,) = hm.plots.hinton([[4.0, -1.0]]).axes[0].collections
    >>> [float(np.ptp(square.vertices[:, 0]).round(2)) for square in squares.get_paths()]
    [0.9, 0.45]
    """
    W = np.atleast_2d(check_numbers(W, "W"))
    if W.ndim != 2 or W.size == 0:
        raise ValueError(f"W: expected shape (O, I), at least one weight, got {W.shape}")
    rows, columns = W.shape
    cell = min(CELL, WIDEST / columns, TALLEST / rows)
    largest = np.abs(W).max()
    ax = axes_for(ax, (max(4.0, cell * columns + 1.5), max(3.0, cell * rows + 1.5)))
    draw_squares(ax, W / (largest or 1), "from unit $i$", "to unit $j$", f"largest: {largest:.3g}")
    return figure_of(ax)


def draw_squares(ax: Axes, W: Array, x: str, y: str, title: str) -> None:
    """Draw a matrix of numbers from -1 to 1 as squares in cells, with these words."""
    rows, columns = W.shape
    ax.add_collection(_squares(W))
    ax.set_facecolor("#9A9A9A")
    ax.set_aspect("equal")
    ax.set_xlim(0.4, columns + 0.6)
    ax.set_ylim(rows + 0.6, 0.4)  # the first row on top, as a matrix is read
    whole_ticks(ax.xaxis, columns)
    whole_ticks(ax.yaxis, rows)
    label(ax, x, y, title)


def _squares(W: Array) -> Any:
    """Return a square for each weight but 0, centred at its column and row, which count from 1."""
    centres = np.argwhere(W)[:, ::-1] + 1
    weights = W[W != 0]
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    vertices = centres[:, np.newaxis] + 0.45 * np.sqrt(np.abs(weights))[:, np.newaxis, np.newaxis] * corners
    colours = np.where(weights > 0, "white", BLACK)
    return matplotlib("collections").PolyCollection(vertices, facecolors=colours.tolist(), edgecolors="none")
