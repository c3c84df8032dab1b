"""Run cases in processes of their own, survive what crashes or hangs, and go on from where a run stopped."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from handmade._atomic import write_atomically

from .rules import Violation

__all__ = ["Run", "Target", "fuzz", "run_case"]

Target = Callable[[np.random.Generator], None]

HANG = 120.0  # seconds of the processor for one case, the compilation of its kernels included
BLOCKED = 5  # times as long may a case take on a busy machine
CHUNK = 200  # cases handed to a process at a time
MOST_EXAMPLES = 20  # kept of each kind of violation
ROOT = Path(__file__).parents[2]
CORPUS = Path(__file__).parent / "corpus"  # inputs that once broke the rule, tested in every run of the tests
FOUND = Path(__file__).parent / "found"  # inputs that break it now; once mended, they belong into the corpus


class Hang(BaseException):
    """A case takes too long; no ``except Exception`` of the library catches it."""


def source() -> str:
    """Return a checksum of the library and of the fuzzer: cases of another source are no cases of this one."""
    digest = hashlib.sha256()
    for folder in (ROOT / "handmade", ROOT / "tests" / "fuzz"):
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


@dataclass
class Run:
    """The state of a run, kept in a file so that the next one goes on; ``source`` is what was tried."""

    seed: int = 0
    source: str = field(default_factory=source)
    done: dict[str, int] = field(default_factory=dict)
    spent: dict[str, float] = field(default_factory=dict)
    violations: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0

    @classmethod
    def load(cls, path: Path | None, seed: int) -> Run:
        """Return the run in a file; a new one where there is none, or the source has changed since, which is said."""
        run = cls(seed)
        if path and path.exists():
            saved = json.loads(path.read_text())
            if saved.get("source") == run.source:
                return cls(**saved)
            count = sum(saved["done"].values())
            print(f"{path}: begun anew; the source has changed since its {count:,} cases", file=sys.stderr)
        return run

    def save(self, path: Path | None) -> None:
        """Write the run, so that a kill at any moment loses seconds at most."""
        if path:
            write_atomically(path, lambda stream: stream.write(json.dumps(self.__dict__, indent=1).encode()))


def run_case(target: Target, seed: int, number: int) -> None:
    """Run one case in this process; raise Violation if it breaks the rule or takes too long."""

    def stop(*_: Any) -> None:
        raise Hang

    timers = [(signal.ITIMER_PROF, signal.SIGPROF, HANG), (signal.ITIMER_REAL, signal.SIGALRM, BLOCKED * HANG)]
    previous = [signal.signal(name, stop) for _, name, _ in timers]
    try:
        for timer, _, seconds in timers:
            signal.setitimer(timer, seconds)
        target(np.random.default_rng([seed, number]))
    except Hang:
        raise Violation("hang", f"more than {HANG:g} seconds of the processor, or {BLOCKED * HANG:g} in all") from None
    finally:
        for (timer, name, _), handler in zip(timers, previous, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(name, handler)


def fuzz(
    targets: Mapping[str, Target],
    cases: int,
    seconds: float,
    run: Run,
    path: Path | None = None,
    processes: int = 1,
    report: Callable[[Run], None] = lambda run: None,
) -> Run:
    """Run cases of every target until the number or the time is reached; ``cases`` counts earlier ones.

    A target whose case takes t seconds gets a share of cases in proportion to 1 / sqrt(t). Of all ways to spend the
    time this one leaves the least doubt, where nothing is known of the targets (Neyman's allocation, 1934).
    """
    start, earlier = time.monotonic(), run.seconds
    workers: list[_Worker] = []
    idle: list[_Worker] = []
    try:
        workers += [_Worker(targets, run.seed) for _ in range(processes)]
        idle += workers
        while True:
            while idle and time.monotonic() - start < seconds and (job := _job(list(targets), cases, run, workers)):
                idle.pop().begin(*job)
            busy = [worker for worker in workers if worker.count]
            if not busy:
                break
            ready = connection.wait([worker.pipe for worker in busy])
            for worker in [worker for worker in busy if worker.pipe in ready]:
                run.violations += _few(run.violations, worker.finish())
                run.done[worker.name] = run.done.get(worker.name, 0) + worker.count
                run.spent[worker.name] = run.spent.get(worker.name, 0.0) + time.monotonic() - worker.begun
                worker.count = 0
                idle.append(worker)
            run.seconds = earlier + time.monotonic() - start
            run.save(path)
            report(run)
    finally:
        for worker in workers:
            worker.end()
    if run.source != source():
        print("the source has changed during the run: its cases are of more than one state", file=sys.stderr)
    return run


def _job(names: list[str], cases: int, run: Run, workers: list[_Worker]) -> tuple[str, int, int] | None:
    """Return (target, first case, number of cases) of the next job; None where enough cases are done or begun."""
    begun = {name: run.done.get(name, 0) + sum(w.count for w in workers if w.name == name) for name in names}
    count = min(CHUNK, cases - sum(begun.values()))
    if count <= 0:
        return None
    working = [worker.name for worker in workers if worker.count]
    name = min(names, key=lambda name: (name in working, run.spent.get(name, 0.0) * run.done.get(name, 0)))
    return name, begun[name], count


def _few(known: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the new violations, but no more than some of each target and kind."""
    kept = list(known)
    for violation in new:
        alike = [v for v in kept if (v["target"], v["kind"]) == (violation["target"], violation["kind"])]
        if len(alike) < MOST_EXAMPLES:
            kept.append(violation)
    return kept[len(known) :]


class _Worker:
    """A process that runs cases, replaced when one of them kills it."""

    def __init__(self, targets: Mapping[str, Target], seed: int) -> None:
        self.targets, self.seed = targets, seed
        self.name, self.first, self.count, self.begun = "", 0, 0, 0.0
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("fork")  # targets may be functions without a name
        self.current = context.Value("q", 0)
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, self.targets, self.seed, self.current), daemon=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads: those of BLAS are idle
            warnings.simplefilter("ignore", RuntimeWarning)  # JAX's own, where a test has imported it
            self.process.start()
        theirs.close()

    def begin(self, name: str, first: int, count: int) -> None:
        self.name, self.first, self.count, self.begun = name, first, count, time.monotonic()
        self.current.value = first
        self.pipe.send((name, first, count))

    def finish(self) -> list[dict[str, Any]]:
        """Return the violations of the chunk; a case that killed the process is one."""
        found: list[dict[str, Any]] = []
        while True:
            try:
                message = self.pipe.recv()
            except EOFError:
                found.append(self._crash())
                if not self._go_on():
                    return found
                continue
            if message is None:
                return found
            found.append(message)

    def _crash(self) -> dict[str, Any]:
        """Return the violation of the case that killed the process."""
        self.process.join()
        message = f"crash: the process ended with {self.process.exitcode}"
        return {"target": self.name, "case": self.current.value, "kind": "crash", "message": message}

    def _go_on(self) -> bool:
        """Start another process behind the case that killed the old one; return whether cases are left."""
        number, end = self.current.value + 1, self.first + self.count
        self.pipe.close()
        self._start()
        if number < end:
            self.pipe.send((self.name, number, end - number))
        return number < end

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _serve(pipe: Connection, targets: Mapping[str, Target], seed: int, current: Any) -> None:
    """Run chunks of cases until the parent goes away, in a folder of their own: some cases write files."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.chdir(folder)
        _serve_chunks(pipe, targets, seed, current)


def _serve_chunks(pipe: Connection, targets: Mapping[str, Target], seed: int, current: Any) -> None:
    while True:
        try:
            name, first, count = pipe.recv()
        except EOFError:
            return
        for number in range(first, first + count):
            current.value = number
            try:
                run_case(targets[name], seed, number)
            except Violation as violation:
                pipe.send(_record(name, number, violation))
            except Exception as error:  # of the target itself
                pipe.send(_record(name, number, Violation("target", f"{type(error).__name__}: {error}")))
        pipe.send(None)


def _record(name: str, number: int, violation: Violation) -> dict[str, Any]:
    """Return a violation as JSON, and keep its input."""
    record = {"target": name, "case": number, "kind": violation.kind, "message": str(violation)[:500]}
    if violation.content is not None:
        folder = FOUND / name
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / hashlib.sha256(violation.content).hexdigest()[:16]
        path.write_bytes(violation.content)
        record["input"] = f"{name}/{path.name}"
    return record
