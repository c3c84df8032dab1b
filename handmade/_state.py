"""State that can be saved and loaded: hyperparameters and arrays of optimizers, schedules and their like."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np


def _plain(value: Any) -> Any:
    """Return the number or text in an array without dimensions, as files hold it; other values as they are."""
    return value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value


class Stateful:
    """A dataclass whose fields are its hyperparameters, and which can be saved and resumed exactly."""

    def _validate(self) -> None:
        """Raise unless every hyperparameter is legal; make each a plain Python value."""

    def _validate_loaded(self) -> None:
        """Raise unless the state besides the hyperparameters is legal, after `load_state_dict`."""

    def _require(self, check: Callable[[Any, str], Any], *names: str) -> None:
        """Replace each of these attributes by the result of the check."""
        for name in names:
            setattr(self, name, check(getattr(self, name), name))

    def _saved(self) -> list[str]:
        """Return the names of the attributes that go into `state_dict`."""
        return [field.name for field in dataclasses.fields(self)]  # type: ignore[arg-type]  # subclasses are dataclasses

    def _members(self) -> Sequence[Stateful]:
        """Return the parts that have a `state_dict` of their own."""
        return ()

    def state_dict(self) -> dict[str, Any]:
        """Return copies of hyperparameters and state as a plain dict: all that an exact resumption needs."""
        state = {name: copy.copy(getattr(self, name)) for name in self._saved()}
        members = [part.state_dict() for part in self._members()]
        return {"class": type(self).__name__, **state, "members": members}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Copy the values that `state_dict` of the same class returned; on an error nothing is changed.

        Raises
        ------
        TypeError
            If state_dict is not a dict, or a value in it has a wrong type.
        ValueError
            If it comes from another class, lacks a key or has one too many, or holds an illegal value.
        """
        candidates = list(self._candidates(state_dict))  # raises before anything changes
        for part, candidate in candidates:
            part.__dict__ = candidate.__dict__

    def _assign(self, state_dict: Mapping[str, Any]) -> None:
        """Copy the values that `state_dict` of this object returned, which need not be legal: without a check."""
        self.__dict__.update({name: copy.copy(state_dict[name]) for name in self._saved()})
        for part, state in zip(self._members(), state_dict["members"], strict=True):
            part._assign(state)

    def _candidates(self, state_dict: Mapping[str, Any]) -> list[tuple[Stateful, Stateful]]:
        """Return self and each member, beside a copy of it in the new state."""
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"state_dict: expected a dict, got {type(state_dict).__name__}")
        state_dict = {key: _plain(value) for key, value in state_dict.items()}
        name, parts = type(self).__name__, self._members()
        if not isinstance(found := state_dict.get("class"), str) or found != name:
            raise ValueError(f"state_dict: expected class {name!r}, got {found!r}")
        expected = ["class", *self._saved(), "members"]
        if state_dict.keys() != set(expected):
            raise ValueError(f"state_dict: expected the keys {expected}, got {list(state_dict)}")
        members = state_dict["members"]
        is_list = isinstance(members, (list, tuple, np.ndarray))
        if not is_list or len(members) != len(parts):
            found = len(members) if is_list else type(members).__name__
            raise ValueError(f"state_dict: expected a list of {len(parts)} members, got {found}")
        candidate = copy.copy(self)
        candidate.__dict__.update({key: copy.copy(state_dict[key]) for key in self._saved()})
        candidate._validate()
        candidate._validate_loaded()
        of_members = [pair for part, state in zip(parts, members, strict=True) for pair in part._candidates(state)]
        return [(self, candidate), *of_members]
