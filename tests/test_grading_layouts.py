"""Gradients in the layouts of students: each is read as it was meant, and an array that does not fit is named."""

from __future__ import annotations

import numpy as np
import pytest

from handmade.grading.child.wire import Opaque
from handmade.grading.layouts import Layout, flaw_of, is_numeric, kind_of, layouts, read

RNG = np.random.default_rng(4)
BLOCKS = {
    "0.weight": RNG.normal(size=(4, 3)), "0.bias": RNG.normal(size=4),
    "2.weight": RNG.normal(size=(2, 4)), "2.bias": RNG.normal(size=2),
}  # fmt: skip
W0, B0, W2, B2 = BLOCKS.values()
X = RNG.normal(size=(5, 3))
TARGETS = {
    "labels": np.array([0, 1, 1, 0, 1]),
    "numbers": RNG.normal(size=5),
    "column": RNG.normal(size=(5, 1)),
    "matrix": RNG.normal(size=(5, 2)),
}
ALL = [(name, layout) for name, y in TARGETS.items() for layout in layouts(y)]


def assert_read(reading, expected=BLOCKS):
    assert (reading.flaws, reading.problem) == ({}, "")
    assert list(reading.arrays) == list(expected)
    assert all(np.array_equal(array, expected[name]) for name, array in reading.arrays.items())


# ---- what is given ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("target", "layout"), ALL, ids=str)
def test_a_layout_gives_every_sample_and_target_once(target, layout):
    y = TARGETS[target]
    pairs = layout.batches(X, y, 2)
    assert len(pairs) == (5 if layout.is_single else 1)
    given_X = np.concatenate([np.ravel(x) if layout.samples != "columns" else np.ravel(x.T) for x, _ in pairs])
    assert np.array_equal(given_X, X.ravel())
    shapes = {"rows": (5, 3), "columns": (3, 5), "single columns": (3, 1), "single vectors": (3,)}
    assert {x.shape for x, _ in pairs} == {shapes[layout.samples]}
    given = [np.asarray(t).T if layout.samples == "columns" else np.asarray(t) for _, t in pairs]
    flat = np.concatenate([np.ravel(t) for t in given])
    one_hot = np.eye(2)[y].ravel() if target == "labels" else None
    assert np.array_equal(flat, y.ravel()) or np.array_equal(flat, one_hot)


def test_targets_come_in_every_shape():
    def shapes(target, samples):
        y = TARGETS[target]
        tried = [layout for layout in layouts(y, [(False, "vector")]) if layout.samples == samples]
        return [np.shape(layout.batches(X, y, 2)[0][1]) for layout in tried]

    assert shapes("labels", "rows") == [(5,), (5, 2), (5, 1)]
    assert shapes("labels", "columns") == [(2, 5), (5,), (1, 5)]
    assert shapes("labels", "single columns") == [(2, 1), (1, 1)]
    assert shapes("labels", "single vectors") == [(2,), (1,)]
    assert shapes("numbers", "rows") == [(5,), (5, 1)]
    assert shapes("numbers", "columns") == [(1, 5), (5,)]
    assert shapes("column", "rows") == [(5, 1), (5,)]
    assert shapes("column", "columns") == [(1, 5), (5,)]
    assert shapes("column", "single columns") == [(1, 1), ()]
    assert shapes("matrix", "rows") == [(5, 2)]
    assert shapes("matrix", "columns") == [(2, 5)]
    assert shapes("matrix", "single columns") == [(2, 1)]
    assert shapes("matrix", "single vectors") == [(2,)]


def test_a_label_that_is_no_class_has_a_row_of_zeros():
    wide = Layout(target=1).batches(X, np.array([0, -100, 1, 2, 1]), 2)[0][1]
    assert wide.tolist() == [[1, 0], [0, 0], [0, 1], [0, 0], [0, 1]]


@pytest.mark.parametrize(("target", "layout"), ALL, ids=str)
def test_nothing_that_is_given_shares_memory(target, layout):
    y = TARGETS[target]
    for x, t in layout.batches(X, y, 2):
        assert not np.shares_memory(x, X)
        assert not (isinstance(t, np.ndarray) and np.shares_memory(t, y))
    for given, own in zip(layout.parameters(list(BLOCKS.values())), BLOCKS.values(), strict=True):
        assert not np.shares_memory(given, own) and given.flags.c_contiguous


