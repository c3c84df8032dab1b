"""9. Gradients that learners put in place of the gradient of the loss."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .._types import Array
from ..activations import sigmoid, softmax
from ..losses import LOSSES, find_loss, loss_and_backward
from .backward_pass import BackwardPass, Step

Gradients = dict[str, tuple[str, Array]]  # name -> (hint, gradient with respect to the network's output)
WRONG_WAY = "the gradient is not the one by what comes out of the last layer"


def of_loss(of: BackwardPass) -> Iterator[tuple[str, str, str, dict[int, Step]]]:
    """Yield each gradient that may stand for that of the loss: name, hint, place and step of a `Mistake`."""
    loss, backward = find_loss(of.loss)
    name = getattr(getattr(loss, "func", loss), "__name__", "the loss")
    H, y = of.values[-1], of.y
    terms: Gradients = {}
    if name == "cross_entropy":
        terms = _of_cross_entropy(H, y)
    elif H.shape == y.shape:
        terms = _of_targets(H, y.astype(np.float64), name)
    count = _count(backward, H, y)
    averaged = {title: (hint, dH / count) for title, (hint, dH) in terms.items()}
    found = {**_of_batch(of), **_of_options(of, loss, backward), **_other_losses(H, y, name), **averaged}
    for title, (hint, dH) in found.items():
        if dH.shape == H.shape:
            yield title, hint, f"the loss, {name}", {len(of.layers): functools.partial(_fixed, dH)}


def _count(backward: Callable[..., Array], H: Array, y: Array) -> float:
    """Return the number of terms of which the loss takes the mean."""
    try:
        whole, mean = np.linalg.norm(backward(H, y, reduction="sum")), np.linalg.norm(backward(H, y))
    except TypeError:  # a loss of the user's own, without a reduction
        return len(H)
    return float(whole / mean) if mean else len(H)


def _fixed(dH: Array, of: BackwardPass, i: int, H: Array) -> Array:
    return dH


def _of_batch(of: BackwardPass) -> Gradients:
    right = of.loss_gradient
    N = len(right)
    part = "only a part of the batch has a say"
    rows = np.arange(N)[:, np.newaxis]
    found = {
        "first sample only": (part, right * (rows == 0)),
        "last sample only": (part, right * (rows == N - 1)),
        "first sample left out": (part, right * (rows > 0)),
        "last sample left out": (part, right * (rows < N - 1)),
        "first half of the batch only": (part, right * (rows < N // 2)),
        "second half of the batch only": (part, right * (rows >= N // 2)),
        "averaged over the batch before going back": (
            "the samples are mixed too early",
            np.broadcast_to(right.mean(axis=0), right.shape),
        ),
        "sign of the loss's gradient": ("the gradient at the output has lost its size", np.sign(right)),
        "loss's gradient without sign": ("the gradient at the output has lost its signs", np.abs(right)),
    }
    for shift, which in ((1, "previous"), (-1, "next")) if not of.is_loss_wrong else ():
        y = np.roll(of.y, shift, axis=0)
        shifted = loss_and_backward(of.loss, of.values[-1], y, of.sample_weight)[1]
        found[f"target of the {which} sample"] = ("samples and targets are not in the same order", shifted)
    return found


def _of_options(of: BackwardPass, loss: Callable[..., Any], backward: Callable[..., Array]) -> Gradients:
    """Return the gradients without one of the options that the loss has."""
    found: Gradients = {}
    if of.is_loss_wrong:  # with other options its gradient is wrong, too
        return found
    H, keywords = of.values[-1], dict(getattr(loss, "keywords", {}))
    for option in keywords:
        others = {key: value for key, value in keywords.items() if key != option}
        try:
            dH = getattr(backward, "func", backward)(H, of.y, **others)
        except ValueError:  # the loss cannot do without it: labels that are no class have to be ignored
            continue
        found[f"{option} ignored"] = (f"the loss has {option}, its gradient has not", dH)
    if of.sample_weight is not None:
        dH = loss_and_backward(of.loss, H, of.y)[1]
        found["sample_weight ignored"] = ("the loss weighs its samples, its gradient does not", dH)
    return found


def _other_losses(H: Array, y: Array, name: str) -> Gradients:
    """Return the gradients of the losses that take the same input and target, or one-hot targets."""
    found: Gradients = {}
    targets = [y]
    if y.ndim == 1 and y.dtype.kind in "iu":
        targets.append(_one_hot(y, H))
    for other, (_, backward) in LOSSES.items():
        for target in targets:
            try:
                dH = backward(H, target)
            except (ValueError, TypeError):  # takes other targets
                continue
            if other != name and dH.any():
                found[f"gradient of {other}"] = ("the gradient at the output is that of another loss", dH)
    return found


def _one_hot(y: Array, H: Array) -> Array:
    """Return each label as a row like H's; of a label that is ignored, some row."""
    return np.eye(H.shape[1])[np.clip(y, 0, H.shape[1] - 1)]


