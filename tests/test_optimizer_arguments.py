"""Hyperparameters and vectors that an optimizer refuses, by name, and without a change."""

from __future__ import annotations

import copy
import dataclasses
import gc
import math
import pickle
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
from optimizers_of_tests import (
    MAKERS,
    SIZE,
    assert_same_state,
    descend,
    gradient_at,
    make_id,
    memory_of,
    read_only,
    start,
)

from handmade import MLP
from handmade._steps import Elementwise, Step, check_optimizer
from handmade.clipping import L1, ClipGradNorm, ClipGradValue, MaxNorm, clip_grad_norm_, clip_grad_value_
from handmade.lr_finder import find_lr
from handmade.optimizers import (
    ASGD,
    SGD,
    Adadelta,
    Adafactor,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Chain,
    Lion,
    Momentum1986,
    Muon,
    NAdam,
    RAdam,
    RMSprop,
    Rprop,
)
from handmade.training import fit

IN_TORCH = [SGD, ASGD, Rprop, Adagrad, RMSprop, Adadelta, Adam, AdamW, NAdam, RAdam, Adamax]


OVERLAPPING = np.ones(SIZE + 1)


@pytest.mark.parametrize(
    ("theta", "gradient", "error", "words"),
    [
        ([1.0], np.ones(1), TypeError, "theta: expected a NumPy array, got list"),
        (np.ones(SIZE), None, TypeError, "gradient: expected a NumPy array, got NoneType"),
        (np.ma.ones(SIZE), np.ones(SIZE), TypeError, "^theta: expected an array without a mask, got MaskedArray; fill"),
        (
            np.ones(SIZE),
            np.ma.ones(SIZE),
            TypeError,
            "^gradient: expected an array without a mask, got MaskedArray; fill",
        ),
        (np.ones(SIZE, "i8"), np.ones(SIZE), TypeError, "theta: expected float32 or float64, got int64"),
        (np.ones(SIZE), np.ones(SIZE, "c16"), TypeError, "gradient: expected float32 or .* got complex128"),
        (np.ones(SIZE), np.ones(SIZE, "f4"), ValueError, "gradient: .*float64 as theta has, got .*float32"),
        (np.ones(SIZE), np.ones(SIZE + 1), ValueError, r"gradient: expected shape \(257,\).*got \(258,\)"),
        (np.ones((SIZE, 1)), np.ones((SIZE, 1)), ValueError, r"theta: expected 1 dimension.*\(257, 1\)"),
        (np.ones(2 * SIZE)[::2], np.ones(SIZE), ValueError, r"theta: expected a contiguous vector.*\(16,\)"),
        (read_only(np.ones(SIZE)), np.ones(SIZE), ValueError, "theta: .*read-only"),
        (OVERLAPPING[1:], OVERLAPPING[:-1], ValueError, "gradient: .*overlap with theta"),
        (np.ones(3), np.ones(3), ValueError, r"expected shape \(257,\).*got \(3,\).*make a new optimizer"),
        (np.ones(SIZE, "f4"), np.ones(SIZE, "f4"), ValueError, "float64 .*float32; make a new optimizer"),
    ],
)
@pytest.mark.parametrize("maker", MAKERS, ids=make_id)
def test_a_failed_step_changes_nothing(maker, theta, gradient, error, words):
    optimizer = maker()
    descend(optimizer, start(SIZE), steps=2)
    before, vectors = memory_of(optimizer), copy.deepcopy((theta, gradient))
    with pytest.raises(error, match=words):
        optimizer.step(theta, gradient)
    assert_same_state(optimizer.state_dict(), before)
    np.testing.assert_array_equal(theta, vectors[0])
    np.testing.assert_array_equal(gradient, vectors[1])


def test_vectors_made_read_only_between_steps_are_noticed():
    optimizer, theta, gradient = Chain(L1(0.1), Adam()), np.ones(SIZE), np.ones(SIZE)
    optimizer.step(theta, gradient)
    for vector, name in [(gradient, "gradient"), (theta, "theta")]:
        before = memory_of(optimizer)
        vector.flags.writeable = False
        with pytest.raises(ValueError, match=f"{name}: .*read-only"):
            optimizer.step(theta, gradient)
        assert_same_state(optimizer.state_dict(), before)


