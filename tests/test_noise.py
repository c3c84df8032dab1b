"""The noise of a function, and what a measurement by three steps says of its own accuracy."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
from functions_of_tests import CUBE, EPS, FIFTH, ORDERS, THETA, H, f, slopes

import handmade as hm
from handmade.checking.neighbourhood import Neighbourhood, _is_steady, measured_noise, noise_of_steps


@pytest.mark.parametrize("size", [1e-12, 1e-6, 1e-3])
def test_noise_of_a_known_size_is_measured(size):
    """sin(1e14 t) is as good as random: its standard deviation is sqrt(1/2)."""
    found = [measured_noise(lambda t, a=a: np.exp(a + t) + size * np.sin(1e14 * t + a)) for a in np.linspace(0, 1, 20)]
    assert size * np.sqrt(0.5) / 4 <= min(found) <= np.median(found) * 1.5 and max(found) <= size * np.sqrt(0.5) * 4


@pytest.mark.parametrize(("dtype", "digits"), [(np.float64, EPS), (np.float32, 2**-23), (np.float16, 2**-10)])
def test_the_rounding_of_every_dtype_is_measured(dtype, digits):
    rng = np.random.default_rng(0)
    for _ in range(20):
        theta = rng.uniform(0.5, 2, 5)
        near = Neighbourhood(lambda t: float(np.exp(t.astype(dtype)).sum()), theta)
        assert digits / 20 <= near.noise(np.arange(5)) / near.base <= 4 * digits


def test_a_function_without_noise_has_none():
    assert measured_noise(lambda t: 3 * t) <= EPS * 3 * 7e-12  # its last digits, along the seven steps
    assert measured_noise(lambda t: 0.0) == 0


def of_steps(values, later=0.0):
    """Return a function that takes these values at k times 1e-12, and one value far away."""
    return lambda t: float(values[round(t * 1e12)]) if t < 1e-11 else later


SIGNS = (-1.0) ** np.arange(8)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (SIGNS, 2 / math.sqrt(2)),  # k-th differences of 2^k: by the first, as all levels agree
        (SIGNS + 1000.0 * np.arange(8) ** 3, 16 * 24 / math.sqrt(math.factorial(8))),  # by the first that are no slope
        ([0, 9, 8, 3, 1, 5, 8, 9], math.sqrt(137 / 7 * 1 / 2)),  # three levels agree, within 2.7; the fourth is far
        ([0, 4, 11, 22, 28, 29, 28, 28], 4),  # just within four: the third level is 1
        ([7, 1, 0, 2, 6, 8, 9, 8], math.sqrt(47 / 6 * 4 / 24)),  # the first three are 4.4 apart: by the second
        ([0, 0, 1, 1, 2, 2, 3, 4], math.sqrt(5 / 6 * 4 / 24)),  # differences of one sign are a slope: by the second
        ([0, 0, -1, -1, -2, -2, -3, -4], math.sqrt(5 / 6 * 4 / 24)),
    ],
    ids=["signs", "signs on a cubic", "three levels", "just within four", "not within four", "up", "down"],
)
def test_noise_comes_from_the_first_levels_that_agree(values, expected):
    """The k-th differences of noise have (2k)! / (k!)^2 times its variance."""
    assert measured_noise(of_steps(values)) == pytest.approx(expected, rel=8 * EPS, abs=0)


@pytest.mark.parametrize(("value", "resolution"), [(1 + 2**-30, 2**-30), (3.0, 3 * 2**-23), (-0.75, 0.75 * 2**-23)])
def test_a_constant_has_the_resolution_of_its_value(value, resolution):
    """Of the height of its last bit, at most float32's; uniform on it, the standard deviation is 1 / sqrt(12) of it."""
    points = []

    def constant(t):
        points.append(t)
        return value

    assert measured_noise(constant) == pytest.approx(resolution / math.sqrt(12), rel=4 * EPS, abs=0)
    expected = np.outer(10.0 ** np.arange(-12, -1, 2), np.arange(8)).reshape(-1)
    assert np.array(points) == pytest.approx(expected, rel=16 * EPS, abs=0)


