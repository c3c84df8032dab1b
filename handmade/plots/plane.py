"""The classes that a network of two inputs has learnt, in the plane of its inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._types import Array
from .._validation import check_count
from ..activations import sigmoid, softmax
from ..composites import last_layer
from ..layers import Activation
from ..network import Network
from ._drawing import BLACK, axes_for, check_network, check_numbers, figure_of, label, matplotlib, styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_POINTS = 4000  # per side: more than the pixels of a screen; the probabilities take 128 MB per class


def decision_boundary(network: Network, X: Any, y: Any, *, resolution: int = 200, ax: Axes | None = None) -> Figure:
    """Draw the class that a network of two inputs predicts at each point of the plane, and the data.

    The more probable a class is, the darker is its shade. Probabilities are the softmax of the outputs, the sigmoid of
    a single output, or the outputs themselves if the network ends with one of these. (For a network that was trained
    with another loss, the boundary is still where two outputs are equal, and the shade shows which one is larger.) On a
    boundary, a class is as probable as the most probable other class.

    Parameters
    ----------
    network : Network
        A network with two inputs, and one output (of two classes) or one per class.
    X : array_like, shape (N, 2)
        The samples.
    y : array_like, shape (N,) or (N, 1)
        Their class indices.
    resolution : int
        Number of points per side at which the network predicts, at most 4000.
    ax : matplotlib Axes, optional
        The axes to draw in.

    Returns
    -------
    matplotlib Figure
        Shades, boundaries and samples.

    Raises
    ------
    ValueError
        If the network does not have two inputs, X and y do not fit it, or the resolution is out of range.
    TypeError
        If ``network`` is not a Network.

    Examples
    --------
    >>> network = hm.MLP([2, 1])
    >>> network.theta[:] = [1.0, 1.0, -1.5]
    >>> figure = hm.plots.decision_boundary(network, [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 0, 0, 1])
    >>> [points.get_offsets().tolist() for points in figure.axes[0].collections if points.get_label() == "class 1"]
    [[[1.0, 1.0]]]
    """
    check_network(network)
    if check_count(resolution, "resolution", least=2) > MOST_POINTS:
        raise ValueError(f"resolution: expected at most {MOST_POINTS} points per side, got {resolution}; lower it")
    X = _check_samples(network, X)
    classes = _class_probabilities(network, X[:1]).shape[1]
    labels = _check_labels(y, len(X), classes)

    margin = 0.15 * np.ptp(X, axis=0) + 0.1 * (np.ptp(X) or 1.0)
    low, high = X.min(axis=0) - margin, X.max(axis=0) + margin
    sides = np.linspace(low, high, resolution).T
    grid = np.stack(np.meshgrid(*sides), axis=-1)
    P = _class_probabilities(network, grid.reshape(-1, 2)).reshape(resolution, resolution, classes)

    ax = axes_for(ax, (8.5, 5.6))
    looks = [style for _, style in zip(range(classes), styles(), strict=False)]
    extent = (low[0], high[0], low[1], high[1])
    tints = np.array([matplotlib("colors").to_rgb(look["color"]) for look in looks])
    ax.imshow(_shades(P, tints), origin="lower", extent=extent, aspect="auto", interpolation="bilinear")
    _boundaries(ax, sides, P)
    for k, look in enumerate(looks):
        face, edge = look["markerfacecolor"], look["color"]
        options: dict[str, Any] = {
            "facecolors": face,
            "edgecolors": "white" if face == edge else edge,
            "marker": look["marker"],
        }
        x1, x2 = X[labels == k].T
        ax.scatter(x1, x2, s=70, linewidths=1, label=f"class {k}", zorder=3, **options)
    label(ax, "$x_1$", "$x_2$", legend="outside")
    return figure_of(ax)


def _check_samples(network: Network, X: Any) -> Array:
    """Return X as an array of shape (N, 2), or raise if it or the network does not have two inputs."""
    if network.in_features not in (None, 2):
        raise ValueError(f"network: expected 2 inputs, to draw as a plane, got {network.in_features}")
    samples: Array = network.check_input(X)
    if samples.shape[1] != 2:
        raise ValueError(f"X: expected shape (N, 2), to draw as a plane, got {samples.shape}")
    return samples


def _check_labels(y: Any, N: int, classes: int) -> Array:
    """Return y as a vector of N class indices; raise if it is something else."""
    labels = check_numbers(y, "y").reshape(-1)
    if len(labels) != N:
        raise ValueError(f"y: expected one class index per row of X, which has {N}, got shape {np.shape(y)}")
    strange = labels[~np.isin(labels, range(classes))]
    if strange.size:
        raise ValueError(f"y: expected class indices from 0 to {classes - 1}, got {strange[0]}")
    return labels


def _class_probabilities(network: Network, X: Array) -> Array:
    """Return one column of probabilities per class, for a single output, too."""
    H = network.predict(X).astype(np.float64)
    last = last_layer(network)
    ended = last.f if isinstance(last, Activation) else None
    if H.shape[1] == 1:
        p = H if ended is sigmoid else sigmoid(H)
        return np.hstack([1 - p, p])
    return H if ended is softmax else softmax(H)


def _shades(P: Array, tints: Array) -> Array:
    """Return the colour of each point: the tint of its class, paler where the class is less probable."""
    classes = P.shape[2]
    sureness = 0.15 + 0.5 * (P.max(axis=2, keepdims=True) - 1 / classes) / (1 - 1 / classes)
    shades: Array = 1 - sureness * (1 - tints[P.argmax(axis=2)])
    return shades


def _boundaries(ax: Axes, sides: Array, P: Array) -> None:
    """Draw for each class but the first the line on which it is as probable as its strongest rival."""
    for k in range(1, P.shape[2]):
        rival = np.delete(P, k, axis=2).max(axis=2)
        share = P[:, :, k] / (P[:, :, k] + rival)
        if share.min() < 0.5 < share.max():
            ax.contour(*sides, share, levels=[0.5], colors=BLACK, linewidths=2.5)
