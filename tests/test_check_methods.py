"""Gradients checked by every method, and what differences cannot tell."""

from __future__ import annotations

import numpy as np
import pytest
from checked_gradients import (
    LABELS,
    SMOOTH,
    TARGETS,
    THETA,
    X,
    assert_right,
    build,
    network_with,
    scale_all,
)

from handmade import MLP, Dense, Network, Sequential, check_gradient
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
