"""The check that checks: right gradients pass, planted errors are found, kinks are neither."""

from __future__ import annotations

import functools
import re
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from handmade import (
    MLP,
    Activation,
    Concatenate,
    Dense,
    Dropout,
    GradientCheck,
    LayerNorm,
    Network,
    Parallel,
    Residual,
    Sequential,
    check_gradient,
    fit,
    losses,
)
from handmade.checking.check_table import Entries, summary_of
from handmade.checking.entry_checker import EntryChecker
from handmade.checking.neighbourhood import Measurement
from handmade.checking.network_loss import NetworkLoss

LARGEST_STEP, SMALLEST_STEP = np.finfo(float).eps ** 0.2, np.finfo(float).eps ** 0.2 * 1e-4


# ---- right gradients ---------------------------------------------------------------------------------------

SMOOTH, KINKED = ("sigmoid", "tanh", "gelu", "silu", "softplus"), ("relu", "leaky_relu", "elu")
ARCHITECTURES = {
    **{name: functools.partial(MLP, [4, 4, 3], activation=name) for name in SMOOTH + KINKED},
    "one unit": functools.partial(MLP, [4, 3]),
    "deep": functools.partial(MLP, [4, 3, 3, 3, 3], activation="tanh"),
    "no bias": functools.partial(MLP, [4, 4, 3], activation="tanh", bias=False),
    "dropout": functools.partial(MLP, [4, 5, 5, 3], activation="tanh", dropout=0.4),
    "batch norm": functools.partial(MLP, [4, 4, 3], activation="tanh", normalization="batch", bias=False),
    "layer norm": functools.partial(MLP, [4, 4, 3], activation="tanh", normalization="layer"),
    "both": functools.partial(MLP, [4, 4, 3], activation="gelu", normalization="batch", dropout=0.3, bias=False),
    "composites": lambda rng, dtype: Network(
        [
            Parallel([Dense(2, 3, rng=rng)], [Dense(2, 3, rng=rng), Activation("tanh")]),
            Residual([Dense(6, 6, rng=rng), Activation("sigmoid")]),
            Concatenate([Dense(6, 2, rng=rng), LayerNorm(2)]),
            Dense(8, 3, rng=rng),
        ],
        dtype=dtype,
    ),
}
LABELS, REALS = np.array([0, 2, 1, 1, 0, 2, 2]), np.random.default_rng(5).normal(size=(7, 3))
PROBABILITIES = np.exp(REALS) / np.exp(REALS).sum(axis=1, keepdims=True)
TARGETS = {
    "cross_entropy": LABELS,
    "multi_margin_loss": LABELS,
    "l1_loss": REALS,
    "mse_loss": REALS,
    "half_squared_error": REALS,
    "huber_loss": REALS,
    "smooth_l1_loss": REALS,
    "hinge_loss": np.sign(REALS),
    "binary_cross_entropy_with_logits": PROBABILITIES,
}
X = np.random.default_rng(4).normal(size=(7, 4))


def build(architecture, dtype, rng=1):
    return ARCHITECTURES[architecture](rng=rng, dtype=dtype)


def assert_right(result, size):
    assert result, str(result)
    assert result.passed and not result.wrong
    assert sum(block.size for block in result.blocks) == result.total.size == size
    assert result.total.name == "all"
    assert len(result.undecidable) + sum(block.checked for block in result.blocks) == size


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_right_gradients_of_every_architecture_pass(architecture, training, dtype):
    network = build(architecture, dtype)
    result = check_gradient(network, X, LABELS, training=training)
    assert_right(result, network.theta.size)
    assert [block.name for block in result.blocks] == list(network.blocks(network.theta))
    assert not result.undecidable


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", TARGETS)
def test_right_gradients_of_every_loss_pass(loss, weighted, dtype):
    network = build("both", dtype)
    weight = np.array([0.5, 0, 1, 2, 3, 0.25, 1]) if weighted else None
    assert_right(check_gradient(network, X, TARGETS[loss], loss=loss, sample_weight=weight), network.theta.size)