@pytest.mark.parametrize("optimizer", [SGD(momentum=0.9), Adam(), Chain(L1(0.1), SGD())], ids=repr)
def test_a_gradient_reshaped_between_steps_is_noticed(optimizer):
    theta, gradient = np.ones(SIZE), np.ones(SIZE)
    optimizer.step(theta, gradient)
    moved, before = theta.copy(), memory_of(optimizer)
    gradient.resize((1, SIZE), refcheck=False)
    with pytest.raises(ValueError, match=r"^gradient: expected 1 dimension"):
        optimizer.step(theta, gradient)
    np.testing.assert_array_equal(theta, moved)
    assert_same_state(optimizer.state_dict(), before)


class OwnState(SGD):
    def __getstate__(self):
        return dict(self.__dict__)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda step: pickle.loads(pickle.dumps(step))])
def test_a_step_with_a_state_of_its_own_is_copied_after_a_step(copied):
    optimizer, theta, gradient = OwnState(lr=0.1, momentum=0.9), np.ones(SIZE), np.ones(SIZE)
    optimizer.step(theta, gradient)
    clone, other = copied(optimizer), theta.copy()
    clone.step(other, gradient)
    optimizer.step(theta, gradient)
    np.testing.assert_array_equal(theta, other)


def test_an_optimizer_keeps_no_vector_alive():
    optimizer, theta, gradient = Adam(), np.ones(SIZE), np.ones(SIZE)
    optimizer.step(theta, gradient)
    vectors = weakref.ref(theta), weakref.ref(gradient)
    del theta, gradient
    gc.collect()
    assert [vector() for vector in vectors] == [None, None]


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: SGD(lr=-0.1), ValueError, "lr: expected a finite number >= 0, got -0.1"),
        (lambda: SGD(lr=math.nan), ValueError, "lr: .* got nan"),
        (lambda: SGD(lr=math.inf), ValueError, "lr: .* got inf"),
        (lambda: SGD(lr="0.1"), TypeError, "lr: .* got '0.1' of type str"),
        (lambda: SGD(momentum=-1), ValueError, "momentum: .* got -1"),
        (lambda: SGD(dampening=math.nan), ValueError, "dampening: .* got nan"),
        (lambda: SGD(0.1, 0.9, 0.0, True), TypeError, "weight_decay: .* got True of type bool"),
        (lambda: SGD(nesterov=1, momentum=0.9), TypeError, "nesterov: expected True or False, got 1"),
        (lambda: SGD(nesterov=True), ValueError, "nesterov: expected momentum > 0 .* got momentum=0.0"),
        (lambda: SGD(nesterov=True, momentum=0.9, dampening=0.1), ValueError, "dampening=0.1"),
        (lambda: Momentum1986(momentum=-0.1), ValueError, "momentum: .* got -0.1"),
        (lambda: Adagrad(lr_decay=-1), ValueError, "lr_decay: .* got -1"),
        (lambda: Adagrad(initial_accumulator_value=-1), ValueError, "initial_accumulator_value: .* got -1"),
        (lambda: RMSprop(alpha=1.5), ValueError, r"alpha: expected a number in \[0, 1\], got 1.5"),
        (lambda: RMSprop(centered=None), TypeError, "centered: expected True or False, got None"),
        (lambda: Adam(betas=(0.9, 1.0)), ValueError, r"betas\[1\]: expected a number in \[0, 1\), got 1.0"),
        (lambda: Adam(betas=(math.nan, 0.9)), ValueError, r"betas\[0\]: .* got nan"),
        (lambda: Adam(betas=0.9), TypeError, "betas: expected two numbers .* got 0.9"),
        (lambda: Adam(eps=-1e-8), ValueError, "eps: .* got -1e-08"),
        (lambda: AdamW(weight_decay=-1), ValueError, "weight_decay: .* got -1"),
        (lambda: Rprop(etas=(1.2, 0.5)), ValueError, "etas: expected one factor below 1 and one above"),
        (lambda: Rprop(etas=(1.0, 1.2)), ValueError, "etas: expected one factor below 1 and one above"),
        (lambda: Rprop(etas=(0.5, 1.0)), ValueError, "etas: expected one factor below 1 and one above"),
        (lambda: Rprop(etas=0.5), TypeError, "etas: expected two numbers, got 0.5"),
        (lambda: Rprop(step_sizes=(1.0, 0.5)), ValueError, "step_sizes: expected the smaller one first"),
        (lambda: ASGD(t0=math.nan), ValueError, "t0: .* got nan"),
        (lambda: NAdam(momentum_decay=-1), ValueError, "momentum_decay: .* got -1"),
        (lambda: Adafactor(d=0.0), ValueError, "^d: expected a finite number > 0, got 0.0"),
        (lambda: Adafactor(lr=-1.0), ValueError, "^lr: expected a finite number >= 0, got -1.0"),
        (lambda: Adafactor(weight_decay=-1.0), ValueError, "^weight_decay: expected a finite number >= 0, got -1.0"),
        (lambda: Adafactor(beta2_decay=0.5), ValueError, "^beta2_decay: expected a number <= 0, got 0.5"),
        (lambda: Adafactor(beta2_decay=math.nan), ValueError, "^beta2_decay: .* got nan"),
        (lambda: Adafactor(eps=(-1.0, 1e-3)), ValueError, r"^eps\[0\]: .* got -1.0"),
        (lambda: Adafactor(eps=(None, -1.0)), ValueError, r"^eps\[1\]: .* got -1.0"),
        (lambda: Adafactor(eps=(None, None)), TypeError, r"^eps\[1\]: .* got None"),
        *(
            (lambda name=name: Muon(**{name: -1.0}), ValueError, f"^{name}: expected a finite number >= 0, got -1.0")
            for name in ("lr", "weight_decay", "momentum", "eps")
        ),
        (lambda: Muon(ns_steps=-1), ValueError, "^ns_steps: expected an integer of at least 0, got -1"),
        (lambda: Muon(ns_steps=100), ValueError, "^ns_steps: expected an integer below 100, got 100"),
        (lambda: Muon(adjust_lr_fn="adam"), ValueError, "^adjust_lr_fn: expected None, 'original' or .* got 'adam'"),
        (lambda: Muon(adjust_lr_fn=1), ValueError, "^adjust_lr_fn: expected None, 'original' or .* got 1"),
        (lambda: L1(math.inf), ValueError, "l1: .* got inf"),
        (lambda: ClipGradNorm(-1.0), ValueError, "max_norm: expected a number >= 0, got -1.0"),
        (lambda: ClipGradNorm(1.0, norm_type=0), ValueError, "norm_type: expected a number > 0, got 0"),
        (lambda: ClipGradValue(math.nan), ValueError, "clip_value: .* got nan"),
        (lambda: MaxNorm([np.ones((2, 2))], 0.0), ValueError, "max_norm: expected a finite number > 0"),
        (lambda: MaxNorm([np.ones(4)], 1.0), ValueError, r"weights\[0\]: expected 2 dimension.*\(4,\)"),
        (lambda: Chain(L1(0.1)), ValueError, r"expected one optimizer.* got \[\]"),
        (lambda: Chain(SGD(), Adam()), ValueError, "expected one optimizer.* got .*SGD.*Adam"),
        (lambda: Chain(SGD), TypeError, r"steps\[0\]: expected a Step.* got <class"),
        (lambda: clip_grad_norm_(np.ones(2), math.nan), ValueError, "max_norm: .* got nan"),
        (lambda: clip_grad_norm_([1.0], 1.0), TypeError, "gradient: expected a NumPy array, got list"),
        (lambda: clip_grad_value_(np.ones((2, 2)), 1.0), ValueError, "gradient: expected 1 dimension"),
        (lambda: clip_grad_value_(read_only(np.ones(2)), 1.0), ValueError, "gradient: .*read-only"),
    ],
)
def test_bad_hyperparameters_are_named(make, error, words):
    with pytest.raises(error, match=words):
        make()