def test_layouts_are_tried_in_this_order():
    tried = [(layout.turned, layout.bias, layout.samples) for layout in layouts(TARGETS["matrix"])]
    assert tried == [
        (False, "vector", "rows"), (True, "vector", "rows"), (True, "row", "rows"), (False, "column", "columns"),
        (False, "column", "single columns"), (True, "column", "columns"), (False, "row", "rows"),
        (False, "vector", "single vectors"), (True, "vector", "single vectors"), (True, "row", "single vectors"),
    ]  # fmt: skip
    of_object = [
        (layout.turned, layout.samples) for layout in layouts(TARGETS["matrix"], [(True, "row"), (False, "row")])
    ]
    ways = ["rows", "columns", "single columns", "single vectors"]
    assert of_object == [(turned, samples) for turned in (True, False) for samples in ways]


def test_outputs_come_back_as_rows():
    out = RNG.normal(size=(2, 5))
    assert np.array_equal(Layout(samples="columns").output(out), out.T)
    assert Layout(samples="columns").output(out[0]) is not None and Layout(samples="columns").output(out[0]).shape == (
        5,
    )
    assert Layout(samples="rows").output(out) is out
    for samples in "single columns", "single vectors":
        assert Layout(samples=samples).output(out[:, :1]).shape == (1, 2)
        assert Layout(samples=samples).output(3.0) == 3.0


# ---- what comes back -------------------------------------------------------------------------------------------------


SHAPES = [Layout(turned, bias) for turned in (False, True) for bias in ("vector", "column", "row")]


@pytest.mark.parametrize("layout", SHAPES, ids=str)
def test_gradients_in_the_shapes_of_the_parameters_are_read(layout):
    given = layout.parameters(list(BLOCKS.values()))
    for value in (
        given,
        tuple(given),
        dict(zip(BLOCKS, given, strict=True)),
        [array.tolist() for array in given],
        dict(zip(("dW1", "db1", "dW2", "db2"), given, strict=True)),
        dict(zip(("delta_W1", "delta_b1", "delta_W2", "delta_b2"), given, strict=True)),
        dict(zip(("grad_w_0", "grad_b_0", "grad_w_1", "grad_b_1"), given, strict=True)),
        dict(zip(("gradientsWeight1", "gradientsBias1", "gradientsWeight2", "gradientsBias2"), given, strict=True)),
        dict(zip(("GradW1", "Gradb1", "GradW2", "Gradb2"), given, strict=True)),
        {"dW1": given[0], "dW2": given[2], "db1": given[1], "db2": given[3]},
        {"cost": 0.5, "db2": given[3], "dW2": given[2], "dA1": X, "db1": given[1], "dW1": given[0]},
        [given[0], given[2], given[1], given[3]],  # weights first
        [given[2], given[3], given[0], given[1]],  # from the last layer
    ):
        assert_read(read(value, BLOCKS, layout, 5))


@pytest.mark.parametrize("layout", SHAPES, ids=str)
def test_biases_come_back_in_any_shape(layout):
    given = layout.parameters(list(BLOCKS.values()))
    for shape in (-1,), (-1, 1), (1, -1):
        assert_read(read([given[0], B0.reshape(shape), given[2], B2.reshape(shape)], BLOCKS, layout, 5))


def test_the_bias_of_one_unit_may_come_back_as_a_number():
    one = {"0.weight": W0[:1], "0.bias": B0[:1]}
    for layout in SHAPES:
        assert_read(read([layout.parameter(W0[:1]), float(B0[0])], one, layout, 5), one)


def test_gradients_that_are_all_turned_are_read():
    assert_read(read([W0.T, B0, W2.T, B2], BLOCKS, Layout(), 5))
    assert_read(read([W0, B0, W2, B2], BLOCKS, Layout(turned=True), 5))
    one = dict(list(BLOCKS.items())[:2])
    assert read([W0.T, B0], one, Layout(), 5).flaws == {
        "0.weight": "expected shape (4, 3), got (3, 4): rows and columns are exchanged"
    }


ROW, NUMBER = "it has one row for each sample", "it has one number for each sample"


