"""Differences: how accurate each method is, what it says of its own accuracy, and many entries of a network at once."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import re
import warnings

import numpy as np
import pytest
import torch
from checked_gradients import ARCHITECTURES, LABELS, PROBABILITIES, REALS, TARGETS, X, build

import handmade.losses as losses
from handmade import (
    Activation,
    BatchNorm,
    Concatenate,
    Dense,
    Dropout,
    LayerNorm,
    Network,
    Parallel,
    Residual,
    Sequential,
)
from handmade.checking.differences import _best, numerical_gradient, step_sweep
from handmade.checking.methods import METHODS
from handmade.checking.neighbourhood import Neighbourhood, measured_noise
from handmade.checking.network_loss import NetworkLoss

EPS = np.finfo(float).eps
ORDERS = {"forward": 1, "central": 2, "richardson": 4}
THETA = np.random.default_rng(0).uniform(-1, 1, 40)


def f(theta):
    """Smooth, of size 1, with derivatives of size 1."""
    return np.sin(theta[0]) * np.exp(theta[1]) if len(theta) == 2 else np.sin(theta).sum() / 8


def slopes(theta):
    return np.cos(theta) / 8


# ---- numerical_gradient ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ORDERS)
def test_each_method_reaches_its_accuracy(method):
    """Where h^p and eps / h meet, both are eps^(p / (p + 1)); no error is more than ten of that, and one near it."""
    errors = np.abs(numerical_gradient(f, THETA, method=method) - slopes(THETA))
    reachable = EPS ** (ORDERS[method] / (ORDERS[method] + 1))
    assert reachable / 100 <= errors.max() <= 10 * reachable


def test_the_complex_step_is_exact_to_a_few_ulp():
    errors = np.abs(numerical_gradient(f, THETA, method="complex") - slopes(THETA))
    assert np.all(errors <= 4 * EPS * np.abs(slopes(THETA)))


def test_the_methods_are_ordered_by_accuracy():
    errors = [np.abs(numerical_gradient(f, THETA, method=method) - slopes(THETA)).max() for method in METHODS]
    assert errors == sorted(errors, reverse=True)
    assert errors[1] < errors[0] / 100 and errors[2] < errors[1] / 10 and errors[3] < errors[2] / 1000


@pytest.mark.parametrize(("method", "exact"), [("forward", 1), ("central", 2), ("richardson", 4), ("complex", 2)])
def test_each_method_is_exact_for_polynomials_of_its_order(method, exact):
    """The next power shows the truncation: h^p, by (4 / 2^4 - 1) / 3 for Richardson's, by -1 for the complex step."""
    h = 0.25
    for power in range(1, exact + 1):
        assert numerical_gradient(lambda t, p=power: t[0] ** p, [0.5], method=method, step=h)[0] == pytest.approx(
            power * 0.5 ** (power - 1), rel=1e-14
        )
    factor = {"forward": 1, "central": 1, "richardson": -0.25, "complex": -1}[method]
    measured = numerical_gradient(lambda t: t[0] ** (exact + 1), [0.0], method=method, step=h)[0]
    assert measured == pytest.approx(factor * h**exact, rel=1e-14)


@pytest.mark.parametrize("method", METHODS)
def test_theta_of_any_shape_and_some_entries_of_it(method):
    theta = THETA.reshape(5, 2, 4)
    whole = numerical_gradient(f, theta, method=method)
    assert whole.shape == theta.shape
    np.testing.assert_allclose(whole, slopes(theta), rtol=1e-6)
    some = numerical_gradient(f, theta, method=method, indices=[7, 0, 7])
    assert some.tolist() == whole.reshape(-1)[[7, 0, 7]].tolist()
    assert numerical_gradient(lambda t: t**2, 3.0, method=method) == pytest.approx(6, rel=1e-7)
    assert numerical_gradient(f, theta, method=method, indices=[]).shape == (0,)


