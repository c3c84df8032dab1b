"""Losses against torch and against differences; every pair, every reduction, every bad input.

Against 50 digits they are measured in test_exactness.
"""

from __future__ import annotations

import functools
import inspect

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from oracles import assert_close, assert_pulls_back, complex_gradient, read_only

import handmade as hm
import handmade.losses.probabilities as of_probabilities
from handmade import losses
from handmade.activations import softmax
from handmade.information import entropy, kl_divergence
from handmade.losses import (
    LOSSES,
    SEVERAL_INPUTS,
    _terms,
    cross_entropy,
    cross_entropy_backward,
    find_loss,
    loss_and_backward,
)
from handmade.losses.probabilities import cross_entropy_value_and_backward
from reference import autograd

EPS = np.finfo(np.float64).eps
FLOATS = (np.float64, np.float32)
REDUCTIONS = ("mean", "sum", "none")


# ---- the cases: name, options, input, target ------------------------------------------------------------------------

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


def cast(dtype, case, options):
    """Input, target and weights in this dtype (labels stay integers), protected from being written to."""

    def convert(value):
        return read_only(np.asarray(value, dtype) if np.asarray(value).dtype.kind == "f" else value)

    return [convert(a) for a in case], {k: convert(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}


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


OVERFLOWS_IN_TORCH = ("soft_margin_loss",)  # from 89 on in float32

# ---- against torch --------------------------------------------------------------------------------------------------


@table(ALL)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_agrees_with_torch(name, options, case, dtype, scale):
    """Value and gradient, every reduction: within 16 roundings for the formulas, and one for each term of a sum.

    ``scale`` makes the extremes: logits and residuals of 1e4. A loss is compared in terms of the largest number that
    it is computed from, a logit or a term; a slope in terms of the largest, or of 1, where it is a probability.
    """
    (input, target), options = cast(dtype, case, options)
    if scale > 1 and name == "poisson_nll_loss":
        input = np.minimum(input * 50, 80)  # e^80 is near the end of float32
    elif scale > 1 and name == "binary_cross_entropy":
        input = np.where(input > 0.5, 1 - 1 / dtype(scale), 1 / dtype(scale))  # 0 and 1 have a test of their own
    elif scale > 1:
        input = input * dtype(scale if name not in OVERFLOWS_IN_TORCH else 20)
    for reduction in REDUCTIONS:
        value, gradient = both(name, input, target, reduction=reduction, **options)
        expected, expected_gradient = by_torch(name, input, target, reduction, **options)
        assert value.dtype == gradient.dtype == dtype
        largest = max(np.abs(expected).max(), np.abs(input).max())
        assert_close(value, expected, operations=16 + target.size, scale=largest)
        sized = np.abs(expected_gradient).max(initial=1 / input.size if reduction == "mean" else 1)
        assert_close(gradient, expected_gradient, operations=16 + target.size, scale=sized)


@pytest.mark.parametrize(
    ("name", "options", "input", "target"),
    [
        ("l1_loss", {}, [0.0, -0.0, 1.0], [0.0, 0.0, 1.0]),
        ("huber_loss", {"delta": 0.5}, [0.5, -0.5, 0.0], [0.0, 0.0, 0.0]),
        ("smooth_l1_loss", {"beta": 0.5}, [0.5, -0.5, 0.0], [0.0, 0.0, 0.0]),
        ("hinge_loss", {}, [1.0, -1.0, 0.0], [1.0, -1.0, 1.0]),
        ("multi_margin_loss", {}, [[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]], [0, 1]),
        ("multi_margin_loss", {"p": 2}, [[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]], [0, 1]),
        ("binary_cross_entropy_with_logits", {}, [0.0, -0.0, 1e308, -1e308], [1.0, 0.0, 1.0, 0.0]),
        ("cross_entropy", {}, [[0.0, 0.0], [1.0, 1.0]], [0, 1]),
        ("soft_margin_loss", {}, [0.0, -0.0, 30.0, -30.0], [1.0, -1.0, 1.0, -1.0]),
        ("hinge_embedding_loss", {}, [1.0, 1.0, 0.0, -0.0], [-1.0, 1.0, 1.0, -1.0]),
        ("multilabel_margin_loss", {}, [[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]], [[0, -1, 0], [1, 0, -1]]),
        ("multilabel_margin_loss", {}, [[1.0, 0.0, 0.5]], [[0, 0, -1]]),
        ("multilabel_margin_loss", {}, [[1.0, 0.0, 0.5]], [[-1, 0, 1]]),
        ("kl_div", {}, [[-0.5, -1.5]], [[0.0, 1.0]]),
        ("nll_loss", {}, [[-np.inf, 0.0], [-1.0, -np.inf]], [1, 0]),
    ],
)
def test_kinks_and_ends_are_those_of_torch(name, options, input, target):
    value, gradient = both(name, np.array(input), np.array(target), reduction="none", **options)
    expected, expected_gradient = by_torch(name, np.array(input), np.array(target), "none", **options)
    np.testing.assert_allclose(value, expected, rtol=4 * EPS)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=4 * EPS)


def test_floor_of_bce_holds_for_loss_and_gradient():
    P, Y = np.array([0.0, 0.0, 1.0, 1.0, 0.0, 1e-300, 1 - 2.0**-53]), np.array([0.0, 1, 0, 1, 0.5, 1, 0])
    value, gradient = both("binary_cross_entropy", P, Y, reduction="none")
    np.testing.assert_allclose(value, [0, 100, 100, 0, 50, 100, 53 * np.log(2)], rtol=4 * EPS)
    # A logarithm at its floor is constant: its derivative is 0, and that of the other logarithm is left.
    np.testing.assert_allclose(gradient, [1, 0, 0, -1, 0.5, 0, 2.0**53], rtol=4 * EPS)