CLASSES = [*IN_TORCH, Lion, Momentum1986]


FIELDS = [(ours, field.name, field.default) for ours in CLASSES for field in dataclasses.fields(ours)]


WRONG = {bool: [1, None, "yes"], float: [math.nan, True, "0.1", None], tuple: [(math.nan, math.nan), 0.9, (0.9,)]}


@pytest.mark.parametrize(("ours", "name", "default"), FIELDS)
def test_no_hyperparameter_is_taken_unseen(ours, name, default):
    """A number must be one; a switch must be True or False; and the error begins with the name."""
    for value in WRONG[type(default)]:
        with pytest.raises((TypeError, ValueError), match=rf"^{name}(\[0\])?: expected"):
            ours(**{name: value})


@pytest.mark.parametrize(("ours", "name", "default"), FIELDS)
def test_no_hyperparameter_set_later_is_taken_unseen(ours, name, default):
    optimizer, theta = ours(), start(SIZE)
    descend(optimizer, theta, steps=2)
    for value in [value for value in [*WRONG[type(default)], np.ones(3)] if value is not True]:  # which equals 1.0
        before, vector = memory_of(optimizer), theta.copy()
        setattr(optimizer, name, value)
        for _ in range(2):  # nor the second time
            with pytest.raises((TypeError, ValueError), match=rf"^{name}(\[0\])?: expected"):
                optimizer.step(theta, gradient_at(2, theta))
        setattr(optimizer, name, default)
        assert_same_state(optimizer.state_dict(), before)
        np.testing.assert_array_equal(theta, vector)
    descend(optimizer, theta, steps=1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda theta, gradient: (theta, gradient[:-1]), "^gradient: expected shape"),
        (lambda theta, gradient: (theta, gradient.astype("f4")), "^gradient: expected shape .* float64"),
        (lambda theta, gradient: (theta, theta), "^gradient: expected memory of its own"),
        (lambda theta, gradient: (theta[:-1], gradient), "^gradient: expected shape"),
        (lambda theta, gradient: (gradient, gradient), "^gradient: expected memory of its own"),
    ],
)
def test_one_known_vector_does_not_vouch_for_the_other(change, words):
    optimizer, theta = SGD(lr=0.1), start(SIZE)
    gradient = gradient_at(0, theta)
    optimizer.step(theta, gradient)
    before = theta.copy()
    with pytest.raises(ValueError, match=words):
        optimizer.step(*change(theta, gradient))
    np.testing.assert_array_equal(theta, before)


