"""The unchanged package under its tests: which tests pass, how long each takes, and which functions it calls."""

from __future__ import annotations

import compileall
import contextlib
import cProfile
import hashlib
import inspect
import itertools
import json
import math
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import pytest

from .processes import Pool, seconds_computed
from .runs import Target, caches_in, own_modules, passes, run_pytest, without_shrinking

set_profile = sys.setprofile
MOST = 5  # seconds of tests for a mutant, of those that call the function and of others: one that gets through survives


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
    files : dict of str to str
        The digests of those files of the package of which the tests call a function.
    """

    seconds: dict[str, float]
    calls: dict[str, list[str]]
    early: list[str]
    modules: list[str]
    files: dict[str, str]

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


# ---- which functions a test calls ------------------------------------------------------------------------------------


class Calls:
    """The outermost functions of the files in a folder that are called, each as ``path:function``.

    This thread is watched by `cProfile`, which costs little; others by a trace function. Code that ends a profile, as
    the grader of submissions does, would end this one too: it begins again then.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = f"{folder}{os.sep}"
        self.seen: set[str] = set()
        self.profile = cProfile.Profile()

    def __call__(self, frame: FrameType, event: str, arg: Any) -> None:
        self._add(frame.f_code)

    def _add(self, code: CodeType) -> None:
        if code.co_filename.startswith(self.folder) and code.co_flags & inspect.CO_OPTIMIZED:  # no module, no class
            self.seen.add(f"{code.co_filename[len(self.folder) :]}:{outermost(code)}")

    def start(self) -> None:
        """Watch from here on."""
        self.profile = cProfile.Profile(subcalls=False, builtins=False)
        threading.settrace(self)
        self.profile.enable()
        sys.setprofile = self._begin_again

    def _begin_again(self, function: Any) -> None:
        set_profile(function)
        if function is None:
            with contextlib.suppress(ValueError):  # from Python 3.12 on, it has not ended
                self.profile.enable()

    def take(self) -> list[str]:
        """Watch no longer, and return the functions called since the start."""
        sys.setprofile = set_profile
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

    Of a test with parameters that takes too long for mutants, the other cases are left out.

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
        seconds, calls, slow = {}, {}, set()
        caches = caches_in(self.target.package.name)
        signal.signal(signal.SIGPROF, lambda *_: pytest.fail("too long for mutants", pytrace=False))
        for item in session.items:
            function = item.nodeid.partition("[")[0]
            if function in slow:
                continue
            for cache in caches:
                cache.cache_clear()
            self.calls.start()
            before = seconds_computed()
            signal.setitimer(signal.ITIMER_PROF, MOST)
            is_right = passes(item)
            signal.setitimer(signal.ITIMER_PROF, 0)
            calls[item.nodeid] = self.calls.take()
            if is_right:
                seconds[item.nodeid] = seconds_computed() - before
            if seconds_computed() - before > MOST:
                slow.add(function)
        own = {self.target.package.name, *own_modules(self.target.root)}
        modules = sorted(name for name in sys.modules if name.partition(".")[0] not in own)
        for file, path in self.paths.items():
            own_seconds, own_calls = (
                {test: value for test, value in values.items() if test.startswith(f"{file}::")}
                for values in (seconds, calls)
            )
            called = {name.partition(":")[0] for names in (early, *own_calls.values()) for name in names}
            files = {name: _digest(self.target.package / name) for name in sorted(called)}
            path.write_text(json.dumps(Baseline(own_seconds, own_calls, early, modules, files)))
        return True


def read_baseline(target: Target, work: Path) -> Baseline:
    """Return the baseline of a module; measure those test files whose baseline is not kept.

    Raises
    ------
    RuntimeError
        If the tests cannot be collected.
    """
    for folder in target.package, target.root / "tests":
        compileall.compile_dir(folder, quiet=2)  # once here, and not in each fork that imports
    missing = [test for test, baseline in kept_baselines(target, work).items() if baseline is None]
    if missing:
        tests, paths = target._replace(tests=missing), _baseline_paths(target, work)
        with Pool(1) as pool:
            own = {test: paths[test] for test in missing}
            pool.start(lambda: run_pytest(tests, Measuring(tests, own)), 3600, lambda status: None)
    parts = [part for part in kept_baselines(target, work).values() if part is not None]
    if len(parts) < len(target.tests):
        raise RuntimeError(f"{target.path.name}: python -m pytest {' '.join(missing)} does not come to an end")
    together = Baseline(
        {test: seconds for part in parts for test, seconds in part.seconds.items()},
        {test: calls for part in parts for test, calls in part.calls.items()},
        sorted({name for part in parts for name in part.early}),
        sorted({name for part in parts for name in part.modules}),
        {name: digest for part in parts for name, digest in part.files.items()},
    )
    return together.of(target.path.relative_to(target.package))


def kept_baselines(target: Target, work: Path) -> dict[str, Baseline | None]:
    """Return the baseline of each test file; None where a file has changed of which its tests call a function."""
    kept: dict[str, Baseline | None] = {}
    for test, path in _baseline_paths(target, work).items():
        baseline = Baseline(*json.loads(path.read_text())) if path.exists() else None
        changed = baseline and any(_digest(target.package / name) != old for name, old in baseline.files.items())
        kept[test] = None if changed else baseline
    return kept


def _baseline_paths(target: Target, work: Path) -> dict[str, Path]:
    """Return for each test file where its baseline stands, as long as it and the helpers of the tests stay."""
    helpers = sorted(path for path in (target.root / "tests").glob("*.py") if not path.name.startswith("test_"))
    common = _digest(*helpers, Path(__file__))
    return {
        test: work / f"{Path(test).stem}-{common[:8]}{_digest(target.root / test)[:8]}.json" for test in target.tests
    }


def _digest(*files: Path) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files if file.exists())).hexdigest()[:16]
