"""The command: from a CSV file to a model, predictions, exports and checks; wrong input is one line and exit code 2."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys

import numpy as np
import pytest

import handmade as hm

pd = pytest.importorskip("pandas")
testing = pytest.importorskip("typer.testing")

from sklearn.compose import ColumnTransformer  # noqa: E402  # after the packages that may be missing
from sklearn.impute import SimpleImputer  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import OneHotEncoder, StandardScaler  # noqa: E402

from handmade.commands import cli, columns, models, tables  # noqa: E402
from tests.course import write_course  # noqa: E402


def run(*arguments, code: int = 0) -> testing.Result:
    result = testing.CliRunner().invoke(cli.app, [str(a) for a in arguments])
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    return result


def people(count: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    age, income = rng.normal(40, 10, count), rng.normal(3, 1, count)
    city, member = rng.choice(["Rome", "Oslo", "Lima"], count), rng.random(count) < 0.5
    buys = np.where(age + 8 * (city == "Rome") + 3 * income > 52, "yes", "no")
    frame = pd.DataFrame({"id": [f"u{i}" for i in range(count)], "age": age, "city": city, "member": member})
    frame = frame.assign(income=income, planet="Earth", spent=2 * age + 30 * (city == "Oslo"), buys=buys)
    frame.loc[::17, "age"] = np.nan
    frame.loc[::23, "city"] = None
    frame.loc[::29, "buys"] = None
    return frame


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with data.csv, and a classifier and a regressor trained on it."""
    folder = tmp_path_factory.mktemp("command")
    people().to_csv(folder / "data.csv", index=False)
    for target, name in (("buys", "c.safetensors"), ("spent", "r.npz")):
        run(
            "train",
            folder / "data.csv",
            "--target",
            target,
            "-o",
            folder / name,
            "--hidden",
            "16",
            "--quiet",
            "--lr",
            "0.01",
        )
    return folder


def table(folder, name):
    """Return the file as the commands read it: cells of text."""
    return tables.read_table(folder / name)[0]