@pytest.mark.parametrize(
    ("ours", "name"), [(Adafactor, "maximize"), (Muon, "nesterov"), (Muon, "ns_coefficients"), (Muon, "ns_steps")]
)
def test_matrices_name_a_switch_or_number_that_is_none(ours, name):
    for value in "yes", None:
        with pytest.raises(TypeError, match=rf"^{name}: expected"):
            ours(**{name: value})


def test_the_bounds_of_matrices_are_legal():
    assert Adafactor(beta2_decay=0.0).beta2_decay == 0
    assert (Muon(ns_steps=0).ns_steps, Muon(ns_steps=99).ns_steps) == (0, 99)


STEPS = [*MAKERS, Adafactor, Muon, lambda: ClipGradNorm(1.0), lambda: ClipGradValue(0.5), lambda: L1(0.1)]


@pytest.mark.parametrize("maker", [*STEPS, lambda: MaxNorm([np.ones((2, 2))], 1.0)], ids=make_id)
def test_steps_with_equal_options_are_two_objects(maker):
    one, other = maker(), maker()
    assert one != other and len({one, other}) == 2


@pytest.mark.parametrize("maker", [*STEPS, lambda: MaxNorm([np.ones((2, 2))], 1.0)], ids=make_id)
def test_a_step_checks_both_vectors(maker):
    for theta, gradient, name in ([1.0], np.ones(1), "theta"), (np.ones(1), np.ma.ones(1), "gradient"):
        with pytest.raises(TypeError, match=f"^{name}: expected an? (NumPy array|array without a mask), got "):
            maker().step(theta, gradient)


def test_numbers_that_belong_together_are_counted_in_words():
    with pytest.raises(TypeError, match=r"^betas: expected two numbers in \[0, 1\), got \(0\.9,\)$"):
        Adam(betas=(0.9,))
    with pytest.raises(TypeError, match=r"^ns_coefficients: expected three numbers, got \(1\.0, 2\.0\)$"):
        Muon(ns_coefficients=(1.0, 2.0))


@pytest.mark.parametrize("value", [None, -1.0])
def test_a_hyperparameter_set_before_the_first_step_is_checked(value):
    step, gradient = L1(1.0), np.full(3, 5.0)
    step.l1 = value
    with pytest.raises((TypeError, ValueError), match=r"^l1: expected"):
        step.step(np.ones(3), gradient)
    assert gradient.tolist() == [5.0] * 3


def test_hyperparameters_are_checked_when_they_have_changed():
    class Counted(SGD):
        checks = 0

        def _validate(self):
            self.checks += 1
            super()._validate()

    optimizer, theta = Counted(lr=0.1), np.ones(3)
    counts = [optimizer.checks]
    for optimizer.lr in 0.1, 0.1, 0.2, 0.2, 0.1:
        optimizer.step(theta, np.ones(3))
        counts.append(optimizer.checks)
    assert np.diff(counts).tolist() == [1, 0, 1, 0, 1]