@pytest.mark.parametrize(
    ("name", "input", "target", "terms", "slopes"),
    [
        ("half_squared_error", [[1.0, -2.0], [0.0, 3.0]], [[0.0, 0.0], [0.0, 1.0]], [2.5, 2.0], [[1, -2], [0, 2]]),
        ("half_squared_error", [3.0, -1.0], [0.0, 0.0], [4.5, 0.5], [3, -1]),
        ("half_squared_error", 3.0, 1.0, [2.0], 2),
        ("hinge_loss", [2.0, 0.5, -1.0, 0.25], [1, 1, 1, -1], [0, 0.5, 2, 1.25], [0, -1, -1, 1]),
        ("l1_loss", [2.0, -1.5], [0, 0], [2, 1.5], [1, -1]),
        ("mse_loss", [2.0, -1.5], [0, 0], [4, 2.25], [4, -3]),
        ("huber_loss", [0.5, -3.0], [0, 0], [0.125, 2.5], [0.5, -1]),
        ("multi_margin_loss", [[0.5, 0.25], [4.0, 2.0]], [0, 0], [0.375, 0], [[-0.5, 0.5], [0, 0]]),
        ("binary_cross_entropy", [0.5, 0.25], [1, 0], [np.log(2), -np.log(0.75)], [-2, 1 / 0.75]),
        ("binary_cross_entropy_with_logits", [0.0, 0.0], [1, 0.25], [np.log(2)] * 2, [-0.5, 0.25]),
        ("cross_entropy", [[0.0, np.log(3)]], [1], [np.log(4 / 3)], [[0.25, -0.25]]),
    ],
)
def test_values_by_hand(name, input, target, terms, slopes):
    """Each term, its slope, and with them what the sum and the mean over the terms are; lists are as good as arrays."""
    value, gradient = both(name, input, target, reduction="none")
    np.testing.assert_allclose(value, terms, rtol=0, atol=4 * EPS * np.max(terms))
    np.testing.assert_allclose(gradient, slopes, rtol=0, atol=4 * EPS * np.max(np.abs(slopes)))
    for reduction, count in [("sum", 1), ("mean", len(terms))]:
        value, gradient = both(name, input, target, reduction=reduction)
        assert np.ndim(value) == 0
        np.testing.assert_allclose(value, np.sum(terms) / count, rtol=4 * EPS)
        np.testing.assert_allclose(gradient, np.array(slopes) / count, rtol=0, atol=4 * EPS * np.max(np.abs(slopes)))


def test_zero_one_loss_counts_the_mistakes():
    predicted, labels = np.array([1, 0, 2, 2]), np.array([1, 0, 2, 1])
    np.testing.assert_array_equal(losses.zero_one_loss(predicted, labels, reduction="none"), [0, 0, 0, 1])
    assert losses.zero_one_loss(predicted, labels, reduction="sum") == 1
    assert losses.zero_one_loss(predicted, labels) == 0.25
    assert losses.zero_one_loss(labels, labels) == 0  # what the slide prints scores a perfect prediction 1
    assert losses.zero_one_loss(predicted.astype(np.float32), labels).dtype == np.float32


# ---- the pairs ------------------------------------------------------------------------------------------------------


def test_every_pair_keeps_the_contract():
    several = losses.__all__[2 * len(LOSSES) : -2]
    assert [f for pair in SEVERAL_INPUTS.values() for f in pair] == [getattr(losses, name) for name in several]
    assert [f for pair in LOSSES.values() for f in pair] == [
        getattr(losses, name) for name in losses.__all__[: 2 * len(LOSSES)]
    ]
    for name, (f, f_backward) in LOSSES.items():
        assert (f.__name__, f_backward.__name__) == (name, f"{name}_backward")
        parameters = list(inspect.signature(f).parameters.values())
        assert parameters == list(inspect.signature(f_backward).parameters.values())
        assert [p.name for p in parameters[:2]] == ["input", "target"]
        assert inspect.signature(f).parameters["reduction"].default == "mean"
    for name, (f, f_backward) in SEVERAL_INPUTS.items():
        assert (f.__name__, f_backward.__name__) == (name, f"{name}_backward")
        assert inspect.signature(f).parameters == inspect.signature(f_backward).parameters


@table(ALL)
def test_backward_is_the_slope(name, options, case):
    input, target = case
    for reduction in ("mean", "sum"):
        chosen = options | {"reduction": reduction}
        assert_pulls_back(
            lambda X, chosen=chosen: (LOSSES[name].value(X, target, **chosen), None),
            lambda dH, _, chosen=chosen: dH * LOSSES[name].backward(input, target, **chosen),
            input,
            np.random.default_rng(1),
        )


@table(ALL)
def test_the_complex_step_gives_the_backward(name, options, case):
    """To 1e-14, 45 eps, of the larger of the gradient's entries and a weighted probability's share in it."""
    input, target = case
    gradient = LOSSES[name].backward(input, target, **options)
    measured = complex_gradient(lambda Z: LOSSES[name].value(Z, target, **options), input)
    scale = np.abs(gradient) + 2 / len(np.atleast_1d(input)) * (name == "cross_entropy")
    assert np.all(np.abs(measured - gradient) <= 1e-14 * scale)


@table(ALL)
def test_none_holds_the_terms_of_the_sum(name, options, case):
    input, target = case
    terms, slopes = both(name, input, target, reduction="none", **options)
    total, gradient = both(name, input, target, reduction="sum", **options)
    assert slopes.shape == gradient.shape == input.shape
    assert_close(total, terms.sum(), operations=terms.size, scale=np.abs(terms).sum())
    np.testing.assert_array_equal(slopes, gradient)


@table({case: row for case, row in ALL.items() if row[1]})
def test_an_option_does_not_change_the_dtype(name, options, case):
    """Options come from np.linspace as often as from the keyboard, weights from lists: float32 stays float32."""
    (input, target), _ = cast(np.float32, case, {})
    options = {k: np.float64(v) if isinstance(v, float) else np.asarray(v).tolist() for k, v in options.items()}
    target = target.astype(float) if target.dtype.kind == "f" else target
    for reduction in REDUCTIONS:
        assert [v.dtype for v in both(name, input, target, reduction=reduction, **options)] == [np.float32] * 2


# ---- cross-entropy --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weight", [None, [1.0, 2.0, 3.0]])
def test_one_hot_is_the_index(label_smoothing, weight):
    """Term for term; the means differ as in torch: over the weights for indices, over N for probabilities."""
    Z, y = RNG.normal(size=(6, 3)), RNG.integers(3, size=6)
    options = {"label_smoothing": label_smoothing, "weight": weight, "reduction": "none"}
    for f in (cross_entropy, cross_entropy_backward):
        assert_close(f(Z, np.eye(3)[y], **options), f(Z, y, **options), operations=8)
        with pytest.raises(TypeError, match=r"or probabilities in floating point, got dtype int64 of shape \(6, 3\)"):
            f(Z, np.ones((6, 3), int), **options)  # a multi-hot row is no distribution; torch refuses integers too


def test_infinite_logits_of_the_right_answer_cost_nothing():
    assert losses.binary_cross_entropy_with_logits([np.inf, -np.inf], [1.0, 0.0], reduction="sum") == 0
    assert losses.binary_cross_entropy_with_logits([np.inf], [0.0]) == np.inf
    assert cross_entropy([[0.0, np.inf]], [1]) == 0 and cross_entropy([[0.0, np.inf]], [[0.0, 1.0]]) == 0
    assert softmax([[0.0, np.inf]]).tolist() == [[0, 1]]


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8, list])
def test_labels_of_every_integer_type(kind):
    Z, y = RNG.normal(size=(4, 3)), np.array([0, 2, 1, 2])
    given_y = y.tolist() if kind is list else y.astype(kind)
    np.testing.assert_array_equal(cross_entropy_backward(Z, given_y), cross_entropy_backward(Z, y))


