"""Checks and diagnoses refuse options that they would ignore, and parameters or results that have no gradient."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

import handmade as hm

X, Y = np.random.default_rng(0).normal(size=(6, 3)), np.array([0, 1, 2, 0, 1, 2])
CHECKS = [hm.check_gradient, hm.diagnose_gradient, hm.assert_gradient]


def square(theta):
    return float(theta @ theta)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("loss", "mse_loss"),
        ("loss", (np.sum, np.ones_like)),
        ("loss", partial(hm.losses.cross_entropy, label_smoothing=0.1)),
        ("sample_weight", np.ones(2)),
        ("sample_weight", [0.0, 1.0]),
        ("training", False),
    ],
)
def test_an_option_of_networks_is_refused_with_a_function(check, name, value):
    with pytest.raises(TypeError, match=f"^{name}: expected none with a function, which computes its own loss, got"):
        check(square, np.ones(2), 2 * np.ones(2), **{name: value})


@pytest.mark.parametrize("check", CHECKS)
def test_defaults_may_be_given_with_a_function(check):
    loss = "-".join(["cross", "entropy"]).replace("-", "_")  # equal to the default, and another text
    check(square, np.ones(2), 2 * np.ones(2), loss=loss, sample_weight=None, training=True)


@pytest.mark.parametrize("terms", [{}, {"a": square}, {"a": square, "b": square}])
def test_terms_are_refused_with_a_network(terms):
    network = hm.MLP([3, 4, 3], rng=0)
    with pytest.raises(TypeError, match=r"^terms: expected none with a network, whose layers and loss are known, got"):
        hm.diagnose_gradient(network, X, Y, network.theta, terms=terms)


@pytest.mark.parametrize("term", [3, "kl", np.ones(2), None])
def test_a_term_that_is_no_function_is_refused(term):
    with pytest.raises(TypeError, match=r"^terms: expected functions of theta, got \{'a': "):
        hm.diagnose_gradient(square, np.ones(2), 3 * np.ones(2), terms={"a": square, "b": term})


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("training", ["yes", 1, None])
def test_the_mode_is_true_or_false(check, training):
    with pytest.raises(TypeError, match=r"^training: expected True or False, got"):
        check(hm.MLP([3, 4, 3], rng=0), X, Y, training=training)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("given", [(), (np.zeros(31),)])
def test_a_parameter_that_is_not_finite_is_named(check, given, number):
    network = hm.MLP([3, 4, 3], activation="tanh", rng=0)
    network.layers[2].b[1] = number
    with pytest.raises(ValueError, match=rf"^2\.bias: expected finite numbers, got {number} at index \(1,\)"):
        check(network, X, Y, *given)


# ---- functions and modules of PyTorch


def parameters():
    return torch.tensor([1.0, 2.0], dtype=torch.float64)


@pytest.mark.parametrize(
    ("f", "found"),
    [
        (lambda t: t**2, r"a tensor of shape \(2,\)"),
        (lambda t: t[:0], r"a tensor of shape \(0,\)"),
        (lambda t: float(t.detach().sum()), "3.0"),
        (lambda t: None, "None"),
        (lambda t: (t.sum(), 1.0), r"\(tensor"),
    ],
)
def test_a_function_of_torch_returns_one_number(f, found):
    words = f"^the function: expected it to return a tensor of one number, got {found}.*; take its mean or sum"
    with pytest.raises(TypeError, match=words):
        hm.assert_gradient(f, parameters())


@pytest.mark.parametrize("loss", [None, lambda output: output, lambda output: output.mean(axis=0)])
def test_a_module_of_torch_needs_a_loss_of_one_number(loss):
    options = {} if loss is None else {"loss": loss}
    with pytest.raises(TypeError, match=r"^the function: expected it to return a tensor of one number, got a tensor"):
        hm.assert_gradient(torch.nn.Linear(2, 3), torch.ones(4, 2), **options)


@pytest.mark.parametrize("loss", ["mse_loss", 3, (1, 2)])
def test_a_loss_of_a_module_is_a_function(loss):
    with pytest.raises(TypeError, match=r"^loss: expected a function of the module's output, got"):
        hm.assert_gradient(torch.nn.Linear(2, 1), torch.ones(4, 2), loss=loss)


@pytest.mark.parametrize("f", [lambda t: torch.tensor(3.0), lambda t: torch.zeros(1), lambda t: (0 * t.detach()).sum()])
def test_the_gradient_of_a_constant_of_torch_is_zero(f):
    hm.assert_gradient(f, parameters())


def test_a_gradient_that_is_cut_off_is_wrong():
    with pytest.raises(AssertionError, match="the gradient is wrong"):
        hm.assert_gradient(lambda t: (t.detach() ** 2).sum(), parameters())


def squares(theta):
    return float((theta**2).sum())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: hm.check_gradient(3, np.ones(2), np.ones(2)), "^f: expected a function of theta, got 3"),
        (
            lambda: hm.check_gradient(lambda theta, X: 1.0, np.ones(2), np.ones(2)),
            "^f: .* of theta alone, got <function",
        ),
        (
            lambda: hm.check_gradient(squares, np.ones(2), lambda theta, X: theta),
            "^gradient: .* of theta alone, got <fu",
        ),
        (lambda: hm.numerical_gradient(lambda: 1.0, np.ones(2)), "^f: .* of theta alone, got <function"),
        (lambda: hm.step_sweep(lambda theta, *, X: 1.0, np.ones(2)), "^f: .* of theta alone, got <function"),
    ],
)
def test_a_function_of_other_arguments_is_named(call, words):
    with pytest.raises(TypeError, match=words):
        call()
