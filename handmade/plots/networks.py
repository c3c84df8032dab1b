"""A network drawn, with its weights or its gradient on the edges (Systems 3 and 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._types import Array
from .._validation import as_array, check_count
from ..layers import Activation, Dense
from ..network import Network
from ._drawing import (
    BLACK,
    BLUE,
    LARGE,
    MIDDLE,
    SMALL,
    VERMILLION,
    axes_for,
    check_network,
    check_numbers,
    figure_of,
    matplotlib,
    without_frame,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

VISIBLE = 1 / 50  # of the width of the widest edge: thinner edges cannot be seen
FOOT = 0.2  # between the lowest unit and the words below a column


class Column(NamedTuple):
    """A column of units: the number of units, the indices of those that are drawn, and their heights."""

    width: int
    shown: Array
    heights: Array


def network(
    network: Network, *, x: Any = None, vector: Array | None = None, max_units: int = 10, ax: Axes | None = None
) -> Figure:
    """Draw a network: a circle per unit, an edge per weight, and a stub from above per bias.

    The width of an edge is proportional to its weight. Edges are solid where it is positive and dashed where it is
    negative; those thinner than a fiftieth of the widest are left out.

    Parameters
    ----------
    network : Network
        A network of layers in one row. Layers other than Dense are named at the foot of their column.
    x : array_like, shape (I,), optional
        An input; its units' outputs fill the circles.
    vector : ndarray, shape (P,), optional
        The numbers on the edges; theta by default. ``network.gradient`` draws the gradient.
    max_units : int
        Of a wider layer only the first and the last units are drawn, with an ellipsis between.
    ax : matplotlib Axes, optional
        The axes to draw in.

    Returns
    -------
    matplotlib Figure
        The picture.

    Raises
    ------
    ValueError
        If there is no Dense layer or a layer that skips or splits, or x or the vector does not fit.
    TypeError
        If ``network`` is not a Network.

    Examples
    --------
    >>> figure = hm.plots.network(hm.MLP([64, 32, 10], rng=0))
    >>> [text.get_text() for text in figure.axes[0].texts if text.get_text() != "⋮"]
    ['input\\n64', 'relu\\n32', 'linear\\n10']
    """
    check_network(network)
    check_count(max_units, "max_units", least=3)
    dense = _dense_layers(network)
    blocks = network.blocks(network.theta if vector is None else check_numbers(vector, "vector"))
    dense_blocks = [(blocks[f"{i}.weight"], blocks.get(f"{i}.bias")) for i in dense]
    widths = [dense_blocks[0][0].shape[1], *(W.shape[0] for W, _ in dense_blocks)]
    columns = [_column(width, max_units) for width in widths]
    height = max(len(column.shown) + (len(column.shown) < column.width) for column in columns)
    across = max(1.6, 1.5 * height / len(dense))

    ax = axes_for(ax)
    segments, weights = _segments(columns, dense_blocks, across)
    _edges(ax, segments, weights, widest=min(5.0, 24 / height))  # thinner where there are many
    places = [(n * across, y) for n, column in enumerate(columns) for y in column.heights]
    values = None if x is None else _unit_outputs(network, dense, x, columns)
    _units(ax, places, values, with_numbers=height <= 4)
    _words(ax, columns, _column_names(network), across, height)
    without_frame(ax, -0.8, len(dense) * across + 0.8, -height / 2 - FOOT - 0.16 * height, height / 2 + 0.3)
    return figure_of(ax)


def _dense_layers(network: Network) -> list[int]:
    """Return the indices of the Dense layers, or raise unless the layers stand in one row."""
    for layer in network.layers:
        if any(leaf is not layer for _, leaf in layer.leaves()):
            raise ValueError(f"network: expected layers in one row, none that skips or splits, got {layer!r}")
    dense = [i for i, layer in enumerate(network.layers) if isinstance(layer, Dense)]
    if not dense:
        raise ValueError(f"network: expected at least one Dense layer, got {network!r}")
    return dense


def _column_names(network: Network) -> list[str]:
    """Return for each column the names of the layers between one Dense layer and the next."""
    names: list[list[str]] = [["input"]]
    for layer in network.layers:
        if isinstance(layer, Dense):
            names.append([])
        else:
            names[-1].append(layer.f.__name__ if isinstance(layer, Activation) else type(layer).__name__)
    return ["\n".join(column) or "linear" for column in names]


def _unit_outputs(network: Network, dense: list[int], x: Any, columns: list[Column]) -> Array:
    """Return the outputs of the units that are drawn: the input, and after each Dense layer and its activation."""
    x = as_array(x, "x")
    X = network.check_input(x[np.newaxis] if x.ndim == 1 else x)
    if len(X) > 1:
        raise ValueError(f"x: expected one sample, got {len(X)}")
    _, cache = network.forward(X)
    values = [cache.values[i][0] for i in [*dense, len(network.layers)]]  # the inputs of Dense layers, then the output
    return np.concatenate([value[column.shown] for value, column in zip(values, columns, strict=True)])


def _column(width: int, max_units: int) -> Column:
    """Return which units of a layer are drawn, and at what height; of a wide layer not those in the middle."""
    slots = np.arange(min(width, max_units))
    heights = (len(slots) - 1) / 2 - slots
    if width <= max_units:
        return Column(width, slots, heights)
    drawn = slots != max_units // 2  # the ellipsis takes this slot
    return Column(width, np.where(slots < max_units // 2, slots, width - max_units + slots)[drawn], heights[drawn])


def _segments(columns: list[Column], blocks: list[tuple[Array, Array | None]], across: float) -> tuple[Array, Array]:
    """Return both ends of each edge and each stub, and the weight or bias of each."""
    segments, weights = [], []
    for n, ((_, below, low), (_, above, high), (W, b)) in enumerate(zip(columns, columns[1:], blocks, strict=False), 1):
        segments += [[((n - 1) * across, start), (n * across, end)] for end in high for start in low]
        weights += W[np.ix_(above, below)].ravel().tolist()
        if b is not None:
            segments += [[(n * across, y + 0.52), (n * across, y)] for y in high]
            weights += b[above].tolist()
    return np.array(segments), np.array(weights)


def _edges(ax: Axes, segments: Array, weights: Array, widest: float) -> None:
    """Draw a line per weight, as wide as it is large: solid blue where positive, dashed vermillion where negative."""
    LineCollection, Line2D = matplotlib("collections").LineCollection, matplotlib("lines").Line2D
    largest = np.abs(weights).max()
    sizes = weights / (largest or 1.0)
    handles = []
    for name, colour, style, chosen in (
        ("positive", BLUE, "-", sizes >= VISIBLE),
        ("negative", VERMILLION, (0, (3, 1.5)), sizes <= -VISIBLE),
    ):
        options = {"colors": colour, "linestyles": [style], "capstyle": "butt", "label": name, "zorder": 1}
        ax.add_collection(LineCollection(segments[chosen], linewidths=widest * np.abs(sizes[chosen]), **options))
        handles.append(Line2D([], [], color=colour, linestyle=style, linewidth=3, label=name))
    title = f"widest edge: {largest:.3g};  stub from above: bias"
    ax.legend(handles=handles, title=title, fontsize=SMALL, title_fontsize=SMALL, ncols=2, handlelength=3,
              frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.12))  # fmt: skip


def _units(ax: Axes, places: list[tuple[float, float]], values: Array | None, with_numbers: bool) -> None:
    """Draw a circle per unit, filled with its output if there are values, and the number in it."""
    circles = [matplotlib("patches").Circle(place, 0.32) for place in places]
    PatchCollection = matplotlib("collections").PatchCollection
    units = PatchCollection(circles, facecolor="white", edgecolor=BLACK, linewidth=1.5, zorder=2)
    ax.add_collection(units)
    if values is None:
        return
    units.set(array=values, cmap="cividis")
    bar = ax.figure.colorbar(units, shrink=0.8)
    bar.set_label("output of the unit", fontsize=MIDDLE)
    bar.ax.tick_params(labelsize=SMALL)
    for place, value in zip(places, values, strict=True) if with_numbers else ():
        colour = "white" if units.norm(value) < 0.5 else BLACK
        ax.text(*place, f"{value + 0.0:.2g}", ha="center", va="center", fontsize=SMALL, color=colour)  # -0.0 as 0


def _words(ax: Axes, columns: list[Column], names: list[str], across: float, height: int) -> None:
    """Write the name and width of each column below it, and an ellipsis where units are left out."""
    for n, (column, name) in enumerate(zip(columns, names, strict=True)):
        ax.text(n * across, -height / 2 - FOOT, f"{name}\n{column.width}", ha="center", va="top", fontsize=MIDDLE)
        if len(column.shown) < column.width:
            slots = len(column.shown) + 1
            middle = (slots - 1) / 2 - slots // 2
            ax.text(n * across, middle, "⋮", ha="center", va="center", fontsize=LARGE, fontweight="bold")
