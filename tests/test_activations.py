"""Activations against torch and against the complex step; against 50 digits they are measured in test_exactness."""

from __future__ import annotations

import inspect
import itertools
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from oracles import assert_pulls_back, complex_gradient

from handmade import activations
from handmade.activations import (
    ACTIVATIONS,
)
from reference.cases import ACTIVATIONS as CASES
from reference.twin import MODULES

FLOATS = (np.float64, np.float32)

# name, options, the same in torch. A threshold of 20, torch's default, would be off by e^-20 where it takes over.
ELEMENTWISE = [
    ("identity", {}, torch.Tensor.clone),
    ("sigmoid", {}, torch.sigmoid),
    ("tanh", {}, torch.tanh),
    ("relu", {}, F.relu),
    ("leaky_relu", {}, F.leaky_relu),
    ("leaky_relu", {"negative_slope": 0.3}, lambda A: F.leaky_relu(A, 0.3)),
    ("leaky_relu", {"negative_slope": -0.5}, lambda A: F.leaky_relu(A, -0.5)),
    ("elu", {}, F.elu),
    ("elu", {"alpha": 1.7}, lambda A: F.elu(A, 1.7)),
    ("gelu", {}, F.gelu),
    ("gelu", {"approximate": "tanh"}, lambda A: F.gelu(A, approximate="tanh")),
    ("silu", {}, F.silu),
    ("softplus", {}, lambda A: F.softplus(A, threshold=40)),
    ("softplus", {"beta": 2.5}, lambda A: F.softplus(A, 2.5, threshold=40)),
    ("softplus", {"beta": 2.0, "threshold": 1.0}, lambda A: F.softplus(A, 2.0, 1.0)),
]
# Every other activation, as PyTorch's module computes it.
ELEMENTWISE += [
    (case.name, case.options, MODULES[case.name](**case.options))
    for case in CASES
    if case.domain == "numbers"
    and (case.name, case.options) not in [(name, options) for name, options, _ in ELEMENTWISE]
]
ELEMENTWISE += [
    ("hardtanh", {}, F.hardtanh),
    ("hardtanh", {"min_val": 0.5, "max_val": 0.5}, lambda A: F.hardtanh(A, 0.5, 0.5)),
    ("hardshrink", {"lambd": -1.0}, lambda A: F.hardshrink(A, -1.0)),
    ("softshrink", {"lambd": 0.0}, lambda A: F.softshrink(A, 0.0)),
    ("threshold", {}, F.relu),
]
ALONG_CLASSES = [
    (name, {"dim": dim}, lambda A, dim=dim, name=name: getattr(torch, name)(A, dim))
    for name in ("softmax", "log_softmax")
    for dim in (0, 1, -1)
]


def table(cases):
    names = [" ".join([case[0], *(f"{k}={v}" for k, v in case[1].items())]) for case in cases]
    return pytest.mark.parametrize(("name", "options", "twin"), cases, ids=names)


def backward(name, dH, A, options):
    """f_backward with the one array that it asks for."""
    f, f_backward = ACTIVATIONS[name]
    kept = f(A, **options) if "H" in inspect.signature(f_backward).parameters else A
    return f_backward(dH, kept, **options)


def by_torch(twin, A, dH):
    """Return the value, and dA for this dH, by autograd."""
    tensor = torch.tensor(A, requires_grad=True)
    H = twin(tensor)
    H.backward(torch.tensor(dH))
    return H.detach().numpy(), tensor.grad.numpy()


def points(dtype):
    """Random numbers, both tails, the kinks, and what is tiny."""
    random = np.random.default_rng(0).normal(scale=3, size=200)
    extremes = np.array([1e4, 1e3, 100.0, 20.0, 1e-8, 1e-30])
    return np.concatenate([random, extremes, -extremes, [0.0, -0.0]]).astype(dtype)


# ---- against torch --------------------------------------------------------------------------------------------------


