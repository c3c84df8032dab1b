"""Targets: things with a state that are used several times: steps, schedules, callbacks, estimators, registers."""

from __future__ import annotations

import copy
import csv
import functools
import io
import json
import pickle
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from sklearn.base import clone

import handmade as hm
from handmade import estimators
from handmade._config import LAYERS
from handmade.activations import REGISTERED
from handmade.grading import Grade, Item, results

from .arrays import ARRAYS, draw_junk, draw_numbers, dress
from .calls import X, Y
from .mutate import pick
from .options import HOSTILE
from .rules import Violation, observe, same_numbers

__all__ = ["TARGETS", "make_schedules"]


# ---- steps -------------------------------------------------------------------------------------------------------


def fuzz_lbfgs(rng: np.random.Generator) -> None:
    """Minimize a convex function from any vector; an error of it, or of an argument, leaves theta and state alone."""
    P = int(rng.integers(1, 6))
    scales, start = 10.0 ** rng.uniform(-2, 2, P), rng.normal(size=P) * 10.0 ** rng.integers(-2, 3)
    dressed, fails = dress(rng, start.copy()), int(rng.integers(1, 30))
    failure = pick(rng, [None, None, "raise", "nan", "inf", "text", "None"])
    search = pick(rng, [None, "strong_wolfe"])
    optimizer = hm.LBFGS(float(rng.uniform(0.1, 1)), max_iter=int(rng.integers(1, 8)), line_search_fn=search)
    theta, gradient = dressed.value, np.zeros(P)

    def loss_at(theta: np.ndarray, gradient: np.ndarray) -> float:
        gradient[...] = scales * theta
        return float((scales * theta**2).sum() / 2)

    def evaluate(calls: list[int]) -> Any:
        calls.append(1)
        if len(calls) != fails or failure is None:
            return loss_at(theta, gradient)
        gradient[...] = scales * theta
        if failure == "raise":
            raise ValueError("theta: of the user's own")
        return {"nan": np.nan, "inf": np.inf, "text": "text", "None": None}[failure]

    calls: list[int] = []

    def state() -> Any:
        return repr(optimizer.state_dict()), bytes(np.asarray(theta).data) if dressed.kind in ARRAYS else 0

    names = ["theta", "gradient", "evaluate", "float", "could not convert"]
    outcome = observe(lambda: optimizer.step(theta, gradient, lambda: evaluate(calls)), names, [], state)
    if outcome.error is not None or dressed.is_refused or failure is not None:
        if outcome.error is None and dressed.is_refused:
            raise Violation("taken", dressed.kind)
        return
    plain, other, slope = hm.LBFGS(), start.copy(), np.zeros(P)
    plain.load_state_dict(hm.LBFGS(optimizer.lr, optimizer.max_iter, line_search_fn=search).state_dict())
    plain.line_search_fn = search
    first = plain.step(other, slope, lambda: loss_at(other, slope))
    if first != outcome.value or not same_numbers(np.asarray(theta), other, 1e-9, of_largest=True):
        raise Violation("wrong", f"{dressed.kind}: {theta}, plain {other}")
    if search and loss_at(other, slope) > first:
        raise Violation("wrong", f"the loss rose from {first}")


def fuzz_steps(rng: np.random.Generator) -> None:
    """Apply clips, penalties and limits alone and in a chain: as their formulas say, in plain NumPy."""
    O, I = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    theta, gradient = draw_numbers(rng, (O * I,)).astype(float), draw_numbers(rng, (O * I,)).astype(float)
    theta, gradient = np.clip(theta, -1e100, 1e100), np.clip(gradient, -1e100, 1e100)
    limit, order = float(10.0 ** rng.uniform(-3, 3)), float(pick(rng, [1.0, 2.0, 3.0, np.inf]))
    weights = theta.reshape(O, I)

    def shorten(theta: np.ndarray, gradient: np.ndarray) -> None:
        rows = theta.reshape(O, I)
        norm = np.sqrt((rows * rows).sum(axis=1, keepdims=True))
        rows *= np.where(norm <= limit, 1, limit / norm)

    def clip_norm(theta: np.ndarray, gradient: np.ndarray) -> None:
        norm = np.linalg.norm(gradient, order)
        gradient *= min(1.0, limit / (norm + 1e-6)) if not np.isnan(norm) else np.nan

    def descend(theta: np.ndarray, gradient: np.ndarray) -> None:
        theta -= 0.1 * gradient

    def penalize(theta: np.ndarray, gradient: np.ndarray) -> None:
        gradient += limit * np.sign(theta)

    known: list[tuple[Any, Callable[..., Any]]] = [
        (hm.ClipGradNorm(limit, order), clip_norm),
        (hm.ClipGradValue(limit), lambda theta, gradient: np.clip(gradient, -limit, limit, out=gradient)),
        (hm.L1(limit), penalize),
        (hm.MaxNorm([weights], limit), shorten),
        (hm.SGD(lr=0.1), descend),
    ]
    chosen = [pick(rng, known) for _ in range(int(rng.integers(1, 5)))]
    if len({id(step) for step, _ in chosen}) < len(chosen) or (len(chosen) > 1 and known[-1] not in chosen):
        return  # a chain has one optimizer, and each step once
    step = hm.Chain(*(step for step, _ in chosen)) if len(chosen) > 1 else chosen[0][0]
    expected, slope = theta.copy(), gradient.copy()
    act = step.apply if rng.random() < 0.3 else step.step
    outcome = observe(lambda: act(theta, gradient), ["theta", "gradient"], may_overflow=True)
    with np.errstate(all="ignore"):
        for _, formula in chosen:
            formula(expected, slope)
    if outcome.error is not None or not same_numbers((theta, gradient), (expected, slope), 1e-9, of_largest=True):
        raise Violation("wrong", f"{step}: got {theta}, {gradient}, expected {expected}, {slope}; {outcome.error}")


