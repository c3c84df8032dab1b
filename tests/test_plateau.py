"""ReduceLROnPlateau against torch's, and its metrics."""

from __future__ import annotations

import math

import pytest
import torch
from schedules_of_tests import STEPS

from handmade.optimizers import SGD
from handmade.schedules import ReduceLROnPlateau


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
