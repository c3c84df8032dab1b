"""Target: every parameter of every public function, class and method with a value of another type.

The valid calls of other targets have an argument for each option. Here one of them gets a wrong value, and an error has
to name that argument, not only some argument of the call.
"""

from __future__ import annotations

import functools
import inspect
import re
import reprlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

import handmade as hm
from handmade import estimators, losses
from handmade.activations import ACTIVATIONS
from handmade.losses import LOSSES

from .calls import CALLS, TRAININGS, Call, X, Y, run_quietly, target_of
from .mutate import pick
from .options import HOSTILE, LARGE
from .rules import Violation, observe

__all__ = ["EVERY", "TARGETS", "WRONG", "check_argument"]

SCALARS = [np.dtype(code).type(1) for code in "?bBhHiIlLqQefdgFDGSUO" if code != "O"]
WRONG: list[Any] = [*HOSTILE, *SCALARS, np.timedelta64(1, "s"), np.float64("nan"), np.array(None), [[1.0], [2.0, 3.0]]]
SIGNS = {"margin_ranking_loss": np.sign(X), "cosine_embedding_loss": np.sign(X[:, 0])}  # targets of losses of pairs
# What errors call an argument besides its name.
ALSO = {
    "betas": ("beta1", "beta2"), "layers": ("layer",), "optimizer": ("lr", "schedule"),
    "schedulers": ("schedule", "milestones"), "class_weight": ("class",), "groups": ("optimizer",),
    "config": ("layers", "type", "format", "version"), "axes": ("ax",), "source": ("path", "state_dict"),
    **dict.fromkeys(("in_features", "num_features", "num_channels", "num_parameters", "sizes"), ("X", "num_groups")),
    "last_epoch": ("total_steps",), "dim": ("sum to 1 along axis",), "classes": ("labels",), "y": ("target",),
    "function": ("activation", "negative_slope"), "n_classes": ("y",), "state": ("state_dict",),
    "validation": ("X", "y"), "step": ("theta",),
    "sample_weight": ("Sample weights", "numbers of samples", "at least 1 dimension", "with 0 sample"),
    **dict.fromkeys(("alpha", "epsilon"), ("training diverges",)),
}  # fmt: skip


def _options(function: Callable[..., Any], **arguments: Any) -> Callable[[], Call]:
    """Return a maker of a call with these arguments and every default."""
    parameters = inspect.signature(function).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    return lambda: Call(function, defaults | arguments)


def _functions() -> dict[str, Callable[[], Call]]:
    """Return the calls of functions whose options no other target changes."""
    calls: dict[str, Callable[[], Call]] = {}
    for name, (f, backward) in ACTIVATIONS.items():
        second = list(inspect.signature(backward).parameters)[1]
        calls[f"{name}_backward"] = _options(backward, **{"dH": np.cos(X), second: f(X) if second == "H" else X})
    pairs = {"input1": X, "input2": X[::-1], "anchor": X, "positive": X[::-1], "negative": np.sign(X), "var": X * X}
    for name in losses.__all__:
        if name.endswith(("_backward", "_loss", "_div", "_entropy", "_logits", "_error")) and name not in LOSSES:
            f, kind = getattr(losses, name), name.removesuffix("_backward")
            wanted = inspect.signature(f).parameters
            good = {key: value for key, value in pairs.items() if key in wanted}
            if "target" in wanted:
                good["target"] = SIGNS.get(kind, target_of(kind))
            if "input" in wanted:
                good["input"] = np.full_like(X, 0.3)
            if name not in ("zero_one_loss_backward", "loss_and_backward"):
                calls[name] = _options(f, **good)
    return calls | {
        "loss_and_backward": _options(losses.loss_and_backward, loss="mse_loss", input=X, target=np.sign(X)),
        "find_loss": _options(losses.find_loss, loss="mse_loss"),
        "kl_divergence": _options(hm.information.kl_divergence, p=np.full((2, 4), 0.25), q=np.full((2, 4), 0.25)),
        "encode_labels": _options(hm.data.encode_labels, labels=Y),
    }


# ---- methods -----------------------------------------------------------------------------------------------------


