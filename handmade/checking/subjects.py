"""9. The subject of a check: a function, a point, and the gradient that is claimed there."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .._types import Array
from .._validation import check_finite
from ..losses import Loss
from ..network import Network, check_passes
from .backward_pass import BackwardPass, is_elementwise, one_sided_slopes
from .causes import Block, Cause
from .claims import Parameters, as_gradient, is_single, read_gradient
from .methods import Function, check_function
from .network_loss import NetworkLoss
from .rounding import SINGLE, network_rounding, rounding_of

__all__ = ["Subject", "check_no_options", "check_parameters", "function_subject", "network_subject"]

OF_NETWORKS = {"loss": "cross_entropy", "sample_weight": None, "training": True}  # options, with their defaults

# ---- the subjects ---------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Subject:
    """A function, a point, and the gradient that is claimed there.

    Attributes
    ----------
    f : callable
        Takes an array like theta, and returns a number.
    theta, claimed : ndarray
        The point and the gradient, of one shape.
    rounding : ndarray, the shape of theta
        The error that the rounding of the claim's dtype explains, for each entry.
    names : dict of str to ndarray
        The flat indices of each parameter, in its shape.
    one_sided : tuple of ndarray, optional
        The smallest and largest gradient, entry by entry, for the choices of a side at the kinks of a network.
    """

    f: Function
    theta: Array
    claimed: Array
    rounding: Array
    names: dict[str, Array]
    one_sided: tuple[Array, Array] | None = None


def function_subject(f: Function, theta: Any, gradient: Any) -> Subject:
    """Return the subject of a function of theta, in whatever form theta is."""
    check_function(f, "f")
    parameters = Parameters(theta, "theta")
    block = parameters.blocks[0]
    given = gradient
    if callable(gradient):
        check_function(gradient, "gradient")
        given = _called_twice(gradient, lambda: parameters.shaped(parameters.vector.copy()), parameters.blocks)
    if block.name != "theta":
        claimed = read_gradient(given, parameters.blocks)[0]
        return subject_of(f, parameters, parameters.vector, claimed, is_single(given, claimed))
    expected = f"the shape of theta {block.shape},"
    claimed = as_gradient(given, expected)  # an array alone keeps its shape
    if claimed.shape != block.shape:
        raise ValueError(f"gradient: expected {expected} got {claimed.shape}")
    return subject_of(f, parameters, parameters.vector.reshape(block.shape), claimed, is_single(given, claimed.ravel()))


def subject_of(
    f: Callable[[Any], float], parameters: Parameters, point: Array, claimed: Array, single: bool
) -> Subject:
    """Return the subject of a function of parameters in their own form, at a point: (P,), or theta's shape."""

    def of_vector(vector: Array) -> float:
        return f(parameters.shaped(vector.ravel()))

    function = f if hasattr(f, "moved") else of_vector  # f computes many values at once
    names = {b.name: np.arange(b.start, b.start + b.size).reshape(b.shape) for b in parameters.blocks}
    rounding = np.zeros(point.shape)
    if single and np.isfinite(claimed).all():
        value = float(np.asarray(_numbers(of_vector(point.copy()))))
        rounding = rounding_of(claimed, parameters.blocks, value, SINGLE)
    return Subject(function, point, claimed, rounding, names)


def _numbers(value: Any) -> Any:
    """Return a tensor of torch without its graph."""
    return value.detach().cpu().numpy() if hasattr(value, "detach") else value


def _called_twice(gradient: Callable[[Any], Any], theta: Callable[[], Any], blocks: list[Block]) -> Any:
    """Return what a gradient function returns; raise if a second call returns something else."""
    first = copy.deepcopy(_numbers(gradient(theta())))
    again = gradient(theta())
    try:
        a, b = read_gradient(first, blocks)[0], read_gradient(again, blocks)[0]
    except ValueError:
        shapes = np.shape(first), np.shape(_numbers(again))
        if shapes[0] == shapes[1]:
            return first  # and its shape is refused by name
        a, b = np.array([0.0]), np.array([0.0, 0.0])
    if not np.array_equal(a, b, equal_nan=True):
        apart = f"{np.abs(b - a).max():.1e} apart" if a.shape == b.shape else "of two shapes"
        values = np.ravel(first if np.ndim(first) else a)[0], np.ravel(again if np.ndim(again) else b)[0]
        raise ValueError(
            f"the gradient is not deterministic: two calls gave {values[0]!r}, ... and {values[1]!r}, ..., "
            f"{apart}; let it add to nothing that an earlier call left, and give its random numbers a fixed seed"
        )
    return first


