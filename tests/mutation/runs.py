"""Runs of pytest on a module whose code may be mutated: the module is imported from its tree."""

from __future__ import annotations

import ast
import contextlib
import functools
import gc
import importlib
import importlib.abc
import importlib.machinery
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

import hypothesis
import pytest

OPTIONS = ["-q", "-s", "--tb=native", "--assert=plain", "-p", "no:cacheprovider"]


class Target(NamedTuple):
    """A module, its tree (which edits change in place), and its tests."""

    path: Path
    tree: ast.Module
    tests: list[str]
    root: Path

    @property
    def package(self) -> Path:
        """The folder of the package."""
        return self.root / self.path.relative_to(self.root).parts[0]


def run_pytest(target: Target, plugin: object) -> int:
    """Import the package, the module from its tree as it is now, and run its tests; return pytest's exit code."""
    os.chdir(target.root)
    sys.meta_path.insert(0, _Importer(target))
    return int(pytest.main([*OPTIONS, *target.tests], plugins=[plugin]))


class _Importer(importlib.abc.MetaPathFinder, importlib.machinery.SourceFileLoader):
    """A finder and loader of one module, whose code is that of a tree."""

    def __init__(self, target: Target) -> None:
        self.target = target
        parts = target.path.relative_to(target.root).with_suffix("").parts
        super().__init__(".".join(parts[:-1] if parts[-1] == "__init__" else parts), str(target.path))

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name != self.name:
            return None
        package = self.target.path.name == "__init__.py"
        spec = importlib.machinery.ModuleSpec(name, self, origin=self.path, is_package=package)
        spec.has_location = True
        if package:
            spec.submodule_search_locations = [str(self.target.path.parent)]
        return spec

    def get_code(self, name: str) -> CodeType:
        return compile(self.target.tree, self.path, "exec", dont_inherit=True)


def without_shrinking() -> None:
    """Let hypothesis stop at the first example that fails, and not look for the simplest one."""
    phases = set(hypothesis.settings.default.phases) - {hypothesis.Phase.shrink, hypothesis.Phase.explain}
    hypothesis.settings.register_profile("mutation", hypothesis.settings.default, phases=phases)
    hypothesis.settings.load_profile("mutation")


def passes(item: pytest.Item) -> bool:
    """Run a test, and return whether it passes."""
    before = item.session.testsfailed
    item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
    return item.session.testsfailed == before


def caches_in(package: str) -> list[Any]:
    """Return the caches of functions in a package, as `functools.cache` and `lru_cache` make them.

    A cache that is full when a test begins would hide a change of its function, and that the test calls it.
    """
    kind = type(functools.cache(abs))
    return [
        cache for cache in gc.get_objects() if type(cache) is kind and f"{cache.__module__}.".startswith(f"{package}.")
    ]


def own_modules(root: Path) -> set[str]:
    """Return the names of the packages and modules of the project and of its tests."""
    return {path.stem for path in [*root.iterdir(), *(root / "tests").iterdir()]}


def import_modules(names: Sequence[str]) -> None:
    """Import modules, as far as there are such."""
    for name in names:
        if name not in sys.modules:
            with contextlib.suppress(ImportError), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                importlib.import_module(name)
