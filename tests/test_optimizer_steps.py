"""Steps of optimizers: the vectors that they change, their blocks and state arrays, and chains of them."""

from __future__ import annotations

import dataclasses
import inspect

import numpy as np
import pytest
from optimizers_of_tests import (
    MAKERS,
    SIZE,
    descend,
    gradient_at,
    make_id,
    read_only,
    start,
)

from handmade import _steps
from handmade._steps import BLOCK, Elementwise
from handmade.clipping import L1, ClipGradNorm, ClipGradValue, MaxNorm
from handmade.optimizers import (
    ASGD,
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Chain,
    Lion,
    Momentum1986,
    NAdam,
    RAdam,
    RMSprop,
    Rprop,
)
from handmade.optimizers._common import Optimizer


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7])
@pytest.mark.parametrize("maker", MAKERS, ids=make_id)
def test_blocks_do_not_show_in_the_result(maker, size, monkeypatch):
    theta = descend(maker(), start(size, np.float32), steps=2)
    monkeypatch.setattr(_steps, "BLOCK", 10 * BLOCK)
    np.testing.assert_array_equal(theta, descend(maker(), start(size, np.float32), steps=2))


@pytest.mark.parametrize("maker", MAKERS[:-1], ids=make_id)
def test_the_gradient_is_not_touched(maker):
    optimizer, theta = maker(), start(SIZE)
    gradient = gradient_at(0, theta)
    expected = gradient.copy()
    gradient.flags.writeable = False
    optimizer.step(theta, gradient)
    optimizer.step(theta, gradient)
    np.testing.assert_array_equal(gradient, expected)


def test_state_arrays_are_public_and_made_at_the_first_step():
    optimizer, theta = RMSprop(momentum=0.9), start(SIZE, np.float32)
    assert optimizer.t == 0 and optimizer.square_avg is None and optimizer.momentum_buffer is None
    optimizer.step(theta, gradient_at(0, theta))
    for array in (optimizer.square_avg, optimizer.momentum_buffer):
        assert array.shape == theta.shape and array.dtype == np.float32 and np.any(array)
    assert optimizer.t == 1 and optimizer.grad_avg is None


@pytest.mark.parametrize("ours", [type(maker()) for maker in MAKERS if not isinstance(maker(), Chain)])
def test_a_class_holds_no_state_of_its_optimizers(ours):
    declared = [name for name in ours.__annotations__ if "ClassVar" in str(ours.__annotations__[name])]
    assert [getattr(ours, name) for name in declared] == [None] * len(declared)


def test_a_new_optimizer_descends_unless_it_says_otherwise():
    @dataclasses.dataclass(eq=False)
    class Plain(Optimizer):
        lr: float = 0.5

        def _update(self, theta, gradient):
            theta -= self.lr * self._descent_gradient(theta, gradient)

    theta = np.ones(2)
    Plain().step(theta, np.array([2.0, 4.0]))
    assert theta.tolist() == [0.0, -1.0]


def test_a_formula_of_your_own_keeps_its_state():
    @dataclasses.dataclass(eq=False)
    class Total(Elementwise):
        def _initial_state(self):
            return {"total": 0.5}

        def _update(self, theta, gradient, total):
            total += gradient
            theta -= total

    optimizer, theta = Total(), np.zeros(3)
    assert optimizer.total is None
    for _ in range(2):
        optimizer.step(theta, np.ones(3))
    assert theta.tolist() == [-4.0] * 3


