"""Losses: bad input is an error that names the argument."""

from __future__ import annotations

import functools
import inspect

import numpy as np
import pytest
from loss_cases import ALL, RNG, SETS

from handmade import losses
from handmade.layers import Dense
from handmade.losses import LOSSES, _terms, cross_entropy, loss_and_backward
from handmade.network import Network

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
    ("kl_div", [0.0, 0.0], [0.5, -0.25], {}, ValueError, "target: expected probabilities, got -0.25"),
    ("kl_div", ROW, ROW, {"log_target": 1}, TypeError, "log_target: expected True or False, got 1"),
    ("poisson_nll_loss", ROW - 1, ROW, {"log_input": False}, ValueError, "input: expected rates of at least 0, got -1"),
    ("poisson_nll_loss", [1.0, -2.0], [1, 1], {"log_input": False}, ValueError, "input: expected rates .* got -2"),
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
    *[
        ("cross_entropy", SCORES, SCORES, {"ignore_index": i}, ValueError, "ignore_index: expected none with")
        for i in (0, 1)
    ],
    ("nll_loss", SCORES, np.ma.array([0, 1, 2]), {}, TypeError, "^target: expected an array without a mask"),
    ("nll_loss", SCORES, [0, 1, 2], {"ignore_index": 1.0}, TypeError, "ignore_index: expected an integer, got 1.0"),
    ("huber_loss", ROW, ROW, {"delta": 0}, ValueError, "delta: expected a finite number > 0, got 0"),
    ("huber_loss", ROW, ROW, {"delta": -1.5}, ValueError, "delta: expected a finite number > 0, got -1.5"),
    ("huber_loss", ROW, ROW, {"delta": np.nan}, ValueError, "delta: expected a finite number > 0, got nan"),
    ("huber_loss", ROW, ROW, {"delta": "1"}, TypeError, "delta: expected a finite number > 0, got '1' of type str"),
    ("smooth_l1_loss", ROW, ROW, {"beta": -0.5}, ValueError, "beta: expected a finite number >= 0, got -0.5"),
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
            (
                SCORES,
                [0, 1, 2],
                {"weight": [1, np.inf, 1, 1.0]},
                ValueError,
                "^weight: expected finite numbers, got inf",
            ),
        ]
    ],
    ("multi_margin_loss", np.zeros((2, 3, 4)), np.zeros((2, 4), int), {}, ValueError, r"\(2, 3, 4\)"),
    ("multilabel_margin_loss", np.zeros((2, 3, 4)), np.zeros((2, 3, 4), int), {}, ValueError, r"\(2, 3, 4\)"),
    (
        "multilabel_soft_margin_loss",
        1.0,
        1.0,
        {},
        ValueError,
        r"input: expected logits of shape \(\.\.\., K\), got a num",
    ),
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
@pytest.mark.parametrize("ignore_index", [-100, 1, np.int64(1)])
def test_labels_may_be_integers_of_any_kind(dtype, ignore_index):
    Z, labels = RNG.normal(size=(4, 3)), np.array([0, 1, 2, 0])
    options = {"ignore_index": ignore_index}
    for f in LOSSES["cross_entropy"]:
        np.testing.assert_array_equal(f(Z, labels.astype(dtype), **options), f(Z, labels, **options))


@pytest.mark.parametrize("kind", [str, bytes, object, "T"])
def test_classes_with_names_are_pointed_to_their_encoder(kind):
    with pytest.raises(TypeError, match=r"; number the classes with handmade\.data\.encode_labels$"):
        LOSSES["cross_entropy"].value(SCORES, np.array(["a", "b", "c"]).astype(kind))


@pytest.mark.parametrize("ignore_index", [None, -100, 4])
@pytest.mark.parametrize("labels", [[0, 0, 0], [2, 0, 1], [3, 3, 1]])
def test_labels_that_all_count_are_taken_as_they_are(labels, ignore_index):
    labels = np.array(labels)
    taken, kept = _terms.class_labels(labels, (3,), 4, ignore_index)
    assert taken is labels and kept is None  # no copy, and no mask to multiply by


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
    with pytest.raises(ValueError, match=r"backward to return the shape of the input \(3, 2\), got"):
        loss_and_backward(pair, np.ones((3, 2)), None)


