"""A user's own loss function, with its arguments protected and its result checked at each call."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from .._validation import call, check_unmasked

__all__ = ["own"]


def own(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with checks, the same object at each call; a function of this package needs none."""
    module = getattr(getattr(function, "func", function), "__module__", None)
    if str(module).startswith(f"{__package__}."):
        return function
    try:
        return _guarded(function)
    except TypeError:  # an object that cannot be hashed
        return _guarded.__wrapped__(function)


@functools.lru_cache(maxsize=16)
def _guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that cannot write into its arguments, and whose errors name the loss."""

    @functools.wraps(function)
    def guarded(*arrays: Any, **options: Any) -> Any:
        try:
            result = call(function, "loss", "of (input, target)", *map(_read_only, arrays), **options)
        except ValueError as error:
            if "read-only" not in str(error):
                raise
            cure = "compute in a new array"
            raise ValueError(
                f"loss: expected a function that leaves its arguments unchanged, got a write; {cure}"
            ) from error
        check_unmasked(result, "loss")
        if np.iscomplexobj(result) and not np.iscomplexobj(arrays[0]):
            raise TypeError(f"loss: expected real numbers, got {result!r}")
        return result

    guarded.__name__ = getattr(getattr(function, "func", function), "__name__", "the loss")
    return guarded


def _read_only(array: Any) -> Any:
    """Return a view of an array into which nobody can write."""
    if isinstance(array, np.ndarray):
        array = array.view()
        array.flags.writeable = False
    return array
