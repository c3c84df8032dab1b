"""Faults around a training: paths that are no files, processes and threads beside it, exceptions wherever they fall."""

from __future__ import annotations

import copy
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest

import handmade as hm

X = np.random.default_rng(0).normal(size=(37, 5))
Y = np.random.default_rng(1).integers(0, 3, 37)


def network(seed=0, **options):
    return hm.MLP([5, 6, 3], rng=seed, **options)


def fit(net, epochs=3, **options):
    return hm.fit(net, X, Y, epochs=epochs, **(dict(rng=0, progress=False, batch_size=8) | options))


def bits(epochs=3, **options):
    """Return the parameters after a training, as bytes."""
    net = network()
    fit(net, epochs, **options)
    return net.theta.tobytes()


@pytest.fixture(autouse=True)
def ctrl_c():
    """Let Ctrl-C interrupt, as it does not in a process that a shell has put into the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


# ---- paths ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/null", path)])
def test_a_checkpoint_that_is_no_file_is_refused_at_once(make, tmp_path):
    make(tmp_path / "c")
    with pytest.raises(ValueError, match=r"^checkpoint: expected the path of a file"):
        fit(network(), checkpoint=tmp_path / "c")
    assert os.listdir(tmp_path) == ["c"]


def test_a_checkpoint_stays_where_it_was_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    fit(network(), checkpoint="c", callbacks=lambda net, history: os.chdir(tmp_path / "other"))
    assert sorted(os.listdir(tmp_path)) == ["c", "other"] and not os.listdir(tmp_path / "other")


def test_names_of_one_file_are_one_run_and_copies_are_two(tmp_path):
    fit(network(), 1, checkpoint=tmp_path / "c")
    os.symlink(tmp_path / "c", tmp_path / "link")
    with pytest.raises(BlockingIOError, match="no other run"):
        fit(network(), checkpoint=tmp_path / "c", callbacks=lambda *_: bits(checkpoint=tmp_path / "link"))
    os.link(tmp_path / "c", tmp_path / "hard")
    assert bits(checkpoint=tmp_path / "hard") == bits(checkpoint=tmp_path / "link") == bits()


def test_a_folder_that_vanishes_ends_the_run_with_its_history(tmp_path):
    (tmp_path / "f").mkdir()

    def remove(net, history):
        if len(history) == 2:
            shutil.rmtree(tmp_path / "f")

    with pytest.raises(OSError, match="folder") as error:
        fit(network(), checkpoint=tmp_path / "f" / "c", callbacks=remove)
    assert len(error.value.history) == 2


def test_a_process_out_of_files_says_so_and_goes_on_later(tmp_path):
    limits, opened = resource.getrlimit(resource.RLIMIT_NOFILE), []
    fit(network(), 1, checkpoint=tmp_path / "c")
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 2, limits[1]))
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                opened.append(os.open(os.devnull, os.O_RDONLY))
        with pytest.raises(OSError, match="Too many open files"):
            fit(network(), checkpoint=tmp_path / "c")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for descriptor in opened:
            os.close(descriptor)
    assert bits(checkpoint=tmp_path / "c") == bits()


# ---- exceptions and signals ----------------------------------------------------------------------------------------


def at_epoch(number, act):
    """Return a callback that acts after an epoch."""
    return lambda net, history: act() if len(history) == number else None


def raising(error):
    def act():
        raise error

    return act


@pytest.mark.parametrize("error", [LookupError("own"), SystemExit(3), KeyboardInterrupt(), MemoryError()], ids=repr)
def test_what_a_callback_raises_loses_no_epoch(error, tmp_path):
    net, before = network(), signal.getsignal(signal.SIGTERM)
    try:
        history = fit(net, callbacks=at_epoch(2, raising(error)), checkpoint=tmp_path / "c")
        assert isinstance(error, KeyboardInterrupt) and history.stopped == "interrupted"
    except BaseException as caught:
        assert caught is error
    assert net.theta.tobytes() == bits(2) and signal.getsignal(signal.SIGTERM) == before
    assert os.listdir(tmp_path) == ["c"] and bits(checkpoint=tmp_path / "c") == bits()


def test_sigterm_in_a_callback_ends_the_process_after_writing(tmp_path):
    program = (
        "import os, signal, sys; sys.path.insert(0, '.'); from tests.test_faults import *\n"
        "fit(network(), checkpoint=sys.argv[1], callbacks=at_epoch(2, lambda: os.kill(os.getpid(), signal.SIGTERM)))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "c")], capture_output=True, check=False)
    assert done.returncode == -signal.SIGTERM
    assert bits(checkpoint=tmp_path / "c") == bits()


def test_a_metric_that_fails_at_the_end_takes_one_epoch_back():
    calls = []

    def fails(H, y):
        calls.append(1)
        return 1 / (4 - len(calls))  # once before the first epoch, once after each

    class Own:
        def step(self, theta, gradient):
            theta -= 0.1 * gradient

    net = network()
    with pytest.raises(ZeroDivisionError) as error:
        fit(net, metrics=[fails], optimizer=Own())
    assert len(error.value.history) == 2
    assert net.theta.tobytes() == bits(2, optimizer=Own())


def test_a_warning_made_an_error_takes_its_epoch_back():
    net = network()
    before = net.theta.tobytes()
    with warnings.catch_warnings(), pytest.raises(UserWarning):
        warnings.simplefilter("error")
        fit(net, metrics=[lambda H, y: warnings.warn("own", stacklevel=1) or 0.0], callbacks=[])
    assert net.theta.tobytes() == before


@pytest.mark.parametrize("every", ["batch", "epoch"])
def test_a_schedule_that_fails_leaves_itself_as_it_was(every):
    def fails_at_two(t):
        return 1 / (2 - t)

    optimizer = hm.SGD(lr=0.1)
    schedule = hm.LambdaLR(optimizer, fails_at_two)
    with pytest.raises(ZeroDivisionError) as error:
        fit(network(), optimizer=optimizer, schedule=schedule, schedule_every=every)
    epochs = {"batch": 0, "epoch": 2}[every]
    assert len(error.value.history) == epochs and (schedule.t, optimizer.lr) == {0: (0, 0.05), 2: (1, 0.1)}[epochs]


def test_a_state_that_no_file_holds_is_refused_before_training(tmp_path):
    class Own:
        def step(self, theta, gradient):
            raise AssertionError

        def state_dict(self):
            return {"f": abs}

        def load_state_dict(self, state_dict):
            raise AssertionError

    with pytest.raises(TypeError, match=r"^checkpoint: expected numbers, text"):
        fit(network(), optimizer=Own(), checkpoint=tmp_path / "c")
    assert not os.listdir(tmp_path)


# ---- processes and threads -----------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
# JAX, where another test has imported it, warns of every fork.
@pytest.mark.filterwarnings("ignore:os.fork", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_fork_in_mid_training_changes_nothing(tmp_path):
    statuses = []

    def fork():
        child = os.fork()
        if child == 0:
            try:
                fit(network(), 1)
                os._exit(0)
            finally:
                os._exit(1)
        statuses.append(os.waitpid(child, 0)[1])

    assert bits(callbacks=at_epoch(1, fork), checkpoint=tmp_path / "c") == bits() and statuses == [0]


def test_weights_loaded_by_a_thread_in_training_are_sound():
    net, done, errors = network(), threading.Event(), []
    state = network(5).state_dict()

    def load():
        try:
            while not done.is_set():
                net.load_state_dict(state)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        fit(net, 10)
    finally:
        done.set()
        thread.join()
    assert not errors and np.isfinite(net.theta).all()


def test_a_network_used_and_pickled_in_mid_training_trains_on():
    class Meddler:
        def __call__(self, net, history):
            fit(copy.deepcopy(net), 1)

        def on_batch(self, net, loss):
            pickle.loads(pickle.dumps(net)).loss_and_gradient(X, Y)
            net.loss_and_gradient(X, Y)

    assert bits(callbacks=Meddler()) == bits()


# ---- data ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [(iter(X), Y), (X, iter(Y))], ids="Xy")
def test_generators_as_data_are_refused_by_name(data):
    with pytest.raises((TypeError, ValueError), match=r"^[Xy]: expected"):
        hm.fit(network(), *data, progress=False)


class Socket:
    """A stream that can only read, a few bytes at a time, and fails after so many."""

    def __init__(self, content, after=2**30):
        self.content, self.left = content, after

    def read(self, size=-1):
        size = min(7, size) if size >= 0 else len(self.content)
        self.left -= size
        if self.left < 0:
            raise ConnectionResetError("reset by peer")
        piece, self.content = self.content[:size], self.content[size:]
        return piece


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_a_stream_that_only_reads_gives_the_network(suffix, tmp_path):
    path = tmp_path / f"n.{suffix}"
    hm.save(network(), path)
    assert hm.load(Socket(path.read_bytes())).theta.tobytes() == network().theta.tobytes()
    for read in (hm.load, hm.load_idx, hm.load_csv, hm.load_npz):
        with pytest.raises((ConnectionResetError, ValueError)):
            read(Socket(path.read_bytes(), after=60))
