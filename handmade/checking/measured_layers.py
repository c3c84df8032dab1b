"""9. Layers whose own backward pass disagrees with differences: theirs is replaced by the measured one."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np

from .._types import Array
from ..base_layer import Layer
from .backward_pass import BackwardPass

__all__ = ["measure_layers"]

Backward = Callable[[Array], Array]

MOST_NUMBERS = 2_000_000  # of the Jacobian of a layer
STEP = 1e-3  # relative
AGREEMENT = 1e-6  # relative: where a layer's own backward pass is farther from the measured one, it is wrong


def measure_layers(of: BackwardPass) -> None:
    """Replace the backward pass of every layer that disagrees with differences, in this `BackwardPass`."""
    rng = np.random.default_rng(0)
    for prefix, leaf in of.leaves.items():
        if prefix in of.mended:
            continue
        measured = _measured(of, prefix)
        if measured is None:
            continue
        dH = rng.normal(size=of.outputs[prefix].shape)
        own = _gradients(leaf, leaf.backward(dH, of.leaf_caches[prefix]))
        right = _gradients(leaf, measured(dH))
        sizes = [np.abs(b).max(initial=0.0) for b in right]
        if any(not np.abs(a - b).max(initial=0.0) <= AGREEMENT * s for a, b, s in zip(own, right, sizes, strict=True)):
            of.measured[prefix] = measured


def _gradients(leaf: Layer, dX: Array | None) -> list[Array]:
    """Return the gradients that a backward pass has returned, and left in the layer."""
    assert dX is not None
    return [dX, *(getattr(leaf, "d" + name).copy() for name in leaf.parameters.values())]


def _measured(of: BackwardPass, prefix: str) -> Backward | None:
    """Return the backward pass of a layer from its Jacobian; None if that is large, or the layer draws numbers."""
    leaf, X, H = of.leaves[prefix], of.inputs[prefix], of.outputs[prefix]
    probe = copy.deepcopy(leaf)
    names = list(leaf.parameters.values())
    points = [X.copy(), *(getattr(probe, name) for name in names)]
    if H.size * sum(point.size for point in points) > MOST_NUMBERS:
        return None

    def value() -> Array:
        return np.ravel(type(leaf).forward(probe, points[0], of.training)[0])

    if not np.allclose(value(), H.ravel(), rtol=1e-9, atol=0):  # sums of a copy may be rounded otherwise
        return None
    jacobians = [_jacobian(value, point) for point in points]

    def backward(dH: Array) -> Array:
        products = [(J @ dH.ravel()).reshape(point.shape) for J, point in zip(jacobians, points, strict=True)]
        for name, product in zip(names, products[1:], strict=True):
            getattr(leaf, "d" + name)[...] = product
        return products[0]

    return backward


def _jacobian(value: Callable[[], Array], point: Array) -> Array:
    """Return the slopes of all values along every entry of a point, (entries, values), from two central differences."""
    slopes = []
    for index in np.ndindex(point.shape):
        x = float(point[index])
        central = []
        for h in (STEP * max(1.0, abs(x)), STEP / 2 * max(1.0, abs(x))):
            sides = []
            for moved in (x - h, x + h):
                point[index] = moved
                sides.append(value())
            central.append((sides[1] - sides[0]) / (2 * h))
        point[index] = x
        slopes.append((4 * central[1] - central[0]) / 3)
    return np.array(slopes).reshape(point.size, -1)
