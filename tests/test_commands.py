"""The commands train and predict: from a CSV file to a model and its predictions."""

from __future__ import annotations

import io
import json
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
from people import as_text, csv, people, run, table, trained_folder

import handmade as hm

pd = pytest.importorskip("pandas")
testing = pytest.importorskip("typer.testing")

from sklearn.compose import ColumnTransformer  # noqa: E402
from sklearn.impute import SimpleImputer  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import OneHotEncoder, StandardScaler  # noqa: E402

from handmade.commands import cli, columns, models, tables  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return trained_folder(tmp_path_factory.mktemp("command"))


@pytest.mark.parametrize(("delimiter", "decimal"), [(",", "."), (";", ","), (";", "."), ("\t", ","), ("|", ".")])
def test_delimiter_and_decimals_are_found(tmp_path, delimiter, decimal):
    frame = pd.DataFrame({"net, in k": [1.5, -2.0, 1250.25], "n": [3, 4, 5], "text": ["a, b", "c; 1,5", "d|e\tf"]})
    frame.to_csv(tmp_path / "t.csv", sep=delimiter, decimal=decimal, index=False, encoding="utf-8-sig")
    found, marks = tables.read_table(tmp_path / "t.csv")
    assert marks == ("." if delimiter == "," else ".,") and list(found.index) == [2, 3, 4]
    mark = columns.decimal_mark(found, marks)
    assert mark == decimal
    for name in ("net, in k", "n"):
        np.testing.assert_array_equal(columns.Number.numbers(found[name], mark), frame[name])
    assert list(found["text"]) == list(frame["text"])


def test_decimals_may_come_late_and_files_be_compressed(tmp_path):
    frame = pd.DataFrame({"a": [5.0] * 40 + [5.5], "text": ["x"] * 41})
    (tmp_path / "late.csv").write_text("a;text\n" + "5;x\n" * 40 + "5,5;x\n")
    frame.to_csv(tmp_path / "packed.csv.gz", index=False)
    for name in ("late.csv", "packed.csv.gz"):
        found, marks = tables.read_table(tmp_path / name)
        numbers = columns.Number.numbers(found["a"], columns.decimal_mark(found, marks))
        np.testing.assert_array_equal(numbers, frame["a"])


@pytest.mark.parametrize("extra", [[1], [1, 2, 3]])
def test_more_fields_than_names_are_refused(tmp_path, extra):
    lines = [f"{i},{i},{i}" + ",9" * (i in extra) for i in (1, 2, 3)]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,c", *lines]))
    match = f"t.csv, line {extra[0] + 1}: expected 3 cells, one for each .*, got 4 separated by ','; name every"
    with pytest.raises(ValueError, match=match):
        table(tmp_path, "t.csv")


# ---- train and predict ---------------------------------------------------------------------------------------------


def test_training_reports_columns_and_scores(folder, tmp_path):
    options = [
        "train",
        folder / "data.csv",
        "--target",
        "buys",
        "-o",
        tmp_path / "m.npz",
        "--hidden",
        "16",
        "--lr",
        "0.01",
    ]
    shown = json.loads(run(*options, "--json").stdout)
    assert shown["task"] == "classify" and shown["classes"] == ["no", "yes"]
    assert {c["name"]: c["kind"] for c in shown["columns"]} == {
        "age": "number", "city": "categories", "member": "categories", "income": "number", "spent": "number",
    }  # fmt: skip
    assert shown["test"]["accuracy"] > max(0.85, shown["test"]["most frequent class"])
    assert np.sum(shown["confusion"]) == shown["test"]["rows"]
    text = run(*options).stdout
    assert "left out" in text and "always the same" in text and "different values" in text
    assert "true \\ predicted" in text and "handmade predict" in text
    assert run(*options, "--json").stdout == json.dumps(shown, indent=2) + "\n"  # the same seed, the same model


def test_predictions_are_those_of_the_model(folder):
    frame = people()
    shown = pd.read_csv(io.StringIO(run("predict", folder / "c.safetensors", folder / "data.csv", "--proba").stdout))
    known = frame["buys"].notna()
    assert (shown["buys"] == frame["buys"])[known].mean() > 0.9
    np.testing.assert_allclose(shown[["P(no)", "P(yes)"]].sum(axis=1), 1)
    numbers = pd.read_csv(io.StringIO(run("predict", folder / "r.npz", folder / "data.csv").stdout))
    assert hm.metrics.r2_score(numbers["spent"].to_numpy(), frame["spent"].to_numpy()) > 0.9


def test_columns_are_found_by_name(folder, tmp_path):
    frame = people().drop(columns=["id", "buys", "planet"])
    frame[frame.columns[::-1]].assign(surplus=1).to_csv(tmp_path / "other.csv", index=False)
    same = [
        run("predict", folder / "c.safetensors", data).stdout for data in (folder / "data.csv", tmp_path / "other.csv")
    ]
    assert same[0] == same[1]


