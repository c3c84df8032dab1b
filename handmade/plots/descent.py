"""Gradient descent of System 6: steps on a curve, and paths on a contour map or a surface."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .._steps import bind
from .._types import Array, Loss, Optimizer
from .._validation import check_count, check_finite
from ..checking.network_loss import NetworkLoss
from ..network import Network
from ..optimizers import SGD
from ._drawing import (
    BLACK,
    BLUE,
    LARGE,
    SLIDE,
    SMALL,
    VERMILLION,
    axes_for,
    check_network,
    figure_of,
    label,
    parameter_symbols,
    steps_text,
    styles,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def _descend(
    network: Network, X: Any, y: Any, loss: Loss, optimizer: Optimizer, steps: int
) -> tuple[Array, Array, Array]:
    """Return theta, loss and gradient before the first step and after each, on copies of network and optimizer."""
    network, optimizer = copy.deepcopy(network), copy.deepcopy(optimizer)
    bind(optimizer, network)
    points = []
    with np.errstate(over="ignore", invalid="ignore"):  # the test below names them
        for step in range(steps + 1):
            value, gradient = network.loss_and_gradient(X, y, loss=loss)
            points.append((network.theta.copy(), float(value), gradient.copy()))
            if not all(np.isfinite(array).all() for array in points[-1]):
                raise ValueError(
                    f"descent: overflow after {step} steps of {optimizer!r}; take a smaller lr or fewer steps"
                )
            optimizer.step(network.theta, gradient)
    thetas, values, gradients = zip(*points, strict=True)
    return np.array(thetas), np.array(values), np.array(gradients)


@np.errstate(over="ignore", invalid="ignore")  # callers check that the losses are finite
def _losses_along_first(f: NetworkLoss, theta: Array, values: Array) -> Array:
    """Return the losses where the first parameter takes these values and the others stay at theta."""
    return f.moved(theta, np.zeros(len(values), np.intp), values)


def _check_descent(network: Network, parameters: int, steps: int) -> None:
    check_network(network)
    check_count(steps, "steps")
    if network.parameter_count != parameters:
        raise ValueError(
            f"network: expected {parameters} parameter(s) to draw the loss over, got {network.parameter_count}; "
            f"for example MLP([{parameters}, 1], bias=False)"
        )


def descent_1d(
    network: Network,
    X: Any,
    y: Any,
    *,
    lr: float = 0.1,
    steps: int = 8,
    loss: Loss = "half_squared_error",
    ax: Axes | None = None,
) -> Figure:
    """Draw gradient descent on the loss curve of a network with one parameter: the smallest perceptron, yhat = w x.

    Parameters
    ----------
    network : Network
        A network of one parameter; the descent starts at its value.
    X, y : array_like
        The samples, as `Network.loss_and_gradient` takes them.
    lr : float
        The learning rate eta. Above 2 / curvature the steps climb.
    steps : int
        Number of steps.
    loss : str, callable, functools.partial or (callable, callable)
        See `handmade.losses.find_loss`.
    ax : matplotlib Axes, optional
        The axes to draw in.

    Returns
    -------
    matplotlib Figure
        The curve, the steps on it, and where each step starts the tangent, whose slope is dL/dw.

    Raises
    ------
    ValueError
        If the network has more parameters or none, the descent overflows, or the data do not fit.
    TypeError
        If ``network`` is not a Network, or lr or steps is not a number.

    Examples
    --------
    L = 1/2 (2 - w)^2, whose slope at w = 0 is -2:

    >>> smallest = hm.MLP([1, 1], bias=False, weight_init="zeros")
    >>> figure = hm.plots.descent_1d(smallest, [[1.0]], [[2.0]], lr=0.5, steps=3)
    >>> curve, steps, *tangents = figure.axes[0].lines
    >>> steps.get_xdata()
    array([0.  , 1.  , 1.5 , 1.75])
    """
    _check_descent(network, 1, steps)
    w, values, slopes = _descend(network, X, y, loss, SGD(lr=lr), steps)
    w, slopes = w[:, 0], slopes[:, 0]
    grid, curve = _curve_around(NetworkLoss(network, X, y, loss), w)
    (symbol,) = parameter_symbols(network)

    ax = axes_for(ax)
    ax.plot(grid, curve, color=BLACK, linewidth=2.5, label=rf"loss  $\mathcal{{L}}({symbol})$")
    step = rf"steps  ${symbol} \leftarrow {symbol} - \eta\, d\mathcal{{L}}/d{symbol}$"
    ax.plot(w, values, color=VERMILLION, linestyle="--", linewidth=1.5, marker="o", markersize=9, label=step, zorder=3)
    for n in range(steps):
        name = rf"slope  $d\mathcal{{L}}/d{symbol}$" if n == 0 else None
        _tangent_and_arrow(ax, w[n : n + 2], values[n : n + 2], slopes[n], 0.1 * np.ptp(grid), name)
    label(ax, f"${symbol}$", r"$\mathcal{L}$", rf"$\eta = {float(lr):g}$,  {steps_text(steps)}", "upper center")
    return figure_of(ax)


def _curve_around(f: NetworkLoss, w: Array) -> tuple[Array, Array]:
    """Return a grid around the lowest loss that holds all steps, and the losses there."""
    nearby = np.linspace(w.min() - np.ptp(w), w.max() + np.ptp(w), 201)
    lowest = nearby[_losses_along_first(f, w[:1], nearby).argmin()]
    reach = 1.15 * np.abs(w - lowest).max() or 1.0
    grid = np.linspace(lowest - reach, lowest + reach, 201)
    return grid, _losses_along_first(f, w[:1], grid)


def _tangent_and_arrow(ax: Axes, w: Array, values: Array, slope: float, reach: float, name: str | None) -> None:
    """Draw the tangent at the first of two points, and the arrow of the step to the second."""
    ends = w[0] + reach * np.array([-1, 1])
    ax.plot(ends, values[0] + slope * (ends - w[0]), color=BLUE, linewidth=2, linestyle="-.", label=name)
    arrow = {"arrowstyle": "-|>", "color": VERMILLION, "linewidth": 2, "shrinkA": 6, "shrinkB": 6, "mutation_scale": 20}
    ax.annotate("", (w[1], values[1]), (w[0], values[0]), arrowprops=arrow)


def descent_2d(
    network: Network,
    X: Any,
    y: Any,
    optimizers: Mapping[str, Optimizer] | None = None,
    *,
    steps: int = 20,
    loss: Loss = "half_squared_error",
    surface: bool = False,
    ax: Axes | None = None,
) -> Figure:
    """Draw the paths of optimizers on the contour map of a network with two parameters, or on its surface.

    Parameters
    ----------
    network : Network
        A network of two parameters, such as the second smallest perceptron; all paths start at their values.
    X, y : array_like
        The samples, as `Network.loss_and_gradient` takes them; each step uses all of them.
    optimizers : mapping of str to optimizer, optional
        The optimizer of each path, by the path's name; ``{"SGD": SGD(lr=0.1)}`` by default. Copies take the steps.
    steps : int
        Number of steps of each.
    loss : str, callable, functools.partial or (callable, callable)
        See `handmade.losses.find_loss`.
    surface : bool
        Draw the loss as a height.
    ax : matplotlib Axes, optional
        The axes to draw in; made with ``projection="3d"`` for a surface.

    Returns
    -------
    matplotlib Figure
        One line per optimizer. The contours are rings at even distances where the loss is a round bowl.

    Raises
    ------
    ValueError
        If the network does not have two parameters, the loss does not depend on them, a descent overflows, or the data
        do not fit.
    TypeError
        If ``optimizers`` is not a mapping, or ``network`` is not a Network.

    Examples
    --------
    >>> second_smallest = hm.MLP([2, 1], bias=False, weight_init="zeros")
    >>> X, y = [[1.0, 0.0], [0.0, 2.0]], [[1.0], [2.0]]
    >>> figure = hm.plots.descent_2d(second_smallest, X, y, {"SGD": hm.SGD(lr=0.25)}, steps=2)
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
    landscape = _landscape(NetworkLoss(network, X, y, loss), np.concatenate([thetas for thetas, _ in paths.values()]))
    w1, w2 = parameter_symbols(network)

    ax = axes_for(ax, (8.0, 6.5) if surface else SLIDE, "3d" if surface else "rectilinear")
    (_surface if surface else _contours)(ax, *landscape)
    for (name, (thetas, values)), style in zip(paths.items(), styles(first=1), strict=False):
        options = style | {"linewidth": 2.5, "markersize": 8, "zorder": 5}
        if style["markerfacecolor"] != "white":
            options["markeredgecolor"] = "white"
        ax.plot(*thetas.T, *([values] if surface else []), label=name, **options)
    title = steps_text(steps) if surface else rf"contours of  $\mathcal{{L}}$,  {steps_text(steps)}"
    label(ax, f"${w1}$", f"${w2}$", title, "upper left")
    return figure_of(ax)


