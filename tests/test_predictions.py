"""A wrong gradient of a loss as that of another prediction or target, and what else a person sees in a wrong step."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from test_formulas import diagnosis_of

import handmade as hm
from handmade.activations import softmax
from handmade.checking.regression import Term, fit, ways_to_write


def label_gradient(
    prediction=softmax, labels=lambda y: y, rows=16, targets=lambda Y: Y, factor=lambda y: 1, as_arrays=False, **options
):
    """Return the diagnosis of a cross-entropy whose gradient has another prediction, other labels or targets."""
    rng = np.random.default_rng(1)
    network = hm.MLP([5, 7, 4], activation="tanh", rng=1)
    X, y = rng.normal(size=(rows, 5)), rng.integers(0, 4, rows)

    def gradient(parameters, X, y):
        W0, b0, W2, b2 = parameters
        H = np.tanh(X @ W0.T + b0)
        dA = factor(y) * (prediction(H @ W2.T + b2) - targets(np.eye(4)[labels(y)])) / len(X)
        dA0 = dA @ W2 * (1 - H * H)
        return [dA0.T @ X, dA0.sum(axis=0), dA.T @ H, dA.sum(axis=0)]

    claimed = gradient(list(network.blocks(network.theta).values()), X, y) if as_arrays else gradient
    return hm.diagnose_gradient(network, X, y, claimed, loss=partial(hm.losses.cross_entropy, **options))


@pytest.mark.parametrize(
    ("prediction", "said"),
    [
        (lambda A: np.clip(softmax(A), 0.2, 1.0), "P clipped below at 0.2"),
        (lambda A: np.clip(softmax(A), 0.1, 0.3), "P clipped below at 0.1 and above at 0.3"),
        (lambda A: softmax(A.astype(np.float16)).astype(float), "P in float16"),
        (lambda A: softmax(A / 3), "softmax of A divided by 3: a temperature"),
        (lambda A: softmax(1.7 * A), "softmax of A times 1.7: a temperature"),
    ],
    ids=["below", "both sides", "half precision", "temperature", "sharpened"],
)
def test_what_was_done_to_a_prediction_is_said(prediction, said):
    found = label_gradient(prediction)
    assert found.formula == f"dA[2] = right, but with {said}" and found.places == [hm.checking.places.Place(("loss",))]


@pytest.mark.parametrize(
    ("targets", "options", "said"),
    [
        (
            lambda Y: 0.8 * Y + 0.2 / 3 * (1 - Y),
            {"label_smoothing": 0.2},
            "0.8 in place of 0.85, 0.0666667 in place of 0.05",
        ),
        (lambda Y: 0.8 * Y + 0.2 / 4, {"label_smoothing": 0.1}, "0.85 in place of 0.925, 0.05 in place of 0.025"),
        (lambda Y: 0.9 * Y + 0.1 / 4, {}, "0.925 in place of 1, 0.025 in place of 0"),
    ],
    ids=["other classes only", "twice as much", "none in the loss"],
)
def test_targets_smoothed_in_another_way_are_named(targets, options, said):
    of_class, elsewhere = said.split(", ")
    found = label_gradient(targets=targets, **options)
    expected = f"dA[2] = right, but with targets {of_class} for the class, and {elsewhere} for the others"
    assert found.formula == expected


def test_a_weighted_loss_divided_by_the_number_of_rows_is_named():
    weight = np.array([0.5, 2.0, 1.3, 0.9])
    found = label_gradient(factor=lambda y: weight[y][:, None], weight=weight)
    assert found.formula == "dA[2] = 1/N weight[target] (P-Y)"
    found = label_gradient(factor=lambda y: weight[y][:, None], weight=weight, as_arrays=True)
    assert found.formula == "dA[2] = (sum of the weights)/N right"
    assert found.explanations[0].name == "times (sum of the weights)/N"


def test_the_right_formula_is_written_like_the_wrong_one():
    rng = np.random.default_rng(4)
    network = hm.MLP([3, 5, 1], activation="tanh", rng=2)
    X, y = rng.normal(size=(12, 3)), rng.integers(0, 2, (12, 1)).astype(float)

    def gradient(parameters, X, y):
        W0, b0, W2, b2 = parameters
        H = np.tanh(X @ W0.T + b0)
        dA = (hm.activations.sigmoid(H @ W2.T + b2) - 4 * y) / len(X)
        dA0 = dA @ W2 * (1 - H * H)
        return [dA0.T @ X, dA0.sum(axis=0), dA.T @ H, dA.sum(axis=0)]

    loss = partial(hm.losses.binary_cross_entropy_with_logits, pos_weight=4.0)
    found = hm.diagnose_gradient(network, X, y, gradient, loss=loss)
    assert found.formula == "dA[2] = -pos_weight/N Y + 1/N sigmoid(A)"
    assert "right = -4/N Y + 1/N sigmoid(A) + 3/N Y sigmoid(A)" in str(found)


def test_other_labels_are_listed():
    found = label_gradient(labels=lambda y: np.where(y == 3, 1, y))
    assert "other labels in" in found.formula and "1 for 3" in found.formula


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (np.trunc, "Y cut to integers"),
        (lambda y: np.round(y, 1), "Y rounded to 1 decimals"),
        (lambda y: np.maximum(y, 0), "Y clipped below at 0"),
        (lambda y: y[::-1], "the rows of Y in the order 4, 3, 2, 1, 0"),
        (lambda y: y * [1, 1, 0, 1], "Y of which column 2 is 0"),
    ],
    ids=["integers", "rounded", "clipped", "reversed", "column"],
)
def test_what_was_done_to_the_targets_is_said(change, said):
    found = diagnosis_of(lambda A, y: 2 * (A - change(y)) / y.size, rows=15)
    assert found.formula == f"dA[2] = right, but with {said}"


def test_a_batch_that_is_right_contradicts_a_coincidence():
    """(A - Y) / 4 is right with four rows; with five 1/4 is 1/(N-1), too, which would be 1/3 with four."""
    found = diagnosis_of(lambda A, y: (A - y) / 4, "half_squared_error", rows=5)
    assert "N-1" not in found.formula and found.formula == "dA[2] = 0.25 N right"


def test_a_decimal_is_as_likely_as_one_over_n_minus_one():
    ways, _ = ways_to_write(0.1, {"N": 11.0, "(N-1)": 10.0}, 1e-9)
    assert set(ways) == {"0.1", "1/(N-1)"}


def test_a_mask_drawn_again_is_seen():
    rng = np.random.default_rng(0)
    network = hm.Network([hm.Dense(9, 6, rng=1), hm.Activation("tanh"), hm.Dropout(0.4, rng=3), hm.Dense(6, 3, rng=2)])
    X, y = rng.normal(size=(8, 9)), rng.integers(0, 3, 8)
    W0, b0, W3, b3 = network.state_dict().values()
    kept = (np.random.default_rng(3).random((8, 6), dtype=np.float32) >= 0.4) / 0.6
    T = np.tanh(X @ W0.T + b0)
    dA3 = (softmax(T * kept @ W3.T + b3) - np.eye(3)[y]) / 8
    dA0 = dA3 @ W3 * kept[::-1] * (1 - T * T)
    claim = [dA0.T @ X, dA0.sum(axis=0), dA3.T @ (T * kept), dA3.sum(axis=0)]
    found = hm.diagnose_gradient(network, X, y, claim)
    assert found.formula == "dA[0] = 1/(1-p) dH, with another mask than that of the forward pass"


def test_an_odd_number_that_one_row_decides_is_not_said():
    """A column with one entry fits any number there: 1.98 times it is a coincidence, not a cause."""
    rng = np.random.default_rng(0)
    A, rare = rng.normal(size=(2, 12))
    rare[1:] = 0
    target = 2 * A + 1.98491 * rare
    assert not fit(target, [Term("A", A), Term("rare", rare)], {}, 1e-9)
    often = rng.normal(size=12)
    assert fit(2 * A + 1.98491 * often, [Term("A", A), Term("often", often)], {}, 1e-9)


def test_two_wrong_parameters_leave_open_whether_dA_is():
    """Where dW and db of the lowest layer do not fit the right dA, two of the three are wrong, and any two may be."""
    rng = np.random.default_rng(0)
    network = hm.MLP([9, 4, 3], activation="tanh", rng=0)
    X, y = rng.normal(size=(5, 9)), rng.integers(0, 3, 5)
    claim = network.loss_and_gradient(X, y)[1].copy()
    blocks = network.blocks(claim)
    blocks["0.weight"][:] = rng.normal(size=(4, 5)) @ X
    blocks["0.bias"][:] = rng.normal(size=4)
    found = hm.diagnose_gradient(network, X, y, claim)
    assert [place.parameters for place in found.places] == [("0.weight",), ("0.bias", "0.weight")]
    assert "1" in found.places[0].layers


def test_a_dA_that_explains_any_claim_is_no_evidence():
    """Fifteen rows have more entries of dA than there are gradients: whether dA[2] or dW[2] is wrong stays open."""
    rng = np.random.default_rng(0)
    network = hm.MLP([4, 5, 3], activation="tanh", rng=0)
    X, y = rng.normal(size=(15, 4)), rng.integers(0, 3, 15)
    W0, b0, W2, b2 = network.state_dict().values()
    H = np.tanh(X @ W0.T + b0)
    dA2 = (softmax(H @ W2.T + b2) - np.eye(3)[y]) / 15
    dA0 = dA2 @ W2 * (1 - H * H)
    averaged = [np.outer(dA.sum(axis=0), V.mean(axis=0)) for dA, V in ((dA0, X), (dA2, H))]
    found = hm.diagnose_gradient(network, X, y, [averaged[0], dA0.sum(axis=0), averaged[1], dA2.sum(axis=0)])
    assert found.places[0].layers == ("loss",) and found.places[0].parameters == ("2.weight",)
