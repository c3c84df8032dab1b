"""Losses: values and gradients beside torch.nn.functional, and each pair against differences."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from loss_cases import ALL, EPS, FLOATS, REDUCTIONS, both, by_torch, table
from oracles import assert_close, assert_pulls_back, complex_gradient, read_only

from handmade import losses
from handmade.losses import LOSSES, SEVERAL_INPUTS

# ---- the cases: name, options, input, target -------------------------------------------------------------------------


def cast(dtype, case, options):
    """Input, target and weights in this dtype (labels stay integers), protected from being written to."""

    def convert(value):
        return read_only(np.asarray(value, dtype) if np.asarray(value).dtype.kind == "f" else value)

    return [convert(a) for a in case], {k: convert(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}


OVERFLOWS_IN_TORCH = ("soft_margin_loss",)  # from 89 on in float32


# ---- against torch ---------------------------------------------------------------------------------------------------


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
        ("multilabel_margin_loss", {}, [[1.0], [0.5]], [[-1], [0]]),
        ("kl_div", {}, [[-0.5, -1.5]], [[0.0, 1.0]]),
        ("nll_loss", {}, [[-np.inf, 0.0], [-1.0, -np.inf]], [1, 0]),
        ("nll_loss", {"ignore_index": 1}, [[-np.inf, -np.inf], [-1.0, -np.inf]], [1, 0]),
    ],
)
def test_kinks_and_ends_are_those_of_torch(name, options, input, target):
    value, gradient = both(name, np.array(input), np.array(target), reduction="none", **options)
    expected, expected_gradient = by_torch(name, np.array(input), np.array(target), "none", **options)
    np.testing.assert_allclose(value, expected, rtol=4 * EPS)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=4 * EPS)


def test_floor_of_bce_holds_for_loss_and_gradient():
    at_floor = np.exp(-100.0)
    P = np.array([0.0, 0.0, 1.0, 1.0, 0.0, 1e-300, 1 - 2.0**-53, at_floor])
    Y = np.array([0.0, 1, 0, 1, 0.5, 1, 0, 1])
    value, gradient = both("binary_cross_entropy", P, Y, reduction="none")
    np.testing.assert_allclose(value, [0, 100, 100, 0, 50, 100, 53 * np.log(2), 100], rtol=4 * EPS)
    # A logarithm at its floor is constant: its derivative is 0, and that of the other logarithm is left.
    np.testing.assert_allclose(gradient, [1, 0, 0, -1, 0.5, 0, 2.0**53, -1 / at_floor], rtol=4 * EPS)


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


# ---- the pairs -------------------------------------------------------------------------------------------------------


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


def test_alpha_of_one_counts_targets_of_one_alone():
    terms = losses.sigmoid_focal_loss([2.0, 2.0], [1.0, 0.0], alpha=1.0, gamma=0.0, reduction="none")
    np.testing.assert_array_equal(terms, [losses.binary_cross_entropy_with_logits([2.0], [1.0]), 0.0])


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_an_infinite_logit_has_the_limits_of_large_ones(gamma):
    """Of the right sign it costs nothing; of the wrong one the loss is infinite, and its slope is alpha_t."""
    A, Y = np.array([np.inf, -np.inf, np.inf, -np.inf]), np.array([1.0, 0.0, 0.0, 1.0])
    value, slope = both("sigmoid_focal_loss", A, Y, alpha=0.25, gamma=gamma, reduction="none")
    np.testing.assert_array_equal(value, [0, 0, np.inf, np.inf])
    np.testing.assert_array_equal(slope, [0, 0, 0.75, -0.25])


def test_alpha_of_zero_counts_targets_of_zero_alone():
    terms = losses.sigmoid_focal_loss(np.zeros(2), np.array([0.0, 1.0]), alpha=0.0, reduction="none")
    assert terms[0] > 0 == terms[1]


def test_a_quantile_has_no_slope_at_its_kink():
    assert losses.quantile_loss_backward(np.array([1.0, 2.0]), np.array([1.0, 2.0]), 0.3).tolist() == [0, 0]


def test_an_infinite_logit_of_no_label_costs_nothing():
    A, Y = np.array([[-np.inf, np.inf]]), np.array([[0.0, 1.0]])
    assert losses.multilabel_soft_margin_loss(A, Y) == 0


def test_an_impossible_outcome_of_probability_0_costs_nothing():
    assert losses.kl_div([[-np.inf, 0.0]], [[0.0, 1.0]]) == 0
