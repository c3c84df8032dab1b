"""A campaign: the mutants of some modules, what became of them, and the score."""

from __future__ import annotations

import ast
import contextlib
import gc
import hashlib
import io
import json
import multiprocessing
import os
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from .baseline import Baseline, kept_baselines, read_baseline
from .mutants import Mutant, find_mutants
from .runs import Target, import_modules, run_pytest
from .servers import Collecting, Report, run_importing

ROOT = Path(__file__).parents[2]
EQUIVALENT = Path(__file__).with_name("equivalent.toml")
SAMPLE = 200  # mutants of a module that carries no mathematics

Outcome = tuple[Mutant, str]


class Module(NamedTuple):
    """A module to mutate.

    Attributes
    ----------
    path : Path
        The file.
    tests : list of Path
        The test files of which one has to fail.
    sample : int or None
        How many mutants to run; all for None.
    layout : frozenset of str
        See `find_mutants`.
    """

    path: Path
    tests: list[Path]
    sample: int | None = None
    layout: frozenset[str] = frozenset()

    def name(self, root: Path = ROOT) -> str:
        """Return the dotted name below the package, such as ``checking.gradients``."""
        parts = self.path.relative_to(root).with_suffix("").parts[1:]
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sampled(mutants: list[Mutant], size: int | None) -> list[Mutant]:
    """Return so many mutants, in their order: always the same ones, whatever else changes in the module."""
    if size is None or size >= len(mutants):
        return mutants
    rank = {id(m): hashlib.sha256(m.name.encode()).digest() for m in mutants}
    chosen = {id(m) for m in sorted(mutants, key=lambda m: rank[id(m)])[:size]}
    return [m for m in mutants if id(m) in chosen]


# ---- running ---------------------------------------------------------------------------------------------------------


def run_module(module: Module, work: Path, processes: int, root: Path = ROOT, show: bool = True) -> list[Outcome]:
    """Run the mutants of a module, as far as their results are not known, and return all outcomes.

    Parameters
    ----------
    module : Module
        The module.
    work : Path
        A directory for results. A mutant that was killed is not run again as long as its function stays as it is; one
        that survived, as long as these tests stay, and each file of the package of which they call a function.
    processes : int
        How many mutants at a time; 0 runs none.
    root : Path
        The directory that holds the package and the tests.
    show : bool
        Whether to print progress.

    Returns
    -------
    list of (Mutant, str)
        Each mutant and "killed", "timeout" (also killed), "survived" or "not run".
    """
    tree = ast.parse(module.path.read_text())
    mutants = sampled(find_mutants(tree, module.layout), module.sample)
    target = Target(module.path, tree, [str(test.relative_to(root)) for test in module.tests], root)
    results = Results(work / f"{module.name(root)}.jsonl", _fingerprint(target, work))
    pending = [mutant for mutant in mutants if results.is_due(mutant)]
    if pending and processes:
        baseline = read_baseline(target, work)
        results.world = _fingerprint(target, work)
        _run(target, baseline, pending, results, processes, _progress(module.name(root), len(pending), show))
    return [(mutant, results.status(mutant) or "not run") for mutant in mutants]


def _run(
    target: Target, baseline: Baseline, pending: list[Mutant], results: Results, processes: int, progress: Report
) -> None:
    """Let the collecting server run what is in functions, and the importing server the rest."""
    import_modules(baseline.modules)  # in this process, which forks the servers of all modules
    gc.freeze()
    again = [mutant for mutant in pending if mutant.outermost is None]

    def report(mutant: Mutant, status: str) -> None:
        if status == "again":
            again.append(mutant)
        else:
            results.add(mutant, status)
            progress(mutant, status)

    def collect(report: Report) -> None:
        mutants = [mutant for mutant in pending if mutant.outermost is not None]
        with contextlib.redirect_stdout(io.StringIO()) as output:
            code = run_pytest(target, Collecting(target, mutants, report, baseline, processes))
        if code != 0:
            raise RuntimeError(f"{target.path.name}: pytest ended with {code!r}\n{output.getvalue()[-2000:]}")

    if len(again) < len(pending):
        _in_a_fork(collect, pending, report)
    run_importing(target, again, report, baseline, processes)


def _in_a_fork(serve: Callable[[Report], None], mutants: list[Mutant], report: Report) -> None:
    """Run a server in a process of its own, and report here what it reports.

    Raises
    ------
    RuntimeError
        If the server fails.
    """
    index = {id(mutant): i for i, mutant in enumerate(mutants)}
    receiver, sender = multiprocessing.Pipe(duplex=False)
    if (pid := os.fork()) == 0:
        code = 1
        try:
            serve(lambda mutant, status: sender.send((index[id(mutant)], status)))
            code = 0
        except KeyboardInterrupt:
            pass
        except BaseException as error:
            sender.send(repr(error))
        finally:
            os._exit(code)
    sender.close()
    failure = None
    try:
        while True:
            message = receiver.recv()
            if isinstance(message, str):
                failure = message
            else:
                report(mutants[message[0]], message[1])
    except EOFError:
        pass
    finally:
        _, status = os.waitpid(pid, 0)
    if status or failure:
        raise RuntimeError(failure or "the server of mutants ended")


