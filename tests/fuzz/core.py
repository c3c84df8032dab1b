"""Targets: activations, losses, networks and optimizers with hostile arrays."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import numpy as np

import handmade as hm
from handmade.activations import ACTIVATIONS
from handmade.losses import LOSSES

from .arrays import ARRAYS, Hostile, draw_array, draw_numbers, draw_shape, dress
from .calls import OPTIMIZERS
from .functions import check, integers, probabilities, signs
from .mutate import pick
from .rules import Violation, observe, same_numbers

__all__ = ["TARGETS"]


def fuzz_activations(rng: np.random.Generator) -> None:
    """Compute an activation of anything, or its backward of arrays."""
    f, f_backward = pick(rng, list(ACTIVATIONS.values()))
    shape = draw_shape(rng)
    if rng.random() < 0.5:
        check(rng, f, {"A": draw_array(rng, shape)}, 256, ("dim",))
        return
    name = list(inspect.signature(f_backward).parameters)[1]
    A = draw_numbers(rng, shape if shape else (1,))
    A = np.nan_to_num(A, posinf=1.0, neginf=-1.0)
    if A.size == 0:
        return
    dressed = dress(rng, f(A) if name == "H" else A)
    if dressed.kind in ARRAYS:
        dH = rng.normal(size=A.shape).astype(A.dtype)
        check(rng, functools.partial(f_backward, dH), {name: dressed}, 256, ("dim",), of_largest=True)


def _loss_arguments(rng: np.random.Generator, name: str) -> tuple[Hostile, Hostile]:
    """Return input and target of the kinds that a loss takes."""
    N, K = int(rng.integers(1, 7)), int(rng.integers(1, 5))
    shape = pick(rng, [(N,), (N, 1), (N, K)])
    if name in ("cross_entropy", "multi_margin_loss", "nll_loss"):
        labels = rng.random() < 0.7 or name != "cross_entropy"
        target = draw_array(rng, (N,), integers(0, K - 1)) if labels else draw_array(rng, (N, K), probabilities)
        return draw_array(rng, (N, K)), target
    if name == "multilabel_margin_loss":
        return draw_array(rng, (N, K)), draw_array(rng, (N, K), integers(-1, K - 1))
    if name in ("hinge_loss", "soft_margin_loss", "hinge_embedding_loss", "zero_one_loss"):
        return draw_array(rng, shape, signs if name == "zero_one_loss" else draw_numbers), draw_array(rng, shape, signs)
    if name == "binary_cross_entropy":
        return draw_array(rng, shape, _chances), draw_array(rng, shape, integers(0, 1))
    of_bits = ("binary_cross_entropy_with_logits", "multilabel_soft_margin_loss", "sigmoid_focal_loss", "kl_div")
    target = integers(0, 1) if name in of_bits else draw_numbers
    return draw_array(rng, shape), draw_array(rng, shape, target)


def _chances(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return probabilities, each for itself."""
    return np.asarray(rng.random(shape) * (1 + 0.1 * (rng.random() < 0.1)), pick(rng, [np.float64, np.float32]))


def fuzz_losses(rng: np.random.Generator) -> None:
    """Compute a loss or its gradient."""
    name = pick(rng, list(LOSSES))
    value, backward = LOSSES[name]
    input, target = _loss_arguments(rng, name)
    call = value if rng.random() < 0.5 or name == "zero_one_loss" else backward
    options = {"reduction": pick(rng, ["mean", "sum", "none"])}
    extreme = _is_extreme(input.clean) or _is_extreme(target.clean)
    arguments = {"input": input, "target": target}
    check(rng, functools.partial(call, **options), arguments, 1e3, of_largest=True, may_overflow=extreme)


def _network(rng: np.random.Generator) -> hm.Network:
    """Return a small network."""
    dtype = pick(rng, [np.float64, np.float32])
    normalization = pick(rng, [None, None, "layer", "batch"])
    return hm.MLP([3, 4, 2], pick(rng, ["relu", "tanh"]), normalization=normalization, dtype=dtype, rng=0)


