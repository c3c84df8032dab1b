"""What a diagnosis says, and the options of the loss."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from diagnosed import CASES, LABELS, THETA, X, f, f_gradient, names

import handmade as hm
from handmade import MLP, Network, diagnose_gradient
from handmade.checking.backward_pass import BackwardPass
from handmade.checking.causes import tolerance
from handmade.checking.explanation import Explanation
from handmade.checking.mistakes import mistakes
from handmade.checking.reports import Diagnosis

# ---- the report ------------------------------------------------------------------------------------------------------

FIRST = Explanation("sign", "0.weight", "it points the other way", "claimed = -1 true", 1.25e-12)


TOLD = "NAMED: sign, in 0.weight\n  evidence: claimed = -1 true; residual 1.2e-12"


WRONG = dict(wrong=["2.bias", "0.weight"], ratios={"2.bias": "twice", "0.weight": "-1 times"})


BOTH = "first wrong in backward order: 2.bias\n  2.bias: twice\n  0.weight: -1 times\n"


SEVERAL = "{} explanations that this batch cannot tell apart; another, of another size, may"


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (dict(verdict="right"), "RIGHT: the differences confirm it"),
        (
            dict(verdict="right", undecided=3),
            "RIGHT: the differences confirm it; 3 entries at a kink or in noise undecided",
        ),
        (dict(verdict="undecided"), "UNDECIDED: at no entry did the differences tell right from wrong"),
        (
            dict(verdict="unknown", difference=1e-3, **WRONG),
            BOTH + "UNKNOWN: 77 comparisons, and no known mistake and no simple formula explains it",
        ),
        (
            dict(verdict="unknown", difference=tolerance(single=True), **WRONG),
            BOTH + "UNKNOWN: 77 comparisons, and no known mistake and no simple formula explains it\n"
            "it differs by at most 7.7e-04, as much as float32 may lose",
        ),
        (dict(verdict="named", explanations=[FIRST], **WRONG), BOTH + TOLD),
        (dict(verdict="named", explanations=[FIRST]), TOLD),
        (dict(verdict="named", explanations=[FIRST] * 2), "\n".join([TOLD] * 2 + [SEVERAL.format(2)])),
        (dict(verdict="named", explanations=[FIRST] * 7), "\n".join([TOLD] * 5 + [SEVERAL.format(7)])),
    ],
)
def test_what_a_diagnosis_prints(found, text):
    nothing = dict(wrong=[], explanations=[], ratios={}, tolerance=9e-8, tried=77, undecided=0, difference=1.0)
    diagnosis = Diagnosis(**nothing | found)
    assert str(diagnosis) == repr(diagnosis) == text
    assert bool(diagnosis) == (found["verdict"] == "right")
    assert diagnosis.first_wrong == (found["wrong"][0] if "wrong" in found else None)


def test_a_pair_of_mistakes_is_printed_as_one():
    network, y, loss = CASES["deep tanh"]
    passes = BackwardPass(network, X, y, loss)
    known = {mistake.name: mistake for mistake in mistakes(passes) if not mistake.where.startswith("all")}
    one, other = known["activation derivative missing"], known["bias gradient averaged over the samples"]
    assert one.where == "layers[1], Activation('tanh')" and other.where == "layers[0], Dense(4, 5)"
    wrong = passes.gradient({**one.steps, **other.steps})
    diagnosis = diagnose_gradient(network, X, y, wrong, loss=loss)
    message = next(e for e in diagnosis.explanations if {one.name, other.name} == set(e.name.split(" and ")))
    assert set(message.where.split(", and ")) == {one.where, other.where}
    assert set(message.hint.split("; ")) == {one.hint, other.hint}
    assert message.evidence == "a backward pass with this mistake gives the claimed gradient"
    assert message.residual <= diagnosis.tolerance
    assert diagnosis.wrong == ["0.weight", "0.bias"] and list(diagnosis.ratios) == diagnosis.wrong


# ---- the options of the loss -----------------------------------------------------------------------------------------

WEIGHT = np.array([0.5, 0, 1, 2, 3, 0.25, 1, 4])


@pytest.mark.parametrize("options", [{}, {"training": False}, {"sample_weight": WEIGHT}, {"loss": "multi_margin_loss"}])
@pytest.mark.parametrize("own", [False, True], ids=["given", "the network's own"])
def test_a_gradient_is_that_of_the_loss_with_all_its_options(options, own):
    network = MLP([4, 5, 3], activation="tanh", normalization="batch", dropout=0.3, rng=9)
    gradient = [] if own else [copy.deepcopy(network).loss_and_gradient(X, LABELS, **options)[1]]
    assert diagnose_gradient(network, X, LABELS, *gradient, **options)
    if not own:
        assert "sign" in names(diagnose_gradient(network, X, LABELS, -gradient[0], **options))


@pytest.mark.parametrize("options", [{}, {"training": False}, {"sample_weight": WEIGHT}, {"loss": "multi_margin_loss"}])
def test_a_layer_of_the_users_own_is_judged_with_all_options(options):
    def power_backward(dH, A):
        return dH * A**4  # the 5 is missing

    power = hm.Activation((lambda A: A**5, power_backward))
    network = Network([hm.Dense(4, 3, rng=0), power, hm.Dropout(0.3, rng=2), hm.Dense(3, 3, rng=1)])
    diagnosis = diagnose_gradient(network, X, LABELS, **options)
    assert diagnosis.first_wrong == "0.weight"
    assert "gradient by A of `A ** 5` (line" in (name := names(diagnosis)[0])
    assert name.endswith("times 1/5")


def test_the_batch_of_a_network_is_a_fact_and_its_outputs():
    network, y, loss = CASES["deep tanh"]
    gradient = network.loss_and_gradient(X, y, loss=loss)[1].copy()
    factors = {"times N": 8, "times outputs": 3, "divided by N outputs": 1 / 24, "times learning rate": 0.01}
    for name, factor in factors.items():
        diagnosis = diagnose_gradient(network, X, y, factor * gradient, loss=loss, batch_size=5, learning_rate=0.01)
        assert name in names(diagnosis), diagnosis


def test_a_parameter_knows_its_layer_also_inside_of_others():
    network, y, loss = CASES["residual"]
    gradient = network.loss_and_gradient(X, y, loss=loss)[1].copy()
    network.blocks(gradient)["1.0.bias"] *= -1
    network.blocks(gradient)["2.bias"] *= -1
    assert diagnose_gradient(network, X, y, gradient, loss=loss).wrong == ["2.bias", "1.0.bias"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("roundings", "right"), [(4, True), (1e9, False)])
def test_a_gradient_may_be_off_by_the_rounding_of_its_terms(dtype, roundings, right):
    """At the optimum of two targets far apart the gradient is the sum of two numbers of 1e4, and zero."""
    network = Network([hm.Dense(1, 1)])
    network.theta[:] = 0
    claimed = np.array([0, 1]) * roundings * np.finfo(dtype).eps * 1e4
    data = np.ones((2, 1)), np.array([[1e4], [-1e4]])
    assert bool(diagnose_gradient(network.astype(dtype), *data, claimed.astype(dtype), loss="mse_loss")) == right


def test_what_a_diagnosis_has_found_is_also_there_in_numbers():
    right = np.concatenate([g.ravel() for g in f_gradient(THETA)])
    fine = diagnose_gradient(f, THETA, right)
    assert (fine.wrong, fine.explanations, fine.ratios, fine.undecided) == ([], [], {}, 0)
    assert fine.difference <= fine.tolerance == tolerance(single=False) and fine.tried >= 1
    twice = diagnose_gradient(f, THETA, 2 * right)
    assert twice.difference == pytest.approx(0.5, rel=1e-6)
    assert twice.ratios == dict.fromkeys(["theta[2]", "theta[3]", "theta[0]", "theta[1]"], "2 times the true gradient")
    assert twice.explanations[0].residual <= twice.tolerance
    root, claimed = lambda t: float(np.sqrt(np.abs(t)).sum()), np.array([9.0, -0.5, 9.0])
    cusps = diagnose_gradient(root, np.array([0.0, 1.0, 0.0]), claimed)
    assert (cusps.undecided, names(cusps), cusps.wrong) == (2, ["sign"], ["theta"])


def test_a_changing_gradient_has_no_other_name():
    """Though the first answer is twice the true gradient."""
    answers = iter([np.array([4.0, 4.0]), np.array([2.0, 2.0]), np.array([3.0, 9.0])])
    diagnosis = diagnose_gradient(lambda t: float(t @ t), np.ones(2), lambda theta: next(answers))
    assert (diagnosis.verdict, names(diagnosis)) == ("named", ["changes from call to call"])
    assert diagnosis.explanations[0].residual == pytest.approx(0.5, rel=1e-6)
