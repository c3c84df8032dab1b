"""check_gradient at kinks and near them: they are no errors, and hide none."""

from __future__ import annotations

import numpy as np
import pytest

from handmade import MLP, Activation, Dense, Network, check_gradient, diagnose_gradient

LARGEST_STEP, SMALLEST_STEP = np.finfo(float).eps ** 0.2, np.finfo(float).eps ** 0.2 * 1e-4


@pytest.mark.parametrize("claimed", [0.0, 0.3, 1.0])
def test_at_a_kink_every_number_between_the_sides_is_right(claimed):
    result = check_gradient(lambda t: max(t[0], 0.0) + t[1], [0.0, 3.0], [claimed, 1.0])
    assert result and not result.undecidable
    assert result.measured.tolist() == [claimed, pytest.approx(1)]


@pytest.mark.parametrize("claimed", [-0.1, 1.1])
def test_at_a_kink_a_number_just_outside_is_undecidable(claimed):
    """Where several kinks meet, backpropagation may give a number outside of both slopes; else it is wrong."""
    arguments = lambda t: max(t[0], 0.0) + t[1], [0.0, 3.0], [claimed, 1.0]
    result, diagnosis = check_gradient(*arguments), diagnose_gradient(*arguments)
    assert not result and not result.wrong and [entry.name for entry in result.undecidable] == ["theta[0]"]
    assert str(result).splitlines()[1].split()[1::4] == ["1/2"] and str(result).splitlines()[1].endswith("  undecided")
    last = str(result).splitlines()[-1]
    assert last.startswith("UNDECIDED: 1 claim lies outside of both slopes at a kink, which is right only where kinks")
    assert diagnosis.verdict == "undecided" and str(diagnosis) == last


def test_of_several_claims_outside_of_kinks_the_number_is_told():
    result = check_gradient(lambda t: float(np.maximum(t, 0).sum()), np.zeros(3), [1.2, -0.2, 0.5])
    assert not result and str(result).splitlines()[-1].startswith("UNDECIDED: 2 claims lie outside of both slopes")
    assert result.total.outside == 2 and result.total.checked == 1


@pytest.mark.parametrize("claimed", [-1.1, 2.1])
def test_at_a_kink_a_number_far_outside_is_wrong(claimed):
    result = check_gradient(lambda t: max(t[0], 0.0) + t[1], [0.0, 3.0], [claimed, 1.0])
    assert not result and not result.undecidable
    (entry,) = result.wrong
    assert (entry.name, entry.left, entry.right) == ("theta[0]", 0, pytest.approx(1))


def test_where_kinks_of_two_layers_meet_a_network_is_right():
    """One bias moves units of two layers at their kinks: slopes 0.0101 and 1.01; backpropagation says 0.0002."""
    network = Network([Dense(1, 1), Activation("leaky_relu"), Dense(1, 2), Activation("leaky_relu"), Dense(2, 1)])
    network.theta = [1, 0, 1, -1, 0, 0, 1, -1, 0]
    X, y = np.zeros((1, 1)), np.array([[-1.0]])
    claim = network.loss_and_gradient(X, y, "half_squared_error")[1].copy()
    result = check_gradient(network, X, y, loss="half_squared_error")
    assert result and "0.bias" in str(result.undecidable)
    assert diagnose_gradient(network, X, y, claim, loss="half_squared_error").verdict == "right"


def test_beyond_what_backpropagation_may_give_nothing_passes():
    """The slopes of the bias at its kink are 0 and dH: so much more than dH is no choice of a side."""
    network = Network([Dense(1, 1), Activation("relu"), Dense(1, 1)])
    network.theta = [1, 0, 2, 0]
    X, y = np.zeros((1, 1)), np.ones((1, 1))
    claim = network.loss_and_gradient(X, y, "half_squared_error")[1].copy()
    for part, is_right in (0.0, True), (0.7, True), (1.0, True), (1.3, False), (-0.3, False):
        claim[1] = -2 * part
        result = check_gradient(network, X, y, claim, loss="half_squared_error")
        assert bool(result) == is_right and not result.wrong, f"{part}\n{result}"
        assert result.blocks[1].outside == (not is_right) and result.blocks[0].verdict == "pass"
        diagnosis = diagnose_gradient(network, X, y, claim, loss="half_squared_error")
        assert diagnosis.verdict == ("right" if is_right else "undecided")


@pytest.mark.parametrize("kinks", [1, 3, 4])
def test_the_table_shows_three_cusps_and_counts_the_others(kinks):
    result = check_gradient(lambda t: float(np.sqrt(np.abs(t)).sum()), np.zeros(kinks), np.full(kinks, 2.0))
    lines = str(result).splitlines()
    assert lines[1].split()[:2] == ["theta", f"0/{kinks}"] and lines[1].endswith("  undecided")
    message = [line for line in lines if line.startswith("undecidable: theta[")]
    assert len(message) == min(kinks, 3)
    assert [line for line in lines if line.endswith(" more")] == ["undecidable: 1 more"] * (kinks - 3)


def test_the_gradient_of_nothing_is_zero():
    """Not even rounding is left to explain a difference: zero is right, and anything else wrong."""
    assert check_gradient(lambda t: 0.0, [1.0, 2.0], [0.0, 0.0]).total.checked == 2
    assert [entry.index for entry in check_gradient(lambda t: 0.0, [1.0, 2.0], [0.0, 1e-9]).wrong] == [1]


