"""The recorded operations of a function: their gradients, their text, and what cannot be recorded."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import pytest

import handmade as hm
from handmade.checking.operations.recordings import record, record_layers

RNG = np.random.default_rng(11)
A, B, C = RNG.normal(size=(4, 3)), RNG.normal(size=(5, 4)), RNG.normal(size=4)
ROWS, CHOSEN = np.array([2, 0, 2, 3, 3]), np.array([1, 0, 2, 1])


def filled_in_a_loop(x):
    kept = np.zeros((4, 3))
    for i in range(4):
        kept[i] = x[3 - i] * (i + 1)
    kept += x
    return (kept**2).sum()


def own_helper(x):
    return helper(x, 2.0).mean()


def helper(x, power):
    return (1 + x * x) ** power


FUNCTIONS = {
    "tanh, exp, log, sqrt": lambda x: (np.tanh(x) * np.exp(x) + np.log(2 + x**2) - np.sqrt(3 + x)).sum(),
    "division, powers": lambda x: (x / (2 + x**2) - 1 / (3 + x) + 2.0**x + np.square(x) ** 1.5).sum(),
    "kinks": lambda x: (np.abs(x) + np.maximum(x, 0.2) - np.minimum(x, -0.1) + np.clip(x, -0.5, 0.5)).sum(),
    "not for complex numbers": lambda x: (np.logaddexp(x, 0.3) + np.arctan2(x, 2.0) + np.sign(x) * x).sum(),
    "sums along axes": lambda x: ((x.sum(axis=0) ** 2).sum() + (x.mean(axis=1, keepdims=True) * x).sum()) * x.mean(),
    "broadcasting": lambda x: ((x + x[0]) * x[:, :1] * C[:, None]).sum(),
    "products": lambda x: ((B @ x) ** 2).sum() + (C @ x @ x.T).sum() + (x.T @ x @ np.ones(3)).sum(),
    "stacks of products": lambda x: ((np.stack([x, 2 * x]) @ x.T) ** 2).sum(),
    "rearrangements": lambda x: (np.concatenate([x, x[::-1]], axis=1).T.reshape(4, 6) ** 2 * np.arange(6)).sum(),
    "chosen entries": lambda x: (x[ROWS] ** 2).sum() + np.log(x[np.arange(4), CHOSEN] ** 2 + 1).sum(),
    "where, split": lambda x: (np.where(x > 0, x**2, 0.3 * x) * np.split(np.roll(x, 1, 0), [3], axis=1)[0]).sum(),
    "any other function": lambda x: np.linalg.norm(x) * x.var() + np.einsum("ij,ij->", x, x) + x.max() * x.std(),
    "filled in a loop": filled_in_a_loop,
    "a helper of its own": own_helper,
    "the library's": lambda x: -hm.activations.log_softmax(hm.activations.gelu(x))[np.arange(4), CHOSEN].mean(),
    "math": lambda x: math.exp(x[0, 0]) * x.sum(),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradient_of_operations_is_the_measured_one(name):
    f = FUNCTIONS[name]
    recording = record(f, [A], ["x"], tuple)
    assert float(recording.output.value) == pytest.approx(float(f(A)), rel=1e-15)
    (gradient,) = recording.gradient(np.array(1.0))
    expected = hm.numerical_gradient(lambda x: float(f(x)), A)
    np.testing.assert_allclose(gradient, expected, rtol=1e-7, atol=1e-8)  # both measure some derivatives to 1e-9


def test_operations_are_written_as_in_the_code():
    def f(x):
        inner = x @ B.T
        total = np.tanh(inner).sum(axis=0, keepdims=True)
        return (-total / (inner + 1)).mean()

    texts = [one.text for one in record(f, [RNG.normal(size=(3, 4))], ["x"], tuple).operations]
    assert texts == [
        "x", "x @ B.T", "tanh(inner)", "sum(tanh(inner), axis=0, keepdims=True)", "-total", "inner + 1",
        "-total / (inner + 1)", "mean(-total / (inner + 1))",
    ]  # fmt: skip


def test_operations_stand_in_the_order_in_which_they_were_done():
    def f(x):
        first, second = np.tanh(x), np.exp(x)
        return (second * first).sum()

    names = [one.name for one in record(f, [A], ["x"], tuple).operations]
    assert names == ["", "tanh", "exp", "multiply", "sum"]


def test_turns_of_a_loop_share_a_place():
    def f(x):
        for _ in range(3):
            x = np.tanh(x)
        return x.sum()

    places = [one.place for one in record(f, [A], ["x"], tuple).operations if one.name == "tanh"]
    assert len(places) == 3
    assert len(set(places)) == 1


@pytest.mark.parametrize(
    "f", [lambda x: np.frompyfunc(math.exp, 1, 1)(x).sum(), lambda x: sum(float(str(v)) for v in [1.0])]
)
def test_functions_of_plain_arrays_alone_are_refused(f):
    with pytest.raises((TypeError, AttributeError)):
        record(f, [A], ["x"], tuple)


class Model:
    """A function as people keep it: parts in a dict, a method that calls others, and values that it leaves behind."""

    def __init__(self):
        self.terms = {"fit": lambda x: float((self.hidden(x) ** 2).sum()), "size": lambda x: float(np.abs(x).sum())}
        self.seen = []

    def hidden(self, x):
        self.last = np.tanh(x)
        self.seen.append(self.last)
        return self.last

    def loss(self, x):
        return sum(term(x) for term in self.terms.values())


def test_methods_and_functions_in_containers_are_recorded():
    model = Model()
    (gradient,) = record(model.loss, [A], ["x"], tuple).gradient(np.array(1.0))
    T = np.tanh(A)
    np.testing.assert_allclose(gradient, 2 * T * (1 - T * T) + np.sign(A), rtol=1e-9)
    assert model.seen == []
    assert not hasattr(model, "last")


def test_recording_leaves_the_function_as_it_was():
    assert float(own_helper(A)) == float(own_helper(A))
    record(own_helper, [A], ["x"], tuple)
    assert own_helper.__globals__["np"] is np
    assert isinstance(own_helper(A), np.floating)


class Mixing(hm.Layer):
    parameters: ClassVar = {"weight": "M"}

    def __init__(self):
        self.in_features, self.M = 3, np.array([[1.0, -0.5, 0.2]] * 3)

    def mixed(self, X):
        return X @ self.M

    def forward(self, X, training=False):
        return np.tanh(self.mixed(X)) * X, X

    def backward(self, dH, X, need_dX=True):
        T = np.tanh(X @ self.M)
        dA = dH * X * (1 - T * T)
        self.dM[...] = X.T @ dA
        return dH * T + dA @ self.M.T


def test_recorded_layer_has_the_gradients_of_its_backward():
    layer, dH = Mixing(), RNG.normal(size=(4, 3))
    H, cache = layer.forward(A)
    recording = record_layers([layer], A, True)
    np.testing.assert_array_equal(recording.output.value, H)
    expected = [layer.backward(dH, cache), layer.dM]
    for made, right in zip(recording.gradient(dH), expected, strict=True):
        np.testing.assert_allclose(made, right, rtol=1e-13, atol=1e-15)


def test_recording_without_an_operation_is_another_function():
    recording = record(lambda x: (np.tanh(x * C[:, None]) ** 2).sum(), [A], ["x"], tuple)
    (left_out,) = [one for one in recording.operations if one.name == "multiply"]
    (gradient,) = recording.without([(left_out, 0)]).gradient(np.array(1.0))
    T = np.tanh(A)
    np.testing.assert_allclose(gradient, 2 * T * (1 - T * T), rtol=1e-13)
