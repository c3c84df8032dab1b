"""How check_gradient measures an entry, and what differences cannot tell."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from checked_gradients import (
    LABELS,
    SMOOTH,
    TARGETS,
    THETA,
    Checker,
    X,
    assert_right,
    build,
    measurement,
    network_with,
    scale_all,
    subject_of,
)

import handmade as hm
from handmade import MLP, Dense, Network, Sequential, check_gradient
from handmade.checking.entry_checker import EntryChecker, _respect_kinks
from handmade.checking.network_loss import NetworkLoss

# ---- what differences cannot tell ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "x", "claimed"),
    [
        (lambda t: abs(t[0]) ** 0.5, 0.0, 1.3),
        (lambda t: 1e15 + t[0] ** 2, 1.0, 6.0),
        (lambda t: 1e15 + t[0] ** 2, 1.0, 2.0),
        (lambda t: t[0] ** 3, 1e-12, 1e-23),
        (lambda t: np.sin(1e9 * t[0]), 0.3, 1e9 * np.cos(3e8)),
    ],
    ids=["cusp", "drowned, wrong", "drowned, right", "tiny", "waves"],
)
def test_where_nothing_can_be_decided_nothing_has_passed(f, x, claimed):
    result = check_gradient(lambda t: float(f(t)), [x], [claimed])
    assert not result
    assert not result.wrong
    assert [entry.verdict for entry in result.undecidable] == ["undecidable"]
    assert str(result).endswith("UNDECIDED: at no entry did the differences tell right from wrong")


@pytest.mark.parametrize("frequency", [1e2, 1e3, 1e4, 1e5])
def test_a_short_wave_is_followed_to_a_smaller_step(frequency):
    def f(theta):
        return float(np.sin(frequency * theta[0]))

    slope = frequency * np.cos(frequency * 0.3)
    assert check_gradient(f, [0.3], [slope])
    assert check_gradient(f, [0.3], [slope * 1.001]).wrong


def test_a_cancelling_float32_gradient_has_its_own_rounding():
    """At the optimum of a line through three points every sum over the samples is zero but for rounding."""
    network = Network([Dense(1, 1, dtype=np.float32)])
    network.theta = [0.5, 0.95]
    X, Y = np.array([[1.1], [2.1], [3.1]]), np.array([[1.0], [3.0], [2.0]])
    assert check_gradient(network, X, Y, loss="mse_loss")


@pytest.mark.parametrize("arguments", [(), (X,), (X, LABELS, LABELS, LABELS)])
def test_a_wrong_number_of_arguments_is_named(arguments):
    with pytest.raises(TypeError, match=r"expected \(network, X, y\) .* or \(f, theta, gradient\), got MLP"):
        check_gradient(MLP([4, 3], rng=0), *arguments)


def test_layers_without_a_network_are_named():
    with pytest.raises(TypeError, match=r"with a Network, .* got Sequential, ndarray, ndarray"):
        check_gradient(Sequential([Dense(4, 3)]), X, np.array(LABELS))


# ---- how well it measures --------------------------------------------------------------------------------------------

METHODS = ("forward", "central", "richardson", "complex")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("architecture", ["tanh", "relu", "both", "composites"])
def test_right_gradients_pass_by_every_method(architecture, method, dtype):
    network = build(architecture, dtype)
    assert_right(check_gradient(network, X, LABELS, method=method), network.theta.size)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_an_error_of_a_hundredth(method):
    result = check_gradient(network_with(scale_all("dW", 1.01)), X, LABELS, method=method)
    assert [block.name for block in result.blocks if not block.passed] == ["2.weight"]
    assert len(result.wrong) == 15
    accuracy = 1e-4 if method == "forward" else 1e-7
    assert [entry.claimed / entry.measured for entry in result.wrong] == pytest.approx([1.01] * 15, rel=accuracy)


@pytest.mark.parametrize(("method", "order"), [("forward", 1), ("central", 2), ("richardson", 4)])
def test_the_tolerance_is_what_the_method_can_reach(method, order):
    """Truncation and rounding meet at eps^(p / (p + 1)), times constants and by what |f| exceeds the entry."""
    network = build("tanh", np.float64)
    total = check_gradient(network, X, LABELS, method=method).total
    reachable = np.finfo(float).eps ** (order / (order + 1))
    assert total.relative_error <= total.tolerance
    assert reachable <= total.tolerance <= 1000 * reachable


@pytest.mark.parametrize("loss", ["cross_entropy", "mse_loss"])
@pytest.mark.parametrize("activation", SMOOTH)
def test_the_complex_step_confirms_a_smooth_network(activation, loss):
    network = MLP([4, 6, 5, 3], activation=activation, rng=2)
    result = check_gradient(network, X, TARGETS[loss], loss=loss, method="complex")
    assert_right(result, network.theta.size)
    assert max(block.relative_error for block in result.blocks) <= 1e-13
    assert result.total.tolerance <= 1e-13


def test_zeros_of_the_complex_step_are_measured_again():
    """Half of the inputs are dark, and so are the gradients of their weights."""
    dark = X * [1, 0, 1, 0]
    network = build("tanh", np.float64)
    result = check_gradient(network, dark, LABELS, method="complex")
    assert_right(result, network.theta.size)
    assert result.total.relative_error <= 1e-13
    claimed = network.loss_and_gradient(dark, LABELS)[1].copy()
    claimed[1] = 0.01
    entry = check_gradient(NetworkLoss(network, dark, LABELS), network.theta, claimed, method="complex").worst
    assert (entry.index, entry.verdict, entry.claimed, entry.measured) == (1, "wrong", 0.01, 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_the_complex_step_confirms_needs_no_differences(dtype):
    """It has one slope, and no two sides."""
    worst = check_gradient(build("tanh", dtype), X, LABELS, method="complex").worst
    assert (worst.verdict, worst.left, worst.right) == ("right", worst.measured, worst.measured)


def test_the_complex_step_at_a_kink_does_not_accuse():
    network = MLP([4, 4, 3], activation="relu", bias_init="zeros", rng=0)
    result = check_gradient(network, np.zeros((2, 4)), [0, 1], method="complex")
    assert result and not result.undecidable


@pytest.mark.parametrize(
    "f",
    [lambda t: (t.real**2).sum() + 0j * t.sum() if t.dtype.kind == "c" else t @ t],
    ids=["the real part"],
)
@pytest.mark.parametrize(("factor", "wrong"), [(1, 0), (1.001, 3), (0, 3)])
def test_a_dropped_imaginary_part_leads_to_differences(f, factor, wrong):
    result = check_gradient(f, THETA, 2 * THETA * factor, method="complex")
    assert bool(result) == (factor == 1)
    assert len(result.wrong) == wrong


@pytest.mark.parametrize(
    "f",
    [lambda t: float(np.abs(t).sum()), lambda t: np.linalg.norm(t), lambda t: sum(map(float, t))],
    ids=["abs", "norm", "float"],
)
def test_a_function_that_cannot_take_a_complex_step_is_named(f):
    with pytest.raises(TypeError, match="the complex step needs a function analytic as written"):
        check_gradient(f, THETA, np.ones(3), method="complex")


def random_case(rng):
    """Return a random network and batch: its loss as a function of theta, and its gradient by backpropagation."""
    sizes = [*rng.integers(1, 6, rng.integers(1, 4)).tolist(), 3]
    activation = SMOOTH[rng.integers(len(SMOOTH))]
    network = MLP(sizes, activation=activation, normalization=rng.choice(np.array([None, "layer"])), rng=rng)
    samples = int(rng.integers(1, 12))
    loss, y = "cross_entropy", rng.integers(0, 3, samples)
    if rng.random() < 0.5:
        loss, y = "mse_loss", rng.normal(size=(samples, 3))
    inputs = rng.normal(size=(samples, sizes[0])) * 10 ** rng.uniform(-1, 1)
    _, gradient = network.loss_and_gradient(inputs, y, loss)
    return NetworkLoss(network, inputs, y, loss), network.theta, gradient.copy()


@pytest.mark.parametrize("seed", range(100))
def test_random_gradients_get_the_right_verdict(seed):
    rng = np.random.default_rng(seed)
    f, theta, gradient = random_case(rng)
    assert_right(check_gradient(f, theta, gradient), theta.size)
    size = np.abs(gradient)
    # An error of 1e-6 shows where the entry is not smaller than f by so much that it drowns in the noise of f.
    for error, smallest in (1e-3, 1e-6), (1e-6, 1e-3):
        i = rng.choice(np.flatnonzero(size >= smallest * max(f(theta), size.max())))
        claimed = gradient.copy()
        claimed[i] *= 1 + rng.choice([-1, 1]) * error
        result = check_gradient(f, theta, claimed)
        assert [entry.index for entry in result.wrong] == [i], f"{error} of {gradient[i]}\n{result}"


def single(theta):
    return float(np.float32(np.sum(np.sin(theta.astype(np.float32)))))


def rounded(theta):
    return float(np.float32(10 + np.sin(theta).sum()))


@pytest.mark.parametrize("f", [single, rounded])
@pytest.mark.parametrize("seed", range(20))
def test_a_float32_function_has_its_own_noise(f, seed):
    theta = np.random.default_rng(seed).uniform(-3, 3, 4)
    right = check_gradient(f, theta, np.cos(theta))
    assert right, str(right)
    eps = np.finfo(np.float32).eps
    assert eps / 100 <= right.noise <= 10 * eps
    assert right.total.tolerance > 1e-6
    wrong = check_gradient(f, theta, 1.05 * np.cos(theta))
    assert wrong.wrong, str(wrong)


def test_a_float32_function_that_is_flat_accuses_nothing():
    """A resolution of 4e-6 at 50 is wider than what a slope of 1e-5 climbs within any step."""
    result = check_gradient(lambda t: float(np.float32(50.1 + 1e-5 * t[0])), [1.0], [1e-5])
    assert not result and not result.wrong
    assert "noise of the function: 1." in str(result)


def test_noise_that_is_larger_than_the_entries_proves_nothing():
    def f(theta):
        return float(theta @ theta + np.sin(1e12 * theta.sum()))

    for factor in 1, 1.5:
        result = check_gradient(f, THETA, factor * 2 * THETA)
        assert not result and not result.wrong
        assert 0.2 < result.noise < 2  # of a sine, sqrt(1/2)


def test_a_network_is_measured_many_entries_at_once():
    calls = []

    class Counted(NetworkLoss):
        def __call__(self, theta):
            calls.append(1)
            return super().__call__(theta)

    network = MLP([30, 40, 3], activation="tanh", rng=0)
    inputs = np.random.default_rng(0).normal(size=(5, 30))
    f = Counted(network, inputs, np.arange(5) % 3)
    assert check_gradient(f, network.theta, network.loss_and_gradient(inputs, np.arange(5) % 3)[1].copy())
    assert len(calls) < 100  # to see that it is deterministic, and how noisy


def test_what_was_wrong_is_listed_in_order_with_all_its_numbers():
    claimed = 2 * THETA
    claimed[1:] *= 1.5
    result = check_gradient(lambda t: float(t @ t), THETA, claimed)
    assert [(e.index, e.name, e.claimed, e.verdict) for e in result.wrong] == [
        (1, "theta[1]", -3.75, "wrong"),
        (2, "theta[2]", 3 * THETA[2], "wrong"),
    ]
    assert [e.measured for e in result.wrong] == pytest.approx([-2.5, 1.6])
    assert result.value == THETA @ THETA


# ---- the checker -----------------------------------------------------------------------------------------------------


def checker_of(claimed, *measured, largest=0.0):
    """Return a checker for which each step finds the next of these."""
    found = iter(measured)
    near = SimpleNamespace(
        measure=lambda *arguments: next(found), scale=lambda i: np.ones(1), base=0.0, theta=np.ones(2), outside=None
    )
    return Checker(near, subject_of([claimed, largest]), 0.0)


@pytest.mark.parametrize(
    ("numbers", "verdict"),
    [
        (dict(truncation=2**-20), "right"),  # precise
        (dict(truncation=2**-19), "undecidable"),
        (dict(rounding=2**-3), "right"),  # decisive, and no truncation in it
        (dict(rounding=2**-2), "undecidable"),
        (dict(rounding=2**-4, truncation=2**-4), "right"),
        (dict(rounding=2**-4, truncation=2**-4 + 2**-9), "undecidable"),
        (dict(rounding=4.0, value=1.0), "right"),  # nothing is nearer than equal
        (dict(rounding=2**-3, value=1 - 2**-3), "right"),
        (dict(rounding=2**-3, value=1 - 2**-2), "undecidable"),
        (dict(roughness=2**-10, value=1.0), "right"),  # smooth enough
        (dict(roughness=2**-9, value=1.0), "undecidable"),
    ],
)
def test_right_entries_are_smooth_near_and_decided(numbers, verdict):
    near = {"value": 1 - 2**-23}  # the claim itself would be right in any case
    found, _, _ = checker_of(1.0, measurement(**near | numbers))._measure(np.array([0]), "central", 1.0)
    assert found.verdict.tolist() == [verdict]


@pytest.mark.parametrize(
    ("numbers", "refuted"),
    [
        (dict(rounding=2**-3), False),  # as far off as it may be
        (dict(rounding=2**-4), True),
        (dict(doubt=2**-6), False),  # smooth: eight times the doubt
        (dict(doubt=2**-7), True),
        (dict(doubt=2**-6, roughness=2**-11), False),
        (dict(doubt=2**-7, roughness=2**-6), False),  # rough: eight times the roughness
        (dict(doubt=2**-3, roughness=2**-7), True),
    ],
)
def test_refuted_errors_exceed_noise_and_curvature(numbers, refuted):
    _, refuting, _ = checker_of(1.0 + 2**-3, measurement(**numbers))._measure(np.array([0]), "central", 1.0)
    assert refuting.tolist() == [refuted]


@pytest.mark.parametrize(("apart", "verdict"), [(0.0, "wrong"), (0.5, "wrong"), (0.5 + 2**-9, "undecidable")])
def test_smaller_steps_confirm_a_refutation(apart, verdict):
    """The two slopes may be apart by what both may be off: a quarter each."""
    steps = [measurement(value=8 + n % 2 * apart, rounding=0.25) for n in range(6)]
    judge = checker_of(1.0, *steps)
    found = judge._by_differences(np.array([0]), "central")
    assert found.verdict.tolist() == [verdict]
    assert found.measured.tolist() == [8.0 if verdict == "wrong" else 8 + apart]


@pytest.mark.parametrize(("method", "order"), [("forward", 1), ("central", 2), ("richardson", 4)])
@pytest.mark.parametrize(
    ("claimed", "theta", "base", "slope"), [(4.0, 100.0, 7.0, 400.0), (0.0, 100.0, 7.0, 7.0), (0.0, 1.0, 0.0, 1.0)]
)
def test_the_first_step_balances_noise_and_slope(method, order, claimed, theta, base, slope):
    """It is the nearest of the usual one and its tens below 0.1; the others go down from it by tens."""
    near = SimpleNamespace(scale=lambda i: np.maximum(1, [theta]), base=base)
    usual = np.finfo(float).eps ** (1 / (order + 1))
    tens = [usual * 10.0**n for n in range(8) if usual * 10.0**n < 0.1]
    for noise in 0.0, 1e-30, *10.0 ** np.arange(-16, 4, 0.15), 1e9:
        steps = EntryChecker(near, subject_of([claimed / 8, claimed]), noise)._steps(method)
        wanted = (noise / slope) ** (1 / (order + 1))
        assert steps[0] == pytest.approx(min(tens, key=lambda h: abs(np.log(max(wanted, usual) / h))), rel=1e-12)
        assert steps[:-1] / steps[1:] == pytest.approx(10, rel=1e-12)
        assert steps[-1] == pytest.approx(usual * 1e-5, rel=1e-12)


def test_a_complex_slope_may_be_off_by_its_roundings():
    """As far as it may be, it is right without differences, which would allow it more."""
    eps = np.finfo(float).eps
    worst = check_gradient(lambda t: t[0], [0.5], [1 - 32 * eps], method="complex").worst
    assert (worst.verdict, worst.measured, worst.allowed) == ("right", 1.0, 32 * eps)


def test_numbers_between_the_slopes_of_a_kink_are_not_accused():
    claimed = np.array([-0.5, 0.0, 0.5, 1.0, 1.5, 0.5])
    entries = SimpleNamespace(
        index=np.arange(6), claimed=claimed, allowed=np.full(6, 1e-9), verdict=np.full(6, "wrong", dtype="<U11")
    )
    sides = np.zeros(6), np.array([1.0, 1, 1, 1, 1, 0])  # the last has no kink
    _respect_kinks(SimpleNamespace(one_sided=sides), {"theta": entries})
    assert entries.verdict.tolist() == ["wrong", *["undecidable"] * 3, "wrong", "wrong"]


@pytest.mark.parametrize(
    ("function", "slope", "theta"),
    [
        (np.log, lambda t: 1 / t, 1e-8),
        (np.sqrt, lambda t: 0.5 / np.sqrt(t), 1e-10),
        (lambda t: np.maximum(t, 0), np.ones_like, 1e-9),
        (lambda t: np.linalg.norm(t).reshape(1), lambda t: t / np.linalg.norm(t), 1e-9),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_an_entry_next_to_nothing_is_moved_by_parts_of_itself(function, slope, theta):
    at = np.array([theta])
    assert hm.check_gradient(lambda t: float(function(t).sum()), at, slope(at))
    assert not hm.check_gradient(lambda t: float(function(t).sum()), at, 1.01 * slope(at))


def test_a_function_without_a_value_on_one_side_says_where():
    with pytest.raises(ValueError, match="expected it to return a finite number, got nan, at theta"):
        hm.check_gradient(lambda t: float(np.where(t > 1, np.nan, t).sum()), np.array([1.0]), np.array([1.0]))


def test_a_function_that_ends_beyond_its_noise_says_where():
    """A billionth below 1 its noise can be measured, but no step fits in."""

    def ends(theta):
        return float(np.where(theta > 1, np.nan, theta).sum())

    with pytest.raises(ValueError, match=r"expected it to return a finite number, got nan, at theta\[1\] = 1\."):
        check_gradient(ends, np.array([0.5, 1 - 1e-9]), np.ones(2))


@pytest.mark.parametrize(
    ("numbers", "right"),
    [
        (dict(roughness=0.9e-3, value=1.0), True),  # a thousandth of the slope: smooth
        (dict(roughness=1.1e-3, value=1.0), False),
        (dict(truncation=0.9e-7), True),  # a ten-millionth of it: precise
        (dict(truncation=1.1e-7), False),
        (dict(rounding=0.09), True),  # a tenth of the largest entry: decisive
        (dict(rounding=0.11), False),
    ],
)
def test_a_measurement_is_as_good_as_it_has_to_be(numbers, right):
    near = SimpleNamespace(measure=lambda *arguments: measurement(**dict(value=1 - 1e-8) | numbers))
    found, _, _ = EntryChecker(near, subject_of([1.0]), 0.0)._measure(np.array([0]), "central", 1.0)
    assert (found.verdict == "right").tolist() == [right]


@pytest.mark.parametrize(("error", "refuted"), [(0.95, False), (1.05, True)])
def test_an_error_of_ten_times_the_doubt_refutes(error, refuted):
    near = SimpleNamespace(measure=lambda *arguments: measurement(doubt=0.1))
    _, refuting, _ = EntryChecker(near, subject_of([1 + error]), 0.0)._measure(np.array([0]), "central", 1.0)
    assert refuting.tolist() == [refuted]


def test_the_largest_entry_says_what_is_decisive():
    """Noise of a sixteenth of it hides nothing that matters beside it."""
    found = measurement(value=2**-10 + 2**-12, rounding=2**-4)
    for largest, verdict in (1.0, "right"), (2**-3, "undecidable"):
        now, _, _ = checker_of(2**-10, found, largest=largest)._measure(np.array([0]), "central", 1.0)
        assert now.verdict.tolist() == [verdict]


def test_each_parameter_rounds_by_its_own_largest_entry():
    """A sum has some eps of its largest term; a parameter of another size is another sum, and may be empty."""
    subject = subject_of([0.5, 0.0, -1e6, 3.0])
    subject.names = {"small": np.array([[0, 1]]), "none": np.arange(0), "large": np.array([2, 3])}
    allowed = EntryChecker(SimpleNamespace(), subject, 0.0).absolute
    assert allowed.tolist() == [32 * np.finfo(float).eps * size for size in (0.5, 0.5, 1e6, 1e6)]


# ---- kinks -----------------------------------------------------------------------------------------------------------


def at_a_kink(claimed, sides=(-1.0, 1.0), steady=(True, True), rounding=2**-5):
    """Return whether a claim is refuted at a kink, and whether it lies within it; both slopes have noise."""
    subject = subject_of([claimed])
    subject.rounding = np.array([2**-7])
    near = SimpleNamespace(measure=lambda *arguments: measurement(0.0, 0.0, rounding, 1e9, 1e9, sides, steady))
    checker = Checker(near, subject, 0.0)
    checker.absolute = np.array([2**-6])
    _, refuted, within = checker._measure(np.array([0]), "central", 1.0)
    return bool(refuted[0]), bool(within[0])


MARGIN = 2**-5 + 2**-6 + 2**-7 + 1e-6 * 2  # noise, the sums' rounding, the claim's, and a millionth of the gap


@pytest.mark.parametrize("side", [-1, 1])
def test_a_claim_within_the_slopes_of_a_kink_is_right(side):
    """As far beyond one of them as it may be off; farther away it is open, and far away it is refuted."""
    edge, far = 1 + MARGIN, 3 + 8 * MARGIN
    assert at_a_kink(side * edge) == (False, True)
    assert at_a_kink(side * np.nextafter(edge, 2)) == (False, False)
    assert at_a_kink(side * far) == (False, False)
    assert at_a_kink(side * np.nextafter(far, 9)) == (True, False)


@pytest.mark.parametrize(
    ("options", "within"),
    [
        ({}, True),
        ({"steady": (True, False)}, False),  # one side bends: that may be a curve
        ({"steady": (False, True)}, False),
        ({"rounding": 2 / 4.5}, True),  # the gap is 2
        ({"rounding": 0.5}, False),  # as noise of four times its size may make it
    ],
)
def test_a_kink_has_two_straight_sides_apart(options, within):
    assert at_a_kink(0.5, **options) == (False, within)


def test_what_is_right_at_a_kink_says_so():
    worst = check_gradient(lambda t: float(np.maximum(t, 0).sum()), [0.0], [0.25]).worst
    assert (worst.verdict, worst.claimed, worst.measured, worst.left, worst.right) == ("right", 0.25, 0.25, 0, 1)


@pytest.mark.parametrize(
    ("lower", "upper", "claimed", "allowed", "verdict"),
    [
        (0.0, 1.0, -1e-6, 0.0, "undecidable"),  # a millionth of the slopes beyond, at most
        (0.0, 1.0, np.nextafter(-1e-6, -1), 0.0, "wrong"),
        (0.0, 1.0, 1 + 1e-6, 0.0, "undecidable"),
        (0.0, 1.0, np.nextafter(1 + 1e-6, 2), 0.0, "wrong"),
        (0.0, 1.0, -0.125, 0.125, "undecidable"),  # and what the measurement may be off
        (0.0, 1.0, -0.25, 0.125, "wrong"),
        (-0.5, 0.5, 0.0, 0.0, "undecidable"),
        (1.0, 1.0, 1.0, 0.0, "wrong"),  # no kink
        (0.0, 0.0, 0.0, 0.0, "wrong"),
    ],
)
def test_between_the_sides_of_a_kink_means_just_so(lower, upper, claimed, allowed, verdict):
    entries = SimpleNamespace(
        index=np.arange(1),
        claimed=np.array([claimed]),
        allowed=np.array([allowed]),
        verdict=np.array(["wrong"], "<U11"),
    )
    _respect_kinks(SimpleNamespace(one_sided=(np.array([lower]), np.array([upper]))), {"theta": entries})
    assert entries.verdict.tolist() == [verdict]


# ---- how often it measures -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("theta", "found", "times"),
    [
        (1e-4, "undecidable", 12),  # six steps, and six parts of itself
        (1e-3, "undecidable", 6),  # not next to nothing
        (0.5, "undecidable", 6),
        (0.0, "undecidable", 6),
        (1.0, "undecidable", 6),
        (7.0, "undecidable", 6),
        (1e-4, "right", 1),
        (7.0, "right", 1),
    ],
)
def test_an_entry_is_measured_once_by_each_step(theta, found, times):
    steps = []

    def measure(indices, method, step, noise):
        steps.append(step[0])
        return measurement() if found == "right" else measurement(value=9.0, rounding=1e9)

    near = SimpleNamespace(measure=measure, scale=lambda i: np.ones(1), base=0.0, theta=np.array([theta]), outside=None)
    entries = Checker(near, subject_of([1.0]), 0.0)._by_differences(np.array([0]), "central")
    assert entries.verdict.tolist() == [found]
    usual = np.finfo(float).eps ** (1 / 3) * 10.0 ** -np.arange(6)
    assert steps == pytest.approx(np.concatenate((usual, theta * usual))[:times])