@pytest.mark.parametrize(
    ("loss", "y"),
    [
        ("cross_entropy", PROBABILITIES),
        (functools.partial(losses.cross_entropy, label_smoothing=0.2, weight=[1, 2, 3]), LABELS),
        (functools.partial(losses.mse_loss, reduction="sum"), REALS),
        ((losses.mse_loss, losses.mse_loss_backward), REALS),
        (losses.huber_loss, REALS),
    ],
    ids=["probabilities", "smoothed", "sum", "pair", "function"],
)
def test_losses_in_every_form(loss, y):
    network = build("tanh", np.float64)
    assert_right(check_gradient(network, X, y, loss=loss), network.theta.size)


def test_a_network_is_checked_in_training_unless_told():
    network = build("dropout", np.float64)
    told = {}, {"training": True}, {"training": False}
    default, training, outside = (check_gradient(network, X, LABELS, **options).value for options in told)
    assert default == training != outside


def test_probabilities_out_of_a_sigmoid():
    network = MLP([4, 4, 3], activation=["tanh", "sigmoid"], rng=0)
    result = check_gradient(network, X, PROBABILITIES, loss="binary_cross_entropy")
    assert_right(result, network.theta.size)


FUNCTIONS = {
    "square": (lambda t: t @ t, lambda t: 2 * t),
    "exp": (lambda t: np.exp(t).sum(), np.exp),
    "log sum exp": (lambda t: np.log(np.exp(t).sum()), lambda t: np.exp(t) / np.exp(t).sum()),
    "waves": (lambda t: np.sin(20 * t).sum(), lambda t: 20 * np.cos(20 * t)),
    "rosenbrock": (
        lambda t: 100 * (t[1] - t[0] ** 2) ** 2 + (1 - t[0]) ** 2 + t[2],
        lambda t: np.array([400 * t[0] * (t[0] ** 2 - t[1]) - 2 * (1 - t[0]), 200 * (t[1] - t[0] ** 2), 1]),
    ),
    "far up": (lambda t: 1000 + np.sin(t).sum(), np.cos),
    "large entries": (lambda t: np.sum((t * 1e6) ** 2), lambda t: 2e12 * t),
    "small entries": (lambda t: np.sum((t * 1e-6) ** 2), lambda t: 2e-12 * t),
}
THETA = np.array([0.5, -1.25, 0.8])


@pytest.mark.parametrize(("f", "gradient"), FUNCTIONS.values(), ids=FUNCTIONS.keys())
@pytest.mark.parametrize("claim", ["array", "function", "list"])
def test_right_gradients_of_functions_pass(f, gradient, claim):
    claimed = {"array": gradient(THETA), "function": gradient, "list": gradient(THETA).tolist()}[claim]
    assert_right(check_gradient(f, THETA, claimed), 3)


# ---- planted errors ----------------------------------------------------------------------------------------


class Faulty(Dense):
    """A Dense layer, the gradient of which is spoilt after it is right."""

    def __init__(self, *sizes, spoil, **options):
        super().__init__(*sizes, **options)
        self.spoil = spoil

    def backward(self, dA, cache, need_dX=True):
        dX = super().backward(dA, cache, need_dX)
        return self.spoil(self, dX)


def scale_entry(name, index, factor):
    def spoil(layer, dX):
        getattr(layer, name)[index] *= factor
        return dX

    return spoil


def scale_all(name, factor):
    return scale_entry(name, ..., factor)


def network_with(spoil, dtype=np.float64):
    layers = Dense(4, 5, rng=1), Activation("tanh"), Faulty(5, 3, spoil=spoil, rng=2)
    return Network([*layers, Activation("tanh"), Dense(3, 3, rng=3)], dtype=dtype)