@pytest.mark.parametrize("weight", [None, [1.0, 2.0]])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_where_all_is_ignored_nothing_is_lost(weight, reduction):
    """The mean over no sample is 0 here and nan in torch: one such batch must not end a training."""
    Z, y = np.array([[1.0, 2.0], [3.0, -4.0]]), np.array([-100, -100])
    value, gradient = both("cross_entropy", Z, y, weight=weight, reduction=reduction)
    np.testing.assert_array_equal(value, np.zeros(2) if reduction == "none" else 0.0)
    np.testing.assert_array_equal(gradient, np.zeros((2, 2)))
    expected, _ = by_torch("cross_entropy", Z, y, "mean")
    assert np.isnan(expected)


def test_where_the_weights_sum_to_zero_the_mean_is_the_sum():
    """With label smoothing the other classes cost something, and there is no weight to divide by (torch: nan)."""
    Z, y, options = np.zeros((2, 2)), np.array([0, 0]), {"weight": np.array([0.0, 1.0]), "label_smoothing": 0.5}
    value, gradient = both("cross_entropy", Z, y, **options)
    assert value == pytest.approx(2 * 0.25 * np.log(2), rel=4 * EPS)
    np.testing.assert_array_equal(gradient, [[0.125, -0.125]] * 2)
    assert np.isnan(by_torch("cross_entropy", Z, y, "mean", **options)[0])


def test_the_gradient_is_p_minus_y():
    """System 12, for one-hot targets; and with it the rows of the gradient sum to zero."""
    Z, y = RNG.normal(size=(5, 4)), RNG.integers(4, size=5)
    gradient = cross_entropy_backward(Z, y, reduction="sum")
    np.testing.assert_allclose(gradient, softmax(Z) - np.eye(4)[y], rtol=0, atol=4 * EPS)
    np.testing.assert_allclose(gradient.sum(axis=1), 0, rtol=0, atol=4 * EPS)


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_ends_of_the_range_are_quiet(dtype):
    """The largest finite logits: right answers cost nothing, without a warning (every warning is an error here)."""
    largest = np.finfo(dtype).max
    Z = np.array([[largest, -largest], [-largest, largest], [largest, 0]], dtype)
    y = np.array([0, 1, 0])
    for target in (y, np.eye(2, dtype=dtype)[y]):
        value, gradient = both("cross_entropy", Z, target)
        assert value == 0
        np.testing.assert_array_equal(gradient, np.zeros((3, 2), dtype), strict=True)
    value, gradient = both("binary_cross_entropy_with_logits", Z[:2], np.eye(2, dtype=dtype))
    assert value == 0
    np.testing.assert_array_equal(gradient, np.zeros((2, 2), dtype), strict=True)


COUNTS = arrays(np.float64, (4,), elements=st.floats(0, 1)).filter(lambda p: p.sum() > 0.1)
DISTRIBUTIONS = COUNTS.map(lambda p: p / p.sum())


@settings(max_examples=100, deadline=None)
@given(DISTRIBUTIONS, arrays(np.float64, (4,), elements=st.floats(-30, 30)))
def test_cross_entropy_is_entropy_and_divergence(p, z):
    """H(p, q) = H(p) + KL(p, q) >= H(p), up to 16 roundings of what is summed: sum_i p_i |log q_i|, and 1."""
    cost = cross_entropy(z, p)
    allowed = 8 * EPS * (1 + cost)
    assert cost >= entropy(p) - allowed
    # Each q is off by a few ULP, too, as test_exactness measures; they are a distribution only after a division.
    q = softmax(z)
    assert abs(cost - entropy(p) - kl_divergence(p, q / q.sum())) <= allowed + 8 * EPS


def test_cross_entropy_is_least_where_the_softmax_is_the_target():
    p = softmax(RNG.normal(size=(5, 4)))
    assert_close(cross_entropy(np.log(p), p, reduction="none"), entropy(p), operations=16)
    assert_close(cross_entropy_backward(np.log(p), p), np.zeros((5, 4)), operations=4, scale=1)


# ---- a loss by name, and both of its numbers at once ----------------------------------------------------------------


def squares(input, target):
    return ((input - target) ** 2).sum()


def squares_backward(input, target):
    return 2 * (input - target)


X, Y = RNG.normal(size=(6, 3)), RNG.normal(size=(6, 3))


@pytest.mark.parametrize(
    ("loss", "f", "f_backward"),
    [
        ("mse_loss", losses.mse_loss, losses.mse_loss_backward),
        (losses.mse_loss, losses.mse_loss, losses.mse_loss_backward),
        (
            functools.partial(losses.huber_loss, delta=0.5),
            lambda a, b: losses.huber_loss(a, b, delta=0.5),
            lambda a, b: losses.huber_loss_backward(a, b, delta=0.5),
        ),
        (
            functools.partial(functools.partial(losses.huber_loss, delta=0.5), reduction="sum"),
            lambda a, b: losses.huber_loss(a, b, delta=0.5, reduction="sum"),
            lambda a, b: losses.huber_loss_backward(a, b, delta=0.5, reduction="sum"),
        ),
        ((squares, squares_backward), squares, squares_backward),
        ("cross_entropy", cross_entropy, cross_entropy_backward),
        (
            functools.partial(cross_entropy, label_smoothing=0.2, weight=[1.0, 2.0, 3.0], reduction="sum"),
            lambda a, b: cross_entropy(a, b, [1.0, 2.0, 3.0], -100, "sum", 0.2),
            lambda a, b: cross_entropy_backward(a, b, [1.0, 2.0, 3.0], -100, "sum", 0.2),
        ),
    ],
    ids=["name", "function", "partial", "partial of a partial", "own pair", "cross_entropy", "cross_entropy's options"],
)
def test_loss_and_backward_is_both(loss, f, f_backward):
    input, target = read_only(X), read_only(softmax(Y))
    value, dH = loss_and_backward(loss, input, target)
    assert value == f(input, target)
    np.testing.assert_array_equal(dH, f_backward(input, target), strict=True)
    found, found_backward = find_loss(loss)
    assert found(input, target) == value
    np.testing.assert_array_equal(found_backward(input, target), dH)


WITH_SAMPLES = {key: value for key, value in ALL.items() if value[2][0].ndim > 1 and "weight" not in value[1]}


@table(WITH_SAMPLES)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_sample_weight_counts_a_sample_so_often(name, options, case, reduction):
    """w_i = 2 is the sample twice: the sums are those of the repeated batch; the mean still divides by N."""
    input, target = case
    N = len(input)
    w = np.random.default_rng(5).integers(0, 4, size=N)
    value, dH = loss_and_backward(
        functools.partial(LOSSES[name].value, reduction=reduction, **options), input, target, read_only(w.astype(float))
    )
    terms, slopes = both(name, input, target, reduction="none", **options)
    rows = np.repeat(np.arange(N), w)
    count = terms.size if reduction == "mean" else 1
    assert_close(value, terms[rows].sum() / count, operations=4 * terms.size, scale=np.abs(terms).sum() * 3 / count)
    expected = np.zeros(input.shape)
    np.add.at(expected, rows, slopes[rows] / count)
    assert_close(dH, expected, operations=4)


