"""Eleven statements of the lecture's slides, each tested by a computation.

Each function computes numbers and derives a verdict from them: "true", "false", or "convention" if another choice would
be equally right. ``python -m reference --claims`` prints the verdicts.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import platform
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import handmade as hm
from handmade import losses
from handmade.activations import sigmoid, softmax
from handmade.protocols import ActivationName, Array

from .autograd import loss_and_gradient
from .claim import Claim
from .depth_claim import QUICK, depth, train
from .twin import twin

__all__ = ["CHECKS", "Claim", "print_claims", "check_all"]


def _loss_of(network: hm.Network, X: Array, y: Array, loss: Callable[..., Any]) -> Callable[[Array], float]:
    """Return the loss as a function of theta, computed by a forward pass only, for finite differences."""
    moved = copy.deepcopy(network)

    def value(theta: Array) -> float:
        moved.theta = theta
        return float(loss(moved.predict(X), y))

    return value


def _right(check: hm.GradientCheck) -> int:
    """Return the number of entries of a claimed gradient that differences confirm."""
    return check.total.checked - len(check.wrong)


# ---- losses and their derivatives ----------------------------------------------------------------------------------


def zero_one(rng: np.random.Generator) -> Claim:
    """Compare a perfect predictor with one that is always wrong; a loss must be smaller for the perfect one."""
    _, y = hm.load_digits()
    guess = rng.integers(0, 10, len(y))
    predictions = {"perfect": y, "always wrong": (y + 1) % 10, "guess": guess}
    slide = {name: float((yhat == y).mean()) for name, yhat in predictions.items()}
    loss = {name: float(losses.zero_one_loss(yhat, y)) for name, yhat in predictions.items()}
    accuracy = hm.metrics.accuracy(guess, y)
    return Claim(
        1,
        "Zero-one loss: l(yhat, y) = 1[yhat = y]",
        "true" if slide["perfect"] < slide["always wrong"] else "false",
        f"Over {len(y)} digits a perfect predictor scores {slide['perfect']:g} by the slide, one that is always wrong "
        f"{slide['always wrong']:g}, and a guess {slide['guess']:.4f}, which is its accuracy, {accuracy:.4f}. "
        f"1[yhat != y] gives {loss['perfect']:g}, {loss['always wrong']:g} and {loss['guess']:.4f}.",
        {f"slide, {name}": value for name, value in slide.items()}
        | {f"loss, {name}": value for name, value in loss.items()}
        | {"accuracy, guess": accuracy},
    )


def learning_rate_in_the_derivative(rng: np.random.Generator) -> Claim:
    """Compare the slide's dL/dw3 with differences and autograd on a chain of three sigmoid units."""
    eta, x, y = 0.1, rng.normal(size=(1, 1)), np.ones((1, 1))
    chain = hm.MLP(
        [1, 1, 1, 1], activation=["sigmoid", "sigmoid", "sigmoid"], weight_init="normal", bias=False, rng=rng
    )
    w1, w2, w3 = chain.theta
    f2 = sigmoid(w2 * sigmoid(w1 * x))
    f3 = sigmoid(w3 * f2)
    slide = (-eta * (y - f3) * f3 * (1 - f3) * f2).item()
    loss = _loss_of(chain, x, y, losses.half_squared_error)

    def of_w3(w: Array) -> float:
        return loss(np.array([w1, w2, w[0]]))

    check = hm.check_gradient(of_w3, np.array([w3]), np.array([slide]))
    cured = hm.check_gradient(of_w3, np.array([w3]), np.array([slide / eta]))
    measured, by_autograd = check.worst.measured, loss_and_gradient(twin(chain), x, y, "half_squared_error")[1][2]
    by_hand = chain.loss_and_gradient(x, y, "half_squared_error")[1][2]
    return Claim(
        2,
        "dL/dw3 = -eta (y - yhat) f3 (1 - f3) f2",
        "true" if check.passed else "false",
        f"With eta = {eta:g} the slide gives {slide:.6g}; differences measure {measured:.6g}, autograd "
        f"{by_autograd:.6g}: the slide's is {slide / measured:.6g} times the slope. Without eta it is "
        f"{slide / eta:.6g}, which differences {'confirm' if cured.passed else 'refute'}.",
        {"eta": eta, "slide": slide, "ratio": slide / measured, "right without eta": _right(cured)}
        | {"differences": measured, "autograd": float(by_autograd), "handmade": float(by_hand)},
    )