ENTRIES = [("weight", "dW", (o, i)) for o in range(3) for i in range(5)] + [("bias", "db", (o,)) for o in range(3)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nothing_is_wrong_before_an_error_is_planted(dtype):
    assert_right(check_gradient(network_with(scale_all("dW", 1), dtype), X, LABELS), 55)


@pytest.mark.parametrize(("block", "name", "index"), ENTRIES)
@pytest.mark.parametrize(
    ("factor", "dtype"),
    [(1.0005, np.float64), (-1, np.float64), (1.001, np.float32), (-1, np.float32)],
)
def test_one_wrong_entry_of_a_network_is_found_and_named(block, name, index, factor, dtype):
    result = check_gradient(network_with(scale_entry(name, index, factor), dtype), X, LABELS)
    entry = f"2.{block}[{', '.join(map(str, index))}]"
    assert not result
    assert not result.passed
    assert result.worst.name == entry
    assert [wrong.name for wrong in result.wrong] == [entry]
    error = abs(factor - 1) / max(abs(factor), 1)
    assert result.worst.relative_error == pytest.approx(error, rel=0.2)  # the small entries of float32 have few digits
    failing = [b.name for b in result.blocks if not b.passed]
    assert failing == [f"2.{block}"] or (failing == [] and dtype == np.float32)
    assert f"worst entry: {entry}: claimed " in str(result)
    assert str(result).endswith(f"FAIL: 1 of 55 entries wrong, {len(failing)} of 6 parameters fail")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("spoil", "failing"),
    [
        (scale_all("dW", 0.5), ["2.weight"]),
        (scale_all("dW", 2), ["2.weight"]),
        (scale_all("dW", 1.001), ["2.weight"]),
        (scale_all("dW", -1), ["2.weight"]),
        (scale_all("db", 0), ["2.bias"]),
        (scale_all("dW", 0), ["2.weight"]),
        (lambda layer, dX: dX * 1.001, ["0.weight", "0.bias"]),
        (lambda layer, dX: dX + 1e-3, ["0.weight", "0.bias"]),
        (lambda layer, dX: dX[:, ::-1].copy(), ["0.weight", "0.bias"]),
    ],
    ids=["half", "twice", "1.001", "sign", "no bias", "no weights", "dX 1.001", "dX shifted", "dX reversed"],
)
def test_a_wrong_block_is_found_and_named(spoil, failing, dtype):
    result = check_gradient(network_with(spoil, dtype), X, LABELS)
    assert not result
    assert [block.name for block in result.blocks if not block.passed] == failing
    assert result.worst.name.split("[")[0] in failing
    assert {entry.name.split("[")[0] for entry in result.wrong} <= set(failing)
    assert not result.total.passed


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weight", [None, [0.5, 0, 1, 2, 3, 0.25, 1]], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("training", [True, False])
def test_neither_weights_nor_dropout_hide_a_wrong_block(training, weight, dtype):
    """What a float32 gradient may be off is the rounding of the same pass, with the same options."""
    faulty = Faulty(5, 3, spoil=scale_all("dW", 1.01), rng=2)
    network = Network([Dense(4, 5, rng=1), Dropout(0.4, rng=4), Activation("tanh"), faulty], dtype=dtype)
    result = check_gradient(network, X, LABELS, training=training, sample_weight=weight)
    assert [block.name for block in result.blocks if not block.passed] == ["3.weight"]
    assert len(result.wrong) + len(result.undecidable) == 15


@pytest.mark.parametrize(("f", "gradient"), FUNCTIONS.values(), ids=FUNCTIONS.keys())
@pytest.mark.parametrize("factor", [1.0005, 0.9995, -1, 2, 0])
def test_one_wrong_entry_of_a_function_is_found_and_named(f, gradient, factor):
    for i in range(3):
        claimed = gradient(THETA)
        claimed[i] *= factor
        result = check_gradient(f, THETA, claimed)
        assert not result
        assert [entry.name for entry in result.wrong] == [result.worst.name] == [f"theta[{i}]"]
        assert result.worst.measured == pytest.approx(gradient(THETA)[i], rel=1e-7)