def _of_cross_entropy(H: Array, y: Array) -> Gradients:
    T = _one_hot(y, H) if y.ndim < H.ndim else y
    P = softmax(H)
    twice = softmax(P)
    double = "what comes out of the last layer is normalized more than once"
    shifted = "the gradient pushes towards a class that is not the target"
    another = "the gradient at the output is that of another loss"
    with np.errstate(all="ignore"):
        by_probability = -T / P
    return {
        "target not subtracted": ("the gradient at the output does not know the target", P),
        "softmax with a diagonal Jacobian": ("an output is taken to depend on its own input alone", -T * (1 - P)),
        "by the probabilities, not the logits": (WRONG_WAY, by_probability),
        "p - y times p (1 - p)": ("one factor of the chain rule too many", (P - T) * P * (1 - P)),
        "softmax applied twice": (double, twice - T),
        "softmax applied twice, differentiated twice": (double, _through(P, twice - T)),
        "softmax missing": ("what comes out of the last layer is not normalized", H - T),
        "softmax over the wrong axis": ("the probabilities of a sample do not sum to one", softmax(H, 0) - T),
        "sigmoid for softmax": ("the probabilities of a sample do not sum to one", sigmoid(H) - T),
        "squared error of the probabilities": (another, _through(P, P - T)),
        "only the target's class": ("a part of the outputs has no gradient", (P - T) * (T > 0)),
        "only the other classes": ("a part of the outputs has no gradient", P * (T == 0)),
        "predicted class for probabilities": ("the error is all or nothing", _one_hot(H.argmax(axis=1), H) - T),
        "class index one too large": (shifted, P - np.roll(T, 1, axis=1)),
        "class index one too small": (shifted, P - np.roll(T, -1, axis=1)),
        "classes in reverse": (shifted, P - T[:, ::-1]),
        "sum of p and y": ("the gradient at the output has a wrong sign inside", P + T),
    }  # fmt: skip


def _through(P: Array, dP: Array) -> Array:
    return P * (dP - (dP * P).sum(axis=1, keepdims=True))


def _of_targets(H: Array, y: Array, name: str) -> Gradients:
    """Return gradients for losses that compare number by number."""
    E = H - y
    k = 2 if name == "mse_loss" else 1
    found = {
        "target not subtracted": ("the gradient at the output does not know the target", k * H),
        "prediction not in the gradient": ("the gradient at the output does not know the prediction", -k * y),
        "loss in place of its derivative": ("a function stands where its derivative belongs", E * E),
        "sum of prediction and target": ("the gradient at the output has a wrong sign inside", k * (H + y)),
        "error without its bounds": ("the gradient at the output grows where it should not", E),
        "sign of the error": ("the gradient at the output has lost its size", np.sign(E)),
    }
    if name.startswith("binary_cross_entropy"):
        found |= _of_binary_targets(sigmoid(H) if name.endswith("logits") else H, y)
    if name == "hinge_loss":
        found |= {
            "margin condition missing": ("examples that are right already still push", -y),
            "label missing in the hinge": ("the push does not depend on the label", -1.0 * (y * H < 1)),
            "margin 0 in the hinge": ("the comparison of the loss is another one", -y * (y * H < 0)),
            "margin condition reversed": ("the comparison of the loss is turned around", -y * (y * H >= 1)),
        }
    return found


@np.errstate(all="ignore")
def _of_binary_targets(P: Array, y: Array) -> Gradients:
    """Return gradients of the binary cross-entropy of probabilities P."""
    one_costs = "one of the two outcomes costs nothing"
    return {
        "p - y": (WRONG_WAY, P - y),
        "sigmoid applied twice": ("the last layer's output is squashed more than once", sigmoid(P) - y),
        "by the probability, not the logit": (WRONG_WAY, (P - y) / (P * (1 - P))),
        "p - y times p (1 - p)": ("one factor of the chain rule too many", (P - y) * P * (1 - P)),
        "second term of the cross-entropy missing": (one_costs, -y / P),
        "second term of the cross-entropy missing, by the logit": (one_costs, -y * (1 - P)),
        "first term of the cross-entropy missing": (one_costs, (1 - y) / (1 - P)),
        "first term of the cross-entropy missing, by the logit": (one_costs, (1 - y) * P),
        "target not subtracted": ("the gradient at the output does not know the target", P),
    }
