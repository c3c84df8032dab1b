"""Servers that run the tests against mutants: each mutant in a process of its own, forked when all imports are done.

Two servers share the work. The collecting server has imported the package and collected the tests; a fork of it
replaces the code of the live functions by the mutated code, and runs the tests that call the function. That takes
milliseconds. The importing server has imported only other packages; a fork of it imports the mutated module and runs
all the tests. It is for code that runs when the package or the tests are imported, and has the last word on a
survivor among the functions that were called then.
"""

from __future__ import annotations

import ast
import compileall
import contextlib
import cProfile
import gc
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import itertools
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
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any, NamedTuple

import hypothesis
import pytest

from .mutants import Mutant

MEMORY = 6 << 30  # bytes of data, so that a mutant that never stops growing fails and harms nobody
PATIENCE = 20  # the clock may show so many times the seconds of the processor that are allowed
OPTIONS = ["-q", "-s", "--tb=native", "--assert=plain", "-p", "no:cacheprovider"]
MOST = 5  # seconds of tests for a mutant, of those that call the function and of others: one that gets through survives
PASSED, FAILED, CANNOT = 0, 1, 99  # exit codes of a mutant's process

Report = Callable[[Mutant, str], None]


class Baseline(NamedTuple):
    """The unchanged package under some tests.

    Attributes
    ----------
    seconds : dict of str to float
        The tests that pass, and their time.
    calls : dict of str to list of str
        The outermost functions that each test calls: of the package, or of one module of it (see `Baseline.of`).
    early : list of str
        The functions that were called before the first test.
    modules : list of str
        The modules of other packages that the tests import, if only while they run.
    """

    seconds: dict[str, float]
    calls: dict[str, list[str]]
    early: list[str]
    modules: list[str]

    def of(self, path: Path) -> Baseline:
        """Return the part for the module of this path in the package, with functions by their names alone."""

        def own(functions: list[str]) -> list[str]:
            return [name.removeprefix(f"{path}:") for name in functions if name.startswith(f"{path}:")]

        return self._replace(calls={test: own(names) for test, names in self.calls.items()}, early=own(self.early))

    def tests_of(self, function: str) -> list[str]:
        """Return tests that call a function, in the order of `_cost`."""
        cost = self._cost()
        return self._first(sorted((test for test in cost if function in self.calls[test]), key=cost.__getitem__))

    def tests_from(self, name: str) -> list[str]:
        """Return tests that call this function or a method of this class, and then others, in the order of `_cost`."""
        cost = self._cost()
        order = sorted(cost, key=cost.__getitem__)
        near = [test for test in order if any(f"{f}.".startswith(f"{name}.") for f in self.calls[test])]
        others = [test for test in order if test not in set(near)]
        return [*self._first(near), *self._first(others)]

    def _first(self, tests: list[str]) -> list[str]:
        """Return so many tests as take `MOST` seconds together."""
        together = itertools.accumulate(self.seconds[test] for test in tests)
        return [test for test, seconds in zip(tests, together, strict=True) if seconds <= MOST]

    def _cost(self) -> dict[str, float]:
        """Return for each test its time, doubled for the second case of a test with parameters, and so on.

        Another case of one test seldom notices what the first has not.
        """
        cases: Counter[str] = Counter()
        cost = {}
        for test in sorted(self.seconds, key=self.seconds.__getitem__):
            function = test.partition("[")[0]
            cases[function] += 1
            cost[test] = self.seconds[test] * cases[function]
        return cost

    def limit(self, tests: Sequence[str]) -> int:
        """Return how many seconds of the processor these tests may take."""
        return math.ceil(2 + 10 * sum(self.seconds[test] for test in tests))


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

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Wait for all; after an exception, end them without a result."""
        while self.running and kind is None:
            self._wait()
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
    """The outermost functions of the files in a folder that are called, each as ``path:function``.

    This thread is watched by `cProfile`, which costs little; others by a trace function.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = f"{folder}{os.sep}"
        self.seen: set[str] = set()
        self.profile = cProfile.Profile()

    def __call__(self, frame: FrameType, event: str, arg: Any) -> None:
        self._add(frame.f_code)

    def _add(self, code: CodeType) -> None:
        if code.co_filename.startswith(self.folder):
            self.seen.add(f"{code.co_filename[len(self.folder) :]}:{outermost(code)}")

    def start(self) -> None:
        """Watch from here on."""
        self.profile = cProfile.Profile(subcalls=False, builtins=False)
        threading.settrace(self)
        self.profile.enable()

    def take(self) -> list[str]:
        """Watch no longer, and return the functions called since the start."""
        self.profile.disable()
        threading.settrace(None)  # type: ignore[arg-type]
        for entry in self.profile.getstats():
            if isinstance(entry.code, CodeType):
                self._add(entry.code)
        found, self.seen = sorted(self.seen), set()
        return found


