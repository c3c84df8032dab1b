"""Functions of a user's own that take other arguments, or return something else, are named; no result is silent."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

import handmade as hm
from handmade.losses._own import own

X, y = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), np.array([0, 1, 1, 0])
Y = np.eye(2)[y]


def square(input, target):
    return float(((input - target) ** 2).mean())


def square_backward(input, target):
    return 2 * (input - target) / input.size


def train(**options):
    return hm.fit(hm.MLP([2, 3, 2], rng=0), X, Y, **{"loss": "mse_loss", "epochs": 2, "progress": False, **options})


@pytest.mark.parametrize(
    ("loss", "error", "words"),
    [
        ((max, max), TypeError, r"^loss: expected a function of \(input, target\), got <built-in function max>: "),
        ((lambda input: 1.0, square_backward), TypeError, r"^loss: expected a function of \(input, target\), got <fun"),
        ((square, lambda input: input), TypeError, r"^loss: expected a function of \(input, target\), got <function"),
        ((lambda input, target: None, square_backward), TypeError, "^loss: expected one number, got None"),
        ((lambda input, target: "1", square_backward), TypeError, "^loss: expected one number, got '1'"),
        ((lambda input, target: 1j, square_backward), TypeError, "^loss: expected real numbers, got 1j"),
        ((square, lambda input, target: 1j * input), TypeError, r"^loss: expected real numbers, got array\("),
        ((square, lambda input, target: np.ma.array(input)), TypeError, "^loss: expected an array without a mask"),
        ((square, lambda i, t: np.subtract(i, t, out=i)), ValueError, "^loss: expected a function that leaves its arg"),
        ((lambda i, t: t.fill(0), square_backward), ValueError, "^loss: expected a function that leaves its arguments"),
    ],
)
@pytest.mark.parametrize("call", [train, lambda loss: hm.MLP([2, 3, 2], rng=0).loss_and_gradient(X, Y, loss)])
def test_an_own_loss_of_another_kind_is_named(loss, error, words, call):
    targets = Y.copy()
    with pytest.raises(error, match=words):
        call(loss=loss)
    np.testing.assert_array_equal(Y, targets)


class Unhashable:
    __hash__ = None

    def __call__(self, input, target):
        return square(input, target)


@pytest.mark.parametrize("value", [square, Unhashable()])
def test_an_own_loss_gives_what_the_one_of_the_library_gives(value):
    own, known = (
        hm.MLP([2, 3, 2], rng=0).loss_and_gradient(X, Y, loss) for loss in ((value, square_backward), "mse_loss")
    )
    assert own[0] == known[0]
    np.testing.assert_allclose(own[1], known[1], rtol=1e-14)  # a dozen roundings in another order


def test_an_own_gradient_may_be_the_input_itself():
    network = hm.Network([hm.Dense(2, 2, rng=0), hm.Activation("relu")])
    loss, _ = network.loss_and_gradient(X, Y, (lambda i, t: float((i * i).sum() / 2), lambda i, t: i))
    assert loss > 0 and hm.check_gradient(network, X, Y, loss=(lambda i, t: float((i * i).sum() / 2), lambda i, t: i))


@pytest.mark.parametrize("error", [TypeError("mine"), ValueError("mine")])
def test_an_error_within_an_own_function_stays_as_it_is(error):
    def fails(input, target):
        raise error

    with pytest.raises(type(error), match=r"^mine$"):
        train(loss=(fails, square_backward))


def test_a_write_into_an_argument_is_told_with_its_cure():
    with pytest.raises(ValueError, match=r"leaves its arguments unchanged, got a write; compute in a new array$"):
        train(loss=(square, lambda input, target: np.subtract(input, target, out=input)))


def test_an_own_loss_keeps_its_name_a_librarys_its_identity():
    functions = square, partial(square), Unhashable(), np.ndarray.dot  # the last belongs to no module
    assert [own(f).__name__ for f in functions] == ["square", "square", "the loss", "dot"]
    assert own(square) is own(square) is not square
    for function in hm.losses.mse_loss, partial(hm.losses.mse_loss, reduction="sum"):
        assert own(function) is function


def test_an_own_loss_of_a_complex_input_may_be_complex():
    def mean(input, target):
        return (input - target).mean()

    assert own(mean)(1j * Y, Y) == (1j * Y - Y).mean()  # a complex step checks gradients so
    with pytest.raises(TypeError, match="expected real numbers"):
        own(mean)(Y, 1j * Y)


def test_an_own_gradient_is_an_array_of_the_callers():
    _, dH = hm.losses.loss_and_backward((square, lambda input, target: input), X, X)
    assert dH.flags.writeable and not np.shares_memory(dH, X)


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [
        (
            lambda: hm.Activation((max, max)),
            TypeError,
            "^activation: expected a function of A, got <built-in function max>",
        ),
        (
            lambda: hm.Activation((np.sin, lambda dH: dH)),
            TypeError,
            "^activation: expected a function of dH, A, got <fun",
        ),
        (
            lambda: hm.Activation((lambda A: A, lambda dH, A: dH), slope=1),
            TypeError,
            "^activation: expected a function of A, slope, got <fun",
        ),
        (
            lambda: hm.Activation((lambda A: 1j * A, np.multiply)),
            TypeError,
            "^activation: expected f to return real num",
        ),
        (lambda: hm.Activation((np.ma.array, np.multiply)), TypeError, "^activation: expected an array without a mask"),
        (
            lambda: hm.LambdaLR(hm.SGD(), max),
            TypeError,
            "^lr_lambda: expected a function of the count t, got <built-in",
        ),
        (
            lambda: hm.LambdaLR(hm.SGD(), lambda a, b: 1),
            TypeError,
            "^lr_lambda: expected a function of the count t, got",
        ),
        (
            lambda: hm.MultiplicativeLR(hm.SGD(), len).step(),
            TypeError,
            "^lr_lambda: expected a function of the count t",
        ),
        (
            lambda: hm.CyclicLR(hm.SGD(), 0.1, 1.0, scale_fn=len),
            TypeError,
            "^scale_fn: expected a function of a count, got <built-in function len>",
        ),
        (
            lambda: hm.ParameterGroups({len: hm.SGD()}).bind(hm.MLP([2, 1])),
            TypeError,
            "^groups: expected a function of the name and the shape, got <built-in function len>",
        ),
        (
            lambda: hm.Dense(2, 1, weight_init=lambda *a: np.full((1, 2), np.nan)),
            ValueError,
            "^weight_init: expected finite numbers, got nan",
        ),
        (
            lambda: hm.Dense(2, 1, weight_init=lambda *a: np.full((1, 2), 1e300), dtype="float32"),
            ValueError,
            "^weight_init: expected finite numbers, got inf",
        ),
        (
            lambda: train(optimizer=SimpleNamespace(step=lambda theta, gradient: None, lr="0.1")),
            TypeError,
            "^optimizer: expected an lr that is a number, got '0.1'",
        ),
        (
            lambda: train(optimizer=SimpleNamespace(step=lambda theta, gradient: None, lr=None)),
            TypeError,
            "^optimizer: expected an lr that is a number, got None",
        ),
    ],
)
def test_an_own_function_of_other_arguments_is_named(build, error, words):
    with pytest.raises(error, match=words):
        build()
