"""Checkpoints: a run that goes on ends with the bits of the run that was never interrupted."""

from __future__ import annotations

import datetime
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import types

import numpy as np
import pytest

import handmade as hm
from benchmarks.kills.trainings import kill_and_resume
from handmade import _run, _run_state, checkpoints

X = np.random.default_rng(0).normal(size=(37, 5))
Y = np.random.default_rng(1).integers(0, 3, 37)
EPOCHS = 4
CASES = int(os.environ.get("CHECKPOINT_CASES", "30"))  # configurations drawn at random

OPTIMIZERS = [
    lambda network: hm.SGD(lr=0.05),
    lambda network: hm.SGD(lr=0.05, momentum=0.9, dampening=0.1),
    lambda network: hm.SGD(lr=0.05, momentum=0.9, nesterov=True),
    lambda network: hm.Momentum1986(lr=0.05, momentum=0.5),
    lambda network: hm.Adagrad(lr=0.05),
    lambda network: hm.RMSprop(lr=0.01, momentum=0.5, centered=True),
    lambda network: hm.Adam(lr=0.01, amsgrad=True),
    lambda network: hm.AdamW(lr=0.01),
    lambda network: hm.ASGD(lr=0.05, lambd=0.1, t0=5),
    lambda network: hm.Rprop(lr=0.001),
    lambda network: hm.Lion(lr=0.001, weight_decay=0.1),
    lambda network: hm.Adadelta(),
    lambda network: hm.NAdam(lr=0.01),
    lambda network: hm.RAdam(lr=0.01),
    lambda network: hm.Adamax(lr=0.01),
    lambda network: hm.Adafactor(),
    lambda network: hm.LBFGS(max_iter=3, line_search_fn="strong_wolfe"),
    lambda network: hm.ParameterGroups(
        {hm.optimizers.is_vector: hm.AdamW(weight_decay=0.0), "0.*": hm.Muon(lr=0.01), "*": hm.SGD(momentum=0.9)}
    ),
    lambda network: hm.Chain(
        hm.L1(1e-4), hm.ClipGradNorm(1.0), hm.ParameterGroups({"*.bias": hm.Adam(), "*": hm.RMSprop()})
    ),
    lambda network: hm.Chain(
        hm.L1(1e-4), hm.ClipGradNorm(1.0), hm.Adam(lr=0.01), hm.MaxNorm([network.layers[0].W], 0.8)
    ),
]
SCHEDULES = [
    lambda o: None,
    lambda o: (hm.StepLR(o, 2), "epoch"),
    lambda o: (hm.MultiStepLR(o, [3, 9]), "batch"),
    lambda o: (hm.ExponentialLR(o, 0.9), "batch"),
    lambda o: (hm.ConstantLR(o, 0.5, 3), "batch"),
    lambda o: (hm.LinearLR(o, 0.5, total_iters=7), "batch"),
    lambda o: (hm.PolynomialLR(o, 40), "batch"),
    lambda o: (hm.CosineAnnealingLR(o, 9), "batch"),
    lambda o: (hm.CosineAnnealingWarmRestarts(o, 5), "batch"),
    lambda o: (hm.CyclicLR(o, 0.01, 0.1, 3, cycle_momentum=False), "batch"),
    lambda o: (hm.OneCycleLR(o, 0.1, total_steps=200, cycle_momentum=False), "batch"),
    lambda o: (hm.LambdaLR(o, lambda t: 1 / (1 + t)), "batch"),
    lambda o: (hm.MultiplicativeLR(o, lambda t: 0.95), "batch"),
    lambda o: (hm.ReduceLROnPlateau(o, patience=0), "epoch"),
    lambda o: (hm.SequentialLR(o, [hm.LinearLR(o, 0.5), hm.ExponentialLR(o, 0.9)], milestones=[5]), "batch"),
    lambda o: (hm.ChainedScheduler([hm.ExponentialLR(o, 0.9), hm.LinearLR(o, 0.5)]), "batch"),
    lambda o: [(hm.LinearLR(o, 0.5, total_iters=7), "batch"), (hm.ReduceLROnPlateau(o, patience=0), "epoch")],
]


class Counter:
    """A callback with state of its own, which moves the network."""

    def __init__(self):
        self.calls, self.sums = 0, np.zeros(2)

    def __call__(self, network, history):
        self.calls += 1
        self.sums += history.loss[-1], self.calls
        network.theta *= 1 - 1e-3 * self.calls

    def state_dict(self):
        return {"calls": self.calls, "sums": self.sums.copy()}

    def load_state_dict(self, state_dict):
        self.calls, self.sums = state_dict["calls"], np.array(state_dict["sums"])


