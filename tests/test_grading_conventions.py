"""Conventions of submissions: the names of functions and arguments, and the attributes in which classes keep arrays."""

from __future__ import annotations

import types

import numpy as np
import pytest

import handmade as hm
from handmade.grading import Exercise, plan
from handmade.grading import conventions as known
from handmade.grading.calls import Answer as Of
from handmade.grading.calls import Call, Truth, problem_of
from handmade.grading.conventions import Plan
from handmade.grading.evidence import suspicious
from handmade.grading.judge import _losses, _same, _verdict_of
from handmade.grading.layouts import Layout
from handmade.grading.sandbox import clean

NETWORK = hm.MLP([3, 4, 2], "tanh", rng=0)
BLOCKS = {name: block.copy() for name, block in NETWORK.blocks(NETWORK.theta).items()}
W0, B0, W2, B2 = BLOCKS.values()
X, Y = np.random.default_rng(0).normal(size=(5, 3)), np.array([0, 1, 1, 0, 1])


# ---- names -----------------------------------------------------------------------------------------------------------

FUNCTIONS = {
    "FORWARD": ["forward", "feedforward", "feed_forward", "forward_pass", "forward_propagation", "L_model_forward",
                "compute_forward", "Forward", "nn_forward_prop", "layer_forward"],
    "PREDICT": ["Predict", "predict", "score", "scores", "logits", "__call__", "get_scores"],
    "BACKWARD": ["Backward", "backward", "backprop", "back_prop", "backward_pass", "backwards", "gradients", "grad",
                 "compute_gradients", "L_model_backward", "back_propagation", "gradient", "back"],
    "LOSS": ["Loss", "loss", "cost", "cross_entropy", "crossentropy", "mse", "compute_cost", "loss_function",
             "mse_loss", "loss_fn"],
    "BOTH": ["Loss_And_Gradient", "loss_and_gradient", "loss_and_grads", "cost_gradient", "lossgrad",
             "cost_and_gradients", "compute_loss_and_gradients", "value_and_grad", "loss_n_grad", "lossbackgrad"],
}  # fmt: skip


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_functions_are_known_by_their_names(kind):
    for other, names in FUNCTIONS.items():
        for name in names:
            assert bool(getattr(known, kind).match(name)) is (other == kind), name
    assert not getattr(known, kind).match("train") and not getattr(known, kind).match(f"{FUNCTIONS[kind][0]}_test")


ARGUMENTS = {
    "X": ["X", "x", "Xs", "inputs", "input", "data", "A0", "X_batch", "X_train", "batch_X", "images", "features"],
    "y": ["y", "Y", "t", "targets", "labels", "y_true", "y_onehot", "Y_batch", "expected"],
    "parameters": ["parameters", "params", "theta", "model", "net", "network", "weights_and_biases", "param"],
    "weights": ["weights", "W", "ws", "thetas", "weight"],
    "biases": ["biases", "b", "bs", "bias"],
    "output": ["AL", "A2", "a", "output", "probs", "y_hat", "y_pred", "scores", "logits", "probabilities", "h"],
    "cache": ["cache", "caches", "memory", "activations", "ctx", "tape"],
    "array": ["W1", "b2", "w_0", "B3"],
    None: ["lr", "foo", "learning_rate", "self"],
}


@pytest.mark.parametrize("role", ARGUMENTS)
def test_arguments_are_known_by_their_names(role):
    for name in ARGUMENTS[role]:
        assert plan._role(name) == role, name


GIVEN = known.INPUTS | {"output": ["step", 0], "cache": ["step", 0, 1]}


@pytest.mark.parametrize(
    ("parameters", "of_forward", "arguments"),
    [
        ("X y parameters", False, ["X", "y", "parameters"]),
        ("params inputs labels", False, ["parameters", "X", "y"]),
        ("X weights biases", False, ["X", "weights", "biases"]),
        ("X weights", False, ["X", "parameters"]),  # of one list alone
        ("X W1 b1 W2 b2", True, ["X", "W1", "b1", "W2", "b2"]),
        ("q parameters", True, ["X", "parameters"]),  # the one name that says nothing
        ("parameters X q", False, ["parameters", "X", "y"]),
        ("parameters q", False, None),
        ("parameters X q r", False, None),
        ("X x parameters", False, None),  # one twice
        ("cache y", False, ["cache", "y"]),
        ("AL y", False, ["output", "y"]),
        ("X y=", False, ["X", "y"]),  # loss(X, y=None)
        ("X lr=", False, ["X"]),
        ("X y lr=", False, ["X", "y"]),
        ("X lr", True, None),
    ],
)
def test_arguments_are_bound_by_their_names(parameters, of_forward, arguments):
    given = [[name.rstrip("="), not name.endswith("=")] for name in parameters.split()]
    found = plan.bound(given, GIVEN, of_forward)
    expected = arguments and [GIVEN.get(name, ["input", name]) for name in arguments]
    assert found == expected
    assert plan.bound(None, GIVEN) is None


