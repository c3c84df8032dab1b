"""Trials on real disks that are full or read-only: ``python -m benchmarks.reliability.disks 100``.

The process mounts a file system of half a megabyte in a mount namespace of its own, so that nothing is left behind.
Without the right to do so it says so, and ends with status 2. It prints the number of trials and of failures.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import handmade as hm

__all__ = ["Unavailable", "real_disks"]

SIZE, PAGE = 512 * 1024, 4096  # bytes of the file system, and of what it hands out
X, Y = hm.data.moons(64, rng=0)


class Unavailable(RuntimeError):
    """The system does not let this process mount a file system."""


def real_disks(count: int) -> tuple[int, int]:
    """Write to a disk that is full or read-only; a file that is then another one failed, as did one that is lost."""
    command = [
        "unshare",
        "--mount",
        "--map-root-user",
        sys.executable,
        "-m",
        "benchmarks.reliability.disks",
        str(count),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise Unavailable(str(error)) from error
    if done.returncode == 2 or "unshare failed" in done.stderr:
        raise Unavailable(done.stderr.strip())
    if done.returncode:
        raise RuntimeError(done.stderr)
    trials, failures = map(int, done.stdout.split())
    return trials, failures


def train(path: Path, epochs: int) -> hm.Network:
    """Train with a checkpoint; return the network."""
    network = hm.MLP([2, 64, 2], rng=0)
    hm.fit(network, X, Y, epochs=epochs, rng=0, progress=False, checkpoint=path)
    return network


# What is written: the first version of a file, and the second one.
WRITERS: dict[str, Callable[[Path, int], object]] = {
    "run.ckpt": train,
    "network.npz": lambda path, version: hm.save(hm.MLP([2, 99, 2], rng=version), path),
    "network.safetensors": lambda path, version: hm.save(hm.MLP([2, 99, 2], rng=version), path),
    "data.npz": lambda path, version: hm.data.save_npz(
        path, np.random.default_rng(version).normal(size=(999, 9)), np.zeros(999)
    ),
    "data.idx": lambda path, version: hm.data.save_idx(path, np.full((999, 9), float(version))),
    "network.h": lambda path, version: hm.export.to_c(hm.MLP([2, 99, 2], rng=version), path),
}


@contextlib.contextmanager
def filled(folder: Path, room: int) -> Iterator[None]:
    """Fill the file system up to so many bytes."""
    free = os.statvfs(folder)
    filler = folder / "filler"
    filler.write_bytes(bytes(max(0, free.f_bavail * free.f_bsize - room)))
    try:
        yield
    finally:
        filler.unlink()


@contextlib.contextmanager
def read_only(folder: Path, room: int) -> Iterator[None]:
    """Let the file system take nothing."""
    _mount("-o", "remount,ro", str(folder))
    try:
        yield
    finally:
        _mount("-o", "remount,rw", str(folder))


Disk = Callable[[Path, int], contextlib.AbstractContextManager[None]]


def trial(folder: Path, name: str, number: int, disk: Disk) -> bool:
    """Write the second version onto a disk that does not take it; return whether the first is still there, alone."""
    path, write = folder / name, WRITERS[name]
    write(path, 1)
    good = path.read_bytes()
    pages = -(-len(good) // PAGE)
    with disk(folder, number % pages * PAGE):  # in mid-write, at any page
        try:
            write(path, 2)
            was_refused = False
        except OSError:
            was_refused = True
    kept = was_refused and path.read_bytes() == good and os.listdir(folder) == [name]
    if name == "run.ckpt":
        kept = kept and train(path, 3).theta.tobytes() == train(folder / "whole", 3).theta.tobytes()
        (folder / "whole").unlink()
    path.unlink()
    return kept


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(done.stderr.strip())


def main(arguments: list[str]) -> int:
    """Run so many trials and print their number and that of the failures."""
    with tempfile.TemporaryDirectory() as outside:
        folder = Path(outside)
        try:
            _mount("-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", outside)
            kept = []
            for number in range(int(arguments[0])):
                name = list(WRITERS)[number % len(WRITERS)]
                disk = filled if number // len(WRITERS) % 4 else read_only
                kept.append(trial(folder, name, number // len(WRITERS), disk))
        except Unavailable as error:
            print(error, file=sys.stderr)
            return 2
        finally:
            subprocess.run(["umount", outside], capture_output=True, check=False)
    print(len(kept), len(kept) - sum(kept))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