@table(ELEMENTWISE)
@pytest.mark.parametrize("dtype", FLOATS)
def test_agrees_with_torch(name, options, twin, dtype):
    """Up to 16 roundings of numbers as large as |a|, or 1; of slopes, as large as 1 + |a| where a multiplies 1 - s.

    That product is torch's: 1 - s is off by half an eps until it is zero, from |a| = 37 on.
    """
    A = points(dtype)
    dH = np.random.default_rng(1).normal(size=A.shape).astype(dtype)
    H, dA = ACTIVATIONS[name][0](A, **options), backward(name, dH, A, options)
    expected_H, expected_dA = by_torch(twin, A, dH)
    eps = np.finfo(dtype).eps
    assert H.dtype == dA.dtype == dtype
    assert np.all(np.abs(H - expected_H) <= 8 * eps * np.maximum(1, np.abs(A)))
    assert np.all(np.abs(dA - expected_dA) <= 8 * eps * np.abs(dH) * (1 + np.minimum(np.abs(A), 37)))


@table(ALONG_CLASSES)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 4), (1, 1), (5, 1)])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e3, 1e4])
def test_along_classes_agrees_with_torch(name, options, twin, dtype, shape, scale):
    """Up to 16 roundings of probabilities, of logits, and of sums over at most 5 gradients."""
    rng = np.random.default_rng(0)
    A = (scale * rng.normal(size=shape)).astype(dtype)
    dH = rng.normal(size=shape).astype(dtype)
    H, dA = ACTIVATIONS[name][0](A, **options), backward(name, dH, A, options)
    expected_H, expected_dA = by_torch(twin, A, dH)
    eps = np.finfo(dtype).eps
    assert H.dtype == dA.dtype == dtype
    # The exponential turns the rounding of a - max into as large a relative error of p.
    logits = 1 + np.abs(expected_H if name == "log_softmax" else np.log(np.maximum(expected_H, 1e-30)))
    assert np.all(np.abs(H - expected_H) <= 8 * eps * logits)
    assert np.all(np.abs(dA - expected_dA) <= 8 * eps * np.abs(dH).sum() * logits.max(where=logits < 100, initial=1))


# ---- every one of them, whatever it computes ------------------------------------------------------------------------

ALL = ELEMENTWISE + ALONG_CLASSES


def test_every_pair_keeps_the_contract():
    assert [f for pair in ACTIVATIONS.values() for f in pair] == [getattr(activations, n) for n in activations.__all__]
    for name, (f, f_backward) in ACTIVATIONS.items():
        assert (f.__name__, f_backward.__name__) == (name, f"{name}_backward")
        first, *options = inspect.signature(f).parameters.values()
        upstream, needed, *same_options = inspect.signature(f_backward).parameters.values()
        assert (first.name, upstream.name) == ("A", "dH")
        assert needed.name in ("A", "H")
        assert options == same_options


@table(ALL)
def test_layout_does_not_matter(name, options, twin):
    A, dH = np.random.default_rng(3).normal(size=(2, 5, 6))
    f = ACTIVATIONS[name][0]
    for layout in (np.asfortranarray, lambda M: np.repeat(M, 2, axis=1)[:, ::2]):
        np.testing.assert_array_equal(f(layout(A), **options), f(A, **options))
        np.testing.assert_array_equal(backward(name, layout(dH), layout(A), options), backward(name, dH, A, options))


@table(ALL)
def test_takes_integers_and_lists(name, options, twin):
    A = [[-3, 0, 2], [1, 1, -1]]
    f = ACTIVATIONS[name][0]
    expected = f(np.array(A, float), **options)
    assert expected.dtype == np.float64
    for given_A in (A, np.array(A), np.array(A, np.int8)):
        np.testing.assert_array_equal(f(given_A, **options), expected, strict=True)


@table(ELEMENTWISE)
@pytest.mark.parametrize(
    "a", [0.5, -2, -99.0, np.float32(1.5), np.array(0.25)], ids=["float", "int", "far out", "float32", "0-d"]
)
def test_takes_one_number(name, options, twin, a):
    row = np.array([a])
    H, expected = ACTIVATIONS[name][0](a, **options), ACTIVATIONS[name][0](row, **options)
    assert (np.shape(H), H.dtype, H) == ((), expected.dtype, expected[0])
    ones = np.ones_like(expected)
    assert backward(name, ones[0], a, options) == backward(name, ones, row, options)[0]


@table(ELEMENTWISE)
def test_takes_an_empty_batch(name, options, twin):
    A = np.zeros((0, 3))
    assert ACTIVATIONS[name][0](A, **options).shape == backward(name, A, A, options).shape == (0, 3)


