"""CONTRIBUTING.md: its example, followed in a copy of the project, puts an activation into every table of cases."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_packaging import ROOT, copy_project

NAME = "worked_example"  # in place of the activation's name, which the library may have
FILES = ("activations", "layers", "exactness", "twin", "backward_pass", "laws", "files", "export", "compiled_formulas")

BLOCKS = re.findall(
    r"^```\w+\n# (\S+\.py), (at|in) ([\w ]+)\n(.*?)^```",
    (ROOT / "CONTRIBUTING.md").read_text(),
    re.MULTILINE | re.DOTALL,
)


def insert(source: str, where: str, table: str, lines: str) -> str:
    """Return the source with more lines at its end, at the end of a table, or in the import from a module."""
    if where == "at":
        return f"{source}\n\n{lines}"
    (statement,) = (node for node in ast.parse(source).body if name_of(node) == table)
    before = source.splitlines(keepends=True)[: statement.end_lineno - 1]
    return "".join([*before, lines, *source.splitlines(keepends=True)[statement.end_lineno - 1 :]])


def name_of(node: ast.stmt) -> str | None:
    """Return the name that a statement assigns, or the module that it imports from."""
    if isinstance(node, ast.Assign):
        return ast.unparse(node.targets[0])
    return ast.unparse(node.target) if isinstance(node, ast.AnnAssign) else getattr(node, "module", None)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Return a copy of the project with the activation of CONTRIBUTING.md."""
    folder = copy_project(tmp_path_factory.mktemp("contribution") / "handmade")
    for file, where, table, lines in BLOCKS:
        path = folder / file
        path.write_text(insert(path.read_text(), where, table, lines.replace("logsigmoid", NAME)))
    return folder


def test_worked_example_is_the_librarys_own():
    for file, _, _, lines in BLOCKS:
        assert lines in (ROOT / file).read_text(), file


def run(project: Path, *command: str) -> str:
    """Run a Python command in the copy, and return what it prints; it has to succeed.

    Numba's code runs as plain Python: the copy has another source, so its kernels would all be compiled anew.
    """
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=project, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_worked_example_is_in_every_table_and_passes(project):
    shown = {f"tests/test_{file}.py": NAME for file in FILES} | {"tests/test_documentation.py": "activations"}
    chosen = f"{NAME} or test_documentation and activations"
    printed = run(project, "pytest", "-v", "-p", "no:cacheprovider", "-k", chosen, *shown)
    for test, name in shown.items():
        assert re.search(rf"^{test}::.*{name}.* PASSED", printed, re.MULTILINE), test
    assert "2 cases passed, 0 failed" in run(project, "reference", "--case", NAME)


def test_worked_example_is_well_formed(project):
    run(project, "ruff", "check", "-q", ".")
    run(project, "ruff", "format", "--check", "-q", "handmade", "reference")
