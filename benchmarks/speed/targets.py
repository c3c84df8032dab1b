"""What was aimed at, each target judged by the numbers of a run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .alternation import Timing
from .sides import CALLS, COMPILED, FLOOR, OURS

__all__ = ["PEERS", "Target", "count_limited", "judge", "limit", "ratio", "share"]

PEERS = ("torch", "torch.compile", "JAX", "scikit-learn", "ONNX Runtime")
LEVEL = 0.95  # as fast, within what a run on a shared machine can tell
Cell = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """One line of the report.

    Attributes
    ----------
    met : bool or None
        None where nothing was measured to judge it by.
    limited : bool
        Whether NumPy's calls alone miss it as well.
    """

    text: str
    measured: str
    met: bool | None
    limited: bool = False


def ratio(cell: Cell, side: str) -> float | None:
    """How many times as long as handmade a side takes; None where it was not timed."""
    seconds = cell["seconds"]
    if side not in seconds or OURS not in seconds:
        return None
    return Timing(tuple(seconds[OURS])).ratio(Timing(tuple(seconds[side])))


def share(cell: Cell, side: str) -> float | None:
    """What part of handmade's time a side takes that does but a part of the work; None where it was not timed.

    Of its rounds the fastest counts, since nobody can go below: on a shared machine a round may be slow by accident.
    """
    seconds = cell["seconds"]
    if side not in seconds or OURS not in seconds:
        return None
    return min(seconds[side]) / Timing(tuple(seconds[OURS])).median


def limit(cell: Cell, side: str) -> float | None:
    """How many times as long as NumPy's calls alone a side takes: how far ahead a library that makes them can be."""
    calls, theirs = share(cell, CALLS), ratio(cell, side)
    return None if calls is None or theirs is None else theirs / calls


def judge(results: dict[str, Any]) -> list[Target]:
    """All targets."""
    cells, memory = list(results["cells"].values()), results["memory"]
    networks = [cell for cell in cells if cell.get("grid")]
    return [
        *_never_slower(networks),
        *_medians(networks),
        *_small(networks),
        *_near_the_floor(networks),
        *_adam(networks),
        *_jobs(cells),
        *_prediction(networks),
        *_compiled(networks),
        *_memory(memory),
    ]


def _where(cells: Iterable[Cell], **wanted) -> list[Cell]:
    return [cell for cell in cells if all(cell.get(name) == value for name, value in wanted.items())]


def _alone(value: float | None) -> str:
    return "" if value is None else f"; NumPy's calls alone: {value:.2f}"


def _least(text: str, cells: list[Cell], side: str, least: float, of=ratio, alone=limit) -> Target:
    """The smallest number of a side is to be at least ``least``; ``alone`` is that of NumPy's calls alone."""
    found = [(value, cell["title"], alone(cell, side)) for cell in cells if (value := of(cell, side)) is not None]
    if not found:
        return Target(text, "not measured", None)
    value, title, most = min(found)
    measured = f"{value:.2f}{_alone(most)}" + (f" ({title})" if len(found) > 1 else "")
    return Target(text, measured, value >= least, any(most is not None and most < least for *_, most in found))


def _median(text: str, cells: list[Cell], side: str, least: float) -> Target:
    """The median ratio to a side is to be at least ``least``."""
    values = [value for cell in cells if (value := ratio(cell, side)) is not None]
    limits = [value for cell in cells if (value := limit(cell, side)) is not None]
    if not values:
        return Target(text, "not measured", None)
    value = float(np.median(values))
    most = float(np.median(limits)) if len(limits) == len(values) else None
    measured = f"{value:.2f} over {len(values)} cells{_alone(most)}"
    return Target(text, measured, value >= least, most is not None and most < least)


def _never_slower(cells: list[Cell]) -> list[Target]:
    ratios = [(value, cell["title"], side) for cell in cells for side in PEERS if (value := ratio(cell, side))]
    behind = {title for value, title, _ in ratios if value < 1}
    clearly = {title for value, title, _ in ratios if value < LEVEL}
    if not ratios:
        return [Target("never slower than any peer in any cell", "not measured", None)]
    value, title, side = min(ratios)
    measured = (f"behind the best peer in {len(behind)} of {len(cells)} cells, by more than 5 % in {len(clearly)}, "
                f"which NumPy's calls alone are in {count_limited(cells)}; most, {value:.2f}, behind {side} "
                f"({title})")  # fmt: skip
    return [Target("never slower than any peer in any cell", measured, not behind, count_limited(cells, 1) > 0)]


def count_limited(cells: list[Cell], least: float = LEVEL) -> int:
    """In how many cells a peer is so much faster than NumPy's calls alone."""
    return sum(any((limit(cell, side) or least) < least for side in PEERS) for cell in cells)


def _medians(cells: list[Cell]) -> list[Target]:
    aims = ("torch", 2.5), ("torch.compile", 2.5), ("JAX", 1.4), ("scikit-learn", 2.0)
    return [_median(f"median over the grid at least {least} x {side}", cells, side, least) for side, least in aims]


def _small(cells: list[Cell]) -> list[Target]:
    cells = _where(cells, sizes=[3, 4, 2], batch=1)
    step, predict = _where(cells, kind="step", optimizer="SGD"), _where(cells, kind="predict")
    return [
        _least("3-4-2, batch 1: a step in at most 2/3 of JAX's time", step, "JAX", 1.5),
        _least("3-4-2, batch 1: a step in at most a tenth of torch.compile's", step, "torch.compile", 10),
        _least("3-4-2, batch 1: a prediction in at most ONNX Runtime's", predict, "ONNX Runtime", 1),
    ]


