"""Checkpoints: what is refused, damaged files, locks, signals and full disks."""

from __future__ import annotations

import datetime
import os
import resource
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from checkpoints_of_tests import PLAIN, Stop, X, Y, run

import handmade as hm
from handmade import checkpoints

pytestmark = pytest.mark.usefixtures("ctrl_c")


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (dict(batch_size=9), "batch_size"),
        (dict(shuffle=False), "shuffle"),
        (dict(optimizer=lambda network: hm.Adam(lr=0.02, amsgrad=True)), "optimizer"),
        (dict(optimizer=lambda network: hm.SGD(lr=0.01)), "optimizer"),
        (dict(schedule=lambda o: (hm.ExponentialLR(o, 0.8), "batch")), "schedule"),
        (dict(dropout=0.2), "network"),
        (dict(normalization="layer"), "network"),
        (dict(dtype="float32"), "network"),
        (dict(validation=0.35), "validation"),
        (dict(early_stopping=hm.EarlyStopping(3)), "early_stopping"),
        (dict(average=None), "callbacks"),
        (dict(weighted=True), "sample_weight, class_weight"),
    ],
)
def test_another_option_is_refused_by_name(change, name, tmp_path):
    run(PLAIN, tmp_path / "c", epochs=1)
    content = (tmp_path / "c").read_bytes()
    with pytest.raises(ValueError, match=f"checkpoint: expected {name} as in .*resume=False"):
        run(PLAIN | change, tmp_path / "c")
    assert (tmp_path / "c").read_bytes() == content
    run(PLAIN | change, tmp_path / "c", epochs=1, resume=False)


def test_other_data_loss_or_seed_is_refused_and_changes_nothing(tmp_path):
    network = hm.MLP([5, 3], rng=0)
    options = dict(checkpoint=tmp_path / "c", epochs=1, progress=False)
    hm.fit(network, X, Y, rng=0, **options)
    other = hm.MLP([5, 3], rng=1)
    before = other.theta.copy()
    cases = [(X + 1, Y, {"rng": 0}, "X"), (X, Y[::-1], {"rng": 0}, "y"), (X, Y, {"rng": 1}, "rng")]
    cases += [(X, Y, {"rng": 0, "loss": "multi_margin_loss"}, "loss")]
    for inputs, targets, changes, name in cases:
        with pytest.raises(ValueError, match=f"expected {name} as in"):
            hm.fit(other, inputs, targets, **options, **changes)
    assert np.array_equal(other.theta, before)


def test_an_optimizer_without_state_dict_is_refused(tmp_path):
    class Own:
        def step(self, theta, gradient):
            theta -= gradient

    with pytest.raises(TypeError, match="checkpoint: expected state_dict"):
        hm.fit(hm.MLP([5, 3]), X, Y, optimizer=Own(), checkpoint=tmp_path / "c", progress=False)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (dict(checkpoint=3), TypeError),
        (dict(checkpoint_every=0), ValueError),
        (dict(checkpoint_every=0.5), TypeError),
        (dict(checkpoint_every=datetime.timedelta(-1)), ValueError),
        (dict(resume=1), TypeError),
    ],
)
def test_wrong_options_are_refused_by_name(options, error, tmp_path):
    with pytest.raises(error, match=next(iter(options))):
        hm.fit(hm.MLP([5, 3]), X, Y, progress=False, **options)


def test_damaged_files_are_refused_and_never_half_read(tmp_path):
    path = tmp_path / "c"
    run(PLAIN, path, epochs=1)
    content, whole = path.read_bytes(), str(checkpoints.read(path))
    rng = np.random.default_rng(0)
    refused = 0
    for case in range(150):
        damaged = bytearray(content)
        if case % 3 == 0:
            damaged = damaged[: rng.integers(len(content))]
        else:
            damaged[rng.integers(len(content))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            assert str(checkpoints.read(path)) == whole  # a byte that means nothing, as a date
        except ValueError:
            refused += 1
    assert refused >= 100


def test_a_newer_version_and_another_file_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "VERSION", 2)
    run(PLAIN, tmp_path / "c", epochs=1)
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"version 1, got .* version 2"):
        run(PLAIN, tmp_path / "c")
    np.savez(tmp_path / "other.npz", a=[1])
    with pytest.raises(ValueError, match="expected a checkpoint"):
        run(PLAIN, tmp_path / "other.npz")