@pytest.mark.parametrize(("factor", "verdict"), [(1, "right"), (1.0005, "wrong"), (-1, "wrong")])
@pytest.mark.parametrize("far", [1e3, 1e10, -1e10])
def test_steps_grow_with_the_entry(far, factor, verdict):
    result = check_gradient(lambda t: np.sin(t[0] / far), [0.5 * far], [factor * np.cos(0.5) / far])
    assert result.worst.verdict == verdict


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["dW", "db"])
def test_a_gradient_that_is_no_number_never_passes(name, value):
    def spoil(layer, dX):
        getattr(layer, name)[0] = value
        return dX

    with pytest.raises(ValueError, match=r"gradient: expected .*finite"):
        check_gradient(network_with(spoil), X, LABELS)


# ---- kinks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("claimed", [0.0, 0.3, 1.0])
def test_at_a_kink_every_number_between_the_sides_is_right(claimed):
    result = check_gradient(lambda t: max(t[0], 0.0) + t[1], [0.0, 3.0], [claimed, 1.0])
    assert result and not result.undecidable
    assert result.measured.tolist() == [claimed, pytest.approx(1)]


@pytest.mark.parametrize("claimed", [-0.1, 1.1])
def test_at_a_kink_a_number_outside_is_undecidable(claimed):
    result = check_gradient(lambda t: max(t[0], 0.0) + t[1], [0.0, 3.0], [claimed, 1.0])
    assert result
    assert [(entry.name, entry.verdict) for entry in result.undecidable] == [("theta[0]", "undecidable")]
    entry = result.undecidable[0]
    assert (entry.left, entry.right) == (0, pytest.approx(1))
    assert "undecidable: theta[0]: " in str(result) and "the slopes on its two sides are 0 and 1" in str(result)
    assert result.worst.name == "theta[1]"
    assert (result.blocks[0].checked, result.blocks[0].size) == (1, 2)
    assert np.isnan(result.measured).tolist() == np.isnan(result.allowed).tolist() == [True, False]
    assert result.measured[1] == pytest.approx(1)


@pytest.mark.parametrize("kinks", [1, 3, 4])
def test_the_table_shows_three_kinks_and_counts_the_others(kinks):
    result = check_gradient(lambda t: float(np.abs(t).sum()), np.zeros(kinks), np.full(kinks, 2.0))
    lines = str(result).splitlines()
    assert lines[1].split()[:2] == ["theta", f"0/{kinks}"] and lines[1].endswith("  undecided")
    told = [line for line in lines if line.startswith("undecidable: theta[")]
    assert len(told) == min(kinks, 3)
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


# ---- which entries -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("entries", "least"), [(None, 2000), (40, 40), (1, 1)])
def test_a_large_network_is_checked_at_random_in_every_parameter(entries, least):
    network = MLP([40, 50, 40, 3], activation="tanh", rng=0)
    samples = np.random.default_rng(0).normal(size=(2, 40))
    result = check_gradient(network, samples, [0, 1], entries=entries, rng=0)
    assert result
    assert [block.size for block in result.blocks] == [2000, 50, 2000, 40, 120, 3]
    share = least / network.theta.size
    assert [block.checked for block in result.blocks] == [np.ceil(share * b.size) for b in result.blocks]


def test_the_entries_are_drawn_by_rng():
    seen = []

    def f(theta):
        seen.append(np.flatnonzero(theta).tolist())
        return float(theta.sum())

    drawn = []
    for rng in 3, 3, np.random.default_rng(3), 4:
        seen.clear()
        assert check_gradient(f, np.zeros(100), np.ones(100), entries=10, directions=0, rng=rng)
        drawn.append(sorted({i for moved in seen for i in moved}))
    assert len(drawn[0]) == 10
    assert drawn[0] == drawn[1] == drawn[2] != drawn[3]


