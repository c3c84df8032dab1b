"""9. `assert_gradient`: check a gradient in a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..network import Network
from .adapters import Adapted, adapted
from .diagnosis import diagnose_gradient
from .gradients import check_gradient

__all__ = ["assert_gradient"]


def assert_gradient(target: Network | Callable[..., Any] | Any, *arguments: Any, **options: Any) -> None:
    """Raise AssertionError, with the table of `check_gradient` and the diagnosis, if a gradient is wrong.

    Parameters
    ----------
    target : Network, callable or torch.nn.Module
        As in `check_gradient`. A module of PyTorch, with a function of its output as ``loss=``, is checked with
        PyTorch's own gradient, or with the ``torch.autograd.Function`` that it uses.
    *arguments
        As in `check_gradient` and `diagnose_gradient`: ``(network, X, y)``, ``(network, X, y, gradient)``, or
        ``(f, theta, gradient)``; for a function of PyTorch or JAX ``(f, theta)``, whose gradient is then computed by
        that library; for a module its inputs.
    **options
        As in `diagnose_gradient`, and ``entries``, ``directions``, ``method`` and ``rng`` as in `check_gradient`.

    Raises
    ------
    AssertionError
        If the gradient is wrong, or if nothing could be decided.
    ValueError, TypeError
        As in `diagnose_gradient`.

    Examples
    --------
    >>> f = lambda theta: float(theta @ theta)
    >>> hm.assert_gradient(f, np.array([1.0, 3.0]), np.array([2.0, 6.0]))
    >>> try:
    ...     hm.assert_gradient(f, np.array([1.0, 3.0]), np.array([1.0, 3.0]))
    ... except AssertionError as error:
    ...     print(str(error).splitlines()[0], str(error).splitlines()[-2], sep="\\n")
    the gradient is wrong
    NAMED: factor 1/2, in theta
    """
    for_check = {name: options.pop(name) for name in ("entries", "directions", "method", "rng") if name in options}
    given: Adapted | None = adapted(target, arguments, options)
    if given is not None:
        target, arguments, options = given.f, (given.theta, given.gradient), given.options
    shared = {name: options[name] for name in ("loss", "sample_weight", "training") if name in options}
    try:
        check = check_gradient(target, *arguments, **for_check, **shared)
    except ValueError as error:
        if not str(error).startswith("gradient"):
            raise
        check = None
    if check is not None and check:
        return
    diagnosis = diagnose_gradient(target, *arguments, **options)
    text = "the gradient could not be decided" if diagnosis.verdict == "undecided" else "the gradient is wrong"
    raise AssertionError("\n".join([text, *([str(check)] if check is not None else []), str(diagnosis)]))
