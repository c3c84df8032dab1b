"""The parameters that both estimators take, and their checks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

from .._validation import check_bool, check_choice, check_count, is_beyond_float, shown
from ._sklearn import BaseEstimator

__all__ = ["Parameters"]

SOLVERS = ("adam", "sgd", "lbfgs")
CHOICES = {"learning_rate": ("constant", "invscaling", "adaptive"), "monitor": ("loss", "score")}
BELOW_ONE = 1 - 2.0**-53
FLAGS = ("shuffle", "warm_start", "nesterovs_momentum", "early_stopping", "progress")
LIMITS: dict[str, tuple[Any, float, float]] = {
    "alpha": (Real, 0, np.inf),
    "learning_rate_init": (Real, 0, sys.float_info.max),
    "power_t": (Real, 0, np.inf),
    "max_iter": (Integral, 1, np.inf),
    "tol": (Real, 0, np.inf),
    "n_iter_no_change": (Real, 1, np.inf),
    "max_fun": (Integral, 1, np.inf),
    "beta_1": (Real, 0, BELOW_ONE),
    "beta_2": (Real, 0, BELOW_ONE),
    "epsilon": (Real, 0, sys.float_info.max),
    "momentum": (Real, 0, sys.float_info.max),
    "validation_fraction": (Real, 0, BELOW_ONE),
}


class Parameters(BaseEstimator):
    """The parameters as attributes, as scikit-learn keeps them: unchecked until `fit`."""

    hidden_layer_sizes: Any
    activation: Any
    solver: Any
    alpha: float
    batch_size: Any
    learning_rate: str
    learning_rate_init: float
    power_t: float
    max_iter: int
    shuffle: bool
    random_state: Any
    tol: float
    verbose: bool
    warm_start: bool
    momentum: float
    nesterovs_momentum: bool
    early_stopping: bool
    validation_fraction: float
    beta_1: float
    beta_2: float
    epsilon: float
    n_iter_no_change: float
    max_fun: int
    loss: Any
    dropout: float
    normalization: Any
    monitor: str
    callbacks: Sequence[Callable[[Any], Any]]
    progress: bool
    compile: Any

    def _check_parameters(self) -> None:
        """Raise unless the parameters are legal; what networks and optimizers check is left to them."""
        for name, choices in CHOICES.items():
            check_choice(getattr(self, name), name, choices)
        for name, (kind, low, high) in LIMITS.items():
            value = getattr(self, name)
            is_legal = isinstance(value, kind) and not isinstance(value, (bool, np.timedelta64))
            if not is_legal or is_beyond_float(value) or not low <= float(value) <= high:  # a float16 rounds the bounds
                word = "an integer" if kind is Integral else "a number"
                bounds = "in [0, 1)" if high == BELOW_ONE else f"from {low} to {high}"
                raise ValueError(f"{name}: expected {word} {bounds}, got {shown(value)}")
        for name in FLAGS:
            value = getattr(self, name)
            check_bool(bool(value) if isinstance(value, np.bool_) else value, name)
        if not isinstance(self.verbose, (Integral, np.bool_)):
            raise TypeError(f"verbose: expected True, False or an integer, got {self.verbose!r}")
        if isinstance(self.solver, str):
            is_known = self.solver in SOLVERS
        else:
            is_known = callable(getattr(self.solver, "step", None)) and not isinstance(self.solver, type)
        if not is_known:
            raise ValueError(
                f"solver: expected 'adam', 'sgd', 'lbfgs' or an optimizer such as Adam(), got {self.solver!r}"
            )
        is_auto = isinstance(self.batch_size, str) and self.batch_size == "auto"
        is_count = isinstance(self.batch_size, Integral) and not isinstance(self.batch_size, np.timedelta64)
        if not is_auto and not (is_count and int(self.batch_size) >= 1):
            raise ValueError(f"batch_size: expected 'auto' or an integer of at least 1, got {shown(self.batch_size)}")
        if getattr(self.solver, "needs_evaluate", False) and not (is_auto and np.array_equal(self.dropout, 0)):
            raise ValueError(f"batch_size, dropout: expected 'auto' and 0 with {self.solver!r}, which compares losses")
        self._hidden_sizes()
        callbacks = self._called_after_epochs()
        if not (np.iterable(callbacks) and all(map(callable, callbacks))):
            raise TypeError(f"callbacks: expected a sequence of functions, got {self.callbacks!r}")

    def _hidden_sizes(self) -> list[int]:
        """Return the widths of the hidden layers; a single number is one of them."""
        sizes = self.hidden_layer_sizes
        sizes = sizes if np.iterable(sizes) and not isinstance(sizes, str) else [sizes]
        return [check_count(size, "hidden_layer_sizes") for size in sizes]

    def _called_after_epochs(self) -> Any:
        """Return the callbacks, none of them for None."""
        return () if self.callbacks is None else self.callbacks
