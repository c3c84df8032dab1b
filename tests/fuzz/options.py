"""Targets: constructors and functions with hostile options, and state dicts with hostile values."""

from __future__ import annotations

import copy
import decimal
import fractions
import functools
import math
import re
import reprlib
from collections.abc import Callable
from typing import Any

import numpy as np

import handmade as hm

from .calls import CALLS, OPTIMIZERS, PLOTS, TRAININGS, Call, X, Y, run_quietly
from .mutate import pick
from .rules import Violation, observe, same_numbers

__all__ = ["TARGETS"]

HOSTILE: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 3, 10**400, -(10**400), 2**31, 2**63, 2**64),
    *(0.0, -0.0, 0.1, 0.5, 1.0, 1.5, -0.5, math.nan, math.inf, -math.inf, 5e-324, 1e308, 1e-320),
    *("", "mean", "relu", "0.1", b"x", 1j, (), [], [0.1], (0.9,), (0.9, 0.999), (0.9, 1.0), [1, 2], {}, {0: 1.0}),
    *(np.float32(0.1), np.float64(0.1), np.float16(0.5), np.longdouble(0.1), np.int64(2), np.uint8(3), np.bool_(True)),
    *(np.array(0.1), np.array([0.1]), np.array(2), np.array([1.0, 2.0, 3.0]), np.array(["a"]), np.datetime64("NaT")),
    *(fractions.Fraction(1, 3), decimal.Decimal("0.1"), object(), Ellipsis, slice(3)),
]
# What would be asked for honestly, and would take all memory or all time.
LARGE = (2**31, 2**63, 2**64, 10**400, 1e308)


def _fuzz(calls: dict[str, Callable[[], Call]], most_memory: int, rng: np.random.Generator) -> None:
    """Replace one or two arguments of a valid call."""
    name = pick(rng, list(calls))
    call, plain = calls[name](), calls[name]()
    names, changed = list(call.arguments), {}
    for _ in range(1 if rng.random() < 0.8 else 2):
        argument, value = pick(rng, names), pick(rng, HOSTILE)
        is_name = argument == "path" and isinstance(value, str)  # of a file that would be written
        if not (is_name or (argument in call.counts and _is_large(value))):
            changed[argument] = value
    said = f"{name}({', '.join(f'{key}={reprlib.repr(value)}' for key, value in changed.items())})"
    call.arguments.update(changed)
    numbers = [key for key, value in plain.arguments.items() if key != "dtype" and not isinstance(value, np.ndarray)]
    plain.arguments.update({key: _plain(value) if key in numbers else value for key, value in changed.items()})
    inputs = [value for value in call.arguments.values() if isinstance(value, np.ndarray)]
    inputs = [] if name.startswith("clip_grad") else inputs  # which change the gradient by design
    observed = functools.partial(observe, names=[*names, *call.names], may_overflow=call.may_overflow)
    try:
        outcome = observed(lambda: run_quietly(call), inputs=inputs, state=call.state, most_memory=most_memory)
        is_random = any(key in ("rng", "random_state") for key in changed)
        if (
            outcome.error is None
            and not is_random
            and any(plain.arguments[key] is not value for key, value in changed.items())
        ):
            expected = observed(lambda: run_quietly(plain))
            if expected.error is not None or not _same(outcome.value, expected.value):
                raise Violation("wrong", f"got {outcome.value}, of plain numbers {expected.error or expected.value}")
    except Violation as violation:
        raise Violation(violation.kind, f"{said}: {violation}") from violation


def _plain(value: Any) -> Any:
    """Return a number in the clothes of NumPy as Python's, and anything else as it is."""
    if isinstance(value, np.ndarray | np.generic) and value.ndim == 0 and value.dtype.kind in "fiub":
        return float(value) if value.dtype.kind == "f" else value.item()
    return value


def _same(value: Any, expected: Any) -> bool:
    """Return whether results are the same: numbers, or objects with the same text and state."""
    if type(value) is not type(expected):
        return np.ndim(value) == np.ndim(expected) == 0 and value == expected
    if isinstance(value, np.ndarray | float | int | list | tuple | dict):
        return same_numbers(value, expected)
    state = getattr(value, "state_dict", lambda: 0), getattr(expected, "state_dict", lambda: 0)
    return _text(value) == _text(expected) and same_numbers(state[0](), state[1]())


def _text(value: Any) -> str:
    """Return what an object prints, without addresses and the names of NumPy's types."""
    return re.sub(r"0x[0-9a-f]+|np\.\w+\(([^()]*)\)|array\(([^()]*)\)", r"\1\2", repr(value))


def fuzz_options(rng: np.random.Generator) -> None:
    """Replace arguments of constructors and functions."""
    _fuzz(CALLS, 2**27, rng)


def fuzz_trainings(rng: np.random.Generator) -> None:
    """Replace arguments of what trains, checks and exports."""
    _fuzz(TRAININGS, 2**27, rng)


def fuzz_plots(rng: np.random.Generator) -> None:
    """Replace arguments of what draws."""
    _fuzz(PLOTS, 2**27, rng)


def _is_large(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) in LARGE


# ---- state dicts -------------------------------------------------------------------------------------------------


def fuzz_states(rng: np.random.Generator) -> None:
    """Load a state dict with hostile values: nothing changes after an error, and what loads can be used."""
    thing, use = pick(rng, STATES)()
    state = copy.deepcopy(thing.state_dict())
    place = state
    for _ in range(int(rng.integers(1, 3))):
        key = pick(rng, list(place))
        action = rng.random()
        if action < 0.75:
            place[key] = _hostile_value(rng, place[key])
        elif action < 0.85:
            del place[key]
        else:
            place[f"{key}_"] = place.get(key)
        if not place:
            break
    before = repr(thing.state_dict())

    def now() -> str:
        return repr(thing.state_dict())

    names = ["state_dict", *map(str, state), *map(str, thing.state_dict())]
    outcome = observe(lambda: thing.load_state_dict(state), names, (), now)
    if outcome.error is None:
        observe(use, ["theta"], may_overflow=True)
    elif now() != before:
        raise Violation("state", "changed by a failed load")


def _hostile_value(rng: np.random.Generator, value: Any) -> Any:
    """Return a value like the right one, or one of another type."""
    if isinstance(value, np.ndarray) and rng.random() < 0.7:
        array = np.array(value)
        action = int(rng.integers(8))
        if action < 3 and array.size and array.dtype.kind == "f":
            array.flat[0] = [np.nan, np.inf, -1.0][action]
            return array
        others = array.astype(object), array[..., None], array.T, array.tolist(), np.asfortranarray(array)
        return [*others, array.astype(str), np.ma.array(array), array.astype("S")][action]
    return pick(rng, HOSTILE)


def _optimizer(make: Callable[..., Any]) -> Any:
    optimizer, theta = make(lr=0.1), np.ones(4)
    optimizer.bind(hm.Network([hm.Dense(2, 2, bias=False)]))
    optimizer.step(theta, np.full(4, 0.1))
    return optimizer, lambda: optimizer.step(theta, np.full(4, 0.1))


def _network() -> Any:
    network = hm.MLP([3, 4, 2], normalization="batch", rng=0)
    network.loss_and_gradient(X, Y)
    return network, lambda: network.predict(X)


STATES: list[Callable[[], tuple[Any, Callable[[], Any]]]] = [
    *(lambda make=make: _optimizer(make) for make in OPTIMIZERS),
    _network,
    _network,
]

TARGETS = {"options": fuzz_options, "states": fuzz_states, "trainings": fuzz_trainings, "plots": fuzz_plots}
