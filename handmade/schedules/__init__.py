"""Learning rates over time: `schedule.step()` sets `optimizer.lr`, after each epoch or each batch.

A schedule is a function of a count: `lr_at(t)` is the learning rate after t calls of `step`. `ReduceLROnPlateau` alone
looks at a metric instead. Names, parameters, defaults and numbers are those of torch.optim.lr_scheduler; the docstrings
tell the few differences.

Several schedules may share an optimizer. Each multiplies the learning rate by its own ratio lr_at(t + 1) / lr_at(t), so
that a warm-up that has ended leaves the others alone.

_base      what all schedules share
decays     StepLR, MultiStepLR, ExponentialLR, ConstantLR, LinearLR, PolynomialLR, CosineAnnealingLR, LambdaLR, ...
cycles     CosineAnnealingWarmRestarts, CyclicLR, OneCycleLR
combined   SequentialLR, ChainedScheduler
plateau    ReduceLROnPlateau
"""

from __future__ import annotations

from ._base import LRScheduler, Schedule
from .combined import ChainedScheduler, SequentialLR
from .cycles import CosineAnnealingWarmRestarts, CyclicLR, OneCycleLR
from .decays import (
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from .plateau import ReduceLROnPlateau

__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "Schedule",
    "SequentialLR",
    "StepLR",
]
