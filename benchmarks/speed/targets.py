"""The targets of the speed report: some for the NumPy code, some for the compiled code, judged by a run's numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .alternation import Timing
from .sides import CALLS, COMPILED, FLOOR, OURS
from .start import NUMBA_ALONE

__all__ = ["PEERS", "Target", "count_met", "judge", "ratio", "share"]

PEERS = ("torch", "torch.compile", "JAX", "scikit-learn", "ONNX Runtime")
Cell = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """A line of the report.

    Attributes
    ----------
    text, measured : str
        The target, and the measured number.
    met : bool or None
        None if the number was not measured.
    forbidden : str
        Why code that uses NumPy's BLAS and Numba cannot meet the target, as measured in the same run; empty if it may.
    """

    text: str
    measured: str
    met: bool | None
    forbidden: str = ""


def ratio(cell: Cell, side: str, ours: str = OURS) -> float | None:
    """Return the time of a side divided by handmade's; None if either was not timed."""
    seconds = cell["seconds"]
    if side not in seconds or ours not in seconds:
        return None
    return Timing(tuple(seconds[ours])).ratio(Timing(tuple(seconds[side])))


def share(cell: Cell, side: str, ours: str = OURS) -> float | None:
    """Return the time of a side that does only a part of the work divided by handmade's; None if not timed.

    The fastest round of that side counts, because code that does more work cannot be faster.
    """
    seconds = cell["seconds"]
    if side not in seconds or ours not in seconds:
        return None
    return min(seconds[side]) / Timing(tuple(seconds[ours])).median


def best(cell: Cell, side: str) -> float:
    """Return `ratio` for NumPy's matrix products alone, in their fastest round: an upper bound for code with them."""
    return Timing((min(cell["seconds"][FLOOR]),)).ratio(Timing(tuple(cell["seconds"][side])))


def compiled(cell: Cell, side: str) -> float | None:
    """Return `ratio` for the compiled code."""
    return ratio(cell, side, COMPILED)


def compiled_share(cell: Cell, side: str) -> float | None:
    """Return `share` for the compiled code."""
    return share(cell, side, COMPILED)


def judge(results: dict[str, Any]) -> list[Target]:
    """Return all targets with their results."""
    cells, memory = list(results["cells"].values()), results["memory"]
    networks = [cell for cell in cells if cell.get("grid")]
    return [
        *_numpy_code(networks),
        *_compiled_steps(networks),
        *_compiled_predictions(networks),
        *_compiled_epochs(cells),
        *_starts(memory),
        *_perceptron(cells),
        *_memory(memory),
    ]


def _where(cells: Iterable[Cell], **wanted: Any) -> list[Cell]:
    return [cell for cell in cells if all(cell.get(name) == value for name, value in wanted.items())]


def _least(text: str, cells: list[Cell], side: str, least: float, of: Callable[..., float | None] = compiled) -> Target:
    """Return the target that ``of(cell, side)`` is at least ``least`` in every cell."""
    found = [(value, cell) for cell in cells if (value := of(cell, side)) is not None]
    if not found:
        return Target(text, "not measured", None)
    value, cell = min(found, key=lambda one: one[0])
    measured = f"{value:.2f}" + (f" ({cell['title']})" if len(found) > 1 else "")
    missed = [cell for value, cell in found if value < least]
    return Target(text, measured, not missed, _forbidden(missed, side, least))


def _forbidden(missed: list[Cell], side: str, least: float) -> str:
    """Return a reason if the matrix products alone miss the target in one of these cells; otherwise ""."""
    for cell in missed:
        if side in PEERS and FLOOR in cell["seconds"] and (limit := best(cell, side)) < least:
            return f"NumPy's matrix products alone reach {limit:.2f} ({cell['title']})"
    return ""


def _middle(text: str, cells: list[Cell], side: str, least: float) -> Target:
    """Return the target that the median ratio of the compiled code to a side is at least ``least``."""
    values = [value for cell in cells if (value := compiled(cell, side)) is not None]
    if not values:
        return Target(text, "not measured", None)
    value = float(np.median(values))
    limits = [best(cell, side) for cell in cells if FLOOR in cell["seconds"] and side in cell["seconds"]]
    forbidden = ""
    if len(limits) == len(values) and np.median(limits) < least:
        forbidden = f"NumPy's matrix products alone reach {np.median(limits):.2f}"
    return Target(text, f"{value:.2f} over {len(values)} cells", value >= least, forbidden)


def _part_ahead(text: str, cells: list[Cell], side: str, least: float) -> Target:
    """Return the target that the compiled code is ahead of a side in at least the fraction ``least`` of the cells."""
    values = [value for cell in cells if (value := compiled(cell, side)) is not None]
    if not values:
        return Target(text, "not measured", None)
    ahead = sum(value >= 1 for value in values)
    return Target(text, f"{ahead} of {len(values)} cells", ahead >= least * len(values))


