"""Servers that run the tests against mutants: each mutant in a process of its own, forked when all imports are done.

Two servers share the work. The collecting server has imported the package and collected the tests; a fork of it
replaces the code of the live functions by the mutated code, and runs the tests that call the function. That takes
milliseconds. The importing server has imported only other packages; a fork of it imports the mutated module and runs
all the tests. It is for code that runs when the package or the tests are imported, and has the last word on a
survivor among the functions that were called then.
"""

from __future__ import annotations

import ast
import contextlib
import gc
import importlib
import importlib.abc
import importlib.machinery
import json
import math
import os
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any, NamedTuple

import hypothesis
import pytest

from .mutants import Mutant

MEMORY = 6 << 30  # bytes of data, so that a mutant that never stops growing fails and harms nobody
PATIENCE = 20  # the clock may show so many times the seconds of the processor that are allowed
OPTIONS = ["-q", "-s", "--tb=no", "--assert=plain", "-p", "no:cacheprovider"]
PASSED, FAILED, CANNOT = 0, 1, 99  # exit codes of a mutant's process

Report = Callable[[Mutant, str], None]


class Baseline(NamedTuple):
    """The unchanged package under its tests.

    Attributes
    ----------
    seconds : dict of str to float
        The tests that pass, and their time.
    calls : dict of str to list of str
        The outermost functions of the mutated module that each test calls.
    early : list of str
        The functions that were called before the first test.
    modules : list of str
        The modules of other packages that the tests import, if only while they run.
    """

    seconds: dict[str, float]
    calls: dict[str, list[str]]
    early: list[str]
    modules: list[str]

    def tests_of(self, function: str | None) -> list[str]:
        """Return the tests that call a function, all for None, the quickest first."""
        tests = [test for test in self.seconds if function is None or function in self.calls[test]]
        return sorted(tests, key=self.seconds.__getitem__)

    def limit(self, tests: Sequence[str]) -> int:
        """Return how many seconds of the processor these tests may take."""
        return math.ceil(2 + 10 * sum(self.seconds[test] for test in tests))


class Target(NamedTuple):
    """A module, its tree (which edits change in place), and its tests."""

    path: Path
    tree: ast.Module
    tests: list[str]
    root: Path


# ---- processes -------------------------------------------------------------------------------------------------------


class Pool:
    """A pool of at most ``size`` processes, each with a limit, a directory, and a function to call at its end."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.running: dict[int, tuple[str, Callable[[str], None]]] = {}

    def start(self, work: Callable[[], int], limit: int, done: Callable[[str], None]) -> None:
        """Run ``work`` in a fork, as soon as there is room; its result is the exit code."""
        while len(self.running) >= self.size:
            self._wait()
        place = tempfile.mkdtemp(prefix="mutant-")
        if (pid := os.fork()) == 0:
            code = FAILED
            try:
                _confine(limit, place)
                code = work()
            finally:
                os._exit(code)
        self.running[pid] = place, done

    def finish(self) -> None:
        """Wait for all."""
        while self.running:
            self._wait()

    def kill(self) -> None:
        """End all, without a result."""
        for pid, (place, _) in self.running.items():
            _kill_group(pid)
            os.waitpid(pid, 0)
            shutil.rmtree(place, ignore_errors=True)
        self.running.clear()

    def _wait(self) -> None:
        pid, status = os.waitpid(-1, 0)
        place, done = self.running.pop(pid)
        _kill_group(pid)  # what the tests may have started
        shutil.rmtree(place, ignore_errors=True)
        if os.WIFSIGNALED(status):
            late = os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGALRM, signal.SIGKILL)
            done("timeout" if late else "killed")
        else:
            done({PASSED: "survived", CANNOT: "cannot"}.get(os.WEXITSTATUS(status), "killed"))


def _confine(limit: int, place: str) -> None:
    """Give this process a group, a directory, limits, and nowhere to write to."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    signal.alarm(PATIENCE * limit)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.environ["PYTEST_DEBUG_TEMPROOT"] = os.environ["TMPDIR"] = place
    tempfile.tempdir = None


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


# ---- which functions a test calls ------------------------------------------------------------------------------------


