"""Documents: their examples run, and the names, files, links and commands that they mention exist."""

from __future__ import annotations

import contextlib
import doctest
import importlib
import importlib.util
import inspect
import json
import os
import pkgutil
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import handmade as hm
from tests.exports import needs_cc

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
DOCUMENTS = {
    path.relative_to(ROOT).as_posix(): path.read_text() for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")]
}
EXAMPLES = {name: len(re.findall(r"^>>> ", text, re.MULTILINE)) for name, text in DOCUMENTS.items()}
NEEDS_TORCH = {"docs/conventions.md", "docs/files.md", "docs/pytorch.md"}
MODULES = ["handmade", *(module.name for module in pkgutil.walk_packages(hm.__path__, "handmade."))]
REFERENCE = [f"reference.{module.name}" for module in pkgutil.iter_modules([str(ROOT / "reference")])]

# The functions that the README shows as "the page", word for word.
PAGE = {
    hm.Sequential: (hm.Sequential.forward, hm.Sequential.backward),
    hm.Dense: (hm.Dense.forward, hm.Dense.backward),
    hm.Momentum1986: (hm.Momentum1986._update,),
}


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run_when_pasted(name):
    # After `import numpy as np, handmade as hm`, and nothing else.
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(verbose=False)
    for example in doctest.DocTestFinder().find(module, name, globs={"np": np, "hm": hm}):
        runner.run(example)
    assert runner.failures == 0


@pytest.mark.parametrize("name", REFERENCE)
def test_examples_in_reference_run(name):
    pytest.importorskip("torch").set_num_threads(1)
    assert doctest.testmod(importlib.import_module(name), extraglobs={"np": np, "hm": hm}).failed == 0


@pytest.mark.parametrize("name", [name for name, count in EXAMPLES.items() if count])
def test_examples_in_documents_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some write files
    if name in NEEDS_TORCH:
        pytest.importorskip("torch").set_num_threads(1)
    outcome = doctest.testfile(str(ROOT / name), module_relative=False)
    assert outcome.attempted == EXAMPLES[name]
    assert outcome.failed == 0


def test_grading_example_prints_what_the_page_says(tmp_path):
    blocks = re.findall(r"^```(?:python|text)\n(.*?)^```", DOCUMENTS["docs/grading.md"], re.MULTILINE | re.DOTALL)
    titles = {title[1]: block for block in blocks if (title := re.match(r"# (\w+\.py)\n", block))}
    assert len(titles) == 3
    for title, block in titles.items():
        (tmp_path / title).write_text(block)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--student=alice.py"]
    run = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    (expected,) = (block for block in blocks if block.startswith("alice.py: "))
    assert run.returncode == 1
    assert expected in run.stdout


def test_changelogs_old_forms_fail_and_new_ones_work():
    layers, activations = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE | re.DOTALL
    )
    names = {"np": np, "hm": hm}
    before, now = layers.split("# now\n")
    with pytest.raises(TypeError, match="backward"):
        exec(before, dict(names))
    exec(now, names)
    exec(activations.split("# now\n")[1], names)
    cube = hm.Activation((names["cube"], names["cube_backward"]))
    network = hm.Network([hm.Dense(2, 3, rng=0), cube, names["Scale"](3)])
    assert hm.check_gradient(network, np.eye(2), [0, 1])


def logged(folder: Path, title: str) -> hm.History:
    """Run the recipe with this title in the folder, and return the history."""
    blocks = re.findall(r"^```python\n(.*?)^```", DOCUMENTS["docs/training.md"], re.MULTILINE | re.DOTALL)
    (recipe,) = (block for block in blocks if block.startswith(f"# {title}\n"))
    X, y = hm.load_digits()
    names = dict(hm=hm, network=hm.MLP([64, 8, 10], rng=0), X_train=X[:200], y_train=y[:200])
    with contextlib.chdir(folder):
        exec(recipe.replace("    hm.fit(", "    history = hm.fit("), names)
    assert len(names["history"]) == 3
    return names["history"]


def test_recipe_for_tensorboard_writes_every_number(tmp_path):
    pytest.importorskip("tensorboard", reason="the recipe needs TensorBoard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    history = logged(tmp_path, "with TensorBoard")
    events = EventAccumulator(str(tmp_path / "runs" / "digits"))
    events.Reload()
    for name, values in history.to_dict().items():
        scalars = events.Scalars(name)
        assert [scalar.step for scalar in scalars] == [1, 2, 3]
        assert [scalar.value for scalar in scalars] == [np.float32(value) for value in values]


@pytest.mark.filterwarnings("ignore")  # wandb's own
def test_recipe_for_weights_and_biases_writes_every_number(tmp_path):
    pytest.importorskip("wandb", reason="the recipe needs Weights & Biases")
    history = logged(tmp_path, "with Weights & Biases")
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    written = file.read_bytes()  # numbers stand in it as JSON
    for value in history.loss + history.validation_loss + history.metrics["accuracy"]:
        assert json.dumps(value).encode() in written


def test_command_line_examples_run(tmp_path, monkeypatch):
    page = DOCUMENTS["docs/commands.md"]
    monkeypatch.chdir(tmp_path)
    assert doctest.testfile(str(ROOT / "docs/commands.md"), module_relative=False).failed == 0  # writes moons.csv
    (tmp_path / "gradients.py").write_text(re.search(r"^```python\n(# gradients.*?)^```", page, re.M | re.S)[1])
    lines = "".join(re.findall(r"^```sh\n(.*?)^```", page, re.M | re.S)).splitlines()
    assert len(lines) == 5
    for line in lines:
        command = [sys.executable, "-m", *shlex.split(line)]
        subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, capture_output=True)
    assert (tmp_path / "predictions.csv").read_text().count("\n") == 301
    assert (tmp_path / "moons.onnx").is_file()