@pytest.mark.parametrize("name", ["mse_loss", "half_squared_error", "cross_entropy"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_sample_weights_keep_the_dtype_and_mean_what_none_means(name, dtype):
    input, target = X.astype(dtype), softmax(Y).astype(dtype)
    value, dH = loss_and_backward(name, input, target)
    weighted, weighted_dH = loss_and_backward(name, input, target, np.ones(6))
    assert weighted.dtype == weighted_dH.dtype == dtype
    assert_close(weighted, value, operations=2 * input.size)
    assert_close(weighted_dH, dH, operations=4)


WEIGHTED = functools.partial(cross_entropy, weight=[1.0, 2.0, 3.0])
PARTIAL_NONE = functools.partial(losses.mse_loss, reduction="none")


@pytest.mark.parametrize(
    ("loss", "weight", "error", "message"),
    [
        ("mse_loss", np.ones((6, 1)), ValueError, r"sample_weight: expected one weight per sample, .* got \(6, 1"),
        ("mse_loss", np.ones(5), ValueError, r"one weight per sample, shape \(6,\), got \(5,\)"),
        ("mse_loss", 1.0, ValueError, r"one weight per sample, shape \(6,\), got \(\)"),
        ("mse_loss", [1, 1, 1, 1, 1, np.nan], ValueError, r"sample_weight: .* finite numbers, got nan at index \(5,\)"),
        (WEIGHTED, np.ones(6), ValueError, "sample_weight: expected a loss without weight"),
        ("mse_loss", np.ones(6, bool), TypeError, "sample_weight: expected numbers, got dtype bool"),
        ("mse_loss", ["1"] * 6, TypeError, "sample_weight: expected numbers, got dtype <U1"),
        (PARTIAL_NONE, None, ValueError, "expected one number to differentiate; reduction='none' gives many"),
        (PARTIAL_NONE, np.ones(6), ValueError, "expected one number to differentiate; reduction='none' gives many"),
        (functools.partial(losses.mse_loss, reduction="avg"), None, ValueError, "reduction: .*sum; got 'avg'"),
        (functools.partial(losses.mse_loss, reduction="avg"), np.ones(6), ValueError, "reduction: .*sum; got 'avg'"),
        ("l3_loss", None, ValueError, f"loss: expected one of {', '.join(LOSSES)}; got 'l3_loss'"),
        (functools.partial(losses.huber_loss, X), None, TypeError, "options of a partial by name"),
        (squares, None, TypeError, "loss: expected a name, a function of handmade.losses, .* or a pair"),
        (functools.partial(squares), None, TypeError, "loss: expected a name"),
        (losses.mse_loss_backward, None, TypeError, "loss: expected a name"),
        ((squares,), None, TypeError, "loss: expected a name"),
        ((squares, None), None, TypeError, "loss: expected a name"),
        (None, None, TypeError, "loss: expected a name, .* got None"),
        ("zero_one_loss", None, TypeError, "zero_one_loss has no gradient.* 'cross_entropy', 'hinge_loss' or 'multi_m"),
    ],
)
def test_loss_and_backward_refuses(loss, weight, error, message):
    with pytest.raises(error, match=message):
        loss_and_backward(loss, X, Y, weight)


# ---- several inputs --------------------------------------------------------------------------------------------------

VECTORS = RNG.normal(size=(3, 6, 4))
LABELS = np.array([1.0, -1, -1, 1, 1, -1])
SEVERAL = [
    ("margin_ranking_loss", (*RNG.normal(size=(2, 6)).round(1), LABELS), {"margin": 0.25}, 2),
    ("margin_ranking_loss", (*RNG.normal(size=(2, 6, 1)), LABELS.reshape(6, 1)), {}, 2),
    ("cosine_embedding_loss", (*VECTORS[:2], LABELS), {}, 2),
    ("cosine_embedding_loss", (*VECTORS[:2], LABELS), {"margin": -0.5}, 2),
    ("cosine_embedding_loss", (*VECTORS[:2, 0], np.array(1.0)), {}, 2),
    ("triplet_margin_loss", tuple(VECTORS), {}, 3),
    ("triplet_margin_loss", tuple(VECTORS), {"margin": 3.0, "swap": True}, 3),
    ("triplet_margin_loss", tuple(VECTORS), {"p": 1.0}, 3),
    ("triplet_margin_loss", tuple(VECTORS), {"p": 3.5, "eps": 0.0}, 3),
    ("triplet_margin_loss", tuple(VECTORS[:, 0]), {}, 3),
    ("gaussian_nll_loss", (*VECTORS[:2], VECTORS[2] ** 2), {"full": True}, 3),
    ("gaussian_nll_loss", (*VECTORS[:2], VECTORS[2, :, :1] ** 2), {}, 3),
    ("gaussian_nll_loss", (*VECTORS[:2], VECTORS[2, :, 0] ** 2), {}, 3),
    ("gaussian_nll_loss", (*VECTORS[:2], VECTORS[2, :1] ** 2), {}, 3),
    ("gaussian_nll_loss", (*VECTORS[:2], np.array(2.0)), {"eps": 0.1}, 3),
]


def several_by_torch(name, arguments, differentiable, reduction, options):
    """Return the loss, and by autograd the gradient by each input."""
    tensors = [torch.tensor(a, requires_grad=i < differentiable) for i, a in enumerate(arguments)]
    value = getattr(torch.nn.functional, name)(*tensors, reduction=reduction, **options)
    value.sum().backward()
    return value.detach().numpy(), [t.grad.numpy() for t in tensors[:differentiable]]


@pytest.mark.parametrize(("name", "arguments", "options", "differentiable"), SEVERAL)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_losses_of_several_inputs_agree_with_torch(name, arguments, options, differentiable, dtype, reduction):
    """To 64 roundings: of the powers in a norm and of sums over 4 features and 24 elements."""
    f, f_backward = SEVERAL_INPUTS[name]
    arguments = [np.asarray(a, dtype) for a in arguments]
    if name == "gaussian_nll_loss" and arguments[2].ndim == 0:
        with_torch = [*arguments[:2], np.full_like(arguments[0], arguments[2])]  # PyTorch takes no 0-d tensor
    else:
        with_torch = arguments
    value, gradients = (
        f(*arguments, reduction=reduction, **options),
        f_backward(*arguments, reduction=reduction, **options),
    )
    expected, expected_gradients = several_by_torch(name, with_torch, differentiable, reduction, options)
    if name == "gaussian_nll_loss":
        gradients, expected_gradients = list(gradients), [expected_gradients[0], expected_gradients[2]]
        expected_gradients[1] = expected_gradients[1].sum() if arguments[2].ndim == 0 else expected_gradients[1]
    eps = np.finfo(dtype).eps
    assert np.asarray(value).dtype == dtype
    np.testing.assert_allclose(value, expected, rtol=64 * eps, atol=64 * eps * np.abs(expected).max())
    for gradient, e, own in zip(gradients, expected_gradients, [a for a in arguments if a is not None], strict=False):
        assert gradient.dtype == dtype
        np.testing.assert_allclose(gradient, e, rtol=0, atol=64 * eps * max(np.abs(e).max(), 1 / own.size))


@pytest.mark.parametrize(
    ("name", "arguments", "options"),
    [
        ("margin_ranking_loss", ([0.5, 0.0], [0.0, 0.0], [1.0, -1.0]), {"margin": 0.5}),
        ("margin_ranking_loss", ([0.0, -0.0], [0.0, 0.0], [1.0, -1.0]), {}),
        ("cosine_embedding_loss", ([[1.0, 0.0], [0.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]], [-1.0, -1.0]), {}),
        ("cosine_embedding_loss", ([[0.0, 0.0]], [[0.0, 0.0]], [1.0]), {}),
        ("triplet_margin_loss", ([[0.0, 0.0]], [[1.0, 0.0]], [[2.0, 0.0]]), {"eps": 0.0}),
        ("triplet_margin_loss", ([[1.0, 0.0]], [[1.0, 0.0]], [[1.0, 0.0]]), {"eps": 0.0}),
    ],
)
def test_kinks_of_several_inputs_are_those_of_torch(name, arguments, options):
    f, f_backward = SEVERAL_INPUTS[name]
    arguments = [np.array(a) for a in arguments]
    differentiable = 3 if name == "triplet_margin_loss" else 2
    expected, gradients = several_by_torch(name, arguments, differentiable, "none", options)
    np.testing.assert_allclose(f(*arguments, reduction="none", **options), expected, rtol=0, atol=4 * EPS)
    for own, e in zip(f_backward(*arguments, reduction="none", **options), gradients, strict=True):
        # PyTorch rounds the epsilon that it adds to a squared length of 1: 1e-12 has four digits left.
        np.testing.assert_allclose(own, e, rtol=1e-8 * name.startswith("cosine"), atol=4 * EPS)


def test_small_angles_keep_their_digits():
    """1 - cos of a small angle x is x^2 / 2, which 1 minus a rounded cosine has no digit of; enormous vectors too."""
    angle = 1e-9
    for size in (1.0, 1e200):
        u, v = size * np.array([1.0, 0.0]), size * np.array([np.cos(angle), np.sin(angle)])
        missing = 1e-12 if size == 1 else 0.0  # PyTorch's epsilon in both lengths
        value = losses.cosine_embedding_loss(u, v, 1)
        np.testing.assert_allclose(value, angle**2 / 2 + missing, rtol=1e-11)
    assert np.isfinite(losses.triplet_margin_loss([1e200, 0.0], [-1e200, 0.0], [0.0, 1e200]))


def test_variance_below_eps_has_no_gradient():
    """The loss is constant there; PyTorch's gradient is not."""
    dX, dV = losses.gaussian_nll_loss_backward([1.0, 1.0], [0.0, 0.0], [0.5, 2.0], eps=1.0, reduction="sum")
    np.testing.assert_array_equal(dX, [1.0, 0.5])
    np.testing.assert_array_equal(dV, [0.0, 0.125])
    values = [losses.gaussian_nll_loss([1.0], [0.0], [v], eps=1.0) for v in (0.25, 0.5, 1.0)]
    assert len(set(map(float, values))) == 1


@pytest.mark.parametrize("loss", [*SEVERAL_INPUTS, *(f for f, _ in SEVERAL_INPUTS.values())])
@pytest.mark.parametrize("wrap", [lambda f: f, lambda f: functools.partial(f, reduction="sum") if callable(f) else f])
def test_losses_of_several_inputs_train_no_network(loss, wrap):
    name = loss if isinstance(loss, str) else loss.__name__
    with pytest.raises(ValueError, match=f"got {name}, which has several inputs; call it and {name}_backward"):
        losses.find_loss(wrap(loss))


@pytest.mark.parametrize(
    ("name", "arguments", "options", "error", "message"),
    [
        (
            "margin_ranking_loss",
            ([1.0], [[1.0]], [1]),
            {},
            ValueError,
            r"input2: expected the shape of the input1",
        ),
        ("margin_ranking_loss", ([1.0], [1.0], [0]), {}, ValueError, r"target: expected labels -1 and \+1, got 0"),
        ("margin_ranking_loss", ([1.0], [1.0], [1]), {"margin": "1"}, TypeError, "margin: expected a finite number"),
        ("cosine_embedding_loss", (1.0, 1.0, 1), {}, ValueError, r"input1: expected vectors of shape .* got \(\)"),
        (
            "cosine_embedding_loss",
            ([[1.0]], [[1.0]], 1),
            {},
            ValueError,
            r"target: expected one label per vector",
        ),
        (
            "triplet_margin_loss",
            ([1.0], [1.0], [1.0]),
            {"margin": 0},
            ValueError,
            "margin: expected a finite number >",
        ),
        (
            "triplet_margin_loss",
            ([1.0], [1.0], [1.0]),
            {"p": 0.5},
            ValueError,
            "p: expected a finite number >= 1",
        ),
        (
            "triplet_margin_loss",
            ([1.0], [1.0], [1.0, 2.0]),
            {},
            ValueError,
            "negative: expected the shape of the",
        ),
        ("triplet_margin_loss", (1.0, 1.0, 1.0), {}, ValueError, "anchor: expected vectors of shape"),
        ("gaussian_nll_loss", ([1.0], [1.0], [-1.0]), {}, ValueError, "var: expected variances of at least 0, got -1"),
        (
            "gaussian_nll_loss",
            ([1.0], [1.0], [1.0, 1.0]),
            {},
            ValueError,
            "var: expected a number, or the shape",
        ),
        ("gaussian_nll_loss", ([1.0], [1.0], ["1"]), {}, TypeError, "var: expected an array of numbers, got dtype <U1"),
    ],
)
def test_bad_input_of_several_is_named(name, arguments, options, error, message):
    for call in SEVERAL_INPUTS[name]:
        with pytest.raises(error, match=message):
            call(*arguments, **options)


def test_batchmean_of_kl_div_is_the_divergence():
    p, t = distribution(5, 3), distribution(5, 3)
    expected = torch.nn.functional.kl_div(torch.tensor(np.log(p)), torch.tensor(t), reduction="batchmean").item()
    assert losses.kl_div(np.log(p), t, reduction="batchmean") == pytest.approx(expected, rel=8 * EPS)
    np.testing.assert_array_equal(losses.kl_div_backward(np.log(p), t, reduction="batchmean"), -t / 5)
    assert losses.kl_div(np.log(t), t, reduction="batchmean") == pytest.approx(0, abs=8 * EPS)


def test_nll_loss_of_log_softmax_is_cross_entropy():
    Z, y = 30 * RNG.normal(size=(6, 4)), RNG.integers(4, size=6)
    H = hm.activations.log_softmax(Z)
    assert losses.nll_loss(H, y) == pytest.approx(cross_entropy(Z, y), rel=8 * EPS)
    dZ = hm.activations.log_softmax_backward(losses.nll_loss_backward(H, y), Z)
    np.testing.assert_allclose(dZ, cross_entropy_backward(Z, y), rtol=16 * EPS, atol=0)


def test_nll_loss_of_nothing_is_0():
    for reduction in REDUCTIONS:
        value, gradient = both("nll_loss", np.ones((2, 2)), np.array([-100, -100]), reduction=reduction)
        assert not np.any(value) and not gradient.any()


@pytest.mark.parametrize("dtype", FLOATS)
def test_losses_of_scores_are_quiet_at_the_ends(dtype):
    A, Y = np.array([1e4, -1e4, 1e3, -1e3], dtype), np.array([1, 1, 0, 0], dtype)
    for name, target in [("soft_margin_loss", 2 * Y - 1), ("sigmoid_focal_loss", Y)]:
        value, gradient = both(name, A, target, reduction="none")
        assert np.isfinite(value).all() and np.isfinite(gradient).all()
    assert both("poisson_nll_loss", A[:1], Y[:1])[0] == np.inf


# ---- bad input ------------------------------------------------------------------------------------------------------

COLUMN, ROW = np.zeros((4, 1)), np.zeros(4)
REGRESSION = ("l1_loss", "mse_loss", "half_squared_error", "huber_loss", "smooth_l1_loss")
ELEMENTWISE = (*REGRESSION, "hinge_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits")
OF_CLASSES = ("multi_margin_loss", "cross_entropy", "nll_loss")
SCORES = np.zeros((3, 4))
TARGETS = {"multilabel_margin_loss": np.array(SETS), **{name: [0, 1, 2] for name in OF_CLASSES}}

BAD = [
    *[
        (name, *case)
        for name in (*ELEMENTWISE, "zero_one_loss")
        for case in [
            (ROW, COLUMN, {}, ValueError, r"shape of the input \(4,\), got \(4, 1\); .* target.reshape\(4\)"),
            (COLUMN, ROW, {}, ValueError, r"shape of the input \(4, 1\), got \(4,\); .* target.reshape\(4, 1\)"),
            (ROW, np.zeros(3), {}, ValueError, r"expected the shape of the input \(4,\), got \(3,\)$"),
            ([], [], {}, ValueError, r"input: expected at least one value, got an empty array of shape \(0,\)"),
            (np.zeros((0, 2)), np.zeros((0, 2)), {}, ValueError, r"got an empty array of shape \(0, 2\)"),
            (ROW > 0, ROW, {}, TypeError, "input: expected an array of numbers, got dtype bool"),
            (["a"] * 4, ROW, {}, TypeError, "input: expected an array of numbers, got dtype <U1"),
            (ROW, ROW > 0, {}, TypeError, r"target: .* got dtype bool; convert .*target.astype\(float\)"),
            (ROW, [None] * 4, {}, TypeError, "target: expected numbers, got dtype object"),
        ]
    ],
    *[
        (name, ROW, ROW, {"weight": weight}, error, message)
        for name in ("l1_loss", "mse_loss", "huber_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits")
        for weight, error, message in [
            (np.ones(3), ValueError, r"weight: expected .*\(4,\), got \(3,\)"),
            (np.ones((4, 1)), ValueError, r"weight: expected .*\(4,\), got \(4, 1\)"),
            (ROW > 0, TypeError, "weight: expected numbers, got dtype bool"),
        ]
    ],
    ("l1_loss", ROW, ROW, {"weight": 1.0}, ValueError, r"weight: expected the shape of the input \(4,\), got \(\)"),
    ("quantile_loss", ROW, ROW, {"quantile": 1.5}, ValueError, "quantile: expected values from 0 to 1, got 1.5"),
    ("quantile_loss", ROW, ROW, {"quantile": [0.1, 0.9]}, ValueError, r"quantile: .* broadcasts to \(4,\), got \(2,\)"),
    ("soft_margin_loss", ROW, ROW, {}, ValueError, r"target: expected labels -1 and \+1, got 0; labels in"),
    ("hinge_embedding_loss", ROW, ROW + 1, {"margin": np.inf}, ValueError, "margin: expected a finite number, got inf"),
    ("sigmoid_focal_loss", ROW, ROW, {"gamma": -1}, ValueError, "gamma: expected a finite number >= 0, got -1"),
    ("sigmoid_focal_loss", ROW, ROW, {"alpha": 2}, ValueError, "alpha: expected a number up to 1"),
    ("sigmoid_focal_loss", ROW, ROW - 1, {}, ValueError, "target: expected values from 0 to 1, got -1"),
    (
        "kl_div",
        ROW,
        ROW - 0.5,
        {},
        ValueError,
        "target: expected probabilities, got -0.5; logarithms need log_",
    ),
    ("kl_div", ROW, ROW, {"log_target": 1}, TypeError, "log_target: expected True or False, got 1"),
    ("poisson_nll_loss", ROW - 1, ROW, {"log_input": False}, ValueError, "input: expected rates of at least 0, got -1"),
    ("poisson_nll_loss", ROW, ROW, {"log_input": False, "eps": 0}, ValueError, "eps: expected a finite number > 0"),
    (
        "multilabel_margin_loss",
        SCORES,
        [0, 1, 2],
        {},
        ValueError,
        r"target: expected the labels .* got \(3,\)",
    ),
    (
        "multilabel_margin_loss",
        SCORES,
        SCORES,
        {},
        TypeError,
        "target: expected integer class indices, got dtype",
    ),
    ("multilabel_margin_loss", ROW, [0, 4, -1, 0], {}, ValueError, "from 0 to 3, or -1 after the last, got 4"),
    (
        "multilabel_soft_margin_loss",
        SCORES,
        SCORES,
        {"weight": [1.0]},
        ValueError,
        "weight: expected one weight",
    ),
    (
        "cross_entropy",
        SCORES,
        SCORES,
        {"ignore_index": 1},
        ValueError,
        "ignore_index: expected none with",
    ),
    ("nll_loss", SCORES, [0, 1, 2], {"ignore_index": 1.0}, TypeError, "ignore_index: expected an integer, got 1.0"),
    ("huber_loss", ROW, ROW, {"delta": 0}, ValueError, "delta: expected a finite number > 0, got 0"),
    ("huber_loss", ROW, ROW, {"delta": -1.5}, ValueError, "delta: expected a finite number > 0, got -1.5"),
    ("huber_loss", ROW, ROW, {"delta": np.nan}, ValueError, "delta: expected a finite number > 0, got nan"),
    ("huber_loss", ROW, ROW, {"delta": "1"}, TypeError, "delta: expected a finite number > 0, got '1' of type str"),
    ("smooth_l1_loss", ROW, ROW, {"beta": -0.5}, ValueError, "beta: expected a finite number > 0, got -0.5"),
    ("hinge_loss", ROW, [0, 1, 1, 0], {}, ValueError, r"-1 and \+1, got 0; labels in \{0, 1\} .* 2 \* target - 1"),
    ("hinge_loss", ROW, [1, 1, 2, -1], {}, ValueError, r"target: expected labels -1 and \+1, got 2$"),
    ("hinge_loss", ROW, [1, 1, np.nan, -1], {}, ValueError, r"target: expected labels -1 and \+1, got nan"),
    ("binary_cross_entropy", [0.0, 3.5], [1, 0], {}, ValueError, "got 3.5; logits belong to binary_cross_entropy_w"),
    ("binary_cross_entropy", [0.5, -0.1], [1, 0], {}, ValueError, "input: expected values from 0 to 1, got -0.1"),
    ("binary_cross_entropy", [0.5, np.nan], [1, 0], {}, ValueError, "input: expected values from 0 to 1, got nan"),
    *[
        (name, [0.5, 0.5], target, {}, ValueError, message)
        for name in ("binary_cross_entropy", "binary_cross_entropy_with_logits")
        for target, message in [
            ([1, -1], r"target: expected values from 0 to 1, got -1; labels -1 and \+1 .* \(target \+ 1\) / 2"),
            ([1, 1.5], "target: expected values from 0 to 1, got 1.5"),
        ]
    ],
    *[
        ("binary_cross_entropy_with_logits", input, input, {"pos_weight": weight}, ValueError, "pos_weight: expected")
        for input, weight in [(SCORES, [1.0, 2.0]), (COLUMN, [1.0, 2.0]), (ROW, [[1.0], [2.0]]), (ROW, [])]
    ],
    ("binary_cross_entropy_with_logits", ROW, ROW, {"pos_weight": True}, TypeError, "pos_weight: .* got dtype bool"),
    *[
        (name, *case)
        for name in OF_CLASSES
        for case in [
            (SCORES, [0, 4, 1], {}, ValueError, "target: expected class indices from 0 to 3, got 4"),
            (SCORES, [0, -1, 1], {}, ValueError, "target: expected class indices from 0 to 3, got -1"),
            (SCORES, [0, -(2**62), 1], {}, ValueError, f"target: expected class indices from 0 to 3, got {-(2**62)}"),
            (SCORES, [0.0, 1.0, 2.0], {}, TypeError, r"class indices of shape \(3,\), got dtype float64 .*astype\(i"),
            (SCORES, [True, False, True], {}, TypeError, "expected integer class indices .* got dtype bool"),
            (SCORES, ["a", "b", "c"], {}, TypeError, "expected integer class indices .* got dtype <U1"),
            (SCORES, [[0], [1], [2]], {}, ValueError, r"class indices.* \(3, 1\); reshape .* target.reshape\(3\)"),
            (ROW, [0], {}, ValueError, r"target: expected class indices of shape \(\).* got .*\(1,\)"),
            (SCORES, [0, 1], {}, ValueError, r"class indices of shape \(3,\), got shape \(2,\)"),
            (SCORES, 0, {}, ValueError, r"class indices of shape \(3,\), got shape \(\)"),
            (np.zeros((0, 4)), np.zeros(0, int), {}, ValueError, r"at least one sample and class, got \(0, 4\)"),
            (np.zeros((4, 0)), np.zeros(4, int), {}, ValueError, r"at least one sample and class, got \(4, 0\)"),
            (1.0, 0, {}, ValueError, r"logits of shape \(N, K\) .* got \(\)"),
            (SCORES > 0, [0, 1, 2], {}, TypeError, "input: expected an array of numbers, got dtype bool"),
            (SCORES, [0, 1, 2], {"weight": [1.0, 2.0]}, ValueError, r"one weight per class, shape \(4,\), got \(2,\)"),
            (SCORES, [0, 1, 2], {"weight": ["1"] * 4}, TypeError, "weight: expected numbers, got dtype <U1"),
        ]
    ],
    ("multi_margin_loss", np.zeros((2, 3, 4)), np.zeros((2, 4), int), {}, ValueError, r"\(2, 3, 4\)"),
    ("multi_margin_loss", SCORES, [0, 1, 2], {"p": 3}, ValueError, "p: expected 1 or 2, got 3"),
    ("cross_entropy", SCORES, np.zeros((3, 5)), {}, ValueError, r"or probabilities of shape \(3, 4\), got \(3, 5\)"),
    ("cross_entropy", np.zeros((2, 3, 4)), np.zeros((2, 4, 3)), {}, ValueError, r"shape \(2, 3, 4\), got \(2, 4, 3\)"),
    ("cross_entropy", np.zeros((2, 3, 4)), np.zeros((2, 4, 1), int), {}, ValueError, r"target.reshape\(2, 4\)"),
    ("cross_entropy", SCORES, SCORES > 0, {}, TypeError, "target: .* floating point, got dtype bool"),
    *[
        ("cross_entropy", SCORES, [0, 1, 2], {"label_smoothing": e}, ValueError, rf"label_smoothing: .* 1\], got {e}")
        for e in (-0.1, 1.5)
    ],
    *[
        ("cross_entropy", SCORES, [0, 1, 2], {"label_smoothing": no}, TypeError, "label_smoothing: expected a number")
        for no in (None, "", False)
    ],
    *[
        (name, SCORES, TARGETS.get(name, SCORES + 1), {"reduction": wrong}, ValueError, message)
        for name in LOSSES
        for wrong, message in [
            ("avg", "reduction: expected one of none, mean, sum; got 'avg'"),
            (None, "reduction: expected one of none, mean, sum; got None"),
        ]
    ],
]


@pytest.mark.parametrize(
    ("name", "input", "target", "options", "error", "message"), BAD, ids=[f"{i}: {b[0]}" for i, b in enumerate(BAD)]
)
def test_bad_input_is_named(name, input, target, options, error, message):
    """By the loss and by its gradient alike."""
    f, f_backward = LOSSES[name]
    for call in (f, f_backward) if name != "zero_one_loss" else (f,):
        with pytest.raises(error, match=message):
            call(input, target, **options)


def test_the_zero_one_loss_has_no_gradient():
    with pytest.raises(TypeError, match=r"zero_one_loss has no gradient.*'cross_entropy', 'hinge_loss' or 'multi_mar"):
        losses.zero_one_loss_backward(ROW, ROW)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint64, np.int8, np.int64])