def plus_in_the_update(rng: np.random.Generator) -> Claim:
    """Take a step with the plus and one with the minus, from the same parameters, for many random networks."""
    networks, eta, outcomes = 100, 0.1, []
    for _ in range(networks):
        network = hm.MLP([3, 4, 2], activation=["sigmoid", "sigmoid"], weight_init="normal", rng=rng)
        x, y = rng.normal(size=(1, 3)), rng.uniform(size=(1, 2))
        before, gradient = network.loss_and_gradient(x, y, "half_squared_error")
        loss, step = _loss_of(network, x, y, losses.half_squared_error), eta * gradient
        outcomes.append((before, loss(network.theta + step), loss(network.theta - step)))
    before, plus, minus = np.array(outcomes).T
    climbs, falls = int((plus > before).sum()), int((minus < before).sum())
    return Claim(
        3,
        "Gradient update: theta <- theta + eta dL/dtheta",
        "true" if (plus < before).all() else "false",
        f"With eta = {eta:g}, on {networks} random 3-4-2 networks with a sample each, the step with the plus raises "
        f"the loss {climbs} times, and the step with the minus lowers it {falls} times. The first of them: "
        f"{before[0]:.6f} before, {plus[0]:.6f} with the plus, {minus[0]:.6f} with the minus.",
        {"networks": networks, "climbs with plus": climbs, "falls with minus": falls}
        | {"before": float(before[0]), "plus": float(plus[0]), "minus": float(minus[0])},
    )


def binary_slope(rng: np.random.Generator) -> Claim:
    """Compare p - y with differences of the binary cross-entropy with respect to p, and to the logit of p."""
    logits, y = rng.uniform(-3, 3, 6), np.array([0.0, 1.0, 0.0, 1.0, 0.25, 0.75])
    p = sigmoid(logits)
    formula = (p - y) / (p * (1 - p))

    def by_p(p: Array) -> float:
        return float(losses.binary_cross_entropy(p, y, reduction="sum"))

    def by_one(p_i: Array) -> float:
        return by_p(np.where(np.arange(p.size) == i, p_i, p))

    def by_logit(a: Array) -> float:
        return float(losses.binary_cross_entropy_with_logits(a, y, reduction="sum"))

    printed, meant = hm.check_gradient(by_p, p, p - y), hm.check_gradient(by_logit, logits, p - y)
    corrected = hm.check_gradient(by_p, p, formula)
    i = int(np.abs(formula).argmax())
    measured = hm.check_gradient(by_one, p[i : i + 1], formula[i : i + 1]).worst.measured
    return Claim(
        4,
        "Binary cross-entropy: dL/dp = p - y",
        "true" if printed.passed else "false",
        f"At p = {p[i]:.4f}, y = {y[i]:g}: p - y = {p[i] - y[i]:.6g}; by p, differences measure {measured:.6g}, and "
        f"(p - y) / (p (1 - p)) = {formula[i]:.6g}. Of {p.size} slopes by p, p - y has {_right(printed)} right, "
        f"(p - y) / (p (1 - p)) has {_right(corrected)}; of {p.size} slopes by the logit, p - y has {_right(meant)}.",
        {"p": float(p[i]), "y": float(y[i]), "slide": float(p[i] - y[i]), "measured": measured}
        | {"right by p": _right(printed), "right by logit": _right(meant), "right formula": _right(corrected)},
    )


def softmax_slope(rng: np.random.Generator) -> Claim:
    """Compare p - y with differences of the cross-entropy: by p, by the logits, and for targets that sum to two."""
    z, one_hot, two_hot = rng.normal(size=4), np.array([0.0, 1.0, 0.0, 0.0]), np.array([0.0, 1.0, 1.0, 0.0])
    p = softmax(z)
    formula = -one_hot / p

    def by_p(p: Array) -> float:
        return float(-(one_hot @ np.log(p)))

    def by_logits(y: Array) -> Callable[[Array], float]:
        return lambda z: float(losses.cross_entropy(z, y))

    printed, meant = hm.check_gradient(by_p, p, p - one_hot), hm.check_gradient(by_logits(one_hot), z, p - one_hot)
    two = hm.check_gradient(by_logits(two_hot), z, p - two_hot)
    general = hm.check_gradient(by_logits(two_hot), z, p * two_hot.sum() - two_hot)
    corrected = hm.check_gradient(by_p, p, formula)
    return Claim(
        5,
        "Cross-entropy: dL/dp_c = p_c - y_c",
        "true" if printed.passed else "false",
        f"For the right class p - y = {p[1] - 1:.6g} and -y / p = {formula[1]:.6g}; of {z.size} slopes by p, p - y has "
        f"{_right(printed)} right, -y / p has {_right(corrected)}. Of {z.size} slopes by the logits, p - y has "
        f"{_right(meant)} right where sum(y) = 1; where sum(y) = {two_hot.sum():g} it has {_right(two)}, and "
        f"p sum(y) - y, for that class {p[1] * two_hot.sum() - 1:.6g}, has {_right(general)}.",
        {"right by p": _right(printed), "right by p with -y / p": _right(corrected), "right by logits": _right(meant)}
        | {"sum(y) = 2: right": _right(two), "sum(y) = 2: right with p sum(y) - y": _right(general)}
        | {"slide": float(p[1] - 1), "-y / p": float(formula[1]), "p sum(y) - y": float(p[1] * two_hot.sum() - 1)},
    )