@pytest.mark.parametrize(
    ("names", "first"),
    [
        ("sizes", ([], {"sizes": [3, 4, 5, 2]})),
        ("layer_dims", ([], {"layer_dims": [3, 4, 5, 2]})),
        ("input_size hidden_size output_size", ([], {"input_size": 3, "hidden_size": 4, "output_size": 2})),
        ("n_x n_h1 n_y", ([[3, 4, 5, 2]], {})),
        ("n_in hidden_sizes n_out", ([], {"n_in": 3, "hidden_sizes": [4, 5], "n_out": 2})),
        ("d_in hidden1 hidden2 classes", ([], {"d_in": 3, "hidden1": 4, "hidden2": 5, "classes": 2})),
        ("D hidden_layers C", ([], {"D": 3, "hidden_layers": [4, 5], "C": 2})),
        ("in_features out_features hidden9", ([], {"in_features": 3, "out_features": 2, "hidden9": 5})),
        ("", ([[3, 4, 5, 2]], {})),
        ("sizes lr=", ([], {"sizes": [3, 4, 5, 2]})),
    ],
)
def test_a_network_is_made_with_its_widths(names, first):
    parameters = [[name.rstrip("="), not name.endswith("=")] for name in names.split()]
    tried = list(known.constructors(parameters, [3, 4, 5, 2]))
    assert tried[0] == first
    assert tried[-3:] == [([[3, 4, 5, 2]], {}), ([3, 4, 5, 2], {}), ([], {})]
    assert list(known.constructors(None, [3, 2])) == [([[3, 2]], {}), ([3, 2], {}), ([], {})]


# ---- plans -----------------------------------------------------------------------------------------------------------


def planned(functions=(), classes=(), run=None):
    """Return the plans for functions, and for classes, with parameters of these names."""

    def parameters(names):
        return [[name, True] for name in names.split()]

    given = {name: parameters(names) for name, names in dict(functions).items()}
    methods = {
        name: {"init": parameters("sizes"), "methods": {n: parameters(p) for n, p in methods.items()}, "operators": []}
        for name, methods in dict(classes).items()
    }
    return list(known.plans({"functions": given, "classes": methods, "unpacked": []}, BLOCKS, run))


def test_functions_are_called_with_parameters_in_each_form():
    found = planned({"cost_and_gradients": "X y params", "predict": "X params"})
    forms = ["list", "dict from 1", "dict from 0"]
    assert [plan.form for plan in found] == [form for form in forms for _ in range(2)]  # the output alone, or a pair
    assert all(list(plan.parts) == ["output", "both"] and plan.takes_target for plan in found)
    of_blocks = {
        "list": [f"parameters[{i}]" for i in range(4)],
        "dict from 1": ["W1", "b1", "W2", "b2"],
        "dict from 0": ["W0", "b0", "W1", "b1"],
    }
    for one in found:
        assert one.names == dict(zip(BLOCKS, of_blocks[one.form], strict=True))
        given = one.inputs(list(BLOCKS.values()), X, Y, Layout())
        assert list(given) == ["parameters", "X", "y"] and given["X"] is X and given["y"] is Y
        parameters = given["parameters"]
        assert isinstance(parameters, list if one.form == "list" else dict)
        arrays = parameters if one.form == "list" else [parameters[name] for name in one.names.values()]
        assert all(np.array_equal(a, b) for a, b in zip(arrays, BLOCKS.values(), strict=True))
    (both,) = found[0].parts["both"].steps
    assert both == ["call", ["name", "cost_and_gradients"], [["input", name] for name in ("X", "y", "parameters")], {},
                    "cost_and_gradients"]  # fmt: skip