@pytest.mark.parametrize("ignore_index", [-100, 1])
def test_labels_may_be_integers_of_any_kind(dtype, ignore_index):
    Z, labels = RNG.normal(size=(4, 3)), np.array([0, 1, 2, 0])
    options = {"ignore_index": ignore_index}
    for f in LOSSES["cross_entropy"]:
        np.testing.assert_array_equal(f(Z, labels.astype(dtype), **options), f(Z, labels, **options))


def test_a_single_logit_for_two_classes_is_pointed_to_its_loss():
    with pytest.raises(ValueError, match=r"from 0 to 0, got 1; .* binary_cross_entropy_with_logits"):
        LOSSES["cross_entropy"].value(np.zeros((2, 1)), [0, 1])


@pytest.mark.parametrize("target", [np.zeros((3, 1), int), np.zeros((3, 1))])
def test_a_column_of_labels_is_told_how_to_become_a_row(target):
    with pytest.raises(ValueError, match=r"reshape .*target.reshape\(3\)"):
        LOSSES["cross_entropy"].value(np.zeros((3, 2)), target)


@pytest.mark.parametrize("gradient", [np.ones((3, 1)), 1.0, np.ones(6)])
def test_a_losses_own_backward_must_give_the_shape_of_the_input(gradient):
    pair = (lambda input, target: 0.0, lambda input, target: gradient)
    with pytest.raises(ValueError, match=r"backward to give the shape of the input \(3, 2\), got"):
        loss_and_backward(pair, np.ones((3, 2)), None)