def one_half(rng: np.random.Generator) -> Claim:
    """Compare the gradients of both forms, and the ends of descent by each if the learning rate cancels the factor."""
    steps, eta = 100, 0.25
    X, y = rng.normal(size=(20, 3)), rng.normal(size=(20, 1))
    half = hm.MLP([3, 4, 1], activation="tanh", rng=rng)
    full = copy.deepcopy(half)
    checks = [hm.check_gradient(half, X, y, loss=loss) for loss in ("half_squared_error", "mse_loss")]
    of_half = half.loss_and_gradient(X, y, "half_squared_error")[1]
    ratios = full.loss_and_gradient(X, y, "mse_loss")[1] / of_half
    for network, loss, lr in (half, "half_squared_error", eta), (full, "mse_loss", eta / 2):
        train(network, X, y, loss=loss, optimizer=hm.SGD(lr=lr), epochs=steps, batch_size=None, shuffle=False)
    apart = float(np.abs(half.theta - full.theta).max())
    low, high = float(ratios.min()), float(ratios.max())
    # Doubling and halving are exact in binary, so the numbers are equal, not only close.
    one_factor = low == high > 0 and apart == 0 and all(checks)
    return Claim(
        6,
        "L2 loss: (yhat - y)^2 on one slide, (y - yhat)^2 / 2 on another",
        "convention" if one_factor else "false",
        f"The gradients of a 3-4-1 network differ by a factor of at least {low:.17g} and at most {high:.17g} in all "
        f"{ratios.size} entries. After {steps} steps with eta = {eta:g} on the half and {eta / 2:g} on the whole the "
        f"parameters are {apart:g} apart: the learning rate makes up for it.",
        {"smallest ratio": low, "largest ratio": high, "apart": apart},
    )


# ---- updates -------------------------------------------------------------------------------------------------------


def one_line_of_code(rng: np.random.Generator) -> Claim:
    """Compare the line with gradient descent for a linear unit, and with Rosenblatt's rule for a sign unit."""
    samples, inputs = 200, 6
    X = rng.integers(0, 2, (samples, inputs)).astype(float)
    teacher = np.array([1, -1, 1, -1, 1, -1]) * rng.uniform(1, 2, inputs)

    start, x, y = rng.normal(size=inputs), rng.normal(size=inputs), rng.normal()
    update = (y - start @ x) * x
    linear = hm.check_gradient(lambda w: losses.half_squared_error([[w @ x]], [[y]]), start, -update)
    wrong = -_sign(start, x)
    flat = hm.check_gradient(lambda w: losses.half_squared_error([[_sign(w, x)]], [[wrong]]), start, 0 * x)
    labels = np.array([_sign(teacher, x) for x in X])
    w, mistakes = _trained_by_the_line(X, labels)
    rosenblatt = hm.Perceptron(bias=False).fit(X, labels, max_epochs=1)
    assert rosenblatt.w is not None
    apart, length = float(np.abs(w - 2 * rosenblatt.w).max()), float(np.linalg.norm(rosenblatt.w))
    return Claim(
        7,
        "w = w + (y_n - yhat) x_n: this is just gradient descent",
        "true" if linear.passed else "false",
        f"Of a linear unit on half the squared error: {_right(linear)} of {inputs} entries of the update are minus the "
        f"slope that differences measure. Of a sign unit the slope measures {abs(flat.worst.measured):g}, yet the line "
        f"moves it: over {samples} samples with labels +1 and -1 it makes {mistakes} mistakes, Rosenblatt's rule "
        f"{rosenblatt.mistakes}; its weights have {np.linalg.norm(w) / length:g} times the "
        f"length of Rosenblatt's, and are {apart:g} from twice those.",
        {"right, linear unit": _right(linear), "slope, sign unit": flat.worst.measured, "mistakes": mistakes}
        | {"mistakes, Rosenblatt": rosenblatt.mistakes, "from twice Rosenblatt's": apart}
        | {"length": float(np.linalg.norm(w)), "length, Rosenblatt's": length},
    )