# ---- schedules and callbacks -------------------------------------------------------------------------------------


def make_schedules(o: Any) -> list[Callable[[], Any]]:
    """Return makers of a schedule of each kind on an optimizer."""
    return [
        lambda: hm.StepLR(o, 2),
        lambda: hm.MultiStepLR(o, [1, 3]),
        lambda: hm.ExponentialLR(o, 0.9),
        lambda: hm.ConstantLR(o, 0.5, 2),
        lambda: hm.LinearLR(o, 0.5),
        lambda: hm.PolynomialLR(o, 4),
        lambda: hm.CosineAnnealingLR(o, 4),
        lambda: hm.CosineAnnealingWarmRestarts(o, 3),
        lambda: hm.CyclicLR(o, 0.01, 0.1, 3, cycle_momentum=False),
        lambda: hm.OneCycleLR(o, 0.1, total_steps=40, cycle_momentum=False),
        lambda: hm.LambdaLR(o, lambda t: 1 / (1 + t)),
        lambda: hm.MultiplicativeLR(o, lambda t: 0.95),
        lambda: hm.ReduceLROnPlateau(o, patience=0),
        lambda: hm.SequentialLR(o, [hm.LinearLR(o, 0.5), hm.ExponentialLR(o, 0.9)], milestones=[2]),
        lambda: hm.ChainedScheduler([hm.ExponentialLR(o, 0.9), hm.LinearLR(o, 0.5)]),
    ]


def _advance(schedule: Any, optimizer: Any, steps: int) -> list[float]:
    rates = []
    for number in range(steps):
        schedule.step(*([1.0 / (1 + number % 3)] if getattr(schedule, "needs_metric", False) else []))
        rates.append(float(optimizer.lr))
    return rates


