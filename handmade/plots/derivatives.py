"""The chain rule of Systems 8 and 9: each derivative as a product, read from the loss backwards."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

import numpy as np

from .._types import Array
from .._validation import check_finite
from ..chain_rule import Product, Trace
from ._drawing import BLACK, BLUE, GREY, MIDDLE, SMALL, axes_for, figure_of, matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WRAP = 13  # characters of a formula in a line above its node


def chain_rule(trace: Trace, *, ax: Axes | None = None) -> Figure:
    """Draw the chain rule of a scalar chain: the forward pass at the top, and below it each derivative as a product.

    A factor stands under the edge that it belongs to, so the products are read from the loss, on the right, to the
    left. The grey bar is the prefix that the row above has computed: "already computed, re-use (propagate)!"

    Parameters
    ----------
    trace : Trace
        The result of `handmade.trace` for a network of one unit per layer.
    ax : matplotlib Axes, optional
        The axes to draw in.

    Returns
    -------
    matplotlib Figure
        The picture; all numbers have four digits.

    Raises
    ------
    ValueError
        If a layer has more than one unit or weight, or a number is not finite.
    TypeError
        If ``trace`` is not a Trace.

    Examples
    --------
    >>> chain = hm.MLP([1, 1, 1], activation=["sigmoid", "sigmoid"], bias=False)
    >>> chain.theta[:] = [2.0, -1.0]
    >>> figure = hm.plots.chain_rule(hm.trace(chain, 0.5, 1.0))
    >>> [text.get_text() for text in figure.axes[0].texts if text.get_gid() == "re-use"]
    ['already computed,\\nre-use (propagate)!\\n$-0.1481$']
    """
    nodes = _nodes(trace)
    column = {name: n for n, (name, _, _) in enumerate(nodes)}
    ax = axes_for(ax, (max(8.0, 1.5 * (len(nodes) + 1.2)), 2.2 + 1.1 * len(trace.products)))
    for n, (name, formula, value) in enumerate(nodes):
        _node(ax, n, _symbol(name), formula, _number(value))
    for n in range(len(nodes) - 1):
        arrow = {"arrowstyle": "-|>", "linewidth": 2, "color": BLACK}
        ax.annotate("", (n + 0.7, 0), (n + 0.3, 0), arrowprops=arrow)
    for row, product in enumerate(trace.products, 1):
        _row(ax, -row, product, column)
    ax.set_axis_off()
    ax.set_xlim(-1.4, len(nodes) - 0.4)
    ax.set_ylim(-len(trace.products) - 0.55, 0.9)
    return figure_of(ax)


def _nodes(trace: Trace) -> list[tuple[str, str, Array]]:
    """Return name, formula and value of each quantity of the forward pass, or raise unless all are scalars."""
    if not isinstance(trace, Trace):
        raise TypeError(f"trace: expected a Trace, got {type(trace).__name__}; make it with handmade.trace")
    nodes = []
    for formula, value in [*trace.forward, (trace.loss_formula, np.array(trace.loss))]:
        name, _, right = formula.partition(" = ")
        check_finite(value, name)
        if value.size > 1:
            raise ValueError(f"trace: expected a chain of one unit per layer, got {value.size} values of {name}")
        nodes.append((name, right, value))
    return nodes


def _row(ax: Axes, y: float, product: Product, column: dict[str, int]) -> None:
    """Draw a derivative: its value at the left, its factors under their edges, and the bar of the prefix."""
    ax.text(-1.35, y, f"{_symbol(product.name)} $= {_number(product.value)}$", va="center", fontsize=MIDDLE)
    if product.shared:
        left = column[_top(product.shared[-1].name)] - 1
        _reuse(ax, left, len(column) - 1, y, _number(product.prefix))
    box = {"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": BLUE, "linewidth": 1.5}
    for factor in product.factors:
        # The factor df2/da2 belongs to the edge that leads into f2, and dL/df2 to the one into L.
        x = column[_top(factor.name)] - 0.5
        text = f"{_symbol(factor.name)}\n${_number(factor.value)}$"
        ax.text(x, y, text, ha="center", va="center", fontsize=SMALL, bbox=box, gid="factor")
        ax.plot([x, x], [-0.1, y], color=GREY, linewidth=1, linestyle=":", zorder=0)


def _top(derivative: str) -> str:
    """Return the numerator's quantity: f2 of df2/da2."""
    return derivative.partition("/")[0][1:]


def _number(value: Array) -> str:
    return f"{np.asarray(value).item():.4g}"


def _symbol(name: str) -> str:
    """Return a name for mathtext: f2 with its index, and df2/da2 as a fraction of partial derivatives."""
    indexed = re.sub(r"([A-Za-z])(\d+)", r"\1_{\2}", name)
    top, slash, bottom = indexed.partition("/")
    derivative = r"\partial ".join
    return rf"$\dfrac{{{derivative(['', top[1:]])}}}{{{derivative(['', bottom[1:]])}}}$" if slash else f"${indexed}$"


def _node(ax: Axes, x: float, symbol: str, formula: str, value: str) -> None:
    """Draw a quantity of the forward pass: its name and value in a circle, and its formula above."""
    box = {"boxstyle": "round,pad=0.35", "facecolor": "#FFF3D6", "edgecolor": BLACK, "linewidth": 1.5}
    ax.text(x, 0, f"{symbol}\n${value}$", ha="center", va="center", fontsize=SMALL, bbox=box, gid="node")
    breakable = formula.replace("_", " ").replace("(", " (").replace(", ", ",\N{NO-BREAK SPACE}")
    words = "\n".join(textwrap.wrap(breakable, WRAP))
    ax.text(x, 0.42, words, ha="center", va="bottom", fontsize=SMALL - 1)


def _reuse(ax: Axes, left: float, right: float, y: float, value: str) -> None:
    """Draw the bar of a prefix that is computed already, below the edges from node ``left`` to node ``right``."""
    options = {"boxstyle": "round,pad=0.02", "facecolor": "#D8D8D8", "edgecolor": BLACK}
    ax.add_patch(matplotlib("patches").FancyBboxPatch((left + 0.08, y - 0.36), right - left - 0.16, 0.72, **options))
    words = "already computed,\nre-use (propagate)!" if right - left > 1 else "re-use!"
    centre = (left + right) / 2
    ax.text(centre, y, f"{words}\n${value}$", ha="center", va="center", fontsize=SMALL, gid="re-use")