def test_the_resolution_is_that_of_the_value_at_the_place():
    assert measured_noise(lambda t: 3.0 if t == 0 else 1 + 2**-30) == pytest.approx(3 * 2**-23 / math.sqrt(12))


def test_flat_steps_widen_the_spacing():
    assert measured_noise(of_steps([1, 1, 1, 2, 2, 3, 3, 4], later=1.0)) == pytest.approx(2**-23 / math.sqrt(12))


def test_a_wild_function_is_looked_at_more_closely():
    """All differences of the exponential are positive, down to where rounding hides the fourth."""
    points = []

    def wild(t):
        points.append(t)
        return math.exp(1e12 * t)

    assert measured_noise(wild) <= 4 * EPS
    assert points[1:33:8] == pytest.approx([1e-12, 1e-13, 1e-14, 1e-15], rel=16 * EPS, abs=0)


@pytest.mark.parametrize("ratio", [10.0, 1.5])
def test_without_noise_the_smallest_level_bounds_it(ratio):
    """The values 1, r, ..., r^7 at every spacing: all differences grow, none is noise; one of the six bounds it."""
    calls = itertools.count()
    found = measured_noise(lambda t: ratio ** (next(calls) % 8))
    assert next(calls) == 12 * 8
    squares = [np.mean(np.diff(ratio ** np.arange(8), k) ** 2) for k in range(1, 7)]
    levels = [math.factorial(k) / math.sqrt(math.factorial(2 * k)) * math.sqrt(squares[k - 1]) for k in range(1, 7)]
    assert found == pytest.approx(min(levels), rel=8 * EPS)


def test_a_flat_function_is_followed_beyond_a_thousandth():
    """Wild at 1e-12 and flat at 1e-13, it is looked at by spacings up to 0.1: at 0.001 it may still begin to move."""
    points = []

    def flat_but_once(t):
        points.append(t)
        return 10.0 ** len(points) if len(points) <= 8 else 1.0

    assert measured_noise(flat_but_once) == pytest.approx(2**-23 / math.sqrt(12))
    assert points[1::8] == pytest.approx([1e-12, 1e-13, 1e-11, 1e-9, 1e-7, 1e-5, 1e-3, 1e-1], rel=16 * EPS)


def test_noise_is_measured_along_scaled_directions():
    theta, points, rng = np.array([0.5, 1e6, -1e6, 0.0] * 5), [], np.random.default_rng(0)

    def noisy(t):
        points.append(t)
        return rng.normal()

    near = Neighbourhood(lambda t: 1e4, theta)
    near.f = noisy
    near.noise(np.arange(12))
    moved = np.array(points[1:8]) - theta
    wide = np.array(points[25:32]) - theta  # after three directions at eight points each, the last of them again
    assert np.abs(wide[-1, :12] / np.maximum(1, np.abs(theta[:12]))).max() == pytest.approx(7e-5, rel=0.3)
    assert np.all(moved[:, 12:] == 0)  # the entries that were not asked for
    ways = moved[-1, :12] / (7e-12 * np.maximum(1, np.abs(theta[:12])))
    assert ways.min() < -0.5 and ways.max() > 0.5 and np.abs(ways).max() < 1.0001  # theta + h is rounded, by eps theta
    assert len(set(ways.tolist())) == 12
    # The same in every process: those of the seed 0, but for the rounding of theta + h, eps theta in 7e-12 theta.
    assert np.abs(ways - np.random.default_rng(0).uniform(-1, 1, 12)).max() < 2 * np.finfo(float).eps / 7e-12
    assert near.noise(np.arange(12)) != 0


