"""The checks of arguments: what passes unchanged, what is converted, what is refused and in which words."""

from __future__ import annotations

import re
import tracemalloc

import numpy as np
import pytest
import scipy.sparse
import torch
from oracles import read_only

import handmade as hm
from handmade._validation import all_within, as_array, as_floating, as_generator, check_count, check_dtype, check_finite


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.complex64, np.complex128])
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_floating_point_passes_as_it_is(dtype, shape):
    A = np.zeros(shape, dtype)
    assert as_floating(A) is A


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (3, np.array(3.0)),
        (2.5, np.array(2.5)),
        ([1, 2], np.array([1.0, 2.0])),
        ([[1, 2.5]], np.array([[1.0, 2.5]])),
        ((), np.array([])),
        (np.float32(1.5), np.array(1.5, np.float32)),
        ([np.float32(1.5)], np.array([1.5], np.float32)),
        (np.array([-1], np.int8), np.array([-1.0])),
        (np.array([255], np.uint8), np.array([255.0])),
        (np.array([2**53], np.int64), np.array([2.0**53])),
    ],
)
def test_numbers_become_floating_point(given, expected):
    np.testing.assert_array_equal(as_floating(given), expected, strict=True)
    assert type(as_floating(given)) is np.ndarray


def test_subclasses_become_plain_arrays():
    class Special(np.ndarray):
        pass

    A = np.ones((2, 2)).view(Special)
    assert type(as_floating(A)) is np.ndarray
    np.testing.assert_array_equal(as_floating(A), np.ones((2, 2)))


@pytest.mark.parametrize(
    ("wrong", "dtype"),
    [
        (True, "bool"),
        ([False, True], "bool"),
        (["1", "2"], "<U1"),
        ([b"1"], "|S1"),
        (np.array(["2020-01-01"], "datetime64[D]"), "datetime64[D]"),
    ],
    ids=str,
)
def test_what_is_no_number_is_refused(wrong, dtype):
    message = f"logits: expected an array of numbers, got dtype {dtype}; convert it with logits.astype(float)"
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        as_floating(wrong, "logits")
    with pytest.raises(TypeError, match=r"^A: expected"):
        as_floating(wrong)


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        ([1, None], "dtype object with None at index (1,)"),
        ([["1", "2"], ["3", "cat"]], "dtype <U3 with 'cat' at index (1, 1)"),
        ([b"1", b"x"], r"dtype |S1 with b'x' at index (1,)"),
    ],
)
def test_what_cannot_become_a_number_is_shown(wrong, found):
    """A cure such as astype(float) would fail."""
    message = f", got {re.escape(found)}; replace it by a number$"
    with pytest.raises(TypeError, match=message):
        as_floating(wrong)
    with pytest.raises(TypeError, match=f"^target: expected numbers{message}"):
        hm.losses.mse_loss(np.ones(2), wrong)
    with pytest.raises(TypeError, match=message):
        hm.Perceptron().fit(np.eye(2), wrong)


def test_text_among_the_inputs_of_a_network_is_shown():
    with pytest.raises(TypeError, match=r"^X: expected numbers, got dtype <U3 with 'cat' at index \(0, 1\); replace"):
        hm.MLP([2, 2], rng=0).predict([["1", "cat"]])
    with pytest.raises(TypeError, match=r"^X: expected numbers, got dtype <U1; convert it with X.astype\(float\)$"):
        hm.MLP([2, 2], rng=0).predict([["1", "2"]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (7,), (2, 3), (2, 3, 4)])
