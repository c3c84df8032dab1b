"""The lecture's pictures: losses, descent, knobs, networks, the chain rule, and how training went.

Every function returns a matplotlib Figure, to be saved (``figure.savefig("losses.pdf")``) or shown by a notebook. It
opens no window and knows nothing of pyplot; matplotlib itself is imported when the first picture is drawn. Where there
is an ``ax``, the picture goes into those axes instead of a figure of its own. Nothing that is drawn is changed.

Colours are those of Okabe and Ito (2008), told apart by the colour-blind, or the map cividis; what a colour says, a
line style, a marker or a word says too, for those who print in black and white.
"""

from __future__ import annotations

import copy
import importlib
import itertools
import math
import re
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ._validation import check_count, check_finite
from .activations import sigmoid, softmax
from .chain_rule import Trace
from .checking.network_loss import NetworkLoss
from .layers import Activation, Dense
from .losses import Loss, hinge_loss, l1_loss, mse_loss, zero_one_loss
from .network import Network
from .optimizers import SGD
from .training import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "losses",
    "descent_1d",
    "descent_2d",
    "knobs",
    "network",
    "chain_rule",
    "history",
    "decision_boundary",
    "hinton",
]

Array = np.ndarray

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
VISIBLE = 1 / 50  # of the width of the widest edge: below it, nobody sees an edge


# ---- what all of them share ----------------------------------------------------------------------------------------


def _matplotlib(module: str):
    """A module of matplotlib, imported when a picture needs it."""
    try:
        return importlib.import_module(f"matplotlib.{module}")
    except ImportError as error:
        raise ImportError("plots: expected matplotlib; install it with: pip install handmade[plots]") from error


def _axes(ax: Axes | None, size: tuple[float, float] = SLIDE, projection: str = "rectilinear") -> Axes:
    """The axes to draw in: the given ones, or those of a new figure."""
    if ax is None:
        figure = _matplotlib("figure").Figure(figsize=size, layout="constrained")
        return figure.add_subplot(projection=projection)
    if not isinstance(ax, _matplotlib("axes").Axes):
        raise TypeError(f"ax: expected matplotlib axes, got {type(ax).__name__}; give one of figure.subplots()")
    if ax.name != projection:
        raise ValueError(f"ax: expected axes with projection={projection!r}, got {ax.name!r}")
    return ax


def _words(ax: Axes, x: str, y: str, title: str = "", legend: str | None = None) -> None:
    """Labels, title and legend, in sizes for a slide."""
    ax.set_xlabel(x, fontsize=LARGE)
    ax.set_ylabel(y, fontsize=LARGE)
    ax.set_title(title, fontsize=LARGE)
    ax.tick_params(labelsize=MIDDLE)
    if legend:
        ax.legend(loc=legend, fontsize=MIDDLE, handlelength=3, framealpha=0.9)


def _count(axis, things: int) -> None:
    """Ticks at whole numbers alone, at two or more of them where there are as many things."""
    axis.get_major_locator().set_params(integer=True, min_n_ticks=min(things, 2))


def _as_drawing(ax: Axes, left: float, right: float, bottom: float, top: float) -> None:
    """No frame, no ticks, and a unit as long upwards as sideways."""
    ax.set_axis_off()
    ax.set_aspect("equal")
    ax.set_xlim(left, right)
    ax.set_ylim(bottom, top)


def _check_network(network: Network) -> None:
    if not isinstance(network, Network):
        raise TypeError(f"network: expected a Network, got {type(network).__name__}; wrap layers in Network([...])")
    check_finite(network.theta, "theta")


def _check_numbers(values, name: str) -> Array:
    """An array of finite numbers."""
    values = np.asarray(values)
    if values.dtype.kind not in "iuf":
        raise TypeError(f"{name}: expected numbers, got dtype {values.dtype}")
    check_finite(values, name)
    return values


