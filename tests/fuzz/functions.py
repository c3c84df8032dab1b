"""Targets: public functions with hostile arrays, against the same call with plain arrays of the same numbers."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import handmade as hm

from .arrays import Hostile, draw_array, draw_numbers, draw_shape
from .mutate import pick
from .rules import Violation, observe, same_numbers

__all__ = ["TARGETS", "check"]

MEASURED = 0.1  # of the calls: measuring memory takes time
MEMORY = 2**21  # bytes beyond a multiple of the arguments


def check(
    rng: np.random.Generator,
    call: Callable[..., Any],
    arguments: dict[str, Hostile],
    tolerance: float = 0.0,
    names: tuple[str, ...] = (),
    state: Callable[[], Any] = lambda: None,
    of_largest: bool = False,
    may_overflow: bool = False,
    memory: int = MEMORY,
) -> None:
    """Call a function with hostile arguments, then with the same numbers in plain arrays, and compare.

    ``tolerance`` is in units of the result's resolution (eps); ``names`` are further arguments that errors may name;
    ``state`` must stay after an error; ``of_largest`` as in `same_numbers`, ``may_overflow`` as in `observe`;
    ``memory`` is what the call may take beyond a multiple of the arguments.
    """
    said = ", ".join(f"{name}: {hostile.kind}" for name, hostile in arguments.items())
    values = {name: hostile.value for name, hostile in arguments.items()}
    size = sum(getattr(hostile.clean, "nbytes", 0) for hostile in arguments.values())
    most_memory = memory + 64 * size if rng.random() < MEASURED else None
    known = (*arguments, *names)
    outcome = observe(lambda: call(**values), known, list(values.values()), state, most_memory, may_overflow)
    if any(hostile.is_refused for hostile in arguments.values()):
        if outcome.error is None:
            raise Violation("taken", f"{said}: got {str(outcome.value)[:100]}")
        return
    plain = {name: hostile.clean for name, hostile in arguments.items()}
    clean = observe(lambda: call(**plain), known, may_overflow=may_overflow)
    if (clean.error is None) != (outcome.error is None):
        raise Violation("differs", f"{said}: got {outcome.error or 'a value'}, plain arrays {clean.error or 'a value'}")
    coarsest = max(_eps(outcome.value), _eps(clean.value))
    if clean.error is None and not same_numbers(outcome.value, clean.value, tolerance * coarsest, of_largest):
        raise Violation("wrong", f"{said}: got {str(outcome.value)[:150]}, plain arrays {str(clean.value)[:150]}")


def _eps(value: Any) -> float:
    """Return the resolution of a result's dtype."""
    dtypes = [np.asarray(part).dtype for part in (value if isinstance(value, tuple) else [value])]
    return max((float(np.finfo(dtype).eps) for dtype in dtypes if dtype.kind in "fc"), default=0.0)


# ---- numbers of a certain kind -----------------------------------------------------------------------------------


