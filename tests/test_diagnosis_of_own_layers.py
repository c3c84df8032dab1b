"""Diagnoses of a network's own backward pass, with layers and functions of one's own."""

from __future__ import annotations

import numpy as np
import pytest
from diagnosed import CASES, LABELS, X, names

import handmade as hm
from handmade import MLP, Network, diagnose_gradient

# ---- a network's own backward, and functions that change from call to call -------------------------------------------


def test_a_layer_of_the_users_own_is_judged_by_differences():
    def power(A):
        return A**5

    def power_backward(dH, A):
        return dH * A**4  # the 5 is missing

    network = Network([hm.Dense(4, 3, rng=0), hm.Activation((power, power_backward)), hm.Dense(3, 3, rng=1)])
    diagnosis = diagnose_gradient(network, X, LABELS)
    assert (diagnosis.verdict, diagnosis.first_wrong) == ("named", "0.weight")
    assert names(diagnosis)[0].startswith("gradient by A of `A ** 5` (line")


def test_gradients_that_accumulate_are_named():
    network, y, _ = CASES["relu"]
    kept = np.zeros(network.theta.shape)

    def gradient(theta):
        kept.__iadd__(network.loss_and_gradient(X, y)[1])
        return kept.copy()

    assert names(diagnose_gradient(network, X, y, gradient)) == ["gradients accumulate"]
    diagnosis = diagnose_gradient(network, X, y, lambda theta: -gradient(theta))
    assert names(diagnosis) == ["gradients accumulate and sign"]


def test_a_changing_gradient_is_named_with_its_change():
    network = MLP([4, 5, 3], dropout=0.5, rng=0)
    diagnosis = diagnose_gradient(network, X, LABELS, lambda theta: network.loss_and_gradient(X, LABELS)[1].copy())
    assert names(diagnosis) == ["changes from call to call"]
    assert "two calls differ by" in str(diagnosis)


def test_nothing_of_the_network_changes():
    network, y, loss = CASES["normalized, dropout"]
    before = {name: value.copy() for name, value in network.state_dict().items()}
    network.gradient[:] = 7
    diagnose_gradient(network, X, y, loss=loss)
    assert all((before[name] == value).all() for name, value in network.state_dict().items())
    assert (network.gradient == 7).all()


# ---- layers of one's own ---------------------------------------------------------------------------------------------


class Scale(hm.Layer):
    parameters = {"weight": "w"}  # noqa: RUF012
    w: np.ndarray
    dw: np.ndarray

    def __init__(self, features):
        self.in_features, self.w = features, np.full(features, 1.3)

    def forward(self, X, training=False):
        return X * self.w, X

    def backward(self, dH, X, need_dX=True):
        self.dw[...] = self.weight_gradient(dH, X)
        return self.factor(dH) if need_dX else None

    def weight_gradient(self, dH, X):
        return (dH * X).sum(axis=0)

    def factor(self, dH):
        return dH * self.w


class Mean(Scale):
    def weight_gradient(self, dH, X):
        return (dH * X).mean(axis=0)


class Through(Scale):
    def factor(self, dH):
        return dH


class Adds(Scale):
    def weight_gradient(self, dH, X):
        return self.dw + (dH * X).sum(axis=0)


def of_own(layer) -> Network:
    return Network([hm.Dense(4, 5, rng=1), layer, hm.Activation("tanh"), hm.Dense(5, 3, rng=2)])


@pytest.mark.parametrize(
    ("layer", "step", "name"),
    [
        (Mean(5), "dw[1] from dA[1] (layers[1], Mean)", "divided by N"),
        (Through(5), "dA[0] from dA[3] (through layers[3], Dense(5, 3); layers[2], Activation('tanh'); "
         "layers[1], Through)", "derivative of `X * w`"),
    ],
)  # fmt: skip
def test_a_wrong_layer_of_ones_own_is_located(layer, step, name):
    diagnosis = diagnose_gradient(of_own(layer), X, LABELS)
    (said,) = names(diagnosis)
    assert (diagnosis.step, said.split(" (line")[0]) == (step, name)


def test_a_layer_that_adds_to_an_earlier_gradient_is_named():
    diagnosis = diagnose_gradient(of_own(Adds(5)), X, LABELS)
    assert (names(diagnosis), diagnosis.explanations[0].where) == (["gradients accumulate"], "1.weight")
    with pytest.raises(ValueError, match=r"1\.weight: gradients accumulate"):
        hm.check_gradient(of_own(Adds(5)), X, LABELS)
    assert hm.check_gradient(of_own(Scale(5)), X, LABELS)