def test_data_may_come_from_a_pipe(folder):
    content = (folder / "data.csv").read_bytes()
    result = testing.CliRunner().invoke(cli.app, ["predict", str(folder / "r.npz"), "-"], input=content)
    assert result.stdout == run("predict", folder / "r.npz", folder / "data.csv").stdout
    data, model = shlex.quote(str(folder / "data.csv")), shlex.quote(str(folder / "r.npz"))
    command = f"cat {data} | {shlex.quote(sys.executable)} -m handmade predict {model} /dev/stdin"
    assert subprocess.run(command, shell=True, capture_output=True, text=True).stdout == result.stdout


@pytest.mark.parametrize("target", ["buys", "spent"])
def test_ten_rows_are_enough(tmp_path, target):
    frame = people(400).dropna().head(10)
    run("train", csv(tmp_path, frame), "--target", target, "-o", tmp_path / "m.npz", "--quiet", "--epochs", 2)


def test_probabilities_of_a_number_are_refused(folder, tmp_path):
    for options, match in (["--proba"], "--proba: expected a model that classifies"), (["-o", "no/p.csv"], "a folder"):
        assert match in run("predict", folder / "r.npz", folder / "data.csv", *options, code=2).stderr


def test_output_goes_to_a_file_or_json(folder, tmp_path):
    run("predict", folder / "c.safetensors", folder / "data.csv", "-o", tmp_path / "p.csv")
    frame = pd.read_csv(tmp_path / "p.csv")
    answer = json.loads(run("predict", folder / "c.safetensors", folder / "data.csv", "--json").stdout)
    assert [row["buys"] for row in answer["predictions"]] == list(frame["buys"]) and answer["target"] == "buys"


def test_inputs_equal_those_of_scikit_learn():
    frame = as_text(people().drop(columns=["id", "planet", "buys"]))
    learnt, left_out = columns.learn_columns(frame)
    assert left_out == {}
    X, warnings = columns.inputs(columns.columns_from_json(columns.columns_to_json(learnt)), frame)
    standardized = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    categories = make_pipeline(
        SimpleImputer(strategy="most_frequent", missing_values=None), OneHotEncoder(sparse_output=False)
    )
    steps = [(c.name, categories if c.kind == "categories" else standardized, [c.name]) for c in learnt]
    numbers = {c.name: columns.Number.numbers(frame[c.name]) for c in learnt if c.kind == "number"}
    expected = ColumnTransformer(steps).fit_transform(frame.assign(**numbers))
    np.testing.assert_allclose(X, expected, rtol=1e-12, atol=1e-12)
    assert warnings == []


# Columns of a training file, and rows for prediction: the first two alone and with a third that pandas would read as
# another type.
TEXTS = {
    "truth": (["true", "false"], "unknown"),
    "shouted truth": (["TRUE", "FALSE"], "maybe"),
    "codes": (["01", "02", "2A"], "2A"),
    "numbers and words": (["1", "2", "many"], "many"),
    "floats and words": (["1.0", "2.0", "x"], "x"),
    "large": (["9" * 25, "8" * 25, "n/k"], "n/k"),
    "dates and words": (["2024-01-01", "2024-01-02", "never"], "never"),
    "exponents": (["1e3", "2E3", "e"], "e"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_row_never_changes_another_row(tmp_path, name):
    cells, third = TEXTS[name]
    rows = [f"{i % 7},{cells[i % len(cells)]},{'yes' if i % len(cells) else 'no'}" for i in range(120)]
    (tmp_path / "t.csv").write_text("\n".join(["n,code,y", *rows]))
    run("train", tmp_path / "t.csv", "--target", "y", "-o", tmp_path / "m.npz", "--epochs", 60, "--quiet")
    assert all(isinstance(column, columns.Categories) for column in models.Model.load(tmp_path / "m.npz").columns[1:])
    answers = []
    for extra in ([], [third], [""], ["something new"], ["0"]):
        lines = ["n,code", *(f"1,{cell}" for cell in [*cells[:2], *extra])]
        (tmp_path / "p.csv").write_text("\n".join(lines))
        answers.append(run("predict", tmp_path / "m.npz", tmp_path / "p.csv").stdout.split()[1:3])
    assert answers == [["no", "yes"]] * 5


@pytest.mark.parametrize("labels", [("01", "02"), ("true", "false"), ("1.0", "2.50"), ("9" * 22, "8" * 22)])
def test_classes_are_predicted_as_they_stand(tmp_path, labels):
    rows = [f"{i % 2}, {labels[i % 2]} " for i in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["n,y", *rows]))
    options = ["--task", "classify", "--epochs", 60, "--quiet"]
    run("train", tmp_path / "t.csv", "--target", "y", "-o", tmp_path / "m.npz", *options)
    assert run("predict", tmp_path / "m.npz", tmp_path / "t.csv").stdout.split() == ["y", *labels * 30]


@pytest.mark.parametrize("big", [2**63, 10**20, 10**40, -(2**64)])
def test_large_integers_are_numbers(tmp_path, big):
    rows = [f"{big + i * abs(big) // 100},{i / 100}" for i in range(80)]
    (tmp_path / "t.csv").write_text("\n".join(["a,y", *rows]))
    for target, other in (("a", "y"), ("y", "a")):
        options = ["--target", target, "-o", tmp_path / "m.npz", "--epochs", 2, "--json"]
        shown = json.loads(run("train", tmp_path / "t.csv", *options).stdout)
        assert shown["task"] == "regress" and shown["columns"] == [{"name": other, "kind": "number", "missing": 0}]
    X, _ = hm.load_csv(tmp_path / "t.csv")
    np.testing.assert_array_equal(X[:, 0], columns.Number.numbers(table(tmp_path, "t.csv")["a"]))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("age,city\n1,x\nfoo,x\n", 3),
        ("age,city\n1,x\n\n\nfoo,x\n", 5),
        ('age,city\n1,"x\ny"\nfoo,x\n', 4),
        ('"age",city\r\n1,x\r\n  \r\nfoo,x\r\n', 4),
        ("\n\nage,city\nfoo,x\n", 4),
        ('age,"ci\nty"\n1,x\nfoo,x\n', 4),
        ("age,city\r1,x\r\rfoo,x", 4),
    ],
)  # fmt: skip
def test_errors_name_the_line_of_the_file(tmp_path, text, line):
    (tmp_path / "t.csv").write_bytes(text.encode())
    with pytest.raises(ValueError, match=f"column 'age': expected numbers, got 'foo' in line {line}$"):
        columns.inputs([columns.Number("age", 0.0, 0.0, 1.0)], table(tmp_path, "t.csv"))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("a\n0,5\n", "line 2: expected 1 cell, .* got 2 separated by ','"),
        ("a;b\n1;2\n\n1;2;3;4\n", "line 4: expected 2 cells, .* got 4 separated by ';'"),
        ("a,b,c\n1,2,3\n1,2\n", "line 3: expected 3 cells, .* got 2 separated by ','; write missing cells as empty"),
        ("a\tb\n1\n1\t2\n", r"line 2: expected 2 cells, .* got 1 separated by '\\t'"),
        ('a|b|c\n1|"2|3"\n', "line 2: expected 3 cells, .* got 2"),
        ('a,b\n1,2\n1,"2\n3,4\n', "line 3: expected every quoted cell closed by a double quote"),
    ],
)
def test_ragged_rows_are_named_with_the_delimiter(tmp_path, text, match):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError, match=match):
        table(tmp_path, "t.csv")