def test_two_runs_on_one_path_are_refused(tmp_path):
    def second(network, history):
        run(PLAIN, tmp_path / "c")

    with pytest.raises(BlockingIOError, match="no other run"):
        hm.fit(hm.MLP([5, 3]), X, Y, checkpoint=tmp_path / "c", callbacks=second, progress=False)
    assert not (tmp_path / "c.lock").exists()


def test_signal_handlers_are_those_of_before(tmp_path):
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    run(PLAIN, tmp_path / "c", Stop(5))
    assert [signal.getsignal(number) for number in numbers] == before


def test_a_handler_of_the_user_gets_the_signal_after_writing(tmp_path):
    seen = []
    before = signal.signal(signal.SIGTERM, lambda *_: seen.append((tmp_path / "c").exists()))
    stop = Stop(2)
    stop.on_batch = lambda network, loss: seen or signal.raise_signal(signal.SIGTERM)
    try:
        result, history = run(PLAIN, tmp_path / "c", stop)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [True] and history.stopped == "all epochs" and result == run(PLAIN)[0]


def test_threads_keep_checkpoints_without_signals(tmp_path):
    results = {}
    threads = [
        threading.Thread(target=lambda i=i: results.update({i: run(PLAIN, tmp_path / str(i))[0]})) for i in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(results.values()) == 3 * [run(PLAIN)[0]]


def test_a_file_size_limit_keeps_the_last_checkpoint(tmp_path):
    path = tmp_path / "c"
    run(PLAIN, path, epochs=2)
    content = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as error:
            run(PLAIN, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(error.value.history) == 3
    assert path.read_bytes() == content and os.listdir(tmp_path) == ["c"]
    assert run(PLAIN, path)[0] == run(PLAIN)[0]


def test_a_full_disk_in_mid_epoch_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "c"
    run(PLAIN, path, Stop(6))
    content = path.read_bytes()

    class Full:
        def __init__(self, after):
            self.left = after

        def __call__(self, descriptor):
            self.left -= 1
            if self.left < 0:
                raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", Full(0))
    with pytest.raises(OSError, match="No space left"):
        run(PLAIN, path, checkpoint_every=datetime.timedelta(0))
    monkeypatch.undo()
    assert path.read_bytes() == content and os.listdir(tmp_path) == ["c"]
    assert run(PLAIN, path)[0] == run(PLAIN)[0]


def test_a_missing_folder_is_an_error_before_training(tmp_path):
    network = hm.MLP([5, 3], rng=0)
    before = network.theta.copy()
    said = r"checkpoint: expected a path in a folder that can be written to, got '.*missing.c': No such file"
    with pytest.raises(FileNotFoundError, match=said):
        hm.fit(network, X, Y, checkpoint=tmp_path / "missing" / "c", progress=False)
    assert np.array_equal(network.theta, before)


def test_a_run_that_diverges_keeps_the_last_finite_checkpoint(tmp_path):
    path = tmp_path / "c"
    options = dict(optimizer=hm.SGD(lr=1e200), checkpoint=path, checkpoint_every=datetime.timedelta(0))
    with pytest.raises(FloatingPointError):
        hm.fit(hm.MLP([5, 8, 3], rng=0), X, Y, epochs=20, batch_size=8, progress=False, **options)
    state = checkpoints.read(path)["state"]["network"] if path.exists() else {}
    assert all(np.isfinite(array).all() for array in state.values())


def test_sigterm_writes_and_ends_with_the_usual_status(tmp_path):
    program = (
        "import sys, signal, numpy as np, handmade as hm\n"
        "X, y = hm.data.xor()\n"
        "def stop(network, history):\n"
        "    if len(history) == 7: signal.raise_signal(signal.SIGTERM)\n"
        "hm.fit(hm.MLP([2, 4, 2], rng=0), X, y, epochs=90, rng=0, callbacks=stop, progress=False,\n"
        "       checkpoint=sys.argv[1], checkpoint_every=1000)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "c"])
    assert done.returncode == -signal.SIGTERM
    assert len(checkpoints.read(tmp_path / "c")["state"]["history"]["loss"]) == 7