@pytest.mark.parametrize(
    ("optimizer", "made"),
    [
        (SGD(), []),
        (SGD(momentum=0.9), ["momentum_buffer"]),
        (Momentum1986(), ["velocity"]),
        (Adagrad(), ["sum"]),
        (RMSprop(), ["square_avg"]),
        (RMSprop(centered=True), ["square_avg", "grad_avg"]),
        (RMSprop(momentum=0.9), ["square_avg", "momentum_buffer"]),
        (Adam(), ["exp_avg", "exp_avg_sq"]),
        (AdamW(amsgrad=True), ["exp_avg", "exp_avg_sq", "max_exp_avg_sq"]),
        (NAdam(), ["exp_avg", "exp_avg_sq"]),
        (RAdam(), ["exp_avg", "exp_avg_sq"]),
        (Adamax(), ["exp_avg", "exp_inf"]),
        (Adadelta(), ["square_avg", "acc_delta"]),
        (Rprop(), ["prev", "step_size"]),
        (ASGD(), ["ax"]),
        (Lion(), ["exp_avg"]),
    ],
    ids=repr,
)
def test_only_the_state_that_the_options_need_is_kept(optimizer, made):
    theta = start(SIZE)
    optimizer.step(theta, gradient_at(0, theta))
    arrays = [name for name, value in optimizer.state_dict().items() if isinstance(value, np.ndarray)]
    assert arrays == made


@pytest.mark.parametrize("other", ["theta", "gradient"])
def test_step_moves_the_vectors_it_is_given(other):
    """After a step on two vectors one of them is another: what a fresh optimizer in the same state does is right."""
    theta, gradient = start(SIZE), gradient_at(0, start(SIZE))
    optimizer, fresh = Adam(lr=0.1), Adam(lr=0.1)
    optimizer.step(theta, gradient)
    fresh.load_state_dict(optimizer.state_dict())
    new_theta = start(SIZE) if other == "theta" else theta
    new_gradient = gradient_at(1, theta) if other == "gradient" else gradient
    before, expected = theta.copy(), new_theta.copy()
    fresh.step(expected, new_gradient)
    optimizer.step(new_theta, new_gradient)
    np.testing.assert_array_equal(new_theta, expected)
    assert np.array_equal(theta, before) == (other == "theta")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_everything_of_an_optimizer_has_the_dtype_of_theta(dtype):
    optimizer, theta = Adam(amsgrad=True), start(SIZE, dtype)
    optimizer.step(theta, gradient_at(0, theta))
    arrays = [optimizer.exp_avg, optimizer.exp_avg_sq, optimizer.max_exp_avg_sq]
    assert {array.dtype for array in arrays} == {np.dtype(dtype)}


def test_a_step_takes_arrays_of_a_subclass(tmp_path):
    theta = np.memmap(tmp_path / "theta", np.float64, "w+", shape=3)
    Adam(lr=0.5).step(theta, np.ones(3))
    np.testing.assert_allclose(theta, -0.5, rtol=1e-7)


def test_an_array_that_is_only_read_may_be_read_only():
    _steps.check_array(read_only(np.ones(3)), "weight", 1)
    with pytest.raises(ValueError, match=r"^weight: expected an array to change in place"):
        _steps.check_array(read_only(np.ones(3)), "weight", 1, writeable=True)


def test_a_chain_is_its_steps_in_order():
    theta, other = start(12), start(12)
    chain = Chain(L1(0.1), ClipGradNorm(1.0), SGD(lr=0.1, momentum=0.9), MaxNorm([theta.reshape(3, 4)], 2.0))
    steps = L1(0.1), ClipGradNorm(1.0), SGD(lr=0.1, momentum=0.9), MaxNorm([other.reshape(3, 4)], 2.0)
    for t in range(5):
        gradient = gradient_at(t, theta)
        other_gradient = gradient.copy()
        chain.step(theta, gradient)
        for step in steps:
            step.step(other, other_gradient)
        np.testing.assert_array_equal(theta, other)


def test_a_chain_has_the_learning_rate_of_its_optimizer():
    adam = Adam(lr=0.5)
    chain = Chain(L1(0.1), adam)
    chain.lr = 0.25
    chain.betas = (0.5, 0.5)
    assert (adam.lr, chain.lr, adam.betas, chain.betas) == (0.25, 0.25, (0.5, 0.5), (0.5, 0.5))
    assert not hasattr(chain, "momentum")


def test_a_chain_passes_momentum_on_to_its_optimizer():
    chain = Chain(ClipGradValue(1.0), SGD(lr=0.1, momentum=0.5))
    chain.momentum = 0.25
    assert chain.momentum == chain.optimizer.momentum == 0.25
    assert inspect.getdoc(Chain.lr) == "`lr` of the chain's optimizer, to read and to set."