@pytest.mark.parametrize("method", METHODS)
def test_the_step_grows_with_the_entry(method):
    slope = numerical_gradient(lambda t: np.sin(t[0] / 1e10), [5e9], method=method)[0]
    assert slope == pytest.approx(np.cos(0.5) / 1e10, rel=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_theta_is_not_changed(method):
    theta = THETA.copy()
    numerical_gradient(f, theta, method=method)
    assert np.array_equal(theta, THETA)


def spoil(theta):
    theta[1] += 0.5
    return theta.sum()


def spoil_later():
    calls = []

    def f(theta):
        calls.append(1)
        if len(calls) > 3:
            theta[0] = -7
        return (theta**2).sum()

    return f


def drifting():
    calls = itertools.count()
    return lambda theta: theta.sum() + 1e-9 * next(calls)


@pytest.mark.parametrize(
    ("f", "options", "error", "match"),
    [
        (f, {"method": "Richardson"}, ValueError, "expected one of forward, central, richardson, complex; got 'Rich"),
        (f, {"indices": [40]}, ValueError, "indices: expected integers from 0 to 39"),
        (f, {"indices": [-1]}, ValueError, "indices: expected integers from 0 to 39"),
        (f, {"indices": 3}, TypeError, "indices: expected a list of integers"),
        (f, {"indices": [0.5]}, TypeError, "indices: expected a list of integers"),
        (f, {"step": 0.0}, ValueError, "step: expected a finite number > 0, got 0.0"),
        (f, {"step": np.nan}, ValueError, "step: expected a finite number > 0, got nan"),
        (f, {"step": np.inf}, ValueError, "step: expected a finite number > 0, got inf"),
        (lambda t: t, {}, TypeError, "the function: expected it to return one real number, got array"),
        (lambda t: None, {}, TypeError, "one real number, got None"),
        (lambda t: 1j, {}, TypeError, "one real number, got 1j"),
        (lambda t: np.inf, {}, ValueError, "the function: expected it to return a finite number, got inf"),
        (lambda t: 0.0 if t[0] == THETA[0] else np.nan, {}, ValueError, "a finite number, got nan"),
        (drifting(), {}, ValueError, r"not deterministic: two calls gave .* and .*, 1\.0e-09 apart"),
        (spoil, {}, ValueError, r"changed its argument: theta\[1\] was -0.4604265.* before the call and 0.0395734"),
        (spoil_later(), {}, ValueError, r"changed its argument: theta\[0\] was .* before the call and -7.0 after it"),
        (lambda t: np.abs(t).sum(), {"method": "complex"}, TypeError, "analytic as written.*; it returned np.float64"),
        (
            lambda t: t.sum() if t.dtype.kind == "f" else t,
            {"method": "complex"},
            TypeError,
            r"analytic as written.*; it returned array",
        ),
        (lambda t: float(t.sum()), {"method": "complex"}, TypeError, "analytic as written.*raised ComplexWarning"),
        (
            lambda t: t.astype(float).sum() + 0 * t.sum(),
            {"method": "complex"},
            TypeError,
            "analytic as written.*raised ComplexWarning",
        ),
    ],
)
def test_bad_input_is_named(f, options, error, match):
    with pytest.raises(error, match=match):
        numerical_gradient(f, THETA, **options)


def test_the_entry_that_was_changed_is_named_by_its_place():
    def spoil(theta):
        theta[1, 2] = 5
        return theta.sum()

    with pytest.raises(ValueError, match=r"changed its argument: theta\[1, 2\] was 0.0 before the call and 5.0 after"):
        numerical_gradient(spoil, np.zeros((2, 3)))


def test_the_forward_difference_looks_at_one_side_alone():
    """t^(3/2) ends at 0; (h^(3/2) - 0) / h is sqrt(h), where h is sqrt(eps)."""
    slope = numerical_gradient(lambda t: t[0] ** 1.5, [0.0], method="forward")[0]
    assert slope == pytest.approx(EPS**0.25, rel=4 * EPS)


@pytest.mark.parametrize("theta", [[1, 2], np.array([1, 2], np.float32)], ids=["integers", "float32"])
def test_the_function_is_asked_in_float64_whatever_theta_was(theta):
    seen = set()

    def f(theta):
        seen.add(theta.dtype)
        return (theta**2).sum()

    numerical_gradient(f, theta)
    step_sweep(f, theta)
    assert seen == {np.dtype(float), np.dtype(complex)}


def test_other_warnings_do_not_refuse_the_complex_step():
    def warning(theta):
        warnings.warn("slow", stacklevel=1)
        return (theta**2).sum()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert numerical_gradient(warning, [3.0], method="complex")[0] == pytest.approx(6, rel=4 * EPS)


class Squares:
    """A function that can be asked for many values at once, one of them spoilt where an entry is moved to a number."""

    def __init__(self, spoilt=None):
        self.calls, self.spoilt = 0, spoilt

    def __call__(self, theta):
        self.calls += 1
        return (theta**2).sum()

    def moved(self, theta, indices, values):
        found = (theta**2).sum() - theta[indices] ** 2 + values**2
        return np.where(np.arange(len(values)) == self.spoilt, np.nan, found)


@pytest.mark.parametrize("method", METHODS)
def test_a_function_with_moved_gets_all_values_at_once(method):
    f = Squares()
    assert numerical_gradient(f, THETA, method=method) == pytest.approx(2 * THETA, rel=1e-5)
    assert f.calls == 2  # at theta, to see that it is deterministic


def test_a_value_of_many_that_is_not_finite_is_named():
    with pytest.raises(ValueError, match=r"expected it to return a finite number, got .*nan"):
        numerical_gradient(Squares(spoilt=5), THETA)


def test_a_torch_number_on_a_graph_is_a_number():
    def f(theta):
        return (torch.tensor(theta, requires_grad=True) ** 2).sum()

    assert numerical_gradient(f, [3.0, -1.0]) == pytest.approx([6, -2], rel=1e-9)


def test_what_is_no_function_is_named():
    message = "f: expected a function of theta, got 3; the loss of a network is NetworkLoss(network, X, y)"
    with pytest.raises(TypeError, match=re.escape(message)):
        numerical_gradient(3, [1.0])


def test_an_empty_theta_is_named():
    with pytest.raises(ValueError, match="theta: expected at least one entry, got none"):
        numerical_gradient(f, [])


# ---- the loss of a network ------------------------------------------------------------------------------------------


def assert_moved_one_by_one(f, theta):
    """All entries at once give what each alone gives, but for a few roundings; also of complex numbers."""
    rng = np.random.default_rng(1)
    indices = rng.permutation(np.tile(np.arange(theta.size), 2))
    for values in rng.normal(size=indices.size), theta[indices] + 1e-20j:
        alone = []
        for i, value in zip(indices, values, strict=True):
            moved = theta.astype(values.dtype)
            moved[i] = value
            alone.append(f(moved))
        together = f.moved(theta, indices, values)
        assert together.dtype == values.dtype
        for one, other in (together.real, np.real(alone)), (together.imag, np.imag(alone)):
            assert np.abs(one - other).max() <= 32 * EPS * np.abs(other).max()
    assert f(theta) == f(theta)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_many_entries_at_once_are_the_same_as_one_by_one(architecture, training):
    network = build(architecture, np.float64)
    assert_moved_one_by_one(NetworkLoss(network, X, LABELS, training=training), network.theta)


WEIGHT = np.array([0.5, 0, 1, 2, 3, 0.25, 1])
FORMS = {
    **{name: (name, y) for name, y in TARGETS.items()},
    **{
        f"{name} sum": (functools.partial(losses.LOSSES[name].value, reduction="sum"), y) for name, y in TARGETS.items()
    },
    "probabilities": ("cross_entropy", PROBABILITIES),
    "smoothed": (functools.partial(losses.cross_entropy, label_smoothing=0.2), LABELS),
    "class weights": (functools.partial(losses.cross_entropy, weight=[1, 2, 3], label_smoothing=0.1), LABELS),
    "ignored": (functools.partial(losses.cross_entropy, ignore_index=1), LABELS),
    "all ignored": (functools.partial(losses.cross_entropy, ignore_index=1), np.ones(7, int)),
    "margins": (functools.partial(losses.multi_margin_loss, p=2, margin=0.5, weight=[1, 2, 3]), LABELS),
    "element weights": (functools.partial(losses.mse_loss, weight=np.abs(REALS)), REALS),
    "positive weights": (
        functools.partial(losses.binary_cross_entropy_with_logits, pos_weight=[1.0, 2.0, 3.0]),
        PROBABILITIES,
    ),
    "a weight for each": (
        functools.partial(losses.binary_cross_entropy_with_logits, pos_weight=np.abs(REALS)),
        PROBABILITIES,
    ),
    "a pair of the library's": ((losses.huber_loss, losses.huber_loss_backward), REALS),
    "a pair of its own": (
        (lambda H, y: ((H - y) ** 2).sum() / len(H) ** 2, lambda H, y: 2 * (H - y) / len(H) ** 2),
        REALS,
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_many_entries_at_once_equal_one_by_one(form):
    loss, y = FORMS[form]
    network = build("tanh", np.float64)
    assert_moved_one_by_one(NetworkLoss(network, X, y, loss), network.theta)


@pytest.mark.parametrize("loss", TARGETS)
def test_sample_weights_of_many_entries_at_once(loss):
    network = build("tanh", np.float64)
    f = NetworkLoss(network, X, TARGETS[loss], loss, sample_weight=WEIGHT)
    moved = f.moved(network.theta, np.arange(network.theta.size), network.theta + 0.5)
    for i, value in enumerate(moved):
        there = network.theta.copy()
        there[i] += 0.5
        assert value == pytest.approx(f(there), rel=32 * EPS)


@pytest.mark.parametrize("block", [1, 100, 333])
def test_the_size_of_a_block_changes_nothing(block):
    class Small(NetworkLoss):
        BLOCK = block

    network = build("tanh", np.float64)
    assert_moved_one_by_one(Small(network, X, LABELS), network.theta)


class Squared(Dense):
    """A layer with a forward of its own: W enters squared."""

    def forward(self, X, training=False):
        return X @ (self.W**2).T + self.b, X


class Across(Activation):
    """A layer whose rows depend on each other."""

    def forward(self, A, training=False):
        H, cache = super().forward(A, training)
        return H - A.mean(axis=0), cache


def mean_free_backward(dH, A):
    return dH - dH.mean(axis=0)


def mean_free(A):
    return A - A.mean(axis=0)


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [Squared(4, 5, rng=0), Activation("tanh"), Dense(5, 3, rng=1)],
        lambda: [Dense(4, 5, rng=0), Activation("tanh"), Squared(5, 3, rng=1)],
        lambda: [Dense(4, 5, rng=0), Across("tanh"), Dense(5, 3, rng=1)],
        lambda: [Dense(4, 5, rng=0), Activation((mean_free, mean_free_backward)), Dense(5, 3, rng=1)],
        lambda: [Dense(4, 5, rng=0), Dropout(0.5, rng=3), Dense(5, 3, rng=1)],
    ],
    ids=["own forward", "own forward above", "subclass of Activation", "pair", "dropout"],
)
def test_layers_with_dependent_rows_are_not_shortened(layers):
    network = Network(layers())
    assert_moved_one_by_one(NetworkLoss(network, X, LABELS), network.theta)


@pytest.mark.parametrize(
    ("layer", "in_training", "outside"),
    [
        (Dense(4, 4), True, True),
        (LayerNorm(4), True, True),
        (Activation("tanh"), True, True),
        (Activation((mean_free, mean_free_backward)), False, False),
        (Across("tanh"), False, False),
        (Squared(4, 4), False, False),
        (BatchNorm(4), False, True),
        (Dropout(0.5), False, True),
        (Sequential([Dense(4, 4), LayerNorm(4)]), True, True),
        (Residual([Dense(4, 4), Across("tanh")]), False, False),
        (Concatenate([Dense(4, 2), Dropout(0.5)]), False, True),
        (Parallel([Dense(2, 3)], [Dense(2, 3), BatchNorm(3)]), False, True),
        (Parallel([Dense(2, 3)], [Dense(2, 3), Activation("tanh")]), True, True),
    ],
    ids=lambda value: value if isinstance(value, bool) else type(value).__name__,
)
def test_rows_are_independent_if_they_are_in_all_parts(layer, in_training, outside):
    assert (layer.rows_are_independent(True), layer.rows_are_independent(False)) == (in_training, outside)


@pytest.mark.parametrize("training", [True, False])
def test_many_entries_below_composites_equal_one_by_one(training):
    above = Residual([Dense(4, 4, rng=1), Dropout(0.3, rng=5)]), Parallel([Dense(2, 3, rng=2)], [BatchNorm(2)])
    network = Network([Dense(4, 4, rng=0), Activation("tanh"), *above, Concatenate([Dense(5, 1, rng=3)])])
    assert_moved_one_by_one(NetworkLoss(network, X, LABELS, training=training), network.theta)


@pytest.mark.parametrize(("block", "size"), [(1, 1), (27, 1), (28, 1), (84, 3), (111, 3), (112, 4)])
def test_variants_are_computed_in_parts_that_fit_a_block(block, size):
    """Of 7 rows by 4 units each."""

    class Small(NetworkLoss):
        BLOCK = block

    network = build("tanh", np.float64)
    parts = Small(network, X, LABELS)._split(np.arange(10), network)
    assert [part.tolist() for part in parts] == [list(range(10))[k : k + size] for k in range(0, 10, size)]


class Halved(Network):
    def forward(self, X, training=False):
        H, cache = super().forward(X, training)
        return H / 2, cache


def test_a_network_with_a_forward_of_its_own_is_not_short_cut():
    network = Halved([Dense(4, 5, rng=0), Activation("tanh"), Dense(5, 3, rng=1)])
    assert_moved_one_by_one(NetworkLoss(network, X, LABELS), network.theta)


def test_a_moved_unit_is_computed_by_its_layers_forward(monkeypatch):
    network = build("tanh", np.float64)
    original = Dense.forward

    def doubled(self, X, training=False):
        H, cache = original(self, X, training)
        return 2 * H, cache

    monkeypatch.setattr(Dense, "forward", doubled)
    assert_moved_one_by_one(NetworkLoss(network, X, LABELS), network.theta)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("architecture", ["both", "composites", "dropout"])
def test_the_gradient_of_the_loss_is_that_of_backpropagation(architecture, dtype):
    network = build(architecture, dtype)
    f = NetworkLoss(network, X.astype(dtype), LABELS)
    untouched = network.state_dict()
    _, gradient = build(architecture, dtype).loss_and_gradient(X.astype(dtype), LABELS)
    measured = numerical_gradient(f, network.theta, method="complex")
    assert np.abs(measured - gradient).max() <= 100 * np.finfo(dtype).eps * np.abs(gradient).max()
    for name, array in network.state_dict().items():
        assert np.array_equal(array, untouched[name]), name


def test_the_loss_of_a_float32_network_is_computed_in_float64():
    network = build("tanh", np.float32)
    targets = np.random.default_rng(0).normal(size=(len(X), network.layers[-1].neuron_count))
    theta = network.theta * (1 + 1e-9 * np.arange(network.theta.size))  # in float32 it would be the same
    rounded = targets.astype(np.float32).astype(float)
    seen, double = X.astype(np.float32), build("tanh", np.float64)
    f, g = NetworkLoss(network, seen, targets, "mse_loss"), NetworkLoss(double, seen, rounded, "mse_loss")
    assert f(theta) == g(theta) != f(network.theta)
    assert f(network.theta) == g(network.theta.astype(float))


def test_moved_losses_are_complex_where_theta_is():
    network = build("tanh", np.float64)
    f, theta = NetworkLoss(network, X, LABELS), network.theta + 1e-20j
    moved = f.moved(theta, np.array([0.0, 5.0]), [0.25, -0.5])
    for loss, index, value in zip(moved, [0, 5], [0.25, -0.5], strict=True):
        other = theta.copy()
        other[index] = value
        assert loss == pytest.approx(complex(f(other)), rel=1e-13) and loss.imag != 0


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"X": X[:, :2]}, ValueError, r"X: expected shape \(N, 4\)"),
        ({"y": LABELS + 1}, ValueError, "from 0 to 2, got 3"),
        ({"loss": "crossentropy"}, ValueError, "loss: expected one of"),
        ({"loss": "zero_one_loss", "y": REALS}, TypeError, "zero_one_loss has no gradient"),
        ({"sample_weight": [1.0, 2.0]}, ValueError, "one weight per sample"),
    ],
)
def test_a_loss_that_cannot_be_computed_is_named_at_once(options, error, match):
    with pytest.raises(error, match=match):
        NetworkLoss(build("tanh", np.float64), **{"X": X, "y": LABELS} | options)