@table(ALL)
@pytest.mark.parametrize(
    ("wrong", "got"),
    [
        ([[True, False]], "dtype bool; convert it with A.ast"),
        ([["1", "2"]], "dtype <U1; convert it with A.ast"),
        ([[1, None]], r"dtype object with None at index \(0, 1\); replace it"),
    ],
    ids=["bool", "text", "None"],
)
def test_refuses_what_is_no_number(name, options, twin, wrong, got):
    with pytest.raises(TypeError, match=f"A: expected an array of numbers, got {got}"):
        ACTIVATIONS[name][0](wrong, **options)


@table([case for case in ELEMENTWISE if case[1]])
def test_an_option_does_not_change_the_dtype(name, options, twin):
    """Options come from np.linspace as often as from the keyboard: a NumPy number must not promote float32."""
    options = {k: np.float64(v) if isinstance(v, float) else v for k, v in options.items()}
    A = np.linspace(-2, 2, 8, dtype=np.float32).reshape(2, 4)
    assert ACTIVATIONS[name][0](A, **options).dtype == np.float32
    assert backward(name, np.ones_like(A), A, options).dtype == np.float32


@pytest.mark.parametrize("call", [activations.gelu, lambda A, **o: activations.gelu_backward(A, A, **o)])
def test_gelu_names_its_two_forms(call):
    with pytest.raises(ValueError, match="approximate: expected 'none' or 'tanh', got 'sigmoid'"):
        call(np.ones(2), approximate="sigmoid")


@pytest.mark.parametrize("beta", [0, -1.0, np.inf, np.nan])
@pytest.mark.parametrize("call", [activations.softplus, lambda A, **o: activations.softplus_backward(A, A, **o)])
def test_the_beta_of_softplus_is_positive(call, beta):
    with pytest.raises(ValueError, match=f"beta: expected a finite number > 0, got {beta}"):
        call(np.ones(2), beta=beta)


@table(ALL)
def test_backward_is_linear_in_the_upstream_gradient(name, options, twin):
    """f_backward(2 U - 3 V) is 2 f_backward(U) - 3 f_backward(V), up to the roundings of sums over 4 products."""
    rng = np.random.default_rng(4)
    A, U, V = rng.normal(size=(3, 4, 4))
    combined = backward(name, 2 * U - 3 * V, A, options)
    separate = 2 * backward(name, U, A, options) - 3 * backward(name, V, A, options)
    np.testing.assert_allclose(combined, separate, rtol=0, atol=8 * np.finfo(float).eps * np.abs([U, V]).sum())


@table(ALL)
def test_backward_is_the_slope(name, options, twin):
    """The twins are a third opinion. No step is as long as the numbers are far from a kink or a jump."""
    A = np.random.default_rng(5).normal(size=(3, 4)).round(1) + 0.05
    assert_pulls_back(
        lambda X: (ACTIVATIONS[name][0](X, **options), None),
        lambda dH, _: backward(name, dH, A, options),
        A,
        np.random.default_rng(6),
    )


@table(ALL)
@pytest.mark.parametrize("scale", [1.0, 10.0, 100.0])
def test_the_complex_step_gives_the_backward(name, options, twin, scale):
    """To 1e-14 of the slope, 45 eps: as many as the 26 terms of gelu's series and their derivatives round.

    Near the roots of the slopes of silu, gelu and mish, in the quotient of softsign, and in differences of
    probabilities, it is 1e-14 of the terms.
    """
    rng = np.random.default_rng(7)
    A, dH = scale * rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    measured = complex_gradient(lambda Z: (ACTIVATIONS[name][0](Z, **options) * dH).sum(), A)
    terms = np.abs(dH).sum() if "softmax" in name else np.abs(dH) * (name in ("silu", "gelu", "mish", "softsign"))
    claimed = backward(name, dH, A, options)
    assert np.all(np.abs(measured - claimed) <= 1e-14 * (np.abs(claimed) + terms))


# ---- the tails ------------------------------------------------------------------------------------------------------