def test_sample_weights_are_finite_and_may_be_negative():
    input, target = np.array([[3.0], [2.0]]), np.ones((2, 1))
    value, dH = loss_and_backward("mse_loss", input, target, [1.0, -1.0])  # as advantages of a policy gradient
    assert value == (4 - 1) / 2 and dH.tolist() == [[2.0], [-1.0]]
    with pytest.raises(ValueError, match="sample_weight: expected finite"):
        loss_and_backward("mse_loss", input, target, [1.0, np.nan])


def test_two_kinds_of_weights_are_not_mixed():
    weighted = functools.partial(LOSSES["cross_entropy"].value, weight=np.ones(2))
    with pytest.raises(ValueError, match="expected a loss without weight"):
        loss_and_backward(weighted, np.ones((3, 2)), np.zeros(3, int), np.ones(3))


@pytest.mark.parametrize(
    ("name", "input", "target", "end"),
    [
        ("cross_entropy", SCORES, [0, 4, 1], "from 0 to 3, got 4"),
        ("cross_entropy", SCORES, [0, 1], r"got shape \(2,\)"),
        ("cross_entropy", ROW, [0], r"got \(1,\)"),
        ("cross_entropy", SCORES, np.zeros((3, 5)), r"got \(3, 5\)"),
        ("multi_margin_loss", SCORES, [[0, 1, 2]], r"got shape \(1, 3\)"),
    ],
)
def test_a_hint_is_given_only_where_it_helps(name, input, target, end):
    with pytest.raises(ValueError, match=f"{end}$"):
        LOSSES[name].value(input, target)