def test_functions_are_called_with_lists_or_single_arrays():
    plan, *_ = planned({"backprop": "x y weights biases"})
    assert list(plan.parts) == ["gradients"]
    given = plan.inputs(list(BLOCKS.values()), X, Y, Layout())
    assert [array.shape for array in given["weights"]] == [(4, 3), (2, 4)]
    assert [array.shape for array in given["biases"]] == [(4,), (2,)]
    plan, *_ = planned({"backprop": "x y W1 b1 W2 b2"})
    given = plan.inputs(list(BLOCKS.values()), X, Y, Layout())
    assert {name: given[name].shape for name in ("W1", "b1", "W2", "b2")} == {
        "W1": (4, 3), "b1": (4,), "W2": (2, 4), "b2": (2,),
    }  # fmt: skip


def test_a_loss_is_called_beside_the_gradients():
    found = planned({"backprop": "params cache y", "forward_pass": "params x", "compute_cost": "AL y"})
    plan = found[0]
    assert list(plan.parts) == ["output", "gradients", "loss"]
    output, gradients, loss = plan.parts.values()
    assert output.results == [["step", 0, 0]] and gradients.results == loss.results == [["step", 1]]
    assert gradients.steps[:1] == loss.steps[:1] == output.steps
    assert gradients.steps[1][2] == [["input", "parameters"], ["step", 0, 1], ["input", "y"]]
    assert loss.steps[1][2] == [["step", 0, 0], ["input", "y"]]
    assert found[1].parts["output"].results == [["step", 0]]  # where forward_pass returns no pair


def test_an_object_is_made_set_and_called():
    paths = [["params", name] for name in ("W1", "b1", "W2", "b2")]
    shapes = [[path, list(block.shape)] for path, block in zip(paths, BLOCKS.values(), strict=True)]
    made = []

    def run(program):
        made.append(program)
        return {"error": None, "values": [shapes]}

    methods = {"forward": "x", "grads": "x y", "loss": "x y", "train": "x y"}
    found = planned(classes={"Net": methods}, run=run)
    (program,) = made
    assert program["inputs"] == {"option sizes": [3, 4, 2]}
    plan = next(plan for plan in found if "gradients" in plan.parts)
    assert list(plan.parts) == ["gradients", "output", "loss"]
    assert plan.names == dict(
        zip(BLOCKS, ["params['W1']", "params['b1']", "params['W2']", "params['b2']"], strict=True)
    )
    begin = [["call", ["name", "Net"], [], {"sizes": ["input", "option sizes"]}, "Net"]]
    begin += [["set", ["step", 0], path, ["input", "parameters", i], "Net"] for i, path in enumerate(paths)]
    for name, part in zip(("grads", "forward", "loss"), plan.parts.values(), strict=True):
        assert part.label == name
        arguments = [["input", "X"]] if name == "forward" else [["input", "X"], ["input", "y"]]
        assert part.steps == [*begin, ["call", ["step", 0, name], arguments, {}, name]]
        assert part.results == [["step", 5]]
    given = plan.inputs(list(BLOCKS.values()), X, Y, Layout())
    assert given["option sizes"] == [3, 4, 2] and given["X"] is X and given["y"] is Y and len(given["parameters"]) == 4
    assert next(list(plan.parts) for plan in found if "both" in plan.parts) == ["both", "output"]


# ---- objects ---------------------------------------------------------------------------------------------------------


def shape_of(block):
    return list(block.shape)


@pytest.mark.parametrize(
    "paths",
    [
        [["W1"], ["b1"], ["W2"], ["b2"]],
        [["params", "W1"], ["params", "b1"], ["params", "W2"], ["params", "b2"]],
        [["weights", 0], ["biases", 0], ["weights", 1], ["biases", 1]],
        [["layers", 0, "W"], ["layers", 0, "b"], ["layers", 2, "W"], ["layers", 2, "b"]],
        [["layers", 9, "weight"], ["layers", 9, "bias"], ["layers", 10, "weight"], ["layers", 10, "bias"]],
    ],
    ids=str,
)
def test_parameters_of_an_object_are_found(paths):
    found = [(path, shape_of(block)) for path, block in zip(paths, BLOCKS.values(), strict=True)]
    assert known.object_parameters(found[::-1], BLOCKS) == paths
    odd = [(["X"], [5, 3]), (["lr"], []), (["dW1"], [4, 3]), (["grads", "W1"], [4, 3]), (["layers", 0, "dW"], [4, 3])]
    assert known.object_parameters([*odd, *found], BLOCKS) == paths
    assert known.object_parameters(found[1:], BLOCKS) is None
    assert known.object_parameters([*found, ([*paths[0][:-1], "W7"], [4, 3])], BLOCKS) is None  # one too many


