"""Learning rate schedules against torch.optim.lr_scheduler, number by number."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import math
import types

import numpy as np
import pytest
import torch

import handmade as hm
from handmade import optimizers, schedules
from handmade.clipping import L1
from handmade.optimizers import SGD, Adagrad, Adam, Chain
from handmade.schedules import (
    ChainedScheduler,
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    CyclicLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

STEPS = 300
RTOL = STEPS * 10 * np.finfo(float).eps / 2  # torch goes from step to step, with at most 10 roundings in each

TABLE = [
    ("StepLR", {"step_size": 30}),
    ("StepLR", {"step_size": 7, "gamma": 0.9}),
    ("MultiStepLR", {"milestones": [30, 80, 200]}),
    ("MultiStepLR", {"milestones": (80, 30, 80), "gamma": 0.5}),
    ("ConstantLR", {}),
    ("ConstantLR", {"factor": 0.01, "total_iters": 100}),
    ("PolynomialLR", {}),
    ("PolynomialLR", {"total_iters": 250, "power": 0.9}),
    ("PolynomialLR", {"total_iters": 350, "power": 2.0}),
    ("LambdaLR", {"lr_lambda": lambda t: 0.95**t}),
    ("LambdaLR", {"lr_lambda": lambda t: min(1.0, t / 20)}),
    ("MultiplicativeLR", {"lr_lambda": lambda t: 0.97}),
    ("MultiplicativeLR", {"lr_lambda": lambda t: 1 - 1 / (t + 5)}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 20, "step_size_down": 30}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 25, "mode": "triangular2"}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 25, "mode": "exp_range", "gamma": 0.99}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 25, "scale_fn": lambda cycle: 1 / cycle}),
    (
        "CyclicLR",
        {
            "base_lr": 0.01,
            "max_lr": 0.1,
            "step_size_up": 25,
            "scale_fn": lambda t: 0.5 + t / 1000,
            "scale_mode": "iterations",
        },
    ),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 25, "cycle_momentum": False}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 25, "base_momentum": 0.5, "max_momentum": 0.99}),
    ("ExponentialLR", {"gamma": 0.97}),
    ("ExponentialLR", {"gamma": 1.0}),
    ("LinearLR", {}),
    ("LinearLR", {"start_factor": 0.01, "total_iters": 100}),
    ("LinearLR", {"start_factor": 1.0, "end_factor": 0.1, "total_iters": 77}),
    ("LinearLR", {"start_factor": 0.5, "end_factor": 0.0, "total_iters": 50}),
    ("CosineAnnealingLR", {"T_max": 1}),
    ("CosineAnnealingLR", {"T_max": 7, "eta_min": 0.01}),
    ("CosineAnnealingLR", {"T_max": 50}),
    ("CosineAnnealingLR", {"T_max": 100, "eta_min": 0.001}),
    ("CosineAnnealingLR", {"T_max": 300}),
    ("CosineAnnealingLR", {"T_max": 33, "eta_min": 0.2}),
    ("CosineAnnealingWarmRestarts", {"T_0": 1}),
    ("CosineAnnealingWarmRestarts", {"T_0": 10, "eta_min": 0.001}),
    ("CosineAnnealingWarmRestarts", {"T_0": 10, "T_mult": 2}),
    ("CosineAnnealingWarmRestarts", {"T_0": 1, "T_mult": 3}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 300}),
    ("OneCycleLR", {"max_lr": 0.5, "epochs": 30, "steps_per_epoch": 10}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 300, "anneal_strategy": "linear"}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 300, "three_phase": True}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 400, "three_phase": True, "anneal_strategy": "linear"}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 300, "pct_start": 0.0}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 301, "pct_start": 1.0}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 300, "pct_start": 0.7, "three_phase": True}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 300, "cycle_momentum": False}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 300, "base_momentum": 0.5, "max_momentum": 0.99}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 300, "div_factor": 10.0, "final_div_factor": 100.0}),
]

WARM_UP = ("LinearLR", {"start_factor": 0.1, "total_iters": 20})
WARM_UP_FROM_ZERO = ("LambdaLR", {"lr_lambda": lambda t: min(1.0, t / 20)})
SEQUENCES = [
    ([WARM_UP, ("PolynomialLR", {"total_iters": 200, "power": 0.5})], [20]),
    ([WARM_UP, ("MultiStepLR", {"milestones": [50, 100]}), ("ConstantLR", {"factor": 0.1})], [20, 200]),
    ([WARM_UP, ("CosineAnnealingLR", {"T_max": 280})], [20]),
    ([WARM_UP, ("CosineAnnealingLR", {"T_max": 50, "eta_min": 0.001})], [10]),
    ([WARM_UP, ("StepLR", {"step_size": 10, "gamma": 0.5})], [20]),
    ([WARM_UP, ("CosineAnnealingWarmRestarts", {"T_0": 10, "T_mult": 2})], [1]),
    ([("StepLR", {"step_size": 10}), ("ExponentialLR", {"gamma": 0.98}), WARM_UP], [20, 100]),
    ([WARM_UP], []),
]
OVERWRITING_IN_TORCH = ("LambdaLR", "OneCycleLR", "CyclicLR", "CosineAnnealingWarmRestarts")
# At T_max torch forgets what was changed; here it is forgotten there if the rate has reached eta_min.
KEEPING_IN_TORCH = [
    (name, options)
    for name, options in TABLE
    if name not in OVERWRITING_IN_TORCH and options.get("T_max", STEPS) >= STEPS
]
CHAINS = [
    [("ConstantLR", {"factor": 0.1, "total_iters": 20}), ("ExponentialLR", {"gamma": 0.9})],
    [WARM_UP, ("StepLR", {"step_size": 30})],
    [WARM_UP, ("MultiplicativeLR", {"lr_lambda": lambda t: 0.99}), ("MultiStepLR", {"milestones": [40, 90]})],
    [WARM_UP, ("PolynomialLR", {"total_iters": 250, "power": 0.9})],
    [("CosineAnnealingLR", {"T_max": 350, "eta_min": 0.001}), ("StepLR", {"step_size": 30, "gamma": 0.5})],
    [("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 20})],
]


class Twins:
    """The same optimizer here and in torch."""

    def __init__(self, name, **options):
        self.ours = getattr(optimizers, name)(**options)
        self.parameter = torch.nn.Parameter(torch.linspace(-1, 1, 5, dtype=torch.float64))
        self.theta = self.parameter.detach().numpy().copy()
        self.theirs = getattr(torch.optim, name)([self.parameter], **options)

    def follow(self, schedule, torch_schedule, train=lambda t: None):
        """Step both schedules, and demand the same learning rate and momentum before and after each step."""
        ours, theirs = [self.numbers(vars(self.ours))], [self.numbers(self.theirs.param_groups[0])]
        for t in range(STEPS):
            train(t)
            self.theirs.step()  # torch warns where a schedule goes first
            schedule.step()
            torch_schedule.step()
            ours.append(self.numbers(vars(self.ours)))
            theirs.append(self.numbers(self.theirs.param_groups[0]))
        np.testing.assert_allclose(ours, theirs, rtol=RTOL)

    @staticmethod
    def numbers(options):
        """Return the learning rate and the momentum, whatever it is called."""
        return options["lr"], options["betas"][0] if "betas" in options else options["momentum"]

    def train(self, t):
        """Step our optimizer, and leave torch's its gradient."""
        self.ours.step(self.theta, self.gradient_at(t, self.theta))
        self.parameter.grad = torch.from_numpy(self.gradient_at(t, self.parameter.detach().numpy()))

    @staticmethod
    def gradient_at(t, theta):
        return np.sin(np.arange(theta.size) * (t + 1.5)) + theta - 1