# ---- noise ----------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(("value", "stair"), [(1 + 2**-30, 2**-30), (3.0, 3 * 2**-23), (-0.75, 0.75 * 2**-23)])
def test_a_function_that_does_not_move_stands_on_a_stair(value, stair):
    """Of the height of its last bit, at most float32's; uniform on it, the standard deviation is 1 / sqrt(12) of it."""
    points = []

    def constant(t):
        points.append(t)
        return value

    assert measured_noise(constant) == pytest.approx(stair / math.sqrt(12), rel=4 * EPS, abs=0)
    expected = np.outer(10.0 ** np.arange(-12, -1, 2), np.arange(8)).reshape(-1)
    assert np.array(points) == pytest.approx(expected, rel=16 * EPS, abs=0)


def test_the_stair_is_that_of_the_value_at_the_place_itself():
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


def test_without_noise_the_smallest_level_bounds_it():
    """The values 1, 10, ..., 10^7 at every spacing: all differences grow, none is noise."""
    calls = itertools.count()
    found = measured_noise(lambda t: 10.0 ** (next(calls) % 8))
    assert next(calls) == 12 * 8
    squares = [np.mean(np.diff(10.0 ** np.arange(8), k) ** 2) for k in range(1, 7)]
    levels = [math.factorial(k) / math.sqrt(math.factorial(2 * k)) * math.sqrt(squares[k - 1]) for k in range(1, 7)]
    assert found == pytest.approx(min(levels), rel=8 * EPS)


