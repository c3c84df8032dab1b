"""What the accuracy rests on: exponentials, series and roots, against 40 to 50 digits."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from oracles import exact_errors, read_only

from handmade import _numerics, activations

FLOATS = (np.float64, np.float32)


@pytest.mark.parametrize(("f", "double"), [(_numerics.exp, np.exp), (_numerics.expm1, np.expm1)])
def test_float32_exponentials_are_off_by_half_an_ulp(f, double):
    """Rounded once, from double precision, which is off by 2^-29 of that itself; NumPy's own are off by one or two."""
    D = -np.random.default_rng(12).uniform(0, 80, size=5000).astype(np.float32)
    D[::2] /= 80
    exact = double(D.astype(np.float64))
    found = f(D)
    assert found.dtype == np.float32
    assert np.all(
        np.abs(found - exact) <= (0.5 + 2.0**-28) * np.spacing(np.abs(exact).astype(np.float32)).astype(float)
    )


@pytest.mark.parametrize("dtype", FLOATS)
def test_tanhshrink_near_0_stands_still_beyond_its_series(dtype):
    """Its numbers out there are computed and not used: the series must not overflow."""
    ends = _numerics.tanhshrink_near_0(dtype([-1.5, 1.5]))
    far = _numerics.tanhshrink_near_0(np.array([[-np.inf, np.finfo(dtype).max], [-1.75, 1.75]], dtype))
    np.testing.assert_array_equal(far, [ends, ends])


@pytest.mark.parametrize("dtype", FLOATS)
def test_normal_density_splits_nothing_off_short_numbers(dtype):
    """Its square is exact, so that the density is one exponential and one product, to the bit."""
    X = np.arange(0, 11 * 256).astype(dtype) / 256
    E, beyond = _numerics._normal_density(X)
    plain = _numerics.exp(-X * X / 2) * (np.ones_like(X) / np.sqrt(2 * np.pi).astype(dtype))
    np.testing.assert_array_equal(E * beyond, plain, strict=True)


@pytest.mark.parametrize(("dtype", "grain"), [(np.float64, 256), (np.float32, 2)])
def test_gelu_tanh_splits_off_coefficients_of_short_numbers(dtype, grain):
    """V1 x + V3 x^3 with the short coefficients is exact: what is missing is what they have left out, to the bit."""
    X = np.arange(0, 8 * grain).astype(dtype) / grain
    E, beyond = _numerics._exp_minus_v(X)
    short = _numerics.exp(-(_numerics._V1 * X + _numerics._V3 * (X * X * X)))
    rest = np.exp(-(_numerics._V1_REST * X + _numerics._V3_REST * X * X * X))
    np.testing.assert_array_equal(E * beyond, short * rest, strict=True)


@pytest.mark.parametrize(("dtype", "terms"), [(np.float64, len(_numerics._MILLS)), (np.float32, 14)])
@pytest.mark.parametrize(
    ("part", "call", "fewer"),
    [("_mills_polynomial", activations.gelu, 0), ("_mills_quotient", lambda A: activations.gelu_backward(A, A), 1)],
)
def test_single_precision_takes_half_of_the_series(part, call, fewer, dtype, terms, monkeypatch):
    """As many terms as it can hold: all the others together are less than a hundredth of its eps."""
    taken, original = [], getattr(_numerics, part)
    monkeypatch.setattr(_numerics, part, lambda single: taken.append(len(original(single))) or original(single))
    call(np.linspace(-3, 3, 5, dtype=dtype))
    assert taken == [terms - fewer]
    assert np.abs(_numerics._MILLS[terms:]).sum() < np.finfo(np.float32).eps / 100


@pytest.mark.parametrize("factor", [1.0, 0.75, 0.5, -0.5, -3.0, 0.375, 0.125, -0.25])
def test_the_sum_of_the_slope_is_taken_apart_only_near_its_root(factor):
    """s (1 - w (1 - s)) as it is where it does not cancel, and the form without cancellation where it does."""
    s = np.array([0.5])
    minus_w = (factor - 1) / (1 - s)  # all of these are exact
    apart = np.array([0.625])
    expected = s * apart * (1 - s) if abs(factor) < 0.4 else s * factor
    np.testing.assert_array_equal(_numerics._slope_below(s, minus_w, apart), expected)


def test_log_sum_parts_keeps_the_largest_term_apart():
    Z = np.array([[0.0, -800.0, -50.0], [3.0, 3.0, 3.0]])
    D, E, others, largest = _numerics.log_sum_parts(read_only(Z))
    np.testing.assert_array_equal(D, [[0, -800, -50], [0, 0, 0]])
    np.testing.assert_array_equal(E, np.exp(D))
    np.testing.assert_array_equal(others, [[np.exp(-50)], [2]])
    np.testing.assert_array_equal(largest, [0, 3])


