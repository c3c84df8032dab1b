"""The arguments of schedules: torch's names and defaults, bad ones named, and lr_at."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import math
import types

import numpy as np
import pytest
import torch
from schedules_of_tests import ALL, RTOL

from handmade.clipping import L1
from handmade.optimizers import SGD, Adagrad, Adam, Chain, ParameterGroups
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
    decays,
)
from handmade.schedules._base import LRScheduler


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
    assert schedule.t == 0 and schedule.last_lr == optimizer.lr == planned[0]
    for t in range(1, 20):
        schedule.step()
        assert (schedule.t, schedule.last_lr, optimizer.lr) == (t, planned[t], planned[t])


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


def test_schedule_of_momentum_reaches_groups_within_a_chain():
    for wrap in (lambda groups: groups), (lambda groups: Chain(L1(0.1), groups)):
        sgd, adam = SGD(momentum=0.5), Adam()
        OneCycleLR(wrap(ParameterGroups({"*.bias": sgd, "*": adam})), max_lr=1.0, total_steps=10)
        assert (sgd.momentum, *adam.betas) == pytest.approx((0.95, 0.95, 0.999))


@dataclasses.dataclass(eq=False)
class Halving(LRScheduler):
    """A schedule of one's own, with nothing but its formula."""

    def lr_at(self, t):
        return self.base_lr / 2**t


def test_a_schedule_of_ones_own_starts_at_0():
    optimizer = SGD(lr=0.5)
    schedule = Halving(optimizer)
    assert (schedule.t, schedule.last_lr, optimizer.lr) == (0, 0.5, 0.5)
    schedule.step()
    assert (schedule.t, schedule.last_lr, optimizer.lr) == (1, 0.25, 0.25)


@pytest.mark.parametrize(("last_epoch", "base_lr"), [(-1, 0.1), (0, 0.7)])
def test_initial_lr_counts_where_a_training_goes_on(last_epoch, base_lr):
    optimizer = types.SimpleNamespace(lr=0.1, initial_lr=0.7)
    assert StepLR(optimizer, 3, last_epoch=last_epoch).base_lr == base_lr


def test_schedule_accepts_any_object_with_lr():
    optimizer = types.SimpleNamespace(lr=1.0)
    ExponentialLR(optimizer, gamma=0.5).step()
    assert optimizer.lr == 0.5


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
        (lambda o: ChainedScheduler([StepLR(o, 1)], SGD()), ValueError, r"schedulers\[0\]: .*same optimizer"),
        (lambda o: ChainedScheduler([ReduceLROnPlateau(o)]), TypeError, r"schedulers\[0\]: .*ReduceLROnPlateau"),
        (lambda o: SequentialLR(o, [StepLR(o, 1)], 5), TypeError, "milestones: expected a list of counts, got 5"),
        (lambda o: StepLR(o, 0), ValueError, "step_size: expected an integer of at least 1, got 0"),
        (lambda o: StepLR(o, 2.5), TypeError, "step_size: .* got 2.5"),
        (lambda o: StepLR(o, 2, gamma=-1), ValueError, "gamma: .* got -1"),
        (lambda o: ExponentialLR(o, math.nan), ValueError, "gamma: .* got nan"),
        (lambda o: LinearLR(o, start_factor=0), ValueError, r"start_factor: .*\(0, 1\], got 0"),
        (lambda o: LinearLR(o, start_factor=1.5), ValueError, r"start_factor: .*\(0, 1\], got 1.5"),
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
        (
            lambda o: OneCycleLR(ParameterGroups({"*.bias": Adagrad(), "*": o}), 1.0, 10),
            ValueError,
            "cycle_momentum: expected an optimizer with momentum or betas, got ParameterGroups",
        ),
        (lambda o: CyclicLR(o, 0.1, 1.0, scale_fn=lambda cycle: math.nan), ValueError, "^scale_fn: .* got nan"),
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


def test_one_cycle_length_is_epochs_times_steps_per_epoch():
    schedule = OneCycleLR(SGD(momentum=0.9), 1.0, epochs=4, steps_per_epoch=5)
    assert schedule.total_steps == 20


@pytest.mark.parametrize(("schedule", "options"), [*ALL, (ReduceLROnPlateau, {})])
def test_schedules_with_equal_options_are_two_objects(schedule, options):
    optimizer = SGD(lr=0.1)
    one, other = schedule(optimizer, **options), schedule(optimizer, **options)
    assert one != other and len({one, other}) == 2


def test_combined_schedules_of_the_same_members_are_two_objects():
    optimizer = SGD(lr=0.1)
    members = [StepLR(optimizer, 3)]
    for make in lambda: SequentialLR(optimizer, members, []), lambda: ChainedScheduler(members):
        one, other = make(), make()
        assert one != other and len({one, other}) == 2


def test_a_combined_schedule_counts_with_its_only_member():
    optimizer = SGD(lr=0.1)
    chained, sequence = ChainedScheduler([StepLR(optimizer, 3)]), SequentialLR(optimizer, [StepLR(optimizer, 3)], [])
    chained.step()
    sequence.step()
    assert chained.t == sequence.t == 1
    assert sequence.last_lr == optimizer.lr == 0.1


def test_only_a_plateau_asks_for_a_metric():
    assert ReduceLROnPlateau.needs_metric
    assert not any(getattr(schedule, "needs_metric", False) for schedule, _ in ALL)


def test_a_product_of_too_many_factors_is_refused(monkeypatch):
    """Each step has to be asked for its factor; what is known needs no more calls."""
    with pytest.raises(ValueError, match=r"last_epoch: expected at most 10000000 steps at once, .* got 10000001"):
        MultiplicativeLR(SGD(lr=1.0), lambda t: 0.5, last_epoch=10**7)
    monkeypatch.setattr(decays, "MOST_CALLS", 3)
    schedule = MultiplicativeLR(SGD(lr=1.0), lambda t: 0.5)
    with pytest.raises(ValueError, match="last_epoch: expected at most 3 steps"):
        schedule.lr_at(4)
    assert schedule.lr_at(3) == 0.5**3
    assert schedule.lr_at(6) == 0.5**6


def test_a_sequence_of_one_ends_with_its_only_member():
    optimizer = SGD(lr=0.1)
    assert SequentialLR(optimizer, [OneCycleLR(optimizer, 1.0, 20)], []).steps_left == 20


def test_what_is_left_of_a_sequence_counts_down():
    """The last member has 20 steps from count 4 on, however many it has taken by itself."""
    optimizer = SGD(lr=0.1)
    last = OneCycleLR(optimizer, 1.0, 20)
    last.step()
    sequence = SequentialLR(optimizer, [StepLR(optimizer, 3), last], [4])
    for left in 24, 23, 22:
        assert sequence.steps_left == left
        sequence.step()