@pytest.mark.parametrize("optimizer", [("SGD", {"momentum": 0.9}), ("Adam", {})], ids=["SGD", "Adam"])
@pytest.mark.parametrize(("name", "options"), TABLE)
def test_schedule_gives_torchs_numbers(name, options, optimizer):
    twins = Twins(optimizer[0], lr=0.1, **optimizer[1])
    schedule = getattr(schedules, name)(twins.ours, **options)
    torch_schedule = getattr(torch.optim.lr_scheduler, name)(twins.theirs, **options)
    twins.follow(schedule, torch_schedule)


@pytest.mark.parametrize(
    ("optimizer", "name", "options"),
    [
        (("SGD", {"momentum": 0.9}), "OneCycleLR", {"max_lr": 0.1, "total_steps": 300}),
        (("Adam", {}), "OneCycleLR", {"max_lr": 0.01, "total_steps": 300}),
        (("RMSprop", {}), "CosineAnnealingLR", {"T_max": 100}),
    ],
)
def test_training_under_schedule_gives_torchs_parameters(optimizer, name, options):
    twins = Twins(optimizer[0], lr=0.01, **optimizer[1])
    schedule = getattr(schedules, name)(twins.ours, **options)
    torch_schedule = getattr(torch.optim.lr_scheduler, name)(twins.theirs, **options)
    twins.follow(schedule, torch_schedule, twins.train)
    expected = twins.parameter.detach().numpy()
    # At each step 16 operations of the optimizer on an element, and what the learning rate is off by.
    rtol = STEPS * 16 * np.finfo(float).eps / 2 + RTOL
    assert np.linalg.norm(twins.theta - expected) <= rtol * np.linalg.norm(expected)


@pytest.mark.parametrize(("parts", "milestones"), SEQUENCES)
def test_sequence_gives_torchs_numbers(parts, milestones):
    twins = Twins("SGD", lr=0.1)
    ours = [getattr(schedules, name)(twins.ours, **options) for name, options in parts]
    theirs = [getattr(torch.optim.lr_scheduler, name)(twins.theirs, **options) for name, options in parts]
    twins.follow(
        SequentialLR(twins.ours, ours, milestones),
        torch.optim.lr_scheduler.SequentialLR(twins.theirs, theirs, milestones),
    )


@pytest.mark.parametrize("parts", CHAINS)
def test_chain_gives_torchs_numbers(parts):
    twins = Twins("SGD", lr=0.1, momentum=0.9)
    ours = [getattr(schedules, name)(twins.ours, **options) for name, options in parts]
    theirs = [getattr(torch.optim.lr_scheduler, name)(twins.theirs, **options) for name, options in parts]
    twins.follow(ChainedScheduler(ours), torch.optim.lr_scheduler.ChainedScheduler(theirs))