def _sign(w: Array, x: Array) -> float:
    return 1.0 if w @ x >= 0 else -1.0  # as on the slide, the sign of zero is +1


def _trained_by_the_line(X: Array, labels: Array) -> tuple[Array, int]:
    """Return the weights after one epoch of the slide's line, and the number of wrong predictions."""
    w, mistakes = np.zeros(X.shape[1]), 0
    for x_n, y_n in zip(X, labels, strict=True):
        yhat = _sign(w, x_n)
        mistakes += int(yhat != y_n)
        w = w + (y_n - yhat) * x_n
    return w, mistakes


# The other activations include pairs that are equal by default, such as elu and celu, or relu and threshold.
EXCHANGED: tuple[ActivationName, ...] = (
    *("identity", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "softmax", "log_softmax"),
)


def f_among_the_parameters(rng: np.random.Generator) -> Claim:
    """Count the gradient's entries for f, exchange f, and write one function with two different f."""
    X, y = rng.normal(size=(20, 3)), rng.integers(0, 2, 20)
    networks = {name: hm.MLP([3, 4, 2], activation=name) for name in EXCHANGED}
    theta = rng.normal(size=networks["sigmoid"].theta.size)
    loss, entries = {}, {}
    for name, network in networks.items():
        network.theta = theta
        loss[name], gradient = network.loss_and_gradient(X, y)
        entries[name] = gradient.size
    w, b = networks["sigmoid"].weight_count, networks["sigmoid"].neuron_count  # a bias per neuron
    # sigmoid(a) = (1 + tanh(a / 2)) / 2: halve the weights and biases below and the weights above, and shift b2.
    W1, b1, W2, b2 = networks["sigmoid"].blocks(theta).values()
    halved = [array.ravel() for array in (W1 / 2, b1 / 2, W2 / 2, b2 + W2.sum(axis=1) / 2)]
    networks["tanh"].theta = np.concatenate(halved)
    apart = float(np.abs(networks["tanh"].predict(X) - networks["sigmoid"].predict(X)).max())
    scale = np.abs(W2).sum() + np.abs(b2).sum()
    same = apart <= 16 * np.finfo(float).eps * scale  # two sums, two activations, and a shift
    for_f = max(entries.values()) - w - b
    least, most = min(loss, key=loss.__getitem__), max(loss, key=loss.__getitem__)
    return Claim(
        8,
        "Estimate the parameters theta = {f, w, b}",
        "false" if for_f == 0 and same else "true",
        f"Under each of {len(entries)} activations a 3-4-2 network has {w} weights, {b} biases, and a gradient of "
        f"{' or '.join(map(str, sorted(set(entries.values()))))} entries: {for_f} for f. With the same w and b the "
        f"loss jumps from f to f, from {loss[least]:.4f} ({least}) to {loss[most]:.4f} ({most}). With w and b of its "
        f"own the tanh network gives the outputs of the sigmoid network to {apart:.1e}: data that fit one f as well as "
        f"the other cannot estimate it.",
        {"weights": w, "biases": b, "entries": max(entries.values()), "entries for f": for_f, "apart": apart}
        | {f"loss, {name}": value for name, value in loss.items()},
    )


def wrong_index(rng: np.random.Generator) -> Claim:
    """Compare the sum over n of (y_n - yhat_n) x_i, for each fixed i, with the gradient of the summed loss."""
    samples = 20
    X, w = rng.normal(size=(samples, 3)), rng.normal(size=3)
    y = X @ rng.normal(size=3) + 0.1 * rng.normal(size=samples)

    def summed(w: Array) -> float:
        return float(losses.half_squared_error((X @ w)[:, np.newaxis], y[:, np.newaxis], reduction="sum"))

    errors = y - X @ w
    right = errors @ X
    check = hm.check_gradient(summed, w, -right)
    printed = errors.sum() * X  # row i: the update with x_i
    passed = sum(hm.check_gradient(summed, w, -update).passed for update in printed)
    cosines = printed @ right / np.linalg.norm(printed, axis=1) / np.linalg.norm(right)
    uphill = int((cosines < 0).sum())
    return Claim(
        9,
        "Code to train: for n = 1 ... N: w = w + (y_n - yhat) x_i",
        "true" if passed == samples else "false",
        f"Over {samples} samples, sum_n (y_n - yhat_n) x_n is minus the measured gradient of the summed loss in "
        f"{_right(check)} of {w.size} entries. With x_i it is so for {passed} of the {samples} i: the cosines "
        f"between the two run from {cosines.min():.3f} to {cosines.max():.3f}, {uphill} of them uphill.",
        {"right with x_n": _right(check), "passed with x_i": int(passed), "uphill": uphill}
        | {"smallest cosine": float(cosines.min()), "largest cosine": float(cosines.max())},
    )


