"""The fuzzer in its quick form: some hundred cases of every target, the corpus, and violations planted on purpose."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from tests.fuzz import engine
from tests.fuzz.__main__ import main
from tests.fuzz.calls import run_quietly
from tests.fuzz.doors import DOORS
from tests.fuzz.engine import CORPUS, Run, fuzz, run_case
from tests.fuzz.reach import unreached
from tests.fuzz.registry import GROUPS, REPLAYS
from tests.fuzz.rules import Violation, observe, same_numbers

TARGETS = {name: target for group in GROUPS.values() for name, target in group.items()}
FILES = sorted(path.relative_to(CORPUS).as_posix() for path in CORPUS.glob("*/*"))
QUICK = {"grades": 15}  # cases of each target, each of which starts processes; 60 of the others


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Run the test in a folder where cases may leave files."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("name", TARGETS)
def test_cases_obey_the_rule(name):
    for number in range(QUICK.get(name, 60)):
        run_case(TARGETS[name], 0, number)


@pytest.mark.usefixtures("elsewhere")
def test_the_calls_that_cases_change_are_valid():
    for door in DOORS.values():
        run_quietly(door.make())  # or every case of it would be an error, and tell nothing


def test_a_changed_source_begins_a_run_anew(tmp_path, monkeypatch, capsys):
    path = tmp_path / "run"
    fuzz({"a": lambda rng: None}, 200, 30, Run.load(path, 3), path)
    assert Run.load(path, 5).done == {"a": 200}
    monkeypatch.setattr(engine, "ROOT", tmp_path)  # another source: none
    assert (
        Run.load(path, 5).done == {} and "begun anew; the source has changed since its 200" in capsys.readouterr().err
    )


def test_what_no_target_calls_is_printed():
    reached = {"activations": TARGETS["activations"], "information": TARGETS["information"]}
    missing = unreached(reached, 300)
    assert "fit" in missing and "Network.predict" in missing
    assert not {"activations.relu", "activations.relu_backward", "information.entropy"} & set(missing)


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("file", FILES)
def test_the_corpus_obeys_the_rule(file):
    REPLAYS[file.split("/")[0]]((CORPUS / file).read_bytes())


# ---- planted violations ------------------------------------------------------------------------------------------


def wrong_error():
    raise KeyError("x")


def unnamed_error():
    raise ValueError("something is wrong")


def memory():
    return bytes(10**7)


def warning():
    warnings.warn("overflow", RuntimeWarning, stacklevel=1)


@pytest.mark.parametrize(
    ("kind", "call"), [("error", wrong_error), ("name", unnamed_error), ("memory", memory), ("warning", warning)]
)
def test_observe_finds_planted_violations(kind, call):
    with pytest.raises(Violation) as caught:
        observe(call, ["x"], most_memory=10**6)
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    "data", [np.zeros(3), np.ma.array([1.0, 2.0], mask=[0, 1]), [1, 2], {"a": 1}, np.zeros((2, 3)).T[::-1]], ids=str
)
def test_observe_finds_changed_input(data):
    def change():
        if isinstance(data, np.ndarray):
            data[...] = 7
        else:
            data.clear()

    observe(lambda: None, ["x"], [data])
    with pytest.raises(Violation, match="input"):
        observe(change, ["x"], [data])


def test_observe_finds_changed_state_after_an_error():
    state = []

    def fail():
        state.append(1)
        raise ValueError("x: no")

    with pytest.raises(Violation, match="state"):
        observe(fail, ["x"], state=lambda: list(state))
    assert isinstance(observe(unnamed_error, ["something"]).error, ValueError)


@pytest.mark.parametrize(
    ("value", "expected", "tolerance", "same"),
    [
        (1.0, 1.0 + 1e-15, 1e-14, True),
        (1.0, 1.0 + 1e-13, 1e-14, False),
        (np.nan, np.nan, 0, True),
        (np.nan, 1.0, 1.0, False),
        (np.float32(np.inf), 1e300, 0, True),
        (np.zeros(2), np.zeros((2, 1)), 0, False),
        ((1, {"a": np.ones(2)}), (1, {"a": np.ones(2)}), 0, True),
        ((1, {"a": np.ones(2)}), (1, {"b": np.ones(2)}), 0, False),
        (np.array([1, 2]), np.array([1, 3]), 1.0, False),
    ],
)
def test_same_numbers_compares_within_a_tolerance(value, expected, tolerance, same):
    assert same_numbers(value, expected, tolerance) is same


@pytest.mark.parametrize(
    ("kind", "act"),
    [
        ("crash", lambda: os.kill(os.getpid(), signal.SIGKILL)),
        ("crash", lambda: os._exit(0)),
        ("hang", lambda: time.sleep(60)),
        ("target", lambda: 1 / 0),
    ],
)
def test_the_engine_survives_and_names_the_case(monkeypatch, kind, act):
    monkeypatch.setattr(engine, "HANG", 0.2)
    monkeypatch.setattr(engine, "CHUNK", 4)

    def target(rng):
        if rng.integers(2**31) == np.random.default_rng([0, 5]).integers(2**31):
            act()

    run = fuzz({"planted": target}, cases=10, seconds=30, run=Run())
    assert [(v["case"], v["kind"]) for v in run.violations] == [(5, kind)] and run.done == {"planted": 10}


def test_a_run_goes_on_where_it_stopped(tmp_path):
    path, seen = tmp_path / "run.json", []
    targets = {"a": lambda rng: None, "b": lambda rng: None}
    fuzz(targets, 500, 30, Run.load(path, 3), path)
    again = Run.load(path, 99)
    assert again.seed == 3 and sum(again.done.values()) == 500
    fuzz(targets, 1000, 30, again, path, processes=2, report=lambda run: seen.append(dict(run.done)))
    done = Run.load(path, 0).done
    assert sum(done.values()) == 1000 and min(done.values()) >= 200 and all(sum(one.values()) > 500 for one in seen)


def test_slow_targets_get_fewer_cases_but_not_none(monkeypatch):
    monkeypatch.setattr(engine, "CHUNK", 10)
    targets = {"slow": lambda rng: time.sleep(0.004), "fast": lambda rng: time.sleep(0.0001)}
    done = fuzz(targets, 400, 30, Run()).done  # in proportion to 1 / sqrt(t): 1 to 5, where sleeps are exact
    assert done["slow"] >= 20 and done["fast"] > 2 * done["slow"]


def test_few_examples_of_one_kind_are_kept(monkeypatch):
    def target(rng):
        raise Violation("wrong", "always")

    run = fuzz({"planted": target}, cases=400, seconds=30, run=Run())
    assert len(run.violations) == engine.MOST_EXAMPLES


def test_the_command_runs_goes_on_and_replays(tmp_path, capsys):
    arguments = ["readers", "--processes", "1", "--resume", str(tmp_path / "run"), "--cases"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", *arguments, "30"],
        capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False,
    )  # fmt: skip
    assert done.returncode == 0 and "30 cases in" in done.stdout and "0 violations" in done.stdout
    assert main([*arguments, "60"]) == 0
    printed = capsys.readouterr().out
    assert "60 cases in" in printed and "0 violations" in printed
    assert main(["csv", "--case", "7"]) == 0
    assert capsys.readouterr().out == "no violation\n"
