"""Tools that all pictures share: matplotlib, axes, words, colours, checks and the names of parameters."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from .._types import Array
from .._validation import as_array, check_finite
from ..network import Network, as_network

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SLIDE = (10.0, 5.6)  # inches
LARGE, MIDDLE, SMALL = 18, 15, 13  # points, on a slide; still readable at half the size
BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, BLACK, GREY = "#E69F00", "#56B4E9", "#000000", "#808080"
STYLES = (  # colour, line, marker
    (BLUE, "-", "o"),
    (VERMILLION, "--", "s"),
    (GREEN, "-.", "^"),
    (PURPLE, ":", "D"),
    (ORANGE, (0, (6, 1, 1, 1, 1, 1)), "v"),
    (SKY, (0, (1, 1)), "P"),
    (BLACK, (0, (8, 3)), "X"),
)


def styles(first: int = 0) -> Iterator[dict[str, Any]]:
    """Yield colour, line style and marker for one line after another; from the second round on, markers are hollow."""
    for n, (colour, line, marker) in enumerate(itertools.islice(itertools.cycle(STYLES), first, None), first):
        face = colour if n < len(STYLES) + first else "white"
        yield {"color": colour, "linestyle": line, "marker": marker, "markerfacecolor": face}


def steps_text(steps: int) -> str:
    return f"{steps} step{'s' * (steps != 1)}"


def matplotlib(module: str) -> Any:
    """Return a module of matplotlib, which is imported when the first picture is drawn.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    try:
        return importlib.import_module(f"matplotlib.{module}")
    except ImportError as error:
        raise ImportError("plots: expected matplotlib; install it with: pip install handmade[plots]") from error


def new_figure(size: tuple[float, float] = SLIDE) -> Figure:
    """Return an empty figure of this size in inches, which a notebook shows."""
    matplotlib("figure")
    from ._figure import NotebookFigure

    return NotebookFigure(figsize=size, layout="constrained")


def figure_of(ax: Axes) -> Figure:
    """Return the figure that the axes are in."""
    return cast("Figure", ax.figure)


def check_axes(ax: Any, projection: str = "rectilinear") -> Axes:
    """Return ax, or raise if it is not Axes with this projection."""
    if not isinstance(ax, matplotlib("axes").Axes):
        raise TypeError(f"ax: expected matplotlib axes, got {type(ax).__name__}; give one of figure.subplots()")
    if ax.name != projection:
        raise ValueError(f"ax: expected axes with projection={projection!r}, got {ax.name!r}")
    return cast("Axes", ax)


def axes_for(ax: Axes | None, size: tuple[float, float] = SLIDE, projection: str = "rectilinear") -> Axes:
    """Return the given axes, or those of a new figure."""
    if ax is not None:
        return check_axes(ax, projection)
    return new_figure(size).add_subplot(projection=projection)


def label(ax: Axes, x: str, y: str, title: str = "", legend: str | None = None) -> None:
    """Write labels, title and legend, in sizes for a slide; the legend "outside" stands right of the axes."""
    ax.set_xlabel(x, fontsize=LARGE)
    ax.set_ylabel(y, fontsize=LARGE)
    ax.set_title(title, fontsize=LARGE)
    ax.tick_params(labelsize=MIDDLE)
    if legend == "outside":
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=MIDDLE, handlelength=3, frameon=False)
    elif legend:
        ax.legend(loc=cast("Any", legend), fontsize=MIDDLE, handlelength=3, framealpha=0.9)


def whole_ticks(axis: Any, count: int) -> None:
    """Put ticks at whole numbers only, at two or more of them if there are as many."""
    axis.get_major_locator().set_params(integer=True, min_n_ticks=min(count, 2))


def without_frame(ax: Axes, left: float, right: float, bottom: float, top: float) -> None:
    """Remove frame and ticks, and make a unit as long upwards as sideways."""
    ax.set_axis_off()
    ax.set_aspect("equal")
    ax.set_xlim(left, right)
    ax.set_ylim(bottom, top)


def check_network(network: Network) -> None:
    """Raise unless it is a network whose parameters are finite."""
    check_finite(as_network(network).theta, "theta")


def check_numbers(values: Any, name: str) -> Array:
    """Return values as an array, or raise unless they are finite numbers."""
    array = as_array(values, name)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name}: expected numbers, got dtype {array.dtype}")
    check_finite(array, name)
    return array


def parameter_symbols(network: Network) -> list[str]:
    """Return the lecture's name of each entry of theta, for mathtext.

    In one layer of one unit and in a chain the names are w, or w1, w2, ... Elsewhere the layer stands above, and below
    the unit that a weight leads to and the unit that it comes from.
    """
    blocks = network.blocks(network.theta)
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in blocks))
    chain = all(block.size == 1 for block in blocks.values())
    symbols = []
    for name, block in blocks.items():
        layer, _, kind = name.rpartition(".")
        number = layers.index(layer) + 1
        for index in np.ndindex(block.shape):
            above, below = f"^{{({number})}}", [str(i + 1) for i in index]
            if len(layers) == 1:
                above, below = "", [str(i + 1) for i, size in zip(index, block.shape, strict=True) if size > 1]
            elif chain:
                above, below = "", [str(number)]
            comma = "," if max(block.shape) > 9 else ""
            symbols.append(f"{kind[0]}{above}" + f"_{{{comma.join(below)}}}" * bool(below))
    return symbols