CYCLES = ("OneCycleLR", "CyclicLR", "CosineAnnealingWarmRestarts")


# torch leaves the learning rate as it is in the group, and forgets which wave of the warm restarts it is in.
@pytest.mark.parametrize(("name", "options"), [row for row in TABLE if row[0] not in CYCLES])
@pytest.mark.parametrize("last_epoch", [0, 12])
def test_last_epoch_continues_with_torchs_numbers(name, options, last_epoch):
    uninterrupted = getattr(schedules, name)(SGD(lr=0.1), **options)
    twins = Twins("SGD", lr=uninterrupted.lr_at(last_epoch + 1))
    twins.ours.initial_lr = twins.theirs.param_groups[0]["initial_lr"] = 0.1
    resumed = getattr(schedules, name)(twins.ours, **options, last_epoch=last_epoch)
    assert (resumed.t, resumed.base_lr) == (last_epoch + 1, 0.1)
    theirs = getattr(torch.optim.lr_scheduler, name)(twins.theirs, **options, last_epoch=last_epoch)
    twins.follow(resumed, theirs)


@pytest.mark.parametrize(("name", "options"), [row for row in TABLE if row[0] in CYCLES])
def test_last_epoch_continues_a_cycle(name, options):
    optimizer, other = SGD(lr=0.1, momentum=0.9), SGD(lr=0.1, momentum=0.9)
    uninterrupted = getattr(schedules, name)(optimizer, **options)
    for _ in range(13):
        uninterrupted.step()
    resumed = getattr(schedules, name)(other, **options, last_epoch=12)
    assert (resumed.t, other.lr, other.momentum) == (13, optimizer.lr, optimizer.momentum)


def test_last_epoch_without_initial_lr_takes_lr_for_it():
    optimizer = SGD(lr=0.1)
    StepLR(optimizer, step_size=3, gamma=0.5, last_epoch=6)
    assert optimizer.lr == 0.025  # at t = 7


# --- Several schedules of one optimizer


def test_warm_up_that_has_ended_leaves_reductions_alone():
    optimizer = SGD(lr=0.01)
    torch_optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
    warm_up, plateau = LinearLR(optimizer, total_iters=4), ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
    torch_warm_up = torch.optim.lr_scheduler.LinearLR(torch_optimizer, total_iters=4)
    torch_plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(torch_optimizer, factor=0.5, patience=0)
    rates = []
    for loss in [3.0, 2.0, 2.0, 2.0, 2.0]:
        for _ in range(5):
            torch_optimizer.step()
            warm_up.step()
            torch_warm_up.step()
        plateau.step(loss)
        torch_plateau.step(loss)
        rates.append(optimizer.lr)
        assert optimizer.lr == pytest.approx(torch_optimizer.param_groups[0]["lr"], rel=RTOL, abs=0)
    assert rates == [0.01, 0.01, 0.005, 0.0025, 0.00125]


@pytest.mark.parametrize("learning_rate", [0.05, 0.4])
@pytest.mark.parametrize(
    ("name", "options"),
    KEEPING_IN_TORCH,
)
def test_learning_rate_changed_by_hand_is_kept_as_in_torch(name, options, learning_rate):
    twins = Twins("SGD", lr=0.1)
    schedule = getattr(schedules, name)(twins.ours, **options)
    torch_schedule = getattr(torch.optim.lr_scheduler, name)(twins.theirs, **options)

    def change(t):
        if t == 3:
            twins.ours.lr = twins.theirs.param_groups[0]["lr"] = learning_rate

    twins.follow(schedule, torch_schedule, change)


@pytest.mark.parametrize("make", [CosineAnnealingWarmRestarts, CyclicLR, OneCycleLR])
def test_cycles_keep_the_factor_of_another_schedule(make):
    options = {CosineAnnealingWarmRestarts: {"T_0": 5}, CyclicLR: {"base_lr": 0.1, "max_lr": 0.2, "step_size_up": 3},
               OneCycleLR: {"max_lr": 0.5, "total_steps": 20}}[make]  # fmt: skip
    optimizer = SGD(momentum=0.9)
    cycle = make(optimizer, **options)
    chain = ChainedScheduler([cycle, ExponentialLR(optimizer, gamma=0.9)], optimizer)
    for t in range(1, 15):
        chain.step()
        assert optimizer.lr == pytest.approx(cycle.lr_at(t) * 0.9**t, rel=RTOL, abs=0)
    assert (chain.t, chain.steps_left) == (14, 6 if make is OneCycleLR else math.inf)


def test_chain_with_an_ended_member_changes_nothing():
    optimizer = SGD(momentum=0.9)
    decay, cycle = ExponentialLR(optimizer, gamma=0.5), OneCycleLR(optimizer, max_lr=1.0, total_steps=2)
    chain = ChainedScheduler([decay, cycle])
    chain.step()
    chain.step()
    before = optimizer.lr, decay.t, cycle.t
    with pytest.raises(ValueError, match="t: expected at most 2"):
        chain.step()
    assert (optimizer.lr, decay.t, cycle.t) == before


