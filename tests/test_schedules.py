"""Learning rate schedules against torch.optim.lr_scheduler, number by number."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from schedules_of_tests import RTOL, STEPS, sequence

import handmade as hm
from handmade import optimizers, schedules
from handmade.optimizers import SGD
from handmade.schedules import (
    ChainedScheduler,
    ConstantLR,
    CosineAnnealingWarmRestarts,
    CyclicLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

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
