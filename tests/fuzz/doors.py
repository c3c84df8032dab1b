"""Targets: every public function that takes arrays, given the same numbers in other clothes."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.text import Text

import handmade as hm
from handmade import losses, plots
from handmade.activations import ACTIVATIONS
from handmade.losses import LOSSES

from .arrays import ARRAYS, Hostile, draw_junk, dress
from .calls import ALIASES, CALLS, PLOTS, TRAININGS, Call, X, Y, run_quietly, square, target_of
from .functions import MEMORY, check
from .mutate import pick
from .rules import Violation

__all__ = ["DOORS", "TARGETS"]

X4, POSITIVE, SIGNS = np.hstack([X, X[:, :1] ** 2]), np.abs(X) + 0.1, np.sign(X)
ROUNDINGS = 1e5  # that training makes of one: BLAS sums in another order where strides differ
READ = {  # where objects that are numbers are read as such
    **dict.fromkeys(("numerical_gradient", "step_sweep", "steps of a sweep", "indices"), ("theta", "steps")),
    **dict.fromkeys(("check_gradient", "diagnose_gradient", "assert_gradient"), ("gradient",)),
    "class_weight": ("weights",),
}
PICTURE = 2**25  # bytes that matplotlib takes
# What a function takes although it holds no plain numbers: labels, samples of any kind.
TAKEN = {
    **dict.fromkeys(("encode_labels", "classes of encode_labels"), ("text", "bytes", "dates")),
    "train_test_split": ("text", "bytes", "objects", "dates", "records"),
    "save_npz": ("text", "bytes", "dates"),
    **dict.fromkeys(("fit", "find_lr", "X of fit"), ("sparse", "sparse matrix")),
}


class Door(NamedTuple):
    """A maker of a call, and which arguments are arrays of NumPy by contract: "the network checks them once"."""

    make: Callable[[], Call]
    arrays: tuple[str, ...] = ()


def _door(function: Callable[..., Any], *names: str, arrays: tuple[str, ...] = (), **arguments: Any) -> Door:
    """Return a door; errors may say ``names`` instead of the arguments' own."""
    annotated = [p.name for p in inspect.signature(function).parameters.values() if p.annotation == "Array"]
    return Door(lambda: Call(function, copy.deepcopy(arguments), names=(*ALIASES, *names)), (*arrays, *annotated))


def _network() -> hm.Network:
    return hm.MLP([3, 4, 2], "tanh", rng=0)


# ---- layers and networks -----------------------------------------------------------------------------------------

LAYERS: dict[str, Callable[[], Any]] = {
    "Dense": lambda: hm.Dense(4, 2, rng=0),
    "Activation": lambda: hm.Activation("gelu"),
    "PReLU": lambda: hm.PReLU(4),
    "GLU": hm.GLU,
    "SwiGLU": hm.SwiGLU,
    "Dropout": lambda: hm.Dropout(0.5, rng=0),
    "AlphaDropout": lambda: hm.AlphaDropout(0.5, rng=0),
    "BatchNorm": lambda: hm.BatchNorm(4),
    "LayerNorm": lambda: hm.LayerNorm(4),
    "RMSNorm": lambda: hm.RMSNorm(4),
    "GroupNorm": lambda: hm.GroupNorm(2, 4),
    "Sequential": lambda: hm.Sequential([hm.Dense(4, 2, rng=0), hm.Activation("relu")]),
    "Residual": lambda: hm.Residual([hm.Dense(4, 4, rng=0)]),
    "Concatenate": lambda: hm.Concatenate([hm.Dense(4, 2, rng=0)]),
    "Parallel": lambda: hm.Parallel([hm.Dense(1, 2, rng=0)], [hm.Dense(3, 1, rng=0)]),
    "Network": lambda: hm.MLP([4, 3, 2], rng=0),
}


def _layer_door(make: Callable[[], Any]) -> Door:
    """Return the call that passes forward and backward through a layer."""

    def run(X: Any, dH: Any) -> Any:
        layer = make()
        H, cache = layer.forward(X, training=True)
        return H, layer.backward(dH, cache)

    return _door(run, arrays=("X", "dH"), X=X4, dH=np.cos(make().predict(X4)))


