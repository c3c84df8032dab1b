"""Losses by name, function, partial or pair; value and gradient at once; sample weights."""

from __future__ import annotations

import dataclasses
import functools
import inspect

import numpy as np
import pytest
from loss_cases import ALL, FLOATS, X, Y, both, table
from oracles import assert_close, read_only

import handmade.losses.probabilities as of_probabilities
from handmade import losses
from handmade.activations import softmax
from handmade.losses import LOSSES, _terms, cross_entropy, cross_entropy_backward, find_loss, loss_and_backward

# ---- a loss by name, and both of its numbers at once -----------------------------------------------------------------


def squares(input, target):
    return ((input - target) ** 2).sum()


def squares_backward(input, target):
    return 2 * (input - target)


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
        (
            "binary_cross_entropy_with_logits",
            losses.binary_cross_entropy_with_logits,
            losses.binary_cross_entropy_with_logits_backward,
        ),
        ("cross_entropy", cross_entropy, cross_entropy_backward),
        (
            functools.partial(cross_entropy, label_smoothing=0.2, weight=[1.0, 2.0, 3.0], reduction="sum"),
            lambda a, b: cross_entropy(a, b, [1.0, 2.0, 3.0], -100, "sum", 0.2),
            lambda a, b: cross_entropy_backward(a, b, [1.0, 2.0, 3.0], -100, "sum", 0.2),
        ),
    ],
    ids=[
        "name",
        "function",
        "partial",
        "partial of a partial",
        "own pair",
        "logits",
        "cross_entropy",
        "cross_entropy's options",
    ],
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
        (WEIGHTED, np.ma.ones(6), TypeError, "^sample_weight: expected an array without a mask"),
        ("mse_loss", np.ones(6, bool), TypeError, "sample_weight: expected numbers, got dtype bool"),
        ("mse_loss", ["1"] * 6, TypeError, "sample_weight: expected numbers, got dtype <U1"),
        (PARTIAL_NONE, None, ValueError, "expected one number to differentiate, got an array by reduction='none'"),
        (
            PARTIAL_NONE,
            np.ones(6),
            ValueError,
            "expected one number to differentiate, got an array by reduction='none'",
        ),
        (functools.partial(losses.mse_loss, reduction="avg"), None, ValueError, "reduction: .*sum; got 'avg'"),
        (functools.partial(losses.mse_loss, reduction="avg"), np.ones(6), ValueError, "reduction: .*sum; got 'avg'"),
        ("l3_loss", None, ValueError, f"loss: expected one of {', '.join(LOSSES)}; got 'l3_loss'"),
        (functools.partial(losses.huber_loss, X), None, TypeError, "a partial with options by name"),
        (squares, None, TypeError, "loss: expected a name, a function of handmade.losses, .* or a pair"),
        (functools.partial(squares), None, TypeError, "loss: expected a name"),
        (
            functools.partial(cross_entropy, label_smooting=0.1),
            None,
            ValueError,
            "option of cross_entropy: expected one of weight, .*; got 'label_smooting'; did you mean 'label_smoothing'",
        ),
        (functools.partial(losses.mse_loss, target=0), None, ValueError, "option of mse_loss: .* got 'target'"),
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


# ---- what is not done twice ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "loss", ["cross_entropy", functools.partial(cross_entropy, reduction="sum")], ids=["name", "partial"]
)
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


@pytest.mark.parametrize("functions", LOSSES.values(), ids=LOSSES)
def test_the_functions_of_a_loss_take_the_same_arguments(functions):
    arguments = [
        [(parameter.name, parameter.default) for parameter in inspect.signature(f).parameters.values()]
        for f in (*functions, functions.value_and_backward)
        if f
    ]
    assert all(one == arguments[0] for one in arguments)


def test_only_the_softmax_needs_two_outputs():
    assert {name: f.least_outputs for name, f in LOSSES.items()} == {
        name: 1 + (name == "cross_entropy") for name in LOSSES
    }


def test_the_functions_of_a_loss_cannot_be_exchanged():
    with pytest.raises(dataclasses.FrozenInstanceError):
        find_loss("mse_loss").value = cross_entropy


def test_a_loss_says_what_it_is_computed_on():
    """A sigmoid below `binary_cross_entropy` is computed with it; two losses take logits; a user's own says neither."""
    on_sigmoid = LOSSES["binary_cross_entropy"]
    assert on_sigmoid.activation == "sigmoid"
    assert on_sigmoid.on_activation is LOSSES["binary_cross_entropy_with_logits"]
    assert [name for name, f in LOSSES.items() if f.takes_logits] == [
        "binary_cross_entropy_with_logits",
        "cross_entropy",
    ]
    own = find_loss((squares, squares_backward))
    assert (own.activation, own.on_activation, own.least_outputs, own.takes_logits) == (None, None, 1, False)


def test_options_reach_the_loss_of_the_logits_too():
    Z, Y = np.array([[40.0, -40.0]]), np.array([[0.0, 1.0]])  # of which a sigmoid rounds to 1
    given = find_loss(functools.partial(losses.binary_cross_entropy, reduction="sum")).on_activation
    assert given.options == {"reduction": "sum"}
    assert given.value(Z, Y) == losses.binary_cross_entropy_with_logits(Z, Y, reduction="sum")


def test_a_loss_of_ones_own_returns_one_number():
    terms = (lambda input, target: (input - target) ** 2, lambda input, target: 2 * (input - target))
    with pytest.raises(TypeError, match=r"loss: expected one number, got an array of shape \(2, 1\)"):
        loss_and_backward(terms, np.ones((2, 1)), np.zeros((2, 1)))


@pytest.mark.parametrize(
    "pair",
    [
        (lambda input, target: 1.0, lambda input, target: 0 * input),
        (lambda input, target: 1.0, lambda input, target, reduction: 0 * input),
        (lambda input, target, reduction: input, lambda input, target: 0 * input),
    ],
    ids=["neither", "backward", "value"],
)
def test_weights_need_losses_that_take_reduction(pair):
    with pytest.raises(TypeError, match="loss: expected two functions that take reduction='none'"):
        loss_and_backward(pair, np.ones((2, 1)), np.zeros((2, 1)), sample_weight=[1.0, 2.0])
