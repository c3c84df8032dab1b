"""The losses of System 5, drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._types import Array
from ..losses import hinge_loss, l1_loss, mse_loss, zero_one_loss
from ._drawing import GREY, LARGE, MIDDLE, axes_for, figure_of, label, styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def losses(*, ax: Axes | None = None) -> Figure:
    """Draw the four losses of System 5 for the target y = 1, over the prediction.

    With y = 1 the prediction yhat is also the margin y yhat, on which hinge and zero-one loss depend. The axis at the
    top shows the error yhat - y, on which L1 and L2 depend. The zero-one loss is that of the label sign(yhat), and the
    sign of zero is +1.

    Parameters
    ----------
    ax : matplotlib Axes, optional
        The axes to draw in.

    Returns
    -------
    matplotlib Figure
        One line per loss, computed by `handmade.losses`.

    Examples
    --------
    >>> figure = hm.plots.losses()
    >>> for line in figure.axes[0].lines[:4]:
    ...     print(line.get_label(), line.get_ydata()[0])  # at yhat = -1.5
    L1  $|\\hat{y} - y|$ 2.5
    L2  $(\\hat{y} - y)^2$ 6.25
    zero-one  $1[\\mathrm{sign}(\\hat{y}) \\neq y]$ 1.0
    hinge  $\\max(0, 1 - y\\hat{y})$ 2.5
    """
    yhat = np.linspace(-1.5, 3.5, 201)  # contains 0 and 1, where the losses jump and bend
    ax = axes_for(ax)
    for n, ((name, values), style) in enumerate(zip(_curves(yhat).items(), styles(), strict=False)):
        drawstyle = "steps-post" if "zero-one" in name else "default"
        options = style | {"linewidth": 3, "markersize": 9, "markevery": (5 * n, 20), "drawstyle": drawstyle}
        ax.plot(yhat, values, label=name, **options)
    ax.axvline(1, color=GREY, linewidth=1, zorder=0)
    ax.set_ylim(-0.1, 4)
    errors = ax.secondary_xaxis("top", functions=(_error, _prediction))
    errors.set_xlabel(r"error  $\hat{y} - y$", fontsize=LARGE)
    errors.tick_params(labelsize=MIDDLE)
    x_label = r"prediction  $\hat{y}$  (= margin  $y\hat{y}$, as $y = 1$)"
    label(ax, x_label, r"loss  $\ell(\hat{y}, y)$", legend="upper center")
    return figure_of(ax)


def _error(yhat: Any) -> Any:
    return yhat - 1


def _prediction(error: Any) -> Any:
    return error + 1


def _curves(yhat: Array) -> dict[str, Array]:
    """Return the losses at these predictions of the target 1, by their labels."""
    y = np.ones_like(yhat)
    return {
        r"L1  $|\hat{y} - y|$": l1_loss(yhat, y, reduction="none"),
        r"L2  $(\hat{y} - y)^2$": mse_loss(yhat, y, reduction="none"),
        r"zero-one  $1[\mathrm{sign}(\hat{y}) \neq y]$": zero_one_loss(np.where(yhat >= 0, 1.0, -1.0), y, "none"),
        r"hinge  $\max(0, 1 - y\hat{y})$": hinge_loss(yhat, y, reduction="none"),
    }