def test_finite_numbers_pass_quietly_however_large(dtype, shape):
    """The sum of their squares overflows: no warning, no error (every warning is an error here)."""
    info = np.finfo(dtype)
    for value in (0, -0.0, 1, info.max, info.min, info.smallest_subnormal):
        check_finite(read_only(np.full(shape, value, dtype)), "X")


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
@pytest.mark.parametrize("count", [1, 30])
@pytest.mark.parametrize("sign", [1, -1])
def test_within_holds_up_to_the_limit_and_no_further(dtype, count, sign):
    """One entry or many, whose squares together are far above the limit's."""
    A = np.full((count, 2), sign * 3.0, dtype)
    assert all_within(A, 3.0) is True
    assert all_within(A[::2], 3.0) is True
    A[-1, 0] = sign * np.nextafter(np.float32(3), np.float32(4))
    assert all_within(A, 3.0) is False
    for wrong in np.nan, np.inf, -np.inf:
        A[-1, 0] = wrong
        assert all_within(A, 3.0) is False


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rest", [0.0, 1e30], ids=["small", "large"])
def test_the_first_that_is_not_finite_is_quoted(dtype, wrong, rest):
    A = np.full((3, 4), rest, dtype)
    A[1, 2] = A[2, 0] = wrong
    for view, index in [(A, (1, 2)), (np.asfortranarray(A), (1, 2)), (A.T, (0, 2)), (A[1:, ::2], (0, 1))]:
        message = f"X: expected finite numbers, got {wrong} at index {index}"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            check_finite(read_only(view), "X")


@pytest.mark.parametrize(("shape", "index"), [((4,), "(100,)"), ((4, 2), "(100, 0)"), ((), "()")])
def test_the_index_counts_from_the_first_row(shape, index):
    """Of a batch, the user knows the whole: row 0 of it is row 100 there. A single number has no row."""
    message = f"X: expected finite numbers, got nan at index {index}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check_finite(np.full(shape, np.nan), "X", first_row=100)


def test_infinities_of_both_signs_do_not_cancel():
    with pytest.raises(ValueError, match=r"got inf at index \(0,\)"):
        check_finite(np.array([np.inf, -np.inf]), "X")


@pytest.mark.parametrize(
    ("value", "least"), [(1, 1), (0, 0), (-3, -3), (10**18, 1), (np.int64(4), 1), (np.uint8(7), 7)]
)
def test_counts_become_int(value, least):
    assert check_count(value, "size", least) == value
    assert type(check_count(value, "size", least)) is int


