"""Schedules with their options, for tests of all of them."""

from __future__ import annotations

import numpy as np

from handmade.schedules import (
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
    SequentialLR,
    StepLR,
)

STEPS = 300
RTOL = STEPS * 10 * np.finfo(float).eps / 2  # torch goes from step to step, with at most 10 roundings in each


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


# --- Saving


def sequence(optimizer):
    parts = [LinearLR(optimizer), ExponentialLR(optimizer, gamma=0.9)]
    return SequentialLR(optimizer, parts, milestones=[4])
