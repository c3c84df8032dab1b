"""The state of schedules: saved, resumed, refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from schedules_of_tests import ALL, sequence

from handmade.optimizers import SGD
from handmade.schedules import (
    ChainedScheduler,
    ConstantLR,
    CyclicLR,
    ExponentialLR,
    LinearLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
)


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


@pytest.mark.parametrize(("make", "options"), ALL)
def test_a_state_taken_back_takes_the_learning_rate_back(make, options):
    """As `fit` does where an epoch fails."""
    optimizer = SGD(lr=0.1, momentum=0.9)
    schedule = make(optimizer, **options)
    for _ in range(3):
        schedule.step()
    state, of_optimizer = schedule.state_dict(), optimizer.state_dict()
    for _ in range(4):
        schedule.step()
    schedule._assign(state)
    assert (schedule.state_dict(), optimizer.state_dict()) == (state, of_optimizer)


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


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"last_epoch": 21}, ValueError, "t: expected at most 20 = total_steps, got 21"),
        ({"last_epoch": 1.5}, TypeError, "last_epoch: expected an integer of at least 0, got 1.5"),
        ({"max_lr": math.nan}, ValueError, "max_lr: .* got nan"),
        ({"last_lr": math.nan}, ValueError, "last_lr: .* got nan"),
        ({"last_lr": "1"}, TypeError, "last_lr: .* got '1'"),
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