def test_noise_is_measured_along_scaled_directions():
    theta, points, rng = np.array([0.5, 1e6, -1e6, 0.0] * 5), [], np.random.default_rng(0)

    def noisy(t):
        points.append(t)
        return rng.normal()

    near = Neighbourhood(lambda t: 0.0, theta)
    near.f = noisy
    near.noise(np.arange(12))
    moved = np.array(points[1:8]) - theta
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


H = 1 / 8  # relative to entries of 0: every number below is exact
CUBE, FIFTH = H**2, H**4


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
        assert m.rounding[i] == pytest.approx(weights * error / (H / 4), rel=4 * EPS, abs=0)


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


# ---- step_sweep -----------------------------------------------------------------------------------------------------

SMOOTH = {
    "exp": (lambda t: np.exp(t).sum(), np.exp),
    "sin": (lambda t: np.sin(t).sum(), np.cos),
    "tanh": (lambda t: np.tanh(3 * t).sum(), lambda t: 3 / np.cosh(3 * t) ** 2),
    "waves": (lambda t: np.sin(20 * t).sum(), lambda t: 20 * np.cos(20 * t)),
    "far up": (lambda t: 1000 + np.sin(t).sum(), np.cos),
    "small": (lambda t: 1e-6 * np.log1p(t * t).sum(), lambda t: 2e-6 * t / (1 + t * t)),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_the_accuracy_that_is_said_to_be_achievable_is(name):
    """It bounds every error, and is not more than a hundred times the largest."""
    f, gradient = SMOOTH[name]
    theta = THETA[:20]
    sweeps = [step_sweep(f, theta, i) for i in range(len(theta))]
    for method in METHODS:
        best = [sweep.methods[method] for sweep in sweeps]
        errors = np.abs([accuracy.estimate for accuracy in best] - gradient(theta))
        promised = np.array([accuracy.achievable for accuracy in best])
        assert np.all(errors <= promised), method
        assert np.max(promised) <= 100 * np.max(errors), method


def test_the_best_steps_are_where_theory_puts_them():
    sweep = step_sweep(f, THETA, 3)
    for method, order in ORDERS.items():
        accuracy = sweep.methods[method]
        usual = EPS ** (1 / (order + 1))
        assert usual / 10 <= accuracy.step <= 30 * usual, method
        assert accuracy.achievable == accuracy.truncation + accuracy.rounding
    assert sweep.methods["complex"].step == 1e-20
    assert sweep.methods["complex"].truncation < 1e-30
    achievable = [sweep.methods[method].achievable for method in METHODS]
    assert achievable == sorted(achievable, reverse=True)


def test_truncation_falls_and_rounding_grows_along_the_steps():
    sweep = step_sweep(f, THETA, 3)
    for method, order in ORDERS.items():
        steps, errors = sweep.steps[method], np.abs(sweep.estimates[method] - slopes(THETA)[3])
        assert steps == pytest.approx(10 ** np.linspace(-1, -14, 27), rel=1e-12, abs=0)
        assert errors[0] / errors[2] == pytest.approx(10**order, rel=0.2)  # two steps are a decade
        assert errors[-6:].mean() > 1e4 * errors.min()


def test_the_accuracy_of_a_function_in_float32():
    def single(theta):
        return float(np.exp(theta.astype(np.float32)).sum())

    sweep = step_sweep(single, [1.0, 2.0], 0)
    assert "complex" not in sweep.methods and "analytic as written" in sweep.refused
    for accuracy in sweep.methods.values():
        assert abs(accuracy.estimate - np.e) <= accuracy.achievable
    assert 1e-6 <= sweep.methods["richardson"].achievable <= 1e-3
    assert sweep.noise == pytest.approx(2**-23 * sweep.value, rel=0.9)


def test_the_table_of_a_sweep():
    sweep = step_sweep(lambda t: np.exp(t).sum(), [1.0], 0)
    assert repr(sweep) == str(sweep)
    lines = str(sweep).splitlines()
    assert lines[0] == "method      best step                estimate  truncation  rounding  achievable"
    assert [line.split()[0] for line in lines[1:5]] == list(METHODS)
    assert all(len(line) == len(lines[0]) for line in lines[1:5])
    assert lines[4].split()[1:3] == ["1.0e-20", "2.71828182845905"]
    assert lines[5].startswith("noise of the function: ") and lines[5].endswith(", at a value of 2.71828")
    refused = str(step_sweep(lambda t: np.abs(t).sum(), [1.0], 0)).splitlines()
    assert refused[4].startswith("complex     the complex step needs a function analytic as written")


@pytest.mark.parametrize(
    ("f", "method", "estimate", "truncation", "rounding"),
    [
        (lambda t: t[0] ** 2, "forward", H, 2 * H, 2 * 2 * EPS * H),
        (lambda t: max(t[0], 0.0) ** 2, "forward", H, 2 * H, 2 * 2 * EPS * H),
        (lambda t: min(t[0], 0.0) ** 2, "forward", 0, 0, 2 * 2 * EPS * H),
        (lambda t: t[0] ** 3, "central", CUBE, 2 * CUBE, 2 * EPS * CUBE),
        (lambda t: t[0] ** 5, "richardson", -FIFTH / 4, FIFTH / 2, 1.5 * 2 * 2 * EPS * FIFTH),
    ],
    ids=["square", "square above", "square below", "cube", "fifth"],
)
def test_one_step_of_a_sweep_in_numbers(f, method, estimate, truncation, rounding):
    """Twice the truncation that the estimates of h and h/2 show; twice eps of the largest value over the step."""
    accuracy = step_sweep(f, [0.0], steps=[H]).methods[method]
    assert (accuracy.step, accuracy.estimate) == (H, estimate)
    assert accuracy.truncation == pytest.approx(truncation, rel=4 * EPS, abs=0)
    assert accuracy.rounding == pytest.approx(rounding, rel=4 * EPS, abs=0)


def test_the_complex_step_of_a_sweep_in_numbers():
    """Im (ih)^3 / h = -h^2: the truncation is seen at 1/8 and followed by its square; 8 eps of it are rounding."""
    sweep = step_sweep(lambda t: t[0] ** 3, [0.0], steps=[H])
    accuracy = sweep.methods["complex"]
    assert sweep.steps["complex"].tolist() == [H, 1e-20] and sweep.estimates["complex"][0] == -CUBE
    assert (accuracy.method, accuracy.step) == ("complex", 1e-20)
    found = [accuracy.estimate, accuracy.truncation, accuracy.rounding]
    assert found == pytest.approx([-1e-40, 2e-40, 8 * EPS * 1e-40], rel=16 * EPS, abs=0)


@pytest.mark.parametrize(("change", "truncation"), [(20.5, 20.5), (20, 0)])
def test_a_change_above_twenty_roundings_counts(change, truncation):
    """From h to h/2 the forward difference loses half of its error: the change is twice two times the difference."""
    one = np.array([change / 4])
    assert _best("forward", np.ones(1), one, 0 * one, 1, np.ones(1)).truncation == truncation


def test_the_best_step_follows_the_order():
    """At 1.01 the change is 100, and not the 30.3 that follow from 30 at 1."""
    one, rounding = np.array([100.0, 30.0]) / 4, np.array([0.1, 1.4])
    best = _best("forward", np.array([1.01, 1.0]), one, 0 * one, 1, rounding)
    assert (best.step, best.truncation, best.rounding) == (1.0, 30.0, 1.4)


def test_steps_in_integers_are_steps():
    assert step_sweep(f, THETA, steps=[1, 2]).steps["forward"].dtype == np.float64


@pytest.mark.parametrize("steps", [[], [0.1, 0.0], [-0.1], [[0.1]], [np.nan], [np.inf]])
def test_steps_that_are_no_steps_are_named(steps):
    with pytest.raises(ValueError, match="steps: expected a list of numbers above 0, got"):
        step_sweep(f, THETA, steps=steps)


def test_steps_of_your_own():
    """The logarithm ends below the entry: the usual first steps would leave it."""
    sweep = step_sweep(lambda t: np.log(t[0]), [0.05], steps=10.0 ** np.arange(-9, -2))
    for accuracy in sweep.methods.values():
        assert abs(accuracy.estimate - 20) <= accuracy.achievable <= 1e-2


def test_theta_that_is_not_finite_is_named():
    with pytest.raises(ValueError, match="theta: expected finite numbers, got nan at index"):
        numerical_gradient(f, [0.0, np.nan])


@pytest.mark.parametrize(("index", "error"), [(2, ValueError), (-1, ValueError), (0.5, TypeError)])
def test_an_entry_that_is_not_there_is_named(index, error):
    with pytest.raises(error, match="indices: expected"):
        step_sweep(lambda t: t.sum(), [1.0, 2.0], index)


@pytest.mark.parametrize("function", [numerical_gradient, step_sweep])
def test_theta_in_words_is_named(function):
    with pytest.raises(TypeError, match=r"^theta: expected numbers"):
        function(f, ["one", "two"])


def test_steps_in_words_are_named():
    with pytest.raises(TypeError, match=r"^steps: expected numbers"):
        step_sweep(f, THETA, steps=["small"])


def test_a_sweep_cannot_be_changed():
    sweep = step_sweep(lambda t: t[0] ** 2, [1.0], steps=[H])
    for found, name in [(sweep, "noise"), (sweep.methods["central"], "step")]:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(found, name, 0.0)