def _numbers(network: hm.Network) -> dict[str, bytes]:
    """Return the bits of a network's state."""
    return {name: np.asarray(array).tobytes() for name, array in network.state_dict().items()}


def fuzz_networks(rng: np.random.Generator) -> None:
    """Predict, and compute loss and gradient; errors leave parameters, statistics and gradient alone."""
    network = _network(rng)
    N = int(rng.integers(0 if rng.random() < 0.05 else 1, 9))
    X = draw_array(rng, pick(rng, [(N, 3), (N, 3), (N, 3), (N, 2), (3,)]))
    if rng.random() < 0.4:
        check(
            rng,
            network.predict,
            {"X": X},
            1e3,
            ("batch_size",),
            functools.partial(_numbers, network),
            of_largest=True,
            may_overflow=_is_extreme(X.clean),
        )
        return
    network.loss_and_gradient(np.ones((2, 3)), [0, 1])
    start = {name: np.array(array) for name, array in network.state_dict().items()}
    y = draw_array(rng, (N,), integers(0, 1)) if rng.random() < 0.8 else draw_array(rng, (N, 2), probabilities)

    def call(X: Any, y: Any) -> Any:
        network.load_state_dict(start)  # BatchNorm's statistics move
        loss, gradient = network.loss_and_gradient(X, y, loss="cross_entropy")
        return loss, gradient.copy()

    def state() -> Any:
        return _numbers(network), network.gradient.tobytes()

    names = ("target", "loss", "input", "BatchNorm")
    extreme = _is_extreme(X.clean)
    check(rng, call, {"X": X, "y": y}, 1e4, names, state, of_largest=True, may_overflow=extreme)


def _is_extreme(numbers: Any) -> bool:
    """Return whether products of such numbers overflow or underflow in float32."""
    if not isinstance(numbers, np.ndarray) or numbers.dtype.kind not in "fiu":
        return False
    sizes = np.abs(numbers.astype(float))
    return not np.all((sizes == 0) | ((sizes > 1e-18) & (sizes < 1e18)))


def fuzz_optimizers(rng: np.random.Generator) -> None:
    """Take a step on hostile vectors: as on plain ones, or refused with nothing moved."""
    make = pick(rng, OPTIMIZERS[:-1])  # Muon is of matrices
    shape = pick(rng, [(5,), (5,), (5,), (0,), (2, 3), ()])
    start, slope = draw_numbers(rng, shape), draw_numbers(rng, shape)
    with np.errstate(over="ignore"):
        cast = slope.astype(start.dtype)
    theta, gradient = dress(rng, start.copy()), dress(rng, pick(rng, [slope, cast]))
    optimizer, plain = make(lr=0.1), make(lr=0.1)

    def state() -> Any:
        return repr(optimizer.state_dict()), np.asarray(start if theta.is_refused else _plain(theta.value)).tobytes()

    outcome = observe(
        lambda: optimizer.step(theta.value, gradient.value),
        ["theta", "gradient"],
        [gradient.value],
        state,
        may_overflow=_is_extreme(start) or _is_extreme(slope),
    )
    if outcome.error is None:
        if theta.is_refused or gradient.is_refused:
            raise Violation("taken", f"theta: {theta.kind}, gradient: {gradient.kind}")
        expected = np.array(start)
        with np.errstate(all="ignore"):
            plain.step(expected, cast)
        if not same_numbers(_plain(theta.value), expected, 4 * np.finfo(start.dtype).eps):
            raise Violation("wrong", f"expected {expected}, got {theta.value}")


def _plain(value: Any) -> np.ndarray:
    return np.asarray(value.detach() if hasattr(value, "detach") else value)


TARGETS = {
    "activations": fuzz_activations,
    "losses": fuzz_losses,
    "passes": fuzz_networks,
    "optimizers": fuzz_optimizers,
}
