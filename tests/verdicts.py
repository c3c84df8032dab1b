"""Random right gradients, and wrong ones: the check and the diagnosis have to agree, and accuse nothing right.

    python -m tests.verdicts 2000

checks that many networks, and prints each whose verdicts are wrong.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import handmade as hm

Array = npt.NDArray[Any]


def hand_relu(A: Array) -> Array:
    return np.where(A > 0, A, 0.0 * A)


def hand_relu_backward(dH: Array, A: Array) -> Array:
    return dH * (A >= 0)  # 1 at the kink, where the library has 0


def absolute(A: Array) -> Array:
    return np.abs(A)


def absolute_backward(dH: Array, A: Array) -> Array:
    return dH * np.sign(A)


def clipped(A: Array) -> Array:
    return np.clip(A, -1, 1)


def clipped_backward(dH: Array, A: Array) -> Array:
    return dH * ((A > -1) & (A < 1))


def softsign(A: Array) -> Array:
    return A / (1 + np.abs(A))


def softsign_backward(dH: Array, A: Array) -> Array:
    return dH / (1 + np.abs(A)) ** 2


OWN = ((hand_relu, hand_relu_backward), (absolute, absolute_backward), (clipped, clipped_backward),
       (softsign, softsign_backward))  # fmt: skip
NAMED = ("relu", "leaky_relu", "elu", "tanh", "sigmoid", "softplus", "silu", "gelu")
LOSSES = ("cross_entropy", "mse_loss", "half_squared_error", "huber_loss", "l1_loss", "hinge_loss", "multi_margin_loss",
          "binary_cross_entropy_with_logits")  # fmt: skip
ACCUSED = "accused"


class Case(NamedTuple):
    """A random network, its batch, its loss, and its gradient.

    Attributes
    ----------
    network : Network
        The network.
    X, y : ndarray
        The batch.
    loss : str
        The loss.
    gradient : ndarray, shape (P,)
        The right gradient.
    """

    network: hm.Network
    X: Array
    y: Array
    loss: Any
    gradient: Array


def random_case(seed: int) -> Case:
    """Return a random network, deep or shallow, saturated or not, often exactly at its kinks, and its gradient."""
    rng = np.random.default_rng(seed)
    loss = str(rng.choice(LOSSES))
    samples, inputs, outputs = int(rng.choice([1, 2, 5, 9])), int(rng.integers(1, 6)), int(rng.integers(2, 4))
    dtype = np.float32 if rng.random() < 0.25 else np.float64
    network = hm.Network(_layers(rng, inputs, outputs, samples)).astype(dtype)
    size = 10.0 ** rng.integers(-1, 2) if rng.random() < 0.3 else 1.0  # saturates sigmoids
    network.theta = (network.theta * size).astype(dtype)
    X = rng.normal(size=(samples, inputs)) * 10.0 ** rng.integers(-6, 4)
    if rng.random() < 0.3:  # integers and biases of 0 place units exactly at their kinks
        X, theta = np.rint(rng.normal(size=(samples, inputs))), network.theta.copy()
        network.theta = np.rint(2 * theta).astype(dtype) / 2
    y: Array = rng.normal(size=(samples, outputs)) * 2
    if loss in ("cross_entropy", "multi_margin_loss"):
        y = rng.integers(0, outputs, samples)
    elif loss == "hinge_loss":
        y = np.sign(y)
    elif loss == "binary_cross_entropy_with_logits":
        y = (y > 0) * 1.0
    X = X.astype(dtype)
    gradient = network.astype(dtype).backpropagate(X, y.astype(dtype) if y.dtype.kind == "f" else y, loss)[1]
    return Case(network, X, y, loss, gradient.copy())


def _layers(rng: np.random.Generator, inputs: int, outputs: int, samples: int) -> list[hm.Layer]:
    layers: list[hm.Layer] = []
    width = inputs
    for _ in range(int(rng.choice([0, 1, 1, 2, 2, 3, 6]))):
        wider = int(rng.integers(1, 7))
        layers.append(hm.Dense(width, wider, rng=rng))
        kind = rng.choice(["", "", "", "batch", "layer", "residual", "concatenate"])
        if kind == "batch" and samples > 2:
            layers.append(hm.BatchNorm(wider))
        if kind == "layer" and wider > 2:
            layers.append(hm.LayerNorm(wider))
        if kind == "residual":
            layers.append(hm.Residual([hm.Dense(wider, wider, rng=rng), _activation(rng)]))
        layers.append(_activation(rng))
        if kind == "concatenate":
            layers.append(hm.Concatenate([hm.Dense(wider, 2, rng=rng), _activation(rng)]))
            wider += 2
        width = wider
    return [*layers, hm.Dense(width, outputs, rng=rng)]


def _activation(rng: np.random.Generator) -> hm.Activation:
    if rng.random() < 0.4:
        return hm.Activation(OWN[int(rng.integers(len(OWN)))])
    return hm.Activation(str(rng.choice(NAMED)))  # type: ignore[arg-type]


def verdicts(case: Case, claimed: Array) -> tuple[str, str]:
    """Return the verdicts of the check and of the diagnosis on a claimed gradient."""
    check = hm.check_gradient(case.network, case.X, case.y, claimed, loss=case.loss, rng=0)
    diagnosis = hm.diagnose_gradient(case.network, case.X, case.y, claimed, loss=case.loss)
    of_check = "right" if check else "wrong" if any(block.wrong for block in check.blocks) else "undecided"
    return of_check, diagnosis.verdict if diagnosis.verdict in ("right", "undecided") else "wrong"


def spoilt(case: Case, seed: int) -> Array:
    """Return the gradient with a mistake: a factor on one parameter, one entry, or noise."""
    rng = np.random.default_rng(seed)
    claimed = case.gradient.astype(np.float64)
    blocks = list(case.network.blocks(claimed).values())
    block = blocks[int(rng.integers(len(blocks)))]
    kind = rng.integers(3)
    if kind == 0:
        block *= 2
    elif kind == 1:
        block.flat[int(rng.integers(block.size))] += 10.0 ** rng.integers(-6, 1)
    else:
        claimed += rng.normal(size=claimed.size) * 10.0 ** rng.integers(-8, 0) * np.abs(claimed).max()
    return claimed


def main(count: int) -> int:
    """Check so many networks, right and spoilt; print each contradiction and each right gradient accused."""
    failures = 0
    for seed in range(count):
        case = random_case(seed)
        for name, claimed in ("right", case.gradient), ("spoilt", spoilt(case, seed)):
            check, diagnosis = verdicts(case, claimed)
            if check != diagnosis or (name == "right" and check == "wrong"):
                failures += 1
                print(
                    f"{name} gradient, seed {seed}: check {check}, diagnosis {diagnosis}: {case.network}, {case.loss}"
                )
    print(f"{failures} failures among {count} right gradients and {count} spoilt ones")
    return failures


if __name__ == "__main__":
    sys.exit(bool(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)))
