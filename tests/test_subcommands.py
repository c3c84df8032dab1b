"""The commands show, export, check, grade and config."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from people import run, trained_folder

import handmade as hm

pd = pytest.importorskip("pandas")
testing = pytest.importorskip("typer.testing")


from tests.course import write_course  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return trained_folder(tmp_path_factory.mktemp("command"))


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

def exits():
    raise SystemExit(0)

number = 3
"""


def test_check_exits_with_its_verdict(tmp_path, monkeypatch):
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "functions.py"
    assert "FAIL" not in run("check", f"{file}:right", "--size", 5).stdout
    assert "FAIL" in run("check", f"{file}:wrong", "--size", 5, code=1).stdout
    answer = json.loads(run("check", "functions:network", "--json").stdout)
    assert answer == {"passed": True, "checked": 17, "wrong": 0, "undecided": 0}
    for arguments, match in [
        ([f"{file}:right"], "--size"),
        ([f"{file}:nothing"], "expected it to return"),
        ([f"{file}:single", "--size", 2], "expected it to return (value, gradient), got 1.0"),
        ([f"{file}:broken", "--size", 2], "broken: AttributeError: 'numpy.ndarray' object has no attribute"),
        ([f"{file}:exits"], "exits: SystemExit: 0"),
        ([f"{file}:right", "--size", 0], "Invalid value for '--size'"),
        ([f"{file}:number"], "expected a function 'number'"),
        ([f"{file}:gone"], "expected a function 'gone'"),
        (["functions"], "module:function"),
        (["no_such_module:f"], "no_such_module:f: ModuleNotFoundError"),
        (["none.py:f"], "none.py"),
    ]:
        assert match in run("check", *arguments, code=2).stderr


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("return 1 / 0", "f: ZeroDivisionError: division by zero (line 3 of mine.py)"),
        ("return lambda t: t.gone, [1.0], [1.0]", "has no attribute 'gone' (line 3 of mine.py)"),
        ("return lambda t: np.linalg.inv(t * np.zeros((1, 1))), [1.0], [1.0]", "Singular matrix (line 3 of mine.py)"),
        ("return lambda t: 1 / float(t[0] == 1), [1.0], [1.0]", "for 1 (line 3 of mine.py)"),
        ("return lambda t: 1.0, [1.0], [1.0, 2.0]", "Error: gradient: expected the shape of theta (1,), got (2,)"),
        ("import no_such_module", "f: ModuleNotFoundError: No module named 'no_such_module' (line 3 of mine.py)"),
        ("return return", "f: SyntaxError: invalid syntax (mine.py, line 3)"),
    ],
)
def test_an_error_of_the_checked_code_is_one_line(tmp_path, monkeypatch, source, said):
    (tmp_path / "mine.py").write_text(f"import numpy as np\ndef f():\n    {source}\n")
    monkeypatch.chdir(tmp_path)
    shown = run("check", "mine.py:f", code=2)
    (line,) = shown.stderr.splitlines()
    assert line.endswith(said)
    assert not shown.stdout


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