def _share_of_calls(cell: Cell, side: str) -> float | None:
    """What part of the time of NumPy's calls alone a side takes that does but a part of the work."""
    calls, part = share(cell, CALLS), share(cell, side)
    return None if calls is None or part is None else part / calls


def _near_the_floor(cells: list[Cell]) -> list[Target]:
    steps = [cell for cell in cells if cell["kind"] == "step" and cell["optimizer"] == "SGD"]
    wide = [cell for cell in steps if min(cell["sizes"][1:-1]) >= 1024 and cell["batch"] >= 256]
    middle = [cell for cell in steps if cell["sizes"] == [784, 800, 800, 10] and cell["batch"] == 128]
    shares = share, _share_of_calls
    return [
        _least("step: 95 % of the matrix products' speed for widths >= 1,024 and batches >= 256", wide, FLOOR, 0.95,
               *shares),
        _least("step: 85 % of it for width 800 at batch 128", middle, FLOOR, 0.85, *shares),
    ]  # fmt: skip


def _adam(cells: list[Cell]) -> list[Target]:
    adam = _where(cells, kind="step", optimizer="Adam")
    large = [cell for cell in adam if cell["parameters"] >= 1_000_000]
    text = "step with Adam at least 1.3 x torch's, fused"
    level = "step with Adam level with JAX (at least 0.95) from 1,000,000 parameters on"
    return [
        _median(f"{text}, median", adam, "torch", 1.3),
        _least(f"{text}, everywhere", adam, "torch", 1.3),
        _least(level, large, "JAX", LEVEL),
    ]


def _jobs(cells: list[Cell]) -> list[Target]:
    epoch = [cell for cell in _where(cells, kind="Epoch") if "MNIST" in cell["title"]]
    perceptron = _where(cells, kind="Perceptron")
    return [
        *(_least(f"an epoch of MNIST's size at least 2 x {side}", epoch, side, 2)
          for side in ("scikit-learn", "torch", "torch.compile")),
        _least("perceptron, bit for bit the sequential loop: at least 20 x its speed", perceptron, "loop", 20),
        _least("perceptron ahead of scikit-learn's, per epoch", perceptron, "scikit-learn", 1),
    ]  # fmt: skip


def _prediction(cells: list[Cell]) -> list[Target]:
    cell = _where(cells, kind="predict", sizes=[784, 1024, 1024, 10], batch=64)
    return [_least("prediction, 784-1024x2-10, batch 64: level with ONNX Runtime (at least 0.95)", cell, "ONNX Runtime",
                   LEVEL)]  # fmt: skip


def compiled_ratio(cell: Cell, side: str) -> float | None:
    """Return a side's time over that of the compiled step or prediction, or None where one was not measured."""
    seconds = cell["seconds"]
    if side not in seconds or COMPILED not in seconds:
        return None
    return Timing(tuple(seconds[COMPILED])).ratio(Timing(tuple(seconds[side])))


def _compiled(cells: list[Cell]) -> list[Target]:
    """Return the targets of `handmade.compile`; no limit of NumPy's applies to it."""
    steps, predictions = _where(cells, kind="step"), _where(cells, kind="predict")
    smallest = _where(steps, sizes=[3, 4, 2], batch=1, optimizer="SGD")

    def least(text: str, cells: list[Cell], side: str, value: float) -> Target:
        return _least(f"compiled: {text} {side}", cells, side, value, compiled_ratio, lambda cell, side: None)

    return [
        *(least("every step ahead of", steps, side, 1) for side in ("torch", "torch.compile", "scikit-learn")),
        least("every step at least 0.90 x", steps, "JAX", 0.9),
        least("a step of 3-4-2, batch 1, at least 5 x", smallest, "JAX", 5),
        *(least("every prediction ahead of", predictions, side, 1) for side in ("torch", "JAX")),
        least("every prediction at least 0.88 x", predictions, "ONNX Runtime", 0.88),
    ]


def _memory(memory: dict[str, Any]) -> list[Target]:
    steps, resident = memory.get("steps", {}), memory.get("resident", {})
    targets = []
    if steps:
        kept = max(step["kept"] for step in steps.values())
        text = "after the first step, steps keep nothing more (under 1 kB)"
        targets.append(Target(text, f"{kept} bytes", kept < 1000))
        relu = {title: step for title, step in steps.items() if not ("sigmoid" in title or "tanh" in title)}
        title, step = max(relu.items(), key=lambda item: item[1]["peak"] / item[1]["bound"])
        measured = f"at most {step['peak'] / step['bound']:.3f} of it ({title})"
        targets.append(Target("peak at most parameters x (2 + state) plus twice the activations", measured,
                              step["peak"] <= step["bound"]))  # fmt: skip
    if {"handmade", "torch"} <= set(resident):
        share = resident["handmade"] / resident["torch"]
        measured = f"{share:.2f}: {resident['handmade'] / 1e6:.0f} of {resident['torch'] / 1e6:.0f} MB"
        targets.append(Target("at most half of torch's resident size for the same job", measured, share <= 0.5))
    if "memmap" in memory:
        size, own = memory["memmap"]
        targets.append(Target(f"fit on a memmap of {size / 1e9:.0f} GB holds under 500 MB of its own",
                              f"{own / 1e6:.0f} MB", own < 500e6))  # fmt: skip
    if "import" in memory:
        median = float(np.median(memory["import"]))
        targets.append(Target("import handmade within 1.3 x import numpy", f"{median:.2f}", median <= 1.3))
    return targets


def count_met(targets: Iterable[Target]) -> str:
    """In words."""
    judged = [target for target in targets if target.met is not None]
    met = sum(target.met for target in judged)
    limited = sum(target.limited for target in judged if not target.met)
    rest = f"; of the {len(judged) - met} missed, NumPy's calls alone miss {limited}" if limited else ""
    return f"{met} of {len(judged)} targets met{rest}"