def test_a_step_without_hyperparameters_is_checked_once():
    class Plain(Step):
        checks = 0

        def _validate(self):
            self.checks += 1

        def apply(self, theta, gradient):
            theta -= gradient

    step, theta = Plain(), np.ones(3)
    for _ in range(2):
        step.step(theta, np.ones(3))
    assert (step.checks, theta.tolist()) == (1, [-1.0] * 3)


@pytest.mark.parametrize("order", [1, -1])
def test_a_vector_and_a_view_of_it_overlap(order):
    owner = np.ones(3)
    with pytest.raises(ValueError, match=r"^gradient: expected memory of its own"):
        SGD(lr=0.1).step(*(owner, owner[:])[::order])


@pytest.mark.parametrize(("dtype", "sizes"), [(np.float64, [16384, 16384, 7232]), (np.float32, [32768, 7232])])
def test_a_block_of_each_array_has_at_most_128_kib(dtype, sizes):
    seen = []

    @dataclasses.dataclass(eq=False)
    class Descent(Elementwise):
        def _update(self, theta, gradient):
            seen.append(theta.size)
            theta -= gradient

    theta = np.ones(40_000, dtype)
    Descent().step(theta, np.ones(40_000, dtype))
    assert seen == sizes and not theta.any()


@pytest.mark.parametrize(
    ("optimizer", "error", "words"),
    [
        (Adam, TypeError, r"^optimizer: expected an object with step"),  # a class
        (object(), TypeError, r"^optimizer: expected an object with step"),
        (SimpleNamespace(step=3), TypeError, r"^optimizer: expected an object with step"),
        (ClipGradNorm(1.0), ValueError, "^optimizer: expected one that moves theta"),
    ],
)
def test_what_does_not_move_theta_is_no_optimizer(optimizer, error, words):
    with pytest.raises(error, match=words):
        check_optimizer(optimizer, MLP([2, 1], rng=0))


class Takes:
    """An optimizer of one's own whose methods take other arguments than training gives."""

    lr = 0.1

    def __init__(self, **methods):
        self.__dict__.update(methods)


def moves(theta, gradient):
    theta -= 0.1 * gradient


@pytest.mark.parametrize(
    ("methods", "words"),
    [
        ({"step": lambda gradient: None}, r"expected a method step\(theta, gradient\), got <function"),
        ({"step": lambda theta, gradient, lr: None}, r"expected a method step\(theta, gradient\), got <function"),
        ({"step": lambda theta, gradient, *, lr: None}, r"expected a method step\(theta, gradient\), got <function"),
        (
            {"step": moves, "needs_evaluate": True},
            r"expected a method step\(theta, gradient, evaluate\), got <function",
        ),
        ({"step": moves, "state_dict": lambda keys: {}}, r"expected a method state_dict\(\), got <function"),
    ],
)
@pytest.mark.parametrize("caller", [fit, find_lr])
def test_methods_of_other_arguments_are_named_before_training(methods, words, caller):
    network, optimizer = MLP([2, 1], rng=0), Takes(**methods)
    if caller is find_lr and "needs_evaluate" in methods:
        pytest.skip("find_lr takes no optimizer that evaluates the loss itself")
    before = network.theta.copy()
    with pytest.raises(TypeError, match="^optimizer: " + words):
        caller(network, np.ones((20, 2)), np.ones((20, 1)), loss="mse_loss", optimizer=optimizer)
    np.testing.assert_array_equal(network.theta, before)


@pytest.mark.parametrize("step", [moves, lambda *vectors: moves(*vectors), lambda theta, gradient, lr=1: None])
def test_an_optimizer_may_take_further_arguments(step):
    optimizer = Takes(step=step)
    assert check_optimizer(optimizer, MLP([2, 1], rng=0)) is optimizer


def test_an_optimizer_is_checked_on_the_vectors_of_the_network():
    network, optimizer = MLP([2, 1], rng=0), SGD(lr=0.1)
    assert check_optimizer(optimizer, network) is optimizer
    network.theta.flags.writeable = False
    with pytest.raises(ValueError, match=r"^theta: .* read-only"):
        check_optimizer(optimizer, network)


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.zeros(3, int),
        lambda: np.zeros(3, np.float16),
        lambda: np.zeros(3, complex),
        lambda: np.ma.zeros(3),
        lambda: [0.0] * 3,
    ],
    ids=["integers", "float16", "complex", "masked", "lists"],
)
def test_two_vectors_of_one_wrong_kind_are_refused(make):
    with pytest.raises(TypeError, match=r"^theta: expected"):
        SGD().step(make(), make())