@pytest.mark.parametrize(
    ("shapes", "layouts"),
    [
        ([(4, 3), (4,), (2, 4), (2,)], [(False, "vector")]),
        ([(3, 4), (1, 4), (4, 2), (1, 2)], [(True, "row")]),
        ([(4, 3), (4, 1), (2, 4), (2, 1)], [(False, "column")]),
        ([(4, 3), (4, 1), (4, 2), (2, 1)], None),
    ],
)
def test_shapes_of_an_object_say_its_layout(shapes, layouts):
    assert known.open_layouts(shapes, BLOCKS) == layouts
    square = {"W": np.zeros((3, 3)), "b": np.zeros(3)}
    assert known.open_layouts([(3, 3), (3,)], square) == [(False, "vector"), (True, "vector")]


def test_paths_are_written_as_students_write_them():
    assert known.path_text(["W1"]) == "W1"
    assert known.path_text(["params", "W1"]) == "params['W1']"
    assert known.path_text(["weights", 0]) == "weights[0]"
    assert known.path_text(["layers", 0, "W"]) == "layers[0].W"


@pytest.mark.parametrize(
    "paths",
    [
        [["dW1"], ["db1"], ["dW2"], ["db2"]],
        [["grads", "W1"], ["grads", "b1"], ["grads", "W2"], ["grads", "b2"]],
        [["layers", 0, "dW"], ["layers", 0, "db"], ["layers", 1, "dW"], ["layers", 1, "db"]],
        [["grads", "dW1"], ["grads", "db1"], ["grads", "dW2"], ["grads", "db2"]],
        [["delta_W1"], ["delta_b1"], ["delta_W2"], ["delta_b2"]],
    ],
    ids=str,
)
def test_gradients_of_an_object_are_found(paths):
    found = [(path, shape_of(block)) for path, block in zip(paths, BLOCKS.values(), strict=True)]
    own = [
        (path, shape_of(block)) for path, block in zip((["W1"], ["b1"], ["W2"], ["b2"]), BLOCKS.values(), strict=True)
    ]
    assert known.gradient_paths([*own, *found], BLOCKS) == paths
    assert known.gradient_paths(own, BLOCKS) is None


# ---- calls -----------------------------------------------------------------------------------------------------------


def call_of(layout=None, is_contract=True):
    plan = Plan({}, "list", {}, is_contract)
    return Call(None, plan, layout or Layout(), BLOCKS, 2)


@pytest.mark.parametrize(
    ("value", "is_contract", "pair"),
    [
        ((0.5, [W0]), True, (0.5, [W0])),
        (([W0], 0.5), True, ([W0], 0.5)),  # the form is stated: no guess
        (([W0], 0.5), False, (0.5, [W0])),
        ((0.5, W0, B0, W2, B2), True, (0.5, [W0, B0, W2, B2])),
        ((0.5, W0, B0), True, None),
        ((W0, B0, W2, B2, 0.5), True, None),
        ([0.5, [W0]], True, (0.5, [W0])),
        (0.5, True, None),
        ((0.5,), True, None),
    ],
    ids=str,
)
def test_a_pair_is_a_loss_and_gradients(value, is_contract, pair):
    found = call_of(is_contract=is_contract).pair_of([value, value])
    if pair is None:
        assert found is None
        return
    assert [len(part) for part in found] == [2, 2]
    assert str((found[0][0], found[1][0])) == str(pair)
    assert call_of().pair_of([]) is None
    assert call_of().pair_of([value, 3]) is None


