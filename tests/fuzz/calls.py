"""Valid calls of all public functions and classes, in which the fuzzer replaces arguments."""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import io
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

import handmade as hm
from handmade import estimators, export, grading, plots, summary
from handmade.activations import ACTIVATIONS
from handmade.initializers import INITIALIZERS
from handmade.losses import LOSSES

__all__ = ["CALLS", "OPTIMIZERS", "PLOTS", "TRAININGS", "X", "Y", "Call", "run_quietly", "square", "target_of"]

# Other words that errors use for an argument.
ALIASES = ("options", "p:", "in_features", "initializer", "layer", "loss", "activation", "Dense", "BatchNorm")
ALIASES += ("input", "X", "theta", "gradient", "target")


class Call(NamedTuple):
    """A call with valid arguments.

    ``counts`` are the arguments of which large numbers are honest requests, ``names`` what errors may name besides the
    arguments, ``state`` gives what an error must not change; numbers overflow on the way where ``may_overflow``.
    """

    function: Callable[..., Any]
    arguments: dict[str, Any]
    counts: tuple[str, ...] = ()
    names: tuple[str, ...] = ALIASES
    state: Callable[[], Any] = lambda: None
    may_overflow: bool = False


X = np.random.default_rng(0).normal(size=(12, 3))
Y = np.arange(12) % 2
OPTIMIZERS: list[Callable[..., Any]] = [
    *(hm.SGD, hm.Momentum1986, hm.ASGD, hm.Rprop, hm.Lion, hm.Adagrad, hm.RMSprop, hm.Adadelta),
    *(hm.Adam, hm.AdamW, hm.NAdam, hm.RAdam, hm.Adamax, hm.Adafactor, hm.Muon),
]

# The targets of losses that do not take numbers from 0 to 1.
TARGET_OF = {
    **dict.fromkeys(("cross_entropy", "multi_margin_loss", "nll_loss"), Y),
    **dict.fromkeys(("hinge_loss", "soft_margin_loss", "hinge_embedding_loss", "zero_one_loss"), np.sign(X)),
    "multilabel_margin_loss": np.stack([Y, 0 * Y - 1, Y], axis=1),
}


def target_of(loss: str) -> np.ndarray:
    """Return a target for X that a loss takes."""
    return TARGET_OF.get(loss, np.full_like(X, 0.5))


def square(theta: Any) -> float:
    """Return the sum of squares."""
    return float((theta * theta).sum())


def run_quietly(call: Call) -> Any:
    """Run a call without what it prints and the warnings that toy data deserve; errors of files name the path."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore", hm.TrainingWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            return call.function(**call.arguments)
        except FloatingPointError as error:  # where training diverges
            raise ValueError(f"loss: {error}") from error
        except OSError as error:
            if not {"path", "source", "adapter", "checkpoint"} & set(call.arguments):
                raise
            raise ValueError(f"path: {error}") from error


def _call(function: Callable[..., Any], good: dict[str, Any], counts: tuple[str, ...] = (), **fields: Any) -> Call:
    """Return a call with the defaults, and ``good`` arguments for the parameters that have none."""
    parameters = inspect.signature(function).parameters.values()
    arguments = {
        p.name: copy.deepcopy(good[p.name]) if p.name in good else p.default
        for p in parameters
        if p.name in good or (p.default is not p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL))
    }
    return Call(function, arguments, counts, **fields)


# ---- classes, constructed and used -------------------------------------------------------------------------------


def _stepped(make: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function with the options of an optimizer, which takes two steps."""

    @functools.wraps(make)
    def run(**options: Any) -> Any:
        optimizer, theta = make(**options), np.ones(4)
        if hasattr(optimizer, "bind"):
            optimizer.bind(hm.Network([hm.Dense(2, 2, bias=False)]))
        for _ in range(2):
            optimizer.step(theta, np.array([0.1, -0.2, 0.0, 3.0]))
        return theta

    return run


