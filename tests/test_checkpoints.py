"""Checkpoints: a run that goes on ends with the bits of the run that was never interrupted."""

from __future__ import annotations

import datetime
import itertools
import os
import types

import numpy as np
import pytest
from checkpoints_of_tests import PLAIN, Stop, X, draw, run

from benchmarks.kills.trainings import kill_and_resume
from handmade import _run, _run_state, checkpoints

pytestmark = pytest.mark.usefixtures("ctrl_c")

CASES = int(os.environ.get("CHECKPOINT_CASES", "30"))  # configurations drawn at random


@pytest.mark.filterwarnings("ignore:fit:UserWarning")  # of what has no compiled form
@pytest.mark.filterwarnings("ignore:dead units:handmade.TrainingWarning")  # of 8 units and 29 samples, drawn at random
@pytest.mark.parametrize("case", range(CASES))
def test_a_resumed_run_has_the_bits_of_an_uninterrupted_one(case, tmp_path):
    rng = np.random.default_rng(case)
    c, path = draw(rng), tmp_path / "run.ckpt"
    expected, whole = run(c)
    for _ in range(2):  # interrupted twice, at random steps
        result, history = run(c, path, Stop(int(rng.integers(1, 14))))
        assert history.stopped in ("interrupted", whole.stopped)
    result, history = run(c, path)
    assert result == expected
    assert history.stopped == whole.stopped
    assert run(c, path)[0] == expected  # a run that has ended stays as it is


def test_sparse_samples_train_and_go_on_as_dense_ones(tmp_path):
    scipy_sparse = pytest.importorskip("scipy.sparse")
    dense = np.where(X > 0, X, 0)
    twice = scipy_sparse.coo_array(  # each number in two parts, which one place of the matrix holds
        (np.r_[dense[dense > 0] / 2, dense[dense > 0] / 2], np.hstack([np.nonzero(dense)] * 2)), shape=X.shape
    )
    expected, _ = run(PLAIN, X=dense)
    for matrix in (twice, scipy_sparse.csc_array(dense), scipy_sparse.csr_matrix(dense)):
        assert run(PLAIN, X=matrix)[0] == expected
    run(PLAIN, tmp_path / "run", Stop(7), X=twice)
    assert run(PLAIN, tmp_path / "run", X=twice)[0] == expected
    run(PLAIN, tmp_path / "other", Stop(7), X=twice)
    with pytest.raises(ValueError, match="expected X as in"):
        run(PLAIN, tmp_path / "other", X=twice * 2)
    with pytest.raises(ValueError, match=r"X: expected finite numbers, got nan at index \(3, "):
        run(PLAIN, X=scipy_sparse.csr_array(np.where(np.arange(37)[:, None] == 3, np.nan, dense)))


@pytest.mark.parametrize("compiled", [False, True])
def test_a_compiled_run_and_a_memmap_go_on(compiled, tmp_path):
    if compiled:
        pytest.importorskip("numba")
    c = PLAIN | dict(normalization=None, dropout=0.0)
    mapped = np.memmap(tmp_path / "X", X.dtype, "w+", shape=X.shape)
    mapped[:] = X
    expected, _ = run(c, compile=compiled)
    run(c, tmp_path / "c", Stop(6), X=mapped, compile=compiled)
    assert run(c, tmp_path / "c", X=mapped, compile=compiled)[0] == expected


def test_a_compiled_run_does_not_go_on_uncompiled(tmp_path):
    pytest.importorskip("numba")
    run(PLAIN, tmp_path / "c", Stop(6))
    with pytest.raises(
        ValueError, match=r"expected compile as in '.*', False, got handmade.compiled.step.CompiledStep; "
    ):
        run(PLAIN, tmp_path / "c", compile=True)


def test_more_epochs_go_on_from_a_run_that_has_ended(tmp_path):
    path = tmp_path / "c"
    run(PLAIN, path, epochs=2)
    assert run(PLAIN, path)[0] == run(PLAIN)[0]


def test_time_between_checkpoints_writes_in_mid_epoch(tmp_path, monkeypatch):
    places = []
    original = checkpoints.write
    monkeypatch.setattr(checkpoints, "write", lambda p, d: (places.append(d["state"]["place"]), original(p, d)))
    run(PLAIN, tmp_path / "c", epochs=1, checkpoint_every=datetime.timedelta(0))
    assert [place["row"] for place in places] == [8, 16, 24, 0]
    assert [place["order"] for place in places] == [None] * 4  # as long as the data: it is drawn again


def test_epochs_between_checkpoints_are_counted(tmp_path, monkeypatch):
    epochs = []
    monkeypatch.setattr(checkpoints, "write", lambda p, d: epochs.append(len(d["state"]["history"]["loss"])))
    run(PLAIN, tmp_path / "c", epochs=5, checkpoint_every=2)
    assert epochs == [2, 4, 5]


def test_a_run_that_a_callback_stops_writes_its_last_epoch(tmp_path, monkeypatch):
    epochs = []
    monkeypatch.setattr(checkpoints, "write", lambda p, d: epochs.append(len(d["state"]["history"]["loss"])))
    run(PLAIN, tmp_path / "c", epochs=9, checkpoint_every=9, callbacks=lambda network, history: len(history) == 3)
    assert epochs == [3]


def test_the_seconds_before_an_interrupt_count(tmp_path, monkeypatch):
    """Each look at the clock takes one second; between the two runs lie many, in which nothing was computed."""
    for begin in 0.0, 1e6:
        clock = itertools.count(begin)
        for module in _run, _run_state:
            monkeypatch.setattr(module, "time", types.SimpleNamespace(perf_counter=clock.__next__))
        _, history = run(PLAIN, tmp_path / "c", Stop(3) if begin == 0 else None, epochs=1)
    assert 1 < history.seconds[0] < 10


def test_a_callback_whose_state_cannot_be_loaded_has_none(tmp_path):
    class Telling:
        def __call__(self, network, history):
            return None

        def state_dict(self):
            return {"network": "too large to save"}

    c = PLAIN | dict(average=None)
    expected, _ = run(c)
    run(c, tmp_path / "c", callbacks=[Telling(), Stop(7)])
    assert run(c, tmp_path / "c", callbacks=[Telling()])[0] == expected


def test_a_dozen_kills_lose_nothing(tmp_path):
    report = kill_and_resume(12, seed=0, folder=tmp_path)
    assert report.kills == 12 and report.unreadable == 0 and report.different == 0
