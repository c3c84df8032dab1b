"""Ctrl-C between any two lines: no optimizer that is stuck, no history of lists of different length."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress

import numpy as np
import pytest

import handmade as hm
from tests.fuzz.calls import OPTIMIZERS
from tests.interrupts import Interrupt

# The tests interrupt by tracing: a debugger or a measure of coverage would lose its own trace.
pytestmark = pytest.mark.skipif(sys.gettrace() is not None, reason="another tool traces the lines")


@pytest.mark.parametrize("action", ["load", "pass"])
def test_an_interrupt_leaves_no_lock_held(action):
    X, y, state = np.ones((2, 2)), np.array([0, 1]), hm.MLP([2, 3, 2], rng=1).state_dict()

    def begin():
        network = hm.MLP([2, 3, 2], rng=0)
        actions = {"load": lambda: network.load_state_dict(state), "pass": lambda: network.loss_and_gradient(X, y)}
        return network, actions[action], actions

    counter = Interrupt()
    counter.run(begin()[1])
    for line in range(1, counter.seen + 1):
        network, call, actions = begin()
        with suppress(KeyboardInterrupt):
            Interrupt(line).run(call)
        done = []
        for again in [*actions.values(), lambda: network.predict(X)]:  # noqa: B023
            thread = threading.Thread(target=lambda: done.append(again()), daemon=True)  # noqa: B023
            thread.start()
            thread.join(10)
        assert len(done) == 3, line


@pytest.mark.parametrize("make", OPTIMIZERS, ids=lambda make: make.__name__)
def test_a_step_after_an_interrupted_one_moves_every_parameter(make):
    gradient = np.array([0.1, -0.2, 0.3, 0.4])

    def begin():
        optimizer = make(lr=0.1)
        optimizer.bind(hm.Network([hm.Dense(2, 2, bias=False)]))
        return optimizer, np.ones(4)

    counter, (optimizer, theta) = Interrupt(), begin()
    counter.run(lambda: optimizer.step(theta, gradient))
    for line in range(1, counter.seen + 1):
        optimizer, theta = begin()
        with suppress(KeyboardInterrupt):
            Interrupt(line).run(lambda: optimizer.step(theta, gradient))  # noqa: B023
        for _ in range(2):
            before = theta.copy()
            optimizer.step(theta, gradient)
            assert np.all(theta != before) and np.all(np.isfinite(theta)), line


def test_an_interrupted_fit_keeps_whole_epochs_and_goes_on():
    X, y = hm.data.xor()
    held, options = (X, y), dict(epochs=3, batch_size=2, progress=False, metrics="accuracy", early_stopping=2)

    def begin():
        network = hm.MLP([2, 3, 2], "tanh", rng=0)
        return lambda: hm.fit(network, X, y, validation=held, rng=0, **options)

    counter, fit = Interrupt(), begin()
    expected = counter.run(fit)
    lines = np.random.default_rng(0).choice(np.arange(1, counter.seen + 1), 100, replace=False)
    stopped = 0
    for line in lines:
        fit = begin()
        with suppress(KeyboardInterrupt):  # before training, or while the best epoch is restored
            history = Interrupt(line).run(fit)
            stopped += history.stopped == "interrupted"
            lists = [history.loss, history.validation_loss, history.lr, history.seconds, *history.metrics.values()]
            assert {len(one) for one in lists} == {len(history)}
            assert history.loss == expected.loss[: len(history)]
        assert np.isfinite(fit().loss).all()
    assert stopped > 30