def _passed(make: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function with the options of a layer, which passes forward and backward."""

    @functools.wraps(make)
    def run(**options: Any) -> Any:
        layer = make(**options)
        H, cache = layer.forward(X[:, :2] if isinstance(layer, hm.GLU) else X, training=True)
        return H, layer.backward(np.ones_like(H), cache)

    return run


def _scheduled(make: Callable[..., Any]) -> Callable[[], Call]:
    """Return a maker of a call with the options of a schedule, which runs for six steps."""
    parts: Any = {
        "step_size": 2, "milestones": [2, 4], "gamma": 0.9, "T_max": 4, "T_0": 2, "base_lr": 0.01, "max_lr": 0.1,
        "total_steps": 9, "lr_lambda": lambda t: 1 / (1 + t), "total_iters": 4, "cycle_momentum": False,
    }  # fmt: skip

    def call() -> Call:
        optimizer = hm.SGD(lr=0.1)
        good = parts | {"optimizer": optimizer}
        if make is hm.SequentialLR:
            good |= {"schedulers": [hm.LinearLR(optimizer), hm.ExponentialLR(optimizer, 0.9)], "milestones": [3]}
        if make is hm.ChainedScheduler:
            good |= {"schedulers": [hm.LinearLR(optimizer), hm.ExponentialLR(optimizer, 0.9)]}
        parameters = inspect.signature(make).parameters.values()
        arguments = {p.name: good.get(p.name, p.default) for p in parameters}

        def run(**options: Any) -> Any:
            schedule, rates = make(**options), []
            for number in range(6):
                schedule.step(*([1.0 / (1 + number)] if getattr(schedule, "needs_metric", False) else []))
                rates.append(optimizer.lr)
            return rates

        return Call(run, arguments, names=(*ALIASES, "schedule", "lr", "momentum"), may_overflow=True)

    return call


# ---- the table ---------------------------------------------------------------------------------------------------


def _calls() -> dict[str, Callable[[], Call]]:
    """Return the calls by name; each is made anew for each case."""
    calls: dict[str, Callable[[], Call]] = {}
    good: dict[str, Any] = {"max_norm": 1.0, "clip_value": 1.0, "l1": 0.1, "weights": [np.ones((2, 3))]}
    for make in OPTIMIZERS:
        calls[make.__name__] = lambda make=make: _call(_stepped(make), {}, may_overflow=True)
    for make in (hm.L1, hm.ClipGradNorm, hm.ClipGradValue, hm.MaxNorm, hm.EarlyStopping, hm.AveragedModel, hm.LBFGS):
        calls[make.__name__] = lambda make=make, good=good: _call(make, good)
    for name, (f, _) in ACTIVATIONS.items():
        calls[f"activations.{name}"] = lambda f=f: _call(f, {"A": X})
    for name, functions in LOSSES.items():
        good = {"input": np.full_like(X, 0.3), "target": target_of(name)}
        calls[f"losses.{name}"] = lambda f=functions.value, good=good: _call(f, good)
    for name, f in INITIALIZERS.items():
        good = {"shape": (3, 4), "fan_in": 4, "fan_out": 3, "rng": 0}
        calls[f"initializers.{name}"] = lambda f=f, good=good: _call(f, good, tuple(good)[:3])
    for name in hm.schedules.__all__:
        if name not in ("LRScheduler", "Schedule"):  # the base classes
            calls[name] = _scheduled(getattr(hm.schedules, name))
    return calls | _layers() | _data()


def _layers() -> dict[str, Callable[[], Call]]:
    """Return the calls of layers and networks."""
    wide = {"in_features": 3, "out_features": 2}
    good: dict[Callable[..., Any], dict[str, Any]] = {
        hm.Dense: {**wide, "rng": 0}, hm.Dropout: {"rng": 0}, hm.AlphaDropout: {"rng": 0}, hm.PReLU: {}, hm.GLU: {},
        hm.BatchNorm: {"num_features": 3}, hm.LayerNorm: {"num_features": 3}, hm.RMSNorm: {"num_features": 3},
        hm.GroupNorm: {"num_groups": 1, "num_channels": 3},
        hm.Sequential: {"layers": [hm.Dense(3, 2, rng=0)]}, hm.Residual: {"layers": [hm.Dense(3, 3, rng=0)]},
        hm.Concatenate: {"layers": [hm.Dense(3, 2, rng=0)]},
    }  # fmt: skip
    counts = ("in_features", "out_features", "num_features", "num_groups", "num_channels", "num_parameters")
    calls: dict[str, Callable[[], Call]] = {
        make.__name__: lambda make=make: _call(_passed(make), good[make], counts) for make in good
    }
    return calls | {
        "Activation": lambda: Call(hm.Activation, {"function": "leaky_relu", "negative_slope": 0.1}),
        "MLP": lambda: _call(hm.MLP, {"sizes": [3, 4, 2], "rng": 0}, ("sizes",)),
        "Network": lambda: Call(hm.Network, {"layers": [hm.Dense(3, 2)], "dtype": None}),
        "Perceptron": lambda: Call(hm.Perceptron, {"bias": True}),
    }


def _data() -> dict[str, Callable[[], Call]]:
    """Return the calls of functions of data, metrics and information."""
    few = {"n_samples": 4, "rng": 0}
    return {
        "delta_rule": lambda: _call(hm.delta_rule, {"X": X, "y": Y, "eta": 0.1}, ("epochs",)),
        "train_test_split": lambda: _call(hm.train_test_split, {"X": X, "y": Y, "rng": 0}),
        "spirals": lambda: _call(hm.data.spirals, few, ("n_samples", "classes")),
        "moons": lambda: _call(hm.data.moons, few, ("n_samples",)),
        "blobs": lambda: _call(hm.data.blobs, few, ("n_samples", "centers")),
        "parity": lambda: Call(hm.data.parity, {"bits": 3}),
        "symmetry": lambda: Call(hm.data.symmetry, {"bits": 3}),
        "confusion_matrix": lambda: Call(hm.metrics.confusion_matrix, {"output": Y, "y": Y, "n_classes": 2}),
        "top_k_accuracy": lambda: Call(hm.metrics.top_k_accuracy, {"output": X, "y": Y, "k": 2}),
        "entropy": lambda: Call(hm.information.entropy, {"p": np.full(4, 0.25), "dim": -1}),
        "clip_grad_norm_": lambda: _call(hm.clip_grad_norm_, {"gradient": X.ravel(), "max_norm": 1.0}),
        "clip_grad_value_": lambda: _call(hm.clip_grad_value_, {"gradient": X.ravel(), "clip_value": 1.0}),
        "show_config": lambda: Call(hm.show_config, {"mode": "dicts"}),
    }


# ---- calls with a network ----------------------------------------------------------------------------------------


def _with_network(
    function: Callable[..., Any], sizes: tuple[int, ...] = (3, 4, 2), bias: bool = True, **good: Any
) -> Callable[[], Call]:
    """Return a maker of a call whose network, optimizer included, an error must not change."""

    def call() -> Call:
        network, optimizer = hm.MLP(sizes, "tanh", bias=bias, rng=0), hm.Adam(0.01)
        parts: dict[str, Any] = {"network": network, "X": X[:, : sizes[0]], "y": Y, "optimizer": optimizer} | good
        if function in (hm.fit, hm.find_lr):
            parts["rng"] = 0
        parameters = inspect.signature(function).parameters.values()
        arguments = {p.name: parts.get(p.name, p.default) for p in parameters if p.kind != p.VAR_KEYWORD}

        def state() -> Any:
            return network.theta.tobytes(), repr(optimizer.state_dict())

        return Call(function, arguments, ("epochs", "steps", "size", "sizes", "bits"), state=state, may_overflow=True)

    return call


def _checks(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a check as a function whose X, y and gradient have names."""

    def check(network: Any, X: Any, y: Any, gradient: Any, **options: Any) -> Any:
        return function(network, X, y, gradient, **options)

    options = [p for p in inspect.signature(function).parameters.values() if p.kind == p.KEYWORD_ONLY]
    own = list(inspect.signature(check).parameters.values())[:4]
    check.__signature__ = inspect.Signature([*own, *options])  # type: ignore[attr-defined]
    return check


def _fitted(make: Callable[..., Any]) -> Callable[[], Call]:
    """Return a maker of a call with the options of an estimator, which trains and predicts."""

    def run(**options: Any) -> Any:
        return make(**options).fit(X, Y).predict(X)

    small = {"hidden_layer_sizes": (4,), "max_iter": 2, "random_state": 0}
    parameters = inspect.signature(make).parameters.values()
    counts = ("hidden_layer_sizes", "max_iter", "n_iter_no_change", "max_fun", "batch_size")
    return lambda: Call(
        run, {p.name: copy.deepcopy(small.get(p.name, p.default)) for p in parameters}, counts, may_overflow=True
    )


def _network() -> hm.Network:
    return hm.MLP([3, 4, 2], "tanh", rng=0)


def _gradient() -> Any:
    return _network().loss_and_gradient(X, Y)[1].copy()


def _conversions() -> dict[str, Callable[[], Call]]:
    """Return the calls that make networks of other things."""
    linear = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU())
    fitted = MLPClassifier((2,), max_iter=1, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted.fit(X, Y)
    return {
        "from_config": lambda: _call(hm.from_config, {"config": hm.to_config(_network())}),
        "from_torch": lambda: _call(hm.from_torch, {"source": linear}, names=(*ALIASES, "path")),
        "from_sklearn": lambda: _call(hm.from_sklearn, {"mlp": fitted}),
        "save": lambda: _call(hm.save, {"network": _network(), "path": "network.npz", "metadata": {"a": 1}}),
        "ParameterGroups": lambda: _call(hm.ParameterGroups, {"groups": {"*.bias": hm.SGD(), "*": hm.Adam()}}),
    }


def _trainings() -> dict[str, Callable[[], Call]]:
    """Return the calls that train, check and export."""
    return {
        "fit": _with_network(hm.fit, epochs=1, progress=False),
        "find_lr": _with_network(hm.find_lr, steps=10),
        "compile": _with_network(hm.compile),
        "check_gradient": _with_network(_checks(hm.check_gradient), gradient=_gradient(), rng=0),
        "diagnose_gradient": _with_network(_checks(hm.diagnose_gradient), gradient=_gradient()),
        "assert_gradient": _with_network(_checks(hm.assert_gradient), gradient=_gradient()),
        "numerical_gradient": _with_network(hm.numerical_gradient, f=square, theta=np.ones(3)),
        "step_sweep": _with_network(hm.step_sweep, f=square, theta=np.ones(3)),
        "NetworkLoss": _with_network(hm.NetworkLoss),
        "trace": _with_network(hm.trace, x=X[0], y=[1.0, 0.0]),
        "to_c": _with_network(export.to_c),
        "to_onnx": _with_network(export.to_onnx),
        "to_config": _with_network(hm.to_config),
        "summarize": _with_network(summary.summarize),
        "Exercise": _with_network(grading.Exercise),
        "MLPClassifier": _fitted(estimators.MLPClassifier),
        "MLPRegressor": _fitted(estimators.MLPRegressor),
        "PerceptronClassifier": _fitted(estimators.PerceptronClassifier),
    }


def _plots() -> dict[str, Callable[[], Call]]:
    """Return the calls that draw."""
    history = hm.History(loss=[1.0, 0.5], validation_loss=[1.0, 0.7], metrics={"accuracy": [0.5, 0.9]})
    good: dict[str, dict[str, Any]] = {
        "losses": {},
        "descent_1d": {"sizes": (1, 1), "bias": False, "loss": "mse_loss", "X": X[:, :1], "y": X[:, :1], "steps": 2},
        "knobs": {"loss": "cross_entropy"},
        "network": {},
        "history": {"history": history},
        "decision_boundary": {"sizes": (2, 4, 2), "resolution": 8},
        "hinton": {"W": X},
        "descent_2d": {"sizes": (1, 1), "loss": "mse_loss", "X": X[:, :1], "y": X[:, :1], "steps": 2},
        "learning_rates": {"search": hm.LearningRateSearch(np.array([0.1, 1.0]), X[0, :2], X[1, :2], 0.1)},
        "chain_rule": {"trace": hm.trace(hm.MLP([1, 1], rng=0), [1.0], [0.5])},
        "diagnosis": {"diagnosis": hm.diagnose_gradient(_network(), X, Y, 2 * _gradient())},
    }
    return {name: _with_network(getattr(plots, name), **options) for name, options in good.items()}


CALLS, TRAININGS, PLOTS = _calls() | _conversions(), _trainings(), _plots()