@pytest.mark.parametrize("dtype", FLOATS)
def test_each_infinite_logit_is_a_largest_term(dtype):
    """inf - inf is no number, but equal is equal; a finite row beside them is as it is alone."""
    A = np.array([[np.inf, 5.0, np.inf], [1.0, 0.0, -np.inf]], dtype)
    D, E = _numerics.exp_below_max(A)
    np.testing.assert_array_equal(D, [[0, -np.inf, 0], [0, -1, -np.inf]])
    np.testing.assert_array_equal(E, [[1, 0, 1], [1, np.exp(-1), 0]])
    _, _, others, _ = _numerics.log_sum_parts(A)
    np.testing.assert_array_equal(others, [[1], [np.exp(-1)]])


@pytest.mark.parametrize("dtype", FLOATS)
def test_rounding_of_distance_to_largest_is_given_back(dtype):
    """The exact d = a - max, about -80, has more digits than the dtype; exp(d) is right to a few ULP all the same.

    Of float32 both are in double precision, and have all the digits.
    """
    A = (np.random.default_rng(11).uniform(0, 1, size=(300, 1)) - 60).astype(dtype)
    A = np.hstack([A, np.full_like(A, 20.1)])
    D, E = _numerics.exp_below_max(A, 1)
    with mpmath.workdps(50):
        exact = [mpmath.mpf(float(a)) - mpmath.mpf(float(m)) for a, m in A]
        lost = np.array([float(d - float(rounded)) for d, rounded in zip(exact, D[:, 0], strict=True)])
        errors = exact_errors(E[:, 0], [mpmath.exp(d) for d in exact]) / E[:, 0]
    eps = np.finfo(np.float64).eps
    assert D.dtype == E.dtype == np.float64
    # What is lost would be the relative error of the exponential.
    assert np.abs(lost).max() == 0 if dtype == np.float32 else np.abs(lost).max() > 8 * eps
    assert errors.max() <= 4 * eps  # the exponential, and the product and the sum that give back what was lost


def test_the_coefficients_of_mills_ratio_are_the_series_own():
    """Chebyshev interpolation of (1 + x) Q(x) / phi(x) at 60 nodes, with 40 digits."""
    with mpmath.workdps(40):
        angles = [mpmath.pi * (j + mpmath.mpf(1) / 2) / 60 for j in range(60)]
        values = []
        for t in map(mpmath.cos, angles):
            x = 4 * (1 + t) / (1 - t)
            # From 1,000 on exp(x^2 / 2) is out of hand, and four terms of the asymptotic series are good to 1e-22.
            ratio = (
                mpmath.sqrt(mpmath.pi / 2) * mpmath.exp(x * x / 2) * mpmath.erfc(x / mpmath.sqrt(2))
                if x < 1000
                else (1 - 1 / x**2 + 3 / x**4 - 15 / x**6) / x
            )
            values.append((1 + x) * ratio)
        series = [
            (2 if m else 1) * mpmath.fsum(v * mpmath.cos(m * a) for v, a in zip(values, angles, strict=True)) / 60
            for m in range(60)
        ]
    used = len(_numerics._MILLS)
    assert tuple(map(float, series[:used])) == _numerics._MILLS
    assert 1.5e-18 < max(map(abs, series[used:])) < 1.65e-18


def test_roots_and_coefficients_of_gelu_are_as_given():
    with mpmath.workdps(50):
        first = mpmath.sqrt(8 / mpmath.pi)
        third = first * mpmath.mpf("0.044715")
        for known, exact in (
            (_numerics._SILU_ROOT, mpmath.findroot(lambda x: 1 + mpmath.exp(-x) - x, 1.28)),
            (_numerics._GELU_ROOT, mpmath.findroot(lambda x: mpmath.ncdf(-x) - x * mpmath.npdf(x), 0.75)),
            (
                _numerics._GELU_TANH_ROOT,
                mpmath.findroot(
                    lambda x: 1 + mpmath.exp(-first * x - third * x**3) - first * x - 3 * third * x**3, 0.75
                ),
            ),
            ((_numerics._V1, _numerics._V1_REST), first),
            ((_numerics._V3, _numerics._V3_REST), third),
        ):
            assert known[1] == float(exact - known[0])
            assert abs(known[1]) <= abs(known[0]) / 2**9


@pytest.mark.parametrize("grain", [2, 256])
def test_what_is_called_exact_is_exact(grain):
    """V1 x and V3 x^3 for the rough x that matter: until exp(-v) is zero, in as many binary digits as the dtype has."""
    dtype, end = (np.float32, 10.5) if grain == 2 else (np.float64, 22)
    rough = np.arange(0, end * grain).astype(dtype) / grain
    v = _numerics._V1 * rough + _numerics._V3 * (rough * rough * rough)
    assert v.dtype == dtype
    exact = [409 * 16 * int(k) * grain**2 + 292 * int(k) ** 3 for k in rough * grain]
    assert [int(x) for x in v.astype(float) * 4096 * grain**3] == exact