def _method(make: Callable[[], Any], name: str, **arguments: Any) -> Callable[[], Call]:
    """Return a maker of the call of a method of something new."""

    def call() -> Call:
        thing = make()
        method = getattr(thing, name)
        state = getattr(thing, "state_dict", lambda: 0)
        defaults = {
            p.name: p.default for p in inspect.signature(method).parameters.values() if p.default is not p.empty
        }
        return Call(method, defaults | arguments, state=lambda: repr(state()))

    return call


def _network() -> hm.Network:
    return hm.MLP([3, 4, 2], "tanh", rng=0)


def _search() -> hm.LearningRateSearch:
    return hm.LearningRateSearch(np.array([0.1, 1.0]), X[0, :2], X[1, :2], 0.1)


def _averaged() -> hm.AveragedModel:
    average = hm.AveragedModel()
    average(_network(), hm.History())
    return average


def _fitted() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimators.MLPClassifier((4,), max_iter=1, random_state=0).fit(X, Y)


def _fitted_perceptron() -> Any:
    return estimators.PerceptronClassifier(random_state=0).fit(X, Y)


def _methods() -> dict[str, Callable[[], Call]]:
    blocks = _network().state_dict()
    return {
        "Network.loss_and_gradient": _method(_network, "loss_and_gradient", X=X, y=Y),
        "Network.predict": _method(_network, "predict", X=X),
        "Network.predict_until": _method(_network, "predict_until", X=X, layers=1),
        "Network.forward": _method(_network, "forward", X=X),
        "Network.blocks": _method(_network, "blocks", vector=np.ones(26)),
        "Network.astype": _method(_network, "astype", dtype="float32"),
        "Network.head": _method(_network, "head", loss="cross_entropy"),
        "Network.load_state_dict": _method(_network, "load_state_dict", state=blocks),
        "Network.summary": _method(_network, "summary"),
        "Perceptron.fit": _method(hm.Perceptron, "fit", X=X, y=np.sign(X[:, 0]), max_epochs=2),
        "NetworkLoss": _method(lambda: hm.NetworkLoss(_network(), X, Y), "__call__", theta=_network().theta),
        "AveragedModel.load_state_dict": _method(_averaged, "load_state_dict", state_dict=_averaged().state_dict()),
        "History.to_csv": _method(hm.History, "to_csv", path="history.csv"),
        "MLPClassifier.fit": _method(_fitted, "fit", X=X, y=Y),
        "MLPClassifier.partial_fit": _method(_fitted, "partial_fit", X=X, y=Y),
        "MLPClassifier.predict": _method(_fitted, "predict", X=X),
        "MLPClassifier.score": _method(_fitted, "score", X=X, y=Y),
        "PerceptronClassifier.fit": _method(_fitted_perceptron, "fit", X=X, y=Y),
        "PerceptronClassifier.decision_function": _method(_fitted_perceptron, "decision_function", X=X),
    }


def options_of(call: Call) -> list[str]:
    """Return the arguments that are no arrays: those have targets of their own."""
    return [name for name, value in call.arguments.items() if not isinstance(value, np.ndarray)]


EVERY = CALLS | TRAININGS | _functions() | _methods()


def check_argument(name: str, argument: str, value: Any) -> None:
    """Call with one wrong argument; raise Violation unless the call takes it or names it."""
    call = EVERY[name]()
    call.arguments[argument] = value
    said = f"{name}({argument}={reprlib.repr(value)})"
    words = (argument, *ALSO.get(argument, ()))
    try:
        outcome = observe(functools.partial(run_quietly, call), [*call.arguments, *call.names, *words], (), call.state,
                          may_overflow=True)  # fmt: skip
        error = "" if outcome.error is None else str(outcome.error)
        if error and not any(re.search(rf"\b{re.escape(word)}\b", error) for word in words):
            raise Violation("name", f"expected {argument} in {type(outcome.error).__name__}: {error}")
    except Violation as violation:
        raise Violation(violation.kind, f"{said}: {violation}") from violation


def fuzz_signatures(rng: np.random.Generator) -> None:
    """Give one parameter a value of another type."""
    name = pick(rng, list(EVERY))
    call = EVERY[name]()
    if not options_of(call):
        return
    argument, value = pick(rng, options_of(call)), pick(rng, WRONG)
    if (argument in call.counts and _is_large(value)) or (argument in ("path", "metadata") and isinstance(value, str)):
        return
    check_argument(name, argument, value)


def _is_large(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) in LARGE


TARGETS = {"signatures": fuzz_signatures}
