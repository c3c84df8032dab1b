"""The comparison of speed: who is timed, who is not, and the command."""

from __future__ import annotations

import doctest
import html
import importlib
import json
from functools import partial

import numpy as np
import pytest
import torch

import handmade as hm
from benchmarks.speed import __main__ as command
from benchmarks.speed import alternation, epochs, memory, peers, start
from benchmarks.speed.alternation import Process, alternate, time_calls
from benchmarks.speed.bench import Bench
from benchmarks.speed.cases import GRID, Case, curves
from benchmarks.speed.jobs import JOBS, Epoch, GradientCheck, Perceptron
from benchmarks.speed.peers import SIDES
from benchmarks.speed.sides import CALLS, COMPILED, FLOOR, OURS, Disagreement, Unable, why_missing
from handmade._steps import BLOCK
from handmade._vectors import PAGE

MODULES = [
    "alternation",
    "calls",
    "cases",
    "epochs",
    "jobs",
    "memory",
    "pages",
    "peers",
    "report",
    "sides",
    "start",
    "targets",
]


@pytest.fixture(autouse=True)
def configuration_of_sklearn():
    """Restore scikit-learn's configuration, which its side of the benchmark sets for speed."""
    sklearn = pytest.importorskip("sklearn")
    with sklearn.config_context():
        yield


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    assert doctest.testmod(importlib.import_module(f"benchmarks.speed.{name}")).failed == 0


# ---- timing ----------------------------------------------------------------------------------------------------------


def test_sides_take_turns_and_every_other_round_goes_backwards(monkeypatch):
    monkeypatch.setattr(alternation, "PAUSE", 0)
    calls = []

    def side(name, block):
        calls.append(name)
        return len(calls) * block

    timings = alternate({name: partial(side, name) for name in "abc"}, block=2.0, rounds=3)
    assert calls == list("abccbaabc")
    assert timings["b"].rounds == (4.0, 10.0, 16.0)