def outermost(code: CodeType) -> str:
    """Return the qualified name of the function in which this code stands."""
    return code.co_qualname.partition(".<locals>")[0]


class Measuring:
    """A plugin that runs all tests, and writes down what they take, call and import.

    Parameters
    ----------
    target : Target
        The module.
    paths : dict of str to Path
        Where the baseline of each test file is written to.
    """

    def __init__(self, target: Target, paths: dict[str, Path]) -> None:
        self.target, self.paths = target, paths
        self.calls = Calls(target.package)
        self.calls.start()

    def pytest_collection(self) -> None:
        without_shrinking()

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        early = self.calls.take()
        seconds, calls = {}, {}
        signal.signal(signal.SIGPROF, lambda *_: pytest.fail("too long for mutants", pytrace=False))
        for item in session.items:
            self.calls.start()
            before = _time()
            signal.setitimer(signal.ITIMER_PROF, MOST)
            passes = _passes(item)
            signal.setitimer(signal.ITIMER_PROF, 0)
            calls[item.nodeid] = self.calls.take()
            if passes:
                seconds[item.nodeid] = _time() - before
        own = {self.target.package.name, *own_modules(self.target.root)}
        modules = sorted(name for name in sys.modules if name.partition(".")[0] not in own)
        for file, path in self.paths.items():
            own_seconds, own_calls = (
                {test: value for test, value in values.items() if test.startswith(f"{file}::")}
                for values in (seconds, calls)
            )
            path.write_text(json.dumps(Baseline(own_seconds, own_calls, early, modules)))
        return True


def _time() -> float:
    """Return the seconds that this process and those that it waited for have computed."""
    others = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + others.ru_utime + others.ru_stime


def read_baseline(target: Target, work: Path) -> Baseline:
    """Return the baseline of a module; measure those test files that no module has measured before.

    Raises
    ------
    RuntimeError
        If the tests cannot be collected.
    """
    for folder in target.package, target.root / "tests":
        compileall.compile_dir(folder, quiet=2)  # once here, and not in each fork that imports
    paths = _baseline_paths(target, work)
    missing = {test: path for test, path in paths.items() if not path.exists()}
    if missing:
        tests = target._replace(tests=list(missing))
        with Pool(1) as pool:
            pool.start(lambda: run_pytest(tests, Measuring(tests, missing)), 3600, lambda status: None)
    if not all(path.exists() for path in missing.values()):
        raise RuntimeError(f"{target.path.name}: python -m pytest {' '.join(missing)} does not come to an end")
    parts = [Baseline(*json.loads(path.read_text())) for path in paths.values()]
    together = Baseline(
        {test: seconds for part in parts for test, seconds in part.seconds.items()},
        {test: calls for part in parts for test, calls in part.calls.items()},
        sorted({name for part in parts for name in part.early}),
        sorted({name for part in parts for name in part.modules}),
    )
    return together.of(target.path.relative_to(target.package))


def _baseline_paths(target: Target, work: Path) -> dict[str, Path]:
    """Return for each test file where its baseline stands, as long as it, the package and the helpers stay."""
    helpers = [path for path in (target.root / "tests").glob("*.py") if not path.name.startswith("test_")]
    files = sorted([*target.package.rglob("*.py"), *helpers, Path(__file__)])
    common = hashlib.sha256(b"".join(file.read_bytes() for file in files))
    paths = {}
    for test in target.tests:
        digest = common.copy()
        digest.update((target.root / test).read_bytes())
        paths[test] = work / f"{Path(test).stem}-{digest.hexdigest()[:16]}.json"
    return paths


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
        return PASSED if all(map(_passes, items)) else FAILED

    def _done(self, mutant: Mutant, status: str) -> None:
        if status == "cannot" or (status == "survived" and mutant.outermost in self.baseline.early):
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


def run_pytest(target: Target, plugin: object) -> int:
    """Import the package, the module from its tree as it is now, and run its tests; return pytest's exit code."""
    os.chdir(target.root)
    sys.meta_path.insert(0, _Importer(target))
    return int(pytest.main([*OPTIONS, *target.tests], plugins=[plugin]))


class _Ordered(Limiting):
    """A plugin that runs the tests of a baseline, those first that call a function, and ends this process."""

    def __init__(self, baseline: Baseline, function: str) -> None:
        super().__init__(baseline)
        self.order = baseline.tests_from(function)

    def pytest_runtestloop(self, session: pytest.Session) -> None:
        items = {item.nodeid: item for item in session.items}
        ordered = [items[test] for test in self.order if test in items]
        passed = not session.testsfailed and ordered and all(map(_passes, ordered))
        os._exit(PASSED if passed else FAILED)  # pytest's own end takes a third of the time of most mutants


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