def test_sequence_takes_sequences_and_cycles():
    optimizer = SGD(lr=0.1, momentum=0.9)
    inner = SequentialLR(optimizer, [ConstantLR(optimizer, 0.5, 10), ExponentialLR(optimizer, 0.5)], [2])
    cycle = OneCycleLR(optimizer, max_lr=1.0, total_steps=10)
    outer = SequentialLR(optimizer, [inner, cycle], [4])
    assert [outer.lr_at(t) for t in range(6)] == [0.05, 0.05, 0.1, 0.05, cycle.lr_at(0), cycle.lr_at(1)]
    assert outer.steps_left == 4 + 10
    for _ in range(6):
        outer.step()
    assert (optimizer.lr, optimizer.momentum) == (cycle.lr_at(2), cycle.momentum_at(2))


def test_sequence_starts_at_zero_if_that_schedule_is_made_last():
    optimizer = SGD(lr=0.1)
    decay = ExponentialLR(optimizer, gamma=0.5)
    warm_up = LambdaLR(optimizer, lambda t: t / 2)
    schedule = SequentialLR(optimizer, [warm_up, decay], [2])
    assert [schedule.lr_at(t) for t in range(5)] == [0.0, 0.05, 0.1, 0.05, 0.025]


@pytest.mark.parametrize("fixed", [True, False])
def test_only_schedules_of_a_fixed_length_have_an_end(fixed):
    optimizer = SGD(lr=0.1, momentum=0.9)
    make, options = (OneCycleLR, {"max_lr": 0.1, "total_steps": 3}) if fixed else (StepLR, {"step_size": 2})
    schedule = make(optimizer, **options)
    schedule.step()
    assert schedule.steps_left == (2 if fixed else math.inf)


@pytest.mark.parametrize("name", ["StepLR", "ExponentialLR", "LinearLR", "CosineAnnealingLR", "SequentialLR"])
def test_second_fit_goes_on_with_the_same_schedule(name):
    optimizer = SGD(lr=0.1)
    options = {"StepLR": [2], "ExponentialLR": [0.5], "LinearLR": [], "CosineAnnealingLR": [20]}
    schedule = sequence(optimizer) if name == "SequentialLR" else getattr(schedules, name)(optimizer, *options[name])
    X, y = np.eye(3), np.arange(3)
    network = hm.MLP([3, 3], rng=0)
    for _ in range(2):
        hm.fit(network, X, y, optimizer=optimizer, schedule=schedule, epochs=4, progress=False)
    assert (schedule.t, optimizer.lr) == (8, schedule.lr_at(8))


# --- Metrics


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"patience": 0, "factor": 0.5},
        {"patience": 2, "cooldown": 3, "threshold": 0.05, "min_lr": 0.02},
        {"eps": 0.01},
    ],
)
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
def test_plateau_of_positive_metric_gives_torchs_numbers(options, threshold_mode, mode):
    optimizer = SGD(lr=0.1)
    torch_optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    options = {"patience": 5, "mode": mode, "threshold_mode": threshold_mode, **options}
    schedule = ReduceLROnPlateau(optimizer, **options)
    torch_schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(torch_optimizer, **options)
    rates = set()
    for t in range(STEPS):
        metric = math.nan if t == 50 else 1 + math.exp(-t / 20) + 0.3 * math.sin(t)  # positive: see the next test
        schedule.step(metric)
        torch_schedule.step(metric)
        assert optimizer.lr == torch_optimizer.param_groups[0]["lr"]
        assert schedule.best == torch_schedule.best
        assert schedule.num_bad_epochs == torch_schedule.num_bad_epochs
        rates.add(optimizer.lr)
    assert len(rates) > 1


@pytest.mark.parametrize(
    ("mode", "metrics"),
    [
        ("min", [-1.0] * 30),
        ("min", [-1.0 + 5e-5 * t for t in range(30)]),
        ("max", [-1.0] * 30),
        ("max", [-1.0 - 5e-5 * t for t in range(30)]),
    ],
)
def test_negative_metric_that_does_not_improve_reduces(mode, metrics):
    # torch's bar, -1 * (1 - 1e-4) in mode "min", lies on the worse side of -1: it never reduces.
    optimizer = SGD(lr=1.0)
    schedule = ReduceLROnPlateau(optimizer, mode=mode, patience=2)
    for metric in metrics:
        schedule.step(metric)
    assert optimizer.lr == pytest.approx(1e-8)  # eps stops the ninth of (30 - 1) // 3 reductions
    assert schedule.best == -1.0


@pytest.mark.parametrize(("mode", "better"), [("min", -1.03), ("max", -0.97)])
def test_negative_metric_that_improves_is_not_reduced(mode, better):
    optimizer = SGD(lr=1.0)
    schedule = ReduceLROnPlateau(optimizer, mode=mode, patience=0, threshold=0.02)
    schedule.step(-1.0)
    schedule.step(better)
    assert (optimizer.lr, schedule.best) == (1.0, better)


@pytest.mark.parametrize("threshold", [1.0, 2.0])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_first_metric_is_an_improvement_at_any_threshold(threshold, mode):
    schedule = ReduceLROnPlateau(SGD(lr=1.0), mode=mode, threshold=threshold)
    schedule.step(5.0)
    assert (schedule.best, schedule.num_bad_epochs) == (5.0, 0)


