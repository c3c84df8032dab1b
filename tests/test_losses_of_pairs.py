"""Losses of several inputs: beside torch, and a gradient for each input."""

from __future__ import annotations

import functools
import inspect

import numpy as np
import pytest
import torch
from loss_cases import EPS, FLOATS, REDUCTIONS, RNG, both, distribution

import handmade as hm
from handmade import losses
from handmade.losses import SEVERAL_INPUTS, cross_entropy, cross_entropy_backward

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
    dX, dV = losses.gaussian_nll_loss_backward([2.0, 2.0, 1.0], [0.0] * 3, [0.5, 1.0, 2.0], eps=1.0, reduction="sum")
    np.testing.assert_array_equal(dX, [2.0, 2.0, 0.5])
    np.testing.assert_array_equal(dV, [0.0, -1.5, 0.125])
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
            "negative: expected the shape of the anchor",
        ),
        (
            "triplet_margin_loss",
            ([1.0], [1.0, 2.0], [1.0]),
            {},
            ValueError,
            "^positive: expected the shape of the anchor",
        ),
        ("triplet_margin_loss", (1.0, 1.0, 1.0), {}, ValueError, "anchor: expected vectors of shape"),
        ("triplet_margin_loss", ([1.0], [1.0], [1.0]), {"p": np.inf}, ValueError, "p: expected a finite number >= 1"),
        ("margin_ranking_loss", ([1.0], [1.0], [1, 1]), {}, ValueError, "^target: expected the shape of the input1"),
        ("cosine_embedding_loss", ([1.0], [1.0], 0), {}, ValueError, r"target: expected labels -1 and \+1, got 0"),
        ("gaussian_nll_loss", ([1, 1], [1, 1], [2.0, -1.0]), {}, ValueError, "var: expected variances .* 0, got -1"),
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


def test_a_variance_of_zero_counts_as_eps():
    at_zero, at_eps = (losses.gaussian_nll_loss([1.0], [2.0], [var], eps=0.5) for var in (0.0, 0.5))
    assert at_zero == at_eps


@pytest.mark.parametrize("name", SEVERAL_INPUTS)
def test_every_argument_of_several_that_is_wrong_is_named(name):
    arguments = next(case[1] for case in SEVERAL if case[0] == name)
    for f in SEVERAL_INPUTS[name]:
        names = list(inspect.signature(f).parameters)
        for argument in names:
            if (f.__name__, argument) != ("gaussian_nll_loss_backward", "full"):  # a constant has no derivative
                given = dict(zip(names, arguments, strict=False)) | {argument: np.array([object()])}
                with pytest.raises((TypeError, ValueError), match=f"^{argument}: expected"):
                    f(**given)


def test_a_variance_with_one_wrong_axis_is_named():
    with pytest.raises(ValueError, match=r"^var: expected a number, or the shape of the input \(6, 4\)"):
        losses.gaussian_nll_loss(VECTORS[0], VECTORS[1], np.ones((6, 3)))


def test_an_enormous_vector_leaves_the_others_their_digits():
    positive = np.array([[3e200, 4e200], [3e-170, 4e-170]])
    negative = np.array([[0, 1e200], [0, 1e-170]])
    terms = losses.triplet_margin_loss(np.zeros((2, 2)), positive, negative, margin=1e-300, eps=0.0, reduction="none")
    np.testing.assert_allclose(terms, [4e200, 4e-170], rtol=8 * EPS)  # 5 - 1, each of some roundings


def test_vectors_of_all_lengths_have_their_own_angles():
    U, V = VECTORS[:2]
    lengths = np.array([1e200, 1e-3, 1.0, 1e3, 1e-200, 0.0])[:, np.newaxis]
    together = losses.cosine_embedding_loss(U * lengths, V * lengths, LABELS, reduction="none")
    alone = [losses.cosine_embedding_loss(*one) for one in zip(U * lengths, V * lengths, LABELS, strict=True)]
    np.testing.assert_allclose(together, alone, rtol=8 * EPS)


def test_a_negative_at_one_distance_to_both_is_not_swapped():
    anchor = positive = VECTORS[0]
    arguments = anchor, positive, VECTORS[2], 9.0
    for swapped, plain in zip(
        losses.triplet_margin_loss_backward(*arguments, swap=True),
        losses.triplet_margin_loss_backward(*arguments),
        strict=True,
    ):
        np.testing.assert_array_equal(swapped, plain)
