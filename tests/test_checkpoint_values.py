"""Checkpoints: values come back with their types, options have one description, what no file holds is refused."""

from __future__ import annotations

import functools
import os
import signal
import sys
import types

import numpy as np
import pytest

import handmade as hm
from handmade import checkpoints
from handmade.checkpoints import decode, describe, encode

X = np.random.default_rng(0).normal(size=(12, 5))
Y = np.arange(12) % 3


def train(path, *, network=None, **options):
    return hm.fit(network or hm.MLP([5, 3], rng=0), X, Y, checkpoint=path, progress=False, **options)


@pytest.mark.parametrize(
    "value", [np.float32(1.5), np.array(1.5), np.arange(3), np.str_("a"), (1, [2.5, None], {3: "a"})]
)
def test_values_come_back_with_their_types(value):
    arrays = []
    back = decode(encode(value, arrays), arrays)
    assert type(back) is type(value) and repr(back) == repr(value)


@pytest.mark.parametrize(
    ("value", "place"), [({"a": [1, {2: print}]}, r"state\['a'\]\[1\]\[2\]"), ((1, {1.5: 2}), r"state\[1\]")]
)
def test_values_that_no_file_can_hold_are_named(value, place):
    with pytest.raises(TypeError, match=f"in {place}, got"):
        encode(value, [])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([1, "a"], "[1, 'a']"),
        ({"a": 1, 2: None}, "{a: 1, 2: None}"),
        (
            functools.partial(hm.losses.mse_loss, reduction="sum"),
            "partial(handmade.losses.regression.mse_loss, [], {reduction: 'sum'})",
        ),
        (np.zeros((2, 1)), "<f8 of shape (2, 1) with checksum 374708fff7719dd5979ec875d56cd228"),
        (hm.Chain(hm.L1(0.5), hm.SGD()), f"Chain({describe(hm.L1(0.5))}, {describe(hm.SGD())})"),
        (hm.ExponentialLR(hm.SGD(), 0.5), "ExponentialLR(gamma=0.5, last_epoch=0)"),
    ],
)
def test_options_are_described_as_in_all_files_that_exist(value, text):
    """Another text for the same options would refuse to go on from a checkpoint."""
    assert describe(value) == text


@pytest.mark.parametrize(
    ("path", "message"), [("", "got ''; pass a file name"), (".", "a folder or device; pass another")]
)
def test_a_path_that_is_no_file_is_refused(path, message):
    with pytest.raises(ValueError, match=f"checkpoint: expected the path of a file, .*{message}"):
        train(path)


def test_another_kind_of_generator_is_refused(tmp_path):
    train(tmp_path / "c", epochs=1, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"^rng: expected a generator of PCG64 as in .*, got one of MT19937"):
        train(tmp_path / "c", epochs=2, rng=np.random.Generator(np.random.MT19937(0)))


def test_a_state_that_no_file_can_hold_stops_before_a_step(tmp_path):
    class Own:
        def __call__(self, network, history):
            return None

        def state_dict(self):
            return {"a": print}

        def load_state_dict(self, state):
            return None

    network = hm.MLP([5, 3], rng=0)
    before = network.theta.copy()
    with pytest.raises(TypeError, match="checkpoint: expected numbers, text, arrays, lists and dicts in state"):
        train(tmp_path / "c", network=network, epochs=1, callbacks=Own())
    assert np.array_equal(network.theta, before)


def test_an_optimizer_that_overflows_leaves_the_last_checkpoint(tmp_path):
    optimizer, contents = hm.SGD(lr=1e-3, momentum=0.9), []

    def spoil(network, history):
        if len(history) == 2:
            contents.append((tmp_path / "c").read_bytes())
            optimizer.momentum_buffer[0] = np.inf

    train(tmp_path / "c", epochs=2, optimizer=optimizer, callbacks=spoil)
    assert contents == [(tmp_path / "c").read_bytes()]


@pytest.mark.parametrize("schedule", [hm.ExponentialLR, hm.ReduceLROnPlateau])
def test_a_run_goes_on_with_the_optimizer_that_it_has_changed(tmp_path, schedule):
    networks = [hm.MLP([5, 3], rng=0) for _ in range(2)]
    for network, lengths in zip(networks, [(4,), (2, 4)], strict=True):
        optimizer = hm.SGD(lr=0.1)
        options = {"gamma": 0.5} if schedule is hm.ExponentialLR else {"factor": 0.5, "patience": 0}
        scheduled = schedule(optimizer, **options)
        for epochs in lengths:
            train(
                tmp_path / str(len(lengths)),
                network=network,
                epochs=epochs,
                optimizer=optimizer,
                schedule=scheduled,
                rng=0,
            )
    assert np.array_equal(networks[0].theta, networks[1].theta)