def _symbols(network: Network) -> list[str]:
    """The lecture's name of each entry of theta, for mathtext: w or w1, w2 in one layer of one unit or in a chain.

    Elsewhere the layer stands above, and below the unit that a weight leads to and the one that it comes from.
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


# ---- System 5: losses ----------------------------------------------------------------------------------------------


def losses(*, ax: Axes | None = None) -> Figure:
    """The four losses of System 5 for the target y = 1, over the prediction.

    Where y is 1, the prediction yhat is also the margin y yhat that hinge and zero-one loss look at; the error
    yhat - y, which L1 and L2 look at, is marked at the top. The zero-one loss is that of the label sign(yhat), and the
    sign of zero is +1.

    Parameters
    ----------
    ax : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib Figure
        One line per loss, computed by `handmade.losses`.

    Examples
    --------
    >>> figure = losses()
    >>> for line in figure.axes[0].lines[:4]:
    ...     print(line.get_label(), line.get_ydata()[0])  # at yhat = -1.5
    L1  $|\\hat{y} - y|$ 2.5
    L2  $(\\hat{y} - y)^2$ 6.25
    zero-one  $1[\\mathrm{sign}(\\hat{y}) \\neq y]$ 1.0
    hinge  $\\max(0, 1 - y\\hat{y})$ 2.5
    """
    yhat = np.linspace(-1.5, 3.5, 201)  # holds 0 and 1, where they jump and bend
    y = np.ones_like(yhat)
    curves = {
        r"L1  $|\hat{y} - y|$": l1_loss(yhat, y, reduction="none"),
        r"L2  $(\hat{y} - y)^2$": mse_loss(yhat, y, reduction="none"),
        r"zero-one  $1[\mathrm{sign}(\hat{y}) \neq y]$": zero_one_loss(np.where(yhat >= 0, 1.0, -1.0), y, "none"),
        r"hinge  $\max(0, 1 - y\hat{y})$": hinge_loss(yhat, y, reduction="none"),
    }
    ax = _axes(ax)
    for n, ((label, values), (colour, line, marker)) in enumerate(zip(curves.items(), STYLES, strict=False)):
        options = dict(color=colour, linestyle=line, linewidth=3, marker=marker, markersize=9, markevery=(5 * n, 20))
        ax.plot(yhat, values, label=label, drawstyle="steps-post" if "zero-one" in label else "default", **options)
    ax.axvline(1, color=GREY, linewidth=1, zorder=0)
    ax.set_ylim(-0.1, 4)
    errors = ax.secondary_xaxis("top", functions=(lambda yhat: yhat - 1, lambda error: error + 1))
    errors.set_xlabel(r"error  $\hat{y} - y$", fontsize=LARGE)
    errors.tick_params(labelsize=MIDDLE)
    x_label = r"prediction  $\hat{y}$  (= margin  $y\hat{y}$, as $y = 1$)"
    _words(ax, x_label, r"loss  $\ell(\hat{y}, y)$", legend="upper center")
    return ax.figure


# ---- System 6: gradient descent ------------------------------------------------------------------------------------


def _descend(network: Network, X, y, loss: Loss, optimizer, steps: int) -> tuple[Array, Array, Array]:
    """theta, loss and gradient before the first step and after each, on copies of network and optimizer."""
    network, optimizer = copy.deepcopy(network), copy.deepcopy(optimizer)
    points = []
    with np.errstate(over="ignore", invalid="ignore"):  # found below
        for step in range(steps + 1):
            value, gradient = network.loss_and_gradient(X, y, loss=loss)
            points.append((network.theta.copy(), float(value), gradient.copy()))
            if not all(np.isfinite(array).all() for array in points[-1]):
                raise ValueError(f"descent: overflow after {step} steps of {optimizer!r}; take a smaller lr, or fewer")
            optimizer.step(network.theta, gradient)
    thetas, values, gradients = zip(*points, strict=True)
    return np.array(thetas), np.array(values), np.array(gradients)


@np.errstate(over="ignore", invalid="ignore")  # found by who needs finite numbers
def _along_first(f: NetworkLoss, theta: Array, values: Array) -> Array:
    """The losses where the first parameter takes these values and the others stay at theta."""
    return f.moved(theta, np.zeros(len(values), np.intp), values)


def _check_descent(network: Network, parameters: int, steps: int) -> None:
    _check_network(network)
    check_count(steps, "steps")
    if network.parameter_count != parameters:
        raise ValueError(
            f"network: expected {parameters} parameter(s) to draw the loss over, got {network.parameter_count}; "
            f"for example MLP([{parameters}, 1], bias=False)"
        )


def descent_1d(
    network: Network,
    X,
    y,
    *,
    lr: float = 0.1,
    steps: int = 8,
    loss: Loss = "half_squared_error",
    ax: Axes | None = None,
) -> Figure:
    """Gradient descent on the loss curve of a network with one parameter: the smallest perceptron, yhat = w x.

    Parameters
    ----------
    network : Network
        Of one parameter; the descent starts where it is.
    X, y : array_like
        The samples, as `Network.loss_and_gradient` takes them.
    lr : float
        The learning rate eta. Above 2 / curvature the steps climb: worth a look.
    steps : int
        How many.
    loss : str, callable, functools.partial or (callable, callable)
        See `handmade.losses.find_loss`.
    ax : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib Figure
        The curve, the steps on it, and the tangent, whose slope is dL/dw, where a step starts.

    Raises
    ------
    ValueError
        If the network has more parameters or none, the descent overflows, or the data do not fit.
    TypeError
        If the network is none, or lr or steps is not a number.

    Examples
    --------
    L = 1/2 (2 - w)^2, whose slope at w = 0 is -2:

    >>> from handmade.network import MLP
    >>> smallest = MLP([1, 1], bias=False, weight_init="zeros")
    >>> figure = descent_1d(smallest, [[1.0]], [[2.0]], lr=0.5, steps=3)
    >>> curve, steps, *tangents = figure.axes[0].lines
    >>> steps.get_xdata()
    array([0.  , 1.  , 1.5 , 1.75])
    """
    _check_descent(network, 1, steps)
    w, values, slopes = _descend(network, X, y, loss, SGD(lr=lr), steps)
    w, slopes = w[:, 0], slopes[:, 0]
    f = NetworkLoss(network, X, y, loss)
    nearby = np.linspace(w.min() - np.ptp(w), w.max() + np.ptp(w), 201)
    lowest = nearby[_along_first(f, w[:1], nearby).argmin()]
    reach = 1.15 * np.abs(w - lowest).max() or 1.0
    grid = np.linspace(lowest - reach, lowest + reach, 201)
    (symbol,) = _symbols(network)

    ax = _axes(ax)
    ax.plot(grid, _along_first(f, w[:1], grid), color=BLACK, linewidth=2.5, label=rf"loss  $\mathcal{{L}}({symbol})$")
    step = rf"steps  ${symbol} \leftarrow {symbol} - \eta\, d\mathcal{{L}}/d{symbol}$"
    ax.plot(w, values, color=VERMILLION, linestyle="--", linewidth=1.5, marker="o", markersize=9, label=step, zorder=3)
    for n in range(steps):
        ends = w[n] + 0.2 * reach * np.array([-1, 1])
        label = rf"slope  $d\mathcal{{L}}/d{symbol}$" if n == 0 else None
        ax.plot(ends, values[n] + slopes[n] * (ends - w[n]), color=BLUE, linewidth=2, linestyle="-.", label=label)
        arrow = dict(arrowstyle="-|>", color=VERMILLION, linewidth=2, shrinkA=6, shrinkB=6, mutation_scale=20)
        ax.annotate("", (w[n + 1], values[n + 1]), (w[n], values[n]), arrowprops=arrow)
    _words(ax, f"${symbol}$", r"$\mathcal{L}$", rf"$\eta = {lr:g}$,  {steps} steps", "upper center")
    return ax.figure


def descent_2d(
    network: Network,
    X,
    y,
    optimizers: Mapping[str, object] | None = None,
    *,
    steps: int = 20,
    loss: Loss = "half_squared_error",
    surface: bool = False,
    ax: Axes | None = None,
) -> Figure:
    """The paths of optimizers on the contour map of a network with two parameters, or on its surface.

    Parameters
    ----------
    network : Network
        Of two parameters, such as the second smallest perceptron; all paths start where it is.
    X, y : array_like
        The samples, as `Network.loss_and_gradient` takes them; each step sees all of them.
    optimizers : mapping of str to optimizer, optional
        What to call each path, and what takes its steps; ``{"SGD": SGD(lr=0.1)}`` unless given. Copies are used.
    steps : int
        How many each takes.
    loss : str, callable, functools.partial or (callable, callable)
        See `handmade.losses.find_loss`.
    surface : bool
        Draw the loss as a height.
    ax : matplotlib Axes, optional
        Where to draw; made with ``projection="3d"`` for a surface.

    Returns
    -------
    matplotlib Figure
        One line per optimizer. The contours are rings at even distances where the loss is a round bowl.

    Raises
    ------
    ValueError
        If the network has not two parameters, the loss does not depend on them, a descent overflows, or the data do
        not fit.
    TypeError
        If ``optimizers`` is not a mapping, or the network is none.

    Examples
    --------
    >>> from handmade import MLP, SGD
    >>> second_smallest = MLP([2, 1], bias=False, weight_init="zeros")
    >>> X, y = [[1.0, 0.0], [0.0, 2.0]], [[1.0], [2.0]]
    >>> figure = descent_2d(second_smallest, X, y, {"SGD": SGD(lr=0.25)}, steps=2)
    >>> (path,) = figure.axes[0].lines
    >>> np.transpose(path.get_data())
    array([[0.      , 0.      ],
           [0.125   , 0.5     ],
           [0.234375, 0.75    ]])
    """
    _check_descent(network, 2, steps)
    optimizers = {"SGD": SGD(lr=0.1)} if optimizers is None else optimizers
    if not isinstance(optimizers, Mapping) or not optimizers:
        raise TypeError(f"optimizers: expected a mapping of names to optimizers, got {optimizers!r}")
    paths = {name: _descend(network, X, y, loss, optimizer, steps)[:2] for name, optimizer in optimizers.items()}
    visited = np.concatenate([thetas for thetas, _ in paths.values()])
    margin = 0.25 * np.ptp(visited, axis=0).max() or 1.0
    W1, W2 = np.meshgrid(*np.linspace(visited.min(axis=0) - margin, visited.max(axis=0) + margin, 101).T)
    f = NetworkLoss(network, X, y, loss)
    starts = np.column_stack([W1[:, 0], W2[:, 0]])
    L = np.array([_along_first(f, theta, row) for theta, row in zip(starts, W1, strict=True)])
    check_finite(L, "loss around the path")
    if L.min() == L.max():
        raise ValueError(f"network: expected a loss that depends on the parameters, got {L[0, 0]:g} all around")
    w1, w2 = _symbols(network)

    size, projection, title = SLIDE, "rectilinear", rf"contours of  $\mathcal{{L}}$,  {steps} steps"
    if surface:
        size, projection, title = (8.0, 6.5), "3d", f"{steps} steps"
    ax = _axes(ax, size, projection)
    if surface:
        ax.computed_zorder = False  # or the surface covers paths that lie on it
        # Every second line: all faces have as many corners then, and matplotlib fills up none with what memory holds.
        ax.plot_surface(W1, W2, L, cmap="cividis", alpha=0.6, rcount=51, ccount=51, edgecolor="white", linewidth=0.2)
        ax.set_zlabel(r"$\mathcal{L}$", fontsize=LARGE, labelpad=12)
        ax.view_init(elev=38, azim=-60)
        ax.set_box_aspect(None, zoom=0.88)
        ax.xaxis.labelpad = ax.yaxis.labelpad = 12
    else:
        levels = L.min() + np.ptp(L) * np.linspace(0, 1, 16)[1:-1] ** 2
        contours = ax.contour(W1, W2, L, levels, cmap="cividis", vmax=L.min() + 1.5 * np.ptp(L))  # none too pale
        ax.clabel(contours, fontsize=SMALL, fmt="%.3g")
    styles = itertools.cycle(STYLES[1:] + STYLES[:1])
    for (name, (thetas, values)), (colour, line, marker) in zip(paths.items(), styles, strict=False):
        options = dict(color=colour, linestyle=line, marker=marker, linewidth=2.5, markersize=8, zorder=5, label=name)
        ax.plot(*thetas.T, *([values] if surface else []), markeredgecolor="white", **options)
    _words(ax, f"${w1}$", f"${w2}$", title, "upper left")
    return ax.figure


def knobs(
    network: Network, X, y, *, loss: Loss = "half_squared_error", sample_weight=None, ax: Axes | None = None
) -> Figure:
    """Knobs on a machine: each parameter as a knob, and its partial derivative as how to turn it.

    A pointer straight up is the value 0, to the right positive; all knobs end at the largest value in size. The arrow
    turns against the gradient, the way that lowers the loss, and is as long as the derivative is large.

    Parameters
    ----------
    network : Network
        Of at most 40 parameters.
    X, y, loss, sample_weight
        As in `Network.loss_and_gradient`.
    ax : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib Figure
        A small change dw of a knob changes the loss by dL/dw dw.

    Raises
    ------
    ValueError
        If the network has more than 40 parameters or none, or the data do not fit.
    TypeError
        If the network is none.

    Examples
    --------
    L = 1/2 (2 - w x)^2 at w = 1/2 and x = 1, whose slope is -3/2:

    >>> from handmade.network import MLP
    >>> smallest = MLP([1, 1], bias=False)
    >>> smallest.theta[:] = 0.5
    >>> [text.get_text() for text in knobs(smallest, [[1.0]], [[2.0]]).axes[0].texts]
    ['$w = 0.5$', '$\\\\partial\\\\mathcal{L}/\\\\partial w = -1.5$']
    """
    _check_network(network)
    count = network.parameter_count
    if not 1 <= count <= 40:
        raise ValueError(f"network: expected 1 to 40 parameters, one knob each, got {count}")
    value, gradient = copy.deepcopy(network).loss_and_gradient(X, y, loss=loss, sample_weight=sample_weight)
    pointers = 0.75 * np.pi * network.theta / (np.abs(network.theta).max() or 1.0)
    turns = -0.5 * np.pi * gradient / (np.abs(gradient).max() or 1.0)

    columns = math.ceil(math.sqrt(1.8 * count))
    rows = math.ceil(count / columns)
    ax = _axes(ax, (max(6.0, 2.1 * columns), max(3.5, 2.1 * rows)))
    labels = zip(_symbols(network), network.theta, gradient, strict=True)
    for n, ((symbol, w, slope), pointer, turn) in enumerate(zip(labels, pointers, turns, strict=True)):
        centre = np.array([3.8 * (n % columns), -3.8 * (n // columns)])
        _knob(ax, centre, pointer, turn)
        ax.text(*centre - (0, 1.5), f"${symbol} = {w:.3g}$", ha="center", va="center", fontsize=SMALL)
        derivative = rf"$\partial\mathcal{{L}}/\partial {symbol} = {slope:.2g}$"
        ax.text(*centre - (0, 2.12), derivative, ha="center", va="center", fontsize=SMALL)
    ax.set_title(rf"$\mathcal{{L}} = {value:.4g}$;  arrows: the turns that lower it", fontsize=MIDDLE)
    _as_drawing(ax, -1.9, 3.8 * (min(count, columns) - 1) + 1.9, -3.8 * (rows - 1) - 2.6, 1.6)
    return ax.figure


def _clockwise(angle, radius: float) -> Array:
    """Points of a circle; the angle 0 is at the top."""
    return radius * np.stack([np.sin(angle), np.cos(angle)], axis=-1)


def _knob(ax: Axes, centre: Array, pointer: float, turn: float) -> None:
    """A dial with its scale, the pointer, and around it the arrow of the turn."""
    patches = _matplotlib("patches")
    ax.add_patch(patches.Circle(centre, 0.85, facecolor="#E8E8E8", edgecolor=BLACK, linewidth=1.5))
    for angle in np.linspace(-0.75, 0.75, 7) * np.pi:
        ax.plot(*np.transpose(centre + np.outer([0.9, 1.02], _clockwise(angle, 1))), color=GREY, linewidth=1.5)
    ax.plot(*np.transpose([centre, centre + _clockwise(pointer, 0.8)]), color=BLACK, linewidth=4, gid="pointer")
    arc = centre + _clockwise(np.linspace(pointer, pointer + turn, 50), 1.2)
    ax.plot(*arc.T, color=VERMILLION, linewidth=3, gid="turn")
    if turn:
        style = dict(arrowstyle="-|>", mutation_scale=16, color=VERMILLION, shrinkA=0, shrinkB=0)
        tangent = math.copysign(1, turn) * _clockwise(pointer + turn + np.pi / 2, 0.25)
        ax.add_patch(patches.FancyArrowPatch(arc[-1], arc[-1] + tangent, **style))


# ---- Systems 3 and 4: the network ----------------------------------------------------------------------------------


def network(
    network: Network, *, x=None, vector: Array | None = None, max_units: int = 10, ax: Axes | None = None
) -> Figure:
    """A network drawn: a circle per unit, an edge per weight, and a stub from above per bias.

    An edge is as wide as its weight is large, solid where it is positive, dashed where it is negative; those below a
    fiftieth of the largest drawn are left out.

    Parameters
    ----------
    network : Network
        Layers in one row; what is not Dense is named at the foot of its column.
    x : array_like, shape (I,), optional
        An input: the units are filled with what they put out for it.
    vector : ndarray, shape (P,), optional
        What the edges show; theta unless given. ``network.gradient`` draws the gradient.
    max_units : int
        Of a wider layer the first and the last units are drawn, with an ellipsis between.
    ax : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib Figure
        The picture.

    Raises
    ------
    ValueError
        If there is no Dense layer or a layer that skips or splits, or x or the vector does not fit.
    TypeError
        If the network is none.

    Examples
    --------
    >>> from handmade import MLP
    >>> figure = network(MLP([64, 32, 10], rng=0))
    >>> [text.get_text() for text in figure.axes[0].texts if text.get_text() != "⋮"]
    ['input\\n64', 'relu\\n32', 'linear\\n10']
    """
    _check_network(network)
    check_count(max_units, "max_units", least=3)
    dense = _dense_layers(network)
    blocks = network.blocks(network.theta if vector is None else _check_numbers(vector, "vector"))
    outputs = None if x is None else _unit_outputs(network, x)
    widths = [network.layers[dense[0]].in_features, *(network.layers[i].neuron_count for i in dense)]
    columns = [_places(width, max_units) for width in widths]
    height = max(len(shown) + (len(shown) < width) for (shown, _), width in zip(columns, widths, strict=True))
    across = max(1.6, 1.5 * height / len(dense))

    ax = _axes(ax)
    segments, weights = [], []
    for n, i in enumerate(dense):
        (below, low), (above, high) = columns[n : n + 2]
        W, b = blocks[f"{i}.weight"], blocks.get(f"{i}.bias")
        segments += [[(n * across, start), ((n + 1) * across, end)] for end in high for start in low]
        weights += W[np.ix_(above, below)].ravel().tolist()
        if b is not None:
            segments += [[((n + 1) * across, y + 0.52), ((n + 1) * across, y)] for y in high]
            weights += b[above].tolist()
    _edges(ax, np.array(segments), np.array(weights), widest=min(5.0, 24 / height))  # thinner where there are many
    _units(ax, columns, across, outputs, height)
    for n, (name, width) in enumerate(zip(_column_names(network), widths, strict=True)):
        ax.text(n * across, -height / 2 - 0.2, f"{name}\n{width}", ha="center", va="top", fontsize=MIDDLE)
        if len(columns[n][0]) < width:
            ax.text(n * across, _gap(max_units), "⋮", ha="center", va="center", fontsize=LARGE, fontweight="bold")
    _as_drawing(ax, -0.8, len(dense) * across + 0.8, -height / 2 - 0.2 - 0.16 * height, height / 2 + 0.3)
    return ax.figure


def _dense_layers(network: Network) -> list[int]:
    """Where the Dense layers are, in a network whose layers stand in one row."""
    for layer in network.layers:
        if any(leaf is not layer for _, leaf in layer.leaves()):
            raise ValueError(f"network: expected layers in one row, none that skips or splits, got {layer!r}")
    dense = [i for i, layer in enumerate(network.layers) if isinstance(layer, Dense)]
    if not dense:
        raise ValueError(f"network: expected at least one Dense layer, got {network!r}")
    return dense


def _column_names(network: Network) -> list[str]:
    """What the units of each column are: the layers between one Dense layer and the next."""
    names: list[list[str]] = [["input"]]
    for layer in network.layers:
        if isinstance(layer, Dense):
            names.append([])
        else:
            names[-1].append(layer.f.__name__ if isinstance(layer, Activation) else type(layer).__name__)
    return ["\n".join(column) or "linear" for column in names]


def _unit_outputs(network: Network, x) -> list[Array]:
    """The input and what the units of each Dense layer put out, their activation included."""
    x = np.asarray(x)
    H = network.check_input(x[np.newaxis] if x.ndim == 1 else x)
    if len(H) > 1:
        raise ValueError(f"x: expected one sample, got {len(H)}")
    outputs = [H[0]]
    for layer in network.layers:
        H = layer.predict(H)
        outputs[len(outputs) - (not isinstance(layer, Dense)) :] = [H[0]]
    return outputs


def _places(width: int, max_units: int) -> tuple[Array, Array]:
    """Which units of a layer are drawn, and at what height; of a wide layer not those in the middle."""
    slots = np.arange(min(width, max_units))
    heights = (len(slots) - 1) / 2 - slots
    if width <= max_units:
        return slots, heights
    drawn = slots != max_units // 2
    return np.where(slots < max_units // 2, slots, width - max_units + slots)[drawn], heights[drawn]


def _gap(max_units: int) -> float:
    """The height of the ellipsis."""
    return (max_units - 1) / 2 - max_units // 2


def _edges(ax: Axes, segments: Array, weights: Array, widest: float) -> None:
    """A line per weight, as wide as it is large: solid blue where positive, dashed vermillion where negative."""
    LineCollection, Line2D = _matplotlib("collections").LineCollection, _matplotlib("lines").Line2D
    largest = np.abs(weights).max()
    sizes = weights / (largest or 1.0)
    handles = []
    for label, colour, style, chosen in (
        ("positive", BLUE, "-", sizes >= VISIBLE),
        ("negative", VERMILLION, (0, (3, 1.5)), sizes <= -VISIBLE),
    ):
        options = dict(colors=colour, linestyles=[style], capstyle="butt", label=label, zorder=1)
        ax.add_collection(LineCollection(segments[chosen], linewidths=widest * np.abs(sizes[chosen]), **options))
        handles.append(Line2D([], [], color=colour, linestyle=style, linewidth=3, label=label))
    told = f"widest edge: {largest:.3g};  stub from above: bias"
    ax.legend(handles=handles, title=told, fontsize=SMALL, title_fontsize=SMALL, ncols=2, handlelength=3, frameon=False,
              loc="upper center", bbox_to_anchor=(0.5, 1.12))  # fmt: skip


def _units(ax: Axes, columns, across: float, outputs: list[Array] | None, height: int) -> None:
    """A circle per unit, filled with its output and, where there is room, the number in it."""
    places = [(n * across, y) for n, (_, heights) in enumerate(columns) for y in heights]
    circles = [_matplotlib("patches").Circle(place, 0.32) for place in places]
    PatchCollection = _matplotlib("collections").PatchCollection
    units = PatchCollection(circles, facecolor="white", edgecolor=BLACK, linewidth=1.5, zorder=2)
    ax.add_collection(units)
    if outputs is None:
        return
    values = np.concatenate([output[shown] for output, (shown, _) in zip(outputs, columns, strict=True)])
    units.set(array=values, cmap="cividis")
    bar = ax.figure.colorbar(units, shrink=0.8)
    bar.set_label("output of the unit", fontsize=MIDDLE)
    bar.ax.tick_params(labelsize=SMALL)
    if height <= 5:
        for place, value in zip(places, values, strict=True):
            colour = "white" if units.norm(value) < 0.5 else BLACK
            ax.text(*place, f"{value:.2g}", ha="center", va="center", fontsize=SMALL, color=colour)


# ---- Systems 8 and 9: the chain rule -------------------------------------------------------------------------------


def chain_rule(trace: Trace, *, ax: Axes | None = None) -> Figure:
    """The chain rule of a scalar chain: forward along the top, and below it each derivative as a product.

    A factor stands under the edge that it belongs to, so the products are read from the loss, on the right, to the
    left. The grey bar is the prefix that the row above has computed: "already computed, re-use (propagate)!"

    Parameters
    ----------
    trace : Trace
        What `handmade.trace` gives for a network of one unit per layer.
    ax : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib Figure
        The picture; all numbers to four digits.

    Raises
    ------
    ValueError
        If a layer has more than one unit or weight, or a number is not finite.
    TypeError
        If it is no Trace.

    Examples
    --------
    >>> from handmade import MLP, trace
    >>> chain = MLP([1, 1, 1], activation=["sigmoid", "sigmoid"], bias=False)
    >>> chain.theta[:] = [2.0, -1.0]
    >>> figure = chain_rule(trace(chain, 0.5, 1.0))
    >>> [text.get_text() for text in figure.axes[0].texts if text.get_gid() == "re-use"]
    ['already computed,\\nre-use (propagate)!\\n$-0.1481$']
    """
    if not isinstance(trace, Trace):
        raise TypeError(f"trace: expected a Trace, got {type(trace).__name__}; make it with handmade.trace")
    nodes = [(*_split_formula(formula), value) for formula, value in trace.forward]
    nodes.append((*_split_formula(trace.loss_formula), np.array(trace.loss)))
    for name, _, value in nodes:
        check_finite(value, name)
        if value.size > 1:
            raise ValueError(f"trace: expected a chain of one unit per layer, got {value.size} values of {name}")
    products, column = trace.products, {name: n for n, (name, _, _) in enumerate(nodes)}
    ax = _axes(ax, (max(8.0, 1.35 * (len(nodes) + 1.2)), 2.2 + 1.1 * len(products)))
    for n, (name, formula, value) in enumerate(nodes):
        _node(ax, n, _symbol(name), formula, _number(value))
    for n in range(len(nodes) - 1):
        ax.annotate("", (n + 0.7, 0), (n + 0.3, 0), arrowprops=dict(arrowstyle="-|>", linewidth=2, color=BLACK))
    for row, product in enumerate(products, 1):
        ax.text(-1.35, -row, f"{_symbol(product.name)} $= {_number(product.value)}$", va="center", fontsize=MIDDLE)
        if product.shared:
            _reuse(ax, column[_top(product.shared[-1].name)] - 1, len(nodes) - 1, -row, _number(product.prefix))
        for factor in product.factors:
            # The factor df2/da2 belongs to the edge that leads into f2, and dL/df2 to the one into L.
            x = column[_top(factor.name)] - 0.5
            text = f"{_symbol(factor.name)}\n${_number(factor.value)}$"
            box = dict(boxstyle="round,pad=0.25", facecolor="white", edgecolor=BLUE, linewidth=1.5)
            ax.text(x, -row, text, ha="center", va="center", fontsize=SMALL, bbox=box, gid="factor")
            ax.plot([x, x], [-0.1, -row], color=GREY, linewidth=1, linestyle=":", zorder=0)
    ax.set_axis_off()
    ax.set_xlim(-1.4, len(nodes) - 0.4)
    ax.set_ylim(-len(products) - 0.55, 0.9)
    return ax.figure


def _split_formula(formula: str) -> tuple[str, str]:
    """The name of a quantity and how it is computed; x is not computed."""
    name, _, right = formula.partition(" = ")
    return name, right


def _top(derivative: str) -> str:
    """What is derived: f2 of df2/da2."""
    return derivative.partition("/")[0][1:]


def _number(value: Array) -> str:
    return f"{np.asarray(value).item():.4g}"


def _symbol(name: str) -> str:
    """For mathtext: f2 with its index, and df2/da2 as a fraction of partial derivatives."""
    indexed = re.sub(r"([A-Za-z])(\d+)", r"\1_{\2}", name)
    top, slash, bottom = indexed.partition("/")
    derivative = r"\partial ".join
    return rf"$\dfrac{{{derivative(['', top[1:]])}}}{{{derivative(['', bottom[1:]])}}}$" if slash else f"${indexed}$"


def _node(ax: Axes, x: float, symbol: str, formula: str, value: str) -> None:
    """A quantity of the forward pass: its name and value in a circle, above it how it is computed."""
    box = dict(boxstyle="round,pad=0.35", facecolor="#FFF3D6", edgecolor=BLACK, linewidth=1.5)
    ax.text(x, 0, f"{symbol}\n${value}$", ha="center", va="center", fontsize=SMALL, bbox=box, gid="node")
    breakable = formula.replace("_", " ").replace("(", " (").replace(", ", ",\N{NO-BREAK SPACE}")
    words = "\n".join(textwrap.wrap(breakable, 13))
    ax.text(x, 0.42, words, ha="center", va="bottom", fontsize=SMALL - 1)


def _reuse(ax: Axes, left: float, right: float, y: float, value: str) -> None:
    """The bar of a prefix that is computed already, below the edges from node ``left`` to node ``right``."""
    options = dict(boxstyle="round,pad=0.02", facecolor="#D8D8D8", edgecolor=BLACK)
    ax.add_patch(_matplotlib("patches").FancyBboxPatch((left + 0.08, y - 0.36), right - left - 0.16, 0.72, **options))
    words = "already computed,\nre-use (propagate)!" if right - left > 1 else "re-use!"
    centre = (left + right) / 2
    ax.text(centre, y, f"{words}\n${value}$", ha="center", va="center", fontsize=SMALL, gid="re-use")


# ---- System 11: training -------------------------------------------------------------------------------------------


def history(history: History, *, axes=None) -> Figure:
    """How training went: the losses and, where there are metrics, a second panel for these; epochs count from 0.

    Parameters
    ----------
    history : History
        What `fit` returned.
    axes : sequence of matplotlib Axes, optional
        Where to draw: one for the losses, one more if there are metrics.

    Returns
    -------
    matplotlib Figure
        One line per series; the best epoch is marked where there are validation data.

    Raises
    ------
    ValueError
        If no epoch was finished, a number is not finite, or there are more or fewer axes than panels.
    TypeError
        If it is no History.

    Examples
    --------
    >>> from handmade import History
    >>> record = History(loss=[0.5, 0.25], validation_loss=[0.5, 0.75], metrics={"accuracy": [0.75, 0.5]})
    >>> [[line.get_label() for line in panel.lines] for panel in history(record).axes]
    [['training', 'validation', 'best epoch: 0'], ['accuracy']]
    """
    if not isinstance(history, History):
        raise TypeError(f"history: expected a History, got {type(history).__name__}; it is what fit returns")
    if not len(history):
        raise ValueError("history: expected at least one finished epoch, got none")
    panels = {"loss": {"training": history.loss}, "metric": dict(history.metrics)}
    if history.validation_loss:
        panels["loss"]["validation"] = history.validation_loss
    panels = {name: curves for name, curves in panels.items() if curves}
    for curves in panels.values():
        for name, values in curves.items():
            _check_numbers(values, f"history: {name}")
    if axes is None:
        axes = _matplotlib("figure").Figure(figsize=SLIDE, layout="constrained").subplots(1, len(panels), squeeze=False)
    axes = [_axes(ax) for ax in np.ravel(axes)]
    if len(axes) != len(panels):
        raise ValueError(f"axes: expected {len(panels)}, for {' and '.join(panels)}, got {len(axes)}")
    for ax, (panel, curves) in zip(axes, panels.items(), strict=True):
        for (name, values), (colour, line, marker) in zip(curves.items(), itertools.cycle(STYLES), strict=False):
            every = max(1, len(values) // 10)
            options = dict(color=colour, linestyle=line, linewidth=2.5, marker=marker, markersize=8, markevery=every)
            ax.plot(values, label=name, **options)
        if panel == "loss" and history.best_epoch is not None:
            label = f"best epoch: {history.best_epoch}"
            ax.axvline(history.best_epoch, color=BLACK, linestyle=(0, (1, 3)), linewidth=2, label=label)
        _count(ax.xaxis, len(history))
        ax.grid(color="#DDDDDD")
        _words(ax, "epoch", panel, legend="best")
    return axes[0].figure


# ---- what a network has learnt -------------------------------------------------------------------------------------


def decision_boundary(network: Network, X, y, *, resolution: int = 200, ax: Axes | None = None) -> Figure:
    """What a network of two inputs takes each point of the plane for, and the data.

    The shade of a class grows with its probability: softmax of the outputs, sigmoid of a single one, or the outputs
    themselves where the network ends in either. (Where it was trained for something else, the boundary between two or
    more outputs is still where they are equal, and the shade says which is larger.) The boundary is the line on which
    a class is as probable as its strongest rival.

    Parameters
    ----------
    network : Network
        With two inputs, and one output (of two classes) or one per class.
    X : array_like, shape (N, 2)
        The samples.
    y : array_like, shape (N,) or (N, 1)
        Their class indices.
    resolution : int
        How many points per side the network is asked about.
    ax : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib Figure
        Shades, boundaries and samples.

    Raises
    ------
    ValueError
        If the network has not two inputs, or X and y do not fit it.
    TypeError
        If the network is none.

    Examples
    --------
    >>> from handmade import MLP, data
    >>> network = MLP([2, 1])
    >>> network.theta[:] = [1.0, 1.0, -1.5]
    >>> figure = decision_boundary(network, [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 0, 0, 1])
    >>> [points.get_offsets().tolist() for points in figure.axes[0].collections if points.get_label() == "class 1"]
    [[[1.0, 1.0]]]
    """
    _check_network(network)
    check_count(resolution, "resolution", least=2)
    if network.in_features not in (None, 2):
        raise ValueError(f"network: expected 2 inputs, to draw as a plane, got {network.in_features}")
    X = network.check_input(X)
    if X.shape[1] != 2:
        raise ValueError(f"X: expected shape (N, 2), to draw as a plane, got {X.shape}")
    labels = _check_numbers(y, "y").reshape(-1)
    classes = _class_probabilities(network, X[:1]).shape[1]
    if len(labels) != len(X):
        raise ValueError(f"y: expected one class index per row of X {X.shape}, got shape {np.shape(y)}")
    strange = labels[~np.isin(labels, range(classes))]
    if strange.size:
        raise ValueError(f"y: expected class indices from 0 to {classes - 1}, got {strange[0]}")

    margin = 0.15 * np.ptp(X, axis=0) + 0.1 * (np.ptp(X) or 1.0)
    low, high = X.min(axis=0) - margin, X.max(axis=0) + margin
    sides = np.linspace(low, high, resolution).T
    grid = np.stack(np.meshgrid(*sides), axis=-1)
    P = _class_probabilities(network, grid.reshape(-1, 2)).reshape(resolution, resolution, classes)
    rival = np.stack([np.delete(P, k, axis=2).max(axis=2) for k in range(classes)], axis=2)
    styles = [style for _, style in zip(range(classes), itertools.cycle(STYLES), strict=False)]
    tints = np.array([_matplotlib("colors").to_rgb(colour) for colour, _, _ in styles])
    sureness = 0.15 + 0.5 * (P.max(axis=2, keepdims=True) - 1 / classes) / (1 - 1 / classes)

    ax = _axes(ax, (7.5, 6.0))
    shades = 1 - sureness * (1 - tints[P.argmax(axis=2)])
    extent = (low[0], high[0], low[1], high[1])
    ax.imshow(shades, origin="lower", extent=extent, aspect="auto", interpolation="bilinear")
    for k in range(1, classes):
        share = P[:, :, k] / (P[:, :, k] + rival[:, :, k])
        if share.min() < 0.5 < share.max():
            ax.contour(*sides, share, levels=[0.5], colors=BLACK, linewidths=2.5)
    for k, (colour, _, marker) in enumerate(styles):
        points = X[labels == k]
        options = dict(color=colour, marker=marker, s=70, edgecolors="white", linewidths=1, zorder=3)
        ax.scatter(*points.T, label=f"class {k}", **options)
    _words(ax, "$x_1$", "$x_2$", legend="upper right")
    return ax.figure


def _class_probabilities(network: Network, X: Array) -> Array:
    """One column per class, also of a single output."""
    H = network.predict(X).astype(np.float64)
    last = network.layers[-1]
    ended = last.f if isinstance(last, Activation) else None
    if H.shape[1] == 1:
        p = H if ended is sigmoid else sigmoid(H)
        return np.hstack([1 - p, p])
    return H if ended is softmax else softmax(H)


# ---- System 13: weights as squares ---------------------------------------------------------------------------------


def hinton(W, *, ax: Axes | None = None) -> Figure:
    """Weights as squares on grey, as Rumelhart, Hinton and Williams (1986, Fig. 4) draw what their units have learnt.

    White is positive, black negative; the area is the size.

    Parameters
    ----------
    W : array_like, shape (O, I) or (I,)
        One row per unit, as in `Dense`; a vector is one row.
    ax : matplotlib Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib Figure
        The largest weight has 0.9 of the side of its cell.

    Raises
    ------
    ValueError
        If W is empty, has more than two dimensions or a number that is not finite.
    TypeError
        If it holds something other than numbers.

    Examples
    --------
    >>> figure = hinton([[4.0, -1.0]])
    >>> [square.get_width() for square in figure.axes[0].patches]
    [0.9, 0.45]
    """
    W = np.atleast_2d(_check_numbers(W, "W"))
    if W.ndim != 2 or W.size == 0:
        raise ValueError(f"W: expected shape (O, I), at least one weight, got {W.shape}")
    largest = np.abs(W).max()
    ax = _axes(ax, (max(4.0, 0.5 * W.shape[1] + 1.5), max(3.0, 0.5 * W.shape[0] + 1.5)))
    Rectangle = _matplotlib("patches").Rectangle
    for (row, column), w in np.ndenumerate(W):
        if w:
            side = 0.9 * math.sqrt(abs(w) / largest)
            corner = column + 1 - side / 2, row + 1 - side / 2
            ax.add_patch(Rectangle(corner, side, side, facecolor="white" if w > 0 else BLACK, edgecolor="none"))
    ax.set_facecolor("#9A9A9A")
    ax.set_aspect("equal")
    ax.set_xlim(0.4, W.shape[1] + 0.6)
    ax.set_ylim(W.shape[0] + 0.6, 0.4)  # the first unit on top, as a matrix is read
    _count(ax.xaxis, W.shape[1])
    _count(ax.yaxis, W.shape[0])
    _words(ax, "from unit $i$", "to unit $j$", f"largest: {largest:.3g}")
    return ax.figure
