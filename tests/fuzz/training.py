"""Targets: training, compiled steps, estimators and judges of gradients with hostile arrays."""

from __future__ import annotations

import functools
import types
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning

import handmade as hm
from handmade import estimators, grading

from .arrays import Hostile, draw_array, draw_junk, dress
from .calls import OPTIMIZERS
from .functions import check, integers, probabilities
from .mutate import pick
from .rules import Violation, observe, same_numbers

__all__ = ["TARGETS"]

NAMES = ("input", "target", "loss", "BatchNorm", "validation", "network", "Dense", "batch_size", "class")


def _quiet(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return a call without the warnings that toy data deserve, whose divergence is an outcome."""

    def run(**arguments: Any) -> Any:
        with warnings.catch_warnings():
            for category in (hm.TrainingWarning, ConvergenceWarning, DataConversionWarning):
                warnings.simplefilter("ignore", category)
            try:
                return call(**arguments)
            except FloatingPointError as error:
                return (str(error).partition(";")[0],)

    return run


def ordinary(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return numbers of ordinary size, of which training makes ordinary numbers."""
    numbers = rng.normal(size=shape).astype(pick(rng, [np.float64, np.float64, np.float32]))
    if rng.random() < 0.1 and numbers.size:
        numbers.flat[int(rng.integers(numbers.size))] = pick(rng, [np.nan, np.inf])
    return numbers


def weights(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return weights of samples, bad ones now and then."""
    return rng.random(shape) - (rng.random() < 0.05)


def _labels(rng: np.random.Generator, N: int) -> Hostile:
    return draw_array(rng, (N,), integers(0, 1)) if rng.random() < 0.7 else draw_array(rng, (N, 2), probabilities)


def _sparse_too(hostile: Hostile) -> Hostile:
    """Return an argument that may be a sparse matrix, as which it has the numbers of the dense one."""
    is_sparse = hostile.kind in ("sparse", "sparse matrix")
    return Hostile(hostile.value, hostile.value.toarray(), hostile.kind) if is_sparse else hostile


# ---- fit ---------------------------------------------------------------------------------------------------------


def fuzz_fit(rng: np.random.Generator) -> None:
    """Train on hostile data: the same bits as on plain arrays, or an error and the network as it was."""
    N, epochs, make = int(rng.integers(2, 12)), int(rng.integers(1, 3)), pick(rng, OPTIMIZERS[:-1])
    network = hm.MLP([3, 4, 2], "tanh", dropout=pick(rng, [0.0, 0.2]), normalization=pick(rng, [None, "layer"]), rng=0)
    start = network.theta.copy()
    arguments = {"X": _sparse_too(draw_array(rng, (N, 3), ordinary)), "y": _labels(rng, N)}
    if rng.random() < 0.3:
        arguments["sample_weight"] = dress(rng, weights(rng, (N,)))
    if rng.random() < 0.3:
        arguments |= {"held_X": _sparse_too(dress(rng, ordinary(rng, (4, 3)))), "held_y": _labels(rng, 4)}
    options = {
        "epochs": epochs, "batch_size": pick(rng, [None, 1, 3]), "shuffle": bool(rng.integers(2)),
        "metrics": pick(rng, [(), "accuracy"]), "drop_last": bool(rng.integers(2)),
    }  # fmt: skip
    schedule = pick(rng, [lambda o: None, hm.StepLR, hm.LinearLR, hm.ReduceLROnPlateau])
    is_averaged = rng.random() < 0.2

    def call(X: Any, y: Any, held_X: Any = None, held_y: Any = None, **more: Any) -> Any:
        network.theta = start
        for leaf in (leaf for _, leaf in network.leaves() if isinstance(leaf, hm.Dropout)):
            leaf.rng = np.random.default_rng(1)
        optimizer, average = make(), hm.AveragedModel()
        steps = schedule(optimizer) if schedule is not hm.StepLR else hm.StepLR(optimizer, 1)
        validation = None if held_X is None else (held_X, held_y)
        callbacks = [average] if is_averaged else []
        history = hm.fit(
            network, X, y, optimizer=optimizer, schedule=steps, validation=validation, callbacks=callbacks, rng=0,
            progress=False, **options, **more,
        )  # fmt: skip
        averaged = average.network.theta if average.network else 0
        return network.theta.copy(), history.loss, history.validation_loss, history.lr, averaged

    check(rng, _quiet(call), arguments, 0, NAMES, lambda: network.theta.tobytes(), may_overflow=True)


@functools.cache
def _compiled(kind: str, dtype: str) -> tuple[Any, Any, Any, Any]:
    """Return a compiled step, its optimizer, the twin that NumPy trains, and its optimizer."""
    networks = [hm.MLP([3, 4, 2], "tanh", dtype=dtype, rng=0) for _ in range(2)]
    optimizers = [hm.Adam(lr=0.1, eps=0.1) if kind == "Adam" else hm.SGD(lr=0.1) for _ in range(2)]
    step, X = hm.compile(networks[0], "cross_entropy", optimizers[0]), np.ones((2, 3))
    for y in np.zeros(2, int), np.ones((2, 2)) / 2:  # each kernel is compiled by its first call, which takes memory
        for weight in None, np.ones(2):
            step(X, y, weight)
    step.predict(X)
    return step, optimizers[0], networks[1], optimizers[1]


def _reset(optimizer: Any) -> None:
    """Set the state to that before the first step, in the same arrays."""
    optimizer.t = 0
    for moment in (getattr(optimizer, name, None) for name in ("exp_avg", "exp_avg_sq")):
        if moment is not None:
            moment[:] = 0


def fuzz_compiled(rng: np.random.Generator) -> None:
    """Do a compiled step on hostile data: as on plain arrays, and as the NumPy code does it."""
    dtype = pick(rng, ["float64", "float32"])
    step, optimizer, twin, other = _compiled(pick(rng, ["SGD", "Adam"]), dtype)
    N = int(rng.integers(1, 9))
    arguments = {"X": draw_array(rng, pick(rng, [(N, 3), (N, 3), (N, 2)]), ordinary), "y": _labels(rng, N)}
    if rng.random() < 0.3:
        arguments["sample_weight"] = dress(rng, weights(rng, (N,)))
    theta = rng.normal(size=twin.theta.size).astype(dtype)

    def begin() -> None:
        step.network.theta = theta
        _reset(optimizer)

    def call(**given: Any) -> Any:
        begin()
        loss = step(**given)
        return loss, step.network.theta.copy(), step.predict(given["X"])

    def now() -> Any:
        return step.network.theta.tobytes(), optimizer.t

    names = (*NAMES, "theta", "gradient")
    begin()
    check(rng, _quiet(call), arguments, 1e4, names, now, of_largest=True, may_overflow=True)
    clean = {name: hostile.clean for name, hostile in arguments.items()}
    if any(hostile.is_refused for hostile in arguments.values()):
        return
    outcome = observe(lambda: call(**clean), [*arguments, *names], may_overflow=True)
    if outcome.error is None and np.isfinite(outcome.value[0]):
        twin.theta = theta
        _reset(other)
        loss, gradient = twin.loss_and_gradient(clean["X"], clean["y"], sample_weight=clean.get("sample_weight"))
        other.step(twin.theta, gradient)
        expected = loss, twin.theta, twin.predict(clean["X"])
        if not same_numbers(outcome.value, expected, 1e4 * float(np.finfo(dtype).eps), of_largest=True):
            raise Violation("wrong", f"compiled {outcome.value}, NumPy {expected}")


# ---- estimators --------------------------------------------------------------------------------------------------

ESTIMATORS: list[Callable[[], Any]] = [
    lambda: estimators.MLPClassifier((4,), max_iter=2, random_state=0),
    lambda: estimators.MLPRegressor((4,), max_iter=2, random_state=0, solver="sgd"),
    lambda: estimators.MLPClassifier((4,), max_iter=2, random_state=0, early_stopping=True),
    lambda: estimators.PerceptronClassifier(max_iter=3, random_state=0),
]


def fuzz_estimators(rng: np.random.Generator) -> None:
    """Fit an estimator, go on with it and predict."""
    N, make = int(rng.integers(6, 16)), pick(rng, ESTIMATORS)
    own = ("sparse", "sparse matrix", "objects", "text", "bytes", "masked", "list of masked", "matrix")
    X = _own_rules(draw_array(rng, (N, 3), ordinary), *own)
    y = _own_rules(draw_array(rng, (N,), integers(0, 1)), *own, "dates", "records", "junk")
    of_fit = rng.random() < 0.5
    again = rng.random() < 0.4 and hasattr(estimators.MLPClassifier, "partial_fit")
    plain = np.random.default_rng(0).normal(size=(12, 3))
    estimator = make()
    if not of_fit:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            estimator.fit(plain, np.arange(12) % 2)

    def fit(X: Any, y: Any) -> Any:
        fitted = make().fit(X, y)
        if again and hasattr(fitted, "partial_fit"):
            fitted.partial_fit(X, y)
        return fitted.predict(plain)

    def state() -> Any:
        return {name: repr(value) for name, value in vars(estimator).items()}

    if of_fit:
        check(rng, _quiet(fit), {"X": X, "y": y}, 1e5, (*SKLEARN, "y"), of_largest=True, may_overflow=True)
    else:
        use = getattr(estimator, pick(rng, [name for name in PREDICTIONS if hasattr(estimator, name)]))
        check(rng, _quiet(use), {"X": X}, 1e5, SKLEARN, state, of_largest=True, may_overflow=True)


PREDICTIONS = ("predict", "predict_proba", "predict_log_proba", "decision_function")
# What scikit-learn's own checks say.
SKLEARN = ("X", "array", "data", "dtype", "target", "labels", "class", "parse", "NaN", "float", "validation", "samples")


def _own_rules(hostile: Hostile, *kinds: str) -> Hostile:
    """Return an argument that scikit-learn's checks may take, as the same for both calls."""
    return Hostile(hostile.value, hostile.value, hostile.kind) if hostile.kind in kinds else hostile


# ---- judges ------------------------------------------------------------------------------------------------------


@functools.cache
def _problem() -> tuple[Any, np.ndarray, np.ndarray, list[np.ndarray], np.ndarray]:
    """Return a network, its data, its gradient as blocks and as one vector."""
    network, rng = hm.MLP([3, 4, 2], "tanh", rng=0), np.random.default_rng(0)
    X, y = rng.normal(size=(5, 3)), np.array([0, 1, 1, 0, 1])
    gradient = network.loss_and_gradient(X, y)[1].copy()
    return network, X, y, [block.copy() for block in network.blocks(gradient).values()], gradient


def _claim(rng: np.random.Generator, blocks: list[np.ndarray]) -> Any:
    """Return a gradient in a layout and clothes drawn at random; None where they hold no numbers."""
    form = int(rng.integers(5))
    if form == 0:
        hostile = dress(rng, np.concatenate([block.ravel() for block in blocks]))
        return hostile.value, hostile.is_refused
    dressed = [dress(rng, block) for block in blocks]
    refused, values = any(one.is_refused for one in dressed), [one.value for one in dressed]
    if form == 1:
        return tuple(values), refused
    if form == 2:
        return dict(zip(_problem()[0].state_dict(), values, strict=True)), refused
    if form == 3:
        return [(W, b) for W, b in zip(values[::2], values[1::2], strict=True)], refused
    return values, refused


def fuzz_checks(rng: np.random.Generator) -> None:
    """Check that right claims pass, wrong ones fail, and what is no gradient is refused by name."""
    network, X, y, blocks, _ = _problem()
    before = network.theta.tobytes()
    judge = hm.check_gradient if rng.random() < 0.8 else hm.diagnose_gradient
    is_right = rng.random() < 0.5
    if not is_right:
        blocks = [block.copy() for block in blocks]
        block = pick(rng, blocks)
        block.flat[int(rng.integers(block.size))] += pick(rng, [1e-4, -1.0, 1e3])
    is_junk = rng.random() < 0.1
    claim, refused = (draw_junk(rng).value, True) if is_junk else _claim(rng, blocks)
    names, arguments = ["gradient", "theta", *network.state_dict()], (network, X, y, claim)
    if rng.random() < 0.4:  # a function of one vector
        theta = rng.normal(size=4)
        is_junk = rng.random() < 0.1
        dressed = draw_junk(rng) if is_junk else dress(rng, 2 * theta + (not is_right) * np.eye(4)[0])
        refused, claim = dressed.is_refused, dressed.value
        arguments = (lambda theta: float(theta @ theta), theta, claim)
    is_right = is_right and not is_junk  # None, for one, is judged wrong: "not returned"
    if callable(claim):
        return  # it is called, and its errors are its own
    outcome = observe(lambda: judge(*arguments), names, [claim], network.theta.tobytes)
    if network.theta.tobytes() != before:
        raise Violation("state", "the network was changed")
    if outcome.error is not None:
        if not refused:
            raise Violation("refused", f"{outcome.error}")
    elif refused and not is_right:
        return  # what can be read as the numbers is judged
    elif bool(outcome.value if judge is hm.check_gradient else outcome.value.verdict == "right") != is_right:
        raise Violation("wrong", f"expected {is_right}, got {outcome.value}")


def fuzz_grades(rng: np.random.Generator) -> None:
    """Grade a student whose functions return anything: a grade, in full where all is right, and no exception."""
    network, X, y, blocks, _ = _problem()
    is_right = rng.random() < 0.5
    answer, refused = _claim(rng, blocks) if is_right else (draw_junk(rng).value, True)

    def loss_and_gradient(parameters: Any, X: Any, y: Any) -> Any:
        twin = hm.MLP([3, 4, 2], "tanh", rng=0)
        twin.theta = np.concatenate([np.ravel(block) for block in parameters])
        loss, gradient = twin.loss_and_gradient(X, y)
        if is_right and isinstance(answer, list) and not refused and same_numbers(X, _problem()[1]):
            return loss, answer
        return (loss, [block.copy() for block in twin.blocks(gradient).values()]) if is_right else answer

    student = types.SimpleNamespace(loss_and_gradient=loss_and_gradient)
    outcome = observe(lambda: grading.grade(student, network, X, y), ["student"], may_overflow=True)
    if outcome.error is not None:
        raise Violation("error", f"the grading ended: {outcome.error}")
    if outcome.value.passed and not is_right:
        raise Violation("wrong", f"a return value {answer!r} has passed")


TARGETS = {
    "fit": fuzz_fit,
    "compiled": fuzz_compiled,
    "estimators": fuzz_estimators,
    "checks": fuzz_checks,
    "grades": fuzz_grades,
}