def test_sample_weights_are_finite_and_may_be_negative():
    input, target = np.array([[3.0], [2.0]]), np.ones((2, 1))
    value, dH = loss_and_backward("mse_loss", input, target, [1.0, -1.0])  # as advantages of a policy gradient
    assert value == (4 - 1) / 2 and dH.tolist() == [[2.0], [-1.0]]
    with pytest.raises(ValueError, match="sample_weight: expected finite"):
        loss_and_backward("mse_loss", input, target, [1.0, np.nan])


@pytest.mark.parametrize("weight", [None, np.ones(3)])
def test_the_wrong_argument_is_named_beside_weights_too(weight):
    """An error of the loss itself is not taken for one of a loss without ``reduction``."""
    with pytest.raises(TypeError, match=r"^input: expected an array of numbers, got dtype bool"):
        loss_and_backward("mse_loss", SCORES > 0, SCORES, weight)
    with pytest.raises(TypeError, match=r"^target: expected numbers, got dtype bool"):
        loss_and_backward("mse_loss", SCORES, SCORES > 0, weight)


@pytest.mark.parametrize(
    ("loss", "y", "message"),
    [
        (
            "mse_loss",
            np.zeros(12),
            r"^y: expected the shape of the output \(3, 4\), got .*; reshape .* y.reshape\(3, 4\)$",
        ),
        ("binary_cross_entropy", SCORES, "^output: expected values from 0 to 1, got -7; logits belong to binary_"),
        ("cross_entropy", [0, 4, 1], "^y: expected class indices from 0 to 3, got 4$"),
    ],
)
def test_a_network_names_y_and_its_output(loss, y, message):
    network = Network([Dense(2, 4, weight_init="zeros", bias_init=lambda shape, *_: np.full(shape, -7.0))])
    with pytest.raises(ValueError, match=message):
        network.loss_and_gradient(np.ones((3, 2)), y, loss)


def test_two_kinds_of_weights_are_not_mixed():
    weighted = functools.partial(LOSSES["cross_entropy"].value, weight=np.ones(2))
    with pytest.raises(ValueError, match="expected a loss without weight"):
        loss_and_backward(weighted, np.ones((3, 2)), np.zeros(3, int), np.ones(3))
    named = functools.partial(LOSSES["cross_entropy"].value, weight=None)  # which is the default
    expected = loss_and_backward("cross_entropy", np.ones((3, 2)), [0, 1, 0], [1.0, 2.0, 3.0])
    found = loss_and_backward(named, np.ones((3, 2)), [0, 1, 0], [1.0, 2.0, 3.0])
    assert found[0] == expected[0] and found[1].tolist() == expected[1].tolist()


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


NO_NUMBERS = {"reduction": "average", "full": "no", "log_input": "no", "log_target": "no"}
UNREAD = {("poisson_nll_loss_backward", "full")}  # a constant has no derivative


@pytest.mark.parametrize("name", {case[0]: None for case in ALL.values()})
@pytest.mark.parametrize("bad", [np.array([object()]), [[0.0], [0.0, 1.0]]], ids=["object", "ragged"])
def test_every_argument_that_is_no_number_is_named(name, bad):
    *_, (_, options, case) = (c for c in ALL.values() if c[0] == name)
    for f in LOSSES[name]:
        for argument in inspect.signature(f).parameters:
            if (f.__name__, argument) not in UNREAD:
                given = dict(zip(("input", "target"), case, strict=True)) | options
                given |= {"log_input": False} if name.startswith("poisson") else {}  # which alone reads eps
                with pytest.raises((TypeError, ValueError), match=f"^{argument}: expected"):
                    f(**given | {argument: NO_NUMBERS.get(argument, bad)})


def test_a_target_too_large_for_float32_is_infinite():
    assert losses.l1_loss(np.zeros(2, np.float32), np.array([1e60, 0])) == np.inf  # a warning fails here
    assert cross_entropy(np.array([[3e38, -3e38]], np.float32), [1]) == np.inf