def _landscape(f: NetworkLoss, visited: Array) -> tuple[Array, Array, Array]:
    """Return a grid of both parameters around the visited points, and the losses on it."""
    margin = 0.25 * np.ptp(visited, axis=0).max() or 1.0
    W1, W2 = np.meshgrid(*np.linspace(visited.min(axis=0) - margin, visited.max(axis=0) + margin, 101).T)
    starts = np.column_stack([W1[:, 0], W2[:, 0]])
    L = np.array([_losses_along_first(f, theta, row) for theta, row in zip(starts, W1, strict=True)])
    check_finite(L, "loss around the path")
    if L.min() == L.max():
        raise ValueError(f"network: expected a loss that depends on the parameters, got {L[0, 0]:g} all around")
    return W1, W2, L


def _contours(ax: Axes, W1: Array, W2: Array, L: Array) -> None:
    levels = L.min() + np.ptp(L) * np.linspace(0, 1, 16)[1:-1] ** 2
    contours = ax.contour(W1, W2, L, levels, cmap="cividis", vmax=L.min() + 1.5 * np.ptp(L))  # none too pale
    ax.clabel(contours, levels[::2], fontsize=SMALL, fmt="%.3g")


def _surface(ax: Any, W1: Array, W2: Array, L: Array) -> None:
    ax.computed_zorder = False  # otherwise the surface covers paths that lie on it
    # Every second line: then all faces have the same number of corners. Matplotlib pads the others with numbers that
    # are not initialized.
    ax.plot_surface(W1, W2, L, cmap="cividis", alpha=0.6, rcount=51, ccount=51, edgecolor="white", linewidth=0.2)
    ax.set_zlabel(r"$\mathcal{L}$", fontsize=LARGE, labelpad=12)
    ax.view_init(elev=38, azim=-60)
    ax.set_box_aspect(None, zoom=0.88)
    ax.xaxis.labelpad = ax.yaxis.labelpad = 12
    ax.locator_params(nbins=5)