# name, options -> value at -max and max in terms of a, then the slopes there
LIMITS = [
    ("identity", {}, lambda a: (-a, a), (1, 1)),
    ("sigmoid", {}, lambda a: (0, 1), (0, 0)),
    ("tanh", {}, lambda a: (-1, 1), (0, 0)),
    ("relu", {}, lambda a: (0, a), (0, 1)),
    ("leaky_relu", {}, lambda a: (a * a.dtype.type(-0.01), a), (0.01, 1)),
    ("leaky_relu", {"negative_slope": 1.0}, lambda a: (-a, a), (1, 1)),
    ("elu", {"alpha": 2.0}, lambda a: (-2, a), (0, 1)),
    ("gelu", {}, lambda a: (0, a), (0, 1)),
    ("gelu", {"approximate": "tanh"}, lambda a: (0, a), (0, 1)),
    ("silu", {}, lambda a: (0, a), (0, 1)),
    ("softplus", {}, lambda a: (0, a), (0, 1)),
    ("softplus", {"beta": 2.0}, lambda a: (0, a), (0, 1)),
    ("softplus", {"beta": 2.0, "threshold": 3.0}, lambda a: (0, a), (0, 1)),
    ("relu6", {}, lambda a: (0, 6), (0, 0)),
    ("threshold", {"threshold": 1.0, "value": -3.0}, lambda a: (-3, a), (0, 1)),
    ("hardtanh", {}, lambda a: (-1, 1), (0, 0)),
    ("hardsigmoid", {}, lambda a: (0, 1), (0, 0)),
    ("hardswish", {}, lambda a: (0, a), (0, 1)),
    ("softshrink", {}, lambda a: (-a, a), (1, 1)),
    ("hardshrink", {}, lambda a: (-a, a), (1, 1)),
    ("selu", {}, lambda a: (-1.0507009873554805 * 1.6732632423543772, np.inf), (0, 1.0507009873554805)),
    ("celu", {"alpha": 2.0}, lambda a: (-2, a), (0, 1)),
    ("celu", {"alpha": 0.5}, lambda a: (-0.5, a), (0, 1)),
    ("mish", {}, lambda a: (0, a), (0, 1)),
    ("logsigmoid", {}, lambda a: (-a, 0), (1, 0)),
    ("softsign", {}, lambda a: (-1, 1), (0, 0)),
    ("tanhshrink", {}, lambda a: (-a, a), (1, 1)),
]


@table([(name, options, (values, slopes)) for name, options, values, slopes in LIMITS])
@pytest.mark.parametrize("dtype", FLOATS)
def test_the_ends_of_the_range_are_quiet(name, options, twin, dtype):
    """The largest finite numbers give the limits, without a warning (every warning is an error here)."""
    values, slopes = twin
    largest = np.finfo(dtype).max
    A = np.array([-largest, largest], dtype)
    np.testing.assert_array_equal(ACTIVATIONS[name][0](A, **options), np.array(values(largest), dtype))
    np.testing.assert_array_equal(backward(name, np.ones_like(A), A, options), np.array(slopes, dtype))


@table([(name, options, (values, slopes)) for name, options, values, slopes in LIMITS])
@pytest.mark.parametrize("dtype", FLOATS)
def test_infinity_gives_the_limits(name, options, twin, dtype):
    """PyTorch gives no number for hardswish, mish, silu and gelu at minus infinity, and for softsign at both."""
    values, slopes = twin
    A = np.array([-np.inf, np.inf], dtype)
    limits = np.array(values(np.array(np.inf, dtype)), dtype)
    np.testing.assert_array_equal(ACTIVATIONS[name][0](A, **options), limits)
    np.testing.assert_array_equal(backward(name, np.ones_like(A), A, options), np.array(slopes, dtype))


@table(ELEMENTWISE)
@pytest.mark.parametrize("dtype", FLOATS)
def test_kinks_and_what_is_tiny_agree_with_torch(name, options, twin, dtype):
    """Each kink belongs to the side that PyTorch takes; what is tiny is as exact as it can be represented."""
    kinks = [0.0, -0.0, 0.25, 0.5, 1.0, 2.0, 3.0, 6.0, *options.values()]
    A = np.array([sign * k for k in kinks if isinstance(k, float) for sign in (1, -1)], dtype)
    A = np.concatenate([A, np.nextafter(A, dtype(9)), np.nextafter(A, dtype(-9)), dtype([1e-300, -1e-300, 1e-40])])
    H, dA = ACTIVATIONS[name][0](A, **options), backward(name, np.ones_like(A), A, options)
    expected_H, expected_dA = by_torch(twin, A, np.ones_like(A))
    np.testing.assert_allclose(H, expected_H, rtol=0, atol=8 * np.finfo(dtype).eps * max(1, np.abs(A).max()))
    np.testing.assert_allclose(dA, expected_dA, rtol=0, atol=16 * np.finfo(dtype).eps)