def test_the_same_function_has_the_same_noise():
    first, second = (
        Neighbourhood(lambda t: np.exp(t).sum() + 1e-6 * np.sin(1e14 * t.sum()), THETA).noise(np.arange(40))
        for _ in range(2)
    )
    assert first == second


@pytest.mark.parametrize(
    ("method", "of", "value", "truncation", "change", "roughness", "sides"),
    [
        ("forward", "cube", CUBE / 16, 3 * CUBE / 8, 3 * CUBE / 16, 15 * CUBE / 16, (CUBE / 16, CUBE / 16)),
        ("central", "cube", CUBE / 16, CUBE / 8, 3 * CUBE / 16, 15 * CUBE / 16, (CUBE / 16, CUBE / 16)),
        ("richardson", "cube", 0, 0, 0, 15 * CUBE / 16, (CUBE / 16, CUBE / 16)),
        ("richardson", "fifth", -FIFTH / 64, FIFTH / 32, 15 * FIFTH / 64, 255 * FIFTH / 256, (FIFTH / 256,) * 2),
        ("forward", "square", H / 4, H / 2, H / 4, 0, (-H / 4, H / 4)),
        ("central", "square", 0, 0, 0, 0, (-H / 4, H / 4)),
        ("forward", "kink", 6, 0, 8, 8, (2, 6)),
        ("central", "kink", 4, 0, 8, 8, (2, 6)),
        ("richardson", "kink", 4, 0, 8, 8, (2, 6)),
        ("central", "bend", 4, 0, 8, 8, (6, 2)),
        ("forward", "bend", 2, 0, 8, 8, (6, 2)),
    ],
)
def test_a_measurement_by_three_steps_in_numbers(method, of, value, truncation, change, roughness, sides):
    """By the slopes with h, h/2 and h/4; of a kink, the two gaps of 4 bend by |2 * 4 - 4| each, and nothing closes."""
    pieces = {
        "cube": lambda t: t**3,
        "fifth": lambda t: t**5,
        "square": lambda t: t**2,
        "kink": lambda t: max(2 * t, 6 * t),
        "bend": lambda t: min(2 * t, 6 * t),
    }
    slope = {"cube": CUBE, "fifth": FIFTH, "square": H, "kink": 6, "bend": 6}[of]  # the steepest, which is over h
    near = Neighbourhood(lambda t: 4 + sum(piece(x) for piece, x in zip(pieces.values(), t, strict=True)), np.zeros(5))
    i = list(pieces).index(of)
    weights = {"forward": 2, "central": 1, "richardson": 1.5}[method]  # |coefficients| by the smallest step, h/4
    for noise, error in (0.0, 2 * EPS * (4 + slope * H)), (1e-3, 4e-3):
        m = near.measure(np.arange(5), method, H, noise)
        found = [column[i] for column in (m.value, m.truncation, m.doubt, m.roughness, m.left, m.right)]
        assert found == [value, truncation, change, roughness, *sides]
        assert (m.steady_left[i], m.steady_right[i]) == 2 * (noise > 0 or of in ("kink", "bend"),)
        assert m.rounding[i] == pytest.approx(weights * error / (H / 4), rel=4 * EPS, abs=0)


PLACE = np.array([[1.0, -2.0, 0.5], [3.0, 0.0, 4.0]])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({(0, 1): 5.5}, ", at theta[0, 1] = 5.5 for -2"),
        ({(0, 0): 2, (1, 0): 7, (1, 2): 0.1}, ", at theta[0, 0] = 2 for 1; theta[1, 0] = 7 for 3; theta[1, 2] = "
         "0.10000000000000001 for 4"),
        ({(0, 0): 2, (0, 1): 2, (1, 0): 7, (1, 2): 9}, ", at a point that differs from theta in 4 entries"),
    ],
)  # fmt: skip
def test_an_error_says_how_far_from_theta_it_was(changes, words):
    near, point = Neighbourhood(lambda theta: 0.0, PLACE), PLACE.copy()
    for at, value in changes.items():
        point[at] = value

    def refusing(theta):
        raise ArithmeticError("no value")

    for failing, error, start in (
        (lambda theta: math.nan, ValueError, "the function: expected it to return a finite number, got nan"),
        (refusing, ValueError if changes else ArithmeticError, "the function raised ArithmeticError: no value"),
    ):
        near.f = failing
        with pytest.raises(error) as raised:
            near.at(point)
        assert str(raised.value) == (start + words if error is ValueError else "no value")