def draw(rng):
    """Return a configuration, as functions that build everything anew."""
    return dict(
        optimizer=OPTIMIZERS[rng.integers(len(OPTIMIZERS))],
        schedule=SCHEDULES[rng.integers(len(SCHEDULES))],
        dropout=float(rng.choice([0.0, 0.3])),
        normalization=[None, "batch", "layer", "rms", "every other layer"][rng.integers(5)],
        dtype=["float64", "float32"][rng.integers(2)],
        early_stopping=[None, hm.EarlyStopping(1), hm.EarlyStopping(2, monitor="loss")][rng.integers(3)],
        average=[None, {"decay": 0.9}, {"start": 2}][rng.integers(3)],
        validation=[0.2, (X[:9], Y[:9])][rng.integers(2)],
        batch_size=int(rng.integers(3, 12)),
        shuffle=bool(rng.integers(2)),
        weighted=bool(rng.integers(2)),
        shared=bool(rng.integers(2)),
        seed=int(rng.integers(1000)),
        counts=bool(rng.random() < 0.3),
        compile="auto" if rng.random() < 0.3 else False,
    )


@pytest.fixture(autouse=True)
def ctrl_c():
    """Let Ctrl-C interrupt, as it does not in a process that a shell has put into the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Stop:
    """A callback that presses Ctrl-C after so many updates of this process."""

    def __init__(self, after):
        self.left = after

    def __call__(self, network, history):
        """Do nothing after an epoch."""

    def on_batch(self, network, loss):
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGINT)


def build(c, rng):
    """Return the network of a configuration."""
    if c["normalization"] != "every other layer":
        options = {name: c[name] for name in ("normalization", "dropout", "dtype")}
        return hm.MLP([5, 6, 4, 3], **options, rng=rng)
    inner = [hm.GroupNorm(2, 6), hm.Dense(6, 4, rng=rng), hm.SwiGLU(), hm.Dense(2, 6, rng=rng)]
    layers = [hm.Dense(5, 6, rng=rng), hm.PReLU(6), hm.AlphaDropout(c["dropout"], rng=rng), hm.Residual(inner)]
    layers += [hm.RMSNorm(6), hm.PReLU(), hm.Concatenate([hm.Dense(6, 2, rng=rng), hm.GLU()]), hm.Dense(7, 3, rng=rng)]
    return hm.Network(layers, dtype=c["dtype"])


def run(c, path=None, stop=None, X=X, **options):
    """Train from nothing, or from the checkpoint; return all that has to agree, and the history."""
    rng = np.random.default_rng(c["seed"])
    network = build(c, rng if c["shared"] else np.random.default_rng(3))
    optimizer = c["optimizer"](network)
    schedule = c["schedule"](getattr(optimizer, "steps", [optimizer] * 3)[2])
    average = None if c["average"] is None else hm.AveragedModel(**c["average"])
    counter = Counter() if c["counts"] else None
    all_at_once = getattr(optimizer, "needs_evaluate", False)
    options = dict(
        optimizer=optimizer, schedule=schedule if isinstance(schedule, list | None) else [schedule], epochs=EPOCHS,
        early_stopping=c["early_stopping"], validation=c["validation"],
        batch_size=None if all_at_once else c["batch_size"], compile=c["compile"] and not all_at_once and "auto",
        shuffle=c["shuffle"], drop_last=c["normalization"] == "batch",
        sample_weight=np.arange(1.0, 38.0) if c["weighted"] else None,
        rng=rng, progress=False, metrics="accuracy", checkpoint=path,
        callbacks=[part for part in (average, counter, stop) if part is not None],
    ) | options  # fmt: skip
    history = hm.fit(network, X, Y, **options)
    parts = [network.state_dict(), optimizer.state_dict(), average and average.state_dict()]
    parts += [counter and counter.state_dict(), rng.bit_generator.state]
    parts += [one.state_dict() for one, _ in options["schedule"] or []]
    parts += [leaf.rng.bit_generator.state for _, leaf in network.leaves() if hasattr(leaf, "rng")]
    numbers = {name: values for name, values in vars(history).items() if name not in ("seconds", "stopped")}
    arrays = []
    text = json.dumps(checkpoints.encode([*parts, numbers], arrays))
    return (text, [array.tobytes() for array in arrays], average and average.n_averaged), history


PLAIN = dict(
    optimizer=OPTIMIZERS[6], schedule=SCHEDULES[3], dropout=0.3, normalization="batch", dtype="float64",
    early_stopping=None, average={"decay": 0.9}, validation=0.2, batch_size=8, shuffle=True, weighted=False,
    shared=False, seed=7, counts=False, compile=False,
)  # fmt: skip


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
    with pytest.raises(FileNotFoundError):
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


def test_a_dozen_kills_lose_nothing(tmp_path):
    report = kill_and_resume(12, seed=0, folder=tmp_path)
    assert report.kills == 12 and report.unreadable == 0 and report.different == 0