@pytest.mark.parametrize("size", [1, 7, 2000, 2001])
def test_vectors_are_checked_entry_by_entry_up_to_two_thousand(size):
    result = check_gradient(lambda t: float(t @ t), np.ones(size), 2 * np.ones(size))
    assert result.blocks[0].checked == min(size, 2000)


@pytest.mark.parametrize("scale", [1.001, 0.5])
def test_a_part_of_the_entries_shows_a_wrong_block(scale):
    result = check_gradient(network_with(scale_all("dW", scale)), X, LABELS, entries=6, rng=0)
    assert not result
    assert [block.name for block in result.blocks if not block.passed] == ["2.weight"]


# ---- nothing changes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_nothing_of_the_network_changes(training):
    network, untouched = build("both", np.float64), build("both", np.float64)
    for one in network, untouched:
        fit(one, X, LABELS, epochs=1, batch_size=7, progress=False, rng=0)
    data, labels = X.copy(), LABELS.copy()
    gradient, theta = network.gradient, network.theta
    check_gradient(network, data, labels, training=training)
    assert network.theta is theta and network.gradient is gradient
    assert np.array_equal(gradient, untouched.gradient)
    for name, array in untouched.state_dict().items():
        assert np.array_equal(network.state_dict()[name], array), name
    assert np.array_equal(data, X) and np.array_equal(labels, LABELS)
    for one in network, untouched:  # and its dropout goes on with the same masks
        fit(one, X, LABELS, epochs=2, batch_size=7, progress=False, rng=1)
    assert np.array_equal(network.theta, untouched.theta)


@pytest.mark.parametrize(("index", "value"), [(0, np.nan), (2, 7.5)])
def test_a_function_that_changes_its_argument_is_named(index, value):
    def f(theta):
        result = float(theta @ theta)
        theta[index] = value
        return result

    theta, claimed = THETA.copy(), 2 * THETA
    told = f"changed its argument: theta[{index}] was {THETA[index]} before the call and {value} after it"
    with pytest.raises(ValueError, match=re.escape(told)):
        check_gradient(f, theta, claimed)
    assert np.array_equal(theta, THETA) and np.array_equal(claimed, 2 * THETA)


def test_theta_of_any_shape():
    theta = np.arange(6.0).reshape(2, 3) + 1
    claimed = 2 * theta
    claimed[1, 2] += 1
    result = check_gradient(lambda t: float((t**2).sum()), theta, claimed)
    assert result.worst.name == "theta[1, 2]"
    assert check_gradient(lambda t: float(t**2), 3.0, 6.0)


# ---- what it prints ----------------------------------------------------------------------------------------


def test_the_table_of_a_tiny_example():
    network = Network([Dense(2, 1)])
    network.theta[:] = [1.0, -0.5, 0.25]
    result = check_gradient(network, [[1.0, 2.0]], [[0.0]], loss="half_squared_error")
    assert isinstance(result, GradientCheck)
    lines = str(result).splitlines()
    assert repr(result) == str(result)
    # The numbers that are rounding noise are left out; everything else is exact.
    assert [re.sub(r"\d\.\de-\d\d", "~", line) for line in lines] == [
        "parameter        checked  relative error  tolerance",
        "0.weight             2/2         ~    ~  pass",
        "0.bias               1/1         ~    ~  pass",
        lines[3].replace(lines[3].rpartition(" ")[2], "~"),
        "noise of the function: ~, at a value of 0.03125",
        "PASS: 3 entries agree",
    ]
    assert re.fullmatch(r"worst entry: 0\.(weight\[0, [01]\]|bias\[0\]): claimed 0\.2?5, .*", lines[3])


def test_the_table_of_a_wrong_gradient():
    result = check_gradient(lambda t: t[0] + 2 * t[1], [0.0, 0.0], [1.0, 4.0])
    assert re.sub(r"\d\.\de-\d\d(?=  FAIL|, at)", "~", str(result)) == (
        "parameter        checked  relative error  tolerance\n"
        "theta                2/2         4.9e-01    ~  FAIL\n"
        "worst entry: theta[1]: claimed 4, measured 2, relative error 5.0e-01\n"
        "noise of the function: ~, at a value of 0\n"
        "FAIL: 1 of 2 entries wrong, 1 of 1 parameters fail"
    )


