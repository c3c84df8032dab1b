"""Validation data and metrics in `fit`."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from oracles import assert_close
from trainings import assert_same_state, fit, flat, mean_output, rows_seen, samples, state, stateful, targets

import handmade as hm
from handmade import MLP, losses
from handmade.metrics import accuracy, r2_score, top_k_accuracy


@pytest.mark.parametrize(("N", "fraction", "held"), [(10, 0.25, 3), (10, 0.1, 1), (7, 0.5, 4), (2, 0.01, 1)])
@pytest.mark.filterwarnings("ignore:unchanged parameters")  # its optimizer only looks on
def test_a_fraction_is_set_aside_at_random(N, fraction, held):
    trained = [set(flat(rows_seen(N, validation=fraction, epochs=3, batch_size=1, rng=rng))) for rng in range(8)]
    assert {len(rows) for rows in trained} == {N - held}
    assert len({frozenset(rows) for rows in trained}) > 1


@pytest.mark.filterwarnings("ignore:unchanged parameters")  # its optimizer only looks on
def test_held_out_samples_are_never_trained_on():
    X, y = samples(40)
    options = {"validation": 0.25, "rng": 5, "batch_size": 8, "epochs": 3}
    held = sorted(set(range(40)) - set(flat(rows_seen(40, **options))))
    X_poisoned, y_poisoned = X.copy(), y.copy()
    X_poisoned[held], y_poisoned[held] = 1e3, (y[held] + 1) % 3
    networks, histories = [stateful(), stateful()], []
    for network, data in zip(networks, [(X, y), (X_poisoned, y_poisoned)], strict=True):
        histories.append(fit(network, *data, **options))
        expected = losses.cross_entropy(network.predict(data[0][held]), data[1][held])
        assert histories[-1].validation_loss[-1] == expected
    assert len(held) == 10
    assert_same_state(state(networks[1]), state(networks[0]))
    assert histories[1].loss == histories[0].loss
    assert histories[1].validation_loss != histories[0].validation_loss


@pytest.mark.parametrize(
    "loss",
    ["cross_entropy", "mse_loss", functools.partial(losses.huber_loss, delta=0.5)],
    ids=["index", "mse", "partial"],
)
def test_validation_loss_is_reported_and_changes_nothing(loss):
    X, y = samples(20)[0], targets(loss, 20)
    held = samples(30, seed=6)[0], targets(loss, 30, seed=7)
    with_validation, without = stateful(), stateful()
    states = []
    options = {"loss": loss, "batch_size": 8, "epochs": 3, "rng": 2, "sample_weight": np.arange(20)}
    history = fit(
        with_validation,
        X,
        y,
        validation=held,
        callbacks=lambda network, _: states.append(network.state_dict()),
        **options,
    )
    fit(without, X, y, **options)
    assert_same_state(state(with_validation), state(without))
    judge = losses.find_loss(loss).value
    for epoch_state, value in zip(states, history.validation_loss, strict=True):
        without.load_state_dict(epoch_state)
        assert value == judge(without.predict(held[0]), held[1])
    assert history.best_epoch == np.argmin(history.validation_loss)


def test_more_validation_data_than_one_block():
    X, y = samples(20)
    held = samples(3000, seed=6)
    network = MLP([3, 5, 3], rng=0)
    history = fit(network, X, y, epochs=1, validation=held)
    one_by_one = [losses.cross_entropy(network.predict([x]), [label]) for x, label in zip(*held, strict=True)]
    expected = np.mean(one_by_one)
    assert_close(np.array(history.validation_loss[-1]), expected, operations=3000)


def test_rows_that_depend_on_others_are_evaluated_together():
    network = hm.Network([hm.Dense(3, 3, rng=0), hm.Activation("softmax", dim=0)])

    def total(H, y):
        return H.sum(axis=0)[0]

    X, y = samples(20)[0], targets("mse_loss", 20)
    held = samples(1500, seed=6)[0], targets("mse_loss", 1500)
    options = dict(loss="mse_loss", epochs=1, validation=held, metrics=total)
    history = fit(network, X, y, **options)
    assert history.metrics["total"][-1] == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("validates", [False, True])
def test_metrics_by_name_and_by_function(validates):
    X, y = samples(20)
    judged = samples(12, seed=6) if validates else (X, y)
    network = stateful()
    history = fit(network, X, y, epochs=3, metrics=["accuracy", mean_output], validation=judged if validates else None)
    assert {name: len(values) for name, values in history.metrics.items()} == {
        "accuracy": 3,
        "mean_output": 3,
    }
    output = network.predict(judged[0])
    assert history.metrics["accuracy"][-1] == accuracy(output, judged[1])
    assert history.metrics["mean_output"][-1] == output.mean()
    assert history.best_epoch is None or validates


def test_the_metric_of_a_regression():
    X, Y = samples(20)[0], targets("mse_loss", 20)
    network = MLP([3, 5, 3], rng=0)
    history = fit(network, X, Y, loss="mse_loss", epochs=1, metrics=[r2_score])
    assert history.metrics == {"r2_score": [r2_score(network.predict(X), Y)]}


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        (max, r"a function of the output and y, got <built-in function max>: operands could not be"),
        (lambda output, *, y: 1.0, r"functions of the output and y, got <function .*; write metric\(output, y\)$"),
        (len, r"functions of the output and y, got <built-in function len>; write metric\(output, y\)$"),
        (lambda output, y: None, "<lambda> to return a number, got None$"),
        (lambda output, y: "0.5", "<lambda> to return a number, got '0.5'$"),
        (lambda output, y: y, r"<lambda> to return a number, got array\("),
        (lambda output, y: 10**400, "<lambda> to return a number, got 10000"),
    ],
)
def test_a_metric_of_other_arguments_or_results_is_named(metric, words):
    network = MLP([3, 3], rng=0)
    before = network.theta.copy()
    with pytest.raises((TypeError, ValueError), match=f"^metrics: expected {words}"):
        fit(network, *samples(), epochs=1, metrics=[metric])
    np.testing.assert_array_equal(network.theta, before)


class OutOfOrder(Exception):
    pass


def out_of_order(output, y):
    raise OutOfOrder("the cause")


@pytest.mark.parametrize(
    ("metric", "error", "words"),
    [
        (np.argmax, TypeError, "only int"),
        (lambda output, y: output.loss, AttributeError, "'numpy.ndarray' object"),
        (lambda output, y: output[y, 3], IndexError, "index 3 is out of bounds"),
        (lambda output, y: {"a": 1}["b"], KeyError, "b"),
        (lambda output, y: accuracy(output, y + 3), ValueError, "^y: expected labels 0 to 2, got "),
        (functools.partial(top_k_accuracy, k=9), ValueError, "^k: expected an integer from 1 to 3"),
        (out_of_order, OutOfOrder, "^the cause"),
    ],
)
def test_an_error_within_a_metric_is_told_the_shapes(metric, error, words):
    with pytest.raises(error, match=words) as caught:
        fit(MLP([3, 3], rng=0), *samples(), epochs=1, metrics=metric)
    (note,) = caught.value.__notes__
    assert note.endswith("was called as metric(output, y), with shapes (2, 3) and (2,)")