def _broken(rng: np.random.Generator, state: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of a state with one value replaced, removed or added."""
    state = copy.deepcopy(state)
    key, action = pick(rng, list(state)), rng.random()
    if action < 0.8:
        state[key] = copy.deepcopy(pick(rng, HOSTILE))
    elif action < 0.9:
        del state[key]
    else:
        state[f"{key}_"] = 1
    return state


def fuzz_schedules(rng: np.random.Generator) -> None:
    """Load the state of a schedule, right or hostile: the rates of an uninterrupted one, or an error that changes none.

    A hostile state that is taken must leave a schedule that can be stepped and saved again.
    """
    number, before, after = int(rng.integers(15)), int(rng.integers(0, 6)), int(rng.integers(1, 6))
    optimizers = [hm.SGD(lr=0.1), hm.SGD(lr=0.1)]
    one, other = (make_schedules(optimizer)[number]() for optimizer in optimizers)
    _advance(one, optimizers[0], before)
    state, parts = one.state_dict(), optimizers[0].state_dict()
    if rng.random() < 0.4:
        optimizers[1].load_state_dict(parts)
        other.load_state_dict(state)
        optimizers[1].load_state_dict(parts)
        rates = [_advance(schedule, o, after) for schedule, o in zip((one, other), optimizers, strict=True)]
        if rates[0] != rates[1]:
            raise Violation("wrong", f"{one}: rates {rates[0]}, loaded {rates[1]}")
        return
    hostile = _broken(rng, state) if rng.random() < 0.9 else draw_junk(rng).value

    def now() -> str:
        return repr((other.state_dict(), optimizers[1].state_dict()))

    names = ["state_dict", "schedule", "schedulers", "milestones", "lr", *state]
    said = f"{type(other).__name__}.load_state_dict({hostile!r})"
    try:
        outcome = observe(lambda: other.load_state_dict(hostile), names, [], now)
        if outcome.error is None:
            more = [*names, "t:", "metrics", "total_steps"]
            observe(lambda: _advance(other, optimizers[1], after), more, may_overflow=True)
            other.state_dict()
    except Violation as violation:
        raise Violation(violation.kind, f"{said}: {violation}") from violation


def fuzz_callbacks(rng: np.random.Generator) -> None:
    """Average the weights of a training, stopped and resumed by its state: as computed by hand from each set."""
    network, sets = hm.MLP([2, 2], rng=0), []
    decay, start = pick(rng, [None, 0.0, 0.5, 1.0]), int(rng.integers(1, 4))
    average = hm.AveragedModel(decay, start=start)
    for epoch in range(1, int(rng.integers(2, 7))):
        for _ in range(2):
            network.theta = rng.normal(size=network.theta.size)
            average.on_batch(network, 1.0)
            if decay is not None and epoch >= start:
                sets.append(network.theta.copy())
        average(network, hm.History(loss=[1.0] * epoch))
        if decay is None and epoch >= start:
            sets.append(network.theta.copy())
        if rng.random() < 0.3:
            state, average = average.state_dict(), hm.AveragedModel(decay, start=start)
            average.load_state_dict(state, network)
    if average.n_averaged != len(sets):
        raise Violation("wrong", f"{average.n_averaged} sets, expected {len(sets)}")
    if sets and average.network is not None:
        expected = sets[0]
        for theta in sets[1:]:
            expected = decay * expected + (1 - decay) * theta if decay is not None else expected
        expected = np.mean(sets, axis=0) if decay is None else expected
        if not same_numbers(average.network.theta, expected, 1e-12, of_largest=True):
            raise Violation("wrong", f"got {average.network.theta}, expected {expected}")
    hostile = _broken(rng, average.state_dict()) if rng.random() < 0.8 else draw_junk(rng).value
    names = ["state_dict", "network", "n_averaged", "epoch"]
    outcome = observe(lambda: average.load_state_dict(hostile, network), names, [], lambda: repr(average.state_dict()))
    if outcome.error is None:
        observe(lambda: average(network, hm.History(loss=[1.0])), names)


# ---- registers ---------------------------------------------------------------------------------------------------


class Times(hm.Layer):
    """A layer of a user's own."""

    def __init__(self, factor: float = 2.0) -> None:
        self.factor = factor

    def forward(self, X: Any, training: bool = False) -> Any:
        return self.factor * X, None

    def backward(self, dH: Any, cache: Any, need_dX: bool = True) -> Any:
        return self.factor * dH


def fuzz_registers(rng: np.random.Generator) -> None:
    """Register a layer or an activation: a saved network loads to the same predictions, or nothing is registered."""
    layers, activations = dict(LAYERS), dict(REGISTERED)
    names = ["register_layer", "register_activation", "activation", "kind", "function", "name"]

    def now() -> Any:
        return list(LAYERS), list(REGISTERED)

    try:
        pair = (lambda A: 3 * A, lambda dH, H: 3 * dH)
        name = pick(rng, ["mine", "relu", "", "a b", "\ud800", "x" * 300]) if rng.random() < 0.6 else pick(rng, HOSTILE)
        given = pair if rng.random() < 0.6 else pick(rng, [*HOSTILE, draw_junk(rng).value, pair[:1], [*pair, len]])
        kind = Times if rng.random() < 0.5 else pick(rng, [*HOSTILE, int, hm.Dense, hm.Layer, Times(1.0)])
        if rng.random() < 0.5:
            outcome = observe(lambda: hm.register_activation(name, given), names, [], now)
            layer = hm.Activation(given) if outcome.error is None else None
        else:
            outcome = observe(lambda: hm.register_layer(kind), names, [], now)
            layer = Times(float(rng.normal())) if outcome.error is None and kind is Times else None
        if layer is not None:
            network = hm.Network([hm.Dense(3, 2, rng=0), layer])
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, pick(rng, ["n.npz", "n.safetensors"]))
                saved = observe(lambda: hm.save(network, path), [*names, "Activation", "layers"])
                if saved.error is None and not same_numbers(hm.load(path).predict(X), network.predict(X)):
                    raise Violation("wrong", f"{layer} predicts otherwise once loaded")
    finally:
        LAYERS.clear()
        LAYERS.update(layers)
        REGISTERED.clear()
        REGISTERED.update(activations)


# ---- grades ------------------------------------------------------------------------------------------------------

TEXT = [
    *("", "ok", "=1+1", "+cmd", "-1", "@x", "a,b", 'a"b', "a\nb", "a\r\nb", "<&>]]>", "\x00", "\x1b[31m", "\x0b"),
    *("\ud800", "\ufffe", "\t=1", "é\u2028", "x" * 500),
]


