"""check_gradient: right gradients pass, planted errors do not."""

from __future__ import annotations

import functools
import re

import numpy as np
import pytest
from checked_gradients import (
    ARCHITECTURES,
    LABELS,
    PROBABILITIES,
    REALS,
    TARGETS,
    THETA,
    Faulty,
    X,
    assert_right,
    build,
    network_with,
    scale_all,
    scale_entry,
    total,
)

from handmade import MLP, Activation, Dense, Dropout, Layer, Network, check_gradient, fit, losses

# ---- right gradients -------------------------------------------------------------------------------------------------


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
    message = {}, {"training": True}, {"training": False}
    default, training, outside = (check_gradient(network, X, LABELS, **options).value for options in message)
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


@pytest.mark.parametrize(("f", "gradient"), FUNCTIONS.values(), ids=FUNCTIONS.keys())
@pytest.mark.parametrize("claim", ["array", "function", "list"])
def test_right_gradients_of_functions_pass(f, gradient, claim):
    claimed = {"array": gradient(THETA), "function": gradient, "list": gradient(THETA).tolist()}[claim]
    assert_right(check_gradient(f, THETA, claimed), 3)


# ---- planted errors --------------------------------------------------------------------------------------------------

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


# ---- which entries ---------------------------------------------------------------------------------------------------


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


# ---- nothing changes -------------------------------------------------------------------------------------------------


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
    message = f"changed its argument: theta[{index}] was {THETA[index]} before the call and {value} after it"
    with pytest.raises(ValueError, match=re.escape(message)):
        check_gradient(f, theta, claimed)
    assert np.array_equal(theta, THETA) and np.array_equal(claimed, 2 * THETA)


def test_theta_of_any_shape():
    theta = np.arange(6.0).reshape(2, 3) + 1
    claimed = 2 * theta
    claimed[1, 2] += 1
    result = check_gradient(lambda t: float((t**2).sum()), theta, claimed)
    assert result.worst.name == "theta[1, 2]"
    assert check_gradient(lambda t: float(t**2), 3.0, 6.0)


# ---- bad input -------------------------------------------------------------------------------------------------------


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


class Noisy(Layer):
    """A layer whose random numbers have no generator that a copy would take along."""

    def forward(self, X, training=False):
        noise = np.random.random(X.shape)  # noqa: NPY002
        return X * noise, noise

    def backward(self, dH, noise, need_dX=True):
        return dH * noise if need_dX else None


def test_a_layer_that_draws_unseeded_numbers_is_named_so():
    network = Network([Dense(3, 2, rng=0), Noisy()])
    with pytest.raises(ValueError, match=r"^the function is not deterministic: two calls gave .* fixed seed"):
        check_gradient(network, np.ones((4, 3)), [0, 1, 0, 1])


def test_the_progress_of_a_check_is_true_or_false():
    with pytest.raises(TypeError, match=r"^progress: expected True or False, got 1$"):
        check_gradient(MLP([3, 2], rng=0), np.ones((2, 3)), [0, 1], progress=1)