def test_a_call_is_timed_by_the_mean_over_a_block(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(alternation.time, "perf_counter", lambda: clock[0])

    def work():
        clock[0] += 0.01

    waits = []
    assert time_calls(work, lambda: waits.append(clock[0]), block=1.0) == pytest.approx(0.01)
    assert len(waits) == 2 and waits[1] - waits[0] == pytest.approx(1.0)


def test_a_process_passes_on_results_and_errors():
    with Process(partial(Bench, OURS)) as process:
        numbers = process.call("prepare", Case((3, 4, 2), 1, "predict"))
        assert numbers["outputs"].shape == (1, 2)
        assert process.call("time", 0.01) > 0
        with pytest.raises(AttributeError):
            process.call("nonsense")


def test_process_that_dies_says_so():
    with Process(list) as process:
        assert process.alive
        process._process.kill()
        for _ in range(2):
            with pytest.raises(RuntimeError, match="ended with status -9"):
                process.call("append", 7)
        assert not process.alive


def test_failing_side_has_no_further_turn(monkeypatch):
    monkeypatch.setattr(alternation, "PAUSE", 0)
    turns = iter(range(9))

    def failing(block):
        if next(turns):
            raise RuntimeError("out of memory")
        return block

    lost = []
    timings = alternate({"a": lambda block: block, "b": failing}, 1.0, 3, lambda *what: lost.append(what))
    assert timings.keys() == {"a"} and len(timings["a"].rounds) == 3 and next(turns) == 2
    assert [(name, str(error)) for name, error in lost] == [("b", "out of memory")]
    with pytest.raises(RuntimeError, match="out of memory"):
        alternate({"b": failing}, 1.0, 3)


# ---- agreement -------------------------------------------------------------------------------------------------------

SMALL = [
    Case((3, 4, 2), 1),
    Case((3, 4, 2), 5, optimizer="Adam", dtype="float64"),
    Case((4, 8, 8, 3), 7, activation="sigmoid", optimizer="Adam"),
    Case((4, 8, 3), 7, loss="mse_loss", activation="tanh"),
    Case((4, 8, 3), 7, "predict", activation="tanh"),
    Case((4, 8, 8, 3), 7, normalization="batch"),
    Epoch("a small set", 50, (4, 8, 3), 16, epochs=2),
    GradientCheck((2, 3, 2), 4),
    Perceptron(200, 5),
]
EVERYWHERE = {"torch", "torch.compile", "JAX", CALLS, COMPILED}
EXPECTED = [
    EVERYWHERE,
    EVERYWHERE,
    EVERYWHERE | {"scikit-learn"},
    EVERYWHERE,
    EVERYWHERE | {"scikit-learn", "ONNX Runtime"},
    EVERYWHERE - {CALLS},
    EVERYWHERE | {"scikit-learn"},
    {"torch", "loop"},
    {"loop", "scikit-learn"},
]


@pytest.mark.parametrize(("piece", "expected"), [*zip(SMALL, EXPECTED, strict=True)])
@pytest.mark.filterwarnings("ignore")  # scikit-learn's, of an unfinished fit
def test_every_installed_side_agrees(piece, expected, monkeypatch):
    # What is to be compiled is compared here as it stands; compiling takes long, and is compared when it is timed.
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    for module in peers, epochs:
        monkeypatch.setattr(module, "has_compiler", lambda: True)
    ours, compared = piece.sides[OURS](piece).results(), set()
    for name, side in piece.sides.items():
        if name == OURS or why_missing(side):
            continue
        try:
            theirs = side(piece).results()
        except Unable:
            continue
        if theirs:  # those that compute a part alone have nothing to compare
            piece.check(name, theirs, ours)
            compared.add(name)
    assert compared == {name for name in expected if not why_missing(piece.sides[name])}


STEPS = [case for case in GRID if case.work == "step" and not case.normalization]  # under which a bias learns nothing
MIDDLE = [case for case in STEPS if case.parameter_count < 300_000]
DEEP = [case for case in dict.fromkeys([*GRID, *curves()["depth"]]) if case.work == "step" and len(case.sizes) > 8]


@pytest.mark.parametrize("case", MIDDLE, ids=lambda case: case.title)
def test_small_wrong_step_is_a_disagreement(case):
    ours = case.sides[OURS](case).results()
    case.check("itself", ours, ours)
    step = (ours["theta"] - ours["before"]).astype(np.float64)
    for factor in (0, -1, 0.5, 1.25, 2):
        with pytest.raises(Disagreement):
            case.check("another", ours | {"theta": (ours["before"] + factor * step).astype(case.dtype)}, ours)


@pytest.mark.parametrize("case", [*MIDDLE, *DEEP], ids=lambda case: case.title)
def test_layer_that_learns_nothing_is_a_disagreement(case):
    ours, blocks = case.sides[OURS](case).results(), case.network().blocks
    for name, before in blocks(ours["before"]).items():
        theta = ours["theta"].copy()
        blocks(theta)[name][...] = before
        with pytest.raises(Disagreement, match=name):
            case.check("another", ours | {"theta": theta}, ours)


def test_a_wrong_gradient_is_found_by_every_side_that_checks_one(monkeypatch):
    piece = GradientCheck((2, 3, 2), 4)
    right = hm.activations.ACTIVATIONS["tanh"]
    monkeypatch.setitem(hm.activations.ACTIVATIONS, "tanh", (right[0], lambda dH, A, out=None: 0.9 * right[1](dH, A)))
    ours = piece.sides[OURS](piece).results()
    assert not ours["passed"] and not piece.sides["loop"](piece).results()["passed"]
    with pytest.raises(Disagreement):
        piece.check("loop", {"passed": np.array(True)}, ours)


@pytest.mark.parametrize("piece", SMALL[:7], ids=lambda piece: piece.title)
def test_a_result_that_is_off_by_a_thousandth_is_a_disagreement(piece):
    ours = piece.sides[OURS](piece).results()
    piece.check("itself", ours, ours)
    for name in set(ours) & {"loss", "theta", "outputs"}:
        off = ours | {name: ours[name] * 1.001}
        if isinstance(piece, Epoch):
            off = {"theta": ours["theta"] + 1.001 * (ours["theta"] - piece.network().theta)}
        with pytest.raises(Disagreement):
            piece.check("another", off, ours)


def test_the_perceptron_has_to_agree_in_every_bit():
    piece = SMALL[-1]
    ours = piece.sides[OURS](piece).results()
    with pytest.raises(Disagreement):
        piece.check("loop", ours | {"w": np.nextafter(ours["w"], np.inf)}, ours)


def test_grid_has_shapes_peers_options_and_batches():
    shapes = {(case.sizes, case.batch) for case in GRID}
    assert len({(case.sizes, case.batch, case.work, case.optimizer) for case in GRID if not case.options}) >= 30
    assert {case.activation for case in GRID} == {"relu", "sigmoid", "tanh"}
    assert {case.loss for case in GRID} == {"cross_entropy", "mse_loss"}
    assert {case.dtype for case in GRID} == {"float32", "float64"}
    assert {1, 4096} <= {batch for _, batch in shapes}
    assert len({piece.title for piece in (*GRID, *JOBS)}) == len(GRID) + len(JOBS)
    assert all(len(set(cases)) == len(cases) for cases in curves().values())


# ---- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_steps_keep_nothing_and_hold_what_the_bound_allows(optimizer):
    """Beyond the bound: two blocks of an update, a page for each vector, NumPy's own buffer, and Python's objects."""
    found = memory.step_memory(Case((784, 256, 10), 32, optimizer=optimizer), steps=5)
    assert found["kept"] < 1000
    assert found["peak"] <= found["bound"] + 2 * BLOCK + 4 * PAGE + 8 * np.getbufsize() + 10_000


def test_process_tells_its_own_memory():
    held = np.ones(5 * 10**7)
    assert memory.resident("handmade", (3, 4, 2), 1) < held.nbytes / 2


def test_a_large_memmap_is_read_batch_by_batch():
    assert memory.memmap_growth(2 * 10**8) < 150e6


# ---- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def few(monkeypatch):
    """Return the sides that need no other package, so that nothing has to be compiled."""
    monkeypatch.setattr(command, "why_missing", lambda side: "not asked for" if side.packages else None)
    monkeypatch.setattr(command, "BLOCK", 0.02)
    monkeypatch.setattr(command, "_memory", lambda quick: [("import", lambda found: found.update({"import": [1.0]}))])


def run(tmp_path, *arguments):
    status = command.main(["--out", str(tmp_path / "out"), *arguments])
    return status, json.loads((tmp_path / "out" / "results.json").read_text())


def test_a_quick_run_writes_a_report(few, tmp_path, capsys):
    status, results = run(tmp_path, "--quick")
    assert status == 0 and results["memory"] == {"import": [1.0]}
    assert all({OURS, FLOOR} <= set(cell["seconds"]) for cell in results["cells"].values() if "sizes" in cell)
    text, page = (html.unescape((tmp_path / "out" / name).read_text()) for name in ("report.md", "report.html"))
    for written in text, page:
        assert all(title in written for title in results["cells"])
        assert "JAX is left out: not asked for" in written
        assert "quick run" in written and results["machine"]["NumPy"] in written
    assert "JAX is left out" in capsys.readouterr().err
    assert "http" not in page.replace("http://www.w3.org", "").replace("https://matplotlib.org", "")


def test_cells_can_be_chosen(few, tmp_path):
    _, results = run(tmp_path, "--match", "step, SGD: 3-4-2")
    assert list(results["cells"]) == ["step, SGD: 3-4-2, batch 1", "step, SGD: 3-4-2, batch 32"]
    assert results["memory"] == {}


def test_unknown_cells_raise_before_a_report_is_overwritten(few, tmp_path, capsys):
    run(tmp_path, "--match", "PREDICT: 3-4-2, batch 1")
    before = (tmp_path / "out" / "report.md").read_text()
    with pytest.raises(SystemExit, match="2"):
        run(tmp_path, "--match", "zzz")
    assert "--match: expected a part of the title of a cell" in capsys.readouterr().err
    assert (tmp_path / "out" / "report.md").read_text() == before


def test_disagreeing_peer_is_an_error_and_not_timed(few, tmp_path, monkeypatch, capsys):
    def disagree(self, name, theirs, ours):
        if name == FLOOR:
            raise Disagreement("something else")

    def broken(self):
        raise OSError("a backend that breaks")

    monkeypatch.setattr(Case, "check", disagree)
    monkeypatch.setattr(SIDES[FLOOR], "results", lambda self: {"loss": np.array(0.0)})
    monkeypatch.setattr(SIDES[CALLS], "results", broken)
    monkeypatch.setattr(command, "Process", Here)
    status, results = run(tmp_path, "--match", "predict: 3-4-2, batch 1")
    (cell,) = results["cells"].values()
    assert status == 1
    assert cell["errors"] == {FLOOR: "something else", CALLS: "a backend that breaks"}
    assert list(cell["seconds"]) == [OURS]
    assert f"not timed: {FLOOR}, predict: 3-4-2, batch 1: something else" in capsys.readouterr().err
    assert "something else" in (tmp_path / "out" / "report.md").read_text()


class Here:
    """An object of this process in the place of another process: a test can change it."""

    def __init__(self, make):
        self.held = make()

    alive = True

    def call(self, method, *arguments):
        return getattr(self.held, method)(*arguments)

    def begin(self, method, *arguments):
        return partial(self.call, method, *arguments)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def test_an_interrupted_run_leaves_what_it_has_measured(few, tmp_path, monkeypatch, capsys):
    measured = command._cell

    def interrupted(piece, benches, quick):
        if "batch 32" in piece.title:
            raise KeyboardInterrupt
        return measured(piece, benches, quick)

    monkeypatch.setattr(command, "_cell", interrupted)
    status, results = run(tmp_path, "--match", "predict: 3-4-2")
    assert status == 130 and list(results["cells"]) == ["predict: 3-4-2, batch 1"]
    assert "interrupted" in (tmp_path / "out" / "report.md").read_text()
    assert "interrupted" in capsys.readouterr().err


def test_resumed_run_measures_what_is_missing(few, tmp_path, monkeypatch):
    run(tmp_path, "--match", "predict: 3-4-2, batch 1")
    timed, measured = [], command._cell

    def recorded(piece, benches, quick):
        timed.append(piece.title)
        return measured(piece, benches, quick)

    monkeypatch.setattr(command, "_cell", recorded)
    _, results = run(tmp_path, "--match", "predict: 3-4-2", "--resume")
    assert timed == ["predict: 3-4-2, batch 32"]
    assert list(results["cells"]) == ["predict: 3-4-2, batch 1", "predict: 3-4-2, batch 32"]


def test_run_begins_no_cell_after_its_time(few, tmp_path):
    _, results = run(tmp_path, "--match", "predict: 3-4-2", "--minutes", "0")
    assert results["cells"] == {} and results["skipped"] == ["predict: 3-4-2, batch 1", "predict: 3-4-2, batch 32"]
    assert "2 cells were skipped" in (tmp_path / "out" / "report.md").read_text()


def test_a_run_that_fails_leaves_what_it_has_measured(few, tmp_path, monkeypatch):
    def failing(found):
        raise OSError("no memory left to measure")

    run(tmp_path, "--match", "predict: 3-4-2, batch 1")
    monkeypatch.setattr(command, "_memory", lambda quick: [("memory", failing)])
    monkeypatch.setattr(command, "_work", lambda options: [Case((3, 4, 2), 1, "predict")])
    with pytest.raises(OSError, match="no memory left"):
        run(tmp_path, "--resume")
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| predict: 3-4-2, batch 1 |" in text and "It was interrupted" in text


def test_side_that_dies_is_replaced_for_the_next_cell(few, tmp_path, monkeypatch, capsys):
    started = []

    class Mortal(Here):
        def __init__(self, make):
            super().__init__(make)
            started.append(self.held.name)

        def call(self, method, *arguments):
            if method == "time" and self.held.name == FLOOR and started.count(FLOOR) == 1:
                self.alive = False
                raise RuntimeError("the process ended with status -9")
            return super().call(method, *arguments)

    monkeypatch.setattr(command, "Process", Mortal)
    status, results = run(tmp_path, "--match", "predict: 3-4-2")
    first, second = results["cells"].values()
    assert status == 1 and first["errors"] == {FLOOR: "the process ended with status -9"} and second["errors"] == {}
    assert FLOOR not in first["seconds"] and FLOOR in second["seconds"] and OURS in first["seconds"]
    assert "not timed: " + FLOOR in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_said_before_any_work(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match="2"):
        command.main(["--out", str(tmp_path / "file")])
    assert "expected a folder that can be written" in capsys.readouterr().err


# ---- time to the first step ------------------------------------------------------------------------------------------


def test_first_step_is_timed_from_the_start_of_python():
    found = start.first_steps(["handmade"], (3, 4, 2), 1, rounds=1)
    assert list(found) == ["handmade"] and 0.05 < found["handmade"][0] < 60


def test_call_of_a_compiled_step_takes_longer_than_an_empty_one():
    found = start.call_overhead()
    assert 0 < found["empty"] < found["step"] < 1e-3