def test_the_function_is_asked_in_float64_whatever_theta_was():
    seen = set()

    def f(theta):
        seen.add(theta.dtype)
        return float(theta @ theta)

    assert check_gradient(f, [1, 2], [2, 4])
    assert seen == {np.dtype(float)}


def test_relu_exactly_at_zero_in_a_network():
    network = MLP([4, 4, 3], activation="relu", bias_init="zeros", rng=0)
    result = check_gradient(network, np.zeros((2, 4)), [0, 1])
    assert result and not result.undecidable
    blocks = network.blocks(result.measured)
    assert (blocks["0.bias"] == 0).all()  # the derivative of relu at 0 is 0 here


def kinky(rng, kinks):
    """Return a smooth random function with kinks near x: x, f, its exact derivative at x, the distances.

    All but the nearest kink are farther away than the smallest step: what two kinks that cancel each other
    hide, no difference can show.
    """
    x, sides = rng.normal(), rng.choice([-1, 1], kinks)
    distances = np.sort(10 ** rng.uniform(-9, -3, kinks))
    distances[1:] = np.maximum(distances[1:], 2 * SMALLEST_STEP * max(1, abs(x)))
    places, jumps = x + sides * distances, rng.normal(size=kinks)
    height, amplitude, phase, frequency = 10 * rng.normal(), rng.normal(), rng.normal(), rng.uniform(0.5, 3)

    def f(theta):
        wave = amplitude * np.sin(frequency * theta[0] + phase)
        return float(height + wave + np.sum(jumps * np.abs(theta[0] - places)))

    slope = amplitude * frequency * np.cos(frequency * x + phase) + np.sum(jumps * np.sign(x - places))
    return x, f, slope, np.abs(x - places)


@pytest.mark.parametrize("kinks", [1, 2, 3])
def test_kinks_near_by_never_make_a_right_gradient_wrong(kinks):
    rng = np.random.default_rng(kinks)
    verdicts = []
    for _ in range(300):
        x, f, slope, _ = kinky(rng, kinks)
        result = check_gradient(f, [x], [slope])
        assert not result.wrong, f"x = {x!r}\n{result}"
        assert bool(result) == (result.worst.verdict == "right")
        verdicts.append(result.worst.verdict)
    assert set(verdicts) == {"right", "undecidable"}


@pytest.mark.parametrize("kinks", [1, 2, 3])
def test_kinks_near_by_never_make_a_wrong_gradient_right(kinks):
    rng = np.random.default_rng(100 + kinks)
    verdicts = []
    for _ in range(300):
        x, f, slope, distances = kinky(rng, kinks)
        # An error that the noise of differences at the smallest step, eps |f| / h, cannot hide.
        error = max(1e-3 * abs(slope), 100 * np.finfo(float).eps * abs(f([x])) / SMALLEST_STEP)
        result = check_gradient(f, [x], [slope + rng.choice([-1, 1]) * error])
        verdict = result.worst.verdict
        verdicts.append(verdict)
        if distances.min() > SMALLEST_STEP * max(1, abs(x)):  # the smallest step stays on the near side of all kinks
            assert verdict == "wrong" and not result, f"x = {x!r}, distances {distances}\n{result}"
        else:
            assert verdict != "right", f"x = {x!r}\n{result}"
    assert "wrong" in verdicts


def test_a_kink_where_the_estimate_happens_to_be_the_claim():
    """A bit more than 3/7 of the first step from the kink of |x|, the estimate is 1.001: no proof."""
    claimed = 1.001
    result = check_gradient(lambda t: abs(t[0]), [3 / 7 * claimed * LARGEST_STEP], [claimed])
    assert result.worst.verdict == "wrong"


def test_a_kink_where_all_estimates_happen_to_be_the_claim():
    """4/9 of the first step from the kink of |x|, D(h), D(h/2) and D(h/4) are 4/9, 8/9 and 1: both estimates 28/27."""
    result = check_gradient(lambda t: abs(t[0]), [4 / 9 * LARGEST_STEP], [28 / 27])
    assert result.worst.verdict == "wrong"


def test_an_error_of_a_billionth_is_found_where_nothing_hides_it():
    for factor in 1 - 1e-9, 1 + 1e-9:
        assert check_gradient(lambda t: np.sin(t[0]), [0.5], [factor * np.cos(0.5)]).wrong


@pytest.mark.parametrize("distance", [1e-7, 3e-7, 1e-6, 1e-5, 1e-4])
@pytest.mark.parametrize("height", [0, 1, 100])
def test_noise_of_a_small_step_does_not_accuse(distance, height):
    result = check_gradient(lambda t: height + abs(t[0]), [distance], [1.0])
    assert result, str(result)


@pytest.mark.parametrize("seed", [1, 8])
def test_a_relu_network_with_kinks_everywhere(seed):
    """200 samples times 32 hidden units: within the first step of many an entry lies a kink."""
    rng = np.random.default_rng(seed)
    network = MLP([8, 32, 4], rng=seed)
    result = check_gradient(network, rng.normal(size=(200, 8)), rng.integers(0, 4, 200))
    assert result, str(result)
