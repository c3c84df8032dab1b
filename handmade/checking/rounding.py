"""9. The error that rounding may cause in a gradient, measured with noise in the passes of a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .._types import Array
from ..base_layer import Layer
from ..composites import Sequential, SequentialCache
from ..layers import Activation, Dense
from ..network import Network
from ..normalization import Standardization
from .causes import Block
from .methods import EPS
from .network_loss import NetworkLoss

__all__ = ["network_rounding", "rounding_of"]

SINGLE = float(np.finfo(np.float32).eps)
ROUNDINGS = 32  # eps of the largest entry of a parameter that another may be off: sums over samples and paths


def rounding_of(claimed: Array, blocks: Iterable[Block], value: float, eps: float) -> Array:
    """Return the error that rounding may cause in each entry, (P,): some eps of the largest entry of its parameter.

    Nothing is known of the terms of the sums, so a few eps of the function's value are allowed as well.
    """
    allowed = np.zeros(claimed.size)
    flat = np.abs(claimed.ravel())
    for block in blocks:
        allowed[block.slice] = eps * ROUNDINGS * flat[block.slice].max(initial=0.0) + 4 * eps * abs(value)
    return allowed.reshape(claimed.shape)


def network_rounding(network: Network, f: NetworkLoss, claimed: Array, blocks: list[Block], single: bool) -> Array:
    """Return the error that rounding may cause in each entry of a network's gradient."""
    if not np.isfinite(claimed).all():
        return np.zeros(claimed.shape)
    sizes = rounding_sizes(network, f)
    eps = SINGLE if single else EPS
    return np.maximum(rounding_of(claimed, blocks, 0.0, eps), eps * sizes)


NOISE, SAMPLES, CAUTION = 1e-6, 4, 32  # relative noise injected, passes with it, and the factor to a bound


def rounding_sizes(network: Network, f: NetworkLoss) -> Array:
    """Return how many eps each entry of a network's gradient may be off, (P,): the largest of its parameter.

    Noise is injected into every value and every gradient of a pass in float64, as rounding would: relative to the
    terms of each sum, to the slope of each activation (1 - h^2 loses the digits that h and 1 share), and to the terms
    of the loss (p - 1 loses those of p). The scatter of the gradients is proportional to the noise.
    """
    rng = np.random.default_rng(0)
    exact = _noisy_gradient(network, f, rng, 0.0)
    with np.errstate(all="ignore"):
        scatter = [np.abs(_noisy_gradient(network, f, rng, NOISE) - exact) for _ in range(SAMPLES)]
    largest = np.nan_to_num(CAUTION / NOISE * np.sqrt(np.mean(np.square(scatter), axis=0)))
    for block in network.blocks(largest).values():
        block[...] = block.max(initial=0.0)
    return largest


def _noisy_gradient(network: Network, f: NetworkLoss, rng: np.random.Generator, size: float) -> Array:
    network = network.astype(np.float64)

    def noise(scale: Array) -> Array:
        return size * rng.uniform(-1, 1, np.shape(scale)) * scale

    for _, leaf in network.leaves():
        _inject(leaf, noise)

    _, depth = network.head(f.loss)
    _, (values, caches) = network.forward(f.X, f.training)
    dH = f.loss_gradient(values[depth])
    dH = dH + noise(np.maximum(np.abs(dH), f.gradient_at_mirrored(values[depth])))
    Sequential.backward(network, dH, SequentialCache(values[: depth + 1], caches[:depth]), need_dX=False)
    return network.gradient.copy()


def _inject(layer: Layer, noise: Callable[[Array], Array]) -> None:
    """Let a layer's passes add noise to what they return."""
    forward, backward, seen = layer.forward, layer.backward, {}
    W = getattr(layer, "W", None) if isinstance(layer, Dense) else None

    def noisy_forward(X: Array, training: bool = False) -> tuple[Array, Any]:
        H, cache = forward(X, training)
        seen["H"] = H
        if isinstance(layer, Standardization):  # Xhat has lost the digits that X and its mean share
            Xhat, inverse, depends = cache
            seen["inverse"], seen["sizes"] = inverse, np.abs(layer._in_groups(X)) * inverse
            noisy = Xhat + noise(np.abs(Xhat) + seen["sizes"])
            terms = np.abs(layer.gamma) * seen["sizes"].reshape(X.shape)
            return H + noise(np.abs(H) + terms), (noisy, inverse, depends)
        return H + noise(np.abs(H) if W is None else np.sqrt((X * X) @ (W * W).T)), cache

    def noisy_backward(dH: Array, cache: Any, need_dX: bool = True) -> Array | None:
        dX = backward(dH, cache, need_dX)
        if dX is None:
            return None
        if W is not None:
            return dX + noise(np.sqrt((dH * dH) @ (W * W)))
        if isinstance(layer, Activation):
            return dX + noise(np.abs(dX) + np.abs(dH) * np.minimum(np.abs(seen["H"]), 1))
        if isinstance(layer, Standardization):  # its terms cancel
            terms = layer._in_groups(np.abs(dH * layer.gamma)) * seen["inverse"]
            largest = terms.max(axis=layer.axis, keepdims=True) * (1 + seen["sizes"])
            return dX + noise(np.abs(dX) + largest.reshape(dX.shape))
        return dX + noise(np.abs(dX))

    layer.forward, layer.backward = noisy_forward, noisy_backward  # type: ignore[method-assign]