@pytest.mark.parametrize("metric", [None, "0.5", [0.5], {}])
def test_metric_that_is_no_number_is_named(metric):
    schedule = ReduceLROnPlateau(SGD(lr=1.0))
    with pytest.raises(TypeError, match=r"^metrics: expected a number, such as the validation loss, got"):
        schedule.step(metric)
    assert schedule.num_bad_epochs == 0


ALL = [
    (StepLR, {"step_size": 3}),
    (MultiStepLR, {"milestones": [3, 9]}),
    (ConstantLR, {}),
    (PolynomialLR, {"total_iters": 12}),
    (LambdaLR, {"lr_lambda": lambda t: 1 / (1 + t)}),
    (MultiplicativeLR, {"lr_lambda": lambda t: 1 - 1 / (t + 5)}),
    (CyclicLR, {"base_lr": 0.1, "max_lr": 0.4, "step_size_up": 4, "mode": "triangular2"}),
    (CyclicLR, {"base_lr": 0.1, "max_lr": 0.4, "step_size_up": 4, "scale_fn": lambda cycle: 0.9**cycle}),
    (ExponentialLR, {"gamma": 0.9}),
    (LinearLR, {}),
    (CosineAnnealingLR, {"T_max": 5}),
    (CosineAnnealingWarmRestarts, {"T_0": 5}),
    (OneCycleLR, {"max_lr": 1.0, "total_steps": 20}),
]


@pytest.mark.parametrize("ours", [*(s for s, _ in ALL), ReduceLROnPlateau, SequentialLR, ChainedScheduler])
def test_parameters_have_torchs_names_order_and_defaults(ours):
    theirs = inspect.signature(getattr(torch.optim.lr_scheduler, ours.__name__)).parameters
    expected = {name: parameter.default for name, parameter in theirs.items()}
    actual = {name: parameter.default for name, parameter in inspect.signature(ours).parameters.items()}
    assert list(actual.items()) == list(expected.items())


@pytest.mark.parametrize(("schedule", "options"), ALL)
def test_step_sets_lr_at_and_lr_at_changes_nothing(schedule, options):
    optimizer = SGD(lr=0.1, momentum=0.9)
    schedule = schedule(optimizer, **options)
    planned = [schedule.lr_at(t) for t in range(20)]
    assert schedule.t == 0 and optimizer.lr == planned[0]
    for t in range(1, 20):
        schedule.step()
        assert (schedule.t, optimizer.lr) == (t, planned[t])


def test_warm_restarts_accept_fractions_of_a_step():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    theirs = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=3, T_mult=2)
    ours = CosineAnnealingWarmRestarts(SGD(lr=0.1), T_0=3, T_mult=2)
    for t in np.arange(0, 20, 0.25):
        theirs.step(float(t))
        assert ours.lr_at(float(t)) == pytest.approx(optimizer.param_groups[0]["lr"], rel=RTOL, abs=0)


def test_one_cycle_ends_with_error_that_changes_nothing():
    optimizer = SGD(momentum=0.9)
    schedule = OneCycleLR(optimizer, max_lr=1.0, total_steps=10)
    for _ in range(10):
        schedule.step()
    before = copy.deepcopy((vars(optimizer), schedule.t))
    with pytest.raises(ValueError, match="t: expected at most 10 = total_steps, got 11"):
        schedule.step()
    assert (vars(optimizer), schedule.t) == before


def test_one_cycle_with_no_step_up_starts_at_the_top():
    # torch divides by zero here: the way up ends where it starts, at 0.1 * 10 - 1 = 0.
    schedule = OneCycleLR(SGD(momentum=0.9), max_lr=1.0, total_steps=10, pct_start=0.1)
    assert (schedule.lr_at(0), schedule.momentum_at(0)) == (1.0, 0.85)
    assert schedule.lr_at(9) == pytest.approx(1 / 25 / 1e4, rel=RTOL)


def test_schedule_accepts_a_chain_for_its_optimizer():
    sgd, adam = SGD(momentum=0.5), Adam()
    for optimizer in (sgd, adam):
        OneCycleLR(Chain(L1(0.1), optimizer), max_lr=1.0, total_steps=10)
    assert (sgd.lr, sgd.momentum) == pytest.approx((1 / 25, 0.95))
    assert (adam.lr, *adam.betas) == pytest.approx((1 / 25, 0.95, 0.999))


def test_schedule_accepts_any_object_with_lr():
    optimizer = types.SimpleNamespace(lr=1.0)
    ExponentialLR(optimizer, gamma=0.5).step()
    assert optimizer.lr == 0.5


# --- Saving


def sequence(optimizer):
    parts = [LinearLR(optimizer), ExponentialLR(optimizer, gamma=0.9)]
    return SequentialLR(optimizer, parts, milestones=[4])


@pytest.mark.parametrize(
    "make",
    [
        *(lambda optimizer, s=schedule, o=options: s(optimizer, **o) for schedule, options in ALL),
        sequence,
        lambda optimizer: ChainedScheduler([ConstantLR(optimizer), ExponentialLR(optimizer, gamma=0.9)]),
    ],
)
def test_schedule_resumes_from_its_state(make):
    optimizer, other = SGD(lr=0.1, momentum=0.5), SGD(lr=0.7, momentum=0.1)
    schedule, resumed = make(optimizer), make(other)
    for _ in range(7):
        schedule.step()
    resumed.load_state_dict(schedule.state_dict())
    for _ in range(7):
        assert other.lr == optimizer.lr
        assert (other.momentum == optimizer.momentum) == isinstance(schedule, OneCycleLR | CyclicLR)
        schedule.step()
        resumed.step()


