"""Types: mypy and pyright pass on the code, find planted mistakes, and names are those of the tables."""

from __future__ import annotations

import doctest
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from handmade import protocols
from handmade.activations import ACTIVATIONS
from handmade.checking.methods import METHODS
from handmade.initializers import INITIALIZERS
from handmade.losses import LOSSES, mse_loss
from handmade.metrics import METRICS
from handmade.mlp import NORMALIZATIONS


@pytest.mark.parametrize(
    "literal, table",
    [
        (protocols.ActivationName, ACTIVATIONS),
        (protocols.LossName, LOSSES),
        (protocols.NormalizationName, [name for name in NORMALIZATIONS if name is not None]),
        (protocols.InitializerName, INITIALIZERS),
        (protocols.MetricName, METRICS),
        (protocols.Method, METHODS),
    ],
)
def test_a_literal_lists_the_keys_of_its_table(literal, table):
    assert sorted(get_args(literal)) == sorted(table)


def test_every_reduction_of_the_literal_is_accepted():
    for reduction in get_args(protocols.Reduction):
        mse_loss([1.0], [2.0], reduction=reduction)
    with pytest.raises(ValueError, match="reduction"):
        mse_loss([1.0], [2.0], reduction="max")


# ---- both checkers ---------------------------------------------------------------------------------------------------

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Examples need no annotations, show values, and define a name anew.
LENIENT = """\
# mypy: allow-untyped-defs, allow-untyped-calls, disable-error-code=no-redef
# pyright: reportRedeclaration=false, reportUnusedExpression=false, reportMissingImports=false
"""
PROGRAMS = ROOT / "tests" / "typing" / "user_programs.py"
MISTAKES = ROOT / "tests" / "typing" / "mistakes.py"


def run_mypy(*files: Path) -> list[tuple[str, int]]:
    """Return file and line of each error."""
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--no-pretty", *map(str, files)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode in (0, 1), run.stdout + run.stderr
    found = re.findall(r"^(.*?):(\d+): error: ", run.stdout, re.MULTILINE)
    assert run.returncode == 0 or found, run.stdout
    return [(str(ROOT / file), int(line)) for file, line in found]


def run_pyright(*files: Path) -> list[tuple[str, int]]:
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, *map(str, files)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode in (0, 1), run.stdout + run.stderr
    errors = [d for d in json.loads(run.stdout)["generalDiagnostics"] if d["severity"] == "error"]
    return [(d["file"], d["range"]["start"]["line"] + 1) for d in errors]


@pytest.fixture(scope="module", params=[run_mypy, run_pyright], ids=["mypy", "pyright"])
def errors(request, tmp_path_factory):
    """Return the errors of a checker in everything that has to pass, in the examples of documents, and in mistakes."""
    pytest.importorskip(request.param.__name__.removeprefix("run_"))
    examples = write_examples(tmp_path_factory.mktemp("examples"))
    checked = list((ROOT / "handmade").rglob("*.py"))
    return request.param(*checked, PROGRAMS, MISTAKES, *examples)


def write_examples(folder: Path) -> list[Path]:
    """Write the Python code of each document to a file."""
    written = []
    for document in DOCUMENTS:
        lines = [LENIENT, "import numpy as np, handmade as hm\n"]
        for block in re.findall(r"^```python\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL):
            examples = doctest.DocTestParser().get_examples(block)
            if not block.startswith("class Sequential(Layer)"):  # which is the source, and checked there
                lines += [example.source for example in examples] or [block]
        written.append(folder / f"{document.stem.replace('-', '_')}_examples.py")
        written[-1].write_text("".join(lines))
    return written


def test_the_package_and_user_programs_pass(errors):
    assert [f"{file}:{line}" for file, line in errors if Path(file) != MISTAKES] == []


def test_mistakes_are_found_and_their_correct_twins_pass(errors):
    found = {line for file, line in errors if Path(file) == MISTAKES}
    planted = {n for n, line in enumerate(MISTAKES.read_text().splitlines(), 1) if line.endswith("# wrong")}
    assert len(planted) == 28
    assert found - planted == set()
    assert len(found) >= 26, f"not found: lines {sorted(planted - found)}"


def test_types_of_public_names_are_complete():
    pytest.importorskip("pyright")
    command = [sys.executable, "-m", "pyright", "--verifytypes", "handmade", "--ignoreexternal", "--outputjson"]
    run = subprocess.run(
        [*command, "--pythonpath", sys.executable],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    symbols = [s for s in json.loads(run.stdout)["typeCompleteness"]["symbols"] if s["isExported"]]
    unknown = [s["name"] for s in symbols if not s["isTypeKnown"] or s["isTypeAmbiguous"]]
    assert len(symbols) > 1000
    assert len(unknown) <= 0.05 * len(symbols), unknown


def test_user_programs_run(tmp_path, capsys):
    programs = runpy.run_path(str(PROGRAMS))
    for name in "own_parts", "checks", "formulas":
        programs[name]()
    programs["typical_use"](tmp_path)
    assert capsys.readouterr().out
