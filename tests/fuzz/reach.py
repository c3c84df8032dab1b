"""``python -m tests.fuzz --reach 200``: print the public functions and methods that no target calls."""

from __future__ import annotations

import functools
import inspect
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import chdir
from types import CodeType, FrameType
from typing import Any

import handmade as hm
from handmade import estimators, grading, protocols

from .engine import Target, run_case

__all__ = ["public_code", "unreached"]


def public_code() -> dict[str, CodeType]:
    """Return the code of every public function and method of handmade that is written in Python, by name."""
    found: dict[CodeType, str] = {}
    for module in _modules():
        for name in getattr(module, "__all__", ()):
            for path, function in _functions(
                getattr(module, name), f"{module.__name__}.{name}".removeprefix("handmade.")
            ):
                found.setdefault(function.__code__, path)
    return {path: code for code, path in found.items()}


def _modules() -> list[Any]:
    """Return handmade and the modules that it offers by name."""
    offered = [getattr(hm, name) for name in hm.__all__]
    return [hm, estimators, grading, *(one for one in offered if inspect.ismodule(one) and one is not protocols)]


def _functions(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield the functions of a public object: itself, or the methods that a class defines."""
    if inspect.isclass(value) and value.__module__.startswith("handmade"):
        for name, member in vars(value).items():
            member = member.fget if isinstance(member, property) else getattr(member, "func", member)
            member = getattr(member, "__func__", member)
            if name in ("__init__", "__post_init__", "__call__") or not name.startswith("_"):
                yield from _functions(member, f"{path}.{name}")
    elif callable(value):
        function = inspect.unwrap(value)
        if inspect.isfunction(function) and function.__module__.startswith("handmade"):
            yield path, function


def unreached(
    targets: Mapping[str, Target], cases: int, seed: int = 0, calls: Iterable[Callable[[], object]] = ()
) -> list[str]:
    """Return the public names that neither so many cases of each target nor the calls that they change call."""
    called: set[CodeType] = set()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        called.add(frame.f_code)

    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        drawn = [functools.partial(run_case, target, seed, n) for target in targets.values() for n in range(cases)]
        for call in [*calls, *drawn]:
            sys.setprofile(note)
            try:
                call()
            finally:
                sys.setprofile(None)
    return sorted(path for path, code in public_code().items() if code not in called)