def no_push(rng: np.random.Generator) -> Claim:
    """Compute the gradient of two logits as the lead of the right one grows, and as that of the wrong one does."""

    def slope(gap: float) -> float:
        return float(losses.cross_entropy_backward([[gap, 0.0]], [0])[0, 0])

    sure = 1000  # e^-1000 is below all floating-point numbers: p_c is 1
    one = next(gap for gap in range(sure) if softmax(np.array([gap, 0.0]))[0] == 1)
    zero = min((gap for gap in range(sure) if slope(gap) == 0), default=sure)
    return Claim(
        11,
        "If predictions are correct: p_c = 1, pushing p_c to 1",
        "true" if slope(sure) < 0 else "false",
        f"By the logit of the right class the gradient is {slope(0):g} at p_c = 1/2, {slope(10):.3g} with a lead of "
        f"10, {slope(one):.3g} with {one}, where p_c rounds to 1, and {abs(slope(sure)):g} with {sure}, where nothing "
        f"is left of 1 - p_c (in floating point, from {zero} on). What is pushed is the wrong answer: at p_c = 0 the "
        f"gradient is {slope(-sure):g}.",
        {"p_c rounds to 1 at": one, "slope there": slope(one), "zero from": zero}
        | {"slope at p_c = 1": slope(sure), "slope at p_c = 0": slope(-sure)},
    )


# ---- the command ---------------------------------------------------------------------------------------------------

# The slow one comes last, so that the others are finished before Ctrl-C.
CHECKS = (
    zero_one,
    learning_rate_in_the_derivative,
    plus_in_the_update,
    binary_slope,
    softmax_slope,
    one_half,
    one_line_of_code,
    f_among_the_parameters,
    wrong_index,
    no_push,
    depth,
)


def check_all(seed: int = 0, quick: bool = False) -> list[Claim]:
    """Return all claims in the order of their numbers; after Ctrl-C, those that are finished.

    Parameters
    ----------
    seed : int
        Draws all random numbers.
    quick : bool
        Whether to train fewer networks, for fewer epochs.

    Returns
    -------
    list of Claim
        In the order of their numbers.
    """
    claims: list[Claim] = []
    with contextlib.suppress(KeyboardInterrupt):
        for check in CHECKS:
            options = {"effort": QUICK} if quick and check is depth else {}
            claims.append(check(np.random.default_rng(seed), **options))
    return sorted(claims, key=lambda claim: claim.number)


def print_claims(seed: int = 0, quick: bool = False, file: Path | None = None) -> int:
    """Print a table of the claims, and write it as JSON if a file is given.

    Parameters
    ----------
    seed, quick
        See `check_all`.
    file : pathlib.Path, optional
        The file to which every claim is written with all its numbers.

    Returns
    -------
    int
        The exit status: 0, or 1 after Ctrl-C. A verdict is never a failure.
    """
    started = time.perf_counter()
    claims = check_all(seed, quick)
    table = Table(show_lines=True, expand=True)
    table.add_column("", justify="right")
    table.add_column("The slide says", ratio=1)
    table.add_column("Verdict", no_wrap=True)
    table.add_column("Measured", ratio=3)
    for claim in claims:
        table.add_row(str(claim.number), claim.sentence, claim.verdict, claim.evidence)
    Console(highlight=False, markup=False).print(table)
    verdicts = Counter(claim.verdict for claim in claims)
    print(
        f"{len(claims)} of {len(CHECKS)} statements: {', '.join(f'{n} {verdict}' for verdict, n in verdicts.items())}; "
        f"{time.perf_counter() - started:.0f} s; Python {platform.python_version()}, NumPy {np.__version__}, "
        f"torch {torch.__version__}, seed {seed}"
    )
    if file:
        file.write_text(json.dumps([dataclasses.asdict(claim) for claim in claims], indent=1))
    return 0 if len(claims) == len(CHECKS) else 1
