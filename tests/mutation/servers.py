"""Servers that run the tests against mutants: each mutant in a process of its own, forked when all imports are done.

Two servers share the work. The collecting server has imported the package and collected the tests; a fork of it
replaces the code of the live functions by the mutated code, and runs the tests that call the function. That takes
milliseconds. The importing server has imported only other packages; a fork of it imports the mutated module and runs
all the tests. It is for code that runs when the package or the tests are imported, and has the last word on a
survivor among the functions that were called then.
"""

from __future__ import annotations

import gc
import math
import os
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType

import pytest

from .baseline import Baseline, outermost
from .mutants import Mutant
from .processes import CANNOT, FAILED, PASSED, Pool
from .runs import Target, caches_in, passes, run_pytest, without_shrinking

Report = Callable[[Mutant, str], None]


# ---- the collecting server -------------------------------------------------------------------------------------------


class Limiting:
    """A plugin that ends this process where a test takes ten times as long as unchanged, and two seconds more."""

    def __init__(self, baseline: Baseline) -> None:
        self.baseline = baseline

    def pytest_collection(self) -> None:
        without_shrinking()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        _, most = resource.getrlimit(resource.RLIMIT_CPU)
        limit = math.ceil(time.process_time() + self.baseline.limit([nodeid]))
        resource.setrlimit(resource.RLIMIT_CPU, (min(limit, most), most))


class Collecting(Limiting):
    """A plugin that runs mutants where pytest would run the tests.

    Parameters
    ----------
    target : Target
        The module.
    mutants : list of Mutant
        Those in the bodies of functions.
    report : callable
        Called with each mutant and its status: "killed", "timeout", "survived", or "again", where the importing
        server has to try.
    baseline : Baseline
        The unchanged package under its tests.
    processes : int
        How many at a time.
    """

    def __init__(
        self, target: Target, mutants: list[Mutant], report: Report, baseline: Baseline, processes: int
    ) -> None:
        super().__init__(baseline)
        self.target, self.mutants, self.report = target, mutants, report
        self.pool = Pool(processes)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = {item.nodeid: item for item in session.items}
        live = live_functions(self.target.path)
        for cache in caches_in(self.target.package.name):
            cache.cache_clear()
        gc.freeze()
        with self.pool:
            for mutant in self.mutants:
                tests = self.baseline.tests_of(mutant.outermost or "")
                self.pool.start(
                    lambda mutant=mutant, tests=tests: self._judge(mutant, [items[test] for test in tests], live),
                    self.baseline.limit(tests),
                    lambda status, mutant=mutant: self._done(mutant, status),
                )
        return True

    def _judge(self, mutant: Mutant, items: list[pytest.Item], live: dict[str, list[FunctionType]]) -> int:
        mutant.edit.apply()
        if not replace_code(self.target, mutant.outermost, live):
            return CANNOT
        return PASSED if all(map(passes, items)) else FAILED

    def _done(self, mutant: Mutant, status: str) -> None:
        if status == "cannot" or (status == "survived" and mutant.outermost in self.baseline.early):
            status = "again"
        self.report(mutant, status)


def live_functions(path: Path) -> dict[str, list[FunctionType]]:
    """Return all functions that exist and come from this file, by the outermost function that they stand in."""
    found: dict[str, list[FunctionType]] = {}
    for thing in gc.get_objects():
        if type(thing) is FunctionType and thing.__code__.co_filename == str(path):
            found.setdefault(outermost(thing.__code__), []).append(thing)
    return found


def replace_code(target: Target, function: str | None, live: dict[str, list[FunctionType]]) -> bool:
    """Give the live functions the code of the tree as it is now; return whether all could take it."""
    new = {
        (code.co_qualname, code.co_firstlineno): code
        for code in _codes(compile(target.tree, str(target.path), "exec", dont_inherit=True))
    }
    functions = live.get(function or "", [])
    try:
        for f in functions:
            f.__code__ = new[f.__code__.co_qualname, f.__code__.co_firstlineno]
    except (KeyError, ValueError):  # another number of free variables
        return False
    return bool(functions)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


# ---- the importing server --------------------------------------------------------------------------------------------


def run_importing(target: Target, mutants: list[Mutant], report: Report, baseline: Baseline, processes: int) -> None:
    """Run each mutant, with all tests, in a fork that imports the package anew."""
    limit = baseline.limit(list(baseline.seconds)) + 10

    def judge(mutant: Mutant) -> int:
        mutant.edit.apply()
        return run_pytest(target, _Ordered(baseline, mutant.outermost or mutant.function))

    with Pool(processes) as pool:
        for mutant in mutants:
            pool.start(
                lambda mutant=mutant: judge(mutant),
                limit,
                lambda status, mutant=mutant: report(mutant, status),
            )


class _Ordered(Limiting):
    """A plugin that runs the tests of a baseline, those first that call a function, and ends this process."""

    def __init__(self, baseline: Baseline, function: str) -> None:
        super().__init__(baseline)
        self.order = baseline.tests_from(function)

    def pytest_runtestloop(self, session: pytest.Session) -> None:
        items = {item.nodeid: item for item in session.items}
        ordered = [items[test] for test in self.order if test in items]
        passed = not session.testsfailed and ordered and all(map(passes, ordered))
        os._exit(PASSED if passed else FAILED)  # pytest's own end takes a third of the time of most mutants