def _progress(name: str, total: int, show: bool) -> Report:
    """Return a function that prints how far the mutants of a module are."""
    counts: Counter[str] = Counter()
    started = time.monotonic()

    def progress(mutant: Mutant, status: str) -> None:
        counts[status] += 1
        done = counts.total()
        left = (time.monotonic() - started) / done * (total - done)
        if show and (sys.stderr.isatty() or done % 50 == 0 or done == total):
            end = "\r" if sys.stderr.isatty() and done < total else "\n"
            text = f"{name}: {done}/{total}, {counts['survived']} survived, {left:.0f} s left   "
            print(text, end=end, file=sys.stderr, flush=True)

    return progress


class Results:
    """The statuses of mutants in a file with a line for each, so that an interrupted campaign goes on.

    Parameters
    ----------
    path : Path
        The file.
    world : str
        A digest of all that may decide whether a mutant survives.
    """

    def __init__(self, path: Path, world: str) -> None:
        self.path, self.world = path, world
        self.known: dict[tuple[str, str], tuple[str, str]] = {}
        if path.exists():
            for line in path.read_text().splitlines():
                name, content, status, world = json.loads(line)
                self.known[name, content] = status, world
        path.parent.mkdir(parents=True, exist_ok=True)

    def status(self, mutant: Mutant) -> str | None:
        """Return what became of a mutant when it was last run; None where it was not."""
        return self.known.get((mutant.name, mutant.content), (None, None))[0]

    def is_due(self, mutant: Mutant) -> bool:
        """Return whether a mutant was not run, or survived in another world."""
        status, world = self.known.get((mutant.name, mutant.content), (None, None))
        return status is None or (status == "survived" and world != self.world)

    def add(self, mutant: Mutant, status: str) -> None:
        """Write down a status."""
        self.known[mutant.name, mutant.content] = status, self.world
        with self.path.open("a") as file:
            print(json.dumps([mutant.name, mutant.content, status, self.world]), file=file)


def _fingerprint(target: Target, work: Path) -> str:
    """Return a digest of the module, its tests, what they call, and the way mutants are made; empty if not measured."""
    kept = kept_baselines(target, work)
    called = [baseline.files for baseline in kept.values() if baseline is not None]
    if len(called) < len(kept):
        return ""
    machinery = sorted(set(Path(__file__).parent.glob("*.py")) - {Path(__file__).with_name("__main__.py")})
    files = [target.path, *(target.root / test for test in target.tests), *machinery]
    text = b"".join(file.read_bytes() for file in files) + json.dumps(called).encode()
    return hashlib.sha256(text).hexdigest()[:16]


# ---- equivalent mutants ----------------------------------------------------------------------------------------------


class Equivalents:
    """The mutants that no test can kill because they compute the same.

    Parameters
    ----------
    path : Path
        A TOML file of tables ``[[equivalent]]``, each with a reason ``why`` and the names of ``mutants``. In the name
        of the function a ``*`` stands for anything.

    Attributes
    ----------
    met : set of str
        The entries that a mutant had.
    """

    def __init__(self, path: Path = EQUIVALENT) -> None:
        groups: list[dict[str, Any]] = tomllib.loads(path.read_text()).get("equivalent", [])
        self.why = {name: group["why"] for group in groups for name in group["mutants"]}
        self.patterns = [name.split(": ", 1) for name in self.why if "*" in name.split(": ", 1)[0]]
        self.met: set[str] = set()

    def reason(self, mutant: Mutant) -> str | None:
        """Return why a mutant is equivalent; None where it is not listed."""
        name = mutant.name
        if name not in self.why:
            change = name.split(": ", 1)[1]
            matches = [p for p in self.patterns if p[1] == change and fnmatchcase(mutant.function, p[0])]
            if not matches:
                return None
            name = ": ".join(matches[0])
        self.met.add(name)
        return self.why[name]


# ---- the score -------------------------------------------------------------------------------------------------------


class Score(NamedTuple):
    """The numbers of mutants of a module: all, killed, equivalent, survived, and not run."""

    module: str
    total: int
    killed: int
    equivalent: int
    survived: int
    unknown: int

    def __str__(self) -> str:
        share = self.killed / max(1, self.killed + self.survived)
        numbers = "".join(f"{number:>11}" for number in self[1:])
        return f"{self.module:<24}{numbers}{share:>9.1%}"


HEAD = f"{'module':<24}{'mutants':>11}{'killed':>11}{'equivalent':>11}{'survived':>11}{'not run':>11}{'score':>9}"


def score(name: str, outcomes: Iterable[Outcome], equivalents: Equivalents) -> tuple[Score, list[Mutant], list[Mutant]]:
    """Return the score of a module, its survivors that are not listed, and the listed ones that were killed."""
    counts: Counter[str] = Counter()
    survivors, refuted = [], []
    for mutant, status in outcomes:
        reason = equivalents.reason(mutant)
        if status in ("killed", "timeout"):
            counts["killed"] += 1
            refuted += [mutant] if reason else []
        elif status == "not run":
            counts["unknown"] += 1
        elif reason:
            counts["equivalent"] += 1
        else:
            counts["survived"] += 1
            survivors.append(mutant)
    numbers = [counts[kind] for kind in ("killed", "equivalent", "survived", "unknown")]
    return Score(name, sum(numbers), *numbers), survivors, refuted
