"""Trials of promises: each returns how often it was tried, and how often it failed."""

from __future__ import annotations

import contextlib
import gc
import resource
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import handmade as hm

__all__ = ["disks", "fits", "predictions", "resumes", "steps"]

FAULTLESS = 1.5  # times as slow as at first, which the clock of a busy machine may show
GROWTH = 1024  # KiB that the process may grow: one byte a step, where a million are tried
LIVE = 1000  # blocks of memory that Python may hold more of: one for a thousand steps, where a million are tried


def predictions(count: int) -> tuple[int, int]:
    """Predict in 16 threads while another one loads two sets of weights in turn; a prediction of neither failed."""
    network = hm.MLP([8, 32, 32, 4], rng=0)
    states = [hm.MLP([8, 32, 32, 4], rng=seed).state_dict() for seed in (1, 2)]
    X, expected, done = np.ones((4, 8)), set(), threading.Event()
    for state in states:
        network.load_state_dict(state)
        expected.add(network.predict(X).tobytes())

    def load() -> None:
        while not done.is_set():
            for state in states:
                network.load_state_dict(state)

    loader = threading.Thread(target=load)
    loader.start()
    try:
        with ThreadPoolExecutor(16) as pool:
            failed = sum(pool.map(lambda _: network.predict(X).tobytes() not in expected, range(count)))
    finally:
        done.set()
        loader.join()
    return count, failed


def fits(rounds: int) -> tuple[int, int]:
    """Train 8 networks in 8 threads at once; one with other bits than alone failed."""
    X, y = hm.load_digits()

    def train(seed: int) -> bytes:
        network = hm.MLP([64, 16, 10], normalization="batch", dropout=0.2, rng=seed)
        hm.fit(network, X[:200], y[:200], epochs=2, rng=seed, progress=False)
        return network.theta.tobytes()

    alone, failed = [train(seed) for seed in range(8)], 0
    for _ in range(rounds):
        with ThreadPoolExecutor(8) as pool:
            failed += sum(a != b for a, b in zip(alone, pool.map(train, range(8)), strict=True))
    return 8 * rounds, failed


def steps(count: int) -> tuple[int, int]:
    """Train for so many steps with NumPy and as many compiled ones; count what grew.

    The fastest tenth of the second half may take as much processor time as that of the first: a busy machine slows some
    tenths, growth all later ones. A tenth has failed after which the process has more memory than after the first; so
    has the whole if Python then holds more blocks of memory than after the first, the garbage of cycles collected.
    """
    X, y = hm.data.moons(64, rng=0)
    failed, parts = 0, 10
    for compiled in (False, True):
        network, optimizer = hm.MLP([2, 8, 2], rng=0), hm.Adam(1e-4)
        times, sizes, blocks = [], [], []
        for part in range(parts):
            start = time.process_time()
            hm.fit(
                network, X, y, optimizer=optimizer, epochs=max(1, count // parts // 4), batch_size=16, rng=0,
                progress=False, compile=compiled,
            )  # fmt: skip
            times.append(time.process_time() - start)
            sizes.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # the largest so far, KiB
            if part in (0, parts - 1):
                gc.collect()
                blocks.append(sys.getallocatedblocks())
        early, late = min(times[: parts // 2]), min(times[parts // 2 :])
        failed += late > FAULTLESS * early
        failed += sum(size > sizes[0] + GROWTH for size in sizes[1:])
        failed += blocks[-1] > blocks[0] + LIVE
        print(
            f"{'compiled' if compiled else 'NumPy'}: {count:,} steps, second half {late / early:.2f} times the first, "
            f"{sizes[-1] - sizes[0]:,} KiB and {blocks[-1] - blocks[0]:,} blocks more",
            flush=True,
        )
    return 2 * count, failed


def disks(count: int) -> tuple[int, int]:
    """Fill the disk in mid-write; a checkpoint that is then not the last good one failed, as did one that is lost."""
    X, y = hm.data.moons(64, rng=0)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "checkpoint")

        def train(epochs: int) -> hm.Network:
            network = hm.MLP([2, 64, 2], rng=0)
            hm.fit(network, X, y, epochs=epochs, rng=0, progress=False, checkpoint=path)
            return network

        train(1)
        size, good = path.stat().st_size, path.read_bytes()
        for number in range(count):
            with full_disk(size * number // count), contextlib.suppress(OSError):
                train(2)
                failed += 1  # it cannot have been written
            failed += path.read_bytes() != good
        resumed = train(3)
        path.unlink()
        failed += resumed.theta.tobytes() != train(3).theta.tobytes()
    return count, failed


@contextlib.contextmanager
def full_disk(room: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write then fails with an error
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def resumes(count: int) -> tuple[int, int]:
    """Interrupt trainings of random configurations twice; one that ends with other bits than without failed."""
    from tests import test_checkpoints as drawn

    failed = 0
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of toy data, and of what has no compiled form
        for case in range(count):
            rng = np.random.default_rng(case)
            configuration, path = drawn.draw(rng), Path(folder, f"{case}")
            expected, _ = drawn.run(configuration)
            for _ in range(2):
                drawn.run(configuration, path, drawn.Stop(int(rng.integers(1, 14))))
            failed += drawn.run(configuration, path)[0] != expected
    return count, failed