@table(ELEMENTWISE)
def test_not_a_number_stays_none(name, options, twin):
    A = np.array([np.nan, 1.0])
    H = ACTIVATIONS[name][0](A, **options)
    assert np.isnan(H[0]) and not np.isnan(H[1])
    assert not np.isnan(backward(name, np.ones_like(A), A, options)[1])


@pytest.mark.parametrize("dtype", [*FLOATS, np.float16])
def test_softsign_has_its_limits_in_every_precision(dtype):
    largest = np.finfo(dtype).max
    found = activations.softsign(np.array([-np.inf, -largest, largest, np.inf], dtype))
    np.testing.assert_array_equal(found, np.array([-1, -1, 1, 1], dtype), strict=True)


@pytest.mark.parametrize("dtype", FLOATS)
def test_tanhshrink_has_no_seam(dtype):
    """Both forms agree within their errors, 3 ULP each, at the last number that takes the series."""
    A = np.array([np.nextafter(dtype(1.5), dtype(0)), 1.5], dtype)
    low, high = activations.tanhshrink(A)
    assert 0 <= high - low <= 8 * np.spacing(high)
    assert activations.tanhshrink(dtype(1e-30)) == 0 if dtype == np.float32 else activations.tanhshrink(1e-100) > 0


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("celu", {"alpha": 0}, ValueError, "alpha: expected a finite number other than 0, got 0"),
        ("hardtanh", {"min_val": 2.0}, ValueError, "min_val: expected at most max_val, 1.0, got 2.0"),
        ("hardtanh", {"max_val": np.nan}, ValueError, "max_val: expected a finite number, got nan"),
        ("softshrink", {"lambd": -0.5}, ValueError, "lambd: expected a finite number >= 0, got -0.5"),
        ("hardshrink", {"lambd": np.inf}, ValueError, "lambd: expected a finite number, got inf"),
        ("threshold", {"value": "1"}, TypeError, "value: expected a finite number, got '1' of type str"),
        ("softplus", {"threshold": np.nan}, ValueError, "threshold: expected a number, got nan"),
    ],
)
def test_options_are_checked_by_both_functions(name, options, error, message):
    f, f_backward = ACTIVATIONS[name]
    for call in (f, lambda A, **options: f_backward(A, A, **options)):
        with pytest.raises(error, match=message):
            call(np.ones(2), **options)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_option_that_is_no_number_is_named(name):
    f, f_backward = ACTIVATIONS[name]
    numbers = [option for option, p in inspect.signature(f).parameters.items() if isinstance(p.default, float)]
    for option in numbers:
        for call in (f, lambda A, **options: f_backward(A, A, **options)):
            with pytest.raises(TypeError, match=f"^{option}: expected"):
                call(np.ones(2), **{option: "1"})


@pytest.mark.parametrize("name", ["celu", "elu"])
def test_positive_numbers_do_not_overflow_with_a_small_alpha(name):
    f, f_backward = ACTIVATIONS[name]
    A = np.array([0.5, 3.0])
    np.testing.assert_array_equal(f(A, alpha=1e-3), A)
    np.testing.assert_array_equal(f_backward(np.ones(2), A, alpha=1e-3), 1)


# test_exactness measures the values between the ends, in ULP.


@table(ELEMENTWISE)
@pytest.mark.parametrize("dtype", FLOATS)
def test_a_number_far_out_changes_no_bit_of_the_others(name, options, twin, dtype):
    """The exponential is taken in two factors as soon as one number needs it; the second one of the others is 1."""
    near = np.linspace(-9, 9, 200, dtype=dtype)
    A = np.append(near, dtype(-1000))
    ones, f = np.ones_like(A), ACTIVATIONS[name][0]
    np.testing.assert_array_equal(f(A, **options)[:-1], f(near, **options))
    np.testing.assert_array_equal(backward(name, ones, A, options)[:-1], backward(name, ones[1:], near, options))


