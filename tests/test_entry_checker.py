"""How check_gradient measures an entry, and what differences cannot tell."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from checked_gradients import LABELS, SMOOTH, TARGETS, THETA, X, assert_right, build, network_with, scale_all

import handmade as hm
from handmade import MLP, Dense, Network, Sequential, check_gradient
from handmade.checking.entry_checker import EntryChecker, _most_entries, _respect_kinks, examine
from handmade.checking.neighbourhood import Measurement, Neighbourhood
from handmade.checking.network_loss import NetworkLoss
from handmade.checking.subjects import function_subject

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


class Checker(EntryChecker):
    """One with thresholds in powers of two, so that what is equal to one of them can be written down."""

    DOUBT, SMOOTH, PRECISE, DECISIVE = 8, 2**-10, 2**-20, 2**-3


def measurement(value=1.0, truncation=0.0, rounding=0.0, doubt=0.0, roughness=0.0):
    columns = (value, value, value, truncation, rounding, doubt, roughness)
    never = np.zeros(1, bool)
    return Measurement(*(np.array([column]) for column in columns), never, never)


def subject_of(claimed):
    return SimpleNamespace(claimed=np.array(claimed), rounding=np.zeros(len(claimed)), names={})


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
        steps = EntryChecker(near, subject_of([claimed]), noise)._steps(method)
        wanted = (noise / slope) ** (1 / (order + 1))
        assert steps[0] == pytest.approx(min(tens, key=lambda h: abs(np.log(max(wanted, usual) / h))), rel=1e-12)
        assert steps[:-1] / steps[1:] == pytest.approx(10, rel=1e-12)
        assert steps[-1] == pytest.approx(usual * 1e-5, rel=1e-12)


def test_a_complex_slope_may_be_off_by_its_roundings():
    """As far as it may be, it is right without differences, which would allow it more."""
    eps = np.finfo(float).eps
    worst = check_gradient(lambda t: t[0], [0.5], [1 - 32 * eps], method="complex").worst
    assert (worst.verdict, worst.measured, worst.allowed) == ("right", 1.0, 32 * eps)


# ---- many entries at once --------------------------------------------------------------------------------------------

MANY = np.random.default_rng(0).uniform(1, 2, 400)


def cubes(theta):
    return float((theta**3).sum()) / 3


def squares_with_errors(at, error=0.1):
    gradient = MANY**2
    gradient[at] += error
    return gradient


@pytest.mark.parametrize("wrong", [[57], [3, 57, 191]])
def test_wrong_entries_that_were_not_drawn_are_found(wrong):
    result = check_gradient(cubes, MANY, squares_with_errors(wrong), entries=10, rng=0)
    assert [entry.index for entry in result.wrong] == wrong
    block = result.blocks[0]
    assert (block.wrong, block.along, block.is_complete) == (len(wrong), 400 - block.checked, True)
    assert block.checked <= 10 + EntryChecker.GROUP * len(wrong)


def test_the_search_ends_after_a_few_wrong_entries():
    result = check_gradient(cubes, MANY, squares_with_errors([1, 50, 100, 150, 200, 300]), entries=10, rng=0)
    assert not result.blocks[0].is_complete and len(result.wrong) >= EntryChecker.FOUND
    assert result.blocks[0].checked <= 10 + EntryChecker.GROUP * EntryChecker.FOUND


def test_an_error_that_agreement_excludes_is_found():
    right = check_gradient(cubes, MANY, MANY**2, entries=10, rng=0)
    block = right.blocks[0]
    assert right and (block.checked, block.along) == (10, 390) and block.excluded < 1e-6
    assert check_gradient(cubes, MANY, squares_with_errors(57, 2 * block.excluded), entries=10, rng=0).wrong


@pytest.mark.parametrize(("error", "checked"), [(0.1, 6), (0.0, 400)])
def test_after_enough_wrong_entries_the_others_are_left_out(error, checked):
    subject = function_subject(cubes, MANY, squares_with_errors(slice(None), error))
    block = examine(subject, enough=6, rng=0).blocks[0]
    assert (block.checked, block.along) == (checked, 0)


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


# ---- the search ------------------------------------------------------------------------------------------------------


class Scripted(EntryChecker):
    """A checker for which a group of entries has the verdict that this function gives."""

    def __init__(self, size, verdict):
        super().__init__(
            Neighbourhood(cubes, np.ones(size)), function_subject(cubes, np.ones(size), np.ones(size)), 0.0
        )
        self.verdict, self.asked = verdict, []

    def _along(self, indices, rng):
        assert isinstance(rng, np.random.Generator)
        self.asked.append(len(indices))
        return self.verdict(indices.tolist()), 0.0


@pytest.mark.parametrize("wrong", [0, 77, 255])
def test_halving_ends_at_the_group_of_a_wrong_entry(wrong):
    checker = Scripted(256, lambda group: "wrong" if wrong in group else "right")
    group = checker._group_with_a_wrong_entry(np.arange(256), np.random.default_rng(0))
    assert wrong in group and len(group) == checker.GROUP
    assert checker.asked == [128, 64, 32, 16]


@pytest.mark.parametrize("wrong", [0, 255])
def test_of_an_undecidable_half_the_other_one_tells(wrong):
    """Where both are undecidable, the first is taken apart, down to eight groups; then the search gives up."""
    rng = np.random.default_rng(0)
    open_first = Scripted(256, lambda group: "undecidable" if 0 in group else "wrong" if wrong in group else "right")
    group = open_first._group_with_a_wrong_entry(np.arange(256), rng)
    assert group is None if wrong == 0 else (wrong in group and len(group) == open_first.GROUP)
    assert open_first.asked == ([128, 128, 64, 64] if wrong == 0 else [128, 128, 64, 32, 16])


@pytest.mark.parametrize(("size", "asked"), [(128, [64, 64]), (129, [65, 64, 33, 32]), (256, [128, 128, 64, 64])])
def test_two_undecidable_halves_end_the_search_of_a_few(size, asked):
    """8 groups of 16 are the few."""
    checker = Scripted(size, lambda group: "undecidable")
    assert checker._group_with_a_wrong_entry(np.arange(size), np.random.default_rng(0)) is None
    assert checker.asked == asked


def test_a_search_that_measures_all_entries_is_complete():
    """Eight entries are one group: nothing is left to agree."""
    theta = np.linspace(1, 2, 12)
    claimed = theta**2
    claimed[7] += 0.1
    result = check_gradient(cubes, theta, claimed, entries=4, rng=1)
    assert [entry.index for entry in result.wrong] == [7]
    block = result.blocks[0]
    assert (block.checked, block.along, block.is_complete) == (12, 0, True)


def test_random_directions_keep_the_shape_of_theta():
    theta = MANY.reshape(20, 20)

    def cubes_of_rows(theta):
        assert theta.shape == (20, 20)
        return cubes(theta)

    assert check_gradient(cubes_of_rows, theta, theta**2, entries=10, rng=0)


def test_noise_of_other_entries_is_measured_along_scales():
    theta, points = np.array([0.5, 1e6, -1e6, 0.0] * 10), []

    def f(t):
        points.append(t.copy())
        return 0.0

    checker = EntryChecker(Neighbourhood(f, theta), function_subject(f, theta, np.zeros(40)), 0.0)
    points.clear()
    checker.others(np.arange(10, 40), "richardson", 1, np.random.default_rng(0))
    ways = (points[7] - theta) / (7e-12 * np.maximum(1, np.abs(theta)))
    assert np.all(ways[:10] == 0)
    assert ways.min() < -0.5 and ways.max() > 0.5 and np.abs(ways).max() < 1.0001  # theta + h is rounded


def test_the_steps_along_many_entries_shrink_with_their_norm():
    """Six steps by tens; the first is the usual one by the root of the norm, where that is above 1."""
    steps = []

    def along(directions, step, noise):
        steps.append((step, np.linalg.norm(directions)))
        return measurement(value=0.0, rounding=1e9, roughness=1e12)

    subject = subject_of([1.0] * 400)
    near = SimpleNamespace(scale=lambda i: np.full(400, 3.0)[i], along=along)
    assert EntryChecker(near, subject, 0.0)._along(np.arange(400), np.random.default_rng(0))[0] == "undecidable"
    usual = np.finfo(float).eps ** (1 / 5)
    assert [step for step, _ in steps] == pytest.approx(
        [usual / norm**0.5 * 10.0**-k for k, (_, norm) in enumerate(steps)]
    )
    assert len(steps) == 6 and steps[0][1] > 30


@pytest.mark.parametrize(("off", "verdict"), [(0.25, "right"), (0.5, "undecidable")])
def test_a_slope_along_entries_may_be_off_by_what_it_allows(off, verdict):
    """By a quarter, of rounding alone; the claimed slope is 0 + 1 of the one entry that moves by 1/2 to 1."""
    near = SimpleNamespace(
        scale=lambda i: np.ones(1), along=lambda *a: measurement(value=off, rounding=0.25, doubt=1.0)
    )
    checker = EntryChecker(near, subject_of([0.0]), 0.0)
    assert checker._along(np.arange(1), np.random.default_rng(0))[0] == verdict


@pytest.mark.parametrize(("size", "most"), [(1, 2000), (20_000, 2000), (20_001, 1999), (754_717, 52), (10**9, 40)])
def test_a_large_gradient_has_fewer_entries_measured_singly(size, most):
    """As many as make 40 million numbers, but at least 40."""
    assert _most_entries(size) == most