def test_state_of_a_sequence_holds_the_milestones():
    parts = {2: SGD(lr=0.1), 4: SGD(lr=0.1)}
    saved, loaded = (
        SequentialLR(optimizer, [ConstantLR(optimizer), ExponentialLR(optimizer, gamma=0.9)], [milestone])
        for milestone, optimizer in parts.items()
    )
    loaded.load_state_dict(saved.state_dict())
    assert loaded.milestones == [2]
    assert [loaded.lr_at(t) for t in range(6)] == [saved.lr_at(t) for t in range(6)]


def test_state_holds_the_learning_rate_that_another_schedule_set():
    optimizer, other = SGD(lr=0.1), SGD(lr=0.7)
    schedule, resumed = LinearLR(optimizer, total_iters=2), LinearLR(other, total_iters=2)
    for _ in range(3):
        schedule.step()
    optimizer.lr = 0.05
    resumed.load_state_dict(schedule.state_dict())
    assert other.lr == 0.05
    resumed.step()
    assert other.lr == 0.05


@pytest.mark.parametrize(("make", "options"), [*ALL, (ReduceLROnPlateau, {})])
def test_state_survives_numpy_files(tmp_path, make, options):
    schedule, loaded = (make(SGD(lr=0.1, momentum=0.9), **options) for _ in range(2))
    for _ in range(5):
        schedule.step(*([1.0] if make is ReduceLROnPlateau else []))
    np.savez(tmp_path / "schedule.npz", **schedule.state_dict())
    with np.load(tmp_path / "schedule.npz", allow_pickle=True) as file:  # None is stored as an object
        loaded.load_state_dict(dict(file))
    assert loaded.state_dict() == schedule.state_dict()
    assert loaded.optimizer.lr == schedule.optimizer.lr


def test_plateau_resumes_from_its_state():
    optimizer = SGD(lr=0.1)
    schedule = ReduceLROnPlateau(optimizer, patience=3, cooldown=2)
    for metric in [3.0, 2.0, 2.5, 2.5]:
        schedule.step(metric)
    other = SGD(lr=0.1)
    resumed = ReduceLROnPlateau(other)
    resumed.load_state_dict(schedule.state_dict())
    for metric in [2.5] * 12:
        schedule.step(metric)
        resumed.step(metric)
        assert other.lr == optimizer.lr
    assert optimizer.lr < 0.01


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"last_epoch": 21}, ValueError, "t: expected at most 20 = total_steps, got 21"),
        ({"last_epoch": 1.5}, TypeError, "last_epoch: expected an integer of at least 0, got 1.5"),
        ({"max_lr": math.nan}, ValueError, "max_lr: .* got nan"),
        ({"base_lr": "1"}, TypeError, "base_lr: .* got '1'"),
        ({"class": "StepLR"}, ValueError, "expected class 'OneCycleLR', got 'StepLR'"),
        ({"gamma": 0.1}, ValueError, "expected the keys"),
    ],
)
def test_refused_state_dict_changes_nothing(change, error, words):
    optimizer = SGD(momentum=0.9)
    schedule = OneCycleLR(optimizer, max_lr=1.0, total_steps=20)
    schedule.step()
    before = schedule.state_dict(), optimizer.state_dict()
    with pytest.raises(error, match=words):
        schedule.load_state_dict(schedule.state_dict() | change)
    assert (schedule.state_dict(), optimizer.state_dict()) == before


# --- Bad input