@needs_cc
def test_c_example_compiles_and_runs(tmp_path):
    (code,) = re.findall(r"^```c\n(.*?)^```", DOCUMENTS["docs/files.md"], re.MULTILINE | re.DOTALL)
    include, _, body = code.partition("\n\n")
    hm.export.to_c(hm.MLP([64, 8, 10], rng=0), tmp_path / "digits.h", name="digits")
    (tmp_path / "main.c").write_text(f"{include}\nint main(void) {{\n{body}return !(y[0] == y[0]);\n}}\n")
    subprocess.run(["cc", "-std=c99", "-Wall", "-Werror", "main.c", "-o", "main", "-lm"], cwd=tmp_path, check=True)
    subprocess.run(["./main"], cwd=tmp_path, check=True)


def test_lecture_table_names_what_exists():
    table = [line for line in DOCUMENTS["docs/lecture.md"].splitlines() if re.match(r"\| \d+ \|", line)]
    assert len(table) == 15, "one row per system of the lecture"
    for row in table:
        assert re.findall(r"`hm\.[\w.]+`", row) and re.findall(r"`tests/\w+\.py`", row), row


def test_page_of_backpropagation_is_the_source():
    page = DOCUMENTS["README.md"].partition("## Backpropagation")[2].partition("\n## ")[0]
    (shown,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    expected = []
    for kind, methods in PAGE.items():
        (line,) = re.findall(rf"^class {kind.__name__}\b.*\n", inspect.getsource(kind), re.MULTILINE)
        expected.append(line + "\n".join(inspect.getsource(method) for method in methods))
    assert shown == "\n\n".join(expected)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name):
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", DOCUMENTS[name])
    for link in links:
        assert link.startswith("https://") or ((ROOT / name).parent / link).exists(), link


@pytest.mark.parametrize("name", DOCUMENTS)
def test_names_and_files_in_documents_exist(name):
    for path in re.findall(r"`hm\.([\w.]+)[`(]", DOCUMENTS[name]):
        found = hm
        for part in path.split("."):
            found = getattr(found, part)
    for file in re.findall(r"`((?:tests|benchmarks|reference|handmade|docs)/[\w./]+\.\w+)`", DOCUMENTS[name]):
        assert (ROOT / file).is_file(), file


@pytest.mark.parametrize("name", DOCUMENTS)
def test_commands_in_documents_exist(name):
    for module, options in re.findall(
        r"python -m ((?:reference|benchmarks|handmade)[\w.]*)((?: --[\w-]+)*)", DOCUMENTS[name]
    ):
        folder = ROOT / module.replace(".", "/")
        files = list(folder.glob("*.py")) or [folder.with_suffix(".py")]
        source = "".join(path.read_text() for path in files)
        assert (folder / "__main__.py").is_file() or '__name__ == "__main__"' in source, module
        for option in options.split():
            assert option in source or f'"{option[2:]}"' in source, f"{module} {option}"
    for script in re.findall(r"python ((?:tests|benchmarks)/[\w./]+\.py)", DOCUMENTS[name]):
        assert (ROOT / script).is_file(), script


def test_readme_is_short():
    assert len(README.splitlines()) <= 150
    assert len(re.findall(r"^python3 -m venv .*$", README, re.MULTILINE)) == 2
    assert set(re.findall(r"\(docs/(\w+\.md)\)", README)) == {
        Path(name).name for name in DOCUMENTS if name != "README.md"
    }


def test_readme_repeats_rows_of_the_page_on_bugs():
    rows = [line for line in README.splitlines() if re.match(r"\| (mistakes|\d+ (published|held-out)) ?", line)]
    assert len(rows) == 4 and set(rows) <= set(DOCUMENTS["docs/bugs.md"].splitlines())
    (count,) = re.findall(r"Of ([\d,]+) right gradients none", README)
    assert f"| **all** | {count.replace(',', '')} | 0 | 0 |" in DOCUMENTS["docs/bugs.md"]


def test_every_public_name_is_documented_and_exists():
    for name in hm.__all__:
        assert getattr(hm, name).__doc__, name


def test_importing_handmade_loads_numpy_alone():
    # In an interpreter of its own: this one has loaded everything already.
    code = (
        "import sys, numpy; before = set(sys.modules); import handmade; "
        "loaded = {m.partition('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names); "
        "print(sorted(loaded - {'numpy'}), 'numpy.random' in sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert loaded.stdout.split() == ["['handmade']", "False"]  # numpy.random costs time, and only some need it