def test_value_outside_zero_and_one_is_named():
    with pytest.raises(ValueError, match=r"p: expected values from 0 to 1, got 2$"):
        _terms.check_probabilities(np.array([0.5, 2.0]), "p")


def test_enormous_unsigned_label_is_not_ignored():
    labels = np.array([0, 2**64 - 100], np.uint64)
    with pytest.raises(ValueError, match=f"target: expected class indices from 0 to 3, got {2**64 - 100}$"):
        cross_entropy(np.zeros((2, 4)), labels, ignore_index=-100)


# ---- logits in and out of the exponential's reach -------------------------------------------------------------------


@pytest.mark.parametrize("shift", [339, 341, -339, -341, 2**30])
def test_a_shift_of_all_logits_changes_nothing(shift):
    """Whole numbers, which a shift leaves exact, so that only the exponentials and their sums round: under 8 times."""
    Z, labels = np.array([[0.0, 1.0, -1.0], [3.0, -40.0, 0.0], [-1.0, -1.0, -1.0]]), np.array([0, 1, 2])
    value, gradient = cross_entropy_value_and_backward(Z, labels, reduction="none")
    shifted, its_gradient = cross_entropy_value_and_backward(Z + shift, labels, reduction="none")
    np.testing.assert_allclose(shifted, value, rtol=8 * EPS, atol=0)
    np.testing.assert_allclose(its_gradient, gradient, rtol=8 * EPS, atol=0)