# ---- bad input ---------------------------------------------------------------------------------------------


def test_a_gradient_that_grows_from_call_to_call_is_named():
    total, calls = np.zeros(2), []

    def accumulated(theta):
        total[:] += 2 * theta
        return total

    with pytest.raises(ValueError, match=r"two calls gave .*1\.0.*, \.\.\. and .*2\.0.*, \.\.\., 2\.0e\+00 apart; "):
        check_gradient(lambda t: float(t @ t), [0.5, 1.0], accumulated)

    def growing(theta):
        calls.append(1)
        return np.ones(len(calls))

    with pytest.raises(ValueError, match="of two shapes; "):
        check_gradient(lambda t: float(t @ t), [0.5, 1.0], growing)


def test_a_nan_gradient_is_not_finite():
    with pytest.raises(ValueError, match=r"gradient: expected .*finite"):
        check_gradient(lambda t: float(t @ t), [0.5, 1.0], lambda t: t * np.nan)


def noisy():
    generator = np.random.default_rng(0)
    return lambda theta: float(theta.sum() + generator.normal())


def total(theta):
    return float(theta.sum())


@pytest.mark.parametrize(
    ("arguments", "options", "error", "match"),
    [
        (
            (total, THETA, np.ones(2)),
            {},
            ValueError,
            r"gradient: expected the shape of theta \(3,\), got \(2,\)",
        ),
        ((total, THETA, np.ones((3, 1))), {}, ValueError, r"shape of theta \(3,\), got \(3, 1\)"),
        ((total, THETA, lambda t: t[:2]), {}, ValueError, r"got \(2,\)"),
        ((total, THETA, [1, np.nan, 1]), {}, ValueError, "gradient: expected .*finite"),
        ((total, THETA, [1, np.inf, 1]), {}, ValueError, "gradient: expected .*finite"),
        ((total, [], []), {}, ValueError, "at least one entry"),
        ((total, THETA, np.ones(3)), {"method": "backward"}, ValueError, "method: expected one of forward, central, "),
        ((total, THETA, np.ones(3)), {"method": None}, ValueError, "richardson, complex; got None"),
        (
            (lambda t: t, THETA, np.ones(3)),
            {},
            TypeError,
            "the function: expected it to return one real number",
        ),
        ((lambda t: t[:1], THETA, np.ones(3)), {}, TypeError, "one real number"),
        ((lambda t: 1j, THETA, np.ones(3)), {}, TypeError, "one real number, got 1j"),
        ((lambda t: True, THETA, np.ones(3)), {}, TypeError, "one real number, got True"),
        ((lambda t: None, THETA, np.ones(3)), {}, TypeError, "one real number, got None"),
        ((lambda t: "0.5", THETA, np.ones(3)), {}, TypeError, "one real number, got '0.5'"),
        ((lambda t: np.nan, THETA, np.ones(3)), {}, ValueError, "the function: expected .*finite.* got nan"),
        ((lambda t: np.inf, THETA, np.ones(3)), {}, ValueError, "the function: expected .*finite.* got inf"),
        ((noisy(), THETA, np.ones(3)), {}, ValueError, "not deterministic: two calls gave .* fixed seed"),
        (
            (total, THETA, np.ones(3)),
            {"entries": 0},
            ValueError,
            "entries: expected an integer of at least 1, got 0",
        ),
        (
            (total, THETA, np.ones(3)),
            {"entries": -3},
            ValueError,
            "entries: expected an integer of at least 1",
        ),
        ((total, THETA, np.ones(3)), {"entries": 1.5}, TypeError, "entries: expected an integer"),
        ((MLP([4, 3], rng=0), X[:, :2], LABELS), {}, ValueError, r"X: expected shape \(N, 4\)"),
        ((MLP([4, 3], rng=0), X, LABELS + 1), {}, ValueError, "from 0 to 2, got 3"),
        ((MLP([4, 3], rng=0), X, REALS * np.nan), {"loss": "mse_loss"}, ValueError, "y: expected finite"),
        ((MLP([4, 3], rng=0), X, LABELS), {"loss": "crossentropy"}, ValueError, "loss: expected one of"),
        ((MLP([4, 3], rng=0), X, LABELS), {"sample_weight": [1, 2]}, ValueError, "one weight per sample"),
        ((Network([Activation("tanh")]), X[:, :3], LABELS), {}, ValueError, "at least one (entry|parameter)"),
    ],
)
def test_bad_input_is_refused(arguments, options, error, match):
    with pytest.raises(error, match=match):
        check_gradient(*arguments, **options)