def integers(low: int, high: int) -> Callable[..., np.ndarray]:
    """Return a maker of integers from low to high, of any dtype that holds them, outside now and then."""

    def make(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        far = rng.random() < 0.1
        numbers = rng.integers(low - far, high + 1 + far, shape)
        kinds = [np.int64, np.int64, np.int32, np.int8, np.float64, np.float32]
        return numbers.astype(pick(rng, kinds + ([np.uint8, np.uint64, bool] if low >= 0 and not far else [])))

    return make


def signs(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return labels -1 and +1."""
    return rng.choice([-1, 1], shape).astype(pick(rng, [np.int64, np.float64, np.int8]))


def probabilities(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return distributions along the last axis, bad ones now and then."""
    p = rng.random(shape) * (rng.random(shape) < 0.8)
    if p.ndim and rng.random() < 0.9:
        with np.errstate(all="ignore"):
            p = np.nan_to_num(p / p.sum(axis=-1, keepdims=True), nan=1.0)
    return p.astype(pick(rng, [np.float64, np.float64, np.float32]))


# ---- metrics, information, data, the perceptron ------------------------------------------------------------------


def fuzz_metrics(rng: np.random.Generator) -> None:
    """Score outputs of every shape against labels."""
    N, K = int(rng.integers(0 if rng.random() < 0.05 else 1, 8)), int(rng.integers(1, 5))
    metric = pick(rng, [hm.metrics.accuracy, hm.metrics.confusion_matrix, _top_2, hm.metrics.r2_score])
    shape = pick(rng, [(N,), (N, 1), (N, K)])
    if metric is hm.metrics.r2_score:
        output, y = draw_array(rng, shape), draw_array(rng, shape)
    elif rng.random() < 0.3:
        output, y = draw_array(rng, (N,), integers(0, K)), draw_array(rng, (N,), integers(0, K))
    else:
        output, y = draw_array(rng, shape), draw_array(rng, pick(rng, [(N,), (N, 1)]), integers(0, max(K - 1, 1)))
    check(rng, metric, {"output": output, "y": y}, 1e3, ("k", "n_classes"))


def _top_2(output: Any, y: Any) -> float:
    return hm.metrics.top_k_accuracy(output, y, 2)


def fuzz_information(rng: np.random.Generator) -> None:
    """Compute information, entropy and divergence."""
    shape = draw_shape(rng)
    f = pick(rng, [hm.information.information, hm.information.entropy, hm.information.kl_divergence])
    arguments = {"p": draw_array(rng, shape, probabilities)}
    if f is hm.information.kl_divergence:
        arguments["q"] = draw_array(rng, shape, probabilities)
    check(rng, f, arguments, 64, ("dim",))


def fuzz_perceptron(rng: np.random.Generator) -> None:
    """Train a perceptron or a linear unit."""
    N, I = int(rng.integers(1, 40)), int(rng.integers(1, 5))
    X = draw_array(rng, (N, I))
    if rng.random() < 0.5:
        check(rng, _perceptron, {"X": X, "y": draw_array(rng, (N,), signs)})
    else:
        check(rng, _delta_rule, {"X": X, "y": draw_array(rng, (N,))}, 0, ("eta",))


def _perceptron(X: Any, y: Any) -> Any:
    unit = hm.Perceptron().fit(X, y, max_epochs=3)
    return unit.w, unit.b, np.array(unit.mistakes_per_epoch), unit.predict(X)


def _delta_rule(X: Any, y: Any) -> Any:
    return hm.delta_rule(X, y, eta=0.1, epochs=2)


def fuzz_splits(rng: np.random.Generator) -> None:
    """Split samples, and number labels."""
    N = int(rng.integers(1, 12))
    kinds = ("text", "bytes", "objects", "dates", "records", "junk")
    labels = _taken(draw_array(rng, (N,), integers(0, 3)), *kinds)
    if rng.random() < 0.5:
        split = functools.partial(hm.train_test_split, test_size=0.4, stratify=bool(rng.integers(2)), rng=0)
        check(rng, split, {"X": _taken(draw_array(rng, (N, 2)), *kinds), "y": labels}, 0, ("test_size",))
    else:
        check(rng, hm.data.encode_labels, {"labels": labels}, 0)


def _taken(hostile: Hostile, *kinds: str) -> Hostile:
    """Return an argument that a function may take although it holds no numbers."""
    return Hostile(hostile.value, hostile.value, hostile.kind) if hostile.kind in kinds else hostile


def fuzz_writers(rng: np.random.Generator) -> None:
    """Write arrays and read them back."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        if rng.random() < 0.5:

            def idx(array: Any) -> Any:
                hm.data.save_idx(path, array)
                return hm.load_idx(path)

            kinds = pick(rng, [draw_numbers, integers(-3, 3), integers(0, 200)])
            check(rng, idx, {"array": draw_array(rng, draw_shape(rng), kinds)})
        else:

            def npz(X: Any, y: Any) -> Any:
                hm.data.save_npz(path, X, y)
                return hm.load_npz(path)

            N = int(rng.integers(0, 5))
            X, y = draw_array(rng, (N, 2)), draw_array(rng, (N,), integers(0, 2))
            kinds = ("text", "bytes", "dates", "junk")
            check(rng, npz, {"X": _taken(X, *kinds), "y": _taken(y, *kinds)})


TARGETS = {
    "metrics": fuzz_metrics,
    "information": fuzz_information,
    "perceptron": fuzz_perceptron,
    "splits": fuzz_splits,
    "writers": fuzz_writers,
}
