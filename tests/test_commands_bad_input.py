"""Wrong tables, options and files: one line and exit code 2, or a warning."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from people import as_text, csv, people, run, table, trained_folder

import handmade as hm

pd = pytest.importorskip("pandas")
testing = pytest.importorskip("typer.testing")

from sklearn.preprocessing import StandardScaler  # noqa: E402

from handmade.commands import cli, columns, main, models, tables  # noqa: E402

FOLDER = "folder.npz"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return trained_folder(tmp_path_factory.mktemp("command"))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda f: f.rename(columns={"age": "Age_"}), "expected a column 'age', got .*; rename 'Age_'"),
        (lambda f: f.drop(columns="city"), "expected a column 'city'"),
        (lambda f: f.assign(age="old"), "column 'age': expected numbers, got 'old' in line 2"),
        (lambda f: f.assign(age=np.inf), "column 'age': expected finite numbers"),
        (lambda f: f.iloc[:0], "at least one row below the names"),
    ],
)  # fmt: skip
def test_wrong_columns_at_prediction_are_named(folder, tmp_path, change, match):
    result = run("predict", folder / "c.safetensors", csv(tmp_path, change(people())), code=2)
    assert re.search(match, result.stderr) and result.stdout == ""


def test_dates_become_days_and_wrong_ones_are_named(tmp_path):
    days = pd.date_range("2024-01-30", periods=201).strftime("%Y-%m-%d")
    frame = pd.DataFrame({"day": days, "time": days + "T12:00:00+01:00", "when": days, "y": np.arange(201.0)})
    frame.loc[0, "when"] = "30.01.2024"  # of several days or months, which only their order in the file can tell
    text = as_text(frame)
    found, left_out = columns.learn_columns(text[["day", "time", "when"]])
    assert [(column.name, column.kind) for column in found] == [("day", "date"), ("time", "date")]
    assert left_out == {"when": "text with 201 different values"}
    assert found[0].describe() == "days, mean 2024-05-09, deviation 58.02"
    X, _ = columns.inputs(columns.columns_from_json(columns.columns_to_json(found)), text)
    expected = StandardScaler().fit_transform(frame[["y"]])  # 11 hours later, in units of days
    np.testing.assert_allclose(X, np.hstack([expected, expected]), atol=1e-11)  # of 2e4 / 58, a relative 2e-16
    text.loc[4, "day"] = "2024-02-31"
    with pytest.raises(ValueError, match=r"column 'day': expected dates, got '2024-02-31' in line 4"):
        columns.inputs(found, text)


@pytest.mark.parametrize(
    ("marks", "cells", "found"),
    [
        (".", ["-1,234.5", "12", "7.25"], "got '-1,234.5' in line 2; mark"),
        (".,", ["999", "1,234", "12,500"], "got '1,234' in line 3; mark"),  # the others are not 1.234 and 12.5
        (".,", ["7", "1.234,5", "1.234.567"], "got '1.234,5' in line 3; mark"),
        (".,", ["7,5", "1,234", "12,500"], None),  # decimals
        (".,", ["1,234", "5,678", "3,141"], None),
        (".", ["999", "1.234", "12.500"], None),
        (".,", ["999", "0,234", "12,500"], None),
        (".", ["10.101.120.130", "a", "1,234"], None),
    ],
)
def test_marks_between_thousands_are_refused(marks, cells, found):
    frame = pd.DataFrame({"n": ["1,5" if "," in marks else "1.5"] * 3, "a": cells}, index=[2, 3, 4])
    if found is None:
        columns.decimal_mark(frame, marks)
    else:
        with pytest.raises(ValueError, match=r"^column 'a': expected numbers without a mark between thousands, ") as e:
            columns.decimal_mark(frame, marks)
        assert found in str(e.value)


def test_index_that_pandas_writes_is_left_out(tmp_path):
    people().to_csv(tmp_path / "indexed.csv")
    rows = np.random.default_rng(0).permutation(300)[:100]
    _, left_out = columns.learn_columns(table(tmp_path, "indexed.csv"), rows=rows)
    assert left_out["Unnamed: 0"] == "no name; it counts the rows"


def test_text_that_never_repeats_is_left_out_of_small_tables_too():
    names = [f"u{i}" for i in range(12)]
    frame = as_text(pd.DataFrame({"name": names, "kind": ["a", "b", "c"] * 4, "size": range(12)}))
    found, left_out = columns.learn_columns(frame, ".", np.arange(9))
    assert [column.name for column in found] == ["kind", "size"]
    assert left_out == {"name": "text with 9 different values"}


def test_wide_tables_are_shown_in_part():
    many = [columns.Number(f"[red]{i}", 0.0, 0.0, 1.0) for i in range(2000)]
    table = cli.column_table(many, {"text": "text with 9 different values"})
    assert table.row_count == cli.SHOWN + 2
    assert list(table.columns[0].cells)[-2:] == ["1960 more", "1 more"]
    assert next(iter(table.columns[0].cells)) == r"\[red]0"


def test_names_in_brackets_or_colons_are_printed(tmp_path):
    """Rich would take them for colours and pictures."""
    data = csv(tmp_path, people().rename(columns={"spent": "spent[red]:zero:", "age": "age:one:"}))
    options = ["--target", "spent[red]:zero:", "-o", tmp_path / "m.npz", "--hidden", "4", "--epochs", "1", "--quiet"]
    assert "regress 'spent[red]:zero:': 240 rows" in run("train", data, *options).stdout
    shown = run("show", tmp_path / "m.npz").stdout
    assert "predicts 'spent[red]:zero:': a number" in shown and " age:one: " in shown


def test_unseen_categories_are_a_warning(folder, tmp_path):
    result = run("predict", folder / "c.safetensors", csv(tmp_path, people().assign(city="Bonn")))
    assert "'Bonn' is not among the categories" in result.stderr
    assert len(result.stdout.splitlines()) == 301


@pytest.mark.parametrize(
    ("change", "options", "match"),
    [
        (None, {"--target": "bought"}, "--target: expected one of id, age"),
        (None, {"--target": "planet"}, "at least two different values, got only 'Earth'"),
        (None, {"--target": "id"}, "expected classes with several rows each"),
        (None, {"--task": "sort"}, "--task: expected classify"),
        (None, {"--task": "regress"}, "expected numbers to regress on"),
        (None, {"--hidden": "64;32"}, "--hidden: expected widths"),
        (None, {"--hidden": "0"}, "--hidden: expected widths"),
        (None, {"--hidden": "8,,4"}, "--hidden: expected widths"),
        (None, {"--hidden": "99999999999"}, "memory: expected enough, got Unable to allocate"),
        (
            lambda f: f.head(12).assign(buys=[*"abcdefghijkk"]),
            {},
            "classes with several rows each, got 11 in 12 rows, 3",
        ),
        (None, {"--activation": "reelu"}, "--activation: expected one of"),
        (None, {"--test-size": "2"}, "--test-size: expected a fraction"),
        (None, {"-o": "model.pickle"}, "--output: expected a name"),
        (None, {"-o": "no/such/folder/m.npz"}, "--output: expected a folder"),
        (None, {"-o": FOLDER}, "--output: expected the name of a file, got the folder"),
        (None, {"--epochs": "0"}, "Invalid value for '--epochs'"),
        (None, {"--lr": "-1"}, "Invalid value for '--lr'"),
        (None, {"--dropout": "2"}, "Invalid value for '--dropout'"),
        (None, {"--seed": "-1"}, "Invalid value for '--seed'"),
        (lambda f: f[["buys"]], {}, "expected fields separated by a comma, semicolon, tab or bar; got 'buys'"),
        (lambda f: f.rename(columns={"id": "age"}), {}, "expected different names of columns, got 'age' twice"),
        (lambda f: f.head(5), {}, "at least 10 rows"),
        (lambda f: f[["planet", "buys"]], {}, "planet: always the same"),
    ],
)
def test_wrong_training_is_one_line(tmp_path, change, options, match):
    frame = people() if change is None else change(people())
    (tmp_path / FOLDER).mkdir()
    options = {"--target": "buys", "-o": tmp_path / "m.npz", **options}
    options["-o"] = tmp_path / options["-o"] if options["-o"] == FOLDER else options["-o"]
    result = run("train", csv(tmp_path, frame), *(part for pair in options.items() for part in pair), code=2)
    assert match in result.stderr
    assert not (tmp_path / "m.npz").exists()


def test_wrong_files_are_one_line(folder, tmp_path):
    hm.save(hm.MLP([2, 1]), tmp_path / "alone.npz")
    (tmp_path / "text.csv").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "empty.csv").write_text("")
    newer = json.dumps({**hm.to_config(hm.MLP([2, 1])), "version": 99})
    np.savez(tmp_path / "newer.npz", **{hm.files.DOCUMENT: np.array(newer)})
    data = folder / "data.csv"
    for arguments, match in [
        (["predict", tmp_path / "none.npz", data], "none.npz"),
        (["predict", data, data], "data.csv"),
        (["predict", tmp_path / "alone.npz", data], "expected a model that handmade train wrote"),
        (["show", tmp_path / "newer.npz"], "install a newer handmade"),
        (["predict", folder / "c.safetensors", tmp_path / "text.csv"], "expected text in UTF-8"),
        (["predict", folder / "c.safetensors", tmp_path / "empty.csv"], "expected a CSV file"),
        (["export", folder / "c.safetensors", "--to", "java"], "--to: expected one of onnx, c, torch"),
    ]:
        assert match in run(*arguments, code=2).stderr


def test_a_file_that_is_read_is_not_replaced(folder, tmp_path):
    data, model = csv(tmp_path, people()), tmp_path / "m.npz"
    model.write_bytes((folder / "c.safetensors").read_bytes())
    before = [data.read_bytes(), model.read_bytes()]
    for arguments in (["predict", model, data, "-o", data], ["predict", model, data, "-o", tmp_path / "." / "m.npz"]):
        assert "--output: expected another file than" in run(*arguments, code=2).stderr
    assert "--output: expected another" in run("export", model, "--to", "c", "-o", model, code=2).stderr
    (tmp_path / "table.npz").write_bytes(data.read_bytes())
    options = ["--target", "buys", "-o", tmp_path / "table.npz"]
    assert "--output: expected another" in run("train", tmp_path / "table.npz", *options, code=2).stderr
    assert [data.read_bytes(), model.read_bytes()] == before


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-30], lambda b: b[:-8] + bytes(8), lambda b: b[:40] + b[90:], lambda b: b"a"]
)
def test_a_damaged_compressed_table_is_one_line(tmp_path, damage):
    """An end of the file that comes too soon is no interruption, and no verdict."""
    (tmp_path / "t.csv.gz").write_bytes(damage(gzip.compress(csv(tmp_path, people()).read_bytes())))
    result = run("train", tmp_path / "t.csv.gz", "--target", "buys", "-o", tmp_path / "m.npz", code=2)
    assert "t.csv.gz: expected a whole compressed file, got " in result.stderr and len(result.stderr.splitlines()) == 1


def test_rows_without_a_target_are_counted(tmp_path):
    frame = people(40)
    frame.loc[[3, 5], "buys"] = None
    options = ["--target", "buys", "-o", tmp_path / "m.npz", "--hidden", "4", "--epochs", "1", "--quiet"]
    missing = frame["buys"].isna().sum()
    assert f"to test on, {missing} without a value left out" in run("train", csv(tmp_path, frame), *options).stdout


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("age,buys\n1,2\n".encode("utf-16"), "UTF-16"),
        ("age,größe\n1,2\n".encode("utf-16"), "UTF-16"),
        ("\ufeffage,buys\n1,2\n".encode("utf-16-be"), "UTF-16"),
        ("age,buys\n1,2\n".encode("utf-16-le"), "UTF-16"),  # without the mark
        ("age,buys\n1,2\n".encode("utf-32"), "UTF-32"),
        ("age,buys\n1,2\n".encode("utf-32-be"), "UTF-32"),
        ("age,größe\n1,2\n".encode("latin-1"), "byte 0xf6"),
        (b"age,buys\n1,\0\n", "NUL bytes"),
    ],
)
def test_tables_in_another_encoding_are_told_so(tmp_path, content, found):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(
        ValueError, match=rf"t\.csv: expected text in UTF-8, got {found}; save the file as text in UTF-8"
    ):
        tables.read_table(tmp_path / "t.csv")


@pytest.mark.parametrize(
    "change",
    [
        {"columns": []},
        {"columns": [{"kind": "pickle"}]},
        {"columns": [{"kind": "number", "name": "a", "fill": 0, "mean": 0, "scale": 0}]},
        {"columns": [{"kind": "number", "name": "a", "fill": "x", "mean": 0, "scale": 1}]},
        {"columns": [{"kind": "number", "name": 5, "fill": 0, "mean": 0, "scale": 1}]},
        {"columns": [{"kind": "categories", "name": "a", "fill": "x", "categories": "abc"}]},
        {"columns": [{"kind": "number", "name": "a", "surplus": 0}]},
        {"classes": ["only one"]},
        {"classes": [1, 2]},
        {"classes": 2},
        {"mean": "x"},
        {"scores": [1]},
        {"target": None},
        {"surplus": 1},
    ],
    ids=str,
)
def test_impossible_tables_in_a_model_are_refused(folder, tmp_path, change):
    table = hm.files.read_metadata(folder / "c.safetensors")["table"]
    hm.save(hm.load(folder / "c.safetensors"), tmp_path / "m.npz", metadata={"table": {**table, **change}})
    assert "Error: " in run("predict", tmp_path / "m.npz", folder / "data.csv", code=2).stderr


def test_a_missing_package_is_named_by_every_command(folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(SystemExit) as stop:
        main(["predict", str(folder / "c.safetensors"), str(folder / "data.csv")])
    message = "handmade: expected the package pandas; install it with pip install 'handmade[cli]'\n"
    assert (stop.value.code, capsys.readouterr().err) == (2, message)


def test_optional_packages_are_named_by_export(folder, tmp_path, monkeypatch):
    for to, package in (("onnx", "onnx"), ("torch", "torch")):
        monkeypatch.setitem(sys.modules, package, None)
        assert "pip install" in run("export", folder / "c.safetensors", "--to", to, "-o", tmp_path / "x", code=2).stderr
    assert not (tmp_path / "x").exists()


@pytest.mark.filterwarnings("ignore:max_iter")
@pytest.mark.parametrize("seed", range(4))
def test_a_class_of_one_row_is_trained_on(tmp_path, seed):
    x = np.linspace(-1, 1, 30)
    labels = np.where(x < 0, "b", "c").astype(object)
    labels[20] = "a"  # the first in order: without it in training, the other classes would take its place
    model, report, _ = models.train(
        as_text(pd.DataFrame({"x": x, "t": labels})), "t", "classify", hidden=[4], test_size=0.2, seed=seed,
        announce=lambda *_: None, max_iter=1,
    )  # fmt: skip
    assert model.network.width_after(1) == 3
    assert np.shape(report.confusion) == (3, 3)
    assert np.sum(report.confusion[0]) == 0


@pytest.mark.filterwarnings("ignore:max_iter")
@pytest.mark.parametrize("exponent", [900, -900])
def test_numbers_of_any_size_are_standardized(exponent):
    x = np.random.default_rng(0).normal(size=(60, 2))
    trained = []
    for values in (x, np.ldexp(x, exponent)):  # powers of 2 change no bit
        frame = as_text(pd.DataFrame(values, columns=["x", "t"]))
        trained.append(
            models.train(frame, "t", "regress", hidden=[4], test_size=0.2, seed=0, announce=lambda *_: None, max_iter=1)
        )
    (plain, expected, _), (model, report, _) = trained
    assert np.ldexp(plain.columns[0].scale, exponent) == model.columns[0].scale
    assert (plain.network.theta == model.network.theta).all()
    for name in ("root mean squared error", "without a model"):
        assert np.ldexp(expected.scores[name], exponent) == report.scores[name]


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX's pipes and signals")
def test_pipes_that_are_closed_are_no_tracebacks(folder, tmp_path):
    data = csv(tmp_path, pd.concat([people()] * 100))
    command = f"{sys.executable} -m handmade predict {folder / 'c.safetensors'}"
    left = subprocess.run(f"{command} {data} | head -n 1", shell=True, capture_output=True, text=True)
    assert left.stderr == "" and len(left.stdout.splitlines()) == 1
    closed = subprocess.run(f"{command} - <&-", shell=True, capture_output=True, text=True)
    assert closed.returncode == 2 and closed.stderr.startswith("Error: -: expected a table in standard input, got none")


def test_an_output_without_the_letters_is_told_the_cure(tmp_path):
    csv(tmp_path, people().assign(buys=np.where(people()["buys"] == "yes", "да", "нет")))
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "handmade", "train", "wrong.csv", "--target", "buys", "--epochs", "1"]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 2
    assert "Error: output: expected an encoding that has " in run.stderr and "set PYTHONIOENCODING" in run.stderr


def test_an_interrupted_training_says_so_and_saves_the_model(tmp_path, monkeypatch):
    from handmade.estimators import MLPClassifier

    def interrupt(model):
        if model.n_iter_ == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(MLPClassifier, "_called_after_epochs", lambda self: [interrupt])
    result = run("train", csv(tmp_path, people()), "--target", "buys", "-o", tmp_path / "m.npz", "-q")
    assert "Warning: training interrupted" in result.stderr and "3 epochs; saved" in result.stdout
    assert (tmp_path / "m.npz").exists()