# ---- what differences cannot tell -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "x", "claimed"),
    [
        (lambda t: abs(t[0]), 0.0, 1.3),
        (lambda t: 1e15 + t[0] ** 2, 1.0, 6.0),
        (lambda t: 1e15 + t[0] ** 2, 1.0, 2.0),
        (lambda t: t[0] ** 3, 1e-12, 1e-23),
        (lambda t: np.sin(1e9 * t[0]), 0.3, 1e9 * np.cos(3e8)),
    ],
    ids=["kink", "drowned, wrong", "drowned, right", "tiny", "waves"],
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


# ---- how well it measures -------------------------------------------------------------------------------------------

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
    """A stair of 4e-6 at 50 is wider than what a slope of 1e-5 climbs within any step."""
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


# ---- the checker ----------------------------------------------------------------------------------------------------


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
    near = SimpleNamespace(measure=lambda *arguments: next(found), scale=lambda i: np.ones(1), base=0.0)
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


# ---- sums and texts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slope", [0.0, 3.0])
def test_a_parameters_tolerance_is_relative_to_its_norm(slope):
    check = check_gradient(lambda t: 1 + slope * t.sum(), [1.0, 2.0], [slope, slope])
    norm = slope * np.sqrt(2) or 1.0  # of nothing, nothing is divided
    assert check.blocks[0].tolerance == pytest.approx(np.linalg.norm(check.allowed) / norm, rel=1e-9, abs=0)
    assert check.blocks[0].tolerance > 0


@pytest.mark.parametrize("method", ["richardson", "complex"])
def test_a_gradient_may_hold_numbers_of_any_kind(method):
    halves = [Fraction(1, 2), Fraction(3, 2)]
    for gradient in halves, lambda t: halves:
        check = check_gradient(lambda t: 0.5 * t[0] + 1.5 * t[1], [1.0, 2.0], gradient, method=method)
        assert check and isinstance(check.worst.claimed, float)


def test_what_was_left_undecided_is_told_beside_what_agrees():
    told = str(check_gradient(lambda t: abs(t[0]) + t[1], [0.0, 1.0], [2.0, 1.0])).splitlines()[-1]
    assert told == "PASS: 1 entries agree, 1 undecided"


def test_the_worst_entry_exceeds_its_tolerance_most():
    claimed, allowed = np.array([2.0, 1.5, 99.0]), np.array([1.0, 0.125, 0.125])
    verdicts = np.array(["right", "wrong", "undecidable"])
    entries = Entries(np.arange(3), claimed, np.ones(3), np.ones(3), np.ones(3), allowed, verdicts)
    subject = SimpleNamespace(names={"b": np.arange(3)}, theta=np.zeros(3), claimed=claimed)
    result = summary_of(subject, {"b": entries}, {}, 0.0, 0.0)
    assert (result.worst.name, result.worst.error, result.worst.allowed) == ("b[1]", 0.5, 0.125)
    assert [entry.name for entry in result.undecidable] == ["b[2]"]
