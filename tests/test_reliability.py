"""Quick forms of the trials behind docs/reliability.md, and the page itself."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from benchmarks.reliability import __main__ as command
from benchmarks.reliability import trials
from benchmarks.reliability.disks import Unavailable, real_disks


@pytest.mark.parametrize(
    ("attempt", "count"),
    [(trials.predictions, 2000), (trials.fits, 1), (trials.disks, 6), (trials.resumes, 2), (trials.steps, 12_000)],
)
def test_trials_do_not_fail(attempt, count):
    done, failed = attempt(count)
    assert done >= count and failed == 0


def test_a_full_or_read_only_disk_leaves_the_old_file():
    try:
        assert real_disks(24) == (24, 0)
    except Unavailable as error:
        pytest.skip(f"needs the right to mount: {error}")


def test_a_folder_without_rights_keeps_the_checkpoint():
    program = (
        "import os, sys, pathlib, handmade as hm\n"
        "folder = pathlib.Path(sys.argv[1]); path = folder / 'c'\n"
        "X, y = hm.data.xor()\n"
        "def train(epochs):\n"
        "    hm.fit(hm.MLP([2, 4, 2], rng=0), X, y, epochs=epochs, rng=0, progress=False, checkpoint=path)\n"
        "hm.save(hm.MLP([2, 2]), folder / 'n.npz'); train(1); good = path.read_bytes(); folder.chmod(0o555)\n"
        "if os.geteuid() == 0: os.seteuid(65534)\n"  # root may write anywhere
        "for write in (lambda: train(2), lambda: hm.save(hm.MLP([2, 2]), folder / 'n.npz')):\n"
        "    try: write()\n"
        "    except PermissionError: pass\n"
        "    else: sys.exit('written')\n"
        "sys.exit(path.read_bytes() != good or sorted(os.listdir(folder)) != ['c', 'n.npz'])\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([sys.executable, "-c", program, folder], capture_output=True, text=True, check=False)
        Path(folder).chmod(0o700)
    assert done.returncode == 0, done.stderr


def test_long_trials_run_by_name_alone():
    assert {name for name, promise in command.PROMISES.items() if promise.is_long} == {"steps", "hostile"}
    assert not {"steps", "hostile"} & set(command.SHORT)


def test_the_page_is_that_of_the_counts():
    assert command.PAGE.read_text() == command.page(json.loads(command.RESULTS.read_text()))