def test_many_values_at_once_say_where_one_is_missing():
    class Batched:
        def __call__(self, theta):
            return 0.0

        def moved(self, theta, indices, values):
            return np.where(values > 5, np.inf, values)

    near = Neighbourhood(Batched(), PLACE)
    np.testing.assert_array_equal(near.moved(np.array([0, 4]), np.array([2.0, 3.0])), [2, 3])
    with pytest.raises(ValueError, match=r"finite number, got .*inf.*, at theta\[1, 1\] = 6 for 0$"):
        near.moved(np.array([0, 4, 5]), np.array([2.0, 6.0, 7.0]))


def test_a_function_of_real_numbers_is_refused_in_its_own_words():
    near = Neighbourhood(lambda theta: math.fsum(theta.ravel()), PLACE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as a program may have set
        with pytest.raises(TypeError, match="; it raised ComplexWarning: ") as raised:
            near.complex_slopes(np.arange(6), 1e-20)
    assert "at theta" not in str(raised.value)


@pytest.mark.parametrize(
    ("slopes", "gaps", "rounding", "steady"),
    [
        ([2, 2, 2], [0, 0, 0], 0, True),
        ([2, 2, 2 + 2**-10], [5, 5, 1], 0, True),  # by less than a thousandth of the gap that is left
        ([2, 2, 2 + 2**-9], [5, 5, 1], 0, False),
        ([2 + 2**-9, 2, 2], [5, 5, 1], 0, False),
        ([2, 3, 2], [0, 0, 0], 1, True),  # as noise may change them
        ([2, 3, 5], [0, 0, 0], 1, False),
        ([5, 3, 2], [0, 0, 0], 1, False),
    ],
)
def test_slopes_that_hardly_change_are_steady(slopes, gaps, rounding, steady):
    columns = (np.array(column, float)[:, np.newaxis] for column in (slopes, gaps, [rounding]))
    *three, noise = columns
    assert _is_steady(*three, noise[0]).tolist() == [steady]


def test_a_slope_of_zero_has_no_sign():
    left, right = Neighbourhood(lambda t: 3.0, THETA).both_sides(np.arange(40), np.full((1, 40), 0.1))
    assert not np.signbit(left).any() and not np.signbit(right).any()


@pytest.mark.parametrize("step", [1e-2, 1e-3, 1e-5, 1e-7, 1e-9])  # at larger ones, h^p alone is not the truncation
@pytest.mark.parametrize("method", ORDERS)
def test_a_measurement_is_as_good_as_it_says_at_every_step(method, step):
    near = Neighbourhood(f, THETA)
    m = near.measure(np.arange(40), method, step, near.noise(np.arange(40)))
    errors = np.abs(m.value - slopes(THETA))
    assert np.all(errors <= m.truncation + m.rounding)
    assert (m.truncation + m.rounding).max() <= 100 * errors.max()


def test_a_float32_part_beside_a_float64_part_shows_its_noise():
    theta = np.random.default_rng(0).normal(size=6)

    def mixed(t):
        return float(np.sin(t.astype(np.float32)).sum(dtype=np.float32)) + 0.05 * float(t @ t)

    assert 2**-26 <= Neighbourhood(mixed, theta).noise(np.arange(6)) <= 2**-21  # the last digits of numbers near 1
    assert hm.check_gradient(mixed, theta, np.cos(theta) + 0.1 * theta)
    assert not hm.check_gradient(mixed, theta, np.cos(theta) + 0.11 * theta)


@pytest.mark.parametrize("spacing", [1e-5, 1e-3])
@pytest.mark.parametrize("frequency", [1.0, 2e3, 2e4, 3e5])
def test_a_wave_is_not_taken_for_noise_of_steps(frequency, spacing):
    assert noise_of_steps(lambda t: math.sin(frequency * t + 0.3), spacing) <= EPS


@pytest.mark.parametrize(
    ("heights", "expected"),
    [
        (SIGNS, math.sqrt(2)),  # the noise that these steps look like: each is more than half of it
        (8.0 * SIGNS, 8 * math.sqrt(2)),
        (10.0 ** np.arange(8), 0.0),  # steps that grow look like no noise
        (np.zeros(8), 0.0),
    ],
)
def test_noise_of_steps_comes_from_eight_heights(heights, expected):
    """Beyond the last of them the function has no value."""

    def steps(t):
        if t > 7.5e-5:
            raise ValueError("outside")
        return float(heights[round(t / 1e-5)])

    assert noise_of_steps(steps, 1e-5) == pytest.approx(expected, rel=8 * EPS)


@pytest.mark.parametrize(("height", "is_noise"), [(0.5, False), (1.0, True)])
def test_steps_of_less_than_half_the_noise_are_a_wave(height, is_noise):
    """A triangle between -1 and 1, drawn in steps, looks like noise of sqrt(2)."""

    def triangle(t):
        x = t / 1e-5
        return round((1 - 2 * abs((x + 1) % 2 - 1)) * -1 / height) * height

    assert noise_of_steps(triangle, 1e-5) == (pytest.approx(math.sqrt(2)) if is_noise else 0)


def test_slopes_along_a_direction_are_those_of_a_line():
    """By half of the way to 3 in one entry: max(2 t, 6 t), of which f sees the shape."""
    seen = set()

    def kink(theta):
        seen.add(theta.shape)
        t = 2 * (theta[1, 0] - 3)
        return max(2 * t, 6 * t)

    near, direction = Neighbourhood(kink, PLACE), np.array([0, 0, 0, 0.5, 0, 0])
    m = near.along(direction, H, 0.0)
    assert (m.left, m.right, m.value, m.roughness) == (2, 6, 4, 8)
    assert m.steady_left and m.steady_right and seen == {PLACE.shape}
    assert m.rounding == pytest.approx(1.5 * 2 * EPS * 6 * H / (H / 4), rel=4 * EPS)


def test_a_direction_that_leaves_the_domain_says_so():
    near = Neighbourhood(lambda theta: float(np.where(theta > 4, np.nan, theta).sum()), PLACE)
    with pytest.raises(ValueError, match=r"got nan, at a point that differs from theta in 6 entries$"):
        near.along(np.ones(6), H, 0.0)


def test_why_a_step_has_no_value_is_kept():
    near = Neighbourhood(lambda theta: float(np.where(theta > 4, np.nan, theta).sum()), PLACE)
    assert near.outside is None
    m = near.measure(np.arange(6), "central", 0.1, 0.0)
    assert np.isnan(m.value).tolist() == [False] * 5 + [True]
    assert str(near.outside).endswith(", at theta[1, 2] = 4.0999999999999996 for 4")


@pytest.mark.parametrize(("attributes", "farthest"), [({}, 7e-3), ({"moved": None}, 7e-12)])
def test_a_function_of_many_values_has_no_steps_to_look_for(attributes, farthest):
    """It computes in float64; another may have a part in float32, which moves at wide spacings alone."""
    points, rng = [], np.random.default_rng(0)

    def noisy(theta):
        points.append(theta)
        return rng.normal()

    near = Neighbourhood(lambda theta: 0.0, THETA)
    near.f = noisy
    noisy.__dict__.update(attributes)
    near.noise(np.arange(40))
    assert 0.5 * farthest < np.abs(np.array(points) - THETA).max() <= farthest * (1 + 1e-3)