def fuzz_results(rng: np.random.Generator) -> None:
    """Write grades of any text in every form, and read them back with another parser."""

    def text() -> str:
        return "".join(pick(rng, TEXT) for _ in range(int(rng.integers(1, 3))))

    def item(name: str) -> Item:
        return Item(name, float(pick(rng, [0.0, 0.5, 1.0])), text())

    grades = [
        Grade(f"{number} {text()}", item("forward"), [item("layer 0"), item("layer 1")], text(), notes=[text()],
              suspicions=[text()] if rng.random() < 0.3 else [])
        for number in range(int(rng.integers(1, 4)))
    ]  # fmt: skip
    forms = {write.__name__: observe(functools.partial(write, grades), ["grades"]).value
             for write in (results.to_json, results.to_csv, results.to_junit, results.table)}  # fmt: skip
    for name, form in forms.items():
        try:
            form.encode()
        except UnicodeEncodeError as error:
            raise Violation("wrong", f"{name} cannot be written: {error}") from error
    try:
        read = json.loads(forms["to_json"])
        root = ElementTree.fromstring(forms["to_junit"].encode())
        rows = list(csv.reader(io.StringIO(forms["to_csv"], newline="")))
    except (ValueError, ElementTree.ParseError, csv.Error) as error:
        raise Violation("wrong", f"no parser reads it: {error}") from error
    scores = [read["score"]] if len(grades) == 1 else [one["score"] for one in read.values()]
    if scores != [grade.points for grade in grades] or len(root) != len(grades) or len(rows) != 1 + len(grades):
        raise Violation("wrong", f"{len(grades)} grades, {scores}, {len(root)} suites, {len(rows)} lines")
    if any(cell[:1] in ("=", "+", "-", "@", "\t", "\r") for row in rows[1:] for cell in row):
        raise Violation("wrong", f"a spreadsheet takes a cell for a formula: {rows[1:]}")


# ---- estimators --------------------------------------------------------------------------------------------------

LABELS = [Y, np.array(["a", "b"])[Y], Y.astype(bool), 7 * Y - 3, np.arange(12) % 3]


def fuzz_estimator_methods(rng: np.random.Generator) -> None:
    """Call the methods of an estimator: copies agree with it, chances sum to 1, and a refused value changes nothing."""
    y = pick(rng, LABELS)
    make = pick(rng, [estimators.MLPClassifier, estimators.MLPRegressor, estimators.PerceptronClassifier])
    y = y if make is not estimators.MLPRegressor else rng.normal(size=(12, int(rng.integers(1, 3))))
    small = dict(max_iter=2, random_state=0)
    small |= {} if make is estimators.PerceptronClassifier else dict(hidden_layer_sizes=(3,), solver=pick(rng, SOLVERS))
    one = make(**small)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of targets in a column, and of so few epochs
        one.fit(X, y)
        twin = clone(one).fit(X, y)
        if hasattr(one, "partial_fit") and rng.random() < 0.5:
            for estimator in (one, twin):
                estimator.partial_fit(X, y)
    for other in (twin, pickle.loads(pickle.dumps(one)), copy.deepcopy(one)):
        for name in ("predict", "predict_proba", "decision_function"):
            if hasattr(one, name) and not np.array_equal(getattr(one, name)(X), getattr(other, name)(X)):
                raise Violation("wrong", f"{name} of a copy differs")
    if hasattr(one, "predict_proba"):
        p = one.predict_proba(X)
        most = one.classes_[p.argmax(axis=1)]
        if not np.allclose(p.sum(axis=1), 1, rtol=0, atol=1e-12) or not np.array_equal(most, one.predict(X)):
            raise Violation("wrong", f"chances {p}, labels {one.predict(X)}")
    if make is not estimators.MLPRegressor and one.score(X, y) != np.mean(one.predict(X) == y):
        raise Violation("wrong", "score is not the share of right labels")
    name, value = pick(rng, list(one.get_params())), pick(rng, HOSTILE)
    if (isinstance(value, int | float) and abs(value) > 1e6) or name == "verbose":
        return

    def state() -> Any:
        return {key: repr(found) for key, found in vars(one).items() if key != name}

    def refit() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return one.set_params(**{name: value}).fit(X, y)

    words = [*one.get_params(), "lr", "betas", "eps", "rng", "optimizer", "weights", "labels", "class"]
    try:
        observe(refit, words, [], state, may_overflow=True)
    except Violation as violation:
        raise Violation(violation.kind, f"{make.__name__}({name}={value!r}): {violation}") from violation


SOLVERS = ["adam", "sgd", "lbfgs"]

TARGETS = {
    "lbfgs": fuzz_lbfgs,
    "steps": fuzz_steps,
    "schedules": fuzz_schedules,
    "callbacks": fuzz_callbacks,
    "registers": fuzz_registers,
    "results": fuzz_results,
    "methods": fuzz_estimator_methods,
}
