"""9. Gradient checks: compare a claimed gradient with slopes that are measured by finite differences.

"Small change in parameter dw1 -> output will change by df/dw1 dw1" (System 6): change one entry of theta by h and
by -h, measure the change of the loss, divide by 2h. Differences do not use the chain rule, so they do not share its
mistakes. Their accuracy is measured, too, entry by entry: a claimed gradient may differ by that much, and no more. A
random direction checks many entries at once; group testing finds the wrong one among them.
"""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from .._validation import check_bool, check_finite
from ..base_layer import Layer
from ..losses import Loss
from ..network import Network
from .check_table import GradientCheck
from .entry_checker import examine
from .methods import Function, MethodName, check_method
from .subjects import check_no_options, function_subject, network_subject

__all__ = ["check_gradient"]


def check_gradient(
    target: Network | Function,
    *arguments: Any,
    method: MethodName = "richardson",
    loss: Loss = "cross_entropy",
    sample_weight: npt.ArrayLike | None = None,
    training: bool = True,
    entries: int | None = None,
    directions: int = 2,
    rng: Any = None,
    progress: bool = False,
) -> GradientCheck:
    """Compare a gradient with differences, entry by entry and along random directions.

    Three ways to call it: ``check_gradient(network, X, y, loss=...)`` checks a network's own backward pass,
    ``check_gradient(network, X, y, gradient)`` a gradient that somebody's code computes for the network, and
    ``check_gradient(f, theta, gradient)`` any gradient of any function.

    The tolerance of an entry is the accuracy of its difference, which is measured: the noise of the function, and the
    error of the formula, from three steps, each half as long as the one before. A float32 gradient may also differ by
    the rounding of float32. An entry that disagrees is wrong only if the differences cannot be at fault and smaller
    steps agree. At a kink (of a ReLU, a hinge) both one-sided derivatives are right, and so is every number between
    them. An entry that no step decides is undecidable.

    Entries that are not measured one by one are checked along random directions. If a direction disagrees, halving the
    set of entries finds the wrong one.

    The check works on copies and changes nothing in the network. Dropout masks are drawn once and kept. The loss of a
    float32 network is measured in float64.

    Parameters
    ----------
    target : Network or callable
        The network, or a function of theta that returns a number. It gets theta in the form in which you give it.
    *arguments
        For a network, X and y, and optionally a gradient; for a function, theta and the gradient. Theta is an array, or
        a list or dict of arrays. The gradient has the form of theta or one of the layouts of `diagnose_gradient`, or is
        a function of theta.
    method : {"forward", "central", "richardson", "complex"}
        See `handmade.checking.differences`. "complex" needs a function that is analytic as written, and confirms a
        gradient to the last digits. Where it disagrees, or finds zero, "richardson" decides.
    loss, sample_weight, training
        For networks: as in `Network.loss_and_gradient`.
    entries : int, optional
        The number of entries to measure one by one, drawn at random, equally many from each parameter. By default all,
        up to 2,000, and fewer if theta has more than 20,000.
    directions : int
        The number of random directions for the other entries of each parameter. With 0 they are not checked.
    rng : optional
        A seed or a numpy.random.Generator; draws the entries and the directions.
    progress : bool
        Whether to show progress.

    Returns
    -------
    GradientCheck
        True in a condition if the gradient is right; printed, a table with one line per parameter.

    Raises
    ------
    ValueError
        If the gradient does not fit theta, is not finite, or changes from call to call; or as in `numerical_gradient`.
    TypeError
        As in `numerical_gradient`.

    Examples
    --------
    >>> X, y = hm.data.xor()
    >>> bool(hm.check_gradient(hm.MLP([2, 3, 2], activation="tanh", rng=0), X, y))
    True

    One entry of this gradient is wrong by 0.05 per cent:

    >>> f = lambda theta: float(theta @ theta)
    >>> print(hm.check_gradient(f, np.array([1.0, 2.0]), np.array([2.0, 4.002])))  # doctest: +ELLIPSIS
    parameter        checked  relative error  tolerance
    theta                2/2         4.5e-04    ...  FAIL
    worst entry: theta[1]: claimed 4.002, measured 4, relative error 5.0e-04
    noise of the function: ..., at a value of 5
    FAIL: 1 of 2 entries wrong, 1 of 1 parameters fail
    """
    of_network = isinstance(target, Network)
    if len(arguments) not in ((2, 3) if of_network else (2,)) or (isinstance(target, Layer) and not of_network):
        raise TypeError(
            f"check_gradient: expected (network, X, y) with a Network, or (f, theta, gradient), got "
            f"{', '.join(type(argument).__name__ for argument in (target, *arguments))}"
        )
    check_method(method)
    check_bool(progress, "progress")
    check_bool(training, "training")
    if isinstance(target, Network):
        subject = network_subject(target, *arguments, loss=loss, sample_weight=sample_weight, training=training)
    else:
        check_no_options(loss=loss, sample_weight=sample_weight, training=training)
        subject = function_subject(target, *arguments)
    check_finite(subject.claimed, "gradient")
    return examine(subject, method=method, entries=entries, directions=directions, rng=rng, progress=progress)
