"""Mistakes at the loss: each is the backward pass of a learner with that one line wrong."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from learners import BITS, LABELS, LOSSES, REALS, X, assert_equal, assert_made, network_of

import handmade as hm
from handmade import losses
from handmade.activations import sigmoid, softmax
from handmade.checking.backward_pass import BackwardPass
from handmade.checking.mistakes import mistakes

OF_BATCH = {
    "first sample only": "dH2[1:] = 0",
    "last sample only": "dH2[:-1] = 0",
    "first sample left out": "dH2[0] = 0",
    "last sample left out": "dH2[-1] = 0",
    "first half of the batch only": "dH2[3:] = 0",
    "second half of the batch only": "dH2[:3] = 0",
    "averaged over the batch before going back": "dH2[:] = dH2.mean(axis=0)",
    "sign of the loss's gradient": "dH2 = np.sign(dH2)",
    "loss's gradient without sign": "dH2 = abs(dH2)",
}
OF_CROSS_ENTROPY = {
    "target of the previous sample": "T = T[[6, 0, 1, 2, 3, 4, 5]]; dH2 = (P - T) / N",
    "target of the next sample": "T = T[[1, 2, 3, 4, 5, 6, 0]]; dH2 = (P - T) / N",
    "target not subtracted": "dH2 = P / N",
    "softmax with a diagonal Jacobian": "dH2 = -T / P * P * (1 - P) / N",
    "by the probabilities, not the logits": "dH2 = -T / P / N",
    "p - y times p (1 - p)": "dH2 *= P * (1 - P)",
    "softmax applied twice": "dH2 = (softmax(P) - T) / N",
    "softmax applied twice, differentiated twice":
        "dH2 = [(np.diag(p) - np.outer(p, p)) @ g for p, g in zip(P, (softmax(P) - T) / N)]; dH2 = np.array(dH2)",
    "softmax missing": "dH2 = (H2 - T) / N",
    "softmax over the wrong axis": "dH2 = (softmax(H2.T).T - T) / N",
    "sigmoid for softmax": "dH2 = (sigmoid(H2) - T) / N",
    "squared error of the probabilities":
        "dH2 = np.array([(np.diag(p) - np.outer(p, p)) @ (p - t) for p, t in zip(P, T)]) / N",
    "only the target's class": "dH2[T == 0] = 0",
    "only the other classes": "dH2[T == 1] = 0",
    "predicted class for probabilities": "dH2 = (np.eye(3)[P.argmax(axis=1)] - T) / N",
    "class index one too large": "dH2 = (P - np.eye(3)[(y + 1) % 3]) / N",
    "class index one too small": "dH2 = (P - np.eye(3)[y - 1]) / N",
    "classes in reverse": "dH2 = (P - np.eye(3)[2 - y]) / N",
    "sum of p and y": "dH2 = (P + T) / N",
    "gradient of mse_loss": "dH2 = 2 * (H2 - T) / H2.size",
    "gradient of l1_loss": "dH2 = np.sign(H2 - T) / H2.size",
    "gradient of half_squared_error": "dH2 = (H2 - T) / N",
    "gradient of huber_loss": "dH2 = np.clip(H2 - T, -1, 1) / H2.size",
    "gradient of smooth_l1_loss": "dH2 = np.clip(H2 - T, -1, 1) / H2.size",
    "gradient of binary_cross_entropy_with_logits": "dH2 = (sigmoid(H2) - T) / H2.size",
    "gradient of multi_margin_loss":
        "dH2 = (1 - (H2 * T).sum(1, keepdims=True) + H2 > 0) * (1 - T); "
        "dH2 = (dH2 - T * dH2.sum(1, keepdims=True)) / H2.size",
    "gradient of quantile_loss": "dH2 = np.sign(H2 - T) / 2 / H2.size",
    "gradient of nll_loss": "dH2 = -T / N",
    "gradient of kl_div": "dH2 = -T / H2.size",
    "gradient of poisson_nll_loss": "dH2 = (np.exp(H2) - T) / H2.size",
    "gradient of multilabel_soft_margin_loss": "dH2 = (sigmoid(H2) - T) / H2.size",
    "gradient of sigmoid_focal_loss":
        "Q = np.where(T == 1, sigmoid(-H2), sigmoid(H2)); dH2 = Q**2 * (Q - 2 * (1 - Q) * np.log(1 - Q)) / H2.size; "
        "dH2 *= np.where(T == 1, -0.25, 0.75)",
}  # fmt: skip
OF_TARGETS = {
    "target of the previous sample": "dH2 = 2 * (H2 - y[[6, 0, 1, 2, 3, 4, 5]]) / y.size",
    "target of the next sample": "dH2 = 2 * (H2 - y[[1, 2, 3, 4, 5, 6, 0]]) / y.size",
    "target not subtracted": "dH2 = 2 * H2 / y.size",
    "prediction not in the gradient": "dH2 = -2 * y / y.size",
    "loss in place of its derivative": "dH2 = (H2 - y) ** 2 / y.size",
    "sum of prediction and target": "dH2 = 2 * (H2 + y) / y.size",
    "error without its bounds": "dH2 = (H2 - y) / y.size",
    "sign of the error": "dH2 = np.sign(H2 - y) / y.size",
    "gradient of l1_loss": "dH2 = np.sign(H2 - y) / y.size",
    "gradient of half_squared_error": "dH2 = (H2 - y) / N",
    "gradient of huber_loss": "dH2 = np.clip(H2 - y, -1, 1) / y.size",
    "gradient of smooth_l1_loss": "dH2 = np.clip(H2 - y, -1, 1) / y.size",
    "gradient of quantile_loss": "dH2 = np.sign(H2 - y) / 2 / y.size",
    "gradient of poisson_nll_loss": "dH2 = (np.exp(H2) - y) / y.size",
}
OF_BITS = {
    "p - y times p (1 - p)": "dH2 *= P * (1 - P)",
    "sigmoid applied twice": "dH2 = (sigmoid(P) - y) / y.size",
    "by the probability, not the logit": "dH2 = (P - y) / (P * (1 - P)) / y.size",
    "second term of the cross-entropy missing": "dH2 = -y / P / y.size",
    "second term of the cross-entropy missing, by the logit": "dH2 = -y / P * P * (1 - P) / y.size",
    "first term of the cross-entropy missing": "dH2 = (1 - y) / (1 - P) / y.size",
    "first term of the cross-entropy missing, by the logit": "dH2 = (1 - y) / (1 - P) * P * (1 - P) / y.size",
    "target not subtracted": "dH2 = P / y.size",
    "prediction not in the gradient": "dH2 = -y / y.size",
    "p - y": "dH2 = (P - y) / y.size",
}
OF_SIGNS = {
    "margin condition missing": "dH2 = -y / y.size",
    "label missing in the hinge": "dH2 = -1.0 * (1 - y * H2 > 0) / y.size",
    "margin 0 in the hinge": "dH2 = -y * (0 - y * H2 > 0) / y.size",
    "margin condition reversed": "dH2 = -y * (1 - y * H2 <= 0) / y.size",
    "target not subtracted": "dH2 = H2 / y.size",
    "gradient of soft_margin_loss": "dH2 = -y * sigmoid(-y * H2) / y.size",
    "gradient of hinge_embedding_loss": "dH2 = np.where(y > 0, 1, -1.0 * (H2 <= 1)) / y.size",
}


@pytest.mark.parametrize(
    ("loss", "y", "name", "line"),
    [("cross_entropy", LABELS, *item) for item in (OF_BATCH | OF_CROSS_ENTROPY).items()]
    + [("mse_loss", REALS, *item) for item in OF_TARGETS.items()]
    + [("binary_cross_entropy_with_logits", BITS, *item) for item in OF_BITS.items()]
    + [("hinge_loss", 2 * BITS - 1, *item) for item in OF_SIGNS.items()],
)
def test_mistakes_at_the_loss_equal_wrong_lines(loss, y, name, line):
    right = LOSSES[loss]
    assert_made(network_of(), X, y, loss, name, f"the loss, {loss}", (right, f"{right}; {line}"))


COMMON = {*OF_BATCH, "target of the previous sample", "target of the next sample", "gradient of cross_entropy"}


@pytest.mark.parametrize(
    ("loss", "y", "expected"),
    [
        ("cross_entropy", LABELS, {*COMMON, *OF_CROSS_ENTROPY} - {"gradient of cross_entropy"}),
        ("mse_loss", REALS, {*COMMON, *OF_TARGETS}),
        ("hinge_loss", 2 * BITS - 1, {*COMMON, *OF_TARGETS, *OF_SIGNS, "gradient of mse_loss"}),
    ],
)
def test_each_loss_has_its_own_mistakes(loss, y, expected):
    found = [m.name for m in mistakes(BackwardPass(network_of(), X, y, loss)) if m.where == f"the loss, {loss}"]
    assert len(found) == len(set(found))
    assert set(found) == expected


# ---- losses with options -------------------------------------------------------------------------------------------

SMOOTHED = functools.partial(losses.cross_entropy, label_smoothing=0.2, weight=[1.0, 2.0, 3.0])
WEIGHT = np.array([0.5, 0, 1, 2, 3, 0.25, 1])


def at_the_loss(passes):
    """Return the gradient that each mistake at the loss starts with."""
    place, listed = len(passes.layers), [m for m in mistakes(passes) if m.where.startswith("the loss")]
    return {m.name: m.steps[place](passes, place, passes.values[-1]) for m in listed}


@pytest.mark.parametrize(
    ("loss", "sample_weight", "name", "instead"),
    [
        (SMOOTHED, None, "label_smoothing ignored", functools.partial(losses.cross_entropy, weight=[1.0, 2.0, 3.0])),
        (SMOOTHED, None, "weight ignored", functools.partial(losses.cross_entropy, label_smoothing=0.2)),
        ("cross_entropy", WEIGHT, "sample_weight ignored", "cross_entropy"),
    ],
)
def test_an_option_of_the_loss_that_is_ignored(loss, sample_weight, name, instead):
    found = at_the_loss(BackwardPass(network_of(), X, LABELS, loss, sample_weight))
    assert_equal(found[name], BackwardPass(network_of(), X, LABELS, instead).loss_gradient)
    expected = {"label_smoothing ignored", "weight ignored"} if loss is SMOOTHED else {"sample_weight ignored"}
    assert {name for name in found if name.endswith("ignored")} == expected


def test_shifted_targets_leave_the_sample_weights():
    passes = BackwardPass(network_of(), X, LABELS, sample_weight=WEIGHT)
    found = at_the_loss(passes)["target of the next sample"]
    T = np.eye(3)[[*LABELS[1:], LABELS[0]]]
    assert_equal(found, WEIGHT[:, np.newaxis] * (softmax(passes.values[-1]) - T) / 7)


def test_a_necessary_option_does_not_hide_others():
    y = np.where(LABELS == 1, 255, LABELS)
    loss = functools.partial(losses.cross_entropy, ignore_index=255, label_smoothing=0.2)
    ignored = [name for name in at_the_loss(BackwardPass(network_of(), X, y, loss)) if name.endswith("ignored")]
    assert ignored == ["label_smoothing ignored"]


@pytest.mark.parametrize(
    ("loss", "count"),
    [
        ("cross_entropy", 7),
        (functools.partial(losses.cross_entropy, reduction="sum"), 1),
        (functools.partial(losses.cross_entropy, weight=[1.0, 2.0, 3.0]), 1 + 3 + 2 + 2 + 1 + 3 + 3),
        (functools.partial(losses.cross_entropy, ignore_index=1), 5),
    ],
    ids=["mean", "sum", "weights", "ignored"],
)
def test_terms_of_a_loss_share_its_divisor(loss, count):
    passes = BackwardPass(network_of(), X, LABELS, loss)
    found = at_the_loss(passes)["target not subtracted"]
    assert np.abs(found * count - softmax(passes.values[-1])).max() <= 1e-14


def test_a_loss_of_ones_own_is_a_mean_over_the_samples():
    def cubic(H, y):
        return ((H - y) ** 3).sum() / len(H)

    passes = BackwardPass(network_of(), X, REALS, (cubic, lambda H, y: 3 * (H - y) ** 2 / len(H)))
    assert_equal(at_the_loss(passes)["error without its bounds"], (passes.values[-1] - REALS) / 7)
    assert {m.where for m in mistakes(passes) if len(passes.layers) in m.steps} == {"the loss, cubic"}


def test_a_loss_of_ones_own_may_take_one_real_number_per_sample():
    def first(H, y):
        return ((H[:, 0] - y) ** 2).sum()

    passes = BackwardPass(network_of(), X, REALS[:, 0], (first, lambda H, y: 2 * (H - y[:, np.newaxis]) * [1, 0, 0]))
    assert at_the_loss(passes).keys() == COMMON - {"gradient of cross_entropy"}


def test_a_loss_without_a_gradient_here_divides_by_the_samples():
    """Every margin is kept: nothing says over how many terms the mean is."""
    network = hm.Network([hm.Dense(4, 3)])
    network.theta[:] = [*np.zeros(12), 5, 5, 5]
    found = at_the_loss(BackwardPass(network, X, np.ones((7, 3)), "hinge_loss"))
    assert_equal(found["margin condition missing"], -np.ones((7, 3)) / 7)
    assert not [name for name in found if name == "gradient of hinge_loss"]


def test_probabilities_as_targets_of_the_cross_entropy():
    T = softmax(REALS)
    passes = BackwardPass(network_of(), X, T)
    found = at_the_loss(passes)
    assert_equal(found["sum of p and y"], (softmax(passes.values[-1]) + T) / 7)
    assert_equal(found["gradient of mse_loss"], 2 * (passes.values[-1] - T) / 21)


def test_probabilities_out_of_a_sigmoid_are_not_squashed_again():
    network = network_of(activation=["tanh", "tanh", "sigmoid"])
    passes = BackwardPass(network, X, BITS, "binary_cross_entropy")
    P, found = passes.values[-1], at_the_loss(passes)
    for name, right in {
        "p - y": P - BITS,
        "second term of the cross-entropy missing": -BITS / P,
        "target not subtracted": P,
        "sigmoid applied twice": sigmoid(P) - BITS,
    }.items():
        assert_equal(found[name], right / 21)


@pytest.mark.parametrize("ignored", [-100, 3, 255])
def test_labels_that_are_no_class_are_ignored(ignored):
    y = np.array([0, 2, ignored, 1, 0, 2, 2])
    passes = BackwardPass(network_of(), X, y, functools.partial(losses.cross_entropy, ignore_index=ignored))
    found, counted = at_the_loss(passes), y != ignored
    assert np.isfinite(found["softmax missing"]).all()
    right = (softmax(passes.values[-1]) + np.eye(3)[np.where(counted, y, 0)]) / 6
    assert_equal(found["sum of p and y"][counted], right[counted])


def test_other_losses_of_labels_have_no_own_terms():
    listed = [
        m.name for m in mistakes(BackwardPass(network_of(), X, LABELS, "multi_margin_loss")) if "the loss," in m.where
    ]
    others = {name for name in OF_CROSS_ENTROPY if name.startswith("gradient of")} - {"gradient of multi_margin_loss"}
    assert set(listed) == COMMON | others


def test_a_loss_without_a_name_is_the_loss():
    class Half:
        def __call__(self, H, y):
            return ((H - y) ** 2).sum() / 2

    passes = BackwardPass(network_of(), X, REALS, (Half(), lambda H, y: H - y))
    assert {m.where for m in mistakes(passes) if len(passes.layers) in m.steps} == {"the loss, the loss"}


@pytest.mark.parametrize(("loss", "y"), [("cross_entropy", LABELS), ("binary_cross_entropy_with_logits", BITS)])
def test_probabilities_of_0_and_1_are_no_concern(loss, y):
    network = network_of()
    network.theta[-15:] *= 1e5
    found = at_the_loss(BackwardPass(network, X, y, loss))
    assert not all(np.isfinite(dH).all() for dH in found.values())


@pytest.mark.parametrize("label", [1.0, -1.0])
def test_hinge_comparisons_hold_around_their_margins(label):
    network = hm.Network([hm.Dense(1, 1)])
    network.theta[:] = [1, 0]
    outputs = [-2.5, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.5]
    found = at_the_loss(BackwardPass(network, np.array(outputs)[:, np.newaxis], np.full((9, 1), label), "hinge_loss"))
    for name, gradient in {
        "label missing in the hinge": [-1 if label * h < 1 else 0 for h in outputs],
        "margin 0 in the hinge": [-label if label * h < 0 else 0 for h in outputs],
        "margin condition reversed": [-label if label * h >= 1 else 0 for h in outputs],
    }.items():
        assert_equal(found[name].ravel(), np.array(gradient) / 9)