def _numpy_code(cells: list[Cell]) -> list[Target]:
    steps = _where(cells, kind="step")
    smallest = _where(steps, sizes=[3, 4, 2])
    larger = [cell for cell in steps if cell["parameters"] >= 64 * 100 + 100 + 1010]
    return [
        _least("NumPy code: steps of 3-4-2 at 0.60 or more of its bare calls' speed", smallest, CALLS, 0.6, share),
        _least("NumPy code: steps from 64-100-10 on at 0.85 or more of it", larger, CALLS, 0.85, share),
    ]


def _compiled_steps(cells: list[Cell]) -> list[Target]:
    steps = _where(cells, kind="step")
    smallest = _where(steps, sizes=[3, 4, 2], batch=1, optimizer="SGD")
    large = [cell for cell in steps if cell["parameters"] >= 784 * 128 and cell["batch"] >= 64]
    return [
        *(_least(f"compiled: every step ahead of {side}", steps, side, 1) for side in PEERS[:2] + PEERS[3:4]),
        _part_ahead("compiled: ahead of JAX in at least 90 % of the steps", steps, "JAX", 0.9),
        _least("compiled: no step below 0.90 of JAX's speed", steps, "JAX", 0.9),
        _middle("compiled: median step at least 1.5 x JAX", steps, "JAX", 1.5),
        _middle("compiled: median step at least 1.8 x torch", steps, "torch", 1.8),
        _least("compiled: a step of 3-4-2, batch 1, at least 5 x JAX", smallest, "JAX", 5),
        _least("compiled: steps from 784-128-10 on at 0.90 or more of the products' speed", large, FLOOR, 0.9,
               compiled_share),
    ]  # fmt: skip


def _compiled_predictions(cells: list[Cell]) -> list[Target]:
    predictions = _where(cells, kind="predict")
    return [
        *(_least(f"compiled: every prediction ahead of {side}", predictions, side, 1) for side in ("torch", "JAX")),
        _middle("compiled: median prediction ahead of ONNX Runtime", predictions, "ONNX Runtime", 1),
        _least("compiled: no prediction below 0.88 of ONNX Runtime's speed", predictions, "ONNX Runtime", 0.88),
    ]


def _compiled_epochs(cells: list[Cell]) -> list[Target]:
    epochs = _where(cells, kind="Epoch")
    digits, mnist = ([cell for cell in epochs if name in cell["title"]] for name in ("digits", "MNIST"))
    return [
        _least("compiled: an epoch of the digits at least 1.5 x JAX", digits, "JAX", 1.5),
        _least("compiled: an epoch of the digits at least 4 x the NumPy code", digits, OURS, 4),
        _least("compiled: an epoch of MNIST's size level with JAX", mnist, "JAX", 1),
        _least("compiled: an epoch of MNIST's size at least 1.5 x torch", mnist, "torch", 1.5),
    ]


def _starts(memory: dict[str, Any]) -> list[Target]:
    """Return the targets for the time to the first step."""
    targets = []
    for name, most in ((COMPILED, 8.0), (f"{COMPILED}, cached", 0.5)):
        if name in memory.get("first step", {}):
            seconds = float(np.median(memory["first step"][name]))
            text = f"compiled: first step within {most:.1f} s{', from the cache' if 'cached' in name else ''}"
            alone = min(memory["first step"].get(NUMBA_ALONE, [0.0]))
            forbidden = f"Numba's own start takes {alone:.2f} s" if alone > most else ""
            targets.append(Target(text, f"{seconds:.2f} s", seconds <= most, forbidden))
    if "call" in memory:
        above = memory["call"]["step"] - memory["call"]["empty"]
        text = "compiled: a step of 3-4-2 at most 2 us above an empty call"
        targets.append(Target(text, f"{1e6 * above:.2f} us", above <= 2e-6))
    return targets


def _perceptron(cells: list[Cell]) -> list[Target]:
    perceptron = _where(cells, kind="Perceptron")
    text = "perceptron, bit for bit the sequential loop: at least 20 x its speed"
    return [
        _least(text, perceptron, "loop", 20, ratio),
        _least("perceptron ahead of scikit-learn's, per epoch", perceptron, "scikit-learn", 1, ratio),
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
        targets.append(Target("peak at most parameters x (2 + state) plus three times the activations", measured,
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
    """Return how many targets are met, in words."""
    judged = [target for target in targets if target.met is not None]
    met = sum(bool(target.met) for target in judged)
    out_of_reach = sum(bool(target.forbidden) for target in judged if not target.met)
    rest = f"; {out_of_reach} of the {len(judged) - met} missed are out of reach" if out_of_reach else ""
    return f"{met} of {len(judged)} targets met{rest}"
