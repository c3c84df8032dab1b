"""Before its first step `fit` refuses callbacks, schedules, optimizers and metrics with methods it could not call."""

from __future__ import annotations

import numpy as np
import pytest
from trainings import fit, samples

from handmade import MLP, SGD, StepLR

WRONG = [3, "later", {"a": 1}, False, object(), (lambda: None,)]  # as methods


def thing(**attributes):
    """Return an object that may be called, with further attributes."""
    return type("Mine", (), {"__call__": lambda self, network, history: None, **attributes})()


def refused(match, **options):
    """Train, and return whether that was refused before anything changed."""
    X, y = samples(12)
    network = MLP([3, 3], rng=0)
    before = network.theta.copy()
    with pytest.raises(TypeError, match=match):
        fit(network, X, y, epochs=2, **options)
    return (network.theta == before).all()


@pytest.mark.parametrize("hook", ["on_batch", "state_dict", "load_state_dict"])
@pytest.mark.parametrize("value", WRONG)
def test_a_hook_of_a_callback_that_is_no_function_is_refused(hook, value):
    words = rf"^callbacks: expected a method {hook}\(.*\), got .* of .*Mine"
    assert refused(words, callbacks=thing(**{hook: value}))


@pytest.mark.parametrize("hook", ["state_dict", "load_state_dict"])
@pytest.mark.parametrize("value", WRONG)
def test_a_state_of_a_step_that_is_no_function_is_refused(hook, value):
    words = rf": expected a method {hook}\(.*\), got .* of .*Mine"
    step = {"step": lambda self, *vectors: None}
    assert refused(f"^optimizer{words}", optimizer=thing(**step, **{hook: value}))
    assert refused(f"^schedule{words}", schedule=thing(**step, **{hook: value}))


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"on_batch": lambda self: None}, r"on_batch\(network, loss\)"),
        ({"on_batch": lambda self, network: None}, r"on_batch\(network, loss\)"),
        ({"on_batch": lambda self, network, loss, epoch: None}, r"on_batch\(network, loss\)"),
        ({"state_dict": lambda self, deep: {}}, r"state_dict\(\)"),
        ({"load_state_dict": lambda self: None}, r"load_state_dict\(state_dict\)"),
    ],
)
def test_a_hook_with_other_arguments_is_refused(attributes, words):
    assert refused(f"^callbacks: expected a method {words}, got", callbacks=[thing(**attributes)])


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"step": lambda self, metric: None}, r"step\(\)"),
        ({"step": lambda self: None, "needs_metric": True}, r"step\(metric\)"),
        ({"step": lambda: None}, r"step\(\)"),
    ],
)
@pytest.mark.parametrize("when", ["epoch", "batch"])
def test_a_step_of_a_schedule_with_other_arguments_is_refused(attributes, words, when):
    if attributes.get("needs_metric"):
        when = "epoch"
    assert refused(f"^schedule: expected a method {words}, got", schedule=[(thing(**attributes), when)])


@pytest.mark.parametrize("metric", [lambda output: 0.0, lambda: 0.0, lambda a, b, c: 0.0, np.float64, object])
def test_a_metric_that_does_not_take_output_and_y_is_refused(metric):
    assert refused("^metrics: expected functions of the output and y, got", metrics=["accuracy", metric])


@pytest.mark.parametrize("step", [None, 3, "step"])
def test_a_compile_that_returns_no_step_is_refused(step):
    assert refused("^compile: expected a function that returns a step", compile=lambda *parts: step)


@pytest.mark.parametrize("hook", ["part", "batches"])
@pytest.mark.parametrize("value", [3, slice(2), lambda self: None])
def test_a_hook_of_a_step_that_is_no_function_is_refused(hook, value):
    words = rf"^compile: expected a method {hook}\((rows|X, y, weight, order, size)\), got"
    assert refused(words, compile=lambda *parts: thing(**{hook: value}))


@pytest.mark.parametrize("loss", [None, "0.5", [0.5], np.ones(2)])
def test_a_step_that_returns_no_loss_is_named(loss):
    assert refused(
        "^compile: expected the loss of each step as a number, got", compile=lambda *parts: lambda X, y, w: loss
    )
    searching = thing(step=lambda self, theta, gradient, evaluate: loss, needs_evaluate=True, lr=0.1)
    assert refused("^optimizer: expected the loss of each step as a number, got", optimizer=searching, batch_size=None)


def test_a_backpropagate_that_returns_no_loss_is_named():
    class Mine(MLP):
        def backpropagate(self, *arguments):
            return None, super().backpropagate(*arguments)[1]

    X, y = samples(12)
    with pytest.raises(TypeError, match=r"^backpropagate: expected the loss of each step as a number, got None"):
        fit(Mine([3, 3], rng=0), X, y)


def test_hooks_that_are_none_or_take_more_are_fine(tmp_path):
    X, y = samples(12)
    calls = []
    absent = thing(on_batch=None, state_dict=None, load_state_dict=None)
    generous = thing(
        on_batch=lambda self, *anything, **more: calls.append(anything),
        state_dict=lambda self, deep=False: {"a": 1.0},
        load_state_dict=lambda self, state_dict, network: calls.append("loaded"),
    )
    optimizer = SGD(lr=0.1)
    for epochs in 1, 2:
        network = MLP([3, 3], rng=0)
        options = {"callbacks": [absent, generous], "optimizer": optimizer, "schedule": StepLR(optimizer, 1)}
        fit(network, X, y, epochs=epochs, batch_size=4, checkpoint=tmp_path / "a", rng=0, **options)
    assert [call == "loaded" for call in calls] == [False] * 3 + [True] + [False] * 3