def network_subject(
    network: Network, X: Any, y: Any, gradient: Any = None, *, loss: Loss, sample_weight: Any, training: bool
) -> Subject:
    """Return the subject of a network's loss in float64, and the gradient that is claimed, or the network's own."""
    check_parameters(network)
    f = NetworkLoss(network, X, y, loss, sample_weight, training)
    names = network.blocks(np.arange(network.theta.size))
    blocks = [Block(name, int(index.flat[0]), index.shape, i) for i, (name, index) in enumerate(names.items())]
    if gradient is None:
        check_passes(network, "check_gradient", ("backward", "loss_and_gradient"))
        options = dict(loss=loss, sample_weight=sample_weight, training=training)
        claimed, odd = own_gradient(network, network.check_input(X), f.y, options, blocks)
        single = network.dtype == np.float32
        if odd:
            raise ValueError(f"{odd[0].where}: {odd[0].name}; {odd[0].hint}")
    else:
        claimed = read_gradient(gradient, blocks, len(f.X))[0]
        single = is_single(gradient, claimed) or network.dtype == np.float32
    rounding = network_rounding(network, f, claimed, blocks, single)
    return Subject(f, network.theta.astype(np.float64), claimed, rounding, names, one_sided_gradients(network, f))


def check_no_options(**options: Any) -> None:
    """Raise if a function is given what only the loss of a network takes; it has its own inside."""
    for name, value in options.items():
        if not (value is OF_NETWORKS[name] or (isinstance(value, str) and value == OF_NETWORKS[name])):
            raise TypeError(f"{name}: expected none with a function, which computes its own loss, got {value!r}")


def check_parameters(network: Network) -> None:
    """Raise if a parameter is not finite, and so no slope exists."""
    for name, block in network.blocks(network.theta).items():
        check_finite(block, name)


def own_gradient(
    network: Network, X: Array, y: Array, options: Mapping[str, Any], blocks: list[Block]
) -> tuple[Array, list[Cause]]:
    """Return a network's own gradient, and what its layers do with the gradient that an earlier pass has left."""

    def after(earlier: float) -> tuple[float, Array]:
        clone = copy.deepcopy(network)
        clone.gradient[...] = earlier
        value, gradient = clone.backpropagate(X, y, *options.values())
        return value, gradient.astype(np.float64)

    (value, first), (again, second) = after(0.0), after(1.0)
    changed = [b.name for b in blocks if not np.array_equal(first[b.slice], second[b.slice], equal_nan=True)]
    if not changed:
        return first, []
    if value != again:  # the loss does not depend on a gradient
        raise ValueError(
            f"the function is not deterministic: two calls gave {value!r} and {again!r}; give its random numbers a "
            "fixed seed"
        )
    hint = "the backward pass of a layer adds to the gradient of an earlier pass, or leaves it as it was"
    text = "a gradient left by an earlier pass changes that of the next one"
    return first, [Cause("gradients accumulate", ", ".join(changed), hint, text, at=tuple(changed))]


def one_sided_gradients(network: Network, f: NetworkLoss) -> tuple[Array, Array] | None:
    """Return the smallest and largest entries of the gradients for either side of all kinks; None without kinks."""
    of = BackwardPass(network, f.X, f.y, f.loss, f.sample_weight, f.training)
    sides: list[dict[str, Array]] = [{}, {}]
    for prefix, leaf in of.leaves.items():
        if is_elementwise(leaf):
            below, above = one_sided_slopes(leaf, of.inputs[prefix])
            if np.abs(above - below).max(initial=0.0) > 1e-3:
                sides[0][prefix], sides[1][prefix] = below, above
    if not sides[0]:
        return None
    found = [of.gradient()]
    for side in sides:
        of.mended = {**of.mended, **side}
        found.append(of.gradient())
    return np.min(found, axis=0), np.max(found, axis=0)