def test_decimals_are_read_as_in_training(tmp_path):
    rows = [f"{i / 4:.2f};{i / 2:.2f}".replace(".", ",") for i in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["a;y", *rows]))
    run("train", tmp_path / "t.csv", "--target", "y", "-o", tmp_path / "m.npz", "--epochs", 2, "--quiet")
    answers = set()
    for text in ("a;b\n2,5;1.5\n7;x", "a,b\n2.5,1\n7,1", "b\ta\n1.5\t2,5\n1.5\t7", "a\n 2.5 \n7"):
        (tmp_path / "p.csv").write_text(text)
        answers.add(run("predict", tmp_path / "m.npz", tmp_path / "p.csv").stdout)
    assert len(answers) == 1
    (tmp_path / "p.csv").write_text("a;b\n2,5;1\n3,5;1\n1.250;1\n")
    assert (
        "got '1.250' in line 4; mark decimals by ','"
        in run("predict", tmp_path / "m.npz", tmp_path / "p.csv", code=2).stderr
    )


def test_models_of_the_first_version_load(folder, tmp_path):
    found = hm.files.read_metadata(folder / "r.npz")["table"]
    assert found.pop("version") == 2
    network = hm.load(folder / "r.npz")
    hm.save(network, tmp_path / "old.npz", metadata={"table": found})
    match = "column 'member' as it stands in the file, got truth values, .*; train the model again"
    assert re.search(match, run("predict", tmp_path / "old.npz", folder / "data.csv", code=2).stderr)
    (member,) = [column for column in found["columns"] if column["name"] == "member"]
    member |= {"categories": ["no", "yes "], "fill": "yes "}
    hm.save(network, tmp_path / "old.npz", metadata={"table": found})
    assert "no, yes)" in run("predict", tmp_path / "old.npz", folder / "data.csv").stderr
    hm.save(network, tmp_path / "new.npz", metadata={"table": {**found, "version": 3}})
    assert "install a newer handmade" in run("predict", tmp_path / "new.npz", folder / "data.csv", code=2).stderr


def test_task_is_guessed_from_the_target():
    guesses = ["a", "b"], ["true", "false"], ["0", "1"], ["1.0", None], ["01", "02"], ["2A", *map(str, range(90))]
    assert {models.guess_task(pd.Series(cells, dtype=object)) for cells in guesses} == {"classify"}
    whole = list(map(str, range(50))), [str(10**20 + i * 10**5) for i in range(50)]
    assert {models.guess_task(pd.Series(cells, dtype=object)) for cells in (["0.5", "1"], *whole)} == {"regress"}
