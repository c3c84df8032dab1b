"""Gradients and parameters in anybody's form: names, nesting, layouts, shapes that are mistakes, and functions."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import numpy as np
import pytest
import scipy.sparse
import torch

import handmade as hm
from handmade.checking.causes import Cause, tolerance
from handmade.checking.claims import (
    MAX_DEPTH,
    Parameters,
    as_numbers,
    blocks_of,
    both_layouts,
    call_repeatedly,
    is_single,
    leaves,
    read_gradient,
)

W, B, V, C = np.arange(6.0).reshape(2, 3), np.array([6.0, 7.0]), np.arange(8.0, 14).reshape(3, 2), np.arange(14.0, 17)
BLOCKS = blocks_of({"W1": W, "b1": B, "W2": V, "b2": C})
VECTOR = list(range(17))


class Pair(NamedTuple):
    W: np.ndarray
    b: np.ndarray


def at_depth(depth):
    """Return an array in so many lists."""
    value = [W, B]
    for _ in range(depth - 1):
        value = [value]
    return value


# ---- numbers and leaves ----------------------------------------------------------------------------------------------


class Tensor:
    """A tensor that NumPy reads only when it is detached and on the CPU."""

    def __init__(self, numbers, *done):
        self.numbers, self.done = numbers, done

    def detach(self):
        return Tensor(self.numbers, *self.done, "detached")

    def cpu(self):
        return Tensor(self.numbers, *self.done, "on the CPU")

    def __array__(self, dtype=None, copy=None):
        assert self.done[:2] == ("detached", "on the CPU")
        return np.asarray(self.numbers)


@pytest.mark.parametrize(
    "value",
    [[1, 2], np.array([1, 2], np.uint8), np.array([1, 2], np.float16), np.array([1, 2], object), Tensor([1, 2])],
    ids=["list", "unsigned", "float16", "object", "tensor"],
)
def test_numbers_become_float64(value):
    numbers = as_numbers(value, "x")
    assert (numbers.dtype, numbers.tolist()) == (np.float64, [1.0, 2.0])


@pytest.mark.parametrize(
    "value", [[True], [1j], ["1"], np.array([object()]), np.array([10**400]), np.array(["x"], object)]
)
def test_other_things_are_no_numbers(value):
    with pytest.raises(TypeError, match=r"^x: expected "):
        as_numbers(value, "x")


def test_numbers_are_a_copy():
    given = np.ones(2)
    as_numbers(given, "x")[:] = 7
    assert given.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("value", "paths"),
    [
        (W, ["g"]),
        (3.0, ["g"]),
        (None, ["g"]),
        ([1.0, 2.0], ["g"]),
        ([[1.0, 2.0], [3.0, 4.0]], ["g[0]", "g[1]"]),  # the outermost list of lists holds arrays
        ([[[1.0, 2.0], [3.0, 4.0]], [5.0, 6.0]], ["g[0]", "g[1]"]),  # and a rectangle in it is one
        ([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0]]], ["g[0]", "g[1]"]),
        ([[[[1.0], [2.0]], [3.0]], [[[4.0]], [5.0]]], ["g[0][0]", "g[0][1]", "g[1][0]", "g[1][1]"]),
        ([(W, B), (V, C)], ["g[0][0]", "g[0][1]", "g[1][0]", "g[1][1]"]),
        ([(B, B), (B, B)], ["g[0][0]", "g[0][1]", "g[1][0]", "g[1][1]"]),  # arrays of one shape are no rectangle
        ([[B, None], [B, B]], ["g[0][0]", "g[0][1]", "g[1][0]", "g[1][1]"]),
        ([None, B], ["g[0]", "g[1]"]),
        ([[None, 1.0], 2.0], ["g[0][0]", "g[0][1]", "g[1]"]),
        ([B, 1.0], ["g[0]", "g[1]"]),
        ([[B, [1.0, 2.0]], B], ["g[0][0]", "g[0][1]", "g[1]"]),
        ([np.float64(1.0), np.float64(2.0)], ["g"]),  # numbers of NumPy are numbers
        ([np.array(1.0), 2.0], ["g"]),
        ([torch.ones(2), torch.ones(())], ["g[0]", "g[1]"]),
        ([Tensor([1.0]), Tensor([2.0])], ["g[0]", "g[1]"]),  # an array by NumPy's protocol alone
        ([["a", "b"], [B]], ["g[0]", "g[1][0]"]),
        ({"W": W, "b": [B, C]}, ["g['W']", "g['b'][0]", "g['b'][1]"]),
        ([{"W": W}, {"W": V}], ["g[0]['W']", "g[1]['W']"]),
        ([[{"W": 1.0}]], ["g[0][0]['W']"]),
        ([{"W": 1.0}, 2.0], ["g[0]['W']", "g[1]"]),
        ([[], []], ["g[0]", "g[1]"]),
        ([], ["g"]),
        ({}, []),
    ],
)
def test_leaves_are_arrays_with_their_paths(value, paths):
    assert [path for path, _ in leaves(value, "g")] == paths


def test_of_a_nameless_mapping_the_keys_are_the_paths():
    assert [path for path, _ in leaves({"W": {"a": W}, 1: B}, "")] == ["W['a']", "1"]


def test_lists_may_be_nested_so_deep_and_no_deeper():
    assert len(list(leaves(at_depth(MAX_DEPTH), "g"))) == 2
    for endless in at_depth(MAX_DEPTH + 1), (own := {}), (lists := []):
        own["again"] = own
        lists[:] = [lists, B]
        with pytest.raises(TypeError, match=r"expected arrays in at most 20 nested lists"):
            list(leaves(endless, "g"))


# ---- parameters ------------------------------------------------------------------------------------------------------

FORMS = {
    "array": W,
    "number": 3.0,
    "rows": [[1.0, 2.0], [3.0, 4.0]],
    "list": [W, B],
    "tuple": (W, B, V),
    "pairs": [(W, B), (V, C)],
    "named": [Pair(W, B), Pair(V, C)],
    "dict": {"W": W, "b": B},
    "ordered": OrderedDict(b=B, W=W),
    "dict of one": {"W": W},
    "dict of lists": {"weights": [W, V], "biases": [B, C]},
    "list of dicts": [{"W": W, "b": B}, {"W": V}],
    "lists of numbers": [[[1.0, 2.0], [3.0, 4.0]], [5.0, 6.0]],
}


def same_structure(one, other):
    """Return whether two structures differ in nothing but that lists of numbers have become arrays."""
    if isinstance(one, dict):
        return list(one) == list(other) and all(same_structure(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and not isinstance(other, np.ndarray):
        return type(one) is type(other) and len(one) == len(other) and all(map(same_structure, one, other))
    return isinstance(other, np.ndarray) and np.shape(one) == other.shape


@pytest.mark.parametrize("form", FORMS)
def test_parameters_keep_their_form(form):
    value = FORMS[form]
    parameters = Parameters(value)
    assert parameters.vector.tolist() == [x for _, leaf in leaves(value, "") for x in np.ravel(leaf)]
    vector = np.arange(parameters.vector.size) + 100.0
    shaped = parameters.shaped(vector)
    assert same_structure(value, shaped)
    assert np.concatenate([np.ravel(leaf) for _, leaf in leaves(shaped, "")]).tolist() == vector.tolist()
    assert all(np.shares_memory(leaf, vector) for _, leaf in leaves(shaped, ""))
    assert read_gradient(shaped, parameters.blocks)[0].tolist() == vector.tolist()


def test_a_list_of_one_array_becomes_the_array():
    assert Parameters([W]).shaped(np.ones(6)).tolist() == np.ones((2, 3)).tolist()


def test_parameters_are_named_by_their_paths():
    def named(value, *name):
        return [block.name for block in Parameters(value, *name).blocks]

    assert named([W, B]) == ["theta[0]", "theta[1]"]
    assert named(W, "w") == ["w"]
    assert named([W], "w") == ["w[0]"]
    assert named({"W": W, "layers": [B, C]}, "w") == ["W", "layers[0]", "layers[1]"]
    assert named([{"W": W}], "w") == ["w[0]['W']"]
    assert named({"": W}, "w") == ["w"]


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ({}, ValueError, r"^w: expected at least one array, got \{\}"),
        ([W, np.zeros((0, 2))], ValueError, r"^w\[1\]: expected at least one entry, got none; leave it out of w$"),
        ({"W": "text"}, TypeError, "^W: expected "),
        ("text", TypeError, "^w: expected "),
        ([W, None], TypeError, r"^w\[1\]: expected "),
    ],
)
def test_parameters_that_are_none_are_refused(value, error, message):
    with pytest.raises(error, match=message):
        Parameters(value, "w")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parameters_know_if_they_are_float32(dtype):
    assert Parameters([W.astype(dtype), np.array([0.1], dtype)]).is_single == (dtype == np.float32)
    assert is_single([W.astype(dtype)], W.ravel()) == (dtype == np.float32)


# ---- layouts ---------------------------------------------------------------------------------------------------------

LAYOUTS = {
    "blocks": [W, B, V, C],
    "pairs": [(W, B), (V, C)],
    "pairs, biases first": [(B, W), (C, V)],
    "biases first": [B, W, C, V],
    "weights, biases": [W, V, B, C],
    "biases, weights": [B, C, W, V],
    "two lists": ([W, V], [B, C]),
    "two lists, biases first": ([B, C], [W, V]),
    "(I, O)": [W.T, B, V.T, C],
    "(I, O), weights first": [W.T, V.T, B, C],
    "rows": [W, B[np.newaxis], V, C[np.newaxis]],
    "columns": [W, B[:, np.newaxis], V, C[:, np.newaxis]],
    "reversed": [C, V, B, W],
    "from the last layer": [V, C, W, B],
    "weights from the last, biases": [V, W, C, B],
    "biases from the last, weights": [C, B, V, W],
    "[b W]": [np.column_stack([B, W]), np.column_stack([C, V])],
    "[b W] turned": [np.column_stack([B, W]).T, np.column_stack([C, V]).T],
    "(loss, blocks)": (0.5, [W, B, V, C]),
    "(loss, vector)": (0.5, np.arange(17.0)),
    "(loss of torch, blocks)": (torch.tensor(0.5), [W, B, V, C]),
    "(array of no axes, blocks)": (np.array(0.5), (W, B, V, C)),
    "(loss, dict)": (0.5, {"W1": W, "b1": B, "W2": V, "b2": C}),
    "names": {"W2": V, "b2": C, "W1": W, "b1": B},
    "dW": {"dW1": W, "dW2": V, "db1": B, "db2": C},
    "grad_": {"grad_W1": W, "grad_b1": B, "grad_W2": V, "grad_b2": C},
    "nablaW": {"nablaW1": W, "nablab1": B, "nablaW2": V, "nablab2": C},
    "delta_": {"delta_W1": W, "delta_b1": B, "delta_W2": V, "delta_b2": C},
    "other names": {"weight_1": W, "bias_1": B, "weight_2": V, "bias_2": C},
    "numbers from 9 on": {"w10": V, "w9": W, "b10": C, "b9": B},
    "gamma, beta": {"gamma_1": W, "beta_1": B, "gamma_2": V, "beta_2": C},
    "d_W": {"d_W1": W, "d_W2": V, "d_b1": B, "d_b2": C},
    "dict of lists": {"W": [W, V], "b": [B, C]},
    "upper case": {"W_0": W, "B_0": B, "W_1": V, "B_1": C},
    "Theta": {"Theta1": W, "Beta1": B, "Theta2": V, "Beta2": C},
    "lists of numbers": [W.tolist(), B.tolist(), V.tolist(), C.tolist()],
    "integers": [W.astype(int), B.astype(int), V.astype(int), C.astype(int)],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_gradient_is_read_in_every_layout(layout):
    read, causes = read_gradient(LAYOUTS[layout], BLOCKS, 5)
    assert read.tolist() == VECTOR
    assert causes == []


def test_two_parameters_of_which_one_is_a_number_are_no_loss():
    blocks = blocks_of({"a": np.zeros(()), "b": np.zeros(2)})
    assert read_gradient((1.0, np.array([2.0, 3.0])), blocks)[0].tolist() == [1, 2, 3]
    blocks = blocks_of({"a": np.zeros(2), "b": np.zeros(2)})
    assert read_gradient((1.0, [np.array([2.0, 3.0]), np.array([4.0, 5.0])]), blocks)[0].tolist() == [2, 3, 4, 5]
    with pytest.raises(ValueError, match="expected"):
        read_gradient((1.0, 2.0), blocks)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"W1": W, "b1": B, "W2": V}, r"expected the parameters \['W1', 'b1', 'W2', 'b2'\], got \['W1', 'b1', 'W2'\]"),
        ({"W1": W, "b1": B, "W2": V, "offset": C}, "expected the parameters"),  # no number
        ({"W1": W, "b1": B, "W2": V, "3": C}, "expected the parameters"),  # nothing but a number
        ({"W1": W, "b1": B, "b3": V, "b2": C}, "expected the parameters"),  # three biases
        ([W, B, V], r"expected 4 arrays for \['W1', 'b1', 'W2', 'b2'\], got 3"),
        ([W, V], r"expected 4 arrays, or \[b W\] of shape \(2, 4\)"),
        ([W, B, V, W], r"expected shape \(3,\) for b2, got \(2, 3\)"),
        (np.zeros(16), r"expected a vector of 17, or arrays for W1 \(2, 3\), b1 \(2,\), .*; got shape \(16,\)"),
        ([W, B, V, np.zeros((2, 2))], r"expected shape \(3,\) for b2, got \(2, 2\)"),
    ],
)
def test_a_gradient_that_fits_in_no_layout_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        read_gradient(given, BLOCKS)


def test_lists_without_end_are_refused():
    endless = [B]
    endless.append(endless)
    with pytest.raises(TypeError, match=r"^gradient\[1\]\[1\].*: expected arrays in at most"):
        read_gradient(endless, BLOCKS)


def objects(*parts):
    """Return an object array of one dimension."""
    array = np.empty(len(parts), object)
    array[:] = parts
    return array


CURE = "; give one of numbers, or a list of arrays$"
NO_GRADIENTS = [
    (objects(W, B, V, C), rf"an array of shape \(4,\) and dtype object{CURE}"),
    (objects("a", None), rf"an array of shape \(2,\) and dtype object{CURE}"),
    (objects({}), rf"an array of shape \(1,\) and dtype object{CURE}"),
    (np.zeros(17, complex), r"an array of shape \(17,\) and dtype complex128$"),
    (np.zeros(17, bool), r"an array of shape \(17,\) and dtype bool$"),
    (["a", "b"], "a sequence of 2$"),
    ({1, 2}, "set$"),
    ({"W1": W}.values(), "dict_values$"),
    ((W for _ in range(4)), "generator$"),
    (b"bytes", "bytes$"),
]


@pytest.mark.parametrize(("given", "found"), NO_GRADIENTS)
def test_what_is_no_gradient_is_told_what_was_expected(given, found):
    with pytest.raises(
        TypeError, match=rf"^gradient: expected a vector of 17, or arrays for W1 \(2, 3\), .*; got {found}"
    ):
        read_gradient(given, BLOCKS)


@pytest.mark.parametrize(
    ("given", "found"),
    [*NO_GRADIENTS, ({"W": W}, "a dict of 1"), ([W, B], "a sequence of 2"), ([[1.0], [2.0, 3.0]], "a seq")],
)
def test_what_is_no_gradient_of_an_array_is_told_its_shape(given, found):
    with pytest.raises((TypeError, ValueError), match=rf"^gradient: expected the shape of theta \(17,\), got {found}"):
        hm.check_gradient(lambda theta: float(theta.sum()), np.ones(17), given)


@pytest.mark.parametrize("given", [np.ma.ones(17), scipy.sparse.eye_array(17)])
def test_a_gradient_with_hidden_numbers_is_told_what_to_do(given):
    with pytest.raises(TypeError, match=r"^gradient: expected an? .*array.*, got .*; (fill|convert) it"):
        read_gradient(given, BLOCKS)
    with pytest.raises(TypeError, match=r"^gradient: expected an? .*array.*, got .*; (fill|convert) it"):
        hm.check_gradient(lambda theta: float(theta.sum()), np.ones(17), given)


def test_a_bias_is_a_row_a_column_or_a_vector_of_its_size():
    blocks = blocks_of({"a": np.zeros(4)})
    for shape in (4,), (1, 4), (4, 1), (1, 1, 4):
        assert read_gradient([np.arange(4.0).reshape(shape)], blocks)[0].tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match=r"expected shape \(4,\) for a, got \(2, 2\)"):
        read_gradient([np.zeros((2, 2))], blocks)


def test_square_weights_leave_the_layout_open():
    square, wide, vector = np.zeros((3, 3)), np.zeros((2, 3)), np.zeros(3)
    for arrays, is_open in [
        ([square], True), ([square, vector, square], True), ([square, wide], False), ([vector], False), ([], False),
    ]:  # fmt: skip
        assert both_layouts(blocks_of(dict(enumerate(arrays)))) is is_open


# ---- shapes that are mistakes ----------------------------------------------------------------------------------------

PER_SAMPLE = np.arange(10.0).reshape(5, 2)


NOT_SUMMED = "bias gradient not summed", "the gradient of the bias has one row for each sample"
WRONG_AXIS = "bias gradient summed over the wrong axis", "the gradient of the bias has one number for each sample"
ONE_NUMBER = "bias gradient summed over everything", "the gradient of the bias is the same for all units"


@pytest.mark.parametrize(
    ("bias", "samples", "mistake", "meant", "evidence"),
    [
        (PER_SAMPLE, 5, NOT_SUMMED, [20, 25], "shape (5, 2), not (2,), for b1"),
        (PER_SAMPLE.T, 5, NOT_SUMMED, [20, 25], "shape (2, 5), not (2,), for b1"),
        (np.ones(5), 5, WRONG_AXIS, [0, 0], "shape (5,), not (2,), for b1"),
        (np.ones((5, 1)), 5, WRONG_AXIS, [0, 0], "shape (5, 1), not (2,), for b1"),
        (np.ones((1, 5)), 5, WRONG_AXIS, [0, 0], "shape (1, 5), not (2,), for b1"),
        (3.0, 5, ONE_NUMBER, [3, 3], "one number for b1"),
        (np.array([[3.0]]), None, ONE_NUMBER, [3, 3], "one number for b1"),
        (None, 5, ("not returned", "a gradient is missing"), [0, 0], "None for b1"),
    ],
)
def test_a_bias_gradient_of_a_wrong_shape_is_named(bias, samples, mistake, meant, evidence):
    read, causes = read_gradient([W, bias, V, C], BLOCKS, samples)
    assert read.tolist() == [*range(6), *meant, *range(8, 17)]
    name, hint = mistake
    assert causes == [Cause(name, "b1", hint, evidence)]


@pytest.mark.parametrize("bias", [PER_SAMPLE, np.ones(5), np.ones((2, 2))])
def test_without_the_number_of_samples_such_a_shape_is_refused(bias):
    with pytest.raises(ValueError, match="expected shape"):
        read_gradient([W, bias, V, C], BLOCKS)


def test_the_same_mistake_in_two_biases_is_one():
    _, causes = read_gradient([W, None, V, None], BLOCKS)
    assert [(cause.name, cause.where, cause.evidence) for cause in causes] == [
        ("not returned", "b1, b2", "None for b1, b2")
    ]
    _, causes = read_gradient([W, 1.0, V, np.zeros((5, 3))], BLOCKS, 5)
    assert [cause.where for cause in causes] == ["b1", "b2"]


def test_a_weight_of_a_wrong_shape_is_no_mistake_with_a_name():
    for weight in 3.0, np.zeros((5, 2)), np.zeros(5):
        with pytest.raises(ValueError, match="expected shape"):
            read_gradient([weight, B, V, C], BLOCKS, 5)


def test_of_no_gradient_every_entry_is_0():
    read, causes = read_gradient(None, BLOCKS)
    assert read.tolist() == [0] * 17
    hint, evidence = "a function without return returns None", "None: does the function return its gradient?"
    assert causes == [Cause("not returned", "everything", hint, evidence)]


# ---- functions -------------------------------------------------------------------------------------------------------


def test_a_function_keeps_the_mistakes_that_its_shapes_show():
    shown = Cause("not returned", "b", "a hint", "None for b")
    grows = Cause(
        "gradients accumulate",
        "every call",
        "one call leaves numbers behind that the next one finds",
        "each call adds the same to its result",
    )
    text = "two calls differ by 1.0e+00, where the largest entry is 2.0e+00"
    changes = Cause("changes from call to call", "every call", "two calls use different numbers", text)
    for third, cause in (3, grows), (5, changes):
        given = iter([np.ones(3), np.ones(3) * 2, np.ones(3) * third])
        read, causes, single = call_repeatedly(lambda: next(given), lambda value: (value.copy(), [shown]), tolerance)  # noqa: B023
        assert (read.tolist(), causes, single) == ([1, 1, 1], [shown, cause], False)


@pytest.mark.parametrize("call", [0, 1, 2])
def test_a_function_that_is_not_finite_once_is_left_to_others(call):
    answers = [np.ones(3), np.ones(3) * 2, np.ones(3) * 5]
    answers[call] = np.array([1.0, np.inf, 1.0])
    given = iter(answers)
    found = call_repeatedly(lambda: next(given), lambda value: (value.copy(), []), tolerance)
    assert (found[0].tolist(), found[1]) == (answers[0].tolist(), [])


def test_layouts_are_read_for_a_network_too():
    network = hm.MLP([3, 2, 3], "tanh", rng=0)
    X, y = np.random.default_rng(0).normal(size=(4, 3)), np.array([0, 1, 2, 1])
    dW1, db1, dW2, db2 = (g.copy() for g in network.blocks(network.loss_and_gradient(X, y)[1]).values())
    for claim in [np.column_stack([db1, dW1]), np.column_stack([db2, dW2])], {"W": [dW1, dW2], "b": [db1, db2]}:
        assert hm.diagnose_gradient(network, X, y, claim).verdict == "right"