OTHER = StepLR(SGD(), 1)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda o: StepLR(None, 3), TypeError, "optimizer: .* attribute lr, got None"),
        (lambda o: StepLR(types.SimpleNamespace(lr="1"), 3), TypeError, r"optimizer\.lr: .* got '1'"),
        (lambda o: StepLR(SGD(lr=0.0), 3), ValueError, r"optimizer\.lr: .*> 0, got 0, which StepLR only multiplies"),
        (lambda o: ReduceLROnPlateau(SGD(lr=0.0)), ValueError, r"optimizer\.lr: .*> 0, got 0, which ReduceLROn"),
        (lambda o: StepLR(o, 3, last_epoch=-2), ValueError, "last_epoch: .* at least -1, got -2"),
        (lambda o: MultiStepLR(o, 3), TypeError, "milestones: expected a sequence of counts, got 3"),
        (lambda o: MultiStepLR(o, [3, 0]), ValueError, r"milestones\[1\]: .* got 0"),
        (lambda o: ConstantLR(o, factor=1.5), ValueError, "factor: .* got 1.5"),
        (lambda o: ConstantLR(o, total_iters=0), ValueError, "total_iters: .* got 0"),
        (lambda o: PolynomialLR(o, total_iters=0), ValueError, "total_iters: .* got 0"),
        (lambda o: PolynomialLR(o, power=-1), ValueError, "power: .* got -1"),
        (lambda o: LambdaLR(o, 0.9), TypeError, "lr_lambda: expected a function, got 0.9"),
        (lambda o: LambdaLR(o, lambda t: -1.0), ValueError, r"lr_lambda\(0\): .* got -1.0"),
        (lambda o: LambdaLR(o, lambda t: None), TypeError, r"lr_lambda\(0\): .* got None"),
        (lambda o: MultiplicativeLR(o, [0.9]), TypeError, r"lr_lambda: expected a function, got \[0.9\]"),
        (lambda o: MultiplicativeLR(o, lambda t: math.nan).step(), ValueError, r"lr_lambda\(1\): .* got nan"),
        (lambda o: CyclicLR(o, -0.1, 1.0), ValueError, "base_lr: .* got -0.1"),
        (lambda o: CyclicLR(o, 0.1, 1.0, 0), ValueError, "step_size_up: .* got 0"),
        (lambda o: CyclicLR(o, 0.1, 1.0, mode="x"), ValueError, "mode: .*triangular2.* got 'x'"),
        (lambda o: CyclicLR(o, 0.1, 1.0, scale_mode="x"), ValueError, "scale_mode: .*cycle.* got 'x'"),
        (lambda o: CyclicLR(o, 0.1, 1.0, scale_fn=1.0), TypeError, "scale_fn: expected a function, got 1.0"),
        (lambda o: CyclicLR(Adagrad(), 0.1, 1.0), ValueError, "got Adagrad.*pass cycle_momentum=False"),
        (lambda o: ChainedScheduler([]), ValueError, "schedulers: expected at least one schedule, got none"),
        (lambda o: ChainedScheduler(StepLR(o, 1)), TypeError, "schedulers: expected a list of schedules"),
        (lambda o: ChainedScheduler([StepLR(o, 1), OTHER]), ValueError, r"schedulers\[1\]: .*same optimizer"),
        (lambda o: ChainedScheduler([ReduceLROnPlateau(o)]), TypeError, r"schedulers\[0\]: .*ReduceLROnPlateau"),
        (lambda o: SequentialLR(o, [StepLR(o, 1)], 5), TypeError, "milestones: expected a list of counts, got 5"),
        (lambda o: StepLR(o, 0), ValueError, "step_size: expected an integer of at least 1, got 0"),
        (lambda o: StepLR(o, 2.5), TypeError, "step_size: .* got 2.5"),
        (lambda o: StepLR(o, 2, gamma=-1), ValueError, "gamma: .* got -1"),
        (lambda o: ExponentialLR(o, math.nan), ValueError, "gamma: .* got nan"),
        (lambda o: LinearLR(o, start_factor=0), ValueError, r"start_factor: .*\(0, 1\], got 0"),
        (lambda o: LinearLR(o, end_factor=1.5), ValueError, r"end_factor: .*\[0, 1\], got 1.5"),
        (lambda o: LinearLR(o, total_iters=0), ValueError, "total_iters: .* got 0"),
        (lambda o: CosineAnnealingLR(o, 0), ValueError, "T_max: .* got 0"),
        (lambda o: CosineAnnealingLR(o, 5, eta_min=-1), ValueError, "eta_min: .* got -1"),
        (lambda o: CosineAnnealingWarmRestarts(o, 0), ValueError, "T_0: .* got 0"),
        (lambda o: CosineAnnealingWarmRestarts(o, 5, 1.5), TypeError, "T_mult: .* got 1.5"),
        (lambda o: OneCycleLR(o, 1.0), ValueError, "total_steps: expected it, or both epochs and"),
        (lambda o: OneCycleLR(o, 1.0, epochs=3), ValueError, "total_steps: expected it, or both epochs"),
        (lambda o: OneCycleLR(o, 1.0, None, 3, steps_per_epoch=0), ValueError, "steps_per_epoch: .* got 0"),
        (lambda o: OneCycleLR(o, -1.0, 10), ValueError, "max_lr: .* got -1.0"),
        (lambda o: OneCycleLR(o, 1.0, 10, pct_start=30), ValueError, "pct_start: .* got 30"),
        (lambda o: OneCycleLR(o, 1.0, 10, anneal_strategy="x"), ValueError, "cos, linear.* got 'x'"),
        (lambda o: OneCycleLR(o, 1.0, 10, max_momentum=1.0), ValueError, "max_momentum: .* got 1.0"),
        (lambda o: OneCycleLR(o, 1.0, 10, div_factor=0), ValueError, "div_factor: .* got 0"),
        (lambda o: OneCycleLR(Adagrad(), 1.0, 10), ValueError, "got Adagrad.*pass cycle_momentum=False"),
        (lambda o: SequentialLR(o, [], []), ValueError, "schedulers: expected at least one schedule, got none"),
        (lambda o: SequentialLR(o, [StepLR(o, 1)], [5]), ValueError, r"milestones: .* are 1, got \[5\]"),
        (lambda o: SequentialLR(o, [OTHER], []), ValueError, r"schedulers\[0\]: .*same optimizer"),
        (lambda o: SequentialLR(o, [ReduceLROnPlateau(o)], []), TypeError, r"schedulers\[0\]: .*ReduceLROn"),
        (lambda o: SequentialLR(o, [StepLR(o, 1)] * 3, [5, 5]), ValueError, r"increasing.*\[5, 5\]"),
        (lambda o: SequentialLR(o, [StepLR(o, 1)] * 2, [0]), ValueError, r"milestones\[0\]: .* got 0"),
        (lambda o: ReduceLROnPlateau(o, mode="auto"), ValueError, "mode: .*min, max.* got 'auto'"),
        (lambda o: ReduceLROnPlateau(o, threshold_mode="x"), ValueError, "threshold_mode: .* got 'x'"),
        (lambda o: ReduceLROnPlateau(o, factor=1.0), ValueError, "factor: .* got 1.0"),
        (lambda o: ReduceLROnPlateau(o, patience=-1), ValueError, "patience: .* got -1"),
        (lambda o: ReduceLROnPlateau(o, threshold=-1), ValueError, "threshold: .* got -1"),
    ],
)
def test_bad_arguments_are_named(make, error, words):
    with pytest.raises(error, match=words):
        make(SGD(momentum=0.9))


