"""Cases of losses that several test files share."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

from handmade.activations import softmax
from handmade.losses import LOSSES
from reference import autograd

EPS = np.finfo(np.float64).eps


FLOATS = (np.float64, np.float32)


REDUCTIONS = ("mean", "sum", "none")


RNG = np.random.default_rng(0)


# Residuals and scores that keep 0.1 away from every kink: 0, 0.5 and 1 (huber and smooth L1), 1 (hinge).
AWAY_FROM_KINKS = np.array([-2.3, -1.4, -0.8, -0.3, 0.2, 0.3, 0.7, 1.3, 2.6])


def pick(*shape):
    return RNG.choice(AWAY_FROM_KINKS, shape)


def regression(*shape):
    target = RNG.normal(size=shape).round(1)
    return target + pick(*shape), target


def signs(*shape):
    return pick(*shape), RNG.choice([-1.0, 1.0], shape)


def probabilities(*shape, hard=False):
    target = RNG.uniform(size=shape)
    return RNG.uniform(0.05, 0.95, shape), target.round() if hard else target


def logits(*shape, hard=False):
    return RNG.normal(scale=2, size=shape), probabilities(*shape, hard=hard)[1]


def margins(*shape, labels=None):
    # Scores in steps of 0.1: with margins such as 0.85 nothing comes closer to the kink than 0.05.
    scores = RNG.normal(size=shape).round(1)
    return scores, RNG.integers(shape[-1], size=shape[:-1]) if labels is None else np.array(labels)


def distribution(*shape):
    return softmax(RNG.normal(size=shape))


SETS = [[1, 3, -1, 0], [2, -1, 2, 2], [0, 1, 3, 2]]  # labels up to the -1


SIMPLE = [
    ("l1_loss", {}, regression(5, 3)),
    ("l1_loss", {}, regression(7)),
    ("l1_loss", {"weight": RNG.uniform(0.5, 2, (5, 3))}, regression(5, 3)),
    ("mse_loss", {}, regression(5, 3)),
    ("mse_loss", {}, regression(2, 3, 4)),
    ("mse_loss", {"weight": RNG.uniform(0.5, 2, (5, 3))}, regression(5, 3)),
    ("half_squared_error", {}, regression(5, 3)),
    ("half_squared_error", {}, regression(1, 1)),
    ("half_squared_error", {}, regression(2, 3, 4)),
    ("huber_loss", {}, regression(5, 3)),
    ("huber_loss", {"delta": 0.5}, regression(5, 3)),
    ("huber_loss", {"delta": 0.5, "weight": RNG.uniform(0.5, 2, (5, 3))}, regression(5, 3)),
    ("smooth_l1_loss", {}, regression(5, 3)),
    ("smooth_l1_loss", {"beta": 0.5}, regression(5, 3)),
    ("smooth_l1_loss", {"beta": 0.0}, regression(5, 3)),
    ("hinge_loss", {}, signs(8)),
    ("hinge_loss", {}, signs(5, 3)),
    ("multi_margin_loss", {"margin": 0.85}, margins(6, 4)),
    ("multi_margin_loss", {"margin": 0.85, "p": 2}, margins(6, 4)),
    ("multi_margin_loss", {"margin": 1.25, "weight": np.array([0.5, 2.0, 1.0, 0.0])}, margins(6, 4)),
    ("multi_margin_loss", {"margin": 1.25, "p": 2, "weight": np.array([0.5, 2.0, 1.0, 3.0])}, margins(6, 4)),
    ("multi_margin_loss", {"margin": 0.85}, margins(4)),
    ("multi_margin_loss", {"margin": 0.85}, margins(1, 4)),
    ("multi_margin_loss", {"margin": 0.85}, margins(3, 1)),
    ("multi_margin_loss", {"margin": 0.85}, margins(5, 4, labels=[2] * 5)),
    ("binary_cross_entropy", {}, probabilities(5, 3)),
    ("binary_cross_entropy", {}, probabilities(6, hard=True)),
    ("binary_cross_entropy", {"weight": RNG.uniform(0.5, 2, (5, 3))}, probabilities(5, 3)),
    ("binary_cross_entropy_with_logits", {}, logits(5, 3)),
    ("binary_cross_entropy_with_logits", {}, logits(6, hard=True)),
    ("binary_cross_entropy_with_logits", {"weight": RNG.uniform(0.5, 2, (5, 3))}, logits(5, 3)),
    ("binary_cross_entropy_with_logits", {"pos_weight": np.array([0.5, 1.0, 3.0])}, logits(5, 3)),
    ("binary_cross_entropy_with_logits", {"pos_weight": np.array(2.0), "weight": np.ones((5, 3)) / 3}, logits(5, 3)),
    ("binary_cross_entropy_with_logits", {"pos_weight": np.array([3.0]), "weight": np.ones((5, 1)) / 3}, logits(5, 3)),
    ("binary_cross_entropy_with_logits", {"pos_weight": RNG.uniform(0.5, 2, (5, 1))}, logits(5, 3)),
    ("binary_cross_entropy_with_logits", {"pos_weight": RNG.uniform(0.5, 2, (3, 4))}, logits(2, 3, 4)),
    ("binary_cross_entropy", {"weight": np.array([0.5, 1.0, 3.0])}, probabilities(5, 3)),
    ("binary_cross_entropy", {"weight": np.array(0.5)}, probabilities(5, 3)),
    ("quantile_loss", {}, regression(5, 3)),
    ("quantile_loss", {"quantile": 0.9}, regression(7)),
    ("quantile_loss", {"quantile": np.array([0.1, 0.5, 0.9])}, regression(5, 3)),
    ("soft_margin_loss", {}, signs(5, 3)),
    ("hinge_embedding_loss", {}, signs(5, 3)),
    ("hinge_embedding_loss", {"margin": 0.5}, signs(8)),
    ("multilabel_margin_loss", {}, (margins(3, 4)[0] + 0.03 * np.arange(4), np.array(SETS))),
    ("multilabel_margin_loss", {}, (margins(4)[0] + 0.03 * np.arange(4), np.array(SETS[0]))),
    ("multilabel_soft_margin_loss", {}, logits(5, 3)),
    ("multilabel_soft_margin_loss", {"weight": np.array([0.5, 2.0, 0.0])}, logits(5, 3)),
    ("multilabel_soft_margin_loss", {}, logits(2, 3, 4)),
    ("multilabel_soft_margin_loss", {}, logits(4)),
    ("sigmoid_focal_loss", {}, logits(5, 3)),
    ("sigmoid_focal_loss", {"alpha": -1.0, "gamma": 1.5}, logits(6, hard=True)),
    ("sigmoid_focal_loss", {"alpha": 0.75, "gamma": 0.0}, logits(6, hard=True)),
    ("nll_loss", {}, margins(5, 3)),
    ("nll_loss", {"weight": np.array([0.5, 2.0, 1.0]), "ignore_index": 1}, margins(6, 3, labels=[0, 1, 2, 2, 1, 0])),
    ("nll_loss", {"ignore_index": -1}, margins(4, 3, labels=[0, -1, 2, 2])),
    ("nll_loss", {}, margins(3)),
    ("nll_loss", {"weight": np.array([0.5, 2.0, 1.0])}, (RNG.normal(size=(2, 3, 4)), RNG.integers(3, size=(2, 4)))),
    ("nll_loss", {}, (np.linspace(-3, 0, 24).reshape(2, 3, 2, 2), np.array([[[0, 1], [2, 0]], [[1, 1], [2, 2]]]))),
    ("kl_div", {}, (np.log(distribution(5, 3)), distribution(5, 3))),
    ("kl_div", {}, (np.log(distribution(4, 3)), np.eye(3)[[0, 2, 1, 1]])),
    ("kl_div", {"log_target": True}, (np.log(distribution(5, 3)), np.log(distribution(5, 3)))),
    ("poisson_nll_loss", {}, (RNG.normal(size=(5, 3)), RNG.integers(5, size=(5, 3)).astype(float))),
    ("poisson_nll_loss", {"full": True}, (RNG.normal(size=(5, 3)), RNG.integers(5, size=(5, 3)).astype(float))),
    (
        "poisson_nll_loss",
        {"log_input": False, "eps": 1e-3},
        (RNG.uniform(0.5, 3, (5, 3)), RNG.integers(5, size=(5, 3)).astype(float)),
    ),
]


SHAPES = {
    "(K,)": (3,),
    "(N, K)": (5, 3),
    "(N, K, d1)": (2, 3, 4),
    "(N, K, d1, d2)": (2, 3, 2, 2),
    "one sample": (1, 4),
    "one class": (4, 1),
    "one of one": (1, 1),
}


def class_targets(kind, shape):
    """Class indices, or distributions over the axis of the classes, for logits of this shape."""
    axis = min(len(shape) - 1, 1)
    lead = shape[:axis] + shape[axis + 1 :]
    labels = (-1 - np.arange(np.prod(lead, dtype=int)).reshape(lead)) % shape[axis]  # every class in turn
    if kind == "index":
        return labels
    if kind == "one class only":
        return np.full(lead, shape[axis] - 1)
    distributions = np.eye(shape[axis])[labels] if kind == "one-hot" else softmax(RNG.normal(size=(*lead, shape[axis])))
    return np.moveaxis(distributions, -1, axis)


def class_weights(shape):
    """Return one weight per class; that of class 0 is 0 where the other classes are there to make a mean."""
    weight = RNG.uniform(0.5, 2, shape[min(len(shape) - 1, 1)])
    weight[0] *= np.prod(shape) < 10
    return weight


def some_ignored(target, index):
    target = target.copy()
    target.reshape(-1)[::2] = index
    return target


CROSS_ENTROPY = {
    f"{name}, {kind}, smoothing {smoothing}, {'weights' if weighted else 'no weights'}": (
        "cross_entropy",
        {"label_smoothing": smoothing} | ({"weight": class_weights(shape)} if weighted else {}),
        (RNG.normal(scale=3, size=shape), class_targets(kind, shape)),
    )
    for name, shape in SHAPES.items()
    for kind in ("index", "one class only", "one-hot", "probabilities")
    for smoothing in (0.0, 0.1, 1.0)
    for weighted in (False, True)
    # Everything with everything for (N, K); where only the shape is new, all options at once or none.
    if name == "(N, K)" or (smoothing == 0.1 * weighted and kind != "one class only")
}


CROSS_ENTROPY |= {
    f"ignored {index}, {case}": (
        "cross_entropy",
        options | {"ignore_index": index},
        (input, some_ignored(target, index)),
    )
    for case, (_, options, (input, target)) in CROSS_ENTROPY.items()
    for index in (-100, 0, 1)
    if ", index" in case and case.startswith("(N" if index == 0 else ("(N", "one class"))  # that all have class 0
}


ALL = {
    " ".join([name, *(k if np.ndim(v) else f"{k}={v}" for k, v in options.items()), str(case[0].shape)]): (
        name,
        options,
        case,
    )
    for name, options, case in SIMPLE
} | CROSS_ENTROPY


def table(cases):
    return pytest.mark.parametrize(("name", "options", "case"), cases.values(), ids=cases)


def both(name, input, target, **options):
    f, f_backward = LOSSES[name]
    return f(input, target, **options), f_backward(input, target, **options)


def by_torch(name, input, target, reduction, **options):
    """Return the loss, and by autograd the gradient: of the sum, where there is no reduction."""
    f = autograd.find_loss(functools.partial(LOSSES[name].value, **options), torch.tensor(input).dtype)
    tensor = torch.tensor(input, requires_grad=True)
    value = f(tensor, torch.tensor(target), reduction=reduction)
    value.sum().backward()
    return value.detach().numpy(), tensor.grad.numpy()


X, Y = RNG.normal(size=(6, 3)), RNG.normal(size=(6, 3))
