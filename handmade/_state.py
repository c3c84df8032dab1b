"""What optimizers and schedules are made of: hyperparameters that are checked, and state that can be saved."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any


class Resumable:
    """A dataclass whose fields are its hyperparameters, and which can be saved and resumed exactly."""

    def _validate(self) -> None:
        """Raise unless every hyperparameter is legal; make each a plain Python value."""

    def _validate_loaded(self) -> None:
        """Raise unless the state besides the hyperparameters is legal, after `load_state_dict`."""

    def _require(self, check: Callable[[Any, str], Any], *names: str) -> None:
        for name in names:
            setattr(self, name, check(getattr(self, name), name))

    def _saved(self) -> list[str]:
        """Name the attributes that go into `state_dict`."""
        return [field.name for field in dataclasses.fields(self)]

    def _members(self) -> Sequence[Resumable]:
        """Return the parts that have a `state_dict` of their own."""
        return ()

    def state_dict(self) -> dict[str, Any]:
        """Return hyperparameters and state as a plain dict of copies: all that an exact resumption needs."""
        state = {name: copy.copy(getattr(self, name)) for name in self._saved()}
        members = [part.state_dict() for part in self._members()]
        return {"class": type(self).__name__, **state, "members": members}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` of the same class returned; on an error nothing is changed.

        Raises
        ------
        TypeError
            If state_dict is not a dict, or a value in it has a wrong type.
        ValueError
            If it comes from another class, lacks a key or has one too many, or holds an illegal value.
        """
        for part, attributes in self._parse(state_dict):
            part.__dict__.update(attributes)

    def _parse(self, state_dict: dict[str, Any]) -> list[tuple[Resumable, dict[str, Any]]]:
        """Return the attributes that state_dict stands for, for self and for each member; change nothing."""
        if not isinstance(state_dict, dict):
            raise TypeError(f"state_dict: expected a dict, got {type(state_dict).__name__}")
        name = type(self).__name__
        if state_dict.get("class") != name:
            raise ValueError(f"state_dict: expected class {name!r}, got {state_dict.get('class')!r}")
        expected = ["class", *self._saved(), "members"]
        if state_dict.keys() != set(expected):
            raise ValueError(f"state_dict: expected the keys {expected}, got {list(state_dict)}")
        states = state_dict["members"]
        if len(states) != len(self._members()):
            raise ValueError(f"state_dict: expected {len(self._members())} members, got {len(states)}")
        candidate = copy.copy(self)
        candidate.__dict__.update({name: copy.copy(state_dict[name]) for name in self._saved()})
        candidate._validate()
        candidate._validate_loaded()
        parsed = [part._parse(state) for part, state in zip(self._members(), states, strict=True)]
        return [(self, candidate.__dict__), *(pair for pairs in parsed for pair in pairs)]