class Calls:
    """The outermost functions of one file that are called."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.seen: set[str] = set()

    def __call__(self, frame: FrameType, event: str, arg: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename == self.path:
            self.seen.add(outermost(code))

    def start(self) -> None:
        threading.setprofile(self)
        sys.setprofile(self)

    def take(self) -> list[str]:
        """Return the functions called since the last time."""
        found, self.seen = sorted(self.seen), set()
        return found

    @staticmethod
    def stop() -> None:
        threading.setprofile(None)
        sys.setprofile(None)


def outermost(code: CodeType) -> str:
    """Return the qualified name of the function in which this code stands."""
    return code.co_qualname.partition(".<locals>")[0]


# ---- the collecting server -------------------------------------------------------------------------------------------


class Collecting:
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
    baseline_path : Path
        Where the baseline is written to.
    processes : int
        How many at a time.
    """

    def __init__(
        self, target: Target, mutants: list[Mutant], report: Report, baseline_path: Path, processes: int
    ) -> None:
        self.target, self.mutants, self.report, self.baseline_path = target, mutants, report, baseline_path
        self.pool = Pool(processes)
        self.calls = Calls(target.path)

    def pytest_collection(self) -> None:
        without_shrinking()

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        early = self.calls.take()
        if not self.baseline_path.exists():
            self.pool.start(lambda: self._measure(session, early), 3600, lambda status: None)
            self.pool.finish()
        self.calls.stop()
        baseline = read_baseline(self.baseline_path)
        import_modules(baseline.modules)
        items = {item.nodeid: item for item in session.items}
        live = live_functions(self.target.path)
        gc.freeze()
        try:
            for mutant in self.mutants:
                tests = baseline.tests_of(mutant.outermost)
                self.pool.start(
                    lambda mutant=mutant, tests=tests: self._judge(mutant, [items[test] for test in tests], live),
                    baseline.limit(tests),
                    lambda status, mutant=mutant: self._done(mutant, status, baseline),
                )
            self.pool.finish()
        except BaseException:
            self.pool.kill()
            raise
        return True

    def _measure(self, session: pytest.Session, early: list[str]) -> int:
        """Run all tests unchanged; write down their times and calls."""
        seconds, calls = {}, {}
        for item in session.items:
            self.calls.start()
            before = time.process_time()
            passed = _passes(item)
            self.calls.stop()
            if passed:
                seconds[item.nodeid] = time.process_time() - before
            calls[item.nodeid] = self.calls.take()
        own = {self.target.path.relative_to(self.target.root).parts[0], *own_modules(self.target.root)}
        modules = sorted(name for name in sys.modules if name.partition(".")[0] not in own)
        self.baseline_path.write_text(json.dumps(Baseline(seconds, calls, early, modules)))
        return PASSED

    def _judge(self, mutant: Mutant, items: list[pytest.Item], live: dict[str, list[FunctionType]]) -> int:
        mutant.edit.apply()
        if not replace_code(self.target, mutant.outermost, live):
            return CANNOT
        return PASSED if all(map(_passes, items)) else FAILED

    def _done(self, mutant: Mutant, status: str, baseline: Baseline) -> None:
        if status == "cannot" or (status == "survived" and mutant.outermost in baseline.early):
            status = "again"
        self.report(mutant, status)


def without_shrinking() -> None:
    """Let hypothesis stop at the first example that fails, and not look for the simplest one."""
    phases = set(hypothesis.settings.default.phases) - {hypothesis.Phase.shrink, hypothesis.Phase.explain}
    hypothesis.settings.register_profile("mutation", hypothesis.settings.default, phases=phases)
    hypothesis.settings.load_profile("mutation")


def _passes(item: pytest.Item) -> bool:
    before = item.session.testsfailed
    item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
    return item.session.testsfailed == before


def read_baseline(path: Path) -> Baseline:
    """Return the baseline that was written."""
    return Baseline(*json.loads(path.read_text()))


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
    """Run each mutant in a fork that imports the package anew, with all tests; report "killed", "timeout", "survived".

    Raises
    ------
    RuntimeError
        If the tests fail in that way where nothing is mutated.
    """
    import_modules(baseline.modules)
    tests = baseline.tests_of(None)
    limit = baseline.limit(tests) + 10

    def judge(mutant: Mutant | None) -> int:
        if mutant is not None:
            mutant.edit.apply()
        sys.meta_path.insert(0, _Importer(target))
        return pytest.main([*OPTIONS, "-x", *target.tests], plugins=[_Ordered(tests)])

    unchanged: list[str] = []
    pool = Pool(processes)
    try:
        pool.start(lambda: judge(None), limit, unchanged.append)
        pool.finish()
        if unchanged != ["survived"]:
            raise RuntimeError(f"{target.path.name}: the tests fail without a mutant")
        for mutant in mutants:
            pool.start(
                lambda mutant=mutant: judge(mutant),
                limit,
                lambda status, mutant=mutant: report(mutant, status),
            )
        pool.finish()
    except BaseException:
        pool.kill()
        raise


class _Ordered:
    """A plugin that runs these tests in this order."""

    def __init__(self, tests: list[str]) -> None:
        self.order = {test: i for i, test in enumerate(tests)}

    def pytest_collection(self) -> None:
        without_shrinking()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted((i for i in items if i.nodeid in self.order), key=lambda item: self.order[item.nodeid])


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
