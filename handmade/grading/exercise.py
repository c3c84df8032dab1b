"""An exercise: the network that students write by hand, its data, and the rules."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .._user_code import importing_beside
from .._validation import nonnegative
from ..checking.claims import as_numbers
from ..dropout import Dropout
from ..losses import Loss
from ..network import Network, as_network, check_finite_targets

__all__ = ["FORBIDDEN", "Exercise", "Limits", "load_exercise"]

FORBIDDEN = (  # they compute gradients
    "handmade", "torch", "functorch", "jax", "jaxlib", "flax", "haiku", "autograd", "tensorflow", "keras", "theano",
    "aesara", "pytensor", "mxnet", "paddle", "mindspore", "chainer", "tinygrad", "micrograd", "mygrad", "minitorch",
    "numdifftools", "casadi", "algopy", "dezero", "thinc", "lightning", "pytorch_lightning",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Limits:
    """The limits of each student's process.

    Attributes
    ----------
    seconds : float
        From the start to the last answer, beside the start of the interpreter.
    cpu_seconds : float
        Of the processor, beside the start of the interpreter; rounded up to whole seconds.
    memory : int
        Bytes beyond those of NumPy. Where the system does not limit address space, there is no such limit.
    output : int
        Characters that may be printed before the student is asked to print less.
    """

    seconds: float = 60.0
    cpu_seconds: float = 10.0
    memory: int = 2**30
    output: int = 100_000

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= sys.float_info.max:
                raise ValueError(f"{field.name}: expected a positive number, got {value!r}")


@dataclasses.dataclass(frozen=True, eq=False)
class Exercise:
    """An exercise: the network that students write by hand, and how their code is graded.

    Parameters
    ----------
    network : Network
        The network whose forward and backward pass is to be written. Students get its parameters, each moved by a
        random number of at most 0.1 (the same in every call): a bias of 0 would not be missed.
    X, y, loss
        As in `Network.loss_and_gradient`.
    points : float or sequence of float
        The points in all, shared equally; or those for the loss (or output), then for each layer with parameters, from
        the input to the output. One for each unless given.
    file : str, optional
        The file that holds the functions, where each student hands in a folder.
    adapter : path, optional
        A Python file with ``loss_and_gradient(submission, parameters, X, y)``, or ``forward`` and ``backward`` with the
        same first argument. It calls what students wrote, where that follows a convention which the grader does not
        know. It runs in their process.
    forbidden : sequence of str
        Top-level modules that may not be imported.
    limits : Limits
        Of time, memory and output.

    Raises
    ------
    ValueError, TypeError
        If network, X, y and loss do not fit each other, the points do not fit the network, or the network has Dropout,
        whose masks nobody can repeat.

    Examples
    --------
    >>> from handmade.grading import Exercise
    >>> X, y = hm.data.xor()
    >>> exercise = Exercise(hm.MLP([2, 3, 2], activation="tanh", rng=0), X, y, points=10)
    >>> [name for name, _ in exercise.layers], exercise.weights
    (['layer 0, Dense(2, 3)', 'layer 2, Dense(3, 2)'], [3.3333333333333335, 3.3333333333333335, 3.3333333333333335])
    """

    network: Network
    X: npt.ArrayLike
    y: npt.ArrayLike
    loss: Loss = "cross_entropy"
    points: float | Sequence[float] | None = None
    file: str | None = None
    adapter: str | Path | None = None
    forbidden: Sequence[str] = FORBIDDEN
    limits: Limits = dataclasses.field(default_factory=Limits)
    _value: float = dataclasses.field(init=False, repr=False, default=0.0)

    def __post_init__(self) -> None:
        if any(isinstance(leaf, Dropout) and leaf.p for _, leaf in as_network(self.network).leaves()):
            raise ValueError("network: expected one without Dropout, whose masks no student can repeat")
        for name in ("file", "adapter"):
            if not isinstance(getattr(self, name), str | Path | None):
                raise TypeError(f"{name}: expected a name, got {getattr(self, name)!r}")
        if not isinstance(self.limits, Limits):
            raise TypeError(f"limits: expected Limits, got {self.limits!r}")
        if isinstance(self.forbidden, str):
            raise TypeError("forbidden: expected a sequence of names, got a string; write ('torch',)")
        if not (np.iterable(self.forbidden) and all(isinstance(name, str) for name in self.forbidden)):
            raise TypeError(f"forbidden: expected a sequence of names, got {self.forbidden!r}")
        moved = copy.deepcopy(self.network)
        moved.theta += np.random.default_rng(0).uniform(-0.1, 0.1, moved.theta.shape).astype(moved.dtype)
        X, y = moved.check_input(self.X).copy(), np.array(check_finite_targets(self.y))
        value, _ = copy.deepcopy(moved).loss_and_gradient(X, y, loss=self.loss)  # raises, if they do not fit
        object.__setattr__(self, "_value", float(value))
        for name, value in {"network": moved, "X": X, "y": y}.items():
            object.__setattr__(self, name, value)
        if self.adapter is not None and not Path(self.adapter).is_file():
            raise FileNotFoundError(f"adapter: expected a Python file that exists, got {self.adapter}")
        if self.adapter is not None:
            object.__setattr__(self, "adapter", Path(self.adapter).resolve())  # students' processes have other folders
        _ = self.weights

    @property
    def layers(self) -> list[tuple[str, list[str]]]:
        """Each layer with parameters, and the names of its parameters."""
        return [
            (f"layer {prefix[:-1]}, {layer!r}", [prefix + name for name in layer.parameters])
            for prefix, layer in self.network.leaves()
            if layer.parameters
        ]

    @property
    def weights(self) -> list[float]:
        """The points for the loss and for each layer."""
        count = 1 + len(self.layers)
        if self.points is None:
            return [1.0] * count
        if isinstance(self.points, int | float) and not isinstance(self.points, bool):
            weights = [nonnegative(self.points, "points") / count] * count
        else:
            weights = as_numbers(self.points, "points").ravel().tolist()
        if len(weights) != count or not all(0 <= w < float("inf") for w in weights) or not sum(weights):
            raise ValueError(
                f"points: expected a positive number, or {count} numbers for the loss and {count - 1} layers; "
                f"got {self.points!r}"
            )
        return weights

    @property
    def fingerprint(self) -> str:
        """A digest of all that decides a grade. A journal is not continued with grades of another digest."""
        parts = self.layers, self.weights, self._value, self.file, sorted(self.forbidden), self.limits
        digest = hashlib.sha256(repr(parts).encode())
        if self.adapter is not None:
            digest.update(Path(self.adapter).read_bytes())
        for array in (self.network.theta, np.asarray(self.X), np.asarray(self.y)):
            digest.update(array.tobytes())
        return digest.hexdigest()[:16]


def load_exercise(path: str | Path) -> Exercise:
    """Run a teacher's file, and return the exercise that it defines.

    Parameters
    ----------
    path : path
        A Python file that assigns an `Exercise` to a name, any name.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or it defines no exercise, or several.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: expected the file of an exercise, found none there")
    with importing_beside(path):
        names = runpy.run_path(str(path), run_name="exercise")
    found = list({id(value): value for value in names.values() if isinstance(value, Exercise)}.values())
    if len(found) != 1:
        raise ValueError(
            f"{path}: expected one exercise, such as exercise = Exercise(network, X, y), got {len(found) or 'none'}"
        )
    return found[0]
