"""CONTRIBUTING.md: its example, followed in a copy of the project, puts an activation into every table of cases."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_packaging import ROOT, copy_project

NAME = "worked_example"  # in place of the activation's name, which the library may have
FILES = ("activations", "layers", "exactness", "twin", "backward_pass", "laws", "reference", "files", "export")


def insert(source: str, where: str, table: str, lines: str) -> str:
    """Return the source with more lines above the statement that assigns a table, or at the end of the table."""
    (statement,) = (
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        and ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target) == table
    )
    at = statement.lineno - 1 if where == "above" else statement.end_lineno - 1
    before, after = source.splitlines(keepends=True)[:at], source.splitlines(keepends=True)[at:]
    if where == "in":
        return "".join([*before, lines, *after])
    apart = "" if before[-2:] == ["\n", "\n"] else "\n"
    return "".join([*before, f"{apart}{lines}\n\n", *after])


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Return a copy of the project with the activation of CONTRIBUTING.md."""
    folder = copy_project(tmp_path_factory.mktemp("contribution") / "handmade")
    text = (ROOT / "CONTRIBUTING.md").read_text()
    blocks = re.findall(r"^```\w+\n# (\S+\.py), (above|in) (\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 7
    for file, where, table, lines in blocks:
        path = folder / file
        path.write_text(insert(path.read_text(), where, table, lines.replace("logsigmoid", NAME)))
    return folder


def run(project: Path, *command: str) -> str:
    """Run a Python command in the copy, and return what it prints; it has to succeed."""
    done = subprocess.run([sys.executable, "-m", *command], cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_worked_example_is_in_every_table_and_passes(project):
    tests = [f"tests/test_{file}.py" for file in FILES]
    printed = run(project, "pytest", "-v", "-p", "no:cacheprovider", "-k", NAME, *tests)
    for test in tests:
        assert re.search(rf"^{test}::.*{NAME}.* PASSED", printed, re.MULTILINE), test


def test_worked_example_is_well_formed(project):
    run(project, "ruff", "check", "-q", ".")
    run(project, "ruff", "format", "--check", "-q", "handmade", "reference")
    run(project, "pytest", "-q", "tests/test_documentation.py", "-k", "activations")
