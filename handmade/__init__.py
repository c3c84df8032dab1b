"""A multi-layer perceptron by hand, in NumPy: every backward pass is a formula, without automatic differentiation.

The modules are numbered in the order of the lecture: the perceptron, activations, losses, layers, the network with
backpropagation, optimizers, training, the chain rule with numbers, and the check of every gradient by differences.

Notation, here and everywhere
-----------------------------
N, I, O, K   samples in the batch, inputs, outputs, classes
X, Y, y      inputs (N, I), dense targets (N, O), class indices (N,)
W, b         weights (O, I) and bias (O,) of a Dense layer, laid out as in torch.nn.Linear
A, H         pre-activation A = X Wt + b, where Wt is W transposed, and activation H = f(A), both (N, O)
dX           the gradient of the loss with respect to X: the shape of X, always
theta        all parameters, and ``gradient`` their gradient, as one vector (P,) each: W0, b0, W1, b1, ...
System n     a row of the table in docs/lecture.md, which names the slides

Examples
--------
>>> import numpy as np, handmade as hm
>>> network = hm.MLP([3, 4, 2], activation="sigmoid", rng=0)
>>> network.neuron_count, network.weight_count, network.parameter_count
(6, 20, 26)
>>> loss, gradient = network.loss_and_gradient(np.ones((1, 3)), [0], loss="cross_entropy")
>>> network.theta -= 0.1 * gradient
>>> network.loss_and_gradient(np.ones((1, 3)), [0])[0] < loss
True
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from . import activations, initializers, losses, optimizers
from ._version import __version__ as __version__
from .activation_layers import GLU, PReLU, SwiGLU
from .base_layer import Layer
from .clipping import L1, ClipGradNorm, ClipGradValue, MaxNorm, clip_grad_norm_, clip_grad_value_
from .composites import Concatenate, Parallel, Residual, Sequential
from .dropout import AlphaDropout, Dropout
from .layers import Activation, Dense
from .mlp import MLP
from .network import Network
from .normalization import BatchNorm, GroupNorm, LayerNorm, RMSNorm
from .optimizers import (
    ASGD,
    LBFGS,
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
    ParameterGroups,
    RAdam,
    RMSprop,
    Rprop,
)

if TYPE_CHECKING:
    from . import checking as checking
    from . import data as data
    from . import estimators as estimators
    from . import export, files, information, metrics, plots, protocols, schedules
    from .callbacks import AveragedModel, EarlyStopping
    from .chain_rule import Trace, trace
    from .checking.assertion import assert_gradient
    from .checking.check_table import GradientCheck
    from .checking.diagnosis import diagnose_gradient
    from .checking.differences import StepSweep, numerical_gradient, step_sweep
    from .checking.gradients import check_gradient
    from .checking.network_loss import NetworkLoss
    from .checking.reports import Diagnosis
    from .compiled import compile
    from .configuration import show_config
    from .convert import from_sklearn, from_torch
    from .data import load_csv, load_digits, load_idx, load_npz, train_test_split
    from .files import from_config, load, register_activation, register_layer, save, to_config
    from .history import History
    from .lr_finder import LearningRateSearch, find_lr
    from .perceptron import Perceptron, delta_rule
    from .schedules import (
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
    from .training import fit
    from .training_warnings import TrainingWarning

__all__ = [
    # the perceptron
    "Perceptron",
    "delta_rule",
    # formulas, each with its backward
    "activations",
    "losses",
    "information",
    # layers
    "Layer",
    "Dense",
    "Activation",
    "PReLU",
    "GLU",
    "SwiGLU",
    "Dropout",
    "AlphaDropout",
    "BatchNorm",
    "LayerNorm",
    "RMSNorm",
    "GroupNorm",
    "Sequential",
    "Residual",
    "Parallel",
    "Concatenate",
    "initializers",
    # the network and backpropagation
    "Network",
    "MLP",
    # optimizers, and steps to chain with them
    "optimizers",
    "SGD",
    "Momentum1986",
    "ASGD",
    "Rprop",
    "Lion",
    "Adagrad",
    "RMSprop",
    "Adadelta",
    "Adam",
    "AdamW",
    "NAdam",
    "RAdam",
    "Adamax",
    "Adafactor",
    "Muon",
    "LBFGS",
    "ParameterGroups",
    "Chain",
    "L1",
    "ClipGradNorm",
    "ClipGradValue",
    "MaxNorm",
    "clip_grad_norm_",
    "clip_grad_value_",
    # learning rates over time
    "schedules",
    "StepLR",
    "MultiStepLR",
    "ExponentialLR",
    "ConstantLR",
    "LinearLR",
    "PolynomialLR",
    "CosineAnnealingLR",
    "LambdaLR",
    "MultiplicativeLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "OneCycleLR",
    "SequentialLR",
    "ChainedScheduler",
    "ReduceLROnPlateau",
    # training
    "fit",
    "EarlyStopping",
    "TrainingWarning",
    "AveragedModel",
    "History",
    "find_lr",
    "LearningRateSearch",
    "compile",
    "metrics",
    # gradients checked and explained
    "numerical_gradient",
    "NetworkLoss",
    "step_sweep",
    "StepSweep",
    "check_gradient",
    "GradientCheck",
    "diagnose_gradient",
    "assert_gradient",
    "Diagnosis",
    "trace",
    "Trace",
    "plots",
    "show_config",
    # types of arguments
    "protocols",
    # files
    "files",
    "save",
    "load",
    "to_config",
    "from_config",
    "register_layer",
    "register_activation",
    "from_torch",
    "from_sklearn",
    "export",
    # data
    "data",
    "load_digits",
    "load_idx",
    "load_csv",
    "load_npz",
    "train_test_split",
]

# Names that are imported when they are first asked for: serving a network needs none of them.
_LAZY = {
    "callbacks": ("AveragedModel", "EarlyStopping"),
    "convert": ("from_sklearn", "from_torch"),
    "data": ("load_csv", "load_digits", "load_idx", "load_npz", "train_test_split"),
    "estimators": (),
    "export": (),
    "files": ("from_config", "load", "register_activation", "register_layer", "save", "to_config"),
    "history": ("History",),
    "information": (),
    "metrics": (),
    "perceptron": ("Perceptron", "delta_rule"),
    "plots": (),
    "protocols": (),
    "schedules": (
        "ChainedScheduler",
        "ConstantLR",
        "CosineAnnealingLR",
        "CosineAnnealingWarmRestarts",
        "CyclicLR",
        "ExponentialLR",
        "LambdaLR",
        "LinearLR",
        "MultiplicativeLR",
        "MultiStepLR",
        "OneCycleLR",
        "PolynomialLR",
        "ReduceLROnPlateau",
        "SequentialLR",
        "StepLR",
    ),
    "training": ("fit",),
    "training_warnings": ("TrainingWarning",),
    "chain_rule": ("Trace", "trace"),
    "lr_finder": ("LearningRateSearch", "find_lr"),
    "compiled": ("compile",),
    "configuration": ("show_config",),
    "checking": (),
    "checking.network_loss": ("NetworkLoss",),
    "checking.reports": ("Diagnosis",),
    "checking.assertion": ("assert_gradient",),
    "checking.check_table": ("GradientCheck",),
    "checking.diagnosis": ("diagnose_gradient",),
    "checking.differences": ("StepSweep", "numerical_gradient", "step_sweep"),
    "checking.gradients": ("check_gradient",),
}

if not TYPE_CHECKING:  # a type checker would take __getattr__ as a promise that every name exists

    def __getattr__(name: str):
        """Import a lazy name, or raise AttributeError."""
        for module, names in _LAZY.items():
            if name in names or name == module:
                found = import_module(f".{module}", __name__)
                return globals().setdefault(name, found if name == module else getattr(found, name))
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