def as_text(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table that a file of this frame holds."""
    text = frame.astype(object).map(lambda value: None if pd.isna(value) else str(value)).astype(object)
    return text.where(text.notna(), None)


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
    match = (
        f"t.csv, line {extra[0] + 1}: expected at most 3 cells, a name for each .*, got 4 separated by ','; name every"
    )
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
    command = f"cat {folder / 'data.csv'} | {sys.executable} -m handmade predict {folder / 'r.npz'} /dev/stdin"
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
        ("a\n0,5\n", "line 2: expected at most 1 cell, .* got 2 separated by ','"),
        ("a;b\n1;2\n\n1;2;3;4\n", "line 4: expected at most 2 cells, .* got 4 separated by ';'"),
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


# ---- other subcommands ---------------------------------------------------------------------------------------------


def test_show_lists_layers_and_inputs(folder):
    text = run("show", folder / "c.safetensors").stdout
    assert "Dense(8, 16)" in text and "city=Oslo" in text and "predicts 'buys': no, yes" in text
    shown = json.loads(run("show", folder / "c.safetensors", "--json").stdout)
    assert shown["inputs"][:3] == ["age", "city=Lima", "city=Oslo"] and shown["network"]["format"] == "handmade"
    assert "predicts 'spent': a number" in run("show", folder / "r.npz").stdout


def test_networks_without_a_table_are_shown(tmp_path):
    hm.save(hm.MLP([2, 1]), tmp_path / "n.npz")
    assert "Dense(2, 1)" in run("show", tmp_path / "n.npz").stdout
    run("export", tmp_path / "n.npz", "--to", "c")
    assert "network_predict" in (tmp_path / "n.h").read_text()


def test_models_are_exported(folder, tmp_path):
    torch = pytest.importorskip("torch")
    for to, name in (("c", "m.h"), ("onnx", "m.onnx"), ("torch", "m.pt")):
        answer = json.loads(run("export", folder / "c.safetensors", "--to", to, "-o", tmp_path / name, "--json").stdout)
        assert answer == {"file": str(tmp_path / name), "format": to}
    state = torch.load(tmp_path / "m.pt", weights_only=True)
    assert (hm.from_torch(state, activation="relu").theta == hm.load(folder / "c.safetensors").theta).all()


FUNCTIONS = """
import numpy as np, handmade as hm

def right(theta):
    return float(theta @ theta), 2 * theta

def wrong(theta):
    return float(theta @ theta), theta

def network():
    return (hm.MLP([2, 3, 2], "tanh", rng=0), *hm.data.xor())

def nothing():
    return None

def broken(theta):
    return theta.no_such_attribute

def single(theta):
    return 1.0

number = 3
"""


def test_check_exits_with_its_verdict(tmp_path, monkeypatch):
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "functions.py"
    assert "FAIL" not in run("check", f"{file}:right", "--size", 5).stdout
    assert "FAIL" in run("check", f"{file}:wrong", "--size", 5, code=1).stdout
    answer = json.loads(run("check", "functions:network", "--json").stdout)
    assert answer == {"passed": True, "checked": 17, "wrong": 0}
    for arguments, match in [
        ([f"{file}:right"], "--size"),
        ([f"{file}:nothing"], "expected it to return"),
        ([f"{file}:single", "--size", 2], "expected it to return (value, gradient), got 1.0"),
        ([f"{file}:broken", "--size", 2], "broken: AttributeError: 'numpy.ndarray' object has no attribute"),
        ([f"{file}:right", "--size", 0], "Invalid value for '--size'"),
        ([f"{file}:number"], "expected a function 'number'"),
        ([f"{file}:gone"], "expected a function 'gone'"),
        (["functions"], "module:function"),
        (["no_such_module:f"], "no_such_module"),
        (["none.py:f"], "none.py"),
    ]:
        assert match in run("check", *arguments, code=2).stderr


def test_grade_is_the_command_of_grading(tmp_path):
    write_course(tmp_path)
    assert run("grade", tmp_path / "nowhere.py", tmp_path / "submissions", code=2).stderr.startswith("error: ")
    arguments = [tmp_path / "exercise.py", tmp_path / "submissions" / "ada.py", "--quiet"]
    assert "ada.py        4   4  passed" in run("grade", *arguments).stdout
    assert run("grade", tmp_path / "exercise.py", tmp_path / "submissions" / "oresme.py", "--quiet", code=1).stdout


def test_config_shows_versions():
    assert "numpy" in run("config").stdout.lower()
    assert np.__version__ in json.loads(run("config", "--json").stdout).values()


def test_module_runs_and_explains_itself():
    shown = run_module("--help")
    assert shown.returncode == 0
    for command in ("train", "predict", "check", "export", "grade", "show", "config"):
        assert command in shown.stdout
        assert run(command, "--help").stdout.lower().count("usage") == 1
    assert run_module("fly").returncode == 2


def run_module(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "handmade", *arguments], capture_output=True, text=True)


def test_missing_packages_are_named(monkeypatch, capsys):
    from handmade.commands import main

    monkeypatch.delitem(sys.modules, "handmade.commands.cli")
    monkeypatch.setitem(sys.modules, "typer", None)
    with pytest.raises(SystemExit) as stop:
        main(["config"])
    assert stop.value.code == 2 and "pip install 'handmade[cli]'" in capsys.readouterr().err


# ---- wrong input ---------------------------------------------------------------------------------------------------


def csv(folder, frame: pd.DataFrame):
    frame.to_csv(folder / "wrong.csv", index=False)
    return folder / "wrong.csv"


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


def test_index_that_pandas_writes_is_left_out(tmp_path):
    people().to_csv(tmp_path / "indexed.csv")
    rows = np.random.default_rng(0).permutation(300)[:100]
    _, left_out = columns.learn_columns(table(tmp_path, "indexed.csv"), rows=rows)
    assert left_out["Unnamed: 0"] == "no name; it counts the rows"


def test_wide_tables_are_shown_in_part():
    many = [columns.Number(f"[red]{i}", 0.0, 0.0, 1.0) for i in range(2000)]
    table = cli.column_table(many, {"text": "text with 9 different values"})
    assert table.row_count == cli.SHOWN + 2
    assert list(table.columns[0].cells)[-2:] == ["1960 more", "1 more"]
    assert next(iter(table.columns[0].cells)) == r"\[red]0"


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
        (
            lambda f: f.head(12).assign(buys=[*"abcdefghijkk"]),
            {},
            "classes with several rows each, got 11 in 12 rows, 3",
        ),
        (None, {"--activation": "reelu"}, "--activation: expected one of"),
        (None, {"--test-size": "2"}, "--test-size: expected a fraction"),
        (None, {"-o": "model.pickle"}, "--output: expected a name"),
        (None, {"-o": "no/such/folder/m.npz"}, "--output: expected a folder"),
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
    options = {"--target": "buys", "-o": tmp_path / "m.npz", **options}
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