def test_refused_schedule_leaves_the_optimizer_alone():
    optimizer = SGD(lr=0.1, momentum=0.5)
    with pytest.raises(ValueError, match="div_factor"):
        OneCycleLR(optimizer, max_lr=1.0, total_steps=10, div_factor=-1)
    assert (optimizer.lr, optimizer.momentum) == (0.1, 0.5)


COMPLETE = [
    *ALL,
    (OneCycleLR, {"max_lr": 1.0, "epochs": 4, "steps_per_epoch": 5}),
    (ReduceLROnPlateau, {}),
]
FIELDS = [
    (ours, options, field.name)
    for ours, options in COMPLETE
    for field in dataclasses.fields(ours)
    if field.name != "optimizer" and not (field.name in ("epochs", "steps_per_epoch") and "total_steps" in options)
]


@pytest.mark.parametrize(("ours", "options", "name"), FIELDS)
def test_every_argument_is_checked_by_name(ours, options, name):
    """An object is neither a number, a switch nor a name; and the error begins with the argument's name."""
    optimizer = SGD(lr=0.1, momentum=0.9)
    with pytest.raises((TypeError, ValueError), match=rf"^{name}: expected"):
        ours(optimizer, **options | {name: object()})
    assert (optimizer.lr, optimizer.momentum) == (0.1, 0.9)


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
def test_equal_metric_is_no_improvement_with_threshold_zero(mode, threshold_mode):
    schedule = ReduceLROnPlateau(SGD(lr=0.1), mode=mode, threshold_mode=threshold_mode, threshold=0.0)
    for bad in range(5):
        schedule.step(2.0)
        assert (schedule.num_bad_epochs, schedule.best) == (bad, 2.0)


@pytest.mark.parametrize(("eps", "lr"), [(0.125, 0.25), (0.0625, 0.125), (0.1249, 0.125)])
def test_reduction_not_larger_than_eps_is_left_out(eps, lr):
    optimizer = SGD(lr=0.25)
    schedule = ReduceLROnPlateau(optimizer, factor=0.5, patience=0, eps=eps)
    schedule.step(1.0)
    schedule.step(1.0)
    assert (optimizer.lr, schedule.num_bad_epochs) == (lr, 0)


@pytest.mark.parametrize("cooldown", [0, 1, 3])
def test_cooldown_counts_no_bad_step(cooldown):
    optimizer = SGD(lr=1.0)
    schedule = ReduceLROnPlateau(optimizer, factor=0.5, patience=1, cooldown=cooldown, eps=0.0)
    rates = []
    for _ in range(3 + 2 * (2 + cooldown)):
        schedule.step(1.0)
        rates.append(optimizer.lr)
    # The first metric is an improvement, two bad ones make a reduction; the next takes the cooldown and two more.
    assert rates == [1.0, 1.0] + (2 + cooldown) * [0.5] + (2 + cooldown) * [0.25] + [0.125]


def test_one_cycle_length_is_epochs_times_steps_per_epoch():
    schedule = OneCycleLR(SGD(momentum=0.9), 1.0, epochs=4, steps_per_epoch=5)
    assert schedule.total_steps == 20


def test_nan_metric_is_bad_from_the_first_step():
    optimizer = SGD(lr=1.0)
    schedule = ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    assert (schedule.num_bad_epochs, schedule.cooldown_counter) == (0, 0)
    for bad, lr in [(1, 1.0), (0, 0.5)]:
        schedule.step(math.nan)
        assert (schedule.num_bad_epochs, optimizer.lr) == (bad, lr)


@pytest.mark.parametrize("name", ["best", "num_bad_epochs", "cooldown_counter"])
def test_loaded_state_of_a_plateau_is_checked(name):
    schedule = ReduceLROnPlateau(SGD(lr=0.1))
    before = schedule.state_dict()
    with pytest.raises(TypeError, match=rf"^{name}: expected"):
        schedule.load_state_dict(before | {name: "1"})
    assert schedule.state_dict() == before


@pytest.mark.parametrize(("schedule", "options"), [*ALL, (ReduceLROnPlateau, {})])
def test_schedules_with_equal_options_are_two_objects(schedule, options):
    optimizer = SGD(lr=0.1)
    one, other = schedule(optimizer, **options), schedule(optimizer, **options)
    assert one != other and len({one, other}) == 2


def test_a_sequence_of_one_ends_with_its_only_member():
    optimizer = SGD(lr=0.1)
    assert SequentialLR(optimizer, [OneCycleLR(optimizer, 1.0, 20)], []).steps_left == 20
