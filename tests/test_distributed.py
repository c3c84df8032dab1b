"""Training over two processes, started by torchrun: equal to one process, refusals, a killed worker, a signal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import handmade as hm

pytest.importorskip("torch")

from benchmarks.distributed import equality, scaling

ROOT = Path(__file__).parents[1]
REFUSALS = {  # of what: the words that name it
    "X": "ValueError: X: expected the same in all processes",
    "y": "ValueError: y: expected the same in all processes",
    "seed": "ValueError: rng: expected the same in all processes, got 0 in process 0 and 1 in process 1",
    "no seed": "ValueError: state of rng: expected the same in all processes",
    "weights": "ValueError: network, optimizer and schedules: expected the same in all processes",
    "dropout's seed": "ValueError: generators of the layers: expected the same in all processes",
    "optimizer": "ValueError: optimizer: expected the same in all processes, got Adam(lr=0.1",
    "epochs": "ValueError: epochs: expected the same in all processes, got 1 in process 0 and 2 in process 1",
    "compile": "TypeError: compile: expected none, because the processes sum their gradients",
    "batch": "ValueError: batch_size: expected a row for each of 2 processes in every batch",
    "rows": "TypeError: network: expected layers that compute each row from the same row alone",
    "damaged": "damaged: expected an .npz archive",
    "unwritable": "FileNotFoundError",
}


# With a shared store, processes of PyTorch 2.13 that are started again look for the killed one.
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Return what two processes found; one of them is killed at the end, and both are restarted."""
    folder = tmp_path_factory.mktemp("distributed")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "1"]
    done = subprocess.run(
        [*command, "-m", "benchmarks.distributed.equality", "--kill", str(folder)],
        cwd=ROOT, env=os.environ | ENVIRONMENT, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, "\n".join(line for line in done.stderr.splitlines() if line.startswith("[rank"))
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {name: value for line in lines for name, value in line.items()}


@pytest.mark.parametrize("case", equality.CASES)
def test_two_processes_equal_one_within_rounding(found, case):
    distance, bound = found["cases"][case]
    assert distance <= bound < 1e-4


@pytest.mark.parametrize("what", REFUSALS)
def test_what_differs_between_processes_is_refused(found, what):
    assert REFUSALS[what] in found["refusals"][what]


def test_a_signal_to_one_process_stops_all_after_one_step(found):
    assert found["interrupted"] is True


def test_a_callback_of_one_process_ends_training_in_all(found):
    assert found["ended"] == 2


def test_a_program_without_torchrun_is_told_so(monkeypatch):
    for name in "RANK", "WORLD_SIZE":
        monkeypatch.delenv(name, raising=False)
    said = "group: expected a process that torchrun has started, got none of its RANK, WORLD_SIZE"
    with pytest.raises(RuntimeError, match=said), equality.distributed.group():
        pass
    with pytest.raises(RuntimeError, match="fit: expected a group of processes, got none; call it inside"):
        equality.distributed.fit(hm.MLP([2, 2]), np.eye(2), [0, 1])


def test_gradient_is_that_of_distributed_data_parallel(found):
    assert found["twin"] < 20 * np.finfo(float).eps


def test_a_killed_worker_is_replaced_and_the_bits_are_the_same(found):
    assert found["restarts"] == 1 and found["same bits"] is True and 0 < found["done before"] < 3


def test_parts_of_a_batch_neither_overlap_nor_leave_rows_out(monkeypatch):
    step = object.__new__(equality.distributed.DistributedStep)
    for size in (1, 7, 64):
        for processes in (1, 2, 3, 7, 9):
            monkeypatch.setattr(equality.dist, "get_world_size", lambda processes=processes: processes)
            parts = []
            for rank in range(processes):
                monkeypatch.setattr(equality.dist, "get_rank", lambda rank=rank: rank)
                parts.append(np.arange(size)[step.part(size)])
            assert np.concatenate(parts).tolist() == list(range(size))
            assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_projected_efficiency_falls_with_machines_and_message():
    shares = [scaling.efficiency(0.01, 5_000_000, machines, 10) for machines in (1, 2, 8, 64)]
    assert shares[0] == 1 and shares == sorted(shares, reverse=True)
    assert scaling.efficiency(0.01, 5_000_000, 8, 100) > shares[2]
    # 2 machines: 2 messages of half the gradient, 2.5 MB at 10 Gbit/s in 2 ms each, and two latencies
    np.testing.assert_allclose(shares[1], 0.01 / (0.01 + 2 * (0.002 + scaling.LATENCY)))


def test_a_grid_search_over_dask_workers_finds_the_same():
    dask = pytest.importorskip("dask.distributed", reason="needs dask.distributed, which dev leaves out")
    joblib = pytest.importorskip("joblib")
    from sklearn.model_selection import GridSearchCV

    X, y = hm.data.moons(60, rng=0)
    model = hm.estimators.MLPClassifier([4], solver="lbfgs", max_iter=30, random_state=0)
    grid = {"activation": ["tanh", "relu"], "alpha": [0.0, 0.1]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of dask about this machine, and of 30 iterations
        alone = GridSearchCV(model, grid, cv=2).fit(X, y)
        with dask.Client(n_workers=2, threads_per_worker=1, dashboard_address=None), joblib.parallel_backend("dask"):
            search = GridSearchCV(model, grid, cv=2).fit(X, y)
    assert search.best_params_ == alone.best_params_
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"])
    np.testing.assert_array_equal(search.best_estimator_.network_.theta, alone.best_estimator_.network_.theta)