def test_losses_and_outputs_of_single_samples_are_put_together():
    single, columns = call_of(Layout(samples="single vectors")), call_of(Layout(samples="columns"))
    assert single.loss_of([1.0, np.array([3.0])]) == 2
    assert single.loss_of([1.0, "text"]) == 1.0
    assert columns.loss_of([np.array([[2.0]])]).shape == ()
    assert call_of().loss_of([np.array([[2.0]])]).shape == (1, 1)  # the form is stated
    assert call_of(is_contract=False).loss_of([np.array([[2.0]])]).shape == ()
    assert single.output_of([np.ones(2), np.zeros(2)]).tolist() == [[1, 1], [0, 0]]
    assert single.output_of([np.ones(2), np.zeros(3)]).tolist() == [[1, 1]]
    assert columns.output_of([np.ones((2, 5))]).shape == (5, 2)
    reading = single.gradient_of([[W0, B0, W2, B2], [3 * W0, B0, W2, B2[:1]]], 5)
    assert np.allclose(reading.arrays["0.weight"], 2 * W0) and list(reading.arrays) == list(BLOCKS)[:3]
    assert list(reading.flaws) == ["2.bias"]
    assert single.gradient_of([[W0, B0, W2, B2], None], 5).problem == "gradients: expected arrays, got None"


def test_problems_of_answers_are_told():
    assert problem_of(Of([1.0]), "f") == ""
    assert problem_of(Of([1.0], error="ValueError: no"), "f") == "f: ValueError: no"
    assert problem_of(Of([], unsent="a lock"), "f") == "f: its result cannot be read: a lock"
    assert problem_of(Of([None]), "f") == "f returns None: is there a return?"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_are_right_up_to_rounding(dtype):
    truth = Truth(Exercise(NETWORK.astype(dtype), X.astype(dtype), Y))
    true = np.array([1.0, -100.0])
    allowed = 100 * hm.checking.causes.tolerance(dtype == np.float32)
    for share in 0.9, 1.1:
        assert truth.equals(true + np.array([share * allowed, 0]), true) is (share < 1)
    assert not truth.equals(true[:1], true) and not truth.equals([1.0, np.nan], true) and not truth.equals(None, true)
    assert truth.equals(true.tolist(), true)
    assert truth.equals(np.zeros(2), np.full(2, 1e-14)) and not truth.equals(np.zeros(2), np.full(2, 2e-14))
    assert list(truth.outputs()) == ["", "its softmax", "its sigmoid"]
    assert np.allclose(truth.outputs()["its softmax"].sum(axis=1), 1)


# ---- the judgement ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (1.0, 1.0, True), (1.0, 2.0, False), (np.nan, np.nan, True), (W0, W0.copy(), True), (W0, W0.T, False),
        ([1, W0], [1, W0], True), ([1, W0], [1, 2 * W0], False), ([1], (1,), True), ([1], [1, 2], False),
        ({"a": 1}, {"a": 1}, True), ({"a": 1}, {"a": 2}, False), (None, None, True), (None, 1.0, False),
        ("text", "other", True),
    ],
    ids=str,
)  # fmt: skip
def test_answers_are_the_same_where_their_numbers_are(a, b, same):
    assert bool(_same(a, b)) is same


def test_errors_have_verdicts():
    assert [_verdict_of(text) for text in ("", "MemoryError: x", "SystemExit: 1", "ValueError: SystemExit")] == [
        "missing", "memory", "ended", "error",
    ]  # fmt: skip


def test_losses_near_the_true_one_have_names():
    near = _losses(types.SimpleNamespace(loss=np.asarray(6.0), X=X))
    assert {name: float(value) for name, value in near.items()} == {
        "N times that": 30, "that divided by N": 1.2, "twice that": 12, "half of it": 3, "its negative": -6,
    }  # fmt: skip


def test_an_automatic_differentiation_is_suspected():
    def kind(operators, methods):
        return {"operators": operators, "methods": methods}

    classes = {
        "Value": kind(["__add__", "__mul__", "__sub__"], ["backward"]),
        "Net": kind([], ["backward"]),
        "Vector": kind(["__add__", "__mul__"], ["norm"]),
        "Half": kind(["__add__"], ["backward"]),
        "Plain": {"methods": ["backward"]},
    }
    assert suspicious({"classes": classes}) == [
        "the class Value defines arithmetic and backward: an automatic differentiation?"
    ]


@pytest.mark.parametrize(
    ("text", "longest", "cleaned"),
    [("a\tb\nc", 10, "a b c"), ("\x1b[31mred\x1b[0m", 10, "red"), ("x\x07y", 10, "xy"),
     ("x" * 11, 10, "x" * 10 + "..."), ("x" * 10, 10, "x" * 10),
     ("\x1b]0;title\x07z", 20, "z"), (3, 10, "3"), ("\x1b" * 50 + "z", 10, "")],
)  # fmt: skip
def test_text_of_students_is_cleaned(text, longest, cleaned):
    assert clean(text, longest) == cleaned