@pytest.mark.parametrize("away", [339.0, 340.5, 341.0, 679.0, 681.0, 1e4, 1e300])
def test_distant_target_costs_the_distance(away):
    Z = np.array([[0.0, -away], [away, 0.0], [away / 2, -away / 2]])
    value, gradient = cross_entropy_value_and_backward(Z, np.array([1, 1, 1]), reduction="none")
    np.testing.assert_allclose(value, [away] * 3, rtol=2 * EPS, atol=0)
    np.testing.assert_array_equal(gradient, [[1.0, -1.0]] * 3)


def test_one_enormous_logit_leaves_the_other_rows_their_digits():
    Z, labels = np.array([[50.0, 0.0], [1e5, 0.0]]), np.array([0, 0])
    alone, gradient_alone = cross_entropy_value_and_backward(Z[:1], labels[:1], reduction="none")
    value, gradient = cross_entropy_value_and_backward(Z, labels, reduction="none")
    np.testing.assert_allclose(value, [alone[0], 0], rtol=4 * EPS, atol=0)
    np.testing.assert_allclose(gradient, [gradient_alone[0], [0, 0]], rtol=4 * EPS, atol=0)


# ---- what is not done twice ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["cross_entropy", functools.partial(cross_entropy, reduction="sum")], ids=str)
def test_one_softmax_serves_both_numbers(loss, monkeypatch):
    calls, original = [], of_probabilities._exponentials
    monkeypatch.setattr(of_probabilities, "_exponentials", lambda *a: calls.append(a) or original(*a))
    loss_and_backward(loss, X, np.array([0, 1, 2, 0, 1, 2]))
    assert len(calls) == 1


def test_an_array_of_the_right_dtype_is_not_copied():
    """Neither targets nor weights, which may be as large as the batch."""
    assert _terms.as_numbers(Y, "target", X) is Y
    assert _terms.as_numbers(Y.astype(np.float32), "target", X).dtype == X.dtype


# ---- a loss of one's own ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("kind", [np.float64, np.float32, int, list])
def test_user_loss_gradient_gets_the_dtype_of_the_input(kind, dtype):
    gradient = [[1, -2], [0, 3]] if kind is list else np.array([[1, -2], [0, 3]], kind)
    _, dH = loss_and_backward((squares, lambda input, target: gradient), np.ones((2, 2), dtype), np.ones((2, 2), dtype))
    np.testing.assert_array_equal(dH, np.array([[1, -2], [0, 3]], dtype), strict=True)


def test_what_is_callable_but_has_no_name_is_no_loss_either():
    class Squares:
        def __call__(self, input, target):
            return squares(input, target)

    with pytest.raises(TypeError, match=r"loss: expected a name, a function of handmade\.losses"):
        find_loss(Squares())