def test_the_lock_of_a_run_is_a_plain_file_that_goes_away(tmp_path):
    modes = []
    with checkpoints.locked(tmp_path / "c"):
        modes.append((tmp_path / "c.lock").stat().st_mode & 0o111)
    assert modes == [0] and not (tmp_path / "c.lock").exists()


# ---- the lock --------------------------------------------------------------------------------------------------------


def descriptors():
    return sorted(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else []


def test_a_lock_that_the_run_before_removes_is_made_again(tmp_path, monkeypatch):
    opened, own = [], os.open

    def opening(name, *arguments):
        opened.append(own(name, *arguments))
        if len(opened) == 1:
            os.unlink(name)  # the run before ends between the two lines
        return opened[-1]

    before = descriptors()
    with monkeypatch.context() as racing:
        racing.setattr(os, "open", opening)
        with checkpoints.locked(tmp_path / "c"):
            assert len(opened) == 2 and (tmp_path / "c.lock").exists()
    assert descriptors() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
# JAX, where another test has imported it, warns of every fork.
@pytest.mark.filterwarnings("ignore:os.fork", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_lock_that_cannot_be_removed_ends_with_its_run(tmp_path, monkeypatch):
    def refusing(name):
        raise PermissionError(name)

    monkeypatch.setattr(os, "unlink", refusing)
    waiting, done = os.pipe()
    before = descriptors()
    with checkpoints.locked(tmp_path / "c"):
        if (child := os.fork()) == 0:  # which keeps the file open
            os.close(done)
            os.read(waiting, 1)
            os._exit(0)
    try:
        assert descriptors() == before
        with checkpoints.locked(tmp_path / "c"):
            pass
    finally:
        os.close(done)
        os.close(waiting)
        os.waitpid(child, 0)


def test_windows_locks_one_byte_without_waiting(monkeypatch):
    calls = []
    windows = types.SimpleNamespace(LK_NBLCK=2, locking=lambda *arguments: calls.append(arguments))
    with monkeypatch.context() as there:
        there.setitem(sys.modules, "msvcrt", windows)
        there.setattr(os, "name", "nt")
        checkpoints._lock(5)
        checkpoints._unlock(5)  # closing the file does it
    assert calls == [(5, 2, 1)]


# ---- signals ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def kept(tmp_path):
    """Return a keeper that has caught the signals, and the list of those that its user's handler gets."""
    seen = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    keeper = checkpoints.Keeper(tmp_path / "c", 1)
    keeper.catch_signals()
    yield keeper, seen
    keeper.restore_handlers()
    signal.signal(signal.SIGTERM, before)


def test_a_signal_after_the_last_step_waits_for_the_end(kept):
    keeper, seen = kept
    with checkpoints.keeper(keeper, 1, False) as same:
        signal.raise_signal(signal.SIGTERM)
        assert same is keeper and seen == []
    assert seen == [signal.SIGTERM]
    signal.raise_signal(signal.SIGTERM)  # and from then on at once
    assert len(seen) == 2


def test_at_the_end_of_a_run_signals_go_to_whom_they_went_before(kept):
    keeper, seen = kept
    keeper.close()
    signal.raise_signal(signal.SIGTERM)
    assert seen == [signal.SIGTERM]


def test_a_second_signal_does_not_wait(kept):
    _, seen = kept
    signal.raise_signal(signal.SIGTERM)
    assert seen == []
    signal.raise_signal(signal.SIGTERM)
    assert seen == [signal.SIGTERM]


def test_after_a_signal_has_gone_through_the_next_waits_again(kept):
    keeper, seen = kept
    signal.raise_signal(signal.SIGTERM)
    keeper._pass_on_signal()
    assert seen == [signal.SIGTERM]
    signal.raise_signal(signal.SIGTERM)
    assert len(seen) == 1
    keeper._pass_on_signal()
    keeper._pass_on_signal()  # each once
    assert len(seen) == 2