@pytest.mark.parametrize(
    ("place", "value", "flaw"),
    [
        (0, W0.T, "expected shape (4, 3), got (3, 4): rows and columns are exchanged"),
        (0, W0[:2], "expected shape (4, 3), got (2, 3)"),
        (0, 3.0, "expected shape (4, 3), got ()"),
        (0, None, "expected numbers, got NoneType"),
        (0, Opaque("a generator"), "expected numbers, got a generator"),
        (0, np.where(W0 > 0, np.nan, W0), f"{(W0 > 0).sum()} of 12 numbers are not finite, the first is nan"),
        (1, np.ones((5, 4)), f"expected shape (4,), got (5, 4): {ROW}"),
        (1, np.ones((4, 5)), f"expected shape (4,), got (4, 5): {ROW}"),
        (1, np.ones(5), f"expected shape (4,), got (5,): {NUMBER}"),
        (1, np.ones((5, 1)), f"expected shape (4,), got (5, 1): {NUMBER}"),
        (1, np.ones((1, 5)), f"expected shape (4,), got (1, 5): {NUMBER}"),
        (1, 3.0, "expected shape (4,), got one number for all units"),
        (1, np.ones(3), "expected shape (4,), got (3,)"),
        (1, np.array([1, np.inf, 1, 1]), "1 of 4 numbers are not finite, the first is inf"),
        (3, np.ones((2, 1, 2)), "expected shape (2,), got (2, 1, 2)"),
    ],
)
def test_the_flaw_of_one_gradient_is_told_and_the_others_read(place, value, flaw):
    name = list(BLOCKS)[place]
    given = [value if i == place else block for i, block in enumerate(BLOCKS.values())]
    reading = read(given, BLOCKS, Layout(), 5)
    assert (reading.flaws, reading.problem) == ({name: flaw}, "")
    others = {key: block for key, block in BLOCKS.items() if key != name}
    assert all(np.array_equal(reading.arrays[key], block) for key, block in others.items())
    if "exchanged" in flaw:
        assert np.array_equal(reading.arrays[name], W0)  # which can be judged all the same
    else:
        assert name not in reading.arrays
    completed = reading.completed(BLOCKS)
    assert list(completed) == list(BLOCKS) and all(np.array_equal(completed[key], BLOCKS[key]) for key in BLOCKS)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (None, "gradients: expected arrays, got None"),
        (3.0, "got float"),
        ([W0, B0, W2], "got a sequence of 3"),
        ({"W": W0}, "got a dict of 1"),
        (np.zeros(7), r"got an array of shape (7,) and dtype float64"),
        (np.array(3.0), "got a number"),
        (Opaque("a generator"), "got a generator"),
    ],
)
def test_what_is_no_gradient_is_told(value, problem):
    for layout, shapes in (
        (Layout(), "(4, 3), (4,), (2, 4), (2,)"),
        (Layout(True, "row"), "(3, 4), (1, 4), (4, 2), (1, 2)"),
    ):
        reading = read(value, BLOCKS, layout, 5)
        expected = problem if value is None else f"gradients: expected a list of 4 arrays of shapes {shapes}, {problem}"
        assert (reading.problem, reading.arrays, reading.flaws) == (expected, {}, {})


def test_a_vector_is_cut_into_the_parameters():
    vector = np.concatenate([block.ravel() for block in BLOCKS.values()])
    assert_read(read(vector, BLOCKS, Layout(), 5))
    turned = np.concatenate([block.T.ravel() for block in BLOCKS.values()])
    assert_read(read(turned, BLOCKS, Layout(turned=True, bias="row"), 5))


# ---- single values ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "numeric"),
    [(1, True), (1.5, True), ([1, 2], True), (np.uint8(3), True), (True, False), (1j, False), ("1", False),
     (None, False), ([1, [2, 3]], False), ([np.ones(2), np.ones(3)], False)],
)  # fmt: skip
def test_numbers_are_real_numbers(value, numeric):
    assert is_numeric(value) is numeric


def test_kinds_of_values_have_words():
    assert kind_of(np.zeros((2, 3))) == "an array of shape (2, 3) and dtype float64"
    assert kind_of(np.float64(1)) == "float64" and kind_of(np.array(1)) == "a number"
    assert [kind_of(value) for value in ([1, 2], (1,), {"a": 1}, "text", Opaque("a file"))] == [
        "a sequence of 2", "a sequence of 1", "a dict of 1", "str", "a file",
    ]  # fmt: skip


@pytest.mark.parametrize(("value", "flaw"), [(W0, ""), (W0.tolist(), ""), (np.zeros((4, 3), int), "")])
def test_what_has_the_shape_and_is_finite_has_no_flaw(value, flaw):
    assert flaw_of(value, (4, 3)) == flaw
