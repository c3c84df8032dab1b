"""The command of the papers' experiments: options, groups, reports."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from papers_of_tests import write_digits

from benchmarks.papers import results
from benchmarks.papers.__main__ import main
from benchmarks.papers.experiment import Experiment, Group, Row, Size
from benchmarks.papers.registry import EXPERIMENTS

# ---- the command -----------------------------------------------------------------------------------------------------


def toy(name="toy", interrupt_at=None):
    """Build an experiment of one random number per run, three runs per chunk."""
    calls = []

    def run(generators, sweeps, report):
        calls.append(len(generators))
        if len(calls) == interrupt_at:
            raise KeyboardInterrupt
        return [{"value": float(rng.uniform()) * sweeps} for rng in generators]

    def table(runs):
        return [Row("mean", "-", f"{np.mean([run['value'] for run in runs]):.6f}", len(runs))]

    def draw(runs, figure):
        figure.subplots().plot([run["value"] for run in runs])

    return Experiment(name, "A toy", "nowhere", "None.", Size(7, 10), Size(2, 1), 3, run, table, draw)


@pytest.fixture
def only_toys(monkeypatch):
    def put(*experiments):
        for name in list(EXPERIMENTS):
            monkeypatch.delitem(EXPERIMENTS, name)
        for experiment in experiments:
            monkeypatch.setitem(EXPERIMENTS, experiment.name, experiment)

    return put


def values(out, name="toy"):
    return [run["value"] for run in json.loads((out / "results" / f"{name}.json").read_text())["runs"]]


def test_listing_names_every_experiment_and_runs_none(capsys, tmp_path):
    assert main(["--out", str(tmp_path)]) == 0
    listing = capsys.readouterr().out
    assert all(f"\n{name} " in listing for name in EXPERIMENTS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["toy", "--seeds", "0"], "expected an integer of at least 1, got '0'"),
        (["toy", "--seeds", "many"], "expected an integer of at least 1, got 'many'"),
        (["toy", "--seed", "-1"], "expected an integer of at least 0, got '-1'"),
        (["xor2"], "unknown experiment 'xor2'; there are: all, toy"),
    ],
)
def test_wrong_argument_is_refused_before_any_work(only_toys, capsys, tmp_path, arguments, message):
    only_toys(toy())
    with pytest.raises(SystemExit, match="2"):
        main([*arguments, "--out", str(tmp_path / "new")])
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_unwritable_folder_is_refused_before_any_work(only_toys, capsys, tmp_path):
    only_toys(toy())
    (tmp_path / "file").write_text("here already")
    with pytest.raises(SystemExit, match="2"):
        main(["toy", "--out", str(tmp_path / "file")])
    assert "expected a folder that can be written" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "here already"


def test_interrupted_run_resumes_and_ends_the_same(only_toys, tmp_path, capsys):
    only_toys(toy(interrupt_at=2))
    assert main(["toy", "--out", str(tmp_path / "a")]) == 130
    assert "saved" in capsys.readouterr().err
    assert len(values(tmp_path / "a")) == 3
    assert f"| mean | - | {np.mean(values(tmp_path / 'a')):.6f} | 3 |" in (tmp_path / "a" / "RESULTS.md").read_text()
    only_toys(toy())
    assert main(["toy", "--out", str(tmp_path / "a")]) == 0
    assert main(["toy", "--out", str(tmp_path / "b")]) == 0
    assert values(tmp_path / "a") == values(tmp_path / "b")
    assert len(values(tmp_path / "b")) == 7


def test_run_i_of_a_seed_does_not_depend_on_their_number(only_toys, tmp_path):
    only_toys(toy())
    for name, seeds, seed in (("a", 2, 0), ("b", 5, 0), ("c", 5, 1)):
        assert main(["toy", "--seeds", str(seeds), "--seed", str(seed), "--out", str(tmp_path / name)]) == 0
    a, b, c = (values(tmp_path / name) for name in "abc")
    assert a == b[:2] and len(b) == 5
    assert not set(b) & set(c)


def test_runs_of_another_seed_are_not_mixed_in(only_toys, tmp_path, capsys):
    only_toys(toy())
    assert main(["toy", "--seeds", "2", "--out", str(tmp_path)]) == 0
    before = values(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main(["toy", "--seed", "1", "--out", str(tmp_path)])
    assert "--fresh" in capsys.readouterr().err
    assert values(tmp_path) == before
    assert main(["toy", "--seeds", "2", "--seed", "1", "--fresh", "--out", str(tmp_path)]) == 0
    assert values(tmp_path) != before


def test_one_experiment_updates_its_part_of_the_page_only(only_toys, tmp_path):
    only_toys(toy("one"), toy("two"))
    assert main(["one", "--seeds", "2", "--out", str(tmp_path)]) == 0
    first = (tmp_path / "RESULTS.md").read_text()
    assert "## one" in first and "Not run yet: two." in first
    assert main(["two", "--out", str(tmp_path)]) == 0
    assert main(["one", "--seeds", "3", "--out", str(tmp_path)]) == 0
    page = (tmp_path / "RESULTS.md").read_text()
    for name, runs in (("one", 3), ("two", 7)):
        found = values(tmp_path, name)
        assert len(found) == runs and f"| mean | - | {np.mean(found):.6f} | {runs} |" in page


@pytest.mark.parametrize("text", ["[1, 2", "{}", '{"experiment": "toy", "sum": 3}'])
@pytest.mark.parametrize("arguments", [["toy"], []])
def test_file_that_is_no_record_is_refused_before_any_work(only_toys, tmp_path, capsys, arguments, text):
    only_toys(toy())
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "toy.json").write_text(text)
    with pytest.raises(SystemExit, match="2"):
        main([*arguments, "--out", str(tmp_path)])
    assert "expected the record of an experiment" in capsys.readouterr().err


# ---- the command: groups, candidates, data ---------------------------------------------------------------------------


def choosing(name, group=None, interrupt_at=None, candidates=({"a": 3}, {"a": 1}, {"a": 2})):
    """Build an experiment on images whose best choice is the smallest a."""
    calls = []

    def judge(settings, rng, sweeps, report, *, images):
        calls.append(settings)
        if len(calls) == interrupt_at:
            raise KeyboardInterrupt
        return {"error": float(settings["a"]), "drawn": float(rng.uniform())}

    def run(generators, sweeps, report, *, images, choices):
        calls.append("run")
        if len(calls) == interrupt_at:
            raise KeyboardInterrupt
        best = min(choices, key=lambda choice: choice["error"])
        return [{"value": best["settings"]["a"] + float(rng.uniform())} for rng in generators]

    part = toy(name)
    return dataclasses.replace(part, run=run, judge=judge, candidates=candidates, group=group, on_images=True,
                               chunk=1, full=Size(3, 1))  # fmt: skip


@pytest.mark.parametrize("interrupt_at", [2, 5])
def test_finished_candidates_are_kept_after_an_interrupt(only_toys, tmp_path, interrupt_at):
    only_toys(choosing("row", interrupt_at=interrupt_at))
    assert main(["row", "--out", str(tmp_path / "a")]) == 130
    record = results.read(tmp_path / "a", "row")
    assert (len(record.choices), len(record.runs)) == {2: (1, 0), 5: (3, 1)}[interrupt_at]
    only_toys(choosing("row"))
    for out in ("a", "b"):
        assert main(["row", "--out", str(tmp_path / out)]) == 0
    a, b = (results.read(tmp_path / out, "row") for out in "ab")
    assert values(tmp_path / "a", "row") == values(tmp_path / "b", "row")
    assert [choice["drawn"] for choice in a.choices] == [choice["drawn"] for choice in b.choices]
    assert len({choice["drawn"] for choice in a.choices}) == 1, "all candidates are judged from one seed"
    assert all(1 <= value < 2 for value in values(tmp_path / "a", "row"))


def test_runs_of_other_candidates_are_not_mixed_in(only_toys, tmp_path, capsys):
    only_toys(choosing("row"))
    assert main(["row", "--out", str(tmp_path / "out")]) == 0
    with pytest.raises(SystemExit, match="2"):
        main(["row", "--out", str(tmp_path / "out"), "--data", str(write_digits(tmp_path))])
    assert "on the bundled digits, asked for are seed 0 and 1 on the images given by --data" in " ".join(
        capsys.readouterr().err.split()
    )
    only_toys(choosing("row", candidates=({"a": 3}, {"a": 0})))
    with pytest.raises(SystemExit, match="2"):
        main(["row", "--out", str(tmp_path / "out")])
    assert "chosen among other candidates" in " ".join(capsys.readouterr().err.split())


def test_group_has_one_section_and_its_name_runs_all(only_toys, tmp_path):
    drawn = []
    group = Group("table", "A table", "nowhere", "All.", lambda runs, figure: drawn.append(len(runs)))
    only_toys(choosing("one", group), toy("alone"), choosing("two", group))
    assert main(["table", "--out", str(tmp_path)]) == 0
    page = (tmp_path / "RESULTS.md").read_text()
    assert page.count("## table\n") == 1 and "## one" not in page and "## two" not in page
    assert "| one | a 1 | 1.00 % |" in page and "| two | a 3 | 3.00 % |" in page
    assert "Not run yet: alone." in page
    assert drawn == [6], "once, with the runs of both"
    assert not (tmp_path / "results" / "one.png").exists() and (tmp_path / "results" / "table.png").exists()