@table(ELEMENTWISE)
@pytest.mark.parametrize("dtype", FLOATS)
def test_a_number_is_the_same_to_the_bit_in_any_company(name, options, twin, dtype):
    """Also where its own exponential is about to be taken in two factors: e^-64, of gelu at a = 11.3."""
    f = ACTIVATIONS[name][0]
    for a in np.concatenate([np.linspace(-66, -62, 41), np.linspace(-11.5, -11.1, 41)]).astype(dtype):
        pairs = np.array([[a, 0], [a, -1000]], dtype)
        H, dA = zip(*((f(A, **options)[0], backward(name, np.ones_like(A), A, options)[0]) for A in pairs), strict=True)
        assert H[0] == H[1]
        assert dA[0] == dA[1]


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_largest_alpha_of_elu_is_quiet(dtype):
    """alpha (e^a - 1) is at most alpha in size for a <= 0; e^2 alpha, which is not wanted, would overflow."""
    alpha, A = float(np.finfo(dtype).max), np.array([-1e4, 2.0], dtype)
    np.testing.assert_array_equal(activations.elu(A, alpha=alpha), np.array([-alpha, 2], dtype))
    np.testing.assert_array_equal(activations.elu_backward(np.ones_like(A), A, alpha=alpha), [0, 1])


@pytest.mark.parametrize("slope", [-0.5, 0.01])
def test_the_zeros_of_leaky_relu_have_the_signs_of_torch(slope):
    """The kink belongs to the left: f(0) is negative_slope times 0."""
    zeros = np.array([0.0, -0.0])
    expected = F.leaky_relu(torch.tensor(zeros), slope).numpy()
    np.testing.assert_array_equal(np.signbit(activations.leaky_relu(zeros, slope)), np.signbit(expected))


@pytest.mark.parametrize("beta", [0, -1.0, np.nan])
def test_softplus_refuses_a_beta_that_is_not_positive(beta):
    for f in (activations.softplus, lambda A, beta: activations.softplus_backward(A, A, beta)):
        with pytest.raises(ValueError, match=f"beta: expected a finite number > 0, got {beta}"):
            f(np.ones(2), beta=beta)


def test_the_slope_of_relu_takes_what_the_others_take():
    np.testing.assert_array_equal(activations.relu_backward(np.array([5.0, 5.0]), np.array([1, 0])), [5, 0])
    wide = activations.relu_backward(np.array([5.0, 5.0]), np.array([1, 0], np.float32))
    assert wide.dtype == np.float64
    np.testing.assert_array_equal(activations.relu_backward(np.ones((3, 2)), np.array([1.0, 0.0])), [[1, 0]] * 3)


@pytest.mark.parametrize(("name", "option"), [("celu", "alpha"), ("celu_backward", "alpha"), ("softplus", "beta")])
def test_options_that_divide_are_not_zero_in_float32(name, option):
    function, A = getattr(activations, name), np.array([-1.0, 0.5], np.float32)
    arguments = [A, A] if "backward" in name else [A]
    with pytest.raises(ValueError, match=f"{option}: expected a number other than 0 in float32, got 1e-320"):
        function(*arguments, **{option: 1e-320})


BEYOND = [2**63, 1e300, -1e300, 1e-320]  # the dtype: infinite or 0 in it


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("name", activations.ACTIVATIONS)
def test_options_beyond_the_dtype_warn_of_nothing_untrue(name, dtype):
    A = np.array([-0.5, 0.0, 0.5], dtype)
    for function, arguments in zip(activations.ACTIVATIONS[name], ([A], [A, A]), strict=True):
        options = [p.name for p in inspect.signature(function).parameters.values() if isinstance(p.default, float)]
        for option, value in itertools.product(options, BEYOND):
            with warnings.catch_warnings(record=True) as raised:
                warnings.simplefilter("always")
                try:
                    H = function(*arguments, **{option: value})
                except ValueError as error:
                    assert option in str(error)
                else:
                    assert not raised or not np.isfinite(H).all(), (function.__name__, option, value)