@pytest.mark.parametrize(
    ("value", "least", "error", "message"),
    [
        (0, 1, ValueError, "size: expected an integer of at least 1, got 0"),
        (-2, 0, ValueError, "size: expected an integer of at least 0, got -2"),
        (np.int32(4), 5, ValueError, "size: expected an integer of at least 5, got 4"),
        (2.0, 1, TypeError, "size: expected an integer of at least 1, got 2.0"),
        (np.float64(2), 1, TypeError, "size: expected an integer of at least 1, got np.float64(2.0)"),
        (True, 1, TypeError, "size: expected an integer of at least 1, got True"),
        (np.True_, 1, TypeError, "size: expected an integer of at least 1, got np.True_"),
        ("3", 1, TypeError, "size: expected an integer of at least 1, got '3'"),
        (None, 1, TypeError, "size: expected an integer of at least 1, got None"),
        ([3], 1, TypeError, "size: expected an integer of at least 1, got [3]"),
    ],
)
def test_what_is_no_count_is_refused(value, least, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        check_count(value, "size", least)


def test_a_count_is_at_least_one_unless_told():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        check_count(0, "size")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_two_dtypes_of_a_network_by_any_name(dtype):
    for name in (dtype, np.dtype(dtype), np.dtype(dtype).name, np.zeros(1, dtype).dtype):
        assert check_dtype(name) == np.dtype(dtype)
    assert check_dtype(float) == np.float64


@pytest.mark.parametrize(
    ("wrong", "got"),
    [("float16", "float16"), (np.int64, "int64"), (complex, "complex128"), ("double64", "'double64'"), (32, "32")],
)
def test_other_dtypes_are_refused(wrong, got):
    with pytest.raises(TypeError, match=f"^dtype: expected float64 or float32, got {got}$"):
        check_dtype(wrong)


@pytest.mark.parametrize("order", ["C", "F"])
def test_what_is_finite_is_found_so_without_a_copy(order):
    """Whichever way round it lies: a memmap may be larger than memory."""
    A = np.ones((2000, 1000), order=order)
    tracemalloc.start()
    try:
        check_finite(A, "A")
        assert tracemalloc.get_traced_memory()[1] < A.nbytes / 100
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_whose_squares_overflow_are_finite(dtype):
    check_finite(np.full((3, 2), np.finfo(dtype).max, dtype), "X")


# ---- as_array and as_generator ---------------------------------------------------------------------------------------

MASKED = np.ma.array([1.0, 2.0], mask=[False, True])


@pytest.mark.parametrize("array", [np.zeros((2, 3), np.int8), np.array("text"), np.zeros(3)[::-1], np.array([None])])
def test_plain_arrays_of_any_dtype_pass_without_a_copy(array):
    assert as_array(array) is array


@pytest.mark.parametrize("dtype", [">f8", ">i4", "<f4", ">c16", "<U3"])
def test_arrays_get_the_byte_order_of_this_machine(dtype):
    given = np.array([1, 2]).astype(dtype)
    assert as_array(given).dtype == given.dtype.newbyteorder("=") and as_array(given).dtype.isnative
    np.testing.assert_array_equal(as_array(given), given)


@pytest.mark.parametrize("wrap", [lambda t: t, lambda t: [t, t], lambda t: (t.sum(), 2.0)])
def test_tensors_that_require_grad_are_taken(wrap):
    given = wrap(torch.arange(3.0, requires_grad=True))
    expected = wrap(np.arange(3, dtype=np.float32))
    np.testing.assert_array_equal(as_array(given), expected)
    np.testing.assert_array_equal(as_floating(given), np.asarray(expected, as_floating(given).dtype), strict=True)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (MASKED, TypeError, "X: expected an array without a mask, got MaskedArray; fill it with X.filled(value)"),
        ([MASKED, MASKED], TypeError, "X: expected an array without a mask, got MaskedArray"),
        (MASKED[1], TypeError, "X: expected an array without a mask, got MaskedConstant"),
        (scipy.sparse.eye_array(2), TypeError, "X: expected a dense array, got dia_array; convert it with X.toarray()"),
        (scipy.sparse.csr_matrix((2, 2)), TypeError, "X: expected a dense array, got csr_matrix"),
        ([[1, 2], [3]], ValueError, "X: expected an array, got list that NumPy cannot read: setting an array element"),
        (torch.eye(2).to_sparse(), TypeError, "X: expected an array, got Tensor that NumPy cannot read: can't convert"),
        (torch.ones(2, dtype=torch.bfloat16), TypeError, "X: expected an array, got Tensor that NumPy cannot read"),
    ],
)
def test_what_numpy_would_misread_or_cannot_read_is_refused(wrong, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}"):
        as_array(wrong, "X")
    with pytest.raises(error, match=f"^{re.escape(message)}"):
        as_floating(wrong, "X")


@pytest.mark.parametrize("rng", [0, 7, np.int64(3), [1, 2], None, np.random.default_rng(0), np.random.PCG64(1)])
def test_generators_are_those_of_numpy(rng):
    assert isinstance(as_generator(rng), np.random.Generator)
    assert (as_generator(rng) is rng) == isinstance(rng, np.random.Generator)


@pytest.mark.parametrize(("rng", "error"), [(-1, ValueError), (1.5, TypeError), ("a", TypeError), ([1.5], TypeError)])
def test_what_makes_no_generator_is_named(rng, error):
    message = f"rng: expected None, an integer >= 0 or a numpy.random.Generator, got {rng!r}"
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        as_generator(rng)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: hm.MLP([2, 3, 2], "ReLU"), "did you mean 'relu'"),
        (lambda: hm.MLP([2, 3, 2], weight_init="kaiming"), "did you mean 'kaiming_"),
        (lambda: hm.losses.find_loss("crossentropy"), "did you mean 'cross_entropy'"),
        (lambda: hm.losses.mse_loss([1.0], [1.0], reduction="average"), "one of none, mean, sum; got 'average'$"),
        (lambda: hm.check_gradient(np.sum, [1.0], [1.0], method="centrall"), "did you mean 'central'"),
        (lambda: hm.losses.find_loss(" "), "one of .*; got ' '$"),
    ],
)
def test_unknown_names_come_with_the_nearest(call, match):
    with pytest.raises(ValueError, match=match):
        call()