def _with(use: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that uses a network made anew, and returns what is left in it too."""

    @functools.wraps(use)
    def run(**arrays: Any) -> Any:
        network = _network()
        return use(network, **arrays), network.theta, network.gradient

    return run


def _network_doors() -> dict[str, Door]:
    numbers, first = np.arange(26.0) / 26, _network().layers[0]
    return {
        **{f"{name}.backward": _layer_door(make) for name, make in LAYERS.items()},
        "W": _door(_with(lambda network, W: setattr(network.layers[0], "W", W)), W=first.W),
        "theta": _door(_with(lambda network, theta: setattr(network, "theta", theta)), theta=numbers),
        "gradient": _door(_with(lambda network, gradient: setattr(network, "gradient", gradient)), gradient=numbers),
        "blocks": _door(_with(lambda network, vector: network.blocks(vector)), "vector", vector=numbers),
        "load_state_dict": _door(
            _with(lambda network, W, b: network.load_state_dict(network.state_dict() | {"0.weight": W, "0.bias": b})),
            "0.weight", "0.bias", W=first.W, b=first.b,
        ),
        "predict": _door(_with(lambda network, X: network.predict(X, batch_size=5)), X=X),
        "predict_until": _door(_with(lambda network, X: network.predict_until(X, 2)), X=X),
        "loss_and_gradient": _door(
            _with(lambda network, X, y, w: network.loss_and_gradient(X, y, sample_weight=w)), "sample_weight",
            X=X, y=Y, w=POSITIVE[:, 0],
        ),
        "loss_and_gradient of one output": _door(
            _with(lambda network, X, y: network.loss_and_gradient(X, y, "mse_loss")), X=X, y=X[:, :2]
        ),
    }  # fmt: skip


# ---- formulas ----------------------------------------------------------------------------------------------------


def _formula_doors() -> dict[str, Door]:
    """Return the calls of activations, losses and their backwards."""
    doors: dict[str, Door] = {}
    for name, (f, backward) in ACTIVATIONS.items():
        second = list(inspect.signature(backward).parameters)[1]
        arrays = {"dH": np.cos(X), second: f(X) if second == "H" else X}
        doors[f"activations.{name}"] = _door(f, A=X)
        doors[f"activations.{name}_backward"] = _door(backward, **arrays)
    for name, functions in LOSSES.items():
        arrays = {"input": np.full_like(X, 0.3), "target": target_of(name)}
        weight = {"weight": POSITIVE[0]} if name in ("cross_entropy", "nll_loss", "multi_margin_loss") else {}
        doors[f"losses.{name}"] = _door(functions.value, **arrays, **weight)
        if name != "zero_one_loss":
            doors[f"losses.{name}_backward"] = _door(functions.backward, **arrays, **weight)
            both = functools.partial(_loss_and_backward, name)
            doors[f"loss_and_backward of {name}"] = _door(both, "sample_weight", **arrays, w=POSITIVE[:, 0])
    pairs: dict[str, dict[str, Any]] = {
        "quantile_loss": dict(input=X, target=SIGNS, quantile=np.array([0.1, 0.5, 0.9])),
        "gaussian_nll_loss": dict(input=X, target=SIGNS, var=POSITIVE),
        "margin_ranking_loss": dict(input1=X, input2=X[::-1].copy(), target=SIGNS),
        "cosine_embedding_loss": dict(input1=X, input2=X[::-1].copy(), target=SIGNS[:, 0]),
        "triplet_margin_loss": dict(anchor=X, positive=X[::-1].copy(), negative=SIGNS),
    }
    for name, arrays in pairs.items():
        doors[f"losses.{name}"] = _door(getattr(losses, name), **arrays)
        doors[f"losses.{name}_backward"] = _door(getattr(losses, f"{name}_backward"), **arrays)
    p = POSITIVE / POSITIVE.sum(axis=1, keepdims=True)
    return doors | {
        "information": _door(hm.information.information, p=p),
        "entropy": _door(hm.information.entropy, p=p),
        "kl_divergence": _door(hm.information.kl_divergence, p=p, q=p[::-1].copy()),
        "accuracy": _door(hm.metrics.accuracy, output=X, y=Y),
        "top_k_accuracy": _door(lambda output, y: hm.metrics.top_k_accuracy(output, y, 2), output=X, y=Y),
        "confusion_matrix": _door(hm.metrics.confusion_matrix, output=X, y=Y),
        "r2_score": _door(hm.metrics.r2_score, output=X, y=SIGNS),
    }


def _loss_and_backward(name: str, input: Any, target: Any, w: Any) -> Any:
    return losses.loss_and_backward(name, input, target, w)


# ---- data, training ----------------------------------------------------------------------------------


def _training_doors() -> dict[str, Door]:
    path = Path("file")
    return {
        "compiled step": _door(_compiled, "sample_weight", X=X, y=Y, w=POSITIVE[:, 0]),
        "Perceptron": _door(_perceptron, "y", X=X, y=SIGNS[:, 0], new=X[:2]),
        "delta_rule": _door(lambda X, y, w: hm.delta_rule(X, y, eta=0.1, w=w), X=X, y=SIGNS[:, 0], w=np.ones(3)),
        "encode_labels": _door(hm.data.encode_labels, labels=Y),
        "classes of encode_labels": _door(hm.data.encode_labels, labels=Y, classes=np.array([1, 0])),
        "train_test_split": _door(functools.partial(hm.train_test_split, rng=0), X=X, y=Y),
        "blobs": _door(lambda centers: hm.data.blobs(9, centers, rng=0), centers=X[:3]),
        "save_idx": _door(lambda array: (hm.data.save_idx(path, array), hm.load_idx(path)), array=X),
        "save_npz": _door(lambda X, y: (hm.data.save_npz(path, X, y), hm.load_npz(path)), X=X, y=Y),
        "X of fit": _door(_validated, "validation", "y", X=X, y=Y, w=POSITIVE[:, 0], held_X=X[:4], held_y=Y[:4]),
        "class_weight": _door(_weighted, "class_weight", weights=np.array([1.0, 2.0])),
        "indices": _door(
            lambda theta, i: hm.numerical_gradient(square, theta, indices=i), "indices",
            theta=np.ones(3), i=np.array([0, 2]),
        ),
        "steps of a sweep": _door(
            lambda theta, steps: hm.step_sweep(square, theta, steps=steps), theta=np.ones(3),
            steps=np.array([1e-3, 1e-5]),
        ),
        "NetworkLoss": _door(
            lambda X, y, theta: hm.NetworkLoss(_network(), X, y)(theta), X=X, y=Y, theta=_network().theta
        ),
        "trace": _door(lambda x, y: str(hm.trace(_network(), x, y)), "x", x=X[0], y=np.array([1.0, 0.0])),
    }  # fmt: skip


@functools.cache
def _step() -> Any:
    network = _network()
    return hm.compile(network, "cross_entropy", hm.SGD(lr=0.1)), network.theta.copy()


def _compiled(X: Any, y: Any, w: Any) -> Any:
    step, start = _step()
    step.network.theta = start
    return step(X, y, w), step.gradient(X, y, w), step.predict(X)


def _perceptron(X: Any, y: Any, new: Any) -> Any:
    unit = hm.Perceptron().fit(X, y, max_epochs=3)
    return unit.w, unit.decision_function(new), unit.predict(new)


def _validated(X: Any, y: Any, w: Any, held_X: Any, held_y: Any) -> Any:
    network = _network()
    history = hm.fit(
        network, X, y, sample_weight=w, validation=(held_X, held_y), epochs=1, rng=0, progress=False, metrics="accuracy"
    )
    return history.loss, history.validation_loss, history.metrics["accuracy"], network.theta


def _weighted(weights: Any) -> Any:
    return hm.fit(_network(), X, Y, class_weight=weights, epochs=1, rng=0, progress=False).loss


# ---- pictures ----------------------------------------------------------------------------------------------------


def _picture_doors() -> dict[str, Door]:
    small, two, line = hm.MLP([1, 1], bias=False, rng=0), hm.MLP([1, 1], rng=0), X[:, :1]
    return {
        "plots.network": _door(lambda x: plots.network(_network(), x=x), "x", x=X[0]),
        "vector of plots.network": _door(lambda vector: plots.network(_network(), vector=vector), vector=np.ones(26)),
        "plots.knobs": _door(
            lambda X, y, w: plots.knobs(_network(), X, y, loss="cross_entropy", sample_weight=w), "sample_weight",
            X=X, y=Y, w=POSITIVE[:, 0],
        ),
        "plots.hinton": _door(plots.hinton, W=X),
        "plots.descent_1d": _door(lambda X, y: plots.descent_1d(small, X, y, steps=2), X=line, y=X[:, 1:2]),
        "plots.descent_2d": _door(lambda X, y: plots.descent_2d(two, X, y, steps=2), X=line, y=X[:, 1:2]),
        "plots.decision_boundary": _door(
            lambda X, y: plots.decision_boundary(hm.MLP([2, 3, 2], rng=0), X, y, resolution=8), X=X[:, :2], y=Y
        ),
        "plots.chain_rule": _door(lambda x, y: plots.chain_rule(hm.trace(small, x, y)), "x", x=line[0], y=line[1]),
    }  # fmt: skip


def numbers(result: Any) -> tuple[Any, ...]:
    """Return a result as arrays, numbers and text: a figure as all that it draws, an object as what it prints."""
    if isinstance(result, dict | list | tuple):
        parts = result.values() if isinstance(result, dict) else result
        return tuple(number for part in parts for number in numbers(part))
    if isinstance(result, np.ndarray | np.generic | int | float):
        return (result,)
    if hasattr(result, "findobj"):
        return tuple(part for artist in result.findobj() for part in _drawn(artist))
    return (str(result),)


def _drawn(artist: Any) -> list[Any]:
    """Return the coordinates, colours and text of an artist."""
    found = [getattr(artist, name)() for name in ("get_xydata", "get_array") if hasattr(artist, name)]
    if isinstance(artist, Text):
        found.append(artist.get_text())
    if hasattr(artist, "get_paths"):
        found += [path.vertices for path in artist.get_paths()]
    return [part for part in found if part is not None]


# ---- the target --------------------------------------------------------------------------------------------------

TABLES = {name: Door(make) for name, make in (CALLS | TRAININGS | PLOTS).items() if not name.startswith("clip_grad")}
DOORS = TABLES | _network_doors() | _formula_doors() | _training_doors() | _picture_doors()


def _arrays(call: Call) -> list[str]:
    return [name for name, value in call.arguments.items() if isinstance(value, np.ndarray) and value.ndim]


NAMES = [name for name, door in DOORS.items() if _arrays(door.make())]


def fuzz_doors(rng: np.random.Generator) -> None:
    """Give some arrays of a valid call other clothes, or something that is no array in their place."""
    name = pick(rng, NAMES)
    door = DOORS[name]
    calls, hostile = [door.make(), door.make()], {}
    for argument in _arrays(calls[0]):
        if rng.random() < 0.5 or not hostile:
            hostile[argument] = _hostile(rng, name, argument, calls[0].arguments[argument])
    turn = iter(calls)

    def run(**given: Any) -> Any:
        call = next(turn)
        call.arguments.update(given)
        return numbers(run_quietly(call))

    memory = PICTURE if "plots." in name or name in PLOTS else MEMORY
    try:
        check(rng, run, hostile, ROUNDINGS, calls[0].names, calls[0].state, of_largest=True, memory=memory)
    except Violation as violation:
        raise Violation(violation.kind, f"{name}: {violation}") from violation


def _hostile(rng: np.random.Generator, name: str, argument: str, value: np.ndarray) -> Hostile:
    """Return what takes the place of an argument."""
    if argument in DOORS[name].arrays:
        while (dressed := dress(rng, value)).kind not in ARRAYS:
            pass
        return dressed
    is_read = argument in READ.get(name, ())
    if rng.random() < 0.05 and not is_read and name not in TAKEN and (junk := draw_junk(rng)).value is not None:
        return junk
    dressed = dress(rng, value)
    if dressed.kind == "objects" and is_read:
        return Hostile(dressed.value, value, dressed.kind)
    is_taken = dressed.kind in TAKEN.get(name, ())
    return Hostile(dressed.value, dressed.value, dressed.kind) if is_taken else dressed


TARGETS = {"doors": fuzz_doors}