@pytest.mark.parametrize("value", [None, {"a": 1}, {1.0}, "train.csv", b"0", object(), iter([1.0])])
def test_what_is_no_array_is_called_by_its_type(value):
    with pytest.raises(TypeError, match=f"^X: expected an array, got {type(value).__name__}$"):
        as_array(value, "X")


LABELS = [np.array([True] * 4), [0, 1, 2], [0, 1, 2, 7], [0.5] * 4, np.ones((4, 1), int), ["a"] * 4, None]


@pytest.mark.parametrize("y", LABELS)
def test_errors_of_a_loss_speak_of_y_where_the_caller_does(y):
    network, X = hm.MLP([5, 3], rng=0), np.ones((4, 5))
    calls = [
        lambda: hm.fit(network, X, y, progress=False),
        lambda: network.loss_and_gradient(X, y),
        lambda: hm.find_lr(network, X, y),
        lambda: hm.NetworkLoss(network, X, y),
        lambda: hm.compile(network)(X, y),
        lambda: hm.diagnose_gradient(network, X, y),
    ]
    for call in calls:
        with pytest.raises((TypeError, ValueError), match=r"^y: ") as caught:
            call()
        assert "target" not in str(caught.value).partition("target per row")[0]


@pytest.mark.parametrize("dtype", [np.float32(1.0), np.float64(0.0), np.bytes_(b"f")])
def test_a_number_is_no_dtype(dtype):
    with pytest.raises(TypeError, match=r"^dtype: expected float64 or float32, got np\."):
        hm.Dense(2, 3, dtype=dtype)


@pytest.mark.parametrize("rows", [0, 1])
def test_one_sample_cannot_be_split(rows):
    with pytest.raises(ValueError, match=rf"^X: expected at least 2 samples to split, got {rows}$"):
        hm.train_test_split(np.ones((rows, 3)), np.ones(rows))


def test_find_lr_refuses_optimizers_that_search_themselves():
    with pytest.raises(TypeError, match=r"^optimizer: expected an optimizer of one gradient per step, got LBFGS"):
        hm.find_lr(hm.MLP([3, 2], rng=0), np.ones((4, 3)), [0, 1, 0, 1], optimizer=hm.LBFGS())


def test_errors_of_a_loss_speak_of_the_output_of_a_network():
    network, X, y = hm.MLP([3, 1], rng=0), np.random.default_rng(0).normal(size=(6, 3)), np.ones((6, 1))
    for call in (
        lambda: network.loss_and_gradient(X, y, "binary_cross_entropy"),
        lambda: hm.fit(network, X - 9, y, loss="binary_cross_entropy", progress=False),
        lambda: hm.NetworkLoss(network, X, y, "binary_cross_entropy"),
    ):
        with pytest.raises(ValueError, match=r"^output: expected values from 0 to 1, got .*; logits belong"):
            call()


class SaysEpoch:
    def __str__(self):
        return "epoch"


@pytest.mark.parametrize("when", ["step", None, 1, np.array(["epoch"]), SaysEpoch()])
def test_a_schedule_is_stepped_at_a_time_that_is_text(when):
    optimizer = hm.SGD(lr=0.1)
    with pytest.raises(TypeError, match=r"^schedule: expected pairs such as"):
        hm.fit(hm.MLP([3, 2], rng=0), np.ones((4, 3)), [0, 1, 0, 1], optimizer=optimizer, epochs=1, progress=False,
               schedule=[(hm.StepLR(optimizer, 1), when)])  # fmt: skip


@pytest.mark.parametrize("classes", [3, [[0, 1]], np.zeros((2, 2, 2))])
def test_classes_that_are_no_vector_are_refused_by_name(classes):
    with pytest.raises(ValueError, match=r"^classes: expected a vector of labels, got array"):
        hm.estimators.MLPClassifier((4,)).partial_fit(np.ones((4, 3)), [0, 1, 0, 1], classes=classes)
